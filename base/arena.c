/*
 * base/arena.c - blocks of 256 bytes to 4 KiB, bump-allocated: each about an eighth of all that was
 * handed out before it, so that what holds little costs little. A request that a block would hold
 * badly gets a block of its own.
 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/spare.h"

enum { BLOCK_FIRST = 256, BLOCK_MOST = 4096, LARGE = 1024 }; /* without their heads */

struct arena_block {
    struct arena_block *next;
    uint32_t used, cap; /* cap == 0: of arena_alloc_apart */
    _Alignas(max_align_t) char bytes[];
};

void arena_init(struct arena *a) { *a = (struct arena){0}; }

void arena_free(struct arena *a) { arena_free_spare(a, NULL, 0); }

void arena_free_spare(struct arena *a, struct spare *kinds, size_t n)
{
    struct arena_block *b = a->blocks;
    while (b) {
        struct arena_block *next = b->next;
        size_t kind = 0;
        while (kind < n && sizeof *b + b->cap != kinds[kind].size)
            kind++;
        if (kind < n)
            spare_give(&kinds[kind], b);
        else
            free(b);
        b = next;
    }
    arena_init(a);
}

void arena_clear(struct arena *a)
{
    struct arena_block *kept = a->blocks;
    if (kept && kept->cap <= BLOCK_MOST) {
        struct arena rest = {.blocks = kept->next};
        arena_free(&rest);
        kept->next = NULL;
        kept->used = 0;
        a->is_short = false;
    } else {
        arena_free(a);
    }
}

bool arena_take_short(struct arena *a)
{
    bool is_short = a->is_short;
    a->is_short = false;
    return is_short;
}

size_t arena_used(const struct arena *a)
{
    size_t used = 0;
    for (const struct arena_block *b = a->blocks; b; b = b->next)
        used += b->used;
    return used;
}

void arena_prefetch(const struct arena *a, struct prefetch *list)
{
    for (const struct arena_block *b = a->blocks; b; b = b->next)
        prefetch_add(list, b->bytes, b->used);
}

static struct arena_block *begin_block(struct arena_block *b, size_t cap)
{
    if (b) {
        b->next = NULL;
        b->used = 0;
        b->cap = (uint32_t)cap;
    }
    return b;
}

static struct arena_block *make_block(size_t cap)
{
    return cap <= UINT32_MAX ? begin_block(malloc(sizeof(struct arena_block) + cap), cap) : NULL;
}

static void put_first(struct arena *a, struct arena_block *b)
{
    b->next = a->blocks;
    a->blocks = b;
}

/* The current block stays the one that is filled. */
static void put_behind(struct arena *a, struct arena_block *b)
{
    struct arena_block **at = a->blocks ? &a->blocks->next : &a->blocks;
    b->next = *at;
    *at = b;
}

int arena_reserve(struct arena *a, size_t n)
{
    struct arena_block *b = make_block(n);
    if (!b)
        return -1;
    put_first(a, b);
    return 0;
}

int arena_reserve_spare(struct arena *a, size_t n, struct spare *kind)
{
    const size_t size = sizeof(struct arena_block) + n;
    if (!kind->n)
        kind->size = size;
    if (kind->size != size)
        return arena_reserve(a, n);
    struct arena_block *b = begin_block(spare_take(kind), n);
    if (!b)
        return -1;
    put_first(a, b);
    return 0;
}

/* An eighth of what was handed out, as far as it decides about a block: a few blocks tell, and one
 * arena may have ten thousands. */
static size_t eighth_of(const struct arena *a)
{
    size_t used = 0;
    for (const struct arena_block *b = a->blocks; b && used / 8 < BLOCK_MOST; b = b->next)
        used += b->used;
    return used / 8;
}

static struct arena_block *block_for(struct arena *a, size_t n)
{
    if (a->blocks && a->blocks->used + n <= a->blocks->cap)
        return a->blocks;
    bool large = n > LARGE;
    size_t cap = BLOCK_FIRST, eighth = eighth_of(a), wanted = n > eighth ? n : eighth;
    while (cap < wanted && cap < BLOCK_MOST)
        cap *= 2;
    struct arena_block *b = make_block(large ? n : cap);
    if (!b)
        return NULL;
    if (large)
        put_behind(a, b);
    else
        put_first(a, b);
    return b;
}

static char *take_of(struct arena_block *b, size_t n)
{
    char *p = b->bytes + b->used;
    b->used += (uint32_t)n;
    return p;
}

/* Where the current block has no room for them. */
static __attribute__((noinline)) char *take_slowly(struct arena *a, size_t n)
{
    struct arena_block *b = block_for(a, n);
    if (!b)
        a->is_short = true;
    return b ? take_of(b, n) : NULL;
}

static inline char *take(struct arena *a, size_t n)
{
    const size_t align = _Alignof(max_align_t);
    struct arena_block *b = a->blocks;
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + align - 1) / align * align;
    return b && n <= b->cap - b->used && b->cap ? take_of(b, n) : take_slowly(a, n);
}

void *arena_alloc(struct arena *a, size_t n)
{
    char *p = take(a, n);
    return p ? memset(p, 0, n) : NULL;
}

char *arena_room(struct arena *a, size_t n)
{
    char *p = n > SIZE_MAX / 2 - JSON_PADDING ? NULL : take(a, n + JSON_PADDING);
    if (p)
        memset(p + n, 0, JSON_PADDING);
    return p;
}

char *arena_alloc_apart(struct arena *a, size_t n)
{
    struct arena_block *b = n < UINT32_MAX - JSON_PADDING ? make_block(n + JSON_PADDING) : NULL;
    if (!b)
        return NULL;
    b->cap = 0;
    b->used = (uint32_t)n;
    put_behind(a, b);
    memset(b->bytes + n, 0, JSON_PADDING);
    return b->bytes;
}

void arena_give_back(struct arena *a, const void *p)
{
    for (struct arena_block **at = &a->blocks; *at; at = &(*at)->next) {
        struct arena_block *b = *at;
        if (b->cap || b->bytes != p)
            continue;
        *at = b->next;
        free(b);
        return;
    }
}

static struct span copy(struct arena *a, struct span s, size_t behind)
{
    char *p = s.n > SIZE_MAX / 2 - behind ? NULL : take(a, s.n + behind);
    if (!p)
        return span_of(NULL, 0);
    if (s.n)
        memcpy(p, s.p, s.n);
    memset(p + s.n, 0, behind);
    return span_of(p, s.n);
}

struct span arena_dup(struct arena *a, struct span s) { return copy(a, s, JSON_PADDING); }

struct span arena_text(struct arena *a, struct span s) { return copy(a, s, 1); }

struct span arena_join(struct arena *a, const struct span *pieces, size_t n)
{
    size_t total = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        total += pieces[i].n;
    char *p = take(a, total + 1);
    if (!p)
        return span_of(NULL, 0);
    p[total] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].n)
            memcpy(p + at, pieces[i].p, pieces[i].n);
        at += pieces[i].n;
    }
    return span_of(p, total);
}

struct span arena_printf(struct arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *p = need < 0 ? NULL : arena_alloc(a, (size_t)need + JSON_PADDING);
    if (!p)
        return span_of(NULL, 0);
    va_start(args, format);
    vsnprintf(p, (size_t)need + 1, format, args);
    va_end(args);
    return span_of(p, (size_t)need);
}
