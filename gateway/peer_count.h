/*
 * gateway/peer_count.h - how many connections each client address has: `max_connections_per_ip`.
 *
 * Pure. An IPv6 client has a /64 to itself, which counts as one address. Bounded by the number of
 * connections: an address without any takes no room.
 */
#ifndef DRAGOMAN_GATEWAY_PEER_COUNT_H
#define DRAGOMAN_GATEWAY_PEER_COUNT_H

#include <stddef.h>

#include "gateway/cidr.h"

/* Zeroed = empty. */
struct peer_count {
    struct peer_slot *slots; /* owned; a power of two of them */
    size_t n_slots, n;       /* n addresses */
};

void peer_count_free(struct peer_count *);
/* Of the address as it is counted. */
uint64_t peer_hash(const struct ip_address *);
/* How many the address has. */
size_t peer_count_of(const struct peer_count *, const struct ip_address *);
/* One more, one less. 0, or -1 when memory is short: then it is not counted, and must not be taken
 * off. */
int peer_count_add(struct peer_count *, const struct ip_address *);
void peer_count_remove(struct peer_count *, const struct ip_address *);

#endif
