/*
 * test/unit/test_qwen_stream.c - chat.qwen.ai's answers: every fixture at every split, every event
 * kind, every row of the error table, and answers of a shape that nobody expects.
 */
#include "adapters/support.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/transcript.h"

static const struct credential token[] = {{SPAN_INIT("token"), SPAN_INIT("a-token")}};
static const char *const new_chat[] = {"{\"success\":true,\"data\":{\"id\":\"chat-1\"}}", NULL};

static struct transcript_setup person(void)
{
    return (struct transcript_setup){.adapter = &adapter_qwen,
                                     .model = "qwen3.6-plus",
                                     .credentials = token,
                                     .n_credentials = 1};
}

static void every_fixture_at_every_split(void **state)
{
    static const char *const files[] = {"plain.sse",          "thinking.sse",
                                        "summary-search.sse", "error-after-text.sse",
                                        "limit.json",         "challenge.json"};
    struct transcript_setup setup = person();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        transcript_check(&setup, new_chat, "qwen", files[i]);
}

/* ---- events ---- */

/* One answer made of the given events (each the inside of data), and what must come of it. */
static void expect_events(const char *const *events, enum stream_end end, const char *wanted)
{
    struct transcript_setup setup = person();
    struct buffer body;
    struct played out;
    buffer_init(&body, 1 << 20);
    for (size_t i = 0; events[i]; i++)
        buffer_printf(&body, "data: %s\n\n", events[i]);
    transcript_play(&setup, new_chat, buffer_span(&body), NULL, 0, end, &out);
    transcript_expect(events[0], wanted, buffer_span(&out.json));
    played_free(&out);
    buffer_free(&body);
}

#define EVENTS(...)   ((const char *const[]){__VA_ARGS__, NULL})
#define DELTA(inside) "{\"choices\":[{\"delta\":{" inside "}}]}"
#define SAY(text)     DELTA("\"phase\":\"answer\",\"status\":\"typing\",\"content\":\"" text "\"")
#define DONE          DELTA("\"phase\":\"answer\",\"status\":\"finished\",\"content\":\"\"")
#define THOUGHTS(list)                                                                             \
    DELTA("\"phase\":\"thinking_summary\",\"content\":\"\",\"extra\":{\"summary_thought\":{"       \
          "\"content\":" list "}}")
#define TOOL(inside) DELTA("\"phase\":\"web_search\",\"content\":\"\"," inside)

static void ends(void **state)
{
    expect_events(EVENTS(SAY("a"), DONE), END_CLEAN,
                  "{\"content\":\"a\",\"finish_reason\":\"stop\",\"error\":null,\"drift\":[]}");
    expect_events(EVENTS(SAY("a")), END_CLEAN,
                  "{\"content\":\"a\",\"finish_reason\":null,\"error\":{\"kind\":\"cut\"}}");
    expect_events(EVENTS(SAY("a")), END_CUT, "{\"error\":{\"kind\":\"cut\"}}");
    expect_events(EVENTS(SAY("a"), "[DONE]"), END_CLEAN,
                  "{\"content\":\"a\",\"finish_reason\":\"stop\",\"error\":null}");
    expect_events(EVENTS("[DONE]"), END_CLEAN, "{\"error\":{\"kind\":\"empty\"}}");
    expect_events(EVENTS("{\"response.info\":{\"action\":\"keep_alive\"}}"), END_CLEAN,
                  "{\"error\":{\"kind\":\"empty\"},\"drift\":[]}");
    expect_events(EVENTS(DONE), END_CLEAN, "{\"error\":{\"kind\":\"empty\"}}");
    expect_events(EVENTS(DELTA("\"phase\":\"think\",\"content\":\"hm\"")), END_CLEAN,
                  "{\"reasoning_content\":\"hm\",\"error\":{\"kind\":\"cut\"}}");
    expect_events(EVENTS(DELTA("\"phase\":\"think\",\"content\":\"hm\""), DONE), END_CLEAN,
                  "{\"reasoning_content\":\"hm\",\"error\":{\"kind\":\"empty\"}}");
    /* another phase's end is not the answer's */
    expect_events(EVENTS(DELTA("\"phase\":\"think\",\"status\":\"finished\",\"content\":\"\""),
                         SAY("b"), DONE),
                  END_CLEAN, "{\"content\":\"b\",\"finish_reason\":\"stop\"}");
    expect_events(EVENTS(SAY("x"), DONE, SAY("after the end")), END_CLEAN,
                  "{\"content\":\"x\",\"finish_reason\":\"stop\"}");
}

