/*
 * test_upstream.c - the promises of gateway/upstream.h over plain TCP: answers in every form, ends
 * of every kind, the pool, the clocks, back-pressure and cancelling.
 */
#include <zlib.h>

#include "gateway/http_client.h"
#include "support/cmocka_all.h"
#include "support/upstream_bench.h"

#define SCRIPTS(...) ((const struct fake_step *const[]){__VA_ARGS__, NULL})
#define STEPS(...)   ((const struct fake_step[]){__VA_ARGS__, {FAKE_END, {0}, 0, 0}})
#define DO(what)                                                                                   \
    {                                                                                              \
        what, {0}, 0, 0                                                                            \
    }
#define SAY_EACH(literal, size)                                                                    \
    {                                                                                              \
        FAKE_SEND, SPAN_INIT(literal), 0, size                                                     \
    }

#define OK_HELLO "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

/* One GET against one script, to its end. */
static void call_once(struct bench *b, struct heard *h, const struct fake_step *steps)
{
    if (!b->has_site)
        bench_serve_one(b, steps);
    bench_call(b, h, "/path?x=1", span_of(NULL, 0));
    bench_until(b, h->ends);
}

static void expect_body(const struct heard *h, const char *text)
{
    if (h->end != END_CLEAN)
        fail_msg("ended with: %s", h->fail.message);
    assert_int_equal(h->ends, 1);
    assert_span_equal(buffer_span(&h->body), span_str(text));
}

static void expect_fail(const struct heard *h, enum fail_kind kind, const char *part)
{
    assert_int_equal(h->ends, 1);
    assert_int_equal(h->end, END_CUT);
    if (h->fail.kind != kind || !strstr(h->fail.message, part))
        fail_msg("%s: %s", fail_kind_name(h->fail.kind), h->fail.message);
}

/* ---- requests ---- */

static void get_is_sent_and_answered(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    call_once(b, &h, STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO)));
    expect_body(&h, "hello");
    assert_int_equal(h.status, 200);
    assert_string_equal(h.content_type, "text/plain");
    assert_int_equal(h.n_headers, 2);
    struct span sent = buffer_span(&b->site.connections[0]->received);
    assert_true(span_starts(sent, SPAN("GET /path?x=1 HTTP/1.1\r\nHost: site.test\r\n")));
    assert_true(span_find(sent, SPAN("\r\nX-Test: one\r\n")) > 0);
    assert_true(span_find(sent, SPAN("\r\nUser-Agent: dragoman/" DRAGOMAN_VERSION "\r\n")) > 0);
    assert_true(span_find(sent, SPAN("\r\nAccept-Encoding: identity\r\n")) > 0);
    assert_true(span_find(sent, SPAN("\r\nConnection: keep-alive\r\n")) > 0);
    assert_true(span_find_nocase(sent, SPAN("content-length")) < 0);
    assert_true(span_ends(sent, SPAN("\r\n\r\n")));
    heard_free(&h);
}

static void post_carries_its_body(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    b->config.settings.prefix = SPAN("/api");
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO))));
    bench_call(b, &h, "/chat", SPAN("{\"a\":1}"));
    bench_until(b, h.ends);
    expect_body(&h, "hello");
    struct span sent = buffer_span(&b->site.connections[0]->received);
    assert_true(span_starts(sent, SPAN("POST /api/chat HTTP/1.1\r\n")));
    assert_true(span_find(sent, SPAN("\r\nContent-Length: 7\r\n")) > 0);
    assert_true(span_ends(sent, SPAN("\r\n\r\n{\"a\":1}")));
    heard_free(&h);
}

static void requests_that_could_break_a_line_are_refused(void **state)
{
    struct bench *b = *state;
    static const struct span bad[] = {SPAN_INIT("a\rb"), SPAN_INIT("a\nb"), SPAN_INIT("a\0b"),
                                      SPAN_INIT("a\r\nX: y")};
    struct upstream_handler handler = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct site_request request = {.method = "GET", .target = SPAN("/")};
        struct fail fail = {0};
        site_request_header(&request, SPAN("Authorization"), bad[i]);
        assert_null(
            upstream_start(b->upstream, &b->config, SPAN("main"), &request, &handler, &fail));
        assert_int_equal(fail.kind, FAIL_CREDENTIAL);
        assert_null(strstr(fail.message, "a b")); /* the value is never told */
        request = (struct site_request){.method = "GET", .target = SPAN("/")};
        site_request_header(&request, bad[i], SPAN("x"));
        assert_null(
            upstream_start(b->upstream, &b->config, SPAN("main"), &request, &handler, &fail));
        char target[32] = "/";
        memcpy(target + 1, bad[i].p, bad[i].n);
        request = (struct site_request){.method = "GET", .target = span_of(target, bad[i].n + 1)};
        assert_null(
            upstream_start(b->upstream, &b->config, SPAN("main"), &request, &handler, &fail));
        assert_int_equal(fail.kind, FAIL_BAD_REQUEST);
    }
    assert_int_equal(upstream_counters(b->upstream).open, 0);
}

/* ---- answers ---- */

static void chunks_arrive_byte_by_byte(void **state)
{
    struct heard h = {0};
    call_once(
        *state, &h,
        STEPS(DO(FAKE_REQUEST),
              SAY_EACH("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n"
                       "8\r\n, world!\r\n0\r\nX-Trailer: 1\r\n\r\n",
                       1)));
    expect_body(&h, "hello, world!");
    assert_true(h.read_dones > 1); /* libuv sends up to eight of the bytes in one turn */
    heard_free(&h);
}

static void several_chunks_of_one_read_are_one_read(void **state)
{
    struct heard h = {0};
    call_once(*state, &h,
              STEPS(DO(FAKE_REQUEST),
                    FAKE_SAY("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n"),
                    DO(FAKE_CLOSE)));
    expect_fail(&h, FAIL_CUT, "");
    assert_span_equal(buffer_span(&h.body), SPAN("abc"));
    assert_int_equal(h.read_dones, 1);
    heard_free(&h);
}

static void body_lasts_until_close(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    call_once(b, &h,
              STEPS(DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.1 200 OK\r\n\r\nuntil"), FAKE_SAY(" close"),
                    DO(FAKE_CLOSE)));
    expect_body(&h, "until close");
    assert_int_equal(upstream_counters(b->upstream).idle, 0);
    heard_free(&h);
}

static void half_closed_sites_may_still_answer(void **state)
{
    struct heard h = {0};
    call_once(*state, &h, STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO), DO(FAKE_FIN)));
    expect_body(&h, "hello");
    heard_free(&h);
}

static void interim_answers_are_skipped(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    call_once(b, &h,
              STEPS(DO(FAKE_REQUEST), SAY_EACH("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early "
                                               "Hints\r\nLink: </x>\r\n\r\n" OK_HELLO,
                                               7)));
    expect_body(&h, "hello");
    assert_int_equal(h.heads, 1);
    assert_int_equal(h.n_headers, 2);
    assert_int_equal(upstream_counters(b->upstream).idle, 1);
    heard_free(&h);
}

