/*
 * test/fuzz/fuzz_adapter_claude_web.c - claude.ai's answers: any bytes through decoder and adapter,
 * the text that comes out through the emitter.
 *
 * First byte: status, type, size of the pieces, the end and which step is answered. What must hold:
 * no finding; a failure has a kind and a sentence; every event that the emitter writes is one line
 * of JSON.
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 200, 200, 403};
    static const struct span types[] = {SPAN_INIT("text/event-stream"),
                                        SPAN_INIT("text/event-stream"),
                                        SPAN_INIT("application/json"), SPAN_INIT("text/html")};
    static const struct credential keys[] = {{SPAN_INIT("session_key"), SPAN_INIT("k")},
                                             {SPAN_INIT("organization"), SPAN_INIT("o")}};
    if (size < 1)
        return 0;
    unsigned how = data[0];
    struct json_parser *json = json_parser_create(1 << 24);
    struct arena arena;
    struct turn turn;
    struct fail fail;
    struct buffer out;
    struct answer answer;
    arena_init(&arena);
    buffer_init(&out, 1 << 27);
    struct span body = arena_dup(&arena, SPAN("{\"model\":\"m\",\"stream\":true,\"messages\":[{"
                                              "\"role\":\"user\",\"content\":\"hi\"}]}"));
    assert(chat_request_parse(json, &arena, (char *)(uintptr_t)body.p, body.n, &turn, &fail) == 0);
    const struct answer_meta meta = {.id = SPAN("chatcmpl-1"), .model = SPAN("m"), .created = 1};
    const struct answer_rules rules = {.reasoning = REASONING_FIELD};
    static const struct token_source estimated = {NULL, NULL};
    struct answer_feed feed;
    answer_init(&answer, chat_stream_writer(&arena, &meta, NULL, &out), &arena, &estimated,
                meta.id);
    answer_feed_add(&answer, &feed, &turn, 0, 1);
    answer_feed_begin(&feed, &rules);
    struct site_settings site = {.name = SPAN("c"), .origin = SPAN("https://c.example")};
    struct site_account account = {.name = SPAN("main"), .credentials = keys, .n_credentials = 2};
    if (how >> 6 == 3) /* the organization has to be asked for */
        account.n_credentials = 1;
    struct turn_run run = {.turn = &turn,
                           .site = &site,
                           .account = &account,
                           .model = SPAN("claude-sonnet-5-thinking"),
                           .arena = &arena,
                           .json = json,
                           .out = &feed.sink,
                           .now_ms = 1760000000000,
                           .random = make_random};
    run.state = arena_alloc(&arena, adapter_claude_web.state_size);
    struct site_request req = {0};
    assert(adapter_claude_web.next(&run, &req) == ADAPTER_SEND);
    if (how >> 6 < 2) { /* the stream; else the creation */
        const struct site_head created = {.status = 201, .content_type = SPAN("application/json")};
        const struct frame conversation = {.data = SPAN("{\"is_temporary\":false}")};
        assert(adapter_claude_web.on_head(&run, &created, &req.framing) == ADAPTER_GO_ON);
        assert(adapter_claude_web.on_frame(&run, &conversation) == ADAPTER_COMPLETE);
        req = (struct site_request){0};
        assert(adapter_claude_web.next(&run, &req) == ADAPTER_SEND);
    }

    struct site_head head = {.status = statuses[how & 3], .content_type = types[how >> 2 & 3]};
    enum framing framing = req.framing;
    enum adapter_verdict verdict = adapter_claude_web.on_head(&run, &head, &framing);
    struct frame_decoder decoder;
    struct frame frame;
    size_t step = how & 16 ? how % 13 + 1 : size;
    frame_decoder_init(&decoder, framing, FRAME_LIMIT);
    for (size_t at = 1; at < size && verdict == ADAPTER_GO_ON; at += step) {
        struct span rest = span_first(span_of((const char *)data + at, size - at), step);
        while (verdict == ADAPTER_GO_ON &&
               frame_decoder_next(&decoder, &rest, &frame) == FRAME_READY)
            verdict = adapter_claude_web.on_frame(&run, &frame);
    }
    if (verdict == ADAPTER_GO_ON && frame_decoder_end(&decoder, &frame) == FRAME_READY)
        verdict = adapter_claude_web.on_frame(&run, &frame);
    if (verdict == ADAPTER_GO_ON)
        verdict = adapter_claude_web.on_end(&run, how & 32 ? END_CUT : END_CLEAN);
    assert(verdict == ADAPTER_COMPLETE || (run.fail.kind != FAIL_NONE && run.fail.message[0]));
    if (verdict == ADAPTER_COMPLETE && how >> 6 < 2)
        assert(answer_end(&answer, NULL) == 0);
    check_events(json, buffer_span(&out));
    for (int steps = 0;
         adapter_claude_web.cleanup(&run, &(struct site_request){0}) == ADAPTER_SEND;)
        assert(++steps <= 2);
    account_clear(&account);
    frame_decoder_free(&decoder);
    answer_free(&answer);
    buffer_free(&out);
    arena_free(&arena);
    json_parser_destroy(json);
    return 0;
}
