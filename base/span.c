/*
 * base/span.c - comparing, finding and cutting borrowed bytes. Pure; no allocation.
 */
#include "base/span.h"

#include "base/word.h"

static char lower(char c) { return (c >= 'A' && c <= 'Z') ? (char)(c + 32) : c; }

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

int span_compare(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

struct span span_put(char **at, struct span s)
{
    struct span copy = span_of(*at, s.n);
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

bool span_same_nocase(struct span a, struct span b)
{
    enum { WORD = sizeof(uint64_t) };
    if (a.n < WORD) {
        size_t i = 0;
        while (i < a.n && lower(a.p[i]) == lower(b.p[i]))
            i++;
        return i == a.n;
    }
    for (size_t i = 0; i < a.n; i += WORD) {
        size_t at = i < a.n - WORD ? i : a.n - WORD; /* the last one, some of it a second time */
        if (word_lower(word_load(a.p + at)) != word_lower(word_load(b.p + at)))
            return false;
    }
    return true;
}

static uint64_t controls(uint64_t w) { return word_below(w, ' ') | word_equal(w, 0x7F); }

bool span_has_control(struct span s)
{
    const size_t word = sizeof(uint64_t);
    uint64_t found = 0;
    if (s.n < word) {
        for (size_t i = 0; i < s.n; i++)
            found |= (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7F;
        return found != 0;
    }
    for (size_t i = 0; i + word <= s.n; i += word)
        found |= controls(word_load(s.p + i));
    return (found | controls(word_load(s.p + s.n - word))) != 0; /* the last ones, perhaps twice */
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

struct span span_trim(struct span s)
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
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (v > (max - digit) / 10 || digit > max)
            return false;
        v = v * 10 + digit;
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
