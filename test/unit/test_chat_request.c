/*
 * test/unit/test_chat_request.c - what clients send becomes a turn, or a refusal that names the
 * field (clients.md §1.3).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/chat_request.h"
#include "test/unit/support/fixture.h"

struct parsed {
    struct arena arena;
    struct json_parser *json;
    struct span body;
    struct turn turn;
    struct fail fail;
    int result;
};

static void parse_bytes(struct parsed *p, struct span text)
{
    *p = (struct parsed){0};
    arena_init(&p->arena);
    p->json = json_parser_create(1 << 24);
    assert_non_null(p->json);
    p->body = arena_dup(&p->arena, text);
    p->result =
        chat_request_parse(p->json, &p->arena, (char *)p->body.p, p->body.n, &p->turn, &p->fail);
}

static void parse(struct parsed *p, const char *text) { parse_bytes(p, span_str(text)); }

static void done(struct parsed *p)
{
    json_parser_destroy(p->json);
    arena_free(&p->arena);
}

#define assert_span(value, literal)                                                                \
    do {                                                                                           \
        struct span value_ = (value);                                                              \
        assert_int_equal(value_.n, sizeof(literal) - 1);                                           \
        assert_memory_equal(value_.p, literal, sizeof(literal) - 1);                               \
    } while (0)

#define USER_HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void plain_request(void **state)
{
    struct parsed p;
    parse(&p, "{\"model\":\"m\"," USER_HI "}");
    assert_int_equal(p.result, 0);
    assert_span(p.turn.model, "m");
    assert_int_equal(p.turn.n_messages, 1);
    assert_int_equal(p.turn.messages[0].role, ROLE_USER);
    assert_span(p.turn.messages[0].parts[0].text, "hi");
    assert_false(p.turn.stream);
    assert_int_equal(p.turn.n, 1);
    assert_false(p.turn.has_temperature);
    assert_int_equal(p.turn.reasoning, REASONING_UNSET);
    done(&p);
}

/* Q2: null means "not given", everywhere. */
static void nulls_count_as_absent(void **state)
{
    struct parsed p;
    parse(
        &p,
        "{\"model\":\"m\",\"stream\":null,\"stream_options\":null,\"temperature\":null,\"n\":null,"
        "\"max_tokens\":null,\"stop\":null,\"tools\":null,\"tool_choice\":null,\"response_format\":"
        "null,"
        "\"reasoning_effort\":null,\"logprobs\":null,\"top_p\":null,\"seed\":null,"
        "\"messages\":[{\"role\":\"assistant\",\"content\":null,\"name\":null,\"tool_calls\":null},"
        "{\"role\":\"user\",\"content\":\"\"}]}");
    assert_int_equal(p.result, 0);
    assert_int_equal(p.turn.messages[0].n_parts, 0);
    assert_int_equal(p.turn.messages[1].n_parts, 0);
    assert_false(p.turn.tools_wanted);
    done(&p);
}

static void unknown_fields_are_left_alone(void **state)
{
    struct parsed p;
    parse(&p,
          "{\"model\":\"m\",\"top_k\":40,\"extra_body\":{\"x\":[1]},\"id\":18446744073709551615,"
          "\"messages\":[{\"role\":\"user\",\"content\":\"hi\",\"cache_control\":{\"type\":\"e\"},"
          "\"annotations\":[]}]}");
    assert_int_equal(p.result, 0);
    assert_true(span_find(p.turn.raw, SPAN("18446744073709551615")) > 0);
    done(&p);
}

static void strings_are_decoded(void **state)
{
    struct parsed p;
    parse(&p, "{\"model\":\"\\u006d\",\"messages\":[{\"role\":\"user\",\"content\":\"a\\n\\\"b\\\" "
              "\\ud83d\\ude00 \\u0000!\"}]}");
    assert_int_equal(p.result, 0);
    assert_span(p.turn.model, "m");
    assert_span(p.turn.messages[0].parts[0].text, "a\n\"b\" \xF0\x9F\x98\x80 \0!");
    done(&p);
}

/* H18: half an emoji is valid JSON: it is replaced, never a failure. */
static void lone_surrogates_are_replaced(void **state)
{
    struct parsed p;
    parse(&p,
          "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\\ud83d y\\ude00\"}]}");
    assert_int_equal(p.result, 0);
    assert_span(p.turn.messages[0].parts[0].text, "x\xEF\xBF\xBD y\xEF\xBF\xBD");
    done(&p);
}

