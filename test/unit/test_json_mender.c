/*
 * test/unit/test_json_mender.c - what models write for JSON, and the strict JSON that is made of
 * it: whole and cut at every byte.
 */
#include "base/json.h"
#include "gateway/json_mender.h"
#include "test/unit/support/cmocka_all.h"

struct sample {
    const char *text, *wanted;
};

static const struct sample values[] = {
    /* valid JSON passes as it is */
    {"{\"a\":\"b\",\"c\":[1,-2.5e+3,true,false,null,\"\"],\"d\":{\"e\":{},\"f\":[]}}", NULL},
    {"{\"a\": [18446744073709551615, -9223372036854775808]}",
     "{\"a\":[18446744073709551615,-9223372036854775808]}"},
    /* what readers of JSON refuse */
    {" { \"a\" : 123456789012345678901234567890 } ", "{\"a\":\"123456789012345678901234567890\"}"},
    {"{\"a\": [18446744073709551616, -9223372036854775809, 1e999, +1_8446744073709551616]}",
     "{\"a\":[\"18446744073709551616\",\"-9223372036854775809\",\"1e999\",\"18446744073709551616\"]"
     "}"},
    {"{\"a\": [123456789012345678901.5, 1e300, -0]}", "{\"a\":[123456789012345678901.5,1e300,-0]}"},
    {"{\"a, b\":1,\"c\":\"x\\\"\"}", NULL},
    {"{\"a\":\"\\u00e9\\ud83d\\ude00\\/\"}", "{\"a\":\"é😀/\"}"},
    /* quotes */
    {"{'a': 'it''s', 'b': 'c'}", "{\"a\":\"it''s\",\"b\":\"c\"}"},
    {"{'a': 'it's', 'b': \"c\"}", "{\"a\":\"it's\",\"b\":\"c\"}"},
    {"{“a”: “b”, ‘c’: ‘d’}", "{\"a\":\"b\",\"c\":\"d\"}"},
    {"{`a`: `b`}", "{\"a\":\"b\"}"},
    {"{\"a\": \"\"\"b \"c\" d\"\"\"}", "{\"a\":\"b \\\"c\\\" d\"}"},
    {"{\\\"a\\\": \\\"b\\\", \\\"c\\\": 1}", "{\"a\":\"b\",\"c\":1}"},
    {"{\"a\": \"he said \"hi\" to me\", \"b\": 1}", "{\"a\":\"he said \\\"hi\\\" to me\",\"b\":1}"},
    {"{\"a\": \"\"yes\", \"no\" or not\", \"b\": 1}",
     "{\"a\":\"\\\"yes\\\", \\\"no\\\" or not\",\"b\":1}"},
    {"{\"a\": \"f(\"x\") { return \"y\"; }\"}", "{\"a\":\"f(\\\"x\\\") { return \\\"y\\\"; }\"}"},
    {"[\"a \"b\" c\", \"d\"]", "[\"a \\\"b\\\" c\",\"d\"]"},
    /* escapes and control characters */
    {"{\"a\": \"b\nc\td\"}", "{\"a\":\"b\\nc\\td\"}"},
    {"{\"a\": \"\\d\\w \\' \\x41 \\u12\"}", "{\"a\":\"\\\\d\\\\w ' A \\\\u12\"}"},
    {"{\"a\": \"\\ud83d\"}", "{\"a\":\"\xef\xbf\xbd\"}"},
    /* commas, colons, comments */
    {"{\"a\": 1,, \"b\": 2,}", "{\"a\":1,\"b\":2}"},
    {"[1, 2,]", "[1,2]"},
    {"{\"a\": \"b\" \"c\": 1 \"d\": {} \"e\": 2}", "{\"a\":\"b\",\"c\":1,\"d\":{},\"e\":2}"},
    {"{\"a\" = \"b\"}", "{\"a\":\"b\"}"},
    {"{ // x\n\"a\": 1, /* y */ # z\n\"b\": \"c\" /* d */}", "{\"a\":1,\"b\":\"c\"}"},
    {"{\"a\":\xc2\xa0\"b\",\xe3\x80\x80\"c\": 1}", "{\"a\":\"b\",\"c\":1}"},
    /* words */
    {"{a: True, b: False, c: None, d: NaN, e: undefined}",
     "{\"a\":true,\"b\":false,\"c\":null,\"d\":null,\"e\":null}"},
    {"[+1, .5, 5., 1_000, 0x1f, -0]", "[1,0.5,5.0,1000,31,-0]"},
    {"[+, -, ., _]", "[\"+\",\"-\",\".\",\"_\"]"},
    {"{a: new york, b: http://x.y/z?q=1, c: 007}",
     "{\"a\":\"new york\",\"b\":\"http://x.y/z?q=1\",\"c\":\"007\"}"},
    {"{a: Paris, France, b: 1}", "{\"a\":\"Paris, France\",\"b\":1}"},
    /* brackets */
    {"{{\"a\": {{\"b\": 1}}}}", "{\"a\":{\"b\":1}}"},
    {"{\"a\": [1, 2}", "{\"a\":[1,2]}"},
    {"{\"a\": {\"b\": [1, {\"c\": 2", "{\"a\":{\"b\":[1,{\"c\":2}]}}"},
    {"{\"a\": 1]}", "{\"a\":1}"},
    {"{\"a\": , \"b\":}", "{\"a\":null,\"b\":null}"},
    {"{\"a\"}", "{\"a\":null}"},
    {"{\"a\": (1, 2)}", "{\"a\":[1,2]}"},
    {"{\"a\": 1</tool_call>", "{\"a\":1}"},
    {"[1\n```", "[1]"},
};

