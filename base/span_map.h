/*
 * base/span_map.h - texts as keys, for lists of a client's making: however long they are, a look-up
 * costs the same.
 *
 * Keys are not copied. All memory comes from the arena and goes with it. A map of zeros with its
 * arena is an empty one.
 */
#ifndef DRAGOMAN_BASE_SPAN_MAP_H
#define DRAGOMAN_BASE_SPAN_MAP_H

#include "base/arena.h"

struct span_map_slot;

struct span_map {
    struct arena *arena;
    struct span_map_slot *slots;
    size_t n, cap; /* cap: 0 or a power of two */
};

/* What was put there first; NULL = nothing. */
void *span_map_get(const struct span_map *, struct span key);
/* `value` is not NULL; a key that is there already keeps its value. 0, or -1 when memory is short.
 */
int span_map_add(struct span_map *, struct span key, void *value);

#endif
