/*
 * adapters/claude_web_model.c - claude.ai's models: what they are called here and there, and how
 * they think (sites/claude_web.md §3).
 */
#include "adapters/claude_web.h"

const struct model_entry claude_web_models[] = {
    {SPAN_INIT("claude-sonnet-5"), {NULL, 0}},
    {SPAN_INIT("claude-opus-5"), {NULL, 0}},
    {SPAN_INIT("claude-fable-5-1"), {NULL, 0}},
    {SPAN_INIT("claude-haiku-4-5"), SPAN_INIT("claude-haiku-4-5-20251001")},
    {SPAN_INIT("claude-sonnet-4-6"), {NULL, 0}},
    {SPAN_INIT("claude-opus-4-8"), {NULL, 0}},
    {SPAN_INIT("claude-opus-4-7"), {NULL, 0}},
    {SPAN_INIT("claude-fable-5"), {NULL, 0}},
    {SPAN_INIT("claude-opus-4-6"), {NULL, 0}},
    {SPAN_INIT("claude-opus-4-5"), SPAN_INIT("claude-opus-4-5-20251101")},
    {SPAN_INIT("claude-opus-4-1"), SPAN_INIT("claude-opus-4-1-20250805-claude-ai")},
    {SPAN_INIT("claude-3-opus"), SPAN_INIT("claude-3-opus-20240229")},
    {{NULL, 0}, {NULL, 0}},
};

/* Those that do not think in the mode "auto", by what their ids begin with at the site. */
static const struct {
    struct span begins, thinking;
} older_modes[] = {
    {SPAN_INIT("claude-haiku-4-5"), SPAN_INIT("extended")},
    {SPAN_INIT("claude-opus-4-6"), SPAN_INIT("extended")},
    {SPAN_INIT("claude-opus-4-5"), SPAN_INIT("extended")},
    {SPAN_INIT("claude-opus-4-1"), SPAN_INIT("extended")},
    {SPAN_INIT("claude-3-opus"), SPAN_INIT("")},
};

static struct span site_id(struct span id)
{
    for (size_t i = 0; claude_web_models[i].id.p; i++) {
        if (span_eq(id, claude_web_models[i].id) && claude_web_models[i].site_id.n)
            return claude_web_models[i].site_id;
    }
    return id;
}

static struct span public_id(struct span id)
{
    for (size_t i = 0; claude_web_models[i].id.p; i++) {
        if (span_eq(id, claude_web_models[i].site_id))
            return claude_web_models[i].id;
    }
    return id;
}

/* "" = it does not think. */
static struct span thinking_mode(const struct turn_run *run, struct span id)
{
    for (size_t i = 0; i < sizeof older_modes / sizeof *older_modes; i++) {
        if (span_starts(id, older_modes[i].begins))
            return older_modes[i].thinking;
    }
    return run->model_note.n ? run->model_note : SPAN("auto");
}

static int refuse_search(struct turn_run *run, struct span id)
{
    return fail_param(run->fail, FAIL_UNSUPPORTED, "model", "%.*s has no web search at claude.ai",
                      SPAN_ARGS(span_first(id, 96)));
}

int claude_web_choose_model(struct turn_run *run, struct claude_web *c)
{
    struct model_wish wish = read_model_wish(run);
    c->model = site_id(wish.id.n ? wish.id : claude_web_models[0].id);
    c->thinking_mode = thinking_mode(run, c->model);
    c->thinking = wish.reasoning == REASONING_ON && c->thinking_mode.n;
    c->effort = wish.effort;
    c->search = wish.search;
    bool oldest = span_starts(c->model, SPAN("claude-3-opus"));
    if (oldest && c->search)
        return refuse_search(run, wish.id);
    for (size_t i = 0; oldest && i < c->uploads.n; i++) {
        if (c->uploads.list[i].part->kind == PART_IMAGE)
            return refuse_picture(run, &c->uploads.list[i],
                                  "claude-3-opus takes no pictures at claude.ai");
    }
    return 0;
}

/* ---- the live list ---- */

/* The first way of thinking that is none of the plain ones; "" = none that we know. */
static struct span mode_of(struct json model)
{
    static const struct span known[] = {SPAN_INIT("auto"), SPAN_INIT("extended")};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct json_iter it = json_each(json_get(model, "thinking_modes"));
        while (json_next(&it)) {
            if (span_eq(json_get_text(it.value, "id"), known[i]))
                return known[i];
        }
    }
    return SPAN("");
}

static int put_models(struct turn_run *run, struct json list, const struct model_sink *sink)
{
    struct json_iter it = json_each(list);
    while (json_next(&it)) {
        struct span id = json_get_text(it.value, "model");
        if (!token_can_be_sent(id) || json_bool(json_get(it.value, "inactive"), false))
            continue;
        struct span name = public_id(id);
        run->model_note = mode_of(it.value);
        if (sink->put(sink->owner, &(struct model_entry){name, span_eq(name, id) ? SPAN("") : id}))
            return -1;
    }
    return 0;
}

int claude_web_put_models(struct turn_run *run, struct span organization, struct json root,
                          const struct model_sink *sink)
{
    struct json_iter it = json_each(json_path(root, "account", "memberships"));
    while (json_next(&it)) {
        struct json of = json_get(it.value, "organization");
        struct json list = json_get(of, "claude_ai_bootstrap_models_config");
        if (span_eq(json_get_text(of, "uuid"), organization) && json_is(list, JSON_ARRAY))
            return put_models(run, list, sink);
    }
    return -1;
}
