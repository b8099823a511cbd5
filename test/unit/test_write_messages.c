/*
 * test/unit/test_write_messages.c - answers as Anthropic's message events, and as one message
 * (gateway/write_messages.c).
 */
#include "base/json.h"
#include "gateway/api.h"
#include "test/unit/support/cmocka_all.h"

static const struct answer_meta meta = {.id = SPAN_INIT("msg_1"),
                                        .model = SPAN_INIT("m"),
                                        .request_id = SPAN_INIT("req_1"),
                                        .created = 1};

/* One answer, written both ways. */
struct bench {
    struct arena arena;
    struct buffer events, body;
    struct answer_writer *writers[2]; /* stream, whole */
};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    arena_init(&b->arena);
    buffer_init(&b->events, 1 << 20);
    buffer_init(&b->body, 1 << 20);
    b->writers[0] = messages_stream_writer(&b->arena, &meta, NULL, &b->events);
    b->writers[1] = messages_whole_writer(&b->arena, &meta, NULL);
    assert_non_null(b->writers[0]);
    assert_non_null(b->writers[1]);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 2; i++)
        b->writers[i]->ops->destroy(b->writers[i]);
    buffer_free(&b->events);
    buffer_free(&b->body);
    arena_free(&b->arena);
    free(b);
    return 0;
}

#define BOTH(call)                                                                                 \
    do {                                                                                           \
        for (int i_ = 0; i_ < 2; i_++) {                                                           \
            struct answer_writer *w = b->writers[i_];                                              \
            assert_int_equal(w->ops->call, 0);                                                     \
        }                                                                                          \
    } while (0)

static void say(struct bench *b, const char *text) { BOTH(text(w, 0, span_str(text))); }
static void think(struct bench *b, const char *text) { BOTH(reasoning(w, 0, span_str(text))); }
static void sign(struct bench *b, const char *proof) { BOTH(signature(w, 0, span_str(proof))); }

static void call(struct bench *b, int index, const char *id, const char *name)
{
    const struct tool_start tool = {.index = index, .id = span_str(id), .name = span_str(name)};
    BOTH(tool_begin(w, 0, &tool));
}

static void argue(struct bench *b, int index, const char *piece)
{
    BOTH(tool_arguments(w, 0, index, span_str(piece)));
}

static void finish(struct bench *b, const char *reason, const char *native, const char *stop)
{
    const struct finish_note note = {span_str(reason), span_str(native), span_str(stop)};
    BOTH(finish(w, 0, &note));
}

static void end(struct bench *b)
{
    const struct usage_counts usage = {
        .prompt = 20, .completion = 7, .cached = 5, .reasoning = -1, .cache_write = 3};
    BOTH(end(w, &usage, &b->body));
}

#define USAGE                                                                                      \
    "\"usage\":{\"input_tokens\":12,\"cache_creation_input_tokens\":3,"                            \
    "\"cache_read_input_tokens\":5,\"output_tokens\":7}"
#define EVENT(name, members) "event: " name "\ndata: {\"type\":\"" name "\"" members "}\n\n"
#define START                                                                                      \
    EVENT("message_start",                                                                         \
          ",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\","            \
          "\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,"            \
          "\"usage\":{\"input_tokens\":0,\"cache_creation_input_tokens\":0,"                       \
          "\"cache_read_input_tokens\":0,\"output_tokens\":0}}")                                   \
    EVENT("ping", "")
#define OPEN(i, block)                                                                             \
    EVENT("content_block_start", ",\"index\":" i ",\"content_block\":{" block "}")
#define DELTA(i, delta)  EVENT("content_block_delta", ",\"index\":" i ",\"delta\":{" delta "}")
#define CLOSE(i)         EVENT("content_block_stop", ",\"index\":" i)
#define OPEN_TEXT(i)     OPEN(i, "\"type\":\"text\",\"text\":\"\"")
#define TEXT(i, t)       DELTA(i, "\"type\":\"text_delta\",\"text\":\"" t "\"")
#define OPEN_THINKING(i) OPEN(i, "\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"")
#define THINKING(i, t)   DELTA(i, "\"type\":\"thinking_delta\",\"thinking\":\"" t "\"")
#define OPEN_CALL(i, id, name)                                                                     \
    OPEN(i, "\"type\":\"tool_use\",\"id\":\"" id "\",\"name\":\"" name "\",\"input\":{}")
#define INPUT(i, t) DELTA(i, "\"type\":\"input_json_delta\",\"partial_json\":\"" t "\"")
#define END(reason, stop)                                                                          \
    EVENT("message_delta",                                                                         \
          ",\"delta\":{\"stop_reason\":" reason ",\"stop_sequence\":" stop "}," USAGE)             \
    EVENT("message_stop", "")
