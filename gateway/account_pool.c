/*
 * gateway/account_pool.c - see account_pool.h.
 *
 * A site here is a named list of accounts with a round-robin position and a queue of those who
 * wait. The hard part is retirement: an account that left the config lives on until its last lease
 * ends.
 */
#include "gateway/account_pool.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { ACCOUNT_MAGIC = 0x41434354, DEFAULT_COOL_DOWN_S = 60 };

struct pool_site {
    char *name;
    struct account **accounts; /* in the config's order */
    size_t n_accounts;
    size_t next; /* round robin */
    struct wait_queue queue;
    bool live; /* in the current config */
    struct pool_site *chain;
};

struct account_pool {
    struct config *config;
    struct pool_site *sites;
    void (*saved)(void *, const char *, const char *, const char *, const char *, int64_t);
    void *saved_owner;
};

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
    if (a->pool->saved)
        a->pool->saved(a->pool->saved_owner, a->site, a->name, name, value, expires_ms);
}

static void account_free(struct account *a)
{
    if (!a)
        return;
    assert(!a->credential_queue.first);
    account_clear(&a->view);
    if (a->visitor.value.p) {
        explicit_bzero((char *)(uintptr_t)a->visitor.value.p, a->visitor.value.n);
        free((char *)(uintptr_t)a->visitor.value.p);
    }
    free(a->site);
    free(a->name);
    a->magic = 0;
    free(a);
}

static struct account *account_create(struct account_pool *pool, struct span site, struct span name)
{
    struct account *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->magic = ACCOUNT_MAGIC;
    a->pool = pool;
    a->site = strndup(site.p, site.n);
    a->name = strndup(name.p, name.n);
    a->view.changed = held_changed;
    a->view.owner = a;
    if (!a->site || !a->name) {
        account_free(a);
        return NULL;
    }
    a->view.name = span_str(a->name);
    return a;
}

/* FNV-1a over names and values: only to notice that somebody edited the file. */
static uint64_t credentials_hash(const struct account_config *c)
{
    uint64_t h = 14695981039346656037ull ^ (c->guest ? 1 : 0);
    for (size_t i = 0; i < c->n_credentials; i++) {
        struct span parts[2] = {c->credentials[i].name, c->credentials[i].value};
        for (size_t k = 0; k < 2; k++) {
            for (size_t j = 0; j < parts[k].n; j++)
                h = (h ^ (unsigned char)parts[k].p[j]) * 1099511628211ull;
            h = (h ^ 0xFF) * 1099511628211ull;
        }
    }
    return h;
}

static void account_configure(struct account *a, const struct account_config *c,
                              const struct site_config *site)
{
    uint64_t hash = credentials_hash(c);
    if (a->credentials_hash && a->credentials_hash != hash) {
        while (a->view.held)
            account_drop(&a->view, a->view.held->name);
        a->state = ACCOUNT_READY;
    }
    a->credentials_hash = hash;
    a->view.guest = c->guest;
    a->view.credentials = c->credentials;
    a->view.n_credentials = c->n_credentials;
    a->max_concurrent = site->max_concurrent;
    a->retired = false;
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

static void free_if_unused(struct account *a)
{
    if (a->retired && a->in_flight == 0 && a->pins == 0 && !a->credential_step)
        account_free(a);
}

static void retire(struct account *a)
{
    static const struct credential none;
    a->retired = true;
    a->view.credentials = &none; /* the config that held them may go */
    a->view.n_credentials = 0;
    free_if_unused(a);
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

static int configure_site(struct account_pool *pool, const struct site_config *site)
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
            a = account_create(pool, site->settings.name, site->accounts[i].name);
        if (!a) {
            result = -1;
            continue;
        }
        account_configure(a, &site->accounts[i], site);
        accounts[n++] = a;
    }
    for (size_t i = 0; i < s->n_accounts; i++) {
        if (s->accounts[i])
            retire(s->accounts[i]);
    }
    free(s->accounts);
    s->accounts = accounts;
    s->n_accounts = n;
    s->live = true;
    return result;
}

/* Would a lease have to wait? (Accounts that rest do not count: waiting for them is not offered.)
 */
static bool all_busy(const struct pool_site *s)
{
    bool any = false;
    for (size_t i = 0; i < s->n_accounts; i++) {
        const struct account *a = s->accounts[i];
        if (a->state == ACCOUNT_COOLING)
            continue;
        if (!a->max_concurrent || a->in_flight < a->max_concurrent)
            return false;
        any = true;
    }
    return any;
}

