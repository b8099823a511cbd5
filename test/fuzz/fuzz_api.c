/*
 * test/fuzz/fuzz_api.c - bodies of the APIs besides chat: completions, relays as JSON and as forms,
 * Anthropic's messages.
 *
 * The first byte chooses the API. What must hold: no finding; a refusal has a kind and a sentence;
 * a relay's parts are the body without the model's name; what a message becomes as a chat is a chat
 * that the chat front takes.
 */
#include <assert.h>

#include "gateway/api.h"
#include "gateway/chat_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_relay(const struct turn *turn, struct span body)
{
    const struct relay *r = &turn->relay;
    assert(r->before.p >= body.p && r->after.p + r->after.n <= body.p + body.n);
    assert(r->before.p + r->before.n <= r->after.p);
    assert(turn->model.n > 0);
}

static void check_messages(struct json_parser *json, struct arena *arena, const struct turn *turn)
{
    struct turn chat;
    struct fail fail;
    struct span raw = arena_dup(arena, turn->raw);
    int good = !chat_request_parse(json, arena, (char *)(uintptr_t)raw.p, raw.n, &chat, &fail);
    assert(good && turn->n_messages > 0);
    assert(span_eq(chat.model, turn->model) && chat.stream == turn->stream);
    for (size_t i = 0; i < turn->n_messages; i++) {
        const struct message *m = &turn->messages[i];
        for (size_t k = 0; k < m->n_tool_calls; k++)
            assert(m->tool_calls[k].after <= m->n_parts);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct api *const apis[] = {&api_completions, &api_relay, &api_relay,
                                             &api_messages};
    if (size == 0)
        return 0;
    size_t which = data[0] % 4;
    struct json_parser *json = json_parser_create(1 << 24);
    struct arena arena;
    struct prompts prompts = {0};
    struct fail fail = {0};
    arena_init(&arena);
    struct span body = arena_dup(&arena, span_of((const char *)data + 1, size - 1));
    struct api_request request = {
        .body = (char *)(uintptr_t)body.p,
        .n = body.n,
        .type = which == 2 ? SPAN("multipart/form-data; boundary=\"b\"") : SPAN("application/json"),
        .path = SPAN("/x"),
    };
    if (apis[which]->parse(&request, json, &arena, &prompts, &fail)) {
        assert(fail.kind != FAIL_NONE && fail.message[0]);
    } else {
        assert(prompts.n > 0 && prompts.n * (size_t)prompts.turns->n <= EMITTER_CHOICES);
        if (which == 3)
            check_messages(json, &arena, prompts.turns);
        else if (which)
            check_relay(prompts.turns, body);
    }
    arena_free(&arena);
    json_parser_destroy(json);
    return 0;
}