#define WHOLE(content, reason, stop)                                                               \
    "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":"   \
    "[" content "],\"stop_reason\":" reason ",\"stop_sequence\":" stop "," USAGE "}"

static void expect(struct bench *b, const char *events, const char *body)
{
    assert_span_equal(buffer_span(&b->events), span_str(events));
    assert_span_equal(buffer_span(&b->body), span_str(body));
}

static void text_is_one_block(void **state)
{
    struct bench *b = *state;
    say(b, "Hel");
    say(b, "lo \"you\"");
    finish(b, "stop", "", "");
    end(b);
    expect(b,
           START OPEN_TEXT("0") TEXT("0", "Hel") TEXT("0", "lo \\\"you\\\"") CLOSE("0")
               END("\"end_turn\"", "null"),
           WHOLE("{\"type\":\"text\",\"text\":\"Hello \\\"you\\\"\"}", "\"end_turn\"", "null"));
}

static void torn_characters_are_joined(void **state)
{
    struct bench *b = *state;
    say(b, "4 \xC2");
    say(b, "\xB0");
    say(b, "C\xF0\x9F");
    finish(b, "stop", "", "");
    end(b);
    expect(b,
           START OPEN_TEXT("0") TEXT("0", "4 ") TEXT("0", "\xC2\xB0") TEXT("0", "C")
               TEXT("0", "\xEF\xBF\xBD") CLOSE("0") END("\"end_turn\"", "null"),
           WHOLE("{\"type\":\"text\",\"text\":\"4 \xC2\xB0"
                 "C\xEF\xBF\xBD\"}",
                 "\"end_turn\"", "null"));
}

/* Interleaved thinking: each signature ends its block. */
static void thinking_with_its_proofs(void **state)
{
    struct bench *b = *state;
    think(b, "one");
    sign(b, "s1");
    think(b, "two");
    sign(b, "s2");
    BOTH(redacted(w, 0, SPAN("r\"")));
    say(b, "so");
    sign(b, "s3");
    think(b, "open");
    say(b, "then");
    finish(b, "stop", "end_turn", "");
    end(b);
    expect(b,
           START OPEN_THINKING("0") THINKING("0", "one")
               DELTA("0", "\"type\":\"signature_delta\",\"signature\":\"s1\"") CLOSE("0")
                   OPEN_THINKING("1") THINKING("1", "two")
                       DELTA("1", "\"type\":\"signature_delta\",\"signature\":\"s2\"") CLOSE("1")
                           OPEN("2", "\"type\":\"redacted_thinking\",\"data\":\"r\\\"\"") CLOSE("2")
                               OPEN_TEXT("3") TEXT("3", "so") CLOSE("3") OPEN_THINKING("4")
                                   DELTA("4", "\"type\":\"signature_delta\",\"signature\":\"s3\"")
                                       CLOSE("4") OPEN_THINKING("5") THINKING("5", "open")
                                           CLOSE("5") OPEN_TEXT("6") TEXT("6", "then") CLOSE("6")
                                               END("\"end_turn\"", "null"),
           WHOLE("{\"type\":\"thinking\",\"thinking\":\"one\",\"signature\":\"s1\"},"
                 "{\"type\":\"thinking\",\"thinking\":\"two\",\"signature\":\"s2\"},"
                 "{\"type\":\"redacted_thinking\",\"data\":\"r\\\"\"},"
                 "{\"type\":\"text\",\"text\":\"so\"},"
                 "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"s3\"},"
                 "{\"type\":\"thinking\",\"thinking\":\"open\",\"signature\":\"\"},"
                 "{\"type\":\"text\",\"text\":\"then\"}",
                 "\"end_turn\"", "null"));
}

static void calls_between_texts(void **state)
{
    struct bench *b = *state;
    say(b, "I look.");
    call(b, 0, "t0", "f");
    argue(b, 0, "{\"a\":");
    argue(b, 0, "\"}\\\"\"}");
    call(b, 1, "t1", "g");
    finish(b, "tool_calls", "tool_use", "");
    end(b);
    expect(b,
           START OPEN_TEXT("0") TEXT("0", "I look.") CLOSE("0") OPEN_CALL("1", "t0", "f")
               INPUT("1", "{\\\"a\\\":") INPUT("1", "\\\"}\\\\\\\"\\\"}") CLOSE("1")
                   OPEN_CALL("2", "t1", "g") CLOSE("2") END("\"tool_use\"", "null"),
           WHOLE("{\"type\":\"text\",\"text\":\"I look.\"},"
                 "{\"type\":\"tool_use\",\"id\":\"t0\",\"name\":\"f\",\"input\":{\"a\":\"}\\\"\"}},"
                 "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"g\",\"input\":{}}",
                 "\"tool_use\"", "null"));
}

