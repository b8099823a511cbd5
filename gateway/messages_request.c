/*
 * gateway/messages_request.c - see messages_request.h.
 *
 * The body is accepted or refused as JSON once, by the parser; after that its raw text is walked,
 * as in gateway/chat_request.c: strings without escapes are spans into the body, what we do not
 * know stays raw. The hard part is the content of user messages, where results of tools and words
 * of the person stand side by side.
 */
#include "gateway/messages_internal.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/chat_body.h"
#include "gateway/request_body.h"

/* ---- members ---- */

void messages_place(char place[MESSAGES_PLACE], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(place, MESSAGES_PLACE, format, args);
    va_end(args);
}

int messages_invalid(struct messages_reader *r, const char *place, const char *what)
{
    return fail_param(r->fail, FAIL_INVALID_VALUE, place, "%s: %s", place, what);
}

int messages_invalid_member(struct messages_reader *r, const char *place, const char *key,
                            const char *what)
{
    char whole[MESSAGES_PLACE];
    messages_place(whole, "%s.%s", place, key);
    return messages_invalid(r, whole, what);
}

int messages_read_text(struct messages_reader *r, struct span raw, struct span *text)
{
    return request_body_text(r->json, r->arena, raw, text, r->fail);
}

int messages_optional_text(struct messages_reader *r, struct span object, const char *place,
                           const char *key, struct span *text)
{
    struct span v = json_raw_given(object, key);
    if (!v.p)
        return 0;
    return json_raw_is_text(v) ? messages_read_text(r, v, text)
                               : messages_invalid_member(r, place, key, "must be a string");
}

int messages_needed_text(struct messages_reader *r, struct span object, const char *place,
                         const char *key, struct span *text)
{
    struct span v = json_raw_given(object, key);
    return json_raw_is_text(v)
               ? messages_read_text(r, v, text)
               : messages_invalid_member(r, place, key, v.p ? "must be a string" : "is required");
}

/* ---- extras ---- */

bool messages_is_known(struct span raw_key, const char *const *known)
{
    for (size_t i = 0; known[i]; i++) {
        if (json_raw_key_is(raw_key, span_str(known[i])))
            return true;
    }
    return false;
}

/* The object's members that are given and not known. */
static int read_extra(struct messages_reader *r, struct span object, const char *const *known,
                      struct span *extra)
{
    struct json_raw_iter it = json_raw_each(object);
    size_t room = 0;
    *extra = SPAN("");
    while (json_raw_next(&it)) {
        if (it.value.p[0] != 'n' && !messages_is_known(it.key, known))
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
        if (it.value.p[0] != 'n' && !messages_is_known(it.key, known))
            json_raw_append_member(&out, it.key, it.value);
    }
    *extra = buffer_span(&out);
    return out.error ? fail_memory(r->fail) : 0;
}

/* ---- blocks ---- */

static void make_foreign(struct messages_reader *r, struct span raw, struct part *p)
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

static int read_text_block(struct messages_reader *r, struct span raw, const char *place,
                           struct part *p)
{
    static const char *const known[] = {"type", "text", NULL};
    static const char *const known_citations[] = {"type", "text", "citations", NULL};
    bool ours = are_our_citations(json_raw_given(raw, "citations"));
    p->kind = PART_TEXT;
    if (messages_needed_text(r, raw, place, "text", &p->text))
        return -1;
    return read_extra(r, raw, ours ? known_citations : known, &p->extra);
}

/* "source" and its "type"; `below` becomes its place. */
static int read_source(struct messages_reader *r, struct span raw, const char *place,
                       char below[MESSAGES_PLACE], struct span *source, struct span *type)
{
    *source = json_raw_given(raw, "source");
    messages_place(below, "%s.source", place);
    return json_raw_is_object(*source)
               ? messages_needed_text(r, *source, below, "type", type)
               : messages_invalid(r, below, "must be an object with a \"type\"");
}

/* Both become a data: URL for some sites, in which a comma ends the type. */
static int read_payload(struct messages_reader *r, struct span source, const char *place,
                        struct part *p)
{
    if (messages_needed_text(r, source, place, "media_type", &p->mime) ||
        messages_needed_text(r, source, place, "data", &p->base64))
        return -1;
    return span_find_char(p->mime, ',') < 0
               ? 0
               : messages_invalid_member(r, place, "media_type", "must be a media type");
}

static int read_url(struct messages_reader *r, struct span source, const char *place,
                    struct part *p)
{
    char below[MESSAGES_PLACE];
    messages_place(below, "%s.url", place);
    if (messages_needed_text(r, source, place, "url", &p->url))
        return -1;
    return p->url.n ? request_part_split_data_url(p, below, r->fail)
                    : messages_invalid(r, below, "must not be empty");
}

