/*
 * gateway/branch.c - see branch.h. A table of steps like the exchange's: each step does its part
 * and names the next one, or BRANCH_WAIT when something outside has to happen first.
 *
 * The one hard complication is the commit boundary: until the first delta with content everything
 * may be tried again on another account or target; after it a failure is told, never mended in
 * silence.
 */
#include "gateway/branch_internal.h"

#include <assert.h>
#include <stdio.h>

#include "gateway/account_events.h"
#include "gateway/branch_again.h"
#include "gateway/branch_continue.h"
#include "gateway/branch_reuse.h"
#include "gateway/branch_structure.h"
#include "gateway/branch_uploads.h"
#include "gateway/log.h"
#include "gateway/site_cookies.h"

enum { LOCAL_PIECES_MAX = 64 }; /* pieces of a built-in site before the loop runs again */

static enum branch_step ask_again(struct branch *);

const struct site_config *branch_site(const struct branch *b)
{
    return b->exchange->targets[b->target].site;
}

struct span branch_site_name(const struct branch *b) { return branch_site(b)->settings.name; }

/* A good answer; some use the account up. */
static void note_success(struct branch *b)
{
    account_met_success(b->account, b->work->run.model);
    if (b->work->feed.has_text && !answer_feed_is_cut(&b->work->feed)) {
        account_enter(b->account);
        account_note_usage(b->account, answer_feed_told_usage(&b->work->feed));
        account_leave(b->account);
    }
    if (!b->work->run.rest_s)
        return;
    struct fail limit = {.kind = FAIL_RATE_LIMITED, .retry_after_s = b->work->run.rest_s};
    snprintf(limit.message, sizeof limit.message, "%.*s limits the account after this answer",
             SPAN_ARGS(span_first(branch_site(b)->settings.name, 60)));
    account_met_failure(b->account, b->work->run.model, &limit, branch_now_ms(b));
}

enum branch_step branch_completed(struct branch *b)
{
    note_success(b);
    branch_keep_conversation(b);
    b->complete = true;
    return BRANCH_OVER;
}

/* A continuation failed: nothing is tried again, what was there before stands. */
static enum branch_step give_up_continuing(struct branch *b)
{
    branch_give_up_continuing(b);
    return BRANCH_OVER;
}

static enum branch_step fail_writing(struct branch *b)
{
    exchange_fail_writing(b->exchange, branch_fail(b));
    return BRANCH_RETRY;
}

static enum branch_step fail_empty(struct branch *b)
{
    fail_set(branch_fail(b), FAIL_EMPTY, "%.*s ended its answer without any text",
             SPAN_ARGS(branch_site_name(b)));
    return BRANCH_RETRY;
}

/* The adapter has nothing more to ask: was that an answer, and a whole one? */
static enum branch_step done(struct branch *b)
{
    struct answer_feed *feed = &b->work->feed;
    if ((feed->rules.tools || feed->rules.structure.wish || feed->hold.on) &&
        answer_feed_run_ended(feed))
        return fail_writing(b);
    if (feed->torn) {
        fail_set(branch_fail(b), FAIL_CUT, "%.*s ended its answer inside a tool call; ask again",
                 SPAN_ARGS(branch_site_name(b)));
        return BRANCH_RETRY;
    }
    if (!feed->committed && !answer_feed_is_finished(feed))
        return fail_empty(b);
    if (branch_asks_again(b))
        return ask_again(b);
    if (answer_feed_release(feed))
        return fail_writing(b);
    if (branch_continues(b, FAIL_NONE)) {
        note_success(b);
        return BRANCH_PAUSE;
    }
    if (answer_feed_is_blank(feed))
        return fail_empty(b);
    if (b->continuing && !branch_continuation_is_good(b))
        return give_up_continuing(b);
    return branch_completed(b);
}

/* ---- the steps ---- */

/* Before others are woken the shared buffer must be empty: what came so far goes out. True: that
 * was the end of the branch. */
static bool is_over_once_flushed(struct branch *b)
{
    exchange_flush(b->exchange);
    return b->step == BRANCH_OVER;
}

/* Did another exchange try in vain to obtain the credential that we waited for? */
static bool shares_failure(struct branch *b)
{
    struct fail fail;
    bool failed = account_credential_failure(b->account, b->awaited_step, &fail);
    b->awaited_step = 0;
    if (failed)
        *branch_fail(b) = fail;
    return failed;
}

