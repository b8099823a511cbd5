/*
 * test/unit/test_json.c - reading JSON, writing it, and walking its raw text.
 */
#include <math.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "base/json.h"
#include "base/json_outline.h"
#include "base/json_raw.h"
#include "base/json_write.h"
#include "test/unit/support/cmocka_all.h"

static struct json_parser *parser;

static int make_parser(void **state)
{
    parser = json_parser_create(1 << 20);
    return parser ? 0 : -1;
}

static int free_parser(void **state)
{
    json_parser_destroy(parser);
    return 0;
}

static struct json good(const char *text)
{
    struct json root;
    int error = json_parse(parser, span_str(text), &root);
    if (error)
        fail_msg("%s: %s", text, json_error_text(error));
    return root;
}

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void); /* its header is not everywhere */
#endif

/* Bytes that the program holds; 0: nobody knows. */
static size_t held(void)
{
#ifdef __SANITIZE_ADDRESS__
    return __sanitizer_get_current_allocated_bytes();
#elif defined __GLIBC__
    struct mallinfo2 heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
#else
    return 0;
#endif
}

/* ---- reading ---- */

/* Also what mending one took. */
static void what_large_texts_took_is_given_back(void **state)
{
    enum { LARGE = 900000, KEEP = 100000, SMALL = 64 * 1024 };
    static const struct span half = SPAN_INIT("\\ud800");
    char *text = malloc(LARGE);
    struct json root;
    good("[1]");
    json_parser_shrink(parser, KEEP);
    size_t before = held();
    memset(text, ' ', LARGE);
    text[0] = text[LARGE - 1] = '"';
    memcpy(text + 1, half.p, half.n);
    assert_int_equal(json_parse_lenient(parser, span_of(text, LARGE), &root), JSON_OK);
    assert_true(!held() || held() > before + 2 * LARGE);
    json_parser_shrink(parser, KEEP);
    assert_true(held() < before + LARGE + SMALL); /* the text itself is still there */
    free(text);
    assert_int_equal(json_size(good("[1,2]")), 2);
    json_parser_shrink(parser, KEEP); /* a small one's document stays */
    assert_int_equal(json_size(good("[1,2,3]")), 3);
}

/* Without a walk; deep or not, with their keys. */
static void extents(void **state)
{
    assert_int_equal(json_extent((struct json){NULL, 0}), 0);
    assert_int_equal(json_extent(good("\"text\"")), 1);
    struct json all = good("{\"a\":[],\"b\":[[\"x\"],\"y\"],\"c\":1.5}");
    assert_int_equal(json_extent(json_get(all, "a")), 2);
    assert_int_equal(json_extent(json_get(all, "b")), 6);
    assert_int_equal(json_extent(json_get(all, "c")), 2);
    assert_int_equal(json_extent(all), 2 + 3 + 2 + 6 + 2);
}

/* Of what has no room the beginning is written, and no more is looked at. */
static void a_dump_without_room_ends(void **state)
{
    char some[8];
    struct buffer small = {.p = some, .cap = sizeof some, .limit = sizeof some};
    const char *text = "[[1,2,{\"a\":3}],[4,5],6]";
    assert_int_equal(json_dump(&small, good(text)), BUFFER_FULL);
    assert_true(span_starts(span_str(text), buffer_span(&small)));
}

