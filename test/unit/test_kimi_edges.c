/*
 * test/unit/test_kimi_edges.c - www.kimi.com: the rules of its stream one by one, every row of the
 * error table, answers in other shapes, clean-up, and the older form's steps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "test/unit/support/kimi.h"

#define DONE "{\"eventOffset\":99,\"done\":{}}"
#define TEXT(op, id, text)                                                                         \
    "{\"op\":\"" op "\",\"mask\":\"block.text\",\"block\":{\"id\":\"" id                           \
    "\",\"text\":{\"content\":\"" text "\"}}}"
#define THINK(op, id, text)                                                                        \
    "{\"op\":\"" op "\",\"mask\":\"block.think\",\"block\":{\"id\":\"" id                          \
    "\",\"think\":{\"content\":\"" text "\"}}}"
#define STOPPED "\"finish_reason\":\"stop\",\"error\":null,\"drift\":[]"

/* One envelope an event; the last has the given flags. */
static void envelopes(struct buffer *out, const char *const *events, unsigned char last_flags)
{
    buffer_init(out, 64 << 20);
    for (; *events; events++)
        kimi_envelope(out, events[1] ? 0 : last_flags, span_str(*events));
}

/* Plays the bytes whole, byte by byte, and cut in two everywhere. */
static void expect_bytes(const char *what, const struct transcript_setup *setup, struct span bytes,
                         enum stream_end end, const char *wanted)
{
    size_t cuts[4096], n = bytes.n < 4096 ? bytes.n : 0;
    struct played played;
    for (size_t i = 0; i < n; i++)
        cuts[i] = i;
    transcript_play(setup, NULL, bytes, NULL, 0, end, &played);
    transcript_expect(what, wanted, buffer_span(&played.json));
    played_free(&played);
    transcript_play(setup, NULL, bytes, cuts, n, end, &played);
    transcript_expect(what, wanted, buffer_span(&played.json));
    played_free(&played);
    for (size_t i = 1; i < n; i += 7) {
        transcript_play(setup, NULL, bytes, &i, 1, end, &played);
        transcript_expect(what, wanted, buffer_span(&played.json));
        played_free(&played);
    }
}

static void expect_events(const char *what, const char *const *events, unsigned char last_flags,
                          const char *wanted)
{
    struct transcript_setup setup = kimi_setup();
    struct buffer bytes;
    envelopes(&bytes, events, last_flags);
    expect_bytes(what, &setup, buffer_span(&bytes), END_CLEAN, wanted);
    buffer_free(&bytes);
}

#define EVENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- text ---- */

static void a_block_that_is_set_again_comes_whole(void **state)
{
    expect_events("it goes on",
                  EVENTS(TEXT("set", "1", "Hel"), TEXT("append", "1", "lo"),
                         TEXT("set", "1", "Hello, 世界"), TEXT("set", "1", "Hello, 世界"),
                         TEXT("set", "1", "Hello"), TEXT("append", "1", "!"), DONE),
                  0, "{\"content\":\"Hello, 世界!\"," STOPPED "}");
    expect_events("it is another",
                  EVENTS(TEXT("set", "1", "Hello"), TEXT("set", "1", "Help me"), DONE), 0,
                  "{\"content\":\"Hello\",\"finish_reason\":\"stop\",\"drift\":[\"text that does "
                  "not continue\"]}");
    expect_events(
        "thinking likewise",
        EVENTS(THINK("set", "1", "a"), THINK("set", "1", "ab"), TEXT("set", "1", "c"), DONE), 0,
        "{\"reasoning_content\":\"ab\",\"content\":\"c\"," STOPPED "}");
}

static void what_comes_first_may_be_appended(void **state)
{
    expect_events("append", EVENTS(TEXT("append", "1", "a"), TEXT("append", "1", "b"), DONE), 0,
                  "{\"content\":\"ab\"," STOPPED "}");
}

static void blocks_are_set_off_from_each_other(void **state)
{
    expect_events("by an empty line, once they have text",
                  EVENTS(TEXT("set", "1", "a"), TEXT("set", "2", ""), TEXT("append", "1", "b"),
                         TEXT("append", "2", "c"), THINK("set", "3", "x"), THINK("set", "4", "y"),
                         TEXT("append", "2", "d"), DONE),
                  0, "{\"content\":\"ab\\n\\ncd\",\"reasoning_content\":\"x\\n\\ny\"," STOPPED "}");
}

static void a_block_without_an_id_is_one_and_the_same(void **state)
{
    expect_events("no id",
                  EVENTS("{\"op\":\"set\",\"mask\":\"block.text\",\"block\":{\"text\":{"
                         "\"content\":\"a\"}}}",
                         "{\"op\":\"append\",\"mask\":\"block.text.content\",\"block\":{\"text\":{"
                         "\"content\":\"b\"}}}",
                         DONE),
                  0, "{\"content\":\"ab\"," STOPPED "}");
}

#define BARE(op, id, kind, text)                                                                   \
    "{" op "\"block\":{\"id\":\"" id "\",\"" kind "\":{\"content\":\"" text "\"}}}"

static void events_without_mask_or_op(void **state)
{
    expect_events("no mask",
                  EVENTS(BARE("\"op\":\"set\",", "1", "think", "t"),
                         BARE("\"op\":\"set\",", "2", "text", "a"),
                         BARE("\"op\":\"append\",", "2", "text", "b"), BARE("", "2", "text", "c"),
                         DONE),
                  0, "{\"content\":\"abc\",\"reasoning_content\":\"t\"," STOPPED "}");
    expect_events("a mask of several, and of other parts",
                  EVENTS("{\"op\":\"set\",\"mask\":\"block.id, block.text\",\"block\":{\"id\":"
                         "\"1\",\"text\":{\"content\":\"a\"}}}",
                         "{\"op\":\"set\",\"mask\":\"block.text.flags\",\"block\":{\"id\":\"1\","
                         "\"text\":{\"content\":\"no\",\"flags\":\"answer\"}}}",
                         "{\"op\":\"set\",\"mask\":\"block.think.summary\",\"block\":{\"id\":\"3\","
                         "\"think\":{\"summary\":\"no\",\"content\":\"no\"}}}",
                         DONE),
                  0, "{\"content\":\"a\",\"reasoning_content\":\"\"," STOPPED "}");
}

