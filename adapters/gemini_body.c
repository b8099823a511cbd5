/*
 * adapters/gemini_body.c - a turn in Google's words (sites/gemini.md §4).
 *
 * Written in one pass into one buffer. The hard part is the history: roles must be merged, results
 * stand in the order of their calls and need the call's name, calls need the proof of the thinking
 * that led to them (§4.2), which most clients lose: it is taken from the call itself, else from
 * what we remember, else Google's own word for "not from the model" stands in its place.
 */
#include "adapters/gemini.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json_raw.h"
#include "base/json_write.h"

enum { BODY_LIMIT = 512 * 1024 * 1024, NAME_MAX_BYTES = 128, STOPS_MAX = 5, PARAM_MAX = 64 };

#define NO_PROOF SPAN("skip_thought_signature_validator")
#define GO_ON                                                                                      \
    SPAN("Continue your last message exactly where it ends. Do not repeat any of it and do not "   \
         "comment.")

/* ---- models ---- */

/* 25 for "gemini-2.5-…", 30 for "gemini-3-…"; 0 = the name does not say. */
static int version_of(struct span model)
{
    struct span rest = span_from(model, 7);
    int major = 0, minor = 0;
    size_t i = 0;
    if (!span_starts(model, SPAN("gemini-")))
        return 0;
    for (; i < rest.n && i < 3 && rest.p[i] >= '0' && rest.p[i] <= '9'; i++)
        major = major * 10 + (rest.p[i] - '0');
    if (i == 0)
        return 0;
    if (i + 1 < rest.n && rest.p[i] == '.' && rest.p[i + 1] >= '0' && rest.p[i + 1] <= '9')
        minor = rest.p[i + 1] - '0';
    return major * 10 + minor;
}

static bool has(struct span text, const char *word) { return span_find(text, span_str(word)) >= 0; }

enum gemini_generation gemini_generation(struct span model, struct span note)
{
    int version = version_of(model);
    bool odd = has(model, "-image") || has(model, "-tts") || has(model, "-live") ||
               has(model, "embedding");
    bool thinks = note.n ? span_eq(note, GEMINI_NOTE_THINKS) : version >= 25 && !odd;
    if (!thinks)
        return GEMINI_PLAIN;
    return version >= 30 ? GEMINI_LEVELS : GEMINI_BUDGETS;
}

/* ---- one body ---- */

/* A call of the history; sorted by hash, then by place. */
struct known_call {
    uint64_t hash;
    size_t place; /* counted over the history */
    const struct tool_call *call;
    struct span function_id; /* the site's own, {NULL,0} = it gave none, or it is forgotten */
};

struct result {
    const struct message *message;
    const struct known_call *call; /* NULL: the message names the function itself */
    size_t place;
};

struct body {
    struct turn_run *run;
    struct gemini *gemini;
    const struct turn *turn;
    struct json_writer w;
    struct known_call *calls;
    size_t n_calls;
    const char *role; /* of the content that is open, NULL = none */
};

static int no_memory(struct body *b) { return fail_memory(&b->run->fail); }

static void name_param(char *param, const char *format, int message, int part)
{
    snprintf(param, PARAM_MAX, format, message, part);
}

/* The text of a raw JSON string; {NULL,0} when it is none or memory is short. */
static struct span text_of(struct body *b, struct span raw)
{
    struct json root;
    if (raw.n < 2 || raw.p[0] != '"' || json_parse(b->run->json, raw, &root) != JSON_OK)
        return span_of(NULL, 0);
    return arena_dup(b->run->arena, json_text(root));
}

/* ---- names of functions ---- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name_char(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == ':' || c == '-';
}

static bool is_legal(struct span name)
{
    if (name.n == 0 || name.n > NAME_MAX_BYTES || !is_letter(name.p[0]))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (!is_name_char(name.p[i]))
            return false;
    }
    return true;
}

/* A name that Google takes; the hash keeps different names different, in every turn the same. */
static struct span legal_name(struct body *b, struct span given)
{
    char legal[NAME_MAX_BYTES + 1];
    size_t n = 0;
    if (is_legal(given))
        return given;
    for (const struct gemini_name *known = b->gemini->names; known; known = known->next) {
        if (span_eq(known->given, given))
            return known->legal;
    }
    if (!given.n || !is_letter(given.p[0]))
        legal[n++] = '_';
    for (size_t i = 0; i < given.n && n < 100; i++) {
        unsigned char c = (unsigned char)given.p[i];
        if (is_name_char(given.p[i]))
            legal[n++] = given.p[i];
        else if ((c & 0xC0) != 0x80) /* one for each character */
            legal[n++] = '_';
    }
    n += (size_t)snprintf(legal + n, sizeof legal - n, "_%08x",
                          (unsigned)(span_hash(SPAN_HASH, given) & 0xFFFFFFFF));
    struct gemini_name *name = arena_alloc(b->run->arena, sizeof *name);
    if (!name)
        return span_of(NULL, 0);
    *name =
        (struct gemini_name){given, arena_dup(b->run->arena, span_of(legal, n)), b->gemini->names};
    b->gemini->names = name;
    return name->legal;
}