static void values_are_told_apart(void **state)
{
    struct json v = good("{\"n\":null,\"t\":true,\"i\":-5,\"u\":18446744073709551615,\"d\":1.5,"
                         "\"s\":\"x\",\"a\":[1,2],\"o\":{\"k\":{}}}");
    static const struct {
        const char *key;
        enum json_type type;
    } wanted[] = {{"n", JSON_NULL},  {"t", JSON_BOOL},   {"i", JSON_INT},
                  {"u", JSON_UINT},  {"d", JSON_DOUBLE}, {"s", JSON_STRING},
                  {"a", JSON_ARRAY}, {"o", JSON_OBJECT}, {"?", JSON_MISSING}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_int_equal(json_type(json_get(v, wanted[i].key)), wanted[i].type);
    assert_int_equal(json_size(v), 8);
    assert_int_equal(json_size(json_get(v, "a")), 2);
    assert_true(json_bool(json_get(v, "t"), false));
    assert_true(json_bool(json_get(v, "n"), true));
    assert_int_equal(json_type(json_path(v, "o", "k")), JSON_OBJECT);
    assert_int_equal(json_type(json_path(v, "o", "k", "z", "y")), JSON_MISSING);
    assert_int_equal(json_type(json_at(json_get(v, "a"), 1)), JSON_INT);
    assert_int_equal(json_type(json_at(json_get(v, "a"), 2)), JSON_MISSING);
    assert_int_equal(json_type(json_at(v, 0)), JSON_MISSING);
}

/* Nothing may happen when a value of another type, or none, is asked. */
static void anything_may_be_asked(void **state)
{
    struct json v = good("[null,true,1,1.5,\"s\",[],{}]"), none = {0};
    struct json_iter it = json_each(v);
    size_t n = 0;
    while (json_next(&it)) {
        int64_t i;
        double d;
        assert_null(it.key.p);
        json_get(it.value, "a");
        json_int(it.value, &i);
        json_number(it.value, &d);
        json_text(it.value);
        struct json_iter inner = json_each(it.value);
        assert_false(json_next(&inner));
        n++;
    }
    assert_int_equal(n, 7);
    assert_int_equal(json_type(json_get(none, "a")), JSON_MISSING);
    assert_null(json_text(none).p);
    assert_int_equal(json_size(none), 0);
    it = json_each(none);
    assert_false(json_next(&it));
}

static void numbers(void **state)
{
    struct json v = good(
        "[9223372036854775807,-9223372036854775808,18446744073709551615,3.0,3.5,1e300,-0.0,1e2]");
    int64_t i = 0;
    double d = 0;
    assert_true(json_int(json_at(v, 0), &i) && i == INT64_MAX);
    assert_true(json_int(json_at(v, 1), &i) && i == INT64_MIN);
    assert_false(json_int(json_at(v, 2), &i));
    assert_true(json_int(json_at(v, 3), &i) && i == 3);
    assert_false(json_int(json_at(v, 4), &i));
    assert_false(json_int(json_at(v, 5), &i));
    assert_true(json_int(json_at(v, 6), &i) && i == 0);
    assert_true(json_int(json_at(v, 7), &i) && i == 100);
    assert_true(json_number(json_at(v, 4), &d) && d == 3.5);
    assert_true(json_number(json_at(v, 0), &d) && d == 9223372036854775807.0);
}

static void strings(void **state)
{
    struct json v =
        good("{\"a\\u0000b\":\"\\u0000\\n\\ud83c\\udf38春\",\"e\":\"\",\"d\":1,\"d\":2}");
    struct json_iter it = json_each(v);
    int64_t i;
    assert_true(json_next(&it));
    assert_span_equal(it.key, span_of("a\0b", 3));
    assert_span_equal(json_text(it.value), span_of("\0\n🌸春", 9));
    assert_true(json_get_text(v, "e").p && json_get_text(v, "e").n == 0);
    assert_true(json_int(json_get(v, "d"), &i) && i == 2); /* the last one counts */
    assert_int_equal(json_type(json_get_n(v, span_of("a\0b", 3))), JSON_STRING);
}

static void what_is_not_json(void **state)
{
    static const struct {
        const char *text;
        int error;
    } bad[] = {
        {"", JSON_INVALID},
        {" ", JSON_INVALID},
        {"{", JSON_INVALID},
        {"[1,]", JSON_INVALID},
        {"{\"a\":1,}", JSON_INVALID},
        {"{a:1}", JSON_INVALID},
        {"'a'", JSON_INVALID},
        {"[1] 2", JSON_INVALID},
        {"nul", JSON_INVALID},
        {"[01]", JSON_NUMBER},
        {"[1.]", JSON_NUMBER},
        {"[+1]", JSON_INVALID},
        {"[NaN]", JSON_INVALID},
        {"/**/1", JSON_INVALID},
        {"\"a", JSON_INVALID},
        {"{\"a\" 1}", JSON_INVALID},
        {"\"\xff\"", JSON_UTF8},
        {"\"\xed\xa0\x80\"", JSON_UTF8},
        {"\"\xc0\x80\"", JSON_UTF8},
        {"\"\\x\"", JSON_STRING_BAD},
        {"\"\\ud83d\"", JSON_STRING_BAD},
        {"1e999", JSON_NUMBER},
        {"123456789012345678901", JSON_NUMBER},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct json root;
        int error = json_parse(parser, span_str(bad[i].text), &root);
        if (error != bad[i].error)
            fail_msg("%s gives %d (%s), not %d", bad[i].text, error, json_error_text(error),
                     bad[i].error);
        assert_true(json_error_text(error)[0]);
        assert_int_equal(json_type(root), JSON_MISSING);
    }
    good("[1]"); /* the parser lives on */
}

/* Bytes that look harmless in a C string. */
static void strictness_in_single_bytes(void **state)
{
    struct json root;
    for (int c = 0; c < 0x20; c++) {
        char text[] = {'"', 'a', (char)c, 'b', '"'};
        assert_true(json_parse(parser, span_of(text, sizeof text), &root) < 0);
        assert_int_equal(json_type(root), JSON_MISSING);
    }
    assert_true(json_parse(parser, SPAN("[1]\0"), &root) < 0);
    assert_true(json_parse(parser, SPAN("\xef\xbb\xbf[1]"), &root) < 0); /* RFC 8259, 8.1 */
    assert_int_equal(json_parse(parser, SPAN(" \t\r\n[1] \t\r\n"), &root), 0);
    assert_true(json_parse(parser, SPAN("\f[1]"), &root) < 0);
    assert_true(json_parse(parser, SPAN("\xc2\xa0[1]"), &root) < 0);
    static const struct span malformed[] = {SPAN_INIT("\"\x80\""),
                                            SPAN_INIT("\"\xe0\x80\x80\""),
                                            SPAN_INIT("\"\xf5\x80\x80\x80\""),
                                            SPAN_INIT("\"\xf4\x90\x80\x80\""),
                                            SPAN_INIT("\"\xe6\x98\""),
                                            SPAN_INIT("\"\xf0\x80\x80\x80\"")};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        assert_int_equal(json_parse(parser, malformed[i], &root), JSON_UTF8);
    static const char *const scalars[] = {"1", "-0", "\"\"", "true", "null", "0.5e-3"};
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++)
        assert_true(json_type(good(scalars[i])) != JSON_MISSING);
}

