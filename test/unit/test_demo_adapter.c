/*
 * test/unit/test_demo_adapter.c - what docs/sites/demo.md promises to client developers.
 *
 * Plays the engine's part: asks `local` until it is done and looks at the deltas.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "test/unit/support/transcript.h"

/* Turns of one run: how often `local` was asked, and the delays it wished for. */
struct told {
    struct played played;
    enum adapter_step last;
    int asked, waits, longest_ms;
};

static struct told tell(const char *model, const char *body)
{
    const struct transcript_setup setup = {.adapter = &adapter_demo, .model = model, .body = body};
    struct transcript_player *p = transcript_open(&setup);
    struct told t = {.last = ADAPTER_SEND};
    while (t.last == ADAPTER_SEND) {
        int delay_ms = -1;
        t.last = adapter_demo.local(transcript_run(p), &delay_ms);
        assert_true(delay_ms >= 0);
        t.asked++;
        t.waits += delay_ms > 0;
        t.longest_ms = delay_ms > t.longest_ms ? delay_ms : t.longest_ms;
        assert_true(t.asked < 10000);
    }
    transcript_result(p, &t.played);
    transcript_close(p);
    return t;
}

static struct told tell_text(const char *model, const char *text)
{
    struct buffer body;
    buffer_init(&body, 65536);
    buffer_printf(&body,
                  "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\","
                  "\"content\":\"%s\"}]}",
                  text);
    buffer_char(&body, '\0');
    struct told t = tell(model, body.p);
    buffer_free(&body);
    return t;
}

static void expect(struct told t, const char *want)
{
    transcript_expect(want, want, buffer_span(&t.played.json));
    played_free(&t.played);
}

/* ---- echo ---- */

static void test_echo_says_the_last_user_text_again(void **state)
{
    struct told t =
        tell("demo/echo", "{\"model\":\"m\",\"messages\":["
                          "{\"role\":\"system\",\"content\":\"Be brief.\"},"
                          "{\"role\":\"user\",\"content\":\"first\"},"
                          "{\"role\":\"assistant\",\"content\":\"yes\"},"
                          "{\"role\":\"user\",\"content\":\" Größe 你好\\n\\n  end. \"}]}");
    assert_int_equal(t.last, ADAPTER_DONE);
    expect(t, "{\"content\":\" Größe 你好\\n\\n  end. \",\"finish_reason\":\"stop\",\"error\":null,"
              "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}");
}

static void test_echo_is_fast_and_never_waits(void **state)
{
    struct told t = tell_text("demo/echo", "a b c d e f g h i j k l");
    assert_int_equal(t.waits, 0);
    assert_true(t.asked <= 2);
    expect(t, "{\"content\":\"a b c d e f g h i j k l\"}");
}

static void test_a_bare_model_name_is_the_same_model(void **state)
{
    expect(tell_text("echo", "hi there"), "{\"content\":\"hi there\"}");
    assert_true(span_eq(adapter_demo.base_model(SPAN("slow")), SPAN("demo/slow")));
    assert_true(span_eq(adapter_demo.base_model(SPAN("other")), SPAN("other")));
}

static void test_an_unknown_model_is_refused(void **state)
{
    struct told t = tell_text("demo/gpt", "hi");
    assert_int_equal(t.last, ADAPTER_FAILED);
    expect(t, "{\"error\":{\"kind\":\"model_not_found\",\"param\":\"model\"}}");
}

static void test_no_text_is_said_so(void **state)
{
    expect(tell_text("demo/echo", ""),
           "{\"content\":\"You sent no text; I say again what I am told.\","
           "\"finish_reason\":\"stop\"}");
}

static void test_pictures_are_counted_and_described(void **state)
{
    expect(tell("demo/echo",
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":["
                "{\"type\":\"text\",\"text\":\"Look.\"},"
                "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAECAwQ="
                "\"}},"
                "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://a.example/b.png\"}}]}]}"),
           "{\"content\":\"Look. I see 1 picture of type image/png, 5 bytes. "
           "I see 1 picture at https://a.example/b.png.\"}");
}

