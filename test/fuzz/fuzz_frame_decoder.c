/*
 * test/fuzz/fuzz_frame_decoder.c - every framing: the same frames whole and in pieces, and whole
 * characters behind them.
 *
 * First byte: framing. Second: size of the pieces. Oracle: the frames of both decodings, passed
 * through a text guard, are the same bytes.
 */
#include <assert.h>
#include <stdlib.h>

#include "sse/frame_decoder.h"
#include "sse/text_guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note(struct buffer *out, struct text_guard *g, const struct frame *f)
{
    struct buffer scratch;
    struct span whole;
    buffer_init(&scratch, 1 << 24);
    assert(text_guard_pass(g, f->data, &scratch, &whole) == 0);
    assert(utf8_valid(whole));
    buffer_append(out, whole);
    buffer_append(out, f->type);
    buffer_char(out, '|');
    buffer_free(&scratch);
}

static enum frame_result decode(struct buffer *out, enum framing framing, struct span bytes,
                                size_t step)
{
    struct frame_decoder d;
    struct text_guard g = {0};
    struct frame f;
    enum frame_result r = FRAME_MORE;
    frame_decoder_init(&d, framing, 4096);
    for (size_t at = 0; at < bytes.n && r == FRAME_MORE; at += step) {
        struct span piece = span_first(span_from(bytes, at), step);
        char *copy = malloc(piece.n);
        memcpy(copy, piece.p, piece.n);
        struct span rest = span_of(copy, piece.n);
        while ((r = frame_decoder_next(&d, &rest, &f)) == FRAME_READY)
            note(out, &g, &f);
        free(copy);
    }
    if (r == FRAME_MORE && (r = frame_decoder_end(&d, &f)) == FRAME_READY)
        note(out, &g, &f);
    frame_decoder_free(&d);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer a, b;
    if (size < 3)
        return 0;
    enum framing framing = (enum framing)(data[0] % FRAMING_RAW); /* RAW has no frames of its own */
    struct span bytes = span_of((const char *)data + 2, size - 2);
    buffer_init(&a, 1 << 26);
    buffer_init(&b, 1 << 26);
    enum frame_result x = decode(&a, framing, bytes, bytes.n);
    enum frame_result y = decode(&b, framing, bytes, data[1] % 16 + 1);
    /* Where the cap is passed, pieces may say so one frame earlier or later. */
    if (x != FRAME_TOO_LARGE && y != FRAME_TOO_LARGE)
        assert(x == y && span_eq(buffer_span(&a), buffer_span(&b)));
    buffer_free(&a);
    buffer_free(&b);
    return 0;
}
