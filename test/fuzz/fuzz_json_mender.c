/*
 * fuzz_json_mender.c - any bytes as JSON that a model wrote, cut in two ways: the same strict JSON
 * comes out, and JSON that was strict already means the same.
 */
#include <stdlib.h>

#include "base/json.h"
#include "gateway/json_mender.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static int put(void *owner, enum mend_token token, struct span text)
{
    mend_write(owner, token, text);
    return 0;
}

static void mend(struct buffer *out, struct span text, size_t piece, enum mend_form form)
{
    struct json_writer writer = json_writer(out);
    const struct mend_sink sink = {put, &writer, NULL};
    struct json_mender m;
    struct buffer unread;
    json_mender_init(&m, form);
    buffer_init(&unread, 1 << 26);
    while (text.n && !m.done) {
        struct span part = span_first(text, piece);
        text = span_from(text, part.n);
        buffer_append(&unread, part);
        struct span in = buffer_span(&unread);
        json_mender_read(&m, &in, !text.n, &sink);
        buffer_consume(&unread, unread.n - in.n);
        CHECK(m.done || unread.n <= MEND_LOOK_MAX + piece);
    }
    json_mender_close(&m, &sink);
    json_mender_free(&m);
    buffer_free(&unread);
}

/* The same value, as simdjson writes it. */
static void check_same(struct json_parser *json, struct span text, struct span mended)
{
    struct json root;
    struct buffer before, after;
    if (json_parse(json, text, &root) ||
        (!json_is(root, JSON_OBJECT) && !json_is(root, JSON_ARRAY)))
        return;
    buffer_init(&before, 1 << 26);
    buffer_init(&after, 1 << 26);
    CHECK(json_dump(&before, root) == 0);
    CHECK(json_parse(json, mended, &root) == JSON_OK);
    CHECK(json_dump(&after, root) == 0);
    CHECK(span_eq(buffer_span(&before), buffer_span(&after)));
    buffer_free(&before);
    buffer_free(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_parser *json;
    struct buffer whole, cut;
    struct json root;
    if (!json)
        json = json_parser_create(1 << 26);
    if (size == 0)
        return 0;
    struct span text = span_of((const char *)data + 1, size - 1);
    enum mend_form form = data[0] & 1 ? MEND_FORM_CALL : MEND_FORM_VALUE;
    buffer_init(&whole, 1 << 26);
    buffer_init(&cut, 1 << 26);
    mend(&whole, text, size, form);
    mend(&cut, text, data[0] / 2 % 16 + 1u, form);
    CHECK(span_eq(buffer_span(&whole), buffer_span(&cut)));
    if (whole.n) {
        int bad = json_parse_lenient(json, buffer_span(&whole), &root);
        CHECK(bad == JSON_OK || bad == JSON_NUMBER);
    }
    if (form == MEND_FORM_VALUE)
        check_same(json, text, buffer_span(&whole));
    buffer_free(&whole);
    buffer_free(&cut);
    return 0;
}