static void roles(void **state)
{
    static const struct {
        const char *name;
        enum role role;
    } rows[] = {{"system", ROLE_SYSTEM},       {"developer", ROLE_SYSTEM}, {"user", ROLE_USER},
                {"assistant", ROLE_ASSISTANT}, {"tool", ROLE_TOOL},        {"function", ROLE_TOOL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct parsed p;
        char body[200];
        snprintf(body, sizeof body,
                 "{\"model\":\"m\",\"messages\":[{\"role\":\"%s\",\"content\":\"x\"}]}",
                 rows[i].name);
        parse(&p, body);
        assert_int_equal(p.result, 0);
        assert_int_equal(p.turn.messages[0].role, rows[i].role);
        done(&p);
    }
}

static void parts_of_every_kind(void **state)
{
    struct parsed p;
    parse(&p, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":["
              "{\"type\":\"text\",\"text\":\"look\"},"
              "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/"
              "png;base64,AAAA\",\"detail\":\"low\"}},"
              "{\"type\":\"image_url\",\"image_url\":\"https://x.example/a.png\"},"
              "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"BBBB\",\"format\":\"wav\"}},"
              "{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":\"data:"
              "application/pdf;base64,CCCC\"}},"
              "{\"type\":\"refusal\",\"refusal\":\"no\"}]}]}");
    assert_int_equal(p.result, 0);
    const struct part *parts = p.turn.messages[0].parts;
    assert_int_equal(p.turn.messages[0].n_parts, 6);
    assert_int_equal(parts[1].kind, PART_IMAGE);
    assert_span(parts[1].mime, "image/png");
    assert_span(parts[1].base64, "AAAA");
    assert_int_equal(parts[1].index, 1);
    assert_null(parts[2].base64.p);
    assert_span(parts[2].url, "https://x.example/a.png");
    assert_span(parts[3].base64, "BBBB");
    assert_span(parts[4].filename, "a.pdf");
    assert_span(parts[4].base64, "CCCC");
    assert_span(parts[5].text, "no");
    assert_true(p.turn.has_images && p.turn.has_audio && p.turn.has_files && !p.turn.has_video);
    done(&p);
}

/* A picture of several MB must not be copied: the span points into the body. */
static void large_text_is_not_copied(void **state)
{
    struct parsed p;
    parse(&p, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_"
              "url\",\"image_url\":"
              "{\"url\":\"data:image/png;base64,QUFB\"}}]}]}");
    struct span data = p.turn.messages[0].parts[0].base64;
    assert_true(data.p > p.body.p && data.p < p.body.p + p.body.n);
    done(&p);
}

static void tool_history(void **state)
{
    struct parsed p;
    parse(
        &p,
        "{\"model\":\"m\",\"messages\":["
        "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":"
        "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},{\"id\":\"c2\",\"function\":{\"name\":"
        "\"g\",\"arguments\":{\"b\":2}}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"name\":\"f\",\"content\":[{\"type\":\"text\","
        "\"text\":\"ok\"}]}]}");
    assert_int_equal(p.result, 0);
    const struct message *m = p.turn.messages;
    assert_int_equal(m[0].n_tool_calls, 2);
    assert_span(m[0].tool_calls[0].id, "c1");
    assert_span(m[0].tool_calls[0].arguments, "{\"a\":1}");
    assert_span(m[0].tool_calls[1].arguments, "{\"b\":2}");
    assert_span(m[1].tool_call_id, "c1");
    assert_span(m[1].parts[0].text, "ok");
    done(&p);
}

static void parameters(void **state)
{
    struct parsed p;
    parse(&p, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
              "\"temperature\":0.5,\"top_p\":1,"
              "\"n\":3,\"max_tokens\":10,\"max_completion_tokens\":20,\"stop\":[\"a\",\"\\n\"],"
              "\"logprobs\":true,"
              "\"response_format\":{\"type\":\"json_object\"},\"seed\":9223372036854775807,\"tool_"
              "choice\":\"none\","
              "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]," USER_HI "}");
    assert_int_equal(p.result, 0);
    assert_true(p.turn.stream && p.turn.include_usage && p.turn.logprobs);
    assert_true(p.turn.has_temperature && p.turn.temperature == 0.5);
    assert_int_equal(p.turn.n, 3);
    assert_int_equal(p.turn.max_tokens, 20); /* Q11: the second wins */
    assert_int_equal(p.turn.n_stop, 2);
    assert_span(p.turn.stop[1], "\n");
    assert_non_null(p.turn.tools_raw.p);
    assert_false(p.turn.tools_wanted); /* tool_choice none */
    assert_non_null(p.turn.response_format_raw.p);
    done(&p);
}

static void old_functions_become_tools(void **state)
{
    struct parsed p;
    parse(&p, "{\"model\":\"m\",\"functions\":[{\"name\":\"f\"},{\"name\":\"g\"}]," USER_HI "}");
    assert_int_equal(p.result, 0);
    assert_span(p.turn.tools_raw, "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}},"
                                  "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]");
    assert_true(p.turn.tools_wanted);
    done(&p);
}

static void reasoning_wishes(void **state)
{
    static const struct {
        const char *field;
        enum reasoning_wish wish;
    } rows[] = {
        {"\"reasoning_effort\":\"high\"", REASONING_ON},
        {"\"reasoning_effort\":\"none\"", REASONING_OFF},
        {"\"reasoning_effort\":\"minimal\"", REASONING_OFF},
        {"\"thinking\":{\"type\":\"enabled\"}", REASONING_ON},
        {"\"thinking\":{\"type\":\"disabled\"}", REASONING_OFF},
        {"\"thinking\":{\"type\":\"auto\"}", REASONING_UNSET},
        {"\"enable_thinking\":true", REASONING_ON},
        {"\"enable_thinking\":false", REASONING_OFF},
        {"\"chat_template_kwargs\":{\"enable_thinking\":false}", REASONING_OFF},
        {"\"reasoning\":{\"effort\":\"low\"}", REASONING_ON},
        {"\"reasoning\":{\"enabled\":false}", REASONING_OFF},
        {"\"thinking\":\"odd\"", REASONING_UNSET},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct parsed p;
        char body[300];
        snprintf(body, sizeof body, "{\"model\":\"m\",%s," USER_HI "}", rows[i].field);
        parse(&p, body);
        assert_int_equal(p.result, 0);
        if (p.turn.reasoning != rows[i].wish)
            fail_msg("%s gave %d", rows[i].field, p.turn.reasoning);
        done(&p);
    }
}

/* Every refusal names its field and has the right kind. */
static void refusals(void **state)
{
    static const struct {
        const char *body, *param;
        enum fail_kind kind;
    } rows[] = {
        {"", "", FAIL_INVALID_JSON},
        {"   ", "", FAIL_INVALID_JSON},
        {"{", "", FAIL_INVALID_JSON},
        {"[]", "", FAIL_INVALID_JSON},
        {"null", "", FAIL_INVALID_JSON},
        {"\"x\"", "", FAIL_INVALID_JSON},
        {"{'model':'m'}", "", FAIL_INVALID_JSON},
        {"{\"model\":\"m\"} trailing", "", FAIL_INVALID_JSON},
        {"{\"model\":\"a\tb\"}", "", FAIL_INVALID_JSON},
        {"{\"x\":\"\xff\"}", "", FAIL_INVALID_JSON},
        {"{\"x\":\"\xed\xa0\x80\"}", "", FAIL_INVALID_JSON},
        {"{\"x\":\"\xc0\xaf\"}", "", FAIL_INVALID_JSON},
        {"{" USER_HI "}", "model", FAIL_INVALID_VALUE},
        {"{\"model\":\"\"," USER_HI "}", "model", FAIL_INVALID_VALUE},
        {"{\"model\":7," USER_HI "}", "model", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\"}", "messages", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"messages\":[]}", "messages", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"messages\":\"hi\"}", "messages", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"messages\":[\"hi\"]}", "messages[0]", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"king\",\"content\":\"\"}]}",
         "messages[0].role", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"messages\":[{\"content\":\"x\"}]}", "messages[0].role",
         FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":5}]}",
         "messages[0].content", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
         "\"text\":\"a\"},{\"type\":\"smell\"}]}]}",
         "messages[0].content[1]", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}"
         "]}",
         "messages[0].content[0]", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
         "\"image_url\":{\"url\":\"data:x\"}}]}]}",
         "messages[0].content[0]", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"stream\":\"yes\"," USER_HI "}", "stream", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"stream_options\":1," USER_HI "}", "stream_options",
         FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"temperature\":\"hot\"," USER_HI "}", "temperature",
         FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"n\":0," USER_HI "}", "n", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"n\":1.5," USER_HI "}", "n", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"max_tokens\":0," USER_HI "}", "max_tokens", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"max_completion_tokens\":\"9\"," USER_HI "}", "max_completion_tokens",
         FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"stop\":[1]," USER_HI "}", "stop", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"tools\":{}," USER_HI "}", "tools", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"tools\":[1]," USER_HI "}", "tools[0]", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"tool_choice\":5," USER_HI "}", "tool_choice", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"response_format\":\"json\"," USER_HI "}", "response_format",
         FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"logprobs\":3," USER_HI "}", "logprobs", FAIL_INVALID_VALUE},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"tool_calls\":\"x\"}]}",
         "messages[0].tool_calls", FAIL_INVALID_VALUE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct parsed p;
        parse(&p, rows[i].body);
        if (p.result != -1 || p.fail.kind != rows[i].kind ||
            strcmp(p.fail.param, rows[i].param) != 0)
            fail_msg("%s: result %d kind %s param \"%s\": %s", rows[i].body, p.result,
                     fail_kind_name(p.fail.kind), p.fail.param, p.fail.message);
        assert_true(strlen(p.fail.message) > 10);
        done(&p);
    }
}

