/*
 * test_http_parse.c - the request parser: every case whole and byte by byte, with the same outcome.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/http_parse.h"

#define POST  "POST /x HTTP/1.1\r\nHost: a\r\n"
#define CHUNK POST "Transfer-Encoding: chunked\r\n\r\n"

/* Parses one request out of `text`, `piece` bytes at a time. Returns 0 for a whole one, 1 for an
 * unfinished one, else the status. `*used` is where its end was found. The parser keeps the result.
 */
static int parse(struct http_parser *p, struct span text, size_t piece, size_t max_body,
                 size_t *used)
{
    struct http_problem problem = {0};
    http_parser_init(p);
    for (size_t at = 0; at < text.n;) {
        struct span in = span_first(span_from(text, at), piece);
        size_t given = in.n;
        enum http_parse_event event = http_parser_next(p, &in, &problem);
        if (event == HTTP_PARSE_HEAD)
            event = http_parser_begin_body(p, max_body, &problem);
        at += given - in.n;
        *used = at;
        if (event == HTTP_PARSE_FAILED) {
            assert_true(problem.fail.kind != FAIL_NONE && problem.fail.message[0]);
            return problem.status;
        }
        if (event == HTTP_PARSE_DONE)
            return 0;
    }
    return 1;
}

/* Both ways; the parser must be reset by the caller. */
static int parse_all_ways(struct http_parser *p, struct span text, size_t max_body, size_t *used)
{
    static const size_t sizes[] = {1, 2, 3, 7, 100000};
    int result = -1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int now = parse(p, text, sizes[i], max_body, used);
        if (result >= 0 && now != result)
            fail_msg("%.*s: %d in pieces of %zu, else %d", SPAN_ARGS(text), now, sizes[i], result);
        result = now;
        if (i + 1 < sizeof sizes / sizeof *sizes)
            http_parser_reset(p);
    }
    return result;
}

static void expect_status(struct span text, int status)
{
    struct http_parser p;
    size_t used;
    int result = parse_all_ways(&p, text, 1000, &used);
    if (result != status)
        fail_msg("%.*s: %d, not %d", SPAN_ARGS(text), result, status);
    http_parser_reset(&p);
}

static bool same_text(struct span a, struct span b) { return !a.p == !b.p && span_eq(a, b); }

static bool same_request(const struct http_request *a, const struct http_request *b)
{
    bool same = same_text(a->method, b->method) && same_text(a->target, b->target) &&
                same_text(a->path, b->path) && a->n_headers == b->n_headers &&
                a->content_length == b->content_length && a->chunked == b->chunked &&
                a->http10 == b->http10 && a->keep_alive == b->keep_alive &&
                a->expect_continue == b->expect_continue;
    for (size_t i = 0; same && i < a->n_headers; i++)
        same = same_text(a->headers[i].name, b->headers[i].name) &&
               same_text(a->headers[i].value, b->headers[i].value);
    return same;
}

/* Whole, a plain head is read by another reader than in pieces. */
static void a_head_says_the_same_whole_and_in_pieces(void **state)
{
    static const struct span heads[] = {
        SPAN_INIT(POST "\r\n"),
        SPAN_INIT("GET /v1/models?limit=1&x=a_b-c.d HTTP/1.1\r\nHost:a\r\nAccept: */*\r\n\r\n"),
        SPAN_INIT("GET / HTTP/1.1\r\n\r\n"),
        SPAN_INIT(
            "POST /v1//chat/completions/ HTTP/1.1\r\nhOST: \t a b:c \t \r\n"
            "Content-Length: 3\r\nConnection: Keep-Alive, x\r\nX-A_b!#: \xC3\xA9:\"\"\r\n\r\nabc"),
        SPAN_INIT("POST /x HTTP/1.1\r\ncontent-length:  0 \r\nConnection: close\r\n\r\n"),
        SPAN_INIT("POST /x HTTP/1.1\r\nEmpty:\r\nBlank:  \r\nExpect: 100-continue\r\n\r\n"),
        SPAN_INIT("GET /x HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"),
        SPAN_INIT("PUT /x HTTP/1.1\r\nA: b\r\n\r\n"),
        SPAN_INIT("GET http://h:1/x?y HTTP/1.1\r\nA: b\r\n\r\n"),
        SPAN_INIT("GET /a%20b~c HTTP/1.1\r\nA: b\r\n\r\n"),
        SPAN_INIT("GET /x HTTP/1.0\r\nA: b\r\nConnection: keep-alive\r\n\r\n"),
        SPAN_INIT(CHUNK "0\r\n\r\n"),
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct http_parser whole, pieces;
        size_t used;
        assert_int_equal(parse(&whole, heads[i], heads[i].n, 1000, &used), 0);
        assert_int_equal(parse(&pieces, heads[i], 1, 1000, &used), 0);
        if (!same_request(&whole.request, &pieces.request))
            fail_msg("%.*s", SPAN_ARGS(heads[i]));
        http_parser_reset(&whole);
        http_parser_reset(&pieces);
    }
}

