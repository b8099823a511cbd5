/*
 * gateway/config_route.c - [[routes]]: prefixes under which an upstream's own API is passed through
 * (docs/routes.md).
 *
 * A route asks a site of [[sites]], with its accounts, or has an upstream of its own, which is kept
 * like a site nobody can name in a model. What a preset knows is only a default: the file wins.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/config_schema.h"
#include "gateway/http_token.h"

/* ---- what is known of the services ---- */

static const struct preset {
    const char *prefix, *upstream, *inject;
    enum dialect dialect;
} presets[] = {
    [ROUTE_PRESET_NONE] = {NULL, NULL, "bearer", DIALECT_OPENAI},
    [ROUTE_PRESET_OPENAI] = {"/openai", "https://api.openai.com", "bearer", DIALECT_OPENAI},
    [ROUTE_PRESET_ANTHROPIC] = {"/anthropic", "https://api.anthropic.com", "x-api-key",
                                DIALECT_ANTHROPIC},
    [ROUTE_PRESET_GEMINI] = {"/gemini", "https://generativelanguage.googleapis.com",
                             "x-goog-api-key", DIALECT_GOOGLE},
};

static const struct credential_field own_credentials[] = {
    {"key", false, "the upstream's key, as it gives them out"},
    {0},
};

/* Stands where a site has an adapter: a route translates nothing. */
static const struct adapter adapter_route = {
    .name = "route",
    .title = "the route's upstream",
    .credentials = own_credentials,
};

/* ---- inject ---- */

/* Headers that say something else than who asks. */
static bool is_no_credential_header(struct span name)
{
    static const struct span others[] = {
        SPAN_INIT("host"),           SPAN_INIT("connection"),
        SPAN_INIT("content-length"), SPAN_INIT("content-type"),
        SPAN_INIT("upgrade"),        SPAN_INIT("transfer-encoding"),
        SPAN_INIT("expect"),         SPAN_INIT("te"),
        SPAN_INIT("trailer"),        SPAN_INIT("keep-alive"),
        SPAN_INIT("accept-encoding")};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (span_eq_nocase(name, others[i]))
            return true;
    }
    return false;
}

static void complain_inject(struct config_reader *r, const struct toml_node *value,
                            struct span text)
{
    config_error(r, value,
                 "\"inject\" in %s must be \"bearer\", \"x-api-key\", \"x-goog-api-key\", "
                 "\"header:NAME\", \"query:NAME\" or \"none\", found \"%s\"",
                 r->title, config_quote(r, text));
}

/* "" = the default of the preset or site. False: it is none of the words. */
static bool parse_inject(struct route_config *route, struct span text)
{
    route->inject_text = text;
    route->inject_name = text;
    if (span_eq(text, SPAN("bearer"))) {
        route->inject = ROUTE_INJECT_BEARER;
        route->inject_name = SPAN("authorization");
    } else if (span_eq(text, SPAN("none"))) {
        route->inject = ROUTE_INJECT_NONE;
    } else if (span_eq(text, SPAN("x-api-key")) || span_eq(text, SPAN("x-goog-api-key"))) {
        route->inject = ROUTE_INJECT_HEADER;
    } else if (span_starts(text, SPAN("header:"))) {
        route->inject = ROUTE_INJECT_HEADER;
        route->inject_name = span_from(text, 7);
        return http_is_token(route->inject_name) && !is_no_credential_header(route->inject_name);
    } else if (span_starts(text, SPAN("query:"))) {
        route->inject = ROUTE_INJECT_QUERY;
        route->inject_name = span_from(text, 6);
        return http_is_token(route->inject_name) && span_find_char(route->inject_name, '&') < 0 &&
               span_find_char(route->inject_name, '%') < 0 &&
               span_find_char(route->inject_name, '+') < 0;
    } else {
        return text.n == 0;
    }
    return true;
}

