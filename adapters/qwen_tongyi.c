/*
 * adapters/qwen_tongyi.c - the older site, tongyi.aliyun.com (option api = "tongyi"; sites/qwen.md
 * §10).
 *
 * Read from one source of January 2025 and perhaps gone since. A turn is three requests for each
 * picture (a form's policy, the form to the storage, a link) and one stream, whose text comes whole
 * each time and may be cut inside a character.
 */
#include "adapters/qwen.h"

#define PAGE    "https://tongyi.aliyun.com"
#define STORAGE "https://broadscope-dialogue-new.oss-cn-beijing.aliyuncs.com"

enum { LONG_TICKET = 100 };

enum tongyi_at { TONGYI_BEGIN, TONGYI_POLICY, TONGYI_FORM, TONGYI_LINK, TONGYI_CHAT, TONGYI_OVER };

struct tongyi {
    enum tongyi_at at;
    struct model_wish wish;
    struct pictures pictures;
    struct span access_id, policy, signature, dir; /* of the picture that is uploaded */
    struct growing text;
    struct buffer whole_text; /* work space */
    struct span session_id;
    bool whole; /* the current answer is one frame, no stream */
    int status, retry_after_s;
    struct span content_type;
};

bool qwen_is_tongyi(const struct site_settings *site)
{
    return span_eq(site_option_text(site, "api", SPAN("")), SPAN("tongyi"));
}

int tongyi_check(const struct site_settings *site, struct fail *fail)
{
    if (qwen_is_tongyi(site) && span_eq(site->origin, SPAN("https://chat.qwen.ai")))
        return fail_set(fail, FAIL_INVALID_VALUE,
                        "with api = \"tongyi\" the site needs base_url = "
                        "\"https://qianwen.biz.aliyun.com\"");
    return 0;
}

/* ---- requests ---- */

static enum adapter_step send(struct turn_run *run, struct site_request *req)
{
    struct span ticket = account_credential(run->account, "ticket");
    if (!token_can_be_sent(ticket)) {
        fail_set(run->fail, FAIL_CREDENTIAL,
                 "the account \"%.*s\" has no ticket: copy the cookie tongyi_sso_ticket of "
                 "tongyi.aliyun.com, or login_aliyunid_ticket of aliyun.com",
                 SPAN_ARGS(run->account->name));
        return ADAPTER_FAILED;
    }
    const char *name = ticket.n > LONG_TICKET ? "login_aliyunid_ticket" : "tongyi_sso_ticket";
    struct span t = make_hex_id(run);
    site_request_header(req, SPAN("Cookie"),
                        arena_printf(run->arena,
                                     "%s=%.*s; aliyun_choice=intl; _samesite_flag_=true; t=%.*s",
                                     name, SPAN_ARGS(ticket), SPAN_ARGS(t)));
    site_request_header(req, SPAN("Origin"), SPAN(PAGE));
    site_request_header(req, SPAN("Referer"), SPAN(PAGE));
    site_request_header(req, SPAN("X-Platform"), SPAN("pc_tongyi"));
    site_request_header(req, SPAN("X-Xsrf-Token"), make_uuid(run));
    site_request_header(req, SPAN("Accept"), SPAN("text/event-stream"));
    return request_ready(run, req);
}

static enum adapter_step post(struct turn_run *run, struct site_request *req, struct span target,
                              struct buffer *body)
{
    req->method = "POST";
    req->target = target;
    if (req->framing == FRAMING_NONE)
        req->framing = FRAMING_WHOLE;
    if (!request_body(run, req, body))
        return step_out_of_memory(run);
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    return send(run, req);
}

static enum adapter_step post_nothing(struct turn_run *run, struct site_request *req,
                                      struct span target)
{
    struct buffer body;
    buffer_init(&body, QWEN_BODY_LIMIT);
    buffer_append(&body, SPAN("{}"));
    return post(run, req, target, &body);
}

