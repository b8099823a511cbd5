/*
 * gateway/write_responses.c - a Response object and its stream of events (clients.md §2.7).
 *
 * One writer for both: it gathers the items of the answer, since the last event repeats all of
 * them, and tells them as events on the way when there is a stream. Items are told in the order in
 * which they begin. Reasoning ends where something else begins; messages and calls stay open until
 * the answer's finish, because sites tell citations at the end and mix the arguments of parallel
 * calls.
 *
 * A piece of text costs its copy into the item, one escape, and no allocation but the buffers'
 * growth.
 */
#include "gateway/responses_writer.h"

#include <stdio.h>

#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/error_response.h"
#include "gateway/sealed_reasoning.h"

enum item_kind { ITEM_REASONING, ITEM_MESSAGE, ITEM_CALL, ITEM_CUSTOM };
enum content_kind { CONTENT_TEXT, CONTENT_REFUSAL };

/* One part of a message, a reasoning's summary, or a call's arguments. */
struct content {
    struct content *next;
    enum content_kind kind;
    int index;
    struct buffer text;
    struct text_guard guard;
    const struct citation *citations;
    size_t n_citations;
};

struct item {
    struct item *next;
    enum item_kind kind;
    int index;
    bool done;
    const char *status;
    char id[64];
    struct content *first, *last; /* reasoning without text and messages without any have none */
    struct span encrypted;        /* REASONING */
    int tool;                     /* CALL, CUSTOM: of the site's calls; the next three */
    struct span call_id, name, extra_content;
};

struct responses {
    struct answer_writer writer; /* first */
    struct arena *arena;
    const struct responses_request *request;
    struct answer_meta meta;
    struct span tail;   /* of ids: the response's without its prefix */
    struct buffer *out; /* NULL: whole */
    struct buffer scratch;
    bool started, stored, failed;
    int64_t sequence;
    size_t bytes; /* of all items */
    struct item *first, *last;
    int n_items;
    const char *reason;      /* incomplete_details; NULL = complete */
    struct span own_members; /* "dragoman_…": of the last Response, "" = none */
    bool finished;
};

#define RESPONSES_OF(w) ((struct responses *)(w))

static const char *const id_prefixes[] = {"rs", "msg", "fc", "ctc"};

/* ---- events ---- */

static struct json_writer event_begin(struct responses *r, const char *type)
{
    struct buffer *out = r->out;
    buffer_append(out, SPAN("event: "));
    buffer_append(out, span_str(type));
    buffer_append(out, SPAN("\ndata: "));
    struct json_writer w = json_writer(out);
    json_begin_object(&w);
    json_member(&w, "type", span_str(type));
    json_member_int(&w, "sequence_number", r->sequence++);
    return w;
}

static void event_end(struct json_writer *w)
{
    json_end_object(w);
    buffer_append(w->out, SPAN("\n\n"));
}

/* An event about an item. */
static struct json_writer item_event(struct responses *r, const struct item *item, const char *type)
{
    struct json_writer w = event_begin(r, type);
    json_member(&w, "item_id", span_str(item->id));
    json_member_int(&w, "output_index", item->index);
    return w;
}

/* ---- objects ---- */

static void write_annotation(struct json_writer *w, const struct citation *c)
{
    json_begin_object(w);
    json_member(w, "type", SPAN("url_citation"));
    json_member_int(w, "start_index", c->start);
    json_member_int(w, "end_index", c->end);
    json_member(w, "url", c->url);
    json_member(w, "title", c->title);
    json_end_object(w);
}

static void write_part(struct json_writer *w, const struct content *c)
{
    struct span text = c->text.n ? buffer_span(&c->text) : SPAN("");
    json_begin_object(w);
    if (c->kind == CONTENT_REFUSAL) {
        json_member(w, "type", SPAN("refusal"));
        json_member(w, "refusal", text);
    } else {
        json_member(w, "type", SPAN("output_text"));
        json_key(w, "annotations");
        json_begin_array(w);
        for (size_t i = 0; i < c->n_citations; i++)
            write_annotation(w, &c->citations[i]);
        json_end_array(w);
        json_member_raw(w, "logprobs", SPAN("[]"));
        json_member(w, "text", text);
    }
    json_end_object(w);
}

