/*
 * adapters/kimi.c - www.kimi.com: who we are, what we send (sites/kimi.md §1-§5, §9).
 *
 * A token where none is held, pictures, the chat, and afterwards its removal. The chat is one
 * request of Connect's streaming kind: its body is an envelope around JSON, its answer a row of
 * them.
 */
#include "adapters/kimi.h"

static const struct credential_field kimi_credentials[] = {
    {"refresh_token", false,
     "browser tools, Application, Local Storage of https://www.kimi.com: refresh_token"},
    {"token", false, "an access token alone (access_token there): good for 15 minutes"},
    {"cookie", false, "optional: the cookie line of your own browser, sent as it is"},
    {NULL, false, NULL},
};

static const struct option_field kimi_options[] = {
    {"api", OPTION_TEXT, false, "connect rest",
     "request form; rest is the older one of kimi.moonshot.cn; default connect"},
    {"refresh", OPTION_TEXT, false, "v1 v2",
     "how access tokens are come by; default v1, and v2 where the site has no v1 any more"},
    {"auth_url", OPTION_TEXT, false, NULL,
     "v2: where from, default https://auth.kimi.com (kimi.ai: https://auth.kimi.ai)"},
    {"chat_path", OPTION_TEXT, false, NULL,
     "the chat's path, default /apiv2/kimi.gateway.chat.v1.ChatService/Chat"},
    {"search", OPTION_BOOL, false, NULL, "search the web in every turn; default false"},
    {"delete_chat", OPTION_BOOL, false, NULL,
     "delete the chat at the site after the answer; default true"},
    {NULL, OPTION_TEXT, false, NULL, NULL},
};

/* "https://host" or "https://host:port", nothing behind it. */
static bool is_origin(struct span url)
{
    ptrdiff_t scheme = span_find(url, SPAN("://"));
    struct span rest = scheme < 0 ? SPAN("") : span_from(url, (size_t)scheme + 3);
    return (span_starts(url, SPAN("https://")) || span_starts(url, SPAN("http://"))) && rest.n &&
           span_find_char(rest, '/') < 0;
}

static int kimi_check(const struct site_settings *site, struct fail *fail)
{
    struct span path = site_option_text(site, "chat_path", SPAN("/"));
    struct span url = site_option_text(site, "auth_url", site->origin);
    if (!span_starts(path, SPAN("/")))
        return fail_set(fail, FAIL_INVALID_VALUE, "the option chat_path must begin with /");
    if (site_option(site, "auth_url") && !is_origin(url))
        return fail_set(fail, FAIL_INVALID_VALUE,
                        "the option auth_url must be scheme and host alone, such as "
                        "https://auth.kimi.com");
    return 0;
}

/* ---- pictures (§5.3) ---- */

static int check_account(const struct site_settings *site, const struct credential *list, size_t n,
                         struct fail *fail)
{
    const struct site_account account = {.credentials = list, .n_credentials = n};
    if (account_credential(&account, "cookie").n &&
        !account_credential(&account, "refresh_token").n &&
        !account_credential(&account, "token").n)
        return fail_set(fail, FAIL_INVALID_VALUE,
                        "an account wants refresh_token or token beside its cookie");
    return 0;
}

static enum adapter_step upload_picture(struct turn_run *run, struct kimi *k,
                                        struct site_request *req)
{
    const struct picture *picture = &k->pictures.list[k->pictures.uploaded];
    struct buffer body;
    struct multipart form = {&body, make_uuid(run)};
    buffer_init(&body, KIMI_BODY_LIMIT);
    multipart_file(&form, SPAN("file"), picture->filename, picture->mime, picture->bytes);
    if (!multipart_post(run, req, &form))
        return step_out_of_memory(run);
    k->ask = KIMI_UPLOAD;
    req->target = SPAN("/apiv2-files/file/upload");
    kimi_add_headers(run, k, req, k->session.value, SPAN(""));
    return request_ready(run, req);
}

