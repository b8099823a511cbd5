/*
 * adapters/zai.c - chat.z.ai: who we are, what we send (sites/zai.md §1-§7, §10).
 *
 * Two forms: v1 (2025-08), one request; v2 (since 2025-10), create a chat, then stream into it,
 * signed where a signing key is configured. Around them: the guest token that the site offers every
 * visitor, and pictures, which are uploaded before the chat. What the answer means is zai_stream.c,
 * what failures mean zai_errors.c.
 */
#include "adapters/zai.h"

#include <stdio.h>

#include "base/json_write.h"

#define GUEST_TOKEN "guest_token" /* what the account holds */

enum {
    BODY_LIMIT = 256 * 1024 * 1024,
    FRAME_BYTES = 64 * 1024 * 1024,
    TITLE_CHARACTERS = 200,
    SIGNATURE_WINDOW_MS = 300000
};

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

/* ---- models (§3) ---- */

static const struct zai_model {
    struct span id, site_id;
    bool vision, no_search;
} models[] = {
    {SPAN_INIT("glm-4.5"), SPAN_INIT("0727-360B-API"), false, false},
    {SPAN_INIT("glm-4.5-air"), SPAN_INIT("0727-106B-API"), false, false},
    {SPAN_INIT("glm-4.5v"), SPAN_INIT("glm-4.5v"), true, true},
    {SPAN_INIT("glm-4.6"), SPAN_INIT("GLM-4-6-API-V1"), false, false},
    {SPAN_INIT("glm-4.6v"), SPAN_INIT("glm-4.6v"), true, true},
    {SPAN_INIT("glm-4.7"), SPAN_INIT("glm-4.7"), false, false},
    {SPAN_INIT("glm-5"), SPAN_INIT("glm-5"), false, false},
    {SPAN_INIT("glm-5.1"), SPAN_INIT("GLM-5.1"), false, false},
    {SPAN_INIT("glm-5.2"), SPAN_INIT("glm-5.2"), false, false},
    {SPAN_INIT("glm-5.3"), SPAN_INIT("glm-5.3"), false, false},
    {SPAN_INIT("glm-5-turbo"), SPAN_INIT("GLM-5-Turbo"), false, false},
    {SPAN_INIT("glm-5v-turbo"), SPAN_INIT("GLM-5v-Turbo"), true, false},
    {SPAN_INIT("glm-5.3-flash"), SPAN_INIT("x-preview-l"), true, false},
};

static const struct model_entry zai_models[] = {
    {SPAN_INIT("glm-4.5"), {NULL, 0}},       {SPAN_INIT("glm-4.5-air"), {NULL, 0}},
    {SPAN_INIT("glm-4.5v"), {NULL, 0}},      {SPAN_INIT("glm-4.6"), {NULL, 0}},
    {SPAN_INIT("glm-4.6v"), {NULL, 0}},      {SPAN_INIT("glm-4.7"), {NULL, 0}},
    {SPAN_INIT("glm-5"), {NULL, 0}},         {SPAN_INIT("glm-5.1"), {NULL, 0}},
    {SPAN_INIT("glm-5.2"), {NULL, 0}},       {SPAN_INIT("glm-5.3"), {NULL, 0}},
    {SPAN_INIT("glm-5-turbo"), {NULL, 0}},   {SPAN_INIT("glm-5v-turbo"), {NULL, 0}},
    {SPAN_INIT("glm-5.3-flash"), {NULL, 0}}, {{NULL, 0}, {NULL, 0}},
};

static void choose_model(const struct turn_run *run, struct zai *z)
{
    struct model_wish wish = read_model_wish(run);
    struct span id = wish.id;
    bool no_search = false;
    z->thinking = wish.reasoning == REASONING_ON;
    z->effort = wish.effort;
    z->model = z->public_model = id;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (!span_eq(id, models[i].id) && !span_eq(id, models[i].site_id))
            continue;
        z->model = models[i].site_id;
        z->public_model = models[i].id;
        z->vision = models[i].vision;
        z->known_vision = true;
        no_search = models[i].no_search;
    }
    z->search = wish.search && !no_search;
}

/* ---- what every request carries (§4) ---- */