struct span gemini_given_name(const struct gemini *g, struct span legal)
{
    for (const struct gemini_name *known = g->names; known; known = known->next) {
        if (span_eq(known->legal, legal))
            return known->given;
    }
    return legal;
}

static int write_name(struct body *b, struct span given)
{
    struct span legal = legal_name(b, given);
    if (!legal.p)
        return no_memory(b);
    json_member(&b->w, "name", legal);
    return 0;
}

/* ---- contents ---- */

static void end_content(struct body *b)
{
    if (!b->role)
        return;
    json_end_array(&b->w);
    json_end_object(&b->w);
    b->role = NULL;
}

/* Neighbours of one role are one content, and one without parts is none. */
static void begin_part(struct body *b, const char *role)
{
    if (!b->role || strcmp(b->role, role) != 0) {
        end_content(b);
        json_begin_object(&b->w);
        json_member(&b->w, "role", span_str(role));
        json_key(&b->w, "parts");
        json_begin_array(&b->w);
        b->role = role;
    }
    json_begin_object(&b->w);
}

static void write_text(struct body *b, const char *role, struct span text)
{
    if (text.n == 0)
        return;
    begin_part(b, role);
    json_member(&b->w, "text", text);
    json_end_object(&b->w);
}

/* ---- pictures, sound, files ---- */

static struct span picture_type(struct span mime)
{
    static const struct {
        struct span said, type;
    } types[] = {
        {SPAN_INIT("image/png"), SPAN_INIT("image/png")},
        {SPAN_INIT("image/jpeg"), SPAN_INIT("image/jpeg")},
        {SPAN_INIT("image/jpg"), SPAN_INIT("image/jpeg")},
        {SPAN_INIT("image/webp"), SPAN_INIT("image/webp")},
        {SPAN_INIT("image/heic"), SPAN_INIT("image/heic")},
        {SPAN_INIT("image/heif"), SPAN_INIT("image/heif")},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (span_eq_nocase(mime, types[i].said))
            return types[i].type;
    }
    return span_of(NULL, 0);
}

/* OpenAI tells a format ("wav"), data: URLs a type ("audio/mpeg"). */
static struct span sound_type(struct body *b, struct span mime)
{
    if (span_find_char(mime, '/') < 0)
        return arena_printf(b->run->arena, "audio/%.*s", SPAN_ARGS(mime));
    return span_eq_nocase(mime, SPAN("audio/mpeg")) ? SPAN("audio/mp3") : mime;
}

static int refuse_part(struct body *b, const struct message *m, const struct part *p,
                       const char *why)
{
    char param[PARAM_MAX];
    name_param(param, "messages[%d].content[%d]", m->index, p->index);
    return fail_param(&b->run->fail, FAIL_UNSUPPORTED, param, "%s cannot be sent to %.*s: %s",
                      param, SPAN_ARGS(b->run->site->name), why);
}

static int write_inline(struct body *b, const char *role, struct span mime, struct span base64)
{
    if (!mime.p)
        return no_memory(b);
    begin_part(b, role);
    json_key(&b->w, "inlineData");
    json_begin_object(&b->w);
    json_member(&b->w, "mimeType", mime);
    json_member(&b->w, "data", base64);
    json_end_object(&b->w);
    json_end_object(&b->w);
    return 0;
}

static int write_picture(struct body *b, const char *role, const struct message *m,
                         const struct part *p)
{
    struct span type = picture_type(p->mime);
    if (!p->base64.p)
        return refuse_part(b, m, p,
                           "its picture stands at an address; send the picture itself, as a data: "
                           "URL");
    if (!type.p)
        return refuse_part(b, m, p, "Gemini reads png, jpeg, webp, heic and heif pictures");
    return write_inline(b, role, type, p->base64);
}

static int write_file(struct body *b, const char *role, const struct message *m,
                      const struct part *p)
{
    if (p->base64.p)
        return write_inline(b, role, p->mime.n ? p->mime : SPAN("text/plain"), p->base64);
    if (p->text.n) {
        write_text(b, role, p->text);
        return 0;
    }
    return refuse_part(b, m, p, "only files that come with their content (a data: URL) can");
}