static const struct sample calls[] = {
    {"a=1, b=\"x\", c=[1, (2, 3)], d={\"e\": True})",
     "{\"a\":1,\"b\":\"x\",\"c\":[1,[2,3]],\"d\":{\"e\":true}}"},
    {")", "{}"},
    {"{\"a\": 1})", "{\"a\":1}"},
    {"a='it\\'s', b='x')", "{\"a\":\"it's\",\"b\":\"x\"}"},
};

static int put(void *owner, enum mend_token token, struct span text)
{
    mend_write(owner, token, text);
    return 0;
}

static void mend(struct buffer *out, struct span text, size_t cut, enum mend_form form)
{
    struct json_writer writer = json_writer(out);
    const struct mend_sink sink = {put, &writer, NULL};
    struct json_mender m;
    struct buffer unread;
    json_mender_init(&m, form);
    buffer_init(&unread, 1 << 24);
    for (size_t n = cut ? cut : 1; text.n && !m.done; n = cut ? text.n : 1) {
        struct span part = span_first(text, n);
        text = span_from(text, part.n);
        buffer_append(&unread, part);
        struct span in = buffer_span(&unread);
        assert_int_equal(json_mender_read(&m, &in, !text.n, &sink), 0);
        buffer_consume(&unread, unread.n - in.n);
    }
    assert_int_equal(json_mender_close(&m, &sink), 0);
    json_mender_free(&m);
    buffer_free(&unread);
}

static void check(const struct sample *s, enum mend_form form)
{
    struct span text = span_str(s->text), wanted = span_str(s->wanted ? s->wanted : s->text);
    struct buffer out;
    buffer_init(&out, 1 << 20);
    for (size_t cut = 0; cut <= text.n; cut++) {
        buffer_clear(&out);
        mend(&out, text, cut, form);
        if (!span_eq(buffer_span(&out), wanted))
            fail_msg("%s\ncut at %zu gives\n%.*s\nnot\n%.*s", s->text, cut,
                     SPAN_ARGS(buffer_span(&out)), SPAN_ARGS(wanted));
    }
    buffer_free(&out);
}

static void json_that_models_write(void **state)
{
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        check(&values[i], MEND_FORM_VALUE);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        check(&calls[i], MEND_FORM_CALL);
}

static void what_is_nested_too_deep_is_null(void **state)
{
    struct buffer in, out;
    struct json root;
    struct json_parser *parser = json_parser_create(1 << 20);
    assert_non_null(parser);
    buffer_init(&in, 1 << 20);
    buffer_init(&out, 1 << 20);
    for (int i = 0; i < 1000; i++)
        buffer_append(&in, SPAN("{\"a\":["));
    buffer_append(&in, SPAN("\"]\""));
    for (int i = 0; i < 1000; i++)
        buffer_append(&in, SPAN("]}"));
    mend(&out, buffer_span(&in), 0, MEND_FORM_VALUE);
    assert_int_equal(json_parse(parser, buffer_span(&out), &root), JSON_OK);
    assert_true(span_find(buffer_span(&out), SPAN("null")) > 0);
    json_parser_destroy(parser);
    buffer_free(&in);
    buffer_free(&out);
}

static int nothing(void *owner, enum mend_token token, struct span text) { return 0; }

/* What is left unread never grows beyond the look ahead. */
static void hostile_text_is_read_in_bounds(void **state)
{
    static const char *const texts[] = {"\"",   "\",\"", "{",           "[\"",
                                        "'\" ", "\\",    "{\"a\":\"\"", "a "};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct mend_sink sink = {nothing, NULL, NULL};
        struct json_mender m;
        struct buffer in;
        struct span rest;
        json_mender_init(&m, MEND_FORM_VALUE);
        buffer_init(&in, 1 << 22);
        buffer_append(&in, SPAN("{\"a\":\""));
        while (in.n < 1 << 20)
            assert_int_equal(buffer_append(&in, span_str(texts[i])), 0);
        rest = buffer_span(&in);
        assert_int_equal(json_mender_read(&m, &rest, false, &sink), 0);
        assert_true(rest.n <= MEND_LOOK_MAX);
        json_mender_free(&m);
        buffer_free(&in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_that_models_write),
        cmocka_unit_test(what_is_nested_too_deep_is_null),
        cmocka_unit_test(hostile_text_is_read_in_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
