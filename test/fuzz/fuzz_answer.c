/*
 * test/fuzz/fuzz_answer.c - text on its way to a client through every filter of an answer: leaked
 * thinking, the seams of continuations, calls of tools, stop texts, token limits, held back or not,
 * streamed and whole, chat and completions.
 *
 * Input: three bytes of choices, then the text; each 0xFF cuts a piece; behind a piece that begins
 * with 0xFE the next run goes on. What must hold: no finding; each way ends; what is streamed is
 * lines of events with JSON.
 */
#include <assert.h>

#include "gateway/answer.h"
#include "gateway/api.h"
#include "gateway/tool_list.h"
#include "test/fuzz/check_events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As gateway/branch_continue.c does it. */
static void go_on(struct answer_feed *feed, const struct turn *turn)
{
    struct answer_run_state state;
    assert(answer_feed_run_over(feed, &state) == 0);
    if (state.other || state.cut)
        return;
    assert(utf8_valid(state.text));
    answer_feed_set_aside(feed);
    answer_feed_continue(feed, turn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct span stops[] = {SPAN_INIT("stop"), SPAN_INIT("</t"), SPAN_INIT("\n\n\n")};
    static const struct token_source estimated = {NULL, NULL};
    static const struct tool some_tools[] = {{.name = SPAN_INIT("get"), .takes_others = true},
                                             {.name = SPAN_INIT("put"), .takes_others = true}};
    static const struct tool_list tools = {some_tools, 2};
    if (size < 3)
        return 0;
    const struct api *api = data[0] & 1 ? &api_completions : &api_chat;
    bool stream = data[0] & 2;
    const struct answer_rules rules = {
        .reasoning = (enum reasoning_style)(data[0] >> 2 & 3),
        .stops = stops,
        .n_stops = data[0] & 16 ? 3 : 0,
        .max_tokens = data[1] & 15,
        .max_includes_reasoning = data[1] & 16,
        .may_continue = data[1] & 128,
        .tools = data[2] & 1 && !(data[1] & 128) ? &tools : NULL, /* one excludes the other */
        .one_call = data[2] & 2,
        .hold = data[2] & 4,
    };
    const struct answer_meta meta = {
        .id = SPAN("chatcmpl-1"), .model = SPAN("m"), .created = 1, .include_usage = data[0] & 32};
    const struct turn turn = {.n = 1};
    const struct prompts prompts = {.turns = &turn, .n = 1};
    struct json_parser *json = json_parser_create(1 << 24);
    struct arena arena;
    struct buffer out, body;
    struct answer answer;
    struct answer_feed feed;
    arena_init(&arena);
    buffer_init(&out, 1 << 26);
    buffer_init(&body, 1 << 26);
    answer_init(&answer,
                stream ? api->stream_writer(&arena, &meta, &prompts, &out)
                       : api->whole_writer(&arena, &meta, &prompts),
                &arena, &estimated, meta.id);
    answer_feed_add(&answer, &feed, &turn, 0, 1);
    answer_feed_begin(&feed, &rules);

    struct span text = span_of((const char *)data + 3, size - 3);
    bool reasoning = data[1] & 32;
    while (text.n) {
        ptrdiff_t cut = span_find_char(text, '\xFF');
        struct span piece = cut < 0 ? text : span_first(text, (size_t)cut);
        int r =
            reasoning ? delta_reasoning(&feed.sink, 0, piece) : delta_text(&feed.sink, 0, piece);
        assert(r == 0);
        if (rules.may_continue && span_starts(piece, SPAN("\xFE")))
            go_on(&feed, &turn);
        reasoning = data[1] & 64 ? !reasoning : reasoning;
        text = cut < 0 ? SPAN("") : span_from(text, (size_t)cut + 1);
    }
    if (data[2] & 8)
        assert(answer_feed_run_ended(&feed) == 0);
    assert(answer_end(&answer, &body) == 0);
    assert(!rules.max_tokens || rules.tools || /* the name of a call is whole */
           answer.usage.completion <= rules.max_tokens + answer.usage.reasoning);
    if (stream)
        check_events(json, buffer_span(&out));
    else
        assert(body.n > 0);
    answer_free(&answer);
    buffer_free(&out);
    buffer_free(&body);
    arena_free(&arena);
    json_parser_destroy(json);
    return 0;
}
