/*
 * test/memory/scenarios_requests.c - requests on the wire, bodies of every API that become turns,
 * and the turns that sites get.
 */
#include "gateway/api.h"
#include "gateway/chat_request.h"
#include "gateway/http_parse.h"
#include "gateway/structured_output.h"
#include "gateway/tool_emulation.h"
#include "gateway/tool_list.h"
#include "test/memory/scenario.h"

#define PIXEL "data:image/png;base64,iVBORw0KGgo="
#define FUNCTION                                                                                   \
    "\"name\":\"get\",\"description\":\"gets \\u00e9\",\"parameters\":{\"type\":\"object\","       \
    "\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"$ref\":\"#/$defs/x\"}},\"required\":["   \
    "\"a\"],\"$defs\":{\"x\":{\"enum\":[1,2]}}}"

static const char chat[] =
    "{\"model\":\"m\",\"stream\":true,\"n\":2,\"temperature\":0.5,\"stop\":[\"a\",\"\\n\"],"
    "\"max_tokens\":100,\"user\":\"u\",\"metadata\":{\"a\":\"b\"},\"tools\":[{\"type\":"
    "\"function\","
    "\"function\":{" FUNCTION "}}],\"tool_choice\":\"required\",\"response_format\":{\"type\":"
    "\"json_schema\",\"json_schema\":{\"name\":\"s\",\"schema\":{\"type\":\"object\"}}},"
    "\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"good\\\"\"},{\"role\":\"user\","
    "\"content\":[{\"type\":\"text\",\"text\":\"look\\n\"},{\"type\":\"image_url\",\"image_url\":{"
    "\"url\":\"" PIXEL "\"}},{\"type\":\"file\",\"file\":{\"filename\":\"a.txt\",\"file_data\":"
    "\"data:text/plain;base64,aGVsbG8=\"}}]},{\"role\":\"assistant\",\"content\":null,"
    "\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"get\","
    "\"arguments\":\"{\\\"a\\\":\\\"x\\\"}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"c1\","
    "\"content\":\"sunny\"},{\"role\":\"user\",\"content\":\"and?\"}],\"extra\":{\"x\":1}}";

static const char completions[] =
    "{\"model\":\"m\",\"prompt\":[\"one\",\"two \\u00e9\"],\"echo\":true,\"stop\":\"x\",\"n\":2}";

static const char messages[] =
    "{\"model\":\"m\",\"max_tokens\":1000,\"system\":[{\"type\":\"text\",\"text\":\"be good\"}],"
    "\"tools\":[{\"name\":\"get\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\","
    "\"properties\":{\"a\":{\"type\":\"string\"}}}}],\"tool_choice\":{\"type\":\"any\"},"
    "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000},\"stop_sequences\":[\"x\"],"
    "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\\n\"},{"
    "\"type\":"
    "\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":"
    "\"iVBORw0KGgo=\"}}]},{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":"
    "\"hm\",\"signature\":\"s\"},{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"get\",\"input\":{"
    "\"a\":\"x\"}}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":"
    "\"t1\",\"content\":[{\"type\":\"text\",\"text\":\"sunny\"}]},{\"type\":\"text\",\"text\":"
    "\"and?\"}]}]}";

static const char responses[] =
    "{\"model\":\"m\",\"instructions\":\"be good\",\"previous_response_id\":\"resp_x\",\"store\":"
    "true,\"tools\":[{\"type\":\"function\"," FUNCTION "}],\"text\":{\"format\":{\"type\":"
    "\"json_schema\",\"name\":\"s\",\"schema\":{\"type\":\"object\"}}},\"reasoning\":{\"effort\":"
    "\"low\"},\"metadata\":{\"a\":\"b\"},\"input\":[{\"role\":\"user\",\"content\":[{\"type\":"
    "\"input_text\",\"text\":\"look\\n\"},{\"type\":\"input_image\",\"image_url\":\"" PIXEL
    "\"}]},{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"get\",\"arguments\":\"{}\"},{"
    "\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"sunny\"},{\"type\":"
    "\"item_reference\",\"id\":\"msg_1\"},{\"role\":\"user\",\"content\":\"and?\"}]}";

static const char stored[] =
    "{\"response\":{\"output\":[{\"type\":\"message\",\"id\":\"msg_1\",\"role\":\"assistant\","
    "\"content\":[{\"type\":\"output_text\",\"text\":\"hi\",\"annotations\":[]}]}]},\"input\":[{"
    "\"type\":\"message\",\"id\":\"msg_0\",\"role\":\"user\",\"content\":\"hello\"}]}";

static const char form[] = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n"
                           "--b\r\nContent-Disposition: form-data; name=\"file\"; "
                           "filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n";

struct body {
    const struct api *api;
    const char *text, *type;
};

static const struct body bodies[] = {
    {&api_chat, chat, "application/json"},
    {&api_completions, completions, "application/json"},
    {&api_messages, messages, "application/json"},
    {&api_responses, responses, "application/json"},
    {&api_relay, "{\"model\":\"m\",\"input\":[\"x\"]}", "application/json"},
    {&api_relay, form, "multipart/form-data; boundary=b"},
};

