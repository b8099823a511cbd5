/*
 * gateway/json_schema_check.c - see json_schema.h: is a schema one that can be understood?
 *
 * A walk through everything that is a schema in the document, as deep as the parser lets a document
 * be. What a keyword takes is a table.
 */
#include "gateway/json_schema_internal.h"

/* What a keyword's value has to be. */
enum takes {
    TAKES_TYPE,
    TAKES_LIST, /* any values, one at least */
    TAKES_REFERENCE,
    TAKES_SCHEMA,
    TAKES_SCHEMAS,         /* a list of them, one at least */
    TAKES_SCHEMA_OR_TUPLE, /* a schema, or a list of them: old drafts */
    TAKES_MEMBERS,         /* an object of them */
    TAKES_DEPENDENCIES,    /* an object of lists of names, or of schemas */
    TAKES_NAMES,
    TAKES_NUMBER,
    TAKES_POSITIVE,
    TAKES_COUNT,
    TAKES_BOOLEAN
};

static const struct {
    struct span name;
    enum takes takes;
} keywords[] = {
    {SPAN_INIT("type"), TAKES_TYPE},
    {SPAN_INIT("enum"), TAKES_LIST},
    {SPAN_INIT("$ref"), TAKES_REFERENCE},
    {SPAN_INIT("allOf"), TAKES_SCHEMAS},
    {SPAN_INIT("anyOf"), TAKES_SCHEMAS},
    {SPAN_INIT("oneOf"), TAKES_SCHEMAS},
    {SPAN_INIT("not"), TAKES_SCHEMA},
    {SPAN_INIT("if"), TAKES_SCHEMA},
    {SPAN_INIT("then"), TAKES_SCHEMA},
    {SPAN_INIT("else"), TAKES_SCHEMA},
    {SPAN_INIT("properties"), TAKES_MEMBERS},
    {SPAN_INIT("patternProperties"), TAKES_MEMBERS},
    {SPAN_INIT("$defs"), TAKES_MEMBERS},
    {SPAN_INIT("definitions"), TAKES_MEMBERS},
    {SPAN_INIT("dependentSchemas"), TAKES_MEMBERS},
    {SPAN_INIT("dependentRequired"), TAKES_DEPENDENCIES},
    {SPAN_INIT("dependencies"), TAKES_DEPENDENCIES},
    {SPAN_INIT("required"), TAKES_NAMES},
    {SPAN_INIT("additionalProperties"), TAKES_SCHEMA},
    {SPAN_INIT("propertyNames"), TAKES_SCHEMA},
    {SPAN_INIT("minProperties"), TAKES_COUNT},
    {SPAN_INIT("maxProperties"), TAKES_COUNT},
    {SPAN_INIT("items"), TAKES_SCHEMA_OR_TUPLE},
    {SPAN_INIT("prefixItems"), TAKES_SCHEMAS},
    {SPAN_INIT("additionalItems"), TAKES_SCHEMA},
    {SPAN_INIT("contains"), TAKES_SCHEMA},
    {SPAN_INIT("minContains"), TAKES_COUNT},
    {SPAN_INIT("maxContains"), TAKES_COUNT},
    {SPAN_INIT("minItems"), TAKES_COUNT},
    {SPAN_INIT("maxItems"), TAKES_COUNT},
    {SPAN_INIT("uniqueItems"), TAKES_BOOLEAN},
    {SPAN_INIT("minimum"), TAKES_NUMBER},
    {SPAN_INIT("maximum"), TAKES_NUMBER},
    {SPAN_INIT("exclusiveMinimum"), TAKES_NUMBER},
    {SPAN_INIT("exclusiveMaximum"), TAKES_NUMBER},
    {SPAN_INIT("multipleOf"), TAKES_POSITIVE},
    {SPAN_INIT("minLength"), TAKES_COUNT},
    {SPAN_INIT("maxLength"), TAKES_COUNT},
};

struct walk {
    struct json root;
    struct json_schema_report *report;
    struct schema_budget budget;
};

static int check_schema(struct walk *, struct json schema, const struct place *);

#define WRONG(walk, at, ...) (schema_report_add((walk)->report, at, __VA_ARGS__), -1)

static int check_type_name(struct walk *w, struct json name, const struct place *at)
{
    if (schema_type_bit(json_text(name)))
        return 0;
    return WRONG(w, at,
                 "must be string, number, integer, boolean, object, array or null, or a list of "
                 "these");
}

/* Its values are of one kind each. */
static int check_each(struct walk *w, struct json list, const struct place *at,
                      int (*check)(struct walk *, struct json, const struct place *))
{
    size_t i = 0;
    struct json_iter it = json_each(list);
    while (json_next(&it)) {
        const struct place here = it.key.p ? place_member(at, it.key) : place_element(at, i);
        i++;
        if (check(w, it.value, &here))
            return -1;
    }
    return 0;
}

