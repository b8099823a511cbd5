/*
 * gateway/catalogue.c - see catalogue.h.
 *
 * A live list belongs to a site's name and survives a reload, also written down, but it knows of
 * which service it is: another one under the same name does not inherit it. A fetch is one
 * adapter run without an exchange: its arena, its request, its body buffer.
 *
 * With several event loops, lists are looked at and changed inside the lock, and fetched by one
 * loop: the others mark what they want and knock.
 */
#include "gateway/catalogue_internal.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/json_write.h"
#include "gateway/clock.h"
#include "gateway/log.h"
#include "gateway/site_cookies.h"
#include "gateway/target_turns.h"

enum { FETCH_LIMIT = 4 * 1024 * 1024, FETCH_TIMEOUT_MS = 5000, FETCH_PAUSE_MS = 60000 };

struct fetch {
    struct catalogue *catalogue;
    struct live_list *list;
    struct config *config; /* reference */
    const struct site_config *site;
    struct account *account; /* pinned: a reload may take it away meanwhile */
    struct arena arena;
    struct buffer body;
    struct live_list fresh; /* what the pages so far have told */
    int pages;
    int status;
    struct turn_run run;
    struct fail fail; /* the run's */
    struct site_request request;
    struct upstream_call *call;
    uv_timer_t *timer;
};

void catalogue_on_drift(struct catalogue *c,
                        void (*drift)(void *owner, const struct site_config *, const char *kind))
{
    c->drift = drift;
}

/* Is this the thread of the loop that fetches? */
static bool is_at_home(const struct catalogue *c)
{
    return !c->shared || mailbox_here() == c->shared->mailboxes[0];
}

static uint64_t now_of(const struct catalogue *c)
{
    return is_at_home(c) ? uv_now(c->loop) : uv_hrtime() / 1000000;
}

struct catalogue *catalogue_create(uv_loop_t *loop, struct upstream *upstream,
                                   struct account_pool *pool, catalogue_keep *keep, void *owner)
{
    struct catalogue *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->loop = loop;
    c->upstream = upstream;
    c->pool = pool;
    c->keep = keep;
    c->keep_owner = owner;
    c->json = json_parser_create(FETCH_LIMIT);
    c->turns = target_turns_create();
    if (!c->json || !c->turns) {
        json_parser_destroy(c->json);
        target_turns_destroy(c->turns);
        free(c);
        return NULL;
    }
    return c;
}

static void on_knock(struct mail *mail)
{
    struct catalogue *c = (struct catalogue *)((char *)mail - offsetof(struct catalogue, knock));
    shared_enter(c->shared);
    c->knocked = false;
    catalogue_refresh(c);
    for (struct live_list *l = c->lists; l; l = l->next)
        l->wanted = false; /* a fetch runs, or none can */
    if (c->running == 0)
        wait_queue_wake_all(&c->queue);
    shared_leave(c->shared);
}

void catalogue_share(struct catalogue *c, struct shared *shared)
{
    c->shared = shared;
    c->knock.open = on_knock;
}

static void close_timer(uv_handle_t *handle) { free(handle); }

static void fetch_free(struct fetch *f)
{
    if (f->call)
        upstream_cancel(f->call, false);
    if (f->timer)
        uv_close((uv_handle_t *)f->timer, close_timer);
    f->list->fetch = NULL;
    buffer_free(&f->body);
    arena_free(&f->fresh.arena);
    free(f->fresh.models);
    arena_free(&f->arena);
    account_unpin(f->account);
    config_unref(f->config);
    free(f);
}

void catalogue_destroy(struct catalogue *c)
{
    if (!c)
        return;
    while (c->lists) {
        struct live_list *l = c->lists;
        c->lists = l->next;
        if (l->fetch)
            fetch_free(l->fetch);
        arena_free(&l->arena);
        free(l->models);
        free(l);
    }
    if (c->config)
        config_unref(c->config);
    json_parser_destroy(c->json);
    target_turns_destroy(c->turns);
    free(c);
}

/* ---- live lists ---- */

static const struct site_config *find_site(const struct config *config, struct span name)
{
    for (size_t i = 0; i < config->n_sites; i++) {
        if (span_eq(config->sites[i].settings.name, name))
            return &config->sites[i];
    }
    return NULL;
}

