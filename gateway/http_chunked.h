/*
 * gateway/http_chunked.h - the chunked transfer coding of request bodies (RFC 9112, 7.1), decoded
 * strictly.
 *
 * Pure. Why our own and not llhttp's: the packaged llhttp is built in its loose mode, which takes
 * any two bytes for the CRLF after a chunk and any byte after the CR of a size line. That is good
 * for answers of odd sites and an opening for request smuggling.
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_CHUNKED_H
#define DRAGOMAN_GATEWAY_HTTP_CHUNKED_H

#include "base/buffer.h"

enum http_chunked_result {
    CHUNKED_MORE,    /* all input is used */
    CHUNKED_DATA,    /* http_chunked_next only: a piece of the body */
    CHUNKED_DONE,    /* the body is whole; what follows it is left in the input */
    CHUNKED_BAD,     /* not the chunked coding */
    CHUNKED_TOO_BIG, /* passes the limit of `out` */
    CHUNKED_EXTRA,   /* more than 16 KiB of extensions and trailers, which are dropped anyway */
    CHUNKED_NO_MEMORY
};

/* Zero is the state before the first byte. Results other than MORE are final. */
struct http_chunked {
    uint64_t left;   /* of the chunk's data */
    unsigned at;     /* enum in http_chunked.c */
    unsigned extra;  /* bytes of extensions and trailers so far */
    unsigned digits; /* of the size that is being read */
};

/* Moves `in` on up to the next piece of the body, which lies in the input (DATA), or to the end of
 * either. */
enum http_chunked_result http_chunked_next(struct http_chunked *, struct span *in,
                                           struct span *piece);
/* Appends what `in` holds to `out` (NULL: counts and throws away) and moves `in` on. */
enum http_chunked_result http_chunked_decode(struct http_chunked *, struct span *in,
                                             struct buffer *out);

#endif
