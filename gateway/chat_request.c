/*
 * gateway/chat_request.c - a chat.completions request body becomes a turn (clients.md §1.3,
 * Q1-Q14).
 *
 * The body is accepted or refused as JSON once, in one walk that notes where members and messages
 * lie (json_outline), or by the parser; what is not in the outline is found by walking the raw
 * text, each object's members once (json_members), so that a string without escapes is a span into
 * the body (a picture of several MB is never copied) and unknown fields cost nothing. Strings with
 * escapes are decoded into the arena. The hard part is naming the field at fault exactly.
 */
#include "gateway/chat_request.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/reasoning_wish.h"
#include "gateway/request_body.h"

enum { CHOICES_MAX = 128, STOPS_MAX = 64, PATH_MAX_LENGTH = 96 };

/* One request being read. */
struct reader {
    struct json_parser *json;
    struct arena *arena;
    struct turn *turn;
    const struct json_members *top; /* the turn's raw */
    const struct json_outline *outline;
    struct fail *fail;
    size_t n_parts; /* of all messages, and their calls */
};

/* ---- members ---- */

static int invalid(struct reader *r, const char *param, const char *wanted)
{
    return request_body_invalid(r->fail, param, wanted);
}

static int read_text(struct reader *r, struct span raw, struct span *text)
{
    return request_body_text(r->json, r->arena, raw, text, r->fail);
}

/* Nearly all of those that are asked for are absent, which json_members_given finds out by one bit
 * where the name is a constant: so these are inline. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE struct span top_member(const struct reader *r, const char *key)
{
    return json_members_given(r->top, key);
}

/* "<list>[<i>]<member>", and "[<part>]" unless it is negative: where a fault would be. It is put
 * into words where there is one. */
struct place {
    const char *list;
    int i;
    const char *member;
    int part;
};

static const char *place_text(const struct place *at, char to[PATH_MAX_LENGTH])
{
    if (at->part < 0)
        snprintf(to, PATH_MAX_LENGTH, "%s[%d]%s", at->list, at->i, at->member);
    else
        snprintf(to, PATH_MAX_LENGTH, "%s[%d]%s[%d]", at->list, at->i, at->member, at->part);
    return to;
}

static int invalid_at(struct reader *r, const struct place *at, const char *wanted)
{
    char param[PATH_MAX_LENGTH];
    return invalid(r, place_text(at, param), wanted);
}

/* Optional text member; absent or null leaves *text alone. */
static inline int text_member(struct reader *r, const struct json_members *object, const char *key,
                              const struct place *at, struct span *text)
{
    struct span raw = json_members_given(object, key);
    if (!raw.p)
        return 0;
    return json_raw_is_text(raw) ? read_text(r, raw, text) : invalid_at(r, at, "a string");
}

ALWAYS_INLINE int number_member(struct reader *r, const char *key, bool *has, double *value)
{
    struct span raw = top_member(r, key);
    return raw.p ? request_body_number_given(raw, key, has, value, r->fail) : 0;
}

static int read_int(struct reader *r, struct span raw, const char *key, bool *has, int64_t *value)
{
    double number = 0;
    bool given = false;
    if (request_body_number_given(raw, key, &given, &number, r->fail))
        return invalid(r, key, "an integer");
    if (!(number >= -9e15 && number <= 9e15) || number != (double)(int64_t)number)
        return invalid(r, key, "an integer");
    *value = (int64_t)number;
    *has = true;
    return 0;
}

ALWAYS_INLINE int int_member(struct reader *r, const char *key, bool *has, int64_t *value)
{
    struct span raw = top_member(r, key);
    return raw.p ? read_int(r, raw, key, has, value) : 0;
}

ALWAYS_INLINE int bool_member(struct reader *r, const char *key, bool *value)
{
    struct span raw = top_member(r, key);
    return raw.p ? request_body_bool_given(raw, key, value, r->fail) : 0;
}

/* ---- messages ---- */

static int split_data_url(struct reader *r, struct part *part, const struct place *at)
{
    char param[PATH_MAX_LENGTH];
    return request_part_split_data_url(part, place_text(at, param), r->fail);
}

