/*
 * gateway/upstream.h - requests to sites: connection pool, transports and the HTTP/1.1 client.
 *
 * One struct upstream per event loop. A call is one request and its answer over a pooled or new
 * connection: socket → (HTTP CONNECT or SOCKS5 proxy) → (TLS) → HTTP. Answers come decoded: chunked
 * coding, Content-Length, until close, 1xx skipped, trailers ignored, gzip and deflate inflated.
 * Each read of the socket calls on_body at most a few times and then on_read_done once, so that the
 * receiver can write once per read. A request that dies on a *reused* connection before a byte of
 * the answer came is sent once more on a fresh one. Redirects are not followed (they are answers).
 *
 * A streamed call (upstream_open) sends a body of any size as it comes, and hands out the answer's
 * body in the content coding that it has.
 */
#ifndef DRAGOMAN_GATEWAY_UPSTREAM_H
#define DRAGOMAN_GATEWAY_UPSTREAM_H

#include <uv.h>

#include "adapters/adapter.h"
#include "gateway/config.h"

struct upstream;
struct upstream_call;
struct http_outgoing; /* http_client.h */

enum { UPSTREAM_HIGH_WATER = 64 * 1024 };

struct upstream_handler {
    void (*on_head)(void *owner, const struct site_head *);
    void (*on_body)(void *owner, struct span bytes); /* valid during the call */
    void (*on_read_done)(void *owner); /* after the last on_body of one socket read; not called once
                                          the call ended or was cancelled inside */
    /* Exactly once unless cancelled. END_CLEAN: the answer is whole. END_CUT with fail kind CUT
     * (broken off after the head), UNREACHABLE (before it: resolve, connect, proxy, TLS, closed
     * without an answer), PROTOCOL (no HTTP) or TIMEOUT (connect_timeout; first_byte_timeout until
     * the head; idle_timeout between reads). The call is invalid afterwards. */
    void (*on_end)(void *owner, enum stream_end, const struct fail *);
    void *owner;
};

/* More that a streamed call tells its owner. */
struct upstream_body_handler {
    /* Everything given to upstream_send has left, and there had been more
     * than UPSTREAM_HIGH_WATER. */
    void (*on_drain)(void *owner);
    /* The request has to go out once more, on a fresh connection: all that was given to
     * upstream_send so far, valid until the call returns; false when it was not kept (the call then
     * ends). May be NULL. */
    bool (*on_again)(void *owner, struct span *sent);
};

struct upstream *upstream_create(uv_loop_t *);
uv_loop_t *upstream_loop(const struct upstream *);
/* Gives back what is kept for the next calls. */
void upstream_rest(struct upstream *);
/* Closes idle connections and cancels nothing: callers cancel their calls first. `closed` when
 * every handle is closed; then it is freed. */
void upstream_destroy(struct upstream *, void (*closed)(void *), void *arg);
/* Closes idle connections of sites that are gone or changed (after a reload). */
void upstream_forget_idle(struct upstream *);

/* Starts a request. The request's spans must live until on_end or cancel, or upstream_has_sent.
 * `site` is kept alive by the caller (config reference). `account_name` separates pools. Never
 * calls back before it returns. NULL with fail when memory is short, or the request's other origin
 * is none. Adds Host, User-Agent (dragoman/VERSION), Accept-Encoding: identity, Content-Length
 * (with a body, and for POST/PUT/PATCH) and Connection: keep-alive. */
struct upstream_call *upstream_start(struct upstream *, const struct site_config *site,
                                     struct span account_name, const struct site_request *,
                                     const struct upstream_handler *, struct fail *);
/* The same with a body that is still to come (or HTTP_NO_BODY). The head is copied; `site` is kept
 * alive by the caller. No Content-Length, Transfer-Encoding, Host, Connection, Expect, TE, Trailer
 * and Upgrade among the headers: ours. */
struct upstream_call *upstream_open(struct upstream *, const struct site_config *site,
                                    struct span account_name, const struct http_outgoing *,
                                    const struct upstream_handler *,
                                    const struct upstream_body_handler *, struct fail *);
/* The next piece of its body (copied), at any time after upstream_open; `last` ends it, once. All
 * pieces together have the announced length. Never calls back before it returns. Returns the bytes
 * that wait to leave: above UPSTREAM_HIGH_WATER the caller should stop until on_drain. While
 * nothing waits and the body has not ended, first_byte_timeout stands still. */
size_t upstream_send(struct upstream_call *, struct span piece, bool last);
/* Within on_body: is that the last of the body, and on_end what comes next, within the same read
 * (unless the call is paused)? Until then the piece stays where it is. False says nothing. */
bool upstream_is_told(const struct upstream_call *);
/* An answer comes, and the whole request has left: its spans are not looked at any more. */
bool upstream_has_sent(const struct upstream_call *);
/* What the handler needs with each piece (copied): for an answer with long pauses between them. */
void upstream_prefetch(struct upstream_call *, const struct prefetch *);
/* Stops and starts reading from the site's socket (back-pressure). While paused the idle clock
 * stands still. */
void upstream_pause(struct upstream_call *);
void upstream_resume(struct upstream_call *);
/* Ends the call at once: the socket is closed (or, with `finished` and the body nearly read,
 * drained for the pool up to 64 KiB or 1 s). No callback follows. May be called inside any callback
 * of the call. */
void upstream_cancel(struct upstream_call *, bool finished);

struct upstream_counters {
    uint64_t connections, reused, requests, tls_full, tls_resumed;
    size_t open, idle;
};
struct upstream_counters upstream_counters(const struct upstream *);

#endif
