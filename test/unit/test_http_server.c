/*
 * test_http_server.c - the server over real sockets on 127.0.0.1, with the client in the same
 * thread.
 *
 * `pump` runs the loop and reads the clients' sockets in turn until a condition holds or 10 s are
 * over, so that nothing waits for a time to pass. What a request's path asks for is answered by the
 * handler below.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/error_response.h"
#include "gateway/http_server_internal.h"
#include "test/unit/support/patience.h"

enum { PENDING_MAX = 256, BIG = 3 * 1024 * 1024 };

/* ---- the server under test and its handler ---- */

struct test {
    uv_loop_t loop;
    struct config *config;
    struct listen_address listen[2];
    struct http_server *server;
    struct http_exchange *pending[PENDING_MAX]; /* of "/later", not answered yet */
    size_t n_pending;
    int heads, requests, gone, drains, left;
    int error_status; /* of the last on_protocol_error */
    bool closed;
    char *big;
    /* of "/stream…": what came of the body */
    struct buffer body;
    struct http_exchange *streaming;
    int pieces, lasts;
    size_t pause_at; /* bytes; 0 = never */
};

static void answer_text(struct http_exchange *x, int status, struct span body)
{
    const struct header headers[] = {{SPAN_INIT("X-Test"), SPAN_INIT("yes")}};
    http_answer_whole(x, status, headers, 1, body);
}

static int on_head(void *owner, struct http_exchange *x)
{
    struct test *t = owner;
    t->heads++;
    if (span_starts(http_exchange_path(x), SPAN("/stream")))
        http_exchange_stream_body(x);
    if (!span_eq(http_exchange_path(x), SPAN("/refuse")))
        return 0;
    answer_text(x, 401, SPAN("no"));
    return -1;
}

static void echo(struct http_exchange *x)
{
    char text[1024];
    struct span body = http_exchange_body(x);
    for (int i = 0; i < JSON_PADDING; i++)
        (void)*(volatile char *)(body.p + body.n + i);
    int n = snprintf(text, sizeof text, "%.*s %.*s %zu:%.*s", SPAN_ARGS(http_exchange_method(x)),
                     SPAN_ARGS(http_exchange_path(x)), body.n, SPAN_ARGS(span_first(body, 100)));
    answer_text(x, 200, span_of(text, (size_t)n));
}

static void on_request(void *owner, struct http_exchange *x)
{
    struct test *t = owner;
    struct span path = http_exchange_path(x);
    t->requests++;
    if (span_eq(path, SPAN("/stream/no"))) {
        answer_text(x, 403, SPAN("no"));
    } else if (span_starts(path, SPAN("/stream"))) {
        t->streaming = x;
        http_exchange_set_user(x, t);
        if (span_eq(path, SPAN("/stream/early"))) {
            http_answer_start(x, 200, NULL, 0, -1);
            http_answer_write(x, SPAN("early"));
        }
        if (http_exchange_body_left(x) == 0)
            answer_text(x, 200, SPAN("empty"));
    } else if (span_eq(path, SPAN("/later"))) {
        assert_true(t->n_pending < PENDING_MAX);
        t->pending[t->n_pending++] = x;
        http_exchange_set_user(x, t);
    } else if (span_eq(path, SPAN("/chunks"))) {
        http_answer_start(x, 200, NULL, 0, -1);
        http_answer_write(x, SPAN("one"));
        http_answer_write(x, SPAN(""));
        http_answer_write(x, SPAN("0123456789abcdef"));
        http_answer_end(x, SPAN("end"));
    } else if (span_eq(path, SPAN("/length"))) {
        http_answer_start(x, 200, NULL, 0, 6);
        http_answer_write(x, SPAN("abc"));
        bool head = span_eq(http_exchange_method(x), SPAN("HEAD"));
        assert_int_equal(http_exchange_bytes_out(x), head ? 0 : 3);
        http_answer_end(x, SPAN("def"));
    } else if (span_eq(path, SPAN("/nothing"))) {
        http_answer_whole(x, 204, NULL, 0, SPAN(""));
    } else if (span_eq(path, SPAN("/abort"))) {
        http_answer_start(x, 200, NULL, 0, -1);
        http_answer_write(x, SPAN("half"));
        http_answer_abort(x);
    } else if (span_eq(path, SPAN("/split"))) {
        const struct header evil[] = {{SPAN_INIT("A"), SPAN_INIT("b\r\nEvil: c")}};
        http_answer_whole(x, 200, evil, 1, SPAN(""));
    } else if (span_eq(path, SPAN("/big"))) {
        http_answer_whole(x, 200, NULL, 0, span_of(t->big, BIG));
    } else {
        echo(x);
    }
}

static void forget(struct test *t, struct http_exchange *x)
{
    for (size_t i = 0; i < t->n_pending; i++) {
        if (t->pending[i] == x)
            t->pending[i] = t->pending[--t->n_pending];
    }
}

static void on_gone(void *owner, struct http_exchange *x, void *user)
{
    struct test *t = owner;
    assert_ptr_equal(user, t);
    assert_true(span_eq(http_exchange_path(x), SPAN("/later")) || x == t->streaming);
    forget(t, x);
    t->gone++;
}

static void on_body(void *owner, struct http_exchange *x, void *user, struct span piece, bool last)
{
    struct test *t = owner;
    assert_ptr_equal(user, t);
    assert_ptr_equal(x, t->streaming);
    t->pieces++;
    t->lasts += last;
    buffer_append(&t->body, piece);
    if (t->pause_at && t->body.n >= t->pause_at)
        http_exchange_pause_body(x);
    if (last)
        assert_int_equal(http_exchange_body_left(x), 0);
    if (last && span_eq(http_exchange_path(x), SPAN("/stream/early"))) {
        http_answer_end(x, SPAN(" and late"));
    } else if (last || span_ends(buffer_span(&t->body), SPAN("STOP"))) {
        char text[64];
        int n = snprintf(text, sizeof text, "%zu in %d", t->body.n, t->pieces);
        answer_text(x, 200, span_of(text, (size_t)n));
    }
}

static void on_drain(void *owner, struct http_exchange *x, void *user)
{
    ((struct test *)owner)->drains++;
}

static void on_protocol_error(void *owner, struct http_exchange *x, int status,
                              const struct fail *fail)
{
    struct test *t = owner;
    struct buffer body;
    struct header headers[] = {{SPAN_INIT("Content-Type"), SPAN_INIT("application/json")},
                               {SPAN_INIT("Retry-After"), SPAN_INIT("1")}};
    assert_true(fail->message[0]);
    (void)http_exchange_path(x);
    (void)http_exchange_header(x, "origin");
    t->error_status = status;
    buffer_init(&body, 4096);
    buffer_append(&body, SPAN("{}"));
    http_answer_whole(x, status, headers, fail->retry_after_s ? 2 : 1, buffer_span(&body));
    buffer_free(&body);
}

static void on_left(void *owner) { ((struct test *)owner)->left++; }

static const struct http_handler handler = {
    on_head, on_request, on_body, on_gone, on_drain, on_protocol_error, NULL, on_left,
};

