/*
 * gateway/http_exchange.c - what a handler sees of a request, and how its answer is framed.
 *
 * The answer's head is built by http_answer_start and leaves together with the first piece. Cost of
 * a piece on the fast path: one writev of up to four parts (size line, piece, CRLF; before them the
 * head once), no allocation, no copy. The hard part is the life of the exchange: http_answer_end
 * and _abort free it, and the connection may go on with the next request.
 */
#include <assert.h>
#include <stdlib.h>

#include "gateway/error_response.h"
#include "gateway/http_server_internal.h"

/* An answer may repeat what stood in the request's head (a preflight does), and says more. */
enum { ANSWER_HEAD_MAX = 2 * HTTP_HEAD_MAX };

/* ---- life ---- */

struct http_exchange *http_exchange_create(struct http_connection *c, uint64_t started_ms)
{
    struct http_exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->magic = HTTP_EXCHANGE_MAGIC;
    x->connection = c;
    x->config = config_ref(c->server->config);
    x->started_ms = started_ms;
    x->bodiless = span_eq(c->parser.request.method, SPAN("HEAD"));
    buffer_init(&x->head, ANSWER_HEAD_MAX);
    return x;
}

void http_exchange_free(struct http_exchange *x)
{
    assert(x->magic == HTTP_EXCHANGE_MAGIC);
    x->magic = 0;
    buffer_free(&x->head);
    config_unref(x->config);
    free(x);
}

/* ---- the request ---- */

static const struct http_request *request_of(const struct http_exchange *x)
{
    assert(x->magic == HTTP_EXCHANGE_MAGIC);
    return &x->connection->parser.request;
}

struct span http_exchange_method(const struct http_exchange *x) { return request_of(x)->method; }

struct span http_exchange_target(const struct http_exchange *x) { return request_of(x)->target; }

bool http_exchange_is_http10(const struct http_exchange *x) { return request_of(x)->http10; }

struct span http_exchange_path(const struct http_exchange *x) { return request_of(x)->path; }

struct span http_exchange_header(const struct http_exchange *x, const char *name)
{
    const struct http_request *r = request_of(x);
    for (size_t i = 0; i < r->n_headers; i++) {
        if (span_eq_nocase(r->headers[i].name, span_str(name)))
            return r->headers[i].value;
    }
    return span_of(NULL, 0);
}

const struct header *http_exchange_headers(const struct http_exchange *x, size_t *n)
{
    *n = request_of(x)->n_headers;
    return request_of(x)->headers;
}

void http_exchange_drop_head(struct http_exchange *x, const char *keep)
{
    assert(x->magic == HTTP_EXCHANGE_MAGIC && x->announced);
    http_parser_drop_head(&x->connection->parser, span_str(keep));
}

struct buffer *http_exchange_body(struct http_exchange *x)
{
    assert(x->magic == HTTP_EXCHANGE_MAGIC);
    struct buffer *body = &x->connection->parser.body;
    if (!body->p)
        buffer_reserve(body, 0); /* padding behind an empty body too */
    return body;
}

void http_exchange_stream_body(struct http_exchange *x)
{
    assert(x->magic == HTTP_EXCHANGE_MAGIC && !x->announced &&
           x->connection->server->handler.on_body);
    x->streamed = true;
}

uint64_t http_exchange_body_left(const struct http_exchange *x)
{
    return http_parser_body_left(&x->connection->parser);
}

void http_exchange_pause_body(struct http_exchange *x) { x->body_paused = true; }

void http_exchange_resume_body(struct http_exchange *x)
{
    struct http_connection *c = x->connection;
    if (!x->body_paused)
        return;
    x->body_paused = false;
    c->since_ms = uv_now(c->server->loop);
    http_server_again(c);
}

const struct ip_address *http_exchange_peer(const struct http_exchange *x)
{
    return &x->connection->peer;
}

bool http_exchange_is_unix(const struct http_exchange *x) { return x->connection->is_unix; }

struct config *http_exchange_config(const struct http_exchange *x) { return x->config; }

uint64_t http_exchange_started_ms(const struct http_exchange *x) { return x->started_ms; }

void http_exchange_set_user(struct http_exchange *x, void *user) { x->user = user; }

void *http_exchange_user(const struct http_exchange *x) { return x->user; }

uint64_t http_exchange_bytes_out(const struct http_exchange *x) { return x->bytes_out; }

/* ---- the answer's head ---- */

/* A value from anywhere must not become a second header. */
static void append_value(struct buffer *out, struct span value)
{
    size_t at = out->n;
    if (buffer_append(out, value))
        return;
    for (; at < out->n; at++) {
        if (out->p[at] == '\r' || out->p[at] == '\n' || out->p[at] == '\0')
            out->p[at] = ' ';
    }
}

