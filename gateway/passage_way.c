/*
 * gateway/passage_way.c - which requests are passed through, by which route, and whether they may
 * be. By their heads alone: nothing here lives longer than the question.
 */
#include "gateway/clock.h"
#include "gateway/passage_internal.h"

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

struct span passage_stripped(const struct route_config *route, bool bare)
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
    struct span path =
        passage_rest(passage_path(target), passage_stripped(route, way->bare), SPAN(""));
    if (!takes_path(route, path))
        return fail_set(fail, FAIL_UNKNOWN_URL, "the route %.*s does not pass on %.*s",
                        SPAN_ARGS(span_first(route->prefix, 60)), SPAN_ARGS(span_first(path, 80)));
    return 0;
}

/* ---- preflights ---- */

void passage_preflight(struct http_exchange *http)
{
    char id[REQUEST_ID_SIZE];
    struct reply_headers h;
    struct span wanted = http_exchange_header(http, "access-control-request-headers");
    request_id_make(id);
    reply_headers_common(&h, http, id, DIALECT_OPENAI);
    if (h.allows_origin) {
        reply_header(&h, "Access-Control-Allow-Methods",
                     SPAN("GET, POST, PUT, PATCH, DELETE, OPTIONS"));
        reply_header(&h, "Access-Control-Allow-Headers",
                     wanted.n ? wanted : SPAN("authorization, content-type, x-api-key"));
        reply_header(&h, "Access-Control-Max-Age", SPAN("86400"));
        if (has(http, "access-control-request-private-network"))
            reply_header(&h, "Access-Control-Allow-Private-Network", SPAN("true"));
    }
    http_answer_whole(http, h.allows_origin ? 204 : 403, h.list, h.n, span_of(NULL, 0));
}
