/*
 * test/unit/test_key_limits.c - what a client key may use: the bucket, places, days, reloads, and
 * clocks that jump.
 */
#include "gateway/key_limits.h"
#include "test/unit/support/cmocka_all.h"

#define SITE  "[[sites]]\nname = \"demo\"\nadapter = \"demo\"\n"
#define KEY   "[[keys]]\nname = \"k\"\nkey = \"1\"\n"
#define OTHER "[[keys]]\nname = \"other\"\nkey = \"2\"\n"

#define MIDNIGHT_MS INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define TODAY       INT64_C(20454)
#define DAY_MS      INT64_C(86400000)

struct bench {
    struct key_limits *limits;
    struct key_time now;
    char told[200]; /* the last `changed` */
    int n_told;
};

static void on_changed(void *owner, struct span key, const struct key_day *day)
{
    struct bench *b = owner;
    b->n_told++;
    snprintf(b->told, sizeof b->told, "%.*s day %lld: %lld requests, %lld tokens", SPAN_ARGS(key),
             (long long)day->day, (long long)day->requests, (long long)day->tokens);
}

static void configure(struct bench *b, const char *text)
{
    struct buffer errors;
    buffer_init(&errors, 1 << 16);
    struct config *config = config_parse(span_str(text), "t.toml", &errors);
    if (!config)
        fail_msg("%.*s", SPAN_ARGS(buffer_span(&errors)));
    buffer_free(&errors);
    assert_int_equal(key_limits_configure(b->limits, config, b->now), 0);
    config_unref(config); /* nothing of it is kept */
}

static struct bench *start(const char *text)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->limits = key_limits_create(on_changed, b);
    assert_non_null(b->limits);
    b->now = (struct key_time){1000000, MIDNIGHT_MS};
    configure(b, text);
    return b;
}

static void stop(struct bench *b)
{
    key_limits_destroy(b->limits);
    free(b);
}

/* Time goes by, on both clocks. */
static void pass(struct bench *b, int64_t ms)
{
    b->now.monotonic_ms += (uint64_t)ms;
    b->now.wall_ms += ms;
}

/* 0 when it may begin, else its Retry-After; `fail` is filled. */
static int begin(struct bench *b, const char *name, struct limited_key **key, struct fail *fail)
{
    *fail = (struct fail){0};
    if (key_limits_begin(b->limits, span_str(name), b->now, key, fail) == 0)
        return 0;
    assert_int_equal(fail->kind, FAIL_KEY_LIMIT);
    assert_true(fail->retry_after_s > 0);
    return fail->retry_after_s;
}

/* A whole request that takes no time. */
static int ask(struct bench *b, const char *name)
{
    struct limited_key *k;
    struct fail fail;
    int wait = begin(b, name, &k, &fail);
    if (k && !wait)
        limited_key_end(k);
    if (k)
        limited_key_unref(k);
    return wait;
}

static void ask_for_tokens(struct bench *b, int64_t tokens)
{
    struct limited_key *k;
    struct fail fail;
    assert_int_equal(begin(b, "k", &k, &fail), 0);
    limited_key_count_tokens(k, tokens, b->now.wall_ms);
    limited_key_end(k);
    limited_key_unref(k);
}

static void expect_refusal(struct bench *b, int seconds, const char *message)
{
    struct limited_key *k;
    struct fail fail;
    assert_int_equal(begin(b, "k", &k, &fail), seconds);
    assert_string_equal(fail.message, message);
    limited_key_unref(k);
}

static void expect_allowance(struct key_allowance a, int64_t limit, int64_t remaining,
                             uint64_t reset_ms)
{
    assert_int_equal(a.limit, limit);
    assert_int_equal(a.remaining, remaining);
    assert_int_equal(a.reset_ms, reset_ms);
}

static struct key_allowance requests_of(struct bench *b)
{
    struct limited_key *k;
    struct fail fail;
    begin(b, "k", &k, &fail);
    struct key_allowance a = limited_key_requests(k, b->now);
    if (fail.kind == FAIL_NONE)
        limited_key_end(k);
    limited_key_unref(k);
    return a;
}

/* ---- requests a minute ---- */

