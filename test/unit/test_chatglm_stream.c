/*
 * test/unit/test_chatglm_stream.c - what the events of chatglm.cn's answers become: every fixture
 * at every split, every kind of content, and answers that are odd or hostile.
 */
#include "adapters/support.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/transcript.h"

static const struct credential token[] = {{SPAN_INIT("token"), SPAN_INIT("opaque")}};
static const struct option_value show_tools[] = {
    {.name = SPAN_INIT("show_tools"), .type = OPTION_BOOL, .integer = 1},
};

static struct transcript_setup person(void)
{
    return (struct transcript_setup){
        .adapter = &adapter_chatglm, .model = "glm-5.3", .credentials = token, .n_credentials = 1};
}

static void every_fixture_at_every_split(void **state)
{
    static const char *const files[] = {
        "busy.json",          "cut.sse",          "drawing.sse", "error-after-text.sse",
        "growing-2025.sse",   "intervened.sse",   "plain.sse",   "reasoning.sse",
        "same-fragments.sse", "search-marks.sse", "too-long.sse"};
    struct transcript_setup setup = person();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        transcript_check(&setup, NULL, "chatglm", files[i]);
}

/* Played whole, byte by byte, and in two cuts inside. */
static void expect_body(const struct transcript_setup *setup, struct span body, enum stream_end end,
                        const char *wanted)
{
    size_t *cuts = calloc(body.n + 1, sizeof *cuts);
    for (size_t i = 0; i + 1 < body.n; i++)
        cuts[i] = i + 1;
    for (int each = 0; each < 2; each++) {
        struct played out;
        transcript_play(setup, NULL, body, cuts, each && body.n ? body.n - 1 : 0, end, &out);
        transcript_expect(body.n < 300 ? body.p : "answer", wanted, buffer_span(&out.json));
        played_free(&out);
    }
    free(cuts);
}

static void expect_with(const struct transcript_setup *setup, const char *const *events,
                        enum stream_end end, const char *wanted)
{
    struct buffer body;
    buffer_init(&body, 1 << 20);
    for (size_t i = 0; events[i]; i++)
        buffer_printf(&body, "event:message\ndata: %s\n\n", events[i]);
    buffer_char(&body, '\0');
    body.n--;
    expect_body(setup, buffer_span(&body), end, wanted);
    buffer_free(&body);
}

static void expect(const char *const *events, const char *wanted)
{
    struct transcript_setup setup = person();
    expect_with(&setup, events, END_CLEAN, wanted);
}

#define EVENTS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define EVENT(status, parts)                                                                       \
    "{\"id\":\"m1\",\"conversation_id\":\"c1\",\"status\":\"" status "\",\"parts\":[" parts "]}"
#define PART(id, status, items)                                                                    \
    "{\"logic_id\":\"" id "\",\"status\":\"" status "\",\"content\":[" items "]}"
#define TEXT(text)       "{\"type\":\"text\",\"text\":\"" text "\"}"
#define THINK(text)      "{\"type\":\"think\",\"think\":\"" text "\"}"
#define GO(id, items)    EVENT("init", PART(id, "init", items))
#define WHOLE(id, items) EVENT("init", PART(id, "finish", items))
#define FINISH           EVENT("finish", "")

/* ---- rules of §6.2 ---- */

static void parts_are_set_off_by_one_line_break(void **state)
{
    expect(EVENTS(WHOLE("a", TEXT("one")), WHOLE("b", TEXT("two\\n")), WHOLE("c", TEXT("three")),
                  WHOLE("r", THINK("hm")), WHOLE("s", THINK("so")), FINISH),
           "{\"content\":\"one\\ntwo\\nthree\",\"reasoning_content\":\"hm\\nso\",\"drift\":[]}");
    /* the first text has nothing before it, whatever was thought */
    expect(EVENTS(WHOLE("r", THINK("hm")), WHOLE("a", TEXT("one")), FINISH),
           "{\"content\":\"one\",\"reasoning_content\":\"hm\"}");
    /* two texts in one part, and ids that are missing */
    expect(EVENTS(WHOLE("a", TEXT("one") "," TEXT("two")), FINISH),
           "{\"content\":\"one\\ntwo\",\"drift\":[]}");
    expect(
        EVENTS(
            "{\"status\":\"init\",\"parts\":[{\"status\":\"init\",\"content\":[" TEXT("a") "]}]}",
            "{\"status\":\"init\",\"parts\":[{\"status\":\"init\",\"content\":[" TEXT("b") "]}]}",
            FINISH),
        "{\"content\":\"ab\",\"drift\":[]}");
    /* known by `id` where there is no logic_id */
    expect(EVENTS("{\"status\":\"init\",\"parts\":[{\"id\":\"x\",\"status\":\"finish\",\"content\":"
                  "[" TEXT("a") "]}]}",
                  "{\"status\":\"init\",\"parts\":[{\"id\":\"y\",\"status\":\"finish\",\"content\":"
                  "[" TEXT("b") "]}]}",
                  FINISH),
           "{\"content\":\"a\\nb\"}");
}

