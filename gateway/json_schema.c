/*
 * gateway/json_schema.c - see json_schema.h.
 *
 * Schema and value are walked side by side, without anything in between: each member of the schema
 * is a keyword, and each keyword a small function. The hard part is strangers' schemas: every look
 * at a member costs a step of a budget, and references and alternatives that go ever deeper meet a
 * limit. Then there is no verdict, rather than a wrong one.
 */
#include <math.h>

#include "gateway/json_schema_internal.h"

enum { SHOWN_MAX = 240, WRONG_KIND_WEIGHT = 100 };

/* One validation. */
struct checker {
    struct json root; /* the schema */
    struct json_schema_report *report;
    struct schema_budget budget;
    int depth;
    int quiet;    /* > 0: a trial, whose errors nobody is told */
    int trial_at; /* the place's depth where the present trial began */
    long misfit;  /* of the present trial: how much is wrong */
    bool gave_up;
};

/* A schema and a value, at a place. */
struct node {
    struct checker *k;
    struct json schema, value;
    const struct place *at;
};

typedef bool keyword_check(const struct node *, struct json argument);

static bool validate(struct checker *, struct json schema, struct json value, const struct place *);

/* ---- helpers ---- */

static bool spend(struct checker *k, long steps)
{
    if (!schema_spend(&k->budget, steps))
        k->gave_up = true;
    return !k->gave_up;
}

static struct json member(struct checker *k, struct json object, struct span key)
{
    struct json found = schema_member(&k->budget, object, key);
    spend(k, 1);
    return found;
}

/* Says what is wrong with the node's value; always false. */
#define DIFFERS(node, ...)                                                                         \
    (note_misfit(node, 1),                                                                         \
     (node)->k->quiet ? (void)0 : schema_report_add((node)->k->report, (node)->at, __VA_ARGS__),   \
     false)

static void note_misfit(const struct node *d, long weight) { d->k->misfit += weight; }

/* Nobody hears what is wrong: it is a trial, or enough has been said. */
static bool is_silent(const struct node *d)
{
    return d->k->quiet || d->k->report->errors >= SCHEMA_ERRORS_MAX;
}

/* Another kind of value altogether, near where alternatives are told apart: that is hardly the
 * alternative that was meant. */
static void note_wrong_kind(const struct node *d)
{
    if (d->at->depth <= d->k->trial_at + 1)
        note_misfit(d, WRONG_KIND_WEIGHT);
}

/* Without a word: does it fit, and if not, by how much not? */
static bool try_schema(const struct node *d, struct json schema, long *misfit)
{
    struct checker *k = d->k;
    long outer = k->misfit;
    int outer_at = k->trial_at;
    k->misfit = 0;
    k->trial_at = d->at->depth;
    k->quiet++;
    bool fits = validate(k, schema, d->value, d->at);
    k->quiet--;
    *misfit = k->misfit;
    k->misfit = outer;
    k->trial_at = outer_at;
    return fits;
}

static bool fits_quietly(const struct node *d, struct json schema)
{
    long misfit;
    return try_schema(d, schema, &misfit);
}

static bool equal(struct checker *k, struct json a, struct json b);

static bool equal_objects(struct checker *k, struct json a, struct json b)
{
    struct json_iter it = json_each(a);
    if (!spend(k, 1) || json_size(a) != json_size(b))
        return false;
    while (json_next(&it)) {
        struct json other = member(k, b, it.key);
        if (json_is(other, JSON_MISSING) || !equal(k, it.value, other))
            return false;
    }
    return true;
}

static bool equal_arrays(struct checker *k, struct json a, struct json b)
{
    struct json_iter left = json_each(a), right = json_each(b);
    for (;;) {
        bool more = json_next(&left);
        if (json_next(&right) != more || (more && !equal(k, left.value, right.value)))
            return false;
        if (!more)
            return true;
    }
}

static bool equal_numbers(struct json a, struct json b)
{
    int64_t i, j;
    double x = 0, y = 0;
    if (json_int(a, &i) && json_int(b, &j))
        return i == j;
    return json_number(a, &x) && json_number(b, &y) && x == y;
}

/* Long texts cost more. */
static bool spend_text(struct checker *k, struct span text)
{
    return spend(k, 1 + (long)(text.n / 64));
}

static bool equal_texts(struct checker *k, struct span a, struct span b)
{
    return a.n == b.n && spend_text(k, a) && span_eq(a, b);
}

