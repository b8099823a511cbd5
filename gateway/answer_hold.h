/*
 * gateway/answer_hold.h - pieces of an answer that do not go out yet, because it may be asked for
 * once more (gateway/branch_again.h): a log of them, in order.
 *
 * Sans-IO. They stand where the writer would have got them, behind all filters.
 */
#ifndef DRAGOMAN_GATEWAY_ANSWER_HOLD_H
#define DRAGOMAN_GATEWAY_ANSWER_HOLD_H

#include "base/buffer.h"

enum held_kind { HELD_TEXT, HELD_REASONING, HELD_SIGNATURE, HELD_REDACTED };

struct held_piece {
    int choice; /* within the answer */
    enum held_kind kind;
    struct span text; /* valid until the next add */
};

struct answer_hold {
    bool on;
    struct buffer log;
};

/* In place: what comes is held back, if `on`. What was there is forgotten. */
void answer_hold_begin(struct answer_hold *, bool on);
void answer_hold_free(struct answer_hold *); /* zeroed is fine */
static inline bool answer_hold_is_empty(const struct answer_hold *h) { return !h->log.n; }
/* 0, or the buffer's error. */
int answer_hold_add(struct answer_hold *, const struct held_piece *);
/* This text instead of all text of the choice, behind the rest. 0, or the buffer's error. */
int answer_hold_replace(struct answer_hold *, int choice, struct span text);
/* The pieces in order, from *at = 0 on; false at the end. */
bool answer_hold_next(const struct answer_hold *, size_t *at, struct held_piece *);

#endif
