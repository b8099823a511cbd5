/*
 * test/unit/test_other_origin.c - which other servers a site's request may go to
 * (gateway/other_origin.h).
 */
#include "test/unit/support/cmocka_all.h"

#include "gateway/other_origin.h"

static const struct site_config secure = {
    .settings = {.name = SPAN_INIT("kimi"), .prefix = SPAN_INIT("/p")},
    .tls = true,
    .host = SPAN_INIT("www.kimi.com"),
    .port = 443,
    .ca_file = SPAN_INIT("ca.pem"),
    .idle_timeout_ms = 7};

static void a_server_by_tls(void **state)
{
    struct site_config other;
    struct fail fail;
    assert_int_equal(other_origin(&secure, SPAN("https://auth.kimi.com"), &other, &fail), 0);
    assert_true(other.tls && other.port == 443);
    assert_true(span_eq(other.host, SPAN("auth.kimi.com")));
    assert_true(span_eq(other.host_header, SPAN("auth.kimi.com")));
    assert_int_equal(other.settings.prefix.n, 0);
    assert_true(span_eq(other.ca_file, SPAN("ca.pem")) && other.idle_timeout_ms == 7);
    assert_int_equal(other_origin(&secure, SPAN("https://10.0.0.1:8443"), &other, &fail), 0);
    assert_int_equal(other.port, 8443);
    assert_true(span_eq(other.host, SPAN("10.0.0.1")));
    assert_true(span_eq(other.host_header, SPAN("10.0.0.1:8443")));
}

static void no_server_at_all(void **state)
{
    static const char *const bad[] = {
        "http://auth.kimi.com", /* what was secret would be told */
        "auth.kimi.com",        "https://",          "https://a b",    "https://a\r\nX: y",
        "https://user@host",    "https://host/path", "https://host:0", "https://host:99999",
        "https://host:",        "https://[::1]",     "ftp://host",     ""};
    struct site_config other;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fail fail = {0};
        if (other_origin(&secure, span_str(bad[i]), &other, &fail) != -1)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(fail.kind, FAIL_PROTOCOL);
    }
}

static void without_tls_where_the_site_has_none(void **state)
{
    struct site_config plain = secure, other;
    struct fail fail;
    plain.tls = false;
    assert_int_equal(other_origin(&plain, SPAN("http://127.0.0.1:9000"), &other, &fail), 0);
    assert_true(!other.tls && other.port == 9000);
    assert_int_equal(other_origin(&plain, SPAN("http://h"), &other, &fail), 0);
    assert_int_equal(other.port, 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_by_tls),
        cmocka_unit_test(no_server_at_all),
        cmocka_unit_test(without_tls_where_the_site_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
