/*
 * adapters/chatglm.c - chatglm.cn: who we are, which steps a turn has (sites/chatglm.md §1-§4, §8).
 *
 * A turn is: a token when none is held (a refresh token buys it and rotates; visitors are given
 * both), an upload for each picture, and one stream; afterwards the conversation that the stream
 * made is deleted. Uploads and the message are chatglm_body.c, what the answer means is
 * chatglm_stream.c, what failures mean chatglm_errors.c.
 */
#include "adapters/chatglm.h"

#include "base/json_write.h"

/* What the account holds. */
#define REFRESH_TOKEN "refresh_token"
#define ACCESS_TOKEN  "access_token"
#define DEVICE_ID     "device_id"

#define DEFAULT_ASSISTANT "65940acff94777010aa6b796"

enum { TOKEN_MARGIN_MS = 120 * 1000, TOKEN_LIFE_MS = 3600 * 1000 };

static const struct credential_field chatglm_credentials[] = {
    {"refresh_token", false,
     "browser tools, Application, Cookies of https://chatglm.cn: chatglm_refresh_token"},
    {"token", false, "instead: the cookie chatglm_token; works for a day"},
    {NULL, false, NULL},
};

static const struct option_field chatglm_options[] = {
    {"sign_secret", OPTION_TEXT, true, NULL,
     "the constant with which the site's page signs its requests; it changes with the page"},
    {"search", OPTION_BOOL, false, NULL, "the site's web search for every model; default false"},
    {"show_tools", OPTION_BOOL, false, NULL,
     "show the code that the site ran and its output; default false"},
    {"delete_chat", OPTION_BOOL, false, NULL,
     "delete the conversation at the site after the answer; default true"},
    {NULL, OPTION_TEXT, false, NULL, NULL},
};

/* ---- models (§3) ---- */

static const struct model_entry chatglm_models[] = {
    {SPAN_INIT("glm-5.3-flash"), {NULL, 0}},      {SPAN_INIT("glm-5.3"), {NULL, 0}},
    {SPAN_INIT("glm-4-plus"), {NULL, 0}},         {SPAN_INIT("glm-4"), {NULL, 0}},
    {SPAN_INIT("glm-4-zero"), {NULL, 0}},         {SPAN_INIT("glm-4-think"), {NULL, 0}},
    {SPAN_INIT("glm-4-deepresearch"), {NULL, 0}}, {{NULL, 0}, {NULL, 0}},
};

/* Those that are not named in the request, and their chat_mode ("" = none, unless the client wants
 * reasoning). */
static const struct {
    struct span id, chat_mode;
} older_models[] = {
    {SPAN_INIT("glm-4-plus"), SPAN_INIT("")},
    {SPAN_INIT("glm-4"), SPAN_INIT("")},
    {SPAN_INIT("glm-4-zero"), SPAN_INIT("zero")},
    {SPAN_INIT("glm-4-think"), SPAN_INIT("zero")},
    {SPAN_INIT("glm-4-deepresearch"), SPAN_INIT("deep_research")},
};

/* An agent of the site: 24 or more lower-case letters and digits. */
static bool is_assistant(struct span id)
{
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')))
            return false;
    }
    return id.n >= 24;
}

static void choose_newer_mode(struct chatglm *c, const struct model_wish *wish)
{
    bool thinking = wish->reasoning == REASONING_ON, most = wish->effort > EFFORT_HIGH;
    c->chat_mode = !thinking ? SPAN("normal") : most ? SPAN("deep_thinking") : SPAN("thinking");
    c->effort = !thinking ? SPAN("low") : most ? SPAN("max") : SPAN("high");
}

