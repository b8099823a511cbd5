/*
 * adapters/anthropic_messages.c - a conversation as Anthropic's API wants it (sites/anthropic.md
 * §4.1): the system's words apart, user and assistant in turns, results of tools before all else.
 *
 * A turn in Anthropic's own words (body->same) is written as it was said. Others are repaired:
 * what the API would refuse - empty texts, a beginning by the assistant, foreign ids - is not sent.
 */
#include "adapters/anthropic.h"
#include "adapters/support.h"
#include "base/json_raw.h"

enum { ID_MAX = 256 };

static const char go_on[] =
    "Continue exactly where your last message stops. Do not repeat any of it.";

bool anthropic_is_blank(struct span text) { return span_trim(text).n == 0; }

void anthropic_write_extra(struct json_writer *w, struct span members)
{
    if (members.n == 0)
        return;
    if (w->comma)
        buffer_char(w->out, ',');
    buffer_append(w->out, members);
    w->comma = true;
}

/* ---- who says what ---- */

/* Whose message at the site: the results of tools are the user's, and the system's later words as
 * well, but for clients that say it Anthropic's way. */
static enum role side_of(const struct anthropic_body *b, const struct message *m)
{
    if (m->role == ROLE_ASSISTANT)
        return ROLE_ASSISTANT;
    return m->role == ROLE_SYSTEM && b->same ? ROLE_SYSTEM : ROLE_USER;
}

static bool part_counts(const struct anthropic_body *b, const struct message *m,
                        const struct part *p)
{
    if (b->same)
        return true;
    switch (p->kind) {
    case PART_TEXT:
    case PART_REFUSAL: return !anthropic_is_blank(p->text);
    case PART_IMAGE:
    case PART_FILE: return m->role != ROLE_ASSISTANT;
    case PART_THINKING:
    case PART_REDACTED: return b->put_back && m->role == ROLE_ASSISTANT && p->signature.n;
    default: return false;
    }
}

static bool message_counts(const struct anthropic_body *b, const struct message *m)
{
    if (m->role == ROLE_TOOL || m->n_tool_calls)
        return true;
    for (size_t i = 0; i < m->n_parts; i++) {
        if (part_counts(b, m, &m->parts[i]))
            return true;
    }
    return false;
}

/* `system` is written from the messages before this one. */
static size_t first_message(const struct turn *t)
{
    size_t i = 0;
    bool same = t->dialect == DIALECT_ANTHROPIC;
    while (i < t->n_messages && t->messages[i].role == ROLE_SYSTEM &&
           (!same || t->messages[i].index < 0))
        i++;
    return i;
}

/* ---- parts ---- */

static int refuse_part(struct anthropic_body *b, const struct message *m, const struct part *p,
                       const char *what)
{
    char param[PART_PLACE_SIZE];
    part_place(b->run->turn, m, p, param);
    return fail_param(b->run->fail, FAIL_UNSUPPORTED, param, "Anthropic does not take %s", what);
}

static bool is_web_address(struct span url)
{
    return span_starts(url, SPAN("https://")) || span_starts(url, SPAN("http://"));
}

static void write_source(struct json_writer *w, const char *type, const char *key,
                         struct span value)
{
    json_key(w, "source");
    json_begin_object(w);
    json_member(w, "type", span_str(type));
    json_member(w, key, value);
    json_end_object(w);
}

static void write_base64(struct json_writer *w, struct span media_type, struct span data)
{
    json_key(w, "source");
    json_begin_object(w);
    json_member(w, "type", SPAN("base64"));
    json_member(w, "media_type", media_type);
    json_member(w, "data", data);
    json_end_object(w);
}

static void write_plain(struct json_writer *w, struct span text)
{
    json_key(w, "source");
    json_begin_object(w);
    json_member(w, "type", SPAN("text"));
    json_member(w, "media_type", SPAN("text/plain"));
    json_member(w, "data", text);
    json_end_object(w);
}

