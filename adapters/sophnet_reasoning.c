/*
 * adapters/sophnet_reasoning.c - the wish for reasoning in the words of the official API
 * (sites/sophnet.md §4.1): the client's own fields stay, and what the API does not know of them is
 * said in its own beside them.
 */
#include "adapters/sophnet.h"

#include "adapters/support.h"
#include "base/json_raw.h"

static bool has_word(struct span body)
{
    struct span word = json_raw_given(body, "reasoning_effort");
    return span_eq(word, SPAN("\"low\"")) || span_eq(word, SPAN("\"medium\"")) ||
           span_eq(word, SPAN("\"high\""));
}

/* Is it told in a field that the site knows? */
static bool is_told(struct span body)
{
    static const char *const places[][2] = {{"reasoning", "enabled"},
                                            {"chat_template_kwargs", "enable_thinking"},
                                            {"thinking", "budget_tokens"}};
    bool told = has_word(body) || json_raw_given(body, "enable_thinking").p;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct span object = json_raw_given(body, places[i][0]);
        told |= json_raw_is_object(object) && json_raw_given(object, places[i][1]).p;
    }
    return told;
}

/* {NULL,0} = none that is the site's. */
static struct span word_of(enum effort effort)
{
    switch (effort) {
    case EFFORT_LOW: return SPAN("\"low\"");
    case EFFORT_MEDIUM: return SPAN("\"medium\"");
    case EFFORT_HIGH:
    case EFFORT_XHIGH:
    case EFFORT_MAX: return SPAN("\"high\"");
    default: return span_of(NULL, 0);
    }
}

int sophnet_tell_reasoning(struct turn_run *run, struct body_edit *edits)
{
    const struct turn *t = run->turn;
    bool on = t->reasoning == REASONING_ON;
    struct span word = on ? word_of(effort_named(t->reasoning_effort)) : span_of(NULL, 0);
    int n = 0;
    if (t->reasoning == REASONING_UNSET)
        return 0;
    if (!on || !is_told(t->raw)) /* a no wins, whatever else is there */
        edits[n++] = (struct body_edit){.key = "enable_thinking",
                                        .value = on ? SPAN("true") : SPAN("false")};
    if (!on || !has_word(t->raw)) /* a word that the site would refuse is left out */
        edits[n++] = (struct body_edit){.key = "reasoning_effort", .value = word};
    if (t->reasoning_budget && !json_raw_given(t->raw, "thinking").p) {
        struct span budget =
            arena_printf(run->arena, "{\"budget_tokens\":%lld}", (long long)t->reasoning_budget);
        if (!budget.p)
            return fail_memory(run->fail);
        edits[n++] = (struct body_edit){.key = "thinking", .value = budget};
    }
    return n;
}