/* The text may go away, and no byte behind it is read: each cut of a document stands in memory of
 * its own size, where the address sanitizer looks. None but the whole is JSON. */
static void every_cut_is_refused(void **state)
{
    const struct span whole =
        SPAN("{\"a\":[1,-2.5e3,true,null,\"\\ud83c\\udf38\xe6\x98\xa5\"],\"b\":{\"c\":{}}}");
    struct json root;
    for (size_t n = 1; n <= whole.n; n++) {
        char *copy = malloc(n);
        memcpy(copy, whole.p, n);
        int error = json_parse(parser, span_of(copy, n), &root);
        free(copy);
        assert_int_equal(error == 0, n == whole.n);
        assert_int_equal(json_type(root), n == whole.n ? JSON_OBJECT : JSON_MISSING);
        copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, whole.p, n);
        assert_int_equal(json_parse_lenient(parser, span_of(copy, n), &root) == 0, n == whole.n);
        free(copy);
    }
    assert_span_equal(json_text(json_at(json_get(root, "a"), 4)), SPAN("🌸春"));
}

static void depth_and_size_are_limited(void **state)
{
    enum { DEEP = 5000 };
    char *text = malloc(2 * DEEP);
    struct json root;
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    assert_int_equal(json_parse(parser, span_of(text, (size_t)2 * DEEP), &root), JSON_DEPTH);
    assert_int_equal(json_parse(parser, span_of(text + DEEP - 1024, 2048), &root), 0);
    assert_int_equal(json_parse(parser, span_of(text + DEEP - 1025, 2050), &root), JSON_DEPTH);
    struct buffer out; /* what was read can be written */
    buffer_init(&out, 4096);
    assert_int_equal(json_parse(parser, span_of(text + DEEP - 1024, 2048), &root), 0);
    assert_int_equal(json_dump(&out, root), 0);
    assert_span_equal(buffer_span(&out), span_of(text + DEEP - 1024, 2048));
    buffer_free(&out);
    free(text);
    char *large = malloc((1 << 20) + 100);
    memset(large, ' ', (1 << 20) + 100);
    large[0] = '1';
    assert_int_equal(json_parse(parser, span_of(large, (1 << 20) + 100), &root), JSON_TOO_LARGE);
    free(large);
    struct json_parser *small = json_parser_create(40);
    assert_non_null(small);
    assert_int_equal(json_parse(small, SPAN("[1,2,3]"), &root), 0);
    assert_int_equal(
        json_parse(small, SPAN("[\"a string that is longer than forty bytes\"]"), &root),
        JSON_TOO_LARGE);
    json_parser_destroy(small);
}

static void foreign_text_is_not_lost_over_a_detail(void **state)
{
    struct json root;
    assert_int_equal(
        json_parse_lenient(parser, SPAN("{\"a\":\"x\xff\",\"b\":\"\\ud83d\",\"c\":\"\\udf38!\"}"),
                           &root),
        0);
    assert_span_equal(json_get_text(root, "a"), SPAN("x\xef\xbf\xbd"));
    assert_span_equal(json_get_text(root, "b"), SPAN("\xed\xa0\xbd"));
    assert_span_equal(json_get_text(root, "c"), SPAN("\xed\xbc\xb8!"));
    assert_int_equal(json_parse_lenient(parser, SPAN("{\"a\":\"\\ud83c\\udf38\"}"), &root), 0);
    assert_span_equal(json_get_text(root, "a"), SPAN("🌸"));
    assert_int_equal(json_parse_lenient(parser, SPAN("{\"a\":}"), &root), JSON_INVALID);
}

/* Private-use characters stay themselves beside lone surrogates, which then become U+FFFD. */
static void private_characters_stay(void **state)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"[\"\xee\x80\x80\"]", "\xee\x80\x80"},
        {"[\"\\ue000\"]", "\xee\x80\x80"},
        {"[\"\xee\x80\x80\\ud800\"]", "\xee\x80\x80\xef\xbf\xbd"},
        {"[\"\\uE7FF\\udfff\"]", "\xee\x9f\xbf\xef\xbf\xbd"},
        {"[\"\xee\xa0\x80\\ud800\"]", "\xee\xa0\x80\xed\xa0\x80"}, /* U+E800: not borrowed */
        {"[\"\\ud800\\ud800\\udc00\"]", "\xed\xa0\x80\xf0\x90\x80\x80"},
        {"[\"\\udc00\\ud800\"]", "\xed\xb0\x80\xed\xa0\x80"},
        {"[\"\\\\ud800\"]", "\\ud800"},
        {"[\"\xe6\x98\"]", "\xef\xbf\xbd"}, /* one for a torn character */
        {"[\"\xf0\x80\x80\"]", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* never began one */
        {"[\"\xff\\ud83d\"]", "\xef\xbf\xbd\xed\xa0\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json root;
        assert_int_equal(json_parse_lenient(parser, span_str(cases[i].text), &root), 0);
        for (int twice = 0; twice < 2; twice++)
            assert_span_equal(json_text(json_at(root, 0)), span_str(cases[i].wanted));
    }
    /* Keys as well; and the next document is read plainly again. */
    struct json root;
    assert_int_equal(json_parse_lenient(parser, SPAN("{\"\\ud800\":1}"), &root), 0);
    assert_int_equal(json_type(json_get(root, "\xed\xa0\x80")), JSON_INT);
    assert_span_equal(json_text(good("\"\xee\x80\x80\"")), SPAN("\xee\x80\x80"));
}

