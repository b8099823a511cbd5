/*
 * gateway/replay.c - see replay.h. Plays the engine's part without a socket: asks next, hands back
 * head, frames and end. What the recording has is in replay_setup.c.
 */
#include "gateway/replay.h"

#include <stdlib.h>

#include "base/json_write.h"
#include "gateway/chat_request.h"
#include "gateway/replay_setup.h"
#include "gateway/replay_tools.h"
#include "sse/frame_decoder.h"
#include "sse/text_guard.h"

enum {
    TEXT_MAX = 64 << 20,
    ASKS_MAX = 64, /* as in the engine: requests of one run */
    CHOICES = 8,
    TOOLS = 16,
    CHANNELS = 3 + TOOLS, /* text, reasoning, refusal, the arguments of each tool call */
    DRIFT_MAX = 64,
    EVERY_SPLIT_MAX = 64 * 1024 /* bytes: it costs their square */
};

struct channel {
    struct text_guard guard;
    struct buffer text;
};

struct player {
    const struct replay_setup *setup;
    struct arena arena;
    struct json_parser *json;
    struct site_account account;
    struct turn turn;
    struct delta_sink sink, called; /* `called`: behind the emulated tools, which `sink` is then */
    struct replay_tools *tools;     /* NULL: none were emulated */
    struct turn_run run;
    struct fail fail; /* the run's */
    struct site_request request;
    uint64_t chance;
    struct channel channels[CHOICES][CHANNELS];
    struct buffer others, scratch, line; /* others: what is no text, a line each */
    const char *drift[DRIFT_MAX];
    size_t n_drift;
    bool content, finished, played;
    const char *end;
    FILE *out; /* NULL: nothing is shown */
};

/* ---- deltas ---- */

static const char *const kind_names[] = {
    [DELTA_TEXT] = "text",
    [DELTA_REASONING] = "reasoning",
    [DELTA_REFUSAL] = "refusal",
    [DELTA_SIGNATURE] = "signature",
    [DELTA_REDACTED] = "redacted",
    [DELTA_TOOL_BEGIN] = "tool",
    [DELTA_TOOL_ARGUMENTS] = "arguments",
    [DELTA_CITATION] = "citation",
    [DELTA_USAGE] = "usage",
    [DELTA_FINISH] = "finish",
    [DELTA_HEAD] = "head",
    [DELTA_BYTES] = "bytes",
    [DELTA_EXTRA] = "extra",
};

static int channel_index(const struct delta *d)
{
    switch (d->kind) {
    case DELTA_TEXT: return 0;
    case DELTA_REASONING: return 1;
    case DELTA_REFUSAL: return 2;
    case DELTA_TOOL_ARGUMENTS: return d->index >= 0 && d->index < TOOLS ? 3 + d->index : -1;
    default: return -1;
    }
}

static void member(struct json_writer *w, const char *key, struct span text)
{
    if (text.n)
        json_member_repaired(w, key, text);
}

static void count(struct json_writer *w, const char *key, int64_t n)
{
    if (n >= 0)
        json_member_int(w, key, n);
}

/* The delta as one line; `text` is whole characters of d->text. */
static void write_delta(struct buffer *line, const struct delta *d, struct span text)
{
    struct json_writer w = json_writer(line);
    json_begin_object(&w);
    json_member(&w, "delta", span_str(kind_names[d->kind]));
    if (d->choice)
        json_member_int(&w, "choice", d->choice);
    if (d->kind == DELTA_TOOL_BEGIN || d->kind == DELTA_TOOL_ARGUMENTS)
        json_member_int(&w, "index", d->index);
    member(&w, "text", text);
    member(&w, "id", d->id);
    member(&w, "name", d->name);
    member(&w, "extra_content", d->extra_content);
    member(&w, "native", d->native);
    member(&w, "stop", d->stop);
    member(&w, "url", d->url);
    member(&w, "title", d->title);
    if (d->kind == DELTA_CITATION && d->end) {
        json_member_int(&w, "start", d->start);
        json_member_int(&w, "end", d->end);
    }
    if (d->kind == DELTA_USAGE) {
        count(&w, "prompt", d->usage.prompt);
        count(&w, "completion", d->usage.completion);
        count(&w, "total", d->usage.total);
        count(&w, "cached", d->usage.cached);
        count(&w, "reasoning", d->usage.reasoning);
    }
    json_end_object(&w);
    buffer_char(line, '\n');
}

