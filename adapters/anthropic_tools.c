/*
 * adapters/anthropic_tools.c - the tools of a request, and the choice among them
 * (sites/anthropic.md §4.2).
 *
 * A turn in Anthropic's own words has its tools as it said them. The hard part of the others: calls
 * in the history ask for declarations, even where the client gives none any more.
 */
#include <stdlib.h>

#include "adapters/anthropic.h"
#include "base/json_raw.h"

/* A raw string's content in the arena; {NULL,0} when it is none. */
static struct span raw_text(struct turn_run *run, struct span raw)
{
    struct json text;
    if (!raw.n || raw.p[0] != '"' || json_parse(run->json, raw, &text) != JSON_OK)
        return span_of(NULL, 0);
    return arena_dup(run->arena, json_text(text));
}

/* A schema's type must be "object". */
static void write_input_schema(struct anthropic_body *b, struct span parameters)
{
    json_key(&b->w, "input_schema");
    if (!json_raw_is_object(parameters)) {
        json_raw_value(&b->w, SPAN("{\"type\":\"object\",\"properties\":{}}"));
    } else if (b->same || json_raw_given(parameters, "type").p) {
        json_raw_value(&b->w, parameters);
    } else {
        struct json_raw_iter it = json_raw_each(parameters);
        bool properties = json_raw_given(parameters, "properties").p != NULL;
        json_begin_object(&b->w);
        json_member(&b->w, "type", SPAN("object"));
        if (!properties)
            json_member_raw(&b->w, "properties", SPAN("{}"));
        while (json_raw_next(&it)) {
            if (!json_raw_key_is(it.key, SPAN("type")) &&
                (properties || !json_raw_key_is(it.key, SPAN("properties"))))
                json_raw_append_member(b->w.out, it.key, it.value);
        }
        json_end_object(&b->w);
    }
}

static int write_tool(struct anthropic_body *b, struct span entry, int i, struct anthropic_name *as)
{
    struct json_writer *w = &b->w;
    struct span function = json_raw_given(entry, "function");
    struct span type = json_raw_given(entry, "type");
    if (type.p && !anthropic_raw_is(type, "\"function\"")) {
        if (b->same) {
            json_raw_value(w, entry);
            return 0;
        }
        char param[32];
        struct span path = arena_printf(b->run->arena, "tools[%d]", i);
        memcpy(param, path.p ? path.p : "", path.p ? path.n + 1 : 1);
        return fail_param(b->run->fail, FAIL_UNSUPPORTED, param,
                          "Anthropic knows tools of the type \"function\" only");
    }
    if (!json_raw_is_object(function))
        function = entry;
    struct span description = json_raw_given(function, "description");
    struct span strict = json_raw_given(function, "strict");
    as->asked = raw_text(b->run, json_raw_given(function, "name"));
    as->sent = anthropic_tool_name(b, as->asked);
    if (!as->asked.p || !as->sent.p)
        return fail_param(b->run->fail, FAIL_INVALID_VALUE, "tools",
                          "tools[%d] must be a function with a name", i);
    json_begin_object(w);
    json_member(w, "name", as->sent);
    if (description.n && description.p[0] == '"')
        json_member_raw(w, "description", description);
    write_input_schema(b, json_raw_given(function, "parameters"));
    if ((anthropic_raw_is(strict, "true") && (b->same || b->a->model.formats)) ||
        (anthropic_raw_is(strict, "false") && b->same))
        json_member_raw(w, "strict", strict);
    struct json_raw_iter it = json_raw_each(entry);
    while (b->same && json_raw_next(&it)) {
        if (json_raw_key_is(it.key, SPAN("type")) || json_raw_key_is(it.key, SPAN("function")))
            continue;
        json_raw_append_member(w->out, it.key, it.value);
        w->comma = true;
    }
    json_end_object(w);
    return 0;
}

/* Pointers to names: equal ones side by side, the first before the others. */
static int by_name(const void *a, const void *b)
{
    const struct anthropic_name *x = *(struct anthropic_name *const *)a;
    const struct anthropic_name *y = *(struct anthropic_name *const *)b;
    int order = span_compare(x->asked, y->asked);
    return order ? order : (x > y) - (x < y);
}

