/*
 * gateway/tool_parser.c - see tool_parser.h: the machine, and the text between calls.
 *
 * A state's function reads from the front of the text or asks for more; what is not read yet waits
 * in `unread`, and that is only ever what could begin a mark. Text without such a place leaves as
 * it came, without a copy. While it is open whether there is a call, its bytes are kept in `held`,
 * too, to be text if there is none.
 */
#include "gateway/tool_parser_internal.h"

#include <stdlib.h>

static int compare_tools(const void *a, const void *b)
{
    const struct tool *const *x = a, *const *y = b;
    return span_compare((*x)->name, (*y)->name);
}

static const struct tool **sort_tools(const struct tool_list *list)
{
    const struct tool **sorted = calloc(list->n + 1, sizeof *sorted);
    for (size_t i = 0; sorted && i < list->n; i++)
        sorted[i] = &list->tools[i];
    if (sorted)
        qsort(sorted, list->n, sizeof *sorted, compare_tools);
    return sorted;
}

struct tool_parser *tool_parser_create(const struct tool_list *list)
{
    struct tool_parser *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->list = list;
    p->by_name = sort_tools(list);
    if (!p->by_name) {
        free(p);
        return NULL;
    }
    tool_out_init(&p->out);
    tool_envelope_init(&p->envelope, list, &p->out);
    json_mender_init(&p->mender, MEND_FORM_VALUE);
    buffer_init(&p->unread, SIZE_MAX);
    buffer_init(&p->held, SIZE_MAX);
    buffer_init(&p->key, MEND_KEY_MAX);
    buffer_init(&p->closing, MEND_KEY_MAX);
    return p;
}

void tool_parser_destroy(struct tool_parser *p)
{
    if (!p)
        return;
    tool_out_free(&p->out);
    tool_envelope_free(&p->envelope);
    json_mender_free(&p->mender);
    buffer_free(&p->unread);
    buffer_free(&p->held);
    buffer_free(&p->key);
    buffer_free(&p->closing);
    free(p->by_name);
    free(p);
}

int tool_parser_calls(const struct tool_parser *p) { return p->out.calls; }

bool tool_parser_invented(const struct tool_parser *p) { return p->invented; }

/* ---- text ---- */

static void note_recent(struct tool_parser *p, struct span text)
{
    if (text.n >= RECENT_MAX) {
        memcpy(p->recent, text.p + text.n - RECENT_MAX, RECENT_MAX);
        p->n_recent = RECENT_MAX;
        return;
    }
    size_t keep = p->n_recent + text.n > RECENT_MAX ? RECENT_MAX - text.n : p->n_recent;
    memmove(p->recent, p->recent + p->n_recent - keep, keep);
    memcpy(p->recent + keep, text.p, text.n);
    p->n_recent = keep + text.n;
}

static void give_text(struct tool_parser *p, struct span text)
{
    if (!text.n)
        return;
    tool_out_text(&p->out, text);
    note_recent(p, text);
}

/* Behind a call: means nothing before another one, or at the end. */
static bool is_dropped_in_gap(char c) { return mend_blank(c) || (c && strchr("}],;", c)); }

/* What was held is text after all. */
static void give_held(struct tool_parser *p)
{
    struct span held = buffer_span(&p->held);
    for (size_t i = 0; i < held.n && !p->started; i++)
        p->started = !mend_blank(held.p[i]);
    text_code_pass(&p->code, held);
    give_text(p, held);
    buffer_shrink(&p->held, TAG_MAX);
    p->gap = false;
}

/* ---- where a call may begin ---- */

enum entry_kind {
    ENTRY_MARK,
    ENTRY_TOOL_TAG,
    ENTRY_OWN_END,
    ENTRY_FENCE,
    ENTRY_FENCE_END,
    ENTRY_BARE
};

struct entry {
    enum entry_kind kind;
    const struct mark *mark;
    const struct tool *tool;
    size_t n;
    bool call; /* a fence's info says that calls are in it */
};

