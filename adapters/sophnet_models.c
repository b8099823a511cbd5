/*
 * adapters/sophnet_models.c - which models sophnet.com has: those known when this was written, and
 * the playground's own list.
 */
#include "adapters/sophnet.h"

const struct model_entry sophnet_models[] = {
#define MODEL(id)                                                                                  \
    {                                                                                              \
        SPAN_INIT(id), SPAN_INIT("")                                                               \
    }
    MODEL("DeepSeek-V4-Pro"),
    MODEL("DeepSeek-V4-Flash"),
    MODEL("DeepSeek-V3.2"),
    MODEL("DeepSeek-V3.1"),
    MODEL("DeepSeek-R1-0528"),
    MODEL("GLM-5.1"),
    MODEL("GLM-4.7"),
    MODEL("Kimi-K2.6"),
    MODEL("MiniMax-M3"),
    MODEL("qwen3.7-max"),
    MODEL("qwen3.6-plus"),
    MODEL("qwen3.6-flash"),
    MODEL("Qwen3-Coder"),
    MODEL("Qwen3-235B-A22B-Instruct-2507"),
    MODEL("Qwen3-235B-A22B-Thinking-2507"),
    MODEL("Qwen2.5-VL-72B-Instruct"),
    MODEL("GLM-4.5v"),
    MODEL("DeepSeek-V3-Fast"),
    MODEL("DeepSeek-v3"),
    MODEL("DeepSeek-R1"),
    MODEL("Qwen3-235B-A22B"),
    MODEL("QwQ-32B"),
    MODEL("GLM-4.5"),
    MODEL("GLM-4.5V"),
    MODEL("Kimi-K2"),
#undef MODEL
    {{NULL, 0}, {NULL, 0}},
};

/* ---- the live list ---- */

/* Only the playground has a list, and only for who has a token already. */
enum adapter_step sophnet_models_request(struct turn_run *run, struct site_request *req)
{
    bool guest;
    struct span token = sophnet_find_token(run, &guest);
    struct buffer path;
    if (token.n == 0 || sophnet_door_of(run) == SOPHNET_OFFICIAL)
        return ADAPTER_DONE;
    buffer_init(&path, 4096);
    buffer_append(&path, SPAN("/api/public/playground/models?projectUuid="));
    percent_encode(&path, sophnet_project(run));
    req->target = path.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&path));
    buffer_free(&path);
    if (!req->target.p) {
        fail_memory(run->fail);
        return ADAPTER_FAILED;
    }
    if (sophnet_add_bearer(run, req, token))
        return ADAPTER_FAILED;
    req->method = "GET";
    req->framing = FRAMING_WHOLE;
    site_request_header(req, SPAN("Accept"), SPAN("application/json"));
    return ADAPTER_SEND;
}

int sophnet_models_answer(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct json root;
    int64_t status = 0;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        root = (struct json){0};
    struct json list = json_get(root, "result");
    json_int(json_get(root, "status"), &status);
    if (status != 0 || !json_is(list, JSON_ARRAY))
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s answered no model list",
                        SPAN_ARGS(run->site->name));
    struct json_iter it = json_each(list);
    while (json_next(&it)) {
        struct model_entry entry = {.id = json_get_text(it.value, "modelFamily")};
        if (entry.id.n == 0)
            entry.id = json_get_text(it.value, "displayName");
        if (entry.id.n == 0 || !json_bool(json_get(it.value, "available"), true))
            continue;
        if (sink->put(sink->owner, &entry))
            return fail_memory(run->fail);
    }
    return 0;
}

int sophnet_models_refused(struct turn_run *run, int status, struct span content_type,
                           int retry_after_s, struct span body)
{
    struct sophnet *s = run->state;
    s->token = sophnet_find_token(run, &s->guest);
    s->renewed = true; /* nothing is tried again here */
    return sophnet_failure(run, status, content_type, retry_after_s, body);
}