/* As deep as the values are, which the parser bounds. */
static bool equal(struct checker *k, struct json a, struct json b)
{
    unsigned types = schema_types_of(a);
    if (!spend(k, 1))
        return true;
    if (types != schema_types_of(b))
        return false;
    if (types & TYPE_NUMBER)
        return equal_numbers(a, b);
    switch (types) {
    case TYPE_BOOLEAN: return json_bool(a, false) == json_bool(b, false);
    case TYPE_STRING: return equal_texts(k, json_text(a), json_text(b));
    case TYPE_ARRAY: return equal_arrays(k, a, b);
    case TYPE_OBJECT: return equal_objects(k, a, b);
    default: return true;
    }
}

/* ---- any value ---- */

static bool has_type(const struct node *d, struct json argument)
{
    unsigned types = schema_types_of(d->value);
    struct json_iter it = json_each(argument);
    if (json_is(argument, JSON_STRING))
        return types & schema_type_bit(json_text(argument));
    while (spend(d->k, 1) && json_next(&it)) {
        if (types & schema_type_bit(json_text(it.value)))
            return true;
    }
    return false;
}

static bool check_type(const struct node *d, struct json argument)
{
    struct buffer list;
    struct span name = json_text(argument);
    if (has_type(d, argument))
        return true;
    note_wrong_kind(d);
    if (name.p)
        return DIFFERS(d, "must be %s %.*s", strchr("aio", name.p[0]) ? "an" : "a",
                       SPAN_ARGS(name));
    buffer_init(&list, SHOWN_MAX);
    struct json_iter it = json_each(argument);
    while (!is_silent(d) && json_next(&it))
        buffer_printf(&list, "%s%.*s", list.n ? " or " : "", SPAN_ARGS(json_text(it.value)));
    bool fits = DIFFERS(d, "must be %.*s", SPAN_ARGS(buffer_span(&list)));
    buffer_free(&list);
    return fits;
}

/* `before` and the JSON of the argument. */
static bool differs_from(const struct node *d, const char *before, struct json argument)
{
    struct buffer shown;
    note_wrong_kind(d);
    if (is_silent(d))
        return DIFFERS(d, "%s", before);
    buffer_init(&shown, 1 << 20);
    json_dump(&shown, argument);
    struct span text = schema_shown(buffer_span(&shown), SHOWN_MAX);
    bool fits = DIFFERS(d, "%s %.*s%s", before, SPAN_ARGS(text), text.n < shown.n ? "…" : "");
    buffer_free(&shown);
    return fits;
}

static bool check_enum(const struct node *d, struct json argument)
{
    struct json_iter it = json_each(argument);
    while (json_next(&it)) {
        if (equal(d->k, d->value, it.value))
            return true;
    }
    return differs_from(d, "must be one of", argument);
}

static bool check_const(const struct node *d, struct json argument)
{
    return equal(d->k, d->value, argument) || differs_from(d, "must be", argument);
}

static bool check_ref(const struct node *d, struct json argument)
{
    struct json target;
    if (schema_reference(&d->k->budget, d->k->root, json_text(argument), &target) !=
        REFERENCE_FOUND)
        return true;
    return validate(d->k, target, d->value, d->at);
}

static bool check_all_of(const struct node *d, struct json argument)
{
    bool fits = true;
    struct json_iter it = json_each(argument);
    while (json_next(&it))
        fits &= validate(d->k, it.value, d->value, d->at);
    return fits;
}

/* What became of a list of alternatives. */
struct trials {
    int fit;
    struct json nearest; /* of those that do not */
    long least;          /* how much is wrong with it */
};

static struct trials try_alternatives(const struct node *d, struct json list, bool one_is_enough)
{
    struct trials t = {0};
    long misfit;
    struct json_iter it = json_each(list);
    while (json_next(&it) && !(t.fit && one_is_enough)) {
        if (try_schema(d, it.value, &misfit)) {
            t.fit++;
        } else if (json_is(t.nearest, JSON_MISSING) || misfit < t.least) {
            t.nearest = it.value;
            t.least = misfit;
        }
    }
    return t;
}

/* None fits: the errors of the alternative that is nearest to the value tell most. */
static bool none_fits(const struct node *d, const struct trials *t, const char *keyword)
{
    note_misfit(d, t->least);
    if (is_silent(d))
        return false;
    if (t->least < WRONG_KIND_WEIGHT && !validate(d->k, t->nearest, d->value, d->at))
        return false;
    return DIFFERS(d, "must fit one of the alternatives of %s", keyword);
}

static bool check_any_of(const struct node *d, struct json argument)
{
    struct trials t = try_alternatives(d, argument, true);
    return t.fit || json_is(t.nearest, JSON_MISSING) || none_fits(d, &t, "anyOf");
}