static void choose_model(const struct turn_run *run, struct chatglm *c)
{
    struct model_wish wish = read_model_wish(run);
    bool thinking = wish.reasoning == REASONING_ON;
    struct span mode = SPAN("");
    c->search = wish.search || site_option_bool(run->site, "search", false);
    c->model = wish.id.n ? wish.id : chatglm_models[0].id;
    c->assistant = SPAN(DEFAULT_ASSISTANT);
    if (is_assistant(c->model)) {
        c->older = true;
        c->assistant = c->model;
    }
    for (size_t i = 0; i < sizeof older_models / sizeof *older_models; i++) {
        if (span_eq(c->model, older_models[i].id)) {
            c->older = true;
            mode = older_models[i].chat_mode;
        }
    }
    if (!c->older)
        choose_newer_mode(c, &wish);
    else
        c->chat_mode = mode.n || !thinking ? mode : SPAN("zero");
}

/* ---- what every request carries (§4) ---- */

static bool is_device_id(struct span id) { return id.n == 32 && is_path_id(id); }

/* The device of the access token; before there is one our own, made once per account and kept. */
static struct span device_id(struct turn_run *run, struct span token)
{
    struct span id = json_get_text(jwt_claims(run, token), DEVICE_ID);
    account_guard_enter(run->account); /* one for all */
    if (!is_device_id(id))
        id = account_held(run->account, DEVICE_ID, 0, 0);
    id = id.n ? arena_dup(run->arena, id) : make_hex_id(run);
    if (id.p && account_hold(run->account, DEVICE_ID, id, 0))
        id = span_of(NULL, 0);
    account_guard_leave(run->account);
    return id;
}

/* The time in ms, its last digit but one replaced by the sum of the others modulo 10. */
static struct span stamp(struct turn_run *run)
{
    struct span text = arena_printf(run->arena, "%lld", (long long)run->now_ms);
    char *digits = (char *)(uintptr_t)text.p;
    int sum = 0;
    if (text.n < 2)
        return text;
    for (size_t i = 0; i < text.n; i++)
        sum += i == text.n - 2 ? 0 : digits[i] - '0';
    digits[text.n - 2] = (char)('0' + sum % 10);
    return text;
}

/* Without the page's secret nothing is signed, and the site says so (§7). */
static void sign(struct turn_run *run, struct site_request *req)
{
    struct span secret = site_option_text(run->site, "sign_secret", SPAN(""));
    if (!secret.n)
        return;
    struct span time = stamp(run), nonce = make_hex_id(run);
    struct span text = arena_printf(run->arena, "%.*s-%.*s-%.*s", SPAN_ARGS(time), SPAN_ARGS(nonce),
                                    SPAN_ARGS(secret));
    site_request_header(req, SPAN("X-Timestamp"), time);
    site_request_header(req, SPAN("X-Nonce"), nonce);
    site_request_header(req, SPAN("X-Sign"), text.p ? md5_hex(run->arena, text) : text);
}

static struct span referer(struct turn_run *run, const struct chatglm *c)
{
    struct span origin = run->site->origin;
    if (!c->assistant.n || span_eq(c->assistant, SPAN(DEFAULT_ASSISTANT)))
        return arena_printf(run->arena, "%.*s/main/alltoolsdetail", SPAN_ARGS(origin));
    return arena_printf(run->arena, "%.*s/main/gdetail/%.*s", SPAN_ARGS(origin),
                        SPAN_ARGS(c->assistant));
}

enum adapter_step chatglm_send(struct turn_run *run, const struct chatglm *c,
                               struct site_request *req, struct span token)
{
    if (token.n)
        request_bearer(run, req, token);
    if (req->framing == FRAMING_SSE)
        site_request_header(req, SPAN("Accept"), SPAN("text/event-stream"));
    else
        site_request_header(req, SPAN("Accept"), SPAN("application/json, text/plain, */*"));
    site_request_header(req, SPAN("App-Name"), SPAN("chatglm"));
    site_request_header(req, SPAN("X-App-Platform"), SPAN("pc"));
    site_request_header(req, SPAN("X-App-Version"), SPAN("0.0.1"));
    site_request_header(req, SPAN("X-Lang"), SPAN("zh"));
    site_request_header(req, SPAN("X-App-fr"), SPAN("default"));
    site_request_header(req, SPAN("X-Device-Id"), device_id(run, token));
    site_request_header(req, SPAN("X-Request-Id"), make_hex_id(run));
    sign(run, req);
    site_request_header(req, SPAN("Origin"), run->site->origin);
    site_request_header(req, SPAN("Referer"), referer(run, c));
    return request_ready(run, req);
}

