/*
 * gateway/account_pool.c - see account_pool.h.
 *
 * A site here is a named list of accounts with a round-robin position and a queue of those who
 * wait. The hard part is retirement: an account that left the config goes on with its leases and is
 * remembered, with its state and rests, in case it comes back.
 */
#include "gateway/account_pool.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/sha256.h"

enum {
    ACCOUNT_MAGIC = 0x41434354,
    AFFINITY_SLOTS = 1024,
    FORMER_MAX = 256 /* accounts that left the config and are remembered */
};

/* Which account answered a conversation last. A newer one takes the place of an older one. */
struct affinity {
    uint64_t conversation, account_id;
};

struct pool_site {
    char *name;
    struct account **accounts; /* in the config's order */
    size_t n_accounts;
    struct affinity *affinities; /* AFFINITY_SLOTS, made when first needed */
    struct fair_queue queue;
    size_t queue_max;
    struct account_limits limits;
    enum account_strategy strategy;
    bool live; /* in the current config */
    struct pool_site *chain;
};

struct account_pool {
    struct pool_site *sites;
    struct account *former; /* retired ones; the latest first */
    size_t n_former;
    struct account_pool_hooks hooks;
    struct shared *shared; /* NULL: one loop */
    bool offering;         /* what is free is being handed out */
    uint64_t last_id;
    uint64_t random; /* xorshift64: for jitter only */
};

void account_enter(const struct account *a) { shared_enter(a->pool->shared); }

void account_leave(const struct account *a) { shared_leave(a->pool->shared); }

/* ---- what adapters read of an account that others may change ---- */

static void guard_enter(const struct site_account *view)
{
    account_enter((const struct account *)view->owner);
}

static void guard_leave(const struct site_account *view)
{
    account_leave((const struct account *)view->owner);
}

static struct span guard_lend(const struct site_account *view, struct span text)
{
    return shared_lend(((const struct account *)view->owner)->pool->shared, text);
}

static bool guard_take_short(const struct site_account *view) { return shared_take_short(); }

static const struct account_guard guard = {guard_enter, guard_leave, guard_lend, guard_take_short};

/* ---- accounts ---- */

static void held_changed(struct site_account *view, const char *name)
{
    struct account *a = view->owner;
    const char *value = NULL;
    int64_t expires_ms = 0;
    for (const struct held_credential *h = view->held; h; h = h->next) {
        if (strcmp(h->name, name) == 0) {
            value = h->value;
            expires_ms = h->expires_ms;
        }
    }
    if (a->pool->hooks.saved)
        a->pool->hooks.saved(a->pool->hooks.owner, a, name, value, expires_ms);
}

static void account_free(struct account *a)
{
    if (!a)
        return;
    assert(!a->credential_queue.first && !a->unsaved_queue.first);
    account_clear(&a->view);
    if (a->visitor.value.p) {
        explicit_bzero((char *)(uintptr_t)a->visitor.value.p, a->visitor.value.n);
        free((char *)(uintptr_t)a->visitor.value.p);
    }
    if (a->config)
        config_unref(a->config);
    free(a->starts);
    free(a->site);
    free(a->name);
    a->magic = 0;
    free(a);
}

static struct account *account_create(struct account_pool *pool, struct span site, struct span name)
{
    assert(site.p && name.p);
    struct account *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->magic = ACCOUNT_MAGIC;
    a->pool = pool;
    a->id = ++pool->last_id;
    a->weight = 1;
    a->site = strndup(site.p, site.n);
    a->name = strndup(name.p, name.n);
    a->view.changed = held_changed;
    a->view.owner = a;
    a->view.guard = pool->shared ? &guard : NULL;
    if (!a->site || !a->name) {
        account_free(a);
        return NULL;
    }
    a->view.name = span_str(a->name);
    return a;
}

static void hash_text(mbedtls_sha256_context *c, struct span text)
{
    uint64_t n = text.n;
    mbedtls_sha256_update(c, (const unsigned char *)&n, sizeof n);
    mbedtls_sha256_update(c, (const unsigned char *)(text.p ? text.p : ""), text.n);
}

