/*
 * base/span_map.c - see span_map.h. Open addressing, at most three quarters full.
 */
#include "base/span_map.h"

enum { CAP_FIRST = 16 };

struct span_map_slot {
    struct span key;
    uint64_t hash;
    void *value; /* NULL = free */
};

/* The slot of the key, or the free one where it belongs. There is always a free one. */
static struct span_map_slot *find(const struct span_map *map, struct span key, uint64_t hash)
{
    size_t i = (size_t)hash & (map->cap - 1);
    while (map->slots[i].value && (map->slots[i].hash != hash || !span_eq(map->slots[i].key, key)))
        i = (i + 1) & (map->cap - 1);
    return &map->slots[i];
}

static int grow(struct span_map *map)
{
    struct span_map more = *map;
    more.cap = map->cap ? map->cap * 2 : CAP_FIRST;
    more.slots = arena_alloc(map->arena, more.cap * sizeof *more.slots);
    if (!more.slots)
        return -1;
    for (size_t i = 0; i < map->cap; i++) {
        const struct span_map_slot *old = &map->slots[i];
        if (old->value)
            *find(&more, old->key, old->hash) = *old;
    }
    *map = more;
    return 0;
}

void *span_map_get(const struct span_map *map, struct span key)
{
    return map->n ? find(map, key, span_hash(SPAN_HASH, key))->value : NULL;
}

int span_map_add(struct span_map *map, struct span key, void *value)
{
    if (map->n >= map->cap / 4 * 3 && grow(map))
        return -1;
    uint64_t hash = span_hash(SPAN_HASH, key);
    struct span_map_slot *slot = find(map, key, hash);
    if (slot->value)
        return 0;
    *slot = (struct span_map_slot){key, hash, value};
    map->n++;
    return 0;
}
