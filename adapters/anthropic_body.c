/*
 * adapters/anthropic_body.c - the request's parameters and forms (sites/anthropic.md §4.3-§4.5).
 *
 * The hard part: what may be said depends on the model's generation. A turn in Anthropic's own
 * words is not judged here: it goes out as it was said, and the site's answer is the client's.
 */
#include "adapters/anthropic.h"
#include "base/json_raw.h"

enum {
    BODY_LIMIT = 256 * 1024 * 1024,
    DEFAULT_TOKENS = 8192,
    LEAST_BUDGET = 1024,
    INSTRUCTION_LIMIT = 16 * 1024 * 1024,
    SCHEMA_DEPTH_MAX = 64 /* what is deeper goes out as it is: each level is a look at all below */
};

/* ---- small readings ---- */

bool anthropic_raw_is(struct span raw, const char *json)
{
    return raw.p && span_eq(raw, span_str(json));
}

bool anthropic_is_open(const struct anthropic_body *b, const char *key)
{
    return !json_raw_has(b->run->turn->extra, span_str(key)) || !b->same;
}

/* ---- thinking (§4.4, §4.5) ---- */

/* What is asked for. */
struct wish {
    bool on;
    int64_t budget;
    struct span effort; /* "" = say none */
    int64_t max_tokens;
};

/* The client's own number counts first. */
static int64_t budget_of(const struct model_wish *wish)
{
    if (wish->budget >= LEAST_BUDGET)
        return wish->budget;
    switch (wish->effort) {
    case EFFORT_MINIMAL: return 1024;
    case EFFORT_LOW: return 2048;
    case EFFORT_HIGH:
    case EFFORT_XHIGH:
    case EFFORT_MAX: return 16384;
    default: return 8192;
    }
}

static struct span effort_of(const struct anthropic_model *m, enum effort asked)
{
    if (!m->effort)
        return SPAN("");
    switch (asked) {
    case EFFORT_OPEN: return SPAN("");
    case EFFORT_NONE: return m->adaptive ? SPAN("low") : SPAN("");
    case EFFORT_MINIMAL:
    case EFFORT_LOW: return SPAN("low");
    case EFFORT_MEDIUM: return SPAN("medium");
    case EFFORT_XHIGH: return m->xhigh ? SPAN("xhigh") : SPAN("high");
    case EFFORT_MAX: return m->max ? SPAN("max") : SPAN("high");
    case EFFORT_HIGH: break;
    }
    return SPAN("high");
}

/* Does tool_choice name a tool, or any? Thinking does not go with it. */
static bool is_forced(const struct turn *t)
{
    return t->tools_raw.p && t->tool_choice_raw.p &&
           (anthropic_raw_is(t->tool_choice_raw, "\"required\"") ||
            anthropic_raw_is(json_raw_given(t->tool_choice_raw, "type"), "\"function\""));
}

static struct wish wish_of(const struct anthropic_body *b)
{
    const struct turn *t = b->run->turn;
    const struct anthropic_model *m = &b->a->model;
    const struct model_wish *asked_for = &b->a->wish;
    bool minimal = asked_for->effort == EFFORT_MINIMAL;
    struct wish w = {.effort = SPAN("")};
    int64_t most = m->max_tokens ? m->max_tokens : INT64_MAX;
    int64_t asked = t->has_max_tokens ? t->max_tokens : DEFAULT_TOKENS;
    w.max_tokens = asked < most ? asked : most;
    w.on = (asked_for->reasoning == REASONING_ON || minimal) && (m->adaptive || m->budget) &&
           !is_forced(t) && !(b->a->left_out & FIELD_THINKING);
    if (!(b->a->left_out & FIELD_EFFORT))
        w.effort = effort_of(m, asked_for->effort);
    if (!w.on || m->adaptive)
        return w;
    w.budget = budget_of(asked_for);
    int64_t total = asked < most - w.budget ? asked + w.budget : most;
    if (w.budget >= total) /* as much as leaves room for what was asked */
        w.budget = total - w.max_tokens;
    w.on = w.budget >= LEAST_BUDGET;
    if (w.on)
        w.max_tokens = total;
    return w;
}

/* Does the message begin with thinking that the client kept, with its proof? */
static bool begins_with_thinking(const struct message *m)
{
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct part *p = &m->parts[i];
        if (p->kind == PART_THINKING || p->kind == PART_REDACTED) {
            if (p->signature.n)
                return true;
        } else if (!anthropic_is_blank(p->text)) {
            return false;
        }
    }
    return false;
}

/* Thinking that belongs to the calls of the history, kept from former answers: in front of their
 * messages again, unless they bring it themselves. False when there is none for one of them. */
static bool recall_thinking(struct anthropic_body *b, struct span *found)
{
    const struct turn *t = b->run->turn;
    bool all = true;
    for (size_t i = 0; i < t->n_messages; i++) {
        const struct message *m = &t->messages[i];
        bool own = begins_with_thinking(m);
        for (size_t k = 0; k < m->n_tool_calls && !found[i].n && !own; k++) {
            if (m->tool_calls[k].id.n)
                found[i] = run_recall(b->run, anthropic_memory_key(b->run, m->tool_calls[k].id));
        }
        all &= m->n_tool_calls == 0 || found[i].n > 0 || own;
    }
    return all;
}

