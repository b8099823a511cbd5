/*
 * test/unit/test_claude_web_adapter.c - claude.ai: requests, credentials, uploads, answers, every
 * row of the error table, clean-up.
 */
#include "adapters/claude_web.h"

#include <stdio.h>

#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/transcript.h"

#define KEY  "sk-ant-sid01-secret"
#define ORG  "11111111-2222-4333-8444-555555555555"
#define CONV "{\"uuid\":\"c0ffee00-0000-4000-8000-000000000000\",\"is_temporary\":true}"

static const struct credential person[] = {{SPAN_INIT("session_key"), SPAN_INIT(KEY)}};
static const struct credential member[] = {{SPAN_INIT("session_key"), SPAN_INIT(KEY)},
                                           {SPAN_INIT("organization"), SPAN_INIT(ORG)}};
static const char *const created[] = {CONV, NULL};

static struct transcript_setup setup_of(const char *body)
{
    return (struct transcript_setup){.adapter = &adapter_claude_web,
                                     .body = body,
                                     .model = "claude-sonnet-5",
                                     .credentials = member,
                                     .n_credentials = 2};
}

/* ---- answers ---- */

static void every_fixture_at_every_split(void **state)
{
    static const char *const files[] = {"error-after-text.sse", "limit-in-band.sse",
                                        "older-form.sse",       "plain.sse",
                                        "search.sse",           "thinking.sse"};
    struct transcript_setup setup = setup_of(NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        transcript_check(&setup, created, "claude_web", files[i]);
    setup.status = 429;
    transcript_check(&setup, created, "claude_web", "rate-limited.json");
    setup.status = 403;
    transcript_check(&setup, created, "claude_web", "signed-out.json");
}

/* One answer made of the given data lines, and what must come of it. */
static void expect_as(const struct transcript_setup *setup, const char *const *events,
                      enum stream_end end, const char *wanted)
{
    struct buffer body;
    struct played out;
    buffer_init(&body, 64 << 20);
    for (size_t i = 0; events[i]; i++)
        buffer_printf(&body, "data: %s\n\n", events[i]);
    transcript_play(setup, created, buffer_span(&body), NULL, 0, end, &out);
    transcript_expect(events[0] ? events[0] : "nothing", wanted, buffer_span(&out.json));
    played_free(&out);
    buffer_free(&body);
}

static void expect_events(const char *const *events, enum stream_end end, const char *wanted)
{
    struct transcript_setup setup = setup_of(NULL);
    expect_as(&setup, events, end, wanted);
}

#define EVENTS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define START(index, type)                                                                         \
    "{\"type\":\"content_block_start\",\"index\":" index ",\"content_block\":{\"type\":\"" type    \
    "\"}}"
#define BLOCK_STOP(index) "{\"type\":\"content_block_stop\",\"index\":" index "}"
#define DELTA(index, type, members)                                                                \
    "{\"type\":\"content_block_delta\",\"index\":" index ",\"delta\":{\"type\":\"" type            \
    "\"," members "}}"
#define TEXT(index, text)     DELTA(index, "text_delta", "\"text\":\"" text "\"")
#define THINKING(index, text) DELTA(index, "thinking_delta", "\"thinking\":\"" text "\"")
#define SUMMARY(index, text)                                                                       \
    DELTA(index, "thinking_summary_delta", "\"summary\":{\"summary\":\"" text "\"}")
#define REASON(reason) "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"" reason "\"}}"
#define STOP           "{\"type\":\"message_stop\"}"
#define CITE(uuid, url)                                                                            \
    DELTA("0", "citation_start_delta",                                                             \
          "\"citation\":{\"uuid\":\"" uuid "\",\"title\":\"T\",\"url\":\"" url "\"}")
#define CITED(uuid)  DELTA("0", "citation_end_delta", "\"citation_uuid\":\"" uuid "\"")
#define LIMIT(inner) "{\"type\":\"message_limit\",\"message_limit\":{" inner "}}"

static void only_message_stop_proves_that_the_answer_is_whole(void **state)
{
    expect_events(EVENTS(TEXT("0", "a"), REASON("end_turn")), END_CLEAN,
                  "{\"content\":\"a\",\"finish_reason\":null,\"error\":{\"kind\":\"cut\"}}");
    expect_events(EVENTS(TEXT("0", "a"), REASON("end_turn")), END_CUT,
                  "{\"content\":\"a\",\"error\":{\"kind\":\"cut\"}}");
    expect_events(EVENTS(TEXT("0", "a"), STOP, TEXT("0", "dropped")), END_CLEAN,
                  "{\"content\":\"a\",\"finish_reason\":\"stop\",\"error\":null}");
    expect_events(EVENTS(STOP), END_CLEAN, "{\"error\":{\"kind\":\"empty\"}}");
    expect_events(EVENTS(REASON("end_turn"), STOP), END_CLEAN, "{\"error\":{\"kind\":\"empty\"}}");
    expect_events(EVENTS(NULL), END_CLEAN, "{\"error\":{\"kind\":\"empty\"}}");
    expect_events(EVENTS(NULL), END_CUT, "{\"error\":{\"kind\":\"cut\"}}");
    expect_events(EVENTS(THINKING("0", "hm"), REASON("end_turn"), STOP), END_CLEAN,
                  "{\"reasoning_content\":\"hm\",\"error\":{\"kind\":\"empty\"}}");
    expect_events(EVENTS(THINKING("0", "hm"), REASON("max_tokens"), STOP), END_CLEAN,
                  "{\"reasoning_content\":\"hm\",\"finish_reason\":\"length\",\"error\":null}");
}

static void finish_reasons(void **state)
{
    static const struct {
        const char *said, *finish;
    } rows[] = {
        {"end_turn", "stop"},
        {"stop_sequence", "stop"},
        {"tool_use", "stop"},
        {"user_canceled", "stop"},
        {"something_new", "stop"},
        {"max_tokens", "length"},
        {"max_tool_use", "length"},
        {"tool_use_limit", "length"},
        {"max_conversation_length", "length"},
        {"refusal", "content_filter"},
        {"cyber_refusal", "content_filter"},
        {"prompt_injection_risk", "content_filter"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char event[160], wanted[160];
        snprintf(event, sizeof event,
                 "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"%s\"}}", rows[i].said);
        snprintf(wanted, sizeof wanted,
                 "{\"content\":\"a\",\"finish_reason\":\"%s\",\"native\":\"%s\",\"error\":null}",
                 rows[i].finish, rows[i].said);
        expect_events(EVENTS(TEXT("0", "a"), event, STOP), END_CLEAN, wanted);
        snprintf(wanted, sizeof wanted, "{\"finish_reason\":null,\"error\":{\"kind\":\"%s\"}}",
                 rows[i].finish[0] == 'c' ? "content_filter" : "empty");
        expect_events(EVENTS(event, STOP), END_CLEAN, wanted);
    }
    expect_events(EVENTS(TEXT("0", "a"), STOP), END_CLEAN, "{\"finish_reason\":\"stop\"}");
    expect_events(EVENTS(TEXT("0", "a"), REASON("error"), STOP), END_CLEAN,
                  "{\"finish_reason\":null,\"error\":{\"kind\":\"unavailable\"}}");
}

static void blocks_stand_apart(void **state)
{
    expect_events(EVENTS(START("0", "text"), TEXT("0", "a"), TEXT("0", "b"), BLOCK_STOP("0"),
                         START("1", "text"), BLOCK_STOP("1"), START("2", "text"), TEXT("2", "c"),
                         TEXT("2", "d"), STOP),
                  END_CLEAN, "{\"content\":\"ab\\n\\ncd\"}");
    expect_events(EVENTS(START("0", "thinking"), THINKING("0", "a"), BLOCK_STOP("0"),
                         START("1", "thinking"), THINKING("1", "b"), BLOCK_STOP("1"),
                         START("2", "text"), TEXT("2", "c"), STOP),
                  END_CLEAN, "{\"content\":\"c\",\"reasoning_content\":\"a\\n\\nb\"}");
    expect_events(
        EVENTS("{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":"
               "\"thinking\",\"thinking\":\"x\"}}",
               "{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":"
               "\"text\",\"text\":\"y\"}}",
               STOP),
        END_CLEAN, "{\"content\":\"y\",\"reasoning_content\":\"x\"}");
    /* unknown blocks: by the piece's kind alone; a second message clears the table, not the text */
    expect_events(EVENTS(TEXT("7", "a"), THINKING("8", "t"), START("0", "tool_use"),
                         "{\"type\":\"message_start\",\"message\":{}}", TEXT("0", "b"), STOP),
                  END_CLEAN, "{\"content\":\"ab\",\"reasoning_content\":\"t\",\"drift\":[]}");
    /* what the site's own tools do is no answer */
    expect_events(EVENTS(START("0", "tool_result"),
                         DELTA("0", "input_json_delta", "\"partial_json\":\"[1]\""),
                         TEXT("0", "hidden"), TEXT("1", "seen"), STOP),
                  END_CLEAN, "{\"content\":\"seen\",\"drift\":[]}");
}

static void summaries_only_where_no_thinking_comes(void **state)
{
    expect_events(EVENTS(START("0", "thinking"), SUMMARY("0", "One"),
                         DELTA("0", "thinking_summary_delta", "\"summary\":\"Two\""),
                         BLOCK_STOP("0"), TEXT("1", "a"), STOP),
                  END_CLEAN, "{\"reasoning_content\":\"One\\nTwo\",\"content\":\"a\"}");
    /* of the block that is named, not of the current one */
    expect_events(EVENTS(START("0", "thinking"), START("1", "thinking"), THINKING("1", "full"),
                         SUMMARY("0", "short"), BLOCK_STOP("1"), BLOCK_STOP("0"), TEXT("2", "a"),
                         STOP),
                  END_CLEAN, "{\"reasoning_content\":\"full\\n\\nshort\",\"content\":\"a\"}");
    expect_events(EVENTS(START("0", "text"), SUMMARY("0", "no thinking"), TEXT("0", "a"),
                         SUMMARY("9", "no block"), STOP),
                  END_CLEAN, "{\"reasoning_content\":\"\",\"content\":\"a\"}");
}

static void citations_have_places(void **state)
{
    expect_events(
        EVENTS(TEXT("0", "\xF0\x9F\xA4\x94潮"), CITE("u1", "https://a.example/"), TEXT("0", "xy"),
               CITE("u2", "https://b.example/"), TEXT("0", "z"), CITED("u1"), CITED("u2"),
               TEXT("0", "."), CITE("u3", "https://a.example/"), TEXT("0", "!"), CITED("u3"), STOP),
        END_CLEAN,
        "{\"citations\":[{\"url\":\"https://a.example/\",\"start_index\":2,\"end_index\":5},"
        "{\"url\":\"https://b.example/\",\"start_index\":4,\"end_index\":5},"
        "{\"url\":\"https://a.example/\",\"start_index\":6,\"end_index\":7}]}");
    /* a pair of surrogates in two pieces is one character; lone ones are one each */
    expect_events(EVENTS(TEXT("0", "\\ud83e"), TEXT("0", "\\udd14"), TEXT("0", "\\ud83e"),
                         TEXT("0", "a"), CITE("u", "https://a.example/"), TEXT("0", "b"),
                         CITED("u"), STOP),
                  END_CLEAN,
                  "{\"content\":\"\xF0\x9F\xA4\x94\xEF\xBF\xBD"
                  "ab\",\"citations\":[{"
                  "\"start_index\":3,\"end_index\":4}]}");
    /* without an end, an url, a beginning */
    expect_events(EVENTS(TEXT("0", "a"), CITE("u", "https://a.example/"), TEXT("0", "b"), STOP),
                  END_CLEAN, "{\"citations\":[{\"start_index\":1,\"end_index\":2}]}");
    expect_events(EVENTS(DELTA("0", "citation_start_delta",
                               "\"citation\":{\"uuid\":\"u\",\"sources\":[{\"url\":\"https://"
                               "s.example/\",\"title\":\"S\"}]}"),
                         TEXT("0", "b"), CITED("u"), STOP),
                  END_CLEAN, "{\"citations\":[{\"url\":\"https://s.example/\",\"title\":\"S\"}]}");
    expect_events(EVENTS(CITE("u", ""), TEXT("0", "b"), CITED("u"), CITED("x"), STOP), END_CLEAN,
                  "{\"citations\":[],\"drift\":[\"end of an unknown citation\"]}");
}

static void limits_inside_the_answer(void **state)
{
    expect_events(EVENTS(TEXT("0", "a"), LIMIT("\"type\":\"approaching_limit\""), STOP), END_CLEAN,
                  "{\"content\":\"a\",\"finish_reason\":\"stop\",\"rest\":null,\"error\":null}");
    expect_events(
        EVENTS(TEXT("0", "a"), LIMIT("\"type\":\"exceeded_limit\",\"resetsAt\":1760000060"), STOP),
        END_CLEAN, "{\"content\":\"a\",\"finish_reason\":\"stop\",\"rest\":60,\"error\":null}");
    expect_events(EVENTS(LIMIT("\"type\":\"exceeded_limit\",\"windows\":{\"5h\":{\"status\":"
                               "\"exceeded_limit\",\"resets_at\":1760000100},\"7d\":{\"status\":"
                               "\"within_limit\",\"resets_at\":1760009000}}")),
                  END_CLEAN, "{\"error\":{\"kind\":\"rate_limited\",\"retry_after\":100}}");
    expect_events(EVENTS(LIMIT("\"type\":\"exceeded_limit\",\"resetsAt\":1"), STOP), END_CLEAN,
                  "{\"error\":{\"kind\":\"rate_limited\",\"retry_after\":3600}}");
    expect_events(EVENTS(LIMIT("\"type\":\"exceeded_limit\",\"representativeClaim\":"
                               "\"concurrents\",\"resetsAt\":1760009000"),
                         STOP),
                  END_CLEAN, "{\"error\":{\"kind\":\"rate_limited\",\"retry_after\":15}}");
}

static void the_older_form(void **state)
{
    expect_events(EVENTS("{\"completion\":\"a\",\"stop_reason\":null}",
                         "{\"type\":\"completion\",\"completion\":\"b\",\"stop_reason\":\"max_"
                         "tokens\"}"),
                  END_CLEAN, "{\"content\":\"ab\",\"finish_reason\":\"length\",\"drift\":[]}");
    expect_events(EVENTS("{\"type\":\"completion\",\"completion\":\"a\",\"stop_reason\":null}"),
                  END_CLEAN, "{\"content\":\"a\",\"error\":{\"kind\":\"cut\"}}");
    struct transcript_setup setup = setup_of(NULL);
    struct played out;
    transcript_play(&setup, created,
                    SPAN("event: completion\r\ndata: {\"completion\":\"x\",\"stop_reason\":\"stop_"
                         "sequence\"}\r\n\r\n"),
                    NULL, 0, END_CLEAN, &out);
    transcript_expect("by the event's name", "{\"content\":\"x\",\"finish_reason\":\"stop\"}",
                      buffer_span(&out.json));
    played_free(&out);
}

static void errors_inside_the_answer(void **state)
{
    static const struct {
        const char *error, *wanted;
    } rows[] = {
        {"\"type\":\"overloaded_error\",\"message\":\"Overloaded\"",
         "{\"kind\":\"overloaded\",\"retry_after\":10}"},
        {"\"type\":\"rate_limit_error\",\"message\":\"{\\\"resetsAt\\\":1760000090}\"",
         "{\"kind\":\"rate_limited\",\"retry_after\":90}"},
        {"\"type\":\"authentication_error\",\"message\":\"no\"", "{\"kind\":\"credential\"}"},
        {"\"type\":\"permission_error\",\"message\":\"no\"", "{\"kind\":\"credential\"}"},
        {"\"type\":\"invalid_request_error\",\"message\":\"prompt is too long\"",
         "{\"kind\":\"context_length\"}"},
        {"\"type\":\"invalid_request_error\",\"message\":\"odd\"", "{\"kind\":\"bad_request\"}"},
        {"\"type\":\"api_error\",\"message\":\"x\"", "{\"kind\":\"unavailable\"}"},
        {"\"type\":\"whatever\"", "{\"kind\":\"unavailable\"}"},
        {"\"message\":5", "{\"kind\":\"unavailable\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char event[300], wanted[300];
        snprintf(event, sizeof event, "{\"type\":\"error\",\"error\":{%s}}", rows[i].error);
        snprintf(wanted, sizeof wanted, "{\"error\":%s}", rows[i].wanted);
        expect_events(EVENTS(event), END_CLEAN, wanted);
        expect_events(EVENTS(TEXT("0", "half"), event), END_CLEAN, wanted);
        /* the same in place of a stream */
        struct transcript_setup setup = setup_of(NULL);
        struct played out;
        setup.content_type = "application/json";
        transcript_play(&setup, created, span_str(event), NULL, 0, END_CLEAN, &out);
        transcript_expect(event, wanted, buffer_span(&out.json));
        played_free(&out);
    }
}

static void drift_is_counted(void **state)
{
    expect_events(
        EVENTS("nonsense", "[1]", "{\"type\":\"title\"}", "{\"type\":\"conversation_ready\"}",
               "{\"type\":\"compaction_status\"}", "{\"type\":\"brand_new\"}",
               DELTA("0", "new_delta", "\"x\":1"), DELTA("0", "text_delta", "\"text\":5"),
               LIMIT("\"type\":\"odd\""), DELTA("0", "signature_delta", "\"signature\":\"s\""),
               DELTA("0", "flag_delta", "\"flag\":\"s\""), TEXT("0", "a"), STOP),
        END_CLEAN,
        "{\"content\":\"a\",\"finish_reason\":\"stop\",\"drift\":[\"event that is no JSON "
        "object\",\"unknown event\",\"unknown delta\",\"text that is no string\",\"unknown "
        "message_limit\"]}");
}

static void one_huge_event(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct buffer body;
    struct played out;
    buffer_init(&body, 16 << 20);
    buffer_append(&body, SPAN("data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{"
                              "\"type\":\"text_delta\",\"text\":\""));
    for (size_t i = 0; i < 5 << 20; i += 8)
        buffer_append(&body, SPAN("12345678"));
    buffer_append(&body, SPAN("\"}}\n\ndata: " STOP "\n\n"));
    transcript_play(&setup, created, buffer_span(&body), NULL, 0, END_CLEAN, &out);
    transcript_expect("5 MB", "{\"finish_reason\":\"stop\",\"error\":null}",
                      buffer_span(&out.json));
    assert_true(out.json.n > 5 << 20);
    played_free(&out);
    buffer_free(&body);
}

/* ---- failures ---- */

struct refusal {
    int status;
    const char *content_type, *body;
    struct header header; /* value.p == NULL: none */
    const char *wanted;
};

static void expect_refusal(const struct refusal *r)
{
    struct transcript_setup setup = setup_of(NULL);
    struct played out;
    setup.status = r->status;
    setup.content_type = r->content_type;
    setup.headers = &r->header;
    setup.n_headers = r->header.value.p ? 1 : 0;
    setup.retry_after_s = 7;
    transcript_play(&setup, created, span_str(r->body), NULL, 0, END_CLEAN, &out);
    char what[200];
    snprintf(what, sizeof what, "%d %.150s", r->status, r->body);
    transcript_expect(what, r->wanted, buffer_span(&out.json));
    assert_false(span_find(span_str(out.fail.message), SPAN("<")) >= 0);
    assert_false(span_find(span_str(out.fail.message), SPAN(KEY)) >= 0);
    played_free(&out);
}

#define JSON "application/json"
#define HTML "text/html"
#define NO_HEADER                                                                                  \
    {                                                                                              \
        {NULL, 0}, { NULL, 0 }                                                                     \
    }
#define HEADER(n, v)                                                                               \
    {                                                                                              \
        SPAN_INIT(n), SPAN_INIT(v)                                                                 \
    }
#define ERROR(type, message)                                                                       \
    "{\"type\":\"error\",\"error\":{\"type\":\"" type "\",\"message\":\"" message "\"}}"
#define KIND(kind)     "{\"error\":{\"kind\":\"" kind "\"}}"
#define RESTS(kind, s) "{\"error\":{\"kind\":\"" kind "\",\"retry_after\":" s "}}"

static void every_row_of_the_error_table(void **state)
{
    static const struct refusal rows[] = {
        {401, JSON, ERROR("authentication_error", "no"), NO_HEADER, KIND("credential")},
        {401, JSON, "", NO_HEADER, KIND("credential")},
        {403, JSON, ERROR("permission_error", "Invalid authorization"), NO_HEADER,
         KIND("credential")},
        {403, JSON,
         "{\"type\":\"error\",\"error\":{\"type\":\"permission_error\",\"message\":\"x\","
         "\"details\":{\"error_code\":\"account_session_invalid\"}}}",
         NO_HEADER, KIND("credential")},
        {400, JSON, ERROR("invalid_request_error", "This organization has been disabled."),
         NO_HEADER, KIND("credential")},
        {403, JSON, ERROR("permission_error", "claude-x is not available on your plan"), NO_HEADER,
         KIND("bad_request")},
        {403, JSON, ERROR("permission_error", "something else"), NO_HEADER, KIND("bad_request")},
        {404, JSON, ERROR("not_found_error", "model: claude-x"), NO_HEADER,
         "{\"error\":{\"kind\":\"model_not_found\",\"param\":\"model\"}}"},
        {404, JSON,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"x\","
         "\"details\":{\"error_code\":\"model_not_available\"}}}",
         NO_HEADER, KIND("model_not_found")},
        {400, JSON, ERROR("model_not_available", "x"), NO_HEADER, KIND("model_not_found")},
        {400, JSON, ERROR("invalid_request_error", "prompt is too long"), NO_HEADER,
         KIND("context_length")},
        {400, JSON, ERROR("invalid_request_error", "You exceed the length"), NO_HEADER,
         KIND("context_length")},
        {400, JSON, ERROR("invalid_request_error", "would exceed context"), NO_HEADER,
         KIND("context_length")},
        {400, JSON, ERROR("invalid_request_error", "exceeds the limit"), NO_HEADER,
         KIND("context_length")},
        {413, JSON, "{}", NO_HEADER, KIND("context_length")},
        {413, HTML, "<html>413</html>", NO_HEADER, KIND("context_length")},
        {400, JSON, ERROR("invalid_request_error", "odd"), NO_HEADER, KIND("bad_request")},
        {422, JSON, ERROR("invalid_request_error", "odd"), NO_HEADER, KIND("bad_request")},
        {429, JSON, ERROR("rate_limit_error", "{\\\"resetsAt\\\":1760000050}"), NO_HEADER,
         RESTS("rate_limited", "50")},
        {429, JSON,
         "{\"error\":{\"type\":\"rate_limit_error\",\"message\":{\"resetsAt\":1760000051}}}",
         NO_HEADER, RESTS("rate_limited", "51")},
        {429, JSON,
         "{\"error\":{\"type\":\"rate_limit_error\",\"message\":\"x\",\"resets_at\":1760000052}}",
         NO_HEADER, RESTS("rate_limited", "52")},
        {429, JSON,
         ERROR("rate_limit_error",
               "{\\\"windows\\\":{\\\"5h\\\":{\\\"status\\\":\\\"exceeded_limit\\\",\\\"resets_"
               "at\\\":1760000053},\\\"7d\\\":{\\\"status\\\":\\\"within_limit\\\",\\\"resets_"
               "at\\\":1760000099}}}"),
         NO_HEADER, RESTS("rate_limited", "53")},
        {429, JSON, ERROR("rate_limit_error", "x"),
         HEADER("anthropic-ratelimit-unified-reset", "1760000054"), RESTS("rate_limited", "54")},
        {429, JSON, ERROR("rate_limit_error", "x"), NO_HEADER, RESTS("rate_limited", "7")},
        {429, JSON,
         ERROR("rate_limit_error",
               "{\\\"representativeClaim\\\":\\\"concurrents\\\",\\\"resetsAt\\\":1760009999}"),
         NO_HEADER, RESTS("rate_limited", "15")},
        {529, JSON, ERROR("overloaded_error", "x"), NO_HEADER, RESTS("overloaded", "10")},
        {503, HTML, "<html>sorry</html>", NO_HEADER, RESTS("overloaded", "10")},
        {500, JSON, ERROR("overloaded_error", "x"), NO_HEADER, RESTS("overloaded", "10")},
        {500, JSON, ERROR("api_error", "x"), NO_HEADER, KIND("unavailable")},
        {502, HTML, "<html>bad gateway</html>", NO_HEADER, KIND("unavailable")},
        {504, HTML, "<html>time</html>", NO_HEADER, KIND("unavailable")},
        {403, HTML, "<!doctype html><title>Just a moment...</title>", NO_HEADER, KIND("challenge")},
        {429, HTML, "<html>/cdn-cgi/challenge-platform/</html>", NO_HEADER, KIND("challenge")},
        {503, HTML, "<html>Just a moment</html>", NO_HEADER, KIND("challenge")},
        {200, HTML, "<html>hello</html>", NO_HEADER, KIND("challenge")},
        {403, JSON, "{}", HEADER("cf-mitigated", "challenge"), KIND("challenge")},
        {500, JSON, "", HEADER("cf-mitigated", "challenge"), KIND("challenge")},
        {302, "", "", HEADER("location", "https://claude.ai/login?returnTo=%2F"),
         KIND("credential")},
        {307, "", "", HEADER("location", "/logout"), KIND("credential")},
        {302, "", "", HEADER("location", "/app-unavailable-in-region"), KIND("challenge")},
        {301, "", "", NO_HEADER, KIND("challenge")},
        {200, JSON, "{\"a\":1}", NO_HEADER, KIND("protocol")},
        {200, "text/plain", "hello", NO_HEADER, KIND("protocol")},
        {200, JSON, "", NO_HEADER, KIND("empty")},
        {204, "", "", NO_HEADER, KIND("empty")},
        {418, JSON, "{}", NO_HEADER, KIND("bad_request")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_refusal(&rows[i]);
}

static void redirects_name_the_path_alone(void **state)
{
    static const struct header to[] = {
        HEADER("location", "https://claude.ai/app-unavailable-in-region?from=secret")};
    struct transcript_setup setup = setup_of(NULL);
    struct played out;
    setup.status = 307;
    setup.headers = to;
    setup.n_headers = 1;
    transcript_play(&setup, created, SPAN(""), NULL, 0, END_CLEAN, &out);
    assert_true(span_find(span_str(out.fail.message), SPAN(" /app-unavailable-in-region:")) > 0);
    assert_true(span_find(span_str(out.fail.message), SPAN("secret")) < 0);
    played_free(&out);
}

/* ---- requests ---- */

static struct transcript_player *open_at_chat(const struct transcript_setup *setup,
                                              struct site_request *req)
{
    struct transcript_player *p = transcript_open(setup);
    assert_int_equal(transcript_next(p, req), ADAPTER_SEND);
    assert_int_equal(transcript_answer(p, 201, JSON, SPAN(CONV), NULL, 0, END_CLEAN),
                     ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, req), ADAPTER_SEND);
    return p;
}

static enum adapter_verdict answer(struct transcript_player *p, int status, const char *body)
{
    return transcript_answer(p, status, JSON, span_str(body), NULL, 0, END_CLEAN);
}

static void a_plain_turn(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "POST");
    assert_span_equal(req.target, SPAN("/api/organizations/" ORG "/chat_conversations"));
    assert_span_equal(transcript_header(&req, "Cookie"), SPAN("sessionKey=" KEY));
    assert_span_equal(transcript_header(&req, "Origin"), SPAN("https://claude.ai"));
    assert_span_equal(transcript_header(&req, "Referer"), SPAN("https://claude.ai/new"));
    assert_span_equal(transcript_header(&req, "Content-Type"), SPAN(JSON));
    char wanted[256];
    struct span uuid = span_first(span_from(req.body, 9), 36);
    snprintf(wanted, sizeof wanted,
             "{\"uuid\":\"%.*s\",\"name\":\"\",\"model\":\"claude-sonnet-5\",\"is_temporary\":true,"
             "\"include_conversation_preferences\":false}",
             SPAN_ARGS(uuid));
    transcript_expect_same("create", wanted, req.body);
    assert_int_equal(answer(p, 201, "{\"name\":\"\"}"), ADAPTER_COMPLETE);

    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    snprintf(wanted, sizeof wanted, "/api/organizations/" ORG "/chat_conversations/%.*s/completion",
             SPAN_ARGS(uuid));
    assert_span_equal(req.target, span_str(wanted));
    assert_span_equal(transcript_header(&req, "Accept"), SPAN("text/event-stream"));
    transcript_expect_same("completion",
                           "{\"prompt\":\"hi\",\"model\":\"claude-sonnet-5\",\"timezone\":\"UTC\","
                           "\"locale\":\"en-US\",\"rendering_mode\":\"messages\",\"attachments\":"
                           "[],\"files\":[],\"sync_sources\":[],\"thinking_mode\":\"off\"}",
                           req.body);
    transcript_close(p);
}

#define TURNS                                                                                      \
    "\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"developer\","       \
    "\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\","          \
    "\"content\":\"b\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"t1\","  \
    "\"type\":\"function\",\"function\":{\"name\":\"clock\",\"arguments\":\"{}\"}}]},{\"role\":"   \
    "\"tool\",\"tool_call_id\":\"t1\",\"content\":\"noon\"},{\"role\":\"system\",\"content\":"     \
    "\"Late.\"},{\"role\":\"user\",\"content\":\"c\"}"
#define FLAT                                                                                       \
    "Be brief.\\nBe kind.\\n\\nHuman: a\\nb\\n\\nAssistant: <tool_call>{\\\"name\\\": "            \
    "\\\"clock\\\", \\\"arguments\\\": {}, \\\"id\\\": \\\"t1\\\"}</tool_call>\\n\\nHuman: "       \
    "<tool_result id=\\\"t1\\\" name=\\\"clock\\\">noon</tool_result>\\n\\nSystem: "               \
    "Late.\\n\\nHuman: c"

static void the_history_is_one_text(void **state)
{
    static const struct option_value attached[] = {
        {.name = SPAN_INIT("history"), .type = OPTION_TEXT, .text = SPAN_INIT("attachment")}};
    struct transcript_setup setup = setup_of("{\"model\":\"m\"," TURNS "]}");
    struct site_request req;
    struct transcript_player *p = open_at_chat(&setup, &req);
    transcript_expect("turns", "{\"prompt\":\"" FLAT "\\n\\nAssistant:\",\"attachments\":[]}",
                      req.body);
    transcript_close(p);

    setup = setup_of("{\"model\":\"m\"," TURNS
                     ",{\"role\":\"assistant\",\"content\":\"Once upon a\"}]}");
    p = open_at_chat(&setup, &req);
    transcript_expect("prefill", "{\"prompt\":\"" FLAT "\\n\\nAssistant: Once upon a\"}", req.body);
    transcript_close(p);

    setup = setup_of("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"é\"}]}");
    setup.options = attached;
    setup.n_options = 1;
    p = open_at_chat(&setup, &req);
    transcript_expect("attachment",
                      "{\"prompt\":\"\",\"attachments\":[{\"file_name\":\"paste.txt\",\"file_"
                      "type\":\"txt\",\"file_size\":2,\"extracted_content\":\"é\"}]}",
                      req.body);
    transcript_close(p);
}

static void models_thinking_and_search(void **state)
{
    static const struct {
        const char *model, *fields, *wanted;
        bool extended;
    } rows[] = {
        {"claude-sonnet-5", "", "{\"thinking_mode\":\"off\",\"effort\":null,\"tools\":null}",
         false},
        {"claude-sonnet-5-thinking", "", "{\"thinking_mode\":\"auto\",\"effort\":\"high\"}", true},
        {"claude-haiku-4-5", "\"reasoning_effort\":\"low\",",
         "{\"model\":\"claude-haiku-4-5-20251001\",\"thinking_mode\":\"extended\",\"effort\":"
         "\"low\"}",
         true},
        {"claude-opus-4-5-20251101", "\"reasoning_effort\":\"xhigh\",",
         "{\"model\":\"claude-opus-4-5-20251101\",\"thinking_mode\":\"extended\",\"effort\":"
         "\"max\"}",
         true},
        {"claude-opus-4-1", "\"thinking\":{\"type\":\"enabled\"},",
         "{\"model\":\"claude-opus-4-1-20250805-claude-ai\",\"thinking_mode\":\"extended\"}", true},
        {"claude-sonnet-4-6-search-thinking", "\"reasoning_effort\":\"minimal\",",
         "{\"model\":\"claude-sonnet-4-6\",\"thinking_mode\":\"auto\",\"effort\":\"low\",\"tools\":"
         "[{\"type\":\"web_search_v0\",\"name\":\"web_search\"}]}",
         true},
        {"claude-3-opus", "\"reasoning_effort\":\"high\",",
         "{\"model\":\"claude-3-opus-20240229\",\"thinking_mode\":\"off\"}", false},
        {"some-new-model", "\"reasoning_effort\":\"medium\",\"max_tokens\":9,\"temperature\":0.1,",
         "{\"model\":\"some-new-model\",\"thinking_mode\":\"auto\",\"effort\":\"medium\",\"max_"
         "tokens_to_sample\":9,\"temperature\":null}",
         true},
        {"claude-opus-5", "\"reasoning_effort\":\"none\",", "{\"thinking_mode\":\"off\"}", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[200];
        struct site_request req;
        snprintf(body, sizeof body,
                 "{\"model\":\"m\",%s\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
                 rows[i].fields);
        struct transcript_setup setup = setup_of(body);
        setup.model = rows[i].model;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        transcript_expect(rows[i].model,
                          rows[i].extended ? "{\"paprika_mode\":\"extended\"}"
                                           : "{\"paprika_mode\":null}",
                          req.body);
        assert_int_equal(answer(p, 201, CONV), ADAPTER_COMPLETE);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        transcript_expect(rows[i].model, rows[i].wanted, req.body);
        transcript_close(p);
    }
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    setup.model = "claude-3-opus-search";
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_UNSUPPORTED);
    transcript_close(p);
}

/* ---- uploads ---- */

#define PNG     "data:image/png;base64,iVBORw0KGgo="
#define PICTURE "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" PNG "\"}}"
#define TWO_PICTURES                                                                               \
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[" PICTURE "]},{\"role\":"      \
    "\"assistant\",\"content\":\"nice\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\","      \
    "\"text\":\"and?\"}," PICTURE "]}]}"

static void pictures_are_uploaded_in_order(void **state)
{
    struct transcript_setup setup = setup_of(TWO_PICTURES);
    struct site_request req;
    struct transcript_player *p = open_at_chat(&setup, &req);
    assert_string_equal(req.method, "POST");
    assert_span_equal(req.target, SPAN("/api/" ORG "/upload"));
    assert_true(
        span_starts(transcript_header(&req, "Content-Type"), SPAN("multipart/form-data; ")));
    assert_true(span_find(req.body, SPAN("name=\"file\"; filename=\"image-1.png\"")) > 0);
    assert_true(span_find(req.body, SPAN("Content-Type: image/png\r\n")) > 0);
    assert_int_equal(answer(p, 200, "{\"file_uuid\":\"f-1\"}"), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(span_find(req.body, SPAN("image-2.png")) > 0);
    assert_int_equal(answer(p, 200, "{\"file_uuid\":\"f-2\",\"success\":true}"), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("files", "{\"files\":[\"f-1\",\"f-2\"],\"attachments\":[]}", req.body);
    transcript_close(p);
}

static void the_options_of_uploads(void **state)
{
    static const struct option_value options[] = {
        {.name = SPAN_INIT("old_images"), .type = OPTION_BOOL, .integer = 0},
        {.name = SPAN_INIT("upload"), .type = OPTION_TEXT, .text = SPAN_INIT("wiggle")}};
    struct transcript_setup setup = setup_of(TWO_PICTURES);
    struct site_request req;
    setup.options = options;
    setup.n_options = 2;
    struct transcript_player *p = open_at_chat(&setup, &req);
    assert_span_equal(req.target, SPAN("/api/organizations/" ORG
                                       "/conversations/c0ffee00-0000-4000-8000-000000000000/wiggle/"
                                       "upload-file"));
    assert_true(span_find(req.body, SPAN("image-1.png")) > 0);
    assert_int_equal(answer(p, 200, "{\"success\":true,\"file_uuid\":\"f\"}"), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("files", "{\"files\":[\"f\"]}", req.body);
    transcript_close(p);
    /* links in turns that are left out anyway do no harm; elsewhere they are refused */
    setup.body = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_"
                 "url\",\"image_url\":{\"url\":\"https://x.example/a.png\"}}]},{\"role\":"
                 "\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]}";
    p = open_at_chat(&setup, &req);
    transcript_expect("no picture", "{\"files\":[]}", req.body);
    transcript_close(p);
    setup.n_options = 0;
    p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_UNSUPPORTED);
    assert_string_equal(transcript_run(p)->fail->param, "messages[0].content[0]");
    transcript_close(p);
    setup = setup_of(TWO_PICTURES);
    setup.model = "claude-3-opus";
    p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_UNSUPPORTED);
    transcript_close(p);
}

static void texts_travel_inside_other_files_are_uploaded(void **state)
{
    struct transcript_setup setup = setup_of(
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":["
        "{\"type\":\"file\",\"file\":{\"filename\":\"a.md\",\"file_data\":"
        "\"data:text/markdown;base64,w6k=\"}},{\"type\":\"file\",\"file\":{\"filename\":\"b.pdf\","
        "\"file_data\":\"data:application/pdf;base64,JVBERg==\"}}]}]}");
    struct site_request req;
    struct transcript_player *p = open_at_chat(&setup, &req);
    assert_true(span_find(req.body, SPAN("filename=\"b.pdf\"")) > 0);
    assert_int_equal(answer(p, 200, "{\"file_uuid\":\"f\"}"), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("both",
                      "{\"files\":[\"f\"],\"attachments\":[{\"file_name\":\"a.md\",\"file_type\":"
                      "\"text/markdown\",\"file_size\":2,\"extracted_content\":\"é\"}]}",
                      req.body);
    transcript_close(p);
}

static void a_text_that_is_none_is_uploaded(void **state)
{
    struct transcript_setup setup =
        setup_of("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
                 "\"file\",\"file\":{\"filename\":\"a.txt\",\"file_data\":"
                 "\"data:text/plain;base64,w6nD\"}}]}]}");
    struct site_request req;
    struct transcript_player *p = open_at_chat(&setup, &req);
    assert_true(span_find(req.body, SPAN("filename=\"a.txt\"")) > 0);
    transcript_close(p);
}

static void refused_uploads(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum fail_kind kind;
    } rows[] = {
        {413, "", FAIL_CONTEXT_LENGTH},
        {400, "{\"error\":{\"message\":\"no such type\"}}", FAIL_BAD_REQUEST},
        {404, "{}", FAIL_BAD_REQUEST},
        {200, "{\"success\":false}", FAIL_BAD_REQUEST},
        {200, "{}", FAIL_PROTOCOL},
        {200, "[]", FAIL_PROTOCOL},
        {200, "nonsense", FAIL_PROTOCOL},
        {200, "", FAIL_PROTOCOL},
        {200, "<html>", FAIL_CHALLENGE},
        {401, "{}", FAIL_CREDENTIAL},
        {500, "{}", FAIL_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = setup_of(TWO_PICTURES);
        struct site_request req;
        struct transcript_player *p = open_at_chat(&setup, &req);
        assert_int_equal(answer(p, rows[i].status, rows[i].body), ADAPTER_FAIL);
        assert_int_equal(transcript_run(p)->fail->kind, rows[i].kind);
        transcript_close(p);
    }
}

/* ---- the organization, and the credential ---- */

#define ORGANIZATION(uuid, capabilities)                                                           \
    "{\"uuid\":\"" uuid "\",\"name\":\"x\",\"capabilities\":[" capabilities "]"

static void the_organization_is_asked_for_once(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    setup.credentials = person;
    setup.n_credentials = 1;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "GET");
    assert_span_equal(req.target, SPAN("/api/organizations"));
    assert_span_equal(transcript_header(&req, "Cookie"), SPAN("sessionKey=" KEY));
    assert_null(transcript_header(&req, "Content-Type").p);
    assert_true(req.credential_step);
    assert_int_equal(
        answer(p, 200,
               "[" ORGANIZATION("api-one", "\"api\",\"a\",\"b\",\"c\"") "}," ORGANIZATION(
                   "free", "\"chat\"") "}," ORGANIZATION("paid", "\"chat\",\"claude_pro\"") "}]"),
        ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/api/organizations/paid/chat_conversations"));
    assert_span_equal(account_held(transcript_run(p)->account, "organization", 0, 0), SPAN("paid"));
    /* what refuses it makes it be asked for again */
    assert_int_equal(answer(p, 401, "{}"), ADAPTER_FAIL);
    assert_null(account_held(transcript_run(p)->account, "organization", 0, 0).p);
    transcript_close(p);
}

static void organizations_that_will_not_do(void **state)
{
    static const struct {
        const char *body;
        enum fail_kind kind; /* NONE = it will do */
        const char *says;
    } rows[] = {
        {"[]", FAIL_CREDENTIAL, "organization"},
        {"{}", FAIL_CREDENTIAL, "organization"},
        {"[" ORGANIZATION("x", "\"api\"") "}]", FAIL_CREDENTIAL, "organization"},
        {"[" ORGANIZATION("../x", "\"chat\"") "}]", FAIL_CREDENTIAL, "organization"},
        {"[5,null]", FAIL_CREDENTIAL, "organization"},
        {"[" ORGANIZATION("x", "\"chat\"") ",\"active_flags\":[{\"type\":\"consumer_banned\","
                                           "\"expires_at\":null}]}]",
         FAIL_CREDENTIAL, "consumer_banned"},
        {"[" ORGANIZATION("x", "\"chat\"") ",\"active_flags\":[{\"type\":\"consumer_banned\","
                                           "\"expires_at\":\"2025-10-09T08:53:21.5Z\"}]}]",
         FAIL_CREDENTIAL, "consumer_banned"},
        {"[" ORGANIZATION("x", "\"chat\"") ",\"active_flags\":[{\"type\":\"consumer_banned\","
                                           "\"expires_at\":\"2025-10-09T08:53:20Z\"}]}]",
         FAIL_NONE, ""},
        {"[" ORGANIZATION("x", "\"chat\"") ",\"active_flags\":[{\"type\":\"warned\"}]}]", FAIL_NONE,
         ""},
        {"{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}", FAIL_OVERLOADED, ""},
        {"<html>", FAIL_CHALLENGE, ""},
        {"nonsense", FAIL_PROTOCOL, ""},
        {"", FAIL_PROTOCOL, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = setup_of(NULL);
        struct site_request req;
        setup.credentials = person;
        setup.n_credentials = 1;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(answer(p, 200, rows[i].body),
                         rows[i].kind == FAIL_NONE ? ADAPTER_COMPLETE : ADAPTER_FAIL);
        assert_int_equal(transcript_run(p)->fail->kind, rows[i].kind);
        assert_true(span_find(span_str(transcript_run(p)->fail->message), span_str(rows[i].says)) >=
                    0);
        transcript_close(p);
    }
}

static bool is_good_account(const char *name, const char *value)
{
    struct credential list[] = {{span_str(name), span_str(value)}};
    struct fail fail = {0};
    int bad = adapter_claude_web.check_account(NULL, list, 1, &fail);
    assert_true(!bad || fail.message[0]);
    return !bad;
}

static void credentials_are_checked_in_the_config(void **state)
{
    assert_true(is_good_account("session_key", KEY));
    assert_false(is_good_account("session_key", "a;b"));
    assert_false(is_good_account("session_key", "a b"));
    assert_false(is_good_account("session_key", "a\nb"));
    assert_false(is_good_account("session_key", "sessionKey=" KEY));
    assert_true(is_good_account("cookie", "a=b; sessionKey=" KEY "; c=d"));
    assert_false(is_good_account("cookie", "a=b"));
    assert_false(is_good_account("cookie", "sessionKey=x\r\nEvil: 1"));
    assert_false(is_good_account("organization", ORG));
    assert_false(is_good_account("organization", "../x"));
}

static void a_whole_line_of_cookies(void **state)
{
    static const struct credential line[] = {{SPAN_INIT("cookie"), SPAN_INIT("a=b; sessionKey=k")}};
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    setup.credentials = line;
    setup.n_credentials = 1;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(transcript_header(&req, "Cookie"), SPAN("a=b; sessionKey=k"));
    transcript_close(p);
}

/* ---- conversations ---- */

static void odd_answers_to_a_creation(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum fail_kind kind;
    } rows[] = {
        {201, "[]", FAIL_PROTOCOL},
        {201, "nonsense", FAIL_PROTOCOL},
        {201, "", FAIL_PROTOCOL},
        {204, "", FAIL_PROTOCOL},
        {200, "<html>", FAIL_CHALLENGE},
        {200, ERROR("overloaded_error", "x"), FAIL_OVERLOADED},
        {404, ERROR("not_found_error", "no such organization"), FAIL_BAD_REQUEST},
        {409, "{}", FAIL_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = setup_of(NULL);
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(answer(p, rows[i].status, rows[i].body), ADAPTER_FAIL);
        assert_int_equal(transcript_run(p)->fail->kind, rows[i].kind);
        transcript_close(p);
    }
}

static void a_lost_conversation_is_made_anew_once(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    struct transcript_player *p = open_at_chat(&setup, &req);
    assert_int_equal(answer(p, 404, ERROR("not_found_error", "no such conversation")),
                     ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/api/organizations/" ORG "/chat_conversations"));
    assert_int_equal(answer(p, 201, "{\"uuid\":\"second\"}"), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(span_find(req.target, SPAN("/second/completion")) > 0);
    assert_int_equal(answer(p, 404, ERROR("not_found_error", "no such conversation")),
                     ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_BAD_REQUEST);
    transcript_close(p);
}

static void a_busy_conversation_is_asked_again_after_a_second(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    struct transcript_player *p = open_at_chat(&setup, &req);
    assert_int_equal(answer(p, 409, "{}"), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_WAIT);
    assert_int_equal(req.delay_ms, 1000);
    transcript_run(p)->now_ms += 999;
    assert_int_equal(transcript_next(p, &req), ADAPTER_WAIT);
    transcript_run(p)->now_ms += 1;
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(span_find(req.target, SPAN("/completion")) > 0);
    assert_int_equal(answer(p, 409, "{}"), ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_UNAVAILABLE);
    transcript_close(p);
}

static enum adapter_step tidy(struct transcript_player *p, struct site_request *req)
{
    *req = (struct site_request){0};
    return adapter_claude_web.cleanup(transcript_run(p), req);
}

static void temporary_chats_are_left_alone(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    struct transcript_player *p = open_at_chat(&setup, &req);
    transcript_answer(p, 200, "text/event-stream",
                      SPAN("data: " TEXT("0", "a") "\n\ndata: " STOP "\n\n"), NULL, 0, END_CLEAN);
    assert_int_equal(transcript_next(p, &req), ADAPTER_DONE);
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    transcript_close(p);
}

static void chats_that_are_not_temporary_are_deleted_unless_kept(void **state)
{
    static const struct option_value keep[] = {
        {.name = SPAN_INIT("keep_chats"), .type = OPTION_BOOL, .integer = 1}};
    for (size_t kept = 0; kept < 2; kept++) {
        struct transcript_setup setup = setup_of(NULL);
        struct site_request req;
        setup.options = keep;
        setup.n_options = kept;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        transcript_expect("create", kept ? "{\"is_temporary\":false}" : "{\"is_temporary\":true}",
                          req.body);
        assert_int_equal(answer(p, 201, "{\"uuid\":\"ours\",\"is_temporary\":false}"),
                         ADAPTER_COMPLETE);
        assert_int_equal(tidy(p, &req), kept ? ADAPTER_DONE : ADAPTER_SEND);
        if (!kept) {
            assert_string_equal(req.method, "DELETE");
            assert_span_equal(req.target,
                              SPAN("/api/organizations/" ORG "/chat_conversations/ours"));
            assert_int_equal(req.framing, FRAMING_NONE);
            assert_int_equal(tidy(p, &req), ADAPTER_DONE);
        }
        transcript_close(p);
    }
}

static void where_there_are_no_temporary_chats(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(answer(p, 403, ERROR("permission_error", "Incognito chats need a plan")),
                     ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("create", "{\"is_temporary\":false}", req.body);
    assert_int_equal(answer(p, 201, "{\"uuid\":\"ours\"}"), ADAPTER_COMPLETE);
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "DELETE");
    transcript_close(p);
}

/* ---- a conversation that goes on ---- */

#define MESSAGE(more) "data: {\"type\":\"message_start\",\"message\":{\"uuid\":\"m2\"}" more "}\n\n"
#define SAID          "data: " TEXT("0", "a") "\n\n"
#define OVER          "data: " STOP "\n\n"

static struct transcript_player *open_held(const struct transcript_setup *setup, const char *held)
{
    struct transcript_player *p = transcript_open(setup);
    transcript_run(p)->conversation = span_str(held);
    return p;
}

static enum adapter_verdict stream(struct transcript_player *p, const char *events)
{
    return transcript_answer(p, 200, "text/event-stream", span_str(events), NULL, 0, END_CLEAN);
}

static void a_conversation_is_gone_on_with(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    struct transcript_player *p = open_held(&setup, "c1/m1/temporary");
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND); /* none is made */
    assert_span_equal(req.target,
                      SPAN("/api/organizations/" ORG "/chat_conversations/c1/completion"));
    transcript_expect_same("completion",
                           "{\"prompt\":\"hi\",\"model\":\"claude-sonnet-5\",\"timezone\":\"UTC\","
                           "\"locale\":\"en-US\",\"rendering_mode\":\"messages\",\"attachments\":"
                           "[],\"files\":[],\"sync_sources\":[],\"parent_message_uuid\":\"m1\","
                           "\"thinking_mode\":\"off\"}",
                           req.body);
    assert_int_equal(stream(p, MESSAGE(",\"discarded_parent_message_uuid\":null") SAID OVER),
                     ADAPTER_COMPLETE);
    assert_span_equal(transcript_run(p)->conversation_end, SPAN("c1/m2/temporary"));
    assert_int_equal(tidy(p, &req), ADAPTER_DONE); /* it goes by itself */
    transcript_close(p);
}

static void which_conversations_can_go_on(void **state)
{
    static const struct {
        const char *events;
        bool told;
    } rows[] = {
        {MESSAGE("") SAID OVER, true},
        {MESSAGE("") SAID "data: " REASON("max_tokens") "\n\n" OVER, false},
        {MESSAGE("") SAID "data: " REASON("refusal") "\n\n" OVER, false},
        {MESSAGE("") SAID, false},
        {SAID OVER, false},
        {"data: {\"type\":\"message_start\",\"message\":{\"uuid\":\"../m\"}}\n\n" SAID OVER, false},
        {MESSAGE("") "data: {\"type\":\"message_start\"}\n\n" SAID OVER, false},
        {"event: completion\ndata: {\"completion\":\"a\",\"stop_reason\":\"stop_sequence\"}\n\n",
         false},
    };
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_player *p = open_at_chat(&setup, &req);
        stream(p, rows[i].events);
        assert_int_equal(transcript_run(p)->conversation_end.n > 0, rows[i].told);
        transcript_close(p);
    }
}

/* Where there are no temporary ones: deleted by the turn that nobody goes on from. */
static void a_lasting_conversation_that_goes_on_is_kept(void **state)
{
    static const struct option_value keep[] = {
        {.name = SPAN_INIT("keep_chats"), .type = OPTION_BOOL, .integer = 1}};
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    for (int kept = 0; kept < 2; kept++) {
        struct transcript_player *p = open_held(&setup, "c1/m1/lasting");
        transcript_next(p, &req);
        assert_int_equal(stream(p, MESSAGE("") SAID OVER), ADAPTER_COMPLETE);
        assert_span_equal(transcript_run(p)->conversation_end, SPAN("c1/m2/lasting"));
        transcript_run(p)->conversation_kept = kept;
        assert_int_equal(tidy(p, &req), kept ? ADAPTER_DONE : ADAPTER_SEND);
        if (!kept)
            assert_span_equal(req.target, SPAN("/api/organizations/" ORG "/chat_conversations/c1"));
        assert_int_equal(tidy(p, &req), ADAPTER_DONE);
        transcript_close(p);
    }
    setup.options = keep;
    setup.n_options = 1;
    struct transcript_player *p = open_held(&setup, "c1/m1/lasting");
    transcript_next(p, &req);
    stream(p, MESSAGE("") SAID OVER);
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    transcript_close(p);

    /* one that was lost at the site is not the one that goes on */
    setup.n_options = 0;
    p = transcript_open(&setup);
    transcript_next(p, &req);
    answer(p, 201, "{\"uuid\":\"first\",\"is_temporary\":false}");
    transcript_next(p, &req);
    answer(p, 404, ERROR("not_found_error", "no such conversation"));
    transcript_next(p, &req);
    answer(p, 201, "{\"uuid\":\"second\",\"is_temporary\":false}");
    transcript_next(p, &req);
    assert_int_equal(stream(p, MESSAGE("") SAID OVER), ADAPTER_COMPLETE);
    transcript_run(p)->conversation_kept = true;
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/api/organizations/" ORG "/chat_conversations/first"));
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    transcript_close(p);
}

/* Whatever the site may say of a conversation that it forgot: no other one is made here, for the
 * engine sends everything (branch_reuse.c). */
static void a_forgotten_conversation(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum fail_kind kind;
    } rows[] = {
        {404, ERROR("not_found_error", "no such conversation"), FAIL_BAD_REQUEST},
        {400, ERROR("invalid_request_error", "parent_message_uuid"), FAIL_BAD_REQUEST},
        {403, ERROR("permission_error", "not yours"), FAIL_BAD_REQUEST},
        {413, "", FAIL_CONTEXT_LENGTH},
        {500, "", FAIL_UNAVAILABLE},
        {200, "data: {\"type\":\"error\",\"error\":{\"type\":\"not_found_error\"}}\n\n",
         FAIL_BAD_REQUEST},
        {200, MESSAGE(",\"discarded_parent_message_uuid\":\"m1\""), FAIL_PROTOCOL},
        {200, OVER, FAIL_EMPTY},
        {200, "", FAIL_EMPTY},
    };
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_player *p = open_held(&setup, "c1/m1/temporary");
        transcript_next(p, &req);
        assert_int_equal(rows[i].status == 200 ? stream(p, rows[i].body)
                                               : answer(p, rows[i].status, rows[i].body),
                         ADAPTER_FAIL);
        assert_int_equal(transcript_run(p)->fail->kind, rows[i].kind);
        transcript_close(p);
    }
    static const char *const wrong[] = {"c1", "c1/m1", "c1/m1/lasting/x", "/m1/lasting"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct transcript_player *p = open_held(&setup, wrong[i]);
        assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
        assert_int_equal(transcript_run(p)->fail->kind, FAIL_PROTOCOL);
        assert_int_equal(tidy(p, &req), ADAPTER_DONE);
        transcript_close(p);
    }
}

static void an_answer_that_nobody_reads_is_stopped(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req;
    struct transcript_player *p = open_at_chat(&setup, &req);
    transcript_answer(p, 200, "text/event-stream", SPAN("data: " TEXT("0", "a") "\n\n"), NULL, 0,
                      END_CUT);
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "POST");
    assert_true(span_ends(req.target, SPAN("/c0ffee00-0000-4000-8000-000000000000/stop_response")));
    assert_span_equal(req.body, SPAN("{}"));
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    transcript_close(p);
    p = transcript_open(&setup); /* nothing was begun */
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    assert_non_null(p);
    transcript_close(p);
}

/* ---- the model list ---- */

struct list {
    char text[1024];
    struct turn_run *run;
};

static int put_entry(void *owner, const struct model_entry *e)
{
    struct list *l = owner;
    size_t n = strlen(l->text);
    snprintf(l->text + n, sizeof l->text - n, "%.*s=%.*s(%.*s) ", SPAN_ARGS(e->id),
             SPAN_ARGS(e->site_id), SPAN_ARGS(l->run->model_note));
    return 0;
}

#define MODELS(list)                                                                               \
    "{\"account\":{\"memberships\":[{\"organization\":{\"uuid\":\"other\",\"claude_ai_bootstrap_"  \
    "models_config\":[{\"model\":\"not-ours\"}]}},{\"organization\":{\"uuid\":\"mine\",\"claude_"  \
    "ai_bootstrap_models_config\":[" list "]}}]}}"

static void the_list_is_the_organizations_own(void **state)
{
    struct transcript_setup setup = setup_of(NULL);
    struct site_request req = {0};
    setup.credentials = person;
    setup.n_credentials = 1;
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    struct list l = {"", run};
    struct model_sink sink = {put_entry, &l};
    assert_int_equal(adapter_claude_web.models_request(run, &req), ADAPTER_DONE);
    assert_int_equal(account_hold(run->account, "organization", SPAN("mine"), 0), 0);
    assert_int_equal(adapter_claude_web.models_request(run, &req), ADAPTER_SEND);
    assert_span_equal(req.target,
                      SPAN("/api/bootstrap/mine/app_start?statsig_hashing_algorithm=djb2&"
                           "growthbook_format=sdk&include_system_prompts=false"));
    assert_int_equal(
        adapter_claude_web.models_answer(
            run,
            SPAN(MODELS("{\"model\":\"claude-haiku-4-5-20251001\",\"thinking_modes\":[{\"id\":"
                        "\"off\"},{\"id\":\"extended\"}]},{\"model\":\"new-one\",\"thinking_"
                        "modes\":[{\"id\":\"extended\"},{\"id\":\"auto\"}]},{\"model\":\"old\","
                        "\"inactive\":true},{\"name\":\"no id\"},{\"model\":\"plain\"}")),
            &sink),
        0);
    assert_string_equal(l.text, "claude-haiku-4-5=claude-haiku-4-5-20251001(extended) "
                                "new-one=(auto) plain=() ");
    transcript_close(p);
}

static void lists_that_are_refused(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum fail_kind kind;
    } rows[] = {
        {200, "{\"account\":null}", FAIL_CREDENTIAL},
        {200, "[]", FAIL_PROTOCOL},
        {200, "{}", FAIL_PROTOCOL},
        {200, "nonsense", FAIL_PROTOCOL},
        {200, "<html>", FAIL_CHALLENGE},
        {200, "{\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}", FAIL_UNAVAILABLE},
        {401, "{}", FAIL_CREDENTIAL},
        {302, "", FAIL_CHALLENGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = setup_of(NULL);
        struct transcript_player *p = transcript_open(&setup);
        struct turn_run *run = transcript_run(p);
        struct list l = {"", run};
        struct model_sink sink = {put_entry, &l};
        if (rows[i].status == 200)
            assert_int_equal(adapter_claude_web.models_answer(run, span_str(rows[i].body), &sink),
                             -1);
        adapter_claude_web.models_refused(run, rows[i].status, SPAN(JSON), 0,
                                          span_str(rows[i].body));
        assert_int_equal(run->fail->kind, rows[i].kind);
        transcript_close(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fixture_at_every_split),
        cmocka_unit_test(only_message_stop_proves_that_the_answer_is_whole),
        cmocka_unit_test(finish_reasons),
        cmocka_unit_test(blocks_stand_apart),
        cmocka_unit_test(summaries_only_where_no_thinking_comes),
        cmocka_unit_test(citations_have_places),
        cmocka_unit_test(limits_inside_the_answer),
        cmocka_unit_test(the_older_form),
        cmocka_unit_test(errors_inside_the_answer),
        cmocka_unit_test(drift_is_counted),
        cmocka_unit_test(one_huge_event),
        cmocka_unit_test(every_row_of_the_error_table),
        cmocka_unit_test(redirects_name_the_path_alone),
        cmocka_unit_test(a_plain_turn),
        cmocka_unit_test(the_history_is_one_text),
        cmocka_unit_test(models_thinking_and_search),
        cmocka_unit_test(pictures_are_uploaded_in_order),
        cmocka_unit_test(the_options_of_uploads),
        cmocka_unit_test(texts_travel_inside_other_files_are_uploaded),
        cmocka_unit_test(a_text_that_is_none_is_uploaded),
        cmocka_unit_test(refused_uploads),
        cmocka_unit_test(the_organization_is_asked_for_once),
        cmocka_unit_test(organizations_that_will_not_do),
        cmocka_unit_test(credentials_are_checked_in_the_config),
        cmocka_unit_test(a_whole_line_of_cookies),
        cmocka_unit_test(odd_answers_to_a_creation),
        cmocka_unit_test(a_lost_conversation_is_made_anew_once),
        cmocka_unit_test(a_busy_conversation_is_asked_again_after_a_second),
        cmocka_unit_test(temporary_chats_are_left_alone),
        cmocka_unit_test(chats_that_are_not_temporary_are_deleted_unless_kept),
        cmocka_unit_test(where_there_are_no_temporary_chats),
        cmocka_unit_test(a_conversation_is_gone_on_with),
        cmocka_unit_test(which_conversations_can_go_on),
        cmocka_unit_test(a_lasting_conversation_that_goes_on_is_kept),
        cmocka_unit_test(a_forgotten_conversation),
        cmocka_unit_test(an_answer_that_nobody_reads_is_stopped),
        cmocka_unit_test(the_list_is_the_organizations_own),
        cmocka_unit_test(lists_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
