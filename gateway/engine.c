/*
 * gateway/engine.c - see engine.h. Births and deaths of what the exchanges share, in the order in
 * which they need each other.
 */
#include "gateway/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/clock.h"
#include "gateway/engine_keep.h"
#include "gateway/exchange.h"
#include "gateway/heap.h"
#include "gateway/image_fetch.h"
#include "gateway/log.h"
#include "gateway/passage.h"

enum { DAY_MS = 24 * 3600 * 1000 };
enum { HEAP_MS = 10 * 1000, HEAP_LOOKS = 15 };
enum { PARSER_LIMIT = 128 * 1024 * 1024, OUT_LIMIT = 128 * 1024 * 1024 };

static void on_accounts_timer(uv_timer_t *timer)
{
    struct engine *engine = timer->data;
    account_pool_tick(engine->accounts, uv_now(engine->loop));
}

static void on_day_timer(uv_timer_t *timer)
{
    struct engine *engine = timer->data;
    shared_enter(engine->shared);
    keep_tidy(engine);
    shared_leave(engine->shared);
}

struct engine *engine_here(struct engine *one)
{
    struct mailbox *here = mailbox_here();
    return here ? mailbox_owner(here) : one;
}

size_t engine_active(const struct engine *engine)
{
    return engine->shared ? __atomic_load_n(&engine->shared->active, __ATOMIC_RELAXED)
                          : engine->n_exchanges;
}

void engine_count_request(struct engine *engine, const struct metrics_request *request)
{
    shared_enter(engine->shared);
    metrics_count_request(engine->metrics, request);
    shared_leave(engine->shared);
}

void engine_count_failure(struct engine *engine, struct span site, enum fail_kind kind)
{
    shared_enter(engine->shared);
    metrics_count_failure(engine->metrics, site, kind);
    shared_leave(engine->shared);
}

void engine_count_refusal(struct engine *engine, enum fail_kind kind)
{
    shared_enter(engine->shared);
    metrics_count_refusal(engine->metrics, kind);
    shared_leave(engine->shared);
}

/* It may take long, so nobody may be waiting; while somebody is, his end will be seen as well. */
static void on_heap_timer(uv_timer_t *timer)
{
    struct engine *engine = timer->data;
    if (engine_active(engine))
        return;
    exchange_free_spares(engine);
    spare_empty(&engine->spare_requests);
    upstream_rest(engine->upstream);
    if (--engine->heap_looks == 0)
        uv_timer_stop(timer);
    heap_give_back_spare();
}

/* Idle connections hold on to pages for a while: so it looks again for some minutes after the last
 * request, and then no more. */
void engine_watch_heap(struct engine *engine)
{
    uv_handle_t *timer = (uv_handle_t *)&engine->heap_timer;
    engine->heap_looks = HEAP_LOOKS;
    if (!uv_is_active(timer) && !uv_is_closing(timer))
        uv_timer_start(&engine->heap_timer, on_heap_timer, HEAP_MS, HEAP_MS);
}

void engine_count_active(struct engine *engine, int change)
{
    engine->n_exchanges += (size_t)change;
    if (engine->shared)
        __atomic_add_fetch(&engine->shared->active, (size_t)change, __ATOMIC_RELAXED);
    if (change < 0)
        engine_watch_heap(engine);
}

static void on_clock(uv_timer_t *clock) { exchange_clock(clock->data); }

void engine_wind_clock(struct engine *engine)
{
    uint64_t at = engine->over ? 0 : deadlines_next(&engine->deadlines);
    uint64_t now = uv_now(engine->loop), wait = at > now ? at - now : 0;
    if (at == DEADLINE_NEVER)
        return;
    if (!uv_is_active((uv_handle_t *)&engine->clock) || uv_timer_get_due_in(&engine->clock) > wait)
        uv_timer_start(&engine->clock, on_clock, wait, 0);
}

