/*
 * test/unit/test_error_response.c - the error table of design §6, row by row, and the shape of an
 * error.
 */
#include "base/json.h"
#include "gateway/error_response.h"
#include "test/unit/support/cmocka_all.h"

static void every_row(void **state)
{
    static const struct {
        enum fail_kind kind;
        int status;
        const char *type, *code;
        bool should_not_retry;
    } rows[] = {
        {FAIL_INVALID_JSON, 400, "invalid_request_error", "invalid_json", false},
        {FAIL_INVALID_VALUE, 400, "invalid_request_error", "invalid_value", false},
        {FAIL_UNSUPPORTED, 400, "invalid_request_error", "unsupported_value", false},
        {FAIL_TOO_LARGE, 413, "invalid_request_error", "request_too_large", false},
        {FAIL_MISSING_KEY, 401, "authentication_error", "missing_api_key", false},
        {FAIL_WRONG_KEY, 401, "authentication_error", "invalid_api_key", false},
        {FAIL_ACCESS_DENIED, 403, "permission_error", "access_denied", false},
        {FAIL_MODEL_DENIED, 403, "permission_error", "model_not_allowed", false},
        {FAIL_MODEL_NOT_FOUND, 404, "invalid_request_error", "model_not_found", false},
        {FAIL_PREVIOUS_RESPONSE, 400, "invalid_request_error", "previous_response_not_found",
         false},
        {FAIL_RESPONSE_NOT_FOUND, 404, "invalid_request_error", "response_not_found", false},
        {FAIL_UNKNOWN_URL, 404, "invalid_request_error", "unknown_url", false},
        {FAIL_METHOD, 405, "invalid_request_error", "method_not_allowed", false},
        {FAIL_KEY_LIMIT, 429, "rate_limit_error", "rate_limit_exceeded", false},
        {FAIL_RATE_LIMITED, 429, "rate_limit_error", "upstream_rate_limited", false},
        {FAIL_CREDENTIAL, 403, "upstream_error", "upstream_credential", true},
        {FAIL_CHALLENGE, 403, "upstream_error", "upstream_challenge", true},
        {FAIL_CONTENT_FILTER, 400, "invalid_request_error", "content_filter", true},
        {FAIL_CONTEXT_LENGTH, 400, "invalid_request_error", "context_length_exceeded", false},
        {FAIL_BAD_REQUEST, 400, "invalid_request_error", "upstream_bad_request", true},
        {FAIL_UNREACHABLE, 502, "upstream_error", "upstream_unreachable", false},
        {FAIL_UNAVAILABLE, 502, "upstream_error", "upstream_failed", false},
        {FAIL_OVERLOADED, 503, "upstream_error", "upstream_overloaded", false},
        {FAIL_CUT, 502, "upstream_error", "upstream_cut", false},
        {FAIL_EMPTY, 502, "upstream_error", "upstream_empty", false},
        {FAIL_PROTOCOL, 502, "upstream_error", "upstream_protocol", false},
        {FAIL_BRIDGE, 503, "upstream_error", "bridge_not_connected", true},
        {FAIL_TIMEOUT, 504, "upstream_error", "upstream_timeout", false},
        {FAIL_SERVER_BUSY, 503, "server_error", "overloaded", false},
        {FAIL_INTERNAL, 500, "server_error", "internal_error", false},
        {FAIL_MEMORY, 503, "server_error", "out_of_memory", false},
    };
    assert_int_equal(sizeof rows / sizeof *rows, FAIL_KIND_COUNT - 1); /* all but FAIL_NONE */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct error_row *row = error_row(rows[i].kind);
        assert_int_equal(row->status, rows[i].status);
        assert_string_equal(row->type, rows[i].type);
        assert_string_equal(row->code, rows[i].code);
        assert_int_equal(row->should_not_retry, rows[i].should_not_retry);
        assert_true(http_reason(row->status)[0]);
        if (row->reason) /* only more words, never others */
            assert_true(strncmp(row->reason, http_reason(row->status),
                                strlen(http_reason(row->status))) == 0);
    }
    assert_true(http_reason(599)[0]);
}

static void expect_body(const struct fail *fail, const char *wanted)
{
    struct buffer out;
    buffer_init(&out, 4096);
    error_body(&out, DIALECT_OPENAI, fail, &(struct error_context){{NULL, 0}, {NULL, 0}});
    assert_span_equal(buffer_span(&out), span_str(wanted));
    buffer_free(&out);
}

