/*
 * gateway/account_pool.h - the people's accounts: who is asked next, who waits for whom.
 *
 * One pool per engine. Accounts are known by "site/account" and survive a reload by that name:
 * state and held credentials stay unless the configured credentials changed, also of an account
 * that leaves the config and comes back (the pool remembers the last few hundred). States follow
 * from the kinds of failures (design §1): rate_limited → cooling until a time (never asked before
 * it), credential → expired, challenge → challenged; the latter two are asked again only when no
 * ready account is left, and become ready with the first success. Sans-IO: times are monotonic
 * milliseconds (uv_now), handed in.
 *
 * With several event loops a waiter of another loop cannot be asked what it makes of an account
 * that came free, and whoever comes first must not take it away before the waiter hears of it. So
 * the account is leased on the waiter's behalf (waiter.take), and given to it.
 */
#ifndef DRAGOMAN_GATEWAY_ACCOUNT_POOL_H
#define DRAGOMAN_GATEWAY_ACCOUNT_POOL_H

#include "gateway/account.h"
#include "gateway/fair_queue.h"
#include "gateway/shared.h"

/* What the pool tells its owner. */
struct account_pool_hooks {
    /* After each change of a held credential, `value` NULL when it was dropped. */
    void (*saved)(void *owner, struct account *, const char *name, const char *value,
                  int64_t expires_ms);
    /* After each change of an account's state or rests; may be NULL. */
    void (*changed)(void *owner, const struct account *);
    /* After each lease: the owner knows which day it is. May be NULL. */
    void (*begun)(void *owner, struct account *);
    /* Somebody waits for a time: account_pool_tick is due then, at the latest. May be NULL. */
    void (*wake_at)(void *owner, uint64_t at_ms);
    void *owner;
};

/* `seed` is for the jitter of rests. */
struct account_pool *account_pool_create(const struct account_pool_hooks *, uint64_t seed);
/* Several event loops use it from now on, each on its own thread. All below may then be called from
 * any of them, but for what restores, finds and configures: that is for a time when the others do
 * not run. Hooks are called inside the lock, on the thread that made the change. */
void account_pool_share(struct account_pool *, struct shared *);
void account_pool_destroy(struct account_pool *);
/* Makes the pool fit the config (first call and reloads); each account keeps a reference to the
 * config that it comes from. One that left it has its credentials until its last lease and pin end,
 * and is remembered, without them, in case it comes back. 0, or -1 when memory is short (the pool
 * stays usable). */
int account_pool_configure(struct account_pool *, struct config *, uint64_t now_ms);
/* By name: of the config, or one that left it, or a new one of the latter kind (for what the store
 * tells of it). NULL when memory is short or too many are remembered already. */
struct account *account_pool_recall(struct account_pool *, struct span site, struct span name);
/* By "site/account". */
struct account *account_pool_recall_name(struct account_pool *, struct span name);
/* Every account of the config. */
void account_pool_each(struct account_pool *, void (*each)(void *owner, struct account *),
                       void *owner);
/* The hash of the configured credentials under which the account's held credentials and state came
 * about: with others now, it begins anew. */
void account_pool_compare(struct account *, uint64_t credentials_hash);
/* A held credential from the store. */
void account_pool_restore(struct account_pool *, const char *site, const char *account,
                          const char *name, const char *value, int64_t expires_ms);

enum lease_result {
    LEASE_OK,
    LEASE_BUSY,    /* an account is usable, but not now: wait */
    LEASE_COOLING, /* all that were not tried rest; *retry_at_ms = the earliest end */
    LEASE_NONE     /* every account was tried */
};
struct lease_wish {
    const struct site_config *site;
    const struct key_config *key; /* only accounts that may serve it; NULL = all */
    struct span model;            /* as the site calls it */
    uint64_t tried;        /* bit i = the i-th account of the config; from 64 on they share bits */
    uint64_t conversation; /* the same account as for the last turn, while it is ready; 0 = any */
    struct span holder;    /* rather than that: the account of this name, while it is ready */
};
/* Takes an account, by the site's strategy. */
enum lease_result account_pool_lease(struct account_pool *, const struct lease_wish *,
                                     uint64_t now_ms, struct account **, size_t *index,
                                     uint64_t *retry_at_ms);
/* An account for one request of a client that brings its own key of the site; leased, in no list,
 * gone with its release. NULL when memory is short. */
