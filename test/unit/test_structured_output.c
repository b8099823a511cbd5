/*
 * test/unit/test_structured_output.c - `response_format` without the site's help: the turn that is
 * sent instead, the JSON in a stream at every split, and in whole answers.
 */
#include "base/json_raw.h"
#include "gateway/structured_answer.h"
#include "gateway/structured_filter.h"
#include "test/unit/support/cmocka_all.h"

static struct arena arena;
static struct json_parser *json;

static int set_up(void **state)
{
    arena_init(&arena);
    json = json_parser_create(1 << 20);
    return json ? 0 : -1;
}

static int tear_down(void **state)
{
    json_parser_destroy(json);
    arena_free(&arena);
    return 0;
}

/* ---- the turn ---- */

#define PERSON                                                                                     \
    "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"person\",\"strict\":true,\"schema\":{ " \
    "\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\"}, \"age\": "           \
    "{\"type\":\"integer\"}}, \"required\": [\"name\", \"age\"]}}}"
#define PERSON_SCHEMA                                                                              \
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":"       \
    "\"integer\"}},\"required\":[\"name\",\"age\"]}"

static struct structured_wish wish_of(const char *format)
{
    struct structured_wish wish;
    struct fail fail;
    struct turn turn = {.response_format_raw = arena_dup(&arena, span_str(format))};
    if (structured_wish_read(&arena, json, &turn, &wish, &fail))
        fail_msg("%s", fail.message);
    return wish;
}

static void refuse(const char *format, const char *param, const char *message)
{
    struct structured_wish wish;
    struct fail fail;
    struct turn turn = {.response_format_raw = arena_dup(&arena, span_str(format))};
    assert_int_equal(structured_wish_read(&arena, json, &turn, &wish, &fail), -1);
    assert_int_equal(fail.kind, FAIL_INVALID_VALUE);
    assert_string_equal(fail.param, param);
    assert_string_equal(fail.message, message);
}

static void a_wish_is_read(void **state)
{
    struct structured_wish wish = wish_of(PERSON);
    assert_true(span_eq(wish.schema, SPAN(PERSON_SCHEMA)));
    assert_true(span_eq(wish.name, SPAN("person")));
    assert_false(wish.may_be_array || wish.may_be_scalar);
    wish = wish_of("{\"type\":\"json_object\"}");
    assert_null(wish.schema.p);
    assert_false(wish.may_be_array || wish.may_be_scalar);
    wish = wish_of("{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\"}}");
    assert_null(wish.schema.p);
    wish = wish_of("{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"array\"}}}");
    assert_true(wish.may_be_array && !wish.may_be_scalar);
    wish = wish_of("{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"enum\":[1]}}}");
    assert_true(wish.may_be_array && wish.may_be_scalar);
    wish = wish_of("{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"properties\":{}}}}");
    assert_false(wish.may_be_array || wish.may_be_scalar);
}

static void what_is_no_schema_is_the_clients_mistake(void **state)
{
    refuse("{\"type\":\"json_schema\"}", "response_format.json_schema",
           "response_format.json_schema must be an object");
    refuse("{\"type\":\"json_schema\",\"json_schema\":{\"schema\":7}}",
           "response_format.json_schema.schema", "the schema must be an object");
    refuse("{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"required\":1}}}",
           "response_format.json_schema.schema",
           "the schema is no JSON Schema: $.required: must be a list of names");
}

static const struct turn *rewritten(struct turn *asked, const struct structured_wish *wish)
{
    struct fail fail;
    struct json root;
    const struct turn *turn = structured_turn(&arena, asked, wish, &fail);
    assert_non_null(turn);
    assert_null(turn->response_format_raw.p);
    assert_int_equal(json_parse(json, turn->raw, &root), 0);
    return turn;
}

#define SAYS_SCHEMA                                                                                \
    "Your answer must be one JSON object and nothing else: no words before or after it, no "       \
    "Markdown code fence, no comments. It must conform to this JSON Schema, which is called "      \
    "\"person\":\n" PERSON_SCHEMA "\nGive all members that are required, and none that the "       \
    "schema does not know. Do not repeat the schema."

