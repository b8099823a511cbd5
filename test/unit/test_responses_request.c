/*
 * test/unit/test_responses_request.c - bodies of /v1/responses as turns: items become messages in
 * their order, tools and formats take the chat API's form, what was stored is put in its place.
 */
#include "gateway/responses_request.h"
#include "gateway/sealed_reasoning.h"

#include <stdlib.h>
#include <time.h>

#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/fixture.h"

struct bench {
    struct json_parser *json;
    struct arena arena;
    struct turn turn;
    struct responses_request request;
    struct fail fail;
    struct response_found found[4];
    size_t n_found;
};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->json = json_parser_create(1 << 20);
    assert_non_null(b->json);
    arena_init(&b->arena);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    json_parser_destroy(b->json);
    arena_free(&b->arena);
    free(b);
    return 0;
}

static int parse(struct bench *b, const char *body)
{
    struct span copy = arena_dup(&b->arena, span_str(body));
    b->fail = (struct fail){0};
    return responses_request_parse(b->json, &b->arena, (char *)(uintptr_t)copy.p, copy.n, b->found,
                                   b->n_found, &b->turn, &b->request, &b->fail);
}

static void good(struct bench *b, const char *body)
{
    struct json root;
    if (parse(b, body))
        fail_msg("%s: %s", b->fail.param, b->fail.message);
    assert_int_equal(json_parse(b->json, b->turn.raw, &root), 0); /* always a chat body */
    assert_true(json_is(json_get(root, "messages"), JSON_ARRAY));
}

static void refused(struct bench *b, const char *body, enum fail_kind kind, const char *param)
{
    assert_int_equal(parse(b, body), -1);
    assert_int_equal(b->fail.kind, kind);
    assert_string_equal(b->fail.param, param);
    assert_true(b->fail.message[0]);
}

/* The messages as one text: "u:hello a:[think/sig]yes(call add@1 {…}) t:call=42". */
static void expect_messages(struct bench *b, const char *wanted)
{
    static const char roles[] = "suat";
    struct buffer out;
    buffer_init(&out, 1 << 16);
    for (size_t i = 0; i < b->turn.n_messages; i++) {
        const struct message *m = &b->turn.messages[i];
        buffer_printf(&out, "%s%c:", i ? " " : "", roles[m->role]);
        if (m->role == ROLE_TOOL)
            buffer_printf(&out, "%.*s=", SPAN_ARGS(m->tool_call_id));
        for (size_t k = 0; k < m->n_parts; k++) {
            const struct part *p = &m->parts[k];
            if (p->kind == PART_THINKING)
                buffer_printf(&out, "[%.*s/%.*s]", SPAN_ARGS(p->text), SPAN_ARGS(p->signature));
            else if (p->kind == PART_REDACTED)
                buffer_printf(&out, "[#%.*s]", SPAN_ARGS(p->signature));
            else if (p->kind == PART_TEXT)
                buffer_append(&out, p->text);
            else
                buffer_printf(&out, "<%d>", p->kind);
        }
        for (size_t k = 0; k < m->n_tool_calls; k++) {
            const struct tool_call *c = &m->tool_calls[k];
            buffer_printf(&out, "(%.*s %.*s@%zu %.*s)", SPAN_ARGS(c->id), SPAN_ARGS(c->name),
                          c->after, SPAN_ARGS(c->arguments));
        }
    }
    buffer_char(&out, '\0');
    assert_string_equal(out.p, wanted);
    buffer_free(&out);
}

#define HEAD  "{\"model\":\"m\","
#define HELLO "\"input\":\"hello\""

static void texts_and_messages(void **state)
{
    struct bench *b = *state;
    good(b, HEAD HELLO "}");
    expect_messages(b, "u:hello");
    assert_true(b->request.store && !b->turn.stream && b->turn.n == 1);
    good(b, HEAD "\"instructions\":\"Be\",\"input\":[{\"role\":\"user\",\"content\":\"a\"},"
                 "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":"
                 "\"output_text\",\"text\":\"b\"}]},{\"role\":\"developer\",\"content\":\"c\"},"
                 "{\"role\":\"user\",\"content\":[]}]}");
    expect_messages(b, "s:Be u:a a:b s:c u:");
    assert_int_equal(b->turn.messages[1].index, 0);
    assert_int_equal(b->turn.messages[2].index, 1);
    assert_string_equal(b->turn.list, "input");
}

