/*
 * test/fuzz/fuzz_chat_request.c - a client's body into a turn, its raw text through the walker and
 * the renamer.
 *
 * What must hold: no finding; a refusal has a kind and a sentence; what the renamer writes of an
 * accepted body is JSON again.
 */
#include <assert.h>

#include "base/json_raw.h"
#include "gateway/chat_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct json_alias aliases[] = {{SPAN_INIT("model"), SPAN_INIT("model_id")},
                                                {SPAN_INIT("role"), SPAN_INIT("content")}};
    struct json_parser *json = json_parser_create(1 << 24);
    struct arena arena;
    struct turn turn;
    struct fail fail = {0};
    struct json root;
    arena_init(&arena);
    struct span body = arena_dup(&arena, span_of((const char *)data, size));
    if (chat_request_parse(json, &arena, (char *)(uintptr_t)body.p, body.n, &turn, &fail)) {
        assert(fail.kind != FAIL_NONE && fail.message[0]);
    } else {
        struct buffer renamed;
        assert(turn.n_messages > 0 && turn.model.n > 0);
        buffer_init(&renamed, 1 << 26);
        if (size < 100000) {
            assert(json_raw_rename(&renamed, turn.raw, aliases, 2) == 0);
            assert(json_parse(json, buffer_span(&renamed), &root) == JSON_OK);
        }
        buffer_free(&renamed);
    }
    arena_free(&arena);
    json_parser_destroy(json);
    return 0;
}
