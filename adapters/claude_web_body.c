/*
 * adapters/claude_web_body.c - what we send to claude.ai: a conversation, uploads, and one prompt
 * that holds the whole history, or what is new in a conversation that goes on
 * (sites/claude_web.md §4).
 */
#include "adapters/claude_web.h"

#include "base/json_write.h"

/* ---- what every request carries ---- */

/* The bare value is preferred: a whole line of a browser's cookies may be refused (§2). */
static struct span cookies(struct turn_run *run)
{
    struct span key = account_credential(run->account, "session_key");
    if (key.n)
        return arena_printf(run->arena, "sessionKey=%.*s", SPAN_ARGS(key));
    return account_credential(run->account, "cookie");
}

enum adapter_step claude_web_send(struct turn_run *run, struct site_request *req)
{
    struct span accept = req->framing == FRAMING_SSE ? SPAN("text/event-stream") : SPAN("*/*");
    site_request_header(req, SPAN("Cookie"), cookies(run));
    site_request_header(req, SPAN("Accept"), accept);
    site_request_header(req, SPAN("Origin"), run->site->origin);
    site_request_header(req, SPAN("Referer"),
                        arena_printf(run->arena, "%.*s/new", SPAN_ARGS(run->site->origin)));
    return request_ready(run, req);
}

enum adapter_step claude_web_post_json(struct turn_run *run, struct site_request *req,
                                       struct buffer *body)
{
    req->method = "POST";
    if (!request_body(run, req, body))
        return step_out_of_memory(run);
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    return claude_web_send(run, req);
}

/* ---- the conversation (§4.1) ---- */

enum adapter_step claude_web_create(struct turn_run *run, struct claude_web *c,
                                    struct site_request *req)
{
    struct buffer body;
    c->conversation = make_uuid(run);
    if (!c->conversation.p)
        return step_out_of_memory(run);
    buffer_init(&body, CLAUDE_WEB_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "uuid", c->conversation);
    json_member(&w, "name", SPAN(""));
    json_member(&w, "model", c->model);
    json_member_bool(&w, "is_temporary",
                     !c->lasting && !site_option_bool(run->site, "keep_chats", false));
    json_member_bool(&w, "include_conversation_preferences", false);
    if (c->thinking)
        json_member(&w, "paprika_mode", SPAN("extended"));
    json_end_object(&w);
    req->target = arena_printf(run->arena, "/api/organizations/%.*s/chat_conversations",
                               SPAN_ARGS(c->organization));
    req->framing = FRAMING_WHOLE;
    return claude_web_post_json(run, req, &body);
}

#define TEMPORARY "temporary"
#define LASTING   "lasting"

void claude_web_tell_conversation(struct turn_run *run, const struct claude_web *c)
{
    struct span kind = c->temporary ? SPAN(TEMPORARY) : SPAN(LASTING);
    tell_conversation(run, (struct span[]){c->conversation, c->stream.answer, kind}, 3);
}

int claude_web_go_on(struct turn_run *run, struct claude_web *c)
{
    struct span ids[3];
    int held = read_conversation(run, "claude.ai", ids, 3);
    if (held <= 0)
        return held;
    c->conversation = ids[0];
    c->parent = ids[1];
    c->temporary = !span_eq(ids[2], SPAN(LASTING));
    return 1;
}

/* ---- uploads (§4.2) ---- */

static bool is_text_type(struct span mime)
{
    static const struct span others[] = {SPAN_INIT("application/json"),
                                         SPAN_INIT("application/xml"),
                                         SPAN_INIT("application/javascript")};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (span_eq_nocase(mime, others[i]))
            return true;
    }
    return span_eq_nocase(span_first(mime, 5), SPAN("text/"));
}

static const struct span inside = SPAN_INIT("inside");

/* Text travels inside the message: no upload, no id. */
static bool is_text(const struct picture *upload) { return upload->answer.p == inside.p; }

static void find_texts(struct pictures *uploads)
{
    for (size_t i = 0; i < uploads->n; i++) {
        struct picture *upload = &uploads->list[i];
        if (upload->part->kind == PART_FILE && is_text_type(upload->mime) &&
            json_valid_utf8(upload->bytes))
            upload->answer = inside;
    }
}

/* The first message behind the assistant's last one. */
static size_t last_turn(const struct turn *turn)
{
    size_t i = turn->n_messages;
    while (i > 0 && turn->messages[i - 1].role != ROLE_ASSISTANT)
        i--;
    return i;
}

int claude_web_collect(struct turn_run *run, struct claude_web *c)
{
    bool old = site_option_bool(run->site, "old_images", true);
    if (collect_uploads_since(run, "claude.ai", old ? 0 : last_turn(run->turn), &c->uploads))
        return -1;
    find_texts(&c->uploads);
    return 0;
}

struct picture *claude_web_next_upload(struct claude_web *c)
{
    struct pictures *u = &c->uploads;
    while (u->uploaded < u->n && is_text(&u->list[u->uploaded]))
        u->uploaded++;
    return u->uploaded < u->n ? &u->list[u->uploaded] : NULL;
}

