/*
 * adapters/gemini.c - Google's Gemini API in its own words, generateContent (docs/sites/gemini.md).
 *
 * One request, one stream, with a person's key. Whole answers are asked for as streams as well: one
 * decoder, one rule for silence. The hard part is that models refuse optional fields that others
 * want: a 400 that names one is answered by asking once more without it, and remembered.
 */
#include "adapters/gemini.h"

#include <stdio.h>

#include "base/json_write.h"

enum { MODEL_PAGE = 1000 };

static const struct credential_field credentials[] = {
    {"api_key", false, "a key made at https://aistudio.google.com/apikey"},
    {0},
};

#define THRESHOLDS "OFF BLOCK_NONE BLOCK_ONLY_HIGH BLOCK_MEDIUM_AND_ABOVE BLOCK_LOW_AND_ABOVE"

static const struct option_field options[] = {
    {"google_search", OPTION_BOOL, false, NULL,
     "Google's own search, where the client brings no tools (default false)"},
    {"url_context", OPTION_BOOL, false, NULL,
     "Google reads addresses that the prompt names, where the client brings no tools (default "
     "false)"},
    {"code_execution", OPTION_BOOL, false, NULL,
     "Google runs the model's Python, where the client brings no tools (default false)"},
    {"safety", OPTION_TEXT, false, THRESHOLDS,
     "threshold of all four safety settings (default: Google's)"},
    {"safety_harassment", OPTION_TEXT, false, THRESHOLDS, "of this one alone"},
    {"safety_hate_speech", OPTION_TEXT, false, THRESHOLDS, "of this one alone"},
    {"safety_sexually_explicit", OPTION_TEXT, false, THRESHOLDS, "of this one alone"},
    {"safety_dangerous_content", OPTION_TEXT, false, THRESHOLDS, "of this one alone"},
    {0},
};

static enum adapter_step failed(struct turn_run *run)
{
    if (run->fail->kind == FAIL_NONE)
        fail_memory(run->fail);
    return ADAPTER_FAILED;
}

static int add_key(struct turn_run *run, struct site_request *req)
{
    struct span key = account_credential(run->account, "api_key");
    if (key.n == 0)
        return fail_set(run->fail, FAIL_CREDENTIAL, "account \"%.*s\" of %.*s has no api_key",
                        SPAN_ARGS(run->account->name), SPAN_ARGS(run->site->name));
    site_request_header(req, SPAN("x-goog-api-key"), key); /* never in the address (section 2) */
    return 0;
}

/* People write base_url with and without the version. */
static bool names_version(struct span prefix)
{
    return span_ends(prefix, SPAN("/v1beta")) || span_ends(prefix, SPAN("/v1alpha")) ||
           span_ends(prefix, SPAN("/v1"));
}

static const char *version(const struct turn_run *run)
{
    return names_version(run->site->prefix) ? "" : "/v1beta";
}

static struct span without_collection(struct span model)
{
    return span_starts(model, SPAN("models/")) ? span_from(model, 7) : model;
}

static struct span base_model(struct span id) { return family_model_id(id, GEMINI_FAMILY); }

/* ---- the request ---- */

static struct span refused_key(struct turn_run *run, const struct gemini *g)
{
    return arena_printf(run->arena, "gemini refused %.*s", SPAN_ARGS(g->model));
}

static void recall_refused(struct turn_run *run, struct gemini *g)
{
    uint64_t bits;
    if (g->recalled)
        return;
    g->recalled = true;
    if (span_to_u64(run_recall(run, refused_key(run, g)), REFUSED_ALL, &bits))
        g->refused |= (unsigned)bits;
}

static void keep_refused(struct turn_run *run, const struct gemini *g)
{
    run_keep(run, refused_key(run, g), arena_printf(run->arena, "%u", g->refused));
}

/* tunedModels/x is a collection of its own: its slash stays. */
static struct span chat_target(struct turn_run *run, const struct gemini *g)
{
    bool tuned = span_starts(g->model, SPAN("tunedModels/"));
    struct buffer path;
    buffer_init(&path, 4096);
    buffer_printf(&path, "%s/%s/", version(run), tuned ? "tunedModels" : "models");
    percent_encode(&path, tuned ? span_from(g->model, 12) : g->model);
    buffer_append(&path, SPAN(":streamGenerateContent?alt=sse"));
    struct span target = path.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&path));
    buffer_free(&path);
    return target;
}

static enum adapter_step next(struct turn_run *run, struct site_request *req)
{
    struct gemini *g = run->state;
    if (g->at != GEMINI_ASK)
        return ADAPTER_DONE;
    g->wish = read_family_wish(run, without_collection(run->model), GEMINI_FAMILY);
    g->model = g->wish.id;
    recall_refused(run, g);
    req->method = "POST";
    req->target = chat_target(run, g);
    req->framing = FRAMING_SSE_LOOSE;
    if (!req->target.p || add_key(run, req) || gemini_body(run, g, &req->body))
        return failed(run);
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    site_request_header(req, SPAN("Accept"), SPAN("text/event-stream"));
    g->at = GEMINI_ANSWER;
    return ADAPTER_SEND;
}

/* ---- the answer ---- */

