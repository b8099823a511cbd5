/*
 * gateway/answer_deltas.c - what becomes of each kind of delta that an adapter puts into a feed.
 */
#include "gateway/answer_internal.h"

#include "base/json_raw.h"

_Static_assert((int)PLACE_TOP == EXTRA_TOP && (int)PLACE_CHOICE == EXTRA_CHOICE &&
                   (int)PLACE_DELTA == EXTRA_DELTA,
               "delta places mirror the emitter's");

enum { CITATIONS_MAX = 1000 };

static int put_reasoning(struct answer_choice *c, struct span text)
{
    c->splitting = false; /* this site tells its thinking apart */
    return choice_pass_reasoning(c, text);
}

/* What proves reasoning goes where the reasoning went. */
static int put_proof(struct answer_choice *c, enum held_kind kind, struct span proof)
{
    enum reasoning_style style = c->feed->rules.reasoning;
    if (c->feed->continued || style == REASONING_THINK || style == REASONING_DROP)
        return 0;
    c->splitting = false; /* this site tells its thinking apart */
    return choice_write_proof(c, kind, proof);
}

static int put_refusal(struct answer_choice *c, struct span text)
{
    if (choice_leave_structure(c) || answer_feed_release(c->feed) || choice_end_thinking(c) ||
        token_counter_add(&c->text, text))
        return -1;
    return choice_written(c, choice_writer(c)->ops->refusal(choice_writer(c), c->index, text));
}

static int put_tool_begin(struct answer_choice *c, const struct delta *d)
{
    return choice_pass_held(c) ? -1 : choice_begin_call(c, d);
}

static int put_tool_arguments(struct answer_choice *c, const struct delta *d)
{
    if (choice_end_thinking(c) || token_counter_add(&c->text, d->text))
        return -1;
    return choice_written(
        c, choice_writer(c)->ops->tool_arguments(choice_writer(c), c->index, d->index, d->text));
}

static int keep_citation(struct answer_feed *f, const struct delta *d)
{
    struct arena *arena = f->answer->arena;
    if (f->n_citations >= CITATIONS_MAX)
        return 0;
    for (size_t i = 0; i < f->n_citations; i++) { /* each url once, but where places are told */
        const struct citation *c = &f->citations[i];
        if (span_eq(c->url, d->url) && (!d->end || (c->start == d->start && c->end == d->end)))
            return 0;
    }
    if (f->n_citations == f->cap_citations) {
        size_t cap = f->cap_citations ? f->cap_citations * 2 : 8;
        struct citation *grown = arena_alloc(arena, cap * sizeof *grown);
        if (!grown)
            return -1;
        if (f->n_citations)
            memcpy(grown, f->citations, f->n_citations * sizeof *grown);
        f->citations = grown;
        f->cap_citations = cap;
    }
    struct citation c = {arena_dup(arena, d->url), arena_dup(arena, d->title), d->start, d->end};
    if (!c.url.p || !c.title.p)
        return -1;
    if (f->continued) /* places in its own text, not in the whole */
        c.start = c.end = 0;
    f->citations[f->n_citations++] = c;
    return 0;
}

/* Some sites tell their usage with every chunk: the room for it is kept. */
static int keep_usage(struct answer_feed *f, const struct delta_usage *u)
{
    struct arena *arena = f->answer->arena;
    struct span raw = u->raw;
    struct answer_told *told = f->told ? f->told : arena_alloc(arena, sizeof *told);
    if (!told)
        return -1;
    f->told = told;
    f->has_usage = true;
    told->usage = *u;
    told->usage.raw = span_of(NULL, 0);
    if (raw.n > told->room) {
        told->text = arena_alloc(arena, 2 * raw.n);
        told->room = told->text ? 2 * raw.n : 0;
        if (!told->text)
            return -1;
    }
    if (raw.n) {
        memcpy(told->text, raw.p, raw.n);
        told->usage.raw = span_of(told->text, raw.n);
    }
    return 0;
}

/* Another run of the same answer may be committed, and a silent stream may get its first event: so
 * they wait here, not at the writer. Sites tell the same at the top of every chunk: once is enough.
 */
