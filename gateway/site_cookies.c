/*
 * gateway/site_cookies.c - see site_cookies.h.
 */
#include "gateway/site_cookies.h"

#include "adapters/cookie_jar.h"
#include "gateway/log.h"

enum { HEADER_MAX = 65536 };

/* The host of "https://chat.site.example:8443". */
static struct span host_of(struct span origin)
{
    ptrdiff_t scheme = span_find(origin, SPAN("://"));
    struct span host = scheme < 0 ? origin : span_from(origin, (size_t)scheme + 3);
    ptrdiff_t bracket = span_find_char(host, ']');
    ptrdiff_t port = bracket < 0 ? span_find_char(host, ':') : bracket + 1;
    return port < 0 ? host : span_first(host, (size_t)port);
}

/* p == NULL when memory is short. */
static struct cookie_place place_of(const struct turn_run *run, const struct site_request *req)
{
    const struct site_settings *site = run->site;
    return (struct cookie_place){
        .host = host_of(site->origin),
        .path =
            arena_printf(run->arena, "%.*s%.*s", SPAN_ARGS(site->prefix), SPAN_ARGS(req->target)),
        .secure = span_starts(site->origin, SPAN("https:")),
    };
}

static void read_jar(struct cookie_jar *jar, const struct turn_run *run)
{
    cookie_jar_read(jar, account_held(run->account, HELD_COOKIES, run->now_ms, 0), run->now_ms);
}

static struct span name_of(struct span pair)
{
    ptrdiff_t at = span_find_char(pair, '=');
    return span_trim(at < 0 ? pair : span_first(pair, (size_t)at));
}

static bool is_empty(struct span pair)
{
    ptrdiff_t at = span_find_char(pair, '=');
    return at < 0 || !span_trim(span_from(pair, (size_t)at + 1)).n;
}

/* Is it there, and if `filled`, with a value? */
static bool has_name(struct span cookies, struct span name, bool filled)
{
    struct span pair;
    while (span_split(&cookies, ';', &pair)) {
        if (span_eq(name_of(pair), name) && !(filled && is_empty(pair)))
            return true;
    }
    return false;
}

static void append_pair(struct buffer *out, struct span pair)
{
    if (out->n)
        buffer_append(out, SPAN("; "));
    buffer_append(out, span_trim(pair));
}

/* The adapter's own cookies, then the jar's, whose newer value of a name wins. An empty one does
 * not: a site that signs out that way would take the configured credential along. */
static void merge(struct buffer *out, struct span own, struct span jars)
{
    struct span rest = own, pair;
    while (span_split(&rest, ';', &pair)) {
        if (span_trim(pair).n && !has_name(jars, name_of(pair), true))
            append_pair(out, pair);
    }
    while (span_split(&jars, ';', &pair)) {
        if (!is_empty(pair) || !has_name(own, name_of(pair), false))
            append_pair(out, pair);
    }
}

static struct header *find_header(struct site_request *req, struct span name)
{
    for (size_t i = 0; i < req->n_headers; i++) {
        if (span_eq_nocase(req->headers[i].name, name))
            return &req->headers[i];
    }
    return NULL;
}

static int send_cookies(struct turn_run *run, struct site_request *req)
{
    struct cookie_jar jar = {0};
    struct buffer jars, all;
    struct cookie_place place = place_of(run, req);
    if (!place.path.p)
        return fail_memory(run->fail);
    buffer_init(&jars, COOKIE_HEADER_MAX);
    buffer_init(&all, HEADER_MAX);
    read_jar(&jar, run);
    cookie_jar_header(&jar, &place, run->now_ms, &jars);
    cookie_jar_free(&jar);
    struct header *own = find_header(req, SPAN("Cookie"));
    if (jars.n)
        merge(&all, own ? own->value : SPAN(""), buffer_span(&jars));
    bool bad = jars.error || all.error;
    if (!bad && jars.n) {
        struct span value = arena_dup(run->arena, buffer_span(&all));
        bad = !value.p;
        if (own)
            own->value = value;
        else
            site_request_header(req, SPAN("Cookie"), value);
    }
    buffer_free(&jars);
    buffer_free(&all);
    return bad ? fail_memory(run->fail) : 0;
}

int site_cookies_send(const struct adapter *adapter, struct turn_run *run, struct site_request *req)
{
    return adapter->keeps_cookies && !req->origin.n ? send_cookies(run, req) : 0;
}

/* Puts the changed jar back; what cannot be kept is as if it had never come. */
static void hold(const struct turn_run *run, const struct cookie_jar *jar)
{
    struct buffer text;
    buffer_init(&text, COOKIE_JAR_TEXT_MAX);
    cookie_jar_write(jar, run->now_ms, &text);
    if (!jar->n)
        account_drop(run->account, HELD_COOKIES);
    else if (text.error || account_hold(run->account, HELD_COOKIES, buffer_span(&text), 0))
        log_error("out of memory: cookies of %.*s are not kept", SPAN_ARGS(run->site->name));
    buffer_free(&text);
}

static void take_cookies(const struct turn_run *run, const struct site_request *req,
                         const struct site_head *head)
{
    struct cookie_jar jar = {0};
    bool read = false, changed = false;
    const struct cookie_place place = place_of(run, req);
    account_guard_enter(run->account); /* others of the account may get cookies at the same time */
    for (size_t i = 0; place.path.p && i < head->n_headers; i++) {
        if (!span_eq_nocase(head->headers[i].name, SPAN("Set-Cookie")))
            continue;
        if (!read)
            read_jar(&jar, run);
        read = true;
        changed |= cookie_jar_take(&jar, &place, head->headers[i].value, run->now_ms);
    }
    if (changed)
        hold(run, &jar);
    account_guard_leave(run->account);
    cookie_jar_free(&jar);
}

void site_cookies_take(const struct adapter *adapter, const struct turn_run *run,
                       const struct site_request *req, const struct site_head *head)
{
    if (adapter->keeps_cookies && !req->origin.n)
        take_cookies(run, req, head);
}
