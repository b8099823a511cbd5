/*
 * adapters/anthropic.c - Anthropic's Messages API, and services that speak it
 * (docs/sites/anthropic.md).
 *
 * One request, one stream; a second request only where the model refused a field of the first
 * (sites/anthropic.md §4.4). The request is anthropic_body.c, the answer anthropic_stream.c,
 * failures anthropic_errors.c.
 */
#include "adapters/anthropic.h"
#include "adapters/support.h"

enum { KEPT_LIMIT = 512 * 1024, SIGNATURE_LIMIT = 256 * 1024 };

static const struct credential_field credentials[] = {
    {"api_key", false, "key of the Anthropic console (sk-ant-…), or of the service at base_url"},
    {0},
};

static const struct option_field options[] = {
    {"auth", OPTION_TEXT, false, "x-api-key bearer",
     "header that carries the key: x-api-key (default), or Authorization: Bearer"},
    {"betas", OPTION_TEXT, false, NULL, "values of the header anthropic-beta, separated by commas"},
    {0},
};

/* ---- what every request carries (§2) ---- */

static struct span target(struct turn_run *run, const char *path)
{
    bool versioned = span_ends(run->site->prefix, SPAN("/v1"));
    return arena_printf(run->arena, "%s%s", versioned ? "" : "/v1", path);
}

static bool has_beta(struct span list, struct span beta)
{
    struct span one;
    while (span_split(&list, ',', &one)) {
        if (span_eq(span_trim(one), beta))
            return true;
    }
    return false;
}

/* The configured ones and those of a client that speaks of them, each once. */
static struct span betas(struct turn_run *run)
{
    struct span lists[2] = {site_option_text(run->site, "betas", SPAN(""))}, one;
    struct buffer out;
    if (run->turn && run->turn->dialect == DIALECT_ANTHROPIC)
        lists[1] = run->turn->betas;
    buffer_init(&out, 8192);
    for (size_t i = 0; i < 2; i++) {
        while (span_split(&lists[i], ',', &one)) {
            one = span_trim(one);
            if (one.n == 0 || has_beta(buffer_span(&out), one))
                continue;
            if (out.n)
                buffer_char(&out, ',');
            buffer_append(&out, one);
        }
    }
    struct span merged = out.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&out));
    buffer_free(&out);
    return merged;
}

static int add_headers(struct turn_run *run, struct site_request *req, struct span accept)
{
    struct span key = account_credential(run->account, "api_key"), beta = betas(run);
    bool bearer = span_eq(site_option_text(run->site, "auth", SPAN("x-api-key")), SPAN("bearer"));
    if (bearer && key.n)
        key = arena_printf(run->arena, "Bearer %.*s", SPAN_ARGS(key));
    if (!req->target.p || !beta.p || (bearer && !key.p))
        return fail_memory(run->fail);
    if (key.n)
        site_request_header(req, bearer ? SPAN("Authorization") : SPAN("x-api-key"), key);
    site_request_header(req, SPAN("anthropic-version"), SPAN("2023-06-01"));
    if (beta.n)
        site_request_header(req, SPAN("anthropic-beta"), beta);
    site_request_header(req, SPAN("Accept"), accept);
    return 0;
}

/* ---- a turn ---- */

static void begin_answer(struct anthropic *a)
{
    buffer_init(&a->blocks, KEPT_LIMIT);
    buffer_init(&a->signature, SIGNATURE_LIMIT);
    a->input = a->cache_write = a->cache_read = a->output = a->thinking = -1;
}

static struct span base_model(struct span id) { return family_model_id(id, ANTHROPIC_FAMILY); }

static enum adapter_step next(struct turn_run *run, struct site_request *req)
{
    struct anthropic *a = run->state;
    if (a->asked && !a->again)
        return ADAPTER_DONE;
    if (!a->asked) {
        begin_answer(a);
        a->wish = read_family_wish(run, run->model, ANTHROPIC_FAMILY);
        a->model = anthropic_model_named(a->wish.id);
        anthropic_model_noted(run, &a->model);
        if (run->turn->dialect != DIALECT_ANTHROPIC)
            a->left_out = anthropic_known_refusals(run);
    }
    a->asked = true;
    a->again = false;
    req->method = "POST";
    req->target = target(run, "/messages");
    req->framing = FRAMING_SSE;
    if (add_headers(run, req, SPAN("text/event-stream")) ||
        anthropic_write_body(run, a, &req->body))
        return ADAPTER_FAILED;
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    return ADAPTER_SEND;
}