static void a_bucket_holds_a_minute_and_refills(void **state)
{
    struct bench *b = start(KEY "rpm = 6\n" SITE);
    for (int i = 0; i < 6; i++)
        assert_int_equal(ask(b, "k"), 0);
    expect_refusal(b, 10,
                   "the key \"k\" has used up its 6 requests a minute (rpm); free again in 10s");
    pass(b, 9999);
    expect_refusal(b, 1,
                   "the key \"k\" has used up its 6 requests a minute (rpm); free again in 1s");
    pass(b, 1);
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 10);
    pass(b, 30000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 10);
    pass(b, 3600000); /* no more than a minute's */
    for (int i = 0; i < 6; i++)
        assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 10);
    stop(b);
}

/* One whose thirds are no whole milliseconds; over an hour nobody gets one more or less. */
static void a_bucket_rounds_nothing(void **state)
{
    struct bench *b = start(KEY "rpm = 7\n" SITE);
    int good = 0;
    for (int i = 0; i < 3600 * 10; i++) {
        good += ask(b, "k") == 0;
        pass(b, 100);
    }
    assert_int_equal(good, 7 + 7 * 60 - 1); /* the last of them is due at the hour itself */
    good += ask(b, "k") == 0;
    assert_int_equal(good, 7 + 7 * 60);
    stop(b);
}

static void the_largest_bucket(void **state)
{
    struct bench *b = start(KEY "rpm = 1000000\n" SITE);
    assert_int_equal(ask(b, "k"), 0);
    expect_allowance(requests_of(b), 1000000, 999998, 1);
    b->now.monotonic_ms = UINT64_MAX / 2;
    expect_allowance(requests_of(b), 1000000, 999999, 1);
    stop(b);
}

static void who_is_refused_has_used_nothing(void **state)
{
    struct bench *b = start(KEY "rpm = 1\nrequests_per_day = 3\n" OTHER "rpm = 1\n" SITE);
    assert_int_equal(ask(b, "k"), 0);
    for (int i = 60; i > 0; i--) { /* asks every second: its turn comes no later */
        assert_int_equal(ask(b, "k"), i);
        pass(b, 1000);
    }
    assert_int_equal(ask(b, "k"), 0);
    assert_string_equal(b->told, "k day 20454: 2 requests, 0 tokens");
    assert_int_equal(ask(b, "other"), 0); /* and nobody else has lost by it */
    assert_int_equal(ask(b, "other"), 60);
    stop(b);
}

/* What Retry-After says is true: a second before, it is too early; then it is not. */
static void retry_after_keeps_its_word(void **state)
{
    static const char *const configs[] = {KEY "rpm = 1\n" SITE, KEY "rpm = 13\n" SITE,
                                          KEY "requests_per_day = 5\n" SITE,
                                          KEY "rpm = 50\nrequests_per_day = 20\n" SITE};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct bench *b = start(configs[i]);
        pass(b, 7777);
        for (int k = 0; k < 50; k++) {
            int wait = ask(b, "k");
            if (!wait)
                continue;
            pass(b, ((int64_t)wait - 1) * 1000);
            assert_true(wait == 1 || ask(b, "k") == 1);
            pass(b, 1000);
            assert_int_equal(ask(b, "k"), 0);
        }
        stop(b);
    }
}

static void a_monotonic_clock_that_stands_still(void **state)
{
    struct bench *b = start(KEY "rpm = 2\n" SITE);
    assert_int_equal(ask(b, "k"), 0);
    b->now.monotonic_ms -= 5000; /* never happens; costs nothing if it does */
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 30);
    stop(b);
}

/* ---- requests at once ---- */

static void places_are_free_again_at_the_end(void **state)
{
    struct bench *b = start(KEY "max_concurrent = 2\n" SITE);
    struct limited_key *first, *second;
    struct fail fail;
    assert_int_equal(begin(b, "k", &first, &fail), 0);
    assert_int_equal(begin(b, "k", &second, &fail), 0);
    for (int i = 0; i < 3; i++)
        expect_refusal(b, 1,
                       "the key \"k\" has 2 unfinished requests, as many as it may "
                       "(max_concurrent); free again when one of them ends: ask again in 1s");
    limited_key_end(first);
    assert_int_equal(ask(b, "k"), 0);
    limited_key_end(second);
    assert_int_equal(ask(b, "k"), 0);
    expect_allowance(limited_key_requests(first, b->now), 0, 0, 0); /* no headers for this */
    limited_key_unref(first);
    limited_key_unref(second);
    stop(b);
}

/* ---- days ---- */

