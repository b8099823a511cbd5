/*
 * adapters/sophnet_body.c - the chat's request: the client's own text with what each door calls
 * otherwise, and older messages folded into one where that is configured.
 */
#include "adapters/sophnet.h"

#include "base/json_write.h"

#define PUBLIC_PROJECT                                                                             \
    "Ar79PWUQUAhjJOja2orHs" /* the playground page's own, the same for everybody */

/* ---- names ---- */

struct span sophnet_project(const struct turn_run *run)
{
    return site_option_text(run->site, "project", SPAN(PUBLIC_PROJECT));
}

struct span sophnet_without_search(struct span id)
{
    if (id.n > 7 && (span_ends(id, SPAN("-Search")) || span_ends(id, SPAN("-search"))))
        id.n -= 7;
    return id;
}

static struct span model_of(const struct turn_run *run)
{
    return run->model.n ? run->model : site_option_text(run->site, "default_model", SPAN(""));
}

/* ---- messages ---- */

/* A stop text becomes a list of one: {NULL,0} = it is a list already, or absent. */
static int list_of_stops(struct turn_run *run, struct span *out)
{
    struct span given = json_raw_get(run->turn->raw, "stop");
    *out = span_of(NULL, 0);
    if (given.n == 0 || given.p[0] != '"')
        return 0;
    *out = arena_printf(run->arena, "[%.*s]", SPAN_ARGS(given));
    return out->p ? 0 : fail_memory(run->fail);
}

static bool raw_text_is(struct span raw, struct span text)
{
    return raw.n >= 2 && raw.p[0] == '"' && json_raw_key_is(span_of(raw.p + 1, raw.n - 2), text);
}

static void add_element(struct buffer *out, struct span raw)
{
    if (out->n && out->p[out->n - 1] != '[')
        buffer_char(out, ',');
    buffer_append(out, raw);
}

/* One message as the client wrote it, but for the role that the site does not know. */
static void add_message(struct buffer *out, struct span raw)
{
    struct span role = json_raw_get(raw, "role");
    if (!raw_text_is(role, SPAN("developer"))) {
        add_element(out, raw);
        return;
    }
    add_element(out, span_of(raw.p, (size_t)(role.p - raw.p)));
    buffer_append(out, SPAN("\"system\""));
    buffer_append(out, span_of(role.p + role.n, (size_t)(raw.p + raw.n - role.p - role.n)));
}

/* How many messages at the start of the conversation are folded into one; 0 = none. */
static size_t folded_count(const struct turn_run *run, enum sophnet_door door)
{
    const struct turn *turn = run->turn;
    int64_t keep = site_option_int(run->site, "fold_history", 0);
    size_t talk = 0, folded = 0;
    if (door != SOPHNET_PLAYGROUND || keep <= 0)
        return 0;
    for (size_t i = 0; i < turn->n_messages; i++)
        talk += turn->messages[i].role != ROLE_SYSTEM;
    if (talk <= (uint64_t)keep)
        return 0;
    for (size_t left = talk; folded < turn->n_messages && left >= (uint64_t)keep; folded++)
        left -= turn->messages[folded].role != ROLE_SYSTEM;
    while (folded < turn->n_messages && turn->messages[folded].role == ROLE_TOOL)
        folded++; /* a result must not lose its call */
    return folded;
}

static bool is_text(const struct part *p)
{
    return p->kind == PART_TEXT || p->kind == PART_REFUSAL;
}

/* Pictures and other parts that are no text, as the client wrote them. */
static void add_other_parts(struct buffer *out, const struct message *m, struct span raw)
{
    struct span content = json_raw_get(raw, "content");
    size_t part = 0;
    if (content.n == 0 || content.p[0] != '[')
        return;
    struct json_raw_iter it = json_raw_each(content);
    for (int index = 0; part < m->n_parts && json_raw_next(&it); index++) {
        if (m->parts[part].index != index)
            continue;
        if (!is_text(&m->parts[part]))
            add_element(out, it.value);
        part++;
    }
}

/* The first `n` messages without the system ones, as one user message. */
static int add_folded(struct turn_run *run, struct buffer *out, struct span raw, size_t n)
{
    struct message *older = arena_alloc(run->arena, n * sizeof *older);
    size_t count = 0;
    bool only_text = true;
    if (!older)
        return fail_memory(run->fail);
    for (size_t i = 0; i < n; i++) {
        const struct message *m = &run->turn->messages[i];
        if (m->role == ROLE_SYSTEM)
            continue;
        for (size_t k = 0; k < m->n_parts; k++)
            only_text &= is_text(&m->parts[k]);
        older[count++] = *m;
    }
    struct span text = flatten_messages(run->arena, older, count);
    if (!text.p)
        return fail_memory(run->fail);
    add_element(out, SPAN("{\"role\":\"user\",\"content\":"));
    if (!only_text)
        buffer_append(out, SPAN("[{\"type\":\"text\",\"text\":"));
    struct json_writer w = json_writer(out);
    json_string(&w, text);
    if (!only_text) {
        buffer_char(out, '}');
        struct json_raw_iter it = json_raw_each(raw);
        for (size_t i = 0; i < n && json_raw_next(&it); i++) {
            if (run->turn->messages[i].role != ROLE_SYSTEM)
                add_other_parts(out, &run->turn->messages[i], it.value);
        }
        buffer_char(out, ']');
    }
    buffer_char(out, '}');
    return 0;
}

