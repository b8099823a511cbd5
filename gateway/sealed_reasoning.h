/*
 * gateway/sealed_reasoning.h - reasoning that travels through clients of the Responses API as
 * `encrypted_content`, and comes back with the next request.
 *
 * Pure. Opaque to clients, not secret.
 */
#ifndef DRAGOMAN_GATEWAY_SEALED_REASONING_H
#define DRAGOMAN_GATEWAY_SEALED_REASONING_H

#include "base/arena.h"
#include "base/json.h"

/* What proves a text, or a block that only the site can read (`redacted`). */
struct sealed_reasoning {
    uint64_t text_hash;              /* span_hash of the text it belongs to */
    struct span signature, redacted; /* "" = none */
};
/* In the arena; {NULL,0} when memory is short. */
struct span sealed_reasoning_write(struct arena *, const struct sealed_reasoning *);
/* False: not ours. */
bool sealed_reasoning_read(struct json_parser *, struct arena *, struct span text,
                           struct sealed_reasoning *);

#endif
