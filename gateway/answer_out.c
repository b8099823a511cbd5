/*
 * gateway/answer_out.c - what is left of a choice behind its filters goes to the writer, or waits.
 *
 * Knows the commit boundary: the first thing written commits the feed, and what had to wait for
 * that goes ahead of it. Most pieces cost one comparison here.
 */
#include "gateway/answer_internal.h"

#include "gateway/conversation_reuse.h"

int feed_release_extras(struct answer_feed *f)
{
    struct answer_writer *w = f->answer->writer;
    int error = 0;
    for (const struct held_extra *h = f->extras; h && !error; h = h->next)
        error = w->ops->extra(w, (enum extra_place)h->place, h->choice, h->members);
    f->extras = NULL;
    f->answer->full |= error == BUFFER_FULL;
    return error;
}

static int write_held(struct answer_writer *w, const struct held_piece *p)
{
    switch (p->kind) {
    case HELD_TEXT: return w->ops->text(w, p->choice, p->text);
    case HELD_REASONING: return w->ops->reasoning(w, p->choice, p->text);
    case HELD_SIGNATURE: return w->ops->signature(w, p->choice, p->text);
    case HELD_REDACTED: return w->ops->redacted(w, p->choice, p->text);
    }
    return 0;
}

static int release_held(struct answer_feed *f)
{
    struct held_piece piece;
    size_t at = 0;
    int error = 0;
    f->hold.on = false;
    while (!error && answer_hold_next(&f->hold, &at, &piece))
        error = write_held(f->answer->writer, &piece);
    f->answer->full |= error == BUFFER_FULL;
    answer_hold_free(&f->hold);
    return error;
}

int feed_commit(struct answer_feed *f)
{
    if (f->committed)
        return 0;
    f->committed = f->answer->committed = true;
    return feed_release_extras(f) ? -1 : release_held(f);
}

int choice_written(const struct answer_choice *c, int error)
{
    if (error == BUFFER_FULL)
        c->feed->answer->full = true;
    return error;
}

static int hold(struct answer_choice *c, enum held_kind kind, struct span text)
{
    const struct held_piece piece = {c->index, kind, text};
    return choice_written(c, answer_hold_add(&c->feed->hold, &piece));
}

int choice_write_text(struct answer_choice *c, struct span text)
{
    if (c->feed->hold.on)
        return hold(c, HELD_TEXT, text);
    if (feed_commit(c->feed))
        return -1;
    return choice_written(c, choice_writer(c)->ops->text(choice_writer(c), c->index, text));
}

int choice_write_reasoning(struct answer_choice *c, struct span text)
{
    if (c->feed->hold.on)
        return hold(c, HELD_REASONING, text);
    if (feed_commit(c->feed))
        return -1;
    return choice_written(c, choice_writer(c)->ops->reasoning(choice_writer(c), c->index, text));
}

int choice_write_proof(struct answer_choice *c, enum held_kind kind, struct span proof)
{
    const struct answer_writer_ops *ops = choice_writer(c)->ops;
    int (*put)(struct answer_writer *, int, struct span) =
        kind == HELD_SIGNATURE ? ops->signature : ops->redacted;
    if (!put)
        return 0;
    if (c->feed->hold.on)
        return hold(c, kind, proof);
    return feed_commit(c->feed) ? -1 : choice_written(c, put(choice_writer(c), c->index, proof));
}

int choice_end_thinking(struct answer_choice *c)
{
    if (!c->in_think)
        return 0;
    c->in_think = false;
    return choice_write_text(c, SPAN("\n</think>\n\n"));
}

static int send_citations(struct answer_choice *c)
{
    struct answer_feed *f = c->feed;
    size_t n = f->n_citations;
    if (n == 0 || c->index != f->first)
        return 0;
    f->n_citations = 0;
    return choice_writer(c)->ops->citations(choice_writer(c), c->index, f->citations, n);
}

/* What the choice is worth stands beside its finish reason; of the only one, at the top. */
static int tell_structure(struct answer_choice *c)
{
    struct buffer members;
    int error = 0;
    if (!c->structure)
        return 0;
    buffer_init(&members, 8 * SCHEMA_REPORT_SIZE);
    answer_structure_tell(c->structure, &members);
    enum extra_place place = c->structure->rules->several ? EXTRA_CHOICE : EXTRA_TOP;
    if (members.n)
        error =
            choice_writer(c)->ops->extra(choice_writer(c), place, c->index, buffer_span(&members));
    buffer_free(&members);
    return choice_written(c, error);
}

int choice_write_finish(struct answer_choice *c, const struct finish_note *note)
{
    c->finished = true;
    c->text_is_straight = c->reasoning_is_straight = false;
    if (choice_end_thinking(c) || send_citations(c) || tell_structure(c))
        return -1;
    return choice_written(c, choice_writer(c)->ops->finish(choice_writer(c), c->index, note));
}

static int hold_finish(struct answer_choice *c, const struct finish_note *note)
{
    struct arena *arena = c->feed->answer->arena;
    struct finish_note *held = arena_alloc(arena, sizeof *held);
    if (!held)
        return -1;
    *held = (struct finish_note){arena_dup(arena, note->reason), arena_dup(arena, note->native),
                                 arena_dup(arena, note->stop)};
    c->held = held;
    c->finished = c->finish_held = true;
    c->text_is_straight = c->reasoning_is_straight = false;
    return held->reason.p && held->native.p && held->stop.p ? 0 : -1;
}

int choice_finish(struct answer_choice *c, const struct finish_note *note)
{
    if (c->finished)
        return 0;
    if (c->structure && answer_structure_end(c->structure, note->reason))
        return -1;
    return c->feed->committed && !c->continuing ? choice_write_finish(c, note)
                                                : hold_finish(c, note);
}

int choice_cut(struct answer_choice *c, const struct finish_note *note)
{
    c->cut = true;
    return choice_finish(c, note);
}

int choice_cut_at_limit(struct answer_choice *c)
{
    return choice_cut(c, &(struct finish_note){.reason = SPAN("length")});
}

int choice_leave_structure(struct answer_choice *c)
{
    return c->structure ? answer_structure_leave(c->structure) : 0;
}

int choice_begin_call(struct answer_choice *c, const struct delta *d)
{
    struct answer *a = c->feed->answer;
    struct span id = d->id;
    if (c->finished) /* what was held back met a stop text or the limit */
        return 0;
    if (choice_end_thinking(c) || choice_leave_structure(c) || feed_commit(c->feed))
        return -1;
    if (id.n == 0) /* sites without ids: one that is unique within the conversation's turn */
        id = arena_printf(a->arena, "call_%.*s_%d_%d", SPAN_ARGS(span_from(a->id, a->id.n - 8)),
                          c->index, d->index);
    if (!id.p || token_counter_add(&c->text, d->name))
        return -1;
    if (c->feed->rules.told)
        conversation_told_call(c->feed->rules.told, id, d->name);
    const struct tool_start tool = {d->index, id, d->name, d->extra_content};
    return choice_written(c, choice_writer(c)->ops->tool_begin(choice_writer(c), c->index, &tool));
}
