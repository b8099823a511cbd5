/*
 * gateway/http_tls.c - the TLS of a client connection: moves bytes between tls/tls_stream.h and
 * http_connection.c.
 *
 * A full handshake costs milliseconds of CPU, and a resumed one next to nothing: the costly steps
 * run on a thread (handshake_thread.h), so that no stream waits for a client that comes, and client
 * addresses take turns there. As long as
 * one runs, the tls_stream belongs to the thread: the connection does not read, and if it is closed
 * meanwhile its memory waits for the thread.
 */
#include <poll.h>
#include <stdlib.h>

#include "gateway/http_server_internal.h"
#include "gateway/log.h"

enum { RECORD_MAX = 16 * 1024 }; /* pieces up to this size travel in one record */

struct http_tls {
    struct http_connection *connection;
    struct tls_stream *stream;
    struct handshake_work work;
    enum tls_result result; /* of the thread's last step; TLS_CLOSED: the client had left */
    int fd;                 /* the socket's, for the thread */
    bool working;
    bool greeted; /* its first bytes came */
};

static void send_output(struct http_tls *t)
{
    struct buffer *out = tls_stream_output(t->stream);
    struct span piece = buffer_span(out);
    if (piece.n)
        http_connection_send_raw(t->connection, &piece, 1);
    buffer_shrink(out, RECORD_MAX * 2);
}

/* Small pieces share one record: one MAC, one write, and the client's TLS hands them on together.
 */
void http_tls_send(struct http_tls *t, const struct span *pieces, size_t n)
{
    if (tls_stream_write_pieces(t->stream, pieces, n) != TLS_OK)
        http_connection_fail_write(t->connection);
    else
        send_output(t);
}

void http_tls_end(struct http_tls *t)
{
    tls_stream_close(t->stream);
    send_output(t);
}

/* A person typed http:// for an https:// port: a sentence helps more than a closed connection. */
static bool is_plain_http(struct span first)
{
    return first.n && first.p[0] >= 'A' && first.p[0] <= 'Z';
}

static void refuse_plain_http(struct http_tls *t)
{
    struct http_connection *c = t->connection;
    c->tls = NULL;
    http_tls_free(t);
    http_connection_enter(c, CONNECTION_HEAD);
    http_connection_refuse(c, "this port speaks HTTPS: use https:// in the base URL");
}

/* ---- the handshake ---- */

static void step_on_thread(struct http_tls *t);

/* Whether it is over, and well. */
static bool stepped(struct http_tls *t, enum tls_result result)
{
    if (result == TLS_COSTLY) {
        step_on_thread(t);
        return false;
    }
    send_output(t);
    if (result == TLS_OK) {
        http_connection_enter(t->connection, CONNECTION_IDLE);
        return true;
    }
    if (result != TLS_WANT_INPUT) {
        log_debug("TLS handshake with a client failed: %s",
                  result == TLS_CLOSED ? "it left" : tls_stream_fail(t->stream)->message);
        http_connection_close(t->connection);
    }
    return false;
}

/* What came behind the handshake, or comes now. The loop's read buffer is free again once the
 * cipher text is fed: it takes the plain text. */
static void read_on(struct http_tls *t)
{
    struct http_connection *c = t->connection;
    while (c->state != CONNECTION_CLOSED) {
        size_t n = 0;
        char *room = c->server->read_buffer;
        enum tls_result result = tls_stream_read(t->stream, room, HTTP_READ_SIZE, &n);
        if (result == TLS_OK) {
            http_connection_receive(c, span_of(room, n));
            continue;
        }
        if (result == TLS_CLOSED)
            http_connection_client_ended(c);
        else if (result == TLS_FAILED)
            http_connection_close(c);
        break;
    }
    if (c->state != CONNECTION_CLOSED)
        send_output(t);
}

static struct http_tls *tls_of(struct handshake_work *work)
{
    return (struct http_tls *)((char *)work - offsetof(struct http_tls, work));
}

/* Has it ended the connection while it waited for the thread? As nothing is read then, the loop
 * does not know. */
static bool has_left(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0;
}

/* On the thread: touches only the stream. (Should the connection be closed just now, the number may
 * be another socket's: what is found out is not asked for any more.) */
static void run_step(struct handshake_work *work)
{
    struct http_tls *t = tls_of(work);
    t->result = has_left(t->fd) ? TLS_CLOSED : tls_stream_handshake(t->stream);
}

static void step_done(struct handshake_work *work)
{
    struct http_tls *t = tls_of(work);
    struct http_connection *c = t->connection;
    t->working = false;
    if (c->state != CONNECTION_CLOSED && stepped(t, t->result))
        read_on(t);
    http_connection_go_on(c);
}

static void step_on_thread(struct http_tls *t)
{
    struct handshake_thread *thread = http_server_handshakes(t->connection->server);
    if (uv_fileno((uv_handle_t *)&t->connection->socket, &t->fd))
        t->fd = -1; /* poll passes it over */
    t->work.run = run_step;
    t->work.done = step_done;
    t->work.group = peer_hash(&t->connection->peer);
    t->working = true;
    if (thread && handshake_thread_begin(thread, &t->work) == 0)
        return;
    t->working = false; /* no thread can be made: slow is better than not at all */
    if (stepped(t, tls_stream_handshake(t->stream)))
        read_on(t);
}

bool http_tls_is_working(const struct http_tls *t) { return t->working; }

void http_tls_give_up(struct http_tls *t)
{
    if (t->working && handshake_thread_take_back(t->connection->server->handshakes, &t->work))
        t->working = false;
}

/* ---- bytes of the client ---- */

void http_tls_receive(struct http_tls *t, struct span cipher)
{
    struct http_connection *c = t->connection;
    bool first = !t->greeted;
    t->greeted = true;
    if (first && is_plain_http(cipher)) /* later bytes may well be such letters by chance */
        refuse_plain_http(t);
    else if (tls_stream_feed(t->stream, cipher))
        http_connection_close(c);
    else if (c->state != CONNECTION_HANDSHAKE || stepped(t, tls_stream_handshake_cheap(t->stream)))
        read_on(t);
}

/* ---- making ---- */

void http_tls_free(struct http_tls *t)
{
    if (!t)
        return;
    tls_stream_destroy(t->stream);
    free(t);
}

struct http_tls *http_tls_create(struct http_connection *c)
{
    struct http_tls *t = calloc(1, sizeof *t);
    struct fail fail;
    if (t)
        t->stream = tls_server_create(c->server->identity, &fail);
    else
        fail_memory(&fail);
    if (!t || !t->stream) {
        log_warn("a client's TLS connection cannot begin: %s", fail.message);
        free(t);
        return NULL;
    }
    t->connection = c;
    return t;
}
