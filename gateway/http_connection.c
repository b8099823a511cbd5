/*
 * gateway/http_connection.c - one client connection: bytes in, requests one after another, bytes
 * out, clocks, the end.
 *
 *   (HANDSHAKE) → IDLE → HEAD → BODY → ANSWER → IDLE     keep-alive
 *                          ├→ STREAM → ANSWER → IDLE       its body is handed out as it comes
 *                          └→ DISCARD → IDLE               refused before its body was read
 *   … → FLUSH → LINGER → CLOSED                            the last answer of a connection
 *
 * Callbacks of libuv note what happened and end in settle(): it decides whether we read and when
 * the clock rings. Three things are hard here. A handler may answer inside its callback, later, or
 * never: so `process` is never entered twice, and what an answer given later makes possible is done
 * in the next loop turn. The client may leave at any moment: then the handler is told once, from a
 * turn of its own, never from inside a call it makes. And a connection that ends while the client
 * still sends must not be closed at once, or the kernel's RST takes the answer with it: we send FIN
 * and throw away what comes.
 */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/http_server_internal.h"
#include "gateway/log.h"

enum {
    KEEPALIVE_S = 60, /* TCP probes: a client that lost its network is noticed at last */
    AHEAD_LIMIT = HTTP_AHEAD_MAX + 4 * HTTP_READ_SIZE,
    QUEUE_KEEP = 64 * 1024 /* memory of an emptied queue that stays while an answer is in work */
};

static void settle(struct http_connection *c);
static void wind_clock(struct http_connection *c);
static void begin_end(struct http_connection *c);

static uint64_t now_ms(const struct http_connection *c) { return uv_now(c->server->loop); }

void http_connection_enter(struct http_connection *c, enum connection_state state)
{
    c->state = (uint8_t)state;
    c->since_ms = now_ms(c);
}

/* ---- the end of a connection ---- */

static void free_outbox(struct http_connection *c)
{
    if (!c->out)
        return;
    buffer_free(&c->out->sending);
    buffer_free(&c->out->queue);
    free(c->out);
    c->out = NULL;
}

/* ---- what is being read ---- */

/* NULL when memory is short. */
static struct http_intake *intake(struct http_connection *c)
{
    if (c->intake)
        return c->intake;
    c->intake = c->server->spare_intake;
    c->server->spare_intake = NULL;
    if (c->intake)
        return c->intake;
    c->intake = malloc(sizeof *c->intake);
    if (c->intake) {
        http_parser_init(&c->intake->parser);
        /* What one read can bring on top, plain or decrypted, still fits. */
        buffer_init(&c->intake->ahead, AHEAD_LIMIT);
    }
    return c->intake;
}

static size_t n_ahead(const struct http_connection *c)
{
    return c->intake ? c->intake->ahead.n : 0;
}

void http_intake_free(struct http_intake *i)
{
    if (!i)
        return;
    http_parser_reset(&i->parser);
    buffer_free(&i->ahead);
    free(i);
}

/* For a request that is read and one that will not be. */
static void free_intake(struct http_connection *c)
{
    struct http_intake *i = c->intake;
    c->intake = NULL;
    if (!i || c->server->spare_intake) {
        http_intake_free(i);
        return;
    }
    http_parser_recycle(&i->parser);
    buffer_free(&i->ahead);
    c->server->spare_intake = i;
}

/* What came ahead stays. */
void http_connection_drop_intake(struct http_connection *c)
{
    if (n_ahead(c))
        http_parser_recycle(&c->intake->parser);
    else
        free_intake(c);
}

const struct http_request *http_connection_request(const struct http_connection *c)
{
    static const struct http_request none = {.content_length = -1};
    return c->intake ? &c->intake->parser.request : &none;
}

/* Keeps bytes for later; -1 when there is no room. */
static int keep_ahead(struct http_connection *c, struct span bytes)
{
    if (!bytes.n)
        return 0;
    return intake(c) ? buffer_append(&c->intake->ahead, bytes) : -1;
}

static void free_when_closed(struct http_connection *c)
{
    if (!c->socket_closed || c->in_ready || (c->tls && http_tls_is_working(c->tls)))
        return;
    struct http_server *s = c->server;
    free_intake(c);
    free_outbox(c);
    http_tls_free(c->tls);
    deadlines_leave(&s->deadlines, &c->deadline);
    c->magic = 0;
    free(c);
    if (s->handler.on_left)
        s->handler.on_left(s->handler.owner);
    http_server_handle_closed(s);
}

