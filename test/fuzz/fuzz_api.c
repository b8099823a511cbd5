/*
 * test/fuzz/fuzz_api.c - bodies of the APIs besides chat: completions, and relays as JSON and as
 * forms.
 *
 * The first byte chooses the API. What must hold: no finding; a refusal has a kind and a sentence;
 * a relay's parts are the body without the model's name.
 */
#include <assert.h>

#include "gateway/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_relay(const struct turn *turn, struct span body)
{
    const struct relay *r = &turn->relay;
    assert(r->before.p >= body.p && r->after.p + r->after.n <= body.p + body.n);
    assert(r->before.p + r->before.n <= r->after.p);
    assert(turn->model.n > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct api *const apis[] = {&api_completions, &api_relay, &api_relay};
    if (size == 0)
        return 0;
    size_t which = data[0] % 3;
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
        if (which)
            check_relay(prompts.turns, body);
    }
    arena_free(&arena);
    json_parser_destroy(json);
    return 0;
}
