/*
 * test/unit/test_chat_body.c - a turn of any dialect, said in OpenAI's words (gateway/chat_body.h).
 */
#include "support/cmocka_all.h"

#include "gateway/chat_body.h"
#include "gateway/chat_request.h"

struct bench {
    struct arena arena;
    struct json_parser *json;
    struct fail fail;
};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    arena_init(&b->arena);
    b->json = json_parser_create(1 << 20);
    assert_non_null(b->json);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    arena_free(&b->arena);
    json_parser_destroy(b->json);
    free(b);
    return 0;
}

static struct span write_body(struct bench *b, const struct turn *t)
{
    struct span body;
    assert_int_equal(chat_body_write(&b->arena, t, &body, &b->fail), 0);
    return body;
}

/* The body is exactly this, and the chat front reads it. */
static void check(struct bench *b, const struct turn *t, const char *wanted)
{
    struct turn again;
    struct span body = write_body(b, t);
    struct span copy = arena_dup(&b->arena, body);
    assert_string_equal(copy.p, wanted); /* arena_dup ends it with NULs */
    assert_int_equal(
        chat_request_parse(b->json, &b->arena, (char *)copy.p, copy.n, &again, &b->fail), 0);
    for (size_t i = 0; i < JSON_PADDING; i++)
        assert_int_equal(body.p[body.n + i], 0);
}

#define PARTS(...)                                                                                 \
    .parts = (const struct part[]){__VA_ARGS__},                                                   \
    .n_parts = sizeof((const struct part[]){__VA_ARGS__}) / sizeof(struct part)
#define TEXT(t)                                                                                    \
    {                                                                                              \
        .kind = PART_TEXT, .text = SPAN(t)                                                         \
    }
#define MESSAGES(...)                                                                              \
    .model = SPAN("m"), .messages = (const struct message[]){__VA_ARGS__},                         \
    .n_messages = sizeof((const struct message[]){__VA_ARGS__}) / sizeof(struct message)
#define USER_HI                                                                                    \
    {                                                                                              \
        .role = ROLE_USER, PARTS(TEXT("hi"))                                                       \
    }
#define HI_BODY "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void a_small_turn(void **state)
{
    check(*state, &(struct turn){MESSAGES(USER_HI)}, HI_BODY "}");
}

static void every_parameter_has_its_standard_name(void **state)
{
    const struct turn t = {
        MESSAGES(USER_HI),
        .n = 2,
        .has_temperature = true,
        .temperature = 0.5,
        .has_top_p = true,
        .top_p = 1,
        .has_top_k = true, /* not OpenAI's */
        .top_k = 5,
        .has_presence_penalty = true,
        .presence_penalty = -1,
        .has_frequency_penalty = true,
        .frequency_penalty = 2,
        .has_seed = true,
        .seed = 7,
        .has_max_tokens = true,
        .max_tokens = 100,
        .stop = (const struct span[]){SPAN_INIT("a\n"), SPAN_INIT("b")},
        .n_stop = 2,
        .response_format_raw = SPAN("{\"type\":\"json_object\"}"),
        .logprobs = true,
        .reasoning = REASONING_ON,
        .reasoning_effort = SPAN("low"),
        .stream = true,
        .include_usage = true,
        .extra = SPAN("\"metadata\":{}"),
        .betas = SPAN("x"),
    };
    check(*state, &t,
          HI_BODY ",\"n\":2,\"temperature\":0.5,\"top_p\":1,\"presence_penalty\":-1,"
                  "\"frequency_penalty\":2,\"seed\":7,\"max_tokens\":100,\"stop\":[\"a\\n\",\"b\"],"
                  "\"response_format\":{\"type\":\"json_object\"},\"logprobs\":true,"
                  "\"reasoning_effort\":\"low\",\"stream\":true,"
                  "\"stream_options\":{\"include_usage\":true}}");
}

static void a_limit_with_reasoning_has_the_newer_name(void **state)
{
    const struct turn t = {MESSAGES(USER_HI), .has_max_tokens = true, .max_tokens = 9,
                           .max_includes_reasoning = true};
    check(*state, &t, HI_BODY ",\"max_completion_tokens\":9}");
}

