/*
 * gateway/responses_request.c - see responses_request.h.
 *
 * As in chat_request.c the body is accepted as JSON once and then walked as text. The hard part is
 * that the API says in a list of items what a turn says in messages: reasoning, text and calls of
 * one answer are items of their own and become one assistant message again, in their order.
 */
#include "gateway/responses_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/support.h"
#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/chat_body.h"
#include "gateway/request_body.h"

enum { WHERE_MAX = 96, PIECES_LIMIT = 1 << 30, ECHO_LIMIT = 1 << 30, DESCRIPTION_LIMIT = 1 << 20 };
/* One item may be referred to again and again: all that references stand for, in MiB. */
enum { REFERRED_MAX = 32 };

/* Places in what was stored have no name that the client knows. */
enum { STORED = -1 };

/* An item of what was found. */
struct known_item {
    struct span id, item; /* raw */
    size_t place;
};

struct reader {
    struct json_parser *json;
    struct arena *arena;
    struct turn *turn;
    struct responses_request *request;
    const struct response_found *found;
    size_t n_found;
    struct fail *fail;

    struct message *messages;
    size_t n_messages, cap_messages;
    /* The assistant message that items are gathered in; NULL = none. */
    struct message *open;
    struct part *parts;
    struct tool_call *calls;
    size_t cap_parts, cap_calls;
    bool ends_in_message; /* its last item was a message */

    size_t n_ignored_tools;

    struct known_item *known; /* of what was found, by id; NULL = nobody asked yet */
    size_t n_known;
    size_t referred; /* bytes of items that references stand for */
};

/* ---- members ---- */

static int invalid(struct reader *r, const char *param, const char *wanted)
{
    return request_body_invalid(r->fail, param, wanted);
}

static int unsupported(struct reader *r, const char *param, const char *why)
{
    return fail_param(r->fail, FAIL_UNSUPPORTED, param, "%s", why);
}

static int read_text(struct reader *r, struct span raw, struct span *text)
{
    return request_body_text(r->json, r->arena, raw, text, r->fail);
}

/* Optional text member; absent or null leaves *text alone. */
static int text_member(struct reader *r, struct span object, const char *key, const char *param,
                       struct span *text)
{
    return request_body_text_member(r->json, r->arena, object, key, param, text, r->fail);
}

static int bool_member(struct reader *r, struct span object, const char *key, bool *value)
{
    return request_body_bool_member(object, key, key, value, r->fail);
}

static int number_member(struct reader *r, struct span object, const char *key, bool *has,
                         double *value)
{
    return request_body_number_member(object, key, key, has, value, r->fail);
}

/* Room for one more in a list of the arena, whose entries stay where they are until then. */
static void *room_for_one(struct arena *arena, void *list, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return list;
    size_t more = *cap ? *cap * 2 : 8;
    void *grown = arena_alloc(arena, more * size);
    if (!grown)
        return NULL;
    if (n)
        memcpy(grown, list, n * size);
    *cap = more;
    return grown;
}

/* "input[3]", or of what was stored the field that speaks of it. */
static void place_of(char where[WHERE_MAX], int index)
{
    if (index == STORED)
        snprintf(where, WHERE_MAX, "previous_response_id");
    else
        snprintf(where, WHERE_MAX, "input[%d]", index);
}

/* ---- reasoning that comes back ---- */

struct span sealed_reasoning_write(struct arena *arena, const struct sealed_reasoning *s)
{
    struct buffer json;
    char hash[17];
    buffer_init(&json, PIECES_LIMIT);
    snprintf(hash, sizeof hash, "%016" PRIx64, s->text_hash);
    struct json_writer w = json_writer(&json);
    json_begin_object(&w);
    json_member_int(&w, "v", 1);
    json_member(&w, "h", span_str(hash));
    if (s->signature.n)
        json_member(&w, "s", s->signature);
    if (s->redacted.n)
        json_member(&w, "r", s->redacted);
    json_end_object(&w);
    struct span text = json.error ? span_of(NULL, 0) : base64_encode(arena, buffer_span(&json));
    buffer_free(&json);
    return text;
}

static bool read_hash(struct span text, uint64_t *hash)
{
    *hash = 0;
    for (size_t i = 0; i < text.n; i++) {
        int digit = hex_digit(text.p[i]);
        if (digit < 0)
            return false;
        *hash = *hash << 4 | (uint64_t)digit;
    }
    return text.n == 16;
}

bool sealed_reasoning_read(struct json_parser *json, struct arena *arena, struct span text,
                           struct sealed_reasoning *s)
{
    struct json root;
    int64_t version = 0;
    struct span inside = base64_decode(arena, text);
    *s = (struct sealed_reasoning){0};
    if (!inside.p || json_parse(json, inside, &root) || !json_int(json_get(root, "v"), &version) ||
        version != 1 || !read_hash(json_get_text(root, "h"), &s->text_hash))
        return false;
    s->signature = arena_dup(arena, json_get_text(root, "s"));
    s->redacted = arena_dup(arena, json_get_text(root, "r"));
    return s->signature.p && s->redacted.p;
}

/* ---- messages ---- */

static struct message *add_message(struct reader *r, enum role role, int index)
{
    struct message *list =
        room_for_one(r->arena, r->messages, r->n_messages, &r->cap_messages, sizeof *list);
    if (!list) {
        fail_memory(r->fail);
        return NULL;
    }
    r->messages = list;
    struct message *m = &list[r->n_messages++];
    *m = (struct message){.role = role, .index = index};
    return m;
}

static int join_thinking(struct reader *r, struct message *m)
{
    struct span only = {NULL, 0};
    struct buffer text;
    size_t n = 0;
    buffer_init(&text, PIECES_LIMIT);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].kind != PART_THINKING)
            continue;
        only = m->parts[i].text;
        buffer_append(&text, only);
        n++;
    }
    if (n == 1)
        m->reasoning = only;
    else if (n)
        m->reasoning = text.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&text));
    buffer_free(&text);
    return n && !m->reasoning.p ? fail_memory(r->fail) : 0;
}

