/*
 * test/unit/test_answer_tools.c - calls in the text of sites without tools become calls of the
 * answer (gateway/answer_tools.h), and answers that are held back (gateway/answer_hold.h).
 */
#include "gateway/answer.h"

#include "base/json.h"
#include "base/json_raw.h"
#include "gateway/tool_list.h"
#include "test/unit/support/cmocka_all.h"

static const struct token_source estimated = {NULL, NULL};
static const struct answer_meta meta = {
    .id = SPAN_INIT("chatcmpl-0123456789"), .model = SPAN_INIT("m"), .created = 1};
static const struct tool some_tools[] = {{.name = SPAN_INIT("get"), .takes_others = true},
                                         {.name = SPAN_INIT("put"), .takes_others = true}};
static const struct tool_list tools = {some_tools, 2};

#define GET "<tool_call>{\"name\": \"get\", \"arguments\": {\"q\":\"a b\"}}</tool_call>"
#define PUT "<tool_call>{\"name\": \"put\", \"arguments\": {\"n\":[1]}}</tool_call>"

struct bench {
    struct arena arena;
    struct turn turn;
    struct answer answer;
    struct answer_feed feed;
    struct json_parser *json;
    struct buffer body;
};

static const struct delta_sink *start(struct bench *b, const struct answer_rules *rules, int n)
{
    *b = (struct bench){.turn = {.n = n}, .json = json_parser_create(1 << 20)};
    arena_init(&b->arena);
    buffer_init(&b->body, 1 << 20);
    struct answer_writer *writer = chat_whole_writer(&b->arena, &meta, NULL);
    assert_non_null(writer);
    answer_init(&b->answer, writer, &b->arena, &estimated, meta.id);
    answer_feed_add(&b->answer, &b->feed, &b->turn, 0, n);
    answer_feed_begin(&b->feed, rules);
    return &b->feed.sink;
}

static void stop(struct bench *b)
{
    answer_free(&b->answer);
    buffer_free(&b->body);
    arena_free(&b->arena);
    json_parser_destroy(b->json);
}

/* Ends the answer; what came of it, in one line: content, calls, finish reason. */
static const char *end(struct bench *b, int index)
{
    struct buffer line;
    struct json root;
    buffer_clear(&b->body);
    assert_int_equal(answer_end(&b->answer, &b->body), 0);
    assert_int_equal(json_parse(b->json, buffer_span(&b->body), &root), JSON_OK);
    struct json choice = json_at(json_get(root, "choices"), (size_t)index);
    struct json message = json_get(choice, "message");
    buffer_init(&line, 1 << 20);
    buffer_append(&line, json_get_text(message, "content"));
    struct json_iter it = json_each(json_get(message, "tool_calls"));
    while (json_next(&it)) {
        struct json function = json_get(it.value, "function");
        assert_true(span_starts(json_get_text(it.value, "id"), SPAN("call_")));
        buffer_printf(&line, " %.*s(", SPAN_ARGS(json_get_text(function, "name")));
        json_raw_compact(&line, json_get_text(function, "arguments"));
        buffer_char(&line, ')');
    }
    buffer_printf(&line, " %.*s", SPAN_ARGS(json_get_text(choice, "finish_reason")));
    const char *text = arena_dup(&b->arena, buffer_span(&line)).p;
    buffer_free(&line);
    return text;
}

/* The text in pieces of every size, then the site's finish reason. */
static void expect(const struct answer_rules *rules, struct span text, const char *reason,
                   const char *wanted)
{
    for (size_t size = 1; size <= text.n; size++) {
        struct bench b;
        const struct delta_sink *sink = start(&b, rules, 1);
        for (size_t at = 0; at < text.n; at += size)
            assert_int_equal(delta_text(sink, 0, span_first(span_from(text, at), size)), 0);
        assert_int_equal(delta_finish(sink, 0, span_str(reason)), 0);
        assert_int_equal(answer_feed_run_ended(&b.feed), 0);
        assert_false(b.feed.torn);
        assert_string_equal(end(&b, 0), wanted);
        stop(&b);
    }
}

