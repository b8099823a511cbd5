/*
 * gateway/config_continue.c - the keys continue_… of [[sites]] and [[models]].
 *
 * A site has all four; what a model says of them holds for its targets instead. So a model has to
 * remember which were given, and shows only those.
 */
#include "gateway/config_schema.h"

static const char *const cause_names[CONTINUE_CAUSES] = {
    [CONTINUE_CUT] = "cut",
    [CONTINUE_LENGTH] = "length",
    [CONTINUE_MALFORMED] = "malformed",
    [CONTINUE_EMPTY] = "empty",
};

const char *continue_cause_name(enum continue_cause cause)
{
    return cause == CONTINUE_NOT ? "" : cause_names[cause];
}

/* ---- the list of causes ---- */

static void read_causes(struct config_reader *r, const struct schema_key *key,
                        const struct toml_node *value, void *record)
{
    unsigned *causes = (unsigned *)((char *)record + key->at);
    struct span text;
    if (!config_want(r, key->name, value, TOML_ARRAY, "an array of strings"))
        return;
    *causes = 0;
    for (const struct toml_node *element = value->first; element; element = element->next) {
        int i = 0;
        if (!config_read_text(r, key->name, element, &text))
            continue;
        while (i < CONTINUE_CAUSES && !span_eq(text, span_str(cause_names[i])))
            i++;
        if (i < CONTINUE_CAUSES) {
            *causes |= 1u << i;
            continue;
        }
        const char *near = config_nearest(text, cause_names, CONTINUE_CAUSES);
        config_error(r, element,
                     "\"%s\" in %s may hold: cut, length, malformed, empty, found \"%s\"%s%s%s",
                     key->name, r->title, config_quote(r, text), near ? " (did you mean \"" : "",
                     near ? near : "", near ? "\"?)" : "");
    }
}

static void print_causes(struct buffer *out, const struct schema_key *key, const void *record)
{
    unsigned causes = *(const unsigned *)((const char *)record + key->at);
    bool any = false;
    buffer_char(out, '[');
    for (int i = 0; i < CONTINUE_CAUSES; i++) {
        if (!(causes & 1u << i))
            continue;
        buffer_append(out, any ? SPAN(", ") : SPAN(""));
        config_print_quoted(out, span_str(cause_names[i]));
        any = true;
    }
    buffer_char(out, ']');
}
const struct value_type value_continue_causes = {
    .wanted = "an array of strings", .read = read_causes, .print = print_causes};

/* ---- of a model: what is given goes over the site's ---- */

enum { GIVEN_ON, GIVEN_MAX, GIVEN_TOTAL, GIVEN_CAUSES };

static const struct {
    const char *name;
    const struct value_type *type;
} keys[] = {
    [GIVEN_ON] = {"continue_truncated", &value_bool},
    [GIVEN_MAX] = {"continue_max", &value_int},
    [GIVEN_TOTAL] = {"continue_total", &value_duration},
    [GIVEN_CAUSES] = {"continue_causes", &value_continue_causes},
};

static unsigned position_of(const struct schema_key *key)
{
    unsigned i = 0;
    while (strcmp(keys[i].name, key->name) != 0)
        i++;
    return i;
}

static void read_given(struct config_reader *r, const struct schema_key *key,
                       const struct toml_node *value, void *record)
{
    struct model_config *model = record;
    unsigned i = position_of(key);
    model->continue_given |= 1u << i;
    keys[i].type->read(r, key, value, record);
}

static void print_given(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct model_config *model = record;
    unsigned i = position_of(key);
    if (!(model->continue_given & 1u << i))
        return;
    buffer_printf(out, "%s = ", key->name);
    keys[i].type->print(out, key, record);
    buffer_char(out, '\n');
}
const struct value_type value_model_continue = {
    .wanted = "as for a site", .read = read_given, .print_block = print_given};

struct continue_config config_continue_merged(const struct site_config *site,
                                              const struct model_config *model)
{
    struct continue_config c = site->continuing;
    if (model->continue_given & 1u << GIVEN_ON)
        c.on = model->continuing.on;
    if (model->continue_given & 1u << GIVEN_MAX)
        c.max = model->continuing.max;
    if (model->continue_given & 1u << GIVEN_TOTAL)
        c.total_ms = model->continuing.total_ms;
    if (model->continue_given & 1u << GIVEN_CAUSES)
        c.causes = model->continuing.causes;
    return c;
}
