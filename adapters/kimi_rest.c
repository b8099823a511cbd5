/*
 * adapters/kimi_rest.c - Kimi's older form, of kimi.moonshot.cn (sites/kimi.md §10): JSON requests
 * and server-sent events. The host was retired in 2026; who still has such a service says
 * `api = "rest"`.
 *
 * Steps: who we are, once an account; for each picture four requests; a chat; the stream into it.
 */
#include "adapters/kimi.h"

#define USER_ID "user_id" /* what the account holds */

static const struct span k1_agent = SPAN_INIT("crm40ee9e5jvhsn7ptcg");

enum { AGENT_ID_LENGTH = 20 };

/* An agent's id stands for itself; what is no agent of theirs is the plain assistant. */
static struct span agent_of(const struct turn_run *run)
{
    struct span id = read_model_wish(run).id;
    if (span_eq(id, SPAN("k1")) || span_eq(id, SPAN("kimi-k1")))
        return k1_agent;
    return id.n == AGENT_ID_LENGTH && is_path_id(id) ? id : SPAN("kimi");
}

static struct json_writer begin_body(struct buffer *body)
{
    buffer_init(body, KIMI_BODY_LIMIT);
    struct json_writer w = json_writer(body);
    json_begin_object(&w);
    return w;
}

static enum adapter_step send_body(struct turn_run *run, struct kimi *k, struct site_request *req,
                                   struct json_writer *w)
{
    json_end_object(w);
    return kimi_send_json(run, k, req, w->out, false);
}

/* ---- pictures ---- */

static enum adapter_step ask_place(struct turn_run *run, struct kimi *k, struct site_request *req)
{
    struct picture *picture = &k->pictures.list[k->pictures.uploaded];
    struct span subtype = span_from(picture->mime, sizeof "image/" - 1), id = make_uuid(run);
    struct buffer body;
    picture->filename = arena_printf(run->arena, "%.*s.%.*s", SPAN_ARGS(id), SPAN_ARGS(subtype));
    if (!picture->filename.p)
        return step_out_of_memory(run);
    struct json_writer w = begin_body(&body);
    json_member(&w, "action", SPAN("image"));
    json_member(&w, "name", picture->filename);
    req->target = SPAN("/api/pre-sign-url");
    return send_body(run, k, req, &w);
}

static size_t origin_length(struct span url)
{
    ptrdiff_t scheme = span_find(url, SPAN("://"));
    size_t at = scheme < 0 ? 0 : (size_t)scheme + 3;
    while (at < url.n && url.p[at] != '/' && url.p[at] != '?')
        at++;
    return at;
}

/* The bytes go to the place that the site named, without our token: it may be anybody's. */
static enum adapter_step put_picture(struct turn_run *run, struct kimi *k, struct site_request *req)
{
    const struct picture *picture = &k->pictures.list[k->pictures.uploaded];
    size_t n = origin_length(k->older.upload_url);
    req->method = "PUT";
    req->origin = span_first(k->older.upload_url, n);
    req->target = span_from(k->older.upload_url, n);
    req->secret_target = true;
    req->framing = FRAMING_WHOLE;
    req->body = picture->bytes;
    site_request_header(req, SPAN("Content-Type"), picture->mime);
    return request_ready(run, req);
}

static enum adapter_step announce_picture(struct turn_run *run, struct kimi *k,
                                          struct site_request *req)
{
    struct buffer body;
    if (kimi_pauses(k, req, k->polls == 0))
        return ADAPTER_WAIT;
    struct json_writer w = begin_body(&body);
    json_member(&w, "type", SPAN("image"));
    json_member(&w, "file_id", k->older.file_id);
    json_member(&w, "name", k->pictures.list[k->pictures.uploaded].filename);
    req->target = SPAN("/api/file");
    return send_body(run, k, req, &w);
}

static enum adapter_step parse_picture(struct turn_run *run, struct kimi *k,
                                       struct site_request *req)
{
    struct buffer body;
    struct json_writer w = begin_body(&body);
    json_key(&w, "ids");
    json_begin_array(&w);
    json_string(&w, k->pictures.list[k->pictures.uploaded].id);
    json_end_array(&w);
    json_member_int(&w, "timeout", 120000);
    req->target = SPAN("/api/file/parse_process");
    return send_body(run, k, req, &w);
}

static enum adapter_step next_of_picture(struct turn_run *run, struct kimi *k,
                                         struct site_request *req)
{
    k->ask = k->older.next_of_picture ? k->older.next_of_picture : KIMI_SIGN;
    switch (k->ask) {
    case KIMI_PUT: return put_picture(run, k, req);
    case KIMI_FILE: return announce_picture(run, k, req);
    case KIMI_PARSE: return parse_picture(run, k, req);
    default: return ask_place(run, k, req);
    }
}

