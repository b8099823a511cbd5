/*
 * test/unit/test_json_template.c - texts that are the same but for one string
 * (base/json_template.h): what matches is what the parser would have said, and nothing that it
 * would have refused.
 */
#include "base/json_template.h"

#include "base/json.h"
#include "test/unit/support/cmocka_all.h"

static const char *const content[] = {"choices", "", "delta", "content", NULL};
static const char *const ignored[] = {"id", "created", "pad", NULL};

static struct arena arena;

static int set_up(void **state)
{
    arena_init(&arena);
    return 0;
}

static int tear_down(void **state)
{
    arena_free(&arena);
    return 0;
}

static struct json_template learned(const char *text)
{
    struct json_template t = {0};
    json_template_learn(&t, &arena, SPAN("label"), span_str(text), content, NULL, 7);
    return t;
}

static bool matches(struct json_template *t, const char *label, struct span text, const char *want)
{
    struct json_like like;
    size_t n = text.n; /* a block of its own size: the sanitizer sees who reads on */
    char *copy = test_malloc(n + 1);
    memcpy(copy, text.p, n);
    copy = test_realloc(copy, n);
    bool yes = json_template_match(t, span_str(label), span_of(copy, n), &like);
    if (yes) {
        assert_int_equal(like.meaning, 7);
        if (want && !span_eq(like.string, span_str(want)))
            fail_msg("it says \"%.*s\", not \"%s\"", SPAN_ARGS(like.string), want);
    }
    test_free(copy);
    return yes;
}

#define FRAME(text)                                                                                \
    "{\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\"" text "\"},\"end\":null}]}"

static void the_string_is_told(void **state)
{
    static const struct {
        struct span text;
        const char *string;
    } rows[] = {
        {SPAN_INIT(FRAME("one")), "one"},
        {SPAN_INIT(FRAME("")), ""},
        {SPAN_INIT(FRAME("a rather long piece of text, of more than eight bytes")),
         "a rather long piece of text, of more than eight bytes"},
        {SPAN_INIT(FRAME("12345678")), "12345678"},
        {SPAN_INIT(FRAME("春眠不覺曉 \xF0\x9F\x98\x80")), "春眠不覺曉 \xF0\x9F\x98\x80"},
        {SPAN_INIT(FRAME("\\u6625\\u7720 \\ud83d\\uDE00\\u00e9\\u0041")),
         "春眠 \xF0\x9F\x98\x80\xC3\xA9"
         "A"},
        {SPAN_INIT(FRAME("\\\"\\\\\\/\\b\\f\\n\\r\\t")), "\"\\/\b\f\n\r\t"},
        {SPAN_INIT(FRAME("\x7F\\n")), "\x7F\n"},
    };
    struct json_template t = learned(FRAME("first"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!matches(&t, "label", rows[i].text, rows[i].string))
            fail_msg("%s does not match", rows[i].text.p);
    }
}

static void what_is_not_the_same_does_not_match(void **state)
{
    static const struct span rows[] = {
        SPAN_INIT(""),
        SPAN_INIT("{"),
        SPAN_INIT("{\"id\":\"b\",\"choices\":[{\"delta\":{\"content\":\"x\"},\"end\":null}]}"),
        SPAN_INIT("{\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\"x\"},\"end\":true}]}"),
        SPAN_INIT("{\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\"x"),
        SPAN_INIT("{\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\""),
        SPAN_INIT("{\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\"x\"},\"end\":null}]"),
        SPAN_INIT(FRAME("x") " "),
        SPAN_INIT(" " FRAME("x")),
        SPAN_INIT(FRAME("x\",\"refusal\":\"no")),
        SPAN_INIT(FRAME("x\"")),
        SPAN_INIT(FRAME("x\\")),
        SPAN_INIT(FRAME("x\\\\\"")),
        SPAN_INIT(FRAME("x\\q")),
        SPAN_INIT(FRAME("x\\u12")),
        SPAN_INIT(FRAME("x\\u12g4")),
        SPAN_INIT(FRAME("a line\nbreak")),
        SPAN_INIT(FRAME("a tab among many bytes\t")),
        SPAN_INIT(FRAME("nothing \0 at all")),
        SPAN_INIT(FRAME("half \\ud83d of a pair")),
        SPAN_INIT(FRAME("half \\ud83d\\u0041")),
        SPAN_INIT(FRAME("the other half \\ude00")),
        SPAN_INIT(FRAME("raw half \xED\xA0\xBD")),
        SPAN_INIT(FRAME("not UTF-8 \xC3")),
        SPAN_INIT(FRAME("not UTF-8 \xFF, but long enough")),
        SPAN_INIT(FRAME("escaped\\n, then not UTF-8 \xC3(")),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct json_template t = learned(FRAME("first"));
        if (matches(&t, "label", rows[i], NULL))
            fail_msg("%.*s matches", SPAN_ARGS(rows[i]));
        /* … and what was learned is forgotten. */
        assert_false(matches(&t, "label", SPAN(FRAME("first")), NULL));
    }
    struct json_template t = learned(FRAME("first"));
    assert_false(matches(&t, "another", SPAN(FRAME("first")), NULL));
}