static void text_without_a_phase_is_text(void **state)
{
    expect_events(EVENTS(DELTA("\"content\":\"plain [[1]]\""), SAY("!"), DONE), END_CLEAN,
                  "{\"content\":\"plain [[1]]!\",\"drift\":[]}");
}

static void reasoning_comes_in_several_forms(void **state)
{
    expect_events(EVENTS(DELTA("\"phase\":\"think\",\"content\":\"a\""),
                         DELTA("\"content\":\"\",\"reasoning_content\":\"b\""),
                         DELTA("\"content\":\"\",\"extra\":{\"reasoning_content\":\"c\"}"),
                         SAY("x"), DELTA("\"phase\":\"think\",\"content\":\"d\""), SAY("y"), DONE),
                  END_CLEAN,
                  "{\"reasoning_content\":\"abcd\",\"content\":\"xy\",\"finish_reason\":\"stop\"}");
}

/* §6: the rule of thinking_summary. */
static void summaries_come_whole_again_and_again(void **state)
{
    expect_events(EVENTS(THOUGHTS("[\"a\"]"), THOUGHTS("[\"a\"]"), THOUGHTS("[\"ab\"]"),
                         THOUGHTS("[\"ab\",\"c\"]"), THOUGHTS("[]"),
                         DELTA("\"phase\":\"thinking_summary\",\"status\":\"finished\""),
                         TOOL("\"function_id\":\"f\""), THOUGHTS("[\"d\"]"), THOUGHTS("[\"de\"]"),
                         SAY("x"), DONE),
                  END_CLEAN,
                  "{\"reasoning_content\":\"ab\\n\\nc\\n\\nde\",\"content\":\"x\",\"drift\":[]}");
    /* shorter, with no tool before it: the same, and it is counted */
    expect_events(EVENTS(THOUGHTS("[\"long one\"]"), THOUGHTS("[\"long\"]"), SAY("x"), DONE),
                  END_CLEAN,
                  "{\"reasoning_content\":\"long one\\n\\nlong\",\"drift\":[\"summary that does "
                  "not continue\"]}");
    expect_events(EVENTS(THOUGHTS("\"no list\""), THOUGHTS("[7,null]"), SAY("x"), DONE), END_CLEAN,
                  "{\"content\":\"x\",\"finish_reason\":\"stop\"}");
}

static void tools_of_the_site_are_no_text(void **state)
{
    expect_events(
        EVENTS(
            TOOL("\"function_call\":{\"name\":\"web_search\",\"arguments\":\"{\"}"),
            DELTA("\"phase\":\"code_interpreter\",\"content\":\"print(1)\""),
            DELTA("\"phase\":\"bio\",\"content\":\"noted\""),
            DELTA("\"name\":\"web_search\",\"content\":\"pages\",\"extra\":{\"web_search_info\":["
                  "{\"url\":\"https://a.example\",\"title\":\"A\"}]}"),
            DELTA("\"role\":\"function\",\"content\":\"more\""),
            DELTA("\"phase\":\"dreaming\",\"content\":\"z\""), SAY("x"), DONE),
        END_CLEAN,
        "{\"content\":\"x\",\"tool_calls\":[],\"citations\":[\"https://a.example\"],\"drift\":["
        "\"unknown phase\"]}");
}

static void sources_are_cited_once_each(void **state)
{
    expect_events(
        EVENTS(TOOL("\"extra\":{\"web_search_info\":[{\"url\":\"https://a.example\"}]}"),
               TOOL("\"extra\":{\"web_search_info\":[{\"url\":\"https://a.example\"},{\"url\":"
                    "\"https://b.example\"},{\"title\":\"no url\"},null]}"),
               TOOL("\"extra\":{\"search_result\":[{\"url\":\"https://c.example\",\"image_url\":"
                    "\"https://c.example/i\"}]}"),
               SAY("x"), DONE),
        END_CLEAN,
        "{\"citations\":[\"https://a.example\",\"https://b.example\",\"https://c.example\"]}");
}

