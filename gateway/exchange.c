/*
 * gateway/exchange.c - a client request's whole life, as a table of steps.
 *
 * Read from top to bottom: each step is one function that does its part and names the next one, or
 * STEP_WAIT when something outside has to happen first. What happens at the sites is a branch's
 * business (branch.c); most exchanges have one. Callbacks (client, timer, branches) note what
 * happened and call exchange_go_on.
 *
 * Costs on the hot path: one site read is decoded in place, its deltas are rendered into the
 * engine's shared buffer and leave with one write; no allocation, no timer call.
 */
#include "gateway/exchange.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/branch_again.h"
#include "gateway/branch_continue.h"
#include "gateway/branch_structure.h"
#include "gateway/chat_request.h"
#include "gateway/clock.h"
#include "gateway/error_response.h"
#include "gateway/exchange_internal.h"
#include "gateway/exchange_pictures.h"
#include "gateway/log.h"
#include "gateway/log_body.h"

#define EXCHANGE_STEPS(X)                                                                          \
    X(LIMIT, limit, "has the key anything left?")                                                  \
    X(RECALL, recall, "what the request goes on from is looked up")                                \
    X(ADMIT, admit, "the body becomes turns; may the key use the model?")                          \
    X(RESOLVE, resolve, "the model id becomes targets, in order; how many runs does it take?")     \
    X(RUN, run, "the branches are at work")                                                        \
    X(KEEP, keep, "what later requests go on from is written down")                                \
    X(FINISH, finish, "last bytes out, log line, leases back")                                     \
    X(TIDY, tidy, "requests that clean up at the site; nobody waits for them")

enum {
    EXCHANGE_MAGIC = 0x45584348,
    SILENCE_MS = 15000,      /* the head, then a comment, after this much silence (S5, S21) */
    TIDY_MS = 10000,         /* for what goes on at the site when the client has its answer */
    LARGE_BODY = 256 * 1024, /* larger ones get a parser of their own: the shared one stays small */
    RUNS_BODY_MAX = 256 << 20,         /* what the runs of one request may send to sites, about */
    ALIGNMENT = _Alignof(max_align_t), /* each piece of an arena may lose as much */
    /* What a chat takes of its arena until it has an account: with a model's name and a target. */
    SMALL_CHAT = sizeof(struct branch) + sizeof(struct target) + 32 + ALIGNMENT,
    WHOLE_WRITER = 512, /* of a chat, about */
    /* And the turn of one with two messages and a few parameters, and what writes the answer. */
    SMALL_TURN = sizeof(struct prompts) + sizeof(struct turn) +
                 2 * (sizeof(struct message) + sizeof(struct part)) +
                 8 * sizeof(struct json_member) + JSON_PADDING + 6 * ALIGNMENT + WHOLE_WRITER,
    PARKED_BODY_MAX = 64 * 1024, /* bodies up to this size are read again in no time */
    BODY_GROWTH = 1024,   /* an API may read the body in another form that is a little longer */
    OUT_KEEP = 256 * 1024 /* the shared buffer gives memory above this back */
};

static const char *const end_state_names[] = {"open",      "complete", "cut",
                                              "cancelled", "refused",  "failed"};

uint64_t exchange_now_ms(const struct exchange *e) { return uv_now(e->engine->loop); }

struct fail *exchange_room_for_fail(struct exchange *e, struct fail **fail)
{
    if (!*fail)
        *fail = arena_alloc(&e->arena, sizeof **fail);
    return *fail ? *fail : &e->engine->no_room;
}

static struct fail *fail_of(struct exchange *e) { return exchange_room_for_fail(e, &e->fail); }
struct fail *exchange_fail(struct exchange *e) { return fail_of(e); }

static enum fail_kind fail_kind_of(const struct exchange *e)
{
    return e->fail ? e->fail->kind : FAIL_NONE;
}

/* Is content on its way to the client? */
static bool is_committed(const struct exchange *e) { return e->answer && e->answer->committed; }

/* The one that the log line is about. */
static const struct branch *first_branch(const struct exchange *e)
{
    return e->n_branches ? &e->branches[0] : NULL;
}

/* Whatever passes while a credential is obtained stays hidden. */
void exchange_log_body(const struct exchange *e, const struct branch *b, const char *direction,
                       struct span text)
{
    const struct site_account *account = b && b->account ? &b->account->view : NULL;
    if (b && b->holds_credential_step)
        log_body_hidden(e->request_id, direction, text.n);
    else
        log_body(e->request_id, direction, text, account);
}

/* ---- towards the client ---- */

/* Streams and relays: what comes from the site leaves at once. */
static bool pieces_go_out(const struct exchange *e) { return e->stream || e->api->relays; }

struct limit_headers {
    char limit[2][24], remaining[2][24], reset[2][KEY_DURATION_SIZE];
};

/* One limit as OpenAI's API tells it; names: limit, remaining, reset. */
static void limit_header(struct reply_headers *h, struct limit_headers *text, int i,
                         const char *const names[3], struct key_allowance a)
{
    if (!a.limit)
        return;
    snprintf(text->limit[i], sizeof text->limit[i], "%" PRId64, a.limit);
    snprintf(text->remaining[i], sizeof text->remaining[i], "%" PRId64, a.remaining);
    key_duration_format(a.reset_ms, text->reset[i]);
    reply_header(h, names[0], span_str(text->limit[i]));
    reply_header(h, names[1], span_str(text->remaining[i]));
    reply_header(h, names[2], span_str(text->reset[i]));
}

static int most_tries(const struct exchange *e)
{
    int most = 0;
    for (size_t i = 0; i < e->n_branches; i++) {
        if (e->branches[i].tries > most)
            most = e->branches[i].tries;
    }
    return most;
}