static bool has_developer(struct span raw)
{
    struct json_raw_iter it = json_raw_each(raw);
    while (json_raw_next(&it)) {
        if (raw_text_is(json_raw_get(it.value, "role"), SPAN("developer")))
            return true;
    }
    return false;
}

/* The messages, when they must be changed: {NULL,0} = as the client sent them. */
static int write_messages(struct turn_run *run, enum sophnet_door door, struct span *out)
{
    struct span raw = json_raw_get(run->turn->raw, "messages");
    size_t folded = folded_count(run, door);
    struct buffer b;
    *out = span_of(NULL, 0);
    if (!folded && !has_developer(raw))
        return 0;
    buffer_init(&b, raw.n * 7 + 4096); /* folded text may be escaped anew */
    buffer_char(&b, '[');
    struct json_raw_iter it = json_raw_each(raw);
    int error = 0;
    for (size_t i = 0; json_raw_next(&it); i++) {
        if (i < folded && run->turn->messages[i].role != ROLE_SYSTEM)
            continue;
        if (i == folded && folded)
            error |= add_folded(run, &b, raw, folded);
        add_message(&b, it.value);
    }
    if (folded == run->turn->n_messages)
        error |= add_folded(run, &b, raw, folded);
    buffer_char(&b, ']');
    if (!error && !b.error)
        *out = arena_dup(run->arena, buffer_span(&b));
    buffer_free(&b);
    return out->p ? 0 : fail_memory(run->fail);
}

/* ---- the whole ---- */

int sophnet_write_body(struct turn_run *run, enum sophnet_door door, struct span *body)
{
    struct body_edit edits[8 + SOPHNET_REASONING_EDITS + OPENAI_DEFAULTS_MAX];
    struct span model = model_of(run), messages, stop;
    bool search = door == SOPHNET_PLAYGROUND && sophnet_without_search(model).n != model.n;
    size_t n = 0;

    if (write_messages(run, door, &messages) || list_of_stops(run, &stop))
        return -1;
    if (search)
        model = sophnet_without_search(model);
    struct span name = openai_raw_string(run, model);
    if (!name.p)
        return fail_memory(run->fail);
    edits[n++] = (struct body_edit){
        .key = "model", .as = door == SOPHNET_PLAYGROUND ? "model_id" : NULL, .value = name};
    if (messages.p)
        edits[n++] = (struct body_edit){.key = "messages", .value = messages};
    if (stop.p)
        edits[n++] = (struct body_edit){.key = "stop", .value = stop};
    if (run->turn->stream && site_option_bool(run->site, "ask_usage", false)) {
        struct span asked = openai_usage_asked(run);
        if (!asked.p)
            return fail_memory(run->fail);
        edits[n++] = (struct body_edit){.key = "stream_options", .value = asked};
    }
    if (door == SOPHNET_PLAYGROUND) {
        edits[n++] = (struct body_edit){.key = "stream",
                                        .value = run->turn->stream ? SPAN("true") : SPAN("false")};
        edits[n++] = (struct body_edit){.key = "model_id"}; /* ours is the one above */
        edits[n++] =
            (struct body_edit){.key = "headers"}; /* the page's server takes orders from it */
        if (search)
            edits[n++] = (struct body_edit){.key = "webSearchEnable", .value = SPAN("true")};
    }
    int reasoning = door == SOPHNET_OFFICIAL ? sophnet_tell_reasoning(run, edits + n) : 0;
    if (reasoning < 0)
        return -1;
    n += (size_t)reasoning;
    int defaults = openai_defaults(run, edits + n);
    return defaults < 0 ? -1 : openai_edit_body(run, edits, n + (size_t)defaults, body);
}

struct span sophnet_chat_target(struct turn_run *run, enum sophnet_door door)
{
    if (run->site->path.n)
        return run->site->path;
    if (door == SOPHNET_OFFICIAL)
        return SPAN("/api/open-apis/v1/chat/completions");
    struct buffer path;
    buffer_init(&path, 4096);
    buffer_append(&path, SPAN("/api/open-apis/projects/"));
    percent_encode(&path, sophnet_project(run));
    buffer_append(&path, SPAN("/chat/completions"));
    struct span target = path.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&path));
    buffer_free(&path);
    return target;
}