struct account *account_pool_visitor(struct account_pool *, const struct site_config *site,
                                     struct span key);
/* For waiter.take: leases what the waiter wishes, on its behalf. */
bool account_pool_take(struct account_pool *, struct waiter *, const struct lease_wish *,
                       uint64_t now_ms);
/* What the waiter was woken with, leased; NULL = nothing. It does not wait now. */
struct account *account_pool_given(struct account_pool *, struct waiter *, size_t *index);
/* It waits no longer, but what it was given stays there to be fetched. */
void account_pool_unqueue(struct account_pool *, struct waiter *);
/* It waits no longer for any account, credential or write; what it was given and did not fetch goes
 * back. */
void account_pool_leave(struct account_pool *, struct waiter *, uint64_t now_ms);
/* Gives it back and wakes the first who waits for the site. */
void account_release(struct account *, uint64_t now_ms);
/* Keeps the account's memory and credentials without counting as use. */
void account_pin(struct account *);
void account_unpin(struct account *);
/* Earliest end of a cool-down at the site for the model, of the accounts that may serve the key;
 * UINT64_MAX when none cools. */
uint64_t account_pool_earliest(struct account_pool *, const struct site_config *site,
                               const struct key_config *key, struct span model, uint64_t now_ms);
/* A success, or what a failure of `kind` means for the account; `model` as in the wish.
 * `retry_after_s`: what the site said, 0 = nothing. */
void account_succeeded(struct account *, struct span model);
void account_failed(struct account *, enum fail_kind kind, struct span model, int retry_after_s,
                    uint64_t now_ms);
/* Around what is read or changed of an account in several steps. */
void account_enter(const struct account *);
void account_leave(const struct account *);
/* To be called when account_remember has told what a failure said: the hook `changed` hears of it.
 */
void account_changed(struct account *);
/* By name, NULL when there is none. */
struct account *account_pool_find(struct account_pool *, struct span site, struct span account);
/* By "site/account". */
struct account *account_pool_find_name(struct account_pool *, struct span name);
/* Ends its cool-downs, and wakes who waits. */
void account_pool_clear(struct account_pool *, struct account *, uint64_t now_ms);
/* An account without leasing it (model lists): the first ready one, or NULL. */
struct account *account_pool_peek(struct account_pool *, const struct site_config *site,
                                  uint64_t now_ms);

/* After LEASE_BUSY with this *retry_at_ms: waiting for an account of the site, in turns with the
 * other groups (a group is a client key). `again`: it was woken and found nothing, and keeps its
 * place. False: the queue is full. */
bool account_pool_wait(struct account_pool *, const struct site_config *site, struct waiter *,
                       uint64_t group, bool again, uint64_t retry_at_ms);
/* After account_pool_wait: whatever came free since the lease was refused, on another loop, goes to
 * those who wait. Nothing with one loop. */
void account_pool_offer(struct account_pool *, const struct site_config *site, uint64_t now_ms);
/* How many wait for an account of the site. */
size_t account_pool_waiting(struct account_pool *, const struct site_config *site);
/* How many are before it. */
size_t account_pool_ahead(struct account_pool *, const struct site_config *site,
                          const struct waiter *);
/* Wakes those for whom an account is free by now. */
void account_pool_tick(struct account_pool *, uint64_t now_ms);
/* Credential steps, one at a time per account: true = go ahead (then end it with
 * account_credential_done); false = queued, and `awaited` is the number of the step it waits for.
 */
bool account_credential_begin(struct account *, struct waiter *, unsigned *awaited);
/* With several event loops a step may begin or end while an adapter is being asked, and then the
 * adapter's wish for one is out of date. The number that changes with it. */
unsigned account_credential_changes(const struct account *);
void account_credential_done(struct account *);
/* Before account_credential_done: it came to nothing. Those who wait share the failure: one after
 * the other they would each sit through a site that does not answer. */
void account_credential_failed(struct account *, const struct fail *);
/* Did the step that was awaited fail, and why? False: it did not, or was given up. */
bool account_credential_failure(const struct account *, unsigned awaited, struct fail *why);
/* What a credential step obtained is being written down, and is (or could not be): in between,
 * nobody relies on it, because a site may have replaced the former one. */
void account_credential_saving(struct account *);
void account_credential_saved(struct account *);
/* True = a request may go out; false = queued until what was obtained is on disk. */
bool account_credential_is_safe(struct account *, struct waiter *);

#endif
