/*
 * adapters/zai_body.c - what we send for a chat, in both forms (sites/zai.md §5, §6).
 *
 * The hard part is v2's: the conversation goes as one message, the request's target repeats half of
 * it, and where a signing key is configured, a signature covers the prompt as the site trims it.
 */
#include "adapters/zai.h"

#include <stdio.h>

#include "base/date.h"
#include "base/json_write.h"

enum { TITLE_CHARACTERS = 200, SIGNATURE_WINDOW_MS = 300000 };

/* ---- messages ---- */

static void write_text_part(struct json_writer *w, struct span text)
{
    json_begin_object(w);
    json_raw_value(w, SPAN("\"type\":\"text\""));
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

/* ---- what both forms have ---- */

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

static void put_two(char *to, int v)
{
    to[0] = (char)('0' + v / 10 % 10);
    to[1] = (char)('0' + v % 10);
}

/* "2026-11-21 17:02:44" */
static void write_datetime(struct json_writer *w, int64_t now_ms)
{
    char text[] = "\"0000-00-00 00:00:00\"", *at = text + 1;
    int64_t seconds = now_ms / 1000;
    struct calendar_day date = date_of_day(seconds / 86400);
    int second = (int)(seconds % 86400);
    put_two(at, date.year / 100);
    put_two(at + 2, date.year % 100);
    put_two(at + 5, date.month);
    put_two(at + 8, date.day);
    put_two(at + 11, second / 3600);
    put_two(at + 14, second / 60 % 60);
    put_two(at + 17, second % 60);
    json_raw_value(w, span_of(text, sizeof text - 1));
}

static void write_variables(struct turn_run *run, const struct zai *z, struct json_writer *w)
{
    json_key(w, "variables");
    json_begin_object(w);
    json_raw_value(w, SPAN("\"{{USER_NAME}}\":\"User\",\"{{USER_LOCATION}}\":\"Unknown\""));
    json_key(w, "{{CURRENT_DATETIME}}");
    write_datetime(w, run->now_ms);
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
    json_member_raw(w, "background_tasks",
                    SPAN("{\"title_generation\":false,\"tags_generation\":false}"));
}

/* ---- the first form (§5) ---- */

enum adapter_step zai_send_chat_v1(struct turn_run *run, struct zai *z, struct site_request *req)
{
    struct buffer own, *body = request_body_begin(run, &own, ZAI_BODY_LIMIT);
    z->chat_id = make_uuid(run);
    z->message_id = make_uuid(run);
    struct json_writer w = json_writer(body);
    json_begin_object(&w);
    json_raw_value(&w, SPAN("\"stream\":true"));
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
    json_raw_value(&w, SPAN("\"mcp_servers\":[],\"tool_servers\":[]"));
    json_key(&w, "model_item");
    json_begin_object(&w);
    json_member(&w, "id", z->model);
    json_member(&w, "name", z->public_model);
    json_raw_value(&w, SPAN("\"owned_by\":\"openai\""));
    json_end_object(&w);
    write_variables(run, z, &w);
    json_end_object(&w);
    req->target = SPAN("/api/chat/completions");
    req->framing = FRAMING_SSE;
    return zai_send_json(run, z, req, body, SPAN("application/json, text/event-stream"));
}

/* ---- the second form (§6) ---- */

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

enum adapter_step zai_create_chat(struct turn_run *run, struct zai *z, struct site_request *req)
{
    struct buffer body;
    z->user_message_id = make_uuid(run);
    buffer_init(&body, ZAI_BODY_LIMIT);
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
    return zai_send_json(run, z, req, &body, SPAN("*/*"));
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

enum adapter_step zai_send_chat_v2(struct turn_run *run, struct zai *z, struct site_request *req)
{
    struct span prompt = last_user_text(run), request_id = make_uuid(run);
    struct span signed_prompt = span_trim(prompt); /* the site trims it too before it signs */
    z->message_id = make_uuid(run);
    if (!prompt.p || !request_id.p)
        return step_out_of_memory(run);
    struct buffer own, *body = request_body_begin(run, &own, ZAI_BODY_LIMIT);
    struct json_writer w = json_writer(body);
    json_begin_object(&w);
    json_raw_value(&w, SPAN("\"stream\":true"));
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
        request_body_drop(run, body);
        return step_out_of_memory(run);
    }
    if (sign.p)
        site_request_header(req, SPAN("X-Signature"), sign);
    return zai_send_json(run, z, req, body, SPAN("*/*"));
}

enum adapter_verdict zai_take_chat(struct turn_run *run, struct zai *z, struct json root)
{
    struct span id = json_get_text(root, "id");
    if (!is_path_id(id)) /* chats/ and chats/. mean all chats (§10) */
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "chat.z.ai created a chat without telling its id");
    z->chat_id = arena_dup(run->arena, id);
    if (!z->chat_id.p)
        return fail_memory(run->fail);
    z->created = true;
    z->at = ZAI_CHAT;
    return ADAPTER_COMPLETE;
}