/* `value` is "url" or {"url": "…"}. */
static int read_url(struct reader *r, struct span value, const struct place *at, struct part *part)
{
    if (json_raw_is_object(value))
        value = json_raw_given(value, "url");
    if (!json_raw_is_text(value))
        return invalid_at(r, at, "an object with a string \"url\"");
    if (read_text(r, value, &part->url))
        return -1;
    if (part->url.n == 0)
        return invalid_at(r, at, "given a URL: \"url\" is empty");
    return split_data_url(r, part, at);
}

static int read_file_part(struct reader *r, struct span file, const struct place *at,
                          struct part *part)
{
    if (!json_raw_is_object(file))
        return invalid_at(r, at, "an object with \"file\": {\"file_data\" or \"file_id\"}");
    struct json_members members;
    json_members_read(&members, file);
    if (text_member(r, &members, "filename", at, &part->filename) ||
        text_member(r, &members, "file_id", at, &part->file_id) ||
        text_member(r, &members, "file_data", at, &part->url))
        return -1;
    if (!part->url.n && !part->file_id.n)
        return invalid_at(r, at, "given \"file_data\" (a data: URL) or \"file_id\"");
    return part->url.n ? split_data_url(r, part, at) : 0;
}

static int read_audio_part(struct reader *r, struct span audio, const struct place *at,
                           struct part *part)
{
    if (!json_raw_is_object(audio))
        return invalid_at(r, at, "an object with \"input_audio\": {\"data\", \"format\"}");
    struct json_members members;
    json_members_read(&members, audio);
    if (text_member(r, &members, "data", at, &part->base64) ||
        text_member(r, &members, "format", at, &part->mime))
        return -1;
    return part->base64.n ? 0 : invalid_at(r, at, "given \"input_audio\": {\"data\", \"format\"}");
}

static int read_part(struct reader *r, struct span raw, const struct place *at, struct part *part)
{
    struct span type = {NULL, 0};
    struct json_members members;
    if (!json_raw_is_object(raw))
        return invalid_at(r, at, "an object with a \"type\"");
    json_members_read(&members, raw);
    if (text_member(r, &members, "type", at, &type))
        return -1;
    if (span_eq(type, SPAN("text"))) {
        struct span text = json_members_given(&members, "text");
        part->kind = PART_TEXT;
        if (!text.p || !json_raw_is_text(text))
            return invalid_at(r, at, "a text part with a string \"text\"");
        return read_text(r, text, &part->text);
    }
    if (span_eq(type, SPAN("image_url"))) {
        part->kind = PART_IMAGE;
        r->turn->has_images = true;
        if (request_part_room(r->arena, part, r->fail))
            return -1;
        return read_url(r, json_members_given(&members, "image_url"), at, part);
    }
    if (span_eq(type, SPAN("input_audio"))) {
        part->kind = PART_AUDIO;
        r->turn->has_audio = true;
        if (request_part_room(r->arena, part, r->fail))
            return -1;
        return read_audio_part(r, json_members_given(&members, "input_audio"), at, part);
    }
    if (span_eq(type, SPAN("file"))) {
        part->kind = PART_FILE;
        r->turn->has_files = true;
        if (request_part_room(r->arena, part, r->fail))
            return -1;
        return read_file_part(r, json_members_given(&members, "file"), at, part);
    }
    if (span_eq(type, SPAN("video_url"))) {
        part->kind = PART_VIDEO;
        r->turn->has_video = true;
        return read_url(r, json_members_given(&members, "video_url"), at, part);
    }
    if (span_eq(type, SPAN("refusal"))) {
        part->kind = PART_REFUSAL;
        return text_member(r, &members, "refusal", at, &part->text);
    }
    char param[PATH_MAX_LENGTH];
    place_text(at, param);
    return fail_param(r->fail, FAIL_INVALID_VALUE, param,
                      "%s has the unknown type \"%.*s\"; known are text, image_url, input_audio, "
                      "file, video_url, refusal",
                      param, SPAN_ARGS(span_first(type, 40)));
}

static int count_parts(struct reader *r, size_t n)
{
    return request_body_count_parts(&r->n_parts, n, "messages", r->fail);
}

