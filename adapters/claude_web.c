/*
 * adapters/claude_web.c - claude.ai: who we are, which steps a turn has (sites/claude_web.md §1,
 * §2, §4, §6).
 *
 * A turn is: the account's organization (asked for once and held), a conversation of ours, which
 * may be the one of the turn before, an upload for each picture, and one stream. Conversations are
 * temporary ones, which the site keeps in no history; where it does not make them so, ours is
 * deleted afterwards unless it will go on, and no other ever.
 */
#include "adapters/claude_web.h"

#include "base/json_write.h"

/* What the account holds. */
#define ORGANIZATION "organization"

enum { BUSY_WAIT_MS = 1000 };

static const struct credential_field claude_web_credentials[] = {
    {"session_key", false,
     "browser tools, Application, Cookies of https://claude.ai: the value of sessionKey"},
    {"cookie", false, "instead: a whole line of cookies, `sessionKey=…; …`, sent as it is"},
    {ORGANIZATION, true, "the organization's uuid; without it the one that can do most"},
    {NULL, false, NULL},
};

static const struct option_field claude_web_options[] = {
    {"keep_chats", OPTION_BOOL, false, NULL,
     "conversations stay in the person's history at the site; default false: temporary ones"},
    {"upload", OPTION_TEXT, false, "classic wiggle",
     "the way on which files go; wiggle is the newer one; default classic"},
    {"history", OPTION_TEXT, false, "prompt attachment",
     "the conversation goes as the prompt, or as an attached text; default prompt"},
    {"old_images", OPTION_BOOL, false, NULL,
     "pictures of earlier turns are sent again; default true"},
    {NULL, OPTION_TEXT, false, NULL, NULL},
};

/* ---- the credential (§2) ---- */

static struct span named(const struct credential *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (span_eq(list[i].name, span_str(name)))
            return list[i].value;
    }
    return SPAN("");
}

static bool is_printable(struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        if ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7F)
            return false;
    }
    return true;
}

static int check_account(const struct site_settings *site, const struct credential *list, size_t n,
                         struct fail *fail)
{
    struct span key = named(list, n, "session_key"), cookie = named(list, n, "cookie");
    struct span organization = named(list, n, ORGANIZATION);
    if (span_starts(key, SPAN("sessionKey=")))
        return fail_set(fail, FAIL_INVALID_VALUE,
                        "\"session_key\" is the cookie's value alone, without `sessionKey=`");
    if (key.n && (!token_can_be_sent(key) || span_find_char(key, ';') >= 0))
        return fail_set(fail, FAIL_INVALID_VALUE,
                        "\"session_key\" holds a blank, a semicolon or a control character: it is "
                        "the value of the one cookie sessionKey (a whole line of cookies goes into "
                        "\"cookie\")");
    if (cookie.n && (!is_printable(cookie) || span_find(cookie, SPAN("sessionKey=")) < 0))
        return fail_set(fail, FAIL_INVALID_VALUE,
                        "\"cookie\" is a line `name=value; …` that has the cookie sessionKey");
    if (organization.n && !is_path_id(organization))
        return fail_set(fail, FAIL_INVALID_VALUE,
                        "\"organization\" is a uuid: letters, digits and dashes");
    if (organization.n && !key.n && !cookie.n)
        return fail_set(fail, FAIL_INVALID_VALUE,
                        "an account wants session_key or cookie beside its organization");
    return 0;
}

/* The one that is known; "" = none yet. */
static struct span known_organization(const struct turn_run *run)
{
    struct span configured = account_credential(run->account, ORGANIZATION);
    return configured.n ? configured : account_held(run->account, ORGANIZATION, 0, 0);
}

static bool has_flag(struct turn_run *run, struct json organization, const char *word,
                     struct span *type)
{
    struct span now = format_utc(run->arena, run->now_ms, "%Y-%m-%dT%H:%M:%S");
    struct json_iter it = json_each(json_get(organization, "active_flags"));
    while (json_next(&it)) {
        struct span ends = json_get_text(it.value, "expires_at");
        bool over = ends.n >= now.n && now.n && memcmp(ends.p, now.p, now.n) <= 0;
        *type = json_get_text(it.value, "type");
        if (!over && span_mentions(*type, word))
            return true;
    }
    return false;
}

