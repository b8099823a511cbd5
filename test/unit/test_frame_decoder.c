/*
 * test/unit/test_frame_decoder.c - the same frames, however the bytes are cut
 * (sse/frame_decoder.h).
 */
#include "test/unit/support/cmocka_all.h"

#include "sse/frame_decoder.h"

/* All frames of one decoding, one a line: type|data|flags. */
struct log {
    struct buffer text;
    enum frame_result result; /* the last */
};

static void note(struct log *l, const struct frame *f)
{
    buffer_printf(&l->text, "%.*s|%.*s|%d\n", SPAN_ARGS(f->type), SPAN_ARGS(f->data), f->flags);
}

/* Hands a piece over in memory of exactly its size, so that reading beyond it is seen. */
static enum frame_result feed(struct frame_decoder *d, struct log *l, struct span piece)
{
    char *copy = calloc(1, piece.n ? piece.n : 1);
    struct span rest = span_of(copy, piece.n);
    struct frame f;
    if (piece.n)
        memcpy(copy, piece.p, piece.n);
    enum frame_result r;
    while ((r = frame_decoder_next(d, &rest, &f)) == FRAME_READY)
        note(l, &f);
    if (r == FRAME_MORE)
        assert_int_equal(rest.n, 0);
    free(copy);
    return r;
}

/* Decodes with cuts every `step` bytes (0: none) and at `cut` (0: none). */
static void decode(struct log *l, enum framing framing, struct span bytes, size_t cut, size_t step,
                   size_t limit)
{
    struct frame_decoder d;
    struct frame f;
    buffer_init(&l->text, 64 << 20);
    frame_decoder_init(&d, framing, limit);
    size_t at = 0;
    l->result = FRAME_MORE;
    while (at < bytes.n && l->result == FRAME_MORE) {
        size_t end = step ? at + step : at < cut ? cut : bytes.n;
        if (end > bytes.n)
            end = bytes.n;
        l->result = feed(&d, l, span_of(bytes.p + at, end - at));
        at = end;
    }
    if (l->result == FRAME_MORE) {
        l->result = frame_decoder_end(&d, &f);
        if (l->result == FRAME_READY)
            note(l, &f);
    }
    frame_decoder_free(&d);
}

/* Whole, byte by byte, in threes and cut in two everywhere: always `wanted`. */
static void check(enum framing framing, struct span bytes, struct span wanted)
{
    for (size_t cut = 0; cut <= bytes.n; cut++) {
        struct log l;
        decode(&l, framing, bytes, cut, 0, FRAME_LIMIT);
        if (!span_eq(buffer_span(&l.text), wanted))
            fail_msg("cut at %zu gave\n%.*s instead of\n%.*s", cut, SPAN_ARGS(buffer_span(&l.text)),
                     SPAN_ARGS(wanted));
        buffer_free(&l.text);
    }
    for (size_t step = 1; step < 6; step++) {
        struct log l;
        decode(&l, framing, bytes, 0, step, FRAME_LIMIT);
        if (!span_eq(buffer_span(&l.text), wanted))
            fail_msg("pieces of %zu gave\n%.*s", step, SPAN_ARGS(buffer_span(&l.text)));
        buffer_free(&l.text);
    }
}

static void sse_plain(void **state)
{
    check(FRAMING_SSE, SPAN("data: one\n\ndata:two\n\ndata:  three \n\n"),
          SPAN("|one|0\n|two|0\n| three |0\n"));
}

static void sse_line_ends(void **state)
{
    check(FRAMING_SSE, SPAN("data: a\r\n\r\ndata: b\r\rdata: c\n\r\ndata: d\r\n\n"),
          SPAN("|a|0\n|b|0\n|c|0\n|d|0\n"));
}

static void sse_several_data_lines(void **state)
{
    check(FRAMING_SSE, SPAN("data: a\ndata\ndata: b\n\n"), SPAN("|a\n\nb|0\n"));
}

static void sse_event_names_and_comments(void **state)
{
    check(FRAMING_SSE,
          SPAN(": hello\nevent: x\ndata: 1\n:c\nfoo: bar\nid: 7\nretry: 5\n\ndata: 2\n\nevent: "
               "lost\n\ndata: 3\n\n"),
          SPAN("x|1|0\n|2|0\n|3|0\n"));
}

