/*
 * gateway/exchange.c - a chat request's whole life, as a table of steps.
 *
 * Read from top to bottom: each step is one function that does its part and names the next one, or
 * STEP_WAIT when something outside has to happen first. Callbacks (client, site, timer, queues)
 * note what happened and call exchange_advance. The one hard complication is the commit boundary:
 * until the first delta with content everything may be tried again on another account or target;
 * after it a failure is told, never mended in silence.
 *
 * Costs on the hot path: one site read is decoded in place, its deltas are rendered into the
 * engine's shared buffer and leave with one write; no allocation, no timer call.
 */
#include "gateway/exchange.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/chat_answer.h"
#include "gateway/chat_request.h"
#include "gateway/clock.h"
#include "gateway/error_response.h"
#include "gateway/log.h"
#include "gateway/log_body.h"
#include "gateway/reply.h"
#include "sse/frame_decoder.h"

#define EXCHANGE_STEPS(X)                                                                          \
    X(ADMIT, admit, "the body becomes a turn; may the key use the model?")                         \
    X(RESOLVE, resolve, "the model id becomes targets, in order")                                  \
    X(LEASE, lease, "an account of the current target")                                            \
    X(ASK, ask, "the adapter's next request goes out, or it has finished")                         \
    X(STREAM, stream, "the site answers: frames in, deltas out")                                   \
    X(LOCAL, local, "a built-in site answers without any request")                                 \
    X(RETRY, retry, "another account, another target, or give up")                                 \
    X(FINISH, finish, "last bytes out, lease back, log line")                                      \
    X(TIDY, tidy, "requests that clean up at the site; nobody waits for them")

enum exchange_step {
#define X(name, function, text) STEP_##name,
    EXCHANGE_STEPS(X)
#undef X
        STEP_OVER,
    STEP_WAIT = -1
};

enum {
    EXCHANGE_MAGIC = 0x45584348,
    SILENCE_MS = 15000,        /* the head, then a comment, after this much silence (S5, S21) */
    QUEUE_TIMEOUT_MS = 120000, /* waiting for a busy account */
    LARGE_BODY = 256 * 1024, /* larger ones get a parser of their own: the shared one stays small */
    SITE_STEPS_MAX = 64,     /* requests an adapter may make in one try */
    LOCAL_PIECES_MAX = 64,   /* pieces of a built-in site before the loop runs again */
    OUT_KEEP = 256 * 1024,   /* the shared buffer gives memory above this back */
    SITE_BODY_LIMIT = FRAME_LIMIT
};

/* How it ended; the access log and metrics name it (design §5). */
enum end_state { END_STATE_OPEN, END_COMPLETE, END_BROKEN, END_CANCELLED, END_REFUSED, END_FAILED };
static const char *const end_state_names[] = {"open",      "complete", "cut",
                                              "cancelled", "refused",  "failed"};

/* One adapter run that is over for the client but may have something to put away at the site. */
struct tidy {
    struct exchange *exchange;
    const struct adapter *adapter;
    const struct site_config *site;
    struct account *account; /* pinned, not leased */
    struct turn_run run;
    struct site_request request;
    struct upstream_call *call;
    int steps;
};

struct exchange {
    unsigned magic;
    enum exchange_step step;
    struct engine *engine;
    struct exchange *prev, *next;
    struct http_exchange *http; /* NULL: the client is gone or answered */
    struct config *config;      /* reference */
    const struct key_config *key;
    struct access_grant grant; /* its visitor_key is in the arena */
    struct arena arena;
    struct turn turn;
    char request_id[REQUEST_ID_SIZE];
    struct span client;

    /* where it goes */
    const struct target *targets;
    size_t n_targets, target;
    struct account *account; /* leased */
    size_t account_index;
    uint64_t tried; /* accounts of the current target */
    int tries;      /* runs begun, over all targets */
    struct waiter waiter;
    bool listed; /* waited for model lists already */

    /* the current run */
    const struct adapter *adapter; /* NULL: none */
    struct turn_run run;
    struct site_request request;
    struct upstream_call *call;
    struct frame_decoder decoder;
    bool decoding, paused, holds_credential_step;
    int site_steps, site_status, drifts;

    /* the answer */
    struct chat_answer answer;
    bool answering;   /* chat_answer is initialised */
    bool head_sent;   /* stream: status 200 is out */
    bool drained_out; /* local: the client takes more */
    struct fail fail;
    enum end_state end;
    int status;

    /* clocks: one lazily armed timer */
    uv_timer_t timer;
    bool timer_closed;
    uint64_t started_ms, first_delta_ms, last_write_ms;
    uint64_t local_at_ms, queue_until_ms; /* 0 = not waiting for it */
    uint64_t bytes_out;
    unsigned tidies;
    bool advancing;
};

static void exchange_advance(struct exchange *e);
static void arm_timer(struct exchange *e);

static const struct site_config *current_site(const struct exchange *e)
{
    return e->targets[e->target].site;
}

static uint64_t now_ms(const struct exchange *e) { return uv_now(e->engine->loop); }

