/*
 * test/unit/test_json_schema.c - schemas: the public test suite for every keyword that we heed,
 * what is said of a wrong value, and strangers' schemas, which may cost time and stack but not
 * much.
 *
 * The suite is Debian's json-schema-test-suite. What is left out of it is listed with the reason.
 */
#include <stdio.h>
#include <time.h>

#include "gateway/json_schema.h"
#include "test/unit/support/cmocka_all.h"

#define SUITE "/usr/share/json-schema-test-suite/tests/draft7/"

enum { TEXT_MAX = 64 << 20 };

static struct json_parser *parsers[2];

static int set_up(void **state)
{
    for (int i = 0; i < 2; i++)
        parsers[i] = json_parser_create(TEXT_MAX);
    return parsers[0] && parsers[1] ? 0 : -1;
}

static int tear_down(void **state)
{
    json_parser_destroy(parsers[0]);
    json_parser_destroy(parsers[1]);
    return 0;
}

static struct json parsed(int parser, struct span text)
{
    struct json root;
    assert_int_equal(json_parse(parsers[parser], text, &root), 0);
    return root;
}

/* ---- the suite ---- */

/* Groups that ask for what we leave out on purpose. */
static const char *const left_out[] = {
    /* patternProperties say nothing here */
    "additionalProperties being false does not allow other properties",
    "non-ASCII pattern with additionalProperties",
    "properties, patternProperties, additionalProperties interaction",
    /* beside $ref the newer drafts heed other keywords, the seventh does not */
    "ref overrides any sibling keywords",
    "$ref prevents a sibling $id from changing the base uri",
    /* references by $id, to other documents, and to the schema of schemas */
    "remote ref, containing refs itself",
    "Recursive references between schemas",
    "refs with relative uris and defs",
    "relative refs with absolute uris and defs",
    "Location-independent identifier",
    "Reference an anchor with a non-relative URI",
    "Location-independent identifier with base URI change in subschema",
    "Location-independent identifier with absolute URI",
    "refs to future drafts are processed as future drafts",
    "$id must be resolved against nearest parent, not just immediate parent",
    "simple URN base URI with $ref via the URN",
    "simple URN base URI with JSON pointer",
    "URN base URI with NSS",
    "URN base URI with r-component",
    "URN base URI with q-component",
    "URN base URI with URN and JSON pointer ref",
    "URN base URI with URN and anchor ref",
    "ref to if", /* through $id */
    "ref to then",
    "ref to else",
    "ref with absolute-path-reference",
    "$id with file URI still resolves pointers - *nix",
    "$id with file URI still resolves pointers - windows",
    "base URI change - change folder",
    "$ref to $ref finds lost $id",
};

static bool is_left_out(struct span description)
{
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++) {
        if (span_starts(description, span_str(left_out[i])))
            return true;
    }
    return false;
}

static int run_group(struct json group)
{
    struct json_schema_report report;
    struct json schema = json_get(group, "schema");
    struct json_iter it = json_each(json_get(group, "tests"));
    int n = 0;
    if (json_schema_check(schema, &report))
        fail_msg("\"%s\" is no schema: %s", json_get_text(group, "description").p, report.text);
    for (; json_next(&it); n++) {
        enum json_schema_verdict verdict =
            json_schema_validate(schema, json_get(it.value, "data"), &report);
        bool valid = json_bool(json_get(it.value, "valid"), false);
        if (verdict != (valid ? SCHEMA_FITS : SCHEMA_DIFFERS))
            fail_msg("\"%s\", \"%s\": %d %s", json_get_text(group, "description").p,
                     json_get_text(it.value, "description").p, verdict, report.text);
        assert_int_equal(report.n != 0, !valid);
    }
    return n;
}

