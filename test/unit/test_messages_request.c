/*
 * test/unit/test_messages_request.c - what clients of Anthropic's Messages API send becomes a turn,
 * or a refusal that names the place in their words (gateway/messages_request.h).
 */
#include "gateway/messages_request.h"

#include "gateway/count_tokens.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/fixture.h"

struct parsed {
    struct arena arena;
    struct json_parser *json;
    struct turn turn;
    struct fail fail;
    int result;
};

static void parse_with(struct parsed *p, const char *text, const struct messages_wish *wish)
{
    *p = (struct parsed){0};
    arena_init(&p->arena);
    p->json = json_parser_create(1 << 23);
    assert_non_null(p->json);
    struct span body = arena_dup(&p->arena, span_str(text));
    p->result = messages_request_parse(p->json, &p->arena, (char *)(uintptr_t)body.p, body.n, wish,
                                       &p->turn, &p->fail);
}

static void parse(struct parsed *p, const char *text)
{
    static const struct messages_wish wish = {.betas = SPAN_INIT("b1,b2")};
    parse_with(p, text, &wish);
}

static void done(struct parsed *p)
{
    json_parser_destroy(p->json);
    arena_free(&p->arena);
}

#define assert_span(value, text) assert_span_equal(value, SPAN(text))
#define HEAD                     "{\"model\":\"m\",\"max_tokens\":9,"
#define HI                       "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define CONTENT(role, blocks)                                                                      \
    HEAD "\"messages\":[{\"role\":\"" role "\",\"content\":[" blocks "]}]}"

/* Parses, expects success. */
static const struct turn *good(struct parsed *p, const char *text)
{
    parse(p, text);
    if (p->result)
        fail_msg("refused: %s", p->fail.message);
    return &p->turn;
}

static void expect_refusal(const char *text, const char *param, const char *message)
{
    struct parsed p;
    parse(&p, text);
    assert_int_equal(p.result, -1);
    assert_int_equal(p.fail.kind, FAIL_INVALID_VALUE);
    assert_string_equal(p.fail.param, param);
    assert_span_equal(span_first(span_str(p.fail.message), strlen(param)), span_str(param));
    if (!strstr(p.fail.message, message))
        fail_msg("\"%s\" does not say \"%s\"", p.fail.message, message);
    done(&p);
}

static void a_small_request(void **state)
{
    struct parsed p;
    const struct turn *t = good(&p, HEAD HI "}");
    assert_span(t->model, "m");
    assert_int_equal(t->dialect, DIALECT_ANTHROPIC);
    assert_int_equal(t->n, 1);
    assert_true(t->has_max_tokens && t->max_includes_reasoning && t->max_tokens == 9);
    assert_int_equal(t->n_messages, 1);
    assert_int_equal(t->messages[0].role, ROLE_USER);
    assert_span(t->messages[0].parts[0].text, "hi");
    assert_false(t->stream);
    assert_span(t->extra, "");
    assert_span(t->betas, "b1,b2");
    assert_span(t->raw, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
                        "\"max_completion_tokens\":9}");
    done(&p);
}

static void nulls_count_as_absent(void **state)
{
    struct parsed p;
    const struct turn *t =
        good(&p, HEAD HI ",\"system\":null,\"stream\":null,\"temperature\":null,\"top_p\":null,"
                         "\"top_k\":null,\"stop_sequences\":null,\"tools\":null,\"tool_choice\":"
                         "null,\"thinking\":null,\"output_config\":null,\"metadata\":null}");
    assert_int_equal(t->n_messages, 1);
    assert_false(t->has_temperature || t->has_top_p || t->has_top_k || t->tools_wanted);
    assert_null(t->tools_raw.p);
    assert_null(t->thinking_raw.p);
    assert_span(t->extra, "");
    done(&p);
}

static void parameters(void **state)
{
    struct parsed p;
    const struct turn *t =
        good(&p, HEAD HI ",\"stream\":true,\"temperature\":0.5,\"top_p\":0.9,\"top_k\":7,"
                         "\"stop_sequences\":[\"a\",\"\",\"\\n\"]}");
    assert_true(t->stream && t->include_usage);
    assert_true(t->has_temperature && t->temperature == 0.5);
    assert_true(t->has_top_p && t->top_p == 0.9);
    assert_true(t->has_top_k && t->top_k == 7);
    assert_int_equal(t->n_stop, 2);
    assert_span(t->stop[0], "a");
    assert_span(t->stop[1], "\n");
    done(&p);
}

