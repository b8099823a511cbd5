/*
 * gateway/tool_body.c - a call's arguments, in each of the forms that they have
 * (tool_parser_internal.h): JSON, parameters as tags, a line of text.
 */
#include "gateway/tool_parser_internal.h"

/* ---- JSON ---- */

void tool_body_begin_json(struct tool_step *s, enum mend_form form, size_t used)
{
    struct tool_parser *p = s->p;
    json_mender_free(&p->mender);
    json_mender_init(&p->mender, form);
    tool_envelope_begin(&p->envelope, p->tool, !p->marked);
    tool_step_go(s, AT_JSON, used);
}

/* What the tokens so far have made of the call. */
static void follow_envelope(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    if (json_mender_is_short(&p->mender) && !p->out.stopped)
        p->out.stopped = TOOL_PARSER_NOMEM;
    if (!p->envelope.pause && (!p->out.open || p->begun))
        return;
    tool_step_begun(s);
    p->begun = p->out.open;
    p->any |= p->envelope.pause;
    p->envelope.pause = false;
}

/* The value is whole, or a mark stands where it cannot go on. */
static void json_over(struct tool_step *s, const struct mend_sink *sink)
{
    struct tool_parser *p = s->p;
    bool listed = p->listed && p->mender.form == MEND_FORM_CALL;
    if (p->mender.depth)
        json_mender_close(&p->mender, sink);
    follow_envelope(s);
    if (!p->any) {
        tool_step_fail(s);
        return;
    }
    p->begun = false;
    s->taken = true;
    buffer_clear(&p->held);
    if (listed) {
        p->tool = NULL;
        p->state = AT_START;
    } else {
        p->gap = true;
        p->state = AT_TEXT;
    }
    s->again = true;
}

static struct mend_sink envelope_sink(struct tool_parser *p)
{
    return (struct mend_sink){tool_envelope_put, &p->envelope, &p->envelope.pause};
}

void tool_body_json(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    const struct mend_sink sink = envelope_sink(p);
    struct span rest = s->in;
    s->taken = p->begun;
    json_mender_read(&p->mender, &rest, s->last, &sink);
    s->used = s->in.n - rest.n;
    follow_envelope(s);
    if (p->envelope.failed)
        tool_step_fail(s);
    else if (p->mender.done)
        json_over(s, &sink);
    else if (p->out.stopped)
        s->again = false;
}

int tool_body_close_json(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    const struct mend_sink sink = envelope_sink(p);
    if (!json_mender_closable(&p->mender))
        return p->begun ? TOOL_PARSER_HALF : 0;
    p->envelope.forced = true;
    json_mender_close(&p->mender, &sink);
    follow_envelope(s);
    if (p->any && !p->envelope.failed)
        p->state = AT_TEXT;
    return 0;
}

/* ---- parameters as tags ---- */

static size_t blanks(struct span in)
{
    size_t n = 0;
    while (n < in.n && mend_blank(in.p[n]))
        n++;
    return n;
}

void tool_body_begin_value(struct tool_step *s, struct span key, enum tool_text_kind kind,
                           size_t used)
{
    s->p->begins = true;
    s->p->trims = s->p->lines = false;
    tool_values_begin_text(&s->p->out.values, key, kind);
    tool_step_go(s, AT_VALUE, used);
}

void tool_body_parameter(struct tool_step *s)
{
    struct span inside = {NULL, 0};
    if (!tool_step_read_tag(s, &inside)) {
        if (s->p->failed) { /* no tag: the call goes on without it */
            s->p->failed = false;
            tool_step_go(s, AT_MEMBERS, 0);
        }
        return;
    }
    struct span key = tool_tag_attribute(inside, "name", true);
    struct span string = tool_tag_attribute(inside, "string", false);
    enum tool_text_kind kind = span_eq_nocase(string, SPAN("true"))    ? TEXT_IS_STRING
                               : span_eq_nocase(string, SPAN("false")) ? TEXT_IS_JSON
                                                                       : TEXT_BY_SCHEMA;
    buffer_clear(&s->p->closing);
    tool_body_begin_value(s, key, kind, s->used);
}

void tool_body_members(struct tool_step *s)
{
    const unsigned roles = MARK_OPEN | MARK_RESULT | MARK_INNER | MARK_PARAMETER | MARK_KEY |
                           MARK_VALUE | MARK_PARAMETER_END | MARK_END;
    struct tool_parser *p = s->p;
    const struct tool_property *property;
    const struct mark *mark;
    size_t n = blanks(s->in);
    if (n) {
        s->used = n;
        return;
    }
    enum mark_match found = tool_step_match(s, 0, roles, false, &mark, &n);
    if (found == MARK_YES && mark->role == MARK_PARAMETER) {
        s->p->opened = mark;
        tool_step_go(s, AT_PARAMETER, n);
    } else if (found == MARK_YES && mark->role == MARK_KEY) {
        tool_step_go(s, AT_KEY, n);
    } else if (found == MARK_YES && (mark->role & (MARK_INNER | MARK_PARAMETER_END | MARK_VALUE))) {
        s->used = n;
    } else if (found == MARK_YES) {
        tool_step_end_call(s, mark->role == MARK_END ? n : 0);
    } else {
        enum mark_match own = tool_step_property_tag(s, p->tool, &property, &n);
        if (own == MARK_YES) {
            buffer_clear(&p->closing);
            buffer_append(&p->closing, property->name);
            tool_body_begin_value(s, property->name, TEXT_BY_SCHEMA, n);
            return;
        }
        enum mark_match end = tool_step_closing_tag(s, s->in, p->tool->name, &n);
        if (own == MARK_MORE || end == MARK_MORE || found == MARK_MORE)
            return;
        tool_step_end_call(s, end == MARK_YES ? n : 0);
    }
}

