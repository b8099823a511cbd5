/*
 * test/unit/test_answer_builder.c - whole answers, byte for byte (clients.md §1.5, §2.2, §2.4).
 */
#include "sse/answer_builder.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/fixture.h"

static const struct usage_counts usage = {
    .prompt = 9, .completion = 3, .cached = -1, .reasoning = -1};

static struct answer_builder *make_builder(size_t limit)
{
    struct answer_builder *b = answer_builder_create(&test_arena, limit);
    assert_non_null(b);
    return b;
}

/* Renders, compares what stands in "choices", and destroys. */
static void expect_choices(struct answer_builder *b, const char *choices)
{
    struct buffer out, wanted;
    buffer_init(&out, 1 << 20);
    buffer_init(&wanted, 1 << 20);
    assert_int_equal(
        answer_builder_render(b, &out, SPAN("chatcmpl-1"), 1763600000, SPAN("m"), &usage), 0);
    buffer_printf(&wanted,
                  "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1763600000,"
                  "\"model\":\"m\",\"choices\":[%s],"
                  "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12}}",
                  choices);
    assert_span_equal(buffer_span(&out), buffer_span(&wanted));
    buffer_free(&out);
    buffer_free(&wanted);
    answer_builder_destroy(b);
}

#define CHOICE(index, message, reason)                                                             \
    "{\"index\":" #index ",\"message\":{\"role\":\"assistant\"," message                           \
    "},\"logprobs\":null,\"finish_reason\":\"" reason "\"}"

static void text_is_put_together(void **state)
{
    struct answer_builder *b = make_builder(1000);
    assert_int_equal(answer_builder_reasoning(b, 0, SPAN("hm ")), 0);
    assert_int_equal(answer_builder_reasoning(b, 0, SPAN("so")), 0);
    assert_int_equal(answer_builder_text(b, 0, SPAN("春\xe7")), 0);
    assert_int_equal(answer_builder_text(b, 0, SPAN("\x9c\xa0\n\"")), 0);
    assert_int_equal(answer_builder_finish(b, 0, SPAN("length")), 0);
    assert_int_equal(answer_builder_finish(b, 0, SPAN("stop")), 0);
    expect_choices(
        b, CHOICE(0, "\"content\":\"春眠\\n\\\"\",\"reasoning_content\":\"hm so\",\"refusal\":null",
                  "length"));
}

static void a_choice_that_nothing_was_told_of_is_left_out(void **state)
{
    struct answer_builder *b = make_builder(1000);
    answer_builder_text(b, 1, SPAN("one"));
    answer_builder_finish(b, 1, SPAN("stop"));
    expect_choices(b, CHOICE(1, "\"content\":\"one\",\"refusal\":null", "stop"));
}

static void broken_text_is_repaired(void **state)
{
    struct answer_builder *b = make_builder(1000);
    answer_builder_text(b, 0, SPAN("a\xff\xe6\x98"));
    answer_builder_finish(b, 0, SPAN("stop"));
    expect_choices(b,
                   CHOICE(0, "\"content\":\"a\xef\xbf\xbd\xef\xbf\xbd\",\"refusal\":null", "stop"));
}

static void content_is_null_only_with_calls_or_a_refusal(void **state)
{
    struct answer_builder *b = make_builder(1000);
    answer_builder_finish(b, 0, SPAN("stop"));
    expect_choices(b, CHOICE(0, "\"content\":\"\",\"refusal\":null", "stop"));
    b = make_builder(1000);
    answer_builder_refusal(b, 0, SPAN("no"));
    answer_builder_finish(b, 0, SPAN("content_filter"));
    expect_choices(b, CHOICE(0, "\"content\":null,\"refusal\":\"no\"", "content_filter"));
    b = make_builder(1000);
    answer_builder_tool_begin(b, 0, 1, SPAN("c1"), SPAN("f"), SPAN(""));
    answer_builder_tool_arguments(b, 0, 1, SPAN("{\"a\""));
    answer_builder_tool_begin(b, 0, 4, SPAN("c2"), SPAN("g"),
                              SPAN("{\"google\":{\"thought_signature\":\"c2ln\"}}"));
    answer_builder_tool_arguments(b, 0, 1, SPAN(":1}"));
    answer_builder_tool_arguments(b, 0, 4, SPAN("{}"));
    answer_builder_finish(b, 0, SPAN("tool_calls"));
    expect_choices(b, CHOICE(0,
                             "\"content\":null,\"refusal\":null,\"tool_calls\":[{\"id\":\"c1\","
                             "\"type\":\"function\",\"function\":"
                             "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},{\"id\":\"c2\","
                             "\"type\":\"function\",\"function\":"
                             "{\"name\":\"g\",\"arguments\":\"{}\"},"
                             "\"extra_content\":{\"google\":{\"thought_signature\":\"c2ln\"}}}]",
                             "tool_calls"));
}

static void choices_stand_in_order(void **state)
{
    struct answer_builder *b = make_builder(1000);
    answer_builder_text(b, 1, SPAN("one"));
    answer_builder_text(b, 0, SPAN("zero"));
    answer_builder_finish(b, 1, SPAN("stop"));
    answer_builder_finish(b, 0, SPAN("stop"));
    assert_int_equal(answer_builder_text(b, EMITTER_CHOICES, SPAN("beyond")), 0);
    assert_int_equal(answer_builder_text(b, -1, SPAN("before")), 0);
    expect_choices(b, CHOICE(0, "\"content\":\"zero\",\"refusal\":null",
                             "stop") "," CHOICE(1, "\"content\":\"one\",\"refusal\":null", "stop"));
}

