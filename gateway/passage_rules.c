/*
 * gateway/passage_rules.c - see passage_rules.h.
 */
#include "gateway/passage_rules.h"

/* ---- targets ---- */

struct span passage_path(struct span target)
{
    ptrdiff_t mark = span_find_char(target, '?');
    return mark < 0 ? target : span_first(target, (size_t)mark);
}

struct span passage_query(struct span target)
{
    ptrdiff_t mark = span_find_char(target, '?');
    return mark < 0 ? span_of(NULL, 0) : span_from(target, (size_t)mark + 1);
}

enum passage_match passage_match(struct span target, struct span prefix)
{
    struct span path = passage_path(target);
    if (!span_starts(path, prefix))
        return PASSAGE_NO_MATCH;
    if (path.n == prefix.n || path.p[prefix.n] == '/')
        return PASSAGE_MATCH;
    return strchr("@\\%:;#", path.p[prefix.n]) ? PASSAGE_AMBIGUOUS : PASSAGE_NO_MATCH;
}

/* "." or ".." before whatever a semicolon begins (some servers cut that off). */
static bool is_dots(struct span segment)
{
    ptrdiff_t semicolon = span_find_char(segment, ';');
    if (semicolon >= 0)
        segment = span_first(segment, (size_t)semicolon);
    return span_eq(segment, SPAN(".")) || span_eq(segment, SPAN(".."));
}

/* What an escape must not hide: it would be another path for who decodes first. */
static const char *check_escapes(struct span path)
{
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] != '%')
            continue;
        int high = i + 2 < path.n ? hex_digit(path.p[i + 1]) : -1;
        int low = i + 2 < path.n ? hex_digit(path.p[i + 2]) : -1;
        if (high < 0 || low < 0)
            return "the path holds a % that is not followed by two hexadecimal digits";
        int c = high * 16 + low;
        if (c == '/' || c == '\\' || c == '.')
            return "the path holds an encoded slash, backslash or dot";
        if (c < 0x20 || c == 0x7F)
            return "the path holds an encoded control character";
    }
    return NULL;
}

const char *passage_check_target(struct span target, struct span prefix)
{
    struct span path = passage_path(target);
    if (!span_starts(path, SPAN("/")))
        return "only paths are passed through, no absolute URLs: this is no open proxy";
    if (span_find_char(target, '#') >= 0)
        return "the request's target holds a fragment";
    if (span_find_char(path, '\\') >= 0)
        return "the path holds a backslash";
    const char *wrong = check_escapes(path);
    if (wrong)
        return wrong;
    struct span rest = span_from(path, 1), segment;
    if (span_find(path, SPAN("//")) >= 0)
        return "the path holds //";
    while (span_split(&rest, '/', &segment)) {
        if (is_dots(segment))
            return "the path holds . or .. as a segment";
    }
    struct span behind = span_from(path, prefix.n + 1);
    if (span_starts(path, prefix) && span_split(&behind, '/', &segment) &&
        span_find_char(segment, '@') >= 0)
        return "the path holds an @ where a host could be read";
    return NULL;
}

/* "v1", "v1beta", "v1beta1", "v1alpha" */
static bool is_version(struct span segment)
{
    return segment.n > 1 && segment.p[0] == 'v' && segment.p[1] >= '0' && segment.p[1] <= '9';
}

struct span passage_rest(struct span path, struct span strip, struct span base)
{
    if (strip.n && span_starts(path, strip))
        path = span_from(path, strip.n);
    ptrdiff_t slash = span_find_last(base, SPAN("/"));
    struct span last = slash < 0 ? base : span_from(base, (size_t)slash);
    bool repeated = last.n > 1 && is_version(span_from(last, 1)) && span_starts(path, last) &&
                    (path.n == last.n || path.p[last.n] == '/');
    if (repeated)
        path = span_from(path, last.n);
    return path.n ? path : SPAN("/");
}

/* ---- queries ---- */

