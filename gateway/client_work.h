/*
 * gateway/client_work.h - who answers a client's request over several turns of the loop.
 *
 * The first member of everything that the front hands to http_exchange_set_user, so that what
 * happens to the client finds its way.
 */
#ifndef DRAGOMAN_GATEWAY_CLIENT_WORK_H
#define DRAGOMAN_GATEWAY_CLIENT_WORK_H

#include "base/span.h"

struct client_work;

struct client_work_ops {
    /* The client is gone; see http_handler.on_gone. */
    void (*gone)(struct client_work *);
    /* What was written has left. */
    void (*drained)(struct client_work *);
    /* A piece of a streamed body; NULL where none is streamed. */
    void (*body)(struct client_work *, struct span piece, bool last);
};

struct client_work {
    const struct client_work_ops *ops;
};

#endif
