/*
 * gateway/tool_prompt.c - see tool_prompt.h.
 *
 * The form is the one that most open models were trained on (Hermes): a line of JSON for each
 * function inside <tools>, calls inside <tool_call>. The form of a call is told with words for name
 * and arguments, not as an example: models copy examples.
 */
#include "gateway/tool_prompt.h"

#include "base/json_raw.h"
#include "base/json_write.h"

/* ---- the wish ---- */

/* The name that an entry of tool_choice gives: {"type", "function": {"name"}}, or {"name"}. */
static struct span raw_name_of(struct span entry)
{
    struct span function = json_raw_given(entry, "function");
    return json_raw_given(json_raw_is_object(function) ? function : entry, "name");
}

/* NULL: the list has no tool of that (raw, quoted) name. */
static const struct tool *find_raw(const struct tool_list *list, struct span raw)
{
    for (size_t i = 0; json_raw_is_text(raw) && i < list->n; i++) {
        if (json_raw_key_is(span_of(raw.p + 1, raw.n - 2), list->tools[i].name))
            return &list->tools[i];
    }
    return NULL;
}

static int refuse_name(struct fail *fail, struct span raw)
{
    return fail_param(fail, FAIL_INVALID_VALUE, "tool_choice",
                      "tool_choice names the function %.*s, which is not among the tools",
                      SPAN_ARGS(span_first(raw, 80)));
}

static int take_named(struct arena *arena, struct span choice, struct tool_wish *wish,
                      struct fail *fail)
{
    struct span raw = raw_name_of(choice);
    const struct tool *named = find_raw(&wish->list, raw);
    if (!named)
        return refuse_name(fail, raw);
    struct tool *only = arena_alloc(arena, sizeof *only);
    if (!only)
        return fail_memory(fail);
    *only = *named;
    wish->choice = TOOL_CHOICE_REQUIRED;
    wish->list = (struct tool_list){only, 1};
    return 0;
}

/* The tools in the client's order, without those that are not allowed. */
static int take_allowed(struct arena *arena, struct span choice, struct tool_wish *wish,
                        struct fail *fail)
{
    struct span inner = json_raw_given(choice, "allowed_tools");
    struct span allowed = json_raw_given(json_raw_is_object(inner) ? inner : choice, "tools");
    struct span mode = json_raw_given(json_raw_is_object(inner) ? inner : choice, "mode");
    struct tool *kept = arena_alloc(arena, (wish->list.n + 1) * sizeof *kept);
    size_t n = 0;
    if (!kept)
        return fail_memory(fail);
    if (!json_raw_is_array(allowed))
        return fail_param(fail, FAIL_INVALID_VALUE, "tool_choice",
                          "tool_choice must have the \"tools\" that are allowed");
    struct json_raw_iter it = json_raw_each(allowed);
    while (json_raw_next(&it)) {
        struct span raw = json_raw_is_object(it.value) ? raw_name_of(it.value) : span_of(NULL, 0);
        const struct tool *tool = find_raw(&wish->list, raw);
        bool twice = false;
        for (size_t i = 0; tool && i < n; i++)
            twice |= span_eq(kept[i].name, tool->name);
        if (!tool)
            return refuse_name(fail, raw);
        if (!twice)
            kept[n++] = *tool;
    }
    wish->list = (struct tool_list){kept, n};
    if (span_eq(mode, SPAN("\"required\"")))
        wish->choice = TOOL_CHOICE_REQUIRED;
    return 0;
}

int tool_wish_read(struct arena *arena, struct json_parser *json, const struct turn *turn,
                   struct tool_wish *wish, struct fail *fail)
{
    struct span choice = turn->tool_choice_raw;
    int bad = 0;
    *wish =
        (struct tool_wish){.choice = TOOL_CHOICE_AUTO, .one_call = turn->no_parallel_tool_calls};
    if (turn->tools_wanted && tool_list_read(arena, json, turn->tools_raw, &wish->list, fail))
        return -1;
    if (wish->list.n > TOOLS_EMULATED_MAX)
        return fail_param(fail, FAIL_INVALID_VALUE, "tools", "there are more than %d tools",
                          TOOLS_EMULATED_MAX);
    if (span_eq(choice, SPAN("\"required\"")) || span_eq(choice, SPAN("\"any\"")))
        wish->choice = TOOL_CHOICE_REQUIRED;
    else if (json_raw_is_object(choice) && wish->list.n)
        bad = span_eq(json_raw_given(choice, "type"), SPAN("\"allowed_tools\""))
                  ? take_allowed(arena, choice, wish, fail)
                  : take_named(arena, choice, wish, fail);
    if (!wish->list.n)
        wish->choice = TOOL_CHOICE_NONE;
    return bad;
}

/* ---- the instruction ---- */

static void write_tool(struct buffer *out, const struct tool *tool)
{
    struct json_writer w = json_writer(out);
    json_begin_object(&w);
    json_member(&w, "name", tool->name);
    if (tool->description.n)
        json_member(&w, "description", tool->description);
    if (tool->parameters.n) {
        json_key(&w, "parameters");
        json_raw_compact(out, tool->parameters);
    }
    json_end_object(&w);
    buffer_char(out, '\n');
}

void tool_prompt_write(struct buffer *out, const struct tool_wish *wish)
{
    if (wish->choice == TOOL_CHOICE_NONE)
        return;
    bool required = wish->choice == TOOL_CHOICE_REQUIRED;
    buffer_append(out, SPAN("You can call functions. Each line here describes one: its name, what "
                            "it does, and the JSON Schema of its arguments.\n<tools>\n"));
    for (size_t i = 0; i < wish->list.n; i++)
        write_tool(out, &wish->list.tools[i]);
    buffer_append(out,
                  SPAN("</tools>\n"
                       "To call a function, write its name and one JSON object with its arguments "
                       "in exactly this form:\n"
                       "<tool_call>{\"name\": <name>, \"arguments\": <arguments>}</tool_call>\n"));
    if (!required)
        buffer_append(out, SPAN("- Call a function when it helps with the request; else answer as "
                                "usual, without a call.\n"));
    else if (wish->list.n == 1)
        buffer_append(out, SPAN("- Your answer must call this function.\n"));
    else
        buffer_append(out, SPAN("- Your answer must call at least one of the functions.\n"));
    buffer_append(out,
                  wish->one_call
                      ? SPAN("- Make at most one call in an answer.\n")
                      : SPAN("- For several calls that do not need each other's results, write "
                             "one such element for each, one behind the other.\n"));
    buffer_append(out,
                  SPAN("- Write a call as plain text, not in a code block. End your answer behind "
                       "the last call: write nothing after it, and never write a result yourself. "
                       "Results come in the next message, as <tool_result> elements with the name "
                       "of the function.\n"
                       "- Use only functions of the list, and only arguments of their "
                       "schemas."));
    if (!required)
        buffer_append(out, SPAN(" If an argument that is needed is not known, ask for it."));
}
