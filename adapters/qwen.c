/*
 * adapters/qwen.c - chat.qwen.ai: who we are, which steps a turn has (sites/qwen.md §1-§4, §9).
 *
 * A turn is: a token when the present one is about to end (qwen_token.c), for each picture a ticket
 * and its bytes to the storage (qwen_upload.c), a new chat unless one goes on, one stream
 * (qwen_body.c, qwen_stream.c); afterwards the chat that we made is deleted unless it will go on.
 * Whatever step the site refuses the token in is done again with another one, once, if the account
 * has another way to get it.
 */
#include "adapters/qwen.h"

#define WEB_VERSION "0.2.68"

static const struct credential_field qwen_credentials[] = {
    {"token", false, "browser tools, Application, Local Storage of https://chat.qwen.ai: token"},
    {"email", true, "instead of a token, or for when it ends: the account's e-mail address …"},
    {"password", false, "… and its password"},
    {"cookie", false, "the Cookie line of your own browser at chat.qwen.ai, sent as it is"},
    {"ticket", false,
     "with api = \"tongyi\": the cookie tongyi_sso_ticket of tongyi.aliyun.com, or "
     "login_aliyunid_ticket of aliyun.com"},
    {NULL, false, NULL},
};

static const struct option_field qwen_options[] = {
    {"api", OPTION_TEXT, false, "qwen tongyi",
     "tongyi: the older site, tongyi.aliyun.com; default qwen"},
    {"web_version", OPTION_TEXT, false, NULL,
     "the version of the site's page that requests name; default " WEB_VERSION},
    {"flatten_marks", OPTION_TEXT, false, "labels human lines",
     "how a conversation is written as one text; default labels (System: User: Assistant:)"},
    {"delete_chat", OPTION_BOOL, false, NULL,
     "delete the chat at the site after the answer; default true"},
    {NULL, OPTION_TEXT, false, NULL, NULL},
};

/* ---- models (§3) ---- */

#define MODEL(id)                                                                                  \
    {                                                                                              \
        SPAN_INIT(id), { NULL, 0 }                                                                 \
    }
static const struct model_entry qwen_models[] = {
    MODEL("qwen3.7-plus"),         MODEL("qwen3.7-max"),
    MODEL("qwen3.6-plus"),         MODEL("qwen3.6-max-preview"),
    MODEL("qwen3.6-27b"),          MODEL("qwen3.6-35b-a3b"),
    MODEL("qwen3.5-plus"),         MODEL("qwen3.5-flash"),
    MODEL("qwen3.5-omni-plus"),    MODEL("qwen3.5-397b-a17b"),
    MODEL("qwen3.5-122b-a10b"),    MODEL("qwen3.5-27b"),
    MODEL("qwen3.5-35b-a3b"),      MODEL("qwen3-max-2026-01-23"),
    MODEL("qwen-plus-2025-07-28"), MODEL("qwen3-coder-plus"),
    MODEL("qwen3-vl-plus"),        MODEL("qwen3-omni-flash-2025-12-01"),
    {{NULL, 0}, {NULL, 0}},
};

/* What the live list says of a model that cannot see; of one that can it says SEES. */
#define BLIND "no pictures"
#define SEES  "pictures"

/* People write Qwen3.7-Plus, which is the model's name; the ids of the list are in lower case. */
static struct span site_model(struct span id)
{
    for (size_t i = 0; qwen_models[i].id.p; i++) {
        if (span_eq_nocase(id, qwen_models[i].id))
            return qwen_models[i].id;
    }
    return id.n ? id : qwen_models[0].id;
}

static bool is_blind(const struct turn_run *run, struct span id)
{
    if (run->model_note.n)
        return span_eq(run->model_note, SPAN(BLIND));
    return span_starts(id, SPAN("qwen3.7-max")) || span_starts(id, SPAN("qwen3.6-max"));
}

/* ---- what every request carries (§4) ---- */

static enum adapter_step send_request(struct turn_run *run, const struct qwen *c,
                                      struct site_request *req, struct span behind)
{
    struct span cookie = account_credential(run->account, "cookie"), origin = run->site->origin;
    if (run->account->guest)
        behind = SPAN("/c/guest");
    if (c->token.value.n)
        request_bearer(run, req, c->token.value);
    if (cookie.n)
        site_request_header(req, SPAN("Cookie"), cookie);
    site_request_header(req, SPAN("Accept"),
                        req->framing == FRAMING_SSE ? SPAN("text/event-stream")
                                                    : SPAN("application/json"));
    site_request_header(req, SPAN("Origin"), origin);
    site_request_header(req, SPAN("Referer"),
                        arena_printf(run->arena, "%.*s%.*s", SPAN_ARGS(origin), SPAN_ARGS(behind)));
    site_request_header(req, SPAN("x-request-id"), make_uuid(run));
    site_request_header(req, SPAN("source"), SPAN("web"));
    site_request_header(req, SPAN("version"),
                        site_option_text(run->site, "web_version", SPAN(WEB_VERSION)));
    site_request_header(req, SPAN("timezone"),
                        format_utc(run->arena, run->now_ms, "%a %b %d %Y %H:%M:%S GMT+0000"));
    return request_ready(run, req);
}