static void lone_surrogates_of_a_body_are_mended(void **state)
{
    char text[] = "{\"a\":\"\\ud83d x \\ud83c\\udf38 \\udf38 \\\\ud83d \\uD83D\\uD83C\\uDF38\"}";
    assert_int_equal(json_mend_surrogates(text, strlen(text)), 3);
    assert_string_equal(
        text, "{\"a\":\"\\ufffd x \\ud83c\\udf38 \\ufffd \\\\ud83d \\ufffd\\uD83C\\uDF38\"}");
    good(text);
}

static void values_are_dumped(void **state)
{
    static const char text[] =
        "{\"a\":[1,-2,18446744073709551615,1.5,\"x\\n\\u0000\",null,true,{}],\"b\":{}}";
    struct buffer out;
    buffer_init(&out, 1000);
    assert_int_equal(json_dump(&out, good(text)), 0);
    assert_span_equal(buffer_span(&out), span_str(text));
    buffer_free(&out);
}

/* What was read is dumped as it was, whatever type a number has. */
static void numbers_are_dumped_exactly(void **state)
{
    static const char *const texts[] = {"-9223372036854775808",
                                        "9223372036854775807",
                                        "9223372036854775808",
                                        "18446744073709551615",
                                        "1e+300",
                                        "-0.0",
                                        "0.1",
                                        "5e-324",
                                        "1.7976931348623157e+308",
                                        "-1.5"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buffer out;
        buffer_init(&out, 100);
        assert_int_equal(json_dump(&out, good(texts[i])), 0);
        assert_span_equal(buffer_span(&out), span_str(texts[i]));
        buffer_free(&out);
    }
}

/* ---- writing ---- */

static void write_sample(struct json_writer *w)
{
    json_begin_object(w);
    json_member(w, "text", SPAN("\"a\"\n"));
    json_key(w, "list");
    json_begin_array(w);
    json_write_int(w, -7);
    json_write_double(w, 0.25);
    json_begin_object(w);
    json_end_object(w);
    json_raw_value(w, SPAN("[]"));
    json_end_array(w);
    json_end_object(w);
}

/* At every limit: what is there is the beginning of the whole, and the error is seen at the end. */
static void writing_stops_at_the_limit(void **state)
{
    struct buffer whole;
    buffer_init(&whole, 1000);
    struct json_writer w = json_writer(&whole);
    write_sample(&w);
    assert_int_equal(whole.error, 0);
    for (size_t limit = 0; limit <= whole.n; limit++) {
        struct buffer b;
        buffer_init(&b, limit);
        w = json_writer(&b);
        write_sample(&w);
        assert_int_equal(b.error, limit == whole.n ? BUFFER_OK : BUFFER_FULL);
        assert_true(b.n <= limit && span_starts(buffer_span(&whole), buffer_span(&b)));
        buffer_free(&b);
    }
    buffer_free(&whole);
}

static void documents_are_written(void **state)
{
    struct buffer out;
    buffer_init(&out, 1000);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    json_member(&w, "s", span_of("\"\\\n\x01\0é", 7));
    json_member_int(&w, "i", INT64_MIN);
    json_member_bool(&w, "b", true);
    json_member_raw(&w, "r", SPAN("[1, 2]"));
    json_key_span(&w, SPAN("k\""));
    json_begin_array(&w);
    json_null(&w);
    json_cstring(&w, "x");
    json_begin_object(&w);
    json_end_object(&w);
    json_write_bool(&w, false);
    json_begin_array(&w);
    json_end_array(&w);
    json_end_array(&w);
    json_end_object(&w);
    assert_span_equal(
        buffer_span(&out),
        SPAN("{\"s\":\"\\\"\\\\\\n\\u0001\\u0000é\",\"i\":-9223372036854775808,\"b\":true,"
             "\"r\":[1, 2],\"k\\\"\":[null,\"x\",{},false,[]]}"));
    buffer_free(&out);
}

static void doubles_read_back_the_same(void **state)
{
    static const double values[] = {0,    0.1,           1.0 / 3, 1e300, 5e-324,
                                    -2.5, 123456789.125, 1e15,    1e22};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct buffer out;
        double back;
        buffer_init(&out, 100);
        struct json_writer w = json_writer(&out);
        json_write_double(&w, values[i]);
        buffer_char(&out, '\0');
        assert_true(json_number(good(out.p), &back) && back == values[i]);
        buffer_free(&out);
    }
    struct buffer out;
    buffer_init(&out, 100);
    struct json_writer w = json_writer(&out);
    json_write_double(&w, 0.0 / 0.0 > 0 ? 1 : __builtin_nan(""));
    json_write_double(&w, __builtin_inf());
    json_write_double(&w, 0.1);
    assert_span_equal(buffer_span(&out), SPAN("null,null,0.1"));
    buffer_free(&out);
}

