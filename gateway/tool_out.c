/*
 * gateway/tool_out.c - see tool_out.h.
 */
#include "gateway/tool_out.h"

enum {
    ARGUMENTS_KEPT = 64 * 1024, /* so much leaves at the latest, but for one value */
    ARGUMENTS_MAX = 1 << 30
};

void tool_out_init(struct tool_out *o)
{
    *o = (struct tool_out){.sink = NULL};
    buffer_init(&o->arguments, ARGUMENTS_MAX);
    buffer_init(&o->scratch, SIZE_MAX);
    tool_values_init(&o->values);
}

void tool_out_free(struct tool_out *o)
{
    buffer_free(&o->arguments);
    buffer_free(&o->scratch);
    tool_values_free(&o->values);
}

static void put(struct tool_out *o, const struct tool_event *event)
{
    if (!o->stopped)
        o->stopped = o->sink->put(o->sink->owner, event);
}

void tool_out_text(struct tool_out *o, struct span text)
{
    if (text.n)
        put(o, &(struct tool_event){.kind = TOOL_TEXT, .text = text});
}

void tool_out_flush(struct tool_out *o)
{
    if (o->arguments.error && !o->stopped)
        o->stopped = TOOL_PARSER_NOMEM;
    struct span text = SPAN("");
    if (o->arguments.n &&
        text_guard_pass(&o->guard, buffer_span(&o->arguments), &o->scratch, &text))
        o->stopped = TOOL_PARSER_NOMEM;
    if (text.n)
        put(o, &(struct tool_event){.kind = TOOL_ARGUMENTS, .text = text, .call = o->calls - 1});
    buffer_shrink(&o->arguments, ARGUMENTS_KEPT);
}

void tool_out_begin(struct tool_out *o, const struct tool *tool)
{
    put(o, &(struct tool_event){.kind = TOOL_BEGIN, .name = tool->name, .call = o->calls});
    o->calls++;
    o->open = true;
    o->guard = (struct text_guard){.n_held = 0};
    tool_values_begin(&o->values, tool, &o->arguments);
}

void tool_out_end(struct tool_out *o)
{
    tool_values_end(&o->values);
    tool_out_flush(o);
    put(o, &(struct tool_event){.kind = TOOL_END, .call = o->calls - 1});
    o->open = false;
}
