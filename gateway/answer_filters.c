/*
 * gateway/answer_filters.c - what a piece of text goes through on its way to the writer.
 *
 * In this order: leaked thinking is taken out, a continuation loses what it repeats, calls of tools
 * are taken out, `stop` cuts, the token limit cuts; what is left is counted, loses what is around
 * the JSON that it should be, and is written. Most answers need none of them: as soon as a piece
 * has gone through without anything to do, those behind it go straight to the writer. Reading
 * upwards: each filter hands on to the one above it.
 */
#include "gateway/answer_internal.h"

#include "gateway/conversation_reuse.h"

/* ---- the short way ---- */

int choice_pass_straight(struct answer_choice *c, bool reasoning, struct span text)
{
    struct answer_writer *w = choice_writer(c);
    if (!text.n)
        return 0;
    if (token_counter_add(reasoning ? c->reasoning : &c->text, text))
        return -1;
    return choice_written(c, reasoning ? w->ops->reasoning(w, c->index, text)
                                       : w->ops->text(w, c->index, text))
               ? -1
               : 0;
}

/* Nothing waits, counts or ends what is written from now on. */
static bool is_unruled(const struct answer_choice *c)
{
    const struct answer_feed *f = c->feed;
    return f->committed && !f->hold.on && !f->rules.max_tokens && !c->finished && !c->tools &&
           !c->continuing;
}

static bool text_is_straight(const struct answer_choice *c)
{
    bool splits = c->splitting && c->splitter.state != THINK_OVER;
    return is_unruled(c) && !splits && !c->in_think && !c->stop && !c->structure &&
           !c->feed->rules.told;
}

static bool reasoning_is_straight(const struct answer_choice *c)
{
    enum reasoning_style style = c->feed->rules.reasoning;
    return is_unruled(c) && !c->splitting && c->reasoning &&
           (style == REASONING_FIELD || style == REASONING_UNTOUCHED);
}

/* ---- the long way ---- */

/* The part of a piece that the limit leaves, counted; `*over` when something was cut off. */
static int limit_text(struct answer_choice *c, struct token_counter *counter, struct span *text,
                      bool *over)
{
    const struct answer_rules *rules = &c->feed->rules;
    bool reasoning = counter != &c->text;
    int64_t used = 0;
    *over = false;
    if (!rules->max_tokens || (reasoning && !rules->max_includes_reasoning))
        return token_counter_add(counter, *text);
    if (rules->max_includes_reasoning)
        used = reasoning ? token_counter_total(&c->text) : choice_reasoning_tokens(c);
    ptrdiff_t n = token_counter_take(counter, *text, rules->max_tokens - used);
    if (n < 0)
        return -1;
    *over = (size_t)n < text->n;
    *text = span_first(*text, (size_t)n);
    return 0;
}

int choice_put_json(void *owner, struct span text)
{
    struct answer_choice *c = owner;
    if (text.n && choice_write_text(c, text))
        return -1;
    if (c->feed->rules.told)
        conversation_told_add(c->feed->rules.told, text);
    return 0;
}

static int limited_text(struct answer_choice *c, struct span text)
{
    bool over;
    if (!text.n)
        return 0;
    if (limit_text(c, &c->text, &text, &over) || choice_end_thinking(c) ||
        (c->structure ? answer_structure_pass(c->structure, text) : choice_put_json(c, text)))
        return -1;
    return over ? choice_cut_at_limit(c) : 0;
}

static int stopped_text(struct answer_choice *c, struct span text)
{
    struct span out;
    if (!c->stop)
        return limited_text(c, text);
    if (stop_filter_pass(c->stop, text, &out) || limited_text(c, out))
        return -1;
    if (!c->stop->stopped)
        return 0;
    return choice_cut(c, &(struct finish_note){.reason = SPAN("stop"), .stop = c->stop->met});
}

/* Behind a made-up result, or behind the one call that is wanted, nothing is. */
static int end_at_call(struct answer_choice *c)
{
    if (!c->tools->enough || c->finished)
        return 0;
    return choice_cut(
        c, &(struct finish_note){.reason = c->tools->calls ? SPAN("tool_calls") : SPAN("stop")});
}

static int called_text(struct answer_choice *c, struct span text)
{
    if (!c->tools)
        return stopped_text(c, text);
    return answer_tools_pass(c->tools, text) ? -1 : end_at_call(c);
}

static int joined_text(struct answer_choice *c, struct span text)
{
    if (c->continuing && text_joiner_pass(&c->continuing->joiner, text, &text))
        return -1;
    return called_text(c, text);
}

