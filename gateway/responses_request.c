/*
 * gateway/responses_request.c - see responses_request.h. The body as a whole, and its parameters;
 * items and tools have files of their own (responses_reader.h).
 */
#include "gateway/responses_request.h"

#include "adapters/support.h"
#include "gateway/chat_body.h"
#include "gateway/reasoning_wish.h"
#include "gateway/request_body.h"
#include "gateway/responses_reader.h"

enum { ECHO_LIMIT = 1 << 30 };

/* ---- parameters ---- */

static int read_limit(struct responses_reader *r)
{
    struct turn *t = r->turn;
    double limit = 0;
    if (responses_number_member(r, "max_output_tokens", &t->has_max_tokens, &limit))
        return -1;
    if (!t->has_max_tokens)
        return 0;
    if (!(limit >= 1 && limit <= 9e15) || limit != (double)(int64_t)limit)
        return responses_invalid(r, "max_output_tokens", "an integer of at least 1");
    t->max_tokens = (int64_t)limit;
    t->max_includes_reasoning = true;
    return 0;
}

static int read_effort(struct responses_reader *r)
{
    struct span reasoning = json_members_given(r->top, "reasoning");
    if (reasoning.p && !json_raw_is_object(reasoning))
        return responses_invalid(r, "reasoning", "an object with \"effort\"");
    struct span effort = json_raw_given(reasoning, "effort");
    if (effort.p && !json_raw_is_text(effort))
        return responses_invalid(r, "reasoning.effort", "a string");
    return reasoning_wish_read(r->json, r->arena, r->top, r->turn, r->fail);
}

/* text.format is flat, the chat API's response_format is nested. */
static int read_format(struct responses_reader *r, struct span format)
{
    static const char *const members[] = {"name", "description", "schema", "strict", NULL};
    struct span type = {NULL, 0};
    struct buffer out;
    if (!json_raw_is_object(format))
        return responses_invalid(r, "text.format", "an object with a \"type\"");
    if (responses_text_member(r, format, "type", "text.format.type", &type))
        return -1;
    if (span_eq(type, SPAN("text")))
        return 0;
    bool schema = span_eq(type, SPAN("json_schema"));
    if (!schema && !span_eq(type, SPAN("json_object")))
        return responses_invalid(r, "text.format.type", "text, json_object or json_schema");
    if (schema && !json_raw_is_object(json_raw_given(format, "schema")))
        return responses_invalid(r, "text.format.schema", "an object");
    buffer_init(&out, RESPONSES_TEXT_LIMIT);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    json_member(&w, "type", type);
    if (schema) {
        json_key(&w, "json_schema");
        json_begin_object(&w);
        responses_copy_members(&w, format, members);
        json_end_object(&w);
    }
    json_end_object(&w);
    r->turn->response_format_raw =
        out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    return r->turn->response_format_raw.p ? 0 : fail_memory(r->fail);
}

static int read_text_field(struct responses_reader *r)
{
    struct span text = json_members_given(r->top, "text");
    if (!text.p)
        return 0;
    if (!json_raw_is_object(text))
        return responses_invalid(r, "text", "an object with \"format\"");
    struct span format = json_raw_given(text, "format");
    return format.p ? read_format(r, format) : 0;
}

static int read_include(struct responses_reader *r)
{
    struct span include = json_members_given(r->top, "include"),
                top = json_members_given(r->top, "top_logprobs");
    struct json_raw_iter it = json_raw_each(include);
    if (include.p && !json_raw_is_array(include))
        return responses_invalid(r, "include", "an array");
    bool logprobs = json_raw_is_number(top) && !span_eq(top, SPAN("0"));
    while (json_raw_next(&it)) {
        r->request->encrypted |= span_eq(it.value, SPAN("\"reasoning.encrypted_content\""));
        logprobs |= span_eq(it.value, SPAN("\"message.output_text.logprobs\""));
    }
    return logprobs ? responses_unsupported(
                          r, json_raw_is_number(top) ? "top_logprobs" : "include",
                          "logprobs are not possible here; /v1/chat/completions has them "
                          "for some sites")
                    : 0;
}