static void write_summary_part(struct json_writer *w, struct span text)
{
    json_begin_object(w);
    json_member(w, "type", SPAN("summary_text"));
    json_member(w, "text", text.n ? text : SPAN(""));
    json_end_object(w);
}

static struct span item_text(const struct item *item)
{
    return item->first && item->first->text.n ? buffer_span(&item->first->text) : SPAN("");
}

static void write_item_body(struct json_writer *w, const struct item *item)
{
    switch (item->kind) {
    case ITEM_REASONING:
        json_key(w, "summary");
        json_begin_array(w);
        if (item->first)
            write_summary_part(w, item_text(item));
        json_end_array(w);
        if (item->encrypted.n)
            json_member(w, "encrypted_content", item->encrypted);
        break;
    case ITEM_MESSAGE:
        json_member(w, "role", SPAN("assistant"));
        json_key(w, "content");
        json_begin_array(w);
        for (const struct content *c = item->first; c; c = c->next)
            write_part(w, c);
        json_end_array(w);
        break;
    case ITEM_CALL:
    case ITEM_CUSTOM:
        json_member(w, "call_id", item->call_id);
        json_member(w, "name", item->name);
        json_member(w, item->kind == ITEM_CALL ? "arguments" : "input", item_text(item));
        if (item->extra_content.n)
            json_member_raw(w, "extra_content", item->extra_content);
        break;
    }
}

static void write_item(struct json_writer *w, const struct item *item)
{
    static const char *const types[] = {"reasoning", "message", "function_call",
                                        "custom_tool_call"};
    json_begin_object(w);
    json_member(w, "id", span_str(item->id));
    json_member(w, "type", span_str(types[item->kind]));
    if (item->kind != ITEM_REASONING)
        json_member(w, "status", span_str(item->done ? item->status : "in_progress"));
    write_item_body(w, item);
    json_end_object(w);
}

static void write_output(struct json_writer *w, const struct responses *r)
{
    json_key(w, "output");
    json_begin_array(w);
    for (const struct item *item = r->first; item; item = item->next)
        write_item(w, item);
    json_end_array(w);
}

static void write_usage(struct json_writer *w, const struct usage_counts *u)
{
    json_key(w, "usage");
    if (!u) {
        json_null(w);
        return;
    }
    json_begin_object(w);
    json_member_int(w, "input_tokens", u->prompt);
    json_key(w, "input_tokens_details");
    json_begin_object(w);
    json_member_int(w, "cached_tokens", u->cached > 0 ? u->cached : 0);
    json_member_int(w, "cache_write_tokens", u->cache_write);
    json_end_object(w);
    json_member_int(w, "output_tokens", u->completion);
    json_key(w, "output_tokens_details");
    json_begin_object(w);
    json_member_int(w, "reasoning_tokens", u->reasoning > 0 ? u->reasoning : 0);
    json_end_object(w);
    json_member_int(w, "total_tokens", u->prompt + u->completion);
    if (u->source)
        json_member(w, "dragoman_source", span_str(u->source));
    json_end_object(w);
}

static const char *final_status(const struct responses *r)
{
    return r->failed ? "failed" : r->reason || !r->finished ? "incomplete" : "completed";
}