static void answers_without_body_end_at_once(void **state)
{
    struct bench *b = *state;
    struct heard a = {0}, c = {0};
    bench_serve(
        b, SCRIPTS(STEPS(DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.1 204 No Content\r\n\r\n"),
                         DO(FAKE_REQUEST),
                         FAKE_SAY("HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n"))));
    call_once(b, &a, NULL);
    call_once(b, &c, NULL);
    expect_body(&a, "");
    expect_body(&c, "");
    assert_int_equal(b->site.accepted, 1);
    heard_free(&a);
    heard_free(&c);
}

static void retry_after_is_read(void **state)
{
    struct bench *b = *state;
    struct heard a = {0}, c = {0};
    bench_serve(
        b, SCRIPTS(STEPS(DO(FAKE_REQUEST),
                         FAKE_SAY("HTTP/1.1 429 X\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n"),
                         DO(FAKE_REQUEST),
                         FAKE_SAY("HTTP/1.1 503 X\r\nretry-after: Fri, 31 Dec 2100 23:59:59 "
                                  "GMT\r\nContent-Length: 0\r\n\r\n"))));
    call_once(b, &a, NULL);
    call_once(b, &c, NULL);
    assert_int_equal(a.retry_after_s, 17);
    assert_true(c.retry_after_s > 86400);
    heard_free(&a);
    heard_free(&c);
}

static size_t deflate_to(unsigned char *to, size_t room, const char *text, size_t n,
                         int window_bits)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)text;
    z.avail_in = (unsigned)n;
    z.next_out = to;
    z.avail_out = (unsigned)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t out = room - z.avail_out;
    deflateEnd(&z);
    return out;
}

/* A site that answers with it, `each` bytes at a time, `missing` bytes short. */
static const struct fake_step *compressed_answer(const char *coding, int window_bits,
                                                 const char *text, size_t n, size_t each,
                                                 size_t missing)
{
    static unsigned char packed[256 * 1024];
    static char answer[256 * 1024 + 256];
    size_t size = deflate_to(packed, sizeof packed, text, n, window_bits) - missing;
    int head = snprintf(answer, 256,
                        "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
                        coding, size);
    memcpy(answer + head, packed, size);
    static struct fake_step steps[3];
    steps[0] = (struct fake_step)DO(FAKE_REQUEST);
    steps[1] = (struct fake_step){FAKE_SEND, {answer, (size_t)head + size}, 0, each};
    steps[2] = (struct fake_step)DO(FAKE_END);
    return steps;
}

static void compressed(struct bench *b, struct heard *h, const char *coding, int window_bits,
                       const char *text, size_t n, size_t each, size_t missing)
{
    call_once(b, h, compressed_answer(coding, window_bits, text, n, each, missing));
}

static void compressed_answers(void **state, const char *coding, int window_bits, size_t each)
{
    struct heard h = {0};
    compressed(*state, &h, coding, window_bits, "the same, the same, the same", 28, each, 0);
    expect_body(&h, "the same, the same, the same");
    heard_free(&h);
}

static void gzip_is_inflated(void **state) { compressed_answers(state, "gzip", 31, 0); }
static void gzip_is_inflated_byte_by_byte(void **state)
{
    compressed_answers(state, "GZIP", 31, 1);
}
static void deflate_is_inflated(void **state) { compressed_answers(state, "deflate", 15, 1); }
static void raw_deflate_is_inflated(void **state) { compressed_answers(state, "deflate", -15, 0); }
static void raw_deflate_is_inflated_byte_by_byte(void **state)
{
    compressed_answers(state, "deflate", -15, 1);
}

static void large_pieces_inflate_whole(void **state)
{
    static char text[3 * 1024 * 1024];
    struct heard h = {0};
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '!';
    compressed(*state, &h, "gzip", 31, text, sizeof text, 0, 0);
    assert_int_equal(h.end, END_CLEAN);
    assert_int_equal(h.body.n, sizeof text);
    assert_memory_equal(h.body.p, text, sizeof text);
    heard_free(&h);
}

/* What is heard of it in one turn of the loop; how it ends is the caller's to look at. */
static size_t most_in_one_turn(struct bench *b, struct heard *h)
{
    size_t most = 0;
    uint64_t since_ns = uv_hrtime();
    while (!h->ends && !h->paused) {
        size_t before = h->body.n;
        bench_turn(b, since_ns, "the answer's end");
        if (h->body.n - before > most)
            most = h->body.n - before;
    }
    return most;
}

enum { INFLATED_IN_A_TURN = 320 * 1024 };

static void a_turn_of_the_loop_inflates_so_much_and_no_more(void **state)
{
    static char text[3 * 1024 * 1024];
    struct bench *b = *state;
    struct heard h = {0};
    b->config.idle_timeout_ms = 1000;
    memset(text, 'x', sizeof text - 1);
    bench_serve_one(b, compressed_answer("gzip", 31, text, sizeof text - 1, 0, 0));
    bench_call(b, &h, "/", span_of(NULL, 0));
    size_t most = most_in_one_turn(b, &h);
    assert_in_range(most, 1, INFLATED_IN_A_TURN);
    expect_body(&h, text);
    assert_true(h.read_dones >= (int)(sizeof text / INFLATED_IN_A_TURN));
    assert_int_equal(upstream_counters(b->upstream).idle, 1);
    heard_free(&h);
}

static void many_answers_inflate_no_more_in_a_turn(void **state)
{
    enum { ANSWERS = 16, MOST = 1536 * 1024 }; /* each on its own: 4 MiB */
    static char text[1024 * 1024];
    struct bench *b = *state;
    struct heard h[ANSWERS] = {{0}};
    size_t all = 0;
    memset(text, 'x', sizeof text - 1);
    b->config.pool.max = ANSWERS;
    bench_serve_one(b, compressed_answer("gzip", 31, text, sizeof text - 1, 0, 0));
    for (int i = 0; i < ANSWERS; i++)
        bench_call(b, &h[i], "/", span_of(NULL, 0));
    usleep(50000); /* all of them have come */
    for (uint64_t since_ns = uv_hrtime(); all < ANSWERS * (sizeof text - 1);) {
        size_t before = all;
        bench_turn(b, since_ns, "all answers");
        all = 0;
        for (int i = 0; i < ANSWERS; i++)
            all += h[i].body.n;
        assert_in_range(all - before, 0, MOST);
    }
    for (int i = 0; i < ANSWERS; i++) {
        bench_until(b, h[i].ends);
        expect_body(&h[i], text);
        heard_free(&h[i]);
    }
}