/* With log_bodies only. Whatever passes while a credential is obtained stays hidden. */
static void note_body(const struct exchange *e, const char *direction, struct span text)
{
    const struct site_account *account = e->account ? &e->account->view : NULL;
    if (!e->config->log_bodies || !text.n)
        return;
    if (e->holds_credential_step)
        log_body_hidden(e->request_id, direction, text.n);
    else
        log_body(e->request_id, direction, text, account);
}

/* ---- towards the client ---- */

static void send_stream_head(struct exchange *e)
{
    struct reply_headers h;
    if (e->head_sent)
        return;
    reply_headers_common(&h, e->http, e->request_id);
    reply_header(&h, "Content-Type", SPAN("text/event-stream; charset=utf-8"));
    reply_header(&h, "Cache-Control", SPAN("no-cache, no-transform"));
    reply_header(&h, "X-Accel-Buffering", SPAN("no"));
    http_answer_start(e->http, 200, h.list, h.n, -1);
    e->head_sent = true;
    e->status = 200;
}

/* Hands what one event produced to the client, in one write. A slow client pauses the site's
 * socket, not our memory. */
/* From a callback: the same, and what follows when the client turned out to be gone. */
static void flush_and_advance(struct exchange *e);

static void flush(struct exchange *e)
{
    struct buffer *out = &e->engine->out;
    bool nested = e->advancing;
    e->advancing = true; /* the client may turn out to be gone inside the write */
    if (out->n && e->http) {
        send_stream_head(e);
        e->last_write_ms = now_ms(e);
        note_body(e, "to client", buffer_span(out));
        size_t queued = http_answer_write(e->http, buffer_span(out));
        if (e->http && queued > HTTP_HIGH_WATER) {
            e->drained_out = false;
            if (e->call && !e->paused) {
                e->paused = true;
                upstream_pause(e->call);
            }
        }
    }
    buffer_shrink(out, OUT_KEEP);
    e->advancing = nested;
}

static void note_first_delta(struct exchange *e)
{
    if (!e->first_delta_ms && e->answer.committed) {
        e->first_delta_ms = now_ms(e);
        arm_timer(e);
    }
}

/* ---- the run at the site ---- */

static void count_drift(void *owner, const char *kind)
{
    struct exchange *e = owner;
    e->drifts++;
    log_debug("%s: %s answered something unknown: %s", e->request_id, e->adapter->name, kind);
}

static void release_credential_step(struct exchange *e)
{
    if (!e->holds_credential_step)
        return;
    e->holds_credential_step = false;
    account_credential_done(e->account);
}

static void stop_decoding(struct exchange *e)
{
    if (e->decoding)
        frame_decoder_free(&e->decoder);
    e->decoding = false;
}

/* Ends the request to the site that is under way, if there is one. */
static void drop_call(struct exchange *e, bool finished)
{
    if (e->call)
        upstream_cancel(e->call, finished);
    e->call = NULL;
    e->paused = false;
    stop_decoding(e);
}

static void start_tidy(struct exchange *e);

/* The run is over, well or not: lease back, clean-up started, state given up. */
static void end_run(struct exchange *e)
{
    drop_call(e, false);
    waiter_leave(&e->waiter);
    if (!e->account)
        return;
    struct account *account = e->account;
    release_credential_step(e);
    if (e->adapter)
        start_tidy(e);
    e->adapter = NULL;
    e->account = NULL;
    account_release(account); /* last: whoever waits may begin inside this call */
}

/* An adapter's verdict that ends the current request to the site. */
static void take_verdict(struct exchange *e, enum adapter_verdict verdict)
{
    if (verdict == ADAPTER_GO_ON)
        return;
    drop_call(e, verdict == ADAPTER_COMPLETE);
    if (verdict == ADAPTER_COMPLETE) {
        e->step = STEP_ASK;
    } else {
        e->fail = e->run.fail;
        if (e->engine->out.error || e->fail.kind == FAIL_NONE)
            fail_memory(&e->fail);
        e->step = STEP_RETRY;
    }
    exchange_advance(e);
    if (e->step < STEP_FINISH) /* the next request is under way: what came so far goes out now */
        flush_and_advance(e);
}

static enum adapter_verdict frames_in(struct exchange *e, struct span bytes)
{
    struct frame frame;
    enum frame_result r;
    e->run.now_ms = clock_wall_ms();
    while ((r = frame_decoder_next(&e->decoder, &bytes, &frame)) == FRAME_READY) {
        enum adapter_verdict verdict = e->adapter->on_frame(&e->run, &frame);
        chat_answer_frame_done(&e->answer);
        if (verdict != ADAPTER_GO_ON)
            return verdict;
    }
    if (r == FRAME_TOO_LARGE)
        return fail_set(&e->run.fail, FAIL_PROTOCOL, "%.*s sent a single event of more than 16 MiB",
                        SPAN_ARGS(current_site(e)->settings.name));
    if (r == FRAME_NOMEM)
        return fail_memory(&e->run.fail);
    return ADAPTER_GO_ON;
}

static void on_site_head(void *owner, const struct site_head *head)
{
    struct exchange *e = owner;
    enum framing framing = e->request.framing;
    e->run.now_ms = clock_wall_ms();
    e->site_status = head->status;
    enum adapter_verdict verdict = e->adapter->on_head(&e->run, head, &framing);
    frame_decoder_init(&e->decoder, framing, FRAME_LIMIT);
    e->decoding = true;
    take_verdict(e, verdict);
}

