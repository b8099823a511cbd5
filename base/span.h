/*
 * base/span.h - a borrowed run of bytes.
 *
 * Text travels as spans everywhere: not NUL-terminated, may hold NUL, never owns. Whoever hands out
 * a span says how long it stays valid.
 */
#ifndef DRAGOMAN_BASE_SPAN_H
#define DRAGOMAN_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct span {
    const char *p;
    size_t n;
};

/* A span over a string literal; the length is a compile-time constant. */
#define SPAN(literal) ((struct span){"" literal, sizeof(literal) - 1})
/* For static initialisers, where a compound literal is not allowed. */
#define SPAN_INIT(literal)                                                                         \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }
/* For printf-like calls: "%.*s", SPAN_ARGS(s). */
#define SPAN_ARGS(s) (int)(s).n, (s).n ? (s).p : ""

static inline struct span span_of(const char *p, size_t n)
{
    struct span s;
    s.p = p;
    s.n = n;
    return s;
}

/* Always inline: the length of a literal is then known when this is compiled. */
static inline __attribute__((always_inline)) struct span span_str(const char *cstr)
{
    return span_of(cstr, cstr ? strlen(cstr) : 0);
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool span_starts(struct span s, struct span prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool span_ends(struct span s, struct span suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

/* Everything from byte `at` on; `at` beyond the end gives the empty span at the end. */
static inline struct span span_from(struct span s, size_t at)
{
    if (at > s.n)
        at = s.n;
    return span_of(at ? s.p + at : s.p, s.n - at);
}

/* The first `n` bytes, or all of it when it is shorter. */
static inline struct span span_first(struct span s, size_t n)
{
    return span_of(s.p, n < s.n ? n : s.n);
}

/* The same bytes where what lay at `from` was copied to; "" of none. */
static inline struct span span_moved(struct span s, const char *from, const char *to)
{
    return s.n ? span_of(to + (s.p - from), s.n) : span_of("", 0);
}

/* A copy of it at *at, which moves behind it. */
static inline struct span span_put(char **at, struct span s)
{
    struct span copy = span_of(*at, s.n);
    if (s.p)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}
/* Order by bytes, a shorter one before what it begins: for sorting. <0, 0 or >0. */
int span_compare(struct span a, struct span b);
/* Of two as long as each other. */
bool span_same_nocase(struct span a, struct span b);
/* ASCII case-insensitive equality (header names, schemes). Most that are compared differ in length
 * already. */
static inline bool span_eq_nocase(struct span a, struct span b)
{
    return a.n == b.n && span_same_nocase(a, b);
}
/* Position of the first `c`, or of the first `needle`; -1 when absent. */
ptrdiff_t span_find_char(struct span s, char c);
ptrdiff_t span_find(struct span s, struct span needle);
ptrdiff_t span_find_last(struct span s, struct span needle);
/* ASCII case-insensitive search. */
ptrdiff_t span_find_nocase(struct span s, struct span needle);
/* Without ASCII white space (space, tab, CR, LF, VT, FF) at both ends; most texts have none. */
struct span span_trim_blanks(struct span s);
static inline struct span span_trim(struct span s)
{
    bool bare = s.n && (unsigned char)s.p[0] > ' ' && (unsigned char)s.p[s.n - 1] > ' ';
    return bare ? s : span_trim_blanks(s);
}
/* Cuts up to the first `separator` off `*rest` and returns it; false once `*rest` is used up. A
 * final separator yields one last empty piece. */
bool span_split(struct span *rest, char separator, struct span *piece);
/* Decimal digits only (no sign, no blank), at most `max`; false otherwise. */
bool span_to_u64(struct span s, uint64_t max, uint64_t *value);
/* FNV-1a over the text, going on from `h` (SPAN_HASH at first): to tell texts apart in memory, not
 * for secrets. */
#define SPAN_HASH UINT64_C(14695981039346656037)
uint64_t span_hash(uint64_t h, struct span s);
/* Does it hold these words, whatever their capitals (ASCII)? */
bool span_mentions(struct span text, const char *words);

/* Of ASCII alone: no byte of another character is one. */
static inline bool ascii_is_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool ascii_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool ascii_is_alnum(char c) { return ascii_is_letter(c) || ascii_is_digit(c); }
/* Is all of it ASCII, without blanks, control characters and DEL? Eight bytes at a time. */
bool span_is_visible(struct span s);
/* Is there a byte below the blank in it, or DEL? Sixteen at a time. */
bool span_has_control(struct span s);
/* The value of a hexadecimal digit, -1 for any other character. */
int hex_digit(char c);
/* Glob match with `*` (any run, also empty) and `?` (one byte); case-sensitive. */
bool span_glob(struct span pattern, struct span text);

#ifdef __cplusplus
}
#endif
#endif
