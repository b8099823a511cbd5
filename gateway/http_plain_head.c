/*
 * gateway/http_plain_head.c - see http_plain_head.h.
 */
#include "gateway/http_plain_head.h"

#include "gateway/http_client.h"
#include "gateway/http_token.h"

enum { LENGTH_DIGITS_MAX = 15 };

/* The next line, without its end; false when there is none. */
static bool take_line(struct span *rest, struct span *line)
{
    const char *end = rest->n ? memchr(rest->p, '\r', rest->n) : NULL;
    size_t n = end ? (size_t)(end - rest->p) : 0;
    if (!end || n + 2 > rest->n || end[1] != '\n')
        return false;
    *line = span_first(*rest, n);
    *rest = span_from(*rest, n + 2);
    return true;
}

/* "HTTP/1.1 200 OK"; answers without a body, and what is not final, are not plain. */
static bool read_status_line(struct span line, struct http_plain_head *h)
{
    const struct span version = SPAN("HTTP/1.1 ");
    uint64_t status;
    if (!span_starts(line, version) || line.n < version.n + 3 ||
        !span_to_u64(span_of(line.p + version.n, 3), 599, &status))
        return false;
    struct span behind = span_from(line, version.n + 3);
    if (behind.n && behind.p[0] != ' ')
        return false;
    h->status = (int)status;
    h->reason = behind.n ? span_from(behind, 1) : SPAN("");
    return status >= 200 && status != 204 && status != 304 && !span_has_control(h->reason);
}

/* False when the header says something of the framing that is not plain. */
static bool read_framing(const struct header *field, struct http_plain_head *h)
{
    struct span name = field->name, value = field->value;
    switch (name.n) {
    case 7: return !span_eq_nocase(name, SPAN("Upgrade")) && !span_eq_nocase(name, SPAN("Trailer"));
    case 10:
        return !span_eq_nocase(name, SPAN("Connection")) ||
               span_eq_nocase(value, SPAN("keep-alive"));
    case 12:
        if (!h->content_type.p && span_eq_nocase(name, SPAN("Content-Type")))
            h->content_type = value;
        return true;
    case 14:
        if (!span_eq_nocase(name, SPAN("Content-Length")))
            return true;
        if (h->has_length || value.n > LENGTH_DIGITS_MAX)
            return false;
        h->has_length = true;
        return span_to_u64(value, UINT64_MAX, &h->length);
    case 16:
        return !span_eq_nocase(name, SPAN("Content-Encoding")) &&
               !span_eq_nocase(name, SPAN("Proxy-Connection"));
    case 17:
        if (!span_eq_nocase(name, SPAN("Transfer-Encoding")))
            return true;
        if (h->chunked)
            return false;
        h->chunked = true;
        return span_eq_nocase(value, SPAN("chunked"));
    default: return true;
    }
}

/* Blanks around a value alone are plain: of other white space some is none in HTTP. */
static struct span without_blanks(struct span s)
{
    while (s.n && s.p[0] == ' ')
        s = span_from(s, 1);
    while (s.n && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

static bool read_field(struct span line, struct header *field)
{
    ptrdiff_t colon = span_find_char(line, ':');
    if (colon <= 0)
        return false;
    field->name = span_first(line, (size_t)colon);
    field->value = without_blanks(span_from(line, (size_t)colon + 1));
    return http_is_token(field->name) && !span_has_control(field->value);
}

bool http_plain_head_read(struct span input, struct header *headers, size_t cap,
                          struct http_plain_head *h)
{
    struct span rest = input, line;
    *h = (struct http_plain_head){.status = 0};
    if (!take_line(&rest, &line) || !read_status_line(line, h))
        return false;
    while (take_line(&rest, &line)) {
        if (!line.n) {
            h->text = span_first(input, input.n - rest.n);
            return h->has_length != h->chunked && h->text.n <= HTTP_HEAD_MAX;
        }
        if (h->n_headers == cap)
            return false;
        struct header *field = &headers[h->n_headers++];
        if (!read_field(line, field) || !read_framing(field, h))
            return false;
    }
    return false;
}