/* What only OpenAI's own service has. */
static int refuse_foreign(struct responses_reader *r)
{
    if (span_eq(json_members_given(r->top, "background"), SPAN("true")))
        return responses_unsupported(
            r, "background",
            "answers in the background are not possible: ask with \"stream\": true");
    if (json_members_given(r->top, "conversation").p)
        return responses_unsupported(r, "conversation",
                                     "conversations are not kept here; use previous_response_id");
    if (json_members_given(r->top, "prompt").p)
        return responses_unsupported(
            r, "prompt",
            "prompts stored at OpenAI are not known here; send instructions and "
            "input");
    return 0;
}

static int read_parameters(struct responses_reader *r)
{
    struct turn *t = r->turn;
    struct span metadata = json_members_given(r->top, "metadata");
    r->request->store = true;
    if (metadata.p && !json_raw_is_object(metadata))
        return responses_invalid(r, "metadata", "an object");
    return refuse_foreign(r) || responses_bool_member(r, "store", &r->request->store) ||
                   responses_number_member(r, "temperature", &t->has_temperature,
                                           &t->temperature) ||
                   responses_number_member(r, "top_p", &t->has_top_p, &t->top_p) || read_limit(r) ||
                   read_effort(r) || read_text_field(r) || read_include(r) ||
                   responses_read_tool_fields(r)
               ? -1
               : 0;
}

/* ---- told back in every Response ---- */

static void echo_member(struct json_writer *w, const struct json_members *body, const char *key,
                        struct span otherwise)
{
    struct span value = json_members_given(body, key);
    json_member_raw(w, key, value.p ? value : otherwise);
}

static void echo_reasoning(struct json_writer *w, const struct json_members *body)
{
    struct json_members given;
    json_members_read(&given, json_members_given(body, "reasoning"));
    json_key(w, "reasoning");
    json_begin_object(w);
    echo_member(w, &given, "effort", SPAN("null"));
    echo_member(w, &given, "summary", SPAN("null"));
    json_end_object(w);
}

static void echo_text(struct json_writer *w, const struct json_members *body)
{
    struct json_members given;
    json_members_read(&given, json_members_given(body, "text"));
    json_key(w, "text");
    json_begin_object(w);
    echo_member(w, &given, "format", SPAN("{\"type\":\"text\"}"));
    echo_member(w, &given, "verbosity", SPAN("\"medium\""));
    json_end_object(w);
}

static int write_echo(struct responses_reader *r)
{
    struct buffer out;
    buffer_init(&out, ECHO_LIMIT);
    struct json_writer w = json_writer(&out);
    echo_member(&w, r->top, "instructions", SPAN("null"));
    echo_member(&w, r->top, "max_output_tokens", SPAN("null"));
    echo_member(&w, r->top, "max_tool_calls", SPAN("null"));
    echo_member(&w, r->top, "metadata", SPAN("{}"));
    echo_member(&w, r->top, "parallel_tool_calls", SPAN("true"));
    echo_member(&w, r->top, "previous_response_id", SPAN("null"));
    echo_member(&w, r->top, "prompt_cache_key", SPAN("null"));
    echo_reasoning(&w, r->top);
    echo_member(&w, r->top, "safety_identifier", SPAN("null"));
    json_member(&w, "service_tier", SPAN("default"));
    echo_member(&w, r->top, "temperature", SPAN("1"));
    echo_text(&w, r->top);
    echo_member(&w, r->top, "tool_choice", SPAN("\"auto\""));
    echo_member(&w, r->top, "tools", SPAN("[]"));
    json_member_int(&w, "top_logprobs", 0);
    echo_member(&w, r->top, "top_p", SPAN("1"));
    echo_member(&w, r->top, "truncation", SPAN("\"disabled\""));
    echo_member(&w, r->top, "user", SPAN("null"));
    r->request->echo = out.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&out));
    buffer_free(&out);
    return r->request->echo.p ? 0 : fail_memory(r->fail);
}

/* ---- the body ---- */

