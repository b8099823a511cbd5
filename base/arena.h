/*
 * base/arena.h - memory that lives as long as one exchange.
 *
 * Nothing is freed singly; arena_free gives all of it back. Every function may return NULL (or an
 * empty span with p == NULL) when memory is short; callers check.
 */
#ifndef DRAGOMAN_BASE_ARENA_H
#define DRAGOMAN_BASE_ARENA_H

#include "base/span.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    bool is_short;              /* arena_take_short */
};

void arena_init(struct arena *a);
void arena_free(struct arena *a);
/* Was there no memory since the last time that somebody asked? For who gave the arena to others. */
bool arena_take_short(struct arena *a);
/* Bytes handed out. */
size_t arena_used(const struct arena *a);
/* The next allocations, of `n` bytes together, come from one block of just this size. For who knows
 * what is usual; 0, or -1 when memory is short. */
int arena_reserve(struct arena *a, size_t n);
/* `n` zeroed bytes, aligned for any type. */
void *arena_alloc(struct arena *a, size_t n);
/* A copy with a NUL behind it (not counted in n) and JSON_PADDING readable bytes. */
struct span arena_dup(struct arena *a, struct span s);
/* A copy with a NUL behind it (not counted in n) and no more. For text that no JSON parser reads.
 */
struct span arena_text(struct arena *a, struct span s);
struct span arena_printf(struct arena *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
