/*
 * test/unit/support/transcript.c - see transcript.h. Plays the engine's part without a socket: asks
 * next, hands back head, frames and end, and gathers the deltas through text guards as the front
 * would.
 *
 * Every piece of an answer is handed over in a heap block of exactly its size, so that the address
 * sanitizer sees a decoder or an adapter that reads on, or that keeps a span for too long.
 */
#include "test/unit/support/transcript.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/chat_request.h"
#include "sse/frame_decoder.h"
#include "sse/text_guard.h"

enum { CHOICES = 8, TOOLS = 16, BIG = 64 * 1024 * 1024, STEPS_MAX = 16 };

struct channel {
    struct text_guard guard;
    struct buffer text;
};

struct tool {
    int index;
    struct buffer id, name, extra; /* extra: extra_content */
    struct channel arguments;
};

struct choice {
    bool used, finished;
    struct channel content, reasoning, refusal;
    struct tool tools[TOOLS];
    size_t n_tools;
    struct buffer finish, native, stop;
    struct buffer proofs;                    /* a line each */
    struct buffer extra_choice, extra_delta; /* members joined by commas */
};

struct transcript_player {
    struct transcript_setup setup;
    struct arena arena;
    struct site_settings site;
    struct site_account account;
    struct json_parser *json;
    struct delta_sink sink;
    struct json_template shape;
    struct json_shapes shapes;
    struct buffer work;
    struct turn_run run;
    struct fail failure; /* the run's */
    struct site_request request;
    uint64_t chance;
    int status;                                         /* of the last answer */
    struct buffer scratch, drift, extra_top, citations; /* drift, citations: a line each */
    struct choice choices[CHOICES];
    bool has_usage;
    struct delta_usage usage;
    struct buffer usage_raw;
};

/* For memory: the analyzers know that abort does not return. */
static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

static void check(int error)
{
    if (error)
        fail_msg("the harness ran out of room (%d)", error);
}

/* ---- deltas ---- */

static void channel_put(struct transcript_player *p, struct channel *c, struct span piece)
{
    struct span whole;
    check(text_guard_pass(&c->guard, piece, &p->scratch, &whole));
    assert_true(utf8_valid(whole));
    check(buffer_append(&c->text, whole));
}

static void channel_end(struct transcript_player *p, struct channel *c)
{
    struct span rest;
    check(text_guard_end(&c->guard, &p->scratch, &rest));
    check(buffer_append(&c->text, rest));
}

static struct tool *tool_of(struct choice *c, int index)
{
    for (size_t i = 0; i < c->n_tools; i++) {
        if (c->tools[i].index == index)
            return &c->tools[i];
    }
    return NULL;
}

static void tool_begin(struct choice *c, const struct delta *d)
{
    if (tool_of(c, d->index))
        fail_msg("tool call %d begins twice", d->index);
    if (c->n_tools == TOOLS)
        fail_msg("more than %d tool calls", TOOLS);
    struct tool *t = &c->tools[c->n_tools++];
    t->index = d->index;
    check(buffer_append(&t->id, d->id));
    check(buffer_append(&t->name, d->name));
    check(buffer_append(&t->extra, d->extra_content));
}

static void add_members(struct buffer *to, struct span members)
{
    if (members.n == 0)
        fail_msg("an extra delta without members");
    if (to->n)
        check(buffer_char(to, ','));
    check(buffer_append(to, members));
}

static bool has_line(const struct buffer *lines, struct span line)
{
    struct span rest = buffer_span(lines), piece;
    while (span_split(&rest, '\n', &piece)) {
        if (span_eq(piece, line))
            return true;
    }
    return false;
}

static void add_line(struct buffer *lines, struct span line)
{
    if (!has_line(lines, line)) {
        check(buffer_append(lines, line));
        check(buffer_char(lines, '\n'));
    }
}

static bool has_beginning(const struct buffer *lines, struct span beginning)
{
    struct span rest = buffer_span(lines), line;
    while (span_split(&rest, '\n', &line)) {
        if (span_starts(line, beginning))
            return true;
    }
    return false;
}

/* A line each: the JSON object that comes out. As in the front, each url once, but where places are
 * told. */
