/*
 * gateway/json_mender.c - see json_mender.h: the structure around strings and words
 * (json_mender_text.c).
 *
 * Every step looks at the front of the text, reads a piece of it or asks for more. Commas carry no
 * meaning: whether one is due follows from the structure.
 */
#include "gateway/json_mender_internal.h"

void json_mender_init(struct json_mender *m, enum mend_form form)
{
    *m = (struct json_mender){.form = form, .state = MEND_AT_VALUE};
    buffer_init(&m->key, MEND_KEY_MAX);
}

void json_mender_free(struct json_mender *m) { buffer_free(&m->key); }

void mend_put(struct mend_step *s, enum mend_token token, struct span text)
{
    if (s->m->stopped)
        return;
    s->m->stopped = s->sink->put(s->sink->owner, token, text);
    s->refused = s->m->stopped && token == MEND_TEXT;
}

bool mend_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

size_t mend_blank_at(struct span text)
{
    static const struct span wide[] = {SPAN_INIT("\xc2\xa0"), SPAN_INIT("\xe3\x80\x80"),
                                       SPAN_INIT("\xef\xbb\xbf")};
    if (text.n && mend_blank(text.p[0]))
        return 1;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        if (span_starts(text, wide[i]))
            return wide[i].n;
    }
    return 0;
}

bool mend_half_blank(struct span in)
{
    return in.n > 0 && in.n < 3 &&
           (span_eq(in, SPAN("\xc2")) || in.p[0] == '\xe3' || in.p[0] == '\xef');
}

/* ---- levels ---- */

char mend_level(const struct json_mender *m) { return m->depth ? m->levels[m->depth - 1] : 0; }

static bool is_array(char level) { return level == '[' || level == 't'; }

void mend_value_over(struct json_mender *m)
{
    if (!m->depth)
        m->done = true;
    else
        m->state = is_array(mend_level(m)) ? MEND_AT_ELEMENT : MEND_AT_KEY;
}

static void push(struct mend_step *s, char level)
{
    struct json_mender *m = s->m;
    if (m->depth == MEND_DEPTH_MAX) {
        mend_put(s, MEND_WORD, SPAN("null"));
        m->skipped = 1;
        m->skipped_mark = 0;
        m->state = MEND_IN_SKIPPED;
        return;
    }
    m->levels[m->depth] = level;
    m->doubled[m->depth++] = false;
    m->state = is_array(level) ? MEND_AT_ELEMENT : MEND_AT_KEY;
    mend_put(s, is_array(level) ? MEND_ARRAY : MEND_OBJECT, SPAN(""));
}

static void pop(struct mend_step *s)
{
    mend_put(s, is_array(mend_level(s->m)) ? MEND_ARRAY_END : MEND_OBJECT_END, SPAN(""));
    s->m->depth--;
    mend_value_over(s->m);
}

/* A closing bracket closes the innermost level of its kind, with those in it that were forgotten;
 * one that has none means nothing. */
static void close_bracket(struct mend_step *s, char c)
{
    struct json_mender *m = s->m;
    const char *at = memrchr(m->levels, c == '}' ? '{' : c == ']' ? '[' : '(', (size_t)m->depth);
    const char *tuple = c == ')' ? memrchr(m->levels, 't', (size_t)m->depth) : NULL;
    if (tuple && (!at || tuple > at))
        at = tuple;
    s->used = 1;
    if (!at)
        return;
    int to = (int)(at - m->levels);
    if (m->doubled[to] && s->in.n < 2 && !s->last) {
        s->used = 0;
        return;
    }
    if (m->doubled[to] && s->in.n > 1 && s->in.p[1] == c)
        s->used = 2;
    while (m->depth > to)
        pop(s);
}

/* ---- between values ---- */

static void begin_comment(struct mend_step *s, bool block)
{
    s->used = s->in.p[0] == '#' ? 1 : 2;
    s->m->behind = s->m->state;
    s->m->block = block;
    s->m->state = MEND_IN_COMMENT;
}