static void show(struct player *p)
{
    if (p->out && p->line.n)
        fwrite(p->line.p, 1, p->line.n, p->out);
}

static int put_delta(void *owner, const struct delta *d)
{
    struct player *p = owner;
    int at = channel_index(d);
    struct span text = d->text;
    buffer_clear(&p->line);
    p->content |= d->kind != DELTA_USAGE && d->kind != DELTA_EXTRA && d->kind != DELTA_FINISH;
    p->finished |= d->kind == DELTA_FINISH;
    if (at >= 0 && d->choice >= 0 && d->choice < CHOICES) {
        struct channel *c = &p->channels[d->choice][at];
        if (text_guard_pass(&c->guard, d->text, &p->scratch, &text))
            return -1;
        buffer_append(&c->text, text);
        if (!text.n) /* the rest of a character is still to come */
            return 0;
        write_delta(&p->line, d, text);
    } else {
        write_delta(&p->line, d, text);
        buffer_append(&p->others, buffer_span(&p->line));
    }
    show(p);
    return p->line.error || p->others.error ? -1 : 0;
}

static void note_drift(void *owner, const char *kind)
{
    struct player *p = owner;
    for (size_t i = 0; i < p->n_drift; i++) {
        if (strcmp(p->drift[i], kind) == 0)
            return;
    }
    if (p->n_drift < DRIFT_MAX)
        p->drift[p->n_drift++] = kind;
}

/* The same "random" bytes in every run. */
static void make_random(void *owner, void *bytes, size_t n)
{
    struct player *p = owner;
    for (size_t i = 0; i < n; i++) {
        p->chance = p->chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        ((unsigned char *)bytes)[i] = (unsigned char)(p->chance >> 56);
    }
}

/* ---- one answer ---- */

static enum adapter_verdict feed(struct player *p, struct frame_decoder *decoder, struct span piece)
{
    struct frame frame;
    enum frame_result r;
    while ((r = frame_decoder_next(decoder, &piece, &frame)) == FRAME_READY) {
        enum adapter_verdict verdict = adapter_frame(p->setup->adapter, &p->run, &frame);
        if (verdict != ADAPTER_GO_ON)
            return verdict;
    }
    if (r == FRAME_TOO_LARGE)
        return fail_set(p->run.fail, FAIL_PROTOCOL, "%.*s sent a single event of more than 16 MiB",
                        SPAN_ARGS(p->setup->site.name));
    return r < 0 ? (enum adapter_verdict)fail_memory(p->run.fail) : ADAPTER_GO_ON;
}

static enum adapter_verdict feed_end(struct player *p, struct frame_decoder *decoder,
                                     enum stream_end end)
{
    struct frame frame;
    enum adapter_verdict verdict = ADAPTER_GO_ON;
    enum frame_result last = end == END_CLEAN ? frame_decoder_end(decoder, &frame) : FRAME_MORE;
    if (last == FRAME_READY)
        verdict = adapter_frame(p->setup->adapter, &p->run, &frame);
    if (last == FRAME_TORN)
        end = END_CUT;
    return verdict == ADAPTER_GO_ON ? adapter_end(p->setup->adapter, &p->run, end) : verdict;
}

