/*
 * adapters/qwen_body.c - what we send to chat.qwen.ai: a chat is made, then one message that holds
 * the whole conversation goes into it (sites/qwen.md §5.1, §5.2). Where the chat goes on, what is
 * new goes behind its last answer.
 */
#include "adapters/qwen.h"

/* ---- the prompt ---- */

static const struct prompt_marks labels = {
    .head = {SPAN_INIT("System"), SPAN_INIT("User"), SPAN_INIT("Assistant"), SPAN_INIT("Tool")},
    .tail = SPAN_INIT(": "),
    .between = SPAN_INIT("\n\n"),
    .answer = SPAN_INIT("\n\nAssistant:"),
    .number_pictures = true,
};
static const struct prompt_marks human = {
    .head = {SPAN_INIT("System"), SPAN_INIT("Human"), SPAN_INIT("Assistant"), SPAN_INIT("Tool")},
    .tail = SPAN_INIT(": "),
    .between = SPAN_INIT("\n\n"),
    .answer = SPAN_INIT("\n\nAssistant:"),
    .bare_opening = true,
    .number_pictures = true,
};
static const struct prompt_marks lines = {
    .head = {SPAN_INIT("system"), SPAN_INIT("user"), SPAN_INIT("assistant"), SPAN_INIT("tool")},
    .tail = SPAN_INIT(": "),
    .between = SPAN_INIT("\n"),
    .answer = SPAN_INIT(""),
    .number_pictures = true,
};

struct span qwen_prompt(struct turn_run *run)
{
    struct span option = site_option_text(run->site, "flatten_marks", SPAN("labels"));
    const struct prompt_marks *marks = span_eq(option, SPAN("human"))   ? &human
                                       : span_eq(option, SPAN("lines")) ? &lines
                                                                        : &labels;
    return flatten_with(run->arena, marks, run->turn->messages, run->turn->n_messages);
}

/* ---- making a chat (§5.1) ---- */

static struct span chat_mode(const struct turn_run *run)
{
    return run->account->guest ? SPAN("guest") : SPAN("normal");
}

static struct span chat_type(const struct qwen *c)
{
    return c->wish.search ? SPAN("search") : SPAN("t2t");
}

static void write_model_list(struct json_writer *w, const struct qwen *c)
{
    json_key(w, "models");
    json_begin_array(w);
    json_string(w, c->wish.id);
    json_end_array(w);
}

enum adapter_step qwen_create_chat(struct turn_run *run, struct qwen *c, struct site_request *req)
{
    struct buffer body;
    buffer_init(&body, QWEN_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "title", SPAN("New Chat"));
    write_model_list(&w, c);
    json_member(&w, "chat_mode", chat_mode(run));
    json_member(&w, "chat_type", chat_type(c));
    json_member_int(&w, "timestamp", run->now_ms);
    json_member(&w, "project_id", SPAN(""));
    json_end_object(&w);
    req->target = SPAN("/api/v2/chats/new");
    req->framing = FRAMING_WHOLE;
    return qwen_post_json(run, c, req, &body, SPAN("/c/new-chat"));
}

enum adapter_verdict qwen_take_chat(struct turn_run *run, struct qwen *c, struct json root)
{
    struct span id = json_get_text(json_get(root, "data"), "id");
    if (!json_bool(json_get(root, "success"), false))
        return qwen_fail_object(run, root);
    if (!is_path_id(id))
        return fail_set(run->fail, FAIL_UNAVAILABLE, "chat.qwen.ai made a chat without an id");
    c->chat_id = arena_dup(run->arena, id);
    if (!c->chat_id.p)
        return fail_memory(run->fail);
    c->at = QWEN_CHAT;
    return ADAPTER_COMPLETE;
}

/* ---- the message (§5.2) ---- */

/* The site's own tools would run unasked. */
static void write_no_tools(struct json_writer *w)
{
    static const char *const switches[] = {"code_interpreter", "plugins_enabled",
                                           "function_calling", "enable_tools",
                                           "enable_function_call"};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        json_member_bool(w, switches[i], false);
    json_member(w, "tool_choice", SPAN("none"));
}