/* "zai/glm-4.6; tries=2": where the answer comes from. A model's name that is no header's text is
 * left out. */
static void route_header(struct exchange *e, struct reply_headers *h)
{
    const struct branch *b = first_branch(e);
    if (!b || !b->tries)
        return;
    struct span model = e->targets[b->target].model;
    for (size_t i = 0; i < model.n; i++) {
        if ((unsigned char)model.p[i] < 0x20 || (unsigned char)model.p[i] >= 0x7F)
            model.n = 0;
    }
    char digits[24];
    struct buffer tries = {.p = digits, .cap = sizeof digits, .limit = sizeof digits};
    buffer_int(&tries, most_tries(e));
    const struct span pieces[] = {branch_site(b)->settings.name, SPAN("/"), span_first(model, 200),
                                  SPAN("; tries="), buffer_span(&tries)};
    struct span route = arena_join(&e->arena, pieces, sizeof pieces / sizeof *pieces);
    if (route.p)
        reply_header(h, "x-dragoman-route", route);
}

/* What every answer of the exchange carries; `text` lives as long as the headers. */
static void begin_headers(struct exchange *e, struct reply_headers *h, struct limit_headers *text)
{
    static const char *const requests[3] = {"x-ratelimit-limit-requests",
                                            "x-ratelimit-remaining-requests",
                                            "x-ratelimit-reset-requests"};
    static const char *const tokens[3] = {
        "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"};
    reply_headers_common(h, e->http, e->request_id, e->api->dialect);
    route_header(e, h);
    if (!e->limited)
        return;
    struct key_time now = engine_key_time(e->engine);
    limit_header(h, text, 0, requests, limited_key_requests(e->limited, now));
    limit_header(h, text, 1, tokens, limited_key_tokens(e->limited, now.wall_ms));
}

static void send_stream_head(struct exchange *e)
{
    struct reply_headers h;
    struct limit_headers text;
    if (e->head_sent)
        return;
    begin_headers(e, &h, &text);
    if (e->api->relays) {
        struct span type = e->answer ? e->answer->content_type : SPAN("");
        reply_header(&h, "Content-Type", type.n ? type : SPAN("application/octet-stream"));
    } else {
        reply_lines(&h, SPAN("Content-Type: text/event-stream; charset=utf-8\r\n"
                             "Cache-Control: no-cache, no-transform\r\n"
                             "X-Accel-Buffering: no\r\n"));
    }
    http_answer_start(e->http, 200, h.list, h.n, -1);
    e->head_sent = true;
    e->status = 200;
}

void exchange_flush(struct exchange *e)
{
    struct buffer *out = &e->engine->out;
    struct http_exchange *http = e->http;
    bool nested = e->advancing;
    e->advancing = true; /* the client may turn out to be gone inside the write */
    if (out->n && http) {
        send_stream_head(e);
        e->last_write_ms = exchange_now_ms(e);
        exchange_note_body(e, first_branch(e), "to client", buffer_span(out));
        size_t queued = http_answer_write(http, buffer_span(out));
        if (e->http && queued > HTTP_HIGH_WATER) { /* a slow client pauses the site's socket */
            e->drained_out = false;
            for (size_t i = 0; i < e->n_branches; i++)
                branch_pause(&e->branches[i]);
        }
    }
    buffer_shrink(out, OUT_KEEP);
    buffer_shrink(&e->engine->scratch, OUT_KEEP);
    e->advancing = nested;
}

int exchange_fail_writing(const struct exchange *e, struct fail *fail)
{
    if (!e->answer || !e->answer->full || pieces_go_out(e))
        return fail_memory(fail);
    return fail_param(fail, FAIL_UNSUPPORTED, "stream",
                      "the answer is larger than %d MiB; ask for it with \"stream\": true",
                      ANSWER_LIMIT / 1024 / 1024);
}

/* ---- the steps ---- */

static enum exchange_step refuse(struct exchange *e)
{
    e->end = END_REFUSED;
    return STEP_FINISH;
}

static enum exchange_step step_limit(struct exchange *e)
{
    if (!e->grant.key)
        return STEP_RECALL;
    struct fail fail;
    if (key_limits_begin(e->engine->limits, e->grant.key->name, engine_key_time(e->engine),
                         &e->limited, &fail)) {
        *fail_of(e) = fail;
        return refuse(e);
    }
    e->holds_place = e->limited != NULL;
    return STEP_RECALL;
}

static struct span header_of(const void *http, const char *name)
{
    return http_exchange_header(http, name);
}

struct api_request exchange_request(struct exchange *e)
{
    struct span body = http_exchange_body(e->http);
    struct span target = e->parked ? SPAN("") : http_exchange_target(e->http);
    ptrdiff_t query = span_find_char(target, '?');
    struct api_request request = {
        .body = (char *)body.p,
        .n = body.n,
        .type = e->api->relays ? http_exchange_header(e->http, "content-type") : SPAN(""),
        .path = span_str(e->path),
        .query = query < 0 ? SPAN("") : span_from(target, (size_t)query + 1),
        .header = header_of,
        .header_owner = e->http,
    };
    if (e->state) {
        request.found = e->state->found;
        request.n_found = e->state->n_found;
        request.deleted = e->state->deleted;
    }
    return request;
}

static enum exchange_step step_recall(struct exchange *e)
{
    return e->api->state ? exchange_recall(e) : STEP_ADMIT;
}

