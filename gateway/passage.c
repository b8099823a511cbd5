/*
 * gateway/passage.c - a passed-through request's whole life, as a table of steps.
 *
 * Read from top to bottom, like exchange.c: each step does its part and names the next one, or
 * STEP_WAIT when something outside has to happen first. Callbacks (client, upstream, timer, queue)
 * note what happened and call go_on.
 *
 * The one hard complication is that two streams run at once, each with its own pace: the request's
 * body up, the answer's down. Until a byte of the answer was passed down the body is kept (up to
 * KEPT_MAX), so that the request can go out again, by another account or on a fresh connection;
 * afterwards nothing is kept and nothing is tried again.
 *
 * Cost of a piece: it is searched for the account's key where it lies, and leaves with one write;
 * no allocation, no copy, no timer call.
 */
#include "gateway/passage.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/account_events.h"
#include "gateway/client_work.h"
#include "gateway/clock.h"
#include "gateway/error_response.h"
#include "gateway/http_client.h"
#include "gateway/log.h"
#include "gateway/passage_rules.h"
#include "gateway/reply.h"

#define PASSAGE_STEPS(X)                                                                           \
    X(LIMIT, limit, "has the key anything left?")                                                  \
    X(LEASE, lease, "an account of the route")                                                     \
    X(SEND, send, "the request goes out, with what came of its body so far")                       \
    X(STREAM, stream, "bytes go up and down")                                                      \
    X(FINISH, finish, "last bytes out, log line, lease back")

enum passage_step {
    STEP_WAIT = -1,
#define X(name, function, text) STEP_##name,
    PASSAGE_STEPS(X)
#undef X
        STEP_OVER
};

enum {
    PASSAGE_MAGIC = 0x50415353,
    KEPT_MAX = 8 << 20,         /* of a request's body, for another try */
    KEPT_OF_LARGE = 512 * 1024, /* of one that is announced as larger: enough to find out that an
                                   idle connection was closed meanwhile */
    TARGET_MAX = 64 * 1024,
    HELD_MAX = 64 * 1024, /* of a refusal that has to be read before it is understood */
    ROOM_KEEP = 64 * 1024
};

enum end_state { END_OPEN, END_COMPLETE, END_BROKEN, END_CANCELLED, END_REFUSED, END_FAILED };
static const char *const end_names[] = {"open",      "complete", "cut",
                                        "cancelled", "refused",  "failed"};

/* What is put in, and where. */
struct injection {
    enum route_inject where;
    struct span name, value;
};

struct passage {
    struct client_work work; /* first */
    unsigned magic;
    enum passage_step step;
    struct engine *engine;
    struct passage *prev, *next;
    struct http_exchange *http; /* NULL: the client is gone or answered */
    struct config *config;      /* reference */
    const struct route_config *route;
    bool bare;                   /* the path is the service's own already */
    struct limited_key *limited; /* reference; NULL = not one of ours */
    bool holds_place;            /* it counts among the key's unfinished requests */
    struct access_grant grant;
    struct arena arena;
    char request_id[REQUEST_ID_SIZE];
    struct ip_address client;
    const char *method; /* static */
    struct span path;   /* for the log; in the arena, without the query */

    /* who asks the upstream */
    struct injection visitor; /* the client's own key */
    bool visits;
    struct account *account;
    size_t account_index;
    uint64_t tried;
    int tries;
    struct span account_name; /* in the arena, for the log */
    struct waiter waiter;
    uint64_t queue_until_ms; /* 0 = not waiting */

    /* up */
    struct upstream_call *call;
    uint64_t body_length; /* UINT64_MAX: chunked */
    struct buffer kept;   /* of the body: all so far while `keeps`, and all before the first call */
    size_t keep_max;
    bool keeps;
    bool body_ended;
    bool body_paused;
    uint64_t bytes_in;

    /* down */
    struct site_head *held; /* in the arena: it goes down when `held_body` was looked at; or NULL */
    struct buffer held_body;
    struct passage_mask mask;
    struct buffer room; /* for pieces that the key was found in */
    bool head_sent, head_waits, paused;
    int status, site_status;
    struct span site_request_id;
    struct fail fail;
    enum end_state end;
    uint64_t bytes_out;

    uv_timer_t timer;
    uint64_t started_ms, first_ms;
    bool advancing;
};

static void go_on(struct passage *p);

static uint64_t now_ms(const struct passage *p) { return uv_now(p->engine->loop); }
static const struct site_config *site_of(const struct passage *p) { return p->route->site; }

/* ---- which requests ---- */

static bool is_below(struct span path, struct span prefix)
{
    return span_starts(path, prefix) && (path.n == prefix.n || path.p[prefix.n] == '/');
}