/* Codex knows some codes by OpenAI's names, and reads the time to wait out of the words. */
static void write_error(struct json_writer *w, const struct fail *fail)
{
    struct buffer scratch;
    char hint[64] = "";
    buffer_init(&scratch, ERROR_OBJECT_MAX);
    bool limit = fail->kind == FAIL_RATE_LIMITED || fail->kind == FAIL_KEY_LIMIT;
    if (limit && fail->retry_after_s > 0)
        snprintf(hint, sizeof hint, " Please try again in %ds.", fail->retry_after_s);
    json_begin_object(w);
    json_member(w, "code",
                limit ? SPAN("rate_limit_exceeded") : span_str(error_row(fail->kind)->code));
    json_key(w, "message");
    json_raw_value(w, SPAN("\""));
    json_escape(w->out, utf8_repair(span_str(fail->message), &scratch));
    json_escape(w->out, span_str(hint));
    buffer_char(w->out, '"');
    json_end_object(w);
    buffer_free(&scratch);
}

/* What does not change is rendered already (responses_request.c). */
static void write_response(struct json_writer *w, const struct responses *r, const char *status,
                           const struct usage_counts *usage, const struct fail *fail)
{
    bool begun = !strcmp(status, "in_progress");
    json_begin_object(w);
    json_member(w, "id", r->meta.id);
    json_member(w, "object", SPAN("response"));
    json_member_int(w, "created_at", r->meta.created);
    json_member(w, "status", span_str(status));
    json_member_bool(w, "background", false);
    json_key(w, "error");
    if (fail)
        write_error(w, fail);
    else
        json_null(w);
    json_key(w, "incomplete_details");
    if (!begun && !fail && r->reason) {
        json_begin_object(w);
        json_member(w, "reason", span_str(r->reason));
        json_end_object(w);
    } else {
        json_null(w);
    }
    json_member(w, "model", r->meta.model);
    if (begun)
        json_member_raw(w, "output", SPAN("[]"));
    else
        write_output(w, r);
    buffer_char(w->out, ',');
    buffer_append(w->out, r->request->echo);
    json_member_bool(w, "store", r->stored && (begun || (r->finished && !fail)));
    write_usage(w, usage);
    if (!begun && r->own_members.n) {
        buffer_char(w->out, ',');
        buffer_append(w->out, r->own_members);
    }
    json_end_object(w);
}

static void response_event(struct responses *r, const char *type, const char *status,
                           const struct usage_counts *usage, const struct fail *fail)
{
    struct json_writer w = event_begin(r, type);
    json_key(&w, "response");
    write_response(&w, r, status, usage, fail);
    event_end(&w);
}

static void start(struct responses *r)
{
    if (r->started || !r->out)
        return;
    r->started = true;
    response_event(r, "response.created", "in_progress", NULL, NULL);
    response_event(r, "response.in_progress", "in_progress", NULL, NULL);
}

/* ---- what was written so far ---- */

/* After each call: the stream's error, or that the answer is too large. */
static int state_of(const struct responses *r)
{
    if (r->scratch.error)
        return r->scratch.error;
    if (r->bytes > ANSWER_LIMIT)
        return BUFFER_FULL;
    return r->out ? (int)r->out->error : BUFFER_OK;
}

/* ---- contents ---- */

static const char *delta_event(const struct item *item, const struct content *c)
{
    switch (item->kind) {
    case ITEM_REASONING: return "response.reasoning_summary_text.delta";
    case ITEM_CALL: return "response.function_call_arguments.delta";
    case ITEM_CUSTOM: return "response.custom_tool_call_input.delta";
    default:
        return c->kind == CONTENT_REFUSAL ? "response.refusal.delta" : "response.output_text.delta";
    }
}

/* Where in its item a content stands, as the events say it. */
static void write_place(struct json_writer *w, const struct item *item, const struct content *c)
{
    if (item->kind == ITEM_REASONING)
        json_member_int(w, "summary_index", 0);
    else if (item->kind == ITEM_MESSAGE)
        json_member_int(w, "content_index", c->index);
}

static bool has_logprobs(const struct item *item, const struct content *c)
{
    return item->kind == ITEM_MESSAGE && c->kind == CONTENT_TEXT;
}