static bool may_chat(struct json organization)
{
    struct json_iter it = json_each(json_get(organization, "capabilities"));
    while (json_next(&it)) {
        if (span_eq(json_text(it.value), SPAN("chat")))
            return is_path_id(json_get_text(organization, "uuid"));
    }
    return false;
}

/* Of those that may chat the one that can do most: the paid one. */
static enum adapter_verdict take_organization(struct turn_run *run, struct json root)
{
    struct json best = {NULL, 0};
    struct span flag;
    struct json_iter it = json_each(root);
    while (json_is(root, JSON_ARRAY) && json_next(&it)) {
        if (may_chat(it.value) && (!best.doc || json_size(json_get(it.value, "capabilities")) >
                                                    json_size(json_get(best, "capabilities"))))
            best = it.value;
    }
    if (!best.doc)
        return claude_web_no_organization(run);
    if (has_flag(run, best, "banned", &flag)) {
        char word[64];
        clean_message(run, word, sizeof word, flag);
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "claude.ai has banned account \"%.*s\" (%s); see claude.ai for how long",
                        SPAN_ARGS(run->account->name), word);
    }
    if (account_hold(run->account, ORGANIZATION, json_get_text(best, "uuid"), 0))
        return fail_memory(run->fail);
    return ADAPTER_COMPLETE; /* still CLAUDE_WEB_ORGANIZATION: now it is known */
}

static enum adapter_step ask_organization(struct turn_run *run, struct site_request *req)
{
    req->method = "GET";
    req->target = SPAN("/api/organizations");
    req->framing = FRAMING_WHOLE;
    req->credential_step = true;
    return claude_web_send(run, req);
}

/* ---- the steps ---- */

/* Is the conversation to be deleted by us? Temporary ones go by themselves, and some plans have
 * none. */
static void note_conversation(const struct turn_run *run, struct claude_web *c)
{
    if (!c->temporary && !site_option_bool(run->site, "keep_chats", false) &&
        c->n_lasting < CLAUDE_WEB_TRIES)
        c->lasting_ones[c->n_lasting++] = c->conversation;
}

static int begin(struct turn_run *run, struct claude_web *c)
{
    int held = claude_web_go_on(run, c);
    if (held > 0) /* it was made for us, and is removed as if by this turn */
        note_conversation(run, c);
    c->wiggle = span_eq(site_option_text(run->site, "upload", SPAN("")), SPAN("wiggle"));
    if (held < 0 || claude_web_collect(run, c) || claude_web_choose_model(run, c))
        return -1;
    c->at = CLAUDE_WEB_ORGANIZATION;
    return 0;
}

static enum adapter_step next_chat(struct turn_run *run, struct claude_web *c,
                                   struct site_request *req)
{
    if (run->now_ms < c->wait_until_ms) {
        req->delay_ms = (int)(c->wait_until_ms - run->now_ms);
        return ADAPTER_WAIT;
    }
    return claude_web_chat(run, c, req);
}

/* The classic way's files are the organization's, and good in all of its conversations; the newer
 * way's belong to the one that they were uploaded into, and are not remembered. */
static struct picture *unknown_upload(struct turn_run *run, struct claude_web *c)
{
    struct picture *upload;
    while ((upload = claude_web_next_upload(c)) && !c->wiggle &&
           upload_recall(run, &c->uploads, upload, "upload"))
        c->uploads.uploaded++;
    return upload;
}

static enum adapter_step claude_web_next(struct turn_run *run, struct site_request *req)
{
    struct claude_web *c = run->state;
    if (c->at == CLAUDE_WEB_BEGIN && begin(run, c))
        return ADAPTER_FAILED;
    switch (c->at) {
    case CLAUDE_WEB_BEGIN:
    case CLAUDE_WEB_ORGANIZATION:
        if (!known_organization(run).n)
            return ask_organization(run, req);
        c->organization = arena_dup(run->arena, known_organization(run));
        if (!c->organization.p)
            return step_out_of_memory(run);
        c->at = CLAUDE_WEB_CREATE;
        __attribute__((fallthrough));
    case CLAUDE_WEB_CREATE:
        if (!c->parent.n)
            return claude_web_create(run, c, req);
        c->at = CLAUDE_WEB_UPLOAD;
        __attribute__((fallthrough));
    case CLAUDE_WEB_UPLOAD:
        if (unknown_upload(run, c))
            return claude_web_upload(run, c, req);
        c->at = CLAUDE_WEB_CHAT;
        __attribute__((fallthrough));
    case CLAUDE_WEB_CHAT: return next_chat(run, c, req);
    case CLAUDE_WEB_OVER: break;
    }
    return ADAPTER_DONE;
}