static int write_part(struct body *b, const char *role, const struct message *m,
                      const struct part *p)
{
    switch (p->kind) {
    case PART_TEXT:
    case PART_REFUSAL: write_text(b, role, p->text); return 0;
    case PART_IMAGE: return write_picture(b, role, m, p);
    case PART_AUDIO:
        if (!p->base64.p)
            return refuse_part(b, m, p, "only sound that comes with its data can");
        return write_inline(b, role, sound_type(b, p->mime), p->base64);
    case PART_FILE: return write_file(b, role, m, p);
    case PART_VIDEO: return refuse_part(b, m, p, "videos are not carried over");
    case PART_THINKING: /* Google wants none of it back */
    case PART_REDACTED:
    case PART_FOREIGN: return 0;
    }
    return 0;
}

/* ---- calls ---- */

struct span gemini_call_key(struct turn_run *run, struct span id)
{
    return arena_printf(run->arena, "gemini call %.*s", SPAN_ARGS(id));
}

static int by_hash(const void *a, const void *b)
{
    const struct known_call *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static int gather_calls(struct body *b)
{
    const struct turn *t = b->turn;
    size_t n = 0;
    for (size_t i = 0; i < t->n_messages; i++)
        n += t->messages[i].n_tool_calls;
    b->calls = arena_alloc(b->run->arena, (n ? n : 1) * sizeof *b->calls);
    if (!b->calls)
        return no_memory(b);
    for (size_t i = 0; i < t->n_messages; i++) {
        for (size_t k = 0; k < t->messages[i].n_tool_calls; k++) {
            const struct tool_call *call = &t->messages[i].tool_calls[k];
            b->calls[b->n_calls] = (struct known_call){
                .hash = span_hash(SPAN_HASH, call->id), .place = b->n_calls, .call = call};
            b->n_calls++;
        }
    }
    if (n)
        qsort(b->calls, n, sizeof *b->calls, by_hash);
    return 0;
}

/* The last call of that id before `place`: clients use ids again. */
static struct known_call *find_call(struct body *b, struct span id, size_t place)
{
    struct known_call key = {.hash = span_hash(SPAN_HASH, id), .place = place};
    size_t low = 0, high = b->n_calls;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_hash(&b->calls[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    while (low-- > 0 && b->calls[low].hash == key.hash) {
        if (span_eq(b->calls[low].call->id, id))
            return &b->calls[low];
    }
    return NULL;
}

/* The proof of the thinking that led to a call: from the call, else remembered, else ""; and the
 * site's own id of it. Written by gemini_stream.c as {"signature","id"}. */
static int find_proof(struct body *b, struct known_call *known, struct span *proof)
{
    struct turn_run *run = b->run;
    struct json root;
    const struct tool_call *call = known->call;
    *proof = SPAN("");
    struct span remembered =
        call->id.n ? run_recall(run, gemini_call_key(run, call->id)) : span_of(NULL, 0);
    if (remembered.n && json_parse(run->json, remembered, &root) == JSON_OK) {
        *proof = arena_dup(run->arena, json_get_text(root, "signature"));
        known->function_id = arena_dup(run->arena, json_get_text(root, "id"));
        if (!proof->p || !known->function_id.p)
            return no_memory(b);
    }
    if (call->extra_content.n && json_parse(run->json, call->extra_content, &root) == JSON_OK) {
        struct span told = json_text(json_path(root, "google", "thought_signature"));
        if (told.n)
            *proof = arena_dup(run->arena, told);
    }
    return proof->p ? 0 : no_memory(b);
}

/* The call's arguments as an object. */
static int read_arguments(struct body *b, const struct message *m, size_t k, struct span *args)
{
    struct json root;
    char param[PARAM_MAX];
    *args = span_trim(m->tool_calls[k].arguments);
    if (args->n == 0)
        *args = SPAN("{}");
    if (json_parse(b->run->json, *args, &root) == JSON_OK && json_is(root, JSON_OBJECT))
        return 0;
    name_param(param, "messages[%d].tool_calls[%d].function.arguments", m->index, (int)k);
    return fail_param(&b->run->fail, FAIL_INVALID_VALUE, param,
                      "%s must hold a JSON object: Gemini takes no other arguments", param);
}

/* `first`: of its content. Gemini 3 refuses it without a proof (§4.2). */
static int write_call(struct body *b, const struct message *m, size_t k, struct known_call *known,
                      bool first)
{
    struct span args, proof;
    if (read_arguments(b, m, k, &args) || find_proof(b, known, &proof))
        return -1;
    if (!proof.n && first && version_of(b->gemini->model) >= 30)
        proof = NO_PROOF;
    begin_part(b, "model");
    json_key(&b->w, "functionCall");
    json_begin_object(&b->w);
    if (known->function_id.n)
        json_member(&b->w, "id", known->function_id);
    if (write_name(b, m->tool_calls[k].name))
        return -1;
    json_member_raw(&b->w, "args", args);
    json_end_object(&b->w);
    if (proof.n)
        json_member(&b->w, "thoughtSignature", proof);
    json_end_object(&b->w);
    return 0;
}

/* Parts and calls in their order. */
static int write_answer(struct body *b, const struct message *m, size_t place, bool *called)
{
    size_t k = 0;
    for (size_t i = 0; i <= m->n_parts; i++) {
        for (; k < m->n_tool_calls && (i == m->n_parts || m->tool_calls[k].after <= i); k++) {
            struct known_call *known = find_call(b, m->tool_calls[k].id, place + k + 1);
            if (write_call(b, m, k, known, !*called))
                return -1;
            *called = true;
        }
        if (i < m->n_parts && write_part(b, "model", m, &m->parts[i]))
            return -1;
    }
    return 0;
}

/* ---- results ---- */

static int by_place(const void *a, const void *b)
{
    const struct result *x = a, *y = b;
    return x->place < y->place ? -1 : x->place > y->place;
}

/* The parts of a result that are text, joined; a single one is not copied. */
static struct span result_text(struct body *b, const struct message *m)
{
    const struct part *only = NULL;
    struct buffer text;
    for (size_t i = 0; i < m->n_parts; i++) {
        bool is_text = m->parts[i].kind == PART_TEXT || m->parts[i].kind == PART_REFUSAL;
        if (is_text && only) {
            buffer_init(&text, BODY_LIMIT);
            for (i = 0; i < m->n_parts; i++) {
                if (m->parts[i].kind != PART_TEXT && m->parts[i].kind != PART_REFUSAL)
                    continue;
                if (text.n)
                    buffer_char(&text, '\n');
                buffer_append(&text, m->parts[i].text);
            }
            struct span whole =
                text.error ? span_of(NULL, 0) : arena_dup(b->run->arena, buffer_span(&text));
            buffer_free(&text);
            return whole;
        }
        if (is_text)
            only = &m->parts[i];
    }
    return only ? only->text : SPAN("");
}

/* An object as it is; anything else, and what went wrong, under a word of Google's. */
static int write_response(struct body *b, const struct message *m)
{
    struct json root;
    struct span text = result_text(b, m), trimmed = span_trim(text);
    if (!text.p)
        return no_memory(b);
    bool is_json = trimmed.n && json_parse(b->run->json, trimmed, &root) == JSON_OK;
    json_key(&b->w, "response");
    if (is_json && json_is(root, JSON_OBJECT) && !m->is_error) {
        json_raw_value(&b->w, trimmed);
        return 0;
    }
    const char *key = m->is_error ? "error" : "output";
    json_begin_object(&b->w);
    if (is_json)
        json_member_raw(&b->w, key, trimmed);
    else
        json_member(&b->w, key, text);
    json_end_object(&b->w);
    return 0;
}

static int write_result(struct body *b, const struct result *r)
{
    begin_part(b, "user");
    json_key(&b->w, "functionResponse");
    json_begin_object(&b->w);
    if (r->call && r->call->function_id.n)
        json_member(&b->w, "id", r->call->function_id);
    if (write_name(b, r->call ? r->call->call->name : r->message->name) ||
        write_response(b, r->message))
        return -1;
    json_end_object(&b->w);
    json_end_object(&b->w);
    return 0;
}

/* Which call each of these messages answers. */
static int find_results(struct body *b, const struct message *messages, size_t n, size_t place,
                        struct result *results)
{
    for (size_t i = 0; i < n; i++) {
        const struct message *m = &messages[i];
        char param[PARAM_MAX];
        results[i].message = m;
        results[i].call = find_call(b, m->tool_call_id, place);
        results[i].place = results[i].call ? results[i].call->place : place + i;
        if (results[i].call || m->name.n) /* the old role "function" tells the name alone */
            continue;
        name_param(param, "messages[%d].tool_call_id", m->index, 0);
        return fail_param(&b->run->fail, FAIL_INVALID_VALUE, param,
                          "%s is the id of no tool call before it: Gemini needs to know which "
                          "function was called",
                          param);
    }
    return 0;
}

/* A run of results is one content, in the order of the calls; what they show besides text stands
 * behind them all, for nothing may stand between a call and its answer. */
static int write_results(struct body *b, const struct message *messages, size_t n, size_t place)
{
    struct result *results = arena_alloc(b->run->arena, n * sizeof *results);
    if (!results)
        return no_memory(b);
    if (find_results(b, messages, n, place, results))
        return -1;
    qsort(results, n, sizeof *results, by_place);
    for (size_t i = 0; i < n; i++) {
        if (write_result(b, &results[i]))
            return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const struct message *m = results[i].message;
        for (size_t k = 0; k < m->n_parts; k++) {
            bool is_text = m->parts[k].kind == PART_TEXT || m->parts[k].kind == PART_REFUSAL;
            if (!is_text && write_part(b, "user", m, &m->parts[k]))
                return -1;
        }
    }
    return 0;
}

/* ---- the conversation ---- */

/* Somebody's name has no field: it stands before the words, as in prompts of plain text. */
static int write_speaker(struct body *b, const char *role, const struct message *m)
{
    if (!m->name.n || !m->n_parts)
        return 0;
    struct span line = arena_printf(b->run->arena, "%s (%.*s): ", role, SPAN_ARGS(m->name));
    if (!line.p)
        return no_memory(b);
    write_text(b, role, line);
    return 0;
}

static int write_message(struct body *b, const struct message *m)
{
    if (m->role == ROLE_USER && write_speaker(b, "user", m))
        return -1;
    for (size_t i = 0; i < m->n_parts; i++) {
        if (write_part(b, "user", m, &m->parts[i]))
            return -1;
    }
    return 0;
}

static bool only_system(const struct turn *t)
{
    for (size_t i = 0; i < t->n_messages; i++) {
        if (t->messages[i].role != ROLE_SYSTEM)
            return false;
    }
    return true;
}

/* Every message but the system's; `place` counts calls, `called` those of the content that is
 * open. */
static int write_messages(struct body *b)
{
    const struct turn *t = b->turn;
    bool alone = only_system(t), called = false;
    size_t place = 0, n;
    int error = 0;
    for (size_t i = 0; i < t->n_messages && !error; i += n) {
        const struct message *m = &t->messages[i];
        n = 1;
        if (!b->role || strcmp(b->role, "model") != 0)
            called = false;
        switch (m->role) {
        case ROLE_SYSTEM: error = alone ? write_message(b, m) : 0; break;
        case ROLE_USER: error = write_message(b, m); break;
        case ROLE_ASSISTANT:
            error = write_answer(b, m, place, &called);
            place += m->n_tool_calls;
            break;
        case ROLE_TOOL:
            while (i + n < t->n_messages && t->messages[i + n].role == ROLE_TOOL)
                n++;
            error = write_results(b, m, n, place);
            break;
        }
    }
    return error;
}

static int write_contents(struct body *b)
{
    json_key(&b->w, "contents");
    json_begin_array(&b->w);
    size_t before = b->w.out->n;
    if (write_messages(b))
        return -1;
    if (b->w.out->n == before && !b->w.out->error)
        return fail_param(&b->run->fail, FAIL_INVALID_VALUE, "messages",
                          "messages hold no text, no picture and no call: there is nothing to "
                          "answer");
    if (b->role && strcmp(b->role, "model") == 0) /* a prefill: Gemini wants the user last */
        write_text(b, "user", GO_ON);
    end_content(b);
    json_end_array(&b->w);
    return 0;
}

static bool has_text(const struct message *m)
{
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].kind == PART_TEXT && m->parts[i].text.n)
            return true;
    }
    return false;
}

