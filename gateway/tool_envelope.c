/*
 * gateway/tool_envelope.c - see tool_envelope.h.
 *
 * Between members it reads the structure; a member's value goes down a route until it is over.
 */
#include "gateway/tool_envelope.h"

enum { NAME_MAX_LENGTH = 256 };

void tool_envelope_init(struct tool_envelope *e, const struct tool_list *list, struct tool_out *out)
{
    *e = (struct tool_envelope){.list = list, .out = out};
    buffer_init(&e->name, NAME_MAX_LENGTH);
    buffer_init(&e->key, MEND_KEY_MAX);
    buffer_init(&e->arguments, TOOL_HELD_MAX);
    buffer_init(&e->members, TOOL_HELD_MAX);
    buffer_init(&e->nested_text, SIZE_MAX);
    json_mender_init(&e->nested, MEND_FORM_VALUE);
}

void tool_envelope_free(struct tool_envelope *e)
{
    buffer_free(&e->name);
    buffer_free(&e->key);
    buffer_free(&e->arguments);
    buffer_free(&e->members);
    buffer_free(&e->nested_text);
    json_mender_free(&e->nested);
}

static void begin_call(struct tool_envelope *e)
{
    e->tool = e->preset;
    e->begun = e->flat = e->replaying = false;
    e->had_arguments = e->preset != NULL;
    e->route = ROUTE_NONE;
    e->inner = 0;
    buffer_shrink(&e->name, NAME_MAX_LENGTH);
    buffer_shrink(&e->arguments, 0);
    buffer_shrink(&e->members, 0);
}

void tool_envelope_begin(struct tool_envelope *e, const struct tool *preset, bool strict)
{
    e->preset = preset;
    e->strict = strict;
    e->failed = e->forced = e->pause = false;
    e->depth = 0;
    begin_call(e);
}

/* ---- members ---- */

static enum envelope_role role_of(struct span key)
{
    static const struct {
        struct span key;
        enum envelope_role role;
    } keys[] = {
        {SPAN_INIT("name"), ROLE_NAME},
        {SPAN_INIT("tool"), ROLE_FUNCTION},
        {SPAN_INIT("tool_name"), ROLE_NAME},
        {SPAN_INIT("toolName"), ROLE_NAME},
        {SPAN_INIT("function_name"), ROLE_NAME},
        {SPAN_INIT("recipient_name"), ROLE_NAME},
        {SPAN_INIT("action"), ROLE_NAME},
        {SPAN_INIT("function"), ROLE_FUNCTION},
        {SPAN_INIT("function_call"), ROLE_FUNCTION},
        {SPAN_INIT("tool_call"), ROLE_FUNCTION},
        {SPAN_INIT("arguments"), ROLE_ARGUMENTS},
        {SPAN_INIT("argument"), ROLE_ARGUMENTS},
        {SPAN_INIT("parameters"), ROLE_ARGUMENTS},
        {SPAN_INIT("args"), ROLE_ARGUMENTS},
        {SPAN_INIT("input"), ROLE_ARGUMENTS},
        {SPAN_INIT("params"), ROLE_ARGUMENTS},
        {SPAN_INIT("kwargs"), ROLE_ARGUMENTS},
        {SPAN_INIT("tool_input"), ROLE_ARGUMENTS},
        {SPAN_INIT("action_input"), ROLE_ARGUMENTS},
        {SPAN_INIT("tool_args"), ROLE_ARGUMENTS},
        {SPAN_INIT("tool_arguments"), ROLE_ARGUMENTS},
        {SPAN_INIT("tool_parameters"), ROLE_ARGUMENTS},
        {SPAN_INIT("tool_calls"), ROLE_LIST},
        {SPAN_INIT("function_calls"), ROLE_LIST},
        {SPAN_INIT("calls"), ROLE_LIST},
        {SPAN_INIT("tool_uses"), ROLE_LIST},
        {SPAN_INIT("id"), ROLE_LABEL},
        {SPAN_INIT("type"), ROLE_LABEL},
        {SPAN_INIT("index"), ROLE_LABEL},
        {SPAN_INIT("role"), ROLE_LABEL},
        {SPAN_INIT("content"), ROLE_LABEL},
        {SPAN_INIT("call_id"), ROLE_LABEL},
        {SPAN_INIT("tool_call_id"), ROLE_LABEL},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (span_eq(key, keys[i].key))
            return keys[i].role;
    }
    return ROLE_OTHER;
}