static void an_answer_that_rests_may_be_paused(void **state)
{
    static char text[3 * 1024 * 1024];
    struct bench *b = *state;
    struct heard h = {.pause_at = AT_READ_DONE};
    memset(text, 'x', sizeof text - 1);
    bench_serve_one(b, compressed_answer("gzip", 31, text, sizeof text - 1, 0, 0));
    bench_call(b, &h, "/", span_of(NULL, 0));
    while (!h.ends) {
        assert_in_range(most_in_one_turn(b, &h), 0, INFLATED_IN_A_TURN);
        if (h.ends)
            break;
        size_t before = h.body.n;
        bench_settle(b);
        assert_int_equal(h.body.n, before);
        h.paused = false;
        upstream_resume(h.call);
    }
    expect_body(&h, text);
    heard_free(&h);
}

static void truncated_gzip_is_cut(void **state)
{
    struct heard h = {0};
    compressed(*state, &h, "gzip", 31, "the same, the same, the same", 28, 0, 6);
    expect_fail(&h, FAIL_CUT, "incomplete");
    heard_free(&h);
}

static void damaged_gzip_is_cut(void **state)
{
    struct heard h = {0};
    call_once(*state, &h,
              STEPS(DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Encoding: "
                                               "gzip\r\nContent-Length: 9\r\n\r\nnot gzip!")));
    expect_fail(&h, FAIL_PROTOCOL, "damaged");
    heard_free(&h);
}

static void unknown_codings_are_a_protocol_failure(void **state)
{
    struct heard h = {0};
    call_once(
        *state, &h,
        STEPS(DO(FAKE_REQUEST),
              FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nxx")));
    expect_fail(&h, FAIL_PROTOCOL, "coding");
    assert_int_equal(h.heads, 0);
    heard_free(&h);
}

/* ---- bad ends ---- */

static void short_bodies_are_cut(void **state)
{
    struct heard h = {0};
    call_once(*state, &h,
              STEPS(DO(FAKE_REQUEST),
                    FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
                    DO(FAKE_CLOSE)));
    expect_fail(&h, FAIL_CUT, "before its end");
    assert_span_equal(buffer_span(&h.body), SPAN("hello"));
    heard_free(&h);
}

static void broken_chunks_are_cut(void **state)
{
    struct heard h = {0};
    call_once(
        *state, &h,
        STEPS(DO(FAKE_REQUEST),
              FAKE_SAY(
                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\nxx")));
    expect_fail(&h, FAIL_PROTOCOL, "makes no sense");
    assert_span_equal(buffer_span(&h.body), SPAN("hello"));
    heard_free(&h);
}

static void reset_in_the_body_is_cut(void **state)
{
    struct heard h = {0};
    h.cancel_at = NEVER;
    call_once(*state, &h,
              STEPS(DO(FAKE_REQUEST),
                    FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
                    DO(FAKE_RESET)));
    assert_int_equal(h.end, END_CUT);
    heard_free(&h);
}

static void garbage_is_a_protocol_failure(void **state)
{
    struct heard h = {0};
    call_once(*state, &h, STEPS(DO(FAKE_REQUEST), FAKE_SAY("SSH-2.0-OpenSSH_9.2p1\r\n")));
    expect_fail(&h, FAIL_PROTOCOL, "127.0.0.1");
    assert_int_equal(h.heads, 0);
    heard_free(&h);
}

static void unasked_upgrades_are_a_protocol_failure(void **state)
{
    struct heard h = {0};
    call_once(*state, &h,
              STEPS(DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.1 101 Switching Protocols\r\nConnection: "
                                               "upgrade\r\nUpgrade: x\r\n\r\nxx")));
    expect_fail(&h, FAIL_PROTOCOL, "");
    heard_free(&h);
}

static void closed_without_an_answer(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    call_once(b, &h, STEPS(DO(FAKE_REQUEST), DO(FAKE_CLOSE)));
    expect_fail(&h, FAIL_UNREACHABLE, "closed the connection without an answer");
    assert_int_equal(b->site.accepted, 1); /* a fresh connection is not tried again */
    heard_free(&h);
}

static void reset_without_an_answer(void **state)
{
    struct heard h = {0};
    call_once(*state, &h, STEPS(DO(FAKE_REQUEST), DO(FAKE_RESET)));
    expect_fail(&h, FAIL_UNREACHABLE, "127.0.0.1");
    heard_free(&h);
}

static void half_a_head_is_unreachable(void **state)
{
    struct heard h = {0};
    call_once(*state, &h,
              STEPS(DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.1 200 OK\r\nContent-"), DO(FAKE_CLOSE)));
    assert_int_equal(h.end, END_CUT);
    assert_int_equal(h.heads, 0);
    heard_free(&h);
}

static void heads_have_a_limit(void **state)
{
    struct heard h = {0};
    call_once(*state, &h,
              STEPS(DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.1 200 OK\r\nX: "),
                    {FAKE_PATTERN, {0}, 300 * 1024, 0}, FAKE_SAY("\r\n\r\n")));
    expect_fail(&h, FAIL_PROTOCOL, "256 KiB");
    heard_free(&h);
}

static void large_heads_pass(void **state)
{
    struct heard h = {0};
    call_once(*state, &h,
              STEPS(DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.1 200 OK\r\nX: "),
                    {FAKE_PATTERN, {0}, 200 * 1024, 0},
                    FAKE_SAY("\r\nContent-Length: 2\r\n\r\nok")));
    expect_body(&h, "ok");
    heard_free(&h);
}

static void refused_connections(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    char expected[64];
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_END))));
    snprintf(expected, sizeof expected, "127.0.0.1:%d refused the connection", b->site.port);
    fake_server_stop(&b->site);
    bench_settle(b);
    call_once(b, &h, NULL);
    expect_fail(&h, FAIL_UNREACHABLE, expected);
    heard_free(&h);
}

static void names_that_do_not_resolve(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    b->config.host = SPAN("no..such..name");
    b->config.port = 80;
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, h.ends);
    expect_fail(&h, FAIL_UNREACHABLE, "cannot resolve no..such..name");
    heard_free(&h);
}

/* ---- the pool ---- */

static const struct fake_step keep_alive[] = {DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO), DO(FAKE_AGAIN)};

static void connections_are_used_again(void **state)
{
    struct bench *b = *state;
    bench_serve(b, SCRIPTS(keep_alive));
    for (int i = 0; i < 5; i++) {
        struct heard h = {0};
        call_once(b, &h, NULL);
        expect_body(&h, "hello");
        heard_free(&h);
    }
    struct upstream_counters c = upstream_counters(b->upstream);
    assert_int_equal(c.connections, 1);
    assert_int_equal(c.reused, 4);
    assert_int_equal(c.requests, 5);
    assert_int_equal(c.open, 1);
    assert_int_equal(c.idle, 1);
    assert_int_equal(b->site.accepted, 1);
}

static void call_again(struct heard *h)
{
    h->on_end = NULL;
    heard_free(h);
    h->heads = 0;
    h->ends = 0;
    bench_call(h->bench, h, "/again", span_of(NULL, 0));
    h->on_end = NULL;
}