static bool has_live_list(const struct site_config *site)
{
    return site->adapter->models_request && !site->n_models && !site->bridge;
}

struct live_list *catalogue_list_of(struct catalogue *c, struct span name)
{
    struct live_list *l = c->lists;
    while (l && !span_eq(l->name, name))
        l = l->next;
    return l;
}

/* To see that another service has the name now. */
static uint64_t service_hash(const struct site_config *site)
{
    uint64_t h = span_hash(SPAN_HASH, span_str(site->adapter->name));
    h = span_hash(span_hash(h, SPAN(" ")), site->settings.origin);
    return span_hash(h, site->settings.prefix);
}

static struct live_list *list_make(struct catalogue *c, const struct site_config *site)
{
    struct span name = site->settings.name;
    struct live_list *l = calloc(1, sizeof *l + name.n);
    if (!l)
        return NULL;
    memcpy(l + 1, name.p, name.n);
    l->name = span_of((char *)(l + 1), name.n);
    l->service = service_hash(site);
    arena_init(&l->arena);
    l->next = c->lists;
    c->lists = l;
    return l;
}

static int put_model(struct live_list *l, const struct model_entry *entry, struct span note)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct live_model *grown = realloc(l->models, cap * sizeof *grown);
        if (!grown)
            return -1;
        l->models = grown;
        l->cap = cap;
    }
    struct live_model m = {arena_dup(&l->arena, entry->id), arena_dup(&l->arena, entry->site_id),
                           note.n ? arena_dup(&l->arena, note) : SPAN("")};
    if (!m.id.p || !m.site_id.p || !m.note.p)
        return -1;
    l->models[l->n++] = m;
    return 0;
}

/* `fresh` takes the list's place. */
static void replace_list(struct live_list *l, const struct live_list *fresh)
{
    arena_free(&l->arena);
    free(l->models);
    l->arena = fresh->arena;
    l->models = fresh->models;
    l->n = fresh->n;
    l->cap = fresh->cap;
}

static int put_fetched(void *owner, const struct model_entry *entry)
{
    struct fetch *f = owner;
    return put_model(&f->fresh, entry, f->run.model_note);
}

/* Replaces the list only when every page could be read: a failure keeps the former one. 0, -1, or
 * MODELS_MORE. */
static int read_page(struct fetch *f)
{
    struct model_sink sink = {put_fetched, f};
    int more = f->site->adapter->models_answer(&f->run, buffer_span(&f->body), &sink);
    if (more == MODELS_MORE && ++f->pages < MODEL_PAGES_MAX)
        return more;
    if (more < 0)
        return -1;
    shared_enter(f->catalogue->shared);
    replace_list(f->list, &f->fresh);
    f->fresh = (struct live_list){0};
    arena_init(&f->fresh.arena);
    f->list->read = true;
    shared_leave(f->catalogue->shared);
    return 0;
}

/* ---- written down ---- */

/* {"adapter":…,"origin":…,"models":[["id"], ["id", "the site's own id"], ["id", "", "note"] …]} */
static void keep_list(struct catalogue *c, const struct site_config *site,
                      const struct live_list *l)
{
    struct buffer out;
    struct json_writer w = json_writer(&out);
    if (!c->keep)
        return;
    buffer_init(&out, FETCH_LIMIT);
    json_begin_object(&w);
    json_member(&w, "adapter", span_str(site->adapter->name));
    json_member(&w, "origin", site->settings.origin);
    json_member(&w, "prefix", site->settings.prefix);
    json_key(&w, "models");
    json_begin_array(&w);
    for (size_t i = 0; i < l->n; i++) {
        json_begin_array(&w);
        json_string(&w, l->models[i].id);
        if (l->models[i].site_id.n || l->models[i].note.n)
            json_string(&w, l->models[i].site_id);
        if (l->models[i].note.n)
            json_string(&w, l->models[i].note);
        json_end_array(&w);
    }
    json_end_array(&w);
    json_end_object(&w);
    if (!out.error)
        c->keep(c->keep_owner, l->name, clock_wall_ms(), buffer_span(&out));
    buffer_free(&out);
}

static bool is_of_site(struct json kept, const struct site_config *site)
{
    return span_eq(json_get_text(kept, "adapter"), span_str(site->adapter->name)) &&
           span_eq(json_get_text(kept, "origin"), site->settings.origin) &&
           span_eq(json_get_text(kept, "prefix"), site->settings.prefix);
}

