/*
 * gateway/net_streams.h - the three byte streams there are, and what they share on one event loop.
 *
 * Each constructor copies what it is given (unless it says otherwise) and returns NULL when memory
 * is short; a filter takes over the stream below only when it succeeds. See byte_stream.h for how
 * they behave.
 */
#ifndef DRAGOMAN_GATEWAY_NET_STREAMS_H
#define DRAGOMAN_GATEWAY_NET_STREAMS_H

#include <uv.h>

#include "gateway/byte_stream.h"
#include "gateway/config.h"
#include "gateway/handshake_thread.h"
#include "gateway/handshake_turns.h"
#include "gateway/public_address.h"
#include "tls/tls_stream.h"

enum { NET_BUFFER_SIZE = 64 * 1024 };

/* One per loop. The buffers are shared by all its connections: a read is handled to its end before
 * the next begins. */
struct net {
    uv_loop_t *loop;
    char *read_buffer;  /* what a socket reads into */
    char *plain_buffer; /* what TLS decrypts into */
    struct handshake_thread *thread;
    struct handshake_turns *turns;
    size_t live;                   /* objects that still have handles or work of the loop */
    void (*drained)(struct net *); /* live became 0 */
};

static inline void net_hold(struct net *net) { net->live++; }
static inline void net_release(struct net *net)
{
    if (--net->live == 0)
        net->drained(net);
}

/* Closes a stream that nobody listens to. */
void byte_stream_discard(struct byte_stream *);

/* ---- names ---- */

struct net_lookup;
/* Asks the system's resolver on the thread pool. `done` (status 0 or a UV_EAI_* code; the list is
 * freed after it) is called once, unless cancelled. */
struct net_lookup *net_lookup_start(uv_loop_t *, const char *host, int port,
                                    void (*done)(void *arg, int status, const struct addrinfo *),
                                    void *arg);
void net_lookup_cancel(struct net_lookup *);
/* The sentence for a failed lookup. */
void net_lookup_fail(struct fail *, const char *host, int status);
/* "host:port", IPv6 literals in brackets. */
void net_label(char *to, size_t room, const char *host, int port);

/* ---- streams ---- */

/* TCP with happy eyeballs. `label` names the other end in sentences ("chat.z.ai:443", "the
 * proxy 10.0.0.1:3128"). It and the host must outlive the stream. */
struct byte_stream *net_socket_create(struct net *, const char *host, int port, const char *label);
/* Before it is opened: only addresses that the rule allows (which must outlive the stream's
 * closing) are connected to, looked at after the name was resolved, one by one. Where there is
 * none, and where the name cannot be resolved, it fails with FAIL_UNSUPPORTED and the same
 * sentence: nobody learns from it which names a network has inside. */
void net_socket_only(struct byte_stream *, const struct address_rule *);

/* A tunnel to host:port through the HTTP or SOCKS5 proxy that `below` connects to. */
struct byte_stream *net_proxy_create(struct net *, struct byte_stream *below,
                                     const struct proxy_config *, const char *host, int port);

struct net_tls_settings {
    const char *host;        /* name to verify; must outlive the stream */
    const char *label;       /* the other end in sentences; must outlive the stream */
    const char *session_key; /* who shares sessions; must outlive the stream */
    const char *ca_file;     /* "" = none; must outlive the stream */
    struct tls_sessions *sessions;
    struct tls_trust **trust; /* where the trust store is kept once it is loaded; must outlive the
                                 stream; released by its owner */
};
struct byte_stream *net_tls_create(struct net *, struct byte_stream *below,
                                   const struct net_tls_settings *);
/* After on_open. */
bool net_tls_was_resumed(const struct byte_stream *);

#endif
