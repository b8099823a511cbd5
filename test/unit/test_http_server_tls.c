/*
 * test_http_server_tls.c - HTTPS listeners: the server's side of TLS over real sockets, with our
 * own TLS client at the other end. The certificate is made on the spot.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/http_server_internal.h"
#include "test/unit/support/patience.h"
#include "test/unit/support/test_certs.h"

enum { BIG = 1024 * 1024 };

/* ---- a certificate ---- */

static struct test_cert cert;

static int make_certificate(void **state) { return test_cert_make(&cert) ? 0 : -1; }

static int remove_certificate(void **state)
{
    test_cert_remove(&cert);
    return 0;
}

/* ---- the server ---- */

struct test {
    uv_loop_t loop;
    struct config *config;
    struct listen_address listen;
    struct http_server *server;
    struct http_exchange *pending;
    struct tls_trust *trust;
    struct tls_sessions *sessions;
    int gone, error_status;
    char *big;
};

static int on_head(void *owner, struct http_exchange *x) { return 0; }

static void on_request(void *owner, struct http_exchange *x)
{
    struct test *t = owner;
    struct span path = http_exchange_path(x);
    if (span_eq(path, SPAN("/later"))) {
        t->pending = x;
        http_exchange_set_user(x, t);
    } else if (span_eq(path, SPAN("/big"))) {
        http_answer_whole(x, 200, NULL, 0, span_of(t->big, BIG));
    } else if (span_eq(path, SPAN("/abort"))) {
        http_answer_start(x, 200, NULL, 0, -1);
        http_answer_write(x, SPAN("half"));
        http_answer_abort(x);
    } else {
        http_answer_whole(x, 200, NULL, 0, http_exchange_body(x));
    }
}

static void on_gone(void *owner, struct http_exchange *x, void *user)
{
    struct test *t = owner;
    t->pending = NULL;
    t->gone++;
}

static void on_drain(void *owner, struct http_exchange *x, void *user) {}

static void on_protocol_error(void *owner, struct http_exchange *x, int status,
                              const struct fail *fail)
{
    ((struct test *)owner)->error_status = status;
    http_answer_whole(x, status, NULL, 0, span_str(fail->message));
}

static int set_up(void **state)
{
    struct test *t = calloc(1, sizeof *t);
    struct fail fail = {0};
    assert_non_null(t);
    signal(SIGPIPE, SIG_IGN);
    struct http_handler handler = {on_head,  on_request,        NULL, on_gone,
                                   on_drain, on_protocol_error, t,    NULL};
    assert_int_equal(uv_loop_init(&t->loop), 0);
    t->listen =
        (struct listen_address){.text = SPAN("127.0.0.1:0"), .host = SPAN("127.0.0.1"), .port = 0};
    t->config = calloc(1, sizeof *t->config);
    assert_non_null(t->config);
    t->config->refs = 1;
    t->config->listen = &t->listen;
    t->config->n_listen = 1;
    t->config->max_body = 2 * BIG;
    t->config->tls_cert = span_str(cert.cert_file);
    t->config->tls_key = span_str(cert.key_file);
    t->server = http_server_create(&t->loop, t->config, &handler, &fail);
    if (!t->server)
        fail_msg("%s", fail.message);
    assert_memory_equal(http_server_url(t->server, 0), "https://127.0.0.1:", 18);
    t->trust = tls_trust_get(cert.cert_file, &fail);
    if (!t->trust)
        fail_msg("%s", fail.message);
    t->sessions = tls_sessions_create();
    assert_non_null(t->sessions);
    t->big = malloc(BIG);
    assert_non_null(t->big);
    memset(t->big, 'x', BIG);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct test *t = *state;
    http_server_destroy(t->server, NULL, NULL);
    uv_run(&t->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&t->loop), 0);
    tls_sessions_destroy(t->sessions);
    tls_trust_release(t->trust);
    config_unref(t->config);
    free(t->big);
    free(t);
    return 0;
}

/* ---- the client ---- */

