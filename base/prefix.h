/*
 * base/prefix.h - does another text begin with what was said so far? Told without keeping it.
 *
 * For streams whose site now and then repeats its whole answer, to go on or to change it. Kept are
 * the length and a hash of eight bytes at a time, wherever the pieces were cut. Two texts of one
 * length that differ are taken for equal once in 2^64, or when somebody sets out to make such a
 * pair: only for texts of one author, who could as well say something else.
 */
#ifndef DRAGOMAN_BASE_PREFIX_H
#define DRAGOMAN_BASE_PREFIX_H

#include "base/span.h"
#include "base/word.h"

struct prefix {
    size_t n;
    uint64_t hash;    /* of all whole words */
    uint64_t pending; /* the n % 8 bytes behind them, the first one lowest; the others are 0 */
};

static inline uint64_t prefix_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

/* Fewer than eight bytes, as the low ones of a word; what is loaded twice falls on itself. */
static inline uint64_t prefix_tail(const char *p, size_t n)
{
    enum { HALF = sizeof(uint32_t) };
    if (n >= HALF)
        return word_load_half(p) | (uint64_t)word_load_half(p + n - HALF) << 8 * (n - HALF);
    if (!n)
        return 0;
    return (uint64_t)(unsigned char)p[0] | (uint64_t)(unsigned char)p[n / 2] << 8 * (n / 2) |
           (uint64_t)(unsigned char)p[n - 1] << 8 * (n - 1);
}

static inline void prefix_add(struct prefix *so_far, struct span text)
{
    enum { WORD = sizeof(uint64_t) };
    size_t held = so_far->n % WORD, left = text.n;
    uint64_t hash = so_far->hash, pending = so_far->pending;
    for (; left >= WORD; left -= WORD) {
        uint64_t word = word_load(text.p + (text.n - left));
        hash = prefix_mix(hash, pending | word << 8 * held);
        pending = word >> 1 >> (8 * (WORD - held) - 1); /* all of it is gone when none was held */
    }
    uint64_t tail = prefix_tail(text.p + (text.n - left), left);
    pending |= tail << 8 * held;
    if (held + left >= WORD) {
        hash = prefix_mix(hash, pending);
        pending = tail >> 8 * (WORD - held);
    }
    *so_far = (struct prefix){so_far->n + text.n, hash, pending};
}

/* Looks at all of what was said. */
static inline bool prefix_begins(const struct prefix *so_far, struct span text)
{
    struct prefix other = {0};
    if (text.n < so_far->n)
        return false;
    prefix_add(&other, span_first(text, so_far->n));
    return other.hash == so_far->hash && other.pending == so_far->pending;
}

#endif