static int parse_body(struct exchange *e, struct fail *fail)
{
    struct api_request request = exchange_request(e);
    size_t largest = request.n;
    for (size_t i = 0; i < request.n_found; i++)
        largest = request.found[i].body.n > largest ? request.found[i].body.n : largest;
    struct json_parser *own =
        largest > LARGE_BODY ? json_parser_create(largest + BODY_GROWTH) : NULL;
    if (!arena_reserve_spare(&e->parsed, SMALL_TURN, &e->engine->spare_arenas[SPARE_TURN]))
        e->prompts = arena_alloc(&e->parsed, sizeof *e->prompts);
    int bad = !e->prompts ? fail_memory(fail)
                          : e->api->parse(&request, own ? own : e->engine->json, &e->parsed,
                                          e->prompts, fail);
    if (own)
        json_parser_destroy(own);
    return bad;
}

uint64_t exchange_group(const struct exchange *e)
{
    return span_hash(SPAN_HASH, e->grant.key ? e->grant.key->name : SPAN(""));
}

/* Goes on from `h` over a text that may be long, eight bytes at a time. */
static uint64_t hash_long(uint64_t h, struct span text)
{
    const uint64_t prime = UINT64_C(0x9E3779B97F4A7C15);
    for (uint64_t word; text.n >= sizeof word; text = span_from(text, sizeof word)) {
        memcpy(&word, text.p, sizeof word);
        h = (h ^ word) * prime;
        h ^= h >> 32;
    }
    return span_hash(h, text);
}

/* The first words of the person, and whose key it is: they stay the same from turn to turn. */
static void name_conversation(struct exchange *e)
{
    enum { ENOUGH = 4096 };
    assert(e->prompts); /* just made */
    const struct turn *turn = e->prompts->turns;
    uint64_t h = exchange_group(e);
    for (size_t i = 0; i < turn->n_messages; i++) {
        const struct message *m = &turn->messages[i];
        if (m->role != ROLE_USER)
            continue;
        for (size_t k = 0; k < m->n_parts; k++)
            h = hash_long(h, span_first(m->parts[k].text, ENOUGH));
        e->conversation = h;
        return;
    }
}

static enum exchange_step step_admit(struct exchange *e)
{
    if (e->api->state && e->api->state->answer)
        return exchange_answer_stored(e);
    struct fail fail;
    exchange_note_body(e, NULL, "from client", http_exchange_body(e->http));
    bool bad = parse_body(e, &fail);
    http_exchange_drop_head(e->http);
    if (e->prompts &&
        e->prompts->n) { /* also of a refused request: for the log, when the body is gone */
        e->model = arena_text(&e->arena, e->prompts->turns->model);
        e->stream = e->prompts->turns->stream;
    }
    if (bad) {
        *fail_of(e) = fail;
        return refuse(e);
    }
    if (!e->model.p) {
        fail_memory(fail_of(e));
        return refuse(e);
    }
    if (!key_allows_model(e->grant.key, e->model)) {
        fail_param(fail_of(e), FAIL_MODEL_DENIED, "model",
                   "the key \"%.*s\" may not use the model \"%.*s\"", SPAN_ARGS(e->grant.key->name),
                   SPAN_ARGS(span_first(e->model, 80)));
        return refuse(e);
    }
    name_conversation(e);
    return STEP_RESOLVE;
}

bool exchange_opens(const struct exchange *e, size_t target)
{
    return access_opens_site(&e->grant, e->targets[target].site);
}

/* Does every target that may be asked give several choices at once? */
static bool sites_have_n(const struct exchange *e)
{
    for (size_t i = 0; i < e->n_targets; i++) {
        if (exchange_opens(e, i) && !(e->targets[i].site->adapter->capabilities & CAP_N))
            return false;
    }
    return true;
}

static int refuse_runs(struct exchange *e)
{
    return fail_param(
        fail_of(e), FAIL_TOO_LARGE, "n",
        "%d choices are as many requests to the site, and with so large a prompt they are "
        "too much; ask for fewer at a time",
        e->prompts->turns->n);
}

/* A branch for each turn, or for each choice of each turn. */
static int make_branches(struct exchange *e)
{
    const struct prompts *p = e->prompts;
    int wanted = p->turns->n;
    bool split = wanted > 1 && !sites_have_n(e);
    size_t bytes = 0;
    for (size_t i = 0; i < p->n; i++)
        bytes += p->turns[i].raw.n;
    if (split && bytes > RUNS_BODY_MAX / (size_t)wanted)
        return refuse_runs(e);
    /* Room for a run more for each choice: a site may give fewer than it was asked for. */
    e->branches = arena_alloc(&e->arena, p->n * (size_t)wanted * sizeof *e->branches);
    if (!e->branches)
        return fail_memory(fail_of(e));
    for (size_t i = 0; i < p->n; i++) {
        const struct turn *turn = &p->turns[i];
        int first = (int)i * wanted;
        if (split) {
            turn = turn_with_one_choice(&e->arena, turn);
            if (!turn)
                return fail_memory(fail_of(e));
        }
        for (int k = 0; k < (split ? wanted : 1); k++)
            branch_init(&e->branches[e->n_branches++], e, turn, first + k, split ? 1 : wanted);
    }
    return 0;
}

static void drop_turns(struct exchange *e)
{
    e->prompts = NULL;
    e->target_turns = NULL;
    e->emulated_turns = NULL;
    e->structured_turns = NULL;
    e->branches->asked = e->branches->turn = NULL;
    arena_free_spare(&e->parsed, e->engine->spare_arenas, SPARE_ARENAS);
}

void exchange_park(struct exchange *e)
{
    if (e->parked || e->answer || e->pictures || !e->api->parses_again || e->n_branches != 1 ||
        e->prompts->n != 1 || http_exchange_body(e->http).n > PARKED_BODY_MAX)
        return;
    e->parked = true;
    drop_turns(e);
    http_exchange_pack_body(e->http);
}

/* A stream that has begun may last long, and its prompt may be: what nobody looks at any more goes
 * with the first piece of the answer. */
