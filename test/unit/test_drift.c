/*
 * test/unit/test_drift.c - gateway/drift.h: counted by site and kind, known for an hour, said once
 * in one, and never more of them than there is room for.
 */
#include <stdio.h>

#include "gateway/drift.h"
#include "test/unit/support/cmocka_all.h"

enum { MINUTE = 60 * 1000 };

static bool count(struct drift *d, const char *site, const char *kind, uint64_t now_ms)
{
    return drift_count(d, span_str(site), span_str(kind), now_ms);
}

static struct drift_row row_at(const struct drift *d, size_t at, uint64_t now_ms)
{
    struct drift_row row;
    assert_true(drift_next(d, &at, now_ms, &row));
    return row;
}

static size_t rows(const struct drift *d)
{
    struct drift_row row;
    size_t at = 0, n = 0;
    while (drift_next(d, &at, 0, &row))
        n++;
    return n;
}

static void each_site_and_kind_for_itself(void **state)
{
    struct drift *d = drift_create();
    assert_non_null(d);
    count(d, "glm", "unknown event", 1000);
    count(d, "glm", "unknown event", 2000);
    count(d, "glm", "unknown phase", 3000);
    count(d, "zai", "unknown event", 4000);
    assert_int_equal(rows(d), 3);
    struct drift_row row = row_at(d, 0, 5000);
    assert_span_equal(row.site, SPAN("glm"));
    assert_span_equal(row.kind, SPAN("unknown event"));
    assert_int_equal(row.total, 2);
    assert_int_equal(row.last_hour, 2);
    assert_int_equal(row.last_ms, 2000);
    assert_span_equal(row_at(d, 1, 5000).kind, SPAN("unknown phase"));
    assert_span_equal(row_at(d, 2, 5000).site, SPAN("zai"));
    assert_int_equal(row_at(d, 2, 5000).total, 1);
    drift_destroy(d);
    drift_destroy(NULL);
}

static void the_window_is_the_last_hour(void **state)
{
    struct drift *d = drift_create();
    assert_non_null(d);
    for (uint64_t minute = 0; minute < 200; minute++) {
        count(d, "s", "k", minute * MINUTE + 5);
        uint64_t within = minute < 60 ? minute + 1 : 60;
        assert_int_equal(row_at(d, 0, minute * MINUTE + 5).last_hour, within);
    }
    uint64_t end = 199 * (uint64_t)MINUTE;
    assert_int_equal(row_at(d, 0, end + 10 * MINUTE).last_hour, 50);
    assert_int_equal(row_at(d, 0, end + 59 * MINUTE).last_hour, 1);
    assert_int_equal(row_at(d, 0, end + 60 * MINUTE).last_hour, 0);
    assert_int_equal(row_at(d, 0, end + 500 * MINUTE).last_hour, 0);
    assert_int_equal(row_at(d, 0, end).total, 200);
    count(d, "s", "k", end + 30 * MINUTE); /* the minutes between had none */
    assert_int_equal(row_at(d, 0, end + 30 * MINUTE).last_hour, 31);
    count(d, "s", "k", end + 30000 * (uint64_t)MINUTE); /* nor have days */
    assert_int_equal(row_at(d, 0, end + 30000 * (uint64_t)MINUTE).last_hour, 1);
    drift_destroy(d);
}

static void said_once_in_an_hour(void **state)
{
    struct drift *d = drift_create();
    assert_non_null(d);
    uint64_t start = 123456;
    assert_true(count(d, "s", "k", start));
    assert_false(count(d, "s", "k", start));
    assert_true(count(d, "s", "other", start + 1));
    assert_true(count(d, "t", "k", start + 2));
    assert_false(count(d, "s", "k", start + DRIFT_HOUR_MS - 1));
    assert_true(count(d, "s", "k", start + DRIFT_HOUR_MS));
    assert_false(count(d, "s", "k", start + DRIFT_HOUR_MS + 1));
    drift_destroy(d);
}

static void no_more_than_there_is_room_for(void **state)
{
    struct drift *d = drift_create();
    assert_non_null(d);
    char kind[32];
    for (int i = 0; i < DRIFT_ROWS; i++) {
        snprintf(kind, sizeof kind, "kind %d", i);
        assert_true(count(d, "s", kind, (uint64_t)i));
    }
    assert_false(count(d, "s", "one too many", 5000)); /* not said either: it would be each time */
    assert_int_equal(drift_uncounted(d), 1);
    assert_int_equal(rows(d), DRIFT_ROWS);
    count(d, "s", "kind 0", 6000);
    assert_true(count(d, "s", "an hour later", DRIFT_HOUR_MS + 1)); /* kind 1 was silent longest */
    assert_int_equal(rows(d), DRIFT_ROWS);
    assert_span_equal(row_at(d, 1, 0).kind, SPAN("an hour later"));
    assert_int_equal(row_at(d, 1, DRIFT_HOUR_MS + 1).total, 1);
    assert_int_equal(row_at(d, 0, 6000).total, 2);
    assert_int_equal(drift_uncounted(d), 1);
    drift_destroy(d);
}

static void long_names_are_cut(void **state)
{
    struct drift *d = drift_create();
    assert_non_null(d);
    char name[300];
    memset(name, 'x', sizeof name);
    drift_count(d, span_of(name, sizeof name), span_of(name, sizeof name), 1);
    drift_count(d, span_of(name, sizeof name), span_of(name, sizeof name), 1);
    assert_int_equal(rows(d), 1);
    assert_int_equal(row_at(d, 0, 1).site.n, DRIFT_SITE);
    assert_int_equal(row_at(d, 0, 1).kind.n, DRIFT_KIND);
    drift_destroy(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_site_and_kind_for_itself),
        cmocka_unit_test(the_window_is_the_last_hour),
        cmocka_unit_test(said_once_in_an_hour),
        cmocka_unit_test(no_more_than_there_is_room_for),
        cmocka_unit_test(long_names_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
