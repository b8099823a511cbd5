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

struct model_wish read_model_wish(const struct turn_run *run)
{
    struct model_wish wish = {.id = run->model, .reasoning = run->turn->reasoning};
    enum suffix suffix;
    bool decided = false;
    while ((suffix = cut_suffix(&wish.id)) != SUFFIX_NONE) {
        if (suffix == SUFFIX_SEARCH)
            wish.search = true;
        else if (!decided)
            wish.reasoning = suffix == SUFFIX_THINKING ? REASONING_ON : REASONING_OFF;
        decided |= suffix != SUFFIX_SEARCH;
    }
    return wish;
}
