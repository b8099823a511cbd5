/*
 * test/unit/test_tls.c - TLS without a socket: our client against our server, the bytes carried by
 * hand.
 */
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/test_certs.h"
#include "tls/tls_stream.h"

static struct test_cert good, other, expired, future, v6;

static const unsigned char loopback_v6[16] = {[15] = 1};

static int make_certificates(void **state)
{
    const struct test_cert_wish wishes[] = {
        {.dns = "other.test"},
        {.dns = "localhost", .from = "20200101000000", .to = "20210203000000"},
        {.dns = "localhost", .from = "20900101000000"},
        {.ip = loopback_v6, .ip_n = sizeof loopback_v6},
    };
    bool made = test_cert_make(&good) && test_cert_make_as(&other, &wishes[0]) &&
                test_cert_make_as(&expired, &wishes[1]) && test_cert_make_as(&future, &wishes[2]) &&
                test_cert_make_as(&v6, &wishes[3]);
    return made ? 0 : -1;
}

static int remove_certificates(void **state)
{
    struct test_cert *const all[] = {&good, &other, &expired, &future, &v6};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        test_cert_remove(all[i]);
    return 0;
}

/* ---- two ends ---- */

struct pair {
    struct tls_identity *identity;
    struct tls_trust *trust;
    struct tls_stream *client, *server;
};

static void open_pair(struct pair *p, const struct test_cert *cert, const char *ca_file,
                      const char *host, struct tls_sessions *sessions)
{
    struct fail fail = {0};
    *p = (struct pair){.identity = tls_identity_load(cert->cert_file, cert->key_file, &fail)};
    assert_non_null(p->identity);
    p->trust = tls_trust_get(ca_file, &fail);
    assert_non_null(p->trust);
    p->client = tls_client_create(p->trust, sessions, host, "site:443", &fail);
    p->server = tls_server_create(p->identity, &fail);
    assert_non_null(p->client);
    assert_non_null(p->server);
}

static void close_pair(struct pair *p)
{
    tls_stream_destroy(p->client);
    tls_stream_destroy(p->server);
    tls_trust_release(p->trust);
    tls_identity_release(p->identity);
}

/* Carries what `from` wants to send, at most `most` bytes a piece. */
static void carry(struct tls_stream *from, struct tls_stream *to, size_t most)
{
    struct buffer *out = tls_stream_output(from);
    struct span rest = buffer_span(out);
    while (rest.n) {
        struct span piece = span_first(rest, most);
        assert_int_equal(tls_stream_feed(to, piece), 0);
        rest = span_from(rest, piece.n);
    }
    buffer_clear(out);
}

/* Both handshakes to their end; what the client's came to. */
static enum tls_result shake(struct pair *p, size_t most)
{
    enum tls_result client = TLS_WANT_INPUT, server = TLS_WANT_INPUT;
    for (int i = 0; i < 20 && client == TLS_WANT_INPUT; i++) {
        client = tls_stream_handshake(p->client);
        carry(p->client, p->server, most);
        if (server == TLS_WANT_INPUT)
            server = tls_stream_handshake(p->server);
        carry(p->server, p->client, most);
    }
    if (client == TLS_OK && server == TLS_WANT_INPUT)
        server = tls_stream_handshake(p->server);
    assert_true(client == TLS_FAILED || server == TLS_OK);
    return client;
}

/* Writes at one end, reads it all at the other. */
static void tell(struct tls_stream *from, struct tls_stream *to, struct span text, size_t most)
{
    struct buffer got;
    char piece[3000];
    size_t n;
    buffer_init(&got, text.n);
    assert_int_equal(tls_stream_write(from, text), TLS_OK);
    carry(from, to, most);
    while (got.n < text.n && tls_stream_read(to, piece, sizeof piece, &n) == TLS_OK)
        buffer_append(&got, span_of(piece, n));
    assert_int_equal(got.n, text.n);
    assert_memory_equal(got.p, text.p, text.n);
    assert_int_equal(tls_stream_read(to, piece, sizeof piece, &n), TLS_WANT_INPUT);
    buffer_free(&got);
}

/* ---- good ends ---- */

static void pieces_of_any_size(void **state)
{
    static const size_t sizes[] = {1, 2, 5, 7, 100, 1000, 1 << 20};
    struct tls_sessions *sessions = tls_sessions_create();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct pair p;
        open_pair(&p, &good, good.cert_file, "localhost", sessions);
        assert_int_equal(shake(&p, sizes[i]), TLS_OK);
        tell(p.client, p.server, SPAN("GET / HTTP/1.1\r\n\r\n"), sizes[i]);
        tell(p.server, p.client, SPAN("HTTP/1.1 200 OK\r\n\r\n"), sizes[i]);
        close_pair(&p);
    }
    tls_sessions_destroy(sessions);
}

