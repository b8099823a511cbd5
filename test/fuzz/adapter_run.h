/*
 * test/fuzz/adapter_run.h - one turn of an adapter on any bytes: what the fuzz targets of adapters
 * share.
 *
 * fuzz_run_begin; then the caller may change site, account and model; fuzz_run_ask until the bytes
 * are due; fuzz_run_answer; fuzz_run_end. What must hold besides no finding: a failure has a kind
 * and a sentence, a complete answer can be written, every event is one line of JSON; and all of it
 * is the same when no frame is taken for a repeated one (fuzz_both_ways).
 */
#ifndef DRAGOMAN_TEST_FUZZ_ADAPTER_RUN_H
#define DRAGOMAN_TEST_FUZZ_ADAPTER_RUN_H

#include <assert.h>
#include <string.h>

#include "adapters/adapter.h"
#include "gateway/answer.h"
#include "gateway/chat_request.h"
#include "sse/frame_decoder.h"
#include "test/fuzz/check_events.h"

#define FUZZ_HI                                                                                    \
    "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

struct fuzz_run {
    const struct adapter *adapter;
    struct json_parser *json;
    struct arena arena;
    struct turn turn;
    struct buffer out;
    struct answer answer;
    struct answer_feed feed;
    struct site_settings site;
    struct site_account account;
    struct turn_run run;
    struct fail fail;
    struct site_request request;
    struct json_template shape;
    struct buffer scratch;
};

/* What is known of frames (json_shapes.h), from run to run of one input. */
static struct json_shapes fuzz_shapes;
/* Whether frames may be taken for repeated ones (json_template.h), and all that came of it. */
static bool fuzz_repeats;
static struct buffer fuzz_said;

static inline void fuzz_random(void *owner, void *bytes, size_t n) { memset(bytes, 7, n); }

static inline void fuzz_drift(void *owner, const char *kind)
{
    buffer_printf(&fuzz_said, "drift %s\n", kind);
}

/* In place. `body`: a chat that is good; `model`: the site's name of its model. */
static inline void fuzz_run_begin(struct fuzz_run *r, const struct adapter *adapter,
                                  struct span body, struct span model,
                                  const struct credential *credentials, size_t n)
{
    static const struct token_source estimated = {NULL, NULL};
    const struct answer_meta meta = {.id = SPAN("chatcmpl-1"), .model = SPAN("m"), .created = 1};
    const struct answer_rules rules = {.reasoning = REASONING_FIELD};
    struct fail fail;
    memset(r, 0, sizeof *r);
    r->adapter = adapter;
    r->json = json_parser_create(1 << 24);
    arena_init(&r->arena);
    buffer_init(&r->out, 1 << 27);
    buffer_init(&r->scratch, 1 << 27);
    body = arena_dup(&r->arena, body);
    assert(chat_request_parse(r->json, &r->arena, (char *)(uintptr_t)body.p, body.n, &r->turn,
                              &fail) == 0);
    answer_init(&r->answer, chat_stream_writer(&r->arena, &meta, NULL, &r->out), &r->arena,
                &estimated, meta.id);
    answer_feed_add(&r->answer, &r->feed, &r->turn, 0, 1);
    answer_feed_begin(&r->feed, &rules);
    r->site = (struct site_settings){.name = SPAN("s"), .origin = SPAN("https://s.example")};
    r->account =
        (struct site_account){.name = SPAN("main"), .credentials = credentials, .n_credentials = n};
    r->run = (struct turn_run){.fail = &r->fail,
                               .turn = &r->turn,
                               .site = &r->site,
                               .account = &r->account,
                               .model = model,
                               .state = arena_alloc(&r->arena, adapter->state_size),
                               .arena = &r->arena,
                               .json = r->json,
                               .out = &r->feed.sink,
                               .scratch = &r->scratch,
                               .shape = fuzz_repeats ? &r->shape : NULL,
                               .shapes = fuzz_repeats ? &fuzz_shapes : NULL,
                               .drift = fuzz_drift,
                               .now_ms = 1760000000000,
                               .random = fuzz_random};
}

/* The adapter has something to send. */
static inline void fuzz_run_ask(struct fuzz_run *r)
{
    r->request = (struct site_request){0};
    assert(r->adapter->next(&r->run, &r->request) == ADAPTER_SEND);
}

