/*
 * gateway/write_messages.c - Anthropic's message events, or one message: the writers of
 * /v1/messages (clients.md §2.8).
 *
 * Both are one machine: an answer is a row of blocks of which one at most is open. A stream writes
 * an event for each step of it, a whole answer writes the blocks' JSON one behind the other.
 *
 * The hard part are calls whose arguments come side by side (OpenAI's stream allows it): a block
 * must be complete before the next one begins, so what comes for a later call waits until the open
 * one's arguments are a complete object.
 *
 * Citations of sites are written as web_search_result_location with an empty encrypted_index and
 * cited_text, where text is the answer's last block; elsewhere they are left out, since an empty
 * text block may not be sent back. messages_request.c takes them out of the history again.
 */
#include <stdio.h>

#include "base/json.h"
#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/answer_writer.h"
#include "gateway/api.h"
#include "gateway/error_response.h"
#include "sse/text_guard.h"

enum block { BLOCK_NONE, BLOCK_TEXT, BLOCK_THINKING, BLOCK_TOOL };

enum { SCRATCH_LIMIT = 3 * ANSWER_LIMIT };

/* How far a JSON object has come, from its text in pieces. */
struct object_end {
    int depth;
    bool begun, in_string, escaped;
};

/* A call that waits for its turn. */
struct waiting_call {
    int index;
    struct span id, name;
    struct buffer arguments;
    struct waiting_call *next;
};

struct messages_writer {
    struct answer_writer writer; /* first */
    struct arena *arena;
    struct answer_meta meta;
    struct buffer *out;     /* streams: events; whole answers: the blocks so far */
    struct buffer blocks;   /* whole answers */
    struct buffer argument; /* whole answers: of the open call */
    struct buffer scratch;
    size_t gathered; /* whole answers: bytes of text */
    bool streams, begun;

    enum block open;
    int n_blocks;    /* opened so far */
    char delta[160]; /* streams: how each piece of the open block begins */
    size_t delta_n;
    struct text_guard guard; /* of the open block */
    bool cited;              /* whole answers: the open text has its citations */
    int call_index;          /* of the open call */
    struct object_end call_end;
    bool has_calls;
    struct waiting_call *waiting, **last_waiting;

    const char *stop_reason; /* NULL = not finished */
    struct span stop_sequence;
};

#define WRITER_OF(w) ((struct messages_writer *)(w))

/* ---- small pieces ---- */

static struct json_writer begin_event(struct messages_writer *m, const char *name)
{
    buffer_append(m->out, SPAN("event: "));
    buffer_append(m->out, span_str(name));
    buffer_append(m->out, SPAN("\ndata: "));
    struct json_writer w = json_writer(m->out);
    json_begin_object(&w);
    json_member(&w, "type", span_str(name));
    return w;
}

static void end_event(struct messages_writer *m, struct json_writer *w)
{
    json_end_object(w);
    buffer_append(m->out, SPAN("\n\n"));
}

static void write_usage(struct json_writer *w, const struct usage_counts *u)
{
    int64_t cached = u->cached > 0 ? u->cached : 0;
    int64_t apart = cached + u->cache_write; /* counted apart from the rest of the prompt */
    json_key(w, "usage");
    json_begin_object(w);
    json_member_int(w, "input_tokens", u->prompt > apart ? u->prompt - apart : 0);
    json_member_int(w, "cache_creation_input_tokens", u->cache_write);
    json_member_int(w, "cache_read_input_tokens", cached);
    json_member_int(w, "output_tokens", u->completion);
    if (u->reasoning >= 0) {
        json_key(w, "output_tokens_details");
        json_begin_object(w);
        json_member_int(w, "thinking_tokens", u->reasoning);
        json_end_object(w);
    }
    if (u->source)
        json_member(w, "dragoman_source", span_str(u->source));
    json_end_object(w);
}

static void write_stop(struct messages_writer *m, struct json_writer *w)
{
    json_key(w, "stop_reason");
    if (m->stop_reason)
        json_cstring(w, m->stop_reason);
    else
        json_null(w);
    json_key(w, "stop_sequence");
    if (m->stop_sequence.n)
        json_string(w, m->stop_sequence);
    else
        json_null(w);
}

/* The message up to its content. */
static void write_head(struct messages_writer *m, struct json_writer *w)
{
    json_member(w, "id", m->meta.id);
    json_member(w, "type", SPAN("message"));
    json_member(w, "role", SPAN("assistant"));
    json_member(w, "model", m->meta.model);
    json_key(w, "content");
}

