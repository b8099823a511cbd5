/*
 * gateway/chat_body.c - see chat_body.h.
 *
 * One pass over the turn into a buffer, one copy into the arena. The hard part is that a message
 * of the neutral form may need two of OpenAI's: the pictures in tool results wait until the run of
 * results is over, because nothing may stand between a call and its results.
 */
#include "gateway/chat_body.h"

#include <stdlib.h>

#include "adapters/support.h"
#include "base/json_raw.h"
#include "base/json_write.h"

enum { BODY_LIMIT = 1 << 30 };

/* ---- parts ---- */

static bool is_text(const struct part *p) { return p->kind == PART_TEXT; }

/* Parts that the chat API can say in this message. */
static bool is_sayable(const struct part *p)
{
    return p->kind != PART_THINKING && p->kind != PART_REDACTED && p->kind != PART_FOREIGN;
}

/* A JSON string that is written in pieces. */
static void begin_text(struct json_writer *w) { json_raw_value(w, SPAN("\"")); }

static void end_text(struct json_writer *w) { buffer_char(w->out, '"'); }

static void write_text_part(struct json_writer *w, struct span title, struct span text)
{
    json_member(w, "type", SPAN("text"));
    json_key(w, "text");
    begin_text(w);
    json_escape(w->out, title);
    if (title.n)
        json_escape(w->out, SPAN(":\n"));
    json_escape(w->out, text);
    end_text(w);
}

/* The URL as the client gave it, or a data: URL made of its payload. */
static void write_url(struct json_writer *w, const char *key, const struct part *p)
{
    if (p->url.n || !p->base64.p) {
        json_member(w, key, p->url);
        return;
    }
    json_key(w, key);
    begin_text(w);
    json_escape(w->out, SPAN("data:"));
    json_escape(w->out, p->mime);
    json_escape(w->out, SPAN(";base64,"));
    json_escape(w->out, p->base64);
    end_text(w);
}

static void write_linked_part(struct json_writer *w, const char *type, const struct part *p)
{
    json_member(w, "type", span_str(type));
    json_key(w, type);
    json_begin_object(w);
    write_url(w, "url", p);
    json_end_object(w);
}

static void write_audio_part(struct json_writer *w, const struct part *p)
{
    json_member(w, "type", SPAN("input_audio"));
    json_key(w, "input_audio");
    json_begin_object(w);
    json_member(w, "data", p->base64);
    json_member(w, "format", p->mime);
    json_end_object(w);
}

static void write_file_part(struct json_writer *w, const struct part *p)
{
    if (!p->url.n && !p->base64.p && !p->file_id.n) {
        write_text_part(w, p->filename, p->text);
        return;
    }
    json_member(w, "type", SPAN("file"));
    json_key(w, "file");
    json_begin_object(w);
    if (p->filename.n)
        json_member(w, "filename", p->filename);
    if (p->file_id.n)
        json_member(w, "file_id", p->file_id);
    if (p->url.n || p->base64.p)
        write_url(w, "file_data", p);
    json_end_object(w);
}

static void write_part(struct json_writer *w, const struct part *p)
{
    json_begin_object(w);
    switch (p->kind) {
    case PART_IMAGE: write_linked_part(w, "image_url", p); break;
    case PART_VIDEO: write_linked_part(w, "video_url", p); break;
    case PART_AUDIO: write_audio_part(w, p); break;
    case PART_FILE: write_file_part(w, p); break;
    case PART_REFUSAL:
        json_member(w, "type", SPAN("refusal"));
        json_member(w, "refusal", p->text);
        break;
    default: write_text_part(w, span_of("", 0), p->text); break;
    }
    json_end_object(w);
}

/* ---- messages ---- */

/* All texts as one JSON string. Services that are merely like OpenAI's often know no other content.
 */
static void write_texts(struct json_writer *w, const struct message *m, struct span before,
                        struct span between)
{
    bool any = false;
    begin_text(w);
    json_escape(w->out, before);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (!is_text(&m->parts[i]))
            continue;
        if (any)
            json_escape(w->out, between);
        json_escape(w->out, m->parts[i].text);
        any = true;
    }
    end_text(w);
}

static size_t count_parts(const struct message *m, bool (*is_kind)(const struct part *))
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_parts; i++)
        n += is_kind(&m->parts[i]);
    return n;
}