static void bodies(void **state)
{
    struct fail fail;
    fail_param(&fail, FAIL_INVALID_VALUE, "messages[0].role", "\"role\" must be a string");
    expect_body(&fail, "{\"error\":{\"message\":\"\\\"role\\\" must be a "
                       "string\",\"type\":\"invalid_request_error\","
                       "\"param\":\"messages[0].role\",\"code\":\"invalid_value\"}}");
    fail_set(&fail, FAIL_TIMEOUT, "too late");
    expect_body(
        &fail, "{\"error\":{\"message\":\"too "
               "late\",\"type\":\"upstream_error\",\"param\":null,\"code\":\"upstream_timeout\"}}");
    fail_param(&fail, FAIL_METHOD, "GET, HEAD",
               "not POST"); /* the list is for Allow, not a field's name */
    expect_body(&fail, "{\"error\":{\"message\":\"not "
                       "POST\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"method_"
                       "not_allowed\"}}");
}

static void expect_in(enum dialect dialect, enum fail_kind kind, const char *wanted)
{
    const struct error_context context = {SPAN("req_1"), SPAN("{\"a\":1}")};
    struct fail fail;
    struct buffer out;
    buffer_init(&out, 4096);
    fail_set(&fail, kind, "why");
    error_body(&out, dialect, &fail, &context);
    assert_span_equal(buffer_span(&out), span_str(wanted));
    buffer_free(&out);
}

/* clients.md §2.8; sites/gemini.md §6 */
static void bodies_in_other_dialects(void **state)
{
    expect_in(
        DIALECT_ANTHROPIC, FAIL_WRONG_KEY,
        "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"why\"},"
        "\"request_id\":\"req_1\",\"dragoman_partial\":{\"a\":1}}");
    expect_in(DIALECT_GOOGLE, FAIL_KEY_LIMIT,
              "{\"error\":{\"code\":429,\"message\":\"why\",\"status\":\"RESOURCE_EXHAUSTED\"},"
              "\"dragoman_partial\":{\"a\":1}}");
    assert_int_equal(error_status(DIALECT_ANTHROPIC, FAIL_OVERLOADED), 529);
    assert_int_equal(error_status(DIALECT_OPENAI, FAIL_OVERLOADED), 503);
    assert_string_equal(http_reason(529), "Overloaded");
}

static void check_error(enum fail_kind kind, const char *param, const char *message,
                        const char *wanted)
{
    const struct error_context context = {0};
    char body[400];
    struct fail fail;
    struct buffer out;
    fail_param(&fail, kind, param, "%s", message);
    buffer_init(&out, ERROR_OBJECT_MAX);
    error_body(&out, DIALECT_ANTHROPIC, &fail, &context);
    snprintf(body, sizeof body,
             "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":"
             "%s}}",
             wanted);
    assert_span_equal(buffer_span(&out), span_str(body));
    buffer_free(&out);
}

static void check_message(enum fail_kind kind, const char *param, const char *message,
                          const char *wanted)
{
    char quoted[200];
    snprintf(quoted, sizeof quoted, "\"%s\"", wanted);
    check_error(kind, param, message, quoted);
}

/* Anthropic's errors have no place for the field but the message: it begins with it, once. */
static void the_field_in_anthropics_words(void **state)
{
    check_message(FAIL_UNSUPPORTED, "messages[0].content[12]", "not here",
                  "messages.0.content.12: not here");
    check_message(FAIL_INVALID_VALUE, "max_tokens", "max_tokens: is required",
                  "max_tokens: is required");
    check_message(FAIL_UNSUPPORTED, "response_format", "none", "output_config.format: none");
    check_message(FAIL_UNSUPPORTED, "stop", "none", "stop_sequences: none");
    check_message(FAIL_METHOD, "POST, OPTIONS", "use POST", "use POST");
    check_message(FAIL_INVALID_JSON, "", "no JSON", "no JSON");
    check_error(FAIL_UNSUPPORTED, "thread", "thread: no",
                "\"thread: no\",\"details\":{\"error_code\":\"thread_unsupported_request\","
                "\"unsupported\":[\"thread\"]}");
}

/* Messages may quote what somebody sent: the answer is JSON all the same. */
static void any_bytes_become_json(void **state)
{
    struct json_parser *parser = json_parser_create(1 << 16);
    assert_non_null(parser);
    for (int c = 1; c < 256; c++) {
        struct fail fail;
        struct buffer out;
        struct json root;
        fail_param(&fail, FAIL_INVALID_VALUE, "p", "x%cy", c);
        fail.param[0] = (char)c;
        buffer_init(&out, 4096);
        error_body(&out, (enum dialect)(c % 4), &fail,
                   &(struct error_context){{NULL, 0}, {NULL, 0}});
        if (json_parse(parser, buffer_span(&out), &root) != 0)
            fail_msg("byte %d: %.*s", c, SPAN_ARGS(buffer_span(&out)));
        buffer_free(&out);
    }
    json_parser_destroy(parser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row),
        cmocka_unit_test(bodies),
        cmocka_unit_test(bodies_in_other_dialects),
        cmocka_unit_test(the_field_in_anthropics_words),
        cmocka_unit_test(any_bytes_become_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