static void text_in_the_finishing_event_counts(void **state)
{
    expect(EVENTS(EVENT("finish", PART("a", "init", TEXT("all")))),
           "{\"content\":\"all\",\"finish_reason\":\"stop\",\"error\":null}");
    /* a part without a status: its item's own tells */
    expect(
        EVENTS(GO("a", TEXT("x")),
               EVENT("init", "{\"logic_id\":\"a\",\"content\":[{\"type\":\"text\",\"text\":\"xy\","
                             "\"status\":\"finish\"}]}"),
               FINISH),
        "{\"content\":\"xy\",\"drift\":[]}");
}

static void what_waits_comes_before_what_follows(void **state)
{
    expect(EVENTS(GO("r", THINK("哈")), GO("r", THINK("哈哈")), GO("a", TEXT("x")), FINISH),
           "{\"reasoning_content\":\"哈哈\",\"content\":\"x\"}");
    expect(EVENTS(GO("a", TEXT("哈")), GO("a", TEXT("哈哈")), FINISH), "{\"content\":\"哈哈\"}");
    expect(EVENTS(GO("a", TEXT("哈")), GO("a", TEXT("哈哈"))),
           "{\"content\":\"哈哈\",\"error\":{\"kind\":\"cut\"}}");
}

static void texts_that_do_not_continue_are_drift(void **state)
{
    expect(EVENTS(GO("a", TEXT("abc")), WHOLE("a", TEXT("xyz")), FINISH),
           "{\"content\":\"abc\",\"drift\":[\"text that does not continue\"]}");
    expect(EVENTS(GO("a", TEXT("abc")), WHOLE("a", TEXT("ab")), FINISH),
           "{\"content\":\"abc\",\"drift\":[\"text that does not continue\"]}");
    expect(EVENTS(GO("a", TEXT("abc")), WHOLE("a", TEXT("")), FINISH),
           "{\"content\":\"abc\",\"drift\":[\"text that does not continue\"]}");
}

static void drawings_stand_on_lines_of_their_own(void **state)
{
#define IMAGE(list) "{\"type\":\"image\",\"image\":[" list "]}"
    expect(EVENTS(GO("i", IMAGE("{\"image_url\":\"https://p.example/a b)\"},{},{\"image_url\":"
                                "\"https://p.example/2\"}")),
                  WHOLE("i", IMAGE("{\"image_url\":\"https://p.example/2\"}")),
                  WHOLE("a", TEXT("there")), FINISH),
           "{\"content\":\"![](https://p.example/a%20b%29)\\n![](https://p.example/2)\\nthere\","
           "\"error\":null,\"drift\":[]}");
    /* a picture alone is an answer; nothing is none */
    expect(EVENTS(GO("i", IMAGE("{\"image_url\":\"https://p.example/1\"}")), FINISH),
           "{\"content\":\"![](https://p.example/1)\\n\",\"finish_reason\":\"stop\"}");
    expect(EVENTS(GO("i", IMAGE("{}")), FINISH), "{\"error\":{\"kind\":\"empty\"}}");
}

