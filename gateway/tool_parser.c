/*
 * gateway/tool_parser.c - see tool_parser.h. A first slice: the exact form alone.
 */
#include "gateway/tool_parser.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/json_raw.h"

struct tool_parser {
    const struct tool_list *list;
    struct buffer held;
    int calls;
};

static const struct span opening = SPAN_INIT("<tool_call>"), closing = SPAN_INIT("</tool_call>");

struct tool_parser *tool_parser_create(const struct tool_list *list)
{
    struct tool_parser *p = calloc(1, sizeof *p);
    if (p) {
        p->list = list;
        buffer_init(&p->held, 64 << 20);
    }
    return p;
}

void tool_parser_destroy(struct tool_parser *p)
{
    if (p)
        buffer_free(&p->held);
    free(p);
}

static int put(struct tool_parser *p, const struct tool_event_sink *sink, enum tool_event_kind kind,
               struct span text, struct span name)
{
    const struct tool_event e = {kind, text, name, p->calls};
    return sink->put(sink->owner, &e);
}

static int put_text(struct tool_parser *p, const struct tool_event_sink *sink, struct span text)
{
    if (p->calls && !span_trim(text).n)
        return 0;
    return text.n ? put(p, sink, TOOL_TEXT, text, SPAN("")) : 0;
}

static int put_call(struct tool_parser *p, const struct tool_event_sink *sink, struct span body,
                    struct span whole)
{
    struct span name = json_check_object(body) ? json_raw_get(body, "name") : span_of(NULL, 0);
    struct span arguments = name.p ? json_raw_get(body, "arguments") : name;
    const struct tool *tool =
        json_raw_is_text(name) ? tool_list_find(p->list, span_of(name.p + 1, name.n - 2)) : NULL;
    if (!tool || !json_raw_is_object(arguments))
        return put_text(p, sink, whole);
    int bad = put(p, sink, TOOL_BEGIN, SPAN(""), tool->name);
    if (!bad)
        bad = put(p, sink, TOOL_ARGUMENTS, arguments, SPAN(""));
    if (!bad)
        bad = put(p, sink, TOOL_END, SPAN(""), SPAN(""));
    p->calls++;
    return bad;
}

int tool_parser_feed(struct tool_parser *p, struct span piece, const struct tool_event_sink *sink)
{
    buffer_append(&p->held, piece);
    if (p->held.error)
        return TOOL_PARSER_NOMEM;
    for (;;) {
        struct span text = buffer_span(&p->held);
        ptrdiff_t at = span_find(text, opening);
        size_t n = text.n;
        if (at < 0) {
            for (size_t k = opening.n - 1; k > 0; k--) {
                if (span_ends(text, span_first(opening, k))) {
                    n -= k;
                    break;
                }
            }
        } else {
            n = (size_t)at;
        }
        int bad = put_text(p, sink, span_first(text, n));
        buffer_consume(&p->held, n);
        if (bad || at < 0)
            return bad;
        text = buffer_span(&p->held);
        ptrdiff_t end = span_find(text, closing);
        if (end < 0)
            return 0;
        struct span body = span_of(text.p + opening.n, (size_t)end - opening.n);
        bad = put_call(p, sink, body, span_first(text, (size_t)end + closing.n));
        buffer_consume(&p->held, (size_t)end + closing.n);
        if (bad)
            return bad;
    }
}

int tool_parser_end(struct tool_parser *p, enum tool_end how, const struct tool_event_sink *sink)
{
    return put_text(p, sink, buffer_span(&p->held));
}

int tool_parser_calls(const struct tool_parser *p) { return p->calls; }