static void drop_answered(struct exchange *e)
{
    if (!e->stream || !e->http || e->api->state || e->api->writes_with_turns || e->pictures ||
        e->n_branches != 1 || e->prompts->turns->n != 1 || !branch_is_done_with_turn(e->branches))
        return;
    branch_forget_turn(e->branches);
    drop_turns(e);
    http_exchange_drop_body(e->http);
}

int exchange_unpark(struct exchange *e)
{
    struct fail fail;
    if (!e->parked)
        return 0;
    if (http_exchange_unpack_body(e->http))
        return -1;
    if (parse_body(e, &fail)) {
        assert(fail.kind == FAIL_MEMORY); /* it was understood before */
        arena_free(&e->parsed);
        e->prompts = NULL;
        return -1;
    }
    e->parked = false;
    e->branches->asked = e->prompts->turns;
    return 0;
}

void exchange_note_first_delta(struct exchange *e)
{
    if (!e->first_delta_ms && is_committed(e)) {
        e->first_delta_ms = exchange_now_ms(e);
        exchange_arm_timer(e);
        drop_answered(e);
    }
}

int exchange_begin_answer(struct exchange *e)
{
    if (e->answer)
        return 0;
    if (exchange_unpark(e))
        return -1;
    const struct span id[] = {span_str(e->api->id_prefix), span_str(e->request_id + 4)};
    struct answer_meta meta = {
        .id = arena_join(&e->arena, id, 2),
        .model = e->model,
        .request_id = span_str(e->request_id),
        .created = engine_wall_ms(e->engine) / 1000,
        .include_usage = e->prompts->turns->include_usage,
    };
    if (!meta.id.p)
        return -1;
    struct answer_writer *w =
        pieces_go_out(e) ? e->api->stream_writer(&e->arena, &meta, e->prompts, &e->engine->out)
                         : e->api->whole_writer(&e->parsed, &meta, e->prompts);
    if (!w)
        return -1;
    struct answer *answer = arena_alloc(&e->arena, sizeof *answer);
    if (!answer) {
        w->ops->destroy(w);
        return -1;
    }
    answer_init(answer, w, &e->arena, &e->engine->tokens, meta.id);
    e->answer = answer;
    return 0;
}

static void on_wake(struct waiter *w)
{
    exchange_go_on(
        ((struct list_wait *)((char *)w - offsetof(struct list_wait, waiter)))->exchange);
}

/* A visitor's key opens the sites that take it; one of ours may be tied to some accounts. */
static enum exchange_step refuse_sites(struct exchange *e)
{
    struct span model = span_first(e->model, 80);
    if (e->grant.only_passthrough)
        fail_set(fail_of(e), FAIL_WRONG_KEY,
                 "this API key is not one of the gateway's keys ([[keys]] in gateway.toml), and "
                 "\"%.*s\" is not served with a key of your own",
                 SPAN_ARGS(model));
    else
        fail_param(fail_of(e), FAIL_MODEL_DENIED, "model",
                   "none of the accounts that the key \"%.*s\" is tied to (\"accounts\" in "
                   "gateway.toml) serves the model \"%.*s\"",
                   SPAN_ARGS(span_first(e->grant.key->name, 60)), SPAN_ARGS(model));
    return refuse(e);
}

static enum exchange_step wait_for_lists(struct exchange *e)
{
    e->list_wait = arena_alloc(&e->arena, sizeof *e->list_wait);
    if (!e->list_wait) {
        fail_memory(fail_of(e));
        e->end = END_FAILED;
        return STEP_FINISH;
    }
    e->list_wait->waiter.wake = on_wake;
    e->list_wait->exchange = e;
    catalogue_wait(e->engine->catalogue, &e->list_wait->waiter);
    return STEP_WAIT;
}

static enum exchange_step step_resolve(struct exchange *e)
{
    size_t open = 0, n_targets = 0;
    struct fail fail;
    const struct resolve_wish wish = {
        .id = e->model, .may_wait = !e->list_wait, .turn_for = &e->grant, .grant = &e->grant};
    enum resolve_result r = catalogue_resolve(e->engine->catalogue, e->config, &wish, &e->arena,
                                              &e->targets, &n_targets, &fail);
    if (r == RESOLVE_UNKNOWN) {
        *fail_of(e) = fail;
        return refuse(e);
    }
    if (r == RESOLVE_WAIT)
        return wait_for_lists(e);
    e->n_targets = (uint16_t)(n_targets < UINT16_MAX ? n_targets : UINT16_MAX);
    while (open < e->n_targets && !exchange_opens(e, open))
        open++;
    if (open == e->n_targets)
        return refuse_sites(e);
    if (make_branches(e)) {
        e->end = fail_kind_of(e) == FAIL_TOO_LARGE ? END_REFUSED : END_FAILED;
        return STEP_FINISH;
    }
    return STEP_RUN;
}

/* The first failure ends the answer: the other branches' work would be thrown away with it. */
static enum exchange_step fail_with(struct exchange *e, const struct branch *b)
{
    e->fail = b->fail;
    enum fail_kind kind = fail_kind_of(e);
    if (is_committed(e))
        e->end = END_BROKEN;
    else if (kind == FAIL_UNSUPPORTED || kind == FAIL_INVALID_VALUE || kind == FAIL_UNKNOWN_URL)
        e->end = END_REFUSED;
    else
        e->end = END_FAILED;
    for (size_t i = 0; i < e->n_branches; i++)
        branch_cancel(&e->branches[i]);
    return STEP_FINISH;
}

/* Choices that a site was asked for and did not give (some ignore `n`) are asked for one by one
 * (Q12). How many there are, or -1 with fail. */