/* clients.md §1.7: odd numbers and bombs are refused or served, never a crash. */
static void rough_numbers_and_depth(void **state)
{
    static const char *const numbers[] = {"1e999", "-0", "9007199254740993234567890", "1E-400"};
    for (size_t i = 0; i < 4; i++) {
        struct parsed p;
        char body[200];
        snprintf(body, sizeof body, "{\"model\":\"m\",\"temperature\":%s," USER_HI "}", numbers[i]);
        parse(&p, body);
        assert_true(p.result == 0 || p.fail.kind == FAIL_INVALID_JSON ||
                    p.fail.kind == FAIL_INVALID_VALUE);
        done(&p);
    }
    char *deep = malloc(200001);
    memset(deep, '[', 100000);
    memset(deep + 100000, ']', 100000);
    struct parsed p;
    parse_bytes(&p, span_of(deep, 200000));
    assert_int_equal(p.fail.kind, FAIL_INVALID_JSON);
    done(&p);
    free(deep);
}

#define CALL "{\"id\":\"c\",\"function\":{\"name\":\"f\"}}"

static void lists_are_long_but_not_endless(void **state)
{
    static const struct {
        const char *before, *one, *behind;
        size_t most;
        const char *param;
    } rows[] = {
        {"[", "{\"role\":\"user\",\"content\":\"a\"}", "]", 100000, "messages"},
        {"[{\"role\":\"user\",\"content\":[", "{\"type\":\"text\",\"text\":\"a\"}", "]}]", 200000,
         "messages"},
        {"[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}],\"tool_calls\":"
         "[",
         CALL, "]}]", 199999, "messages"},
        {"[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[", "{}", "]", 100000, "tools"},
        {"[{\"role\":\"user\",\"content\":\"a\"}],\"functions\":[", "{}", "]", 100000, "functions"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t over = 0; over < 2; over++) {
            struct parsed p;
            char before[200], behind[8];
            snprintf(before, sizeof before, "{\"model\":\"m\",\"messages\":%s", rows[i].before);
            snprintf(behind, sizeof behind, "%s}", rows[i].behind);
            char *body = repeated(before, rows[i].one, rows[i].most + over, behind);
            parse(&p, body);
            if (p.result != (over ? -1 : 0) || (over && strcmp(p.fail.param, rows[i].param) != 0))
                fail_msg("%zu %zu: %d %s", i, over, p.result, p.fail.message);
            if (over)
                assert_non_null(strstr(p.fail.message, " must be at most 100000"));
            done(&p);
            free(body);
        }
    }
}