#define FLAGS(op, text, flags)                                                                     \
    "{\"op\":\"" op                                                                                \
    "\",\"mask\":\"block.text\",\"block\":{\"id\":\"1\",\"text\":{\"content\":\"" text "\"" flags  \
    "}}}"

static void the_older_marking_of_thinking(void **state)
{
    expect_events("flags",
                  EVENTS(FLAGS("set", "t", ",\"flags\":\"thinking\""), FLAGS("append", "u", ""),
                         FLAGS("append", "a", ",\"flags\":\"answer\""), FLAGS("append", "b", ""),
                         DONE),
                  0, "{\"content\":\"ab\",\"reasoning_content\":\"tu\"," STOPPED "}");
    expect_events(
        "a stage decides nothing",
        EVENTS("{\"op\":\"set\",\"mask\":\"block.stage\",\"block\":{\"id\":\"0\",\"stage\":"
               "{\"name\":\"STAGE_NAME_THINKING\",\"status\":\"STAGE_STATUS_START\"}}}",
               TEXT("set", "1", "a"), DONE),
        0, "{\"content\":\"a\",\"reasoning_content\":\"\"," STOPPED "}");
}

/* ---- messages ---- */

static void our_own_prompt_comes_back(void **state)
{
    expect_events(
        "echo",
        EVENTS(
            "{\"message\":{\"id\":\"u\",\"role\":\"user\",\"status\":"
            "\"MESSAGE_STATUS_COMPLETED\",\"blocks\":[{\"text\":{\"content\":\"hi\"}}],"
            "\"error\":{\"code\":\"x\"},\"refs\":{\"searchChunks\":[{\"url\":\"https://no\"}]}}}",
            "{\"message\":{\"id\":\"s\",\"role\":\"system\",\"status\":"
            "\"MESSAGE_STATUS_COMPLETED\"}}",
            "{\"message\":{\"id\":\"u\",\"status\":\"MESSAGE_STATUS_COMPLETED\"}}",
            TEXT("set", "1", "a")),
        0, "{\"content\":\"a\",\"citations\":[],\"error\":{\"kind\":\"cut\"}}");
}

#define ASSISTANT(more) "{\"message\":{\"id\":\"m\",\"role\":\"assistant\"" more "}}"

static void how_an_answer_ends(void **state)
{
    const char *completed = "{\"message\":{\"id\":\"m\",\"status\":\"MESSAGE_STATUS_COMPLETED\"}}";
    expect_events("completed, and the body's end",
                  EVENTS(ASSISTANT(""), TEXT("set", "1", "a"), completed), 0,
                  "{\"content\":\"a\"," STOPPED "}");
    expect_events(
        "completed without ids",
        EVENTS(TEXT("set", "1", "a"), "{\"message\":{\"status\":\"MESSAGE_STATUS_COMPLETED\"}}"), 0,
        "{\"content\":\"a\"," STOPPED "}");
    expect_events("completed is not the end",
                  EVENTS(ASSISTANT(""), completed, TEXT("set", "1", "a"), DONE), 0,
                  "{\"content\":\"a\"," STOPPED "}");
    expect_events("another status says nothing",
                  EVENTS(ASSISTANT(",\"status\":\"MESSAGE_STATUS_PAUSED\",\"error\":{}"),
                         TEXT("set", "1", "a")),
                  0, "{\"content\":\"a\",\"error\":{\"kind\":\"cut\"}}");
    expect_events("done may be true",
                  EVENTS(TEXT("set", "1", "a"), "{\"done\":true}", TEXT("append", "1", "no")), 0,
                  "{\"content\":\"a\"," STOPPED "}");
    expect_events("done may be false",
                  EVENTS(TEXT("set", "1", "a"), "{\"done\":false}", TEXT("append", "1", "b"), DONE),
                  0, "{\"content\":\"ab\"," STOPPED "}");
    expect_events("the end envelope", EVENTS(TEXT("set", "1", "a"), "{}"), 2,
                  "{\"content\":\"a\"," STOPPED "}");
    expect_events("an empty end envelope", EVENTS(TEXT("set", "1", "a"), ""), 2,
                  "{\"content\":\"a\"," STOPPED "}");
    expect_events("its error is empty", EVENTS(TEXT("set", "1", "a"), "{\"error\":{}}"), 2,
                  "{\"content\":\"a\"," STOPPED "}");
    expect_events("reasoning is an answer", EVENTS(THINK("set", "1", "t"), DONE), 0,
                  "{\"content\":\"\",\"reasoning_content\":\"t\"," STOPPED "}");
    expect_events("nothing, and done", EVENTS("{\"heartbeat\":{}}", DONE), 0,
                  "{\"content\":\"\",\"error\":{\"kind\":\"empty\"}}");
    expect_events("nothing, and the end envelope", EVENTS("{}"), 2,
                  "{\"content\":\"\",\"error\":{\"kind\":\"empty\"}}");
    expect_events("nothing, completed", EVENTS(ASSISTANT(""), completed), 0,
                  "{\"content\":\"\",\"error\":{\"kind\":\"empty\"}}");
    expect_events("heartbeats alone", EVENTS("{\"heartbeat\":{}}"), 0,
                  "{\"content\":\"\",\"error\":{\"kind\":\"cut\"}}");
    expect_events("no end at all", EVENTS(TEXT("set", "1", "a")), 0,
                  "{\"content\":\"a\",\"error\":{\"kind\":\"cut\"}}");
}

static void bodies_that_stop(void **state)
{
    struct transcript_setup setup = kimi_setup();
    struct buffer bytes;
    expect_bytes("nothing", &setup, SPAN(""), END_CLEAN, "{\"error\":{\"kind\":\"empty\"}}");
    expect_bytes("nothing, cut", &setup, SPAN(""), END_CUT, "{\"error\":{\"kind\":\"cut\"}}");
    expect_bytes("inside a head", &setup, SPAN("\0\0\0"), END_CLEAN,
                 "{\"error\":{\"kind\":\"cut\"}}");
    envelopes(&bytes,
              EVENTS(ASSISTANT(",\"status\":\"MESSAGE_STATUS_COMPLETED\""), TEXT("set", "1", "a")),
              0);
    expect_bytes("cut off, though completed", &setup, buffer_span(&bytes), END_CUT,
                 "{\"content\":\"a\",\"error\":{\"kind\":\"cut\"}}");
    buffer_free(&bytes);
}

