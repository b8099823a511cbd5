/*
 * gateway/answer_usage.c - the tokens of an answer: the sites' figures where they tell them, else
 * ours; one sum over all runs, those before the present one among them.
 */
#include "gateway/answer_internal.h"

int64_t usage_clamp(int64_t n)
{
    const int64_t most = INT64_C(1) << 53;
    return n < 0 ? 0 : n > most ? most : n;
}

static enum count_origin weaker(enum count_origin a, enum count_origin b) { return a < b ? a : b; }

/* The prompt that was counted last, and how many bytes of the others still are. */
struct prompt_tokens {
    const struct message *messages;
    int64_t tokens;
    enum count_origin origin;
    size_t left;
};

/* -1 = not known */
static void add_known(int64_t *sum, int64_t n)
{
    if (n >= 0)
        *sum = usage_clamp(n) + (*sum > 0 ? *sum : 0);
}

int64_t feed_count_own(const struct answer_feed *f, int64_t *reasoning, enum count_origin *origin)
{
    int64_t text = 0;
    *reasoning = 0;
    *origin = token_counter_origin(f->answer->tokens);
    for (int i = f->first; i < f->first + f->n; i++) {
        struct answer_choice *c = choice_at(f->answer, i);
        if (!c || c->feed != f)
            continue;
        text += token_counter_total(&c->text) - f->counted_text;
        *reasoning += choice_reasoning_tokens(c) - f->counted_reasoning;
        if (c->text.estimated || (c->reasoning && c->reasoning->estimated))
            *origin = COUNT_ESTIMATED;
    }
    return text + *reasoning;
}

static bool told_prompt(const struct answer_feed *f)
{
    return f->has_usage && f->told->usage.prompt >= 0;
}

void answer_feed_forget_turn(struct answer_feed *f)
{
    size_t left = PROMPTS_COUNTED_MAX;
    enum count_origin origin;
    f->prompt_estimated = token_count_prompt(NULL, f->turn, &left, &origin);
    f->turn = NULL;
}

/* The prompt's tokens by our own count. Several runs for one prompt: it is counted once. */
static int64_t count_prompt(struct prompt_tokens *known, const struct answer *a,
                            const struct answer_feed *f, enum count_origin *origin)
{
    if (!f->turn) {
        *origin = COUNT_ESTIMATED;
        return f->prompt_estimated;
    }
    if (known->messages != f->turn->messages) {
        known->messages = f->turn->messages;
        known->tokens = token_count_prompt(a->tokens, f->turn, &known->left, &known->origin);
    }
    *origin = known->origin;
    return known->tokens;
}

/* A sum, and where it comes from. */
struct usage_sum {
    struct usage_counts *counts;
    enum count_origin *prompt_origin, *completion_origin;
};

/* The present run's: the site's figures where it told them and we did not end the answer for it,
 * else ours. */
static void add_run_usage(struct answer *a, struct answer_feed *f, struct prompt_tokens *known,
                          const struct usage_sum *to)
{
    struct usage_counts *sum = to->counts;
    enum count_origin prompt = COUNT_UPSTREAM, completion = COUNT_UPSTREAM;
    int64_t reasoning = f->has_usage ? f->told->usage.reasoning : -1;
    bool cut = false;
    for (int i = f->first; i < f->first + f->n; i++) {
        const struct answer_choice *c = choice_at(a, i);
        cut |= c && c->feed == f && c->cut;
    }
    if (told_prompt(f))
        sum->prompt += usage_clamp(f->told->usage.prompt);
    else
        sum->prompt += count_prompt(known, a, f, &prompt);
    if (answer_feed_told_usage(f) && !cut) {
        sum->completion += usage_clamp(f->told->usage.completion);
    } else {
        sum->completion += feed_count_own(f, &reasoning, &completion);
    }
    if (f->has_usage) {
        add_known(&sum->cached, f->told->usage.cached);
        sum->cache_write += usage_clamp(f->told->usage.cache_write);
    }
    add_known(&sum->reasoning, reasoning);
    *to->prompt_origin = weaker(*to->prompt_origin, prompt);
    *to->completion_origin = weaker(*to->completion_origin, completion);
}

/* Did the present run do anything that counts? */
static bool has_begun(const struct answer_feed *f)
{
    struct answer_choice *c = choice_at(f->answer, f->first);
    if (!f->continued || f->has_usage || !c)
        return true;
    return token_counter_total(&c->text) > f->counted_text ||
           choice_reasoning_tokens(c) > f->counted_reasoning;
}

static void add_usage(struct answer *a, struct answer_feed *f, struct prompt_tokens *known)
{
    const struct usage_sum sum = {&a->usage, &a->prompt_origin, &a->completion_origin};
    const struct answer_past *past = f->past;
    if (past) {
        a->usage.prompt += past->usage.prompt;
        a->usage.completion += past->usage.completion;
        a->usage.cache_write += past->usage.cache_write;
        add_known(&a->usage.cached, past->usage.cached);
        add_known(&a->usage.reasoning, past->usage.reasoning);
        a->prompt_origin = weaker(a->prompt_origin, past->prompt_origin);
        a->completion_origin = weaker(a->completion_origin, past->completion_origin);
    }
    if (has_begun(f))
        add_run_usage(a, f, known, &sum);
}

void answer_settle_usage(struct answer *a)
{
    a->usage = (struct usage_counts){.cached = -1, .reasoning = -1};
    a->prompt_origin = a->completion_origin = COUNT_UPSTREAM;
    struct prompt_tokens known = {.left = PROMPTS_COUNTED_MAX};
    for (struct answer_feed *f = a->feeds; f; f = f->next)
        add_usage(a, f, &known);
    enum count_origin origin = weaker(a->prompt_origin, a->completion_origin);
    if (a->feeds && !a->feeds->next && !a->feeds->continued && !a->feeds->past &&
        origin == COUNT_UPSTREAM && a->feeds->has_usage)
        a->usage.raw = a->feeds->told->usage.raw;
    a->usage.source = count_origin_name(origin);
}

void answer_feed_count_run(struct answer_feed *f)
{
    struct prompt_tokens known = {.left = PROMPTS_COUNTED_MAX};
    if (!f->past) {
        f->past = arena_alloc(f->answer->arena, sizeof *f->past);
        if (!f->past) /* then it is not counted */
            return;
        f->past->usage = (struct usage_counts){.cached = -1, .reasoning = -1};
        f->past->prompt_origin = f->past->completion_origin = COUNT_UPSTREAM;
    }
    const struct usage_sum past = {&f->past->usage, &f->past->prompt_origin,
                                   &f->past->completion_origin};
    if (has_begun(f))
        add_run_usage(f->answer, f, &known, &past);
}
