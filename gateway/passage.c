/*
 * gateway/passage.c - a passed-through request's whole life, as a table of steps.
 *
 * Read from top to bottom, like exchange.c: each step does its part and names the next one, or
 * STEP_WAIT when something outside has to happen first. Callbacks (client, upstream, timer, queue)
 * note what happened and call passage_go_on.
 *
 * The one hard complication is that two streams run at once, each with its own pace: the request's
 * body up (passage_up.c), the answer's down (passage_down.c). Until a byte of the answer was passed
 * down the body is kept, so that the request can go out again, by another account or on a fresh
 * connection; afterwards nothing is kept and nothing is tried again.
 *
 * Cost of a piece: it is searched for the account's key where it lies, and leaves with one write;
 * no allocation, no copy, no timer call.
 */
#include "gateway/passage_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/clock.h"
#include "gateway/error_response.h"
#include "gateway/log.h"

#define PASSAGE_STEPS(X)                                                                           \
    X(LIMIT, limit, "has the key anything left?")                                                  \
    X(LEASE, lease, "an account of the route")                                                     \
    X(SEND, send, "the request goes out, with what came of its body so far")                       \
    X(STREAM, stream, "bytes go up and down")                                                      \
    X(FINISH, finish, "last bytes out, log line, lease back")

static const char *const end_names[] = {"open",      "complete", "cut",
                                        "cancelled", "refused",  "failed"};

/* ---- the account ---- */

static bool take_for_waiter(struct waiter *w, uint64_t now)
{
    const struct passage *p = (struct passage *)((char *)w - offsetof(struct passage, waiter));
    const struct lease_wish wish = {
        .site = passage_site(p), .key = p->grant.key, .tried = p->tried};
    return account_pool_take(p->engine->accounts, w, &wish, now);
}

static enum lease_result lease(struct passage *p, struct account **account, size_t *index,
                               uint64_t *retry_at)
{
    const struct lease_wish wish = {
        .site = passage_site(p), .key = p->grant.key, .tried = p->tried};
    *account = account_pool_given(p->engine->accounts, &p->waiter, index);
    if (*account)
        return LEASE_OK;
    return account_pool_lease(p->engine->accounts, &wish, passage_now_ms(p), account, index,
                              retry_at);
}

static void take_account(struct passage *p, struct account *account, size_t index)
{
    p->account = account;
    p->account_index = index;
    p->account_name = arena_dup(&p->arena, account->view.name);
    p->tried |= 1ull << (index % 64);
    p->queue_until_ms = 0;
}

static void give_back(struct passage *p)
{
    struct account *account = p->account;
    p->account = NULL;
    if (account)
        account_release(account, passage_now_ms(p));
}

bool passage_change_account(struct passage *p)
{
    struct account *other;
    size_t index;
    uint64_t retry_at;
    if (p->visits || !p->keeps || lease(p, &other, &index, &retry_at) != LEASE_OK)
        return false;
    if (p->call)
        upstream_cancel(p->call, false);
    p->call = NULL;
    give_back(p);
    take_account(p, other, index);
    p->step = STEP_SEND;
    return true;
}

/* ---- the steps ---- */

static enum passage_step refuse(struct passage *p)
{
    p->end = END_REFUSED;
    return STEP_FINISH;
}

static enum passage_step fail_step(struct passage *p)
{
    p->end = END_FAILED;
    return STEP_FINISH;
}

static enum passage_step step_limit(struct passage *p)
{
    if (!p->grant.key)
        return STEP_LEASE;
    if (key_limits_begin(p->engine->limits, p->grant.key->name, engine_key_time(p->engine),
                         &p->limited, &p->fail))
        return refuse(p);
    p->holds_place = p->limited != NULL;
    return STEP_LEASE;
}

static void on_timer(uv_timer_t *timer)
{
    struct passage *p = timer->data;
    account_pool_unqueue(p->engine->accounts, &p->waiter); /* its time is up: step_lease sees it */
    passage_go_on(p);
}

