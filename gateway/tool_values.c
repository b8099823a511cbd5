/*
 * gateway/tool_values.c - see tool_values.h.
 */
#include "gateway/tool_values.h"

#include "base/json.h"
#include <assert.h>

enum {
    SCALARS = TOOL_TYPE_INTEGER | TOOL_TYPE_NUMBER | TOOL_TYPE_BOOL | TOOL_TYPE_NULL,
    CONTAINERS = TOOL_TYPE_ARRAY | TOOL_TYPE_OBJECT
};

void tool_values_init(struct tool_values *v)
{
    *v = (struct tool_values){.tool = NULL};
    buffer_init(&v->held, TOOL_VALUE_MAX);
    buffer_init(&v->scratch, SIZE_MAX);
}

void tool_values_free(struct tool_values *v)
{
    buffer_free(&v->held);
    buffer_free(&v->scratch);
}

void tool_values_begin(struct tool_values *v, const struct tool *tool, struct buffer *out)
{
    v->tool = tool;
    v->out = out;
    v->writer = json_writer(out);
    v->unnamed = 0;
    v->depth = 0;
    v->types = TOOL_TYPE_ANY;
    v->mode = VALUES_PLAIN;
    v->wrapped = v->open_text = false;
    json_begin_object(&v->writer);
}

void tool_values_end(struct tool_values *v) { json_end_object(&v->writer); }

static void no_memory(struct tool_values *v) { v->out->error = BUFFER_NOMEM; }

/* ---- writing ---- */

static void open_string(struct json_writer *w) { mend_write(w, MEND_STRING, SPAN("")); }

/* A token of JSON that becomes the text of a string. */
static void write_as_text(struct tool_values *v, enum mend_token token, struct span text)
{
    v->writer.out = &v->scratch;
    buffer_clear(&v->scratch);
    mend_write(&v->writer, token, text);
    v->writer.out = v->out;
    if (v->scratch.error)
        no_memory(v);
    json_escape(v->out, buffer_span(&v->scratch));
}

static void wrap(struct tool_values *v)
{
    json_begin_array(&v->writer);
    v->wrapped = true;
}

static void value_over(struct tool_values *v)
{
    if (v->mode == VALUES_TEXT) {
        buffer_char(v->out, '"');
        v->writer.comma = true;
    }
    if (v->wrapped)
        json_end_array(&v->writer);
    v->mode = VALUES_PLAIN;
    v->wrapped = false;
    v->types = TOOL_TYPE_ANY;
}

/* ---- texts that become something else ---- */

static int put_plain(void *owner, enum mend_token token, struct span text)
{
    struct tool_values *v = owner;
    mend_write(&v->writer, token, text);
    return v->out->error;
}

static void write_mended(struct tool_values *v, struct span text)
{
    struct json_mender m;
    const struct mend_sink sink = {put_plain, v, NULL};
    json_mender_init(&m, MEND_FORM_VALUE);
    if (json_mender_read(&m, &text, true, &sink) || json_mender_close(&m, &sink))
        no_memory(v);
    json_mender_free(&m);
}

/* The integer that "5.0" means; {NULL,0} = none. */
static struct span whole_number(struct span number)
{
    ptrdiff_t point = span_find_char(number, '.');
    if (span_find_char(number, 'e') >= 0 || span_find_char(number, 'E') >= 0)
        return span_of(NULL, 0);
    for (size_t i = point < 0 ? number.n : (size_t)point + 1; i < number.n; i++) {
        if (number.p[i] != '0')
            return span_of(NULL, 0);
    }
    return point < 0 ? number : span_first(number, (size_t)point);
}

/* `strict`: only what JSON takes for a number. */
static bool write_number(struct tool_values *v, struct span t, bool strict)
{
    char text[MEND_NUMBER_MAX], room[MEND_NUMBER_MAX + 2];
    if (!(v->types & (TOOL_TYPE_INTEGER | TOOL_TYPE_NUMBER)) || !t.n || t.n >= sizeof text ||
        (strict && !mend_is_number(t)))
        return false;
    memcpy(text, t.p, t.n);
    text[t.n] = 0;
    struct span number = mend_number(span_of(text, t.n), room);
    if (number.p && !(v->types & TOOL_TYPE_NUMBER))
        number = whole_number(number);
    if (!number.p)
        return false;
    if (!mend_number_fits(number)) {
        char *end = room + number.n;
        if (v->types & TOOL_TYPE_STRING || !whole_number(number).p)
            return false;
        memmove(room, number.p, number.n); /* a float: readers refuse so long an integer */
        memcpy(end, "e0", 2);
        number = span_of(room, number.n + 2);
    }
    json_raw_value(&v->writer, number);
    return true;
}

