/*
 * gateway/tool_head.c - a call's head, up to where its arguments begin: marks, tags, a name
 * (tool_parser_internal.h).
 *
 * One grammar for all dialects: marks may stand in any number and order, then comes the call as
 * JSON, or a name and then its arguments as JSON, as parameters, or in parentheses.
 */
#include "gateway/tool_parser_internal.h"

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("_-.:/", c)) || (unsigned char)c >= 0x80;
}

static size_t blanks(struct span in)
{
    size_t n = 0;
    while (n < in.n && mend_blank(in.p[n]))
        n++;
    return n;
}

/* ---- tags ---- */

enum mark_match tool_step_closing_tag(const struct tool_step *s, struct span in, struct span name,
                                      size_t *n)
{
    size_t length = name.n + 3;
    struct span parts[] = {SPAN("</"), name, SPAN(">")};
    for (size_t i = 0; i < 3; i++) {
        if (!span_starts(in, parts[i]))
            return !s->last && span_starts(parts[i], in) ? MARK_MORE : MARK_NO;
        in = span_from(in, parts[i].n);
    }
    *n = length;
    return MARK_YES;
}

/* "<NAME>" at the front. */
static enum mark_match plain_tag(const struct tool_step *s, struct span name, size_t *n)
{
    struct span in = span_from(s->in, 1);
    if (s->in.p[0] != '<' || !name.n)
        return MARK_NO;
    if (in.n <= name.n)
        return !s->last && span_starts(name, in) ? MARK_MORE : MARK_NO;
    *n = name.n + 2;
    return span_starts(in, name) && in.p[name.n] == '>' ? MARK_YES : MARK_NO;
}

enum mark_match tool_step_tool_tag(const struct tool_step *s, const struct tool **tool, size_t *n)
{
    const struct tool_list *list = s->p->list;
    enum mark_match best = MARK_NO;
    for (size_t i = 0; i < list->n; i++) {
        enum mark_match found = plain_tag(s, list->tools[i].name, n);
        *tool = &list->tools[i];
        if (found == MARK_YES)
            return found;
        if (found == MARK_MORE)
            best = found;
    }
    return best;
}

enum mark_match tool_step_property_tag(const struct tool_step *s, const struct tool *tool,
                                       const struct tool_property **property, size_t *n)
{
    enum mark_match best = MARK_NO;
    for (size_t i = 0; i < tool->n_properties; i++) {
        enum mark_match found = plain_tag(s, tool->properties[i].name, n);
        *property = &tool->properties[i];
        if (found == MARK_YES)
            return found;
        if (found == MARK_MORE)
            best = found;
    }
    return best;
}

static struct span unquoted(struct span value)
{
    value = span_trim(value);
    if (value.n > 1 && (value.p[0] == '"' || value.p[0] == '\'') &&
        value.p[value.n - 1] == value.p[0])
        value = span_of(value.p + 1, value.n - 2);
    return span_trim(value);
}

struct span tool_tag_attribute(struct span inside, const char *name, bool first)
{
    struct span key = span_str(name), rest = span_trim(inside);
    if (first && rest.n && rest.p[0] == '=')
        return unquoted(span_from(rest, 1));
    for (size_t i = 0; i + key.n < rest.n; i++) {
        struct span at = span_from(rest, i);
        if (!span_starts(at, key) || (i && !mend_blank(rest.p[i - 1])))
            continue;
        at = span_trim(span_from(at, key.n));
        if (!span_starts(at, SPAN("=")))
            continue;
        at = span_trim(span_from(at, 1));
        char quote = at.n ? at.p[0] : 0;
        bool quoted = quote == '"' || quote == '\'';
        size_t n = quoted;
        while (n < at.n && (quoted ? at.p[n] != quote : !mend_blank(at.p[n]) && at.p[n] != '/'))
            n++;
        return span_of(at.p + quoted, n - quoted);
    }
    return SPAN("");
}

bool tool_step_read_tag(struct tool_step *s, struct span *inside)
{
    struct span in = span_first(s->in, TAG_MAX);
    size_t n = 0;
    while (n < in.n && in.p[n] != '>' && in.p[n] != '<')
        n++;
    if (n == in.n && in.n < TAG_MAX && !s->last)
        return false;
    if (n == in.n || in.p[n] == '<') {
        tool_step_fail(s);
        return false;
    }
    *inside = span_first(in, n);
    s->used = n + 1;
    s->again = true;
    return true;
}

static void tool_named(struct tool_step *s, struct span name)
{
    s->p->tool = tool_list_find_like(s->p->list, name);
    if (!s->p->tool) {
        s->used = 0;
        tool_step_fail(s);
    }
}