static enum adapter_verdict on_head(struct turn_run *run, const struct site_head *head,
                                    enum framing *framing)
{
    struct gemini *g = run->state;
    g->status = head->status;
    g->retry_after_s = head->retry_after_s;
    g->content_type = arena_dup(run->arena, head->content_type);
    if (!g->content_type.p)
        return fail_memory(run->fail);
    g->good =
        head->status >= 200 && head->status < 300 && !looks_like_html(head->content_type, SPAN(""));
    /* A proxy that strips the query makes it one JSON array (section 5). */
    g->whole = span_find_nocase(head->content_type, SPAN("json")) >= 0;
    *framing = g->good && !g->whole ? FRAMING_SSE_LOOSE : FRAMING_WHOLE;
    return ADAPTER_GO_ON;
}

/* A 400 that names fields which the model does not have: once more without them. Each try leaves
 * out more, so this ends. */
static enum adapter_verdict failure(struct turn_run *run, struct gemini *g, struct span body)
{
    unsigned named = g->status == 400 ? gemini_refused_fields(run, g->sent, body) : 0;
    if (!named)
        return gemini_fail_http(run, g->status, g->content_type, g->retry_after_s, body);
    g->refused |= named;
    keep_refused(run, g);
    g->at = GEMINI_ASK;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict note_end(struct gemini *g, enum adapter_verdict verdict)
{
    if (verdict == ADAPTER_COMPLETE)
        g->at = GEMINI_OVER;
    return verdict;
}

static enum adapter_verdict on_frame(struct turn_run *run, const struct frame *frame)
{
    struct gemini *g = run->state;
    struct span text = span_trim(frame->data);
    if (!g->good)
        return failure(run, g, text);
    if (g->whole && looks_like_html(g->content_type, text))
        return gemini_fail_http(run, g->status, g->content_type, g->retry_after_s, text);
    return text.n ? note_end(g, gemini_event(run, g, text)) : ADAPTER_GO_ON;
}

static enum adapter_verdict on_end(struct turn_run *run, enum stream_end end)
{
    struct gemini *g = run->state;
    if (!g->good)
        return gemini_fail_http(run, g->status, g->content_type, g->retry_after_s, SPAN(""));
    return note_end(g, gemini_end(run, g, end));
}

/* ---- models ---- */

static enum adapter_step models_request(struct turn_run *run, struct site_request *req)
{
    struct gemini *g = run->state;
    struct buffer path;
    buffer_init(&path, 8192);
    buffer_printf(&path, "%s/models?pageSize=%d", version(run), MODEL_PAGE);
    if (g->page.n) {
        buffer_append(&path, SPAN("&pageToken="));
        percent_encode(&path, g->page);
    }
    req->method = "GET";
    req->target = path.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&path));
    buffer_free(&path);
    req->framing = FRAMING_WHOLE;
    if (!req->target.p || add_key(run, req))
        return failed(run);
    site_request_header(req, SPAN("Accept"), SPAN("application/json"));
    return ADAPTER_SEND;
}

static bool generates(struct json model)
{
    struct json_iter it = json_each(json_get(model, "supportedGenerationMethods"));
    while (json_next(&it)) {
        if (span_eq(json_text(it.value), SPAN("generateContent")))
            return true;
    }
    return false;
}

static int models_answer(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct gemini *g = run->state;
    struct json root = {0};
    if (json_parse_lenient(run->json, body, &root) != JSON_OK ||
        !json_is(json_get(root, "models"), JSON_ARRAY))
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s answered no model list",
                        SPAN_ARGS(run->site->name));
    struct json_iter it = json_each(json_get(root, "models"));
    while (json_next(&it)) {
        struct model_entry entry = {.id = without_collection(json_get_text(it.value, "name"))};
        bool thinks = json_bool(json_get(it.value, "thinking"), false);
        run->model_note = thinks ? GEMINI_NOTE_THINKS : GEMINI_NOTE_PLAIN;
        if (entry.id.n && generates(it.value) && sink->put(sink->owner, &entry))
            return fail_memory(run->fail);
    }
    g->page = arena_dup(run->arena, json_get_text(root, "nextPageToken"));
    return g->page.n ? MODELS_MORE : 0;
}

static const struct capability_note notes[] = {
    {CAP_SEARCH, "`google_search = true`"},
    {0},
};

const struct adapter adapter_gemini = {
    .name = "gemini",
    .title = "Google's Gemini API",
    .origin = "https://generativelanguage.googleapis.com",
    .credentials = credentials,
    .options = options,
    .dialect = DIALECT_GOOGLE,
    .capabilities = CAP_SYSTEM | CAP_IMAGE | CAP_AUDIO | CAP_FILE | CAP_TOOLS | CAP_REASONING |
                    CAP_RESPONSE_FORMAT | CAP_LOGPROBS | CAP_SEARCH | CAP_USAGE | CAP_STOP |
                    CAP_MAX_TOKENS,
    .notes = notes,
    .needs_account = true,
    .cool_down_s = 60,
    .state_size = sizeof(struct gemini),
    .base_model = base_model,
    .models_request = models_request,
    .models_answer = models_answer,
    .models_refused = gemini_fail_http,
    .models_need_credential = true,
    .next = next,
    .on_head = on_head,
    .on_frame = on_frame,
    .on_end = on_end,
};
