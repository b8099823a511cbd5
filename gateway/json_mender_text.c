/*
 * gateway/json_mender_text.c - strings, keys and words of json_mender.h.
 *
 * The hard part is a quote inside a string: whether it ends the string follows from what stands
 * behind it (json_mender_look.c).
 */
#include "gateway/json_mender_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- strings ---- */

/* The quote at the front of `in`: its length, 0 = none; *kind as json_mender.quote. */
static size_t quote_at(struct span in, char *kind)
{
    static const struct {
        struct span mark;
        char kind;
    } quotes[] = {
        {SPAN_INIT("\"\"\""), '3'},       {SPAN_INIT("\""), '"'},
        {SPAN_INIT("'"), '\''},           {SPAN_INIT("`"), '`'},
        {SPAN_INIT("\\\""), '\\'},        {SPAN_INIT("\\'"), '\''},
        {SPAN_INIT("\xe2\x80\x9c"), 's'}, {SPAN_INIT("\xe2\x80\x9d"), 's'},
        {SPAN_INIT("\xe2\x80\x98"), 'q'}, {SPAN_INIT("\xe2\x80\x99"), 'q'},
    };
    for (size_t i = 0; i < sizeof quotes / sizeof *quotes; i++) {
        if (span_starts(in, quotes[i].mark)) {
            *kind = quotes[i].kind;
            return quotes[i].mark.n;
        }
    }
    return 0;
}

bool mend_open_string(struct mend_step *s, enum mend_state state)
{
    char kind = 0;
    char c = s->in.p[0];
    if (s->in.n < 3 && !s->last && (c == '\xe2' || span_eq(s->in, SPAN("\"\""))))
        return true; /* wait */
    if (s->in.n < 2 && !s->last && (c == '"' || c == '\\'))
        return true;
    s->used = quote_at(s->in, &kind);
    if (!s->used)
        return false;
    s->m->quote = kind;
    s->m->state = state;
    if (state == MEND_IN_KEY)
        buffer_clear(&s->m->key);
    else
        mend_put(s, MEND_STRING, SPAN(""));
    return true;
}

static void put_text(struct mend_step *s, struct span text)
{
    if (s->m->state != MEND_IN_KEY) {
        mend_put(s, MEND_TEXT, text);
        return;
    }
    size_t room = MEND_KEY_MAX - s->m->key.n;
    if (buffer_append(&s->m->key, span_first(text, room))) {
        s->m->is_short = true;
        s->m->stopped = -1;
    }
}

static void put_character(struct mend_step *s, uint32_t c)
{
    char t[4];
    size_t n = 0;
    if (c < 0x80) {
        t[n++] = (char)c;
    } else if (c < 0x800) {
        t[n++] = (char)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            t[n++] = (char)(0xe0 | c >> 12);
        } else {
            t[n++] = (char)(0xf0 | c >> 18);
            t[n++] = (char)(0x80 | (c >> 12 & 0x3f));
        }
        t[n++] = (char)(0x80 | (c >> 6 & 0x3f));
    }
    if (c >= 0x80)
        t[n++] = (char)(0x80 | (c & 0x3f));
    put_text(s, span_of(t, n));
}

