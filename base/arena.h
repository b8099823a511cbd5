/*
 * base/arena.h - memory that lives as long as one exchange.
 *
 * Nothing is freed singly, but what says so; arena_free gives all of it back. Every function may
 * return NULL (or an empty span with p == NULL) when memory is short; callers check.
 */
#ifndef DRAGOMAN_BASE_ARENA_H
#define DRAGOMAN_BASE_ARENA_H

#include "base/prefetch.h"
#include "base/span.h"

struct arena_block;
struct spare; /* base/spare.h */

struct arena {
    struct arena_block *blocks; /* newest first */
    bool is_short;              /* arena_take_short */
};

void arena_init(struct arena *a);
void arena_free(struct arena *a);
/* Forgets all of it, but keeps a block for what comes next, when there is a small one. */
void arena_clear(struct arena *a);
/* Was there no memory since the last time that somebody asked? For who gave the arena to others. */
bool arena_take_short(struct arena *a);
/* Bytes handed out. */
size_t arena_used(const struct arena *a);
/* Where all of it lies. */
void arena_prefetch(const struct arena *a, struct prefetch *list);
/* The next allocations, of `n` bytes together, come from one block of just this size. For who knows
 * what is usual; 0, or -1 when memory is short. */
int arena_reserve(struct arena *a, size_t n);
/* The same of a size that many arenas want, whose blocks go from one to the next: arena_free_spare
 * is arena_free that keeps blocks of these kinds. A kind begins empty ({0}); its size is the one
 * that was asked for when there was none, and who wants another one gets a block all the same. */
int arena_reserve_spare(struct arena *a, size_t n, struct spare *kind);
void arena_free_spare(struct arena *a, struct spare *kinds, size_t n);
/* `n` zeroed bytes, aligned for any type. */
void *arena_alloc(struct arena *a, size_t n);
/* The same, not zeroed, with JSON_PADDING bytes behind them that are: for text. */
char *arena_room(struct arena *a, size_t n);
/* What may go before the rest does: `n` bytes, not zeroed but for JSON_PADDING behind them, in a
 * block of their own. */
char *arena_alloc_apart(struct arena *a, size_t n);
/* Frees it, if `p` came from there; NULL and anything else stay as they are. */
void arena_give_back(struct arena *a, const void *p);
/* A copy with a NUL behind it (not counted in n) and JSON_PADDING readable bytes. */
struct span arena_dup(struct arena *a, struct span s);
/* A copy with a NUL behind it (not counted in n) and no more. For text that no JSON parser reads.
 */
struct span arena_text(struct arena *a, struct span s);
/* The pieces one behind the other, with what arena_text puts behind; what printf would do, for
 * less.
 */
struct span arena_join(struct arena *a, const struct span *pieces, size_t n);
struct span arena_printf(struct arena *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