/* A stop text was met, and nothing more is wanted of the site: usage comes last, so who asked for
 * it has to hear it out. */
static bool is_said(const struct exchange *e)
{
    return chat_answer_is_stopped(&e->answer) && e->turn.stream && !e->turn.include_usage;
}

static void end_early(struct exchange *e)
{
    drop_call(e, false);
    account_succeeded(e->account);
    e->end = END_COMPLETE;
    e->step = STEP_FINISH;
    exchange_advance(e);
}

static void on_site_body(void *owner, struct span bytes)
{
    struct exchange *e = owner;
    note_body(e, "from site", bytes);
    enum adapter_verdict verdict = frames_in(e, bytes);
    note_first_delta(e);
    if (verdict == ADAPTER_GO_ON && is_said(e))
        end_early(e);
    else
        take_verdict(e, verdict);
}

static void on_site_read(void *owner) { flush_and_advance(owner); }

/* The body's end: a last frame that needs no mark, then the adapter's own reading of the end. */
static enum adapter_verdict end_of_body(struct exchange *e, enum stream_end end)
{
    struct frame frame;
    enum adapter_verdict verdict = ADAPTER_GO_ON;
    e->run.now_ms = clock_wall_ms();
    if (end == END_CLEAN && frame_decoder_end(&e->decoder, &frame) == FRAME_READY) {
        verdict = e->adapter->on_frame(&e->run, &frame);
        chat_answer_frame_done(&e->answer);
    }
    if (verdict == ADAPTER_GO_ON)
        verdict = e->adapter->on_end(&e->run, end);
    return verdict;
}

static void on_site_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct exchange *e = owner;
    enum adapter_verdict verdict = ADAPTER_FAIL;
    e->call = NULL; /* it is gone already */
    e->paused = false;
    if (e->decoding)
        verdict = end_of_body(e, end);
    else if (end == END_CUT)
        e->run.fail = *fail;
    /* The transport knows better than the adapter why bytes stopped coming. */
    if (verdict == ADAPTER_FAIL && end == END_CUT &&
        (fail->kind == FAIL_TIMEOUT || e->run.fail.kind == FAIL_NONE))
        e->run.fail = *fail;
    note_first_delta(e);
    take_verdict(e, verdict == ADAPTER_GO_ON ? ADAPTER_COMPLETE : verdict);
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
    e->tidies--;
    exchange_advance(e);
}

static void on_tidy_head(void *owner, const struct site_head *head) {}
static void on_tidy_body(void *owner, struct span bytes) {}
static void on_tidy_read(void *owner) {}

static void on_tidy_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct tidy *t = owner;
    t->call = NULL;
    tidy_next(t);
}

static void tidy_next(struct tidy *t)
{
    struct upstream_handler handler = {on_tidy_head, on_tidy_body, on_tidy_read, on_tidy_end, t};
    struct fail fail;
    t->request = (struct site_request){0};
    t->run.now_ms = clock_wall_ms();
    if (!t->adapter->cleanup || t->steps++ >= SITE_STEPS_MAX || t->exchange->engine->stopping ||
        t->adapter->cleanup(&t->run, &t->request) != ADAPTER_SEND) {
        tidy_end(t);
        return;
    }
    t->call = upstream_start(t->exchange->engine->upstream, t->site, t->account->view.name,
                             &t->request, &handler, &fail);
    if (!t->call)
        tidy_end(t);
}

static void start_tidy(struct exchange *e)
{
    struct tidy *t = arena_alloc(&e->arena, sizeof *t);
    if (!t) {
        if (e->adapter->destroy)
            e->adapter->destroy(&e->run);
        return;
    }
    *t = (struct tidy){.exchange = e,
                       .adapter = e->adapter,
                       .site = current_site(e),
                       .account = e->account,
                       .run = e->run};
    account_pin(t->account);
    e->tidies++;
    tidy_next(t);
}

/* ---- the steps ---- */

static enum exchange_step refuse(struct exchange *e)
{
    e->end = END_REFUSED;
    return STEP_FINISH;
}

static enum exchange_step step_admit(struct exchange *e)
{
    struct buffer *body = http_exchange_body(e->http);
    note_body(e, "from client", buffer_span(body));
    struct json_parser *own =
        body->n > LARGE_BODY ? json_parser_create(body->n + JSON_PADDING) : NULL;
    struct json_parser *parser = own ? own : e->engine->json;
    int bad = chat_request_parse(parser, &e->arena, body->p ? body->p : (char *)"", body->n,
                                 &e->turn, &e->fail);
    e->turn.model =
        arena_dup(&e->arena, e->turn.model); /* the log line comes when the body is gone */
    if (own)
        json_parser_destroy(own);
    if (bad)
        return refuse(e);
    if (!e->turn.model.p) {
        fail_memory(&e->fail);
        return refuse(e);
    }
    if (!key_allows_model(e->key, e->turn.model)) {
        fail_param(&e->fail, FAIL_MODEL_DENIED, "model",
                   "the key \"%.*s\" may not use the model \"%.*s\"", SPAN_ARGS(e->key->name),
                   SPAN_ARGS(span_first(e->turn.model, 80)));
        return refuse(e);
    }
    return STEP_RESOLVE;
}

