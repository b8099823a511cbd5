/*
 * test/unit/test_http_client.c - HTTP/1.1 as a client, without sockets: heads that are written,
 * answers that are read at every split position.
 */
#include <zlib.h>

#include "gateway/http_client.h"
#include "test/unit/support/cmocka_all.h"

/* ---- writing ---- */

static void heads_are_written(void **state)
{
    struct buffer out;
    struct fail fail;
    struct site_request r = {.method = "POST", .target = SPAN("/v1/chat?x=1"), .body = SPAN("{}")};
    site_request_header(&r, SPAN("Authorization"), SPAN("Bearer k"));
    buffer_init(&out, 1000);
    assert_int_equal(http_request_write(&out, &r, SPAN("a.test:81"), SPAN("/api"), NULL, &fail), 0);
    assert_span_equal(
        buffer_span(&out),
        SPAN("POST /api/v1/chat?x=1 HTTP/1.1\r\nHost: a.test:81\r\nAuthorization: Bearer k\r\n"
             "User-Agent: dragoman/" DRAGOMAN_VERSION "\r\nAccept-Encoding: identity\r\n"
             "Content-Length: 2\r\nConnection: keep-alive\r\n\r\n"));
    buffer_clear(&out);
    r = (struct site_request){.method = "GET", .target = SPAN("/")};
    site_request_header(&r, SPAN("user-agent"), SPAN("mine"));
    assert_int_equal(http_request_write(&out, &r, SPAN("a"), SPAN(""), NULL, &fail), 0);
    assert_span_equal(buffer_span(&out),
                      SPAN("GET / HTTP/1.1\r\nHost: a\r\nuser-agent: mine\r\n"
                           "Accept-Encoding: identity\r\nConnection: keep-alive\r\n\r\n"));
    buffer_free(&out);
}

/* A known head's lines are not looked at again: only those that are the same, from the first on. */
static void a_known_head_changes_nothing(void **state)
{
    static const struct {
        const char *target, *token, *page;
        bool good;
    } rows[] = {
        {"/a", "one", "p", true},
        {"/a", "one", "p", true},
        {"/a", "one", "q", true}, /* the last line is another */
        {"/a", "one", "q\r\nX: y", false},
        {"/a", "two", "q", true}, /* one in the middle */
        {"/a", "t\nwo", "q", false},
        {"/bb", "two", "q", true}, /* all lines move */
        {"/b b", "two", "q", false},
        {"/bb", "two", NULL, true}, /* fewer */
        {"/bb", "two", "q", true},  /* more */
        /* what stands behind the headers is never known: nobody can write it */
        {"/bb", "two", "q\r\nUser-Agent: dragoman/" DRAGOMAN_VERSION, false},
    };
    struct http_known_head known = {.n = 0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer out, plain;
        struct fail fail;
        struct site_request r = {.method = "GET", .target = span_str(rows[i].target)};
        site_request_header(&r, SPAN("Authorization"), span_str(rows[i].token));
        if (rows[i].page)
            site_request_header(&r, SPAN("Referer"), span_str(rows[i].page));
        buffer_init(&out, 1000);
        buffer_init(&plain, 1000);
        int bad = http_request_write(&out, &r, SPAN("h"), SPAN(""), &known, &fail);
        assert_int_equal(bad, rows[i].good ? 0 : -1);
        assert_int_equal(http_request_write(&plain, &r, SPAN("h"), SPAN(""), NULL, &fail), bad);
        assert_span_equal(buffer_span(&out), buffer_span(&plain));
        buffer_free(&out);
        buffer_free(&plain);
    }
}

static void two_known_lines_are_no_known_line(void **state)
{
    static const struct {
        const char *target, *value;
    } rows[] = {
        {"/", "1\r\nB: 2 HTTP/1.1"},
        {"/ HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2", NULL},
    };
    struct http_known_head known = {.n = 0};
    struct buffer out;
    struct fail fail;
    struct site_request r = {.method = "GET", .target = SPAN("/")};
    site_request_header(&r, SPAN("A"), SPAN("1"));
    site_request_header(&r, SPAN("B"), SPAN("2 HTTP/1.1"));
    buffer_init(&out, 1000);
    assert_int_equal(http_request_write(&out, &r, SPAN("h"), SPAN(""), &known, &fail), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        r = (struct site_request){.method = "GET", .target = span_str(rows[i].target)};
        if (rows[i].value)
            site_request_header(&r, SPAN("A"), span_str(rows[i].value));
        buffer_clear(&out);
        assert_int_equal(http_request_write(&out, &r, SPAN("h"), SPAN(""), &known, &fail), -1);
    }
    buffer_free(&out);
}

