/*
 * gateway/structured_output.c - see structured_output.h.
 */
#include "gateway/structured_output.h"

#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/chat_body.h"
#include "gateway/json_schema.h"

enum { TEXT_LIMIT = 1 << 30 };

#define SCHEMA_FIELD "response_format.json_schema"

/* ---- the wish ---- */

static bool allows(struct json schema, const char *type)
{
    struct json types = json_get(schema, "type");
    struct json_iter it = json_each(types);
    if (json_is(types, JSON_STRING))
        return span_eq(json_text(types), span_str(type));
    while (json_next(&it)) {
        if (span_eq(json_text(it.value), span_str(type)))
            return true;
    }
    return json_is(types, JSON_MISSING);
}

/* What its type leaves open. Objects are nearly all that is ever asked for. */
static void read_shape(struct structured_wish *wish, struct json schema)
{
    static const char *const scalars[] = {"string", "number", "integer", "boolean", "null", NULL};
    bool has_members = !json_is(json_get(schema, "properties"), JSON_MISSING);
    bool untyped = json_is(json_get(schema, "type"), JSON_MISSING);
    wish->may_be_array = allows(schema, "array") && !(untyped && has_members);
    for (const char *const *type = scalars; *type; type++)
        wish->may_be_scalar |= allows(schema, *type) && !(untyped && has_members);
}

static int check_schema(struct json schema, struct fail *fail)
{
    struct json_schema_report report = {0};
    if (json_is(schema, JSON_OBJECT) && json_schema_check(schema, &report) == 0)
        return 0;
    if (!json_is(schema, JSON_OBJECT))
        return fail_param(fail, FAIL_INVALID_VALUE, SCHEMA_FIELD ".schema",
                          "the schema must be an object");
    return fail_param(fail, FAIL_INVALID_VALUE, SCHEMA_FIELD ".schema",
                      "the schema is no JSON Schema: %s", report.text);
}

/* A text of the document, or "". */
static struct span keep_text(struct arena *arena, struct json object, const char *key)
{
    struct span text = json_get_text(object, key);
    return text.n ? arena_dup(arena, text) : span_of("", 0);
}

int structured_wish_read(struct arena *arena, struct json_parser *json, const struct turn *turn,
                         struct structured_wish *wish, struct fail *fail)
{
    struct json format;
    *wish = (struct structured_wish){.name = SPAN(""), .description = SPAN("")};
    int error = json_parse(json, turn->response_format_raw, &format);
    if (error == JSON_NOMEM)
        return fail_memory(fail);
    if (error)
        return fail_param(fail, FAIL_INVALID_VALUE, "response_format",
                          "response_format is no JSON object");
    if (!span_eq(json_get_text(format, "type"), SPAN("json_schema")))
        return 0;
    struct json described = json_get(format, "json_schema");
    struct json schema = json_get(described, "schema");
    if (!json_is(described, JSON_OBJECT))
        return fail_param(fail, FAIL_INVALID_VALUE, SCHEMA_FIELD,
                          SCHEMA_FIELD " must be an object");
    if (json_is(schema, JSON_MISSING) || json_is(schema, JSON_NULL)) /* it is optional */
        return 0;
    if (check_schema(schema, fail))
        return -1;
    read_shape(wish, schema);
    wish->name = keep_text(arena, described, "name");
    wish->description = keep_text(arena, described, "description");
    struct buffer compact;
    buffer_init(&compact, TEXT_LIMIT);
    if (json_dump(&compact, schema) == 0)
        wish->schema = arena_dup(arena, buffer_span(&compact));
    buffer_free(&compact);
    return wish->schema.p && wish->name.p && wish->description.p ? 0 : fail_memory(fail);
}

/* ---- the instruction ---- */