static bool opens_target(const struct exchange *e)
{
    return !e->grant.only_passthrough || current_site(e)->keys_passthrough;
}

static enum exchange_step step_resolve(struct exchange *e)
{
    enum resolve_result r =
        catalogue_resolve(e->engine->catalogue, e->config, e->turn.model, !e->listed, &e->arena,
                          &e->targets, &e->n_targets, &e->fail);
    if (r == RESOLVE_UNKNOWN)
        return refuse(e);
    if (r == RESOLVE_WAIT) {
        e->listed = true;
        catalogue_wait(e->engine->catalogue, &e->waiter);
        return STEP_WAIT;
    }
    /* A visitor's key opens the sites that take it, no other. */
    while (e->target < e->n_targets && !opens_target(e))
        e->target++;
    if (e->target == e->n_targets) {
        e->target = 0;
        fail_set(&e->fail, FAIL_WRONG_KEY,
                 "this API key is not one of the gateway's keys ([[keys]] in gateway.toml), and "
                 "\"%.*s\" "
                 "is not served with a key of your own",
                 SPAN_ARGS(span_first(e->turn.model, 80)));
        return refuse(e);
    }
    return STEP_LEASE;
}

/* The part that a site cannot take, as a failure that names it (Q8, Q13). */
static int refuse_part(struct exchange *e, enum part_kind kind, const char *what)
{
    for (size_t i = 0; i < e->turn.n_messages; i++) {
        const struct message *m = &e->turn.messages[i];
        for (size_t k = 0; k < m->n_parts; k++) {
            if (m->parts[k].kind != kind)
                continue;
            char param[64];
            snprintf(param, sizeof param, "messages[%d].content[%d]", m->index, m->parts[k].index);
            return fail_param(&e->fail, FAIL_UNSUPPORTED, param, "%s cannot take %s",
                              current_site(e)->adapter->title, what);
        }
    }
    return 0;
}

/* Is there anything in the turn that the adapter cannot do at all? -1 with fail. */
static int check_capabilities(struct exchange *e)
{
    const struct turn *t = &e->turn;
    const struct adapter *a = current_site(e)->adapter;
    unsigned has = a->capabilities;
    if (t->tools_wanted && !(has & CAP_TOOLS))
        return fail_param(&e->fail, FAIL_UNSUPPORTED, "tools",
                          "%s has no tools; leave out \"tools\" or use another model", a->title);
    if (t->n > 1 && !(has & CAP_N))
        return fail_param(&e->fail, FAIL_UNSUPPORTED, "n",
                          "%s gives one choice per request; send n = 1", a->title);
    if (t->response_format_raw.p && !(has & CAP_RESPONSE_FORMAT))
        return fail_param(&e->fail, FAIL_UNSUPPORTED, "response_format",
                          "%s has no response_format", a->title);
    if (t->logprobs && !(has & CAP_LOGPROBS))
        return fail_param(&e->fail, FAIL_UNSUPPORTED, "logprobs", "%s has no logprobs", a->title);
    if (t->has_images && !(has & CAP_IMAGE))
        return refuse_part(e, PART_IMAGE, "pictures");
    if (t->has_audio && !(has & CAP_AUDIO))
        return refuse_part(e, PART_AUDIO, "audio");
    if (t->has_files && !(has & CAP_FILE))
        return refuse_part(e, PART_FILE, "files");
    if (t->has_video && !(has & CAP_VIDEO))
        return refuse_part(e, PART_VIDEO, "videos");
    return 0;
}

/* A fresh run of the leased account: adapter state from zero, answer as if nothing had happened. */
static int begin_run(struct exchange *e)
{
    const struct site_config *site = current_site(e);
    e->tries++;
    e->site_steps = 0;
    enum reasoning_style style = e->key && e->key->reasoning >= 0
                                     ? (enum reasoning_style)e->key->reasoning
                                     : site->reasoning;
    if (!e->answering) {
        if (chat_answer_init(&e->answer, &e->arena, &e->turn,
                             arena_printf(&e->arena, "chatcmpl-%s", e->request_id + 4),
                             clock_wall_ms() / 1000, e->turn.model, style, &e->engine->out))
            return fail_memory(&e->fail);
        e->answering = true;
    } else if (chat_answer_restart(&e->answer)) {
        return fail_memory(&e->fail);
    }
    e->answer.reasoning = style;
    e->run = (struct turn_run){
        .turn = &e->turn,
        .site = &site->settings,
        .account = &e->account->view,
        .model = e->targets[e->target].model,
        .state = arena_alloc(&e->arena, site->adapter->state_size ? site->adapter->state_size : 1),
        .arena = &e->arena,
        .json = e->engine->json,
        .out = &e->answer.sink,
        .now_ms = clock_wall_ms(),
        .random = clock_random,
        .drift = count_drift,
        .drift_owner = e,
    };
    if (!e->run.state)
        return fail_memory(&e->fail);
    chat_answer_stop_at(&e->answer, e->turn.stop,
                        site->adapter->capabilities & CAP_STOP ? 0 : e->turn.n_stop);
    e->adapter = site->adapter;
    return 0;
}