static enum passage_step wait_for_account(struct passage *p, uint64_t retry_at)
{
    const struct site_config *site = passage_site(p);
    bool again = p->queue_until_ms != 0;
    uint64_t group = span_hash(SPAN_HASH, p->grant.key ? p->grant.key->name : SPAN(""));
    if (again && passage_now_ms(p) >= p->queue_until_ms) {
        fail_set(&p->fail, FAIL_SERVER_BUSY,
                 "every account of %.*s has been busy for %lld s; try again later, add an account, "
                 "or raise queue_timeout",
                 SPAN_ARGS(site->settings.name), (long long)site->queue_timeout_ms / 1000);
        p->fail.retry_after_s = 10;
        return fail_step(p);
    }
    if (!account_pool_wait(p->engine->accounts, site, &p->waiter, group, again, retry_at)) {
        fail_set(&p->fail, FAIL_SERVER_BUSY,
                 "%d requests wait for an account of %.*s already (queue_max)", site->queue_max,
                 SPAN_ARGS(site->settings.name));
        p->fail.retry_after_s = 10;
        return fail_step(p);
    }
    if (!again) {
        p->queue_until_ms = passage_now_ms(p) + (uint64_t)site->queue_timeout_ms;
        uv_timer_start(&p->timer, on_timer, (uint64_t)site->queue_timeout_ms, 0);
    }
    account_pool_offer(p->engine->accounts, site, passage_now_ms(p));
    return STEP_WAIT;
}

static enum passage_step lease_visitor(struct passage *p)
{
    arena_take_short(&p->arena);
    passage_find_visitor(p);
    if (arena_take_short(&p->arena)) {
        fail_memory(&p->fail);
        return fail_step(p);
    }
    if (!p->visitor.value.n) {
        fail_set(&p->fail, FAIL_WRONG_KEY,
                 "this API key is not one of the gateway's keys ([[keys]] in gateway.toml), and it "
                 "does not stand where %.*s looks for one",
                 SPAN_ARGS(span_first(passage_site(p)->host_header, 60)));
        return refuse(p);
    }
    struct account *account =
        account_pool_visitor(p->engine->accounts, passage_site(p), p->visitor.value);
    if (!account) {
        fail_memory(&p->fail);
        return fail_step(p);
    }
    take_account(p, account, 0);
    return STEP_SEND;
}

static enum passage_step step_lease(struct passage *p)
{
    const struct site_config *site = passage_site(p);
    struct account *account;
    size_t index = 0;
    uint64_t retry_at = 0;
    if (site->bridge) {
        fail_set(&p->fail, FAIL_BRIDGE,
                 "no browser tab of %.*s is connected (transport = \"bridge\" comes with a later "
                 "version)",
                 SPAN_ARGS(site->settings.name));
        return fail_step(p);
    }
    if (p->grant.visitor_key.n)
        return lease_visitor(p);
    switch (lease(p, &account, &index, &retry_at)) {
    case LEASE_BUSY: return wait_for_account(p, retry_at);
    case LEASE_COOLING:
        fail_set(&p->fail, FAIL_RATE_LIMITED,
                 "every account of %.*s rests after the upstream's rate limit",
                 SPAN_ARGS(site->settings.name));
        p->fail.retry_after_s = clock_seconds_until(retry_at, passage_now_ms(p));
        return fail_step(p);
    case LEASE_NONE:
        fail_set(&p->fail, FAIL_CREDENTIAL, "no account of %.*s may serve this key",
                 SPAN_ARGS(site->settings.name));
        return fail_step(p);
    case LEASE_OK: break;
    }
    take_account(p, account, index);
    uv_timer_stop(&p->timer);
    return STEP_SEND;
}

static enum passage_step step_send(struct passage *p)
{
    p->tries++;
    return passage_send(p) ? fail_step(p) : STEP_STREAM;
}

/* Everything happens in passage_up.c and passage_down.c. */
static enum passage_step step_stream(struct passage *p) { return STEP_WAIT; }

/* ---- the end ---- */