static void test_a_list_without_a_user_is_answered(void **state)
{
    expect(tell("demo/echo",
                "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"only me\"}]}"),
           "{\"content\":\"only me\"}");
}

/* ---- parameters ---- */

static void test_max_tokens_counts_words_and_finishes_with_length(void **state)
{
    static const char body[] = "{\"model\":\"m\",\"max_tokens\":2,\"messages\":[{\"role\":\"user\","
                               "\"content\":\"one two three \"}]}";
    expect(tell("demo/echo", body),
           "{\"content\":\"one two\",\"finish_reason\":\"length\","
           "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}");
}

static void test_one_word_is_no_plural(void **state)
{
    expect(tell_text("demo/reasoner", "Hello"),
           "{\"reasoning_content\":\"The person says 1 word. I shall say it again.\","
           "\"content\":\"Hello\"}");
}

static void test_max_tokens_that_suffices_is_a_stop(void **state)
{
    expect(tell("demo/echo", "{\"model\":\"m\",\"max_tokens\":3,\"messages\":[{\"role\":\"user\","
                             "\"content\":\"one two three \"}]}"),
           "{\"content\":\"one two three \",\"finish_reason\":\"stop\"}");
}

static void test_stop_cuts_before_the_earliest_stop_text(void **state)
{
    expect(tell("demo/echo",
                "{\"model\":\"m\",\"stop\":[\"gamma\",\"ta \"],\"messages\":[{\"role\":\"user\","
                "\"content\":\"alpha beta gamma\"}]}"),
           "{\"content\":\"alpha be\",\"finish_reason\":\"stop\"}");
}

static void test_n_gives_that_many_whole_choices(void **state)
{
    expect(tell("demo/echo", "{\"model\":\"m\",\"n\":3,\"max_tokens\":2,\"messages\":[{\"role\":"
                             "\"user\",\"content\":\"a b c\"}]}"),
           "{\"choices\":[{\"content\":\"a b\",\"finish_reason\":\"length\"},"
           "{\"content\":\"a b\",\"finish_reason\":\"length\"},"
           "{\"content\":\"a b\",\"finish_reason\":\"length\"}],"
           "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":6,\"total_tokens\":9}}");
}

static void test_json_object_is_answered_with_an_object(void **state)
{
    expect(tell("demo/echo", "{\"model\":\"m\",\"response_format\":{\"type\":\"json_object\"},"
                             "\"messages\":[{\"role\":\"user\",\"content\":\"say \\\"x\\\"\"}]}"),
           "{\"content\":\"{\\\"echo\\\":\\\"say \\\\\\\"x\\\\\\\"\\\"}\"}");
}

static void test_json_schema_is_answered_with_a_fitting_object(void **state)
{
    expect(
        tell("demo/echo",
             "{\"model\":\"m\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
             "\"name\":\"s\",\"schema\":{\"type\":\"object\",\"required\":[\"a\",\"b\"],"
             "\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"type\":\"object\","
             "\"required\":[\"c\"],\"properties\":{\"c\":{\"enum\":[\"x\",\"y\"]}}},"
             "\"d\":{\"type\":\"string\"}}}}},\"messages\":[{\"role\":\"user\",\"content\":\"?\"}"
             "]}"),
        "{\"content\":\"{\\\"a\\\":\\\"example\\\",\\\"b\\\":{\\\"c\\\":\\\"x\\\"}}\"}");
}

/* ---- reasoner and slow ---- */

static void test_reasoner_thinks_first(void **state)
{
    expect(tell_text("demo/reasoner", "two words"),
           "{\"reasoning_content\":\"The person says 2 words. I shall say them again.\","
           "\"content\":\"two words\",\"finish_reason\":\"stop\",\"usage\":{\"prompt_tokens\":2,"
           "\"completion_tokens\":12,\"completion_tokens_details\":{\"reasoning_tokens\":10}}}");
}

