/*
 * gateway/front.c - see front.h.
 *
 * Order of refusal: address, CORS preflight, Host, path and method, key; a body is read only for
 * what passed all of them.
 */
#include "gateway/front.h"

#include <stdio.h>

#include "adapters/support.h"
#include "base/json_write.h"
#include "gateway/access.h"
#include "gateway/api.h"
#include "gateway/client_work.h"
#include "gateway/count_tokens.h"
#include "gateway/error_response.h"
#include "gateway/exchange.h"
#include "gateway/landing.h"
#include "gateway/log.h"
#include "gateway/metrics_gather.h"
#include "gateway/metrics_page.h"
#include "gateway/passage.h"
#include "gateway/reply.h"

enum route_kind {
    ROUTE_NONE,
    ROUTE_LANDING,
    ROUTE_HEALTH,
    ROUTE_METRICS,
    ROUTE_MODELS,
    ROUTE_MODEL,
    ROUTE_COUNT_TOKENS,
    ROUTE_EXCHANGE,
    ROUTE_RESPONSE
};

struct route {
    struct span path; /* behind /v1 */
    enum route_kind kind;
    bool posts;            /* takes POST; the others GET and HEAD */
    const struct api *api; /* ROUTE_EXCHANGE, and whose dialect its errors are in */
    struct span
        rest;   /* ROUTE_MODEL: the id, still percent-encoded; ROUTE_RESPONSE: "/responses/…" */
    bool items; /* ROUTE_RESPONSE: …/input_items */
};

static const struct route routes[] = {
    {SPAN_INIT("/health"), ROUTE_HEALTH, .posts = false},
    {SPAN_INIT("/metrics"), ROUTE_METRICS, .posts = false},
    {SPAN_INIT("/models"), ROUTE_MODELS, .posts = false},
    {SPAN_INIT("/chat/completions"), ROUTE_EXCHANGE, .posts = true, .api = &api_chat},
    {SPAN_INIT("/completions"), ROUTE_EXCHANGE, .posts = true, .api = &api_completions},
    {SPAN_INIT("/messages"), ROUTE_EXCHANGE, .posts = true, .api = &api_messages},
    {SPAN_INIT("/messages/count_tokens"), ROUTE_COUNT_TOKENS, .posts = true, .api = &api_messages},
    {SPAN_INIT("/responses"), ROUTE_EXCHANGE, .posts = true, .api = &api_responses},
    {SPAN_INIT("/embeddings"), ROUTE_EXCHANGE, .posts = true, .api = &api_relay},
    {SPAN_INIT("/images/generations"), ROUTE_EXCHANGE, .posts = true, .api = &api_relay},
    {SPAN_INIT("/images/edits"), ROUTE_EXCHANGE, .posts = true, .api = &api_relay},
    {SPAN_INIT("/images/variations"), ROUTE_EXCHANGE, .posts = true, .api = &api_relay},
    {SPAN_INIT("/audio/speech"), ROUTE_EXCHANGE, .posts = true, .api = &api_relay},
    {SPAN_INIT("/audio/transcriptions"), ROUTE_EXCHANGE, .posts = true, .api = &api_relay},
    {SPAN_INIT("/audio/translations"), ROUTE_EXCHANGE, .posts = true, .api = &api_relay},
};

static const char *allowed_methods(const struct route *route)
{
    if (route->kind == ROUTE_RESPONSE && !route->items)
        return "GET, HEAD, DELETE, OPTIONS";
    return route->posts ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
}

/* The API's path behind any number of /v1 (H5). */
static struct span without_version(struct span path)
{
    while (span_starts(path, SPAN("/v1/")) || span_eq(path, SPAN("/v1")))
        path = span_from(path, 3);
    return path;
}

