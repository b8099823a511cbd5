/*
 * test/unit/test_account_pool.c - who is asked, who rests, who waits (design §1); and the queue
 * they wait in.
 */
#include "gateway/account_pool.h"
#include "test/unit/support/cmocka_all.h"

#define SITE(more, accounts)                                                                       \
    "[[sites]]\nname = \"s\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n" more   \
    "\n" accounts
#define ACCOUNT(name, key) "[[sites.accounts]]\nname = \"" name "\"\napi_key = \"" key "\"\n"
#define THREE              ACCOUNT("a", "k1") ACCOUNT("b", "k2") ACCOUNT("c", "k3")

struct bench {
    struct account_pool *pool;
    struct config *config;
    char saved[200];
    uint64_t wake_at; /* 0 = nobody waits for a time */
};

static void on_saved(void *owner, struct account *a, const char *name, const char *value,
                     int64_t expires_ms)
{
    struct bench *b = owner;
    snprintf(b->saved, sizeof b->saved, "%s/%s %s=%s until %lld", a->site, a->name, name,
             value ? value : "(none)", (long long)expires_ms);
}

static void on_wake_at(void *owner, uint64_t at_ms)
{
    struct bench *b = owner;
    if (!b->wake_at || at_ms < b->wake_at)
        b->wake_at = at_ms;
}

static void configure(struct bench *b, const char *text)
{
    struct buffer errors;
    struct config *old = b->config;
    buffer_init(&errors, 1 << 16);
    b->config = config_parse(span_str(text), "t.toml", &errors);
    if (!b->config)
        fail_msg("%.*s", SPAN_ARGS(buffer_span(&errors)));
    buffer_free(&errors);
    assert_int_equal(account_pool_configure(b->pool, b->config, 0), 0);
    if (old)
        config_unref(old);
}

static struct bench *start(const char *text)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->pool = account_pool_create(
        &(struct account_pool_hooks){.saved = on_saved, .wake_at = on_wake_at, .owner = b}, 1);
    assert_non_null(b->pool);
    configure(b, text);
    return b;
}

static void stop(struct bench *b)
{
    account_pool_destroy(b->pool);
    config_unref(b->config);
    free(b);
}

static const struct site_config *site(const struct bench *b) { return &b->config->sites[0]; }

/* The name of the account that is leased, NULL when none is. */
static struct account *lease(struct bench *b, uint64_t *tried, uint64_t now,
                             enum lease_result wanted)
{
    struct account *a = NULL;
    size_t index = 99;
    uint64_t at = 0;
    enum lease_result r = account_pool_lease(
        b->pool, &(struct lease_wish){.site = site(b), .tried = *tried}, now, &a, &index, &at);
    assert_int_equal(r, wanted);
    if (r != LEASE_OK)
        return NULL;
    assert_true(index < 3);
    *tried |= UINT64_C(1) << index;
    return a;
}

static void expect(struct bench *b, uint64_t now, const char *name)
{
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, now, LEASE_OK);
    assert_string_equal(a->name, name);
    account_release(a, 0);
}

static void accounts_take_turns(void **state)
{
    struct bench *b = start(SITE("", THREE));
    for (int i = 0; i < 3; i++) {
        expect(b, 0, "a");
        expect(b, 0, "b");
        expect(b, 0, "c");
    }
    uint64_t tried = 0;
    struct account *held[3];
    for (int i = 0; i < 3; i++)
        held[i] = lease(b, &tried, 0, LEASE_OK);
    lease(b, &tried, 0, LEASE_NONE);
    for (int i = 0; i < 3; i++)
        account_release(held[i], 0);
    stop(b);
}

static void who_cools_is_not_asked(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1") ACCOUNT("b", "k2")));
    uint64_t tried = 0, at = 0;
    struct account *a = lease(b, &tried, 1000, LEASE_OK), *c;
    size_t index;
    account_failed(a, FAIL_RATE_LIMITED, SPAN(""), 5, 1000);
    account_release(a, 0);
    assert_int_equal(account_cool_until(a, account_model_hash(SPAN(""))), 6000);
    assert_int_equal(account_pool_earliest(b->pool, site(b), NULL, SPAN(""), 1000), 6000);
    expect(b, 1500, "b");
    expect(b, 1500, "b");
    c = lease(b, &tried, 1500, LEASE_OK);
    account_failed(c, FAIL_RATE_LIMITED, SPAN(""), 0,
                   1500); /* nothing told: 60 s, and up to a fifth more */
    account_release(c, 0);
    assert_int_equal(account_pool_lease(b->pool, &(struct lease_wish){.site = site(b), .tried = 0},
                                        5999, &c, &index, &at),
                     LEASE_COOLING);
    assert_int_equal(at, 6000);
    expect(b, 6000, "a");
    assert_int_equal(account_pool_lease(b->pool, &(struct lease_wish){.site = site(b), .tried = 1},
                                        61499, &c, &index, &at),
                     LEASE_COOLING);
    assert_in_range(at, 61500, 73500);
    expect(b, at, "b");
    stop(b);
}

