/*
 * test/unit/test_json_shapes.c - texts that were seen before, but for some values
 * (base/json_shapes.h): what is recognised is what the parser would have said, and nothing that it
 * would have refused.
 */
#include "base/json_shapes.h"

#include "base/json_raw.h"
#include "test/unit/support/cmocka_all.h"

static struct json_shapes shapes;
static struct buffer room;

static int set_up(void **state)
{
    buffer_init(&room, 1 << 16);
    return 0;
}

static int tear_down(void **state)
{
    json_shapes_free(&shapes);
    buffer_free(&room);
    return 0;
}

#define FRAME(id, text, count)                                                                     \
    "{\"id\":" id ",\"object\":\"chunk\",\"text\":\"" text "\",\"count\":" count ",\"end\":null}"

static void learn(const char *text, const char *note)
{
    struct span object = span_str(text);
    const struct json_hole holes[] = {
        {JSON_HOLE_NUMBER, json_raw_get(object, "count")},
        {JSON_HOLE_TEXT, json_raw_get(object, "text")},
        {JSON_HOLE_ANY, json_raw_get(object, "id")},
        {JSON_HOLE_ANY, json_raw_get(object, "absent")},
    };
    json_shapes_learn(&shapes, SPAN("label"), object, holes, 4, span_str(note));
}

/* The note, text and count of a text, or "unknown". */
static const char *what_is(const char *label, struct span text)
{
    static char said[1024];
    struct json_seen seen = {.numbers[0] = {"", 0}};
    char *copy = test_malloc(text.n + 1); /* a block of its own size: the sanitizer sees more */
    memcpy(copy, text.p, text.n);
    copy = test_realloc(copy, text.n ? text.n : 1);
    bool known = json_shapes_match(&shapes, span_str(label), span_of(copy, text.n), &room, &seen);
    if (known)
        snprintf(said, sizeof said, "%.*s [%.*s] %.*s", SPAN_ARGS(seen.note), SPAN_ARGS(seen.text),
                 SPAN_ARGS(seen.numbers[0]));
    test_free(copy);
    return known ? said : "unknown";
}

static void values_are_told(void **state)
{
    learn(FRAME("\"a\"", "first", "1"), "note");
    assert_string_equal(what_is("label", SPAN(FRAME("\"a\"", "", "0"))), "note [] 0");
    assert_string_equal(what_is("label", SPAN(FRAME("\"b\"", "two", "22"))), "note [two] 22");
    assert_string_equal(what_is("label", SPAN(FRAME("\"b\"", "again", "22"))), "note [again] 22");
    assert_string_equal(what_is("label", SPAN(FRAME("\"longer\"", "three", "1"))),
                        "note [three] 1");
    assert_string_equal(what_is("label", SPAN(FRAME("\"\"", "\\u6625 \\n\\\"", "7"))),
                        "note [春 \n\"] 7");
    assert_string_equal(what_is("label", SPAN(FRAME("\"a\"", "a text of more than sixteen bytes",
                                                    "999999999999999"))),
                        "note [a text of more than sixteen bytes] 999999999999999");
}

static void nothing_else_is_known(void **state)
{
    static const struct span rows[] = {
        SPAN_INIT(""),
        SPAN_INIT("{"),
        SPAN_INIT(FRAME("\"a\"", "x", "1") " "),
        SPAN_INIT(" " FRAME("\"a\"", "x", "1")),
        SPAN_INIT(FRAME("1", "x", "1")),
        SPAN_INIT(FRAME("null", "x", "1")),
        SPAN_INIT(FRAME("\"\\n\"", "x", "1")),
        SPAN_INIT(FRAME("\"\xC3\xA9\"", "x", "1")),
        SPAN_INIT(FRAME("\"a\",\"b\":\"c\"", "x", "1")),
        SPAN_INIT(FRAME("\"a\"", "x\",\"y\":\"z", "1")),
        SPAN_INIT(FRAME("\"a\"", "a line\nbreak", "1")),
        SPAN_INIT(FRAME("\"a\"", "\\ud83d", "1")),
        SPAN_INIT(FRAME("\"a\"", "\xFF and more than sixteen bytes", "1")),
        SPAN_INIT(FRAME("\"a\"", "x", "")),
        SPAN_INIT(FRAME("\"a\"", "x", "01")),
        SPAN_INIT(FRAME("\"a\"", "x", "-1")),
        SPAN_INIT(FRAME("\"a\"", "x", "1.5")),
        SPAN_INIT(FRAME("\"a\"", "x", "1e3")),
        SPAN_INIT(FRAME("\"a\"", "x", "1000000000000000")),
        SPAN_INIT(FRAME("\"a\"", "x", "\"1\"")),
    };
    learn(FRAME("\"a\"", "first", "1"), "note");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(what_is("label", rows[i]), "unknown") != 0)
            fail_msg("%.*s is known", SPAN_ARGS(rows[i]));
    }
    assert_string_equal(what_is("another", SPAN(FRAME("\"a\"", "first", "1"))), "unknown");
    /* … and what was known still is. */
    assert_string_equal(what_is("label", SPAN(FRAME("\"a\"", "x", "2"))), "note [x] 2");
}

static void what_cannot_be_a_hole_is_not_learned(void **state)
{
    learn(FRAME("\"a\"", "x", "-1"), "negative");
    learn(FRAME("\"a\"", "x", "\"1\""), "a text");
    learn("{\"text\":1}", "a number");
    learn("{\"text\":\"x\",\"count\":1,\"y\":\"\\n\"}", "an escape");
    learn("{\"text\":\"x\",\"count\":1,\"y\":\"\xFF\"}", "not UTF-8");
    for (int i = 0; i < JSON_SHAPES; i++)
        assert_null(shapes.list[i].bytes);
}

static void several_kinds_are_known_at_once(void **state)
{
    learn("{\"text\":\"x\",\"end\":1}", "one");
    learn("{\"text\":\"x\",\"end\":2}", "two");
    learn("{\"count\":3}", "three");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(what_is("label", SPAN("{\"text\":\"a\",\"end\":1}")), "one [a] ");
        assert_string_equal(what_is("label", SPAN("{\"text\":\"b\",\"end\":2}")), "two [b] ");
        assert_string_equal(what_is("label", SPAN("{\"count\":4}")), "three [] 4");
        assert_string_equal(what_is("label", SPAN("{\"text\":\"c\",\"end\":3}")), "unknown");
    }
}

static void what_was_not_met_for_longest_makes_room(void **state)
{
    char text[64];
    learn("{\"text\":\"x\",\"end\":\"kept\"}", "kept");
    for (int i = 0; i < 200; i++) {
        snprintf(text, sizeof text, "{\"text\":\"x\",\"end\":%d}", i);
        learn(text, "passing");
        assert_string_equal(what_is("label", SPAN("{\"text\":\"y\",\"end\":\"kept\"}")),
                            "kept [y] ");
    }
    assert_true(shapes.patience > 0); /* … and is learned less and less often */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_else_is_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_a_hole_is_not_learned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_kinds_are_known_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_not_met_for_longest_makes_room, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