enum adapter_step qwen_post_json(struct turn_run *run, const struct qwen *c,
                                 struct site_request *req, struct buffer *body, struct span behind)
{
    req->method = "POST";
    if (!request_body(run, req, body) || !behind.p)
        return step_out_of_memory(run);
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    return send_request(run, c, req, behind);
}

/* ---- the steps ---- */

/* As qwen_stream.c told it. */
static int go_on_in_chat(struct turn_run *run, struct qwen *c)
{
    struct span ids[2];
    int held = read_conversation(run, "chat.qwen.ai", ids, 2);
    if (held <= 0)
        return held;
    if (qwen_is_tongyi(run->site))
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "the older site is asked to go on in a chat of chat.qwen.ai");
    c->chat_id = ids[0];
    c->parent = ids[1];
    return 0;
}

static int begin(struct turn_run *run, struct qwen *c)
{
    qwen_stream_init(&c->stream);
    c->at = QWEN_TICKET;
    if (go_on_in_chat(run, c))
        return -1;
    c->wish = read_model_wish(run);
    c->wish.id = site_model(c->wish.id);
    if (collect_pictures(run, "chat.qwen.ai", &c->pictures))
        return -1;
    if (c->pictures.n && run->account->guest)
        return refuse_picture(run, &c->pictures.list[0],
                              "chat.qwen.ai takes pictures only from people who have signed in");
    if (c->pictures.n && is_blind(run, c->wish.id))
        return refuse_picture(run, &c->pictures.list[0], "this model of chat.qwen.ai cannot see");
    if (c->pictures.n > QWEN_PICTURES_MAX)
        return refuse_picture(run, &c->pictures.list[QWEN_PICTURES_MAX],
                              "too many pictures for one request: 24 can be uploaded");
    return 0;
}

static enum adapter_step qwen_next(struct turn_run *run, struct site_request *req)
{
    struct qwen *c = run->state;
    if (qwen_is_tongyi(run->site) && !run->conversation.n)
        return tongyi_next(run, c, req);
    if (c->at == QWEN_BEGIN && begin(run, c))
        return ADAPTER_FAILED;
    if (c->at == QWEN_OVER)
        return ADAPTER_DONE;
    int missing = qwen_find_token(run, c);
    if (missing)
        return missing < 0 ? ADAPTER_FAILED : qwen_ask_token(run, c, req);
    if (c->at == QWEN_TICKET && !next_upload(run, &c->pictures, "oss"))
        c->at = c->chat_id.n ? QWEN_CHAT : QWEN_CREATE;
    switch (c->at) {
    case QWEN_TICKET: return qwen_ask_ticket(run, c, req);
    case QWEN_PUT: return qwen_put_picture(run, c, req);
    case QWEN_CREATE: return qwen_create_chat(run, c, req);
    case QWEN_CHAT: return qwen_send_chat(run, c, req);
    default: return ADAPTER_DONE;
    }
}

/* ---- answers ---- */

