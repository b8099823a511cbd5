/*
 * test/unit/test_stop_filter.c - stop texts, found whatever the pieces: every text of a small
 * alphabet, every cut in three.
 */
#include "gateway/stop_filter.h"
#include "test/unit/support/cmocka_all.h"

/* What must come out: the text before the earliest stop. */
static struct span before_stop(struct span text, const struct span *stops, size_t n)
{
    for (size_t at = 0; at < text.n; at++) {
        for (size_t i = 0; i < n; i++) {
            if (span_starts(span_from(text, at), stops[i]))
                return span_first(text, at);
        }
    }
    return text;
}

static void run(struct span text, size_t a, size_t b, const struct span *stops, size_t n)
{
    struct stop_filter f;
    struct buffer out;
    struct span pieces[] = {span_first(text, a), span_first(span_from(text, a), b - a),
                            span_from(text, b)},
                piece;
    struct span wanted = before_stop(text, stops, n);
    stop_filter_init(&f, stops, n);
    buffer_init(&out, 1000);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(stop_filter_pass(&f, pieces[i], &piece), 0);
        buffer_append(&out, piece);
    }
    assert_int_equal(f.stopped, wanted.n < text.n);
    buffer_append(&out, stop_filter_end(&f));
    buffer_append(&out, stop_filter_end(&f));
    if (!span_eq(buffer_span(&out), wanted))
        fail_msg("\"%.*s\" cut at %zu and %zu gives \"%.*s\", not \"%.*s\"", SPAN_ARGS(text), a, b,
                 SPAN_ARGS(buffer_span(&out)), SPAN_ARGS(wanted));
    buffer_free(&out);
    stop_filter_free(&f);
}

static void every_text_and_every_cut(void **state)
{
    static const struct span sets[][3] = {{SPAN_INIT("ab"), SPAN_INIT("ab"), SPAN_INIT("ab")},
                                          {SPAN_INIT("aab"), SPAN_INIT("ba"), SPAN_INIT("bbb")},
                                          {SPAN_INIT("a"), SPAN_INIT("abb"), SPAN_INIT("bb")},
                                          {SPAN_INIT("abab"), SPAN_INIT("bab"), SPAN_INIT("baaa")}};
    for (size_t set = 0; set < 4; set++) {
        for (unsigned bits = 0; bits < 1 << 8; bits++) {
            char text[8];
            for (int i = 0; i < 8; i++)
                text[i] = bits >> i & 1 ? 'a' : 'b';
            for (size_t a = 0; a <= 8; a++) {
                for (size_t b = a; b <= 8; b++)
                    run(span_of(text, 8), a, b, sets[set], 3);
            }
        }
    }
}

static void no_more_is_held_back_than_needed(void **state)
{
    const struct span stops[] = {SPAN("\n\nUser:"), SPAN("END")};
    struct stop_filter f;
    struct span out;
    const struct span plain = SPAN("plain text ");
    stop_filter_init(&f, stops, 2);
    assert_int_equal(stop_filter_pass(&f, plain, &out), 0);
    assert_ptr_equal(out.p, plain.p); /* not copied */
    assert_int_equal(out.n, plain.n);
    assert_null(f.text.p);
    stop_filter_pass(&f, SPAN("one\n"), &out);
    assert_span_equal(out, SPAN("one"));
    stop_filter_pass(&f, SPAN("two E"), &out);
    assert_span_equal(out, SPAN("\ntwo "));
    stop_filter_pass(&f, SPAN("N"), &out);
    assert_span_equal(out, SPAN(""));
    stop_filter_pass(&f, SPAN("Dx"), &out);
    assert_span_equal(out, SPAN(""));
    assert_true(f.stopped);
    stop_filter_pass(&f, SPAN("after"), &out);
    assert_span_equal(out, SPAN(""));
    assert_int_equal(stop_filter_end(&f).n, 0);
    stop_filter_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_text_and_every_cut),
        cmocka_unit_test(no_more_is_held_back_than_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