/* The `n` hexadecimal digits at `at`; -1 when they are none. */
static int32_t hex_at(struct span in, size_t at, size_t n)
{
    int32_t value = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = at + i < in.n ? hex_digit(in.p[at + i]) : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Of \uXXXX; pairs of surrogates are one character, a lone one is U+FFFD. 0 = more is needed. */
static size_t read_unicode(struct mend_step *s)
{
    int32_t c = hex_at(s->in, 2, 4), low = -1;
    if (c < 0)
        return 1; /* a backslash */
    if (c >= 0xd800 && c < 0xdc00) {
        if (s->in.n < 12 && !s->last &&
            span_starts(SPAN("\\u"), span_first(span_from(s->in, 6), 2)))
            return 0;
        if (s->in.n >= 12 && s->in.p[6] == '\\' && s->in.p[7] == 'u')
            low = hex_at(s->in, 8, 4);
        if (low >= 0xdc00 && low < 0xe000) {
            put_character(s, 0x10000 + ((uint32_t)(c - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
            return 12;
        }
    }
    put_character(s, c >= 0xd800 && c < 0xe000 ? 0xfffd : (uint32_t)c);
    return 6;
}

/* \uXXXX or \xXX that is not whole. */
static bool half_escape(const struct mend_step *s)
{
    char c = s->in.p[1];
    size_t whole = c == 'u' ? 6 : c == 'x' ? 4 : 0;
    return s->in.n < whole && (s->in.n == 2 || hex_at(s->in, 2, s->in.n - 2) >= 0);
}

/* An unknown escape is the backslash itself. */
static void read_escape(struct mend_step *s)
{
    static const char from[] = "nrtbf\"\\/'`", to[] = "\n\r\t\b\f\"\\/'`";
    if (s->in.n < 2) {
        s->used = s->last;
        return;
    }
    char c = s->in.p[1];
    const char *known = memchr(from, c, sizeof from - 1);
    if (known) {
        put_text(s, span_of(&to[known - from], 1));
        s->used = 2;
        return;
    }
    s->used = 1;
    if (half_escape(s)) { /* the text ends in it */
        s->used = s->last ? s->in.n : 0;
        return;
    }
    if (c == 'u')
        s->used = read_unicode(s);
    else if (c == 'x' && hex_at(s->in, 2, 2) >= 0) {
        put_character(s, (uint32_t)hex_at(s->in, 2, 2));
        s->used = 4;
    }
    if (s->used == 1)
        put_text(s, SPAN("\\"));
}

/* The length of what may end the open string, at the front; 0 = nothing may, -1 = more is needed.
 */
static int closing_quote(const struct mend_step *s)
{
    struct span in = s->in;
    char quote = s->m->quote, kind = 0;
    size_t n;
    switch (quote) {
    case '3':
        if (in.n < 3 && !s->last && span_starts(SPAN("\"\"\""), in))
            return -1;
        return span_starts(in, SPAN("\"\"\"")) ? 3 : 0;
    case '\\':
        if (in.n < 2 && !s->last && in.p[0] == '\\')
            return -1;
        return span_starts(in, SPAN("\\\"")) ? 2 : 0;
    case 's':
    case 'q':
        if (in.n < 3 && !s->last && in.p[0] == '\xe2')
            return -1;
        if (in.p[0] == '"' || in.p[0] == '\\')
            return quote == 's' && in.p[0] == '"';
        n = quote_at(in, &kind);
        return kind == quote ? (int)n : 0;
    default: return in.p[0] == quote;
    }
}

static void end_string(struct mend_step *s, size_t n)
{
    s->used = n;
    if (s->m->state == MEND_IN_KEY) {
        mend_put(s, MEND_KEY, buffer_span(&s->m->key));
        s->m->state = MEND_AT_COLON;
        return;
    }
    mend_put(s, MEND_STRING_END, SPAN(""));
    mend_value_over(s->m);
}

static bool is_special(char c, char quote)
{
    switch (quote) {
    case 's': return c == '\xe2' || c == '\\' || c == '"';
    case 'q': return c == '\xe2' || c == '\\';
    case '3': return c == '"' || c == '\\';
    default: return c == quote || c == '\\';
    }
}

void mend_read_string(struct mend_step *s)
{
    struct json_mender *m = s->m;
    size_t i = 0;
    while (i < s->in.n && !is_special(s->in.p[i], m->quote))
        i++;
    if (i) {
        put_text(s, span_first(s->in, i));
        s->used = i;
        return;
    }
    int quote = closing_quote(s);
    if (quote < 0)
        return;
    if (quote > 0) {
        struct look l = mend_look_at(s, (size_t)quote);
        enum verdict ends =
            m->quote == '3' || m->state == MEND_IN_KEY ? YES : mend_string_ends(m, &l);
        if (ends == YES)
            end_string(s, (size_t)quote);
        if (ends != NO)
            return;
        bool escaped = m->quote == '\\';
        put_text(s, escaped ? SPAN("\"") : span_first(s->in, (size_t)quote));
        s->used = (size_t)quote;
    } else if (s->in.p[0] == '\\') {
        if (m->quote == '\\' && s->in.n > 1 && s->in.p[1] == '\\')
            s->in = span_from(s->in, 1), s->used = 1; /* escaped once too often */
        size_t before = s->used;
        s->used = 0;
        read_escape(s);
        s->used = s->used ? s->used + before : 0;
    } else {
        put_text(s, span_first(s->in, 1));
        s->used = 1;
    }
}

/* ---- words ---- */

static const struct {
    struct span word, json;
} constants[] = {
    {SPAN_INIT("true"), SPAN_INIT("true")},      {SPAN_INIT("false"), SPAN_INIT("false")},
    {SPAN_INIT("null"), SPAN_INIT("null")},      {SPAN_INIT("none"), SPAN_INIT("null")},
    {SPAN_INIT("nil"), SPAN_INIT("null")},       {SPAN_INIT("undefined"), SPAN_INIT("null")},
    {SPAN_INIT("nan"), SPAN_INIT("null")},       {SPAN_INIT("infinity"), SPAN_INIT("null")},
    {SPAN_INIT("-infinity"), SPAN_INIT("null")},
};

static struct span constant(struct span word)
{
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (span_eq_nocase(word, constants[i].word))
            return constants[i].json;
    }
    return span_of(NULL, 0);
}

bool mend_is_constant(struct span word) { return constant(word).p != NULL; }

static size_t digits(struct span t, size_t at)
{
    size_t n = 0;
    while (at + n < t.n && t.p[at + n] >= '0' && t.p[at + n] <= '9')
        n++;
    return n;
}

bool mend_is_number(struct span t)
{
    size_t at = t.n && t.p[0] == '-', n = digits(t, at);
    if (!n || (n > 1 && t.p[at] == '0'))
        return false;
    at += n;
    if (at < t.n && t.p[at] == '.') {
        n = digits(t, ++at);
        if (!n)
            return false;
        at += n;
    }
    if (at < t.n && (t.p[at] == 'e' || t.p[at] == 'E')) {
        at++;
        if (at < t.n && (t.p[at] == '+' || t.p[at] == '-'))
            at++;
        n = digits(t, at);
        if (!n)
            return false;
        at += n;
    }
    return at == t.n;
}

static bool integer_fits(struct span t)
{
    static const struct span most = SPAN_INIT("18446744073709551615"),
                             least = SPAN_INIT("9223372036854775808");
    bool negative = t.p[0] == '-';
    struct span limit = negative ? least : most, n = span_from(t, negative);
    return n.n < limit.n || (n.n == limit.n && memcmp(n.p, limit.p, n.n) <= 0);
}

bool mend_number_fits(struct span t)
{
    char text[MEND_NUMBER_MAX];
    if (digits(t, t.p[0] == '-') + (t.p[0] == '-') == t.n)
        return integer_fits(t);
    if (t.n >= sizeof text)
        return false;
    memcpy(text, t.p, t.n); /* strtod wants an end */
    text[t.n] = 0;
    return isfinite(strtod(text, NULL));
}

struct span mend_number(struct span t, char room[MEND_NUMBER_MAX])
{
    size_t n = 0, at = 0;
    if (mend_is_number(t))
        return t;
    if (!t.n || t.n + 3 > MEND_NUMBER_MAX || !strpbrk(t.p, "0123456789"))
        return span_of(NULL, 0);
    if (t.n > 2 && t.p[0] == '0' && (t.p[1] | 0x20) == 'x' && t.n <= 17 &&
        strspn(t.p + 2, "0123456789abcdefABCDEF") >= t.n - 2) {
        n = (size_t)snprintf(room, MEND_NUMBER_MAX, "%llu", strtoull(t.p + 2, NULL, 16));
        return span_of(room, n);
    }
    if (t.p[0] == '-')
        room[n++] = '-';
    at = t.p[0] == '-' || t.p[0] == '+';
    if (at < t.n && t.p[at] == '.')
        room[n++] = '0';
    for (; at < t.n; at++) {
        bool between = at > 0 && at + 1 < t.n;
        if (t.p[at] != '_' || !between)
            room[n++] = t.p[at];
    }
    if (n && room[n - 1] == '.')
        room[n++] = '0';
    return mend_is_number(span_of(room, n)) ? span_of(room, n) : span_of(NULL, 0);
}

/* Puts a constant or a number; false when it is neither. */
static bool put_word(struct mend_step *s, struct span word)
{
    char room[MEND_NUMBER_MAX], text[MEND_NUMBER_MAX];
    struct span json = constant(word);
    if (!json.p && word.n < sizeof text) {
        memcpy(text, word.p, word.n); /* strspn and strtoull want an end */
        text[word.n] = 0;
        json = mend_number(span_of(text, word.n), room);
    }
    if (!json.p)
        return false;
    if (constant(word).p || mend_number_fits(json)) {
        mend_put(s, MEND_WORD, json);
        return true;
    }
    mend_put(s, MEND_STRING, SPAN(""));
    mend_put(s, MEND_TEXT, json);
    mend_put(s, MEND_STRING_END, SPAN(""));
    return true;
}

static bool ends_word(const struct mend_step *s, char c)
{
    return c == ',' || c == '}' || c == ']' || c == '\n' || c == '\r' ||
           (c == ')' && (memrchr(s->m->levels, '(', (size_t)s->m->depth) ||
                         memrchr(s->m->levels, 't', (size_t)s->m->depth)));
}

/* Up to what ends a text without quotes; MORE = it may go on. */
static enum verdict words_end(const struct mend_step *s, struct look *l)
{
    for (; l->at < l->t.n; l->at++) {
        char c = l->t.p[l->at];
        if (c == ',' && (mend_level(s->m) == '{' || mend_level(s->m) == '(')) {
            struct look behind = *l;
            behind.at++;
            enum verdict separates = mend_comma_separates(&behind, mend_level(s->m));
            if (separates == MORE)
                return MORE;
            if (separates == YES)
                return YES;
        } else if (ends_word(s, c)) {
            return YES;
        } else if (c == '<') {
            enum verdict mark = mend_mark_follows(l);
            if (mark != NO)
                return mark;
        }
    }
    return l->more ? MORE : l->t.n < MEND_LOOK_MAX ? YES : NO;
}

static struct span without_end_blanks(struct span t)
{
    while (t.n && mend_blank(t.p[t.n - 1]))
        t.n--;
    return t;
}

void mend_read_word(struct mend_step *s)
{
    struct look l = mend_look_at(s, 0);
    size_t n = 0;
    while (n < l.t.n && !ends_word(s, l.t.p[n]) && !mend_blank(l.t.p[n]) && l.t.p[n] != '<')
        n++;
    if (n == l.t.n && l.more)
        return;
    if (put_word(s, span_first(l.t, n))) {
        s->used = n;
        mend_value_over(s->m);
        return;
    }
    enum verdict end = words_end(s, &l);
    if (end == MORE)
        return;
    mend_put(s, MEND_STRING, SPAN(""));
    if (end == YES) {
        mend_put(s, MEND_TEXT, without_end_blanks(span_first(l.t, l.at)));
        mend_put(s, MEND_STRING_END, SPAN(""));
        mend_value_over(s->m);
        s->used = l.at;
        s->again = true;
        return;
    }
    s->m->state = MEND_IN_WORDS;
    s->again = true;
}

void mend_read_words(struct mend_step *s)
{
    struct look l = mend_look_at(s, 0);
    size_t n = 0;
    while (n < s->in.n && !ends_word(s, s->in.p[n]) && s->in.p[n] != '<')
        n++;
    if (n) {
        mend_put(s, MEND_TEXT, span_first(s->in, n));
        s->used = n;
        return;
    }
    struct look here = l;
    enum verdict end = words_end(s, &here);
    if (end == MORE && here.at == 0)
        return;
    if (end == YES && here.at == 0) {
        mend_put(s, MEND_STRING_END, SPAN(""));
        mend_value_over(s->m);
        s->again = true;
        return;
    }
    mend_put(s, MEND_TEXT, span_first(s->in, 1));
    s->used = 1;
}

/* A key without quotes; in a call also an argument without a name. */
void mend_read_bare_key(struct mend_step *s)
{
    struct look l = mend_look_at(s, 0);
    bool call = mend_level(s->m) == '(';
    size_t n = 0;
    while (n < l.t.n && !mend_blank(l.t.p[n]) && !ends_word(s, l.t.p[n]) &&
           !strchr(":={[(\"'<", l.t.p[n]))
        n++;
    l.at = n;
    if (!mend_skip_blanks(&l) && l.more)
        return;
    bool named = l.at < l.t.n && (l.t.p[l.at] == ':' || l.t.p[l.at] == '=');
    s->m->keyed = true;
    if (call && !named) {
        mend_put(s, MEND_KEY, span_of(NULL, 0));
        s->m->state = MEND_AT_VALUE;
        s->again = true;
        return;
    }
    s->used = n ? n : 1;
    if (!n)
        return;
    mend_put(s, MEND_KEY, span_first(l.t, n));
    s->m->state = MEND_AT_COLON;
}
