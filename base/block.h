/*
 * base/block.h - sixteen bytes of a text at a time.
 */
#ifndef DRAGOMAN_BASE_BLOCK_H
#define DRAGOMAN_BASE_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK = 16 };

/* The bytes, or what a comparison says of each: all bits, or none. */
typedef signed char block __attribute__((vector_size(BLOCK)));

static inline block block_at(const char *p)
{
    block v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Of fewer than a block: what is missing is filled up with what is there, or blanks. */
static inline block block_short(const char *p, size_t n)
{
    char filled[BLOCK];
    memset(filled, ' ', sizeof filled);
    if (n >= 8) {
        memcpy(filled, p, 8);
        memcpy(filled + 8, p + n - 8, 8);
    } else if (n >= 4) {
        memcpy(filled, p, 4);
        memcpy(filled + 4, p + n - 4, 4);
    } else if (n) {
        filled[0] = p[0];
        filled[1] = p[n / 2];
        filled[2] = p[n - 1];
    }
    return block_at(filled);
}

/* Bytes that a string cannot hold as they are. (Those beyond ASCII are negative.) */
static inline block block_special(block v)
{
    return ((v >= 0) & (v < ' ')) | (v == '"') | (v == '\\');
}

/* Is there any byte that a comparison found? */
static inline bool block_any(block found)
{
    uint64_t halves[2];
    memcpy(halves, &found, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

#endif