static void sse_empty_data_is_an_event(void **state)
{
    check(FRAMING_SSE, SPAN("data\n\ndata:\n\n\n\n"), SPAN("||0\n||0\n"));
}

static void sse_byte_order_mark(void **state)
{
    check(FRAMING_SSE,
          SPAN("\xEF\xBB\xBF"
               "data: a\n\ndata: \xEF\xBB\xBF\n\n"),
          SPAN("|a|0\n|\xEF\xBB\xBF|0\n"));
}

/* Sites forget the last blank line. */
static void sse_end_without_blank_line(void **state)
{
    check(FRAMING_SSE, SPAN("data: a\n\ndata: b\n"), SPAN("|a|0\n|b|0\n"));
    check(FRAMING_SSE, SPAN("data: a\n\ndata: b"), SPAN("|a|0\n|b|0\n"));
    check(FRAMING_SSE, SPAN("data: a\n\nevent: b\n"), SPAN("|a|0\n"));
}

/* What stands outside of data: counts, but for the words of the format itself. */
static void sse_loose(void **state)
{
    check(
        FRAMING_SSE_LOOSE,
        SPAN(
            ": hello\nevent: x\nid: 7\nretry: 5\ndata: {\"a\":1}\n\n{\"error\":{\n  \"code\": 503\n"
            "}}\r\n\r\ndata: b\r\r{\"c\":1}"),
        SPAN("x|{\"a\":1}|0\n|{\"error\":{\n  \"code\": 503\n}}|0\n|b|0\n|{\"c\":1}|0\n"));
    check(FRAMING_SSE, SPAN("{\"error\":{}}\n\ndata: b\n\n"), SPAN("|b|0\n"));
}

static void lines(void **state)
{
    check(FRAMING_LINES, SPAN("{\"a\":1}\r\n\n  \n{\"b\":\r2}\n{\"c\":3}"),
          SPAN("|{\"a\":1}|0\n|{\"b\":\r2}|0\n|{\"c\":3}|0\n"));
}

static void prefixed_lines(void **state)
{
    check(FRAMING_PREFIX, SPAN("a0:\"Hel:lo\"\nad:{}\n\nodd\n"),
          SPAN("a0|\"Hel:lo\"|0\nad|{}|0\n|odd|0\n"));
}

static void length_framed(void **state)
{
    check(FRAMING_LENGTH, SPAN("\0\0\0\0\2hi\1\0\0\0\0\2\0\0\0\5world"),
          SPAN("|hi|0\n||1\n|world|2\n"));
}

static void length_framed_torn(void **state)
{
    struct log l;
    decode(&l, FRAMING_LENGTH, SPAN("\0\0\0\0\2hi\0\0\0"), 0, 1, FRAME_LIMIT);
    assert_int_equal(l.result, FRAME_TORN);
    buffer_free(&l.text);
}

static void whole(void **state)
{
    check(FRAMING_WHOLE, SPAN("{\"a\":\n1}\n"), SPAN("|{\"a\":\n1}\n|0\n"));
}

static void whole_empty(void **state) { check(FRAMING_WHOLE, SPAN(""), SPAN("||0\n")); }

static void a_whole_body_may_be_lent(void **state)
{
    for (int kept = 0; kept < 2; kept++) {
        struct frame_decoder d;
        struct frame f;
        char body[] = "{\"a\":1}";
        frame_decoder_init(&d, FRAMING_WHOLE, 7);
        assert_false(frame_decoder_lend(&d, SPAN("{\"a\": 1}"))); /* above the cap */
        assert_true(frame_decoder_lend(&d, span_str(body)));
        if (kept) {
            assert_int_equal(frame_decoder_keep(&d), FRAME_MORE);
            memset(body, 'x', sizeof body - 1);
        }
        assert_int_equal(frame_decoder_end(&d, &f), FRAME_READY);
        assert_span_equal(f.data, SPAN("{\"a\":1}"));
        assert_int_equal(frame_decoder_end(&d, &f), FRAME_MORE);
        frame_decoder_free(&d);
        frame_decoder_init(&d, FRAMING_SSE, 100);
        assert_false(frame_decoder_lend(&d, SPAN("data: a\n\n")));
        frame_decoder_free(&d);
    }
}