/* What a recycled parser kept is nothing that the next request could see. */
static void a_recycled_parser_knows_nothing_of_the_last_request(void **state)
{
    static const struct span first = SPAN_INIT(POST "Secret: s\r\nContent-Length: 3\r\n\r\nabc"),
                             second = SPAN_INIT("GET /y HTTP/1.1\r\nHost: b\r\n\r\n");
    struct http_parser p, fresh;
    struct http_problem problem;
    size_t used;
    assert_int_equal(parse(&p, first, first.n, 1000, &used), 0);
    http_parser_recycle(&p);
    assert_true(http_parser_is_idle(&p));
    assert_int_equal(p.body.n, 0);
    struct span in = second;
    assert_int_equal(http_parser_next(&p, &in, &problem), HTTP_PARSE_HEAD);
    assert_int_equal(parse(&fresh, second, second.n, 1000, &used), 0);
    assert_true(same_request(&p.request, &fresh.request));
    http_parser_reset(&p);
    http_parser_reset(&fresh);
}

#define REFUSED(text, status) expect_status(SPAN(text), status)
#define SERVED(text)          expect_status(SPAN(text), 0)

static void expect_body(const char *text, const char *body)
{
    struct http_parser p;
    size_t used;
    assert_int_equal(parse_all_ways(&p, span_str(text), 1000, &used), 0);
    if (!span_eq(buffer_span(&p.body), span_str(body)))
        fail_msg("%s: body %.*s", text, SPAN_ARGS(buffer_span(&p.body)));
    assert_int_equal(used, strlen(text));
    http_parser_reset(&p);
}

static void head_is_read(void **state)
{
    struct http_parser p;
    size_t used;
    struct span text =
        SPAN("\r\n\r\nGET //v1/models/?x=1 HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n"
             "X-Blank:  \t\r\nAccept: \t text/html , b\t \r\nx-8bit: \xc3\xa9\r\n\r\n"
             "GET");
    assert_int_equal(parse_all_ways(&p, text, 0, &used), 0);
    assert_int_equal(used, text.n - 3); /* the next request is left alone */
    assert_true(span_eq(p.request.method, SPAN("GET")));
    assert_true(span_eq(p.request.target, SPAN("//v1/models/?x=1")));
    assert_true(span_eq(p.request.path, SPAN("/v1/models")));
    assert_int_equal(p.request.n_headers, 5);
    assert_true(span_eq(p.request.headers[1].name, SPAN("X-Empty")));
    assert_int_equal(p.request.headers[1].value.n, 0);
    assert_int_equal(p.request.headers[2].value.n, 0);
    assert_true(span_eq(p.request.headers[3].value, SPAN("text/html , b")));
    assert_true(span_eq(p.request.headers[4].value, SPAN("\xc3\xa9")));
    assert_true(p.request.keep_alive);
    assert_false(p.request.http10 || p.request.chunked || p.request.expect_continue);
    assert_int_equal(p.request.content_length, -1);
    http_parser_reset(&p);
}

static void keep_alive_of(const char *text, bool wanted)
{
    struct http_parser p;
    size_t used;
    assert_int_equal(parse_all_ways(&p, span_str(text), 0, &used), 0);
    if (p.request.keep_alive != wanted)
        fail_msg("%s", text);
    http_parser_reset(&p);
}

