/*
 * test/memory/scenarios_tools.c - tools of sites that have none, and JSON from sites that promise
 * none: told by words, found in texts, mended, judged.
 */
#include "gateway/chat_request.h"
#include "gateway/structured_answer.h"
#include "gateway/structured_output.h"
#include "gateway/tool_emulation.h"
#include "gateway/tool_parser.h"
#include "gateway/tool_prompt.h"
#include "test/memory/scenario.h"

static const char body_text[] =
    "{\"model\":\"m\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get\","
    "\"description\":\"gets\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":"
    "\"string\"},\"n\":{\"type\":\"integer\"},\"l\":{\"type\":\"array\"}}}}}],\"messages\":[{"
    "\"role\":\"user\",\"content\":\"go\"},{\"role\":\"assistant\",\"content\":\"well\","
    "\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"get\","
    "\"arguments\":\"{\\\"a\\\":\\\"x\\\"}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"c1\","
    "\"content\":\"sunny\"}],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
    "\"name\":\"s\",\"schema\":{\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{"
    "\"type\":\"string\",\"pattern\":\"^x+$\"},\"b\":{\"$ref\":\"#/$defs/b\"}},\"$defs\":{\"b\":{"
    "\"anyOf\":[{\"type\":\"integer\"},{\"const\":\"no\"}]}}}}}}";

/* A turn of that body, for the scenarios below. */
struct bench {
    struct arena arena;
    struct json_parser *json;
    struct turn turn;
    struct fail fail;
};

static int open_bench(struct bench *b)
{
    arena_init(&b->arena);
    b->fail = (struct fail){0};
    b->json = json_parser_create(1 << 20);
    struct span body = arena_dup(&b->arena, span_str(body_text));
    if (!b->json || !body.p)
        return fail_memory(&b->fail);
    return chat_request_parse(b->json, &b->arena, (char *)(uintptr_t)body.p, body.n, &b->turn,
                              &b->fail);
}

static void close_bench(struct bench *b)
{
    arena_free(&b->arena);
    json_parser_destroy(b->json);
}

static enum scenario_end told_by_words(const void *what)
{
    struct bench b;
    struct tool_wish wish;
    const struct turn *turn = NULL;
    enum scenario_end end = SCENARIO_GOOD;
    if (open_bench(&b) || tool_wish_read(&b.arena, b.json, &b.turn, &wish, &b.fail) ||
        !(turn = tool_emulation_turn(&b.arena, &b.turn, &wish, 0, &b.fail)))
        end = scenario_short(&b.fail);
    for (size_t i = 0; turn && i < turn->n_messages; i++) {
        for (size_t k = 0; k < turn->messages[i].n_parts; k++)
            scenario_say(turn->messages[i].parts[k].text);
    }
    close_bench(&b);
    return end;
}

static int put(void *owner, const struct tool_event *e)
{
    scenario_sayf("<%d %d>", (int)e->kind, e->call);
    scenario_say(e->kind == TOOL_BEGIN ? e->name : e->text);
    return 0;
}

static enum scenario_end found_in_text(const void *what)
{
    const struct tool_event_sink sink = {put, NULL};
    struct span text = span_str(what);
    struct bench b;
    struct tool_list list;
    struct tool_parser *p = NULL;
    int r = TOOL_PARSER_NOMEM;
    if (open_bench(&b) || tool_list_read(&b.arena, b.json, b.turn.tools_raw, &list, &b.fail)) {
        scenario_short(&b.fail);
    } else if ((p = tool_parser_create(&list))) {
        r = 0;
        for (size_t at = 0; at < text.n && !r; at += 7)
            r = tool_parser_feed(p, span_first(span_from(text, at), 7), &sink);
        if (!r)
            r = tool_parser_end(p, &sink);
        SCENARIO_CHECK(r == TOOL_PARSER_OK || r == TOOL_PARSER_NOMEM || r == TOOL_PARSER_HALF);
        scenario_sayf("%d", r);
        tool_parser_destroy(p);
    }
    close_bench(&b);
    return r == TOOL_PARSER_NOMEM ? SCENARIO_SHORT : SCENARIO_GOOD;
}

static enum scenario_end judged(const void *what)
{
    struct bench b;
    struct structured_wish wish;
    struct structured_verdict verdict = {0};
    struct buffer room;
    enum scenario_end end = SCENARIO_GOOD;
    buffer_init(&room, 1 << 20);
    if (open_bench(&b) || structured_wish_read(&b.arena, b.json, &b.turn, &wish, &b.fail) ||
        !structured_turn(&b.arena, &b.turn, &wish, &b.fail)) {
        end = scenario_short(&b.fail);
    } else {
        scenario_say(structured_pick(&wish, span_str(what), false, &room, &verdict));
        scenario_sayf("%d %.*s", (int)verdict.kind, (int)verdict.error.n, verdict.error.text);
        if (verdict.kind == STRUCTURED_UNCHECKED) /* memory is short, for one thing */
            end = SCENARIO_SHORT;
    }
    buffer_free(&room);
    close_bench(&b);
    return end;
}

const struct scenario scenarios_tools[] = {
    {"tools: told by words", told_by_words, NULL},
    {"tools: JSON between marks", found_in_text,
     "I shall.\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\": \"x\\n\", \"n\": \"3\", "
     "\"l\": "
     "[1, {\"b\": 2}]}}\n</tool_call>\nDone."},
    {"tools: nearly JSON", found_in_text,
     "<tool_call>{'name': 'get', 'arguments': {'a': 'it\\'s', n: 3, l: (1, 2,),}}</tool_call>"},
    {"tools: elements", found_in_text,
     "<function=get>\n<parameter=a>\nsome text\n</parameter>\n<parameter=n>7</parameter>\n"
     "</function>"},
    {"tools: fenced", found_in_text,
     "```json\n{\"tool\": \"get\", \"parameters\": {\"a\": \"x\"}}\n```\nand more"},
    {"structured: valid", judged, "Here it is:\n```json\n{\"a\": \"xxx\", \"b\": 7}\n```\n"},
    {"structured: mended", judged, "{'a': 'xx', b: \"no\",}"},
    {"structured: wrong", judged, "{\"a\": \"y\"}"},
    {NULL, NULL, NULL},
};