/* The memory goes to another site's request: what a refused head held of credentials is wiped. */
static void a_refused_head_leaves_nothing_behind(void **state)
{
    struct buffer out;
    struct fail fail;
    struct site_request r = {.method = "GET", .target = SPAN("/")};
    site_request_header(&r, SPAN("Authorization"), SPAN("Bearer secret"));
    site_request_header(&r, SPAN("Referer"), SPAN("a\nb"));
    buffer_init(&out, 1000);
    assert_int_equal(http_request_write(&out, &r, SPAN("a"), SPAN(""), NULL, &fail), -1);
    assert_int_equal(out.n, 0);
    assert_int_equal(span_find(span_of(out.p, out.cap), SPAN("secret")), -1);
    buffer_free(&out);
}

static void what_could_break_a_line_is_refused(void **state)
{
    static const struct {
        const char *name, *value, *target;
    } bad[] = {{"A", "b\r\nX: y", "/"},
               {"A", "b\n", "/"},
               {"A", "b\x01", "/"},
               {"A\r\nB", "c", "/"},
               {"A B", "c", "/"},
               {"Eight-of(these-and-eight-more", "c", "/"},
               {"Eight-of-these ", "c", "/"},
               {"Eight-of\xC3\xB6these-and", "c", "/"},
               {"", "c", "/"},
               {"A", "b", "/a b"},
               {"A", "b", "/\r\n"},
               {"A", "b", "a"},
               {"Host", "evil", "/"},
               {"content-length", "3", "/"},
               {"Transfer-Encoding", "chunked", "/"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buffer out;
        struct fail fail = {0};
        struct site_request r = {.method = "GET", .target = span_str(bad[i].target)};
        site_request_header(&r, span_str(bad[i].name), span_str(bad[i].value));
        buffer_init(&out, 1000);
        if (http_request_write(&out, &r, SPAN("a"), SPAN(""), NULL, &fail) != -1 ||
            !fail.message[0])
            fail_msg("row %zu was accepted", i);
        buffer_free(&out);
    }
}

/* Which failure, as each means something else: a pasted line break is the account's matter. */
static void refusals_have_kinds(void **state)
{
    static const struct {
        const char *method, *prefix, *target, *name, *value;
        enum fail_kind wanted;
    } rows[] = {
        {"GET", "", "/", "Authorization", "Bearer k\n", FAIL_CREDENTIAL},
        {"GET", "", "/", "A", "b\x7f", FAIL_CREDENTIAL},
        {"GET", "", "/", "Connection", "close", FAIL_INTERNAL},
        {"GET", "", "/", "expect", "100-continue", FAIL_INTERNAL},
        {"GET", "", "/", "te", "trailers", FAIL_INTERNAL},
        {"GET", "", "/", "Upgrade", "h2c", FAIL_INTERNAL},
        {"GET", "", "/", "Trailer", "x", FAIL_INTERNAL},
        {"GET", "", "/", "A:", "b", FAIL_INTERNAL},
        {"GE T", "", "/", "A", "b", FAIL_INTERNAL},
        {"", "", "/", "A", "b", FAIL_INTERNAL},
        {"GET", "", "", "A", "b", FAIL_BAD_REQUEST},
        {"GET", "/v1", "x", "A", "b", FAIL_BAD_REQUEST},
        {"GET", "v1", "/x", "A", "b", FAIL_BAD_REQUEST},
        {"GET", "/v 1", "/x", "A", "b", FAIL_BAD_REQUEST},
        {"GET", "", "/\x7f", "A", "b", FAIL_BAD_REQUEST},
        {"GET", "/v1", "", "A", "b\tc \xc3\xb6", FAIL_NONE}, /* tabs and letters of any script */
        {"GET", "/v1", "/\xc3\xb6", "A", "", FAIL_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer out;
        struct fail fail = {0};
        struct site_request r = {.method = rows[i].method, .target = span_str(rows[i].target)};
        site_request_header(&r, span_str(rows[i].name), span_str(rows[i].value));
        buffer_init(&out, 1000);
        int result = http_request_write(&out, &r, SPAN("a"), span_str(rows[i].prefix), NULL, &fail);
        if (result != (rows[i].wanted ? -1 : 0) || fail.kind != rows[i].wanted)
            fail_msg("row %zu: %d, %s", i, result, fail_kind_name(fail.kind));
        if (strstr(fail.message, "Bearer")) /* the value may be a secret */
            fail_msg("%s", fail.message);
        buffer_free(&out);
    }
}

static void lengths_are_told(void **state)
{
    static const struct {
        const char *method, *body, *wanted;
    } rows[] = {
        {"POST", "", "Content-Length: 0\r\n"},
        {"PUT", "", "Content-Length: 0\r\n"},
        {"PATCH", "", "Content-Length: 0\r\n"},
        {"GET", "", NULL},
        {"DELETE", "", NULL},
        {"DELETE", "abc", "Content-Length: 3\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer out;
        struct fail fail;
        struct site_request r = {
            .method = rows[i].method, .target = SPAN("/"), .body = span_str(rows[i].body)};
        buffer_init(&out, 1000);
        assert_int_equal(http_request_write(&out, &r, SPAN("a"), SPAN(""), NULL, &fail), 0);
        ptrdiff_t at = span_find(buffer_span(&out), SPAN("Content-Length"));
        if (rows[i].wanted)
            assert_true(at >= 0 && span_starts(span_from(buffer_span(&out), (size_t)at),
                                               span_str(rows[i].wanted)));
        else
            assert_int_equal(at, -1);
        assert_true(span_ends(buffer_span(&out), SPAN("\r\n\r\n")));
        buffer_free(&out);
    }
    struct buffer small;
    struct fail fail = {0};
    struct site_request r = {.method = "GET", .target = SPAN("/")};
    buffer_init(&small, 20); /* too much of a head is an error, not half a head */
    assert_int_equal(http_request_write(&small, &r, SPAN("a"), SPAN(""), NULL, &fail), -1);
    assert_int_equal(fail.kind, FAIL_BAD_REQUEST);
    buffer_free(&small);
}

static void heads_of_streamed_bodies(void **state)
{
    static const struct {
        int64_t length;
        const char *wanted;
    } rows[] = {{0, "Content-Length: 0\r\n"},
                {5000000000, "Content-Length: 5000000000\r\n"},
                {HTTP_CHUNKED_BODY, "Transfer-Encoding: chunked\r\n"},
                {HTTP_NO_BODY, ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct header headers[] = {{SPAN_INIT("User-Agent"), SPAN_INIT("x")}};
        struct http_outgoing r = {SPAN_INIT("PUT"), SPAN_INIT("/x"), headers, 1, rows[i].length};
        struct buffer out, want;
        struct fail fail;
        buffer_init(&out, 1000);
        buffer_init(&want, 1000);
        buffer_printf(
            &want,
            "PUT /p/x HTTP/1.1\r\nHost: h\r\nUser-Agent: x\r\nAccept-Encoding: identity\r\n"
            "%sConnection: keep-alive\r\n\r\n",
            rows[i].wanted);
        assert_int_equal(http_head_write(&out, &r, SPAN("h"), SPAN("/p"), NULL, &fail), 0);
        assert_span_equal(buffer_span(&out), buffer_span(&want));
        buffer_free(&out);
        buffer_free(&want);
    }
}

static void chunks_are_written(void **state)
{
    struct buffer out;
    buffer_init(&out, 1000);
    assert_int_equal(http_chunk_write(&out, SPAN("0123456789abcdefg"), false), 0);
    http_chunk_write(&out, SPAN(""), false);
    http_chunk_write(&out, SPAN("x"), true);
    http_chunk_write(&out, SPAN(""), true);
    assert_span_equal(buffer_span(&out),
                      SPAN("11\r\n0123456789abcdefg\r\n1\r\nx\r\n0\r\n\r\n0\r\n\r\n"));
    buffer_free(&out);
}

/* ---- reading ---- */

/* What was heard, as text: "200 N" of the head (N headers), the body, "end" or "broken:kind". */
static void hear(struct span bytes, size_t cut, bool no_body, bool eof, struct buffer *heard)
{
    struct http_answer a;
    bool single = cut > bytes.n; /* byte by byte */
    size_t n_pieces = single ? bytes.n : 2;
    struct span piece;
    enum answer_event event = ANSWER_MORE;
    buffer_init(heard, 1 << 20);
    http_answer_init(&a, "the site");
    http_answer_reset(&a, no_body);
    for (size_t i = 0; i < n_pieces; i++) {
        struct span rest = single ? span_of(bytes.p + i, 1)
                           : i    ? span_from(bytes, cut)
                                  : span_first(bytes, cut);
        while ((event = http_answer_next(&a, &rest, &piece)) != ANSWER_MORE) {
            if (event == ANSWER_HEAD)
                buffer_printf(heard, "%d %zu|", a.head.status, a.head.n_headers);
            else if (event == ANSWER_BODY)
                buffer_append(heard, piece);
            else
                break;
        }
        if (event != ANSWER_MORE)
            break;
        assert_int_equal(rest.n, 0);
    }
    if (event == ANSWER_MORE && eof)
        event = http_answer_eof(&a);
    if (event == ANSWER_END)
        buffer_printf(heard, "|end%s", a.keep_alive ? "+" : "");
    else if (event == ANSWER_BROKEN)
        buffer_printf(heard, "|%s", fail_kind_name(a.fail->kind));
    http_answer_free(&a);
}

static void expect_at_every_split(struct span bytes, bool no_body, const char *wanted)
{
    for (size_t cut = 0; cut <= bytes.n + 1; cut++) {
        struct buffer heard;
        hear(bytes, cut, no_body, true, &heard);
        if (!span_eq(buffer_span(&heard), span_str(wanted)))
            fail_msg("cut at %zu: \"%.*s\", not \"%s\"", cut, SPAN_ARGS(buffer_span(&heard)),
                     wanted);
        buffer_free(&heard);
    }
}

static void answers_at_every_split(void **state)
{
    static const struct {
        const char *bytes;
        bool no_body;
        const char *wanted;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "200 1|hello|end+"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", false,
         "200 2|hello|end"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
         "chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-T: 1\r\n\r\n",
         false, "200 1|hello!|end+"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
         "00A;name=\"a b;c\";flag\r\n0123456789\r\n1\r\n\n\r\n0;last\r\nA: 1\r\nB:\r\nC: 3\r\n\r\n",
         false, "200 1|0123456789\n|end+"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
         "5\r\nhello\r\n1\r\n!\r\n000a\r\n0123456789\r\n1;x\r\na\r\n1\r\n\r\r\n1;y\r\nb\r\n"
         "0000000001\r\nc\r\nB\r\n0\r\n\r\n567890\r\n2\r\nok\r\n0\r\n\r\n",
         false, "200 1|hello!0123456789a\rbc0\r\n\r\n567890ok|end+"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
         false, "200 2||end"},
        {"HTTP/1.1 200 OK\r\nA:\r\nB:  \r\nC: c\r\nContent-Length: 1\r\n\r\nx", false,
         "200 4|x|end+"}, /* headers without a value are headers */
        {"HTTP/1.1 204 No Content\r\n\r\n", true, "204 0||end+"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, "200 1||end+"},
        {"HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\n\r\n", false, "304 1||end+"},
        {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", false,
         "200 2||end+"},
        {"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", false,
         "200 2|x|end+"},
        {"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 500 No\r\nA: b\r\nContent-Length: "
         "2\r\n\r\nno",
         false, "500 2|no|end+"}, /* the interim one's headers are not the answer's */
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", false, "200 0|until the end|end"},
        {"HTTP/1.0 200 OK\r\nX:  y \r\n\r\nold", false, "200 1|old|end"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No "
         "Content\r\n\r\n",
         false, "204 0||end+"},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n", false, "304 1||end+"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", true, "200 1||end+"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, "200 1||end+"},
        /* ends that are none */
        {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", false, "200 1|hello|cut"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false,
         "200 1|hello|cut"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n", false,
         "200 1|ab|cut"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\nxyz\r\n", false,
         "200 1|ab|protocol"},
        {"HTTP/1.1 200 OK\r\nX: y\r\n", false, "|unreachable"},
        {"", false, "|unreachable"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", false,
         "200 1|x|cut"}, /* the empty line that ends it is missing */
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n", false,
         "200 1|x|cut"},
        {"HTTP/1.1 100 Continue\r\n\r\n", false, "|unreachable"},
        /* not HTTP */
        {"SSH-2.0-OpenSSH\r\n", false, "|protocol"},
        {"<html>", false, "|protocol"},
        {"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", false, "|protocol"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", false, "|protocol"},
        {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab", false, "|protocol"},
        {"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\na", false,
         "|protocol"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false, "200 1||protocol"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_at_every_split(span_str(rows[i].bytes), rows[i].no_body, rows[i].wanted);
}

/* Chunks that lie whole in the input are told together, as far as there is room. */
static void chunks_of_one_read_are_joined(void **state)
{
    struct http_answer a;
    char room[6];
    struct span piece,
        rest = SPAN("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "2\r\nab\r\n3\r\ncde\r\n2\r\nfg\r\n1\r\nh\r\n1;x\r\ni\r\n0\r\n\r\n");
    http_answer_init(&a, "the site");
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_HEAD);
    static const char *const wanted[] = {"abcde", "fgh", "i"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_BODY);
        http_answer_join(&a, &rest, &piece, room, sizeof room);
        assert_span_equal(piece, span_str(wanted[i]));
        assert_false(http_answer_is_told(&a));
    }
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_END);
    http_answer_reset(&a, false);
    rest = SPAN("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_HEAD);
    assert_false(http_answer_is_told(&a));
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_BODY);
    assert_true(http_answer_is_told(&a));
    http_answer_free(&a);
}

/* What is left of the input belongs to nobody; an answer that is over stays over. */
static void the_rest_is_left(void **state)
{
    struct http_answer a;
    struct span rest = SPAN("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1"), piece;
    http_answer_init(&a, "the site");
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_HEAD);
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_BODY);
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_END);
    assert_span_equal(rest, SPAN("HTTP/1.1"));
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_END);
    http_answer_reset(&a, false);
    rest = SPAN("HTTP/1.1 500 No\r\nRetry-After: 3\r\nEmpty:\r\n\r\n");
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_HEAD);
    assert_int_equal(a.head.status, 500);
    assert_span_equal(site_head_get(&a.head, "retry-after"), SPAN("3"));
    assert_true(site_head_get(&a.head, "empty").p && site_head_get(&a.head, "empty").n == 0);
    http_answer_free(&a);
}