static void what_has_no_place_is_an_extra(void **state)
{
    struct parsed p;
    const struct turn *t = good(
        &p, HEAD "\"metadata\":{\"user_id\":\"u\"},\"a\\u0062\":[18446744073709551615],\"x\":null,"
                 "\"output_config\":{\"effort\":\"high\",\"more\":1},\"messages\":[{\"role\":"
                 "\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\",\"cache_control\":"
                 "{\"type\":\"ephemeral\"}}],\"z\":1}]}");
    assert_span(t->extra, "\"metadata\":{\"user_id\":\"u\"},\"a\\u0062\":[18446744073709551615],"
                          "\"output_config\":{\"effort\":\"high\",\"more\":1}");
    assert_span(t->messages[0].extra, "\"z\":1");
    assert_span(t->messages[0].parts[0].extra, "\"cache_control\":{\"type\":\"ephemeral\"}");
    assert_span(t->reasoning_effort, "high");
    done(&p);
}

static void system_as_text_as_blocks_and_as_a_role(void **state)
{
    struct parsed p;
    const struct turn *t = good(&p, HEAD "\"system\":\"be\",\"messages\":[{\"role\":\"user\","
                                         "\"content\":\"a\"},{\"role\":\"system\",\"content\":"
                                         "[{\"type\":\"text\",\"text\":\"now\"}]}]}");
    assert_int_equal(t->n_messages, 3);
    assert_int_equal(t->messages[0].role, ROLE_SYSTEM);
    assert_int_equal(t->messages[0].index, -1);
    assert_span(t->messages[0].parts[0].text, "be");
    assert_int_equal(t->messages[2].role, ROLE_SYSTEM);
    assert_int_equal(t->messages[2].index, 1);
    done(&p);
    t = good(&p, HEAD "\"system\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":"
                      "\"b\",\"cache_control\":{}}]," HI "}");
    assert_int_equal(t->messages[0].n_parts, 2);
    assert_span(t->messages[0].parts[1].text, "b");
    assert_span(t->messages[0].parts[1].extra, "\"cache_control\":{}");
    done(&p);
}

static void results_of_tools_are_messages_in_their_place(void **state)
{
    struct parsed p;
    const struct turn *t = good(
        &p,
        CONTENT("user",
                "{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":\"4\"},"
                "{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"is_error\":true,"
                "\"cache_control\":{},\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"type\":"
                "\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://e/p\"}}]},"
                "{\"type\":\"text\",\"text\":\"so\"},{\"type\":\"text\",\"text\":\"then\"},"
                "{\"type\":\"tool_result\",\"tool_use_id\":\"t3\"}"));
    assert_int_equal(t->n_messages, 4);
    const struct message *m = t->messages;
    assert_int_equal(m[0].role, ROLE_TOOL);
    assert_span(m[0].tool_call_id, "t1");
    assert_span(m[0].parts[0].text, "4");
    assert_false(m[0].is_error);
    assert_span(m[1].tool_call_id, "t2");
    assert_true(m[1].is_error);
    assert_span(m[1].extra, "\"cache_control\":{}");
    assert_int_equal(m[1].n_parts, 2);
    assert_int_equal(m[1].parts[1].kind, PART_IMAGE);
    assert_int_equal(m[1].parts[1].index, 1);
    assert_true(t->has_images);
    assert_int_equal(m[2].role, ROLE_USER);
    assert_int_equal(m[2].n_parts, 2);
    assert_span(m[2].parts[1].text, "then");
    assert_int_equal(m[2].parts[1].index, 3);
    assert_int_equal(m[3].role, ROLE_TOOL);
    assert_int_equal(m[3].n_parts, 0);
    done(&p);
}