static int read_content(struct reader *r, struct span raw, struct message *m)
{
    struct place place = {"messages", m->index, ".content", -1};
    const struct place *at = &place;
    if (!raw.p)
        return 0;
    if (json_raw_is_text(raw)) {
        struct part *part = arena_alloc(r->arena, sizeof *part);
        if (!part)
            return fail_memory(r->fail);
        if (read_text(r, raw, &part->text))
            return -1;
        m->parts = part;
        m->n_parts = part->text.n ? 1 : 0;
        return 0;
    }
    if (!json_raw_is_array(raw))
        return invalid_at(r, at, "a string, an array of parts, or null");

    size_t n = json_raw_count(raw);
    if (count_parts(r, n))
        return -1;
    struct part *parts = arena_alloc(r->arena, (n ? n : 1) * sizeof *parts);
    if (!parts)
        return fail_memory(r->fail);
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++) {
        place.part = parts[i].index = i;
        if (read_part(r, it.value, at, &parts[i]))
            return -1;
    }
    m->parts = parts;
    m->n_parts = n;
    return 0;
}

static int read_function(struct reader *r, struct span function, const struct place *at,
                         struct tool_call *call)
{
    if (!json_raw_is_object(function))
        return invalid_at(r, at, "given a \"function\" object");
    struct json_members members;
    json_members_read(&members, function);
    if (text_member(r, &members, "name", at, &call->name))
        return -1;
    struct span arguments = json_members_given(&members, "arguments");
    if (json_raw_is_text(arguments))
        return read_text(r, arguments, &call->arguments);
    call->arguments = arguments.p ? arguments : SPAN("{}"); /* an object: its JSON text */
    return 0;
}

static int read_tool_calls(struct reader *r, const struct json_members *given, struct message *m)
{
    struct place place = {"messages", m->index, ".tool_calls", -1};
    const struct place *at = &place;
    struct span calls = json_members_given(given, "tool_calls");
    struct span old = json_members_given(given, "function_call");
    if (!calls.p && !old.p)
        return 0;

    if (calls.p && !json_raw_is_array(calls))
        return invalid_at(r, at, "an array");
    size_t n = calls.p ? json_raw_count(calls) : 1;
    if (count_parts(r, n))
        return -1;
    struct tool_call *list = arena_alloc(r->arena, (n ? n : 1) * sizeof *list);
    if (!list)
        return fail_memory(r->fail);
    m->tool_calls = list;
    m->n_tool_calls = n;
    if (!calls.p) {
        place.member = ".function_call";
        return read_function(r, old, at, list);
    }
    struct json_raw_iter it = json_raw_each(calls);
    for (int i = 0; json_raw_next(&it); i++) {
        place.part = i;
        if (!json_raw_is_object(it.value))
            return invalid_at(r, at, "an object");
        struct json_members call;
        json_members_read(&call, it.value);
        if (text_member(r, &call, "id", at, &list[i].id))
            return -1;
        struct span function = json_members_given(&call, "function");
        if (!function.p)
            function = json_members_given(&call, "custom");
        if (read_function(r, function, at, &list[i]))
            return -1;
        list[i].after = m->n_parts;
        struct span extra =
            json_members_given(&call, "extra_content"); /* echoed back, or foreign */
        if (json_raw_is_object(extra))
            list[i].extra_content = extra;
    }
    return 0;
}

static int read_role(struct reader *r, const struct json_members *given, struct message *m)
{
    static const struct {
        struct span name;
        enum role role;
    } roles[] = {
        {SPAN_INIT("system"), ROLE_SYSTEM}, {SPAN_INIT("developer"), ROLE_SYSTEM},
        {SPAN_INIT("user"), ROLE_USER},     {SPAN_INIT("assistant"), ROLE_ASSISTANT},
        {SPAN_INIT("tool"), ROLE_TOOL},     {SPAN_INIT("function"), ROLE_TOOL},
    };
    const struct place at = {"messages", m->index, ".role", -1};
    struct span role = {NULL, 0};
    if (text_member(r, given, "role", &at, &role))
        return -1;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (span_eq(role, roles[i].name)) {
            m->role = roles[i].role;
            return 0;
        }
    }
    return invalid_at(r, &at, "one of system, developer, user, assistant, tool, function");
}