static void calls_leave_the_text(void **state)
{
    const struct answer_rules rules = {.tools = &tools};
    expect(&rules, SPAN("Well. " GET), "stop", "Well.  get({\"q\":\"a b\"}) tool_calls");
    expect(&rules, SPAN(GET "\n" PUT), "stop", " get({\"q\":\"a b\"}) put({\"n\":[1]}) tool_calls");
    expect(&rules, SPAN("no call <tool"), "stop", "no call <tool stop");
    expect(&rules, SPAN(GET), "content_filter", " get({\"q\":\"a b\"}) content_filter");
}

static void thinking_holds_no_calls(void **state)
{
    const struct answer_rules rules = {.tools = &tools, .reasoning = REASONING_DROP};
    expect(&rules, SPAN("<think>" GET "</think>" PUT), "stop", " put({\"n\":[1]}) tool_calls");
    struct bench b;
    const struct delta_sink *sink = start(&b, &rules, 1);
    delta_reasoning(sink, 0, SPAN(GET));
    delta_text(sink, 0, SPAN("x"));
    assert_string_equal(end(&b, 0), "x stop");
    stop(&b);
}

static void the_one_call_that_is_wanted(void **state)
{
    const struct answer_rules rules = {.tools = &tools, .one_call = true};
    expect(&rules, SPAN("a" GET PUT " more"), "stop", "a get({\"q\":\"a b\"}) tool_calls");
    struct bench b;
    const struct delta_sink *sink = start(&b, &rules, 1);
    delta_text(sink, 0, SPAN("a"));
    assert_false(answer_feed_is_cut(&b.feed));
    delta_text(sink, 0, SPAN(GET));
    assert_true(answer_feed_is_cut(&b.feed));
    stop(&b);
}

static void a_made_up_result_ends_the_answer(void **state)
{
    const struct answer_rules rules = {.tools = &tools};
    expect(&rules, SPAN(GET "<tool_result name=\"get\">1</tool_result> So it is 1." PUT), "stop",
           " get({\"q\":\"a b\"}) tool_calls");
    expect(&rules, SPAN("The mark <tool_result is text."), "stop",
           "The mark <tool_result is text. stop");
    expect(&rules, SPAN(GET "Wait <tool_res"), "stop",
           "Wait <tool_res get({\"q\":\"a b\"}) tool_calls");
}

static void stop_texts_and_limits(void **state)
{
    static const struct span stops[] = {SPAN_INIT("STOP")};
    const struct answer_rules stopping = {.tools = &tools, .stops = stops, .n_stops = 1};
    expect(&stopping, SPAN("a STO" GET), "stop", "a STO get({\"q\":\"a b\"}) tool_calls");
    expect(&stopping, SPAN("a STOP" GET), "stop", "a  stop");
    const struct answer_rules limited = {.tools = &tools, .max_tokens = 2};
    struct bench b;
    const struct delta_sink *sink = start(&b, &limited, 1);
    delta_text(sink, 0, SPAN(GET));
    assert_true(answer_feed_is_cut(&b.feed));
    delta_finish(sink, 0, SPAN("stop"));
    assert_non_null(strstr(end(&b, 0), " length"));
    stop(&b);
}

static void choices_have_calls_of_their_own(void **state)
{
    const struct answer_rules rules = {.tools = &tools};
    struct bench b;
    const struct delta_sink *sink = start(&b, &rules, 3);
    delta_text(sink, 2, SPAN("<tool_call>{\"name\": \"put\", "));
    delta_text(sink, 0, SPAN(GET));
    delta_text(sink, 1, SPAN("words"));
    delta_text(sink, 2, SPAN("\"arguments\": {}}</tool_call>"));
    assert_int_equal(answer_feed_run_ended(&b.feed), 0);
    assert_string_equal(end(&b, 0), " get({\"q\":\"a b\"}) tool_calls");
    struct json root;
    assert_int_equal(json_parse(b.json, buffer_span(&b.body), &root), JSON_OK);
    struct json choices = json_get(root, "choices");
    assert_span_equal(json_get_text(json_at(choices, 1), "finish_reason"), SPAN("stop"));
    assert_span_equal(json_get_text(json_at(choices, 2), "finish_reason"), SPAN("tool_calls"));
    stop(&b);
}

