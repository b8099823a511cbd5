/*
 * gateway/engine_keep.c - see engine_keep.h.
 */
#include "gateway/engine_keep.h"

#include <stdio.h>

#include "gateway/clock.h"

/* ---- to the store ---- */

/* A write that failed was warned of and is tried again: waiting longer would help nobody. */
static void on_credential_saved(void *account, bool durable) { account_credential_saved(account); }

void keep_credential(void *owner, struct account *a, const char *name, const char *value,
                     int64_t expires_ms)
{
    struct engine *engine = owner;
    const struct store_credential c = {a->site, a->name, name, value, expires_ms};
    if (!engine->store)
        return;
    if (a->credential_step) {
        account_credential_saving(a);
        store_save_credential_then(engine->store, &c, on_credential_saved, a);
    } else {
        store_save_credential(engine->store, &c);
    }
}

/* A row for the account as a whole, and one for each model that rests; what is over is forgotten.
 */
void keep_account(void *owner, const struct account *a)
{
    struct engine *engine = owner;
    uint64_t now = uv_now(engine->loop);
    int64_t wall = clock_wall_ms();
    enum account_state state = account_state_at(a, now);
    if (!engine->store)
        return;
    struct store_account row = {
        .site = a->site,
        .account = a->name,
        .model = "",
        .state = state == ACCOUNT_READY ? NULL : account_state_name(state),
        .error = a->last_error,
        .changed_ms = wall,
    };
    if (state == ACCOUNT_COOLING)
        row.until_ms = wall + (int64_t)(account_cool_until(a, 0) - now);
    store_save_account(engine->store, &row);
    for (size_t i = 0; i < a->n_cool_downs; i++) {
        const struct cool_down *c = &a->cool_downs[i];
        bool rests = c->until_ms > now;
        if (!c->model || !c->name[0])
            continue;
        row.model = c->name;
        row.state = rests ? account_state_name(ACCOUNT_COOLING) : NULL;
        row.until_ms = rests ? wall + (int64_t)(c->until_ms - now) : 0;
        row.strikes = c->strikes;
        store_save_account(engine->store, &row);
    }
}

void keep_account_begun(void *owner, struct account *a)
{
    struct engine *engine = owner;
    char name[512];
    int64_t day = clock_day(clock_wall_ms());
    account_count_day(a, day);
    snprintf(name, sizeof name, "%s/%s", a->site, a->name);
    const struct store_counter row = {
        .kind = "account", .name = name, .day = day, .requests = account_requests_on(a, day)};
    if (engine->store)
        store_save_counter(engine->store, &row);
}

void keep_key_day(void *owner, struct span key, const struct key_day *day)
{
    struct engine *engine = owner;
    char name[256];
    snprintf(name, sizeof name, "%.*s", SPAN_ARGS(span_first(key, sizeof name - 1)));
    const struct store_counter row = {.kind = "key",
                                      .name = name,
                                      .day = day->day,
                                      .requests = day->requests,
                                      .tokens_out = day->tokens};
    if (engine->store)
        store_save_counter(engine->store, &row);
}

void keep_models(void *owner, struct span site, int64_t fetched_ms, struct span json)
{
    struct engine *engine = owner;
    struct buffer text; /* the store wants NULs at the end */
    if (!engine->store)
        return;
    buffer_init(&text, site.n + json.n + 2);
    buffer_append(&text, site);
    buffer_char(&text, '\0');
    buffer_append(&text, json);
    buffer_char(&text, '\0');
    if (!text.error)
        store_save_models(engine->store,
                          &(struct store_models){text.p, fetched_ms, text.p + site.n + 1});
    buffer_free(&text);
}

/* ---- and back ---- */

static void restore_credential(void *owner, const struct store_credential *c)
{
    struct engine *engine = owner;
    account_pool_restore(engine->accounts, c->site, c->account, c->name, c->value, c->expires_ms);
}

/* What is left of the row's rest. Never more than all of it was, for when the clock was set back
 * since, nor than any site is believed. */
static int64_t rest_left(const struct store_account *row, int64_t wall_ms)
{
    static const int64_t longest = INT64_C(365) * 86400000;
    int64_t whole, left = row->until_ms > wall_ms ? row->until_ms - wall_ms : 0;
    if (!__builtin_sub_overflow(row->until_ms, row->changed_ms, &whole) && whole < left)
        left = whole;
    return left < longest ? left : longest;
}

void keep_restore_account(struct account_pool *pool, const struct store_account *row,
                          uint64_t now_ms)
{
    struct account *a = account_pool_find(pool, span_str(row->site), span_str(row->account));
    int64_t left = rest_left(row, clock_wall_ms());
    enum account_state state = ACCOUNT_READY;
    if (!a)
        return;
    for (int s = ACCOUNT_READY; s <= ACCOUNT_CHALLENGED; s++) {
        if (strcmp(row->state, account_state_name((enum account_state)s)) == 0)
            state = (enum account_state)s;
    }
    if (state == ACCOUNT_COOLING && left <= 0) /* it is over */
        return;
    account_resume(a, span_str(row->model), state,
                   state == ACCOUNT_COOLING ? now_ms + (uint64_t)left : 0, (unsigned)row->strikes,
                   row->error);
}

static void restore_account(void *owner, const struct store_account *row)
{
    struct engine *engine = owner;
    keep_restore_account(engine->accounts, row, uv_now(engine->loop));
}

static void restore_counter(void *owner, const struct store_counter *row)
{
    struct engine *engine = owner;
    const struct key_day day = {
        .day = row->day, .requests = row->requests, .tokens = row->tokens_in + row->tokens_out};
    if (row->day != clock_day(clock_wall_ms()))
        return;
    if (strcmp(row->kind, "key") == 0)
        key_limits_restore(engine->limits, span_str(row->name), &day);
    struct account *a = strcmp(row->kind, "account") == 0
                            ? account_pool_find_name(engine->accounts, span_str(row->name))
                            : NULL;
    if (a)
        a->today = (struct account_day){.day = row->day, .requests = row->requests};
}

static void restore_models(void *owner, const struct store_models *row)
{
    struct engine *engine = owner;
    catalogue_restore(engine->catalogue, span_str(row->site), span_str(row->json));
}

struct store_reader keep_reader(struct engine *engine)
{
    return (struct store_reader){
        .owner = engine,
        .credential = restore_credential,
        .account = restore_account,
        .counter = restore_counter,
        .models = restore_models,
    };
}
