/*
 * gateway/http_exchange.c - what a handler sees of a request, and how its answer is framed.
 *
 * The answer's head is built by http_answer_start and leaves together with the first piece. Cost of
 * a piece on the fast path: one writev of up to four parts (size line, piece, CRLF; before them the
 * head once), no allocation, no copy. The hard part is the life of the exchange: http_answer_end
 * and _abort free it, and the connection may go on with the next request.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/error_response.h"
#include "gateway/http_server_internal.h"

/* An answer may repeat what stood in the request's head (a preflight does), and says more. */
enum { ANSWER_HEAD_MAX = 2 * HTTP_HEAD_MAX };

enum { SPARE_HEAD = 4096 }; /* larger ones are not kept for the next answer */

/* ---- life ---- */

/* NULL when memory is short. */
static struct buffer *make_head(struct http_server *s)
{
    struct buffer *head = s->spare_head;
    s->spare_head = NULL;
    if (head)
        return head;
    head = malloc(sizeof *head);
    if (head)
        buffer_init(head, ANSWER_HEAD_MAX);
    return head;
}

static void free_head(struct http_exchange *x)
{
    struct http_server *s = x->connection->server;
    struct buffer *head = x->head;
    x->head = NULL;
    if (!head)
        return;
    if (!s->spare_head) {
        buffer_shrink(head, SPARE_HEAD);
        s->spare_head = head;
        return;
    }
    buffer_free(head);
    free(head);
}

struct http_exchange *http_exchange_create(struct http_connection *c, uint64_t started_ms)
{
    struct http_exchange *x = spare_take(&c->server->spare_exchanges);
    if (!x)
        return NULL;
    *x = (struct http_exchange){
        .magic = HTTP_EXCHANGE_MAGIC,
        .connection = c,
        .config = config_ref(c->server->config),
        .started_ms = started_ms,
        .bodiless = span_eq(http_connection_request(c)->method, SPAN("HEAD")),
        .http10 = http_connection_request(c)->http10,
    };
    return x;
}

void http_exchange_free(struct http_exchange *x)
{
    assert(x->magic == HTTP_EXCHANGE_MAGIC);
    x->magic = 0;
    free_head(x);
    free(x->kept);
    free(x->body);
    config_unref(x->config);
    spare_give(&x->connection->server->spare_exchanges, x);
}

/* ---- the request ---- */

static const struct http_request *request_of(const struct http_exchange *x)
{
    assert(x->magic == HTTP_EXCHANGE_MAGIC);
    assert(!x->dropped);
    return http_connection_request(x->connection);
}

struct span http_exchange_method(const struct http_exchange *x) { return request_of(x)->method; }

struct span http_exchange_target(const struct http_exchange *x) { return request_of(x)->target; }

bool http_exchange_is_http10(const struct http_exchange *x) { return x->http10; }

struct span http_exchange_path(const struct http_exchange *x) { return request_of(x)->path; }

struct span http_exchange_header_named(const struct http_exchange *x, struct span name)
{
    size_t n;
    if (!x->dropped && !(request_of(x)->seen & http_header_bit(name)))
        return span_of(NULL, 0);
    const struct header *headers = http_exchange_headers(x, &n);
    for (size_t i = 0; i < n; i++) {
        if (span_eq_nocase(headers[i].name, name))
            return headers[i].value;
    }
    return span_of(NULL, 0);
}

const struct header *http_exchange_headers(const struct http_exchange *x, size_t *n)
{
    if (x->dropped) {
        *n = x->kept ? x->kept->n : 0;
        return x->kept ? x->kept->list : NULL;
    }
    *n = request_of(x)->n_headers;
    return request_of(x)->headers;
}

/* 0, or -1 when memory is short. */
static int keep_headers(struct http_exchange *x)
{
    static const struct span names[] = HTTP_KEPT_HEADERS;
    enum { NAMES = sizeof names / sizeof *names };
    struct header found[NAMES];
    size_t n = 0, length = 0;
    for (size_t i = 0; i < NAMES; i++) {
        struct span value = http_exchange_header_named(x, names[i]);
        if (!value.p)
            continue;
        found[n++] = (struct header){names[i], value};
        length += value.n;
    }
    if (!n)
        return 0;
    struct http_kept *kept = malloc(sizeof *kept + n * sizeof *found + length);
    if (!kept)
        return -1;
    char *text = (char *)(kept->list + n);
    kept->n = n;
    for (size_t i = 0; i < n; i++) {
        memcpy(text, found[i].value.p, found[i].value.n);
        kept->list[i] = (struct header){found[i].name, span_of(text, found[i].value.n)};
        text += found[i].value.n;
    }
    x->kept = kept;
    return 0;
}