/* "/responses/ID" or "/responses/ID/input_items". */
static struct route find_response(struct span path)
{
    struct span id = span_from(path, sizeof "/responses/" - 1);
    ptrdiff_t slash = span_find_char(id, '/');
    bool items = slash > 0 && span_eq(span_from(id, (size_t)slash), SPAN("/input_items"));
    bool word = span_eq(id, SPAN("compact")) || span_eq(id, SPAN("input_tokens")); /* OpenAI's */
    if (!id.n || word || (slash >= 0 && !items))
        return (struct route){.kind = ROUTE_NONE};
    return (struct route){.kind = ROUTE_RESPONSE, .rest = path, .items = items};
}

static struct route find_route(struct span path)
{
    if (span_eq(path, SPAN("/")))
        return (struct route){.kind = ROUTE_LANDING};
    path = without_version(path);
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (span_eq(path, routes[i].path))
            return routes[i];
    }
    if (span_starts(path, SPAN("/models/")))
        return (struct route){.kind = ROUTE_MODEL, .rest = span_from(path, 8)};
    if (span_starts(path, SPAN("/responses/")))
        return find_response(path);
    return (struct route){.kind = ROUTE_NONE};
}

/* Routes of the configuration; `route` is one of our own API's. */
static struct passage_way find_passage(const struct http_exchange *http, const struct route *route)
{
    return passage_find(http, route->kind != ROUTE_NONE);
}

/* In whose words this client reads errors and lists of models: the path says it, elsewhere the
 * header that every client of Anthropic's sends. */
static enum dialect dialect_of(const struct http_exchange *http)
{
    struct route route = find_route(http_exchange_path(http));
    struct passage_way way = find_passage(http, &route);
    if (way.route)
        return way.route->dialect;
    if (route.api)
        return route.api->dialect;
    return http_exchange_header(http, "anthropic-version").p ? DIALECT_ANTHROPIC : DIALECT_OPENAI;
}

static bool is_method(const struct http_exchange *http, struct span name)
{
    return span_eq(http_exchange_method(http), name);
}

/* ---- small answers ---- */

static void log_small(const struct http_exchange *http, const char *id, int status,
                      const struct fail *fail)
{
    struct log_record r;
    char text[46];
    struct ip_address client = access_client(http);
    log_record_begin(&r, status >= 400 ? LOG_INFO : LOG_DEBUG, "request");
    log_record_text(&r, "id", span_str(id));
    log_record_text(&r, "client", span_str(ip_format(&client, text)));
    log_record_text(&r, "method", span_first(http_exchange_method(http), 16));
    log_record_text(&r, "path", span_first(http_exchange_path(http), 80));
    log_record_int(&r, "status", status);
    if (fail)
        log_record_text(&r, "error", span_str(fail_kind_name(fail->kind)));
    log_record_end(&r);
}

static void refuse(struct engine *engine, struct http_exchange *http, const struct fail *fail)
{
    char id[REQUEST_ID_SIZE];
    engine_count_refusal(engine, fail->kind);
    request_id_make(id);
    log_small(http, id, error_status(dialect_of(http), fail->kind), fail);
    reply_fail(http, id, dialect_of(http), fail);
}

static void preflight(struct http_exchange *http)
{
    char id[REQUEST_ID_SIZE];
    struct reply_headers h;
    struct span wanted = http_exchange_header(http, "access-control-request-headers");
    request_id_make(id);
    reply_headers_common(&h, http, id, DIALECT_OPENAI);
    reply_header(&h, "Access-Control-Allow-Methods", SPAN("GET, HEAD, POST, DELETE, OPTIONS"));
    reply_header(&h, "Access-Control-Allow-Headers",
                 wanted.n ? wanted : SPAN("authorization, content-type, x-api-key"));
    reply_header(&h, "Access-Control-Max-Age", SPAN("86400"));
    if (http_exchange_header(http, "access-control-request-private-network").n)
        reply_header(&h, "Access-Control-Allow-Private-Network", SPAN("true"));
    http_answer_whole(http, 204, h.list, h.n, span_of(NULL, 0));
}

