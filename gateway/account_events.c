/*
 * gateway/account_events.c - see account_events.h.
 */
#include "gateway/account_events.h"

#include "gateway/clock.h"
#include "gateway/log.h"

void account_met_success(struct account *a, struct span model)
{
    account_enter(a);
    enum account_state before = a->state;
    account_succeeded(a, model);
    if (before != ACCOUNT_READY)
        log_info("account %s/%s is ready again", a->site, a->name);
    account_leave(a);
}

/* Once for each rest and each state: the requests that meet it are in the log anyway. */
static void tell(const struct account *a, struct span model, bool rested, enum account_state before,
                 uint64_t now_ms)
{
    uint64_t until = account_cool_until(a, account_model_hash(model));
    bool whole = account_state_at(a, now_ms) == ACCOUNT_COOLING;
    if (until > now_ms && !rested)
        log_info("account %s/%s rests for %d s%s%.*s: %s", a->site, a->name,
                 clock_seconds_until(until, now_ms), whole ? "" : " for ",
                 SPAN_ARGS(span_first(whole ? SPAN("") : model, 96)), a->last_error);
    else if (a->state != before)
        log_warn("account %s/%s is %s: %s", a->site, a->name, account_state_name(a->state),
                 a->last_error);
}

/* The same would have happened with any account: it says nothing of this one. */
static bool is_the_requests_own(enum fail_kind kind)
{
    return kind == FAIL_BAD_REQUEST || kind == FAIL_UNSUPPORTED || kind == FAIL_INVALID_VALUE ||
           kind == FAIL_CONTENT_FILTER || kind == FAIL_CONTEXT_LENGTH;
}

static void note_failure(struct account *a, struct span model, const struct fail *fail,
                         uint64_t now_ms)
{
    enum account_state before = a->state;
    bool rested = account_cool_until(a, account_model_hash(model)) > now_ms;
    account_failed(a, fail->kind, model, fail->retry_after_s, now_ms);
    account_remember(a, model, fail->message);
    if (fail->kind != FAIL_RATE_LIMITED && fail->kind != FAIL_CREDENTIAL &&
        fail->kind != FAIL_CHALLENGE)
        return;
    account_changed(a);
    if (!a->visitor.value.p && !a->retired)
        tell(a, model, rested, before, now_ms);
}

void account_met_failure(struct account *a, struct span model, const struct fail *fail,
                         uint64_t now_ms)
{
    if (is_the_requests_own(fail->kind))
        return;
    account_enter(a);
    note_failure(a, model, fail, now_ms);
    account_leave(a);
}