static bool is_gemini_path(struct span path)
{
    return is_below(path, SPAN("/v1beta")) || is_below(path, SPAN("/v1beta1")) ||
           is_below(path, SPAN("/upload/v1beta"));
}

static bool has(const struct http_exchange *http, const char *name)
{
    return http_exchange_header(http, name).n > 0;
}

/* Whose protocol a request without a prefix speaks (sites/passthrough.md §2). */
static enum dialect dialect_by_signs(const struct http_exchange *http, struct span path)
{
    if (is_gemini_path(path) || has(http, "x-goog-api-key"))
        return DIALECT_GOOGLE;
    if (has(http, "x-api-key") || has(http, "anthropic-version") ||
        is_below(path, SPAN("/v1/messages")) || is_below(path, SPAN("/v1/complete")))
        return DIALECT_ANTHROPIC;
    return DIALECT_OPENAI;
}

static bool has_foreign_key(const struct http_exchange *http)
{
    struct arena arena;
    arena_init(&arena);
    struct span query = passage_query(http_exchange_target(http));
    bool foreign = access_has_foreign_key(http, passage_query_get(&arena, query, SPAN("key")));
    arena_free(&arena);
    return foreign;
}

static struct passage_way by_prefix(const struct config *config, struct span target)
{
    struct passage_way way = {0};
    for (size_t i = 0; i < config->n_routes; i++) {
        const struct route_config *route = &config->routes[i];
        enum passage_match match = passage_match(target, route->prefix);
        if (match == PASSAGE_NO_MATCH || (way.route && way.route->prefix.n > route->prefix.n))
            continue;
        way = (struct passage_way){.route = route, .ambiguous = match == PASSAGE_AMBIGUOUS};
    }
    return way;
}

/* A site whose visitors bring their own keys has the first word on our own API. */
static bool serves_visitors(const struct config *config)
{
    for (size_t i = 0; i < config->n_sites; i++) {
        if (config->sites[i].keys_passthrough)
            return true;
    }
    return false;
}

struct passage_way passage_find(const struct http_exchange *http, bool ours)
{
    const struct config *config = http_exchange_config(http);
    if (!config->n_routes && !config->passthrough_unknown_keys)
        return (struct passage_way){0};
    struct span target = http_exchange_target(http), path = passage_path(target);
    struct passage_way way = by_prefix(config, target);
    if (way.route)
        return way;
    if (!ours) { /* mended, the path would be the route's; but nothing is mended */
        way = by_prefix(config, http_exchange_path(http));
        way.ambiguous = way.route != NULL;
        if (way.route)
            return way;
    }
    bool gemini = is_gemini_path(path);
    if (config->passthrough_unknown_keys && (gemini || is_below(path, SPAN("/v1"))) &&
        !(ours && serves_visitors(config)) && has_foreign_key(http))
        return (struct passage_way){
            .route = config->visitor_routes[dialect_by_signs(http, path)],
            .visitor = true,
            .bare = true,
        };
    for (size_t i = 0; i < config->n_routes && gemini && !ours; i++) {
        if (config->routes[i].dialect == DIALECT_GOOGLE)
            return (struct passage_way){.route = &config->routes[i], .bare = true};
    }
    return (struct passage_way){0};
}

/* ---- may they ---- */

static bool takes_method(const struct route_config *route, struct span method)
{
    for (size_t i = 0; i < route->n_methods; i++) {
        if (span_eq(route->methods[i], method))
            return route_method(method) != NULL;
    }
    return false;
}

static bool takes_path(const struct route_config *route, struct span path)
{
    for (size_t i = 0; i < route->n_paths; i++) {
        if (span_glob(route->paths[i], path))
            return true;
    }
    return false;
}

static struct span stripped(const struct route_config *route, bool bare)
{
    return route->strip_prefix && !bare ? route->prefix : SPAN("");
}

static int refuse_method(const struct route_config *route, struct span method, struct fail *fail)
{
    struct buffer allow;
    buffer_init(&allow, sizeof fail->param);
    for (size_t i = 0; i < route->n_methods; i++)
        buffer_printf(&allow, "%.*s, ", SPAN_ARGS(route->methods[i]));
    buffer_printf(&allow, "OPTIONS");
    buffer_char(&allow, '\0');
    fail_param(fail, FAIL_METHOD, allow.p ? allow.p : "OPTIONS",
               "the route %.*s does not take %.*s", SPAN_ARGS(span_first(route->prefix, 60)),
               SPAN_ARGS(span_first(method, 16)));
    buffer_free(&allow);
    return -1;
}