static void answer_json(struct http_exchange *http, struct buffer *body)
{
    char id[REQUEST_ID_SIZE];
    int status = 200;
    struct span text = error_last_words(body, &status);
    request_id_make(id);
    log_small(http, id, status, NULL);
    reply_json(http, id, dialect_of(http), status, text);
    buffer_free(body);
}

static void health(struct engine *engine, struct http_exchange *http)
{
    struct buffer body;
    buffer_init(&body, 4096);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "status", SPAN("ok"));
    json_member(&w, "version", SPAN(DRAGOMAN_VERSION));
    json_member_int(&w, "active", (int64_t)engine_active(engine));
    json_end_object(&w);
    answer_json(http, &body);
}

/* For Prometheus alone, so without CORS: no page of another origin reads it. */
static void answer_metrics(struct engine *engine, struct http_exchange *http,
                           const struct metrics_loop *all)
{
    char id[REQUEST_ID_SIZE];
    struct buffer page;
    buffer_init(&page, 16 * 1024 * 1024);
    metrics_page_write(&page, engine, all, http_server_connections(http_exchange_server(http)));
    int status = 200;
    struct span text = error_last_words(&page, &status);
    request_id_make(id);
    log_small(http, id, status, NULL);
    const struct header headers[] = {{SPAN("x-request-id"), span_str(id)},
                                     {SPAN("Content-Type"), status == 200
                                                                ? SPAN(METRICS_CONTENT_TYPE)
                                                                : SPAN("application/json")},
                                     {SPAN("Cache-Control"), SPAN("no-store")}};
    http_answer_whole(http, status, headers, sizeof headers / sizeof *headers, text);
    buffer_free(&page);
}

/* The base URL as this client sees us. */
static struct span base_url(struct engine *engine, struct http_exchange *http, struct buffer *out)
{
    struct span host = http_exchange_header(http, "host");
    const struct config *config = http_exchange_config(http);
    if (!host.n)
        host = SPAN("127.0.0.1:8080");
    buffer_printf(out, "%s://%.*s/v1", config->tls_cert.n ? "https" : "http", SPAN_ARGS(host));
    return buffer_span(out);
}

static void landing(struct engine *engine, struct http_exchange *http)
{
    const struct config *config = http_exchange_config(http);
    char id[REQUEST_ID_SIZE];
    struct reply_headers h;
    struct buffer page, base;
    buffer_init(&page, 4 * 1024 * 1024);
    buffer_init(&base, 4096);
    landing_page(&page, engine->catalogue, config, base_url(engine, http, &base),
                 config->n_keys == 0);
    request_id_make(id);
    log_small(http, id, 200, NULL);
    reply_headers_common(&h, http, id, DIALECT_OPENAI);
    reply_header(&h, "Content-Type", SPAN("text/html; charset=utf-8"));
    reply_header(&h, "Content-Security-Policy",
                 SPAN("default-src 'none'; style-src 'unsafe-inline'"));
    http_answer_whole(http, 200, h.list, h.n, buffer_span(&page));
    buffer_free(&base);
    buffer_free(&page);
}

/* ---- models ---- */

struct model_listing {
    struct json_writer w;
    const struct access_grant *grant;
    const struct config *config;
    enum dialect dialect;
    int64_t created;         /* Unix seconds */
    struct span created_utc; /* the same in words */
    struct arena *arena;
    struct span first, last; /* ids; p == NULL while there are none */
};

/* Anthropic's members stand beside OpenAI's: what a client does not know does not disturb it
 * (clients.md §2.8). */
static void write_model(void *owner, struct span id, struct span owned_by)
{
    struct model_listing *l = owner;
    if (!access_allows_model(l->grant, l->config, id, owned_by))
        return;
    json_begin_object(&l->w);
    json_member(&l->w, "id", id);
    json_member(&l->w, "object", SPAN("model"));
    json_member_int(&l->w, "created", l->created);
    json_member(&l->w, "owned_by", owned_by);
    if (l->dialect == DIALECT_ANTHROPIC) {
        json_member(&l->w, "type", SPAN("model"));
        json_member(&l->w, "display_name", id);
        json_member(&l->w, "created_at", l->created_utc);
        l->last = arena_dup(l->arena, id);
        l->first = l->first.p ? l->first : l->last;
    }
    json_end_object(&l->w);
}