static void the_sites_own_tools_are_not_shown(void **state)
{
#define RUN                                                                                        \
    GO("k", "{\"type\":\"code\",\"code\":\"print(\"}"),                                            \
        WHOLE("k", "{\"type\":\"code\",\"code\":\"print(1)\"}"),                                   \
        WHOLE("k", "{\"type\":\"code\",\"code\":\"print(1)\"}"),                                   \
        WHOLE("o", "{\"type\":\"execution_output\",\"content\":\"1\\n\"}")
    struct transcript_setup setup = person();
    expect(EVENTS(WHOLE("a", TEXT("I count.")),
                  WHOLE("t", "{\"type\":\"tool_calls\",\"tool_calls\":{\"id\":\"x\",\"name\":"
                             "\"f\",\"arguments\":\"{}\"}}"),
                  WHOLE("u", "{\"type\":\"tool_result\",\"tool_result\":{\"content\":\"T\"}}"), RUN,
                  WHOLE("b", TEXT("One.")), FINISH),
           "{\"content\":\"I count.\\nOne.\",\"tool_calls\":[],\"drift\":[]}");
    setup.options = show_tools;
    setup.n_options = 1;
    expect_with(&setup, EVENTS(WHOLE("a", TEXT("I count.")), RUN, WHOLE("b", TEXT("One.")), FINISH),
                END_CLEAN,
                "{\"content\":\"I count.\\n```python\\nprint(1)\\n```\\n1\\nOne.\",\"drift\":[]}");
}

static void sources_of_both_years(void **state)
{
    expect(
        EVENTS("{\"status\":\"init\",\"parts\":[{\"logic_id\":\"t\",\"status\":\"finish\","
               "\"content\":[{\"type\":\"tool_result\",\"tool_result\":{}}],\"meta_data\":{\"tool_"
               "result_extra\":{\"search_results\":[{\"match_key\":\"turn0search0\",\"title\":"
               "\"A\",\"url\":\"https://a.example/\"},{\"match_key\":\"turn0search1\",\"title\":"
               "\"B\",\"url\":\"https://b.example/\"},{\"title\":\"no key\",\"url\":\"u\"}]}}}]}",
               "{\"status\":\"init\",\"parts\":[{\"logic_id\":\"q\",\"status\":\"init\","
               "\"content\":[{\"type\":\"quote_result\"}],\"meta_data\":{\"metadata_list\":[{"
               "\"title\":\"half\",\"url\":\"https://half.example/\"}]}}]}",
               "{\"status\":\"init\",\"parts\":[{\"logic_id\":\"q\",\"status\":\"finish\","
               "\"content\":[{\"type\":\"quote_result\"}],\"meta_data\":{\"metadata_list\":[{"
               "\"title\":\"Q\",\"url\":\"https://q.example/\"}]}}]}",
               WHOLE("a", TEXT("see【turn0search1】, open【turn0sea")), FINISH),
        "{\"content\":\"see [1](https://b.example/), open【turn0sea\",\"citations\":[\"https://"
        "b.example/\",\"https://q.example/\"]}");
    /* a mark does not go on in another part, nor behind the reasoning */
    expect(EVENTS(WHOLE("r", THINK("so【turn0")), WHOLE("a", TEXT("x【turn0")),
                  WHOLE("b", TEXT("search0】")), FINISH),
           "{\"reasoning_content\":\"so【turn0\",\"content\":\"x【turn0\\nsearch0】\"}");
}

/* ---- ends ---- */

static void ends(void **state)
{
    struct transcript_setup setup = person();
    expect(EVENTS(FINISH), "{\"error\":{\"kind\":\"empty\"}}");
    expect(EVENTS(WHOLE("r", THINK("hm")), FINISH),
           "{\"reasoning_content\":\"hm\",\"finish_reason\":\"stop\",\"error\":null}");
    expect(EVENTS(GO("a", TEXT("x"))),
           "{\"content\":\"x\",\"finish_reason\":null,\"error\":{\"kind\":\"cut\"}}");
    expect(EVENTS(EVENT("init", "")), "{\"error\":{\"kind\":\"cut\"}}");
    expect_with(&setup, EVENTS(GO("a", TEXT("x"))), END_CUT, "{\"error\":{\"kind\":\"cut\"}}");
    expect_body(&setup, SPAN(""), END_CLEAN, "{\"error\":{\"kind\":\"empty\"}}");
    expect_body(&setup, SPAN(": ping\n\n"), END_CLEAN, "{\"error\":{\"kind\":\"empty\"}}");
    expect_body(&setup, SPAN(""), END_CUT, "{\"error\":{\"kind\":\"cut\"}}");
    /* what comes behind the end does not matter */
    expect(EVENTS(EVENT("finish", PART("a", "finish", TEXT("x"))), GO("a", TEXT("more"))),
           "{\"content\":\"x\",\"finish_reason\":\"stop\"}");
}

