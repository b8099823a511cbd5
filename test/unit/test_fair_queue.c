/*
 * test/unit/test_fair_queue.c - groups take turns; within a group first come, first served.
 */
#include "gateway/fair_queue.h"

#include <stdlib.h>

#include "test/unit/support/cmocka_all.h"

struct one {
    struct waiter waiter; /* first */
    char name;
    struct fair_queue *again; /* queue again when woken */
};

static char order[64];
static size_t n_order;

static void on_wake(struct waiter *w)
{
    struct one *o = (struct one *)w;
    order[n_order++] = o->name;
    order[n_order] = '\0';
    if (o->again)
        assert_true(fair_queue_add(o->again, 1, w, true));
}

static struct one make(char name)
{
    return (struct one){.waiter = {.wake = on_wake}, .name = name};
}

static void expect(const char *wanted)
{
    assert_string_equal(order, wanted);
    n_order = 0;
    order[0] = '\0';
}

static void groups_take_turns(void **state)
{
    struct fair_queue q = {0};
    struct one all[8];
    const char *names = "aaaabbcd"; /* group = name */
    for (int i = 0; i < 8; i++) {
        all[i] = make((char)(names[i] == 'a' ? '1' + i : names[i]));
        assert_true(fair_queue_add(&q, (uint64_t)names[i], &all[i].waiter, false));
    }
    assert_int_equal(q.n, 8);
    assert_int_equal(q.n_groups, 4);
    size_t ahead[8];
    for (int i = 0; i < 8; i++)
        ahead[i] = fair_queue_ahead(&q, &all[i].waiter);
    for (int i = 0; i < 8; i++)
        fair_queue_wake_next(&q);
    for (int i = 0; i < 8; i++) /* what was told is what happened */
        if (all[i].name != 'b')
            assert_int_equal(order[ahead[i]], all[i].name);
    expect("1bcd2b34");
    assert_int_equal(q.n, 0);
    assert_int_equal(q.n_groups, 0);
    fair_queue_wake_next(&q);
    expect("");
}

static void leaving_and_coming(void **state)
{
    struct fair_queue q = {0};
    struct one a = make('a'), b = make('b'), c = make('c'), d = make('d');
    fair_queue_add(&q, 1, &a.waiter, false);
    fair_queue_add(&q, 2, &b.waiter, false);
    fair_queue_add(&q, 1, &c.waiter, false);
    fair_queue_add(&q, 1, &d.waiter, true); /* keeps its place: before a */
    waiter_leave(&b.waiter);
    assert_int_equal(q.n, 3);
    assert_int_equal(q.n_groups, 1);
    assert_int_equal(fair_queue_ahead(&q, &c.waiter), 2);
    fair_queue_wake_all(&q);
    expect("dac");
    waiter_leave(&a.waiter); /* nothing for one that does not wait */
}

/* One that cannot use what is free keeps its place, and the other groups get their turns. */
static void who_is_woken_in_vain_keeps_its_place(void **state)
{
    struct fair_queue q = {0};
    struct one a = make('a'), b = make('b'), c = make('c');
    a.again = &q;
    fair_queue_add(&q, 1, &a.waiter, false);
    fair_queue_add(&q, 1, &b.waiter, false);
    fair_queue_add(&q, 2, &c.waiter, false);
    for (int i = 0; i < 4; i++)
        fair_queue_wake_next(&q);
    expect("acaa");
    a.again = NULL;
    fair_queue_wake_all(&q);
    expect("ab");
    assert_int_equal(q.n, 0);
}

/* Ten thousand of one kind hold up nobody else. */
static void a_batch_does_not_starve_a_chat(void **state)
{
    enum { BATCH = 10000 };
    struct fair_queue q = {0};
    struct one *batch = calloc(BATCH, sizeof *batch), chat = make('c');
    assert_non_null(batch);
    for (int i = 0; i < BATCH; i++) {
        batch[i] = make('b');
        fair_queue_add(&q, 1, &batch[i].waiter, false);
    }
    assert_true(fair_queue_add(&q, 2, &chat.waiter, false));
    assert_int_equal(fair_queue_ahead(&q, &chat.waiter), 1);
    fair_queue_wake_next(&q);
    fair_queue_wake_next(&q);
    expect("bc");
    for (int i = 0; i < BATCH; i++)
        waiter_leave(&batch[i].waiter);
    assert_int_equal(q.n, 0);
    free(batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_take_turns),
        cmocka_unit_test(leaving_and_coming),
        cmocka_unit_test(who_is_woken_in_vain_keeps_its_place),
        cmocka_unit_test(a_batch_does_not_starve_a_chat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