static void on_server_closed(void *arg) { ((struct test *)arg)->closed = true; }

static struct config *make_config(const struct listen_address *listen, size_t n)
{
    struct config *config = calloc(1, sizeof *config);
    assert_non_null(config);
    config->refs = 1;
    config->listen = listen;
    config->n_listen = n;
    config->max_body = 100000;
    config->max_connections = 1000;
    return config;
}

static struct listen_address tcp_address(const char *text, const char *host)
{
    return (struct listen_address){.text = span_str(text), .host = span_str(host)};
}

static void start(struct test *t)
{
    struct http_handler h = handler;
    struct fail fail = {0};
    h.owner = t;
    t->server = http_server_create(&t->loop, t->config, &h, &fail);
    if (!t->server)
        fail_msg("%s", fail.message);
}

static int set_up_idle(void **state)
{
    struct test *t = calloc(1, sizeof *t);
    assert_non_null(t);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(uv_loop_init(&t->loop), 0);
    buffer_init(&t->body, 1 << 30);
    t->listen[0] = tcp_address("127.0.0.1:0", "127.0.0.1");
    t->config = make_config(t->listen, 1);
    t->big = malloc(BIG);
    assert_non_null(t->big);
    for (size_t i = 0; i < BIG; i++)
        t->big[i] = (char)('a' + i % 26);
    *state = t;
    return 0;
}

static int set_up(void **state)
{
    set_up_idle(state);
    start(*state);
    return 0;
}

/* Everything must be given back: handles (or uv_loop_close fails), references, memory
 * (LeakSanitizer). */
static int tear_down(void **state)
{
    struct test *t = *state;
    if (t->server)
        http_server_destroy(t->server, on_server_closed, t);
    uv_run(&t->loop, UV_RUN_DEFAULT);
    if (t->server)
        assert_true(t->closed);
    assert_int_equal(t->n_pending, 0);
    assert_int_equal(uv_loop_close(&t->loop), 0);
    assert_int_equal(t->config->refs, 1);
    config_unref(t->config);
    free(t->big);
    buffer_free(&t->body);
    free(t);
    return 0;
}

/* ---- clients ---- */

struct client {
    int fd;
    struct buffer in; /* received, Date lines included */
    bool ended, reset, paused;
};

static int port_of(struct test *t, size_t i)
{
    return atoi(strrchr(http_server_url(t->server, i), ':') + 1);
}

static int dial(struct test *t, int receive_buffer)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port_of(t, 0)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    assert_true(fd >= 0);
    if (receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static struct client adopt(int fd)
{
    struct client c = {.fd = fd};
    buffer_init(&c.in, 1u << 30);
    return c;
}

static struct client connect_to(struct test *t) { return adopt(dial(t, 0)); }

static void hang_up(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    buffer_free(&c->in);
    c->fd = -1;
}

/* One round: the loop, then what has arrived at the client. */
static void turn(struct test *t, struct client *c)
{
    uv_run(&t->loop, UV_RUN_NOWAIT);
    if (!c || c->ended || c->paused)
        return;
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, 1) <= 0)
        return;
    char *room = buffer_reserve(&c->in, 256 * 1024);
    ssize_t n = recv(c->fd, room, 256 * 1024, 0);
    if (n > 0) {
        c->in.n += (size_t)n;
    } else if (n == 0 || errno != EAGAIN) {
        c->ended = true;
        c->reset = n < 0;
    }
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