struct client {
    int fd;
    struct tls_stream *tls; /* NULL: speaks plainly */
    struct buffer in;       /* plain text */
    bool ready, ended, fin;
    enum tls_result last;
};

static struct client dial(struct test *t, bool tls)
{
    struct client c = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    struct fail fail;
    int port = atoi(strrchr(http_server_url(t->server, 0), ':') + 1);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(c.fd, (struct sockaddr *)&to, sizeof to), 0);
    fcntl(c.fd, F_SETFL, O_NONBLOCK);
    buffer_init(&c.in, 1u << 30);
    if (tls) {
        c.tls = tls_client_create(t->trust, t->sessions, "localhost", "localhost", &fail);
        assert_non_null(c.tls);
    }
    return c;
}

static void hang_up(struct client *c)
{
    close(c->fd);
    buffer_free(&c->in);
    if (c->tls)
        tls_stream_destroy(c->tls);
    c->tls = NULL;
}

static void send_output(struct client *c)
{
    struct buffer *out = tls_stream_output(c->tls);
    ssize_t n = out->n ? send(c->fd, out->p, out->n, MSG_NOSIGNAL) : 0;
    if (n > 0)
        buffer_consume(out, (size_t)n);
}

static void decrypt(struct client *c)
{
    if (!c->ready) {
        c->last = tls_stream_handshake(c->tls);
        c->ready = c->last == TLS_OK;
        send_output(c);
    }
    while (c->ready && c->last == TLS_OK) {
        size_t n = 0;
        char *room = buffer_reserve(&c->in, 65536);
        c->last = tls_stream_read(c->tls, room, 65536, &n);
        c->in.n += n;
    }
    if (c->last == TLS_WANT_INPUT)
        c->last = TLS_OK;
    c->ended |= c->last != TLS_OK;
}

static void turn(struct test *t, struct client *c)
{
    char bytes[65536];
    if (c->tls)
        send_output(c);
    uv_run(&t->loop, UV_RUN_NOWAIT);
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (c->fin || poll(&p, 1, 1) <= 0)
        return;
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    c->fin = n <= 0;
    if (!c->tls) {
        c->ended = c->fin;
        if (n > 0)
            buffer_append(&c->in, span_of(bytes, (size_t)n));
        return;
    }
    if (n > 0)
        tls_stream_feed(c->tls, span_of(bytes, (size_t)n));
    else
        tls_stream_feed_eof(c->tls);
    decrypt(c);
}

#define PUMP(t, c, condition)                                                                      \
    do {                                                                                           \
        uint64_t end_ = uv_hrtime() + patience_ns();                                               \
        while (!(condition)) {                                                                     \
            if (uv_hrtime() > end_)                                                                \
                fail_msg("waited in vain for %s; received: %.*s", #condition,                      \
                         SPAN_ARGS(span_first(buffer_span(&(c)->in), 2000)));                      \
            turn(t, c);                                                                            \
        }                                                                                          \
    } while (0)

static struct client connect_tls(struct test *t)
{
    struct client c = dial(t, true);
    assert_int_equal(tls_stream_handshake(c.tls), TLS_WANT_INPUT);
    PUMP(t, &c, c.ready || c.ended);
    if (!c.ready)
        fail_msg("%s", tls_stream_fail(c.tls)->message);
    return c;
}

static void send_text(struct test *t, struct client *c, const char *text)
{
    assert_int_equal(tls_stream_write(c->tls, span_str(text)), TLS_OK);
    turn(t, c);
}

static bool received(struct client *c, const char *end)
{
    return span_ends(buffer_span(&c->in), span_str(end));
}

/* ---- tests ---- */