static const struct tool_property *property(const struct tool_envelope *e)
{
    return e->tool ? tool_find_property(e->tool, buffer_span(&e->key)) : NULL;
}

/* A call that has begun is one: what is odd in it is left out. */
static void fail(struct tool_envelope *e) { e->failed = e->failed || !e->begun; }

static void check(struct tool_envelope *e, int error)
{
    if (error == BUFFER_NOMEM && !e->out->stopped)
        e->out->stopped = TOOL_PARSER_NOMEM;
    if (error)
        fail(e);
}

static void set_key(struct tool_envelope *e, struct span key)
{
    buffer_clear(&e->key);
    check(e, buffer_append(&e->key, key));
    e->role = role_of(key);
    bool own = property(e) && (e->preset || e->replaying);
    if (own || (e->preset && e->role != ROLE_ARGUMENTS && e->role != ROLE_NAME) ||
        (e->preset && !key.p))
        e->role = ROLE_OTHER;
}

/* ---- beginning, and what came before the name ---- */

struct members {
    struct tool_envelope *e;
    int depth;
};

/* A token of an object, the outermost braces left out. */
static int put_member(void *owner, enum mend_token token, struct span text)
{
    struct members *m = owner;
    bool opens = token == MEND_OBJECT || token == MEND_ARRAY;
    bool closes = token == MEND_OBJECT_END || token == MEND_ARRAY_END;
    if ((opens && m->depth++ == 0) || (closes && --m->depth == 0))
        return 0;
    return tool_envelope_put(m->e, token, text);
}

/* The same tokens again, now that the tool is known. */
static void replay(struct tool_envelope *e, struct buffer *held, const struct mend_sink *sink)
{
    struct json_mender m;
    struct buffer text = *held;
    struct span in = buffer_span(&text);
    buffer_init(held, TOOL_HELD_MAX);
    json_mender_init(&m, MEND_FORM_VALUE);
    json_mender_read(&m, &in, true, sink);
    if (json_mender_is_short(&m))
        check(e, BUFFER_NOMEM);
    json_mender_free(&m);
    buffer_free(&text);
}

static void replay_members(struct tool_envelope *e)
{
    struct members owner = {e, 0};
    const struct mend_sink sink = {put_member, &owner, NULL};
    struct buffer key = e->key; /* of the member whose value is about to come */
    enum envelope_role role = e->role;
    if (!e->members.n)
        return;
    check(e, buffer_char(&e->members, '}'));
    buffer_init(&e->key, MEND_KEY_MAX);
    e->replaying = true;
    replay(e, &e->members, &sink);
    e->replaying = false;
    buffer_free(&e->key);
    e->key = key;
    e->role = role;
}

static void begin(struct tool_envelope *e, bool flat)
{
    if (e->begun)
        return;
    e->begun = true;
    e->flat = flat;
    tool_out_begin(e->out, e->tool);
    if (flat && !e->replaying)
        replay_members(e);
}

static void name_is_known(struct tool_envelope *e, const struct tool *tool)
{
    const struct mend_sink sink = {tool_envelope_put, e, NULL};
    e->tool = tool;
    if (!tool) {
        fail(e);
    } else if (e->arguments.n) {
        e->role = ROLE_ARGUMENTS;
        buffer_clear(&e->key);
        replay(e, &e->arguments, &sink);
    }
}

/* ---- a member's value ---- */

static void to_call(struct tool_envelope *e, enum mend_token token, struct span text)
{
    tool_values_put(&e->out->values, token, text);
    if (e->out->arguments.n >= ARGUMENTS_PIECE)
        tool_out_flush(e->out);
}

static void begin_record(struct tool_envelope *e, struct buffer *record)
{
    e->route = ROUTE_RECORD;
    e->record = record;
    e->recorder = json_writer(record);
}

/* An argument beside the name. */
static void begin_argument(struct tool_envelope *e, struct span key)
{
    begin(e, true);
    to_call(e, MEND_KEY, key);
    e->route = ROUTE_ARGUMENT;
}

/* The value of "arguments" that is no object: an argument of that name, or none of a call. */
static void begin_odd_argument(struct tool_envelope *e)
{
    const struct tool_property *p = property(e);
    if (!p || e->begun)
        e->route = ROUTE_SKIP;
    else
        begin_argument(e, p->name);
    if (!p)
        fail(e);
}

