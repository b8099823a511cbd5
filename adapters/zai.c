/*
 * adapters/zai.c - chat.z.ai: who we are and what happens when (sites/zai.md §1, §4, §10).
 *
 * Two forms: v1 (2025-08), one request; v2 (since 2025-10), create a chat, then stream into it,
 * signed where a signing key is configured. Around them: the guest token that the site offers every
 * visitor (zai_token.c), and pictures, which are uploaded before the chat (zai_upload.c). The chat
 * itself is zai_body.c, what the answer means zai_stream.c, what failures mean zai_errors.c.
 */
#include "adapters/zai.h"

static const struct span default_fe_version = SPAN_INIT("prod-fe-1.1.95");

static const struct credential_field zai_credentials[] = {
    {"token", false, "browser tools, Application, Local Storage of https://chat.z.ai: token"},
    {NULL, false, NULL},
};

static const struct option_field zai_options[] = {
    {"api", OPTION_TEXT, false, "v1 v2", "request form; default: v2 with a signing_key, else v1"},
    {"signing_key", OPTION_TEXT, true, NULL,
     "key of the site's page for X-Signature (v2); it changes with the page"},
    {"fe_version", OPTION_TEXT, false, NULL,
     "the page's build (X-FE-Version), default prod-fe-1.1.95"},
    {"region", OPTION_TEXT, false, NULL, "X-Region, default overseas"},
    {"roles", OPTION_TEXT, false, "flatten native",
     "v2: how a conversation is sent; default flatten (one user message)"},
    {"delete_chat", OPTION_BOOL, false, NULL,
     "delete the chat at the site after the answer; default true for v2"},
    {NULL, OPTION_TEXT, false, NULL, NULL},
};

/* ---- what every request carries (§4) ---- */

/* The chat's page, or the site's. {NULL,0} without memory. */
static struct span referer(struct turn_run *run, const struct zai *z)
{
    struct span origin = run->site->origin, page = z->chat_id.p ? SPAN("/c/") : SPAN("/");
    size_t n = origin.n + page.n + z->chat_id.n;
    char *p = arena_alloc(run->arena, n + 1), *at = p;
    if (!p)
        return span_of(NULL, 0);
    span_put(&at, origin);
    span_put(&at, page);
    span_put(&at, z->chat_id);
    return span_of(p, n);
}

void zai_add_headers(struct turn_run *run, struct zai *z, struct site_request *req)
{
    const struct site_settings *site = run->site;
    if (z->token.p)
        request_bearer(run, req, z->token);
    site_request_header(req, SPAN("X-FE-Version"),
                        site_option_text(site, "fe_version", default_fe_version));
    site_request_header(req, SPAN("X-Region"), site_option_text(site, "region", SPAN("overseas")));
    site_request_header(req, SPAN("Origin"), site->origin);
    site_request_header(req, SPAN("Referer"), referer(run, z));
}

/* A JSON body that was written into `body`, which is dropped. */
enum adapter_step zai_send_json(struct turn_run *run, struct zai *z, struct site_request *req,
                                struct buffer *body, struct span accept)
{
    if (!request_body(run, req, body))
        return step_out_of_memory(run);
    req->method = "POST";
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    site_request_header(req, SPAN("Accept"), accept);
    zai_add_headers(run, z, req);
    return request_ready(run, req);
}

/* ---- the steps ---- */

static enum adapter_step begin(struct turn_run *run, struct zai *z)
{
    struct span api = site_option_text(
        run->site, "api", site_option(run->site, "signing_key") ? SPAN("v2") : SPAN("v1"));
    z->v2 = span_eq(api, SPAN("v2"));
    z->guest = run->account->guest;
    zai_stream_init(&z->stream);
    zai_choose_model(run, z);
    z->at = ZAI_TOKEN;
    return zai_check_pictures(run, z) ? ADAPTER_FAILED : ADAPTER_SEND;
}

static enum adapter_step zai_next(struct turn_run *run, struct site_request *req)
{
    struct zai *z = run->state;
    int missing;
    if (z->at == ZAI_BEGIN && begin(run, z) == ADAPTER_FAILED)
        return ADAPTER_FAILED;
    switch (z->at) {
    case ZAI_BEGIN:
    case ZAI_TOKEN:
        missing = zai_find_token(run, z);
        if (missing)
            return missing < 0 ? ADAPTER_FAILED : zai_ask_guest_token(run, z, req);
        z->at = ZAI_UPLOAD;
        __attribute__((fallthrough));
    case ZAI_UPLOAD:
        if (next_upload(run, &z->pictures, "file"))
            return zai_upload_picture(run, z, req);
        z->at = z->v2 ? ZAI_NEW_CHAT : ZAI_CHAT;
        if (z->v2)
            return zai_create_chat(run, z, req);
        __attribute__((fallthrough));
    case ZAI_CHAT: return z->v2 ? zai_send_chat_v2(run, z, req) : zai_send_chat_v1(run, z, req);
    case ZAI_NEW_CHAT: return zai_create_chat(run, z, req);
    case ZAI_OVER: break;
    }
    return ADAPTER_DONE;
}

/* ---- answers ---- */

/* A refused guest token is never used again, and replaced once in a turn (§2); everything else
 * stands as it was classified. */
