/*
 * gateway/net_tls.c - TLS over any byte stream; moves the bytes between tls/tls_stream.h and the
 * stream below.
 *
 * A full handshake costs milliseconds of CPU (and the first one of a process loads the trust
 * store), so its steps run on the thread pool and no other connection waits for them; a resumed one
 * is cheap and stays on the loop. While a step runs on a thread the tls_stream belongs to it: the
 * stream below does not read, nothing here touches it, and closing waits for it. Plain text is
 * encrypted in pieces of 64 KiB, each after the one before has left, so a large body never exists
 * twice.
 */
#include <assert.h>
#include <stdlib.h>

#include "gateway/net_streams.h"

enum { WRITE_PIECE = 64 * 1024, RECORD_MAX = 16 * 1024 };

enum tls_step { TLS_STEP_CONNECTING, TLS_STEP_HANDSHAKE, TLS_STEP_OPEN, TLS_STEP_ENDED };

struct net_tls {
    struct byte_stream base;
    struct net *net;
    struct net_tls_settings settings;
    struct tls_trust *shared; /* the store in settings.trust, as it was when the handshake began */
    struct tls_trust *trust;  /* loaded by this stream because there was none */
    struct tls_stream *tls;
    enum tls_step step;
    uv_work_t work;
    bool working;              /* the tls_stream belongs to a thread */
    enum tls_result handshake; /* what the last step said */
    struct fail fail;
    struct span pieces[BYTE_STREAM_PIECES_MAX]; /* the running write, what is not encrypted yet */
    size_t n_pieces;
    bool writing;       /* above waits for on_written */
    struct buffer sent; /* cipher text that the stream below is sending */
    bool sending;
    bool eof;     /* the stream below ended; told once what came before is read */
    bool stopped; /* above does not want to read */
    bool closing, below_closed;
};

static struct net_tls *tls_of(struct byte_stream *s) { return (struct net_tls *)s; }

static void tls_free(struct net_tls *t)
{
    struct net *net = t->net;
    t->base.events->on_closed(t->base.up);
    tls_stream_destroy(t->tls);
    if (t->trust)
        tls_trust_release(t->trust);
    buffer_free(&t->sent);
    free(t);
    net_release(net);
}

static void tls_failed(struct net_tls *t, const struct fail *fail)
{
    t->step = TLS_STEP_ENDED;
    t->base.events->on_fail(t->base.up, fail);
}

/* ---- sending ---- */

/* Moves the waiting cipher text out of the tls_stream, which may write more while this is on its
 * way. */
static void send_output(struct net_tls *t)
{
    struct buffer *output = tls_stream_output(t->tls);
    if (t->sending || output->n == 0)
        return;
    struct buffer full = *output;
    t->sent.limit = output->limit;
    *output = t->sent;
    buffer_clear(output);
    t->sent = full;
    t->sending = true;
    struct span bytes = buffer_span(&t->sent);
    byte_stream_write(t->base.below, &bytes, 1);
}

static void pump(struct net_tls *t)
{
    if (t->working || t->closing)
        return;
    while (!t->sending && t->n_pieces && t->step == TLS_STEP_OPEN &&
           tls_stream_output(t->tls)->n < WRITE_PIECE) {
        struct span piece = span_first(t->pieces[0], WRITE_PIECE);
        if (piece.n && tls_stream_write(t->tls, piece) != TLS_OK) {
            t->n_pieces = 0; /* a silent failure: the reading side tells */
            t->writing = false;
            return;
        }
        t->pieces[0] = span_from(t->pieces[0], piece.n);
        if (t->pieces[0].n == 0)
            memmove(t->pieces, t->pieces + 1, --t->n_pieces * sizeof *t->pieces);
    }
    send_output(t);
}

static void on_below_written(void *up)
{
    struct net_tls *t = up;
    t->sending = false;
    if (t->sent.cap > WRITE_PIECE)
        buffer_shrink(&t->sent, WRITE_PIECE);
    pump(t);
    if (!t->sending && !t->working && t->writing && t->n_pieces == 0) {
        t->writing = false;
        t->base.events->on_written(t->base.up);
    }
}

