/*
 * gateway/reasoning_wish.c - see reasoning_wish.h: each kind of field is a table of places, and
 * what they say together is decided in one function.
 */
#include "gateway/reasoning_wish.h"

#include "adapters/support.h"
#include "base/json_raw.h"
#include "gateway/request_body.h"

struct place {
    const char *object, *key; /* object NULL = the body itself */
};

/* {NULL,0} = absent or null, also where the object is none. */
static struct span at(const struct json_members *body, struct place place)
{
    if (!place.object)
        return json_members_given(body, place.key);
    struct span object = json_members_given(body, place.object);
    return json_raw_is_object(object) ? json_raw_given(object, place.key) : span_of(NULL, 0);
}

static bool is_true(struct span v) { return span_eq(v, SPAN("true")); }
static bool is_false(struct span v) { return span_eq(v, SPAN("false")); }

/* The first word that says something. */
static int read_word(struct json_parser *json, struct arena *arena, const struct json_members *body,
                     struct span *word, struct fail *fail)
{
    static const struct place places[] = {{NULL, "reasoning_effort"},
                                          {"reasoning", "effort"},
                                          {"output_config", "effort"},
                                          {"chat_template_kwargs", "reasoning_effort"}};
    static const struct span nothing[] = {SPAN_INIT(""), SPAN_INIT("auto"), SPAN_INIT("default")};
    *word = SPAN("");
    for (size_t i = 0; i < sizeof places / sizeof *places && !word->n; i++) {
        struct span raw = at(body, places[i]);
        if (!json_raw_is_text(raw))
            continue;
        if (request_body_text(json, arena, raw, word, fail))
            return -1;
        for (size_t k = 0; k < sizeof nothing / sizeof *nothing; k++) {
            if (span_eq_nocase(*word, nothing[k]))
                *word = SPAN("");
        }
    }
    return 0;
}

struct answers {
    bool yes, no;
};

static struct answers read_answers(const struct json_members *body)
{
    static const struct place switches[] = {{NULL, "thinking"},
                                            {NULL, "enable_thinking"},
                                            {"reasoning", "enabled"},
                                            {"chat_template_kwargs", "enable_thinking"},
                                            {"chat_template_kwargs", "thinking"}};
    struct span type = at(body, (struct place){"thinking", "type"});
    struct answers said = {.yes = span_eq(type, SPAN("\"enabled\"")) ||
                                  span_eq(type, SPAN("\"adaptive\"")),
                           .no = span_eq(type, SPAN("\"disabled\"")) ||
                                 is_true(json_members_given(body, "disable_reasoning"))};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        said.yes |= is_true(at(body, switches[i]));
        said.no |= is_false(at(body, switches[i]));
    }
    return said;
}

/* In tokens; -1 = not said. Negative ones are some clients' "as much as you like". */
static int64_t read_budget(const struct json_members *body)
{
    static const struct place places[] = {{NULL, "thinking_budget"},
                                          {"thinking", "budget_tokens"},
                                          {"reasoning", "max_tokens"},
                                          {"chat_template_kwargs", "thinking_budget"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        uint64_t tokens;
        if (span_to_u64(at(body, places[i]), INT32_MAX, &tokens))
            return (int64_t)tokens;
    }
    return -1;
}

static enum reasoning_wish decide(struct answers said, enum effort effort, bool word,
                                  int64_t budget)
{
    if (said.no || effort == EFFORT_NONE || effort == EFFORT_MINIMAL)
        return REASONING_OFF;
    if (said.yes || word || budget > 0)
        return REASONING_ON;
    return budget == 0 ? REASONING_OFF : REASONING_UNSET;
}

/* Is there any of the fields? Most requests have none. (In a row, not in a table: so each costs a
 * bit that is known when this is compiled.) */
static bool says_nothing(const struct json_members *body)
{
    return !json_members_given(body, "reasoning_effort").p &&
           !json_members_given(body, "reasoning").p &&
           !json_members_given(body, "output_config").p &&
           !json_members_given(body, "thinking").p &&
           !json_members_given(body, "chat_template_kwargs").p &&
           !json_members_given(body, "enable_thinking").p &&
           !json_members_given(body, "disable_reasoning").p &&
           !json_members_given(body, "thinking_budget").p &&
           !json_members_given(body, "include_reasoning").p;
}

int reasoning_wish_read(struct json_parser *json, struct arena *arena,
                        const struct json_members *body, struct turn *t, struct fail *fail)
{
    if (says_nothing(body)) {
        t->reasoning = REASONING_UNSET;
        t->reasoning_effort = SPAN("");
        t->reasoning_budget = 0;
        t->reasoning_hidden = false;
        t->thinking_raw = span_of(NULL, 0);
        return 0;
    }
    struct span word, thinking = json_members_given(body, "thinking");
    if (read_word(json, arena, body, &word, fail))
        return -1;
    struct answers said = read_answers(body);
    int64_t budget = read_budget(body);
    enum effort effort = effort_named(word);
    t->reasoning = decide(said, effort, word.n > 0, budget);
    t->reasoning_effort = said.no && effort != EFFORT_NONE ? SPAN("") : word;
    t->reasoning_budget = t->reasoning == REASONING_ON && budget > 0 ? budget : 0;
    t->reasoning_hidden = is_true(at(body, (struct place){"reasoning", "exclude"})) ||
                          is_false(json_members_given(body, "include_reasoning"));
    t->thinking_raw = json_raw_is_object(thinking) ? thinking : span_of(NULL, 0);
    return 0;
}