/* To notice that somebody gave it another credential, or that it is for another service now. It is
 * written down, so it must not tell anything: the beginning of a SHA-256, of this account's alone.
 */
static uint64_t credentials_hash(const struct account *a, const struct account_config *c,
                                 const struct site_config *site)
{
    unsigned char digest[32];
    uint64_t h;
    mbedtls_sha256_context md;
    mbedtls_sha256_init(&md);
    mbedtls_sha256_starts(&md, 0);
    hash_text(&md, span_str(a->site));
    hash_text(&md, span_str(a->name));
    hash_text(&md, site->settings.origin);
    hash_text(&md, c->guest ? SPAN("guest") : SPAN(""));
    for (size_t i = 0; i < c->n_credentials; i++) {
        hash_text(&md, c->credentials[i].name);
        hash_text(&md, c->credentials[i].value);
    }
    mbedtls_sha256_finish(&md, digest);
    memcpy(&h, digest, sizeof h);
    mbedtls_sha256_free(&md);
    return h;
}

/* Somebody gave it another credential: what the former one brought is no good. */
static void begin_anew(struct account *a)
{
    while (a->view.held)
        account_drop(&a->view, a->view.held->name);
    account_forgive(a);
    a->last_failure = FAIL_NONE;
    a->last_error[0] = '\0';
    account_changed(a);
}

static int account_configure(struct account *a, struct config *config,
                             const struct account_config *c, const struct site_config *site)
{
    struct config *old = a->config;
    uint64_t former = a->credentials_hash;
    a->credentials_hash = credentials_hash(a, c, site);
    a->config = config_ref(config);
    a->view.guest = c->guest;
    a->view.credentials = c->credentials;
    a->view.n_credentials = c->n_credentials;
    a->retired = false;
    if (former && a->credentials_hash && former != a->credentials_hash)
        begin_anew(a);
    if (old)
        config_unref(old);
    return account_set_pace(a, site, c->weight);
}

/* ---- sites ---- */

static struct pool_site *find_site(struct account_pool *pool, struct span name)
{
    for (struct pool_site *s = pool->sites; s; s = s->chain) {
        if (span_eq(span_str(s->name), name))
            return s;
    }
    return NULL;
}

static struct pool_site *find_or_add_site(struct account_pool *pool, struct span name)
{
    struct pool_site *s = find_site(pool, name);
    if (s)
        return s;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->name = strndup(name.p, name.n);
    if (!s->name) {
        free(s);
        return NULL;
    }
    s->chain = pool->sites;
    pool->sites = s;
    return s;
}

/* Of a retired account nothing is needed any more but what is remembered of it. */
static void settle_retired(struct account *a)
{
    static const struct credential none;
    if (!a->retired || a->in_flight || a->pins || a->credential_step)
        return;
    if (a->forgotten) {
        account_free(a);
        return;
    }
    a->view.credentials = &none;
    a->view.n_credentials = 0;
    if (a->config)
        config_unref(a->config);
    a->config = NULL;
}

/* The place of a former account in its list, or of the list's end. */
static struct account **find_former(struct account_pool *pool, struct span site, struct span name)
{
    struct account **place = &pool->former;
    while (*place &&
           !(span_eq(span_str((*place)->site), site) && span_eq(span_str((*place)->name), name)))
        place = &(*place)->next_former;
    return place;
}

static struct account *take_former(struct account_pool *pool, struct account **place)
{
    struct account *a = *place;
    if (a) {
        *place = a->next_former;
        a->next_former = NULL;
        pool->n_former--;
    }
    return a;
}

/* Requests that are under way go on with its credentials: it keeps the config that has them. */
static void retire(struct account *a)
{
    struct account_pool *pool = a->pool;
    a->retired = true;
    a->next_former = pool->former;
    pool->former = a;
    settle_retired(a);
    if (++pool->n_former <= FORMER_MAX)
        return;
    struct account **last = &pool->former;
    while ((*last)->next_former)
        last = &(*last)->next_former;
    struct account *oldest = take_former(pool, last);
    oldest->forgotten = true;
    settle_retired(oldest);
}

