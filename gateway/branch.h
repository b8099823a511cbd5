/*
 * gateway/branch.h - one run's way through targets and accounts: lease, ask, stream, retry.
 *
 * An exchange has one branch, or several when a client wants several choices of a site that gives
 * one at a time. A branch feeds its part of the answer; it knows the exchange as where the bytes
 * go, and tells it once when it is over.
 */
#ifndef DRAGOMAN_GATEWAY_BRANCH_H
#define DRAGOMAN_GATEWAY_BRANCH_H

#include "gateway/answer.h"
#include "gateway/engine.h"
#include "gateway/wait_queue.h"
#include "sse/frame_decoder.h"

struct exchange;

enum branch_step {
    BRANCH_LEASE,
    BRANCH_ASK,
    BRANCH_STREAM,
    BRANCH_LOCAL,
    BRANCH_RETRY,
    BRANCH_PAUSE,
    BRANCH_OVER,
    BRANCH_WAIT = -1
};

/* What the runs of a branch need, one after another. */
struct branch_work {
    struct answer_feed feed;
    struct turn_run run;
    /* From `next` until the answer comes; its body is apart in the arena. */
    struct site_request *request;
    struct frame_decoder decoder;
    struct json_template shape;    /* of the answer's frames; what it keeps is in the arena */
    bool timely;                   /* run.now_ms is of the read that is handed out */
    struct branch_upload *uploads; /* files that the current run was told of; in the arena */
    struct capture *capture;       /* of the current run, with capture_dir; else NULL */
    bool request_waits;            /* it is made, but for what is not on disk yet */
    struct span account_name; /* the last one leased for this target, for the log; in the arena */
};

/* Thousands may wait: what is small lies together. */
struct branch {
    struct exchange *exchange;
    const struct turn *asked; /* as the client asked it; NULL while the exchange is parked */
    const struct turn *turn;  /* as the current target gets it; likewise */
    struct fail *fail;        /* in the arena, when something went wrong; else NULL */

    /* where it goes */
    struct waiter waiter;
    uint64_t queue_until_ms;
    uint64_t local_at_ms;    /* the adapter is asked again then; both: 0 = not waiting for it */
    struct account *account; /* leased */
    uint64_t tried;          /* accounts of the current target */

    /* the current run */
    const struct adapter *adapter; /* NULL: none */
    struct branch_work *work;      /* in the arena; NULL before the first lease */
    struct upstream_call *call;
    struct branch_again *again;           /* in the arena; NULL: nothing was asked again */
    struct branch_structure *structure;   /* in the arena; NULL: no answer was complained about */
    struct branch_continuing *continuing; /* in the arena; NULL: no answer was truncated so far */
    struct branch_reuse *reuse; /* in the arena; NULL: it has nothing to do with conversations */

    uint32_t target;
    unsigned awaited_step; /* the account's credential step that it waited for; 0 = none */
    int drifts;
    uint16_t tries; /* runs begun, over all targets */
    uint16_t site_status;
    uint8_t site_steps;              /* requests of the current run */
    uint8_t first_choice, n_choices; /* its part of the answer: of EMITTER_CHOICES */
    int8_t step;                     /* enum branch_step */
    bool advancing : 1, started : 1, awaits_pictures : 1;
    bool uploads_anew : 1; /* a site forgot some: no run is told of any more */
    bool complete : 1;     /* over: its part of the answer is whole; else `fail` says why not */
    bool decoding : 1, paused : 1, holds_credential_step : 1;
    bool landing : 1; /* over, but for the credential that is on its way */
};

/* In place, zeroed; fills choices [first, first + n) of the exchange's answer, whose feed it joins
 * with its first lease. */
void branch_init(struct branch *, struct exchange *, const struct turn *, int first, int n);
/* Begins; may be over when it returns. */
void branch_start(struct branch *);
/* Ends it without a word to the exchange; the lease stays until branch_release. */
void branch_cancel(struct branch *);
/* The lease goes back and the site's clean-up begins. Whoever waits for the account may begin
 * inside this call. Of a cancelled branch that was obtaining a credential, both come when that is
 * there: exchange->tidies counts it. */
void branch_release(struct branch *);
/* What goes on behind the client's back (clean-up, a credential on its way) ends now; the exchange
 * may come to its end inside this call. */
void branches_stop_tidying(struct exchange *);
/* What it waited for before its lease (exchange_pictures.h) has come, or will not come. */
void branch_go_on(struct branch *);
/* If it waits for a busy account: the time that it is willing to wait begins again. */
void branch_wait_anew(struct branch *);
/* Content has come: is it certain that nobody looks at its turn again, but to count its tokens
 * where the site does not tell? Then the turn may go. */
bool branch_is_done_with_turn(const struct branch *);
void branch_forget_turn(struct branch *);
/* The client does not take more, or takes more again. */
void branch_pause(struct branch *);
void branch_resume(struct branch *);
/* The next time at which branch_wake_up has something to do; UINT64_MAX when none. */
uint64_t branch_deadline(const struct branch *);
void branch_wake_up(struct branch *, uint64_t now_ms);
const struct site_config *branch_site(const struct branch *);
/* For sentences: as the configuration calls it. */
struct span branch_site_name(const struct branch *);
/* Does it wait for a busy account, and how many wait before it? */
static inline bool branch_is_queued(const struct branch *b) { return b->queue_until_ms != 0; }
size_t branch_ahead(const struct branch *);

#endif