static bool check_one_of(const struct node *d, struct json argument)
{
    struct trials t = try_alternatives(d, argument, false);
    if (t.fit > 1)
        return DIFFERS(d, "must fit only one of the alternatives of oneOf, and fits %d", t.fit);
    return t.fit || json_is(t.nearest, JSON_MISSING) || none_fits(d, &t, "oneOf");
}

static bool check_not(const struct node *d, struct json argument)
{
    return !fits_quietly(d, argument) || DIFFERS(d, "must not fit the schema of \"not\"");
}

static bool check_if(const struct node *d, struct json argument)
{
    bool met = fits_quietly(d, argument);
    struct json next = member(d->k, d->schema, met ? SPAN("then") : SPAN("else"));
    return json_is(next, JSON_MISSING) || validate(d->k, next, d->value, d->at);
}

/* ---- numbers ---- */

/* Limits, compared as integers where both are. -1, 0 or 1 for value against argument. */
static int compare(const struct node *d, struct json argument)
{
    int64_t i, j;
    double x = 0, y = 0;
    if (json_int(d->value, &i) && json_int(argument, &j))
        return (i > j) - (i < j);
    json_number(d->value, &x);
    json_number(argument, &y);
    return (x > y) - (x < y);
}

static double number_of(struct json v)
{
    double number = 0;
    json_number(v, &number);
    return number;
}

static bool check_minimum(const struct node *d, struct json argument)
{
    return compare(d, argument) >= 0 || DIFFERS(d, "must be at least %.15g", number_of(argument));
}

static bool check_maximum(const struct node *d, struct json argument)
{
    return compare(d, argument) <= 0 || DIFFERS(d, "must be at most %.15g", number_of(argument));
}

static bool check_exclusive_minimum(const struct node *d, struct json argument)
{
    return compare(d, argument) > 0 || DIFFERS(d, "must be above %.15g", number_of(argument));
}

static bool check_exclusive_maximum(const struct node *d, struct json argument)
{
    return compare(d, argument) < 0 || DIFFERS(d, "must be below %.15g", number_of(argument));
}

/* Decimal fractions are not exact: 0.3 is a multiple of 0.1 all the same. */
static bool is_multiple(struct json value, struct json of)
{
    int64_t i, j;
    if (json_int(value, &i) && json_int(of, &j))
        return j == 0 || j == -1 || i % j == 0;
    double times = number_of(value) / number_of(of);
    return !isfinite(times) || fabs(times - round(times)) <= 1e-12 * fmax(1, fabs(times));
}

static bool check_multiple(const struct node *d, struct json argument)
{
    return is_multiple(d->value, argument) ||
           DIFFERS(d, "must be a multiple of %.15g", number_of(argument));
}

/* ---- strings ---- */

static size_t characters(const struct node *d)
{
    size_t n = 0;
    struct span text = json_text(d->value);
    if (!spend_text(d->k, text))
        return 0;
    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.p[i] & 0xC0) != 0x80;
    return n;
}

/* At least, at most: of characters, elements, members. */
static bool at_least(const struct node *d, size_t n, struct json argument, const char *what)
{
    return (double)n >= number_of(argument) ||
           DIFFERS(d, "must have at least %.15g %s, and has %zu", number_of(argument), what, n);
}

static bool at_most(const struct node *d, size_t n, struct json argument, const char *what)
{
    return (double)n <= number_of(argument) ||
           DIFFERS(d, "must have at most %.15g %s, and has %zu", number_of(argument), what, n);
}

static bool check_min_length(const struct node *d, struct json argument)
{
    return at_least(d, characters(d), argument, "characters");
}

static bool check_max_length(const struct node *d, struct json argument)
{
    return at_most(d, characters(d), argument, "characters");
}

/* ---- arrays ---- */

static size_t sized(const struct node *d)
{
    size_t n = json_size(d->value);
    spend(d->k, (long)n);
    return n;
}

static bool check_min_items(const struct node *d, struct json argument)
{
    return at_least(d, sized(d), argument, "elements");
}

static bool check_max_items(const struct node *d, struct json argument)
{
    return at_most(d, sized(d), argument, "elements");
}

/* The elements from `first` on against one schema. */
static bool check_elements(const struct node *d, size_t first, struct json schema)
{
    bool fits = true;
    size_t i = 0;
    struct json_iter it = json_each(d->value);
    while (spend(d->k, 1) && json_next(&it)) {
        const struct place at = place_element(d->at, i);
        if (i++ >= first)
            fits &= validate(d->k, schema, it.value, &at);
    }
    return fits;
}