static void on_closed(uv_handle_t *handle)
{
    struct http_connection *c = handle->data;
    c->socket_closed = true;
    free_when_closed(c);
}

/* Tells the handler, if it is one who wants to know, that its exchange is no more. */
static void abandon_exchange(struct http_connection *c)
{
    struct http_exchange *x = c->exchange;
    const struct http_handler *h = &c->server->handler;
    c->exchange = NULL;
    if (!x)
        return;
    if (x->announced && x->user)
        h->on_gone(h->owner, x, x->user);
    http_exchange_free(x);
}

static void close_now(struct http_connection *c, bool reset)
{
    struct http_server *s = c->server;
    assert(c->magic == HTTP_CONNECTION_MAGIC);
    if (c->state == CONNECTION_CLOSED)
        return;
    c->state = CONNECTION_CLOSED;
    if (c->tls)
        http_tls_give_up(c->tls);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    if (c->next)
        c->next->prev = c->prev;
    http_server_count_out(c);
    if (!reset || c->is_unix || uv_tcp_close_reset(&c->socket.tcp, on_closed))
        uv_close((uv_handle_t *)&c->socket, on_closed);
    deadlines_set(&s->deadlines, &c->deadline, DEADLINE_NEVER);
    abandon_exchange(c);
}

void http_connection_close(struct http_connection *c) { close_now(c, false); }

/* ---- writing ---- */

static void on_written(uv_write_t *write, int status);

size_t http_connection_queued(const struct http_connection *c)
{
    if (!c->out)
        return 0;
    return (c->write_busy ? uv_stream_get_write_queue_size(&c->socket.stream) : 0) +
           c->out->queue.n;
}

/* NULL when memory is short. */
static struct http_outbox *outbox(struct http_connection *c)
{
    if (c->out)
        return c->out;
    c->out = calloc(1, sizeof *c->out);
    if (c->out) {
        buffer_init(&c->out->sending, HTTP_QUEUE_MAX);
        buffer_init(&c->out->queue, HTTP_QUEUE_MAX);
    }
    return c->out;
}

/* Nothing that we say arrives any more. The handler learns it in the next turn, not inside its own
 * call. */
void http_connection_fail_write(struct http_connection *c)
{
    c->broken = true;
    if (c->out)
        buffer_free(&c->out->queue);
    http_server_again(c);
}

static void write_queue(struct http_connection *c)
{
    struct http_outbox *out = c->out;
    struct buffer empty = out->sending;
    out->sending = out->queue;
    out->queue = empty;
    uv_buf_t buf = uv_buf_init(out->sending.p, (unsigned)out->sending.n);
    out->write.data = c;
    c->write_busy = true;
    out->moved_ms = now_ms(c);
    out->unsent = out->sending.n;
    if (uv_write(&out->write, &c->socket.stream, &buf, 1, on_written)) {
        c->write_busy = false;
        http_connection_fail_write(c);
    }
    wind_clock(c); /* from now on the client has to take some */
}

/* Hands the pieces to the kernel in one call; what it does not take is copied behind what waits
 * already. */
void http_connection_send_raw(struct http_connection *c, const struct span *pieces, size_t n)
{
    uv_buf_t bufs[HTTP_PIECES_MAX];
    size_t total = 0, taken = 0;
    if (c->broken || c->state == CONNECTION_CLOSED)
        return;
    assert(n <= HTTP_PIECES_MAX);
    for (size_t i = 0; i < n; i++) {
        bufs[i] = uv_buf_init((char *)pieces[i].p, (unsigned)pieces[i].n);
        total += pieces[i].n;
    }
    if (!c->write_busy) {
        int result = uv_try_write(&c->socket.stream, bufs, (unsigned)n);
        if (result < 0 && result != UV_EAGAIN) {
            http_connection_fail_write(c);
            return;
        }
        taken = result > 0 ? (size_t)result : 0;
    }
    if (taken == total)
        return;
    struct http_outbox *out = outbox(c);
    for (size_t i = 0; out && i < n; i++) {
        struct span rest = span_from(pieces[i], taken);
        taken -= pieces[i].n - rest.n;
        buffer_append(&out->queue, rest);
    }
    if (!out || out->queue.error)
        http_connection_fail_write(c);
    else if (!c->write_busy)
        write_queue(c);
}