static int run_file(const char *name)
{
    char path[200];
    struct buffer text;
    int n = 0;
    snprintf(path, sizeof path, SUITE "%s.json", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s is missing: install the Debian package json-schema-test-suite", path);
    buffer_init(&text, 1 << 20);
    char *room = buffer_reserve(&text, 1 << 19);
    text.n += fread(room, 1, 1 << 19, file);
    fclose(file);
    struct json_iter it = json_each(parsed(0, buffer_span(&text)));
    buffer_free(&text);
    while (json_next(&it)) {
        if (!is_left_out(json_get_text(it.value, "description")))
            n += run_group(it.value);
    }
    return n;
}

static void the_public_suite_passes(void **state)
{
    static const char *const files[] = {
        "additionalItems",
        "additionalProperties",
        "allOf",
        "anyOf",
        "boolean_schema",
        "const",
        "contains",
        "default",
        "dependencies",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "if-then-else",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "not",
        "oneOf",
        "properties",
        "ref",
        "required",
        "type",
        "uniqueItems",
    };
    int n = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        n += run_file(files[i]);
    assert_true(n > 340);
}

/* ---- what the seventh draft does not have, and what is said ---- */

static void expect(const char *schema_text, const char *value_text, const char *wanted)
{
    struct json_schema_report report;
    struct json schema = parsed(0, span_str(schema_text));
    struct json value = parsed(1, span_str(value_text));
    if (json_schema_check(schema, &report))
        fail_msg("%s is no schema: %s", schema_text, report.text);
    enum json_schema_verdict verdict = json_schema_validate(schema, value, &report);
    assert_int_equal(verdict, *wanted ? SCHEMA_DIFFERS : SCHEMA_FITS);
    assert_string_equal(report.text, wanted);
}

static void the_place_of_an_error_is_told(void **state)
{
    const char *order =
        "{\"type\":\"object\",\"properties\":{\"items\":{\"type\":\"array\",\"items\":{\"$ref\":"
        "\"#/$defs/item\"}},\"by\":{\"type\":[\"string\",\"null\"]}},\"required\":[\"items\"],"
        "\"additionalProperties\":false,\"$defs\":{\"item\":{\"type\":\"object\",\"properties\":{"
        "\"price\":{\"type\":\"number\"},\"a b\":{\"enum\":[\"x\",2]}},\"required\":[\"price\"]}}}";
    expect(order, "{\"items\":[{\"price\":1},{\"price\":2.5}],\"by\":null}", "");
    expect(order, "{\"items\":[{\"price\":1},{\"price\":2},{\"price\":\"3\"}]}",
           "$.items[2].price: must be a number");
    expect(order, "{\"items\":[{}],\"by\":1}",
           "$.items[0]: the member \"price\" is missing; $.by: must be string or null");
    expect(order, "{\"items\":[{\"price\":1,\"a b\":3}],\"more\":1}",
           "$.items[0][\"a b\"]: must be one of [\"x\",2]; $: must not have the member \"more\"");
    expect(order, "[]", "$: must be an object");
    expect("{\"minLength\":2,\"maxLength\":3}", "\"\xe9\x9b\xaa\"",
           "$: must have at least 2 characters, and has 1");
}

static void of_alternatives_the_nearest_tells_what_is_wrong(void **state)
{
    const char *shape =
        "{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"object\",\"properties\":{\"kind\":{\"const\":"
        "\"circle\"},\"r\":{\"type\":\"number\"}},\"required\":[\"kind\",\"r\"]},{\"type\":"
        "\"object\",\"properties\":{\"kind\":{\"const\":\"box\"},\"w\":{\"type\":\"number\"}},"
        "\"required\":[\"kind\",\"w\"]}]}";
    expect(shape, "{\"kind\":\"box\",\"w\":1}", "");
    expect(shape, "null", "");
    expect(shape, "{\"kind\":\"box\"}", "$: the member \"w\" is missing");
    expect(shape, "{\"kind\":\"tree\"}", "$: must fit one of the alternatives of anyOf");
    expect("{\"oneOf\":[{\"minimum\":2},{\"minimum\":3}]}", "4",
           "$: must fit only one of the alternatives of oneOf, and fits 2");
}

static void the_words_of_newer_drafts_count(void **state)
{
    const char *pair = "{\"prefixItems\":[{\"type\":\"string\"}],\"items\":false}";
    expect(pair, "[\"a\"]", "");
    expect(pair, "[1]", "$[0]: must be a string");
    expect(pair, "[\"a\",1]", "$[1]: must not be there");
    expect("{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\":1}",
           "$: the member \"b\" is missing");
    expect("{\"contains\":{\"const\":1},\"maxContains\":1}", "[1,1]",
           "$: must have at most 1 elements of the kind of \"contains\"");
    expect("{\"$ref\":\"#/$defs/a~1b%20c\",\"minimum\":5,\"$defs\":{\"a/b c\":{\"type\":"
           "\"number\"}}}",
           "4", "$: must be at least 5");
    expect("{\"properties\":{\"next\":{\"$ref\":\"#\"}},\"required\":[\"v\"]}",
           "{\"v\":1,\"next\":{\"v\":2,\"next\":{}}}", "$.next.next: the member \"v\" is missing");
}

static void unknown_words_and_expressions_say_nothing(void **state)
{
    expect("{\"pattern\":\"^(a+)+$\",\"format\":\"email\",\"x-y\":1,\"title\":2}", "\"aaaa!\"", "");
    expect("{\"patternProperties\":{\"^x\":{\"type\":\"string\"}},\"additionalProperties\":false}",
           "{\"x1\":1}", "");
}

static void refuse(const char *schema, const char *wanted)
{
    struct json_schema_report report;
    assert_int_equal(json_schema_check(parsed(0, span_str(schema)), &report), -1);
    assert_string_equal(report.text, wanted);
}

static void what_is_no_schema_is_told(void **state)
{
    refuse("[]", "$: must be a schema: an object, true or false");
    refuse("{\"properties\":{\"a\":{\"type\":\"text\"}}}",
           "$.properties.a.type: must be string, number, integer, boolean, object, array or null, "
           "or a list of these");
    refuse("{\"required\":\"a\"}", "$.required: must be a list of names");
    refuse("{\"anyOf\":[{},1]}", "$.anyOf[1]: must be a schema: an object, true or false");
    refuse("{\"minLength\":-1}", "$.minLength: must be an integer, 0 or more");
    refuse("{\"multipleOf\":0}", "$.multipleOf: must be a number above 0");
    refuse("{\"$ref\":\"#/$defs/a\"}", "$.$ref: \"#/$defs/a\" is not in the schema");
}

static void references_never_leave_the_document(void **state)
{
    refuse("{\"items\":{\"$ref\":\"file:///etc/passwd\"}}",
           "$.items.$ref: \"file:///etc/passwd\": only references within the schema (\"#/…\") are "
           "followed");
    refuse("{\"$ref\":\"other.json#/a\"}",
           "$.$ref: \"other.json#/a\": only references within the schema (\"#/…\") are followed");
    refuse("{\"$ref\":\"#\"}", "$.$ref: \"#\" refers to itself");
    refuse("{\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/a\"}}}",
           "$.$defs.a.$ref: \"#/$defs/b\" refers to itself");
}

/* ---- hostile ---- */

static void repeat(struct buffer *out, int n, const char *text)
{
    while (n--)
        buffer_append(out, span_str(text));
}

/* The verdict, in time: `values` and `schemas` are built by the caller. */
static enum json_schema_verdict judge(struct buffer *schema_text, struct buffer *value_text)
{
    struct json_schema_report report;
    struct timespec from, to;
    struct json schema = parsed(0, buffer_span(schema_text));
    struct json value = parsed(1, buffer_span(value_text));
    buffer_free(schema_text);
    buffer_free(value_text);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    json_schema_check(schema, &report);
    enum json_schema_verdict verdict = json_schema_validate(schema, value, &report);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    if (s > 8) /* with sanitizers; 0.1 to 0.3 s without */
        fail_msg("it took %.1f s", s);
    return verdict;
}

static struct buffer text_of(const char *text)
{
    struct buffer b;
    buffer_init(&b, TEXT_MAX);
    buffer_append(&b, span_str(text));
    return b;
}

static void circles_end(void **state)
{
    struct buffer schema = text_of("{\"$ref\":\"#\"}"), value = text_of("{\"a\":1}");
    assert_int_equal(judge(&schema, &value), SCHEMA_UNDECIDED);
    schema = text_of("{\"allOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"}]}");
    value = text_of("1");
    assert_int_equal(judge(&schema, &value), SCHEMA_UNDECIDED);
    schema = text_of("{\"not\":{\"anyOf\":[{\"$ref\":\"#\"},{\"if\":{\"$ref\":\"#\"}}]}}");
    value = text_of("1");
    assert_int_equal(judge(&schema, &value), SCHEMA_UNDECIDED);
}

