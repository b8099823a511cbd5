/*
 * test/unit/test_access.c - who may ask: addresses, proxies, the Host header, keys. No socket: the
 * exchange is made by hand, as the server would have filled it.
 */
#include "gateway/access.h"
#include "gateway/http_server_internal.h"
#include "test/unit/support/cmocka_all.h"

#define SITE                                                                                       \
    "[[sites]]\nname = \"s\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"        \
    "[[sites.accounts]]\nname = \"a\"\napi_key = \"k\"\n"
#define PASSING                                                                                    \
    "[[sites]]\nname = \"p\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"        \
    "keys.passthrough = true\n[[sites.accounts]]\nname = \"a\"\napi_key = \"k\"\n"
#define KEYS                                                                                       \
    "[[keys]]\nname = \"one\"\nkey = \"sk-000000000001\"\nmodels = [\"m-*\"]\n"                    \
    "[[keys]]\nname = \"home\"\nkey = \"sk-000000000002\"\nallow = [\"192.168.0.0/16\"]\n"

enum { HEADERS_MAX = 8 };
#define NOW_MS INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */

struct asked {
    struct http_connection connection;
    struct http_intake intake;
    struct http_exchange exchange;
    struct header headers[HEADERS_MAX];
};

static struct config *configure(const char *text)
{
    struct buffer errors;
    buffer_init(&errors, 1 << 16);
    struct config *config = config_parse(span_str(text), "t.toml", &errors);
    if (!config)
        fail_msg("%.*s", SPAN_ARGS(buffer_span(&errors)));
    buffer_free(&errors);
    return config;
}

/* `headers`: name, value, …, NULL. A peer of NULL came over a unix socket. */
static const struct http_exchange *ask(struct asked *a, struct config *config, const char *peer,
                                       const char *const *headers)
{
    memset(a, 0, sizeof *a);
    a->exchange.magic = HTTP_EXCHANGE_MAGIC;
    a->exchange.connection = &a->connection;
    a->connection.intake = &a->intake;
    a->exchange.config = config;
    a->connection.is_unix = !peer;
    if (peer)
        assert_true(ip_parse(span_str(peer), &a->connection.peer));
    struct http_request *r = &a->intake.parser.request;
    r->headers = a->headers;
    for (; headers && headers[0]; headers += 2) {
        assert_true(r->n_headers < HEADERS_MAX);
        a->headers[r->n_headers++] = (struct header){span_str(headers[0]), span_str(headers[1])};
        r->seen |= http_header_bit(span_str(headers[0]));
    }
    return &a->exchange;
}

#define HEADERS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- addresses ---- */

static void expect_client(struct config *config, const char *peer, const char *const *headers,
                          const char *wanted)
{
    struct asked a;
    char text[46];
    struct ip_address client = access_client(ask(&a, config, peer, headers));
    assert_string_equal(ip_format(&client, text), wanted);
}

