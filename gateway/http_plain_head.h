/*
 * gateway/http_plain_head.h - heads of answers that hold nothing that readers could differ about,
 * as nearly all do: read in one walk. Everything else about heads is llhttp's (http_client.c).
 *
 * Plain is: HTTP/1.1, a final status with a body, lines that end with CRLF and are not folded, no
 * control character, Content-Length or `Transfer-Encoding: chunked` but not both and each once, no
 * Content-Encoding, no Upgrade, no Connection but keep-alive.
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_PLAIN_HEAD_H
#define DRAGOMAN_GATEWAY_HTTP_PLAIN_HEAD_H

#include "adapters/adapter.h"

struct http_plain_head {
    struct span text;                 /* all of it, with the empty line */
    struct span reason, content_type; /* in it; the first Content-Type */
    int status;
    size_t n_headers;
    bool has_length, chunked;
    uint64_t length;
};

/* The head at the front of the input, its headers too (spans in the input, values trimmed). False
 * when it is not plain, not all there, or has more than `cap` headers. */
bool http_plain_head_read(struct span input, struct header *headers, size_t cap,
                          struct http_plain_head *);

#endif
