/*
 * test/unit/test_answer_runs.c - deltas of runs at sites through an answer's filters into whole
 * chat answers.
 */
#include "test/unit/support/answer_bench.h"

#include "gateway/api.h"
#include "test/unit/support/cmocka_all.h"

static void expect(struct json choices, int index, const char *content, const char *reason)
{
    struct json choice = json_at(choices, (size_t)index);
    assert_span_equal(json_get_text(json_get(choice, "message"), "content"), span_str(content));
    assert_span_equal(json_get_text(choice, "finish_reason"), span_str(reason));
}

/* What a filter holds back when a call begins belongs to what came before it. */
static void a_call_ends_leaked_thinking_once(void **state)
{
    const struct answer_rules rules = {.reasoning = REASONING_THINK};
    struct answer_bench b;
    const struct delta_sink *sink = answer_bench_start(&b, &rules, 1);
    assert_int_equal(delta_text(sink, 0, SPAN("<think>look</thi")), 0);
    assert_int_equal(delta_tool_begin(sink, 0, 0, SPAN("call_1"), SPAN("look_up")), 0);
    assert_int_equal(delta_tool_arguments(sink, 0, 0, SPAN("{}")), 0);
    assert_int_equal(delta_finish(sink, 0, SPAN("tool_calls")), 0);
    expect(answer_bench_end(&b), 0, "<think>\nlook</thi\n</think>\n\n", "tool_calls");
    answer_bench_stop(&b);
}

static void a_stop_text_before_a_call_ends_the_choice(void **state)
{
    static const struct span stops[] = {SPAN_INIT("<<")};
    const struct answer_rules rules = {.stops = stops, .n_stops = 1};
    struct answer_bench b;
    const struct delta_sink *sink = answer_bench_start(&b, &rules, 1);
    delta_text(sink, 0, SPAN("a <"));
    assert_false(answer_feed_is_cut(&b.feed));
    delta_text(sink, 0, SPAN("< b"));
    assert_true(answer_feed_is_cut(&b.feed));
    assert_int_equal(delta_tool_begin(sink, 0, 0, SPAN(""), SPAN("look_up")), 0);
    expect(answer_bench_end(&b), 0, "a ", "stop");
    assert_true(span_find(buffer_span(&b.body), SPAN("tool_calls")) < 0);
    answer_bench_stop(&b);
}

/* The site's work goes on until each choice has met its limit. */
static void each_choice_has_its_limit(void **state)
{
    const struct answer_rules rules = {.max_tokens = 1};
    struct answer_bench b;
    const struct delta_sink *sink = answer_bench_start(&b, &rules, 2);
    delta_text(sink, 1, SPAN("abcdefgh"));
    assert_false(answer_feed_is_cut(&b.feed));
    delta_text(sink, 0, SPAN("ijklmnop"));
    assert_true(answer_feed_is_cut(&b.feed));
    assert_true(answer_feed_is_finished(&b.feed));
    struct json choices = answer_bench_end(&b);
    expect(choices, 0, "ijkl", "length");
    expect(choices, 1, "abcd", "length");
    assert_int_equal(b.answer.usage.completion, 2);
    answer_bench_stop(&b);
}

/* Before the commit boundary a run may fail and another begin: nothing of the first one stays. */
static void a_new_try_forgets_the_former(void **state)
{
    const struct answer_rules rules = {.reasoning = REASONING_FIELD};
    const struct delta_usage usage = {.prompt = 900, .completion = 900, .total = 1800};
    struct answer_bench b;
    const struct delta_sink *sink = answer_bench_start(&b, &rules, 1);
    delta_usage(sink, &usage);
    delta_extra(sink, PLACE_TOP, 0, SPAN("\"provider\":\"former\""));
    delta_text(sink, 0, SPAN("<thi")); /* held back: not committed yet */
    assert_false(b.feed.committed);
    answer_feed_begin(&b.feed, &rules);
    delta_text(sink, 0, SPAN("text"));
    assert_true(b.feed.committed);
    expect(answer_bench_end(&b), 0, "text", "stop");
    assert_true(span_find(buffer_span(&b.body), SPAN("former")) < 0);
    assert_int_equal(b.answer.usage.completion, 1);
    assert_int_equal(b.answer.completion_origin, COUNT_ESTIMATED);
    answer_bench_stop(&b);
}

/* Choices that nobody asked for are passed over. */
static void foreign_choices(void **state)
{
    const struct answer_rules rules = {.reasoning = REASONING_FIELD};
    struct answer_bench b;
    const struct delta_sink *sink = answer_bench_start(&b, &rules, 1);
    assert_int_equal(delta_text(sink, 1, SPAN("x")), 0);
    assert_int_equal(delta_text(sink, -1, SPAN("x")), 0);
    assert_int_equal(delta_text(sink, EMITTER_CHOICES, SPAN("x")), 0);
    assert_false(b.feed.committed);
    delta_text(sink, 0, SPAN("y"));
    expect(answer_bench_end(&b), 0, "y", "stop");
    answer_bench_stop(&b);
}

/* Branches lease their accounts in any order; the choices have theirs. */
static void runs_come_in_any_order(void **state)
{
    static const int order[] = {2, 0, 3, 1};
    const struct answer_rules rules = {.reasoning = REASONING_FIELD};
    struct answer_bench b;
    struct answer_feed feeds[4];
    answer_bench_open(&b, 1);
    for (size_t i = 0; i < 4; i++) {
        char text[2] = {(char)('a' + order[i]), 0};
        answer_feed_add(&b.answer, &feeds[i], &b.turn, order[i], 1);
        answer_feed_begin(&feeds[i], &rules);
        assert_false(answer_has_choice(&b.answer, order[i]));
        assert_int_equal(delta_text(&feeds[i].sink, 0, span_str(text)), 0);
        assert_true(answer_has_choice(&b.answer, order[i]));
    }
    int at = 0;
    for (const struct answer_feed *f = b.answer.feeds; f; f = f->next)
        assert_int_equal(f->first, at++);
    assert_int_equal(at, 4);
    struct json choices = answer_bench_end(&b);
    expect(choices, 0, "a", "stop");
    expect(choices, 1, "b", "stop");
    expect(choices, 2, "c", "stop");
    expect(choices, 3, "d", "stop");
    answer_bench_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_come_in_any_order),
        cmocka_unit_test(a_call_ends_leaked_thinking_once),
        cmocka_unit_test(a_stop_text_before_a_call_ends_the_choice),
        cmocka_unit_test(each_choice_has_its_limit),
        cmocka_unit_test(a_new_try_forgets_the_former),
        cmocka_unit_test(foreign_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