bool kimi_pauses(struct kimi *k, struct site_request *req, bool at_once)
{
    if (!at_once && !k->waited) {
        k->waited = true;
        req->delay_ms = KIMI_POLL_MS;
        return true;
    }
    k->waited = false;
    k->polls++;
    k->all_polls++;
    return false;
}

/* Is the picture read? Asked again and again, with pauses. */
static enum adapter_step ask_progress(struct turn_run *run, struct kimi *k,
                                      struct site_request *req)
{
    struct buffer body;
    if (kimi_pauses(k, req, false))
        return ADAPTER_WAIT;
    k->ask = KIMI_PROGRESS;
    buffer_init(&body, KIMI_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_key(&w, "file_ids");
    json_begin_array(&w);
    json_string(&w, k->pictures.list[k->ready].id);
    json_end_array(&w);
    json_end_object(&w);
    req->target = SPAN("/apiv2-files/kimi.gateway.file.v1.FileService/GetFileParseProgress");
    return kimi_send_json(run, k, req, &body, false);
}

static void next_picture(struct kimi *k)
{
    k->ready++;
    k->polls = 0;
}

/* Once it is read: files are the account's, and good in any of its chats. */
static void keep_picture(struct turn_run *run, struct kimi *k, struct picture *picture)
{
    picture->answer = SPAN("ready");
    upload_keep(run, &k->pictures, picture, "file", UPLOAD_KEEP_MS);
}

static enum adapter_verdict take_upload(struct turn_run *run, struct kimi *k, struct json root)
{
    struct picture *picture = &k->pictures.list[k->pictures.uploaded];
    struct json file = json_get(root, "file");
    struct json thumbnail = json_path(file, "parseResult", "thumbnail");
    struct span id = json_get_text(file, "id");
    if (!is_path_id(id))
        return fail_set(run->fail, FAIL_PROTOCOL,
                        KIMI_HOST " answered the upload of a picture without an id");
    picture->id = arena_dup(run->arena, id);
    picture->answer =
        json_get_text(thumbnail, "thumbnailUrl").n || json_get_text(thumbnail, "previewUrl").n
            ? SPAN("ready")
            : SPAN("");
    if (!picture->id.p)
        return fail_memory(run->fail);
    if (picture->answer.n)
        keep_picture(run, k, picture);
    k->pictures.uploaded++;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict take_progress(struct turn_run *run, struct kimi *k, struct json root)
{
    struct picture *picture = &k->pictures.list[k->ready];
    struct span status = json_get_text(json_at(json_get(root, "progresses"), 0), "status");
    char place[PART_PLACE_SIZE];
    if (span_eq(status, SPAN("PROCESS_STATUS_FAILED"))) {
        part_place(run->turn, picture->message, picture->part, place);
        return fail_param(run->fail, FAIL_BAD_REQUEST, place,
                          KIMI_HOST " could not read the picture");
    }
    if (span_eq(status, SPAN("PROCESS_STATUS_SUCCESS"))) {
        keep_picture(run, k, picture);
        next_picture(k);
    }
    return ADAPTER_COMPLETE;
}

/* ---- the chat (§5.1) ---- */

static void write_blocks(struct json_writer *w, const struct kimi *k, struct span prompt)
{
    json_key(w, "blocks");
    json_begin_array(w);
    json_begin_object(w);
    json_member(w, "message_id", SPAN(""));
    json_key(w, "text");
    json_begin_object(w);
    json_member(w, "content", prompt);
    json_end_object(w);
    json_end_object(w);
    for (size_t i = 0; i < k->pictures.n; i++) {
        json_begin_object(w);
        json_key(w, "file");
        json_begin_object(w);
        json_member(w, "id", k->pictures.list[i].id);
        json_member(w, "status", SPAN("PROCESS_STATUS_SUCCESS"));
        json_end_object(w);
        json_end_object(w);
    }
    json_end_array(w);
}

static struct span effort(const struct kimi_model *model)
{
    if (!model->thinking)
        return SPAN("REASONING_EFFORT_NONE");
    switch (model->effort) {
    case EFFORT_MINIMAL:
    case EFFORT_LOW: return SPAN("REASONING_EFFORT_LOW");
    case EFFORT_HIGH:
    case EFFORT_XHIGH:
    case EFFORT_MAX: return SPAN("REASONING_EFFORT_HIGH");
    default: return SPAN("REASONING_EFFORT_MEDIUM");
    }
}

static void write_options(struct json_writer *w, const struct kimi_model *model)
{
    json_key(w, "options");
    json_begin_object(w);
    json_member_bool(w, "thinking", model->thinking);
    if (model->option.n) {
        json_member_bool(w, "enable_plugin", false);
        json_member(w, "reasoning_effort", effort(model));
        json_member(w, "model", model->option);
    }
    json_end_object(w);
}

static void write_chat(struct json_writer *w, const struct turn_run *run, const struct kimi *k,
                       struct span prompt)
{
    const struct kimi_model *model = &k->model;
    json_begin_object(w);
    if (k->parent.n)
        json_member(w, "chat_id", k->chat_id);
    json_member(w, "scenario", model->scenario);
    if (model->kimiplus_id.n)
        json_member(w, "kimiplusId", model->kimiplus_id);
    if (model->agent_mode.n)
        json_member(w, "agentMode", model->agent_mode);
    if (model->option.n)
        json_member(w, "project_id", SPAN(""));
    json_member_raw(w, "tools",
                    model->search ? SPAN("[{\"type\":\"TOOL_TYPE_SEARCH\",\"search\":{}}]")
                                  : SPAN("[]"));
    json_key(w, "message");
    json_begin_object(w);
    if (k->parent.n)
        json_member(w, "parent_id", k->parent);
    json_member(w, "role", SPAN("user"));
    write_blocks(w, k, prompt);
    json_member(w, "scenario", model->scenario);
    if (model->option.n)
        json_member_bool(w, "is_goal", false);
    json_end_object(w);
    write_options(w, model);
    json_end_object(w);
}

/* An envelope: flags, the payload's length in four bytes, the payload. */
static void close_envelope(struct buffer *body)
{
    size_t n = body->n - 5;
    if (body->error)
        return;
    for (int i = 1; i < 5; i++)
        body->p[i] = (char)(n >> (32 - 8 * i) & 0xFF);
}

static enum adapter_step send_chat(struct turn_run *run, struct kimi *k, struct site_request *req)
{
    struct buffer body;
    struct span prompt = kimi_prompt(run);
    if (!prompt.p)
        return step_out_of_memory(run);
    buffer_init(&body, KIMI_BODY_LIMIT);
    buffer_append(&body, SPAN("\0\0\0\0\0"));
    struct json_writer w = json_writer(&body);
    write_chat(&w, run, k, prompt);
    close_envelope(&body);
    if (!request_body(run, req, &body))
        return step_out_of_memory(run);
    k->ask = KIMI_CHAT;
    req->method = "POST";
    req->target = site_option_text(run->site, "chat_path",
                                   SPAN("/apiv2/kimi.gateway.chat.v1.ChatService/Chat"));
    req->framing = FRAMING_LENGTH;
    site_request_header(req, SPAN("Content-Type"), SPAN("application/connect+json"));
    site_request_header(req, SPAN("Connect-Protocol-Version"), SPAN("1"));
    kimi_add_headers(run, k, req, k->session.value, SPAN(""));
    return request_ready(run, req);
}

/* ---- the steps ---- */

/* As kimi_stream.c told it. */
static int go_on_in_chat(struct turn_run *run, struct kimi *k)
{
    struct span ids[2];
    int held = read_conversation(run, KIMI_HOST, ids, 2);
    if (held <= 0)
        return held;
    if (k->rest)
        return fail_set(run->fail, FAIL_PROTOCOL,
                        KIMI_HOST " of the older form is asked to go on in a chat of the newer");
    k->chat_id = ids[0];
    k->parent = ids[1];
    return 0;
}

/* Every reason against the turn is told before any request. */
static int begin(struct turn_run *run, struct kimi *k)
{
    k->begun = true;
    k->rest = span_eq(site_option_text(run->site, "api", SPAN("")), SPAN("rest"));
    if (go_on_in_chat(run, k) || (!k->rest && kimi_choose_model(run, &k->model)) ||
        collect_pictures(run, KIMI_HOST, &k->pictures))
        return -1;
    if (k->pictures.n > KIMI_PICTURES_MAX)
        return refuse_picture(run, &k->pictures.list[KIMI_PICTURES_MAX],
                              "more than 20 pictures cannot be sent to " KIMI_HOST " at once");
    return 0;
}

/* The next picture that the site has not said to have read; false when there is none, or when we
 * have waited long enough. */
static bool must_wait_for_picture(struct kimi *k)
{
    while (k->ready < k->pictures.n &&
           (k->pictures.list[k->ready].answer.n || k->polls >= KIMI_POLLS_MAX ||
            k->all_polls >= KIMI_POLLS_ALL))
        next_picture(k);
    return k->ready < k->pictures.n;
}

static enum adapter_step kimi_next(struct turn_run *run, struct site_request *req)
{
    struct kimi *k = run->state;
    if (k->over)
        return ADAPTER_DONE;
    if (!k->begun && begin(run, k))
        return ADAPTER_FAILED;
    int missing = kimi_find_token(run, k);
    if (missing)
        return missing < 0 ? ADAPTER_FAILED : kimi_ask_refresh(run, k, req);
    if (k->rest)
        return kimi_rest_next(run, k, req);
    if (next_upload(run, &k->pictures, "file"))
        return upload_picture(run, k, req);
    return must_wait_for_picture(k) ? ask_progress(run, k, req) : send_chat(run, k, req);
}

/* ---- answers ---- */

/* What a refused access token stopped is asked once more with a new one. */
static enum adapter_verdict renew_or_fail(struct turn_run *run, struct kimi *k)
{
    if (run->fail->kind != FAIL_CREDENTIAL || !k->unauthenticated ||
        kimi_stream_has_output(&k->stream) || !kimi_renew(run, k))
        return ADAPTER_FAIL;
    fail_clear(run->fail);
    kimi_stream_free(&k->stream);
    k->stream = (struct kimi_stream){.n_blocks = 0};
    return ADAPTER_COMPLETE;
}

static bool is_stream(const struct kimi *k, const struct site_head *head)
{
    if (k->ask != KIMI_CHAT || head->status != 200)
        return false;
    if (k->rest)
        return site_head_is(head, "text/event-stream");
    return site_head_is(head, "application/connect+json");
}

static enum adapter_verdict kimi_on_head(struct turn_run *run, const struct site_head *head,
                                         enum framing *framing)
{
    struct kimi *k = run->state;
    k->status = head->status;
    k->retry_after_s = head->retry_after_s;
    k->unauthenticated = false;
    k->content_type = arena_dup(run->arena, head->content_type);
    k->location = arena_dup(run->arena, site_head_get(head, "location"));
    k->whole = !is_stream(k, head);
    if (k->whole)
        *framing = FRAMING_WHOLE;
    if (!k->content_type.p || !k->location.p)
        return fail_memory(run->fail);
    bool page = looks_like_html(head->content_type, SPAN("")) && head->status < 300;
    return page ? kimi_fail_answer(run, k, SPAN("")) : ADAPTER_GO_ON;
}

/* Whole bodies: the steps before the stream, and every failure that HTTP tells. */
static enum adapter_verdict whole_answer(struct turn_run *run, struct kimi *k, struct span body)
{
    struct json root;
    if (k->ask == KIMI_REFRESH)
        return kimi_take_refresh(run, k, body);
    if (k->rest)
        return kimi_rest_answer(run, k, body);
    if (k->ask == KIMI_CHAT || k->status != 200 ||
        json_parse_lenient(run->json, body, &root) != JSON_OK || !json_is(root, JSON_OBJECT) ||
        kimi_is_error(json_get(root, "error")) || json_get_text(root, "code").n)
        return kimi_fail_answer(run, k, body);
    return k->ask == KIMI_UPLOAD ? take_upload(run, k, root) : take_progress(run, k, root);
}

static enum adapter_verdict kimi_on_frame(struct turn_run *run, const struct frame *frame)
{
    struct kimi *k = run->state;
    enum adapter_verdict verdict = k->whole  ? whole_answer(run, k, frame->data)
                                   : k->rest ? kimi_stream_older_event(run, k, frame->data)
                                             : kimi_stream_envelope(run, k, frame);
    return verdict == ADAPTER_FAIL ? renew_or_fail(run, k) : verdict;
}

static enum adapter_verdict kimi_on_end(struct turn_run *run, enum stream_end end)
{
    struct kimi *k = run->state;
    if (!k->whole)
        return kimi_stream_end(run, k, end);
    if (end == END_CUT && k->status < 300)
        return fail_set(run->fail, FAIL_CUT, KIMI_HOST "'s answer ended before it said anything");
    kimi_fail_answer(run, k, SPAN("")); /* the body broke off, but the status has said it */
    return renew_or_fail(run, k);
}

/* ---- clean-up (§9) ---- */

static enum adapter_step kimi_cleanup(struct turn_run *run, struct site_request *req)
{
    struct kimi *k = run->state;
    struct buffer body;
    if (!k->chat_id.n || run->conversation_kept || !k->session.value.n ||
        !site_option_bool(run->site, "delete_chat", true))
        return ADAPTER_DONE;
    if (k->rest)
        return kimi_rest_cleanup(run, k, req);
    buffer_init(&body, KIMI_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "chat_id", k->chat_id);
    json_end_object(&w);
    k->chat_id = SPAN("");
    req->target = SPAN("/apiv2/kimi.chat.v1.ChatService/DeleteChat");
    enum adapter_step step = kimi_send_json(run, k, req, &body, true);
    req->framing = FRAMING_NONE;
    return step == ADAPTER_SEND ? ADAPTER_SEND : ADAPTER_DONE;
}

static void kimi_destroy(struct turn_run *run)
{
    struct kimi *k = run->state;
    kimi_stream_free(&k->stream);
}

/* ---- the model list (§3) ---- */

static enum adapter_step kimi_models_request(struct turn_run *run, struct site_request *req)
{
    struct kimi k = {.ask = KIMI_NOTHING};
    struct buffer body;
    if (!kimi_token_at_hand(run, &k) ||
        span_eq(site_option_text(run->site, "api", SPAN("")), SPAN("rest")))
        return ADAPTER_DONE; /* nothing is refreshed for it: the built-in list serves */
    buffer_init(&body, KIMI_BODY_LIMIT);
    buffer_append(&body, SPAN("{}"));
    req->target = SPAN("/apiv2/kimi.gateway.config.v1.ConfigService/GetAvailableModels");
    return kimi_send_json(run, &k, req, &body, true);
}

static const char *const sign_in[] = {"refresh_token", "token", NULL};

static const struct capability_note notes[] = {
    {CAP_SEARCH, "`-search`"},
    {0},
};

const struct adapter adapter_kimi = {
    .name = "kimi",
    .title = "Kimi (" KIMI_HOST ")",
    .origin = "https://" KIMI_HOST,
    .credentials = kimi_credentials,
    .sign_in = sign_in,
    .options = kimi_options,
    .capabilities = CAP_SYSTEM | CAP_IMAGE | CAP_REASONING | CAP_SEARCH | CAP_CONVERSATION,
    .notes = notes,
    .needs_account = true,
    .max_concurrent = 2,
    .state_size = sizeof(struct kimi),
    .check = kimi_check,
    .check_account = check_account,
    .base_model = base_model_id,
    .models = kimi_models,
    .models_request = kimi_models_request,
    .models_answer = kimi_models_answer,
    .models_refused = kimi_fail_http,
    .models_need_credential = true,
    .models_min_ttl_s = 300,
    .next = kimi_next,
    .on_head = kimi_on_head,
    .on_frame = kimi_on_frame,
    .on_end = kimi_on_end,
    .cleanup = kimi_cleanup,
    .destroy = kimi_destroy,
};