void tool_head_tag(struct tool_step *s)
{
    struct span inside;
    if (!tool_step_read_tag(s, &inside))
        return;
    bool closed = span_ends(inside, SPAN("/"));
    struct span name = tool_tag_attribute(inside, "name", true);
    s->p->state = AT_START;
    if (name.n)
        tool_named(s, name);
    if (closed && !s->p->failed && name.n) {
        tool_step_begin_call(s);
        tool_step_end_call(s, s->used);
    } else if (closed) {
        s->used = 0;
        tool_step_fail(s);
    }
}

/* ---- marks ---- */

void tool_head_open(struct tool_step *s, const struct mark *mark, size_t used)
{
    struct tool_parser *p = s->p;
    p->marked = true;
    p->own_tag = NULL;
    p->second_mark = p->gap ? p->held.n + used + mark->tag : 0;
    p->listed = false;
    p->tool = NULL;
    p->separated = false;
    tool_step_go(s, mark->role == MARK_CHANNEL ? AT_HEADER : mark->tag ? AT_TAG : AT_START, used);
}

static void end_mark(struct tool_step *s, size_t used)
{
    if (!s->p->tool || !s->p->marked) {
        tool_step_fail(s);
        return;
    }
    tool_step_begin_call(s); /* a call without arguments */
    tool_step_end_call(s, used);
    s->p->marked = false;
}

static void head_mark(struct tool_step *s, const struct mark *mark, size_t n)
{
    struct tool_parser *p = s->p;
    switch (mark->role) {
    case MARK_OPEN:
    case MARK_CHANNEL: tool_head_open(s, mark, n); break;
    case MARK_SEPARATOR:
        p->separated = mark->line;
        s->used = n;
        break;
    case MARK_INNER: s->used = n; break;
    case MARK_ID: tool_step_go(s, AT_ID, n); break;
    case MARK_END: end_mark(s, n); break;
    case MARK_KEY:
    case MARK_PARAMETER:
        if (!p->tool) {
            tool_step_fail(s);
            break;
        }
        tool_step_begin_call(s);
        p->opened = mark;
        tool_step_go(s, mark->role == MARK_KEY ? AT_KEY : AT_PARAMETER, n);
        break;
    default: tool_step_fail(s);
    }
}

/* '<' that begins no mark of the table: a tool's or a property's own tag. */
static void own_tag(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    const struct tool_property *property;
    const struct tool *tool;
    size_t n = 0;
    enum mark_match found = p->tool ? tool_step_property_tag(s, p->tool, &property, &n)
                                    : tool_step_tool_tag(s, &tool, &n);
    enum mark_match end =
        p->own_tag ? tool_step_closing_tag(s, s->in, p->own_tag->name, &n) : MARK_NO;
    if (end == MARK_MORE)
        return;
    if (end == MARK_YES) { /* <NAME></NAME> */
        tool_step_begin_call(s);
        tool_step_end_call(s, n);
        return;
    }
    if (found == MARK_NO) {
        tool_step_fail(s);
    } else if (found == MARK_YES && p->tool) {
        tool_step_begin_call(s);
        buffer_clear(&p->closing);
        buffer_append(&p->closing, property->name);
        tool_body_begin_value(s, property->name, TEXT_BY_SCHEMA, n);
    } else if (found == MARK_YES) {
        p->tool = tool;
        s->used = n;
    }
}

static unsigned head_roles(const struct tool_parser *p)
{
    return MARK_OPEN | MARK_CHANNEL | MARK_SEPARATOR | MARK_ID | MARK_INNER | MARK_END |
           (p->tool ? MARK_KEY | MARK_PARAMETER : 0u);
}

/* ---- names ---- */

void tool_head_id(struct tool_step *s)
{
    size_t n = 0;
    while (n < s->in.n && is_name_char(s->in.p[n]))
        n++;
    s->used = n;
    if (n < s->in.n)
        tool_step_go(s, AT_START, n);
}

/* Harmony: `commentary to=functions.NAME <|constrain|>json<|message|>`. */
void tool_head_header(struct tool_step *s)
{
    struct span in = span_first(s->in, TAG_MAX), end = SPAN("<|message|>");
    ptrdiff_t at = span_find(in, end);
    if (at < 0) {
        if (in.n == TAG_MAX || s->last)
            tool_step_fail(s);
        return;
    }
    struct span header = span_first(in, (size_t)at);
    ptrdiff_t to = span_find(header, SPAN("to="));
    struct span name = span_from(header, to < 0 ? header.n : (size_t)to + 3);
    size_t n = 0;
    while (n < name.n && is_name_char(name.p[n]))
        n++;
    s->p->state = AT_START;
    s->used = (size_t)at + end.n;
    s->again = true;
    tool_named(s, span_first(name, n));
}

/* A word that is no name, but says what follows. */
static bool is_kind(struct span name)
{
    static const struct span words[] = {SPAN_INIT("json"), SPAN_INIT("tool_call"), SPAN_INIT("xml"),
                                        SPAN_INIT("function_call")};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (span_eq_nocase(name, words[i]))
            return true;
    }
    return false;
}