static void tell_delta(struct responses *r, const struct item *item, const struct content *c,
                       struct span text)
{
    struct json_writer w = item_event(r, item, delta_event(item, c));
    write_place(&w, item, c);
    json_member(&w, "delta", text);
    if (has_logprobs(item, c))
        json_member_raw(&w, "logprobs", SPAN("[]"));
    event_end(&w);
}

/* The part as such begins or ends; calls have none. */
static void tell_part(struct responses *r, const struct item *item, const struct content *c,
                      bool begins)
{
    if (item->kind != ITEM_MESSAGE && item->kind != ITEM_REASONING)
        return;
    const char *type = item->kind == ITEM_MESSAGE
                           ? (begins ? "response.content_part.added" : "response.content_part.done")
                           : (begins ? "response.reasoning_summary_part.added"
                                     : "response.reasoning_summary_part.done");
    struct json_writer w = item_event(r, item, type);
    write_place(&w, item, c);
    json_key(&w, "part");
    if (item->kind == ITEM_MESSAGE)
        write_part(&w, c);
    else
        write_summary_part(&w, buffer_span(&c->text));
    event_end(&w);
}

static void tell_text_done(struct responses *r, const struct item *item, const struct content *c)
{
    static const char *const types[] = {
        "response.reasoning_summary_text.done", "response.output_text.done",
        "response.function_call_arguments.done", "response.custom_tool_call_input.done"};
    static const char *const keys[] = {"text", "text", "arguments", "input"};
    bool refusal = item->kind == ITEM_MESSAGE && c->kind == CONTENT_REFUSAL;
    struct json_writer w =
        item_event(r, item, refusal ? "response.refusal.done" : types[item->kind]);
    write_place(&w, item, c);
    if (item->kind == ITEM_CALL)
        json_member(&w, "name", item->name);
    json_member(&w, refusal ? "refusal" : keys[item->kind],
                c->text.n ? buffer_span(&c->text) : SPAN(""));
    if (has_logprobs(item, c))
        json_member_raw(&w, "logprobs", SPAN("[]"));
    event_end(&w);
}

static struct content *add_content(struct responses *r, struct item *item, enum content_kind kind)
{
    struct content *c = arena_alloc(r->arena, sizeof *c);
    if (!c)
        return NULL;
    *c = (struct content){.kind = kind, .index = item->last ? item->last->index + 1 : 0};
    buffer_init(&c->text, ANSWER_LIMIT);
    if (item->last)
        item->last->next = c;
    else
        item->first = c;
    item->last = c;
    if (r->out)
        tell_part(r, item, c, true);
    return c;
}

/* Whole characters. Custom tools' text comes out of JSON that has to be whole first. */
static int keep_text(struct responses *r, const struct item *item, struct content *c,
                     struct span text)
{
    if (!text.n)
        return 0;
    r->bytes += text.n;
    if (buffer_append(&c->text, text))
        return c->text.error;
    if (r->out && item->kind != ITEM_CUSTOM)
        tell_delta(r, item, c, text);
    return state_of(r);
}

static int add_text(struct responses *r, const struct item *item, struct content *c,
                    struct span piece)
{
    struct span text;
    if (text_guard_pass(&c->guard, piece, &r->scratch, &text))
        return r->scratch.error;
    return keep_text(r, item, c, text);
}

/* ---- items ---- */

static struct item *add_item(struct responses *r, enum item_kind kind)
{
    struct item *item = arena_alloc(r->arena, sizeof *item);
    if (!item)
        return NULL;
    start(r);
    r->bytes += sizeof *item; /* also of those with hardly any text: an answer has an end */
    *item = (struct item){.kind = kind, .index = r->n_items++};
    snprintf(item->id, sizeof item->id, "%s_%.*s_%d", id_prefixes[kind],
             SPAN_ARGS(span_first(r->tail, 32)), item->index);
    if (r->last)
        r->last->next = item;
    else
        r->first = item;
    r->last = item;
    return item;
}