static void the_next_call_may_start_inside_on_end(void **state)
{
    struct bench *b = *state;
    struct heard h = {.on_end = call_again};
    bench_serve(b, SCRIPTS(keep_alive));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, h.ends && h.on_end == NULL);
    expect_body(&h, "hello");
    assert_int_equal(b->site.accepted, 1);
    heard_free(&h);
}

/* Two calls in a row; how many connections did they take? */
static size_t connections_for_two(struct bench *b, const struct fake_step *steps)
{
    struct heard a = {0}, c = {0};
    if (!b->has_site)
        bench_serve_one(b, steps);
    call_once(b, &a, NULL);
    bench_settle(b);
    call_once(b, &c, NULL);
    expect_body(&a, "hello");
    expect_body(&c, "hello");
    heard_free(&a);
    heard_free(&c);
    return b->site.accepted;
}

static void not_after_connection_close(void **state)
{
    assert_int_equal(
        connections_for_two(
            *state,
            STEPS(DO(FAKE_REQUEST),
                  FAKE_SAY(
                      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"))),
        2);
}

static void not_after_http_1_0(void **state)
{
    assert_int_equal(
        connections_for_two(
            *state,
            STEPS(DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"))),
        2);
}

static void not_when_more_than_the_answer_came(void **state)
{
    assert_int_equal(connections_for_two(
                         *state, STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO "HTTP/1.1 200 OK\r\n"))),
                     2);
}

static void not_when_data_came_while_idle(void **state)
{
    assert_int_equal(connections_for_two(*state, STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO),
                                                       FAKE_SAY("HTTP/1.1 408 Late\r\n\r\n"))),
                     2);
}

static void not_when_closed_while_idle(void **state)
{
    struct bench *b = *state;
    assert_int_equal(
        connections_for_two(b, STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO), DO(FAKE_CLOSE))), 2);
    bench_settle(b);
    assert_int_equal(upstream_counters(b->upstream).open, 0);
}

static void not_without_reuse(void **state)
{
    struct bench *b = *state;
    b->config.pool.reuse = false;
    assert_int_equal(connections_for_two(b, keep_alive), 2);
}

static void accounts_do_not_share(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    struct site_request request = {.method = "GET", .target = SPAN("/")};
    struct fail fail;
    assert_int_equal(connections_for_two(b, keep_alive), 1);
    struct upstream_handler none = {0};
    struct upstream_call *call =
        upstream_start(b->upstream, &b->config, SPAN("other"), &request, &none, &fail);
    assert_non_null(call);
    assert_int_equal(upstream_counters(b->upstream).idle, 1); /* it did not take the idle one */
    upstream_cancel(call, false);
    heard_free(&h);
}

static void idle_connections_time_out(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    b->config.pool.idle_timeout_ms = 30;
    bench_serve(b, SCRIPTS(keep_alive));
    call_once(b, &h, NULL);
    assert_int_equal(upstream_counters(b->upstream).idle, 1);
    bench_until(b, b->site.connections[0]->peer_gone);
    assert_int_equal(upstream_counters(b->upstream).open, 0);
    heard_free(&h);
}

static void idle_connections_are_forgotten(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    bench_serve(b, SCRIPTS(keep_alive));
    call_once(b, &h, NULL);
    upstream_forget_idle(b->upstream);
    assert_int_equal(upstream_counters(b->upstream).idle, 0);
    bench_until(b, b->site.connections[0]->peer_gone);
    heard_free(&h);
}

static void a_full_pool_makes_calls_wait_in_turn(void **state)
{
    struct bench *b = *state;
    struct heard h[4] = {{0}};
    b->config.pool.max = 2;
    bench_serve(b, SCRIPTS(keep_alive));
    for (int i = 0; i < 4; i++)
        bench_call(b, &h[i],
                   i == 0   ? "/0"
                   : i == 1 ? "/1"
                   : i == 2 ? "/2"
                            : "/3",
                   span_of(NULL, 0));
    bench_until(b, h[0].ends && h[1].ends && h[2].ends && h[3].ends);
    for (int i = 0; i < 4; i++) {
        expect_body(&h[i], "hello");
        heard_free(&h[i]);
    }
    assert_int_equal(b->site.accepted, 2);
    assert_int_equal(upstream_counters(b->upstream).reused, 2);
}

static void a_cancelled_call_makes_room(void **state)
{
    struct bench *b = *state;
    struct heard first = {0}, second = {0}, third = {0};
    b->config.pool.max = 1;
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST)), keep_alive));
    bench_call(b, &first, "/", span_of(NULL, 0));
    bench_call(b, &second, "/", span_of(NULL, 0));
    bench_call(b, &third, "/", span_of(NULL, 0));
    bench_settle(b);
    upstream_cancel(second.call, false); /* while it waits */
    upstream_cancel(first.call, false);
    bench_until(b, third.ends);
    expect_body(&third, "hello");
    assert_int_equal(first.ends + second.ends, 0);
    heard_free(&first);
    heard_free(&second);
    heard_free(&third);
}

static void waiting_has_a_limit(void **state)
{
    struct bench *b = *state;
    struct heard first = {0}, second = {0};
    b->config.pool.max = 1;
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST))));
    bench_call(b, &first, "/", span_of(NULL, 0));
    b->config.first_byte_timeout_ms = b->config.connect_timeout_ms = 50;
    bench_call(b, &second, "/", span_of(NULL, 0));
    bench_until(b, second.ends);
    expect_fail(&second, FAIL_TIMEOUT, "");
    assert_int_equal(first.ends, 0);
    upstream_cancel(first.call, false);
    heard_free(&first);
    heard_free(&second);
}

static void few_idle_connections_are_kept(void **state)
{
    struct bench *b = *state;
    struct heard h[3] = {{0}};
    b->config.pool.max_idle = 1;
    bench_serve(b, SCRIPTS(keep_alive));
    for (int i = 0; i < 3; i++)
        bench_call(b, &h[i], "/", span_of(NULL, 0));
    bench_until(b, h[0].ends && h[1].ends && h[2].ends);
    assert_int_equal(upstream_counters(b->upstream).idle, 1);
    for (int i = 0; i < 3; i++)
        heard_free(&h[i]);
}

static void a_dead_pooled_connection_is_replaced(void **state)
{
    struct bench *b = *state;
    struct heard a = {0}, c = {0};
    bench_serve(
        b, SCRIPTS(STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO), DO(FAKE_REQUEST), DO(FAKE_RESET)),
                   keep_alive));
    call_once(b, &a, NULL);
    bench_call(b, &c, "/", SPAN("once more"));
    bench_until(b, c.ends);
    expect_body(&c, "hello");
    assert_int_equal(b->site.accepted, 2);
    assert_true(
        span_ends(buffer_span(&b->site.connections[1]->received), SPAN("\r\n\r\nonce more")));
    heard_free(&a);
    heard_free(&c);
}