static void read_inject(struct config_reader *r, const struct schema_key *key,
                        const struct toml_node *value, void *record)
{
    struct span text;
    if (config_read_text(r, key->name, value, &text) && !parse_inject(record, text))
        complain_inject(r, value, text);
}
static void print_inject(struct buffer *out, const struct schema_key *key, const void *record)
{
    config_print_quoted(out, ((const struct route_config *)record)->inject_text);
}
const struct value_type value_inject = {
    .wanted = "a string", .read = read_inject, .print = print_inject};

/* ---- prefix ---- */

/* Where our own API lives. */
static bool is_ours(struct span prefix)
{
    static const struct span ours[] = {
        SPAN_INIT("v1"),      SPAN_INIT("health"),      SPAN_INIT("models"),
        SPAN_INIT("chat"),    SPAN_INIT("images"),      SPAN_INIT("embeddings"),
        SPAN_INIT("audio"),   SPAN_INIT("completions"), SPAN_INIT("admin"),
        SPAN_INIT("metrics"), SPAN_INIT("messages"),    SPAN_INIT("responses")};
    struct span rest = span_from(prefix, 1), first;
    span_split(&rest, '/', &first);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (span_eq(first, ours[i]))
            return true;
    }
    return false;
}

/* What is wrong with it, or NULL. */
static const char *check_prefix(struct span prefix)
{
    if (!span_starts(prefix, SPAN("/")) || prefix.n < 2)
        return "it must begin with / and name something";
    struct span rest = span_from(prefix, 1), segment;
    while (span_split(&rest, '/', &segment)) {
        if (!segment.n)
            return "it must not end with / or hold //";
        if (span_eq(segment, SPAN(".")) || span_eq(segment, SPAN("..")))
            return "it must not hold . or .. as a segment";
        for (size_t i = 0; i < segment.n; i++) {
            if (!isalnum((unsigned char)segment.p[i]) && !strchr("._-~", segment.p[i]))
                return "it may hold letters, digits and . _ - ~ between its slashes";
        }
    }
    return is_ours(prefix) ? "dragoman's own API is there" : NULL;
}

/* ---- methods ---- */

static const char *const method_names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};

const char *route_method(struct span method)
{
    for (size_t i = 0; i < sizeof method_names / sizeof *method_names; i++) {
        if (span_eq(method, span_str(method_names[i])))
            return method_names[i];
    }
    return NULL;
}

static void check_methods(struct config_reader *r, const struct toml_node *table,
                          const struct route_config *route)
{
    for (size_t i = 0; i < route->n_methods; i++) {
        if (!route_method(route->methods[i]))
            config_error(r, toml_get(table, "methods"),
                         "\"methods\" in %s may hold GET, HEAD, POST, PUT, PATCH and DELETE, found "
                         "\"%s\"",
                         r->title, config_quote(r, route->methods[i]));
    }
}

/* ---- the route's own key and accounts ---- */

static void print_own_accounts(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct route_config *route = record;
    if (route->site == &route->own && !route->own_key.n)
        config_print_accounts(out, &route->own, "[[routes.accounts]]");
}
const struct value_type value_route_accounts = {.wanted = "an array of tables",
                                                .print_block = print_own_accounts};

static void print_upstream(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct site_settings *own = &((const struct route_config *)record)->own.settings;
    if (!own->origin.n) {
        buffer_append(out, SPAN("\"\""));
        return;
    }
    value_base_url.print(out, key, record);
}
static void read_upstream(struct config_reader *r, const struct schema_key *key,
                          const struct toml_node *value, void *record)
{
    if (value->type != TOML_TEXT || value->text.n) /* "" = none */
        value_base_url.read(r, key, value, record);
}
const struct value_type value_upstream = {
    .wanted = "a URL", .read = read_upstream, .print = print_upstream};