static void write_system(struct body *b)
{
    const struct turn *t = b->turn;
    bool any = false;
    for (size_t i = 0; i < t->n_messages && !any; i++)
        any = t->messages[i].role == ROLE_SYSTEM && has_text(&t->messages[i]);
    if (!any || only_system(t))
        return;
    json_key(&b->w, "systemInstruction");
    json_begin_object(&b->w);
    json_key(&b->w, "parts");
    json_begin_array(&b->w);
    for (size_t i = 0; i < t->n_messages; i++) {
        const struct message *m = &t->messages[i];
        for (size_t k = 0; m->role == ROLE_SYSTEM && k < m->n_parts; k++) {
            if (m->parts[k].kind != PART_TEXT || !m->parts[k].text.n)
                continue;
            json_begin_object(&b->w);
            json_member(&b->w, "text", m->parts[k].text);
            json_end_object(&b->w);
        }
    }
    json_end_array(&b->w);
    json_end_object(&b->w);
}

/* ---- tools ---- */

static bool is_empty_object(struct span raw)
{
    struct json_raw_iter it = json_raw_each(raw);
    return !json_raw_next(&it);
}

static int write_function(struct body *b, struct span function)
{
    struct span name = text_of(b, json_raw_given(function, "name"));
    struct span description = json_raw_given(function, "description");
    struct span schema = json_raw_given(function, "parameters");
    if (!name.p)
        return fail_param(&b->run->fail, FAIL_INVALID_VALUE, "tools",
                          "a function among tools has no name");
    json_begin_object(&b->w);
    if (write_name(b, name))
        return -1;
    if (description.n && description.p[0] == '"')
        json_member_raw(&b->w, "description", description);
    if (schema.n && schema.p[0] == '{' && !is_empty_object(schema))
        json_member_raw(&b->w, "parametersJsonSchema", schema);
    json_end_object(&b->w);
    return 0;
}