static void but_only_once(void **state)
{
    struct bench *b = *state;
    struct heard a = {0}, c = {0};
    bench_serve(
        b, SCRIPTS(STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO), DO(FAKE_REQUEST), DO(FAKE_CLOSE)),
                   STEPS(DO(FAKE_REQUEST), DO(FAKE_CLOSE))));
    call_once(b, &a, NULL);
    call_once(b, &c, NULL);
    expect_fail(&c, FAIL_UNREACHABLE, "without an answer");
    assert_int_equal(b->site.accepted, 2);
    heard_free(&a);
    heard_free(&c);
}

static void and_not_after_a_byte_of_the_answer(void **state)
{
    struct bench *b = *state;
    struct heard a = {0}, c = {0};
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO), DO(FAKE_REQUEST),
                                 FAKE_SAY("H"), DO(FAKE_CLOSE)),
                           keep_alive));
    call_once(b, &a, NULL);
    call_once(b, &c, NULL);
    assert_int_equal(c.end, END_CUT);
    assert_int_equal(b->site.accepted, 1);
    heard_free(&a);
    heard_free(&c);
}

/* ---- the clocks ---- */

static void no_answer_in_time(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    b->config.first_byte_timeout_ms = 60;
    uint64_t begin = uv_now(&b->loop);
    call_once(b, &h, STEPS(DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.1 200 OK\r\n")));
    expect_fail(&h, FAIL_TIMEOUT, "60 ms");
    assert_true(uv_now(&b->loop) - begin >= 60);
    heard_free(&h);
}

static void silence_in_the_body(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    b->config.idle_timeout_ms = 60;
    call_once(
        b, &h,
        STEPS(DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")));
    expect_fail(&h, FAIL_TIMEOUT, "60 ms");
    assert_span_equal(buffer_span(&h.body), SPAN("hello"));
    heard_free(&h);
}

/* A byte now and then is not silence, however long it lasts in all. */
static void send_a_byte(uv_timer_t *timer)
{
    struct bench *b = timer->data;
    static int left = 12;
    if (left == 0)
        left = 12;
    struct fake_connection *c = b->site.connections[0];
    uv_buf_t one = uv_buf_init((char *)(uintptr_t) "x", 1);
    uv_try_write((uv_stream_t *)&c->tcp, &one, 1);
    if (--left == 0)
        uv_timer_stop(timer);
}

/* An answer whose body comes a byte every 20 ms: never silent for long, but slow. */
static void hear_dripping(struct bench *b, struct heard *h, uv_timer_t *timer)
{
    b->config.idle_timeout_ms = 100;
    b->config.first_byte_timeout_ms = 150;
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST),
                                 FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"))));
    bench_call(b, h, "/", span_of(NULL, 0));
    bench_until(b, h->heads);
    uv_timer_init(&b->loop, timer);
    timer->data = b;
    uv_timer_start(timer, send_a_byte, 20, 20);
    bench_until(b, h->ends);
}

static void slow_is_not_silent(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    uv_timer_t timer;
    hear_dripping(b, &h, &timer);
    expect_body(&h, "xxxxxxxxxxxx");
    uv_close((uv_handle_t *)&timer, NULL);
    bench_settle(b);
    heard_free(&h);
}

/* Others wait for a credential: a site that goes on and on with it is no better than a silent one.
 */
static void an_answer_with_a_credential_has_an_end(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    uv_timer_t timer;
    h.brief = true;
    hear_dripping(b, &h, &timer);
    expect_fail(&h, FAIL_TIMEOUT, "did not end its answer within 150 ms (first_byte_timeout)");
    assert_true(h.body.n > 0 && h.body.n < 12);
    uv_close((uv_handle_t *)&timer, NULL);
    bench_settle(b);
    heard_free(&h);
}

/* A listener whose queue is full answers no SYN. */
static void connecting_takes_too_long(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    int listener = socket(AF_INET, SOCK_STREAM, 0), fillers[3];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    for (int i = 0; i < 3; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&address, size);
    }
    b->config.port = ntohs(address.sin_port);
    b->config.connect_timeout_ms = 80;
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, h.ends);
    expect_fail(&h, FAIL_TIMEOUT, "did not answer within 80 ms");
    for (int i = 0; i < 3; i++)
        close(fillers[i]);
    close(listener);
    heard_free(&h);
}

/* ---- back-pressure ---- */

static void pause_and_resume(struct bench *b, struct heard *h, size_t total)
{
    h->pause_at = AT_BODY;
    h->forget_body = true;
    bench_call(b, h, "/", span_of(NULL, 0));
    size_t pauses = 0;
    while (!h->ends) {
        bench_until(b, h->paused || h->ends);
        if (h->ends)
            break;
        if (pauses++ < 8)
            bench_settle(b); /* the site sends as much as it can */
        h->heard_while_paused = 0;
        if (pauses > 40)
            h->pause_at = NEVER;
        h->paused = false;
        upstream_resume(h->call);
    }
    assert_int_equal(h->end, END_CLEAN);
    assert_int_equal(h->body.n, total);
}

static void a_paused_call_hears_nothing_and_loses_nothing(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    enum { TOTAL = 24 * 1024 * 1024 };
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST),
                                 FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Length: 25165824\r\n\r\n"),
                                 {FAKE_PATTERN, {0}, TOTAL, 0})));
    pause_and_resume(b, &h, TOTAL);
    heard_free(&h);
}

static void pausing_stops_the_site(void **state)
{
    struct bench *b = *state;
    struct heard h = {.pause_at = AT_BODY, .forget_body = true};
    enum { TOTAL = 64 * 1024 * 1024 };
    b->config.idle_timeout_ms = 20;
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST),
                                 FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n"),
                                 {FAKE_PATTERN, {0}, TOTAL, 0})));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, h.paused);
    size_t before = h.body.n;
    for (int i = 0; i < 5; i++)
        bench_settle(b); /* also longer than idle_timeout: the clock stands still */
    assert_int_equal(h.ends, 0);
    assert_int_equal(h.body.n, before);
    assert_int_equal(h.heard_while_paused, 0);
    assert_true(b->site.pattern_sent < 32 * 1024 * 1024); /* the kernel's buffers, not ours */
    b->config.idle_timeout_ms = 10000;
    upstream_cancel(h.call, false);
    heard_free(&h);
}