static void tell_item(struct responses *r, const struct item *item)
{
    if (!r->out)
        return;
    struct json_writer w =
        event_begin(r, item->done ? "response.output_item.done" : "response.output_item.added");
    json_member_int(&w, "output_index", item->index);
    json_key(&w, "item");
    write_item(&w, item);
    event_end(&w);
}

/* The text of {"input":"…"}; a model that wrote something else meant that. */
static int unwrap_custom(struct item *item)
{
    struct json root;
    struct buffer *text = &item->first->text;
    struct json_parser *json = json_parser_create(text->n + JSON_PADDING);
    if (!json)
        return BUFFER_NOMEM;
    int error = json_parse(json, buffer_span(text), &root);
    if (error == JSON_OK) {
        struct span input = json_get_text(root, "input");
        if (input.p) { /* shorter than what it stood in */
            memcpy(text->p, input.p, input.n);
            text->n = input.n;
        }
    }
    json_parser_destroy(json);
    return error == JSON_NOMEM ? BUFFER_NOMEM : 0;
}

/* Services without arguments to tell say nothing at all; clients parse what they get. */
static int complete_call(struct responses *r, struct item *item)
{
    struct content *c = item->first;
    if (item->kind == ITEM_CUSTOM) {
        int error = c->text.n ? unwrap_custom(item) : 0;
        if (!error && r->out)
            tell_delta(r, item, c, buffer_span(&c->text));
        return error;
    }
    return c->text.n ? 0 : keep_text(r, item, c, SPAN("{}"));
}

static int seal_reasoning(struct responses *r, struct item *item, struct span signature,
                          struct span redacted)
{
    const struct sealed_reasoning sealed = {span_hash(SPAN_HASH, item_text(item)), signature,
                                            redacted};
    if (!signature.n && !redacted.n && !r->request->encrypted)
        return 0;
    item->encrypted = sealed_reasoning_write(r->arena, &sealed);
    r->bytes += item->encrypted.n;
    return item->encrypted.p ? 0 : BUFFER_NOMEM;
}

static int end_content(struct responses *r, const struct item *item, struct content *c)
{
    struct span rest;
    if (text_guard_end(&c->guard, &r->scratch, &rest))
        return r->scratch.error;
    return keep_text(r, item, c, rest);
}

static int end_item(struct responses *r, struct item *item, const char *status)
{
    if (item->done)
        return 0;
    bool call = item->kind == ITEM_CALL || item->kind == ITEM_CUSTOM;
    for (struct content *c = item->first; c; c = c->next) {
        int error = end_content(r, item, c);
        if (!error && call && !strcmp(status, "completed"))
            error = complete_call(r, item);
        if (error)
            return error;
        if (r->out) {
            tell_text_done(r, item, c);
            tell_part(r, item, c, false);
        }
    }
    if (item->kind == ITEM_REASONING && !item->encrypted.p &&
        seal_reasoning(r, item, SPAN(""), SPAN("")))
        return BUFFER_NOMEM;
    item->done = true;
    item->status = status;
    tell_item(r, item);
    return state_of(r);
}

/* Before anything but reasoning. */
static int end_reasoning(struct responses *r)
{
    return r->last && r->last->kind == ITEM_REASONING ? end_item(r, r->last, "completed") : 0;
}

/* The item that text of this kind goes to: the last one, or a new one. */
static struct item *item_for(struct responses *r, enum item_kind kind)
{
    if (r->last && r->last->kind == kind && !r->last->done)
        return r->last;
    struct item *item = add_item(r, kind);
    if (item)
        tell_item(r, item);
    return item;
}

/* ---- the pieces ---- */

