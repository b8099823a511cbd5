/*
 * gateway/messages_request.c - see messages_request.h.
 *
 * The body is accepted or refused as JSON once, by the parser; after that its raw text is walked,
 * as in gateway/chat_request.c: strings without escapes are spans into the body, what we do not
 * know stays raw. The hard part is the content of user messages, where results of tools and words
 * of the person stand side by side.
 */
#include "gateway/messages_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/chat_body.h"
#include "gateway/reasoning_wish.h"
#include "gateway/request_body.h"

enum { STOPS_MAX = 256, PLACE_LENGTH = 96, TOOLS_LIMIT = 1 << 28 };
/* The API's own limit of messages (sites/anthropic.md §1). It has none of blocks, but they may be
 * as small as ten bytes and become many times that here. */
enum { MESSAGES_MAX = 100000, BLOCKS_MAX = 200000 };

/* One request being read. */
struct reader {
    struct json_parser *json;
    struct arena *arena;
    struct turn *turn;
    const struct json_members *top; /* the client's body */
    struct fail *fail;
    struct message *messages; /* room for all that may come */
    size_t n_messages;
    size_t n_blocks; /* that there was room made for */
};

/* ---- members ---- */

/* Where something stands in the body, in the client's words; a longer one than any is cut. */
static void set_place(char place[PLACE_LENGTH], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void set_place(char place[PLACE_LENGTH], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(place, PLACE_LENGTH, format, args);
    va_end(args);
}

static int invalid(struct reader *r, const char *place, const char *what)
{
    return fail_param(r->fail, FAIL_INVALID_VALUE, place, "%s: %s", place, what);
}

/* `place` and a member's name below it. */
static int invalid_member(struct reader *r, const char *place, const char *key, const char *what)
{
    char whole[PLACE_LENGTH];
    set_place(whole, "%s.%s", place, key);
    return invalid(r, whole, what);
}

static int read_text(struct reader *r, struct span raw, struct span *text)
{
    return request_body_text(r->json, r->arena, raw, text, r->fail);
}

/* A text member that may be absent or null: then *text is left alone. */
static int optional_text(struct reader *r, struct span object, const char *place, const char *key,
                         struct span *text)
{
    struct span v = json_raw_given(object, key);
    if (!v.p)
        return 0;
    return json_raw_is_text(v) ? read_text(r, v, text)
                               : invalid_member(r, place, key, "must be a string");
}

static int needed_text(struct reader *r, struct span object, const char *place, const char *key,
                       struct span *text)
{
    struct span v = json_raw_given(object, key);
    return json_raw_is_text(v)
               ? read_text(r, v, text)
               : invalid_member(r, place, key, v.p ? "must be a string" : "is required");
}

/* ---- extras ---- */

static bool is_known(struct span raw_key, const char *const *known)
{
    for (size_t i = 0; known[i]; i++) {
        if (json_raw_key_is(raw_key, span_str(known[i])))
            return true;
    }
    return false;
}

/* The object's members that are given and not known. */
static int read_extra(struct reader *r, struct span object, const char *const *known,
                      struct span *extra)
{
    struct json_raw_iter it = json_raw_each(object);
    size_t room = 0;
    *extra = SPAN("");
    while (json_raw_next(&it)) {
        if (it.value.p[0] != 'n' && !is_known(it.key, known))
            room += it.key.n + it.value.n + 4;
    }
    if (!room)
        return 0;
    char *text = arena_alloc(r->arena, room + JSON_PADDING);
    if (!text)
        return fail_memory(r->fail);
    struct buffer out = {.p = text, .cap = room, .limit = room};
    it = json_raw_each(object);
    while (json_raw_next(&it)) {
        if (it.value.p[0] != 'n' && !is_known(it.key, known))
            json_raw_append_member(&out, it.key, it.value);
    }
    *extra = buffer_span(&out);
    return out.error ? fail_memory(r->fail) : 0;
}

/* ---- blocks ---- */

static void make_foreign(struct reader *r, struct span raw, struct part *p)
{
    *p = (struct part){.kind = PART_FOREIGN, .text = raw, .index = p->index};
    r->turn->has_foreign = true;
}

/* Citations that we made up for a site without proofs (gateway/write_messages.c). */
static bool are_our_citations(struct span citations)
{
    struct json_raw_iter it = json_raw_each(citations);
    while (json_raw_is_array(citations) && json_raw_next(&it)) {
        if (json_raw_is_object(it.value) &&
            span_eq(json_raw_get(it.value, "encrypted_index"), SPAN("\"\"")))
            return true;
    }
    return false;
}

static int read_text_block(struct reader *r, struct span raw, const char *place, struct part *p)
{
    static const char *const known[] = {"type", "text", NULL};
    static const char *const known_citations[] = {"type", "text", "citations", NULL};
    bool ours = are_our_citations(json_raw_given(raw, "citations"));
    p->kind = PART_TEXT;
    if (needed_text(r, raw, place, "text", &p->text))
        return -1;
    return read_extra(r, raw, ours ? known_citations : known, &p->extra);
}

/* "source" and its "type"; `below` becomes its place. */
static int read_source(struct reader *r, struct span raw, const char *place,
                       char below[PLACE_LENGTH], struct span *source, struct span *type)
{
    *source = json_raw_given(raw, "source");
    set_place(below, "%s.source", place);
    return json_raw_is_object(*source) ? needed_text(r, *source, below, "type", type)
                                       : invalid(r, below, "must be an object with a \"type\"");
}

static int read_payload(struct reader *r, struct span source, const char *place, struct part *p)
{
    return needed_text(r, source, place, "media_type", &p->mime) ||
                   needed_text(r, source, place, "data", &p->base64)
               ? -1
               : 0;
}

static int read_image(struct reader *r, struct span raw, const char *place, struct part *p)
{
    static const char *const known[] = {"type", "source", NULL};
    char below[PLACE_LENGTH];
    struct span source, type = {NULL, 0};
    if (read_source(r, raw, place, below, &source, &type))
        return -1;
    p->kind = PART_IMAGE;
    if (span_eq(type, SPAN("base64"))) {
        if (read_payload(r, source, below, p))
            return -1;
    } else if (span_eq(type, SPAN("url"))) {
        if (needed_text(r, source, below, "url", &p->url))
            return -1;
    } else {
        make_foreign(r, raw, p);
        return 0;
    }
    r->turn->has_images = true;
    return request_part_room(r->arena, p, r->fail) ? -1 : read_extra(r, raw, known, &p->extra);
}

/* The texts of a document's own blocks, a line each; false when there is anything else. */
static bool gather_texts(struct reader *r, struct span blocks, struct buffer *out)
{
    struct json_raw_iter it = json_raw_each(blocks);
    while (json_raw_next(&it)) {
        struct span text, raw = json_raw_given(it.value, "text");
        if (!json_raw_is_object(it.value) || !json_raw_is_text(raw) ||
            !span_eq(json_raw_given(it.value, "type"), SPAN("\"text\"")) ||
            read_text(r, raw, &text))
            return false;
        if (out->n)
            buffer_char(out, '\n');
        buffer_append(out, text);
    }
    return !out->error;
}

/* A document of blocks: its text for all, the blocks themselves as an extra. */
static int read_document_blocks(struct reader *r, struct span raw, struct span source,
                                struct part *p)
{
    static const char *const known[] = {"type", NULL};
    struct span content = json_raw_given(source, "content");
    struct buffer out;
    if (json_raw_is_text(content))
        return read_text(r, content, &p->text) || read_extra(r, raw, known, &p->extra) ? -1 : 1;
    buffer_init(&out, content.n + 1);
    bool good = json_raw_is_array(content) && gather_texts(r, content, &out);
    p->text = good ? arena_dup(r->arena, buffer_span(&out)) : span_of("", 0);
    buffer_free(&out);
    if (!p->text.p)
        return fail_memory(r->fail);
    if (!good)
        return 0;
    return read_extra(r, raw, known, &p->extra) ? -1 : 1;
}

/* 1 = understood, 0 = only sites of the dialect understand it, -1 with fail. */
static int read_document_source(struct reader *r, struct span raw, struct span source,
                                struct span type, const char *place, struct part *p)
{
    int bad;
    if (span_eq(type, SPAN("content")))
        return read_document_blocks(r, raw, source, p);
    if (span_eq(type, SPAN("base64"))) {
        bad = read_payload(r, source, place, p);
    } else if (span_eq(type, SPAN("text"))) {
        p->mime = SPAN("text/plain");
        bad = needed_text(r, source, place, "data", &p->text);
    } else if (span_eq(type, SPAN("url"))) {
        bad = needed_text(r, source, place, "url", &p->url);
    } else {
        return 0;
    }
    return bad ? -1 : 1;
}

static int read_document(struct reader *r, struct span raw, const char *place, struct part *p)
{
    static const char *const known[] = {"type", "source", NULL};
    char below[PLACE_LENGTH];
    struct span source, type = {NULL, 0};
    if (read_source(r, raw, place, below, &source, &type) ||
        optional_text(r, raw, place, "title", &p->filename))
        return -1;
    p->kind = PART_FILE;
    int understood = read_document_source(r, raw, source, type, below, p);
    if (understood < 0)
        return -1;
    if (!understood) {
        make_foreign(r, raw, p);
        return 0;
    }
    r->turn->has_files = true;
    if (request_part_room(r->arena, p, r->fail))
        return -1;
    return p->extra.n ? 0 : read_extra(r, raw, known, &p->extra);
}

/* A block of any message, but for calls, results and thinking. */
static int read_block(struct reader *r, struct span raw, struct span type, const char *place,
                      struct part *p)
{
    if (span_eq(type, SPAN("text")))
        return read_text_block(r, raw, place, p);
    if (span_eq(type, SPAN("image")))
        return read_image(r, raw, place, p);
    if (span_eq(type, SPAN("document")))
        return read_document(r, raw, place, p);
    make_foreign(r, raw, p);
    return 0;
}

static int read_type(struct reader *r, struct span raw, const char *place, struct span *type)
{
    return json_raw_is_object(raw) ? needed_text(r, raw, place, "type", type)
                                   : invalid(r, place, "must be an object with a \"type\"");
}

/* ---- content ---- */

/* One text, for content that is a string; none for "". */
static int read_string(struct reader *r, struct span raw, struct message *m)
{
    struct part *part = arena_alloc(r->arena, sizeof *part);
    if (!part)
        return fail_memory(r->fail);
    if (read_text(r, raw, &part->text))
        return -1;
    m->parts = part;
    m->n_parts = part->text.n ? 1 : 0;
    return 0;
}

static int too_many(struct reader *r)
{
    char what[80];
    snprintf(what, sizeof what, "at most %d, with at most %d blocks in all", MESSAGES_MAX,
             BLOCKS_MAX);
    invalid(r, "messages", what);
    return -1;
}

static struct part *make_parts(struct reader *r, size_t n)
{
    r->n_blocks += n;
    if (r->n_blocks > BLOCKS_MAX) {
        too_many(r);
        return NULL;
    }
    struct part *parts = arena_alloc(r->arena, (n ? n : 1) * sizeof *parts);
    if (!parts)
        fail_memory(r->fail);
    return parts;
}

/* Content without calls, results and thinking. `index`: what the parts are called in errors, -1 =
 * their own places. */
static int read_plain(struct reader *r, struct span raw, const char *place, int index,
                      struct message *m)
{
    char below[PLACE_LENGTH];
    struct span type = {NULL, 0};
    if (json_raw_is_text(raw))
        return read_string(r, raw, m);
    if (!json_raw_is_array(raw))
        return invalid(r, place, "must be a string or a list of blocks");
    struct part *parts = make_parts(r, json_raw_count(raw));
    if (!parts)
        return -1;
    m->parts = parts;
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++) {
        struct part *p = &parts[m->n_parts++];
        set_place(below, "%s.%d", place, i);
        p->index = index < 0 ? i : index;
        if (read_type(r, it.value, below, &type) || read_block(r, it.value, type, below, p))
            return -1;
    }
    return 0;
}