/* A fence's first line, if a call may stand in the fence: YES and its length. */
static enum mark_match fence_line(const struct tool_step *s, size_t from, struct entry *e)
{
    enum { FIRST_OF_CALLS = 4 };
    static const struct span infos[] = {
        SPAN_INIT(""),          SPAN_INIT("json"),
        SPAN_INIT("xml"),       SPAN_INIT("python"),
        SPAN_INIT("tool_call"), SPAN_INIT("tool_calls"),
        SPAN_INIT("tool_code"), SPAN_INIT("tool-call"),
        SPAN_INIT("tool_use"),  SPAN_INIT("function_call"),
    };
    struct span in = span_from(s->in, from);
    size_t run = 0;
    while (run < in.n && in.p[run] == '`')
        run++;
    if (run == in.n && run < 16)
        return MARK_MORE;
    if (run < 3 || run >= 16)
        return MARK_NO;
    struct span line = span_from(in, run);
    ptrdiff_t end = span_find_char(line, '\n');
    struct span info = span_trim(end < 0 ? line : span_first(line, (size_t)end));
    for (size_t i = 0; i < sizeof infos / sizeof *infos; i++) {
        if (end >= 0 && span_eq_nocase(info, infos[i])) {
            e->n = run + (size_t)end + 1;
            e->call = i >= FIRST_OF_CALLS;
            return MARK_YES;
        }
        if (end < 0 && line.n < NAME_LENGTH_MAX && info.n <= infos[i].n &&
            span_eq_nocase(info, span_first(infos[i], info.n)))
            return MARK_MORE;
    }
    return MARK_NO;
}

/* Does the text before it say that an example follows? */
static bool announces_example(const struct tool_parser *p)
{
    static const struct span words[] = {
        SPAN_INIT("example"),    SPAN_INIT("for instance"), SPAN_INIT("e.g."),
        SPAN_INIT("format"),     SPAN_INIT("sample"),       SPAN_INIT("looks like"),
        SPAN_INIT("look like"),  SPAN_INIT("such as"),      SPAN_INIT("like this"),
        SPAN_INIT("like so"),    SPAN_INIT("syntax"),       SPAN_INIT("would be"),
        SPAN_INIT("instead of"), SPAN_INIT("beispiel"),     SPAN_INIT("exemple"),
        SPAN_INIT("ejemplo"),    SPAN_INIT("пример"),       SPAN_INIT("例"),
        SPAN_INIT("示例"),       SPAN_INIT("格式"),
    };
    struct span recent = span_of(p->recent, p->n_recent);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (span_find_nocase(recent, words[i]) >= 0)
            return true;
    }
    return false;
}

/* The end of the fence that the call before it stands in. */
static enum mark_match fence_end(const struct tool_step *s, size_t from, struct entry *e)
{
    struct span in = span_from(s->in, from);
    e->kind = ENTRY_FENCE_END;
    e->n = 3;
    if (in.n < 3 && span_starts(SPAN("```"), in))
        return MARK_MORE;
    return span_starts(in, SPAN("```")) ? MARK_YES : MARK_NO;
}

/* Does a call begin at `from`, which is in no code? */
static enum mark_match find_entry(const struct tool_step *s, size_t from, struct entry *e)
{
    const struct tool_parser *p = s->p;
    char c = s->in.p[from];
    bool line = p->gap || text_code_line_begins(&p->code);
    unsigned roles = MARK_OPEN | MARK_CHANNEL | (p->out.calls ? MARK_RESULT : 0u) |
                     (p->gap ? MARK_END | MARK_PARAMETER_END | MARK_INNER : 0u);
    e->kind = ENTRY_MARK;
    if (c == '`') {
        if (p->gap && p->fenced)
            return fence_end(s, from, e);
        e->kind = ENTRY_FENCE;
        return line ? fence_line(s, from, e) : MARK_NO;
    }
    enum mark_match found = tool_step_match(s, from, roles, line, &e->mark, &e->n);
    if (found == MARK_YES)
        return found;
    if (found == MARK_NO && p->gap && s->last && c == '<' &&
        tool_marks_match(s->in, MARK_END, false, &e->mark, &e->n) == MARK_MORE && s->in.n > 2) {
        e->kind = ENTRY_OWN_END; /* the close mark is not whole, and nothing follows */
        e->n = s->in.n;
        return MARK_YES;
    }
    if (c == '<') {
        struct tool_step here = *s;
        here.in = span_from(s->in, from);
        enum mark_match own = p->gap && p->own_tag
                                  ? tool_step_closing_tag(s, here.in, p->own_tag->name, &e->n)
                                  : MARK_NO;
        e->kind = ENTRY_OWN_END;
        if (own != MARK_NO)
            return own;
        enum mark_match tag = tool_step_tool_tag(&here, &e->tool, &e->n);
        e->kind = ENTRY_TOOL_TAG;
        if (tag != MARK_NO)
            return tag;
    }
    if (found == MARK_MORE)
        return found;
    e->kind = ENTRY_BARE;
    e->n = 0;
    return (c == '{' || c == '[') && (!p->started || p->gap) ? MARK_YES : MARK_NO;
}