static int hold_extra(struct answer_feed *f, const struct delta *d)
{
    struct arena *arena = f->answer->arena;
    for (struct held_extra *h = f->extras; h; h = h->next) {
        if (d->place == PLACE_TOP && h->place == EXTRA_TOP && span_eq(h->members, d->text))
            return 0;
    }
    struct held_extra *h = arena_alloc(arena, sizeof *h);
    if (!h)
        return -1;
    *h = (struct held_extra){NULL, d->place, f->first + d->choice, arena_text(arena, d->text)};
    *(f->extras ? f->last_extra : &f->extras) = h;
    f->last_extra = &h->next;
    return h->members.p ? 0 : -1;
}

/* Of an answer that may be continued: true = it is left out. What stands beside a continuation's
 * pieces belongs to thoughts that are not told, or to text whose beginning is cut off. */
static bool note_extra(struct answer_feed *f, const struct delta *d)
{
    struct answer_choice *c = choice_of(f, 0);
    if (d->place != PLACE_TOP) {
        f->other |= json_raw_has(d->text, SPAN("images")) || json_raw_has(d->text, SPAN("audio"));
        return f->continued;
    }
    if (c && c->continuing) {
        buffer_clear(&c->continuing->top);
        buffer_append(&c->continuing->top, d->text);
    }
    return false;
}

/* Members that we do not know wait for the text that they stand beside. When more of them come
 * instead, they are the answer (sound in pieces): each goes out on its own. */
static int put_extra(struct answer_feed *f, const struct delta *d)
{
    struct answer *a = f->answer;
    if (f->rules.may_continue && note_extra(f, d))
        return 0;
    if (d->place == PLACE_DELTA && f->extra_waits && !f->committed && !f->hold.on) {
        if (feed_commit(f))
            return -1;
        answer_frame_done(a);
    }
    f->extra_waits |= d->place == PLACE_DELTA;
    if (!f->committed)
        return hold_extra(f, d);
    return a->writer->ops->extra(a->writer, (enum extra_place)d->place, f->first + d->choice,
                                 d->text);
}

static int put_choice_delta(struct answer_choice *c, const struct delta *d)
{
    if (c->finished) /* nothing after the finish reason but usage (S9) */
        return 0;
    if (c->tools && c->tools->torn)
        return 0;
    if (d->kind == DELTA_FINISH)
        return choice_pass_finish(c, &(struct finish_note){d->text, d->native, d->stop});
    c->feed->has_text = true;
    c->feed->other |= d->kind == DELTA_REFUSAL || d->kind == DELTA_TOOL_BEGIN;
    switch (d->kind) {
    case DELTA_TEXT: return choice_pass_text(c, d->text);
    case DELTA_REASONING: return put_reasoning(c, d->text);
    case DELTA_REFUSAL: return put_refusal(c, d->text);
    case DELTA_SIGNATURE: return put_proof(c, HELD_SIGNATURE, d->text);
    case DELTA_REDACTED: return put_proof(c, HELD_REDACTED, d->text);
    case DELTA_TOOL_BEGIN: return put_tool_begin(c, d);
    case DELTA_TOOL_ARGUMENTS: return put_tool_arguments(c, d);
    default: return 0;
    }
}

int feed_put_delta(void *owner, const struct delta *d)
{
    struct answer_feed *f = owner;
    struct answer *a = f->answer;
    if (d->choice < 0 || d->choice >= f->n)
        return 0;
    a->deltas++;
    switch (d->kind) {
    case DELTA_USAGE: return keep_usage(f, &d->usage);
    case DELTA_CITATION: return keep_citation(f, d);
    case DELTA_HEAD:
        a->content_type = arena_dup(a->arena, d->text);
        return a->content_type.p ? 0 : -1;
    case DELTA_BYTES:
        if (feed_commit(f))
            return -1;
        return a->writer->ops->bytes(a->writer, d->text);
    case DELTA_EXTRA: return put_extra(f, d);
    default: break;
    }
    struct answer_choice *c = choice_of(f, d->choice);
    return c ? put_choice_delta(c, d) : -1;
}

int feed_put_text(void *owner, enum delta_kind kind, int choice, struct span text)
{
    struct answer_feed *f = owner;
    bool known = choice >= 0 && choice < f->n;
    struct answer_choice *c = known ? choice_at(f->answer, f->first + choice) : NULL;
    if (c && ((kind == DELTA_TEXT && c->text_is_straight) ||
              (kind == DELTA_REASONING && c->reasoning_is_straight))) {
        f->answer->deltas++;
        return choice_pass_straight(c, kind == DELTA_REASONING, text);
    }
    return feed_put_delta(f, &(struct delta){.kind = kind, .choice = choice, .text = text});
}