/* Plain ones of one read are told together: these are not. */
static void many_chunks_pause_between_two(void **state)
{
    struct bench *b = *state;
    struct heard h = {.pause_at = AT_BODY};
    bench_serve(b, SCRIPTS(STEPS(
                       DO(FAKE_REQUEST),
                       FAKE_SAY("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                                "chunked\r\n\r\n1;x\r\na\r\n1;x\r\nb\r\n1;x\r\nc\r\n0\r\n\r\n"))));
    bench_call(b, &h, "/", span_of(NULL, 0));
    static const char *const seen[] = {"a", "ab", "abc"};
    for (size_t i = 0; i < 3; i++) {
        bench_until(b, h.paused);
        bench_settle(b);
        assert_span_equal(buffer_span(&h.body), span_str(seen[i]));
        assert_int_equal(h.ends, 0);
        h.paused = false;
        upstream_resume(h.call);
        assert_int_equal(h.body.n, i + 1); /* nothing is told inside resume */
    }
    bench_until(b, h.ends);
    expect_body(&h, "abc");
    assert_int_equal(upstream_counters(b->upstream).idle, 1);
    heard_free(&h);
}

/* What was held back meanwhile is handed out later; the connection is idle when the end is told. */
static void an_answer_that_was_held_back_is_told_whole(void **state)
{
    struct bench *b = *state;
    struct heard h = {.pause_at = AT_HEAD};
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST),
                                 FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, h.paused);
    h.paused = false;
    upstream_resume(h.call);
    bench_until(b, h.ends);
    expect_body(&h, "hello");
    heard_free(&h);
}

static void a_call_may_be_paused_before_it_is_connected(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    bench_serve(b, SCRIPTS(keep_alive));
    bench_call(b, &h, "/", span_of(NULL, 0));
    upstream_pause(h.call);
    bench_settle(b);
    assert_int_equal(h.heads, 0);
    upstream_resume(h.call);
    bench_until(b, h.ends);
    expect_body(&h, "hello");
    heard_free(&h);
}

/* ---- large requests ---- */

static void large_bodies_leave_whole(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    size_t n = 8 * 1024 * 1024;
    char *body = malloc(n);
    for (size_t i = 0; i < n; i++)
        body[i] = fake_pattern(i);
    bench_serve(b, SCRIPTS(keep_alive));
    bench_call(b, &h, "/", span_of(body, n));
    bench_until(b, h.ends);
    expect_body(&h, "hello");
    struct span sent = buffer_span(&b->site.connections[0]->received);
    assert_true(sent.n > n);
    assert_memory_equal(sent.p + sent.n - n, body, n);
    assert_int_equal(upstream_counters(b->upstream).idle, 1);
    free(body);
    heard_free(&h);
}

static void sites_may_answer_before_they_read_it_all(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    size_t n = 32 * 1024 * 1024;
    char *body = calloc(1, n);
    bench_serve(b,
                SCRIPTS(STEPS(DO(FAKE_HEAD), DO(FAKE_DEAF),
                              FAKE_SAY("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"))));
    bench_call(b, &h, "/", span_of(body, n));
    bench_until(b, h.ends);
    expect_body(&h, "big");
    assert_int_equal(h.status, 413);
    assert_int_equal(upstream_counters(b->upstream).idle, 0);
    free(body); /* the spans need to live until on_end only */
    bench_settle(b);
    heard_free(&h);
}

/* ---- streamed requests ---- */

static struct span sent_to(struct bench *b, size_t i)
{
    return buffer_span(&b->site.connections[i]->received);
}

static void streamed_bodies_leave_as_they_come(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST),
                                 FAKE_SAY("HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nok"),
                                 DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO))));
    bench_open(b, &h, "/up", 10);
    assert_int_equal(upstream_send(h.call, SPAN("hello"), false), 5); /* waits for the connection */
    bench_until(b, b->site.accepted && span_ends(sent_to(b, 0), SPAN("\r\n\r\nhello")));
    upstream_send(h.call, SPAN("wor"), false);
    upstream_send(h.call, SPAN("ld"), true);
    bench_until(b, h.ends);
    expect_body(&h, "ok");
    assert_string_equal(h.reason, "Fine");
    assert_true(span_find(sent_to(b, 0), SPAN("\r\nContent-Length: 10\r\n")) > 0);
    assert_true(span_ends(sent_to(b, 0), SPAN("\r\n\r\nhelloworld")));
    assert_int_equal(h.drains, 0);
    assert_int_equal(upstream_counters(b->upstream).idle, 1);
    heard_free(&h);
    /* none at all: nothing to send */
    struct heard none = {0};
    bench_open(b, &none, "/up", 0);
    bench_until(b, none.ends);
    assert_true(span_find_last(sent_to(b, 0), SPAN("Content-Length: 0\r\n")) > 0);
    heard_free(&none);
}

static void streamed_bodies_without_a_length_are_chunked(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_HEAD), FAKE_SAY(OK_HELLO))));
    h.pause_at = AT_HEAD;
    bench_open(b, &h, "/up", HTTP_CHUNKED_BODY);
    upstream_send(h.call, SPAN("hello world, hello world"), false);
    upstream_send(h.call, SPAN(""), false);
    bench_until(b, h.heads);
    upstream_send(h.call, SPAN("!"), false);
    upstream_send(h.call, SPAN(""), true);
    bench_until(b, span_ends(sent_to(b, 0), SPAN("0\r\n\r\n")));
    upstream_resume(h.call);
    bench_until(b, h.ends);
    expect_body(&h, "hello");
    assert_true(span_find(sent_to(b, 0), SPAN("\r\nTransfer-Encoding: chunked\r\n")) > 0);
    assert_true(span_find_nocase(sent_to(b, 0), SPAN("content-length")) < 0);
    assert_true(span_ends(sent_to(b, 0),
                          SPAN("\r\n\r\n18\r\nhello world, hello world\r\n1\r\n!\r\n0\r\n\r\n")));
    heard_free(&h);
}

static void a_full_upstream_says_so_and_when_it_is_not(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    static char piece[64 * 1024];
    size_t waiting = 0, sent = 0;
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_HEAD), DO(FAKE_DEAF), DO(FAKE_END))));
    bench_open(b, &h, "/up", 1 << 30);
    for (int i = 0; i < 4000 && waiting <= UPSTREAM_HIGH_WATER; i++) {
        assert_non_null(h.call);
        waiting = upstream_send(h.call, span_of(piece, sizeof piece), false);
        sent += sizeof piece;
        bench_turn(b, uv_hrtime(), "");
    }
    bench_settle(b);
    assert_true(waiting > UPSTREAM_HIGH_WATER);
    assert_true(sent < 200u << 20);
    assert_int_equal(h.drains, 0);
    upstream_cancel(h.call, false);
    heard_free(&h);
}

static void a_drained_upstream_wants_more(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    static char piece[1 << 20];
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO))));
    bench_open(b, &h, "/up", 3 << 20);
    int owed = 0;
    for (int i = 1; i <= 3; i++) { /* the first waits for the connection */
        bool full =
            upstream_send(h.call, span_of(piece, sizeof piece), i == 3) > UPSTREAM_HIGH_WATER;
        assert_true(full || i > 1);
        owed += full;
        bench_until(b, h.drains == owed);
    }
    bench_until(b, h.ends);
    expect_body(&h, "hello");
    assert_int_equal(sent_to(b, 0).n - (size_t)span_find(sent_to(b, 0), SPAN("\r\n\r\n")) - 4,
                     3 << 20);
    heard_free(&h);
}

