/*
 * test_picture_url.c - gateway/picture_url.h: what is read is what is connected to.
 */
#include "base/buffer.h"
#include "gateway/picture_url.h"
#include "test/unit/support/cmocka_all.h"

static int open_arena(void **state)
{
    static struct arena arena;
    arena_init(&arena);
    *state = &arena;
    return 0;
}

static int close_arena(void **state)
{
    arena_free(*state);
    return 0;
}

static void expect(struct arena *a, const struct picture_url *url, const char *wanted)
{
    struct span got =
        arena_printf(a, "%s %.*s %d %.*s %.*s", url->tls ? "tls" : "plain", SPAN_ARGS(url->host),
                     url->port, SPAN_ARGS(url->host_header), SPAN_ARGS(url->target));
    assert_string_equal(got.p, wanted);
}

static void urls_are_cut(void **state)
{
    static const char *const rows[][2] = {
        {"http://example.org", "plain example.org 80 example.org /"},
        {"https://example.org/", "tls example.org 443 example.org /"},
        {"HTTPS://EXAMPLE.org/A", "tls example.org 443 example.org /A"},
        {"http://example.org:80/a", "plain example.org 80 example.org /a"},
        {"http://example.org:/a", "plain example.org 80 example.org /a"},
        {"https://example.org:80/a", "tls example.org 80 example.org:80 /a"},
        {"http://example.org?x=1", "plain example.org 80 example.org /?x=1"},
        {"http://example.org/a?x=http://u@h/#frag?y", "plain example.org 80 example.org "
                                                      "/a?x=http://u@h/"},
        {" https://example.org/a b\"<>\xC3\xB6%20\n", "tls example.org 443 example.org "
                                                      "/a%20b%22%3C%3E%C3%B6%20"},
        {"http://8.8.8.8:8080/", "plain 8.8.8.8 8080 8.8.8.8:8080 /"},
        {"http://[2606:4700::1111]/a", "plain 2606:4700::1111 80 [2606:4700::1111] /a"},
        {"https://[::1]:8443/", "tls ::1 8443 [::1]:8443 /"},
        {"http://a_b.example.org./", "plain a_b.example.org. 80 a_b.example.org. /"},
        {"http://1a.example/", "plain 1a.example 80 1a.example /"},
        {"http://0x7f.example/", "plain 0x7f.example 80 0x7f.example /"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct picture_url url;
        const char *wrong = picture_url_read(*state, span_str(rows[i][0]), &url);
        if (wrong)
            fail_msg("%s: %s", rows[i][0], wrong);
        expect(*state, &url, rows[i][1]);
    }
}

static void what_programs_disagree_about_is_refused(void **state)
{
    static const char *const rows[][2] = {{"", "neither http"},
                                          {"ftp://a/", "neither http"},
                                          {"file:///etc/passwd", "neither http"},
                                          {"http:/a", "neither http"},
                                          {"//a/b", "neither http"},
                                          {"javascript:1", "neither http"},
                                          {"http://", "no host"},
                                          {"http:///a", "no host"},
                                          {"http://:80/", "no host"},
                                          {"http://u@a/", "user name"},
                                          {"http://u:p@a/", "user name"},
                                          {"http://@a/", "user name"},
                                          {"http://a@127.0.0.1@b/", "user name"},
                                          {"http://a\\@b/", "backslash"},
                                          {"http://a/\\b", "backslash"},
                                          {"http://a/\nb", "control"},
                                          {"http://a\tb/", "control"},
                                          {"http://a/\x7F", "control"},
                                          {"http://a b/", "no host that"},
                                          {"http://a%2eb/", "no host that"},
                                          {"http://a..b/", "no host that"},
                                          {"http://.a/", "no host that"},
                                          {"http://a,b/", "no host that"},
                                          {"http://a;b/", "no host that"},
                                          {"http://\xC3\xB6.example/", "ASCII"},
                                          {"http://127\xE3\x80\x82"
                                           "0.0.1/",
                                           "ASCII"},
                                          {"http://a:0/", "port"},
                                          {"http://a:65536/", "port"},
                                          {"http://a:8o/", "port"},
                                          {"http://a:-1/", "port"},
                                          {"http://a:80:80/", "port"},
                                          {"http://2130706433/", "unusual"},
                                          {"http://0x7f000001/", "unusual"},
                                          {"http://0X7F.1/", "unusual"},
                                          {"http://017700000001/", "unusual"},
                                          {"http://127.1/", "unusual"},
                                          {"http://127.0.1/", "unusual"},
                                          {"http://0177.0.0.1/", "unusual"},
                                          {"http://127.0.0.01/", "unusual"},
                                          {"http://127.0.0.1./", "unusual"},
                                          {"http://0x7f.0.0.0x1/", "unusual"},
                                          {"http://1.2.3.4.5/", "unusual"},
                                          {"http://256.1.1.1/", "unusual"},
                                          {"http://a.0x/", "unusual"},
                                          {"http://a.1/", "unusual"},
                                          {"http://0/", "unusual"},
                                          {"http://[127.0.0.1]/", "brackets"},
                                          {"http://[::1/", "brackets"},
                                          {"http://::1/", "port"},
                                          {"http://[::1]a/", "brackets"},
                                          {"http://a[::1]/", "brackets"},
                                          {"http://[fe80::1%25eth0]/", "brackets"},
                                          {"http://[fe80::1%eth0]/", "brackets"},
                                          {"http://[]/", "no host"},
                                          {"http://[::g]/", "brackets"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct picture_url url;
        const char *wrong = picture_url_read(*state, span_str(rows[i][0]), &url);
        if (!wrong || !strstr(wrong, rows[i][1]))
            fail_msg("%s: \"%s\", not %s", rows[i][0], wrong ? wrong : "good", rows[i][1]);
    }
}

static void nul_bytes_and_lengths_are_refused(void **state)
{
    struct picture_url url;
    assert_non_null(picture_url_read(*state, SPAN("http://a\0b/"), &url));
    assert_non_null(picture_url_read(*state, SPAN("http://a/\0b"), &url));
    struct buffer b;
    buffer_init(&b, 1 << 20);
    buffer_append(&b, SPAN("http://a/"));
    while (b.n < PICTURE_URL_MAX)
        assert_int_equal(buffer_char(&b, ' '), 0); /* each becomes three */
    buffer_char(&b, 'x');
    assert_non_null(picture_url_read(*state, buffer_span(&b), &url));
    b.p[b.n - 2] = 'x';
    assert_null(picture_url_read(*state, span_first(buffer_span(&b), PICTURE_URL_MAX), &url));
    buffer_clear(&b);
    buffer_append(&b, SPAN("http://"));
    for (int i = 0; i < 64; i++)
        buffer_char(&b, 'a');
    assert_non_null(picture_url_read(*state, buffer_span(&b), &url));
    assert_null(picture_url_read(*state, span_first(buffer_span(&b), b.n - 1), &url));
    buffer_free(&b);
}

static void redirects_are_followed_as_rfc_3986_says(void **state)
{
    static const char *const rows[][2] = {
        {"https://other.example/x", "tls other.example 443 other.example /x"},
        {"http://other.example", "plain other.example 80 other.example /"},
        {"//other.example:8443/x", "tls other.example 8443 other.example:8443 /x"},
        {"/x/../y?z", "tls a.example 444 a.example:444 /y?z"},
        {"x", "tls a.example 444 a.example:444 /b/c/x"},
        {"./x/.", "tls a.example 444 a.example:444 /b/c/x/"},
        {"../x", "tls a.example 444 a.example:444 /b/x"},
        {"../../../../x", "tls a.example 444 a.example:444 /x"},
        {"..", "tls a.example 444 a.example:444 /b/"},
        {"?y#f", "tls a.example 444 a.example:444 /b/c/d?y"},
        {"x?u=http://v", "tls a.example 444 a.example:444 /b/c/x?u=http://v"},
        {"/x y", "tls a.example 444 a.example:444 /x%20y"},
    };
    struct picture_url from, to;
    assert_null(picture_url_read(*state, SPAN("https://a.example:444/b/c/d?q=/1/2"), &from));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *wrong = picture_url_follow(*state, &from, span_str(rows[i][0]), &to);
        if (wrong)
            fail_msg("%s: %s", rows[i][0], wrong);
        expect(*state, &to, rows[i][1]);
    }
    static const char *const bad[] = {"",     "#f",       "ftp://a/", "data:image/png;base64,A",
                                      "//",   "//u@a/",   "//127.1/", "/\\a",
                                      "x\ny", "file:///x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (!picture_url_follow(*state, &from, span_str(bad[i]), &to))
            fail_msg("%s was followed", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(urls_are_cut, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(what_programs_disagree_about_is_refused, open_arena,
                                        close_arena),
        cmocka_unit_test_setup_teardown(nul_bytes_and_lengths_are_refused, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(redirects_are_followed_as_rfc_3986_says, open_arena,
                                        close_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
