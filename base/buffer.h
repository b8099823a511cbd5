/*
 * base/buffer.h - a growing byte buffer with a hard limit.
 *
 * Owns its memory. Errors stick: after BUFFER_FULL (the limit would be passed) or BUFFER_NOMEM
 * every further append does nothing and reports the same error, so a writer may append freely and
 * check `error` once at the end. What was in the buffer before the failed append is intact. At
 * least JSON_PADDING readable bytes follow the content, so that a JSON parser may read past its
 * end.
 */
#ifndef DRAGOMAN_BASE_BUFFER_H
#define DRAGOMAN_BASE_BUFFER_H

#include <stdlib.h>

#include "base/span.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { JSON_PADDING = 64 };
enum buffer_error { BUFFER_OK = 0, BUFFER_FULL = -1, BUFFER_NOMEM = -2 };

struct buffer {
    char *p;      /* content; NULL while nothing was ever stored */
    size_t n;     /* bytes of content; never more than cap */
    size_t cap;   /* bytes available to content (padding not counted); never more than limit */
    size_t limit; /* hard limit for n */
    enum buffer_error error;
};

/* No allocation until the first append. */
static inline void buffer_init(struct buffer *b, size_t limit)
{
    b->p = NULL;
    b->n = b->cap = 0;
    b->limit = limit;
    b->error = BUFFER_OK;
}
/* Frees the memory and leaves the buffer as after buffer_init with the same limit. */
static inline void buffer_free(struct buffer *b)
{
    if (b->p) /* many never had any */
        free(b->p);
    buffer_init(b, b->limit);
}
/* Forgets content and error, keeps the memory. */
void buffer_clear(struct buffer *b);
/* Forgets content and error, and gives memory above `keep` bytes back. */
void buffer_shrink(struct buffer *b, size_t keep);
/* It will not grow any more: gives back what the content does not use. */
void buffer_fit(struct buffer *b);
/* buffer_reserve where there is not room enough yet, or an error. */
char *buffer_reserve_growing(struct buffer *b, size_t more);
/* Room for `more` further bytes; returns where they go (then add to n), or NULL with `error` set.
 */
static inline char *buffer_reserve(struct buffer *b, size_t more)
{
    bool has_room = !b->error && b->p && more <= b->cap - b->n;
    return has_room ? b->p + b->n : buffer_reserve_growing(b, more);
}
/* For a buffer without memory whose whole content is known to be `n` bytes: a block of just that
 * size, where buffer_fit would have to move it. Else as buffer_reserve. */
char *buffer_reserve_exactly(struct buffer *b, size_t n);
/* buffer_append where there is not room enough yet, or an error. */
int buffer_append_growing(struct buffer *b, struct span s);
/* 0 or the (sticky) error. Where there is room it is a copy and no call: everything that is written
 * is written through it, most of it a few bytes at a time. */
static inline int buffer_append(struct buffer *b, struct span s)
{
    if (b->error || !s.n || s.n > b->cap - b->n)
        return buffer_append_growing(b, s);
    if (!b->p)
        __builtin_unreachable(); /* no memory, no room: said for those who read along */
    memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
    return 0;
}
/* printf into the buffer; for cold paths only. */
int buffer_printf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The number in decimal digits, BUFFER_INT_MAX at most, without printf's price. */
enum { BUFFER_INT_MAX = sizeof "-9223372036854775808" - 1 };
int buffer_int(struct buffer *b, int64_t v);
/* Drops the first `n` bytes by moving the rest down. */
void buffer_consume(struct buffer *b, size_t n);

static inline int buffer_char(struct buffer *b, char c) { return buffer_append(b, span_of(&c, 1)); }
static inline struct span buffer_span(const struct buffer *b) { return span_of(b->p, b->n); }

#ifdef __cplusplus
}
#endif
#endif