/* One after the other on the same connection: nothing of the first is left in the second. */
static void answers_follow_each_other(void **state)
{
    struct http_answer a;
    struct span piece,
        rest = SPAN("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nbad"
                    "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: "
                    "3\r\n\r\noh!");
    http_answer_init(&a, "the site");
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_HEAD);
    assert_span_equal(a.head.content_type, SPAN(""));
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_BROKEN);
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_BROKEN); /* stays so */
    assert_int_equal(http_answer_eof(&a), ANSWER_BROKEN);
    assert_int_equal(a.fail->kind, FAIL_PROTOCOL);
    assert_non_null(strstr(a.fail->message, "the site"));

    rest = span_from(rest, (size_t)span_find(rest, SPAN("HTTP/1.1 404")));
    http_answer_reset(&a, false);
    assert_null(a.fail);
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_HEAD);
    assert_int_equal(a.head.status, 404);
    assert_span_equal(a.head.content_type, SPAN("text/plain"));
    const char *body = rest.p;
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_BODY);
    assert_ptr_equal(piece.p, body); /* not copied */
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_END);
    assert_int_equal(http_answer_eof(&a), ANSWER_END);
    assert_true(a.keep_alive);
    http_answer_free(&a);
}

/* Trailers and extensions are nobody's, but they are not endless. */
static void trailers_are_bounded(void **state)
{
    static const char *const starts[] = {"0\r\nX: ", "1;x=", "0;"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct buffer bytes, heard;
        buffer_init(&bytes, 1 << 21);
        buffer_printf(&bytes, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s", starts[i]);
        for (int k = 0; k <= HTTP_HEAD_MAX; k++)
            buffer_char(&bytes, 'y');
        hear(buffer_span(&bytes), 1000, false, false, &heard);
        assert_span_equal(buffer_span(&heard), SPAN("200 1||protocol"));
        buffer_free(&heard);
        buffer_free(&bytes);
    }
}

/* A long stream of small chunks with extensions is no large head. */
static void many_chunks_are_fine(void **state)
{
    struct http_answer a;
    struct span piece, rest = SPAN("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    size_t got = 0;
    http_answer_init(&a, "the site");
    assert_int_equal(http_answer_next(&a, &rest, &piece), ANSWER_HEAD);
    for (int i = 0; i < HTTP_HEAD_MAX / 8; i++) {
        rest = SPAN("1;extension=of-some-bytes\r\nx\r\n");
        while (http_answer_next(&a, &rest, &piece) == ANSWER_BODY)
            got += piece.n;
        assert_null(a.fail);
    }
    assert_int_equal(got, HTTP_HEAD_MAX / 8);
    http_answer_free(&a);
}

static void heads_are_bounded(void **state)
{
    struct buffer bytes, heard;
    buffer_init(&bytes, 1 << 21);
    buffer_append(&bytes, SPAN("HTTP/1.1 200 OK\r\n"));
    for (int i = 0; i < HTTP_HEADERS_MAX; i++)
        buffer_printf(&bytes, "X-%d: %d\r\n", i, i);
    size_t n = bytes.n;
    buffer_append(&bytes, SPAN("Content-Length: 0\r\n\r\n"));
    hear(buffer_span(&bytes), 100, false, true, &heard);
    assert_span_equal(buffer_span(&heard), SPAN("|protocol"));
    buffer_free(&heard);
    bytes.n = n;
    buffer_append(&bytes, SPAN("\r\nx"));
    hear(buffer_span(&bytes), 100, false, true, &heard);
    assert_span_equal(buffer_span(&heard), SPAN("200 256|x|end"));
    buffer_free(&heard);

    buffer_clear(&bytes);
    buffer_append(&bytes, SPAN("HTTP/1.1 200 OK\r\nX: "));
    for (int i = 0; i < HTTP_HEAD_MAX; i++)
        buffer_char(&bytes, 'y');
    hear(buffer_span(&bytes), 1000, false, false, &heard); /* told before the line ends */
    assert_span_equal(buffer_span(&heard), SPAN("|protocol"));
    buffer_free(&heard);
    buffer_free(&bytes);
}

/* ---- codings ---- */

static struct span compress_text(struct buffer *out, const char *head, struct span text,
                                 int window_bits)
{
    z_stream z = {0};
    buffer_init(out, 1 << 27);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    buffer_append(out, span_str(head));
    z.next_in = (unsigned char *)(uintptr_t)text.p;
    z.avail_in = (unsigned)text.n;
    z.avail_out = (unsigned)deflateBound(&z, text.n) + 64;
    z.next_out = (unsigned char *)buffer_reserve(out, z.avail_out);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out->n += z.total_out;
    deflateEnd(&z);
    return buffer_span(out);
}

static void codings_at_every_split(void **state)
{
    static const struct {
        const char *coding;
        int window_bits;
    } rows[] = {{"gzip", 31}, {"x-gzip", 31}, {"deflate", 15}, {"Deflate", -15}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer bytes;
        char head[200];
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\n\r\n",
                 rows[i].coding);
        struct span all =
            compress_text(&bytes, head, SPAN("data: hello hello hello\n\n"), rows[i].window_bits);
        expect_at_every_split(all, false, "200 1|data: hello hello hello\n\n|end");
        struct buffer chunked; /* coded, then chunked, and the connection goes on */
        buffer_init(&chunked, 1 << 16);
        buffer_printf(&chunked,
                      "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nTransfer-Encoding: "
                      "chunked\r\n\r\n",
                      rows[i].coding);
        for (size_t at = strlen(head), n; at < all.n; at += n) {
            n = all.n - at < 7 ? all.n - at : 7;
            buffer_printf(&chunked, "%zx\r\n", n);
            buffer_append(&chunked, span_of(all.p + at, n));
            buffer_append(&chunked, SPAN("\r\n"));
        }
        buffer_append(&chunked, SPAN("0\r\n\r\n"));
        expect_at_every_split(buffer_span(&chunked), false,
                              "200 2|data: hello hello hello\n\n|end+");
        buffer_free(&chunked);
        for (size_t n = strlen(head) + 1; n < all.n;
             n++) { /* torn anywhere: never dressed up as an end */
            struct buffer heard;
            hear(span_first(all, n), n, false, true, &heard);
            assert_true(span_ends(buffer_span(&heard), SPAN("|cut")));
            buffer_free(&heard);
        }
        buffer_free(&bytes);
    }
}

/* What follows the data is skipped, also when a later piece looks like another member. */
static void what_follows_the_data_is_skipped(void **state)
{
    struct buffer bytes;
    struct span all = compress_text(&bytes, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
                                    SPAN("hello"), 31);
    size_t n = all.n;
    buffer_append(&bytes, SPAN("junk\x1f\x8b\x08"));
    expect_at_every_split(buffer_span(&bytes), false, "200 1|hello|end");
    bytes.n = n; /* a second member is data (RFC 1952, 2.2) */
    size_t head = (size_t)span_find(buffer_span(&bytes), SPAN("\r\n\r\n")) + 4;
    char member[100];
    memcpy(member, bytes.p + head, n - head);
    buffer_append(&bytes, span_of(member, n - head));
    expect_at_every_split(buffer_span(&bytes), false, "200 1|hellohello|end");
    buffer_free(&bytes);
}

static void bombs_are_refused(void **state)
{
    enum { HUGE_TEXT = 64 * 1024 * 1024 };
    struct buffer bytes;
    char *zeros = calloc(1, HUGE_TEXT);
    struct span all = compress_text(&bytes, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
                                    span_of(zeros, HUGE_TEXT), 31),
                piece;
    struct http_answer a;
    enum answer_event event;
    size_t got = 0;
    http_answer_init(&a, "the site");
    while ((event = http_answer_next(&a, &all, &piece)) == ANSWER_HEAD || event == ANSWER_BODY)
        got += event == ANSWER_BODY ? piece.n : 0;
    assert_int_equal(event, ANSWER_BROKEN);
    assert_true(got < HUGE_TEXT / 2);
    http_answer_free(&a);
    buffer_free(&bytes);
    free(zeros);
}

/* ---- Retry-After ---- */

static void retry_after(void **state)
{
    const int64_t now = 784111770; /* Sun, 06 Nov 1994 08:49:30 GMT */
    static const struct {
        const char *value;
        int seconds;
    } rows[] = {
        {"7", 7},
        {" 120 ", 120},
        {"0", 0},
        {"1.5", 2},
        {"0.001", 1},
        {"2.0", 2},
        {"2.000", 2},
        {"1.x", 0},
        {"1.", 0},
        {"1.5.5", 0},
        {"7 seconds", 0},
        {"31536000.5", 365 * 86400},
        {"99999999999.5", 365 * 86400},
        {"99999999999999999999999", 365 * 86400},
        {"", 0},
        {"soon", 0},
        {"-3", 0},
        {"99999999999", 365 * 86400},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 7},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 7},
        {"Sun Nov  6 08:49:37 1994", 7},
        {"Sun, 06 Nov 1994 08:49:30 GMT", 0},
        {"Sat, 05 Nov 1994 08:49:37 GMT", 0},
        {"Sun, 06 Nov 1994 25:49:37 GMT", 0},
        {"Mon, 07 Nov 1994 08:49:30 GMT", 86400},
        {"Monday, 07-Nov-94 08:49:30 GMT", 86400},
        {"Mon Nov  7 08:49:30 1994", 86400},
        {"Sun, 06 Nov 2094 08:49:37 GMT", 365 * 86400},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int got = http_retry_after(span_str(rows[i].value), now);
        if (got != rows[i].seconds)
            fail_msg("\"%s\" gives %d, not %d", rows[i].value, got, rows[i].seconds);
    }
    assert_int_equal(http_date_parse(SPAN("Sun, 06 Nov 1994 08:49:37 GMT")), 784111777);
    assert_int_equal(http_date_parse(SPAN("yesterday")), -1);
    assert_int_equal(http_date_parse(SPAN("Thu, 01 Jan 1970 00:00:00 GMT")), 0);
    assert_int_equal(http_date_parse(SPAN("Thu, 29 Feb 2024 23:59:59 GMT")), 1709251199);
    assert_int_equal(http_date_parse(SPAN("Fri, 06-Nov-26 08:49:37 GMT")), 1793954977);
    assert_int_equal(http_date_parse(SPAN("Sat, 31 Dec 2016 23:59:60 GMT")), 1483228800);
    static const char *const none[] = {"",
                                       "Sun, 06 Nov 1994",
                                       "08:49:37 GMT",
                                       "Sun, 06 Nov 08:49:37 GMT",
                                       "Sun, 32 Nov 1994 08:49:37 GMT",
                                       "Fri, 31 Feb 2025 08:49:37 GMT",
                                       "Fri, 31 Feb 2025 08:49:00 GMT",
                                       "Sat, 29 Feb 2025 08:49:37 GMT",
                                       "Sun, 00 Nov 1994 08:49:37 GMT",
                                       "Sun, 06 Nov 1994 08:60:37 GMT",
                                       "Sun, 06 Nov 1994 8:49:37 GMT",
                                       "1994-11-06T08:49:37Z"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        if (http_date_parse(span_str(none[i])) != -1)
            fail_msg("\"%s\" passes for a date", none[i]);
    }
}

