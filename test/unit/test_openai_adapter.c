/*
 * test/unit/test_openai_adapter.c - any OpenAI-like service: what goes out, byte for byte; what
 * comes back, cut in every way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "adapters/openai_wire.h"
#include "test/unit/support/transcript.h"

static const struct credential key[] = {{SPAN_INIT("api_key"), SPAN_INIT("sk-test-123456")}};

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static struct transcript_setup setup_of(const char *body)
{
    return (struct transcript_setup){.adapter = &adapter_openai,
                                     .body = body,
                                     .model = "up",
                                     .credentials = key,
                                     .n_credentials = 1};
}

static struct transcript_player *asked(const struct transcript_setup *setup,
                                       struct site_request *req)
{
    struct transcript_player *p = transcript_open(setup);
    assert_int_equal(transcript_next(p, req), ADAPTER_SEND);
    return p;
}

static void expect_body(const struct transcript_setup *setup, const char *wanted)
{
    struct site_request req;
    struct transcript_player *p = asked(setup, &req);
    if (!span_eq(req.body, span_str(wanted)))
        fail_msg("\n  wanted %s\n  got    %.*s", wanted, SPAN_ARGS(req.body));
    transcript_close(p);
}

static void expect_target(const char *base_url, const char *path, const char *wanted)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    setup.base_url = base_url;
    setup.path = path;
    struct transcript_player *p = asked(&setup, &req);
    if (!span_eq(req.target, span_str(wanted)))
        fail_msg("%s %s: wanted %s, got %.*s", base_url ? base_url : "", path ? path : "", wanted,
                 SPAN_ARGS(req.target));
    transcript_close(p);
}

/* ---- requests ---- */

static void the_request_goes_to_the_chat_path(void **state)
{
    expect_target(NULL, NULL, "/chat/completions"); /* behind the prefix /v1 */
    expect_target("http://127.0.0.1:11434/v1", NULL, "/chat/completions");
    expect_target("https://open.bigmodel.cn/api/paas/v4/", NULL, "/chat/completions");
    expect_target("http://127.0.0.1:8000", NULL, "/v1/chat/completions");
    expect_target("http://127.0.0.1:8000", "/openai/chat?version=2", "/openai/chat?version=2");
}

static void the_head_of_the_request(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    struct transcript_player *p = asked(&setup, &req);
    assert_string_equal(req.method, "POST");
    assert_int_equal(req.framing, FRAMING_SSE);
    assert_false(req.credential_step);
    assert_true(span_eq(transcript_header(&req, "authorization"), SPAN("Bearer sk-test-123456")));
    assert_true(span_eq(transcript_header(&req, "content-type"), SPAN("application/json")));
    assert_true(span_eq(transcript_header(&req, "accept"), SPAN("text/event-stream")));
    transcript_close(p);

    setup.body = "{\"model\":\"m\"," HI "}";
    setup.n_credentials = 0;
    p = asked(&setup, &req);
    assert_int_equal(req.framing, FRAMING_WHOLE);
    assert_null(transcript_header(&req, "authorization").p); /* a local server without keys */
    assert_true(span_eq(transcript_header(&req, "accept"), SPAN("application/json")));
    transcript_close(p);
    assert_false(adapter_openai.needs_account);
}

static void only_the_model_is_replaced(void **state)
{
    struct transcript_setup setup = setup_of(
        "{ \"seed\" : 9007199254740993,\"model\":\"public/name\", \"x\":{\"model\":\"stays\",\"n\":"
        "123456789012345678901234567890.10} "
        ",\"messages\":[{\"role\":\"developer\",\"content\":\"a\\u0000"
        "b\\/\\u00e9\",\"extra\":[[{\"model\":1}]]},  "
        "{\"role\":\"user\",\"content\":\"h\\\"i\"}],\"temperature\":null,"
        "\"e\":1E-7}");
    expect_body(&setup,
                "{\"seed\":9007199254740993,\"model\":\"up\",\"x\":{\"model\":\"stays\",\"n\":"
                "123456789012345678901234567890.10},\"messages\":[{\"role\":\"developer\","
                "\"content\":\"a\\u0000"
                "b\\/\\u00e9\",\"extra\":[[{\"model\":1}]]},  "
                "{\"role\":\"user\",\"content\":\"h\\\"i\"}],\"temperature\":"
                "null,\"e\":1E-7}");
}