enum adapter_step claude_web_upload(struct turn_run *run, struct claude_web *c,
                                    struct site_request *req)
{
    const struct picture *upload = claude_web_next_upload(c);
    struct buffer body;
    struct multipart form = {&body, make_uuid(run)};
    buffer_init(&body, CLAUDE_WEB_BODY_LIMIT);
    multipart_file(&form, SPAN("file"), upload->filename, upload->mime, upload->bytes);
    if (!multipart_post(run, req, &form))
        return step_out_of_memory(run);
    req->target =
        c->wiggle ? arena_printf(run->arena,
                                 "/api/organizations/%.*s/conversations/%.*s/wiggle/upload-file",
                                 SPAN_ARGS(c->organization), SPAN_ARGS(c->conversation))
                  : arena_printf(run->arena, "/api/%.*s/upload", SPAN_ARGS(c->organization));
    return claude_web_send(run, req);
}

/* ---- the message (§4.3, §4.4) ---- */

static const struct prompt_marks marks = {
    .head = {SPAN_INIT("System"), SPAN_INIT("Human"), SPAN_INIT("Assistant"), SPAN_INIT("Human")},
    .tail = SPAN_INIT(": "),
    .between = SPAN_INIT("\n\n"),
    .joined = SPAN_INIT("\n"),
    .answer = SPAN_INIT("\n\nAssistant:"),
    .bare_opening = true,
};

/* An empty prompt is good only with attachments; pictures alone are named then. */
static struct span write_prompt(struct turn_run *run)
{
    struct prompt_marks numbered = marks;
    const struct turn *turn = run->turn;
    struct span prompt = flatten_with(run->arena, &marks, turn->messages, turn->n_messages);
    if (!prompt.p || span_trim(prompt).n)
        return prompt;
    numbered.number_pictures = true;
    return flatten_with(run->arena, &numbered, turn->messages, turn->n_messages);
}

static void write_attachment(struct json_writer *w, struct span name, struct span type,
                             struct span content)
{
    json_begin_object(w);
    json_member(w, "file_name", name);
    json_member(w, "file_type", type);
    json_member_int(w, "file_size", (int64_t)content.n);
    json_member(w, "extracted_content", content);
    json_end_object(w);
}

static void write_attachments(struct json_writer *w, const struct claude_web *c, struct span pasted)
{
    json_key(w, "attachments");
    json_begin_array(w);
    if (pasted.n)
        write_attachment(w, SPAN("paste.txt"), SPAN("txt"), pasted);
    for (size_t i = 0; i < c->uploads.n; i++) {
        const struct picture *upload = &c->uploads.list[i];
        if (is_text(upload))
            write_attachment(w, upload->filename, upload->mime, upload->bytes);
    }
    json_end_array(w);
}

static void write_files(struct json_writer *w, const struct claude_web *c)
{
    json_key(w, "files");
    json_begin_array(w);
    for (size_t i = 0; i < c->uploads.n; i++) {
        if (c->uploads.list[i].id.n)
            json_string(w, c->uploads.list[i].id);
    }
    json_end_array(w);
}

static struct span effort(enum effort wanted)
{
    switch (wanted) {
    case EFFORT_MINIMAL:
    case EFFORT_LOW: return SPAN("low");
    case EFFORT_MEDIUM: return SPAN("medium");
    case EFFORT_XHIGH:
    case EFFORT_MAX: return SPAN("max");
    default: return SPAN("high");
    }
}

static void write_wishes(struct json_writer *w, const struct claude_web *c, const struct turn *turn)
{
    json_member(w, "thinking_mode", c->thinking ? c->thinking_mode : SPAN("off"));
    if (c->thinking)
        json_member(w, "effort", effort(c->effort));
    if (c->search) /* an empty list may be refused */
        json_member_raw(w, "tools", SPAN("[{\"type\":\"web_search_v0\",\"name\":\"web_search\"}]"));
    if (turn->has_max_tokens)
        json_member_int(w, "max_tokens_to_sample", turn->max_tokens);
}

enum adapter_step claude_web_chat(struct turn_run *run, struct claude_web *c,
                                  struct site_request *req)
{
    struct buffer body;
    struct span prompt = write_prompt(run);
    bool pasted =
        span_eq(site_option_text(run->site, "history", SPAN("prompt")), SPAN("attachment"));
    if (!prompt.p)
        return step_out_of_memory(run);
    buffer_init(&body, CLAUDE_WEB_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "prompt", pasted ? SPAN("") : prompt);
    json_member(&w, "model", c->model);
    json_member(&w, "timezone", SPAN("UTC"));
    json_member(&w, "locale", SPAN("en-US"));
    json_member(&w, "rendering_mode", SPAN("messages"));
    write_attachments(&w, c, pasted ? prompt : SPAN(""));
    write_files(&w, c);
    json_member_raw(&w, "sync_sources", SPAN("[]"));
    if (c->parent.n)
        json_member(&w, "parent_message_uuid", c->parent);
    write_wishes(&w, c, run->turn);
    json_end_object(&w);
    req->target =
        arena_printf(run->arena, "/api/organizations/%.*s/chat_conversations/%.*s/completion",
                     SPAN_ARGS(c->organization), SPAN_ARGS(c->conversation));
    req->framing = FRAMING_SSE;
    c->asked = true;
    return claude_web_post_json(run, req, &body);
}