static void pictures_are_shown_once_each(void **state)
{
    expect_events(
        EVENTS(TOOL("\"extra\":{\"image_list\":[{\"image\":\"https://p.example/1\"}]}"),
               TOOL("\"extra\":{\"image_list\":[{\"image\":\"https://p.example/1\"},{\"image\":"
                    "\"https://p.example/2 (b)\"}]}"),
               SAY("x"), DONE),
        END_CLEAN,
        "{\"content\":\"![](https://p.example/1)\\n![](https://p.example/2%20(b%29)\\nx\"}");
    expect_events(EVENTS(DELTA("\"phase\":\"image_gen\",\"content\":\"\""),
                         DELTA("\"phase\":\"image_gen\",\"content\":\"https://p.example/3\""),
                         DELTA("\"phase\":\"image_gen\",\"content\":\"https://p.example/"
                               "3\",\"status\":\"finished\"")),
                  END_CLEAN,
                  "{\"content\":\"![](https://p.example/3)\\n\",\"finish_reason\":\"stop\"}");
}

/* The page's "compare two answers". */
static void of_two_answers_one_is_read(void **state)
{
#define CREATED(id) "{\"response.created\":{\"chat_id\":\"c\",\"response_id\":\"" id "\"}}"
#define OF(id, index, text)                                                                        \
    "{\"choices\":[{\"delta\":{\"phase\":\"answer\",\"content\":\"" text                           \
    "\"}}],\"response_id\":\"" id "\",\"response_index\":" index "}"
    expect_events(EVENTS(CREATED("r1"), CREATED("r2"), OF("r2", "1", "B"), OF("r1", "0", "a"),
                         "{\"choices\":[{\"delta\":{\"phase\":\"answer\",\"status\":\"finished\","
                         "\"content\":\"\"}}],\"response_id\":\"r2\",\"response_index\":1}",
                         "{\"error\":{\"code\":\"internal_error\"},\"response_id\":\"r2\"}",
                         OF("r1", "0", "b"), DONE),
                  END_CLEAN, "{\"content\":\"ab\",\"finish_reason\":\"stop\"}");
    /* without ids the index alone tells them apart */
    expect_events(EVENTS("{\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"response_index\":0}",
                         "{\"choices\":[{\"delta\":{\"content\":\"B\"}}],\"response_index\":1}",
                         DONE),
                  END_CLEAN, "{\"content\":\"a\"}");
    /* one answer whose events carry another id than it was created with */
    expect_events(EVENTS(CREATED("r1"), OF("r9", "0", "a"), DONE), END_CLEAN,
                  "{\"content\":\"a\"}");
}

static void usage_is_told_in_both_words(void **state)
{
    expect_events(EVENTS("{\"usage\":{\"input_tokens\":1,\"output_tokens\":1,\"total_tokens\":2}}",
                         SAY("x"),
                         "{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":"
                         "7,\"completion_tokens_details\":{\"reasoning_tokens\":2}}}",
                         DONE),
                  END_CLEAN,
                  "{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7,"
                  "\"completion_tokens_details\":{\"reasoning_tokens\":2}},\"drift\":[]}");
}

static void drift_is_counted(void **state)
{
    expect_events(EVENTS("nonsense", "[1]", "{\"news\":{}}", "{\"choices\":[{}]}",
                         DELTA("\"phase\":\"answer\",\"content\":7"), SAY("a"), DONE),
                  END_CLEAN,
                  "{\"content\":\"a\",\"finish_reason\":\"stop\",\"drift\":[\"event that is no "
                  "JSON object\",\"unknown event\",\"choice "
                  "without a delta\",\"text that is no string\"]}");
}

static void surrogates_in_halves_become_characters(void **state)
{
    expect_events(EVENTS(SAY("\\ud83c"), SAY("\\udf15"), DONE), END_CLEAN,
                  "{\"content\":\"\xF0\x9F\x8C\x95\"}");
}

static void an_event_of_five_megabytes(void **state)
{
    struct transcript_setup setup = person();
    struct buffer body;
    struct played out;
    enum { SIZE = 5 << 20 };
    buffer_init(&body, SIZE + 4096);
    buffer_append(&body,
                  SPAN("data: {\"choices\":[{\"delta\":{\"phase\":\"answer\",\"content\":\""));
    memset(buffer_reserve(&body, SIZE), 'a', SIZE);
    body.n += SIZE;
    buffer_append(&body, SPAN("\"}}]}\n\ndata: " DONE "\n\n"));
    transcript_play(&setup, new_chat, buffer_span(&body), NULL, 0, END_CLEAN, &out);
    assert_int_equal(out.fail.kind, FAIL_NONE);
    assert_true(out.json.n > SIZE);
    played_free(&out);
    buffer_free(&body);
}

