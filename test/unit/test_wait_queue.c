/*
 * test/unit/test_wait_queue.c - first come, first served; and what a waiter may do while it is
 * woken: queue again, be destroyed, send others away, wake the rest.
 */
#include "gateway/wait_queue.h"
#include "test/unit/support/cmocka_all.h"

struct one {
    struct waiter waiter;
    char name;
    struct wait_queue *again; /* where it queues when it is woken */
    struct one *sends_away;   /* leaves its queue when this one is woken */
    struct wait_queue *wakes; /* all of it, when this one is woken */
    char *log;                /* names in the order of waking */
    bool waited_while_woken;  /* still in a queue when it was woken */
};

static void on_wake(struct waiter *w)
{
    struct one *one = (struct one *)w;
    size_t n = strlen(one->log);
    one->log[n] = one->name;
    one->log[n + 1] = '\0';
    one->waited_while_woken |= w->queue != NULL;
    if (one->sends_away)
        waiter_leave(&one->sends_away->waiter);
    if (one->again)
        wait_queue_add(one->again, w);
    if (one->wakes) {
        struct wait_queue *q = one->wakes;
        one->wakes = NULL;
        wait_queue_wake_all(q);
    }
}

struct bench {
    struct wait_queue queue;
    struct one all[5]; /* a, b, c, d, e */
    char log[100];
};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    for (int i = 0; i < 5; i++) {
        b->all[i] =
            (struct one){.waiter = {.wake = on_wake}, .name = (char)('a' + i), .log = b->log};
        wait_queue_add(&b->queue, &b->all[i].waiter);
    }
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 5; i++)
        assert_false(b->all[i].waited_while_woken);
    free(b);
    return 0;
}

static void the_first_is_woken_first(void **state)
{
    struct bench *b = *state;
    for (size_t left = 5; left > 0; left--) {
        assert_int_equal(b->queue.n, left);
        wait_queue_wake_first(&b->queue);
    }
    assert_string_equal(b->log, "abcde");
    wait_queue_wake_first(&b->queue); /* nobody: nothing */
    wait_queue_wake_all(&b->queue);
    assert_string_equal(b->log, "abcde");
    assert_int_equal(b->queue.n, 0);
    assert_true(!b->queue.first && !b->queue.last);
}

static void who_leaves_is_not_woken(void **state)
{
    struct bench *b = *state;
    waiter_leave(&b->all[2].waiter); /* in the middle */
    waiter_leave(&b->all[0].waiter); /* the first */
    waiter_leave(&b->all[4].waiter); /* the last */
    waiter_leave(&b->all[4].waiter); /* one that does not wait */
    assert_int_equal(b->queue.n, 2);
    wait_queue_add(&b->queue, &b->all[0].waiter); /* behind those who stayed */
    wait_queue_wake_all(&b->queue);
    assert_string_equal(b->log, "bda");
}

static void who_queues_again_is_woken_once(void **state)
{
    struct bench *b = *state;
    b->all[1].again = &b->queue;
    b->all[3].again = &b->queue;
    wait_queue_wake_all(&b->queue);
    assert_string_equal(b->log, "abcde");
    assert_int_equal(b->queue.n, 2);
    wait_queue_wake_first(&b->queue);
    assert_string_equal(b->log, "abcdeb");
    waiter_leave(&b->all[1].waiter);
    waiter_leave(&b->all[3].waiter);
    assert_int_equal(b->queue.n, 0);
}

static void one_sends_others_away(void **state)
{
    struct bench *b = *state;
    b->all[0].sends_away = &b->all[1]; /* the next */
    b->all[2].sends_away = &b->all[4]; /* the last */
    b->all[3].sends_away = &b->all[0]; /* one who was woken already */
    wait_queue_wake_all(&b->queue);
    assert_string_equal(b->log, "acd");
    assert_int_equal(b->queue.n, 0);
}

/* Inside wake_all somebody wakes the queue again: only those who joined it since are in it. */
static void waking_within_waking(void **state)
{
    struct bench *b = *state;
    b->all[0].again = &b->queue;
    b->all[2].wakes = &b->queue;
    wait_queue_wake_all(&b->queue);
    assert_string_equal(b->log, "abcade");
    waiter_leave(&b->all[0].waiter);
    assert_int_equal(b->queue.n, 0);
}

static void on_wake_free(struct waiter *w) { free(w); }

static void who_is_woken_may_be_destroyed(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 3; i++) {
        struct waiter *w = calloc(1, sizeof *w);
        assert_non_null(w);
        w->wake = on_wake_free;
        wait_queue_add(&b->queue, w);
    }
    wait_queue_wake_all(&b->queue);
    assert_string_equal(b->log, "abcde");
    assert_int_equal(b->queue.n, 0);
}

static void expect_places(struct bench *b, const char *wanted)
{
    for (size_t i = 0; i < strlen(wanted); i++)
        assert_int_equal(waiter_ahead(&b->all[wanted[i] - 'a'].waiter), i);
}

static void everybody_knows_his_place(void **state)
{
    struct bench *b = *state;
    expect_places(b, "abcde");
    waiter_leave(&b->all[1].waiter); /* from the middle, the front and the end */
    expect_places(b, "acde");
    waiter_leave(&b->all[0].waiter);
    waiter_leave(&b->all[4].waiter);
    expect_places(b, "cd");
    wait_queue_add(&b->queue, &b->all[0].waiter);
    wait_queue_add_first(&b->queue, &b->all[1].waiter);
    wait_queue_add_first(&b->queue, &b->all[4].waiter);
    expect_places(b, "ebcda");
    waiter_leave(&b->all[2].waiter);
    waiter_leave(&b->all[3].waiter);
    wait_queue_add(&b->queue, &b->all[2].waiter);
    expect_places(b, "ebac");
    wait_queue_wake_all(&b->queue);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_first_is_woken_first),       TEST(who_leaves_is_not_woken),
        TEST(who_queues_again_is_woken_once), TEST(one_sends_others_away),
        TEST(waking_within_waking),           TEST(who_is_woken_may_be_destroyed),
        TEST(everybody_knows_his_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