/* `key` is the shorter form of one account. */
static void read_own_accounts(struct config_reader *r, const struct toml_node *table,
                              struct route_config *route)
{
    const struct toml_node *accounts = toml_get(table, "accounts");
    struct site_config *own = &route->own;
    config_read_accounts(r, table, accounts, own, "[[routes.accounts]]");
    if (config_read_secret(r, table, "key", &route->own_key) != 1)
        return;
    if (accounts) {
        config_error(r, accounts,
                     "%s has both a key and accounts: put the key into one of the accounts",
                     r->title);
        return;
    }
    struct credential *credential = config_alloc(r, sizeof *credential);
    if (!credential || !own->n_accounts)
        return;
    *credential = (struct credential){SPAN("key"), route->own_key};
    struct account_config *account = (struct account_config *)own->accounts; /* in the making */
    account->credentials = credential;
    account->n_credentials = 1;
}

/* Of the accounts' site: as its prefix, for logs and the data file. */
static struct span name_of_own(struct config_reader *r, struct span prefix)
{
    struct span name = arena_printf(&r->config->arena, "route%.*s", SPAN_ARGS(prefix));
    r->no_memory |= !name.p;
    for (size_t i = 0; name.p && i < name.n; i++) {
        if (name.p[i] == '/')
            ((char *)name.p)[i] = '.'; /* our own copy */
    }
    return name;
}

void config_finish_route(struct config_reader *r, const struct toml_node *table, void *record)
{
    struct route_config *route = record;
    const struct preset *preset = &presets[route->preset];
    const struct toml_node *prefix = toml_get(table, "prefix");
    struct site_config *own = &route->own;
    if (!prefix && preset->prefix)
        route->prefix = span_str(preset->prefix);
    if (!route->prefix.n && !prefix)
        config_error(r, table, "%s needs \"prefix\" (\"/gemini\") or \"preset\"", r->title);
    const char *wrong = route->prefix.n ? check_prefix(route->prefix) : NULL;
    if (wrong)
        config_error(r, prefix, "\"prefix\" in %s: %s", r->title, wrong);
    check_methods(r, table, route);
    own->adapter = &adapter_route;
    if (route->site_name.n) { /* config_finish_routes looks for it */
        static const char *const others[] = {"upstream", "key", "key_env", "key_file", "accounts"};
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            const struct toml_node *other = toml_get(table, others[i]);
            if (other)
                config_error(r, other,
                             "%s has a site, which has its own address and accounts: leave out "
                             "\"%s\"",
                             r->title, others[i]);
        }
        return;
    }
    if (!own->settings.origin.n && preset->upstream) {
        wrong = config_parse_base_url(r, span_str(preset->upstream), own);
        if (wrong)
            config_error(r, table, "the preset's upstream: %s", wrong);
    } else if (!own->settings.origin.n && !toml_get(table, "upstream")) {
        config_error(r, table,
                     "%s needs \"site\", \"upstream\" or \"preset\": where do its requests go?",
                     r->title);
    }
    own->settings.name = name_of_own(r, route->prefix);
    read_own_accounts(r, table, route);
}

/* ---- all of them ---- */

static bool has_plain_key(const struct adapter *adapter)
{
    for (const struct credential_field *f = adapter->credentials; f && f->name; f++) {
        if (strcmp(f->name, "api_key") == 0 || strcmp(f->name, "token") == 0)
            return true;
    }
    return false;
}

static enum dialect dialect_of(const struct route_config *route)
{
    enum dialect dialect = presets[route->preset].dialect;
    if (route->preset == ROUTE_PRESET_NONE && route->site->adapter->dialect != DIALECT_NONE)
        dialect = route->site->adapter->dialect;
    return dialect;
}

static const char *usual_inject(enum dialect dialect)
{
    for (size_t i = 1; i < sizeof presets / sizeof *presets; i++) {
        if (presets[i].dialect == dialect)
            return presets[i].inject;
    }
    return "bearer";
}