static void a_key_is_tied_to_accounts(void **state)
{
    struct bench *b =
        start(SITE("max_concurrent = 1", THREE) "[[keys]]\nkey = \"k\"\naccounts = [\"s/b\"]\n");
    const struct key_config *key = &b->config->keys[0];
    struct account *a, *other;
    size_t index;
    uint64_t at;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(account_pool_lease(
                             b->pool, &(struct lease_wish){.site = site(b), .key = key, .tried = 0},
                             0, &a, &index, &at),
                         LEASE_OK);
        assert_string_equal(a->name, "b");
        assert_int_equal(index, 1);
        account_release(a, 0);
    }
    assert_int_equal(
        account_pool_lease(b->pool, &(struct lease_wish){.site = site(b), .key = key, .tried = 0},
                           0, &a, &index, &at),
        LEASE_OK);
    assert_int_equal(
        account_pool_lease(b->pool, &(struct lease_wish){.site = site(b), .key = key, .tried = 0},
                           0, &other, &index, &at),
        LEASE_BUSY); /* though two others are free */
    account_failed(a, FAIL_RATE_LIMITED, SPAN(""), 5, 0);
    account_release(a, 0);
    assert_int_equal(
        account_pool_lease(b->pool, &(struct lease_wish){.site = site(b), .key = key, .tried = 0},
                           0, &a, &index, &at),
        LEASE_COOLING);
    assert_int_equal(at, 5000);
    assert_int_equal(
        account_pool_lease(b->pool, &(struct lease_wish){.site = site(b), .key = NULL, .tried = 0},
                           0, &a, &index, &at),
        LEASE_OK);
    account_failed(a, FAIL_RATE_LIMITED, SPAN(""), 2, 0);
    account_release(a, 0);
    assert_int_equal(account_pool_earliest(b->pool, site(b), NULL, SPAN(""), 0), 2000);
    assert_int_equal(account_pool_earliest(b->pool, site(b), key, SPAN(""), 0), 5000);
    assert_int_equal(
        account_pool_lease(b->pool, &(struct lease_wish){.site = site(b), .key = key, .tried = 2},
                           5000, &a, &index, &at),
        LEASE_NONE); /* tried */
    stop(b);
}

static void the_expired_come_last(void **state)
{
    struct bench *b = start(SITE("", THREE));
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK), *second = lease(b, &tried, 0, LEASE_OK);
    account_failed(a, FAIL_CREDENTIAL, SPAN(""), 0, 0);
    account_failed(second, FAIL_CHALLENGE, SPAN(""), 0, 0);
    account_release(a, 0);
    account_release(second, 0);
    assert_string_equal(account_state_name(a->state), "expired");
    assert_string_equal(account_state_name(second->state), "challenged");
    for (int i = 0; i < 4; i++)
        expect(b, 0, "c");
    tried = 0;
    struct account *c = lease(b, &tried, 0, LEASE_OK); /* then, and only then, the others */
    assert_string_equal(c->name, "c");
    struct account *again = lease(b, &tried, 0, LEASE_OK);
    assert_true(again == a || again == second);
    account_succeeded(again, SPAN(""));
    assert_int_equal(again->state, ACCOUNT_READY);
    account_release(again, 0);
    account_release(c, 0);
    stop(b);
}

static void other_failures_leave_an_account_ready(void **state)
{
    static const enum fail_kind kinds[] = {FAIL_UNAVAILABLE, FAIL_OVERLOADED, FAIL_CUT,
                                           FAIL_EMPTY,       FAIL_TIMEOUT,    FAIL_BAD_REQUEST,
                                           FAIL_UNREACHABLE};
    struct bench *b = start(SITE("", ACCOUNT("a", "k")));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t tried = 0;
        struct account *a = lease(b, &tried, 0, LEASE_OK);
        account_failed(a, kinds[i], SPAN(""), 9, 0);
        assert_int_equal(a->state, ACCOUNT_READY);
        account_release(a, 0);
    }
    stop(b);
}