static int write_functions(struct body *b)
{
    struct json_raw_iter it = json_raw_each(b->turn->tools_raw);
    json_begin_object(&b->w);
    json_key(&b->w, "functionDeclarations");
    json_begin_array(&b->w);
    while (json_raw_next(&it)) {
        struct span function = json_raw_given(it.value, "function");
        if (function.n && function.p[0] == '{' && write_function(b, function))
            return -1;
    }
    json_end_array(&b->w);
    json_end_object(&b->w);
    return 0;
}

static void write_built_in(struct body *b, const char *name)
{
    json_begin_object(&b->w);
    json_key(&b->w, name);
    json_begin_object(&b->w);
    json_end_object(&b->w);
    json_end_object(&b->w);
}

/* Google refuses its own tools beside functions: the client's come first. */
static int write_tools(struct body *b)
{
    static const struct {
        const char *option, *tool;
    } own[] = {{"google_search", "googleSearch"},
               {"url_context", "urlContext"},
               {"code_execution", "codeExecution"}};
    size_t n = sizeof own / sizeof *own;
    bool any = b->turn->tools_raw.n > 0;
    for (size_t i = 0; i < n; i++)
        any |= site_option_bool(b->run->site, own[i].option, false);
    if (!any)
        return 0;
    json_key(&b->w, "tools");
    json_begin_array(&b->w);
    if (b->turn->tools_raw.n) {
        if (write_functions(b))
            return -1;
    } else {
        for (size_t i = 0; i < n; i++) {
            if (site_option_bool(b->run->site, own[i].option, false))
                write_built_in(b, own[i].tool);
        }
    }
    json_end_array(&b->w);
    return 0;
}