/* Others go by the last message: there is one. */
static void empty_content_is_a_message(void **state)
{
    struct parsed p;
    const struct turn *t = good(&p, CONTENT("user", ""));
    assert_int_equal(t->n_messages, 1);
    assert_int_equal(t->messages[0].role, ROLE_USER);
    assert_int_equal(t->messages[0].n_parts, 0);
    done(&p);
}

static void an_assistant_thinks_says_and_calls(void **state)
{
    struct parsed p;
    const struct turn *t = good(
        &p, CONTENT("assistant",
                    "{\"type\":\"thinking\",\"thinking\":\"h\\nm\",\"signature\":\"s1\"},"
                    "{\"type\":\"text\",\"text\":\"a\"},"
                    "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{ \"a\": 1},"
                    "\"cache_control\":{}},"
                    "{\"type\":\"redacted_thinking\",\"data\":\"r\"},"
                    "{\"type\":\"thinking\",\"thinking\":\"k\"},"
                    "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"g\"},"
                    "{\"type\":\"server_tool_use\",\"id\":\"x\"}"));
    const struct message *m = t->messages;
    assert_int_equal(t->n_messages, 1);
    assert_int_equal(m->n_parts, 5);
    assert_int_equal(m->parts[0].kind, PART_THINKING);
    assert_span(m->parts[0].signature, "s1");
    assert_int_equal(m->parts[2].kind, PART_REDACTED);
    assert_span(m->parts[2].signature, "r");
    assert_span(m->parts[3].signature, "");
    assert_int_equal(m->parts[4].kind, PART_FOREIGN);
    assert_span(m->parts[4].text, "{\"type\":\"server_tool_use\",\"id\":\"x\"}");
    assert_true(t->has_foreign);
    assert_span(m->reasoning, "h\nm\nk");
    assert_int_equal(m->n_tool_calls, 2);
    assert_int_equal(m->tool_calls[0].after, 2);
    assert_span(m->tool_calls[0].arguments, "{ \"a\": 1}");
    assert_span(m->tool_calls[0].extra, "\"cache_control\":{}");
    assert_int_equal(m->tool_calls[1].after, 4);
    assert_span(m->tool_calls[1].arguments, "{}");
    done(&p);
}

static void pictures(void **state)
{
    struct parsed p;
    const struct turn *t = good(
        &p,
        CONTENT("user",
                "{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\","
                "\"data\":\"QUJD\"},\"cache_control\":{}},"
                "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://e/p\"}},"
                "{\"type\":\"image\",\"source\":{\"type\":\"file\",\"file_id\":\"f\"}}"));
    const struct part *parts = t->messages[0].parts;
    assert_int_equal(parts[0].kind, PART_IMAGE);
    assert_span(parts[0].mime, "image/png");
    assert_span(parts[0].base64, "QUJD");
    assert_span(parts[0].extra, "\"cache_control\":{}");
    assert_span(parts[1].url, "https://e/p");
    assert_null(parts[1].base64.p);
    assert_int_equal(parts[2].kind, PART_FOREIGN);
    assert_int_equal(parts[2].index, 2);
    assert_true(t->has_images && t->has_foreign);
    done(&p);
}