static void add_headers(struct turn_run *run, struct zai *z, struct site_request *req)
{
    const struct site_settings *site = run->site;
    if (z->token.p)
        request_bearer(run, req, z->token);
    site_request_header(req, SPAN("X-FE-Version"),
                        site_option_text(site, "fe_version", default_fe_version));
    site_request_header(req, SPAN("X-Region"), site_option_text(site, "region", SPAN("overseas")));
    site_request_header(req, SPAN("Origin"), site->origin);
    site_request_header(req, SPAN("Referer"),
                        z->chat_id.p ? arena_printf(run->arena, "%.*s/c/%.*s",
                                                    SPAN_ARGS(site->origin), SPAN_ARGS(z->chat_id))
                                     : arena_printf(run->arena, "%.*s/", SPAN_ARGS(site->origin)));
}

/* A JSON body that was written into `body`; frees it. */
static enum adapter_step send_json(struct turn_run *run, struct zai *z, struct site_request *req,
                                   struct buffer *body, struct span accept)
{
    if (!request_body(run, req, body))
        return step_out_of_memory(run);
    req->method = "POST";
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    site_request_header(req, SPAN("Accept"), accept);
    add_headers(run, z, req);
    return request_ready(run, req);
}

/* ---- the token (§2) ---- */

static enum adapter_step ask_guest_token(struct turn_run *run, struct zai *z,
                                         struct site_request *req)
{
    req->method = "GET";
    req->target = SPAN("/api/v1/auths/");
    req->framing = FRAMING_WHOLE;
    req->credential_step = true;
    site_request_header(req, SPAN("Accept"), SPAN("*/*"));
    add_headers(run, z, req);
    return request_ready(run, req);
}

static void read_user_id(struct turn_run *run, struct zai *z)
{
    struct json payload;
    struct span text = jwt_payload(run->arena, z->token);
    z->user_id = span_of("", 0);
    if (text.p && json_parse_lenient(run->json, text, &payload) == JSON_OK &&
        json_get_text(payload, "id").n)
        z->user_id = arena_dup(run->arena, json_get_text(payload, "id"));
}

/* What may stand in a header and in a URL as it is: no blank, no line break, nothing but ASCII. */
static bool is_plain(struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        if ((unsigned char)text.p[i] <= ' ' || (unsigned char)text.p[i] >= 0x7F)
            return false;
    }
    return text.n > 0;
}

static int find_guest_token(struct turn_run *run, struct zai *z)
{
    int missing = token_use_next(run, &z->session, GUEST_TOKEN);
    z->token = z->session.value;
    return missing;
}

static int find_own_token(struct turn_run *run, struct zai *z)
{
    struct span token = account_credential(run->account, "token");
    if (!token.n)
        return fail_set(&run->fail, FAIL_CREDENTIAL,
                        "the account \"%.*s\" has no token: copy `token` from "
                        "chat.z.ai's Local Storage",
                        SPAN_ARGS(run->account->name));
    if (!is_plain(token))
        return fail_set(&run->fail, FAIL_CREDENTIAL,
                        "the token of account \"%.*s\" holds blanks or other characters that no "
                        "token has: copy it again",
                        SPAN_ARGS(run->account->name));
    z->token = arena_dup(run->arena, token);
    return z->token.p ? 0 : fail_memory(&run->fail);
}

/* 0: the token is there; 1: it must be asked for; -1 with run->fail. */
static int find_token(struct turn_run *run, struct zai *z)
{
    int missing = z->guest ? find_guest_token(run, z) : find_own_token(run, z);
    if (missing == 0)
        read_user_id(run, z);
    return missing;
}

/* ---- pictures (§7) ---- */

/* Every reason against a picture is told before any request. */
static int check_pictures(struct turn_run *run, struct zai *z)
{
    if (collect_pictures(run, "chat.z.ai", &z->pictures))
        return -1;
    if (z->pictures.n && z->guest)
        return refuse_picture(
            run, &z->pictures.list[0],
            "guests of chat.z.ai cannot send pictures; configure an account with a token");
    if (z->pictures.n && z->known_vision && !z->vision)
        return refuse_picture(
            run, &z->pictures.list[0],
            "this model of chat.z.ai takes no pictures; glm-4.6v and glm-5v-turbo do");
    return 0;
}

