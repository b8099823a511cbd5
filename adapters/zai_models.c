/*
 * adapters/zai_models.c - which models chat.z.ai has, and what they are called there (sites/zai.md
 * §3).
 */
#include "adapters/zai.h"

static const struct zai_model {
    struct span id, site_id;
    bool vision, no_search;
} models[] = {
    {SPAN_INIT("glm-4.5"), SPAN_INIT("0727-360B-API"), false, false},
    {SPAN_INIT("glm-4.5-air"), SPAN_INIT("0727-106B-API"), false, false},
    {SPAN_INIT("glm-4.5v"), SPAN_INIT("glm-4.5v"), true, true},
    {SPAN_INIT("glm-4.6"), SPAN_INIT("GLM-4-6-API-V1"), false, false},
    {SPAN_INIT("glm-4.6v"), SPAN_INIT("glm-4.6v"), true, true},
    {SPAN_INIT("glm-4.7"), SPAN_INIT("glm-4.7"), false, false},
    {SPAN_INIT("glm-5"), SPAN_INIT("glm-5"), false, false},
    {SPAN_INIT("glm-5.1"), SPAN_INIT("GLM-5.1"), false, false},
    {SPAN_INIT("glm-5.2"), SPAN_INIT("glm-5.2"), false, false},
    {SPAN_INIT("glm-5.3"), SPAN_INIT("glm-5.3"), false, false},
    {SPAN_INIT("glm-5-turbo"), SPAN_INIT("GLM-5-Turbo"), false, false},
    {SPAN_INIT("glm-5v-turbo"), SPAN_INIT("GLM-5v-Turbo"), true, false},
    {SPAN_INIT("glm-5.3-flash"), SPAN_INIT("x-preview-l"), true, false},
};

const struct model_entry zai_models[] = {
    {SPAN_INIT("glm-4.5"), {NULL, 0}},       {SPAN_INIT("glm-4.5-air"), {NULL, 0}},
    {SPAN_INIT("glm-4.5v"), {NULL, 0}},      {SPAN_INIT("glm-4.6"), {NULL, 0}},
    {SPAN_INIT("glm-4.6v"), {NULL, 0}},      {SPAN_INIT("glm-4.7"), {NULL, 0}},
    {SPAN_INIT("glm-5"), {NULL, 0}},         {SPAN_INIT("glm-5.1"), {NULL, 0}},
    {SPAN_INIT("glm-5.2"), {NULL, 0}},       {SPAN_INIT("glm-5.3"), {NULL, 0}},
    {SPAN_INIT("glm-5-turbo"), {NULL, 0}},   {SPAN_INIT("glm-5v-turbo"), {NULL, 0}},
    {SPAN_INIT("glm-5.3-flash"), {NULL, 0}}, {{NULL, 0}, {NULL, 0}},
};

void zai_choose_model(const struct turn_run *run, struct zai *z)
{
    struct model_wish wish = read_model_wish(run);
    struct span id = wish.id;
    bool no_search = false;
    z->thinking = wish.reasoning == REASONING_ON;
    z->effort = wish.effort;
    z->model = z->public_model = id;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (!span_eq(id, models[i].id) && !span_eq(id, models[i].site_id))
            continue;
        z->model = models[i].site_id;
        z->public_model = models[i].id;
        z->vision = models[i].vision;
        z->known_vision = true;
        no_search = models[i].no_search;
    }
    z->search = wish.search && !no_search;
}

/* ---- the live list ---- */

enum adapter_step zai_models_request(struct turn_run *run, struct site_request *req)
{
    struct zai z = {.guest = run->account->guest};
    struct span token = z.guest ? account_held(run->account, ZAI_GUEST_TOKEN, run->now_ms, 0)
                                : account_credential(run->account, "token");
    if (!zai_is_plain(token))
        return ADAPTER_DONE; /* a guest who has not spoken yet: the built-in list serves */
    z.token = arena_dup(run->arena, token);
    req->method = "GET";
    req->target = SPAN("/api/models");
    req->framing = FRAMING_WHOLE;
    site_request_header(req, SPAN("Accept"), SPAN("*/*"));
    zai_add_headers(run, &z, req);
    return request_ready(run, req);
}

static bool is_built_in(struct span site_id)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (span_eq(models[i].site_id, site_id))
            return true;
    }
    return false;
}

/* A live id that is not in the table is offered under its name: lower case, blanks as `-`. */
int zai_models_answer(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct json root;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK ||
        !json_is(json_get(root, "data"), JSON_ARRAY))
        return -1;
    struct json_iter it = json_each(json_get(root, "data"));
    while (json_next(&it)) {
        struct span id = json_get_text(it.value, "id"), name = json_get_text(it.value, "name");
        if (!name.n)
            name = json_get_text(json_get(it.value, "info"), "name");
        if (!zai_is_plain(id) || is_built_in(id) ||
            !json_bool(json_path(it.value, "info", "is_active"), true))
            continue;
        struct span public = arena_dup(run->arena, name.n ? name : id);
        char *text = (char *)(uintptr_t) public.p;
        mend_lone_surrogates(text, public.n);
        for (size_t i = 0; i < public.n; i++)
            text[i] = (unsigned char)text[i] <= ' '      ? '-'
                      : text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32)
                                                         : text[i];
        if (public.p && sink->put(sink->owner, &(struct model_entry){public, id}))
            return -1;
    }
    return 0;
}