/* One who is woken may leave without a lease (all accounts rest now): go on until somebody has
 * taken the place. */
static void wake_while_free(struct pool_site *s)
{
    for (size_t n = s->queue.n; n && s->queue.first && !all_busy(s); n--)
        wait_queue_wake_first(&s->queue);
}

int account_pool_configure(struct account_pool *pool, struct config *config)
{
    int result = 0;
    struct config *old = pool->config;
    pool->config = config_ref(config);
    for (struct pool_site *s = pool->sites; s; s = s->chain)
        s->live = false;
    for (size_t i = 0; i < config->n_sites; i++) {
        if (configure_site(pool, &config->sites[i]))
            result = -1;
    }
    for (struct pool_site *s = pool->sites; s; s = s->chain) {
        if (s->live) {
            wake_while_free(s); /* for a new account or a higher limit */
            continue;
        }
        for (size_t i = 0; i < s->n_accounts; i++)
            retire(s->accounts[i]);
        s->n_accounts = 0;
        wait_queue_wake_all(&s->queue); /* they find no account and move on */
    }
    if (old)
        config_unref(old);
    return result;
}

struct account_pool *account_pool_create(void (*saved)(void *, const char *, const char *,
                                                       const char *, const char *, int64_t),
                                         void *owner)
{
    struct account_pool *pool = calloc(1, sizeof *pool);
    if (pool) {
        pool->saved = saved;
        pool->saved_owner = owner;
    }
    return pool;
}

void account_pool_destroy(struct account_pool *pool)
{
    if (!pool)
        return;
    while (pool->sites) {
        struct pool_site *s = pool->sites;
        pool->sites = s->chain;
        assert(!s->queue.first);
        for (size_t i = 0; i < s->n_accounts; i++)
            account_free(s->accounts[i]);
        free(s->accounts);
        free(s->name);
        free(s);
    }
    if (pool->config)
        config_unref(pool->config);
    free(pool);
}

void account_pool_restore(struct account_pool *pool, const char *site, const char *account,
                          const char *name, const char *value, int64_t expires_ms)
{
    struct pool_site *s = find_site(pool, span_str(site));
    for (size_t i = 0; s && i < s->n_accounts; i++) {
        struct site_account *view = &s->accounts[i]->view;
        if (strcmp(s->accounts[i]->name, account) != 0)
            continue;
        view->changed = NULL; /* it comes from the store: no need to write it back */
        account_hold(view, name, span_str(value), expires_ms);
        view->changed = held_changed;
    }
}

/* ---- leases ---- */

static void refresh_state(struct account *a, uint64_t now_ms)
{
    if (a->state == ACCOUNT_COOLING && a->until_ms <= now_ms)
        a->state = ACCOUNT_READY;
}

static bool was_tried(uint64_t tried, size_t index) { return (tried >> (index % 64)) & 1; }

static bool may_serve(const struct account *a, const struct key_config *key)
{
    return config_key_takes_account(key, span_str(a->site), span_str(a->name));
}

enum lease_result account_pool_lease(struct account_pool *pool, const struct site_config *site,
                                     const struct key_config *key, uint64_t tried, uint64_t now_ms,
                                     struct account **account, size_t *index, uint64_t *retry_at_ms)
{
    struct pool_site *s = find_site(pool, site->settings.name);
    bool busy = false;
    *retry_at_ms = UINT64_MAX;
    /* First the ready ones; expired and challenged accounts only when no ready one is left. */
    for (int last_resort = 0; s && last_resort < 2 && !busy; last_resort++) {
        for (size_t k = 0; k < s->n_accounts; k++) {
            size_t i = (s->next + k) % s->n_accounts;
            struct account *a = s->accounts[i];
            refresh_state(a, now_ms);
            if (was_tried(tried, i) || !may_serve(a, key))
                continue;
            if (a->state == ACCOUNT_COOLING) {
                if (a->until_ms < *retry_at_ms)
                    *retry_at_ms = a->until_ms;
                continue;
            }
            if ((a->state != ACCOUNT_READY) != last_resort)
                continue;
            if (a->max_concurrent && a->in_flight >= a->max_concurrent) {
                busy = true;
                continue;
            }
            a->in_flight++;
            s->next = (i + 1) % s->n_accounts;
            *account = a;
            *index = i;
            return LEASE_OK;
        }
    }
    if (busy)
        return LEASE_BUSY;
    return *retry_at_ms != UINT64_MAX ? LEASE_COOLING : LEASE_NONE;
}