/* On whichever loop it turns out: each has such a timer, and any of them will do. */
static void wake_accounts_at(void *owner, uint64_t at_ms)
{
    struct engine *engine = engine_here(owner);
    uint64_t now = uv_now(engine->loop), wait = at_ms > now ? at_ms - now : 0;
    if (!uv_is_active((uv_handle_t *)&engine->accounts_timer) ||
        uv_timer_get_due_in(&engine->accounts_timer) > wait)
        uv_timer_start(&engine->accounts_timer, on_accounts_timer, wait, 0);
}

int64_t engine_wall_ms(struct engine *engine)
{
    uint64_t now = uv_now(engine->loop);
    if (engine->wall_at != now || !engine->wall_ms) {
        engine->wall_at = now;
        engine->wall_ms = clock_wall_ms();
    }
    return engine->wall_ms;
}

struct key_time engine_key_time(struct engine *engine)
{
    return (struct key_time){uv_now(engine->loop), engine_wall_ms(engine)};
}

void engine_note_drift(struct engine *engine, const struct site_config *site, const char *kind)
{
    struct span name = site->settings.name;
    shared_enter(engine->shared);
    bool say = drift_count(engine->drift, name, span_str(kind), uv_now(engine->loop));
    shared_leave(engine->shared);
    if (say)
        log_warn("%.*s answered something that the adapter %s does not know: %s (said once an "
                 "hour; dragoman accounts has the count)",
                 SPAN_ARGS(span_first(name, 60)), site->adapter->name, kind);
}

static void on_list_drift(void *owner, const struct site_config *site, const char *kind)
{
    engine_note_drift(owner, site, kind);
}

static void nothing(void *arg) {}

static bool owns_common(const struct engine *engine) { return engine->first == engine; }

/* What is common to all loops, but for what needs a loop to end. */
static void free_common(struct engine *engine)
{
    account_pool_destroy(engine->accounts);
    key_limits_destroy(engine->limits);
    turn_memory_destroy(engine->memory);
    drift_destroy(engine->drift);
    metrics_destroy(engine->metrics);
    conversation_book_destroy(engine->conversations);
    upload_book_destroy(engine->uploads);
}

/* The last that is to be done. */
static void free_rest(struct engine *engine)
{
    image_fetcher_destroy(engine->images);
    json_parser_destroy(engine->json);
    capture_folder_destroy(engine->captures);
    token_file_close(&engine->token_file);
    buffer_free(&engine->out);
    buffer_free(&engine->scratch);
    exchange_free_spares(engine);
    spare_empty(&engine->spare_requests);
    shape_book_clear(&engine->shapes);
    if (owns_common(engine))
        free_common(engine);
    config_unref(engine->config);
    free(engine);
}

/* What was made so far, for a start that failed half-way. */
static struct engine *give_up(struct engine *engine)
{
    if (owns_common(engine) && engine->catalogue)
        catalogue_destroy(engine->catalogue);
    if (owns_common(engine) && engine->store)
        store_destroy(engine->store, NULL, NULL);
    if (engine->upstream)
        upstream_destroy(engine->upstream, nothing, NULL);
    loop_busy_stop(engine->busy);
    log_turns_stop(engine->log_turns);
    free_rest(engine);
    return NULL;
}

/* 0, also when everything is kept in memory for now; -1 with fail when the start has to end. */
static int open_store(struct engine *engine, bool rebuild, struct fail *fail)
{
    struct store_reader reader = keep_reader(engine);
    if (rebuild && store_rebuild(engine->store, fail))
        return -1;
    enum store_opened opened = store_open(engine->store, &reader, fail);
    if (opened == STORE_REFUSED)
        return -1;
    if (opened == STORE_UNAVAILABLE)
        log_warn("%s; credentials are kept in memory only", fail->message);
    if (engine->config->secret_key.n == 0)
        log_info("credentials that sites give us are stored in plain in %s (mode 0600); "
                 "server.secret_key encrypts them",
                 store_path(engine->store));
    return 0;
}