/* `loose`: also words that mean a truth. */
static bool write_bool(struct tool_values *v, struct span t, bool loose)
{
    static const struct span words[] = {SPAN_INIT("true"), SPAN_INIT("false"), SPAN_INIT("yes"),
                                        SPAN_INIT("no"),   SPAN_INIT("on"),    SPAN_INIT("off"),
                                        SPAN_INIT("1"),    SPAN_INIT("0")};
    size_t n = loose ? sizeof words / sizeof *words : 2;
    if (!(v->types & TOOL_TYPE_BOOL))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (span_eq_nocase(t, words[i])) {
            json_write_bool(&v->writer, i % 2 == 0);
            return true;
        }
    }
    return false;
}

static bool write_null(struct tool_values *v, struct span t, bool loose)
{
    if (!(v->types & TOOL_TYPE_NULL) ||
        !(span_eq_nocase(t, SPAN("null")) || span_eq_nocase(t, SPAN("none")) || (loose && !t.n)))
        return false;
    json_null(&v->writer);
    return true;
}

static bool is_json(struct tool_values *v, struct span text)
{
    struct json root;
    struct json_parser *parser = json_parser_create(text.n + 64);
    int error = parser ? json_parse(parser, text, &root) : JSON_NOMEM;
    if (error == JSON_NOMEM)
        no_memory(v);
    json_parser_destroy(parser);
    return error == JSON_OK;
}

static bool write_container(struct tool_values *v, struct span t, bool sure)
{
    if (!t.n || (t.p[0] != '{' && t.p[0] != '['))
        return false;
    unsigned type = t.p[0] == '{' ? TOOL_TYPE_OBJECT : TOOL_TYPE_ARRAY;
    if (!(v->types & type) && (sure || !(v->types & TOOL_TYPE_ARRAY)))
        return false;
    if (sure && !is_json(v, t))
        return false;
    if (!(v->types & type))
        wrap(v);
    write_mended(v, t);
    return true;
}

/* A whole text as what the member's types want. A string is the last choice. */
static void write_text(struct tool_values *v, struct span text)
{
    struct span t = span_trim(text);
    bool string = v->types & TOOL_TYPE_STRING;
    bool written = write_null(v, t, !string) || write_number(v, t, string) ||
                   write_bool(v, t, !string) || write_container(v, t, string);
    if (!written) {
        if (!string && (v->types & TOOL_TYPE_ARRAY) && t.n)
            wrap(v);
        json_string(&v->writer, text);
    }
    value_over(v);
}

/* ---- values ---- */

static void begin_held(struct tool_values *v)
{
    v->mode = VALUES_HELD;
    buffer_clear(&v->held);
}

static void add_held(struct tool_values *v, struct span text)
{
    if (v->held.n + text.n <= TOOL_VALUE_MAX) {
        if (buffer_append(&v->held, text))
            no_memory(v);
        return;
    }
    v->mode = VALUES_STRING; /* too long to become anything else */
    open_string(&v->writer);
    json_escape(v->out, buffer_span(&v->held));
    json_escape(v->out, text);
}

/* A number or a constant that the types do not have. */
static void write_word(struct tool_values *v, struct span word)
{
    bool null = span_eq(word, SPAN("null"));
    bool truth = span_eq(word, SPAN("true")) || span_eq(word, SPAN("false"));
    if (v->types == TOOL_TYPE_ANY || null || (truth && (v->types & TOOL_TYPE_BOOL))) {
        json_raw_value(&v->writer, word);
    } else if ((truth || !write_number(v, word, true)) && !write_bool(v, word, true)) {
        if (v->types & TOOL_TYPE_STRING) {
            json_string(&v->writer, word);
        } else {
            if (!(v->types & SCALARS) && (v->types & TOOL_TYPE_ARRAY))
                wrap(v);
            json_raw_value(&v->writer, word);
        }
    }
    value_over(v);
}