static void doubles_are_short(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "-0.0"},
                 {0.1, "0.1"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {100, "100"},
                 {1e21, "1e+21"},
                 {5e-324, "5e-324"},
                 {1e-310, "1e-310"},
                 {2.2250738585072014e-308, "2.2250738585072014e-308"},
                 {-1.7976931348623157e308, "-1.7976931348623157e+308"},
                 {9007199254740993.0, "9007199254740992"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buffer out;
        buffer_init(&out, 100);
        struct json_writer w = json_writer(&out);
        json_write_double(&w, cases[i].value);
        assert_span_equal(buffer_span(&out), span_str(cases[i].text));
        buffer_free(&out);
    }
}

/* Doubles of all magnitudes, bit for bit. */
static void any_double_reads_back_the_same(void **state)
{
    uint64_t bits = 88172645463325252ull; /* xorshift: the same numbers every time */
    struct buffer out;
    buffer_init(&out, 100);
    for (int i = 0; i < 20000; i++) {
        double value, back = 0;
        struct json root;
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        memcpy(&value, &bits, sizeof value);
        if (i % 10 == 0) /* subnormal */
            value = (double)(bits >> 40) * 5e-324;
        if (!isfinite(value))
            continue;
        buffer_clear(&out);
        struct json_writer w = json_writer(&out);
        json_write_double(&w, value);
        assert_int_equal(json_parse(parser, buffer_span(&out), &root), 0);
        assert_true(json_number(root, &back));
        assert_memory_equal(&back, &value, sizeof value);
    }
    buffer_free(&out);
}

/* Every byte, at every place of a word (escaping runs over words). */
static void every_byte_is_escaped_anywhere(void **state)
{
    for (int c = 0; c < 0x80; c++) {
        for (size_t at = 0; at < 20; at++) {
            char text[21];
            struct buffer out;
            struct json root;
            memset(text, 'a', sizeof text);
            text[at] = (char)c;
            buffer_init(&out, 1000);
            struct json_writer w = json_writer(&out);
            json_string(&w, span_of(text, sizeof text));
            assert_int_equal(json_parse(parser, buffer_span(&out), &root), 0);
            assert_span_equal(json_text(root), span_of(text, sizeof text));
            buffer_free(&out);
        }
    }
}

/* ---- raw text ---- */

static void raw_members(void **state)
{
    const struct span text =
        SPAN(" { \"a\" : [1, {\"x\":\"}]\"}] , \"b\\u0022\":123456789012345678901234567890 "
             ",\"\":null,\"a\":\" \\\" \" } ");
    static const char *const keys[] = {"a", "b\\u0022", "", "a"};
    static const char *const values[] = {"[1, {\"x\":\"}]\"}]", "123456789012345678901234567890",
                                         "null", "\" \\\" \""};
    struct json_raw_iter it = json_raw_each(text);
    size_t n = 0;
    for (; json_raw_next(&it); n++) {
        assert_span_equal(it.key, span_str(keys[n]));
        assert_span_equal(it.value, span_str(values[n]));
    }
    assert_int_equal(n, 4);
    assert_span_equal(json_raw_get(text, "a"), span_str(values[3]));
    assert_span_equal(json_raw_get(text, "b\""), span_str(values[1]));
    assert_null(json_raw_get(text, "c").p);
    assert_true(json_raw_key_is(SPAN("\\u0061\\u00e9\\/"), SPAN("aé/")));
    assert_false(json_raw_key_is(SPAN("a"), SPAN("ab")));
    it = json_raw_each(SPAN("[ ]"));
    assert_false(json_raw_next(&it));
    it = json_raw_each(SPAN("[1, [2,3] ,\"x\"]"));
    for (n = 0; json_raw_next(&it); n++)
        assert_null(it.key.p);
    assert_int_equal(n, 3);
}

/* One walk over an object finds what json_raw_given finds, also beyond the index: the last of a
 * doubled name, a null that takes a value away, names with escapes. */
static void members_are_indexed(void **state)
{
    static const char *const names[] = {"a", "b\"", "é", "n", "gone", "back", "none", ""};
    for (int filling = 0; filling < 2 * JSON_MEMBERS_INDEXED; filling++) {
        struct buffer text;
        struct json_members m;
        buffer_init(&text, 65536);
        buffer_append(&text, SPAN("{ \"a\":1,\"gone\":2,\"back\":null,\"n\":null"));
        for (int i = 0; i < filling; i++)
            buffer_printf(&text, ",\"x%d\":[%d,{\"a\":\"}\"}]", i, i);
        buffer_append(&text, SPAN(",\"b\\u0022\" : {} ,\"\\u00E9\":\"é\",\"gone\":null,"
                                  "\"back\":3,\"\\u0061\":[4],\"\":5}"));
        json_members_read(&m, buffer_span(&text));
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            assert_span_equal(json_members_given(&m, names[i]),
                              json_raw_given(buffer_span(&text), names[i]));
        assert_span_equal(json_members_given(&m, "a"), SPAN("[4]"));
        assert_null(json_members_given(&m, "gone").p);
        size_t all = json_raw_count(buffer_span(&text));
        assert_true(json_members_exceed(&m, all - 1));
        assert_false(json_members_exceed(&m, all));
        buffer_free(&text);
    }
    const struct span plain = SPAN("{\"a\":1,\"gone\":2,\"none\":null,\"gone\":null,\"\":0}");
    struct json_members no_escapes;
    json_members_read(&no_escapes, plain);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_span_equal(json_members_given(&no_escapes, names[i]),
                          json_raw_given(plain, names[i]));
    static const char *const others[] = {"", "{}", "[1,2]", "\"a\"", "null", "7"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct json_members m;
        json_members_read(&m, span_str(others[i]));
        assert_null(json_members_given(&m, "a").p);
        assert_null(json_members_given(&m, "").p);
    }
}