/* A run that failed before anything went out, and one that calls. */
static void a_new_try_forgets_half_a_call(void **state)
{
    const struct answer_rules rules = {.tools = &tools};
    struct bench b;
    const struct delta_sink *sink = start(&b, &rules, 1);
    delta_text(sink, 0, SPAN("<tool_ca"));
    assert_false(b.feed.committed);
    answer_feed_begin(&b.feed, &rules);
    delta_text(sink, 0, SPAN(PUT));
    assert_string_equal(end(&b, 0), " put({\"n\":[1]}) tool_calls");
    stop(&b);
}

/* ---- held back ---- */

static const struct answer_rules holding = {
    .tools = &tools, .hold = true, .reasoning = REASONING_FIELD};

static void held_text_is_forgotten(void **state)
{
    struct bench b;
    struct buffer text;
    const struct delta_sink *sink = start(&b, &holding, 1);
    buffer_init(&text, 1 << 10);
    delta_reasoning(sink, 0, SPAN("hm"));
    delta_text(sink, 0, SPAN("No"));
    delta_text(sink, 0, SPAN(", <tool"));
    assert_false(answer_feed_is_held(&b.feed)); /* it has no end */
    assert_int_equal(answer_feed_run_ended(&b.feed), 0);
    assert_true(answer_feed_is_held(&b.feed));
    assert_false(b.feed.committed);
    answer_feed_held_text(&b.feed, &text);
    assert_span_equal(buffer_span(&text), SPAN("No, <tool"));
    answer_feed_begin(&b.feed, &holding);
    delta_text(sink, 0, SPAN("Yes: " GET));
    assert_true(b.feed.committed);
    assert_false(answer_feed_is_held(&b.feed));
    assert_string_equal(end(&b, 0), "Yes:  get({\"q\":\"a b\"}) tool_calls");
    buffer_free(&text);
    stop(&b);
}

static void held_text_goes_out(void **state)
{
    for (int by_itself = 0; by_itself < 2; by_itself++) {
        struct bench b;
        const struct delta_sink *sink = start(&b, &holding, 1);
        delta_text(sink, 0, SPAN("No."));
        delta_finish(sink, 0, SPAN("stop"));
        assert_true(answer_feed_is_held(&b.feed));
        if (!by_itself) {
            assert_int_equal(answer_feed_release(&b.feed), 0);
            assert_true(b.feed.committed);
        }
        assert_string_equal(end(&b, 0), "No. stop");
        stop(&b);
    }
}

/* Who cut or refused it did not mean it to be an answer. */
static void not_every_end_is_asked_about(void **state)
{
    static const char *const reasons[] = {"length", "content_filter"};
    for (size_t i = 0; i < 2; i++) {
        struct bench b;
        const struct delta_sink *sink = start(&b, &holding, 1);
        delta_text(sink, 0, SPAN("No."));
        delta_finish(sink, 0, span_str(reasons[i]));
        assert_false(answer_feed_is_held(&b.feed));
        stop(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_leave_the_text),
        cmocka_unit_test(thinking_holds_no_calls),
        cmocka_unit_test(the_one_call_that_is_wanted),
        cmocka_unit_test(a_made_up_result_ends_the_answer),
        cmocka_unit_test(stop_texts_and_limits),
        cmocka_unit_test(choices_have_calls_of_their_own),
        cmocka_unit_test(a_new_try_forgets_half_a_call),
        cmocka_unit_test(held_text_is_forgotten),
        cmocka_unit_test(held_text_goes_out),
        cmocka_unit_test(not_every_end_is_asked_about),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
