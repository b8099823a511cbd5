/*
 * gateway/account_pool.h - the people's accounts at run time: who is ready, who rests, who is in
 * use.
 *
 * One pool per engine. Accounts are known by "site/account" and survive a reload by that name:
 * state and held credentials stay unless the configured credentials changed. States follow from the
 * kinds of failures (design §1): rate_limited → cooling until a time (never asked before it),
 * credential → expired, challenge → challenged; the latter two are asked again only when no ready
 * account is left, and become ready with the first success. Times are monotonic milliseconds
 * (uv_now).
 */
#ifndef DRAGOMAN_GATEWAY_ACCOUNT_POOL_H
#define DRAGOMAN_GATEWAY_ACCOUNT_POOL_H

#include "gateway/config.h"
#include "gateway/wait_queue.h"

enum account_state { ACCOUNT_READY, ACCOUNT_COOLING, ACCOUNT_EXPIRED, ACCOUNT_CHALLENGED };

struct account_pool;

struct account {
    unsigned magic;
    struct site_account view; /* what the adapter sees; view.owner = this account */
    char *site, *name;
    enum account_state state;
    uint64_t until_ms; /* cooling: end */
    int in_flight, max_concurrent;
    int pins;     /* tidying runs that still need the account's credentials, without a lease */
    bool retired; /* gone from the config: freed with its last lease */
    bool credential_step;               /* one exchange obtains a credential */
    struct wait_queue credential_queue; /* the others wait here */
    struct account_pool *pool;
    uint64_t credentials_hash; /* of the configured values, to see a change at reload */
    struct credential visitor; /* the only credential of a visitor's account; owned */
};

/* `saved` is called after each change of a held credential, `value` NULL when it was dropped. */
struct account_pool *account_pool_create(void (*saved)(void *owner, const char *site,
                                                       const char *account, const char *name,
                                                       const char *value, int64_t expires_ms),
                                         void *owner);
void account_pool_destroy(struct account_pool *);
/* Makes the pool fit the config (first call and reloads); keeps a reference to it. 0, or -1 when
 * memory is short (the pool stays usable). */
int account_pool_configure(struct account_pool *, struct config *);
/* A held credential from the store; ignored when the account is not configured. */
void account_pool_restore(struct account_pool *, const char *site, const char *account,
                          const char *name, const char *value, int64_t expires_ms);

enum lease_result {
    LEASE_OK,
    LEASE_BUSY,    /* an account is usable but all are at max_concurrent: wait */
    LEASE_COOLING, /* all that were not tried rest; *retry_at_ms = the earliest end */
    LEASE_NONE     /* every account was tried */
};
/* Takes an account of `site` whose index is not in `tried` (bit i = i-th account of the config;
 * from 64 on accounts share bits) and that may serve the key (NULL = any). Round robin. */
enum lease_result account_pool_lease(struct account_pool *, const struct site_config *site,
                                     const struct key_config *key, uint64_t tried, uint64_t now_ms,
                                     struct account **account, size_t *index,
                                     uint64_t *retry_at_ms);
/* An account for one request of a client that brings its own key of the site; leased, in no list,
 * gone with its release. NULL when memory is short. */
struct account *account_pool_visitor(struct account_pool *, const struct site_config *site,
                                     struct span key);
/* Gives it back and wakes the first who waits for the site. */
void account_release(struct account *);
/* Keeps the account's memory and credentials without counting as use. */
void account_pin(struct account *);
void account_unpin(struct account *);
/* Earliest end of a cool-down at the site, of the accounts that may serve the key; UINT64_MAX when
 * none cools. */
uint64_t account_pool_earliest(struct account_pool *, const struct site_config *site,
                               const struct key_config *key, uint64_t now_ms);
/* A success, or what a failure of `kind` means for the account. `retry_after_s` 0 = the default of
 * 60 s for rate_limited. */
void account_succeeded(struct account *);
void account_failed(struct account *, enum fail_kind kind, int retry_after_s, uint64_t now_ms);
/* An account without leasing it (model lists): the first ready one, or NULL. */
struct account *account_pool_peek(struct account_pool *, const struct site_config *site);

/* Waiting for an account of the site. False: the queue is full. */
enum { ACCOUNT_QUEUE_MAX = 1000 };
bool account_pool_wait(struct account_pool *, const struct site_config *site, struct waiter *);
/* Credential steps, one at a time per account: true = go ahead (then end it with
 * account_credential_done); false = queued. */
bool account_credential_begin(struct account *, struct waiter *);
void account_credential_done(struct account *);

const char *account_state_name(enum account_state);

#endif