size_t http_connection_send(struct http_connection *c, const struct span *pieces, size_t n)
{
    if (c->broken || c->state == CONNECTION_CLOSED)
        return 0;
    if (c->tls)
        http_tls_send(c->tls, pieces, n);
    else
        http_connection_send_raw(c, pieces, n);
    return http_connection_queued(c);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct http_connection *c = request->data;
    if (c->state != CONNECTION_CLOSED && (status < 0 || c->client_ended))
        http_connection_close(c);
}

/* Everything is said: FIN, then wait for the client's. */
static void say_goodbye(struct http_connection *c)
{
    if (c->tls && !c->notified) {
        c->notified = true;
        http_tls_end(c->tls);
        if (c->write_busy)
            return; /* the close_notify itself has to wait; on_written comes back here */
    }
    struct http_outbox *out = c->broken ? NULL : outbox(c);
    http_connection_enter(c, CONNECTION_LINGER);
    if (out)
        out->shutdown.data = c;
    if (!out || uv_shutdown(&out->shutdown, &c->socket.stream, on_shutdown))
        http_connection_close(c);
}

/* No further request: what is queued leaves, then we end. */
static void begin_end(struct http_connection *c)
{
    free_intake(c);
    c->lingered = 0;
    http_connection_enter(c, CONNECTION_FLUSH);
    if (http_connection_queued(c) == 0)
        say_goodbye(c);
}

/* The queue is empty again. */
static void drained(struct http_connection *c)
{
    const struct http_handler *h = &c->server->handler;
    struct http_exchange *x = c->exchange;
    if (!x) {
        buffer_free(&c->out->sending);
        buffer_free(&c->out->queue);
    }
    if (c->state == CONNECTION_FLUSH) {
        say_goodbye(c);
        return;
    }
    if (c->wants_drain) {
        c->wants_drain = false;
        if (x && x->announced && x->user)
            h->on_drain(h->owner, x, x->user);
    }
    if (n_ahead(c) && !c->exchange)
        http_server_again(c);
}

static void on_written(uv_write_t *write, int status)
{
    struct http_connection *c = write->data;
    c->write_busy = false;
    if (c->state == CONNECTION_CLOSED)
        return;
    buffer_shrink(&c->out->sending, QUEUE_KEEP);
    if (status < 0)
        http_connection_fail_write(c);
    else if (c->out->queue.n)
        write_queue(c);
    else
        drained(c);
    settle(c);
}

/* ---- requests ---- */

static bool has_unread_body(const struct http_connection *c)
{
    const struct http_request *r = http_connection_request(c);
    return r->chunked || r->content_length > 0;
}

void http_connection_settle(struct http_connection *c)
{
    const struct http_request *r = http_connection_request(c);
    if (c->server->stopping)
        c->keep_alive = false;
    /* An answer before the body was asked for: a client that waits for 100 may send it all the same
     * or not, so that nobody knows what the next bytes are; and a huge one is not worth reading. */
    if (c->state == CONNECTION_HEAD && has_unread_body(c) &&
        (r->expect_continue || r->content_length > HTTP_DISCARD_MAX))
        c->keep_alive = false;
    /* The same in the middle of one: if the answer ends first, the rest has to be read. */
    if (c->state == CONNECTION_STREAM && !r->chunked &&
        http_parser_body_left(&c->intake->parser) > HTTP_DISCARD_MAX)
        c->keep_alive = false;
}

static void await_request(struct http_connection *c)
{
    http_connection_drop_intake(c);
    if (c->server->stopping)
        begin_end(c);
    else
        http_connection_enter(c, CONNECTION_IDLE);
}

static void forget_exchange(struct http_connection *c)
{
    struct http_exchange *x = c->exchange;
    c->exchange = NULL;
    c->wants_drain = false;
    http_exchange_free(x);
}

void http_connection_answered(struct http_connection *c)
{
    forget_exchange(c);
    if (c->state == CONNECTION_CLOSED)
        return;
    if (!c->keep_alive || c->server->stopping) {
        begin_end(c);
    } else if ((c->state == CONNECTION_HEAD || c->state == CONNECTION_STREAM) &&
               http_parser_discard_body(&c->intake->parser) == HTTP_PARSE_MORE) {
        c->lingered = 0;
        http_connection_enter(c, CONNECTION_DISCARD);
    } else {
        await_request(c);
    }
    if (!c->processing && n_ahead(c))
        http_server_again(c);
    settle(c);
}

