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
    assert_int_equal(http_request_write(&out, &r, SPAN("a.test:81"), SPAN("/api"), &fail), 0);
    assert_span_equal(
        buffer_span(&out),
        SPAN("POST /api/v1/chat?x=1 HTTP/1.1\r\nHost: a.test:81\r\nAuthorization: Bearer k\r\n"
             "User-Agent: dragoman/" DRAGOMAN_VERSION "\r\nAccept-Encoding: identity\r\n"
             "Content-Length: 2\r\nConnection: keep-alive\r\n\r\n"));
    buffer_clear(&out);
    r = (struct site_request){.method = "GET", .target = SPAN("/")};
    site_request_header(&r, SPAN("user-agent"), SPAN("mine"));
    assert_int_equal(http_request_write(&out, &r, SPAN("a"), SPAN(""), &fail), 0);
    assert_span_equal(buffer_span(&out),
                      SPAN("GET / HTTP/1.1\r\nHost: a\r\nuser-agent: mine\r\n"
                           "Accept-Encoding: identity\r\nConnection: keep-alive\r\n\r\n"));
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
        if (http_request_write(&out, &r, SPAN("a"), SPAN(""), &fail) != -1 || !fail.message[0])
            fail_msg("row %zu was accepted", i);
        buffer_free(&out);
    }
}

/* ---- reading ---- */

/* What was heard, as text: "200 N" of the head (N headers), the body, "end" or "broken:kind". */
static void hear(struct span bytes, size_t cut, bool no_body, bool eof, struct buffer *heard)
{
    struct http_answer a;
    struct span pieces[2] = {span_first(bytes, cut), span_from(bytes, cut)}, piece;
    enum answer_event event = ANSWER_MORE;
    buffer_init(heard, 1 << 20);
    http_answer_init(&a, "the site");
    http_answer_reset(&a, no_body);
    for (size_t i = 0; i < 2; i++) {
        struct span rest = pieces[i];
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
        buffer_printf(heard, "|%s", fail_kind_name(a.fail.kind));
    http_answer_free(&a);
}

static void expect_at_every_split(struct span bytes, bool no_body, const char *wanted)
{
    for (size_t cut = 0; cut <= bytes.n; cut++) {
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
        {"HTTP/1.1 200 OK\r\nX: y\r\n", false, "|unreachable"},
        {"", false, "|unreachable"},
        /* not HTTP */
        {"SSH-2.0-OpenSSH\r\n", false, "|protocol"},
        {"<html>", false, "|protocol"},
        {"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", false, "|protocol"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", false, "|protocol"},
        {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab", false, "|protocol"},
        {"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\na", false,
         "|protocol"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false, "200 1||cut"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_at_every_split(span_str(rows[i].bytes), rows[i].no_body, rows[i].wanted);
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
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int got = http_retry_after(span_str(rows[i].value), now);
        if (got != rows[i].seconds)
            fail_msg("\"%s\" gives %d, not %d", rows[i].value, got, rows[i].seconds);
    }
    assert_int_equal(http_date_parse(SPAN("Sun, 06 Nov 1994 08:49:37 GMT")), 784111777);
    assert_int_equal(http_date_parse(SPAN("yesterday")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_written),
        cmocka_unit_test(what_could_break_a_line_is_refused),
        cmocka_unit_test(answers_at_every_split),
        cmocka_unit_test(the_rest_is_left),
        cmocka_unit_test(heads_are_bounded),
        cmocka_unit_test(codings_at_every_split),
        cmocka_unit_test(what_follows_the_data_is_skipped),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(retry_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