/* The first event. Of the usage nothing is known yet: message_delta tells all of it. */
static void begin(struct messages_writer *m)
{
    const struct usage_counts nothing = {.cached = -1, .reasoning = -1};
    if (m->begun || !m->streams)
        return;
    m->begun = true;
    struct json_writer w = begin_event(m, "message_start");
    json_key(&w, "message");
    json_begin_object(&w);
    write_head(m, &w);
    json_begin_array(&w);
    json_end_array(&w);
    write_stop(m, &w);
    write_usage(&w, &nothing);
    json_end_object(&w);
    end_event(m, &w);
    w = begin_event(m, "ping");
    end_event(m, &w);
}

/* ---- how far an object is ---- */

static void object_end_pass(struct object_end *e, struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (e->in_string) {
            e->in_string = e->escaped || c != '"';
            e->escaped = !e->escaped && c == '\\';
        } else if (c == '"') {
            e->in_string = true;
        } else if (c == '{' || c == '[') {
            e->depth++;
            e->begun = true;
        } else if (c == '}' || c == ']') {
            e->depth--;
        }
    }
}

static bool object_is_whole(const struct object_end *e) { return e->begun && e->depth <= 0; }

/* ---- blocks ---- */

static int status(const struct messages_writer *m)
{
    return m->out->error ? (int)m->out->error : (int)m->scratch.error;
}

static struct json_writer open_event(struct messages_writer *m, const char *type)
{
    struct json_writer w = begin_event(m, "content_block_start");
    json_member_int(&w, "index", m->n_blocks);
    json_key(&w, "content_block");
    json_begin_object(&w);
    json_member(&w, "type", span_str(type));
    return w;
}

static void close_open_event(struct messages_writer *m, struct json_writer *w)
{
    json_end_object(w);
    end_event(m, w);
}

static void prepare_delta(struct messages_writer *m, const char *type, const char *key)
{
    int n = snprintf(m->delta, sizeof m->delta,
                     "event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
                     "\"index\":%d,\"delta\":{\"type\":\"%s\",\"%s\":\"",
                     m->n_blocks, type, key);
    m->delta_n = (size_t)n;
}

/* Of whole answers: the block's beginning, up to where its text goes. */
static struct json_writer open_whole(struct messages_writer *m, const char *type)
{
    struct json_writer w = json_writer(m->out);
    w.comma = m->n_blocks > 0;
    json_begin_object(&w);
    json_member(&w, "type", span_str(type));
    return w;
}

static void begin_block(struct messages_writer *m, enum block kind)
{
    begin(m);
    m->open = kind;
    m->guard = (struct text_guard){{0}, 0};
    m->cited = false;
}

static void open_text(struct messages_writer *m, enum block kind)
{
    bool thinking = kind == BLOCK_THINKING;
    const char *type = thinking ? "thinking" : "text";
    struct json_writer w;
    begin_block(m, kind);
    if (m->streams) {
        w = open_event(m, type);
        json_member(&w, type, SPAN(""));
        if (thinking)
            json_member(&w, "signature", SPAN(""));
        close_open_event(m, &w);
        prepare_delta(m, thinking ? "thinking_delta" : "text_delta", type);
    } else {
        w = open_whole(m, type);
        json_key(&w, type);
        buffer_char(m->out, '"');
    }
    m->n_blocks++;
}

static void open_call(struct messages_writer *m, int index, struct span id, struct span name)
{
    struct json_writer w;
    begin_block(m, BLOCK_TOOL);
    m->call_index = index;
    m->call_end = (struct object_end){0};
    w = m->streams ? open_event(m, "tool_use") : open_whole(m, "tool_use");
    json_member_repaired(&w, "id", id);
    json_member_repaired(&w, "name", name);
    if (m->streams) {
        json_member_raw(&w, "input", SPAN("{}"));
        close_open_event(m, &w);
        prepare_delta(m, "input_json_delta", "partial_json");
    }
    m->n_blocks++;
}

/* Text of the open block, whole characters. */
static int write_piece(struct messages_writer *m, struct span text)
{
    if (!text.n)
        return status(m);
    if (!m->streams)
        return m->open == BLOCK_TOOL ? buffer_append(&m->argument, text)
                                     : json_escape(m->out, text);
    buffer_append(m->out, span_of(m->delta, m->delta_n));
    json_escape(m->out, text);
    return buffer_append(m->out, SPAN("\"}}\n\n"));
}

static int put_piece(struct messages_writer *m, struct span text)
{
    struct span out;
    m->gathered += m->streams ? 0 : text.n;
    if (m->gathered > ANSWER_LIMIT)
        return BUFFER_FULL;
    if (m->open == BLOCK_TOOL)
        object_end_pass(&m->call_end, text);
    if (text_guard_pass(&m->guard, text, &m->scratch, &out))
        return -1;
    return write_piece(m, out);
}

