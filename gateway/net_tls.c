/*
 * gateway/net_tls.c - TLS over any byte stream; moves the bytes between tls/tls_stream.h and the
 * stream below.
 *
 * A full handshake costs milliseconds of CPU (and the first one of a process loads the trust
 * store), so its costly steps run on a thread of their own (handshake_thread.h) and no other
 * connection waits for them; everything else, and a resumed one as a whole, is cheap and stays on
 * the loop. While a step runs on the thread the tls_stream belongs to it: the stream below does not
 * read, nothing here touches it, and closing waits for it. Of several connections to a cold origin
 * one goes ahead (handshake_turns.h): the others are connected and wait with their first word.
 *
 * Cipher text is decrypted where the socket read it, all records of a read at once, and handed on
 * together. Plain text is encrypted in pieces of 64 KiB, each after the one before has left, so a
 * large body never exists twice; head and body share a record where they fit.
 */
#include <assert.h>
#include <stdlib.h>

#include "gateway/net_streams.h"

enum { WRITE_PIECE = 64 * 1024, RECORD_MAX = 16 * 1024 };

enum tls_step { TLS_STEP_CONNECTING, TLS_STEP_HANDSHAKE, TLS_STEP_OPEN, TLS_STEP_ENDED };

/* What only a handshake needs, as long as it lasts. */
struct handshake {
    struct handshake_work work;
    struct handshake_place place;
    struct net_tls *owner;
    struct tls_trust *loaded; /* by the thread, because there was none */
    enum tls_result result;   /* of its last step */
    struct fail fail;
};

struct net_tls {
    struct byte_stream base;
    struct net *net;
    struct net_tls_settings settings;
    struct tls_stream *tls;
    struct handshake *handshake;
    enum tls_step step;
    enum tls_result read;                       /* how decrypting the last bytes ended */
    struct span pieces[BYTE_STREAM_PIECES_MAX]; /* the running write, what is not encrypted yet */
    size_t n_pieces;
    struct buffer sent; /* cipher text that the stream below is sending */
    bool working;       /* the tls_stream and the handshake belong to the thread */
    bool writing;       /* above waits for on_written */
    bool sending;
    bool delivered; /* above is owed an on_read_done */
    bool eof;       /* the stream below ended; told once what came before is read */
    bool stopped;   /* above does not want to read */
    bool closing, below_closed;
};

static struct net_tls *tls_of(struct byte_stream *s) { return (struct net_tls *)s; }

static void tls_free(struct net_tls *t)
{
    struct net *net = t->net;
    t->base.events->on_closed(t->base.up);
    tls_stream_destroy(t->tls);
    assert(!t->handshake);
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

/* The waiting cipher text moves out of the tls_stream, which may write more while this is on its
 * way. */
static void hand_over(struct net_tls *t)
{
    struct buffer *output = tls_stream_output(t->tls);
    struct buffer full = *output;
    t->sent.limit = output->limit;
    *output = t->sent;
    buffer_clear(output);
    t->sent = full;
    t->sending = true;
}

static void send_output(struct net_tls *t)
{
    if (t->sending || tls_stream_output(t->tls)->n == 0)
        return;
    hand_over(t);
    struct span bytes = buffer_span(&t->sent);
    byte_stream_write(t->base.below, &bytes, 1);
}

/* The next WRITE_PIECE bytes of the running write are encrypted. */
static enum tls_result encrypt_some(struct net_tls *t)
{
    struct span some[BYTE_STREAM_PIECES_MAX];
    size_t n = 0, room = WRITE_PIECE;
    while (t->n_pieces && room) {
        struct span piece = span_first(t->pieces[0], room);
        some[n++] = piece;
        room -= piece.n;
        t->pieces[0] = span_from(t->pieces[0], piece.n);
        if (t->pieces[0].n == 0)
            memmove(t->pieces, t->pieces + 1, --t->n_pieces * sizeof *t->pieces);
    }
    return tls_stream_write_pieces(t->tls, some, n);
}

static void pump(struct net_tls *t)
{
    if (t->working || t->closing)
        return;
    while (!t->sending && t->n_pieces && t->step == TLS_STEP_OPEN &&
           tls_stream_output(t->tls)->n < WRITE_PIECE) {
        if (encrypt_some(t) != TLS_OK) {
            t->n_pieces = 0; /* a silent failure: the reading side tells */
            t->writing = false;
            return;
        }
    }
    send_output(t);
}

/* The other side has the word: what was written through need not be kept for more. */
static void rest_from_sending(struct net_tls *t)
{
    struct buffer *output = tls_stream_output(t->tls);
    if (!t->sending)
        buffer_shrink(&t->sent, 0);
    if (output->n == 0)
        buffer_shrink(output, 0);
}

static void on_below_written(void *up)
{
    struct net_tls *t = up;
    t->sending = false;
    buffer_shrink(&t->sent, 2 * WRITE_PIECE);
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

static size_t length_of(const struct span *pieces, size_t n)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++)
        length += pieces[i].n;
    return length;
}

/* A request that fits into one piece leaves where it is written. A longer one goes piece by piece,
 * with turns of the loop between them: encrypting takes its time. */
