/*
 * base/json_inside.c - see json_inside.h. The hot part is plain_end: sixteen bytes at a time.
 */
#include "base/json_inside.h"

#include <endian.h>

#include "base/block.h"
#include "base/json.h"
#include "base/utf8.h"

enum { NUMBER_DIGITS_MAX = 15 };

static uint64_t half(block v, int which)
{
    uint64_t word;
    memcpy(&word, (const char *)&v + 8 * which, sizeof word);
    return le64toh(word); /* the first byte is the lowest */
}

/* The first such byte, or `end`; *high says whether bytes beyond ASCII were passed (or stand a few
 * bytes behind it). */
static const char *plain_end(const char *p, const char *end, bool *high)
{
    block seen = {0};
    uint64_t first = 0, second = 0;
    for (; end - p >= BLOCK; p += BLOCK) {
        block v = block_at(p), found = block_special(v);
        seen |= v;
        first = half(found, 0);
        second = half(found, 1);
        if (first | second)
            break;
    }
    *high |= ((half(seen, 0) | half(seen, 1)) & UINT64_C(0x8080808080808080)) != 0;
    if (first)
        return p + __builtin_ctzll(first) / 8;
    if (second)
        return p + 8 + __builtin_ctzll(second) / 8;
    while (p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\') {
        *high |= (unsigned char)*p >= 0x80;
        p++;
    }
    return p;
}

static int hex4(const char *p, const char *end)
{
    int value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* *p behind "\u": moves on. -1: no digits, or half of a pair of surrogates. */
static int unicode_escape(const char **p, const char *end)
{
    int c = hex4(*p, end);
    if (c < 0 || (c >= 0xDC00 && c < 0xE000))
        return -1;
    *p += 4;
    if (c < 0xD800 || c >= 0xE000)
        return c;
    if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return -1;
    int low = hex4(*p + 2, end);
    if (low < 0xDC00 || low >= 0xE000)
        return -1;
    *p += 6;
    return 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
}

/* *p at a backslash: moves on. -1 = no escape that we know. */
static int escape(const char **p, const char *end)
{
    if (end - *p < 2)
        return -1;
    char c = (*p)[1];
    *p += 2;
    switch (c) {
    case '"':
    case '\\':
    case '/': return c;
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'u': return unicode_escape(p, end);
    default: return -1;
    }
}

/* The string from `p` to its closing quote, where the first escape is at `at`. NULL when it cannot
 * be had. */
static const char *decode(const char *p, const char *at, const char *end, bool *high,
                          struct buffer *room, struct span *string)
{
    buffer_clear(room);
    for (;;) {
        size_t plain = (size_t)(at - p);
        char *to = buffer_reserve(room, plain + 4);
        if (!to)
            return NULL;
        memcpy(to, p, plain);
        room->n += plain;
        if (at == end || (*at != '"' && *at != '\\'))
            return NULL;
        if (*at == '"') {
            *string = buffer_span(room);
            return at;
        }
        int c = escape(&at, end);
        if (c < 0)
            return NULL;
        room->n += utf8_put(to + plain, (unsigned)c);
        p = at;
        at = plain_end(p, end, high);
    }
}

const char *json_inside_read(const char *p, const char *end, struct buffer *room,
                             struct span *string)
{
    bool high = false;
    const char *at = plain_end(p, end, &high);
    if (at == end)
        return NULL;
    if (*at == '"')
        *string = span_of(p, (size_t)(at - p));
    else
        at = decode(p, at, end, &high, room, string);
    if (at && high && !json_valid_utf8(span_of(p, (size_t)(at - p))))
        return NULL;
    return at;
}

const char *json_inside_pass(const char *p, const char *end)
{
    bool high = false;
    const char *at = plain_end(p, end, &high);
    return at < end && *at == '"' && !high ? at : NULL;
}

const char *json_natural_pass(const char *p, const char *end)
{
    const char *at = p;
    while (at < end && at - p <= NUMBER_DIGITS_MAX && ascii_is_digit(*at))
        at++;
    bool good = at > p && at - p <= NUMBER_DIGITS_MAX && (*p != '0' || at == p + 1);
    return good ? at : NULL;
}
