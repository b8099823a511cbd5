/*
 * gateway/turn_memory.h - what adapters want to know again in a later turn: the signature that
 * belongs to a tool call's id, a field that a model refuses.
 *
 * Clients cannot carry these things, so they are kept here for a day: bounded in number and bytes,
 * oldest first out, in memory only. Whoever asks must be able to live without. A scope (one client
 * at one site) never sees another's. Pure: times are handed in.
 */
#ifndef DRAGOMAN_GATEWAY_TURN_MEMORY_H
#define DRAGOMAN_GATEWAY_TURN_MEMORY_H

#include "base/span.h"

enum {
    TURN_MEMORY_ENTRIES = 4096,
    TURN_MEMORY_BYTES = 16 << 20, /* keys and values of all entries */
    TURN_MEMORY_MS = 24 * 60 * 60 * 1000
};

struct turn_memory;

struct turn_memory *turn_memory_create(void); /* NULL when memory is short */
void turn_memory_destroy(struct turn_memory *);
/* What a site remembers for a client: by the name of the client's key among ours ("" = no key is
 * configured), or for a visitor by the key that it brought along ("" = it is none). */
uint64_t turn_memory_scope(struct span key_name, struct span visitor_key, struct span site);
/* Copies; the same key again takes the former's place. Larger than a sixteenth of the room, or
 * memory is short: not kept. */
void turn_memory_keep(struct turn_memory *, uint64_t scope, struct span key, struct span value,
                      uint64_t now_ms);
/* {NULL,0} = not known. Valid until the next keep. */
struct span turn_memory_recall(const struct turn_memory *, uint64_t scope, struct span key,
                               uint64_t now_ms);

#endif
