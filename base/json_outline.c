/*
 * base/json_outline.c - see json_outline.h. A reader by recursive descent, one function for each
 * kind of value; each returns where the value ends, or NULL: not plain.
 */
#include "base/json_outline.h"

#include "base/word.h"

enum {
    DEPTH_MAX = 32,  /* what is nested deeper is not plain */
    DIGITS_MAX = 15, /* of a number, on each side of the point: every reader has room for them */
    NOT_LOOKED_INTO = 3,
    MEMBERS,  /* of the object itself, or of an element */
    ELEMENTS, /* of the array */
};

struct look {
    struct json_outline *outline;
    struct span array;
    const char *end;
    unsigned depth;
};

static const char *read_value(struct look *l, const char *p, int inside);

static inline const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* ---- texts ---- */

/* Of the character at p, beyond ASCII: how many bytes; 0 = it is none (RFC 3629). */
static size_t character(const char *p, const char *end)
{
    const unsigned char *c = (const unsigned char *)p;
    size_t n = c[0] < 0xC2 ? 0 : c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : c[0] < 0xF5 ? 4 : 0;
    if (!n || (size_t)(end - p) < n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((c[i] & 0xC0) != 0x80)
            return 0;
    }
    bool overlong = (c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xF0 && c[1] < 0x90);
    bool surrogate = c[0] == 0xED && c[1] >= 0xA0, beyond = c[0] == 0xF4 && c[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : n;
}

/* Of the escape at p: how many bytes; 0 = it is none, or half a surrogate pair. */
static size_t escape(const char *p, const char *end)
{
    if (end - p < 2)
        return 0;
    if (p[1] != 'u')
        return p[1] && strchr("\"\\/bfnrt", p[1]) ? 2 : 0;
    if (end - p < 6)
        return 0;
    for (int i = 2; i < 6; i++) {
        if (hex_digit(p[i]) < 0)
            return 0;
    }
    return (p[2] | 0x20) == 'd' && hex_digit(p[3]) >= 8 ? 0 : 6;
}

/* To the first byte of a text that is more than itself: its end, an escape, a control character,
 * one beyond ASCII. */
static const char *skip_ascii(const char *p, const char *end)
{
    for (; end - p >= (ptrdiff_t)sizeof(uint64_t); p += sizeof(uint64_t)) {
        uint64_t w = word_load(p);
        uint64_t found =
            word_equal(w, '"') | word_equal(w, '\\') | word_below(w, ' ') | (w & WORD_TOPS);
        if (found)
            return p + word_first(found);
    }
    while (p < end && *p != '"' && *p != '\\' && (signed char)*p >= ' ')
        p++;
    return p;
}

/* p behind the opening quote; so is what is returned behind the closing one. */
static const char *read_text(const char *p, const char *end)
{
    for (;;) {
        p = skip_ascii(p, end);
        if (p == end)
            return NULL;
        if (*p == '"')
            return p + 1;
        size_t n = *p == '\\' ? escape(p, end) : character(p, end);
        if (!n)
            return NULL;
        p += n;
    }
}

/* ---- numbers and words ---- */

static const char *digits(const char *p, const char *end)
{
    const char *first = p;
    while (p < end && ascii_is_digit(*p))
        p++;
    return p > first && p - first <= DIGITS_MAX ? p : NULL;
}

static const char *read_number(const char *p, const char *end)
{
    if (*p == '-')
        p++;
    const char *whole = p;
    p = digits(p, end);
    if (!p || (*whole == '0' && p - whole > 1))
        return NULL;
    return p < end && *p == '.' ? digits(p + 1, end) : p;
}

static const char *read_word(const char *p, const char *end, struct span word)
{
    return span_starts(span_of(p, (size_t)(end - p)), word) ? p + word.n : NULL;
}

/* ---- objects and arrays ---- */

/* A place in the outline; NULL when there is no room, or nobody asks. */
static struct json_outline_entry *add(struct look *l, struct span key, int inside)
{
    struct json_outline *o = l->outline;
    if (inside == NOT_LOOKED_INTO)
        return NULL;
    if (o->n == JSON_OUTLINE_MAX) {
        o->whole = false;
        return NULL;
    }
    o->list[o->n].key = key;
    return &o->list[o->n++];
}

static void settle(struct look *l, struct json_outline_entry *e, const char *from, const char *to)
{
    if (!e)
        return;
    e->value = span_of(from, (size_t)(to - from));
    e->behind = l->outline->n;
}

/* What is to be looked into of a member's value. */
static int wish_of(struct look *l, const struct json_outline_entry *e)
{
    if (!e || l->depth > 1 || !span_eq(e->key, l->array))
        return NOT_LOOKED_INTO;
    l->outline->array = (size_t)(e - l->outline->list);
    return ELEMENTS;
}

static const char *read_object(struct look *l, const char *p, int inside)
{
    int n = 0;
    p = skip_blanks(p + 1, l->end);
    if (p < l->end && *p == '}')
        return p + 1;
    for (;; p = skip_blanks(p + 1, l->end)) {
        if (p == l->end || *p != '"')
            return NULL;
        const char *key = ++p;
        p = skip_ascii(p, l->end);
        if (p == l->end || *p != '"')
            return NULL;
        struct json_outline_entry *e = add(l, span_of(key, (size_t)(p - key)), inside);
        p = skip_blanks(p + 1, l->end);
        if (p == l->end || *p != ':')
            return NULL;
        const char *value = skip_blanks(p + 1, l->end);
        p = read_value(l, value, wish_of(l, e));
        if (!p)
            return NULL;
        settle(l, e, value, p);
        if (++n > JSON_MEMBERS_INDEXED && inside == MEMBERS)
            l->outline->whole = false;
        p = skip_blanks(p, l->end);
        if (p == l->end || *p != ',')
            return p < l->end && *p == '}' ? p + 1 : NULL;
    }
}

static const char *read_array(struct look *l, const char *p, int inside)
{
    p = skip_blanks(p + 1, l->end);
    if (p < l->end && *p == ']')
        return p + 1;
    for (;; p = skip_blanks(p + 1, l->end)) {
        struct json_outline_entry *e = add(l, span_of(NULL, 0), inside);
        const char *value = p;
        p = read_value(l, value, inside == ELEMENTS ? MEMBERS : NOT_LOOKED_INTO);
        if (!p)
            return NULL;
        settle(l, e, value, p);
        p = skip_blanks(p, l->end);
        if (p == l->end || *p != ',')
            return p < l->end && *p == ']' ? p + 1 : NULL;
    }
}

/* `inside`: what is wished of an object's members or an array's elements. */
static const char *read_nested(struct look *l, const char *p, int inside)
{
    if (l->depth == DEPTH_MAX)
        return NULL;
    l->depth++;
    if (*p == '{')
        p = read_object(l, p, inside == ELEMENTS ? NOT_LOOKED_INTO : inside);
    else
        p = read_array(l, p, inside == MEMBERS ? NOT_LOOKED_INTO : inside);
    l->depth--;
    return p;
}

static const char *read_value(struct look *l, const char *p, int inside)
{
    if (p == l->end)
        return NULL;
    switch (*p) {
    case '"': return read_text(p + 1, l->end);
    case '{':
    case '[': return read_nested(l, p, inside);
    case 't': return read_word(p, l->end, SPAN("true"));
    case 'f': return read_word(p, l->end, SPAN("false"));
    case 'n': return read_word(p, l->end, SPAN("null"));
    default: return read_number(p, l->end);
    }
}

static bool read_all(struct look *l, struct span text, int inside)
{
    const char *p = text.n ? skip_blanks(text.p, l->end) : l->end;
    if (p == l->end || *p != '{')
        return false;
    p = read_value(l, p, inside);
    return p && skip_blanks(p, l->end) == l->end;
}

bool json_is_plain_object(struct span text)
{
    struct look l = {.end = text.p + text.n};
    return read_all(&l, text, NOT_LOOKED_INTO);
}

bool json_outline_read(struct json_outline *o, struct span text, struct span array)
{
    struct look l = {.outline = o, .array = array, .end = text.p + text.n};
    o->n = 0;
    o->whole = true;
    o->array = JSON_OUTLINE_MAX;
    return read_all(&l, text, MEMBERS);
}

bool json_outline_has_array(const struct json_outline *o, struct span value)
{
    return o->whole && o->array < o->n && o->list[o->array].value.p == value.p;
}

void json_outline_members(const struct json_outline *o, size_t from, size_t to,
                          struct json_members *m)
{
    m->n_ = 0;
    m->seen_ = 0;
    m->escapes_ = false; /* that would not be plain */
    m->rest_ = (struct json_raw_iter){.object_ = true};
    for (size_t i = from; i < to; i = o->list[i].behind) {
        m->seen_ |= json_members_bit_(o->list[i].key);
        m->list_[m->n_].key = o->list[i].key;
        m->list_[m->n_++].value = o->list[i].value;
    }
}