static int ask_for_missing(struct exchange *e)
{
    int wanted = e->prompts->turns->n, missing = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < e->prompts->n && !e->api->relays; i++) {
        const struct turn *one = NULL;
        for (int k = (int)i * wanted; k < (int)(i + 1) * wanted; k++) {
            if (answer_has_choice(e->answer, k))
                continue;
            one = one ? one : turn_with_one_choice(&e->arena, &e->prompts->turns[i]);
            if (!one)
                return fail_memory(fail_of(e));
            bytes += one->raw.n;
            if (bytes > RUNS_BODY_MAX)
                return refuse_runs(e);
            branch_init(&e->branches[e->n_branches++], e, one, k, 1);
            missing++;
        }
    }
    return missing;
}

/* How do the branches stand? STEP_WAIT: some are at work; STEP_RUN: some are to begin. */
static enum exchange_step look_at_branches(struct exchange *e)
{
    size_t over = 0;
    for (size_t i = 0; i < e->n_branches; i++) {
        const struct branch *b = &e->branches[i];
        if (b->step != BRANCH_OVER)
            continue;
        if (!b->complete)
            return fail_with(e, b);
        over++;
    }
    if (over < e->n_branches)
        return STEP_WAIT;
    int missing = e->prompts && e->prompts->turns->n > 1 ? ask_for_missing(e) : 0;
    if (missing > 0)
        return STEP_RUN;
    e->end = missing ? END_FAILED : END_COMPLETE;
    return STEP_FINISH;
}

/* The accounts of those that are over are free for the others, whose time in a queue begins again:
 * they need not fear for it while their own exchange moves on. False when there were none. */
static bool let_go(struct exchange *e)
{
    bool any = false;
    for (size_t i = 0; i < e->n_branches && e->step == STEP_RUN; i++) {
        if (e->branches[i].step != BRANCH_OVER || !e->branches[i].account)
            continue;
        any = true;
        for (size_t k = 0; k < e->n_branches; k++)
            branch_wait_anew(&e->branches[k]);
        branch_release(&e->branches[i]);
    }
    return any;
}

static void start_branches(struct exchange *e)
{
    for (size_t i = 0; i < e->n_branches && e->step == STEP_RUN; i++) {
        if (!e->branches[i].started)
            branch_start(&e->branches[i]);
    }
}

static enum exchange_step step_run(struct exchange *e)
{
    start_branches(e);
    exchange_arm_timer(e); /* for the silence before the first piece */
    while (e->step == STEP_RUN) {
        enum exchange_step next = look_at_branches(e);
        if (next == STEP_FINISH)
            return e->end == END_COMPLETE && e->api->state ? STEP_KEEP : next;
        exchange_flush(e);      /* others are woken: the shared buffer must be empty */
        bool moved = let_go(e); /* that may have brought others to an end */
        start_branches(e);
        if (!moved && next == STEP_WAIT)
            break;
    }
    return e->step == STEP_RUN ? STEP_WAIT : STEP_FINISH;
}

static enum exchange_step step_keep(struct exchange *e) { return exchange_keep(e); }

/* ---- the end ---- */

/* A limit's answer tells when the first account of any target is ready again, and where, in words
 * too: many apps show the message and hide the headers. */
static void settle_retry_after(struct exchange *e)
{
    const struct site_config *first = NULL;
    uint64_t earliest = UINT64_MAX;
    if (fail_kind_of(e) != FAIL_RATE_LIMITED)
        return;
    for (size_t i = 0; i < e->n_targets; i++) {
        uint64_t at = account_pool_earliest(e->engine->accounts, e->targets[i].site, e->grant.key,
                                            e->targets[i].model, exchange_now_ms(e));
        if (at < earliest) {
            earliest = at;
            first = e->targets[i].site;
        }
    }
    if (first)
        e->fail->retry_after_s = clock_seconds_until(earliest, exchange_now_ms(e));
    if (e->fail->retry_after_s <= 0)
        return;
    if (first && e->n_targets > 1) /* the sentence may be about another one */
        fail_add(e->fail, "; %.*s is ready again in %d s",
                 SPAN_ARGS(span_first(first->settings.name, 60)), e->fail->retry_after_s);
    else
        fail_add(e->fail, "; ready again in %d s", e->fail->retry_after_s);
}

/* Before the last piece: afterwards the client side cannot be asked any more. */
static void count_bytes(struct exchange *e, size_t last)
{
    e->bytes_out = http_exchange_bytes_out(e->http) + last;
}

/* What is in the shared buffer, and the stream's end. */
static void end_stream(struct exchange *e)
{
    struct span last = buffer_span(&e->engine->out);
    exchange_note_body(e, first_branch(e), "to client", last);
    count_bytes(e, last.n);
    http_answer_end(e->http, last);
}

static void answer_whole(struct exchange *e, const struct reply_headers *h, int status,
                         struct span body)
{
    e->status = (uint16_t)status;
    exchange_note_body(e, first_branch(e), "to client", body);
    count_bytes(e, body.n);
    http_answer_whole(e->http, status, h->list, h->n, body);
}

static void cut_stream(struct exchange *e)
{
    count_bytes(e, 0);
    http_answer_abort(e->http);
}

/* After memory was short: what is whole still goes out, half an event does not, and there is room
 * for what is to be said of it. */
static void keep_whole_events(struct buffer *out)
{
    while (out->n && !span_ends(buffer_span(out), SPAN("\n\n")))
        out->n--;
    out->error = BUFFER_OK;
}

static void answer_failure_in_stream(struct exchange *e)
{
    struct buffer *out = &e->engine->out;
    /* A relay's body has the site's own shape: it can be cut, not explained. Who has waited for an
     * account only has no answer yet to explain it in. */
    if (e->api->relays || exchange_begin_answer(e)) {
        cut_stream(e);
        return;
    }
    if (out->error)
        keep_whole_events(out);
    size_t before = out->n;
    answer_error(e->answer, fail_of(e));
    if (out->error || out->n == before) /* an end without a word would look like a good one */
        cut_stream(e);
    else
        end_stream(e);
}

