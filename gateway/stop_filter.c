/*
 * gateway/stop_filter.c - see stop_filter.h.
 *
 * The usual piece holds no stop and ends in nothing like one: it passes without a copy.
 */
#include "gateway/stop_filter.h"

enum { HELD_MAX = 1 << 25 }; /* more than the largest frame of a site and a stop text */

void stop_filter_init(struct stop_filter *f, const struct span *stops, size_t n)
{
    *f = (struct stop_filter){.stops = stops, .n = n};
    buffer_init(&f->text, HELD_MAX);
}

void stop_filter_free(struct stop_filter *f) { buffer_free(&f->text); }

/* Where the first stop begins, -1 = none does. */
static ptrdiff_t find_stop(struct stop_filter *f, struct span text)
{
    ptrdiff_t first = -1;
    for (size_t i = 0; i < f->n; i++) {
        ptrdiff_t at = span_find(text, f->stops[i]);
        if (at < 0 || (first >= 0 && at >= first))
            continue;
        first = at;
        f->met = f->stops[i];
    }
    return first;
}

/* Length of the longest end of the text that a stop begins with. */
static size_t begun_stop(const struct stop_filter *f, struct span text)
{
    size_t longest = 0;
    for (size_t i = 0; i < f->n; i++) {
        size_t n = f->stops[i].n - 1 < text.n ? f->stops[i].n - 1 : text.n;
        for (; n > longest; n--) {
            if (span_ends(text, span_first(f->stops[i], n)))
                longest = n;
        }
    }
    return longest;
}

int stop_filter_pass(struct stop_filter *f, struct span piece, struct span *out)
{
    *out = span_of("", 0);
    if (f->stopped || !piece.n)
        return 0;
    buffer_consume(&f->text, f->sent);
    f->sent = 0;
    struct span text = piece;
    if (f->text.n) { /* joined with what was held back */
        if (buffer_append(&f->text, piece))
            return -1;
        text = buffer_span(&f->text);
    }
    ptrdiff_t stop = find_stop(f, text);
    f->stopped = stop >= 0;
    size_t held = f->stopped ? 0 : begun_stop(f, text);
    *out = f->stopped ? span_first(text, (size_t)stop) : span_first(text, text.n - held);
    if (f->text.n) {
        f->sent = f->stopped ? f->text.n : out->n;
        return 0;
    }
    return held && buffer_append(&f->text, span_from(piece, out->n)) ? -1 : 0;
}

struct span stop_filter_end(struct stop_filter *f)
{
    struct span rest = f->stopped ? span_of("", 0) : span_from(buffer_span(&f->text), f->sent);
    f->sent = f->text.n;
    return rest;
}
