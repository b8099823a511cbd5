/*
 * test/memory/scenarios_answers.c - answers of every API, whole and streamed: deltas through all
 * filters into each writer.
 */
#include "gateway/answer.h"
#include "gateway/api.h"
#include "gateway/conversation_reuse.h"
#include "gateway/responses_writer.h"
#include "gateway/tool_list.h"
#include "test/memory/scenario.h"

struct form {
    const struct api *api;
    const char *request;
    bool stream, fails; /* it ends with an error, behind its first words */
    struct answer_rules rules;
    bool calls_in_text;
};

#define CHAT "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define MESSAGES                                                                                   \
    "{\"model\":\"m\",\"max_tokens\":99,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define RESPONSES "{\"model\":\"m\",\"input\":\"hi\"}"
#define PROMPT    "{\"model\":\"m\",\"prompt\":\"hi\"}"

static const struct span stops[] = {SPAN_INIT("STOP")};
static const struct tool some_tools[] = {{.name = SPAN_INIT("get"), .takes_others = true}};
static const struct tool_list tools = {some_tools, 1};

#define FILTERS                                                                                    \
    {                                                                                              \
        .reasoning = REASONING_FIELD, .stops = stops, .n_stops = 1, .max_tokens = 5000             \
    }

static const struct form forms[] = {
    {&api_chat, CHAT, true, false, FILTERS, false},
    {&api_chat, CHAT, false, false, FILTERS, false},
    {&api_chat, CHAT, true, true, FILTERS, false},
    {&api_chat, CHAT, true, false, {.reasoning = REASONING_THINK, .hold = true}, false},
    {&api_chat, CHAT, true, false, {.tools = &tools}, true},
    {&api_chat, CHAT, false, false, {.tools = &tools, .hold = true}, true},
    {&api_completions, PROMPT, true, false, FILTERS, false},
    {&api_completions, PROMPT, false, false, FILTERS, false},
    {&api_messages, MESSAGES, true, false, FILTERS, false},
    {&api_messages, MESSAGES, false, false, FILTERS, false},
    {&api_messages, MESSAGES, true, true, FILTERS, false},
    {&api_responses, RESPONSES, true, false, FILTERS, false},
    {&api_responses, RESPONSES, false, false, FILTERS, false},
    {&api_responses, RESPONSES, true, true, FILTERS, false},
};

/* 0, or what the first delta that was not taken said. */
static int tell(const struct delta_sink *sink, bool calls_in_text)
{
    static const struct delta_usage usage = {.prompt = 3,
                                             .completion = 5,
                                             .total = 8,
                                             .cached = 1,
                                             .reasoning = 2,
                                             .raw = SPAN_INIT("{\"prompt_tokens\":3}")};
    if (delta_extra(sink, PLACE_TOP, 0, SPAN("\"system_fingerprint\":\"x\"")) ||
        delta_reasoning(sink, 0, SPAN("let me think, ")) ||
        delta_reasoning(sink, 0, SPAN("for a while")) || delta_signature(sink, 0, SPAN("c2ln")) ||
        delta_text(sink, 0, SPAN("Hello <think>leaked</think> wor")) ||
        delta_text(sink, 0, SPAN("ld \xC3\xA9, \"quoted\"\n")) ||
        delta_citation(sink, 0, SPAN("https://a.example/"), SPAN("A")))
        return -1;
    for (int i = 0; i < 40; i++) {
        if (delta_text(sink, 0, SPAN("some more text that makes buffers grow, word by word; ")))
            return -1;
    }
    if (calls_in_text) {
        if (delta_text(sink, 0, SPAN("<tool_call>\n{\"name\": \"get\", \"argu")) ||
            delta_text(sink, 0, SPAN("ments\": {\"a\": \"x\", \"b\": [1, 2]}}\n</tool_call>\n")))
            return -1;
    } else if (delta_tool_begin(sink, 0, 0, SPAN("call_1"), SPAN("get")) ||
               delta_tool_arguments(sink, 0, 0, SPAN("{\"a\":")) ||
               delta_tool_arguments(sink, 0, 0, SPAN("\"x\"}"))) {
        return -1;
    }
    return delta_usage(sink, &usage) ||
                   delta_finish(sink, 0, calls_in_text ? SPAN("stop") : SPAN("tool_calls"))
               ? -1
               : 0;
}

/* A stored response is more than an answer. */
static int record(const struct form *f, struct answer *answer, const struct prompts *prompts)
{
    struct span previous;
    struct buffer body;
    if (!f->api->state || !f->api->state->record)
        return 0;
    buffer_init(&body, 1 << 24);
    int r = answer_settle(answer)
                ? -1
                : f->api->state->record(prompts, answer->writer, &answer->usage, &previous, &body);
    if (r > 0)
        scenario_say(buffer_span(&body));
    buffer_free(&body);
    return r < 0 ? -1 : 0;
}

static enum scenario_end write_answer(const struct form *f, struct arena *arena,
                                      const struct prompts *prompts)
{
    static const struct token_source estimated = {NULL, NULL};
    const struct answer_meta meta = {.id = SPAN("id_1"),
                                     .model = SPAN("m"),
                                     .request_id = SPAN("req_1"),
                                     .created = 1,
                                     .include_usage = true};
    enum scenario_end end = SCENARIO_SHORT;
    struct buffer out, body;
    struct answer answer;
    struct answer_feed feed;
    struct answer_rules rules = f->rules;
    buffer_init(&out, 1 << 24);
    buffer_init(&body, 1 << 24);
    rules.told = conversation_told_create(arena);
    struct answer_writer *writer = f->stream ? f->api->stream_writer(arena, &meta, prompts, &out)
                                             : f->api->whole_writer(arena, &meta, prompts);
    if (!writer)
        return SCENARIO_SHORT;
    answer_init(&answer, writer, arena, &estimated, meta.id);
    answer_feed_add(&answer, &feed, prompts->turns, 0, 1);
    answer_feed_begin(&feed, &rules);
    int r = tell(&feed.sink, f->calls_in_text);
    answer_frame_done(&answer);
    if (r == 0 && f->fails) {
        struct fail fail;
        fail_set(&fail, FAIL_CUT, "the site's answer broke off");
        answer_error(&answer, &fail);
        end = out.error ? SCENARIO_SHORT : SCENARIO_GOOD;
    } else if (r == 0) {
        r = answer_feed_run_ended(&feed);
        if (r == 0 && rules.hold)
            r = answer_feed_release(&feed);
        if (r == 0)
            r = record(f, &answer, prompts);
        if (r == 0)
            r = answer_end(&answer, &body);
        end = r || out.error || body.error ? SCENARIO_SHORT : SCENARIO_GOOD;
    } else { /* what the gateway does then: an event, or what there is of a whole answer */
        struct fail fail;
        fail_memory(&fail);
        if (f->stream)
            answer_error(&answer, &fail);
        else
            answer_partial(&answer, &body);
    }
    scenario_say(buffer_span(&out));
    scenario_say(buffer_span(&body));
    answer_free(&answer);
    buffer_free(&out);
    buffer_free(&body);
    return end;
}

static enum scenario_end answer(const void *what)
{
    const struct form *f = what;
    struct prompts prompts = {0};
    struct fail fail = {0};
    struct arena arena;
    enum scenario_end end;
    struct json_parser *json = json_parser_create(1 << 20);
    if (!json)
        return SCENARIO_SHORT;
    arena_init(&arena);
    struct span body = arena_dup(&arena, span_str(f->request));
    const struct api_request request = {.body = (char *)(uintptr_t)body.p,
                                        .n = body.n,
                                        .type = SPAN("application/json"),
                                        .path = SPAN("/x")};
    if (!body.p)
        end = SCENARIO_SHORT;
    else if (f->api->parse(&request, json, &arena, &prompts, &fail))
        end = scenario_short(&fail);
    else
        end = write_answer(f, &arena, &prompts);
    arena_free(&arena);
    json_parser_destroy(json);
    return end;
}

const struct scenario scenarios_answers[] = {
    {"answer: chat, streamed", answer, &forms[0]},
    {"answer: chat, whole", answer, &forms[1]},
    {"answer: chat, broken off", answer, &forms[2]},
    {"answer: chat, held back", answer, &forms[3]},
    {"answer: chat, calls in the text", answer, &forms[4]},
    {"answer: chat, whole, calls in the text", answer, &forms[5]},
    {"answer: completions, streamed", answer, &forms[6]},
    {"answer: completions, whole", answer, &forms[7]},
    {"answer: messages, streamed", answer, &forms[8]},
    {"answer: messages, whole", answer, &forms[9]},
    {"answer: messages, broken off", answer, &forms[10]},
    {"answer: responses, streamed", answer, &forms[11]},
    {"answer: responses, whole", answer, &forms[12]},
    {"answer: responses, broken off", answer, &forms[13]},
    {NULL, NULL, NULL},
};