/* ---- citations ---- */

static void where_citations_come_from(void **state)
{
    expect_events(
        "each once, in order",
        EVENTS("{\"block\":{\"id\":\"6\",\"search\":{\"keywords\":[\"k\"],\"webPages\":[{\"title\":"
               "\"A\",\"url\":\"https://a\"},{\"title\":\"no url\"},7]}}}",
               "{\"block\":{\"id\":\"5\",\"tool\":{\"args\":\"{\",\"contents\":[{\"searchResult\":{"
               "\"base\":{\"title\":\"B\",\"url\":\"https://b\"}}},{}]}}}",
               ASSISTANT(",\"refs\":{\"searchChunks\":[{\"base\":{\"title\":\"A2\",\"url\":"
                         "\"https://a\"}},{\"title\":\"C\",\"url\":\"https://c\"}]}"),
               ASSISTANT(",\"references\":[{\"items\":[{\"search\":{\"title\":\"D\",\"url\":"
                         "\"https://d\"}}]},{\"items\":{}}]"),
               TEXT("set", "1", "See [^1^]."), DONE),
        0,
        "{\"content\":\"See [^1^].\",\"citations\":[\"https://a\",\"https://b\",\"https://c\","
        "\"https://d\"]," STOPPED "}");
}

/* ---- envelopes ---- */

static void flags_and_lengths(void **state)
{
    struct transcript_setup setup = kimi_setup();
    struct buffer bytes;
    buffer_init(&bytes, 1 << 20);
    kimi_envelope(&bytes, 0, SPAN("")); /* legal */
    kimi_envelope(&bytes, 0, SPAN(TEXT("set", "1", "a")));
    kimi_envelope(&bytes, 0x80, SPAN("grpc-status: 0\r\n"));
    kimi_envelope(&bytes, 0, SPAN(DONE));
    kimi_envelope(&bytes, 2, SPAN("{}"));
    expect_bytes("a trailer is skipped", &setup, buffer_span(&bytes), END_CLEAN,
                 "{\"content\":\"a\"," STOPPED "}");
    buffer_clear(&bytes);
    kimi_envelope(&bytes, 1, SPAN("\x1f\x8b zipped"));
    expect_bytes("compressed", &setup, buffer_span(&bytes), END_CLEAN,
                 "{\"error\":{\"kind\":\"protocol\"}}");
    buffer_clear(&bytes);
    kimi_envelope(&bytes, 0, SPAN("{\"block\":"));
    kimi_envelope(&bytes, 0, SPAN("[1]"));
    kimi_envelope(&bytes, 0, SPAN(TEXT("set", "1", "a")));
    kimi_envelope(&bytes, 2, SPAN("no JSON"));
    expect_bytes("no JSON is skipped", &setup, buffer_span(&bytes), END_CLEAN,
                 "{\"content\":\"a\",\"finish_reason\":\"stop\",\"drift\":[\"event that is no "
                 "JSON object\"]}");
    buffer_free(&bytes);
}

static void huge_events(void **state)
{
    struct transcript_setup setup = kimi_setup();
    struct buffer payload, bytes;
    struct played played;
    for (size_t mib = 5; mib <= 9; mib += 4) {
        buffer_init(&payload, 64 << 20);
        buffer_init(&bytes, 64 << 20);
        buffer_printf(&payload, "{\"op\":\"set\",\"mask\":\"block.text\",\"block\":{\"id\":\"1\","
                                "\"text\":{\"content\":\"");
        char *room = buffer_reserve(&payload, mib << 20);
        memset(room, 'x', mib << 20);
        payload.n += mib << 20;
        buffer_printf(&payload, "\"}}}");
        kimi_envelope(&bytes, 0, buffer_span(&payload));
        kimi_envelope(&bytes, 0, SPAN(DONE));
        const size_t cuts[] = {3, 100, 1 << 20};
        transcript_play(&setup, NULL, buffer_span(&bytes), cuts, 3, END_CLEAN, &played);
        transcript_expect("huge",
                          mib == 5 ? "{\"finish_reason\":\"stop\",\"error\":null}"
                                   : "{\"error\":{\"kind\":\"protocol\"}}",
                          buffer_span(&played.json));
        assert_true(mib != 5 || played.json.n > 5 << 20);
        played_free(&played);
        buffer_free(&payload);
        buffer_free(&bytes);
    }
}

/* ---- drift ---- */

static void what_is_not_known_is_counted(void **state)
{
    static const struct {
        const char *event, *drift;
    } rows[] = {
        {"{\"op\":\"set\",\"novelty\":{}}", "unknown event"},
        {"{\"block\":{\"id\":\"9\",\"novelty\":{}}}", "unknown block"},
        {TEXT("remove", "9", "x"), "unknown op"},
        {FLAGS("append", "", ",\"flags\":\"poem\""), "unknown flags"},
        {"{\"op\":\"append\",\"block\":{\"id\":\"9\",\"text\":{\"content\":7}}}",
         "text that is no string"},
    };
    char wanted[200];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(wanted, sizeof wanted,
                 "{\"content\":\"a\",\"finish_reason\":\"stop\",\"drift\":[\"%s\"]}",
                 rows[i].drift);
        expect_events(rows[i].drift, EVENTS(TEXT("set", "1", "a"), rows[i].event, DONE), 0, wanted);
    }
    expect_events("fields of any type do no harm",
                  EVENTS("{\"op\":7,\"mask\":[],\"block\":\"x\",\"message\":4,\"chat\":[],"
                         "\"heartbeat\":0}",
                         "{\"message\":{\"id\":5,\"role\":6,\"refs\":7,\"references\":\"x\"}}",
                         "{\"block\":{\"id\":3,\"text\":\"x\",\"think\":[],\"search\":1,\"tool\":2,"
                         "\"exception\":3}}",
                         "{\"block\":{\"exception\":{\"error\":{}}}}", TEXT("set", "1", "a"), DONE),
                  0, "{\"content\":\"a\",\"finish_reason\":\"stop\",\"error\":null}");
}

/* ---- failures ---- */