static int write_picture(struct anthropic_body *b, const struct message *m, const struct part *p)
{
    static const struct span types[] = {SPAN_INIT("image/png"), SPAN_INIT("image/jpeg"),
                                        SPAN_INIT("image/gif"), SPAN_INIT("image/webp")};
    struct span type = part_picture_type(b->run, p);
    bool known = b->same;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        known |= span_eq_nocase(type, types[i]);
    json_member(&b->w, "type", SPAN("image"));
    if (b->same && json_raw_has(p->extra, SPAN("source")))
        return 0;
    if (part_has_data(p) && !known)
        return refuse_part(b, m, p, "pictures of this type; send png, jpeg, gif or webp");
    if (part_has_data(p))
        write_base64(&b->w, type.n ? type : p->mime, part_base64(b->run, p));
    else if (p->file_id.n && b->same)
        write_source(&b->w, "file", "file_id", p->file_id);
    else if (b->same || is_web_address(p->url))
        write_source(&b->w, "url", "url", p->url);
    else
        return refuse_part(b, m, p, "a picture from there; send a data: or an https: URL");
    return 0;
}

/* Text in a data: URL is a document of plain text. */
static int write_text_file(struct anthropic_body *b, const struct message *m, const struct part *p)
{
    struct span text = part_bytes(b->run, p), quoted;
    struct json checked;
    struct buffer out;
    buffer_init(&out, text.n * 6 + 16);
    struct json_writer w = json_writer(&out);
    json_string(&w, text);
    quoted = buffer_span(&out);
    bool good = text.p && !out.error && json_parse(b->run->json, quoted, &checked) == JSON_OK;
    buffer_free(&out);
    if (!good)
        return refuse_part(b, m, p, "a text file that is not UTF-8");
    write_plain(&b->w, text);
    return 0;
}

static int write_document(struct anthropic_body *b, const struct message *m, const struct part *p)
{
    struct span type = part_document_type(b->run, p);
    json_member(&b->w, "type", SPAN("document"));
    if (b->same && json_raw_has(p->extra, SPAN("source")))
        ; /* a document of blocks: the part's text is for others */
    else if (p->text.p)
        write_plain(&b->w, p->text);
    else if (p->base64.n && (b->same || span_eq_nocase(type, SPAN("application/pdf"))))
        write_base64(&b->w, b->same ? p->mime : type, p->base64);
    else if (p->base64.n && span_starts(type, SPAN("text/"))) {
        if (write_text_file(b, m, p))
            return -1;
    } else if (p->file_id.n && b->same)
        write_source(&b->w, "file", "file_id", p->file_id);
    else if (p->url.n && (b->same || is_web_address(p->url)))
        write_source(&b->w, "url", "url", p->url);
    else
        return refuse_part(b, m, p, "files of this kind; send a pdf or a text in the request");
    if (p->filename.n && !(b->same && json_raw_has(p->extra, SPAN("title"))))
        json_member(&b->w, "title", p->filename);
    return 0;
}

static struct span without_tail(struct span text)
{
    while (text.n && span_trim(span_from(text, text.n - 1)).n == 0)
        text.n--;
    return text;
}

/* `name`: whose words they are, before the first of them. */
static void write_text(struct anthropic_body *b, const struct message *m, struct span text,
                       bool first)
{
    json_member(&b->w, "type", SPAN("text"));
    if (!first || !m->name.n || m->role == ROLE_TOOL || b->same) {
        json_member(&b->w, "text", text);
        return;
    }
    json_key(&b->w, "text");
    buffer_char(b->w.out, '"');
    json_escape(b->w.out, role_name(m->role));
    json_escape(b->w.out, SPAN(" ("));
    json_escape(b->w.out, m->name);
    json_escape(b->w.out, SPAN("): "));
    json_escape(b->w.out, text);
    buffer_char(b->w.out, '"');
    b->w.comma = true;
}

static int write_part(struct anthropic_body *b, const struct message *m, const struct part *p,
                      bool last)
{
    struct json_writer *w = &b->w;
    int error = 0;
    if (p->kind == PART_FOREIGN) {
        json_raw_value(w, p->text);
        return 0;
    }
    json_begin_object(w);
    switch (p->kind) {
    case PART_IMAGE: error = write_picture(b, m, p); break;
    case PART_FILE: error = write_document(b, m, p); break;
    case PART_THINKING:
        json_member(w, "type", SPAN("thinking"));
        json_member(w, "thinking", p->text);
        json_member(w, "signature", p->signature);
        break;
    case PART_REDACTED:
        json_member(w, "type", SPAN("redacted_thinking"));
        json_member(w, "data", p->signature);
        break;
    default: write_text(b, m, last ? without_tail(p->text) : p->text, p == m->parts); break;
    }
    if (b->same)
        anthropic_write_extra(w, p->extra);
    json_end_object(w);
    return error;
}

/* ---- calls of tools ---- */