static enum exchange_step next_target(struct exchange *e)
{
    do {
        if (e->target + 1 >= e->n_targets)
            return STEP_FINISH;
        e->target++;
    } while (!opens_target(e));
    e->tried = 0;
    return STEP_LEASE;
}

static int seconds_until(uint64_t at, uint64_t now)
{
    uint64_t s = at > now ? (at - now + 999) / 1000 : 1;
    return s > 86400 * 30 ? 86400 * 30 : (int)s;
}

/* The client's own key where the site takes it, else one of the configured accounts. */
static enum lease_result lease_account(struct exchange *e)
{
    const struct site_config *site = current_site(e);
    uint64_t retry_at; /* settle_retry_after() looks at all targets */
    if (!site->keys_passthrough || !e->grant.visitor_key.n)
        return account_pool_lease(e->engine->accounts, site, e->tried, now_ms(e), &e->account,
                                  &e->account_index, &retry_at);
    if (e->tried) /* it was refused: there is no other */
        return LEASE_NONE;
    e->account_index = 0;
    e->account = account_pool_visitor(e->engine->accounts, site, e->grant.visitor_key);
    if (!e->account)
        fail_memory(&e->fail);
    return e->account ? LEASE_OK : LEASE_NONE;
}

static enum exchange_step step_lease(struct exchange *e)
{
    const struct site_config *site = current_site(e);
    if (site->bridge) {
        fail_set(
            &e->fail, FAIL_BRIDGE,
            "no browser tab of %s is connected (transport = \"bridge\" comes with a later version)",
            site->adapter->title);
        return next_target(e);
    }
    if (check_capabilities(e))
        return next_target(e);
    switch (lease_account(e)) {
    case LEASE_BUSY:
        if (e->queue_until_ms && now_ms(e) >= e->queue_until_ms) {
            fail_set(
                &e->fail, FAIL_SERVER_BUSY,
                "every account of %.*s has been busy for %d s; try again later or add an account",
                SPAN_ARGS(site->settings.name), QUEUE_TIMEOUT_MS / 1000);
            e->fail.retry_after_s = 10;
            return next_target(e);
        }
        if (!account_pool_wait(e->engine->accounts, site, &e->waiter)) {
            fail_set(&e->fail, FAIL_SERVER_BUSY, "too many requests wait for an account of %.*s",
                     SPAN_ARGS(site->settings.name));
            e->fail.retry_after_s = 10;
            return next_target(e);
        }
        if (!e->queue_until_ms)
            e->queue_until_ms = now_ms(e) + QUEUE_TIMEOUT_MS;
        arm_timer(e);
        return STEP_WAIT;
    case LEASE_COOLING:
        if (e->fail.kind != FAIL_RATE_LIMITED)
            fail_set(&e->fail, FAIL_RATE_LIMITED,
                     "every account of %.*s rests after the site's rate limit",
                     SPAN_ARGS(site->settings.name));
        return next_target(e);
    case LEASE_NONE:
        if (e->fail.kind == FAIL_NONE)
            fail_set(&e->fail, FAIL_CREDENTIAL, "no account of %.*s is configured",
                     SPAN_ARGS(site->settings.name));
        return next_target(e);
    case LEASE_OK: break;
    }
    e->queue_until_ms = 0;
    e->tried |= 1ull << (e->account_index % 64);
    fail_clear(&e->fail);
    if (begin_run(e))
        return STEP_RETRY;
    return site->adapter->capabilities & CAP_LOCAL ? STEP_LOCAL : STEP_ASK;
}

static enum exchange_step step_ask(struct exchange *e)
{
    struct upstream_handler handler = site_handler;
    const struct site_config *site = current_site(e);
    if (e->holds_credential_step) {
        flush(e); /* others are woken: the shared buffer must be empty */
        release_credential_step(e);
    }
    e->request = (struct site_request){0};
    e->run.now_ms = clock_wall_ms();
    fail_clear(&e->run.fail);
    if (e->site_steps++ >= SITE_STEPS_MAX) {
        fail_set(&e->fail, FAIL_PROTOCOL, "%s did not come to an end", site->adapter->title);
        return STEP_RETRY;
    }
    switch (e->adapter->next(&e->run, &e->request)) {
    case ADAPTER_DONE:
        account_succeeded(e->account);
        e->end = END_COMPLETE;
        return STEP_FINISH;
    case ADAPTER_FAILED: e->fail = e->run.fail; return STEP_RETRY;
    case ADAPTER_SEND: break;
    }
    if (e->request.credential_step) {
        if (!account_credential_begin(e->account, &e->waiter))
            return STEP_WAIT; /* another exchange obtains it: ask again when it has */
        e->holds_credential_step = true;
    }
    handler.owner = e;
    note_body(e, "to site", e->request.body);
    e->call = upstream_start(e->engine->upstream, site, e->account->view.name, &e->request,
                             &handler, &e->fail);
    return e->call ? STEP_STREAM : STEP_RETRY;
}