/* The storage's form: nothing of ours but the file goes there. */
static enum adapter_step send_form(struct turn_run *run, struct tongyi *t, struct site_request *req)
{
    struct picture *picture = &t->pictures.list[t->pictures.uploaded];
    struct buffer body;
    struct multipart form = {&body, make_uuid(run)};
    struct span ending = span_from(picture->mime, strlen("image/")), id = make_hex_id(run);
    picture->filename = arena_printf(run->arena, "%.*s.%.*s", SPAN_ARGS(id), SPAN_ARGS(ending));
    buffer_init(&body, QWEN_BODY_LIMIT);
    multipart_field(&form, SPAN("OSSAccessKeyId"), t->access_id);
    multipart_field(&form, SPAN("policy"), t->policy);
    multipart_field(&form, SPAN("signature"), t->signature);
    multipart_field(
        &form, SPAN("key"),
        arena_printf(run->arena, "%.*s%.*s", SPAN_ARGS(t->dir), SPAN_ARGS(picture->filename)));
    multipart_field(&form, SPAN("dir"), t->dir);
    multipart_field(&form, SPAN("success_action_status"), SPAN("200"));
    multipart_file(&form, SPAN("file"), picture->filename, picture->mime, picture->bytes);
    if (!multipart_post(run, req, &form) || !picture->filename.p)
        return step_out_of_memory(run);
    req->origin = SPAN(STORAGE);
    req->target = SPAN("/");
    return request_ready(run, req);
}

static enum adapter_step ask_link(struct turn_run *run, const struct tongyi *t,
                                  struct site_request *req)
{
    struct buffer body;
    buffer_init(&body, QWEN_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "fileKey", t->pictures.list[t->pictures.uploaded].filename);
    json_member(&w, "fileType", SPAN("image"));
    json_member(&w, "dir", t->dir);
    json_end_object(&w);
    return post(run, req, SPAN("/dialog/downloadLink"), &body);
}

static void write_content(struct json_writer *w, const char *type, struct span content)
{
    json_begin_object(w);
    json_member(w, "content", content);
    json_member(w, "contentType", span_str(type));
    json_member(w, "role", SPAN("user"));
    json_end_object(w);
}

static enum adapter_step send_chat(struct turn_run *run, const struct tongyi *t,
                                   struct site_request *req)
{
    struct buffer body;
    struct span prompt = qwen_prompt(run);
    if (!prompt.p)
        return step_out_of_memory(run);
    buffer_init(&body, QWEN_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "mode", SPAN("chat"));
    json_member(&w, "model", SPAN(""));
    json_member(&w, "action", SPAN("next"));
    json_member(&w, "userAction", SPAN("chat"));
    json_member(&w, "requestId", make_hex_id(run));
    json_member(&w, "sessionId", SPAN(""));
    json_member(&w, "sessionType", SPAN("text_chat"));
    json_member(&w, "parentMsgId", SPAN(""));
    json_key(&w, "params");
    json_begin_object(&w);
    json_member(&w, "fileUploadBatchId", make_uuid(run));
    json_member(&w, "searchType", t->wish.search ? SPAN("depth") : SPAN(""));
    json_end_object(&w);
    json_key(&w, "contents");
    json_begin_array(&w);
    write_content(&w, "text", prompt);
    for (size_t i = 0; i < t->pictures.n; i++)
        write_content(&w, "image", t->pictures.list[i].answer);
    json_end_array(&w);
    json_end_object(&w);
    req->framing = FRAMING_SSE;
    return post(run, req, SPAN("/dialog/conversation"), &body);
}

static int begin(struct turn_run *run, struct tongyi *t)
{
    growing_init(&t->text, QWEN_TEXT_LIMIT);
    buffer_init(&t->whole_text, QWEN_TEXT_LIMIT);
    t->wish = read_model_wish(run);
    t->at = TONGYI_POLICY;
    if (collect_pictures(run, "tongyi.aliyun.com", &t->pictures))
        return -1;
    if (t->pictures.n > QWEN_PICTURES_MAX / 2)
        return refuse_picture(run, &t->pictures.list[QWEN_PICTURES_MAX / 2],
                              "too many pictures for one request: 12 can be uploaded");
    return 0;
}

