/*
 * test/unit/test_shared.c - gateway/shared.h, and who gets what of an account pool that several
 * event loops use. One thread plays all loops here; threads are test/e2e/workers.test.mjs'
 * business.
 */
#include "gateway/account_pool.h"
#include "gateway/shared.h"
#include "test/unit/support/cmocka_all.h"

enum { LOOPS = 2 };

/* Two loops, each with a mailbox; `at` says which of them this thread plays. */
struct bench {
    struct shared *shared;
    uv_loop_t loops[LOOPS];
    struct mailbox *boxes[LOOPS];
};

static void begin(struct bench *b)
{
    b->shared = shared_create();
    assert_non_null(b->shared);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(uv_loop_init(&b->loops[i]), 0);
        b->boxes[i] = mailbox_create(b->shared, &b->loops[i], b);
        assert_non_null(b->boxes[i]);
    }
}

static void at(struct bench *b, int loop) { mailbox_move_in(b->boxes[loop]); }

/* The loop opens what is in its mailbox. */
static void turn(struct bench *b, int loop)
{
    at(b, loop);
    uv_run(&b->loops[loop], UV_RUN_NOWAIT);
}

static void end(struct bench *b)
{
    for (int i = 0; i < LOOPS; i++) {
        at(b, i);
        mailbox_close(b->boxes[i]);
        uv_run(&b->loops[i], UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&b->loops[i]), 0);
    }
    mailbox_move_in(NULL);
    shared_destroy(b->shared);
}

/* ---- mail ---- */

struct letter {
    struct mail mail;
    struct bench *bench;
    int number, *opened;
    struct mailbox *there; /* where it was opened */
};

static void on_open(struct mail *mail)
{
    struct letter *l = (struct letter *)mail;
    assert_int_equal(l->number, (*l->opened)++);
    l->there = mailbox_here();
}

static void mails_are_opened_in_order_by_the_loop_they_went_to(void **state)
{
    struct bench b;
    struct letter letters[3];
    int opened = 0;
    begin(&b);
    at(&b, 0);
    for (int i = 0; i < 3; i++) {
        letters[i] = (struct letter){.mail.open = on_open, .number = i, .opened = &opened};
        assert_true(mailbox_post(b.boxes[1], &letters[i].mail));
    }
    turn(&b, 0);
    assert_int_equal(opened, 0);
    turn(&b, 1);
    assert_int_equal(opened, 3);
    assert_ptr_equal(letters[2].there, b.boxes[1]);
    assert_ptr_equal(mailbox_owner(letters[2].there), &b);
    end(&b);
}

static void closing_opens_what_is_there_and_takes_no_more(void **state)
{
    struct bench b;
    int opened = 0;
    begin(&b);
    struct letter first = {.mail.open = on_open, .opened = &opened}, late = first;
    at(&b, 1);
    mailbox_post(b.boxes[0], &first.mail);
    at(&b, 0);
    mailbox_close(b.boxes[0]);
    assert_int_equal(opened, 1);
    assert_false(mailbox_post(b.boxes[0], &late.mail));
    uv_run(&b.loops[0], UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b.loops[0]), 0);
    at(&b, 1);
    mailbox_close(b.boxes[1]);
    uv_run(&b.loops[1], UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b.loops[1]), 0);
    mailbox_move_in(NULL);
    shared_destroy(b.shared);
}

static void a_mailbox_knows_whether_something_is_to_come(void **state)
{
    struct bench b;
    begin(&b);
    assert_false(mailbox_expects(b.boxes[0]));
    mailbox_expect(b.boxes[0]);
    mailbox_expect(b.boxes[0]);
    mailbox_received(b.boxes[0]);
    assert_true(mailbox_expects(b.boxes[0]));
    mailbox_received(b.boxes[0]);
    assert_false(mailbox_expects(b.boxes[0]));
    end(&b);
}

static void what_is_lent_stays_as_it_was(void **state)
{
    struct bench b;
    char text[] = "a secret";
    begin(&b);
    at(&b, 0);
    struct span lent = shared_lend(b.shared, span_of(text, 8));
    memset(text, 'x', 8);
    assert_true(span_eq(lent, SPAN("a secret")));
    assert_ptr_equal(shared_lend(NULL, lent).p, lent.p); /* one loop: nothing is copied */
    turn(&b, 0);                                         /* and then it is gone */
    end(&b);
}

