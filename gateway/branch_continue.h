/*
 * gateway/branch_continue.h - the part of a branch's way that goes on with truncated answers
 * (docs/continue.md): for gateway/branch.c, and what the log tells of it.
 */
#ifndef DRAGOMAN_GATEWAY_BRANCH_CONTINUE_H
#define DRAGOMAN_GATEWAY_BRANCH_CONTINUE_H

#include "gateway/branch.h"
#include "gateway/continuation.h"
#include "gateway/log.h"

/* Of a branch whose answer was truncated; in the arena, from its first continuation on. */
struct branch_continuing {
    const struct turn *asked; /* at this target, at first */
    const struct turn *turn;  /* what is asked next, or now */
    struct continuation_log log;
    struct fail fail; /* how it ended before; kind FAIL_NONE: well */
};

/* May the answer to the branch's turn be continued, by configuration and by what is asked? */
bool branch_may_continue(const struct branch *);
/* A run is over, well (FAIL_NONE) or not. True: the branch goes on with it, and waits until
 * local_at_ms before that. */
bool branch_continues(struct branch *, enum fail_kind);
/* The next run begins: the answer gets ready for it. */
void branch_begin_continuation(struct branch *);
/* A run of a branch that goes on ended well: did it bring what it was asked for? */
bool branch_continuation_is_good(struct branch *);
/* A continuation came to nothing. What was there before it stands: `complete` and `fail` say so. */
void branch_give_up_continuing(struct branch *);
/* How many runs of these branches went on with an answer; and the log's fields of it. */
int branch_times_continued(const struct branch *list, size_t n);
void branch_log_continued(struct log_record *, const struct branch *list, size_t n);

#endif