static enum adapter_step upload_picture(struct turn_run *run, struct zai *z,
                                        struct site_request *req)
{
    const struct picture *picture = &z->pictures.list[z->pictures.uploaded];
    struct buffer body;
    struct multipart form = {&body, make_uuid(run)};
    buffer_init(&body, BODY_LIMIT);
    multipart_file(&form, SPAN("file"), picture->filename, picture->mime, picture->bytes);
    multipart_end(&form);
    struct span type = multipart_type(run->arena, &form);
    if (!request_body(run, req, &body) || !form.boundary.p)
        return step_out_of_memory(run);
    req->method = "POST";
    req->target = SPAN("/api/v1/files/");
    req->framing = FRAMING_WHOLE;
    site_request_header(req, SPAN("Content-Type"), type);
    site_request_header(req, SPAN("Accept"), SPAN("*/*"));
    add_headers(run, z, req);
    return request_ready(run, req);
}

/* ---- bodies (§5, §6) ---- */

static void write_text_part(struct json_writer *w, struct span text)
{
    json_begin_object(w);
    json_member(w, "type", SPAN("text"));
    json_member(w, "text", text);
    json_end_object(w);
}

static void write_picture_part(struct json_writer *w, const struct picture *picture)
{
    json_begin_object(w);
    json_member(w, "type", SPAN("image_url"));
    json_key(w, "image_url");
    json_begin_object(w);
    json_member(w, "url", picture->id);
    json_end_object(w);
    json_end_object(w);
}

static const struct picture *picture_of(const struct zai *z, const struct part *part)
{
    for (size_t i = 0; i < z->pictures.n; i++) {
        if (z->pictures.list[i].part == part)
            return &z->pictures.list[i];
    }
    return NULL;
}

/* A message's text; without memory the whole body fails instead of losing it. */
static struct span text_of(struct turn_run *run, struct json_writer *w, const struct message *m)
{
    struct span text = message_text(run->arena, m);
    if (!text.p)
        w->out->error = BUFFER_NOMEM;
    return text;
}

/* A message without pictures is its text; with some it keeps its parts in order. */
static void write_content(struct turn_run *run, struct zai *z, struct json_writer *w,
                          const struct message *m)
{
    bool pictures = false;
    for (size_t i = 0; i < m->n_parts; i++)
        pictures |= m->parts[i].kind == PART_IMAGE;
    if (!pictures) {
        json_string(w, text_of(run, w, m));
        return;
    }
    bool written_form = m->role == ROLE_TOOL || m->n_tool_calls;
    json_begin_array(w);
    if (written_form)
        write_text_part(w, text_of(run, w, m));
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct picture *picture = picture_of(z, &m->parts[i]);
        if (picture)
            write_picture_part(w, picture);
        else if (m->parts[i].text.n && !written_form)
            write_text_part(w, m->parts[i].text);
    }
    json_end_array(w);
}

/* §5's mapping: tool results are told by the user, as the written form of calls has it. */
static void write_native_messages(struct turn_run *run, struct zai *z, struct json_writer *w)
{
    json_begin_array(w);
    for (size_t i = 0; i < run->turn->n_messages; i++) {
        const struct message *m = &run->turn->messages[i];
        json_begin_object(w);
        json_member(w, "role", role_name(m->role == ROLE_TOOL ? ROLE_USER : m->role));
        json_key(w, "content");
        write_content(run, z, w, m);
        json_end_object(w);
    }
    json_end_array(w);
}

/* §6.3: the whole conversation as one user message, pictures of all turns behind it. */
static void write_flat_message(struct zai *z, struct json_writer *w, struct span prompt)
{
    json_begin_array(w);
    json_begin_object(w);
    json_member(w, "role", SPAN("user"));
    json_key(w, "content");
    if (z->pictures.n) {
        json_begin_array(w);
        write_text_part(w, prompt);
        for (size_t i = 0; i < z->pictures.n; i++)
            write_picture_part(w, &z->pictures.list[i]);
        json_end_array(w);
    } else {
        json_string(w, prompt);
    }
    json_end_object(w);
    json_end_array(w);
}

static void write_params(const struct turn *turn, struct json_writer *w)
{
    json_key(w, "params");
    json_begin_object(w);
    if (turn->has_temperature) {
        json_key(w, "temperature");
        json_write_double(w, turn->temperature);
    }
    if (turn->has_top_p) {
        json_key(w, "top_p");
        json_write_double(w, turn->top_p);
    }
    if (turn->has_max_tokens)
        json_member_int(w, "max_tokens", turn->max_tokens);
    if (turn->n_stop) {
        json_key(w, "stop");
        json_begin_array(w);
        for (size_t i = 0; i < turn->n_stop; i++)
            json_string(w, turn->stop[i]);
        json_end_array(w);
    }
    json_end_object(w);
}

