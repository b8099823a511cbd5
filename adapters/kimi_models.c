/*
 * adapters/kimi_models.c - which of Kimi's models is which (sites/kimi.md §3).
 *
 * A model at the site is a scenario with a few more words; for people it has a name. What the live
 * list tells beyond our own list travels in the id that the site is asked by:
 * `SCENARIO_X@kimiplusId@agentMode`.
 */
#include "adapters/kimi.h"

static const struct named_model {
    struct span id;
    struct kimi_model model;
} named[] = {
    {SPAN_INIT("kimi-k2.6"), {.scenario = SPAN_INIT("SCENARIO_K2D5")}},
    {SPAN_INIT("kimi-k2"), {.scenario = SPAN_INIT("SCENARIO_K2")}},
    {SPAN_INIT("kimi-k2.6-agent"),
     {.scenario = SPAN_INIT("SCENARIO_OK_COMPUTER"),
      .kimiplus_id = SPAN_INIT("ok-computer"),
      .agent_mode = SPAN_INIT("TYPE_NORMAL")}},
    {SPAN_INIT("kimi-k3"),
     {.scenario = SPAN_INIT("SCENARIO_CHAT"), .option = SPAN_INIT("k3"), .thinking = true}},
};

const struct model_entry kimi_models[] = {
    {SPAN_INIT("kimi-k2.6"), {NULL, 0}}, {SPAN_INIT("kimi-k2.6-thinking"), {NULL, 0}},
    {SPAN_INIT("kimi-k2"), {NULL, 0}},   {SPAN_INIT("kimi-k2.6-agent"), {NULL, 0}},
    {SPAN_INIT("kimi-k3"), {NULL, 0}},   {{NULL, 0}, {NULL, 0}},
};

/* `SCENARIO_X`, `SCENARIO_X:model`, `SCENARIO_X@kimiplusId@agentMode`. */
static bool read_scenario(struct span id, struct kimi_model *model)
{
    if (!span_starts(id, SPAN("SCENARIO_")))
        return false;
    ptrdiff_t colon = span_find_char(id, ':');
    if (colon > 0) {
        model->scenario = span_first(id, (size_t)colon);
        model->option = span_from(id, (size_t)colon + 1);
        return model->option.n > 0;
    }
    span_split(&id, '@', &model->scenario);
    span_split(&id, '@', &model->kimiplus_id);
    span_split(&id, '@', &model->agent_mode);
    return true;
}

int kimi_choose_model(struct turn_run *run, struct kimi_model *model)
{
    struct model_wish wish = read_model_wish(run);
    struct span id = wish.id.n ? wish.id : named[0].id;
    bool known = false;
    *model = (struct kimi_model){.scenario = {NULL, 0}};
    for (size_t i = 0; i < sizeof named / sizeof *named && !known; i++) {
        known = span_eq(id, named[i].id);
        if (known)
            *model = named[i].model;
    }
    if (!known && !read_scenario(id, model))
        return fail_param(run->fail, FAIL_BAD_REQUEST, "model",
                          KIMI_HOST " has no model \"%.*s\" that is known here: ask for one of its "
                                    "list, or for a scenario of the site by its name (SCENARIO_…)",
                          SPAN_ARGS(span_first(id, 60)));
    if (wish.reasoning != REASONING_UNSET)
        model->thinking = wish.reasoning == REASONING_ON;
    model->effort = wish.effort;
    model->search = wish.search || site_option_bool(run->site, "search", false);
    return 0;
}

/* ---- the prompt (§5.1) ---- */

/* Not `role: text` but `role:text`, as the sources have it. */
struct span kimi_prompt(struct turn_run *run)
{
    static const struct prompt_marks lines = {
        .head = {SPAN_INIT("system"), SPAN_INIT("user"), SPAN_INIT("assistant"), SPAN_INIT("tool")},
        .tail = SPAN_INIT(":"),
        .between = SPAN_INIT("\n"),
    };
    return flatten_with(run->arena, &lines, run->turn->messages, run->turn->n_messages);
}

/* ---- the live list ---- */

