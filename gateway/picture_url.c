/*
 * gateway/picture_url.c - see picture_url.h.
 */
#include "gateway/picture_url.h"

#include <ctype.h>

#include "base/buffer.h"
#include "gateway/cidr.h"

static const char no_memory[] = "cannot be read: out of memory";

bool is_web_url(struct span text)
{
    return span_eq_nocase(span_first(text, 7), SPAN("http://")) ||
           span_eq_nocase(span_first(text, 8), SPAN("https://"));
}

/* ---- hosts ---- */

static bool is_all(struct span text, int (*is)(int))
{
    for (size_t i = 0; i < text.n; i++) {
        if (!is((unsigned char)text.p[i]))
            return false;
    }
    return text.n > 0;
}

/* Does the last label look like a number to any program (WHATWG URL, "ends in a number")? */
static bool ends_in_number(struct span host)
{
    if (span_ends(host, SPAN(".")))
        host.n--;
    ptrdiff_t dot = span_find_last(host, SPAN("."));
    struct span last = span_from(host, (size_t)(dot + 1));
    if (span_eq_nocase(span_first(last, 2), SPAN("0x")))
        return last.n == 2 || is_all(span_from(last, 2), isxdigit);
    return is_all(last, isdigit);
}

static const char *check_name(struct span host)
{
    size_t label = 0;
    for (size_t i = 0; i < host.n; i++) {
        unsigned char c = (unsigned char)host.p[i];
        if (c >= 0x80)
            return "has a host that is not ASCII: give the name in its xn-- form";
        if (!isalnum(c) && c != '-' && c != '_' && c != '.')
            return "has no host that can be used";
        label = c == '.' ? 0 : label + 1;
        if (label > 63 || (c == '.' && (i == 0 || host.p[i - 1] == '.')))
            return "has no host that can be used";
    }
    return host.n > 253 ? "has no host that can be used" : NULL;
}

static const char *read_host(struct arena *arena, struct span text, struct picture_url *url)
{
    struct ip_address ip;
    char plain[46], *host;
    bool six = text.n > 1 && text.p[0] == '[';
    if (six)
        text = span_of(text.p + 1, text.n - 2);
    if (!text.n)
        return "has no host";
    if (six ? !ip_parse(text, &ip) || span_find_char(text, ':') < 0 : false)
        return "has no IPv6 address between its brackets";
    if (!six) {
        const char *wrong = check_name(text);
        if (wrong)
            return wrong;
        bool number = ends_in_number(text);
        if (number && !(ip_parse(text, &ip) && span_eq(span_str(ip_format(&ip, plain)), text)))
            return "writes an address in an unusual form: give four decimal numbers with dots";
    }
    struct span copy = arena_text(arena, text);
    if (!copy.p)
        return no_memory;
    host = (char *)(uintptr_t)copy.p;
    for (size_t i = 0; i < copy.n; i++)
        host[i] = (char)tolower((unsigned char)host[i]);
    url->host = copy;
    return NULL;
}

static const char *write_host_header(struct arena *arena, struct picture_url *url)
{
    bool six = span_find_char(url->host, ':') >= 0;
    const char *open = six ? "[" : "", *close = six ? "]" : "";
    url->host_header =
        url->port == (url->tls ? 443 : 80)
            ? arena_printf(arena, "%s%.*s%s", open, SPAN_ARGS(url->host), close)
            : arena_printf(arena, "%s%.*s%s:%d", open, SPAN_ARGS(url->host), close, url->port);
    return url->host_header.p ? NULL : no_memory;
}

static const char *read_authority(struct arena *arena, struct span text, struct picture_url *url)
{
    uint64_t port = url->tls ? 443 : 80;
    if (span_find_char(text, '@') >= 0)
        return "has a user name in it";
    ptrdiff_t bracket = span_find_char(text, ']');
    ptrdiff_t colon = span_find_char(span_from(text, (size_t)(bracket + 1)), ':');
    struct span host = text;
    if (text.n && text.p[0] == '[' && bracket < 0)
        return "has no IPv6 address between its brackets";
    if (colon >= 0) {
        size_t at = (size_t)(bracket + 1 + colon);
        struct span digits = span_from(text, at + 1);
        host = span_first(text, at);
        if (digits.n && (!span_to_u64(digits, 65535, &port) || !port))
            return "has a port that is none";
    }
    if (bracket >= 0 && (text.p[0] != '[' || (size_t)bracket + 1 != host.n))
        return "has no IPv6 address between its brackets";
    url->port = (int)port;
    const char *wrong = read_host(arena, host, url);
    return wrong ? wrong : write_host_header(arena, url);
}

/* ---- targets ---- */

