/*
 * test/unit/test_metrics.c - gateway/metrics.h and gateway/prometheus.h: counted by label, never
 * more rows than there is room for, and written as Prometheus wants it.
 */
#include <stdio.h>

#include "gateway/metrics.h"
#include "gateway/prometheus.h"
#include "test/unit/support/cmocka_all.h"

static struct metrics_request request(const char *site, const char *model)
{
    return (struct metrics_request){.site = span_str(site),
                                    .model = span_str(model),
                                    .key = SPAN("cherry"),
                                    .api = "chat",
                                    .end = "complete",
                                    .ms = 1500,
                                    .first_ms = 200,
                                    .deltas = 3,
                                    .bytes_in = 10,
                                    .bytes_out = 20,
                                    .tokens_in = 5,
                                    .tokens_out = 7};
}

static uint64_t rows(const struct metrics *m, uint64_t *requests)
{
    struct metrics_row r;
    uint64_t n = 0;
    *requests = 0;
    for (size_t at = 0; metrics_next_row(m, &at, &r); n++)
        *requests += r.n;
    return n;
}

static void each_set_of_labels_has_a_row(void **state)
{
    struct metrics *m = metrics_create();
    assert_non_null(m);
    struct metrics_request r = request("zai", "glm-4.6");
    uint64_t n;
    metrics_count_request(m, &r);
    metrics_count_request(m, &r);
    assert_int_equal(rows(m, &n), 1);
    r.end = "cut";
    metrics_count_request(m, &r);
    r.key = SPAN("");
    metrics_count_request(m, &r);
    /* The same letters in other places are other labels. */
    r.site = SPAN("zaig");
    r.model = SPAN("lm-4.6");
    metrics_count_request(m, &r);
    assert_int_equal(rows(m, &n), 4);
    assert_int_equal(n, 5);
    metrics_destroy(m);
}

static void more_than_there_is_room_for_is_counted_together(void **state)
{
    struct metrics *m = metrics_create();
    assert_non_null(m);
    struct metrics_row last = {0};
    char model[32];
    uint64_t n;
    for (int i = 0; i < METRICS_REQUEST_ROWS + 100; i++) {
        snprintf(model, sizeof model, "model-%d", i);
        struct metrics_request r = request("zai", model);
        metrics_count_request(m, &r);
    }
    assert_int_equal(rows(m, &n), METRICS_REQUEST_ROWS + 1);
    assert_int_equal(n, METRICS_REQUEST_ROWS + 100);
    for (size_t at = 0; metrics_next_row(m, &at, &last);)
        continue;
    assert_int_equal(last.n, 100);
    assert_true(span_eq(last.model, SPAN("other")));
    metrics_destroy(m);
}

static void sites_beyond_the_last_share_its_place(void **state)
{
    struct metrics *m = metrics_create();
    assert_non_null(m);
    const struct metrics_site *site, *last = NULL;
    char name[32];
    int n = 0;
    for (int i = 0; i < METRICS_SITES + 50; i++) {
        snprintf(name, sizeof name, "site-%d", i);
        metrics_count_failure(m, span_str(name), FAIL_CUT);
    }
    for (size_t at = 0; (site = metrics_next_site(m, &at)); n++)
        last = site;
    assert_int_equal(n, METRICS_SITES);
    assert_string_equal(last->name, "other");
    assert_int_equal(last->failures[FAIL_CUT], 51);
    metrics_destroy(m);
}

static void a_site_adds_up_what_its_requests_were(void **state)
{
    struct metrics *m = metrics_create();
    assert_non_null(m);
    struct metrics_request r = request("zai", "glm");
    size_t at = 0;
    metrics_count_request(m, &r);
    r.first_ms = -1;
    r.ms = 700000;
    r.continuations = 2;
    metrics_count_request(m, &r);
    const struct metrics_site *site = metrics_next_site(m, &at);
    assert_string_equal(site->name, "zai");
    assert_int_equal(site->deltas, 6);
    assert_int_equal(site->bytes_in, 20);
    assert_int_equal(site->bytes_out, 40);
    assert_int_equal(site->tokens_in, 10);
    assert_int_equal(site->tokens_out, 14);
    assert_int_equal(site->continuations, 2);
    assert_int_equal(site->first.count, 1);
    assert_int_equal(site->total.count, 2);
    metrics_destroy(m);
}

