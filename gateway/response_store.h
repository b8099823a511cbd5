/*
 * gateway/response_store.h - responses that clients go on from (`previous_response_id`), look at
 * again or delete: the part of the store that is read while the gateway runs.
 *
 * A response belongs to an owner, the client's key; nobody else finds it. Each row holds its own
 * input and output only; what was said before is a chain of rows by `previous`. Rows end: after
 * their time (server.responses_ttl; going on from one renews those before it) or when all of them
 * take too much room (server.responses_max), those that end first then.
 *
 * Calls are made on the loop's thread and done on the thread pool; `done` comes on the loop. A call
 * that is freed before goes on, and tells nobody.
 */
#ifndef DRAGOMAN_GATEWAY_RESPONSE_STORE_H
#define DRAGOMAN_GATEWAY_RESPONSE_STORE_H

#include "base/arena.h"
#include "base/fail.h"
#include "gateway/store.h"

/* What is wanted of the store. */
struct response_wish {
    struct span previous; /* this one and all before it, "" = none */
    const struct span *references;
    size_t n_references; /* these ones alone */
    bool forget;         /* `previous` alone is to be deleted */
    bool alone;          /* `previous` without those before it */
};

/* One row. */
struct response_found {
    struct span id, previous; /* previous "" = none */
    struct span body;         /* as it was saved */
    bool in_chain;            /* one of the chain, which comes oldest first; else a reference */
};

struct response_call;

struct response_limits {
    int64_t ttl_ms, max_bytes;
};

/* NULL when memory is short; the texts are copied. */
struct response_call *response_store_find(struct store *, const struct response_wish *,
                                          struct span owner, const struct response_limits *,
                                          int64_t now_ms, void (*done)(void *arg), void *arg);
struct response_call *response_store_save(struct store *, struct span id, struct span owner,
                                          struct span previous, struct span body,
                                          const struct response_limits *, int64_t now_ms,
                                          void (*done)(void *arg), void *arg);
/* `done` was called, or (memory was short) needs not to be: then what follows may be asked. */
bool response_call_is_over(const struct response_call *);
/* After `done`: of a save, is it on disk? Of a find, could the store be read? Whatever is not in
 * the list is not there. */
bool response_call_worked(const struct response_call *);
/* A deletion: was there such a one? */
bool response_call_deleted(const struct response_call *);
/* The rows of a find, copied into the arena; 0 or -1 (memory). */
int response_call_take(const struct response_call *, struct arena *, struct response_found **,
                       size_t *n);
/* After `done`, or before it: then `done` is not called any more. NULL is fine. */
void response_call_free(struct response_call *);

#endif
