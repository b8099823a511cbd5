/*
 * gateway/tool_list.c - see tool_list.h. The DOM gives decoded names and types, the raw walk beside
 * it the schemas as the client wrote them.
 */
#include "gateway/tool_list.h"

#include "base/json_raw.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    SCHEMA_DEPTH_MAX = 8,         /* of anyOf in $ref in anyOf … */
    SCHEMA_STEPS_MAX = 500 * 1000 /* members and elements looked at, in all of the list */
};

/* ---- what a schema allows ---- */

static unsigned type_of_name(struct span name)
{
    static const struct {
        struct span name;
        unsigned type;
    } names[] = {
        {SPAN_INIT("string"), TOOL_TYPE_STRING},
        {SPAN_INIT("integer"), TOOL_TYPE_INTEGER},
        {SPAN_INIT("number"), TOOL_TYPE_INTEGER | TOOL_TYPE_NUMBER},
        {SPAN_INIT("boolean"), TOOL_TYPE_BOOL},
        {SPAN_INIT("null"), TOOL_TYPE_NULL},
        {SPAN_INIT("array"), TOOL_TYPE_ARRAY},
        {SPAN_INIT("object"), TOOL_TYPE_OBJECT},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (span_eq_nocase(name, names[i].name))
            return names[i].type;
    }
    return TOOL_TYPE_ANY;
}

static unsigned type_of_value(struct json v)
{
    switch (json_type(v)) {
    case JSON_NULL: return TOOL_TYPE_NULL;
    case JSON_BOOL: return TOOL_TYPE_BOOL;
    case JSON_INT:
    case JSON_UINT: return TOOL_TYPE_INTEGER;
    case JSON_DOUBLE: return TOOL_TYPE_INTEGER | TOOL_TYPE_NUMBER;
    case JSON_STRING: return TOOL_TYPE_STRING;
    case JSON_ARRAY: return TOOL_TYPE_ARRAY;
    case JSON_OBJECT: return TOOL_TYPE_OBJECT;
    case JSON_MISSING: break;
    }
    return TOOL_TYPE_ANY;
}

/* A list of anyOf whose references lead back to it doubles with every level, and a long list may be
 * referred to by many: all that is looked at counts, and what comes when nothing is left may be
 * anything. */
struct walk {
    struct json root; /* of the tool's parameters */
    long left;
};

static bool may_look(struct walk *w, struct json at)
{
    w->left -= w->left > 0 ? 1 + (long)json_size(at) : 0;
    return w->left > 0;
}

/* The schema that "#/$defs/name" means in the tool's parameters; missing when it is none of ours.
 */
static struct json referred(struct walk *w, struct span ref)
{
    struct json at = w->root;
    struct span piece, rest = span_from(ref, 2);
    if (!span_starts(ref, SPAN("#/")))
        return (struct json){NULL, 0};
    while (may_look(w, at) && span_split(&rest, '/', &piece))
        at = json_get_n(at, piece);
    return at;
}

static unsigned schema_types(struct walk *, struct json schema, int depth);

static unsigned any_of(struct walk *w, struct json schemas, int depth)
{
    unsigned types = 0;
    struct json_iter it = json_each(schemas);
    while (w->left > 0 && json_next(&it))
        types |= schema_types(w, it.value, depth);
    return types && w->left > 0 ? types : TOOL_TYPE_ANY;
}

static unsigned all_of(struct walk *w, struct json schemas, int depth)
{
    unsigned types = TOOL_TYPE_ANY;
    struct json_iter it = json_each(schemas);
    while (w->left > 0 && json_next(&it)) {
        unsigned both = types & schema_types(w, it.value, depth);
        types = both ? both : types;
    }
    return types;
}

static unsigned named_types(struct walk *w, struct json type)
{
    unsigned types = 0;
    if (json_is(type, JSON_STRING))
        return type_of_name(json_text(type));
    struct json_iter it = json_each(type);
    while (w->left-- > 0 && json_next(&it))
        types |= type_of_name(json_text(it.value));
    return types && w->left > 0 ? types : TOOL_TYPE_ANY;
}

static unsigned value_types(struct walk *w, struct json values)
{
    unsigned types = 0;
    struct json_iter it = json_each(values);
    while (w->left-- > 0 && json_next(&it))
        types |= type_of_value(it.value);
    return types && w->left > 0 ? types : TOOL_TYPE_ANY;
}

