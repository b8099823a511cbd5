/*
 * adapters/anthropic_stream.c - the answer's events (sites/anthropic.md §5) become deltas.
 *
 * Blocks come one after another, each with a begin, pieces and an end. Pieces of arguments are
 * passed on as they are: they may be cut inside of an escape. Thinking is kept beside with its
 * signature for the clients that lose it (§4.5); message_stop decides, or a stop_reason before the
 * end.
 */
#include "adapters/anthropic.h"

enum { INPUT_LIMIT = 16 * 1024 * 1024, TOKENS_MAX = INT32_MAX };

/* ---- thinking, kept for the next turn ---- */

/* Raw JSON of the blocks so far; too much of it is not kept at all. */
static void keep_begin(struct anthropic *a)
{
    buffer_append(&a->blocks, a->blocks.n ? SPAN(",{\"type\":\"thinking\",\"thinking\":\"")
                                          : SPAN("{\"type\":\"thinking\",\"thinking\":\""));
    a->block_open = true;
}

static void keep_end(struct anthropic *a)
{
    if (!a->block_open)
        return;
    buffer_append(&a->blocks, SPAN("\",\"signature\":\""));
    json_escape(&a->blocks, buffer_span(&a->signature));
    buffer_append(&a->blocks, SPAN("\"}"));
    a->block_open = false;
}

static void keep_redacted(struct anthropic *a, struct span data)
{
    keep_end(a);
    buffer_append(&a->blocks, a->blocks.n ? SPAN(",{\"type\":\"redacted_thinking\",\"data\":\"")
                                          : SPAN("{\"type\":\"redacted_thinking\",\"data\":\""));
    json_escape(&a->blocks, data);
    buffer_append(&a->blocks, SPAN("\"}"));
}

static void remember_thinking(struct turn_run *run, struct anthropic *a)
{
    if (!a->first_call.n || !a->blocks.n || a->blocks.error ||
        run->turn->dialect == DIALECT_ANTHROPIC)
        return;
    mend_lone_surrogates(a->blocks.p, a->blocks.n);
    run_keep(run, anthropic_memory_key(run, a->first_call), buffer_span(&a->blocks));
}

/* ---- blocks ---- */

static int put_text(struct turn_run *run, struct anthropic *a, struct span text)
{
    a->something |= text.n > 0;
    return delta_text(run->out, 0, text);
}

static int put_thinking(struct turn_run *run, struct anthropic *a, struct span text)
{
    a->something |= text.n > 0;
    if (a->block_open)
        json_escape(&a->blocks, text);
    return delta_reasoning(run->out, 0, text);
}

static int put_signature_piece(struct turn_run *run, struct anthropic *a, struct span piece)
{
    int error = buffer_append(&a->signature, piece);
    if (error == BUFFER_NOMEM)
        return fail_memory(run->fail);
    return error ? fail_set(run->fail, FAIL_PROTOCOL, "%.*s sent a signature that is too large",
                            SPAN_ARGS(run->site->name))
                 : 0;
}

static int put_citation(struct turn_run *run, struct json citation)
{
    struct span url = json_get_text(citation, "url");
    return url.n ? delta_citation(run->out, 0, url, json_get_text(citation, "title")) : 0;
}

static int put_citations(struct turn_run *run, struct json list)
{
    struct json_iter it = json_each(list);
    while (json_next(&it)) {
        if (put_citation(run, it.value))
            return -1;
    }
    return 0;
}

/* The client's own name of a tool. */
static struct span asked_name(const struct anthropic *a, struct span name)
{
    for (size_t i = 0; i < a->n_names; i++) {
        if (span_eq(a->names[i].sent, name))
            return a->names[i].asked;
    }
    return name;
}