static void check_effort(void **state, enum reasoning_wish wish, const char *effort, int64_t budget,
                         const char *wanted)
{
    const struct turn t = {MESSAGES(USER_HI), .reasoning = wish,
                           .reasoning_effort = span_str(effort), .reasoning_budget = budget};
    char body[400];
    snprintf(body, sizeof body, HI_BODY "%s%s%s}", wanted ? ",\"reasoning_effort\":\"" : "",
             wanted ? wanted : "", wanted ? "\"" : "");
    check(*state, &t, body);
}

static void a_thinking_budget_becomes_an_effort(void **state)
{
    check_effort(state, REASONING_ON, "", 1000, "low");
    check_effort(state, REASONING_ON, "", 4095, "low");
    check_effort(state, REASONING_ON, "", 4096, "medium");
    check_effort(state, REASONING_ON, "", 16383, "medium");
    check_effort(state, REASONING_ON, "", 16384, "high");
    check_effort(state, REASONING_ON, "", 0, "medium");
    check_effort(state, REASONING_ON, "low", 16384, "low");
    check_effort(state, REASONING_ON, "max", 0, "high");
    check_effort(state, REASONING_ON, "xhigh", 0, "xhigh");
    check_effort(state, REASONING_OFF, "none", 0, "none");
    check_effort(state, REASONING_OFF, "", 0, NULL);
    check_effort(state, REASONING_UNSET, "", 0, NULL);
}

static void texts_of_a_message_become_one(void **state)
{
    const struct turn t = {
        MESSAGES({.role = ROLE_SYSTEM, PARTS(TEXT("be"), TEXT("brief"))},
                 {.role = ROLE_USER, .name = SPAN("ann"), PARTS(TEXT("a\"b"), TEXT("c"))},
                 {.role = ROLE_ASSISTANT, PARTS(TEXT("to"), TEXT("gether"))}, {.role = ROLE_USER})};
    check(
        *state, &t,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be\\nbrief\"},"
        "{\"role\":\"user\",\"name\":\"ann\",\"content\":\"a\\\"b\\nc\"},"
        "{\"role\":\"assistant\",\"content\":\"together\"},{\"role\":\"user\",\"content\":\"\"}]}");
}

