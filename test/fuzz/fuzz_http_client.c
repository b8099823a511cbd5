/*
 * test/fuzz/fuzz_http_client.c - answers of sites: the HTTP reader with its codings, whole and in
 * pieces of 1 to 16 bytes, and with chunks that are told together.
 *
 * Oracle: all readings give the same head, the same body and the same end, which comes at once
 * where the body was told to be whole.
 */
#include <assert.h>
#include <stdlib.h>

#include "gateway/http_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM_MAX = 64 };

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

/* Hands in `rest`; what is not taken stays in it. `room`: for joined chunks, 0 = none are. */
static void read_some(struct seen *s, struct http_answer *a, struct span *rest, size_t room)
{
    struct span piece;
    char joined[ROOM_MAX];
    bool told = false;
    for (;;) {
        s->end = http_answer_next(a, rest, &piece);
        assert(!told || s->end == ANSWER_END);
        if (s->end == ANSWER_HEAD) {
            note_head(s, &a->head);
        } else if (s->end == ANSWER_BODY) {
            told = http_answer_is_told(a);
            if (room)
                http_answer_join(a, rest, &piece, joined, room);
            buffer_append(&s->text, piece);
        } else {
            return;
        }
    }
}

static void read_answer(struct seen *s, struct span bytes, size_t step, size_t room)
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
        read_some(s, &a, &rest, room);
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
    if (size < 2)
        return 0;
    struct span bytes = span_of((const char *)data + 1, size - 1);
    const size_t small = data[0] % 16 + 1, room = data[0] % ROOM_MAX + 1;
    const struct {
        size_t step, room;
    } ways[] = {{bytes.n, 0}, {small, 0}, {bytes.n, room}, {small * 8, room}};
    struct seen first, other;
    read_answer(&first, bytes, ways[0].step, ways[0].room);
    for (size_t i = 1; i < sizeof ways / sizeof *ways; i++) {
        read_answer(&other, bytes, ways[i].step, ways[i].room);
        if (first.end == ANSWER_END)
            assert(other.end == ANSWER_END &&
                   span_eq(buffer_span(&first.text), buffer_span(&other.text)));
        buffer_free(&other.text);
    }
    buffer_free(&first.text);
    return 0;
}
