/*
 * test/fuzz/fuzz_api.c - bodies of the APIs besides chat: completions, relays as JSON and as forms,
 * Anthropic's messages, Responses.
 *
 * The first byte chooses the API. What must hold: no finding; a refusal has a kind and a sentence;
 * a relay's parts are the body without the model's name; what a message becomes as a chat is a chat
 * that the chat front takes, and what a Response tells back and stores of its request is valid
 * JSON.
 */
#include <assert.h>

#include "gateway/api.h"
#include "gateway/chat_request.h"
#include "gateway/responses_writer.h"

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

static void check_json(struct json_parser *json, struct span text)
{
    struct json root;
    assert(json_parse(json, text, &root) == JSON_OK);
}

/* The whole way with nothing in between: an answer of one word, and what is stored of it. */
static void check_response(struct json_parser *json, struct arena *arena,
                           const struct prompts *prompts)
{
    const struct answer_meta meta = {.id = SPAN("resp_x"), .model = SPAN("m"), .created = 1};
    const struct usage_counts usage = {.prompt = 1, .completion = 1};
    const struct finish_note stop = {.reason = SPAN("stop")};
    struct buffer body, record;
    check_json(json, prompts->turns->raw);
    buffer_init(&body, 1 << 26);
    buffer_init(&record, 1 << 26);
    struct answer_writer *w = api_responses.whole_writer(arena, &meta, prompts);
    assert(w && w->ops->text(w, 0, SPAN("word")) == 0 && w->ops->finish(w, 0, &stop) == 0);
    assert(w->ops->end(w, &usage, &body) == 0);
    check_json(json, buffer_span(&body));
    assert(responses_writer_record(w, &usage, &record) == 0);
    check_json(json, buffer_span(&record));
    w->ops->destroy(w);
    buffer_free(&body);
    buffer_free(&record);
}

/* What the first byte says: a found response whose body is the rest, or a request. */
static void read_stored(struct json_parser *json, struct arena *arena, struct span stored)
{
    struct response_found found[2] = {{.id = SPAN("resp_x"), .body = stored, .in_chain = true},
                                      {.id = SPAN("resp_y"), .body = stored}};
    struct turn turn;
    struct responses_request request;
    struct fail fail = {0};
    struct span body =
        arena_dup(arena, SPAN("{\"model\":\"m\",\"previous_response_id\":\"resp_x\",\"input\":[{"
                              "\"type\":\"item_reference\",\"id\":\"a\"},{\"role\":\"user\","
                              "\"content\":\"x\"}]}"));
    if (responses_request_parse(json, arena, (char *)(uintptr_t)body.p, body.n, found, 2, &turn,
                                &request, &fail))
        assert(fail.kind != FAIL_NONE && fail.message[0]);
    else
        check_json(json, turn.raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct api *const apis[] = {&api_completions, &api_relay, &api_relay,
                                             &api_messages, &api_responses};
    if (size == 0)
        return 0;
    size_t which = data[0] % 6;
    struct json_parser *json = json_parser_create(1 << 24);
    struct arena arena;
    struct prompts prompts = {0};
    struct fail fail = {0};
    arena_init(&arena);
    struct span body = arena_dup(&arena, span_of((const char *)data + 1, size - 1));
    struct response_wish wish;
    if (which == 5) {
        read_stored(json, &arena, body);
        arena_free(&arena);
        json_parser_destroy(json);
        return 0;
    }
    if (which == 4)
        responses_request_needs(json, &arena, (char *)(uintptr_t)body.p, body.n, &wish, &fail);
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
        else if (which == 4)
            check_response(json, &arena, &prompts);
        else if (which)
            check_relay(prompts.turns, body);
    }
    arena_free(&arena);
    json_parser_destroy(json);
    return 0;
}
