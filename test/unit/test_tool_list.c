/*
 * test/unit/test_tool_list.c - a request's tools: names, properties, types, and what a name means.
 */
#include "gateway/tool_list.h"
#include "test/unit/support/cmocka_all.h"

#include <time.h>

static struct arena arena;
static struct json_parser *parser;

static int read_list(const char *raw, struct tool_list *list, struct fail *fail)
{
    fail_clear(fail);
    return tool_list_read(&arena, parser, span_str(raw), list, fail);
}

static void one_with(const char *parameters, struct tool_list *list)
{
    struct buffer raw;
    struct fail fail;
    buffer_init(&raw, 1 << 16);
    buffer_printf(&raw, "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":%s}}]",
                  parameters);
    struct span kept = arena_dup(&arena, buffer_span(&raw)); /* spans of the list are of it */
    buffer_free(&raw);
    assert_int_equal(tool_list_read(&arena, parser, kept, list, &fail), 0);
    assert_int_equal(list->n, 1);
}

static unsigned types_of(const char *schema)
{
    struct tool_list list;
    struct buffer parameters;
    buffer_init(&parameters, 1 << 16);
    buffer_printf(&parameters,
                  "{\"type\":\"object\",\"properties\":{\"p\":%s},\"$defs\":{\"D\":{\"type\":"
                  "\"boolean\"},\"R\":{\"$ref\":\"#/$defs/R\"}}}",
                  schema);
    buffer_char(&parameters, 0);
    one_with(parameters.p, &list);
    buffer_free(&parameters);
    return tool_find_property(&list.tools[0], SPAN("p"))->types;
}

static void names_descriptions_and_schemas(void **state)
{
    struct tool_list list;
    struct fail fail;
    const char *raw =
        "[{\"type\":\"function\",\"function\":{\"name\":\"a\\u0062\",\"description\":\"x\\ny\","
        "\"parameters\": {\"type\":\"object\", \"properties\":{\"q\": {\"type\":\"string\"},"
        "\"\\u0072\":{}},\"required\":[\"r\"],\"additionalProperties\":false}}},"
        "{\"type\":\"function\",\"function\":{\"name\":\"c\",\"parameters\":null}}]";
    assert_int_equal(read_list(raw, &list, &fail), 0);
    assert_int_equal(list.n, 2);
    assert_true(span_eq(list.tools[0].name, SPAN("ab")));
    assert_true(span_eq(list.tools[0].description, SPAN("x\ny")));
    assert_true(span_starts(list.tools[0].parameters, SPAN("{\"type\":\"object\", ")));
    assert_false(list.tools[0].takes_others);
    assert_int_equal(list.tools[0].n_properties, 2);
    assert_false(list.tools[0].properties[0].required);
    assert_true(list.tools[0].properties[1].required);
    assert_true(span_eq(list.tools[0].properties[0].schema, SPAN("{\"type\":\"string\"}")));
    assert_null(list.tools[1].parameters.p);
    assert_true(list.tools[1].takes_others);
    assert_int_equal(list.tools[1].description.n, 0);
    assert_non_null(list.tools[1].description.p);
}

static void other_tools_than_functions_are_refused(void **state)
{
    static const char *const others[] = {"{\"type\":\"web_search\"}",
                                         "{\"type\":\"custom\",\"custom\":{\"name\":\"f\"}}",
                                         "{\"type\":\"function\"}", "{\"google_search\":{}}"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char raw[200];
        struct tool_list list;
        struct fail fail = {0};
        snprintf(raw, sizeof raw, "[{\"function\":{\"name\":\"a\"}},%s]", others[i]);
        assert_int_equal(read_list(raw, &list, &fail), -1);
        assert_int_equal(fail.kind, FAIL_UNSUPPORTED);
        assert_string_equal(fail.param, "tools[1]");
    }
}