static void route_arguments(struct tool_envelope *e, enum mend_token token, struct span text)
{
    e->had_arguments = true;
    if (!e->tool) {
        begin_record(e, &e->arguments);
    } else if (e->begun && !e->flat) {
        e->route = ROUTE_SKIP; /* a second time */
    } else if (token == MEND_OBJECT) {
        begin(e, false);
        e->route = ROUTE_ARGUMENTS;
    } else if (token == MEND_STRING) {
        e->route = ROUTE_TEXT;
    } else if (token == MEND_WORD && span_eq(text, SPAN("null"))) {
        e->route = ROUTE_SKIP; /* none */
    } else {
        begin_odd_argument(e);
    }
}

static void record_member(struct tool_envelope *e)
{
    struct json_writer w = json_writer(&e->members);
    if (!e->members.n)
        buffer_char(&e->members, '{');
    else
        w.comma = true;
    json_key_span(&w, buffer_span(&e->key));
    begin_record(e, &e->members);
}

static void route_other(struct tool_envelope *e, enum mend_token token, struct span text)
{
    bool own = property(e) != NULL;
    const struct tool *named =
        e->tool || token != MEND_OBJECT ? NULL : tool_list_find(e->list, buffer_span(&e->key));
    if (named) { /* {"NAME": {…}} */
        e->tool = named;
        route_arguments(e, token, text);
    } else if (e->preset || own || (e->begun && e->flat && !e->replaying)) {
        if (e->begun && !e->flat)
            e->route = ROUTE_SKIP;
        else
            begin_argument(e, buffer_span(&e->key));
    } else if (e->replaying || e->begun) {
        e->route = ROUTE_SKIP;
    } else if (e->strict) {
        e->route = ROUTE_SKIP; /* an answer in JSON, not a call */
        fail(e);
    } else {
        record_member(e);
    }
}

static void begin_value(struct tool_envelope *e, enum mend_token token, struct span text)
{
    bool labels = e->role == ROLE_LABEL || e->role == ROLE_LIST;
    if ((e->role == ROLE_NAME || e->role == ROLE_FUNCTION) && token == MEND_STRING && !e->tool) {
        buffer_clear(&e->name);
        e->route = ROUTE_NAME;
    } else if (e->role == ROLE_ARGUMENTS) {
        route_arguments(e, token, text);
    } else if (labels && !e->begun && !e->replaying) {
        record_member(e);
    } else if (e->role == ROLE_OTHER) {
        route_other(e, token, text);
    } else {
        e->route = ROUTE_SKIP;
    }
}

/* ---- arguments in a string ---- */

static int put_nested(void *owner, enum mend_token token, struct span text)
{
    struct tool_envelope *e = owner;
    bool opens = token == MEND_OBJECT || token == MEND_ARRAY;
    bool closes = token == MEND_OBJECT_END || token == MEND_ARRAY_END;
    if (!((opens && e->nested_depth++ == 0) || (closes && --e->nested_depth == 0)))
        to_call(e, token, text);
    return e->out->stopped;
}

static void read_nested(struct tool_envelope *e, struct span text, bool last)
{
    const struct mend_sink sink = {put_nested, e, NULL};
    struct span in;
    if (buffer_append(&e->nested_text, text))
        check(e, BUFFER_NOMEM);
    in = buffer_span(&e->nested_text);
    size_t n = in.n;
    if (e->nested.done)
        in.n = 0;
    else
        json_mender_read(&e->nested, &in, last, &sink);
    buffer_consume(&e->nested_text, n - in.n);
    if (last)
        json_mender_close(&e->nested, &sink);
    if (json_mender_is_short(&e->nested))
        check(e, BUFFER_NOMEM);
}

static void begin_nested(struct tool_envelope *e)
{
    begin(e, false);
    e->route = ROUTE_NESTED;
    e->nested_depth = 0;
    buffer_clear(&e->nested_text);
    json_mender_free(&e->nested);
    json_mender_init(&e->nested, MEND_FORM_VALUE);
}

static void route_text(struct tool_envelope *e, enum mend_token token, struct span text)
{
    if (token == MEND_STRING_END) { /* "": none */
        e->route = ROUTE_NONE;
        return;
    }
    struct span t = text;
    while (t.n && mend_blank(t.p[0]))
        t = span_from(t, 1);
    if (!t.n)
        return;
    if (t.p[0] == '{') {
        begin_nested(e);
        read_nested(e, t, false);
        return;
    }
    begin_odd_argument(e);
    if (e->route == ROUTE_ARGUMENT) {
        to_call(e, MEND_STRING, SPAN(""));
        to_call(e, MEND_TEXT, t);
    }
}