static void forwarded_addresses(void **state)
{
    struct config *config =
        configure("[access]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n" SITE);
    static const struct {
        const char *peer, *forwarded, *wanted;
    } rows[] = {
        {"10.0.0.1", NULL, "10.0.0.1"},
        {"10.0.0.1", "203.0.113.9", "203.0.113.9"},
        {"10.0.0.1", " 203.0.113.9 ", "203.0.113.9"},
        {"::1", "2001:db8::7", "2001:db8::7"},
        {"10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"}, /* two proxies in a row */
        {"10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
        /* what the client wrote itself stands left of what the proxy saw */
        {"10.0.0.1", "127.0.0.1, 203.0.113.9", "203.0.113.9"},
        {"10.0.0.1", "127.0.0.1,10.0.0.9,203.0.113.9", "203.0.113.9"},
        {"::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"},
        /* not from a proxy that is trusted: not believed */
        {"203.0.113.5", "127.0.0.1", "203.0.113.5"},
        {"127.0.0.1", "203.0.113.9", "127.0.0.1"},
        {NULL, "203.0.113.9", "127.0.0.1"},
        {NULL, NULL, "127.0.0.1"},
        {"10.0.0.1", "", "10.0.0.1"},
        {"10.0.0.1", "unknown", "10.0.0.1"},
        {"10.0.0.1", "127.0.0.1, unknown", "10.0.0.1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_client(config, rows[i].peer,
                      rows[i].forwarded ? HEADERS("x-forwarded-for", rows[i].forwarded) : NULL,
                      rows[i].wanted);
    config_unref(config);
}

/* Some proxies add a line of their own instead of lengthening the client's (HAProxy's option
 * forwardfor): several lines are one list (RFC 9110, 5.3), and its end is the proxy's. */
static void forwarded_in_several_lines(void **state)
{
    struct config *config = configure("[access]\ntrusted_proxies = [\"10.0.0.0/8\"]\n" SITE);
    expect_client(config, "10.0.0.1",
                  HEADERS("X-Forwarded-For", "127.0.0.1", "X-Forwarded-For", "203.0.113.9"),
                  "203.0.113.9");
    expect_client(config, "10.0.0.1",
                  HEADERS("X-Forwarded-For", "127.0.0.1, 203.0.113.9", "Accept", "*/*",
                          "x-forwarded-for", "10.0.0.2"),
                  "203.0.113.9");
    expect_client(config, "10.0.0.1",
                  HEADERS("X-Forwarded-For", "203.0.113.9", "X-Forwarded-For", ""), "203.0.113.9");
    config_unref(config);
}

/* ---- [access] and the Host ---- */

static void expect_address(const char *text, const char *peer, const char *const *headers,
                           enum fail_kind wanted)
{
    struct config *config = configure(text);
    struct asked a;
    struct fail fail = {0};
    int result = access_check_address(ask(&a, config, peer, headers), &fail);
    if (result != (wanted ? -1 : 0) || fail.kind != wanted)
        fail_msg("%s with %s: %d, %s", peer ? peer : "unix", headers ? headers[1] : "no header",
                 result, fail.message);
    if (wanted)
        assert_true(fail.message[0]);
    config_unref(config);
}

static void addresses_are_checked(void **state)
{
    static const char rules[] =
        "[access]\nallow = [\"192.168.0.0/16\", \"2001:db8::/32\"]\n"
        "deny = [\"192.168.7.0/24\"]\ntrusted_proxies = [\"10.0.0.1\"]\n" KEYS SITE;
    const char *const *host = HEADERS("host", "any.test");
    expect_address(rules, "192.168.1.1", host, FAIL_NONE);
    expect_address(rules, "::ffff:192.168.1.1", host, FAIL_NONE);
    expect_address(rules, "2001:db8::1", host, FAIL_NONE);
    expect_address(rules, "192.168.7.1", host, FAIL_ACCESS_DENIED); /* deny wins */
    expect_address(rules, "203.0.113.9", host, FAIL_ACCESS_DENIED);
    expect_address(rules, "127.0.0.1", host, FAIL_ACCESS_DENIED);
    expect_address(rules, "10.0.0.1", HEADERS("host", "h", "x-forwarded-for", "192.168.1.1"),
                   FAIL_NONE);
    expect_address(rules, "10.0.0.1", HEADERS("host", "h", "x-forwarded-for", "192.168.7.1"),
                   FAIL_ACCESS_DENIED);
    expect_address("[access]\ndeny = [\"127.0.0.1\"]\n" SITE, NULL, HEADERS("host", "localhost"),
                   FAIL_ACCESS_DENIED);
    expect_address(KEYS SITE, "203.0.113.9", host, FAIL_NONE); /* keys: any address, any Host */
}

static void without_keys_only_this_machine(void **state)
{
    static const struct {
        const char *peer, *host;
        enum fail_kind wanted;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1:8080", FAIL_NONE},
        {"127.0.0.1", "localhost:1234", FAIL_NONE},
        {"127.3.2.1", "LOCALHOST", FAIL_NONE},
        {"::1", "[::1]:8080", FAIL_NONE},
        {"127.0.0.1", "evil.test", FAIL_ACCESS_DENIED}, /* DNS rebinding */
        {"127.0.0.1", "localhost.evil.test", FAIL_ACCESS_DENIED},
        {"127.0.0.1", "127.0.0.1.evil.test:80", FAIL_ACCESS_DENIED},
        {"192.168.1.2", "127.0.0.1", FAIL_ACCESS_DENIED},
        {"2001:db8::1", "localhost", FAIL_ACCESS_DENIED},
        {NULL, "whatever", FAIL_NONE}, /* a unix socket has no name to be rebound to */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_address(SITE, rows[i].peer, HEADERS("Host", rows[i].host), rows[i].wanted);
}

static void the_absolute_form_names_a_host_too(void **state)
{
    static const struct {
        const char *target, *host;
        enum fail_kind wanted;
    } rows[] = {
        {"http://127.0.0.1:8080/v1/models", "127.0.0.1:8080", FAIL_NONE},
        {"http://localhost/", "127.0.0.1", FAIL_NONE},
        {"http://evil.test/v1/models", "127.0.0.1", FAIL_ACCESS_DENIED},
        {"http://127.0.0.1/v1/models", "evil.test", FAIL_ACCESS_DENIED},
        {"http://127.0.0.1@evil.test/", "127.0.0.1", FAIL_ACCESS_DENIED},
        {"http://x@127.0.0.1/", "127.0.0.1", FAIL_ACCESS_DENIED},
        {"http:///", "127.0.0.1", FAIL_ACCESS_DENIED},
        {"/?http://evil.test/", "127.0.0.1", FAIL_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config *config = configure(SITE);
        struct asked a;
        struct fail fail = {0};
        const struct http_exchange *x = ask(&a, config, "127.0.0.1", HEADERS("Host", rows[i].host));
        a.intake.parser.request.target = span_str(rows[i].target);
        if (access_check_address(x, &fail) != (rows[i].wanted ? -1 : 0) ||
            fail.kind != rows[i].wanted)
            fail_msg("%s, Host %s: %s", rows[i].target, rows[i].host, fail.message);
        config_unref(config);
    }
}

static void a_host_is_needed(void **state)
{
    struct config *config = configure(SITE);
    struct asked a;
    struct fail fail = {0};
    assert_int_equal(access_check_address(ask(&a, config, "127.0.0.1", NULL), &fail), -1);
    assert_int_equal(fail.kind, FAIL_INVALID_VALUE);
    ask(&a, config, "127.0.0.1", NULL);
    a.exchange.http10 = true; /* HTTP/1.0 has none */
    assert_int_equal(access_check_address(&a.exchange, &fail), 0);
    config_unref(config);
}

/* ---- keys ---- */

/* The key's name, "visitor KEY" ("only visitor KEY"), "-" when none is needed, or the failure. */
static void expect_key(const char *text, const char *peer, const char *const *headers,
                       const char *wanted)
{
    struct config *config = configure(text);
    struct asked a;
    struct fail fail = {0};
    struct access_grant grant;
    char got[100];
    if (access_check_key(ask(&a, config, peer, headers), NOW_MS, &grant, &fail))
        snprintf(got, sizeof got, "%s", fail_kind_name(fail.kind));
    else if (grant.visitor_key.n)
        snprintf(got, sizeof got, "%svisitor %.*s", grant.only_passthrough ? "only " : "",
                 SPAN_ARGS(grant.visitor_key));
    else if (grant.key)
        snprintf(got, sizeof got, "%.*s", SPAN_ARGS(grant.key->name));
    else
        strcpy(got, "-");
    assert_string_equal(got, wanted);
    if (strstr(fail.message, "sk-")) /* a key is not repeated to whoever asks */
        fail_msg("%s", fail.message);
    config_unref(config);
}

static void keys_are_found(void **state)
{
    static const char config[] = KEYS SITE;
    static const struct {
        const char *name, *value, *wanted;
    } rows[] = {
        {"Authorization", "Bearer sk-000000000001", "one"},
        {"authorization", "bearer  sk-000000000001 ", "one"},
        {"x-api-key", "sk-000000000001", "one"},
        {"api-key", "sk-000000000001", "one"},
        {"x-goog-api-key", "sk-000000000001", "one"},
        {"Authorization", "sk-000000000001", "missing_key"}, /* not said to be a bearer's */
        {"Authorization", "Basic c2s6", "missing_key"},
        {"Authorization", "Bearer", "missing_key"},
        {"Authorization", "Bearer ", "missing_key"},
        {"Authorization", "Bearer null", "missing_key"},
        {"Authorization", "Bearer undefined", "missing_key"},
        {"x-api-key", "", "missing_key"},
        {"Accept", "*/*", "missing_key"},
        {"Authorization", "Bearer sk-00000000000", "wrong_key"},
        {"Authorization", "Bearer sk-0000000000011", "wrong_key"},
        {"Authorization", "Bearer SK-000000000001", "wrong_key"},
        {"x-api-key", "sk-other", "wrong_key"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_key(config, "127.0.0.1", HEADERS(rows[i].name, rows[i].value), rows[i].wanted);
    /* apps that send a placeholder beside the real one */
    expect_key(config, "127.0.0.1",
               HEADERS("Authorization", "Bearer dummy", "x-api-key", "sk-000000000001"), "one");
    expect_key(SITE, "127.0.0.1", HEADERS("Authorization", "Bearer anything"), "-");
    expect_key(SITE, "127.0.0.1", NULL, "-");
}

static void keys_have_addresses(void **state)
{
    const char *const *key = HEADERS("Authorization", "Bearer sk-000000000002");
    expect_key(KEYS SITE, "192.168.3.4", key, "home");
    expect_key(KEYS SITE, "203.0.113.9", key, "access_denied");
    expect_key("[access]\ntrusted_proxies = [\"10.0.0.1\"]\n" KEYS SITE, "10.0.0.1",
               HEADERS("x-api-key", "sk-000000000002", "x-forwarded-for", "192.168.3.4"), "home");
}

static void keys_expire(void **state)
{
    static const char text[] =
        "[[keys]]\nname = \"past\"\nkey = \"sk-past\"\nexpires = 2025-12-31\n"
        "[[keys]]\nname = \"just\"\nkey = \"sk-just\"\nexpires = 2026-01-01T00:00:00.001Z\n"
        "[[keys]]\nname = \"today\"\nkey = \"sk-today\"\nexpires = 2026-01-01\n";
    char all[2000];
    snprintf(all, sizeof all, "%s%s", text, SITE);
    expect_key(all, "127.0.0.1", HEADERS("x-api-key", "sk-past"), "wrong_key");
    expect_key(all, "127.0.0.1", HEADERS("x-api-key", "sk-just"), "just");
    expect_key(all, "127.0.0.1", HEADERS("x-api-key", "sk-today"), "today");
    snprintf(all, sizeof all, "%s%s", text, PASSING); /* it is no visitor's for that */
    expect_key(all, "127.0.0.1", HEADERS("x-api-key", "sk-past"), "wrong_key");

    struct config *config = configure(all);
    struct asked a;
    struct fail fail;
    struct access_grant grant;
    const struct http_exchange *http =
        ask(&a, config, "127.0.0.1", HEADERS("x-api-key", "sk-just"));
    assert_int_equal(access_check_key(http, NOW_MS, &grant, &fail), 0);
    assert_int_equal(access_check_key(http, NOW_MS + 1, &grant, &fail), -1);
    assert_int_equal(fail.kind, FAIL_WRONG_KEY);
    assert_string_equal(fail.message, "the key \"just\" has expired: it was good until 2026-01-01 "
                                      "00:00:00 UTC (\"expires\" in gateway.toml)");
    config_unref(config);
}

static void keys_are_tied_to_accounts(void **state)
{
    struct config *config =
        configure("[[keys]]\nname = \"tied\"\nkey = \"sk-1\"\naccounts = [\"s/a\"]\n" SITE PASSING
                  "[[models]]\nid = \"both\"\ntargets = [\"p/x\", \"s/x\"]\n"
                  "[[models]]\nid = \"other\"\ntargets = [\"p/x\"]\n");
    struct access_grant tied = {.key = &config->keys[0]}, any = {0};
    struct access_grant visitor = {.visitor_key = SPAN("theirs"), .only_passthrough = true};
    assert_true(access_opens_site(&tied, &config->sites[0]));
    assert_false(access_opens_site(&tied, &config->sites[1]));
    assert_true(access_opens_site(&any, &config->sites[1]));
    assert_false(access_opens_site(&visitor, &config->sites[0]));
    assert_true(access_opens_site(&visitor, &config->sites[1]));
    assert_true(access_allows_model(&tied, config, SPAN("x"), SPAN("s")));
    assert_false(access_allows_model(&tied, config, SPAN("x"), SPAN("p")));
    /* an alias is there when any of its targets is */
    assert_true(access_allows_model(&tied, config, SPAN("both"), SPAN("p")));
    assert_false(access_allows_model(&tied, config, SPAN("other"), SPAN("p")));
    assert_true(access_allows_model(&any, config, SPAN("other"), SPAN("p")));
    assert_true(access_allows_model(&visitor, config, SPAN("both"), SPAN("p")));
    assert_false(access_allows_model(&visitor, config, SPAN("both"), SPAN("s")));
    config_unref(config);
}

static void visitors_bring_their_own(void **state)
{
    const char *const *theirs = HEADERS("Authorization", "Bearer theirs");
    expect_key(KEYS SITE PASSING, "127.0.0.1", theirs, "only visitor theirs");
    expect_key(KEYS SITE PASSING, "127.0.0.1", HEADERS("x-api-key", "sk-000000000001"), "one");
    expect_key(KEYS SITE PASSING, "127.0.0.1", NULL, "missing_key");
    expect_key(SITE PASSING, "127.0.0.1", theirs, "visitor theirs");
    expect_key(SITE PASSING, "127.0.0.1", NULL, "-");

    struct config *config = configure(KEYS SITE PASSING);
    struct access_grant visitor = {.visitor_key = SPAN("theirs"), .only_passthrough = true};
    struct access_grant ours = {.key = &config->keys[0]}, any = {0};
    assert_true(access_allows_model(&visitor, config, SPAN("x"), SPAN("p")));
    assert_false(access_allows_model(&visitor, config, SPAN("x"), SPAN("s")));
    assert_false(access_allows_model(&visitor, config, SPAN("x"), SPAN("nowhere")));
    assert_true(access_allows_model(&ours, config, SPAN("m-1"), SPAN("s")));
    assert_false(access_allows_model(&ours, config, SPAN("x"), SPAN("p")));
    assert_true(access_allows_model(&any, config, SPAN("x"), SPAN("s")));
    config_unref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forwarded_addresses),
        cmocka_unit_test(forwarded_in_several_lines),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(without_keys_only_this_machine),
        cmocka_unit_test(the_absolute_form_names_a_host_too),
        cmocka_unit_test(a_host_is_needed),
        cmocka_unit_test(keys_are_found),
        cmocka_unit_test(keys_have_addresses),
        cmocka_unit_test(keys_expire),
        cmocka_unit_test(keys_are_tied_to_accounts),
        cmocka_unit_test(visitors_bring_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
