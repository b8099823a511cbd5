/*
 * base/prefetch.h - where memory lies that will be needed soon, to be fetched into the caches at
 * once.
 *
 * A stream that waited with ten thousand others finds nothing of its own in the caches when its
 * turn comes, and waits for one line after the other, since each tells where the next one lies.
 * With a list of places, looked through before a system call, they come together, while the kernel
 * works. It is a hint: what a list names may be freed, for a prefetch neither reads nor faults.
 */
#ifndef DRAGOMAN_BASE_PREFETCH_H
#define DRAGOMAN_BASE_PREFETCH_H

#include <stddef.h>
#include <stdint.h>

enum {
    PREFETCH_PLACES = 8,
    CACHE_LINE = 64 /* bytes; a place holds at most as many lines */
};

/* Zeroed = empty. A place is the address of its first line, whose low bits say how many more
 * follow. */
struct prefetch {
    uintptr_t places[PREFETCH_PLACES];
};

static inline size_t prefetch_n(const struct prefetch *list)
{
    size_t n = 0;
    while (n < PREFETCH_PLACES && list->places[n])
        n++;
    return n;
}

/* `size` bytes from `p`. What is too large for a place, or finds none, is left out. */
static inline void prefetch_add(struct prefetch *list, const void *p, size_t size)
{
    const uintptr_t begin = (uintptr_t)p, within = CACHE_LINE - 1;
    uintptr_t first = begin & ~within, more = ((begin + size - 1) & ~within) - first;
    size_t n = prefetch_n(list);
    if (size && more / CACHE_LINE < CACHE_LINE && n < PREFETCH_PLACES)
        list->places[n] = first | more / CACHE_LINE;
}

static inline void prefetch_add_all(struct prefetch *list, const struct prefetch *more)
{
    for (size_t n = prefetch_n(list), i = 0; n < PREFETCH_PLACES; n++, i++)
        list->places[n] = more->places[i];
}

static inline void prefetch_now(const struct prefetch *list)
{
    for (size_t i = 0; i < PREFETCH_PLACES && list->places[i]; i++) {
        uintptr_t more = list->places[i] % CACHE_LINE;
        for (uintptr_t at = list->places[i] - more, k = 0; k <= more; k++, at += CACHE_LINE)
            __builtin_prefetch((const void *)at); /* NOLINT(performance-no-int-to-ptr) */
    }
}

#endif
