/*
 * test/memory/scenarios_wire.c - HTTP on both sides, TLS in memory, cookies, what routes rewrite.
 */
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "adapters/cookie_jar.h"
#include "gateway/http_client.h"
#include "gateway/passage_rules.h"
#include "test/memory/scenario.h"
#include "test/unit/support/test_certs.h"
#include "tls/tls_stream.h"

/* ---- answers of sites ---- */

#define MANY_HEADERS                                                                               \
    "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\nG: 7\r\nH: 8\r\nI: 9\r\nJ: 10\r\nK: 11\r\n"   \
    "L: 12\r\nM: 13\r\nN: 14\r\nO: 15\r\nP: 16\r\nQ: 17\r\nSet-Cookie: a=b\r\n"

static const char chunked[] =
    "HTTP/1.1 200 OK\r\n" MANY_HEADERS
    "Transfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n"
    "5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: t\r\n\r\n";

static struct span gzip_answer(void)
{
    static char text[2000];
    static size_t n;
    unsigned char body[500];
    char plain[2000];
    if (n)
        return span_of(text, n);
    memory_pause();
    z_stream z = {0};
    memset(plain, 'a', sizeof plain);
    SCENARIO_CHECK(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in = (unsigned char *)plain;
    z.avail_in = sizeof plain;
    z.next_out = body;
    z.avail_out = sizeof body;
    SCENARIO_CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    size_t length = sizeof body - z.avail_out;
    deflateEnd(&z);
    n = (size_t)snprintf(text, sizeof text,
                         "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n",
                         length);
    memcpy(text + n, body, length);
    n += length;
    memory_resume();
    return span_of(text, n);
}

static enum scenario_end site_answer(const void *what)
{
    struct span bytes = what ? span_str(what) : gzip_answer(), piece;
    enum answer_event event = ANSWER_MORE;
    struct http_answer a;
    http_answer_init(&a, "the site");
    for (size_t at = 0; at < bytes.n && event == ANSWER_MORE; at += 11) {
        struct span rest = span_first(span_from(bytes, at), 11);
        do {
            event = http_answer_next(&a, &rest, &piece);
            if (event == ANSWER_HEAD)
                scenario_sayf("%d %zu\n", a.head.status, a.head.n_headers);
            else if (event == ANSWER_BODY)
                scenario_say(piece);
        } while (event == ANSWER_HEAD || event == ANSWER_BODY);
    }
    SCENARIO_CHECK(event == ANSWER_END || event == ANSWER_BROKEN);
    struct fail fail;
    if (event == ANSWER_BROKEN && !a.fail) /* that is how it says so */
        fail_memory(&fail);
    enum scenario_end end =
        event == ANSWER_END ? SCENARIO_GOOD : scenario_short(a.fail ? a.fail : &fail);
    http_answer_free(&a);
    return end;
}

static enum scenario_end site_request(const void *what)
{
    const struct header headers[] = {{SPAN("Accept"), SPAN("*/*")}, {SPAN("X"), SPAN("y")}};
    const struct http_outgoing request = {.method = SPAN("POST"),
                                          .target = SPAN("/v1/chat"),
                                          .headers = headers,
                                          .n_headers = 2,
                                          .length = HTTP_CHUNKED_BODY};
    struct fail fail = {0};
    struct buffer out;
    enum scenario_end end = SCENARIO_GOOD;
    buffer_init(&out, 1 << 16);
    if (http_head_write(&out, &request, SPAN("s.example"), SPAN(""), NULL, &fail))
        end = scenario_short(&fail);
    else if (http_chunk_write(&out, SPAN("some text"), false) ||
             http_chunk_write(&out, SPAN(""), true))
        end = SCENARIO_SHORT;
    else
        scenario_say(buffer_span(&out));
    buffer_free(&out);
    return end;
}

/* ---- TLS ---- */

static struct test_cert certificate;

static void make_certificate(void)
{
    if (!certificate.cert_file[0]) {
        memory_pause();
        SCENARIO_CHECK(test_cert_make(&certificate));
        memory_resume();
    }
}

static void remove_certificate(void) __attribute__((destructor));
static void remove_certificate(void)
{
    if (certificate.cert_file[0])
        test_cert_remove(&certificate);
}

struct pair {
    struct tls_stream *client, *server;
};

/* What one wants to send goes to the other. False: memory is short. */
static bool carry(struct tls_stream *from, struct tls_stream *to)
{
    struct buffer *out = tls_stream_output(from);
    bool good = !out->error && tls_stream_feed(to, buffer_span(out)) == 0;
    buffer_clear(out);
    return good;
}

static enum scenario_end failed(struct tls_stream *s)
{
    const struct fail *fail = tls_stream_fail(s);
    SCENARIO_CHECK(fail->kind != FAIL_NONE && fail->message[0]);
    return SCENARIO_SHORT;
}

static enum scenario_end shake_and_talk(struct pair *p)
{
    enum tls_result c = TLS_WANT_INPUT, s = TLS_WANT_INPUT;
    char text[2000], got[4000];
    size_t n = 0;
    for (int i = 0; i < 20 && (c == TLS_WANT_INPUT || s == TLS_WANT_INPUT); i++) {
        if (c == TLS_WANT_INPUT && (c = tls_stream_handshake(p->client)) == TLS_FAILED)
            return failed(p->client);
        if (!carry(p->client, p->server))
            return SCENARIO_SHORT;
        if (s == TLS_WANT_INPUT && (s = tls_stream_handshake(p->server)) == TLS_FAILED)
            return failed(p->server);
        if (!carry(p->server, p->client))
            return SCENARIO_SHORT;
    }
    if (c != TLS_OK || s != TLS_OK)
        return SCENARIO_SHORT;
    tls_stream_describe(p->client, text, sizeof text);
    scenario_sayf("%s ", text);
    memset(text, 'x', sizeof text);
    if (tls_stream_write(p->client, span_of(text, sizeof text)) != TLS_OK ||
        !carry(p->client, p->server))
        return SCENARIO_SHORT;
    c = tls_stream_read(p->server, got, sizeof got, &n);
    if (c == TLS_FAILED)
        return failed(p->server);
    scenario_sayf("%d %zu", (int)c, n);
    tls_stream_close(p->client);
    if (!carry(p->client, p->server))
        return SCENARIO_SHORT;
    c = tls_stream_read(p->server, got, sizeof got, &n);
    if (c == TLS_FAILED)
        return failed(p->server);
    scenario_sayf("%d", (int)c);
    return SCENARIO_GOOD;
}

static enum scenario_end connect_once(struct tls_identity *identity, struct tls_trust *trust,
                                      struct tls_sessions *sessions)
{
    struct fail fail = {0};
    enum scenario_end end;
    struct pair p;
    p.client = tls_client_create(trust, sessions, "localhost", "localhost:443", &fail);
    p.server = p.client ? tls_server_create(identity, &fail) : NULL;
    end = p.server ? shake_and_talk(&p) : scenario_short(&fail);
    tls_stream_destroy(p.client);
    tls_stream_destroy(p.server);
    return end;
}

static enum scenario_end tls(const void *what)
{
    struct fail fail = {0};
    enum scenario_end end = SCENARIO_SHORT;
    make_certificate();
    struct tls_identity *identity =
        tls_identity_load(certificate.cert_file, certificate.key_file, &fail);
    struct tls_trust *trust = identity ? tls_trust_get(certificate.cert_file, &fail) : NULL;
    struct tls_sessions *sessions = tls_sessions_create();
    if (!trust) {
        SCENARIO_CHECK(fail.kind != FAIL_NONE && fail.message[0]);
    } else if (sessions) {
        end = connect_once(identity, trust, sessions);
        if (end == SCENARIO_GOOD) /* with what was kept of the first, if there was memory for it */
            end = connect_once(identity, trust, sessions);
    }
    if (sessions)
        tls_sessions_destroy(sessions);
    if (trust)
        tls_trust_release(trust);
    if (identity)
        tls_identity_release(identity);
    return end;
}

/* ---- cookies: what there is no memory for is not kept ---- */

static enum scenario_end cookies(const void *what)
{
    static const char *const lines[] = {"a=1; Path=/; Max-Age=100", "b=2; Domain=site.example",
                                        "c=\"3\"; Secure",
                                        "d=4; Expires=Wed, 21 Oct 2037 07:28:00 GMT", "a=5"};
    const struct cookie_place place = {SPAN("chat.site.example"), SPAN("/x/y"), true};
    const int64_t now = 1700000000000;
    struct cookie_jar jar = {0}, again = {0};
    struct buffer header, text;
    buffer_init(&header, COOKIE_HEADER_MAX);
    buffer_init(&text, COOKIE_JAR_TEXT_MAX);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cookie_jar_take(&jar, &place, span_str(lines[i]), now);
    cookie_jar_header(&jar, &place, now, &header);
    cookie_jar_write(&jar, now, &text);
    cookie_jar_read(&again, buffer_span(&text), now);
    SCENARIO_CHECK(again.n <= jar.n && jar.n <= 5);
    scenario_say(buffer_span(&header));
    scenario_say(buffer_span(&text));
    cookie_jar_free(&jar);
    cookie_jar_free(&again);
    buffer_free(&header);
    buffer_free(&text);
    return memory_plan()->refused ? SCENARIO_LESS : SCENARIO_GOOD;
}

/* ---- routes ---- */

static enum scenario_end route(const void *what)
{
    struct arena arena;
    struct buffer out, room;
    struct passage_mask mask;
    enum scenario_end end = SCENARIO_SHORT;
    arena_init(&arena);
    buffer_init(&out, 1 << 16);
    buffer_init(&room, 1 << 16);
    passage_mask_init(&mask, SPAN("secret-of-the-account"));
    passage_query_without(&out, SPAN("key=k&alt=sse&x=%41"), SPAN("key"));
    passage_query_add(&out, false, SPAN("key"), SPAN("a b"));
    struct span value = passage_query_get(&arena, SPAN("key=k%41&alt=sse"), SPAN("key"));
    struct span first = passage_mask_feed(&mask, SPAN("xx secret-of-the-"), &room);
    if (first.p)
        scenario_say(first);
    struct span second = passage_mask_feed(&mask, SPAN("account yy secret-of"), &room);
    if (second.p)
        scenario_say(second);
    scenario_say(passage_mask_end(&mask));
    struct span text = passage_mask_text(&arena, SPAN("a top secret b"), SPAN("top secret"));
    scenario_say(value);
    scenario_say(text);
    scenario_say(buffer_span(&out));
    if (value.p && first.p && second.p && text.n && !out.error)
        end = SCENARIO_GOOD;
    arena_free(&arena);
    buffer_free(&out);
    buffer_free(&room);
    return end;
}

const struct scenario scenarios_wire[] = {
    {"a site's answer, in chunks", site_answer, chunked},
    {"a site's answer, compressed", site_answer, NULL},
    {"a request to a site", site_request, NULL},
    {"TLS", tls, NULL},
    {"cookies", cookies, NULL},
    {"a route's rewriting", route, NULL},
    {NULL, NULL, NULL},
};
