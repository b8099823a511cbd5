/*
 * adapters/support_prompt.c - conversations as text, for sites that take one message
 * (adapters/support.h).
 *
 * Nothing of the history is lost: roles, names, tool calls and their results all have a written
 * form. That of calls is the common one of support_tools.c.
 */
#include "adapters/support.h"

#include <stdio.h>

enum { PROMPT_LIMIT = 256 * 1024 * 1024 };

/* What stands before the client's list of messages. */
static const char *place_before(const struct turn *turn)
{
    return turn->dialect == DIALECT_ANTHROPIC ? "system" : "previous_response_id";
}

void part_place(const struct turn *turn, const struct message *m, const struct part *part,
                char place[PART_PLACE_SIZE])
{
    if (m->index < 0)
        snprintf(place, PART_PLACE_SIZE, "%s", place_before(turn));
    else
        snprintf(place, PART_PLACE_SIZE, "%s[%d].%s[%d]", turn->list ? turn->list : "messages",
                 m->index, turn->list && m->role == ROLE_TOOL ? "output" : "content", part->index);
}

void message_place(const struct turn *turn, const struct message *m, const char *behind,
                   char place[PART_PLACE_SIZE])
{
    if (m->index < 0)
        snprintf(place, PART_PLACE_SIZE, "%s", place_before(turn));
    else if (turn->list)
        snprintf(place, PART_PLACE_SIZE, "%s[%d]", turn->list, m->index);
    else
        snprintf(place, PART_PLACE_SIZE, "messages[%d].%s", m->index, behind);
}

int call_arguments(struct turn_run *run, const struct message *m, size_t k, struct span *arguments)
{
    struct json root;
    char param[PART_PLACE_SIZE], behind[64];
    *arguments = span_trim(m->tool_calls[k].arguments);
    if (arguments->n == 0)
        *arguments = SPAN("{}");
    if (json_parse(run->json, *arguments, &root) == JSON_OK && json_is(root, JSON_OBJECT))
        return 0;
    snprintf(behind, sizeof behind, "tool_calls[%zu].function.arguments", k);
    message_place(run->turn, m, behind, param);
    return fail_param(run->fail, FAIL_INVALID_VALUE, param,
                      "%s must be the text of a JSON object: %.*s takes no other arguments", param,
                      SPAN_ARGS(run->site->name));
}

struct span role_name(enum role role)
{
    static const struct span names[] = {SPAN_INIT("system"), SPAN_INIT("user"),
                                        SPAN_INIT("assistant"), SPAN_INIT("tool")};
    return names[role];
}

static void line_break(struct buffer *out, size_t since)
{
    if (out->n > since)
        buffer_char(out, '\n');
}

/* `pictures` counts them where the prompt numbers them, else it is NULL. */
static void write_message(struct buffer *out, const struct message *m, struct span tool,
                          int *pictures)
{
    size_t start = out->n;
    bool result = m->role == ROLE_TOOL;
    if (result)
        tool_text_begin_result(out, m->tool_call_id, tool, m->is_error);
    size_t inside = out->n;
    for (size_t i = 0; i < m->n_parts; i++) {
        bool text = m->parts[i].kind == PART_TEXT || m->parts[i].kind == PART_REFUSAL;
        bool picture = pictures && m->parts[i].kind == PART_IMAGE;
        if (text || picture)
            line_break(out, inside);
        if (text && result)
            tool_text_inner(out, m->parts[i].text);
        else if (text)
            buffer_append(out, m->parts[i].text);
        if (picture)
            buffer_printf(out, "[image %d]", ++*pictures);
    }
    if (result)
        tool_text_end_result(out);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        line_break(out, start);
        tool_text_call(out, &m->tool_calls[i]);
    }
}

static struct span finished(struct arena *arena, struct buffer *out)
{
    struct span text = out->error ? span_of(NULL, 0) : arena_dup(arena, buffer_span(out));
    buffer_free(out);
    return text;
}

struct span message_text(struct arena *arena, const struct message *m)
{
    struct buffer out;
    if (m->role != ROLE_TOOL && m->n_tool_calls == 0) {
        if (m->n_parts == 0)
            return span_of("", 0);
        if (m->n_parts == 1 && m->parts[0].kind == PART_TEXT)
            return m->parts[0].text;
    }
    buffer_init(&out, PROMPT_LIMIT);
    write_message(&out, m, m->name, NULL);
    return finished(arena, &out);
}

/* A result seldom names its tool; the latest call of that id before it does. */
static struct span tool_of(const struct message *messages, size_t at)
{
    const struct message *m = &messages[at];
    if (m->role != ROLE_TOOL || m->name.n)
        return m->name;
    while (at-- > 0) {
        for (size_t k = 0; k < messages[at].n_tool_calls; k++) {
            const struct tool_call *call = &messages[at].tool_calls[k];
            if (span_eq(call->id, m->tool_call_id))
                return call->name;
        }
    }
    return m->name;
}

/* A tool's name stands in its result, not in the mark. */
static bool is_named(const struct message *m) { return m->name.n && m->role != ROLE_TOOL; }

static void write_mark(struct buffer *out, const struct prompt_marks *marks,
                       const struct message *m)
{
    buffer_append(out, marks->head[m->role]);
    if (is_named(m)) {
        buffer_append(out, SPAN(" ("));
        buffer_append(out, m->name);
        buffer_char(out, ')');
    }
    buffer_append(out, marks->tail);
}

/* Is the turn at `i` told as a part of the one before it? */
static bool joins(const struct prompt_marks *marks, const struct message *messages, size_t i)
{
    return i > 0 && marks->joined.p && !is_named(&messages[i - 1]) && !is_named(&messages[i]) &&
           span_eq(marks->head[messages[i - 1].role], marks->head[messages[i].role]);
}

static void write_turns(struct buffer *out, const struct prompt_marks *marks,
                        const struct message *messages, size_t n)
{
    bool opening = marks->bare_opening;
    int pictures = 0;
    for (size_t i = 0; i < n; i++) {
        bool joined = joins(marks, messages, i);
        opening = opening && messages[i].role == ROLE_SYSTEM && !is_named(&messages[i]);
        if (i > 0)
            buffer_append(out, joined ? marks->joined : marks->between);
        if (!joined && !opening)
            write_mark(out, marks, &messages[i]);
        write_message(out, &messages[i], tool_of(messages, i),
                      marks->number_pictures ? &pictures : NULL);
    }
    if (n == 0 || messages[n - 1].role != ROLE_ASSISTANT)
        buffer_append(out, marks->answer);
}

struct span flatten_with(struct arena *arena, const struct prompt_marks *marks,
                         const struct message *messages, size_t n)
{
    struct buffer out;
    if (n == 1 && messages[0].role == ROLE_USER && !messages[0].name.n && !marks->number_pictures)
        return message_text(arena, &messages[0]);
    buffer_init(&out, PROMPT_LIMIT);
    if (n == 1 && messages[0].role == ROLE_USER && !messages[0].name.n)
        write_message(&out, &messages[0], SPAN(""), &(int){0});
    else
        write_turns(&out, marks, messages, n);
    return finished(arena, &out);
}

struct span flatten_messages(struct arena *arena, const struct message *messages, size_t n)
{
    static const struct prompt_marks lines = {
        .head = {SPAN_INIT("system"), SPAN_INIT("user"), SPAN_INIT("assistant"), SPAN_INIT("tool")},
        .tail = SPAN_INIT(": "),
        .between = SPAN_INIT("\n"),
    };
    return flatten_with(arena, &lines, messages, n);
}
