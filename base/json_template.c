/*
 * base/json_template.c - see json_template.h. The hot part is json_template_match: comparisons of
 * memory, and a look at the string, eight bytes at a time.
 */
#include "base/json_template.h"

#include <endian.h>

#include "base/json.h"
#include "base/json_raw.h"

enum { PATIENCE_MAX = 63, NUMBER_DIGITS_MAX = 15 };

#define EACH_BYTE UINT64_C(0x0101010101010101)
#define TOP_BITS  (EACH_BYTE << 7)

/* ---- the inside of a string ---- */

/* The top bits of the bytes that are zero; those above the lowest one of them may be wrong. */
static uint64_t zero_bytes(uint64_t word) { return (word - EACH_BYTE) & ~word & TOP_BITS; }

/* Bytes that a string cannot hold as they are: `"`, `\` and below 0x20. As above. */
static uint64_t special_bytes(uint64_t word)
{
    return zero_bytes(word ^ EACH_BYTE * '"') | zero_bytes(word ^ EACH_BYTE * '\\') |
           ((word - EACH_BYTE * 0x20) & ~word & TOP_BITS);
}

/* The first such byte, or `end`; *high collects the top bits of what was passed (and perhaps of a
 * few bytes behind it). */
static const char *plain_end(const char *p, const char *end, uint64_t *high)
{
    uint64_t word, special;
    while (end - p >= 8) {
        memcpy(&word, p, sizeof word);
        word = le64toh(word); /* the first byte is the lowest */
        *high |= word & TOP_BITS;
        special = special_bytes(word);
        if (special)
            return p + __builtin_ctzll(special) / 8;
        p += 8;
    }
    while (p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\') {
        *high |= (unsigned char)*p & 0x80;
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

static size_t put_utf8(char *out, int c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
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
static const char *decode(const char *p, const char *at, const char *end, uint64_t *high,
                          struct json_like *like)
{
    size_t n = 0;
    for (;;) {
        size_t plain = (size_t)(at - p);
        if (plain + 4 > sizeof like->room - n)
            return NULL;
        memcpy(like->room + n, p, plain);
        n += plain;
        if (at == end || (*at != '"' && *at != '\\'))
            return NULL;
        if (*at == '"') {
            like->string = span_of(like->room, n);
            return at;
        }
        int c = escape(&at, end);
        if (c < 0)
            return NULL;
        n += put_utf8(like->room + n, c);
        p = at;
        at = plain_end(p, end, high);
    }
}

/* Behind the wanted string (at its closing quote), or NULL. */
static const char *read_wanted(const char *p, const char *end, struct json_like *like)
{
    uint64_t high = 0;
    const char *at = plain_end(p, end, &high);
    if (at == end)
        return NULL;
    if (*at == '"')
        like->string = span_of(p, (size_t)(at - p));
    else
        at = decode(p, at, end, &high, like);
    if (at && high && !json_valid_utf8(span_of(p, (size_t)(at - p))))
        return NULL;
    return at;
}

/* ---- holes that nobody looks at ---- */

static const char *pass_string(const char *p, const char *end)
{
    uint64_t high = 0;
    const char *at = plain_end(p, end, &high);
    return at < end && *at == '"' && !high ? at : NULL;
}

static const char *pass_number(const char *p, const char *end)
{
    const char *at = p;
    while (at < end && at - p <= NUMBER_DIGITS_MAX && ascii_is_digit(*at))
        at++;
    bool good = at > p && at - p <= NUMBER_DIGITS_MAX && (*p != '0' || at == p + 1);
    return good ? at : NULL;
}

static const char *pass_hole(const struct json_template *t, unsigned i, const char *p,
                             const char *end, struct json_like *like)
{
    if (i == t->wanted)
        return read_wanted(p, end, like);
    return t->numbers >> i & 1 ? pass_number(p, end) : pass_string(p, end);
}

/* ---- matching ---- */

static bool fits(const struct json_template *t, struct span label, struct span text,
                 struct json_like *like)
{
    if (!t->holes || !text.n || !span_eq(label, span_of(t->bytes, t->label)))
        return false;
    const char *p = text.p, *end = p + text.n, *bytes = t->bytes + t->label;
    for (unsigned i = 0;; i++) {
        size_t n = t->pieces[i];
        if ((size_t)(end - p) < n || memcmp(p, bytes, n) != 0)
            return false;
        p += n;
        bytes += n;
        if (i == t->holes)
            return p == end;
        p = pass_hole(t, i, p, end, like);
        if (!p)
            return false;
    }
}

bool json_template_match(struct json_template *t, struct span label, struct span text,
                         struct json_like *like)
{
    if (!fits(t, label, text, like)) {
        t->holes = 0;
        return false;
    }
    t->matched = true;
    like->meaning = t->meaning;
    return true;
}

void json_template_forget(struct json_template *t)
{
    t->holes = t->patience = t->skips = 0;
    t->matched = false;
}

/* ---- learning ---- */

static struct span find(struct span text, const char *const *path)
{
    for (; *path; path++) {
        if (**path) {
            if (!json_raw_is_object(text))
                return span_of(NULL, 0);
            text = json_raw_get(text, *path);
            continue;
        }
        struct json_raw_iter it = json_raw_each(text);
        if (!json_raw_is_array(text) || json_raw_count(text) != 1 || !json_raw_next(&it))
            return span_of(NULL, 0);
        text = it.value;
    }
    return text;
}

static bool is_text(struct span raw) { return raw.n >= 2 && json_raw_is_text(raw); }

/* Strings without their quotes: those are part of what stands around. */
static struct span inside(struct span raw)
{
    return is_text(raw) ? span_of(raw.p + 1, raw.n - 2) : raw;
}

struct holes {
    struct span at[JSON_TEMPLATE_HOLES]; /* in the order of the text */
    unsigned n;
};

static void add_hole(struct holes *h, struct span hole)
{
    unsigned i = h->n++;
    for (; i && h->at[i - 1].p > hole.p; i--)
        h->at[i] = h->at[i - 1];
    h->at[i] = hole;
}

static void find_holes(struct holes *h, struct span text, struct span wanted,
                       const char *const *ignored)
{
    add_hole(h, inside(wanted));
    for (; ignored && *ignored && h->n < JSON_TEMPLATE_HOLES; ignored++) {
        struct span raw = json_raw_get(text, *ignored);
        bool number = raw.n && ascii_is_digit(raw.p[0]);
        if (raw.p != wanted.p && (is_text(raw) || number))
            add_hole(h, inside(raw));
    }
}

static bool make_room(struct json_template *t, struct arena *arena, size_t n)
{
    if (n <= t->room)
        return true;
    size_t room = 2 * (size_t)t->room > n ? 2 * (size_t)t->room : n;
    char *bytes = arena_alloc(arena, room);
    if (!bytes)
        return false;
    t->bytes = bytes;
    t->room = (uint16_t)room;
    return true;
}

/* The label and the pieces go into the room, which is there. False when a piece holds an escape. */
static bool take_pieces(struct json_template *t, struct span label, struct span text,
                        const struct holes *h, struct span wanted)
{
    char *to = t->bytes;
    const char *from = text.p;
    t->label = (uint16_t)label.n;
    t->numbers = 0;
    if (label.n)
        memcpy(to, label.p, label.n);
    to += label.n;
    for (unsigned i = 0; i <= h->n; i++) {
        const char *stop = i < h->n ? h->at[i].p : text.p + text.n;
        struct span piece = span_of(from, (size_t)(stop - from));
        if (span_find_char(piece, '\\') >= 0)
            return false;
        t->pieces[i] = (uint16_t)piece.n;
        memcpy(to, piece.p, piece.n);
        to += piece.n;
        if (i == h->n)
            break;
        from = stop + h->at[i].n;
        if (stop == wanted.p + 1)
            t->wanted = (uint8_t)i;
        else if (stop[-1] != '"')
            t->numbers |= (uint8_t)(1U << i);
    }
    return true;
}

/* Learning costs more than a match saves: where none ever comes of it, it is tried at longer and
 * longer intervals. */
static bool is_worth_it(struct json_template *t)
{
    if (t->matched)
        t->patience = t->skips = 0;
    if (t->skips) {
        t->skips--;
        return false;
    }
    t->matched = false;
    t->skips = t->patience;
    t->patience = t->patience < PATIENCE_MAX ? (uint8_t)(2 * t->patience + 1) : PATIENCE_MAX;
    return true;
}

void json_template_learn(struct json_template *t, struct arena *arena, struct span label,
                         struct span text, const char *const *path, const char *const *ignored,
                         int meaning)
{
    struct holes holes = {.n = 0};
    struct json_like like;
    t->holes = 0;
    if (!is_worth_it(t) || !json_valid_utf8(text))
        return;
    struct span wanted = find(text, path);
    if (!is_text(wanted))
        return;
    /* Holes cost a look each: only where all of what stands around was not the same. */
    find_holes(&holes, text, wanted, t->skips ? ignored : NULL);
    size_t n = label.n + text.n;
    for (unsigned i = 0; i < holes.n; i++)
        n -= holes.at[i].n;
    if (n > JSON_TEMPLATE_BYTES || !make_room(t, arena, n) ||
        !take_pieces(t, label, text, &holes, wanted))
        return;
    t->meaning = (int16_t)meaning;
    t->holes = (uint8_t)holes.n;
    if (!fits(t, label, text, &like)) /* a negative number, say: it would never match */
        t->holes = 0;
}