static void a_model_id_is_escaped(void **state)
{
    struct transcript_setup setup = setup_of("{\"model\":\"m\"," HI "}");
    setup.model = "a\"b\\c\nd";
    expect_body(&setup, "{\"model\":\"a\\\"b\\\\c\\nd\"," HI "}");
}

static void of_doubled_keys_the_last_stays(void **state)
{
    struct transcript_setup setup = setup_of("{\"model\":\"a\",\"user\":1," HI
                                             ",\"mod\\u0065l\":\"b\",\"user\":2,\"us\\u0065r\":3}");
    expect_body(&setup, "{" HI ",\"model\":\"up\",\"us\\u0065r\":3}");
}

static void thousands_of_fields_are_refused(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct buffer body;
    struct site_request req;
    buffer_init(&body, 1 << 20);
    buffer_printf(&body, "{\"model\":\"m\"," HI);
    for (int i = 0; i < 2000; i++)
        buffer_printf(&body, ",\"f%d\":1", i);
    buffer_append(&body, span_of("}", 2));
    setup.body = body.p;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_INVALID_VALUE);
    transcript_close(p);
    buffer_free(&body);
}

static void usage_is_asked_for_in_streams_only(void **state)
{
    static const struct option_value off[] = {
        {.name = SPAN_INIT("ask_usage"), .type = OPTION_BOOL, .integer = 0}};
    struct transcript_setup setup = setup_of("{\"model\":\"m\"," HI ",\"stream\":true}");
    expect_body(&setup, "{\"model\":\"up\"," HI
                        ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    setup.options = off;
    setup.n_options = 1;
    expect_body(&setup, "{\"model\":\"up\"," HI ",\"stream\":true}");
    setup = setup_of("{\"model\":\"m\"," HI ",\"stream\":false,\"stream_options\":null}");
    expect_body(&setup, "{\"model\":\"up\"," HI ",\"stream\":false,\"stream_options\":null}");
}

static void the_clients_stream_options_are_kept(void **state)
{
    static const char *const rows[][2] = {
        {"null", "{\"include_usage\":true}"},
        {"{}", "{\"include_usage\":true}"},
        {"{\"include_usage\":false}", "{\"include_usage\":true}"},
        {"{ \"a\" : [1, 2] ,\"include_usage\":false,\"b\\n\":{\"include_usage\":false}}",
         "{\"a\":[1, 2],\"b\\n\":{\"include_usage\":false},\"include_usage\":true}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[512], wanted[512];
        snprintf(body, sizeof body,
                 "{\"stream\":true,\"stream_options\":%s,\"model\":\"m\"," HI "}", rows[i][0]);
        snprintf(wanted, sizeof wanted,
                 "{\"stream\":true,\"stream_options\":%s,\"model\":\"up\"," HI "}", rows[i][1]);
        struct transcript_setup setup = setup_of(body);
        expect_body(&setup, wanted);
    }
}

static const struct option_value defaults[] = {
    {.name = SPAN_INIT("default_temperature"), .type = OPTION_NUMBER, .number = 0.6},
    {.name = SPAN_INIT("default_max_tokens"), .type = OPTION_INT, .integer = 16384},
    {.name = SPAN_INIT("default_top_p"), .type = OPTION_NUMBER, .number = 1},
};

static void expect_defaulted(const char *given, const char *wanted)
{
    char body[512], whole[512];
    snprintf(body, sizeof body, "{\"model\":\"m\"," HI "%s}", given);
    snprintf(whole, sizeof whole, "{\"model\":\"up\"," HI "%s}", wanted);
    struct transcript_setup setup = setup_of(body);
    struct site_request req;
    setup.options = defaults;
    setup.n_options = sizeof defaults / sizeof *defaults;
    struct transcript_player *p = asked(&setup, &req);
    transcript_expect_same(given, whole, req.body);
    transcript_close(p);
}

static void defaults_fill_what_is_absent(void **state)
{
    expect_defaulted("", ",\"temperature\":0.6,\"max_tokens\":16384,\"top_p\":1");
    expect_defaulted(",\"temperature\":null,\"max_tokens\":5,\"top_p\":0.25",
                     ",\"temperature\":null,\"max_tokens\":5,\"top_p\":0.25");
    expect_defaulted(",\"max_completion_tokens\":7",
                     ",\"max_completion_tokens\":7,\"temperature\":0.6,\"top_p\":1");
}

static void aliases_rename_at_every_depth_after_the_defaults(void **state)
{
    static const struct json_alias aliases[] = {{SPAN_INIT("model"), SPAN_INIT("model_id")},
                                                {SPAN_INIT("temperature"), SPAN_INIT("heat")}};
    struct transcript_setup setup =
        setup_of("{\"model\":\"m\"," HI ",\"x\":[[{\"model\":1}]],\"max_tokens\":1,\"top_p\":1}");
    setup.aliases = aliases;
    setup.n_aliases = 2;
    setup.options = defaults;
    setup.n_options = 1;
    expect_body(&setup, "{\"model_id\":\"up\"," HI
                        ",\"x\":[[{\"model_id\":1}]],\"max_tokens\":1,\"top_p\":1,\"heat\":0.6}");
}

/* ---- answers ---- */

static void every_transcript(void **state)
{
    static const char *const files[] = {
        "plain.sse",
        "crlf.sse",
        "tools.sse",
        "tools-parallel.sse",
        "tools-repeated-id.sse",
        "tools-all-index-zero.sse",
        "tools-whole-no-index.sse",
        "tools-late-name.sse",
        "tools-no-index-pieces.sse",
        "function-call.sse",
        "reasoning.sse",
        "reasoning-other-name.sse",
        "refusal.sse",
        "usage-in-every-chunk.sse",
        "usage-in-choice.sse",
        "choices.sse",
        "logprobs.sse",
        "extras.sse",
        "citations.sse",
        "error-after-text.sse",
        "error-at-once.sse",
        "error-event.sse",
        "error-object.sse",
        "no-done.sse",
        "done-without-finish.sse",
        "cut.sse",
        "cut-one-of-two.sse",
        "empty.sse",
        "empty-with-stop.sse",
        "filtered.sse",
        "odd.sse",
        "surrogates.sse",
        "gave-up.sse",
        "not-json.sse",
        "nul.sse",
        "whole.json",
        "whole-tools.json",
        "whole-function-call.json",
        "whole-choices.json",
        "whole-no-finish.json",
        "whole-legacy-text.json",
        "whole-error.json",
        "whole-error-text.json",
        "whole-detail.json",
        "whole-empty.json",
        "whole-nonsense.json",
        "whole-not-json.json",
        "page.html",
    };
    struct transcript_setup setup = setup_of(NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        transcript_check(&setup, NULL, "openai", files[i]);
}

/* What comes back does not depend on what was asked for: the content type decides. */
static void whole_requests_take_streams_and_objects(void **state)
{
    struct transcript_setup setup = setup_of("{\"model\":\"m\"," HI "}");
    transcript_check(&setup, NULL, "openai", "plain.sse");
    transcript_check(&setup, NULL, "openai", "tools.sse");
    transcript_check(&setup, NULL, "openai", "whole.json");
    setup.content_type = ""; /* none told: what was asked for decides */
    transcript_check(&setup, NULL, "openai", "whole.json");
    setup.body = NULL;
    transcript_check(&setup, NULL, "openai", "plain.sse");
    setup.content_type = "Application/JSON; charset=utf-8";
    transcript_check(&setup, NULL, "openai", "whole-tools.json");
}

static void play(const struct transcript_setup *setup, const char *bytes, enum stream_end end,
                 const char *wanted)
{
    struct played played;
    transcript_play(setup, NULL, span_str(bytes), NULL, 0, end, &played);
    transcript_expect(bytes, wanted, buffer_span(&played.json));
    played_free(&played);
}

#define CHUNK(delta, finish)                                                                       \
    "data: {\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish "}]}\n\n"