static void extras_are_merged(void **state)
{
    const struct citation list[] = {{SPAN_INIT("https://a"), SPAN_INIT("A"), 1, 2}};
    struct answer_builder *b = make_builder(1000);
    struct buffer out;
    answer_builder_text(b, 0, SPAN("x"));
    answer_builder_extra(b, EXTRA_TOP, 0, SPAN("\"tier\":1,\"fp\":\"a\""));
    answer_builder_extra(b, EXTRA_TOP, 0, SPAN("\"tier\":2"));
    answer_builder_extra(b, EXTRA_CHOICE, 0, SPAN("\"native\":null"));
    answer_builder_extra(b, EXTRA_DELTA, 0, SPAN("\"mood\":[1,{\"a\":\"}\"}]"));
    answer_builder_citations(b, 0, list, 1);
    answer_builder_finish(b, 0, SPAN("stop"));
    buffer_init(&out, 10000);
    assert_int_equal(answer_builder_render(b, &out, SPAN("i"), 1, SPAN("m"), &usage), 0);
    static const char *const wanted[] = {"\"fp\":\"a\"", "\"tier\":2", "\"native\":null",
                                         "\"mood\":[1,{\"a\":\"}\"}]",
                                         ("\"annotations\":[{\"type\":\"url_citation\",\"url_"
                                          "citation\":{\"start_index\":1,\"end_index\":2,"
                                          "\"url\":\"https://a\",\"title\":\"A\"}}]")};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (span_find(buffer_span(&out), span_str(wanted[i])) < 0)
            fail_msg("no %s in %.*s", wanted[i], SPAN_ARGS(buffer_span(&out)));
    }
    assert_int_equal(span_find(buffer_span(&out), SPAN("\"tier\":1")), -1);
    buffer_free(&out);
    answer_builder_destroy(b);
}

static void the_limit_is_over_everything(void **state)
{
    struct answer_builder *b = make_builder(10);
    struct buffer out;
    assert_int_equal(answer_builder_text(b, 0, SPAN("12345")), 0);
    assert_int_equal(answer_builder_reasoning(b, 0, SPAN("12345")), 0);
    assert_int_equal(answer_builder_text(b, 1, SPAN("6")), BUFFER_FULL);
    assert_int_equal(answer_builder_finish(b, 0, SPAN("stop")), BUFFER_FULL); /* sticky */
    buffer_init(&out, 1000);
    assert_int_equal(answer_builder_render(b, &out, SPAN("i"), 1, SPAN("m"), &usage), BUFFER_FULL);
    buffer_free(&out);
    answer_builder_destroy(b);
}

/* Citations and foreign members count as well, once, however often they are told again. */
static void the_limit_counts_what_is_replaced(void **state)
{
    struct citation c = {SPAN_INIT("https://a-rather-long-address.example/"), SPAN_INIT("T"), 0, 0};
    struct answer_builder *b = make_builder(50);
    assert_int_equal(answer_builder_citations(b, 0, &c, 1), BUFFER_FULL);
    assert_int_equal(answer_builder_text(b, 0, SPAN("x")), BUFFER_FULL);
    answer_builder_destroy(b);

    b = make_builder(200);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(answer_builder_citations(b, 0, &c, 1), 0);
        assert_int_equal(answer_builder_extra(b, EXTRA_CHOICE, 0, SPAN("\"k\":1")), 0);
    }
    assert_int_equal(answer_builder_extra(b, EXTRA_DELTA, 0, SPAN("\"k\":\"0123456789\"")), 0);
    char text[200] = {0};
    assert_int_equal(answer_builder_text(b, 0, span_of(text, sizeof text)), BUFFER_FULL);
    answer_builder_destroy(b);
}

static void a_member_inside_another_is_no_member(void **state)
{
    struct buffer out;
    struct answer_builder *b = make_builder(1000);
    answer_builder_text(b, 0, SPAN("x"));
    answer_builder_extra(b, EXTRA_CHOICE, 0, SPAN("\"native\":{\"logprobs\":1}"));
    buffer_init(&out, 1000);
    assert_int_equal(answer_builder_render(b, &out, SPAN("i"), 1, SPAN("m"), &usage), 0);
    assert_true(span_find(buffer_span(&out), SPAN("\"logprobs\":null")) >= 0);
    buffer_free(&out);
    answer_builder_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(text_is_put_together, arena_begin, arena_end),
        cmocka_unit_test_setup_teardown(a_choice_that_nothing_was_told_of_is_left_out, arena_begin,
                                        arena_end),
        cmocka_unit_test_setup_teardown(broken_text_is_repaired, arena_begin, arena_end),
        cmocka_unit_test_setup_teardown(content_is_null_only_with_calls_or_a_refusal, arena_begin,
                                        arena_end),
        cmocka_unit_test_setup_teardown(choices_stand_in_order, arena_begin, arena_end),
        cmocka_unit_test_setup_teardown(extras_are_merged, arena_begin, arena_end),
        cmocka_unit_test_setup_teardown(the_limit_is_over_everything, arena_begin, arena_end),
        cmocka_unit_test_setup_teardown(the_limit_counts_what_is_replaced, arena_begin, arena_end),
        cmocka_unit_test_setup_teardown(a_member_inside_another_is_no_member, arena_begin,
                                        arena_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
