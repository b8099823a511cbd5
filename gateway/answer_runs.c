/*
 * gateway/answer_runs.c - an answer of several runs, of which each goes on where the former one
 * stopped (gateway/continuation.h). See answer.h.
 */
#include "gateway/answer_internal.h"

#include <assert.h>

int answer_feed_run_over(struct answer_feed *f, struct answer_run_state *state)
{
    struct answer_choice *c = choice_at(f->answer, f->first);
    int64_t reasoning;
    enum count_origin origin;
    *state = (struct answer_run_state){.other = true};
    if (!c || !c->continuing)
        return 0;
    struct text_joiner *j = &c->continuing->joiner;
    if (!c->finished && f->committed && choice_pass_run_over(c))
        return -1;
    bool told = answer_feed_told_usage(f);
    int64_t counted = feed_count_own(f, &reasoning, &origin);
    *state = (struct answer_run_state){
        .text = buffer_span(&j->text),
        .finish = c->finished && c->held ? c->held->reason : span_of("", 0),
        .whole = !j->text.error,
        .is_new = text_joiner_has_new(j),
        .thoughts = choice_reasoning_tokens(c) > 0,
        .other = f->other,
        .cut = c->cut,
        .started_over = j->started_over,
        .tokens = (f->past ? f->past->usage.completion : 0) +
                  (told ? usage_clamp(f->told->usage.completion) : counted),
        .tokens_told = told,
    };
    return 0;
}

void answer_feed_set_aside(struct answer_feed *f)
{
    struct answer_choice *c = choice_at(f->answer, f->first);
    assert(c && c->continuing);
    if (c->finished && c->held) {
        c->continuing->had_finish = true;
        c->continuing->finish = *c->held;
    }
    c->finished = c->finish_held = false;
}

void answer_feed_continue(struct answer_feed *f, const struct turn *turn)
{
    struct answer_choice *c = choice_at(f->answer, f->first);
    assert(c && c->continuing);
    answer_feed_count_run(f);
    f->counted_text = token_counter_total(&c->text);
    f->counted_reasoning = choice_reasoning_tokens(c);
    f->has_usage = f->extra_waits = false;
    f->continued = true;
    f->turn = turn;
    c->splitter = (struct think_splitter){0};
    text_joiner_continue(&c->continuing->joiner);
}

bool answer_feed_give_up(struct answer_feed *f)
{
    struct answer_choice *c = choice_at(f->answer, f->first);
    if (!c || !c->continuing || !c->continuing->had_finish)
        return false;
    const struct finish_note *finish = &c->continuing->finish;
    if (!span_eq(finish->reason, SPAN("length")) && c->continuing->joiner.text.n)
        return false;
    c->held = &c->continuing->finish;
    c->finished = c->finish_held = true;
    return true;
}

bool answer_feed_started_over(const struct answer_feed *f)
{
    const struct answer_choice *c = choice_at(f->answer, f->first);
    return c && c->continuing && c->continuing->joiner.started_over;
}

int choice_put_remark(struct answer_choice *c)
{
    struct answer_feed *f = c->feed;
    if (!f->remark.n || !c->continuing)
        return 0;
    struct buffer *top = &c->continuing->top;
    if (top->n)
        buffer_char(top, ',');
    buffer_append(top, f->remark);
    if (top->error)
        return -1;
    return choice_written(
        c, choice_writer(c)->ops->extra(choice_writer(c), EXTRA_TOP, c->index, buffer_span(top)));
}