struct account *account_pool_visitor(struct account_pool *pool, const struct site_config *site,
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
    a->retired = true;
    return a;
}

void account_release(struct account *a)
{
    assert(a->magic == ACCOUNT_MAGIC && a->in_flight > 0);
    a->in_flight--;
    if (a->retired) {
        free_if_unused(a);
        return;
    }
    struct pool_site *s = find_site(a->pool, span_str(a->site));
    if (s)
        wake_while_free(s);
}

void account_pin(struct account *a)
{
    assert(a->magic == ACCOUNT_MAGIC);
    a->pins++;
}

void account_unpin(struct account *a)
{
    assert(a->magic == ACCOUNT_MAGIC && a->pins > 0);
    a->pins--;
    free_if_unused(a);
}

uint64_t account_pool_earliest(struct account_pool *pool, const struct site_config *site,
                               const struct key_config *key, uint64_t now_ms)
{
    struct pool_site *s = find_site(pool, site->settings.name);
    uint64_t earliest = UINT64_MAX;
    for (size_t i = 0; s && i < s->n_accounts; i++) {
        refresh_state(s->accounts[i], now_ms);
        if (s->accounts[i]->state == ACCOUNT_COOLING && s->accounts[i]->until_ms < earliest &&
            may_serve(s->accounts[i], key))
            earliest = s->accounts[i]->until_ms;
    }
    return earliest;
}

void account_succeeded(struct account *a)
{
    assert(a->magic == ACCOUNT_MAGIC);
    if (a->state != ACCOUNT_COOLING)
        a->state = ACCOUNT_READY;
}

void account_failed(struct account *a, enum fail_kind kind, int retry_after_s, uint64_t now_ms)
{
    assert(a->magic == ACCOUNT_MAGIC);
    refresh_state(a, now_ms);
    if (kind == FAIL_CREDENTIAL || kind == FAIL_CHALLENGE) {
        /* While it cools (another request met the limit meanwhile), nobody asks it before the time;
         * then it is found out again. */
        if (a->state != ACCOUNT_COOLING)
            a->state = kind == FAIL_CREDENTIAL ? ACCOUNT_EXPIRED : ACCOUNT_CHALLENGED;
    } else if (kind == FAIL_RATE_LIMITED) {
        int64_t wait_s = retry_after_s > 0 ? retry_after_s : DEFAULT_COOL_DOWN_S;
        uint64_t until = now_ms + (uint64_t)wait_s * 1000;
        if (a->state != ACCOUNT_COOLING || until > a->until_ms)
            a->until_ms = until;
        a->state = ACCOUNT_COOLING;
    }
}

struct account *account_pool_peek(struct account_pool *pool, const struct site_config *site)
{
    struct pool_site *s = find_site(pool, site->settings.name);
    for (size_t i = 0; s && i < s->n_accounts; i++) {
        if (s->accounts[i]->state == ACCOUNT_READY)
            return s->accounts[i];
    }
    return NULL;
}

bool account_pool_wait(struct account_pool *pool, const struct site_config *site, struct waiter *w)
{
    struct pool_site *s = find_site(pool, site->settings.name);
    if (!s || s->queue.n >= ACCOUNT_QUEUE_MAX)
        return false;
    wait_queue_add(&s->queue, w);
    return true;
}

bool account_credential_begin(struct account *a, struct waiter *w)
{
    assert(a->magic == ACCOUNT_MAGIC);
    if (a->credential_step) {
        wait_queue_add(&a->credential_queue, w);
        return false;
    }
    a->credential_step = true;
    return true;
}

void account_credential_done(struct account *a)
{
    assert(a->magic == ACCOUNT_MAGIC && a->credential_step);
    a->credential_step = false;
    /* All of them: each asks its adapter again, and the first that still needs the step takes it.
     * Whoever waits holds a lease, so the account stays. */
    wait_queue_wake_all(&a->credential_queue);
}

const char *account_state_name(enum account_state state)
{
    static const char *const names[] = {"ready", "cooling", "expired", "challenged"};
    return names[state];
}