/* What was gathered is one assistant message. */
static int close_answer(struct reader *r)
{
    struct message *m = r->open;
    if (!m)
        return 0;
    m->parts = r->parts;
    m->tool_calls = r->calls;
    r->open = NULL;
    r->parts = NULL;
    r->calls = NULL;
    r->cap_parts = r->cap_calls = 0;
    return join_thinking(r, m);
}

/* The message that an item of an answer belongs to. Two messages side by side stay two. */
static struct message *open_answer(struct reader *r, int index, bool is_message)
{
    if (r->open && is_message && r->ends_in_message && close_answer(r))
        return NULL;
    if (!r->open)
        r->open = add_message(r, ROLE_ASSISTANT, index);
    r->ends_in_message = is_message;
    return r->open;
}

static struct part *add_answer_part(struct reader *r)
{
    struct part *list =
        room_for_one(r->arena, r->parts, r->open->n_parts, &r->cap_parts, sizeof *list);
    if (!list) {
        fail_memory(r->fail);
        return NULL;
    }
    r->parts = list;
    return &list[r->open->n_parts++];
}

/* ---- parts ---- */

/* data:[<mime>][;param…];base64,<payload> (RFC 2397). Other URLs stay as they are. */
static int split_data_url(struct reader *r, const char *where, struct part *part)
{
    struct span url = part->url;
    if (url.n < 5 || !span_eq_nocase(span_first(url, 5), SPAN("data:")))
        return 0;
    ptrdiff_t comma = span_find_char(url, ',');
    struct span head = comma < 0 ? SPAN("") : span_of(url.p + 5, (size_t)comma - 5);
    if (head.n < 7 || !span_eq_nocase(span_from(head, head.n - 7), SPAN(";base64")))
        return invalid(r, where, "a data: URL of the form data:<type>;base64,<data>");
    part->mime = span_first(head, (size_t)span_find_char(head, ';'));
    part->base64 = span_from(url, (size_t)comma + 1);
    return 0;
}

static int read_image(struct reader *r, struct span raw, const char *where, struct part *part)
{
    struct span url = json_raw_given(raw, "image_url");
    part->kind = PART_IMAGE;
    r->turn->has_images = true;
    if (json_raw_is_object(url)) /* as in chats */
        url = json_raw_given(url, "url");
    if (!url.p && json_raw_given(raw, "file_id").p)
        return unsupported(r, where,
                           "pictures by file_id are not possible: send them as image_url, a data: "
                           "URL for instance");
    if (!json_raw_is_text(url))
        return invalid(r, where, "a picture with a string \"image_url\"");
    if (read_text(r, url, &part->url))
        return -1;
    return part->url.n ? split_data_url(r, where, part)
                       : invalid(r, where, "given a URL: \"image_url\" is empty");
}

static int read_file(struct reader *r, struct span raw, const char *where, struct part *part)
{
    part->kind = PART_FILE;
    r->turn->has_files = true;
    if (text_member(r, raw, "filename", where, &part->filename) ||
        text_member(r, raw, "file_id", where, &part->file_id) ||
        text_member(r, raw, "file_url", where, &part->url) ||
        text_member(r, raw, "file_data", where, &part->url))
        return -1;
    if (!part->url.n && !part->file_id.n)
        return invalid(r, where, "given \"file_data\" (a data: URL), \"file_url\" or \"file_id\"");
    return split_data_url(r, where, part);
}

static int read_audio(struct reader *r, struct span raw, const char *where, struct part *part)
{
    struct span audio = json_raw_given(raw, "input_audio");
    part->kind = PART_AUDIO;
    r->turn->has_audio = true;
    if (!json_raw_is_object(audio) || text_member(r, audio, "data", where, &part->base64) ||
        text_member(r, audio, "format", where, &part->mime) || !part->base64.n)
        return invalid(r, where, "given \"input_audio\": {\"data\", \"format\"}");
    return 0;
}

static int read_part(struct reader *r, struct span raw, const char *where, struct part *part)
{
    static const char *const texts[] = {"input_text", "output_text", "text", "summary_text",
                                        "reasoning_text"};
    struct span type = {NULL, 0};
    if (!json_raw_is_object(raw))
        return invalid(r, where, "an object with a \"type\"");
    if (text_member(r, raw, "type", where, &type))
        return -1;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!span_eq(type, span_str(texts[i])))
            continue;
        struct span text = json_raw_given(raw, "text");
        part->kind = PART_TEXT;
        return json_raw_is_text(text) ? read_text(r, text, &part->text)
                                      : invalid(r, where, "a part with a string \"text\"");
    }
    if (span_eq(type, SPAN("refusal"))) {
        part->kind = PART_REFUSAL;
        return text_member(r, raw, "refusal", where, &part->text);
    }
    if (span_eq(type, SPAN("input_image")))
        return read_image(r, raw, where, part);
    if (span_eq(type, SPAN("input_file")))
        return read_file(r, raw, where, part);
    if (span_eq(type, SPAN("input_audio")))
        return read_audio(r, raw, where, part);
    return fail_param(r->fail, FAIL_INVALID_VALUE, where,
                      "%s has the unknown type \"%.*s\"; known are input_text, input_image, "
                      "input_file, input_audio, output_text, refusal",
                      where, SPAN_ARGS(span_first(type, 40)));
}

/* A text or a list of parts into a list; `key` names it in failures. */
static int read_parts(struct reader *r, struct span raw, int index, const char *key,
                      struct part **parts, size_t *n)
{
    char where[WHERE_MAX], item[40];
    bool stored = index == STORED;
    *n = 0;
    snprintf(item, sizeof item, "input[%d]", index);
    snprintf(where, sizeof where, "%s.%s", item, key);
    if (stored)
        place_of(where, index);
    if (!raw.p)
        return 0;
    if (!json_raw_is_text(raw) && !json_raw_is_array(raw))
        return invalid(r, where, "a string or an array of parts");
    size_t count = json_raw_is_text(raw) ? 1 : json_raw_count(raw);
    *parts = arena_alloc(r->arena, (count ? count : 1) * sizeof **parts);
    if (!*parts)
        return fail_memory(r->fail);
    if (json_raw_is_text(raw)) {
        if (read_text(r, raw, &(*parts)->text))
            return -1;
        *n = (*parts)->text.n ? 1 : 0;
        return 0;
    }
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++) {
        if (!stored)
            snprintf(where, sizeof where, "%s.%s[%d]", item, key, i);
        (*parts)[i].index = i;
        if (read_part(r, it.value, where, &(*parts)[i]))
            return -1;
    }
    *n = count;
    return 0;
}

