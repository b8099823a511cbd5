/*
 * adapters/support_growing.c - texts that a site sends whole again and again: what is new in them
 * (adapters/support.h).
 */
#include "adapters/support.h"

void growing_init(struct growing *g, size_t limit) { buffer_init(&g->sent, limit); }

void growing_free(struct growing *g) { buffer_free(&g->sent); }

enum growth growing_whole(struct growing *g, struct span whole, struct span *fresh)
{
    struct span sent = buffer_span(&g->sent);
    *fresh = SPAN("");
    if (whole.n <= sent.n) {
        if (!span_starts(sent, whole))
            return GROWTH_EDITED;
        return whole.n == sent.n ? GROWTH_SAME : GROWTH_SHRUNK;
    }
    if (!span_starts(whole, sent))
        return GROWTH_EDITED;
    *fresh = span_from(whole, sent.n);
    buffer_append(&g->sent, *fresh);
    return GROWTH_MORE;
}

/* A lone surrogate of a lenient parse: three bytes, ED A0..AF xx (high) or ED B0..BF xx (low). */
static bool is_surrogate(const char *p, unsigned char kind)
{
    return (unsigned char)p[0] == 0xED && ((unsigned char)p[1] & 0xF0) == kind;
}

static unsigned surrogate_bits(const char *p)
{
    return ((unsigned)p[1] & 0x0F) << 6 | ((unsigned)p[2] & 0x3F);
}

void growing_append(struct growing *g, struct span piece)
{
    struct buffer *b = &g->sent;
    if (b->n >= 3 && piece.n >= 3 && is_surrogate(b->p + b->n - 3, 0xA0) &&
        is_surrogate(piece.p, 0xB0)) {
        unsigned c = 0x10000 + (surrogate_bits(b->p + b->n - 3) << 10 | surrogate_bits(piece.p));
        const char joined[4] = {(char)(0xF0 | c >> 18), (char)(0x80 | (c >> 12 & 0x3F)),
                                (char)(0x80 | (c >> 6 & 0x3F)), (char)(0x80 | (c & 0x3F))};
        b->n -= 3;
        buffer_append(b, span_of(joined, 4));
        piece = span_from(piece, 3);
    }
    buffer_append(b, piece);
}

void growing_restart(struct growing *g, struct span whole)
{
    buffer_clear(&g->sent);
    buffer_append(&g->sent, whole);
}

struct span before_torn(struct span text)
{
    ptrdiff_t at = span_find(text, SPAN("\xEF\xBF\xBD"));
    return at < 0 ? text : span_first(text, (size_t)at);
}

int64_t utf8_characters(struct span text)
{
    int64_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.p[i] & 0xC0) != 0x80;
    return n;
}