struct one {
    struct waiter waiter;
    int woken;
};
static void on_wake(struct waiter *w) { ((struct one *)w)->woken++; }

/* Takes the account as soon as it is woken, as an exchange does. */
struct taker {
    struct one one;
    struct bench *bench;
    struct account *got;
};

static void on_wake_take(struct waiter *w)
{
    struct taker *t = (struct taker *)w;
    uint64_t tried = 0;
    t->one.woken++;
    t->got = lease(t->bench, &tried, 0, LEASE_OK);
}

static void busy_accounts_are_waited_for(void **state)
{
    struct bench *b = start(SITE("max_concurrent = 1", ACCOUNT("a", "k")));
    struct taker takers[2] = {{.one.waiter.wake = on_wake_take, .bench = b},
                              {.one.waiter.wake = on_wake_take, .bench = b}};
    struct one leaves = {.waiter = {.wake = on_wake}};
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    tried = 0;
    lease(b, &tried, 0, LEASE_BUSY);
    assert_true(account_pool_wait(b->pool, site(b), &takers[0].one.waiter, 0, false, UINT64_MAX));
    assert_true(account_pool_wait(b->pool, site(b), &leaves.waiter, 0, false, UINT64_MAX));
    assert_true(account_pool_wait(b->pool, site(b), &takers[1].one.waiter, 0, false, UINT64_MAX));
    account_release(a, 0);
    assert_ptr_equal(takers[0].got, a);
    assert_int_equal(leaves.woken, 0);
    account_release(a, 0); /* one who is woken and takes nothing does not keep the next from it */
    assert_int_equal(leaves.woken, 1);
    assert_ptr_equal(takers[1].got, a);
    assert_int_equal(takers[0].one.woken + takers[1].one.woken, 2);
    account_release(a, 0);
    stop(b);
}

static void a_reload_keeps_what_is_known(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1") ACCOUNT("b", "k2")));
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK), *second = lease(b, &tried, 0, LEASE_OK);
    account_failed(a, FAIL_RATE_LIMITED, SPAN(""), 100, 0);
    account_failed(second, FAIL_CREDENTIAL, SPAN(""), 0, 0);
    account_release(a, 0);
    /* `second` is still leased. a stays, b has a new key, c is new. */
    configure(b, SITE("", ACCOUNT("a", "k1") ACCOUNT("b", "new") ACCOUNT("c", "k3")));
    assert_int_equal(account_pool_earliest(b->pool, site(b), NULL, SPAN(""), 0), 100000);
    account_release(second, 0);
    tried = 0;
    struct account *x = lease(b, &tried, 0, LEASE_OK), *y = lease(b, &tried, 0, LEASE_OK);
    assert_int_equal(x->state, ACCOUNT_READY); /* the new key was not refused yet */
    assert_true((!strcmp(x->name, "b") && !strcmp(y->name, "c")) ||
                (!strcmp(x->name, "c") && !strcmp(y->name, "b")));
    configure(b, SITE("", ACCOUNT("a", "k1"))); /* x and y are gone, but in use */
    account_release(x, 0);
    account_release(y, 0);
    stop(b);
}

static void held_credentials_are_saved_and_restored(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1")));
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    account_hold(&a->view, "token", SPAN("t1"), 5000);
    assert_string_equal(b->saved, "s/a token=t1 until 5000");
    assert_span_equal(account_held(&a->view, "token", 4000, 999), SPAN("t1"));
    assert_null(account_held(&a->view, "token", 4000, 1001).p);
    assert_null(account_held(&a->view, "other", 0, 0).p);
    account_drop(&a->view, "token");
    assert_string_equal(b->saved, "s/a token=(none) until 0");
    account_pool_restore(b->pool, "s", "a", "token", "t2", 9000);
    account_pool_restore(b->pool, "s", "nobody", "token", "t3", 9000);
    assert_span_equal(account_held(&a->view, "token", 1, 0), SPAN("t2"));
    account_release(a, 0);
    stop(b);
}