static struct message *add_message(struct reader *r, enum role role, int index)
{
    struct message *m = &r->messages[r->n_messages++];
    m->role = role;
    m->index = index;
    m->extra = SPAN("");
    return m;
}

static int read_result(struct reader *r, struct span raw, const char *place, int index, int block)
{
    static const char *const known[] = {"type", "tool_use_id", "content", "is_error", NULL};
    char below[PLACE_LENGTH];
    struct message *m = add_message(r, ROLE_TOOL, index);
    struct span content = json_raw_given(raw, "content");
    struct span failed = json_raw_given(raw, "is_error");
    if (needed_text(r, raw, place, "tool_use_id", &m->tool_call_id))
        return -1;
    if (failed.p && failed.p[0] != 't' && failed.p[0] != 'f')
        return invalid_member(r, place, "is_error", "must be true or false");
    m->is_error = failed.p && failed.p[0] == 't';
    set_place(below, "%s.content", place);
    if (content.p && read_plain(r, content, below, block, m))
        return -1;
    return read_extra(r, raw, known, &m->extra);
}

/* A run of blocks that are no results is a message of its own. Without any block it is an empty
 * one: a turn has messages. */
static int read_user(struct reader *r, struct span raw, const char *place, int index,
                     struct message **first)
{
    char below[PLACE_LENGTH];
    struct span type = {NULL, 0};
    struct message *open = NULL;
    size_t before = r->n_messages;
    struct part *parts = make_parts(r, json_raw_count(raw));
    if (!parts)
        return -1;
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++, parts++) {
        set_place(below, "%s.%d", place, i);
        if (read_type(r, it.value, below, &type))
            return -1;
        if (span_eq(type, SPAN("tool_use")) || span_eq(type, SPAN("thinking")) ||
            span_eq(type, SPAN("redacted_thinking")))
            return invalid(r, below, "blocks of this type belong into assistant messages");
        if (span_eq(type, SPAN("tool_result"))) {
            open = NULL;
            if (read_result(r, it.value, below, index, i))
                return -1;
            continue;
        }
        if (!open) {
            open = add_message(r, ROLE_USER, index);
            open->parts = parts;
            *first = *first ? *first : open;
        }
        parts->index = i;
        open->n_parts++;
        if (read_block(r, it.value, type, below, parts))
            return -1;
    }
    if (r->n_messages == before)
        *first = add_message(r, ROLE_USER, index);
    return 0;
}