static void what_a_schema_allows(void **state)
{
    static const struct {
        const char *schema;
        unsigned types;
    } rows[] = {
        {"{\"type\":\"string\"}", TOOL_TYPE_STRING},
        {"{\"type\":\"number\"}", TOOL_TYPE_NUMBER | TOOL_TYPE_INTEGER},
        {"{\"type\":[\"integer\",\"null\"]}", TOOL_TYPE_INTEGER | TOOL_TYPE_NULL},
        {"{\"type\":\"array\",\"nullable\":true}", TOOL_TYPE_ARRAY | TOOL_TYPE_NULL},
        {"{\"enum\":[\"a\",1]}", TOOL_TYPE_STRING | TOOL_TYPE_INTEGER},
        {"{\"const\":true}", TOOL_TYPE_BOOL},
        {"{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}",
         TOOL_TYPE_STRING | TOOL_TYPE_NULL},
        {"{\"allOf\":[{\"$ref\":\"#/$defs/D\"}]}", TOOL_TYPE_BOOL},
        {"{\"$ref\":\"#/$defs/R\"}", TOOL_TYPE_ANY}, /* refers to itself */
        {"{\"$ref\":\"http://x\"}", TOOL_TYPE_ANY},
        {"{\"properties\":{}}", TOOL_TYPE_OBJECT},
        {"{\"type\":\"thing\"}", TOOL_TYPE_ANY},
        {"{}", TOOL_TYPE_ANY},
        {"true", TOOL_TYPE_ANY},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (types_of(rows[i].schema) != rows[i].types)
            fail_msg("%s allows %x, not %x", rows[i].schema, types_of(rows[i].schema),
                     rows[i].types);
    }
}

static void what_is_wrong_is_named(void **state)
{
    struct tool_list list;
    struct fail fail;
    assert_int_equal(read_list("[{\"function\":{\"name\":\"\"}}]", &list, &fail), -1);
    assert_int_equal(fail.kind, FAIL_INVALID_VALUE);
    assert_string_equal(fail.param, "tools[0].function.name");
    assert_int_equal(read_list("[{\"function\":{\"name\":\"a\"}},{\"function\":{\"name\":\"a\"}}]",
                               &list, &fail),
                     -1);
    assert_string_equal(fail.param, "tools[1].function.name");
    assert_int_equal(read_list("[{\"function\":{\"name\":\"a\",\"parameters\":[]}}]", &list, &fail),
                     -1);
    assert_string_equal(fail.param, "tools[0].function.parameters");
}

static void what_a_name_means(void **state)
{
    static const struct {
        const char *name, *tool;
    } rows[] = {
        {"get_weather", "get_weather"},
        {"Get-Weather", "get_weather"},
        {" get_weather ", "get_weather"},
        {"functions.get_weather", "get_weather"},
        {"functions.get_weather:12", "get_weather"},
        {"default_api.get_weather", "get_weather"},
        {"get_weather.call", "get_weather"},
        {"a.b", "a.b"},
        {"b", NULL},
        {"Read", "Read"},
        {"READ", NULL}, /* two tools are like it */
        {"getWeather", NULL},
        {"weather", NULL},
        {"", NULL},
        {":0", NULL},
        {".call", NULL},
    };
    struct tool_list list;
    struct fail fail;
    const char *raw =
        "[{\"function\":{\"name\":\"get_weather\"}},{\"function\":{\"name\":\"a.b\"}},"
        "{\"function\":{\"name\":\"Read\"}},{\"function\":{\"name\":\"read\"}}]";
    assert_int_equal(read_list(raw, &list, &fail), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct tool *tool = tool_list_find_like(&list, span_str(rows[i].name));
        bool right = rows[i].tool ? tool && span_eq(tool->name, span_str(rows[i].tool)) : !tool;
        if (!right)
            fail_msg("\"%s\" means \"%.*s\"", rows[i].name,
                     SPAN_ARGS(tool ? tool->name : SPAN("")));
    }
}

/* ---- lists that are made to take long ---- */

enum { SECONDS = 4 /* of the processor's; what is not linear takes minutes */ };

static int read_in_time(const struct buffer *raw, struct tool_list *list, struct fail *fail)
{
    clock_t before = clock();
    int error = tool_list_read(&arena, parser, buffer_span(raw), list, fail);
    assert_true(clock() - before < (clock_t)SECONDS * CLOCKS_PER_SEC);
    return error;
}

/* {"function": {"name": "f", "parameters": {PARAMETERS}}}, whose insides are written between these
 * two. */
static void begin_function(struct buffer *raw)
{
    buffer_init(raw, 1 << 26);
    buffer_printf(raw, "[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{");
}

static void end_function(struct buffer *raw) { buffer_printf(raw, "}}}]"); }