static void test_slow_takes_300_ms_a_word(void **state)
{
    struct told t = tell_text("demo/slow", "one two three");
    assert_int_equal(t.waits, 3);
    assert_int_equal(t.longest_ms, 300);
    expect(t, "{\"content\":\"one two three\"}");
}

static void test_slow_honours_a_number(void **state)
{
    struct told t = tell_text("demo/slow", "20 ms each");
    assert_int_equal(t.waits, 3);
    assert_int_equal(t.longest_ms, 20);
    expect(t, "{\"content\":\"20 ms each\"}");
    t = tell_text("demo/slow", "99999999999999999999 is no delay");
    assert_int_equal(t.longest_ms, 300);
    played_free(&t.played);
}

/* ---- tools ---- */

#define TOOLS                                                                                      \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{"    \
    "\"type\":\"object\",\"required\":[\"city\",\"days\",\"metric\",\"tags\",\"place\",\"unit\"]," \
    "\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},"              \
    "\"metric\":{\"type\":\"boolean\"},\"tags\":{\"type\":\"array\"},\"place\":{\"type\":"         \
    "\"object\"},\"unit\":{\"type\":\"string\",\"enum\":[\"C\",\"F\"]},\"more\":{}}}}},"           \
    "{\"type\":\"function\",\"function\":{\"name\":\"get_time\"}}]"

static void test_tools_calls_the_first_tool_with_fitting_arguments(void **state)
{
    expect(tell("demo/tools", "{\"model\":\"m\"," TOOLS ",\"messages\":[{\"role\":\"user\","
                              "\"content\":\"How is it?\"}]}"),
           "{\"content\":\"\",\"finish_reason\":\"tool_calls\",\"tool_calls\":[{\"name\":"
           "\"get_weather\",\"arguments\":\"{\\\"city\\\":\\\"example\\\",\\\"days\\\":1,"
           "\\\"metric\\\":true,\\\"tags\\\":[],\\\"place\\\":{},\\\"unit\\\":\\\"C\\\"}\"}]}");
}

