/*
 * test/unit/test_seal.c - what seals a secret: it opens with the same key for the same owner, and
 * with nothing else.
 */
#include "gateway/seal.h"
#include "test/unit/support/cmocka_all.h"

static const unsigned char salt[SEAL_SALT] = "a salt", other_salt[SEAL_SALT] = "another salt",
                           nonce[SEAL_NONCE] = "nonce";

static struct seal_key make_key(const char *secret, const unsigned char *with)
{
    struct seal_key key;
    assert_int_equal(seal_key_derive(&key, span_str(secret), with), 0);
    return key;
}

static void a_text_comes_back_and_is_not_seen(void **state)
{
    struct seal_key key = make_key("secret", salt);
    static const char *const texts[] = {"", "x", "a token of some length, with ö"};
    for (size_t i = 0; i < 3; i++) {
        unsigned char sealed[128];
        char text[128];
        struct span plain = span_str(texts[i]);
        assert_int_equal(seal_text(&key, nonce, SPAN("row"), plain, sealed), 0);
        struct span box = span_of((char *)sealed, plain.n + SEAL_EXTRA);
        assert_int_equal(seal_open(&key, SPAN("row"), box, text), 0);
        assert_span_equal(span_of(text, plain.n), plain);
        if (plain.n > 1)
            assert_true(span_find(box, plain) < 0);
    }
}

static void nothing_else_opens_it(void **state)
{
    struct seal_key key = make_key("secret", salt), wrong = make_key("Secret", salt),
                    salted = make_key("secret", other_salt);
    unsigned char sealed[64];
    char text[64];
    struct span plain = SPAN("token"), box = span_of((char *)sealed, plain.n + SEAL_EXTRA);
    assert_int_equal(seal_text(&key, nonce, SPAN("row"), plain, sealed), 0);
    assert_int_equal(seal_open(&wrong, SPAN("row"), box, text), -1);
    assert_int_equal(seal_open(&salted, SPAN("row"), box, text), -1);
    assert_int_equal(seal_open(&key, SPAN("other row"), box, text), -1);
    for (size_t n = 0; n < box.n; n++)
        assert_int_equal(seal_open(&key, SPAN("row"), span_first(box, n), text), -1);
    for (size_t i = 0; i < box.n; i++) {
        sealed[i] ^= 1;
        assert_int_equal(seal_open(&key, SPAN("row"), box, text), -1);
        sealed[i] ^= 1;
    }
    assert_int_equal(seal_open(&key, SPAN("row"), box, text), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_comes_back_and_is_not_seen),
        cmocka_unit_test(nothing_else_opens_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
