/*
 * gateway/branch.c - see branch.h. A table of steps like the exchange's: each step does its part
 * and names the next one, or BRANCH_WAIT when something outside has to happen first.
 *
 * The one hard complication is the commit boundary: until the first delta with content everything
 * may be tried again on another account or target; after it a failure is told, never mended in
 * silence.
 */
#include "gateway/branch.h"

#include <assert.h>
#include <stdio.h>

#include "adapters/support.h"
#include "gateway/account_events.h"
#include "gateway/branch_again.h"
#include "gateway/branch_continue.h"
#include "gateway/branch_reuse.h"
#include "gateway/branch_structure.h"
#include "gateway/branch_tools.h"
#include "gateway/branch_uploads.h"
#include "gateway/chat_request.h"
#include "gateway/clock.h"
#include "gateway/exchange_internal.h"
#include "gateway/exchange_pictures.h"
#include "gateway/log.h"
#include "gateway/site_cookies.h"

enum {
    SITE_STEPS_MAX = 64,  /* requests an adapter may make in one try */
    LOCAL_PIECES_MAX = 64 /* pieces of a built-in site before the loop runs again */
};

/* One adapter run that is over for the client but may have something to put away at the site. */
struct tidy {
    struct tidy *next, **at; /* of those of the exchange */
    struct exchange *exchange;
    const struct adapter *adapter;
    const struct site_config *site;
    struct account *account; /* pinned */
    bool leased;             /* as well, until the request under way is answered */
    struct turn_run run;
    struct site_request request;
    struct upstream_call *call;
    int steps;
};

static void advance(struct branch *);
static enum branch_step ask_again(struct branch *);

const struct site_config *branch_site(const struct branch *b)
{
    return b->exchange->targets[b->target].site;
}

static struct engine *engine_of(const struct branch *b) { return b->exchange->engine; }
static uint64_t now_ms(const struct branch *b) { return exchange_now_ms(b->exchange); }

static struct fail *fail_of(struct branch *b)
{
    return exchange_room_for_fail(b->exchange, &b->fail);
}

static enum fail_kind fail_kind_of(const struct branch *b)
{
    return b->fail ? b->fail->kind : FAIL_NONE;
}

/* ---- the run at the site ---- */

static void count_drift(void *owner, const char *kind)
{
    struct branch *b = owner;
    b->drifts++;
    engine_note_drift(engine_of(b), branch_site(b), kind);
    capture_drift(b->work->capture, kind);
    log_debug("%s: %s answered something unknown: %s", b->exchange->request_id, b->adapter->name,
              kind);
}

static uint64_t memory_scope(const struct branch *b)
{
    const struct access_grant *grant = &b->exchange->grant;
    return turn_memory_scope(grant->key ? grant->key->name : SPAN(""), grant->visitor_key,
                             branch_site(b)->settings.name);
}

static void keep_in_memory(void *owner, struct span key, struct span value)
{
    struct branch *b = owner;
    turn_memory_keep(engine_of(b)->memory, memory_scope(b), key, value, now_ms(b));
}

static struct span recall_from_memory(void *owner, struct span key)
{
    struct branch *b = owner;
    return turn_memory_recall(engine_of(b)->memory, memory_scope(b), key, now_ms(b));
}

/* Ends the request to the site that is under way, if there is one. */
static void drop_call(struct branch *b, bool finished)
{
    if (b->call)
        upstream_cancel(b->call, finished);
    b->call = NULL;
    b->paused = false;
    if (b->decoding)
        frame_decoder_free(&b->work->decoder);
    b->decoding = false;
}

/* The run is over: what failed, or had drift, is written down. */
static void end_capture(struct branch *b, const struct fail *fail)
{
    struct capture *capture = b->work ? b->work->capture : NULL;
    if (!capture)
        return;
    b->work->capture = NULL;
    if (capture_has_answer(capture) && (fail || capture_has_drift(capture)))
        capture_keep(engine_of(b)->captures, capture, &b->work->run, fail, b->exchange->request_id);
    else
        capture_drop(capture);
}

static struct tidy *start_tidy(struct branch *);
static bool keeps_lease(struct tidy *);

/* Its client is gone, but a credential is on its way: the site may have rotated the former one
 * already, and tells the new one only once. */
static bool lands(const struct branch *b)
{
    return b->holds_credential_step && b->call && !engine_of(b)->stopping;
}

/* Goes on until the credential is there, without a client. */
static void begin_landing(struct branch *b)
{
    b->landing = true;
    b->exchange->tidies++;
    branch_resume(b);
}

static void end_landing(struct branch *b)
{
    struct exchange *e = b->exchange;
    drop_call(b, false);
    b->landing = false;
    branch_release(b);
    e->tidies--;
    if (e->step == STEP_TIDY)
        exchange_go_on(e);
}

