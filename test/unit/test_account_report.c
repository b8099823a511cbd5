/*
 * test/unit/test_account_report.c - how the accounts are, as JSON and as a table: whole, whatever a
 * site has said.
 */
#include "base/json.h"
#include "gateway/account_report.h"
#include "test/unit/support/cmocka_all.h"

static const char SITES[] =
    "[[sites]]\nname = \"s\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"
    "limits = \"model\"\n"
    "[[sites.accounts]]\nname = \"a\"\napi_key = \"secret-1\"\n"
    "[[sites.accounts]]\nname = \"b\"\napi_key = \"secret-2\"\n";

struct bench {
    struct config *config;
    struct account_pool *pool;
    struct drift *drift;
    struct buffer json, table;
};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    struct buffer errors;
    buffer_init(&errors, 1 << 16);
    buffer_init(&b->json, 1 << 16);
    buffer_init(&b->table, 1 << 16);
    b->config = config_parse(span_str(SITES), "t.toml", &errors);
    assert_non_null(b->config);
    buffer_free(&errors);
    b->pool = account_pool_create(&(struct account_pool_hooks){0}, 1);
    assert_non_null(b->pool);
    assert_int_equal(account_pool_configure(b->pool, b->config, 0), 0);
    b->drift = drift_create();
    assert_non_null(b->drift);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    account_pool_destroy(b->pool);
    drift_destroy(b->drift);
    config_unref(b->config);
    buffer_free(&b->json);
    buffer_free(&b->table);
    free(b);
    return 0;
}

static struct account *account(struct bench *b, const char *name)
{
    return account_pool_find(b->pool, SPAN("s"), span_str(name));
}

/* Monotonic time 1,000 ms; 1970-01-01 00:01:40. */
static void report(struct bench *b)
{
    account_report_json(&b->json, b->pool, b->drift, b->config, true, 1000, 100000);
    assert_int_equal(account_report_table(&b->table, buffer_span(&b->json), 100000), 0);
}

static void expect_in(const struct buffer *text, const char *wanted)
{
    if (span_find(buffer_span(text), span_str(wanted)) < 0)
        fail_msg("%s is not in %.*s", wanted, SPAN_ARGS(buffer_span(text)));
}

static void states_are_told(void **state)
{
    struct bench *b = *state;
    account_failed(account(b, "a"), FAIL_RATE_LIMITED, SPAN("gpt"), 30, 1000);
    account_remember(account(b, "a"), SPAN("gpt"), "slow down");
    account_failed(account(b, "b"), FAIL_CREDENTIAL, SPAN("gpt"), 0, 1000);
    account_remember(account(b, "b"), SPAN("gpt"), "who are you?");
    report(b);
    expect_in(&b->json,
              "{\"site\":\"s\",\"account\":\"a\",\"state\":\"ready\",\"until\":null,\"models\":[{"
              "\"model\":\"gpt\",\"until\":130}],\"in_flight\":0,\"requests_today\":0,\"requests\":"
              "0,\"failures\":1,\"last_error\":\"slow down\"}");
    expect_in(&b->json, "\"account\":\"b\",\"state\":\"expired\"");
    expect_in(&b->table, "expired");
    expect_in(&b->table, "(in 30 s)");
    assert_true(span_find(buffer_span(&b->json), SPAN("secret-")) < 0);
}

/* Sites speak Chinese, too: what does not fit ends with a whole character. */
static void long_words_in_any_language_are_fine(void **state)
{
    struct bench *b = *state;
    char words[sizeof(((struct fail *)0)->message)];
    for (size_t start = 0; start < 3; start++) { /* cut at each place of a character */
        struct fail fail;
        memset(words, 0, sizeof words);
        memset(words, 'x', start);
        while (strlen(words) + 3 < sizeof words)
            strcat(words, "\xE8\xAF\xB7");
        fail_set(&fail, FAIL_RATE_LIMITED, "%s", words);
        account_failed(account(b, "a"), FAIL_RATE_LIMITED, span_str(words), 30, 1000);
        account_remember(account(b, "a"), span_str(words), fail.message);
        buffer_clear(&b->json);
        buffer_clear(&b->table);
        report(b);
        expect_in(&b->json, fail.message); /* all of it */
        expect_in(&b->table, "(in 30 s)");
    }
}

static void without_a_gateway_there_are_names_only(void **state)
{
    struct bench *b = *state;
    account_report_json(&b->json, NULL, NULL, b->config, false, 0, 100000);
    assert_span_equal(buffer_span(&b->json),
                      SPAN("{\"running\":false,\"accounts\":[{\"site\":\"s\",\"account\":\"a\","
                           "\"state\":null},{\"site\":\"s\",\"account\":\"b\",\"state\":null}],"
                           "\"drift\":[]}"));
    assert_int_equal(account_report_table(&b->table, SPAN("{"), 0), -1);
}

static void drift_of_the_last_hour_is_told(void **state)
{
    struct bench *b = *state;
    report(b);
    assert_true(span_find(buffer_span(&b->table), SPAN("DRIFT")) < 0);
    buffer_clear(&b->json);
    buffer_clear(&b->table);
    drift_count(b->drift, SPAN("s"), SPAN("unknown event"), 400);
    drift_count(b->drift, SPAN("s"), SPAN("unknown event"), 500);
    report(b);
    expect_in(&b->json, ",\"drift\":[{\"site\":\"s\",\"kind\":\"unknown event\",\"last_hour\":2,"
                        "\"total\":2,\"last\":99}]}");
    expect_in(&b->table, "\n\nSITE  DRIFT IN THE LAST HOUR  TIMES  LAST\n"
                         "s     unknown event           2      ");
    expect_in(&b->table, "(1 s ago)\n");
    buffer_clear(&b->json);
    account_report_json(&b->json, b->pool, b->drift, b->config, true, 2 * DRIFT_HOUR_MS, 100000);
    expect_in(&b->json, "\"drift\":[]");
}

int main(void)
{
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_BENCH(states_are_told),
        WITH_BENCH(drift_of_the_last_hour_is_told),
        WITH_BENCH(long_words_in_any_language_are_fine),
        WITH_BENCH(without_a_gateway_there_are_names_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
