/*
 * gateway/http_plain_head.c - see http_plain_head.h.
 */
#include "gateway/http_plain_head.h"

#include "gateway/http_client.h"

enum { LENGTH_DIGITS_MAX = 15 };

/* ---- names ---- */

/* RFC 9110's tchar: !#$%&'*+-.^_`|~, digits and letters, a bit for each. */
static bool is_token_char(unsigned char c)
{
    static const uint64_t tokens[2] = {0x03ff6cfa00000000, 0x57ffffffc7fffffe};
    return c < 128 && (tokens[c >> 6] >> (c & 63) & 1);
}

/* Are eight bytes all letters or hyphens, as most names of headers are? */
static bool are_plain(uint64_t w)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    uint64_t lower = w | ones * 0x20, other = w ^ ones * '-';
    uint64_t letter = (lower + ones * (0x80 - 'a')) & ~(lower + ones * (0x7F - 'z'));
    uint64_t hyphen = ~((other & ~tops) + ~tops);
    return (w & tops) == 0 && ((letter | hyphen) & tops) == tops;
}

static uint64_t word_at(const char *p, const char *q)
{
    uint32_t halves[2];
    uint64_t w;
    memcpy(&halves[0], p, 4);
    memcpy(&halves[1], q, 4);
    memcpy(&w, halves, sizeof w);
    return w;
}

/* Short ones, and the ends of long ones, are looked at twice in part. */
static bool is_plain_name(struct span s)
{
    const char *end = s.p + s.n;
    if (s.n < 8)
        return s.n >= 4 && are_plain(word_at(s.p, end - 4));
    for (size_t i = 0; i + 8 <= s.n; i += 8) {
        if (!are_plain(word_at(s.p + i, s.p + i + 4)))
            return false;
    }
    return are_plain(word_at(end - 8, end - 4));
}

bool http_is_token(struct span s)
{
    if (is_plain_name(s))
        return true;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_token_char((unsigned char)s.p[i]))
            return false;
    }
    return s.n > 0;
}

/* ---- lines ---- */

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

static bool read_field(struct span line, struct header *field)
{
    ptrdiff_t colon = span_find_char(line, ':');
    if (colon <= 0)
        return false;
    field->name = span_first(line, (size_t)colon);
    field->value = span_trim(span_from(line, (size_t)colon + 1));
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
