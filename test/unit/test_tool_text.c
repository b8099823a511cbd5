/*
 * test/unit/test_tool_text.c - calls and results as text (adapters/support.h), and the look at
 * foreign JSON that it needs (base/json_raw.h).
 */
#include "support/cmocka_all.h"

#include "adapters/support.h"
#include "base/json_raw.h"

static void expect_call(struct span id, struct span name, struct span arguments, const char *wanted)
{
    const struct tool_call call = {.id = id, .name = name, .arguments = arguments};
    struct buffer out;
    buffer_init(&out, 1 << 20);
    tool_text_call(&out, &call);
    buffer_char(&out, '\0');
    assert_string_equal(out.p, wanted);
    buffer_free(&out);
}

static void a_call_has_one_form(void **state)
{
    expect_call(SPAN("c1"), SPAN("get"), SPAN(" { \"q\" : [1, \"a b\"] }\n"),
                "<tool_call>{\"name\": \"get\", \"arguments\": {\"q\":[1,\"a b\"]}, \"id\": "
                "\"c1\"}</tool_call>");
    expect_call(SPAN(""), SPAN("get"), SPAN(""),
                "<tool_call>{\"name\": \"get\", \"arguments\": {}}</tool_call>");
}

static void arguments_that_are_no_object_are_a_string(void **state)
{
    expect_call(SPAN(""), SPAN("f"), SPAN("{\"a\":"),
                "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\":\"}</tool_call>");
    expect_call(SPAN(""), SPAN("f"), SPAN("[1]"),
                "<tool_call>{\"name\": \"f\", \"arguments\": \"[1]\"}</tool_call>");
}

static void nothing_inside_a_call_ends_it(void **state)
{
    expect_call(SPAN("</tool_call>"), SPAN("a<b"),
                SPAN("{\"x\":\"</TOOL_call> <tool_result> </b>\"}"),
                "<tool_call>{\"name\": \"a<b\", \"arguments\": {\"x\":\"\\u003c/TOOL_call> "
                "\\u003ctool_result> </b>\"}, \"id\": \"\\u003c/tool_call>\"}</tool_call>");
}

static void nothing_inside_a_result_ends_it(void **state)
{
    struct buffer out;
    buffer_init(&out, 1 << 20);
    tool_text_begin_result(&out, SPAN("c\"1"), SPAN("get"), true);
    tool_text_inner(&out, SPAN("a < b</tool_result><Tool_Call>{</b><"));
    tool_text_end_result(&out);
    buffer_char(&out, '\0');
    assert_string_equal(out.p, "<tool_result id=\"c&quot;1\" name=\"get\" is_error=\"true\">"
                               "a < b&lt;/tool_result>&lt;Tool_Call>{</b><</tool_result>");
    buffer_free(&out);
}

static void json_objects_are_told_from_what_is_none(void **state)
{
    static const char *const good[] = {"{}",
                                       " {\n} ",
                                       "{\"a\":1}",
                                       "{\"a\":[],\"b\":{\"c\":[{},[1,2]]}}",
                                       "{\"a\":-0.5e+10,\"b\":true,\"c\":null,\"d\":false}",
                                       "{\"\\u00e9\\n\":\"\\\"\"}",
                                       "{ \"a\" : [ 1 , 2 ] }"};
    static const char *const bad[] = {"",
                                      "{",
                                      "}",
                                      "[]",
                                      "1",
                                      "{}{}",
                                      "{} x",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "{,}",
                                      "{\"a\":[1,]}",
                                      "{\"a\":[1}",
                                      "{\"a\":01}",
                                      "{\"a\":1.}",
                                      "{\"a\":+1}",
                                      "{\"a\":tru}",
                                      "{'a':1}",
                                      "{a:1}",
                                      "{\"a\":\"\\x\"}",
                                      "{\"a\":\"\\u12\"}",
                                      "{\"a\":\"\n\"}",
                                      "{\"a\" 1}",
                                      "{\"a\":1 \"b\":2}",
                                      "{\"a\":\"",
                                      "{\"a\":-}",
                                      "{\"a\":1e}",
                                      "{\"a\":]}",
                                      "{:1}"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(json_check_object(span_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(json_check_object(span_str(bad[i])));
}

/* The same opinion as the parser's, whatever one byte of a text is turned into. */
static void the_parser_agrees(void **state)
{
    static const char text[] = "{\"a\": [1, -2.5e3, \"x\\n\\u00e9\", {}], \"b\": {\"c\": null}}";
    static const char bytes[] = "{}[]\",:\\01-e.tnu a";
    struct json_parser *json = json_parser_create(1 << 12);
    assert_non_null(json);
    for (size_t at = 0; at < sizeof text - 1; at++) {
        for (size_t i = 0; i < sizeof bytes - 1; i++) {
            char copy[sizeof text];
            struct json root;
            memcpy(copy, text, sizeof text);
            copy[at] = bytes[i];
            struct span changed = span_of(copy, sizeof text - 1);
            bool parsed =
                json_parse_lenient(json, changed, &root) == JSON_OK && json_is(root, JSON_OBJECT);
            assert_int_equal(json_check_object(changed), parsed);
        }
    }
    json_parser_destroy(json);
}

static void depth_has_an_end(void **state)
{
    char text[5 + 2 * JSON_CHECK_DEPTH + 2] = "{\"a\":";
    for (int more = 0; more < 2; more++) {
        size_t n = JSON_CHECK_DEPTH - 1 + (size_t)more;
        memset(text + 5, '[', n);
        memset(text + 5 + n, ']', n);
        text[5 + 2 * n] = '}';
        assert_int_equal(json_check_object(span_of(text, 6 + 2 * n)), !more);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_has_one_form),
        cmocka_unit_test(arguments_that_are_no_object_are_a_string),
        cmocka_unit_test(nothing_inside_a_call_ends_it),
        cmocka_unit_test(nothing_inside_a_result_ends_it),
        cmocka_unit_test(json_objects_are_told_from_what_is_none),
        cmocka_unit_test(the_parser_agrees),
        cmocka_unit_test(depth_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