static void requests_are_answered_over_tls(void **state)
{
    struct test *t = *state;
    struct client c = connect_tls(t);
    for (int i = 0; i < 3; i++) {
        buffer_clear(&c.in);
        send_text(t, &c, "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
        PUMP(t, &c, received(&c, "Content-Length: 5\r\n\r\nhello"));
    }
    send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &c, t->pending);
    http_answer_start(t->pending, 200, NULL, 0, -1);
    assert_int_equal(http_answer_write(t->pending, SPAN("one")), 0);
    PUMP(t, &c, received(&c, "chunked\r\n\r\n3\r\none\r\n")); /* a piece is not held back */
    http_answer_write(t->pending, SPAN("two"));
    PUMP(t, &c, received(&c, "3\r\none\r\n3\r\ntwo\r\n"));
    http_answer_end(t->pending, SPAN(""));
    PUMP(t, &c, received(&c, "0\r\n\r\n"));
    hang_up(&c);
}

static void large_bodies_pass_both_ways(void **state)
{
    struct test *t = *state;
    struct client c = connect_tls(t);
    char head[100];
    snprintf(head, sizeof head, "POST /a HTTP/1.1\r\nContent-Length: %d\r\n\r\n", BIG);
    send_text(t, &c, head);
    assert_int_equal(tls_stream_write(c.tls, span_of(t->big, BIG)), TLS_OK);
    PUMP(t, &c, c.in.n > BIG && received(&c, "xxxx"));
    assert_memory_equal(c.in.p + c.in.n - BIG, t->big, BIG);
    size_t n = c.in.n;
    for (int i = 0; i < 3; i++)
        send_text(t, &c, "GET /big HTTP/1.1\r\n\r\n");
    PUMP(t, &c, c.in.n == 4 * n);
    hang_up(&c);
}

static void the_last_answer_ends_with_close_notify(void **state)
{
    struct test *t = *state;
    struct client c = connect_tls(t);
    send_text(t, &c, "GET /big HTTP/1.1\r\nConnection: close\r\n\r\n");
    PUMP(t, &c, c.ended);
    assert_int_equal(c.last, TLS_CLOSED);
    assert_true(c.in.n > BIG);
    hang_up(&c);
}

static void a_cut_answer_ends_without_close_notify(void **state)
{
    struct test *t = *state;
    struct client c = connect_tls(t);
    send_text(t, &c, "GET /abort HTTP/1.1\r\n\r\n");
    PUMP(t, &c, c.ended);
    assert_int_equal(c.last, TLS_FAILED);
    assert_true(received(&c, "4\r\nhalf\r\n"));
    hang_up(&c);
}

static void gone_is_told_after_close_notify_and_fin(void **state)
{
    struct test *t = *state;
    for (int i = 0; i < 2; i++) {
        struct client c = connect_tls(t);
        send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
        PUMP(t, &c, t->pending);
        if (i) {
            tls_stream_close(c.tls);
            send_output(&c);
        } else {
            shutdown(c.fd, SHUT_RDWR);
        }
        PUMP(t, &c, t->gone == i + 1);
        hang_up(&c);
    }
}

static void plain_http_is_told_to_use_https(void **state)
{
    struct test *t = *state;
    struct client c = dial(t, false);
    const char *text = "GET / HTTP/1.1\r\n\r\n";
    assert_true(send(c.fd, text, strlen(text), 0) > 0);
    PUMP(t, &c, c.ended);
    assert_int_equal(t->error_status, 400);
    assert_true(received(&c, "use https:// in the base URL"));
    hang_up(&c);
}

/* A segment may begin anywhere in a handshake, so with a letter as well. */
static void a_letter_inside_a_handshake_is_not_plain_http(void **state)
{
    struct test *t = *state;
    struct client c = dial(t, false);
    assert_int_equal(send(c.fd, "\x16\x03\x01\x00\x08", 5, 0), 5);
    for (int i = 0; i < 5; i++)
        uv_run(&t->loop, UV_RUN_NOWAIT);
    assert_int_equal(send(c.fd, "NONSENSE", 8, 0), 8);
    PUMP(t, &c, c.ended);
    assert_int_equal(t->error_status, 0);
    hang_up(&c);
}