/* ---- answers of the steps before the stream ---- */

static enum adapter_verdict take_conversation(struct turn_run *run, struct claude_web *c,
                                              struct json root)
{
    struct span id = json_get_text(root, "uuid");
    if (is_path_id(id) && !span_eq(id, c->conversation))
        c->conversation = arena_dup(run->arena, id);
    if (!c->conversation.p)
        return fail_memory(run->fail);
    c->temporary = json_bool(json_get(root, "is_temporary"), !c->lasting);
    note_conversation(run, c);
    c->at = CLAUDE_WEB_UPLOAD;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict take_upload(struct turn_run *run, struct claude_web *c,
                                        struct json root)
{
    struct picture *upload = claude_web_next_upload(c);
    struct span id = json_get_text(root, "file_uuid");
    if (!json_bool(json_get(root, "success"), true))
        return fail_set(run->fail, FAIL_BAD_REQUEST, "claude.ai did not take the file %.*s",
                        SPAN_ARGS(span_first(upload->filename, 80)));
    if (!id.n)
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "claude.ai answered the upload of a file without its file_uuid");
    upload->id = arena_dup(run->arena, id);
    if (!upload->id.p)
        return fail_memory(run->fail);
    if (!c->wiggle)
        upload_keep(run, &c->uploads, upload, "upload", UPLOAD_KEEP_MS);
    c->uploads.uploaded++;
    return ADAPTER_COMPLETE;
}

/* ---- what goes wrong, and is worth another try ---- */

/* The site no longer knows the conversation that we have just made: another one, once. Files stay,
 * but for those that are the conversation's own. */