enum adapter_step tongyi_next(struct turn_run *run, struct qwen *c, struct site_request *req)
{
    if (!c->older && !(c->older = arena_alloc(run->arena, sizeof *c->older)))
        return step_out_of_memory(run);
    struct tongyi *t = c->older;
    if (t->at == TONGYI_BEGIN && begin(run, t))
        return ADAPTER_FAILED;
    if (t->at == TONGYI_POLICY && t->pictures.uploaded == t->pictures.n)
        t->at = TONGYI_CHAT;
    switch (t->at) {
    case TONGYI_POLICY: return post_nothing(run, req, SPAN("/dialog/uploadToken"));
    case TONGYI_FORM: return send_form(run, t, req);
    case TONGYI_LINK: return ask_link(run, t, req);
    case TONGYI_CHAT: return send_chat(run, t, req);
    default: return ADAPTER_DONE;
    }
}

/* ---- failures ---- */

/* errorCode as text, "" = none: absent, null, 0. */
static struct span error_code(struct turn_run *run, struct json root)
{
    struct json value = json_get(root, "errorCode");
    int64_t number;
    if (json_int(value, &number))
        return number ? arena_printf(run->arena, "%lld", (long long)number) : SPAN("");
    return json_text(value);
}

static bool is_failure(struct turn_run *run, struct json root)
{
    return !json_bool(json_get(root, "success"), true) || error_code(run, root).n > 0;
}

static bool speaks_of_login(struct span text)
{
    return span_mentions(text, "login") || span_find(text, SPAN("登录")) >= 0;
}

static int fail_object(struct turn_run *run, struct json root)
{
    char why[121];
    struct span code = error_code(run, root), message = json_get_text(root, "errorMsg");
    clean_message(run, why, sizeof why, message.n ? message : code);
    if (speaks_of_login(code) || speaks_of_login(message))
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "tongyi.aliyun.com refused the ticket of account \"%.*s\" (%s): sign in "
                        "there and copy the cookie again",
                        SPAN_ARGS(run->account->name), why);
    return fail_set(run->fail, FAIL_UNAVAILABLE, "tongyi.aliyun.com failed: %s",
                    why[0] ? why : "no reason given");
}

int tongyi_fail_http(struct turn_run *run, int status, struct span content_type, int retry_after_s,
                     struct span body)
{
    struct json root;
    if (status < 400 && !looks_like_html(content_type, body) &&
        json_parse_lenient(run->json, body, &root) == JSON_OK && is_failure(run, root))
        return fail_object(run, root);
    return classify_http(run, status, content_type, retry_after_s, body);
}

/* ---- answers ---- */

/* Of a text in which pictures stand: addresses lose their query, which is a signature that ends. */
static void append_without_queries(struct buffer *out, struct span text)
{
    for (ptrdiff_t at; (at = span_find(text, SPAN("http"))) >= 0;) {
        size_t end = (size_t)at;
        while (end < text.n && (unsigned char)text.p[end] > ' ' && text.p[end] != ')')
            end++;
        struct span url = span_of(text.p + at, end - (size_t)at);
        ptrdiff_t query = span_find_char(url, '?');
        buffer_append(out, span_first(text, (size_t)at));
        buffer_append(out, query < 0 ? url : span_first(url, (size_t)query));
        text = span_from(text, end);
    }
    buffer_append(out, text);
}

/* The assistant's texts so far, in t->whole_text. */
static void join_contents(struct turn_run *run, struct tongyi *t, struct json contents)
{
    buffer_clear(&t->whole_text);
    struct json_iter it = json_each(contents);
    while (json_next(&it)) {
        struct span type = json_get_text(it.value, "contentType");
        struct span text = json_get_text(it.value, "content");
        if (!span_eq(json_get_text(it.value, "role"), SPAN("assistant")))
            continue;
        if (span_eq(type, SPAN("text")))
            buffer_append(&t->whole_text, text);
        else if (span_eq(type, SPAN("text2image")))
            append_without_queries(&t->whole_text, text);
        else
            run_drift(run, "unknown content type");
    }
}