static int read_tool_use(struct reader *r, struct span raw, const char *place,
                         struct tool_call *call)
{
    static const char *const known[] = {"type", "id", "name", "input", NULL};
    struct span input = json_raw_given(raw, "input");
    if (needed_text(r, raw, place, "id", &call->id) ||
        needed_text(r, raw, place, "name", &call->name))
        return -1;
    if (input.p && !json_raw_is_object(input))
        return invalid_member(r, place, "input", "must be an object");
    call->arguments = input.p ? input : SPAN("{}");
    return read_extra(r, raw, known, &call->extra);
}

static int read_thinking(struct reader *r, struct span raw, struct span type, const char *place,
                         struct part *p)
{
    static const char *const known[] = {"type", "thinking", "signature", "data", NULL};
    bool redacted = span_eq(type, SPAN("redacted_thinking"));
    p->kind = redacted ? PART_REDACTED : PART_THINKING;
    if (redacted ? needed_text(r, raw, place, "data", &p->signature)
                 : needed_text(r, raw, place, "thinking", &p->text) ||
                       optional_text(r, raw, place, "signature", &p->signature))
        return -1;
    return read_extra(r, raw, known, &p->extra);
}

/* The text of all its thinking, a line each. */
static int join_reasoning(struct reader *r, struct message *m)
{
    struct buffer out;
    size_t n = 0, room = 1;
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].kind != PART_THINKING)
            continue;
        m->reasoning = m->parts[i].text;
        room += m->reasoning.n + 1;
        n++;
    }
    if (n < 2)
        return 0;
    buffer_init(&out, room);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].kind != PART_THINKING)
            continue;
        if (out.n)
            buffer_char(&out, '\n');
        buffer_append(&out, m->parts[i].text);
    }
    m->reasoning = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    return m->reasoning.p ? 0 : fail_memory(r->fail);
}

