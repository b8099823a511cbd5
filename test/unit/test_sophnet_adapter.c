/*
 * test/unit/test_sophnet_adapter.c - both doors of sophnet.com: requests, the guest's token,
 * answers, every row of the error table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "test/unit/support/transcript.h"

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define LOGIN(token)                                                                               \
    "{\"status\":0,\"message\":\"ok\",\"result\":{\"anonymousToken\":\"" token                     \
    "\"},\"timestamp\":1}"
#define USED_UP "{\"status\":40310,\"message\":\"used up\",\"result\":null,\"timestamp\":1}"

static const struct credential api_key[] = {{SPAN_INIT("api_key"), SPAN_INIT("key-123456")}};
static const struct credential token[] = {{SPAN_INIT("token"), SPAN_INIT("anon-given")}};
static const struct credential real_token[] = {{SPAN_INIT("token"), SPAN_INIT("session-given")}};

static struct transcript_setup official(const char *body)
{
    return (struct transcript_setup){.adapter = &adapter_sophnet,
                                     .body = body,
                                     .model = "GLM-4.7",
                                     .credentials = api_key,
                                     .n_credentials = 1};
}

static struct transcript_setup playground(const char *body)
{
    struct transcript_setup setup = official(body);
    setup.credentials = token;
    return setup;
}

static struct transcript_setup guest(void)
{
    return (struct transcript_setup){
        .adapter = &adapter_sophnet, .model = "DeepSeek-V3-Fast", .guest = true};
}

static void expect_body(const struct transcript_setup *setup, const char *wanted)
{
    struct site_request req;
    struct transcript_player *p = transcript_open(setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect_same(setup->body, wanted, req.body);
    transcript_close(p);
}

static bool is(struct span a, const char *b) { return span_eq(a, span_str(b)); }

/* ---- requests ---- */

static void the_official_door(void **state)
{
    struct transcript_setup setup =
        official("{\"model\":\"x\",\"messages\":[{\"role\":\"developer\",\"content\":\"be "
                 "\\\"developer\\\"\",\"n\":9007199254740993},"
                 "{\"content\":\"q\",\"role\":\"user\"},{\"role\":\"assistant\",\"content\":\"a\","
                 "\"reasoning_content\":\"r\"},{\"role\":"
                 "\"user\",\"content\":\"developer\"}],\"stream\":null,\"stop\":\"e\\\"nd\","
                 "\"headers\":1,\"model_id\":2,\"thinking\":{\"budget_tokens\":5}}");
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "POST");
    assert_true(is(req.target, "/api/open-apis/v1/chat/completions"));
    assert_true(is(transcript_header(&req, "Authorization"), "Bearer key-123456"));
    assert_true(is(transcript_header(&req, "Content-Type"), "application/json"));
    assert_true(is(transcript_header(&req, "Accept"), "application/json"));
    assert_int_equal(req.framing, FRAMING_WHOLE);
    assert_true(is(req.body,
                   "{\"model\":\"GLM-4.7\",\"messages\":[{\"role\":\"system\",\"content\":\"be "
                   "\\\"developer\\\"\",\"n\":9007199254740993},"
                   "{\"content\":\"q\",\"role\":\"user\"},{\"role\":\"assistant\",\"content\":"
                   "\"a\",\"reasoning_content\":\"r\"},{\"role\":"
                   "\"user\",\"content\":\"developer\"}],\"stream\":null,\"stop\":[\"e\\\"nd\"],"
                   "\"headers\":1,\"model_id\":2,\"thinking\":{\"budget_tokens\":5}}"));
    transcript_close(p);
}

