/*
 * test/unit/test_classify.c - failures of API-like sites: kinds, cleaned messages, never HTML,
 * never a secret.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "adapters/support.h"
#include "sse/text_guard.h"
#include "test/unit/support/transcript.h"

static const struct credential secret[] = {{SPAN_INIT("api_key"), SPAN_INIT("sk-very-secret-key")}};

static struct transcript_player *open_run(void)
{
    const struct transcript_setup setup = {
        .adapter = &adapter_openai, .credentials = secret, .n_credentials = 1};
    return transcript_open(&setup);
}

static void expect_kind(int status, const char *type, const char *body, enum fail_kind kind)
{
    struct transcript_player *p = open_run();
    struct turn_run *run = transcript_run(p);
    assert_int_equal(classify_http(run, status, span_str(type), 0, span_str(body)), -1);
    if (run->fail->kind != kind)
        fail_msg("%d %s %s: wanted %s, got %s (%s)", status, type, body, fail_kind_name(kind),
                 fail_kind_name(run->fail->kind), run->fail->message);
    if (status >= 300)
        assert_int_equal(run->fail->upstream_status, status);
    assert_true(run->fail->message[0]);
    transcript_close(p);
}

#define JSON "application/json"

static void every_status_has_its_kind(void **state)
{
    static const struct {
        int status;
        enum fail_kind kind;
    } rows[] = {
        {400, FAIL_BAD_REQUEST}, {401, FAIL_CREDENTIAL},   {402, FAIL_CREDENTIAL},
        {403, FAIL_CREDENTIAL},  {404, FAIL_BAD_REQUEST},  {405, FAIL_BAD_REQUEST},
        {409, FAIL_BAD_REQUEST}, {413, FAIL_BAD_REQUEST},  {415, FAIL_BAD_REQUEST},
        {422, FAIL_BAD_REQUEST}, {429, FAIL_RATE_LIMITED}, {500, FAIL_UNAVAILABLE},
        {502, FAIL_UNAVAILABLE}, {503, FAIL_OVERLOADED},   {504, FAIL_UNAVAILABLE},
        {529, FAIL_OVERLOADED},  {301, FAIL_UNAVAILABLE},  {408, FAIL_UNAVAILABLE},
        {418, FAIL_BAD_REQUEST}, {520, FAIL_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect_kind(rows[i].status, JSON, "{\"error\":{\"message\":\"x\"}}", rows[i].kind);
        expect_kind(rows[i].status, "", "", rows[i].kind);
        expect_kind(rows[i].status, "text/plain", "upstream says \xff no", rows[i].kind);
    }
}

static void html_is_a_challenge_or_a_failure(void **state)
{
    expect_kind(200, "text/html", "<p>hi", FAIL_CHALLENGE);
    expect_kind(403, "Text/HTML; charset=utf-8", "", FAIL_CHALLENGE);
    expect_kind(403, "application/json", " \r\n<!DocType html><title>x", FAIL_CHALLENGE);
    expect_kind(404, "", "\xEF\xBB\xBF <HTML>", FAIL_CHALLENGE);
    expect_kind(502, "text/html", "<html>Bad gateway</html>", FAIL_UNAVAILABLE);
    expect_kind(503, "text/html", "<html>", FAIL_OVERLOADED);
}

static void context_length_by_code_or_wording(void **state)
{
    static const char *const bodies[] = {
        "{\"error\":{\"message\":\"x\",\"code\":\"context_length_exceeded\"}}",
        "{\"error\":{\"message\":\"This model's maximum context length is 4096 "
        "tokens\",\"code\":null}}",
        "{\"error\":{\"message\":\"the request exceeds the available context "
        "size\",\"type\":\"exceed_context_size_error\"}}",
        "{\"detail\":\"prompt is too long: 1000 > 10\"}",
        "{\"message\":\"Please reduce the length of the messages.\"}",
        "{\"object\":\"error\",\"message\":\"Input is too long for this model\",\"code\":400}",
        "[{\"error\":{\"message\":\"exceeds the context window\"}}]",
        "{\"message\":\"超出上下文长度\"}",
        "maximum context length is 8192",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        expect_kind(400, JSON, bodies[i], FAIL_CONTEXT_LENGTH);
    expect_kind(413, JSON, bodies[0], FAIL_CONTEXT_LENGTH);
    expect_kind(429, JSON, bodies[1], FAIL_RATE_LIMITED);
    expect_kind(500, JSON, bodies[1], FAIL_UNAVAILABLE);
}

static void content_filter_by_code_or_wording(void **state)
{
    expect_kind(400, JSON, "{\"error\":{\"code\":\"content_filter\"}}", FAIL_CONTENT_FILTER);
    expect_kind(400, JSON, "{\"error\":{\"code\":\"content_policy_violation\"}}",
                FAIL_CONTENT_FILTER);
    expect_kind(400, JSON,
                "{\"error\":{\"message\":\"triggering Azure OpenAI's content management policy\"}}",
                FAIL_CONTENT_FILTER);
    expect_kind(403, JSON, "{\"error\":{\"message\":\"your input was flagged\"}}",
                FAIL_CONTENT_FILTER);
    expect_kind(400, JSON, "{\"error\":{\"code\":\"data_inspection_failed\"}}",
                FAIL_CONTENT_FILTER);
}

static void a_good_status_around_an_error(void **state)
{
    expect_kind(200, JSON, "{\"error\":{\"message\":\"x\",\"code\":429}}", FAIL_RATE_LIMITED);
    expect_kind(200, JSON, "{\"error\":{\"message\":\"x\",\"code\":\"401\"}}", FAIL_CREDENTIAL);
    expect_kind(200, JSON, "{\"error\":{\"message\":\"x\",\"type\":\"invalid_request_error\"}}",
                FAIL_BAD_REQUEST);
    expect_kind(200, JSON, "{\"message\":\"x\"}", FAIL_UNAVAILABLE);
    expect_kind(200, JSON, "{\"hello\":1}", FAIL_PROTOCOL);
}

static void expect_object(const char *text, enum fail_kind kind)
{
    struct transcript_player *p = open_run();
    struct turn_run *run = transcript_run(p);
    struct json error;
    assert_int_equal(json_parse_lenient(run->json, span_str(text), &error), JSON_OK);
    assert_int_equal(classify_error_object(run, error), -1);
    if (run->fail->kind != kind)
        fail_msg("%s: wanted %s, got %s", text, fail_kind_name(kind),
                 fail_kind_name(run->fail->kind));
    transcript_close(p);
}

static void error_objects_inside_streams(void **state)
{
    expect_object("{\"message\":\"x\",\"code\":429}", FAIL_RATE_LIMITED);
    expect_object("{\"message\":\"x\",\"code\":\"503\"}", FAIL_OVERLOADED);
    expect_object("{\"message\":\"x\",\"code\":50000}", FAIL_UNAVAILABLE);
    expect_object("{\"message\":\"x\",\"code\":200}", FAIL_UNAVAILABLE);
    expect_object("{\"message\":\"x\",\"type\":\"rate_limit_error\"}", FAIL_RATE_LIMITED);
    expect_object("{\"message\":\"x\",\"type\":\"authentication_error\"}", FAIL_CREDENTIAL);
    expect_object(
        "{\"message\":\"x\",\"code\":\"invalid_api_key\",\"type\":\"invalid_request_error\"}",
        FAIL_CREDENTIAL);
    expect_object("{\"message\":\"x\",\"type\":\"overloaded_error\"}", FAIL_OVERLOADED);
    expect_object("{\"message\":\"x\",\"code\":\"content_filter\"}", FAIL_CONTENT_FILTER);
    expect_object("{\"message\":\"x\",\"code\":\"context_length_exceeded\"}", FAIL_CONTEXT_LENGTH);
    expect_object("{\"message\":\"x\",\"type\":\"server_error\"}", FAIL_UNAVAILABLE);
    expect_object("{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\"}", FAIL_RATE_LIMITED);
    expect_object("\"just a text\"", FAIL_UNAVAILABLE);
    expect_object("true", FAIL_UNAVAILABLE);
}

/* The message of a 500 with this body must hold `with` and lack `without`. */
static void expect_message(const char *body, const char *with, const char *without)
{
    struct transcript_player *p = open_run();
    struct turn_run *run = transcript_run(p);
    classify_http(run, 500, SPAN(JSON), 0, span_str(body));
    if (with && !strstr(run->fail->message, with))
        fail_msg("%s: \"%s\" is missing in \"%s\"", body, with, run->fail->message);
    if (without && strstr(run->fail->message, without))
        fail_msg("%s: \"%s\" is in \"%s\"", body, without, run->fail->message);
    assert_true(utf8_valid(span_str(run->fail->message)));
    for (const char *c = run->fail->message; *c; c++)
        assert_true((unsigned char)*c >= 0x20);
    transcript_close(p);
}