static int read_image(struct messages_reader *r, struct span raw, const char *place, struct part *p)
{
    static const char *const known[] = {"type", "source", NULL};
    char below[MESSAGES_PLACE];
    struct span source, type = {NULL, 0};
    if (read_source(r, raw, place, below, &source, &type))
        return -1;
    p->kind = PART_IMAGE;
    if (span_eq(type, SPAN("base64"))) {
        if (read_payload(r, source, below, p))
            return -1;
    } else if (span_eq(type, SPAN("url"))) {
        if (read_url(r, source, below, p))
            return -1;
    } else {
        make_foreign(r, raw, p);
        return 0;
    }
    r->turn->has_images = true;
    return request_part_room(r->arena, p, r->fail) ? -1 : read_extra(r, raw, known, &p->extra);
}

/* The texts of a document's own blocks, a line each; false when there is anything else. */
static bool gather_texts(struct messages_reader *r, struct span blocks, struct buffer *out)
{
    struct json_raw_iter it = json_raw_each(blocks);
    while (json_raw_next(&it)) {
        struct span text, raw = json_raw_given(it.value, "text");
        if (!json_raw_is_object(it.value) || !json_raw_is_text(raw) ||
            !span_eq(json_raw_given(it.value, "type"), SPAN("\"text\"")) ||
            messages_read_text(r, raw, &text))
            return false;
        if (out->n)
            buffer_char(out, '\n');
        buffer_append(out, text);
    }
    return !out->error;
}