static void goes_out_again(struct bench *b, struct heard *h)
{
    struct heard first = {0};
    bench_serve(b,
                SCRIPTS(STEPS(DO(FAKE_REQUEST), FAKE_SAY(OK_HELLO), DO(FAKE_HEAD), DO(FAKE_RESET)),
                        keep_alive));
    call_once(b, &first, NULL);
    bench_open(b, h, "/up", 8);
    upstream_send(h->call, SPAN("kept"), false);
    buffer_append(&h->kept, SPAN("kept"));
    bench_until(b, h->agains);
    if (h->keeps)
        upstream_send(h->call, SPAN(" too"), true);
    bench_until(b, h->ends);
    heard_free(&first);
}

static void streamed_bodies_go_out_again_where_they_were_kept(void **state)
{
    struct bench *b = *state;
    struct heard h = {.keeps = true};
    goes_out_again(b, &h);
    expect_body(&h, "hello");
    assert_true(span_ends(sent_to(b, 1), SPAN("\r\n\r\nkept too")));
    heard_free(&h);
}

static void and_fail_where_they_were_not(void **state)
{
    struct heard h = {.keeps = false};
    goes_out_again(*state, &h);
    expect_fail(&h, FAIL_UNREACHABLE, "");
    heard_free(&h);
}

static void a_slow_sender_is_waited_for(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    b->config.first_byte_timeout_ms = 60;
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST), DO(FAKE_END))));
    bench_open(b, &h, "/up", 2);
    upstream_send(h.call, SPAN("h"), false);
    uint64_t until = uv_hrtime() + 250000000;
    bench_until(b, uv_hrtime() > until);
    assert_int_equal(h.ends, 0);
    upstream_send(h.call, SPAN("i"), true); /* now it is the site's turn */
    bench_until(b, h.ends);
    expect_fail(&h, FAIL_TIMEOUT, "first_byte_timeout");
    heard_free(&h);
}

static void streamed_answers_stay_compressed(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    bench_serve(
        b,
        SCRIPTS(STEPS(
            DO(FAKE_REQUEST),
            FAKE_SAY(
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!"),
            DO(FAKE_REQUEST),
            FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nxx"),
            DO(FAKE_REQUEST),
            FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot "
                     "gzip!"))));
    bench_open(b, &h, "/", 0);
    bench_until(b, h.ends);
    expect_body(&h, "not gzip!");
    heard_free(&h);
    struct heard c = {0}, d = {0};
    bench_open(b, &c, "/", 0);
    bench_until(b, c.ends);
    expect_body(&c, "xx");
    heard_free(&c);
    call_once(b, &d, NULL); /* the connection's next call is another matter */
    expect_fail(&d, FAIL_PROTOCOL, "damaged");
    heard_free(&d);
}

static void a_streamed_call_may_end_before_its_body(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_HEAD),
                                 FAKE_SAY("HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"))));
    bench_open(b, &h, "/", 1000);
    upstream_send(h.call, SPAN("some"), false);
    bench_until(b, h.ends);
    expect_body(&h, "no");
    assert_int_equal(upstream_counters(b->upstream).idle,
                     0); /* the site still waits for the rest */
    heard_free(&h);
}

/* ---- cancelling ---- */

static const struct fake_step endless[] = {
    DO(FAKE_REQUEST), FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello"), DO(FAKE_END)};

static void cancel_at(struct bench *b, enum moment moment)
{
    struct heard h = {.cancel_at = moment};
    bench_serve(b, SCRIPTS(endless));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, b->site.accepted && b->site.connections[0]->peer_gone);
    assert_null(h.call);
    assert_int_equal(h.ends, 0);
    assert_int_equal(upstream_counters(b->upstream).open, 0);
    heard_free(&h);
}

static void cancel_at_the_head(void **state) { cancel_at(*state, AT_HEAD); }
static void cancel_in_the_body(void **state) { cancel_at(*state, AT_BODY); }
static void cancel_after_a_read(void **state) { cancel_at(*state, AT_READ_DONE); }

static void cancel_before_anything(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    bench_serve(b, SCRIPTS(endless));
    bench_call(b, &h, "/", span_of(NULL, 0));
    upstream_cancel(h.call, false);
    bench_settle(b);
    assert_int_equal(h.ends + h.heads, 0);
    assert_int_equal(upstream_counters(b->upstream).open, 0);
    heard_free(&h);
}

static void cancel_while_resolving(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    b->config.host = SPAN("localhost");
    b->config.port = 9;
    bench_call(b, &h, "/", span_of(NULL, 0));
    upstream_cancel(h.call, true);
    heard_free(&h);
}

static void cancel_before_the_answer(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST))));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, b->site.accepted && b->site.connections[0]->at);
    upstream_cancel(h.call, true);
    bench_until(b, b->site.connections[0]->peer_gone);
    heard_free(&h);
}

static void cancel_while_a_body_is_sent(void **state)
{
    struct bench *b = *state;
    struct heard h = {0};
    char *body = calloc(1, 32 * 1024 * 1024);
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_HEAD), DO(FAKE_DEAF))));
    bench_call(b, &h, "/", span_of(body, 32 * 1024 * 1024));
    bench_until(b, b->site.accepted && b->site.connections[0]->at);
    upstream_cancel(h.call, false);
    free(body);
    bench_settle(b);
    assert_int_equal(upstream_counters(b->upstream).open, 0);
    heard_free(&h);
}

static void finished_calls_are_drained_for_the_pool(void **state)
{
    struct bench *b = *state;
    struct heard h = {.cancel_at = AT_BODY, .cancel_finished = true};
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST),
                                 FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello"),
                                 FAKE_SAY(" world"), DO(FAKE_AGAIN))));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, upstream_counters(b->upstream).idle);
    assert_int_equal(h.ends, 0);
    struct heard next = {0};
    call_once(b, &next, NULL);
    expect_body(&next, "hello world");
    assert_int_equal(b->site.accepted, 1);
    heard_free(&h);
    heard_free(&next);
}

static void finished_calls_are_drained_within_one_read(void **state)
{
    struct bench *b = *state;
    struct heard h = {.cancel_at = AT_BODY, .cancel_finished = true};
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST),
                                 FAKE_SAY("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                                          "chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"))));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, upstream_counters(b->upstream).idle);
    assert_int_equal(h.bodies, 1);
    assert_int_equal(h.read_dones, 0);
    heard_free(&h);
}

static void finished_and_paused_calls_are_drained(void **state)
{
    struct bench *b = *state;
    struct heard h = {.pause_at = AT_BODY};
    bench_serve(
        b,
        SCRIPTS(STEPS(
            DO(FAKE_REQUEST),
            FAKE_SAY("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n"),
            FAKE_SAY("0\r\n\r\n"))));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, h.paused);
    bench_settle(b);
    upstream_cancel(h.call, true);
    bench_until(b, upstream_counters(b->upstream).idle);
    assert_int_equal(h.bodies, 1);
    heard_free(&h);
}