static void messages_of_every_shape(void **state)
{
    expect_message("{\"error\":{\"message\":\"the words\"}}", "the words", NULL);
    expect_message("{\"error\":\"the words\"}", "the words", NULL);
    expect_message("{\"detail\":\"the words\"}", "the words", NULL);
    expect_message("{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"the words\"}]}", "the words", NULL);
    expect_message("{\"detail\":{\"error\":1,\"message\":\"the words\"}}", "the words", NULL);
    expect_message("{\"message\":\"the words\"}", "the words", NULL);
    expect_message("[{\"error\":{\"message\":\"the words\"}}]", "the words", NULL);
    expect_message("the words\n", "the words", NULL);
    expect_message("{}", "HTTP 500", ": ");
}

static void messages_are_clean(void **state)
{
    expect_message("{\"message\":\"a\\u0000b\\nc\\td\"}", "a b c d", NULL);
    expect_message("{\"message\":\"lone \\ud83d.\"}", "lone \xEF\xBF\xBD.", NULL);
    expect_message("torn \xE4\xBD and \xFF", "torn ", "\xFF");
    expect_message("{\"message\":\"Wrong key sk-very-secret-key!\"}", "Wrong key ***!", "secret");
    expect_message("sk-very-secret-key sk-very-secret-key", "*** ***", "secret");
}

