/*
 * test/unit/test_mask.c - gateway/mask.h: secrets become asterisks, as many as they had characters,
 * however they are written; everything else stays.
 */
#include "gateway/mask.h"
#include "test/unit/support/cmocka_all.h"

static const char CONFIG[] =
    "[[keys]]\nname = \"k\"\nkey = \"client-key-0123456\"\n"
    "[[keys]]\nname = \"h\"\nkey_sha256 = "
    /* of "hashed-client-key" */
    "\"8deb6bf2d18273d8f0746a49604176be68ca4aa338ddcb819618f4953e0c567c\"\n"
    "[[sites]]\nname = \"s\"\nadapter = \"chatglm\"\nproxy = \"http://me:proxy-pass@h.example:1\"\n"
    "options = { sign_secret = \"sign-secret-1\" }\n"
    "[[sites.accounts]]\nname = \"a\"\nrefresh_token = \"refresh-1\"\n"
    "[[sites.accounts]]\nname = \"b\"\ntoken = \"other account's\"\n";

struct bench {
    struct arena arena;
    struct config *config;
    struct mask mask;
};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    struct buffer errors;
    buffer_init(&errors, 1 << 16);
    b->config = config_parse(span_str(CONFIG), "t.toml", &errors);
    if (!b->config)
        fail_msg("%.*s", SPAN_ARGS(buffer_span(&errors)));
    buffer_free(&errors);
    arena_init(&b->arena);
    b->mask = mask_of(&b->arena, b->config);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    config_unref(b->config);
    arena_free(&b->arena);
    free(b);
    return 0;
}

static void becomes(struct bench *b, const char *text, const char *wanted, bool strict)
{
    size_t n = strlen(text);
    char *copy = malloc(n ? n : 1); /* exactly: the sanitizer sees who reads on */
    memcpy(copy, text, n);
    mask_apply(&b->mask, copy, n, strict);
    assert_span_equal(span_of(copy, n), span_str(wanted));
    free(copy);
}

static void known_words_in_every_form(void **state)
{
    struct bench *b = *state;
    mask_add(&b->mask, SPAN("a\"b/c d"));
    mask_add(&b->mask, SPAN("short"));
    mask_add(&b->mask, SPAN(""));
    mask_add(&b->mask, SPAN("sid=cookie1; theme=dark; long=cookie22"));
    becomes(b, "x a\"b/c d y", "x ******* y", false);
    becomes(b, "{\"x\":\"a\\\"b/c d\"}", "{\"x\":\"********\"}", false);
    becomes(b, "?k=a%22b%2Fc%20d&l=1", "?k=*************&l=1", false);
    becomes(b, "YSJiL2MgZA==", "************", false);
    becomes(b, "a\"b/c da\"b/c d", "**************", false);
    becomes(b, "short a\"b/c", "short a\"b/c", false);
    becomes(b, "cookie1 dark cookie22", "******* dark ********", false);
    becomes(b, "", "", false);
}

static void the_longest_first(void **state)
{
    struct bench *b = *state;
    mask_add(&b->mask, SPAN("secret"));
    mask_add(&b->mask, SPAN("secret-and-more"));
    becomes(b, "secret-and-more", "***************", false);
    becomes(b, "secret-and", "******-and", false);
}

static void the_configurations_secrets(void **state)
{
    struct bench *b = *state;
    mask_add_configured(&b->mask);
    becomes(b, "refresh-1, other account's, sign-secret-1, proxy-pass, h.example",
            "*********, ***************, *************, **********, h.example", false);
}

static void the_clients_keys(void **state)
{
    struct bench *b = *state;
    becomes(b, "my client-key-0123456.", "my ******************.", false);
    becomes(b, "key=client-key-0123456&x", "key=******************&x", false);
    becomes(b, "xclient-key-0123456client-key-0123456", "x************************************",
            false);
    becomes(b, "client-key-0123457", "client-key-0123457", false);
    becomes(b, "say \"hashed-client-key\".", "say \"*****************\".", false);
    becomes(b, "hashed-client-key.", "******************", false);
}

static void what_looks_like_a_secret(void **state)
{
    struct bench *b = *state;
    becomes(b, "eyJhbGciOi.eyJzdWIi.c2ln!", "************************!", false);
    becomes(b, "sk-0123456789abcdef sk-ip", "******************* sk-ip", false);
    becomes(b, "Authorization: bearer opaque7", "Authorization: bearer *******", false);
    becomes(b, "{\"access_token\" : \"0123456789abcdef\",\"text\":\"0123456789abcdef\"}",
            "{\"access_token\" : \"****************\",\"text\":\"0123456789abcdef\"}", false);
    becomes(b, "{\\\"sessionKey\\\":\\\"0123456789abcdef\\\"}",
            "{\\\"sessionKey\\\":\\\"****************\\\"}", false);
    becomes(b, "{\"token\":\"Hello\",\"tokens\":12345678901234567890}",
            "{\"token\":\"Hello\",\"tokens\":12345678901234567890}", false);
    becomes(b, "{\"token", "{\"token", false);
    becomes(b, "{\"token\":\"", "{\"token\":\"", false);
    becomes(b, "\"", "\"", false);
}

static void strictly_every_long_word(void **state)
{
    struct bench *b = *state;
    becomes(b, "{\"id\":\"0123456789abcdef\",\"n\":\"0123\"}",
            "{\"id\":\"****************\",\"n\":\"0123\"}", true);
    becomes(b, "a=b&c=0123456789abcdef%20&d=1", "a=b&*********************&d=1", true);
}

static void headers(void **state)
{
    static const char *const hidden[] = {"Authorization", "cookie",       "Set-Cookie",
                                         "x-api-key",     "X-Auth-Token", "Proxy-Authorization"};
    static const char *const shown[] = {"Content-Type", "Retry-After", "Date"};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        assert_true(mask_hides_header(span_str(hidden[i])));
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        assert_false(mask_hides_header(span_str(shown[i])));
}

static void nothing_is_shown_when_memory_was_short(void **state)
{
    struct bench *b = *state;
    b->mask.incomplete = true;
    becomes(b, "anything", "********", false);
}

int main(void)
{
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_BENCH(known_words_in_every_form),
        WITH_BENCH(the_longest_first),
        WITH_BENCH(the_configurations_secrets),
        WITH_BENCH(the_clients_keys),
        WITH_BENCH(what_looks_like_a_secret),
        WITH_BENCH(strictly_every_long_word),
        cmocka_unit_test(headers),
        WITH_BENCH(nothing_is_shown_when_memory_was_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