static int check_key(const struct http_exchange *http, const struct passage_way *way,
                     struct access_grant *grant, struct fail *fail)
{
    const struct site_config *site = way->route->site;
    struct arena arena;
    *grant = (struct access_grant){0};
    if (way->visitor)
        return 0;
    arena_init(&arena);
    struct span query = passage_query(http_exchange_target(http));
    int bad = access_check_route_key(http, passage_query_get(&arena, query, SPAN("key")),
                                     site->keys_passthrough, clock_wall_ms(), grant, fail);
    if (grant->visitor_key.n) /* it is looked for again; this one goes with the arena */
        grant->visitor_key = SPAN("visitor");
    arena_free(&arena);
    if (!bad && !access_opens_site(grant, site))
        return fail_set(fail, FAIL_ACCESS_DENIED,
                        "the key \"%.*s\" is tied to accounts of other sites (\"accounts\" in "
                        "gateway.toml)",
                        SPAN_ARGS(span_first(grant->key->name, 60)));
    return bad;
}

int passage_check(const struct http_exchange *http, const struct passage_way *way,
                  struct access_grant *grant, struct fail *fail)
{
    const struct route_config *route = way->route;
    struct span target = http_exchange_target(http), method = http_exchange_method(http);
    struct span prefix = way->bare ? SPAN("") : route->prefix;
    const char *wrong = passage_check_target(target, prefix);
    if (!wrong && way->ambiguous)
        wrong = "the path is not written plainly";
    if (wrong)
        return fail_set(fail, FAIL_INVALID_VALUE, "%s; it is not passed on to %.*s", wrong,
                        SPAN_ARGS(span_first(route->site->host_header, 60)));
    if (!takes_method(route, method))
        return refuse_method(route, method, fail);
    if (check_key(http, way, grant, fail))
        return -1;
    struct span path = passage_rest(passage_path(target), stripped(route, way->bare), SPAN(""));
    if (!takes_path(route, path))
        return fail_set(fail, FAIL_UNKNOWN_URL, "the route %.*s does not pass on %.*s",
                        SPAN_ARGS(span_first(route->prefix, 60)), SPAN_ARGS(span_first(path, 80)));
    return 0;
}

/* ---- what goes up ---- */

/* Which of the client's own keys the service reads, and where it stands: there it goes. */
static void find_visitor(struct passage *p)
{
    static const char *const order[][3] = {
        [DIALECT_NONE] = {"authorization", "x-api-key", "api-key"},
        [DIALECT_OPENAI] = {"authorization", "x-api-key", "api-key"},
        [DIALECT_ANTHROPIC] = {"x-api-key", "authorization", NULL},
        [DIALECT_GOOGLE] = {"x-goog-api-key", NULL, NULL},
    };
    const char *const *names = order[p->route->dialect];
    struct span query = passage_query(http_exchange_target(p->http));
    p->visits = true;
    p->visitor = (struct injection){.where = ROUTE_INJECT_HEADER};
    for (size_t i = 0; i < 3 && names[i]; i++) {
        struct span value = http_exchange_header(p->http, names[i]);
        if (!value.n)
            continue;
        p->visitor.name = span_str(names[i]);
        p->visitor.value = arena_dup(&p->arena, value);
        return;
    }
    p->visitor.where = p->route->inject;
    p->visitor.name = p->route->inject_name;
    p->visitor.value = passage_query_get(&p->arena, query, SPAN("key"));
    if (p->visitor.value.n)
        return;
    p->visitor.where = ROUTE_INJECT_HEADER; /* Gemini takes OAuth's tokens, too */
    p->visitor.name = SPAN("authorization");
    p->visitor.value = arena_dup(&p->arena, http_exchange_header(p->http, "authorization"));
}

static struct injection injection_of(const struct passage *p)
{
    static const char *const names[] = {"key", "api_key", "token"};
    struct injection in = {p->route->inject, p->route->inject_name, {NULL, 0}};
    if (p->visits)
        return p->visitor;
    for (size_t i = 0; i < 3 && !in.value.n; i++)
        in.value = account_newest(&p->account->view, names[i]);
    if (!in.value.n)
        in.where = ROUTE_INJECT_NONE;
    return in;
}

static struct span make_target(struct passage *p, const struct injection *in)
{
    struct span target = http_exchange_target(p->http), query = passage_query(target);
    struct buffer cut, out;
    buffer_init(&cut, TARGET_MAX);
    buffer_init(&out, TARGET_MAX);
    passage_query_without(&cut, query, SPAN("key"));
    if (in->where == ROUTE_INJECT_QUERY) {
        struct buffer once = cut;
        buffer_init(&cut, TARGET_MAX);
        passage_query_without(&cut, buffer_span(&once), in->name);
        passage_query_add(&cut, cut.n == 0, in->name, in->value);
        buffer_free(&once);
    }
    buffer_append(&out, passage_rest(passage_path(target), stripped(p->route, p->bare),
                                     site_of(p)->settings.prefix));
    if (cut.n || (query.p && !query.n))
        buffer_char(&out, '?');
    buffer_append(&out, buffer_span(&cut));
    struct span result =
        cut.error || out.error ? span_of(NULL, 0) : arena_dup(&p->arena, buffer_span(&out));
    buffer_free(&cut);
    buffer_free(&out);
    return result;
}