static void tls_write(struct byte_stream *base, const struct span *pieces, size_t n)
{
    struct net_tls *t = tls_of(base);
    assert(t->step == TLS_STEP_OPEN && !t->writing && n <= BYTE_STREAM_PIECES_MAX);
    memcpy(t->pieces, pieces, n * sizeof *pieces);
    t->n_pieces = n;
    t->writing = true;
    pump(t);
}

static size_t tls_unsent(const struct byte_stream *base)
{
    const struct net_tls *t = (const struct net_tls *)base;
    size_t n = byte_stream_unsent(base->below);
    for (size_t i = 0; i < t->n_pieces; i++)
        n += t->pieces[i].n;
    return n;
}

/* ---- the handshake ---- */

/* May run on a thread: touches only what belongs to this stream. */
static void handshake_run(struct net_tls *t)
{
    struct tls_trust *trust = t->shared ? t->shared : t->trust;
    if (!trust)
        trust = t->trust = tls_trust_get(t->settings.ca_file, &t->fail);
    if (trust && !t->tls)
        t->tls = tls_client_create(trust, t->settings.sessions, t->settings.host,
                                   t->settings.session_key, &t->fail);
    if (!t->tls) {
        t->handshake = TLS_FAILED;
        return;
    }
    if (t->eof)
        tls_stream_feed_eof(t->tls);
    t->handshake = tls_stream_handshake(t->tls);
    if (t->handshake == TLS_FAILED)
        t->fail = *tls_stream_fail(t->tls);
}

static void handshake_done(struct net_tls *t)
{
    if (t->trust && !*t->settings.trust) { /* for the connections to come */
        *t->settings.trust = t->shared = t->trust;
        t->trust = NULL;
    }
    switch (t->handshake) {
    case TLS_OK:
        t->step = TLS_STEP_OPEN;
        t->base.phase = NULL;
        t->stopped = true;
        byte_stream_read_stop(t->base.below);
        send_output(t);
        t->base.events->on_open(t->base.up);
        return;
    case TLS_WANT_INPUT:
        if (!t->eof) {
            send_output(t);
            byte_stream_read_start(t->base.below);
            return;
        }
        fail_set(&t->fail, FAIL_UNREACHABLE, "%s closed the connection during the TLS handshake",
                 t->settings.session_key);
        tls_failed(t, &t->fail);
        return;
    default:
        if (t->tls && !t->sending) /* the alert */
            byte_stream_last_words(t->base.below, buffer_span(tls_stream_output(t->tls)));
        tls_failed(t, &t->fail);
    }
}

static void on_work(uv_work_t *work)
{
    struct net_tls *t = work->data;
    handshake_run(t);
}

static void on_work_done(uv_work_t *work, int status)
{
    struct net_tls *t = work->data;
    t->working = false;
    if (!t->closing)
        handshake_done(t);
    else if (t->below_closed)
        tls_free(t);
}

static void handshake_step(struct net_tls *t)
{
    if (!t->tls)
        t->shared = *t->settings.trust;
    if (!t->tls && t->shared)
        t->tls = tls_client_create(t->shared, t->settings.sessions, t->settings.host,
                                   t->settings.session_key, &t->fail);
    bool cheap = t->tls && tls_stream_is_resuming(t->tls);
    if (!cheap) {
        byte_stream_read_stop(t->base.below);
        t->working = true;
        t->work.data = t;
        if (uv_queue_work(t->net->loop, &t->work, on_work, on_work_done) == 0)
            return;
        t->working = false;
    }
    handshake_run(t);
    handshake_done(t);
}

/* ---- reading ---- */

/* Decrypts and delivers what has been fed, as few and as large spans as the buffer allows. */
static void deliver(struct net_tls *t)
{
    bool any = false;
    enum tls_result result = TLS_OK;
    while (result == TLS_OK && t->step == TLS_STEP_OPEN && !t->stopped) {
        char *to = t->net->plain_buffer;
        size_t have = 0;
        while (result == TLS_OK && NET_BUFFER_SIZE - have >= RECORD_MAX) {
            size_t n = 0;
            result = tls_stream_read(t->tls, to + have, NET_BUFFER_SIZE - have, &n);
            if (result == TLS_OK)
                have += n;
        }
        if (have) {
            any = true;
            t->base.events->on_read(t->base.up, span_of(to, have));
        }
    }
    if (any && t->step == TLS_STEP_OPEN)
        t->base.events->on_read_done(t->base.up);
    if (t->step != TLS_STEP_OPEN)
        return;
    pump(t);
    if (t->stopped) /* an end that came with it is met again by the next read */
        return;
    if (result == TLS_CLOSED) {
        t->step = TLS_STEP_ENDED;
        byte_stream_read_stop(t->base.below);
        t->base.events->on_eof(t->base.up);
    } else if (result == TLS_FAILED) {
        byte_stream_read_stop(t->base.below);
        if (!t->sending)
            byte_stream_last_words(t->base.below, buffer_span(tls_stream_output(t->tls)));
        tls_failed(t, tls_stream_fail(t->tls));
    }
}

