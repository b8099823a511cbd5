/*
 * gateway/byte_stream.h - a connection as a stack of filters that look the same from outside: socket, proxy tunnel, TLS.
 *
 * Each filter owns the one below it. Bytes and events travel upwards through `up`, which the owner of a filter sets before byte_stream_start. None of the functions calls back before it returns;
 * after byte_stream_close no callback comes any more. A callback may close the stream: each filter holds itself while it calls upwards.
 */
#ifndef DRAGOMAN_GATEWAY_BYTE_STREAM_H
#define DRAGOMAN_GATEWAY_BYTE_STREAM_H

#include <uv.h>

#include "base/buffer.h"
#include "base/fail.h"
#include "gateway/config.h"
#include "tls/tls_stream.h"

struct byte_stream;

struct byte_stream_handler {
    void (*on_ready)(void *owner);
    void (*on_data)(void *owner, struct span bytes); /* valid during the call */
    void (*on_read_done)(void *owner); /* after the last on_data of one read of the socket */
    /* The end, once: NULL = the peer closed cleanly, else why not (also a failed start). */
    void (*on_end)(void *owner, const struct fail *);
    void *owner;
};

struct byte_stream_ops {
    int (*start)(struct byte_stream *, struct fail *);
    void (*write)(struct byte_stream *, const struct span *pieces, size_t n);
    void (*pause)(struct byte_stream *);
    void (*resume)(struct byte_stream *);
    void (*close)(struct byte_stream *);   /* of what the filter owns */
    void (*destroy)(struct byte_stream *); /* last: memory */
};

struct byte_stream {
    const struct byte_stream_ops *ops;
    struct byte_stream_handler up;
    unsigned holds;
    bool closed;
};

/* What the filters of one event loop share. Owned by struct upstream. */
enum { NET_READ_SIZE = 64 * 1024, NET_PLAIN_SIZE = 32 * 1024 };
struct net_trust {
    struct net_trust *next;
    struct tls_trust *trust;
    char ca_file[];
};
struct net_context {
    uv_loop_t *loop;
    char *read_buffer;  /* NET_READ_SIZE + JSON_PADDING: one read at a time is in work */
    char *plain_buffer; /* NET_PLAIN_SIZE + JSON_PADDING: what TLS decrypts */
    struct tls_sessions *sessions;
    struct net_trust *trusts;
    size_t handles; /* open libuv handles and requests of all filters */
};

/* 0, or -1 with fail; then the caller still closes it. */
static inline int byte_stream_start(struct byte_stream *s, struct fail *fail)
{
    return s->ops->start(s, fail);
}
/* Sends everything in order; what the kernel does not take at once is copied. Errors come as on_end. */
static inline void byte_stream_write(struct byte_stream *s, const struct span *pieces, size_t n)
{
    s->ops->write(s, pieces, n);
}
static inline void byte_stream_pause(struct byte_stream *s) { s->ops->pause(s); }
static inline void byte_stream_resume(struct byte_stream *s) { s->ops->resume(s); }

static inline void byte_stream_hold(struct byte_stream *s) { s->holds++; }
static inline void byte_stream_release(struct byte_stream *s)
{
    if (--s->holds == 0 && s->closed)
        s->ops->destroy(s);
}
static inline void byte_stream_close(struct byte_stream *s)
{
    if (s->closed)
        return;
    s->closed = true;
    byte_stream_hold(s);
    s->ops->close(s);
    byte_stream_release(s);
}

/* The filters. NULL when memory is short. `host` is copied. A filter takes over the one below (also when it fails: then it closes it). */
struct byte_stream *net_socket_create(struct net_context *, const char *host, int port);
struct byte_stream *net_http_proxy_create(struct byte_stream *below, const struct proxy_config *,
                                          const char *host, int port);
struct byte_stream *net_socks_create(struct net_context *, struct byte_stream *below,
                                     const struct proxy_config *, const char *host, int port);
struct byte_stream *net_tls_create(struct net_context *, struct byte_stream *below,
                                   const char *host, int port, const char *ca_file);

#endif