static int check_type(struct walk *w, struct json value, const struct place *at)
{
    if (json_is(value, JSON_ARRAY) && json_size(value))
        return check_each(w, value, at, check_type_name);
    return check_type_name(w, value, at);
}

static int check_name(struct walk *w, struct json value, const struct place *at)
{
    return json_is(value, JSON_STRING) ? 0 : WRONG(w, at, "must be the name of a member");
}

static int check_names(struct walk *w, struct json value, const struct place *at)
{
    if (!json_is(value, JSON_ARRAY))
        return WRONG(w, at, "must be a list of names");
    return check_each(w, value, at, check_name);
}

static int check_dependency(struct walk *w, struct json value, const struct place *at)
{
    return json_is(value, JSON_ARRAY) ? check_names(w, value, at) : check_schema(w, value, at);
}

/* A reference is good when it ends somewhere: what it means may be a reference again. */
static int check_reference(struct walk *w, struct json value, const struct place *at)
{
    struct span text = json_text(value), shown = schema_shown(text, 200);
    struct json target;
    if (!text.p)
        return WRONG(w, at, "must be a string");
    for (int hops = 0; text.p; hops++) {
        if (hops > SCHEMA_HOPS_MAX)
            return WRONG(w, at, "\"%.*s\" refers to itself", SPAN_ARGS(shown));
        switch (schema_reference(&w->budget, w->root, text, &target)) {
        case REFERENCE_FOUND: break;
        case REFERENCE_OUTSIDE:
            return WRONG(w, at,
                         "\"%.*s\": only references within the schema (\"#/…\") are followed",
                         SPAN_ARGS(shown));
        case REFERENCE_NOWHERE:
            if (!schema_spend(&w->budget, 1))
                return 0;
            return WRONG(w, at, "\"%.*s\" is not in the schema", SPAN_ARGS(shown));
        }
        if (!json_is(target, JSON_OBJECT) && !json_is(target, JSON_BOOL))
            return WRONG(w, at, "\"%.*s\" is no schema", SPAN_ARGS(shown));
        text = json_text(schema_member(&w->budget, target, SPAN("$ref")));
    }
    return 0;
}

static int check_number(struct walk *w, struct json value, const struct place *at, enum takes takes)
{
    double number;
    bool is_number = json_number(value, &number);
    if (takes == TAKES_COUNT)
        return is_number && number >= 0 && schema_types_of(value) & TYPE_INTEGER
                   ? 0
                   : WRONG(w, at, "must be an integer, 0 or more");
    if (takes == TAKES_POSITIVE)
        return is_number && number > 0 ? 0 : WRONG(w, at, "must be a number above 0");
    return is_number ? 0 : WRONG(w, at, "must be a number");
}

static int check_keyword(struct walk *w, enum takes takes, struct json value,
                         const struct place *at)
{
    bool list = json_is(value, JSON_ARRAY), object = json_is(value, JSON_OBJECT);
    switch (takes) {
    case TAKES_TYPE: return check_type(w, value, at);
    case TAKES_REFERENCE: return check_reference(w, value, at);
    case TAKES_NAMES: return check_names(w, value, at);
    case TAKES_SCHEMA: return check_schema(w, value, at);
    case TAKES_BOOLEAN:
        return json_is(value, JSON_BOOL) ? 0 : WRONG(w, at, "must be true or false");
    case TAKES_LIST: return list && json_size(value) ? 0 : WRONG(w, at, "must be a list of values");
    case TAKES_SCHEMA_OR_TUPLE:
        return list ? check_each(w, value, at, check_schema) : check_schema(w, value, at);
    case TAKES_SCHEMAS:
        return list && json_size(value) ? check_each(w, value, at, check_schema)
                                        : WRONG(w, at, "must be a list of schemas");
    case TAKES_MEMBERS:
        return object ? check_each(w, value, at, check_schema)
                      : WRONG(w, at, "must be an object of schemas");
    case TAKES_DEPENDENCIES:
        return object ? check_each(w, value, at, check_dependency)
                      : WRONG(w, at, "must be an object");
    default: return check_number(w, value, at, takes);
    }
}

static int check_schema(struct walk *w, struct json schema, const struct place *at)
{
    if (json_is(schema, JSON_BOOL))
        return 0;
    if (!json_is(schema, JSON_OBJECT))
        return WRONG(w, at, "must be a schema: an object, true or false");
    struct json_iter it = json_each(schema);
    while (json_next(&it)) {
        const struct place here = place_member(at, it.key);
        for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
            if (span_eq(it.key, keywords[i].name) &&
                check_keyword(w, keywords[i].takes, it.value, &here))
                return -1;
        }
    }
    return 0;
}

int json_schema_check(struct json schema, struct json_schema_report *report)
{
    static const struct place top = {0};
    struct walk w = {schema, report, {SCHEMA_STEPS_MAX}};
    *report = (struct json_schema_report){0};
    return check_schema(&w, schema, &top);
}