static int put_piece(struct responses *r, enum item_kind kind, enum content_kind content,
                     struct span text)
{
    int error = kind != ITEM_REASONING ? end_reasoning(r) : 0;
    if (error)
        return error;
    struct item *item = item_for(r, kind);
    if (!item)
        return BUFFER_NOMEM;
    struct content *c =
        item->last && item->last->kind == content ? item->last : add_content(r, item, content);
    return c ? add_text(r, item, c, text) : BUFFER_NOMEM;
}

static int put_text(struct answer_writer *w, int choice, struct span text)
{
    return put_piece(RESPONSES_OF(w), ITEM_MESSAGE, CONTENT_TEXT, text);
}

static int put_refusal(struct answer_writer *w, int choice, struct span text)
{
    return put_piece(RESPONSES_OF(w), ITEM_MESSAGE, CONTENT_REFUSAL, text);
}

static int put_reasoning(struct answer_writer *w, int choice, struct span text)
{
    return put_piece(RESPONSES_OF(w), ITEM_REASONING, CONTENT_TEXT, text);
}

/* Proves the reasoning before it, and ends it. */
static int put_signature(struct answer_writer *w, int choice, struct span signature)
{
    struct responses *r = RESPONSES_OF(w);
    struct item *item = item_for(r, ITEM_REASONING);
    if (!item)
        return BUFFER_NOMEM;
    for (struct content *c = item->first; c; c = c->next) {
        int error = end_content(r, item, c); /* the text as it is told, before it is hashed */
        if (error)
            return error;
    }
    return seal_reasoning(r, item, signature, SPAN("")) ? BUFFER_NOMEM
                                                        : end_item(r, item, "completed");
}

static int put_redacted(struct answer_writer *w, int choice, struct span data)
{
    struct responses *r = RESPONSES_OF(w);
    int error = end_reasoning(r);
    if (error)
        return error;
    struct item *item = item_for(r, ITEM_REASONING);
    if (!item || seal_reasoning(r, item, SPAN(""), data))
        return BUFFER_NOMEM;
    return end_item(r, item, "completed");
}

static bool is_custom(const struct responses *r, struct span name)
{
    for (size_t i = 0; i < r->request->n_custom; i++) {
        if (span_eq(r->request->custom[i], name))
            return true;
    }
    return false;
}

/* Sites' texts that are no texts of ours: valid UTF-8, in the arena. */
static struct span keep_name(struct responses *r, struct span text)
{
    return arena_dup(r->arena, utf8_repair(text, &r->scratch));
}

static int put_tool_begin(struct answer_writer *w, int choice, const struct tool_start *tool)
{
    struct responses *r = RESPONSES_OF(w);
    int error = end_reasoning(r);
    if (error)
        return error;
    struct item *item = add_item(r, is_custom(r, tool->name) ? ITEM_CUSTOM : ITEM_CALL);
    if (!item)
        return BUFFER_NOMEM;
    item->tool = tool->index;
    item->call_id = keep_name(r, tool->id);
    item->name = keep_name(r, tool->name);
    if (tool->extra_content.n)
        item->extra_content = arena_dup(r->arena, tool->extra_content);
    r->bytes += tool->name.n + tool->extra_content.n;
    if (!item->call_id.p || !item->name.p)
        return BUFFER_NOMEM;
    tell_item(r, item);
    return add_content(r, item, CONTENT_TEXT) ? state_of(r) : BUFFER_NOMEM;
}

static int put_tool_arguments(struct answer_writer *w, int choice, int index, struct span piece)
{
    struct responses *r = RESPONSES_OF(w);
    struct item *found = NULL;
    for (struct item *item = r->first; item; item = item->next) {
        if ((item->kind == ITEM_CALL || item->kind == ITEM_CUSTOM) && item->tool == index)
            found = item;
    }
    if (!found || found->done)
        return 0;
    if (!found->first) /* it began with memory for half of it */
        return BUFFER_NOMEM;
    return add_text(r, found, found->first, piece);
}