static enum adapter_verdict renew_or_fail(struct turn_run *run, struct zai *z)
{
    if (run->fail->kind != FAIL_CREDENTIAL || !z->guest || z->at == ZAI_TOKEN)
        return ADAPTER_FAIL;
    /* What it says of a token that this turn itself obtained does not count: the site's session may
     * have ended while the chat was made, and one more try is what the site is asked for. */
    token_use_refused(run, &z->session, ZAI_GUEST_TOKEN);
    if (z->renewed || zai_stream_has_output(&z->stream))
        return ADAPTER_FAIL;
    z->renewed = true;
    fail_clear(run->fail);
    zai_stream_free(&z->stream);
    zai_stream_init(&z->stream);
    z->token = span_of(NULL, 0);
    z->chat_id = span_of(NULL, 0);
    z->created = false;
    z->at = ZAI_TOKEN;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict zai_on_head(struct turn_run *run, const struct site_head *head,
                                        enum framing *framing)
{
    struct zai *z = run->state;
    z->status = head->status;
    z->retry_after_s = head->retry_after_s;
    if (looks_like_html(head->content_type, span_of(NULL, 0)))
        return zai_fail_http(run, head->status, head->content_type, 0, span_of(NULL, 0));
    bool good = head->status == 200 || (z->at == ZAI_NEW_CHAT && head->status == 201);
    if (!good || site_head_is(head, "application/json"))
        *framing = FRAMING_WHOLE;
    z->whole = *framing == FRAMING_WHOLE;
    if (!z->whole) /* only a whole body is judged by it */
        return ADAPTER_GO_ON;
    z->content_type = arena_text(run->arena, head->content_type);
    return z->content_type.p ? ADAPTER_GO_ON : fail_memory(run->fail);
}

/* Whole bodies: the steps before the stream, and every failure that HTTP tells. */
static enum adapter_verdict whole_answer(struct turn_run *run, struct zai *z, struct span body)
{
    struct json root;
    bool good = z->status == 200 || (z->at == ZAI_NEW_CHAT && z->status == 201);
    bool json = json_parse_lenient(run->json, body, &root) == JSON_OK && json_is(root, JSON_OBJECT);
    if (!good || !json || z->at == ZAI_CHAT || json_is(zai_event_error(root), JSON_OBJECT)) {
        if (good && !json && !looks_like_html(z->content_type, body))
            fail_set(run->fail, FAIL_PROTOCOL,
                     "chat.z.ai answered with something that is not JSON");
        else
            zai_fail_http(run, z->status, z->content_type, z->retry_after_s, body);
        return renew_or_fail(run, z);
    }
    if (z->at == ZAI_TOKEN)
        return zai_take_token(run, z, root);
    return z->at == ZAI_UPLOAD ? zai_take_upload(run, z, body) : zai_take_chat(run, z, root);
}

static enum adapter_verdict zai_on_frame(struct turn_run *run, const struct frame *frame)
{
    struct zai *z = run->state;
    if (z->whole)
        return whole_answer(run, z, frame->data);
    enum adapter_verdict verdict = zai_stream_event(run, z, frame);
    return verdict == ADAPTER_FAIL ? renew_or_fail(run, z) : verdict;
}

static enum adapter_verdict zai_on_end(struct turn_run *run, enum stream_end end)
{
    struct zai *z = run->state;
    if (z->at == ZAI_CHAT && z->status == 200 && !z->whole)
        return zai_stream_end(run, z, end);
    if (z->status >= 400) { /* the body broke off, but the status has said it */
        zai_fail_http(run, z->status, z->content_type, z->retry_after_s, span_of("", 0));
        return renew_or_fail(run, z);
    }
    return fail_set(run->fail, end == END_CUT ? FAIL_CUT : FAIL_PROTOCOL,
                    "chat.z.ai's answer ended before it said anything");
}

/* ---- clean-up (§10) ---- */

static enum adapter_step zai_cleanup(struct turn_run *run, struct site_request *req)
{
    struct zai *z = run->state;
    bool wanted = site_option_bool(run->site, "delete_chat", z->v2);
    if (!wanted || !z->chat_id.n || !z->token.p || (z->v2 && !z->created))
        return ADAPTER_DONE;
    req->method = "DELETE";
    req->target =
        arena_printf(run->arena, "/api/v1/chats/%.*s",
                     SPAN_ARGS(z->chat_id)); /* never without an id: that would delete all */
    req->framing = FRAMING_NONE;
    site_request_header(req, SPAN("Accept"), SPAN("*/*"));
    zai_add_headers(run, z, req);
    z->chat_id = span_of(NULL, 0);
    return request_ready(run, req) == ADAPTER_SEND ? ADAPTER_SEND : ADAPTER_DONE;
}

static void zai_destroy(struct turn_run *run)
{
    struct zai *z = run->state;
    if (z->at != ZAI_BEGIN)
        zai_stream_free(&z->stream);
}

static const struct capability_note notes[] = {
    {CAP_IMAGE, "with a token"},
    {CAP_SEARCH, "`-search`"},
    {0},
};

const struct adapter adapter_zai = {
    .name = "zai",
    .title = "Z.ai (chat.z.ai)",
    .origin = "https://chat.z.ai",
    .credentials = zai_credentials,
    .options = zai_options,
    .capabilities = CAP_SYSTEM | CAP_IMAGE | CAP_REASONING | CAP_SEARCH | CAP_USAGE,
    .notes = notes,
    .offers_guest = true,
    .needs_account = true,
    .max_concurrent = 1,
    .is_done_with_turn = true,
    .state_size = sizeof(struct zai),
    .base_model = base_model_id,
    .models = zai_models,
    .models_request = zai_models_request,
    .models_answer = zai_models_answer,
    .models_refused = zai_fail_http,
    .models_need_credential = true,
    .models_min_ttl_s = 3600,
    .next = zai_next,
    .on_head = zai_on_head,
    .on_frame = zai_on_frame,
    .on_end = zai_on_end,
    .cleanup = zai_cleanup,
    .destroy = zai_destroy,
};