static int escape_at(struct span s, size_t i)
{
    int high = s.p[i] == '%' && i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
    int low = high >= 0 ? hex_digit(s.p[i + 2]) : -1;
    return low < 0 ? -1 : high * 16 + low;
}

/* The next byte of s as the upstream will read it; moves i on. */
static char decoded(struct span s, size_t *i)
{
    int c = escape_at(s, *i);
    if (c < 0) {
        char plain = s.p[(*i)++];
        return plain == '+' ? ' ' : plain;
    }
    *i += 3;
    return (char)c;
}

static struct span name_of(struct span pair)
{
    ptrdiff_t equals = span_find_char(pair, '=');
    return equals < 0 ? pair : span_first(pair, (size_t)equals);
}

static bool is_named(struct span pair, struct span name)
{
    struct span written = name_of(pair);
    size_t at = 0;
    for (size_t i = 0; i < written.n; at++) {
        if (at == name.n || decoded(written, &i) != name.p[at])
            return false;
    }
    return at == name.n;
}

struct span passage_query_get(struct arena *arena, struct span query, struct span name)
{
    struct span pair;
    while (span_split(&query, '&', &pair)) {
        if (!is_named(pair, name))
            continue;
        struct span value = span_from(pair, name_of(pair).n + 1);
        char *text = arena_alloc(arena, value.n + 1);
        size_t n = 0;
        if (!text)
            break;
        for (size_t i = 0; i < value.n;)
            text[n++] = decoded(value, &i);
        return span_of(text, n);
    }
    return span_of(NULL, 0);
}

void passage_query_without(struct buffer *out, struct span query, struct span name)
{
    struct span pair;
    bool first = true;
    while (span_split(&query, '&', &pair)) {
        if (is_named(pair, name))
            continue;
        if (!first)
            buffer_char(out, '&');
        buffer_append(out, pair);
        first = false;
    }
}

void passage_query_add(struct buffer *out, bool first, struct span name, struct span value)
{
    if (!first)
        buffer_char(out, '&');
    buffer_append(out, name);
    buffer_char(out, '=');
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                     (c && strchr("-._~", c));
        if (plain)
            buffer_char(out, (char)c);
        else
            buffer_printf(out, "%%%02X", c);
    }
}

/* ---- headers ---- */

static bool is_in(struct span name, const struct span *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct span entry = list[i];
        bool family = span_ends(entry, SPAN("-")); /* "cf-": all that begin so */
        if (span_eq_nocase(family ? span_first(name, entry.n) : name, entry))
            return true;
    }
    return false;
}
#define IS_IN(name, list) is_in(name, list, sizeof(list) / sizeof *(list))

bool passage_is_named(const struct header *headers, size_t n, struct span name)
{
    for (size_t i = 0; i < n; i++) {
        struct span list = headers[i].value, token;
        if (!span_eq_nocase(headers[i].name, SPAN("connection")))
            continue;
        while (span_split(&list, ',', &token)) {
            if (span_eq_nocase(span_trim(token), name))
                return true;
        }
    }
    return false;
}

/* Of one connection only (RFC 9110, 7.6.1), or settled by whoever writes the message. */
static const struct span of_the_hop[] = {
    SPAN_INIT("connection"), SPAN_INIT("keep-alive"),     SPAN_INIT("proxy-"),
    SPAN_INIT("te"),         SPAN_INIT("trailer"),        SPAN_INIT("transfer-encoding"),
    SPAN_INIT("upgrade"),    SPAN_INIT("content-length"), SPAN_INIT("http2-settings")};

