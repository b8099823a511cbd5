/*
 * adapters/support_blocks.c - answers told in blocks, as Anthropic's API and its web app do
 * (adapters/support.h; sites/anthropic.md §5, sites/claude_web.md §5).
 */
#include "adapters/support.h"

static const struct {
    struct span name;
    enum message_event_kind kind;
    const char *inner; /* the member that the event is about */
} events[] = {
    {SPAN_INIT("content_block_delta"), EVENT_BLOCK_DELTA, "delta"},
    {SPAN_INIT("content_block_start"), EVENT_BLOCK_START, "content_block"},
    {SPAN_INIT("content_block_stop"), EVENT_BLOCK_STOP, ""},
    {SPAN_INIT("message_start"), EVENT_MESSAGE_START, "message"},
    {SPAN_INIT("message_delta"), EVENT_MESSAGE_DELTA, "delta"},
    {SPAN_INIT("message_stop"), EVENT_MESSAGE_STOP, ""},
    {SPAN_INIT("error"), EVENT_ERROR, "error"},
    {SPAN_INIT("ping"), EVENT_PING, ""},
};

bool message_event_read(struct turn_run *run, const struct frame *frame, struct message_event *e)
{
    struct span text = span_trim(frame->data);
    *e = (struct message_event){.kind = EVENT_OTHER};
    if (!text.n)
        return false;
    if (json_parse_lenient(run->json, text, &e->root) != JSON_OK ||
        !json_is(e->root, JSON_OBJECT)) {
        run_drift(run, "event that is no JSON object");
        return false;
    }
    e->name = json_get_text(e->root, "type");
    if (!e->name.n)
        e->name = frame->type;
    if (!json_int(json_get(e->root, "index"), &e->index))
        e->index = 0;
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if (!span_eq(e->name, events[i].name))
            continue;
        e->kind = events[i].kind;
        e->inner = json_get(e->root, events[i].inner);
    }
    return true;
}

static enum block_kind kind_of(struct span type)
{
    if (span_eq(type, SPAN("text")))
        return BLOCK_TEXT;
    if (span_eq(type, SPAN("thinking")))
        return BLOCK_THINKING;
    if (span_eq(type, SPAN("tool_result")))
        return BLOCK_RESULT;
    return span_eq(type, SPAN("tool_use")) ? BLOCK_TOOL : BLOCK_OTHER;
}

struct block *block_find(struct blocks *b, int64_t index)
{
    for (size_t i = 0; i < BLOCKS_OPEN_MAX; i++) {
        if (b->open[i].kind != BLOCK_NONE && b->open[i].index == index)
            return &b->open[i];
    }
    return NULL;
}

struct block *block_open(struct turn_run *run, struct blocks *b, int64_t index, struct span type)
{
    for (size_t i = 0; i < BLOCKS_OPEN_MAX; i++) {
        if (b->open[i].kind != BLOCK_NONE)
            continue;
        b->open[i] = (struct block){.kind = kind_of(type), .index = index};
        return &b->open[i];
    }
    run_drift(run, "too many open blocks");
    return NULL;
}

struct span stop_reason_of(struct turn_run *run, const struct stop_row *rows, size_t n,
                           struct span said)
{
    for (size_t i = 0; i < n; i++) {
        if (span_eq(said, rows[i].said))
            return rows[i].reason;
    }
    if (said.n)
        run_drift(run, "unknown stop_reason");
    return SPAN("stop");
}