static void a_string_too_long_for_the_room_does_not_match(void **state)
{
    struct buffer text;
    buffer_init(&text, 1 << 16);
    for (int plain = 0; plain < 2; plain++) {
        struct json_template t = learned(FRAME("first"));
        buffer_clear(&text);
        buffer_append(&text, SPAN("{\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\""));
        for (int i = 0; i < JSON_TEMPLATE_ROOM; i++)
            buffer_append(&text, plain ? SPAN("x") : SPAN("\\n"));
        buffer_append(&text, SPAN("\"},\"end\":null}]}"));
        assert_int_equal(matches(&t, "label", buffer_span(&text), NULL), plain);
    }
    buffer_free(&text);
}

static void only_what_is_certain_is_learned(void **state)
{
    static const char *const rows[] = {
        "[\"content\"]",
        "{\"choices\":[]}",
        "{\"choices\":{}}",
        "{\"choices\":[{\"delta\":{\"content\":null}}]}",
        "{\"choices\":[{\"delta\":{\"content\":5}}]}",
        "{\"choices\":[{\"delta\":{\"content\":[\"x\"]}}]}",
        "{\"choices\":[{\"delta\":{\"content\":\"x\"}},{\"delta\":{\"content\":\"y\"}}]}",
        "{\"choices\":[{\"delta\":{\"content\":\"x\",\"text\":\"a\\n\"}}]}",
        "{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"id\":\"\xFF\"}",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct json_template t = learned(rows[i]);
        if (t.holes)
            fail_msg("%s is learned", rows[i]);
    }
    struct buffer large;
    buffer_init(&large, 1 << 16);
    buffer_append(&large, SPAN("{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"a\":\""));
    for (int i = 0; i < JSON_TEMPLATE_BYTES; i++)
        buffer_char(&large, 'a');
    buffer_append(&large, SPAN("\"}\0"));
    struct json_template t = learned(large.p);
    assert_int_equal(t.holes, 0);
    buffer_free(&large);
}

/* As json_get has it. */
static void of_a_doubled_name_the_last_one_counts(void **state)
{
    struct json_template t =
        learned("{\"choices\":1,\"choices\":[{\"delta\":{\"content\":\"a\",\"content\":\"b\"}}]}");
    assert_true(matches(
        &t, "label",
        SPAN("{\"choices\":1,\"choices\":[{\"delta\":{\"content\":\"a\",\"content\":\"c\"}}]}"),
        "c"));
    assert_false(matches(
        &t, "label",
        SPAN("{\"choices\":1,\"choices\":[{\"delta\":{\"content\":\"c\",\"content\":\"b\"}}]}"),
        NULL));
}

#define PADDED(id, text, created, pad)                                                             \
    "{\"id\":\"" id "\",\"choices\":[{\"delta\":{\"content\":\"" text "\"}}],\"created\":" created \
    ",\"pad\":\"" pad "\"}"

static void learn_with(struct json_template *t, const char *text)
{
    json_template_learn(t, &arena, SPAN("label"), span_str(text), content, ignored, 7);
}

/* Members that nobody looks at may change, once it is clear that they do. */
static void ignored_members_become_holes(void **state)
{
    static const char *const same[] = {PADDED("a", "hi", "1", "p"), PADDED("", "", "0", "")};
    static const char *const other[] = {
        PADDED("b", "x", "01", "qq"),
        PADDED("b", "x", "-1", "qq"),
        PADDED("b", "x", "1.5", "qq"),
        PADDED("b", "x", "\"1\"", "qq"),
        PADDED("b", "x", "", "qq"),
        PADDED("b\\n", "x", "1", "qq"),
        PADDED("b\xFF", "x", "1", "qq"),
        PADDED("b\",\"c\":\"", "x", "1", "qq"),
        PADDED("b", "x", "12345678901234567890123", "qq"),
    };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        struct json_template t = {0};
        learn_with(&t, same[0]);
        assert_int_equal(t.holes, 1);
        assert_false(matches(&t, "label", span_str(same[1]), NULL));
        learn_with(&t, same[1]);
        assert_int_equal(t.holes, 4);
        assert_true(matches(&t, "label", SPAN(PADDED("c", "text", "1760000000", "x")), "text"));
        assert_true(matches(&t, "label", span_str(same[0]), "hi"));
        if (matches(&t, "label", span_str(other[i]), NULL))
            fail_msg("%s matches", other[i]);
    }
}