static void the_playground_door(void **state)
{
    struct transcript_setup setup =
        playground("{\"model\":\"x\"," HI ",\"tools\":[{\"type\":\"function\",\"function\":{"
                   "\"name\":\"f\",\"parameters\":{\"properties\":{"
                   "\"model\":{\"type\":\"string\"}}}}}],\"temperature\":0.25,\"stop\":[\"a\"],"
                   "\"headers\":{\"X-Forwarded-For\":\"1.2.3.4\"},"
                   "\"model_id\":\"sly\",\"seed\":12345678901234567890}");
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(is(req.target, "/api/open-apis/projects/Ar79PWUQUAhjJOja2orHs/chat/completions"));
    assert_true(is(transcript_header(&req, "Authorization"), "Bearer anon-given"));
    assert_int_equal(req.n_headers, 3); /* nothing forged */
    assert_true(is(req.body, "{\"model_id\":\"GLM-4.7\"," HI
                             ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                             "\"parameters\":{\"properties\":{"
                             "\"model\":{\"type\":\"string\"}}}}}],\"temperature\":0.25,\"stop\":["
                             "\"a\"],\"seed\":12345678901234567890,\"stream\":false}"));
    transcript_close(p);

    setup.body = NULL;
    p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(is(transcript_header(&req, "Accept"), "text/event-stream"));
    assert_int_equal(req.framing, FRAMING_SSE);
    transcript_expect_same("stream", "{\"model_id\":\"GLM-4.7\"," HI ",\"stream\":true}", req.body);
    transcript_close(p);
}

static void paths_and_project_can_be_set(void **state)
{
    static const struct option_value project[] = {
        {.name = SPAN_INIT("project"), .type = OPTION_TEXT, .text = SPAN_INIT("my/own project")}};
    struct transcript_setup setup = playground(NULL);
    struct site_request req;
    setup.options = project;
    setup.n_options = 1;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(is(req.target, "/api/open-apis/projects/my%2Fown%20project/chat/completions"));
    transcript_close(p);
    for (int door = 0; door < 2; door++) {
        setup = door ? playground(NULL) : official(NULL);
        setup.path = "/other/path?x=1";
        p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_true(is(req.target, "/other/path?x=1"));
        transcript_close(p);
    }
}

static void a_search_suffix_is_the_playgrounds(void **state)
{
    struct transcript_setup setup =
        playground("{\"model\":\"x\"," HI ",\"webSearchEnable\":false}");
    setup.model = "GLM-4.5-Search";
    expect_body(&setup,
                "{\"model_id\":\"GLM-4.5\"," HI ",\"webSearchEnable\":true,\"stream\":false}");
    setup.model = "GLM-4.5-search";
    expect_body(&setup,
                "{\"model_id\":\"GLM-4.5\"," HI ",\"webSearchEnable\":true,\"stream\":false}");
    setup.model = "GLM-4.5";
    expect_body(&setup,
                "{\"model_id\":\"GLM-4.5\"," HI ",\"webSearchEnable\":false,\"stream\":false}");
    setup = official("{\"model\":\"x\"," HI "}");
    setup.model = "GLM-4.5-Search";
    expect_body(&setup, "{\"model\":\"GLM-4.5-Search\"," HI "}");
    assert_true(is(adapter_sophnet.base_model(SPAN("GLM-4.5-Search")), "GLM-4.5"));
    assert_true(is(adapter_sophnet.base_model(SPAN("-Search")), "-Search"));
}

static void defaults(void **state)
{
    static const struct option_value options[] = {
        {.name = SPAN_INIT("default_model"),
         .type = OPTION_TEXT,
         .text = SPAN_INIT("DeepSeek-V3-Fast")},
        {.name = SPAN_INIT("default_temperature"), .type = OPTION_NUMBER, .number = 0.6},
        {.name = SPAN_INIT("default_max_tokens"), .type = OPTION_INT, .integer = 16384},
        {.name = SPAN_INIT("ask_usage"), .type = OPTION_BOOL, .integer = 1},
    };
    struct transcript_setup setup =
        playground("{\"model\":\"x\"," HI ",\"stream\":true,\"temperature\":null}");
    setup.options = options;
    setup.n_options = 4;
    expect_body(&setup, "{\"model_id\":\"GLM-4.7\"," HI
                        ",\"stream\":true,\"temperature\":null,\"max_tokens\":16384,\"stream_"
                        "options\":{\"include_usage\":true}}");
    setup.model = "";
    setup.body = "{\"model\":\"x\"," HI ",\"max_tokens\":1}";
    expect_body(&setup, "{\"model_id\":\"DeepSeek-V3-Fast\"," HI
                        ",\"stream\":false,\"temperature\":0.6,\"max_tokens\":1}");
}

