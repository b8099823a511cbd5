/*
 * gateway/account.c - see account.h.
 */
#include "gateway/account.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BACKOFF_FIRST_S = 60, /* the first rest when nobody says how long; doubled with each strike */
    BACKOFF_MOST_S = 3600,
    HOUR_MS = 3600 * 1000
};

const char *account_state_name(enum account_state state)
{
    static const char *const names[] = {"ready", "cooling", "expired", "challenged"};
    return names[state];
}

uint64_t account_model_hash(struct span model)
{
    uint64_t h = span_hash(SPAN_HASH, model);
    return h ? h : 1;
}

/* ---- cool-downs ---- */

static struct cool_down *find(const struct account *a, uint64_t model)
{
    for (size_t i = 0; i < a->n_cool_downs; i++) {
        if (a->cool_downs[i].model == model)
            return (struct cool_down *)&a->cool_downs[i];
    }
    return NULL;
}

static struct cool_down *add(struct account *a, uint64_t model)
{
    struct cool_down *c = &a->cool_downs[a->n_cool_downs++];
    assert(a->n_cool_downs <= COOL_DOWNS_MAX);
    *c = (struct cool_down){.model = model};
    return c;
}

/* Of the models' rests. */
static struct cool_down *ends_first(struct account *a)
{
    struct cool_down *first = NULL;
    for (size_t i = 0; i < a->n_cool_downs; i++) {
        struct cool_down *c = &a->cool_downs[i];
        if (c->model && (!first || c->until_ms < first->until_ms))
            first = c;
    }
    return first;
}

/* The entry of a model, or of the whole account, for which the last place is kept. When no other is
 * left, the rest that ends first becomes one of the whole account: no model is asked before its
 * time. */
static struct cool_down *find_or_add(struct account *a, uint64_t model)
{
    struct cool_down *c = find(a, model), *whole = find(a, 0);
    if (c)
        return c;
    if (!model || a->n_cool_downs + !whole < COOL_DOWNS_MAX)
        return add(a, model);
    if (!whole)
        whole = add(a, 0);
    c = ends_first(a);
    if (c->until_ms > whole->until_ms)
        whole->until_ms = c->until_ms;
    *c = (struct cool_down){.model = model};
    return c;
}

uint64_t account_cool_until(const struct account *a, uint64_t model)
{
    const struct cool_down *whole = find(a, 0), *one = find(a, model);
    uint64_t until = whole ? whole->until_ms : 0;
    return one && one->until_ms > until ? one->until_ms : until;
}

enum account_state account_state_at(const struct account *a, uint64_t now_ms)
{
    return account_cool_until(a, 0) > now_ms ? ACCOUNT_COOLING : a->state;
}

/* Retry-After, else the adapter's time, else longer with each strike; up to a fifth more, so that
 * accounts that were limited together do not come back together. */
static uint64_t rest_ms(unsigned strikes, int retry_after_s, const struct account_limits *limits,
                        unsigned jitter)
{
    if (retry_after_s > 0)
        return (uint64_t)retry_after_s * 1000;
    if (limits->cool_down_s > 0)
        return (uint64_t)limits->cool_down_s * 1000;
    uint64_t s = BACKOFF_FIRST_S;
    while (--strikes && s < BACKOFF_MOST_S)
        s *= 2;
    s = s < BACKOFF_MOST_S ? s : BACKOFF_MOST_S;
    return s * 1000 + s * jitter * 1000 / (5 * 256);
}

/* ---- pace ---- */

uint64_t account_free_at(const struct account *a)
{
    uint64_t at = 0;
    if (a->max_concurrent && a->in_flight >= a->max_concurrent)
        return UINT64_MAX;
    if (a->started && a->min_gap_ms)
        at = a->last_start_ms + (uint64_t)a->min_gap_ms;
    if (a->per_hour && a->n_starts == a->per_hour && a->starts[a->oldest] + HOUR_MS > at)
        at = a->starts[a->oldest] + HOUR_MS;
    return at;
}

void account_begin(struct account *a, uint64_t now_ms)
{
    a->in_flight++;
    a->requests++;
    a->started = true;
    a->last_start_ms = now_ms;
    if (!a->per_hour)
        return;
    if (a->n_starts < a->per_hour) {
        a->starts[(a->oldest + a->n_starts++) % a->per_hour] = now_ms;
    } else {
        a->starts[a->oldest] = now_ms;
        a->oldest = (a->oldest + 1) % a->per_hour;
    }
}