/* Sends all, letting the server read meanwhile. */
static void send_span(struct test *t, struct client *c, struct span text)
{
    while (text.n) {
        ssize_t n = send(c->fd, text.p, text.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return; /* the server has closed: the test looks at the answer */
        text = span_from(text, n > 0 ? (size_t)n : 0);
        turn(t, c);
    }
}

static void send_text(struct test *t, struct client *c, const char *text)
{
    send_span(t, c, span_str(text));
}

static void drop_dates(struct buffer *in)
{
    for (;;) {
        ptrdiff_t at = span_find(buffer_span(in), SPAN("Date: "));
        ptrdiff_t end = at < 0 ? -1 : span_find_char(span_from(buffer_span(in), (size_t)at), '\n');
        if (end < 0 || !in->p)
            return;
        assert_int_equal(end, 36); /* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" */
        memmove(in->p + at, in->p + at + end + 1, in->n - (size_t)(at + end) - 1);
        in->n -= (size_t)end + 1;
    }
}

/* The next bytes from the server are exactly these (Date lines left out). */
static void expect(struct test *t, struct client *c, const char *text)
{
    size_t n = strlen(text);
    PUMP(t, c, c->ended || (drop_dates(&c->in), c->in.n >= n));
    drop_dates(&c->in);
    if (!c->in.p || !span_starts(buffer_span(&c->in), span_str(text)))
        fail_msg("expected %s\ngot %.*s", text, SPAN_ARGS(span_first(buffer_span(&c->in), 2000)));
    buffer_consume(&c->in, n);
}

/* Then nothing more but FIN. */
static void expect_end(struct test *t, struct client *c)
{
    PUMP(t, c, c->ended);
    assert_false(c->reset);
    assert_int_equal(c->in.n, 0);
    hang_up(c);
}

/* A request still gets its answer on this connection. */
static void expect_alive(struct test *t, struct client *c)
{
    send_text(t, c, "GET /alive HTTP/1.1\r\n\r\n");
    expect(t, c, "HTTP/1.1 200 OK\r\nX-Test: yes\r\nContent-Length: 13\r\n\r\nGET /alive 0:");
}

/* One request on a new connection, its whole answer, and whether the connection stays. */
static void exchange(struct test *t, const char *request, const char *answer, bool stays)
{
    struct client c = connect_to(t);
    send_text(t, &c, request);
    expect(t, &c, answer);
    if (stays) {
        expect_alive(t, &c);
        hang_up(&c);
    } else {
        expect_end(t, &c);
    }
}

static void refused_with(struct test *t, struct span request, int status)
{
    struct client c = connect_to(t);
    char line[64];
    t->error_status = 0;
    send_span(t, &c, request);
    snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\n", status, http_reason(status));
    expect(t, &c, line);
    expect(t, &c,
           "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    expect_end(t, &c);
    assert_int_equal(t->error_status, status);
}

static void answer_pending(struct test *t, struct span body)
{
    assert_true(t->n_pending > 0);
    struct http_exchange *x = t->pending[0];
    t->n_pending--;
    memmove(t->pending, t->pending + 1, t->n_pending * sizeof x);
    answer_text(x, 200, body);
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nX-Test: yes\r\n"

/* ---- framing ---- */

static void requests_are_answered(void **state)
{
    struct test *t = *state;
    exchange(t, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
             OK_HEAD "Content-Length: 9\r\n\r\nGET /a 0:", true);
    exchange(t, "POST //a/?q HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
             OK_HEAD "Content-Length: 15\r\n\r\nPOST /a 5:hello", true);
    exchange(
        t, "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        OK_HEAD "Content-Length: 15\r\n\r\nPOST /a 5:hello", true);
    exchange(t, "GET http://h/a HTTP/1.1\r\n\r\n",
             OK_HEAD "Content-Length: 9\r\n\r\nGET /a 0:", true);
    exchange(t, "GET /../%zz%00 HTTP/1.1\r\n\r\n",
             OK_HEAD "Content-Length: 17\r\n\r\nGET /../%zz%00 0:", true);
    exchange(t, "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n",
             OK_HEAD "Content-Length: 9\r\nConnection: close\r\n\r\nGET /a 0:", false);
}

static void pieces_become_chunks(void **state)
{
    exchange(*state, "GET /chunks HTTP/1.1\r\n\r\n",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
             "10\r\n0123456789abcdef\r\n3\r\nend\r\n0\r\n\r\n",
             true);
    exchange(*state, "GET /length HTTP/1.1\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef", true);
}

static void http10_gets_no_chunks(void **state)
{
    struct test *t = *state;
    exchange(t, "GET /chunks HTTP/1.0\r\n\r\n",
             "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none0123456789abcdefend", false);
    exchange(t, "GET /chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
             "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none0123456789abcdefend", false);
    exchange(t, "GET /length HTTP/1.0\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabcdef", false);
    exchange(t, "GET /length HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\nabcdef", true);
}

static void head_has_headers_but_no_body(void **state)
{
    struct test *t = *state;
    exchange(t, "HEAD /a HTTP/1.1\r\n\r\n", OK_HEAD "Content-Length: 10\r\n\r\n", true);
    exchange(t, "HEAD /chunks HTTP/1.1\r\n\r\n",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true);
    exchange(t, "HEAD /length HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
             true);
    exchange(t, "GET /nothing HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", true);
}

static void header_values_cannot_split_the_answer(void **state)
{
    exchange(*state, "GET /split HTTP/1.1\r\n\r\n",
             "HTTP/1.1 200 OK\r\nA: b  Evil: c\r\nContent-Length: 0\r\n\r\n", true);
}

static void a_flushed_head_leaves_alone(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &c, t->n_pending == 1);
    struct http_exchange *x = t->pending[0];
    http_answer_start(x, 200, NULL, 0, -1);
    turn(t, &c);
    assert_int_equal(c.in.n, 0); /* not before the first piece */
    assert_int_equal(http_answer_write(x, SPAN("")), 0);
    expect(t, &c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    http_answer_write(x, SPAN("a"));
    expect(t, &c, "1\r\na\r\n");
    assert_int_equal(http_server_unfinished(t->server), 1);
    http_answer_end(x, SPAN(""));
    t->n_pending = 0;
    expect(t, &c, "0\r\n\r\n");
    assert_int_equal(http_server_unfinished(t->server), 0);
    expect_alive(t, &c);
    hang_up(&c);
}

static void bytes_may_come_singly(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    const char *text =
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        "POST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
    for (const char *p = text; *p; p++)
        send_span(t, &c, span_of(p, 1));
    expect(t, &c, OK_HEAD "Content-Length: 15\r\n\r\nPOST /a 5:hello");
    expect(t, &c, OK_HEAD "Content-Length: 12\r\n\r\nPOST /b 2:hi");
    hang_up(&c);
}

static void many_headers_and_a_long_cookie_are_served(void **state)
{
    struct test *t = *state;
    struct buffer text;
    buffer_init(&text, 1 << 20);
    buffer_append(&text, SPAN("GET /a HTTP/1.1\r\n"));
    for (int i = 0; i < 80; i++)
        buffer_printf(&text, "x-stainless-%d: %d\r\n", i, i);
    buffer_printf(&text, "Cookie: %08000d\r\n\r\n", 1);
    buffer_char(&text, '\0');
    exchange(t, text.p, OK_HEAD "Content-Length: 9\r\n\r\nGET /a 0:", true);
    buffer_free(&text);
}

/* ---- pipelining ---- */

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    struct buffer text;
    buffer_init(&text, 1 << 20);
    for (int i = 0; i < 24; i++)
        buffer_printf(&text,
                      i % 3 ? "GET /p%02d HTTP/1.1\r\n\r\n"
                            : "POST /p%02d HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy",
                      i);
    send_span(t, &c, buffer_span(&text));
    buffer_free(&text);
    for (int i = 0; i < 24; i++) {
        char answer[200], body[64];
        int n = snprintf(body, sizeof body, i % 3 ? "GET /p%02d 0:" : "POST /p%02d 2:xy", i);
        snprintf(answer, sizeof answer, OK_HEAD "Content-Length: %d\r\n\r\n%s", n, body);
        expect(t, &c, answer);
    }
    expect_alive(t, &c);
    hang_up(&c);
}

static void pipelined_requests_wait_for_late_answers(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    for (int i = 0; i < 24; i++)
        send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
    send_text(t, &c, "GET /a HTTP/1.1\r\n\r\n");
    for (int i = 0; i < 24; i++) {
        char body[32], answer[200];
        PUMP(t, &c, t->n_pending == 1); /* one at a time */
        assert_int_equal(t->requests, i + 1);
        snprintf(body, sizeof body, "answer %02d", i);
        answer_pending(t, span_str(body));
        snprintf(answer, sizeof answer, OK_HEAD "Content-Length: 9\r\n\r\n%s", body);
        expect(t, &c, answer);
    }
    expect(t, &c, OK_HEAD "Content-Length: 9\r\n\r\nGET /a 0:");
    hang_up(&c);
}

static void reading_pauses_when_too_much_is_pipelined(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    size_t sent = 0;
    send_text(t, &c, "POST /later HTTP/1.1\r\n\r\n");
    PUMP(t, &c, t->n_pending == 1);
    /* The server must stop taking bytes at some time; then the kernel's buffers fill, and send()
     * says so. */
    struct span part =
        SPAN("GET /a HTTP/1.1\r\nX: 0123456789012345678901234567890123456789\r\n\r\n");
    for (int refusals = 0; refusals < 50;) {
        ssize_t n = send(c.fd, part.p + sent % part.n, part.n - sent % part.n, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        else
            refusals++;
        if (n <= 0 || sent % (1024 * part.n) == 0)
            turn(t, &c);
        assert_true(sent < 64 * 1024 * 1024);
    }
    assert_true(t->server->connections->intake->ahead.n < 2 * HTTP_AHEAD_MAX);
    answer_pending(t, SPAN("x"));
    size_t whole = sent / part.n;
    PUMP(t, &c, (buffer_clear(&c.in), t->requests >= 1 + (int)whole));
    hang_up(&c);
}

static void what_is_wrong_after_a_good_request_is_refused(void **state)
{
    exchange(*state, "GET /a HTTP/1.1\r\n\r\n\x01",
             OK_HEAD "Content-Length: 9\r\n\r\nGET /a 0:"
                     "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
                     "Content-Length: 2\r\nConnection: close\r\n\r\n{}",
             false);
}

/* ---- Expect, refusals, limits ---- */

static void expect_is_answered_after_on_head(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    send_text(t, &c, "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect(t, &c, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(t->heads, 1);
    send_text(t, &c, "hi");
    expect(t, &c, OK_HEAD "Content-Length: 12\r\n\r\nPOST /a 2:hi");
    expect_alive(t, &c);
    hang_up(&c);
    exchange(t, "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
             OK_HEAD "Content-Length: 12\r\n\r\nPOST /a 2:hi", true);
    exchange(t, "GET /a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
             OK_HEAD "Content-Length: 9\r\n\r\nGET /a 0:", true);
}

static void expect_is_refused_with_the_final_status(void **state)
{
    struct test *t = *state;
    exchange(t, "POST /refuse HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
             "HTTP/1.1 401 Unauthorized\r\nX-Test: yes\r\nContent-Length: 2\r\n"
             "Connection: close\r\n\r\nno",
             false);
    refused_with(
        t, SPAN("POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 100001\r\n\r\n"), 413);
}

static void a_refused_body_is_discarded_and_the_connection_stays(void **state)
{
    static const char answer[] =
        "HTTP/1.1 401 Unauthorized\r\nX-Test: yes\r\nContent-Length: 2\r\n\r\nno";
    struct test *t = *state;
    exchange(t, "POST /refuse HTTP/1.1\r\nContent-Length: 21\r\n\r\n\x01 no request at all\r\n",
             answer, true);
    exchange(t, "POST /refuse HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
             answer, true);
    exchange(t, "GET /refuse HTTP/1.1\r\n\r\n", answer, true);
    /* The answer does not wait for the body. */
    struct client c = connect_to(t);
    send_text(t, &c, "POST /refuse HTTP/1.1\r\nContent-Length: 4\r\n\r\nab");
    expect(t, &c, answer);
    send_text(t, &c, "cd");
    expect_alive(t, &c);
    hang_up(&c);
}

static void large_bodies_are_refused_early(void **state)
{
    struct test *t = *state;
    refused_with(t, SPAN("POST /a HTTP/1.1\r\nContent-Length: 100001\r\n\r\n"), 413);
    refused_with(t, SPAN("POST /a HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
                 413);
    refused_with(t, SPAN("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n186A1\r\n"), 413);
    assert_int_equal(t->requests, 0);
}

/* Who sends a body that is too large without looking still reads the answer: no RST comes before
 * it. */
static void an_unread_body_does_not_cost_the_answer(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    char head[100];
    snprintf(head, sizeof head, "POST /a HTTP/1.1\r\nContent-Length: %d\r\n\r\n", BIG);
    send_text(t, &c, head);
    for (size_t at = 0; at < BIG; at += 65536)
        send_span(t, &c, span_first(span_of(t->big + at, BIG - at), 65536));
    expect(t, &c,
           "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\n"
           "Content-Length: 2\r\nConnection: close\r\n\r\n{}");
    expect_end(t, &c);
    assert_int_equal(t->requests, 0);
}

static void bodies_up_to_the_limit_are_served(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    char answer[300];
    t->config->max_body = BIG;
    snprintf(answer, sizeof answer, "POST /a HTTP/1.1\r\nContent-Length: %d\r\n\r\n", BIG);
    send_text(t, &c, answer);
    send_span(t, &c, span_of(t->big, BIG));
    snprintf(answer, sizeof answer, OK_HEAD "Content-Length: 116\r\n\r\nPOST /a %d:%.100s", BIG,
             t->big);
    expect(t, &c, answer);
    assert_null(t->server->connections->intake); /* given back */
    hang_up(&c);
}

/* ---- streamed bodies ---- */

static void expect_streamed(struct test *t, const char *body)
{
    assert_int_equal(t->lasts, 1);
    assert_int_equal(t->body.n, strlen(body));
    assert_memory_equal(t->body.p, body, t->body.n);
    buffer_clear(&t->body);
    t->pieces = t->lasts = 0;
}

static void streamed_bodies_come_in_pieces(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    send_text(t, &c, "POST /stream HTTP/1.1\r\nContent-Length: 10\r\n\r\nhello");
    PUMP(t, &c, t->pieces == 1);
    assert_int_equal(http_exchange_body_left(t->streaming), 5);
    send_text(t, &c, "w");
    PUMP(t, &c, t->pieces == 2);
    send_text(t, &c, "orld");
    expect(t, &c, OK_HEAD "Content-Length: 7\r\n\r\n10 in 3");
    expect_streamed(t, "helloworld");
    send_text(t, &c, "PUT /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n");
    PUMP(t, &c, t->pieces == 1);
    assert_true(http_exchange_body_left(t->streaming) == UINT64_MAX);
    send_text(t, &c, "3\r\nllo\r\n0\r\nA: b\r\n\r\nGET /stream HTTP/1.1\r\n\r\n");
    expect(t, &c, OK_HEAD "Content-Length: 6\r\n\r\n5 in 3");
    expect_streamed(t, "hello");
    expect(t, &c, OK_HEAD "Content-Length: 5\r\n\r\nempty");
    expect_alive(t, &c);
    hang_up(&c);
}

static void streamed_bodies_may_be_split_anywhere(void **state)
{
    static const char chunked[] = "POST /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "5\r\nhello\r\n6;e\r\n world\r\n0\r\nT: x\r\n\r\n";
    static const char plain[] = "POST /stream HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world";
    struct test *t = *state;
    for (int form = 0; form < 2; form++) {
        struct span text = span_str(form ? chunked : plain);
        struct client c = connect_to(t);
        for (size_t cut = 1; cut < text.n; cut++) {
            send_span(t, &c, span_first(text, cut));
            send_span(t, &c, span_from(text, cut));
            PUMP(t, &c, t->lasts == 1 && span_find(buffer_span(&c.in), SPAN("\r\n\r\n11 in ")) > 0);
            expect_streamed(t, "hello world");
            turn(t, &c);
            buffer_clear(&c.in);
        }
        hang_up(&c);
    }
}

static void streamed_bodies_have_no_limit(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    send_text(t, &c, "POST /stream HTTP/1.1\r\nContent-Length: 3145728\r\n\r\n");
    send_span(t, &c, span_of(t->big, BIG));
    PUMP(t, &c, t->lasts == 1);
    assert_int_equal(t->body.n, BIG);
    assert_memory_equal(t->body.p, t->big, BIG);
    PUMP(t, &c, c.in.n > 0);
    hang_up(&c);
}

static void a_paused_body_waits_with_the_client(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    t->pause_at = 1;
    send_text(t, &c, "POST /stream HTTP/1.1\r\nContent-Length: 3145728\r\n\r\n");
    size_t sent = 0, same = 0;
    while (sent < BIG && same < 200) { /* until nobody takes any more */
        ssize_t n = send(c.fd, t->big + sent, BIG - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        same = n > 0 ? 0 : same + 1;
        turn(t, &c);
    }
    assert_int_equal(t->pieces, 1);
    assert_true(t->body.n <= HTTP_READ_SIZE);
    assert_true(t->server->connections->intake->ahead.n <= HTTP_AHEAD_MAX + HTTP_READ_SIZE);
    assert_true(sent < BIG || t->server->connections->intake->ahead.n < BIG / 2);
    t->pause_at = 0;
    http_exchange_resume_body(t->streaming);
    assert_int_equal(t->pieces, 1); /* not inside the call */
    send_span(t, &c, span_of(t->big + sent, BIG - sent));
    PUMP(t, &c, t->lasts == 1);
    assert_memory_equal(t->body.p, t->big, BIG);
    hang_up(&c);
}

static void streamed_bodies_that_wait_are_asked_for(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    send_text(t, &c, "POST /stream HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect(t, &c, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(t->requests, 1);
    send_text(t, &c, "hi");
    expect(t, &c, OK_HEAD "Content-Length: 6\r\n\r\n2 in 1");
    expect_streamed(t, "hi");
    send_text(t, &c,
              "POST /stream/no HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect(t, &c, "HTTP/1.1 403 Forbidden\r\n"); /* and no 100 before it */
    hang_up(&c);
}

static void an_answer_may_come_before_the_body_is_whole(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    send_text(t, &c, "POST /stream HTTP/1.1\r\nContent-Length: 20\r\n\r\n1234STOP");
    expect(t, &c, OK_HEAD "Content-Length: 6\r\n\r\n8 in 1");
    send_text(t, &c, "the rest is");
    send_text(t, &c, "."); /* thrown away */
    expect_alive(t, &c);
    assert_int_equal(t->pieces, 1);
    hang_up(&c);
    /* so much to come that it is not worth reading */
    buffer_clear(&t->body);
    c = connect_to(t);
    send_text(t, &c, "POST /stream HTTP/1.1\r\nContent-Length: 200000000\r\n\r\nSTOP");
    expect(t, &c, OK_HEAD "Content-Length: 6\r\nConnection: close\r\n\r\n4 in 2");
    expect_end(t, &c);
    /* both at once */
    buffer_clear(&t->body);
    c = connect_to(t);
    send_text(t, &c, "POST /stream/early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect(t, &c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n");
    send_text(t, &c, "1\r\nx\r\n0\r\n\r\n");
    expect(t, &c, "9\r\n and late\r\n0\r\n\r\n");
    expect_alive(t, &c);
    hang_up(&c);
}

static void a_streamed_body_that_breaks_off_ends_the_request(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    send_text(t, &c, "POST /stream HTTP/1.1\r\nContent-Length: 20\r\n\r\n1234");
    PUMP(t, &c, t->pieces == 1);
    hang_up(&c);
    PUMP(t, &c, t->gone == 1);
    /* not chunked at all */
    c = connect_to(t);
    send_text(t, &c, "POST /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nzz");
    expect(t, &c, "HTTP/1.1 400 Bad Request\r\n");
    assert_int_equal(t->gone, 2);
    PUMP(t, &c, c.ended);
    hang_up(&c);
    /* the same when the answer has begun: it is cut */
    c = connect_to(t);
    send_text(t, &c, "POST /stream/early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz");
    expect(t, &c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n");
    expect_end(t, &c);
    assert_int_equal(t->gone, 3);
}

static void a_streamed_body_that_falls_silent_is_given_up(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    t->server->clocks.body_ms = 60;
    t->pause_at = 4;
    send_text(t, &c, "POST /stream HTTP/1.1\r\nContent-Length: 20\r\n\r\n1234");
    PUMP(t, &c, t->pieces == 1);
    uint64_t until = uv_hrtime() + 200000000;
    PUMP(t, &c, uv_hrtime() > until); /* paused: it is we who wait */
    assert_int_equal(t->gone, 0);
    t->pause_at = 0;
    http_exchange_resume_body(t->streaming);
    expect(t, &c, "HTTP/1.1 400 Bad Request\r\n");
    assert_int_equal(t->gone, 1);
    hang_up(&c);
}

static void nonsense_is_refused(void **state)
{
    static const struct {
        struct span text;
        int status;
    } cases[] = {
        {SPAN_INIT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400},
        {SPAN_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400},
        {SPAN_INIT("\0\0\0\0"), 400},
        {SPAN_INIT("BREW / HTTP/1.1\r\n\r\n"), 400},
        {SPAN_INIT("GET / HTTP/1.1\nHost: a\n\n"), 400},
        {SPAN_INIT("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"), 400},
        {SPAN_INIT("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), 400},
        {SPAN_INIT("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400},
        {SPAN_INIT("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "0\r\n\r\n"),
         400},
        {SPAN_INIT("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"), 400},
        {SPAN_INIT("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400},
        {SPAN_INIT("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused_with(*state, cases[i].text, cases[i].status);
}

static void long_heads_are_refused(void **state)
{
    struct test *t = *state;
    struct buffer text;
    buffer_init(&text, 1 << 20);
    buffer_printf(&text, "GET /%030000d HTTP/1.1\r\n\r\n", 1);
    refused_with(t, buffer_span(&text), 414);
    buffer_clear(&text);
    buffer_printf(&text, "GET / HTTP/1.1\r\nCookie: %070000d\r\n\r\n", 1);
    refused_with(t, buffer_span(&text), 431);
    buffer_clear(&text);
    for (int i = 0; i < 5120; i++)
        buffer_char(&text, (char)(i * 7 + 128));
    refused_with(t, buffer_span(&text), 400);
    buffer_free(&text);
}

static void connections_over_the_limit_get_503(void **state)
{
    struct test *t = *state;
    t->config->max_connections = 2;
    struct client a = connect_to(t), b = connect_to(t);
    expect_alive(t, &a);
    expect_alive(t, &b);
    struct client c = connect_to(t);
    send_text(t, &c, "GET /a HTTP/1.1\r\n\r\n");
    expect(t, &c,
           "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
           "Retry-After: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    expect_end(t, &c);
    t->server->clocks.refused_ms = 20; /* who says nothing is told unasked */
    c = connect_to(t);
    expect(t, &c, "HTTP/1.1 503 Service Unavailable\r\n");
    hang_up(&c);
    expect_alive(t, &a);
    hang_up(&a);
    PUMP(t, &b, http_server_connections(t->server) == 1);
    c = connect_to(t); /* a place is free again */
    expect_alive(t, &c);
    hang_up(&b);
    hang_up(&c);
}

/* ---- clients that leave ---- */

static void client_leaves(struct test *t, bool reset)
{
    struct client c = connect_to(t);
    struct linger linger = {.l_onoff = 1};
    send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &c, t->n_pending == 1);
    if (reset)
        setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    t->gone = 0;
    hang_up(&c);
    uv_run(&t->loop, UV_RUN_NOWAIT); /* one turn is enough */
    assert_int_equal(t->gone, 1);
    assert_int_equal(http_server_connections(t->server), 0);
    assert_int_equal(http_server_unfinished(t->server), 0);
}

static void gone_is_told_at_once_after_fin_and_rst(void **state)
{
    for (int i = 0; i < 20; i++)
        client_leaves(*state, i % 2);
    exchange(*state, "GET /a HTTP/1.1\r\n\r\n", OK_HEAD "Content-Length: 9\r\n\r\nGET /a 0:", true);
}

static void gone_is_told_when_a_stream_breaks_off(void **state)
{
    struct test *t = *state;
    for (int i = 0; i < 20; i++) {
        struct client c = connect_to(t);
        send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
        PUMP(t, &c, t->n_pending == 1);
        struct http_exchange *x = t->pending[0];
        http_answer_start(x, 200, NULL, 0, -1);
        http_answer_write(x, SPAN("a"));
        struct linger linger = {.l_onoff = 1};
        if (i % 2)
            setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        close(c.fd);
        c.fd = -1;
        /* Writing on, into the reset: never told from inside the write. */
        for (int j = 0; j < 3; j++)
            http_answer_write(x, SPAN("b"));
        assert_int_equal(t->gone, i);
        c.ended = true;
        PUMP(t, &c, t->gone == i + 1);
        hang_up(&c);
    }
}

static void gone_is_not_told_without_a_user(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &c, t->n_pending == 1);
    http_exchange_set_user(t->pending[0], NULL);
    t->n_pending = 0;
    hang_up(&c);
    PUMP(t, &c, http_server_connections(t->server) == 0);
    assert_int_equal(t->gone, 0);
}

static void a_connection_lost_in_the_body_is_forgotten(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    send_text(t, &c, "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel");
    hang_up(&c);
    PUMP(t, &c, t->heads == 1 && http_server_connections(t->server) == 0);
    assert_int_equal(t->requests + t->gone, 0);
    c = connect_to(t);
    send_text(t, &c, "POST /a HTT");
    hang_up(&c);
    PUMP(t, &c, http_server_connections(t->server) == 0);
    assert_int_equal(t->heads, 1);
}

static void of_who_leaves_without_a_request_the_handler_hears(void **state)
{
    struct test *t = *state;
    for (int i = 1; i <= 3; i++) {
        struct client c = connect_to(t);
        if (i > 1)
            send_text(t, &c, i == 2 ? "GET /" : "\x16\x03\x01");
        PUMP(t, &c, http_server_connections(t->server) == 1 || t->left == i);
        hang_up(&c);
        PUMP(t, &c, t->left == i);
    }
    assert_int_equal(t->requests + t->gone, 0);
}

static void an_aborted_answer_looks_cut(void **state)
{
    struct test *t = *state;
    exchange(t, "GET /abort HTTP/1.1\r\n\r\n",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false);
    struct client c = connect_to(t); /* without chunks only RST says so */
    send_text(t, &c, "GET /abort HTTP/1.0\r\n\r\n");
    PUMP(t, &c, c.ended);
    assert_true(c.reset);
    hang_up(&c);
}

/* ---- back-pressure ---- */

static void a_client_that_does_not_read_holds_the_answer_back(void **state)
{
    struct test *t = *state;
    struct client c = adopt(dial(t, 4096));
    struct span piece = span_of(t->big, 60000);
    size_t queued = 0;
    int pieces = 0;
    send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &c, t->n_pending == 1);
    struct http_exchange *x = t->pending[0];
    c.paused = true;
    http_answer_start(x, 200, NULL, 0, -1);
    while (queued <= HTTP_HIGH_WATER) {
        assert_int_equal(t->n_pending, 1); /* it is not gone */
        queued = http_answer_write(x, piece);
        assert_true(++pieces < 1000);
        turn(t, &c);
    }
    assert_int_equal(t->drains, 0);
    c.paused = false;
    PUMP(t, &c, t->drains == 1);
    assert_int_equal(http_connection_queued(t->server->connections), 0);
    http_answer_end(x, SPAN("end"));
    t->n_pending = 0;
    PUMP(t, &c, span_ends(buffer_span(&c.in), SPAN("3\r\nend\r\n0\r\n\r\n")));
    drop_dates(&c.in);
    struct span rest = buffer_span(&c.in), head = SPAN("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                                                       "chunked\r\n\r\n");
    assert_true(span_starts(rest, head));
    rest = span_from(rest, head.n);
    for (int i = 0; i < pieces; i++) {
        assert_true(span_starts(rest, SPAN("ea60\r\n")));
        assert_true(span_starts(span_from(rest, 6), piece));
        assert_true(span_starts(span_from(rest, 6 + piece.n), SPAN("\r\n")));
        rest = span_from(rest, 8 + piece.n);
    }
    assert_true(span_eq(rest, SPAN("3\r\nend\r\n0\r\n\r\n")));
    hang_up(&c);
}

static void a_dozen_large_answers_wait_in_order(void **state)
{
    struct test *t = *state;
    struct client c = adopt(dial(t, 4096));
    c.paused = true;
    for (int i = 0; i < 12; i++)
        send_text(t, &c, "GET /big HTTP/1.1\r\n\r\n");
    for (int i = 0; i < 50; i++)
        turn(t, &c);
    assert_true(t->requests < 12); /* unread answers hold further requests back */
    c.paused = false;
    size_t head = strlen("HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n") + 37;
    PUMP(t, &c, c.in.n == 12 * (head + BIG));
    for (size_t i = 0; i < 12; i++)
        assert_memory_equal(c.in.p + i * (head + BIG) + head, t->big, BIG);
    assert_int_equal(t->requests, 12);
    assert_null(t->server->connections->out->queue.p);
    assert_null(t->server->connections->out->sending.p);
    hang_up(&c);
}

static void an_answer_survives_the_clients_half_close(void **state)
{
    struct test *t = *state;
    struct client c = adopt(dial(t, 4096));
    c.paused = true;
    send_text(t, &c, "GET /big HTTP/1.1\r\n\r\n");
    PUMP(t, &c, t->requests == 1);
    shutdown(c.fd, SHUT_WR);
    turn(t, &c);
    c.paused = false;
    PUMP(t, &c, c.ended);
    assert_false(c.reset);
    assert_true(c.in.n > BIG);
    hang_up(&c);
}

static void a_client_that_never_reads_is_given_up(void **state)
{
    struct test *t = *state;
    struct client c = adopt(dial(t, 4096));
    t->server->clocks.stall_ms = 50;
    c.paused = true;
    send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &c, t->n_pending == 1);
    http_answer_start(t->pending[0], 200, NULL, 0, -1);
    for (int i = 0; i < 5; i++)
        http_answer_write(t->pending[0], span_of(t->big, BIG));
    PUMP(t, &c, t->gone == 1);
    hang_up(&c);
}

/* ---- many ---- */

static void a_hundred_connections_get_their_own_answers(void **state)
{
    struct test *t = *state;
    struct client c[100];
    char text[100];
    for (int i = 0; i < 100; i++)
        c[i] = connect_to(t);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "GET /later HTTP/1.1\r\nN: %d\r\n\r\n", i);
        send_text(t, &c[i], text);
    }
    PUMP(t, &c[0], t->n_pending == 100);
    assert_int_equal(http_server_connections(t->server), 100);
    assert_int_equal(http_server_unfinished(t->server), 100);
    while (t->n_pending) {
        struct span number = http_exchange_header(t->pending[0], "n");
        answer_pending(t, number);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, OK_HEAD "Content-Length: %d\r\n\r\n%d", i < 10 ? 1 : 2, i);
        expect(t, &c[i], text);
        hang_up(&c[i]);
    }
    assert_true(sizeof(struct http_connection) < 2048);
}

static void accepting_goes_on_after_a_lack_of_descriptors(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    struct rlimit old, none;
    expect_alive(t, &c);
    struct client late = connect_to(t);
    send_text(t, &c, "");
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    none.rlim_cur = 3; /* below every number that is free */
    setrlimit(RLIMIT_NOFILE, &none);
    struct client waits = late;
    for (int i = 0; i < 3; i++)
        uv_run(&t->loop, UV_RUN_NOWAIT);
    assert_int_equal(http_server_connections(t->server), 1);
    assert_true(uv_is_active((uv_handle_t *)&t->server->accept_timer));
    expect_alive(t, &c);
    setrlimit(RLIMIT_NOFILE, &old);
    expect_alive(t, &waits);
    hang_up(&waits);
    hang_up(&c);
}

/* ---- clocks ---- */

static void silent_clients_are_closed(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    t->server->clocks.idle_ms = 30;
    expect_end(t, &c);
    c = connect_to(t);
    expect_alive(t, &c);
    expect_end(t, &c);
    assert_int_equal(t->error_status, 0);
}

static void slow_heads_and_silent_bodies_are_400(void **state)
{
    struct test *t = *state;
    t->server->clocks.head_ms = t->server->clocks.body_ms = 30;
    refused_with(t, SPAN("GET / HTTP/1.1\r\nHos"), 400);
    refused_with(t, SPAN("POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel"), 400);
    refused_with(t, SPAN("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"), 400);
    /* A head that drips does not win time: the clock starts with its first byte. */
    struct client c = connect_to(t);
    uint64_t end = uv_hrtime() + patience_ns();
    send_text(t, &c, "GET / HTTP/1.1\r\nX: ");
    while (!c.ended && uv_hrtime() < end)
        send_text(t, &c, "x");
    assert_true(c.ended);
    hang_up(&c);
}

static void an_answer_in_work_has_no_clock(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t), idle = connect_to(t);
    t->server->clocks.idle_ms = t->server->clocks.head_ms = t->server->clocks.body_ms = 300;
    send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &idle, idle.ended); /* this one's clock rang */
    assert_int_equal(t->n_pending, 1);
    answer_pending(t, SPAN("x"));
    expect(t, &c, OK_HEAD "Content-Length: 1\r\n\r\nx");
    hang_up(&c);
    hang_up(&idle);
}

/* ---- stop, destroy, reload ---- */

static void stop_lets_answers_end(void **state)
{
    struct test *t = *state;
    struct client idle = connect_to(t), late = connect_to(t), begun = connect_to(t);
    expect_alive(t, &idle);
    send_text(t, &late, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &late, t->n_pending == 1);
    send_text(t, &begun, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &begun, t->n_pending == 2);
    http_answer_start(t->pending[1], 200, NULL, 0, -1);
    http_answer_write(t->pending[1], SPAN("a"));
    int port = port_of(t, 0);
    http_server_stop(t->server);
    expect_end(t, &idle);
    assert_int_equal(http_server_unfinished(t->server), 2);
    assert_null(http_server_url(t->server, 0));
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), -1);
    close(fd);
    answer_pending(t, SPAN("x"));
    expect(t, &late, OK_HEAD "Content-Length: 1\r\nConnection: close\r\n\r\nx");
    expect_end(t, &late);
    http_answer_end(t->pending[0], SPAN("b"));
    t->n_pending = 0;
    expect(t, &begun,
           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
    expect_end(t, &begun);
    PUMP(t, &begun, http_server_connections(t->server) == 0);
    assert_int_equal(http_server_unfinished(t->server), 0);
}

static void destroy_gives_up_what_is_left(void **state)
{
    struct test *t = *state;
    struct client a = connect_to(t), b = connect_to(t), c = adopt(dial(t, 4096));
    send_text(t, &a, "GET /later HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\n");
    send_text(t, &b, "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
    c.paused = true;
    send_text(t, &c, "GET /big HTTP/1.1\r\n\r\nGET /big HTTP/1.1\r\n\r\n");
    PUMP(t, &a, t->n_pending == 1);
    tear_down(state);
    set_up_idle(state);
    hang_up(&a);
    hang_up(&b);
    hang_up(&c);
}

static void reload_adds_and_removes_listeners(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    struct fail fail = {0};
    struct listen_address two[] = {t->listen[0], tcp_address("[::1]:0", "::1")};
    struct config *next = make_config(two, 2);
    int port = port_of(t, 0);
    expect_alive(t, &c);
    assert_int_equal(http_server_reload(t->server, next, &fail), 0);
    assert_int_equal(port_of(t, 0), port); /* the old listener was not touched */
    assert_memory_equal(http_server_url(t->server, 1), "http://[::1]:", 13);
    assert_null(http_server_url(t->server, 2));
    assert_int_equal(t->config->refs, 1);

    struct listen_address wrong[] = {two[1], tcp_address("192.0.2.1:1", "192.0.2.1")};
    struct config *bad = make_config(wrong, 2);
    assert_int_equal(http_server_reload(t->server, bad, &fail), -1);
    assert_non_null(strstr(fail.message, "cannot listen on 192.0.2.1:1"));
    assert_int_equal(bad->refs, 1);
    assert_int_equal(port_of(t, 0), port);
    expect_alive(t, &c);

    struct config *last = make_config(two + 1, 1);
    assert_int_equal(http_server_reload(t->server, last, &fail), 0);
    assert_memory_equal(http_server_url(t->server, 0), "http://[::1]:", 13);
    assert_null(http_server_url(t->server, 1));
    expect_alive(t, &c); /* its listener is gone, the connection is not */
    struct sockaddr_in6 to = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)port_of(t, 0)),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    struct client six = adopt(fd);
    expect_alive(t, &six);
    hang_up(&six);
    hang_up(&c);
    assert_int_equal(http_server_reload(t->server, t->config, &fail), 0);
    config_unref(next);
    config_unref(bad);
    config_unref(last);
}

static void new_limits_hold_for_new_requests(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    struct fail fail;
    struct config *next = make_config(t->listen, 1);
    next->max_body = 3;
    send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &c, t->n_pending == 1);
    assert_int_equal(http_server_reload(t->server, next, &fail), 0);
    assert_ptr_equal(http_exchange_config(t->pending[0]), t->config);
    answer_pending(t, SPAN("x"));
    expect(t, &c, OK_HEAD "Content-Length: 1\r\n\r\nx");
    send_text(t, &c, "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
    expect(t, &c, "HTTP/1.1 413 Content Too Large\r\n");
    hang_up(&c);
    turn(t, NULL);
    config_unref(next);
    /* the server's reference goes with the server */
}

static void an_address_in_use_is_said(void **state)
{
    struct test *t = *state;
    struct fail fail = {0};
    char text[64];
    struct listen_address taken;
    snprintf(text, sizeof text, "127.0.0.1:%d", port_of(t, 0));
    taken = tcp_address(text, "127.0.0.1");
    taken.port = port_of(t, 0);
    struct config *config = make_config(&taken, 1);
    assert_null(http_server_create(&t->loop, config, &handler, &fail));
    assert_int_equal(fail.kind, FAIL_INTERNAL);
    assert_non_null(strstr(fail.message, "cannot listen on 127.0.0.1:"));
    assert_non_null(strstr(fail.message, "address already in use"));
    assert_int_equal(config->refs, 1);
    config_unref(config);
}

/* ---- unix sockets ---- */

static struct client connect_unix(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(to.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return adopt(fd);
}

static void unix_sockets_are_served_and_removed(void **state)
{
    struct test *t = *state;
    char folder[] = "/tmp/http-server-XXXXXX", path[64], text[80], url[80];
    struct stat st;
    struct fail fail;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    snprintf(text, sizeof text, "unix:%s", path);
    /* What a killed process leaves: a socket that nobody listens on. */
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, path);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&name, sizeof name), 0);
    close(stale);

    t->listen[0] =
        (struct listen_address){.is_unix = true, .text = span_str(text), .host = span_str(path)};
    start(t);
    snprintf(url, sizeof url, "unix:%s", path);
    assert_string_equal(http_server_url(t->server, 0), url);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct client c = connect_unix(path);
    send_text(t, &c, "GET /later HTTP/1.1\r\n\r\n");
    PUMP(t, &c, t->n_pending == 1);
    assert_true(http_exchange_is_unix(t->pending[0]));
    assert_false(http_exchange_peer(t->pending[0])->known);
    answer_pending(t, SPAN("x"));
    expect(t, &c, OK_HEAD "Content-Length: 1\r\n\r\nx");
    hang_up(&c);

    /* A second server must not take the address of a living one, nor its file. */
    assert_null(http_server_create(&t->loop, t->config, &handler, &fail));
    assert_non_null(strstr(fail.message, "address already in use"));
    assert_int_equal(access(path, F_OK), 0);
    http_server_stop(t->server);
    assert_int_equal(access(path, F_OK), -1);
    rmdir(folder);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct test *t = *state;
    char path[] = "/tmp/http-server-XXXXXX", text[80];
    struct fail fail;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(text, sizeof text, "unix:%s", path);
    t->listen[0] =
        (struct listen_address){.is_unix = true, .text = span_str(text), .host = span_str(path)};
    assert_null(http_server_create(&t->loop, t->config, &handler, &fail));
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
}

/* ---- what a handler can ask ---- */

static void peer_and_times_are_known(void **state)
{
    struct test *t = *state;
    struct client c = connect_to(t);
    char text[46];
    size_t n;
    send_text(t, &c, "GET /later?x=1 HTTP/1.1\r\nA: 1\r\na: 2\r\nB:\r\n\r\n");
    PUMP(t, &c, t->n_pending == 1);
    struct http_exchange *x = t->pending[0];
    assert_string_equal(ip_format(http_exchange_peer(x), text), "127.0.0.1");
    assert_false(http_exchange_is_unix(x));
    assert_true(span_eq(http_exchange_target(x), SPAN("/later?x=1")));
    assert_true(span_eq(http_exchange_header(x, "A"), SPAN("1")));
    assert_non_null(http_exchange_header(x, "b").p);
    assert_null(http_exchange_header(x, "c").p);
    assert_int_equal(http_exchange_headers(x, &n)[1].value.p[0], '2');
    assert_int_equal(n, 3);
    assert_true(http_exchange_started_ms(x) <= uv_now(&t->loop));
    answer_pending(t, SPAN(""));
    expect(t, &c, OK_HEAD "Content-Length: 0\r\n\r\n");
    hang_up(&c);
}

#define WITH_SERVER(test)    cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define WITHOUT_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up_idle, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(requests_are_answered),
        WITH_SERVER(pieces_become_chunks),
        WITH_SERVER(http10_gets_no_chunks),
        WITH_SERVER(head_has_headers_but_no_body),
        WITH_SERVER(header_values_cannot_split_the_answer),
        WITH_SERVER(a_flushed_head_leaves_alone),
        WITH_SERVER(bytes_may_come_singly),
        WITH_SERVER(many_headers_and_a_long_cookie_are_served),
        WITH_SERVER(pipelined_requests_are_answered_in_order),
        WITH_SERVER(pipelined_requests_wait_for_late_answers),
        WITH_SERVER(reading_pauses_when_too_much_is_pipelined),
        WITH_SERVER(what_is_wrong_after_a_good_request_is_refused),
        WITH_SERVER(expect_is_answered_after_on_head),
        WITH_SERVER(expect_is_refused_with_the_final_status),
        WITH_SERVER(a_refused_body_is_discarded_and_the_connection_stays),
        WITH_SERVER(large_bodies_are_refused_early),
        WITH_SERVER(an_unread_body_does_not_cost_the_answer),
        WITH_SERVER(bodies_up_to_the_limit_are_served),
        WITH_SERVER(streamed_bodies_come_in_pieces),
        WITH_SERVER(streamed_bodies_may_be_split_anywhere),
        WITH_SERVER(streamed_bodies_have_no_limit),
        WITH_SERVER(a_paused_body_waits_with_the_client),
        WITH_SERVER(streamed_bodies_that_wait_are_asked_for),
        WITH_SERVER(an_answer_may_come_before_the_body_is_whole),
        WITH_SERVER(a_streamed_body_that_breaks_off_ends_the_request),
        WITH_SERVER(a_streamed_body_that_falls_silent_is_given_up),
        WITH_SERVER(nonsense_is_refused),
        WITH_SERVER(long_heads_are_refused),
        WITH_SERVER(connections_over_the_limit_get_503),
        WITH_SERVER(gone_is_told_at_once_after_fin_and_rst),
        WITH_SERVER(gone_is_told_when_a_stream_breaks_off),
        WITH_SERVER(gone_is_not_told_without_a_user),
        WITH_SERVER(a_connection_lost_in_the_body_is_forgotten),
        WITH_SERVER(of_who_leaves_without_a_request_the_handler_hears),
        WITH_SERVER(an_aborted_answer_looks_cut),
        WITH_SERVER(a_client_that_does_not_read_holds_the_answer_back),
        WITH_SERVER(a_dozen_large_answers_wait_in_order),
        WITH_SERVER(an_answer_survives_the_clients_half_close),
        WITH_SERVER(a_client_that_never_reads_is_given_up),
        WITH_SERVER(a_hundred_connections_get_their_own_answers),
        WITH_SERVER(accepting_goes_on_after_a_lack_of_descriptors),
        WITH_SERVER(silent_clients_are_closed),
        WITH_SERVER(slow_heads_and_silent_bodies_are_400),
        WITH_SERVER(an_answer_in_work_has_no_clock),
        WITH_SERVER(stop_lets_answers_end),
        WITH_SERVER(destroy_gives_up_what_is_left),
        WITH_SERVER(reload_adds_and_removes_listeners),
        WITH_SERVER(new_limits_hold_for_new_requests),
        WITH_SERVER(an_address_in_use_is_said),
        WITHOUT_SERVER(unix_sockets_are_served_and_removed),
        WITHOUT_SERVER(a_file_that_is_no_socket_is_left_alone),
        WITH_SERVER(peer_and_times_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