static int begin_call(struct turn_run *run, struct anthropic *a, struct block *block,
                      struct json content)
{
    struct span id = json_get_text(content, "id");
    struct json input = json_get(content, "input");
    if (a->n_calls == ANTHROPIC_CALLS_MAX)
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s made more than %d tool calls",
                        SPAN_ARGS(run->site->name), (int)ANTHROPIC_CALLS_MAX);
    block->call = a->n_calls++;
    a->something = true;
    if (!a->first_call.n && id.n)
        a->first_call = arena_dup(run->arena, id);
    if (json_is(input, JSON_OBJECT) && json_size(input)) {
        struct buffer text;
        buffer_init(&text, INPUT_LIMIT);
        json_dump(&text, input);
        if (!text.error)
            mend_lone_surrogates(text.p, text.n);
        block->beside = text.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&text));
        buffer_free(&text);
        if (!block->beside.p)
            return fail_memory(run->fail);
    }
    return delta_tool_begin(run->out, 0, block->call, id,
                            asked_name(a, json_get_text(content, "name")));
}

static int end_block(struct turn_run *run, struct anthropic *a, struct block *block)
{
    enum block_kind kind = block->kind;
    block->kind = BLOCK_NONE;
    if (kind == BLOCK_TOOL && !block->pieces)
        return delta_tool_arguments(run->out, 0, block->call,
                                    block->beside.n ? block->beside : SPAN("{}"));
    if (kind != BLOCK_THINKING)
        return 0;
    keep_end(a);
    int error = delta_signature(run->out, 0, buffer_span(&a->signature));
    buffer_clear(&a->signature);
    return error;
}

static int begin_block(struct turn_run *run, struct anthropic *a, int64_t index,
                       struct json content)
{
    struct span type = json_get_text(content, "type");
    struct block *block = block_find(&a->open, index);
    if (block && end_block(run, a, block))
        return -1;
    block = block_open(run, &a->open, index, type);
    if (!block)
        return 0;
    switch (block->kind) {
    case BLOCK_TEXT:
        if (put_text(run, a, json_get_text(content, "text")))
            return -1;
        return put_citations(run, json_get(content, "citations"));
    case BLOCK_THINKING:
        keep_end(a);
        buffer_clear(&a->signature);
        keep_begin(a);
        if (put_signature_piece(run, a, json_get_text(content, "signature")))
            return -1;
        return put_thinking(run, a, json_get_text(content, "thinking"));
    case BLOCK_TOOL: return begin_call(run, a, block, content);
    default: break;
    }
    if (!span_eq(type, SPAN("redacted_thinking")))
        return 0; /* the site's own tools and what they found */
    keep_redacted(a, json_get_text(content, "data"));
    return delta_redacted(run->out, 0, json_get_text(content, "data"));
}

static int put_delta(struct turn_run *run, struct anthropic *a, int64_t index, struct json delta)
{
    struct block *block = block_find(&a->open, index);
    struct span type = json_get_text(delta, "type");
    if (span_eq(type, SPAN("text_delta")))
        return put_text(run, a, json_get_text(delta, "text"));
    if (span_eq(type, SPAN("thinking_delta")))
        return put_thinking(run, a, json_get_text(delta, "thinking"));
    if (span_eq(type, SPAN("signature_delta")))
        return block && block->kind == BLOCK_THINKING
                   ? put_signature_piece(run, a, json_get_text(delta, "signature"))
                   : 0;
    if (span_eq(type, SPAN("citations_delta")))
        return put_citation(run, json_get(delta, "citation"));
    if (!span_eq(type, SPAN("input_json_delta"))) {
        run_drift(run, "unknown delta");
        return 0;
    }
    struct span piece = json_get_text(delta, "partial_json");
    if (!block || block->kind != BLOCK_TOOL || piece.n == 0)
        return 0;
    block->pieces = true;
    return delta_tool_arguments(run->out, 0, block->call, piece);
}

/* ---- usage ---- */

/* Counts that cannot be are none: sums of them must stay numbers. */
static void read_count(struct json usage, const char *key, int64_t *count)
{
    int64_t n;
    if (json_int(json_get(usage, key), &n) && n >= 0 && n <= TOKENS_MAX)
        *count = n;
}

/* A later one overrides field by field, never with null. */
static void read_usage(struct anthropic *a, struct json usage)
{
    read_count(usage, "input_tokens", &a->input);
    read_count(usage, "cache_creation_input_tokens", &a->cache_write);
    read_count(usage, "cache_read_input_tokens", &a->cache_read);
    read_count(usage, "output_tokens", &a->output);
    read_count(json_get(usage, "output_tokens_details"), "thinking_tokens", &a->thinking);
}

