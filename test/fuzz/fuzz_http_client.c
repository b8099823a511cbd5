/*
 * test/fuzz/fuzz_http_client.c - answers of sites: the HTTP reader with its codings, whole and in pieces of 1 to 16 bytes.
 *
 * Oracle: both readings give the same head, the same body and the same end.
 */
#include <assert.h>
#include <stdlib.h>

#include "gateway/http_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct buffer text;
    enum http_reader_state state;
};

static void on_head(void *owner, const struct site_head *head)
{
    struct seen *s = owner;
    buffer_printf(&s->text, "%d %zu %d\n", head->status, head->n_headers, head->retry_after_s);
    for (size_t i = 0; i < head->n_headers; i++) {
        buffer_append(&s->text, head->headers[i].name);
        buffer_append(&s->text, head->headers[i].value);
    }
}

static void on_body(void *owner, struct span bytes)
{
    buffer_append(&((struct seen *)owner)->text, bytes);
}

static void read_answer(struct seen *s, struct span bytes, size_t step)
{
    struct http_reader_handler handler = {on_head, on_body, s};
    struct http_reader r;
    struct fail fail;
    buffer_init(&s->text, 1 << 27);
    s->state = READER_MORE;
    http_reader_init(&r, &handler);
    for (size_t at = 0; at < bytes.n && s->state == READER_MORE; at += step) {
        struct span piece = span_first(span_from(bytes, at), step);
        char *copy = malloc(piece.n);
        memcpy(copy, piece.p, piece.n);
        s->state = http_reader_feed(&r, span_of(copy, piece.n), &fail);
        free(copy);
    }
    if (s->state == READER_MORE)
        s->state = http_reader_eof(&r, &fail);
    assert(s->state != READER_BROKEN || (fail.kind != FAIL_NONE && fail.message[0]));
    http_reader_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen a, b;
    if (size < 2)
        return 0;
    struct span bytes = span_of((const char *)data + 1, size - 1);
    read_answer(&a, bytes, bytes.n);
    read_answer(&b, bytes, data[0] % 16 + 1);
    if (a.state == READER_COMPLETE)
        assert(b.state == READER_COMPLETE && span_eq(buffer_span(&a.text), buffer_span(&b.text)));
    buffer_free(&a.text);
    buffer_free(&b.text);
    return 0;
}