static void enter(struct tool_step *s, const struct entry *e)
{
    struct tool_parser *p = s->p;
    p->tool = p->own_tag = NULL;
    p->second_mark = 0;
    p->begun = p->listed = p->any = p->separated = p->failed = false;
    switch (e->kind) {
    case ENTRY_MARK:
        if (e->mark->role == MARK_RESULT) {
            p->invented = true;
            tool_step_go(s, AT_INVENTED, s->in.n);
        } else if (e->mark->role == MARK_OPEN || e->mark->role == MARK_CHANNEL) {
            tool_head_open(s, e->mark, e->n);
        } else { /* the call's own end */
            p->marked = p->marked && e->mark->role != MARK_END;
            buffer_clear(&p->held);
            s->used = e->n;
        }
        break;
    case ENTRY_TOOL_TAG:
        p->tool = p->own_tag = e->tool;
        p->marked = false;
        tool_step_go(s, AT_START, e->n);
        break;
    case ENTRY_FENCE:
        p->fenced = true;
        p->marked = false;
        p->listed = true;
        tool_step_go(s, AT_START, e->n);
        break;
    case ENTRY_OWN_END:
    case ENTRY_FENCE_END:
        p->fenced = p->fenced && e->kind == ENTRY_OWN_END;
        buffer_clear(&p->held);
        s->used = e->n;
        break;
    case ENTRY_BARE:
        p->marked = p->marked && p->gap;
        p->started = true; /* if it is none, the same byte is not tried again */
        tool_step_go(s, AT_START, 0);
        break;
    }
}

/* Behind a call: white space waits for what follows it. True = the step is over. */
static bool at_gap(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    size_t n = 0;
    while (n < s->in.n && is_dropped_in_gap(s->in.p[n]))
        n++;
    size_t room = p->held.n < TOOL_HELD_MAX ? TOOL_HELD_MAX - p->held.n : 0;
    if (n > room)
        n = room;
    if (n && buffer_append(&p->held, span_first(s->in, n)))
        p->out.stopped = TOOL_PARSER_NOMEM;
    s->used = n;
    return n > 0;
}

static bool is_entry_byte(const struct tool_parser *p, char c)
{
    if (c == '<' || c == '[')
        return true;
    if (text_code_line_begins(&p->code) && c && strchr("AfO*`", c))
        return true;
    return c == '{' && !p->started;
}

/* May a byte within a line change anything? */
static bool is_turn(const struct tool_parser *p, char c)
{
    return c == '<' || c == '[' || c == '`' || c == '\n' || (c == '{' && !p->started);
}

