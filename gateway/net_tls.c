/*
 * gateway/net_tls.c - the TLS filter: tls/tls_stream.h over any stream below.
 *
 * A full handshake costs 3 to 5 ms of CPU, so its steps run on the thread pool while reading below is paused; a resumed one stays on the loop. Loading the
 * trusted certificates (once a process and ca_file) happens on the thread pool as well. The filter may be closed while a job runs: the job holds it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/byte_stream.h"

struct net_tls {
    struct byte_stream base;
    struct byte_stream *below;
    struct net_context *net;
    char *host, *ca_file;
    char session_key[300];
    struct tls_trust *trust; /* reference of ours until the stream has its own */
    struct tls_stream *tls;
    uv_work_t work;
    bool working, open, ended, paused, below_ended, delivering;
    enum tls_result result;
    struct fail fail;
    uv_timer_t *later; /* goes on with what is decrypted after a pause */
};

static struct net_tls *of(struct byte_stream *s) { return (struct net_tls *)s; }

static void end(struct net_tls *t, const struct fail *fail)
{
    if (t->ended || t->base.closed)
        return;
    t->ended = true;
    t->base.up.on_end(t->base.up.owner, fail);
}

static void send_output(struct net_tls *t)
{
    struct buffer *out = tls_stream_output(t->tls);
    struct span piece = buffer_span(out);
    if (!piece.n)
        return;
    byte_stream_write(t->below, &piece, 1);
    buffer_shrink(out, 4096);
}

/* ---- trust, kept for the loop's life ------------------------------------------------------------------------------- */

static struct tls_trust *known_trust(struct net_context *net, const char *ca_file)
{
    for (struct net_trust *k = net->trusts; k; k = k->next) {
        if (strcmp(k->ca_file, ca_file) == 0)
            return k->trust;
    }
    return NULL;
}

static void keep_trust(struct net_context *net, const char *ca_file, struct tls_trust *trust)
{
    struct net_trust *k =
        known_trust(net, ca_file) ? NULL : malloc(sizeof *k + strlen(ca_file) + 1);
    if (!k) {
        tls_trust_release(trust);
        return;
    }
    strcpy(k->ca_file, ca_file);
    k->trust = trust;
    k->next = net->trusts;
    net->trusts = k;
}

/* ---- the handshake ------------------------------------------------------------------------------------------------------ */

static void deliver(struct net_tls *t);
static void handshake(struct net_tls *t);

/* On the thread pool: nothing but this job touches the stream. */
static void on_work(uv_work_t *work)
{
    struct net_tls *t = work->data;
    if (!t->tls) {
        struct tls_trust *trust = known_trust(t->net, t->ca_file) ? NULL : t->trust;
        if (!trust)
            trust = t->trust = tls_trust_get(t->ca_file, &t->fail);
        if (trust)
            t->tls = tls_client_create(trust, t->net->sessions, t->host, t->session_key, &t->fail);
    }
    t->result = t->tls ? tls_stream_handshake(t->tls) : TLS_FAILED;
}

static void take_result(struct net_tls *t)
{
    if (t->tls)
        send_output(t); /* also an alert */
    switch (t->result) {
    case TLS_OK:
        t->open = true;
        byte_stream_resume(t->below);
        t->base.up.on_ready(t->base.up.owner);
        if (!t->base.closed)
            deliver(t);
        break;
    case TLS_WANT_INPUT: byte_stream_resume(t->below); break;
    default: end(t, t->tls ? tls_stream_fail(t->tls) : &t->fail); break;
    }
}

static void after_work(uv_work_t *work, int status)
{
    struct net_tls *t = work->data;
    t->working = false;
    t->net->handles--;
    if (t->trust) {
        keep_trust(t->net, t->ca_file, t->trust);
        t->trust = NULL;
    }
    if (!t->base.closed)
        take_result(t);
    byte_stream_release(&t->base);
}

static void queue_work(struct net_tls *t)
{
    byte_stream_pause(t->below);
    t->work.data = t;
    if (uv_queue_work(t->net->loop, &t->work, on_work, after_work)) {
        fail_memory(&t->fail);
        end(t, &t->fail);
        return;
    }
    t->working = true;
    t->net->handles++;
    byte_stream_hold(&t->base);
}

static void handshake(struct net_tls *t)
{
    struct tls_trust *trust = known_trust(t->net, t->ca_file);
    if (!t->tls && trust) {
        t->tls = tls_client_create(trust, t->net->sessions, t->host, t->session_key, &t->fail);
        if (!t->tls) {
            end(t, &t->fail);
            return;
        }
    }
    if (!t->tls || !tls_stream_is_resuming(t->tls)) {
        queue_work(t);
        return;
    }
    t->result = tls_stream_handshake(t->tls);
    take_result(t);
}

/* ---- data ------------------------------------------------------------------------------------------------------------------- */