static const struct failure {
    const char *error; /* an error object */
    enum fail_kind kind;
    int retry_after_s;
    const char *says;
} failures[] = {
    {"{\"code\":\"unauthenticated\",\"message\":\"m\"}", FAIL_CREDENTIAL, 0, "sign in"},
    {"{\"code\":\"permission_denied\",\"message\":\"m\"}", FAIL_CREDENTIAL, 0, "(m)"},
    {"{\"code\":\"unknown\",\"message\":\"auth.account_abnormal\"}", FAIL_CREDENTIAL, 0, "flagged"},
    {"{\"code\":\"resource_exhausted\"}", FAIL_RATE_LIMITED, 60, "resource_exhausted"},
    {"{\"code\":\"MODEL_RATE_LIMIT\",\"message\":\"slow\"}", FAIL_RATE_LIMITED, 60, "slow"},
    {"{\"reason\":\"REASON_QUOTA_SPENT\"}", FAIL_RATE_LIMITED, 60, "REASON_QUOTA_SPENT"},
    {"{\"reason\":\"REASON_RATE\"}", FAIL_RATE_LIMITED, 60, ""},
    {"{\"reason\":\"REASON_COMPLETION_OVERLOADED\"}", FAIL_OVERLOADED, 0, "crowded"},
    {"{\"code\":\"unavailable\",\"message\":\"m\"}", FAIL_OVERLOADED, 0, "m"},
    {"{\"reason\":\"REASON_SENSITIVE_INPUT\"}", FAIL_CONTENT_FILTER, 0, "refused the content"},
    {"{\"reason\":\"REASON_SECURITY\"}", FAIL_CONTENT_FILTER, 0, ""},
    {"{\"reason\":\"MODERATION_BLOCK\"}", FAIL_CONTENT_FILTER, 0, ""},
    {"{\"reason\":\"REASON_REVIEW\"}", FAIL_CONTENT_FILTER, 0, ""},
    {"{\"reason\":\"REASON_PREVIEW_BROKEN\"}", FAIL_UNAVAILABLE, 0, ""},
    {"{\"reason\":\"REASON_GENERATE_FAILED\"}", FAIL_UNAVAILABLE, 0, ""},
    {"{\"code\":\"invalid_argument\",\"message\":\"no envelope\"}", FAIL_BAD_REQUEST, 0,
     "no envelope"},
    {"{\"code\":\"failed_precondition\",\"message\":\"subscription required\"}", FAIL_BAD_REQUEST,
     0, "subscription required"},
    {"{\"code\":\"not_found\"}", FAIL_BAD_REQUEST, 0, ""},
    {"{\"code\":\"out_of_range\"}", FAIL_BAD_REQUEST, 0, ""},
    {"{\"code\":\"unimplemented\"}", FAIL_BAD_REQUEST, 0, ""},
    {"{\"reason\":\"REASON_TOKEN_LIMIT\"}", FAIL_CONTEXT_LENGTH, 0, "too long"},
    {"{\"reason\":\"REASON_CONTEXT_FULL\"}", FAIL_CONTEXT_LENGTH, 0, "too long"},
    {"{\"code\":\"invalid_argument\",\"message\":\"content is too long\"}", FAIL_CONTEXT_LENGTH, 0,
     "too long"},
    {"{\"code\":\"unknown\",\"message\":\"对话过长\"}", FAIL_CONTEXT_LENGTH, 0, "对话过长"},
    {"{\"code\":\"internal\",\"message\":\"m\"}", FAIL_UNAVAILABLE, 0, "failed with internal: m"},
    {"{\"code\":\"unknown\"}", FAIL_UNAVAILABLE, 0, ""},
    {"{\"code\":\"aborted\"}", FAIL_UNAVAILABLE, 0, ""},
    {"{\"code\":\"deadline_exceeded\",\"message\":\"context deadline exceeded\"}", FAIL_UNAVAILABLE,
     0, ""},
    {"{\"code\":\"data_loss\"}", FAIL_UNAVAILABLE, 0, ""},
    {"{\"code\":\"canceled\"}", FAIL_UNAVAILABLE, 0, ""},
    {"{\"code\":7,\"message\":[]}", FAIL_UNAVAILABLE, 0, "no reason given"},
    {"\"a bare text\"", FAIL_UNAVAILABLE, 0, "a bare text"},
    {"{\"code\":\"internal\",\"message\":\"<html>x</html>\"}", FAIL_UNAVAILABLE, 0, "internal"},
    {"{\"code\":\"internal\",\"localizedMessage\":{\"locale\":\"zh-CN\",\"message\":\"忙\"}}",
     FAIL_UNAVAILABLE, 0, "忙"},
};

static void expect_failure(const char *what, const struct transcript_player *player,
                           const struct failure *wanted)
{
    const struct fail *f = transcript_run((struct transcript_player *)(uintptr_t)player)->fail;
    if (f->kind != wanted->kind || f->retry_after_s != wanted->retry_after_s ||
        !strstr(f->message, wanted->says))
        fail_msg("%s %s: %s, %d s: %s", what, wanted->error, fail_kind_name(f->kind),
                 f->retry_after_s, f->message);
    assert_false(strstr(f->message, "<html"));
}

/* The same object in an event, an exception, a message and the end envelope, after text and before.
 */
static void every_failure_inside_the_stream(void **state)
{
    static const char *const places[] = {
        "{\"error\":%s}",
        "{\"op\":\"set\",\"mask\":\"block.exception\",\"block\":{\"id\":\"1\","
        "\"exception\":{\"error\":%s}}}",
        ASSISTANT(",\"error\":%s"), "{\"error\":%s,\"metadata\":{}}"};
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        for (size_t place = 0; place < 8; place++) {
            struct transcript_setup setup = kimi_setup();
            struct transcript_player *p = transcript_open(&setup);
            struct site_request req;
            struct buffer payload, bytes;
            buffer_init(&payload, 4096);
            buffer_init(&bytes, 4096);
            bool after_text = place >= 4;
            if (after_text)
                kimi_envelope(&bytes, 0, SPAN(TEXT("set", "1", "a")));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            buffer_printf(&payload, places[place % 4], failures[i].error);
#pragma GCC diagnostic pop
            kimi_envelope(&bytes, place % 4 == 3 ? 2 : 0, buffer_span(&payload));
            assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
            enum adapter_verdict verdict = transcript_answer(
                p, 200, "application/connect+json", buffer_span(&bytes), NULL, 0, END_CLEAN);
            if (after_text && failures[i].kind == FAIL_CONTENT_FILTER) {
                struct played played;
                assert_int_equal(verdict, ADAPTER_COMPLETE);
                transcript_result(p, &played);
                transcript_expect("filter",
                                  "{\"content\":\"a\",\"finish_reason\":\"content_filter\"}",
                                  buffer_span(&played.json));
                played_free(&played);
            } else {
                assert_int_equal(verdict, ADAPTER_FAIL);
                expect_failure(places[place % 4], p, &failures[i]);
            }
            transcript_close(p);
            buffer_free(&payload);
            buffer_free(&bytes);
        }
    }
}

