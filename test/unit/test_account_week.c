/*
 * test/unit/test_account_week.c - a simulated week: five accounts, two keys that always want more,
 * forty thousand requests, limits and refusals at random. Time is a number here; nothing waits.
 *
 * What must hold, by books of our own: nobody who rests is asked, for a model or as a whole; the
 * pace and the number of requests at once are kept; both keys get the same share within 5 %; nobody
 * waits for ever.
 */
#include "gateway/account_pool.h"

#include <stdio.h>
#include <stdlib.h>

#include "test/unit/support/cmocka_all.h"

enum {
    ACCOUNTS = 5,
    MODELS = 3,
    CLIENTS = 100, /* of each key: they ask again as soon as they are answered */
    REQUESTS = 40000,
    PER_HOUR = 80,
    MIN_GAP_MS = 3000,
    EVENTS_MAX = 4096
};

static const char *const text =
    "[[sites]]\nname = \"s\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"
    "max_concurrent = 1\nmin_gap = \"3s\"\nper_hour = 80\nlimits = \"model\"\nqueue_max = 1000\n"
    "[[sites.accounts]]\nname = \"0\"\napi_key = \"k\"\n[[sites.accounts]]\nname = \"1\"\napi_key "
    "= "
    "\"k\"\n[[sites.accounts]]\nname = \"2\"\napi_key = \"k\"\n[[sites.accounts]]\nname = \"3\"\n"
    "api_key = \"k\"\n[[sites.accounts]]\nname = \"4\"\napi_key = \"k\"\n";

struct client {
    struct waiter waiter; /* first */
    struct week *week;
    int key, model;
    bool again;
    struct account *account;
    uint64_t since_ms;
};

struct event {
    uint64_t at;
    struct client *client; /* NULL = the pool's own time */
};

/* What we know of an account without asking the pool. */
struct book {
    bool busy;
    uint64_t rests_until[MODELS], last_start, starts[PER_HOUR];
    size_t n_starts;
};

struct week {
    struct account_pool *pool;
    struct config *config;
    uint64_t now, random;
    struct event events[EVENTS_MAX]; /* a heap */
    size_t n_events;
    struct client clients[2][CLIENTS];
    struct book books[ACCOUNTS];
    int served[2], total, limits, refusals;
    uint64_t longest_wait_ms;
};

static unsigned chance(struct week *w, unsigned n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (unsigned)(w->random >> 33) % n;
}