/* ---- items ---- */

static int read_role(struct reader *r, struct span raw, int index, enum role *role)
{
    static const struct {
        struct span name;
        enum role role;
    } roles[] = {{SPAN_INIT("user"), ROLE_USER},
                 {SPAN_INIT("assistant"), ROLE_ASSISTANT},
                 {SPAN_INIT("system"), ROLE_SYSTEM},
                 {SPAN_INIT("developer"), ROLE_SYSTEM}};
    char where[WHERE_MAX];
    struct span name = {NULL, 0};
    place_of(where, index);
    if (index != STORED)
        snprintf(where, sizeof where, "input[%d].role", index);
    if (text_member(r, raw, "role", where, &name))
        return -1;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (span_eq(name, roles[i].name)) {
            *role = roles[i].role;
            return 0;
        }
    }
    return invalid(r, where, "one of user, assistant, system, developer");
}

static int read_message(struct reader *r, struct span raw, int index)
{
    enum role role;
    struct part *parts = NULL;
    size_t n;
    if (read_role(r, raw, index, &role) ||
        read_parts(r, json_raw_given(raw, "content"), index, "content", &parts, &n))
        return -1;
    if (role == ROLE_ASSISTANT) {
        if (!open_answer(r, index, true))
            return -1;
        for (size_t i = 0; i < n; i++) {
            struct part *p = add_answer_part(r);
            if (!p)
                return -1;
            *p = parts[i];
        }
        return 0;
    }
    if (close_answer(r))
        return -1;
    struct message *m = add_message(r, role, index);
    if (!m)
        return -1;
    m->parts = parts;
    m->n_parts = n;
    return 0;
}

/* The plain text of a custom tool's call as the JSON that functions have. */
static int wrap_custom_input(struct reader *r, struct span raw, struct span *arguments)
{
    struct buffer out;
    buffer_init(&out, PIECES_LIMIT);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    json_member_raw(&w, "input", json_raw_is_text(raw) ? raw : SPAN("\"\""));
    json_end_object(&w);
    *arguments = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    return arguments->p ? 0 : fail_memory(r->fail);
}

static int read_call(struct reader *r, struct span raw, int index, bool custom)
{
    char where[WHERE_MAX];
    struct tool_call call = {.arguments = SPAN("{}")};
    struct span arguments = json_raw_given(raw, custom ? "input" : "arguments");
    place_of(where, index);
    if (text_member(r, raw, "call_id", where, &call.id) ||
        (!call.id.n && text_member(r, raw, "id", where, &call.id)) ||
        text_member(r, raw, "name", where, &call.name))
        return -1;
    if (!call.name.n)
        return invalid(r, where, "a call with a string \"name\"");
    if (custom ? wrap_custom_input(r, arguments, &call.arguments)
               : json_raw_is_text(arguments) && read_text(r, arguments, &call.arguments))
        return -1;
    if (!custom && json_raw_is_object(arguments))
        call.arguments = arguments;
    struct span extra = json_raw_given(raw, "extra_content");
    if (json_raw_is_object(extra))
        call.extra_content = extra;
    if (!open_answer(r, index, false))
        return fail_memory(r->fail);
    struct tool_call *list =
        room_for_one(r->arena, r->calls, r->open->n_tool_calls, &r->cap_calls, sizeof *list);
    if (!list)
        return fail_memory(r->fail);
    r->calls = list;
    call.after = r->open->n_parts;
    list[r->open->n_tool_calls++] = call;
    return 0;
}

static int read_call_output(struct reader *r, struct span raw, int index)
{
    char where[WHERE_MAX];
    struct part *parts = NULL;
    struct span id = {NULL, 0};
    size_t n;
    place_of(where, index);
    if (text_member(r, raw, "call_id", where, &id) ||
        read_parts(r, json_raw_given(raw, "output"), index, "output", &parts, &n) ||
        close_answer(r))
        return -1;
    if (!id.n)
        return invalid(r, where, "an output with a string \"call_id\"");
    struct message *m = add_message(r, ROLE_TOOL, index);
    if (!m)
        return -1;
    m->tool_call_id = id;
    m->parts = parts;
    m->n_parts = n;
    return 0;
}

/* All texts of a list of {"text"}, in `out`. */
static int append_texts(struct reader *r, struct span list, struct span between, struct buffer *out)
{
    struct json_raw_iter it = json_raw_each(list);
    while (json_raw_is_array(list) && json_raw_next(&it)) {
        struct span raw = json_raw_given(it.value, "text"), text;
        if (!json_raw_is_object(it.value) || !json_raw_is_text(raw))
            continue;
        if (read_text(r, raw, &text))
            return -1;
        if (out->n)
            buffer_append(out, between);
        buffer_append(out, text);
    }
    return 0;
}

/* The reasoning's own text where the item has it, else its summary. */
static int read_thinking(struct reader *r, struct span raw, struct span *text)
{
    struct buffer out;
    buffer_init(&out, PIECES_LIMIT);
    int bad = append_texts(r, json_raw_given(raw, "content"), SPAN(""), &out);
    if (!bad && !out.n)
        bad = append_texts(r, json_raw_given(raw, "summary"), SPAN("\n\n"), &out);
    *text = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    return bad ? -1 : text->p ? 0 : fail_memory(r->fail);
}

