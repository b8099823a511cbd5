/*
 * adapters/gemini_history.c - the messages of a turn as Google's contents (sites/gemini.md §4.1,
 * §4.2).
 *
 * Written in one pass. The hard part: roles must be merged, results stand in the order of their
 * calls and need the call's name, calls need the proof of the thinking that led to them, which most
 * clients lose: it is taken from the call itself, else from what we remember, else Google's own
 * word for "not from the model" stands in its place.
 */
#include "adapters/gemini.h"

#include <stdlib.h>

#include "base/json_write.h"

enum { TEXT_LIMIT = 512 * 1024 * 1024 };

#define NO_PROOF SPAN("skip_thought_signature_validator")
#define GO_ON                                                                                      \
    SPAN("Continue your last message exactly where it ends. Do not repeat any of it and do not "   \
         "comment.")

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

struct history {
    struct turn_run *run;
    struct gemini *gemini;
    const struct turn *turn;
    struct json_writer *w;
    struct known_call *calls;
    size_t n_calls;
    const char *role; /* of the content that is open, NULL = none */
};

static int no_memory(struct history *h) { return fail_memory(h->run->fail); }

static int write_name(struct history *h, struct span given)
{
    struct span legal = gemini_legal_name(h->run, h->gemini, given);
    if (!legal.p)
        return no_memory(h);
    json_member(h->w, "name", legal);
    return 0;
}

/* ---- contents ---- */

static void end_content(struct history *h)
{
    if (!h->role)
        return;
    json_end_array(h->w);
    json_end_object(h->w);
    h->role = NULL;
}

/* Neighbours of one role are one content, and one without parts is none. */
static void begin_part(struct history *h, const char *role)
{
    if (!h->role || strcmp(h->role, role) != 0) {
        end_content(h);
        json_begin_object(h->w);
        json_member(h->w, "role", span_str(role));
        json_key(h->w, "parts");
        json_begin_array(h->w);
        h->role = role;
    }
    json_begin_object(h->w);
}

