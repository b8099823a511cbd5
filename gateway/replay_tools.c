/*
 * gateway/replay_tools.c - see replay_tools.h.
 */
#include "gateway/replay_tools.h"

#include <stdlib.h>

#include "gateway/tool_parser.h"

enum { CHOICES = 8 };

struct replay_choice {
    struct replay_tools *tools;
    int index;
    struct tool_parser *parser; /* NULL before its first text */
    bool over;
};

struct replay_tools {
    struct tool_list list;
    const struct delta_sink *out;
    struct replay_choice choices[CHOICES];
    bool torn;
};

struct replay_tools *replay_tools_create(struct arena *arena, struct json_parser *json,
                                         struct span tools_raw, const struct delta_sink *out,
                                         struct fail *fail)
{
    struct replay_tools *t = calloc(1, sizeof *t);
    if (!t) {
        fail_memory(fail);
        return NULL;
    }
    t->out = out;
    for (int i = 0; i < CHOICES; i++)
        t->choices[i] = (struct replay_choice){.tools = t, .index = i};
    if (tool_list_read(arena, json, tools_raw, &t->list, fail) == 0)
        return t;
    free(t);
    return NULL;
}

void replay_tools_destroy(struct replay_tools *t)
{
    for (int i = 0; t && i < CHOICES; i++) {
        if (t->choices[i].parser)
            tool_parser_destroy(t->choices[i].parser);
    }
    free(t);
}

static int take_event(void *owner, const struct tool_event *e)
{
    const struct replay_choice *c = owner;
    const struct delta_sink *out = c->tools->out;
    switch (e->kind) {
    case TOOL_TEXT: return delta_text(out, c->index, e->text);
    case TOOL_BEGIN: return delta_tool_begin(out, c->index, e->call, SPAN(""), e->name);
    case TOOL_ARGUMENTS: return delta_tool_arguments(out, c->index, e->call, e->text);
    case TOOL_END: break;
    }
    return 0;
}

static int put_text(struct replay_choice *c, const struct delta *d)
{
    const struct tool_event_sink sink = {take_event, c};
    if (!c->parser)
        c->parser = tool_parser_create(&c->tools->list);
    if (!c->parser)
        return -1;
    return c->over ? 0 : tool_parser_feed(c->parser, d->text, &sink);
}

static int end_choice(struct replay_choice *c)
{
    const struct tool_event_sink sink = {take_event, c};
    if (!c->parser || c->over)
        return 0;
    c->over = true;
    int result = tool_parser_end(c->parser, &sink);
    c->tools->torn |= result == TOOL_PARSER_HALF;
    return result == TOOL_PARSER_HALF ? 0 : result;
}

static int put(void *owner, const struct delta *d)
{
    struct replay_tools *t = owner;
    bool ours = d->choice >= 0 && d->choice < CHOICES;
    if (ours && d->kind == DELTA_TEXT)
        return put_text(&t->choices[d->choice], d);
    if (ours && d->kind == DELTA_FINISH && end_choice(&t->choices[d->choice]))
        return -1;
    return t->out->put(t->out->owner, d);
}

struct delta_sink replay_tools_sink(struct replay_tools *t)
{
    return (struct delta_sink){.put = put, .owner = t};
}

int replay_tools_end(struct replay_tools *t)
{
    for (int i = 0; i < CHOICES; i++) {
        if (end_choice(&t->choices[i]))
            return -1;
    }
    return 0;
}

bool replay_tools_torn(const struct replay_tools *t) { return t->torn; }