static int choose_thinking(struct anthropic_body *b, struct wish *w)
{
    const struct anthropic_model *m = &b->a->model;
    *w = wish_of(b);
    if (!w->on && !m->adaptive)
        return 0;
    struct span *found = arena_alloc(b->run->arena, (b->run->turn->n_messages + 1) * sizeof *found);
    if (!found)
        return fail_memory(b->run->fail);
    bool all = recall_thinking(b, found);
    if (!m->adaptive && !all) { /* without its own thinking a call is refused */
        b->a->left_out |= FIELD_THINKING;
        *w = wish_of(b);
        return 0;
    }
    b->thinks = w->on;
    if (!(b->a->left_out & FIELD_THINKING))
        b->put_back = found;
    return 0;
}

static void write_thinking(struct anthropic_body *b, const struct wish *wish)
{
    struct json_writer *w = &b->w;
    if (b->own_thinking) {
        if (b->run->turn->thinking_raw.p && anthropic_is_open(b, "thinking"))
            json_member_raw(w, "thinking", b->run->turn->thinking_raw);
        return;
    }
    if (!b->thinks)
        return;
    b->a->sent |= FIELD_THINKING;
    json_key(w, "thinking");
    json_begin_object(w);
    json_member(w, "type", b->a->model.adaptive ? SPAN("adaptive") : SPAN("enabled"));
    if (b->a->model.adaptive)
        json_member(w, "display", SPAN("summarized"));
    else
        json_member_int(w, "budget_tokens", wish->budget);
    json_end_object(w);
}

/* ---- sampling (§4.4) ---- */

static void write_number(struct anthropic_body *b, const char *key, double value, unsigned field)
{
    json_key(&b->w, key);
    json_write_double(&b->w, value);
    b->a->sent |= field;
}

static void write_sampling(struct anthropic_body *b)
{
    const struct turn *t = b->run->turn;
    const struct anthropic_model *m = &b->a->model;
    unsigned no = b->a->left_out;
    bool free_choice = b->same || (m->sampling && !b->thinks);
    bool temperature = t->has_temperature && free_choice && !(no & FIELD_TEMPERATURE);
    bool top_p = t->has_top_p && !(no & FIELD_TOP_P);
    bool top_k = t->has_top_k && free_choice && !(no & FIELD_TOP_K);
    double heat = t->temperature;
    if (!b->same) {
        heat = heat < 0 ? 0 : heat > 1 ? 1 : heat;
        top_p &= m->sampling && !(temperature && m->one_sampling) && t->top_p >= 0 &&
                 t->top_p <= 1 && (!b->thinks || t->top_p >= 0.95);
        top_k &= t->top_k >= 0;
    }
    if (temperature)
        write_number(b, "temperature", heat, FIELD_TEMPERATURE);
    if (top_p)
        write_number(b, "top_p", t->top_p, FIELD_TOP_P);
    if (top_k) {
        json_member_int(&b->w, "top_k", t->top_k);
        b->a->sent |= FIELD_TOP_K;
    }
}

static void write_stops(struct anthropic_body *b)
{
    const struct turn *t = b->run->turn;
    size_t n = 0;
    for (size_t i = 0; i < t->n_stop; i++)
        n += b->same || !anthropic_is_blank(t->stop[i]);
    if (n == 0)
        return;
    json_key(&b->w, "stop_sequences");
    json_begin_array(&b->w);
    for (size_t i = 0; i < t->n_stop; i++) {
        if (b->same || !anthropic_is_blank(t->stop[i]))
            json_string(&b->w, t->stop[i]);
    }
    json_end_array(&b->w);
}

/* ---- the form of the answer (§4.3) ---- */

static void write_schema(struct json_writer *w, struct span schema, int depth);

static void write_schemas_of(struct json_writer *w, struct span raw, int depth)
{
    struct json_raw_iter it = json_raw_each(raw);
    bool object = json_raw_is_object(raw);
    if (object)
        json_begin_object(w);
    else
        json_begin_array(w);
    while (json_raw_next(&it)) {
        if (object) {
            if (w->comma)
                buffer_char(w->out, ',');
            buffer_append(w->out, span_of(it.key.p - 1, it.key.n + 2));
            buffer_char(w->out, ':');
            w->comma = false;
        }
        write_schema(w, it.value, depth);
    }
    if (object)
        json_end_object(w);
    else
        json_end_array(w);
}