static void older_history_is_folded(void **state)
{
    static const struct option_value fold[] = {
        {.name = SPAN_INIT("fold_history"), .type = OPTION_INT, .integer = 3}};
    struct transcript_setup setup = playground(
        "{\"model\":\"x\",\"messages\":[{\"role\":\"system\",\"content\":\"S\"},"
        "{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":\"two\"},"
        "{\"role\":\"system\",\"content\":\"T\"},{\"role\":\"user\",\"content\":["
        "{\"type\":\"text\",\"text\":\"three\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://e.org/p.png\",\"d\":1}}]},"
        "{\"role\":\"assistant\",\"content\":\"four\"},{\"role\":\"developer\",\"content\":\"D\"},"
        "{\"role\":\"user\",\"content\":\"five\",\"k\":1}]}");
    struct site_request req;
    setup.options = fold;
    setup.n_options = 1;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect(
        "folded",
        "{\"model_id\":\"GLM-4.7\",\"messages\":[{\"role\":\"system\",\"content\":\"S\"},"
        "{\"role\":\"system\",\"content\":\"T\"},{\"role\":\"user\",\"content\":["
        "{\"type\":\"text\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://e.org/p.png\",\"d\":1}}]},"
        "{\"role\":\"assistant\",\"content\":\"four\"},{\"role\":\"system\",\"content\":\"D\"},"
        "{\"role\":\"user\",\"content\":\"five\",\"k\":1}],\"stream\":false}",
        req.body);
    static const char *const kept[] = {"user: one", "assistant: two", "user: three"};
    for (size_t i = 0; i < 3; i++)
        assert_true(span_find(req.body, span_str(kept[i])) > 0);
    transcript_close(p);
    /* Three are not more than three. */
    setup.body =
        "{\"model\":\"x\",\"messages\":[{\"role\":\"system\",\"content\":\"S\"},"
        "{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":\"two\"},"
        "{\"role\":\"user\",\"content\":\"three\"}]}";
    expect_body(
        &setup,
        "{\"model_id\":\"GLM-4.7\",\"messages\":[{\"role\":\"system\",\"content\":\"S\"},"
        "{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":\"two\"},"
        "{\"role\":\"user\",\"content\":\"three\"}],\"stream\":false}");
}

static void folding_keeps_a_call_with_its_result(void **state)
{
    static const struct option_value fold[] = {
        {.name = SPAN_INIT("fold_history"), .type = OPTION_INT, .integer = 3}};
    struct transcript_setup setup =
        playground("{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"one\"},{"
                   "\"role\":\"assistant\",\"content\":null,\"tool_calls\":"
                   "[{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\","
                   "\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":"
                   "\"c\",\"content\":\"found\"},{\"role\":\"user\",\"content\":\"last\"}]}");
    struct site_request req;
    setup.options = fold;
    setup.n_options = 1;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect(
        "two messages are left",
        "{\"messages\":[{\"role\":\"user\"},{\"role\":\"user\",\"content\":\"last\"}]}", req.body);
    assert_true(span_find(req.body, SPAN("found")) > 0);
    transcript_close(p);
    setup.credentials = api_key; /* the official door takes the whole history */
    p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("all four", "{\"messages\":[{},{},{},{}]}", req.body);
    transcript_close(p);
}

static void everything_into_one_message(void **state)
{
    static const struct option_value fold[] = {
        {.name = SPAN_INIT("fold_history"), .type = OPTION_INT, .integer = 1}};
    struct transcript_setup setup =
        playground("{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"alpha\"},"
                   "{\"role\":\"assistant\",\"content\":\"beta\"},"
                   "{\"role\":\"user\",\"content\":\"gamma\"}]}");
    struct site_request req;
    setup.options = fold;
    setup.n_options = 1;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("one message", "{\"messages\":[{\"role\":\"user\"}]}", req.body);
    ptrdiff_t first = span_find(req.body, SPAN("alpha")),
              second = span_find(req.body, SPAN("beta"));
    ptrdiff_t third = span_find(req.body, SPAN("gamma"));
    assert_true(0 < first && first < second && second < third);
    transcript_close(p);
}