static struct account *take_by_name(struct pool_site *s, struct span name)
{
    for (size_t i = 0; i < s->n_accounts; i++) {
        if (s->accounts[i] && span_eq(span_str(s->accounts[i]->name), name)) {
            struct account *a = s->accounts[i];
            s->accounts[i] = NULL;
            return a;
        }
    }
    return NULL;
}

static int configure_site(struct account_pool *pool, struct config *config,
                          const struct site_config *site)
{
    struct pool_site *s = find_or_add_site(pool, site->settings.name);
    struct account **accounts = s ? calloc(site->n_accounts, sizeof *accounts) : NULL;
    if (!accounts)
        return -1;
    int result = 0;
    size_t n = 0;
    for (size_t i = 0; i < site->n_accounts; i++) {
        struct account *a = take_by_name(s, site->accounts[i].name);
        if (!a)
            a = take_former(pool, find_former(pool, site->settings.name, site->accounts[i].name));
        if (!a)
            a = account_create(pool, site->settings.name, site->accounts[i].name);
        if (!a) {
            result = -1;
            continue;
        }
        if (account_configure(a, config, &site->accounts[i], site))
            result = -1;
        accounts[n++] = a;
    }
    for (size_t i = 0; i < s->n_accounts; i++) {
        if (s->accounts[i])
            retire(s->accounts[i]);
    }
    free(s->accounts);
    s->accounts = accounts;
    s->n_accounts = n;
    s->limits = (struct account_limits){site->limits_per_model, site->adapter->cool_down_s};
    s->strategy = site->strategy;
    s->queue_max = (size_t)site->queue_max;
    s->live = true;
    return result;
}

/* When the first account is free for one more, as far as its pace goes; 0 = now. Accounts that rest
 * do not count: waiting for them is not offered. */
static uint64_t site_free_at(const struct pool_site *s, uint64_t now_ms)
{
    uint64_t first = UINT64_MAX;
    bool any = false;
    for (size_t i = 0; i < s->n_accounts; i++) {
        const struct account *a = s->accounts[i];
        if (account_state_at(a, now_ms) == ACCOUNT_COOLING)
            continue;
        uint64_t at = account_free_at(a);
        any = true;
        first = at < first ? at : first;
    }
    return !any || first <= now_ms ? 0 : first; /* none: who waits finds that out */
}

/* One who is woken may leave without a lease (then the next one has the place), or wait again (what
 * is free is not for this one): when nobody of any group can use what is free, that is all. */
static void wake_while_free(struct account_pool *pool, struct pool_site *s, uint64_t now_ms)
{
    uint64_t at = 0;
    size_t in_vain = 0;
    if (pool->offering) /* somebody in the queue is just taking what he can use */
        return;
    pool->offering = pool->shared != NULL;
    while (s->queue.n && in_vain < s->queue.n_groups && !(at = site_free_at(s, now_ms))) {
        size_t before = s->queue.n;
        struct waiter *w = fair_queue_next(&s->queue);
        if (w->home && !w->take(w, now_ms))
            fair_queue_pass(&s->queue);
        else
            fair_queue_wake_next(&s->queue);
        in_vain = s->queue.n < before ? 0 : in_vain + 1;
    }
    pool->offering = false;
    if (s->queue.n && at && at != UINT64_MAX && pool->hooks.wake_at)
        pool->hooks.wake_at(pool->hooks.owner, at);
}

void account_pool_tick(struct account_pool *pool, uint64_t now_ms)
{
    shared_enter(pool->shared);
    for (struct pool_site *s = pool->sites; s; s = s->chain) {
        if (s->queue.n)
            wake_while_free(pool, s, now_ms);
    }
    shared_leave(pool->shared);
}