void http_exchange_drop_head(struct http_exchange *x)
{
    struct http_connection *c = x->connection;
    assert(x->magic == HTTP_EXCHANGE_MAGIC && x->announced && !x->dropped);
    if (keep_headers(x))
        return; /* then all of it stays */
    x->body = http_parser_take_body(&c->intake->parser, &x->body_n);
    x->dropped = true;
    http_connection_drop_intake(c);
}

struct span http_exchange_body(const struct http_exchange *x)
{
    static const char none[JSON_PADDING]; /* padding behind an empty body too */
    assert(x->magic == HTTP_EXCHANGE_MAGIC && !x->packed);
    const struct buffer *body = x->dropped ? NULL : &x->connection->intake->parser.body;
    struct span text = body ? buffer_span(body) : span_of(x->body, x->body_n);
    return text.p ? text : span_of(none, 0);
}

size_t http_exchange_body_size(const struct http_exchange *x)
{
    return x->dropped ? x->body_n : http_exchange_body(x).n;
}

void http_exchange_drop_body(struct http_exchange *x)
{
    free(x->body); /* that of a head that stayed stays with it */
    x->body = NULL;
}

/* A block of just this size, not a part of the former one: what is given back is useful to the next
 * request. */
static int move_body(struct http_exchange *x, size_t padding)
{
    char *body = malloc(x->body_n + padding);
    if (!body)
        return -1;
    memcpy(body, x->body, x->body_n);
    memset(body + x->body_n, 0, padding);
    free(x->body);
    x->body = body;
    return 0;
}

void http_exchange_pack_body(struct http_exchange *x)
{
    if (x->dropped && x->body_n && !x->packed)
        x->packed = move_body(x, 0) == 0;
}

int http_exchange_unpack_body(struct http_exchange *x)
{
    if (x->packed && move_body(x, JSON_PADDING))
        return -1;
    x->packed = false;
    return 0;
}

void http_exchange_stream_body(struct http_exchange *x)
{
    assert(x->magic == HTTP_EXCHANGE_MAGIC && !x->announced &&
           x->connection->server->handler.on_body);
    x->streamed = true;
}