/* The items of one answer are one message; two messages side by side stay two. */
static void items_of_an_answer_are_one_message(void **state)
{
    struct bench *b = *state;
    good(b, HEAD "\"input\":["
                 "{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"x\"},"
                 "{\"type\":\"summary_text\",\"text\":\"y\"}]},"
                 "{\"role\":\"assistant\",\"content\":\"one\"},"
                 "{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":"
                 "\"{}\"},"
                 "{\"role\":\"assistant\",\"content\":\"two\"},"
                 "{\"type\":\"custom_tool_call\",\"call_id\":\"c2\",\"name\":\"g\",\"input\":"
                 "\"a\\\"b\"},"
                 "{\"type\":\"web_search_call\",\"id\":\"ws\"},"
                 "{\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"r1\"},"
                 "{\"type\":\"custom_tool_call_output\",\"call_id\":\"c2\",\"output\":[{\"type\":"
                 "\"input_text\",\"text\":\"r2\"}]},"
                 "{\"role\":\"assistant\",\"content\":\"three\"},"
                 "{\"role\":\"assistant\",\"content\":\"four\"}]}");
    expect_messages(b, "a:[x\n\ny/]onetwo(c1 f@2 {})(c2 g@3 {\"input\":\"a\\\"b\"}) t:c1=r1 "
                       "t:c2=r2 a:three a:four");
    assert_true(span_eq(b->turn.messages[0].reasoning, SPAN("x\n\ny")));
}

static struct span seal(struct bench *b, const char *text, const char *signature,
                        const char *redacted)
{
    const struct sealed_reasoning s = {span_hash(SPAN_HASH, span_str(text)), span_str(signature),
                                       span_str(redacted)};
    return sealed_reasoning_write(&b->arena, &s);
}

static void proofs_come_back_with_their_text(void **state)
{
    struct bench *b = *state;
    struct span proof = seal(b, "x", "SIG", ""), block = seal(b, "", "", "DATA");
    struct span body = arena_printf(
        &b->arena,
        HEAD "\"input\":["
             "{\"type\":\"reasoning\",\"summary\":[{\"text\":\"x\"}],\"encrypted_content\":"
             "\"%.*s\"},"
             "{\"type\":\"reasoning\",\"summary\":[],\"encrypted_content\":\"%.*s\"},"
             "{\"type\":\"reasoning\",\"summary\":[{\"text\":\"x and more\"}],"
             "\"encrypted_content\":\"%.*s\"},"
             "{\"type\":\"reasoning\",\"summary\":[{\"text\":\"short\"}],\"content\":[{\"type\":"
             "\"reasoning_text\",\"text\":\"long\"}],\"encrypted_content\":\"gAAAAA\"},"
             "{\"type\":\"reasoning\",\"summary\":[],\"encrypted_content\":\"gAAAAA\"}]}",
        SPAN_ARGS(proof), SPAN_ARGS(block), SPAN_ARGS(proof));
    good(b, body.p);
    expect_messages(b, "a:[x/SIG][#DATA][x and more/][long/]");
}

static void parts_of_all_kinds(void **state)
{
    struct bench *b = *state;
    good(b,
         HEAD "\"input\":[{\"role\":\"user\",\"content\":["
              "{\"type\":\"input_text\",\"text\":\"\\u0041\"},"
              "{\"type\":\"input_image\",\"image_url\":\"data:image/png;base64,AAAA\"},"
              "{\"type\":\"input_image\",\"image_url\":\"https://a/b.png\"},"
              "{\"type\":\"input_file\",\"filename\":\"a.pdf\",\"file_data\":"
              "\"data:application/pdf;base64,BBBB\"},"
              "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"CCCC\",\"format\":\"wav\"}},"
              "{\"type\":\"input_file\",\"file_id\":\"file-1\"}]}]}");
    const struct message *m = b->turn.messages;
    assert_int_equal(m->n_parts, 6);
    assert_true(span_eq(m->parts[0].text, SPAN("A")));
    assert_true(span_eq(m->parts[1].base64, SPAN("AAAA")) &&
                span_eq(m->parts[1].mime, SPAN("image/png")));
    assert_true(span_eq(m->parts[2].url, SPAN("https://a/b.png")) && !m->parts[2].base64.p);
    assert_true(span_eq(m->parts[3].filename, SPAN("a.pdf")) &&
                span_eq(m->parts[3].base64, SPAN("BBBB")));
    assert_true(span_eq(m->parts[4].base64, SPAN("CCCC")));
    assert_true(span_eq(m->parts[5].file_id, SPAN("file-1")) && m->parts[5].index == 5);
    assert_true(b->turn.has_images && b->turn.has_files && b->turn.has_audio);
}