static int take_text(struct turn_run *run, struct tongyi *t, struct json root, bool finished)
{
    struct span fresh, whole;
    join_contents(run, t, json_get(root, "contents"));
    if (t->whole_text.error == BUFFER_NOMEM)
        return fail_memory(run->fail);
    whole = buffer_span(&t->whole_text);
    if (!finished)
        whole = before_torn(whole);
    if (!whole.n)
        return 0;
    enum growth growth = growing_whole(&t->text, whole, &fresh);
    if (growth == GROWTH_SHRUNK || growth == GROWTH_EDITED)
        run_drift(run, "text that does not continue");
    if (t->text.sent.error || t->whole_text.error)
        return fail_too_long(run, t->text.sent.error ? t->text.sent.error : t->whole_text.error);
    return delta_text(run->out, 0, fresh);
}

static enum adapter_verdict finish(struct turn_run *run, struct tongyi *t, bool shared)
{
    if (!shared && !t->text.sent.n)
        return fail_set(run->fail, FAIL_CONTENT_FILTER, "tongyi.aliyun.com refuses this content");
    if (!t->text.sent.n)
        return fail_set(run->fail, FAIL_EMPTY,
                        "tongyi.aliyun.com ended its answer without any text");
    if (delta_finish(run->out, 0, shared ? SPAN("stop") : SPAN("content_filter")))
        return ADAPTER_FAIL;
    t->at = TONGYI_OVER;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict end_of_stream(struct turn_run *run, const struct tongyi *t,
                                          enum stream_end end)
{
    if (end == END_CLEAN && !t->text.sent.n)
        return fail_set(run->fail, FAIL_EMPTY, "tongyi.aliyun.com answered with nothing at all");
    return fail_set(run->fail, FAIL_CUT,
                    "tongyi.aliyun.com broke off in the middle of its answer; ask again");
}

static enum adapter_verdict take_event(struct turn_run *run, struct tongyi *t, struct span text)
{
    struct json root;
    if (span_eq(span_trim(text), SPAN("[DONE]")))
        return end_of_stream(run, t, END_CLEAN);
    if (json_parse_lenient(run->json, text, &root) != JSON_OK || !json_is(root, JSON_OBJECT)) {
        run_drift(run, "event that is no JSON object");
        return ADAPTER_GO_ON;
    }
    bool finished = span_eq(json_get_text(root, "msgStatus"), SPAN("finished"));
    struct span session = json_get_text(root, "sessionId");
    if (is_path_id(session) && !t->session_id.n)
        t->session_id = arena_dup(run->arena, session);
    if (is_failure(run, root))
        return fail_object(run, root);
    if (take_text(run, t, root, finished))
        return ADAPTER_FAIL;
    return finished ? finish(run, t, json_bool(json_get(root, "canShare"), true)) : ADAPTER_GO_ON;
}

static bool take(struct turn_run *run, struct json data, const char *key, struct span *to)
{
    *to = arena_dup(run->arena, json_get_text(data, key));
    return token_can_be_sent(*to);
}

static enum adapter_verdict take_upload(struct turn_run *run, struct tongyi *t, struct json root)
{
    struct picture *picture = &t->pictures.list[t->pictures.uploaded];
    struct json data = json_get(root, "data");
    if (!json_is(data, JSON_OBJECT))
        data = root;
    bool whole = t->at == TONGYI_LINK ? take(run, data, "url", &picture->answer)
                                      : take(run, data, "accessId", &t->access_id) &&
                                            take(run, data, "policy", &t->policy) &&
                                            take(run, data, "signature", &t->signature) &&
                                            take(run, data, "dir", &t->dir);
    if (!whole)
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "tongyi.aliyun.com answered the upload of a picture with less than it "
                        "takes");
    if (t->at == TONGYI_LINK) /* a signed link whose end nobody knows: it is not remembered */
        t->pictures.uploaded++;
    t->at = t->at == TONGYI_LINK ? TONGYI_POLICY : TONGYI_FORM;
    return ADAPTER_COMPLETE;
}