static void say_turn(const struct turn *turn)
{
    scenario_sayf("%.*s %zu messages, n %d\n", SPAN_ARGS(turn->model), turn->n_messages,
                  (int)turn->n);
    scenario_say(turn->raw);
    for (size_t i = 0; i < turn->n_messages; i++) {
        const struct message *m = &turn->messages[i];
        for (size_t k = 0; k < m->n_parts; k++)
            scenario_say(m->parts[k].text);
        for (size_t k = 0; k < m->n_tool_calls; k++)
            scenario_say(m->tool_calls[k].arguments);
    }
}

static int parse(const struct body *b, struct json_parser *json, struct arena *arena,
                 struct prompts *prompts, struct fail *fail)
{
    struct span body = arena_dup(arena, span_str(b->text));
    struct span found_body = arena_dup(arena, span_str(stored));
    if (!body.p || !found_body.p)
        return fail_memory(fail);
    const struct response_found found = {
        .id = SPAN("resp_x"), .body = found_body, .in_chain = true};
    struct api_request request = {.body = (char *)(uintptr_t)body.p,
                                  .n = body.n,
                                  .type = span_str(b->type),
                                  .path = SPAN("/embeddings"),
                                  .found = &found,
                                  .n_found = 1};
    struct response_wish wish = {0};
    if (b->api->state && b->api->state->needs(&request, json, arena, &wish, fail))
        return -1;
    return b->api->parse(&request, json, arena, prompts, fail);
}

/* What sites get that cannot all of it. */
static int make_others(struct json_parser *json, struct arena *arena, const struct turn *turn,
                       struct fail *fail)
{
    static const struct turn_option options[] = {
        {SPAN_INIT("temperature"), SPAN_INIT("\"temperature\""), SPAN_INIT("0.1")},
        {SPAN_INIT("user"), SPAN_INIT("\"user\""), SPAN_INIT("\"other\"")}};
    struct structured_wish wish;
    struct tool_list tools;
    const struct turn *made = turn_with_options(json, arena, turn, options, 2, fail);
    if (!made)
        return -1;
    say_turn(made);
    if (!(made = turn_with_one_choice(arena, made)))
        return fail_memory(fail);
    if (turn->tools_raw.n && tool_list_read(arena, json, turn->tools_raw, &tools, fail))
        return -1;
    if (structured_wish_read(arena, json, made, &wish, fail))
        return -1;
    if (!(made = structured_turn(arena, made, &wish, fail)))
        return -1;
    say_turn(made);
    return 0;
}

static enum scenario_end request(const void *what)
{
    const struct body *b = what;
    struct arena arena;
    struct fail fail = {0};
    struct prompts prompts = {0};
    enum scenario_end end = SCENARIO_GOOD;
    struct json_parser *json = json_parser_create(1 << 20);
    if (!json)
        return SCENARIO_SHORT;
    arena_init(&arena);
    if (parse(b, json, &arena, &prompts, &fail)) {
        end = scenario_short(&fail);
    } else {
        SCENARIO_CHECK(prompts.turns);
        for (size_t i = 0; i < prompts.n; i++)
            say_turn(&prompts.turns[i]);
        if (b->api == &api_chat && make_others(json, &arena, prompts.turns, &fail))
            end = scenario_short(&fail);
    }
    arena_free(&arena);
    json_parser_destroy(json);
    return end;
}

/* ---- on the wire ---- */

static const char wire[] =
    "POST /v1/chat/completions?x=%20y HTTP/1.1\r\nHost: localhost\r\n"
    "Authorization: Bearer k\r\nContent-Type: application/json\r\n"
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";

static enum scenario_end http(const void *what)
{
    struct http_parser p;
    struct http_problem problem = {0};
    struct span in = span_str(wire);
    enum http_parse_event event = HTTP_PARSE_MORE;
    http_parser_init(&p);
    while (in.n && event != HTTP_PARSE_FAILED) {
        event = http_parser_next(&p, &in, &problem);
        if (event == HTTP_PARSE_HEAD) {
            scenario_say(p.request.target);
            scenario_say(p.request.path);
            scenario_sayf(" %zu\n", p.request.n_headers);
            event = http_parser_begin_body(&p, 1000, &problem);
        }
        if (event == HTTP_PARSE_DONE) {
            scenario_say(buffer_span(&p.body));
            http_parser_reset(&p);
        }
    }
    if (event == HTTP_PARSE_FAILED)
        SCENARIO_CHECK(problem.status == 503);
    http_parser_reset(&p);
    return event == HTTP_PARSE_FAILED ? scenario_short(&problem.fail) : SCENARIO_GOOD;
}

const struct scenario scenarios_requests[] = {
    {"requests on the wire", http, NULL},
    {"request: chat", request, &bodies[0]},
    {"request: completions", request, &bodies[1]},
    {"request: messages", request, &bodies[2]},
    {"request: responses", request, &bodies[3]},
    {"request: relay", request, &bodies[4]},
    {"request: relay of a form", request, &bodies[5]},
    {NULL, NULL, NULL},
};
