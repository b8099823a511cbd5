/*
 * gateway/exchange_state.c - the steps of APIs that keep something between requests (struct
 * api_state): looking up what a request goes on from, and writing down what the next one will.
 *
 * Both wait for the thread pool. A response is on disk before its last event leaves: what a client
 * was told is complete survives a crash. One that cannot be stored is answered all the same, and
 * says so.
 */
#include <assert.h>

#include "adapters/support.h"
#include "gateway/clock.h"
#include "gateway/exchange_internal.h"

enum { LARGE_TEXT = 256 * 1024, RECORD_LIMIT = 256 << 20 };

static enum exchange_step end_with(struct exchange *e, enum end_state end)
{
    e->end = (uint8_t)end;
    return STEP_FINISH;
}

static enum exchange_step fail_short(struct exchange *e)
{
    fail_memory(exchange_fail(e));
    return end_with(e, END_FAILED);
}

static void on_call_done(void *arg) { exchange_go_on(arg); }

static struct response_limits limits_of(const struct exchange *e)
{
    return (struct response_limits){e->config->responses_ttl_ms, (int64_t)e->config->responses_max};
}

static bool keeps_responses(const struct exchange *e)
{
    struct response_limits limits = limits_of(e);
    return e->engine->store && limits.ttl_ms > 0 && limits.max_bytes > 0;
}

/* Whose a response is: a key of ours by its name; a visitor's by its hash; without keys
 * everybody's. {NULL,0} when memory is short. */
static struct span owner_of(struct exchange *e)
{
    if (e->grant.key)
        return arena_printf(&e->arena, "key:%.*s", SPAN_ARGS(e->grant.key->name));
    if (!e->grant.visitor_key.n)
        return SPAN("all");
    struct span hash = hmac_sha256_hex(&e->arena, SPAN("dragoman"), e->grant.visitor_key);
    return hash.p ? arena_printf(&e->arena, "visitor:%.*s", SPAN_ARGS(hash)) : hash;
}

/* ---- before ---- */

static int ask_needs(struct exchange *e, struct response_wish *wish)
{
    struct api_request request = exchange_request(e);
    struct fail fail;
    struct json_parser *own =
        request.n > LARGE_TEXT ? json_parser_create(request.n + JSON_PADDING) : NULL;
    int bad = e->api->state->needs(&request, own ? own : e->engine->json, &e->arena, wish, &fail);
    if (own)
        json_parser_destroy(own);
    if (bad)
        *exchange_fail(e) = fail;
    return bad;
}

/* STEP_WAIT: the store was asked; STEP_ADMIT: there is nothing to ask for. */
static enum exchange_step begin_recall(struct exchange *e)
{
    struct response_wish wish;
    e->state = arena_alloc(&e->arena, sizeof *e->state);
    if (!e->state)
        return fail_short(e);
    if (ask_needs(e, &wish))
        return end_with(e, END_REFUSED);
    if ((!wish.previous.n && !wish.n_references) || !keeps_responses(e))
        return STEP_ADMIT;
    struct span owner = owner_of(e);
    struct response_limits limits = limits_of(e);
    if (owner.p)
        e->state->call = response_store_find(e->engine->store, &wish, owner, &limits,
                                             clock_wall_ms(), on_call_done, e);
    return e->state->call ? STEP_WAIT : fail_short(e);
}

static enum exchange_step take_found(struct exchange *e)
{
    struct exchange_state *s = e->state;
    bool worked = response_call_worked(s->call);
    s->deleted = response_call_deleted(s->call);
    int error = worked ? response_call_take(s->call, &e->arena, &s->found, &s->n_found) : 0;
    response_call_free(s->call);
    s->call = NULL;
    if (error)
        return fail_short(e);
    if (worked)
        return STEP_ADMIT;
    fail_set(exchange_fail(e), FAIL_INTERNAL,
             "the stored responses cannot be read, or the conversation has grown too long; send "
             "it whole as \"input\" instead");
    return end_with(e, END_FAILED);
}

enum exchange_step exchange_recall(struct exchange *e)
{
    if (!e->state)
        return begin_recall(e);
    if (!e->state->call)
        return STEP_ADMIT;
    return response_call_is_over(e->state->call) ? take_found(e) : STEP_WAIT;
}

enum exchange_step exchange_answer_stored(struct exchange *e)
{
    struct buffer body;
    struct fail fail;
    struct api_request request = exchange_request(e);
    size_t largest = LARGE_TEXT;
    for (size_t i = 0; i < request.n_found; i++)
        largest = request.found[i].body.n > largest ? request.found[i].body.n : largest;
    struct json_parser *json = json_parser_create(largest + JSON_PADDING);
    if (!json)
        return fail_short(e);
    buffer_init(&body, RECORD_LIMIT);
    int bad = e->api->state->answer(&request, json, &e->arena, &body, &fail);
    json_parser_destroy(json);
    e->state->answer =
        bad || body.error ? span_of(NULL, 0) : arena_dup(&e->arena, buffer_span(&body));
    buffer_free(&body);
    if (bad) {
        *exchange_fail(e) = fail;
        return end_with(e, END_REFUSED);
    }
    return e->state->answer.p ? end_with(e, END_COMPLETE) : fail_short(e);
}

/* ---- after ---- */

/* 1: a call is under way; 0: nothing is to be kept; -1: it cannot be. */
static int begin_saving(struct exchange *e)
{
    struct span previous = SPAN("");
    struct buffer body;
    const struct api_state *state = e->api->state;
    buffer_init(&body, RECORD_LIMIT);
    int wanted = state->record(e->prompts, e->answer->writer, &e->answer->usage, &previous, &body);
    if (wanted <= 0) {
        buffer_free(&body);
        return wanted;
    }
    struct response_limits limits = limits_of(e);
    struct span owner = owner_of(e);
    bool fits = keeps_responses(e) && (int64_t)body.n <= limits.max_bytes / 2;
    if (owner.p && fits)
        e->state->call =
            response_store_save(e->engine->store, e->answer->id, owner, previous,
                                buffer_span(&body), &limits, clock_wall_ms(), on_call_done, e);
    buffer_free(&body);
    return e->state->call ? 1 : -1;
}

static enum exchange_step end_saving(struct exchange *e)
{
    if (!response_call_worked(e->state->call))
        e->api->state->not_stored(e->answer->writer);
    response_call_free(e->state->call);
    e->state->call = NULL;
    return STEP_FINISH;
}

/* The end is still unwritten: it may say that nothing was stored. */
enum exchange_step exchange_keep(struct exchange *e)
{
    if (!e->state->saved) {
        e->state->saved = true;
        if (answer_settle(e->answer)) /* the end meets the same failure, and tells it */
            return STEP_FINISH;
        exchange_flush(e);
        for (size_t i = 0; i < e->n_branches && e->step == STEP_KEEP; i++)
            branch_release(&e->branches[i]); /* nobody else waits for our disk */
        if (e->step != STEP_KEEP)
            return STEP_FINISH;
        int begun = begin_saving(e);
        if (begun < 0)
            e->api->state->not_stored(e->answer->writer);
        if (begun <= 0)
            return STEP_FINISH;
    }
    return response_call_is_over(e->state->call) ? end_saving(e) : STEP_WAIT;
}