static void in_comment(struct mend_step *s)
{
    struct json_mender *m = s->m;
    ptrdiff_t end = m->block ? span_find(s->in, SPAN("*/")) : span_find_char(s->in, '\n');
    if (end >= 0) {
        s->used = (size_t)end + (m->block ? 2 : 1);
        m->state = m->behind;
    } else {
        bool half = m->block && !s->last && s->in.p[s->in.n - 1] == '*';
        s->used = s->in.n - half;
    }
}

/* "\n" of a text that was escaped once too often; a quote behind a backslash opens a string. */
static bool backslash(struct mend_step *s)
{
    char next = s->in.n > 1 ? s->in.p[1] : 0;
    if (next == '"' || next == '\'')
        return false;
    if (s->in.n > 1 || s->last)
        s->used = next == 'n' || next == 't' || next == 'r' ? 2 : 1;
    return true;
}

/* White space, comments and what carries no meaning. True = the step is over. */
static bool between(struct mend_step *s, bool commas)
{
    struct span in = s->in;
    for (;;) {
        struct span rest = span_from(in, s->used);
        size_t n = commas && span_starts(rest, SPAN(",")) ? 1 : mend_blank_at(rest);
        s->used += n;
        if (!n)
            break;
    }
    if (s->used || (!s->last && mend_half_blank(in)))
        return true;
    if (in.p[0] == '\\')
        return backslash(s);
    if (in.p[0] == '/' && in.n < 2 && !s->last)
        return true;
    if (in.p[0] != '#' && !span_starts(in, SPAN("//")) && !span_starts(in, SPAN("/*")))
        return false;
    begin_comment(s, span_starts(in, SPAN("/*")));
    return true;
}

/* What stands here is no JSON: the marks of a call, or a fence's end. */
static bool stops(struct mend_step *s)
{
    char c = s->in.p[0];
    if (c == '`' && s->in.n < 3 && !s->last && span_starts(SPAN("```"), s->in))
        return true; /* wait */
    if (c != '<' && !span_starts(s->in, SPAN("```")))
        return false;
    s->m->done = true;
    return true;
}

static bool opens(struct mend_step *s, char c)
{
    if (c != '{' && c != '[' && c != '(')
        return false;
    s->used = 1;
    push(s, c == '(' ? 't' : c);
    return true;
}

static void at_value(struct mend_step *s)
{
    struct json_mender *m = s->m;
    char c = s->in.p[0];
    bool element = m->state == MEND_AT_ELEMENT;
    if (!element && m->depth && (c == ',' || c == '}' || c == ']' || c == ')')) {
        mend_put(s, MEND_WORD, SPAN("null")); /* the value is missing */
        mend_value_over(m);
        s->again = true;
        return;
    }
    if (between(s, element) || stops(s))
        return;
    if (c == '}' || c == ']' || c == ')')
        close_bracket(s, c);
    else if (c == ':' || c == '=' || c == '>' || c == ';')
        s->used = 1;
    else if (!opens(s, c) && !mend_open_string(s, MEND_IN_STRING))
        mend_read_word(s);
}

/* A brace where a key must stand doubles the one before it; f({…}) means f(…). */
static void double_brace(struct mend_step *s)
{
    s->m->doubled[s->m->depth - 1] = true;
    s->used = 1;
}

static void at_key(struct mend_step *s)
{
    struct json_mender *m = s->m;
    char c = s->in.p[0];
    if (between(s, true) || stops(s))
        return;
    bool call = mend_level(m) == '(' && !m->doubled[m->depth - 1];
    if (c == '}' || c == ']' || c == ')') {
        close_bracket(s, c);
    } else if (call && (strchr("[(\"'", c) || (c == '{' && m->keyed))) {
        m->keyed = true;
        mend_put(s, MEND_KEY, span_of(NULL, 0));
        m->state = MEND_AT_VALUE;
        s->again = true;
    } else if (c == '{') {
        double_brace(s);
    } else if (c == '[' || c == '(' || c == ':' || c == '=' || c == ';') {
        s->used = 1;
    } else if (!mend_open_string(s, MEND_IN_KEY)) {
        mend_read_bare_key(s);
    }
}