static void large_texts_pass(void **state)
{
    enum { BIG = 3 * 1024 * 1024 };
    struct tls_sessions *sessions = tls_sessions_create();
    struct pair p;
    char *big = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)(i * 7 + i / 251);
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
    tell(p.client, p.server, span_of(big, BIG), SIZE_MAX);
    tell(p.server, p.client, span_of(big, BIG), 1400);
    free(big);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void the_fastest_suite_is_taken(void **state)
{
    struct tls_sessions *sessions = tls_sessions_create();
    struct pair p;
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
    assert_non_null(strstr(tls_stream_describe(p.client), "CHACHA20-POLY1305"));
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void sessions_are_resumed(void **state)
{
    struct tls_sessions *sessions = tls_sessions_create();
    struct fail fail;
    struct pair first, second;
    open_pair(&first, &good, good.cert_file, "localhost", sessions);
    assert_false(tls_stream_is_resuming(first.client));
    assert_int_equal(shake(&first, SIZE_MAX), TLS_OK);
    assert_false(tls_stream_was_resumed(first.client));
    tell(first.server, first.client, SPAN("hello"), 5); /* TLS 1.3 hands its tickets out only now */
    /* The second one at the same server: its ticket keys live in the identity. */
    second = first;
    second.client = tls_client_create(first.trust, sessions, "localhost", "site:443", &fail);
    second.server = tls_server_create(first.identity, &fail);
    assert_true(tls_stream_is_resuming(second.client));
    assert_int_equal(shake(&second, 3), TLS_OK);
    assert_true(tls_stream_was_resumed(second.client));
    tell(second.client, second.server, SPAN("hello"), 1);
    assert_int_equal(tls_sessions_counters(sessions).full, 1);
    assert_int_equal(tls_sessions_counters(sessions).resumed, 1);
    /* Another origin does not get the session. */
    struct tls_stream *elsewhere =
        tls_client_create(first.trust, sessions, "localhost", "site:444", &fail);
    assert_false(tls_stream_is_resuming(elsewhere));
    tls_stream_destroy(elsewhere);
    tls_stream_destroy(second.client);
    tls_stream_destroy(second.server);
    close_pair(&first);
    tls_sessions_destroy(sessions);
}

/* ---- whose certificate is it? ---- */

static void expect_refused(const struct test_cert *cert, const char *ca_file, const char *host,
                           const char *part)
{
    struct tls_sessions *sessions = tls_sessions_create();
    struct pair p;
    open_pair(&p, cert, ca_file, host, sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_FAILED);
    const struct fail *fail = tls_stream_fail(p.client);
    assert_int_equal(fail->kind, FAIL_UNREACHABLE);
    if (!strstr(fail->message, part))
        fail_msg("\"%s\" does not say \"%s\"", fail->message, part);
    assert_int_equal(tls_sessions_counters(sessions).failed, 1);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void expect_accepted(const struct test_cert *cert, const char *host)
{
    struct tls_sessions *sessions = tls_sessions_create();
    struct pair p;
    open_pair(&p, cert, cert->cert_file, host, sessions);
    if (shake(&p, SIZE_MAX) != TLS_OK)
        fail_msg("%s: %s", host, tls_stream_fail(p.client)->message);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void names_are_compared(void **state)
{
    expect_accepted(&good, "localhost");
    expect_accepted(&good, "LOCALHOST");
    expect_accepted(&other, "other.test");
    expect_refused(&other, other.cert_file, "localhost", "other.test");
    expect_refused(&good, good.cert_file, "localhost.evil.test", "localhost.evil.test");
    expect_refused(&good, good.cert_file, "ocalhost", "ocalhost");
}

static void addresses_are_compared(void **state)
{
    expect_accepted(&good, "127.0.0.1");
    expect_refused(&good, good.cert_file, "127.0.0.2", "127.0.0.2");
    expect_refused(&other, other.cert_file, "127.0.0.1", "127.0.0.1");
    expect_accepted(&v6, "::1");
    expect_accepted(&v6, "0:0:0:0:0:0:0:1");
    expect_refused(&v6, v6.cert_file, "::2", "::2");
    expect_refused(&v6, v6.cert_file, "localhost", "localhost");
}

static void times_are_checked(void **state)
{
    expect_refused(&expired, expired.cert_file, "localhost", "expired on 2021-02-03");
    expect_refused(&future, future.cert_file, "localhost", "2090-01-01");
}

static void strangers_are_not_trusted(void **state)
{
    expect_refused(&good, other.cert_file, "localhost", "ca_file");
    expect_refused(&good, "", "localhost", "ca_file");
}

/* ---- bad ends ---- */

static void expect_failed_read(struct tls_stream *s, enum fail_kind kind)
{
    char to[100];
    size_t n;
    assert_int_equal(tls_stream_read(s, to, sizeof to, &n), TLS_FAILED);
    assert_int_equal(tls_stream_fail(s)->kind, kind);
    assert_true(tls_stream_fail(s)->message[0]);
}

static void truncation_is_no_end(void **state)
{
    struct tls_sessions *sessions = tls_sessions_create();
    struct pair p;
    char to[100];
    size_t n;
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
    tell(p.server, p.client, SPAN("half an ans"), SIZE_MAX);
    tls_stream_feed_eof(p.client);
    expect_failed_read(p.client, FAIL_CUT);
    close_pair(&p);

    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
    assert_int_equal(tls_stream_write(p.server, SPAN("all of it")), TLS_OK);
    tls_stream_close(p.server);
    carry(p.server, p.client, SIZE_MAX);
    tls_stream_feed_eof(p.client);
    assert_int_equal(tls_stream_read(p.client, to, sizeof to, &n), TLS_OK);
    assert_span_equal(span_of(to, n), SPAN("all of it"));
    assert_int_equal(tls_stream_read(p.client, to, sizeof to, &n), TLS_CLOSED);
    assert_int_equal(tls_stream_read(p.client, to, sizeof to, &n), TLS_CLOSED);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void damaged_records_are_noticed(void **state)
{
    struct tls_sessions *sessions = tls_sessions_create();
    struct pair p;
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
    assert_int_equal(tls_stream_write(p.server, SPAN("hello")), TLS_OK);
    tls_stream_output(p.server)->p[tls_stream_output(p.server)->n - 1] ^= 1;
    carry(p.server, p.client, SIZE_MAX);
    expect_failed_read(p.client, FAIL_CUT);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void not_tls_at_all(void **state)
{
    static const char *const words[] = {"HTTP/1.1 400 Bad Request\r\n\r\n<html>", "SSH-2.0-x\r\n",
                                        "\x15\x03\x03\x00\x02\x02\x28"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct tls_sessions *sessions = tls_sessions_create();
        struct pair p;
        open_pair(&p, &good, good.cert_file, "localhost", sessions);
        assert_int_equal(tls_stream_handshake(p.client), TLS_WANT_INPUT);
        assert_int_equal(
            tls_stream_feed(p.client, i == 2 ? span_of(words[i], 7) : span_str(words[i])), 0);
        assert_int_equal(tls_stream_handshake(p.client), TLS_FAILED);
        assert_int_equal(tls_stream_fail(p.client)->kind, FAIL_UNREACHABLE);
        assert_int_equal(tls_stream_handshake(p.client), TLS_FAILED); /* and stays so */
        close_pair(&p);
        tls_sessions_destroy(sessions);
    }
}

static void the_end_in_the_handshake(void **state)
{
    struct tls_sessions *sessions = tls_sessions_create();
    struct pair p;
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(tls_stream_handshake(p.client), TLS_WANT_INPUT);
    tls_stream_feed_eof(p.client);
    assert_int_equal(tls_stream_handshake(p.client), TLS_FAILED);
    assert_int_equal(tls_stream_fail(p.client)->kind, FAIL_UNREACHABLE);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void files_that_are_none(void **state)
{
    struct fail fail = {0};
    assert_null(tls_identity_load("/nowhere/cert.pem", good.key_file, &fail));
    assert_non_null(strstr(fail.message, "/nowhere/cert.pem"));
    assert_null(tls_identity_load(good.key_file, good.key_file, &fail));
    assert_null(tls_identity_load(good.cert_file, other.key_file, &fail));
    assert_non_null(strstr(fail.message, "key"));
    assert_null(tls_trust_get("/nowhere/ca.pem", &fail));
    assert_non_null(strstr(fail.message, "/nowhere/ca.pem"));
    assert_null(tls_trust_get(good.key_file, &fail));
}

static void trust_is_shared(void **state)
{
    struct fail fail;
    struct tls_trust *a = tls_trust_get(good.cert_file, &fail),
                     *b = tls_trust_get(good.cert_file, &fail);
    struct tls_trust *c = tls_trust_get(other.cert_file, &fail);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    tls_trust_release(a);
    tls_trust_release(b);
    tls_trust_release(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_any_size),
        cmocka_unit_test(large_texts_pass),
        cmocka_unit_test(the_fastest_suite_is_taken),
        cmocka_unit_test(sessions_are_resumed),
        cmocka_unit_test(names_are_compared),
        cmocka_unit_test(addresses_are_compared),
        cmocka_unit_test(times_are_checked),
        cmocka_unit_test(strangers_are_not_trusted),
        cmocka_unit_test(truncation_is_no_end),
        cmocka_unit_test(damaged_records_are_noticed),
        cmocka_unit_test(not_tls_at_all),
        cmocka_unit_test(the_end_in_the_handshake),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(trust_is_shared),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