static void an_account_without_anything_is_refused(void **state)
{
    struct transcript_setup setup = guest();
    struct site_request req;
    setup.guest = false;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_CREDENTIAL);
    transcript_close(p);
}

/* ---- the guest's token ---- */

static void expect_step(struct transcript_player *p, const char *target, const char *bearer)
{
    struct site_request req;
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    if (span_find(req.target, span_str(target)) < 0)
        fail_msg("wanted a request to %s, got %.*s", target, SPAN_ARGS(req.target));
    struct span header = transcript_header(&req, "authorization");
    if (!span_eq(header, span_str(bearer)))
        fail_msg("%s: wanted \"%s\", got \"%.*s\"", target, bearer, SPAN_ARGS(header));
    assert_int_equal(req.credential_step, bearer[0] == '\0');
}

#define WHOLE                                                                                      \
    "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"yes\"},"         \
    "\"finish_reason\":\"stop\"}]}"

static void a_guest_logs_in_once_and_keeps_the_token(void **state)
{
    struct transcript_setup setup = guest();
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "GET");
    assert_true(is(req.target, "/api/sys/login/anonymous"));
    assert_true(is(transcript_header(&req, "accept"), "application/json"));
    assert_null(req.body.p);
    expect_step(p, "/api/sys/login/anonymous",
                ""); /* another exchange was first: asked again, it asks again */
    assert_int_equal(transcript_answer_json(p, 200, LOGIN("t1")), ADAPTER_COMPLETE);
    expect_step(p, "/chat/completions", "Bearer anon-t1");
    assert_int_equal(transcript_answer_json(p, 200, WHOLE), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_DONE);
    assert_true(is(account_held(run->account, "anonymous_token", run->now_ms, 0), "anon-t1"));
    transcript_close(p);
}

static void another_exchanges_token_is_used(void **state)
{
    struct transcript_setup setup = guest();
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    expect_step(p, "/api/sys/login/anonymous", "");
    account_hold(run->account, "anonymous_token", SPAN("anon-other"), 0);
    expect_step(p, "/chat/completions", "Bearer anon-other");
    transcript_close(p);
}

static void a_held_token_is_used_until_a_minute_before_its_end(void **state)
{
    struct transcript_setup setup = guest();
    for (int early = 0; early < 2; early++) {
        struct transcript_player *p = transcript_open(&setup);
        struct turn_run *run = transcript_run(p);
        account_hold(run->account, "anonymous_token", SPAN("anon-held"),
                     run->now_ms + (early ? 61000 : 59000));
        expect_step(p, early ? "/chat/completions" : "/api/sys/login/anonymous",
                    early ? "Bearer anon-held" : "");
        transcript_close(p);
    }
}

static void expect_end(const char *login, int64_t wanted)
{
    struct transcript_setup setup = guest();
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    expect_step(p, "/api/sys/login/anonymous", "");
    assert_int_equal(transcript_answer_json(p, 200, login), ADAPTER_COMPLETE);
    assert_non_null(run->account->held);
    if (run->account->held->expires_ms != wanted)
        fail_msg("%s: wanted %lld, got %lld", login, (long long)wanted,
                 (long long)run->account->held->expires_ms);
    transcript_close(p);
}

#define EXPIRES(date)                                                                              \
    "{\"status\":0,\"result\":{\"anonymousToken\":\"t\",\"expires\":\"" date "\"}}"