/* How much of the front is text, and what stands behind it. */
static size_t scan_text(struct tool_step *s, enum mark_match *found, struct entry *e)
{
    struct tool_parser *p = s->p;
    size_t i = 0;
    *found = MARK_NO;
    while (i < s->in.n) {
        char c = s->in.p[i];
        if (is_entry_byte(p, c) && !text_code_inside(&p->code)) {
            *found = find_entry(s, i, e);
            if (*found == MARK_YES && e->kind == ENTRY_FENCE) {
                if (i) /* the text before it leaves first: it may announce an example */
                    return i;
                if (p->started && (!e->call || announces_example(p)))
                    *found = MARK_NO;
            }
            if (*found == MARK_YES || (*found == MARK_MORE && !s->last))
                return i;
            *found = MARK_NO;
        }
        size_t n = 1;
        if (text_code_plain(&p->code, span_of(&c, 1))) {
            while (i + n < s->in.n && !is_turn(p, s->in.p[i + n]) &&
                   (p->started || !mend_blank(c) || mend_blank(s->in.p[i + n])))
                n++;
        }
        text_code_pass(&p->code, span_first(span_from(s->in, i), n));
        p->started = p->started || !mend_blank(c);
        i += n;
    }
    return i;
}

static void at_text(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    struct entry e = {.n = 0};
    enum mark_match found;
    if (p->gap) {
        if (at_gap(s))
            return;
        found = find_entry(s, 0, &e);
        if (found == MARK_MORE && !s->last)
            return;
        if (found == MARK_YES) {
            enter(s, &e);
            return;
        }
        give_held(p);
        s->again = true;
        return;
    }
    s->used = scan_text(s, &found, &e);
    give_text(p, span_first(s->in, s->used));
    if (found == MARK_YES && s->used == 0)
        enter(s, &e);
}

/* ---- the machine ---- */

void tool_step_go(struct tool_step *s, enum tool_state state, size_t used)
{
    s->p->state = state;
    s->used = used;
    s->again = true;
}

void tool_step_fail(struct tool_step *s)
{
    s->p->failed = true;
    s->again = true;
}

void tool_step_begun(struct tool_step *s)
{
    s->p->begun = s->taken = true;
    s->p->started = true;
    buffer_shrink(&s->p->held, TAG_MAX);
}

void tool_step_begin_call(struct tool_step *s)
{
    if (s->p->begun)
        return;
    tool_out_begin(&s->p->out, s->p->tool);
    tool_step_begun(s);
}

void tool_step_end_call(struct tool_step *s, size_t used)
{
    tool_out_end(&s->p->out);
    s->p->gap = true;
    tool_step_go(s, AT_TEXT, used);
}

enum mark_match tool_step_match(const struct tool_step *s, size_t from, unsigned roles, bool line,
                                const struct mark **mark, size_t *n)
{
    enum mark_match found = tool_marks_match(span_from(s->in, from), roles, line, mark, n);
    return found == MARK_MORE && s->last ? MARK_NO : found;
}

static void step(struct tool_step *s)
{
    switch (s->p->state) {
    case AT_TEXT: at_text(s); break;
    case AT_START: tool_head_start(s); break;
    case AT_TAG: tool_head_tag(s); break;
    case AT_NAME: tool_head_name(s); break;
    case AT_ID: tool_head_id(s); break;
    case AT_HEADER: tool_head_header(s); break;
    case AT_JSON: tool_body_json(s); break;
    case AT_MEMBERS: tool_body_members(s); break;
    case AT_KEY: tool_body_key(s); break;
    case AT_KEYED: tool_body_keyed(s); break;
    case AT_PARAMETER: tool_body_parameter(s); break;
    case AT_VALUE: tool_body_value(s); break;
    case AT_LINE: tool_body_line(s); break;
    case AT_INVENTED: s->used = s->in.n; break;
    }
}

/* What was read of a call that may be none is kept; what is none leaves as text. */
static void keep_or_release(struct tool_step *s)
{
    struct tool_parser *p = s->p;
    if (!s->taken && buffer_append(&p->held, span_first(s->in, s->used)))
        p->out.stopped = TOOL_PARSER_NOMEM;
    if (!p->failed && p->held.n < TOOL_HELD_MAX)
        return;
    give_held(p);
    p->failed = false;
    p->state = AT_TEXT;
}