/* Everything happens in on_site_head, on_site_body and on_site_end. */
static enum exchange_step step_stream(struct exchange *e) { return STEP_WAIT; }

static enum exchange_step step_local(struct exchange *e)
{
    e->local_at_ms = 0;
    for (int i = 0; i < LOCAL_PIECES_MAX; i++) {
        int delay_ms = 0;
        e->run.now_ms = clock_wall_ms();
        enum adapter_step step = e->adapter->local(&e->run, &delay_ms);
        chat_answer_frame_done(&e->answer);
        note_first_delta(e);
        if (step == ADAPTER_DONE) {
            account_succeeded(e->account);
            e->end = END_COMPLETE;
            return STEP_FINISH;
        }
        if (step == ADAPTER_FAILED) {
            e->fail = e->run.fail;
            return STEP_RETRY;
        }
        flush(e);
        if (!e->http)
            return STEP_FINISH;
        if (delay_ms > 0 || !e->drained_out) {
            e->local_at_ms = e->drained_out ? now_ms(e) + (uint64_t)delay_ms : 0;
            arm_timer(e);
            return STEP_WAIT;
        }
    }
    e->local_at_ms = now_ms(e);
    arm_timer(e);
    return STEP_WAIT;
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
           kind == FAIL_UNSUPPORTED;
}

static enum exchange_step step_retry(struct exchange *e)
{
    enum fail_kind kind = e->fail.kind;
    bool whole = e->answering && e->answer.committed && chat_answer_is_finished(&e->answer);
    if (e->account && !(current_site(e)->adapter->capabilities &
                        CAP_LOCAL)) /* a built-in site has nobody to spare */
        account_failed(e->account, kind, e->fail.retry_after_s, now_ms(e));
    if (whole) { /* the answer had its finish reason: what broke afterwards took nothing from it */
        e->end = END_COMPLETE;
        return STEP_FINISH;
    }
    if ((e->answering && e->answer.committed) || !e->http) {
        e->end = END_BROKEN;
        return STEP_FINISH;
    }
    end_run(e);
    e->end = END_FAILED;
    if (another_account_may_help(kind))
        return STEP_LEASE;
    return another_target_may_help(kind) ? next_target(e) : STEP_FINISH;
}

/* ---- the end ---- */

/* A limit's answer tells when the first account of any target is ready again, in words too: many
 * apps show the message and hide the headers. */
static void settle_retry_after(struct exchange *e)
{
    uint64_t earliest = UINT64_MAX;
    if (e->fail.kind != FAIL_RATE_LIMITED)
        return;
    for (size_t i = 0; i < e->n_targets; i++) {
        uint64_t at = account_pool_earliest(e->engine->accounts, e->targets[i].site, now_ms(e));
        if (at < earliest)
            earliest = at;
    }
    if (earliest != UINT64_MAX)
        e->fail.retry_after_s = seconds_until(earliest, now_ms(e));
    if (e->fail.retry_after_s > 0)
        fail_add(&e->fail, "; ready again in %d s", e->fail.retry_after_s);
}

/* Before the last piece: afterwards the client side cannot be asked any more. */
static void count_bytes(struct exchange *e, size_t last)
{
    e->bytes_out = http_exchange_bytes_out(e->http) + last;
}

static void answer_failure_in_stream(struct exchange *e)
{
    struct buffer object;
    buffer_init(&object, 16 * 1024);
    error_object(&object, &e->fail);
    chat_answer_error(&e->answer, buffer_span(&object));
    buffer_free(&object);
    note_body(e, "to client", buffer_span(&e->engine->out));
    count_bytes(e, e->engine->out.n);
    http_answer_end(e->http, buffer_span(&e->engine->out));
}

static void answer_failure(struct exchange *e)
{
    struct reply_headers h;
    struct buffer body;
    struct buffer partial;
    buffer_init(&body, ANSWER_LIMIT * 2ull);
    buffer_init(&partial, ANSWER_LIMIT * 2ull);
    buffer_append(&body, SPAN("{\"error\":"));
    error_object(&body, &e->fail);
    if (e->answering) /* a half-received answer is delivered, and marked by the error beside it */
        chat_answer_partial(&e->answer, &partial);
    if (partial.n && !partial.error) {
        buffer_append(&body, SPAN(",\"dragoman_partial\":"));
        buffer_append(&body, buffer_span(&partial));
    }
    buffer_append(&body, SPAN("}"));
    reply_headers_common(&h, e->http, e->request_id);
    reply_header(&h, "Content-Type", SPAN("application/json"));
    reply_headers_failure(&h, &e->fail, e->tries > 1);
    e->status = error_row(e->fail.kind)->status;
    count_bytes(e, body.n);
    note_body(e, "to client", buffer_span(&body));
    http_answer_whole(e->http, e->status, h.list, h.n, buffer_span(&body));
    buffer_free(&body);
    buffer_free(&partial);
}

