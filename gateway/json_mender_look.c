/*
 * gateway/json_mender_look.c - what stands behind a quote or a comma of json_mender.h, and what
 * that makes of it.
 *
 * Every continuation that valid JSON has counts as the structure's, so valid strings are never
 * misread.
 */
#include "gateway/json_mender_internal.h"

static enum verdict at_end(const struct look *l) { return l->more ? MORE : YES; }

struct look mend_look_at(const struct mend_step *s, size_t from)
{
    struct span t = span_from(s->in, from);
    bool enough = t.n >= MEND_LOOK_MAX;
    return (struct look){span_first(t, MEND_LOOK_MAX), 0, !s->last && !enough};
}

bool mend_skip_blanks(struct look *l)
{
    for (;;) {
        struct span rest = span_from(l->t, l->at);
        size_t blank = l->more && mend_half_blank(rest) ? rest.n : mend_blank_at(rest);
        l->at += blank;
        if (!blank)
            return l->at < l->t.n;
    }
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '$' || c == '.';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$';
}

static bool is_closer(char c) { return c == '}' || c == ']' || c == ')'; }

static enum verdict colon_follows(struct look *l, bool equals)
{
    if (!mend_skip_blanks(l))
        return at_end(l);
    return l->t.p[l->at] == ':' || (equals && l->t.p[l->at] == '=') ? YES : NO;
}

/* A key, in quotes or bare, with its colon. */
static enum verdict key_follows(struct look *l, bool call)
{
    char c = l->t.p[l->at];
    bool escaped = c == '\\';
    if (escaped && l->at + 1 < l->t.n)
        c = l->t.p[++l->at];
    if (c != '"' && c != '\'') {
        if (!is_letter(c))
            return c == '\\' ? at_end(l) : NO;
        while (l->at < l->t.n && is_word_char(l->t.p[l->at]))
            l->at++;
        return colon_follows(l, call);
    }
    for (l->at++; l->at < l->t.n && l->t.p[l->at] != c; l->at++) {
        if (l->t.p[l->at] == '\\' && !escaped)
            l->at++;
    }
    if (l->at >= l->t.n)
        return at_end(l);
    l->at++;
    return colon_follows(l, true);
}

/* The beginning of an array's next element. */
static enum verdict element_follows(struct look *l)
{
    char c = l->t.p[l->at];
    if (c == '\xe2' || strchr("\"'[{(-\\", c) || (c >= '0' && c <= '9') || is_closer(c))
        return YES;
    size_t from = l->at;
    while (l->at < l->t.n && is_word_char(l->t.p[l->at]))
        l->at++;
    if (l->at == l->t.n && l->more)
        return MORE;
    return mend_is_constant(span_of(l->t.p + from, l->at - from)) ? YES : NO;
}

enum verdict mend_comma_separates(struct look *l, char level)
{
    while (mend_skip_blanks(l) && l->t.p[l->at] == ',')
        l->at++;
    if (l->at == l->t.n)
        return at_end(l);
    char c = l->t.p[l->at];
    if (is_closer(c) || c == '/' || c == '#')
        return YES;
    if (level == '[' || level == 't')
        return element_follows(l);
    if (level == '(' && !is_letter(c))
        return element_follows(l);
    return c == '\xe2' ? YES : key_follows(l, level == '(');
}

enum verdict mend_mark_follows(const struct look *l)
{
    static const struct span marks[] = {SPAN_INIT("</t"), SPAN_INIT("</f"),       SPAN_INIT("</i"),
                                        SPAN_INIT("</a"), SPAN_INIT("</p"),       SPAN_INIT("</m"),
                                        SPAN_INIT("</s"), SPAN_INIT("</T"),       SPAN_INIT("<|"),
                                        SPAN_INIT("```"), SPAN_INIT("<\xef\xbd"), SPAN_INIT("</|")};
    struct span here = span_from(l->t, l->at);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        if (span_starts(here, marks[i]))
            return YES;
        if (l->more && span_starts(marks[i], here))
            return MORE;
    }
    return NO;
}

/* Brackets close from l->at on: does what follows them fit? */
static enum verdict closers_fit(struct look *l, int depth)
{
    while (mend_skip_blanks(l) && is_closer(l->t.p[l->at])) {
        l->at++;
        if (--depth <= 0)
            return YES;
    }
    if (l->at == l->t.n)
        return at_end(l);
    char c = l->t.p[l->at];
    if (c == ',' || c == '/' || c == '#')
        return YES;
    if (c == '"' || c == '\'')
        return key_follows(l, false);
    return mend_mark_follows(l);
}

/* A comment, behind white space. */
static enum verdict comment_follows(const struct look *l)
{
    struct span here = span_from(l->t, l->at);
    if (here.n < 2)
        return at_end(l);
    bool comment = here.p[1] == '/' || here.p[1] == '*';
    return comment && l->at > 0 ? YES : NO;
}

enum verdict mend_string_ends(const struct json_mender *m, struct look *l)
{
    char level = mend_level(m);
    if (!mend_skip_blanks(l))
        return at_end(l);
    char c = l->t.p[l->at];
    if (!level)
        return YES; /* a string alone */
    if (c == ',') {
        l->at++;
        return mend_comma_separates(l, level);
    }
    if (is_closer(c))
        return c == ')' && !memrchr(m->levels, '(', (size_t)m->depth) &&
                       !memrchr(m->levels, 't', (size_t)m->depth)
                   ? NO
                   : closers_fit(l, m->depth);
    if (c == '\\' && l->at + 1 >= l->t.n)
        return at_end(l);
    if (c == '\\' && (l->t.p[l->at + 1] == 'n' || l->t.p[l->at + 1] == 'r'))
        return m->quote == '\\' ? YES : NO;
    if (c == '/')
        return comment_follows(l);
    if (level == '{' && (c == '"' || c == '\'' || (is_letter(c) && l->at > 0) || c == '\\'))
        return key_follows(l, false);
    if (level == '[' && (c == '"' || c == '\''))
        return l->at > 0 ? YES : NO;
    return mend_mark_follows(l);
}