static void keep_citation(struct transcript_player *p, const struct delta *d)
{
    struct buffer line;
    buffer_init(&line, BIG);
    struct json_writer w = json_writer(&line);
    assert_true(utf8_valid(d->url) && utf8_valid(d->title));
    json_begin_object(&w);
    json_member(&w, "url", d->url);
    bool known = has_beginning(&p->citations, buffer_span(&line));
    json_member(&w, "title", d->title);
    json_member_int(&w, "start_index", d->start);
    json_member_int(&w, "end_index", d->end);
    json_end_object(&w);
    if (d->end || !known)
        add_line(&p->citations, buffer_span(&line));
    buffer_free(&line);
}

static void keep_usage(struct transcript_player *p, const struct delta_usage *u)
{
    p->has_usage = true;
    p->usage = *u;
    buffer_clear(&p->usage_raw);
    check(buffer_append(&p->usage_raw, u->raw));
    p->usage.raw = span_of(NULL, 0);
}

static int put_delta(void *owner, const struct delta *d)
{
    struct transcript_player *p = owner;
    if (d->choice < 0 || d->choice >= CHOICES)
        fail_msg("a delta for choice %d", d->choice);
    struct choice *c = &p->choices[d->choice];
    switch (d->kind) {
    case DELTA_USAGE: keep_usage(p, &d->usage); return 0;
    case DELTA_CITATION: keep_citation(p, d); return 0;
    case DELTA_EXTRA:
        add_members(d->place == PLACE_TOP      ? &p->extra_top
                    : d->place == PLACE_CHOICE ? &c->extra_choice
                                               : &c->extra_delta,
                    d->text);
        return 0;
    default: break;
    }
    c->used = true;
    if (c->finished) /* as the front does: nothing after the finish but usage */
        return 0;
    switch (d->kind) {
    case DELTA_TEXT: channel_put(p, &c->content, d->text); break;
    case DELTA_REASONING: channel_put(p, &c->reasoning, d->text); break;
    case DELTA_REFUSAL: channel_put(p, &c->refusal, d->text); break;
    case DELTA_TOOL_BEGIN: tool_begin(c, d); break;
    case DELTA_TOOL_ARGUMENTS:
        if (!tool_of(c, d->index))
            fail_msg("arguments for tool call %d, which did not begin", d->index);
        channel_put(p, &tool_of(c, d->index)->arguments, d->text);
        break;
    case DELTA_FINISH:
        c->finished = true;
        check(buffer_append(&c->finish, d->text));
        check(buffer_append(&c->native, d->native));
        check(buffer_append(&c->stop, d->stop));
        break;
    case DELTA_REDACTED: check(buffer_append(&c->proofs, SPAN("redacted "))); /* fall through */
    case DELTA_SIGNATURE:
        check(buffer_append(&c->proofs, d->text));
        check(buffer_char(&c->proofs, '\n'));
        break;
    default: fail_msg("a delta of unknown kind %d", (int)d->kind);
    }
    return 0;
}

static void note_drift(void *owner, const char *kind)
{
    add_line(&((struct transcript_player *)owner)->drift, span_str(kind));
}

/* The same "random" bytes in every run. */
static void make_random(void *owner, void *bytes, size_t n)
{
    struct transcript_player *p = owner;
    for (size_t i = 0; i < n; i++) {
        p->chance = p->chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        ((unsigned char *)bytes)[i] = (unsigned char)(p->chance >> 56);
    }
}

/* ---- a run ---- */

const struct turn *transcript_turn(struct arena *arena, const char *body)
{
    struct span copy = arena_dup(arena, span_str(body));
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    struct json_parser *json = must(json_parser_create(BIG));
    struct fail fail = {0};
    must((void *)copy.p);
    must(turn);
    if (chat_request_parse(json, arena, (char *)copy.p, copy.n, turn, &fail))
        fail_msg("the test's own request is refused: %s: %s", fail.param, fail.message);
    json_parser_destroy(json);
    return turn;
}