static int wait_of(const struct site_head *head)
{
    uint64_t ms;
    if (head->retry_after_s)
        return head->retry_after_s;
    return span_to_u64(site_head_get(head, "retry-after-ms"), INT32_MAX, &ms)
               ? (int)((ms + 999) / 1000)
               : 0;
}

static enum adapter_verdict on_head(struct turn_run *run, const struct site_head *head,
                                    enum framing *framing)
{
    struct anthropic *a = run->state;
    a->status = head->status;
    a->retry_after_s = wait_of(head);
    a->challenge = span_eq_nocase(site_head_get(head, "cf-mitigated"), SPAN("challenge"));
    a->no_retry = span_eq_nocase(site_head_get(head, "x-should-retry"), SPAN("false"));
    a->content_type = arena_dup(run->arena, head->content_type);
    if (!a->content_type.p)
        return fail_memory(run->fail);
    a->good = head->status >= 200 && head->status < 300 && !a->challenge &&
              !looks_like_html(head->content_type, SPAN(""));
    a->whole = a->good && site_head_is(head, "application/json");
    *framing = a->good && !a->whole ? FRAMING_SSE : FRAMING_WHOLE;
    return ADAPTER_GO_ON;
}

static enum adapter_verdict nonsense(struct turn_run *run)
{
    return fail_set(run->fail, FAIL_PROTOCOL, "%.*s answered something that is no JSON object",
                    SPAN_ARGS(run->site->name));
}

static enum adapter_verdict whole_answer(struct turn_run *run, struct anthropic *a,
                                         struct span text)
{
    struct json root;
    if (text.n == 0)
        return ADAPTER_GO_ON;
    if (json_parse_lenient(run->json, text, &root) != JSON_OK || !json_is(root, JSON_OBJECT))
        return nonsense(run);
    if (json_is(json_get(root, "error"), JSON_OBJECT))
        return anthropic_error(run, json_get(root, "error"));
    return json_is(json_get(root, "content"), JSON_ARRAY) ? anthropic_read_message(run, a, root)
                                                          : nonsense(run);
}

static enum adapter_verdict on_frame(struct turn_run *run, const struct frame *frame)
{
    struct anthropic *a = run->state;
    if (!a->good)
        return anthropic_refused(run, a, span_trim(frame->data));
    if (a->whole)
        return whole_answer(run, a, span_trim(frame->data));
    return anthropic_read_frame(run, a, frame);
}

/* Without message_stop: a stop_reason says that nothing is missing. */
static enum adapter_verdict on_end(struct turn_run *run, enum stream_end end)
{
    struct anthropic *a = run->state;
    if (!a->good)
        return anthropic_refused(run, a, SPAN(""));
    if (a->stop_reason.n)
        return anthropic_finish(run, a);
    return fail_broke_off(run);
}

static void destroy(struct turn_run *run)
{
    struct anthropic *a = run->state;
    buffer_free(&a->blocks);
    buffer_free(&a->signature);
}

/* ---- models (§3) ---- */

static enum adapter_step models_request(struct turn_run *run, struct site_request *req)
{
    const struct anthropic *a = run->state;
    struct buffer path;
    buffer_init(&path, 4096);
    buffer_append(&path, SPAN("/models?limit=1000"));
    if (a && a->after.n) {
        buffer_append(&path, SPAN("&after_id="));
        percent_encode(&path, a->after);
    }
    buffer_char(&path, '\0');
    req->method = "GET";
    req->target = path.error ? span_of(NULL, 0) : target(run, path.p);
    req->framing = FRAMING_WHOLE;
    buffer_free(&path);
    return add_headers(run, req, SPAN("application/json")) ? ADAPTER_FAILED : ADAPTER_SEND;
}

const struct adapter adapter_anthropic = {
    .name = "anthropic",
    .title = "Anthropic's API",
    .origin = "https://api.anthropic.com",
    .credentials = credentials,
    .options = options,
    .dialect = DIALECT_ANTHROPIC,
    .capabilities = CAP_SYSTEM | CAP_IMAGE | CAP_IMAGE_URL | CAP_FILE | CAP_TOOLS | CAP_REASONING |
                    CAP_RESPONSE_FORMAT | CAP_USAGE | CAP_MAX_TOKENS,
    .needs_account = true,
    .models_need_credential = true,
    .state_size = sizeof(struct anthropic),
    .base_model = base_model,
    .models_request = models_request,
    .models_answer = anthropic_models_answer,
    .next = next,
    .on_head = on_head,
    .on_frame = on_frame,
    .on_end = on_end,
    .destroy = destroy,
};