static void append_header(struct buffer *out, struct span name, struct span value)
{
    append_value(out, name);
    buffer_append(out, SPAN(": "));
    append_value(out, value);
    buffer_append(out, SPAN("\r\n"));
}

void http_exchange_set_reason(struct http_exchange *x, const char *reason) { x->reason = reason; }

void http_answer_start(struct http_exchange *x, int status, const struct header *headers, size_t n,
                       int64_t length)
{
    const struct http_request *r = request_of(x);
    bool empty_status = status == 204 || status == 304 || status / 100 == 1;
    struct buffer *out = &x->head;
    assert(!x->started && status >= 100 && status <= 999);
    x->started = true;
    x->left = length;
    x->bodiless |= empty_status;
    x->chunked = length < 0 && !r->http10;
    if (length < 0 && r->http10)
        x->connection->keep_alive = false; /* the body ends with the connection */
    buffer_printf(out, "HTTP/1.1 %d %s\r\n", status, x->reason ? x->reason : http_reason(status));
    buffer_append(out, http_server_date(x->connection->server));
    for (size_t i = 0; i < n; i++)
        append_header(out, headers[i].name, headers[i].value);
    if (!empty_status && length >= 0)
        buffer_printf(out, "Content-Length: %lld\r\n", (long long)length);
    else if (!empty_status && x->chunked)
        buffer_append(out, SPAN("Transfer-Encoding: chunked\r\n"));
}

/* Just before the head leaves: only now it is certain whether the connection goes on. */
static void finish_head(struct http_exchange *x)
{
    struct http_connection *c = x->connection;
    http_connection_settle(c);
    if (!c->keep_alive)
        buffer_append(&x->head, SPAN("Connection: close\r\n"));
    else if (c->parser.request.http10)
        buffer_append(&x->head, SPAN("Connection: keep-alive\r\n"));
    buffer_append(&x->head, SPAN("\r\n"));
    if (x->head.error) { /* half a head would be a lie; nothing at all is seen as a failure */
        c->broken = true;
        http_server_again(c);
    }
}

/* ---- the answer's body ---- */

/* "1f\r\n" into `line`, at most 18 bytes. */
static struct span size_line(char line[18], size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *at = line + 18;
    *--at = '\n';
    *--at = '\r';
    do {
        *--at = digits[n & 15];
    } while (n >>= 4);
    return span_of(at, (size_t)(line + 18 - at));
}

/* Sends head (once), piece and, at the end, what ends the body, in one write. */
static size_t send_piece(struct http_exchange *x, struct span piece, bool last)
{
    struct span pieces[HTTP_PIECES_MAX];
    size_t n = 0;
    char line[18];
    assert(x->magic == HTTP_EXCHANGE_MAGIC && x->started);
    if (!x->head_sent) {
        finish_head(x);
        pieces[n++] = buffer_span(&x->head);
    }
    if (!x->bodiless) {
        x->bytes_out += piece.n;
        if (x->left >= 0) {
            assert(piece.n <= (uint64_t)x->left);
            x->left -= (int64_t)piece.n;
        }
        if (x->chunked && piece.n)
            pieces[n++] = size_line(line, piece.n);
        if (piece.n)
            pieces[n++] = piece;
        if (x->chunked && piece.n)
            pieces[n++] = last ? SPAN("\r\n0\r\n\r\n") : SPAN("\r\n");
        else if (x->chunked && last)
            pieces[n++] = SPAN("0\r\n\r\n");
    }
    size_t queued =
        n ? http_connection_send(x->connection, pieces, n) : http_connection_queued(x->connection);
    if (!x->head_sent) {
        x->head_sent = true;
        buffer_free(&x->head);
    }
    if (queued > HTTP_HIGH_WATER)
        x->connection->wants_drain = true;
    return queued;
}

size_t http_answer_write(struct http_exchange *x, struct span piece)
{
    return send_piece(x, piece, false);
}

void http_answer_end(struct http_exchange *x, struct span last)
{
    struct http_connection *c = x->connection;
    send_piece(x, last, true);
    assert(x->bodiless || x->left <= 0);
    http_connection_answered(c);
}

void http_answer_abort(struct http_exchange *x)
{
    struct http_connection *c = x->connection;
    assert(x->magic == HTTP_EXCHANGE_MAGIC);
    /* Without a length and without chunks the end of the connection is the end of the body. */
    http_connection_cut(c, x->head_sent && !x->chunked && x->left < 0);
}

void http_answer_whole(struct http_exchange *x, int status, const struct header *headers, size_t n,
                       struct span body)
{
    http_answer_start(x, status, headers, n, (int64_t)body.n);
    http_answer_end(x, body);
}