static void when_a_token_ends(void **state)
{
    /* The middle part is {"exp":1762592000}. */
    expect_end("{\"status\":0,\"result\":{\"anonymousToken\":\"e30.eyJleHAiOjE3NjI1OTIwMDB9.c2ln\","
               "\"expires\":\"2026-01-01T00:00:00Z\"}}",
               INT64_C(1762592000000));
    expect_end(EXPIRES("2026-01-01T00:00:00Z"), INT64_C(1767225600000));
    expect_end(EXPIRES("2026-01-01 00:00:00"), INT64_C(1767225600000));
    expect_end(EXPIRES("2026-01-01T08:00:00.123+08:00"), INT64_C(1767225600000));
    expect_end(EXPIRES("2025-12-31T19:00:00-0500"), INT64_C(1767225600000));
    expect_end(EXPIRES("2028-02-29T12:30:15Z"), INT64_C(1835440215000));
    expect_end(EXPIRES("soon"), TRANSCRIPT_NOW + 3600000);
    expect_end(EXPIRES("2026-13-01T00:00:00Z"), TRANSCRIPT_NOW + 3600000);
    expect_end(LOGIN("t"), TRANSCRIPT_NOW + 3600000);
}

static void a_refused_guest_gets_one_fresh_token(void **state)
{
    static const struct {
        int status;
        const char *body;
    } refusals[] = {
        {200, USED_UP},
        {403, USED_UP},
        {401, "{\"status\":10025,\"message\":\"You must log in first\"}"},
        {200, "{\"status\":10025,\"message\":\"You must log in first\"}"},
        {401, ""},
        {403, "{\"status\":1,\"message\":\"no\"}"},
        {422, "{\"status\":1,\"message\":\"no\"}"},
    };
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct transcript_setup setup = guest();
        struct transcript_player *p = transcript_open(&setup);
        struct turn_run *run = transcript_run(p);
        struct site_request req;
        account_hold(run->account, "anonymous_token", SPAN("anon-old"), 0);
        expect_step(p, "/chat/completions", "Bearer anon-old");
        assert_int_equal(transcript_answer_json(p, refusals[i].status, refusals[i].body),
                         ADAPTER_COMPLETE);
        expect_step(p, "/api/sys/login/anonymous", "");
        assert_null(run->account->held);
        assert_int_equal(transcript_answer_json(p, 200, LOGIN("new")), ADAPTER_COMPLETE);
        expect_step(p, "/chat/completions", "Bearer anon-new");
        if (i % 2) { /* it helps */
            assert_int_equal(transcript_answer_json(p, 200, WHOLE), ADAPTER_COMPLETE);
            assert_int_equal(transcript_next(p, &req), ADAPTER_DONE);
        } else { /* it does not: no third try */
            assert_int_equal(transcript_answer_json(p, refusals[i].status, refusals[i].body),
                             ADAPTER_FAIL);
            assert_int_equal(run->fail->kind, FAIL_CREDENTIAL);
            assert_null(run->account->held);
        }
        transcript_close(p);
    }
}

static void a_token_that_another_exchange_renewed_stays(void **state)
{
    struct transcript_setup setup = guest();
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    account_hold(run->account, "anonymous_token", SPAN("anon-old"), 0);
    expect_step(p, "/chat/completions", "Bearer anon-old");
    account_hold(run->account, "anonymous_token", SPAN("anon-newer"), 0);
    assert_int_equal(transcript_answer_json(p, 200, USED_UP), ADAPTER_COMPLETE);
    expect_step(p, "/chat/completions", "Bearer anon-newer");
    transcript_close(p);
}

static void a_refusal_after_text_is_no_second_try(void **state)
{
    struct transcript_setup setup = guest();
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    account_hold(run->account, "anonymous_token", SPAN("anon-old"), 0);
    expect_step(p, "/chat/completions", "Bearer anon-old");
    assert_int_equal(
        transcript_answer(
            p, 200, "text/event-stream",
            SPAN("data:{\"choices\":[{\"delta\":{\"content\":\"Ha\"}}]}\n\ndata:" USED_UP "\n\n"),
            NULL, 0, END_CLEAN),
        ADAPTER_FAIL);
    assert_int_equal(run->fail->kind, FAIL_UNAVAILABLE);
    assert_null(run->account->held); /* the next turn asks for a fresh one */
    transcript_close(p);
}