static void parameters(void **state)
{
    struct bench *b = *state;
    good(b, HEAD HELLO ",\"stream\":true,\"store\":false,\"max_output_tokens\":5,\"temperature\":0."
                       "5,\"top_p\":null,\"reasoning\":{\"effort\":\"high\"},\"include\":["
                       "\"reasoning.encrypted_content\"],\"parallel_tool_calls\":false,"
                       "\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"schema\":{"
                       "\"type\":\"object\"},\"strict\":true},\"verbosity\":\"low\"},"
                       "\"metadata\":{\"k\":\"v\"},\"unheard\":[1]}");
    const struct turn *t = &b->turn;
    assert_true(t->stream && !b->request.store && b->request.encrypted);
    assert_true(t->has_max_tokens && t->max_tokens == 5 && t->max_includes_reasoning);
    assert_true(t->has_temperature && t->temperature == 0.5 && !t->has_top_p);
    assert_int_equal(t->reasoning, REASONING_ON);
    assert_true(span_eq(t->reasoning_effort, SPAN("high")) && t->no_parallel_tool_calls);
    assert_true(span_eq(t->response_format_raw,
                        SPAN("{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":"
                             "{\"type\":\"object\"},\"strict\":true}}")));
    assert_true(span_find(t->raw, SPAN("\"verbosity\":\"low\"")) > 0);
    assert_true(span_find(t->raw, SPAN("unheard")) < 0);
    assert_true(span_find(b->request.echo, SPAN("\"metadata\":{\"k\":\"v\"}")) >= 0);
    good(b, HEAD HELLO ",\"text\":{\"format\":{\"type\":\"text\"}},\"stream\":null}");
    assert_false(t->response_format_raw.p || t->stream);
}

static void tools_in_the_chat_apis_form(void **state)
{
    struct bench *b = *state;
    good(b, HEAD HELLO ",\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"description\":\"d\","
                       "\"parameters\":{\"x\":1},\"strict\":false},{\"type\":\"web_search\"},"
                       "{\"type\":\"custom\",\"name\":\"g\"}],\"tool_choice\":{\"type\":\"custom\","
                       "\"name\":\"g\"}}");
    const struct turn *t = &b->turn;
    assert_true(span_starts(
        t->tools_raw, SPAN("[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":"
                           "\"d\",\"parameters\":{\"x\":1},\"strict\":false}},{\"type\":"
                           "\"function\",\"function\":{\"name\":\"g\",\"description\":\"\","
                           "\"parameters\":{\"type\":\"object\"")));
    assert_true(
        span_eq(t->tool_choice_raw, SPAN("{\"type\":\"function\",\"function\":{\"name\":\"g\"}}")));
    assert_true(t->tools_wanted && !t->tools_foreign && b->request.n_custom == 1);
    good(b, HEAD HELLO ",\"tools\":[{\"type\":\"mcp\"}],\"tool_choice\":\"auto\"}");
    assert_false(t->tools_wanted || t->tools_raw.p || t->tool_choice_raw.p);
    good(b, HEAD HELLO ",\"tools\":[{\"type\":\"function\",\"name\":\"f\"}],\"tool_choice\":"
                       "\"none\"}");
    assert_true(t->tools_raw.p && !t->tools_wanted);
    refused(b, HEAD HELLO ",\"tools\":[{\"type\":\"mcp\"}],\"tool_choice\":\"required\"}",
            FAIL_UNSUPPORTED, "tool_choice");
    refused(b, HEAD HELLO ",\"tool_choice\":{\"type\":\"mcp\"}}", FAIL_UNSUPPORTED, "tool_choice");
    refused(b, HEAD HELLO ",\"tools\":[{\"type\":\"custom\"}]}", FAIL_INVALID_VALUE,
            "tools[0].name");
}