enum adapter_verdict tongyi_on_head(struct turn_run *run, struct tongyi *t,
                                    const struct site_head *head, enum framing *framing)
{
    if (t->at == TONGYI_FORM) {
        if (head->status < 200 || head->status > 299)
            return fail_set(run->fail, head->status >= 500 ? FAIL_UNAVAILABLE : FAIL_PROTOCOL,
                            "the storage of tongyi.aliyun.com did not take a picture (%d)",
                            head->status);
        t->at = TONGYI_LINK;
        return ADAPTER_COMPLETE;
    }
    t->status = head->status;
    t->retry_after_s = head->retry_after_s;
    t->content_type = arena_dup(run->arena, head->content_type);
    if (!t->content_type.p)
        return fail_memory(run->fail);
    if (head->status != 200 || !site_head_is(head, "text/event-stream"))
        *framing = FRAMING_WHOLE;
    t->whole = *framing == FRAMING_WHOLE;
    return ADAPTER_GO_ON;
}

enum adapter_verdict tongyi_on_frame(struct turn_run *run, struct tongyi *t,
                                     const struct frame *frame)
{
    struct json root;
    if (!t->whole)
        return take_event(run, t, frame->data);
    if (!frame->data.n)
        return ADAPTER_GO_ON;
    bool json = json_parse_lenient(run->json, frame->data, &root) == JSON_OK;
    if (t->status != 200 || looks_like_html(t->content_type, frame->data) ||
        (json && is_failure(run, root)))
        return tongyi_fail_http(run, t->status, t->content_type, t->retry_after_s, frame->data);
    if (!json || t->at == TONGYI_CHAT)
        return fail_set(run->fail, FAIL_PROTOCOL, "tongyi.aliyun.com answered with %s",
                        json ? "JSON where a stream should be" : "something that is not JSON");
    return take_upload(run, t, root);
}

enum adapter_verdict tongyi_on_end(struct turn_run *run, struct tongyi *t, enum stream_end end)
{
    if (t->whole && (t->status >= 300 || looks_like_html(t->content_type, SPAN(""))))
        return tongyi_fail_http(run, t->status, t->content_type, t->retry_after_s, SPAN(""));
    if (t->whole && t->at != TONGYI_CHAT && end == END_CLEAN)
        return fail_set(run->fail, FAIL_PROTOCOL, "tongyi.aliyun.com answered with nothing");
    return end_of_stream(run, t, end);
}

/* ---- clean-up, models ---- */

enum adapter_step tongyi_cleanup(struct turn_run *run, struct tongyi *t, struct site_request *req)
{
    struct buffer body;
    if (!t || !t->session_id.n || !site_option_bool(run->site, "delete_chat", true))
        return ADAPTER_DONE;
    buffer_init(&body, QWEN_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "sessionId", t->session_id);
    json_end_object(&w);
    t->session_id = SPAN("");
    return post(run, req, SPAN("/dialog/session/delete"), &body) == ADAPTER_SEND ? ADAPTER_SEND
                                                                                 : ADAPTER_DONE;
}

void tongyi_free(struct tongyi *t)
{
    if (!t || t->at == TONGYI_BEGIN)
        return;
    growing_free(&t->text);
    buffer_free(&t->whole_text);
}

enum adapter_step tongyi_models_request(struct turn_run *run, struct site_request *req)
{
    if (!token_can_be_sent(account_credential(run->account, "ticket")))
        return ADAPTER_DONE;
    return post_nothing(run, req, SPAN("/dialog/session/list"));
}

/* The site has one model; a list of sessions says that the ticket is good. */
int tongyi_models_answer(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct json root;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK || is_failure(run, root) ||
        !json_is(json_get(root, "data"), JSON_ARRAY))
        return -1;
    return sink->put(sink->owner, &(struct model_entry){SPAN("qwen"), SPAN("")});
}