static void the_deepest_document_is_walked(void **state)
{
    struct buffer schema = text_of("{\"items\":{\"$ref\":\"#\"},\"type\":\"array\"}"),
                  value = text_of("");
    repeat(&value, 1020, "[");
    repeat(&value, 1020, "]");
    assert_int_equal(judge(&schema, &value), SCHEMA_FITS);
    value = text_of("");
    repeat(&value, 1020, "[");
    buffer_char(&value, '1');
    repeat(&value, 1020, "]");
    schema = text_of("{\"items\":{\"$ref\":\"#\"},\"type\":\"array\"}");
    assert_int_equal(judge(&schema, &value), SCHEMA_DIFFERS);
    schema = text_of("");
    repeat(&schema, 500, "{\"items\":");
    buffer_append(&schema, SPAN("true"));
    repeat(&schema, 500, "}");
    value = text_of("");
    repeat(&value, 600, "[");
    repeat(&value, 600, "]");
    assert_int_equal(judge(&schema, &value), SCHEMA_FITS);
}

static void doubling_alternatives_end(void **state)
{
    static const char *const words[] = {"anyOf", "oneOf", "allOf"};
    for (size_t w = 0; w < 3; w++) {
        struct buffer schema = text_of("{\"$defs\":{\"d0\":{\"type\":\"string\"}"),
                      value = text_of("1");
        for (int i = 1; i <= 40; i++)
            buffer_printf(
                &schema,
                ",\"d%d\":{\"%s\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]}", i,
                words[w], i - 1, i - 1);
        buffer_append(&schema, SPAN("},\"$ref\":\"#/$defs/d40\"}"));
        assert_int_equal(judge(&schema, &value), SCHEMA_UNDECIDED);
    }
}