static void byte_order_mark_is_skipped(void **state)
{
    struct parsed p;
    parse(&p, "\xEF\xBB\xBF{\"model\":\"m\"," USER_HI "}");
    assert_int_equal(p.result, 0);
    done(&p);
}

/* Any prefix of a request is refused without reading beyond it. */
static void every_prefix_is_refused(void **state)
{
    static const char whole[] = "{\"model\":\"m\",\"stop\":\"\\u0041\",\"messages\":[{\"role\":"
                                "\"user\",\"content\":[{\"type\":"
                                "\"text\",\"text\":\"a\\n\"}]}]}";
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        struct parsed p;
        parse_bytes(&p, span_of(whole, n));
        assert_int_equal(p.result, -1);
        done(&p);
    }
}

/* ---- what a target sets ---- */

static const struct turn *with(struct parsed *p, const struct turn_option *options, size_t n)
{
    const struct turn *t = turn_with_options(p->json, &p->arena, &p->turn, options, n, &p->fail);
    assert_non_null(t);
    return t;
}

#define OPTION(name, value)                                                                        \
    {                                                                                              \
        SPAN(name), SPAN(name), SPAN(value)                                                        \
    }

static void options_take_the_place_of_the_clients_fields(void **state)
{
    struct parsed p;
    const struct turn_option options[] = {OPTION("temperature", "0.25"), OPTION("stop", "[\"x\"]"),
                                          OPTION("seed", "7")};
    parse(&p, "{\"model\":\"m\",\"temper\\u0061ture\":1,\"top_p\":0.5,\"stream\":true,\"n\":2,"
              "\"big\":9007199254740993," USER_HI "}");
    assert_int_equal(p.result, 0);
    const struct turn *t = with(&p, options, 3);
    assert_span(t->raw, "{\"model\":\"m\",\"top_p\":0.5,\"stream\":true,\"n\":2,"
                        "\"big\":9007199254740993," USER_HI
                        ",\"temperature\":0.25,\"stop\":[\"x\"],\"seed\":7}");
    assert_true(t->has_temperature && t->temperature == 0.25 && t->top_p == 0.5 && t->stream);
    assert_int_equal(t->n, 2);
    assert_int_equal(t->n_stop, 1);
    assert_ptr_equal(t->messages, p.turn.messages);
    assert_true(p.turn.temperature == 1 && p.turn.n_stop == 0); /* as it was */
    done(&p);
}