static int read_reasoning(struct reader *r, struct span raw, int index)
{
    struct span text, encrypted = {NULL, 0};
    struct sealed_reasoning sealed = {0};
    struct span given = json_raw_given(raw, "encrypted_content");
    if (read_thinking(r, raw, &text) ||
        (json_raw_is_text(given) && read_text(r, given, &encrypted)))
        return -1;
    bool ours = encrypted.n && sealed_reasoning_read(r->json, r->arena, encrypted, &sealed);
    bool proven = ours && sealed.signature.n && sealed.text_hash == span_hash(SPAN_HASH, text);
    if (!text.n && !sealed.redacted.n && !proven)
        return 0;
    if (!open_answer(r, index, false))
        return -1;
    struct part *part = add_answer_part(r);
    if (!part)
        return -1;
    *part = sealed.redacted.n ? (struct part){.kind = PART_REDACTED, .signature = sealed.redacted}
                              : (struct part){.kind = PART_THINKING,
                                              .text = text,
                                              .signature = proven ? sealed.signature : SPAN("")};
    return 0;
}

/* What tools of OpenAI's own left behind: no site knows them, and the answer's text tells what came
 * of it. */
static bool is_passed_over(struct span type)
{
    static const char *const types[] = {
        "web_search_call",
        "file_search_call",
        "computer_call",
        "computer_call_output",
        "code_interpreter_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "tool_search_call",
        "tool_search_output",
        "ghost_snapshot",
        "compaction",
        "compaction_summary",
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (span_eq(type, span_str(types[i])))
            return true;
    }
    return false;
}

static int read_item(struct reader *r, struct span raw, int index)
{
    char where[WHERE_MAX];
    struct span type = {NULL, 0};
    place_of(where, index);
    if (!json_raw_is_object(raw))
        return invalid(r, where, "an object");
    if (text_member(r, raw, "type", where, &type))
        return -1;
    if (!type.n || span_eq(type, SPAN("message")))
        return read_message(r, raw, index);
    if (span_eq(type, SPAN("function_call")))
        return read_call(r, raw, index, false);
    if (span_eq(type, SPAN("custom_tool_call")))
        return read_call(r, raw, index, true);
    if (span_eq(type, SPAN("function_call_output")) ||
        span_eq(type, SPAN("custom_tool_call_output")))
        return read_call_output(r, raw, index);
    if (span_eq(type, SPAN("reasoning")))
        return read_reasoning(r, raw, index);
    if (is_passed_over(type))
        return 0;
    return fail_param(r->fail, FAIL_INVALID_VALUE, where,
                      "%s has the unknown type \"%.*s\"; known are message, function_call, "
                      "function_call_output, custom_tool_call, custom_tool_call_output, reasoning, "
                      "item_reference",
                      where, SPAN_ARGS(span_first(type, 40)));
}

/* ---- what was stored ---- */

struct span responses_id_of_item(struct arena *arena, struct span id)
{
    ptrdiff_t at = span_find_char(id, '_');
    if (at <= 0)
        return span_of(NULL, 0);
    struct span rest = span_from(id, (size_t)at + 1);
    at = span_find_char(rest, '_');
    if (at <= 0)
        return span_of(NULL, 0);
    return arena_printf(arena, "resp_%.*s", (int)at, rest.p);
}

/* The raw items of a stored body: what was asked, or what was answered. */
static struct span stored_items(struct span body, bool answered)
{
    return answered ? json_raw_given(json_raw_given(body, "response"), "output")
                    : json_raw_given(body, "input");
}

/* Each body is walked as text: a parser has to have accepted it. */
static int check_stored(struct reader *r)
{
    for (size_t i = 0; i < r->n_found; i++) {
        struct json root;
        int error = json_parse(r->json, r->found[i].body, &root);
        if (error == JSON_NOMEM)
            return fail_memory(r->fail);
        if (error || !json_is(root, JSON_OBJECT))
            return fail_set(r->fail, FAIL_INTERNAL, "the stored response \"%.*s\" cannot be read",
                            SPAN_ARGS(span_first(r->found[i].id, 60)));
    }
    return 0;
}

static int read_stored(struct reader *r, struct span items)
{
    struct json_raw_iter it = json_raw_each(items);
    while (json_raw_is_array(items) && json_raw_next(&it)) {
        if (read_item(r, it.value, STORED))
            return -1;
    }
    return 0;
}

/* What was said before, oldest first. */
static int read_chain(struct reader *r)
{
    bool found = false;
    if (!r->request->previous.n)
        return 0;
    for (size_t i = 0; i < r->n_found; i++) {
        const struct response_found *f = &r->found[i];
        if (!f->in_chain)
            continue;
        found |= span_eq(f->id, r->request->previous);
        if (read_stored(r, stored_items(f->body, false)) ||
            read_stored(r, stored_items(f->body, true)))
            return -1;
    }
    return found ? 0
                 : fail_param(r->fail, FAIL_PREVIOUS_RESPONSE, "previous_response_id",
                              "Previous response with id '%.*s' not found.",
                              SPAN_ARGS(span_first(r->request->previous, 80)));
}

/* Raw ids in their order, then in the order of what was found. */
static int by_id(const void *a, const void *b)
{
    const struct known_item *x = a, *y = b;
    int order = span_compare(x->id, y->id);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

static size_t list_known(struct span items, struct known_item *list, size_t n)
{
    struct json_raw_iter it = json_raw_each(items);
    while (json_raw_is_array(items) && json_raw_next(&it)) {
        struct span id = json_raw_is_object(it.value) ? json_raw_given(it.value, "id") : SPAN("");
        if (!json_raw_is_text(id))
            continue;
        if (list)
            list[n] = (struct known_item){id, it.value, n};
        n++;
    }
    return n;
}

static size_t list_all_known(struct reader *r, struct known_item *list)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_found; i++) {
        n = list_known(stored_items(r->found[i].body, true), list, n);
        n = list_known(stored_items(r->found[i].body, false), list, n);
    }
    return n;
}

/* Before the first reference is resolved: a request may hold thousands. */
static int know_items(struct reader *r)
{
    if (r->known)
        return 0;
    r->n_known = list_all_known(r, NULL);
    r->known = arena_alloc(r->arena, (r->n_known + 1) * sizeof *r->known);
    if (!r->known)
        return fail_memory(r->fail);
    list_all_known(r, r->known);
    qsort(r->known, r->n_known, sizeof *r->known, by_id);
    return 0;
}