uint64_t http_exchange_body_left(const struct http_exchange *x)
{
    const struct http_intake *intake = x->connection->intake;
    return intake ? http_parser_body_left(&intake->parser) : 0;
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

const struct http_server *http_exchange_server(const struct http_exchange *x)
{
    return x->connection->server;
}

uint64_t http_exchange_started_ms(const struct http_exchange *x) { return x->started_ms; }

void http_exchange_set_user(struct http_exchange *x, void *user) { x->user = user; }

uint64_t http_exchange_bytes_out(const struct http_exchange *x) { return x->bytes_out; }

/* ---- the answer's head ---- */

/* A value from anywhere must not become a second header. */
static void blank_marks(char *p, const char *end)
{
    for (; p < end; p++) {
        if (*p == '\r' || *p == '\n' || *p == '\0')
            *p = ' ';
    }
}

static void append_header(struct buffer *out, const struct header *h)
{
    if (!h->name.n) { /* lines of our own */
        buffer_append(out, h->value);
        return;
    }
    const size_t n = h->name.n + h->value.n + 4; /* with ": " and CRLF */
    char *line = buffer_reserve(out, n), *at = line;
    if (!line)
        return;
    span_put(&at, h->name);
    span_put(&at, SPAN(": "));
    span_put(&at, h->value);
    if (span_has_control(span_of(line, n - 2)))
        blank_marks(line, at);
    span_put(&at, SPAN("\r\n"));
    out->n += n;
}

/* `reason`: NULL = the usual one. */
static void append_status_line(struct buffer *out, int status, const char *reason)
{
    char line[] = "HTTP/1.1 000 ";
    if (status == 200 && !reason) {
        buffer_append(out, SPAN("HTTP/1.1 200 OK\r\n"));
        return;
    }
    if (!reason)
        reason = http_reason(status);
    char *digit = line + sizeof "HTTP/1.1 000" - 1;
    for (int rest = status, i = 0; i < 3; i++, rest /= 10)
        *--digit = (char)('0' + rest % 10);
    buffer_append(out, span_of(line, sizeof line - 1));
    buffer_append(out, span_str(reason));
    buffer_append(out, SPAN("\r\n"));
}

void http_exchange_set_reason(struct http_exchange *x, const char *reason) { x->reason = reason; }

void http_answer_start(struct http_exchange *x, int status, const struct header *headers, size_t n,
                       int64_t length)
{
    bool empty_status = status == 204 || status == 304 || status / 100 == 1;
    const char *reason = x->reason; /* its place is the length's from now on */
    struct buffer *out = make_head(x->connection->server);
    assert(!x->started && status >= 100 && status <= 999);
    x->head = out;
    x->started = true;
    x->left = length;
    x->bodiless |= empty_status;
    x->chunked = length < 0 && !x->http10;
    if (length < 0 && x->http10)
        x->connection->keep_alive = false; /* the body ends with the connection */
    if (!out)
        return; /* seen when the head is to leave */
    append_status_line(out, status, reason);
    buffer_append(out, http_server_date(x->connection->server));
    for (size_t i = 0; i < n; i++)
        append_header(out, &headers[i]);
    if (!empty_status && length >= 0) {
        buffer_append(out, SPAN("Content-Length: "));
        buffer_int(out, length);
        buffer_append(out, SPAN("\r\n"));
    } else if (!empty_status && x->chunked) {
        buffer_append(out, SPAN("Transfer-Encoding: chunked\r\n"));
    }
}

/* There is no memory for the head: what needs none goes out instead, if nothing waits before it. */
static void say_last_words(struct http_exchange *x)
{
    struct http_connection *c = x->connection;
    char head[256];
    int status;
    struct span body = error_last_words(NULL, &status);
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                     "Connection: close\r\n\r\n",
                     status, error_row(FAIL_MEMORY)->reason, body.n);
    const struct span pieces[] = {span_of(head, (size_t)n), x->bodiless ? SPAN("") : body};
    if (!http_connection_queued(c))
        http_connection_send(c, pieces, 2);
    c->broken = true;
    http_server_again(c);
}

/* Just before the head leaves: only now it is certain whether the connection goes on. */
static void finish_head(struct http_exchange *x)
{
    struct http_connection *c = x->connection;
    http_connection_settle(c);
    if (x->head && !c->keep_alive)
        buffer_append(x->head, SPAN("Connection: close\r\n"));
    else if (x->head && x->http10)
        buffer_append(x->head, SPAN("Connection: keep-alive\r\n"));
    if (!x->head || buffer_append(x->head, SPAN("\r\n"))) /* half a head would be a lie */
        say_last_words(x);
}

/* ---- the answer's body ---- */

enum { SIZE_LINE = 18 };

/* "1f\r\n" into `line`. */
static struct span size_line(char line[SIZE_LINE], size_t n)
{
    static const char digits[] = "0123456789abcdef";
    size_t at = SIZE_LINE;
    line[--at] = '\n';
    line[--at] = '\r';
    do {
        line[--at] = digits[n & 15];
    } while (n >>= 4);
    return span_of(line + at, SIZE_LINE - at);
}

/* Sends head (once), piece and, at the end, what ends the body, in one write. */
static size_t send_piece(struct http_exchange *x, struct span piece, bool last)
{
    struct span pieces[HTTP_PIECES_MAX];
    size_t n = 0;
    char line[SIZE_LINE];
    assert(x->magic == HTTP_EXCHANGE_MAGIC && x->started);
    if (!x->head_sent) {
        finish_head(x);
        pieces[n++] = x->head ? buffer_span(x->head) : SPAN("");
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
        free_head(x);
    }
    if (queued > HTTP_HIGH_WATER)
        x->connection->wants_drain = true;
    return queued;
}

void http_answer_prefetch(const struct http_exchange *x, struct prefetch *list)
{
    prefetch_add(list, x, sizeof *x);
    prefetch_add(list, x->connection, offsetof(struct http_connection, socket) + sizeof(uv_tcp_t));
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