/* A good answer to a step before the one that the bytes are for: one whole frame. */
static inline void fuzz_run_step(struct fuzz_run *r, int status, struct span json)
{
    const struct site_head head = {.status = status, .content_type = SPAN("application/json")};
    const struct frame frame = {.data = json};
    assert(r->adapter->on_head(&r->run, &head, &r->request.framing) == ADAPTER_GO_ON);
    assert(r->adapter->on_frame(&r->run, &frame) == ADAPTER_COMPLETE);
    fuzz_run_ask(r);
}

/* The bytes answer what was asked. `how`: status (bits 0, 1), type (2, 3), pieces of a few bytes
 * (4), a cut end (5). */
static inline enum adapter_verdict fuzz_run_answer(struct fuzz_run *r, unsigned how,
                                                   const int statuses[4], struct span stream_type,
                                                   struct span bytes)
{
    const struct span types[] = {stream_type, stream_type, SPAN("application/json"),
                                 SPAN("text/html")};
    const struct site_head head = {.status = statuses[how & 3],
                                   .content_type = types[how >> 2 & 3]};
    const struct adapter *a = r->adapter;
    enum framing framing = r->request.framing;
    json_template_forget(&r->shape);
    enum adapter_verdict verdict = a->on_head(&r->run, &head, &framing);
    size_t step = how & 16 ? how % 13 + 1 : bytes.n + 1;
    struct frame_decoder decoder;
    struct frame frame;
    frame_decoder_init(&decoder, framing, FRAME_LIMIT);
    for (size_t at = 0; at < bytes.n && verdict == ADAPTER_GO_ON; at += step) {
        struct span rest = span_first(span_from(bytes, at), step);
        while (verdict == ADAPTER_GO_ON &&
               frame_decoder_next(&decoder, &rest, &frame) == FRAME_READY)
            verdict = a->on_frame(&r->run, &frame);
    }
    if (verdict == ADAPTER_GO_ON && frame_decoder_end(&decoder, &frame) == FRAME_READY)
        verdict = a->on_frame(&r->run, &frame);
    if (verdict == ADAPTER_GO_ON)
        verdict = a->on_end(&r->run, how & 32 ? END_CUT : END_CLEAN);
    frame_decoder_free(&decoder);
    assert(verdict == ADAPTER_COMPLETE ||
           (r->run.fail->kind != FAIL_NONE && r->run.fail->message[0]));
    return verdict;
}

/* `whole`: an answer that can be written to its end. */
static inline void fuzz_run_end(struct fuzz_run *r, bool whole)
{
    if (whole)
        assert(answer_end(&r->answer, NULL) == 0);
    check_events(r->json, buffer_span(&r->out));
    buffer_append(&fuzz_said, buffer_span(&r->out));
    buffer_printf(&fuzz_said, "%d %s\n", r->run.fail->kind, r->run.fail->message);
    for (int steps = 0; r->adapter->cleanup &&
                        r->adapter->cleanup(&r->run, &(struct site_request){0}) == ADAPTER_SEND;)
        assert(++steps <= 2);
    if (r->adapter->destroy)
        r->adapter->destroy(&r->run);
    account_clear(&r->account);
    answer_free(&r->answer);
    buffer_free(&r->out);
    buffer_free(&r->scratch);
    arena_free(&r->arena);
    json_parser_destroy(r->json);
}

/* `play` with and without frames that were seen before: they say the same. */
static inline int fuzz_both_ways(void (*play)(const uint8_t *data, size_t size),
                                 const uint8_t *data, size_t size)
{
    struct buffer first;
    buffer_init(&fuzz_said, 1 << 28);
    fuzz_repeats = true;
    play(data, size);
    first = fuzz_said;
    buffer_init(&fuzz_said, 1 << 28);
    fuzz_repeats = false;
    play(data, size);
    assert(span_eq(buffer_span(&first), buffer_span(&fuzz_said)));
    buffer_free(&fuzz_said);
    buffer_init(&fuzz_said, 1 << 28);
    fuzz_repeats = true; /* all of it was seen before */
    play(data, size);
    assert(span_eq(buffer_span(&first), buffer_span(&fuzz_said)));
    json_shapes_free(&fuzz_shapes);
    buffer_free(&first);
    buffer_free(&fuzz_said);
    return 0;
}

#endif
