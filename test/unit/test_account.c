/*
 * test/unit/test_account.c - one account's limits: rests for a model or as a whole, longer each
 * time; its pace.
 */
#include "gateway/account.h"

#include <stdlib.h>

#include "gateway/clock.h"
#include "gateway/http_client.h"
#include "test/unit/support/cmocka_all.h"

static const struct account_limits per_account = {0}, per_model = {.per_model = true},
                                   with_time = {.per_model = true, .cool_down_s = 7};

static void rests(void **state)
{
    struct account a = {0};
    uint64_t big = account_model_hash(SPAN("big")), small = account_model_hash(SPAN("small"));
    account_note_failure(&a, FAIL_RATE_LIMITED, big, 10, &per_model, 0, 1000);
    assert_int_equal(account_cool_until(&a, big), 11000);
    assert_int_equal(account_cool_until(&a, small), 0);
    assert_int_equal(account_state_at(&a, 1000), ACCOUNT_READY);
    account_note_failure(&a, FAIL_RATE_LIMITED, big, 5, &per_account, 0, 1000);
    assert_int_equal(account_cool_until(&a, small), 6000);
    assert_int_equal(account_cool_until(&a, big), 11000); /* the longer one */
    assert_int_equal(account_state_at(&a, 5999), ACCOUNT_COOLING);
    assert_int_equal(account_state_at(&a, 6000), ACCOUNT_READY);
    account_note_failure(&a, FAIL_RATE_LIMITED, big, 1, &per_model, 0, 2000); /* never shorter */
    assert_int_equal(account_cool_until(&a, big), 11000);
    account_note_failure(&a, FAIL_RATE_LIMITED, small, 0, &with_time, 255, 20000);
    assert_int_equal(account_cool_until(&a, small), 27000);
    account_remember(&a, SPAN("big"), "a limit");
    account_forgive(&a);
    assert_int_equal(account_cool_until(&a, big), 0);
    bool named = false; /* still: the rest may have been written down */
    for (size_t i = 0; i < a.n_cool_downs; i++)
        named |= strcmp(a.cool_downs[i].name, "big") == 0;
    assert_true(named);
}

static void rests_grow_until_a_success(void **state)
{
    static const uint64_t seconds[] = {60, 120, 240, 480, 960, 1920, 3600, 3600};
    struct account a = {0};
    uint64_t now = 1000;
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        account_note_failure(&a, FAIL_RATE_LIMITED, 1, 0, &per_account, 0, now);
        assert_int_equal(account_cool_until(&a, 1), now + seconds[i] * 1000);
        /* Others that were under way meet the same limit. */
        account_note_failure(&a, FAIL_RATE_LIMITED, 1, 0, &per_account, 0, now);
        now = account_cool_until(&a, 1);
    }
    account_note_success(&a, 1);
    /* A limit while it rests without a strike, as after a success meanwhile: the first step. */
    struct account other = {0};
    account_resume(&other, SPAN(""), ACCOUNT_COOLING, 1000, 0, "");
    account_note_failure(&other, FAIL_RATE_LIMITED, 1, 0, &per_account, 0, 500);
    assert_int_equal(account_cool_until(&other, 1), 60500);
    account_note_failure(&a, FAIL_RATE_LIMITED, 1, 0, &per_account, 255, now);
    assert_in_range(account_cool_until(&a, 1), now + 60000, now + 72000);
}

/* One of several that are under way is answered well after the first met the limit: what the others
 * meet then is a first limit again. */
static void a_success_amid_limits_counts_anew(void **state)
{
    struct account a = {0};
    account_note_failure(&a, FAIL_RATE_LIMITED, 1, 0, &per_account, 0, 1000);
    account_note_success(&a, 1);
    account_note_failure(&a, FAIL_RATE_LIMITED, 1, 0, &per_account, 0, 2000);
    assert_int_equal(account_cool_until(&a, 1), 62000);
}

/* More models rest than there are places: none of them is asked before its time. */
static void many_models_have_room(void **state)
{
    struct account a = {0};
    for (uint64_t model = 1; model <= 100; model++) {
        account_note_failure(&a, FAIL_RATE_LIMITED, model, (int)model, &per_model, 0, 0);
        for (uint64_t known = 1; known <= model; known++)
            assert_true(account_cool_until(&a, known) >= known * 1000);
    }
    for (uint64_t model = 86; model <= 100; model++)
        assert_int_equal(account_cool_until(&a, model), model * 1000);
    account_note_failure(&a, FAIL_RATE_LIMITED, 1, 1000, &per_account, 0, 0);
    for (uint64_t model = 1; model <= 100; model++) {
        account_note_failure(&a, FAIL_RATE_LIMITED, model, 1, &per_model, 0, 500000);
        assert_int_equal(account_cool_until(&a, model), 1000000); /* the whole account's stays */
    }
}