static enum adapter_verdict another_conversation(struct turn_run *run, struct claude_web *c)
{
    c->made_another = true;
    if (c->wiggle)
        c->uploads.uploaded = 0;
    c->at = CLAUDE_WEB_CREATE;
    fail_clear(run->fail);
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict wait_a_moment(struct turn_run *run, struct claude_web *c)
{
    c->waited = true;
    c->wait_until_ms = run->now_ms + BUSY_WAIT_MS;
    fail_clear(run->fail);
    return ADAPTER_COMPLETE;
}

/* Some plans may have no temporary chats (§8): then a lasting one, which is deleted afterwards. */
static bool refuses_temporary(const struct turn_run *run, const struct claude_web *c)
{
    struct span why = span_str(run->fail->message);
    return c->at == CLAUDE_WEB_CREATE && run->fail->kind == FAIL_BAD_REQUEST && !c->lasting &&
           !site_option_bool(run->site, "keep_chats", false) &&
           (span_mentions(why, "temporary") || span_mentions(why, "incognito"));
}

static enum adapter_verdict refused(struct turn_run *run, struct claude_web *c, struct span body)
{
    claude_web_refused(run, c, body);
    bool chat = c->at == CLAUDE_WEB_CHAT;
    bool lost = chat && c->status == 404 && run->fail->kind == FAIL_BAD_REQUEST;
    if (lost && !c->made_another && !c->parent.n) /* else the whole history is wanted first */
        return another_conversation(run, c);
    if (chat && c->status == 409 && run->fail->kind == FAIL_UNAVAILABLE && !c->waited)
        return wait_a_moment(run, c);
    if (refuses_temporary(run, c)) {
        c->lasting = true;
        fail_clear(run->fail);
        return ADAPTER_COMPLETE;
    }
    if (c->at == CLAUDE_WEB_CREATE && run->fail->kind == FAIL_BAD_REQUEST)
        account_drop(run->account, ORGANIZATION); /* it may be the reason: asked for again */
    return ADAPTER_FAIL;
}

/* ---- answers ---- */

static bool is_good(const struct claude_web *c)
{
    return !c->challenge && (c->status == 200 || (c->status == 201 && c->at != CLAUDE_WEB_CHAT) ||
                             (c->status == 202 && c->at == CLAUDE_WEB_UPLOAD));
}

static enum adapter_verdict claude_web_on_head(struct turn_run *run, const struct site_head *head,
                                               enum framing *framing)
{
    struct claude_web *c = run->state;
    uint64_t reset = 0;
    span_to_u64(span_trim(site_head_get(head, "anthropic-ratelimit-unified-reset")), INT64_MAX,
                &reset);
    c->status = head->status;
    c->retry_after_s = head->retry_after_s;
    c->reset_s = (int64_t)reset;
    c->challenge = span_eq_nocase(site_head_get(head, "cf-mitigated"), SPAN("challenge"));
    c->content_type = arena_dup(run->arena, head->content_type);
    if (!c->content_type.p)
        return fail_memory(run->fail);
    if (!c->challenge && head->status >= 300 && head->status < 400)
        return claude_web_redirected(run, head->status, site_head_get(head, "location"));
    c->whole = c->at != CLAUDE_WEB_CHAT || !is_good(c) || !site_head_is(head, "text/event-stream");
    *framing = c->whole ? FRAMING_WHOLE : FRAMING_SSE;
    c->asked = c->asked && !c->whole;
    return ADAPTER_GO_ON;
}

static bool is_error(struct json root)
{
    return json_is(root, JSON_OBJECT) && (span_eq(json_get_text(root, "type"), SPAN("error")) ||
                                          json_is(json_get(root, "error"), JSON_OBJECT));
}

static enum adapter_verdict nonsense(struct turn_run *run, const char *what)
{
    return fail_set(run->fail, FAIL_PROTOCOL, "claude.ai answered with %s", what);
}

static enum adapter_verdict whole_answer(struct turn_run *run, struct claude_web *c,
                                         struct span body)
{
    struct json root;
    if (!is_good(c) || looks_like_html(c->content_type, body))
        return refused(run, c, body);
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        return nonsense(run, "something that is neither JSON nor a stream");
    if (is_error(root))
        return claude_web_error(run, json_get(root, "error"));
    if (c->at == CLAUDE_WEB_ORGANIZATION)
        return take_organization(run, root);
    if (!json_is(root, JSON_OBJECT))
        return nonsense(run, "JSON that is no object");
    if (c->at == CLAUDE_WEB_CREATE)
        return take_conversation(run, c, root);
    return c->at == CLAUDE_WEB_UPLOAD ? take_upload(run, c, root)
                                      : nonsense(run, "JSON where a stream should be");
}

static enum adapter_verdict claude_web_on_frame(struct turn_run *run, const struct frame *frame)
{
    struct claude_web *c = run->state;
    if (!c->whole)
        return claude_web_read_frame(run, c, frame);
    return frame->data.n ? whole_answer(run, c, frame->data) : ADAPTER_GO_ON;
}

static enum adapter_verdict claude_web_on_end(struct turn_run *run, enum stream_end end)
{
    struct claude_web *c = run->state;
    if (!c->whole)
        return claude_web_stream_end(run, c, end);
    if (c->challenge || c->status >= 300) /* without a body, or it broke off: the status said it */
        return refused(run, c, SPAN(""));
    return fail_set(run->fail,
                    end == END_CUT             ? FAIL_CUT
                    : c->at == CLAUDE_WEB_CHAT ? FAIL_EMPTY
                                               : FAIL_PROTOCOL,
                    "claude.ai's answer ended before it said anything");
}

/* ---- clean-up (§6) ---- */

static enum adapter_step stop_answer(struct turn_run *run, struct claude_web *c,
                                     struct site_request *req)
{
    struct buffer body;
    buffer_init(&body, CLAUDE_WEB_BODY_LIMIT);
    buffer_append(&body, SPAN("{}"));
    c->stop_told = true;
    req->target =
        arena_printf(run->arena, "/api/organizations/%.*s/chat_conversations/%.*s/stop_response",
                     SPAN_ARGS(c->organization), SPAN_ARGS(c->conversation));
    return claude_web_post_json(run, req, &body);
}

/* The next of those to be deleted: not the one that will go on. */
static bool next_lasting(const struct turn_run *run, struct claude_web *c, struct span *id)
{
    while (c->n_lasting) {
        *id = c->lasting_ones[--c->n_lasting];
        if (!run->conversation_kept || !span_eq(*id, c->conversation))
            return true;
    }
    return false;
}

static enum adapter_step delete_conversation(struct turn_run *run, const struct claude_web *c,
                                             struct site_request *req, struct span id)
{
    req->method = "DELETE";
    req->target = arena_printf(run->arena, "/api/organizations/%.*s/chat_conversations/%.*s",
                               SPAN_ARGS(c->organization), SPAN_ARGS(id));
    return claude_web_send(run, req);
}

static enum adapter_step claude_web_cleanup(struct turn_run *run, struct site_request *req)
{
    struct claude_web *c = run->state;
    enum adapter_step step = ADAPTER_DONE;
    struct span id;
    bool answering = c->at == CLAUDE_WEB_CHAT && c->asked && !c->stream.ended;
    req->framing = FRAMING_NONE;
    if (answering && !c->stop_told)
        step = stop_answer(run, c, req);
    else if (c->organization.n && next_lasting(run, c, &id))
        step = delete_conversation(run, c, req, id);
    return step == ADAPTER_SEND ? step : ADAPTER_DONE;
}

/* ---- the model list (§3) ---- */

static enum adapter_step claude_web_models_request(struct turn_run *run, struct site_request *req)
{
    struct span organization = known_organization(run);
    if (!organization.n)
        return ADAPTER_DONE; /* the first chat asks for it: until then the built-in list serves */
    req->method = "GET";
    req->framing = FRAMING_WHOLE;
    req->target = arena_printf(run->arena,
                               "/api/bootstrap/%.*s/app_start?statsig_hashing_algorithm=djb2"
                               "&growthbook_format=sdk&include_system_prompts=false",
                               SPAN_ARGS(organization));
    return claude_web_send(run, req);
}

static int claude_web_list(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct json root;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        return -1;
    return claude_web_put_models(run, known_organization(run), root, sink);
}

static int claude_web_list_refused(struct turn_run *run, int status, struct span content_type,
                                   int retry_after_s, struct span body)
{
    struct claude_web c = {
        .status = status, .content_type = content_type, .retry_after_s = retry_after_s};
    struct json root;
    if (status >= 300 && status < 400)
        return claude_web_redirected(run, status, SPAN(""));
    if (status != 200 || looks_like_html(content_type, body))
        return claude_web_refused(run, &c, body);
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        return nonsense(run, "something that is no list of models");
    if (is_error(root))
        return claude_web_error(run, json_get(root, "error"));
    if (json_is(json_get(root, "account"), JSON_NULL))
        return claude_web_no_organization(run);
    return nonsense(run, "something that is no list of models");
}

static const char *const sign_in[] = {"session_key", "cookie", NULL};

static const struct capability_note notes[] = {
    {CAP_SEARCH, "`-search`"},
    {0},
};

const struct adapter adapter_claude_web = {
    .name = "claude_web",
    .title = "Claude's web app (claude.ai)",
    .origin = "https://claude.ai",
    .credentials = claude_web_credentials,
    .sign_in = sign_in,
    .options = claude_web_options,
    .capabilities =
        CAP_SYSTEM | CAP_IMAGE | CAP_FILE | CAP_REASONING | CAP_SEARCH | CAP_CONVERSATION,
    .notes = notes,
    .needs_account = true,
    .keeps_cookies = true,
    .cool_down_s = 3600,
    .state_size = sizeof(struct claude_web),
    .check_account = check_account,
    .base_model = base_model_id,
    .models = claude_web_models,
    .models_request = claude_web_models_request,
    .models_answer = claude_web_list,
    .models_refused = claude_web_list_refused,
    .models_need_credential = true,
    .models_min_ttl_s = 3600,
    .next = claude_web_next,
    .on_head = claude_web_on_head,
    .on_frame = claude_web_on_frame,
    .on_end = claude_web_on_end,
    .cleanup = claude_web_cleanup,
};
