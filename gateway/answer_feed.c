/*
 * gateway/answer_feed.c - a run's part of the answer: where it begins, whether it is over, and what
 * of it is held back. See answer.h.
 */
#include "gateway/answer_internal.h"

#include <assert.h>

void answer_feed_add(struct answer *a, struct answer_feed *f, const struct turn *turn, int first,
                     int n)
{
    assert(first >= 0 && n > 0 && n <= EMITTER_CHOICES - first);
    *f = (struct answer_feed){.sink = {feed_put_delta, f, feed_put_text},
                              .answer = a,
                              .turn = turn,
                              .first = first,
                              .n = n};
    struct answer_feed **at = &a->feeds;
    while (*at && (*at)->first <= first)
        at = &(*at)->next;
    f->next = *at;
    *at = f;
}

void answer_feed_begin(struct answer_feed *f, const struct answer_rules *rules)
{
    assert(!f->committed);
    f->rules = *rules;
    f->n_citations = 0;
    f->extras = NULL;
    f->has_usage = f->has_text = f->extra_waits = f->other = f->torn = false;
    answer_hold_begin(&f->hold, rules->hold);
    for (int i = f->first; i < f->first + f->n; i++) {
        struct answer_choice *c = choice_at(f->answer, i);
        if (c) {
            choice_free(c);
            choice_prepare(c, f, i); /* without memory its first piece fails: see choice_of */
        }
    }
}

bool answer_has_choice(const struct answer *a, int choice) { return choice_at(a, choice) != NULL; }

bool answer_feed_is_cut(const struct answer_feed *f)
{
    for (int i = f->first; i < f->first + f->n; i++) {
        const struct answer_choice *c = choice_at(f->answer, i);
        if (!c || !c->cut)
            return false;
    }
    return true;
}

bool answer_feed_told_usage(const struct answer_feed *f)
{
    return f->has_usage && f->told->usage.completion >= 0;
}

bool answer_feed_is_finished(const struct answer_feed *f)
{
    bool any = false;
    for (int i = f->first; i < f->first + f->n; i++) {
        const struct answer_choice *c = choice_at(f->answer, i);
        if (c && !c->finished)
            return false;
        any |= c != NULL;
    }
    return any;
}

/* A stop text that the site met at once leaves an empty answer that is whole. */
bool answer_feed_is_blank(const struct answer_feed *f)
{
    if (f->rules.reasoning != REASONING_DROP || f->committed || f->continued || f->other ||
        f->extras || !answer_hold_is_empty(&f->hold) || (f->turn && f->turn->n_stop))
        return false;
    for (int i = f->first; i < f->first + f->n; i++) {
        struct answer_choice *c = choice_at(f->answer, i);
        if (c && (!c->reasoning || c->cut || token_counter_total(&c->text) || !c->held ||
                  !span_eq(c->held->reason, SPAN("stop"))))
            return false;
    }
    return true;
}

int answer_feed_run_ended(struct answer_feed *f)
{
    const struct finish_note end = {.reason = SPAN("stop")};
    for (int i = f->first; i < f->first + f->n; i++) {
        struct answer_choice *c = choice_at(f->answer, i);
        if (!c || c->finished)
            continue;
        if (choice_pass_held(c))
            return -1;
        bool any = f->committed || !answer_hold_is_empty(&f->hold) ||
                   (c->structure && answer_structure_waits(c->structure));
        if (any && !c->finished && choice_finish_with_calls(c, &end))
            return -1;
    }
    return 0;
}

bool answer_feed_is_held(const struct answer_feed *f)
{
    if (!f->hold.on || f->committed || !answer_feed_is_finished(f))
        return false;
    for (int i = f->first; i < f->first + f->n; i++) {
        const struct answer_choice *c = choice_at(f->answer, i);
        if (c && (c->cut || !c->held || !span_eq(c->held->reason, SPAN("stop"))))
            return false;
    }
    return true;
}

void answer_feed_held_text(const struct answer_feed *f, struct buffer *out)
{
    struct held_piece piece;
    size_t at = 0;
    while (answer_hold_next(&f->hold, &at, &piece)) {
        if (piece.choice == f->first && piece.kind == HELD_TEXT)
            buffer_append(out, piece.text);
    }
}

const struct structured_verdict *answer_feed_verdict(const struct answer_feed *f, int choice)
{
    const struct answer_choice *c = choice_at(f->answer, f->first + choice);
    bool judged = c && c->feed == f && c->structure && c->structure->judged;
    return judged ? &c->structure->verdict : NULL;
}

void answer_feed_replace(struct answer_feed *f, struct span text,
                         const struct structured_verdict *verdict)
{
    struct answer_choice *c = choice_at(f->answer, f->first);
    assert(c && c->structure && f->hold.on);
    c->structure->verdict = *verdict;
    f->answer->full |= answer_hold_replace(&f->hold, c->index, text) == BUFFER_FULL;
}

int answer_feed_release(struct answer_feed *f)
{
    f->hold.on = false;
    return answer_hold_is_empty(&f->hold) ? 0 : feed_commit(f);
}
