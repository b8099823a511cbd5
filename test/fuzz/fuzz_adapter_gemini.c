/*
 * test/fuzz/fuzz_adapter_gemini.c - the Gemini API, both ways: any answer through decoder and
 * adapter, the text that comes out through the emitter; any client's request through the front into
 * a body.
 *
 * First byte: which way; of answers status, type and size of the pieces. What must hold: no
 * finding; a failure has a kind and a sentence; every event that the emitter writes is one line of
 * JSON; every body is JSON with contents that begin and end as Google wants them.
 */
#include <assert.h>
#include <stdlib.h>

#include "adapters/adapter.h"
#include "gateway/answer.h"
#include "gateway/chat_request.h"
#include "sse/frame_decoder.h"
#include "test/fuzz/check_events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_random(void *owner, void *bytes, size_t n) { memset(bytes, 7, n); }

static const struct credential key[] = {{SPAN_INIT("api_key"), SPAN_INIT("AIza-1")}};
static const struct site_settings site = {.name = SPAN_INIT("g"),
                                          .origin = SPAN_INIT("https://g.example")};

static void check_contents(struct json contents)
{
    size_t n = json_size(contents);
    struct span before = {"", 0};
    assert(n > 0);
    for (size_t i = 0; i < n && i < 100; i++) {
        struct span role = json_get_text(json_at(contents, i), "role");
        assert(span_eq(role, SPAN("user")) || span_eq(role, SPAN("model")));
        assert(!span_eq(role, before));
        assert(json_size(json_get(json_at(contents, i), "parts")) > 0);
        before = role;
    }
    assert(span_eq(json_get_text(json_at(contents, n - 1), "role"), SPAN("user")));
}

static void fuzz_request(struct span body)
{
    struct json_parser *json = json_parser_create(1 << 24);
    struct arena arena;
    struct turn turn;
    struct fail fail;
    struct json root;
    arena_init(&arena);
    body = arena_dup(&arena, body);
    if (chat_request_parse(json, &arena, (char *)(uintptr_t)body.p, body.n, &turn, &fail) == 0) {
        struct site_account account = {
            .name = SPAN("main"), .credentials = key, .n_credentials = 1};
        struct turn_run run = {.turn = &turn,
                               .site = &site,
                               .account = &account,
                               .model = turn.model,
                               .arena = &arena,
                               .json = json,
                               .random = make_random};
        struct site_request req = {0};
        run.state = arena_alloc(&arena, adapter_gemini.state_size);
        if (adapter_gemini.next(&run, &req) == ADAPTER_SEND) {
            assert(json_parse(json, req.body, &root) == JSON_OK);
            check_contents(json_get(root, "contents"));
        } else {
            assert(run.fail.kind != FAIL_NONE && run.fail.message[0]);
        }
    }
    arena_free(&arena);
    json_parser_destroy(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 200, 429, 400};
    static const struct span types[] = {SPAN_INIT("text/event-stream"),
                                        SPAN_INIT("text/event-stream"),
                                        SPAN_INIT("application/json"), SPAN_INIT("text/html")};
    if (size < 1)
        return 0;
    unsigned how = data[0];
    if (how & 128) {
        fuzz_request(span_of((const char *)data + 1, size - 1));
        return 0;
    }
    struct json_parser *json = json_parser_create(1 << 24);
    struct arena arena;
    struct turn turn;
    struct fail fail;
    struct buffer out;
    struct answer answer;
    arena_init(&arena);
    buffer_init(&out, 1 << 27);
    struct span body = arena_dup(&arena, SPAN("{\"model\":\"m\",\"stream\":true,\"messages\":[{"
                                              "\"role\":\"user\",\"content\":\"hi\"}],\"seed\":1,"
                                              "\"tools\":[{\"type\":\"function\","
                                              "\"function\":{\"name\":\"odd name\"}}]}"));
    assert(chat_request_parse(json, &arena, (char *)(uintptr_t)body.p, body.n, &turn, &fail) == 0);
    const struct answer_meta meta = {.id = SPAN("chatcmpl-1"), .model = SPAN("m"), .created = 1};
    const struct answer_rules rules = {.reasoning = REASONING_FIELD};
    static const struct token_source estimated = {NULL, NULL};
    struct answer_feed feed;
    answer_init(&answer, chat_stream_writer(&arena, &meta, NULL, &out), &arena, &estimated,
                meta.id);
    answer_feed_add(&answer, &feed, &turn, 0, 1);
    answer_feed_begin(&feed, &rules);
    struct site_account account = {.name = SPAN("main"), .credentials = key, .n_credentials = 1};
    struct turn_run run = {.turn = &turn,
                           .site = &site,
                           .account = &account,
                           .model = SPAN("gemini-2.5-flash"),
                           .arena = &arena,
                           .json = json,
                           .out = &feed.sink,
                           .now_ms = 1760000000000,
                           .random = make_random};
    run.state = arena_alloc(&arena, adapter_gemini.state_size);
    struct site_request req = {0};
    assert(adapter_gemini.next(&run, &req) == ADAPTER_SEND);

    struct site_head head = {.status = statuses[how & 3], .content_type = types[how >> 2 & 3]};
    enum framing framing = req.framing;
    enum adapter_verdict verdict = adapter_gemini.on_head(&run, &head, &framing);
    struct frame_decoder decoder;
    struct frame frame;
    size_t step = how & 16 ? how % 13 + 1 : size;
    frame_decoder_init(&decoder, framing, FRAME_LIMIT);
    for (size_t at = 1; at < size && verdict == ADAPTER_GO_ON; at += step) {
        struct span rest = span_first(span_of((const char *)data + at, size - at), step);
        while (verdict == ADAPTER_GO_ON &&
               frame_decoder_next(&decoder, &rest, &frame) == FRAME_READY)
            verdict = adapter_gemini.on_frame(&run, &frame);
    }
    if (verdict == ADAPTER_GO_ON && frame_decoder_end(&decoder, &frame) == FRAME_READY)
        verdict = adapter_gemini.on_frame(&run, &frame);
    if (verdict == ADAPTER_GO_ON)
        verdict = adapter_gemini.on_end(&run, how & 32 ? END_CUT : END_CLEAN);
    /* COMPLETE and asking again: a field was refused. */
    assert(verdict == ADAPTER_COMPLETE || (run.fail.kind != FAIL_NONE && run.fail.message[0]));
    if (verdict == ADAPTER_COMPLETE)
        assert(answer_end(&answer, NULL) == 0);
    check_events(json, buffer_span(&out));
    frame_decoder_free(&decoder);
    answer_free(&answer);
    buffer_free(&out);
    arena_free(&arena);
    json_parser_destroy(json);
    return 0;
}