/* ---- <arg_key>K</arg_key><arg_value>V</arg_value> ---- */

void tool_body_key(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    struct span in = span_first(s->in, TAG_MAX);
    ptrdiff_t end = span_find_char(in, '<');
    if (end < 0 && in.n < TAG_MAX && !s->last)
        return;
    struct span key = span_trim(span_first(in, end < 0 ? in.n : (size_t)end));
    buffer_clear(&p->key);
    if (buffer_append(&p->key, key))
        p->out.stopped = TOOL_PARSER_NOMEM;
    tool_step_go(s, AT_KEYED, end < 0 ? in.n : (size_t)end);
}

void tool_body_keyed(struct tool_step *s)
{
    const struct mark *mark;
    size_t n = blanks(s->in);
    if (n) {
        s->used = n;
        return;
    }
    enum mark_match found = tool_step_match(s, 0, MARK_INNER | MARK_VALUE, false, &mark, &n);
    if (found == MARK_MORE)
        return;
    if (found == MARK_YES && mark->role == MARK_INNER) {
        s->used = n;
    } else if (found == MARK_YES) {
        buffer_clear(&s->p->closing);
        s->p->opened = mark;
        tool_body_begin_value(s, buffer_span(&s->p->key), TEXT_BY_SCHEMA, n);
    } else {
        tool_step_go(s, AT_MEMBERS, 0);
    }
}

/* ---- a value that is text ---- */

static void add_text(struct tool_step *s, size_t n)
{
    struct tool_out *out = &s->p->out;
    tool_values_add_text(&out->values, span_first(s->in, n));
    if (out->arguments.n >= ARGUMENTS_PIECE)
        tool_out_flush(out);
    s->used = n;
}

/* Does the value end at `from`? *n: what of the mark is read with it. */
static enum mark_match value_ends(const struct tool_step *s, size_t from, size_t *n)
{
    struct tool_parser *p = s->p;
    const struct mark *mark;
    if (p->closing.n)
        return tool_step_closing_tag(s, span_from(s->in, from), buffer_span(&p->closing), n);
    unsigned roles = MARK_PARAMETER_END | MARK_END | (from ? MARK_PARAMETER | MARK_KEY : 0u);
    enum mark_match found = tool_step_match(s, from, roles, false, &mark, n);
    if (found != MARK_YES)
        return found;
    if (mark->role != MARK_PARAMETER_END)
        *n = 0; /* the value's own end is missing */
    else if (!tool_mark_closes(mark, p->opened))
        return MARK_NO; /* <param> in a <parameter> is the value's */
    return MARK_YES;
}

enum { LINE_HALF = 3 };

/* The length of the line break at the front, 0 = none, LINE_HALF = more is needed to tell. */
static size_t line_break(const struct tool_step *s)
{
    if (s->in.p[0] == '\n')
        return 1;
    if (s->in.p[0] != '\r')
        return 0;
    if (s->in.n < 2)
        return s->last ? 0 : LINE_HALF;
    return s->in.p[1] == '\n' ? 2 : 0;
}

void tool_body_value(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    struct span in = s->in;
    size_t n = 0, taken = 0;
    if (p->begins) {
        size_t line = line_break(s);
        if (line == LINE_HALF)
            return;
        p->begins = false;
        p->trims = line > 0;
        if (p->trims) {
            s->used = line;
            return;
        }
    }
    while (n < in.n && in.p[n] != '<' && in.p[n] != '\n' && in.p[n] != '\r')
        n++;
    if (n) {
        add_text(s, n);
        return;
    }
    size_t from = line_break(s);
    if (from == LINE_HALF || (from == in.n && !s->last))
        return;
    bool tag = from < in.n && in.p[from] == '<';
    enum mark_match ends = tag ? value_ends(s, from, &taken) : MARK_NO;
    if (ends == MARK_MORE)
        return;
    if (ends == MARK_NO) {
        p->lines |= from > 0;
        add_text(s, 1);
        return;
    }
    if (from && !p->trims && p->lines && (taken || p->closing.n))
        tool_values_add_text(&p->out.values, span_first(in, from));
    tool_values_end_text(&p->out.values);
    tool_step_go(s, AT_MEMBERS, from + taken);
}

/* ---- ReAct's input that is no JSON ---- */

void tool_body_begin_line(struct tool_step *s)
{
    const struct tool *tool = s->p->tool;
    const struct tool_property *only = NULL;
    for (size_t i = 0; i < tool->n_properties; i++) {
        if (tool->n_properties > 1 && !tool->properties[i].required)
            continue;
        if (only) {
            tool_step_fail(s);
            return;
        }
        only = &tool->properties[i];
    }
    if (!only) {
        tool_step_fail(s);
        return;
    }
    tool_step_begin_call(s);
    tool_values_begin_text(&s->p->out.values, only->name, TEXT_IS_STRING);
    tool_step_go(s, AT_LINE, 0);
}

void tool_body_line(struct tool_step *s)
{
    ptrdiff_t end = span_find_char(s->in, '\n');
    add_text(s, end < 0 ? s->in.n : (size_t)end);
    if (end < 0)
        return;
    tool_values_end_text(&s->p->out.values);
    tool_step_end_call(s, (size_t)end);
}