/* Each element against the schema of its place. */
static bool check_prefix_items(const struct node *d, struct json argument)
{
    bool fits = true;
    struct json_iter schemas = json_each(argument), it = json_each(d->value);
    for (size_t i = 0; json_next(&schemas) && json_next(&it); i++) {
        const struct place at = place_element(d->at, i);
        fits &= validate(d->k, schemas.value, it.value, &at);
    }
    return fits;
}

static bool check_items(const struct node *d, struct json argument)
{
    if (json_is(argument, JSON_ARRAY))
        return check_prefix_items(d, argument);
    struct json prefix = member(d->k, d->schema, SPAN("prefixItems"));
    return check_elements(d, json_size(prefix), argument);
}

static bool check_additional_items(const struct node *d, struct json argument)
{
    struct json items = member(d->k, d->schema, SPAN("items"));
    return !json_is(items, JSON_ARRAY) || check_elements(d, json_size(items), argument);
}

static bool check_contains(const struct node *d, struct json argument)
{
    struct json least = member(d->k, d->schema, SPAN("minContains"));
    struct json most = member(d->k, d->schema, SPAN("maxContains"));
    double n = 0, min = json_is(least, JSON_MISSING) ? 1 : number_of(least);
    struct json_iter it = json_each(d->value);
    while (spend(d->k, 1) && json_next(&it)) {
        const struct node element = {d->k, argument, it.value, d->at};
        n += fits_quietly(&element, argument);
    }
    if (n < min)
        return DIFFERS(d, "must have at least %.15g elements of the kind of \"contains\"", min);
    if (!json_is(most, JSON_MISSING) && n > number_of(most))
        return DIFFERS(d, "must have at most %.15g elements of the kind of \"contains\"",
                       number_of(most));
    return true;
}

static bool check_unique(const struct node *d, struct json argument)
{
    size_t i = 0;
    if (!json_bool(argument, false))
        return true;
    for (struct json_iter a = json_each(d->value); json_next(&a); i++) {
        struct json_iter b = a;
        for (size_t j = i + 1; json_next(&b); j++) {
            if (equal(d->k, a.value, b.value) && !d->k->gave_up)
                return DIFFERS(d, "elements [%zu] and [%zu] must not be the same", i, j);
            if (d->k->gave_up)
                return true;
        }
    }
    return true;
}

/* ---- objects ---- */

static bool check_min_properties(const struct node *d, struct json argument)
{
    return at_least(d, sized(d), argument, "members");
}

static bool check_max_properties(const struct node *d, struct json argument)
{
    return at_most(d, sized(d), argument, "members");
}

static bool check_properties(const struct node *d, struct json argument)
{
    bool fits = true;
    struct json_iter it = json_each(d->value);
    while (spend(d->k, 1) && json_next(&it)) {
        struct json schema = member(d->k, argument, it.key);
        const struct place at = place_member(d->at, it.key);
        if (!json_is(schema, JSON_MISSING))
            fits &= validate(d->k, schema, it.value, &at);
    }
    return fits;
}

static bool check_additional_properties(const struct node *d, struct json argument)
{
    bool fits = true;
    struct json known = member(d->k, d->schema, SPAN("properties"));
    if (!json_is(member(d->k, d->schema, SPAN("patternProperties")), JSON_MISSING))
        return true;
    struct json_iter it = json_each(d->value);
    while (spend(d->k, 1) && json_next(&it)) {
        const struct place at = place_member(d->at, it.key);
        if (!json_is(member(d->k, known, it.key), JSON_MISSING))
            continue;
        if (json_is(argument, JSON_BOOL) && !json_bool(argument, true))
            fits &= DIFFERS(d, "must not have the member \"%.*s\"",
                            SPAN_ARGS(schema_shown(it.key, SHOWN_MAX)));
        else
            fits &= validate(d->k, argument, it.value, &at);
    }
    return fits;
}

static bool check_required(const struct node *d, struct json argument)
{
    bool fits = true;
    struct json_iter it = json_each(argument);
    while (spend(d->k, 1) && json_next(&it)) {
        struct span key = json_text(it.value);
        if (key.p && json_is(member(d->k, d->value, key), JSON_MISSING))
            fits &= DIFFERS(d, "the member \"%.*s\" is missing",
                            SPAN_ARGS(schema_shown(key, SHOWN_MAX)));
    }
    return fits || d->k->gave_up;
}

/* What a member's presence asks for: other members, or a schema. */
static bool check_dependencies(const struct node *d, struct json argument)
{
    bool fits = true;
    struct json_iter it = json_each(argument);
    while (spend(d->k, 1) && json_next(&it)) {
        if (json_is(member(d->k, d->value, it.key), JSON_MISSING))
            continue;
        fits &= json_is(it.value, JSON_ARRAY) ? check_required(d, it.value)
                                              : validate(d->k, it.value, d->value, d->at);
    }
    return fits;
}