/* A number that is out of the parser's range (1e999) is JSON, and left as such in the stream. */
static bool is_object(struct messages_writer *m, struct span text)
{
    struct json_parser *json = text.n ? json_parser_create(text.n + JSON_PADDING) : NULL;
    struct json root;
    int result = json ? json_parse(json, text, &root) : JSON_NOMEM;
    if (text.n && result == JSON_NOMEM)
        m->out->error = BUFFER_NOMEM;
    bool object =
        result == JSON_NUMBER ? json_check_object(text) : !result && json_is(root, JSON_OBJECT);
    json_parser_destroy(json);
    return object;
}

/* A call's arguments as the value of "input": what is no object stands in one. */
static void write_input(struct messages_writer *m)
{
    struct span text = span_trim(buffer_span(&m->argument));
    if (text.n)
        json_mend_surrogates(m->argument.p, m->argument.n);
    bool good = is_object(m, text);
    struct json_writer w = {m->out, true};
    if (good || !text.n) {
        json_member_raw(&w, "input", good ? text : SPAN("{}"));
    } else {
        json_key(&w, "input");
        json_begin_object(&w);
        json_member(&w, "arguments", text);
        json_end_object(&w);
    }
    buffer_clear(&m->argument);
}

static void close_whole(struct messages_writer *m)
{
    if (m->open == BLOCK_TOOL)
        write_input(m);
    else if (!m->cited)
        buffer_char(m->out, '"');
    if (m->open == BLOCK_THINKING)
        buffer_append(m->out, SPAN(",\"signature\":\"\""));
    buffer_char(m->out, '}');
}

static void close_in_stream(struct messages_writer *m)
{
    struct json_writer w = begin_event(m, "content_block_stop");
    json_member_int(&w, "index", m->n_blocks - 1);
    end_event(m, &w);
}

/* What is left of a torn character. */
static int flush_guard(struct messages_writer *m)
{
    struct span rest;
    if (m->open == BLOCK_NONE)
        return 0;
    return text_guard_end(&m->guard, &m->scratch, &rest) || write_piece(m, rest) ? -1 : 0;
}

static int close_block(struct messages_writer *m)
{
    if (m->open == BLOCK_NONE)
        return 0;
    if (flush_guard(m))
        return -1;
    if (m->streams)
        close_in_stream(m);
    else
        close_whole(m);
    m->open = BLOCK_NONE;
    return status(m);
}

/* ---- calls ---- */

static int wait_call(struct messages_writer *m, const struct tool_start *tool)
{
    struct waiting_call *call = arena_alloc(m->arena, sizeof *call);
    if (!call)
        return -1;
    call->index = tool->index;
    call->id = arena_dup(m->arena, tool->id);
    call->name = arena_dup(m->arena, tool->name);
    buffer_init(&call->arguments, ANSWER_LIMIT);
    *m->last_waiting = call;
    m->last_waiting = &call->next;
    return call->id.p && call->name.p ? 0 : -1;
}

/* Calls whose turn it is; `all`: also those behind one that is not complete. */
static int go_on_with_calls(struct messages_writer *m, bool all)
{
    int error = 0;
    while (m->waiting && !error && (all || object_is_whole(&m->call_end))) {
        struct waiting_call *call = m->waiting;
        error = close_block(m);
        m->waiting = call->next;
        if (!m->waiting)
            m->last_waiting = &m->waiting;
        open_call(m, call->index, call->id, call->name);
        if (!error)
            error = put_piece(m, buffer_span(&call->arguments));
        buffer_free(&call->arguments);
    }
    return error;
}

static int tool_begin(struct answer_writer *w, int choice, const struct tool_start *tool)
{
    struct messages_writer *m = WRITER_OF(w);
    m->has_calls = true;
    if (m->open == BLOCK_TOOL && (m->waiting || !object_is_whole(&m->call_end)))
        return wait_call(m, tool);
    if (close_block(m))
        return -1;
    open_call(m, tool->index, tool->id, tool->name);
    return status(m);
}

static int tool_arguments(struct answer_writer *w, int choice, int index, struct span piece)
{
    struct messages_writer *m = WRITER_OF(w);
    if (m->open == BLOCK_TOOL && m->call_index == index) {
        int error = put_piece(m, piece);
        return error ? error : go_on_with_calls(m, false);
    }
    for (struct waiting_call *c = m->waiting; c; c = c->next) {
        if (c->index == index)
            return buffer_append(&c->arguments, piece);
    }
    return 0; /* it had its end already */
}