enum adapter_step chatglm_post_json(struct turn_run *run, const struct chatglm *c,
                                    struct site_request *req, struct buffer *body,
                                    struct span token)
{
    req->method = "POST";
    if (!request_body(run, req, body))
        return step_out_of_memory(run);
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json;charset=UTF-8"));
    return chatglm_send(run, c, req, token);
}

/* ---- the credential (§2) ---- */

/* Whether a JWT says that it is an access token, which in refresh_token is a slip. */
static bool is_access_token(struct turn_run *run, struct span token)
{
    return span_eq(json_get_text(jwt_claims(run, token), "type"), SPAN("access"));
}

static struct span refresh_token(struct turn_run *run)
{
    struct span token = account_newest(run->account, REFRESH_TOKEN);
    return is_access_token(run, token) ? SPAN("") : token;
}

/* The access token of an account that has nothing to renew it with; "" = none. */
static struct span lone_token(struct turn_run *run)
{
    struct span token = account_credential(run->account, "token");
    return token.n ? token : account_credential(run->account, REFRESH_TOKEN);
}

static int use_lone_token(struct turn_run *run, struct chatglm *c)
{
    struct span token = lone_token(run), name = run->account->name;
    if (!token.n)
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "the account \"%.*s\" has no credential: copy the cookie "
                        "chatglm_refresh_token of chatglm.cn into refresh_token",
                        SPAN_ARGS(name));
    if (!token_can_be_sent(token))
        return fail_unfit_token(run, "token");
    int64_t end = jwt_expires_ms(run, token);
    if (end && end <= run->now_ms)
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "the token of account \"%.*s\" has ended; with the cookie "
                        "chatglm_refresh_token in refresh_token it would be renewed by itself",
                        SPAN_ARGS(name));
    c->token.value = arena_dup(run->arena, token);
    return c->token.value.p ? 0 : fail_memory(run->fail);
}

static bool renews(struct turn_run *run) { return run->account->guest || refresh_token(run).n; }

/* 0: the token is there; 1: it must be asked for; -1 with run->fail. */
static int find_token(struct turn_run *run, struct chatglm *c)
{
    c->token.margin_ms = TOKEN_MARGIN_MS;
    return renews(run) ? token_use_next(run, &c->token, ACCESS_TOKEN) : use_lone_token(run, c);
}

static enum adapter_step ask_token(struct turn_run *run, struct chatglm *c,
                                   struct site_request *req)
{
    struct buffer body;
    struct span token = refresh_token(run);
    req->framing = FRAMING_WHOLE;
    req->credential_step = true;
    c->visiting = !token.n;
    if (c->visiting) {
        req->method = "POST";
        req->target = SPAN("/chatglm/user-api/guest/access");
        site_request_header(req, SPAN("Content-Type"), SPAN("application/json;charset=UTF-8"));
        return chatglm_send(run, c, req, SPAN(""));
    }
    if (!token_can_be_sent(token)) {
        fail_unfit_token(run, REFRESH_TOKEN);
        return ADAPTER_FAILED;
    }
    req->target = SPAN("/chatglm/user-api/user/refresh");
    buffer_init(&body, CHATGLM_BODY_LIMIT);
    buffer_append(&body, SPAN("{}"));
    return chatglm_post_json(run, c, req, &body, token);
}