static unsigned schema_types(struct walk *w, struct json schema, int depth)
{
    if (!json_is(schema, JSON_OBJECT) || depth > SCHEMA_DEPTH_MAX || !may_look(w, schema))
        return TOOL_TYPE_ANY;
    unsigned types = TOOL_TYPE_ANY, nullable = 0;
    struct json type = json_get(schema, "type"), ref = json_get(schema, "$ref");
    if (json_bool(json_get(schema, "nullable"), false))
        nullable = TOOL_TYPE_NULL;
    if (!json_is(type, JSON_MISSING))
        types = named_types(w, type);
    else if (json_is(ref, JSON_STRING))
        types = schema_types(w, referred(w, json_text(ref)), depth + 1);
    else if (json_is(json_get(schema, "enum"), JSON_ARRAY))
        types = value_types(w, json_get(schema, "enum"));
    else if (!json_is(json_get(schema, "const"), JSON_MISSING))
        types = type_of_value(json_get(schema, "const"));
    else if (json_is(json_get(schema, "anyOf"), JSON_ARRAY))
        types = any_of(w, json_get(schema, "anyOf"), depth + 1);
    else if (json_is(json_get(schema, "oneOf"), JSON_ARRAY))
        types = any_of(w, json_get(schema, "oneOf"), depth + 1);
    else if (json_is(json_get(schema, "allOf"), JSON_ARRAY))
        types = all_of(w, json_get(schema, "allOf"), depth + 1);
    else if (json_is(json_get(schema, "properties"), JSON_OBJECT))
        types = TOOL_TYPE_OBJECT;
    else if (json_is(json_get(schema, "items"), JSON_OBJECT))
        types = TOOL_TYPE_ARRAY;
    return types | nullable;
}

/* ---- reading ---- */

static int compare_names(const void *a, const void *b)
{
    return span_compare(*(const struct span *)a, *(const struct span *)b);
}

/* The names that a schema requires, in order: each property looks itself up in them. 0 or -1. */
static int read_required(struct arena *a, struct json required, struct span **names, size_t *n)
{
    size_t all = json_is(required, JSON_ARRAY) ? json_size(required) : 0;
    struct json_iter it = json_each(required);
    *n = 0;
    *names = arena_alloc(a, (all + 1) * sizeof **names);
    if (!*names)
        return -1;
    while (*n < all && json_next(&it)) {
        if (json_is(it.value, JSON_STRING))
            (*names)[(*n)++] = json_text(it.value);
    }
    qsort(*names, *n, sizeof **names, compare_names);
    return 0;
}

static int read_properties(struct arena *a, struct json schema, long *left, struct tool *tool)
{
    struct json members = json_get(schema, "properties");
    size_t n = json_is(members, JSON_OBJECT) ? json_size(members) : 0, n_required;
    struct span *required;
    if (!n)
        return 0;
    if (n > TOOL_PROPERTIES_MAX)
        n = TOOL_PROPERTIES_MAX;
    struct tool_property *list = arena_alloc(a, n * sizeof *list);
    if (!list || read_required(a, json_get(schema, "required"), &required, &n_required))
        return -1;
    struct walk walk = {schema, *left};
    struct json_iter it = json_each(members);
    struct json_raw_iter raw = json_raw_each(json_raw_get(tool->parameters, "properties"));
    while (tool->n_properties < n && json_next(&it) && json_raw_next(&raw)) {
        struct tool_property *p = &list[tool->n_properties++];
        p->name = arena_text(a, it.key);
        p->schema = raw.value;
        p->types = schema_types(&walk, it.value, 0);
        p->required = bsearch(&it.key, required, n_required, sizeof *required, compare_names);
        if (!p->name.p)
            return -1;
    }
    tool->properties = list;
    *left = walk.left;
    return 0;
}

static int bad_entry(struct fail *fail, size_t i, const char *member, const char *what)
{
    char param[64];
    snprintf(param, sizeof param, "tools[%zu].function.%s", i, member);
    return fail_param(fail, FAIL_INVALID_VALUE, param, "%s %s", param, what);
}

/* One function of the list. `left`: of the steps for all of them. */
static int read_tool(struct arena *a, struct json function, struct span raw, size_t i, long *left,
                     struct tool *tool, struct fail *fail)
{
    struct span name = json_get_text(function, "name"),
                description = json_get_text(function, "description");
    if (!name.n)
        return bad_entry(fail, i, "name", "must be the function's name");
    tool->name = arena_text(a, name);
    tool->description = description.n ? arena_text(a, description) : SPAN("");
    if (!tool->name.p || !tool->description.p)
        return fail_memory(fail);
    tool->takes_others = true;
    tool->parameters = json_raw_given(raw, "parameters");
    if (!tool->parameters.p)
        return 0;
    struct json schema = json_get(function, "parameters");
    if (!json_is(schema, JSON_OBJECT))
        return bad_entry(fail, i, "parameters", "must be an object: a JSON schema");
    tool->takes_others = json_bool(json_get(schema, "additionalProperties"), true);
    return read_properties(a, schema, left, tool) ? fail_memory(fail) : 0;
}