/* The API counts what came from a cache and what went into one apart from the input. */
static int put_usage(struct turn_run *run, const struct anthropic *a)
{
    if (a->input < 0 && a->output < 0)
        return 0;
    int64_t write = a->cache_write > 0 ? a->cache_write : 0;
    int64_t read = a->cache_read > 0 ? a->cache_read : 0;
    struct delta_usage u = {.prompt = a->input < 0 ? -1 : a->input + write + read,
                            .completion = a->output,
                            .total = -1,
                            .cached = a->cache_read,
                            .reasoning = a->thinking,
                            .cache_write = write};
    if (u.prompt >= 0 && u.completion >= 0)
        u.total = u.prompt + u.completion;
    return delta_usage(run->out, &u);
}

/* ---- the end ---- */

static int read_stop(struct turn_run *run, struct anthropic *a, struct json delta)
{
    struct span reason = json_get_text(delta, "stop_reason");
    struct span sequence = json_get_text(delta, "stop_sequence");
    struct span why = json_get_text(json_get(delta, "stop_details"), "explanation");
    if (reason.n)
        a->stop_reason = arena_dup(run->arena, reason);
    if (sequence.n)
        a->stop_sequence = arena_dup(run->arena, sequence);
    if (why.n)
        a->explanation = arena_dup(run->arena, why);
    bool lost = (reason.n && !a->stop_reason.p) || (sequence.n && !a->stop_sequence.p) ||
                (why.n && !a->explanation.p);
    return lost ? fail_memory(run->fail) : 0;
}

static const struct stop_row stop_rows[] = {
    {SPAN_INIT("end_turn"), SPAN_INIT("stop")},
    {SPAN_INIT("stop_sequence"), SPAN_INIT("stop")},
    {SPAN_INIT("pause_turn"), SPAN_INIT("stop")},
    {SPAN_INIT("max_tokens"), SPAN_INIT("length")},
    {SPAN_INIT("model_context_window_exceeded"), SPAN_INIT("length")},
    {SPAN_INIT("tool_use"), SPAN_INIT("tool_calls")},
    {SPAN_INIT("refusal"), SPAN_INIT("content_filter")},
};

static enum adapter_verdict refused_answer(struct turn_run *run, const struct anthropic *a)
{
    char why[160];
    clean_message(run, why, sizeof why, a->explanation);
    return fail_set(run->fail, FAIL_CONTENT_FILTER, "%.*s refused to answer%s%s",
                    SPAN_ARGS(run->site->name), why[0] ? ": " : "", why);
}

enum adapter_verdict anthropic_finish(struct turn_run *run, struct anthropic *a)
{
    for (size_t i = 0; i < BLOCKS_OPEN_MAX; i++) {
        if (a->open.open[i].kind != BLOCK_NONE && end_block(run, a, &a->open.open[i]))
            return ADAPTER_FAIL;
    }
    struct span reason =
        stop_reason_of(run, stop_rows, sizeof stop_rows / sizeof *stop_rows, a->stop_reason);
    bool told = span_eq(reason, SPAN("length")) || a->stop_sequence.n ||
                span_eq(a->stop_reason, SPAN("pause_turn"));
    if (!a->something && span_eq(reason, SPAN("content_filter")))
        return refused_answer(run, a);
    if (!a->something && !told)
        return fail_said_nothing(run);
    remember_thinking(run, a);
    if (a->n_calls && span_eq(reason, SPAN("stop"))) /* other services forget to say it */
        reason = SPAN("tool_calls");
    a->finished = true;
    if (delta_finish_as(run->out, 0, reason, a->stop_reason, a->stop_sequence))
        return ADAPTER_FAIL;
    return put_usage(run, a) ? ADAPTER_FAIL : ADAPTER_COMPLETE;
}

/* ---- events ---- */

static int end_block_at(struct turn_run *run, struct anthropic *a, int64_t index)
{
    struct block *block = block_find(&a->open, index);
    return block ? end_block(run, a, block) : 0;
}