static void nested_alternatives_do_not_double_for_their_errors(void **state)
{
    struct json_schema_report report;
    struct buffer schema = text_of("");
    repeat(&schema, 200, "{\"oneOf\":[{\"anyOf\":[");
    buffer_append(&schema, SPAN("{\"minimum\":3}"));
    repeat(&schema, 200, "]}]}");
    struct json root = parsed(0, buffer_span(&schema));
    buffer_free(&schema);
    assert_int_equal(json_schema_validate(root, parsed(1, SPAN("1")), &report), SCHEMA_DIFFERS);
    assert_string_equal(report.text, "$: must be at least 3");
}

static void long_lists_end(void **state)
{
    struct buffer schema = text_of("{\"uniqueItems\":true}"), value = text_of("[0");
    for (int i = 1; i < 200000; i++)
        buffer_printf(&value, ",%d", i);
    buffer_char(&value, ']');
    assert_int_equal(judge(&schema, &value), SCHEMA_UNDECIDED);
    schema = text_of("{\"properties\":{\"a\":{}");
    value = text_of("{\"a\":1");
    for (int i = 0; i < 50000; i++) {
        buffer_printf(&schema, ",\"k%d\":{}", i);
        buffer_printf(&value, ",\"k%d\":1", i);
    }
    buffer_append(&schema, SPAN("}}"));
    buffer_append(&value, SPAN("}"));
    assert_int_equal(judge(&schema, &value), SCHEMA_UNDECIDED);
    schema = text_of("{\"anyOf\":[{\"minLength\":1e9}"); /* a long text looked at again and again */
    value = text_of("\"");
    repeat(&schema, 100000, ",{\"minLength\":1e9}");
    buffer_append(&schema, SPAN("]}"));
    repeat(&value, 100000, "0123456789");
    buffer_char(&value, '"');
    assert_int_equal(judge(&schema, &value), SCHEMA_UNDECIDED);
}

static void a_report_is_bounded_and_whole_characters(void **state)
{
    struct json_schema_report report;
    struct buffer value = text_of("{");
    for (int i = 0; i < 3000; i++)
        buffer_printf(&value, "%s\"\xe9\x9b\xaa\xe9\x9b\xaa%0400d\xe9\x9b\xaa\":1", i ? "," : "",
                      i);
    buffer_char(&value, '}');
    struct json root = parsed(1, buffer_span(&value));
    buffer_free(&value);
    struct json schema = parsed(0, SPAN("{\"additionalProperties\":{\"type\":\"string\"}}"));
    assert_int_equal(json_schema_validate(schema, root, &report), SCHEMA_DIFFERS);
    assert_int_equal(report.errors, 3000);
    assert_true(report.n < sizeof report.text && json_valid_utf8(span_of(report.text, report.n)));
    schema = parsed(0, SPAN("{\"additionalProperties\":false}"));
    assert_int_equal(json_schema_validate(schema, root, &report), SCHEMA_DIFFERS);
    assert_true(report.n < sizeof report.text && json_valid_utf8(span_of(report.text, report.n)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_public_suite_passes),
        cmocka_unit_test(the_place_of_an_error_is_told),
        cmocka_unit_test(of_alternatives_the_nearest_tells_what_is_wrong),
        cmocka_unit_test(the_words_of_newer_drafts_count),
        cmocka_unit_test(unknown_words_and_expressions_say_nothing),
        cmocka_unit_test(what_is_no_schema_is_told),
        cmocka_unit_test(references_never_leave_the_document),
        cmocka_unit_test(circles_end),
        cmocka_unit_test(the_deepest_document_is_walked),
        cmocka_unit_test(doubling_alternatives_end),
        cmocka_unit_test(nested_alternatives_do_not_double_for_their_errors),
        cmocka_unit_test(long_lists_end),
        cmocka_unit_test(a_report_is_bounded_and_whole_characters),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
