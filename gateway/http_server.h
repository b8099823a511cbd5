/*
 * gateway/http_server.h - listeners, client connections and the HTTP/1.1 framing of requests and
 * answers.
 *
 * Knows RFC 9112, not OpenAI. A request is announced once its head is read; its body is gathered
 * (bounded) and announced once it is whole, or streamed: handed out as it comes, as fast as the
 * handler takes it. Answers are written in pieces or whole; keep-alive,
 * pipelining (answers in order, one request handled at a time per connection), HTTP/1.0, HEAD,
 * Expect and chunked coding are settled here. Limits and clocks: head 64 KiB → 431, target 8 KiB →
 * 414, body > max_body → 413 as soon as it is known (then discards for up to 2 s before closing);
 * head 10 s, body silence 30 s, idle keep-alive 75 s; more than max_connections → 503.
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_SERVER_H
#define DRAGOMAN_GATEWAY_HTTP_SERVER_H

#include <uv.h>

#include "adapters/adapter.h" /* struct header */
#include "base/arena.h"
#include "base/buffer.h"
#include "base/fail.h"
#include "gateway/cidr.h"
#include "gateway/config.h"
#include "gateway/shared.h"

struct http_server;
struct http_exchange; /* one request and its answer; owned by its connection */

/* What the server tells its user. Called on the loop; none may destroy the server. */
struct http_handler {
    /* The head is read. Return 0 to go on (the body is gathered, Expect is answered with 100 only
     * now), or -1 after having answered: the body is then discarded. */
    int (*on_head)(void *owner, struct http_exchange *);
    /* The body is whole, or is going to be streamed: answer now or later. */
    void (*on_request)(void *owner, struct http_exchange *);
    /* A piece of a streamed body, valid during the call; `last`: the body ends with it (it may be
     * empty). After on_request, unless http_exchange_set_user was given nothing, or the answer has
     * ended: what still comes is thrown away then. NULL where no body is ever streamed. */
    void (*on_body)(void *owner, struct http_exchange *, void *user, struct span piece, bool last);
    /* The client is gone (FIN or RST) before the answer was finished, or the server gives up on it.
     * The exchange is invalid after this call returns. Only called after on_request, when
     * http_exchange_set_user was given something and http_answer_end has not been called. A
     * streamed body that stops coming or breaks HTTP's rules is such an end, too. */
    void (*on_gone)(void *owner, struct http_exchange *, void *user);
    /* Everything handed to http_answer_write so far has left (it was above the high-water mark
     * before). */
    void (*on_drain)(void *owner, struct http_exchange *, void *user);
    /* Protocol errors found below (400, 408…, 413, 414, 431, 503): fill the answer's JSON body for
     * this fail. Called also without on_head. */
    void (*on_protocol_error)(void *owner, struct http_exchange *, int status, const struct fail *);
    void *owner;
    /* A connection is gone, and its memory is given back; perhaps it never had a request. May be
     * NULL. */
    void (*on_left)(void *owner);
};

/* Binds every address of the config. NULL with fail (kind INTERNAL, "cannot listen on …: address
 * already in use …"). A stale unix socket is replaced. */
struct http_server *http_server_create(uv_loop_t *, struct config *, const struct http_handler *,
                                       struct fail *);
/* The first of several loops' servers, whose ports the others will share. */
struct http_server *http_server_create_first(uv_loop_t *, struct config *,
                                             const struct http_handler *, struct shared *,
                                             struct fail *);
/* One more for another loop, with a listener beside each of the first one's; they count their
 * connections together. Before any loop runs. */
struct http_server *http_server_create_beside(struct http_server *first, uv_loop_t *,
                                              const struct http_handler *, struct fail *);
/* New connections and requests see the new limits; listeners are added and removed to fit. 0, or -1
 * with fail and the old state kept. With several servers: the first, then the others, while no
 * other loop runs. */
int http_server_reload(struct http_server *, struct config *, struct fail *);
/* Stops accepting, closes idle connections; answers in work go on with Connection: close. */
void http_server_stop(struct http_server *);
/* Closes what is left at once (calls on_gone); `closed` is called when every handle is closed; then
 * the server is freed. */
void http_server_destroy(struct http_server *, void (*closed)(void *), void *arg);
/* Of all servers together. */
size_t http_server_connections(const struct http_server *);
size_t http_server_unfinished(const struct http_server *); /* requests without a finished answer */
/* The i-th bound address as a URL without path ("http://127.0.0.1:8080", "unix:/path"), with the
 * real port; NULL beyond the last. */
const char *http_server_url(const struct http_server *, size_t i);