void branch_release(struct branch *b)
{
    if (b->landing)
        return;
    if (b->step == BRANCH_OVER && lands(b)) {
        begin_landing(b);
        return;
    }
    drop_call(b, false);
    waiter_leave(&b->waiter);
    end_capture(b, NULL);
    if (!b->account)
        return;
    struct account *account = b->account;
    bool credential_step = b->holds_credential_step;
    b->holds_credential_step = false;
    struct tidy *tidy = b->adapter ? start_tidy(b) : NULL;
    bool kept = tidy && keeps_lease(tidy);
    b->adapter = NULL;
    b->account = NULL;
    /* Last: whoever waits may begin inside these calls, and may even bring this exchange to its
     * end. */
    uint64_t now = now_ms(b);
    if (credential_step)
        account_credential_done(account);
    if (!kept)
        account_release(account, now);
}

/* A good answer; some use the account up. */
static void note_success(struct branch *b)
{
    struct fail limit = {.kind = FAIL_RATE_LIMITED, .retry_after_s = b->work->run.rest_s};
    account_met_success(b->account, b->work->run.model);
    if (!limit.retry_after_s)
        return;
    snprintf(limit.message, sizeof limit.message, "%.*s limits the account after this answer",
             SPAN_ARGS(span_first(branch_site(b)->settings.name, 60)));
    account_met_failure(b->account, b->work->run.model, &limit, now_ms(b));
}

static enum branch_step completed(struct branch *b)
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
    exchange_fail_writing(b->exchange, fail_of(b));
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
        fail_set(fail_of(b), FAIL_CUT, "%s ended its answer inside a tool call; ask again",
                 branch_site(b)->adapter->title);
        return BRANCH_RETRY;
    }
    if (!b->work->feed.committed && !answer_feed_is_finished(&b->work->feed)) {
        fail_set(fail_of(b), FAIL_EMPTY, "%s ended its answer without any text",
                 branch_site(b)->adapter->title);
        return BRANCH_RETRY;
    }
    if (branch_asks_again(b))
        return ask_again(b);
    if (answer_feed_release(feed))
        return fail_writing(b);
    if (branch_continues(b, FAIL_NONE)) {
        note_success(b);
        return BRANCH_PAUSE;
    }
    if (b->continuing && !branch_continuation_is_good(b))
        return give_up_continuing(b);
    return completed(b);
}

/* An adapter's verdict that ends the current request to the site. */
static void take_verdict(struct branch *b, enum adapter_verdict verdict)
{
    struct exchange *e = b->exchange;
    if (verdict == ADAPTER_GO_ON)
        return;
    drop_call(b, verdict == ADAPTER_COMPLETE);
    if (b->landing) {
        end_landing(b);
        return;
    }
    if (verdict == ADAPTER_COMPLETE) {
        b->step = BRANCH_ASK;
    } else {
        *fail_of(b) = b->work->run.fail;
        if (engine_of(b)->out.error || e->answer->full || fail_kind_of(b) == FAIL_NONE)
            exchange_fail_writing(e, fail_of(b));
        b->step = BRANCH_RETRY;
    }
    advance(b);
    if (e->step < STEP_FINISH) { /* what came so far goes out now */
        exchange_flush(e);
        if (e->step >= STEP_FINISH)
            exchange_go_on(e);
    }
}

static enum adapter_verdict frames_in(struct branch *b, struct span bytes)
{
    struct frame frame;
    enum frame_result r;
    b->work->run.now_ms = clock_wall_ms();
    while ((r = frame_decoder_next(&b->work->decoder, &bytes, &frame)) == FRAME_READY) {
        enum adapter_verdict verdict = b->adapter->on_frame(&b->work->run, &frame);
        answer_frame_done(b->work->feed.answer);
        if (verdict != ADAPTER_GO_ON)
            return verdict;
    }
    if (r == FRAME_TOO_LARGE)
        return fail_set(&b->work->run.fail, FAIL_PROTOCOL,
                        "%.*s sent a single event of more than 16 MiB",
                        SPAN_ARGS(branch_site(b)->settings.name));
    if (r == FRAME_NOMEM)
        return fail_memory(&b->work->run.fail);
    return ADAPTER_GO_ON;
}

static void on_site_head(void *owner, const struct site_head *head)
{
    struct branch *b = owner;
    enum framing framing = b->work->request.framing;
    b->work->run.now_ms = clock_wall_ms();
    b->site_status = (uint16_t)head->status;
    capture_head(b->work->capture, head);
    site_cookies_take(b->adapter, &b->work->run, &b->work->request, head);
    enum adapter_verdict verdict = b->adapter->on_head(&b->work->run, head, &framing);
    frame_decoder_init(&b->work->decoder, framing, FRAME_LIMIT);
    b->decoding = true;
    take_verdict(b, verdict);
}

/* We ended the answer (stop, token limit): the site need not say the rest. */
static void end_early(struct branch *b)
{
    drop_call(b, false);
    b->step = (int8_t)completed(b);
    advance(b);
}