static void requests_of_a_day(void **state)
{
    struct bench *b = start(KEY "requests_per_day = 2\n" SITE);
    pass(b, 3600000);
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 0);
    expect_refusal(b, 82800,
                   "the key \"k\" has used up its 2 requests of today (requests_per_day); free "
                   "again at 00:00 UTC, in 23h0m0s");
    assert_int_equal(b->n_told, 2);
    pass(b, DAY_MS - 3600000 - 1);
    assert_int_equal(ask(b, "k"), 1);
    pass(b, 1);
    assert_int_equal(ask(b, "k"), 0);
    assert_string_equal(b->told, "k day 20455: 1 requests, 0 tokens");
    pass(b, 5 * DAY_MS); /* days on which nobody asked */
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 86400);
    stop(b);
}

static void tokens_of_a_day(void **state)
{
    struct bench *b = start(KEY "tokens_per_day = 100\n" SITE);
    ask_for_tokens(b, 99);
    ask_for_tokens(b, 500); /* the last one may go beyond */
    assert_string_equal(b->told, "k day 20454: 2 requests, 599 tokens");
    expect_refusal(b, 86400,
                   "the key \"k\" has used up its 100 tokens of today (tokens_per_day); free "
                   "again at 00:00 UTC, in 24h0m0s");
    pass(b, DAY_MS);
    assert_int_equal(ask(b, "k"), 0);

    /* an answer that goes on over midnight belongs to the day on which it ends */
    struct limited_key *k;
    struct fail fail;
    assert_int_equal(begin(b, "k", &k, &fail), 0);
    pass(b, DAY_MS);
    limited_key_count_tokens(k, 40, b->now.wall_ms);
    assert_string_equal(b->told, "k day 20456: 0 requests, 40 tokens");
    limited_key_count_tokens(k, 0, b->now.wall_ms);
    limited_key_count_tokens(k, -5, b->now.wall_ms); /* no site gives tokens back */
    expect_allowance(limited_key_tokens(k, b->now.wall_ms), 100, 60, (uint64_t)DAY_MS);
    limited_key_count_tokens(k, INT64_MAX, b->now.wall_ms);
    expect_allowance(limited_key_tokens(k, b->now.wall_ms), 100, 0, (uint64_t)DAY_MS);
    limited_key_end(k);
    limited_key_unref(k);
    stop(b);
}

static void the_longest_wait_is_told(void **state)
{
    struct bench *b =
        start(KEY "rpm = 1\nmax_concurrent = 1\nrequests_per_day = 2\ntokens_per_day = 10\n" SITE);
    struct limited_key *k;
    struct fail fail;
    assert_int_equal(begin(b, "k", &k, &fail), 0);
    assert_int_equal(ask(b, "k"),
                     60); /* not 1 s, as for its place: then it would be refused anew */
    pass(b, 60000);
    assert_int_equal(ask(b, "k"), 1);
    limited_key_end(k);
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 86400 - 60);
    limited_key_count_tokens(k, 10, b->now.wall_ms);
    limited_key_unref(k);
    pass(b, 2 * 60000);
    assert_int_equal(begin(b, "k", &k, &fail), 86400 - 180);
    assert_non_null(strstr(fail.message, "tokens_per_day"));
    limited_key_unref(k);
    stop(b);
}

/* ---- clocks that jump ---- */

static void forward_a_day_begins_anew(void **state)
{
    struct bench *b = start(KEY "requests_per_day = 1\nrpm = 60\n" SITE);
    assert_int_equal(ask(b, "k"), 0);
    b->now.wall_ms += 40 * 365 * DAY_MS;
    assert_int_equal(ask(b, "k"), 0);
    assert_true(ask(b, "k") > 0);
    stop(b);
}

static void back_what_was_used_stays_used(void **state)
{
    struct bench *b = start(KEY "requests_per_day = 1\n" SITE);
    b->now.wall_ms += 40 * 365 * DAY_MS; /* the clock was wrong at the start */
    assert_int_equal(ask(b, "k"), 0);
    b->now.wall_ms = MIDNIGHT_MS + 1000;
    assert_int_equal(ask(b, "k"), 86399); /* today, and not in forty years */
    b->now.wall_ms += 86398999;
    assert_int_equal(ask(b, "k"), 1);
    b->now.wall_ms += 1;
    assert_int_equal(ask(b, "k"), 0);
    stop(b);
}