static void attachments_make_a_list_of_parts(void **state)
{
    const struct turn t = {MESSAGES(
        {.role = ROLE_USER,
         PARTS(TEXT("see"), {.kind = PART_IMAGE, .mime = SPAN("image/png"), .base64 = SPAN("QUJD")},
               {.kind = PART_IMAGE, .url = SPAN("https://x/y.png")},
               {.kind = PART_FILE,
                .filename = SPAN("a.pdf"),
                .mime = SPAN("application/pdf"),
                .base64 = SPAN("UERG")},
               {.kind = PART_FILE, .file_id = SPAN("f1")},
               {.kind = PART_FILE, .filename = SPAN("n.txt"), .text = SPAN("words")},
               {.kind = PART_AUDIO, .mime = SPAN("wav"), .base64 = SPAN("QQ==")},
               {.kind = PART_VIDEO, .url = SPAN("https://x/v")},
               {.kind = PART_REFUSAL, .text = SPAN("no")})})};
    check(*state, &t,
          "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":["
          "{\"type\":\"text\",\"text\":\"see\"},"
          "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,QUJD\"}},"
          "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/y.png\"}},"
          "{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\","
          "\"file_data\":\"data:application/pdf;base64,UERG\"}},"
          "{\"type\":\"file\",\"file\":{\"file_id\":\"f1\"}},"
          "{\"type\":\"text\",\"text\":\"n.txt:\\nwords\"},"
          "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"QQ==\",\"format\":\"wav\"}},"
          "{\"type\":\"video_url\",\"video_url\":{\"url\":\"https://x/v\"}},"
          "{\"type\":\"refusal\",\"refusal\":\"no\"}]}]}");
}

static void what_only_another_dialect_has_is_left_out(void **state)
{
    const struct turn t = {MESSAGES(
        USER_HI,
        {.role = ROLE_ASSISTANT,
         .reasoning = SPAN("hm"),
         .extra = SPAN("\"x\":1"),
         PARTS({.kind = PART_THINKING, .text = SPAN("hm"), .signature = SPAN("s")},
               {.kind = PART_REDACTED, .signature = SPAN("r")},
               {.kind = PART_FOREIGN, .text = SPAN("{\"type\":\"search_result\"}")}, TEXT("so"))})};
    check(*state, &t,
          "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
          "{\"role\":\"assistant\",\"content\":\"so\"}]}");
}

static void calls_and_results(void **state)
{
    const struct tool_call calls[] = {
        {.id = SPAN("c1"), .name = SPAN("f"), .arguments = SPAN("{\"a\":1}")},
        {.id = SPAN("c2"),
         .name = SPAN("g"),
         .arguments = SPAN("{}"),
         .extra_content = SPAN("{\"google\":1}"),
         .extra = SPAN("\"cache_control\":{}")}};
    const struct turn t = {MESSAGES(
        {.role = ROLE_ASSISTANT, .tool_calls = calls, .n_tool_calls = 2},
        {.role = ROLE_TOOL,
         .tool_call_id = SPAN("c1"),
         PARTS(TEXT("4"), {.kind = PART_IMAGE, .url = SPAN("https://x/p")}, TEXT("5"))},
        {.role = ROLE_TOOL, .tool_call_id = SPAN("c2"), .is_error = true, PARTS(TEXT("broke"))},
        USER_HI)};
    check(*state, &t,
          "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
          "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
          "\"arguments\":\"{\\\"a\\\":1}\"}},"
          "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"},"
          "\"extra_content\":{\"google\":1}}]},"
          "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"4\\n5\"},"
          "{\"role\":\"tool\",\"tool_call_id\":\"c2\",\"content\":\"Error: broke\"},"
          "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Belongs to the result of "
          "the tool call:\\nc1\"},"
          "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/p\"}}]},"
          "{\"role\":\"user\",\"content\":\"hi\"}]}");
}

static void tools_without_foreign_ones(void **state)
{
    struct turn t = {
        MESSAGES(USER_HI),
        .tools_raw = SPAN("[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"},"
                          "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true},"
                          "\"cache_control\":{\"type\":\"ephemeral\"}}]"),
        .tool_choice_raw = SPAN("\"required\""),
        .tools_foreign = true,
        .tools_wanted = true,
        .no_parallel_tool_calls = true,
    };
    check(*state, &t,
          HI_BODY ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                  "\"strict\":true}}],\"tool_choice\":\"required\","
                  "\"parallel_tool_calls\":false}");
    t.tools_raw = SPAN("[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]");
    check(*state, &t, HI_BODY "}"); /* a choice among no tools is refused by services */
}

/* What the body cannot say survives the options of a target (chat_request.h). */
static void options_keep_what_the_body_cannot_say(void **state)
{
    struct bench *b = *state;
    const struct turn_option options[] = {{SPAN("temperature"), SPAN("temperature"), SPAN("0.25")}};
    struct turn t = {
        MESSAGES(USER_HI),
        .dialect = DIALECT_ANTHROPIC,
        .extra = SPAN("\"metadata\":{}"),
        .betas = SPAN("b1"),
        .has_top_k = true,
        .top_k = 40,
        .has_max_tokens = true,
        .max_tokens = 5,
        .max_includes_reasoning = true,
        .reasoning = REASONING_ON,
        .thinking_raw = SPAN("{\"type\":\"enabled\",\"budget_tokens\":2048}"),
        .reasoning_budget = 2048,
        .reasoning_hidden = true,
        .tools_raw = SPAN("[{\"type\":\"bash_20250124\",\"name\":\"bash\"}]"),
        .tools_foreign = true,
        .tools_wanted = true,
        .no_parallel_tool_calls = true,
        .stream = true,
        .include_usage = true,
        .has_images = true,
        .has_foreign = true,
    };
    t.raw = write_body(b, &t);
    const struct turn *with = turn_with_options(b->json, &b->arena, &t, options, 1, &b->fail);
    assert_non_null(with);
    assert_true(with->temperature == 0.25 && with->has_temperature);
    assert_int_equal(with->dialect, DIALECT_ANTHROPIC);
    assert_true(span_eq(with->extra, t.extra));
    assert_true(span_eq(with->betas, t.betas));
    assert_true(with->has_top_k && with->top_k == 40);
    assert_true(with->has_max_tokens && with->max_tokens == 5 && with->max_includes_reasoning);
    assert_int_equal(with->reasoning, REASONING_ON);
    assert_true(span_eq(with->reasoning_effort, SPAN("")));
    assert_true(span_eq(with->thinking_raw, t.thinking_raw));
    assert_true(with->reasoning_budget == 2048 && with->reasoning_hidden);
    assert_true(span_eq(with->tools_raw, t.tools_raw));
    assert_true(with->tools_foreign && with->tools_wanted && with->no_parallel_tool_calls);
    assert_true(with->stream && with->include_usage && with->has_images && with->has_foreign);
    assert_true(span_ends(with->raw, SPAN(",\"temperature\":0.25}")));
}