/* The request's texts are its own from now on. 0, or -1 when memory is short. */
static int keep_request(struct arena *arena, struct site_request *req)
{
    struct span *texts[3 + 2 * SITE_HEADERS_MAX] = {&req->origin, &req->target, &req->body};
    size_t n = 3;
    for (size_t i = 0; i < req->n_headers; i++) {
        texts[n++] = &req->headers[i].name;
        texts[n++] = &req->headers[i].value;
    }
    for (size_t i = 0; i < n; i++) {
        if (!texts[i]->n)
            continue;
        *texts[i] = arena_dup(arena, *texts[i]);
        if (!texts[i]->p)
            return -1;
    }
    return 0;
}

/* With several event loops: did another one obtain a credential while the adapter was asked? Then
 * the request may have it already, and goes out when it is on disk. True: it waits. */
static bool waits_for_disk(struct branch *b)
{
    if (!branch_engine(b)->shared || account_credential_is_safe(b->account, &b->waiter))
        return false;
    b->work->request_waits = !b->work->request->credential_step &&
                             keep_request(&b->exchange->arena, b->work->request) == 0;
    return true; /* what does not wait is made anew */
}

/* What work->request says, as soon as nobody else obtains a credential. `changes`: as it was before
 * the adapter was asked. */
static enum branch_step send_request(struct branch *b, unsigned changes)
{
    b->work->request_waits = false;
    if (!b->work->request->credential_step)
        return branch_send(b);
    account_enter(b->account);
    bool outdated = account_credential_changes(b->account) != changes;
    bool mine = !outdated && account_credential_begin(b->account, &b->waiter, &b->awaited_step);
    account_leave(b->account);
    if (outdated) {
        b->site_steps--; /* no request */
        return BRANCH_ASK;
    }
    if (!mine)
        return BRANCH_WAIT; /* another exchange obtains it: ask again when it has */
    b->holds_credential_step = true;
    return branch_send(b);
}

static enum branch_step step_ask(struct branch *b)
{
    b->local_at_ms = 0;
    if (!account_credential_is_safe(b->account, &b->waiter))
        return BRANCH_WAIT;
    if (b->work->request_waits)
        return send_request(b, account_credential_changes(b->account));
    if (shares_failure(b))
        return BRANCH_RETRY;
    if (b->holds_credential_step) {
        if (is_over_once_flushed(b))
            return BRANCH_OVER;
        b->holds_credential_step = false;
        account_credential_done(b->account);
        if (b->step == BRANCH_OVER) /* one of them was ours, and failed */
            return BRANCH_OVER;
    }
    if (b->work->run.over)
        return done(b);
    if (branch_begin_request(b)) {
        fail_memory(branch_fail(b));
        return BRANCH_RETRY;
    }
    struct site_request *request = b->work->request;
    b->work->run.now_ms = engine_wall_ms(b->exchange->engine);
    fail_clear(b->work->run.fail);
    if (b->site_steps++ >= SITE_STEPS_MAX) {
        fail_set(branch_fail(b), FAIL_PROTOCOL, "%.*s did not come to an end",
                 SPAN_ARGS(branch_site_name(b)));
        return BRANCH_RETRY;
    }
    unsigned changes = account_credential_changes(b->account);
    switch (adapter_next(b->adapter, &b->work->run, request)) {
    case ADAPTER_DONE: return done(b);
    case ADAPTER_FAILED: *branch_fail(b) = *b->work->run.fail; return BRANCH_RETRY;
    case ADAPTER_WAIT:
        b->site_steps--; /* no request */
        b->local_at_ms = branch_now_ms(b) + (uint64_t)request->delay_ms;
        exchange_arm_timer(b->exchange);
        return BRANCH_WAIT;
    case ADAPTER_SEND: break;
    }
    if (site_cookies_send(b->adapter, &b->work->run, request)) {
        *branch_fail(b) = *b->work->run.fail;
        return BRANCH_RETRY;
    }
    if (waits_for_disk(b))
        return BRANCH_WAIT;
    return send_request(b, changes);
}

/* Everything happens in branch_stream.c. */
static enum branch_step step_stream(struct branch *b) { return BRANCH_WAIT; }

