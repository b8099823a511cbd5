/*
 * gateway/responses_items.c - the items of a Responses request: messages, calls, their outputs,
 * reasoning.
 */
#include "gateway/responses_reader.h"

#include <stdio.h>

#include "gateway/request_body.h"
#include "gateway/sealed_reasoning.h"

static int read_role(struct responses_reader *r, struct span raw, int index, enum role *role)
{
    static const struct {
        struct span name;
        enum role role;
    } roles[] = {{SPAN_INIT("user"), ROLE_USER},
                 {SPAN_INIT("assistant"), ROLE_ASSISTANT},
                 {SPAN_INIT("system"), ROLE_SYSTEM},
                 {SPAN_INIT("developer"), ROLE_SYSTEM}};
    struct span name = {NULL, 0};
    responses_be_at(r, index, "role");
    if (responses_text_member(r, raw, "role", RESPONSES_HERE, &name))
        return -1;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (span_eq(name, roles[i].name)) {
            *role = roles[i].role;
            return 0;
        }
    }
    return responses_invalid(r, RESPONSES_HERE, "one of user, assistant, system, developer");
}

static int read_message(struct responses_reader *r, struct span raw, int index)
{
    enum role role;
    struct part *parts = NULL;
    size_t n;
    if (read_role(r, raw, index, &role) ||
        responses_read_parts(r, json_raw_given(raw, "content"), index, "content", &parts, &n))
        return -1;
    if (role == ROLE_ASSISTANT) {
        if (!responses_open_answer(r, index, true))
            return -1;
        for (size_t i = 0; i < n; i++) {
            struct part *p = responses_add_answer_part(r);
            if (!p)
                return -1;
            *p = parts[i];
        }
        return 0;
    }
    if (responses_close_answer(r))
        return -1;
    struct message *m = responses_add_message(r, role, index);
    if (!m)
        return -1;
    m->parts = parts;
    m->n_parts = n;
    return 0;
}

/* The plain text of a custom tool's call as the JSON that functions have. */
static int wrap_custom_input(struct responses_reader *r, struct span raw, struct span *arguments)
{
    struct buffer out;
    buffer_init(&out, RESPONSES_TEXT_LIMIT);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    json_member_raw(&w, "input", json_raw_is_text(raw) ? raw : SPAN("\"\""));
    json_end_object(&w);
    *arguments = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    return arguments->p ? 0 : fail_memory(r->fail);
}

static int read_call(struct responses_reader *r, struct span raw, int index, bool custom)
{
    struct tool_call call = {.arguments = SPAN("{}")};
    struct span arguments = json_raw_given(raw, custom ? "input" : "arguments");
    if (responses_text_member(r, raw, "call_id", RESPONSES_HERE, &call.id) ||
        (!call.id.n && responses_text_member(r, raw, "id", RESPONSES_HERE, &call.id)) ||
        responses_text_member(r, raw, "name", RESPONSES_HERE, &call.name))
        return -1;
    if (!call.name.n)
        return responses_invalid(r, RESPONSES_HERE, "a call with a string \"name\"");
    if (custom ? wrap_custom_input(r, arguments, &call.arguments)
               : json_raw_is_text(arguments) && responses_read_text(r, arguments, &call.arguments))
        return -1;
    if (!custom && json_raw_is_object(arguments))
        call.arguments = arguments;
    struct span extra = json_raw_given(raw, "extra_content");
    if (json_raw_is_object(extra))
        call.extra_content = extra;
    if (responses_count_parts(r, 1) || !responses_open_answer(r, index, false))
        return -1;
    struct tool_call *list = responses_room_for_one(r->arena, r->calls, r->open->n_tool_calls,
                                                    &r->cap_calls, sizeof *list);
    if (!list)
        return fail_memory(r->fail);
    r->calls = list;
    call.after = r->open->n_parts;
    list[r->open->n_tool_calls++] = call;
    return 0;
}

static int read_call_output(struct responses_reader *r, struct span raw, int index)
{
    struct part *parts = NULL;
    struct span id = {NULL, 0};
    size_t n;
    if (responses_text_member(r, raw, "call_id", RESPONSES_HERE, &id) ||
        responses_read_parts(r, json_raw_given(raw, "output"), index, "output", &parts, &n) ||
        responses_close_answer(r))
        return -1;
    responses_be_at(r, index, NULL);
    if (!id.n)
        return responses_invalid(r, RESPONSES_HERE, "an output with a string \"call_id\"");
    struct message *m = responses_add_message(r, ROLE_TOOL, index);
    if (!m)
        return -1;
    m->tool_call_id = id;
    m->parts = parts;
    m->n_parts = n;
    return 0;
}