static enum adapter_verdict answer(struct player *p, const struct replay_step *s,
                                   const uint32_t *splits, size_t n_splits)
{
    struct site_head head = {.status = s->status,
                             .reason = s->reason,
                             .headers = s->headers,
                             .n_headers = s->n_headers,
                             .content_type = s->content_type,
                             .retry_after_s = s->retry_after_s};
    enum framing framing = p->request.framing;
    enum adapter_verdict verdict = adapter_head(p->setup->adapter, &p->run, &head, &framing);
    struct frame_decoder decoder;
    frame_decoder_init(&decoder, framing, FRAME_LIMIT);
    size_t at = 0;
    for (size_t i = 0; i <= n_splits && verdict == ADAPTER_GO_ON; i++) {
        size_t stop = i < n_splits ? splits[i] : s->body.n;
        if (stop > at && stop <= s->body.n) {
            verdict = feed(p, &decoder, span_of(s->body.p + at, stop - at));
            at = stop;
        }
    }
    if (verdict == ADAPTER_GO_ON && s->end != REPLAY_LEFT)
        verdict = feed_end(p, &decoder, s->end == REPLAY_CUT ? END_CUT : END_CLEAN);
    if (verdict == ADAPTER_FAIL && s->end == REPLAY_CUT && s->transport.kind != FAIL_NONE &&
        (s->transport.kind == FAIL_TIMEOUT || p->run.fail->kind == FAIL_NONE))
        *p->run.fail = s->transport; /* it knows better why bytes stopped coming */
    frame_decoder_free(&decoder);
    return verdict;
}

/* ---- a run ---- */

static int begin(struct player *p, const struct replay_setup *setup, FILE *out, struct fail *fail)
{
    size_t size = setup->adapter->state_size;
    *p = (struct player){.setup = setup, .out = out};
    arena_init(&p->arena);
    buffer_init(&p->others, TEXT_MAX);
    buffer_init(&p->scratch, TEXT_MAX);
    buffer_init(&p->line, TEXT_MAX);
    for (size_t i = 0; i < CHOICES; i++) {
        for (size_t k = 0; k < CHANNELS; k++)
            buffer_init(&p->channels[i][k].text, TEXT_MAX);
    }
    p->account = setup->account;
    p->account.held = NULL;
    p->json = json_parser_create(TEXT_MAX);
    struct span body = arena_dup(&p->arena, setup->chat);
    void *state = arena_alloc(&p->arena, size ? size : 1);
    if (!p->json || !body.p || !state)
        return fail_memory(fail);
    if (chat_request_parse(p->json, &p->arena, (char *)(uintptr_t)body.p, body.n, &p->turn, fail))
        return -1;
    for (size_t i = 0; i < setup->n_held; i++) {
        if (account_hold(&p->account, setup->held[i].name, setup->held[i].value,
                         setup->held[i].expires_ms))
            return fail_memory(fail);
    }
    p->sink = p->called = (struct delta_sink){.put = put_delta, .owner = p};
    if (setup->emulated_tools.p) {
        p->tools = replay_tools_create(&p->arena, p->json, setup->emulated_tools, &p->called, fail);
        if (!p->tools)
            return -1;
        p->sink = replay_tools_sink(p->tools);
    }
    p->run = (struct turn_run){
        .fail = &p->fail,
        .turn = &p->turn,
        .site = &setup->site,
        .account = &p->account,
        .model = setup->model,
        .model_note = setup->model_note,
        .state = state,
        .arena = &p->arena,
        .json = p->json,
        .out = &p->sink,
        .now_ms = setup->now_ms,
        .random = make_random,
        .random_owner = p,
        .drift = note_drift,
        .drift_owner = p,
    };
    return 0;
}

static void finish(struct player *p)
{
    if (p->setup->adapter->destroy && p->run.state)
        p->setup->adapter->destroy(&p->run);
    for (size_t i = 0; i < CHOICES; i++) {
        for (size_t k = 0; k < CHANNELS; k++)
            buffer_free(&p->channels[i][k].text);
    }
    replay_tools_destroy(p->tools);
    buffer_free(&p->others);
    buffer_free(&p->scratch);
    buffer_free(&p->line);
    account_clear(&p->account);
    if (p->json)
        json_parser_destroy(p->json);
    arena_free(&p->arena);
}