static int read_message(struct reader *r, struct span raw, const struct json_members *given,
                        struct message *m)
{
    struct place at = {"messages", m->index, "", -1};
    if (!json_raw_is_object(raw))
        return invalid_at(r, &at, "an object with \"role\" and \"content\"");
    if (read_role(r, given, m) || read_content(r, json_members_given(given, "content"), m) ||
        read_tool_calls(r, given, m))
        return -1;
    at.member = ".name";
    if (text_member(r, given, "name", &at, &m->name))
        return -1;
    at.member = ".tool_call_id";
    if (text_member(r, given, "tool_call_id", &at, &m->tool_call_id))
        return -1;
    /* Extensions that clients echo back: taken when they are text, never a reason to refuse (Q1).
     */
    struct span reasoning = json_members_given(given, "reasoning_content");
    return json_raw_is_text(reasoning) ? read_text(r, reasoning, &m->reasoning) : 0;
}

/* One message after another, as the outline has them, or else as they are found in the text. */
struct message_walk {
    const struct json_outline *outline; /* NULL: there is none */
    size_t at, end;
    struct json_raw_iter it;
};

static struct message_walk walk_messages(const struct reader *r, struct span raw)
{
    const struct json_outline *o = r->outline;
    if (json_outline_has_array(o, raw))
        return (struct message_walk){
            .outline = o, .at = o->array + 1, .end = o->list[o->array].behind};
    return (struct message_walk){.it = json_raw_each(raw)};
}

/* The next one, and its members if they are asked for. False: there is none. */
static bool next_message(struct message_walk *w, struct span *raw, struct json_members *members)
{
    if (!w->outline) {
        if (!json_raw_next(&w->it))
            return false;
        *raw = w->it.value;
        if (members)
            json_members_read(members, *raw);
        return true;
    }
    if (w->at == w->end)
        return false;
    const struct json_outline_entry *e = &w->outline->list[w->at];
    *raw = e->value;
    if (members)
        json_outline_members(w->outline, w->at + 1, e->behind, members);
    w->at = e->behind;
    return true;
}

static int read_messages(struct reader *r)
{
    struct span raw = top_member(r, "messages"), one;
    if (!json_raw_is_array(raw))
        return invalid(r, "messages", "an array of messages");
    struct message_walk walk = walk_messages(r, raw);
    size_t n = 0;
    while (next_message(&walk, &one, NULL))
        n++;
    if (n == 0)
        return invalid(r, "messages", "an array of at least one message");
    if (n > REQUEST_MESSAGES_MAX)
        return request_body_too_many_messages(r->fail, "messages");
    struct message *messages = arena_alloc(r->arena, n * sizeof *messages);
    if (!messages)
        return fail_memory(r->fail);
    struct json_members members;
    walk = walk_messages(r, raw);
    for (size_t i = 0; i < n && next_message(&walk, &one, &members); i++) {
        messages[i].index = (int)i;
        if (read_message(r, one, &members, &messages[i]))
            return -1;
    }
    r->turn->messages = messages;
    r->turn->n_messages = n;
    return 0;
}

/* ---- parameters ---- */

static int read_stop(struct reader *r)
{
    struct span raw = top_member(r, "stop");
    if (!raw.p)
        return 0;
    if (!json_raw_is_text(raw) && !json_raw_is_array(raw))
        return invalid(r, "stop", "a string or an array of strings");
    size_t n = json_raw_is_text(raw) ? 1 : json_raw_count(raw);
    if (n > STOPS_MAX)
        return invalid(r, "stop", "at most 64 strings");
    struct span *stops = arena_alloc(r->arena, (n ? n : 1) * sizeof *stops);
    if (!stops)
        return fail_memory(r->fail);
    size_t kept = 0;
    struct json_raw_iter it = json_raw_each(raw);
    struct span value = raw;
    while (json_raw_is_text(raw) ? kept == 0 : json_raw_next(&it)) {
        if (!json_raw_is_text(raw))
            value = it.value;
        if (!json_raw_is_text(value))
            return invalid(r, "stop", "a string or an array of strings");
        if (read_text(r, value, &stops[kept]))
            return -1;
        if (stops[kept].n == 0) { /* an empty text stops nothing */
            if (json_raw_is_text(raw))
                break;
            continue;
        }
        kept++;
    }
    r->turn->stop = stops;
    r->turn->n_stop = kept;
    return 0;
}