static void one_obtains_a_credential_at_a_time(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1")));
    struct one x = {.waiter = {.wake = on_wake}}, y = {.waiter = {.wake = on_wake}};
    struct fail fail, why;
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    unsigned awaited = 0, later = 0;
    assert_true(account_credential_begin(a, &x.waiter, &awaited));
    assert_int_equal(awaited, 0);
    assert_false(account_credential_begin(a, &y.waiter, &awaited));
    assert_int_equal(y.woken, 0);
    account_credential_done(a); /* its client left, say */
    assert_int_equal(x.woken, 0);
    assert_int_equal(y.woken, 1);
    assert_false(account_credential_failure(a, awaited, &why));

    assert_true(account_credential_begin(a, &y.waiter, &awaited));
    assert_false(account_credential_begin(a, &x.waiter, &awaited));
    fail_set(&fail, FAIL_TIMEOUT, "no answer");
    account_credential_failed(a, &fail);
    account_credential_done(a);
    assert_int_equal(x.woken, 1);
    assert_true(account_credential_failure(a, awaited, &why));
    assert_string_equal(why.message, "no answer");
    assert_true(account_credential_begin(a, &y.waiter, &later)); /* who comes later tries again */
    assert_false(account_credential_begin(a, &x.waiter, &later));
    account_credential_done(a);
    assert_false(account_credential_failure(a, later, &why));
    assert_false(account_credential_failure(a, 0, &why));
    account_release(a, 0);
    stop(b);
}

static void who_asks_next_waits_until_what_was_obtained_is_on_disk(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1")));
    struct one x = {.waiter = {.wake = on_wake}}, y = {.waiter = {.wake = on_wake}};
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    assert_true(account_credential_is_safe(a, &x.waiter));
    account_credential_saving(a); /* an access token */
    account_credential_saving(a); /* and a refresh token */
    assert_false(account_credential_is_safe(a, &x.waiter));
    assert_false(account_credential_is_safe(a, &y.waiter));
    waiter_leave(&y.waiter); /* its client left */
    account_credential_saved(a);
    assert_int_equal(x.woken, 0);
    account_credential_saved(a);
    assert_int_equal(x.woken, 1);
    assert_int_equal(y.woken, 0);
    assert_true(account_credential_is_safe(a, &x.waiter));
    /* a reload takes the account away meanwhile */
    account_credential_saving(a);
    configure(b, SITE("", ACCOUNT("b", "k1")));
    account_release(a, 0);
    account_credential_saved(a); /* freed here */
    stop(b);
}

static void the_same_again_is_not_saved(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1")));
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    account_hold(&a->view, "token", SPAN("t1"), 5000);
    b->saved[0] = '\0';
    account_hold(&a->view, "token", SPAN("t1"), 5000);
    assert_string_equal(b->saved, "");
    account_hold(&a->view, "token", SPAN("t1"), 6000);
    assert_string_equal(b->saved, "s/a token=t1 until 6000");
    account_release(a, 0);
    stop(b);
}

/* A reload may bring what somebody waits for: a free account, a higher limit. Nobody waits for a
 * lease that ends without them. */
static void a_reload_wakes_who_waits(void **state)
{
    static const char *const reloads[] = {
        SITE("max_concurrent = 1", ACCOUNT("b", "k2")),
        SITE("max_concurrent = 1", ACCOUNT("a", "k") ACCOUNT("b", "k2")),
        SITE("max_concurrent = 2", ACCOUNT("a", "k")),
    };
    for (size_t i = 0; i < sizeof reloads / sizeof *reloads; i++) {
        struct bench *b = start(SITE("max_concurrent = 1", ACCOUNT("a", "k")));
        struct taker taker = {.one.waiter.wake = on_wake_take, .bench = b};
        uint64_t tried = 0;
        struct account *a = lease(b, &tried, 0, LEASE_OK);
        assert_true(account_pool_wait(b->pool, site(b), &taker.one.waiter, 0, false, UINT64_MAX));
        configure(b, reloads[i]);
        if (!taker.got)
            fail_msg("reload %zu leaves somebody waiting", i);
        account_release(a, 0);
        account_release(taker.got, 0);
        stop(b);
    }
}

/* Who still finds nothing keeps the place in the queue. */
static void a_reload_keeps_the_order(void **state)
{
    struct bench *b = start(SITE("max_concurrent = 1", ACCOUNT("a", "k")));
    struct one x = {.waiter = {.wake = on_wake}};
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    assert_true(account_pool_wait(b->pool, site(b), &x.waiter, 0, false, UINT64_MAX));
    configure(b, SITE("max_concurrent = 1", ACCOUNT("a", "k")));
    assert_int_equal(x.woken, 0); /* nothing is free: not even asked */
    account_release(a, 0);
    assert_int_equal(x.woken, 1);
    stop(b);
}

