/*
 * gateway/answer_tools.c - see answer_tools.h.
 */
#include "gateway/answer_tools.h"

int answer_tools_init(struct answer_tools *t, const struct tool_list *list, bool one_call,
                      const struct answer_tools_out *out)
{
    *t = (struct answer_tools){.out = *out, .one_call = one_call};
    t->parser = tool_parser_create(list);
    return t->parser ? 0 : -1;
}

void answer_tools_free(struct answer_tools *t) { tool_parser_destroy(t->parser); }

static int take_event(void *owner, const struct tool_event *e)
{
    struct answer_tools *t = owner;
    if (t->enough)
        return 0;
    switch (e->kind) {
    case TOOL_TEXT: return t->out.text(t->out.owner, e->text);
    case TOOL_BEGIN: t->calls++; return t->out.begin(t->out.owner, e->call, e->name);
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
    if (t->over)
        return t->out.text(t->out.owner, piece);
    int result = tool_parser_feed(t->parser, piece, &sink);
    t->enough |= tool_parser_invented(t->parser);
    return result;
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
    return result;
}