static bool tls_write_now(struct byte_stream *base, const struct span *pieces, size_t n)
{
    struct net_tls *t = tls_of(base);
    struct buffer *output = tls_stream_output(t->tls);
    assert(t->step == TLS_STEP_OPEN && !t->writing);
    if (t->sending || output->n || length_of(pieces, n) > WRITE_PIECE) {
        tls_write(base, pieces, n);
        return false;
    }
    if (tls_stream_write_pieces(t->tls, pieces, n) != TLS_OK)
        return false; /* the reading side tells */
    struct span bytes = buffer_span(output);
    if (byte_stream_write_now(base->below, &bytes, 1)) {
        buffer_clear(output);
        return true;
    }
    hand_over(t);
    t->writing = true;
    return false;
}

static size_t tls_unsent(const struct byte_stream *base)
{
    const struct net_tls *t = (const struct net_tls *)base;
    return byte_stream_unsent(base->below) + length_of(t->pieces, t->n_pieces);
}

/* ---- the handshake ---- */

static void step_on_thread(struct net_tls *t);

/* It is over, one way or another, and nothing of it is on the thread. */
static void handshake_ends(struct net_tls *t, enum handshake_end end)
{
    handshake_turns_leave(t->net->turns, &t->handshake->place, end);
    free(t->handshake);
    t->handshake = NULL;
}

static void handshake_failed(struct net_tls *t, const struct fail *fail)
{
    struct fail told = *fail;
    handshake_ends(t, HANDSHAKE_FAILED);
    tls_failed(t, &told);
}

static enum handshake_end how_it_went(const struct tls_stream *tls)
{
    if (tls_stream_was_resumed(tls))
        return HANDSHAKE_RESUMED;
    if (!tls_stream_may_be_resumed(tls))
        return HANDSHAKE_SESSIONLESS;
    return tls_stream_is_resuming(tls) ? HANDSHAKE_DECLINED : HANDSHAKE_FULL;
}

static void handshake_done(struct net_tls *t)
{
    handshake_ends(t, how_it_went(t->tls));
    t->step = TLS_STEP_OPEN;
    t->base.phase = NULL;
    t->stopped = true;
    byte_stream_read_stop(t->base.below);
    if (!tls_stream_was_resumed(t->tls)) /* certificates came */
        tls_stream_rest(t->tls);
    send_output(t);
    t->base.events->on_open(t->base.up);
}

static void handshake_stepped(struct net_tls *t, enum tls_result result)
{
    struct fail fail;
    switch (result) {
    case TLS_OK: handshake_done(t); return;
    case TLS_COSTLY: step_on_thread(t); return;
    case TLS_WANT_INPUT:
        if (!t->eof) {
            send_output(t);
            byte_stream_read_start(t->base.below);
            return;
        }
        fail_set(&fail, FAIL_UNREACHABLE, "%s closed the connection during the TLS handshake",
                 t->settings.label);
        handshake_failed(t, &fail);
        return;
    default:
        if (!t->sending) /* the alert */
            byte_stream_last_words(t->base.below, buffer_span(tls_stream_output(t->tls)));
        handshake_failed(t, tls_stream_fail(t->tls));
    }
}

static void handshake_step(struct net_tls *t)
{
    if (t->eof)
        tls_stream_feed_eof(t->tls);
    handshake_stepped(t, tls_stream_handshake_cheap(t->tls));
}

/* There is a trust store. */
static void begin_client(struct net_tls *t)
{
    struct fail fail;
    t->tls = tls_client_create(*t->settings.trust, t->settings.sessions, t->settings.host,
                               t->settings.session_key, &fail);
    if (t->tls)
        handshake_step(t);
    else
        handshake_failed(t, &fail);
}

/* On the thread: touches only what belongs to this stream. */
static void run_step(struct handshake_work *work)
{
    struct handshake *h = (struct handshake *)work;
    struct net_tls *t = h->owner;
    if (t->tls)
        h->result = tls_stream_handshake(t->tls);
    else
        h->loaded = tls_trust_get(t->settings.ca_file, &h->fail);
}

/* The store that was loaded is for the connections to come; it is the same one when two loaded it.
 */
static void keep_loaded(struct net_tls *t)
{
    struct handshake *h = t->handshake;
    if (*t->settings.trust)
        tls_trust_release(h->loaded);
    else
        *t->settings.trust = h->loaded;
    h->loaded = NULL;
}

static void step_done(struct handshake_work *work)
{
    struct handshake *h = (struct handshake *)work;
    struct net_tls *t = h->owner;
    t->working = h->place.computing = false;
    if (h->loaded)
        keep_loaded(t);
    if (t->closing) {
        handshake_ends(t, HANDSHAKE_GIVEN_UP);
        if (t->below_closed)
            tls_free(t);
    } else if (t->tls) {
        handshake_stepped(t, h->result);
    } else if (*t->settings.trust) {
        begin_client(t);
    } else {
        handshake_failed(t, &h->fail);
    }
}