/* Those that are over make room without a rest of the whole account. */
static void rests_that_are_over_make_room(void **state)
{
    struct account a = {0};
    for (uint64_t model = 1; model <= 100; model++)
        account_note_failure(&a, FAIL_RATE_LIMITED, model, 1, &per_model, 0, model * 1000);
    assert_int_equal(account_state_at(&a, 101000), ACCOUNT_READY);
}

static void pace(void **state)
{
    struct site_config site = {.max_concurrent = 2, .min_gap_ms = 100, .per_hour = 3};
    struct account a = {0};
    assert_int_equal(account_set_pace(&a, &site, 1), 0);
    assert_int_equal(account_free_at(&a), 0);
    account_begin(&a, 1000);
    assert_int_equal(account_free_at(&a), 1100);
    account_begin(&a, 1100);
    assert_int_equal(account_free_at(&a), UINT64_MAX); /* two at once */
    a.in_flight = 0;
    assert_int_equal(account_free_at(&a), 1200);
    account_begin(&a, 1200);
    a.in_flight = 0;
    assert_int_equal(account_free_at(&a), 1000 + 3600000); /* the first of three, an hour ago */
    account_begin(&a, 3601000);
    a.in_flight = 0;
    assert_int_equal(account_free_at(&a), 1100 + 3600000);

    site.per_hour = 2; /* a new configuration knows the latest ones */
    assert_int_equal(account_set_pace(&a, &site, 1), 0);
    assert_int_equal(account_free_at(&a), 1200 + 3600000);
    site.per_hour = 5;
    assert_int_equal(account_set_pace(&a, &site, 1), 0);
    assert_int_equal(account_free_at(&a), 3601100);
    for (uint64_t i = 0; i < 3; i++)
        account_begin(&a, 4000000 + i * 100);
    a.in_flight = 0;
    assert_int_equal(account_free_at(&a), 1200 + 3600000 > 4000300 ? 1200 + 3600000 : 4000300);
    site.per_hour = 0;
    assert_int_equal(account_set_pace(&a, &site, 1), 0);
    assert_null(a.starts);
}

static void states(void **state)
{
    struct account a = {0};
    account_note_failure(&a, FAIL_CREDENTIAL, 1, 0, &per_account, 0, 0);
    assert_int_equal(account_state_at(&a, 0), ACCOUNT_EXPIRED);
    account_note_failure(&a, FAIL_CHALLENGE, 1, 0, &per_account, 0, 0);
    assert_int_equal(account_state_at(&a, 0), ACCOUNT_CHALLENGED);
    account_note_success(&a, 1);
    assert_int_equal(account_state_at(&a, 0), ACCOUNT_READY);
    assert_int_equal(a.last_failure, FAIL_NONE);
    assert_int_equal(a.failures, 2);
    account_note_failure(&a, FAIL_RATE_LIMITED, 1, 10, &per_account, 0, 0);
    account_note_failure(&a, FAIL_CREDENTIAL, 1, 0, &per_account, 0, 5000); /* it rests: not now */
    assert_int_equal(account_state_at(&a, 5000), ACCOUNT_COOLING);
    assert_int_equal(account_state_at(&a, 10000), ACCOUNT_READY);
}

/* The longest that a site's Retry-After is believed (http_retry_after): what people are told about
 * a rest is how long it is. */
static void the_longest_rest_is_told(void **state)
{
    struct account a = {0};
    int longest = http_retry_after(SPAN("1000000000000"), 0);
    account_note_failure(&a, FAIL_RATE_LIMITED, 1, longest, &per_account, 0, 1000);
    assert_int_equal(longest, 365 * 86400);
    assert_int_equal(clock_seconds_until(account_cool_until(&a, 1), 1000), longest);
}

static void requests_of_the_day(void **state)
{
    struct account a = {0};
    assert_int_equal(account_requests_on(&a, 20000), 0);
    account_count_day(&a, 20000);
    account_count_day(&a, 20000);
    assert_int_equal(account_requests_on(&a, 20000), 2);
    assert_int_equal(account_requests_on(&a, 20001), 0);
    account_count_day(&a, 20001);
    assert_int_equal(account_requests_on(&a, 20001), 1);
}

/* Whose usage was missing once is counted for ever. */
static void usage_is_told_or_not(void **state)
{
    struct account a = {0};
    account_note_usage(&a, true);
    assert_int_equal(a.usage, USAGE_TOLD);
    account_note_usage(&a, false);
    assert_int_equal(a.usage, USAGE_NOT_TOLD);
    account_note_usage(&a, true);
    assert_int_equal(a.usage, USAGE_NOT_TOLD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rests),
        cmocka_unit_test(rests_grow_until_a_success),
        cmocka_unit_test(a_success_amid_limits_counts_anew),
        cmocka_unit_test(many_models_have_room),
        cmocka_unit_test(rests_that_are_over_make_room),
        cmocka_unit_test(pace),
        cmocka_unit_test(states),
        cmocka_unit_test(the_longest_rest_is_told),
        cmocka_unit_test(requests_of_the_day),
        cmocka_unit_test(usage_is_told_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