static void settle_site(struct site_settings *site, const struct transcript_setup *setup)
{
    struct span url = span_str(setup->base_url          ? setup->base_url
                               : setup->adapter->origin ? setup->adapter->origin
                                                        : "https://site.example");
    ptrdiff_t scheme = span_find(url, SPAN("://"));
    size_t host = scheme < 0 ? 0 : (size_t)scheme + 3;
    ptrdiff_t slash = span_find_char(span_from(url, host), '/');
    size_t end = slash < 0 ? url.n : host + (size_t)slash;
    *site = (struct site_settings){
        .name = span_str(setup->adapter->name),
        .origin = span_first(url, end),
        .prefix = span_from(url, end),
        .path = span_str(setup->path),
        .aliases = setup->aliases,
        .n_aliases = setup->n_aliases,
        .options = setup->options,
        .n_options = setup->n_options,
    };
    if (span_ends(site->prefix, SPAN("/")))
        site->prefix.n--;
}

struct transcript_player *transcript_open(const struct transcript_setup *setup)
{
    struct transcript_player *p = must(calloc(1, sizeof *p));
    p->setup = *setup;
    arena_init(&p->arena);
    struct buffer *const buffers[] = {&p->scratch,   &p->drift,     &p->extra_top,
                                      &p->citations, &p->usage_raw, NULL};
    for (struct buffer *const *b = buffers; *b; b++)
        buffer_init(*b, BIG);
    for (size_t i = 0; i < CHOICES; i++) {
        struct choice *c = &p->choices[i];
        struct buffer *const of[] = {
            &c->content.text, &c->reasoning.text, &c->refusal.text, &c->finish,      &c->native,
            &c->stop,         &c->proofs,         &c->extra_choice, &c->extra_delta, NULL};
        for (struct buffer *const *b = of; *b; b++)
            buffer_init(*b, BIG);
        for (size_t k = 0; k < TOOLS; k++) {
            buffer_init(&c->tools[k].id, BIG);
            buffer_init(&c->tools[k].name, BIG);
            buffer_init(&c->tools[k].extra, BIG);
            buffer_init(&c->tools[k].arguments.text, BIG);
        }
    }
    settle_site(&p->site, setup);
    p->account = (struct site_account){
        .name = SPAN("main"),
        .guest = setup->guest,
        .credentials = setup->credentials,
        .n_credentials = setup->n_credentials,
    };
    buffer_init(&p->work, BIG);
    p->json = must(json_parser_create(BIG));
    p->sink = (struct delta_sink){.put = put_delta, .owner = p};
    p->run = (struct turn_run){
        .fail = &p->failure,
        .turn = transcript_turn(
            &p->arena,
            setup->body ? setup->body
                        : "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
                          "\"stream\":true}"),
        .site = &p->site,
        .account = &p->account,
        .model = setup->model ? span_str(setup->model) : SPAN("m"),
        .state = must(
            arena_alloc(&p->arena, setup->adapter->state_size ? setup->adapter->state_size : 1)),
        .arena = &p->arena,
        .json = p->json,
        .out = &p->sink,
        .scratch = &p->work,
        .shape = setup->parse_all ? NULL : &p->shape,
        .shapes = setup->parse_all ? NULL
                  : setup->shapes  ? setup->shapes
                                   : &p->shapes,
        .now_ms = setup->now_ms ? setup->now_ms : TRANSCRIPT_NOW,
        .random = make_random,
        .random_owner = p,
        .drift = note_drift,
        .drift_owner = p,
    };
    return p;
}

struct turn_run *transcript_run(struct transcript_player *p) { return &p->run; }

enum adapter_step transcript_next(struct transcript_player *p, struct site_request *req)
{
    p->request = (struct site_request){0};
    enum adapter_step step = p->setup.adapter->next(&p->run, &p->request);
    if (step == ADAPTER_SEND) {
        assert_non_null(p->request.method);
        assert_true(p->request.target.n > 0 && p->request.target.p[0] == '/');
    }
    if (step == ADAPTER_FAILED && p->run.fail->kind == FAIL_NONE)
        fail_msg("the adapter failed without saying why");
    *req = p->request;
    return step;
}

