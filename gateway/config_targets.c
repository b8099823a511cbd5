/*
 * gateway/config_targets.c - the targets of [[models]]: strings, or tables with a weight and
 * options.
 *
 * Options become JSON here, once, and are read here, once, by the reader of chat requests: what it
 * would refuse of a client is refused in the file.
 */
#include <math.h>
#include <stdio.h>

#include "base/json_write.h"
#include "gateway/chat_request.h"
#include "gateway/config_schema.h"

enum { WEIGHT_MAX = 1000, OPTION_MAX = 64 * 1024, TITLE = 128 };

static const char wanted[] = "an array of strings and tables";

/* ---- options ---- */

/* What decides about the whole exchange, not about one target. */
static bool is_the_requests_own(struct span key)
{
    static const char *const names[] = {"model",  "messages", "stream", "stream_options",
                                        "prompt", "n",        "echo",   "best_of"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (span_eq(key, span_str(names[i])))
            return true;
    }
    return false;
}

/* The value as JSON and as TOML; false after complaining. */
static bool write_value(struct config_reader *r, const char *name, const struct toml_node *value,
                        struct json_writer *json, struct buffer *toml)
{
    struct span text;
    switch (value->type) {
    case TOML_TEXT:
        if (!config_read_text(r, name, value, &text))
            return false;
        json_string(json, text);
        config_print_quoted(toml, text);
        return true;
    case TOML_INT:
        json_write_int(json, value->integer);
        buffer_printf(toml, "%lld", (long long)value->integer);
        return true;
    case TOML_BOOL:
        json_write_bool(json, value->integer != 0);
        buffer_append(toml, value->integer ? SPAN("true") : SPAN("false"));
        return true;
    case TOML_FLOAT:
        if (!isfinite(value->number))
            break;
        json_write_double(json, value->number);
        buffer_printf(toml, "%g", value->number);
        return true;
    case TOML_TABLE:
        json_begin_object(json);
        buffer_append(toml, SPAN("{ "));
        for (const struct toml_node *m = value->first; m; m = m->next) {
            json_key_span(json, m->key);
            config_print_quoted(toml, m->key);
            buffer_append(toml, SPAN(" = "));
            if (!write_value(r, name, m, json, toml))
                return false;
            buffer_append(toml, m->next ? SPAN(", ") : SPAN(" "));
        }
        json_end_object(json);
        buffer_char(toml, '}');
        return true;
    case TOML_ARRAY:
        json_begin_array(json);
        buffer_char(toml, '[');
        for (const struct toml_node *e = value->first; e; e = e->next) {
            if (!write_value(r, name, e, json, toml))
                return false;
            buffer_append(toml, e->next ? SPAN(", ") : SPAN(""));
        }
        json_end_array(json);
        buffer_char(toml, ']');
        return true;
    case TOML_DATE: break;
    }
    config_error(r, value, "\"%s\" in %s: %s has no counterpart in a request", name, r->title,
                 value->type == TOML_DATE ? "a date" : "a number that is not finite");
    return false;
}

/* Is it what a client could send? */
static bool probe(struct config_reader *r, const struct toml_node *value,
                  const struct turn_option *option)
{
    struct json_parser *json = json_parser_create(2 * OPTION_MAX);
    struct span body = arena_printf(
        &r->scratch,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}],\"%.*s\":%.*s}%*s",
        SPAN_ARGS(option->key), SPAN_ARGS(option->value), JSON_PADDING, "");
    struct turn turn;
    struct fail fail = {0};
    bool good = false;
    if (!json || !body.p)
        r->no_memory = true;
    else if (chat_request_parse(json, &r->scratch, (char *)body.p, body.n - JSON_PADDING, &turn,
                                &fail))
        config_error(r, value, "%s: %s", r->title, fail.message);
    else
        good = true;
    json_parser_destroy(json);
    return good;
}

static bool read_option(struct config_reader *r, const struct toml_node *member,
                        struct turn_option *option, struct span *shown)
{
    struct buffer key, value, text;
    const char *name = config_quote(r, member->key);
    if (is_the_requests_own(member->key)) {
        config_error_at_key(r, member, "\"%s\" in %s: that is for the client to say", name,
                            r->title);
        return false;
    }
    buffer_init(&key, OPTION_MAX);
    buffer_init(&value, OPTION_MAX);
    buffer_init(&text, 2 * OPTION_MAX);
    struct json_writer w = json_writer(&value);
    bool good = write_value(r, name, member, &w, &text);
    json_escape(&key, member->key);
    if (good && (key.error || value.error || text.error)) {
        config_error(r, member, "\"%s\" in %s is longer than 64 KiB", name, r->title);
        good = false;
    }
    *option = (struct turn_option){config_dup(r, member->key), config_dup(r, buffer_span(&key)),
                                   config_dup(r, buffer_span(&value))};
    *shown = config_dup(r, buffer_span(&text));
    buffer_free(&key);
    buffer_free(&value);
    buffer_free(&text);
    return good && option->key.p && option->value.p && shown->p && probe(r, member, option);
}