static void calls_side_by_side_wait_for_each_other(void **state)
{
    struct bench *b = *state;
    call(b, 0, "t0", "f");
    call(b, 1, "t1", "g");
    call(b, 2, "t2", "h");
    argue(b, 1, "{}");
    argue(b, 2, "{\"c\"");
    argue(b, 0, "{");
    argue(b, 0, "}");
    argue(b, 2, ":1}");
    say(b, "done");
    finish(b, "stop", "", "");
    end(b);
    expect(b,
           START OPEN_CALL("0", "t0", "f") INPUT("0", "{") INPUT("0", "}") CLOSE("0")
               OPEN_CALL("1", "t1", "g") INPUT("1", "{}") CLOSE("1") OPEN_CALL("2", "t2", "h")
                   INPUT("2", "{\\\"c\\\"") INPUT("2", ":1}") CLOSE("2") OPEN_TEXT("3")
                       TEXT("3", "done") CLOSE("3") END("\"tool_use\"", "null"),
           WHOLE("{\"type\":\"tool_use\",\"id\":\"t0\",\"name\":\"f\",\"input\":{}},"
                 "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"g\",\"input\":{}},"
                 "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"h\",\"input\":{\"c\":1}},"
                 "{\"type\":\"text\",\"text\":\"done\"}",
                 "\"tool_use\"", "null"));
}

/* Those that never became whole are told all the same, each in its block. */
static void calls_without_an_end_come_out(void **state)
{
    struct bench *b = *state;
    call(b, 0, "t0", "f");
    argue(b, 0, "{\"a");
    call(b, 1, "t1", "g");
    argue(b, 1, "no JSON");
    finish(b, "length", "", "");
    end(b);
    expect(b,
           START OPEN_CALL("0", "t0", "f") INPUT("0", "{\\\"a") CLOSE("0") OPEN_CALL("1", "t1", "g")
               INPUT("1", "no JSON") CLOSE("1") END("\"max_tokens\"", "null"),
           WHOLE("{\"type\":\"tool_use\",\"id\":\"t0\",\"name\":\"f\",\"input\":{\"arguments\":"
                 "\"{\\\"a\"}},"
                 "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"g\",\"input\":{\"arguments\":"
                 "\"no JSON\"}}",
                 "\"max_tokens\"", "null"));
}

/* A parser's range is no limit of JSON's: the stream and the whole answer say the same. */
static void numbers_out_of_range_stay_numbers(void **state)
{
    struct bench *b = *state;
    call(b, 0, "t0", "f");
    argue(b, 0, "{\"a\":1e999}");
    finish(b, "tool_calls", "", "");
    end(b);
    expect(b,
           START OPEN_CALL("0", "t0", "f") INPUT("0", "{\\\"a\\\":1e999}") CLOSE("0")
               END("\"tool_use\"", "null"),
           WHOLE("{\"type\":\"tool_use\",\"id\":\"t0\",\"name\":\"f\",\"input\":{\"a\":1e999}}",
                 "\"tool_use\"", "null"));
}

#define CITED                                                                                      \
    "{\"type\":\"web_search_result_location\",\"cited_text\":\"\",\"url\":\"https://e/\","         \
    "\"title\":\"T\",\"encrypted_index\":\"\"}"

static void citations_stand_at_the_last_text(void **state)
{
    const struct citation list[] = {{.url = SPAN("https://e/"), .title = SPAN("T")}};
    struct bench *b = *state;
    say(b, "a");
    BOTH(citations(w, 0, list, 1));
    finish(b, "stop", "", "");
    end(b);
    expect(b,
           START OPEN_TEXT("0") TEXT("0", "a")
               DELTA("0", "\"type\":\"citations_delta\",\"citation\":" CITED) CLOSE("0")
                   END("\"end_turn\"", "null"),
           WHOLE("{\"type\":\"text\",\"text\":\"a\",\"citations\":[" CITED "]}", "\"end_turn\"",
                 "null"));
}

static void citations_without_a_text_are_left_out(void **state)
{
    const struct citation list[] = {{.url = SPAN("https://e/"), .title = SPAN("T")}};
    struct bench *b = *state;
    call(b, 0, "t0", "f");
    BOTH(citations(w, 0, list, 1));
    finish(b, "tool_calls", "", "");
    end(b);
    expect(b, START OPEN_CALL("0", "t0", "f") CLOSE("0") END("\"tool_use\"", "null"),
           WHOLE("{\"type\":\"tool_use\",\"id\":\"t0\",\"name\":\"f\",\"input\":{}}",
                 "\"tool_use\"", "null"));
}