static bool is_sent_up(const struct header *all, size_t n, struct span name,
                       const struct injection *in)
{
    return passage_goes_up(name) && !passage_is_named(all, n, name) &&
           !(in->where == ROUTE_INJECT_HEADER && span_eq_nocase(name, in->name));
}

/* NULL when memory is short. */
static struct header *make_headers(struct passage *p, const struct injection *in, size_t *n)
{
    size_t n_all, count = 0;
    bool versioned = p->route->dialect != DIALECT_ANTHROPIC;
    const struct header *all = http_exchange_headers(p->http, &n_all);
    struct header *list = arena_alloc(&p->arena, (n_all + 2) * sizeof *list);
    if (!list)
        return NULL;
    for (size_t i = 0; i < n_all; i++) {
        if (!is_sent_up(all, n_all, all[i].name, in))
            continue;
        versioned |= span_eq_nocase(all[i].name, SPAN("anthropic-version"));
        list[count++] = all[i];
    }
    if (!versioned)
        list[count++] = (struct header){SPAN("anthropic-version"), SPAN("2023-06-01")};
    if (in->where == ROUTE_INJECT_BEARER)
        list[count++] = (struct header){
            SPAN("Authorization"), arena_printf(&p->arena, "Bearer %.*s", SPAN_ARGS(in->value))};
    else if (in->where == ROUTE_INJECT_HEADER)
        list[count++] = (struct header){in->name, in->value};
    *n = count;
    return list;
}

static int64_t length_up(const struct passage *p)
{
    if (p->body_length == UINT64_MAX)
        return HTTP_CHUNKED_BODY;
    bool posts = strcmp(p->method, "POST") == 0 || strcmp(p->method, "PUT") == 0 ||
                 strcmp(p->method, "PATCH") == 0;
    return p->body_length || posts ? (int64_t)p->body_length : HTTP_NO_BODY;
}

/* The client may send again, or is to wait. */
static void pace_body(struct passage *p, size_t waiting)
{
    bool full = waiting > UPSTREAM_HIGH_WATER;
    if (!p->http || p->body_ended || full == p->body_paused)
        return;
    p->body_paused = full;
    if (full)
        http_exchange_pause_body(p->http);
    else
        http_exchange_resume_body(p->http);
}

static void forget_kept(struct passage *p)
{
    p->keeps = false;
    buffer_free(&p->kept);
}

static void fail_now(struct passage *p)
{
    if (p->call)
        upstream_cancel(p->call, false);
    p->call = NULL;
    p->end = p->head_sent ? END_BROKEN : END_FAILED;
    p->step = STEP_FINISH;
    go_on(p);
}

static void on_body(struct client_work *work, struct span piece, bool last)
{
    struct passage *p = (struct passage *)work;
    assert(p->magic == PASSAGE_MAGIC && !p->body_ended);
    p->bytes_in += piece.n;
    p->body_ended = last;
    if (p->call && p->keeps && p->kept.n + piece.n > p->keep_max)
        forget_kept(p);
    if ((!p->call || p->keeps) && buffer_append(&p->kept, piece)) {
        if (!p->call) {
            fail_memory(&p->fail);
            account_pool_leave(p->engine->accounts, &p->waiter, now_ms(p));
            fail_now(p);
            return;
        }
        forget_kept(p); /* it would have been for another try */
    }
    pace_body(p, p->call ? upstream_send(p->call, piece, last) : p->kept.n);
}

static void on_upstream_drain(void *owner) { pace_body(owner, 0); }

static bool on_again(void *owner, struct span *sent)
{
    struct passage *p = owner;
    *sent = buffer_span(&p->kept);
    return p->keeps;
}

/* ---- what comes down ---- */

static enum fail_kind failure_of(int status)
{
    switch (status) {
    case 401:
    case 403: return FAIL_CREDENTIAL;
    case 429: return FAIL_RATE_LIMITED;
    case 503:
    case 529: return FAIL_OVERLOADED;
    default: return status >= 500 ? FAIL_UNAVAILABLE : FAIL_NONE;
    }
}

/* Google tells in the body alone that a key is wrong (400), and for how long one has to rest. */
static bool tells_in_body(const struct passage *p, const struct site_head *head)
{
    return p->route->dialect == DIALECT_GOOGLE && !p->visits &&
           site_head_is(head, "application/json") &&
           (head->status == 400 || (head->status == 429 && !head->retry_after_s));
}