/* The old `functions` become `tools` (clients.md §2.4). */
static int wrap_functions(struct reader *r, struct span functions)
{
    struct buffer out;
    buffer_init(&out, functions.n * 2 + json_raw_count(functions) * 64 + 64);
    struct json_writer w = json_writer(&out);
    json_begin_array(&w);
    struct json_raw_iter it = json_raw_each(functions);
    while (json_raw_next(&it)) {
        json_begin_object(&w);
        json_member(&w, "type", SPAN("function"));
        json_member_raw(&w, "function", it.value);
        json_end_object(&w);
    }
    json_end_array(&w);
    r->turn->tools_raw = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    return r->turn->tools_raw.p ? 0 : fail_memory(r->fail);
}

static int read_tools(struct reader *r)
{
    struct turn *t = r->turn;
    struct span tools = top_member(r, "tools");
    struct span functions = top_member(r, "functions");
    struct span choice = top_member(r, "tool_choice");
    if (tools.p && !json_raw_is_array(tools))
        return invalid(r, "tools", "an array");
    if (functions.p && !json_raw_is_array(functions))
        return invalid(r, "functions", "an array");
    const char *list = tools.p ? "tools" : "functions";
    struct json_raw_iter it = json_raw_each(tools.p ? tools : functions);
    for (int i = 0; json_raw_next(&it); i++) {
        const struct place at = {list, i, "", -1};
        if (i == REQUEST_TOOLS_MAX)
            return request_body_too_many_tools(r->fail, list);
        if (!json_raw_is_object(it.value))
            return invalid_at(r, &at, "an object");
    }
    if (tools.p && json_raw_count(tools))
        t->tools_raw = tools;
    else if (functions.p && json_raw_count(functions) && wrap_functions(r, functions))
        return -1;

    if (!choice.p && !tools.p)
        choice = top_member(r, "function_call");
    if (choice.p && !json_raw_is_text(choice) && !json_raw_is_object(choice))
        return invalid(r, "tool_choice", "\"none\", \"auto\", \"required\" or an object");
    t->tool_choice_raw = choice;
    bool none = choice.p && span_eq(choice, SPAN("\"none\""));
    t->tools_wanted = t->tools_raw.p && !none;
    return 0;
}

static int read_response_format(struct reader *r)
{
    struct span type = {NULL, 0};
    struct span raw = top_member(r, "response_format");
    if (!raw.p)
        return 0;
    if (!json_raw_is_object(raw))
        return invalid(r, "response_format", "an object with a \"type\"");
    if (request_body_text_given(r->json, r->arena, json_raw_given(raw, "type"), "response_format",
                                &type, r->fail))
        return -1;
    if (!span_eq(type, SPAN("text")) && !span_eq(type, SPAN("json_object")) &&
        !span_eq(type, SPAN("json_schema")))
        return invalid(r, "response_format", "of type text, json_object or json_schema");
    if (!span_eq(type, SPAN("text")))
        r->turn->response_format_raw = raw;
    return 0;
}

/* `reasoning_effort` is OpenAI's own, with a type; foreign shapes of vendors' fields are ignored
 * (Q1). */
static int read_reasoning(struct reader *r)
{
    struct span effort = top_member(r, "reasoning_effort");
    if (effort.p && !json_raw_is_text(effort))
        return invalid(r, "reasoning_effort", "a string");
    return reasoning_wish_read(r->json, r->arena, r->top, r->turn, r->fail);
}

static int read_stream(struct reader *r)
{
    struct turn *t = r->turn;
    struct span options = top_member(r, "stream_options");
    if (bool_member(r, "stream", &t->stream))
        return -1;
    if (options.p && !json_raw_is_object(options))
        return invalid(r, "stream_options", "an object");
    return request_body_bool_given(json_raw_given(options, "include_usage"),
                                   "stream_options.include_usage", &t->include_usage, r->fail);
}

static int read_limits(struct reader *r)
{
    struct turn *t = r->turn;
    bool has_n = false, has_completion = false;
    int64_t n = 1, completion = 0;
    if (int_member(r, "n", &has_n, &n) ||
        int_member(r, "max_tokens", &t->has_max_tokens, &t->max_tokens) ||
        int_member(r, "max_completion_tokens", &has_completion, &completion))
        return -1;
    if (n < 1 || n > CHOICES_MAX)
        return invalid(r, "n", "between 1 and 128");
    t->n = (int)n;
    const char *limit = has_completion ? "max_completion_tokens" : "max_tokens";
    if (has_completion) {
        t->has_max_tokens = t->max_includes_reasoning = true;
        t->max_tokens = completion;
    }
    if (t->has_max_tokens && t->max_tokens == -1) /* some clients' "no limit" */
        t->has_max_tokens = false;
    if (t->has_max_tokens && t->max_tokens < 1)
        return invalid(r, limit, "at least 1");
    return 0;
}