static void the_instruction_has_a_message_of_its_own(void **state)
{
    const struct part part = {.kind = PART_TEXT, .text = SPAN("Who?")};
    const struct message user = {.role = ROLE_USER, .parts = &part, .n_parts = 1};
    struct structured_wish wish = wish_of(PERSON);
    struct turn asked = {
        .model = SPAN("m"),
        .n = 1,
        .messages = &user,
        .n_messages = 1,
        .raw = arena_dup(&arena, SPAN("{\"model\":\"m\",\"response_format\":{\"type\":\"x\"},\"mine"
                                      "\":[1],\"messages\":[{\"role\":\"user\",\"content\":\"Who?"
                                      "\"}],\"seed\":12345678901234567890}")),
        .response_format_raw = arena_dup(&arena, SPAN(PERSON)),
    };
    const struct turn *turn = rewritten(&asked, &wish);
    assert_int_equal(turn->n_messages, 2);
    assert_int_equal(turn->messages[0].role, ROLE_SYSTEM);
    assert_int_equal(turn->messages[0].index, -1);
    assert_true(span_eq(turn->messages[0].parts[0].text, SPAN(SAYS_SCHEMA)));
    assert_ptr_equal(turn->messages[1].parts, &part);
    struct span messages = json_raw_get(turn->raw, "messages");
    assert_true(span_starts(messages, SPAN("[{\"role\":\"system\",\"content\":\"Your answer ")));
    assert_true(span_ends(messages, SPAN(",{\"role\":\"user\",\"content\":\"Who?\"}]")));
    assert_true(span_starts(turn->raw, SPAN("{\"model\":\"m\",\"mine\":[1],\"messages\":")));
    assert_true(span_ends(turn->raw, SPAN(",\"seed\":12345678901234567890}")));
}

static void the_instruction_joins_the_systems_message(void **state)
{
    const struct part parts[] = {{.kind = PART_TEXT, .text = SPAN("Be brief.")},
                                 {.kind = PART_TEXT, .text = SPAN("Who?")}};
    const struct message list[] = {{.role = ROLE_SYSTEM, .parts = &parts[0], .n_parts = 1},
                                   {.role = ROLE_USER, .parts = &parts[1], .n_parts = 1}};
    struct structured_wish wish = wish_of("{\"type\":\"json_object\"}");
    struct turn asked = {
        .model = SPAN("m"),
        .n = 1,
        .messages = list,
        .n_messages = 2,
        .tools_wanted = true,
        .raw = arena_dup(&arena, SPAN("{\"messages\":[]}")),
        .response_format_raw = arena_dup(&arena, SPAN("{\"type\":\"json_object\"}")),
    };
    const struct turn *turn = rewritten(&asked, &wish);
    assert_int_equal(turn->n_messages, 2);
    assert_int_equal(turn->messages[0].n_parts, 2);
    assert_true(
        span_eq(turn->raw,
                SPAN("{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\\n\\nYour answer "
                     "must be one JSON object and nothing else: no words before or after it, no "
                     "Markdown code fence, no comments.\\nThis is said of your answer only: calls "
                     "of functions keep their own form.\"},{\"role\":\"user\",\"content\":\"Who?\"}"
                     "]}")));
}

/* ---- streams ---- */

static int collect(void *owner, struct span text) { return buffer_append(owner, text); }

static void stream(bool array, struct span text, const char *wanted)
{
    for (size_t a = 0; a <= text.n; a++) {
        for (size_t b = a; b <= text.n; b++) {
            struct structured_filter f = {.may_be_array = array};
            struct buffer out;
            buffer_init(&out, 1 << 20);
            structured_filter_pass(&f, span_first(text, a), collect, &out);
            structured_filter_pass(&f, span_first(span_from(text, a), b - a), collect, &out);
            structured_filter_pass(&f, span_from(text, b), collect, &out);
            structured_filter_end(&f, collect, &out);
            if (!span_eq(buffer_span(&out), span_str(wanted)))
                fail_msg("\"%.*s\" cut at %zu and %zu gives \"%.*s\"", SPAN_ARGS(text), a, b,
                         SPAN_ARGS(buffer_span(&out)));
            buffer_free(&out);
        }
    }
}