/* ---- waiters of several loops ---- */

struct one {
    struct waiter waiter;
    struct account_pool *pool;
    const struct site_config *site;
    uint64_t tried;
    int woken;
    struct account *account;
    size_t index;
};

static void on_wake(struct waiter *w)
{
    struct one *o = (struct one *)w;
    o->woken++;
    o->account = account_pool_given(o->pool, w, &o->index);
}

static bool on_take(struct waiter *w, uint64_t now_ms)
{
    const struct one *o = (const struct one *)w;
    const struct lease_wish wish = {.site = o->site, .tried = o->tried};
    return account_pool_take(o->pool, w, &wish, now_ms);
}

struct place {
    struct bench bench;
    struct config *config;
    struct account_pool *pool;
};

static const struct site_config *site_of(const struct place *p) { return &p->config->sites[0]; }

static void open_pool(struct place *p, const char *accounts)
{
    struct buffer errors;
    char text[600];
    const struct account_pool_hooks hooks = {0};
    snprintf(text, sizeof text,
             "[[sites]]\nname='s'\nadapter='openai'\nbase_url='http://127.0.0.1:9/v1'\n"
             "max_concurrent=1\n%s",
             accounts);
    begin(&p->bench);
    buffer_init(&errors, 1 << 16);
    p->config = config_parse(span_str(text), "t.toml", &errors);
    assert_non_null(p->config);
    buffer_free(&errors);
    p->pool = account_pool_create(&hooks, 1);
    assert_non_null(p->pool);
    assert_int_equal(account_pool_configure(p->pool, p->config, 0), 0);
    account_pool_share(p->pool, p->bench.shared);
}

static void close_pool(struct place *p)
{
    end(&p->bench);
    account_pool_destroy(p->pool);
    config_unref(p->config);
}

static struct account *lease(struct place *p, enum lease_result wanted)
{
    const struct lease_wish wish = {.site = site_of(p)};
    struct account *a = NULL;
    size_t index;
    uint64_t retry_at;
    assert_int_equal(account_pool_lease(p->pool, &wish, 0, &a, &index, &retry_at), wanted);
    return a;
}

static void wait_at(struct place *p, int loop, struct one *o, uint64_t group)
{
    at(&p->bench, loop);
    *o = (struct one){.waiter = {.wake = on_wake, .take = on_take},
                      .pool = p->pool,
                      .site = site_of(p),
                      .tried = o->tried};
    assert_true(account_pool_wait(p->pool, site_of(p), &o->waiter, group, false, UINT64_MAX));
}

#define ONE_ACCOUNT "[[sites.accounts]]\nname='a'\napi_key='k'\n"
#define TWO         ONE_ACCOUNT "[[sites.accounts]]\nname='b'\napi_key='l'\n"

static void an_account_is_given_to_who_waits_on_another_loop(void **state)
{
    struct place p;
    struct one first = {0}, second = {0};
    open_pool(&p, ONE_ACCOUNT);
    at(&p.bench, 0);
    struct account *a = lease(&p, LEASE_OK);
    wait_at(&p, 1, &first, 0);
    wait_at(&p, 0, &second, 0);
    at(&p.bench, 0);
    account_release(a, 0);
    assert_int_equal(first.woken + second.woken, 0); /* not from here */
    lease(&p, LEASE_BUSY);                           /* nobody comes in between */
    turn(&p.bench, 0);
    assert_int_equal(second.woken, 0);
    turn(&p.bench, 1);
    assert_int_equal(first.woken, 1);
    assert_ptr_equal(first.account, a);
    assert_int_equal(a->in_flight, 1);
    account_release(first.account, 0);
    turn(&p.bench, 0);
    assert_ptr_equal(second.account, a);
    account_release(a, 0);
    close_pool(&p);
}

static void who_leaves_before_he_hears_of_it_gives_it_to_the_next(void **state)
{
    struct place p;
    struct one first = {0}, second = {0};
    open_pool(&p, ONE_ACCOUNT);
    struct account *a = lease(&p, LEASE_OK);
    wait_at(&p, 1, &first, 0);
    wait_at(&p, 0, &second, 0);
    account_release(a, 0);
    at(&p.bench, 1);
    account_pool_leave(p.pool, &first.waiter, 0);
    turn(&p.bench, 1);
    assert_int_equal(first.woken, 0);
    turn(&p.bench, 0);
    assert_ptr_equal(second.account, a);
    account_release(a, 0);
    assert_int_equal(a->in_flight, 0);
    close_pool(&p);
}

