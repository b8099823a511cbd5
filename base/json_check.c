/*
 * base/json_check.c - foreign text that should be JSON, looked at without a parser (json_raw.h).
 *
 * For text that is put into other text as it is: a tool call's arguments in a prompt. One pass,
 * no memory but a stack of kinds.
 */
#include "base/json_raw.h"

enum wanted { WANT_VALUE, WANT_VALUE_OR_END, WANT_KEY, WANT_KEY_OR_END, WANT_NEXT };

struct check {
    const char *p, *end;
    size_t depth;
    char open[JSON_CHECK_DEPTH]; /* '{' or '[' */
};

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static char peek(const struct check *c) { return c->p < c->end ? *c->p : '\0'; }

static bool escape(struct check *c)
{
    char e = peek(c);
    if (e == '\0' || !strchr("\"\\/bfnrtu", e))
        return false;
    c->p++;
    for (int i = 0; e == 'u' && i < 4; i++) {
        if (c->p == c->end || hex_digit(*c->p++) < 0)
            return false;
    }
    return true;
}

/* Behind the opening quote. */
static bool string(struct check *c)
{
    while (c->p < c->end) {
        char at = *c->p++;
        if (at == '"')
            return true;
        if ((unsigned char)at < 0x20 || (at == '\\' && !escape(c)))
            return false;
    }
    return false;
}

static bool digits(struct check *c)
{
    const char *first = c->p;
    while (is_digit(peek(c)))
        c->p++;
    return c->p > first;
}

static bool number(struct check *c)
{
    if (peek(c) == '-')
        c->p++;
    if (peek(c) == '0')
        c->p++;
    else if (!digits(c))
        return false;
    if (peek(c) == '.') {
        c->p++;
        if (!digits(c))
            return false;
    }
    if (peek(c) == 'e' || peek(c) == 'E') {
        c->p++;
        if (peek(c) == '+' || peek(c) == '-')
            c->p++;
        return digits(c);
    }
    return true;
}

static bool word(struct check *c)
{
    static const struct span words[] = {SPAN_INIT("true"), SPAN_INIT("false"), SPAN_INIT("null")};
    struct span rest = span_of(c->p, (size_t)(c->end - c->p));
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (span_starts(rest, words[i])) {
            c->p += words[i].n;
            return true;
        }
    }
    return number(c);
}

static bool open_one(struct check *c, char kind)
{
    if (c->depth == JSON_CHECK_DEPTH)
        return false;
    c->open[c->depth++] = kind;
    return true;
}

static bool close_one(struct check *c, char kind)
{
    return c->depth && c->open[--c->depth] == (kind == '}' ? '{' : '[');
}

static bool key(struct check *c)
{
    if (!string(c))
        return false;
    while (is_blank(peek(c)))
        c->p++;
    return peek(c) == ':' && c->p++;
}

/* One token; -1 when it does not belong there. */
static int step(struct check *c, enum wanted wanted)
{
    char at = *c->p++;
    bool value = wanted == WANT_VALUE || wanted == WANT_VALUE_OR_END;
    if (wanted == WANT_NEXT && at == ',')
        return c->open[c->depth - 1] == '{' ? WANT_KEY : WANT_VALUE;
    if (at == '}' || at == ']')
        return wanted != WANT_VALUE && wanted != WANT_KEY && close_one(c, at) ? WANT_NEXT : -1;
    if (wanted == WANT_KEY || wanted == WANT_KEY_OR_END)
        return at == '"' && key(c) ? WANT_VALUE : -1;
    if (!value)
        return -1;
    if (at == '{' || at == '[')
        return !open_one(c, at) ? -1 : at == '{' ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
    if (at == '"')
        return string(c) ? WANT_NEXT : -1;
    c->p--;
    return word(c) ? WANT_NEXT : -1;
}

bool json_check_object(struct span text)
{
    struct span inner = span_trim(text);
    struct check c;
    int wanted = WANT_VALUE;
    if (inner.n < 2 || inner.p[0] != '{')
        return false;
    c.p = inner.p;
    c.end = inner.p + inner.n;
    c.depth = 0;
    do {
        while (is_blank(peek(&c)))
            c.p++;
        if (c.p == c.end)
            return false;
        wanted = step(&c, (enum wanted)wanted);
    } while (wanted >= 0 && c.depth);
    return wanted >= 0 && c.p == c.end;
}

int json_raw_compact(struct buffer *out, struct span value)
{
    size_t from = 0;
    bool inside = false;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (inside && c == '\\')
            i++;
        else if (c == '"')
            inside = !inside;
        else if (!inside && is_blank(c)) {
            buffer_append(out, span_of(value.p + from, i - from));
            from = i + 1;
        }
    }
    return buffer_append(out, span_from(value, from));
}