static void answer_success(struct exchange *e)
{
    struct buffer body;
    buffer_init(&body, ANSWER_LIMIT * 2ull);
    if (chat_answer_end(&e->answer, &body)) {
        fail_memory(&e->fail);
        e->end = e->head_sent ? END_BROKEN : END_FAILED;
        buffer_clear(&e->engine->out);
        if (e->head_sent)
            answer_failure_in_stream(e);
        else
            answer_failure(e);
    } else if (e->turn.stream) {
        send_stream_head(e);
        count_bytes(e, e->engine->out.n);
        note_body(e, "to client", buffer_span(&e->engine->out));
        http_answer_end(e->http, buffer_span(&e->engine->out));
    } else {
        struct reply_headers h;
        reply_headers_common(&h, e->http, e->request_id);
        reply_header(&h, "Content-Type", SPAN("application/json"));
        e->status = 200;
        count_bytes(e, body.n);
        note_body(e, "to client", buffer_span(&body));
        http_answer_whole(e->http, 200, h.list, h.n, buffer_span(&body));
    }
    buffer_free(&body);
}

static void log_access(struct exchange *e)
{
    struct log_record r;
    uint64_t now = now_ms(e);
    log_record_begin(&r, LOG_INFO, "chat");
    log_record_text(&r, "id", span_str(e->request_id));
    log_record_text(&r, "client", e->client);
    if (e->key)
        log_record_text(&r, "key", e->key->name);
    log_record_text(&r, "model", span_first(e->turn.model, 128));
    if (e->targets) {
        log_record_text(&r, "site", current_site(e)->settings.name);
        if (e->account)
            log_record_text(&r, "account", e->account->view.name);
    }
    log_record_int(&r, "status", e->status);
    log_record_text(&r, "end", span_str(end_state_names[e->end]));
    if (e->end != END_COMPLETE && e->fail.kind != FAIL_NONE)
        log_record_text(&r, "error", span_str(fail_kind_name(e->fail.kind)));
    if (e->site_status)
        log_record_int(&r, "site_status", e->site_status);
    if (e->first_delta_ms)
        log_record_int(&r, "first_ms", (int64_t)(e->first_delta_ms - e->started_ms));
    log_record_int(&r, "ms", (int64_t)(now - e->started_ms));
    if (e->answering)
        log_record_int(&r, "deltas", (int64_t)e->answer.deltas);
    log_record_int(&r, "bytes", (int64_t)e->bytes_out);
    if (e->tries > 1)
        log_record_int(&r, "tries", e->tries);
    if (e->drifts)
        log_record_int(&r, "drift", e->drifts);
    log_record_end(&r);
}

static enum exchange_step step_finish(struct exchange *e)
{
    struct http_exchange *http = e->http;
    if (e->end == END_STATE_OPEN)
        e->end = e->fail.kind == FAIL_UNSUPPORTED ? END_REFUSED : END_FAILED;
    if (e->end == END_COMPLETE && e->answering && !e->answer.committed &&
        !chat_answer_is_finished(&e->answer)) {
        fail_set(&e->fail, FAIL_EMPTY, "%s ended its answer without any text",
                 current_site(e)->adapter->title);
        e->end = END_FAILED;
    }
    if (http) {
        http_exchange_set_user(
            http, NULL); /* from here on nobody needs to tell us that the client left */
        if (e->end == END_COMPLETE) {
            answer_success(e);
        } else {
            settle_retry_after(e);
            if (e->head_sent || (e->turn.stream && e->answering && e->answer.committed)) {
                send_stream_head(e);
                answer_failure_in_stream(e);
                if (e->end == END_FAILED)
                    e->end = END_BROKEN;
            } else {
                answer_failure(e);
            }
        }
        e->http = NULL;
    }
    buffer_shrink(&e->engine->out, OUT_KEEP);
    uv_timer_stop(&e->timer);
    log_access(e);
    end_run(e);
    return STEP_TIDY;
}

static enum exchange_step step_tidy(struct exchange *e)
{
    return e->tidies ? STEP_WAIT : STEP_OVER;
}

/* ---- the machine ---- */

static const struct {
    const char *name, *text;
    enum exchange_step (*run)(struct exchange *);
} steps[] = {
#define X(name, function, text) {#name, text, step_##function},
    EXCHANGE_STEPS(X)
#undef X
};

static void on_timer_closed(uv_handle_t *handle)
{
    struct exchange *e = handle->data;
    e->magic = 0;
    free(e);
}

static void exchange_destroy(struct exchange *e)
{
    assert(!e->http && !e->call && !e->account && !e->waiter.queue && !e->tidies);
    if (e->prev)
        e->prev->next = e->next;
    else
        e->engine->exchanges = e->next;
    if (e->next)
        e->next->prev = e->prev;
    e->engine->n_exchanges--;
    if (e->answering)
        chat_answer_free(&e->answer);
    arena_free(&e->arena);
    config_unref(e->config);
    uv_close((uv_handle_t *)&e->timer, on_timer_closed);
}

static void exchange_advance(struct exchange *e)
{
    assert(e->magic == EXCHANGE_MAGIC);
    if (e->advancing) /* something finished inside a step: the loop below goes on with it */
        return;
    e->advancing = true;
    while (e->step != STEP_OVER) {
        enum exchange_step next = steps[e->step].run(e);
        if (next == STEP_WAIT)
            break;
        e->step = next;
    }
    e->advancing = false;
    if (e->step == STEP_OVER)
        exchange_destroy(e);
}