int account_pool_configure(struct account_pool *pool, struct config *config, uint64_t now_ms)
{
    int result = 0;
    for (struct pool_site *s = pool->sites; s; s = s->chain)
        s->live = false;
    for (size_t i = 0; i < config->n_sites; i++) {
        if (configure_site(pool, config, &config->sites[i]))
            result = -1;
    }
    for (size_t i = 0; i < config->n_routes; i++) {
        const struct route_config *route = &config->routes[i];
        if (route->site == &route->own && configure_site(pool, config, &route->own))
            result = -1;
    }
    for (struct pool_site *s = pool->sites; s; s = s->chain) {
        if (s->live) {
            wake_while_free(pool, s, now_ms); /* for a new account or a higher limit */
            continue;
        }
        for (size_t i = 0; i < s->n_accounts; i++)
            retire(s->accounts[i]);
        s->n_accounts = 0;
        fair_queue_wake_all(&s->queue); /* they find no account and move on */
    }
    return result;
}

static void guard_account(void *owner, struct account *a) { a->view.guard = &guard; }

void account_pool_share(struct account_pool *pool, struct shared *shared)
{
    pool->shared = shared;
    account_pool_each(pool, guard_account, NULL);
    for (struct account *a = pool->former; a; a = a->next_former)
        guard_account(NULL, a);
}

struct account_pool *account_pool_create(const struct account_pool_hooks *hooks, uint64_t seed)
{
    struct account_pool *pool = calloc(1, sizeof *pool);
    if (pool) {
        pool->hooks = *hooks;
        pool->random = seed | 1;
    }
    return pool;
}

void account_pool_destroy(struct account_pool *pool)
{
    if (!pool)
        return;
    while (pool->former)
        account_free(take_former(pool, &pool->former));
    while (pool->sites) {
        struct pool_site *s = pool->sites;
        pool->sites = s->chain;
        assert(!s->queue.n);
        for (size_t i = 0; i < s->n_accounts; i++)
            account_free(s->accounts[i]);
        free(s->accounts);
        free(s->affinities);
        free(s->name);
        free(s);
    }
    free(pool);
}

struct account *account_pool_recall(struct account_pool *pool, struct span site, struct span name)
{
    struct account *a = account_pool_find(pool, site, name);
    if (!a)
        a = *find_former(pool, site, name);
    if (a || pool->n_former >= FORMER_MAX)
        return a;
    a = account_create(pool, site, name);
    if (a)
        retire(a);
    return a;
}

void account_pool_restore(struct account_pool *pool, const char *site, const char *account,
                          const char *name, const char *value, int64_t expires_ms)
{
    struct account *a = account_pool_recall(pool, span_str(site), span_str(account));
    if (!a)
        return;
    a->view.changed = NULL; /* it comes from the store: no need to write it back */
    account_hold(&a->view, name, span_str(value), expires_ms);
    a->view.changed = held_changed;
}

void account_pool_compare(struct account *a, uint64_t credentials_hash)
{
    if (!a->credentials_hash) /* not configured now */
        a->credentials_hash = credentials_hash;
    else if (a->credentials_hash != credentials_hash)
        begin_anew(a);
}

/* ---- leases ---- */

static bool was_tried(uint64_t tried, size_t index) { return (tried >> (index % 64)) & 1; }

static bool may_serve(const struct account *a, const struct key_config *key)
{
    return config_key_takes_account(key, span_str(a->site), span_str(a->name));
}

static struct affinity *affinity_of(struct pool_site *s, uint64_t conversation)
{
    if (!conversation)
        return NULL;
    if (!s->affinities) /* without memory for it, any account will do */
        s->affinities = calloc(AFFINITY_SLOTS, sizeof *s->affinities);
    return s->affinities ? &s->affinities[conversation % AFFINITY_SLOTS] : NULL;
}

/* Of those that are free: how good a choice is it? The highest wins, the first of equals. */
static int64_t preference(const struct pool_site *s, const struct account *a, size_t index)
{
    switch (s->strategy) {
    case STRATEGY_FILL_FIRST: return -(int64_t)index;
    case STRATEGY_LEAST_BUSY: /* the share of its weight that is in use; equals take turns */
        return a->turn - (a->in_flight ? ((int64_t)a->in_flight << 32) / a->weight : 0);
    case STRATEGY_ROUND_ROBIN: break;
    }
    return a->turn;
}

struct choice {
    struct account *best;
    size_t index;
    int64_t preference, weights; /* of all that were free */
    uint64_t busy_until;         /* UINT64_MAX = until one ends; 0 = nobody is merely busy */
    uint64_t cool_until;
};