static void begin_container(struct tool_values *v, enum mend_token token)
{
    unsigned type = token == MEND_OBJECT ? TOOL_TYPE_OBJECT : TOOL_TYPE_ARRAY;
    if (!(v->types & type) && (v->types & TOOL_TYPE_ARRAY)) {
        wrap(v);
    } else if (!(v->types & CONTAINERS) && (v->types & TOOL_TYPE_STRING)) {
        v->mode = VALUES_TEXT;
        open_string(&v->writer);
        v->writer.comma = false;
    }
}

static bool opens(enum mend_token t) { return t == MEND_OBJECT || t == MEND_ARRAY; }
static bool closes(enum mend_token t) { return t == MEND_OBJECT_END || t == MEND_ARRAY_END; }

static void put_nested(struct tool_values *v, enum mend_token token, struct span text)
{
    if (v->mode == VALUES_TEXT)
        write_as_text(v, token, text);
    else
        mend_write(&v->writer, token, text);
    v->depth += opens(token) - closes(token);
    if (v->depth == 0)
        value_over(v);
}

static const struct tool_property *property_like(const struct tool *tool, struct span *key)
{
    const struct tool_property *p = tool_find_property(tool, *key);
    for (size_t i = 0; !p && i < tool->n_properties; i++) {
        if (span_eq_nocase(tool->properties[i].name, *key))
            p = &tool->properties[i];
    }
    if (p)
        *key = p->name;
    return p;
}

static void put_key(struct tool_values *v, struct span key)
{
    const struct tool_property *p = NULL;
    if (!key.p && v->tool && v->unnamed < v->tool->n_properties)
        key = v->tool->properties[v->unnamed].name;
    else if (!key.p)
        key = SPAN("");
    v->unnamed++;
    if (v->tool)
        p = property_like(v->tool, &key);
    v->types = p ? p->types : TOOL_TYPE_ANY;
    json_key_span(&v->writer, key);
}

void tool_values_put(struct tool_values *v, enum mend_token token, struct span text)
{
    if (v->depth) {
        put_nested(v, token, text);
        return;
    }
    switch (token) {
    case MEND_KEY: put_key(v, text); break;
    case MEND_STRING:
        if (v->types & TOOL_TYPE_STRING)
            open_string(&v->writer);
        else
            begin_held(v);
        break;
    case MEND_TEXT:
        if (v->mode == VALUES_HELD)
            add_held(v, text);
        else
            json_escape(v->out, text);
        break;
    case MEND_STRING_END:
        if (v->mode == VALUES_HELD) {
            write_text(v, buffer_span(&v->held));
        } else {
            buffer_char(v->out, '"');
            value_over(v);
        }
        break;
    case MEND_WORD: write_word(v, text); break;
    case MEND_OBJECT:
    case MEND_ARRAY:
        begin_container(v, token);
        put_nested(v, token, text);
        break;
    case MEND_OBJECT_END:
    case MEND_ARRAY_END: break;
    }
}

void tool_values_begin_text(struct tool_values *v, struct span key, enum tool_text_kind kind)
{
    put_key(v, key);
    v->open_text = true;
    bool silent = v->types == TOOL_TYPE_ANY && kind == TEXT_BY_SCHEMA;
    bool string = silent || (kind == TEXT_IS_STRING && v->types & TOOL_TYPE_STRING);
    if (string || v->types == TOOL_TYPE_STRING) {
        v->mode = VALUES_STRING;
        open_string(&v->writer);
    } else {
        begin_held(v);
    }
}

void tool_values_add_text(struct tool_values *v, struct span text)
{
    if (v->mode == VALUES_HELD)
        add_held(v, text);
    else
        json_escape(v->out, text);
}

void tool_values_end_text(struct tool_values *v)
{
    if (!v->open_text)
        return;
    v->open_text = false;
    if (v->mode == VALUES_HELD) {
        write_text(v, buffer_span(&v->held));
        return;
    }
    buffer_char(v->out, '"');
    value_over(v);
}
