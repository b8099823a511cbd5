/*
 * gateway/byte_stream.h - a connection as a stack of filters: socket, proxy tunnel, TLS.
 *
 * Every filter looks the same from above, owns the one below and knows nothing of what else is
 * there. Rules that all of them keep:
 * - Nothing calls back before the function that started it returns, except read_start, which may
 *   deliver what was already received; it is therefore called from the loop or on_open only, never
 *   inside another stream's callback.
 * - One write at a time. The bytes must stay until on_written or byte_stream_close. A write that
 *   fails is silent: the reading side learns of the same end, and may still have an answer to
 *   deliver before it. Who asks byte_stream_write_now is told at once when all of it has left, as
 *   nearly always: then no on_written comes, and the loop has nothing to do for it.
 * - Reading is off until read_start. After read_stop no on_read comes; what was received stays
 *   below (bounded).
 * - on_eof and on_fail come at most once and nothing but on_closed after them; the owner then
 *   closes.
 * - Everything may be closed inside any callback. Then only on_closed comes, later, and the stream
 *   is gone after it.
 */
#ifndef DRAGOMAN_GATEWAY_BYTE_STREAM_H
#define DRAGOMAN_GATEWAY_BYTE_STREAM_H

#include "base/fail.h"
#include "base/prefetch.h"
#include "base/span.h"

struct byte_stream;

/* What a stream tells the one above. All are required. */
struct byte_stream_events {
    void (*on_open)(void *up);
    void (*on_read)(void *up, struct span bytes); /* valid during the call */
    void (*on_read_done)(void *up);               /* after the on_reads of one read of the socket */
    void (*on_eof)(void *up);                     /* a clean end of the other side's bytes */
    void (*on_written)(void *up);
    void (*on_fail)(void *up, const struct fail *); /* also instead of on_open */
    void (*on_closed)(void *up);
};

struct byte_stream_ops {
    void (*open)(struct byte_stream *);
    void (*write)(struct byte_stream *, const struct span *pieces, size_t n);
    void (*read_start)(struct byte_stream *);
    void (*read_stop)(struct byte_stream *);
    size_t (*unsent)(const struct byte_stream *); /* of the running write: shrinks as bytes leave */
    void (*last_words)(struct byte_stream *,
                       struct span); /* best effort before a close, never waits */
    void (*close)(struct byte_stream *);
    bool (*write_now)(struct byte_stream *, const struct span *pieces, size_t n); /* or NULL */
    void (*prefetch)(struct byte_stream *, const struct prefetch *);              /* or NULL */
};

enum { BYTE_STREAM_PIECES_MAX = 4 };

/* The first member of every filter. */
struct byte_stream {
    const struct byte_stream_ops *ops;
    const struct byte_stream_events *events;
    void *up;
    struct byte_stream *below; /* owned; NULL at the bottom */
    const char *phase; /* what opening waits for here, in a person's words; NULL when it is not this
                          filter's turn */
};

static inline void byte_stream_listen(struct byte_stream *s,
                                      const struct byte_stream_events *events, void *up)
{
    s->events = events;
    s->up = up;
}
static inline void byte_stream_open(struct byte_stream *s) { s->ops->open(s); }
static inline void byte_stream_write(struct byte_stream *s, const struct span *pieces, size_t n)
{
    s->ops->write(s, pieces, n);
}
/* True: all of it has left, and no on_written comes. False: as byte_stream_write. */
static inline bool byte_stream_write_now(struct byte_stream *s, const struct span *pieces, size_t n)
{
    if (s->ops->write_now)
        return s->ops->write_now(s, pieces, n);
    s->ops->write(s, pieces, n);
    return false;
}
static inline void byte_stream_read_start(struct byte_stream *s) { s->ops->read_start(s); }
static inline void byte_stream_read_stop(struct byte_stream *s) { s->ops->read_stop(s); }
static inline size_t byte_stream_unsent(const struct byte_stream *s) { return s->ops->unsent(s); }
static inline void byte_stream_last_words(struct byte_stream *s, struct span words)
{
    s->ops->last_words(s, words);
}
static inline void byte_stream_close(struct byte_stream *s) { s->ops->close(s); }
/* What is needed whenever something was read (copied): for reads with long pauses between them. */
static inline void byte_stream_prefetch(struct byte_stream *s, const struct prefetch *list)
{
    while (s->below)
        s = s->below;
    if (s->ops->prefetch)
        s->ops->prefetch(s, list);
}

/* What opening is waiting for, "" when nothing is known. */
static inline const char *byte_stream_phase(const struct byte_stream *s)
{
    for (; s; s = s->below) {
        if (s->phase)
            return s->phase;
    }
    return "";
}

#endif