static void options_replace_what_they_name(void **state)
{
    struct bench *b = *state;
    const struct turn_option options[] = {
        {SPAN("reasoning_effort"), SPAN("reasoning_effort"), SPAN("\"high\"")},
        {SPAN("top_k"), SPAN("top_k"), SPAN("3")},
        {SPAN("tools"), SPAN("tools"), SPAN("[]")},
        {SPAN("max_tokens"), SPAN("max_tokens"), SPAN("8")},
    };
    struct turn t = {
        MESSAGES(USER_HI),
        .dialect = DIALECT_ANTHROPIC,
        .has_top_k = true,
        .top_k = 40,
        .has_max_tokens = true,
        .max_tokens = 5,
        .max_includes_reasoning = true,
        .reasoning = REASONING_ON,
        .thinking_raw = SPAN("{\"type\":\"enabled\",\"budget_tokens\":2048}"),
        .reasoning_budget = 2048,
        .reasoning_hidden = true,
        .tools_raw = SPAN("[{\"type\":\"bash_20250124\",\"name\":\"bash\"}]"),
        .tools_foreign = true,
        .tools_wanted = true,
    };
    t.raw = write_body(b, &t);
    const struct turn *with = turn_with_options(b->json, &b->arena, &t, options, 4, &b->fail);
    assert_non_null(with);
    assert_int_equal(with->top_k, 3);
    assert_true(with->max_tokens == 8 && !with->max_includes_reasoning);
    assert_true(span_eq(with->reasoning_effort, SPAN("high")));
    assert_null(with->thinking_raw.p);
    assert_true(with->reasoning_budget == 0 && with->reasoning_hidden);
    assert_null(with->tools_raw.p);
    assert_false(with->tools_foreign);
    assert_false(with->tools_wanted);
}

static void one_choice_keeps_the_rest(void **state)
{
    struct bench *b = *state;
    struct turn t = {MESSAGES(USER_HI), .n = 3, .dialect = DIALECT_ANTHROPIC,
                     .thinking_raw = SPAN("{}"), .extra = SPAN("\"a\":1")};
    t.raw = write_body(b, &t);
    const struct turn *one = turn_with_one_choice(&b->arena, &t);
    assert_int_equal(one->n, 1);
    assert_true(span_eq(one->thinking_raw, t.thinking_raw));
    assert_true(span_eq(one->extra, t.extra));
    assert_true(span_eq(one->raw, SPAN(HI_BODY "}")));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_small_turn),
        TEST(every_parameter_has_its_standard_name),
        TEST(a_limit_with_reasoning_has_the_newer_name),
        TEST(a_thinking_budget_becomes_an_effort),
        TEST(texts_of_a_message_become_one),
        TEST(attachments_make_a_list_of_parts),
        TEST(what_only_another_dialect_has_is_left_out),
        TEST(calls_and_results),
        TEST(tools_without_foreign_ones),
        TEST(options_keep_what_the_body_cannot_say),
        TEST(options_replace_what_they_name),
        TEST(one_choice_keeps_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