static enum adapter_verdict feed(struct transcript_player *p, struct frame_decoder *decoder,
                                 struct span piece)
{
    char *copy = must(malloc(piece.n ? piece.n : 1));
    if (piece.n)
        memcpy(copy, piece.p, piece.n);
    struct span rest = span_of(copy, piece.n);
    struct frame frame;
    enum adapter_verdict verdict = ADAPTER_GO_ON;
    enum frame_result r = FRAME_MORE;
    while (verdict == ADAPTER_GO_ON &&
           (r = frame_decoder_next(decoder, &rest, &frame)) == FRAME_READY)
        verdict = p->setup.adapter->on_frame(&p->run, &frame);
    free(copy);
    if (r < 0) {
        fail_set(p->run.fail, FAIL_PROTOCOL, "a frame of the site's stream is too large");
        return ADAPTER_FAIL;
    }
    return verdict;
}

static enum adapter_verdict feed_end(struct transcript_player *p, struct frame_decoder *decoder,
                                     enum stream_end end)
{
    struct frame frame;
    enum adapter_verdict verdict = ADAPTER_GO_ON;
    enum frame_result r = FRAME_MORE;
    if (end == END_CLEAN) {
        while (verdict == ADAPTER_GO_ON && (r = frame_decoder_end(decoder, &frame)) == FRAME_READY)
            verdict = p->setup.adapter->on_frame(&p->run, &frame);
        if (r == FRAME_TORN)
            end = END_CUT;
    }
    return verdict == ADAPTER_GO_ON ? p->setup.adapter->on_end(&p->run, end) : verdict;
}

enum adapter_verdict transcript_answer(struct transcript_player *p, int status,
                                       const char *content_type, struct span body,
                                       const size_t *cuts, size_t n_cuts, enum stream_end end)
{
    struct header headers[4] = {{SPAN_INIT("content-type"), span_str(content_type)}};
    assert_true(p->setup.n_headers < sizeof headers / sizeof *headers);
    for (size_t i = 0; i < p->setup.n_headers; i++)
        headers[1 + i] = p->setup.headers[i];
    struct site_head head = {
        .status = status,
        .headers = headers,
        .n_headers = 1 + p->setup.n_headers,
        .content_type = span_str(content_type),
        .retry_after_s = p->setup.retry_after_s,
    };
    enum framing framing = p->request.framing;
    p->status = status;
    json_template_forget(&p->shape);
    enum adapter_verdict verdict = p->setup.adapter->on_head(&p->run, &head, &framing);
    if (verdict != ADAPTER_GO_ON)
        return verdict;

    struct frame_decoder decoder;
    frame_decoder_init(&decoder, framing, FRAME_LIMIT);
    size_t at = 0;
    for (size_t i = 0; i <= n_cuts && verdict == ADAPTER_GO_ON; i++) {
        size_t stop = i < n_cuts ? cuts[i] : body.n;
        verdict = feed(p, &decoder, span_of(body.p + at, stop - at));
        at = stop;
    }
    if (verdict == ADAPTER_GO_ON)
        verdict = feed_end(p, &decoder, end);
    frame_decoder_free(&decoder);
    if (verdict == ADAPTER_FAIL && p->run.fail->kind == FAIL_NONE)
        fail_msg("the adapter failed without saying why");
    return verdict;
}

/* ---- the result ---- */

static void write_extras(struct json_writer *w, const char *key, const struct buffer *members)
{
    struct buffer object;
    buffer_init(&object, BIG);
    check(buffer_printf(&object, "{"));
    check(buffer_append(&object, buffer_span(members)));
    check(buffer_printf(&object, "}"));
    json_key(w, key);
    json_begin_object(w);
    struct json_raw_iter it = json_raw_each(buffer_span(&object));
    while (json_raw_next(&it)) {
        bool again = false;
        struct json_raw_iter later = it;
        while (!again && json_raw_next(&later))
            again = span_eq(later.key, it.key);
        if (!again)
            json_key_span(w, it.key), json_raw_value(w, it.value);
    }
    json_end_object(w);
    buffer_free(&object);
}