/* ---- plain heads: read in one walk when they are whole, by llhttp when they come in pieces ----
 */

/* All that an answer says, byte by byte or whole. */
static void tell(struct buffer *said, struct span bytes, size_t step)
{
    struct http_answer a;
    struct buffer input;
    struct span rest = {NULL, 0}, piece;
    enum answer_event event = ANSWER_MORE;
    buffer_init(&input, 1 << 16);
    http_answer_init(&a, "site");
    for (size_t at = 0; at < bytes.n && event == ANSWER_MORE; at += step) {
        buffer_consume(&input, input.n - rest.n);
        buffer_append(&input, span_first(span_from(bytes, at), step));
        rest = buffer_span(&input);
        while ((event = http_answer_next(&a, &rest, &piece)) == ANSWER_HEAD ||
               event == ANSWER_BODY) {
            if (event == ANSWER_BODY) {
                buffer_append(said, piece);
                continue;
            }
            buffer_printf(said, "%d [%.*s] [%.*s]", a.head.status, SPAN_ARGS(a.head.reason),
                          SPAN_ARGS(a.head.content_type));
            for (size_t i = 0; i < a.head.n_headers; i++)
                buffer_printf(said, " %.*s=%.*s", SPAN_ARGS(a.head.headers[i].name),
                              SPAN_ARGS(a.head.headers[i].value));
            buffer_printf(said, "\n");
            http_answer_drop_head(&a);
        }
    }
    if (event == ANSWER_MORE)
        event = http_answer_eof(&a);
    buffer_printf(said, "\n%s%s", event == ANSWER_END ? "end" : "broken",
                  event == ANSWER_END && a.keep_alive ? ", kept" : "");
    http_answer_free(&a);
    buffer_free(&input);
}