static void write_instruction(struct buffer *out, const struct turn *turn,
                              const struct structured_wish *wish)
{
    bool value = wish->may_be_array || wish->may_be_scalar;
    buffer_printf(out,
                  "Your answer must be one JSON %s and nothing else: no words before or after it, "
                  "no Markdown code fence, no comments.",
                  value ? "value" : "object");
    if (wish->schema.p) {
        buffer_append(out, SPAN(" It must conform to this JSON Schema"));
        if (wish->name.n) {
            buffer_append(out, SPAN(", which is called \""));
            buffer_append(out, wish->name);
            buffer_char(out, '"');
        }
        buffer_append(out, SPAN(":\n"));
        buffer_append(out, wish->schema);
        if (wish->description.n) {
            buffer_append(out, SPAN("\nWhat it is for: "));
            buffer_append(out, wish->description);
        }
        buffer_append(out, SPAN("\nGive all members that are required, and none that the schema "
                                "does not know. Do not repeat the schema."));
    }
    if (turn->tools_wanted)
        buffer_append(out, SPAN("\nThis is said of your answer only: calls of functions keep their "
                                "own form."));
}

struct span structured_complaint(struct arena *arena, const struct structured_wish *wish,
                                 struct span error)
{
    return arena_printf(
        arena,
        "Your answer was not what was asked for. What is wrong with it: %.*s\nGive the whole "
        "answer once more, corrected: %s, and nothing else.",
        SPAN_ARGS(error), wish->schema.p ? "JSON that conforms to the schema" : "one JSON object");
}

/* ---- the turn ---- */

/* The messages with the instruction in them, into the turn. 0, or -1 when memory is short. */
static int add_instruction(struct arena *arena, struct turn *turn, struct span instruction)
{
    const struct message *old = turn->messages;
    bool merges = turn->n_messages && old[0].role == ROLE_SYSTEM;
    size_t n = turn->n_messages + !merges, n_parts = (merges ? old[0].n_parts : 0) + 1;
    struct message *list = arena_alloc(arena, n * sizeof *list);
    struct part *parts = arena_alloc(arena, n_parts * sizeof *parts);
    if (!list || !parts)
        return -1;
    if (turn->n_messages)
        memcpy(list + !merges, old, turn->n_messages * sizeof *list);
    if (merges && n_parts > 1)
        memcpy(parts, old[0].parts, (n_parts - 1) * sizeof *parts);
    if (!merges)
        list[0] = (struct message){.role = ROLE_SYSTEM, .index = -1};
    parts[n_parts - 1] = (struct part){.kind = PART_TEXT, .text = instruction};
    list[0].parts = parts;
    list[0].n_parts = n_parts;
    turn->messages = list;
    turn->n_messages = n;
    return 0;
}

/* The body as the client sent it, but with the new messages and without the format. */
static int rewrite_body(struct arena *arena, struct turn *turn, struct span old, struct fail *fail)
{
    struct buffer out;
    struct span written;
    if (chat_body_write(arena, turn, &written, fail))
        return -1;
    struct span messages = json_raw_get(written, "messages");
    buffer_init(&out, TEXT_LIMIT);
    buffer_char(&out, '{');
    struct json_raw_iter it = json_raw_each(old);
    while (json_raw_next(&it)) {
        bool list = json_raw_key_is(it.key, SPAN("messages"));
        if (!json_raw_key_is(it.key, SPAN("response_format")))
            json_raw_append_member(&out, it.key, list ? messages : it.value);
    }
    buffer_char(&out, '}');
    turn->raw = out.error ? span_of(NULL, 0) : arena_dup(arena, buffer_span(&out));
    buffer_free(&out);
    return turn->raw.p ? 0 : fail_memory(fail);
}

const struct turn *structured_turn(struct arena *arena, const struct turn *asked,
                                   const struct structured_wish *wish, struct fail *fail)
{
    struct buffer text;
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    buffer_init(&text, TEXT_LIMIT);
    if (asked->n_messages && asked->messages[0].role == ROLE_SYSTEM && asked->messages[0].n_parts)
        buffer_char(&text, '\n'); /* an empty line between */
    write_instruction(&text, asked, wish);
    struct span instruction = text.error ? span_of(NULL, 0) : arena_dup(arena, buffer_span(&text));
    buffer_free(&text);
    if (turn)
        *turn = *asked;
    if (!turn || !instruction.p || add_instruction(arena, turn, instruction)) {
        fail_memory(fail);
        return NULL;
    }
    turn->response_format_raw = span_of(NULL, 0);
    return asked->raw.p && rewrite_body(arena, turn, asked->raw, fail) ? NULL : turn;
}