static void write_lines(struct json_writer *w, const char *key, const struct buffer *lines,
                        void (*write)(struct json_writer *, struct span))
{
    struct span rest = buffer_span(lines), line;
    json_key(w, key);
    json_begin_array(w);
    while (span_split(&rest, '\n', &line)) {
        if (line.n)
            write(w, line);
    }
    json_end_array(w);
}

static void write_tools(struct transcript_player *p, struct json_writer *w, struct choice *c)
{
    json_key(w, "tool_calls");
    json_begin_array(w);
    for (size_t i = 0; i < c->n_tools; i++) {
        struct tool *t = &c->tools[i];
        channel_end(p, &t->arguments);
        json_begin_object(w);
        json_member_int(w, "index", t->index);
        if (t->id.n)
            json_member(w, "id", buffer_span(&t->id));
        json_member(w, "name", buffer_span(&t->name));
        json_member(w, "arguments", buffer_span(&t->arguments.text));
        if (t->extra.n)
            json_member_raw(w, "extra_content", buffer_span(&t->extra));
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_choice(struct transcript_player *p, struct json_writer *w, struct choice *c)
{
    channel_end(p, &c->content);
    channel_end(p, &c->reasoning);
    channel_end(p, &c->refusal);
    json_member(w, "content", buffer_span(&c->content.text));
    json_member(w, "reasoning_content", buffer_span(&c->reasoning.text));
    json_member(w, "refusal", buffer_span(&c->refusal.text));
    write_tools(p, w, c);
    if (c->finished)
        json_member(w, "finish_reason", buffer_span(&c->finish));
    if (c->native.n)
        json_member(w, "native", buffer_span(&c->native));
    if (c->stop.n)
        json_member(w, "stop", buffer_span(&c->stop));
    write_lines(w, "proofs", &c->proofs, json_string);
    json_key(w, "extra");
    json_begin_object(w);
    write_extras(w, "top", &p->extra_top);
    write_extras(w, "choice", &c->extra_choice);
    write_extras(w, "delta", &c->extra_delta);
    json_end_object(w);
}

static void write_detail(struct json_writer *w, const char *details, const char *key, int64_t value)
{
    if (value < 0)
        return;
    json_key(w, details);
    json_begin_object(w);
    json_member_int(w, key, value);
    json_end_object(w);
}

static void write_usage(struct transcript_player *p, struct json_writer *w)
{
    const struct delta_usage *u = &p->usage;
    if (!p->has_usage)
        return;
    json_key(w, "usage");
    json_begin_object(w);
    if (u->prompt >= 0)
        json_member_int(w, "prompt_tokens", u->prompt);
    if (u->completion >= 0)
        json_member_int(w, "completion_tokens", u->completion);
    if (u->total >= 0 || (u->prompt >= 0 && u->completion >= 0))
        json_member_int(w, "total_tokens", u->total >= 0 ? u->total : u->prompt + u->completion);
    write_detail(w, "prompt_tokens_details", "cached_tokens", u->cached);
    write_detail(w, "completion_tokens_details", "reasoning_tokens", u->reasoning);
    if (u->cache_write)
        json_member_int(w, "cache_write", u->cache_write);
    json_end_object(w);
    if (p->usage_raw.n)
        json_member_raw(w, "usage_raw", buffer_span(&p->usage_raw));
}

static void write_error(struct json_writer *w, const struct fail *fail, int64_t now_ms)
{
    if (fail->kind == FAIL_NONE)
        return;
    assert_true(utf8_valid(span_str(fail->message)));
    json_key(w, "error");
    json_begin_object(w);
    json_member(w, "kind", span_str(fail_kind_name(fail->kind)));
    json_member(w, "message", span_str(fail->message));
    json_member(w, "param", span_str(fail->param));
    json_member_int(w, "retry_after", fail->retry_after_s);
    if (fail->retry_after_s)
        json_member_int(w, "resets_at", now_ms / 1000 + fail->retry_after_s);
    json_member_int(w, "upstream_status", fail->upstream_status);
    json_end_object(w);
}
enum adapter_verdict transcript_answer_json(struct transcript_player *p, int status,
                                            const char *body)
{
    return transcript_answer(p, status, "application/json", span_str(body), NULL, 0, END_CLEAN);
}

void transcript_expect_fail(struct transcript_player *p, enum fail_kind kind, const char *words)
{
    const struct fail *f = transcript_run(p)->fail;
    if (f->kind != kind || !strstr(f->message, words))
        fail_msg("wanted %s with \"%s\", got %s: %s", fail_kind_name(kind), words,
                 fail_kind_name(f->kind), f->message);
}

void transcript_result(struct transcript_player *p, struct played *out)
{
    *out = (struct played){.fail = *p->run.fail};
    buffer_init(&out->json, BIG);
    struct json_writer w = json_writer(&out->json);
    json_begin_object(&w);
    write_choice(p, &w, &p->choices[0]);
    write_usage(p, &w);
    write_lines(&w, "citations", &p->citations, json_raw_value);
    write_lines(&w, "drift", &p->drift, json_string);
    write_error(&w, p->run.fail, p->run.now_ms);
    if (p->run.rest_s)
        json_member_int(&w, "rest", p->run.rest_s);
    json_member_int(&w, "status", p->status);
    json_key(&w, "choices");
    json_begin_array(&w);
    for (size_t i = 0; i < CHOICES; i++) {
        if (!p->choices[i].used)
            continue;
        json_begin_object(&w);
        json_member_int(&w, "index", (int64_t)i);
        write_choice(p, &w, &p->choices[i]);
        json_end_object(&w);
    }
    json_end_array(&w);
    json_end_object(&w);
    check(out->json.error);
}

void played_free(struct played *played) { buffer_free(&played->json); }

static void channel_free(struct channel *c) { buffer_free(&c->text); }

void transcript_close(struct transcript_player *p)
{
    if (p->setup.adapter->destroy)
        p->setup.adapter->destroy(&p->run);
    json_shapes_free(&p->shapes);
    buffer_free(&p->work);
    for (size_t i = 0; i < CHOICES; i++) {
        struct choice *c = &p->choices[i];
        for (size_t k = 0; k < TOOLS; k++) {
            buffer_free(&c->tools[k].id);
            buffer_free(&c->tools[k].name);
            buffer_free(&c->tools[k].extra);
            channel_free(&c->tools[k].arguments);
        }
        channel_free(&c->content);
        channel_free(&c->reasoning);
        channel_free(&c->refusal);
        buffer_free(&c->finish);
        buffer_free(&c->native);
        buffer_free(&c->stop);
        buffer_free(&c->proofs);
        buffer_free(&c->extra_choice);
        buffer_free(&c->extra_delta);
    }
    buffer_free(&p->scratch);
    buffer_free(&p->drift);
    buffer_free(&p->extra_top);
    buffer_free(&p->citations);
    buffer_free(&p->usage_raw);
    account_clear(&p->account);
    json_parser_destroy(p->json);
    arena_free(&p->arena);
    free(p);
}

/* ---- whole transcripts ---- */

static void wants_more(struct transcript_player *p, const struct site_request *req)
{
    fail_set(p->run.fail, FAIL_INTERNAL, "the adapter wants one more step: %s %.*s", req->method,
             SPAN_ARGS(req->target));
}

void transcript_play(const struct transcript_setup *setup, const char *const *earlier,
                     struct span bytes, const size_t *cuts, size_t n_cuts, enum stream_end end,
                     struct played *out)
{
    struct transcript_player *p = transcript_open(setup);
    struct site_request req;
    enum adapter_verdict verdict = ADAPTER_GO_ON;
    enum adapter_step step = transcript_next(p, &req);

    for (; earlier && *earlier && step == ADAPTER_SEND && verdict != ADAPTER_FAIL; earlier++) {
        verdict =
            transcript_answer(p, 200, "application/json", span_str(*earlier), NULL, 0, END_CLEAN);
        if (verdict != ADAPTER_FAIL)
            step = transcript_next(p, &req);
    }
    if (verdict != ADAPTER_FAIL && step == ADAPTER_SEND) {
        verdict = transcript_answer(p, setup->status ? setup->status : 200,
                                    setup->content_type ? setup->content_type : "text/event-stream",
                                    bytes, cuts, n_cuts, end);
        if (verdict != ADAPTER_FAIL && transcript_next(p, &req) == ADAPTER_SEND)
            wants_more(p, &req);
    }
    transcript_result(p, out);
    transcript_close(p);
}

static struct span read_file(const char *directory, const char *file, bool expected)
{
    char path[4096];
    struct span name = span_str(file);
    if (expected) {
        ptrdiff_t dot = span_find_last(name, SPAN("."));
        name = span_first(name, dot < 0 ? name.n : (size_t)dot);
    }
    snprintf(path, sizeof path, TEST_SOURCE_DIR "/transcripts/%s/%.*s%s", directory,
             SPAN_ARGS(name), expected ? ".expected.json" : "");
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("cannot open %s", path);
    struct buffer text;
    buffer_init(&text, BIG);
    char *at;
    size_t n;
    while ((at = buffer_reserve(&text, 65536)) && (n = fread(at, 1, 65536, f)) > 0)
        text.n += n;
    check(text.error);
    fclose(f);
    return buffer_span(&text);
}

/* ---- comparing ---- */

struct comparison {
    const char *what;
    bool exact;      /* members of `got` that `want` lacks are a difference as well */
    char at[512];    /* path of the value that is compared */
    struct span got; /* for the message */
};

static void differ(struct comparison *c, struct json want, struct json got)
{
    struct buffer w, g;
    buffer_init(&w, BIG);
    buffer_init(&g, BIG);
    if (json_is(want, JSON_MISSING) || json_dump(&w, want))
        buffer_printf(&w, "(nothing)");
    if (json_is(got, JSON_MISSING) || json_dump(&g, got))
        buffer_printf(&g, "(nothing)");
    fail_msg("%s: at %s\n  wanted %.*s\n  got    %.*s\n  in     %.*s", c->what,
             c->at[0] ? c->at : "the top", SPAN_ARGS(buffer_span(&w)), SPAN_ARGS(buffer_span(&g)),
             SPAN_ARGS(c->got));
}

static bool same_number(struct json a, struct json b)
{
    int64_t i, k;
    double x, y;
    if (json_is(a, JSON_UINT) || json_is(b, JSON_UINT)) /* beyond int64: only equal text will do */
        return json_type(a) == json_type(b) && json_number(a, &x) && json_number(b, &y) && x == y;
    if (json_int(a, &i) && json_int(b, &k))
        return i == k;
    return json_number(a, &x) && json_number(b, &y) && x == y;
}

static void compare(struct comparison *c, struct json want, struct json got);

static void compare_members(struct comparison *c, struct json want, struct json got)
{
    size_t depth = strlen(c->at);
    if (!json_is(got, JSON_OBJECT))
        differ(c, want, got);
    struct json_iter it = json_each(want);
    while (json_next(&it)) {
        snprintf(c->at + depth, sizeof c->at - depth, ".%.*s", SPAN_ARGS(it.key));
        compare(c, it.value, json_get_n(got, it.key));
    }
    struct json_iter other = json_each(got);
    while (c->exact && json_next(&other)) {
        snprintf(c->at + depth, sizeof c->at - depth, ".%.*s", SPAN_ARGS(other.key));
        if (json_is(json_get_n(want, other.key), JSON_MISSING))
            differ(c, json_get_n(want, other.key), other.value);
    }
    c->at[depth] = '\0';
}

static void compare_elements(struct comparison *c, struct json want, struct json got)
{
    size_t depth = strlen(c->at);
    if (!json_is(got, JSON_ARRAY) || json_size(got) != json_size(want))
        differ(c, want, got);
    struct json_iter a = json_each(want), b = json_each(got);
    for (size_t i = 0; json_next(&a) && json_next(&b); i++) {
        snprintf(c->at + depth, sizeof c->at - depth, "[%zu]", i);
        compare(c, a.value, b.value);
    }
    c->at[depth] = '\0';
}

static void compare(struct comparison *c, struct json want, struct json got)
{
    bool same = false;
    if (json_is(want, JSON_STRING) && json_is(got, JSON_OBJECT)) /* a citation by its url alone */
        got = json_get(got, "url");
    switch (json_type(want)) {
    case JSON_NULL:
        same = json_is(got, JSON_NULL) || (!c->exact && json_is(got, JSON_MISSING));
        break;
    case JSON_BOOL:
        same = json_is(got, JSON_BOOL) && json_bool(got, false) == json_bool(want, false);
        break;
    case JSON_STRING:
        same = json_is(got, JSON_STRING) && span_eq(json_text(want), json_text(got));
        break;
    case JSON_OBJECT: compare_members(c, want, got); return;
    case JSON_ARRAY: compare_elements(c, want, got); return;
    default: same = same_number(want, got);
    }
    if (!same)
        differ(c, want, got);
}

static void compare_texts(const char *what, struct span want_text, struct span got_text, bool exact)
{
    struct json_parser *a = must(json_parser_create(BIG)), *b = must(json_parser_create(BIG));
    struct json want, got;
    int error = json_parse(a, want_text, &want);
    if (error)
        fail_msg("%s: what the test wants is no JSON: %s", what, json_error_text(error));
    error = json_parse(b, got_text, &got);
    if (error)
        fail_msg("%s: what came out is no JSON (%s): %.*s", what, json_error_text(error),
                 SPAN_ARGS(got_text));
    struct comparison c = {.what = what, .exact = exact, .got = got_text};
    compare(&c, want, got);
    json_parser_destroy(a);
    json_parser_destroy(b);
}

void transcript_expect(const char *what, const char *want, struct span got)
{
    compare_texts(what, span_str(want), got, false);
}

void transcript_expect_same(const char *what, const char *want, struct span got)
{
    compare_texts(what, span_str(want), got, true);
}

struct span transcript_header(const struct site_request *req, const char *name)
{
    for (size_t i = 0; i < req->n_headers; i++) {
        if (span_eq_nocase(req->headers[i].name, span_str(name)))
            return req->headers[i].value;
    }
    return span_of(NULL, 0);
}

static void must_equal(const char *what, size_t cut, const struct played *whole,
                       const struct played *cut_up)
{
    if (!span_eq(buffer_span(&whole->json), buffer_span(&cut_up->json)))
        fail_msg("%s: cut at %zu it says\n  %.*s\nwhole it said\n  %.*s", what, cut,
                 SPAN_ARGS(buffer_span(&cut_up->json)), SPAN_ARGS(buffer_span(&whole->json)));
}

void transcript_check(const struct transcript_setup *given, const char *const *earlier,
                      const char *directory, const char *file)
{
    struct transcript_setup setup = *given;
    struct span name = span_str(file);
    if (!setup.content_type)
        setup.content_type = span_ends(name, SPAN(".json"))   ? "application/json"
                             : span_ends(name, SPAN(".html")) ? "text/html; charset=utf-8"
                                                              : "text/event-stream";
    struct span bytes = read_file(directory, file, false);
    struct span expected = read_file(directory, file, true);
    char what[256];
    snprintf(what, sizeof what, "%s/%s", directory, file);

    struct played whole, again;
    struct json_shapes shapes = {.clock = 0}; /* the first time they are learned */
    setup.shapes = &shapes;
    setup.parse_all = true;
    transcript_play(&setup, earlier, bytes, NULL, 0, END_CLEAN, &whole);
    compare_texts(what, expected, buffer_span(&whole.json), false);
    setup.parse_all = false;
    transcript_play(&setup, earlier, bytes, NULL, 0, END_CLEAN, &again);
    must_equal(what, 0, &whole, &again);
    played_free(&again);

    size_t *cuts = must(calloc(bytes.n + 1, sizeof *cuts));
    for (size_t i = 0; i < bytes.n; i++)
        cuts[i] = i;
    transcript_play(&setup, earlier, bytes, cuts, bytes.n, END_CLEAN, &again);
    must_equal(what, 1, &whole, &again);
    played_free(&again);
    free(cuts);
    for (size_t cut = 1; cut < bytes.n; cut++) {
        transcript_play(&setup, earlier, bytes, &cut, 1, END_CLEAN, &again);
        must_equal(what, cut, &whole, &again);
        played_free(&again);
    }
    played_free(&whole);
    json_shapes_free(&shapes);
    free((void *)bytes.p);
    free((void *)expected.p);
}