void http_connection_cut(struct http_connection *c, bool reset)
{
    forget_exchange(c);
    if (c->state == CONNECTION_CLOSED)
        return;
    c->keep_alive = false;
    c->notified = true; /* without close_notify the cut is seen */
    if (reset && !c->tls)
        close_now(c, true);
    else
        begin_end(c);
    settle(c);
}

/* The request is refused below the handler: it only words the answer. Afterwards the connection
 * ends. */
static void refuse(struct http_connection *c, const struct http_problem *problem)
{
    const struct http_handler *h = &c->server->handler;
    if (!c->exchange)
        c->exchange = http_exchange_create(c, c->since_ms);
    if (!c->exchange) {
        http_connection_close(c);
        return;
    }
    c->keep_alive = false;
    h->on_protocol_error(h->owner, c->exchange, problem->status, &problem->fail);
    if (c->exchange)
        http_answer_abort(c->exchange);
}

static void refuse_busy(struct http_connection *c)
{
    struct http_problem problem = {.status = 503};
    const struct config *config = c->server->config;
    if (c->refused == HTTP_FULL)
        fail_set(&problem.fail, FAIL_SERVER_BUSY,
                 "this gateway has as many connections as it takes (max_connections is %d); try "
                 "again in a moment",
                 config->max_connections);
    else
        fail_set(&problem.fail, FAIL_SERVER_BUSY,
                 "your address has as many connections as this gateway takes of one "
                 "(max_connections_per_ip is %zu); use those that are open, or try again in a "
                 "moment",
                 config_connections_of(config, &c->peer));
    problem.fail.retry_after_s = 1;
    refuse(c, &problem);
}

void http_connection_refuse(struct http_connection *c, const char *text)
{
    struct http_problem problem = {.status = 400};
    fail_set(&problem.fail, FAIL_INVALID_VALUE, "%s", text);
    refuse(c, &problem);
}

/* A streamed request that cannot come to its end: its handler has begun with it. */
static void give_up_stream(struct http_connection *c, const struct http_problem *problem)
{
    const struct http_handler *h = &c->server->handler;
    struct http_exchange *x = c->exchange;
    if (x->user)
        h->on_gone(h->owner, x, x->user);
    x->user = NULL;
    if (x->started)
        http_answer_abort(x);
    else
        refuse(c, problem);
}

static void stream_late(struct http_connection *c)
{
    struct http_problem problem = {.status = 400};
    fail_set(&problem.fail, FAIL_INVALID_VALUE,
             "the request's body stopped arriving: fewer bytes came than were announced");
    give_up_stream(c, &problem);
}

/* A piece of it goes to the handler. */
static void hand_out(struct http_connection *c, bool last)
{
    const struct http_handler *h = &c->server->handler;
    struct http_exchange *x = c->exchange;
    if (last)
        http_connection_enter(c, CONNECTION_ANSWER);
    if (x->user)
        h->on_body(h->owner, x, x->user, c->intake->parser.piece, last);
}

static void begin_stream(struct http_connection *c, bool body_is_coming)
{
    static const struct span go_on = SPAN_INIT("HTTP/1.1 100 Continue\r\n\r\n");
    const struct http_handler *h = &c->server->handler;
    struct http_exchange *x = c->exchange;
    bool whole = http_parser_stream_body(&c->intake->parser) == HTTP_PARSE_DONE;
    http_connection_enter(c, whole ? CONNECTION_ANSWER : CONNECTION_STREAM);
    x->announced = true;
    h->on_request(h->owner, x);
    /* Who has an answer already need not send anything; what it sends all the same is discarded. */
    if (c->state == CONNECTION_STREAM && c->intake->parser.request.expect_continue &&
        !body_is_coming && !c->exchange->head_sent)
        http_connection_send(c, &go_on, 1);
}

static void request_is_whole(struct http_connection *c)
{
    const struct http_handler *h = &c->server->handler;
    struct http_exchange *x = c->exchange;
    http_connection_enter(c, CONNECTION_ANSWER);
    x->announced = true;
    h->on_request(h->owner, x);
}