static void write_content(struct json_writer *w, const struct message *m)
{
    size_t sayable = count_parts(m, is_sayable);
    bool assistant = m->role == ROLE_ASSISTANT;
    json_key(w, "content");
    if (!sayable && m->n_tool_calls) {
        json_null(w);
    } else if (sayable == count_parts(m, is_text)) {
        write_texts(w, m, span_of("", 0), assistant ? SPAN("") : SPAN("\n"));
    } else {
        json_begin_array(w);
        for (size_t i = 0; i < m->n_parts; i++) {
            if (is_sayable(&m->parts[i]))
                write_part(w, &m->parts[i]);
        }
        json_end_array(w);
    }
}

static void write_tool_calls(struct json_writer *w, const struct message *m)
{
    json_key(w, "tool_calls");
    json_begin_array(w);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct tool_call *call = &m->tool_calls[i];
        json_begin_object(w);
        json_member(w, "id", call->id);
        json_member(w, "type", SPAN("function"));
        json_key(w, "function");
        json_begin_object(w);
        json_member(w, "name", call->name);
        json_member(w, "arguments", call->arguments);
        json_end_object(w);
        if (call->extra_content.n) /* an answer of ours gave it out for the site to get it back */
            json_member_raw(w, "extra_content", call->extra_content);
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_message(struct json_writer *w, const struct message *m)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    json_begin_object(w);
    json_member(w, "role", span_str(names[m->role]));
    if (m->name.n)
        json_member(w, "name", m->name);
    if (m->role == ROLE_TOOL) {
        json_member(w, "tool_call_id", m->tool_call_id);
        json_key(w, "content");
        write_texts(w, m, m->is_error ? SPAN("Error: ") : SPAN(""), SPAN("\n"));
    } else {
        write_content(w, m);
    }
    if (m->n_tool_calls)
        write_tool_calls(w, m);
    json_end_object(w);
}

static bool is_beside_text(const struct part *p) { return is_sayable(p) && !is_text(p); }

/* What the results [first, end) hold besides text. */
static void write_attachments(struct json_writer *w, const struct message *messages, size_t first,
                              size_t end)
{
    size_t n = 0;
    for (size_t i = first; i < end; i++)
        n += count_parts(&messages[i], is_beside_text);
    if (!n)
        return;
    json_begin_object(w);
    json_member(w, "role", SPAN("user"));
    json_key(w, "content");
    json_begin_array(w);
    for (size_t i = first; i < end; i++) {
        const struct message *m = &messages[i];
        if (!count_parts(m, is_beside_text))
            continue;
        json_begin_object(w);
        write_text_part(w, SPAN("Belongs to the result of the tool call"), m->tool_call_id);
        json_end_object(w);
        for (size_t k = 0; k < m->n_parts; k++) {
            if (is_beside_text(&m->parts[k]))
                write_part(w, &m->parts[k]);
        }
    }
    json_end_array(w);
    json_end_object(w);
}

static void write_messages(struct json_writer *w, const struct turn *t)
{
    size_t results = 0; /* where the present run of results begins */
    json_begin_array(w);
    for (size_t i = 0; i < t->n_messages; i++) {
        if (t->messages[i].role != ROLE_TOOL)
            results = i + 1;
        write_message(w, &t->messages[i]);
        bool last = i + 1 == t->n_messages || t->messages[i + 1].role != ROLE_TOOL;
        if (t->messages[i].role == ROLE_TOOL && last)
            write_attachments(w, t->messages, results, i + 1);
    }
    json_end_array(w);
}

/* ---- parameters ---- */

static bool is_function(struct span tool)
{
    return span_eq(json_raw_given(tool, "type"), SPAN("\"function\""));
}

/* True when there are any. */
static bool write_tools(struct json_writer *w, struct span tools)
{
    bool any = false;
    struct json_raw_iter it = json_raw_each(tools);
    while (json_raw_next(&it)) {
        if (!is_function(it.value))
            continue;
        if (!any) {
            json_key(w, "tools");
            json_begin_array(w);
        }
        any = true;
        json_begin_object(w);
        json_member(w, "type", SPAN("function"));
        json_member_raw(w, "function", json_raw_get(it.value, "function"));
        json_end_object(w);
    }
    if (any)
        json_end_array(w);
    return any;
}

static void write_tool_wishes(struct json_writer *w, const struct turn *t)
{
    if (!t->tools_raw.p || !write_tools(w, t->tools_raw))
        return;
    if (t->tool_choice_raw.p)
        json_member_raw(w, "tool_choice", t->tool_choice_raw);
    if (t->no_parallel_tool_calls)
        json_member_bool(w, "parallel_tool_calls", false);
}