static void schedule(struct week *w, uint64_t at, struct client *client)
{
    assert_true(w->n_events < EVENTS_MAX);
    size_t i = w->n_events++;
    while (i && w->events[(i - 1) / 2].at > at) {
        w->events[i] = w->events[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->events[i] = (struct event){at, client};
}

static struct event next_event(struct week *w)
{
    struct event top = w->events[0], moved = w->events[--w->n_events];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->n_events; i = child) {
        if (child + 1 < w->n_events && w->events[child + 1].at < w->events[child].at)
            child++;
        if (w->events[child].at >= moved.at)
            break;
        w->events[i] = w->events[child];
    }
    w->events[i] = moved;
    return top;
}

static void on_wake_at(void *owner, uint64_t at_ms) { schedule(owner, at_ms, NULL); }

/* The account was chosen: may it be? */
static void check_start(struct week *w, struct client *c)
{
    struct book *b = &w->books[c->account->name[0] - '0'];
    assert_false(b->busy);
    assert_true(w->now >= b->rests_until[c->model]);
    assert_true(!b->n_starts || w->now >= b->last_start + MIN_GAP_MS);
    uint64_t *slot = &b->starts[b->n_starts++ % PER_HOUR];
    assert_true(b->n_starts <= PER_HOUR || w->now >= *slot + 3600000);
    *slot = b->last_start = w->now;
    b->busy = true;
    if (w->now - c->since_ms > w->longest_wait_ms)
        w->longest_wait_ms = w->now - c->since_ms;
}

static void ask(struct client *c)
{
    static const struct span models[MODELS] = {SPAN_INIT("a"), SPAN_INIT("b"), SPAN_INIT("c")};
    struct week *w = c->week;
    size_t index;
    uint64_t retry_at;
    const struct lease_wish wish = {.site = &w->config->sites[0], .model = models[c->model]};
    switch (account_pool_lease(w->pool, &wish, w->now, &c->account, &index, &retry_at)) {
    case LEASE_OK:
        c->again = false;
        check_start(w, c);
        schedule(w, w->now + 5000 + chance(w, 60000), c);
        return;
    case LEASE_BUSY:
        assert_true(account_pool_wait(w->pool, wish.site, &c->waiter, (uint64_t)c->key, c->again,
                                      retry_at));
        c->again = true;
        return;
    case LEASE_COOLING: /* told to come back, and it does */
        assert_true(retry_at > w->now && retry_at != UINT64_MAX);
        c->again = false;
        schedule(w, retry_at, c);
        return;
    case LEASE_NONE: fail_msg("no account for a request that tried none");
    }
}

static void on_wake(struct waiter *waiter) { ask((struct client *)waiter); }

static void answer(struct client *c)
{
    struct week *w = c->week;
    static const struct span models[MODELS] = {SPAN_INIT("a"), SPAN_INIT("b"), SPAN_INIT("c")};
    struct account *a = c->account;
    struct book *b = &w->books[a->name[0] - '0'];
    unsigned luck = chance(w, 100);
    if (luck < 3) {
        int s = chance(w, 3) ? (int)chance(w, 1200) + 1 : 0;
        uint64_t until = w->now + (s ? (uint64_t)s * 1000 : 60000); /* at least */
        account_failed(a, FAIL_RATE_LIMITED, models[c->model], s, w->now);
        if (until > b->rests_until[c->model])
            b->rests_until[c->model] = until;
        w->limits++;
    } else if (luck < 5) {
        account_failed(a, chance(w, 2) ? FAIL_CREDENTIAL : FAIL_CHALLENGE, models[c->model], 0,
                       w->now);
        w->refusals++;
    } else if (luck < 10) {
        account_failed(a, FAIL_UNAVAILABLE, models[c->model], 0, w->now);
    } else {
        account_succeeded(a, models[c->model]);
    }
    b->busy = false;
    w->served[c->key]++;
    w->total++;
    c->account = NULL;
    c->model = (int)chance(w, MODELS);
    c->since_ms = w->now;
    account_release(a, w->now);
    ask(c);
}

static void a_week(void **state)
{
    struct week *w = calloc(1, sizeof *w);
    assert_non_null(w);
    struct buffer errors;
    const struct account_pool_hooks hooks = {.wake_at = on_wake_at, .owner = w};
    buffer_init(&errors, 1 << 16);
    w->config = config_parse(span_str(text), "t.toml", &errors);
    assert_non_null(w->config);
    buffer_free(&errors);
    w->random = 42;
    w->pool = account_pool_create(&hooks, 7);
    assert_non_null(w->pool);
    assert_int_equal(account_pool_configure(w->pool, w->config, 0), 0);
    for (int key = 0; key < 2; key++) {
        for (int i = 0; i < CLIENTS; i++) {
            struct client *c = &w->clients[key][i];
            *c =
                (struct client){.waiter = {.wake = on_wake}, .week = w, .key = key, .model = i % 3};
            schedule(w, (uint64_t)i, c);
        }
    }
    while (w->total < REQUESTS) {
        assert_true(w->n_events > 0); /* somebody always has something to wait for */
        struct event e = next_event(w);
        w->now = e.at;
        if (!e.client)
            account_pool_tick(w->pool, w->now);
        else if (e.client->account)
            answer(e.client);
        else
            ask(e.client);
    }
    printf(
        "# a week of %.1f days: %d requests, %d limits, %d refusals; keys %d and %d; longest wait "
        "%.1f h\n",
        (double)w->now / 86400000, w->total, w->limits, w->refusals, w->served[0], w->served[1],
        (double)w->longest_wait_ms / 3600000);
    assert_true(w->now > 6 * UINT64_C(86400000));
    assert_true(w->limits > 800 && w->refusals > 500);
    assert_in_range(w->served[0], REQUESTS * 475 / 1000, REQUESTS * 525 / 1000);
    assert_true(w->longest_wait_ms < 6 * 3600000);
    for (int i = 0; i < 2 * CLIENTS; i++) /* first all of them: a release wakes others */
        waiter_leave(&w->clients[i / CLIENTS][i % CLIENTS].waiter);
    for (int i = 0; i < 2 * CLIENTS; i++) {
        struct client *c = &w->clients[i / CLIENTS][i % CLIENTS];
        if (c->account)
            account_release(c->account, w->now);
    }
    account_pool_destroy(w->pool);
    config_unref(w->config);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_week)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