static void plain_heads_say_what_others_say(void **state)
{
    static const char *const lines[] = {
        "Content-Length: 5",
        "content-length:5",
        "Content-Length: 5 ",
        "Content-Length: 05",
        "Content-Length: +5",
        "Content-Length: 5\n",
        "Content-Length: 5\f",
        "Content-Length:\v5",
        "Content-Length:\t5\t",
        "Content-Length: 5, 5",
        "Content-Length: ",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked",
        "transfer-encoding: CHUNKED",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Content-Length: 5\r\nConnection: close",
        "Content-Length: 5\r\nConnection: Keep-Alive",
        "Content-Length: 5\r\nConnection: keep-alive, close",
        "Content-Length: 5\r\nProxy-Connection: close",
        "Content-Length: 5\r\nUpgrade: h2c",
        "Content-Length: 5\r\nContent-Encoding: identity",
        "Content-Length: 5\r\nContent-Encoding: br",
        "Content-Length: 5\r\nContent-Type: a/b; c=d\r\nContent-Type: e/f",
        "Content-Length: 5\r\nX:  spaces around \t",
        "Content-Length: 5\r\nX:",
        "Content-Length: 5\r\nX: folded\r\n line",
        "Content-Length: 5\r\nX : space",
        "Content-Length: 5\r\nX y: space",
        "Content-Length: 5\r\n: nameless",
        "Content-Length: 5\r\nno colon",
        "Content-Length: 5\r\nX: \x01",
        "Content-Length: 5\r\nX: a\tb",
        "Content-Length: 5\r\nX: \xC3\xA9",
        "Content-Length: 5\nX: y",
        "X: no length",
    };
    static const char *const starts[] = {
        "HTTP/1.1 200 OK",  "HTTP/1.1 200",     "HTTP/1.1 200 ",     "HTTP/1.1 404 Not Found",
        "HTTP/1.0 200 OK",  "HTTP/1.1 204 No",  "HTTP/1.1 304 Same", "HTTP/1.1 100 Continue",
        "HTTP/1.1 99 Odd",  "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK",  "\r\nHTTP/1.1 200 OK",
        "HTTP/1.1 600 Odd", "ICY 200 OK",       "HTTP/1.1 200 a\tb",
    };
    static const char *const bodies[] = {
        "hello",
        "hell",
        "hello, and more",
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: trailer\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n5\r\nhel",
        "5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\nmore",
        "5\r\nhello!\r\n0\r\n\r\n",
        "x\r\n",
        "0\r\n\r\n",
    };
    struct buffer bytes, whole, pieces;
    buffer_init(&bytes, 1 << 16);
    buffer_init(&whole, 1 << 16);
    buffer_init(&pieces, 1 << 16);
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        for (size_t k = 0; k < sizeof lines / sizeof *lines; k++) {
            for (size_t b = 0; b < sizeof bodies / sizeof *bodies; b++) {
                buffer_clear(&bytes);
                buffer_clear(&whole);
                buffer_clear(&pieces);
                buffer_printf(&bytes, "%s\r\n%s\r\n\r\n%s", starts[i], lines[k], bodies[b]);
                tell(&whole, buffer_span(&bytes), bytes.n);
                tell(&pieces, buffer_span(&bytes), 1);
                if (!span_eq(buffer_span(&whole), buffer_span(&pieces)))
                    fail_msg("%.*s\nwhole: %.*s\nin pieces: %.*s", SPAN_ARGS(buffer_span(&bytes)),
                             SPAN_ARGS(buffer_span(&whole)), SPAN_ARGS(buffer_span(&pieces)));
            }
        }
    }
    buffer_free(&bytes);
    buffer_free(&whole);
    buffer_free(&pieces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_written),
        cmocka_unit_test(a_known_head_changes_nothing),
        cmocka_unit_test(chunks_of_one_read_are_joined),
        cmocka_unit_test(two_known_lines_are_no_known_line),
        cmocka_unit_test(a_refused_head_leaves_nothing_behind),
        cmocka_unit_test(what_could_break_a_line_is_refused),
        cmocka_unit_test(refusals_have_kinds),
        cmocka_unit_test(lengths_are_told),
        cmocka_unit_test(answers_at_every_split),
        cmocka_unit_test(plain_heads_say_what_others_say),
        cmocka_unit_test(answers_follow_each_other),
        cmocka_unit_test(trailers_are_bounded),
        cmocka_unit_test(many_chunks_are_fine),
        cmocka_unit_test(the_rest_is_left),
        cmocka_unit_test(heads_of_streamed_bodies),
        cmocka_unit_test(chunks_are_written),
        cmocka_unit_test(heads_are_bounded),
        cmocka_unit_test(codings_at_every_split),
        cmocka_unit_test(what_follows_the_data_is_skipped),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(retry_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