int choice_pass_reasoning(struct answer_choice *c, struct span text)
{
    bool over;
    struct token_counter *counter = choice_reasoning_counter(c);
    if (!counter)
        return -1;
    if (c->feed->continued) /* the client has had its thoughts */
        return token_counter_add(counter, text);
    if (limit_text(c, counter, &text, &over))
        return -1;
    if (text.n && c->feed->rules.reasoning == REASONING_THINK) {
        if ((!c->in_think && choice_write_text(c, SPAN("<think>\n"))) || choice_write_text(c, text))
            return -1;
        c->in_think = true;
        c->text_is_straight = false;
    } else if (text.n && c->feed->rules.reasoning != REASONING_DROP) {
        if (choice_write_reasoning(c, text))
            return -1;
    }
    c->reasoning_is_straight = reasoning_is_straight(c);
    return over ? choice_cut_at_limit(c) : 0;
}

static int put_split(void *owner, bool reasoning, struct span text)
{
    struct answer_choice *c = owner;
    if (c->finished)
        return 0;
    return reasoning ? choice_pass_reasoning(c, text) : joined_text(c, text);
}

int choice_pass_text(struct answer_choice *c, struct span text)
{
    int error =
        c->splitting ? think_splitter_pass(&c->splitter, text, put_split, c) : joined_text(c, text);
    c->text_is_straight = !error && text_is_straight(c);
    return error;
}

static int put_held_at_seam(struct answer_choice *c,
                            int (*take)(struct text_joiner *, struct span *))
{
    struct span text;
    if (!c->continuing || c->finished)
        return 0;
    return take(&c->continuing->joiner, &text) ? -1 : called_text(c, text);
}

static int put_held_of_call(struct answer_choice *c)
{
    if (!c->tools || c->finished)
        return 0;
    return answer_tools_end(c->tools) ? -1 : end_at_call(c);
}

int choice_pass_run_over(struct answer_choice *c)
{
    if (c->splitting && think_splitter_end(&c->splitter, put_split, c))
        return -1;
    return put_held_at_seam(c, text_joiner_run_over);
}

int choice_pass_held(struct answer_choice *c)
{
    if (c->splitting && think_splitter_end(&c->splitter, put_split, c))
        return -1;
    if (put_held_at_seam(c, text_joiner_end) || put_held_of_call(c))
        return -1;
    struct span rest = c->stop && !c->finished ? stop_filter_end(c->stop) : span_of("", 0);
    return limited_text(c, rest);
}

int choice_finish_with_calls(struct answer_choice *c, const struct finish_note *note)
{
    struct finish_note called = *note;
    if (c->tools && c->tools->torn && !c->finished && !span_eq(note->reason, SPAN("length"))) {
        c->feed->torn = true; /* it is cut, and so ends without a reason */
        return 0;
    }
    if (c->tools && c->tools->calls && span_eq(note->reason, SPAN("stop")))
        called = (struct finish_note){.reason = SPAN("tool_calls")};
    return choice_finish(c, &called);
}

int choice_pass_finish(struct answer_choice *c, const struct finish_note *note)
{
    if (c->finished)
        return 0;
    return choice_pass_held(c) ? -1 : choice_finish_with_calls(c, note);
}

/* ---- calls that stood in the text (struct answer_tools_out) ---- */

int choice_tool_text(void *owner, struct span text)
{
    struct answer_choice *c = owner;
    return c->finished ? 0 : stopped_text(c, text);
}

int choice_tool_begin(void *owner, int call, struct span name)
{
    struct answer_choice *c = owner;
    struct span rest = c->stop && !c->finished ? stop_filter_end(c->stop) : span_of("", 0);
    if (!c->finished && limited_text(c, rest))
        return -1;
    return choice_begin_call(c, &(struct delta){.index = call, .name = name});
}

/* The limit counts them: the site does not heed it, or would have stopped by itself. */
int choice_tool_arguments(void *owner, int call, struct span piece)
{
    struct answer_choice *c = owner;
    bool over;
    if (c->finished)
        return 0;
    if (limit_text(c, &c->text, &piece, &over))
        return -1;
    if (c->feed->rules.told)
        conversation_told_arguments(c->feed->rules.told, piece);
    if (piece.n && choice_written(c, choice_writer(c)->ops->tool_arguments(choice_writer(c),
                                                                           c->index, call, piece)))
        return -1;
    return over ? choice_cut_at_limit(c) : 0;
}