static void answer_failure(struct passage *p)
{
    const struct error_context context = {.request_id = span_str(p->request_id)};
    enum dialect dialect = p->route->dialect;
    struct reply_headers h;
    struct buffer body;
    buffer_init(&body, ERROR_OBJECT_MAX);
    error_body(&body, dialect, &p->fail, &context);
    reply_headers_common(&h, p->http, p->request_id, dialect);
    reply_header(&h, "Content-Type", SPAN("application/json"));
    reply_headers_failure(&h, &p->fail, p->tries > 1);
    p->status = error_status(dialect, p->fail.kind);
    struct span text = error_last_words(&body, &p->status);
    p->bytes_out = text.n;
    http_exchange_set_reason(p->http, error_row(p->fail.kind)->reason);
    http_answer_whole(p->http, p->status, h.list, h.n, text);
    buffer_free(&body);
}

static void answer_client(struct passage *p)
{
    /* From here on nobody needs to tell us that the client left. */
    http_exchange_set_user(p->http, NULL);
    if (!p->head_sent) {
        answer_failure(p);
    } else {
        struct span last = passage_mask_end(&p->mask);
        p->bytes_out = http_exchange_bytes_out(p->http) + last.n;
        if (p->end == END_COMPLETE)
            http_answer_end(p->http, last);
        else
            http_answer_abort(p->http);
    }
    p->http = NULL;
}

static void log_access(const struct passage *p)
{
    struct log_record r;
    char client[46];
    uint64_t now = passage_now_ms(p);
    log_record_begin(&r, LOG_INFO, "passage");
    log_record_text(&r, "id", span_str(p->request_id));
    log_record_text(&r, "client", span_str(ip_format(&p->client, client)));
    if (p->grant.key)
        log_record_text(&r, "key", p->grant.key->name);
    log_record_text(&r, "route", p->route->prefix);
    log_record_text(&r, "method", span_str(p->method));
    log_record_text(&r, "path", span_first(p->path, 128));
    log_record_text(&r, "site", passage_site(p)->settings.name);
    if (p->account_name.n)
        log_record_text(&r, "account", p->account_name);
    log_record_int(&r, "status", p->status);
    log_record_text(&r, "end", span_str(end_names[p->end]));
    if (p->end != END_COMPLETE && p->fail.kind != FAIL_NONE)
        log_record_text(&r, "error", span_str(fail_kind_name(p->fail.kind)));
    if (p->site_status)
        log_record_int(&r, "site_status", p->site_status);
    if (p->site_request_id.n)
        log_record_text(&r, "site_id", p->site_request_id);
    if (p->first_ms)
        log_record_int(&r, "first_ms", (int64_t)(p->first_ms - p->started_ms));
    log_record_int(&r, "ms", (int64_t)(now - p->started_ms));
    log_record_int(&r, "bytes_in", (int64_t)p->bytes_in);
    log_record_int(&r, "bytes", (int64_t)p->bytes_out);
    if (p->tries > 1)
        log_record_int(&r, "tries", p->tries);
    log_record_end(&r);
}

static void count_request(const struct passage *p)
{
    engine_count_request(p->engine,
                         &(struct metrics_request){
                             .site = passage_site(p)->settings.name,
                             .key = p->grant.key ? p->grant.key->name : SPAN(""),
                             .api = "passage",
                             .end = end_names[p->end],
                             .ms = (int64_t)(passage_now_ms(p) - p->started_ms),
                             .first_ms = p->first_ms ? (int64_t)(p->first_ms - p->started_ms) : -1,
                             .bytes_in = p->bytes_in,
                             .bytes_out = p->bytes_out,
                         });
}

static enum passage_step step_finish(struct passage *p)
{
    assert(p->end != END_OPEN && !p->call);
    if (p->holds_place) /* before the last piece: the client may ask again as soon as it has it */
        limited_key_end(p->limited);
    p->holds_place = false;
    if (p->http)
        answer_client(p);
    uv_timer_stop(&p->timer);
    log_access(p);
    count_request(p);
    give_back(p);
    return STEP_OVER;
}

/* ---- the machine ---- */

static enum passage_step (*const steps[])(struct passage *) = {
#define X(name, function, text) [STEP_##name] = step_##function,
    PASSAGE_STEPS(X)
#undef X
};

static void on_timer_closed(uv_handle_t *handle)
{
    struct passage *p = handle->data;
    arena_free(&p->arena);
    p->magic = 0;
    free(p);
}