static int read_assistant(struct reader *r, struct span raw, const char *place, struct message *m)
{
    char below[PLACE_LENGTH];
    struct span type = {NULL, 0};
    size_t n = json_raw_count(raw);
    struct part *parts = make_parts(r, n);
    if (!parts)
        return -1;
    struct tool_call *calls = arena_alloc(r->arena, (n ? n : 1) * sizeof *calls);
    if (!calls)
        return fail_memory(r->fail);
    m->parts = parts;
    m->tool_calls = calls;
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++) {
        struct part *p = &parts[m->n_parts];
        p->index = i;
        set_place(below, "%s.%d", place, i);
        if (read_type(r, it.value, below, &type))
            return -1;
        if (span_eq(type, SPAN("tool_result")))
            return invalid(r, below, "tool_result blocks belong into user messages");
        if (span_eq(type, SPAN("tool_use"))) {
            struct tool_call *call = &calls[m->n_tool_calls++];
            call->after = m->n_parts;
            if (read_tool_use(r, it.value, below, call))
                return -1;
            continue;
        }
        m->n_parts++;
        bool thinking = span_eq(type, SPAN("thinking")) || span_eq(type, SPAN("redacted_thinking"));
        if (thinking ? read_thinking(r, it.value, type, below, p)
                     : read_block(r, it.value, type, below, p))
            return -1;
    }
    return join_reasoning(r, m);
}

