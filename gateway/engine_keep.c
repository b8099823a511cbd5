/*
 * gateway/engine_keep.c - see engine_keep.h.
 */
#include "gateway/engine_keep.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/clock.h"

enum {
    STRIKES_MAX = 1000, /* nobody has more: a file that says so is not believed */
    KEPT_DAYS = 8
};
static const int64_t DAY_MS = INT64_C(24) * 3600 * 1000;

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

/* `c`: its rest and strikes, NULL = none. A row that says nothing is forgotten. */
static void keep_state(struct engine *engine, struct store_account *row, enum account_state state,
                       const struct cool_down *c)
{
    uint64_t now = uv_now(engine_here(engine)->loop);
    bool rests = c && c->until_ms > now;
    row->strikes = c ? c->strikes : 0;
    row->until_ms = rests ? row->changed_ms + (int64_t)(c->until_ms - now) : 0;
    row->state = state == ACCOUNT_READY && !row->strikes ? NULL : account_state_name(state);
    store_save_account(engine->store, row);
}

/* A row for the account as a whole, and one for each model that rests or has strikes: the next
 * limit's rest is longer for each of them. */
void keep_account(void *owner, const struct account *a)
{
    struct engine *engine = owner;
    uint64_t now = uv_now(engine_here(engine)->loop);
    struct store_account row = {.site = a->site,
                                .account = a->name,
                                .model = "",
                                .error = a->last_error,
                                .changed_ms = clock_wall_ms()};
    const struct cool_down *whole = NULL;
    if (!engine->store)
        return;
    for (size_t i = 0; i < a->n_cool_downs; i++) {
        if (!a->cool_downs[i].model)
            whole = &a->cool_downs[i];
    }
    keep_state(engine, &row, account_state_at(a, now), whole);
    for (size_t i = 0; i < a->n_cool_downs; i++) {
        const struct cool_down *c = &a->cool_downs[i];
        if (!c->model || !c->name[0])
            continue;
        row.model = c->name;
        keep_state(engine, &row, c->until_ms > now ? ACCOUNT_COOLING : ACCOUNT_READY, c);
    }
}

void keep_configured(void *owner, struct account *a)
{
    struct engine *engine = owner;
    char text[32];
    snprintf(text, sizeof text, "%016" PRIx64, a->credentials_hash);
    const struct store_credential c = {a->site, a->name, "", text, 0};
    if (engine->store && a->stored_hash != a->credentials_hash)
        store_save_credential(engine->store, &c);
    a->stored_hash = a->credentials_hash;
}

void keep_account_begun(void *owner, struct account *a)
{
    struct engine *engine = owner;
    char name[512];
    int64_t day = clock_day(clock_wall_ms());
    account_count_day(a, day);
    if (!engine->store)
        return;
    struct buffer out = {.p = name, .cap = sizeof name - 1, .limit = sizeof name - 1};
    buffer_append(&out, span_first(span_str(a->site), out.limit));
    buffer_char(&out, '/');
    buffer_append(&out, span_first(span_str(a->name), out.limit - out.n));
    name[out.n] = '\0';
    const struct store_counter row = {
        .kind = "account", .name = name, .day = day, .requests = account_requests_on(a, day)};
    store_save_counter(engine->store, &row);
}

/* The accounts of the config are written once more first: what is still true is never old. */
static void keep_again(void *owner, struct account *a) { keep_account(owner, a); }