/* The adapter has nothing more to ask: as in the engine, that is no answer without any text. */
static void done(struct player *p)
{
    p->end = "complete";
    if (p->content || p->finished)
        return;
    p->end = "failed";
    fail_set(p->run.fail, FAIL_EMPTY, "%s ended its answer without any text",
             p->setup->adapter->title);
}

/* 0 when it came to an end, -1 with fail when the recording lacks something before FILE. */
static int play(struct player *p, const uint32_t *splits, size_t n_splits, struct fail *fail)
{
    const struct replay_setup *setup = p->setup;
    size_t cursor = 0;
    for (int asks = 0; asks < ASKS_MAX; asks++) {
        p->request = (struct site_request){0};
        fail_clear(p->run.fail);
        enum adapter_step step = adapter_next(setup->adapter, &p->run, &p->request);
        if (step == ADAPTER_WAIT) {
            p->run.now_ms += p->request.delay_ms;
            continue;
        }
        if (step == ADAPTER_DONE) {
            done(p);
            return 0;
        }
        if (step == ADAPTER_FAILED) {
            p->end = "failed";
            return 0;
        }
        const struct replay_step *s = replay_find_step(setup, &p->request, &cursor);
        if (!s && p->played) { /* it was cut off there */
            p->end = "wants_more";
            return 0;
        }
        if (!s)
            return fail_set(fail, FAIL_INTERNAL,
                            "the adapter asks for something that is not in the setup: %s %.*s",
                            p->request.method, SPAN_ARGS(span_first(p->request.target, 120)));
        bool last = s == &setup->steps[setup->n_steps - 1];
        enum adapter_verdict verdict =
            answer(p, s, last ? splits : s->splits, last ? n_splits : s->n_splits);
        p->played |= last;
        if (verdict == ADAPTER_FAIL ||
            (last && verdict == ADAPTER_GO_ON && s->end == REPLAY_LEFT)) {
            p->end = verdict == ADAPTER_FAIL ? "failed" : "left";
            return 0;
        }
    }
    return fail_set(fail, FAIL_INTERNAL, "the adapter does not come to an end");
}

/* The rests of characters that never came are shown, too. */
static void end_channels(struct player *p)
{
    static const enum delta_kind kinds[] = {DELTA_TEXT, DELTA_REASONING, DELTA_REFUSAL};
    for (int i = 0; i < CHOICES; i++) {
        for (int k = 0; k < CHANNELS; k++) {
            struct channel *c = &p->channels[i][k];
            struct span rest;
            if (text_guard_end(&c->guard, &p->scratch, &rest) || !rest.n)
                continue;
            struct delta d = {.kind = k < 3 ? kinds[k] : DELTA_TOOL_ARGUMENTS,
                              .choice = i,
                              .index = k < 3 ? 0 : k - 3};
            buffer_append(&c->text, rest);
            buffer_clear(&p->line);
            write_delta(&p->line, &d, rest);
            show(p);
        }
    }
}

static void write_end(struct player *p, struct json_writer *w)
{
    const struct fail *f = p->run.fail;
    json_begin_object(w);
    json_member(w, "end", span_str(p->end));
    json_key(w, "failure");
    if (f->kind == FAIL_NONE) {
        json_null(w);
    } else {
        json_begin_object(w);
        json_member(w, "kind", span_str(fail_kind_name(f->kind)));
        json_member_repaired(w, "message", span_str(f->message));
        json_member_int(w, "retry_after", f->retry_after_s);
        json_end_object(w);
    }
    json_key(w, "drift");
    json_begin_array(w);
    for (size_t i = 0; i < p->n_drift; i++)
        json_string(w, span_str(p->drift[i]));
    json_end_array(w);
    if (p->tools && replay_tools_torn(p->tools))
        json_member_bool(w, "half_call", true);
    if (p->end && strcmp(p->end, "wants_more") == 0)
        json_member_repaired(w, "wants", p->request.target);
}