/* `"retryDelay": "34.07s"`, rounded up; 0 = not told. */
static int retry_delay(struct span body)
{
    uint64_t seconds = 0;
    ptrdiff_t at = span_find(body, SPAN("\"retryDelay\""));
    struct span rest = at < 0 ? SPAN("") : span_from(body, (size_t)at + 12), word = SPAN("");
    span_split(&rest, '"', &word); /* the colon */
    if (!span_split(&rest, '"', &word) || !span_ends(word, SPAN("s")))
        return 0;
    ptrdiff_t dot = span_find_char(word, '.');
    if (!span_to_u64(span_first(word, dot < 0 ? word.n - 1 : (size_t)dot), 86400 * 7, &seconds))
        return 0;
    return (int)seconds + (dot >= 0);
}

static enum fail_kind failure_in(const struct passage *p, int status)
{
    if (status == 400 && span_find(buffer_span(&p->held_body), SPAN("API_KEY_INVALID")) >= 0)
        return FAIL_CREDENTIAL;
    return failure_of(status);
}

/* What the answer says of the account. */
static void note_status(struct passage *p, const struct site_head *head)
{
    struct fail fail;
    enum fail_kind kind = failure_in(p, head->status);
    bool page = site_head_is(head, "text/html") || site_head_get(head, "cf-mitigated").n;
    if (p->visits)
        return;
    if (kind == FAIL_NONE) {
        account_met_success(p->account, SPAN(""));
        return;
    }
    if (page && head->status < 500)
        kind = FAIL_CHALLENGE;
    fail_set(&fail, kind, "%s answered %d on the route %.*s", p->account->site, head->status,
             SPAN_ARGS(span_first(p->route->prefix, 60)));
    fail.retry_after_s =
        head->retry_after_s ? head->retry_after_s : retry_delay(buffer_span(&p->held_body));
    account_met_failure(p->account, SPAN(""), &fail, now_ms(p));
}

static bool take_for_waiter(struct waiter *w, uint64_t now)
{
    const struct passage *p = (struct passage *)((char *)w - offsetof(struct passage, waiter));
    const struct lease_wish wish = {.site = site_of(p), .key = p->grant.key, .tried = p->tried};
    return account_pool_take(p->engine->accounts, w, &wish, now);
}

static enum lease_result lease(struct passage *p, struct account **account, size_t *index,
                               uint64_t *retry_at)
{
    const struct lease_wish wish = {.site = site_of(p), .key = p->grant.key, .tried = p->tried};
    *account = account_pool_given(p->engine->accounts, &p->waiter, index);
    if (*account)
        return LEASE_OK;
    return account_pool_lease(p->engine->accounts, &wish, now_ms(p), account, index, retry_at);
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
        account_release(account, now_ms(p));
}

/* The answer is a failure of the account's: is another one free at once, and can the request go out
 * again? Then the other one has it. */
static bool another_takes_over(struct passage *p, int status)
{
    struct account *other;
    size_t index;
    uint64_t retry_at;
    if (p->visits || !p->keeps || failure_in(p, status) == FAIL_NONE ||
        lease(p, &other, &index, &retry_at) != LEASE_OK)
        return false;
    if (p->call)
        upstream_cancel(p->call, false);
    p->call = NULL;
    buffer_clear(&p->held_body);
    give_back(p);
    take_account(p, other, index);
    p->step = STEP_SEND;
    return true;
}

/* "https://upstream/upload/…" as the client reaches it; {NULL,0} when it leads elsewhere. */
static struct span rewritten_url(struct passage *p, struct span url)
{
    const struct site_settings *s = &site_of(p)->settings;
    struct span host = http_exchange_header(p->http, "host");
    if (!span_starts(url, s->origin) || !span_starts(span_from(url, s->origin.n), s->prefix))
        return span_of(NULL, 0);
    struct span rest = span_from(url, s->origin.n + s->prefix.n);
    if (!span_starts(rest, SPAN("/")))
        return span_of(NULL, 0);
    return arena_printf(&p->arena, "%s://%.*s%.*s%.*s", p->config->tls_cert.n ? "https" : "http",
                        SPAN_ARGS(host), SPAN_ARGS(stripped(p->route, p->bare)), SPAN_ARGS(rest));
}

static bool is_upload_url(struct span name)
{
    return span_eq_nocase(name, SPAN("x-goog-upload-url")) ||
           span_eq_nocase(name, SPAN("x-goog-upload-control-url"));
}

/* The answer's headers, and ours. */
struct head_down {
    struct header *list;
    size_t n;
    bool has_id, has_request_id, has_cache;
    struct buffer names; /* for Access-Control-Expose-Headers */
};