/* Fields that the chat API knows by the same meaning, behind what every turn has. */
static int add_chat_fields(struct responses_reader *r)
{
    struct span chat, verbosity = json_raw_given(json_members_given(r->top, "text"), "verbosity");
    static const char *const members[] = {"user", "safety_identifier", "service_tier"};
    struct buffer out;
    if (chat_body_write(r->arena, r->turn, &chat, r->fail))
        return -1;
    buffer_init(&out, RESPONSES_TEXT_LIMIT);
    struct json_writer w = json_writer(&out);
    if (json_raw_is_text(verbosity))
        json_member_raw(&w, "verbosity", verbosity);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        struct span value = json_members_given(r->top, members[i]);
        if (value.p)
            json_member_raw(&w, members[i], value);
    }
    if (out.error) {
        buffer_free(&out);
        return fail_memory(r->fail);
    }
    r->turn->raw = chat;
    if (out.n) {
        struct buffer whole;
        buffer_init(&whole, RESPONSES_TEXT_LIMIT);
        buffer_append(&whole, span_first(chat, chat.n - 1)); /* without the last brace */
        buffer_char(&whole, ',');
        buffer_append(&whole, buffer_span(&out));
        buffer_char(&whole, '}');
        r->turn->raw = whole.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&whole));
        buffer_free(&whole);
    }
    buffer_free(&out);
    return r->turn->raw.p ? 0 : fail_memory(r->fail);
}

int responses_request_parse(struct json_parser *json, struct arena *arena, char *body, size_t n,
                            const struct response_found *found, size_t n_found, struct turn *turn,
                            struct responses_request *request, struct fail *fail)
{
    struct json_members top;
    struct responses_reader r = {.json = json,
                                 .arena = arena,
                                 .turn = turn,
                                 .request = request,
                                 .top = &top,
                                 .found = found,
                                 .n_found = n_found,
                                 .fail = fail};
    struct span object;
    *turn = (struct turn){.n = 1, .dialect = DIALECT_OPENAI, .include_usage = true};
    *request = (struct responses_request){0};
    if (request_body_open(json, body, n, &object, fail))
        return -1;
    if (request_body_members(&top, object, fail) ||
        request_body_model(json, arena, json_members_given(&top, "model"), &turn->model, fail) ||
        responses_bool_member(&r, "stream", &turn->stream) ||
        request_body_text_given(json, arena, json_members_given(&top, "previous_response_id"),
                                "previous_response_id", &request->previous, fail))
        return -1;
    return responses_read_messages(&r) || read_parameters(&r) || write_echo(&r) ||
                   add_chat_fields(&r)
               ? -1
               : 0;
}

/* ---- before it is read ---- */

static int list_references(struct arena *arena, struct span input, struct response_wish *wish,
                           struct fail *fail)
{
    size_t n = 0;
    struct json_raw_iter it = json_raw_each(input);
    struct span *list = arena_alloc(arena, RESPONSE_REFERENCES_MAX * sizeof *list);
    if (!list)
        return fail_memory(fail);
    while (json_raw_is_array(input) && json_raw_next(&it)) {
        struct span id =
            responses_is_reference(it.value) ? json_raw_given(it.value, "id") : SPAN("");
        if (!json_raw_is_text(id))
            continue;
        struct span response = responses_id_of_item(arena, span_of(id.p + 1, id.n - 2));
        bool known = !response.p;
        for (size_t i = 0; i < n && !known; i++)
            known = span_eq(list[i], response);
        if (known)
            continue;
        if (n == RESPONSE_REFERENCES_MAX)
            return fail_param(fail, FAIL_INVALID_VALUE, "input",
                              "input refers to items of more than %d responses; use "
                              "previous_response_id",
                              RESPONSE_REFERENCES_MAX);
        list[n++] = response;
    }
    wish->references = list;
    wish->n_references = n;
    return 0;
}

int responses_request_needs(struct json_parser *json, struct arena *arena, char *body, size_t n,
                            struct response_wish *wish, struct fail *fail)
{
    struct span text = span_of(body, n), object;
    struct fail ignored;
    *wish = (struct response_wish){0};
    if (span_find(text, SPAN("previous_response_id")) < 0 &&
        span_find(text, SPAN("item_reference")) < 0)
        return 0;
    if (request_body_open(json, body, n, &object, &ignored))
        return 0;
    struct span previous = json_raw_given(object, "previous_response_id");
    if (json_raw_is_text(previous) &&
        request_body_text(json, arena, previous, &wish->previous, fail))
        return -1;
    return list_references(arena, json_raw_given(object, "input"), wish, fail);
}