static void a_broken_handshake_ends_the_connection(void **state)
{
    struct test *t = *state;
    struct client c = dial(t, false);
    assert_true(send(c.fd, "\x16\x03\x01\x00\x05nonsense", 13, 0) > 0);
    PUMP(t, &c, c.ended);
    assert_int_equal(http_server_connections(t->server), 0);
    hang_up(&c);
    t->server->clocks.handshake_ms = 20; /* and so does one that never comes */
    c = dial(t, false);
    PUMP(t, &c, c.ended);
    hang_up(&c);
}

/* The connection that came last: is its handshake on the thread? */
static bool is_computing(const struct test *t)
{
    const struct http_connection *c = t->server->connections;
    return c && c->tls && http_tls_is_working(c->tls);
}

static void full_handshakes_are_computed_beside_the_loop(void **state)
{
    struct test *t = *state;
    for (int resumed = 0; resumed < 2; resumed++) {
        int computed = 0;
        struct client c = dial(t, true);
        assert_int_equal(tls_stream_handshake(c.tls), TLS_WANT_INPUT);
        PUMP(t, &c, (computed += is_computing(t), c.ready));
        assert_int_equal(tls_stream_was_resumed(c.tls), resumed);
        assert_int_equal(computed > 0, !resumed);
        send_text(t, &c, "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
        PUMP(t, &c, received(&c, "Content-Length: 5\r\n\r\nhello"));
        hang_up(&c);
    }
}

static void connections_may_end_while_their_handshakes_are_computed(void **state)
{
    struct test *t = *state;
    enum { N = 8 };
    struct client c[N];
    for (int i = 0; i < N; i++) {
        c[i] = dial(t, true);
        assert_int_equal(tls_stream_handshake(c[i].tls), TLS_WANT_INPUT);
        PUMP(t, &c[i], is_computing(t));
    }
    while (http_server_connections(t->server) > N / 2)
        http_connection_close(t->server->connections);
    PUMP(t, &c[0], c[0].ready); /* the others go on, and the rest ends with the server */
    for (int i = 0; i < N; i++)
        hang_up(&c[i]);
}

static void clients_that_leave_after_their_hello_are_forgotten(void **state)
{
    struct test *t = *state;
    enum { N = 8 };
    for (int i = 0; i < N; i++) {
        struct client c = dial(t, true);
        const struct linger reset = {.l_onoff = 1};
        assert_int_equal(tls_stream_handshake(c.tls), TLS_WANT_INPUT);
        PUMP(t, &c, is_computing(t));
        if (i % 2)
            setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        hang_up(&c);
    }
    struct client last = connect_tls(t);
    PUMP(t, &last, http_server_connections(t->server) == 1);
    hang_up(&last);
}

static void a_missing_certificate_is_said(void **state)
{
    struct test *t = *state;
    struct http_handler handler = {on_head,  on_request,        NULL, on_gone,
                                   on_drain, on_protocol_error, t,    NULL};
    struct fail fail = {0};
    struct config wrong = *t->config;
    wrong.tls_cert = SPAN("/nonexistent.pem");
    assert_null(http_server_create(&t->loop, &wrong, &handler, &fail));
    assert_true(fail.message[0]);
    assert_int_equal(http_server_reload(t->server, &wrong, &fail), -1);
    struct client c = connect_tls(t); /* the old state holds */
    hang_up(&c);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(requests_are_answered_over_tls),
        WITH_SERVER(large_bodies_pass_both_ways),
        WITH_SERVER(the_last_answer_ends_with_close_notify),
        WITH_SERVER(a_cut_answer_ends_without_close_notify),
        WITH_SERVER(gone_is_told_after_close_notify_and_fin),
        WITH_SERVER(plain_http_is_told_to_use_https),
        WITH_SERVER(a_letter_inside_a_handshake_is_not_plain_http),
        WITH_SERVER(a_broken_handshake_ends_the_connection),
        WITH_SERVER(full_handshakes_are_computed_beside_the_loop),
        WITH_SERVER(connections_may_end_while_their_handshakes_are_computed),
        WITH_SERVER(clients_that_leave_after_their_hello_are_forgotten),
        WITH_SERVER(a_missing_certificate_is_said),
    };
    return cmocka_run_group_tests(tests, make_certificate, remove_certificate);
}