static void step_on_thread(struct net_tls *t)
{
    struct handshake_work *work = &t->handshake->work;
    byte_stream_read_stop(t->base.below);
    work->run = run_step;
    work->done = step_done;
    t->working = t->handshake->place.computing = true;
    if (handshake_thread_begin(t->net->thread, work) == 0)
        return;
    run_step(work); /* no thread can be made: slow is better than not at all */
    step_done(work);
}

static void begin_handshake(struct net_tls *t)
{
    t->base.phase = "in the TLS handshake";
    if (*t->settings.trust)
        begin_client(t);
    else
        step_on_thread(t);
}

static void on_turn(struct handshake_place *place)
{
    struct handshake *h = (struct handshake *)((char *)place - offsetof(struct handshake, place));
    begin_handshake(h->owner);
}

static void on_below_open(void *up)
{
    struct net_tls *t = up;
    t->step = TLS_STEP_HANDSHAKE;
    t->base.phase = "waiting for the TLS session of another connection";
    t->handshake = calloc(1, sizeof *t->handshake);
    if (!t->handshake) {
        struct fail fail;
        fail_memory(&fail);
        tls_failed(t, &fail);
        return;
    }
    t->handshake->owner = t;
    t->handshake->place.go = on_turn;
    if (handshake_turns_enter(t->net->turns, &t->handshake->place, t->settings.session_key))
        begin_handshake(t);
}

/* Closed in its middle. */
static void give_handshake_up(struct net_tls *t)
{
    if (t->working && handshake_thread_take_back(t->net->thread, &t->handshake->work))
        t->working = false;
    if (!t->working)
        handshake_ends(t, HANDSHAKE_GIVEN_UP);
}

/* ---- reading ---- */

/* Decrypts and delivers what there is, as few and as large spans as the buffer allows. */
static void decrypt(struct net_tls *t)
{
    t->read = TLS_OK;
    while (t->read == TLS_OK && t->step == TLS_STEP_OPEN && !t->stopped) {
        char *to = t->net->plain_buffer;
        size_t have = 0;
        while (t->read == TLS_OK && NET_BUFFER_SIZE - have >= RECORD_MAX) {
            size_t n = 0;
            t->read = tls_stream_read(t->tls, to + have, NET_BUFFER_SIZE - have, &n);
            if (t->read == TLS_OK)
                have += n;
        }
        if (have) {
            t->delivered = true;
            rest_from_sending(t);
            t->base.events->on_read(t->base.up, span_of(to, have));
        }
    }
}

/* Behind the last bytes of a read: says so, and how they ended. */
static void end_read(struct net_tls *t)
{
    bool owed = t->delivered;
    t->delivered = false;
    if (owed && t->step == TLS_STEP_OPEN)
        t->base.events->on_read_done(t->base.up);
    if (t->step != TLS_STEP_OPEN)
        return;
    pump(t);
    if (t->stopped) /* an end that came with it is met again by the next read */
        return;
    if (t->read == TLS_CLOSED) {
        t->step = TLS_STEP_ENDED;
        byte_stream_read_stop(t->base.below);
        t->base.events->on_eof(t->base.up);
    } else if (t->read == TLS_FAILED) {
        byte_stream_read_stop(t->base.below);
        if (!t->sending)
            byte_stream_last_words(t->base.below, buffer_span(tls_stream_output(t->tls)));
        tls_failed(t, tls_stream_fail(t->tls));
    }
}

/* What was received before. */
static void deliver(struct net_tls *t)
{
    decrypt(t);
    end_read(t);
}

static void on_below_read(void *up, struct span bytes)
{
    struct net_tls *t = up;
    int error = 0;
    assert(!t->working);
    if (t->step == TLS_STEP_OPEN) {
        tls_stream_lend(t->tls, bytes);
        decrypt(t);
        error = tls_stream_keep_lent(t->tls);
    } else if (t->step == TLS_STEP_HANDSHAKE) {
        error = tls_stream_feed(t->tls, bytes);
    }
    if (!error || t->step == TLS_STEP_ENDED)
        return;
    struct fail fail;
    fail_memory(&fail);
    byte_stream_read_stop(t->base.below);
    if (t->handshake)
        handshake_failed(t, &fail);
    else
        tls_failed(t, &fail);
}

static void on_below_read_done(void *up)
{
    struct net_tls *t = up;
    if (t->step == TLS_STEP_HANDSHAKE)
        handshake_step(t);
    else if (t->step == TLS_STEP_OPEN)
        end_read(t);
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
    if (t->handshake)
        handshake_failed(t, fail);
    else if (t->step != TLS_STEP_ENDED)
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
    if (t->handshake)
        give_handshake_up(t);
    byte_stream_close(base->below);
}

bool net_tls_was_resumed(const struct byte_stream *base)
{
    return tls_stream_was_resumed(((const struct net_tls *)base)->tls);
}

struct byte_stream *net_tls_create(struct net *net, struct byte_stream *below,
                                   const struct net_tls_settings *settings)
{
    static const struct byte_stream_ops ops = {tls_open,      tls_write,     tls_read_start,
                                               tls_read_stop, tls_unsent,    tls_last_words,
                                               tls_close,     tls_write_now, NULL};
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