static void on_site_body(void *owner, struct span bytes)
{
    struct branch *b = owner;
    exchange_note_body(b->exchange, b, "from site", bytes);
    capture_body(b->work->capture, bytes);
    enum adapter_verdict verdict = frames_in(b, bytes);
    exchange_note_first_delta(b->exchange);
    if (verdict == ADAPTER_GO_ON && b->continuing && answer_feed_started_over(&b->work->feed))
        verdict = fail_set(&b->work->run.fail, FAIL_CUT, "%s told its answer again",
                           branch_site(b)->adapter->title);
    if (verdict == ADAPTER_GO_ON && answer_feed_is_cut(&b->work->feed))
        end_early(b);
    else
        take_verdict(b, verdict);
}

static void on_site_read(void *owner)
{
    struct exchange *e = ((struct branch *)owner)->exchange;
    exchange_flush(e);
    if (e->step >= STEP_FINISH)
        exchange_go_on(e);
}

/* The body's end: a last frame that needs no mark, then the adapter's own reading of the end. */
static enum adapter_verdict end_of_body(struct branch *b, enum stream_end end)
{
    struct frame frame;
    enum adapter_verdict verdict = ADAPTER_GO_ON;
    b->work->run.now_ms = clock_wall_ms();
    enum frame_result last =
        end == END_CLEAN ? frame_decoder_end(&b->work->decoder, &frame) : FRAME_MORE;
    if (last == FRAME_READY) {
        verdict = b->adapter->on_frame(&b->work->run, &frame);
        answer_frame_done(b->work->feed.answer);
    }
    if (last == FRAME_TORN) /* HTTP ended well, but inside a frame */
        end = END_CUT;
    if (verdict == ADAPTER_GO_ON)
        verdict = b->adapter->on_end(&b->work->run, end);
    return verdict;
}

static void on_site_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct branch *b = owner;
    enum adapter_verdict verdict = ADAPTER_FAIL;
    b->call = NULL; /* it is gone already */
    capture_end(b->work->capture, &b->work->run, end, fail);
    b->paused = false;
    if (b->decoding)
        verdict = end_of_body(b, end);
    else if (end == END_CUT)
        b->work->run.fail = *fail;
    /* The transport knows better than the adapter why bytes stopped coming. */
    if (verdict == ADAPTER_FAIL && end == END_CUT &&
        (fail->kind == FAIL_TIMEOUT || b->work->run.fail.kind == FAIL_NONE))
        b->work->run.fail = *fail;
    exchange_note_first_delta(b->exchange);
    take_verdict(b, verdict == ADAPTER_GO_ON ? ADAPTER_COMPLETE : verdict);
}

static const struct upstream_handler site_handler = {on_site_head, on_site_body, on_site_read,
                                                     on_site_end, NULL};

/* ---- tidying up ---- */

static void tidy_next(struct tidy *t);

static void tidy_end(struct tidy *t)
{
    struct exchange *e = t->exchange;
    if (t->adapter->destroy)
        t->adapter->destroy(&t->run);
    account_unpin(t->account);
    *t->at = t->next;
    if (t->next)
        t->next->at = t->at;
    e->tidies--;
    if (e->step == STEP_TIDY)
        exchange_go_on(e);
}

static void on_tidy_head(void *owner, const struct site_head *head)
{
    struct tidy *t = owner;
    t->run.now_ms = clock_wall_ms();
    site_cookies_take(t->adapter, &t->run, &t->request, head);
}

static void on_tidy_body(void *owner, struct span bytes) {}
static void on_tidy_read(void *owner) {}

/* The request is over; whoever waits for the account may begin inside. The pin and the exchange
 * last beyond it. */
static void tidy_answered(struct tidy *t)
{
    bool leased = t->leased;
    t->call = NULL;
    t->leased = false;
    if (leased)
        account_release(t->account, exchange_now_ms(t->exchange));
}

static void on_tidy_end(void *owner, enum stream_end end, const struct fail *fail)
{
    tidy_answered(owner);
    tidy_next(owner);
}

static void tidy_next(struct tidy *t)
{
    struct upstream_handler handler = {on_tidy_head, on_tidy_body, on_tidy_read, on_tidy_end, t};
    struct fail fail;
    t->request = (struct site_request){0};
    t->run.now_ms = clock_wall_ms();
    if (!t->adapter->cleanup || t->steps++ >= SITE_STEPS_MAX || t->exchange->engine->stopping ||
        t->adapter->cleanup(&t->run, &t->request) != ADAPTER_SEND ||
        site_cookies_send(t->adapter, &t->run, &t->request)) {
        tidy_end(t);
        return;
    }
    t->call = upstream_start(t->exchange->engine->upstream, t->site, t->account->view.name,
                             &t->request, &handler, &fail);
    if (!t->call)
        tidy_end(t);
}

/* The lease that its run had goes on with the request under way. */
static bool keeps_lease(struct tidy *t)
{
    t->leased = t->call && t->request.holds_account;
    return t->leased;
}