static void answer_failure(struct exchange *e)
{
    enum dialect dialect = e->api->dialect;
    struct reply_headers h;
    struct limit_headers text;
    struct buffer body, partial;
    buffer_init(&body, ANSWER_LIMIT * 2ull);
    buffer_init(&partial, ANSWER_LIMIT * 2ull);
    if (e->answer) /* a half-received answer is delivered, and marked by the error beside it */
        answer_partial(e->answer, &partial);
    error_body(
        &body, dialect, fail_of(e),
        &(struct error_context){.request_id = span_str(e->request_id),
                                .partial = partial.error ? span_of("", 0) : buffer_span(&partial)});
    begin_headers(e, &h, &text);
    reply_header(&h, "Content-Type", SPAN("application/json"));
    reply_headers_failure(&h, fail_of(e), most_tries(e) > 1);
    int status = error_status(dialect, fail_kind_of(e));
    struct span words = error_last_words(&body, &status);
    http_exchange_set_reason(e->http, error_row(fail_kind_of(e))->reason);
    answer_whole(e, &h, status, words);
    buffer_free(&body);
    buffer_free(&partial);
}

/* What the answer cost the key, also when it was not heard to its end: else leaving in time would
 * be for nothing. Before the last piece, so that the next request meets it. */
static void count_tokens(struct exchange *e)
{
    if (e->limited && is_committed(e))
        limited_key_count_tokens(e->limited, answer_tokens(e->answer), engine_wall_ms(e->engine));
}

static void send_whole(struct exchange *e, struct span body)
{
    struct reply_headers h;
    struct limit_headers text;
    begin_headers(e, &h, &text);
    reply_lines(&h, SPAN("Content-Type: application/json\r\n"));
    answer_whole(e, &h, 200, body);
}

/* A whole answer is put together in the shared buffer, too: it is empty but while something is on
 * its way out. */
static void answer_success(struct exchange *e)
{
    struct buffer *out = &e->engine->out;
    if (e->state && e->state->answer.p) {
        send_whole(e, e->state->answer);
        return;
    }
    assert(out->n == 0 || pieces_go_out(e));
    int bad = answer_end(e->answer, out);
    count_tokens(e);
    if (bad) {
        exchange_fail_writing(e, fail_of(e));
        e->end = e->head_sent ? END_BROKEN : END_FAILED;
        buffer_clear(out);
        if (e->head_sent)
            answer_failure_in_stream(e);
        else
            answer_failure(e);
    } else if (pieces_go_out(e)) {
        send_stream_head(e);
        end_stream(e);
    } else {
        send_whole(e, buffer_span(out));
    }
}

static void log_tokens(struct log_record *r, const struct answer *a)
{
    log_record_int(r, "tokens_in", a->usage.prompt);
    log_record_text(r, "tokens_in_source", span_str(count_origin_name(a->prompt_origin)));
    log_record_int(r, "tokens_out", a->usage.completion);
    log_record_text(r, "tokens_out_source", span_str(count_origin_name(a->completion_origin)));
}

static void log_access(struct exchange *e)
{
    struct log_record r;
    char client[46];
    const struct branch *b = first_branch(e);
    uint64_t now = exchange_now_ms(e);
    int drifts = 0;
    if (!log_enabled(LOG_INFO))
        return;
    log_record_begin(&r, LOG_INFO, e->api->name);
    log_record_text(&r, "id", span_str(e->request_id));
    log_record_text(&r, "client", span_str(ip_format(&e->client, client)));
    if (e->grant.key)
        log_record_text(&r, "key", e->grant.key->name);
    log_record_text(&r, "model", span_first(e->model, 128));
    if (b) {
        log_record_text(&r, "site", branch_site(b)->settings.name);
        if (b->work && b->work->account_name.n)
            log_record_text(&r, "account", b->work->account_name);
    }
    if (e->n_branches > 1)
        log_record_int(&r, "runs", (int64_t)e->n_branches);
    log_record_int(&r, "status", e->status);
    log_record_text(&r, "end", span_str(end_state_names[e->end]));
    if (e->end != END_COMPLETE && fail_kind_of(e) != FAIL_NONE)
        log_record_text(&r, "error", span_str(fail_kind_name(fail_kind_of(e))));
    if (b && b->site_status)
        log_record_int(&r, "site_status", b->site_status);
    if (e->first_delta_ms)
        log_record_int(&r, "first_ms", (int64_t)(e->first_delta_ms - e->started_ms));
    log_record_int(&r, "ms", (int64_t)(now - e->started_ms));
    if (e->n_branches)
        log_record_int(&r, "deltas", e->answer ? (int64_t)e->answer->deltas : 0);
    log_record_int(&r, "bytes", (int64_t)e->bytes_out);
    if (e->end == END_COMPLETE && e->answer && !e->api->relays)
        log_tokens(&r, e->answer);
    if (most_tries(e) > 1)
        log_record_int(&r, "tries", most_tries(e));
    branch_log_continued(&r, e->branches, e->n_branches);
    branch_log_again(&r, e->branches, e->n_branches);
    branch_log_structure(&r, e->branches, e->n_branches);
    for (size_t i = 0; i < e->n_branches; i++)
        drifts += e->branches[i].drifts;
    if (drifts)
        log_record_int(&r, "drift", drifts);
    log_record_end(&r);
}