/* 0, or -1 with fail. */
static int take_headers(struct passage *p, const struct site_head *head, struct head_down *down)
{
    arena_take_short(&p->arena);
    for (size_t i = 0; i < head->n_headers; i++) {
        struct span name = head->headers[i].name, value = head->headers[i].value;
        if (!passage_goes_down(name) || passage_is_named(head->headers, head->n_headers, name))
            continue;
        if (is_upload_url(name)) {
            value = rewritten_url(p, value);
            if (!value.p && arena_take_short(&p->arena))
                return fail_memory(&p->fail);
            if (!value.p)
                return fail_set(&p->fail, FAIL_PROTOCOL,
                                "the upstream wants the upload sent to another host: uploads are "
                                "not passed through there");
        }
        if (!p->visits)
            value = passage_mask_text(&p->arena, value, p->mask.secret);
        down->has_id |= span_eq_nocase(name, SPAN("x-request-id"));
        down->has_request_id |= span_eq_nocase(name, SPAN("request-id"));
        down->has_cache |= span_eq_nocase(name, SPAN("cache-control"));
        if (span_eq_nocase(name, SPAN("x-request-id")) || span_eq_nocase(name, SPAN("request-id")))
            p->site_request_id = arena_dup(&p->arena, span_first(value, 128));
        buffer_printf(&down->names, "%s%.*s", down->names.n ? ", " : "", SPAN_ARGS(name));
        down->list[down->n++] = (struct header){name, value};
    }
    return arena_take_short(&p->arena) ? fail_memory(&p->fail) : 0;
}

/* CORS, our request's id where the upstream gave none, and what keeps proxies from holding a stream
 * back. */
static void add_headers(struct passage *p, const struct site_head *head, struct head_down *down)
{
    struct reply_headers ours;
    reply_headers_common(&ours, p->http, p->request_id, p->route->dialect);
    for (size_t i = 0; i < ours.n; i++) {
        struct header h = ours.list[i];
        if ((down->has_id && span_eq(h.name, SPAN("x-request-id"))) ||
            (down->has_request_id && span_eq(h.name, SPAN("request-id"))))
            continue;
        if (reply_is_exposed_headers(&h) && !down->names.error) {
            buffer_printf(&down->names, "%sx-request-id", down->names.n ? ", " : "");
            h = (struct header){SPAN("Access-Control-Expose-Headers"), buffer_span(&down->names)};
        }
        down->list[down->n++] = h;
    }
    if (!site_head_is(head, "text/event-stream"))
        return;
    if (!down->has_cache)
        down->list[down->n++] = (struct header){SPAN("Cache-Control"), SPAN("no-cache")};
    down->list[down->n++] = (struct header){SPAN("X-Accel-Buffering"), SPAN("no")};
}

/* As announced; -1: chunked. */
static int64_t length_down(const struct site_head *head)
{
    struct span length = site_head_get(head, "content-length");
    uint64_t n;
    if (site_head_get(head, "transfer-encoding").p || !span_to_u64(length, INT64_MAX, &n))
        return -1;
    return (int64_t)n;
}

static int pass_head(struct passage *p, const struct site_head *head)
{
    if (head->status < 200 || head->status > 999)
        return fail_set(&p->fail, FAIL_PROTOCOL, "the upstream answered with the status %d",
                        head->status);
    struct head_down down = {.list =
                                 arena_alloc(&p->arena, (head->n_headers + REPLY_HEADERS_MAX + 4) *
                                                            sizeof(struct header))};
    if (!down.list)
        return fail_memory(&p->fail);
    buffer_init(&down.names, 16 * 1024);
    int bad = take_headers(p, head, &down);
    if (!bad) {
        struct span reason = arena_dup(&p->arena, head->reason);
        add_headers(p, head, &down);
        forget_kept(p);
        p->head_sent = true;
        p->status = head->status;
        if (reason.n)
            http_exchange_set_reason(p->http, reason.p);
        http_answer_start(p->http, head->status, down.list, down.n, length_down(head));
        p->head_waits = true; /* for the first piece, if it is there already */
    }
    buffer_free(&down.names);
    return bad;
}

/* A copy that outlives the call. NULL when memory is short. */
static struct site_head *keep_head(struct arena *arena, const struct site_head *head)
{
    struct site_head *copy = arena_alloc(arena, sizeof *copy);
    struct header *headers = arena_alloc(arena, (head->n_headers + 1) * sizeof *headers);
    bool good = copy && headers;
    for (size_t i = 0; good && i < head->n_headers; i++) {
        headers[i].name = arena_dup(arena, head->headers[i].name);
        headers[i].value = arena_dup(arena, head->headers[i].value);
        good = headers[i].name.p && headers[i].value.p;
    }
    if (!good)
        return NULL;
    *copy = *head;
    copy->headers = headers;
    copy->reason = arena_dup(arena, head->reason);
    copy->content_type = arena_dup(arena, head->content_type);
    return copy;
}

