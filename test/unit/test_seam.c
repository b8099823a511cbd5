/*
 * test/unit/test_seam.c - gateway/seam.h: the vectors of sites/passthrough.md §5, code, JSON, and
 * every cut of a text that a service continues in different ways.
 */
#include "gateway/seam.h"
#include "test/unit/support/cmocka_all.h"

static const struct {
    const char *sent, *continuation, *appended; /* appended NULL: it started over */
} seams[] = {
    /* the dossier's */
    {"one two th", "three four", "three four"},
    {"List:\n- alpha\n- be", "- beta\n- gamma", "ta\n- gamma"},
    {"The quick brown fox jumps", "brown fox jumps over the dog", " over the dog"},
    {"晴天的早上，我们出发去山里，路上", "我们出发去山里，路上遇到了雨", "遇到了雨"},
    {"abc", "abc", ""},
    {"first part.\n\nsecond", " part, and more", " part, and more"},
    /* line ends and blanks are equal to one another */
    {"a\r\nlong enough line", "long  enough\nline, and more", ", and more"},
    {"The quick brown fox jumps ", "brown fox jumps over", "over"},
    /* within a word, and torn characters never */
    {"an unforgettable experi", "unforgettable experience", "ence"},
    {"zwölf Boxkämpfer jagen Vikt", "Boxkämpfer jagen Viktor", "or"},
    /* code: closing lines are alike and no repetition */
    {"if (a) {\n    b();\n    }\n", "    }\n}\n", "    }\n}\n"},
    {"```c\nint main(void)\n{\n    retu", "```c\n    return 0;\n}\n```\n", "rn 0;\n}\n```\n"},
    {"```c\nint a;\n", "```c\nint b;\n```\n", "int b;\n```\n"},
    {"```c\nint a;\n", "```\nDone.", "```\nDone."},
    {"```c\nint a;\nint be", "```\nint beta;\n```", "ta;\n```"},
    {"```c\nint a;\n```\n", "```c\nint b;\n", "```c\nint b;\n"},
    /* JSON that was cut within a text */
    {"{\"items\": [\"alpha\", \"be", "\"beta\"]}", "ta\"]}"},
    {"```json\n{\"a\": \"x\\\"y", "\"x\\\"yz\"}\n```", "z\"}\n```"},
    {"{\"a\": [1, 2, 3", "3, 4]}", "3, 4]}"},
    {"He said \"be", "\"beta\"", "\"beta\""},
    /* nothing was sent, nothing comes */
    {"", "hello", "hello"},
    {"hello", "", ""},
};

static void every_vector(void **state)
{
    for (size_t i = 0; i < sizeof seams / sizeof *seams; i++) {
        struct span continuation = span_str(seams[i].continuation);
        size_t repeated = 99;
        assert_int_equal(seam_find(span_str(seams[i].sent), continuation, &repeated), SEAM_JOINED);
        assert_span_equal(span_from(continuation, repeated), span_str(seams[i].appended));
    }
}

static const char story[] =
    "# Die Überquerung\n\nAm Morgen war der Fluß hoch, und niemand wollte als erster gehen. "
    "「渡し船はもう出ません」と老人は言った。\r\n\r\n- eins: das Seil\r\n- zwei: die Lampe\n- "
    "drei: "
    "das Brot 🍞\n\nSie banden das Seil um die alte Weide, prüften jeden Knoten zweimal und "
    "warteten, bis das Licht kam. Dann gingen sie, einer nach dem andern, ohne ein Wort. Drüben "
    "zählte einer laut bis sieben, und keiner fehlte.";

/* Wherever it is cut, and however much of the last line is told again: the same text. */
static void every_cut_with_whole_lines_repeated(void **state)
{
    struct span whole = span_str(story);
    for (size_t cut = 1; cut < whole.n; cut++) {
        if (((unsigned char)whole.p[cut] & 0xC0) == 0x80)
            continue;
        struct span sent = span_first(whole, cut);
        ptrdiff_t end = span_find_last(span_first(sent, sent.n - 1), SPAN("\n"));
        struct span line = span_from(sent, (size_t)(end + 1));
        bool word = false;
        for (size_t i = 0; i < line.n; i++)
            word |= (line.p[i] >= 'a' && line.p[i] <= 'z') || (unsigned char)line.p[i] >= 0x80;
        if (!word)
            continue;
        struct span continuation = span_from(whole, (size_t)(end + 1));
        size_t repeated;
        assert_int_equal(seam_find(sent, continuation, &repeated), SEAM_JOINED);
        assert_int_equal(repeated, line.n);
    }
}

static void every_cut_without_repetition(void **state)
{
    struct span whole = span_str(story);
    for (size_t cut = 1; cut < whole.n; cut++) {
        size_t repeated;
        if (((unsigned char)whole.p[cut] & 0xC0) == 0x80)
            continue;
        assert_int_equal(seam_find(span_first(whole, cut), span_from(whole, cut), &repeated),
                         SEAM_JOINED);
        assert_int_equal(repeated, 0);
    }
}

static void starting_over_is_seen(void **state)
{
    struct span whole = span_str(story);
    size_t repeated;
    size_t looked_at = 0;
    for (size_t cut = 1; cut < whole.n; cut++) {
        struct span sent = span_first(whole, cut);
        if (((unsigned char)whole.p[cut] & 0xC0) == 0x80 ||
            !seam_is_decidable(span_first(sent, sent.n < 20 ? 0 : sent.n - 20)))
            continue; /* a short one may be told again from its very beginning */
        assert_int_equal(seam_find(sent, whole, &repeated), SEAM_STARTED_OVER);
        looked_at++;
    }
    assert_true(looked_at > 20);
}

static void three_hundred_characters_decide(void **state)
{
    char text[2 * SEAM_CHARACTERS + 4];
    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, "ä", 2);
    assert_false(seam_is_decidable(span_of(text, 2 * SEAM_CHARACTERS)));
    assert_true(seam_is_decidable(span_of(text, 2 * SEAM_CHARACTERS + 2)));
    assert_false(seam_is_decidable(SPAN("short")));
}

/* Any bytes at all: no overrun, and never more repeated than there is. */
static void any_bytes(void **state)
{
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        char a[64], b[64];
        size_t n[2], repeated;
        for (int i = 0; i < 2; i++) {
            n[i] = (seed = seed * 1664525 + 1013904223) >> 26;
            for (size_t k = 0; k < n[i]; k++)
                (i ? b : a)[k] =
                    "a\"`\n {[\\~\xc3\xa4\xe6"[((seed = seed * 1664525 + 1013904223) >> 16) % 12];
        }
        seam_find(span_of(a, n[0]), span_of(b, n[1]), &repeated);
        assert_in_range(repeated, 0, n[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector),
        cmocka_unit_test(every_cut_with_whole_lines_repeated),
        cmocka_unit_test(every_cut_without_repetition),
        cmocka_unit_test(starting_over_is_seen),
        cmocka_unit_test(three_hundred_characters_decide),
        cmocka_unit_test(any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