static void html_never_gets_into_a_message(void **state)
{
    expect_message("{\"error\":{\"message\":\"<html><body>inner words</body></html>\"}}", NULL,
                   "inner");
    expect_message("{\"message\":\"gateway: <!DOCTYPE html><p>inner words\"}", NULL, "inner");
    expect_message("{\"detail\":\"<div class=x>inner words\"}", NULL, "inner");
    expect_message("oops <script>inner()</script>", NULL, "inner");
    expect_message("{\"message\":\"use a < b and b > c\"}", "a < b and b > c", NULL);
}

static void long_messages_end_at_a_whole_character(void **state)
{
    static const char *const letters[] = {"x", "é", "界", "🌊"};
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++) {
        for (int shift = 0; shift < 4; shift++) {
            struct buffer body;
            buffer_init(&body, 1 << 20);
            buffer_printf(&body, "{\"message\":\"%.*s", shift, "....");
            for (int k = 0; k < 3000; k++)
                buffer_printf(&body, "%s", letters[i]);
            buffer_append(&body, span_of("\"}", 3));
            expect_message(body.p, letters[i], "\"");
            buffer_free(&body);
        }
    }
}

/* A secret that the cut would leave half of. */
static void a_secret_at_the_cut_is_masked(void **state)
{
    for (int before = 100; before < 200; before++) {
        char body[512];
        snprintf(body, sizeof body, "{\"message\":\"%*s sk-very-secret-key\"}", before, ".");
        expect_message(body, NULL, "sk-");
    }
}

static void retry_after_and_param(void **state)
{
    struct transcript_player *p = open_run();
    struct turn_run *run = transcript_run(p);
    classify_http(run, 429, SPAN(JSON), 31, SPAN("{\"error\":{\"message\":\"x\"}}"));
    assert_int_equal(run->fail->retry_after_s, 31);
    classify_http(run, 400, SPAN(JSON), 0,
                  SPAN("{\"error\":{\"message\":\"x\",\"param\":\"messages[3]\"}}"));
    assert_string_equal(run->fail->param, "messages[3]");
    classify_http(run, 400, SPAN(JSON), 0, SPAN("{\"error\":{\"message\":\"x\",\"param\":null}}"));
    assert_string_equal(run->fail->param, "");
    transcript_close(p);
}

static void what_looks_like_html(void **state)
{
    assert_true(looks_like_html(SPAN("text/html"), SPAN("")));
    assert_true(looks_like_html(SPAN(" TEXT/HTML ;charset=x"), SPAN("{}")));
    assert_true(looks_like_html(SPAN(""), SPAN("\xEF\xBB\xBF\n\t <!DOCTYPE HTML PUBLIC")));
    assert_true(looks_like_html(SPAN("application/json"), SPAN("<HtMl lang=en>")));
    assert_false(looks_like_html(SPAN("application/json"), SPAN("{\"a\":\"<html>\"}")));
    assert_false(looks_like_html(SPAN("text/htmlx"), SPAN("<ht")));
    assert_false(looks_like_html(SPAN(""), SPAN("")));
    assert_false(looks_like_html(span_of(NULL, 0), span_of(NULL, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_kind),
        cmocka_unit_test(html_is_a_challenge_or_a_failure),
        cmocka_unit_test(context_length_by_code_or_wording),
        cmocka_unit_test(content_filter_by_code_or_wording),
        cmocka_unit_test(a_good_status_around_an_error),
        cmocka_unit_test(error_objects_inside_streams),
        cmocka_unit_test(messages_of_every_shape),
        cmocka_unit_test(messages_are_clean),
        cmocka_unit_test(html_never_gets_into_a_message),
        cmocka_unit_test(long_messages_end_at_a_whole_character),
        cmocka_unit_test(a_secret_at_the_cut_is_masked),
        cmocka_unit_test(retry_after_and_param),
        cmocka_unit_test(what_looks_like_html),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
