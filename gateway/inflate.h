/*
 * gateway/inflate.h - gzip and deflate bodies, a piece at a time.
 *
 * Sans-IO. Whatever can be inflated from the input so far comes out at once (a stream that is
 * flushed after each event is readable after each event). A body that grows out of all proportion
 * is refused.
 */
#ifndef DRAGOMAN_GATEWAY_INFLATE_H
#define DRAGOMAN_GATEWAY_INFLATE_H

#include "base/span.h"

enum inflate_coding { INFLATE_GZIP, INFLATE_DEFLATE };

enum inflate_result {
    INFLATE_PIECE,  /* *piece holds output, valid until the next call */
    INFLATE_MORE,   /* the input is used up and there is no output left */
    INFLATE_BROKEN, /* not this coding, damaged, or out of proportion; inflater_error() says which
                     */
};

struct inflater;

/* NULL when memory is short. */
struct inflater *inflater_create(enum inflate_coding);
void inflater_destroy(struct inflater *);
/* Takes from the front of *input. Call until INFLATE_MORE. What follows the coded data is skipped.
 */
enum inflate_result inflater_next(struct inflater *, struct span *input, struct span *piece);
/* The coded data is complete (or there was none at all). */
bool inflater_is_complete(const struct inflater *);
const char *inflater_error(const struct inflater *);
/* INFLATE_BROKEN for want of memory. */
bool inflater_is_short(const struct inflater *);

#endif