/* They belong to the last text. */
static int put_citations(struct answer_writer *w, int choice, const struct citation *list, size_t n)
{
    struct responses *r = RESPONSES_OF(w);
    struct item *message = NULL;
    struct content *text = NULL;
    for (struct item *item = r->first; item; item = item->next) {
        for (struct content *c = item->first; c && item->kind == ITEM_MESSAGE; c = c->next) {
            if (c->kind == CONTENT_TEXT) {
                message = item;
                text = c;
            }
        }
    }
    if (!text || message->done)
        return 0;
    text->citations = list;
    text->n_citations = n;
    for (size_t i = 0; i < n && r->out; i++) {
        struct json_writer e = item_event(r, message, "response.output_text.annotation.added");
        json_member_int(&e, "content_index", text->index);
        json_member_int(&e, "annotation_index", (int64_t)i);
        json_key(&e, "annotation");
        write_annotation(&e, &list[i]);
        event_end(&e);
    }
    return state_of(r);
}

/* Members of other protocols have no place here; what we say ourselves stands in the Response. */
static int put_extra(struct answer_writer *w, enum extra_place place, int choice,
                     struct span members)
{
    struct responses *r = RESPONSES_OF(w);
    if (place != EXTRA_TOP || span_find(members, SPAN("\"dragoman_")) < 0)
        return 0;
    struct json_raw_iter it = json_raw_members(members);
    buffer_clear(&r->scratch);
    while (json_raw_next(&it)) {
        if (!span_starts(it.key, SPAN("dragoman_")))
            continue;
        if (r->scratch.n)
            buffer_char(&r->scratch, ',');
        struct json_writer own = json_writer(&r->scratch);
        json_key_span(&own, it.key);
        json_raw_value(&own, it.value);
    }
    r->own_members = arena_dup(r->arena, buffer_span(&r->scratch));
    return r->scratch.error || !r->own_members.p ? BUFFER_NOMEM : 0;
}

static int end_items(struct responses *r, const char *last_status)
{
    for (struct item *item = r->first; item; item = item->next) {
        int error = end_item(r, item, item->next ? "completed" : last_status);
        if (error)
            return error;
    }
    return 0;
}

static int put_finish(struct answer_writer *w, int choice, const struct finish_note *note)
{
    struct responses *r = RESPONSES_OF(w);
    start(r);
    if (span_eq(note->reason, SPAN("length")))
        r->reason = "max_output_tokens";
    else if (span_eq(note->reason, SPAN("content_filter")))
        r->reason = "content_filter";
    r->finished = true;
    return end_items(r, r->reason ? "incomplete" : "completed");
}

static int put_end(struct answer_writer *w, const struct usage_counts *usage, struct buffer *body)
{
    struct responses *r = RESPONSES_OF(w);
    if (r->out) {
        response_event(r, r->reason ? "response.incomplete" : "response.completed", final_status(r),
                       usage, NULL);
        return r->out->error;
    }
    int error = r->finished ? 0 : end_items(r, "incomplete");
    if (error)
        return error;
    struct json_writer j = json_writer(body);
    write_response(&j, r, final_status(r), usage, NULL);
    return body->error;
}

static void put_role(struct answer_writer *w) { start(RESPONSES_OF(w)); }

/* Clients need a last event of the answer's own; there is no other for a failure (§4.2). */
static void put_error(struct answer_writer *w, const struct fail *fail)
{
    struct responses *r = RESPONSES_OF(w);
    start(r);
    r->failed = true;
    if (end_items(r, "incomplete") == 0)
        response_event(r, "response.failed", "failed", NULL, fail);
}

static void destroy(struct answer_writer *w)
{
    struct responses *r = RESPONSES_OF(w);
    for (struct item *item = r->first; item; item = item->next) {
        for (struct content *c = item->first; c; c = c->next)
            buffer_free(&c->text);
    }
    buffer_free(&r->scratch);
}