/* ---- the request ---- */
struct span http_exchange_method(const struct http_exchange *);
/* Raw target as sent; and the path: without query and fragment, scheme and authority of an absolute
 * form removed, repeated slashes made one, no trailing slash (but "/"), percent-decoded only where
 * needed by the caller. */
struct span http_exchange_target(const struct http_exchange *);
struct span http_exchange_path(const struct http_exchange *);
/* First header of the name, case-insensitive; {NULL,0} when absent. */
struct span http_exchange_header_named(const struct http_exchange *, struct span name);
static inline __attribute__((always_inline)) struct span
http_exchange_header(const struct http_exchange *x, const char *name)
{
    return http_exchange_header_named(x, span_str(name));
}
/* All headers in order. */
const struct header *http_exchange_headers(const struct http_exchange *, size_t *n);
/* After on_request, when the rest of the head is needed no more: from now on the request has only
 * its first header of each of these names. An answer may be long in coming, and a head is as large
 * as a chat. */
#define HTTP_KEPT_HEADERS                                                                          \
    {                                                                                              \
        SPAN_INIT("origin"), SPAN_INIT("anthropic-beta")                                           \
    }
void http_exchange_drop_head(struct http_exchange *);
/* Body with JSON_PADDING, mutable in place; valid until the answer ends. Never {NULL,0}. */
struct span http_exchange_body(const struct http_exchange *);
/* How long it is, also while it is packed, and when it was dropped. */
size_t http_exchange_body_size(const struct http_exchange *);
/* After the head was dropped: nobody reads the body again. */
void http_exchange_drop_body(struct http_exchange *);
/* After the head was dropped, while nobody reads the body: it lies in as little memory as it needs,
 * without padding, and elsewhere than before. Nothing when memory is short. */
void http_exchange_pack_body(struct http_exchange *);
/* The padding is back. 0, or -1 when memory is short. */
int http_exchange_unpack_body(struct http_exchange *);
/* In on_head, before it returns 0: the body is streamed. max_body does not apply. */
void http_exchange_stream_body(struct http_exchange *);
/* What is still to come of it: 0 = nothing (on_body is not called any more), UINT64_MAX = not known
 * (chunked). */
uint64_t http_exchange_body_left(const struct http_exchange *);
/* No further on_body until resumed; some 64 KiB wait with us, the rest with the client. While
 * paused the body's clock stands still. Resuming calls nothing back before it returns. */
void http_exchange_pause_body(struct http_exchange *);
void http_exchange_resume_body(struct http_exchange *);
const struct ip_address *http_exchange_peer(const struct http_exchange *);
bool http_exchange_is_unix(const struct http_exchange *);
bool http_exchange_is_http10(const struct http_exchange *);
/* The connection's config (as of the request's head). */
struct config *http_exchange_config(const struct http_exchange *);
const struct http_server *http_exchange_server(const struct http_exchange *);
uint64_t
http_exchange_started_ms(const struct http_exchange *); /* uv_now at the first byte of the head */
void http_exchange_set_user(struct http_exchange *, void *user);

/* ---- the answer ---- */
/* Another reason phrase than the status's own, for the answer that follows; static. NULL = its own.
 */
void http_exchange_set_reason(struct http_exchange *, const char *reason);
/* Status line (with reason phrase) and headers. `headers` without Content-Length,
 * Transfer-Encoding, Connection, Date: settled here; one without a name is whole lines, ready to go
 * ("A: b\r\nC: d\r\n"), which must be our own words. length >= 0: Content-Length; -1: chunked
 * (HTTP/1.0: until close). Not sent alone: it leaves with the first write or end. */
void http_answer_start(struct http_exchange *, int status, const struct header *headers, size_t n,
                       int64_t length);
/* One piece of body: one write to the socket, at once (TCP_NODELAY); what the kernel does not take
 * is queued (copied). Returns the bytes still queued: above HTTP_HIGH_WATER the caller should stop
 * producing until on_drain. `flush_only` pieces (empty) send the head. */
size_t http_answer_write(struct http_exchange *, struct span piece);
/* What such a write needs. */
void http_answer_prefetch(const struct http_exchange *, struct prefetch *);
/* The last piece (may be empty) and the end of the body, in one write. The exchange is invalid
 * after this call. */
void http_answer_end(struct http_exchange *, struct span last);
/* Ends the body so that the client can see that it is cut: closes without the final chunk. The
 * exchange is invalid after this call. */
void http_answer_abort(struct http_exchange *);
/* start + end in one. */
void http_answer_whole(struct http_exchange *, int status, const struct header *headers, size_t n,
                       struct span body);
uint64_t http_exchange_bytes_out(const struct http_exchange *);

enum { HTTP_HIGH_WATER = 64 * 1024 };

#endif