static void a_site_that_is_gone_wakes_who_waits(void **state)
{
    struct bench *b = start(SITE("max_concurrent = 1", ACCOUNT("a", "k")));
    struct one x = {.waiter = {.wake = on_wake}};
    struct config *old = config_ref(b->config);
    uint64_t tried = 0, at;
    struct account *a = lease(b, &tried, 0, LEASE_OK), *none;
    size_t index;
    assert_true(account_pool_wait(b->pool, site(b), &x.waiter, 0, false, UINT64_MAX));
    configure(b, "[[sites]]\nname = \"t\"\nadapter = \"demo\"\n");
    assert_int_equal(x.woken, 1);
    assert_int_equal(account_pool_lease(b->pool, &(struct lease_wish){.site = &old->sites[0]}, 0,
                                        &none, &index, &at),
                     LEASE_NONE);
    assert_null(account_pool_peek(b->pool, &old->sites[0], 0));
    account_release(a, 0);
    config_unref(old);
    stop(b);
}

/* Two requests at the same account: the limit that one met holds, whatever the other meets. */
static void a_cool_down_is_kept(void **state)
{
    static const enum fail_kind kinds[] = {FAIL_CREDENTIAL, FAIL_CHALLENGE, FAIL_RATE_LIMITED,
                                           FAIL_UNAVAILABLE, FAIL_NONE /* a success */};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct bench *b = start(SITE("", ACCOUNT("a", "k")));
        uint64_t tried = 0, at = 0;
        struct account *a = lease(b, &tried, 0, LEASE_OK), *second;
        size_t index;
        tried = 0;
        second = lease(b, &tried, 0, LEASE_OK);
        assert_ptr_equal(a, second);
        account_failed(a, FAIL_RATE_LIMITED, SPAN(""), 100, 0);
        if (kinds[i])
            account_failed(a, kinds[i], SPAN(""), 5, 1000);
        else
            account_succeeded(a, SPAN(""));
        account_release(a, 0);
        account_release(a, 0);
        enum lease_result r =
            account_pool_lease(b->pool, &(struct lease_wish){.site = site(b), .tried = 0}, 99999,
                               &second, &index, &at);
        if (r != LEASE_COOLING || at != 100000)
            fail_msg("%s ends the cool-down", fail_kind_name(kinds[i]));
        expect(b, 100000, "a");
        stop(b);
    }
}

static void a_cool_down_that_is_over_is_over(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k")));
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    account_failed(a, FAIL_RATE_LIMITED, SPAN(""), 10, 0);
    account_failed(a, FAIL_CREDENTIAL, SPAN(""), 0, 10000); /* of a long answer */
    assert_int_equal(a->state, ACCOUNT_EXPIRED);
    assert_true(account_pool_earliest(b->pool, site(b), NULL, SPAN(""), 10000) == UINT64_MAX);
    account_release(a, 0);
    stop(b);
}

static void queues_are_bounded(void **state)
{
    struct bench *b = start(SITE("max_concurrent = 1", ACCOUNT("a", "k")));
    struct one *all = calloc(1000 + 1, sizeof *all);
    assert_non_null(all);
    for (int i = 0; i <= 1000; i++) {
        all[i].waiter.wake = on_wake;
        assert_int_equal(account_pool_wait(b->pool, site(b), &all[i].waiter, 0, false, UINT64_MAX),
                         i < 1000);
    }
    waiter_leave(&all[7].waiter); /* room again */
    assert_true(account_pool_wait(b->pool, site(b), &all[1000].waiter, 0, false, UINT64_MAX));
    for (int i = 0; i <= 1000; i++)
        waiter_leave(&all[i].waiter);
    free(all);
    stop(b);
}

static void the_first_ready_one_is_peeked_at(void **state)
{
    struct bench *b = start(SITE("max_concurrent = 1", ACCOUNT("a", "k1") ACCOUNT("b", "k2")));
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK), *second;
    assert_ptr_equal(account_pool_peek(b->pool, site(b), 0), a); /* in use, but ready */
    assert_int_equal(a->in_flight, 1);
    account_failed(a, FAIL_CREDENTIAL, SPAN(""), 0, 0);
    second = account_pool_peek(b->pool, site(b), 0);
    assert_string_equal(second->name, "b");
    account_failed(second, FAIL_CHALLENGE, SPAN(""), 1, 0);
    assert_null(account_pool_peek(b->pool, site(b), 0));
    account_release(a, 0);
    stop(b);
}