static void a_reset_cuts_the_answer_unless_it_was_finished(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    play(&setup, "", END_CUT, "{\"error\":{\"kind\":\"cut\"}}");
    play(&setup, CHUNK("{\"content\":\"a\"}", "null"), END_CUT,
         "{\"content\":\"a\",\"finish_reason\":null,\"error\":{\"kind\":\"cut\"}}");
    play(&setup, CHUNK("{\"content\":\"a\"}", "null") CHUNK("{}", "\"stop\""), END_CUT,
         "{\"content\":\"a\",\"finish_reason\":\"stop\",\"error\":null}");
    setup.content_type = "application/json";
    play(&setup, "{\"choices\":[{\"mess", END_CUT, "{\"error\":{\"kind\":\"cut\"}}");
    play(&setup, "", END_CLEAN, "{\"error\":{\"kind\":\"empty\"}}");
}

static void an_empty_answer_after_a_stop_text_is_whole(void **state)
{
    struct transcript_setup setup =
        setup_of("{\"model\":\"m\"," HI ",\"stream\":true,\"stop\":\"\\n\"}");
    play(&setup, CHUNK("{\"content\":\"\"}", "\"stop\"") "data: [DONE]\n\n", END_CLEAN,
         "{\"content\":\"\",\"finish_reason\":\"stop\",\"error\":null}");
}