static void a_reason_beside_the_error(void **state)
{
    expect_events(
        "exception.reason",
        EVENTS("{\"block\":{\"exception\":{\"reason\":\"REASON_COMPLETION_OVERLOADED\"}}}"), 0,
        "{\"error\":{\"kind\":\"overloaded\"}}");
}

static void a_text_that_hides_in_details(void **state)
{
    expect_events(
        "protobuf",
        EVENTS("{\"error\":{\"code\":\"resource_exhausted\",\"details\":[{\"value\":7},"
               "{\"type\":\"common.error.v1.ErrorDetail\",\"value\":"
               "\"CHUSQgoFZW4tVVMSOVRvbyBtYW55IHBlb3BsZSBhcmUgdGFsa2luZyB0byB0aGUgc2l0ZS4g"
               "VHJ5IGFnYWluIGxhdGVyLg==\"}]}}"),
        2,
        "{\"error\":{\"kind\":\"rate_limited\",\"retry_after\":60,\"message\":"
        "\"www.kimi.com limits this account: Too many people are talking to the site. Try "
        "again later.\"}}");
    static const char *const broken[] = {"CHUSQg==", "////////////////", "EgA=", "", "Ev////8P"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char event[200];
        snprintf(event, sizeof event,
                 "{\"error\":{\"code\":\"internal\",\"details\":[{\"value\":\"%s\"}]}}", broken[i]);
        expect_events("no protobuf", EVENTS(event), 2,
                      "{\"error\":{\"kind\":\"unavailable\",\"message\":\"www.kimi.com failed with "
                      "internal: internal\"}}");
    }
}

static void failures_of_http(void **state)
{
    static const struct {
        int status;
        const char *type;
        struct failure wanted; /* `error` is the body */
    } rows[] = {
        {200, "text/html", {"<!doctype html><p>check", FAIL_CHALLENGE, 0, "bot check"}},
        {503, "text/html", {"<html>busy", FAIL_CHALLENGE, 0, "bot check"}},
        {404, "text/html; charset=utf-8", {"", FAIL_CHALLENGE, 0, "bot check"}},
        {200, "application/json", {"<!doctype html><p>check", FAIL_CHALLENGE, 0, "bot check"}},
        {403, "text/plain", {"no", FAIL_CHALLENGE, 0, "bot check"}},
        {403, "application/json", {"{\"message\":\"m\"}", FAIL_CREDENTIAL, 0, "(m)"}},
        {401,
         "application/json",
         {"{\"code\":\"unauthenticated\",\"message\":\"unauthenticated\"}", FAIL_CREDENTIAL, 0,
          "sign in"}},
        {401, "text/plain", {"", FAIL_CREDENTIAL, 0, "sign in"}},
        {401,
         "application/json",
         {"{\"error_type\":\"auth.account_abnormal\"}", FAIL_CREDENTIAL, 0, "flagged"}},
        {429, "application/json", {"{}", FAIL_RATE_LIMITED, 60, "limits"}},
        {429, "application/json", {"{\"message\":\"context length\"}", FAIL_RATE_LIMITED, 60, ""}},
        {429, "text/plain", {"slow", FAIL_RATE_LIMITED, 60, ""}},
        {503, "application/json", {"{}", FAIL_OVERLOADED, 0, "crowded"}},
        {400, "application/json", {"{\"message\":\"bad\"}", FAIL_BAD_REQUEST, 0, "bad"}},
        {404, "application/json", {"{\"message\":\"gone\"}", FAIL_BAD_REQUEST, 0, "gone"}},
        {422, "text/plain", {"x", FAIL_BAD_REQUEST, 0, ""}},
        {500, "application/json", {"{\"message\":\"m\"}", FAIL_UNAVAILABLE, 0, "m"}},
        {502, "text/plain", {"", FAIL_UNAVAILABLE, 0, ""}},
        {400,
         "application/json",
         {"{\"error\":{\"code\":\"MODEL_RATE_LIMIT\",\"message\":\"slow\"}}", FAIL_RATE_LIMITED, 60,
          "slow"}},
        {200,
         "application/json",
         {"{\"code\":\"resource_exhausted\",\"message\":\"many\"}", FAIL_RATE_LIMITED, 60, "many"}},
        {200, "application/json", {"{\"choices\":[]}", FAIL_PROTOCOL, 0, "form"}},
        {200, "text/event-stream", {"data: {\"a\":1}\n\n", FAIL_PROTOCOL, 0, "form"}},
        {200, "application/grpc-web", {"x", FAIL_PROTOCOL, 0, "form"}},
        {200, "", {"", FAIL_PROTOCOL, 0, "form"}},
        {204, "", {"", FAIL_PROTOCOL, 0, "form"}},
        {301, "text/html", {"<html>moved", FAIL_UNAVAILABLE, 0, "redirect"}},
        {308, "", {"", FAIL_UNAVAILABLE, 0, "redirect"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int end = END_CLEAN; end <= END_CUT; end++) {
            struct transcript_setup setup = kimi_setup();
            struct transcript_player *p = transcript_open(&setup);
            struct site_request req;
            assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
            assert_int_equal(transcript_answer(p, rows[i].status, rows[i].type,
                                               span_str(rows[i].wanted.error), NULL, 0,
                                               (enum stream_end)end),
                             ADAPTER_FAIL);
            if (end == END_CLEAN) {
                expect_failure("http", p, &rows[i].wanted);
                assert_int_equal(transcript_run(p)->fail->upstream_status, rows[i].status);
            }
            transcript_close(p);
        }
    }
}

static void a_failure_that_comes_in_an_envelope_of_its_own(void **state)
{
    struct transcript_setup setup = kimi_setup();
    struct transcript_player *p = transcript_open(&setup);
    struct site_request req;
    struct buffer bytes;
    buffer_init(&bytes, 4096);
    kimi_envelope(&bytes, 2, SPAN("{\"error\":{\"code\":\"unavailable\",\"message\":\"m\"}}"));
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer(p, 400, "application/connect+json", buffer_span(&bytes),
                                       NULL, 0, END_CLEAN),
                     ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_OVERLOADED);
    transcript_close(p);
    buffer_free(&bytes);
}