static void write_variables(struct turn_run *run, const struct zai *z, struct json_writer *w)
{
    json_key(w, "variables");
    json_begin_object(w);
    json_member(w, "{{USER_NAME}}", SPAN("User"));
    json_member(w, "{{USER_LOCATION}}", SPAN("Unknown"));
    json_member(w, "{{CURRENT_DATETIME}}",
                format_utc(run->arena, run->now_ms, "%Y-%m-%d %H:%M:%S"));
    if (z->v2) {
        json_member(w, "{{CURRENT_DATE}}", format_utc(run->arena, run->now_ms, "%Y-%m-%d"));
        json_member(w, "{{CURRENT_TIME}}", format_utc(run->arena, run->now_ms, "%H:%M:%S"));
        json_member(w, "{{CURRENT_WEEKDAY}}", format_utc(run->arena, run->now_ms, "%A"));
        json_member(w, "{{CURRENT_TIMEZONE}}", SPAN("UTC"));
        json_member(w, "{{USER_LANGUAGE}}", SPAN("en-US"));
    }
    json_end_object(w);
}

static void write_background_tasks(struct json_writer *w)
{
    json_key(w, "background_tasks");
    json_begin_object(w);
    json_member_bool(w, "title_generation", false);
    json_member_bool(w, "tags_generation", false);
    json_end_object(w);
}