/* ---- the chat ---- */

static enum adapter_step ask_user(struct turn_run *run, struct kimi *k, struct site_request *req)
{
    k->ask = KIMI_USER;
    req->method = "GET";
    req->target = SPAN("/api/user");
    req->framing = FRAMING_WHOLE;
    kimi_add_headers(run, k, req, k->session.value, SPAN(""));
    return request_ready(run, req);
}

static enum adapter_step create_chat(struct turn_run *run, struct kimi *k, struct site_request *req)
{
    struct buffer body;
    struct json_writer w = begin_body(&body);
    k->ask = KIMI_CREATE;
    json_member(&w, "enter_method", SPAN("new_chat"));
    json_member_bool(&w, "is_example", false);
    json_member(&w, "kimiplus_id", agent_of(run));
    json_member(&w, "name", SPAN("dragoman"));
    req->target = SPAN("/api/chat");
    return send_body(run, k, req, &w);
}

static void write_refs(struct json_writer *w, const struct kimi *k)
{
    json_key(w, "refs");
    json_begin_array(w);
    for (size_t i = 0; i < k->pictures.n; i++)
        json_string(w, k->pictures.list[i].id);
    json_end_array(w);
}

static enum adapter_step stream_chat(struct turn_run *run, struct kimi *k, struct site_request *req)
{
    bool search = read_model_wish(run).search || site_option_bool(run->site, "search", false);
    struct span prompt = kimi_prompt(run);
    struct buffer body;
    if (!prompt.p)
        return step_out_of_memory(run);
    struct json_writer w = begin_body(&body);
    json_member(&w, "kimiplus_id", agent_of(run));
    json_key(&w, "messages");
    json_begin_array(&w);
    json_begin_object(&w);
    json_member(&w, "role", SPAN("user"));
    json_member(&w, "content", prompt);
    json_end_object(&w);
    json_end_array(&w);
    write_refs(&w, k);
    json_member_raw(&w, "refs_file", SPAN("[]"));
    json_member_bool(&w, "use_math", false);
    json_member_bool(&w, "use_research", false);
    json_member_bool(&w, "use_search", search);
    json_member_raw(&w, "extend", SPAN("{\"sidebar\":true}"));
    json_end_object(&w);
    if (!request_body(run, req, &body))
        return step_out_of_memory(run);
    k->ask = KIMI_CHAT;
    req->method = "POST";
    req->target =
        arena_printf(run->arena, "/api/chat/%.*s/completion/stream", SPAN_ARGS(k->chat_id));
    req->framing = FRAMING_SSE;
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    kimi_add_headers(run, k, req, k->session.value,
                     arena_printf(run->arena, "%.*s/chat/%.*s", SPAN_ARGS(run->site->origin),
                                  SPAN_ARGS(k->chat_id)));
    return request_ready(run, req);
}

/* 1: known; 0: to be asked for; -1 with run->fail. */
static int know_user(struct turn_run *run, struct kimi *k)
{
    struct span held = account_held(run->account, USER_ID, run->now_ms, 0);
    if (!held.n)
        return 0;
    k->user_id = arena_dup(run->arena, held);
    return k->user_id.p ? 1 : fail_memory(run->fail);
}

enum adapter_step kimi_rest_next(struct turn_run *run, struct kimi *k, struct site_request *req)
{
    int known = know_user(run, k);
    if (known <= 0)
        return known < 0 ? ADAPTER_FAILED : ask_user(run, k, req);
    if (k->older.next_of_picture > KIMI_SIGN || next_upload(run, &k->pictures, "rest"))
        return next_of_picture(run, k, req);
    return k->chat_id.n ? stream_chat(run, k, req) : create_chat(run, k, req);
}

/* ---- answers ---- */

static enum adapter_verdict lacks(struct turn_run *run, const char *what)
{
    return fail_set(run->fail, FAIL_PROTOCOL, KIMI_HOST " did not tell %s", what);
}

static enum adapter_verdict keep_id(struct turn_run *run, struct span *field, struct json root,
                                    const char *name, const char *what)
{
    struct span id = json_get_text(root, name);
    if (!is_path_id(id))
        return lacks(run, what);
    *field = arena_dup(run->arena, id);
    return field->p ? ADAPTER_COMPLETE : fail_memory(run->fail);
}

static enum adapter_verdict take_user(struct turn_run *run, struct kimi *k, struct json root)
{
    enum adapter_verdict verdict = keep_id(run, &k->user_id, root, "id", "who its user is");
    if (verdict == ADAPTER_COMPLETE && account_hold(run->account, USER_ID, k->user_id, 0))
        return fail_memory(run->fail);
    return verdict;
}