/* Of a plain text: the parser takes it, and each place is where the walker finds it. */
static void check_outline(const struct json_outline *o, struct span text, struct json_parser *json)
{
    struct json root;
    assert_int_equal(json_parse(json, text, &root), JSON_OK);
    assert_true(json_is(root, JSON_OBJECT));
    if (!o->whole)
        return;
    struct json_raw_iter member = json_raw_each(text), element, inner;
    size_t at = 0;
    while (json_raw_next(&member)) {
        assert_span_equal(o->list[at].key, member.key);
        assert_span_equal(o->list[at].value, member.value);
        size_t behind = o->list[at++].behind;
        bool looked_into = span_eq(member.key, SPAN("list")) && json_raw_is_array(member.value);
        element = json_raw_each(looked_into ? member.value : SPAN(""));
        while (json_raw_next(&element)) {
            assert_span_equal(o->list[at++].value, element.value);
            inner = json_raw_each(json_raw_is_object(element.value) ? element.value : SPAN(""));
            for (; json_raw_next(&inner); at++) {
                assert_span_equal(o->list[at].key, inner.key);
                assert_span_equal(o->list[at].value, inner.value);
                assert_int_equal(o->list[at].behind, at + 1);
            }
        }
        assert_int_equal(behind, at);
    }
    assert_int_equal(o->n, at);
}

/* True: it is plain. */
static bool look_at(struct span text, struct json_parser *json)
{
    struct json_outline o;
    bool plain = json_outline_read(&o, text, SPAN("list"));
    assert_int_equal(plain, json_is_plain_object(text));
    if (plain)
        check_outline(&o, text, json);
    return plain;
}

static void plain_objects_have_an_outline(void **state)
{
    static const char *const plain[] = {
        "{}",
        " { } \n",
        "{\"a\":1}",
        "{\"list\":[{\"role\":\"user\",\"content\":\"a\\nb\"},{},[1,{\"a\":2}],\"x\",null]}",
        "{\"list\" : [ ] , \"list\":{\"a\":{}},\"list\":[{\"a\":[{\"b\":1}],\"c\":true}]}",
        "{\"a\":-0.25,\"b\":123456789012345,\"c\":false}",
        "{\"d\":\"\\u00e9\\/\\\"\",\"e\":\"é世😀\"}",
        "{\"\":{\"list\":[{\"deep\":1}]}}",
    };
    static const char *const others[] = {
        "",
        " ",
        "[]",
        "1",
        "\"a\"",
        "{\"a\":1}x",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{\"a\":[1,]}",
        "{\"a\":[1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":-}",
        "{\"a\":+1}",
        "{\"a\":tru}",
        "{\"a\":\"\\ud83d\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\x01\"}",
        "{\"a\":\"\x80\"}",
        "{\"a\":\"\xC0\x80\"}",
        "{\"a\":\"\xED\xA0\x80\"}",
        "{\"a\":\"\xF4\x90\x80\x80\"}",
        "{\"a\":\"\xE4\xB8\"}",
        "{\"\\u0061\":1}", /* valid, but rare: for the parser */
        "{\"é\":1}",
        "{\"a\":1e3}",
        "{\"a\":1234567890123456}",
    };
    struct json_parser *json = json_parser_create(1 << 20);
    assert_non_null(json);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        struct span text = span_str(plain[i]);
        assert_true(look_at(text, json));
        for (size_t n = 0; n < span_trim(text).n; n++)
            assert_false(look_at(span_first(text, n), json));
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(look_at(span_str(others[i]), json));
    json_parser_destroy(json);
}

/* Whatever is called plain with one byte changed is valid, and lies where the outline says. */
static void no_byte_misleads_the_outline(void **state)
{
    static const char sample[] = "{\"m\":\"up/x\",\"list\":[{\"r\":\"us\\u00e9r\",\"c\":\"Hi\\n "
                                 "é世 \\\\\"}, [1.5]],\"t\":-0.7 }";
    struct json_parser *json = json_parser_create(1 << 20);
    assert_non_null(json);
    char text[sizeof sample];
    for (size_t i = 0; i < sizeof sample - 1; i++) {
        for (int c = 0; c < 256; c++) {
            memcpy(text, sample, sizeof sample);
            text[i] = (char)c;
            look_at(span_of(text, sizeof sample - 1), json);
        }
    }
    json_parser_destroy(json);
}

