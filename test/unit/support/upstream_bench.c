/*
 * test/unit/support/upstream_bench.c - see upstream_bench.h.
 */
#include "upstream_bench.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>

#include "cmocka_all.h"
#include "gateway/http_client.h"
#include "patience.h"

static int count_files(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Not UV_RUN_ONCE: what a timer makes true must be seen before the loop waits again. */
static void turn(struct bench *b)
{
    struct pollfd ready = {.fd = uv_backend_fd(&b->loop), .events = POLLIN};
    poll(&ready, 1, 1);
    uv_run(&b->loop, UV_RUN_NOWAIT);
}

void bench_turn(struct bench *b, uint64_t since_ns, const char *what)
{
    if (uv_hrtime() - since_ns > patience_ns())
        fail_msg("it never came to this: %s", what);
    turn(b);
}

void bench_settle(struct bench *b)
{
    for (int i = 0; i < 20; i++)
        turn(b);
}

/* libuv keeps some files of its own from the first use on: its spare one for EMFILE with the first
 * stream, the thread pool's. */
static void no_work(uv_work_t *w) {}
static void after_no_work(uv_work_t *w, int status) {}

int bench_set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    uv_work_t work;
    assert_non_null(b);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(uv_loop_init(&b->loop), 0);
    uv_queue_work(&b->loop, &work, no_work, after_no_work);
    uv_tcp_t stream;
    uv_tcp_init(&b->loop, &stream);
    uv_close((uv_handle_t *)&stream, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    b->files = count_files();
    b->upstream = upstream_create(&b->loop);
    assert_non_null(b->upstream);
    b->config.settings.name = SPAN("fake");
    b->config.host = SPAN("127.0.0.1");
    b->config.host_header = SPAN("site.test");
    b->config.settings.prefix = span_of("", 0);
    b->config.ca_file = span_of("", 0);
    b->config.connect_timeout_ms = 10000;
    b->config.first_byte_timeout_ms = 10000;
    b->config.idle_timeout_ms = 10000;
    b->config.pool.idle_timeout_ms = 10000;
    b->config.pool.reuse = true;
    *state = b;
    return 0;
}

static void on_upstream_gone(void *arg) { ((struct bench *)arg)->upstream = NULL; }

int bench_tear_down(void **state)
{
    struct bench *b = *state;
    if (b->upstream)
        upstream_destroy(b->upstream, on_upstream_gone, b);
    bench_until(b, !b->upstream);
    if (b->has_site)
        fake_server_stop(&b->site);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    if (b->has_site)
        fake_server_free(&b->site);
    int files = count_files();
    assert_int_equal(files, b->files);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    if (b->identity)
        tls_identity_release(b->identity);
    free(b);
    return 0;
}

void bench_serve(struct bench *b, const struct fake_step *const *scripts)
{
    b->site.identity = b->identity;
    b->has_site = true;
    assert_true(fake_server_start(&b->site, &b->loop, "127.0.0.1", 0, scripts));
    b->config.port = b->site.port;
}

void bench_serve_one(struct bench *b, const struct fake_step *steps)
{
    b->one[0] = steps;
    bench_serve(b, b->one);
}

static void act(struct heard *h, enum moment now)
{
    if (h->pause_at == now && !h->paused) {
        h->paused = true;
        upstream_pause(h->call);
    }
    if (h->cancel_at == now && h->call) {
        struct upstream_call *call = h->call;
        h->call = NULL;
        upstream_cancel(call, h->cancel_finished);
    }
}

static void on_head(void *owner, const struct site_head *head)
{
    struct heard *h = owner;
    assert_non_null(h->call);
    h->heads++;
    h->status = head->status;
    h->retry_after_s = head->retry_after_s;
    h->n_headers = head->n_headers;
    snprintf(h->reason, sizeof h->reason, "%.*s", SPAN_ARGS(head->reason));
    snprintf(h->content_type, sizeof h->content_type, "%.*s", SPAN_ARGS(head->content_type));
    h->heard_while_paused += h->paused;
    act(h, AT_HEAD);
}

static void on_body(void *owner, struct span bytes)
{
    struct heard *h = owner;
    assert_non_null(h->call);
    assert_int_equal(h->heads, 1);
    assert_true(bytes.n > 0);
    h->bodies++;
    h->heard_while_paused += h->paused;
    if (h->forget_body)
        h->body.n += bytes.n; /* only counted */
    else
        buffer_append(&h->body, bytes);
    if (upstream_is_told(h->call))
        h->told = bytes;
    act(h, AT_BODY);
}

static void on_read_done(void *owner)
{
    struct heard *h = owner;
    assert_non_null(h->call);
    h->read_dones++;
    h->told = span_of(NULL, 0);
    act(h, AT_READ_DONE);
}

static void on_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct heard *h = owner;
    assert_non_null(h->call);
    assert_non_null(fail);
    h->call = NULL;
    h->ends++;
    h->end = end;
    h->fail = *fail;
    if (h->told.n && !h->forget_body)
        assert_true(span_ends(buffer_span(&h->body), h->told));
    if (h->on_end)
        h->on_end(h);
}

void bench_call(struct bench *b, struct heard *h, const char *target, struct span body)
{
    struct site_request request = {.method = body.p ? "POST" : "GET",
                                   .target = span_str(target),
                                   .body = body,
                                   .credential_step = h->brief};
    struct upstream_handler handler = {on_head, on_body, on_read_done, on_end, h};
    struct fail fail;
    h->bench = b;
    buffer_init(&h->body, (size_t)1 << 30);
    site_request_header(&request, SPAN("X-Test"), SPAN("one"));
    h->call = upstream_start(b->upstream, &b->config, SPAN("main"), &request, &handler, &fail);
    assert_non_null(h->call);
    assert_int_equal(h->heads + h->ends, 0);
}

static void on_drain(void *owner)
{
    struct heard *h = owner;
    assert_non_null(h->call);
    h->drains++;
}

static bool on_again(void *owner, struct span *sent)
{
    struct heard *h = owner;
    h->agains++;
    *sent = buffer_span(&h->kept);
    return h->keeps;
}

void bench_open(struct bench *b, struct heard *h, const char *target, int64_t length)
{
    static const struct header headers[] = {{SPAN_INIT("X-Test"), SPAN_INIT("one")}};
    const struct http_outgoing request = {.method = SPAN("POST"),
                                          .target = span_str(target),
                                          .headers = headers,
                                          .n_headers = 1,
                                          .length = length};
    struct upstream_handler handler = {on_head, on_body, on_read_done, on_end, h};
    struct upstream_body_handler body_handler = {on_drain, on_again};
    struct fail fail;
    h->bench = b;
    buffer_init(&h->body, (size_t)1 << 30);
    buffer_init(&h->kept, (size_t)1 << 30);
    h->call = upstream_open(b->upstream, &b->config, SPAN("main"), &request, &handler,
                            &body_handler, &fail);
    assert_non_null(h->call);
    assert_int_equal(h->heads + h->ends, 0);
}

void heard_free(struct heard *h)
{
    buffer_free(&h->kept);
    if (h->forget_body)
        h->body.n = 0;
    buffer_free(&h->body);
}