/* The same step once more with another token, where the account has another way to one. */
static enum adapter_verdict another_token(struct turn_run *run, struct qwen *c)
{
    struct span refused = c->token.value;
    if (!refused.n || c->stream.any_answer || c->stream.any_reasoning ||
        !token_use_refused(run, &c->token, "token"))
        return ADAPTER_FAIL;
    struct fail fail = *run->fail;
    c->refused = refused;
    if (qwen_find_token(run, c) < 0) {
        *run->fail = fail; /* what the site said */
        return ADAPTER_FAIL;
    }
    fail_clear(run->fail);
    qwen_stream_free(&c->stream);
    qwen_stream_init(&c->stream);
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict renew_or_fail(struct turn_run *run, struct qwen *c)
{
    if (c->ask != ASK_NOTHING)
        return qwen_token_refused(run, c);
    return run->fail->kind == FAIL_CREDENTIAL ? another_token(run, c) : ADAPTER_FAIL;
}

static enum adapter_verdict fail_http(struct turn_run *run, struct qwen *c, struct span body)
{
    qwen_fail_http(run, c->status, c->content_type, c->retry_after_s, body);
    return renew_or_fail(run, c);
}

static enum adapter_verdict qwen_on_head(struct turn_run *run, const struct site_head *head,
                                         enum framing *framing)
{
    struct qwen *c = run->state;
    if (c->older)
        return tongyi_on_head(run, c->older, head, framing);
    c->refreshed |= c->ask == ASK_REFRESH;
    c->signed_in |= c->ask == ASK_SIGN_IN;
    if (c->ask == ASK_NOTHING && c->at == QWEN_PUT)
        return qwen_picture_put(run, c, head->status);
    c->status = head->status;
    c->retry_after_s = head->retry_after_s;
    c->content_type = arena_dup(run->arena, head->content_type);
    if (!c->content_type.p)
        return fail_memory(run->fail);
    if (head->status >= 300 && head->status < 400) /* to its check, or away from the API */
        return qwen_fail_http(run, head->status, SPAN(""), 0, site_head_get(head, "Location"));
    if (head->status != 200 || !site_head_is(head, "text/event-stream"))
        *framing = FRAMING_WHOLE;
    c->whole = *framing == FRAMING_WHOLE;
    return ADAPTER_GO_ON;
}

static enum adapter_verdict no_answer(struct turn_run *run, const struct qwen *c, bool json)
{
    if (c->at == QWEN_CREATE && c->ask == ASK_NOTHING)
        return fail_set(run->fail, FAIL_UNAVAILABLE, "chat.qwen.ai made a chat without an id");
    return fail_set(run->fail, FAIL_PROTOCOL, "chat.qwen.ai answered with %s",
                    json ? "JSON where a stream should be" : "something that is not JSON");
}

/* Whole bodies: the steps before the stream, and every failure that HTTP or JSON tells. */
static enum adapter_verdict whole_answer(struct turn_run *run, struct qwen *c, struct span body)
{
    struct json root;
    bool html = looks_like_html(c->content_type, body);
    bool json = json_parse_lenient(run->json, body, &root) == JSON_OK && json_is(root, JSON_OBJECT);
    if (html || c->status >= 300 || (json && qwen_is_failure(root)))
        return fail_http(run, c, body);
    if (!json || (c->ask == ASK_NOTHING && c->at == QWEN_CHAT))
        return no_answer(run, c, json);
    if (c->ask != ASK_NOTHING)
        return qwen_take_token(run, c, root);
    return c->at == QWEN_TICKET ? qwen_take_ticket(run, c, root) : qwen_take_chat(run, c, root);
}

static enum adapter_verdict qwen_on_frame(struct turn_run *run, const struct frame *frame)
{
    struct qwen *c = run->state;
    if (c->older)
        return tongyi_on_frame(run, c->older, frame);
    if (c->whole)
        return frame->data.n ? whole_answer(run, c, frame->data) : ADAPTER_GO_ON;
    enum adapter_verdict verdict = qwen_stream_event(run, c, frame->data);
    return verdict == ADAPTER_FAIL ? renew_or_fail(run, c) : verdict;
}

static enum adapter_verdict qwen_on_end(struct turn_run *run, enum stream_end end)
{
    struct qwen *c = run->state;
    if (c->older)
        return tongyi_on_end(run, c->older, end);
    if (!c->whole)
        return qwen_stream_end(run, c, end);
    if (c->status >= 300 || looks_like_html(c->content_type, SPAN("")))
        return fail_http(run, c, span_of("", 0)); /* status and type have said it */
    if (end == END_CUT)
        return fail_set(run->fail, FAIL_CUT,
                        "chat.qwen.ai's answer broke off before it said "
                        "anything");
    if (c->ask == ASK_NOTHING && c->at == QWEN_CHAT)
        return qwen_stream_end(run, c, end);
    return no_answer(run, c, false);
}

/* ---- clean-up (§9) ---- */

static enum adapter_step qwen_cleanup(struct turn_run *run, struct site_request *req)
{
    struct qwen *c = run->state;
    if (qwen_is_tongyi(run->site))
        return tongyi_cleanup(run, c->older, req);
    if (!c->chat_id.n || run->conversation_kept || !c->token.value.n ||
        !site_option_bool(run->site, "delete_chat", true))
        return ADAPTER_DONE;
    req->method = "DELETE";
    req->target = arena_printf(run->arena, "/api/v2/chats/%.*s", SPAN_ARGS(c->chat_id));
    req->framing = FRAMING_NONE;
    c->chat_id = SPAN("");
    return send_request(run, c, req, SPAN("/c/new-chat")) == ADAPTER_SEND ? ADAPTER_SEND
                                                                          : ADAPTER_DONE;
}

static void qwen_destroy(struct turn_run *run)
{
    struct qwen *c = run->state;
    tongyi_free(c->older);
    if (c->at != QWEN_BEGIN)
        qwen_stream_free(&c->stream);
}

/* ---- the model list (§3) ---- */

static enum adapter_step qwen_models_request(struct turn_run *run, struct site_request *req)
{
    if (qwen_is_tongyi(run->site))
        return tongyi_models_request(run, req);
    struct qwen c = {.token = {.value = qwen_present_token(run)}};
    if (!c.token.value.n)
        return ADAPTER_DONE; /* nothing was obtained yet: the built-in list serves */
    req->method = "GET";
    req->target = SPAN("/api/models");
    req->framing = FRAMING_WHOLE;
    return send_request(run, &c, req, SPAN("/"));
}

/* The first array under `data`, in either form of the answer. */
static struct json model_list(struct json root)
{
    struct json data = json_get(root, "data");
    struct json_iter it = json_each(data);
    if (json_is(data, JSON_ARRAY))
        return data;
    while (json_next(&it)) {
        if (json_is(it.value, JSON_ARRAY))
            return it.value;
    }
    return (struct json){NULL, 0};
}

/* Does it answer in text? One that does not say does. */
static bool is_for_chats(struct json meta)
{
    struct json types = json_get(meta, "chat_type");
    struct json_iter it = json_each(types);
    if (!json_is(types, JSON_ARRAY))
        return true;
    while (json_next(&it)) {
        if (span_eq(json_text(it.value), SPAN("t2t")))
            return true;
    }
    return false;
}

static int qwen_models_answer(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct json root;
    if (qwen_is_tongyi(run->site))
        return tongyi_models_answer(run, body, sink);
    if (json_parse_lenient(run->json, body, &root) != JSON_OK || qwen_is_failure(root) ||
        !json_is(model_list(root), JSON_ARRAY))
        return -1;
    struct json_iter it = json_each(model_list(root));
    while (json_next(&it)) {
        struct span id = json_get_text(it.value, "id");
        struct json meta = json_path(it.value, "info", "meta");
        struct json vision = json_path(meta, "capabilities", "vision");
        run->model_note = !json_is(vision, JSON_BOOL) ? SPAN("")
                          : json_bool(vision, true)   ? SPAN(SEES)
                                                      : SPAN(BLIND);
        if (token_can_be_sent(id) && is_for_chats(meta) &&
            sink->put(sink->owner, &(struct model_entry){id, SPAN("")}))
            return -1;
    }
    return 0;
}

static int qwen_models_refused(struct turn_run *run, int status, struct span content_type,
                               int retry_after_s, struct span body)
{
    return (qwen_is_tongyi(run->site) ? tongyi_fail_http : qwen_fail_http)(
        run, status, content_type, retry_after_s, body);
}

static const char *const sign_in[] = {"token", "email+password", "cookie", NULL};

static const struct capability_note notes[] = {
    {CAP_IMAGE, "with a token"},
    {CAP_SEARCH, "`-search`"},
    {0},
};

static int check_account(const struct site_settings *site, const struct credential *list, size_t n,
                         struct fail *fail)
{
    const struct site_account account = {.credentials = list, .n_credentials = n};
    bool email = account_credential(&account, "email").n > 0;
    bool password = account_credential(&account, "password").n > 0;
    if (email != password)
        return fail_set(fail, FAIL_INVALID_VALUE, "an account wants %s",
                        email ? "a password beside its email" : "an email beside its password");
    bool ticket = account_credential(&account, "ticket").n > 0;
    if (ticket && n == 1 && !qwen_is_tongyi(site))
        return fail_set(
            fail, FAIL_INVALID_VALUE,
            "a ticket is for options = { api = \"tongyi\" }; without it an account wants "
            "a token, email and password, or a cookie");
    if (!ticket && qwen_is_tongyi(site))
        return fail_set(fail, FAIL_INVALID_VALUE,
                        "with api = \"tongyi\" an account wants a ticket");
    return 0;
}

const struct adapter adapter_qwen = {
    .name = "qwen",
    .title = "Qwen Chat (chat.qwen.ai)",
    .origin = "https://chat.qwen.ai",
    .credentials = qwen_credentials,
    .sign_in = sign_in,
    .options = qwen_options,
    .capabilities =
        CAP_SYSTEM | CAP_IMAGE | CAP_REASONING | CAP_SEARCH | CAP_USAGE | CAP_CONVERSATION,
    .notes = notes,
    .offers_guest = true,
    .needs_account = true,
    .max_concurrent = 2,
    .cool_down_s = 60,
    .state_size = sizeof(struct qwen),
    .check = tongyi_check,
    .check_account = check_account,
    .base_model = base_model_id,
    .models = qwen_models,
    .models_request = qwen_models_request,
    .models_answer = qwen_models_answer,
    .models_refused = qwen_models_refused,
    .models_need_credential = true,
    .models_min_ttl_s = 3600,
    .next = qwen_next,
    .on_head = qwen_on_head,
    .on_frame = qwen_on_frame,
    .on_end = qwen_on_end,
    .cleanup = qwen_cleanup,
    .destroy = qwen_destroy,
};
