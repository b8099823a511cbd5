/*
 * gateway/json_schema_place.c - see json_schema_internal.h: where something is in a document, how
 * that is told, and where references lead.
 */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "gateway/json_schema_internal.h"

enum { KEY_SHOWN_MAX = 80, PLACES_SHOWN_MAX = 24, POINTER_KEY_MAX = 512 };

/* ---- places ---- */

struct place place_member(const struct place *up, struct span key)
{
    return (struct place){.up = up, .key = key, .depth = up->depth + 1};
}

struct place place_element(const struct place *up, size_t index)
{
    return (struct place){.up = up, .index = index, .depth = up->depth + 1};
}

struct span schema_shown(struct span text, size_t max)
{
    struct span shown = span_first(text, max);
    while (shown.n && shown.n < text.n && ((unsigned char)text.p[shown.n] & 0xC0) == 0x80)
        shown.n--;
    return json_valid_utf8(shown) ? shown : SPAN("?");
}

static bool is_plain_key(struct span key)
{
    for (size_t i = 0; i < key.n; i++) {
        unsigned char c = (unsigned char)key.p[i];
        if (!isalnum(c) && c != '_' && c != '$' && c < 0x80)
            return false;
    }
    return key.n != 0;
}

/* ---- the report ---- */

/* What does not fit is left out, at a character's boundary. */
static void add_text(struct json_schema_report *r, struct span text)
{
    struct span fits = schema_shown(text, sizeof r->text - 1 - r->n);
    if (fits.n > sizeof r->text - 1 - r->n)
        return;
    memcpy(r->text + r->n, fits.p, fits.n);
    r->n += fits.n;
    r->text[r->n] = '\0';
}

static void add_format(struct json_schema_report *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_format(struct json_schema_report *r, const char *format, ...)
{
    char text[SCHEMA_REPORT_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add_text(r, span_str(text));
}

/* From the outside in; of a very deep place only the innermost steps. */
static void add_place(struct json_schema_report *r, const struct place *at)
{
    const struct place *steps[PLACES_SHOWN_MAX];
    int n = 0;
    for (; at->up && n < PLACES_SHOWN_MAX; at = at->up)
        steps[n++] = at;
    add_text(r, at->up ? SPAN("$ … ") : SPAN("$"));
    while (n--) {
        struct span key = schema_shown(steps[n]->key, KEY_SHOWN_MAX);
        if (!steps[n]->key.p)
            add_format(r, "[%zu]", steps[n]->index);
        else
            add_format(r, is_plain_key(key) ? ".%.*s" : "[\"%.*s\"]", SPAN_ARGS(key));
    }
}

void schema_report_add(struct json_schema_report *r, const struct place *at, const char *format,
                       ...)
{
    char text[SCHEMA_REPORT_SIZE];
    va_list args;
    if (r->errors++ >= SCHEMA_ERRORS_MAX)
        return;
    if (r->n)
        add_text(r, SPAN("; "));
    add_place(r, at);
    add_text(r, SPAN(": "));
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add_text(r, span_str(text));
}

/* ---- looking around ---- */

bool schema_spend(struct schema_budget *b, long steps)
{
    b->steps -= b->steps > 0 ? steps : 0;
    return b->steps > 0;
}

struct json schema_member(struct schema_budget *b, struct json object, struct span key)
{
    struct json found = {0};
    struct json_iter it = json_each(object);
    if (!json_is(object, JSON_OBJECT))
        return found;
    while (schema_spend(b, 1) && json_next(&it)) {
        if (span_eq(it.key, key))
            found = it.value;
    }
    return found;
}

unsigned schema_type_bit(struct span name)
{
    static const struct {
        struct span name;
        unsigned bit;
    } types[] = {
        {SPAN_INIT("string"), TYPE_STRING},   {SPAN_INIT("object"), TYPE_OBJECT},
        {SPAN_INIT("array"), TYPE_ARRAY},     {SPAN_INIT("number"), TYPE_NUMBER},
        {SPAN_INIT("integer"), TYPE_INTEGER}, {SPAN_INIT("boolean"), TYPE_BOOLEAN},
        {SPAN_INIT("null"), TYPE_NULL},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (span_eq(name, types[i].name))
            return types[i].bit;
    }
    return 0;
}

unsigned schema_types_of(struct json v)
{
    double number = 0;
    switch (json_type(v)) {
    case JSON_NULL: return TYPE_NULL;
    case JSON_BOOL: return TYPE_BOOLEAN;
    case JSON_INT:
    case JSON_UINT: return TYPE_NUMBER | TYPE_INTEGER;
    case JSON_DOUBLE:
        json_number(v, &number);
        return floor(number) == number ? TYPE_NUMBER | TYPE_INTEGER : TYPE_NUMBER;
    case JSON_STRING: return TYPE_STRING;
    case JSON_ARRAY: return TYPE_ARRAY;
    case JSON_OBJECT: return TYPE_OBJECT;
    default: return 0;
    }
}

/* ---- references ---- */

/* One step of a pointer, with %XX, ~0 and ~1 undone. False: it is too long to be a key here. */
static bool decode_key(struct span text, char out[POINTER_KEY_MAX], size_t *n)
{
    size_t raw = 0, i = 0;
    while (i < text.n && raw < POINTER_KEY_MAX) {
        bool hex = text.p[i] == '%' && text.n - i > 2 && hex_digit(text.p[i + 1]) >= 0 &&
                   hex_digit(text.p[i + 2]) >= 0;
        out[raw++] =
            hex ? (char)(hex_digit(text.p[i + 1]) * 16 + hex_digit(text.p[i + 2])) : text.p[i];
        i += hex ? 3 : 1;
    }
    bool all = i == text.n;
    *n = 0;
    for (i = 0; i < raw; i++) {
        bool escaped = out[i] == '~' && i + 1 < raw && (out[i + 1] == '0' || out[i + 1] == '1');
        i += escaped;
        out[(*n)++] = (char)(escaped && out[i] == '1' ? '/' : escaped ? '~' : out[i]);
    }
    return all;
}

enum reference schema_reference(struct schema_budget *b, struct json root, struct span text,
                                struct json *target)
{
    struct span piece;
    uint64_t index;
    *target = root;
    if (!span_starts(text, SPAN("#")))
        return REFERENCE_OUTSIDE;
    text = span_from(text, 1);
    if (!text.n)
        return REFERENCE_FOUND;
    if (text.p[0] != '/')
        return REFERENCE_NOWHERE;
    text = span_from(text, 1);
    while (span_split(&text, '/', &piece)) {
        char key[POINTER_KEY_MAX];
        size_t n;
        if (!decode_key(piece, key, &n))
            return REFERENCE_NOWHERE;
        if (json_is(*target, JSON_ARRAY))
            *target =
                span_to_u64(span_of(key, n), 1 << 20, &index) && schema_spend(b, 1 + (long)index)
                    ? json_at(*target, (size_t)index)
                    : (struct json){0};
        else
            *target = schema_member(b, *target, span_of(key, n));
    }
    return json_is(*target, JSON_MISSING) ? REFERENCE_NOWHERE : REFERENCE_FOUND;
}