/* What only some services take: never a reason to refuse (Q1). */
static void read_hints(struct reader *r)
{
    struct turn *t = r->turn;
    struct fail ignored, *fail = r->fail;
    r->fail = &ignored;
    if (int_member(r, "top_k", &t->has_top_k, &t->top_k))
        t->has_top_k = false;
    if (int_member(r, "seed", &t->has_seed, &t->seed))
        t->has_seed = false;
    r->fail = fail;
}

static int read_parameters(struct reader *r)
{
    struct turn *t = r->turn;
    struct span parallel = top_member(r, "parallel_tool_calls");
    t->no_parallel_tool_calls = span_eq(parallel, SPAN("false"));
    read_hints(r);
    if (read_stream(r) || read_limits(r) || read_stop(r) || read_tools(r) ||
        read_response_format(r) || read_reasoning(r))
        return -1;
    return number_member(r, "temperature", &t->has_temperature, &t->temperature) ||
                   number_member(r, "top_p", &t->has_top_p, &t->top_p) ||
                   number_member(r, "presence_penalty", &t->has_presence_penalty,
                                 &t->presence_penalty) ||
                   number_member(r, "frequency_penalty", &t->has_frequency_penalty,
                                 &t->frequency_penalty) ||
                   bool_member(r, "logprobs", &t->logprobs)
               ? -1
               : 0;
}

/* ---- the body ---- */

/* Who edits the body need not look for them again. Without memory he does. */
static void note_members(struct arena *arena, const struct json_members *top, struct turn *turn)
{
    size_t n;
    const struct json_member *all = json_members_all(top, &n);
    struct json_member *list = all ? (void *)arena_room(arena, n * sizeof *list) : NULL;
    if (!list)
        return;
    memcpy(list, all, n * sizeof *list);
    turn->members = (struct turn_members){list, n, turn->raw.p};
}

int chat_request_parse(struct json_parser *json, struct arena *arena, char *body, size_t n,
                       struct turn *turn, struct fail *fail)
{
    struct json_members top;
    struct json_outline outline;
    struct reader r = {json, arena, turn, &top, &outline, fail, 0};
    *turn = (struct turn){.n = 1, .dialect = DIALECT_OPENAI};
    if (request_body_outline(json, body, n, SPAN("messages"), &outline, &turn->raw, fail))
        return -1;
    if (outline.whole)
        json_outline_members(&outline, 0, outline.n, &top);
    else if (request_body_members(&top, turn->raw, fail))
        return -1;
    if (request_body_model(json, arena, top_member(&r, "model"), &turn->model, fail))
        return -1;
    if (read_messages(&r) || read_parameters(&r))
        return -1;
    note_members(arena, &top, turn);
    return 0;
}

/* The body in the arena; what the buffer holds is freed. {NULL,0} when memory is short. */
static struct span keep_body(struct arena *arena, struct buffer *raw)
{
    char *text = raw->error ? NULL : arena_alloc(arena, raw->n + JSON_PADDING);
    struct span body = {NULL, 0};
    if (text) {
        memcpy(text, raw->p, raw->n);
        body = span_of(text, raw->n);
    }
    buffer_free(raw);
    return body;
}

/* Which of the groups of fields that say the same thing has this one? -1 = none. */
static int synonyms_of(struct span raw_key)
{
    static const char *const groups[][8] = {
        {"max_tokens", "max_completion_tokens", NULL},
        {"reasoning_effort", "reasoning", "thinking", "enable_thinking", "chat_template_kwargs",
         "thinking_budget", "disable_reasoning", NULL},
        {"tools", "functions", NULL},
        {"tool_choice", "function_call", NULL},
    };
    for (int i = 0; i < (int)(sizeof groups / sizeof *groups); i++) {
        for (int k = 0; groups[i][k]; k++) {
            if (json_raw_key_is(raw_key, span_str(groups[i][k])))
                return i;
        }
    }
    return -1;
}