/* ---- failures (§8) ---- */

struct row {
    int status; /* 0: as an event */
    const char *type, *body, *wanted;
};

static void expect_failure(const struct row *row)
{
    struct transcript_setup setup = person();
    struct played out;
    struct buffer body;
    buffer_init(&body, 1 << 16);
    buffer_printf(&body, row->status ? "%s" : "data: %s\n\n", row->body);
    setup.status = row->status;
    setup.content_type = row->type ? row->type : row->status ? "application/json" : NULL;
    transcript_play(&setup, new_chat, buffer_span(&body), NULL, 0, END_CLEAN, &out);
    transcript_expect(row->body, row->wanted, buffer_span(&out.json));
    if (strstr(out.fail.message, "<") || strstr(out.fail.message, "被挤爆"))
        fail_msg("a page's text in: %s", out.fail.message);
    played_free(&out);
    if (row->status) { /* the step before says the same in the same way */
        transcript_play(&setup, NULL, buffer_span(&body), NULL, 0, END_CLEAN, &out);
        transcript_expect(row->body, row->wanted, buffer_span(&out.json));
        played_free(&out);
    }
    buffer_free(&body);
}

#define KIND(kind)     "{\"error\":{\"kind\":\"" kind "\"}}"
#define RESTS(kind, s) "{\"error\":{\"kind\":\"" kind "\",\"retry_after\":" s "}}"
#define NO(inside)     "{\"success\":false,\"request_id\":\"r\",\"data\":{" inside "}}"
#define ERROR(inside)  "{\"error\":{" inside "},\"response_id\":\"r\"}"