/* The account that answered the conversation last; 0 = none. */
static uint64_t favourite(struct pool_site *s, const struct lease_wish *wish)
{
    const struct affinity *affinity = affinity_of(s, wish->conversation);
    for (size_t i = 0; i < s->n_accounts && wish->holder.n; i++) {
        if (span_eq(span_str(s->accounts[i]->name), wish->holder))
            return s->accounts[i]->id;
    }
    return affinity && affinity->conversation == wish->conversation ? affinity->account_id : 0;
}

/* Looks at the ready accounts, or at the expired and challenged ones. With many accounts this is
 * what a lease costs, some nanoseconds for each. */
static struct choice choose(struct pool_site *s, const struct lease_wish *wish, bool last_resort,
                            uint64_t now_ms)
{
    struct choice c = {.cool_until = UINT64_MAX};
    uint64_t model = account_model_hash(wish->model);
    uint64_t favourite_id = favourite(s, wish);
    bool tied = wish->key && wish->key->n_accounts;
    for (size_t i = 0; i < s->n_accounts; i++) {
        struct account *a = s->accounts[i];
        if (was_tried(wish->tried, i) || (tied && !may_serve(a, wish->key)))
            continue;
        uint64_t cool = a->n_cool_downs ? account_cool_until(a, model) : 0;
        if (cool > now_ms) {
            c.cool_until = cool < c.cool_until ? cool : c.cool_until;
            continue;
        }
        if ((a->state != ACCOUNT_READY) != last_resort)
            continue;
        uint64_t free_at = account_free_at(a);
        if (free_at > now_ms) {
            c.busy_until = !c.busy_until || free_at < c.busy_until ? free_at : c.busy_until;
            continue;
        }
        a->turn += a->weight; /* smooth weighted round robin */
        c.weights += a->weight;
        int64_t p = preference(s, a, i);
        if (a->id == favourite_id)
            p = INT64_MAX;
        if (!c.best || p > c.preference) {
            c.best = a;
            c.index = i;
            c.preference = p;
        }
        if (s->strategy == STRATEGY_FILL_FIRST && (!favourite_id || p == INT64_MAX))
            break; /* none behind it is better */
    }
    return c;
}

static void take(struct pool_site *s, const struct lease_wish *wish, const struct choice *c,
                 uint64_t now_ms)
{
    struct affinity *affinity = affinity_of(s, wish->conversation);
    c->best->turn -= c->weights;
    account_begin(c->best, now_ms);
    if (c->best->pool->hooks.begun)
        c->best->pool->hooks.begun(c->best->pool->hooks.owner, c->best);
    if (affinity)
        *affinity = (struct affinity){wish->conversation, c->best->id};
}

static enum lease_result lease(struct account_pool *pool, const struct lease_wish *wish,
                               uint64_t now_ms, struct account **account, size_t *index,
                               uint64_t *retry_at_ms)
{
    struct pool_site *s = find_site(pool, wish->site->settings.name);
    *retry_at_ms = UINT64_MAX;
    if (!s)
        return LEASE_NONE;
    if (pool->shared && s->queue.n) /* their timer may be on a loop that is busy just now */
        wake_while_free(pool, s, now_ms);
    struct choice c = choose(s, wish, false, now_ms);
    if (!c.best && !c.busy_until) {
        uint64_t cool_until = c.cool_until;
        c = choose(s, wish, true, now_ms);
        c.cool_until = cool_until < c.cool_until ? cool_until : c.cool_until;
    }
    if (c.best) {
        take(s, wish, &c, now_ms);
        *account = c.best;
        *index = c.index;
        return LEASE_OK;
    }
    *retry_at_ms = c.busy_until ? c.busy_until : c.cool_until;
    if (c.busy_until)
        return LEASE_BUSY;
    return c.cool_until != UINT64_MAX ? LEASE_COOLING : LEASE_NONE;
}

