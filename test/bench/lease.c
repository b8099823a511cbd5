/*
 * test/bench/lease.c - what an account costs a request: a lease and its release, with a few
 * accounts and with many, each strategy; and what a request costs while it waits. `make bench` runs
 * it.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gateway/account_pool.h"
#include "gateway/exchange_internal.h"
#include "gateway/http_server_internal.h"

enum { ROUNDS = 1000000, WAITERS = 100000, KEYS = 100, SETTLE = 1000 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct config *make_config(const char *strategy, int accounts)
{
    struct buffer text, errors;
    buffer_init(&text, 1 << 20);
    buffer_init(&errors, 1 << 16);
    buffer_printf(&text,
                  "[[sites]]\nname = 's'\nadapter = 'openai'\nbase_url = 'http://127.0.0.1:9/v1'\n"
                  "max_concurrent = 1\nqueue_max = 1000000\nstrategy = '%s'\n",
                  strategy);
    for (int i = 0; i < accounts; i++)
        buffer_printf(&text, "[[sites.accounts]]\nname = 'a%d'\napi_key = 'k%d'\n", i, i);
    struct config *config = config_parse(buffer_span(&text), "bench.toml", &errors);
    if (!config) {
        fprintf(stderr, "%.*s", SPAN_ARGS(buffer_span(&errors)));
        exit(1);
    }
    buffer_free(&text);
    buffer_free(&errors);
    return config;
}

static struct account_pool *make_pool(struct config *config)
{
    const struct account_pool_hooks hooks = {0};
    struct account_pool *pool = account_pool_create(&hooks, 1);
    if (!pool || account_pool_configure(pool, config, 0))
        abort();
    return pool;
}

static void lease_and_release(const char *strategy, int accounts)
{
    struct config *config = make_config(strategy, accounts);
    struct account_pool *pool = make_pool(config);
    struct lease_wish wish = {.site = &config->sites[0], .model = SPAN("gpt-test")};
    double begun = 0;
    for (int i = -SETTLE; i < ROUNDS; i++) {
        struct account *a;
        size_t index;
        uint64_t retry_at;
        if (i == 0)
            begun = now_ns();
        wish.conversation = (uint64_t)(i + SETTLE) * 0x9E3779B97F4A7C15u;
        if (account_pool_lease(pool, &wish, 1000 + (uint64_t)i, &a, &index, &retry_at) != LEASE_OK)
            abort();
        account_release(a, 1000 + (uint64_t)i);
    }
    printf("lease and release, %-11s %3d accounts: %6.0f ns\n", strategy, accounts,
           (now_ns() - begun) / ROUNDS);
    account_pool_destroy(pool);
    config_unref(config);
}

static size_t woken;
static void on_wake(struct waiter *w) { woken++; }

static size_t heap(void) { return mallinfo2().uordblks + mallinfo2().hblkhd; }

/* All wait in one queue, in groups as of KEYS client keys, and are woken at the end. */
static void wait_in_the_queue(void)
{
    struct config *config = make_config("round_robin", 1);
    struct account_pool *pool = make_pool(config);
    struct lease_wish wish = {.site = &config->sites[0], .model = SPAN("gpt-test")};
    struct waiter *waiters = calloc(WAITERS, sizeof *waiters);
    struct account *a;
    size_t index;
    uint64_t retry_at;
    if (!waiters || account_pool_lease(pool, &wish, 0, &a, &index, &retry_at) != LEASE_OK)
        abort();
    size_t before = heap();
    double begun = now_ns();
    for (size_t i = 0; i < WAITERS; i++) {
        waiters[i].wake = on_wake;
        if (!account_pool_wait(pool, wish.site, &waiters[i], i % KEYS, false, UINT64_MAX))
            abort();
    }
    double queued = now_ns();
    size_t after = heap();
    account_release(a, 1000);
    double over = now_ns();
    if (woken != WAITERS)
        abort();
    printf("%d waiters of %d keys: %.0f ns each to queue, %.0f ns to wake; the queue itself holds "
           "%.1f KiB\n",
           WAITERS, KEYS, (queued - begun) / WAITERS, (over - queued) / WAITERS,
           (double)(after - before) / 1024);
    printf(
        "a request that waits: struct http_connection %zu bytes, http_exchange %zu, exchange %zu; "
        "in its arena struct branch %zu (of them the place in the queue: struct waiter %zu), turn "
        "%zu, each message %zu; with an account struct branch_work %zu more\n",
        sizeof(struct http_connection), sizeof(struct http_exchange), sizeof(struct exchange),
        sizeof(struct branch), sizeof(struct waiter), sizeof(struct turn),
        sizeof(struct message) + sizeof(struct part), sizeof(struct branch_work));
    free(waiters);
    account_pool_destroy(pool);
    config_unref(config);
}

int main(void)
{
    static const char *const strategies[] = {"round_robin", "least_busy", "fill_first"};
    for (size_t i = 0; i < 3; i++) {
        lease_and_release(strategies[i], 5);
        lease_and_release(strategies[i], 100);
    }
    wait_in_the_queue();
    return 0;
}