static enum adapter_step send_chat_v1(struct turn_run *run, struct zai *z, struct site_request *req)
{
    struct buffer body;
    z->chat_id = make_uuid(run);
    z->message_id = make_uuid(run);
    buffer_init(&body, BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member_bool(&w, "stream", true);
    json_member(&w, "chat_id", z->chat_id);
    json_member(&w, "id", z->message_id);
    json_member(&w, "model", z->model);
    json_key(&w, "messages");
    write_native_messages(run, z, &w);
    write_params(run->turn, &w);
    json_key(&w, "features");
    json_begin_object(&w);
    json_member_bool(&w, "enable_thinking", z->thinking);
    if (z->search) {
        json_member_bool(&w, "web_search", true);
        json_member_bool(&w, "auto_web_search", true);
    }
    json_end_object(&w);
    write_background_tasks(&w);
    json_member_raw(&w, "mcp_servers", SPAN("[]"));
    json_member_raw(&w, "tool_servers", SPAN("[]"));
    json_key(&w, "model_item");
    json_begin_object(&w);
    json_member(&w, "id", z->model);
    json_member(&w, "name", z->public_model);
    json_member(&w, "owned_by", SPAN("openai"));
    json_end_object(&w);
    write_variables(run, z, &w);
    json_end_object(&w);
    req->target = SPAN("/api/chat/completions");
    req->framing = FRAMING_SSE;
    return send_json(run, z, req, &body, SPAN("application/json, text/event-stream"));
}

static bool sends_native_roles(const struct turn_run *run)
{
    return span_eq(site_option_text(run->site, "roles", SPAN("flatten")), SPAN("native"));
}

/* The last user message as it is sent (§6.2), a tool's result being told by the user; {NULL,0}
 * without memory. */
static struct span last_user_text(struct turn_run *run)
{
    const struct turn *turn = run->turn;
    if (!sends_native_roles(run))
        return flatten_messages(run->arena, turn->messages, turn->n_messages);
    for (size_t i = turn->n_messages; i-- > 0;) {
        if (turn->messages[i].role == ROLE_USER || turn->messages[i].role == ROLE_TOOL)
            return message_text(run->arena, &turn->messages[i]);
    }
    return SPAN("");
}

/* The first n characters. */
static struct span first_characters(struct span text, size_t n)
{
    size_t at = 0;
    while (at < text.n && n) {
        at++;
        while (at < text.n && ((unsigned char)text.p[at] & 0xC0) == 0x80)
            at++;
        n--;
    }
    return span_first(text, at);
}

static enum adapter_step create_chat(struct turn_run *run, struct zai *z, struct site_request *req)
{
    struct buffer body;
    z->user_message_id = make_uuid(run);
    buffer_init(&body, BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    struct span title = first_characters(last_user_text(run), TITLE_CHARACTERS);
    json_begin_object(&w);
    json_key(&w, "chat");
    json_begin_object(&w);
    json_member(&w, "id", SPAN(""));
    json_member(&w, "title", SPAN("New Chat"));
    json_key(&w, "models");
    json_begin_array(&w);
    json_string(&w, z->model);
    json_end_array(&w);
    json_member_raw(&w, "params", SPAN("{}"));
    json_key(&w, "history");
    json_begin_object(&w);
    json_key(&w, "messages");
    json_begin_object(&w);
    json_key_span(&w, z->user_message_id);
    json_begin_object(&w);
    json_member(&w, "id", z->user_message_id);
    json_member_raw(&w, "parentId", SPAN("null"));
    json_member_raw(&w, "childrenIds", SPAN("[]"));
    json_member(&w, "role", SPAN("user"));
    json_member(&w, "content", title);
    json_member_int(&w, "timestamp", run->now_ms / 1000);
    json_key(&w, "models");
    json_begin_array(&w);
    json_string(&w, z->model);
    json_end_array(&w);
    json_end_object(&w);
    json_end_object(&w);
    json_member(&w, "currentId", z->user_message_id);
    json_end_object(&w);
    json_member_raw(&w, "tags", SPAN("[]"));
    json_member_raw(&w, "flags", SPAN("[]"));
    json_member_raw(
        &w, "features",
        SPAN(
            "[{\"type\":\"tool_selector\",\"server\":\"tool_selector_h\",\"status\":\"hidden\"}]"));
    json_member_raw(&w, "mcp_servers", SPAN("[]"));
    json_member_bool(&w, "enable_thinking", z->thinking);
    json_member_bool(&w, "auto_web_search", z->search);
    json_member_int(&w, "message_version", 1);
    json_member_raw(&w, "extra", SPAN("{}"));
    json_member_int(&w, "timestamp", run->now_ms);
    json_end_object(&w);
    json_end_object(&w);
    req->target = SPAN("/api/v1/chats/new");
    req->framing = FRAMING_WHOLE;
    return send_json(run, z, req, &body, SPAN("*/*"));
}

/* §6.2, Signature. */
static struct span signature(struct turn_run *run, struct span request_id, struct span user_id,
                             struct span prompt, int64_t ms)
{
    struct span key = site_option_text(run->site, "signing_key", span_of(NULL, 0));
    struct arena *a = run->arena;
    if (!key.n)
        return span_of(NULL, 0);
    struct span window = arena_printf(a, "%lld", (long long)(ms / SIGNATURE_WINDOW_MS));
    struct span data = arena_printf(a, "requestId,%.*s,timestamp,%lld,user_id,%.*s|%.*s|%lld",
                                    SPAN_ARGS(request_id), (long long)ms, SPAN_ARGS(user_id),
                                    SPAN_ARGS(base64_encode(a, prompt)), (long long)ms);
    return hmac_sha256_hex(a, hmac_sha256_hex(a, key, window), data);
}

static struct span chat_target(struct turn_run *run, const struct zai *z, struct span request_id,
                               int64_t ms)
{
    struct buffer t;
    char number[24];
    int digits = snprintf(number, sizeof number, "%lld", (long long)ms);
    struct span time = span_of(number, (size_t)digits);
    struct span path = arena_printf(run->arena, "/c/%.*s", SPAN_ARGS(z->chat_id));
    struct span url =
        arena_printf(run->arena, "%.*s%.*s", SPAN_ARGS(run->site->origin), SPAN_ARGS(path));
    const struct {
        const char *name;
        struct span value;
    } fields[] = {
        {"timestamp", time},        {"requestId", request_id}, {"user_id", z->user_id},
        {"version", SPAN("0.0.1")}, {"platform", SPAN("web")}, {"token", z->token},
        {"current_url", url},       {"pathname", path},        {"signature_timestamp", time},
    };
    buffer_init(&t, 256 * 1024);
    buffer_append(&t, SPAN("/api/v2/chat/completions"));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        buffer_printf(&t, "%c%s=", i ? '&' : '?', fields[i].name);
        percent_encode(&t, fields[i].value);
    }
    struct span target = t.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&t));
    buffer_free(&t);
    return target;
}