enum lease_result account_pool_lease(struct account_pool *pool, const struct lease_wish *wish,
                                     uint64_t now_ms, struct account **account, size_t *index,
                                     uint64_t *retry_at_ms)
{
    shared_enter(pool->shared);
    enum lease_result result = lease(pool, wish, now_ms, account, index, retry_at_ms);
    shared_leave(pool->shared);
    return result;
}

static struct account *make_visitor(struct account_pool *pool, const struct site_config *site,
                                    struct span key)
{
    /* The name tells visitors apart, for the log and the pools of connections, and nothing of the
     * key. */
    unsigned char hash[32];
    char name[32];
    config_hash_key(key, hash);
    snprintf(name, sizeof name, "visitor-%02x%02x%02x%02x%02x%02x", hash[0], hash[1], hash[2],
             hash[3], hash[4], hash[5]);
    struct account *a = account_create(pool, site->settings.name, span_str(name));
    if (!a)
        return NULL;
    char *value = malloc(key.n + 1); /* not strndup: spans may hold NUL */
    if (!value) {
        account_free(a);
        return NULL;
    }
    memcpy(value, key.p, key.n);
    value[key.n] = '\0';
    a->visitor.name = SPAN("api_key");
    a->visitor.value = span_of(value, key.n);
    a->view.credentials = &a->visitor;
    a->view.n_credentials = 1;
    a->view.changed = NULL; /* nothing of a visitor is written down */
    a->in_flight = 1;
    a->requests = 1;
    a->retired = a->forgotten = true;
    return a;
}

struct account *account_pool_visitor(struct account_pool *pool, const struct site_config *site,
                                     struct span key)
{
    shared_enter(pool->shared);
    struct account *a = make_visitor(pool, site, key);
    shared_leave(pool->shared);
    return a;
}

static void release(struct account *a, uint64_t now_ms)
{
    assert(a->magic == ACCOUNT_MAGIC && a->in_flight > 0);
    a->in_flight--;
    if (a->retired) { /* no queue waits for it */
        settle_retired(a);
        return;
    }
    struct pool_site *s = find_site(a->pool, span_str(a->site));
    if (s)
        wake_while_free(a->pool, s, now_ms);
}

void account_release(struct account *a, uint64_t now_ms)
{
    struct shared *shared = a->pool->shared;
    shared_enter(shared);
    release(a, now_ms);
    shared_leave(shared);
}

bool account_pool_take(struct account_pool *pool, struct waiter *w, const struct lease_wish *wish,
                       uint64_t now_ms)
{
    struct account *account;
    size_t index;
    uint64_t retry_at_ms;
    enum lease_result result = lease(pool, wish, now_ms, &account, &index, &retry_at_ms);
    if (result == LEASE_OK)
        w->given = account;
    else if (result == LEASE_BUSY && retry_at_ms != UINT64_MAX && pool->hooks.wake_at)
        pool->hooks.wake_at(pool->hooks.owner, retry_at_ms);
    return result != LEASE_BUSY;
}

struct account *account_pool_given(struct account_pool *pool, struct waiter *w, size_t *index)
{
    struct account *a = w->given;
    if (!a) /* nobody gives it anything while it does not wait */
        return NULL;
    shared_enter(pool->shared);
    struct pool_site *s = find_site(pool, span_str(a->site));
    *index = 0;
    while (s && *index < s->n_accounts && s->accounts[*index] != a)
        ++*index;
    w->given = NULL;
    shared_leave(pool->shared);
    return a;
}

void account_pool_unqueue(struct account_pool *pool, struct waiter *w)
{
    shared_enter(pool->shared);
    waiter_leave(w);
    shared_leave(pool->shared);
}

void account_pool_leave(struct account_pool *pool, struct waiter *w, uint64_t now_ms)
{
    shared_enter(pool->shared);
    waiter_leave(w);
    if (w->given)
        release(w->given, now_ms);
    w->given = NULL;
    shared_leave(pool->shared);
}

void account_pin(struct account *a)
{
    account_enter(a);
    assert(a->magic == ACCOUNT_MAGIC);
    a->pins++;
    account_leave(a);
}

void account_unpin(struct account *a)
{
    struct shared *shared = a->pool->shared;
    shared_enter(shared);
    assert(a->magic == ACCOUNT_MAGIC && a->pins > 0);
    a->pins--;
    settle_retired(a);
    shared_leave(shared);
}

