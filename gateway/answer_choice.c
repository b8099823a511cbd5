/*
 * gateway/answer_choice.c - a choice comes into being with its first delta, with the filters that
 * its feed's rules want; see answer_internal.h.
 */
#include "gateway/answer_internal.h"

void choice_free(struct answer_choice *c)
{
    if (c->continuing) {
        text_joiner_free(&c->continuing->joiner);
        buffer_free(&c->continuing->top);
    }
    if (c->tools)
        answer_tools_free(c->tools);
    if (c->structure)
        answer_structure_free(c->structure);
    if (c->stop)
        stop_filter_free(c->stop);
    if (c->reasoning)
        token_counter_free(c->reasoning);
    token_counter_free(&c->text);
}

static void begin_counter(const struct answer_choice *c, struct token_counter *counter)
{
    token_counter_init(counter, c->feed->answer->tokens);
    if (c->feed->rules.usage_expected)
        token_counter_sample(counter);
}

struct token_counter *choice_reasoning_counter(struct answer_choice *c)
{
    if (c->reasoning)
        return c->reasoning;
    c->reasoning = arena_alloc(c->feed->answer->arena, sizeof *c->reasoning);
    if (c->reasoning)
        begin_counter(c, c->reasoning);
    return c->reasoning;
}

int64_t choice_reasoning_tokens(const struct answer_choice *c)
{
    return c->reasoning ? token_counter_total(c->reasoning) : 0;
}

/* Without the memory the answer goes on, and ends where it ends. */
static void prepare_continuing(struct answer_choice *c)
{
    c->continuing = arena_alloc(c->feed->answer->arena, sizeof *c->continuing);
    if (!c->continuing)
        return;
    *c->continuing = (struct answer_continuing){0};
    text_joiner_init(&c->continuing->joiner);
    buffer_init(&c->continuing->top, JOINER_TEXT_MAX);
}

static int prepare_tools(struct answer_choice *c)
{
    const struct answer_rules *rules = &c->feed->rules;
    const struct answer_tools_out out = {choice_tool_text, choice_tool_begin, choice_tool_arguments,
                                         c};
    struct answer_tools *tools = arena_alloc(c->feed->answer->arena, sizeof *tools);
    if (!tools || answer_tools_init(tools, rules->tools, rules->one_call, &out))
        return -1;
    c->tools = tools;
    return 0;
}

static int prepare_stop(struct answer_choice *c)
{
    c->stop = arena_alloc(c->feed->answer->arena, sizeof *c->stop);
    if (!c->stop)
        return -1;
    stop_filter_init(c->stop, c->feed->rules.stops, c->feed->rules.n_stops);
    return 0;
}

static int prepare_structure(struct answer_choice *c)
{
    struct answer_feed *f = c->feed;
    if (!f->rules.structure.wish)
        return 0;
    c->structure = arena_alloc(f->answer->arena, sizeof *c->structure);
    if (!c->structure)
        return -1;
    answer_structure_init(c->structure, &f->rules.structure, choice_put_json, c);
    return 0;
}

int choice_prepare(struct answer_choice *c, struct answer_feed *feed, int index)
{
    const struct answer_rules *rules = &feed->rules;
    *c = (struct answer_choice){
        .feed = feed,
        .index = index,
        .splitting = rules->reasoning != REASONING_UNTOUCHED,
    };
    begin_counter(c, &c->text);
    if (rules->may_continue)
        prepare_continuing(c);
    if ((rules->n_stops && prepare_stop(c)) || (rules->tools && prepare_tools(c)))
        return -1;
    return prepare_structure(c);
}

/* Room for the choice and those before it. 0, or -1 when memory is short. */
static int make_room(struct answer *a, int index)
{
    int n = a->n_choices ? a->n_choices : 1;
    while (n <= index)
        n *= 2;
    struct answer_choice **grown =
        arena_alloc(a->arena, (size_t)n * sizeof(struct answer_choice *));
    if (!grown)
        return -1;
    if (a->n_choices)
        memcpy(grown, a->choices, (size_t)a->n_choices * sizeof(struct answer_choice *));
    a->choices = grown;
    a->n_choices = n;
    return 0;
}

struct answer_choice *choice_of(struct answer_feed *f, int choice)
{
    struct answer *a = f->answer;
    int index = f->first + choice;
    if (index >= a->n_choices && make_room(a, index))
        return NULL;
    struct answer_choice **c = &a->choices[index];
    if (!*c) {
        *c = arena_alloc(a->arena, sizeof **c);
        if (*c && choice_prepare(*c, f, index))
            return NULL;
    }
    bool whole = *c && (!f->rules.n_stops || (*c)->stop) && (!f->rules.tools || (*c)->tools) &&
                 (!f->rules.structure.wish || (*c)->structure);
    return whole ? *c : NULL;
}