static void on_below_open(void *up)
{
    struct net_tls *t = up;
    t->step = TLS_STEP_HANDSHAKE;
    t->base.phase = "in the TLS handshake";
    handshake_step(t);
}

static void on_below_read(void *up, struct span bytes)
{
    struct net_tls *t = up;
    assert(!t->working);
    if (t->step == TLS_STEP_ENDED || tls_stream_feed(t->tls, bytes) == 0)
        return;
    struct fail fail;
    fail_memory(&fail);
    byte_stream_read_stop(t->base.below);
    tls_failed(t, &fail);
}

static void on_below_read_done(void *up)
{
    struct net_tls *t = up;
    if (t->step == TLS_STEP_HANDSHAKE)
        handshake_step(t);
    else if (t->step == TLS_STEP_OPEN)
        deliver(t);
}

static void on_below_eof(void *up)
{
    struct net_tls *t = up;
    t->eof = true;
    if (t->step == TLS_STEP_HANDSHAKE) {
        handshake_step(t);
    } else if (t->step == TLS_STEP_OPEN) {
        tls_stream_feed_eof(t->tls);
        deliver(t);
    }
}

static void on_below_fail(void *up, const struct fail *fail)
{
    struct net_tls *t = up;
    if (t->step != TLS_STEP_ENDED)
        tls_failed(t, fail);
}

static void tls_read_start(struct byte_stream *base)
{
    struct net_tls *t = tls_of(base);
    t->stopped = false;
    deliver(t);
    if (t->step == TLS_STEP_OPEN && !t->stopped && !t->eof)
        byte_stream_read_start(base->below);
}

static void tls_read_stop(struct byte_stream *base)
{
    struct net_tls *t = tls_of(base);
    t->stopped = true;
    if (t->step == TLS_STEP_OPEN)
        byte_stream_read_stop(base->below);
}

/* ---- the rest ---- */

static void on_below_closed(void *up)
{
    struct net_tls *t = up;
    t->below_closed = true;
    if (!t->working)
        tls_free(t);
}

static void tls_open(struct byte_stream *base) { byte_stream_open(base->below); }

static void tls_last_words(struct byte_stream *base, struct span words) {}

static void tls_close(struct byte_stream *base)
{
    struct net_tls *t = tls_of(base);
    if (t->closing)
        return;
    if (t->step == TLS_STEP_OPEN && !t->sending) {
        tls_stream_close(t->tls);
        byte_stream_last_words(base->below, buffer_span(tls_stream_output(t->tls)));
    }
    t->closing = true;
    t->step = TLS_STEP_ENDED;
    t->n_pieces = 0;
    if (t->working)
        uv_cancel((uv_req_t *)&t->work);
    byte_stream_close(base->below);
}

bool net_tls_was_resumed(const struct byte_stream *base)
{
    return tls_stream_was_resumed(((const struct net_tls *)base)->tls);
}

struct byte_stream *net_tls_create(struct net *net, struct byte_stream *below,
                                   const struct net_tls_settings *settings)
{
    static const struct byte_stream_ops ops = {tls_open,      tls_write,  tls_read_start,
                                               tls_read_stop, tls_unsent, tls_last_words,
                                               tls_close,     NULL};
    static const struct byte_stream_events below_events = {
        on_below_open,    on_below_read, on_below_read_done, on_below_eof,
        on_below_written, on_below_fail, on_below_closed};
    struct net_tls *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->base.ops = &ops;
    t->base.below = below;
    t->net = net;
    t->settings = *settings;
    t->stopped = true;
    byte_stream_listen(below, &below_events, t);
    net_hold(net);
    return &t->base;
}