static void flush_and_advance(struct exchange *e)
{
    flush(e);
    if (e->step >= STEP_FINISH)
        exchange_advance(e);
}

static void on_wake(struct waiter *w)
{
    exchange_advance((struct exchange *)((char *)w - offsetof(struct exchange, waiter)));
}

/* ---- clocks ---- */

/* The earliest thing that waits for time; UINT64_MAX when nothing does. */
static uint64_t next_deadline(const struct exchange *e)
{
    uint64_t at = UINT64_MAX;
    if (e->turn.stream && e->http && e->step < STEP_FINISH)
        at = e->last_write_ms + SILENCE_MS;
    if (e->local_at_ms && e->local_at_ms < at)
        at = e->local_at_ms;
    if (e->queue_until_ms && e->queue_until_ms < at)
        at = e->queue_until_ms;
    return at;
}

static void break_silence(struct exchange *e)
{
    assert(e->engine->out.n == 0);
    if (e->head_sent) {
        chunk_emitter_keep_alive(&e->engine->out);
    } else if (e->answering) {
        chat_answer_role(&e->answer);
    } else {
        chunk_emitter_keep_alive(&e->engine->out); /* still in a queue: no run has begun */
    }
    flush(e);
}

static void on_timer(uv_timer_t *timer)
{
    struct exchange *e = timer->data;
    uint64_t now = now_ms(e);
    if (e->turn.stream && e->http && now >= e->last_write_ms + SILENCE_MS)
        break_silence(e);
    if (e->step >= STEP_FINISH) { /* the client was found to be gone */
        exchange_advance(e);
        return;
    }
    if (e->queue_until_ms && now >= e->queue_until_ms) {
        waiter_leave(&e->waiter);
        exchange_advance(e);
    } else if (e->local_at_ms && now >= e->local_at_ms) {
        exchange_advance(e);
    }
    if (e->step < STEP_FINISH)
        arm_timer(e);
}

/* Lazily: a write only moves last_write_ms; the timer finds out when it fires. */
static void arm_timer(struct exchange *e)
{
    uint64_t at = next_deadline(e), now = now_ms(e);
    if (at == UINT64_MAX)
        return;
    uint64_t wait = at > now ? at - now : 0;
    if (!uv_is_active((uv_handle_t *)&e->timer) || uv_timer_get_due_in(&e->timer) > wait)
        uv_timer_start(&e->timer, on_timer, wait, 0);
}

/* ---- from outside ---- */

void exchange_start(struct engine *engine, struct http_exchange *http,
                    const struct access_grant *grant)
{
    struct exchange *e = calloc(1, sizeof *e);
    struct fail fail;
    if (!e) {
        fail_memory(&fail);
        reply_fail(http, "req_none", &fail);
        return;
    }
    e->magic = EXCHANGE_MAGIC;
    e->engine = engine;
    e->http = http;
    e->config = config_ref(http_exchange_config(http));
    e->key = grant->key;
    e->grant = *grant;
    e->waiter.wake = on_wake;
    e->drained_out = true;
    e->started_ms = http_exchange_started_ms(http);
    e->last_write_ms = now_ms(e);
    request_id_make(e->request_id);
    arena_init(&e->arena);
    e->grant.visitor_key = arena_dup(&e->arena, grant->visitor_key);
    uv_timer_init(engine->loop, &e->timer);
    e->timer.data = e;
    char text[46];
    e->client = arena_dup(&e->arena, span_str(ip_format(http_exchange_peer(http), text)));

    e->next = engine->exchanges;
    if (e->next)
        e->next->prev = e;
    engine->exchanges = e;
    engine->n_exchanges++;
    http_exchange_set_user(http, e);
    exchange_advance(e);
    /* e may be over and freed by now */
}

void exchange_client_gone(struct exchange *e)
{
    assert(e->magic == EXCHANGE_MAGIC);
    e->bytes_out = http_exchange_bytes_out(e->http);
    e->http = NULL;
    buffer_clear(&e->engine->out);
    if (e->step >= STEP_FINISH)
        return;
    e->end = END_CANCELLED;
    drop_call(e, false);
    waiter_leave(&e->waiter);
    e->step = STEP_FINISH;
    exchange_advance(e);
}

void exchange_drained(struct exchange *e)
{
    assert(e->magic == EXCHANGE_MAGIC);
    e->drained_out = true;
    if (e->paused && e->call) {
        e->paused = false;
        upstream_resume(e->call);
    } else if (e->step == STEP_LOCAL && !e->advancing) {
        exchange_advance(e);
    }
}

void exchange_abandon(struct exchange *e)
{
    assert(e->magic == EXCHANGE_MAGIC);
    if (e->step >= STEP_FINISH)
        return;
    fail_set(&e->fail, FAIL_SERVER_BUSY,
             "dragoman is shutting down; the answer could not be finished");
    e->fail.retry_after_s = 5;
    e->end = END_FAILED;
    drop_call(e, false);
    waiter_leave(&e->waiter);
    e->step = STEP_FINISH;
    exchange_advance(e);
}

struct exchange *exchange_next(struct exchange *e) { return e->next; }
