/*
 * test/unit/support/fake_server.c - see fake_server.h.
 */
#include "fake_server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATTERN_PIECE = 64 * 1024 };

char fake_pattern(size_t at) { return (char)('a' + (at % 61 + at / 61 % 7) % 26); }

struct write_job {
    uv_write_t request;
    struct fake_connection *connection;
    char bytes[];
};

static void advance(struct fake_connection *c);

static void on_closed(uv_handle_t *handle)
{
    ((struct fake_connection *)handle->data)->closed = true;
}

static void close_connection(struct fake_connection *c)
{
    if (c->closing)
        return;
    c->closing = true;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_written(uv_write_t *request, int status)
{
    struct write_job *job = (struct write_job *)request;
    struct fake_connection *c = job->connection;
    free(job);
    c->writing = false;
    if (status == 0 && !c->closing)
        advance(c);
}

static void send_raw(struct fake_connection *c, struct span bytes)
{
    struct write_job *job = malloc(sizeof *job + bytes.n);
    assert(job);
    job->connection = c;
    memcpy(job->bytes, bytes.p, bytes.n);
    uv_buf_t buf = uv_buf_init(job->bytes, (unsigned)bytes.n);
    c->writing = true;
    if (uv_write(&job->request, (uv_stream_t *)&c->tcp, &buf, 1, on_written) != 0) {
        free(job);
        c->writing = false;
        close_connection(c);
    }
}

static void send_tls_output(struct fake_connection *c)
{
    struct buffer *out = tls_stream_output(c->tls);
    if (out->n)
        send_raw(c, buffer_span(out));
    buffer_clear(out);
}

static void send_plain(struct fake_connection *c, struct span bytes)
{
    if (!c->tls) {
        send_raw(c, bytes);
        return;
    }
    tls_stream_write(c->tls, bytes);
    send_tls_output(c);
}

/* Length of the request at the start of `s`; 0 when it is not whole. */
static size_t request_length(struct span s, bool head_only)
{
    ptrdiff_t end = span_find(s, SPAN("\r\n\r\n"));
    if (end < 0)
        return 0;
    size_t head = (size_t)end + 4;
    ptrdiff_t at = span_find_nocase(span_first(s, head), SPAN("\r\ncontent-length: "));
    size_t body = at < 0 || head_only ? 0 : (size_t)strtoull(s.p + at + 18, NULL, 10);
    return s.n >= head + body ? head + body : 0;
}

static void on_shut(uv_shutdown_t *request, int status) { free(request); }

/* True when the step is done. */
static bool step_once(struct fake_connection *c)
{
    const struct fake_step *s = c->step;
    struct span waiting = span_from(buffer_span(&c->received), c->at);
    size_t n;
    switch (s->action) {
    case FAKE_REQUEST:
    case FAKE_HEAD:
        n = request_length(waiting, s->action == FAKE_HEAD);
        c->at += n;
        return n > 0;
    case FAKE_TAKE:
        if (waiting.n < s->n)
            return false;
        c->at += s->n;
        return true;
    case FAKE_SEND:
        if (c->sent == s->bytes.n)
            return true;
        n = s->each && s->each < s->bytes.n - c->sent ? s->each : s->bytes.n - c->sent;
        send_plain(c, span_of(s->bytes.p + c->sent, n));
        c->sent += n;
        return false;
    case FAKE_PATTERN: {
        if (c->sent == s->n)
            return true;
        char *piece = malloc(PATTERN_PIECE);
        assert(piece);
        n = s->n - c->sent < PATTERN_PIECE ? s->n - c->sent : PATTERN_PIECE;
        for (size_t i = 0; i < n; i++)
            piece[i] = fake_pattern(c->sent + i);
        send_plain(c, span_of(piece, n));
        free(piece);
        c->sent += n;
        c->server->pattern_sent += n;
        return false;
    }
    case FAKE_NOTE: c->server->note(c->server->note_arg, c); return true;
    case FAKE_TLS:
        if (!c->tls) {
            struct fail fail;
            c->tls = tls_server_create(c->server->identity, &fail);
            assert(c->tls);
            if (waiting.n) { /* what came right behind a proxy's dialogue */
                tls_stream_feed(c->tls, waiting);
                c->received.n = c->at;
            }
        }
        if (!c->tls_open) {
            enum tls_result r = tls_stream_handshake(c->tls);
            send_tls_output(c);
            if (r == TLS_FAILED) {
                close_connection(c);
                return false;
            }
            c->tls_open = r == TLS_OK;
        }
        return c->tls_open;
    case FAKE_DEAF: uv_read_stop((uv_stream_t *)&c->tcp); return true;
    case FAKE_FIN: {
        uv_shutdown_t *request = malloc(sizeof *request);
        assert(request);
        if (uv_shutdown(request, (uv_stream_t *)&c->tcp, on_shut) != 0)
            free(request);
        return true;
    }
    case FAKE_CLOSE:
        if (c->tls) {
            tls_stream_close(c->tls);
            send_tls_output(c);
        }
        close_connection(c);
        return false;
    case FAKE_RESET:
        if (!c->closing) {
            c->closing = true;
            uv_tcp_close_reset(&c->tcp, on_closed);
        }
        return false;
    default: return false;
    }
}

static void advance(struct fake_connection *c)
{
    while (!c->closing && !c->writing && step_once(c)) {
        c->sent = 0;
        c->step++;
        if (c->step->action == FAKE_AGAIN)
            c->step = c->first;
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char bytes[64 * 1024];
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void take(struct fake_connection *c, struct span bytes)
{
    if (!c->tls) {
        buffer_append(&c->received, bytes);
        return;
    }
    tls_stream_feed(c->tls, bytes);
    if (!c->tls_open)
        advance(c);
    while (c->tls_open) {
        size_t n;
        char *to = buffer_reserve(&c->received, 16 * 1024);
        assert(to);
        if (tls_stream_read(c->tls, to, 16 * 1024, &n) != TLS_OK)
            break;
        c->received.n += n;
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct fake_connection *c = stream->data;
    if (n > 0) {
        take(c, span_of(buf->base, (size_t)n));
        advance(c);
    } else if (n < 0) {
        c->peer_gone = true;
        close_connection(c);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct fake_server *s = listener->data;
    assert(status == 0 && s->accepted < FAKE_CONNECTIONS_MAX);
    struct fake_connection *c = calloc(1, sizeof *c);
    assert(c);
    size_t i = 0;
    while (i < s->accepted && s->scripts[i + 1])
        i++;
    c->server = s;
    c->first = c->step = s->scripts[i];
    buffer_init(&c->received, (size_t)1 << 30);
    uv_tcp_init(listener->loop, &c->tcp);
    c->tcp.data = c;
    s->connections[s->accepted++] = c;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0)
        abort();
    uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    advance(c);
}

bool fake_server_start(struct fake_server *s, uv_loop_t *loop, const char *host, int port,
                       const struct fake_step *const *scripts)
{
    struct sockaddr_storage address;
    int size = sizeof address;
    snprintf(s->host, sizeof s->host, "%s", host);
    s->scripts = scripts;
    uv_tcp_init(loop, &s->listener);
    s->listener.data = s;
    if (strchr(host, ':'))
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&address);
    else
        uv_ip4_addr(host, port, (struct sockaddr_in *)&address);
    if (uv_tcp_bind(&s->listener, (const struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)&s->listener, 64, on_connection) != 0 ||
        uv_tcp_getsockname(&s->listener, (struct sockaddr *)&address, &size) != 0)
        return false;
    s->port = ntohs(strchr(host, ':') ? ((struct sockaddr_in6 *)&address)->sin6_port
                                      : ((struct sockaddr_in *)&address)->sin_port);
    return true;
}

void fake_server_stop(struct fake_server *s)
{
    if (!uv_is_closing((uv_handle_t *)&s->listener))
        uv_close((uv_handle_t *)&s->listener, NULL);
    for (size_t i = 0; i < s->accepted; i++)
        close_connection(s->connections[i]);
}

void fake_server_free(struct fake_server *s)
{
    for (size_t i = 0; i < s->accepted; i++) {
        struct fake_connection *c = s->connections[i];
        assert(c->closed);
        tls_stream_destroy(c->tls);
        buffer_free(&c->received);
        free(c);
    }
    s->accepted = 0;
}