/* All texts of a list of {"text"}, in `out`. */
static int append_texts(struct responses_reader *r, struct span list, struct span between,
                        struct buffer *out)
{
    struct json_raw_iter it = json_raw_each(list);
    while (json_raw_is_array(list) && json_raw_next(&it)) {
        struct span raw = json_raw_given(it.value, "text"), text;
        if (!json_raw_is_object(it.value) || !json_raw_is_text(raw))
            continue;
        if (responses_read_text(r, raw, &text))
            return -1;
        if (out->n)
            buffer_append(out, between);
        buffer_append(out, text);
    }
    return 0;
}

/* The reasoning's own text where the item has it, else its summary. */
static int read_thinking(struct responses_reader *r, struct span raw, struct span *text)
{
    struct buffer out;
    buffer_init(&out, RESPONSES_TEXT_LIMIT);
    int bad = append_texts(r, json_raw_given(raw, "content"), SPAN(""), &out);
    if (!bad && !out.n)
        bad = append_texts(r, json_raw_given(raw, "summary"), SPAN("\n\n"), &out);
    *text = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    return bad ? -1 : text->p ? 0 : fail_memory(r->fail);
}

static int read_reasoning(struct responses_reader *r, struct span raw, int index)
{
    struct span text, encrypted = {NULL, 0};
    struct sealed_reasoning sealed = {0};
    struct span given = json_raw_given(raw, "encrypted_content");
    if (read_thinking(r, raw, &text) ||
        (json_raw_is_text(given) && responses_read_text(r, given, &encrypted)))
        return -1;
    bool ours = encrypted.n && sealed_reasoning_read(r->json, r->arena, encrypted, &sealed);
    bool proven = ours && sealed.signature.n && sealed.text_hash == span_hash(SPAN_HASH, text);
    if (!text.n && !sealed.redacted.n && !proven)
        return 0;
    if (!responses_open_answer(r, index, false))
        return -1;
    struct part *part = responses_add_answer_part(r);
    if (!part)
        return -1;
    *part = sealed.redacted.n ? (struct part){.kind = PART_REDACTED, .signature = sealed.redacted}
                              : (struct part){.kind = PART_THINKING,
                                              .text = text,
                                              .signature = proven ? sealed.signature : SPAN("")};
    return 0;
}

/* What tools of OpenAI's own left behind: no site knows them, and the answer's text tells what came
 * of it. */
static bool is_passed_over(struct span type)
{
    static const char *const types[] = {
        "web_search_call",
        "file_search_call",
        "computer_call",
        "computer_call_output",
        "code_interpreter_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "tool_search_call",
        "tool_search_output",
        "ghost_snapshot",
        "compaction",
        "compaction_summary",
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (span_eq(type, span_str(types[i])))
            return true;
    }
    return false;
}

int responses_read_item(struct responses_reader *r, struct span raw, int index)
{
    char where[RESPONSES_WHERE_MAX];
    struct span type = {NULL, 0};
    responses_be_at(r, index, NULL);
    if (++r->n_items > REQUEST_MESSAGES_MAX)
        return request_body_too_many_messages(r->fail, "input");
    if (!json_raw_is_object(raw))
        return responses_invalid(r, RESPONSES_HERE, "an object");
    if (responses_text_member(r, raw, "type", RESPONSES_HERE, &type))
        return -1;
    if (!type.n || span_eq(type, SPAN("message")))
        return read_message(r, raw, index);
    if (span_eq(type, SPAN("function_call")))
        return read_call(r, raw, index, false);
    if (span_eq(type, SPAN("custom_tool_call")))
        return read_call(r, raw, index, true);
    if (span_eq(type, SPAN("function_call_output")) ||
        span_eq(type, SPAN("custom_tool_call_output")))
        return read_call_output(r, raw, index);
    if (span_eq(type, SPAN("reasoning")))
        return read_reasoning(r, raw, index);
    if (is_passed_over(type))
        return 0;
    const char *param = responses_where(r, RESPONSES_HERE, where);
    return fail_param(r->fail, FAIL_INVALID_VALUE, param,
                      "%s has the unknown type \"%.*s\"; known are message, function_call, "
                      "function_call_output, custom_tool_call, custom_tool_call_output, reasoning, "
                      "item_reference",
                      param, SPAN_ARGS(span_first(type, 40)));
}
