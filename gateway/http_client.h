/*
 * gateway/http_client.h - HTTP/1.1 as a client speaks it, without a socket: writing a request's
 * head, reading an answer.
 *
 * Sans-IO. Reading is pulled: the owner hands in what has arrived and asks for the next event until
 * ANSWER_MORE. Stopping between two events is therefore always possible (back-pressure), and no
 * callback can destroy anything underneath.
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_CLIENT_H
#define DRAGOMAN_GATEWAY_HTTP_CLIENT_H

#include <llhttp.h>

#include "adapters/adapter.h"
#include "base/buffer.h"
#include "gateway/inflate.h"

enum { HTTP_HEAD_MAX = 256 * 1024, HTTP_HEADERS_MAX = 256 };

enum { HTTP_NO_BODY = -2, HTTP_CHUNKED_BODY = -1 }; /* instead of a length */

/* What a request's head is made of, whatever becomes of its body. */
struct http_outgoing {
    struct span method, target;
    const struct header *headers; /* without those that are the transport's: see upstream_start */
    size_t n_headers;
    int64_t length; /* of the body: Content-Length, HTTP_NO_BODY or HTTP_CHUNKED_BODY */
};

/* The last head that went some way, up to the last of the headers that it was given: a line that is
 * the same to the byte, as are those before it, was looked at then. Zeroed before its first use; it
 * holds credentials: to be wiped. */
struct http_known_head {
    char text[1000];
    size_t n; /* 0: none, or it had no room */
};

/* The head: `host` is the Host header's value, `prefix` goes before the target. Refuses whatever
 * could end a line early or is the transport's to say. `known` may be NULL. */
int http_head_write(struct buffer *out, const struct http_outgoing *, struct span host,
                    struct span prefix, struct http_known_head *known, struct fail *);
/* The same of an adapter's request, which has its body with it. */
int http_request_write(struct buffer *out, const struct site_request *request, struct span host,
                       struct span prefix, struct http_known_head *known, struct fail *);
/* A piece of a body in the chunked coding, and the end of one. An empty piece is none. */
int http_chunk_write(struct buffer *out, struct span piece, bool last);

/* Seconds until `value` (Retry-After: a number, or an HTTP-date, compared with now_s, Unix time); 0
 * = none, past or not understood. */
int http_retry_after(struct span value, int64_t now_s);
/* Unix time of an HTTP-date in any of its three forms; -1 when it is not one. */
int64_t http_date_parse(struct span value);

enum answer_event {
    ANSWER_MORE,  /* the input is used up */
    ANSWER_HEAD,  /* answer->head is valid until http_answer_drop_head, or the next answer */
    ANSWER_BODY,  /* *piece is valid until the next call; lies in the input where nothing had to be
                     inflated */
    ANSWER_END,   /* the answer is whole; what is left of the input is not its */
    ANSWER_BROKEN /* answer->fail says why: PROTOCOL where it makes no sense, CUT where it ends too
                     early */
};

/* What a head is gathered in. */
struct http_head_room;
void http_head_room_free(struct http_head_room *); /* NULL: nothing */

struct http_answer {
    struct site_head head;
    bool keep_alive;   /* after ANSWER_END: the connection may carry another request */
    bool as_it_is;     /* to be set after a reset: a compressed body is handed out compressed */
    struct fail *fail; /* after ANSWER_BROKEN: why; NULL: memory is short */

    /* Where a head's room is left for the next answer, perhaps another connection's: most heads
     * come and go in one piece. To be set after init; NULL = it is freed. */
    struct http_head_room **spare;

    /* private */
    llhttp_t parser;
    struct http_head_room *room; /* NULL: no head is being read or looked at */
    struct inflater *inflater;
    const char *label;
    const char *refused; /* why one of our callbacks stopped llhttp */
    size_t meta;         /* bytes of head, or of the current chunk's extensions and the trailers */
    size_t ahead; /* bytes at the front of the input that llhttp has passed and that still have to
                     be inflated */
    struct span raw; /* the body span that llhttp just found */
    /* How the body is read: by llhttp, or, behind a plain head, by us. */
    enum http_body_way { BODY_LLHTTP, BODY_LENGTH, BODY_CHUNKS } way;
    uint64_t left; /* BODY_LENGTH: bytes that are to come */
    bool begun;    /* the first bytes were looked at */
    bool no_body, in_head, have_head, head_told, needs_eof, complete, ended, inflating,
        between_chunks, broken, is_short;
};

/* `label` names the site in sentences; it must outlive the answer. Allocates nothing until an
 * answer comes. */
void http_answer_init(struct http_answer *, const char *label);
void http_answer_free(struct http_answer *);
/* Ready for the answer to the next request. `no_body`: it was a HEAD. */
void http_answer_reset(struct http_answer *, bool no_body);
/* Nobody looks at answer->head any more. */
void http_answer_drop_head(struct http_answer *);
/* Its pieces are inflated: they may be a thousand times what comes in. */
bool http_answer_inflates(const struct http_answer *);
/* Takes from the front of *input. The bytes that are left must be handed in again, first. */
enum answer_event http_answer_next(struct http_answer *, struct span *input, struct span *piece);
/* After ANSWER_BODY: what lies whole in the input of the body's next chunks becomes part of the
 * piece, which is copied to `room` for that, of `cap` bytes. For who does not care where a site
 * cuts its chunks: a round less for each. */
void http_answer_join(struct http_answer *, struct span *input, struct span *piece, char *room,
                      size_t cap);
/* After ANSWER_BODY: was that the last piece, with the end right behind it? */
bool http_answer_is_told(const struct http_answer *);
/* The connection ended: ANSWER_END when that is how this answer ends, else ANSWER_BROKEN. After
 * next said ANSWER_MORE. */
enum answer_event http_answer_eof(struct http_answer *);

#endif