static void how_long_to_wait(void **state)
{
    struct transcript_setup setup = kimi_setup();
    setup.retry_after_s = 7;
    static const int statuses[] = {429, 503};
    for (size_t i = 0; i < 2; i++) {
        struct transcript_player *p = transcript_open(&setup);
        struct site_request req;
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(
            transcript_answer(p, statuses[i], "application/json", SPAN("{}"), NULL, 0, END_CLEAN),
            ADAPTER_FAIL);
        assert_int_equal(transcript_run(p)->fail->retry_after_s, 7);
        transcript_close(p);
    }
}

static void where_a_redirect_leads(void **state)
{
    static const struct {
        const char *base_url, *location, *says;
    } rows[] = {
        {"https://kimi.moonshot.cn", "https://www.kimi.com/chat",
         "set base_url = \"https://www.kimi.com\""},
        {"https://kimi.moonshot.cn", "/", "set base_url = \"https://www.kimi.com\""},
        {NULL, "https://www.kimi.ai/x", "set base_url = \"https://www.kimi.ai\""},
        {NULL, "https://www.kimi.com/x", "check base_url"},
        {NULL, "javascript:x", "check base_url"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct header location = {SPAN("Location"), span_str(rows[i].location)};
        struct transcript_setup setup = kimi_setup();
        setup.base_url = rows[i].base_url;
        setup.headers = &location;
        setup.n_headers = 1;
        struct transcript_player *p = transcript_open(&setup);
        struct site_request req;
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(transcript_answer(p, 302, "text/html", SPAN("<html>"), NULL, 0, END_CLEAN),
                         ADAPTER_FAIL);
        assert_int_equal(transcript_run(p)->fail->kind, FAIL_UNAVAILABLE);
        if (!strstr(transcript_run(p)->fail->message, rows[i].says))
            fail_msg("%s", transcript_run(p)->fail->message);
        transcript_close(p);
    }
}

static void no_secret_of_the_account_is_told(void **state)
{
    static const struct credential list[] = {{SPAN_INIT("token"), SPAN_INIT("secret-token-1")}};
    struct transcript_setup setup = kimi_setup();
    setup.credentials = list;
    struct transcript_player *p = transcript_open(&setup);
    struct site_request req;
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(kimi_end(p, "{\"code\":\"internal\",\"message\":\"bad secret-token-1\"}"),
                     ADAPTER_FAIL);
    assert_null(strstr(transcript_run(p)->fail->message, "secret-token-1"));
    transcript_close(p);

    struct header location = {SPAN("Location"), SPAN("https://secret-token-1.example/")};
    setup.headers = &location;
    setup.n_headers = 1;
    p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer(p, 302, "text/html", SPAN("<html>"), NULL, 0, END_CLEAN),
                     ADAPTER_FAIL);
    assert_null(strstr(transcript_run(p)->fail->message, "secret-token-1"));
    assert_non_null(strstr(transcript_run(p)->fail->message, "check base_url"));
    transcript_close(p);
}

/* ---- clean-up ---- */

static bool is(struct span a, const char *b) { return span_eq(a, span_str(b)); }

#define CHAT_EVENT(id) "{\"op\":\"set\",\"chat\":{\"id\":" id ",\"name\":\"n\"}}"

static void the_chat_is_deleted(void **state)
{
    static const struct option_value keep[] = {
        {.name = SPAN_INIT("delete_chat"), .type = OPTION_BOOL, .integer = 0}};
    static const struct {
        const char *chat;
        bool kept, deleted;
    } rows[] = {{CHAT_EVENT("\"19b7-a\""), false, true},  {CHAT_EVENT("\"19b7-a\""), true, false},
                {CHAT_EVENT("\"\""), false, false},       {CHAT_EVENT("7"), false, false},
                {CHAT_EVENT("\"a/../b\""), false, false}, {"{\"heartbeat\":{}}", false, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = kimi_setup();
        setup.options = keep;
        setup.n_options = rows[i].kept;
        struct transcript_player *p = transcript_open(&setup);
        struct site_request req;
        struct buffer bytes;
        envelopes(&bytes, EVENTS(rows[i].chat, CHAT_EVENT("\"another\"")) + 0, 0);
        bytes.n = 5 + strlen(rows[i].chat); /* the first alone */
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        transcript_answer(p, 200, "application/connect+json", buffer_span(&bytes), NULL, 0,
                          END_CUT); /* the client left in the middle */
        req = (struct site_request){0};
        enum adapter_step step = adapter_kimi.cleanup(transcript_run(p), &req);
        assert_int_equal(step, rows[i].deleted ? ADAPTER_SEND : ADAPTER_DONE);
        if (rows[i].deleted) {
            assert_string_equal(req.method, "POST");
            assert_true(is(req.target, "/apiv2/kimi.chat.v1.ChatService/DeleteChat"));
            assert_true(is(transcript_header(&req, "Authorization"), "Bearer t"));
            assert_true(is(transcript_header(&req, "Connect-Protocol-Version"), "1"));
            assert_true(is(transcript_header(&req, "Content-Type"), "application/json"));
            transcript_expect_same("delete", "{\"chat_id\":\"19b7-a\"}", req.body);
            req = (struct site_request){0};
            assert_int_equal(adapter_kimi.cleanup(transcript_run(p), &req), ADAPTER_DONE);
        }
        buffer_free(&bytes);
        transcript_close(p);
    }
}

static void nothing_to_clean_up_before_anything_was_asked(void **state)
{
    struct transcript_setup setup = kimi_setup();
    struct transcript_player *p = transcript_open(&setup);
    struct site_request req = {0};
    assert_int_equal(adapter_kimi.cleanup(transcript_run(p), &req), ADAPTER_DONE);
    transcript_close(p);
}

/* ---- the older form ---- */

static void step(struct transcript_player *p, const char *method, const char *target,
                 const char *body, const char *answer)
{
    struct site_request req;
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, method);
    if (!is(req.target, target))
        fail_msg("wanted %s, got %.*s", target, SPAN_ARGS(req.target));
    if (body)
        transcript_expect_same(target, body, req.body);
    assert_int_equal(
        transcript_answer(p, 200, "application/json", span_str(answer), NULL, 0, END_CLEAN),
        ADAPTER_COMPLETE);
}