static void find_site(struct config_reader *r, const struct toml_node *table,
                      struct route_config *route)
{
    int at = config_find_site(r->config, route->site_name);
    const struct toml_node *place = toml_get(table, "site");
    if (at < 0) {
        config_error(r, place, "\"site\" in [[routes]]: no site \"%s\" is configured",
                     config_quote(r, route->site_name));
        return;
    }
    route->site = &r->config->sites[at];
    const struct adapter *adapter = route->site->adapter;
    if (!adapter)
        return; /* complained about already */
    if (adapter->capabilities & CAP_LOCAL)
        config_error(r, place, "the site \"%s\" answers by itself: there is nothing to pass on to",
                     config_quote(r, route->site_name));
    else if (!has_plain_key(adapter))
        config_error(r, place,
                     "\"site\" in [[routes]]: accounts of the adapter %s have neither an api_key "
                     "nor a token, so that there is nothing to put into a request as it is",
                     adapter->name);
}

static void check_unique(struct config_reader *r, const struct toml_node *table,
                         const struct route_config *routes, size_t i)
{
    const struct toml_node *prefix = toml_get(table, "prefix");
    const struct route_config *route = &routes[i];
    for (size_t j = 0; j < i; j++) {
        if (span_eq(routes[j].prefix, route->prefix)) {
            config_error(r, prefix ? prefix : table,
                         "there is a route with the prefix \"%s\" already",
                         config_quote(r, route->prefix));
            return;
        }
        if (route->site == &route->own && routes[j].site == &routes[j].own &&
            span_eq(routes[j].own.settings.name, route->own.settings.name)) {
            config_error(r, prefix ? prefix : table,
                         "the prefixes \"%s\" and \"%s\" differ in . and / only",
                         config_quote(r, routes[j].prefix), config_quote(r, route->prefix));
            return;
        }
    }
    if (route->site == &route->own && config_find_site(r->config, route->own.settings.name) >= 0)
        config_error(r, prefix ? prefix : table,
                     "a site is called \"%s\", which is this route's name for its accounts",
                     config_quote(r, route->own.settings.name));
}

static void settle_route(struct route_config *route)
{
    route->dialect = dialect_of(route);
    if (!route->inject_text.n)
        parse_inject(route, span_str(usual_inject(route->dialect)));
}

/* For requests that bring a key of their own: the first route of that kind, or one like its preset.
 */
static void find_visitors_route(struct config_reader *r, struct config *config, int preset)
{
    enum dialect dialect = presets[preset].dialect;
    for (size_t i = 0; i < config->n_routes; i++) {
        if (config->routes[i].preset == (enum route_preset)preset) {
            config->visitor_routes[dialect] = &config->routes[i];
            return;
        }
    }
    char text[96];
    struct toml_error error;
    static const char *const names[] = {"none", "openai", "anthropic", "gemini"};
    int n = snprintf(text, sizeof text, "preset = '%s'", names[preset]);
    struct route_config *route = config_alloc(r, sizeof *route);
    struct toml_node *table = toml_parse(&r->scratch, span_of(text, (size_t)n), &error);
    if (!route || !table) {
        r->no_memory = true;
        return;
    }
    config_read_table(r, config_route_schema(), table, route);
    route->site = &route->own;
    settle_route(route);
    config->visitor_routes[dialect] = route;
}

void config_finish_routes(struct config_reader *r, const struct toml_node *root,
                          struct config *config)
{
    struct route_config *routes = (struct route_config *)config->routes; /* in the making */
    const struct toml_node *list = toml_get(root, "routes");
    const struct toml_node *table = list ? list->first : NULL;
    r->title = "[[routes]]";
    for (size_t i = 0; i < config->n_routes && table; table = table->next) {
        if (table->type != TOML_TABLE)
            continue;
        struct route_config *route = &routes[i];
        route->site = &route->own;
        if (route->site_name.n)
            find_site(r, table, route);
        check_unique(r, table, routes, i);
        settle_route(route);
        i++;
    }
    if (!config->passthrough_unknown_keys)
        return;
    if (config->n_keys == 0)
        config_error(r, toml_get(toml_get(root, "server"), "passthrough_unknown_keys"),
                     "\"passthrough_unknown_keys\" in [server] needs [[keys]]: without them every "
                     "key is welcome, and none is unknown");
    for (int preset = ROUTE_PRESET_OPENAI; preset <= ROUTE_PRESET_GEMINI; preset++)
        find_visitors_route(r, config, preset);
}