/* NULL: memory is short, and nothing is put away. */
static struct tidy *start_tidy(struct branch *b)
{
    struct tidy *t = arena_alloc(&b->exchange->arena, sizeof *t);
    if (!t) {
        if (b->adapter->destroy)
            b->adapter->destroy(&b->work->run);
        return NULL;
    }
    *t = (struct tidy){.exchange = b->exchange,
                       .adapter = b->adapter,
                       .site = branch_site(b),
                       .account = b->account,
                       .run = b->work->run};
    account_pin(t->account);
    t->next = t->exchange->tidying;
    t->at = &t->exchange->tidying;
    if (t->next)
        t->next->at = &t->next;
    t->exchange->tidying = t;
    t->exchange->tidies++;
    tidy_next(t);
    return t;
}

void branches_stop_tidying(struct exchange *e)
{
    for (size_t i = 0; i < e->n_branches; i++) {
        if (e->branches[i].landing)
            end_landing(&e->branches[i]);
    }
    for (struct tidy *t; (t = e->tidying);) {
        upstream_cancel(t->call, false);
        tidy_answered(t);
        tidy_end(t);
    }
}

/* ---- what the site can do ---- */

/* The part that a site cannot take, as a failure that names it (Q8, Q13). */
static int refuse_part(struct branch *b, enum part_kind kind, const char *what)
{
    for (size_t i = 0; i < b->turn->n_messages; i++) {
        const struct message *m = &b->turn->messages[i];
        for (size_t k = 0; k < m->n_parts; k++) {
            if (m->parts[k].kind != kind)
                continue;
            char param[PART_PLACE_SIZE];
            part_place(b->turn, m, &m->parts[k], param);
            return fail_param(fail_of(b), FAIL_UNSUPPORTED, param, "%s cannot take %s",
                              branch_site(b)->adapter->title, what);
        }
    }
    return 0;
}

/* Is there anything in the turn that neither the adapter can do nor we? -1 with fail. */
static int check_capabilities(struct branch *b)
{
    const struct turn *t = b->turn;
    const struct adapter *a = branch_site(b)->adapter;
    unsigned has = a->capabilities;
    if (t->relay.path.n && !(has & CAP_RELAY))
        return fail_set(fail_of(b), FAIL_UNKNOWN_URL,
                        "%s has no %.*s; use a model of an OpenAI-compatible site", a->title,
                        SPAN_ARGS(t->relay.path));
    if (t->tools_wanted && branch_site(b)->tools == TOOLS_REFUSE)
        return fail_param(fail_of(b), FAIL_UNSUPPORTED, "tools",
                          "%s has no tools; leave out \"tools\" or use another model", a->title);
    if (t->response_format_raw.p && branch_site(b)->structured_output == STRUCTURED_REFUSE)
        return fail_param(fail_of(b), FAIL_UNSUPPORTED, "response_format",
                          "%s has no response_format", a->title);
    if (t->logprobs && !(has & CAP_LOGPROBS))
        return fail_param(fail_of(b), FAIL_UNSUPPORTED, "logprobs", "%s has no logprobs", a->title);
    if (t->has_images && !(has & CAP_IMAGE))
        return refuse_part(b, PART_IMAGE, "pictures");
    if (t->has_audio && !(has & CAP_AUDIO))
        return refuse_part(b, PART_AUDIO, "audio");
    if (t->has_files && !(has & CAP_FILE))
        return refuse_part(b, PART_FILE, "files");
    if (t->has_foreign && (a->dialect == DIALECT_NONE || a->dialect != t->dialect))
        return refuse_part(b, PART_FOREIGN, "this kind of content");
    if (t->tools_foreign &&
        (branch_emulates(b) || a->dialect == DIALECT_NONE || a->dialect != t->dialect))
        return fail_param(fail_of(b), FAIL_UNSUPPORTED, "tools",
                          "%s does not know the built-in tools of another service; leave them out, "
                          "or use a model of that service",
                          a->title);
    if (t->has_video && !(has & CAP_VIDEO))
        return refuse_part(b, PART_VIDEO, "videos");
    return 0;
}

/* What we do for it. */
static struct answer_rules rules_for(const struct branch *b)
{
    const struct site_config *site = branch_site(b);
    const struct key_config *key = b->exchange->grant.key;
    const struct turn *t = b->turn;
    unsigned has = site->adapter->capabilities;
    struct answer_rules rules = {
        .reasoning = t->reasoning_hidden          ? REASONING_DROP
                     : key && key->reasoning >= 0 ? (enum reasoning_style)key->reasoning
                                                  : site->reasoning,
        .stops = t->stop,
        .n_stops = has & CAP_STOP ? 0 : t->n_stop,
        .max_tokens = t->has_max_tokens && !(has & CAP_MAX_TOKENS) ? t->max_tokens : 0,
        .max_includes_reasoning = t->max_includes_reasoning,
        .may_continue = branch_may_continue(b),
        .hold = branch_holds_answer(b),
        .told = branch_told(b),
    };
    branch_tool_rules(b, &rules);
    branch_structure_rules(b, &rules);
    return rules;
}