/* Decrypts and hands up until the input is used up, the owner pauses, or the stream ends. */
static void deliver(struct net_tls *t)
{
    size_t n;
    if (t->delivering)
        return;
    t->delivering = true;
    byte_stream_hold(&t->base);
    while (t->open && !t->paused && !t->ended && !t->base.closed) {
        enum tls_result r = tls_stream_read(t->tls, t->net->plain_buffer, NET_PLAIN_SIZE, &n);
        if (r == TLS_OK) {
            t->base.up.on_data(t->base.up.owner, span_of(t->net->plain_buffer, n));
        } else if (r == TLS_CLOSED) {
            end(t, NULL);
        } else if (r == TLS_FAILED) {
            struct fail fail = *tls_stream_fail(t->tls);
            end(t, &fail);
        } else {
            break;
        }
    }
    t->delivering = false;
    byte_stream_release(&t->base);
}

static void on_ready(void *owner)
{
    struct net_tls *t = owner;
    byte_stream_hold(&t->base);
    handshake(t);
    byte_stream_release(&t->base);
}

static void on_data(void *owner, struct span bytes)
{
    struct net_tls *t = owner;
    if (t->ended || !t->tls)
        return;
    byte_stream_hold(&t->base);
    if (tls_stream_feed(t->tls, bytes)) {
        fail_set(&t->fail, FAIL_PROTOCOL, "%s sent more TLS data than fits", t->host);
        end(t, &t->fail);
    } else if (t->open) {
        deliver(t);
    } else {
        handshake(t);
    }
    byte_stream_release(&t->base);
}

static void on_read_done(void *owner)
{
    struct net_tls *t = owner;
    if (t->open && !t->ended)
        t->base.up.on_read_done(t->base.up.owner);
}

static void on_end(void *owner, const struct fail *fail)
{
    struct net_tls *t = owner;
    byte_stream_hold(&t->base);
    if (fail || !t->tls) {
        struct fail early;
        if (!fail)
            fail_set(&early, FAIL_UNREACHABLE, "%s closed the connection before TLS began",
                     t->host);
        end(t, fail ? fail : &early);
    } else {
        t->below_ended = true;
        tls_stream_feed_eof(t->tls);
        if (t->open)
            deliver(t);
        else
            handshake(t); /* says that it was cut off */
    }
    byte_stream_release(&t->base);
}

/* ---- the filter -------------------------------------------------------------------------------------------------------------- */

static int start(struct byte_stream *base, struct fail *fail)
{
    return byte_stream_start(of(base)->below, fail);
}

static void write_pieces(struct byte_stream *base, const struct span *pieces, size_t n)
{
    struct net_tls *t = of(base);
    if (!t->open || t->ended)
        return;
    for (size_t i = 0; i < n; i++) {
        if (tls_stream_write(t->tls, pieces[i]) != TLS_OK)
            break; /* the reading side reports it */
    }
    send_output(t);
}

static void pause_reading(struct byte_stream *base)
{
    of(base)->paused = true;
    byte_stream_pause(of(base)->below);
}

static void on_later(uv_timer_t *timer)
{
    struct net_tls *t = timer->data;
    byte_stream_hold(&t->base);
    deliver(t);
    if (!t->base.closed && !t->ended)
        t->base.up.on_read_done(t->base.up.owner);
    byte_stream_release(&t->base);
}

static void resume_reading(struct byte_stream *base)
{
    struct net_tls *t = of(base);
    t->paused = false;
    if (!t->working)
        byte_stream_resume(t->below);
    if (!t->open)
        return;
    if (!t->later) { /* no callback before we return: what is there already comes with the next turn of the loop */
        t->later = malloc(sizeof *t->later);
        if (!t->later)
            return;
        uv_timer_init(t->net->loop, t->later);
        t->later->data = t;
        t->net->handles++;
    }
    uv_timer_start(t->later, on_later, 0, 0);
}

static void on_later_closed(uv_handle_t *handle)
{
    struct net_context *net = handle->data;
    net->handles--;
    free(handle);
}

static void close_tls(struct byte_stream *base)
{
    struct net_tls *t = of(base);
    if (t->later) {
        t->later->data = t->net;
        uv_close((uv_handle_t *)t->later, on_later_closed);
        t->later = NULL;
    }
    if (t->open && !t->ended && !t->working) {
        tls_stream_close(t->tls);
        send_output(t);
    }
    byte_stream_close(t->below);
}

static void destroy(struct byte_stream *base)
{
    struct net_tls *t = of(base);
    tls_stream_destroy(t->tls);
    free(t->host);
    free(t->ca_file);
    free(t);
}

static const struct byte_stream_ops ops = {start,          write_pieces, pause_reading,
                                           resume_reading, close_tls,    destroy};

struct byte_stream *net_tls_create(struct net_context *net, struct byte_stream *below,
                                   const char *host, int port, const char *ca_file)
{
    struct net_tls *t = below ? calloc(1, sizeof *t) : NULL;
    if (t) {
        t->host = strdup(host);
        t->ca_file = strdup(ca_file);
    }
    if (!t || !t->host || !t->ca_file) {
        if (t) {
            free(t->host);
            free(t->ca_file);
            free(t);
        }
        if (below)
            byte_stream_close(below);
        return NULL;
    }
    t->base.ops = &ops;
    t->net = net;
    t->below = below;
    snprintf(t->session_key, sizeof t->session_key, "%s:%d", host, port);
    below->up = (struct byte_stream_handler){on_ready, on_data, on_read_done, on_end, t};
    return &t->base;
}
