/*
 * gateway/turn_memory.c - see turn_memory.h. A ring in the order of keeping, whose entries hang in
 * the chains of a hash table.
 */
#include "gateway/turn_memory.h"

#include <stdlib.h>

enum { BUCKETS = TURN_MEMORY_ENTRIES };

struct entry {
    uint64_t hash, scope, kept_ms;
    char *text; /* key, then value; NULL = free, or taken by a newer one */
    size_t key_n, value_n;
    struct entry *chain;
};

struct turn_memory {
    struct entry ring[TURN_MEMORY_ENTRIES];
    size_t first, n; /* the oldest, and how many there are behind it */
    size_t bytes;
    struct entry *buckets[BUCKETS];
};

struct turn_memory *turn_memory_create(void) { return calloc(1, sizeof(struct turn_memory)); }

static struct entry **chain_of(const struct turn_memory *m, uint64_t hash)
{
    return (struct entry **)&m->buckets[hash % BUCKETS];
}

static void drop(struct turn_memory *m, struct entry *e)
{
    if (!e->text)
        return;
    struct entry **at = chain_of(m, e->hash);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    m->bytes -= e->key_n + e->value_n;
    free(e->text);
    *e = (struct entry){0};
}

static void drop_oldest(struct turn_memory *m)
{
    drop(m, &m->ring[m->first]);
    m->first = (m->first + 1) % TURN_MEMORY_ENTRIES;
    m->n--;
}

void turn_memory_destroy(struct turn_memory *m)
{
    if (!m)
        return;
    while (m->n)
        drop_oldest(m);
    free(m);
}

static uint64_t hash_of(uint64_t scope, struct span key)
{
    return span_hash(span_hash(SPAN_HASH, span_of((const char *)&scope, sizeof scope)), key);
}

static struct entry *find(const struct turn_memory *m, uint64_t hash, uint64_t scope,
                          struct span key)
{
    for (struct entry *e = *chain_of(m, hash); e; e = e->chain) {
        if (e->hash == hash && e->scope == scope && span_eq(span_of(e->text, e->key_n), key))
            return e;
    }
    return NULL;
}

static uint64_t add_to_scope(uint64_t h, struct span s)
{
    return span_hash(span_hash(h, span_of((const char *)&s.n, sizeof s.n)), s);
}

/* Visitors choose their keys, and the hash is none for secrets: their scopes are odd, so that none
 * of them can be made to equal that of a key of ours, whose names are known. */
uint64_t turn_memory_scope(struct span key_name, struct span visitor_key, struct span site)
{
    bool visits = visitor_key.n > 0;
    uint64_t h = add_to_scope(SPAN_HASH, site);
    h = add_to_scope(h, visits ? visitor_key : key_name);
    return visits ? h | 1 : h & ~UINT64_C(1);
}

void turn_memory_keep(struct turn_memory *m, uint64_t scope, struct span key, struct span value,
                      uint64_t now_ms)
{
    size_t size = key.n + value.n;
    if (size > TURN_MEMORY_BYTES / 16)
        return;
    uint64_t hash = hash_of(scope, key);
    char *text = malloc(size + 1);
    struct entry *former = find(m, hash, scope, key);
    if (former)
        drop(m, former);
    if (!text)
        return;
    while (m->n == TURN_MEMORY_ENTRIES || (m->n && m->bytes + size > TURN_MEMORY_BYTES))
        drop_oldest(m);
    memcpy(text, key.p, key.n);
    if (value.n)
        memcpy(text + key.n, value.p, value.n);
    struct entry *e = &m->ring[(m->first + m->n++) % TURN_MEMORY_ENTRIES];
    struct entry **chain = chain_of(m, hash);
    *e = (struct entry){hash, scope, now_ms, text, key.n, value.n, *chain};
    *chain = e;
    m->bytes += size;
}

struct span turn_memory_recall(const struct turn_memory *m, uint64_t scope, struct span key,
                               uint64_t now_ms)
{
    const struct entry *e = find(m, hash_of(scope, key), scope, key);
    if (!e || now_ms - e->kept_ms >= TURN_MEMORY_MS)
        return span_of(NULL, 0);
    return span_of(e->text + e->key_n, e->value_n);
}
