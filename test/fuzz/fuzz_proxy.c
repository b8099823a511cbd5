/*
 * test/fuzz/fuzz_proxy.c - what an HTTP or SOCKS5 proxy says before a tunnel is open, whole and in
 * pieces.
 *
 * First byte: which kind (bit 0), whether we have a user (bit 1), size of the pieces (bits 2 to 5),
 * whether our questions leave at once (bit 6), whether the end comes (bit 7). What must hold: no
 * finding; one end, and the same one however the bytes are cut; a failure has a sentence; what
 * follows an open tunnel comes out as it is.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "gateway/net_streams.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The connection to the proxy. */
struct wire {
    struct byte_stream base;
    bool writing, reading, closed;
};

/* Who wants the tunnel. */
struct user {
    struct byte_stream *tunnel;
    struct buffer got;
    int opened, failed, closed;
    char sentence[sizeof((struct fail *)0)->message];
};

static struct wire *wire_of(struct byte_stream *s) { return (struct wire *)s; }

static void wire_open(struct byte_stream *s) { assert(!wire_of(s)->closed); }

static void wire_write(struct byte_stream *s, const struct span *pieces, size_t n)
{
    assert(!wire_of(s)->writing && n == 1 && pieces->n > 0);
    wire_of(s)->writing = true;
}

static void wire_read_start(struct byte_stream *s) { wire_of(s)->reading = true; }
static void wire_read_stop(struct byte_stream *s) { wire_of(s)->reading = false; }
static size_t wire_unsent(const struct byte_stream *s) { return 0; }
static void wire_last_words(struct byte_stream *s, struct span words) {}
static void wire_close(struct byte_stream *s) { wire_of(s)->closed = true; }

static void on_open(void *up)
{
    struct user *u = up;
    u->opened++;
}

static void on_read(void *up, struct span bytes)
{
    struct user *u = up;
    assert(u->opened == 1);
    buffer_append(&u->got, bytes);
}

static void on_nothing(void *up) {}

static void on_fail(void *up, const struct fail *fail)
{
    struct user *u = up;
    u->failed++;
    assert(fail->kind != FAIL_NONE && fail->message[0]);
    memcpy(u->sentence, fail->message, sizeof u->sentence);
}

static void on_closed(void *up)
{
    struct user *u = up;
    u->closed++;
}

static bool is_over(const struct user *u) { return u->failed || u->opened; }

static void written(struct wire *w)
{
    if (!w->writing)
        return;
    w->writing = false;
    w->base.events->on_written(w->base.up);
}

static void talk(struct user *u, struct wire *w, unsigned how, struct span bytes, size_t step)
{
    size_t at = 0;
    byte_stream_open(u->tunnel);
    w->base.events->on_open(w->base.up);
    if (how & 64)
        written(w);
    for (; at < bytes.n && w->reading && !is_over(u); at += step) {
        struct span piece = span_first(span_from(bytes, at), step);
        char *copy = malloc(piece.n);
        assert(copy);
        memcpy(copy, piece.p, piece.n);
        w->base.events->on_read(w->base.up, span_of(copy, piece.n));
        free(copy);
        if (!u->failed)
            w->base.events->on_read_done(w->base.up);
        for (int i = 0; w->writing && !u->failed && i < 4; i++) /* an answer may bring a question */
            written(w);
    }
    if (u->opened) { /* what is behind the dialogue, in the last piece or after it */
        byte_stream_read_start(u->tunnel);
        if (at < bytes.n)
            w->base.events->on_read(w->base.up, span_from(bytes, at));
    } else if (!u->failed && how & 128) {
        w->base.events->on_eof(w->base.up);
        assert(is_over(u));
    }
    byte_stream_close(u->tunnel);
    assert(w->closed);
    w->base.events->on_closed(w->base.up);
    assert(u->opened + u->failed <= 1 && u->closed == 1);
}

static void run(struct user *u, unsigned how, struct span bytes, size_t step)
{
    static const struct byte_stream_ops ops = {wire_open,      wire_write,  wire_read_start,
                                               wire_read_stop, wire_unsent, wire_last_words,
                                               wire_close,     NULL,        NULL};
    static const struct byte_stream_events events = {on_open,    on_read, on_nothing, on_nothing,
                                                     on_nothing, on_fail, on_closed};
    const struct proxy_config config = {.kind = how & 1 ? PROXY_SOCKS5H : PROXY_HTTP,
                                        .host = SPAN("proxy.example"),
                                        .port = 3128,
                                        .user = how & 2 ? SPAN("u") : SPAN(""),
                                        .password = how & 2 ? SPAN("p") : SPAN("")};
    struct net net = {.loop = NULL};
    struct wire wire = {.base = {.ops = &ops}};
    *u = (struct user){.opened = 0};
    buffer_init(&u->got, 1 << 24);
    u->tunnel = net_proxy_create(&net, &wire.base, &config, "site.example", 443);
    assert(u->tunnel);
    byte_stream_listen(u->tunnel, &events, u);
    talk(u, &wire, how, bytes, step);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct user whole, pieces;
    if (size < 2)
        return 0;
    struct span bytes = span_of((const char *)data + 1, size - 1);
    run(&whole, data[0], bytes, bytes.n);
    run(&pieces, data[0], bytes, (data[0] >> 2 & 15) + 1u);
    if (bytes.n < 16 * 1024) { /* longer: too long may be said sooner or later */
        assert(whole.opened == pieces.opened && whole.failed == pieces.failed);
        assert(!strcmp(whole.sentence, pieces.sentence));
        assert(span_eq(buffer_span(&whole.got), buffer_span(&pieces.got)));
    }
    buffer_free(&whole.got);
    buffer_free(&pieces.got);
    return 0;
}
