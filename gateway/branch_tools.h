/*
 * gateway/branch_tools.h - tool emulation as a branch sees it (docs/tools.md): what a target's site
 * gets instead of the turn, and what its answer must have.
 */
#ifndef DRAGOMAN_GATEWAY_BRANCH_TOOLS_H
#define DRAGOMAN_GATEWAY_BRANCH_TOOLS_H

#include "gateway/branch.h"
#include "gateway/tool_emulation.h"

/* A turn as a site without tools gets it; for all branches that ask the same. */
struct emulated_turn {
    const struct turn *asked;
    const struct turn *turn;
    struct tool_wish wish;
    struct emulated_turn *next;
};

/* Are tools emulated for the present target? */
bool branch_emulates(const struct branch *);
/* For the target and turn at hand: makes it. 0, or -1 with fail. */
int branch_settle_tools(struct branch *, struct fail *);
/* What the site gets, when the run begins with all of the history. */
const struct turn *branch_site_turn(const struct branch *);
/* The same without the first `held` messages, which the site has. NULL when memory is short. */
const struct turn *branch_rest_turn(const struct branch *, size_t held);
/* Into the rules of the answer. */
void branch_tool_rules(const struct branch *, struct answer_rules *);
/* Must the answer call a tool? */
bool branch_wants_call(const struct branch *);
/* See branch_again.c: an answer without the call that it must have. */
struct span branch_misses_call(struct branch *, struct span answer, const char **why);

#endif
