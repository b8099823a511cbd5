/*
 * gateway/passage.h - the life of one request that is passed through a route (docs/routes.md).
 *
 * What an exchange is for translated requests, without turn and deltas: an account is leased, its
 * key is put in, and bytes of any type and size go up and down as fast as the slower side takes
 * them. Owned by the engine's list; ends by itself.
 */
#ifndef DRAGOMAN_GATEWAY_PASSAGE_H
#define DRAGOMAN_GATEWAY_PASSAGE_H

#include "gateway/access.h"
#include "gateway/engine.h"

struct passage;

/* Where a request belongs that is none for our own API. */
struct passage_way {
    const struct route_config *route; /* NULL: nowhere */
    bool ambiguous; /* it looks like the route's, but is written so that others may read it
                       otherwise */
    bool visitor;   /* it brings a key of its own for that service: passthrough_unknown_keys */
    bool bare;      /* the service's own path, without the route's prefix */
};
/* By its head alone. `ours`: the path is one of our own API, which only a visitor passes by. */
struct passage_way passage_find(const struct http_exchange *, bool ours);
/* May it be passed through? 0, or -1 with fail. `grant` is the client's. */
int passage_check(const struct http_exchange *, const struct passage_way *, struct access_grant *,
                  struct fail *);
/* The head is read and was checked; the body is streamed. Answers in any case. */
void passage_start(struct engine *, struct http_exchange *, const struct passage_way *,
                   const struct access_grant *);
/* A preflight for it. */
void passage_preflight(struct http_exchange *);
/* The engine's list. */
struct passage *passage_next(struct passage *);
/* Ends it as at a shutdown. */
void passage_abandon(struct passage *);

#endif
