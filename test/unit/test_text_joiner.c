/*
 * test/unit/test_text_joiner.c - gateway/text_joiner.h: one text of several runs, whatever pieces
 * they come in.
 */
#include "gateway/text_joiner.h"
#include "test/unit/support/cmocka_all.h"

static void put(struct text_joiner *j, struct buffer *sent, struct span piece)
{
    struct span out;
    assert_int_equal(text_joiner_pass(j, piece, &out), 0);
    buffer_append(sent, out);
}

static void run_over(struct text_joiner *j, struct buffer *sent)
{
    struct span out;
    assert_int_equal(text_joiner_run_over(j, &out), 0);
    buffer_append(sent, out);
}

static void end(struct text_joiner *j, struct buffer *sent)
{
    struct span out;
    assert_int_equal(text_joiner_end(j, &out), 0);
    buffer_append(sent, out);
}

/* In two at `cut`; beyond the end, byte by byte. */
static void put_cut(struct text_joiner *j, struct buffer *sent, struct span text, size_t cut)
{
    for (size_t at = 0; at < text.n;) {
        size_t n = cut > text.n ? 1 : at == 0 && cut ? cut : text.n;
        struct span piece = span_first(span_from(text, at), n);
        put(j, sent, piece);
        at += piece.n;
    }
}

static const struct {
    const char *sent, *continuation, *whole;
} seams[] = {
    {"The quick brown fox jumps", "brown fox jumps over the dog",
     "The quick brown fox jumps over the dog"},
    {"晴天的早上，我们出发去山里，路上", "我们出发去山里，路上遇到了雨",
     "晴天的早上，我们出发去山里，路上遇到了雨"},
    {"```c\nint main(void)\n{\n    retu", "```c\n    return 0;\n}\n```\n",
     "```c\nint main(void)\n{\n    return 0;\n}\n```\n"},
    {"first part.\n\nsecond", " part, and more", "first part.\n\nsecond part, and more"},
    {"", "all of it", "all of it"},
    {"abc", "abc", "abc"},
};

static void joins_at_every_cut_of_the_continuation(void **state)
{
    for (size_t i = 0; i < sizeof seams / sizeof *seams; i++) {
        struct span continuation = span_str(seams[i].continuation);
        for (size_t cut = 0; cut <= continuation.n + 1; cut++) {
            struct text_joiner j;
            struct buffer sent;
            text_joiner_init(&j);
            buffer_init(&sent, 1 << 20);
            put(&j, &sent, span_str(seams[i].sent));
            run_over(&j, &sent);
            text_joiner_continue(&j);
            put_cut(&j, &sent, continuation, cut);
            end(&j, &sent);
            assert_span_equal(buffer_span(&sent), span_str(seams[i].whole));
            assert_span_equal(buffer_span(&j.text), span_str(seams[i].whole));
            assert_int_equal(text_joiner_has_new(&j), sent.n > strlen(seams[i].sent));
            assert_false(j.started_over);
            text_joiner_free(&j);
            buffer_free(&sent);
        }
    }
}

/* What comes behind the first characters passes at once. */
static void holds_back_no_more_than_the_beginning(void **state)
{
    struct text_joiner j;
    struct buffer sent;
    char text[400];
    text_joiner_init(&j);
    buffer_init(&sent, 1 << 20);
    put(&j, &sent, SPAN("Here it comes: "));
    text_joiner_continue(&j);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i * i % 23);
    put(&j, &sent, span_of(text, 300));
    assert_int_equal(sent.n, 15);
    put(&j, &sent, span_of(text + 300, 1));
    assert_int_equal(sent.n, 316);
    put(&j, &sent, span_of(text + 301, 1));
    assert_int_equal(sent.n, 317);
    text_joiner_free(&j);
    buffer_free(&sent);
}

/* A character that was torn by the cut is the continuation's to tell. */
static void torn_characters(void **state)
{
    struct text_joiner j;
    struct buffer sent;
    text_joiner_init(&j);
    buffer_init(&sent, 1 << 20);
    put(&j, &sent, SPAN("Gr\xC3"));
    put(&j, &sent, SPAN("\xB6\xC3"));
    run_over(&j, &sent);
    assert_span_equal(buffer_span(&sent), SPAN("Grö"));
    text_joiner_continue(&j);
    put(&j, &sent, SPAN("ße"));
    end(&j, &sent);
    assert_span_equal(buffer_span(&sent), SPAN("Größe"));
    put(&j, &sent, SPAN(" \xE2\x82"));
    end(&j, &sent);
    assert_span_equal(buffer_span(&sent), SPAN("Größe \xEF\xBF\xBD"));
    text_joiner_free(&j);
    buffer_free(&sent);
}

static void a_story_that_begins_anew_is_swallowed(void **state)
{
    static const char line[] =
        "Once upon a time a fox lived in the wood, and every evening it went to the river. ";
    struct text_joiner j;
    struct buffer sent;
    text_joiner_init(&j);
    buffer_init(&sent, 1 << 20);
    for (int i = 0; i < 6; i++)
        put(&j, &sent, span_str(line));
    put(&j, &sent, SPAN("The end is n"));
    size_t before = sent.n;
    text_joiner_continue(&j);
    for (int i = 0; i < 6; i++)
        put(&j, &sent, span_str(line));
    assert_true(j.started_over);
    put(&j, &sent, SPAN("The end is near."));
    end(&j, &sent);
    assert_int_equal(sent.n, before);
    assert_false(text_joiner_has_new(&j));
    text_joiner_free(&j);
    buffer_free(&sent);
}

/* An answer that is too long to be gone on with is passed on all the same. */
static void a_long_text_passes(void **state)
{
    struct text_joiner j;
    struct span out;
    char *text = calloc(1, JOINER_TEXT_MAX);
    assert_non_null(text);
    memset(text, 'a', JOINER_TEXT_MAX);
    text_joiner_init(&j);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(text_joiner_pass(&j, span_of(text, JOINER_TEXT_MAX), &out), 0);
        assert_int_equal(out.n, JOINER_TEXT_MAX);
    }
    assert_int_equal(j.text.error, BUFFER_FULL);
    text_joiner_free(&j);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_at_every_cut_of_the_continuation),
        cmocka_unit_test(holds_back_no_more_than_the_beginning),
        cmocka_unit_test(torn_characters),
        cmocka_unit_test(a_story_that_begins_anew_is_swallowed),
        cmocka_unit_test(a_long_text_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