static void test_tools_calls_the_tool_that_is_named(void **state)
{
    expect(tell("demo/tools", "{\"model\":\"m\"," TOOLS ",\"messages\":[{\"role\":\"user\","
                              "\"content\":\"please get_time\"}]}"),
           "{\"tool_calls\":[{\"name\":\"get_time\",\"arguments\":\"{}\"}]}");
    expect(tell("demo/tools",
                "{\"model\":\"m\"," TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{"
                "\"name\":\"get_time\"}},\"messages\":[{\"role\":\"user\",\"content\":\"?\"}]}"),
           "{\"tool_calls\":[{\"name\":\"get_time\"}]}");
}

static void test_tools_calls_twice(void **state)
{
    expect(tell("demo/tools", "{\"model\":\"m\"," TOOLS ",\"messages\":[{\"role\":\"user\","
                              "\"content\":\"get_time twice\"}]}"),
           "{\"tool_calls\":[{\"name\":\"get_time\",\"arguments\":\"{}\"},"
           "{\"name\":\"get_time\",\"arguments\":\"{}\"}],\"finish_reason\":\"tool_calls\"}");
}

static void test_tools_quotes_the_result(void **state)
{
    expect(tell("demo/tools",
                "{\"model\":\"m\"," TOOLS ",\"messages\":[{\"role\":\"user\",\"content\":\"?\"},"
                "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call_1\","
                "\"type\":\"function\",\"function\":{\"name\":\"get_time\",\"arguments\":\"{}\"}}]}"
                ",{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\"12:\\u000030\"}]}"),
           "{\"content\":\"The tool says: 12:\\u000030\",\"tool_calls\":[],"
           "\"finish_reason\":\"stop\"}");
}

static void test_without_tools_or_with_choice_none_tools_answers_with_text(void **state)
{
    expect(tell_text("demo/tools", "hello"), "{\"content\":\"hello\",\"tool_calls\":[]}");
    expect(tell("demo/tools", "{\"model\":\"m\"," TOOLS ",\"tool_choice\":\"none\",\"messages\":["
                              "{\"role\":\"user\",\"content\":\"hello\"}]}"),
           "{\"content\":\"hello\",\"tool_calls\":[]}");
}

/* ---- failures to order ---- */

static void test_every_failure_of_a_site_can_be_ordered(void **state)
{
    for (int k = FAIL_BAD_REQUEST; k <= FAIL_BRIDGE; k++) {
        const char *name = fail_kind_name((enum fail_kind)k);
        char text[80], want[160];
        snprintf(text, sizeof text, "!error %s", name);
        snprintf(want, sizeof want, "{\"content\":\"\",\"error\":{\"kind\":\"%s\"}}", name);
        struct told t = tell_text("demo/echo", text);
        assert_int_equal(t.last, ADAPTER_FAILED);
        expect(t, want);
    }
}

static void test_a_failure_carries_its_seconds(void **state)
{
    expect(tell_text("demo/echo", "!error rate_limited 7"),
           "{\"error\":{\"kind\":\"rate_limited\",\"retry_after\":7}}");
}

static void test_a_failure_may_come_after_some_words(void **state)
{
    expect(tell_text("demo/echo", "!error overloaded 9 after 2 words"),
           "{\"content\":\"Here are\",\"error\":{\"kind\":\"overloaded\",\"retry_after\":9}}");
}

static void test_a_cut_comes_after_some_words(void **state)
{
    expect(tell_text("demo/echo", "!cut after 5 words"),
           "{\"content\":\"Here are some words, one\",\"finish_reason\":null,"
           "\"error\":{\"kind\":\"cut\"}}");
    expect(tell_text("demo/slow", "!cut"),
           "{\"content\":\"Here are some\",\"error\":{\"kind\":\"cut\"}}");
}

static void test_unknown_orders_are_plain_text(void **state)
{
    expect(tell_text("demo/echo", "!error wrong_key"), "{\"content\":\"!error wrong_key\"}");
    expect(tell_text("demo/echo", "!error"), "{\"content\":\"!error\"}");
    expect(tell_text("demo/echo", "!hello"), "{\"content\":\"!hello\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_says_the_last_user_text_again),
        cmocka_unit_test(test_echo_is_fast_and_never_waits),
        cmocka_unit_test(test_a_bare_model_name_is_the_same_model),
        cmocka_unit_test(test_an_unknown_model_is_refused),
        cmocka_unit_test(test_no_text_is_said_so),
        cmocka_unit_test(test_pictures_are_counted_and_described),
        cmocka_unit_test(test_a_list_without_a_user_is_answered),
        cmocka_unit_test(test_max_tokens_counts_words_and_finishes_with_length),
        cmocka_unit_test(test_one_word_is_no_plural),
        cmocka_unit_test(test_max_tokens_that_suffices_is_a_stop),
        cmocka_unit_test(test_stop_cuts_before_the_earliest_stop_text),
        cmocka_unit_test(test_n_gives_that_many_whole_choices),
        cmocka_unit_test(test_json_object_is_answered_with_an_object),
        cmocka_unit_test(test_json_schema_is_answered_with_a_fitting_object),
        cmocka_unit_test(test_reasoner_thinks_first),
        cmocka_unit_test(test_slow_takes_300_ms_a_word),
        cmocka_unit_test(test_slow_honours_a_number),
        cmocka_unit_test(test_tools_calls_the_first_tool_with_fitting_arguments),
        cmocka_unit_test(test_tools_calls_the_tool_that_is_named),
        cmocka_unit_test(test_tools_calls_twice),
        cmocka_unit_test(test_tools_quotes_the_result),
        cmocka_unit_test(test_without_tools_or_with_choice_none_tools_answers_with_text),
        cmocka_unit_test(test_every_failure_of_a_site_can_be_ordered),
        cmocka_unit_test(test_a_failure_carries_its_seconds),
        cmocka_unit_test(test_a_failure_may_come_after_some_words),
        cmocka_unit_test(test_a_cut_comes_after_some_words),
        cmocka_unit_test(test_unknown_orders_are_plain_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
