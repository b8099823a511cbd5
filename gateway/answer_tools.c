/*
 * gateway/answer_tools.c - see answer_tools.h.
 */
#include "gateway/answer_tools.h"

/* How models write results that they make up. */
static const struct span results[] = {SPAN_INIT("<tool_result"), SPAN_INIT("<tool_response"),
                                      SPAN_INIT("<function_results")};

int answer_tools_init(struct answer_tools *t, const struct tool_list *list, bool one_call,
                      const struct answer_tools_out *out)
{
    *t = (struct answer_tools){.out = *out, .one_call = one_call};
    t->parser = tool_parser_create(list);
    if (!t->parser)
        return -1;
    stop_filter_init(&t->made_up, results, sizeof results / sizeof *results);
    return 0;
}

void answer_tools_free(struct answer_tools *t)
{
    stop_filter_free(&t->made_up);
    tool_parser_destroy(t->parser);
}

static int pass_text(struct answer_tools *t, struct span text)
{
    if (t->calls) {
        if (stop_filter_pass(&t->made_up, text, &text))
            return -1;
        t->enough |= t->made_up.stopped;
    }
    return text.n ? t->out.text(t->out.owner, text) : 0;
}

static int end_text(struct answer_tools *t)
{
    struct span rest = stop_filter_end(&t->made_up);
    return rest.n ? t->out.text(t->out.owner, rest) : 0;
}

static int take_event(void *owner, const struct tool_event *e)
{
    struct answer_tools *t = owner;
    if (t->enough)
        return 0;
    switch (e->kind) {
    case TOOL_TEXT: return pass_text(t, e->text);
    case TOOL_BEGIN:
        if (t->calls && end_text(t))
            return -1;
        t->calls++;
        return t->out.begin(t->out.owner, e->call, e->name);
    case TOOL_ARGUMENTS: return t->out.arguments(t->out.owner, e->call, e->text);
    case TOOL_END: t->enough |= t->one_call; break;
    }
    return 0;
}

int answer_tools_pass(struct answer_tools *t, struct span piece)
{
    const struct tool_event_sink sink = {take_event, t};
    if (t->enough || !piece.n)
        return 0;
    return t->over ? t->out.text(t->out.owner, piece) : tool_parser_feed(t->parser, piece, &sink);
}

int answer_tools_end(struct answer_tools *t, enum tool_end end)
{
    const struct tool_event_sink sink = {take_event, t};
    if (t->over)
        return 0;
    t->over = true;
    int result = t->enough ? TOOL_PARSER_OK : tool_parser_end(t->parser, end, &sink);
    if (result == TOOL_PARSER_HALF) {
        t->torn = true;
        return 0;
    }
    return result || t->enough ? result : end_text(t);
}