/* The rotated refresh token first: the former one may be worth nothing now. */
static enum adapter_verdict take_token(struct turn_run *run, struct chatglm *c, struct json root)
{
    struct json result = json_get(root, "result");
    struct span access = arena_dup(run->arena, json_get_text(result, ACCESS_TOKEN));
    struct span refresh = json_get_text(result, REFRESH_TOKEN);
    if (!access.p)
        return fail_memory(run->fail);
    if (token_can_be_sent(refresh) && account_hold(run->account, REFRESH_TOKEN, refresh, 0))
        return fail_memory(run->fail);
    int64_t end = jwt_expires_ms(run, access);
    if (token_use_obtained(run, &c->token, ACCESS_TOKEN, access,
                           end ? end : run->now_ms + TOKEN_LIFE_MS))
        return ADAPTER_FAIL;
    return ADAPTER_COMPLETE; /* still CHATGLM_TOKEN: now it is held */
}

/* ---- the steps ---- */

static int begin(struct turn_run *run, struct chatglm *c)
{
    chatglm_stream_init(&c->stream);
    choose_model(run, c);
    c->at = CHATGLM_TOKEN;
    if (run->conversation.n) /* it was made for us, and is removed as if by this turn */
        c->conversations[c->n_conversations++] = run->conversation;
    return collect_uploads(run, "chatglm.cn", &c->pictures);
}

static enum adapter_step chatglm_next(struct turn_run *run, struct site_request *req)
{
    struct chatglm *c = run->state;
    int missing;
    if (c->at == CHATGLM_BEGIN && begin(run, c))
        return ADAPTER_FAILED;
    switch (c->at) {
    case CHATGLM_BEGIN:
    case CHATGLM_TOKEN:
        missing = find_token(run, c);
        if (missing)
            return missing < 0 ? ADAPTER_FAILED : ask_token(run, c, req);
        c->at = CHATGLM_UPLOAD;
        __attribute__((fallthrough));
    case CHATGLM_UPLOAD:
        if (next_upload(run, &c->pictures, "file"))
            return chatglm_upload(run, c, req);
        c->at = CHATGLM_CHAT;
        __attribute__((fallthrough));
    case CHATGLM_CHAT: return chatglm_send_chat(run, c, req);
    case CHATGLM_OVER: break;
    }
    return ADAPTER_DONE;
}

/* ---- answers ---- */

/* A visitor's session that has ended is begun anew. A limit is no such end: then no
 * new visitor is made (§2). */
static enum adapter_verdict another_visitor(struct turn_run *run, struct chatglm *c)
{
    if (!run->account->guest || c->visiting)
        return ADAPTER_FAIL;
    account_drop(run->account, REFRESH_TOKEN);
    fail_clear(run->fail);
    return ADAPTER_COMPLETE;
}

/* A refused access token is renewed once, and the same request goes out again; every other failure
 * stands as it was classified. */