static struct span effort_of(const struct turn *t)
{
    if (t->reasoning_effort.n) /* "max" is a word of Anthropic's alone */
        return span_eq(t->reasoning_effort, SPAN("max")) ? SPAN("high") : t->reasoning_effort;
    if (t->reasoning != REASONING_ON)
        return SPAN("");
    switch (effort_of_budget(t->reasoning_budget)) {
    case EFFORT_MINIMAL: /* not every service knows it, and none was asked for less */
    case EFFORT_LOW: return SPAN("low");
    case EFFORT_HIGH: return SPAN("high");
    default: return SPAN("medium");
    }
}

static void write_number(struct json_writer *w, const char *key, bool has, double value)
{
    if (!has)
        return;
    json_key(w, key);
    json_write_double(w, value);
}

static void write_stops(struct json_writer *w, const struct turn *t)
{
    if (!t->n_stop)
        return;
    json_key(w, "stop");
    json_begin_array(w);
    for (size_t i = 0; i < t->n_stop; i++)
        json_string(w, t->stop[i]);
    json_end_array(w);
}

static void write_parameters(struct json_writer *w, const struct turn *t)
{
    struct span effort = effort_of(t);
    if (t->n > 1)
        json_member_int(w, "n", t->n);
    write_number(w, "temperature", t->has_temperature, t->temperature);
    write_number(w, "top_p", t->has_top_p, t->top_p);
    write_number(w, "presence_penalty", t->has_presence_penalty, t->presence_penalty);
    write_number(w, "frequency_penalty", t->has_frequency_penalty, t->frequency_penalty);
    if (t->has_seed)
        json_member_int(w, "seed", t->seed);
    if (t->has_max_tokens)
        json_member_int(w, t->max_includes_reasoning ? "max_completion_tokens" : "max_tokens",
                        t->max_tokens);
    write_stops(w, t);
    write_tool_wishes(w, t);
    if (t->response_format_raw.p)
        json_member_raw(w, "response_format", t->response_format_raw);
    if (t->logprobs)
        json_member_bool(w, "logprobs", true);
    if (effort.n)
        json_member(w, "reasoning_effort", effort);
    if (t->stream)
        json_member_bool(w, "stream", true);
    if (t->stream && t->include_usage)
        json_member_raw(w, "stream_options", SPAN("{\"include_usage\":true}"));
}

/* In the arena; the buffer is freed. */
static int keep_body(struct arena *arena, struct buffer *out, struct span *body, struct fail *fail)
{
    *body = out->error ? span_of(NULL, 0) : arena_dup(arena, buffer_span(out));
    buffer_free(out);
    return body->p ? 0 : fail_memory(fail);
}

int chat_body_write(struct arena *arena, const struct turn *t, struct span *body, struct fail *fail)
{
    struct buffer out;
    buffer_init(&out, BODY_LIMIT);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    json_member(&w, "model", t->model);
    json_key(&w, "messages");
    write_messages(&w, t);
    write_parameters(&w, t);
    json_end_object(&w);
    return keep_body(arena, &out, body, fail);
}

static bool asks_for_tools(struct span raw_key)
{
    static const struct span keys[] = {SPAN_INIT("tools"), SPAN_INIT("tool_choice"),
                                       SPAN_INIT("parallel_tool_calls"), SPAN_INIT("functions"),
                                       SPAN_INIT("function_call")};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (json_raw_key_is(raw_key, keys[i]))
            return true;
    }
    return false;
}

int chat_body_without_tools(struct arena *arena, const struct turn *t, struct span *body,
                            struct fail *fail)
{
    struct buffer out, messages;
    buffer_init(&out, BODY_LIMIT);
    buffer_init(&messages, BODY_LIMIT);
    struct json_writer w = json_writer(&messages);
    write_messages(&w, t);
    buffer_char(&out, '{');
    struct json_raw_iter it = json_raw_each(t->raw);
    while (json_raw_next(&it)) {
        bool list = json_raw_key_is(it.key, SPAN("messages"));
        if (!asks_for_tools(it.key))
            json_raw_append_member(&out, it.key, list ? buffer_span(&messages) : it.value);
    }
    buffer_char(&out, '}');
    if (messages.error)
        out.error = messages.error;
    buffer_free(&messages);
    return keep_body(arena, &out, body, fail);
}
