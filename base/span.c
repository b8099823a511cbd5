/*
 * base/span.c - comparing, finding and cutting borrowed bytes. Pure; no allocation.
 */
#include "base/span.h"

#include "base/block.h"
#include "base/word.h"

static char lower(char c) { return (c >= 'A' && c <= 'Z') ? (char)(c + 32) : c; }

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

int span_compare(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

/* Most words that differ do so in more than the bit of capitals. */
static inline bool same_word_nocase(uint64_t a, uint64_t b)
{
    uint64_t differ = a ^ b;
    return !differ || (!(differ & ~(WORD_ONES * 0x20)) && word_lower(a) == word_lower(b));
}

bool span_same_nocase(struct span a, struct span b)
{
    enum { WORD = sizeof(uint64_t), HALF = sizeof(uint32_t) };
    if (a.n < HALF) {
        size_t i = 0;
        while (i < a.n && lower(a.p[i]) == lower(b.p[i]))
            i++;
        return i == a.n;
    }
    if (a.n < WORD)
        return same_word_nocase(word_of_ends(a.p, a.n), word_of_ends(b.p, b.n));
    for (size_t i = 0; i < a.n; i += WORD) {
        size_t at = i < a.n - WORD ? i : a.n - WORD; /* the last one, some of it a second time */
        if (!same_word_nocase(word_load(a.p + at), word_load(b.p + at)))
            return false;
    }
    return true;
}

static block controls(block v) { return ((v >= 0) & (v < ' ')) | (v == 0x7F); }

bool span_has_control(struct span s)
{
    block found = {0};
    if (s.n < BLOCK)
        return block_any(controls(block_short(s.p, s.n)));
    for (size_t i = 0; i + BLOCK <= s.n; i += BLOCK)
        found |= controls(block_at(s.p + i));
    /* the last ones, perhaps twice */
    return block_any(found | controls(block_at(s.p + s.n - BLOCK)));
}

ptrdiff_t span_find_char(struct span s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

ptrdiff_t span_find(struct span s, struct span needle)
{
    if (needle.n == 0)
        return 0;
    if (s.n < needle.n)
        return -1;
    const char *at = memmem(s.p, s.n, needle.p, needle.n);
    return at ? at - s.p : -1;
}

ptrdiff_t span_find_last(struct span s, struct span needle)
{
    for (size_t i = s.n + 1; i-- > 0;) {
        if (span_starts(span_from(s, i), needle))
            return (ptrdiff_t)i;
    }
    return -1;
}

ptrdiff_t span_find_nocase(struct span s, struct span needle)
{
    for (size_t i = 0; i + needle.n <= s.n; i++) {
        if (span_eq_nocase(span_of(s.p + i, needle.n), needle))
            return (ptrdiff_t)i;
    }
    return -1;
}

struct span span_trim_blanks(struct span s)
{
    while (s.n && is_space(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool span_split(struct span *rest, char separator, struct span *piece)
{
    if (!rest->p)
        return false;
    ptrdiff_t at = span_find_char(*rest, separator);
    if (at < 0) {
        *piece = *rest;
        *rest = span_of(NULL, 0);
    } else {
        *piece = span_first(*rest, (size_t)at);
        *rest = span_from(*rest, (size_t)at + 1);
    }
    return true;
}

bool span_to_u64(struct span s, uint64_t max, uint64_t *value)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v) || v > max)
            return false;
    }
    *value = v;
    return true;
}

bool span_glob(struct span pattern, struct span text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;
    while (t < text.n) {
        if (p < pattern.n &&
            (pattern.p[p] == '?' || (pattern.p[p] != '*' && pattern.p[p] == text.p[t]))) {
            p++;
            t++;
        } else if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            mark = t;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

uint64_t span_hash(uint64_t h, struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
    return h;
}

bool span_mentions(struct span text, const char *words)
{
    return span_find_nocase(text, span_str(words)) >= 0;
}

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint64_t invisibles(uint64_t w)
{
    return word_below(w, ' ' + 1) | word_equal(w, 0x7F) | (w & WORD_TOPS);
}

bool span_is_visible(struct span s)
{
    const size_t word = sizeof(uint64_t);
    uint64_t found = 0;
    if (s.n < word)
        return !s.n || !invisibles(word_of_few(s.p, s.n));
    for (size_t i = 0; i + word <= s.n; i += word)
        found |= invisibles(word_load(s.p + i));
    return (found | invisibles(word_load(s.p + s.n - word))) == 0;
}