uint64_t account_pool_earliest(struct account_pool *pool, const struct site_config *site,
                               const struct key_config *key, struct span model, uint64_t now_ms)
{
    shared_enter(pool->shared);
    struct pool_site *s = find_site(pool, site->settings.name);
    uint64_t earliest = UINT64_MAX;
    for (size_t i = 0; s && i < s->n_accounts; i++) {
        uint64_t until = account_cool_until(s->accounts[i], account_model_hash(model));
        if (until > now_ms && until < earliest && may_serve(s->accounts[i], key))
            earliest = until;
    }
    shared_leave(pool->shared);
    return earliest;
}

void account_succeeded(struct account *a, struct span model)
{
    account_enter(a);
    assert(a->magic == ACCOUNT_MAGIC);
    if (account_note_success(a, account_model_hash(model)))
        account_changed(a);
    account_leave(a);
}

void account_changed(struct account *a)
{
    account_enter(a);
    if (a->pool->hooks.changed && !a->forgotten)
        a->pool->hooks.changed(a->pool->hooks.owner, a);
    account_leave(a);
}

static unsigned next_jitter(struct account_pool *pool)
{
    pool->random ^= pool->random << 13;
    pool->random ^= pool->random >> 7;
    pool->random ^= pool->random << 17;
    return (unsigned)(pool->random >> 32) & 0xFF;
}

void account_failed(struct account *a, enum fail_kind kind, struct span model, int retry_after_s,
                    uint64_t now_ms)
{
    account_enter(a);
    assert(a->magic == ACCOUNT_MAGIC);
    const struct pool_site *s = find_site(a->pool, span_str(a->site));
    if (s)
        account_note_failure(a, kind, account_model_hash(model), retry_after_s, &s->limits,
                             next_jitter(a->pool), now_ms);
    account_leave(a);
}

struct account *account_pool_find(struct account_pool *pool, struct span site, struct span account)
{
    struct pool_site *s = find_site(pool, site);
    for (size_t i = 0; s && i < s->n_accounts; i++) {
        if (span_eq(span_str(s->accounts[i]->name), account))
            return s->accounts[i];
    }
    return NULL;
}

struct account *account_pool_find_name(struct account_pool *pool, struct span name)
{
    ptrdiff_t slash = span_find_char(name, '/');
    return slash < 0 ? NULL
                     : account_pool_find(pool, span_first(name, (size_t)slash),
                                         span_from(name, (size_t)slash + 1));
}

struct account *account_pool_recall_name(struct account_pool *pool, struct span name)
{
    ptrdiff_t slash = span_find_char(name, '/');
    return slash < 0 ? NULL
                     : account_pool_recall(pool, span_first(name, (size_t)slash),
                                           span_from(name, (size_t)slash + 1));
}

void account_pool_each(struct account_pool *pool, void (*each)(void *, struct account *),
                       void *owner)
{
    shared_enter(pool->shared);
    for (struct pool_site *s = pool->sites; s; s = s->chain) {
        for (size_t i = 0; i < s->n_accounts; i++)
            each(owner, s->accounts[i]);
    }
    shared_leave(pool->shared);
}

void account_pool_clear(struct account_pool *pool, struct account *a, uint64_t now_ms)
{
    shared_enter(pool->shared);
    struct pool_site *s = find_site(pool, span_str(a->site));
    account_forgive(a);
    account_changed(a);
    if (s)
        wake_while_free(pool, s, now_ms);
    shared_leave(pool->shared);
}

struct account *account_pool_peek(struct account_pool *pool, const struct site_config *site,
                                  uint64_t now_ms)
{
    shared_enter(pool->shared);
    struct pool_site *s = find_site(pool, site->settings.name);
    struct account *first = NULL;
    for (size_t i = 0; s && !first && i < s->n_accounts; i++) {
        if (account_state_at(s->accounts[i], now_ms) == ACCOUNT_READY)
            first = s->accounts[i];
    }
    shared_leave(pool->shared);
    return first;
}