static enum adapter_verdict read_event(struct turn_run *run, struct anthropic *a,
                                       const struct message_event *e)
{
    int error = 0;
    switch (e->kind) {
    case EVENT_BLOCK_DELTA: error = put_delta(run, a, e->index, e->inner); break;
    case EVENT_BLOCK_START: error = begin_block(run, a, e->index, e->inner); break;
    case EVENT_BLOCK_STOP: error = end_block_at(run, a, e->index); break;
    case EVENT_MESSAGE_START: read_usage(a, json_get(e->inner, "usage")); break;
    case EVENT_MESSAGE_DELTA:
        read_usage(a, json_get(e->root, "usage"));
        error = read_stop(run, a, e->inner);
        break;
    case EVENT_MESSAGE_STOP: return anthropic_finish(run, a);
    case EVENT_ERROR: return anthropic_error(run, e->inner);
    case EVENT_PING: break;
    case EVENT_OTHER:
        if (span_eq(e->name, SPAN("message"))) /* a service that does not stream */
            return anthropic_read_message(run, a, e->root);
        run_drift(run, "unknown event");
    }
    return error ? ADAPTER_FAIL : ADAPTER_GO_ON;
}

/* Pieces of a block are most of what comes, and alike: text, thinking, a call's arguments. */
enum { AGAIN_TEXT, AGAIN_THINKING, AGAIN_ARGUMENTS /* and on: with the call's number */ };

static int put_again(struct turn_run *run, struct anthropic *a, const struct json_like *like)
{
    switch (like->meaning) {
    case AGAIN_TEXT: return put_text(run, a, like->string);
    case AGAIN_THINKING: return put_thinking(run, a, like->string);
    default:
        return delta_tool_arguments(run->out, 0, like->meaning - AGAIN_ARGUMENTS, like->string);
    }
}

static void learn(struct turn_run *run, struct anthropic *a, const struct frame *frame,
                  const struct message_event *e)
{
    static const char *const text[] = {"delta", "text", NULL};
    static const char *const thinking[] = {"delta", "thinking", NULL};
    static const char *const arguments[] = {"delta", "partial_json", NULL};
    const struct block *block = block_find(&a->open, e->index);
    struct span type = json_get_text(e->inner, "type");
    if (span_eq(type, SPAN("text_delta")))
        frame_learn(run, frame, text, NULL, AGAIN_TEXT);
    else if (span_eq(type, SPAN("thinking_delta")))
        frame_learn(run, frame, thinking, NULL, AGAIN_THINKING);
    else if (span_eq(type, SPAN("input_json_delta")) && block && block->kind == BLOCK_TOOL &&
             block->pieces)
        frame_learn(run, frame, arguments, NULL, AGAIN_ARGUMENTS + block->call);
}

enum adapter_verdict anthropic_read_frame(struct turn_run *run, struct anthropic *a,
                                          const struct frame *frame)
{
    struct message_event e;
    struct json_like like;
    if (frame_repeats(run, frame, &like))
        return put_again(run, a, &like) ? ADAPTER_FAIL : ADAPTER_GO_ON;
    if (!message_event_read(run, frame, &e))
        return ADAPTER_GO_ON;
    enum adapter_verdict verdict = read_event(run, a, &e);
    if (verdict == ADAPTER_GO_ON && e.kind == EVENT_BLOCK_DELTA)
        learn(run, a, frame, &e);
    return verdict;
}

enum adapter_verdict anthropic_read_message(struct turn_run *run, struct anthropic *a,
                                            struct json message)
{
    struct json_iter it = json_each(json_get(message, "content"));
    int64_t index = 0;
    while (json_next(&it)) {
        if (begin_block(run, a, index, it.value))
            return ADAPTER_FAIL;
        struct block *block = block_find(&a->open, index++);
        if (block && end_block(run, a, block))
            return ADAPTER_FAIL;
    }
    read_usage(a, json_get(message, "usage"));
    return read_stop(run, a, message) ? ADAPTER_FAIL : anthropic_finish(run, a);
}