/* ---- messages ---- */

/* What every message of the client's becomes at most: one for each block, and one. */
static int make_messages(struct reader *r, struct span system, struct span list)
{
    size_t most = system.p ? 1 : 0, n = 0;
    struct json_raw_iter it = json_raw_each(list);
    while (json_raw_next(&it)) {
        struct span content =
            json_raw_is_object(it.value) ? json_raw_given(it.value, "content") : span_of(NULL, 0);
        most += 1 + (json_raw_is_array(content) ? json_raw_count(content) : 0);
        n++;
    }
    if (n > MESSAGES_MAX || most > MESSAGES_MAX + BLOCKS_MAX)
        return too_many(r);
    r->messages = arena_alloc(r->arena, most * sizeof *r->messages);
    return r->messages ? 0 : fail_memory(r->fail);
}

static int read_message(struct reader *r, struct span raw, int index)
{
    static const char *const known[] = {"role", "content", NULL};
    char place[PLACE_LENGTH], below[PLACE_LENGTH];
    struct span role = {NULL, 0}, content;
    struct message *m = NULL;
    int bad;
    set_place(place, "messages.%d", index);
    set_place(below, "messages.%d.content", index);
    if (!json_raw_is_object(raw))
        return invalid(r, place, "must be an object with \"role\" and \"content\"");
    if (needed_text(r, raw, place, "role", &role))
        return -1;
    content = json_raw_given(raw, "content");
    if (!json_raw_is_text(content) && !json_raw_is_array(content))
        return invalid(r, below,
                       content.p ? "must be a string or a list of blocks" : "is required");
    if (span_eq(role, SPAN("user")) && json_raw_is_array(content)) {
        bad = read_user(r, content, below, index, &m);
    } else if (span_eq(role, SPAN("assistant")) && json_raw_is_array(content)) {
        m = add_message(r, ROLE_ASSISTANT, index);
        bad = read_assistant(r, content, below, m);
    } else if (span_eq(role, SPAN("user")) || span_eq(role, SPAN("assistant"))) {
        m = add_message(r, role.p[0] == 'u' ? ROLE_USER : ROLE_ASSISTANT, index);
        bad = read_string(r, content, m);
    } else if (span_eq(role, SPAN("system"))) {
        m = add_message(r, ROLE_SYSTEM, index);
        bad = read_plain(r, content, below, -1, m);
    } else {
        return invalid_member(r, place, "role", "must be user, assistant or system");
    }
    return bad || (m && read_extra(r, raw, known, &m->extra)) ? -1 : 0;
}