static void what_a_body_needs_of_the_store(void **state)
{
    struct bench *b = *state;
    struct response_wish wish;
    struct span body = arena_dup(
        &b->arena,
        SPAN("{\"previous_response_id\":\"resp_p\",\"input\":[{\"type\":\"item_reference\",\"id\":"
             "\"msg_a_0\"},{\"type\":\"item_reference\",\"id\":\"fc_a_1\"},{\"type\":"
             "\"item_reference\",\"id\":\"rs_b_0\"},{\"type\":\"item_reference\",\"id\":\"odd\"}]"
             "}"));
    assert_int_equal(responses_request_needs(b->json, &b->arena, (char *)(uintptr_t)body.p, body.n,
                                             &wish, &b->fail),
                     0);
    assert_true(span_eq(wish.previous, SPAN("resp_p")) && wish.n_references == 2);
    assert_true(span_eq(wish.references[0], SPAN("resp_a")) &&
                span_eq(wish.references[1], SPAN("resp_b")));
    body = arena_dup(&b->arena, SPAN("{\"input\":\"previous_response_id"));
    assert_int_equal(responses_request_needs(b->json, &b->arena, (char *)(uintptr_t)body.p, body.n,
                                             &wish, &b->fail),
                     0);
    assert_true(!wish.previous.n && !wish.n_references);
}

static void a_chain_is_put_in_front(void **state)
{
    struct bench *b = *state;
    b->n_found = 3;
    b->found[0] = (struct response_found){
        .id = SPAN("resp_r"),
        .body = SPAN("{\"response\":{\"output\":[{\"type\":\"function_call\",\"id\":\"fc_r_0\","
                     "\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"}]},\"input\":[]}")};
    b->found[1] = (struct response_found){
        .id = SPAN("resp_1"),
        .body = SPAN("{\"response\":{\"output\":[{\"type\":\"message\",\"role\":\"assistant\","
                     "\"content\":[{\"type\":\"output_text\",\"text\":\"a1\"}]}]},\"input\":[{"
                     "\"role\":\"user\",\"content\":\"q1\"}]}"),
        .in_chain = true};
    b->found[2] = b->found[1];
    b->found[2].id = SPAN("resp_2");
    good(b, HEAD "\"previous_response_id\":\"resp_2\",\"instructions\":\"I\",\"input\":[{\"type\":"
                 "\"item_reference\",\"id\":\"fc_r_0\"},{\"type\":\"function_call_output\","
                 "\"call_id\":\"c\",\"output\":\"o\"}]}");
    expect_messages(b, "s:I u:q1 a:a1 u:q1 a:a1(c f@1 {}) t:c=o");
    assert_int_equal(b->turn.messages[1].index, -1);
    assert_int_equal(b->request.n_items, 2); /* what is stored has the item itself */
    assert_true(span_find(b->request.items[0], SPAN("function_call")) > 0);
    refused(b, HEAD HELLO ",\"previous_response_id\":\"resp_3\"}", FAIL_PREVIOUS_RESPONSE,
            "previous_response_id");
    refused(b, HEAD "\"input\":[{\"type\":\"item_reference\",\"id\":\"fc_r_1\"}]}",
            FAIL_INVALID_VALUE, "input[0]");
    b->found[2].body = SPAN("{\"response\":");
    refused(b, HEAD HELLO ",\"previous_response_id\":\"resp_2\"}", FAIL_INTERNAL, "");
}

static void allowed_tools(void **state)
{
    struct bench *b = *state;
    good(b, HEAD HELLO ",\"tools\":[{\"type\":\"function\",\"name\":\"a\"},{\"type\":\"custom\","
                       "\"name\":\"b\"},{\"type\":\"function\",\"name\":\"c\"}],\"tool_choice\":{"
                       "\"type\":\"allowed_tools\",\"mode\":\"required\",\"tools\":[{\"type\":"
                       "\"function\",\"name\":\"c\"},{\"type\":\"mcp\"},{\"type\":\"function\","
                       "\"name\":\"a\"}]}}");
    assert_true(span_eq(b->turn.tools_raw,
                        SPAN("[{\"type\":\"function\",\"function\":{\"name\":\"a\"}},{\"type\":"
                             "\"function\",\"function\":{\"name\":\"c\"}}]")));
    assert_true(span_eq(b->turn.tool_choice_raw, SPAN("\"required\"")));
}