/* ---- the walk ---- */

static const struct keyword {
    struct span name;
    keyword_check *check;
    unsigned types; /* of the values that it says something about; 0 = all */
} keywords[] = {
    {SPAN_INIT("type"), check_type, 0},
    {SPAN_INIT("enum"), check_enum, 0},
    {SPAN_INIT("const"), check_const, 0},
    {SPAN_INIT("$ref"), check_ref, 0},
    {SPAN_INIT("allOf"), check_all_of, 0},
    {SPAN_INIT("anyOf"), check_any_of, 0},
    {SPAN_INIT("oneOf"), check_one_of, 0},
    {SPAN_INIT("not"), check_not, 0},
    {SPAN_INIT("if"), check_if, 0},
    {SPAN_INIT("properties"), check_properties, TYPE_OBJECT},
    {SPAN_INIT("required"), check_required, TYPE_OBJECT},
    {SPAN_INIT("additionalProperties"), check_additional_properties, TYPE_OBJECT},
    {SPAN_INIT("minProperties"), check_min_properties, TYPE_OBJECT},
    {SPAN_INIT("maxProperties"), check_max_properties, TYPE_OBJECT},
    {SPAN_INIT("dependentRequired"), check_dependencies, TYPE_OBJECT},
    {SPAN_INIT("dependentSchemas"), check_dependencies, TYPE_OBJECT},
    {SPAN_INIT("dependencies"), check_dependencies, TYPE_OBJECT},
    {SPAN_INIT("items"), check_items, TYPE_ARRAY},
    {SPAN_INIT("prefixItems"), check_prefix_items, TYPE_ARRAY},
    {SPAN_INIT("additionalItems"), check_additional_items, TYPE_ARRAY},
    {SPAN_INIT("contains"), check_contains, TYPE_ARRAY},
    {SPAN_INIT("minItems"), check_min_items, TYPE_ARRAY},
    {SPAN_INIT("maxItems"), check_max_items, TYPE_ARRAY},
    {SPAN_INIT("uniqueItems"), check_unique, TYPE_ARRAY},
    {SPAN_INIT("minimum"), check_minimum, TYPE_NUMBER},
    {SPAN_INIT("maximum"), check_maximum, TYPE_NUMBER},
    {SPAN_INIT("exclusiveMinimum"), check_exclusive_minimum, TYPE_NUMBER},
    {SPAN_INIT("exclusiveMaximum"), check_exclusive_maximum, TYPE_NUMBER},
    {SPAN_INIT("multipleOf"), check_multiple, TYPE_NUMBER},
    {SPAN_INIT("minLength"), check_min_length, TYPE_STRING},
    {SPAN_INIT("maxLength"), check_max_length, TYPE_STRING},
};

static const struct keyword *find_keyword(struct span name)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (span_eq(name, keywords[i].name))
            return &keywords[i];
    }
    return NULL;
}

static bool check_keywords(const struct node *d)
{
    bool fits = true;
    unsigned types = schema_types_of(d->value);
    struct json_iter it = json_each(d->schema);
    while (spend(d->k, 1) && json_next(&it)) {
        const struct keyword *keyword = find_keyword(it.key);
        if (keyword && (!keyword->types || keyword->types & types))
            fits &= keyword->check(d, it.value);
    }
    return fits;
}

static bool validate(struct checker *k, struct json schema, struct json value,
                     const struct place *at)
{
    const struct node d = {k, schema, value, at};
    if (k->depth >= SCHEMA_DEPTH_MAX)
        k->gave_up = true;
    if (!spend(k, 1))
        return true;
    if (json_is(schema, JSON_BOOL))
        return json_bool(schema, true) || DIFFERS(&d, "must not be there");
    if (!json_is(schema, JSON_OBJECT))
        return true;
    k->depth++;
    bool fits = check_keywords(&d);
    k->depth--;
    return fits;
}

enum json_schema_verdict json_schema_validate(struct json schema, struct json value,
                                              struct json_schema_report *report)
{
    static const struct place top = {0};
    struct checker k = {.root = schema, .report = report, .budget = {SCHEMA_STEPS_MAX}};
    *report = (struct json_schema_report){0};
    bool fits = validate(&k, schema, value, &top);
    if (!k.gave_up)
        return fits ? SCHEMA_FITS : SCHEMA_DIFFERS;
    *report = (struct json_schema_report){0};
    schema_report_add(report, &top, "the schema is too intricate to check this against it");
    return SCHEMA_UNDECIDED;
}