/* All that came out, in a form that does not depend on pieces. */
static void write_sum(struct player *p, struct buffer *sum)
{
    struct json_writer w = json_writer(sum);
    for (size_t i = 0; i < CHOICES; i++) {
        for (size_t k = 0; k < CHANNELS; k++) {
            buffer_append(sum, buffer_span(&p->channels[i][k].text));
            buffer_char(sum, '\n');
        }
    }
    buffer_append(sum, buffer_span(&p->others));
    write_end(p, &w);
}

static int play_once(const struct replay_setup *setup, const uint32_t *splits, size_t n_splits,
                     FILE *out, struct buffer *sum, struct buffer *end, struct fail *fail)
{
    struct player *p = malloc(sizeof *p);
    if (!p)
        return fail_memory(fail);
    int rc = begin(p, setup, out, fail);
    if (rc == 0)
        rc = play(p, splits, n_splits, fail);
    if (rc == 0 && p->tools && replay_tools_end(p->tools))
        rc = fail_memory(fail);
    if (rc == 0) {
        end_channels(p);
        write_sum(p, sum);
        if (end) {
            struct json_writer w = json_writer(end);
            write_end(p, &w);
        }
        if (p->line.error || p->others.error || p->scratch.error || sum->error ||
            (end && end->error))
            rc = fail_memory(fail);
    }
    finish(p);
    free(p);
    return rc;
}

/* ---- every split ---- */

/* How many of the cuts change what comes out; -1 with fail. */
static int64_t count_different(const struct replay_setup *setup, struct span wanted, size_t *first,
                               struct fail *fail)
{
    size_t n = setup->steps[setup->n_steps - 1].body.n;
    int64_t different = 0;
    struct buffer sum;
    buffer_init(&sum, TEXT_MAX);
    for (size_t at = 1; at < n && different >= 0; at++) {
        const uint32_t cut = (uint32_t)at;
        buffer_clear(&sum);
        if (play_once(setup, &cut, 1, NULL, &sum, NULL, fail))
            different = -1;
        else if (!span_eq(buffer_span(&sum), wanted) && different++ == 0)
            *first = at;
    }
    buffer_free(&sum);
    return different;
}

static enum replay_result play_all(const struct replay_setup *setup, bool every_split, FILE *out,
                                   struct fail *fail)
{
    const struct replay_step *last = &setup->steps[setup->n_steps - 1];
    struct buffer sum, end;
    enum replay_result result = REPLAY_PLAYED;
    int64_t different = 0;
    size_t first = 0;
    buffer_init(&sum, TEXT_MAX);
    buffer_init(&end, TEXT_MAX);
    if (every_split && last->body.n > EVERY_SPLIT_MAX) {
        fail_set(fail, FAIL_INTERNAL, "the file is too large for --every-split (64 KiB at most)");
        result = REPLAY_FAILED;
    } else if (play_once(setup, last->splits, last->n_splits, out, &sum, &end, fail)) {
        result = REPLAY_FAILED;
    } else if (every_split) {
        different = count_different(setup, buffer_span(&sum), &first, fail);
        if (different > 0)
            fail_set(fail, FAIL_INTERNAL, "cut after byte %zu something else comes out", first);
        if (different)
            result = REPLAY_FAILED;
    }
    if (end.n) {
        struct json_writer w = {&end, true};
        if (every_split)
            json_member_int(&w, "splits", last->body.n ? (int64_t)last->body.n - 1 : 0);
        if (every_split && different >= 0)
            json_member_int(&w, "different", different);
        json_end_object(&w);
        buffer_char(&end, '\n');
        fwrite(end.p, 1, end.n, out);
    }
    buffer_free(&sum);
    buffer_free(&end);
    return result;
}

enum replay_result replay(const char *file, const char *adapter, bool every_split, FILE *out,
                          struct fail *fail)
{
    struct replay_setup setup;
    enum replay_result result = replay_setup_read(&setup, file, adapter, fail);
    if (result == REPLAY_PLAYED)
        result = play_all(&setup, every_split, out, fail);
    replay_setup_free(&setup);
    return result;
}
