/*
 * test/unit/test_chatglm_text.c - fragments or whole texts: what is new in what chatglm.cn sends.
 */
#include "adapters/chatglm.h"
#include "test/unit/support/cmocka_all.h"

static struct chatglm_text text;
static struct buffer out;
static enum chatglm_form form;

static int begin(void **state)
{
    chatglm_text_init(&text);
    buffer_init(&out, 1 << 16);
    form = FORM_UNKNOWN;
    return 0;
}

static int end(void **state)
{
    chatglm_text_free(&text);
    buffer_free(&out);
    return 0;
}

/* Takes the pieces; "=" before one says that the part is finished. Gives what went out of each,
 * separated by `|`; `!` where it did not fit. */
static void expect(const char *const *pieces, const char *wanted)
{
    struct buffer all;
    buffer_init(&all, 1 << 16);
    for (size_t i = 0; pieces[i]; i++) {
        bool whole = pieces[i][0] == '=';
        buffer_clear(&out);
        enum chatglm_fit fit =
            chatglm_text_take(&text, &form, whole, span_str(pieces[i] + whole), &out);
        buffer_printf(&all, "%s%.*s%s", i ? "|" : "", SPAN_ARGS(buffer_span(&out)),
                      fit == FITS ? "" : "!");
    }
    assert_int_equal(all.error, 0);
    assert_span_equal(buffer_span(&all), span_str(wanted));
    buffer_free(&all);
}

#define PIECES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void fragments_and_the_whole_once_more(void **state)
{
    expect(PIECES("Hel", "lo", " wo", "=Hello world"), "Hel|lo| wo|rld");
    assert_int_equal(form, FORM_FRAGMENTS);
}

static void growing_texts(void **state)
{
    expect(PIECES("a", "ab", "abc", "abc", "abcd", "=abcde"), "a||bc||d|e");
    assert_int_equal(form, FORM_GROWING);
}

static void what_could_be_either_waits(void **state)
{
    expect(PIECES("哈", "哈", "哈哈", "!"), "哈|||哈哈哈!");
    assert_int_equal(form, FORM_FRAGMENTS);
}

static void a_repeated_event_of_a_growing_text_is_none(void **state)
{
    expect(PIECES("x", "x", "x", "xy", "xy", "xyz", "=xyz"), "x|||||yz|");
    assert_int_equal(form, FORM_GROWING);
}

static void a_shorter_one_is_a_fragment(void **state)
{
    expect(PIECES("ab", "abab", "a", "=abababa"), "ab||ababa|");
    assert_int_equal(form, FORM_FRAGMENTS);
}

static void the_whole_settles_what_waits(void **state)
{
    expect(PIECES("哈", "哈", "=哈哈"), "哈||哈");
    assert_int_equal(form, FORM_UNKNOWN);
    assert_int_equal(text.waiting.n, 0);
}

static void something_else_settles_what_waits(void **state)
{
    expect(PIECES("Look", "Look", "Looking"), "Look||");
    buffer_clear(&out);
    chatglm_text_settle(&text, &out);
    assert_span_equal(buffer_span(&out), SPAN("ing"));
    buffer_clear(&out);
    chatglm_text_settle(&text, &out);
    assert_int_equal(out.n, 0);
    expect(PIECES("=Looking up"), " up");
}

static void a_known_form_is_not_asked_again(void **state)
{
    form = FORM_FRAGMENTS;
    expect(PIECES("a", "a", "ab", ""), "a|a|ab|");
    chatglm_text_free(&text);
    form = FORM_GROWING;
    expect(PIECES("a", "a", "ab"), "a||b");
}

static void edits_and_shrinking_are_told(void **state)
{
    form = FORM_GROWING;
    expect(PIECES("abc", "abX", "ab", "", "abcd", "=Xbcd", "=ab", "=", "=abcde"),
           "abc|!|!|!|d|!|!|!|e");
}

static void empty_texts_say_nothing(void **state)
{
    expect(PIECES("", "", "a", "", "b", "=ab"), "||a||b|");
    expect(PIECES("="), "!");
    chatglm_text_free(&text);
    memset(&text, 0, sizeof text);
    chatglm_text_init(&text);
    form = FORM_UNKNOWN;
    expect(PIECES("ab", "", "abc", "abcd"), "ab|||cd");
}

/* Two fragments that are halves of one character, and the whole with it. */
static void a_pair_of_surrogates_is_one_character_in_the_whole(void **state)
{
    expect(PIECES("x\xED\xA0\xBC", "\xED\xBE\x90y", "=x🎐y"), "x\xED\xA0\xBC|\xED\xBE\x90y|");
}

static void waiting_is_cheap(void **state)
{
    for (int i = 0; i < 200000; i++)
        chatglm_text_take(&text, &form, false, SPAN("哈"), &out);
    assert_int_equal(form, FORM_UNKNOWN);
    assert_span_equal(buffer_span(&out), SPAN("哈"));
    buffer_free(&out);
    buffer_init(&out, 1 << 20);
    chatglm_text_take(&text, &form, false, SPAN("!"), &out);
    assert_int_equal(out.n, 199999 * 3 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
        TEST(fragments_and_the_whole_once_more),
        TEST(growing_texts),
        TEST(what_could_be_either_waits),
        TEST(a_repeated_event_of_a_growing_text_is_none),
        TEST(a_shorter_one_is_a_fragment),
        TEST(the_whole_settles_what_waits),
        TEST(something_else_settles_what_waits),
        TEST(a_known_form_is_not_asked_again),
        TEST(edits_and_shrinking_are_told),
        TEST(empty_texts_say_nothing),
        TEST(a_pair_of_surrogates_is_one_character_in_the_whole),
        TEST(waiting_is_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