static enum branch_step step_local(struct branch *b)
{
    struct exchange *e = b->exchange;
    b->local_at_ms = 0;
    for (int i = 0; i < LOCAL_PIECES_MAX; i++) {
        int delay_ms = 0;
        b->work->run.now_ms = engine_wall_ms(b->exchange->engine);
        fail_clear(b->work->run.fail);
        enum adapter_step step = b->adapter->local(&b->work->run, &delay_ms);
        answer_frame_done(e->answer);
        exchange_note_first_delta(e);
        if (step == ADAPTER_DONE)
            return done(b);
        if (step == ADAPTER_FAILED) {
            *branch_fail(b) = *b->work->run.fail;
            if (e->answer->full || branch_fail_kind(b) == FAIL_NONE)
                exchange_fail_writing(e, branch_fail(b));
            return BRANCH_RETRY;
        }
        if (answer_feed_is_cut(&b->work->feed))
            return branch_completed(b);
        exchange_flush(e);
        if (b->step == BRANCH_OVER)
            return BRANCH_OVER;
        if (delay_ms > 0 || !e->drained_out) {
            b->local_at_ms = e->drained_out ? branch_now_ms(b) + (uint64_t)delay_ms : 0;
            exchange_arm_timer(e);
            return BRANCH_WAIT;
        }
    }
    b->local_at_ms = branch_now_ms(b);
    exchange_arm_timer(e);
    return BRANCH_WAIT;
}

static bool another_account_may_help(enum fail_kind kind)
{
    return kind == FAIL_CREDENTIAL || kind == FAIL_RATE_LIMITED || kind == FAIL_UNAVAILABLE ||
           kind == FAIL_CUT || kind == FAIL_EMPTY || kind == FAIL_PROTOCOL;
}

static bool another_target_may_help(enum fail_kind kind)
{
    return another_account_may_help(kind) || kind == FAIL_CHALLENGE || kind == FAIL_OVERLOADED ||
           kind == FAIL_UNREACHABLE || kind == FAIL_TIMEOUT || kind == FAIL_BRIDGE ||
           kind == FAIL_UNSUPPORTED || kind == FAIL_UNKNOWN_URL;
}

/* The site does not know a conversation or a file any more, as far as one can tell: the same
 * account is asked again, with all of it. */
static enum branch_step run_again(struct branch *b, const char *why)
{
    log_debug("%s: %.*s %s", b->exchange->request_id, SPAN_ARGS(branch_site(b)->settings.name),
              why);
    branch_tidy_up(b, false);
    fail_clear(b->fail);
    return branch_begin_run(b) ? BRANCH_RETRY : BRANCH_ASK;
}

/* The answer was held back, and is not what was asked for: the same account is asked once more. */
static enum branch_step ask_again(struct branch *b)
{
    note_success(b);
    branch_end_capture(b, NULL);
    branch_tidy_up(b, false);
    answer_feed_count_run(&b->work->feed);
    if (branch_begin_run(b))
        return BRANCH_RETRY;
    return b->adapter->capabilities & CAP_LOCAL ? BRANCH_LOCAL : BRANCH_ASK;
}

static enum branch_step step_retry(struct branch *b)
{
    enum fail_kind kind = branch_fail_kind(b);
    struct span model = b->exchange->targets[b->target].model;
    branch_end_capture(b, b->fail);
    if (branch_conversation_is_gone(b, kind))
        return run_again(b, "does not go on in its conversation: the whole history is sent");
    if (branch_uploads_are_gone(b, kind))
        return run_again(b, "may have forgotten files: they are uploaded again");
    if (b->account &&
        !(branch_site(b)->adapter->capabilities & CAP_LOCAL)) { /* it has nobody to spare */
        account_met_failure(b->account, model, branch_fail(b), branch_now_ms(b));
        engine_count_failure(branch_engine(b), branch_site(b)->settings.name, kind);
    }
    branch_takes_first_answer(b);
    if (b->work && (b->work->feed.committed || b->continuing)) {
        if (branch_continues(b, kind))
            return BRANCH_PAUSE;
        /* With its finish reason, what broke afterwards took nothing from the answer. */
        b->complete = answer_feed_is_finished(&b->work->feed);
        if (b->continuing && !(b->complete && branch_continuation_is_good(b)))
            return give_up_continuing(b);
        return BRANCH_OVER;
    }
    /* Those would be ours alone. */
    if (b->holds_credential_step && kind != FAIL_INTERNAL && kind != FAIL_MEMORY)
        account_credential_failed(b->account, branch_fail(b));
    if (is_over_once_flushed(b))
        return BRANCH_OVER;
    branch_release(b);
    if (b->step == BRANCH_OVER) /* one of them was ours, and failed */
        return BRANCH_OVER;
    if (another_account_may_help(kind) && !(b->fail && b->fail->final))
        return BRANCH_LEASE;
    return another_target_may_help(kind) ? branch_next_target(b) : BRANCH_OVER;
}