static void statuses_become_kinds(void **state)
{
    static const struct {
        int status;
        const char *type, *body, *kind;
    } rows[] = {
        {400, "application/json", "{\"error\":{\"message\":\"bad\",\"param\":\"top_k\"}}",
         "bad_request"},
        {400, "application/json", "{\"error\":{\"code\":\"context_length_exceeded\"}}",
         "context_length"},
        {401, "application/json", "{\"error\":{\"message\":\"no\"}}", "credential"},
        {429, "text/plain", "slow down", "rate_limited"},
        {500, "application/json", "", "unavailable"},
        {503, "application/json", "{}", "overloaded"},
        {403, "text/html", "<html>", "challenge"},
        {301, "text/html", "<html>", "unavailable"},
        {204, "", "", "empty"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = setup_of(NULL);
        char wanted[128];
        setup.status = rows[i].status;
        setup.content_type = rows[i].type;
        snprintf(wanted, sizeof wanted, "{\"content\":\"\",\"error\":{\"kind\":\"%s\"}}",
                 rows[i].kind);
        play(&setup, rows[i].body, END_CLEAN, wanted);
        if (rows[i].status >= 400) /* a failure that is cut is still that failure */
            play(&setup, "", END_CUT,
                 rows[i].status == 400 ? "{\"error\":{\"kind\":\"bad_request\"}}" : wanted);
    }
}

/* The headers by which services tell the end of a limit when they send no Retry-After. */
static void the_services_own_reset_times(void **state)
{
    static const int64_t now = INT64_C(1700000000000);
    static const struct {
        const char *names[4], *values[4];
        int s;
    } rows[] = {
        {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}, {"0", "6m0s"}, 360},
        {{"X-RateLimit-Remaining-Tokens", "X-RateLimit-Reset-Tokens"}, {"0", "7.66s"}, 8},
        {{"x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"}, {"0", "120ms"}, 1},
        {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"},
         {"0", "1d2h3m4s"},
         93784},
        {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}, {"0", "12"}, 12},
        {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
          "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"},
         {"0", "1s", "0", "1m"},
         60},
        {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
          "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"},
         {"0", "1s", "9", "1m"},
         1},
        {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}, {"3", "6m0s"}, 0},
        {{"x-ratelimit-reset"}, {"1700000042000"}, 42},
        {{"x-ratelimit-remaining", "x-ratelimit-reset"}, {"0", "1700000042"}, 42},
        {{"x-ratelimit-reset"}, {"42"}, 42},
        {{"x-ratelimit-remaining", "x-ratelimit-reset"}, {"5", "42"}, 0},
        {{"x-ratelimit-reset"}, {"1699999999"}, 0}, /* it is over */
        {{"retry-after-ms", "x-ratelimit-reset"}, {"1500", "42"}, 2},
        {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}, {"0", "soon"}, 0},
        {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}, {"0", "5x"}, 0},
        {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}, {"0", "-5s"}, 0},
        {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}, {"0", "99d"}, 0},
        {{"x-ratelimit-reset"}, {"99999999999999999999999999"}, 0},
        {{"x-ratelimit-reset"}, {""}, 0},
        {{"retry-after-ms"}, {"many"}, 0},
        {{NULL}, {NULL}, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct header headers[4];
        struct site_head head = {.status = 429, .headers = headers};
        for (; head.n_headers < 4 && rows[i].names[head.n_headers]; head.n_headers++)
            headers[head.n_headers] = (struct header){span_str(rows[i].names[head.n_headers]),
                                                      span_str(rows[i].values[head.n_headers])};
        if (openai_reset_s(&head, now) != rows[i].s)
            fail_msg("row %zu: %d s", i, openai_reset_s(&head, now));
    }
}