/* ---- routes ---- */

static void add_name(struct tool_envelope *e, enum mend_token token, struct span text)
{
    if (token == MEND_TEXT && buffer_append(&e->name, text) == BUFFER_NOMEM)
        check(e, BUFFER_NOMEM);
    if (token != MEND_STRING_END)
        return;
    e->route = ROUTE_NONE;
    name_is_known(e, e->name.error ? NULL : tool_list_find_like(e->list, buffer_span(&e->name)));
}

static void pass_value(struct tool_envelope *e, enum mend_token token, struct span text)
{
    bool outer = e->route == ROUTE_ARGUMENTS && e->inner == 0;
    if (token == MEND_OBJECT || token == MEND_ARRAY)
        e->inner++;
    if (token == MEND_OBJECT_END || token == MEND_ARRAY_END)
        e->inner--;
    outer |= e->route == ROUTE_ARGUMENTS && e->inner == 0;
    if (e->route == ROUTE_RECORD) {
        mend_write(&e->recorder, token, text);
        check(e, e->record->error);
    } else if (e->route != ROUTE_SKIP && !outer) {
        to_call(e, token, text);
    }
    if (e->inner == 0 && token != MEND_STRING && token != MEND_TEXT && token != MEND_KEY)
        e->route = ROUTE_NONE;
}

static void pass(struct tool_envelope *e, enum mend_token token, struct span text)
{
    switch (e->route) {
    case ROUTE_NAME: add_name(e, token, text); break;
    case ROUTE_TEXT: route_text(e, token, text); break;
    case ROUTE_NESTED:
        read_nested(e, text, token == MEND_STRING_END);
        if (token == MEND_STRING_END)
            e->route = ROUTE_NONE;
        break;
    default: pass_value(e, token, text);
    }
}

/* ---- structure ---- */

static void push(struct tool_envelope *e, enum envelope_level level)
{
    if (e->depth < ENVELOPE_DEPTH_MAX) {
        e->levels[e->depth++] = level;
        return;
    }
    e->route = ROUTE_SKIP;
    e->inner = 1;
    fail(e);
}

static void end_call(struct tool_envelope *e)
{
    if (e->tool && !e->begun && e->members.n) {
        replay_members(e);
        e->flat = e->begun;
    }
    bool empty = e->had_arguments || (!e->strict && !e->forced);
    if (!e->tool || (!e->begun && !empty)) {
        fail(e);
        return;
    }
    begin(e, false);
    tool_out_end(e->out);
    e->pause = true;
    begin_call(e);
}

static void structure(struct tool_envelope *e, enum mend_token token, struct span text)
{
    enum envelope_level top = e->depth ? e->levels[e->depth - 1] : LEVEL_LIST;
    bool in_call = top == LEVEL_CALL || top == LEVEL_INNER;
    if (token == MEND_KEY) {
        set_key(e, text);
    } else if (token == MEND_OBJECT_END || token == MEND_ARRAY_END) {
        if (top == LEVEL_CALL)
            end_call(e);
        e->depth--;
    } else if (token == MEND_OBJECT && top == LEVEL_LIST) {
        push(e, LEVEL_CALL);
        begin_call(e);
    } else if (token == MEND_ARRAY && top == LEVEL_LIST && !e->preset) {
        push(e, LEVEL_LIST);
    } else if (token == MEND_OBJECT && in_call && e->role == ROLE_FUNCTION) {
        push(e, LEVEL_INNER);
    } else if (token == MEND_ARRAY && top == LEVEL_CALL && e->role == ROLE_LIST) {
        e->levels[e->depth - 1] = LEVEL_WRAPPER;
        push(e, LEVEL_LIST);
    } else if (in_call) {
        begin_value(e, token, text);
        if (e->route != ROUTE_NONE && e->route != ROUTE_NAME && e->route != ROUTE_TEXT)
            pass_value(e, token, text);
    } else if (top == LEVEL_WRAPPER) {
        e->route = ROUTE_SKIP;
        pass_value(e, token, text);
    } else {
        fail(e);
    }
}

int tool_envelope_put(void *envelope, enum mend_token token, struct span text)
{
    struct tool_envelope *e = envelope;
    if (e->route != ROUTE_NONE)
        pass(e, token, text);
    else
        structure(e, token, text);
    return e->failed || e->out->stopped;
}