/* The first item of that raw id, {NULL,0} = there is none. */
static struct span known_item(const struct reader *r, struct span id)
{
    size_t low = 0, high = r->n_known;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (span_compare(r->known[middle].id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->n_known && span_eq(r->known[low].id, id) ? r->known[low].item
                                                             : span_of(NULL, 0);
}

static bool is_reference(struct span item)
{
    return json_raw_is_object(item) &&
           span_eq(json_raw_given(item, "type"), SPAN("\"item_reference\""));
}

/* The item that a reference names; ids of ours have no escapes, so raw ones are compared. */
static int resolve(struct reader *r, int index, struct span *item)
{
    char where[WHERE_MAX];
    struct span id = json_raw_given(*item, "id");
    place_of(where, index);
    if (!json_raw_is_text(id))
        return invalid(r, where, "a reference with a string \"id\"");
    if (know_items(r))
        return -1;
    struct span known = known_item(r, id);
    r->referred += known.n;
    if (r->referred >> 20 >= REFERRED_MAX)
        return fail_param(r->fail, FAIL_INVALID_VALUE, where,
                          "%s is one reference too many: what input refers to is more than %d MiB",
                          where, REFERRED_MAX);
    if (known.p) {
        *item = known;
        return 0;
    }
    return fail_param(r->fail, FAIL_INVALID_VALUE, where,
                      "Item with id '%.*s' not found. Items are kept with `store`; send the item "
                      "itself instead.",
                      SPAN_ARGS(span_first(span_of(id.p + 1, id.n - 2), 80)));
}

/* A text as input is one message of the user. */
static struct span message_of_text(struct reader *r, struct span raw)
{
    return arena_printf(r->arena,
                        "{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":"
                        "\"input_text\",\"text\":%.*s}]}",
                        SPAN_ARGS(raw));
}

static int read_input(struct reader *r, struct span body)
{
    struct span raw = json_raw_given(body, "input");
    bool alone = json_raw_is_text(raw);
    if (!raw.p && r->request->previous.n) /* going on without saying more */
        return 0;
    if (!alone && !json_raw_is_array(raw))
        return invalid(r, "input", "a string or an array of items");
    size_t n = alone ? 1 : json_raw_count(raw);
    struct span *items = arena_alloc(r->arena, (n ? n : 1) * sizeof *items);
    if (!items)
        return fail_memory(r->fail);
    if (n == 0 && !r->request->previous.n)
        return invalid(r, "input", "an array of at least one item");
    r->request->items = items;
    r->request->n_items = n;
    if (alone) {
        items[0] = message_of_text(r, raw);
        return items[0].p ? read_item(r, items[0], 0) : fail_memory(r->fail);
    }
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++) {
        items[i] = it.value;
        if ((is_reference(it.value) && resolve(r, i, &items[i])) || read_item(r, items[i], i))
            return -1;
    }
    return 0;
}

static int read_instructions(struct reader *r, struct span body)
{
    struct span text = {NULL, 0};
    if (text_member(r, body, "instructions", "instructions", &text))
        return -1;
    if (!text.n)
        return 0;
    struct message *m = add_message(r, ROLE_SYSTEM, STORED);
    struct part *part = arena_alloc(r->arena, sizeof *part);
    if (!m || !part)
        return fail_memory(r->fail);
    part->text = text;
    m->parts = part;
    m->n_parts = 1;
    return 0;
}

static int read_messages(struct reader *r, struct span body)
{
    if (check_stored(r) || read_instructions(r, body) || read_chain(r) || read_input(r, body) ||
        close_answer(r))
        return -1;
    if (r->n_messages == 0)
        return invalid(r, "input", "given a message to answer");
    r->turn->messages = r->messages;
    r->turn->n_messages = r->n_messages;
    r->turn->list = "input";
    return 0;
}

/* ---- tools ---- */

/* The raw names of allowed_tools, sorted. */
struct allowed {
    bool all; /* it was not said */
    struct span *names;
    size_t n;
};

static int by_name(const void *a, const void *b)
{
    return span_compare(*(const struct span *)a, *(const struct span *)b);
}

static int list_allowed(struct reader *r, struct span tools, struct allowed *allowed)
{
    struct json_raw_iter it = json_raw_each(tools);
    *allowed = (struct allowed){.all = !tools.p};
    if (!tools.p)
        return 0;
    allowed->names = arena_alloc(r->arena, (json_raw_count(tools) + 1) * sizeof *allowed->names);
    if (!allowed->names)
        return fail_memory(r->fail);
    while (json_raw_next(&it)) {
        if (json_raw_is_object(it.value))
            allowed->names[allowed->n++] = json_raw_given(it.value, "name");
    }
    qsort(allowed->names, allowed->n, sizeof *allowed->names, by_name);
    return 0;
}

static bool is_allowed(const struct allowed *allowed, struct span raw_name)
{
    return allowed->all ||
           bsearch(&raw_name, allowed->names, allowed->n, sizeof raw_name, by_name) != NULL;
}

static void copy_members(struct json_writer *w, struct span object, const char *const *names)
{
    for (; *names; names++) {
        struct span value = json_raw_given(object, *names);
        if (value.p)
            json_member_raw(w, *names, value);
    }
}

static void write_function(struct json_writer *w, struct span tool)
{
    static const char *const members[] = {"name", "description", "parameters", "strict", NULL};
    struct span nested = json_raw_given(tool, "function"); /* as in chats */
    json_begin_object(w);
    json_member(w, "type", SPAN("function"));
    json_key(w, "function");
    json_begin_object(w);
    copy_members(w, json_raw_is_object(nested) ? nested : tool, members);
    json_end_object(w);
    json_end_object(w);
}

/* A tool that takes plain text: a function with one argument. What its grammar asks for is told in
 * words. */
static int write_custom(struct reader *r, struct json_writer *w, struct span tool)
{
    struct span description = {NULL, 0}, syntax = {NULL, 0}, definition = {NULL, 0};
    struct span format = json_raw_given(tool, "format");
    if (text_member(r, tool, "description", "tools", &description) ||
        (json_raw_is_object(format) &&
         (text_member(r, format, "syntax", "tools", &syntax) ||
          text_member(r, format, "definition", "tools", &definition))))
        return -1;
    json_begin_object(w);
    json_member(w, "type", SPAN("function"));
    json_key(w, "function");
    json_begin_object(w);
    json_member_raw(w, "name", json_raw_given(tool, "name"));
    json_key(w, "description");
    json_raw_value(w, SPAN("\""));
    json_escape(w->out, description);
    if (definition.n) {
        json_escape(w->out, SPAN("\n\nThe argument `input` must follow this "));
        json_escape(w->out, syntax);
        json_escape(w->out, SPAN(" grammar:\n"));
        json_escape(w->out, definition);
    }
    buffer_char(w->out, '"');
    json_member_raw(w, "parameters",
                    SPAN("{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\"}},"
                         "\"required\":[\"input\"],\"additionalProperties\":false}"));
    json_end_object(w);
    json_end_object(w);
    return 0;
}

static int add_custom_name(struct reader *r, struct span *names, struct span raw)
{
    return read_text(r, raw, &names[r->request->n_custom++]);
}

static int write_tools(struct reader *r, struct json_writer *w, struct span tools,
                       const struct allowed *allowed, struct span *custom_names, size_t *n)
{
    struct json_raw_iter it = json_raw_each(tools);
    *n = 0;
    for (int i = 0; json_raw_next(&it); i++) {
        char where[WHERE_MAX];
        snprintf(where, sizeof where, "tools[%d]", i);
        if (!json_raw_is_object(it.value))
            return invalid(r, where, "an object");
        struct span type = json_raw_given(it.value, "type");
        bool custom = span_eq(type, SPAN("\"custom\""));
        if (!custom && !span_eq(type, SPAN("\"function\""))) {
            r->n_ignored_tools++;
            continue;
        }
        struct span nested = json_raw_given(it.value, "function");
        struct span name = json_raw_given(json_raw_is_object(nested) ? nested : it.value, "name");
        if (!json_raw_is_text(name) || name.n <= 2) {
            snprintf(where, sizeof where, "tools[%d].name", i);
            return invalid(r, where, "a string");
        }
        if (custom && add_custom_name(r, custom_names, name))
            return -1;
        if (!is_allowed(allowed, name))
            continue;
        if (custom ? write_custom(r, w, it.value) : (write_function(w, it.value), 0))
            return -1;
        ++*n;
    }
    return 0;
}

static int read_tools(struct reader *r, struct span body, struct span allowed)
{
    struct span tools = json_raw_given(body, "tools");
    struct buffer out;
    size_t n = 0, count;
    if (!tools.p)
        return 0;
    if (!json_raw_is_array(tools))
        return invalid(r, "tools", "an array");
    count = json_raw_count(tools);
    struct allowed names_allowed;
    struct span *names = arena_alloc(r->arena, (count ? count : 1) * sizeof *names);
    if (!names)
        return fail_memory(r->fail);
    if (list_allowed(r, allowed, &names_allowed))
        return -1;
    r->request->custom = names;
    buffer_init(&out, tools.n * 8 + count * 512 + DESCRIPTION_LIMIT);
    struct json_writer w = json_writer(&out);
    json_begin_array(&w);
    int bad = write_tools(r, &w, tools, &names_allowed, names, &n);
    json_end_array(&w);
    if (!bad && n) {
        r->turn->tools_raw = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
        if (!r->turn->tools_raw.p)
            bad = fail_memory(r->fail);
    }
    buffer_free(&out);
    return bad;
}

static int refuse_choice(struct reader *r)
{
    return unsupported(
        r, "tool_choice",
        "tool_choice asks for a tool that no site here has (web_search, file_search, "
        "mcp and the like are OpenAI's own); functions and custom tools are "
        "possible");
}

/* {"type":"function","name"}: in the chat API's form. */
static int named_choice(struct reader *r, struct span raw)
{
    struct span nested = json_raw_given(raw, "function");
    struct span name = json_raw_given(json_raw_is_object(nested) ? nested : raw, "name");
    if (!json_raw_is_text(name))
        return invalid(r, "tool_choice", "given the tool's \"name\"");
    r->turn->tool_choice_raw = arena_printf(
        r->arena, "{\"type\":\"function\",\"function\":{\"name\":%.*s}}", SPAN_ARGS(name));
    return r->turn->tool_choice_raw.p ? 0 : fail_memory(r->fail);
}

/* The choice before the tools: it may say which of them count. */
static int read_choice(struct reader *r, struct span body, struct span *allowed)
{
    struct span raw = json_raw_given(body, "tool_choice");
    struct span type = json_raw_is_object(raw) ? json_raw_given(raw, "type") : SPAN("");
    if (!raw.p)
        return 0;
    if (json_raw_is_text(raw)) {
        if (!span_eq(raw, SPAN("\"none\"")) && !span_eq(raw, SPAN("\"auto\"")) &&
            !span_eq(raw, SPAN("\"required\"")))
            return invalid(r, "tool_choice", "\"none\", \"auto\", \"required\" or an object");
        r->turn->tool_choice_raw = raw;
        return 0;
    }
    if (!json_raw_is_object(raw))
        return invalid(r, "tool_choice", "\"none\", \"auto\", \"required\" or an object");
    if (span_eq(type, SPAN("\"function\"")) || span_eq(type, SPAN("\"custom\"")))
        return named_choice(r, raw);
    if (!span_eq(type, SPAN("\"allowed_tools\"")))
        return refuse_choice(r);
    *allowed = json_raw_given(raw, "tools");
    if (!json_raw_is_array(*allowed))
        return invalid(r, "tool_choice", "given the \"tools\" that are allowed");
    struct span mode = json_raw_given(raw, "mode");
    r->turn->tool_choice_raw =
        span_eq(mode, SPAN("\"required\"")) ? SPAN("\"required\"") : SPAN("\"auto\"");
    return 0;
}

static int read_tool_fields(struct reader *r, struct span body)
{
    struct span allowed = {NULL, 0};
    bool parallel = true;
    struct turn *t = r->turn;
    if (read_choice(r, body, &allowed) || read_tools(r, body, allowed) ||
        bool_member(r, body, "parallel_tool_calls", &parallel))
        return -1;
    t->no_parallel_tool_calls = !parallel;
    if (!t->tools_raw.p && r->n_ignored_tools && span_eq(t->tool_choice_raw, SPAN("\"required\"")))
        return refuse_choice(r);
    if (!t->tools_raw.p)
        t->tool_choice_raw = span_of(NULL, 0);
    t->tools_wanted = t->tools_raw.p && !span_eq(t->tool_choice_raw, SPAN("\"none\""));
    return 0;
}

/* ---- parameters ---- */

static int read_limit(struct reader *r, struct span body)
{
    struct turn *t = r->turn;
    double limit = 0;
    if (number_member(r, body, "max_output_tokens", &t->has_max_tokens, &limit))
        return -1;
    if (!t->has_max_tokens)
        return 0;
    if (!(limit >= 1 && limit <= 9e15) || limit != (double)(int64_t)limit)
        return invalid(r, "max_output_tokens", "an integer of at least 1");
    t->max_tokens = (int64_t)limit;
    t->max_includes_reasoning = true;
    return 0;
}

static int read_effort(struct reader *r, struct span body)
{
    struct turn *t = r->turn;
    struct span reasoning = json_raw_given(body, "reasoning");
    if (!reasoning.p)
        return 0;
    if (!json_raw_is_object(reasoning))
        return invalid(r, "reasoning", "an object with \"effort\"");
    if (text_member(r, reasoning, "effort", "reasoning.effort", &t->reasoning_effort))
        return -1;
    if (t->reasoning_effort.n)
        t->reasoning = span_eq(t->reasoning_effort, SPAN("none")) ||
                               span_eq(t->reasoning_effort, SPAN("minimal"))
                           ? REASONING_OFF
                           : REASONING_ON;
    return 0;
}

/* text.format is flat, the chat API's response_format is nested. */
static int read_format(struct reader *r, struct span format)
{
    static const char *const members[] = {"name", "description", "schema", "strict", NULL};
    struct span type = {NULL, 0};
    struct buffer out;
    if (!json_raw_is_object(format))
        return invalid(r, "text.format", "an object with a \"type\"");
    if (text_member(r, format, "type", "text.format.type", &type))
        return -1;
    if (span_eq(type, SPAN("text")))
        return 0;
    bool schema = span_eq(type, SPAN("json_schema"));
    if (!schema && !span_eq(type, SPAN("json_object")))
        return invalid(r, "text.format.type", "text, json_object or json_schema");
    if (schema && !json_raw_is_object(json_raw_given(format, "schema")))
        return invalid(r, "text.format.schema", "an object");
    buffer_init(&out, PIECES_LIMIT);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    json_member(&w, "type", type);
    if (schema) {
        json_key(&w, "json_schema");
        json_begin_object(&w);
        copy_members(&w, format, members);
        json_end_object(&w);
    }
    json_end_object(&w);
    r->turn->response_format_raw =
        out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    return r->turn->response_format_raw.p ? 0 : fail_memory(r->fail);
}

static int read_text_field(struct reader *r, struct span body)
{
    struct span text = json_raw_given(body, "text");
    if (!text.p)
        return 0;
    if (!json_raw_is_object(text))
        return invalid(r, "text", "an object with \"format\"");
    struct span format = json_raw_given(text, "format");
    return format.p ? read_format(r, format) : 0;
}

static int read_include(struct reader *r, struct span body)
{
    struct span include = json_raw_given(body, "include"),
                top = json_raw_given(body, "top_logprobs");
    struct json_raw_iter it = json_raw_each(include);
    if (include.p && !json_raw_is_array(include))
        return invalid(r, "include", "an array");
    bool logprobs = json_raw_is_number(top) && !span_eq(top, SPAN("0"));
    while (json_raw_next(&it)) {
        r->request->encrypted |= span_eq(it.value, SPAN("\"reasoning.encrypted_content\""));
        logprobs |= span_eq(it.value, SPAN("\"message.output_text.logprobs\""));
    }
    return logprobs ? unsupported(r, json_raw_is_number(top) ? "top_logprobs" : "include",
                                  "logprobs are not possible here; /v1/chat/completions has them "
                                  "for some sites")
                    : 0;
}

/* What only OpenAI's own service has. */
static int refuse_foreign(struct reader *r, struct span body)
{
    if (span_eq(json_raw_given(body, "background"), SPAN("true")))
        return unsupported(r, "background",
                           "answers in the background are not possible: ask with \"stream\": true");
    if (json_raw_given(body, "conversation").p)
        return unsupported(r, "conversation",
                           "conversations are not kept here; use previous_response_id");
    if (json_raw_given(body, "prompt").p)
        return unsupported(r, "prompt",
                           "prompts stored at OpenAI are not known here; send instructions and "
                           "input");
    return 0;
}

static int read_parameters(struct reader *r, struct span body)
{
    struct turn *t = r->turn;
    struct span metadata = json_raw_given(body, "metadata");
    r->request->store = true;
    if (metadata.p && !json_raw_is_object(metadata))
        return invalid(r, "metadata", "an object");
    return refuse_foreign(r, body) || bool_member(r, body, "store", &r->request->store) ||
                   number_member(r, body, "temperature", &t->has_temperature, &t->temperature) ||
                   number_member(r, body, "top_p", &t->has_top_p, &t->top_p) ||
                   read_limit(r, body) || read_effort(r, body) || read_text_field(r, body) ||
                   read_include(r, body) || read_tool_fields(r, body)
               ? -1
               : 0;
}

/* ---- told back in every Response ---- */

static void echo_member(struct json_writer *w, struct span body, const char *key,
                        struct span otherwise)
{
    struct span value = json_raw_given(body, key);
    json_member_raw(w, key, value.p ? value : otherwise);
}

static void echo_reasoning(struct json_writer *w, struct span body)
{
    struct span given = json_raw_given(body, "reasoning");
    json_key(w, "reasoning");
    json_begin_object(w);
    echo_member(w, given, "effort", SPAN("null"));
    echo_member(w, given, "summary", SPAN("null"));
    json_end_object(w);
}

static void echo_text(struct json_writer *w, struct span body)
{
    struct span given = json_raw_given(body, "text");
    json_key(w, "text");
    json_begin_object(w);
    echo_member(w, given, "format", SPAN("{\"type\":\"text\"}"));
    echo_member(w, given, "verbosity", SPAN("\"medium\""));
    json_end_object(w);
}

static int write_echo(struct reader *r, struct span body)
{
    struct buffer out;
    buffer_init(&out, ECHO_LIMIT);
    struct json_writer w = json_writer(&out);
    echo_member(&w, body, "instructions", SPAN("null"));
    echo_member(&w, body, "max_output_tokens", SPAN("null"));
    echo_member(&w, body, "max_tool_calls", SPAN("null"));
    echo_member(&w, body, "metadata", SPAN("{}"));
    echo_member(&w, body, "parallel_tool_calls", SPAN("true"));
    echo_member(&w, body, "previous_response_id", SPAN("null"));
    echo_member(&w, body, "prompt_cache_key", SPAN("null"));
    echo_reasoning(&w, body);
    echo_member(&w, body, "safety_identifier", SPAN("null"));
    json_member(&w, "service_tier", SPAN("default"));
    echo_member(&w, body, "temperature", SPAN("1"));
    echo_text(&w, body);
    echo_member(&w, body, "tool_choice", SPAN("\"auto\""));
    echo_member(&w, body, "tools", SPAN("[]"));
    json_member_int(&w, "top_logprobs", 0);
    echo_member(&w, body, "top_p", SPAN("1"));
    echo_member(&w, body, "truncation", SPAN("\"disabled\""));
    echo_member(&w, body, "user", SPAN("null"));
    r->request->echo = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    return r->request->echo.p ? 0 : fail_memory(r->fail);
}

/* ---- the body ---- */

/* Fields that the chat API knows by the same meaning, behind what every turn has. */
static int add_chat_fields(struct reader *r, struct span body)
{
    struct span chat, verbosity = json_raw_given(json_raw_given(body, "text"), "verbosity");
    static const char *const members[] = {"user", "safety_identifier", "service_tier", NULL};
    struct buffer out;
    if (chat_body_write(r->arena, r->turn, &chat, r->fail))
        return -1;
    buffer_init(&out, PIECES_LIMIT);
    struct json_writer w = json_writer(&out);
    if (json_raw_is_text(verbosity))
        json_member_raw(&w, "verbosity", verbosity);
    copy_members(&w, body, members);
    if (out.error) {
        buffer_free(&out);
        return fail_memory(r->fail);
    }
    r->turn->raw = chat;
    if (out.n) {
        struct buffer whole;
        buffer_init(&whole, PIECES_LIMIT);
        buffer_append(&whole, span_first(chat, chat.n - 1)); /* without the last brace */
        buffer_char(&whole, ',');
        buffer_append(&whole, buffer_span(&out));
        buffer_char(&whole, '}');
        r->turn->raw = whole.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&whole));
        buffer_free(&whole);
    }
    buffer_free(&out);
    return r->turn->raw.p ? 0 : fail_memory(r->fail);
}

