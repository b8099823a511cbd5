/*
 * gateway/http_parse.h - one HTTP/1.x request after another out of a stream of bytes. Sans-IO.
 *
 * The head is gathered and checked byte by byte as it comes (so that nonsense is refused at its
 * first wrong byte), then read by llhttp (unless it is as plain as nearly all are), then its
 * meaning for the framing is settled by the strictest reading of RFC 9112, 6.3. A request is
 * refused rather than understood in one of two ways: bare CR or LF, folded lines, blanks before a
 * colon, control characters, two lengths, a length and a coding, any coding but "chunked" end in
 * 400.
 *
 *   loop: http_parser_next → HTTP_PARSE_HEAD; http_parser_begin_body (or _stream_body, or
 * _discard_body) → DONE, or MORE: http_parser_next … → HTTP_PARSE_DONE; http_parser_reset
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_PARSE_H
#define DRAGOMAN_GATEWAY_HTTP_PARSE_H

#include "adapters/adapter.h" /* struct header */
#include "base/arena.h"
#include "base/buffer.h"
#include "base/fail.h"
#include "gateway/http_chunked.h"

enum {
    HTTP_HEAD_MAX = 64 * 1024,  /* request line and headers; more is 431 */
    HTTP_TARGET_MAX = 8 * 1024, /* more is 414 */
    HTTP_METHOD_MAX = 32,
    HTTP_HEADER_LINES_MAX = 512 /* more is 431 */
};

enum http_parse_event {
    HTTP_PARSE_MORE,  /* all input is used */
    HTTP_PARSE_HEAD,  /* the head is whole: `request` is filled */
    HTTP_PARSE_PIECE, /* of a streamed body: `piece` lies in the input */
    HTTP_PARSE_DONE,  /* so is the body: `body` is filled, or `piece` is its last, perhaps empty */
    HTTP_PARSE_FAILED /* refused; final until the reset, and the bytes that follow mean nothing */
};

/* Why a request is refused. */
struct http_problem {
    int status;
    struct fail fail;
};

/* Spans point into the parser's memory and live until the reset. */
struct http_request {
    struct span method, target, path;
    struct header *headers;
    size_t n_headers;
    uint64_t seen;          /* http_header_bit of each header's name */
    int64_t content_length; /* -1: not given */
    bool chunked;
    bool http10;
    bool keep_alive;      /* the client's wish */
    bool expect_continue; /* the client waits for 100 before it sends the body */
};

/* A name's bit in `seen`, whatever its capitals: who asks for a header that is not there, as most
 * that are asked for are not, need not look at all of them. */
static inline uint64_t http_header_bit(struct span name)
{
    unsigned first = name.n ? (unsigned char)name.p[0] | 0x20u : 0;
    return UINT64_C(1) << ((name.n * 7 + first) & 63);
}

struct http_parser {
    struct http_request request;
    struct buffer body; /* with JSON_PADDING */
    struct span piece;
    /* private */
    unsigned at;
    unsigned lines;     /* header lines so far */
    size_t target_at;   /* offset of the target in `head` */
    struct buffer head; /* the head's bytes; request's spans point here */
    struct arena arena; /* header table and path */
    struct http_chunked chunked;
    uint64_t left; /* of a body with Content-Length */
    bool discard, stream;
};

/* No allocation: an idle parser costs its own size. */
void http_parser_init(struct http_parser *);
/* Gives all memory back and waits for the next head. Also how a parser is destroyed. */
void http_parser_reset(struct http_parser *);
/* The same for who reads another head soon: a little memory stays. */
void http_parser_recycle(struct http_parser *);
/* Nothing of a head has come yet (but perhaps an empty line, which is skipped). */
bool http_parser_is_idle(const struct http_parser *);
/* Reads on and moves `in`. The problem is filled with HTTP_PARSE_FAILED only. */
enum http_parse_event http_parser_next(struct http_parser *, struct span *in,
                                       struct http_problem *);
/* After HEAD. The body is gathered in `body`, up to `max_body` bytes: DONE when there is none,
 * FAILED (413) when the announced length passes the limit, else MORE. */
enum http_parse_event http_parser_begin_body(struct http_parser *, size_t max_body,
                                             struct http_problem *);
/* After HEAD, instead: the body is handed out as it comes, whatever its size. DONE or MORE. */
enum http_parse_event http_parser_stream_body(struct http_parser *);
/* After HEAD, instead, or in the middle of a streamed body: what comes is read and thrown away.
 * DONE or MORE. */
enum http_parse_event http_parser_discard_body(struct http_parser *);
/* Bytes of the body that are still to come; UINT64_MAX when that is not known. */
uint64_t http_parser_body_left(const struct http_parser *);
/* After DONE: the body is the caller's, who frees it; NULL when there was none. It has
 * JSON_PADDING behind it. */
char *http_parser_take_body(struct http_parser *, size_t *n);

#endif
