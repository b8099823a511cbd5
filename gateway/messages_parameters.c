/*
 * gateway/messages_parameters.c - tools and parameters of a request of Anthropic's API, in the
 * turn's neutral form (gateway/messages_request.h).
 */
#include "gateway/messages_internal.h"

#include <stdlib.h>

#include "base/json_write.h"
#include "gateway/reasoning_wish.h"
#include "gateway/request_body.h"

enum { STOPS_MAX = 256, TOOLS_LIMIT = 1 << 28 };

/* ---- tools ---- */

/* Members of one of the client's own tools that stand beside OpenAI's "function". */
static void write_beside(struct json_writer *w, struct span tool)
{
    static const char *const known[] = {"type",         "name",   "description",
                                        "input_schema", "strict", NULL};
    struct json_raw_iter it = json_raw_each(tool);
    while (json_raw_next(&it)) {
        if (it.value.p[0] == 'n' || messages_is_known(it.key, known))
            continue;
        buffer_char(w->out, ','); /* the key as it stands: json_key would escape it again */
        buffer_append(w->out, span_of(it.key.p - 1, it.key.n + 2));
        buffer_char(w->out, ':');
        buffer_append(w->out, it.value);
    }
}

static int write_tool(struct messages_reader *r, struct json_writer *w, struct span tool,
                      const char *place)
{
    static const char *const names[] = {"description", "strict"};
    struct span schema = json_raw_given(tool, "input_schema"), name = {NULL, 0};
    if (messages_needed_text(r, tool, place, "name", &name))
        return -1;
    if (!json_raw_is_object(schema))
        return messages_invalid_member(r, place, "input_schema", "must be an object");
    json_begin_object(w);
    json_member(w, "type", SPAN("function"));
    json_key(w, "function");
    json_begin_object(w);
    json_member(w, "name", name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct span value = json_raw_given(tool, names[i]);
        if (value.p)
            json_member_raw(w, names[i], value);
    }
    json_member_raw(w, "parameters", schema);
    json_end_object(w);
    write_beside(w, tool);
    json_end_object(w);
    return 0;
}

static int write_tools(struct messages_reader *r, struct json_writer *w, struct span tools)
{
    char place[MESSAGES_PLACE];
    struct span type;
    struct json_raw_iter it = json_raw_each(tools);
    json_begin_array(w);
    for (int i = 0; json_raw_next(&it); i++) {
        messages_place(place, "tools.%d", i);
        if (!json_raw_is_object(it.value))
            return messages_invalid(r, place, "must be an object");
        type = SPAN("custom");
        if (messages_optional_text(r, it.value, place, "type", &type))
            return -1;
        if (span_eq(type, SPAN("custom"))) {
            if (write_tool(r, w, it.value, place))
                return -1;
        } else {
            json_raw_value(w, it.value);
            r->turn->tools_foreign = true;
        }
    }
    json_end_array(w);
    return 0;
}

static int read_tools(struct messages_reader *r)
{
    struct span tools = json_members_given(r->top, "tools");
    struct buffer out;
    if (!tools.p)
        return 0;
    if (!json_raw_is_array(tools))
        return messages_invalid(r, "tools", "must be a list of tools");
    size_t n = json_raw_count(tools);
    if (n > REQUEST_TOOLS_MAX)
        return request_body_too_many_tools(r->fail, "tools");
    if (!n)
        return 0;
    buffer_init(&out, TOOLS_LIMIT);
    struct json_writer w = json_writer(&out);
    int bad = write_tools(r, &w, tools);
    if (!bad) {
        r->turn->tools_raw = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
        bad = r->turn->tools_raw.p ? 0 : fail_memory(r->fail);
    }
    buffer_free(&out);
    return bad;
}

static int read_named_choice(struct messages_reader *r, struct span choice)
{
    struct span name = json_raw_given(choice, "name");
    if (!json_raw_is_text(name))
        return messages_invalid(r, "tool_choice.name", name.p ? "must be a string" : "is required");
    r->turn->tool_choice_raw = arena_printf(
        r->arena, "{\"type\":\"function\",\"function\":{\"name\":%.*s}}", SPAN_ARGS(name));
    return r->turn->tool_choice_raw.p ? 0 : fail_memory(r->fail);
}

static int read_tool_choice(struct messages_reader *r)
{
    struct turn *t = r->turn;
    struct span choice = json_members_given(r->top, "tool_choice"), type = {NULL, 0};
    t->tools_wanted = t->tools_raw.p;
    if (!choice.p)
        return 0;
    if (!json_raw_is_object(choice))
        return messages_invalid(r, "tool_choice", "must be an object with a \"type\"");
    if (messages_needed_text(r, choice, "tool_choice", "type", &type))
        return -1;
    t->no_parallel_tool_calls =
        span_eq(json_raw_given(choice, "disable_parallel_tool_use"), SPAN("true"));
    if (span_eq(type, SPAN("tool")))
        return read_named_choice(r, choice);
    if (span_eq(type, SPAN("auto")))
        t->tool_choice_raw = SPAN("\"auto\"");
    else if (span_eq(type, SPAN("any")))
        t->tool_choice_raw = SPAN("\"required\"");
    else if (span_eq(type, SPAN("none")))
        t->tool_choice_raw = SPAN("\"none\"");
    else
        return messages_invalid(r, "tool_choice.type", "must be auto, any, tool or none");
    t->tools_wanted = t->tools_raw.p && !span_eq(type, SPAN("none"));
    return 0;
}

