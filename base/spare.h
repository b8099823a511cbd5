/*
 * base/spare.h - blocks of one size, kept from one use to the next.
 *
 * For what every request needs and gives back soon after. Each has one owner (a loop) and a limit;
 * the owner gives back what is kept when nothing is going on. Under AddressSanitizer nothing is
 * kept, so that it sees who uses what was given back.
 */
#ifndef DRAGOMAN_BASE_SPARE_H
#define DRAGOMAN_BASE_SPARE_H

#include <stddef.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
enum { SPARE_MOST = 0 };
#else
enum { SPARE_MOST = 64 }; /* blocks of each kind */
#endif

struct spare_block {
    struct spare_block *next;
};

struct spare {
    size_t size; /* of a block, bytes; at least a pointer's */
    unsigned n;  /* kept */
    struct spare_block *first;
};

/* A block with anything in it; NULL when memory is short. */
static inline void *spare_take(struct spare *s)
{
    struct spare_block *b = s->first;
    if (!b)
        return malloc(s->size);
    s->first = b->next;
    s->n--;
    return b;
}

/* Of spare_take, or any other block of that size from malloc; NULL is fine. */
static inline void spare_give(struct spare *s, void *block)
{
    struct spare_block *b = block;
    if (!b || s->n == SPARE_MOST) {
        free(b);
        return;
    }
    b->next = s->first;
    s->first = b;
    s->n++;
}

/* Gives back all that is kept. */
static inline void spare_empty(struct spare *s)
{
    while (s->first) {
        struct spare_block *b = s->first;
        s->first = b->next;
        free(b);
    }
    s->n = 0;
}

#endif