static void logins_that_fail(void **state)
{
    static const struct {
        int status;
        const char *type, *body;
        enum fail_kind kind;
    } rows[] = {
        {200, "application/json", "{\"status\":7,\"message\":\"closed today\"}", FAIL_UNAVAILABLE},
        {200, "application/json", "{\"status\":0,\"result\":{}}", FAIL_UNAVAILABLE},
        {200, "application/json", "{\"status\":0,\"result\":null}", FAIL_UNAVAILABLE},
        {200, "application/json", "{\"status\":0,\"result\":{\"anonymousToken\":\"a\\r\\nX: b\"}}",
         FAIL_UNAVAILABLE},
        {200, "application/json", "", FAIL_UNAVAILABLE},
        {403, "application/json", "{\"message\":\"no\"}", FAIL_UNAVAILABLE},
        {429, "application/json", "{\"message\":\"slow\"}", FAIL_RATE_LIMITED},
        {502, "text/html", "<html>", FAIL_UNAVAILABLE},
        {403, "text/html", "<html>", FAIL_CHALLENGE},
        {200, "application/json", "{\"status\":9,\"message\":\"请输入验证码\"}", FAIL_CHALLENGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = guest();
        struct transcript_player *p = transcript_open(&setup);
        expect_step(p, "/api/sys/login/anonymous", "");
        assert_int_equal(transcript_answer(p, rows[i].status, rows[i].type, span_str(rows[i].body),
                                           NULL, 0, END_CLEAN),
                         ADAPTER_FAIL);
        const struct fail *fail = transcript_run(p)->fail;
        if (fail->kind != rows[i].kind)
            fail_msg("%d %s: wanted %s, got %s", rows[i].status, rows[i].body,
                     fail_kind_name(rows[i].kind), fail_kind_name(fail->kind));
        if (i == 0)
            assert_non_null(strstr(fail->message, "closed today"));
        transcript_close(p);
    }
    struct transcript_setup setup = guest();
    struct transcript_player *p = transcript_open(&setup);
    expect_step(p, "/api/sys/login/anonymous", "");
    assert_int_equal(
        transcript_answer(p, 200, "application/json", SPAN("{\"sta"), NULL, 0, END_CUT),
        ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_CUT);
    transcript_close(p);
}

/* ---- answers ---- */

static void every_transcript_at_both_doors(void **state)
{
    static const char *const files[] = {"plain.sse", "reasoning-no-done.sse", "refs.sse",
                                        "tools.sse", "error-after-text.sse",  "error.json"};
    struct transcript_setup doors[] = {official(NULL), playground(NULL)};
    for (size_t d = 0; d < 2; d++) {
        for (size_t i = 0; i < sizeof files / sizeof *files; i++)
            transcript_check(&doors[d], NULL, "sophnet", files[i]);
    }
}

static void every_transcript_as_a_guest(void **state)
{
    static const char *const files[] = {"plain.sse", "reasoning-no-done.sse", "refs.sse",
                                        "tools.sse", "error-after-text.sse"};
    static const char *const login[] = {LOGIN("t"), NULL};
    static const char *const renewed[] = {LOGIN("t"), USED_UP, LOGIN("u"), NULL};
    struct transcript_setup setup = guest();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        transcript_check(&setup, login, "sophnet", files[i]);
    transcript_check(&setup, renewed, "sophnet", "plain.sse");
    transcript_check(&setup, renewed, "sophnet", "error.json"); /* refused again */
}

static void refs_of_whole_answers(void **state)
{
    struct transcript_setup setup = official("{\"model\":\"x\"," HI "}");
    static const char *const bodies[] = {
        "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"a\",\"reasoning_content\":null,"
        "\"refs\":[{\"url\":\"https://e.org/1\",\"title\":\"t\"},{\"url\":\"https://e.org/"
        "1\"}]},\"finish_reason\":\"stop\"}]}",
        "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"a\"},\"refs\":[{\"index\":1,\"url\":"
        "\"https://e.org/"
        "1\",\"type\":\"web\"},{\"index\":2,\"type\":\"qa\",\"url\":null}],\"finish_reason\":"
        "\"stop\"}]}",
    };
    setup.content_type = "application/json";
    for (size_t i = 0; i < 2; i++) {
        struct played played;
        transcript_play(&setup, NULL, span_str(bodies[i]), NULL, 0, END_CLEAN, &played);
        transcript_expect(bodies[i],
                          "{\"content\":\"a\",\"citations\":[\"https://e.org/"
                          "1\"],\"extra\":{\"choice\":{},\"delta\":{}},\"error\":null}",
                          buffer_span(&played.json));
        assert_true(span_find(buffer_span(&played.json), SPAN("refs")) < 0);
        played_free(&played);
    }
}

/* ---- errors ---- */

enum { KEY = 1, ANON = 2, TOKEN = 4, ALL = 7 };

static void every_row_of_the_error_table(void **state)
{
    static const struct {
        int doors, status;
        const char *type, *body, *kind;
    } rows[] = {
        {ALL, 200, "text/html", "<html>", "challenge"},
        {ALL, 401, "text/html", "<html>", "challenge"},
        {ALL, 200, "application/json",
         "{\"status\":1,\"message\":\"verifyIntelligentCaptcha failed\"}", "challenge"},
        {ALL, 403, "application/json", "{\"status\":40310,\"message\":\"请完成人机验证\"}",
         "challenge"},
        {ALL, 400, "application/json", "{\"status\":1,\"message\":\"验证码错误\"}", "challenge"},
        {ALL, 200, "application/json", USED_UP, "credential"},
        {ALL, 403, "application/json", USED_UP, "credential"},
        {ALL, 401, "application/json", "{}", "credential"},
        {ALL, 200, "application/json", "{\"status\":10025,\"message\":\"You must log in first\"}",
         "credential"},
        {ALL, 403, "application/json", "{\"status\":2,\"message\":\"x\"}", "credential"},
        {ANON, 422, "application/json", "{\"status\":2,\"message\":\"x\"}", "credential"},
        {KEY | TOKEN, 422, "application/json", "{\"status\":2,\"message\":\"x\"}", "bad_request"},
        {ALL, 429, "application/json", "{\"status\":2,\"message\":\"slow\"}", "rate_limited"},
        {ALL, 400, "application/json",
         "{\"status\":2,\"message\":\"maximum context length exceeded\"}", "context_length"},
        {ALL, 400, "application/json", "{\"status\":2,\"message\":\"x\"}", "bad_request"},
        {ALL, 404, "application/json", "", "bad_request"},
        {ALL, 400, "application/json",
         "{\"error\":{\"message\":\"x\",\"code\":\"content_filter\"}}", "content_filter"},
        {ALL, 200, "application/json", "{\"status\":50000,\"message\":\"internal error\"}",
         "unavailable"},
        {ALL, 200, "application/json", "{\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}",
         "unavailable"},
        {ALL, 500, "application/json", "{\"status\":50000,\"message\":\"internal error\"}",
         "unavailable"},
        {ALL, 502, "text/html", "<html>", "unavailable"},
        {ALL, 200, "text/event-stream", "data:{\"status\":50000,\"message\":\"x\"}\n\n",
         "unavailable"},
        {ALL, 200, "text/event-stream", "data:{\"status\":10025,\"message\":\"x\"}\n\n",
         "credential"},
        {ALL, 200, "text/event-stream", "data:{\"error\":{\"message\":\"x\",\"code\":429}}\n\n",
         "rate_limited"},
        {ALL, 200, "application/json", "{\"status\":0,\"message\":\"ok\"}", "unavailable"},
        {ALL, 200, "application/json", "{\"status\":0}", "protocol"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int door = KEY; door <= TOKEN; door <<= 1) {
            struct transcript_setup setup = official(NULL);
            struct played played;
            char wanted[128];
            if (!(rows[i].doors & door))
                continue;
            setup.credentials = door == KEY ? api_key : door == ANON ? token : real_token;
            setup.status = rows[i].status;
            setup.content_type = rows[i].type;
            setup.retry_after_s = 9;
            transcript_play(&setup, NULL, span_str(rows[i].body), NULL, 0, END_CLEAN, &played);
            snprintf(wanted, sizeof wanted, "{\"content\":\"\",\"error\":{\"kind\":\"%s\"%s}}",
                     rows[i].kind, rows[i].status == 429 ? ",\"retry_after\":9" : "");
            transcript_expect(rows[i].body, wanted, buffer_span(&played.json));
            if (played.fail.kind == FAIL_CHALLENGE)
                assert_non_null(strstr(played.fail.message, "api_key"));
            played_free(&played);
        }
    }
}

/* ---- models ---- */

static int keep_id(void *owner, const struct model_entry *entry)
{
    struct buffer *ids = owner;
    buffer_append(ids, entry->id);
    return buffer_char(ids, ' ');
}

static void the_model_list(void **state)
{
    struct transcript_setup setups[] = {playground(NULL), official(NULL), guest()};
    struct site_request req = {0};
    struct transcript_player *p = transcript_open(&setups[0]);
    struct turn_run *run = transcript_run(p);
    assert_int_equal(adapter_sophnet.models_request(run, &req), ADAPTER_SEND);
    assert_true(is(req.target, "/api/public/playground/models?projectUuid=Ar79PWUQUAhjJOja2orHs"));
    assert_true(is(transcript_header(&req, "authorization"), "Bearer anon-given"));

    struct buffer ids;
    buffer_init(&ids, 4096);
    struct model_sink sink = {keep_id, &ids};
    assert_int_equal(adapter_sophnet.models_answer(
                         run,
                         SPAN("{\"status\":0,\"message\":\"ok\",\"result\":[{\"id\":1,"
                              "\"modelFamily\":\"A\",\"displayName\":\"x\"},"
                              "{\"displayName\":\"B\",\"available\":true},{\"modelFamily\":\"C\","
                              "\"available\":false},{\"id\":2}]}"),
                         &sink),
                     0);
    assert_true(is(buffer_span(&ids), "A B "));
    assert_int_equal(
        adapter_sophnet.models_answer(run, SPAN("{\"status\":10025,\"result\":[]}"), &sink), -1);
    assert_int_equal(adapter_sophnet.models_answer(run, SPAN("<html>"), &sink), -1);
    buffer_free(&ids);
    transcript_close(p);
    for (int i = 1; i < 3;
         i++) { /* no list at the official door, nor for a guest without a token */
        p = transcript_open(&setups[i]);
        assert_int_equal(adapter_sophnet.models_request(transcript_run(p), &req), ADAPTER_DONE);
        transcript_close(p);
    }
    size_t n = 0;
    while (adapter_sophnet.models[n].id.p)
        n++;
    assert_int_equal(n, 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_official_door),
        cmocka_unit_test(the_playground_door),
        cmocka_unit_test(paths_and_project_can_be_set),
        cmocka_unit_test(a_search_suffix_is_the_playgrounds),
        cmocka_unit_test(defaults),
        cmocka_unit_test(older_history_is_folded),
        cmocka_unit_test(folding_keeps_a_call_with_its_result),
        cmocka_unit_test(everything_into_one_message),
        cmocka_unit_test(an_account_without_anything_is_refused),
        cmocka_unit_test(a_guest_logs_in_once_and_keeps_the_token),
        cmocka_unit_test(another_exchanges_token_is_used),
        cmocka_unit_test(a_held_token_is_used_until_a_minute_before_its_end),
        cmocka_unit_test(when_a_token_ends),
        cmocka_unit_test(a_refused_guest_gets_one_fresh_token),
        cmocka_unit_test(a_token_that_another_exchange_renewed_stays),
        cmocka_unit_test(a_refusal_after_text_is_no_second_try),
        cmocka_unit_test(logins_that_fail),
        cmocka_unit_test(every_transcript_at_both_doors),
        cmocka_unit_test(every_transcript_as_a_guest),
        cmocka_unit_test(refs_of_whole_answers),
        cmocka_unit_test(every_row_of_the_error_table),
        cmocka_unit_test(the_model_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