/* What each loop has for itself. */
static void make_own(struct engine *engine)
{
    buffer_init(&engine->out, OUT_LIMIT);
    buffer_init(&engine->scratch, OUT_LIMIT);
    exchange_init_spares(engine);
    engine->spare_requests = (struct spare){.size = sizeof(struct site_request)};
    engine->json = json_parser_create(PARSER_LIMIT);
    engine->busy = loop_busy_start(engine->loop);
    engine->log_turns = log_turns_start(engine->loop);
    engine->captures = capture_folder_create(engine->loop);
    engine->tokens = token_file_source(&engine->token_file);
    engine->upstream = upstream_create(engine->loop);
    engine->images = engine->upstream ? image_fetcher_create(engine->upstream) : NULL;
}

/* Everything that is common, in the order in which it is needed; the catalogue is the last. */
static void make_common(struct engine *engine)
{
    const struct account_pool_hooks hooks = {
        .saved = keep_credential,
        .changed = keep_account,
        .begun = keep_account_begun,
        .wake_at = wake_accounts_at,
        .owner = engine,
    };
    uint64_t seed;
    engine->memory = turn_memory_create();
    engine->drift = drift_create();
    engine->metrics = metrics_create();
    engine->conversations = conversation_book_create(keep_conversation, engine);
    engine->uploads = upload_book_create(keep_upload, engine);
    if (engine->config->file.n) /* the built-in demo keeps nothing */
        engine->store =
            store_create(engine->loop, engine->config->data_dir, engine->config->secret_key);
    clock_random(NULL, &seed, sizeof seed);
    engine->accounts = account_pool_create(&hooks, seed);
    engine->limits = key_limits_create(keep_key_day, engine);
    if (engine->upstream && engine->accounts)
        engine->catalogue =
            catalogue_create(engine->loop, engine->upstream, engine->accounts, keep_models, engine);
    if (engine->catalogue)
        catalogue_on_drift(engine->catalogue, on_list_drift);
}

static bool has_all_parts(const struct engine *engine)
{
    return engine->json && engine->memory && engine->images && engine->uploads && engine->drift &&
           engine->metrics && engine->conversations && (engine->store || !engine->config->file.n) &&
           engine->limits && engine->catalogue;
}

static void start_timers(struct engine *engine)
{
    uv_timer_init(engine->loop, &engine->clock);
    uv_timer_init(engine->loop, &engine->accounts_timer);
    uv_timer_init(engine->loop, &engine->heap_timer);
    uv_unref((uv_handle_t *)&engine->heap_timer);
    uv_timer_init(engine->loop, &engine->day_timer);
    engine->clock.data = engine->accounts_timer.data = engine->heap_timer.data = engine;
    engine->day_timer.data = engine;
    if (owns_common(engine))
        uv_timer_start(&engine->day_timer, on_day_timer, 0, DAY_MS);
    uv_unref((uv_handle_t *)&engine->day_timer);
}

struct engine *engine_create(uv_loop_t *loop, struct config *config, bool rebuild,
                             struct fail *fail)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        fail_memory(fail);
        return NULL;
    }
    engine->loop = loop;
    engine->first = engine;
    engine->config = config_ref(config);
    engine->started_ms = clock_wall_ms();
    make_own(engine);
    make_common(engine);
    if (!has_all_parts(engine) || account_pool_configure(engine->accounts, config, uv_now(loop)) ||
        key_limits_configure(engine->limits, config, engine_key_time(engine))) {
        fail_memory(fail);
        return give_up(engine);
    }
    catalogue_configure(engine->catalogue, config);
    image_fetcher_configure(engine->images, config);
    if (engine->store && open_store(engine, rebuild, fail))
        return give_up(engine);
    keep_restored(engine->accounts);
    account_pool_each(engine->accounts, keep_configured, engine);
    start_timers(engine);
    return engine;
}