static void sites_that_lie_about_tokens_spoil_no_sum(void **state)
{
    struct metrics *m = metrics_create();
    struct metrics_request r = request("zai", "glm");
    size_t at = 0;
    assert_non_null(m);
    r.tokens_in = INT64_MAX;
    r.tokens_out = -5;
    for (int i = 0; i < 3; i++)
        metrics_count_request(m, &r);
    const struct metrics_site *site = metrics_next_site(m, &at);
    assert_true(site->tokens_in == UINT64_C(3) * METRICS_TOKENS_MAX);
    assert_int_equal(site->tokens_out, 0);
    metrics_destroy(m);
}

static void long_names_are_cut_between_characters(void **state)
{
    struct metrics *m = metrics_create();
    assert_non_null(m);
    struct metrics_row row;
    char model[3 * 100 + 1];
    size_t at = 0;
    for (int i = 0; i < 100; i++)
        memcpy(model + 3 * i, "模", 4);
    struct metrics_request r = request("zai", model);
    metrics_count_request(m, &r);
    assert_true(metrics_next_row(m, &at, &row));
    assert_int_equal(row.model.n, 126); /* 42 characters of 3 bytes */
    metrics_destroy(m);
}

static void check_text(struct buffer *out, const char *wanted)
{
    buffer_char(out, '\0');
    assert_string_equal(out->p, wanted);
    buffer_free(out);
}

static void label_values_are_escaped_and_valid_text(void **state)
{
    struct buffer out;
    buffer_init(&out, 4096);
    prometheus_family(&out, "x_total", PROMETHEUS_COUNTER, "What is counted.");
    prometheus_count(&out, "x_total",
                     PROMETHEUS_LABELS({"a", SPAN("q\"b\\s\nn")}, {"b", SPAN("\xE6\xA8 \xFF")}), 7);
    prometheus_value(&out, "y", NULL, 0.25);
    check_text(&out, "# HELP x_total What is counted.\n# TYPE x_total counter\n"
                     "x_total{a=\"q\\\"b\\\\s\\nn\",b=\"\xEF\xBF\xBD \xEF\xBF\xBD\"} 7\n"
                     "y 0.25\n");
}

static void a_histogram_s_buckets_add_up(void **state)
{
    static const double bounds[METRICS_BUCKETS] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12.5};
    struct histogram h = {.bounds = bounds};
    struct buffer out;
    buffer_init(&out, 4096);
    histogram_add(&h, 1); /* a bound belongs to its bucket */
    histogram_add(&h, 1.5);
    histogram_add(&h, 100);
    prometheus_histogram(&out, "h", PROMETHEUS_LABELS({"site", SPAN("a")}), &h);
    check_text(&out, "h_bucket{site=\"a\",le=\"1\"} 1\nh_bucket{site=\"a\",le=\"2\"} 2\n"
                     "h_bucket{site=\"a\",le=\"3\"} 2\nh_bucket{site=\"a\",le=\"4\"} 2\n"
                     "h_bucket{site=\"a\",le=\"5\"} 2\nh_bucket{site=\"a\",le=\"6\"} 2\n"
                     "h_bucket{site=\"a\",le=\"7\"} 2\nh_bucket{site=\"a\",le=\"8\"} 2\n"
                     "h_bucket{site=\"a\",le=\"9\"} 2\nh_bucket{site=\"a\",le=\"10\"} 2\n"
                     "h_bucket{site=\"a\",le=\"11\"} 2\nh_bucket{site=\"a\",le=\"12.5\"} 2\n"
                     "h_bucket{site=\"a\",le=\"+Inf\"} 3\nh_sum{site=\"a\"} 102.5\n"
                     "h_count{site=\"a\"} 3\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_set_of_labels_has_a_row),
        cmocka_unit_test(more_than_there_is_room_for_is_counted_together),
        cmocka_unit_test(sites_beyond_the_last_share_its_place),
        cmocka_unit_test(a_site_adds_up_what_its_requests_were),
        cmocka_unit_test(sites_that_lie_about_tokens_spoil_no_sum),
        cmocka_unit_test(long_names_are_cut_between_characters),
        cmocka_unit_test(label_values_are_escaped_and_valid_text),
        cmocka_unit_test(a_histogram_s_buckets_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
