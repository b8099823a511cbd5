/*
 * test/fuzz/fuzz_pictures.c - pictures and documents that clients hand in: data: URLs, their types,
 * their base64.
 *
 * First byte: how it is handed in; then the URL, or the data. What must hold: no finding; a type
 * that becomes a header is one; a refusal has a kind, a sentence and a place.
 */
#include <assert.h>
#include <stdlib.h>

#include "adapters/support.h"
#include "base/json.h"
#include "base/json_write.h"
#include "gateway/chat_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A user's message with it, whatever it is: as JSON text. */
static void write_body(struct buffer *out, unsigned how, struct span text)
{
    static const char *const ways[][2] = {
        {"{\"type\":\"image_url\",\"image_url\":{\"url\":", "}}"},
        {"{\"type\":\"image_url\",\"image_url\":", "}"},
        {"{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":", "}}"},
        {"{\"type\":\"input_audio\",\"input_audio\":{\"format\":\"wav\",\"data\":", "}}"}};
    struct json_writer w = json_writer(out);
    buffer_append(out, SPAN("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":["));
    buffer_append(out, span_str(ways[how & 3][0]));
    json_string(&w, text);
    buffer_append(out, span_str(ways[how & 3][1]));
    buffer_append(out, SPAN("]}]}"));
}

static void check_part(struct turn_run *run, const struct part *part)
{
    struct span bytes = part_bytes(run, part), mime = part_picture_type(run, part);
    assert(!mime.n || is_media_type(mime));
    if (bytes.n) {
        char *copy = malloc(bytes.n); /* of its own, so that reading beyond it is seen */
        assert(copy);
        memcpy(copy, bytes.p, bytes.n);
        struct span type = picture_type_of(span_of(copy, bytes.n));
        assert(!type.n || is_media_type(type));
        free(copy);
    }
    part_base64(run, part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_parser *json = json_parser_create(1 << 24);
    struct arena arena;
    struct buffer body;
    struct turn turn;
    struct fail fail = {0};
    struct pictures pictures;
    if (size < 1) {
        json_parser_destroy(json);
        return 0;
    }
    arena_init(&arena);
    buffer_init(&body, 1 << 26);
    write_body(&body, data[0], span_of((const char *)data + 1, size - 1));
    struct span copy = arena_dup(&arena, buffer_span(&body));
    struct turn_run run = {.fail = &(struct fail){0}, .turn = &turn, .arena = &arena, .json = json};
    if (chat_request_parse(json, &arena, (char *)(uintptr_t)copy.p, copy.n, &turn, &fail)) {
        assert(fail.kind != FAIL_NONE && fail.message[0]);
    } else {
        check_part(&run, &turn.messages[0].parts[0]);
        if (collect_uploads(&run, "the site", &pictures))
            assert(run.fail->kind != FAIL_NONE && run.fail->message[0]);
        else
            for (size_t i = 0; i < pictures.n; i++)
                assert(pictures.list[i].bytes.n && pictures.list[i].filename.n &&
                       is_media_type(pictures.list[i].mime));
    }
    buffer_free(&body);
    arena_free(&arena);
    json_parser_destroy(json);
    return 0;
}