static void connection_header_decides_keep_alive(void **state)
{
    keep_alive_of("GET / HTTP/1.1\r\n\r\n", true);
    keep_alive_of("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false);
    keep_alive_of("GET / HTTP/1.1\r\nConnection: x, CLOSE\r\n\r\n", false);
    keep_alive_of("GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false);
    keep_alive_of("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", true);
    keep_alive_of("GET / HTTP/1.0\r\n\r\n", false);
    keep_alive_of("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true);
}

static void bodies_are_gathered(void **state)
{
    expect_body(POST "Content-Length: 5\r\n\r\nhello", "hello");
    expect_body(POST "Content-Length: 0\r\n\r\n", "");
    expect_body(POST "content-length:  5 \r\n\r\nhello", "hello");
    expect_body(POST "\r\n", "");
    expect_body(CHUNK "5\r\nhello\r\n0\r\n\r\n", "hello");
    expect_body(CHUNK "1\r\nh\r\n0004;a=\"b c\";d\r\nello\r\n00\r\nX: y\r\nZ:\r\n\r\n", "hello");
    expect_body(CHUNK "A\r\n0123456789\r\na\r\nabcdefghij\r\n0\r\n\r\n", "0123456789abcdefghij");
    expect_body(POST "tRANSFER-eNCODING: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n", "x");
    /* An upgrade that we do not follow, and CONNECT, have bodies like everybody. */
    expect_body(POST "Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\nx", "x");
    expect_body("CONNECT a:1 HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "x");
}

static void body_has_padding_and_grows_with_what_arrives(void **state)
{
    struct http_parser p;
    struct http_problem problem;
    struct span in = SPAN(POST "Content-Length: 900000\r\n\r\nab");
    http_parser_init(&p);
    assert_int_equal(http_parser_next(&p, &in, &problem), HTTP_PARSE_HEAD);
    assert_int_equal(http_parser_begin_body(&p, 1000000, &problem), HTTP_PARSE_MORE);
    assert_int_equal(http_parser_next(&p, &in, &problem), HTTP_PARSE_MORE);
    assert_true(p.body.cap < 1000);
    for (int i = 0; i < JSON_PADDING; i++)
        (void)*(volatile char *)(p.body.p + p.body.n + i); /* ASan minds */
    http_parser_reset(&p);
}

static void unfinished_ones_ask_for_more(void **state)
{
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\n", 1);
    REFUSED("\r\n", 1);
    REFUSED(POST "Content-Length: 5\r\n\r\nhell", 1);
    REFUSED(CHUNK "5\r\nhello\r\n0\r\n", 1);
}

static void what_is_no_http_is_refused(void **state)
{
    REFUSED("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400);
    REFUSED("\0\0\0\0", 400);
    REFUSED("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 400);
    REFUSED("GET /\0 HTTP/1.1\r\n\r\n", 400);
    REFUSED("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400);
    REFUSED("GET / HTTP/2.0\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.2\r\n\r\n", 400);
    REFUSED("GET / HTTP/0.9\r\n\r\n", 400);
    REFUSED("GET /\r\n\r\n", 400);
    REFUSED("GET / RTSP/1.0\r\n\r\n", 400);
    REFUSED("SOURCE / ICE/1.0\r\n\r\n", 400);
    REFUSED("GET  / HTTP/1.1\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1 \r\n\r\n", 400);
    REFUSED("GET / x HTTP/1.1\r\n\r\n", 400);
    REFUSED(" GET / HTTP/1.1\r\n\r\n", 400);
    REFUSED("\nGET / HTTP/1.1\r\n\r\n", 400);
    REFUSED("get / HTTP/1.1\r\n\r\n", 400);
    REFUSED("BREW / HTTP/1.1\r\n\r\n", 400);
    REFUSED("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 400);
    REFUSED("SSH-2.0-OpenSSH_9.2\r\n", 400);
    REFUSED("{\"a\":1}", 400);
}

static void ambiguous_lines_are_refused(void **state)
{
    REFUSED("GET / HTTP/1.1\nHost: a\n\n", 400);
    REFUSED("GET / HTTP/1.1\r\nHost: a\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\rX\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\n\rX", 400);
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\nHost\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\n: a\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\nH(: a\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\nA: \x01\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", 400);
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400);
}

static void ambiguous_lengths_are_refused(void **state)
{
    REFUSED(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400);
    REFUSED(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400);
    REFUSED(POST "Content-Length: 5, 5\r\n\r\nhello", 400);
    REFUSED(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    REFUSED(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400);
    REFUSED(POST "Transfer-Encoding: gzip\r\n\r\n", 400);
    REFUSED(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400);
    REFUSED(POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400);
    REFUSED(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400);
    REFUSED(POST "Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400);
    REFUSED(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    REFUSED("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    REFUSED(POST "Content-Length: -5\r\n\r\nhello", 400);
    REFUSED(POST "Content-Length: +5\r\n\r\nhello", 400);
    REFUSED(POST "Content-Length: 0x5\r\n\r\nhello", 400);
    REFUSED(POST "Content-Length: 5x\r\n\r\nhello", 400);
    REFUSED(POST "Content-Length: 1 2\r\n\r\nhello", 400);
    REFUSED(POST "Content-Length:\r\n\r\nhello", 400);
    REFUSED(POST "Content-Length: 5\t\r\n\r\nhello", 400); /* llhttp minds; huge it is not */
}

static void huge_lengths_are_413(void **state)
{
    REFUSED(POST "Content-Length: 1001\r\n\r\n", 413);
    REFUSED(POST "Content-Length: 9223372036854775807\r\n\r\n", 413);
    REFUSED(POST "Content-Length: 18446744073709551615\r\n\r\n", 413);
    REFUSED(POST "Content-Length: 18446744073709551621\r\n\r\n", 413);
    REFUSED(POST "Content-Length: 999999999999999999999999999999\r\n\r\n", 413);
    REFUSED(CHUNK "3E9\r\n", 413);
    REFUSED(CHUNK "fffffffffffffffff\r\n", 413);
    REFUSED(CHUNK "ffffffffffffffff\r\n", 413);
}

static void chunks_that_pass_the_limit_together_are_413(void **state)
{
    char text[2000];
    int n = snprintf(text, sizeof text, CHUNK "1f4\r\n%0500d\r\n1f5\r\n", 1);
    expect_status(span_of(text, (size_t)n), 413);
    n = snprintf(text, sizeof text, CHUNK "1f4\r\n%0500d\r\n1f4\r\n%0500d\r\n0\r\n\r\n", 1, 2);
    expect_status(span_of(text, (size_t)n), 0);
}

static void loose_chunks_are_refused(void **state)
{
    REFUSED(CHUNK "5\nhello\r\n0\r\n\r\n", 400);
    REFUSED(CHUNK "5\r\nhello\n0\r\n\r\n", 400);
    REFUSED(CHUNK "5\r\nhelloXX0\r\n\r\n", 400);
    REFUSED(CHUNK "5\rXhello\r\n0\r\n\r\n", 400);
    REFUSED(CHUNK "5 \r\nhello\r\n0\r\n\r\n", 400);
    REFUSED(CHUNK " 5\r\nhello\r\n0\r\n\r\n", 400);
    REFUSED(CHUNK "0x5\r\nhello\r\n0\r\n\r\n", 400);
    REFUSED(CHUNK "-5\r\nhello\r\n0\r\n\r\n", 400);
    REFUSED(CHUNK "\r\nhello\r\n0\r\n\r\n", 400);
    REFUSED(CHUNK ";a\r\nhello\r\n0\r\n\r\n", 400);
    REFUSED(CHUNK "5;a\nhello\r\n0\r\n\r\n", 400);
    REFUSED(CHUNK "5;\x01\r\nhello\r\n0\r\n\r\n", 400);
    REFUSED(CHUNK "0\r\n\rX", 400);
    REFUSED(CHUNK "0\r\n X: y\r\n\r\n", 400);
    REFUSED(CHUNK "0\r\nX: y\n\r\n", 400);
}

static void sizes_have_few_digits(void **state)
{
    char text[400];
    int n = snprintf(text, sizeof text, CHUNK "%064d\r\nx\r\n%064d\r\ny\r\n0\r\n\r\n", 1, 1);
    expect_status(span_of(text, (size_t)n), 0);
    n = snprintf(text, sizeof text, CHUNK "%065d", 1);
    expect_status(span_of(text, (size_t)n), 400);
}

/* What answers a request that is refused within its head has to know this much of it. */
static void the_method_of_a_refused_head_is_known(void **state)
{
    static const struct {
        const char *text, *method;
    } cases[] = {
        {"HEAD /\x01", "HEAD"},
        {"\r\nHEAD / HTTP/1.1\r\nA b: c\r\n\r\n", "HEAD"},
        {"HEAD / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "HEAD"},
        {"HEAD\x01", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t cut = 0; cut < strlen(cases[i].text); cut++) {
            struct http_parser p;
            struct http_problem problem;
            struct span first = span_first(span_str(cases[i].text), cut);
            struct span rest = span_from(span_str(cases[i].text), cut);
            http_parser_init(&p);
            if (http_parser_next(&p, &first, &problem) == HTTP_PARSE_MORE)
                assert_int_equal(http_parser_next(&p, &rest, &problem), HTTP_PARSE_FAILED);
            assert_true(span_eq(p.request.method, span_str(cases[i].method)));
            http_parser_reset(&p);
        }
    }
}

/* `prefix`, then n times `c`, then `suffix`. */
static struct span long_text(const char *prefix, size_t n, const char *suffix)
{
    size_t a = strlen(prefix), b = strlen(suffix);
    char *text = malloc(a + n + b);
    assert_non_null(text);
    memcpy(text, prefix, a);
    memset(text + a, 'x', n);
    memcpy(text + a + n, suffix, b);
    return span_of(text, a + n + b);
}

static void expect_long(const char *prefix, size_t n, const char *suffix, int status)
{
    struct span text = long_text(prefix, n, suffix);
    expect_status(text, status);
    free((char *)text.p);
}

static void long_heads_have_their_statuses(void **state)
{
    expect_long("GET /", HTTP_TARGET_MAX - 1, " HTTP/1.1\r\n\r\n", 0);
    expect_long("GET /", HTTP_TARGET_MAX, " HTTP/1.1\r\n\r\n", 414);
    expect_long("GET /", 30000, "", 414); /* without waiting for the rest */
    expect_long("GET / HTTP/1.1\r\nCookie: ", 8192, "\r\n\r\n", 0);
    expect_long("GET / HTTP/1.1\r\nA: ", HTTP_HEAD_MAX - 23, "\r\n\r\n", 0);
    expect_long("GET / HTTP/1.1\r\nA: ", HTTP_HEAD_MAX - 22, "\r\n\r\n", 431);
    expect_long("GET / HTTP/1.1\r\n", 100000, "", 431);
    expect_long(CHUNK "0;", 16383, "\r\n\r\n", 0);
    expect_long(CHUNK "0;", 16385, "", 431);
    expect_long(CHUNK "0;", 8000, "\r\nX: 0123456789\r\n\r\n", 0);
    expect_long(CHUNK "0\r\nX: ", 17000, "", 431);
}

static void header_lines_are_counted(void **state)
{
    struct buffer text;
    buffer_init(&text, 1 << 20);
    buffer_append(&text, SPAN("GET / HTTP/1.1\r\n"));
    for (int i = 0; i < HTTP_HEADER_LINES_MAX; i++)
        buffer_printf(&text, "x-%d: %d\r\n", i, i);
    size_t n = text.n;
    buffer_append(&text, SPAN("\r\n"));
    expect_status(buffer_span(&text), 0);
    text.n = n;
    buffer_append(&text, SPAN("y: z\r\n\r\n"));
    expect_status(buffer_span(&text), 431);
    buffer_free(&text);
}

static void expect_header_is_read(void **state)
{
    static const struct {
        const char *text;
        bool wanted;
    } cases[] = {
        {POST "Expect: 100-continue\r\n\r\n", true},
        {POST "Expect: 100-Continue\r\n\r\n", true},
        {POST "Expect: something\r\n\r\n", false},
        {POST "Expect: 100-continue\r\nExpect: something\r\n\r\n", true},
        {"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_parser p;
        size_t used;
        assert_int_equal(parse_all_ways(&p, span_str(cases[i].text), 0, &used), 0);
        assert_int_equal(p.request.expect_continue, cases[i].wanted);
        http_parser_reset(&p);
    }
}

static void refused_bodies_are_thrown_away(void **state)
{
    static const char *const texts[] = {POST "Content-Length: 5\r\n\r\nhelloGET",
                                        CHUNK "5\r\nhello\r\n0\r\n\r\nGET"};
    for (size_t i = 0; i < 2; i++) {
        struct http_parser p;
        struct http_problem problem;
        struct span in = span_str(texts[i]);
        http_parser_init(&p);
        assert_int_equal(http_parser_next(&p, &in, &problem), HTTP_PARSE_HEAD);
        assert_int_equal(http_parser_discard_body(&p), HTTP_PARSE_MORE);
        assert_int_equal(http_parser_next(&p, &in, &problem), HTTP_PARSE_DONE);
        assert_int_equal(p.body.n, 0);
        assert_true(span_eq(in, SPAN("GET")));
        http_parser_reset(&p);
    }
}

static void a_failed_parser_stays_failed(void **state)
{
    struct http_parser p;
    struct http_problem problem;
    struct span in = SPAN("\x01GET / HTTP/1.1\r\n\r\n");
    http_parser_init(&p);
    assert_int_equal(http_parser_next(&p, &in, &problem), HTTP_PARSE_FAILED);
    assert_int_equal(http_parser_next(&p, &in, &problem), HTTP_PARSE_FAILED);
    http_parser_reset(&p);
    in = SPAN("GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(http_parser_next(&p, &in, &problem), HTTP_PARSE_HEAD);
    http_parser_reset(&p);
}

static void odd_targets_are_the_callers_business(void **state)
{
    SERVED("GET /%zz HTTP/1.1\r\n\r\n");
    SERVED("GET /%00 HTTP/1.1\r\n\r\n");
    SERVED("GET /../../etc/passwd HTTP/1.1\r\n\r\n");
    SERVED("GET http://a:80/v1 HTTP/1.1\r\n\r\n");
    SERVED("OPTIONS * HTTP/1.1\r\n\r\n");
}

/* While its answer is in work a request keeps what the answer needs, and its body. */
static void the_body_outlives_the_parser_where_it_is_taken(void **state)
{
    struct http_parser p;
    size_t used, n;
    http_parser_init(&p);
    assert_int_equal(parse(&p, SPAN(POST "Content-Length: 4\r\n\r\nbody"), 5, 100, &used), 0);
    char *body = http_parser_take_body(&p, &n);
    assert_null(p.body.p);
    http_parser_reset(&p);
    assert_true(span_eq(span_of(body, n), SPAN("body")));
    for (size_t i = 0; i < JSON_PADDING; i++)
        assert_int_equal(body[n + i], 0);
    free(body);

    assert_int_equal(parse(&p, SPAN(POST "Content-Length: 0\r\n\r\n"), 100, 100, &used), 0);
    assert_null(http_parser_take_body(&p, &n)); /* usable again */
    assert_int_equal(n, 0);
    http_parser_reset(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_says_the_same_whole_and_in_pieces),
        cmocka_unit_test(a_recycled_parser_knows_nothing_of_the_last_request),
        cmocka_unit_test(head_is_read),
        cmocka_unit_test(connection_header_decides_keep_alive),
        cmocka_unit_test(bodies_are_gathered),
        cmocka_unit_test(body_has_padding_and_grows_with_what_arrives),
        cmocka_unit_test(unfinished_ones_ask_for_more),
        cmocka_unit_test(what_is_no_http_is_refused),
        cmocka_unit_test(ambiguous_lines_are_refused),
        cmocka_unit_test(ambiguous_lengths_are_refused),
        cmocka_unit_test(huge_lengths_are_413),
        cmocka_unit_test(chunks_that_pass_the_limit_together_are_413),
        cmocka_unit_test(loose_chunks_are_refused),
        cmocka_unit_test(sizes_have_few_digits),
        cmocka_unit_test(the_method_of_a_refused_head_is_known),
        cmocka_unit_test(long_heads_have_their_statuses),
        cmocka_unit_test(header_lines_are_counted),
        cmocka_unit_test(expect_header_is_read),
        cmocka_unit_test(refused_bodies_are_thrown_away),
        cmocka_unit_test(a_failed_parser_stays_failed),
        cmocka_unit_test(the_body_outlives_the_parser_where_it_is_taken),
        cmocka_unit_test(odd_targets_are_the_callers_business),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