/* Time servers set a clock back by a little: the day must not begin twice. */
static void corrected_around_midnight(void **state)
{
    struct bench *b = start(KEY "requests_per_day = 1\n" SITE);
    b->now.wall_ms = MIDNIGHT_MS + 500;
    assert_int_equal(ask(b, "k"), 0);
    for (int i = 0; i < 5; i++) {
        b->now.wall_ms = MIDNIGHT_MS - 1500; /* yesterday evening again */
        assert_int_equal(ask(b, "k"), 86402);
        b->now.wall_ms = MIDNIGHT_MS + 600;
        assert_true(ask(b, "k") > 86000);
    }
    b->now.wall_ms = MIDNIGHT_MS + DAY_MS;
    assert_int_equal(ask(b, "k"), 0);
    stop(b);
}

static void within_a_day_jumps_do_not_matter(void **state)
{
    struct bench *b = start(KEY "requests_per_day = 2\nrpm = 1\n" SITE);
    b->now.wall_ms = MIDNIGHT_MS + 80000000;
    assert_int_equal(ask(b, "k"), 0);
    b->now.wall_ms = MIDNIGHT_MS + 5000000; /* hours back: the minute has its own clock */
    assert_int_equal(ask(b, "k"), 60);
    b->now.monotonic_ms += 60000;
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 81400);
    stop(b);
}

static void before_1970(void **state)
{
    struct bench *b = start(KEY "requests_per_day = 1\n" SITE);
    b->now.wall_ms = -1; /* a machine without a clock of its own */
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 1);
    b->now.wall_ms = 0;
    assert_int_equal(ask(b, "k"), 0);
    stop(b);
}

/* ---- reloads ---- */

static void a_reload_keeps_what_was_used(void **state)
{
    struct bench *b = start(KEY "rpm = 4\nrequests_per_day = 4\n" SITE);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(b, "k"), 0);
    for (int i = 0; i < 3; i++)
        configure(b, OTHER KEY "rpm = 4\nrequests_per_day = 4\n" SITE);
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 86400);
    configure(b, KEY "rpm = 4\nrequests_per_day = 5\n" SITE);
    assert_int_equal(ask(b, "k"), 15);
    configure(b, KEY "rpm = 6\nrequests_per_day = 6\n" SITE); /* two more of each */
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 86400);
    configure(b, KEY "rpm = 2\n" SITE); /* six of two are used: empty, not below */
    assert_int_equal(ask(b, "k"), 30);
    configure(b, KEY SITE);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(b, "k"), 0);
    configure(b, KEY "requests_per_day = 27\nrpm = 1\n" SITE); /* days count on without a budget */
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 86400);
    stop(b);
}

static void a_reload_meets_requests_under_way(void **state)
{
    struct bench *b = start(KEY "max_concurrent = 3\ntokens_per_day = 5\n" SITE);
    struct limited_key *held[2], *k;
    struct fail fail;
    for (int i = 0; i < 2; i++)
        assert_int_equal(begin(b, "k", &held[i], &fail), 0);
    configure(b, KEY "max_concurrent = 2\ntokens_per_day = 5\n" SITE);
    assert_int_equal(ask(b, "k"), 1);
    limited_key_end(held[0]);
    limited_key_unref(held[0]);
    assert_int_equal(ask(b, "k"), 0);

    configure(b, OTHER SITE); /* gone: what is under way keeps its own until it ends */
    assert_int_equal(begin(b, "k", &k, &fail), 0);
    assert_null(k);
    int told = b->n_told;
    limited_key_count_tokens(held[1], 7, b->now.wall_ms);
    assert_int_equal(b->n_told, told);
    configure(b, KEY "max_concurrent = 1\n" SITE); /* one of the same name is another one */
    assert_int_equal(begin(b, "k", &k, &fail), 0);
    limited_key_end(held[1]);
    limited_key_unref(held[1]);
    assert_int_equal(ask(b, "k"), 1);
    limited_key_end(k);
    limited_key_unref(k);
    assert_int_equal(ask(b, "k"), 0);
    stop(b);
}

/* ---- what was kept ---- */

static void restored(struct bench *b, const char *name, int64_t day, int64_t requests,
                     int64_t tokens)
{
    struct key_day kept = {day, requests, tokens};
    key_limits_restore(b->limits, span_str(name), &kept);
}