#define COMMON_OPS                                                                                 \
    .text = put_text, .reasoning = put_reasoning, .refusal = put_refusal,                          \
    .signature = put_signature, .redacted = put_redacted, .tool_begin = put_tool_begin,            \
    .tool_arguments = put_tool_arguments, .citations = put_citations, .extra = put_extra,          \
    .finish = put_finish, .end = put_end, .destroy = destroy

static const struct answer_writer_ops whole_ops = {COMMON_OPS};
static const struct answer_writer_ops stream_ops = {
    COMMON_OPS,
    .role = put_role,
    .error = put_error,
};

struct answer_writer *responses_writer(struct arena *arena, const struct answer_meta *meta,
                                       const struct responses_request *request, struct buffer *out)
{
    struct responses *r = arena_alloc(arena, sizeof *r);
    ptrdiff_t prefix = span_find_char(meta->id, '_');
    if (!r)
        return NULL;
    r->writer.ops = out ? &stream_ops : &whole_ops;
    r->arena = arena;
    r->request = request;
    r->meta = *meta;
    r->tail = span_from(meta->id, (size_t)(prefix + 1));
    r->out = out;
    r->stored = request->store;
    buffer_init(&r->scratch, ANSWER_LIMIT);
    return &r->writer;
}

/* ---- for the store ---- */

void responses_writer_not_stored(struct answer_writer *w) { RESPONSES_OF(w)->stored = false; }

/* An item with an id and a type of its own; the content as a list. */
static void write_input_item(struct json_writer *w, struct span id, size_t index, struct span item)
{
    char own[64];
    struct span type = json_raw_given(item, "type"), content = json_raw_given(item, "content");
    ptrdiff_t prefix = span_find_char(id, '_');
    bool text = json_raw_is_text(content);
    struct json_raw_iter it = json_raw_each(item);
    json_begin_object(w);
    if (!json_raw_given(item, "id").p) {
        bool message = !type.p || span_eq(type, SPAN("\"message\""));
        snprintf(own, sizeof own, "%s_%.*s_i%zu", message ? "msg" : "item",
                 SPAN_ARGS(span_first(span_from(id, (size_t)(prefix + 1)), 32)), index);
        json_member(w, "id", span_str(own));
    }
    if (!type.p)
        json_member(w, "type", SPAN("message"));
    while (json_raw_next(&it)) {
        bool replaced =
            (text && json_raw_key_is(it.key, SPAN("content"))) || span_eq(it.value, SPAN("null"));
        if (!replaced)
            json_raw_append_member(w->out, it.key, it.value);
        w->comma = w->out->p && w->out->p[w->out->n - 1] != '{';
    }
    if (text) {
        bool answer = span_eq(json_raw_given(item, "role"), SPAN("\"assistant\""));
        json_key(w, "content");
        json_begin_array(w);
        json_begin_object(w);
        json_member(w, "type", answer ? SPAN("output_text") : SPAN("input_text"));
        json_member_raw(w, "text", content);
        json_end_object(w);
        json_end_array(w);
    }
    json_end_object(w);
}

/* The items of a request as input_items shows them, each with an id and a type, `[…]`. */
static void write_input(struct buffer *out, struct span id, const struct responses_request *request)
{
    struct json_writer w = json_writer(out);
    json_begin_array(&w);
    for (size_t i = 0; i < request->n_items; i++)
        write_input_item(&w, id, i, request->items[i]);
    json_end_array(&w);
}

int responses_writer_record(struct answer_writer *writer, const struct usage_counts *usage,
                            struct buffer *out)
{
    struct responses *r = RESPONSES_OF(writer);
    struct json_writer w = json_writer(out);
    json_begin_object(&w);
    json_key(&w, "response");
    write_response(&w, r, final_status(r), usage, NULL);
    json_key(&w, "input");
    write_input(out, r->meta.id, r->request);
    w.comma = true;
    json_end_object(&w);
    return out->error;
}
