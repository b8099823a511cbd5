/*
 * gateway/catalogue_internal.h - what the files of the catalogue share: catalogue.c has the lists
 * and fetches them, catalogue_find.c finds models in them.
 */
#ifndef DRAGOMAN_GATEWAY_CATALOGUE_INTERNAL_H
#define DRAGOMAN_GATEWAY_CATALOGUE_INTERNAL_H

#include "gateway/catalogue.h"

struct live_model {
    struct span id, site_id, note; /* in the list's arena */
};

struct live_list {
    struct span name; /* the site's; in its own allocation */
    uint64_t service; /* which one the site was: service_hash */
    struct arena arena;
    struct live_model *models;
    size_t n, cap;
    bool read;           /* at least once since we run; models may be there before, restored */
    bool failed;         /* at least once */
    bool wanted;         /* another loop wants it fetched, and has knocked */
    uint64_t asked_ms;   /* last attempt, 0 = never */
    struct fetch *fetch; /* running */
    struct live_list *next;
};

struct catalogue {
    uv_loop_t *loop;
    struct upstream *upstream;
    struct account_pool *pool;
    struct config *config;
    struct json_parser *json;
    struct target_turns *turns;
    catalogue_keep *keep;
    void *keep_owner;
    void (*drift)(void *owner, const struct site_config *, const char *kind);
    struct live_list *lists;
    struct wait_queue queue;
    size_t running;
    struct shared *shared; /* NULL: one loop */
    struct mail knock;     /* to the loop that fetches */
    bool knocked;
};

/* Inside the loops' lock. NULL = there is none for a site of that name. */
struct live_list *catalogue_list_of(struct catalogue *, struct span name);

#endif