static void head_is_whole(struct http_connection *c, bool body_is_coming)
{
    static const struct span go_on = SPAN_INIT("HTTP/1.1 100 Continue\r\n\r\n");
    const struct http_handler *h = &c->server->handler;
    struct http_problem problem;
    c->keep_alive = c->intake->parser.request.keep_alive;
    c->exchange = http_exchange_create(c, c->since_ms);
    if (!c->exchange) {
        http_connection_close(c);
        return;
    }
    if (c->refused) {
        refuse_busy(c);
        return;
    }
    if (h->on_head(h->owner, c->exchange)) {
        assert(!c->exchange); /* answered, as promised */
        return;
    }
    assert(c->exchange);
    if (c->exchange->streamed) {
        begin_stream(c, body_is_coming);
        return;
    }
    switch (http_parser_begin_body(&c->intake->parser, c->exchange->config->max_body, &problem)) {
    case HTTP_PARSE_FAILED: refuse(c, &problem); break;
    case HTTP_PARSE_DONE: request_is_whole(c); break;
    default:
        http_connection_enter(c, CONNECTION_BODY);
        if (c->intake->parser.request.expect_continue && !body_is_coming)
            http_connection_send(c, &go_on, 1);
    }
}

/* Reads on in `in`. False: nothing more can be done with it now. */
static bool step(struct http_connection *c, struct span *in)
{
    struct http_problem problem;
    switch (c->state) {
    case CONNECTION_IDLE:
    case CONNECTION_HEAD:
        if (http_connection_queued(c) > HTTP_HIGH_WATER)
            return false; /* a client that reads no answers gets no further ones */
        break;
    case CONNECTION_STREAM:
        if (c->exchange->body_paused)
            return false;
        c->since_ms = now_ms(c);
        break;
    case CONNECTION_BODY: c->since_ms = now_ms(c); break;
    case CONNECTION_DISCARD:
        c->since_ms = now_ms(c);
        c->lingered += (uint32_t)in->n;
        if (c->lingered > HTTP_DISCARD_MAX + HTTP_READ_SIZE)
            begin_end(c);
        break;
    case CONNECTION_ANSWER: return false;
    default: break;
    }
    if (c->state >= CONNECTION_FLUSH) {
        c->lingered += (uint32_t)in->n;
        *in = span_from(*in, in->n);
        return false;
    }
    if (!intake(c)) {
        http_connection_close(c);
        return false;
    }
    enum http_parse_event event = http_parser_next(&c->intake->parser, in, &problem);
    if (c->state == CONNECTION_IDLE && !http_parser_is_idle(&c->intake->parser))
        http_connection_enter(c, CONNECTION_HEAD);
    switch (event) {
    case HTTP_PARSE_MORE: return false;
    case HTTP_PARSE_HEAD: head_is_whole(c, in->n > 0); return true;
    case HTTP_PARSE_PIECE: hand_out(c, false); return true;
    case HTTP_PARSE_DONE:
        if (c->state == CONNECTION_STREAM)
            hand_out(c, true);
        else if (c->state == CONNECTION_BODY)
            request_is_whole(c);
        else
            await_request(c);
        return true;
    case HTTP_PARSE_FAILED: break;
    }
    if (c->state == CONNECTION_DISCARD)
        begin_end(c); /* answered already */
    else if (c->state == CONNECTION_STREAM)
        give_up_stream(c, &problem);
    else
        refuse(c, &problem);
    return true;
}

/* Goes as far as the bytes that are there allow: many pipelined requests in one call when they are
 * answered at once. */
static void process(struct http_connection *c, struct span fresh)
{
    bool kept = n_ahead(c) > 0;
    struct span in = fresh;
    assert(!c->processing);
    c->processing = true;
    /* The handler must not see the bytes move: they are taken off `ahead` for as long as it runs.
     */
    struct buffer bytes = {0};
    if (kept) {
        if (buffer_append(&c->intake->ahead, fresh)) {
            c->processing = false;
            http_connection_close(c);
            return;
        }
        bytes = c->intake->ahead;
        buffer_init(&c->intake->ahead, bytes.limit);
        in = buffer_span(&bytes);
    }
    while (in.n && step(c, &in))
        ;
    c->processing = false;
    if (c->state >= CONNECTION_FLUSH)
        in.n = 0;
    bool good = true;
    if (kept && in.n && intake(c)) {
        buffer_consume(&bytes, bytes.n - in.n);
        c->intake->ahead = bytes;
    } else if (kept && in.n == 0 && c->intake) { /* room for what comes while this body is read */
        buffer_shrink(&bytes, 4 * HTTP_READ_SIZE);
        c->intake->ahead = bytes;
    } else {
        good = keep_ahead(c, in) == 0;
        buffer_free(&bytes);
    }
    if (!good)
        http_connection_close(c);
}

