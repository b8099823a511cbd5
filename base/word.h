/*
 * base/word.h - eight bytes of text at a time, in a plain integer.
 *
 * A search yields a mask with the top bit of each byte that was found; only its lowest one is exact
 * (a borrow may run into the bytes behind it), which is all that a search needs.
 */
#ifndef DRAGOMAN_BASE_WORD_H
#define DRAGOMAN_BASE_WORD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WORD_ONES UINT64_C(0x0101010101010101)
#define WORD_TOPS (WORD_ONES << 7)

/* The first byte of the text is the lowest, whatever the machine's order. */
static inline uint64_t word_load(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

/* Four bytes, in the same order. */
static inline uint32_t word_load_half(const char *p)
{
    uint32_t w;
    memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap32(w);
#endif
    return w;
}

/* Of 4 to 8 bytes: the first four and the last four, some of them perhaps twice. */
static inline uint64_t word_of_ends(const char *p, size_t n)
{
    return word_load_half(p) | (uint64_t)word_load_half(p + n - sizeof(uint32_t)) << 32;
}

/* Bytes that are `c`. */
static inline uint64_t word_equal(uint64_t w, unsigned char c)
{
    w ^= WORD_ONES * c;
    return (w - WORD_ONES) & ~w & WORD_TOPS;
}

/* Bytes below `least`, which is at most 0x80. */
static inline uint64_t word_below(uint64_t w, unsigned char least)
{
    return (w - WORD_ONES * least) & ~w & WORD_TOPS;
}

/* The same with ASCII capitals made small. */
static inline uint64_t word_lower(uint64_t w)
{
    uint64_t low = w & ~WORD_TOPS; /* so that no sum leaves its byte */
    uint64_t from_a = low + WORD_ONES * (0x80 - 'A'), behind_z = low + WORD_ONES * (0x7F - 'Z');
    return w | ((from_a & ~behind_z & ~w & WORD_TOPS) >> 2);
}

static inline void word_store(char *p, uint64_t w)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    memcpy(p, &w, sizeof w);
}

/* All of one to seven bytes, some of them more than once: for who looks whether any is of a kind.
 */
static inline uint64_t word_of_few(const char *p, size_t n)
{
    if (n >= sizeof(uint32_t))
        return word_of_ends(p, n);
    uint32_t all = (uint32_t)(unsigned char)p[0] | (uint32_t)(unsigned char)p[n / 2] << 8 |
                   (uint32_t)(unsigned char)p[n - 1] << 16 | (uint32_t)(unsigned char)p[0] << 24;
    return all | (uint64_t)all << 32;
}

/* Four bytes (the lowest first) as eight hexadecimal digits. */
static inline uint64_t word_hex(uint32_t bytes)
{
    uint64_t w = bytes;
    w = (w | w << 16) & UINT64_C(0x0000FFFF0000FFFF);
    w = (w | w << 8) & UINT64_C(0x00FF00FF00FF00FF); /* a byte in the place of two digits */
    w = (w >> 4 | w << 8) & (WORD_ONES * 0x0F);
    uint64_t letters = (w + WORD_ONES * 6) >> 4 & WORD_ONES;
    return w + WORD_ONES * '0' + letters * ('a' - '0' - 10);
}

/* How many bytes lie before the first one of a mask that is not empty. */
static inline size_t word_first(uint64_t mask) { return (size_t)__builtin_ctzll(mask) / 8; }

#endif