static struct model_listing begin_models(struct engine *engine, const struct http_exchange *http,
                                         const struct access_grant *grant, struct arena *arena,
                                         struct buffer *body)
{
    return (struct model_listing){
        .w = json_writer(body),
        .grant = grant,
        .config = http_exchange_config(http),
        .dialect = dialect_of(http),
        .created = engine->started_ms / 1000,
        .created_utc = format_utc(arena, engine->started_ms, "%Y-%m-%dT%H:%M:%SZ"),
        .arena = arena,
    };
}

static void write_page_end(struct json_writer *w, const char *key, struct span id)
{
    json_key(w, key);
    if (id.p)
        json_string(w, id);
    else
        json_null(w);
}

static void list_models(struct engine *engine, struct http_exchange *http,
                        const struct access_grant *grant)
{
    struct buffer body;
    struct arena arena;
    arena_init(&arena);
    buffer_init(&body, 16 * 1024 * 1024);
    struct model_listing l = begin_models(engine, http, grant, &arena, &body);
    json_begin_object(&l.w);
    json_member(&l.w, "object", SPAN("list"));
    json_key(&l.w, "data");
    json_begin_array(&l.w);
    if (catalogue_each(engine->catalogue, http_exchange_config(http), write_model, &l))
        body.error = BUFFER_NOMEM;
    json_end_array(&l.w);
    if (l.dialect == DIALECT_ANTHROPIC) {
        json_member_bool(&l.w, "has_more", false);
        write_page_end(&l.w, "first_id", l.first);
        write_page_end(&l.w, "last_id", l.last);
    }
    json_end_object(&l.w);
    answer_json(http, &body);
    arena_free(&arena);
    catalogue_refresh(engine->catalogue); /* for the next time: this answer did not wait (L3) */
}

/* Percent-decoding into text[n]; bad escapes stay as they are. */
static struct span percent_decode(struct span s, char *text)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int high = s.p[i] == '%' && i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(s.p[i + 2]) : -1;
        if (low >= 0) {
            text[n++] = (char)(high * 16 + low);
            i += 2;
        } else {
            text[n++] = s.p[i];
        }
    }
    return span_of(text, n);
}

/* A model that is not in the list but that chat would accept (site/any) exists as well. 0, or -1
 * with fail. */
static int find_model(struct engine *engine, const struct http_exchange *http,
                      const struct access_grant *grant, struct arena *arena, struct span id,
                      struct span *owned_by, struct fail *fail)
{
    const struct config *config = http_exchange_config(http);
    const struct resolve_wish wish = {.id = id, .grant = grant};
    const struct target *targets;
    size_t n;
    if (catalogue_resolve(engine->catalogue, config, &wish, arena, &targets, &n, fail) != RESOLVED)
        return -1;
    *owned_by = targets[0].site->settings.name;
    for (size_t i = 0; i < n; i++) {
        if (access_allows_model(grant, config, id, targets[i].site->settings.name))
            return 0;
    }
    return fail_param(fail, FAIL_MODEL_DENIED, "model", "this key may not use the model \"%.*s\"",
                      SPAN_ARGS(span_first(id, 80)));
}

static void one_model(struct engine *engine, struct http_exchange *http,
                      const struct access_grant *grant, struct span raw_id)
{
    struct buffer body;
    struct arena arena;
    struct fail fail;
    struct span owned_by;
    arena_init(&arena);
    buffer_init(&body, 64 * 1024);
    char *text = arena_alloc(&arena, raw_id.n + 1);
    struct span id = text ? percent_decode(raw_id, text) : raw_id;
    if (find_model(engine, http, grant, &arena, id, &owned_by, &fail)) {
        refuse(engine, http, &fail);
    } else {
        struct model_listing l = begin_models(engine, http, grant, &arena, &body);
        write_model(&l, id, owned_by);
        answer_json(http, &body);
    }
    buffer_free(&body);
    arena_free(&arena);
}