static void retry_after_and_param_are_passed_on(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    setup.status = 429;
    setup.retry_after_s = 17;
    setup.content_type = "application/json";
    play(&setup, "{\"error\":{\"message\":\"Rate limit reached\"}}", END_CLEAN,
         "{\"error\":{\"kind\":\"rate_limited\",\"retry_after\":17,\"upstream_status\":429}}");
    setup.status = 400;
    play(&setup, "{\"error\":{\"message\":\"no\",\"param\":\"logit_bias\"}}", END_CLEAN,
         "{\"error\":{\"kind\":\"bad_request\",\"param\":\"logit_bias\"}}");
}

static void hostile_numbers_do_no_harm(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    play(&setup,
         "data: "
         "{\"choices\":[{\"index\":-1,\"delta\":{\"content\":\"x\"}},{\"index\":128,\"delta\":{"
         "\"content\":\"x\"}},"
         "{\"index\":9223372036854775807,\"delta\":{\"content\":\"x\"}},7,null,[]]}\n\n"
         "data: "
         "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ok\",\"tool_calls\":[{\"index\":-5,"
         "\"id\":\"a\",\"function\":"
         "{\"name\":\"f\",\"arguments\":\"{}\"}},{\"index\":99999999999,\"id\":\"b\",\"function\":{"
         "\"name\":\"g\"}},4,null]},"
         "\"finish_reason\":7}],\"usage\":{\"prompt_tokens\":-4,\"completion_tokens\":1e300}}\n\n"
         "data: [DONE]\n\n",
         END_CLEAN,
         "{\"content\":\"ok\",\"tool_calls\":[{\"id\":\"a\",\"index\":0},{\"id\":\"b\",\"index\":1}"
         "],"
         "\"finish_reason\":\"tool_calls\",\"error\":null,\"drift\":[\"choice index out of range\","
         "\"choice that is no object\",\"tool call that is no object\"]}");
}

static void too_many_tool_calls_are_an_error(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct buffer body;
    struct played played;
    buffer_init(&body, 1 << 20);
    buffer_printf(&body, "data: {\"choices\":[{\"delta\":{\"tool_calls\":[");
    for (int i = 0; i < 129; i++) /* without names: the harness itself knows 16 calls */
        buffer_printf(&body, "%s{\"index\":%d,\"id\":\"c%d\"}", i ? "," : "", i, i);
    buffer_printf(&body, "]}}]}\n\n");
    transcript_play(&setup, NULL, buffer_span(&body), NULL, 0, END_CLEAN, &played);
    assert_int_equal(played.fail.kind, FAIL_PROTOCOL);
    played_free(&played);
    buffer_free(&body);
}