static void documents(void **state)
{
    struct parsed p;
    const struct turn *t = good(
        &p,
        CONTENT(
            "user",
            "{\"type\":\"document\",\"title\":\"a.pdf\",\"source\":{\"type\":\"base64\","
            "\"media_type\":\"application/pdf\",\"data\":\"UERG\"},\"citations\":{\"enabled\":"
            "true}},"
            "{\"type\":\"document\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\","
            "\"data\":\"wo\\trds\"}},"
            "{\"type\":\"document\",\"source\":{\"type\":\"url\",\"url\":\"https://e/d\"}},"
            "{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":\"one\"}},"
            "{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":[{\"type\":"
            "\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}},"
            "{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":[{\"type\":"
            "\"image\"}]}},"
            "{\"type\":\"document\",\"source\":{\"type\":\"file\",\"file_id\":\"f\"}}"));
    const struct part *parts = t->messages[0].parts;
    assert_int_equal(parts[0].kind, PART_FILE);
    assert_span(parts[0].filename, "a.pdf");
    assert_span(parts[0].mime, "application/pdf");
    assert_span(parts[0].extra, "\"title\":\"a.pdf\",\"citations\":{\"enabled\":true}");
    assert_span(parts[1].text, "wo\trds");
    assert_span(parts[1].mime, "text/plain");
    assert_span(parts[2].url, "https://e/d");
    assert_span(parts[3].text, "one");
    assert_span(parts[3].extra, "\"source\":{\"type\":\"content\",\"content\":\"one\"}");
    assert_span(parts[4].text, "a\nb");
    assert_int_equal(parts[5].kind, PART_FOREIGN);
    assert_int_equal(parts[6].kind, PART_FOREIGN);
    assert_true(t->has_files);
    done(&p);
}

static void citations_of_ours_do_not_come_back(void **state)
{
    struct parsed p;
    const struct turn *t = good(
        &p,
        CONTENT("assistant",
                "{\"type\":\"text\",\"text\":\"a\",\"citations\":[{\"type\":"
                "\"web_search_result_location\",\"encrypted_index\":\"\"}],\"cache_control\":{}},"
                "{\"type\":\"text\",\"text\":\"b\",\"citations\":[{\"encrypted_index\":"
                "\"x\"}]}"));
    assert_span(t->messages[0].parts[0].extra, "\"cache_control\":{}");
    assert_span(t->messages[0].parts[1].extra, "\"citations\":[{\"encrypted_index\":\"x\"}]");
    done(&p);
}

static void tools_in_openai_form(void **state)
{
    struct parsed p;
    const struct turn *t =
        good(&p, HEAD HI ",\"tools\":[{\"name\":\"f\",\"description\":\"d\\n\",\"input_schema\":"
                         "{\"type\":\"object\"},\"strict\":true,\"cache_control\":{}},"
                         "{\"type\":\"custom\",\"name\":\"g\",\"input_schema\":{}}]}");
    assert_span(t->tools_raw,
                "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\\n\","
                "\"strict\":true,\"parameters\":{\"type\":\"object\"}},\"cache_control\":{}},"
                "{\"type\":\"function\",\"function\":{\"name\":\"g\",\"parameters\":{}}}]");
    assert_true(t->tools_wanted);
    assert_false(t->tools_foreign);
    done(&p);
    t = good(&p, HEAD HI ",\"tools\":[{\"type\":\"bash_20250124\",\"name\":\"bash\"}]}");
    assert_span(t->tools_raw, "[{\"type\":\"bash_20250124\",\"name\":\"bash\"}]");
    assert_true(t->tools_foreign);
    assert_int_equal(span_find(t->raw, SPAN("tools")), -1);
    done(&p);
}

static void check_choice(const char *choice, const char *wanted, bool wants, bool alone)
{
    struct parsed p;
    char body[400];
    snprintf(body, sizeof body,
             HEAD HI ",\"tools\":[{\"name\":\"f\",\"input_schema\":{}}],\"tool_choice\":%s}",
             choice);
    const struct turn *t = good(&p, body);
    assert_span_equal(t->tool_choice_raw, span_str(wanted));
    assert_int_equal(t->tools_wanted, wants);
    assert_int_equal(t->no_parallel_tool_calls, alone);
    done(&p);
}

static void choices_of_tools(void **state)
{
    check_choice("{\"type\":\"auto\"}", "\"auto\"", true, false);
    check_choice("{\"type\":\"any\",\"disable_parallel_tool_use\":true}", "\"required\"", true,
                 true);
    check_choice("{\"type\":\"none\"}", "\"none\"", false, false);
    check_choice("{\"type\":\"tool\",\"name\":\"f\"}",
                 "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", true, false);
}

static void check_thinking(const char *members, enum reasoning_wish wish, const char *effort,
                           int64_t budget)
{
    struct parsed p;
    char body[400];
    snprintf(body, sizeof body, HEAD HI ",%s}", members);
    const struct turn *t = good(&p, body);
    assert_int_equal(t->reasoning, wish);
    assert_span_equal(t->reasoning_effort, span_str(effort));
    assert_int_equal(t->reasoning_budget, budget);
    assert_false(t->reasoning_hidden);
    done(&p);
}

static void wishes_for_thinking(void **state)
{
    check_thinking("\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}", REASONING_ON, "",
                   1024);
    check_thinking("\"thinking\":{\"type\":\"adaptive\"}", REASONING_ON, "", 0);
    check_thinking("\"thinking\":{\"type\":\"disabled\"},\"output_config\":{\"effort\":\"max\"}",
                   REASONING_OFF, "", 0);
    check_thinking("\"thinking\":{\"type\":\"later\"}", REASONING_UNSET, "", 0);
    check_thinking("\"output_config\":{\"effort\":\"low\"}", REASONING_ON, "low", 0);
    check_thinking("\"output_config\":{}", REASONING_UNSET, "", 0);
}

static void a_schema_of_the_answer(void **state)
{
    struct parsed p;
    const char *const ways[] = {
        "\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"a\":1}}}",
        "\"output_format\":{\"type\":\"json_schema\",\"schema\":{\"a\":1}}"};
    for (int i = 0; i < 2; i++) {
        char body[400];
        snprintf(body, sizeof body, HEAD HI ",%s}", ways[i]);
        const struct turn *t = good(&p, body);
        assert_span(t->response_format_raw,
                    "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\",\"schema\":"
                    "{\"a\":1}}}");
        assert_span_equal(t->extra, span_str(ways[i]));
        done(&p);
    }
}

static void expect_too_many(const char *before, const char *one, size_t n, const char *behind)
{
    char *body = repeated(before, one, n, behind);
    expect_refusal(body, "messages", "at most 100000, with at most 200000 blocks");
    free(body);
}

/* A block of ten bytes becomes some hundred here. */
static void messages_and_blocks_are_bounded(void **state)
{
    static const char assistant[] = HEAD "\"messages\":[{\"role\":\"assistant\",\"content\":[",
                      result[] = HEAD
                      "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\","
                      "\"tool_use_id\":\"t\",\"content\":[";
    expect_too_many(HEAD "\"messages\":[", "{\"role\":\"user\",\"content\":\"\"}", 100001, "]}");
    expect_too_many(assistant, "{\"type\":\"x\"}", 200001, "]}]}");
    expect_too_many(result, "{\"type\":\"x\"}", 200001, "]}]}]}");
}

static void refusals_name_the_place(void **state)
{
    expect_refusal("{\"max_tokens\":1," HI "}", "model", "is required");
    expect_refusal("{\"model\":7,\"max_tokens\":1," HI "}", "model", "id of a model");
    expect_refusal("{\"model\":\"m\"," HI "}", "max_tokens", "is required");
    expect_refusal("{\"model\":\"m\",\"max_tokens\":0," HI "}", "max_tokens", "at least 1");
    expect_refusal("{\"model\":\"m\",\"max_tokens\":1.5," HI "}", "max_tokens", "whole number");
    expect_refusal("{\"model\":\"m\",\"max_tokens\":1}", "messages", "is required");
    expect_refusal(HEAD "\"messages\":[]}", "messages", "at least one");
    expect_refusal(HEAD "\"messages\":{}}", "messages", "a list");
    expect_refusal(HEAD "\"messages\":[1]}", "messages.0", "an object");
    expect_refusal(HEAD "\"messages\":[{\"content\":\"a\"}]}", "messages.0.role", "is required");
    expect_refusal(HEAD "\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}", "messages.0.role",
                   "must be user");
    expect_refusal(HEAD "\"messages\":[{\"role\":\"user\"}]}", "messages.0.content", "is required");
    expect_refusal(HEAD "\"messages\":[{\"role\":\"user\",\"content\":5}]}", "messages.0.content",
                   "a string or a list");
    expect_refusal(CONTENT("user", "{}"), "messages.0.content.0.type", "is required");
    expect_refusal(CONTENT("user", "\"a\""), "messages.0.content.0", "an object");
    expect_refusal(CONTENT("user", "{\"type\":\"text\"}"), "messages.0.content.0.text",
                   "is required");
    expect_refusal(CONTENT("user", "{\"type\":\"image\"}"), "messages.0.content.0.source",
                   "an object");
    expect_refusal(CONTENT("user", "{\"type\":\"image\",\"source\":{\"type\":\"url\"}}"),
                   "messages.0.content.0.source.url", "is required");
    expect_refusal(
        CONTENT("user", "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"\"}}"),
        "messages.0.content.0.source.url", "not be empty");
    expect_refusal(CONTENT("user", "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":"
                                   "\"data:x\"}}"),
                   "messages.0.content.0.source.url", "data:<type>;base64");
    expect_refusal(CONTENT("user", "{\"type\":\"document\",\"source\":{\"type\":\"url\",\"url\":"
                                   "\"data:x\"}}"),
                   "messages.0.content.0.source.url", "data:<type>;base64");
    expect_refusal(CONTENT("user", "{\"type\":\"image\",\"source\":{\"type\":\"base64\","
                                   "\"media_type\":\"image/png,\",\"data\":\"QUJD\"}}"),
                   "messages.0.content.0.source.media_type", "a media type");
    expect_refusal(CONTENT("user", "{\"type\":\"document\",\"source\":{\"type\":\"text\"}}"),
                   "messages.0.content.0.source.data", "is required");
    expect_refusal(CONTENT("user", "{\"type\":\"tool_result\"}"),
                   "messages.0.content.0.tool_use_id", "is required");
    expect_refusal(CONTENT("user", "{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"content\":"
                                   "[{\"type\":\"text\"}]}"),
                   "messages.0.content.0.content.0.text", "is required");
    expect_refusal(
        CONTENT("user", "{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"is_error\":1}"),
        "messages.0.content.0.is_error", "true or false");
    expect_refusal(CONTENT("user", "{\"type\":\"tool_use\"}"), "messages.0.content.0",
                   "assistant messages");
    expect_refusal(CONTENT("user", "{\"type\":\"thinking\"}"), "messages.0.content.0",
                   "assistant messages");
    expect_refusal(CONTENT("assistant", "{\"type\":\"tool_result\"}"), "messages.0.content.0",
                   "user messages");
    expect_refusal(CONTENT("assistant", "{\"type\":\"tool_use\",\"id\":\"a\"}"),
                   "messages.0.content.0.name", "is required");
    expect_refusal(
        CONTENT("assistant", "{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":[]}"),
        "messages.0.content.0.input", "an object");
    expect_refusal(CONTENT("assistant", "{\"type\":\"thinking\"}"), "messages.0.content.0.thinking",
                   "is required");
    expect_refusal(CONTENT("assistant", "{\"type\":\"redacted_thinking\"}"),
                   "messages.0.content.0.data", "is required");
    expect_refusal(HEAD HI ",\"system\":5}", "system", "a string or a list");
    expect_refusal(HEAD HI ",\"system\":[{\"type\":\"text\"}]}", "system.0.text", "is required");
    expect_refusal(HEAD HI ",\"stream\":1}", "stream", "true or false");
    expect_refusal(HEAD HI ",\"temperature\":\"x\"}", "temperature", "a number");
    expect_refusal(HEAD HI ",\"top_p\":[]}", "top_p", "a number");
    expect_refusal(HEAD HI ",\"top_k\":1.5}", "top_k", "whole number");
    expect_refusal(HEAD HI ",\"stop_sequences\":\"x\"}", "stop_sequences", "a list");
    expect_refusal(HEAD HI ",\"stop_sequences\":[1]}", "stop_sequences.0", "a string");
    expect_refusal(HEAD HI ",\"tools\":{}}", "tools", "a list");
    expect_refusal(HEAD HI ",\"tools\":[1]}", "tools.0", "an object");
    expect_refusal(HEAD HI ",\"tools\":[{\"input_schema\":{}}]}", "tools.0.name", "is required");
    expect_refusal(HEAD HI ",\"tools\":[{\"name\":\"f\"}]}", "tools.0.input_schema", "an object");
    expect_refusal(HEAD HI ",\"tools\":[{\"type\":5}]}", "tools.0.type", "a string");
    expect_refusal(HEAD HI ",\"tool_choice\":\"auto\"}", "tool_choice", "an object");
    expect_refusal(HEAD HI ",\"tool_choice\":{\"type\":\"x\"}}", "tool_choice.type", "auto, any");
    expect_refusal(HEAD HI ",\"tool_choice\":{\"type\":\"tool\"}}", "tool_choice.name",
                   "is required");
    expect_refusal(HEAD HI ",\"thinking\":true}", "thinking", "an object");
    expect_refusal(HEAD HI ",\"thinking\":{}}", "thinking.type", "is required");
    expect_refusal(HEAD HI ",\"output_config\":1}", "output_config", "an object");
    expect_refusal(HEAD HI ",\"output_config\":{\"effort\":1}}", "output_config.effort",
                   "a string");
}

/* Its later requests would hold only what is new. */
static void threads_are_refused(void **state)
{
    struct parsed p;
    parse(&p, HEAD HI ",\"thread\":{\"type\":\"create\"}}");
    assert_int_equal(p.result, -1);
    assert_int_equal(p.fail.kind, FAIL_UNSUPPORTED);
    assert_string_equal(p.fail.param, "thread");
    done(&p);
    good(&p, HEAD HI ",\"thread\":null}");
    done(&p);
}

static void no_json_is_refused(void **state)
{
    struct parsed p;
    parse(&p, "{\"model\":");
    assert_int_equal(p.result, -1);
    assert_int_equal(p.fail.kind, FAIL_INVALID_JSON);
    done(&p);
}

static void counting_needs_no_limit(void **state)
{
    static const struct token_source estimated = {NULL, NULL};
    struct json_parser *json = json_parser_create(1 << 16);
    assert_non_null(json);
    struct count_of_tokens few, many;
    struct arena arena;
    struct buffer body, out;
    struct fail fail;
    arena_init(&arena);
    buffer_init(&body, 1 << 20);
    buffer_init(&out, 100);
    buffer_append(&body, SPAN("{\"model\":\"m\",\"stream\":7," HI "}"));
    assert_int_equal(count_tokens_of(&estimated, json, &arena, buffer_span(&body), &few, &fail), 0);
    assert_span(few.model, "m");
    buffer_clear(&body);
    buffer_append(&body, SPAN("{\"model\":\"m\",\"system\":\""));
    for (int i = 0; i < 100000; i++) /* more than the shared parser takes */
        buffer_append(&body, SPAN("word "));
    buffer_append(&body, SPAN("\"," HI "}"));
    assert_int_equal(count_tokens_of(&estimated, json, &arena, buffer_span(&body), &many, &fail),
                     0);
    assert_true(many.tokens > few.tokens + 50000);
    count_tokens_write(&out, &few);
    assert_true(span_starts(buffer_span(&out), SPAN("{\"input_tokens\":")));
    buffer_clear(&body);
    buffer_append(&body, SPAN("{\"model\":\"m\"}"));
    assert_int_equal(count_tokens_of(&estimated, json, &arena, buffer_span(&body), &few, &fail),
                     -1);
    assert_string_equal(fail.param, "messages");
    buffer_free(&body);
    buffer_free(&out);
    arena_free(&arena);
    json_parser_destroy(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_request),
        cmocka_unit_test(nulls_count_as_absent),
        cmocka_unit_test(parameters),
        cmocka_unit_test(what_has_no_place_is_an_extra),
        cmocka_unit_test(system_as_text_as_blocks_and_as_a_role),
        cmocka_unit_test(results_of_tools_are_messages_in_their_place),
        cmocka_unit_test(empty_content_is_a_message),
        cmocka_unit_test(an_assistant_thinks_says_and_calls),
        cmocka_unit_test(pictures),
        cmocka_unit_test(documents),
        cmocka_unit_test(citations_of_ours_do_not_come_back),
        cmocka_unit_test(tools_in_openai_form),
        cmocka_unit_test(choices_of_tools),
        cmocka_unit_test(wishes_for_thinking),
        cmocka_unit_test(a_schema_of_the_answer),
        cmocka_unit_test(messages_and_blocks_are_bounded),
        cmocka_unit_test(refusals_name_the_place),
        cmocka_unit_test(threads_are_refused),
        cmocka_unit_test(no_json_is_refused),
        cmocka_unit_test(counting_needs_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