static void moderation(void **state)
{
#define STOPPED(where, parts)                                                                      \
    "{\"status\":\"intervene\",\"" where "\":{\"intervene_text\":\"换个话题\"},\"parts\":[" parts  \
    "]}"
    expect(EVENTS(STOPPED("last_error", "")),
           "{\"content\":\"\",\"error\":{\"kind\":\"content_filter\",\"message\":\"chatglm.cn "
           "refuses this content: 换个话题\"}}");
    expect(EVENTS(STOPPED("error", "")),
           "{\"error\":{\"kind\":\"content_filter\",\"message\":\"chatglm.cn refuses this content: "
           "换个话题\"}}");
    expect(EVENTS(WHOLE("r", THINK("hm")), STOPPED("last_error", "")),
           "{\"reasoning_content\":\"hm\",\"error\":{\"kind\":\"content_filter\"}}");
    expect(EVENTS(GO("a", TEXT("We【turn")), STOPPED("last_error", "")),
           "{\"content\":\"We【turn\",\"finish_reason\":\"content_filter\",\"error\":null}");
}

/* ---- failures inside ---- */

static void failures_inside_the_stream(void **state)
{
    static const struct {
        const char *event, *kind;
    } rows[] = {
        {"{\"status\":\"error\",\"error\":{\"error_code\":10025,\"err_msg\":\"x\"},\"parts\":[]}",
         "unavailable"},
        {"{\"status\":\"error\",\"last_error\":{\"error_code\":10024,\"err_msg\":\"generator "
         "exit\"}}",
         "unavailable"},
        {"{\"status\":\"error\",\"error\":{},\"last_error\":{\"error_code\":10062}}", "overloaded"},
        {"{\"status\":\"error\"}", "unavailable"},
        {"{\"status\":\"init\",\"parts\":[{\"status\":\"error\",\"error\":{\"error_code\":10061,"
         "\"err_msg\":\"频繁\"}}]}",
         "rate_limited"},
        {"{\"status\":\"init\",\"parts\":[{\"status\":\"init\",\"error\":{\"error_code\":10040}}]}",
         "context_length"},
        {"{\"status\":\"init\",\"last_error\":{\"error_code\":10040},\"parts\":[{\"status\":"
         "\"error\"}]}",
         "context_length"},
        {"{\"status\":10061,\"message\":\"请等待其他对话生成完毕\"}", "rate_limited"},
        {"{\"code\":\"40014\",\"message\":\"no\"}", "challenge"},
        {"{\"status\":\"error\",\"error\":{\"error_code\":40103}}", "credential"},
    };
    struct transcript_setup setup = person();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena;
        arena_init(&arena);
        struct span wanted = arena_printf(
            &arena, "{\"finish_reason\":null,\"error\":{\"kind\":\"%s\"}}", rows[i].kind);
        expect_with(&setup, EVENTS(rows[i].event), END_CLEAN, wanted.p);
        wanted =
            arena_printf(&arena, "{\"content\":\"so\",\"error\":{\"kind\":\"%s\"}}", rows[i].kind);
        expect_with(&setup, EVENTS(GO("a", TEXT("so")), rows[i].event), END_CLEAN, wanted.p);
        arena_free(&arena);
    }
    /* an error that is none: the answer goes on */
    expect(EVENTS("{\"status\":\"init\",\"error\":{},\"last_error\":{},\"parts\":[{\"logic_id\":"
                  "\"a\",\"status\":\"finish\",\"error\":{},\"content\":[" TEXT("x") "]}]}",
                  FINISH),
           "{\"content\":\"x\",\"error\":null}");
    /* the text of the event that fails is sent */
    expect(EVENTS(EVENT("error", PART("a", "error", TEXT("last")))),
           "{\"content\":\"last\",\"error\":{\"kind\":\"unavailable\"}}");
}

/* ---- drift, and what makes no sense ---- */