/* What is pinned may still be read after a reload took the account away. */
static void pins_keep_an_account(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1")));
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    account_hold(&a->view, "token", SPAN("t"), 5000);
    account_pin(a);
    account_pin(a);
    account_release(a, 0);
    expect(b, 0, "a"); /* a pin is no use of it */
    configure(b, SITE("", ACCOUNT("b", "k2")));
    assert_span_equal(account_held(&a->view, "token", 0, 0), SPAN("t"));
    assert_span_equal(account_credential(&a->view, "api_key"), SPAN("k1"));
    account_unpin(a);
    assert_span_equal(account_held(&a->view, "token", 0, 0), SPAN("t"));
    account_unpin(a);
    stop(b);
}

/* A turn of several requests goes on after a reload took its account away. */
static void a_lease_keeps_the_credentials(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1")));
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    configure(b, SITE("", ACCOUNT("b", "k2")));
    configure(b, SITE("", ACCOUNT("b", "k3")));
    assert_span_equal(account_credential(&a->view, "api_key"), SPAN("k1"));
    account_release(a, 0);
    stop(b);
}

static void a_new_credential_drops_what_was_held(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1")));
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    account_hold(&a->view, "token", SPAN("t"), 5000);
    configure(b, SITE("", ACCOUNT("a", "k1")));
    assert_span_equal(account_held(&a->view, "token", 0, 0), SPAN("t"));
    configure(b, SITE("", ACCOUNT("a", "k2")));
    assert_null(account_held(&a->view, "token", 0, 0).p);
    assert_string_equal(b->saved, "s/a token=(none) until 0");
    account_release(a, 0);
    stop(b);
}

/* What one service gave must not be sent to another that took its place. */
static void another_origin_drops_what_was_held(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1")));
    uint64_t tried = 0;
    struct account *a = lease(b, &tried, 0, LEASE_OK);
    account_hold(&a->view, "token", SPAN("t"), 5000);
    configure(b, "[[sites]]\nname = \"s\"\nadapter = \"openai\"\nbase_url = "
                 "\"http://127.0.0.2/v1\"\n" ACCOUNT("a", "k1"));
    assert_null(account_held(&a->view, "token", 0, 0).p);
    account_release(a, 0);
    stop(b);
}

static void restoring_writes_nothing_back(void **state)
{
    struct bench *b = start(SITE("", ACCOUNT("a", "k1")));
    account_pool_restore(b->pool, "s", "a", "token", "t", 9000);
    account_pool_restore(b->pool, "nowhere", "a", "token", "t", 9000);
    assert_string_equal(b->saved, "");
    stop(b);
}

static void visitors_come_and_go(void **state)
{
    static const struct span keys[] = {SPAN_INIT("sk-theirs"), SPAN_INIT("a\0b of 12")};
    struct bench *b = start(SITE("max_concurrent = 1", ACCOUNT("a", "k1")));
    for (size_t i = 0; i < 2; i++) {
        struct account *v = account_pool_visitor(b->pool, site(b), keys[i]);
        struct account *w = account_pool_visitor(b->pool, site(b), SPAN("another"));
        assert_int_equal(v->view.n_credentials, 1);
        assert_span_equal(v->view.credentials[0].name, SPAN("api_key"));
        assert_span_equal(v->view.credentials[0].value, keys[i]);
        assert_true(strcmp(v->name, w->name) != 0); /* pools of connections are kept apart */
        assert_null(strstr(v->name, "theirs"));
        account_hold(&v->view, "token", SPAN("t"), 5000);
        account_failed(v, FAIL_CREDENTIAL, SPAN(""), 0, 0);
        expect(b, 0, "a"); /* the configured account knows nothing of it */
        account_pin(v);
        account_release(v, 0);
        assert_span_equal(v->view.credentials[0].value, keys[i]);
        account_unpin(v);
        account_release(w, 0);
    }
    assert_string_equal(b->saved, ""); /* nothing of theirs is written down */
    stop(b);
}

/* ---- the queue ---- */

static struct wait_queue queue;

static void on_wake_again(struct waiter *w)
{
    ((struct one *)w)->woken++;
    wait_queue_add(&queue, w);
}