static void pass_body(struct passage *p, struct span bytes)
{
    struct span piece = passage_mask_feed(&p->mask, bytes, &p->room);
    if (bytes.n && !piece.p) {
        fail_memory(&p->fail);
        fail_now(p);
        return;
    }
    if (!piece.n)
        return;
    size_t queued = http_answer_write(p->http, piece);
    p->head_waits = false;
    if (queued > HTTP_HIGH_WATER && !p->paused && p->call) { /* a slow client pauses the upstream */
        p->paused = true;
        upstream_pause(p->call);
    }
    buffer_shrink(&p->room, ROOM_KEEP);
}

/* True: it goes down; false: another account has the request, or it has failed. */
static bool settle_head(struct passage *p, const struct site_head *head)
{
    note_status(p, head);
    if (another_takes_over(p, head->status)) {
        go_on(p);
        return false;
    }
    if (pass_head(p, head)) {
        fail_now(p);
        return false;
    }
    return true;
}

/* The refusal was read as far as it is going to be. */
static bool settle_held(struct passage *p)
{
    const struct site_head *head = p->held;
    p->held = NULL;
    if (!settle_head(p, head))
        return false;
    pass_body(p, buffer_span(&p->held_body));
    buffer_free(&p->held_body);
    return p->step == STEP_STREAM;
}

static void on_head(void *owner, const struct site_head *head)
{
    struct passage *p = owner;
    p->site_status = head->status;
    p->first_ms = now_ms(p);
    if (tells_in_body(p, head))
        p->held = keep_head(&p->arena, head);
    if (!p->held)
        settle_head(p, head);
}

static void on_answer_body(void *owner, struct span bytes)
{
    struct passage *p = owner;
    if (p->held && p->held_body.n + bytes.n <= HELD_MAX) {
        if (buffer_append(&p->held_body, bytes)) {
            fail_memory(&p->fail);
            fail_now(p);
        }
        return;
    }
    if (p->held && !settle_held(p))
        return;
    pass_body(p, bytes);
}

static void on_read_done(void *owner)
{
    struct passage *p = owner;
    if (p->head_waits)
        http_answer_write(p->http, span_of(NULL, 0));
    p->head_waits = false;
}

static void on_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct passage *p = owner;
    p->call = NULL; /* it is gone already */
    if (end == END_CLEAN && p->held && !settle_held(p))
        return;
    p->held = NULL;
    if (end == END_CLEAN) {
        p->end = END_COMPLETE;
    } else {
        p->fail = *fail;
        p->end = p->head_sent ? END_BROKEN : END_FAILED;
        if (!p->visits && p->account)
            account_met_failure(p->account, SPAN(""), fail, now_ms(p));
        engine_count_failure(p->engine, site_of(p)->settings.name, fail->kind);
    }
    p->step = STEP_FINISH;
    go_on(p);
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
    go_on(p);
}

static enum passage_step wait_for_account(struct passage *p, uint64_t retry_at)
{
    const struct site_config *site = site_of(p);
    bool again = p->queue_until_ms != 0;
    uint64_t group = span_hash(SPAN_HASH, p->grant.key ? p->grant.key->name : SPAN(""));
    if (again && now_ms(p) >= p->queue_until_ms) {
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
        p->queue_until_ms = now_ms(p) + (uint64_t)site->queue_timeout_ms;
        uv_timer_start(&p->timer, on_timer, (uint64_t)site->queue_timeout_ms, 0);
    }
    account_pool_offer(p->engine->accounts, site, now_ms(p));
    return STEP_WAIT;
}

static enum passage_step lease_visitor(struct passage *p)
{
    find_visitor(p);
    if (!p->visitor.value.n) {
        fail_set(&p->fail, FAIL_WRONG_KEY,
                 "this API key is not one of the gateway's keys ([[keys]] in gateway.toml), and it "
                 "does not stand where %.*s looks for one",
                 SPAN_ARGS(span_first(site_of(p)->host_header, 60)));
        return refuse(p);
    }
    struct account *account =
        account_pool_visitor(p->engine->accounts, site_of(p), p->visitor.value);
    if (!account) {
        fail_memory(&p->fail);
        return fail_step(p);
    }
    take_account(p, account, 0);
    return STEP_SEND;
}

