/*
 * test/unit/test_tool_values.c - arguments as the tool's schema wants them.
 */
#include "gateway/tool_values.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/tool_run.h"

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"s\":{\"type\":\"string\"},\"i\":{\"type\":\"integer\"},\"n\":{\"type\":"
    "\"number\"},\"b\":{\"type\":\"boolean\"},\"a\":{\"type\":\"array\"},\"o\":{\"type\":"
    "\"object\"},\"si\":{\"type\":[\"string\",\"integer\"]},\"z\":{\"type\":[\"string\",\"null\"]},"
    "\"iz\":{\"type\":[\"integer\",\"null\"]},\"x\":{}}}}}]";

static struct arena arena;
static struct tool_list list;

struct members {
    struct tool_values *values;
    int depth;
};

/* The members of the object alone. */
static int put_member(void *owner, enum mend_token token, struct span text)
{
    struct members *m = owner;
    bool opens = token == MEND_OBJECT || token == MEND_ARRAY;
    bool closes = token == MEND_OBJECT_END || token == MEND_ARRAY_END;
    if (!((opens && m->depth++ == 0) || (closes && --m->depth == 0)))
        tool_values_put(m->values, token, text);
    return 0;
}

static void arguments(struct buffer *out, const char *json)
{
    struct tool_values v;
    struct members members = {&v, 0};
    const struct mend_sink sink = {put_member, &members, NULL};
    struct json_mender m;
    struct span in = span_str(json);
    tool_values_init(&v);
    json_mender_init(&m, MEND_FORM_VALUE);
    tool_values_begin(&v, list.tools, out);
    assert_int_equal(json_mender_read(&m, &in, true, &sink), 0);
    tool_values_end(&v);
    json_mender_free(&m);
    tool_values_free(&v);
}