#define CREATE(agent)                                                                              \
    "{\"enter_method\":\"new_chat\",\"is_example\":false,\"kimiplus_id\":\"" agent                 \
    "\",\"name\":\"dragoman\"}"
#define STREAM(agent, content, refs, search)                                                       \
    "{\"kimiplus_id\":\"" agent "\",\"messages\":[{\"role\":\"user\",\"content\":\"" content       \
    "\"}],\"refs\":" refs ",\"refs_file\":[],\"use_math\":false,\"use_research\":false,"           \
    "\"use_search\":" search ",\"extend\":{\"sidebar\":true}}"

static void the_older_forms_steps(void **state)
{
    static const struct {
        const char *model, *create, *stream;
    } rows[] = {
        {"kimi", CREATE("kimi"), STREAM("kimi", "hi", "[]", "false")},
        {"kimi-search", CREATE("kimi"), STREAM("kimi", "hi", "[]", "true")},
        {"k1", CREATE("crm40ee9e5jvhsn7ptcg"), STREAM("crm40ee9e5jvhsn7ptcg", "hi", "[]", "false")},
        {"abcdefghij0123456789", CREATE("abcdefghij0123456789"),
         STREAM("abcdefghij0123456789", "hi", "[]", "false")},
        {"kimi-k2.6", CREATE("kimi"), STREAM("kimi", "hi", "[]", "false")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = kimi_rest_setup();
        setup.model = rows[i].model;
        struct transcript_player *p = transcript_open(&setup);
        struct site_request req;
        step(p, "GET", "/api/user", NULL, "{\"id\":\"u1\"}");
        step(p, "POST", "/api/chat", rows[i].create, "{\"id\":\"c1\"}");
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_true(is(req.target, "/api/chat/c1/completion/stream"));
        assert_int_equal(req.framing, FRAMING_SSE);
        assert_true(is(transcript_header(&req, "Referer"), "https://www.kimi.com/chat/c1"));
        assert_true(is(transcript_header(&req, "X-Traffic-Id"), "u1"));
        assert_null(transcript_header(&req, "Connect-Protocol-Version").p);
        transcript_expect_same("stream", rows[i].stream, req.body);
        assert_int_equal(
            transcript_answer(p, 200, "text/event-stream",
                              SPAN("data: {\"event\":\"cmpl\",\"text\":\"a\"}\n\n"
                                   "data: {\"event\":\"length\"}\n\ndata: {\"event\":\"odd\"}\n\n"
                                   "data: {\"event\":\"all_done\"}\n\n"),
                              NULL, 0, END_CLEAN),
            ADAPTER_COMPLETE);
        assert_int_equal(transcript_next(p, &req), ADAPTER_DONE);
        struct played played;
        transcript_result(p, &played);
        transcript_expect("length", "{\"content\":\"a\",\"finish_reason\":\"length\",\"drift\":[]}",
                          buffer_span(&played.json));
        played_free(&played);
        req = (struct site_request){0};
        assert_int_equal(adapter_kimi.cleanup(transcript_run(p), &req), ADAPTER_SEND);
        assert_string_equal(req.method, "DELETE");
        assert_true(is(req.target, "/api/chat/c1"));
        req = (struct site_request){0};
        assert_int_equal(adapter_kimi.cleanup(transcript_run(p), &req), ADAPTER_DONE);
        /* The next turn knows who it is. */
        memset(transcript_run(p)->state, 0, adapter_kimi.state_size);
        step(p, "POST", "/api/chat", NULL, "{\"id\":\"c2\"}");
        transcript_close(p);
    }
}

static void the_older_forms_pictures(void **state)
{
    struct transcript_setup setup = kimi_rest_setup();
    struct site_request req;
    setup.body = "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
                 "\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBO\"}}]}]}";
    struct transcript_player *p = transcript_open(&setup);
    step(p, "GET", "/api/user", NULL, "{\"id\":\"u1\"}");
    step(p, "POST", "/api/pre-sign-url", NULL,
         "{\"url\":\"https://store.example:444/b/o?sign=1\",\"object_name\":\"o\",\"file_id\":"
         "\"f1\"}");
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "PUT");
    assert_true(is(req.origin, "https://store.example:444"));
    assert_true(is(req.target, "/b/o?sign=1"));
    assert_true(req.secret_target);
    assert_true(is(req.body, "\x89PN"));
    assert_int_equal(req.n_headers, 1); /* nothing of ours: least of all the token */
    assert_true(is(transcript_header(&req, "Content-Type"), "image/png"));
    assert_int_equal(
        transcript_answer(p, 200, "application/xml", SPAN("<ok/>"), NULL, 0, END_CLEAN),
        ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(is(req.target, "/api/file"));
    transcript_expect("file", "{\"type\":\"image\",\"file_id\":\"f1\"}", req.body);
    assert_int_equal(transcript_answer(p, 200, "application/json", SPAN("{\"status\":\"busy\"}"),
                                       NULL, 0, END_CLEAN),
                     ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_WAIT);
    assert_int_equal(req.delay_ms, 500);
    step(p, "POST", "/api/file", NULL, "{\"status\":\"parsed\",\"id\":\"f2\"}");
    step(p, "POST", "/api/file/parse_process", "{\"ids\":[\"f2\"],\"timeout\":120000}", "{}");
    step(p, "POST", "/api/chat", CREATE("kimi"), "{\"id\":\"c1\"}");
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect_same("stream", STREAM("kimi", "", "[\"f2\"]", "false"), req.body);
    transcript_close(p);
}

/* A site's answer chooses where a picture goes, but not anywhere. */
static void places_for_pictures_that_are_none(void **state)
{
    static const char *const urls[] = {"http://store.example/x",  "https://127.0.0.1/x",
                                       "https://localhost/x",     "https://[::1]/x",
                                       "https://u@store.exam/x",  "https://store.example",
                                       "https://store.example/ ", "https://10.0.0.1:80/x",
                                       "file:///etc/passwd",      "",
                                       "https://a.b/x#y",         "https://.1/x"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct transcript_setup setup = kimi_rest_setup();
        struct site_request req;
        char answer[200];
        setup.body = "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
                     "\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBO\"}}]}]}";
        struct transcript_player *p = transcript_open(&setup);
        step(p, "GET", "/api/user", NULL, "{\"id\":\"u1\"}");
        snprintf(answer, sizeof answer, "{\"url\":\"%s\",\"file_id\":\"f\"}", urls[i]);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        if (transcript_answer(p, 200, "application/json", span_str(answer), NULL, 0, END_CLEAN) !=
            ADAPTER_FAIL)
            fail_msg("%s was taken", urls[i]);
        assert_int_equal(transcript_run(p)->fail->kind, FAIL_PROTOCOL);
        transcript_close(p);
    }
}

static void the_older_forms_failures(void **state)
{
    static const char *const earlier[] = {"{\"id\":\"u1\"}", "{\"id\":\"c1\"}", NULL};
    static const struct {
        const char *body, *wanted;
    } rows[] = {
        {"data: {\"event\":\"error\"}\n\n", "{\"error\":{\"kind\":\"content_filter\"}}"},
        {"data: {\"event\":\"cmpl\",\"text\":\"a\"}\n\ndata: {\"event\":\"error\"}\n\n",
         "{\"content\":\"a\",\"finish_reason\":\"content_filter\",\"error\":null}"},
        {"data: {\"event\":\"cmpl\",\"text\":\"a\"}\n\n",
         "{\"content\":\"a\",\"error\":{\"kind\":\"cut\"}}"},
        {"data: {\"event\":\"all_done\"}\n\n", "{\"error\":{\"kind\":\"empty\"}}"},
        {"", "{\"error\":{\"kind\":\"empty\"}}"},
        {"data: {\"error_type\":\"chat.user_stream_pushing\",\"message\":\"m\"}\n\n",
         "{\"error\":{\"kind\":\"rate_limited\",\"retry_after\":5}}"},
        {"data: nonsense\n\ndata: {}\n\ndata: {\"event\":\"all_done\"}\n\n",
         "{\"error\":{\"kind\":\"empty\"},\"drift\":[\"event that is no JSON "
         "object\",\"unknown event\"]}"},
    };
    struct transcript_setup setup = kimi_rest_setup();
    struct played played;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        transcript_play(&setup, earlier, span_str(rows[i].body), NULL, 0, END_CLEAN, &played);
        transcript_expect(rows[i].body, rows[i].wanted, buffer_span(&played.json));
        played_free(&played);
    }
    setup.content_type = "application/json";
    transcript_play(&setup, earlier, SPAN("{\"error_type\":\"chat.user_stream_pushing\"}"), NULL, 0,
                    END_CLEAN, &played);
    transcript_expect("whole", "{\"error\":{\"kind\":\"rate_limited\",\"retry_after\":5}}",
                      buffer_span(&played.json));
    played_free(&played);
    setup.status = 500;
    transcript_play(&setup, earlier, SPAN("{\"error_type\":\"other\",\"message\":\"m\"}"), NULL, 0,
                    END_CLEAN, &played);
    transcript_expect("500", "{\"error\":{\"kind\":\"unavailable\"}}", buffer_span(&played.json));
    played_free(&played);
    static const char *const bad[] = {"{\"id\":\"a/b\"}", NULL};
    transcript_play(&setup, bad, SPAN(""), NULL, 0, END_CLEAN, &played);
    transcript_expect("an id that is none", "{\"error\":{\"kind\":\"protocol\"}}",
                      buffer_span(&played.json));
    played_free(&played);
}