/* Protobuf's JSON has two spellings of a name. */
static struct json either(struct json object, const char *camel, const char *snake)
{
    struct json value = json_get(object, camel);
    return json_is(value, JSON_MISSING) ? json_get(object, snake) : value;
}

/* "2.6" of "K2.6 Thinking"; "" when there is none. */
static struct span version_in(struct span name)
{
    for (size_t i = 0; i + 1 < name.n; i++) {
        size_t n = 1;
        if ((name.p[i] != 'K' && name.p[i] != 'k') || !ascii_is_digit(name.p[i + 1]) ||
            (i > 0 && name.p[i - 1] != ' ' && name.p[i - 1] != '-'))
            continue;
        while (i + 1 + n < name.n &&
               (ascii_is_digit(name.p[i + 1 + n]) || name.p[i + 1 + n] == '.'))
            n++;
        while (name.p[i + n] == '.')
            n--;
        return span_of(name.p + i + 1, n);
    }
    return SPAN("");
}

static void write_version(struct buffer *out, struct span name, struct span scenario)
{
    struct span version = version_in(name);
    if (!version.n && span_eq(scenario, SPAN("SCENARIO_K2")))
        version = SPAN("2");
    if (!version.n && span_eq(scenario, SPAN("SCENARIO_K2D5")))
        version = SPAN("2.6");
    if (version.n) {
        buffer_char(out, 'k');
        buffer_append(out, version);
        return;
    }
    if (span_starts(scenario, SPAN("SCENARIO_")))
        scenario = span_from(scenario, sizeof "SCENARIO_" - 1);
    for (size_t i = 0; i < scenario.n; i++) {
        char c = scenario.p[i];
        buffer_char(out, c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
    }
}

struct listed {
    struct span scenario, name, kimiplus_id, agent_mode;
    bool thinking;
};

static const char *suffix_of(const struct listed *m)
{
    if (span_eq(m->agent_mode, SPAN("TYPE_ULTRA")))
        return "-agent-swarm";
    if (span_eq(m->scenario, SPAN("SCENARIO_OK_COMPUTER")) || m->kimiplus_id.n)
        return "-agent";
    return m->thinking ? "-thinking" : "";
}

static int put_listed(const struct listed *m, const struct model_sink *sink)
{
    struct buffer id, site_id;
    buffer_init(&id, 1024);
    buffer_init(&site_id, 1024);
    buffer_append(&id, SPAN("kimi-"));
    write_version(&id, m->name, m->scenario);
    buffer_append(&id, span_str(suffix_of(m)));
    buffer_append(&site_id, m->scenario);
    if (m->kimiplus_id.n || m->agent_mode.n)
        buffer_printf(&site_id, "@%.*s@%.*s", SPAN_ARGS(m->kimiplus_id), SPAN_ARGS(m->agent_mode));
    if (m->thinking)
        buffer_append(&site_id, SPAN("-thinking"));
    int bad =
        id.error || site_id.error ||
        sink->put(sink->owner, &(struct model_entry){buffer_span(&id), buffer_span(&site_id)});
    buffer_free(&id);
    buffer_free(&site_id);
    return bad ? -1 : 0;
}

int kimi_models_answer(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct json root;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        return -1;
    struct json list = either(root, "availableModels", "available_models");
    if (!json_is(list, JSON_ARRAY))
        return -1;
    struct json_iter it = json_each(list);
    while (json_next(&it)) {
        struct json m = it.value;
        struct listed listed = {
            .scenario = json_get_text(m, "scenario"),
            .name = json_text(either(m, "displayName", "display_name")),
            .kimiplus_id = json_text(either(m, "kimiPlusId", "kimi_plus_id")),
            .agent_mode = json_text(either(m, "agentMode", "agent_mode")),
            .thinking = json_bool(json_get(m, "thinking"), false),
        };
        if (!is_path_id(listed.scenario) ||
            (listed.kimiplus_id.n && !is_path_id(listed.kimiplus_id)) ||
            (listed.agent_mode.n && !is_path_id(listed.agent_mode))) {
            run_drift(run, "model without a plain name");
            continue;
        }
        if (put_listed(&listed, sink))
            return -1;
    }
    return 0;
}