/* A name with a dot in it and letters behind the last: no address of a machine nearby. */
static bool is_public_name(struct span host)
{
    ptrdiff_t port = span_find_char(host, ':');
    if (port >= 0)
        host = span_first(host, (size_t)port);
    ptrdiff_t dot = span_find_last(host, SPAN("."));
    bool letters = dot > 0 && (size_t)dot + 1 < host.n;
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool plain = letter || (c >= '0' && c <= '9') || c == '-' || c == '.';
        letters = letters && plain && (letter || (ptrdiff_t)i <= dot || c == '-');
    }
    return letters;
}

/* Where pictures may go: the site itself, or a public host by TLS. */
static bool may_upload_to(const struct turn_run *run, struct span url)
{
    const struct span https = SPAN("https://");
    size_t n = origin_length(url);
    struct span origin = span_first(url, n);
    for (size_t i = 0; i < url.n; i++) {
        if ((unsigned char)url.p[i] <= ' ' || (unsigned char)url.p[i] >= 0x7F || url.p[i] == '#')
            return false;
    }
    return n < url.n && url.p[n] == '/' &&
           (span_eq(origin, run->site->origin) ||
            (span_starts(origin, https) && is_public_name(span_from(origin, https.n))));
}

static enum adapter_verdict take_place(struct turn_run *run, struct kimi *k, struct json root)
{
    struct span url = json_get_text(root, "url");
    if (!may_upload_to(run, url))
        return lacks(run, "a place for the picture that can be used");
    k->older.upload_url = arena_dup(run->arena, url);
    if (!k->older.upload_url.p)
        return fail_memory(run->fail);
    k->older.next_of_picture = KIMI_PUT;
    return keep_id(run, &k->older.file_id, root, "file_id", "a file's id");
}

static enum adapter_verdict take_file(struct turn_run *run, struct kimi *k, struct json root)
{
    struct picture *picture = &k->pictures.list[k->pictures.uploaded];
    struct span status = json_get_text(root, "status");
    bool ready = span_eq(status, SPAN("initialized")) || span_eq(status, SPAN("parsed"));
    if (!ready && k->polls < KIMI_POLLS_MAX && k->all_polls < KIMI_POLLS_ALL)
        return ADAPTER_COMPLETE; /* next asks again */
    k->polls = 0;
    k->older.next_of_picture = KIMI_PARSE;
    return keep_id(run, &picture->id, root, "id", "a file's id");
}

enum adapter_verdict kimi_rest_answer(struct turn_run *run, struct kimi *k, struct span body)
{
    struct json root = {NULL, 0};
    bool good = k->status >= 200 && k->status < 300;
    bool json = json_parse_lenient(run->json, body, &root) == JSON_OK && json_is(root, JSON_OBJECT);
    if (good && k->ask == KIMI_PUT) { /* of a store: XML, or nothing */
        k->older.next_of_picture = KIMI_FILE;
        return ADAPTER_COMPLETE;
    }
    if (good && k->ask == KIMI_PARSE) {
        k->older.next_of_picture = KIMI_SIGN;
        upload_keep(run, &k->pictures, &k->pictures.list[k->pictures.uploaded], "rest",
                    UPLOAD_KEEP_MS);
        k->pictures.uploaded++;
        return ADAPTER_COMPLETE;
    }
    if (k->ask == KIMI_PUT)
        return fail_set(run->fail, FAIL_UNAVAILABLE,
                        "the place for pictures of " KIMI_HOST " refuses one (%d)", k->status);
    if (!good || !json || k->ask == KIMI_CHAT || json_get_text(root, "error_type").n)
        return kimi_fail_answer(run, k, body);
    switch (k->ask) {
    case KIMI_USER: return take_user(run, k, root);
    case KIMI_SIGN: return take_place(run, k, root);
    case KIMI_FILE: return take_file(run, k, root);
    default: return keep_id(run, &k->chat_id, root, "id", "the chat's id");
    }
}

/* ---- clean-up ---- */

enum adapter_step kimi_rest_cleanup(struct turn_run *run, struct kimi *k, struct site_request *req)
{
    req->method = "DELETE";
    req->target = arena_printf(run->arena, "/api/chat/%.*s", SPAN_ARGS(k->chat_id));
    req->framing = FRAMING_NONE;
    kimi_add_headers(run, k, req, k->session.value, SPAN(""));
    k->chat_id = SPAN("");
    return request_ready(run, req) == ADAPTER_SEND ? ADAPTER_SEND : ADAPTER_DONE;
}
