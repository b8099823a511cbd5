/*
 * base/buffer.c - see buffer.h. Capacity doubles from 256 bytes; a failed growth leaves the content
 * as it was.
 */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* What is small is moved to a block of its size: shrinking it in place would leave a hole behind
 * that is good for nothing, and the former block is just what the next one needs. */
enum { FIT_MOVES = 16 * 1024 };

void buffer_clear(struct buffer *b)
{
    b->n = 0;
    b->error = BUFFER_OK;
}

void buffer_shrink(struct buffer *b, size_t keep)
{
    if (b->cap > keep)
        buffer_free(b);
    else
        buffer_clear(b);
}

void buffer_fit(struct buffer *b)
{
    if (b->n == b->cap)
        return;
    bool moves = b->n <= FIT_MOVES;
    char *p = moves ? malloc(b->n + JSON_PADDING) : realloc(b->p, b->n + JSON_PADDING);
    if (!p)
        return;
    if (moves) {
        memcpy(p, b->p, b->n);
        free(b->p);
    }
    memset(p + b->n, 0, JSON_PADDING);
    b->p = p;
    b->cap = b->n;
}

char *buffer_reserve_exactly(struct buffer *b, size_t n)
{
    if (b->error || b->p || n > b->limit)
        return buffer_reserve(b, n);
    char *p = malloc(n + JSON_PADDING);
    if (!p) {
        b->error = BUFFER_NOMEM;
        return NULL;
    }
    memset(p + n, 0, JSON_PADDING);
    b->p = p;
    b->cap = n;
    return p;
}

char *buffer_reserve_growing(struct buffer *b, size_t more)
{
    if (b->error)
        return NULL;
    if (more > b->limit || b->n > b->limit - more) {
        b->error = BUFFER_FULL;
        return NULL;
    }
    if (!b->p || b->n + more > b->cap) {
        size_t cap = b->cap ? b->cap : 256;
        while (cap < b->n + more)
            cap *= 2;
        if (cap > b->limit)
            cap = b->limit;
        char *p = realloc(b->p, cap + JSON_PADDING);
        if (!p) {
            b->error = BUFFER_NOMEM;
            return NULL;
        }
        memset(p + cap, 0, JSON_PADDING);
        b->p = p;
        b->cap = cap;
    }
    return b->p + b->n;
}

int buffer_append_growing(struct buffer *b, struct span s)
{
    if (s.n == 0)
        return b->error;
    char *at = buffer_reserve(b, s.n);
    if (!at)
        return b->error;
    memcpy(at, s.p, s.n);
    b->n += s.n;
    return 0;
}

int buffer_printf(struct buffer *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    /* vsnprintf's NUL goes into the padding: it does not count against the limit. */
    char *at = need < 0 ? NULL : buffer_reserve(b, (size_t)need);
    if (!at)
        return b->error;
    va_start(args, format);
    vsnprintf(at, (size_t)need + 1, format, args);
    va_end(args);
    b->n += (size_t)need;
    return 0;
}

int buffer_int(struct buffer *b, int64_t v)
{
    uint64_t rest = v < 0 ? -(uint64_t)v : (uint64_t)v;
    char text[BUFFER_INT_MAX], *at = text + BUFFER_INT_MAX;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (v < 0)
        *--at = '-';
    return buffer_append(b, span_of(at, (size_t)(text + BUFFER_INT_MAX - at)));
}

void buffer_consume(struct buffer *b, size_t n)
{
    if (n >= b->n) {
        b->n = 0;
        return;
    }
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}