/* One function's name, or those of OpenAI's {"type":"allowed_tools"}. */
static int write_allowed(struct body *b, struct span one, struct span several)
{
    struct json_raw_iter it = json_raw_each(several);
    json_key(&b->w, "allowedFunctionNames");
    json_begin_array(&b->w);
    while (one.n || (several.n && json_raw_next(&it))) {
        struct span function = json_raw_given(it.value, "function");
        struct span given = one.n ? one : text_of(b, json_raw_given(function, "name"));
        struct span legal = given.n ? legal_name(b, given) : SPAN("");
        if (!legal.p)
            return no_memory(b);
        if (legal.n)
            json_string(&b->w, legal);
        if (one.n)
            break;
    }
    json_end_array(&b->w);
    return 0;
}

static bool is_word(struct span raw, const char *word)
{
    return raw.n >= 2 && raw.p[0] == '"' &&
           json_raw_key_is(span_of(raw.p + 1, raw.n - 2), span_str(word));
}

static int write_tool_choice(struct body *b)
{
    struct span choice = b->turn->tool_choice_raw;
    const char *mode = NULL;
    struct span one = {NULL, 0}, several = {NULL, 0};
    if (!b->turn->tools_raw.n || !choice.n)
        return 0;
    if (is_word(choice, "auto"))
        mode = "AUTO";
    else if (is_word(choice, "none"))
        mode = "NONE";
    else if (is_word(choice, "required"))
        mode = "ANY";
    if (choice.p[0] == '{') {
        struct span allowed = json_raw_given(choice, "allowed_tools");
        struct span source = allowed.n && allowed.p[0] == '{' ? allowed : choice;
        several = json_raw_given(source, "tools");
        one = several.n ? one
                        : text_of(b, json_raw_given(json_raw_given(choice, "function"), "name"));
        if (one.n || is_word(json_raw_given(source, "mode"), "required"))
            mode = "ANY";
        else if (several.n)
            mode = "VALIDATED"; /* text or one of these; AUTO takes no names */
    }
    if (!mode)
        return 0;
    json_key(&b->w, "toolConfig");
    json_begin_object(&b->w);
    json_key(&b->w, "functionCallingConfig");
    json_begin_object(&b->w);
    json_member(&b->w, "mode", span_str(mode));
    if ((one.n || several.n) && write_allowed(b, one, several))
        return -1;
    json_end_object(&b->w);
    json_end_object(&b->w);
    return 0;
}

/* ---- thinking ---- */

enum effort { EFFORT_OPEN, EFFORT_NONE, EFFORT_MINIMAL, EFFORT_LOW, EFFORT_MEDIUM, EFFORT_HIGH };