void catalogue_restore(struct catalogue *c, struct span name, struct span json)
{
    const struct site_config *site = find_site(c->config, name);
    struct live_list fresh = {0}, *l = NULL;
    struct json root, entry;
    if (!site || !has_live_list(site) || json_parse(c->json, json, &root) != JSON_OK ||
        !is_of_site(root, site))
        return;
    arena_init(&fresh.arena);
    struct json_iter it = json_each(json_get(root, "models"));
    bool good = true;
    while (good && json_next(&it)) {
        entry = it.value;
        struct model_entry m = {.id = json_text(json_at(entry, 0)),
                                .site_id = json_text(json_at(entry, 1))};
        good = m.id.n && put_model(&fresh, &m, json_text(json_at(entry, 2))) == 0;
    }
    l = good ? catalogue_list_of(c, name) : NULL;
    if (good && !l)
        l = list_make(c, site);
    if (!l) {
        arena_free(&fresh.arena);
        free(fresh.models);
        return;
    }
    replace_list(l, &fresh);
    log_debug("site %.*s: %zu models from before", SPAN_ARGS(name), l->n);
}

/* ---- fetching ---- */

static void fetch_over(struct fetch *f, bool failed)
{
    struct catalogue *c = f->catalogue;
    shared_enter(c->shared);
    f->list->failed |= failed;
    f->list->asked_ms = uv_now(c->loop);
    fetch_free(f);
    if (--c->running == 0)
        wait_queue_wake_all(&c->queue);
    shared_leave(c->shared);
}

static void on_fetch_head(void *owner, const struct site_head *head)
{
    struct fetch *f = owner;
    f->status = head->status;
    f->run.now_ms = clock_wall_ms();
    site_cookies_take(f->site->adapter, &f->run, &f->request, head);
}

static void on_fetch_body(void *owner, struct span bytes)
{
    buffer_append(&((struct fetch *)owner)->body, bytes);
}

static void on_fetch_read(void *owner) {}
static bool fetch_ask(struct fetch *f);

static void on_fetch_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct fetch *f = owner;
    f->call = NULL;
    int more = end == END_CLEAN && f->status == 200 && !f->body.error ? read_page(f) : -1;
    if (more == MODELS_MORE && fetch_ask(f))
        return;
    bool good = more == 0;
    if (good) {
        log_debug("site %.*s: %zu models", SPAN_ARGS(f->site->settings.name), f->list->n);
        keep_list(f->catalogue, f->site, f->list);
    } else {
        log_debug("site %.*s: no model list (status %d%s%s)", SPAN_ARGS(f->site->settings.name),
                  f->status, end == END_CLEAN ? "" : ", ", end == END_CLEAN ? "" : fail->message);
    }
    fetch_over(f, !good);
}

static void on_fetch_timeout(uv_timer_t *timer)
{
    struct fetch *f = timer->data;
    log_debug("site %.*s: the model list did not come in time", SPAN_ARGS(f->site->settings.name));
    fetch_over(f, true);
}

/* The next page. False: nothing is asked, e.g. of a guest without a token yet. */
static bool fetch_ask(struct fetch *f)
{
    static const struct upstream_handler handler = {on_fetch_head, on_fetch_body, on_fetch_read,
                                                    on_fetch_end, NULL};
    struct upstream_handler h = handler;
    struct fail fail;
    h.owner = f;
    buffer_clear(&f->body);
    f->request = (struct site_request){0};
    f->run.now_ms = clock_wall_ms();
    if (f->site->adapter->models_request(&f->run, &f->request) != ADAPTER_SEND ||
        site_cookies_send(f->site->adapter, &f->run, &f->request))
        return false;
    f->call = upstream_start(f->catalogue->upstream, f->site, f->account->view.name, &f->request,
                             &h, &fail);
    return f->call != NULL;
}

static void count_drift(void *owner, const char *kind)
{
    const struct fetch *f = owner;
    if (f->catalogue->drift)
        f->catalogue->drift(f->catalogue->keep_owner, f->site, kind);
}