int responses_request_parse(struct json_parser *json, struct arena *arena, char *body, size_t n,
                            const struct response_found *found, size_t n_found, struct turn *turn,
                            struct responses_request *request, struct fail *fail)
{
    struct reader r = {.json = json,
                       .arena = arena,
                       .turn = turn,
                       .request = request,
                       .found = found,
                       .n_found = n_found,
                       .fail = fail};
    struct span object;
    *turn = (struct turn){.n = 1, .dialect = DIALECT_OPENAI, .include_usage = true};
    *request = (struct responses_request){0};
    if (request_body_open(json, body, n, &object, fail) ||
        request_body_model(json, arena, object, &turn->model, fail) ||
        bool_member(&r, object, "stream", &turn->stream) ||
        text_member(&r, object, "previous_response_id", "previous_response_id", &request->previous))
        return -1;
    return read_messages(&r, object) || read_parameters(&r, object) || write_echo(&r, object) ||
                   add_chat_fields(&r, object)
               ? -1
               : 0;
}

/* ---- before it is read ---- */

static int list_references(struct arena *arena, struct span input, struct response_wish *wish,
                           struct fail *fail)
{
    size_t n = 0;
    struct json_raw_iter it = json_raw_each(input);
    struct span *list = arena_alloc(arena, RESPONSE_REFERENCES_MAX * sizeof *list);
    if (!list)
        return fail_memory(fail);
    while (json_raw_is_array(input) && json_raw_next(&it)) {
        struct span id = is_reference(it.value) ? json_raw_given(it.value, "id") : SPAN("");
        if (!json_raw_is_text(id))
            continue;
        struct span response = responses_id_of_item(arena, span_of(id.p + 1, id.n - 2));
        bool known = !response.p;
        for (size_t i = 0; i < n && !known; i++)
            known = span_eq(list[i], response);
        if (known)
            continue;
        if (n == RESPONSE_REFERENCES_MAX)
            return fail_param(fail, FAIL_INVALID_VALUE, "input",
                              "input refers to items of more than %d responses; use "
                              "previous_response_id",
                              RESPONSE_REFERENCES_MAX);
        list[n++] = response;
    }
    wish->references = list;
    wish->n_references = n;
    return 0;
}

int responses_request_needs(struct json_parser *json, struct arena *arena, char *body, size_t n,
                            struct response_wish *wish, struct fail *fail)
{
    struct span text = span_of(body, n), object;
    struct fail ignored;
    *wish = (struct response_wish){0};
    if (span_find(text, SPAN("previous_response_id")) < 0 &&
        span_find(text, SPAN("item_reference")) < 0)
        return 0;
    if (request_body_open(json, body, n, &object, &ignored))
        return 0;
    struct span previous = json_raw_given(object, "previous_response_id");
    if (json_raw_is_text(previous) &&
        request_body_text(json, arena, previous, &wish->previous, fail))
        return -1;
    return list_references(arena, json_raw_given(object, "input"), wish, fail);
}
