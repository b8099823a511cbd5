/*
 * test/unit/test_text_guard.c - whole characters only, however a site cuts its text (clients.md
 * S15, H18).
 */
#include "test/unit/support/cmocka_all.h"

#include "sse/text_guard.h"

/* Everything that comes out when `bytes` come in pieces that end at the given cuts. Each piece must
 * be valid by itself. */
static void pass(struct buffer *out, struct span bytes, size_t a, size_t b, size_t step)
{
    struct text_guard g = {0};
    struct buffer scratch;
    struct span whole;
    buffer_init(&scratch, 1 << 20);
    for (size_t at = 0; at < bytes.n;) {
        size_t end = step ? at + step : at < a ? a : at < b ? b : bytes.n;
        if (end > bytes.n)
            end = bytes.n;
        char *piece = malloc(end - at);
        memcpy(piece, bytes.p + at, end - at);
        assert_int_equal(text_guard_pass(&g, span_of(piece, end - at), &scratch, &whole), 0);
        assert_true(utf8_valid(whole));
        buffer_append(out, whole);
        free(piece);
        at = end;
    }
    assert_int_equal(text_guard_end(&g, &scratch, &whole), 0);
    buffer_append(out, whole);
    buffer_free(&scratch);
}

static void check(struct span bytes, struct span wanted)
{
    for (size_t a = 0; a <= bytes.n; a++) {
        for (size_t b = a; b <= bytes.n; b++) {
            struct buffer out;
            buffer_init(&out, 1 << 20);
            pass(&out, bytes, a, b, 0);
            if (!span_eq(buffer_span(&out), wanted))
                fail_msg("cuts at %zu and %zu gave \"%.*s\"", a, b, SPAN_ARGS(buffer_span(&out)));
            buffer_free(&out);
        }
    }
    for (size_t step = 1; step < 4; step++) {
        struct buffer out;
        buffer_init(&out, 1 << 20);
        pass(&out, bytes, 0, 0, step);
        if (!span_eq(buffer_span(&out), wanted))
            fail_msg("pieces of %zu gave \"%.*s\"", step, SPAN_ARGS(buffer_span(&out)));
        buffer_free(&out);
    }
}

#define FFFD "\xEF\xBF\xBD"
#define HIGH "\xED\xA0\xBD" /* D83D */
#define LOW  "\xED\xB8\x80" /* DE00 */

static void characters_of_all_lengths(void **state)
{
    check(SPAN("aé春\xF0\x9F\x98\x80z"), SPAN("aé春\xF0\x9F\x98\x80z"));
}

static void long_text_around_a_torn_character(void **state)
{
    check(SPAN("abcdefghijk春mnopqrstuvwxyz\xF0\x9F\x98\x80"),
          SPAN("abcdefghijk春mnopqrstuvwxyz\xF0\x9F\x98\x80"));
}

static void surrogate_pairs_are_joined(void **state)
{
    check(SPAN("x" HIGH LOW "y"), SPAN("x\xF0\x9F\x98\x80y"));
    check(SPAN(HIGH LOW HIGH LOW), SPAN("\xF0\x9F\x98\x80\xF0\x9F\x98\x80"));
}

static void lone_surrogates_are_replaced(void **state)
{
    check(SPAN("x" HIGH "y"), SPAN("x" FFFD "y"));
    check(SPAN("x" LOW "y"), SPAN("x" FFFD "y"));
    check(SPAN(HIGH HIGH LOW), SPAN(FFFD "\xF0\x9F\x98\x80"));
    check(SPAN("x" HIGH), SPAN("x" FFFD));
    check(SPAN(HIGH "春"), SPAN(FFFD "春"));
    check(SPAN(HIGH "\xED\x95\x9C"),
          SPAN(FFFD "\xED\x95\x9C")); /* a Hangul syllable begins with ED as well */
}

static void invalid_bytes_are_replaced(void **state)
{
    check(SPAN("a\xFFz"), SPAN("a" FFFD "z"));
    check(SPAN("a\x80\x80z"), SPAN("a" FFFD FFFD "z"));
    check(SPAN("a\xC0\xAFz"), SPAN("a" FFFD FFFD "z"));
    check(SPAN("a\xE6\x98z"), SPAN("a" FFFD "z"));
    check(SPAN("a\xF0\x9F\x98z"), SPAN("a" FFFD "z"));
    check(SPAN("a\xF5\x80z"), SPAN("a" FFFD FFFD "z"));
    check(SPAN("a\xE6"), SPAN("a" FFFD));
}

static void clean_pieces_are_not_copied(void **state)
{
    struct text_guard g = {0};
    struct buffer scratch;
    struct span text = SPAN("plain text and 春"), whole;
    buffer_init(&scratch, 100);
    assert_int_equal(text_guard_pass(&g, text, &scratch, &whole), 0);
    assert_ptr_equal(whole.p, text.p);
    assert_null(scratch.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_of_all_lengths),
        cmocka_unit_test(long_text_around_a_torn_character),
        cmocka_unit_test(surrogate_pairs_are_joined),
        cmocka_unit_test(lone_surrogates_are_replaced),
        cmocka_unit_test(invalid_bytes_are_replaced),
        cmocka_unit_test(clean_pieces_are_not_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