struct engine *engine_create_beside(struct engine *first, uv_loop_t *loop)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return NULL;
    engine->loop = loop;
    engine->shared = first->shared;
    engine->first = first;
    engine->config = config_ref(first->config);
    engine->started_ms = first->started_ms;
    engine->accounts = first->accounts;
    engine->limits = first->limits;
    engine->catalogue = first->catalogue;
    engine->store = first->store;
    engine->memory = first->memory;
    engine->conversations = first->conversations;
    engine->uploads = first->uploads;
    engine->drift = first->drift;
    engine->metrics = first->metrics;
    make_own(engine);
    if (!engine->json || !engine->images)
        return give_up(engine);
    image_fetcher_configure(engine->images, engine->config);
    start_timers(engine);
    return engine;
}

void engine_share(struct engine *first, struct shared *shared)
{
    first->shared = shared;
    account_pool_share(first->accounts, shared);
    key_limits_share(first->limits, shared);
    catalogue_share(first->catalogue, shared);
    if (first->store)
        store_share(first->store, shared);
}

/* For what is common. */
static int reload_common(struct engine *engine, struct config *config)
{
    struct config *old = engine->config;
    if (!span_eq(old->data_dir, config->data_dir) || !span_eq(old->secret_key, config->secret_key))
        log_warn("server.data_dir and server.secret_key take effect with the next start");
    int result = account_pool_configure(engine->accounts, config, uv_now(engine->loop));
    if (key_limits_configure(engine->limits, config, engine_key_time(engine)))
        result = -1;
    account_pool_each(engine->accounts, keep_configured, engine);
    return result;
}

int engine_reload(struct engine *engine, struct config *config)
{
    struct config *old = engine->config;
    int result = owns_common(engine) ? reload_common(engine, config) : 0;
    engine->config = config_ref(config);
    shape_book_clear(&engine->shapes); /* a new site may stand where an old one stood */
    image_fetcher_configure(engine->images, config);
    if (owns_common(engine))
        catalogue_configure(engine->catalogue, config);
    upstream_forget_idle(engine->upstream);
    config_unref(old);
    return result;
}

void engine_cancel_all(struct engine *engine)
{
    engine->stopping = true;
    /* Abandoning one may wake others, which then end as well: start over until none is open. */
    for (struct exchange *e = engine->exchanges, *next; e; e = next) {
        next = exchange_next(e);
        exchange_abandon(e);
    }
    for (struct passage *p = engine->passages, *next; p; p = next) {
        next = passage_next(p);
        passage_abandon(p);
    }
}

static void on_upstream_closed(void *arg)
{
    struct engine_closing c = *(struct engine_closing *)arg;
    free_rest(c.engine);
    c.closed(c.arg);
}

static void on_store_closed(void *arg)
{
    struct engine_closing *c = arg;
    c->engine->store = NULL;
    upstream_destroy(c->engine->upstream, on_upstream_closed, c);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct engine_closing *c = handle->data;
    if (handle != (uv_handle_t *)&c->engine->day_timer)
        return; /* the others are closed after it */
    exchange_free_over(c->engine);
    if (c->engine->store && owns_common(c->engine))
        store_destroy(c->engine->store, on_store_closed, c);
    else
        on_store_closed(c);
}

void engine_destroy(struct engine *engine, void (*closed)(void *), void *arg)
{
    assert(engine->n_exchanges == 0);
    struct engine_closing *c = &engine->closing;
    *c = (struct engine_closing){engine, closed, arg};
    if (owns_common(engine))
        catalogue_destroy(engine->catalogue);
    loop_busy_stop(engine->busy);
    log_turns_stop(engine->log_turns);
    engine->clock.data = engine->accounts_timer.data = engine->heap_timer.data = c;
    engine->day_timer.data = c;
    uv_close((uv_handle_t *)&engine->clock, on_timer_closed);
    uv_close((uv_handle_t *)&engine->accounts_timer, on_timer_closed);
    uv_close((uv_handle_t *)&engine->heap_timer, on_timer_closed);
    uv_close((uv_handle_t *)&engine->day_timer, on_timer_closed);
}
