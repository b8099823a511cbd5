/*
 * gateway/peer_count.c - see peer_count.h. Open addressing with linear probing; what is taken out
 * lets those behind it move up, so there are no tombstones.
 */
#include "gateway/peer_count.h"

#include <stdlib.h>

struct peer_slot {
    unsigned char key[16];
    size_t connections; /* 0 = free */
};

enum { SLOTS_LEAST = 16 };

/* The address, or the network that one IPv6 client has. */
static void key_of(const struct ip_address *ip, unsigned char key[16])
{
    static const unsigned char v4[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    memcpy(key, ip->bytes, 16);
    if (memcmp(key, v4, sizeof v4) != 0)
        memset(key + 8, 0, 8);
}

static uint64_t hash_of(const unsigned char key[16])
{
    return span_hash(SPAN_HASH, span_of((const char *)key, 16));
}

uint64_t peer_hash(const struct ip_address *ip)
{
    unsigned char key[16];
    key_of(ip, key);
    return hash_of(key);
}

static size_t home(const struct peer_count *c, const unsigned char key[16])
{
    return hash_of(key) & (c->n_slots - 1);
}

/* The key's slot, or the free one where it would be; there always is one. */
static size_t find(const struct peer_count *c, const unsigned char key[16])
{
    size_t at = home(c, key);
    while (c->slots[at].connections && memcmp(c->slots[at].key, key, 16) != 0)
        at = (at + 1) & (c->n_slots - 1);
    return at;
}

static int grow(struct peer_count *c)
{
    struct peer_count bigger = {.n_slots = c->n_slots ? 2 * c->n_slots : SLOTS_LEAST, .n = c->n};
    bigger.slots = calloc(bigger.n_slots, sizeof *bigger.slots);
    if (!bigger.slots)
        return -1;
    for (size_t i = 0; i < c->n_slots; i++) {
        if (c->slots[i].connections)
            bigger.slots[find(&bigger, c->slots[i].key)] = c->slots[i];
    }
    free(c->slots);
    *c = bigger;
    return 0;
}

void peer_count_free(struct peer_count *c)
{
    free(c->slots);
    *c = (struct peer_count){0};
}

size_t peer_count_of(const struct peer_count *c, const struct ip_address *ip)
{
    unsigned char key[16];
    key_of(ip, key);
    return c->n_slots ? c->slots[find(c, key)].connections : 0;
}

int peer_count_add(struct peer_count *c, const struct ip_address *ip)
{
    unsigned char key[16];
    if (2 * (c->n + 1) > c->n_slots && grow(c))
        return -1;
    key_of(ip, key);
    struct peer_slot *slot = &c->slots[find(c, key)];
    if (slot->connections++ == 0) {
        memcpy(slot->key, key, 16);
        c->n++;
    }
    return 0;
}

void peer_count_remove(struct peer_count *c, const struct ip_address *ip)
{
    unsigned char key[16];
    key_of(ip, key);
    size_t hole = find(c, key), mask = c->n_slots - 1;
    if (--c->slots[hole].connections)
        return;
    c->n--;
    for (size_t at = (hole + 1) & mask; c->slots[at].connections; at = (at + 1) & mask) {
        size_t from_home = (at - home(c, c->slots[at].key)) & mask;
        if (from_home >= ((at - hole) & mask)) { /* the hole lies between its home and it */
            c->slots[hole] = c->slots[at];
            c->slots[at].connections = 0;
            hole = at;
        }
    }
}
