/*
 * gateway/inflate.h - gzip, zlib and raw deflate as a stream (RFC 1950-1952); some sites compress although we ask for identity.
 */
#ifndef DRAGOMAN_GATEWAY_INFLATE_H
#define DRAGOMAN_GATEWAY_INFLATE_H

#include "base/span.h"

struct inflate;

/* `raw_allowed`: "deflate" means zlib, but some servers send raw deflate under that name: the first bytes decide. */
struct inflate *inflate_create(bool raw_allowed);
void inflate_destroy(struct inflate *);
/* Calls `put` with pieces of at most 16 KiB until the input is used up. 0, or -1 when it is no compressed data. Bytes behind the end of the stream are ignored. */
int inflate_feed(struct inflate *, struct span bytes, void (*put)(void *owner, struct span),
                 void *owner);
/* Did the stream reach its end mark? */
bool inflate_is_complete(const struct inflate *);

#endif