static void schemas_that_lead_back_to_themselves_cost_what_others_do(void **state)
{
    struct tool_list list;
    struct fail fail;
    struct buffer raw;
    begin_function(&raw);
    buffer_printf(&raw, "\"p\":{\"type\":\"string\"}");
    for (int i = 0; i < 500; i++)
        buffer_printf(&raw, ",\"p%d\":{\"$ref\":\"#/$defs/a\"}", i);
    buffer_printf(&raw, "},\"$defs\":{\"a\":{\"anyOf\":[{\"type\":\"string\"}");
    for (int i = 0; i < 2000; i++)
        buffer_printf(&raw, ",{\"$ref\":\"#/$defs/a\"}");
    buffer_printf(&raw, "]}}");
    end_function(&raw);
    assert_int_equal(read_in_time(&raw, &list, &fail), 0);
    assert_int_equal(list.tools[0].properties[0].types, TOOL_TYPE_STRING);
    assert_int_equal(list.tools[0].properties[1].types, TOOL_TYPE_ANY);
    buffer_free(&raw);
}

static void long_lists_that_many_refer_to_cost_what_others_do(void **state)
{
    struct tool_list list;
    struct fail fail;
    struct buffer raw;
    begin_function(&raw);
    for (int i = 0; i < 1000; i++)
        buffer_printf(&raw, "%s\"p%d\":{\"$ref\":\"#/$defs/a\"}", i ? "," : "", i);
    buffer_printf(&raw, "},\"$defs\":{\"a\":{\"enum\":[1");
    for (int i = 0; i < 400000; i++)
        buffer_printf(&raw, ",1");
    buffer_printf(&raw, "]}}");
    end_function(&raw);
    assert_int_equal(read_in_time(&raw, &list, &fail), 0);
    assert_int_equal(list.tools[0].properties[0].types, TOOL_TYPE_INTEGER);
    assert_int_equal(list.tools[0].properties[999].types, TOOL_TYPE_ANY);
    buffer_free(&raw);
}

static void many_required_names_of_many_properties(void **state)
{
    enum { N = 60000 };
    struct tool_list list;
    struct fail fail;
    struct buffer raw;
    begin_function(&raw);
    for (int i = 0; i < N; i++)
        buffer_printf(&raw, "%s\"p%d\":{}", i ? "," : "", i);
    buffer_printf(&raw, "},\"required\":[null");
    for (int i = N; i > 1; i--)
        buffer_printf(&raw, ",\"p%d\"", i % 2 ? i : i + 1);
    buffer_printf(&raw, "]");
    end_function(&raw);
    assert_int_equal(read_in_time(&raw, &list, &fail), 0);
    assert_int_equal(list.tools[0].n_properties, TOOL_PROPERTIES_MAX);
    assert_false(list.tools[0].properties[2].required);
    assert_true(list.tools[0].properties[3].required);
    assert_true(list.tools[0].properties[1023].required);
    buffer_free(&raw);
}

static void more_functions_than_any_model_takes_are_not_read(void **state)
{
    struct tool_list list;
    struct fail fail;
    struct buffer raw;
    buffer_init(&raw, 1 << 26);
    for (int i = 0; i < 60000; i++)
        buffer_printf(&raw, "%s{\"function\":{\"name\":\"f%d\"}}", i ? "," : "[", i);
    buffer_printf(&raw, "]");
    assert_int_equal(read_in_time(&raw, &list, &fail), -1);
    assert_int_equal(fail.kind, FAIL_INVALID_VALUE);
    assert_string_equal(fail.param, "tools");
    assert_int_equal(list.n, TOOLS_MAX);
    buffer_free(&raw);
}

static int setup(void **state)
{
    arena_init(&arena);
    parser = json_parser_create(1 << 24);
    return !parser;
}

static int teardown(void **state)
{
    json_parser_destroy(parser);
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_descriptions_and_schemas),
        cmocka_unit_test(other_tools_than_functions_are_refused),
        cmocka_unit_test(what_a_schema_allows),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(what_a_name_means),
        cmocka_unit_test(schemas_that_lead_back_to_themselves_cost_what_others_do),
        cmocka_unit_test(long_lists_that_many_refer_to_cost_what_others_do),
        cmocka_unit_test(many_required_names_of_many_properties),
        cmocka_unit_test(more_functions_than_any_model_takes_are_not_read),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
