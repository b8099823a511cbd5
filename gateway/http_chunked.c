/*
 * gateway/http_chunked.c - see http_chunked.h. One state a byte, but chunk data moves as a whole.
 */
#include "gateway/http_chunked.h"

enum { EXTRA_MAX = 16 * 1024, DIGITS_MAX = 64 };

enum {
    SIZE_FIRST, /* at least one hex digit must come */
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER,
    TRAILER_LF,
    END_LF,
};

static bool is_text(char c)
{
    unsigned char u = (unsigned char)c;
    return u == '\t' || (u >= ' ' && u != 0x7F);
}

static enum http_chunked_result size_digit(struct http_chunked *d, char c)
{
    int digit = hex_digit(c);
    if (digit >= 0) {
        if (d->left > UINT64_MAX >> 4)
            return CHUNKED_TOO_BIG;
        if (d->at == SIZE_FIRST)
            d->digits = 0;
        if (++d->digits > DIGITS_MAX)
            return CHUNKED_BAD; /* zeros before a size, which need not end otherwise */
        d->left = d->left << 4 | (unsigned)digit;
        d->at = SIZE;
        return CHUNKED_MORE;
    }
    if (d->at == SIZE_FIRST)
        return CHUNKED_BAD;
    if (c == '\r')
        d->at = SIZE_LF;
    else if (c == ';')
        d->at = EXTENSION;
    else
        return CHUNKED_BAD;
    return CHUNKED_MORE;
}

/* A byte of an extension or of a trailer: dropped, but counted. `end` is the state after its line's
 * CR. */
static enum http_chunked_result extra_byte(struct http_chunked *d, char c, unsigned end)
{
    if (++d->extra > EXTRA_MAX)
        return CHUNKED_EXTRA;
    if (c == '\r')
        d->at = end;
    else if (!is_text(c))
        return CHUNKED_BAD;
    return CHUNKED_MORE;
}

static enum http_chunked_result expect(struct http_chunked *d, char c, char wanted, unsigned next)
{
    d->at = next;
    return c == wanted ? CHUNKED_MORE : CHUNKED_BAD;
}

static enum http_chunked_result framing_byte(struct http_chunked *d, char c,
                                             const struct buffer *out)
{
    switch (d->at) {
    case SIZE_FIRST:
    case SIZE: return size_digit(d, c);
    case EXTENSION: return extra_byte(d, c, SIZE_LF);
    case SIZE_LF:
        if (out && (out->n > out->limit || d->left > out->limit - out->n))
            return CHUNKED_TOO_BIG; /* as soon as it is announced, not once it came */
        return expect(d, c, '\n', d->left ? DATA : TRAILER_START);
    case DATA_CR: return expect(d, c, '\r', DATA_LF);
    case DATA_LF: return expect(d, c, '\n', SIZE_FIRST);
    case TRAILER_START:
        if (c == '\r') {
            d->at = END_LF;
            return CHUNKED_MORE;
        }
        d->at = TRAILER;
        return c == ' ' || c == '\t' ? CHUNKED_BAD : extra_byte(d, c, TRAILER_LF);
    case TRAILER: return extra_byte(d, c, TRAILER_LF);
    case TRAILER_LF: return expect(d, c, '\n', TRAILER_START);
    default: /* END_LF */ return c == '\n' ? CHUNKED_DONE : CHUNKED_BAD;
    }
}

static enum http_chunked_result next(struct http_chunked *d, struct span *in, struct span *piece,
                                     const struct buffer *out)
{
    while (in->n) {
        if (d->at == DATA) {
            *piece = span_first(*in, d->left < in->n ? (size_t)d->left : in->n);
            *in = span_from(*in, piece->n);
            d->left -= piece->n;
            if (d->left == 0)
                d->at = DATA_CR;
            return CHUNKED_DATA;
        }
        char c = in->p[0];
        *in = span_from(*in, 1);
        enum http_chunked_result result = framing_byte(d, c, out);
        if (result != CHUNKED_MORE)
            return result;
    }
    return CHUNKED_MORE;
}

enum http_chunked_result http_chunked_next(struct http_chunked *d, struct span *in,
                                           struct span *piece)
{
    return next(d, in, piece, NULL);
}

enum http_chunked_result http_chunked_decode(struct http_chunked *d, struct span *in,
                                             struct buffer *out)
{
    enum http_chunked_result result;
    struct span piece = {NULL, 0};
    while ((result = next(d, in, &piece, out)) == CHUNKED_DATA) {
        if (out && buffer_append(out, piece))
            return out->error == BUFFER_FULL ? CHUNKED_TOO_BIG : CHUNKED_NO_MEMORY;
    }
    return result;
}