/* ---- the steps ---- */

/* With the first lease: a branch that waits for it costs little. */
static int prepare_work(struct branch *b)
{
    struct exchange *e = b->exchange;
    if (b->work)
        return 0;
    if (exchange_begin_answer(e))
        return fail_memory(fail_of(b));
    b->work = arena_alloc(&e->arena, sizeof *b->work);
    if (!b->work)
        return fail_memory(fail_of(b));
    answer_feed_add(e->answer, &b->work->feed, b->asked, b->first_choice, b->n_choices);
    return 0;
}

/* What the run's text comes behind: nothing, or what is there of an answer that was truncated. */
static void begin_answer(struct branch *b)
{
    if (b->continuing) {
        branch_begin_continuation(b);
        return;
    }
    struct answer_rules rules = rules_for(b);
    b->tries++;
    answer_feed_begin(&b->work->feed, &rules);
}

/* A fresh run of the leased account: adapter state from zero, answer as if nothing had happened. */
static int begin_run(struct branch *b)
{
    struct exchange *e = b->exchange;
    const struct site_config *site = branch_site(b);
    size_t state_size = site->adapter->state_size;
    struct span note = catalogue_note(e->engine->catalogue, site, e->targets[b->target].model);
    if (prepare_work(b))
        return -1;
    b->work->account_name = arena_dup(&e->arena, b->account->view.name);
    b->site_steps = 0;
    begin_answer(b);
    b->work->run = (struct turn_run){
        .turn = branch_again_turn(b) ? branch_again_turn(b) : branch_site_turn(b),
        .site = &site->settings,
        .account = &b->account->view,
        .model = e->targets[b->target].model,
        .model_note = note.n ? arena_dup(&e->arena, note) : note,
        .state = arena_alloc(&e->arena, state_size ? state_size : 1),
        .arena = &e->arena,
        .json = e->engine->json,
        .out = &b->work->feed.sink,
        .now_ms = clock_wall_ms(),
        .random = clock_random,
        .drift = count_drift,
        .drift_owner = b,
        .keep = keep_in_memory,
        .recall = recall_from_memory,
        .memory_owner = b,
    };
    branch_offer_uploads(b);
    if (!b->work->run.state || !b->work->run.model_note.p)
        return fail_memory(fail_of(b));
    b->adapter = site->adapter;
    if (branch_take_conversation(b))
        return fail_memory(fail_of(b));
    if (e->config->capture_dir.n)
        b->work->capture =
            capture_begin(e->config, &b->work->run, site->adapter, e->grant.visitor_key);
    if (b->work->feed.rules.tools)
        capture_emulated_tools(b->work->capture, b->turn->tools_raw);
    return 0;
}

static enum branch_step next_target(struct branch *b)
{
    if (b->continuing)
        return give_up_continuing(b);
    do {
        if (b->target + 1 >= b->exchange->n_targets)
            return BRANCH_OVER;
        b->target++;
    } while (!exchange_opens(b->exchange, b->target));
    branch_forget_again(b);
    b->tried = 0;
    b->queue_until_ms = 0; /* another queue, with a patience of its own */
    if (b->work)
        b->work->account_name = span_of(NULL, 0);
    if (exchange_unpark(b->exchange)) { /* this target has not seen the turn yet */
        fail_memory(fail_of(b));
        return BRANCH_OVER;
    }
    return BRANCH_LEASE;
}

/* The client's own key where the site takes it, else one of the configured accounts. */
static enum lease_result lease_account(struct branch *b, size_t *index, uint64_t *retry_at)
{
    const struct site_config *site = branch_site(b);
    const struct access_grant *grant = &b->exchange->grant;
    struct account_pool *pool = engine_of(b)->accounts;
    const struct lease_wish wish = {
        .site = site,
        .key = b->exchange->grant.key,
        .model = b->exchange->targets[b->target].model,
        .tried = b->tried,
        .conversation = b->exchange->conversation,
        .holder = branch_holder(b),
    };
    if (!site->keys_passthrough || !grant->visitor_key.n)
        return account_pool_lease(pool, &wish, now_ms(b), &b->account, index, retry_at);
    if (b->tried) /* it was refused: there is no other */
        return LEASE_NONE;
    *index = 0;
    b->account = account_pool_visitor(pool, site, grant->visitor_key);
    if (!b->account)
        fail_memory(fail_of(b));
    return b->account ? LEASE_OK : LEASE_NONE;
}

/* Is it one of our own runs that keeps an account of the site busy? */
static bool waits_for_ours(const struct branch *b)
{
    const struct exchange *e = b->exchange;
    for (size_t i = 0; i < e->n_branches; i++) {
        if (e->branches[i].account && branch_site(&e->branches[i]) == branch_site(b))
            return true;
    }
    return false;
}

