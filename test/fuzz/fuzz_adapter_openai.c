/*
 * test/fuzz/fuzz_adapter_openai.c - foreign bytes through decoder and adapter, and clients' bodies
 * through the body editor.
 *
 * The first byte chooses: what is played (a client's body, or an answer to openai or sophnet), the
 * answer's status and type, and where the bytes are cut. What must hold: no finding of the
 * sanitizers; a failure has a kind and a message; extras and usage that come out, and an edited
 * body, are JSON; deltas are the same when no frame is taken for a repeated one (json_template.h).
 */
#include <stdlib.h>

#include "test/fuzz/adapter_run.h"

enum { JSON_LIMIT = 1 << 24 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_json(struct span open, struct span text, struct span close)
{
    struct json_parser *parser = json_parser_create(JSON_LIMIT);
    struct buffer whole;
    struct json root;
    buffer_init(&whole, JSON_LIMIT);
    buffer_append(&whole, open);
    buffer_append(&whole, text);
    buffer_append(&whole, close);
    int error = json_parse(parser, buffer_span(&whole), &root);
    assert(!error && json_is(root, JSON_OBJECT));
    buffer_free(&whole);
    json_parser_destroy(parser);
}

static int put_delta(void *owner, const struct delta *d)
{
    if (d->kind == DELTA_EXTRA)
        must_be_json(SPAN("{"), d->text, SPAN("}"));
    else if (d->kind == DELTA_USAGE && d->usage.raw.n)
        must_be_json(SPAN(""), d->usage.raw, SPAN(""));
    assert(d->choice >= 0 && d->choice < 128 && d->index >= 0);
    /* Texts may be cut otherwise: what goes on is not said anew. */
    static unsigned before;
    unsigned what = (unsigned)d->kind << 8 | (unsigned)d->choice;
    if (!fuzz_said.n || before != what)
        buffer_printf(&fuzz_said, "\n%d of %d: ", d->kind, d->choice);
    before = what;
    buffer_append(&fuzz_said, d->text);
    return 0;
}

static const struct turn *read_turn(struct json_parser *json, struct arena *arena, struct span body,
                                    struct fail *fail)
{
    struct span copy = arena_dup(arena, body);
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    return chat_request_parse(json, arena, (char *)copy.p, copy.n, turn, fail) ? NULL : turn;
}

/* A copy of exactly this size: an adapter that reads on is caught. */
static enum adapter_verdict feed(const struct adapter *a, struct turn_run *run,
                                 struct frame_decoder *decoder, struct span piece)
{
    enum adapter_verdict verdict = ADAPTER_GO_ON;
    char *copy = malloc(piece.n + 1);
    struct frame frame;
    if (piece.n)
        memcpy(copy, piece.p, piece.n);
    struct span rest = span_of(copy, piece.n);
    while (verdict == ADAPTER_GO_ON && frame_decoder_next(decoder, &rest, &frame) == FRAME_READY)
        verdict = a->on_frame(run, &frame);
    free(copy);
    return verdict;
}

static void play(const struct adapter *a, struct turn_run *run, enum framing framing, unsigned how,
                 struct span bytes)
{
    static const struct span types[] = {SPAN_INIT("text/event-stream"),
                                        SPAN_INIT("application/json"), SPAN_INIT("text/html"),
                                        SPAN_INIT("")};
    static const int statuses[] = {200, 200, 400, 503};
    struct site_head head = {.status = statuses[how >> 2 & 3], .content_type = types[how & 3]};
    enum stream_end end = how & 16 ? END_CUT : END_CLEAN;
    size_t step = how & 32 ? 1 : bytes.n / 2 + 1;
    enum adapter_verdict verdict = a->on_head(run, &head, &framing);
    struct frame_decoder decoder;
    struct frame frame;

    frame_decoder_init(&decoder, framing, FRAME_LIMIT);
    for (size_t at = 0; at < bytes.n && verdict == ADAPTER_GO_ON; at += step)
        verdict = feed(a, run, &decoder, span_first(span_from(bytes, at), step));
    if (verdict == ADAPTER_GO_ON && end == END_CLEAN &&
        frame_decoder_end(&decoder, &frame) == FRAME_READY)
        verdict = a->on_frame(run, &frame);
    if (verdict == ADAPTER_GO_ON)
        verdict = a->on_end(run, end);
    assert(verdict != ADAPTER_GO_ON);
    assert((verdict == ADAPTER_FAIL) == (run->fail->kind != FAIL_NONE));
    assert(verdict != ADAPTER_FAIL || run->fail->message[0]);
    frame_decoder_free(&decoder);
}

static void run_once(const uint8_t *data, size_t size)
{
    static const struct span plain = SPAN_INIT(
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true}");
    static const struct option_value options[] = {
        {.name = SPAN_INIT("fold_history"), .type = OPTION_INT, .integer = 2}};
    static const struct credential token[] = {{SPAN_INIT("token"), SPAN_INIT("anon-x")}};
    static const struct delta_sink sink = {.put = put_delta};
    if (size == 0)
        return;
    unsigned how = data[0];
    struct span bytes = span_of((const char *)data + 1, size - 1);
    const struct adapter *a = how & 64 ? &adapter_sophnet : &adapter_openai;
    bool is_body = how & 128;
    struct site_settings site = {.name = SPAN("site"),
                                 .origin = SPAN("https://site.example"),
                                 .options = options,
                                 .n_options = 1};
    struct site_account account = {.name = SPAN("main"), .credentials = token, .n_credentials = 1};
    struct arena arena;
    struct site_request req = {0};
    struct json_template shape = {0};
    struct buffer scratch;
    buffer_init(&scratch, 1 << 28);
    arena_init(&arena);
    struct turn_run run = {
        .fail = &(struct fail){0},
        .site = &site,
        .account = &account,
        .model = SPAN("up"),
        .state = arena_alloc(&arena, a->state_size),
        .arena = &arena,
        .json = json_parser_create(JSON_LIMIT),
        .out = &sink,
        .scratch = &scratch,
        .shape = fuzz_repeats ? &shape : NULL,
        .shapes = fuzz_repeats ? &fuzz_shapes : NULL,
        .now_ms = 1,
        .random = fuzz_random,
    };
    run.turn = read_turn(run.json, &arena, is_body ? bytes : plain, run.fail);
    if (run.turn && a->next(&run, &req) == ADAPTER_SEND) {
        must_be_json(SPAN(""), req.body, SPAN(""));
        if (!is_body)
            play(a, &run, req.framing, how, bytes);
    }
    buffer_printf(&fuzz_said, "\n%d %s", run.fail->kind, run.fail->message);
    account_clear(&account);
    json_parser_destroy(run.json);
    buffer_free(&scratch);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_both_ways(run_once, data, size);
}
