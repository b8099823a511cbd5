/*
 * gateway/stop_filter.h - `stop` for sites that do not have it: the text up to the first of the
 * given texts, however it is cut into pieces.
 *
 * Sans-IO. What may still become the beginning of a stop text is held back, and no more than that.
 */
#ifndef DRAGOMAN_GATEWAY_STOP_FILTER_H
#define DRAGOMAN_GATEWAY_STOP_FILTER_H

#include "base/buffer.h"

struct stop_filter {
    const struct span *stops; /* must outlive the filter; none is empty */
    size_t n;
    bool stopped;
    struct span met;    /* once stopped: which of them */
    struct buffer text; /* `sent` bytes that were handed out already, then what is held back */
    size_t sent;
};

void stop_filter_init(struct stop_filter *, const struct span *stops, size_t n);
void stop_filter_free(struct stop_filter *);
/* *out: what may go out now, in `piece` or in the filter; valid until the next call. Nothing any
 * more once `stopped`. 0, or -1 when memory is short. */
int stop_filter_pass(struct stop_filter *, struct span piece, struct span *out);
/* What was held back, at the end of the text. */
struct span stop_filter_end(struct stop_filter *);

#endif