static int read_messages(struct reader *r)
{
    struct span system = json_members_given(r->top, "system");
    struct span list = json_members_given(r->top, "messages");
    if (!json_raw_is_array(list))
        return invalid(r, "messages", list.p ? "must be a list of messages" : "is required");
    if (make_messages(r, system, list))
        return -1;
    if (system.p && read_plain(r, system, "system", -1, add_message(r, ROLE_SYSTEM, -1)))
        return -1;
    struct json_raw_iter it = json_raw_each(list);
    int index = 0;
    for (; json_raw_next(&it); index++) {
        if (read_message(r, it.value, index))
            return -1;
    }
    if (!index)
        return invalid(r, "messages", "at least one message is required");
    r->turn->messages = r->messages;
    r->turn->n_messages = r->n_messages;
    return 0;
}

/* ---- tools ---- */

/* Members of one of the client's own tools that stand beside OpenAI's "function". */
static void write_beside(struct json_writer *w, struct span tool)
{
    static const char *const known[] = {"type",         "name",   "description",
                                        "input_schema", "strict", NULL};
    struct json_raw_iter it = json_raw_each(tool);
    while (json_raw_next(&it)) {
        if (it.value.p[0] == 'n' || is_known(it.key, known))
            continue;
        buffer_char(w->out, ','); /* the key as it stands: json_key would escape it again */
        buffer_append(w->out, span_of(it.key.p - 1, it.key.n + 2));
        buffer_char(w->out, ':');
        buffer_append(w->out, it.value);
    }
}

static int write_tool(struct reader *r, struct json_writer *w, struct span tool, const char *place)
{
    static const char *const names[] = {"description", "strict"};
    struct span schema = json_raw_given(tool, "input_schema"), name = {NULL, 0};
    if (needed_text(r, tool, place, "name", &name))
        return -1;
    if (!json_raw_is_object(schema))
        return invalid_member(r, place, "input_schema", "must be an object");
    json_begin_object(w);
    json_member(w, "type", SPAN("function"));
    json_key(w, "function");
    json_begin_object(w);
    json_member(w, "name", name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct span value = json_raw_given(tool, names[i]);
        if (value.p)
            json_member_raw(w, names[i], value);
    }
    json_member_raw(w, "parameters", schema);
    json_end_object(w);
    write_beside(w, tool);
    json_end_object(w);
    return 0;
}

static int write_tools(struct reader *r, struct json_writer *w, struct span tools)
{
    char place[PLACE_LENGTH];
    struct span type;
    struct json_raw_iter it = json_raw_each(tools);
    json_begin_array(w);
    for (int i = 0; json_raw_next(&it); i++) {
        set_place(place, "tools.%d", i);
        if (!json_raw_is_object(it.value))
            return invalid(r, place, "must be an object");
        type = SPAN("custom");
        if (optional_text(r, it.value, place, "type", &type))
            return -1;
        if (span_eq(type, SPAN("custom"))) {
            if (write_tool(r, w, it.value, place))
                return -1;
        } else {
            json_raw_value(w, it.value);
            r->turn->tools_foreign = true;
        }
    }
    json_end_array(w);
    return 0;
}

static int read_tools(struct reader *r)
{
    struct span tools = json_members_given(r->top, "tools");
    struct buffer out;
    if (!tools.p)
        return 0;
    if (!json_raw_is_array(tools))
        return invalid(r, "tools", "must be a list of tools");
    if (!json_raw_count(tools))
        return 0;
    buffer_init(&out, TOOLS_LIMIT);
    struct json_writer w = json_writer(&out);
    int bad = write_tools(r, &w, tools);
    if (!bad) {
        r->turn->tools_raw = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
        bad = r->turn->tools_raw.p ? 0 : fail_memory(r->fail);
    }
    buffer_free(&out);
    return bad;
}

static int read_named_choice(struct reader *r, struct span choice)
{
    struct span name = json_raw_given(choice, "name");
    if (!json_raw_is_text(name))
        return invalid(r, "tool_choice.name", name.p ? "must be a string" : "is required");
    r->turn->tool_choice_raw = arena_printf(
        r->arena, "{\"type\":\"function\",\"function\":{\"name\":%.*s}}", SPAN_ARGS(name));
    return r->turn->tool_choice_raw.p ? 0 : fail_memory(r->fail);
}