static void what_is_around_the_json_does_not_leave(void **state)
{
    const char *wanted = "{\"a\":[1,{\"b\":\"}\\\"```\"}]}";
#define INSIDE "{\"a\":[1,{\"b\":\"}\\\"```\"}]}"
    stream(false, SPAN(INSIDE), wanted);
    stream(false, SPAN("\xEF\xBB\xBF \r\n\t" INSIDE "\n\n"), wanted);
    stream(false, SPAN("```json\n" INSIDE "\n```\n"), wanted);
    stream(false, SPAN("```\n" INSIDE "\n```\nHope this helps {a}!"), wanted);
    stream(false, SPAN("~~~json5\n" INSIDE "\n~~~"), wanted);
    stream(false, SPAN("```json" INSIDE "```"), wanted);
    stream(false, SPAN("Here is the JSON:\n\n```json\n" INSIDE "\n```"), wanted);
    stream(false, SPAN("Sure [1]! It is {this}: " INSIDE " {\"a\":2}"), wanted);
    stream(false, SPAN("\xE4\xBB\xA5\xE4\xB8\x8B\xEF\xBC\x9A" INSIDE), wanted);
    stream(true, SPAN("```json\n[" INSIDE ",2]\n```"), "[{\"a\":[1,{\"b\":\"}\\\"```\"}]},2]");
}

