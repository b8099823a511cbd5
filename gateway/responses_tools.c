/*
 * gateway/responses_tools.c - tools and the choice among them.
 */
#include "gateway/responses_reader.h"

#include <stdlib.h>

#include "gateway/request_body.h"

enum { DESCRIPTION_LIMIT = 1 << 20 };

/* The raw names of allowed_tools, sorted. */
struct allowed {
    bool all; /* it was not said */
    struct span *names;
    size_t n;
};

static int by_name(const void *a, const void *b)
{
    return span_compare(*(const struct span *)a, *(const struct span *)b);
}

static int list_allowed(struct responses_reader *r, struct span tools, struct allowed *allowed)
{
    struct json_raw_iter it = json_raw_each(tools);
    *allowed = (struct allowed){.all = !tools.p};
    if (!tools.p)
        return 0;
    allowed->names = arena_alloc(r->arena, (json_raw_count(tools) + 1) * sizeof *allowed->names);
    if (!allowed->names)
        return fail_memory(r->fail);
    while (json_raw_next(&it)) {
        if (json_raw_is_object(it.value))
            allowed->names[allowed->n++] = json_raw_given(it.value, "name");
    }
    qsort(allowed->names, allowed->n, sizeof *allowed->names, by_name);
    return 0;
}

static bool is_allowed(const struct allowed *allowed, struct span raw_name)
{
    return allowed->all ||
           bsearch(&raw_name, allowed->names, allowed->n, sizeof raw_name, by_name) != NULL;
}

static void write_function(struct json_writer *w, struct span tool)
{
    static const char *const members[] = {"name", "description", "parameters", "strict", NULL};
    struct span nested = json_raw_given(tool, "function"); /* as in chats */
    json_begin_object(w);
    json_member(w, "type", SPAN("function"));
    json_key(w, "function");
    json_begin_object(w);
    responses_copy_members(w, json_raw_is_object(nested) ? nested : tool, members);
    json_end_object(w);
    json_end_object(w);
}

/* A tool that takes plain text: a function with one argument. What its grammar asks for is told in
 * words. */
static int write_custom(struct responses_reader *r, struct json_writer *w, struct span tool)
{
    struct span description = {NULL, 0}, syntax = {NULL, 0}, definition = {NULL, 0};
    struct span format = json_raw_given(tool, "format");
    if (responses_text_member(r, tool, "description", "tools", &description) ||
        (json_raw_is_object(format) &&
         (responses_text_member(r, format, "syntax", "tools", &syntax) ||
          responses_text_member(r, format, "definition", "tools", &definition))))
        return -1;
    json_begin_object(w);
    json_member(w, "type", SPAN("function"));
    json_key(w, "function");
    json_begin_object(w);
    json_member_raw(w, "name", json_raw_given(tool, "name"));
    json_key(w, "description");
    json_raw_value(w, SPAN("\""));
    json_escape(w->out, description);
    if (definition.n) {
        json_escape(w->out, SPAN("\n\nThe argument `input` must follow this "));
        json_escape(w->out, syntax);
        json_escape(w->out, SPAN(" grammar:\n"));
        json_escape(w->out, definition);
    }
    buffer_char(w->out, '"');
    json_member_raw(w, "parameters",
                    SPAN("{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\"}},"
                         "\"required\":[\"input\"],\"additionalProperties\":false}"));
    json_end_object(w);
    json_end_object(w);
    return 0;
}

static int add_custom_name(struct responses_reader *r, struct span *names, struct span raw)
{
    return responses_read_text(r, raw, &names[r->request->n_custom++]);
}

static int write_tools(struct responses_reader *r, struct json_writer *w, struct span tools,
                       const struct allowed *allowed, struct span *custom_names, size_t *n)
{
    struct json_raw_iter it = json_raw_each(tools);
    *n = 0;
    for (int i = 0; json_raw_next(&it); i++) {
        char where[RESPONSES_WHERE_MAX];
        snprintf(where, sizeof where, "tools[%d]", i);
        if (!json_raw_is_object(it.value))
            return responses_invalid(r, where, "an object");
        struct span type = json_raw_given(it.value, "type");
        bool custom = span_eq(type, SPAN("\"custom\""));
        if (!custom && !span_eq(type, SPAN("\"function\""))) {
            r->n_ignored_tools++;
            continue;
        }
        struct span nested = json_raw_given(it.value, "function");
        struct span name = json_raw_given(json_raw_is_object(nested) ? nested : it.value, "name");
        if (!json_raw_is_text(name) || name.n <= 2) {
            snprintf(where, sizeof where, "tools[%d].name", i);
            return responses_invalid(r, where, "a string");
        }
        if (custom && add_custom_name(r, custom_names, name))
            return -1;
        if (!is_allowed(allowed, name))
            continue;
        if (custom ? write_custom(r, w, it.value) : (write_function(w, it.value), 0))
            return -1;
        ++*n;
    }
    return 0;
}