/* A document of blocks: its text for all, the blocks themselves as an extra. */
static int read_document_blocks(struct messages_reader *r, struct span raw, struct span source,
                                struct part *p)
{
    static const char *const known[] = {"type", NULL};
    struct span content = json_raw_given(source, "content");
    struct buffer out;
    if (json_raw_is_text(content))
        return messages_read_text(r, content, &p->text) || read_extra(r, raw, known, &p->extra) ? -1
                                                                                                : 1;
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
static int read_document_source(struct messages_reader *r, struct span raw, struct span source,
                                struct span type, const char *place, struct part *p)
{
    int bad;
    if (span_eq(type, SPAN("content")))
        return read_document_blocks(r, raw, source, p);
    if (span_eq(type, SPAN("base64"))) {
        bad = read_payload(r, source, place, p);
    } else if (span_eq(type, SPAN("text"))) {
        p->mime = SPAN("text/plain");
        bad = messages_needed_text(r, source, place, "data", &p->text);
    } else if (span_eq(type, SPAN("url"))) {
        bad = read_url(r, source, place, p);
    } else {
        return 0;
    }
    return bad ? -1 : 1;
}

static int read_document(struct messages_reader *r, struct span raw, const char *place,
                         struct part *p)
{
    static const char *const known[] = {"type", "source", NULL};
    char below[MESSAGES_PLACE];
    struct span source, type = {NULL, 0};
    if (read_source(r, raw, place, below, &source, &type) ||
        messages_optional_text(r, raw, place, "title", &p->filename))
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
static int read_block(struct messages_reader *r, struct span raw, struct span type,
                      const char *place, struct part *p)
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

static int read_type(struct messages_reader *r, struct span raw, const char *place,
                     struct span *type)
{
    return json_raw_is_object(raw)
               ? messages_needed_text(r, raw, place, "type", type)
               : messages_invalid(r, place, "must be an object with a \"type\"");
}

/* ---- content ---- */

/* One text, for content that is a string; none for "". */
static int read_string(struct messages_reader *r, struct span raw, struct message *m)
{
    struct part *part = arena_alloc(r->arena, sizeof *part);
    if (!part)
        return fail_memory(r->fail);
    if (messages_read_text(r, raw, &part->text))
        return -1;
    m->parts = part;
    m->n_parts = part->text.n ? 1 : 0;
    return 0;
}

static int too_many(struct messages_reader *r)
{
    char what[80];
    snprintf(what, sizeof what, "at most %d, with at most %d blocks in all", REQUEST_MESSAGES_MAX,
             REQUEST_PARTS_MAX);
    messages_invalid(r, "messages", what);
    return -1;
}

static struct part *make_parts(struct messages_reader *r, size_t n)
{
    r->n_blocks += n;
    if (r->n_blocks > REQUEST_PARTS_MAX) {
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
static int read_plain(struct messages_reader *r, struct span raw, const char *place, int index,
                      struct message *m)
{
    char below[MESSAGES_PLACE];
    struct span type = {NULL, 0};
    if (json_raw_is_text(raw))
        return read_string(r, raw, m);
    if (!json_raw_is_array(raw))
        return messages_invalid(r, place, "must be a string or a list of blocks");
    struct part *parts = make_parts(r, json_raw_count(raw));
    if (!parts)
        return -1;
    m->parts = parts;
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++) {
        struct part *p = &parts[m->n_parts++];
        messages_place(below, "%s.%d", place, i);
        p->index = index < 0 ? i : index;
        if (read_type(r, it.value, below, &type) || read_block(r, it.value, type, below, p))
            return -1;
    }
    return 0;
}

static struct message *add_message(struct messages_reader *r, enum role role, int index)
{
    struct message *m = &r->messages[r->n_messages++];
    m->role = role;
    m->index = index;
    m->extra = SPAN("");
    return m;
}

static int read_result(struct messages_reader *r, struct span raw, const char *place, int index,
                       int block)
{
    static const char *const known[] = {"type", "tool_use_id", "content", "is_error", NULL};
    char below[MESSAGES_PLACE];
    struct message *m = add_message(r, ROLE_TOOL, index);
    struct span content = json_raw_given(raw, "content");
    struct span failed = json_raw_given(raw, "is_error");
    if (messages_needed_text(r, raw, place, "tool_use_id", &m->tool_call_id))
        return -1;
    if (failed.p && failed.p[0] != 't' && failed.p[0] != 'f')
        return messages_invalid_member(r, place, "is_error", "must be true or false");
    m->is_error = failed.p && failed.p[0] == 't';
    messages_place(below, "%s.content", place);
    if (content.p && read_plain(r, content, below, block, m))
        return -1;
    return read_extra(r, raw, known, &m->extra);
}

/* A run of blocks that are no results is a message of its own. Without any block it is an empty
 * one: a turn has messages. */
static int read_user(struct messages_reader *r, struct span raw, const char *place, int index,
                     struct message **first)
{
    char below[MESSAGES_PLACE];
    struct span type = {NULL, 0};
    struct message *open = NULL;
    size_t before = r->n_messages;
    struct part *parts = make_parts(r, json_raw_count(raw));
    if (!parts)
        return -1;
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++, parts++) {
        messages_place(below, "%s.%d", place, i);
        if (read_type(r, it.value, below, &type))
            return -1;
        if (span_eq(type, SPAN("tool_use")) || span_eq(type, SPAN("thinking")) ||
            span_eq(type, SPAN("redacted_thinking")))
            return messages_invalid(r, below, "blocks of this type belong into assistant messages");
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

static int read_tool_use(struct messages_reader *r, struct span raw, const char *place,
                         struct tool_call *call)
{
    static const char *const known[] = {"type", "id", "name", "input", NULL};
    struct span input = json_raw_given(raw, "input");
    if (messages_needed_text(r, raw, place, "id", &call->id) ||
        messages_needed_text(r, raw, place, "name", &call->name))
        return -1;
    if (input.p && !json_raw_is_object(input))
        return messages_invalid_member(r, place, "input", "must be an object");
    call->arguments = input.p ? input : SPAN("{}");
    return read_extra(r, raw, known, &call->extra);
}

static int read_thinking(struct messages_reader *r, struct span raw, struct span type,
                         const char *place, struct part *p)
{
    static const char *const known[] = {"type", "thinking", "signature", "data", NULL};
    bool redacted = span_eq(type, SPAN("redacted_thinking"));
    p->kind = redacted ? PART_REDACTED : PART_THINKING;
    if (redacted ? messages_needed_text(r, raw, place, "data", &p->signature)
                 : messages_needed_text(r, raw, place, "thinking", &p->text) ||
                       messages_optional_text(r, raw, place, "signature", &p->signature))
        return -1;
    return read_extra(r, raw, known, &p->extra);
}

/* The text of all its thinking, a line each. */
static int join_reasoning(struct messages_reader *r, struct message *m)
{
    size_t n = 0, room = 0;
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].kind != PART_THINKING)
            continue;
        m->reasoning = m->parts[i].text;
        room += m->reasoning.n + 1;
        n++;
    }
    if (n < 2)
        return 0;
    char *text = arena_room(r->arena, room), *at = text;
    if (!text)
        return fail_memory(r->fail);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].kind != PART_THINKING)
            continue;
        if (at > text)
            *at++ = '\n';
        span_put(&at, m->parts[i].text);
    }
    *at = '\0';
    m->reasoning = span_of(text, (size_t)(at - text));
    return 0;
}