/* What has no room in it is plain all the same, and nested deeply it is not. */
static void an_outline_has_its_limits(void **state)
{
    struct json_parser *json = json_parser_create(1 << 20);
    assert_non_null(json);
    for (int n = 0; n < 2 * JSON_OUTLINE_MAX; n++) {
        struct buffer text;
        struct json_outline o;
        buffer_init(&text, 1 << 20);
        buffer_append(&text, SPAN("{\"list\":["));
        for (int i = 0; i < n; i++)
            buffer_printf(&text, "%s{\"a\":%d}", i ? "," : "", i);
        buffer_append(&text, SPAN("]}"));
        assert_true(look_at(buffer_span(&text), json));
        json_outline_read(&o, buffer_span(&text), SPAN("list"));
        assert_int_equal(o.whole, 1 + 2 * n <= JSON_OUTLINE_MAX);
        buffer_clear(&text);
        for (int i = 0; i < n; i++)
            buffer_printf(&text, "%s\"m%d\":%d", i ? "," : "{", i, i);
        buffer_append(&text, n ? SPAN("}") : SPAN("{}"));
        assert_true(look_at(buffer_span(&text), json));
        json_outline_read(&o, buffer_span(&text), SPAN("list"));
        assert_int_equal(o.whole, n <= JSON_MEMBERS_INDEXED);
        buffer_clear(&text);
        buffer_append(&text, SPAN("{\"a\":"));
        for (int i = 0; i < n; i++)
            buffer_char(&text, '[');
        buffer_char(&text, '1');
        for (int i = 0; i < n; i++)
            buffer_char(&text, ']');
        buffer_char(&text, '}');
        assert_int_equal(look_at(buffer_span(&text), json), n < 32);
        buffer_free(&text);
    }
    json_parser_destroy(json);
}