static void count_request(const struct exchange *e, size_t bytes_in)
{
    const struct branch *b = first_branch(e);
    const bool tells_tokens = e->end == END_COMPLETE && e->answer && !e->api->relays;
    engine_count_request(
        e->engine,
        &(struct metrics_request){
            .site = b ? branch_site(b)->settings.name : SPAN(""),
            .model = b ? e->model : SPAN(""),
            .key = e->grant.key ? e->grant.key->name : SPAN(""),
            .api = e->api->name,
            .end = end_state_names[e->end],
            .ms = (int64_t)(exchange_now_ms(e) - e->started_ms),
            .first_ms = e->first_delta_ms ? (int64_t)(e->first_delta_ms - e->started_ms) : -1,
            .deltas = e->answer ? e->answer->deltas : 0,
            .bytes_in = bytes_in,
            .bytes_out = e->bytes_out,
            .tokens_in = tells_tokens ? e->answer->usage.prompt : 0,
            .tokens_out = tells_tokens ? e->answer->usage.completion : 0,
            .continuations = branch_times_continued(e->branches, e->n_branches),
        });
}

static void answer_client(struct exchange *e)
{
    /* From here on nobody needs to tell us that the client left. */
    http_exchange_set_user(e->http, NULL);
    if (e->end == END_COMPLETE) {
        answer_success(e);
    } else {
        settle_retry_after(e);
        if (e->head_sent || (e->stream && is_committed(e))) {
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

/* Before the last piece: the client may ask again as soon as it has it. */
static void leave_place(struct exchange *e)
{
    if (e->holds_place)
        limited_key_end(e->limited);
    e->holds_place = false;
}

static enum exchange_step step_finish(struct exchange *e)
{
    assert(e->end != END_STATE_OPEN);
    size_t bytes_in = e->http ? http_exchange_body_size(e->http) : 0;
    leave_place(e);
    exchange_cancel_pictures(e);
    if (e->end != END_COMPLETE)
        count_tokens(e);
    if (e->http)
        answer_client(e);
    buffer_shrink(&e->engine->out, OUT_KEEP);
    deadlines_set(&e->engine->deadlines, &e->deadline, DEADLINE_NEVER);
    log_access(e);
    count_request(e, bytes_in);
    for (size_t i = 0; i < e->n_branches; i++)
        branch_release(&e->branches[i]);
    if (e->tidies) {
        deadlines_set(&e->engine->deadlines, &e->deadline, exchange_now_ms(e) + TIDY_MS);
        engine_wind_clock(e->engine);
    }
    return STEP_TIDY;
}

static enum exchange_step step_tidy(struct exchange *e)
{
    return e->tidies ? STEP_WAIT : STEP_OVER;
}

/* ---- the machine ---- */

static enum exchange_step (*const steps[])(struct exchange *) = {
#define X(name, function, text) [STEP_##name] = step_##function,
    EXCHANGE_STEPS(X)
#undef X
};

void exchange_free_over(struct engine *engine)
{
    if (engine->over) /* its texts may have been large; nobody is in the middle of one here */
        json_parser_shrink(engine->json, OUT_KEEP);
    while (engine->over) {
        struct exchange *e = engine->over;
        engine->over = e->next;
        exchange_free_pictures(e);
        arena_free_spare(&e->parsed, engine->spare_arenas, SPARE_ARENAS);
        arena_free_spare(&e->arena, engine->spare_arenas, SPARE_ARENAS);
        e->magic = 0;
        spare_give(&engine->spare_exchanges, e);
    }
}

/* The memory goes later: a branch's callback may be on its way back. */
static void exchange_destroy(struct exchange *e)
{
    struct engine *engine = e->engine;
    assert(!e->http && !(e->list_wait && e->list_wait->waiter.queue) && !e->tidies);
    if (e->prev)
        e->prev->next = e->next;
    else
        engine->exchanges = e->next;
    if (e->next)
        e->next->prev = e->prev;
    engine_count_active(engine, -1);
    if (e->answer)
        answer_free(e->answer);
    if (e->state)
        response_call_free(e->state->call);
    if (e->limited)
        limited_key_unref(e->limited);
    config_unref(e->config);
    deadlines_leave(&engine->deadlines, &e->deadline);
    e->next = engine->over;
    engine->over = e;
    engine_wind_clock(engine);
}

void exchange_go_on(struct exchange *e)
{
    assert(e->magic == EXCHANGE_MAGIC);
    if (e->advancing) /* something finished inside a step: the loop below goes on with it */
        return;
    if (e->step == STEP_OVER) /* another branch brought it here: this one is on its way back */
        return;
    e->advancing = true;
    while (e->step != STEP_OVER) {
        enum exchange_step next = steps[e->step](e);
        if (next == STEP_WAIT)
            break;
        e->step = (int8_t)next;
    }
    e->advancing = false;
    if (e->step == STEP_OVER)
        exchange_destroy(e);
}

/* ---- clocks ---- */

/* The earliest thing that waits for time; UINT64_MAX when nothing does. */
static uint64_t next_deadline(const struct exchange *e)
{
    uint64_t at = exchange_pictures_deadline(e);
    if (e->stream && e->http && e->step < STEP_FINISH)
        at = at < e->last_write_ms + SILENCE_MS ? at : e->last_write_ms + SILENCE_MS;
    for (size_t i = 0; i < e->n_branches; i++) {
        uint64_t branch = branch_deadline(&e->branches[i]);
        if (branch < at)
            at = branch;
    }
    return at;
}

static void break_silence(struct exchange *e)
{
    assert(e->engine->out.n == 0);
    const struct branch *first = first_branch(e);
    if (first && branch_is_queued(first))
        buffer_printf(&e->engine->out, ": queued %zu\n\n", branch_ahead(first) + 1);
    else if (!e->head_sent && e->answer)
        answer_role(e->answer);
    else
        chunk_emitter_keep_alive(&e->engine->out);
    exchange_flush(e);
}

static void ring(struct exchange *e, uint64_t now)
{
    exchange_pictures_clock(e, now); /* before a head goes out: its failure is a true status */
    if (e->step < STEP_FINISH && e->stream && e->http && now >= e->last_write_ms + SILENCE_MS)
        break_silence(e);
    for (size_t i = 0; i < e->n_branches && e->step < STEP_FINISH; i++)
        branch_wake_up(&e->branches[i], now);
    if (e->step == STEP_TIDY) {
        branches_stop_tidying(e);
        return;
    }
    if (e->step == STEP_FINISH) /* the client was found to be gone */
        exchange_go_on(e);
    if (e->step < STEP_FINISH)
        exchange_arm_timer(e);
}

/* Each at most once: what one sets anew for this very moment waits for the loop's next turn. */
void exchange_clock(struct engine *engine)
{
    uint64_t now = uv_now(engine->loop);
    for (size_t n = engine->deadlines.n; n; n--) {
        struct deadline *due = deadlines_take(&engine->deadlines, now);
        if (!due)
            break;
        ring((struct exchange *)((char *)due - offsetof(struct exchange, deadline)), now);
    }
    exchange_free_over(engine);
    engine_wind_clock(engine);
}

/* Lazily: a write only moves last_write_ms; it is found out when the time has come. */
void exchange_arm_timer(struct exchange *e)
{
    struct engine *engine = e->engine;
    uint64_t at = next_deadline(e);
    if (at >= deadline_at(&engine->deadlines, &e->deadline)) /* or it waits for nothing */
        return;
    deadlines_set(&engine->deadlines, &e->deadline, at);
    engine_wind_clock(engine);
}

/* ---- from outside ---- */

/* Ends what is under way; the answer says why. */
static void stop(struct exchange *e, enum end_state end)
{
    e->end = (uint8_t)end;
    if (e->list_wait)
        catalogue_leave(e->engine->catalogue, &e->list_wait->waiter);
    for (size_t i = 0; i < e->n_branches; i++)
        branch_cancel(&e->branches[i]);
    e->step = STEP_FINISH;
    exchange_go_on(e);
}

void exchange_wake_branches(struct exchange *e)
{
    for (size_t i = 0; i < e->n_branches && e->step < STEP_FINISH; i++)
        branch_go_on(&e->branches[i]);
}

static void on_gone(struct client_work *work)
{
    struct exchange *e = (struct exchange *)work;
    assert(e->magic == EXCHANGE_MAGIC);
    e->bytes_out = http_exchange_bytes_out(e->http);
    e->http = NULL;
    buffer_clear(&e->engine->out);
    if (e->step < STEP_FINISH)
        stop(e, END_CANCELLED);
}

static void on_drained(struct client_work *work)
{
    struct exchange *e = (struct exchange *)work;
    assert(e->magic == EXCHANGE_MAGIC);
    e->drained_out = true;
    for (size_t i = 0; i < e->n_branches && e->step < STEP_FINISH && e->drained_out; i++)
        branch_resume(&e->branches[i]);
}

static const struct client_work_ops client_ops = {.gone = on_gone, .drained = on_drained};

void exchange_start(struct engine *engine, struct http_exchange *http,
                    const struct access_grant *grant, const struct api *api, struct span path)
{
    struct exchange *e = spare_take(&engine->spare_exchanges);
    struct arena arena;
    arena_init(&arena);
    struct span visitor_key = grant->visitor_key;
    if (visitor_key.n)
        visitor_key = arena_dup(&arena, visitor_key);
    if (api->state) /* names what was stored; the others' are constants */
        path = arena_dup(&arena, path);
    if (!e || !path.p || (grant->visitor_key.n && !visitor_key.p) ||
        arena_reserve_spare(&arena, SMALL_CHAT, &engine->spare_arenas[SPARE_CHAT]) ||
        deadlines_join(&engine->deadlines)) {
        struct fail fail;
        fail_memory(&fail);
        reply_fail(http, "req_none", api->dialect, &fail);
        arena_free(&arena);
        free(e);
        return;
    }
    *e = (struct exchange){
        .work.ops = &client_ops,
        .magic = EXCHANGE_MAGIC,
        .engine = engine,
        .api = api,
        .path = path.p,
        .http = http,
        .config = config_ref(http_exchange_config(http)),
        .grant = *grant,
        .arena = arena,
        .drained_out = true,
        .started_ms = http_exchange_started_ms(http),
        .client = *http_exchange_peer(http),
    };
    e->grant.visitor_key = visitor_key;
    e->last_write_ms = exchange_now_ms(e);
    request_id_make(e->request_id);
    arena_init(&e->parsed);

    e->next = engine->exchanges;
    if (e->next)
        e->next->prev = e;
    engine->exchanges = e;
    engine_count_active(engine, 1);
    http_exchange_set_user(http, &e->work);
    exchange_go_on(e);
    /* e may be over and freed by now */
}

void exchange_abandon(struct exchange *e)
{
    assert(e->magic == EXCHANGE_MAGIC);
    if (e->step == STEP_TIDY)
        branches_stop_tidying(e);
    if (e->step >= STEP_FINISH)
        return;
    fail_set(fail_of(e), FAIL_SERVER_BUSY,
             "dragoman is shutting down; the answer could not be finished");
    fail_of(e)->retry_after_s = 5;
    stop(e, END_FAILED);
}

void exchange_init_spares(struct engine *engine)
{
    engine->spare_exchanges = (struct spare){.size = sizeof(struct exchange)};
}

void exchange_free_spares(struct engine *engine)
{
    spare_empty(&engine->spare_exchanges);
    for (int i = 0; i < SPARE_ARENAS; i++)
        spare_empty(&engine->spare_arenas[i]);
}

struct exchange *exchange_next(struct exchange *e) { return e->next; }
