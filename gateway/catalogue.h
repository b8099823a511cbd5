/*
 * gateway/catalogue.h - which models there are, and where a model id leads (design §4, last line).
 *
 * Built-in lists and configured ones are known at once; sites that tell their models are asked in
 * the background, soon after the start and when a list is older than its ttl, never while somebody
 * waits for /v1/models (L3). The last list of each site outlives a restart. Look-up order:
 * [[models]].id, then `site/model`, then a bare id that a site has (the first configured one), then
 * the patterns among [[models]] in the file's order.
 */
#ifndef DRAGOMAN_GATEWAY_CATALOGUE_H
#define DRAGOMAN_GATEWAY_CATALOGUE_H

#include "gateway/account_pool.h"
#include "gateway/upstream.h"

struct catalogue;

struct access_grant;

struct target {
    const struct site_config *site;
    struct span model; /* what the adapter gets */
    /* where [[models]] names it, for its options; NULL = nothing but the id leads here */
    const struct target_config *configured;
};

/* Who writes lists down; `json` is for catalogue_restore. NULL = nobody. */
typedef void catalogue_keep(void *owner, struct span site, int64_t fetched_ms, struct span json);

struct catalogue *catalogue_create(uv_loop_t *, struct upstream *, struct account_pool *,
                                   catalogue_keep *, void *owner);
/* Who hears what an adapter did not understand in a site's list; `owner` is that of
 * catalogue_create. */
void catalogue_on_drift(struct catalogue *,
                        void (*)(void *owner, const struct site_config *, const char *kind));
/* Several event loops use it from now on: look-ups come from any of them, lists are fetched by the
 * one that it was created for, which also creates, configures, restores and destroys it. */
void catalogue_share(struct catalogue *, struct shared *);
/* Cancels fetches. Waiters must have left. */
void catalogue_destroy(struct catalogue *);
/* The sites and models from now on (first call and reloads); keeps a reference. Lists of sites that
 * are another service now (adapter, base_url) are forgotten. */
void catalogue_configure(struct catalogue *, struct config *);
/* A list that was written down, after catalogue_configure: used until the site has told a new one,
 * which is asked for as if there were none. One that is not of such a site any more is ignored. */
void catalogue_restore(struct catalogue *, struct span name, struct span json);
/* Starts fetching every live list that is missing or old (bounded: one fetch a site, failures are
 * not repeated within a minute). */
void catalogue_refresh(struct catalogue *);

enum resolve_result {
    RESOLVED,
    RESOLVE_WAIT,   /* a list that was never read may know it: wait (catalogue_wait), then ask again
                     */
    RESOLVE_UNKNOWN /* fail is filled: the id and near ones */
};
struct resolve_wish {
    struct span id;
    bool may_wait; /* false: never RESOLVE_WAIT */
    /* A request is about to begin: where targets have weights, it is the turn of one of those that
     * this grant opens. NULL = somebody only looks, and sees the file's order. */
    const struct access_grant *turn_for;
    const struct access_grant *grant; /* near ids are of those that it opens; NULL = of all */
};
/* Targets live in the arena. */
enum resolve_result catalogue_resolve(struct catalogue *, const struct config *,
                                      const struct resolve_wish *, struct arena *,
                                      const struct target **targets, size_t *n, struct fail *);
/* Woken when the running first fetches have ended (each within 5 s). */
void catalogue_wait(struct catalogue *, struct waiter *);
/* It waits no longer. */
void catalogue_leave(struct catalogue *, struct waiter *);

/* Public ids in order: aliases (patterns are none), then every site's. `put` gets id and owner;
 * both valid during the call, which is made inside the loops' lock. 0, or -1 when something is left
 * out because memory is short. */
int catalogue_each(struct catalogue *, const struct config *,
                   void (*put)(void *owner, struct span id, struct span owned_by), void *owner);
/* What the site's list said of a model (turn_run.model_note), by the site's own id; "" = nothing.
 * Valid during the present callback. */
struct span catalogue_note(struct catalogue *, const struct site_config *, struct span model);
/* May the key use this public id (globs)? NULL = no keys are configured. */
bool key_allows_model(const struct key_config *, struct span id);

#endif
