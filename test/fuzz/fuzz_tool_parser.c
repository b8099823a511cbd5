/*
 * fuzz_tool_parser.c - any bytes as a model's answer, cut in two ways: the same events, arguments
 * that are JSON objects, and, where there is no call, all of the text.
 */
#include <stdlib.h>

#include "gateway/tool_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"a\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"},\"l\":{\"type\":"
    "\"array\"},\"b\":{\"type\":\"boolean\"},\"o\":{\"type\":\"object\"},\"x\":{}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"get_time\"}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"search\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"query\":{\"type\":\"string\"}}}}}]";

struct outcome {
    struct buffer all, text, arguments;
    bool open;
    enum tool_event_kind last;
};

static struct json_parser *json;
static struct arena arena;
static struct tool_list list;

static void check_arguments(struct span arguments)
{
    struct json root;
    int bad = json_parse_lenient(json, arguments, &root);
    CHECK(bad == JSON_OK || bad == JSON_NUMBER || bad == JSON_TOO_LARGE);
    CHECK(bad || json_is(root, JSON_OBJECT));
}

static int put(void *owner, const struct tool_event *e)
{
    struct outcome *o = owner;
    switch (e->kind) {
    case TOOL_TEXT:
        CHECK(!o->open && e->text.n);
        buffer_append(&o->text, e->text);
        break;
    case TOOL_BEGIN:
        CHECK(!o->open && tool_list_find(&list, e->name));
        buffer_printf(&o->all, "<%d %.*s ", e->call, SPAN_ARGS(e->name));
        buffer_clear(&o->arguments);
        o->open = true;
        return 0;
    case TOOL_ARGUMENTS:
        CHECK(o->open && e->text.n);
        buffer_append(&o->arguments, e->text);
        break;
    case TOOL_END:
        CHECK(o->open);
        check_arguments(buffer_span(&o->arguments));
        buffer_append(&o->all, SPAN(">"));
        o->open = false;
        break;
    }
    buffer_append(&o->all, e->text);
    return 0;
}

static void run(struct span text, size_t piece, struct outcome *o)
{
    const struct tool_event_sink sink = {put, o};
    struct tool_parser *p = tool_parser_create(&list);
    *o = (struct outcome){.open = false};
    buffer_init(&o->all, 1 << 28);
    buffer_init(&o->text, 1 << 28);
    buffer_init(&o->arguments, 1 << 28);
    struct span rest = text;
    while (rest.n) {
        struct span part = span_first(rest, piece);
        CHECK(tool_parser_feed(p, part, &sink) == 0);
        rest = span_from(rest, part.n);
    }
    int end = tool_parser_end(p, TOOL_END_WHOLE, &sink);
    CHECK(end == (o->open ? TOOL_PARSER_HALF : TOOL_PARSER_OK));
    buffer_printf(&o->all, "%d", end);
    if (!tool_parser_calls(p))
        CHECK(span_eq(buffer_span(&o->text), text));
    tool_parser_destroy(p);
}

static void release(struct outcome *o)
{
    buffer_free(&o->all);
    buffer_free(&o->text);
    buffer_free(&o->arguments);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole, cut, bytes;
    struct fail fail;
    if (!json) {
        json = json_parser_create(1 << 26);
        arena_init(&arena);
        CHECK(tool_list_read(&arena, json, span_str(tools), &list, &fail) == 0);
    }
    if (size == 0)
        return 0;
    struct span text = span_of((const char *)data + 1, size - 1);
    run(text, size, &whole);
    run(text, data[0] % 31 + 2u, &cut);
    run(text, 1, &bytes);
    CHECK(span_eq(buffer_span(&whole.all), buffer_span(&cut.all)));
    CHECK(span_eq(buffer_span(&whole.all), buffer_span(&bytes.all)));
    release(&whole);
    release(&cut);
    release(&bytes);
    return 0;
}
