/*
 * test/unit/support/tool_run.c - see tool_run.h.
 */
#include "test/unit/support/tool_run.h"

#include <stdio.h>
#include <stdlib.h>

void tool_run_list(struct arena *a, const char *tools, struct tool_list *list)
{
    struct json_parser *parser = json_parser_create(1 << 20);
    struct fail fail = {FAIL_NONE};
    if (!parser || tool_list_read(a, parser, span_str(tools), list, &fail)) {
        fprintf(stderr, "the test's tools: %s\n", fail.message);
        abort();
    }
    json_parser_destroy(parser);
}

static int put(void *owner, const struct tool_event *e)
{
    struct buffer *out = owner;
    switch (e->kind) {
    case TOOL_TEXT:
    case TOOL_ARGUMENTS: buffer_append(out, e->text); break;
    case TOOL_BEGIN: buffer_printf(out, "«%.*s ", SPAN_ARGS(e->name)); break;
    case TOOL_END: buffer_append(out, SPAN("»")); break;
    }
    return 0;
}

void tool_run(const struct tool_list *list, struct span text, size_t first, size_t piece,
              enum tool_end how, struct buffer *out)
{
    const struct tool_event_sink sink = {put, out};
    struct tool_parser *p = tool_parser_create(list);
    int bad = p ? 0 : TOOL_PARSER_NOMEM;
    for (size_t n = first; !bad && text.n; n = piece) {
        struct span part = span_first(text, n);
        bad = tool_parser_feed(p, part, &sink);
        text = span_from(text, part.n);
    }
    if (!bad)
        bad = tool_parser_end(p, how, &sink);
    if (bad)
        buffer_append(out, bad == TOOL_PARSER_HALF ? SPAN("!HALF") : SPAN("!ERROR"));
    tool_parser_destroy(p);
}
