/*
 * test/unit/support/upstream_bench.h - a loop with an upstream, up to two fake servers and recorded
 * calls, for the tests of gateway/upstream.h.
 *
 * Setting up counts the open files; tearing down destroys everything, runs the loop dry and counts
 * again.
 */
#ifndef DRAGOMAN_TEST_UPSTREAM_BENCH_H
#define DRAGOMAN_TEST_UPSTREAM_BENCH_H

#include "fake_server.h"
#include "gateway/upstream.h"

enum moment { NEVER, AT_HEAD, AT_BODY, AT_READ_DONE };

/* One call and everything that was heard of it. */
struct heard {
    struct bench *bench;
    struct upstream_call *call;
    int heads, read_dones, ends, bodies;
    int status, retry_after_s;
    char content_type[64];
    size_t n_headers;
    struct buffer body;
    struct span told; /* the piece that was told to be the last, as long as it stays where it is */
    enum stream_end end;
    struct fail fail;
    /* what to do, and when */
    enum moment cancel_at, pause_at;
    bool cancel_finished, keep_paused, forget_body;
    bool paused;
    bool brief; /* it obtains a credential */
    size_t heard_while_paused;
    void (*on_end)(struct heard *);
    /* of a streamed call */
    int drains, agains;
    char reason[32];
    struct buffer kept; /* what is sent again */
    bool keeps;
};

struct bench {
    uv_loop_t loop;
    struct upstream *upstream;
    struct fake_server site;
    bool has_site;
    const struct fake_step *one[2];
    struct site_config config;
    struct tls_identity *identity;
    int files;
};

int bench_set_up(void **state);
int bench_tear_down(void **state);
/* Starts the site on 127.0.0.1 and points the config at it. */
void bench_serve(struct bench *, const struct fake_step *const *scripts);
/* The same script for each connection. */
void bench_serve_one(struct bench *, const struct fake_step *steps);
/* GET of a path, or a POST when there is a body. `h` is cleared but for what it is told to do. */
void bench_call(struct bench *, struct heard *, const char *target, struct span body);
/* A streamed POST; `length` as in struct http_outgoing. */
void bench_open(struct bench *, struct heard *, const char *target, int64_t length);
/* Runs the loop until the condition holds; fails the test after 20 s. */
#define bench_until(b, condition)                                                                  \
    do {                                                                                           \
        uint64_t since_ns = uv_hrtime();                                                           \
        while (!(condition))                                                                       \
            bench_turn((b), since_ns, #condition);                                                 \
    } while (0)
void bench_turn(struct bench *, uint64_t since_ns, const char *what);
/* A few turns of the loop that do not wait for anything. */
void bench_settle(struct bench *);
void heard_free(struct heard *);

#endif
