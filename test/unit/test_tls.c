/*
 * test/unit/test_tls.c - TLS without a socket: our client against our server, the bytes carried by
 * hand.
 */
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/test_certs.h"
#include "tls/tls_stream.h"

static struct test_cert good, other, expired, future, v6, decoy, wildcard;

static const unsigned char loopback[] = {127, 0, 0, 1}, loopback_v6[16] = {[15] = 1};

static struct tls_sessions *make_sessions(void)
{
    struct tls_sessions *sessions = tls_sessions_create();
    assert_non_null(sessions);
    return sessions;
}

static int make_certificates(void **state)
{
    const struct test_cert_wish wishes[] = {
        {.dns = "other.test"},
        {.dns = "localhost", .from = "20200101000000", .to = "20210203000000"},
        {.dns = "localhost", .from = "20900101000000"},
        {.ip = loopback_v6, .ip_n = sizeof loopback_v6},
        {.dns = "other.test", .decoy_ip = loopback},
        {.dns = "*.site.test"},
    };
    bool made = test_cert_make(&good) && test_cert_make_as(&other, &wishes[0]) &&
                test_cert_make_as(&expired, &wishes[1]) && test_cert_make_as(&future, &wishes[2]) &&
                test_cert_make_as(&v6, &wishes[3]) && test_cert_make_as(&decoy, &wishes[4]) &&
                test_cert_make_as(&wildcard, &wishes[5]);
    return made ? 0 : -1;
}