/* The decoded key decides, wherever it differs. */
static void keys_are_compared_decoded(void **state)
{
    static const struct {
        const char *raw, *name;
        bool same;
    } cases[] = {
        {"", "", true},           {"a", "", false},         {"", "a", false},
        {"ab", "a", false},       {"a", "ab", false},       {"ab", "ac", false},
        {"a\\u0062", "ab", true}, {"a\\u0062", "a", false}, {"a\\u0062c", "abd", false},
        {"\\\\", "\\", true},     {"\\\\", "\\\\", false},  {"a\\n", "a\n", true},
        {"b\\n", "a\n", false},   {"a\\n", "a\\n", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(json_raw_key_is(span_str(cases[i].raw), span_str(cases[i].name)),
                         cases[i].same);
}

/* Raw text that ends anywhere is walked to its end and no further (exact memory; the address
 * sanitizer looks), and so are keys with torn escapes. */
static void raw_texts_end_at_their_own_quote(void **state)
{
    static const char *const values[] = {
        "\"\"",           "\"\\\\\"",   "\"\\\"\"",           "\"\\\\\\\"\"",
        "\"a\\\"b\\\\\"", "\"{[,:]}\"", "\"\\u0022\\\"\\n\"", "\"\\\\\\\\\"",
    };
    enum { N = sizeof values / sizeof *values };
    struct buffer list;
    buffer_init(&list, 4096);
    for (size_t i = 0; i < N; i++)
        buffer_printf(&list, "%s%s", i ? "," : "[", values[i]);
    buffer_char(&list, ']');
    struct json_parser *json = json_parser_create(4096);
    assert_non_null(json);
    struct json root;
    assert_int_equal(json_parse(json, buffer_span(&list), &root), JSON_OK);
    struct json_raw_iter it = json_raw_each(buffer_span(&list));
    for (size_t i = 0; i < N; i++) {
        assert_true(json_raw_next(&it));
        assert_span_equal(it.value, span_str(values[i]));
    }
    assert_false(json_raw_next(&it));
    json_parser_destroy(json);
    buffer_free(&list);
}

static void raw_text_ends_anywhere(void **state)
{
    const struct span whole =
        SPAN("{\"a\\u00e9\":[1,{\"x\":\"}\\\"]\"}],\"b\":-1.5e3 ,\"\\ud83c\\udf38\":null}");
    static const struct json_alias alias = {SPAN_INIT("x"), SPAN_INIT("y")};
    for (size_t n = 0; n <= whole.n; n++) {
        char *copy = malloc(n + (n == 0));
        memcpy(copy, whole.p, n);
        struct json_raw_iter it = json_raw_each(span_of(copy, n));
        size_t members = 0;
        while (json_raw_next(&it)) {
            assert_true(it.value.p >= copy && it.value.p + it.value.n <= copy + n);
            members++;
        }
        assert_true(members <= 3);
        bool found = json_raw_get(span_of(copy, n), "🌸").p != NULL;
        assert_true(found || n < whole.n);
        struct buffer out;
        buffer_init(&out, 1000);
        json_raw_rename(&out, span_of(copy, n), &alias, 1);
        buffer_free(&out);
        free(copy);
        char *key = malloc(n + (n == 0));
        memcpy(key, whole.p + whole.n - n, n);
        json_raw_key_is(span_of(key, n), SPAN("🌸"));
        free(key);
    }
}

/* New names are written as JSON wants them, the limit of the output is kept, and as many aliases as
 * are allowed work. */
static void renaming_at_its_limits(void **state)
{
    static const struct json_alias odd[] = {{SPAN_INIT("a"), SPAN_INIT("\"\\\n\0é")}};
    struct json_alias many[JSON_ALIASES_MAX];
    char names[JSON_ALIASES_MAX][2][8];
    const struct span text = SPAN("{\"a\":{\"k63\":1,\"n0\":2,\"k0\":3}}");
    struct buffer out;
    struct json root;
    buffer_init(&out, 1000);
    assert_int_equal(json_raw_rename(&out, text, odd, 1), 0);
    assert_int_equal(json_parse(parser, buffer_span(&out), &root), 0);
    assert_int_equal(json_type(json_get_n(root, odd[0].to)), JSON_OBJECT);
    size_t whole = out.n;
    buffer_free(&out);
    for (size_t limit = 0; limit <= whole; limit++) {
        buffer_init(&out, limit);
        assert_int_equal(json_raw_rename(&out, text, odd, 1), limit < whole ? BUFFER_FULL : 0);
        buffer_free(&out);
    }
    for (size_t i = 0; i < JSON_ALIASES_MAX; i++) {
        snprintf(names[i][0], sizeof names[i][0], "k%zu", i);
        snprintf(names[i][1], sizeof names[i][1], "n%zu", i);
        many[i] = (struct json_alias){span_str(names[i][0]), span_str(names[i][1])};
    }
    buffer_init(&out, 1000);
    assert_int_equal(json_raw_rename(&out, text, many, JSON_ALIASES_MAX), 0);
    assert_span_equal(buffer_span(&out), SPAN("{\"a\":{\"n63\":1,\"n0\":3}}"));
    buffer_free(&out);
    buffer_init(&out, 1000);
    assert_int_equal(json_raw_rename(&out, text, NULL, 0), 0);
    assert_span_equal(buffer_span(&out), text);
    buffer_free(&out);
}

static void keys_are_renamed_everywhere(void **state)
{
    static const struct json_alias aliases[] = {{SPAN_INIT("a"), SPAN_INIT("A")},
                                                {SPAN_INIT("x"), SPAN_INIT("y")},
                                                {SPAN_INIT("A"), SPAN_INIT("never twice")}};
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"{\"a\":1}", "{\"A\":1}"},
        {"{\"\\u0061\":\"a\"}", "{\"A\":\"a\"}"},
        {"[[{\"x\":[{\"a\":{\"a\":99999999999999999999}}]}],\"a\"]",
         "[[{\"y\":[{\"A\":{\"A\":99999999999999999999}}]}],\"a\"]"},
        {"{\"y\":1,\"b\":2,\"x\":3}", "{\"b\":2,\"y\":3}"},
        {"3", "3"},
        {"[]", "[]"},
        {"{}", "{}"},
        {"{\"b\":1,\"b\":2}", "{\"b\":1,\"b\":2}"},
        {"{\"a\":1,\"a\":2,\"A\":3,\"\\u0041\":4,\"a\":5}", "{\"never twice\":4,\"A\":5}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buffer out;
        buffer_init(&out, 1000);
        assert_int_equal(json_raw_rename(&out, span_str(cases[i].text), aliases, 3), 0);
        assert_span_equal(buffer_span(&out), span_str(cases[i].wanted));
        buffer_free(&out);
    }
}

static void valid_utf8(void **state)
{
    assert_true(json_valid_utf8(SPAN("")));
    assert_true(json_valid_utf8(SPAN("plain, \xC3\xA4, \xF0\x9F\x8D\x9E")));
    assert_false(json_valid_utf8(SPAN("torn \xF0\x9F")));
    assert_false(json_valid_utf8(SPAN("lone surrogate \xED\xA0\x80")));
    assert_false(json_valid_utf8(SPAN("overlong \xC0\x80")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_utf8),
        cmocka_unit_test(what_large_texts_took_is_given_back),
        cmocka_unit_test(extents),
        cmocka_unit_test(a_dump_without_room_ends),
        cmocka_unit_test(values_are_told_apart),
        cmocka_unit_test(anything_may_be_asked),
        cmocka_unit_test(numbers),
        cmocka_unit_test(strings),
        cmocka_unit_test(what_is_not_json),
        cmocka_unit_test(strictness_in_single_bytes),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(depth_and_size_are_limited),
        cmocka_unit_test(foreign_text_is_not_lost_over_a_detail),
        cmocka_unit_test(private_characters_stay),
        cmocka_unit_test(lone_surrogates_of_a_body_are_mended),
        cmocka_unit_test(values_are_dumped),
        cmocka_unit_test(numbers_are_dumped_exactly),
        cmocka_unit_test(writing_stops_at_the_limit),
        cmocka_unit_test(documents_are_written),
        cmocka_unit_test(doubles_read_back_the_same),
        cmocka_unit_test(doubles_are_short),
        cmocka_unit_test(any_double_reads_back_the_same),
        cmocka_unit_test(every_byte_is_escaped_anywhere),
        cmocka_unit_test(raw_members),
        cmocka_unit_test(members_are_indexed),
        cmocka_unit_test(plain_objects_have_an_outline),
        cmocka_unit_test(no_byte_misleads_the_outline),
        cmocka_unit_test(an_outline_has_its_limits),
        cmocka_unit_test(keys_are_compared_decoded),
        cmocka_unit_test(raw_texts_end_at_their_own_quote),
        cmocka_unit_test(raw_text_ends_anywhere),
        cmocka_unit_test(renaming_at_its_limits),
        cmocka_unit_test(keys_are_renamed_everywhere),
    };
    return cmocka_run_group_tests(tests, make_parser, free_parser);
}