static void queues_are_fair(void **state)
{
    struct one w[3] = {{.waiter = {.wake = on_wake}},
                       {.waiter = {.wake = on_wake_again}},
                       {.waiter = {.wake = on_wake}}};
    for (int i = 0; i < 3; i++)
        wait_queue_add(&queue, &w[i].waiter);
    assert_int_equal(queue.n, 3);
    waiter_leave(&w[0].waiter);
    waiter_leave(&w[0].waiter);
    assert_int_equal(queue.n, 2);
    wait_queue_wake_all(&queue); /* the second queues again inside, and is not woken twice */
    assert_int_equal(w[0].woken, 0);
    assert_int_equal(w[1].woken, 1);
    assert_int_equal(w[2].woken, 1);
    assert_int_equal(queue.n, 1);
    wait_queue_wake_first(&queue);
    assert_int_equal(w[1].woken, 2);
    waiter_leave(&w[1].waiter);
    wait_queue_wake_first(&queue);
    assert_int_equal(queue.n, 0);
}

/* Names of the accounts that are asked, one after the other, each held until the end. */
static void expect_order(struct bench *b, uint64_t now, int n, const char *wanted)
{
    struct account *held[32];
    char order[33] = "";
    for (int i = 0; i < n; i++) {
        uint64_t tried = 0;
        held[i] = lease(b, &tried, now, LEASE_OK);
        order[i] = held[i]->name[0];
    }
    assert_string_equal(order, wanted);
    for (int i = 0; i < n; i++)
        account_release(held[i], now);
}

#define WEIGHED(name, weight)                                                                      \
    "[[sites.accounts]]\nname = \"" name "\"\napi_key = \"k\"\nweight = " weight "\n"

static void weights_spread_evenly(void **state)
{
    struct bench *b = start(SITE("", WEIGHED("a", "3") WEIGHED("b", "1") WEIGHED("c", "2")));
    expect_order(b, 0, 12, "acabcaacabca");
    stop(b);
}

static void fill_first_fills_the_first(void **state)
{
    struct bench *b = start(SITE("strategy = \"fill_first\"\nmax_concurrent = 2", THREE));
    expect_order(b, 0, 6, "aabbcc");
    expect(b, 0, "a");
    expect(b, 0, "a");
    stop(b);
}

static void least_busy_asks_the_idlest(void **state)
{
    struct bench *b = start(SITE("strategy = \"least_busy\"", WEIGHED("a", "2") WEIGHED("b", "1")));
    uint64_t tried = 0;
    struct account *first = lease(b, &tried, 0, LEASE_OK);
    struct account *second = lease(b, &tried, 0, LEASE_OK);
    account_release(first, 0);
    for (int i = 0; i < 3; i++) /* the other one has nothing to do */
        expect(b, 0, first->name);
    account_release(second, 0);
    expect_order(b, 0, 6, "baabaa"); /* in use, as a share of the weight */
    stop(b);
}

static struct account *lease_turn(struct bench *b, uint64_t conversation, uint64_t now)
{
    struct account *a = NULL;
    size_t index;
    uint64_t at;
    const struct lease_wish wish = {.site = site(b), .conversation = conversation};
    assert_int_equal(account_pool_lease(b->pool, &wish, now, &a, &index, &at), LEASE_OK);
    return a;
}

static void a_conversation_stays_with_its_account(void **state)
{
    struct bench *b = start(SITE("", THREE));
    struct account *mine = lease_turn(b, 77, 0);
    account_release(mine, 0);
    for (int i = 0; i < 7; i++) {
        account_release(lease_turn(b, 1000 + (uint64_t)i, 0), 0); /* others come and go */
        struct account *again = lease_turn(b, 77, 0);
        assert_ptr_equal(again, mine);
        account_release(again, 0);
    }
    account_failed(mine, FAIL_RATE_LIMITED, SPAN(""), 10, 0);
    struct account *other = lease_turn(b, 77, 0); /* while it rests: another, and then that one */
    assert_ptr_not_equal(other, mine);
    account_release(other, 0);
    other = lease_turn(b, 77, 10000);
    assert_ptr_not_equal(other, mine);
    account_release(other, 0);
    configure(b, SITE("", ACCOUNT("c", "k3") ACCOUNT("b", "k2"))); /* gone: no trace of it */
    account_release(lease_turn(b, 77, 20000), 0);
    stop(b);
}