static int remove_certificates(void **state)
{
    struct test_cert *const all[] = {&good, &other, &expired, &future, &v6, &decoy, &wildcard};
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

/* Carries what `from` wants to send, at most `most` bytes a piece; after each piece the other end
 * goes on with its handshake as far as it can. */
static enum tls_result carry_handshake(struct tls_stream *from, struct tls_stream *to, size_t most)
{
    enum tls_result r = tls_stream_handshake(to);
    struct buffer *out = tls_stream_output(from);
    struct span rest = buffer_span(out);
    while (rest.n) {
        struct span piece = span_first(rest, most);
        assert_int_equal(tls_stream_feed(to, piece), 0);
        rest = span_from(rest, piece.n);
        r = tls_stream_handshake(to);
    }
    buffer_clear(out);
    return r;
}

/* The same without looking at what came. */
static void carry(struct tls_stream *from, struct tls_stream *to)
{
    struct buffer *out = tls_stream_output(from);
    assert_int_equal(tls_stream_feed(to, buffer_span(out)), 0);
    buffer_clear(out);
}

/* Both handshakes to their end; what the client's came to. */
static enum tls_result shake(struct pair *p, size_t most)
{
    enum tls_result client = tls_stream_handshake(p->client);
    for (int i = 0; i < 20 && client == TLS_WANT_INPUT; i++) {
        carry_handshake(p->client, p->server, most);
        client = carry_handshake(p->server, p->client, most);
    }
    enum tls_result server = carry_handshake(p->client, p->server, most);
    assert_true(client == TLS_FAILED || server == TLS_OK);
    return client;
}

/* Reads what is there; how the reading ended. */
static enum tls_result read_all(struct tls_stream *s, struct buffer *got, size_t room)
{
    char piece[3000];
    size_t n;
    enum tls_result r;
    assert_true(room <= sizeof piece);
    while ((r = tls_stream_read(s, piece, room, &n)) == TLS_OK) {
        assert_true(n > 0 && n <= room);
        buffer_append(got, span_of(piece, n));
    }
    assert_int_equal(n, 0);
    return r;
}

/* Writes at one end, reads at the other after each piece. */
static void tell(struct tls_stream *from, struct tls_stream *to, struct span text, size_t most)
{
    struct buffer got, *out = tls_stream_output(from);
    buffer_init(&got, text.n);
    assert_int_equal(tls_stream_write(from, text), TLS_OK);
    for (struct span rest = buffer_span(out); rest.n; rest = span_from(rest, most)) {
        assert_int_equal(tls_stream_feed(to, span_first(rest, most)), 0);
        assert_int_equal(read_all(to, &got, most < 10 ? most : 3000), TLS_WANT_INPUT);
    }
    buffer_clear(out);
    assert_int_equal(got.n, text.n);
    assert_memory_equal(got.p, text.p, text.n);
    buffer_free(&got);
}

/* One more connection to the same server: its ticket keys live in the identity. */
static void open_again(struct pair *again, const struct pair *first, const char *host,
                       struct tls_sessions *sessions)
{
    struct fail fail;
    *again = (struct pair){0};
    again->client = tls_client_create(first->trust, sessions, host, "site:443", &fail);
    again->server = tls_server_create(first->identity, &fail);
    assert_non_null(again->client);
    assert_non_null(again->server);
}

/* A first connection whose session later ones take up: their handshakes cost next to nothing. */
static void open_first(struct pair *p, struct tls_sessions *sessions)
{
    open_pair(p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(shake(p, SIZE_MAX), TLS_OK);
    tell(p->server, p->client, SPAN("hello"), 5); /* TLS 1.3 hands its tickets out only now */
}

/* ---- good ends ---- */

static void pieces_of_any_size(void **state)
{
    static const size_t sizes[] = {1, 2, 5, 7, 100, 1000, 1 << 20};
    struct tls_sessions *sessions = make_sessions();
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
    struct tls_sessions *sessions = make_sessions();
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

/* More arrives while earlier records are still unread. */
static void records_wait_to_be_read(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    char to[100];
    size_t n;
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
    tls_stream_write(p.server, SPAN("first"));
    tls_stream_write(p.server, SPAN("second"));
    carry(p.server, p.client);
    assert_int_equal(tls_stream_read(p.client, to, sizeof to, &n), TLS_OK);
    assert_span_equal(span_of(to, n), SPAN("first"));
    tls_stream_write(p.server, SPAN("third"));
    carry(p.server, p.client);
    assert_int_equal(tls_stream_read(p.client, to, sizeof to, &n), TLS_OK);
    assert_span_equal(span_of(to, n), SPAN("second"));
    assert_int_equal(tls_stream_read(p.client, to, 2, &n), TLS_OK);
    assert_span_equal(span_of(to, n), SPAN("th"));
    assert_int_equal(tls_stream_read(p.client, to, sizeof to, &n), TLS_OK);
    assert_span_equal(span_of(to, n), SPAN("ird"));
    assert_int_equal(tls_stream_read(p.client, to, sizeof to, &n), TLS_WANT_INPUT);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void the_fastest_suite_is_taken(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    char text[80], same[80];
    tls_stream_describe(p.client, text, sizeof text);
    assert_string_equal(text, "none");
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
    tls_stream_describe(p.client, text, sizeof text);
    tls_stream_describe(p.server, same, sizeof same);
    assert_memory_equal(text, "TLSv1.", 6);
    assert_non_null(strstr(text, "CHACHA20-POLY1305"));
    assert_string_equal(text, same);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

/* The first flight is readable by anybody. */
static struct span client_hello(struct pair *p, const char *host, struct tls_sessions *sessions)
{
    open_pair(p, &good, good.cert_file, host, sessions);
    assert_int_equal(tls_stream_handshake(p->client), TLS_WANT_INPUT);
    return buffer_span(tls_stream_output(p->client));
}

static void hello_names_host_and_protocol(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    struct span hello = client_hello(&p, "localhost", sessions);
    assert_true(span_find(hello, SPAN("localhost")) > 0);
    assert_true(span_find(hello, SPAN("\x08http/1.1")) > 0);
    assert_int_equal(span_find(hello, SPAN("h2")), -1);
    close_pair(&p);
    hello = client_hello(&p, "127.0.0.1", sessions); /* addresses are no server names */
    assert_int_equal(span_find(hello, SPAN("127.0.0.1")), -1);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

/* A client that speaks other protocols only is told so, by an alert. */
static void other_protocols_are_refused(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    struct span hello = client_hello(&p, "localhost", sessions);
    ptrdiff_t at = span_find(hello, SPAN("http/1.1"));
    assert_true(at > 0);
    tls_stream_output(p.client)->p[at + 5] = '9';
    assert_int_equal(carry_handshake(p.client, p.server, SIZE_MAX), TLS_FAILED);
    assert_non_null(strstr(tls_stream_fail(p.server)->message, "the client"));
    assert_int_equal(carry_handshake(p.server, p.client, SIZE_MAX), TLS_FAILED);
    assert_non_null(strstr(tls_stream_fail(p.client)->message, "alert"));
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void sessions_are_resumed(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct fail fail;
    struct pair first, second;
    open_first(&first, sessions);
    assert_false(tls_stream_is_resuming(first.client));
    assert_false(tls_stream_was_resumed(first.client));
    open_again(&second, &first, "localhost", sessions);
    assert_true(tls_stream_is_resuming(second.client));
    assert_int_equal(shake(&second, 3), TLS_OK);
    assert_true(tls_stream_was_resumed(second.client));
    tell(second.client, second.server, SPAN("hello"), 1);
    assert_int_equal(tls_sessions_counters(sessions).full, 1);
    assert_int_equal(tls_sessions_counters(sessions).resumed, 1);
    assert_int_equal(tls_sessions_counters(sessions).failed, 0);
    /* Another origin does not get the session, nor does another trust store. */
    struct tls_stream *elsewhere =
        tls_client_create(first.trust, sessions, "localhost", "site:444", &fail);
    assert_non_null(elsewhere);
    assert_false(tls_stream_is_resuming(elsewhere));
    tls_stream_destroy(elsewhere);
    struct tls_trust *trust = tls_trust_get(other.cert_file, &fail);
    elsewhere = tls_client_create(trust, sessions, "localhost", "site:443", &fail);
    assert_non_null(elsewhere);
    assert_false(tls_stream_is_resuming(elsewhere));
    tls_stream_destroy(elsewhere);
    tls_trust_release(trust);
    close_pair(&second);
    close_pair(&first);
    tls_sessions_destroy(sessions);
}

/* A server that was started anew cannot read its old tickets: a full handshake, not a failure. */
static void unknown_tickets_cost_a_full_handshake(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair first, second;
    open_first(&first, sessions);
    open_pair(&second, &good, good.cert_file, "localhost", sessions);
    assert_true(tls_stream_is_resuming(second.client));
    assert_int_equal(shake(&second, SIZE_MAX), TLS_OK);
    assert_false(tls_stream_was_resumed(second.client));
    tell(second.client, second.server, SPAN("hello"), 100);
    assert_int_equal(tls_sessions_counters(sessions).full, 2);
    assert_int_equal(tls_sessions_counters(sessions).resumed, 0);
    close_pair(&second);
    close_pair(&first);
    tls_sessions_destroy(sessions);
}

/* Whatever a session did to a handshake, the next one begins afresh. */
static void failures_drop_the_session(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair first, second, third;
    open_first(&first, sessions);
    open_again(&second, &first, "localhost", sessions);
    assert_true(tls_stream_is_resuming(second.client));
    tls_stream_feed_eof(second.client);
    assert_int_equal(tls_stream_handshake(second.client), TLS_FAILED);
    open_again(&third, &first, "localhost", sessions);
    assert_false(tls_stream_is_resuming(third.client));
    assert_int_equal(tls_sessions_counters(sessions).failed, 1);
    close_pair(&third);
    close_pair(&second);
    close_pair(&first);
    tls_sessions_destroy(sessions);
}

/* A full handshake stops where it becomes costly, in its middle only; a resumed one never does. */
static void only_full_handshakes_are_costly(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair first, second;
    open_pair(&first, &good, good.cert_file, "localhost", sessions);
    if (tls_stream_handshake_cheap(first.client) == TLS_COSTLY) { /* TLS 1.3 begins with a key */
        assert_int_equal(tls_stream_handshake(first.client), TLS_WANT_INPUT);
    }
    assert_int_equal(carry_handshake(first.client, first.server, SIZE_MAX), TLS_WANT_INPUT);
    struct span flight = buffer_span(tls_stream_output(first.server));
    assert_int_equal(tls_stream_feed(first.client, span_first(flight, 3)), 0);
    assert_int_equal(tls_stream_handshake_cheap(first.client), TLS_WANT_INPUT);
    assert_int_equal(tls_stream_feed(first.client, span_from(flight, 3)), 0);
    buffer_clear(tls_stream_output(first.server));
    assert_int_equal(tls_stream_handshake_cheap(first.client), TLS_COSTLY);
    assert_int_equal(tls_stream_handshake_cheap(first.client), TLS_COSTLY); /* nothing was done */
    assert_int_not_equal(tls_stream_handshake(first.client), TLS_FAILED);
    carry_handshake(first.client, first.server, SIZE_MAX);
    carry(first.server, first.client);
    assert_int_equal(tls_stream_handshake_cheap(first.client), TLS_OK); /* the end is cheap again */
    assert_true(tls_stream_may_be_resumed(first.client));
    tell(first.server, first.client, SPAN("hello"), 5);

    open_again(&second, &first, "localhost", sessions);
    enum tls_result r = tls_stream_handshake_cheap(second.client);
    for (int i = 0; i < 5 && r == TLS_WANT_INPUT; i++) {
        carry_handshake(second.client, second.server, SIZE_MAX);
        carry(second.server, second.client);
        r = tls_stream_handshake_cheap(second.client);
    }
    assert_int_equal(r, TLS_OK);
    assert_true(tls_stream_was_resumed(second.client));
    close_pair(&second);

    /* Offered, but not taken up: costly after all. */
    open_pair(&second, &good, good.cert_file, "localhost", sessions);
    assert_true(tls_stream_is_resuming(second.client));
    assert_int_equal(tls_stream_handshake_cheap(second.client), TLS_WANT_INPUT);
    carry_handshake(second.client, second.server, SIZE_MAX);
    carry(second.server, second.client);
    assert_int_equal(tls_stream_handshake_cheap(second.client), TLS_COSTLY);
    close_pair(&second);
    close_pair(&first);
    tls_sessions_destroy(sessions);
}

/* What is lent is read in place; what is left of it stays readable. */
static void lent_bytes_may_be_kept(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    char to[100], text[4000];
    size_t n;
    open_first(&p, sessions);
    for (size_t cut = 0; cut < 60; cut++) {
        struct buffer *out = tls_stream_output(p.server), got;
        tls_stream_write(p.server, SPAN("first"));
        tls_stream_write(p.server, SPAN("second"));
        assert_true(out->n > 30 && out->n < sizeof text);
        n = cut < out->n ? cut : out->n;
        buffer_init(&got, 100);
        for (int half = 0; half < 2; half++) {
            struct span part =
                half ? span_from(buffer_span(out), n) : span_first(buffer_span(out), n);
            if (part.n)
                memcpy(text, part.p, part.n);
            tls_stream_lend(p.client, span_of(text, part.n));
            size_t have = 0;
            if (cut % 2 && tls_stream_read(p.client, to, 3, &have) == TLS_OK)
                buffer_append(&got, span_of(to, have));
            else if (cut % 2 == 0)
                read_all(p.client, &got, 100);
            assert_int_equal(tls_stream_keep_lent(p.client), 0);
            memset(text, 'x', sizeof text); /* lent no longer */
        }
        buffer_clear(out);
        assert_int_equal(read_all(p.client, &got, 100), TLS_WANT_INPUT);
        assert_span_equal(buffer_span(&got), SPAN("firstsecond"));
        buffer_free(&got);
    }
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void pieces_share_records(void **state)
{
    enum { BIG = 40000, RECORD = 16384 };
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    struct buffer got, sum, one;
    char *big = calloc(1, BIG);
    open_first(&p, sessions);
    buffer_init(&got, 1 << 20);
    buffer_init(&sum, 1 << 20);
    buffer_init(&one, 1 << 20);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)(i * 7 + i / 251);
    for (size_t n = 0; n < BIG; n += 3331) {
        const struct span pieces[] = {SPAN("head"), span_of(NULL, 0), span_of(big, n),
                                      SPAN("tail")};
        struct buffer *out = tls_stream_output(p.client);
        assert_int_equal(tls_stream_write_pieces(p.client, pieces, 4), TLS_OK);
        size_t together = out->n;
        carry(p.client, p.server);
        assert_int_equal(read_all(p.server, &got, 3000), TLS_WANT_INPUT);
        for (int i = 0; i < 4; i++)
            buffer_append(&sum, pieces[i]);
        assert_span_equal(buffer_span(&got), buffer_span(&sum));
        /* At most one record more than the same bytes in one piece. */
        assert_int_equal(tls_stream_write(p.client, buffer_span(&sum)), TLS_OK);
        assert_in_range(together, out->n, out->n + (n + 8 > RECORD ? 60 : 0));
        carry(p.client, p.server);
        read_all(p.server, &one, 3000);
        buffer_clear(&got);
        buffer_clear(&sum);
        buffer_clear(&one);
    }
    buffer_free(&got);
    buffer_free(&sum);
    buffer_free(&one);
    free(big);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

/* At any moment of an open stream, also with half a record read. */
static void memory_given_back_is_not_missed(void **state)
{
    enum { BIG = 50000 };
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    struct buffer got;
    char to[5000], *big = calloc(1, BIG);
    size_t n;
    open_first(&p, sessions);
    buffer_init(&got, BIG);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)(i * 7 + i / 251);
    assert_int_equal(tls_stream_write(p.server, span_of(big, BIG)), TLS_OK);
    struct span rest = buffer_span(tls_stream_output(p.server));
    for (; rest.n; rest = span_from(rest, 7001)) {
        assert_int_equal(tls_stream_feed(p.client, span_first(rest, 7001)), 0);
        tls_stream_rest(p.client);
        tls_stream_rest(p.server);
        while (tls_stream_read(p.client, to, sizeof to, &n) == TLS_OK) {
            buffer_append(&got, span_of(to, n));
            tls_stream_rest(p.client);
        }
    }
    buffer_clear(tls_stream_output(p.server));
    assert_span_equal(buffer_span(&got), span_of(big, BIG));
    tls_stream_rest(p.client);
    tell(p.client, p.server, span_of(big, BIG), 9000);
    tell(p.server, p.client, SPAN("hello"), 1);
    buffer_free(&got);
    free(big);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

/* ---- whose certificate is it? ---- */

static void expect_refused(const struct test_cert *cert, const char *ca_file, const char *host,
                           const char *part)
{
    struct tls_sessions *sessions = make_sessions();
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
    struct tls_sessions *sessions = make_sessions();
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
    expect_accepted(&wildcard, "a.site.test");
    expect_refused(&wildcard, wildcard.cert_file, "site.test", "*.site.test");
    expect_refused(&wildcard, wildcard.cert_file, "a.b.site.test", "*.site.test");
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

/* Names count where they stand as names, not where another extension holds the same bytes. */
static void names_are_read_from_their_own_extension(void **state)
{
    expect_accepted(&decoy, "other.test");
    expect_refused(&decoy, decoy.cert_file, "127.0.0.1", "issued for other.test");
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

/* A refusal is heard at the other end, too. */
static void refusals_are_told_to_the_server(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    open_pair(&p, &good, other.cert_file, "localhost", sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_FAILED);
    assert_int_equal(tls_stream_handshake(p.server), TLS_FAILED);
    assert_non_null(strstr(tls_stream_fail(p.server)->message, "the client refused"));
    assert_int_equal(tls_stream_write(p.client, SPAN("x")), TLS_FAILED);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

/* ---- bad ends ---- */

static void expect_failed_read(struct tls_stream *s, enum fail_kind kind, const char *part)
{
    char to[100];
    size_t n;
    assert_int_equal(tls_stream_read(s, to, sizeof to, &n), TLS_FAILED);
    assert_int_equal(n, 0);
    assert_int_equal(tls_stream_fail(s)->kind, kind);
    if (!strstr(tls_stream_fail(s)->message, part))
        fail_msg("\"%s\" does not say \"%s\"", tls_stream_fail(s)->message, part);
    assert_int_equal(tls_stream_read(s, to, sizeof to, &n), TLS_FAILED); /* and stays so */
}

/* The connection ends behind every byte of an answer and its close_notify: only the whole of it is
 * an end. What was whole before the cut is still read. */
static void truncation_is_no_end(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair first;
    size_t whole = SIZE_MAX;
    open_first(&first, sessions);
    for (size_t cut = 0; cut <= whole; cut++) {
        struct pair p;
        struct buffer got;
        buffer_init(&got, 100);
        open_again(&p, &first, "localhost", sessions);
        assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
        assert_int_equal(tls_stream_write(p.server, SPAN("all of it")), TLS_OK);
        size_t record = tls_stream_output(p.server)->n;
        tls_stream_close(p.server);
        struct span out = buffer_span(tls_stream_output(p.server));
        whole = out.n;
        assert_true(whole > record);
        assert_int_equal(tls_stream_feed(p.client, span_first(out, cut)), 0);
        tls_stream_feed_eof(p.client);
        enum tls_result end = read_all(p.client, &got, 100);
        assert_span_equal(buffer_span(&got), cut < record ? SPAN("") : SPAN("all of it"));
        if (cut == whole) {
            assert_int_equal(end, TLS_CLOSED);
            assert_int_equal(read_all(p.client, &got, 100), TLS_CLOSED);
        } else {
            assert_int_equal(end, TLS_FAILED);
            expect_failed_read(p.client, FAIL_CUT, "localhost cut the TLS connection");
        }
        buffer_free(&got);
        close_pair(&p);
    }
    close_pair(&first);
    tls_sessions_destroy(sessions);
}

/* The server's first flight in two pieces, cut behind every byte. */
static void handshakes_at_every_split(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair first;
    size_t whole = SIZE_MAX;
    open_first(&first, sessions);
    for (size_t cut = 0; cut < whole; cut++) {
        struct pair p;
        open_again(&p, &first, "localhost", sessions);
        assert_int_equal(tls_stream_handshake(p.client), TLS_WANT_INPUT);
        assert_int_equal(carry_handshake(p.client, p.server, cut + 1), TLS_WANT_INPUT);
        struct span flight = buffer_span(tls_stream_output(p.server));
        whole = flight.n;
        assert_int_equal(tls_stream_feed(p.client, span_first(flight, cut)), 0);
        assert_int_equal(tls_stream_handshake(p.client), TLS_WANT_INPUT);
        assert_int_equal(tls_stream_feed(p.client, span_from(flight, cut)), 0);
        buffer_clear(tls_stream_output(p.server));
        assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
        tell(p.client, p.server, SPAN("GET /"), 50);
        close_pair(&p);
    }
    close_pair(&first);
    tls_sessions_destroy(sessions);
}

static void damaged_records_are_noticed(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
    assert_int_equal(tls_stream_write(p.server, SPAN("hello")), TLS_OK);
    tls_stream_output(p.server)->p[tls_stream_output(p.server)->n - 1] ^= 1;
    carry(p.server, p.client);
    expect_failed_read(p.client, FAIL_CUT, "damaged");
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void not_tls_at_all(void **state)
{
    static const struct {
        struct span bytes;
        const char *part;
    } words[] = {
        {SPAN_INIT("HTTP/1.1 400 Bad Request\r\n\r\n<html>"), "does not speak TLS"},
        {SPAN_INIT("SSH-2.0-x\r\n"), "does not speak TLS"},
        {SPAN_INIT("\x15\x03\x03\x00\x02\x02\x28"), "alert"},
        {SPAN_INIT("\x16\x03\x03\xff\xff\x02\x00"), "TLS"}, /* a record beyond all limits */
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct tls_sessions *sessions = make_sessions();
        struct pair p;
        open_pair(&p, &good, good.cert_file, "localhost", sessions);
        assert_int_equal(tls_stream_handshake(p.client), TLS_WANT_INPUT);
        assert_int_equal(tls_stream_feed(p.client, words[i].bytes), 0);
        assert_int_equal(tls_stream_handshake(p.client), TLS_FAILED);
        assert_int_equal(tls_stream_fail(p.client)->kind, FAIL_UNREACHABLE);
        assert_non_null(strstr(tls_stream_fail(p.client)->message, "localhost"));
        if (!strstr(tls_stream_fail(p.client)->message, words[i].part))
            fail_msg("\"%s\"", tls_stream_fail(p.client)->message);
        assert_int_equal(tls_stream_handshake(p.client), TLS_FAILED); /* and stays so */
        assert_int_equal(tls_sessions_counters(sessions).failed, 1);
        close_pair(&p);
        tls_sessions_destroy(sessions);
    }
}

static void plain_requests_to_a_tls_server(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(tls_stream_feed(p.server, SPAN("GET / HTTP/1.1\r\nHost: x\r\n\r\n")), 0);
    assert_int_equal(tls_stream_handshake(p.server), TLS_FAILED);
    assert_non_null(strstr(tls_stream_fail(p.server)->message, "the client"));
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

/* The server goes away somewhere in its first message, or before it. */
static void the_end_in_the_handshake(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair server;
    open_pair(&server, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(carry_handshake(server.client, server.server, SIZE_MAX), TLS_WANT_INPUT);
    tls_stream_handshake(server.client);
    assert_int_equal(carry_handshake(server.client, server.server, SIZE_MAX), TLS_WANT_INPUT);
    struct span flight = buffer_span(tls_stream_output(server.server));
    assert_true(flight.n > 200);
    for (size_t cut = 0; cut < 100; cut++) {
        struct tls_sessions *counted = make_sessions();
        struct pair p;
        open_pair(&p, &good, good.cert_file, "localhost", counted);
        assert_int_equal(tls_stream_handshake(p.client), TLS_WANT_INPUT);
        assert_int_equal(tls_stream_feed(p.client, span_first(flight, cut)), 0);
        assert_int_equal(tls_stream_handshake(p.client), TLS_WANT_INPUT);
        tls_stream_feed_eof(p.client);
        assert_int_equal(tls_stream_handshake(p.client), TLS_FAILED);
        assert_int_equal(tls_stream_fail(p.client)->kind, FAIL_UNREACHABLE);
        assert_string_equal(tls_stream_fail(p.client)->message,
                            "localhost closed the connection during the TLS handshake");
        assert_int_equal(tls_sessions_counters(counted).failed, 1);
        close_pair(&p);
        tls_sessions_destroy(counted);
    }
    close_pair(&server);
    tls_sessions_destroy(sessions);
}

static void unread_input_is_limited(void **state)
{
    enum { PIECE = 1 << 20, PIECES = 64 };
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    char *piece = calloc(1, PIECE);
    int r = 0;
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    for (int i = 0; i < PIECES && r == 0; i++)
        r = tls_stream_feed(p.client, span_of(piece, PIECE));
    assert_int_equal(r, BUFFER_FULL);
    free(piece);
    close_pair(&p);
    tls_sessions_destroy(sessions);
}

static void writing_waits_for_the_handshake(void **state)
{
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    char to[10];
    size_t n = 1;
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(tls_stream_write(p.client, SPAN("secret")), TLS_FAILED);
    assert_int_equal(tls_stream_read(p.client, to, sizeof to, &n), TLS_FAILED);
    assert_int_equal(tls_stream_output(p.client)->n, 0);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK); /* nothing is spoilt */
    assert_int_equal(tls_stream_write(p.client, SPAN("")), TLS_OK);
    assert_int_equal(tls_stream_output(p.client)->n, 0);
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

/* The machine's own bundle is where SSL_CERT_FILE says; it may be missing beside a ca_file. */
static void the_machines_bundle_may_be_elsewhere(void **state)
{
    struct fail fail = {0};
    setenv("SSL_CERT_FILE", good.cert_file, 1);
    struct tls_sessions *sessions = make_sessions();
    struct pair p;
    open_pair(&p, &good, "", "localhost", sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
    close_pair(&p);
    setenv("SSL_CERT_FILE", "/nowhere/bundle.pem", 1);
    assert_null(tls_trust_get("", &fail));
    assert_int_equal(fail.kind, FAIL_UNREACHABLE);
    assert_non_null(strstr(fail.message, "/nowhere/bundle.pem"));
    open_pair(&p, &good, good.cert_file, "localhost", sessions);
    assert_int_equal(shake(&p, SIZE_MAX), TLS_OK);
    close_pair(&p);
    unsetenv("SSL_CERT_FILE");
    tls_sessions_destroy(sessions);
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
        cmocka_unit_test(records_wait_to_be_read),
        cmocka_unit_test(the_fastest_suite_is_taken),
        cmocka_unit_test(hello_names_host_and_protocol),
        cmocka_unit_test(other_protocols_are_refused),
        cmocka_unit_test(sessions_are_resumed),
        cmocka_unit_test(unknown_tickets_cost_a_full_handshake),
        cmocka_unit_test(failures_drop_the_session),
        cmocka_unit_test(only_full_handshakes_are_costly),
        cmocka_unit_test(lent_bytes_may_be_kept),
        cmocka_unit_test(pieces_share_records),
        cmocka_unit_test(memory_given_back_is_not_missed),
        cmocka_unit_test(names_are_compared),
        cmocka_unit_test(addresses_are_compared),
        cmocka_unit_test(names_are_read_from_their_own_extension),
        cmocka_unit_test(times_are_checked),
        cmocka_unit_test(strangers_are_not_trusted),
        cmocka_unit_test(refusals_are_told_to_the_server),
        cmocka_unit_test(truncation_is_no_end),
        cmocka_unit_test(handshakes_at_every_split),
        cmocka_unit_test(damaged_records_are_noticed),
        cmocka_unit_test(not_tls_at_all),
        cmocka_unit_test(plain_requests_to_a_tls_server),
        cmocka_unit_test(the_end_in_the_handshake),
        cmocka_unit_test(unread_input_is_limited),
        cmocka_unit_test(writing_waits_for_the_handshake),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(the_machines_bundle_may_be_elsewhere),
        cmocka_unit_test(trust_is_shared),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
