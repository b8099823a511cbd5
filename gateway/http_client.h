/*
 * gateway/http_client.h - the HTTP/1.1 client without a socket: requests as bytes, answers out of bytes.
 *
 * Pure (RFC 9112). The reader takes an answer's bytes in any pieces, skips 1xx, and hands out the head once and the body decoded: chunked, by
 * length or until close, gzip and deflate inflated.
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_CLIENT_H
#define DRAGOMAN_GATEWAY_HTTP_CLIENT_H

#include <llhttp.h>

#include "adapters/adapter.h"
#include "gateway/config.h"
#include "gateway/inflate.h"

enum { ANSWER_HEAD_MAX = 256 * 1024, ANSWER_HEADERS_MAX = 256 };

/* Everything before the body into `out`. -1 with fail when a header or the target holds CR, LF or NUL: it is never sent. */
int http_client_head(struct buffer *out, const struct site_config *, const struct site_request *,
                     struct fail *);
/* Retry-After as seconds from now: delta-seconds or an HTTP date (RFC 9110 10.2.3); 0 when it says nothing useful. */
int http_retry_after(struct span value, int64_t now_s);

struct http_reader_handler {
    void (*on_head)(void *owner, const struct site_head *);
    void (*on_body)(void *owner, struct span bytes);
    void *owner;
};

struct http_reader {
    llhttp_t parser;
    struct http_reader_handler handler;
    struct buffer text; /* names and values of the head, while it is read */
    struct header_place {
        unsigned name, name_n, value, value_n;
    } * places;
    size_t n_places;
    bool in_value, interim, head_done, complete, trailing, body_seen, stopped;
    struct inflate *inflate; /* NULL: identity */
    int error;               /* 0, or a FAIL_* kind */
    int64_t now_s;
};

enum http_reader_state { READER_MORE, READER_COMPLETE, READER_BROKEN };

void http_reader_init(struct http_reader *, const struct http_reader_handler *);
void http_reader_free(struct http_reader *);
/* READER_COMPLETE: the answer is whole (`trailing`: bytes followed it, the connection cannot be used again). READER_BROKEN: not HTTP, or a broken coding; fail is filled. */
enum http_reader_state http_reader_feed(struct http_reader *, struct span bytes, struct fail *);
/* The connection ended. READER_COMPLETE when the answer lasts until close; else READER_BROKEN with kind CUT. */
enum http_reader_state http_reader_eof(struct http_reader *, struct fail *);
/* No more callbacks (the owner has gone); bytes are still read to find the end. */
void http_reader_mute(struct http_reader *);
/* May the connection serve another request after this answer? */
bool http_reader_keep_alive(const struct http_reader *);

#endif
