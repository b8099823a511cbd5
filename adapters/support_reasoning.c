/*
 * adapters/support_reasoning.c - how much reasoning is wanted, in words and in tokens
 * (adapters/support.h). What each site makes of it stands in docs/reasoning.md.
 */
#include "adapters/support.h"

enum { LOW_BUDGET = 1024, MEDIUM_BUDGET = 4096, HIGH_BUDGET = 16384 };

enum effort effort_named(struct span word)
{
    static const struct {
        struct span word;
        enum effort effort;
    } words[] = {
        {SPAN_INIT("none"), EFFORT_NONE}, {SPAN_INIT("minimal"), EFFORT_MINIMAL},
        {SPAN_INIT("low"), EFFORT_LOW},   {SPAN_INIT("medium"), EFFORT_MEDIUM},
        {SPAN_INIT("high"), EFFORT_HIGH}, {SPAN_INIT("xhigh"), EFFORT_XHIGH},
        {SPAN_INIT("max"), EFFORT_MAX},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (span_eq_nocase(word, words[i].word))
            return words[i].effort;
    }
    return EFFORT_OPEN;
}

enum effort effort_of_budget(int64_t tokens)
{
    if (tokens <= 0)
        return EFFORT_OPEN;
    if (tokens < LOW_BUDGET)
        return EFFORT_MINIMAL;
    if (tokens < MEDIUM_BUDGET)
        return EFFORT_LOW;
    return tokens < HIGH_BUDGET ? EFFORT_MEDIUM : EFFORT_HIGH;
}