/* Path and query as they go out: nothing in them can end a line, or a request. */
static const char *write_target(struct arena *arena, struct span text, struct picture_url *url)
{
    struct buffer out;
    buffer_init(&out, 3 * (size_t)PICTURE_URL_MAX + 2);
    if (!text.n || text.p[0] != '/')
        buffer_char(&out, '/');
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c <= ' ' || c >= 0x7F || strchr("\"<>`{}|^", c))
            buffer_printf(&out, "%%%02X", c);
        else
            buffer_char(&out, (char)c);
    }
    url->target = out.error ? span_of(NULL, 0) : arena_text(arena, buffer_span(&out));
    buffer_free(&out);
    return url->target.p ? NULL : no_memory;
}

static struct span without_fragment(struct span text)
{
    ptrdiff_t hash = span_find_char(text, '#');
    return hash < 0 ? text : span_first(text, (size_t)hash);
}

static const char *check_characters(struct span text)
{
    if (text.n > PICTURE_URL_MAX)
        return "is too long";
    for (size_t i = 0; i < text.n; i++) {
        if ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7F)
            return "has control characters in it";
        if (text.p[i] == '\\')
            return "has a backslash in it";
    }
    return NULL;
}

const char *picture_url_read(struct arena *arena, struct span text, struct picture_url *url)
{
    *url = (struct picture_url){.tls = false};
    text = without_fragment(span_trim(text));
    const char *wrong = check_characters(text);
    if (wrong)
        return wrong;
    if (!is_web_url(text))
        return "is neither http nor https";
    url->tls = text.p[4] == 's' || text.p[4] == 'S';
    struct span rest = span_from(text, url->tls ? 8 : 7);
    size_t end = 0;
    while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?')
        end++;
    wrong = read_authority(arena, span_first(rest, end), url);
    return wrong ? wrong : write_target(arena, span_from(rest, end), url);
}

/* ---- redirects ---- */

/* RFC 3986, 5.2.4, over a path that begins with a slash. */
static void remove_dots(struct buffer *out, struct span path)
{
    struct span piece, rest = span_from(path, 1);
    while (span_split(&rest, '/', &piece)) {
        bool up = span_eq(piece, SPAN("..")), here = span_eq(piece, SPAN("."));
        if (up) {
            ptrdiff_t slash = span_find_last(buffer_span(out), SPAN("/"));
            out->n = slash < 0 ? 0 : (size_t)slash;
        } else if (!here) {
            buffer_char(out, '/');
            buffer_append(out, piece);
        }
        if ((up || here) && !rest.p) /* the last one names a folder */
            buffer_char(out, '/');
    }
}

/* `location` without scheme and host, behind `base`'s path. */
static const char *merge(struct arena *arena, struct span base, struct span location,
                         struct span *target)
{
    struct buffer path, out;
    ptrdiff_t base_query = span_find_char(base, '?'), query = span_find_char(location, '?');
    struct span base_path = base_query < 0 ? base : span_first(base, (size_t)base_query);
    struct span relative = query < 0 ? location : span_first(location, (size_t)query);
    buffer_init(&path, 4 * (size_t)PICTURE_URL_MAX);
    buffer_init(&out, 8 * (size_t)PICTURE_URL_MAX);
    if (!relative.n) {
        buffer_append(&out, base_path);
    } else {
        if (relative.p[0] != '/')
            buffer_append(
                &path, span_first(base_path, (size_t)(span_find_last(base_path, SPAN("/")) + 1)));
        buffer_append(&path, relative);
        remove_dots(&out, buffer_span(&path));
    }
    buffer_append(&out, query < 0 ? SPAN("") : span_from(location, (size_t)query));
    bool good = !path.error && !out.error;
    *target = good ? arena_text(arena, buffer_span(&out)) : span_of(NULL, 0);
    buffer_free(&path);
    buffer_free(&out);
    return target->p ? NULL : no_memory;
}

/* A scheme stands before the first of `/`, `?` and the end. */
static bool has_scheme(struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == ':')
            return i > 0;
        if (!isalnum(c) && c != '+' && c != '-' && c != '.')
            return false;
    }
    return false;
}

const char *picture_url_follow(struct arena *arena, const struct picture_url *from,
                               struct span location, struct picture_url *to)
{
    struct span target;
    location = without_fragment(span_trim(location));
    if (!location.n)
        return "leads nowhere";
    if (has_scheme(location))
        return picture_url_read(arena, location, to);
    if (span_starts(location, SPAN("//"))) {
        struct span whole = arena_printf(arena, "%s:%.*s", from->tls ? "https" : "http",
                                         SPAN_ARGS(span_first(location, PICTURE_URL_MAX)));
        return whole.p ? picture_url_read(arena, whole, to) : no_memory;
    }
    const char *wrong = check_characters(location);
    if (!wrong)
        wrong = merge(arena, from->target, location, &target);
    if (wrong)
        return wrong;
    *to = *from;
    return write_target(arena, target, to);
}