static int read_tools(struct responses_reader *r, struct span allowed)
{
    struct span tools = json_members_given(r->top, "tools");
    struct buffer out;
    size_t n = 0, count;
    if (!tools.p)
        return 0;
    if (!json_raw_is_array(tools))
        return responses_invalid(r, "tools", "an array");
    count = json_raw_count(tools);
    if (count > REQUEST_TOOLS_MAX)
        return request_body_too_many_tools(r->fail, "tools");
    struct allowed names_allowed;
    struct span *names = arena_alloc(r->arena, (count ? count : 1) * sizeof *names);
    if (!names)
        return fail_memory(r->fail);
    if (list_allowed(r, allowed, &names_allowed))
        return -1;
    r->request->custom = names;
    buffer_init(&out, tools.n * 8 + count * 512 + DESCRIPTION_LIMIT);
    struct json_writer w = json_writer(&out);
    json_begin_array(&w);
    int bad = write_tools(r, &w, tools, &names_allowed, names, &n);
    json_end_array(&w);
    if (!bad && n) {
        r->turn->tools_raw = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
        if (!r->turn->tools_raw.p)
            bad = fail_memory(r->fail);
    }
    buffer_free(&out);
    return bad;
}

static int refuse_choice(struct responses_reader *r)
{
    return responses_unsupported(
        r, "tool_choice",
        "tool_choice asks for a tool that no site here has (web_search, file_search, "
        "mcp and the like are OpenAI's own); functions and custom tools are "
        "possible");
}

/* {"type":"function","name"}: in the chat API's form. */
static int named_choice(struct responses_reader *r, struct span raw)
{
    struct span nested = json_raw_given(raw, "function");
    struct span name = json_raw_given(json_raw_is_object(nested) ? nested : raw, "name");
    if (!json_raw_is_text(name))
        return responses_invalid(r, "tool_choice", "given the tool's \"name\"");
    r->turn->tool_choice_raw = arena_printf(
        r->arena, "{\"type\":\"function\",\"function\":{\"name\":%.*s}}", SPAN_ARGS(name));
    return r->turn->tool_choice_raw.p ? 0 : fail_memory(r->fail);
}

/* The choice before the tools: it may say which of them count. */
static int read_choice(struct responses_reader *r, struct span *allowed)
{
    struct span raw = json_members_given(r->top, "tool_choice");
    struct span type = json_raw_is_object(raw) ? json_raw_given(raw, "type") : SPAN("");
    if (!raw.p)
        return 0;
    if (json_raw_is_text(raw)) {
        if (!span_eq(raw, SPAN("\"none\"")) && !span_eq(raw, SPAN("\"auto\"")) &&
            !span_eq(raw, SPAN("\"required\"")))
            return responses_invalid(r, "tool_choice",
                                     "\"none\", \"auto\", \"required\" or an object");
        r->turn->tool_choice_raw = raw;
        return 0;
    }
    if (!json_raw_is_object(raw))
        return responses_invalid(r, "tool_choice", "\"none\", \"auto\", \"required\" or an object");
    if (span_eq(type, SPAN("\"function\"")) || span_eq(type, SPAN("\"custom\"")))
        return named_choice(r, raw);
    if (!span_eq(type, SPAN("\"allowed_tools\"")))
        return refuse_choice(r);
    *allowed = json_raw_given(raw, "tools");
    if (!json_raw_is_array(*allowed))
        return responses_invalid(r, "tool_choice", "given the \"tools\" that are allowed");
    struct span mode = json_raw_given(raw, "mode");
    r->turn->tool_choice_raw =
        span_eq(mode, SPAN("\"required\"")) ? SPAN("\"required\"") : SPAN("\"auto\"");
    return 0;
}

int responses_read_tool_fields(struct responses_reader *r)
{
    struct span allowed = {NULL, 0};
    bool parallel = true;
    struct turn *t = r->turn;
    if (read_choice(r, &allowed) || read_tools(r, allowed) ||
        responses_bool_member(r, "parallel_tool_calls", &parallel))
        return -1;
    t->no_parallel_tool_calls = !parallel;
    if (!t->tools_raw.p && r->n_ignored_tools && span_eq(t->tool_choice_raw, SPAN("\"required\"")))
        return refuse_choice(r);
    if (!t->tools_raw.p)
        t->tool_choice_raw = span_of(NULL, 0);
    t->tools_wanted = t->tools_raw.p && !span_eq(t->tool_choice_raw, SPAN("\"none\""));
    return 0;
}
