/*
 * adapters/support_tools.c - calls of tools and their results as text: the one written form
 * (adapters/support.h, docs/tools.md).
 *
 * The hard part is what comes from outside: a web page that a tool fetched may hold marks of calls
 * and results, and must not be able to end its own result or to begin a call.
 */
#include "adapters/support.h"

#include "base/json_raw.h"
#include "base/json_write.h"

/* Does a mark begin here: `<tool_` or `</tool_`, in any case? */
static bool is_mark(struct span text)
{
    size_t slash = text.n > 1 && text.p[1] == '/' ? 1 : 0;
    return span_eq_nocase(span_first(span_from(text, 1 + slash), 5), SPAN("tool_"));
}

/* Copies; what stands for the `<` of a mark is not read as one. */
static void without_marks(struct buffer *out, struct span text, struct span instead)
{
    ptrdiff_t at;
    while ((at = span_find_char(text, '<')) >= 0) {
        struct span rest = span_from(text, (size_t)at);
        buffer_append(out, span_first(text, (size_t)at));
        buffer_append(out, is_mark(rest) ? instead : SPAN("<"));
        text = span_from(rest, 1);
    }
    buffer_append(out, text);
}

static void write_string(struct buffer *out, struct span text)
{
    struct buffer quoted;
    buffer_init(&quoted, SIZE_MAX / 4);
    struct json_writer w = json_writer(&quoted);
    json_string(&w, text);
    without_marks(out, buffer_span(&quoted), SPAN("\\u003c"));
    if (quoted.error)
        out->error = quoted.error;
    buffer_free(&quoted);
}

static void write_arguments(struct buffer *out, struct span arguments)
{
    struct buffer compact;
    struct span text = span_trim(arguments);
    if (!text.n)
        text = SPAN("{}");
    if (!json_check_object(text)) {
        write_string(out, text);
        return;
    }
    buffer_init(&compact, SIZE_MAX / 4);
    json_raw_compact(&compact, text);
    without_marks(out, buffer_span(&compact), SPAN("\\u003c")); /* `<` stands in strings only */
    if (compact.error)
        out->error = compact.error;
    buffer_free(&compact);
}

void tool_text_call(struct buffer *out, const struct tool_call *call)
{
    buffer_append(out, SPAN("<tool_call>{\"name\": "));
    write_string(out, call->name);
    buffer_append(out, SPAN(", \"arguments\": "));
    write_arguments(out, call->arguments);
    if (call->id.n) {
        buffer_append(out, SPAN(", \"id\": "));
        write_string(out, call->id);
    }
    buffer_append(out, SPAN("}</tool_call>"));
}

/* A value between quotes: what could end it is written as in HTML. */
static void write_attribute(struct buffer *out, struct span name, struct span value)
{
    if (!value.n)
        return;
    buffer_append(out, name);
    for (size_t i = 0; i < value.n; i++) {
        switch (value.p[i]) {
        case '"': buffer_append(out, SPAN("&quot;")); break;
        case '&': buffer_append(out, SPAN("&amp;")); break;
        case '<': buffer_append(out, SPAN("&lt;")); break;
        case '>': buffer_append(out, SPAN("&gt;")); break;
        default: buffer_char(out, value.p[i]);
        }
    }
    buffer_char(out, '"');
}

void tool_text_begin_result(struct buffer *out, struct span id, struct span name, bool is_error)
{
    buffer_append(out, SPAN("<tool_result"));
    write_attribute(out, SPAN(" id=\""), id);
    write_attribute(out, SPAN(" name=\""), name);
    if (is_error)
        buffer_append(out, SPAN(" is_error=\"true\""));
    buffer_char(out, '>');
}

void tool_text_inner(struct buffer *out, struct span text)
{
    without_marks(out, text, SPAN("&lt;"));
}

void tool_text_end_result(struct buffer *out) { buffer_append(out, SPAN("</tool_result>")); }