/* Objects of a schema get the additionalProperties:false that the API insists on. */
static void write_schema(struct json_writer *w, struct span schema, int depth)
{
    static const char *const inner[] = {"properties", "$defs", "definitions", "anyOf",
                                        "allOf",      "oneOf", "prefixItems", NULL};
    bool closed = false, object = false;
    struct json_raw_iter it = json_raw_each(schema);
    if (!json_raw_is_object(schema) || depth == SCHEMA_DEPTH_MAX) {
        json_raw_value(w, schema);
        return;
    }
    json_begin_object(w);
    while (json_raw_next(&it)) {
        bool container = it.value.n && (it.value.p[0] == '{' || it.value.p[0] == '[');
        size_t i = 0;
        while (inner[i] && !span_eq(it.key, span_str(inner[i])))
            i++;
        closed |= span_eq(it.key, SPAN("additionalProperties"));
        object |= span_eq(it.key, SPAN("properties")) ||
                  (span_eq(it.key, SPAN("type")) && anthropic_raw_is(it.value, "\"object\""));
        if (w->comma)
            buffer_char(w->out, ',');
        buffer_append(w->out, span_of(it.key.p - 1, it.key.n + 2));
        buffer_char(w->out, ':');
        w->comma = false;
        if (inner[i] && container)
            write_schemas_of(w, it.value, depth + 1);
        else if (span_eq(it.key, SPAN("items")) && container)
            write_schema(w, it.value, depth + 1);
        else
            json_raw_value(w, it.value);
    }
    if (object && !closed)
        json_member_bool(w, "additionalProperties", false);
    json_end_object(w);
}

static struct span wanted_schema(const struct turn *t)
{
    struct span schema =
        json_raw_given(json_raw_given(t->response_format_raw, "json_schema"), "schema");
    return json_raw_is_object(schema) ? schema : span_of(NULL, 0);
}

static bool has_format(const struct anthropic_body *b)
{
    return wanted_schema(b->run->turn).p && (b->same || b->a->model.formats);
}

/* For models without the native form: words in the system's place. */
static int form_instruction(struct anthropic_body *b, struct span *text)
{
    const struct turn *t = b->run->turn;
    struct span schema = wanted_schema(t);
    *text = span_of("", 0);
    if (!t->response_format_raw.p || has_format(b) || b->same)
        return 0;
    struct buffer out;
    buffer_init(&out, INSTRUCTION_LIMIT);
    buffer_append(&out, SPAN("Reply with one JSON object only."));
    if (schema.p) {
        buffer_append(&out, SPAN(" It must match this JSON schema: "));
        buffer_append(&out, schema);
    }
    *text = out.error ? span_of(NULL, 0) : arena_dup(b->run->arena, buffer_span(&out));
    buffer_free(&out);
    return text->p ? 0 : fail_memory(b->run->fail);
}

static void write_output_config(struct anthropic_body *b, struct span effort)
{
    struct json_writer *w = &b->w;
    const struct turn *t = b->run->turn;
    bool format = has_format(b);
    if (b->same)
        effort = t->reasoning_effort;
    if ((!format && !effort.n) || !anthropic_is_open(b, "output_config") ||
        !anthropic_is_open(b, "output_format"))
        return;
    json_key(w, "output_config");
    json_begin_object(w);
    if (effort.n) {
        json_member(w, "effort", effort);
        b->a->sent |= FIELD_EFFORT;
    }
    if (format) {
        json_key(w, "format");
        json_begin_object(w);
        json_member(w, "type", SPAN("json_schema"));
        json_key(w, "schema");
        if (b->same)
            json_raw_value(w, wanted_schema(t));
        else
            write_schema(w, wanted_schema(t), 0);
        json_end_object(w);
    }
    json_end_object(w);
}

/* ---- the whole ---- */

static int write_all(struct anthropic_body *b)
{
    const struct turn *t = b->run->turn;
    struct json_writer *w = &b->w;
    struct wish wish = {.max_tokens = t->max_tokens};
    struct span instruction;
    if ((!b->own_thinking && choose_thinking(b, &wish)) || form_instruction(b, &instruction))
        return -1;
    if (b->own_thinking && !t->has_max_tokens)
        wish.max_tokens = wish_of(b).max_tokens;
    json_begin_object(w);
    json_member(w, "model", b->a->wish.id);
    json_member_int(w, "max_tokens", wish.max_tokens);
    json_member_bool(w, "stream", true);
    if (anthropic_is_open(b, "system") && anthropic_write_system(b, instruction))
        return -1;
    if (anthropic_write_messages(b) || anthropic_write_tools(b))
        return -1;
    write_sampling(b);
    write_stops(b);
    write_thinking(b, &wish);
    write_output_config(b, wish.effort);
    if (b->same)
        anthropic_write_extra(w, t->extra);
    json_end_object(w);
    return 0;
}

int anthropic_write_body(struct turn_run *run, struct anthropic *a, struct span *body)
{
    struct buffer out;
    buffer_init(&out, BODY_LIMIT);
    struct anthropic_body b = {.run = run,
                               .a = a,
                               .w = json_writer(&out),
                               .same = run->turn->dialect == DIALECT_ANTHROPIC};
    b.own_thinking = b.same && a->wish.id.n == run->model.n;
    a->sent = 0;
    int error = write_all(&b);
    if (!error) {
        *body = out.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&out));
        error = body->p ? 0 : fail_memory(run->fail);
    }
    buffer_free(&out);
    return error;
}