bool account_pool_wait(struct account_pool *pool, const struct site_config *site, struct waiter *w,
                       uint64_t group, bool again, uint64_t retry_at_ms)
{
    shared_enter(pool->shared);
    struct pool_site *s = find_site(pool, site->settings.name);
    bool waits =
        s && (again || s->queue.n < s->queue_max) && fair_queue_add(&s->queue, group, w, again);
    if (waits && retry_at_ms != UINT64_MAX && pool->hooks.wake_at)
        pool->hooks.wake_at(pool->hooks.owner, retry_at_ms);
    shared_leave(pool->shared);
    return waits;
}

void account_pool_offer(struct account_pool *pool, const struct site_config *site, uint64_t now_ms)
{
    if (!pool->shared)
        return;
    shared_enter(pool->shared);
    struct pool_site *s = find_site(pool, site->settings.name);
    if (s)
        wake_while_free(pool, s, now_ms);
    shared_leave(pool->shared);
}

size_t account_pool_waiting(struct account_pool *pool, const struct site_config *site)
{
    shared_enter(pool->shared);
    const struct pool_site *s = find_site(pool, site->settings.name);
    size_t n = s ? s->queue.n : 0;
    shared_leave(pool->shared);
    return n;
}

size_t account_pool_ahead(struct account_pool *pool, const struct site_config *site,
                          const struct waiter *w)
{
    shared_enter(pool->shared);
    const struct pool_site *s = find_site(pool, site->settings.name);
    bool waits = s && w->queue && !mailbox_holds(w);
    size_t ahead = waits ? fair_queue_ahead(&s->queue, w) : 0;
    shared_leave(pool->shared);
    return ahead;
}

bool account_credential_begin(struct account *a, struct waiter *w, unsigned *awaited)
{
    account_enter(a);
    assert(a->magic == ACCOUNT_MAGIC);
    bool mine = !a->credential_step;
    if (mine) {
        a->credential_step = true;
        a->credential_steps++;
        a->credential_changes++;
    } else {
        *awaited = a->credential_steps;
        wait_queue_add(&a->credential_queue, w);
    }
    account_leave(a);
    return mine;
}

unsigned account_credential_changes(const struct account *a)
{
    account_enter(a);
    unsigned changes = a->credential_changes;
    account_leave(a);
    return changes;
}

void account_credential_failed(struct account *a, const struct fail *fail)
{
    account_enter(a);
    assert(a->magic == ACCOUNT_MAGIC && a->credential_step);
    a->failed_step = a->credential_steps;
    a->credential_fail = *fail;
    account_leave(a);
}

bool account_credential_failure(const struct account *a, unsigned awaited, struct fail *why)
{
    if (!awaited)
        return false;
    account_enter(a);
    bool failed = awaited == a->failed_step;
    if (failed)
        *why = a->credential_fail;
    account_leave(a);
    return failed;
}

void account_credential_done(struct account *a)
{
    struct shared *shared = a->pool->shared;
    shared_enter(shared);
    assert(a->magic == ACCOUNT_MAGIC && a->credential_step);
    a->credential_step = false;
    a->credential_changes++;
    /* All of them: each asks its adapter again, and the first that still needs the step takes it.
     * Whoever waits holds a lease, so the account stays. */
    wait_queue_wake_all(&a->credential_queue);
    shared_leave(shared);
}

void account_credential_saving(struct account *a)
{
    account_enter(a);
    account_pin(a);
    a->unsaved++;
    account_leave(a);
}

void account_credential_saved(struct account *a)
{
    struct shared *shared = a->pool->shared;
    shared_enter(shared);
    assert(a->magic == ACCOUNT_MAGIC && a->unsaved > 0);
    if (--a->unsaved == 0)
        wait_queue_wake_all(&a->unsaved_queue);
    account_unpin(a);
    shared_leave(shared);
}

bool account_credential_is_safe(struct account *a, struct waiter *w)
{
    account_enter(a);
    assert(a->magic == ACCOUNT_MAGIC);
    bool safe = !a->unsaved;
    if (!safe)
        wait_queue_add(&a->unsaved_queue, w);
    account_leave(a);
    return safe;
}