/* A name of its own. What follows it tells whether it may be one. */
void tool_head_name(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    struct span in = span_first(s->in, NAME_LENGTH_MAX + MEND_LOOK_MAX);
    const struct mark *mark;
    size_t n = 0, taken;
    while (n < in.n && is_name_char(in.p[n]))
        n++;
    size_t next = n + blanks(span_from(in, n));
    if (n > NAME_LENGTH_MAX) {
        tool_step_fail(s);
        return;
    }
    if (next == in.n) {
        if (s->last || in.n == NAME_LENGTH_MAX + MEND_LOOK_MAX)
            tool_step_fail(s);
        return;
    }
    p->state = AT_START;
    s->used = n;
    s->again = true;
    struct span name = span_first(in, n);
    bool call = in.p[next] == '(';
    if (call && span_eq(name, SPAN("print"))) {
        s->used = next + 1;
        p->state = AT_START;
        return;
    }
    enum mark_match separator = tool_step_match(s, next, MARK_SEPARATOR, true, &mark, &taken);
    if (separator == MARK_MORE) {
        p->state = AT_NAME;
        s->used = 0;
        s->again = false;
        return;
    }
    if (separator == MARK_YES && !tool_list_find(p->list, name) && span_eq(name, SPAN("function")))
        return; /* DeepSeek: the kind of the call, then its name */
    if (is_kind(name) && next > n && strchr("{[<", in.p[next]))
        return; /* "json", "tool_call": what follows is the call */
    if (p->listed && !call) {
        s->used = 0;
        tool_step_fail(s);
        return;
    }
    tool_named(s, name);
}

/* ---- the start ---- */

/* ``` inside a mark or behind a name, and its info. */
static void inner_fence(struct tool_step *s)
{
    struct span in = span_first(s->in, TAG_MAX);
    size_t run = 0, n;
    while (run < in.n && in.p[run] == '`')
        run++;
    n = run;
    while (n < in.n && is_name_char(in.p[n]))
        n++;
    if (n == in.n && in.n < TAG_MAX && !s->last)
        return;
    if (run < 3 || n == in.n) {
        tool_step_fail(s);
        return;
    }
    s->p->fenced = true;
    s->used = n;
}

/* '[' that begins no mark: a list of JSON, or of f(a=1). */
static void start_list(struct tool_step *s)
{
    struct span in = span_first(s->in, MEND_LOOK_MAX);
    size_t next = 1 + blanks(span_from(in, 1));
    if (next == in.n) {
        if (s->last || in.n == MEND_LOOK_MAX)
            tool_step_fail(s);
    } else if (s->p->tool) {
        tool_step_fail(s);
    } else if (in.p[next] == '{' || in.p[next] == '[') {
        tool_body_begin_json(s, MEND_FORM_VALUE, 0);
    } else if (is_name_char(in.p[next])) {
        s->p->listed = true;
        tool_step_go(s, AT_NAME, next);
    } else {
        tool_step_fail(s);
    }
}

/* Behind f(a=1): the list goes on, or ends. True = the step is over. */
static bool next_of_list(struct tool_step *s)
{
    char c = s->in.p[0];
    if (c == ',' || c == ')' || c == ';') {
        s->used = 1;
        return true;
    }
    if (c != ']' && (c != '`' || !s->p->fenced))
        return false;
    buffer_clear(&s->p->held);
    s->p->gap = true;
    tool_step_go(s, AT_TEXT, c == ']');
    return true;
}

void tool_head_start(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    const struct mark *mark = NULL;
    char c = s->in.p[0];
    size_t n = blanks(s->in);
    if (n) {
        s->used = n;
        return;
    }
    if (p->any && next_of_list(s))
        return;
    bool separator = p->tool && strchr("aA*", c) && c;
    enum mark_match found = MARK_NO;
    if (c == '<' || c == '[' || separator)
        found = tool_step_match(s, 0, head_roles(p), separator, &mark, &n);
    if (found == MARK_MORE)
        return;
    if (found == MARK_YES)
        head_mark(s, mark, n);
    else if (c == '<')
        own_tag(s);
    else if (c == '[')
        start_list(s);
    else if (c == '{')
        tool_body_begin_json(s, MEND_FORM_VALUE, 0);
    else if (c == '(' && p->tool)
        tool_body_begin_json(s, MEND_FORM_CALL, 1);
    else if (c == '`' && (p->marked || p->tool))
        inner_fence(s);
    else if (is_name_char(c) && !p->tool && (p->marked || p->listed))
        tool_step_go(s, AT_NAME, 0);
    else if (p->tool && p->separated)
        tool_body_begin_line(s);
    else
        tool_step_fail(s);
}