static enum effort effort_of(const struct turn *t)
{
    static const struct {
        struct span word;
        enum effort effort;
    } words[] = {
        {SPAN_INIT("none"), EFFORT_NONE}, {SPAN_INIT("minimal"), EFFORT_MINIMAL},
        {SPAN_INIT("low"), EFFORT_LOW},   {SPAN_INIT("medium"), EFFORT_MEDIUM},
        {SPAN_INIT("high"), EFFORT_HIGH}, {SPAN_INIT("xhigh"), EFFORT_HIGH},
        {SPAN_INIT("max"), EFFORT_HIGH},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (span_eq_nocase(t->reasoning_effort, words[i].word))
            return words[i].effort;
    }
    return t->reasoning == REASONING_OFF ? EFFORT_NONE : EFFORT_OPEN;
}

/* Of Anthropic's {"type":"enabled","budget_tokens":N}; -1 = none. */
static int64_t budget_of(struct body *b)
{
    struct span raw = json_raw_given(b->turn->thinking_raw, "budget_tokens");
    struct json root;
    int64_t n;
    if (b->turn->reasoning == REASONING_OFF || !raw.n ||
        json_parse(b->run->json, raw, &root) != JSON_OK || !json_int(root, &n) || n < 0)
        return -1;
    return n;
}

static bool is_pro(const struct body *b) { return has(b->gemini->model, "-pro"); }

static void write_budget(struct body *b, enum effort effort, int64_t given)
{
    static const int64_t budgets[] = {
        [EFFORT_MINIMAL] = 512, [EFFORT_LOW] = 1024, [EFFORT_MEDIUM] = 8192, [EFFORT_HIGH] = 24576};
    int64_t least = is_pro(b) ? 128 : 0, most = is_pro(b) ? 32768 : 24576;
    if (effort == EFFORT_OPEN && given < 0)
        return;
    int64_t budget = effort == EFFORT_OPEN ? given : budgets[effort];
    if (budget < least)
        budget = least;
    if (budget > most)
        budget = most;
    json_member_int(&b->w, "thinkingBudget", budget);
    b->gemini->sent |= REFUSED_BUDGET;
}

static enum effort effort_of_budget(int64_t budget)
{
    if (budget < 0)
        return EFFORT_OPEN;
    if (budget <= 512)
        return EFFORT_MINIMAL;
    if (budget <= 4096)
        return EFFORT_LOW;
    return budget <= 16384 ? EFFORT_MEDIUM : EFFORT_HIGH;
}

static void write_level(struct body *b, enum effort effort, int64_t given)
{
    struct gemini *g = b->gemini;
    const char *level = NULL;
    if (effort == EFFORT_OPEN)
        effort = effort_of_budget(given);
    switch (effort) {
    case EFFORT_OPEN: return;
    case EFFORT_NONE:
    case EFFORT_MINIMAL: level = is_pro(b) ? "low" : "minimal"; break;
    case EFFORT_LOW: level = "low"; break;
    case EFFORT_MEDIUM: level = g->refused & REFUSED_MEDIUM ? "high" : "medium"; break;
    case EFFORT_HIGH: level = "high"; break;
    }
    json_member(&b->w, "thinkingLevel", span_str(level));
    g->sent |= REFUSED_LEVEL | (strcmp(level, "medium") == 0 ? REFUSED_MEDIUM : 0);
}

static void write_thinking(struct body *b)
{
    struct gemini *g = b->gemini;
    enum gemini_generation generation = gemini_generation(g->model, b->run->model_note);
    enum effort effort = effort_of(b->turn);
    int64_t budget = budget_of(b);
    if (generation == GEMINI_PLAIN || g->refused & REFUSED_THINKING)
        return;
    g->sent |= REFUSED_THINKING;
    json_key(&b->w, "thinkingConfig");
    json_begin_object(&b->w);
    json_member_bool(&b->w, "includeThoughts", effort != EFFORT_NONE);
    if (generation == GEMINI_LEVELS && !(g->refused & REFUSED_LEVEL))
        write_level(b, effort, budget);
    if (generation == GEMINI_BUDGETS && !(g->refused & REFUSED_BUDGET))
        write_budget(b, effort, budget);
    json_end_object(&b->w);
}

/* ---- generationConfig ---- */

static bool may_send(struct body *b, bool given, unsigned field)
{
    if (!given || b->gemini->refused & field)
        return false;
    b->gemini->sent |= field;
    return true;
}

static void write_number(struct body *b, const char *key, double value)
{
    json_key(&b->w, key);
    json_write_double(&b->w, value);
}

static void write_sampling(struct body *b)
{
    const struct turn *t = b->turn;
    if (t->has_temperature)
        write_number(b, "temperature", t->temperature);
    if (t->has_top_p)
        write_number(b, "topP", t->top_p);
    if (may_send(b, t->has_top_k, REFUSED_TOP_K))
        json_member_int(&b->w, "topK", t->top_k);
    if (t->has_max_tokens)
        json_member_int(&b->w, "maxOutputTokens", t->max_tokens);
    if (may_send(b, t->has_seed, REFUSED_SEED)) { /* 32 bits there: the same seed stays the same */
        bool fits = t->seed >= INT32_MIN && t->seed <= INT32_MAX;
        json_member_int(&b->w, "seed", fits ? t->seed : t->seed & INT32_MAX);
    }
    if (may_send(b, t->has_presence_penalty, REFUSED_PRESENCE))
        write_number(b, "presencePenalty", t->presence_penalty);
    if (may_send(b, t->has_frequency_penalty, REFUSED_FREQUENCY))
        write_number(b, "frequencyPenalty", t->frequency_penalty);
}