/* The names of all calls in their order, each once. -1 = memory is short. */
static int gather_names(struct anthropic_body *b, struct anthropic_name *names, size_t *n)
{
    const struct turn *t = b->run->turn;
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < t->n_messages; i++) {
        for (size_t k = 0; k < t->messages[i].n_tool_calls; k++)
            names[count++].asked = t->messages[i].tool_calls[k].name;
    }
    struct anthropic_name **sorted = arena_alloc(b->run->arena, (count + 1) * sizeof *sorted);
    bool *again = arena_alloc(b->run->arena, count + 1);
    if (!sorted || !again)
        return -1;
    for (size_t i = 0; i < count; i++)
        sorted[i] = &names[i];
    qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 1; i < count; i++)
        again[sorted[i] - names] = span_eq(sorted[i]->asked, sorted[i - 1]->asked);
    for (size_t i = 0; i < count; i++) {
        if (!again[i])
            names[kept++].asked = names[i].asked;
    }
    *n = kept;
    return 0;
}

/* Calls in the history ask for declarations, even where none are given now. */
static int rebuild_tools(struct anthropic_body *b, struct anthropic_name *names, size_t *n)
{
    struct json_writer *w = &b->w;
    if (gather_names(b, names, n))
        return fail_memory(b->run->fail);
    if (!*n)
        return 0;
    json_key(w, "tools");
    json_begin_array(w);
    for (size_t i = 0; i < *n; i++) {
        names[i].sent = anthropic_tool_name(b, names[i].asked);
        if (!names[i].sent.p)
            return fail_memory(b->run->fail);
        json_begin_object(w);
        json_member(w, "name", names[i].sent);
        write_input_schema(b, span_of(NULL, 0));
        json_end_object(w);
    }
    json_end_array(w);
    json_member_raw(w, "tool_choice", SPAN("{\"type\":\"none\"}"));
    return 0;
}

static size_t count_names(const struct turn *t)
{
    size_t n = 1;
    struct json_raw_iter it = json_raw_each(t->tools_raw);
    while (t->tools_raw.p && json_raw_next(&it))
        n++;
    for (size_t i = 0; i < t->n_messages; i++)
        n += t->messages[i].n_tool_calls;
    return n;
}

static int write_choice(struct anthropic_body *b)
{
    const struct turn *t = b->run->turn;
    struct json_writer *w = &b->w;
    struct span raw = t->tool_choice_raw, type = SPAN("auto"), name = {NULL, 0};
    if (!t->tools_raw.p || (!raw.p && !t->no_parallel_tool_calls))
        return 0;
    if (anthropic_raw_is(raw, "\"none\"")) {
        type = SPAN("none");
    } else if (anthropic_raw_is(raw, "\"required\"")) {
        type = SPAN("any");
    } else if (json_raw_is_object(raw) &&
               anthropic_raw_is(json_raw_given(raw, "type"), "\"function\"")) {
        type = SPAN("tool");
        struct span function = json_raw_given(raw, "function");
        name =
            raw_text(b->run, json_raw_given(json_raw_is_object(function) ? function : raw, "name"));
        if (!name.p)
            return fail_param(b->run->fail, FAIL_INVALID_VALUE, "tool_choice",
                              "tool_choice must name a function");
        name = anthropic_tool_name(b, name);
        if (!name.p)
            return fail_memory(b->run->fail);
    }
    json_key(w, "tool_choice");
    json_begin_object(w);
    json_member(w, "type", type);
    if (name.p)
        json_member(w, "name", name);
    if (t->no_parallel_tool_calls && !span_eq(type, SPAN("none")))
        json_member_bool(w, "disable_parallel_tool_use", true);
    json_end_object(w);
    return 0;
}

int anthropic_write_tools(struct anthropic_body *b)
{
    const struct turn *t = b->run->turn;
    struct anthropic_name *names = arena_alloc(b->run->arena, count_names(t) * sizeof *names);
    size_t n = 0;
    if (!names)
        return fail_memory(b->run->fail);
    b->a->names = names;
    if (!t->tools_raw.p && !b->same) {
        int error = rebuild_tools(b, names, &n);
        b->a->n_names = n;
        return error;
    }
    if (t->tools_raw.p && anthropic_is_open(b, "tools")) {
        struct json_raw_iter it = json_raw_each(t->tools_raw);
        json_key(&b->w, "tools");
        json_begin_array(&b->w);
        for (int i = 0; json_raw_next(&it); i++) {
            if (write_tool(b, it.value, i, &names[n++]))
                return -1;
        }
        json_end_array(&b->w);
    }
    b->a->n_names = n;
    return anthropic_is_open(b, "tool_choice") ? write_choice(b) : 0;
}
