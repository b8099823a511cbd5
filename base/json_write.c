/*
 * base/json_write.c - see json_write.h. json_escape is the innermost loop of every answer:
 * sixteen bytes are looked at at once, and runs without anything to escape are copied whole.
 */
#include "base/json_write.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/block.h"

static void comma(struct json_writer *w)
{
    if (w->comma)
        buffer_char(w->out, ',');
    w->comma = true;
}

void json_begin_object(struct json_writer *w)
{
    comma(w);
    buffer_char(w->out, '{');
    w->comma = false;
}

void json_end_object(struct json_writer *w)
{
    buffer_char(w->out, '}');
    w->comma = true;
}

void json_begin_array(struct json_writer *w)
{
    comma(w);
    buffer_char(w->out, '[');
    w->comma = false;
}

void json_end_array(struct json_writer *w)
{
    buffer_char(w->out, ']');
    w->comma = true;
}

/* As signed numbers, the bytes beyond ASCII are below the space as well. */
static block not_plain(block v) { return (v < ' ') | (v == '"') | (v == '\\'); }

static bool byte_needs_escape(unsigned char c) { return c < 0x20 || c == '"' || c == '\\'; }

bool json_is_plain(struct span text)
{
    if (text.n < BLOCK)
        return !block_any(not_plain(block_short(text.p, text.n)));
    block found = not_plain(block_at(text.p + text.n - BLOCK)); /* the last ones, perhaps twice */
    for (size_t i = 0; i + BLOCK <= text.n; i += BLOCK)
        found |= not_plain(block_at(text.p + i));
    return !block_any(found);
}

/* Bytes from the start that travel as they are. */
static size_t clean_run(const char *p, size_t n)
{
    size_t i = 0;
    if (n == 0) /* `p` may be NULL */
        return 0;
    while (i + BLOCK <= n && !block_any(block_special(block_at(p + i))))
        i += BLOCK;
    if (n - i < BLOCK && !block_any(block_special(block_short(p + i, n - i))))
        return n;
    while (i < n && !byte_needs_escape((unsigned char)p[i]))
        i++;
    return i;
}

static void escape_byte(struct buffer *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    size_t n = 2;
    switch (c) {
    case '"': text[1] = '"'; break;
    case '\\': text[1] = '\\'; break;
    case '\n': text[1] = 'n'; break;
    case '\r': text[1] = 'r'; break;
    case '\t': text[1] = 't'; break;
    case '\b': text[1] = 'b'; break;
    case '\f': text[1] = 'f'; break;
    default: n = 6;
    }
    buffer_append(out, span_of(text, n));
}

int json_escape(struct buffer *out, struct span text)
{
    while (text.n) {
        size_t clean = clean_run(text.p, text.n);
        buffer_append(out, span_first(text, clean));
        text = span_from(text, clean);
        if (text.n) {
            escape_byte(out, (unsigned char)text.p[0]);
            text = span_from(text, 1);
        }
    }
    return out->error;
}

/* A string, or a key with its colon. Most have nothing to escape, and there is room: one copy. */
static void quoted(struct json_writer *w, struct span text, bool is_key)
{
    struct buffer *out = w->out;
    if (!out->error && text.n + sizeof ",\"\":" <= out->cap - out->n &&
        clean_run(text.p, text.n) == text.n) {
        char *at = out->p + out->n;
        if (w->comma)
            *at++ = ',';
        *at++ = '"';
        if (text.n)
            memcpy(at, text.p, text.n);
        at += text.n;
        *at++ = '"';
        if (is_key)
            *at++ = ':';
        out->n = (size_t)(at - out->p);
    } else {
        comma(w);
        buffer_char(out, '"');
        json_escape(out, text);
        buffer_append(out, is_key ? SPAN("\":") : SPAN("\""));
    }
    w->comma = !is_key;
}

void json_key_span(struct json_writer *w, struct span key) { quoted(w, key, true); }

void json_string(struct json_writer *w, struct span text) { quoted(w, text, false); }

void json_cstring(struct json_writer *w, const char *text) { json_string(w, span_str(text)); }

void json_write_int(struct json_writer *w, int64_t v)
{
    comma(w);
    buffer_int(w->out, v);
}

void json_write_double(struct json_writer *w, double v)
{
    char text[40];
    int n = 0;
    if (!isfinite(v)) {
        json_null(w);
        return;
    }
    if (v == 0) { /* "-0" would be read as an integer, without its sign */
        json_raw_value(w, signbit(v) ? SPAN("-0.0") : SPAN("0"));
        return;
    }
    /* The shortest that reads back the same. 15 digits always do for what was written with 15 or
     * fewer, but not for subnormal numbers, whose precision is less than that. */
    for (int precision = fabs(v) < DBL_MIN ? 1 : 15; precision <= 17; precision++) {
        n = snprintf(text, sizeof text, "%.*g", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    for (int i = 0; i < n; i++) { /* whatever the locale says, JSON has a point */
        if (text[i] == ',')
            text[i] = '.';
    }
    json_raw_value(w, span_of(text, (size_t)n));
}

void json_write_bool(struct json_writer *w, bool v)
{
    json_raw_value(w, v ? SPAN("true") : SPAN("false"));
}

void json_null(struct json_writer *w) { json_raw_value(w, SPAN("null")); }

void json_member_int(struct json_writer *w, const char *key, int64_t v)
{
    json_key(w, key);
    json_write_int(w, v);
}
