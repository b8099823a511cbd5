/*
 * test/fuzz/fuzz_http_client.c - answers of sites: the HTTP reader with its codings, whole and in
 * pieces of 1 to 16 bytes.
 *
 * Oracle: both readings give the same head, the same body and the same end.
 */
#include <assert.h>
#include <stdlib.h>

#include "gateway/http_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct buffer text;
    enum answer_event end;
};

static void note_head(struct seen *s, const struct site_head *head)
{
    buffer_printf(&s->text, "%d %zu\n", head->status, head->n_headers);
    for (size_t i = 0; i < head->n_headers; i++) {
        buffer_append(&s->text, head->headers[i].name);
        buffer_append(&s->text, head->headers[i].value);
        http_retry_after(head->headers[i].value, 1700000000);
    }
}

/* Hands in `rest`; what is not taken stays in it. */
static void read_some(struct seen *s, struct http_answer *a, struct span *rest)
{
    struct span piece;
    for (;;) {
        s->end = http_answer_next(a, rest, &piece);
        if (s->end == ANSWER_HEAD)
            note_head(s, &a->head);
        else if (s->end == ANSWER_BODY)
            buffer_append(&s->text, piece);
        else
            return;
    }
}

static void read_answer(struct seen *s, struct span bytes, size_t step)
{
    struct http_answer a;
    buffer_init(&s->text, 1 << 27);
    http_answer_init(&a, "the site");
    s->end = ANSWER_MORE;
    for (size_t at = 0; at < bytes.n && s->end == ANSWER_MORE; at += step) {
        struct span piece = span_first(span_from(bytes, at), step);
        char *copy = malloc(piece.n); /* of its own, so that reading beyond it is seen */
        memcpy(copy, piece.p, piece.n);
        struct span rest = span_of(copy, piece.n);
        read_some(s, &a, &rest);
        assert(s->end != ANSWER_MORE || rest.n == 0);
        free(copy);
    }
    if (s->end == ANSWER_MORE)
        s->end = http_answer_eof(&a);
    assert(s->end == ANSWER_END || s->end == ANSWER_BROKEN);
    assert(s->end != ANSWER_BROKEN || (a.fail && a.fail->message[0]));
    http_answer_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen a, b;
    if (size < 2)
        return 0;
    struct span bytes = span_of((const char *)data + 1, size - 1);
    read_answer(&a, bytes, bytes.n);
    read_answer(&b, bytes, data[0] % 16 + 1);
    if (a.end == ANSWER_END)
        assert(b.end == ANSWER_END && span_eq(buffer_span(&a.text), buffer_span(&b.text)));
    buffer_free(&a.text);
    buffer_free(&b.text);
    return 0;
}