/* Who holds a conversation comes before who was asked last, as long as it may be asked. */
static void the_holder_of_a_conversation_is_asked_first(void **state)
{
    for (size_t i = 0; i < 3; i++) {
        struct bench *b = start(SITE("max_concurrent = 1", THREE));
        if (i)
            configure(b, i == 1 ? SITE("max_concurrent = 1\nstrategy = \"least_busy\"", THREE)
                                : SITE("max_concurrent = 1\nstrategy = \"fill_first\"", THREE));
        account_release(lease_turn(b, 77, 0), 0);
        struct lease_wish wish = {.site = site(b), .conversation = 77, .holder = SPAN("c")};
        struct account *held = NULL, *other = NULL;
        size_t index;
        uint64_t at;
        assert_int_equal(account_pool_lease(b->pool, &wish, 0, &held, &index, &at), LEASE_OK);
        assert_string_equal(held->name, "c");
        assert_int_equal(account_pool_lease(b->pool, &wish, 0, &other, &index, &at), LEASE_OK);
        assert_string_not_equal(other->name, "c"); /* it is busy */
        account_release(held, 0);
        account_release(other, 0);
        wish.holder = SPAN("gone");
        assert_int_equal(account_pool_lease(b->pool, &wish, 0, &other, &index, &at), LEASE_OK);
        account_release(other, 0);
        stop(b);
    }
}

/* A pace makes wait, and says until when. */
static void a_pace_is_waited_for(void **state)
{
    struct bench *b = start(SITE("min_gap = \"2s\"\nper_hour = 2", ACCOUNT("a", "k")));
    struct account *a;
    size_t index;
    uint64_t tried = 0, at = 0;
    const struct lease_wish wish = {.site = site(b)};
    account_release(lease(b, &tried, 1000, LEASE_OK), 1500);
    assert_int_equal(account_pool_lease(b->pool, &wish, 2999, &a, &index, &at), LEASE_BUSY);
    assert_int_equal(at, 3000);
    struct one waiting = {.waiter = {.wake = on_wake}};
    assert_true(account_pool_wait(b->pool, site(b), &waiting.waiter, 0, false, at));
    assert_int_equal(b->wake_at, 3000);
    account_pool_tick(b->pool, 2999);
    assert_non_null(waiting.waiter.queue); /* not yet */
    account_pool_tick(b->pool, 3000);
    assert_null(waiting.waiter.queue);
    expect(b, 3000, "a");
    assert_int_equal(account_pool_lease(b->pool, &wish, 6000, &a, &index, &at), LEASE_BUSY);
    assert_int_equal(at, 1000 + 3600000);
    stop(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accounts_take_turns),
        cmocka_unit_test(who_cools_is_not_asked),
        cmocka_unit_test(a_key_is_tied_to_accounts),
        cmocka_unit_test(the_expired_come_last),
        cmocka_unit_test(other_failures_leave_an_account_ready),
        cmocka_unit_test(busy_accounts_are_waited_for),
        cmocka_unit_test(a_reload_keeps_what_is_known),
        cmocka_unit_test(held_credentials_are_saved_and_restored),
        cmocka_unit_test(one_obtains_a_credential_at_a_time),
        cmocka_unit_test(who_asks_next_waits_until_what_was_obtained_is_on_disk),
        cmocka_unit_test(the_same_again_is_not_saved),
        cmocka_unit_test(a_reload_wakes_who_waits),
        cmocka_unit_test(a_reload_keeps_the_order),
        cmocka_unit_test(a_site_that_is_gone_wakes_who_waits),
        cmocka_unit_test(a_cool_down_is_kept),
        cmocka_unit_test(a_cool_down_that_is_over_is_over),
        cmocka_unit_test(queues_are_bounded),
        cmocka_unit_test(the_first_ready_one_is_peeked_at),
        cmocka_unit_test(pins_keep_an_account),
        cmocka_unit_test(a_lease_keeps_the_credentials),
        cmocka_unit_test(a_new_credential_drops_what_was_held),
        cmocka_unit_test(another_origin_drops_what_was_held),
        cmocka_unit_test(restoring_writes_nothing_back),
        cmocka_unit_test(visitors_come_and_go),
        cmocka_unit_test(queues_are_fair),
        cmocka_unit_test(weights_spread_evenly),
        cmocka_unit_test(fill_first_fills_the_first),
        cmocka_unit_test(least_busy_asks_the_idlest),
        cmocka_unit_test(a_conversation_stays_with_its_account),
        cmocka_unit_test(the_holder_of_a_conversation_is_asked_first),
        cmocka_unit_test(a_pace_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
