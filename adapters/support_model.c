/*
 * adapters/support_model.c - the wishes that chat sites' model ids carry as suffixes
 * (adapters/support.h).
 */
#include "adapters/support.h"

enum suffix { SUFFIX_NONE, SUFFIX_THINKING, SUFFIX_NOTHINKING, SUFFIX_SEARCH };

static enum suffix cut_suffix(struct span *id)
{
    static const struct {
        struct span text;
        enum suffix suffix;
    } suffixes[] = {{SPAN_INIT("-thinking"), SUFFIX_THINKING},
                    {SPAN_INIT("-nothinking"), SUFFIX_NOTHINKING},
                    {SPAN_INIT("-search"), SUFFIX_SEARCH}};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (id->n > suffixes[i].text.n && span_ends(*id, suffixes[i].text)) {
            *id = span_first(*id, id->n - suffixes[i].text.n);
            return suffixes[i].suffix;
        }
    }
    return SUFFIX_NONE;
}

struct span base_model_id(struct span id)
{
    while (cut_suffix(&id) != SUFFIX_NONE)
        ;
    return id;
}

static struct model_wish wish_of_turn(const struct turn *t, struct span id)
{
    struct model_wish wish = {.id = id,
                              .reasoning = t->reasoning,
                              .effort = effort_named(t->reasoning_effort),
                              .budget = t->reasoning_budget};
    if (wish.effort == EFFORT_OPEN)
        wish.effort = effort_of_budget(wish.budget);
    if (wish.reasoning == REASONING_OFF && wish.effort != EFFORT_MINIMAL)
        wish.effort = EFFORT_NONE;
    return wish;
}

/* A suffix says yes or no; how much is the client's affair, unless it said the contrary. */
static void overrule(struct model_wish *wish, enum reasoning_wish reasoning)
{
    if (wish->reasoning == reasoning)
        return;
    wish->reasoning = reasoning;
    if (reasoning == REASONING_OFF)
        wish->effort = EFFORT_NONE;
    else if (wish->effort == EFFORT_NONE)
        wish->effort = EFFORT_OPEN;
    wish->budget = 0;
}

struct model_wish read_model_wish(const struct turn_run *run)
{
    struct model_wish wish = wish_of_turn(run->turn, run->model);
    enum suffix suffix;
    bool decided = false;
    while ((suffix = cut_suffix(&wish.id)) != SUFFIX_NONE) {
        if (suffix == SUFFIX_SEARCH)
            wish.search = true;
        else if (!decided)
            overrule(&wish, suffix == SUFFIX_THINKING ? REASONING_ON : REASONING_OFF);
        decided |= suffix != SUFFIX_SEARCH;
    }
    return wish;
}

/* A suffix of that kind alone; NONE leaves the id as it is. */
static enum suffix cut_thinking(struct span *id, struct span family)
{
    struct span rest = *id;
    enum suffix suffix = span_starts(rest, family) ? cut_suffix(&rest) : SUFFIX_NONE;
    if (suffix != SUFFIX_THINKING && suffix != SUFFIX_NOTHINKING)
        return SUFFIX_NONE;
    *id = rest;
    return suffix;
}

struct span family_model_id(struct span id, struct span family)
{
    cut_thinking(&id, family);
    return id;
}

struct model_wish read_family_wish(const struct turn_run *run, struct span id, struct span family)
{
    struct model_wish wish = wish_of_turn(run->turn, id);
    enum suffix suffix = cut_thinking(&wish.id, family);
    if (suffix != SUFFIX_NONE)
        overrule(&wish, suffix == SUFFIX_THINKING ? REASONING_ON : REASONING_OFF);
    return wish;
}