void keep_tidy(struct engine *engine)
{
    int64_t wall = clock_wall_ms();
    if (!engine->store)
        return;
    account_pool_each(engine->accounts, keep_again, engine);
    conversation_book_prune(engine->conversations, wall);
    upload_book_prune(engine->uploads, wall);
    store_prune(engine->store, clock_day(wall) - KEPT_DAYS, wall - KEPT_DAYS * DAY_MS);
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

enum { HASH = 32, HASH_HEX = 2 * HASH + 1 };
_Static_assert((int)CONVERSATION_HASH == HASH && (int)UPLOAD_HASH == HASH, "both are SHA-256");

static void hex_of(const unsigned char hash[HASH], char hex[HASH_HEX])
{
    for (int i = 0; i < HASH; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
}

void keep_conversation(void *owner, const struct conversation *c, bool kept)
{
    struct engine *engine = owner;
    char hex[HASH_HEX];
    struct arena arena;
    if (!engine->store)
        return;
    hex_of(c->hash.bytes, hex);
    arena_init(&arena);
    const struct store_conversation row = {
        .hash = hex,
        .site = arena_printf(&arena, "%.*s", SPAN_ARGS(c->site)).p,
        .account = arena_printf(&arena, "%.*s", SPAN_ARGS(c->account)).p,
        .state = kept ? arena_printf(&arena, "%.*s", SPAN_ARGS(c->state)).p : NULL,
        .expires_ms = c->expires_ms,
        .credentials = (int64_t)c->credentials,
    };
    if (!kept || (row.site && row.account && row.state)) /* else it does not survive a restart */
        store_save_conversation(engine->store, &row);
    arena_free(&arena);
}

void keep_upload(void *owner, const struct upload *u, bool kept)
{
    struct engine *engine = owner;
    char hex[HASH_HEX];
    struct arena arena;
    if (!engine->store)
        return;
    hex_of(u->hash.bytes, hex);
    arena_init(&arena);
    const struct store_upload row = {
        .hash = hex,
        .site = arena_printf(&arena, "%.*s", SPAN_ARGS(u->site)).p,
        .account = arena_printf(&arena, "%.*s", SPAN_ARGS(u->account)).p,
        .value = kept ? arena_printf(&arena, "%.*s", SPAN_ARGS(u->value)).p : NULL,
        .expires_ms = u->expires_ms,
    };
    if (row.site && row.account && (!kept || row.value)) /* else it does not survive a restart */
        store_save_upload(engine->store, &row);
    arena_free(&arena);
}

/* ---- and back ---- */

void keep_restore_credential(struct account_pool *pool, const struct store_credential *c)
{
    if (*c->name) {
        account_pool_restore(pool, c->site, c->account, c->name, c->value, c->expires_ms);
        return;
    }
    struct account *a = account_pool_recall(pool, span_str(c->site), span_str(c->account));
    if (a)
        a->stored_hash = strtoull(c->value, NULL, 16);
    if (a && a->retired) /* for the day when it comes back */
        account_pool_compare(a, a->stored_hash);
}

static void compare(void *pool, struct account *a)
{
    if (a->stored_hash)
        account_pool_compare(a, a->stored_hash);
}

void keep_restored(struct account_pool *pool) { account_pool_each(pool, compare, pool); }

static void restore_credential(void *owner, const struct store_credential *c)
{
    keep_restore_credential(((struct engine *)owner)->accounts, c);
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
    struct account *a = account_pool_recall(pool, span_str(row->site), span_str(row->account));
    int64_t left = rest_left(row, clock_wall_ms());
    enum account_state state = ACCOUNT_READY;
    if (!a)
        return;
    for (int s = ACCOUNT_READY; s <= ACCOUNT_CHALLENGED; s++) {
        if (strcmp(row->state, account_state_name((enum account_state)s)) == 0)
            state = (enum account_state)s;
    }
    bool rests = state == ACCOUNT_COOLING && left > 0; /* else the rest is over: strikes stay */
    account_resume(a, span_str(row->model), state, rests ? now_ms + (uint64_t)left : 0,
                   row->strikes > 0 && row->strikes < STRIKES_MAX ? (unsigned)row->strikes : 0,
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
                            ? account_pool_recall_name(engine->accounts, span_str(row->name))
                            : NULL;
    if (a)
        a->today = (struct account_day){.day = row->day, .requests = row->requests};
}

static void restore_models(void *owner, const struct store_models *row)
{
    struct engine *engine = owner;
    catalogue_restore(engine->catalogue, span_str(row->site), span_str(row->json));
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hash_of_hex(const char *hex, unsigned char hash[HASH])
{
    if (strlen(hex) != 2 * (size_t)HASH)
        return false;
    for (int i = 0; i < HASH; i++) {
        int high = digit_of(hex[2 * i]), low = digit_of(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        hash[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static void restore_conversation(void *owner, const struct store_conversation *row)
{
    struct engine *engine = owner;
    struct conversation c = {.site = span_str(row->site),
                             .account = span_str(row->account),
                             .state = span_str(row->state),
                             .credentials = (uint64_t)row->credentials,
                             .expires_ms = row->expires_ms};
    if (hash_of_hex(row->hash, c.hash.bytes))
        conversation_book_restore(engine->conversations, &c);
}

static void restore_upload(void *owner, const struct store_upload *row)
{
    struct engine *engine = owner;
    struct upload u = {.site = span_str(row->site),
                       .account = span_str(row->account),
                       .value = span_str(row->value),
                       .expires_ms = row->expires_ms};
    if (hash_of_hex(row->hash, u.hash.bytes))
        upload_book_restore(engine->uploads, &u);
}

struct store_reader keep_reader(struct engine *engine)
{
    return (struct store_reader){
        .owner = engine,
        .credential = restore_credential,
        .account = restore_account,
        .counter = restore_counter,
        .models = restore_models,
        .conversation = restore_conversation,
        .upload = restore_upload,
    };
}