/* Is the client's field replaced by one of the options? */
static bool is_replaced(struct span raw_key, const struct turn_option *options, size_t n)
{
    int group = synonyms_of(raw_key);
    for (size_t i = 0; i < n; i++) {
        if (json_raw_key_is(raw_key, options[i].name) ||
            (group >= 0 && synonyms_of(options[i].key) == group))
            return true;
    }
    return false;
}

/* What the body cannot say in OpenAI's words (another dialect's tools, a thinking budget, top_k)
 * stays as it was, unless an option says it anew. */
static void keep_unsaid(struct turn *t, const struct turn *asked, const struct turn_option *options,
                        size_t n)
{
    if (!is_replaced(SPAN("top_k"), options, n)) {
        t->has_top_k = asked->has_top_k;
        t->top_k = asked->top_k;
    }
    if (!is_replaced(SPAN("reasoning"), options, n)) {
        t->reasoning = asked->reasoning;
        t->reasoning_effort = asked->reasoning_effort;
        t->reasoning_budget = asked->reasoning_budget;
        t->thinking_raw = asked->thinking_raw;
    }
    t->reasoning_hidden |= asked->reasoning_hidden;
    if (!is_replaced(SPAN("tools"), options, n)) {
        t->tools_raw = asked->tools_raw;
        t->tools_foreign = asked->tools_foreign;
    }
    if (!is_replaced(SPAN("tool_choice"), options, n))
        t->tool_choice_raw = asked->tool_choice_raw;
    if (!is_replaced(SPAN("parallel_tool_calls"), options, n))
        t->no_parallel_tool_calls = asked->no_parallel_tool_calls;
    t->tools_wanted = t->tools_raw.p && !span_eq(t->tool_choice_raw, SPAN("\"none\""));
}

const struct turn *turn_with_options(struct json_parser *json, struct arena *arena,
                                     const struct turn *turn, const struct turn_option *options,
                                     size_t n, struct fail *fail)
{
    struct buffer raw;
    size_t most = turn->raw.n + 2 * JSON_PADDING;
    struct turn *t = arena_alloc(arena, sizeof *t);
    for (size_t i = 0; i < n; i++)
        most += options[i].key.n + options[i].value.n + 4;
    buffer_init(&raw, most);
    buffer_char(&raw, '{');
    struct json_raw_iter it = json_raw_each(turn->raw);
    while (json_raw_next(&it)) {
        if (!is_replaced(it.key, options, n))
            json_raw_append_member(&raw, it.key, it.value);
    }
    for (size_t i = 0; i < n; i++)
        json_raw_append_member(&raw, options[i].key, options[i].value);
    buffer_char(&raw, '}');
    struct span body = keep_body(arena, &raw);
    if (!t || !body.p) {
        fail_memory(fail);
        return NULL;
    }
    *t = (struct turn){
        .raw = body,
        .model = turn->model,
        .dialect = turn->dialect,
        .extra = turn->extra,
        .betas = turn->betas,
        .messages = turn->messages,
        .n_messages = turn->n_messages,
        .list = turn->list,
        .n = 1,
        .has_images = turn->has_images,
        .has_audio = turn->has_audio,
        .has_files = turn->has_files,
        .has_video = turn->has_video,
        .has_foreign = turn->has_foreign,
    };
    struct json_members top;
    struct reader r = {json, arena, t, &top, NULL, fail, 0};
    json_members_read(&top, t->raw);
    if (read_parameters(&r))
        return NULL;
    keep_unsaid(t, turn, options, n);
    return t;
}

const struct turn *turn_with_one_choice(struct arena *arena, const struct turn *turn)
{
    struct buffer raw;
    struct turn *one = arena_alloc(arena, sizeof *one);
    buffer_init(&raw, turn->raw.n + 2 * JSON_PADDING);
    buffer_char(&raw, '{');
    struct json_raw_iter it = json_raw_each(turn->raw);
    while (json_raw_next(&it)) {
        if (!json_raw_key_is(it.key, SPAN("n")))
            json_raw_append_member(&raw, it.key, it.value);
    }
    buffer_char(&raw, '}');
    struct span body = keep_body(arena, &raw);
    if (!one || !body.p)
        return NULL;
    *one = *turn;
    one->n = 1;
    one->raw = body;
    return one;
}