static enum adapter_verdict renew_or_fail(struct turn_run *run, struct chatglm *c)
{
    if (run->fail->kind != FAIL_CREDENTIAL)
        return ADAPTER_FAIL;
    if (c->at == CHATGLM_TOKEN)
        return another_visitor(run, c);
    if (!renews(run) || chatglm_stream_has_output(&c->stream) ||
        !token_use_refused(run, &c->token, ACCESS_TOKEN))
        return ADAPTER_FAIL;
    fail_clear(run->fail);
    chatglm_stream_free(&c->stream);
    chatglm_stream_init(&c->stream);
    c->at = CHATGLM_TOKEN;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict fail_http(struct turn_run *run, struct chatglm *c, struct span body)
{
    chatglm_fail_http(run, c->status, c->content_type, c->retry_after_s, body);
    return renew_or_fail(run, c);
}

static enum adapter_verdict chatglm_on_head(struct turn_run *run, const struct site_head *head,
                                            enum framing *framing)
{
    struct chatglm *c = run->state;
    c->status = head->status;
    c->retry_after_s = head->retry_after_s;
    c->content_type = arena_dup(run->arena, head->content_type);
    if (!c->content_type.p)
        return fail_memory(run->fail);
    if (looks_like_html(head->content_type, span_of(NULL, 0)))
        return chatglm_fail_http(run, head->status, head->content_type, 0, span_of(NULL, 0));
    if (head->status != 200 || !site_head_is(head, "text/event-stream"))
        *framing = FRAMING_WHOLE;
    c->whole = *framing == FRAMING_WHOLE;
    return ADAPTER_GO_ON;
}

static bool wants_older_upload(const struct chatglm *c)
{
    return c->at == CHATGLM_UPLOAD && c->status == 404 && !c->older_upload;
}

/* Whole bodies: the steps before the stream, and every failure that HTTP or JSON tells. */
static enum adapter_verdict whole_answer(struct turn_run *run, struct chatglm *c, struct span body)
{
    struct json root;
    bool html = looks_like_html(c->content_type, body);
    bool json = json_parse_lenient(run->json, body, &root) == JSON_OK && json_is(root, JSON_OBJECT);
    if (wants_older_upload(c) && !html) {
        c->older_upload = true;
        return ADAPTER_COMPLETE;
    }
    if (html || c->status != 200 || (json && chatglm_is_error(root)))
        return fail_http(run, c, body);
    if (!json || c->at == CHATGLM_CHAT)
        return fail_set(run->fail, FAIL_PROTOCOL, "chatglm.cn answered with %s",
                        json ? "JSON where a stream should be" : "something that is not JSON");
    return c->at == CHATGLM_TOKEN ? take_token(run, c, root) : chatglm_take_upload(run, c, body);
}

static enum adapter_verdict chatglm_on_frame(struct turn_run *run, const struct frame *frame)
{
    struct chatglm *c = run->state;
    if (c->whole)
        return frame->data.n ? whole_answer(run, c, frame->data) : ADAPTER_GO_ON;
    enum adapter_verdict verdict = chatglm_stream_event(run, c, frame->data);
    return verdict == ADAPTER_FAIL ? renew_or_fail(run, c) : verdict;
}

static enum adapter_verdict chatglm_on_end(struct turn_run *run, enum stream_end end)
{
    struct chatglm *c = run->state;
    if (!c->whole)
        return chatglm_stream_end(run, c, end);
    if (wants_older_upload(c)) {
        c->older_upload = true;
        return ADAPTER_COMPLETE;
    }
    if (c->status >= 300) /* there is no body, or it broke off; the status has said it */
        return fail_http(run, c, span_of("", 0));
    return fail_set(run->fail,
                    end == END_CUT          ? FAIL_CUT
                    : c->at == CHATGLM_CHAT ? FAIL_EMPTY
                                            : FAIL_PROTOCOL,
                    "chatglm.cn's answer ended before it said anything");
}

/* ---- clean-up (§8) ---- */

/* Our client left, or we have enough: else the site may go on, and refuse the account's next
 * request. */
static enum adapter_step stop_stream(struct turn_run *run, struct chatglm *c,
                                     struct site_request *req)
{
    struct buffer body;
    buffer_init(&body, CHATGLM_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "history_id", c->stream.message_id);
    json_end_object(&w);
    c->stop_told = true;
    req->holds_account = true;
    req->target = SPAN("/chatglm/mainchat-api/stream/stop_stream");
    return chatglm_post_json(run, c, req, &body, c->token.value);
}

/* Only what our own requests made; of these the last may be gone on with. */
static size_t n_to_delete(const struct turn_run *run, const struct chatglm *c)
{
    return c->n_conversations - (c->n_conversations && run->conversation_kept ? 1 : 0);
}

static enum adapter_step delete_conversations(struct turn_run *run, struct chatglm *c,
                                              struct site_request *req)
{
    size_t n = n_to_delete(run, c);
    struct buffer body;
    buffer_init(&body, CHATGLM_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_key(&w, "conversation_ids");
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++)
        json_string(&w, c->conversations[i]);
    json_end_array(&w);
    json_member(&w, "assistant_id", c->assistant);
    json_end_object(&w);
    if (n < c->n_conversations)
        c->conversations[0] = c->conversations[n];
    c->n_conversations -= n;
    req->target = SPAN("/chatglm/mainchat-api/conversation/bulk_delete");
    return chatglm_post_json(run, c, req, &body, c->token.value);
}

static enum adapter_step chatglm_cleanup(struct turn_run *run, struct site_request *req)
{
    struct chatglm *c = run->state;
    const struct chatglm_stream *s = &c->stream;
    enum adapter_step step = ADAPTER_DONE;
    if (!c->token.value.n)
        return ADAPTER_DONE;
    req->framing = FRAMING_NONE;
    if (s->message_id.n && !s->ended && !c->stop_told)
        step = stop_stream(run, c, req);
    else if (n_to_delete(run, c) && site_option_bool(run->site, "delete_chat", true))
        step = delete_conversations(run, c, req);
    return step == ADAPTER_SEND ? step : ADAPTER_DONE;
}

static void chatglm_destroy(struct turn_run *run)
{
    struct chatglm *c = run->state;
    if (c->at != CHATGLM_BEGIN)
        chatglm_stream_free(&c->stream);
}

/* ---- the model list (§3) ---- */

static enum adapter_step chatglm_models_request(struct turn_run *run, struct site_request *req)
{
    struct chatglm c = {.assistant = SPAN(DEFAULT_ASSISTANT)};
    struct span token =
        renews(run) ? account_held(run->account, ACCESS_TOKEN, run->now_ms, 0) : lone_token(run);
    if (!token_can_be_sent(token))
        return ADAPTER_DONE; /* nothing was bought yet: the built-in list serves */
    req->method = "GET";
    req->target = SPAN("/chatglm/agent-api/operation/detail?tag=available_models");
    req->framing = FRAMING_WHOLE;
    return chatglm_send(run, &c, req, arena_dup(run->arena, token));
}

static int chatglm_models_answer(struct turn_run *run, struct span body,
                                 const struct model_sink *sink)
{
    struct json root;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK || chatglm_is_error(root) ||
        !json_is(json_path(root, "result", "models"), JSON_ARRAY))
        return -1;
    struct json_iter it = json_each(json_path(root, "result", "models"));
    while (json_next(&it)) {
        struct span id = json_get_text(it.value, "selected_model");
        if (token_can_be_sent(id) && json_bool(json_get(it.value, "chat_switch"), false) &&
            sink->put(sink->owner, &(struct model_entry){id, SPAN("")}))
            return -1;
    }
    return 0;
}

static const struct capability_note notes[] = {
    {CAP_SEARCH, "`-search`"},
    {0},
};

const struct adapter adapter_chatglm = {
    .name = "chatglm",
    .title = "ChatGLM (chatglm.cn)",
    .origin = "https://chatglm.cn",
    .credentials = chatglm_credentials,
    .options = chatglm_options,
    .capabilities =
        CAP_SYSTEM | CAP_IMAGE | CAP_FILE | CAP_REASONING | CAP_SEARCH | CAP_CONVERSATION,
    .notes = notes,
    .offers_guest = true,
    .needs_account = true,
    .max_concurrent = 1,
    .cool_down_s = 60,
    .state_size = sizeof(struct chatglm),
    .base_model = base_model_id,
    .models = chatglm_models,
    .models_request = chatglm_models_request,
    .models_answer = chatglm_models_answer,
    .models_refused = chatglm_fail_http,
    .models_need_credential = true,
    .models_min_ttl_s = 3600,
    .next = chatglm_next,
    .on_head = chatglm_on_head,
    .on_frame = chatglm_on_frame,
    .on_end = chatglm_on_end,
    .cleanup = chatglm_cleanup,
    .destroy = chatglm_destroy,
};