static void days_are_restored(void **state)
{
    struct bench *b = start(KEY "requests_per_day = 5\ntokens_per_day = 100\n" SITE);
    restored(b, "k", TODAY, 3, 60);
    restored(b, "nobody", TODAY, 3, 60);
    assert_int_equal(b->n_told, 0);
    ask_for_tokens(b, 10);
    assert_string_equal(b->told, "k day 20454: 4 requests, 70 tokens");
    stop(b);

    b = start(KEY "requests_per_day = 5\n" SITE); /* yesterday's are nobody's business */
    restored(b, "k", TODAY - 1, 5, 0);
    assert_int_equal(ask(b, "k"), 0);
    stop(b);

    b = start(KEY "requests_per_day = 5\n" SITE); /* requests that came before they were read */
    assert_int_equal(ask(b, "k"), 0);
    restored(b, "k", TODAY - 1, 5, 0);
    restored(b, "k", TODAY, 3, 0);
    assert_int_equal(ask(b, "k"), 0);
    assert_int_equal(ask(b, "k"), 86400);
    stop(b);

    b = start(KEY "requests_per_day = 5\n" SITE); /* nonsense */
    restored(b, "k", INT64_MAX, 5, 0);
    restored(b, "k", -1, 5, 0);
    restored(b, "k", TODAY, -5, 0);
    restored(b, "k", TODAY, 5, -1);
    assert_int_equal(ask(b, "k"), 0);
    stop(b);

    b = start(KEY "requests_per_day = 5\n" SITE); /* kept while the clock was wrong */
    restored(b, "k", TODAY + 20000, 5, 0);
    assert_int_equal(ask(b, "k"), 86400);
    pass(b, DAY_MS);
    assert_int_equal(ask(b, "k"), 0);
    stop(b);
}

static void only_budgets_are_told(void **state)
{
    struct bench *b = start(KEY "rpm = 5\nmax_concurrent = 2\n" SITE);
    ask_for_tokens(b, 10);
    assert_int_equal(b->n_told, 0);
    stop(b);
}

/* ---- headers ---- */

static void what_is_left(void **state)
{
    struct bench *b = start(KEY "rpm = 10\n" SITE);
    expect_allowance(requests_of(b), 10, 9, 6000);
    expect_allowance(requests_of(b), 10, 8, 12000);
    pass(b, 5999);
    expect_allowance(requests_of(b), 10, 7, 12001);
    for (int i = 0; i < 7; i++)
        requests_of(b);
    expect_allowance(requests_of(b), 10, 0, 54001); /* refused, and the same for it */
    stop(b);

    b = start(KEY "rpm = 10\nrequests_per_day = 12\n" SITE); /* the one with less left */
    pass(b, 1000);
    for (int i = 0; i < 5; i++)
        requests_of(b);
    expect_allowance(requests_of(b), 10, 4, 36000);
    pass(b, 60000);
    expect_allowance(requests_of(b), 12, 5, (uint64_t)DAY_MS - 61000);
    stop(b);
}

static void durations(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {
        {0, "0s"},
        {1, "1ms"},
        {120, "120ms"},
        {999, "999ms"},
        {1000, "1s"},
        {1001, "2s"},
        {59000, "59s"},
        {59001, "1m0s"},
        {60000, "1m0s"},
        {360000, "6m0s"},
        {3599000, "59m59s"},
        {3600000, "1h0m0s"},
        {86341000, "23h59m1s"},
        {90000000, "25h0m0s"},
    };
    char text[KEY_DURATION_SIZE];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(key_duration_format(rows[i].ms, text), rows[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_holds_a_minute_and_refills),
        cmocka_unit_test(a_bucket_rounds_nothing),
        cmocka_unit_test(the_largest_bucket),
        cmocka_unit_test(who_is_refused_has_used_nothing),
        cmocka_unit_test(retry_after_keeps_its_word),
        cmocka_unit_test(a_monotonic_clock_that_stands_still),
        cmocka_unit_test(places_are_free_again_at_the_end),
        cmocka_unit_test(requests_of_a_day),
        cmocka_unit_test(tokens_of_a_day),
        cmocka_unit_test(the_longest_wait_is_told),
        cmocka_unit_test(forward_a_day_begins_anew),
        cmocka_unit_test(back_what_was_used_stays_used),
        cmocka_unit_test(corrected_around_midnight),
        cmocka_unit_test(within_a_day_jumps_do_not_matter),
        cmocka_unit_test(before_1970),
        cmocka_unit_test(a_reload_keeps_what_was_used),
        cmocka_unit_test(a_reload_meets_requests_under_way),
        cmocka_unit_test(days_are_restored),
        cmocka_unit_test(only_budgets_are_told),
        cmocka_unit_test(what_is_left),
        cmocka_unit_test(durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