static void read_options(struct config_reader *r, const struct toml_node *node,
                         struct target_config *target)
{
    char title[TITLE];
    const char *outer = r->title;
    if (!config_want(r, "options", node, TOML_TABLE, "a table"))
        return;
    struct turn_option *list = config_alloc(r, (node->count + 1) * sizeof *list);
    struct span *texts = config_alloc(r, (node->count + 1) * sizeof *texts);
    snprintf(title, sizeof title, "the options of the target \"%s\"",
             config_quote(r, target->name));
    r->title = title;
    for (const struct toml_node *m = node->first; list && texts && m; m = m->next) {
        if (read_option(r, m, &list[target->n_options], &texts[target->n_options]))
            target->n_options++;
    }
    target->options = list;
    target->option_texts = texts;
    r->title = outer;
}

/* ---- targets ---- */

static void read_weight(struct config_reader *r, const struct toml_node *value,
                        struct model_config *model, struct target_config *target)
{
    static const char range[] = "a whole number from 0 to 1000";
    if (!config_want(r, "weight", value, TOML_INT, range))
        return;
    if (value->integer < 0 || value->integer > WEIGHT_MAX)
        config_error(r, value, "\"weight\" in %s must be %s", r->title, range);
    else
        target->weight = (int)value->integer;
    model->weighted = true;
}

/* One element of the list: 1: a target; 0: its site is not configured; -1 after complaining. */
static int read_target(struct config_reader *r, const struct toml_node *value,
                       struct model_config *model, struct target_config *target)
{
    static const char *const names[] = {"target", "weight", "options", "continue_truncated"};
    const struct toml_node *reference = value, *weight = NULL, *options = NULL, *go_on = NULL;
    struct span site;
    *target = (struct target_config){.weight = 1};
    if (value->type == TOML_TABLE) {
        reference = toml_get(value, "target");
        weight = toml_get(value, "weight");
        options = toml_get(value, "options");
        go_on = toml_get(value, "continue_truncated");
        for (const struct toml_node *m = value->first; m; m = m->next) {
            if (!span_eq(m->key, SPAN("target")) && !span_eq(m->key, SPAN("weight")) &&
                !span_eq(m->key, SPAN("options")) && !span_eq(m->key, SPAN("continue_truncated")))
                config_unknown_key(r, m, "a target of [[models]]", names, 4);
        }
        if (!reference) {
            config_error(r, value, "a target of the model \"%s\" needs \"target\"",
                         config_quote(r, model->id));
            return -1;
        }
    }
    if (!config_read_reference(r, "targets", reference, "site/model", &target->name, &site,
                               &target->model))
        return -1;
    target->site = config_find_site(r->config, site);
    if (options)
        read_options(r, options, target);
    if (target->site < 0) {
        config_warn(r, reference,
                    "the target \"%s\" of model \"%s\" is skipped: no site \"%s\" is configured",
                    config_quote(r, target->name), config_quote(r, model->id),
                    config_quote(r, site));
        return 0;
    }
    if (weight)
        read_weight(r, weight, model, target);
    target->continuing = config_continue_merged(&r->config->sites[target->site], model);
    if (go_on && config_want(r, names[3], go_on, TOML_BOOL, "true or false")) {
        target->continuing.on = go_on->integer != 0;
        target->continue_given = true;
    }
    return 1;
}

void config_read_targets(struct config_reader *r, const struct toml_node *table,
                         struct model_config *model)
{
    const struct toml_node *node = toml_get(table, "targets");
    model->glob = span_find_char(model->id, '*') >= 0 || span_find_char(model->id, '?') >= 0;
    if (!node || !config_want(r, "targets", node, TOML_ARRAY, wanted))
        return;
    struct target_config *list = config_alloc(r, (node->count + 1) * sizeof *list);
    size_t n = 0, refused = 0;
    for (const struct toml_node *value = node->first; list && value; value = value->next) {
        int got = read_target(r, value, model, &list[n]);
        n += got == 1;
        refused += got < 0;
    }
    if (n == 0 && refused == 0)
        config_error(r, node, "the model \"%s\" has no target at a configured site",
                     config_quote(r, model->id));
    model->targets = list;
    model->n_targets = n;
}

static void print_target(struct buffer *out, const struct model_config *model,
                         const struct target_config *target)
{
    if (!model->weighted && !target->n_options && !target->continue_given) {
        config_print_quoted(out, target->name);
        return;
    }
    buffer_append(out, SPAN("{ target = "));
    config_print_quoted(out, target->name);
    if (model->weighted)
        buffer_printf(out, ", weight = %d", target->weight);
    if (target->n_options)
        buffer_append(out, SPAN(", options = {"));
    for (size_t i = 0; i < target->n_options; i++) {
        buffer_append(out, i ? SPAN(", \"") : SPAN(" \""));
        buffer_append(out, target->options[i].key);
        buffer_append(out, SPAN("\" = "));
        buffer_append(out, target->option_texts[i]);
    }
    buffer_append(out, target->n_options ? SPAN(" }") : SPAN(""));
    if (target->continue_given)
        buffer_printf(out, ", continue_truncated = %s", target->continuing.on ? "true" : "false");
    buffer_append(out, SPAN(" }"));
}

static void print_targets(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct model_config *model = record;
    buffer_char(out, '[');
    for (size_t i = 0; i < model->n_targets; i++) {
        buffer_append(out, i ? SPAN(", ") : SPAN(""));
        print_target(out, model, &model->targets[i]);
    }
    buffer_char(out, ']');
}
const struct value_type value_targets = {.wanted = wanted, .print = print_targets};