static void none(void **state) { check(FRAMING_NONE, SPAN("data: a\n\n"), SPAN("")); }

/* A frame above the cap is an error with a name, for every framing, and stays one. */
static void caps(void **state)
{
    char big[300];
    memset(big, 'x', sizeof big);
    memcpy(big, "data: ", 6);
    for (size_t step = 0; step < 4; step++) {
        struct log l;
        decode(&l, FRAMING_SSE, span_of(big, sizeof big), 0, step, 100);
        assert_int_equal(l.result, FRAME_TOO_LARGE);
        buffer_free(&l.text);
        decode(&l, FRAMING_LINES, span_of(big, sizeof big), 0, step, 100);
        assert_int_equal(l.result, FRAME_TOO_LARGE);
        buffer_free(&l.text);
        decode(&l, FRAMING_WHOLE, span_of(big, sizeof big), 0, step, 100);
        assert_int_equal(l.result, FRAME_TOO_LARGE);
        buffer_free(&l.text);
        decode(&l, FRAMING_LENGTH, SPAN("\0\xff\xff\xff\xff..........."), 0, step, 100);
        assert_int_equal(l.result, FRAME_TOO_LARGE);
        buffer_free(&l.text);
    }
}

/* Many data lines of one event count together. */
static void cap_over_all_data_lines(void **state)
{
    struct buffer b;
    struct log l;
    buffer_init(&b, 100000);
    for (int i = 0; i < 200; i++)
        buffer_append(&b, SPAN("data: abc\n"));
    decode(&l, FRAMING_SSE, buffer_span(&b), 0, 0, 300);
    assert_int_equal(l.result, FRAME_TOO_LARGE);
    buffer_free(&l.text);
    buffer_free(&b);
}

/* A line of some MB in small reads must not be scanned from its start each time: this would take
 * minutes. */
static void long_line_takes_linear_time(void **state)
{
    struct frame_decoder d;
    struct frame f;
    char piece[512];
    memset(piece, 'y', sizeof piece);
    frame_decoder_init(&d, FRAMING_SSE, FRAME_LIMIT);
    struct span rest = SPAN("data: ");
    assert_int_equal(frame_decoder_next(&d, &rest, &f), FRAME_MORE);
    for (int i = 0; i < 16000; i++) {
        rest = span_of(piece, sizeof piece);
        assert_int_equal(frame_decoder_next(&d, &rest, &f), FRAME_MORE);
    }
    rest = SPAN("\n\n");
    assert_int_equal(frame_decoder_next(&d, &rest, &f), FRAME_READY);
    assert_int_equal(f.data.n, 16000 * sizeof piece);
    frame_decoder_free(&d);
}

/* An event that lies whole in the input is a part of it. */
static void whole_events_are_not_copied(void **state)
{
    struct frame_decoder d;
    struct frame f;
    struct span bytes = SPAN("data: abc\n\n"), rest = bytes;
    frame_decoder_init(&d, FRAMING_SSE, FRAME_LIMIT);
    assert_int_equal(frame_decoder_next(&d, &rest, &f), FRAME_READY);
    assert_ptr_equal(f.data.p, bytes.p + 6);
    frame_decoder_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sse_plain),
        cmocka_unit_test(sse_line_ends),
        cmocka_unit_test(sse_several_data_lines),
        cmocka_unit_test(sse_event_names_and_comments),
        cmocka_unit_test(sse_empty_data_is_an_event),
        cmocka_unit_test(sse_byte_order_mark),
        cmocka_unit_test(sse_end_without_blank_line),
        cmocka_unit_test(sse_loose),
        cmocka_unit_test(lines),
        cmocka_unit_test(prefixed_lines),
        cmocka_unit_test(length_framed),
        cmocka_unit_test(length_framed_torn),
        cmocka_unit_test(whole),
        cmocka_unit_test(whole_empty),
        cmocka_unit_test(a_whole_body_may_be_lent),
        cmocka_unit_test(none),
        cmocka_unit_test(caps),
        cmocka_unit_test(cap_over_all_data_lines),
        cmocka_unit_test(long_line_takes_linear_time),
        cmocka_unit_test(whole_events_are_not_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