/* No memory is taken once the first events are read. */
static void a_long_stream_takes_no_memory(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    struct transcript_player *p = asked(&setup, &req);
    struct turn_run *run = transcript_run(p);
    struct site_head head = {.status = 200, .content_type = SPAN("text/event-stream")};
    enum framing framing = req.framing;
    adapter_openai.on_head(run, &head, &framing);
    const struct frame frame = {.data =
                                    SPAN("{\"id\":\"c\",\"system_fingerprint\":\"fp\",\"choices\":["
                                         "{\"index\":0,\"delta\":{\"content\":\"x\"},"
                                         "\"logprobs\":{\"content\":[]},\"finish_reason\":null}],"
                                         "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,"
                                         "\"total_tokens\":2}}")};
    assert_int_equal(adapter_openai.on_frame(run, &frame), ADAPTER_GO_ON);
    size_t used = arena_used(run->arena);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(adapter_openai.on_frame(run, &frame), ADAPTER_GO_ON);
    assert_int_equal(arena_used(run->arena), used);
    transcript_close(p);
}

/* ---- models ---- */

static int keep_id(void *owner, const struct model_entry *entry)
{
    struct buffer *ids = owner;
    buffer_append(ids, entry->id);
    return buffer_char(ids, ' ');
}

static void model_lists_of_three_shapes(void **state)
{
    static const char *const lists[][2] = {
        {"{\"object\":\"list\",\"data\":[{\"id\":\"a/"
         "b:1\",\"object\":\"model\"},{\"id\":\"c\"},{\"x\":1},7]}",
         "a/b:1 c "},
        {"[{\"id\":\"a\"},\"b\"]", "a b "},
        {"{\"models\":[{\"name\":\"a\",\"size\":3}]}", "a "},
        {"{\"data\":[]}", ""},
        {"{\"data\":{}}", NULL},
        {"<html>", NULL},
    };
    struct transcript_setup setup = setup_of(NULL);
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    struct site_request req = {0};
    assert_int_equal(adapter_openai.models_request(run, &req), ADAPTER_SEND);
    assert_true(span_eq(req.target, SPAN("/models")));
    assert_string_equal(req.method, "GET");
    assert_true(span_eq(transcript_header(&req, "authorization"), SPAN("Bearer sk-test-123456")));
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct buffer ids;
        buffer_init(&ids, 4096);
        struct model_sink sink = {keep_id, &ids};
        int r = adapter_openai.models_answer(run, span_str(lists[i][0]), &sink);
        assert_int_equal(r, lists[i][1] ? 0 : -1);
        if (lists[i][1])
            assert_true(span_eq(buffer_span(&ids), span_str(lists[i][1])));
        buffer_free(&ids);
    }
    transcript_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_goes_to_the_chat_path),
        cmocka_unit_test(the_head_of_the_request),
        cmocka_unit_test(only_the_model_is_replaced),
        cmocka_unit_test(a_model_id_is_escaped),
        cmocka_unit_test(of_doubled_keys_the_last_stays),
        cmocka_unit_test(thousands_of_fields_are_refused),
        cmocka_unit_test(usage_is_asked_for_in_streams_only),
        cmocka_unit_test(the_clients_stream_options_are_kept),
        cmocka_unit_test(defaults_fill_what_is_absent),
        cmocka_unit_test(aliases_rename_at_every_depth_after_the_defaults),
        cmocka_unit_test(every_transcript),
        cmocka_unit_test(whole_requests_take_streams_and_objects),
        cmocka_unit_test(a_reset_cuts_the_answer_unless_it_was_finished),
        cmocka_unit_test(an_empty_answer_after_a_stop_text_is_whole),
        cmocka_unit_test(statuses_become_kinds),
        cmocka_unit_test(the_services_own_reset_times),
        cmocka_unit_test(retry_after_and_param_are_passed_on),
        cmocka_unit_test(hostile_numbers_do_no_harm),
        cmocka_unit_test(too_many_tool_calls_are_an_error),
        cmocka_unit_test(a_long_stream_takes_no_memory),
        cmocka_unit_test(model_lists_of_three_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