static void write_files(struct turn_run *run, const struct zai *z, struct json_writer *w)
{
    json_key(w, "files");
    json_begin_array(w);
    for (size_t i = 0; i < z->pictures.n; i++) {
        const struct picture *p = &z->pictures.list[i];
        json_begin_object(w);
        json_member(w, "type", SPAN("image"));
        json_member_raw(w, "file", p->answer);
        json_member(w, "id", p->id);
        json_member(w, "url",
                    arena_printf(run->arena, "/api/v1/files/%.*s/content", SPAN_ARGS(p->id)));
        json_member(w, "name", p->filename);
        json_member(w, "status", SPAN("uploaded"));
        json_member_int(w, "size", (int64_t)p->bytes.n);
        json_member(w, "error", SPAN(""));
        json_member(w, "itemId", make_uuid(run));
        json_member(w, "media", SPAN("image"));
        json_member(w, "ref_user_msg_id", z->user_message_id);
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_features_v2(const struct zai *z, struct json_writer *w)
{
    json_key(w, "features");
    json_begin_object(w);
    json_member_bool(w, "image_generation", false);
    json_member_bool(w, "web_search", false);
    json_member_bool(w, "auto_web_search", z->search);
    json_member_bool(w, "preview_mode", true);
    json_member_raw(w, "flags", SPAN("[]"));
    json_member_bool(w, "enable_thinking", z->thinking);
    /* Only models that list the capability take an effort; of the known ones it is the newest. */
    if (z->thinking && span_starts(z->public_model, SPAN("glm-5.3"))) {
        if (z->effort == EFFORT_HIGH)
            json_member(w, "reasoning_effort", SPAN("high"));
        else if (z->effort > EFFORT_HIGH)
            json_member(w, "reasoning_effort", SPAN("max"));
    }
    json_end_object(w);
}

static enum adapter_step send_chat_v2(struct turn_run *run, struct zai *z, struct site_request *req)
{
    struct buffer body;
    struct span prompt = last_user_text(run), request_id = make_uuid(run);
    struct span signed_prompt = span_trim(prompt); /* the site trims it too before it signs */
    z->message_id = make_uuid(run);
    if (!prompt.p || !request_id.p)
        return step_out_of_memory(run);
    buffer_init(&body, BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member_bool(&w, "stream", true);
    json_member(&w, "model", z->model);
    json_key(&w, "messages");
    if (sends_native_roles(run))
        write_native_messages(run, z, &w);
    else
        write_flat_message(z, &w, prompt);
    json_member(&w, "signature_prompt", signed_prompt);
    write_params(run->turn, &w);
    json_member_raw(&w, "extra", SPAN("{}"));
    write_features_v2(z, &w);
    write_variables(run, z, &w);
    json_member(&w, "chat_id", z->chat_id);
    json_member(&w, "id", z->message_id);
    json_member(&w, "current_user_message_id", z->user_message_id);
    json_member_raw(&w, "current_user_message_parent_id", SPAN("null"));
    write_background_tasks(&w);
    if (z->pictures.n)
        write_files(run, z, &w);
    if (span_eq(z->model, SPAN("glm-4.6v")))
        json_member_raw(
            &w, "mcp_servers",
            SPAN("[\"vlm-image-search\",\"vlm-image-recognition\",\"vlm-image-processing\"]"));
    json_end_object(&w);
    req->target = chat_target(run, z, request_id, run->now_ms);
    req->secret_target = true;
    req->framing = FRAMING_SSE;
    struct span sign = signature(run, request_id, z->user_id, signed_prompt, run->now_ms);
    if (!req->target.p) {
        buffer_free(&body);
        return step_out_of_memory(run);
    }
    if (sign.p)
        site_request_header(req, SPAN("X-Signature"), sign);
    return send_json(run, z, req, &body, SPAN("*/*"));
}

/* ---- the steps ---- */

static enum adapter_step begin(struct turn_run *run, struct zai *z)
{
    struct span api = site_option_text(
        run->site, "api", site_option(run->site, "signing_key") ? SPAN("v2") : SPAN("v1"));
    z->v2 = span_eq(api, SPAN("v2"));
    z->guest = run->account->guest;
    zai_stream_init(&z->stream);
    choose_model(run, z);
    z->at = ZAI_TOKEN;
    return check_pictures(run, z) ? ADAPTER_FAILED : ADAPTER_SEND;
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
        missing = find_token(run, z);
        if (missing)
            return missing < 0 ? ADAPTER_FAILED : ask_guest_token(run, z, req);
        z->at = ZAI_UPLOAD;
        __attribute__((fallthrough));
    case ZAI_UPLOAD:
        if (z->pictures.uploaded < z->pictures.n)
            return upload_picture(run, z, req);
        z->at = z->v2 ? ZAI_NEW_CHAT : ZAI_CHAT;
        if (z->v2)
            return create_chat(run, z, req);
        __attribute__((fallthrough));
    case ZAI_CHAT: return z->v2 ? send_chat_v2(run, z, req) : send_chat_v1(run, z, req);
    case ZAI_NEW_CHAT: return create_chat(run, z, req);
    case ZAI_OVER: break;
    }
    return ADAPTER_DONE;
}

/* ---- answers ---- */

/* A refused guest token is never used again, and replaced once in a turn (§2); everything else
 * stands as it was classified. */
static enum adapter_verdict renew_or_fail(struct turn_run *run, struct zai *z)
{
    if (run->fail.kind != FAIL_CREDENTIAL || !z->guest || z->at == ZAI_TOKEN)
        return ADAPTER_FAIL;
    /* What it says of a token that this turn itself obtained does not count: the site's session may
     * have ended while the chat was made, and one more try is what the site is asked for. */
    token_use_refused(run, &z->session, GUEST_TOKEN);
    if (z->renewed || zai_stream_has_text(&z->stream))
        return ADAPTER_FAIL;
    z->renewed = true;
    fail_clear(&run->fail);
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
    z->content_type = arena_dup(run->arena, head->content_type);
    if (looks_like_html(head->content_type, span_of(NULL, 0)))
        return zai_fail_http(run, head->status, head->content_type, 0, span_of(NULL, 0));
    bool good = head->status == 200 || (z->at == ZAI_NEW_CHAT && head->status == 201);
    if (!good || site_head_is(head, "application/json"))
        *framing = FRAMING_WHOLE;
    z->whole = *framing == FRAMING_WHOLE;
    return z->content_type.p ? ADAPTER_GO_ON : fail_memory(&run->fail);
}

static enum adapter_verdict take_token(struct turn_run *run, struct zai *z, struct json root)
{
    struct span token = json_get_text(root, "token");
    if (!token_can_be_sent(token))
        return fail_set(
            &run->fail, FAIL_UNAVAILABLE,
            "chat.z.ai gave no guest token; a token of your own account works without one");
    if (token_use_obtained(run, &z->session, GUEST_TOKEN, token, 0))
        return ADAPTER_FAIL;
    return ADAPTER_COMPLETE; /* still ZAI_TOKEN: now it is held */
}

/* The answer becomes a part of our own body, so it is read strictly and written anew. */
static enum adapter_verdict take_upload(struct turn_run *run, struct zai *z, struct span body)
{
    struct picture *picture = &z->pictures.list[z->pictures.uploaded];
    struct buffer answer;
    struct json root;
    if (json_parse(run->json, body, &root) != JSON_OK)
        return fail_set(&run->fail, FAIL_PROTOCOL,
                        "chat.z.ai answered the upload of a picture with broken JSON");
    struct span name = json_get_text(root, "filename");
    picture->id = arena_dup(run->arena, json_get_text(root, "id"));
    if (name.n)
        picture->filename = arena_dup(run->arena, name);
    buffer_init(&answer, FRAME_BYTES);
    json_dump(&answer, root);
    picture->answer = answer.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&answer));
    buffer_free(&answer);
    if (!picture->id.p || !picture->answer.p || !picture->filename.p)
        return fail_memory(&run->fail);
    if (!is_plain(picture->id))
        return fail_set(&run->fail, FAIL_PROTOCOL,
                        "chat.z.ai answered the upload of a picture without an id");
    z->pictures.uploaded++;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict take_chat(struct turn_run *run, struct zai *z, struct json root)
{
    struct span id = json_get_text(root, "id");
    if (!is_path_id(id)) /* chats/ and chats/. mean all chats (§10) */
        return fail_set(&run->fail, FAIL_PROTOCOL,
                        "chat.z.ai created a chat without telling its id");
    z->chat_id = arena_dup(run->arena, id);
    if (!z->chat_id.p)
        return fail_memory(&run->fail);
    z->created = true;
    z->at = ZAI_CHAT;
    return ADAPTER_COMPLETE;
}

/* Whole bodies: the steps before the stream, and every failure that HTTP tells. */
static enum adapter_verdict whole_answer(struct turn_run *run, struct zai *z, struct span body)
{
    struct json root;
    bool good = z->status == 200 || (z->at == ZAI_NEW_CHAT && z->status == 201);
    bool json = json_parse_lenient(run->json, body, &root) == JSON_OK && json_is(root, JSON_OBJECT);
    if (!good || !json || z->at == ZAI_CHAT || json_is(zai_event_error(root), JSON_OBJECT)) {
        if (good && !json && !looks_like_html(z->content_type, body))
            fail_set(&run->fail, FAIL_PROTOCOL,
                     "chat.z.ai answered with something that is not JSON");
        else
            zai_fail_http(run, z->status, z->content_type, z->retry_after_s, body);
        return renew_or_fail(run, z);
    }
    if (z->at == ZAI_TOKEN)
        return take_token(run, z, root);
    return z->at == ZAI_UPLOAD ? take_upload(run, z, body) : take_chat(run, z, root);
}

static enum adapter_verdict zai_on_frame(struct turn_run *run, const struct frame *frame)
{
    struct zai *z = run->state;
    if (z->whole)
        return whole_answer(run, z, frame->data);
    enum adapter_verdict verdict = zai_stream_event(run, z, frame->data);
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
    return fail_set(&run->fail, end == END_CUT ? FAIL_CUT : FAIL_PROTOCOL,
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
    add_headers(run, z, req);
    z->chat_id = span_of(NULL, 0);
    return request_ready(run, req) == ADAPTER_SEND ? ADAPTER_SEND : ADAPTER_DONE;
}

static void zai_destroy(struct turn_run *run)
{
    struct zai *z = run->state;
    if (z->at != ZAI_BEGIN)
        zai_stream_free(&z->stream);
}

/* ---- the model list (§3) ---- */

static enum adapter_step zai_models_request(struct turn_run *run, struct site_request *req)
{
    struct zai z = {.guest = run->account->guest};
    struct span token = z.guest ? account_held(run->account, GUEST_TOKEN, run->now_ms, 0)
                                : account_credential(run->account, "token");
    if (!is_plain(token))
        return ADAPTER_DONE; /* a guest who has not spoken yet: the built-in list serves */
    z.token = arena_dup(run->arena, token);
    req->method = "GET";
    req->target = SPAN("/api/models");
    req->framing = FRAMING_WHOLE;
    site_request_header(req, SPAN("Accept"), SPAN("*/*"));
    add_headers(run, &z, req);
    return request_ready(run, req);
}

static bool is_built_in(struct span site_id)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (span_eq(models[i].site_id, site_id))
            return true;
    }
    return false;
}