static int write_stops(struct body *b)
{
    const struct turn *t = b->turn;
    size_t n = 0;
    for (size_t i = 0; i < t->n_stop; i++)
        n += t->stop[i].n > 0;
    if (n > STOPS_MAX)
        return fail_param(&b->run->fail, FAIL_UNSUPPORTED, "stop",
                          "Gemini takes at most %d stop texts; %zu were given", STOPS_MAX, n);
    if (n == 0)
        return 0;
    json_key(&b->w, "stopSequences");
    json_begin_array(&b->w);
    for (size_t i = 0; i < t->n_stop; i++) {
        if (t->stop[i].n)
            json_string(&b->w, t->stop[i]);
    }
    json_end_array(&b->w);
    return 0;
}

static void write_format(struct body *b)
{
    struct span format = b->turn->response_format_raw;
    if (!format.n)
        return;
    json_member(&b->w, "responseMimeType", SPAN("application/json"));
    struct span schema = json_raw_given(json_raw_given(format, "json_schema"), "schema");
    if (schema.n)
        json_member_raw(&b->w, "responseJsonSchema", schema);
}

static void write_logprobs(struct body *b)
{
    struct span top = json_raw_given(b->turn->raw, "top_logprobs");
    if (!b->turn->logprobs)
        return;
    json_member_bool(&b->w, "responseLogprobs", true);
    if (top.n && top.p[0] >= '1' && top.p[0] <= '9')
        json_member_raw(&b->w, "logprobs", top);
}

static void write_modalities(struct body *b)
{
    struct span wanted = json_raw_given(b->turn->raw, "modalities");
    struct json_raw_iter it = json_raw_each(wanted);
    while (wanted.n && json_raw_next(&it)) {
        if (is_word(it.value, "image")) {
            json_member_raw(&b->w, "responseModalities", SPAN("[\"TEXT\",\"IMAGE\"]"));
            return;
        }
    }
}

static int write_config(struct body *b)
{
    json_key(&b->w, "generationConfig");
    json_begin_object(&b->w);
    write_sampling(b);
    if (write_stops(b))
        return -1;
    write_format(b);
    write_logprobs(b);
    write_modalities(b);
    write_thinking(b);
    json_end_object(&b->w);
    return 0;
}

static void write_safety(struct body *b)
{
    static const struct {
        const char *option, *category;
    } rows[] = {
        {"safety_harassment", "HARM_CATEGORY_HARASSMENT"},
        {"safety_hate_speech", "HARM_CATEGORY_HATE_SPEECH"},
        {"safety_sexually_explicit", "HARM_CATEGORY_SEXUALLY_EXPLICIT"},
        {"safety_dangerous_content", "HARM_CATEGORY_DANGEROUS_CONTENT"},
    };
    struct span all = site_option_text(b->run->site, "safety", SPAN(""));
    bool any = false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span threshold = site_option_text(b->run->site, rows[i].option, all);
        if (!threshold.n)
            continue;
        if (!any) {
            json_key(&b->w, "safetySettings");
            json_begin_array(&b->w);
        }
        any = true;
        json_begin_object(&b->w);
        json_member(&b->w, "category", span_str(rows[i].category));
        json_member(&b->w, "threshold", threshold);
        json_end_object(&b->w);
    }
    if (any)
        json_end_array(&b->w);
}

static int write_body(struct body *b)
{
    json_begin_object(&b->w);
    write_system(b);
    if (gather_calls(b) || write_contents(b) || write_tools(b) || write_tool_choice(b) ||
        write_config(b))
        return -1;
    write_safety(b);
    json_end_object(&b->w);
    return 0;
}

int gemini_body(struct turn_run *run, struct gemini *g, struct span *body)
{
    struct buffer out;
    struct body b = {.run = run, .gemini = g, .turn = run->turn, .w = json_writer(&out)};
    buffer_init(&out, BODY_LIMIT);
    g->sent = 0;
    g->names = NULL;
    int error = write_body(&b);
    *body = span_of(NULL, 0);
    if (!error && !out.error)
        *body = arena_dup(run->arena, buffer_span(&out));
    buffer_free(&out);
    if (error)
        return -1;
    return body->p ? 0 : no_memory(&b);
}