static void at_colon(struct mend_step *s)
{
    char c = s->in.p[0];
    if (mend_blank(c)) {
        s->used = 1;
    } else if (c == ':' || c == '=') {
        s->used = 1;
        s->m->state = MEND_AT_VALUE;
    } else { /* at_value() knows what to make of a value that is missing, or of its colon */
        s->m->state = MEND_AT_VALUE;
        s->again = true;
    }
}

static void skip_deep(struct mend_step *s)
{
    struct json_mender *m = s->m;
    char c = s->in.p[0];
    s->used = 1;
    if (m->skipped_mark) {
        if (c == '\\')
            s->used = s->in.n > 1 || s->last ? (s->in.n > 1 ? 2 : 1) : 0;
        else if (c == m->skipped_mark)
            m->skipped_mark = 0;
    } else if (c == '"') {
        m->skipped_mark = c;
    } else if (c == '{' || c == '[') {
        m->skipped++;
    } else if ((c == '}' || c == ']') && --m->skipped == 0) {
        mend_value_over(m);
    }
}

static void step(struct mend_step *s)
{
    switch (s->m->state) {
    case MEND_AT_VALUE:
    case MEND_AT_ELEMENT: at_value(s); break;
    case MEND_AT_KEY: at_key(s); break;
    case MEND_AT_COLON: at_colon(s); break;
    case MEND_IN_KEY:
    case MEND_IN_STRING: mend_read_string(s); break;
    case MEND_IN_WORDS: mend_read_words(s); break;
    case MEND_IN_COMMENT: in_comment(s); break;
    case MEND_IN_SKIPPED: skip_deep(s); break;
    }
}

int json_mender_read(struct json_mender *m, struct span *in, bool last,
                     const struct mend_sink *sink)
{
    struct mend_step s = {.m = m, .last = last, .sink = sink};
    if (!m->started && m->form == MEND_FORM_CALL)
        push(&s, '(');
    m->started = true;
    while (in->n && !m->done && !m->stopped) {
        s.in = *in;
        s.used = 0;
        s.again = false;
        step(&s);
        if (s.refused) /* how much of a text comes at once is up to the input's cuts */
            break;
        *in = span_from(*in, s.used);
        if ((!s.used && !s.again) || (sink->pause && *sink->pause))
            break;
    }
    return m->stopped;
}

static enum mend_state state_behind(const struct json_mender *m)
{
    return m->state == MEND_IN_COMMENT ? m->behind : m->state;
}

bool json_mender_closable(const struct json_mender *m)
{
    enum mend_state state = state_behind(m);
    return m->done || state == MEND_AT_ELEMENT || state == MEND_AT_KEY;
}

bool json_mender_is_short(const struct json_mender *m) { return m->is_short; }

int json_mender_close(struct json_mender *m, const struct mend_sink *sink)
{
    struct mend_step s = {.m = m, .last = true, .sink = sink};
    enum mend_state state = state_behind(m);
    if (m->done && !m->depth)
        return m->stopped;
    if (state == MEND_IN_KEY)
        mend_put(&s, MEND_KEY, buffer_span(&m->key));
    if (state == MEND_IN_STRING || state == MEND_IN_WORDS)
        mend_put(&s, MEND_STRING_END, SPAN(""));
    else if (state == MEND_IN_KEY || state == MEND_AT_COLON || (state == MEND_AT_VALUE && m->depth))
        mend_put(&s, MEND_WORD, SPAN("null"));
    while (m->depth)
        pop(&s);
    m->done = true;
    return m->stopped;
}

void mend_write(struct json_writer *w, enum mend_token token, struct span text)
{
    switch (token) {
    case MEND_OBJECT: json_begin_object(w); break;
    case MEND_OBJECT_END: json_end_object(w); break;
    case MEND_ARRAY: json_begin_array(w); break;
    case MEND_ARRAY_END: json_end_array(w); break;
    case MEND_KEY: json_key_span(w, text); break;
    case MEND_STRING: json_raw_value(w, SPAN("\"")); break;
    case MEND_TEXT: json_escape(w->out, text); break;
    case MEND_STRING_END: buffer_char(w->out, '"'); break;
    case MEND_WORD: json_raw_value(w, text); break;
    }
}
