/*
 * test/unit/support/fake_server.h - a scripted TCP server on the test's own loop: it plays a site,
 * a proxy, or somebody who is neither.
 *
 * Connection i follows script i (the last one repeats): a list of steps, each of which waits for
 * something or does something. A proxy and the site behind it are one script: the dialogue, then
 * FAKE_TLS, then the site. Nothing sleeps; what a test waits for calls it (FAKE_NOTE).
 */
#ifndef DRAGOMAN_TEST_FAKE_SERVER_H
#define DRAGOMAN_TEST_FAKE_SERVER_H

#include <uv.h>

#include "base/buffer.h"
#include "tls/tls_stream.h"

enum fake_action {
    FAKE_END = 0, /* nothing more is done; the connection stays open until the peer closes it */
    FAKE_REQUEST, /* waits for an HTTP request with its body (Content-Length) */
    FAKE_HEAD,    /* waits for the head of one only */
    FAKE_TAKE,    /* waits for n bytes */
    FAKE_SEND,    /* bytes; `each` > 0: so many at a time, each in a turn of the loop of its own */
    FAKE_PATTERN, /* n bytes of a pattern (fake_pattern), as fast as the peer takes them */
    FAKE_NOTE,    /* calls the server's `note` */
    FAKE_TLS,     /* the server's side of a TLS handshake; goes on when it is done */
    FAKE_DEAF,    /* stops reading */
    FAKE_FIN,     /* half-close */
    FAKE_CLOSE,
    FAKE_RESET,
    FAKE_AGAIN /* from the first step */
};

struct fake_step {
    enum fake_action action;
    struct span bytes;
    size_t n, each;
};

#define FAKE_SAY(literal)                                                                          \
    {                                                                                              \
        FAKE_SEND, SPAN_INIT(literal), 0, 0                                                        \
    }

enum { FAKE_CONNECTIONS_MAX = 64 };

struct fake_server;
struct fake_connection {
    struct fake_server *server;
    uv_tcp_t tcp;
    const struct fake_step *first, *step;
    struct tls_stream *tls;
    bool tls_open, writing, closing, closed, peer_gone;
    struct buffer received; /* everything, decrypted */
    size_t at;              /* what the steps have taken of it */
    size_t sent;            /* of the current step */
};

struct fake_server {
    uv_tcp_t listener;
    int port;
    char host[64];
    const struct fake_step *const *scripts; /* ends with NULL */
    struct tls_identity *identity;
    void (*note)(void *arg, struct fake_connection *);
    void *note_arg;
    struct fake_connection *connections[FAKE_CONNECTIONS_MAX];
    size_t accepted;
    size_t pattern_sent; /* bytes handed to the kernel by FAKE_PATTERN */
};

/* Listens on `host` ("127.0.0.1", "::1"), at `port` (0: any). False when it cannot. */
bool fake_server_start(struct fake_server *, uv_loop_t *, const char *host, int port,
                       const struct fake_step *const *scripts);
/* Closes everything; run the loop afterwards, then fake_server_free. */
void fake_server_stop(struct fake_server *);
void fake_server_free(struct fake_server *);
/* The byte at a position of FAKE_PATTERN. */
char fake_pattern(size_t at);

#endif
