/*
 * test/fuzz/fuzz_inflate.c - bodies in gzip or deflate, whole and in pieces.
 *
 * First byte: coding (bit 7) and size of the pieces. Oracle: both ways the same bytes and the same
 * end.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "gateway/inflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    struct buffer text;
    bool broken, complete;
};

static void run(struct outcome *o, enum inflate_coding coding, struct span bytes, size_t step)
{
    struct inflater *inflater = inflater_create(coding);
    struct span piece;
    assert(inflater);
    buffer_init(&o->text, 1 << 28);
    o->broken = false;
    for (size_t at = 0; at < bytes.n && !o->broken; at += step) {
        struct span part = span_first(span_from(bytes, at), step);
        char *copy = malloc(part.n);
        enum inflate_result r;
        assert(copy);
        memcpy(copy, part.p, part.n);
        struct span in = span_of(copy, part.n);
        while ((r = inflater_next(inflater, &in, &piece)) == INFLATE_PIECE)
            buffer_append(&o->text, piece);
        o->broken = r == INFLATE_BROKEN;
        assert(o->broken ? *inflater_error(inflater) : !in.n);
        free(copy);
    }
    o->complete = !o->broken && inflater_is_complete(inflater);
    inflater_destroy(inflater);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole, pieces;
    if (size < 2)
        return 0;
    enum inflate_coding coding = data[0] & 128 ? INFLATE_DEFLATE : INFLATE_GZIP;
    struct span bytes = span_of((const char *)data + 1, size - 1);
    run(&whole, coding, bytes, bytes.n);
    run(&pieces, coding, bytes, data[0] % 32 + 1u);
    assert(whole.broken == pieces.broken && whole.complete == pieces.complete);
    assert(whole.broken || span_eq(buffer_span(&whole.text), buffer_span(&pieces.text)));
    buffer_free(&whole.text);
    buffer_free(&pieces.text);
    return 0;
}