/* A refusal is text, members of other protocols are nothing. */
static void what_other_protocols_have(void **state)
{
    struct bench *b = *state;
    BOTH(refusal(w, 0, SPAN("no")));
    BOTH(extra(w, EXTRA_TOP, 0, SPAN("\"x\":1")));
    finish(b, "content_filter", "", "");
    end(b);
    expect(b, START OPEN_TEXT("0") TEXT("0", "no") CLOSE("0") END("\"refusal\"", "null"),
           WHOLE("{\"type\":\"text\",\"text\":\"no\"}", "\"refusal\"", "null"));
}

static void check_reason(const char *reason, const char *native, const char *stop,
                         const char *wanted)
{
    void *state;
    char text[200];
    set_up(&state);
    struct bench *b = state;
    say(b, "a");
    finish(b, reason, native, stop);
    end(b);
    snprintf(text, sizeof text, "\"stop_reason\":%s", wanted);
    assert_non_null(strstr(buffer_span(&b->events).p, text));
    assert_non_null(strstr(buffer_span(&b->body).p, text));
    tear_down(&state);
}

static void reasons(void **state)
{
    check_reason("stop", "", "", "\"end_turn\",\"stop_sequence\":null");
    check_reason("stop", "STOP", "", "\"end_turn\",\"stop_sequence\":null");
    check_reason("length", "", "", "\"max_tokens\",\"stop_sequence\":null");
    check_reason("content_filter", "", "", "\"refusal\",\"stop_sequence\":null");
    check_reason("stop", "", "\n\n", "\"stop_sequence\",\"stop_sequence\":\"\\n\\n\"");
    check_reason("stop", "stop_sequence", "x", "\"stop_sequence\",\"stop_sequence\":\"x\"");
    check_reason("stop", "pause_turn", "", "\"pause_turn\",\"stop_sequence\":null");
    check_reason("content_filter", "refusal", "", "\"refusal\",\"stop_sequence\":null");
    check_reason("length", "model_context_window_exceeded", "",
                 "\"model_context_window_exceeded\",\"stop_sequence\":null");
}

static void usage_is_told_apart(void **state)
{
    struct bench *b = *state;
    const struct usage_counts usage = {
        .prompt = 2, .completion = 7, .cached = 5, .reasoning = 4, .source = "estimated"};
    say(b, "a");
    finish(b, "stop", "", "");
    BOTH(end(w, &usage, &b->body));
    assert_non_null(strstr(b->body.p, "\"usage\":{\"input_tokens\":0,"
                                      "\"cache_creation_input_tokens\":0,"
                                      "\"cache_read_input_tokens\":5,\"output_tokens\":7,"
                                      "\"output_tokens_details\":{\"thinking_tokens\":4},"
                                      "\"dragoman_source\":\"estimated\"}"));
}

static void the_head_may_go_first(void **state)
{
    struct bench *b = *state;
    b->writers[0]->ops->role(b->writers[0]);
    assert_span_equal(buffer_span(&b->events), SPAN(START));
    b->writers[0]->ops->role(b->writers[0]);
    say(b, "a");
    assert_span_equal(buffer_span(&b->events), SPAN(START OPEN_TEXT("0") TEXT("0", "a")));
}

static void a_failure_is_an_event(void **state)
{
    struct bench *b = *state;
    struct fail failure;
    say(b, "a\xC2");
    fail_set(&failure, FAIL_OVERLOADED, "it is too much");
    b->writers[0]->ops->error(b->writers[0], &failure);
    assert_span_equal(buffer_span(&b->events),
                      SPAN(START OPEN_TEXT("0") TEXT("0", "a") TEXT("0", "\xEF\xBF\xBD")
                               EVENT("error", ",\"error\":{\"type\":\"overloaded_error\","
                                              "\"message\":\"it is too much\"},"
                                              "\"request_id\":\"req_1\"")));
}

/* What came of a broken answer (dragoman_partial). */
static void half_an_answer_has_no_reason(void **state)
{
    struct bench *b = *state;
    think(b, "h");
    call(b, 0, "t", "f");
    argue(b, 0, "{\"a");
    end(b);
    assert_span_equal(
        buffer_span(&b->body),
        SPAN(WHOLE("{\"type\":\"thinking\",\"thinking\":\"h\",\"signature\":\"\"},"
                   "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{\"arguments\":"
                   "\"{\\\"a\"}}",
                   "null", "null")));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(text_is_one_block),
        TEST(torn_characters_are_joined),
        TEST(thinking_with_its_proofs),
        TEST(calls_between_texts),
        TEST(calls_side_by_side_wait_for_each_other),
        TEST(calls_without_an_end_come_out),
        TEST(numbers_out_of_range_stay_numbers),
        TEST(citations_stand_at_the_last_text),
        TEST(citations_without_a_text_are_left_out),
        TEST(what_other_protocols_have),
        cmocka_unit_test(reasons),
        TEST(usage_is_told_apart),
        TEST(the_head_may_go_first),
        TEST(a_failure_is_an_event),
        TEST(half_an_answer_has_no_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
