/*
 * gateway/branch_internal.h - what the files of a branch's way share; for nobody else.
 *
 * gateway/branch.c has the table of steps and what is decided; before a run comes branch_lease.c
 * (with branch_capabilities.c), a run begins in branch_run.c, its requests are answered in
 * branch_stream.c, and branch_tidy.c cleans up behind it.
 */
#ifndef DRAGOMAN_GATEWAY_BRANCH_INTERNAL_H
#define DRAGOMAN_GATEWAY_BRANCH_INTERNAL_H

#include "gateway/branch.h"
#include "gateway/exchange_internal.h"

enum { SITE_STEPS_MAX = 64 }; /* requests an adapter may make in one try, and in one clean-up */

static inline struct engine *branch_engine(const struct branch *b) { return b->exchange->engine; }
static inline uint64_t branch_now_ms(const struct branch *b)
{
    return exchange_now_ms(b->exchange);
}
/* Where to say what went wrong; never NULL. */
static inline struct fail *branch_fail(struct branch *b)
{
    return exchange_room_for_fail(b->exchange, &b->fail);
}
static inline enum fail_kind branch_fail_kind(const struct branch *b)
{
    return b->fail ? b->fail->kind : FAIL_NONE;
}

/* ---- the machine (branch.c) ---- */

/* Runs steps until one has to wait, or the branch is over: then the exchange goes on. */
void branch_advance(struct branch *);
/* A whole answer: account and conversation hear of it. The next step. */
enum branch_step branch_completed(struct branch *);

/* ---- before a run (branch_lease.c, branch_capabilities.c) ---- */

enum branch_step branch_step_lease(struct branch *);
/* waiter.take: on any thread, while the branch waits for an account. */
bool branch_take_account(struct waiter *, uint64_t now_ms);
/* The present target cannot do it. The next step: with `fail` set, if there is no other target. */
enum branch_step branch_next_target(struct branch *);
/* Is there anything in the turn that neither the target can do nor we? -1 with fail. */
int branch_check_capabilities(struct branch *);

/* ---- a run (branch_run.c, branch_stream.c) ---- */

/* A fresh run of the leased account: adapter state from zero, answer as if nothing had happened.
 * 0, or -1 with fail. */
int branch_begin_run(struct branch *);
/* The run is over: what failed, or had drift, is written down. `fail` may be NULL. */
void branch_end_capture(struct branch *, const struct fail *);
/* An empty work->request, for the adapter's next; the former one goes. 0, or -1 when memory is
 * short. */
int branch_begin_request(struct branch *);
/* It goes: nobody asks for it any more. */
void branch_drop_request(struct branch *);
/* Sends what work->request says. The next step. */
enum branch_step branch_send(struct branch *);
/* Ends the request to the site that is under way, if there is one; `finished`: all that is wanted
 * of it was read. */
void branch_drop_call(struct branch *, bool finished);

/* ---- behind the client's back (branch_tidy.c) ---- */

/* The run, which belongs to the clean-up from now on (the branch has no adapter any more), puts
 * away what it left at the site; without memory nothing is. `with_lease`: a request that holds the
 * account (site_request.holds_account) takes the lease over; true: it did. */
bool branch_tidy_up(struct branch *, bool with_lease);
/* Its client is gone, but a credential is on its way: the site may have rotated the former one
 * already, and tells the new one only once. */
bool branch_lands(const struct branch *);
/* Goes on until the credential is there, without a client; then the branch is released. */
void branch_begin_landing(struct branch *);
void branch_end_landing(struct branch *);

#endif