/* The size of a request of the Messages API, by our own count. */
static void count_tokens(struct engine *engine, struct http_exchange *http,
                         const struct access_grant *grant)
{
    struct buffer body;
    struct arena arena;
    struct fail fail;
    struct count_of_tokens count;
    struct span owned_by;
    arena_init(&arena);
    buffer_init(&body, 4096);
    if (count_tokens_of(&engine->tokens, engine->json, &arena, http_exchange_body(http), &count,
                        &fail) ||
        find_model(engine, http, grant, &arena, count.model, &owned_by, &fail)) {
        refuse(engine, http, &fail);
    } else {
        count_tokens_write(&body, &count);
        answer_json(http, &body);
    }
    buffer_free(&body);
    arena_free(&arena);
}

/* ---- the handler ---- */

static int refuse_path(struct http_exchange *http, struct fail *fail)
{
    struct span path = span_first(http_exchange_path(http), 80);
    struct span behind = without_version(path);
    if (!behind.n)
        return fail_set(
            fail, FAIL_UNKNOWN_URL,
            "this is the base URL for apps: enter it there as it is, chat/completions "
            "and models live below it (http://HOST:PORT/ is for people, with /v1/models "
            "as JSON)");
    return fail_set(
        fail, FAIL_UNKNOWN_URL,
        "there is nothing at %.*s; the base URL for apps is http://HOST:PORT/v1 (below it are "
        "chat/completions, messages, responses, completions, models, embeddings, images/... and "
        "audio/...)",
        SPAN_ARGS(path));
}

/* Does it need no key? Metrics need none of this machine's own programs (but of a page's script,
 * which a browser here may run for anybody). */
static bool is_open(const struct http_exchange *http, const struct route *route)
{
    return route->kind == ROUTE_LANDING || route->kind == ROUTE_HEALTH ||
           (route->kind == ROUTE_METRICS && access_is_local(http));
}

static bool takes_method(const struct http_exchange *http, const struct route *route)
{
    if (route->posts)
        return is_method(http, SPAN("POST"));
    if (route->kind == ROUTE_RESPONSE && !route->items && is_method(http, SPAN("DELETE")))
        return true;
    return is_method(http, SPAN("GET")) || is_method(http, SPAN("HEAD"));
}

/* Everything that is decided by the head alone; 0 = go on with the body. */
static int check_head(struct engine *engine, struct http_exchange *http, const struct route *route,
                      struct fail *fail)
{
    struct access_grant grant;
    if (route->kind == ROUTE_NONE)
        return refuse_path(http, fail);
    if (!takes_method(http, route))
        return fail_param(
            fail, FAIL_METHOD, allowed_methods(route), "%.*s does not take %.*s; use %s",
            SPAN_ARGS(span_first(http_exchange_path(http), 60)),
            SPAN_ARGS(span_first(http_exchange_method(http), 16)), route->posts ? "POST" : "GET");
    if (is_open(http, route))
        return 0;
    return access_check_key(http, engine_wall_ms(engine), &grant, fail);
}

static int on_head(void *owner, struct http_exchange *http)
{
    struct engine *engine = owner;
    struct fail fail;
    if (access_check_address(http, &fail)) {
        refuse(engine, http, &fail);
        return -1;
    }
    struct route route = find_route(http_exchange_path(http));
    struct passage_way way = find_passage(http, &route);
    if (is_method(http, SPAN("CONNECT"))) {
        fail_set(&fail, FAIL_INVALID_VALUE, "this is a gateway to configured services, no proxy");
        refuse(engine, http, &fail);
        return -1;
    }
    if (is_method(http, SPAN("OPTIONS"))) {
        if (way.route && http_exchange_header(http, "origin").n)
            passage_preflight(http);
        else
            preflight(http);
        return -1;
    }
    if (way.route) {
        struct access_grant grant;
        if (passage_check(http, &way, &grant, &fail)) {
            refuse(engine, http, &fail);
            return -1;
        }
        http_exchange_stream_body(http);
        return 0;
    }
    if (check_head(engine, http, &route, &fail)) {
        refuse(engine, http, &fail);
        return -1;
    }
    return 0;
}