static void other_answers_lose_nothing(void **state)
{
    stream(false, SPAN("I cannot do that."), "I cannot do that.");
    stream(false, SPAN("As {name} says: {no}."), "As {name} says: {no}.");
    stream(false, SPAN(" ```\n42\n``` "), "42");
    stream(false, SPAN("[1]"), "[1]");
    stream(false, SPAN("{\"a\":\"cut"), "{\"a\":\"cut");
    stream(false, SPAN("```json\n{\"a\":"), "{\"a\":");
    stream(false, SPAN(""), "");
    stream(false, SPAN(" \n"), "");
    char words[STRUCTURED_LEAD_MAX * 2 + 1];
    memset(words, 'x', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    memcpy(words + STRUCTURED_LEAD_MAX, "\n{\"a\":1} ", 9);
    stream(false, span_str(words), words);
}

static void json_is_never_held_back(void **state)
{
    const struct span text = SPAN("```json\n{\"a\": [true, \"x\"]}\n```");
    struct structured_filter f = {0};
    struct buffer out;
    buffer_init(&out, 1000);
    for (size_t i = 0; i < text.n; i++) {
        structured_filter_pass(&f, span_first(span_from(text, i), 1), collect, &out);
        size_t wanted = i < 8 ? 0 : i - 7;
        assert_int_equal(out.n, wanted < 18 ? wanted : 18);
    }
    buffer_free(&out);
}

static void a_long_hostile_answer_takes_linear_time(void **state)
{
    static const char *const pieces[] = {"{", "{\n", "[:{\"", "```", "\n", ": {", "\"\\"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct structured_wish wish = {0};
        struct structured_verdict verdict;
        struct structured_filter f = {0};
        struct buffer text, out, room;
        buffer_init(&text, 16 << 20);
        buffer_init(&out, 16 << 20);
        buffer_init(&room, 16 << 20);
        while (text.n < 5 << 20) {
            assert_int_equal(buffer_append(&text, span_str(pieces[i])), 0);
            structured_filter_pass(&f, span_str(pieces[i]), collect, &out);
        }
        structured_filter_end(&f, collect, &out);
        structured_pick(&wish, buffer_span(&text), false, &room, &verdict);
        assert_true(verdict.kind != STRUCTURED_VALID || verdict.mended);
        buffer_free(&text);
        buffer_free(&out);
        buffer_free(&room);
    }
}

/* ---- whole answers ---- */

static void pick(const char *format, const char *text, const char *wanted, const char *error)
{
    struct structured_wish wish = wish_of(format);
    struct structured_verdict verdict, again;
    struct buffer room;
    buffer_init(&room, 1 << 20);
    struct span got = structured_pick(&wish, span_str(text), false, &room, &verdict);
    if (!span_eq(got, span_str(wanted)))
        fail_msg("of \"%s\": \"%.*s\"", text, SPAN_ARGS(got));
    assert_string_equal(verdict.error.text, error);
    structured_judge(&wish, got, &again);
    assert_int_equal(again.kind, verdict.kind);
    buffer_free(&room);
}

static void the_json_of_a_whole_answer_is_found(void **state)
{
#define ANNA "{\"name\": \"Anna\", \"age\": 7}"
    const char *object = "{\"type\":\"json_object\"}";
    pick(PERSON, ANNA, ANNA, "");
    pick(PERSON, " ```json\n" ANNA "\n``` ", ANNA, "");
    pick(PERSON, "Here you are:\n" ANNA "\nAnything else?", ANNA, "");
    pick(PERSON, "A draft:\n{\"name\": \"Anna\"}\nBetter:\n```json\n" ANNA "\n```", ANNA, "");
    pick(PERSON, "A draft:\n{\"name\":1,\"age\":2}\nand\n{\"age\":1}", "{\"name\":1,\"age\":2}",
         "$.name: must be a string");
    pick(PERSON, "I cannot say.", "I cannot say.", "it is no JSON");
    pick(PERSON, "", "", "it is empty");
    pick(object, "{}", "{}", "");
    pick(object, "[1]", "[1]", "$: must be an object");
    pick("{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"integer\"}}}",
         "```\n42\n```", "42", "");
}

static void what_is_nearly_json_is_mended_when_that_helps(void **state)
{
    pick(PERSON, "{'name': 'Anna', age: 7,}", "{\"name\":\"Anna\",\"age\":7}", "");
    pick(PERSON, "```json\n{\"name\": \"Anna\", // who\n\"age\": 7\n```",
         "{\"name\":\"Anna\",\"age\":7}", "");
    pick(PERSON, "{'name': 'Anna'}", "{'name': 'Anna'}", "it is no JSON");
    pick(PERSON, "{\"name\": +}", "{\"name\": +}", "it is no JSON"); /* a sign alone */
    pick("{\"type\":\"json_object\"}", "As {name} says.", "As {name} says.", "it is no JSON");
    struct structured_wish wish = wish_of("{\"type\":\"json_object\"}");
    struct structured_verdict verdict;
    struct buffer room;
    buffer_init(&room, 1000);
    structured_pick(&wish, SPAN("{\"a\": [1, 2"), true, &room, &verdict);
    assert_int_equal(verdict.kind, STRUCTURED_INVALID);
    buffer_clear(&room);
    structured_pick(&wish, SPAN("{\"a\": [1, 2"), false, &room, &verdict);
    assert_true(verdict.kind == STRUCTURED_VALID && verdict.mended);
    buffer_free(&room);
}

static void what_cannot_be_told_is_not_called_wrong(void **state)
{
    struct structured_wish wish = {0};
    struct structured_verdict verdict;
    struct buffer text;
    buffer_init(&text, 16 << 20);
    for (int i = 0; i < 10000; i++)
        buffer_append(&text, SPAN("{\"a\":"));
    buffer_char(&text, '1');
    for (int i = 0; i < 10000; i++)
        buffer_char(&text, '}');
    structured_judge(&wish, buffer_span(&text), &verdict);
    assert_int_equal(verdict.kind, STRUCTURED_UNCHECKED);
    buffer_free(&text);
    structured_judge(&wish, SPAN("{\"n\":1234567890123456789012345}"), &verdict);
    assert_int_equal(verdict.kind, STRUCTURED_UNCHECKED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wish_is_read),
        cmocka_unit_test(what_is_no_schema_is_the_clients_mistake),
        cmocka_unit_test(the_instruction_has_a_message_of_its_own),
        cmocka_unit_test(the_instruction_joins_the_systems_message),
        cmocka_unit_test(what_is_around_the_json_does_not_leave),
        cmocka_unit_test(other_answers_lose_nothing),
        cmocka_unit_test(json_is_never_held_back),
        cmocka_unit_test(a_long_hostile_answer_takes_linear_time),
        cmocka_unit_test(the_json_of_a_whole_answer_is_found),
        cmocka_unit_test(what_is_nearly_json_is_mended_when_that_helps),
        cmocka_unit_test(what_cannot_be_told_is_not_called_wrong),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