static bool fetch_prepare(struct fetch *f)
{
    static const struct delta_sink nowhere;
    size_t state_size = f->site->adapter->state_size;
    f->fail = (struct fail){0};
    f->run = (struct turn_run){
        .fail = &f->fail,
        .site = &f->site->settings,
        .account = &f->account->view,
        .state = arena_alloc(&f->arena, state_size ? state_size : 1),
        .arena = &f->arena,
        .json = f->catalogue->json,
        .out = &nowhere,
        .random = clock_random,
        .drift = count_drift,
        .drift_owner = f,
    };
    return f->run.state && fetch_ask(f);
}

static void fetch_start(struct catalogue *c, struct live_list *l, const struct site_config *site)
{
    struct account *account = account_pool_peek(c->pool, site, uv_now(c->loop));
    struct fetch *f = account ? calloc(1, sizeof *f) : NULL;
    l->asked_ms = uv_now(c->loop);
    if (!f)
        return;
    f->catalogue = c;
    f->list = l;
    f->config = config_ref(c->config);
    f->site = site;
    f->account = account;
    account_pin(account);
    arena_init(&f->arena);
    arena_init(&f->fresh.arena);
    buffer_init(&f->body, FETCH_LIMIT);
    l->fetch = f;
    f->timer = fetch_prepare(f) ? calloc(1, sizeof *f->timer) : NULL;
    if (!f->timer) {
        fetch_free(f);
        return;
    }
    uv_timer_init(c->loop, f->timer);
    f->timer->data = f;
    uv_timer_start(f->timer, on_fetch_timeout, FETCH_TIMEOUT_MS, 0);
    c->running++;
}

static bool list_is_due(const struct live_list *l, const struct site_config *site, uint64_t now)
{
    if (l->fetch)
        return false;
    if (l->asked_ms == 0)
        return true;
    uint64_t ttl = l->read ? (uint64_t)site->models_cache_ttl_ms : FETCH_PAUSE_MS;
    uint64_t least = (uint64_t)site->adapter->models_min_ttl_s * 1000;
    if (l->read && ttl < least)
        ttl = least;
    return now >= l->asked_ms && now - l->asked_ms >= ttl;
}

/* Elsewhere than on the loop that fetches: it is asked to. */
static void want_list(struct catalogue *c, struct live_list *l)
{
    l->wanted = true;
    if (!c->knocked)
        c->knocked = mailbox_post(c->shared->mailboxes[0], &c->knock);
}

void catalogue_refresh(struct catalogue *c)
{
    shared_enter(c->shared);
    bool home = is_at_home(c);
    for (size_t i = 0; i < c->config->n_sites; i++) {
        const struct site_config *site = &c->config->sites[i];
        if (!has_live_list(site))
            continue;
        struct live_list *l = catalogue_list_of(c, site->settings.name);
        if (!l)
            l = list_make(c, site);
        if (!l || !list_is_due(l, site, now_of(c)))
            continue;
        if (home)
            fetch_start(c, l, site);
        else
            want_list(c, l);
    }
    shared_leave(c->shared);
}

/* Of another service: as if it had never been asked. */
static void start_anew(struct catalogue *c, struct live_list *l, const struct site_config *site)
{
    static const struct live_list nothing;
    if (l->fetch) {
        fetch_free(l->fetch);
        c->running--;
    }
    replace_list(l, &nothing);
    arena_init(&l->arena);
    l->service = service_hash(site);
    l->read = l->failed = false;
    l->asked_ms = 0;
}

void catalogue_configure(struct catalogue *c, struct config *config)
{
    struct config *old = c->config;
    c->config = config_ref(config);
    if (old)
        config_unref(old);
    if (target_turns_configure(c->turns, config))
        log_warn("memory is short: weights of targets are not kept");
    for (struct live_list *l = c->lists; l; l = l->next) {
        const struct site_config *site = find_site(config, l->name);
        if (site && service_hash(site) != l->service)
            start_anew(c, l, site);
    }
    if (!c->running)
        wait_queue_wake_all(&c->queue);
}

void catalogue_wait(struct catalogue *c, struct waiter *w)
{
    shared_enter(c->shared);
    wait_queue_add(&c->queue, w);
    if (c->shared && !c->running && !c->knocked) /* they have ended since it was decided to wait */
        wait_queue_wake_all(&c->queue);
    shared_leave(c->shared);
}

void catalogue_leave(struct catalogue *c, struct waiter *w)
{
    shared_enter(c->shared);
    waiter_leave(w);
    shared_leave(c->shared);
}