static enum branch_step wait_for_account(struct branch *b, uint64_t retry_at)
{
    const struct site_config *site = branch_site(b);
    bool again = b->queue_until_ms != 0;
    if (again && now_ms(b) >= b->queue_until_ms && waits_for_ours(b))
        branch_wait_anew(b);
    if (again && now_ms(b) >= b->queue_until_ms) {
        fail_set(
            fail_of(b), FAIL_SERVER_BUSY,
            "every account of %.*s has been busy for %lld s; try again later, add an account, or "
            "raise queue_timeout",
            SPAN_ARGS(site->settings.name), (long long)site->queue_timeout_ms / 1000);
        fail_of(b)->retry_after_s = 10;
        return next_target(b);
    }
    if (!account_pool_wait(engine_of(b)->accounts, site, &b->waiter, exchange_group(b->exchange),
                           again, retry_at)) {
        fail_set(fail_of(b), FAIL_SERVER_BUSY,
                 "%d requests wait for an account of %.*s already (queue_max)", site->queue_max,
                 SPAN_ARGS(site->settings.name));
        fail_of(b)->retry_after_s = 10;
        return next_target(b);
    }
    if (!again)
        b->queue_until_ms = now_ms(b) + (uint64_t)site->queue_timeout_ms;
    exchange_arm_timer(b->exchange);
    exchange_park(b->exchange);
    return BRANCH_WAIT;
}

size_t branch_ahead(const struct branch *b)
{
    return account_pool_ahead(engine_of(b)->accounts, branch_site(b), &b->waiter);
}

void branch_wait_anew(struct branch *b)
{
    if (b->queue_until_ms)
        b->queue_until_ms = now_ms(b) + (uint64_t)branch_site(b)->queue_timeout_ms;
}

/* What the target's options make of the turn; made once for all branches that have the same. A
 * request that is passed through stays as it is. -1 with fail. */
static int settle_target_turn(struct branch *b)
{
    struct exchange *e = b->exchange;
    const struct target_config *t = e->targets[b->target].configured;
    b->turn = b->continuing ? b->continuing->turn : b->asked;
    if (b->continuing)
        return 0;
    if (!t || !t->n_options || b->asked->relay.path.n)
        return 0;
    for (const struct target_turn *made = e->target_turns; made; made = made->next) {
        if (made->asked == b->asked && made->target == b->target) {
            b->turn = made->turn;
            return 0;
        }
    }
    struct target_turn *made = arena_alloc(&e->parsed, sizeof *made);
    if (!made)
        return fail_memory(fail_of(b));
    const struct turn *turn = turn_with_options(e->engine->json, &e->parsed, b->asked, t->options,
                                                t->n_options, fail_of(b));
    if (!turn)
        return -1;
    *made = (struct target_turn){b->asked, b->target, turn, e->target_turns};
    e->target_turns = made;
    b->turn = turn;
    return 0;
}

/* What is asked at the target, by the client's account and by the site's. -1 with fail. */
static int settle_turn(struct branch *b)
{
    struct fail fail;
    if (settle_target_turn(b))
        return -1;
    if (!branch_settle_structure(b, &fail) && !branch_settle_tools(b, &fail))
        return 0;
    *fail_of(b) = fail;
    return -1;
}

static enum branch_step refuse_memory(struct branch *b)
{
    fail_memory(fail_of(b));
    return BRANCH_RETRY;
}

/* Sites that take pictures by their URL get the URL, unless the configuration says otherwise. */
static bool wants_bytes(const struct branch *b)
{
    return !(branch_site(b)->adapter->capabilities & (CAP_IMAGE_URL | CAP_LOCAL));
}

static enum pictures_state fetch_pictures(struct branch *b)
{
    struct fail fail;
    enum pictures_state pictures = exchange_fetch_pictures(b->exchange, b->turn, &fail);
    b->awaits_pictures = pictures == PICTURES_COMING;
    if (pictures == PICTURES_FAILED)
        *fail_of(b) = fail;
    return pictures;
}

