/*
 * gateway/branch_reuse.h - a branch goes on in a conversation that the site holds
 * (gateway/conversation_reuse.h, docs/reuse.md).
 *
 * Only with `reuse_conversations`, an adapter that can, a request for one answer, and one of our
 * own accounts.
 */
#ifndef DRAGOMAN_GATEWAY_BRANCH_REUSE_H
#define DRAGOMAN_GATEWAY_BRANCH_REUSE_H

#include "gateway/branch.h"

/* For the target and turn at hand, before the lease: which conversation would it go on in? 0, or -1
 * when memory is short. */
int branch_read_conversation(struct branch *);
/* The account that holds it; "" = none. Valid until the loop runs again. */
struct span branch_holder(const struct branch *);
/* Who listens to the run's text; NULL = nobody. */
struct conversation_told *branch_told(const struct branch *);
/* For a fresh run: when its account holds the conversation, the run goes on in it, and nobody else
 * will. 0, or -1 when memory is short. */
int branch_take_conversation(struct branch *);
/* The run failed: is it worth another one with the whole history? */
bool branch_conversation_is_gone(const struct branch *, enum fail_kind);
/* After a whole answer: what the adapter said of its conversation is kept. */
void branch_keep_conversation(struct branch *);

#endif