static void write_text(struct history *h, const char *role, struct span text)
{
    if (text.n == 0)
        return;
    begin_part(h, role);
    json_member(h->w, "text", text);
    json_end_object(h->w);
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
static struct span sound_type(struct history *h, struct span mime)
{
    if (span_find_char(mime, '/') < 0)
        return arena_printf(h->run->arena, "audio/%.*s", SPAN_ARGS(mime));
    return span_eq_nocase(mime, SPAN("audio/mpeg")) ? SPAN("audio/mp3") : mime;
}

static int refuse_part(struct history *h, const struct message *m, const struct part *p,
                       const char *why)
{
    char param[PART_PLACE_SIZE];
    part_place(h->turn, m, p, param);
    return fail_param(h->run->fail, FAIL_UNSUPPORTED, param, "%s cannot be sent to %.*s: %s", param,
                      SPAN_ARGS(h->run->site->name), why);
}

static int write_inline(struct history *h, const char *role, struct span mime, struct span base64)
{
    if (!mime.p)
        return no_memory(h);
    begin_part(h, role);
    json_key(h->w, "inlineData");
    json_begin_object(h->w);
    json_member(h->w, "mimeType", mime);
    json_member(h->w, "data", base64);
    json_end_object(h->w);
    json_end_object(h->w);
    return 0;
}

static int write_picture(struct history *h, const char *role, const struct message *m,
                         const struct part *p)
{
    struct span type = picture_type(part_picture_type(h->run, p));
    if (!part_has_data(p))
        return refuse_part(h, m, p,
                           "its picture stands at an address; send a data: URL, or set "
                           "server.fetch_images");
    if (!type.p)
        return refuse_part(h, m, p, "Gemini reads png, jpeg, webp, heic and heif pictures");
    return write_inline(h, role, type, part_base64(h->run, p));
}

static int write_file(struct history *h, const char *role, const struct message *m,
                      const struct part *p)
{
    if (p->base64.p)
        return write_inline(h, role, p->mime.n ? part_document_type(h->run, p) : SPAN("text/plain"),
                            p->base64);
    if (p->text.n) {
        write_text(h, role, p->text);
        return 0;
    }
    return refuse_part(h, m, p, "only files that come with their content (a data: URL) can");
}

static int write_part(struct history *h, const char *role, const struct message *m,
                      const struct part *p)
{
    switch (p->kind) {
    case PART_TEXT:
    case PART_REFUSAL: write_text(h, role, p->text); return 0;
    case PART_IMAGE: return write_picture(h, role, m, p);
    case PART_AUDIO:
        if (!p->base64.p)
            return refuse_part(h, m, p, "only sound that comes with its data can");
        return write_inline(h, role, sound_type(h, p->mime), p->base64);
    case PART_FILE: return write_file(h, role, m, p);
    case PART_VIDEO: return refuse_part(h, m, p, "videos are not carried over");
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

static int gather_calls(struct history *h)
{
    const struct turn *t = h->turn;
    size_t n = 0;
    for (size_t i = 0; i < t->n_messages; i++)
        n += t->messages[i].n_tool_calls;
    h->calls = arena_alloc(h->run->arena, (n ? n : 1) * sizeof *h->calls);
    if (!h->calls)
        return no_memory(h);
    for (size_t i = 0; i < t->n_messages; i++) {
        for (size_t k = 0; k < t->messages[i].n_tool_calls; k++) {
            const struct tool_call *call = &t->messages[i].tool_calls[k];
            h->calls[h->n_calls] = (struct known_call){
                .hash = span_hash(SPAN_HASH, call->id), .place = h->n_calls, .call = call};
            h->n_calls++;
        }
    }
    if (n)
        qsort(h->calls, n, sizeof *h->calls, by_hash);
    return 0;
}

/* The last call of that id before `place`: clients use ids again. */
static struct known_call *find_call(struct history *h, struct span id, size_t place)
{
    struct known_call key = {.hash = span_hash(SPAN_HASH, id), .place = place};
    size_t low = 0, high = h->n_calls;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_hash(&h->calls[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    while (low-- > 0 && h->calls[low].hash == key.hash) {
        if (span_eq(h->calls[low].call->id, id))
            return &h->calls[low];
    }
    return NULL;
}

/* The proof of the thinking that led to a call: from the call, else remembered, else ""; and the
 * site's own id of it. Written by gemini_stream.c as {"signature","id"}. The proof is valid until
 * the parser's next document. */
static int find_proof(struct history *h, struct known_call *known, struct span *proof)
{
    struct turn_run *run = h->run;
    struct json root;
    const struct tool_call *call = known->call;
    *proof = SPAN("");
    if (call->extra_content.n && json_parse(run->json, call->extra_content, &root) == JSON_OK)
        *proof = arena_dup(run->arena, json_text(json_path(root, "google", "thought_signature")));
    struct span remembered =
        call->id.n ? run_recall(run, gemini_call_key(run, call->id)) : span_of(NULL, 0);
    if (remembered.n && json_parse(run->json, remembered, &root) == JSON_OK) {
        known->function_id = arena_dup(run->arena, json_get_text(root, "id"));
        if (!known->function_id.p)
            return no_memory(h);
        struct span signature = json_get_text(root, "signature");
        if (!proof->n && signature.n)
            *proof = signature;
    }
    return proof->p ? 0 : no_memory(h);
}

/* `first`: of its content. Gemini 3 refuses it without a proof (§4.2). */
static int write_call(struct history *h, const struct message *m, size_t k,
                      struct known_call *known, bool first)
{
    struct span args, proof;
    if (call_arguments(h->run, m, k, &args) || find_proof(h, known, &proof))
        return -1;
    if (!proof.n && first && gemini_version(h->gemini->model) >= 30)
        proof = NO_PROOF;
    begin_part(h, "model");
    json_key(h->w, "functionCall");
    json_begin_object(h->w);
    if (known->function_id.n)
        json_member(h->w, "id", known->function_id);
    if (write_name(h, m->tool_calls[k].name))
        return -1;
    json_member_raw(h->w, "args", args);
    json_end_object(h->w);
    if (proof.n)
        json_member(h->w, "thoughtSignature", proof);
    json_end_object(h->w);
    return 0;
}

/* Parts and calls in their order. */
static int write_answer(struct history *h, const struct message *m, size_t place, bool *called)
{
    size_t k = 0;
    for (size_t i = 0; i <= m->n_parts; i++) {
        for (; k < m->n_tool_calls && (i == m->n_parts || m->tool_calls[k].after <= i); k++) {
            struct known_call *known = find_call(h, m->tool_calls[k].id, place + k + 1);
            if (write_call(h, m, k, known, !*called))
                return -1;
            *called = true;
        }
        if (i < m->n_parts && write_part(h, "model", m, &m->parts[i]))
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
static struct span result_text(struct history *h, const struct message *m)
{
    const struct part *only = NULL;
    struct buffer text;
    for (size_t i = 0; i < m->n_parts; i++) {
        bool is_text = m->parts[i].kind == PART_TEXT || m->parts[i].kind == PART_REFUSAL;
        if (is_text && only) {
            buffer_init(&text, TEXT_LIMIT);
            for (i = 0; i < m->n_parts; i++) {
                if (m->parts[i].kind != PART_TEXT && m->parts[i].kind != PART_REFUSAL)
                    continue;
                if (text.n)
                    buffer_char(&text, '\n');
                buffer_append(&text, m->parts[i].text);
            }
            struct span whole =
                text.error ? span_of(NULL, 0) : arena_dup(h->run->arena, buffer_span(&text));
            buffer_free(&text);
            return whole;
        }
        if (is_text)
            only = &m->parts[i];
    }
    return only ? only->text : SPAN("");
}

/* An object as it is; anything else, and what went wrong, under a word of Google's. */
static int write_response(struct history *h, const struct message *m)
{
    struct json root;
    struct span text = result_text(h, m), trimmed = span_trim(text);
    if (!text.p)
        return no_memory(h);
    bool is_json = trimmed.n && json_parse(h->run->json, trimmed, &root) == JSON_OK;
    json_key(h->w, "response");
    if (is_json && json_is(root, JSON_OBJECT) && !m->is_error) {
        json_raw_value(h->w, trimmed);
        return 0;
    }
    const char *key = m->is_error ? "error" : "output";
    json_begin_object(h->w);
    if (is_json)
        json_member_raw(h->w, key, trimmed);
    else
        json_member(h->w, key, text);
    json_end_object(h->w);
    return 0;
}

static int write_result(struct history *h, const struct result *r)
{
    begin_part(h, "user");
    json_key(h->w, "functionResponse");
    json_begin_object(h->w);
    if (r->call && r->call->function_id.n)
        json_member(h->w, "id", r->call->function_id);
    if (write_name(h, r->call ? r->call->call->name : r->message->name) ||
        write_response(h, r->message))
        return -1;
    json_end_object(h->w);
    json_end_object(h->w);
    return 0;
}

/* Which call each of these messages answers. */
static int find_results(struct history *h, const struct message *messages, size_t n, size_t place,
                        struct result *results)
{
    for (size_t i = 0; i < n; i++) {
        const struct message *m = &messages[i];
        char param[PART_PLACE_SIZE];
        results[i].message = m;
        results[i].call = find_call(h, m->tool_call_id, place);
        results[i].place = results[i].call ? results[i].call->place : place + i;
        if (results[i].call || m->name.n) /* the old role "function" tells the name alone */
            continue;
        message_place(h->turn, m, "tool_call_id", param);
        return fail_param(h->run->fail, FAIL_INVALID_VALUE, param,
                          "%s is the id of no tool call before it: Gemini needs to know which "
                          "function was called",
                          param);
    }
    return 0;
}

/* A run of results is one content, in the order of the calls; what they show besides text stands
 * behind them all, for nothing may stand between a call and its answer. */
static int write_results(struct history *h, const struct message *messages, size_t n, size_t place)
{
    struct result *results = arena_alloc(h->run->arena, n * sizeof *results);
    if (!results)
        return no_memory(h);
    if (find_results(h, messages, n, place, results))
        return -1;
    qsort(results, n, sizeof *results, by_place);
    for (size_t i = 0; i < n; i++) {
        if (write_result(h, &results[i]))
            return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const struct message *m = results[i].message;
        for (size_t k = 0; k < m->n_parts; k++) {
            bool is_text = m->parts[k].kind == PART_TEXT || m->parts[k].kind == PART_REFUSAL;
            if (!is_text && write_part(h, "user", m, &m->parts[k]))
                return -1;
        }
    }
    return 0;
}

/* ---- the conversation ---- */

/* Somebody's name has no field: it stands before the words, as in prompts of plain text. */
static int write_speaker(struct history *h, const char *role, const struct message *m)
{
    if (!m->name.n || !m->n_parts)
        return 0;
    struct span line = arena_printf(h->run->arena, "%s (%.*s): ", role, SPAN_ARGS(m->name));
    if (!line.p)
        return no_memory(h);
    write_text(h, role, line);
    return 0;
}

static int write_message(struct history *h, const struct message *m)
{
    if (m->role == ROLE_USER && write_speaker(h, "user", m))
        return -1;
    for (size_t i = 0; i < m->n_parts; i++) {
        if (write_part(h, "user", m, &m->parts[i]))
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
static int write_messages(struct history *h)
{
    const struct turn *t = h->turn;
    bool alone = only_system(t), called = false;
    size_t place = 0, n;
    int error = 0;
    for (size_t i = 0; i < t->n_messages && !error; i += n) {
        const struct message *m = &t->messages[i];
        n = 1;
        if (!h->role || strcmp(h->role, "model") != 0)
            called = false;
        switch (m->role) {
        case ROLE_SYSTEM: error = alone ? write_message(h, m) : 0; break;
        case ROLE_USER: error = write_message(h, m); break;
        case ROLE_ASSISTANT:
            error = write_answer(h, m, place, &called);
            place += m->n_tool_calls;
            break;
        case ROLE_TOOL:
            while (i + n < t->n_messages && t->messages[i + n].role == ROLE_TOOL)
                n++;
            error = write_results(h, m, n, place);
            break;
        }
    }
    return error;
}

static int write_contents(struct history *h)
{
    json_key(h->w, "contents");
    json_begin_array(h->w);
    size_t before = h->w->out->n;
    if (write_messages(h))
        return -1;
    if (h->w->out->n == before && !h->w->out->error)
        return fail_param(h->run->fail, FAIL_INVALID_VALUE, "messages",
                          "messages hold no text, no picture and no call: there is nothing to "
                          "answer");
    if (h->role && strcmp(h->role, "model") == 0) /* a prefill: Gemini wants the user last */
        write_text(h, "user", GO_ON);
    end_content(h);
    json_end_array(h->w);
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

static void write_system(struct history *h)
{
    const struct turn *t = h->turn;
    bool any = false;
    for (size_t i = 0; i < t->n_messages && !any; i++)
        any = t->messages[i].role == ROLE_SYSTEM && has_text(&t->messages[i]);
    if (!any || only_system(t))
        return;
    json_key(h->w, "systemInstruction");
    json_begin_object(h->w);
    json_key(h->w, "parts");
    json_begin_array(h->w);
    for (size_t i = 0; i < t->n_messages; i++) {
        const struct message *m = &t->messages[i];
        for (size_t k = 0; m->role == ROLE_SYSTEM && k < m->n_parts; k++) {
            if (m->parts[k].kind != PART_TEXT || !m->parts[k].text.n)
                continue;
            json_begin_object(h->w);
            json_member(h->w, "text", m->parts[k].text);
            json_end_object(h->w);
        }
    }
    json_end_array(h->w);
    json_end_object(h->w);
}

int gemini_contents(struct turn_run *run, struct gemini *g, struct json_writer *w)
{
    struct history h = {.run = run, .gemini = g, .turn = run->turn, .w = w};
    write_system(&h);
    return gather_calls(&h) || write_contents(&h) ? -1 : 0;
}
