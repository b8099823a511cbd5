/*
 * gateway/branch_again.h - an answer that is not what was asked for, although the site means it to
 * be whole: the branch asks once more, on the same account, with the answer and a reminder behind
 * the messages. Before the commit boundary: all of the first answer was held back
 * (answer_rules.hold), and is forgotten.
 *
 * Once for a target. What the second answer is goes out as it is.
 */
#ifndef DRAGOMAN_GATEWAY_BRANCH_AGAIN_H
#define DRAGOMAN_GATEWAY_BRANCH_AGAIN_H

#include "gateway/branch.h"
#include "gateway/log.h"

/* Of a branch that asked again; in the arena. */
struct branch_again {
    const struct turn *turn; /* what is asked, in the site's form; NULL: of a target before */
    const char *why;         /* for the log */
};

/* The site's run ended well: what is still held back is looked at. True: branch_again_turn is asked
 * next. False: it stays as it is; what is held is to be released. */
bool branch_asks_again(struct branch *);
/* NULL: nothing was asked again at this target. */
const struct turn *branch_again_turn(const struct branch *);
/* Is the present run's answer to be held back until it is known to be what was asked for? */
bool branch_holds_answer(const struct branch *);
/* Another target: what was asked again was for the one before. */
void branch_forget_again(struct branch *);
/* The log's field. */
void branch_log_again(struct log_record *, const struct branch *list, size_t n);

/* Pure: the same turn with two more messages, an answer and the user's words about it, also in its
 * body. In the arena; NULL when memory is short. */
const struct turn *turn_with_reminder(struct arena *, const struct turn *, struct span answer,
                                      struct span reminder);

#endif