static enum passage_step step_lease(struct passage *p)
{
    const struct site_config *site = site_of(p);
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
        p->fail.retry_after_s = clock_seconds_until(retry_at, now_ms(p));
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

static const struct upstream_handler site_handler = {on_head, on_answer_body, on_read_done, on_end,
                                                     NULL};
static const struct upstream_body_handler body_handler = {on_upstream_drain, on_again};

static enum passage_step step_send(struct passage *p)
{
    struct upstream_handler handler = site_handler;
    struct injection in = injection_of(p);
    struct http_outgoing request = {.method = span_str(p->method), .length = length_up(p)};
    handler.owner = p;
    p->tries++;
    request.target = make_target(p, &in);
    request.headers = make_headers(p, &in, &request.n_headers);
    if (!request.target.p || !request.headers) {
        fail_memory(&p->fail);
        return fail_step(p);
    }
    passage_mask_init(&p->mask,
                      p->visits || !in.value.n ? span_of(NULL, 0) : arena_dup(&p->arena, in.value));
    p->call = upstream_open(p->engine->upstream, site_of(p), p->account->view.name, &request,
                            &handler, &body_handler, &p->fail);
    if (!p->call)
        return fail_step(p);
    size_t waiting = 0;
    if (p->body_length && (p->kept.n || p->body_ended))
        waiting = upstream_send(p->call, buffer_span(&p->kept), p->body_ended);
    pace_body(p, waiting);
    return STEP_STREAM;
}

/* Everything happens in on_body, on_head, on_answer_body and on_end. */
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
    uint64_t now = now_ms(p);
    log_record_begin(&r, LOG_INFO, "passage");
    log_record_text(&r, "id", span_str(p->request_id));
    log_record_text(&r, "client", span_str(ip_format(&p->client, client)));
    if (p->grant.key)
        log_record_text(&r, "key", p->grant.key->name);
    log_record_text(&r, "route", p->route->prefix);
    log_record_text(&r, "method", span_str(p->method));
    log_record_text(&r, "path", span_first(p->path, 128));
    log_record_text(&r, "site", site_of(p)->settings.name);
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
                             .site = site_of(p)->settings.name,
                             .key = p->grant.key ? p->grant.key->name : SPAN(""),
                             .api = "passage",
                             .end = end_names[p->end],
                             .ms = (int64_t)(now_ms(p) - p->started_ms),
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

static void go_on(struct passage *p)
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
    go_on((struct passage *)((char *)w - offsetof(struct passage, waiter)));
}

/* ---- from outside ---- */

static void stop(struct passage *p, enum end_state end)
{
    p->end = end;
    account_pool_leave(p->engine->accounts, &p->waiter, now_ms(p));
    if (p->call)
        upstream_cancel(p->call, false);
    p->call = NULL;
    p->step = STEP_FINISH;
    go_on(p);
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

static void on_drained(struct client_work *work)
{
    struct passage *p = (struct passage *)work;
    if (!p->paused || !p->call)
        return;
    p->paused = false;
    upstream_resume(p->call);
}

static const struct client_work_ops client_ops = {on_gone, on_drained, on_body};

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
    p->body_length = http_exchange_body_left(http);
    p->body_ended = p->body_length == 0;
    p->keeps = true;
    p->keep_max =
        p->body_length != UINT64_MAX && p->body_length > KEPT_MAX ? KEPT_OF_LARGE : KEPT_MAX;
    buffer_init(&p->kept, KEPT_MAX + (1 << 20));
    buffer_init(&p->held_body, HELD_MAX);
    buffer_init(&p->room, 64 << 20);
    request_id_make(p->request_id);
    uv_timer_init(engine->loop, &p->timer);
    p->timer.data = p;
    p->next = engine->passages;
    if (p->next)
        p->next->prev = p;
    engine->passages = p;
    engine_count_active(engine, 1);
    http_exchange_set_user(http, &p->work);
    go_on(p);
    /* p may be over and freed by now */
}

void passage_preflight(struct http_exchange *http)
{
    static const struct span allow_origin = SPAN_INIT("Access-Control-Allow-Origin");
    char id[REQUEST_ID_SIZE];
    struct reply_headers h;
    struct span wanted = http_exchange_header(http, "access-control-request-headers");
    bool allowed = false;
    request_id_make(id);
    reply_headers_common(&h, http, id, DIALECT_OPENAI);
    for (size_t i = 0; i < h.n; i++)
        allowed |= span_eq(h.list[i].name, allow_origin);
    if (allowed) {
        reply_header(&h, "Access-Control-Allow-Methods",
                     SPAN("GET, POST, PUT, PATCH, DELETE, OPTIONS"));
        reply_header(&h, "Access-Control-Allow-Headers",
                     wanted.n ? wanted : SPAN("authorization, content-type, x-api-key"));
        reply_header(&h, "Access-Control-Max-Age", SPAN("86400"));
        if (has(http, "access-control-request-private-network"))
            reply_header(&h, "Access-Control-Allow-Private-Network", SPAN("true"));
    }
    http_answer_whole(http, allowed ? 204 : 403, h.list, h.n, span_of(NULL, 0));
}