/* An access token is used for five minutes, whatever it says. */
static void the_older_forms_token(void **state)
{
    static const struct credential refresh[] = {{SPAN_INIT("refresh_token"), SPAN_INIT("cpmt_r0")}};
    struct transcript_setup setup = kimi_rest_setup();
    setup.credentials = refresh;
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    step(p, "GET", "/api/auth/token/refresh", NULL,
         "{\"access_token\":\"e30.eyJleHAiOjE3NjI1OTIwMDB9.c2ln\",\"refresh_token\":\"r1\"}");
    step(p, "GET", "/api/user", NULL, "{\"id\":\"u1\"}");
    run->now_ms += 299 * 1000;
    memset(run->state, 0, adapter_kimi.state_size);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_false(req.credential_step);
    run->now_ms += 2 * 1000;
    memset(run->state, 0, adapter_kimi.state_size);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(req.credential_step);
    assert_true(is(transcript_header(&req, "Authorization"), "Bearer r1"));
    transcript_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_that_is_set_again_comes_whole),
        cmocka_unit_test(what_comes_first_may_be_appended),
        cmocka_unit_test(blocks_are_set_off_from_each_other),
        cmocka_unit_test(a_block_without_an_id_is_one_and_the_same),
        cmocka_unit_test(events_without_mask_or_op),
        cmocka_unit_test(the_older_marking_of_thinking),
        cmocka_unit_test(our_own_prompt_comes_back),
        cmocka_unit_test(how_an_answer_ends),
        cmocka_unit_test(bodies_that_stop),
        cmocka_unit_test(where_citations_come_from),
        cmocka_unit_test(flags_and_lengths),
        cmocka_unit_test(huge_events),
        cmocka_unit_test(what_is_not_known_is_counted),
        cmocka_unit_test(every_failure_inside_the_stream),
        cmocka_unit_test(a_reason_beside_the_error),
        cmocka_unit_test(a_text_that_hides_in_details),
        cmocka_unit_test(failures_of_http),
        cmocka_unit_test(a_failure_that_comes_in_an_envelope_of_its_own),
        cmocka_unit_test(how_long_to_wait),
        cmocka_unit_test(where_a_redirect_leads),
        cmocka_unit_test(no_secret_of_the_account_is_told),
        cmocka_unit_test(the_chat_is_deleted),
        cmocka_unit_test(nothing_to_clean_up_before_anything_was_asked),
        cmocka_unit_test(the_older_forms_steps),
        cmocka_unit_test(the_older_forms_pictures),
        cmocka_unit_test(places_for_pictures_that_are_none),
        cmocka_unit_test(the_older_forms_failures),
        cmocka_unit_test(the_older_forms_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
