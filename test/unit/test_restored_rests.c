/*
 * test/unit/test_restored_rests.c - what comes back from the store: rests, also after the wall
 * clock was wrong.
 */
#include "gateway/engine_keep.h"

#include "gateway/clock.h"
#include "test/unit/support/cmocka_all.h"

#define NOW UINT64_C(5000)

static const int64_t MINUTE = 60000, YEAR = INT64_C(365) * 86400000;

/* How long the account rests after a start that finds this row, in ms. */
static uint64_t rest_after(int64_t changed_ms, int64_t until_ms)
{
    struct buffer errors;
    const struct account_pool_hooks hooks = {0};
    buffer_init(&errors, 1 << 16);
    struct config *config = config_parse(
        SPAN("[[sites]]\nname = \"s\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"
             "[[sites.accounts]]\nname = \"a\"\napi_key = \"k\"\n"),
        "t.toml", &errors);
    assert_non_null(config);
    buffer_free(&errors);
    struct account_pool *pool = account_pool_create(&hooks, 1);
    assert_non_null(pool);
    assert_int_equal(account_pool_configure(pool, config, NOW), 0);
    keep_restore_account(pool,
                         &(struct store_account){.site = "s",
                                                 .account = "a",
                                                 .model = "",
                                                 .state = "cooling",
                                                 .error = "slow down",
                                                 .until_ms = until_ms,
                                                 .changed_ms = changed_ms},
                         NOW);
    uint64_t until = account_cool_until(account_pool_find(pool, SPAN("s"), SPAN("a")), 0);
    account_pool_destroy(pool);
    config_unref(config);
    return until > NOW ? until - NOW : 0;
}

static void a_rest_goes_on(void **state)
{
    int64_t wall = clock_wall_ms();
    assert_in_range(rest_after(wall - MINUTE, wall + 2 * MINUTE), MINUTE, 2 * MINUTE);
    assert_int_equal(rest_after(wall - 2 * MINUTE, wall - MINUTE), 0);
}

/* It was in the far future when the rest was written down, and is right again. */
static void a_clock_that_was_set_back_makes_no_rest_longer(void **state)
{
    int64_t future = clock_wall_ms() + 20 * YEAR;
    assert_int_equal(rest_after(future, future + MINUTE), MINUTE);
}

static void absurd_times_do_no_harm(void **state)
{
    int64_t wall = clock_wall_ms();
    assert_int_equal(rest_after(wall, INT64_MAX), YEAR);
    assert_int_equal(rest_after(INT64_MIN, INT64_MAX), YEAR);
    assert_int_equal(rest_after(INT64_MAX, INT64_MIN), 0);
    assert_int_equal(rest_after(wall, INT64_MIN), 0);
    assert_int_equal(rest_after(INT64_MAX, INT64_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rest_goes_on),
        cmocka_unit_test(a_clock_that_was_set_back_makes_no_rest_longer),
        cmocka_unit_test(absurd_times_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