static int read_tool_choice(struct reader *r)
{
    struct turn *t = r->turn;
    struct span choice = json_members_given(r->top, "tool_choice"), type = {NULL, 0};
    t->tools_wanted = t->tools_raw.p;
    if (!choice.p)
        return 0;
    if (!json_raw_is_object(choice))
        return invalid(r, "tool_choice", "must be an object with a \"type\"");
    if (needed_text(r, choice, "tool_choice", "type", &type))
        return -1;
    t->no_parallel_tool_calls =
        span_eq(json_raw_given(choice, "disable_parallel_tool_use"), SPAN("true"));
    if (span_eq(type, SPAN("tool")))
        return read_named_choice(r, choice);
    if (span_eq(type, SPAN("auto")))
        t->tool_choice_raw = SPAN("\"auto\"");
    else if (span_eq(type, SPAN("any")))
        t->tool_choice_raw = SPAN("\"required\"");
    else if (span_eq(type, SPAN("none")))
        t->tool_choice_raw = SPAN("\"none\"");
    else
        return invalid(r, "tool_choice.type", "must be auto, any, tool or none");
    t->tools_wanted = t->tools_raw.p && !span_eq(type, SPAN("none"));
    return 0;
}

/* ---- parameters ---- */

static int read_number(struct reader *r, const char *key, bool *has, double *value)
{
    struct span v = json_members_given(r->top, key);
    if (!v.p)
        return 0;
    if (v.p[0] != '-' && (v.p[0] < '0' || v.p[0] > '9'))
        return invalid(r, key, "must be a number");
    *value = strtod(v.p, NULL); /* ends at the value's end: a delimiter follows */
    *has = true;
    return 0;
}

static int read_int(struct reader *r, const char *key, bool *has, int64_t *value)
{
    double number = 0;
    bool given = false;
    if (read_number(r, key, &given, &number))
        return -1;
    if (!given)
        return 0;
    if (!(number >= 0 && number <= 9e15) || number != (double)(int64_t)number)
        return invalid(r, key, "must be a whole number");
    *value = (int64_t)number;
    *has = true;
    return 0;
}

static int read_limit(struct reader *r, const struct messages_wish *wish)
{
    struct turn *t = r->turn;
    if (wish->only_counting)
        return 0;
    if (read_int(r, "max_tokens", &t->has_max_tokens, &t->max_tokens))
        return -1;
    if (!t->has_max_tokens)
        return invalid(r, "max_tokens", "is required: the most tokens that the answer may have");
    t->max_includes_reasoning = true;
    return t->max_tokens >= 1 ? 0 : invalid(r, "max_tokens", "must be at least 1");
}

static int read_stream(struct reader *r, const struct messages_wish *wish)
{
    struct span v = json_members_given(r->top, "stream");
    if (!v.p || wish->only_counting)
        return 0;
    if (v.p[0] != 't' && v.p[0] != 'f')
        return invalid(r, "stream", "must be true or false");
    r->turn->stream = r->turn->include_usage = v.p[0] == 't';
    return 0;
}

static int read_stops(struct reader *r)
{
    struct span raw = json_members_given(r->top, "stop_sequences");
    if (!raw.p)
        return 0;
    size_t n = json_raw_is_array(raw) ? json_raw_count(raw) : 0;
    if (!json_raw_is_array(raw) || n > STOPS_MAX)
        return invalid(r, "stop_sequences", "must be a list of at most 256 strings");
    struct span *stops = arena_alloc(r->arena, (n ? n : 1) * sizeof *stops);
    if (!stops)
        return fail_memory(r->fail);
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++) {
        char place[PLACE_LENGTH];
        set_place(place, "stop_sequences.%d", i);
        if (!json_raw_is_text(it.value))
            return invalid(r, place, "must be a string");
        if (read_text(r, it.value, &stops[r->turn->n_stop]))
            return -1;
        if (stops[r->turn->n_stop].n) /* an empty text stops nothing */
            r->turn->n_stop++;
    }
    r->turn->stop = stops;
    return 0;
}