bool passage_goes_up(struct span name)
{
    static const struct span ours[] = {
        /* ours to say */
        SPAN_INIT("host"), SPAN_INIT("expect"), SPAN_INIT("accept-encoding"),
        /* who asks us, not the upstream */
        SPAN_INIT("authorization"), SPAN_INIT("x-api-key"), SPAN_INIT("api-key"),
        SPAN_INIT("x-goog-api-key"),
        /* of the client's page and network */
        SPAN_INIT("cookie"), SPAN_INIT("cookie2"), SPAN_INIT("origin"), SPAN_INIT("referer"),
        SPAN_INIT("sec-"), SPAN_INIT("access-control-"), SPAN_INIT("x-forwarded-"),
        SPAN_INIT("forwarded"), SPAN_INIT("via"), SPAN_INIT("cf-"), SPAN_INIT("x-real-ip"),
        SPAN_INIT("x-client-ip"), SPAN_INIT("true-client-ip"), SPAN_INIT("x-cluster-client-ip")};
    return !IS_IN(name, of_the_hop) && !IS_IN(name, ours);
}

bool passage_goes_down(struct span name)
{
    static const struct span theirs[] = {SPAN_INIT("set-cookie"),
                                         SPAN_INIT("set-cookie2"),
                                         SPAN_INIT("access-control-"),
                                         SPAN_INIT("alt-svc"),
                                         SPAN_INIT("strict-transport-security"),
                                         SPAN_INIT("date") /* the server's own */};
    return !IS_IN(name, of_the_hop) && !IS_IN(name, theirs);
}

bool passage_asks_person(struct span name, struct span value)
{
    static const struct span schemes[] = {SPAN_INIT("basic"), SPAN_INIT("digest"),
                                          SPAN_INIT("ntlm"), SPAN_INIT("negotiate")};
    bool asks = false;
    if (!span_eq_nocase(name, SPAN("www-authenticate")))
        return false;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        asks |= span_find_nocase(value, schemes[i]) >= 0;
    return asks;
}

/* ---- the account's key on its way back ---- */

void passage_mask_init(struct passage_mask *m, struct span secret)
{
    bool fit = secret.n >= PASSAGE_SECRET_MIN && secret.n <= PASSAGE_SECRET_MAX;
    m->secret = fit ? secret : span_of(NULL, 0);
    m->n_held = 0;
}

/* How many of the last bytes of `text` are the secret's first ones. */
static size_t tail_of(struct span text, struct span secret)
{
    size_t most = text.n < secret.n - 1 ? text.n : secret.n - 1;
    for (size_t k = most; k > 0; k--) {
        if (text.p[text.n - k] == secret.p[0] && memcmp(text.p + text.n - k, secret.p, k) == 0)
            return k;
    }
    return 0;
}

/* Asterisks over each. */
static void cover(char *text, size_t n, struct span secret)
{
    ptrdiff_t at;
    while ((at = span_find(span_of(text, n), secret)) >= 0) {
        memset(text + at, '*', secret.n);
        text += (size_t)at + secret.n;
        n -= (size_t)at + secret.n;
    }
}

struct span passage_mask_feed(struct passage_mask *m, struct span piece, struct buffer *room)
{
    struct span secret = m->secret;
    if (!secret.n || !piece.n)
        return piece;
    if (m->n_held || span_find(piece, secret) >= 0) {
        buffer_clear(room);
        buffer_append(room, span_of(m->held, m->n_held));
        if (buffer_append(room, piece))
            return span_of(NULL, 0);
        cover(room->p, room->n, secret);
        piece = buffer_span(room);
    }
    m->n_held = tail_of(piece, secret);
    memcpy(m->held, piece.p + piece.n - m->n_held, m->n_held);
    return span_first(piece, piece.n - m->n_held);
}

struct span passage_mask_end(struct passage_mask *m)
{
    struct span rest = span_of(m->held, m->n_held);
    m->n_held = 0;
    return rest;
}

struct span passage_mask_text(struct arena *arena, struct span text, struct span secret)
{
    if (secret.n < PASSAGE_SECRET_MIN)
        return text;
    ptrdiff_t at;
    while ((at = span_find(text, secret)) >= 0) {
        text = arena_printf(arena, "%.*s***%.*s", SPAN_ARGS(span_first(text, (size_t)at)),
                            SPAN_ARGS(span_from(text, (size_t)at + secret.n)));
        if (!text.p)
            return span_of("", 0);
    }
    return text;
}