/* Where every text is another one, few are looked at to be learned. */
static void who_never_matches_is_learned_less_and_less(void **state)
{
    struct json_template t = {0};
    int times = 0;
    char text[128];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "{\"n\":%d,\"choices\":[{\"delta\":{\"content\":\"x\"}}]}", i);
        assert_false(matches(&t, "label", span_str(text), NULL));
        learn_with(&t, text);
        times += t.holes > 0;
    }
    assert_in_range(times, 2, 30);
    json_template_forget(&t);
    assert_int_equal(t.holes, 0);
    learn_with(&t, FRAME("x"));
    assert_int_equal(t.holes, 1);
}

/* ---- the parser agrees ---- */

static unsigned chance;

static unsigned draw(unsigned n)
{
    chance = chance * 1664525u + 1013904223u;
    return (chance >> 8) % n;
}

static void random_string(struct buffer *out)
{
    static const struct span pieces[] = {
        SPAN_INIT("a"),
        SPAN_INIT("word "),
        SPAN_INIT("eight888"),
        SPAN_INIT("\\n"),
        SPAN_INIT("\\\""),
        SPAN_INIT("\\\\"),
        SPAN_INIT("\\u00e9"),
        SPAN_INIT("\\ud83d"),
        SPAN_INIT("\\ude00"),
        SPAN_INIT("春"),
        SPAN_INIT("\xF0\x9F\x98\x80"),
        SPAN_INIT("\\/"),
        SPAN_INIT("\\u0000"),
        SPAN_INIT("\xC3\xA9"),
        SPAN_INIT("\x7F"),
        SPAN_INIT("\\uE000"),
    };
    static const struct span bad[] = {SPAN_INIT("\\"),   SPAN_INIT("\""),   SPAN_INIT("\x1F"),
                                      SPAN_INIT("\xFF"), SPAN_INIT("\\x"),  SPAN_INIT("\xE6\x98"),
                                      SPAN_INIT("\0"),   SPAN_INIT("\\u00")};
    for (unsigned n = draw(8); n; n--)
        buffer_append(out, pieces[draw(sizeof pieces / sizeof *pieces)]);
    if (draw(8) == 0)
        buffer_append(out, bad[draw(sizeof bad / sizeof *bad)]);
    if (draw(2))
        buffer_append(out, pieces[draw(3)]);
}

static void what_matches_is_what_the_parser_says(void **state)
{
    struct json_parser *json = json_parser_create(1 << 16);
    assert_non_null(json);
    struct buffer text;
    int matched = 0;
    buffer_init(&text, 1 << 16);
    for (chance = 1; matched < 5000;) {
        struct json_template t = learned(FRAME("first"));
        struct json_like like;
        struct json root;
        buffer_clear(&text);
        buffer_append(&text, SPAN("{\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\""));
        random_string(&text);
        buffer_append(&text, SPAN("\"},\"end\":null}]}"));
        bool strict = json_parse(json, buffer_span(&text), &root) == JSON_OK;
        struct span said =
            json_get_text(json_get(json_at(json_get(root, "choices"), 0), "delta"), "content");
        bool match = json_template_match(&t, SPAN("label"), buffer_span(&text), &like);
        if (match != strict || (match && !span_eq(said, like.string)))
            fail_msg("%.*s: the parser and the template disagree", SPAN_ARGS(buffer_span(&text)));
        matched += match;
    }
    buffer_free(&text);
    json_parser_destroy(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_string_is_told),
        cmocka_unit_test(what_is_not_the_same_does_not_match),
        cmocka_unit_test(a_string_too_long_for_the_room_does_not_match),
        cmocka_unit_test(only_what_is_certain_is_learned),
        cmocka_unit_test(of_a_doubled_name_the_last_one_counts),
        cmocka_unit_test(ignored_members_become_holes),
        cmocka_unit_test(who_never_matches_is_learned_less_and_less),
        cmocka_unit_test(what_matches_is_what_the_parser_says),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
