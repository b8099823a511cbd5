/*
 * gateway/branch_structure.h - structured output as a branch sees it (docs/structured-output.md):
 * what a target's site gets instead of `response_format`, and a second try when the answer is not
 * what was wanted.
 */
#ifndef DRAGOMAN_GATEWAY_BRANCH_STRUCTURE_H
#define DRAGOMAN_GATEWAY_BRANCH_STRUCTURE_H

#include "gateway/branch.h"
#include "gateway/log.h"
#include "gateway/structured_output.h"

/* A turn as a site without response_format gets it; for all branches that ask the same. */
struct structured_made {
    const struct turn *asked;
    const struct turn *turn;
    struct structured_wish wish;
    struct structured_made *next;
};

/* For the target and turn at hand: makes it. 0, or -1 with fail. */
int branch_settle_structure(struct branch *, struct fail *);
/* The branch's turn, with words instead of a response_format that is emulated. */
const struct turn *branch_structured_turn(const struct branch *);
/* Into the rules of the answer. */
void branch_structure_rules(const struct branch *, struct answer_rules *);
/* May the answer be asked for once more? */
bool branch_may_repair(const struct branch *);
/* See branch_again.c: a whole answer that is not what was wanted. The second one that is not gives
 * way to the first, where that was better. */
struct span branch_misses_structure(struct branch *, struct span answer, const char **why);
/* The second try failed: the first answer is better than none. True: it is in place, held back. */
bool branch_takes_first_answer(struct branch *);
/* The log's fields. */
void branch_log_structure(struct log_record *, const struct branch *list, size_t n);

#endif