static bool is_function(struct json entry)
{
    struct json type = json_get(entry, "type");
    return json_is(json_get(entry, "function"), JSON_OBJECT) &&
           (json_is(type, JSON_MISSING) || span_eq(json_text(type), SPAN("function")));
}

/* A search on the site's servers, say: nothing that could be told in words stands for it. */
static int no_function(struct fail *fail, size_t i, struct span type)
{
    char param[32];
    snprintf(param, sizeof param, "tools[%zu]", i);
    return fail_param(fail, FAIL_UNSUPPORTED, param,
                      "%s is no function (its type is \"%.*s\"), and this site has no other tools; "
                      "leave it out, or use another model",
                      param, SPAN_ARGS(span_first(type, 40)));
}

int tool_list_read(struct arena *a, struct json_parser *parser, struct span tools_raw,
                   struct tool_list *list, struct fail *fail)
{
    struct json root;
    *list = (struct tool_list){NULL, 0};
    int bad = json_parse(parser, tools_raw, &root);
    if (bad == JSON_NOMEM)
        return fail_memory(fail);
    if (bad || !json_is(root, JSON_ARRAY))
        return fail_param(fail, FAIL_INVALID_VALUE, "tools", "tools must be a list of functions");
    size_t n = json_size(root);
    long left = SCHEMA_STEPS_MAX;
    struct tool *tools = arena_alloc(a, (n < TOOLS_MAX ? n + 1 : TOOLS_MAX) * sizeof *tools);
    if (!tools)
        return fail_memory(fail);
    list->tools = tools;
    struct json_iter it = json_each(root);
    struct json_raw_iter raw = json_raw_each(tools_raw);
    for (size_t i = 0; i < n && json_next(&it) && json_raw_next(&raw); i++) {
        struct tool *tool = &tools[list->n];
        if (!is_function(it.value))
            return no_function(fail, i, json_get_text(it.value, "type"));
        if (list->n == TOOLS_MAX)
            return fail_param(fail, FAIL_INVALID_VALUE, "tools", "there are more than %d tools",
                              TOOLS_MAX);
        if (read_tool(a, json_get(it.value, "function"), json_raw_get(raw.value, "function"), i,
                      &left, tool, fail))
            return -1;
        if (tool_list_find(list, tool->name))
            return bad_entry(fail, i, "name", "is another function's name too");
        list->n++;
    }
    return 0;
}

/* ---- finding ---- */

const struct tool *tool_list_find(const struct tool_list *list, struct span name)
{
    for (size_t i = 0; i < list->n; i++) {
        if (span_eq(list->tools[i].name, name))
            return &list->tools[i];
    }
    return NULL;
}

static bool is_joint(char c) { return c == '-' || c == '_' || c == '.' || c == ' '; }

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

static bool alike(struct span a, struct span b)
{
    for (size_t i = 0; i < a.n && a.n == b.n; i++) {
        bool joints = is_joint(a.p[i]) && is_joint(b.p[i]);
        if (!joints && lower(a.p[i]) != lower(b.p[i]))
            return false;
    }
    return a.n == b.n;
}

/* The only tool like that name, or NULL. */
static const struct tool *only_alike(const struct tool_list *list, struct span name)
{
    const struct tool *found = NULL;
    for (size_t i = 0; i < list->n; i++) {
        if (!alike(list->tools[i].name, name))
            continue;
        if (found)
            return NULL;
        found = &list->tools[i];
    }
    return found;
}

static struct span without_number(struct span name)
{
    size_t n = name.n;
    while (n && name.p[n - 1] >= '0' && name.p[n - 1] <= '9')
        n--;
    return n && n < name.n && name.p[n - 1] == ':' ? span_first(name, n - 1) : name;
}

const struct tool *tool_list_find_like(const struct tool_list *list, struct span name)
{
    const struct tool *tool = tool_list_find(list, name);
    if (tool)
        return tool;
    struct span rest = without_number(span_trim(name));
    if (span_ends(rest, SPAN(".call")))
        rest = span_first(rest, rest.n - 5);
    while (rest.n) {
        tool = tool_list_find(list, rest);
        if (!tool)
            tool = only_alike(list, rest);
        if (tool)
            return tool;
        size_t i = 0;
        while (i < rest.n && rest.p[i] != '.' && rest.p[i] != ':' && rest.p[i] != '/')
            i++;
        rest = span_from(rest, i < rest.n ? i + 1 : i);
    }
    return NULL;
}

const struct tool_property *tool_find_property(const struct tool *tool, struct span name)
{
    for (size_t i = 0; i < tool->n_properties; i++) {
        if (span_eq(tool->properties[i].name, name))
            return &tool->properties[i];
    }
    return NULL;
}