/* {"type":"json_schema","schema":{…}} in OpenAI's form. */
static int read_format(struct reader *r, struct span format)
{
    struct span schema = json_raw_given(format, "schema");
    if (!json_raw_is_object(format) || !json_raw_is_object(schema) ||
        !span_eq(json_raw_given(format, "type"), SPAN("\"json_schema\"")))
        return 0; /* whatever it is, the service of the dialect will know */
    struct buffer out;
    buffer_init(&out, schema.n + 128);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    json_member(&w, "type", SPAN("json_schema"));
    json_key(&w, "json_schema");
    json_begin_object(&w);
    json_member(&w, "name", SPAN("answer"));
    json_member_raw(&w, "schema", schema);
    json_end_object(&w);
    json_end_object(&w);
    struct span raw = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    r->turn->response_format_raw = raw;
    return raw.p ? 0 : fail_memory(r->fail);
}

static int check_thinking(struct reader *r)
{
    struct span thinking = json_members_given(r->top, "thinking"), type = {NULL, 0};
    if (!thinking.p)
        return 0;
    if (!json_raw_is_object(thinking))
        return invalid(r, "thinking", "must be an object with a \"type\"");
    return needed_text(r, thinking, "thinking", "type", &type);
}

static int read_output_wishes(struct reader *r)
{
    struct turn *t = r->turn;
    struct span config = json_members_given(r->top, "output_config");
    if (config.p && !json_raw_is_object(config))
        return invalid(r, "output_config", "must be an object");
    struct span effort = json_raw_given(config, "effort");
    if (effort.p && !json_raw_is_text(effort))
        return invalid(r, "output_config.effort", "must be a string");
    if (reasoning_wish_read(r->json, r->arena, r->top, t, r->fail))
        return -1;
    struct span format = json_raw_given(config, "format");
    return read_format(r, format.p ? format : json_members_given(r->top, "output_format"));
}

static int read_parameters(struct reader *r, const struct messages_wish *wish)
{
    struct turn *t = r->turn;
    return read_limit(r, wish) || read_stops(r) || read_tools(r) || read_tool_choice(r) ||
                   check_thinking(r) || read_output_wishes(r) ||
                   read_number(r, "temperature", &t->has_temperature, &t->temperature) ||
                   read_number(r, "top_p", &t->has_top_p, &t->top_p) ||
                   read_int(r, "top_k", &t->has_top_k, &t->top_k)
               ? -1
               : 0;
}

/* A message thread: the server would keep the conversation, and later requests would hold only what
 * is new. To ignore it would lose the history; refused in these words (gateway/error_response.c)
 * Anthropic's SDK goes on without it by itself. */
static int refuse_thread(struct reader *r)
{
    if (!json_members_given(r->top, "thread").p)
        return 0;
    return fail_param(r->fail, FAIL_UNSUPPORTED, "thread",
                      "thread: conversations are not kept here; send all messages each time");
}

static int read_model(struct reader *r)
{
    struct span raw = json_members_given(r->top, "model");
    if (!raw.p)
        return invalid(r, "model", "is required: the id of a model (GET /v1/models lists them)");
    if (!json_raw_is_text(raw) || raw.n == 2)
        return invalid(r, "model", "must be the id of a model (GET /v1/models lists them)");
    return read_text(r, raw, &r->turn->model);
}

int messages_request_parse(struct json_parser *json, struct arena *arena, char *body, size_t n,
                           const struct messages_wish *wish, struct turn *turn, struct fail *fail)
{
    static const char *const known[] = {
        "model", "messages",       "system", "max_tokens",  "stream",   "temperature", "top_p",
        "top_k", "stop_sequences", "tools",  "tool_choice", "thinking", NULL};
    struct json_members top;
    struct reader r = {.json = json, .arena = arena, .turn = turn, .top = &top, .fail = fail};
    *turn = (struct turn){.n = 1, .dialect = DIALECT_ANTHROPIC, .betas = SPAN("")};
    if (wish->betas.n)
        turn->betas = arena_dup(arena, wish->betas);
    if (!turn->betas.p)
        return fail_memory(fail);
    if (request_body_open(json, body, n, &turn->raw, fail))
        return -1;
    json_members_read(&top, turn->raw);
    if (read_model(&r) || read_stream(&r, wish) || refuse_thread(&r) || read_messages(&r) ||
        read_parameters(&r, wish) || read_extra(&r, turn->raw, known, &turn->extra))
        return -1;
    return wish->only_counting ? 0 : chat_body_write(arena, turn, &turn->raw, fail);
}
