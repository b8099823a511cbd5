/*
 * gateway/branch_tools.c - see branch_tools.h.
 */
#include "gateway/branch_tools.h"

#include "gateway/branch_structure.h"
#include "gateway/exchange_internal.h"

bool branch_emulates(const struct branch *b) { return branch_site(b)->tools == FEATURE_EMULATE; }

static const struct emulated_turn *find(const struct branch *b)
{
    const struct emulated_turn *made = branch_emulates(b) ? b->exchange->emulated_turns : NULL;
    while (made && made->asked != b->turn)
        made = made->next;
    return made;
}

int branch_settle_tools(struct branch *b, struct fail *fail)
{
    struct exchange *e = b->exchange;
    if (!branch_emulates(b) || !tool_emulation_fits(b->turn) || find(b))
        return 0;
    struct emulated_turn *made = arena_alloc(&e->parsed, sizeof *made);
    if (!made)
        return fail_memory(fail);
    *made = (struct emulated_turn){.asked = b->turn, .next = e->emulated_turns};
    if (tool_wish_read(&e->parsed, e->engine->json, b->turn, &made->wish, fail))
        return -1;
    made->turn = tool_emulation_turn(&e->parsed, branch_structured_turn(b), &made->wish, 0, fail);
    if (!made->turn)
        return -1;
    e->emulated_turns = made;
    return 0;
}

const struct turn *branch_site_turn(const struct branch *b)
{
    const struct emulated_turn *made = find(b);
    return made ? made->turn : branch_structured_turn(b);
}

const struct turn *branch_rest_turn(const struct branch *b, size_t held)
{
    struct arena *arena = &b->exchange->arena;
    const struct emulated_turn *made = find(b);
    struct fail memory;
    if (made)
        return tool_emulation_turn(arena, b->turn, &made->wish, held, &memory);
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    if (!turn)
        return NULL;
    *turn = *b->turn;
    turn->messages += held;
    turn->n_messages -= held;
    return turn;
}

bool branch_wants_call(const struct branch *b)
{
    const struct emulated_turn *made = find(b);
    return made && made->wish.choice == TOOL_CHOICE_REQUIRED;
}

void branch_tool_rules(const struct branch *b, struct answer_rules *rules)
{
    const struct emulated_turn *made = find(b);
    if (!made || made->wish.choice == TOOL_CHOICE_NONE)
        return;
    rules->tools = &made->wish.list;
    rules->one_call = made->wish.one_call;
}

/* A call would have released what is held back. */
struct span branch_misses_call(struct branch *b, struct span answer, const char **why)
{
    *why = "no_tool_call";
    if (!branch_wants_call(b))
        return span_of(NULL, 0);
    return SPAN("Your answer has no function call, but it must have one. Call the function now, in "
                "exactly this form and without anything else:\n"
                "<tool_call>{\"name\": <name>, \"arguments\": <arguments>}</tool_call>");
}