static bool is_plain_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static bool is_plain(struct span text, size_t most)
{
    for (size_t i = 0; i < text.n; i++) {
        if (!is_plain_char(text.p[i]))
            return false;
    }
    return text.n > 0 && text.n <= most;
}

/* Ids of other services may hold what the API refuses; the same one becomes the same. Old clients'
 * calls have none: the `k`th of message `at`. */
static struct span call_id(struct anthropic_body *b, struct span id, size_t at, size_t k)
{
    if (b->same || is_plain(id, ID_MAX))
        return id;
    if (id.n == 0)
        return arena_printf(b->run->arena, "call_%zu_%zu", at, k);
    return arena_printf(b->run->arena, "call_%016llx",
                        (unsigned long long)span_hash(SPAN_HASH, id));
}

struct span anthropic_tool_name(struct anthropic_body *b, struct span name)
{
    enum { NAME_MAX = 128 };
    return b->same || is_plain(name, NAME_MAX)
               ? name
               : make_legal_name(b->run->arena, name, is_plain_char, NULL);
}

struct span anthropic_memory_key(struct turn_run *run, struct span id)
{
    struct span model = family_model_id(run->model, ANTHROPIC_FAMILY);
    return arena_printf(run->arena, "thinking %.*s %.*s", SPAN_ARGS(model), SPAN_ARGS(id));
}

static int write_call(struct anthropic_body *b, const struct message *m, size_t at, size_t k)
{
    const struct tool_call *call = &m->tool_calls[k];
    struct span id = call_id(b, call->id, at, k), name = anthropic_tool_name(b, call->name), input;
    if (!id.p || !name.p)
        return fail_memory(b->run->fail);
    if (call_arguments(b->run, m, k, &input))
        return -1;
    json_begin_object(&b->w);
    json_member(&b->w, "type", SPAN("tool_use"));
    json_member(&b->w, "id", id);
    json_member(&b->w, "name", name);
    json_member_raw(&b->w, "input", input);
    if (b->same)
        anthropic_write_extra(&b->w, call->extra);
    json_end_object(&b->w);
    return 0;
}

/* Which call an old client's result without an id answers: they come in the calls' order. Results
 * are asked for in the messages' order, so that each message is looked at once. */
static struct span answered_id(struct anthropic_body *b, size_t at)
{
    const struct message *list = b->run->turn->messages;
    if (list[at].tool_call_id.n || b->same)
        return call_id(b, list[at].tool_call_id, at, 0);
    for (; b->passed < at; b->passed++) {
        const struct message *m = &list[b->passed];
        if (m->n_tool_calls) {
            b->asking = b->passed;
            b->answered = 0;
        } else {
            b->answered += m->role == ROLE_TOOL && !m->tool_call_id.n;
        }
    }
    return call_id(b, span_of("", 0), b->asking, b->answered);
}

static int write_result(struct anthropic_body *b, size_t at)
{
    const struct message *m = &b->run->turn->messages[at];
    struct json_writer *w = &b->w;
    struct span id = answered_id(b, at);
    size_t n = 0;
    if (!id.p)
        return fail_memory(b->run->fail);
    json_begin_object(w);
    json_member(w, "type", SPAN("tool_result"));
    json_member(w, "tool_use_id", id);
    for (size_t i = 0; i < m->n_parts; i++)
        n += part_counts(b, m, &m->parts[i]);
    if (m->n_parts == 1 && m->parts[0].kind == PART_TEXT && !m->parts[0].extra.n) {
        json_member(w, "content", m->parts[0].text);
    } else if (n) {
        json_key(w, "content");
        json_begin_array(w);
        for (size_t i = 0; i < m->n_parts; i++) {
            if (part_counts(b, m, &m->parts[i]) && write_part(b, m, &m->parts[i], false))
                return -1;
        }
        json_end_array(w);
    }
    if (m->is_error)
        json_member_bool(w, "is_error", true);
    if (b->same)
        anthropic_write_extra(w, m->extra);
    json_end_object(w);
    return 0;
}

/* ---- messages ---- */

