/*
 * gateway/digest_ring.c - see digest_ring.h. Places in the order of keeping, and a hash table of
 * chains over what lies there: digests are as good as random, so their beginning is the hash.
 */
#include "gateway/digest_ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct digest_ring {
    size_t size, first, n;        /* of the places: the oldest, and how many are taken from it on */
    struct digest_entry **places; /* NULL: taken out */
    struct digest_entry **buckets;
};

struct digest_ring *digest_ring_create(size_t size)
{
    struct digest_ring *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->size = size;
    r->places = calloc(size, sizeof(struct digest_entry *));
    r->buckets = calloc(size, sizeof(struct digest_entry *));
    if (!r->places || !r->buckets) {
        digest_ring_destroy(r);
        return NULL;
    }
    return r;
}

void digest_ring_destroy(struct digest_ring *r)
{
    if (!r)
        return;
    while (r->n)
        free(digest_ring_take_oldest(r));
    free(r->places);
    free(r->buckets);
    free(r);
}

static struct digest_entry **bucket_of(const struct digest_ring *r, const unsigned char *digest)
{
    return &r->buckets[((size_t)digest[0] | (size_t)digest[1] << 8) % r->size];
}

struct digest_entry *digest_ring_find(const struct digest_ring *r, const unsigned char *digest)
{
    struct digest_entry *e = *bucket_of(r, digest);
    while (e && memcmp(e->digest, digest, DIGEST_BYTES) != 0)
        e = e->chain;
    return e;
}

bool digest_ring_is_full(const struct digest_ring *r) { return r->n == r->size; }

struct digest_entry *digest_ring_take_oldest(struct digest_ring *r)
{
    struct digest_entry *e = r->places[r->first];
    assert(r->n > 0);
    if (e)
        digest_ring_take(r, e);
    r->first = (r->first + 1) % r->size;
    r->n--;
    return e;
}

void digest_ring_put(struct digest_ring *r, struct digest_entry *e)
{
    struct digest_entry **bucket = bucket_of(r, e->digest);
    assert(r->n < r->size);
    e->place = (r->first + r->n++) % r->size;
    e->chain = *bucket;
    *bucket = r->places[e->place] = e;
}

void digest_ring_take(struct digest_ring *r, struct digest_entry *e)
{
    struct digest_entry **at = bucket_of(r, e->digest);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    r->places[e->place] = NULL;
}

struct digest_entry *digest_ring_next(const struct digest_ring *r, size_t *at)
{
    while (*at < r->n) {
        struct digest_entry *e = r->places[(r->first + (*at)++) % r->size];
        if (e)
            return e;
    }
    return NULL;
}