/* A live id that is not in the table is offered under its name: lower case, blanks as `-`. */
static int zai_models_answer(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct json root;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK ||
        !json_is(json_get(root, "data"), JSON_ARRAY))
        return -1;
    struct json_iter it = json_each(json_get(root, "data"));
    while (json_next(&it)) {
        struct span id = json_get_text(it.value, "id"), name = json_get_text(it.value, "name");
        if (!name.n)
            name = json_get_text(json_get(it.value, "info"), "name");
        if (!is_plain(id) || is_built_in(id) ||
            !json_bool(json_path(it.value, "info", "is_active"), true))
            continue;
        struct span public = arena_dup(run->arena, name.n ? name : id);
        char *text = (char *)(uintptr_t) public.p;
        mend_lone_surrogates(text, public.n);
        for (size_t i = 0; i < public.n; i++)
            text[i] = (unsigned char)text[i] <= ' '      ? '-'
                      : text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32)
                                                         : text[i];
        if (public.p && sink->put(sink->owner, &(struct model_entry){public, id}))
            return -1;
    }
    return 0;
}

const struct adapter adapter_zai = {
    .name = "zai",
    .title = "Z.ai (chat.z.ai)",
    .origin = "https://chat.z.ai",
    .credentials = zai_credentials,
    .options = zai_options,
    .capabilities = CAP_SYSTEM | CAP_IMAGE | CAP_REASONING | CAP_SEARCH | CAP_USAGE,
    .offers_guest = true,
    .needs_account = true,
    .max_concurrent = 1,
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