/* ---- the pieces of an answer ---- */

/* The block in which such text goes on, or a new one. */
static int ensure_block(struct messages_writer *m, enum block kind)
{
    if (m->open == kind)
        return 0;
    if (go_on_with_calls(m, true) || close_block(m))
        return -1;
    open_text(m, kind);
    return 0;
}

static int text(struct answer_writer *w, int choice, struct span piece)
{
    struct messages_writer *m = WRITER_OF(w);
    if (!piece.n)
        return 0;
    return ensure_block(m, BLOCK_TEXT) ? -1 : put_piece(m, piece);
}

static int reasoning(struct answer_writer *w, int choice, struct span piece)
{
    struct messages_writer *m = WRITER_OF(w);
    if (!piece.n)
        return 0;
    return ensure_block(m, BLOCK_THINKING) ? -1 : put_piece(m, piece);
}

/* Ends the block of thinking that it proves. */
static int signature(struct answer_writer *w, int choice, struct span proof)
{
    struct messages_writer *m = WRITER_OF(w);
    struct json_writer j;
    if (ensure_block(m, BLOCK_THINKING) || flush_guard(m))
        return -1;
    if (!m->streams) {
        buffer_char(m->out, '"');
        j = (struct json_writer){m->out, true};
        json_member_repaired(&j, "signature", proof);
        buffer_char(m->out, '}');
        m->open = BLOCK_NONE;
        return status(m);
    }
    j = begin_event(m, "content_block_delta");
    json_member_int(&j, "index", m->n_blocks - 1);
    json_key(&j, "delta");
    json_begin_object(&j);
    json_member(&j, "type", SPAN("signature_delta"));
    json_member_repaired(&j, "signature", proof);
    json_end_object(&j);
    end_event(m, &j);
    return close_block(m);
}

static int redacted(struct answer_writer *w, int choice, struct span data)
{
    struct messages_writer *m = WRITER_OF(w);
    struct json_writer j;
    if (go_on_with_calls(m, true) || close_block(m))
        return -1;
    begin(m);
    j = m->streams ? open_event(m, "redacted_thinking") : open_whole(m, "redacted_thinking");
    json_member_repaired(&j, "data", data);
    if (m->streams)
        close_open_event(m, &j);
    else
        json_end_object(&j);
    m->n_blocks++;
    if (m->streams)
        close_in_stream(m);
    return status(m);
}

static void write_citation(struct messages_writer *m, struct json_writer *w,
                           const struct citation *c)
{
    json_begin_object(w);
    json_member(w, "type", SPAN("web_search_result_location"));
    json_member(w, "cited_text", SPAN(""));
    json_member_repaired(w, "url", c->url);
    json_member_repaired(w, "title", c->title);
    json_member(w, "encrypted_index", SPAN(""));
    json_end_object(w);
}

static void stream_citation(struct messages_writer *m, const struct citation *c)
{
    struct json_writer w = begin_event(m, "content_block_delta");
    json_member_int(&w, "index", m->n_blocks - 1);
    json_key(&w, "delta");
    json_begin_object(&w);
    json_member(&w, "type", SPAN("citations_delta"));
    json_key(&w, "citation");
    write_citation(m, &w, c);
    json_end_object(&w);
    end_event(m, &w);
}

static int citations(struct answer_writer *w, int choice, const struct citation *list, size_t n)
{
    struct messages_writer *m = WRITER_OF(w);
    if (m->open != BLOCK_TEXT || flush_guard(m))
        return m->open != BLOCK_TEXT ? 0 : -1;
    if (m->streams) {
        for (size_t i = 0; i < n; i++)
            stream_citation(m, &list[i]);
        return status(m);
    }
    buffer_char(m->out, '"');
    struct json_writer j = {m->out, true};
    json_key(&j, "citations");
    json_begin_array(&j);
    for (size_t i = 0; i < n; i++)
        write_citation(m, &j, &list[i]);
    json_end_array(&j);
    m->cited = true;
    return status(m);
}

static int no_extra(struct answer_writer *w, enum extra_place place, int choice,
                    struct span members)
{
    return 0;
}

/* ---- the end ---- */

/* The site's own word where it is one of this API's, else what OpenAI's means here. */
static const char *stop_reason_of(const struct messages_writer *m, const struct finish_note *note)
{
    static const char *const words[] = {"end_turn",
                                        "max_tokens",
                                        "stop_sequence",
                                        "tool_use",
                                        "pause_turn",
                                        "refusal",
                                        "model_context_window_exceeded",
                                        NULL};
    if (note->stop.n)
        return "stop_sequence";
    for (size_t i = 0; words[i]; i++) {
        if (span_eq(note->native, span_str(words[i])))
            return words[i];
    }
    if (span_eq(note->reason, SPAN("length")))
        return "max_tokens";
    if (span_eq(note->reason, SPAN("content_filter")))
        return "refusal";
    return m->has_calls ? "tool_use" : "end_turn";
}