/* A target's word counts, by whatever name the client says the opposite. */
static void options_win_over_other_names_of_the_same(void **state)
{
    struct parsed p;
    const struct turn_option off[] = {OPTION("enable_thinking", "false")};
    const struct turn_option few[] = {OPTION("max_tokens", "5")};
    const struct turn_option none[] = {OPTION("reasoning_effort", "\"none\"")};
    parse(&p, "{\"model\":\"m\",\"reasoning_effort\":\"high\",\"thinking\":{\"type\":\"enabled\"},"
              "\"max_completion_tokens\":900," USER_HI "}");
    assert_int_equal(p.turn.reasoning, REASONING_ON);
    const struct turn *t = with(&p, off, 1);
    assert_int_equal(t->reasoning, REASONING_OFF);
    assert_int_equal(t->reasoning_effort.n, 0);
    assert_int_equal(t->max_tokens, 900);
    t = with(&p, few, 1);
    assert_int_equal(t->max_tokens, 5);
    assert_false(t->max_includes_reasoning);
    assert_true(span_find(t->raw, SPAN("900")) < 0);
    t = with(&p, none, 1);
    assert_int_equal(t->reasoning, REASONING_OFF);
    assert_true(span_find(t->raw, SPAN("thinking")) < 0);
    done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_request),
        cmocka_unit_test(nulls_count_as_absent),
        cmocka_unit_test(unknown_fields_are_left_alone),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(lone_surrogates_are_replaced),
        cmocka_unit_test(roles),
        cmocka_unit_test(parts_of_every_kind),
        cmocka_unit_test(large_text_is_not_copied),
        cmocka_unit_test(tool_history),
        cmocka_unit_test(parameters),
        cmocka_unit_test(old_functions_become_tools),
        cmocka_unit_test(reasoning_wishes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(rough_numbers_and_depth),
        cmocka_unit_test(lists_are_long_but_not_endless),
        cmocka_unit_test(byte_order_mark_is_skipped),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(options_take_the_place_of_the_clients_fields),
        cmocka_unit_test(options_win_over_other_names_of_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
