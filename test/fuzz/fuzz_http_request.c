/*
 * fuzz_http_request.c - any bytes as a stream of requests: never a crash or a leak, every span lies
 * in the head, and the outcome does not depend on how the bytes are cut. The first byte chooses
 * how. Whole heads that are plain are not read by llhttp, those in pieces are: both must have found
 * the same.
 */
#include <stdlib.h>

#include "gateway/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BODY = 4096, REQUESTS_MAX = 64 };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static void check_inside(const struct http_parser *p, struct span s)
{
    CHECK(s.n == 0 || (s.p >= p->head.p && s.p + s.n <= p->head.p + p->head.n));
}

static void check_text(struct span s, bool blanks)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        CHECK(c != 0x7F && (c >= ' ' || c == '\t') && (blanks || (c != ' ' && c != '\t')));
    }
}

static void check_request(const struct http_parser *p)
{
    const struct http_request *r = &p->request;
    check_inside(p, r->method);
    check_inside(p, r->target);
    check_text(r->target, false);
    CHECK(r->method.n && r->target.n && r->path.n && r->path.n <= r->target.n + 1);
    CHECK(!(r->chunked && r->content_length >= 0));
    CHECK(!(r->chunked && r->http10));
    for (size_t i = 0; i < r->n_headers; i++) {
        check_inside(p, r->headers[i].name);
        check_inside(p, r->headers[i].value);
        CHECK(r->headers[i].name.n);
        check_text(r->headers[i].name, false);
        check_text(r->headers[i].value, true);
    }
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t mix_text(uint64_t hash, struct span text)
{
    return mix(mix(hash, &text.n, sizeof text.n), text.p, text.n);
}

static uint64_t mix_request(uint64_t hash, const struct http_request *r)
{
    const bool flags[] = {r->chunked, r->http10, r->keep_alive, r->expect_continue};
    hash = mix_text(mix_text(mix_text(hash, r->method), r->target), r->path);
    hash = mix(mix(hash, flags, sizeof flags), &r->content_length, sizeof r->content_length);
    for (size_t i = 0; i < r->n_headers; i++)
        hash = mix_text(mix_text(hash, r->headers[i].name), r->headers[i].value);
    return mix(hash, &r->n_headers, sizeof r->n_headers);
}

/* A digest of all that was understood. */
static uint64_t parse(struct span text, size_t piece)
{
    struct http_parser p;
    uint64_t hash = 0xcbf29ce484222325u;
    int requests = 0;
    http_parser_init(&p);
    for (size_t at = 0; at < text.n && requests < REQUESTS_MAX;) {
        struct http_problem problem = {0};
        struct span in = span_first(span_from(text, at), piece);
        size_t given = in.n;
        enum http_parse_event event = http_parser_next(&p, &in, &problem);
        if (event == HTTP_PARSE_HEAD) {
            check_request(&p);
            hash = mix_request(hash, &p.request);
            switch (requests % 4) {
            case 2: event = http_parser_discard_body(&p); break;
            case 3: event = http_parser_stream_body(&p); break;
            default: event = http_parser_begin_body(&p, MAX_BODY, &problem);
            }
        } else if (p.stream && (event == HTTP_PARSE_PIECE || event == HTTP_PARSE_DONE)) {
            CHECK(p.piece.n || event == HTTP_PARSE_DONE);
            CHECK(!p.piece.n || (p.piece.p >= text.p && p.piece.p + p.piece.n <= in.p));
            hash = mix(hash, p.piece.p, p.piece.n);
        }
        CHECK(in.n < given || event == HTTP_PARSE_DONE);
        CHECK(event != HTTP_PARSE_PIECE || http_parser_body_left(&p) > 0);
        CHECK(event != HTTP_PARSE_MORE || in.n == 0 || p.request.method.n);
        at += given - in.n;
        if (event == HTTP_PARSE_FAILED) {
            CHECK(problem.status >= 400 && problem.fail.message[0]);
            hash = mix(hash, &problem.status, sizeof problem.status);
            break;
        }
        if (event == HTTP_PARSE_DONE) {
            CHECK(p.body.n <= MAX_BODY);
            hash = mix(hash, p.body.p, p.body.n);
            hash = mix(hash, &at, sizeof at);
            http_parser_reset(&p);
            requests++;
        }
    }
    http_parser_reset(&p);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct span text = span_of((const char *)data + 1, size - 1);
    size_t piece = data[0] % 32 + 1u;
    CHECK(parse(text, piece) == parse(text, text.n + 1));
    return 0;
}