static int finish(struct answer_writer *w, int choice, const struct finish_note *note)
{
    struct messages_writer *m = WRITER_OF(w);
    m->stop_reason = stop_reason_of(m, note);
    if (note->stop.n) {
        struct span stop = utf8_repair(note->stop, &m->scratch);
        m->stop_sequence = arena_dup(m->arena, stop);
        buffer_clear(&m->scratch);
        if (!m->stop_sequence.p)
            return -1;
    }
    return go_on_with_calls(m, true) || close_block(m) ? -1 : 0;
}

static int stream_end(struct answer_writer *w, const struct usage_counts *usage,
                      struct buffer *body)
{
    struct messages_writer *m = WRITER_OF(w);
    begin(m);
    if (go_on_with_calls(m, true) || close_block(m))
        return -1;
    struct json_writer j = begin_event(m, "message_delta");
    json_key(&j, "delta");
    json_begin_object(&j);
    write_stop(m, &j);
    json_end_object(&j);
    write_usage(&j, usage);
    end_event(m, &j);
    j = begin_event(m, "message_stop");
    end_event(m, &j);
    return status(m);
}

static int whole_end(struct answer_writer *w, const struct usage_counts *usage, struct buffer *body)
{
    struct messages_writer *m = WRITER_OF(w);
    int error = go_on_with_calls(m, true);
    error = error ? error : close_block(m);
    if (error)
        return error;
    struct json_writer j = json_writer(body);
    json_begin_object(&j);
    write_head(m, &j);
    json_begin_array(&j);
    buffer_append(body, buffer_span(&m->blocks));
    json_end_array(&j);
    write_stop(m, &j);
    write_usage(&j, usage);
    json_end_object(&j);
    return body->error;
}

static void role(struct answer_writer *w) { begin(WRITER_OF(w)); }

static void stream_error(struct answer_writer *w, const struct fail *fail)
{
    struct messages_writer *m = WRITER_OF(w);
    flush_guard(m);
    buffer_append(m->out, SPAN("event: error\ndata: "));
    error_body(m->out, DIALECT_ANTHROPIC, fail,
               &(struct error_context){.request_id = m->meta.request_id});
    buffer_append(m->out, SPAN("\n\n"));
}

static void destroy(struct answer_writer *w)
{
    struct messages_writer *m = WRITER_OF(w);
    for (struct waiting_call *c = m->waiting; c; c = c->next)
        buffer_free(&c->arguments);
    buffer_free(&m->blocks);
    buffer_free(&m->argument);
    buffer_free(&m->scratch);
}

#define COMMON                                                                                     \
    .text = text, .reasoning = reasoning, .refusal = text, .signature = signature,                 \
    .redacted = redacted, .tool_begin = tool_begin, .tool_arguments = tool_arguments,              \
    .citations = citations, .extra = no_extra, .finish = finish, .destroy = destroy

static const struct answer_writer_ops stream_ops = {
    COMMON,
    .end = stream_end,
    .role = role,
    .error = stream_error,
};

static const struct answer_writer_ops whole_ops = {COMMON, .end = whole_end};

static struct messages_writer *create(struct arena *arena, const struct answer_writer_ops *ops,
                                      const struct answer_meta *meta)
{
    struct messages_writer *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    m->writer.ops = ops;
    m->arena = arena;
    m->meta = *meta;
    m->last_waiting = &m->waiting;
    buffer_init(&m->blocks, 2ull * ANSWER_LIMIT);
    buffer_init(&m->argument, ANSWER_LIMIT);
    buffer_init(&m->scratch, SCRATCH_LIMIT);
    return m;
}

struct answer_writer *messages_stream_writer(struct arena *arena, const struct answer_meta *meta,
                                             const struct prompts *prompts, struct buffer *out)
{
    struct messages_writer *m = create(arena, &stream_ops, meta);
    if (!m)
        return NULL;
    m->streams = true;
    m->out = out;
    return &m->writer;
}

struct answer_writer *messages_whole_writer(struct arena *arena, const struct answer_meta *meta,
                                            const struct prompts *prompts)
{
    struct messages_writer *m = create(arena, &whole_ops, meta);
    if (!m)
        return NULL;
    m->out = &m->blocks;
    return &m->writer;
}