static void write_features(const struct qwen *c, struct json_writer *w)
{
    bool thinking = c->wish.reasoning == REASONING_ON;
    json_begin_object(w);
    json_member_bool(w, "thinking_enabled", thinking);
    json_member_bool(w, "auto_thinking", thinking);
    json_member(w, "thinking_mode", thinking ? SPAN("Thinking") : SPAN("Fast"));
    if (thinking)
        json_member(w, "thinking_format", SPAN("detail"));
    if (thinking && c->wish.budget)
        json_member_int(w, "thinking_budget", c->wish.budget);
    json_member(w, "output_schema", SPAN("phase")); /* without it all text is lost */
    json_member(w, "research_mode", SPAN("normal"));
    json_member_bool(w, "auto_search", c->wish.search);
    write_no_tools(w);
    json_end_object(w);
}

static void write_files(struct turn_run *run, const struct qwen *c, struct json_writer *w)
{
    json_key(w, "files");
    json_begin_array(w);
    for (size_t i = 0; i < c->pictures.n; i++) {
        struct span entry = qwen_file_entry(run, &c->pictures.list[i]);
        if (entry.p)
            json_raw_value(w, entry);
        else
            w->out->error = BUFFER_NOMEM;
    }
    json_end_array(w);
}

static void write_parent(struct json_writer *w, const struct qwen *c, const char *key)
{
    if (c->parent.n)
        json_member(w, key, c->parent);
    else
        json_member_raw(w, key, SPAN("null"));
}

static void write_message(struct turn_run *run, const struct qwen *c, struct json_writer *w,
                          struct span prompt)
{
    json_begin_object(w);
    json_member(w, "fid", make_uuid(run));
    write_parent(w, c, "parentId");
    write_parent(w, c, "parent_id");
    json_key(w, "childrenIds");
    json_begin_array(w);
    json_string(w, make_uuid(run));
    json_end_array(w);
    json_member(w, "role", SPAN("user"));
    json_member(w, "content", prompt);
    json_member(w, "user_action", SPAN("chat"));
    write_files(run, c, w);
    json_member_int(w, "timestamp", run->now_ms / 1000);
    write_model_list(w, c);
    json_member(w, "chat_type", chat_type(c));
    json_member(w, "sub_chat_type", chat_type(c));
    json_key(w, "extra");
    json_begin_object(w);
    json_key(w, "meta");
    json_begin_object(w);
    json_member(w, "subChatType", chat_type(c));
    json_end_object(w);
    json_end_object(w);
    json_key(w, "feature_config");
    write_features(c, w);
    json_end_object(w);
}

enum adapter_step qwen_send_chat(struct turn_run *run, struct qwen *c, struct site_request *req)
{
    struct buffer body;
    struct span prompt = qwen_prompt(run);
    if (!prompt.p)
        return step_out_of_memory(run);
    buffer_init(&body, QWEN_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member_bool(&w, "stream", true);
    json_member(&w, "version", SPAN("2.1"));
    json_member_bool(&w, "incremental_output", true);
    json_member(&w, "chat_id", c->chat_id);
    json_member(&w, "chat_mode", chat_mode(run));
    json_member(&w, "model", c->wish.id);
    write_parent(&w, c, "parent_id");
    json_key(&w, "messages");
    json_begin_array(&w);
    write_message(run, c, &w, prompt);
    json_end_array(&w);
    json_member_int(&w, "timestamp", run->now_ms / 1000);
    json_end_object(&w);
    req->target =
        arena_printf(run->arena, "/api/v2/chat/completions?chat_id=%.*s", SPAN_ARGS(c->chat_id));
    req->framing = FRAMING_SSE;
    site_request_header(req, SPAN("X-Accel-Buffering"), SPAN("no"));
    return qwen_post_json(run, c, req, &body,
                          arena_printf(run->arena, "/c/%.*s", SPAN_ARGS(c->chat_id)));
}