static void on_request(void *owner, struct http_exchange *http)
{
    struct engine *engine = owner;
    struct route route = find_route(http_exchange_path(http));
    struct access_grant grant = {0};
    struct fail fail;
    struct passage_way way = find_passage(http, &route);
    if (way.route) {
        if (passage_check(http, &way, &grant, &fail))
            refuse(engine, http, &fail);
        else
            passage_start(engine, http, &way, &grant);
        return;
    }
    /* Again, for its result: the key is not kept between head and body. */
    if (!is_open(http, &route) && access_check_key(http, engine_wall_ms(engine), &grant, &fail)) {
        refuse(engine, http, &fail);
        return;
    }
    switch (route.kind) {
    case ROUTE_LANDING: landing(engine, http); break;
    case ROUTE_HEALTH: health(engine, http); break;
    case ROUTE_METRICS: metrics_gather(engine, http, answer_metrics); break;
    case ROUTE_MODELS: list_models(engine, http, &grant); break;
    case ROUTE_MODEL: one_model(engine, http, &grant, route.rest); break;
    case ROUTE_COUNT_TOKENS: count_tokens(engine, http, &grant); break;
    case ROUTE_EXCHANGE: exchange_start(engine, http, &grant, route.api, route.path); break;
    case ROUTE_RESPONSE:
        exchange_start(engine, http, &grant,
                       is_method(http, SPAN("DELETE")) ? &api_response_delete
                       : route.items                   ? &api_response_items
                                                       : &api_response_read,
                       route.rest);
        break;
    case ROUTE_NONE:
        refuse_path(http, &fail);
        refuse(engine, http, &fail);
        break;
    }
}

static void on_gone(void *owner, struct http_exchange *http, void *user)
{
    struct client_work *work = user;
    if (work)
        work->ops->gone(work);
}

static void on_drain(void *owner, struct http_exchange *http, void *user)
{
    struct client_work *work = user;
    if (work)
        work->ops->drained(work);
}

static void on_body(void *owner, struct http_exchange *http, void *user, struct span piece,
                    bool last)
{
    struct client_work *work = user;
    work->ops->body(work, piece, last);
}

/* Requests that HTTP itself refuses. Their statuses are finer than the error table's rows; the
 * shape is the same. */
static void on_protocol_error(void *owner, struct http_exchange *http, int status,
                              const struct fail *fail)
{
    enum dialect dialect = dialect_of(http);
    char id[REQUEST_ID_SIZE];
    struct reply_headers h;
    struct buffer body;
    request_id_make(id);
    buffer_init(&body, 16 * 1024);
    if (dialect == DIALECT_ANTHROPIC && status == 503)
        status = error_status(dialect, fail->kind);
    engine_count_refusal(owner, fail->kind);
    error_body(&body, dialect, fail, &(struct error_context){.request_id = span_str(id)});
    reply_headers_common(&h, http, id, dialect);
    reply_header(&h, "Content-Type", SPAN("application/json"));
    reply_headers_failure(&h, fail, false);
    struct span text = error_last_words(&body, &status);
    log_small(http, id, status, fail);
    http_answer_whole(http, status, h.list, h.n, text);
    buffer_free(&body);
}

/* A crowd that only shook hands leaves as much behind as one that asked. */
static void on_left(void *owner) { engine_watch_heap(owner); }

struct http_handler front_handler(struct engine *engine)
{
    return (struct http_handler){on_head,  on_request,        on_body, on_gone,
                                 on_drain, on_protocol_error, engine,  on_left};
}