static enum branch_step step_lease(struct branch *b)
{
    const struct site_config *site = branch_site(b);
    uint64_t retry_at = 0;
    size_t index = 0;
    bool parked = b->exchange->parked; /* it waited here: target and turn go together */
    if (site->bridge) {
        fail_set(
            fail_of(b), FAIL_BRIDGE,
            "no browser tab of %s is connected (transport = \"bridge\" comes with a later version)",
            site->adapter->title);
        return next_target(b);
    }
    if (!parked && settle_turn(b))
        return BRANCH_RETRY;
    if (!parked && check_capabilities(b))
        return next_target(b);
    if (!parked && wants_bytes(b)) {
        enum pictures_state pictures = fetch_pictures(b);
        if (pictures != PICTURES_HERE)
            return pictures == PICTURES_COMING ? BRANCH_WAIT : next_target(b);
    }
    if (!parked && branch_read_conversation(b))
        return refuse_memory(b);
    switch (lease_account(b, &index, &retry_at)) {
    case LEASE_BUSY: return wait_for_account(b, retry_at);
    case LEASE_COOLING:
        if (fail_kind_of(b) != FAIL_RATE_LIMITED)
            fail_set(fail_of(b), FAIL_RATE_LIMITED,
                     "every account of %.*s rests after the site's rate limit",
                     SPAN_ARGS(site->settings.name));
        return next_target(b);
    case LEASE_NONE:
        if (fail_kind_of(b) == FAIL_NONE)
            fail_set(fail_of(b), FAIL_CREDENTIAL, "no account of %.*s is configured",
                     SPAN_ARGS(site->settings.name));
        return next_target(b);
    case LEASE_OK: break;
    }
    b->queue_until_ms = 0;
    b->tried |= 1ull << (index % 64);
    if (b->fail)
        fail_clear(b->fail);
    if (parked && (exchange_unpark(b->exchange) || settle_turn(b)))
        return refuse_memory(b);
    if (begin_run(b))
        return BRANCH_RETRY;
    return site->adapter->capabilities & CAP_LOCAL ? BRANCH_LOCAL : BRANCH_ASK;
}

/* Did another exchange try in vain to obtain the credential that we waited for? */
static bool shares_failure(struct branch *b)
{
    const struct fail *fail = account_credential_failure(b->account, b->awaited_step);
    b->awaited_step = 0;
    if (fail)
        *fail_of(b) = *fail;
    return fail != NULL;
}

static enum branch_step step_ask(struct branch *b)
{
    struct upstream_handler handler = site_handler;
    struct fail fail;
    const struct site_config *site = branch_site(b);
    b->local_at_ms = 0;
    if (!account_credential_is_safe(b->account, &b->waiter))
        return BRANCH_WAIT;
    if (shares_failure(b))
        return BRANCH_RETRY;
    if (b->holds_credential_step) {
        exchange_flush(b->exchange); /* others are woken: the shared buffer must be empty */
        if (b->step == BRANCH_OVER)
            return BRANCH_OVER;
        b->holds_credential_step = false;
        account_credential_done(b->account);
        if (b->step == BRANCH_OVER) /* one of them was ours, and failed */
            return BRANCH_OVER;
    }
    b->work->request = (struct site_request){0};
    b->work->run.now_ms = clock_wall_ms();
    fail_clear(&b->work->run.fail);
    if (b->site_steps++ >= SITE_STEPS_MAX) {
        fail_set(fail_of(b), FAIL_PROTOCOL, "%s did not come to an end", site->adapter->title);
        return BRANCH_RETRY;
    }
    switch (b->adapter->next(&b->work->run, &b->work->request)) {
    case ADAPTER_DONE: return done(b);
    case ADAPTER_FAILED: *fail_of(b) = b->work->run.fail; return BRANCH_RETRY;
    case ADAPTER_WAIT:
        b->site_steps--; /* no request */
        b->local_at_ms = now_ms(b) + (uint64_t)b->work->request.delay_ms;
        exchange_arm_timer(b->exchange);
        return BRANCH_WAIT;
    case ADAPTER_SEND: break;
    }
    if (site_cookies_send(b->adapter, &b->work->run, &b->work->request)) {
        *fail_of(b) = b->work->run.fail;
        return BRANCH_RETRY;
    }
    if (b->work->request.credential_step) {
        if (!account_credential_begin(b->account, &b->waiter, &b->awaited_step))
            return BRANCH_WAIT; /* another exchange obtains it: ask again when it has */
        b->holds_credential_step = true;
    }
    handler.owner = b;
    capture_request(b->work->capture, &b->work->run, &b->work->request);
    exchange_note_body(b->exchange, b, "to site", b->work->request.body);
    b->call = upstream_start(engine_of(b)->upstream, site, b->account->view.name, &b->work->request,
                             &handler, &fail);
    if (!b->call)
        *fail_of(b) = fail;
    if (b->call && !b->exchange->drained_out)
        branch_pause(b);
    return b->call ? BRANCH_STREAM : BRANCH_RETRY;
}

/* Everything happens in on_site_head, on_site_body and on_site_end. */
static enum branch_step step_stream(struct branch *b) { return BRANCH_WAIT; }