/* ---- parameters ---- */

static int read_number(struct messages_reader *r, const char *key, bool *has, double *value)
{
    struct span v = json_members_given(r->top, key);
    if (!v.p)
        return 0;
    if (v.p[0] != '-' && (v.p[0] < '0' || v.p[0] > '9'))
        return messages_invalid(r, key, "must be a number");
    *value = strtod(v.p, NULL); /* ends at the value's end: a delimiter follows */
    *has = true;
    return 0;
}

static int read_int(struct messages_reader *r, const char *key, bool *has, int64_t *value)
{
    double number = 0;
    bool given = false;
    if (read_number(r, key, &given, &number))
        return -1;
    if (!given)
        return 0;
    if (!(number >= 0 && number <= 9e15) || number != (double)(int64_t)number)
        return messages_invalid(r, key, "must be a whole number");
    *value = (int64_t)number;
    *has = true;
    return 0;
}

static int read_limit(struct messages_reader *r, const struct messages_wish *wish)
{
    struct turn *t = r->turn;
    if (wish->only_counting)
        return 0;
    if (read_int(r, "max_tokens", &t->has_max_tokens, &t->max_tokens))
        return -1;
    if (!t->has_max_tokens)
        return messages_invalid(r, "max_tokens",
                                "is required: the most tokens that the answer may have");
    t->max_includes_reasoning = true;
    return t->max_tokens >= 1 ? 0 : messages_invalid(r, "max_tokens", "must be at least 1");
}

static int read_stops(struct messages_reader *r)
{
    struct span raw = json_members_given(r->top, "stop_sequences");
    if (!raw.p)
        return 0;
    size_t n = json_raw_is_array(raw) ? json_raw_count(raw) : 0;
    if (!json_raw_is_array(raw) || n > STOPS_MAX)
        return messages_invalid(r, "stop_sequences", "must be a list of at most 256 strings");
    struct span *stops = arena_alloc(r->arena, (n ? n : 1) * sizeof *stops);
    if (!stops)
        return fail_memory(r->fail);
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++) {
        char place[MESSAGES_PLACE];
        messages_place(place, "stop_sequences.%d", i);
        if (!json_raw_is_text(it.value))
            return messages_invalid(r, place, "must be a string");
        if (messages_read_text(r, it.value, &stops[r->turn->n_stop]))
            return -1;
        if (stops[r->turn->n_stop].n) /* an empty text stops nothing */
            r->turn->n_stop++;
    }
    r->turn->stop = stops;
    return 0;
}

/* {"type":"json_schema","schema":{…}} in OpenAI's form. */
static int read_format(struct messages_reader *r, struct span format)
{
    struct span schema = json_raw_given(format, "schema");
    if (!json_raw_is_object(format) || !json_raw_is_object(schema) ||
        !span_eq(json_raw_given(format, "type"), SPAN("\"json_schema\"")))
        return 0; /* whatever it is, the service of the dialect will know */
    struct buffer out;
    buffer_init(&out, schema.n + 128);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    json_member(&w, "type", SPAN("json_schema"));
    json_key(&w, "json_schema");
    json_begin_object(&w);
    json_member(&w, "name", SPAN("answer"));
    json_member_raw(&w, "schema", schema);
    json_end_object(&w);
    json_end_object(&w);
    struct span raw = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    r->turn->response_format_raw = raw;
    return raw.p ? 0 : fail_memory(r->fail);
}

static int check_thinking(struct messages_reader *r)
{
    struct span thinking = json_members_given(r->top, "thinking"), type = {NULL, 0};
    if (!thinking.p)
        return 0;
    if (!json_raw_is_object(thinking))
        return messages_invalid(r, "thinking", "must be an object with a \"type\"");
    return messages_needed_text(r, thinking, "thinking", "type", &type);
}

static int read_output_wishes(struct messages_reader *r)
{
    struct turn *t = r->turn;
    struct span config = json_members_given(r->top, "output_config");
    if (config.p && !json_raw_is_object(config))
        return messages_invalid(r, "output_config", "must be an object");
    struct span effort = json_raw_given(config, "effort");
    if (effort.p && !json_raw_is_text(effort))
        return messages_invalid(r, "output_config.effort", "must be a string");
    if (reasoning_wish_read(r->json, r->arena, r->top, t, r->fail))
        return -1;
    struct span format = json_raw_given(config, "format");
    return read_format(r, format.p ? format : json_members_given(r->top, "output_format"));
}

int messages_read_parameters(struct messages_reader *r, const struct messages_wish *wish)
{
    struct turn *t = r->turn;
    return read_limit(r, wish) || read_stops(r) || read_tools(r) || read_tool_choice(r) ||
                   check_thinking(r) || read_output_wishes(r) ||
                   read_number(r, "temperature", &t->has_temperature, &t->temperature) ||
                   read_number(r, "top_p", &t->has_top_p, &t->top_p) ||
                   read_int(r, "top_k", &t->has_top_k, &t->top_k)
               ? -1
               : 0;
}
