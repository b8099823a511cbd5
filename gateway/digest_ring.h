/*
 * gateway/digest_ring.h - a bounded set of things that are known by a SHA-256; when it is full the
 * one that was put in first goes. What the books of conversations and of uploads are made of.
 *
 * The owner makes the things, one block of malloc each, and begins them with a struct digest_entry.
 */
#ifndef DRAGOMAN_GATEWAY_DIGEST_RING_H
#define DRAGOMAN_GATEWAY_DIGEST_RING_H

#include <stdbool.h>
#include <stddef.h>

enum { DIGEST_BYTES = 32 };

struct digest_ring;

struct digest_entry {
    const unsigned char *digest; /* DIGEST_BYTES of the thing itself */
    struct digest_entry *chain;  /* the ring's, as is the next one */
    size_t place;
};

/* For `size` things, at most 65536. NULL when memory is short. */
struct digest_ring *digest_ring_create(size_t size);
/* Frees what is in it, too. NULL is nothing. */
void digest_ring_destroy(struct digest_ring *);

/* NULL = there is none. */
struct digest_entry *digest_ring_find(const struct digest_ring *, const unsigned char *digest);
/* Has every place been taken? Also those of things that were taken out since. */
bool digest_ring_is_full(const struct digest_ring *);
/* The oldest place becomes free. What was there, now the caller's; NULL = it was taken out before.
 */
struct digest_entry *digest_ring_take_oldest(struct digest_ring *);
/* Nothing with its digest is in the ring, which is not full. */
void digest_ring_put(struct digest_ring *, struct digest_entry *);
/* The caller's again. */
void digest_ring_take(struct digest_ring *, struct digest_entry *);
/* What there is, the oldest first, beginning with *at = 0; NULL = that is all. The one that was got
 * last may be taken out. */
struct digest_entry *digest_ring_next(const struct digest_ring *, size_t *at);

#endif