static void json_values_take_the_types_that_are_wanted(void **state)
{
    static const char *const rows[][2] = {
        {"{\"s\":\"5\",\"i\":5,\"n\":1.5,\"b\":true,\"a\":[1],\"o\":{\"k\":[]},\"x\":\"5\"}", NULL},
        {"{\"s\":5}", "{\"s\":\"5\"}"},
        {"{\"s\":true}", "{\"s\":\"true\"}"},
        {"{\"s\":{\"k\":[\"v\\n\",1]}}", "{\"s\":\"{\\\"k\\\":[\\\"v\\\\n\\\",1]}\"}"},
        {"{\"s\":[1],\"i\":2}", "{\"s\":\"[1]\",\"i\":2}"},
        {"{\"i\":\"5\"}", "{\"i\":5}"},
        {"{\"i\":\"5.0\"}", "{\"i\":5}"},
        {"{\"i\":5.0}", "{\"i\":5}"},
        {"{\"i\":\"5.5\"}", "{\"i\":\"5.5\"}"},
        {"{\"i\":\"five\"}", "{\"i\":\"five\"}"},
        {"{\"n\":\"-1.5e3\"}", "{\"n\":-1.5e3}"},
        {"{\"b\":\"True\"}", "{\"b\":true}"},
        {"{\"b\":\"no\",\"i\":1}", "{\"b\":false,\"i\":1}"},
        {"{\"b\":1}", "{\"b\":true}"},
        {"{\"a\":\"x\"}", "{\"a\":[\"x\"]}"},
        {"{\"a\":7}", "{\"a\":[7]}"},
        {"{\"a\":{\"k\":1}}", "{\"a\":[{\"k\":1}]}"},
        {"{\"a\":\"[1, 'x']\"}", "{\"a\":[1,\"x\"]}"},
        {"{\"o\":\"{\\\"k\\\": 1}\"}", "{\"o\":{\"k\":1}}"},
        {"{\"o\":\"text\"}", "{\"o\":\"text\"}"},
        {"{\"si\":\"5\",\"z\":null,\"iz\":\"\"}", "{\"si\":\"5\",\"z\":null,\"iz\":null}"},
        {"{\"S\":\"a\",\"other\":5}", "{\"s\":\"a\",\"other\":5}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer out;
        struct span wanted = span_str(rows[i][1] ? rows[i][1] : rows[i][0]);
        buffer_init(&out, 1 << 16);
        arguments(&out, rows[i][0]);
        if (!span_eq(buffer_span(&out), wanted))
            fail_msg("%s gives %.*s", rows[i][0], SPAN_ARGS(buffer_span(&out)));
        buffer_free(&out);
    }
}

static void texts_take_the_types_that_are_wanted(void **state)
{
    static const struct {
        const char *key, *text, *wanted;
        enum tool_text_kind kind;
    } rows[] = {
        {"s", "5", "\"5\"", TEXT_BY_SCHEMA},
        {"s", "a \"b\"\n", "\"a \\\"b\\\"\\n\"", TEXT_BY_SCHEMA},
        {"i", " 5\n", "5", TEXT_BY_SCHEMA},
        {"i", "five", "\"five\"", TEXT_BY_SCHEMA},
        {"b", "True", "true", TEXT_BY_SCHEMA},
        {"a", "[\"x\"]", "[\"x\"]", TEXT_BY_SCHEMA},
        {"a", "x", "[\"x\"]", TEXT_BY_SCHEMA},
        {"o", "{'k': 1}", "{\"k\":1}", TEXT_BY_SCHEMA},
        {"si", "5", "5", TEXT_BY_SCHEMA},
        {"si", "5", "\"5\"", TEXT_IS_STRING},
        {"z", "null", "null", TEXT_BY_SCHEMA},
        {"z", "nothing", "\"nothing\"", TEXT_BY_SCHEMA},
        {"x", "5", "\"5\"", TEXT_BY_SCHEMA},
        {"x", "5", "5", TEXT_IS_JSON},
        {"x", "{\"k\":1}", "{\"k\":1}", TEXT_IS_JSON},
        {"x", "{k}", "\"{k}\"", TEXT_IS_JSON},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tool_values v;
        struct buffer out, wanted;
        buffer_init(&out, 1 << 16);
        buffer_init(&wanted, 1 << 16);
        tool_values_init(&v);
        tool_values_begin(&v, list.tools, &out);
        tool_values_begin_text(&v, span_str(rows[i].key), rows[i].kind);
        for (const char *p = rows[i].text; *p; p++)
            tool_values_add_text(&v, span_of(p, 1));
        tool_values_end_text(&v);
        tool_values_end(&v);
        buffer_printf(&wanted, "{\"%s\":%s}", rows[i].key, rows[i].wanted);
        if (!span_eq(buffer_span(&out), buffer_span(&wanted)))
            fail_msg("%s as %s gives %.*s", rows[i].text, rows[i].key,
                     SPAN_ARGS(buffer_span(&out)));
        tool_values_free(&v);
        buffer_free(&out);
        buffer_free(&wanted);
    }
}

/* A text that is too long to be anything else stays a string, and memory stays bounded. */
static void a_long_text_stays_a_string(void **state)
{
    struct tool_values v;
    struct buffer out;
    buffer_init(&out, 1 << 22);
    tool_values_init(&v);
    tool_values_begin(&v, list.tools, &out);
    tool_values_begin_text(&v, SPAN("i"), TEXT_BY_SCHEMA);
    for (int i = 0; i < TOOL_VALUE_MAX / 8 + 10; i++)
        tool_values_add_text(&v, SPAN("12345678"));
    assert_true(v.held.n <= TOOL_VALUE_MAX);
    tool_values_end_text(&v);
    tool_values_end(&v);
    assert_true(span_starts(buffer_span(&out), SPAN("{\"i\":\"12345678")));
    assert_true(span_ends(buffer_span(&out), SPAN("12345678\"}")));
    tool_values_free(&v);
    buffer_free(&out);
}

static int setup(void **state)
{
    arena_init(&arena);
    tool_run_list(&arena, tools, &list);
    return 0;
}

static int teardown(void **state)
{
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_values_take_the_types_that_are_wanted),
        cmocka_unit_test(texts_take_the_types_that_are_wanted),
        cmocka_unit_test(a_long_text_stays_a_string),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