static void destroy(struct passage *p)
{
    assert(!p->http && !p->waiter.queue && !p->call && !p->account);
    if (p->prev)
        p->prev->next = p->next;
    else
        p->engine->passages = p->next;
    if (p->next)
        p->next->prev = p->prev;
    engine_count_active(p->engine, -1);
    if (p->limited)
        limited_key_unref(p->limited);
    buffer_free(&p->kept);
    buffer_free(&p->held_body);
    buffer_free(&p->room);
    config_unref(p->config);
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

void passage_go_on(struct passage *p)
{
    assert(p->magic == PASSAGE_MAGIC);
    if (p->advancing || p->step == STEP_OVER)
        return;
    p->advancing = true;
    while (p->step != STEP_OVER) {
        enum passage_step next = steps[p->step](p);
        if (next == STEP_WAIT)
            break;
        p->step = next;
    }
    p->advancing = false;
    if (p->step == STEP_OVER)
        destroy(p);
}

static void on_wake(struct waiter *w)
{
    passage_go_on((struct passage *)((char *)w - offsetof(struct passage, waiter)));
}

/* ---- from outside ---- */

void passage_fail_now(struct passage *p)
{
    if (p->call)
        upstream_cancel(p->call, false);
    p->call = NULL;
    p->end = p->head_sent ? END_BROKEN : END_FAILED;
    p->step = STEP_FINISH;
    passage_go_on(p);
}

static void stop(struct passage *p, enum end_state end)
{
    p->end = end;
    account_pool_leave(p->engine->accounts, &p->waiter, passage_now_ms(p));
    if (p->call)
        upstream_cancel(p->call, false);
    p->call = NULL;
    p->step = STEP_FINISH;
    passage_go_on(p);
}

static void on_gone(struct client_work *work)
{
    struct passage *p = (struct passage *)work;
    assert(p->magic == PASSAGE_MAGIC);
    p->bytes_out = http_exchange_bytes_out(p->http);
    p->http = NULL;
    if (p->step < STEP_FINISH)
        stop(p, END_CANCELLED);
}

static const struct client_work_ops client_ops = {on_gone, passage_drained, passage_take_body};

void passage_abandon(struct passage *p)
{
    assert(p->magic == PASSAGE_MAGIC);
    if (p->step >= STEP_FINISH)
        return;
    fail_set(&p->fail, FAIL_SERVER_BUSY,
             "dragoman is shutting down; the answer could not be finished");
    p->fail.retry_after_s = 5;
    stop(p, p->head_sent ? END_BROKEN : END_FAILED);
}

struct passage *passage_next(struct passage *p) { return p->next; }

void passage_start(struct engine *engine, struct http_exchange *http, const struct passage_way *way,
                   const struct access_grant *grant)
{
    struct passage *p = calloc(1, sizeof *p);
    if (!p) {
        struct fail fail;
        fail_memory(&fail);
        reply_fail(http, "req_none", way->route->dialect, &fail);
        return;
    }
    p->work.ops = &client_ops;
    p->magic = PASSAGE_MAGIC;
    p->engine = engine;
    p->http = http;
    p->config = config_ref(http_exchange_config(http));
    p->route = way->route;
    p->bare = way->bare;
    p->grant = *grant;
    if (way->visitor)
        p->grant.visitor_key = SPAN("visitor");
    arena_init(&p->arena);
    p->waiter.wake = on_wake;
    p->waiter.take = take_for_waiter;
    p->started_ms = http_exchange_started_ms(http);
    p->client = *http_exchange_peer(http);
    p->method = route_method(http_exchange_method(http));
    p->path = arena_dup(&p->arena, passage_path(http_exchange_target(http)));
    passage_init_up(p);
    passage_init_down(p);
    request_id_make(p->request_id);
    uv_timer_init(engine->loop, &p->timer);
    p->timer.data = p;
    p->next = engine->passages;
    if (p->next)
        p->next->prev = p;
    engine->passages = p;
    engine_count_active(engine, 1);
    http_exchange_set_user(http, &p->work);
    passage_go_on(p);
    /* p may be over and freed by now */
}