static enum branch_step step_local(struct branch *b)
{
    struct exchange *e = b->exchange;
    b->local_at_ms = 0;
    for (int i = 0; i < LOCAL_PIECES_MAX; i++) {
        int delay_ms = 0;
        b->work->run.now_ms = clock_wall_ms();
        enum adapter_step step = b->adapter->local(&b->work->run, &delay_ms);
        answer_frame_done(e->answer);
        exchange_note_first_delta(e);
        if (step == ADAPTER_DONE)
            return done(b);
        if (step == ADAPTER_FAILED) {
            *fail_of(b) = b->work->run.fail;
            if (e->answer->full || fail_kind_of(b) == FAIL_NONE)
                exchange_fail_writing(e, fail_of(b));
            return BRANCH_RETRY;
        }
        if (answer_feed_is_cut(&b->work->feed))
            return completed(b);
        exchange_flush(e);
        if (b->step == BRANCH_OVER)
            return BRANCH_OVER;
        if (delay_ms > 0 || !e->drained_out) {
            b->local_at_ms = e->drained_out ? now_ms(b) + (uint64_t)delay_ms : 0;
            exchange_arm_timer(e);
            return BRANCH_WAIT;
        }
    }
    b->local_at_ms = now_ms(b);
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
    (void)start_tidy(b);
    b->adapter = NULL;
    fail_clear(b->fail);
    return begin_run(b) ? BRANCH_RETRY : BRANCH_ASK;
}

/* The answer was held back, and is not what was asked for: the same account is asked once more. */
static enum branch_step ask_again(struct branch *b)
{
    note_success(b);
    end_capture(b, NULL);
    start_tidy(b);
    b->adapter = NULL;
    answer_feed_count_run(&b->work->feed);
    if (begin_run(b))
        return BRANCH_RETRY;
    return b->adapter->capabilities & CAP_LOCAL ? BRANCH_LOCAL : BRANCH_ASK;
}

static enum branch_step step_retry(struct branch *b)
{
    enum fail_kind kind = fail_kind_of(b);
    struct span model = b->exchange->targets[b->target].model;
    end_capture(b, b->fail);
    if (branch_conversation_is_gone(b, kind))
        return run_again(b, "does not go on in its conversation: the whole history is sent");
    if (branch_uploads_are_gone(b, kind))
        return run_again(b, "may have forgotten files: they are uploaded again");
    if (b->account &&
        !(branch_site(b)->adapter->capabilities & CAP_LOCAL)) { /* it has nobody to spare */
        account_met_failure(b->account, model, fail_of(b), now_ms(b));
        metrics_count_failure(engine_of(b)->metrics, branch_site(b)->settings.name, kind);
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
    if (b->holds_credential_step && kind != FAIL_INTERNAL) /* that would be ours alone */
        account_credential_failed(b->account, fail_of(b));
    exchange_flush(b->exchange); /* others are woken: the shared buffer must be empty */
    if (b->step == BRANCH_OVER)
        return BRANCH_OVER;
    branch_release(b);
    if (b->step == BRANCH_OVER) /* one of them was ours, and failed */
        return BRANCH_OVER;
    if (another_account_may_help(kind) && !(b->fail && b->fail->final))
        return BRANCH_LEASE;
    return another_target_may_help(kind) ? next_target(b) : BRANCH_OVER;
}

/* Before a truncated answer is gone on with. The account is free meanwhile, for others as well. */
static enum branch_step step_pause(struct branch *b)
{
    if (b->account) {
        exchange_flush(b->exchange); /* others are woken: the shared buffer must be empty */
        if (b->step == BRANCH_OVER)
            return BRANCH_OVER;
        branch_release(b);
        if (b->step == BRANCH_OVER)
            return BRANCH_OVER;
    }
    if (now_ms(b) < b->local_at_ms) {
        exchange_arm_timer(b->exchange);
        return BRANCH_WAIT;
    }
    b->local_at_ms = 0;
    return BRANCH_LEASE;
}

/* ---- the machine ---- */

static enum branch_step (*const steps[])(struct branch *) = {
    [BRANCH_LEASE] = step_lease, [BRANCH_ASK] = step_ask,     [BRANCH_STREAM] = step_stream,
    [BRANCH_LOCAL] = step_local, [BRANCH_RETRY] = step_retry, [BRANCH_PAUSE] = step_pause,
};

static void advance(struct branch *b)
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
    advance((struct branch *)((char *)w - offsetof(struct branch, waiter)));
}

/* ---- from the exchange ---- */

void branch_init(struct branch *b, struct exchange *e, const struct turn *turn, int first, int n)
{
    b->exchange = e;
    b->asked = turn;
    b->step = BRANCH_LEASE;
    b->waiter.wake = on_wake;
    b->first_choice = (uint8_t)first;
    b->n_choices = (uint8_t)n;
}

void branch_start(struct branch *b)
{
    b->started = true;
    while (b->target < b->exchange->n_targets && !exchange_opens(b->exchange, b->target))
        b->target++;
    assert(b->target < b->exchange->n_targets); /* the exchange looked */
    advance(b);
}

void branch_go_on(struct branch *b)
{
    if (b->awaits_pictures && b->step == BRANCH_LEASE) {
        b->awaits_pictures = false;
        advance(b);
    }
}

void branch_cancel(struct branch *b)
{
    if (!lands(b))
        drop_call(b, false);
    waiter_leave(&b->waiter);
    b->step = BRANCH_OVER;
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
        advance(b);
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
    waiter_leave(&b->waiter); /* the queue's time is up: step_lease sees it */
    advance(b);
}
