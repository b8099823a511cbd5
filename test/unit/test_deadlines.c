/*
 * test/unit/test_deadlines.c - the earliest comes first, whatever is set, moved and cleared
 * meanwhile; room follows the members.
 */
#include <stdlib.h>

#include "gateway/deadlines.h"
#include "test/unit/support/cmocka_all.h"

static void the_earliest_comes_first(void **state)
{
    struct deadlines d = {0};
    struct deadline one[4] = {0};
    assert_true(deadlines_next(&d) == DEADLINE_NEVER);
    assert_null(deadlines_take(&d, DEADLINE_NEVER));
    for (int i = 0; i < 4; i++)
        assert_int_equal(deadlines_join(&d), 0);
    deadlines_set(&d, &one[0], 30);
    deadlines_set(&d, &one[1], 10);
    deadlines_set(&d, &one[2], 20);
    assert_int_equal(deadlines_next(&d), 10);
    assert_true(deadline_at(&d, &one[3]) == DEADLINE_NEVER);
    assert_null(deadlines_take(&d, 9));
    assert_ptr_equal(deadlines_take(&d, 10), &one[1]);
    assert_true(deadline_at(&d, &one[1]) == DEADLINE_NEVER); /* taken is cleared */
    assert_ptr_equal(deadlines_take(&d, 100), &one[2]);
    assert_ptr_equal(deadlines_take(&d, 100), &one[0]);
    assert_null(deadlines_take(&d, 100));
    for (int i = 0; i < 4; i++)
        deadlines_leave(&d, &one[i]);
    assert_null(d.slots);
}

static void one_that_is_moved_or_cleared_keeps_no_other_waiting(void **state)
{
    struct deadlines d = {0};
    struct deadline one[3] = {0};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(deadlines_join(&d), 0);
        deadlines_set(&d, &one[i], 10 + (uint64_t)i);
    }
    deadlines_set(&d, &one[0], 50);
    assert_int_equal(deadline_at(&d, &one[0]), 50);
    assert_int_equal(deadlines_next(&d), 11);
    deadlines_set(&d, &one[0], 5);
    assert_int_equal(deadlines_next(&d), 5);
    deadlines_set(&d, &one[0], DEADLINE_NEVER);
    deadlines_set(&d, &one[0], DEADLINE_NEVER);
    assert_int_equal(deadlines_next(&d), 11);
    deadlines_leave(&d, &one[1]); /* while it is set */
    assert_int_equal(deadlines_next(&d), 12);
    deadlines_leave(&d, &one[0]);
    deadlines_leave(&d, &one[2]);
}

/* Against a walk through all of them. */
static void many_at_random_come_in_order(void **state)
{
    enum { MANY = 1000, ROUNDS = 50000 };
    struct deadlines d = {0};
    struct deadline *one = calloc(MANY, sizeof *one);
    assert_non_null(one);
    uint64_t *at = calloc(MANY, sizeof *at);
    unsigned random = 1;
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(deadlines_join(&d), 0);
        at[i] = DEADLINE_NEVER;
    }
    for (int round = 0; round < ROUNDS; round++) {
        random = random * 1103515245u + 12345u;
        size_t i = (random >> 8) % MANY;
        at[i] = random >> 30 ? (random >> 4) % 512 : DEADLINE_NEVER; /* many are the same */
        deadlines_set(&d, &one[i], at[i]);
        assert_true(deadline_at(&d, &one[i]) == at[i]);
        if (round % 64)
            continue;
        uint64_t earliest = DEADLINE_NEVER;
        for (size_t k = 0; k < MANY; k++)
            earliest = at[k] < earliest ? at[k] : earliest;
        assert_true(deadlines_next(&d) == earliest);
        struct deadline *due = deadlines_take(&d, earliest);
        assert_true(due ? at[due - one] == earliest : earliest == DEADLINE_NEVER);
        if (due)
            at[due - one] = DEADLINE_NEVER;
    }
    size_t last = 0;
    for (struct deadline *due; (due = deadlines_take(&d, DEADLINE_NEVER - 1));) {
        assert_true(at[due - one] >= last);
        last = at[due - one];
        at[due - one] = DEADLINE_NEVER;
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_true(at[i] == DEADLINE_NEVER);
        deadlines_leave(&d, &one[i]);
        assert_true(d.cap <= 16 || d.cap <= 4 * d.n_members + 4);
    }
    free(one);
    free(at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_earliest_comes_first),
        cmocka_unit_test(one_that_is_moved_or_cleared_keeps_no_other_waiting),
        cmocka_unit_test(many_at_random_come_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