void account_count_day(struct account *a, int64_t day)
{
    if (a->today.day != day)
        a->today = (struct account_day){.day = day};
    a->today.requests++;
}

int64_t account_requests_on(const struct account *a, int64_t day)
{
    return a->today.day == day ? a->today.requests : 0;
}

int account_set_pace(struct account *a, const struct site_config *site, int weight)
{
    size_t per_hour = (size_t)site->per_hour;
    a->max_concurrent = site->max_concurrent;
    a->min_gap_ms = site->min_gap_ms;
    a->weight = weight;
    if (per_hour == a->per_hour)
        return 0;
    uint64_t *starts = per_hour ? calloc(per_hour, sizeof *starts) : NULL;
    if (per_hour && !starts)
        return -1;
    /* The latest ones stay known. */
    size_t n = a->n_starts < per_hour ? a->n_starts : per_hour;
    for (size_t i = 0; i < n; i++)
        starts[i] = a->starts[(a->oldest + a->n_starts - n + i) % a->per_hour];
    free(a->starts);
    a->starts = starts;
    a->per_hour = per_hour;
    a->n_starts = n;
    a->oldest = 0;
    return 0;
}

/* ---- what happens to it ---- */

void account_note_usage(struct account *a, bool told)
{
    if (a->usage != USAGE_NOT_TOLD)
        a->usage = told ? USAGE_TOLD : USAGE_NOT_TOLD;
}

bool account_note_success(struct account *a, uint64_t model)
{
    struct cool_down *both[2] = {find(a, 0), find(a, model)};
    bool changed = a->state != ACCOUNT_READY;
    for (size_t i = 0; i < 2; i++) {
        if (!both[i])
            continue;
        changed |= both[i]->strikes > 0;
        both[i]->strikes = 0;
    }
    a->state = ACCOUNT_READY;
    a->last_failure = FAIL_NONE;
    return changed;
}

void account_note_failure(struct account *a, enum fail_kind kind, uint64_t model, int retry_after_s,
                          const struct account_limits *limits, unsigned jitter, uint64_t now_ms)
{
    a->failures++;
    a->last_failure = kind;
    if (kind == FAIL_CREDENTIAL || kind == FAIL_CHALLENGE) {
        /* While it cools (another request met the limit meanwhile), nobody asks it before the time;
         * then it is found out again. */
        if (account_state_at(a, now_ms) != ACCOUNT_COOLING)
            a->state = kind == FAIL_CREDENTIAL ? ACCOUNT_EXPIRED : ACCOUNT_CHALLENGED;
    } else if (kind == FAIL_RATE_LIMITED) {
        struct cool_down *c = find_or_add(a, limits->per_model ? model : 0);
        /* Several requests at once meet the same limit: one strike, or the first one after a
         * success. */
        if (c->until_ms <= now_ms || !c->strikes)
            c->strikes++;
        uint64_t until = now_ms + rest_ms(c->strikes, retry_after_s, limits, jitter);
        if (until > c->until_ms)
            c->until_ms = until;
    }
}

void account_remember(struct account *a, struct span model, const char *message)
{
    struct cool_down *c = find(a, account_model_hash(model));
    snprintf(a->last_error, sizeof a->last_error, "%s", message);
    if (c)
        snprintf(c->name, sizeof c->name, "%.*s", SPAN_ARGS(span_first(model, sizeof c->name - 1)));
}

void account_resume(struct account *a, struct span model, enum account_state state,
                    uint64_t until_ms, unsigned strikes, const char *error)
{
    if (!model.n && state != ACCOUNT_COOLING)
        a->state = state;
    if (until_ms || strikes) {
        struct cool_down *c = find_or_add(a, model.n ? account_model_hash(model) : 0);
        c->until_ms = until_ms;
        c->strikes = strikes;
        snprintf(c->name, sizeof c->name, "%.*s", SPAN_ARGS(span_first(model, sizeof c->name - 1)));
    }
    if (*error) {
        a->last_failure = FAIL_RATE_LIMITED; /* some failure: its words say which */
        snprintf(a->last_error, sizeof a->last_error, "%s", error);
    }
}

void account_forgive(struct account *a)
{
    for (size_t i = 0; i < a->n_cool_downs; i++) /* they stay, for `changed`: it writes them down */
        a->cool_downs[i].until_ms = a->cool_downs[i].strikes = 0;
    a->state = ACCOUNT_READY;
}