/* The time of a request grows with its length, not with its square: it is all the loop's. */
static void large_requests_take_no_time(void **state)
{
    enum { N = 50000, SECONDS = 10 };
    struct bench *b = *state;
    struct buffer body, stored;
    buffer_init(&stored, 1 << 28);
    buffer_init(&body, 1 << 28);
    json_parser_destroy(b->json);
    b->json = json_parser_create(1 << 24);
    assert_non_null(b->json);
    buffer_printf(&stored, "{\"response\":{\"output\":[]},\"input\":[");
    buffer_printf(&body, HEAD "\"input\":[");
    for (int i = 0; i < N; i++) {
        buffer_printf(&stored, "%s{\"id\":\"msg_r_i%d\",\"role\":\"user\",\"content\":\"%d\"}",
                      i ? "," : "", i, i);
        buffer_printf(&body, "%s{\"type\":\"item_reference\",\"id\":\"msg_r_i%d\"}", i ? "," : "",
                      N - 1 - i);
    }
    buffer_printf(&stored, "]}");
    buffer_printf(&body, "],\"tools\":[");
    for (int i = 0; i < N; i++)
        buffer_printf(&body, "%s{\"type\":\"function\",\"name\":\"f%d\"}", i ? "," : "", i);
    buffer_printf(&body, "],\"tool_choice\":{\"type\":\"allowed_tools\",\"tools\":[");
    for (int i = 0; i < N; i++)
        buffer_printf(&body, "%s{\"name\":\"f%d\"}", i ? "," : "", N - 1 - i);
    buffer_printf(&body, "]}}");
    buffer_char(&body, '\0');
    b->n_found = 1;
    b->found[0] = (struct response_found){.id = SPAN("resp_r"), .body = buffer_span(&stored)};
    clock_t before = clock();
    assert_int_equal(parse(b, body.p), 0);
    assert_true(clock() - before < (clock_t)SECONDS * CLOCKS_PER_SEC);
    assert_int_equal(b->turn.n_messages, N);
    assert_true(span_eq(b->turn.messages[0].parts->text, SPAN("49999")));
    assert_true(span_find(b->turn.tools_raw, SPAN("\"f49999\"")) > 0);
    buffer_free(&body);
    buffer_free(&stored);
}

static void what_references_stand_for_is_bounded(void **state)
{
    enum { LONG = 1 << 20, TIMES = 33 };
    struct bench *b = *state;
    struct buffer body, stored;
    buffer_init(&stored, 1 << 22);
    buffer_init(&body, 1 << 22);
    json_parser_destroy(b->json);
    b->json = json_parser_create(1 << 22);
    assert_non_null(b->json);
    buffer_printf(&stored, "{\"input\":[{\"id\":\"msg_r_0\",\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < LONG; i++)
        buffer_char(&stored, 'a');
    buffer_printf(&stored, "\"}]}");
    buffer_printf(&body, HEAD "\"input\":[");
    for (int i = 0; i < TIMES; i++)
        buffer_printf(&body, "%s{\"type\":\"item_reference\",\"id\":\"msg_r_0\"}", i ? "," : "");
    buffer_printf(&body, "]}");
    buffer_char(&body, '\0');
    b->n_found = 1;
    b->found[0] = (struct response_found){.id = SPAN("resp_r"), .body = buffer_span(&stored)};
    refused(b, body.p, FAIL_INVALID_VALUE, "input[31]");
    buffer_free(&body);
    buffer_free(&stored);
}

static void lists_are_long_but_not_endless(void **state)
{
    static const struct {
        const char *before, *one, *behind;
        size_t most;
        const char *param;
    } rows[] = {
        {"\"input\":[", "{\"role\":\"user\",\"content\":\"a\"}", "]}", 100000, "input"},
        {"\"input\":[{\"role\":\"user\",\"content\":[", "{\"type\":\"input_text\",\"text\":\"a\"}",
         "]}]}", 200000, "input"},
        {"\"input\":\"a\",\"tools\":[", "{\"type\":\"function\",\"name\":\"f\"}", "]}", 100000,
         "tools"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t over = 0; over < 2; over++) {
            struct bench *b = NULL;
            char before[200];
            set_up((void **)&b);
            snprintf(before, sizeof before, HEAD "%s", rows[i].before);
            char *body = repeated(before, rows[i].one, rows[i].most + over, rows[i].behind);
            if (over)
                refused(b, body, FAIL_INVALID_VALUE, rows[i].param);
            else
                assert_int_equal(parse(b, body), 0);
            if (over)
                assert_non_null(strstr(b->fail.message, " must be at most 100000"));
            tear_down((void **)&b);
            free(body);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(texts_and_messages),
        TEST(items_of_an_answer_are_one_message),
        TEST(proofs_come_back_with_their_text),
        TEST(parts_of_all_kinds),
        TEST(parameters),
        TEST(tools_in_the_chat_apis_form),
        TEST(what_a_body_needs_of_the_store),
        TEST(a_chain_is_put_in_front),
        TEST(allowed_tools),
        TEST(large_requests_take_no_time),
        TEST(what_references_stand_for_is_bounded),
        TEST(lists_are_long_but_not_endless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