/* Before a truncated answer is gone on with. The account is free meanwhile, for others as well. */
static enum branch_step step_pause(struct branch *b)
{
    if (b->account) {
        if (is_over_once_flushed(b))
            return BRANCH_OVER;
        branch_release(b);
        if (b->step == BRANCH_OVER) /* one of them was ours, and failed */
            return BRANCH_OVER;
    }
    if (branch_now_ms(b) < b->local_at_ms) {
        exchange_arm_timer(b->exchange);
        return BRANCH_WAIT;
    }
    b->local_at_ms = 0;
    return BRANCH_LEASE;
}

/* ---- the machine ---- */

static enum branch_step (*const steps[])(struct branch *) = {
    [BRANCH_LEASE] = branch_step_lease, [BRANCH_ASK] = step_ask,     [BRANCH_STREAM] = step_stream,
    [BRANCH_LOCAL] = step_local,        [BRANCH_RETRY] = step_retry, [BRANCH_PAUSE] = step_pause,
};

void branch_advance(struct branch *b)
{
    if (b->advancing) /* something finished inside a step: the loop below goes on with it */
        return;
    b->advancing = true;
    while (b->step != BRANCH_OVER) {
        enum branch_step next = steps[b->step](b);
        if (b->step == BRANCH_OVER || next == BRANCH_WAIT) /* cancelled meanwhile, or waiting */
            break;
        b->step = (int8_t)next;
    }
    b->advancing = false;
    if (b->step == BRANCH_OVER)
        exchange_go_on(b->exchange);
}

static void on_wake(struct waiter *w)
{
    branch_advance((struct branch *)((char *)w - offsetof(struct branch, waiter)));
}

/* ---- from the exchange ---- */

void branch_init(struct branch *b, struct exchange *e, const struct turn *turn, int first, int n)
{
    b->exchange = e;
    b->asked = turn;
    b->step = BRANCH_LEASE;
    b->waiter.wake = on_wake;
    b->waiter.take = branch_take_account;
    b->first_choice = (uint8_t)first;
    b->n_choices = (uint8_t)n;
}

void branch_start(struct branch *b)
{
    b->started = true;
    while (b->target < b->exchange->n_targets && !exchange_opens(b->exchange, b->target))
        b->target++;
    assert(b->target < b->exchange->n_targets); /* the exchange looked */
    branch_advance(b);
}

void branch_go_on(struct branch *b)
{
    if (b->awaits_pictures && b->step == BRANCH_LEASE) {
        b->awaits_pictures = false;
        branch_advance(b);
    }
}

/* It waits for nothing any more, and takes nothing either. */
static void stop_waiting(struct branch *b)
{
    account_pool_leave(branch_engine(b)->accounts, &b->waiter, branch_now_ms(b));
}

void branch_cancel(struct branch *b)
{
    if (!branch_lands(b))
        branch_drop_call(b, false);
    stop_waiting(b);
    b->step = BRANCH_OVER;
}

void branch_release(struct branch *b)
{
    if (b->landing)
        return;
    if (b->step == BRANCH_OVER && branch_lands(b)) {
        branch_begin_landing(b);
        return;
    }
    branch_drop_call(b, false);
    branch_drop_request(b);
    stop_waiting(b);
    branch_end_capture(b, NULL);
    if (!b->account)
        return;
    struct account *account = b->account;
    bool credential_step = b->holds_credential_step;
    b->holds_credential_step = false;
    bool kept = b->adapter && branch_tidy_up(b, true);
    b->account = NULL;
    /* Last: whoever waits may begin inside these calls, and may even bring this exchange to its
     * end. */
    uint64_t now = branch_now_ms(b);
    if (credential_step)
        account_credential_done(account);
    if (!kept)
        account_release(account, now);
}

void branch_pause(struct branch *b)
{
    if (b->call && !b->paused) {
        b->paused = true;
        upstream_pause(b->call);
    }
}

void branch_resume(struct branch *b)
{
    if (b->paused && b->call) {
        b->paused = false;
        upstream_resume(b->call);
    } else if (b->step == BRANCH_LOCAL && !b->advancing) {
        branch_advance(b);
    }
}

uint64_t branch_deadline(const struct branch *b)
{
    uint64_t at = UINT64_MAX;
    if (b->step == BRANCH_OVER)
        return at;
    if (b->local_at_ms)
        at = b->local_at_ms;
    return b->queue_until_ms && b->queue_until_ms < at ? b->queue_until_ms : at;
}

void branch_wake_up(struct branch *b, uint64_t now)
{
    if (now < branch_deadline(b))
        return;
    /* The queue's time is up: step_lease sees it. */
    account_pool_unqueue(branch_engine(b)->accounts, &b->waiter);
    branch_advance(b);
}