static void every_row_of_the_error_table(void **state)
{
    static const struct row rows[] = {
        /* challenge */
        {200, NULL, "{\"ret\":[\"FAIL_SYS_USER_VALIDATE\",\"RGV587_ERROR::SM::被挤爆\"]}",
         KIND("challenge")},
        {0, NULL, "{\"ret\":[\"RGV587_ERROR::SM::x\"],\"data\":{\"url\":\"https://x\"}}",
         KIND("challenge")},
        {200, NULL, "{\"url\":\"https:\\/\\/chat.qwen.ai\\/_____tmd_____\\/punish?x=1\"}",
         KIND("challenge")},
        {0, NULL, "{\"rgv587_flag\":\"sm\",\"deep\":[{\"u\":\"a?x5secdata=1\"}]}",
         KIND("challenge")},
        {403, NULL, NO("\"code\":\"Forbidden\",\"details\":\"FAIL_SYS_USER_VALIDATE\""),
         KIND("challenge")},
        {200, "text/html", "<!doctypehtml><html>aliyun_waf</html>", KIND("challenge")},
        {200, NULL, "<!doctype html><title>x</title>", KIND("challenge")},
        {403, "text/html", "<html>no</html>", KIND("challenge")},
        {502, "text/html", "<!doctypehtml><p>aliyun_waf_aa", KIND("challenge")},
        {502, "text/html", "<html>bad gateway</html>", KIND("unavailable")},
        {405, NULL, "{}", KIND("challenge")},
        {405, "text/html", "<html>blocked</html>", KIND("challenge")},
        {403, "text/plain", "denied", KIND("challenge")},
        /* limits */
        {200, NULL, NO("\"code\":\"RateLimited\",\"num\":4,\"details\":\"upper limit\""),
         RESTS("rate_limited", "14400")},
        {429, NULL, NO("\"code\":\"ratelimited\",\"num\":\"2\""), RESTS("rate_limited", "7200")},
        {0, NULL, NO("\"code\":\"RateLimited\",\"num\":0.5"), RESTS("rate_limited", "3600")},
        {0, NULL, NO("\"code\":\"RateLimited\",\"num\":-1"), KIND("rate_limited")},
        {0, NULL, NO("\"code\":\"RateLimited\",\"num\":99999999999"), KIND("rate_limited")},
        {429, NULL, "{}", KIND("rate_limited")},
        {429, "text/plain", "slow", KIND("rate_limited")},
        {0, NULL, ERROR("\"code\":\"Too_Many_Requests\""), KIND("rate_limited")},
        {0, NULL, ERROR("\"code\":\"quota_limit\""), RESTS("rate_limited", "60")},
        {0, NULL, "{\"error\":\"Quota exceeded for today\"}", RESTS("rate_limited", "60")},
        {0, NULL, ERROR("\"message\":\"token-limit reached\""), RESTS("rate_limited", "60")},
        {400, NULL, NO("\"code\":\"Throttling.User\""), RESTS("rate_limited", "60")},
        {0, NULL, NO("\"details\":\"the upper limit\""), RESTS("rate_limited", "60")},
        /* credential */
        {401, NULL, "{\"detail\":\"no\"}", KIND("credential")},
        {401, "text/plain", "", KIND("credential")},
        {200, NULL, NO("\"code\":\"Unauthorized\""), KIND("credential")},
        {0, NULL, NO("\"code\":\"unauthorized\""), KIND("credential")},
        {0, NULL, NO("\"code\":\"Forbidden\""), KIND("credential")},
        {403, NULL, "{\"detail\":\"x\"}", KIND("credential")},
        {400, NULL, "{\"detail\":\"Your session token has expired\"}", KIND("credential")},
        {0, NULL, "{\"error\":\"invalid token\"}", KIND("credential")},
        {0, NULL, "{\"error\":{\"code\":\"Bad_Request\",\"details\":\"invalid: many tokens\"}}",
         KIND("bad_request")},
        /* the site's own trouble */
        {0, NULL, NO("\"code\":\"Bad_Request\",\"details\":\"Internal error ...\""),
         KIND("unavailable")},
        {0, NULL, ERROR("\"code\":\"Internal_Error\""), KIND("unavailable")},
        {500, NULL, "{}", KIND("unavailable")},
        {503, "text/plain", "x", KIND("overloaded")},
        {0, NULL, NO("\"code\":\"Bad_Request\",\"details\":\"The chat is in progress!\""),
         RESTS("unavailable", "3")},
        {0, NULL, ERROR("\"message\":\"Model overloaded\""), KIND("overloaded")},
        {0, NULL, ERROR("\"details\":\"temporarily unavailable\""), KIND("overloaded")},
        /* the request */
        {0, NULL, ERROR("\"code\":\"data_inspection_failed\""), KIND("content_filter")},
        {400, NULL, NO("\"code\":\"DataInspectionFailed\""), KIND("content_filter")},
        {0, NULL, ERROR("\"details\":\"may contain inappropriate content.\""),
         KIND("content_filter")},
        {0, NULL, ERROR("\"message\":\"Model not found\""), KIND("bad_request")},
        {0, NULL, ERROR("\"message\":\"Model does not exist\""), KIND("bad_request")},
        {404, NULL, NO("\"code\":\"Not_Found\""), KIND("bad_request")},
        {0, NULL, ERROR("\"message\":\"maximum context length is 1\""), KIND("context_length")},
        {0, NULL, NO("\"code\":\"Bad_Request\",\"details\":\"input is too long\""),
         KIND("context_length")},
        {400, NULL, "{\"message\":\"Range of input length should be [1, 9]\"}",
         KIND("context_length")},
        {0, NULL, ERROR("\"code\":\"ContextLengthExceeded\""), KIND("context_length")},
        {0, NULL, NO("\"code\":\"Bad_Request\",\"details\":\"parent_id\""), KIND("bad_request")},
        {422, NULL, "{\"detail\":\"field\"}", KIND("bad_request")},
        {200, NULL, "{\"success\":false}", KIND("unavailable")},
        {0, NULL, "{\"error\":\"odd\"}", KIND("unavailable")},
        {302, "text/plain", "", KIND("unavailable")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_failure(&rows[i]);
}

/* The same words inside an answer are an answer. */
static void people_may_talk_of_checks(void **state)
{
    expect_events(EVENTS(SAY("x5sec, RGV587 and /_____tmd_____/punish"), DONE), END_CLEAN,
                  "{\"content\":\"x5sec, RGV587 and /_____tmd_____/punish\",\"error\":null}");
}

static void a_filter_after_text_is_a_finish(void **state)
{
    expect_events(EVENTS(SAY("Half"), ERROR("\"code\":\"data_inspection_failed\"")), END_CLEAN,
                  "{\"content\":\"Half\",\"finish_reason\":\"content_filter\",\"error\":null}");
}

static void challenge_names_the_ways(void **state)
{
    struct transcript_setup setup = person();
    struct played out;
    transcript_play(&setup, new_chat, SPAN("data: {\"ret\":[\"RGV587\"]}\n\n"), NULL, 0, END_CLEAN,
                    &out);
    assert_non_null(strstr(out.fail.message, "open chat.qwen.ai in your browser"));
    assert_non_null(strstr(out.fail.message, "in a later version: transport = \"bridge\""));
    played_free(&out);
}

static void a_redirect_to_the_check_is_one(void **state)
{
    const struct header location = {SPAN_INIT("Location"),
                                    SPAN_INIT("https://chat.qwen.ai//_____tmd_____/punish?x5=1")};
    struct transcript_setup setup = person();
    struct played out;
    setup.status = 302;
    setup.headers = &location;
    setup.n_headers = 1;
    transcript_play(&setup, new_chat, SPAN(""), NULL, 0, END_CLEAN, &out);
    assert_int_equal(out.fail.kind, FAIL_CHALLENGE);
    played_free(&out);
}

static void shapes_that_nobody_expects(void **state)
{
    static const struct {
        int status;
        const char *type, *body;
        enum stream_end end;
        enum fail_kind chat, create; /* at the stream, and where the chat is made */
    } rows[] = {
        {200, "application/json", "", END_CLEAN, FAIL_EMPTY, FAIL_UNAVAILABLE},
        {204, "", "", END_CLEAN, FAIL_EMPTY, FAIL_UNAVAILABLE},
        {200, "text/event-stream", "", END_CLEAN, FAIL_EMPTY, FAIL_UNAVAILABLE},
        {200, "text/event-stream", "", END_CUT, FAIL_CUT, FAIL_CUT},
        {200, "application/json", "", END_CUT, FAIL_CUT, FAIL_CUT},
        {200, "application/json", "{\"success\":true,\"data\":{}}", END_CLEAN, FAIL_PROTOCOL,
         FAIL_UNAVAILABLE},
        {200, "application/json", "[1]", END_CLEAN, FAIL_PROTOCOL, FAIL_UNAVAILABLE},
        {200, "application/json", "\x1f\x8b\x08", END_CLEAN, FAIL_PROTOCOL, FAIL_UNAVAILABLE},
        {200, "application/json", "{\"success\":true,\"data\":{\"id\":\"a/b?c\"}}", END_CLEAN,
         FAIL_PROTOCOL, FAIL_UNAVAILABLE},
        {200, "application/json", "{\"success\":true,\"data\":{\"id\":7}}", END_CLEAN,
         FAIL_PROTOCOL, FAIL_UNAVAILABLE},
        {200, "application/json", "{\"data\":{\"id\":\"c\"}}", END_CLEAN, FAIL_PROTOCOL,
         FAIL_UNAVAILABLE},
        {200, "text/html", "", END_CLEAN, FAIL_CHALLENGE, FAIL_CHALLENGE},
        {500, "application/json", "", END_CUT, FAIL_UNAVAILABLE, FAIL_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person();
        struct played out;
        setup.status = rows[i].status;
        setup.content_type = rows[i].type;
        for (int chat = 0; chat < 2; chat++) {
            enum fail_kind wanted = chat ? rows[i].chat : rows[i].create;
            transcript_play(&setup, chat ? new_chat : NULL, span_str(rows[i].body), NULL, 0,
                            rows[i].end, &out);
            if (out.fail.kind != wanted)
                fail_msg("row %zu, %s: %s (%s) instead of %s", i, chat ? "chat" : "create",
                         fail_kind_name(out.fail.kind), out.fail.message, fail_kind_name(wanted));
            played_free(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fixture_at_every_split),
        cmocka_unit_test(ends),
        cmocka_unit_test(text_without_a_phase_is_text),
        cmocka_unit_test(reasoning_comes_in_several_forms),
        cmocka_unit_test(summaries_come_whole_again_and_again),
        cmocka_unit_test(tools_of_the_site_are_no_text),
        cmocka_unit_test(sources_are_cited_once_each),
        cmocka_unit_test(pictures_are_shown_once_each),
        cmocka_unit_test(of_two_answers_one_is_read),
        cmocka_unit_test(usage_is_told_in_both_words),
        cmocka_unit_test(drift_is_counted),
        cmocka_unit_test(surrogates_in_halves_become_characters),
        cmocka_unit_test(an_event_of_five_megabytes),
        cmocka_unit_test(every_row_of_the_error_table),
        cmocka_unit_test(people_may_talk_of_checks),
        cmocka_unit_test(a_filter_after_text_is_a_finish),
        cmocka_unit_test(challenge_names_the_ways),
        cmocka_unit_test(a_redirect_to_the_check_is_one),
        cmocka_unit_test(shapes_that_nobody_expects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