static int read_assistant(struct messages_reader *r, struct span raw, const char *place,
                          struct message *m)
{
    char below[MESSAGES_PLACE];
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
        messages_place(below, "%s.%d", place, i);
        if (read_type(r, it.value, below, &type))
            return -1;
        if (span_eq(type, SPAN("tool_result")))
            return messages_invalid(r, below, "tool_result blocks belong into user messages");
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
static int make_messages(struct messages_reader *r, struct span system, struct span list)
{
    size_t most = system.p ? 1 : 0, n = 0;
    struct json_raw_iter it = json_raw_each(list);
    while (json_raw_next(&it)) {
        struct span content =
            json_raw_is_object(it.value) ? json_raw_given(it.value, "content") : span_of(NULL, 0);
        most += 1 + (json_raw_is_array(content) ? json_raw_count(content) : 0);
        n++;
    }
    if (n > REQUEST_MESSAGES_MAX || most > REQUEST_MESSAGES_MAX + REQUEST_PARTS_MAX)
        return too_many(r);
    r->messages = arena_alloc(r->arena, most * sizeof *r->messages);
    return r->messages ? 0 : fail_memory(r->fail);
}

static int read_message(struct messages_reader *r, struct span raw, int index)
{
    static const char *const known[] = {"role", "content", NULL};
    char place[MESSAGES_PLACE], below[MESSAGES_PLACE];
    struct span role = {NULL, 0}, content;
    struct message *m = NULL;
    int bad;
    messages_place(place, "messages.%d", index);
    messages_place(below, "messages.%d.content", index);
    if (!json_raw_is_object(raw))
        return messages_invalid(r, place, "must be an object with \"role\" and \"content\"");
    if (messages_needed_text(r, raw, place, "role", &role))
        return -1;
    content = json_raw_given(raw, "content");
    if (!json_raw_is_text(content) && !json_raw_is_array(content))
        return messages_invalid(r, below,
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
        return messages_invalid_member(r, place, "role", "must be user, assistant or system");
    }
    return bad || (m && read_extra(r, raw, known, &m->extra)) ? -1 : 0;
}

static int read_messages(struct messages_reader *r)
{
    struct span system = json_members_given(r->top, "system");
    struct span list = json_members_given(r->top, "messages");
    if (!json_raw_is_array(list))
        return messages_invalid(r, "messages",
                                list.p ? "must be a list of messages" : "is required");
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
        return messages_invalid(r, "messages", "at least one message is required");
    r->turn->messages = r->messages;
    r->turn->n_messages = r->n_messages;
    return 0;
}

/* ---- the whole ---- */

/* A message thread: the server would keep the conversation, and later requests would hold only what
 * is new. To ignore it would lose the history; refused in these words (gateway/error_response.c)
 * Anthropic's SDK goes on without it by itself. */
static int refuse_thread(struct messages_reader *r)
{
    if (!json_members_given(r->top, "thread").p)
        return 0;
    return fail_param(r->fail, FAIL_UNSUPPORTED, "thread",
                      "thread: conversations are not kept here; send all messages each time");
}

static int read_model(struct messages_reader *r)
{
    struct span raw = json_members_given(r->top, "model");
    if (!raw.p)
        return messages_invalid(r, "model",
                                "is required: the id of a model (GET /v1/models lists them)");
    if (!json_raw_is_text(raw) || raw.n == 2)
        return messages_invalid(r, "model",
                                "must be the id of a model (GET /v1/models lists them)");
    return messages_read_text(r, raw, &r->turn->model);
}

static int read_stream(struct messages_reader *r, const struct messages_wish *wish)
{
    struct span v = json_members_given(r->top, "stream");
    if (!v.p || wish->only_counting)
        return 0;
    if (v.p[0] != 't' && v.p[0] != 'f')
        return messages_invalid(r, "stream", "must be true or false");
    r->turn->stream = r->turn->include_usage = v.p[0] == 't';
    return 0;
}

int messages_request_parse(struct json_parser *json, struct arena *arena, char *body, size_t n,
                           const struct messages_wish *wish, struct turn *turn, struct fail *fail)
{
    static const char *const known[] = {
        "model", "messages",       "system", "max_tokens",  "stream",   "temperature", "top_p",
        "top_k", "stop_sequences", "tools",  "tool_choice", "thinking", NULL};
    struct json_members top;
    struct messages_reader r = {
        .json = json, .arena = arena, .turn = turn, .top = &top, .fail = fail};
    *turn = (struct turn){.n = 1, .dialect = DIALECT_ANTHROPIC, .betas = SPAN("")};
    if (wish->betas.n)
        turn->betas = arena_dup(arena, wish->betas);
    if (!turn->betas.p)
        return fail_memory(fail);
    if (request_body_open(json, body, n, &turn->raw, fail) ||
        request_body_members(&top, turn->raw, fail))
        return -1;
    if (read_model(&r) || read_stream(&r, wish) || refuse_thread(&r) || read_messages(&r) ||
        messages_read_parameters(&r, wish) || read_extra(&r, turn->raw, known, &turn->extra))
        return -1;
    return wish->only_counting ? 0 : chat_body_write(arena, turn, &turn->raw, fail);
}