/* Plain bytes from the client. */
void http_connection_receive(struct http_connection *c, struct span bytes)
{
    if (c->state == CONNECTION_ANSWER) {
        if (keep_ahead(c, bytes))
            http_connection_close(c);
        return;
    }
    process(c, bytes);
    if (c->state >= CONNECTION_FLUSH && c->lingered > HTTP_LINGER_MAX)
        http_connection_close(c);
}

/* ---- reading ---- */

/* FIN (or close_notify). Who ends its side while an answer is in work is gone; what is queued of
 * finished answers still leaves. */
void http_connection_client_ended(struct http_connection *c)
{
    c->client_ended = true;
    if (c->state == CONNECTION_FLUSH && !c->broken)
        return; /* drained() goes on */
    bool owed = !c->exchange && c->state < CONNECTION_FLUSH && http_connection_queued(c) > 0;
    if (owed)
        begin_end(c);
    else
        http_connection_close(c);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct http_connection *c = handle->data;
    *buf = uv_buf_init(c->server->read_buffer, HTTP_READ_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct http_connection *c = stream->data;
    assert(c->magic == HTTP_CONNECTION_MAGIC);
    if (n > 0 && c->tls)
        http_tls_receive(c->tls, span_of(buf->base, (size_t)n));
    else if (n > 0)
        http_connection_receive(c, span_of(buf->base, (size_t)n));
    else if (n == UV_EOF)
        http_connection_client_ended(c);
    else if (n < 0)
        http_connection_close(c);
    settle(c);
}

/* ---- clocks ---- */

static uint64_t deadline_of(const struct http_connection *c)
{
    const struct http_clocks *clocks = &c->server->clocks;
    uint64_t deadline = DEADLINE_NEVER;
    switch ((enum connection_state)c->state) {
    case CONNECTION_HANDSHAKE: deadline = c->since_ms + clocks->handshake_ms; break;
    case CONNECTION_IDLE:
        deadline = c->since_ms + (c->refused ? clocks->refused_ms : clocks->idle_ms);
        break;
    case CONNECTION_HEAD:
        deadline = c->since_ms + (c->refused ? clocks->refused_ms : clocks->head_ms);
        break;
    case CONNECTION_STREAM:
        assert(c->exchange);
        if (c->exchange->body_paused)
            break; /* it is we who wait */
        deadline = c->since_ms + clocks->body_ms;
        break;
    case CONNECTION_BODY:
    case CONNECTION_DISCARD: deadline = c->since_ms + clocks->body_ms; break;
    case CONNECTION_LINGER: deadline = c->since_ms + clocks->linger_ms; break;
    case CONNECTION_ANSWER: /* the handler has clocks of its own */
    case CONNECTION_FLUSH:
    case CONNECTION_CLOSED: break;
    }
    if (!c->write_busy)
        return deadline;
    /* Bytes wait: as long as the client takes some now and then, it is not idle but slow. */
    uint64_t stall = c->out->moved_ms + clocks->stall_ms;
    return c->state == CONNECTION_IDLE || stall < deadline ? stall : deadline;
}

static void note_progress(struct http_connection *c)
{
    if (!c->write_busy)
        return;
    size_t left = uv_stream_get_write_queue_size(&c->socket.stream);
    if (left < c->out->unsent)
        c->out->moved_ms = now_ms(c);
    c->out->unsent = left;
}

static void expire(struct http_connection *c)
{
    bool stalled = c->write_busy && now_ms(c) >= c->out->moved_ms + c->server->clocks.stall_ms;
    if (stalled)
        http_connection_close(c);
    else if (c->refused && (c->state == CONNECTION_IDLE || c->state == CONNECTION_HEAD))
        refuse_busy(c);
    else if (c->state == CONNECTION_HEAD)
        http_connection_refuse(c, "the request's head did not arrive in time");
    else if (c->state == CONNECTION_BODY)
        http_connection_refuse(
            c, "the request's body stopped arriving: fewer bytes came than were announced");
    else if (c->state == CONNECTION_STREAM)
        stream_late(c);
    else
        http_connection_close(c); /* silently: this is how keep-alive ends */
}

void http_connection_ring(struct deadline *due)
{
    struct http_connection *c =
        (struct http_connection *)((char *)due - offsetof(struct http_connection, deadline));
    assert(c->magic == HTTP_CONNECTION_MAGIC);
    note_progress(c);
    if (deadline_of(c) <= now_ms(c))
        expire(c);
    settle(c);
}

/* The deadline is only moved when it would come too late, so that a busy keep-alive connection
 * leaves it alone. */
static void wind_clock(struct http_connection *c)
{
    struct http_server *s = c->server;
    uint64_t deadline = deadline_of(c);
    if (deadline >= deadline_at(&s->deadlines, &c->deadline)) /* or there is none */
        return;
    deadlines_set(&s->deadlines, &c->deadline, deadline);
    http_server_wind_clock(s);
}

/* After anything that happened: read or not, and when to look again. */
static void settle(struct http_connection *c)
{
    if (c->state == CONNECTION_CLOSED)
        return;
    bool want =
        !c->client_ended && n_ahead(c) < HTTP_AHEAD_MAX && !(c->tls && http_tls_is_working(c->tls));
    if (want && !c->reading && uv_read_start(&c->socket.stream, on_alloc, on_read)) {
        http_connection_close(c);
        return;
    }
    if (!want && c->reading)
        uv_read_stop(&c->socket.stream);
    c->reading = want;
    wind_clock(c);
}

void http_connection_go_on(struct http_connection *c)
{
    if (c->state == CONNECTION_CLOSED)
        free_when_closed(c);
    else
        settle(c);
}

/* ---- for the server ---- */

void http_connection_again(struct http_connection *c)
{
    if (c->state == CONNECTION_CLOSED) {
        free_when_closed(c);
        return;
    }
    if (c->broken)
        http_connection_close(c);
    else if (n_ahead(c) && c->state != CONNECTION_ANSWER)
        process(c, span_of(NULL, 0));
    settle(c);
}

void http_connection_stop(struct http_connection *c)
{
    bool idle = c->state == CONNECTION_IDLE && n_ahead(c) == 0;
    if (idle && http_connection_queued(c))
        begin_end(c);
    else if (idle || c->state == CONNECTION_HANDSHAKE)
        http_connection_close(c);
    settle(c);
}

bool http_connection_is_unfinished(const struct http_connection *c)
{
    return c->exchange || http_connection_queued(c) > 0;
}

static int open_socket(struct http_connection *c, int fd)
{
    uv_loop_t *loop = c->server->loop;
    if (c->is_unix)
        uv_pipe_init(loop, &c->socket.pipe, 0);
    else
        uv_tcp_init(loop, &c->socket.tcp);
    c->socket.stream.data = c;
    if (c->is_unix)
        return uv_pipe_open(&c->socket.pipe, fd);
    int error = uv_tcp_open(&c->socket.tcp, fd);
    if (error)
        return error;
    /* Neither can fail in a way that matters: a socket that is dead already tells us when it is
     * read. */
    uv_tcp_nodelay(&c->socket.tcp, 1);
    uv_tcp_keepalive(&c->socket.tcp, 1, KEEPALIVE_S);
    return 0;
}

static int begin_tls(struct http_connection *c)
{
    if (!c->server->identity || c->is_unix)
        return 0;
    c->tls = http_tls_create(c);
    if (!c->tls)
        return -1;
    c->state = CONNECTION_HANDSHAKE;
    return 0;
}

void http_connection_create(struct http_server *s, int fd, bool is_unix,
                            const struct ip_address *peer, enum http_welcome welcome)
{
    const size_t socket_size = is_unix ? sizeof(uv_pipe_t) : sizeof(uv_tcp_t);
    struct http_connection *c = calloc(1, offsetof(struct http_connection, socket) + socket_size);
    if (!c || deadlines_join(&s->deadlines)) {
        free(c);
        close(fd);
        return;
    }
    c->magic = HTTP_CONNECTION_MAGIC;
    c->server = s;
    c->peer = *peer;
    c->is_unix = is_unix;
    c->refused = welcome;
    http_server_count_in(c);
    c->next = s->connections;
    if (c->next)
        c->next->prev = c;
    s->connections = c;
    s->open_handles++;
    http_connection_enter(c, CONNECTION_IDLE);
    int error = open_socket(c, fd);
    if (error)
        close(fd);
    if (error || begin_tls(c))
        http_connection_close(c);
    settle(c);
}