static void what_comes_free_between_asking_and_waiting_is_not_lost(void **state)
{
    struct place p;
    struct one one = {0};
    open_pool(&p, ONE_ACCOUNT);
    struct account *a = lease(&p, LEASE_OK);
    at(&p.bench, 0);
    lease(&p, LEASE_BUSY);
    at(&p.bench, 1);
    account_release(a, 0); /* nobody waits yet */
    wait_at(&p, 0, &one, 0);
    account_pool_offer(p.pool, site_of(&p), 0);
    turn(&p.bench, 0);
    assert_ptr_equal(one.account, a);
    account_release(a, 0);
    close_pool(&p);
}

static void who_cannot_use_what_is_free_waits_on_and_holds_nobody_up(void **state)
{
    struct place p;
    struct one picky = {.tried = 1}, other = {0}; /* the first account was tried already */
    open_pool(&p, TWO);
    struct account *a = lease(&p, LEASE_OK), *b = lease(&p, LEASE_OK);
    wait_at(&p, 0, &picky, 1);
    wait_at(&p, 1, &other, 2);
    account_release(a, 0);
    turn(&p.bench, 0);
    turn(&p.bench, 1);
    assert_int_equal(picky.woken, 0);
    assert_ptr_equal(other.account, a);
    account_release(b, 0);
    turn(&p.bench, 0);
    assert_ptr_equal(picky.account, b);
    assert_int_equal(picky.index, 1);
    account_release(a, 0);
    account_release(b, 0);
    close_pool(&p);
}

static void groups_take_turns_across_loops(void **state)
{
    struct place p;
    struct one batch[4] = {0}, person[2] = {0};
    int order[6], n = 0;
    open_pool(&p, ONE_ACCOUNT);
    struct account *a = lease(&p, LEASE_OK);
    for (int i = 0; i < 4; i++)
        wait_at(&p, i % LOOPS, &batch[i], 1);
    for (int i = 0; i < 2; i++)
        wait_at(&p, i % LOOPS, &person[i], 2);
    while (n < 6) {
        struct one *all[6] = {&batch[0], &batch[1], &batch[2], &batch[3], &person[0], &person[1]};
        account_release(a, 0);
        turn(&p.bench, 0);
        turn(&p.bench, 1);
        for (int i = 0; i < 6; i++) {
            if (all[i]->account)
                order[n++] = i;
            all[i]->account = NULL;
        }
    }
    const int wanted[6] = {0, 4, 1, 5, 2, 3};
    assert_memory_equal(order, wanted, sizeof wanted);
    account_release(a, 0);
    close_pool(&p);
}

static void a_held_value_outlives_its_change(void **state)
{
    struct place p;
    open_pool(&p, ONE_ACCOUNT);
    at(&p.bench, 0);
    struct account *a = lease(&p, LEASE_OK);
    account_hold(&a->view, "token", SPAN("old"), 0);
    struct span token = account_held(&a->view, "token", 0, 0);
    account_hold(&a->view, "token", SPAN("a newer one"), 0);
    assert_true(span_eq(token, SPAN("old")));
    assert_true(span_eq(account_held(&a->view, "token", 0, 0), SPAN("a newer one")));
    account_release(a, 0);
    close_pool(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mails_are_opened_in_order_by_the_loop_they_went_to),
        cmocka_unit_test(closing_opens_what_is_there_and_takes_no_more),
        cmocka_unit_test(a_mailbox_knows_whether_something_is_to_come),
        cmocka_unit_test(what_is_lent_stays_as_it_was),
        cmocka_unit_test(an_account_is_given_to_who_waits_on_another_loop),
        cmocka_unit_test(who_leaves_before_he_hears_of_it_gives_it_to_the_next),
        cmocka_unit_test(what_comes_free_between_asking_and_waiting_is_not_lost),
        cmocka_unit_test(who_cannot_use_what_is_free_waits_on_and_holds_nobody_up),
        cmocka_unit_test(groups_take_turns_across_loops),
        cmocka_unit_test(a_held_value_outlives_its_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