static void long_rests_are_not_drained(void **state)
{
    struct bench *b = *state;
    struct heard h = {.cancel_at = AT_HEAD, .cancel_finished = true};
    bench_serve(b, SCRIPTS(STEPS(DO(FAKE_REQUEST),
                                 FAKE_SAY("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"),
                                 {FAKE_PATTERN, {0}, 1048576, 0})));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, b->site.accepted && b->site.connections[0]->peer_gone);
    assert_int_equal(upstream_counters(b->upstream).idle, 0);
    heard_free(&h);
}

static void rests_that_inflate_to_much_are_not_drained(void **state)
{
    static char text[3 * 1024 * 1024];
    struct bench *b = *state;
    struct heard h = {.cancel_at = AT_BODY, .cancel_finished = true};
    bench_serve_one(b, compressed_answer("gzip", 31, text, sizeof text, 0, 0));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, b->site.accepted && b->site.connections[0]->peer_gone);
    assert_int_equal(upstream_counters(b->upstream).idle, 0);
    heard_free(&h);
}

static void slow_rests_are_not_drained(void **state)
{
    struct bench *b = *state;
    struct heard h = {.cancel_at = AT_BODY, .cancel_finished = true};
    bench_serve(b, SCRIPTS(endless));
    bench_call(b, &h, "/", span_of(NULL, 0));
    bench_until(b, b->site.accepted && b->site.connections[0]->peer_gone); /* after 1 s */
    heard_free(&h);
}

/* ---- the end ---- */

static void destruction_closes_everything(void **state)
{
    struct bench *b = *state;
    struct heard done = {0}, draining = {.cancel_at = AT_BODY, .cancel_finished = true},
                 opening = {0}, sent = {0};
    bench_serve(b, SCRIPTS(keep_alive, endless, STEPS(DO(FAKE_REQUEST)), keep_alive));
    call_once(b, &done, NULL);
    b->config.settings.prefix = SPAN("/x");
    bench_call(b, &sent, "/", span_of(NULL, 0));
    bench_call(b, &draining, "/", span_of(NULL, 0));
    bench_until(b, !draining.call || sent.ends);
    bench_call(b, &opening, "/", span_of(NULL, 0));
    if (sent.call)
        upstream_cancel(sent.call, false);
    if (draining.call)
        upstream_cancel(draining.call, false);
    if (opening.call)
        upstream_cancel(opening.call, false);
    /* tear-down destroys, runs the loop dry and counts the open files */
    heard_free(&done);
    heard_free(&draining);
    heard_free(&opening);
    heard_free(&sent);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(get_is_sent_and_answered),
        TEST(post_carries_its_body),
        TEST(requests_that_could_break_a_line_are_refused),
        TEST(chunks_arrive_byte_by_byte),
        TEST(several_chunks_of_one_read_are_one_read),
        TEST(body_lasts_until_close),
        TEST(half_closed_sites_may_still_answer),
        TEST(interim_answers_are_skipped),
        TEST(answers_without_body_end_at_once),
        TEST(retry_after_is_read),
        TEST(gzip_is_inflated),
        TEST(gzip_is_inflated_byte_by_byte),
        TEST(deflate_is_inflated),
        TEST(raw_deflate_is_inflated),
        TEST(raw_deflate_is_inflated_byte_by_byte),
        TEST(large_pieces_inflate_whole),
        TEST(a_turn_of_the_loop_inflates_so_much_and_no_more),
        TEST(many_answers_inflate_no_more_in_a_turn),
        TEST(an_answer_that_rests_may_be_paused),
        TEST(truncated_gzip_is_cut),
        TEST(damaged_gzip_is_cut),
        TEST(unknown_codings_are_a_protocol_failure),
        TEST(short_bodies_are_cut),
        TEST(broken_chunks_are_cut),
        TEST(reset_in_the_body_is_cut),
        TEST(garbage_is_a_protocol_failure),
        TEST(unasked_upgrades_are_a_protocol_failure),
        TEST(closed_without_an_answer),
        TEST(reset_without_an_answer),
        TEST(half_a_head_is_unreachable),
        TEST(heads_have_a_limit),
        TEST(large_heads_pass),
        TEST(refused_connections),
        TEST(names_that_do_not_resolve),
        TEST(connections_are_used_again),
        TEST(the_next_call_may_start_inside_on_end),
        TEST(not_after_connection_close),
        TEST(not_after_http_1_0),
        TEST(not_when_more_than_the_answer_came),
        TEST(not_when_data_came_while_idle),
        TEST(not_when_closed_while_idle),
        TEST(not_without_reuse),
        TEST(accounts_do_not_share),
        TEST(idle_connections_time_out),
        TEST(idle_connections_are_forgotten),
        TEST(a_full_pool_makes_calls_wait_in_turn),
        TEST(a_cancelled_call_makes_room),
        TEST(waiting_has_a_limit),
        TEST(few_idle_connections_are_kept),
        TEST(a_dead_pooled_connection_is_replaced),
        TEST(but_only_once),
        TEST(and_not_after_a_byte_of_the_answer),
        TEST(no_answer_in_time),
        TEST(silence_in_the_body),
        TEST(slow_is_not_silent),
        TEST(an_answer_with_a_credential_has_an_end),
        TEST(connecting_takes_too_long),
        TEST(a_paused_call_hears_nothing_and_loses_nothing),
        TEST(pausing_stops_the_site),
        TEST(many_chunks_pause_between_two),
        TEST(an_answer_that_was_held_back_is_told_whole),
        TEST(a_call_may_be_paused_before_it_is_connected),
        TEST(large_bodies_leave_whole),
        TEST(sites_may_answer_before_they_read_it_all),
        TEST(streamed_bodies_leave_as_they_come),
        TEST(streamed_bodies_without_a_length_are_chunked),
        TEST(a_full_upstream_says_so_and_when_it_is_not),
        TEST(a_drained_upstream_wants_more),
        TEST(streamed_bodies_go_out_again_where_they_were_kept),
        TEST(and_fail_where_they_were_not),
        TEST(a_slow_sender_is_waited_for),
        TEST(streamed_answers_stay_compressed),
        TEST(a_streamed_call_may_end_before_its_body),
        TEST(cancel_at_the_head),
        TEST(cancel_in_the_body),
        TEST(cancel_after_a_read),
        TEST(cancel_before_anything),
        TEST(cancel_while_resolving),
        TEST(cancel_before_the_answer),
        TEST(cancel_while_a_body_is_sent),
        TEST(finished_calls_are_drained_for_the_pool),
        TEST(finished_calls_are_drained_within_one_read),
        TEST(finished_and_paused_calls_are_drained),
        TEST(long_rests_are_not_drained),
        TEST(rests_that_inflate_to_much_are_not_drained),
        TEST(slow_rests_are_not_drained),
        TEST(destruction_closes_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