/* `last`: nothing follows this message; its last text must not end in white space. */
static int write_blocks(struct anthropic_body *b, size_t at, bool last)
{
    const struct message *m = &b->run->turn->messages[at];
    size_t final = m->n_parts, k = 0;
    while (last && final > 0 && !part_counts(b, m, &m->parts[final - 1]))
        final--;
    if (b->put_back && b->put_back[at].n)
        json_raw_value(&b->w, b->put_back[at]);
    for (size_t i = 0; i <= m->n_parts; i++) {
        for (; k < m->n_tool_calls && (i == m->n_parts || m->tool_calls[k].after <= i); k++) {
            if (write_call(b, m, at, k))
                return -1;
        }
        if (i < m->n_parts && part_counts(b, m, &m->parts[i]) &&
            write_part(b, m, &m->parts[i], last && i + 1 == final))
            return -1;
    }
    return 0;
}

static void begin_message(struct anthropic_body *b, struct span role)
{
    json_begin_object(&b->w);
    json_member(&b->w, "role", role);
    json_key(&b->w, "content");
    json_begin_array(&b->w);
}

static void end_message(struct anthropic_body *b)
{
    json_end_array(&b->w);
    json_end_object(&b->w);
}

static void write_said(struct anthropic_body *b, struct span text)
{
    begin_message(b, SPAN("user"));
    json_begin_object(&b->w);
    json_member(&b->w, "type", SPAN("text"));
    json_member(&b->w, "text", text);
    json_end_object(&b->w);
    end_message(b);
}

/* One message of the site's out of the neighbours [from, to). Results of tools stand first. */
static int write_group(struct anthropic_body *b, size_t from, size_t to, enum role side,
                       bool prefill)
{
    const struct message *list = b->run->turn->messages;
    begin_message(b, role_name(side));
    for (size_t i = from; i < to; i++) {
        if (list[i].role == ROLE_TOOL && write_result(b, i))
            return -1;
    }
    for (size_t i = from; i < to; i++) {
        bool last = prefill && i + 1 == to;
        if (list[i].role != ROLE_TOOL && message_counts(b, &list[i]) && write_blocks(b, i, last))
            return -1;
    }
    json_end_array(&b->w);
    for (size_t i = from; b->same && i < to; i++) {
        if (list[i].role != ROLE_TOOL)
            anthropic_write_extra(&b->w, list[i].extra);
    }
    json_end_object(&b->w);
    return 0;
}

/* What is said at the end by the assistant: newer models, and those that think, do not go on by
 * themselves. */
static bool is_prefill(const struct anthropic_body *b, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (b->run->turn->messages[i].n_tool_calls)
            return false;
    }
    return !b->same;
}

int anthropic_write_messages(struct anthropic_body *b)
{
    const struct turn *t = b->run->turn;
    size_t i = first_message(t), end = t->n_messages;
    bool any = false, prefill = false;
    while (end > i && !message_counts(b, &t->messages[end - 1]))
        end--;
    json_key(&b->w, "messages");
    json_begin_array(&b->w);
    while (i < end) {
        if (!message_counts(b, &t->messages[i])) {
            i++;
            continue;
        }
        enum role side = side_of(b, &t->messages[i]);
        size_t to = i + 1;
        size_t next = to;
        for (; next < end; next++) {
            if (!message_counts(b, &t->messages[next]))
                continue;
            if (side_of(b, &t->messages[next]) != side)
                break;
            to = next + 1;
        }
        if (!any && side == ROLE_ASSISTANT && !b->same)
            write_said(b, SPAN("."));
        any = true;
        prefill = next == end && side == ROLE_ASSISTANT && is_prefill(b, i, to);
        if (write_group(b, i, to, side, prefill))
            return -1;
        i = next;
    }
    if (!any && !b->same)
        write_said(b, SPAN("."));
    if (prefill && (!b->a->model.prefill || b->thinks))
        write_said(b, span_str(go_on));
    json_end_array(&b->w);
    return 0;
}

/* ---- the system's words ---- */

int anthropic_write_system(struct anthropic_body *b, struct span instruction)
{
    const struct turn *t = b->run->turn;
    size_t n = first_message(t);
    bool any = instruction.n > 0;
    for (size_t i = 0; i < n; i++)
        any |= message_counts(b, &t->messages[i]);
    if (!any)
        return 0;
    json_key(&b->w, "system");
    json_begin_array(&b->w);
    for (size_t i = 0; i < n; i++) {
        if (write_blocks(b, i, false))
            return -1;
    }
    if (instruction.n) {
        json_begin_object(&b->w);
        json_member(&b->w, "type", SPAN("text"));
        json_member(&b->w, "text", instruction);
        json_end_object(&b->w);
    }
    json_end_array(&b->w);
    return 0;
}