static void what_is_not_understood_is_counted(void **state)
{
    static const struct {
        const char *event, *kind;
    } rows[] = {
        {"nonsense", "event that is no JSON object"},
        {"[1]", "event that is no JSON object"},
        {EVENT("dreaming", ""), "unknown status"},
        {"{}", "unknown status"},
        {"{\"status\":\"init\",\"parts\":{\"a\":1}}", "parts that are no list"},
        {"{\"status\":\"init\",\"parts\":[{\"logic_id\":\"a\",\"content\":\"text\"}]}",
         "content that is no list"},
        {GO("a", "{\"type\":\"hologram\"}"), "unknown content type"},
        {GO("a", "7"), "unknown content type"},
        {GO("a", "{\"type\":\"text\",\"text\":7}"), "text that is no string"},
        {GO("a", "{\"type\":\"image\",\"image\":\"u\"}"), "image that is no list"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena;
        arena_init(&arena);
        struct span wanted = arena_printf(
            &arena, "{\"content\":\"x\",\"finish_reason\":\"stop\",\"drift\":[\"%s\"]}",
            rows[i].kind);
        expect(EVENTS(rows[i].event, WHOLE("a", TEXT("x")), FINISH), wanted.p);
        arena_free(&arena);
    }
    expect(EVENTS(EVENT("init", "null,7"), WHOLE("a", TEXT("x")), FINISH), "{\"content\":\"x\"}");
}

static void many_parts_are_an_end(void **state)
{
    struct transcript_setup setup = person();
    struct buffer body;
    struct played out;
    buffer_init(&body, 8 << 20);
    buffer_append(&body, SPAN("data: {\"status\":\"init\",\"parts\":["));
    for (int i = 0; i < 5000; i++)
        buffer_printf(&body, "%s{\"logic_id\":\"%d\",\"status\":\"finish\",\"content\":[%s]}",
                      i ? "," : "", i, TEXT("x"));
    buffer_append(&body, SPAN("]}\n\n"));
    transcript_play(&setup, NULL, buffer_span(&body), NULL, 0, END_CLEAN, &out);
    assert_int_equal(out.fail.kind, FAIL_PROTOCOL);
    played_free(&out);
    buffer_free(&body);
}

static void an_event_of_5_mib(void **state)
{
    struct transcript_setup setup = person();
    struct buffer body;
    struct played out;
    size_t n = 5 << 20;
    buffer_init(&body, 8 << 20);
    buffer_append(&body, SPAN("data: {\"status\":\"finish\",\"parts\":[{\"logic_id\":\"a\","
                              "\"content\":[{\"type\":\"text\",\"text\":\""));
    memset(buffer_reserve(&body, n), 'a', n);
    body.n += n;
    buffer_append(&body, SPAN("\"}]}]}\n\n"));
    transcript_play(&setup, NULL, buffer_span(&body), NULL, 0, END_CLEAN, &out);
    assert_int_equal(out.fail.kind, FAIL_NONE);
    assert_true(out.json.n > n);
    played_free(&out);
    buffer_free(&body);
}

static void another_shape_than_a_stream(void **state)
{
    static const struct {
        int status;
        const char *type, *body, *kind;
    } rows[] = {
        {200, "text/html; charset=utf-8", "<!doctype html>", "challenge"},
        {200, "application/json", "<html>", "challenge"},
        {200, "application/json", "{\"status\":0,\"result\":{}}", "protocol"},
        {200, "application/json", "[]", "protocol"},
        {200, "text/plain", "hello", "protocol"},
        {200, "", "", "empty"},
        {204, "", "", "empty"},
        {200, "application/json", "\x1f\x8b\x08\xff", "protocol"},
        {302, "", "", "unavailable"},
        {503, "text/event-stream", "data: {}\n\n", "overloaded"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person();
        struct arena arena;
        arena_init(&arena);
        setup.status = rows[i].status;
        setup.content_type = rows[i].type;
        struct span wanted =
            arena_printf(&arena, "{\"content\":\"\",\"error\":{\"kind\":\"%s\"}}", rows[i].kind);
        expect_body(&setup, span_str(rows[i].body), END_CLEAN, wanted.p);
        arena_free(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fixture_at_every_split),
        cmocka_unit_test(parts_are_set_off_by_one_line_break),
        cmocka_unit_test(text_in_the_finishing_event_counts),
        cmocka_unit_test(what_waits_comes_before_what_follows),
        cmocka_unit_test(texts_that_do_not_continue_are_drift),
        cmocka_unit_test(drawings_stand_on_lines_of_their_own),
        cmocka_unit_test(the_sites_own_tools_are_not_shown),
        cmocka_unit_test(sources_of_both_years),
        cmocka_unit_test(ends),
        cmocka_unit_test(moderation),
        cmocka_unit_test(failures_inside_the_stream),
        cmocka_unit_test(what_is_not_understood_is_counted),
        cmocka_unit_test(many_parts_are_an_end),
        cmocka_unit_test(an_event_of_5_mib),
        cmocka_unit_test(another_shape_than_a_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
