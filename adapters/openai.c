/*
 * adapters/openai.c - any service that speaks OpenAI's chat.completions (docs/sites/openai.md).
 *
 * One request, one answer. The client's body travels as it is but for the model's name; the hard
 * parts live in openai_wire.h, shared with other sites of this kind. What is no chat is relayed
 * (openai_relay.h).
 */
#include "adapters/openai_relay.h"
#include "adapters/openai_wire.h"
#include "adapters/support.h"

struct openai {
    bool asked;
    bool relaying; /* a relay, and the site said yes */
    struct openai_wire wire;
};

static const struct openai_dialect dialect = {0};

static const struct credential_field credentials[] = {
    {"api_key", false,
     "the service's API key, sent as Authorization: Bearer; none for a local server without keys"},
    {0},
};

static const struct option_field options[] = {
    {"ask_usage", OPTION_BOOL, false, NULL,
     "ask the service for token counts in every stream (default true)"},
    {"default_temperature", OPTION_NUMBER, false, NULL, "temperature when the client gives none"},
    {"default_top_p", OPTION_NUMBER, false, NULL, "top_p when the client gives none"},
    {"default_max_tokens", OPTION_INT, false, NULL, "max_tokens when the client gives no limit"},
    {0},
};

static struct span chat_target(const struct site_settings *site)
{
    if (site->path.n)
        return site->path;
    return site->prefix.n ? SPAN("/chat/completions") : SPAN("/v1/chat/completions");
}

static int add_credential(struct turn_run *run, struct site_request *req)
{
    struct span key = account_credential(run->account, "api_key");
    if (key.n == 0)
        return 0;
    request_bearer(run, req, key);
    return req->headers[req->n_headers - 1].value.p ? 0 : fail_memory(run->fail);
}

static int write_body(struct turn_run *run, struct span *body)
{
    struct body_edit edits[2 + OPENAI_DEFAULTS_MAX];
    size_t n = 0;
    edits[n++] = (struct body_edit){.key = "model", .value = openai_raw_string(run, run->model)};
    if (run->turn->stream && site_option_bool(run->site, "ask_usage", true))
        edits[n++] = (struct body_edit){.key = "stream_options", .value = openai_usage_asked(run)};
    for (size_t i = 0; i < n; i++) {
        if (!edits[i].value.p)
            return fail_memory(run->fail);
    }
    int defaults = openai_defaults(run, edits + n);
    return defaults < 0 ? -1 : openai_edit_body(run, edits, n + (size_t)defaults, body);
}

static enum adapter_step next(struct turn_run *run, struct site_request *req)
{
    struct openai *o = run->state;
    if (o->asked)
        return ADAPTER_DONE;
    o->asked = true;
    if (add_credential(run, req))
        return ADAPTER_FAILED;
    if (run->turn->relay.path.n)
        return openai_relay_request(run, req) ? ADAPTER_FAILED : ADAPTER_SEND;
    if (write_body(run, &req->body))
        return ADAPTER_FAILED;
    req->method = "POST";
    req->target = chat_target(run->site);
    req->framing = run->turn->stream ? FRAMING_SSE : FRAMING_WHOLE;
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    site_request_header(req, SPAN("Accept"),
                        run->turn->stream ? SPAN("text/event-stream") : SPAN("application/json"));
    return ADAPTER_SEND;
}

static enum adapter_verdict on_head(struct turn_run *run, const struct site_head *head,
                                    enum framing *framing)
{
    struct openai *o = run->state;
    enum adapter_verdict verdict = openai_wire_head(run, &o->wire, &dialect, head, framing);
    if (!run->turn->relay.path.n || verdict != ADAPTER_GO_ON || !o->wire.good)
        return verdict;
    o->relaying = true;
    *framing = FRAMING_RAW;
    return delta_head(run->out, head->content_type) ? ADAPTER_FAIL : ADAPTER_GO_ON;
}

/* There is but one answer. */
static enum adapter_verdict judge(struct turn_run *run, const struct openai *o,
                                  enum adapter_verdict verdict)
{
    verdict = openai_relay_verdict(run, o->wire.status, verdict);
    run->over = verdict == ADAPTER_COMPLETE;
    return verdict;
}

static enum adapter_verdict on_frame(struct turn_run *run, const struct frame *frame)
{
    struct openai *o = run->state;
    if (o->relaying)
        return delta_bytes(run->out, frame->data) ? ADAPTER_FAIL : ADAPTER_GO_ON;
    return judge(run, o, openai_wire_frame(run, &o->wire, frame));
}

static enum adapter_verdict on_end(struct turn_run *run, enum stream_end end)
{
    struct openai *o = run->state;
    if (o->relaying)
        return end == END_CLEAN ? ADAPTER_COMPLETE : fail_broke_off(run);
    return judge(run, o, openai_wire_end(run, &o->wire, end));
}

/* ---- models ---- */

static enum adapter_step models_request(struct turn_run *run, struct site_request *req)
{
    if (add_credential(run, req))
        return ADAPTER_FAILED;
    req->method = "GET";
    req->target = run->site->prefix.n ? SPAN("/models") : SPAN("/v1/models");
    req->framing = FRAMING_WHOLE;
    site_request_header(req, SPAN("Accept"), SPAN("application/json"));
    return ADAPTER_SEND;
}

/* {"data":[{"id"}]}, a bare array, {"models":[{"name"}]}; entries may be bare ids. */
static int models_answer(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct json root, list;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s answered a model list that is no JSON",
                        SPAN_ARGS(run->site->name));
    list = json_is(root, JSON_ARRAY) ? root : json_get(root, "data");
    if (!json_is(list, JSON_ARRAY))
        list = json_get(root, "models");
    if (!json_is(list, JSON_ARRAY))
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s answered no model list",
                        SPAN_ARGS(run->site->name));
    struct json_iter it = json_each(list);
    while (json_next(&it)) {
        struct model_entry entry = {.id = json_text(it.value)};
        if (entry.id.n == 0)
            entry.id = json_get_text(it.value, "id");
        if (entry.id.n == 0)
            entry.id = json_get_text(it.value, "name");
        if (entry.id.n && sink->put(sink->owner, &entry))
            return fail_memory(run->fail);
    }
    return 0;
}

static const struct capability_note notes[] = {
    {CAP_SEARCH, "as the service"},
    {0},
};

const struct adapter adapter_openai = {
    .name = "openai",
    .title = "any OpenAI-compatible service",
    .origin = "https://api.openai.com/v1",
    .credentials = credentials,
    .options = options,
    .capabilities = CAP_SYSTEM | CAP_IMAGE | CAP_IMAGE_URL | CAP_AUDIO | CAP_FILE | CAP_VIDEO |
                    CAP_TOOLS | CAP_REASONING | CAP_RESPONSE_FORMAT | CAP_LOGPROBS | CAP_N |
                    CAP_SEARCH | CAP_USAGE | CAP_STOP | CAP_MAX_TOKENS | CAP_RELAY,
    .notes = notes,
    .is_done_with_turn = true,
    .state_size = sizeof(struct openai),
    .models_request = models_request,
    .models_answer = models_answer,
    .next = next,
    .on_head = on_head,
    .on_frame = on_frame,
    .on_end = on_end,
};