/* Reads from the front of the text; returns how much. */
static size_t run(struct tool_parser *p, struct span text, bool last)
{
    struct tool_step s = {.p = p, .last = last};
    size_t at = 0;
    while (at < text.n && !p->out.stopped) {
        s.in = span_from(text, at);
        s.used = 0;
        s.again = s.taken = false;
        size_t room = TOOL_HELD_MAX - p->held.n;
        bool heading = p->state != AT_TEXT && p->state != AT_INVENTED && !p->begun;
        s.last = last && !(heading && s.in.n > room);
        if (heading) /* no call needs more */
            s.in = span_first(s.in, room);
        step(&s);
        if (heading && !s.used && !s.again && (last || s.in.n == room))
            tool_step_fail(&s);
        if (p->failed || (p->state != AT_TEXT && p->state != AT_INVENTED && !p->begun))
            keep_or_release(&s);
        at += s.used;
        if (!s.used && !s.again)
            break;
    }
    return at;
}

/* With what was not read before: no more of the piece is copied than that needs. */
int tool_parser_feed(struct tool_parser *p, struct span piece, const struct tool_event_sink *sink)
{
    enum { ENOUGH = 2 * MEND_LOOK_MAX };
    p->out.sink = sink;
    while (piece.n && !p->out.stopped) {
        if (!p->unread.n) {
            size_t used = run(p, piece, false);
            if (!p->out.stopped && buffer_append(&p->unread, span_from(piece, used)))
                return TOOL_PARSER_NOMEM;
            break;
        }
        size_t before = p->unread.n, more = piece.n < ENOUGH ? piece.n : ENOUGH;
        if (buffer_append(&p->unread, span_first(piece, more)))
            return TOOL_PARSER_NOMEM;
        size_t used = run(p, buffer_span(&p->unread), false);
        if (used >= before) { /* the rest stands in the piece as well */
            piece = span_from(piece, used - before);
            buffer_shrink(&p->unread, TOOL_HELD_MAX);
        } else {
            buffer_consume(&p->unread, used);
            piece = span_from(piece, more);
        }
    }
    tool_out_flush(&p->out);
    return p->out.stopped;
}

/* ---- the end ---- */

/* A number or a word at the very end may be half of one. */
static bool half_word(const struct tool_parser *p)
{
    bool value = p->mender.state == MEND_AT_VALUE || p->mender.state == MEND_AT_ELEMENT;
    char c = p->unread.n ? p->unread.p[0] : 0;
    return p->state == AT_JSON && value && c && !strchr("\"'`\\{[(/#", c);
}

/* The text ends in a call: do only brackets and marks miss? */
static int end_call(struct tool_parser *p)
{
    struct tool_step s = {.p = p, .last = true};
    switch (p->state) {
    case AT_JSON: return tool_body_close_json(&s);
    case AT_LINE: tool_values_end_text(&p->out.values); break;
    case AT_MEMBERS: break;
    default: return p->begun ? TOOL_PARSER_HALF : 0;
    }
    tool_out_end(&p->out);
    p->state = AT_TEXT;
    return 0;
}

/* Nothing but what closes a list of calls. */
static bool held_is_rest(const struct tool_parser *p)
{
    for (size_t i = 0; i < p->held.n; i++) {
        if (!mend_blank(p->held.p[i]) && !strchr(")],;", p->held.p[i]))
            return false;
    }
    return true;
}

int tool_parser_end(struct tool_parser *p, const struct tool_event_sink *sink)
{
    int half = 0;
    struct span rest = buffer_span(&p->unread);
    bool word = half_word(p);
    p->out.sink = sink;
    if (p->state == AT_VALUE)
        rest = SPAN(""); /* what may be a mark's beginning */
    if (word)
        half = p->begun ? TOOL_PARSER_HALF : 0;
    else
        rest = span_from(rest, run(p, rest, true));
    bool text = p->state == AT_TEXT || p->state == AT_INVENTED;
    if (!text && !word)
        half = end_call(p);
    text =
        p->state == AT_TEXT || p->state == AT_INVENTED || (p->any && held_is_rest(p)) ||
        (p->state == AT_START && span_trim(buffer_span(&p->held)).n && p->held.n == p->second_mark);
    if (!text && !p->begun) {
        give_held(p);
        give_text(p, rest);
    }
    tool_out_flush(&p->out);
    return p->out.stopped ? p->out.stopped : half;
}
