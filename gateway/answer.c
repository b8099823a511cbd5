/*
 * gateway/answer.c - see answer.h.
 *
 * A piece of text goes through the filters of its choice in this order: leaked thinking is taken
 * out, a continuation loses what it repeats, calls of tools are taken out, `stop` cuts, the token
 * limit cuts; what is left is counted, loses what is around the JSON that it should be, and is
 * written. Most answers need none of them, and then a piece
 * costs one comparison each, and a copy for the count.
 */
#include "gateway/answer.h"

#include <assert.h>

#include "base/json_raw.h"
#include "gateway/answer_tools.h"
#include "gateway/conversation_reuse.h"
#include "gateway/stop_filter.h"
#include "gateway/text_joiner.h"
#include "gateway/think_splitter.h"

_Static_assert((int)PLACE_TOP == EXTRA_TOP && (int)PLACE_CHOICE == EXTRA_CHOICE &&
                   (int)PLACE_DELTA == EXTRA_DELTA,
               "delta places mirror the emitter's");

enum { CITATIONS_MAX = 1000 };

/* What an answer needs beside the rest that may be continued. */
struct answer_continuing {
    struct text_joiner joiner;
    struct buffer top; /* the members at the top that were told last */
    bool had_finish;
    struct finish_note finish; /* of the run before the continuation */
};

struct answer_choice {
    struct answer_feed *feed;
    int index;
    bool finished, cut;
    bool finish_held;        /* as long as the run may still be tried again */
    struct finish_note held; /* in the arena */
    bool in_think;           /* inside our own <think> (REASONING_THINK) */
    bool splitting;
    struct think_splitter splitter;
    struct answer_tools *tools;         /* in the arena; NULL: calls are no text */
    struct answer_structure *structure; /* in the arena; NULL: the text need not be JSON */
    bool stopping;
    struct stop_filter stop; /* initialised while stopping */
    struct token_counter text, reasoning;
    struct answer_continuing *continuing; /* in the arena; NULL: it is not continued */
};

/* ---- choices ---- */

static void free_choice(struct answer_choice *c)
{
    if (c->continuing) {
        text_joiner_free(&c->continuing->joiner);
        buffer_free(&c->continuing->top);
    }
    if (c->tools)
        answer_tools_free(c->tools);
    if (c->structure)
        answer_structure_free(c->structure);
    if (c->stopping)
        stop_filter_free(&c->stop);
    token_counter_free(&c->text);
    token_counter_free(&c->reasoning);
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

static int tool_text(void *owner, struct span text);
static int tool_begin(void *owner, int call, struct span name);
static int tool_arguments(void *owner, int call, struct span piece);

static int prepare_tools(struct answer_choice *c)
{
    const struct answer_rules *rules = &c->feed->rules;
    const struct answer_tools_out out = {tool_text, tool_begin, tool_arguments, c};
    struct answer_tools *tools = arena_alloc(c->feed->answer->arena, sizeof *tools);
    if (!tools || answer_tools_init(tools, rules->tools, rules->one_call, &out))
        return -1;
    c->tools = tools;
    return 0;
}

static int put_json(void *owner, struct span text);

static int prepare_structure(struct answer_choice *c)
{
    struct answer_feed *f = c->feed;
    if (!f->rules.structure.wish)
        return 0;
    c->structure = arena_alloc(f->answer->arena, sizeof *c->structure);
    if (!c->structure)
        return -1;
    answer_structure_init(c->structure, &f->rules.structure, put_json, c);
    return 0;
}

/* 0, or -1 when memory is short: then there is a choice all the same, to be freed. */
static int prepare_choice(struct answer_choice *c, struct answer_feed *feed, int index)
{
    const struct answer_rules *rules = &feed->rules;
    *c = (struct answer_choice){
        .feed = feed,
        .index = index,
        .splitting = rules->reasoning != REASONING_UNTOUCHED,
        .stopping = rules->n_stops > 0,
    };
    if (c->stopping)
        stop_filter_init(&c->stop, rules->stops, rules->n_stops);
    token_counter_init(&c->text, feed->answer->tokens);
    token_counter_init(&c->reasoning, feed->answer->tokens);
    if (rules->may_continue)
        prepare_continuing(c);
    return rules->tools && prepare_tools(c) ? -1 : prepare_structure(c);
}

/* NULL: nothing came for it so far. */
static struct answer_choice *choice_at(const struct answer *a, int index)
{
    return index < a->n_choices ? a->choices[index] : NULL;
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

/* `choice` counts within the feed, and is one of it. NULL when memory is short. */
static struct answer_choice *choice_of(struct answer_feed *f, int choice)
{
    struct answer *a = f->answer;
    int index = f->first + choice;
    if (index >= a->n_choices && make_room(a, index))
        return NULL;
    struct answer_choice **c = &a->choices[index];
    if (!*c) {
        *c = arena_alloc(a->arena, sizeof **c);
        if (*c && prepare_choice(*c, f, index))
            return NULL;
    }
    bool whole =
        *c && (!f->rules.tools || (*c)->tools) && (!f->rules.structure.wish || (*c)->structure);
    return whole ? *c : NULL;
}

/* ---- what goes to the writer ---- */

static struct answer_writer *writer_of(const struct answer_choice *c)
{
    return c->feed->answer->writer;
}

/* What the run told before its first piece goes ahead of it. 0, or what the writer says. */
static int release_extras(struct answer_feed *f)
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

static int commit(struct answer_feed *f)
{
    if (f->committed)
        return 0;
    f->committed = f->answer->committed = true;
    return release_extras(f) ? -1 : release_held(f);
}

static int written(const struct answer_choice *c, int error)
{
    if (error == BUFFER_FULL)
        c->feed->answer->full = true;
    return error;
}

static int hold(struct answer_choice *c, enum held_kind kind, struct span text)
{
    const struct held_piece piece = {c->index, kind, text};
    return written(c, answer_hold_add(&c->feed->hold, &piece));
}

static int write_text(struct answer_choice *c, struct span text)
{
    if (c->feed->hold.on)
        return hold(c, HELD_TEXT, text);
    if (commit(c->feed))
        return -1;
    return written(c, writer_of(c)->ops->text(writer_of(c), c->index, text));
}

static int write_reasoning(struct answer_choice *c, struct span text)
{
    if (c->feed->hold.on)
        return hold(c, HELD_REASONING, text);
    if (commit(c->feed))
        return -1;
    return written(c, writer_of(c)->ops->reasoning(writer_of(c), c->index, text));
}

/* Leaves <think> before anything that is not reasoning. */
static int end_thinking(struct answer_choice *c)
{
    if (!c->in_think)
        return 0;
    c->in_think = false;
    return write_text(c, SPAN("\n</think>\n\n"));
}

static int send_citations(struct answer_choice *c)
{
    struct answer_feed *f = c->feed;
    size_t n = f->n_citations;
    if (n == 0 || c->index != f->first)
        return 0;
    f->n_citations = 0;
    return writer_of(c)->ops->citations(writer_of(c), c->index, f->citations, n);
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
        error = writer_of(c)->ops->extra(writer_of(c), place, c->index, buffer_span(&members));
    buffer_free(&members);
    return written(c, error);
}

static int write_finish(struct answer_choice *c, const struct finish_note *note)
{
    c->finished = true;
    if (end_thinking(c) || send_citations(c) || tell_structure(c))
        return -1;
    return written(c, writer_of(c)->ops->finish(writer_of(c), c->index, note));
}

static int hold_finish(struct answer_choice *c, const struct finish_note *note)
{
    struct arena *arena = c->feed->answer->arena;
    c->held = (struct finish_note){arena_dup(arena, note->reason), arena_dup(arena, note->native),
                                   arena_dup(arena, note->stop)};
    c->finished = c->finish_held = true;
    return c->held.reason.p && c->held.native.p && c->held.stop.p ? 0 : -1;
}

/* Nothing comes behind a finish reason. A run without any text may be tried again all the same, and
 * another one continued: its reason waits for the answer's end. */
static int finish(struct answer_choice *c, const struct finish_note *note)
{
    if (c->finished)
        return 0;
    if (c->structure && answer_structure_end(c->structure, note->reason))
        return -1;
    return c->feed->committed && !c->continuing ? write_finish(c, note) : hold_finish(c, note);
}

/* The gateway ends the choice, not the site. */
static int cut_here(struct answer_choice *c, const struct finish_note *note)
{
    c->cut = true;
    return finish(c, note);
}

static int cut_at_limit(struct answer_choice *c)
{
    return cut_here(c, &(struct finish_note){.reason = SPAN("length")});
}

/* ---- the filters ---- */

/* The part of a piece that the limit leaves, counted; `*over` when something was cut off. */
static int limit_text(struct answer_choice *c, struct token_counter *counter, struct span *text,
                      bool *over)
{
    const struct answer_rules *rules = &c->feed->rules;
    struct token_counter *other = counter == &c->text ? &c->reasoning : &c->text;
    *over = false;
    if (!rules->max_tokens || (counter == &c->reasoning && !rules->max_includes_reasoning))
        return token_counter_add(counter, *text);
    int64_t used = rules->max_includes_reasoning ? token_counter_total(other) : 0;
    ptrdiff_t n = token_counter_take(counter, *text, rules->max_tokens - used);
    if (n < 0)
        return -1;
    *over = (size_t)n < text->n;
    *text = span_first(*text, (size_t)n);
    return 0;
}

static int put_json(void *owner, struct span text)
{
    struct answer_choice *c = owner;
    if (text.n && write_text(c, text))
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
    if (limit_text(c, &c->text, &text, &over) || end_thinking(c) ||
        (c->structure ? answer_structure_pass(c->structure, text) : put_json(c, text)))
        return -1;
    return over ? cut_at_limit(c) : 0;
}

/* No answer in words: what was taken for one goes out as it is. */
static int leave_structure(struct answer_choice *c)
{
    return c->structure ? answer_structure_leave(c->structure) : 0;
}

static int stopped_text(struct answer_choice *c, struct span text)
{
    struct span out;
    if (!c->stopping)
        return limited_text(c, text);
    if (stop_filter_pass(&c->stop, text, &out) || limited_text(c, out))
        return -1;
    if (!c->stop.stopped)
        return 0;
    return cut_here(c, &(struct finish_note){.reason = SPAN("stop"), .stop = c->stop.met});
}

/* Behind a made-up result, or behind the one call that is wanted, nothing is. */
static int end_at_call(struct answer_choice *c)
{
    if (!c->tools->enough || c->finished)
        return 0;
    return cut_here(
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

static int limited_reasoning(struct answer_choice *c, struct span text)
{
    bool over;
    if (c->feed->continued) /* the client has had its thoughts */
        return token_counter_add(&c->reasoning, text);
    if (limit_text(c, &c->reasoning, &text, &over))
        return -1;
    if (text.n && c->feed->rules.reasoning == REASONING_THINK) {
        if ((!c->in_think && write_text(c, SPAN("<think>\n"))) || write_text(c, text))
            return -1;
        c->in_think = true;
    } else if (text.n && c->feed->rules.reasoning != REASONING_DROP) {
        if (write_reasoning(c, text))
            return -1;
    }
    return over ? cut_at_limit(c) : 0;
}

static int put_split(void *owner, bool reasoning, struct span text)
{
    struct answer_choice *c = owner;
    if (c->finished)
        return 0;
    return reasoning ? limited_reasoning(c, text) : joined_text(c, text);
}

static int put_held_at_seam(struct answer_choice *c,
                            int (*take)(struct text_joiner *, struct span *))
{
    struct span text;
    if (!c->continuing || c->finished)
        return 0;
    return take(&c->continuing->joiner, &text) ? -1 : called_text(c, text);
}

static int put_held_of_call(struct answer_choice *c, enum tool_end end)
{
    if (!c->tools || c->finished)
        return 0;
    if (answer_tools_end(c->tools, end))
        return -1;
    c->feed->torn |= c->tools->torn && end == TOOL_END_WHOLE;
    return end_at_call(c);
}

/* What the filters hold back in case more comes. */
static int put_held(struct answer_choice *c, enum tool_end end)
{
    if (c->splitting && think_splitter_end(&c->splitter, put_split, c))
        return -1;
    if (put_held_at_seam(c, text_joiner_end) || put_held_of_call(c, end))
        return -1;
    struct span rest = c->stopping && !c->finished ? stop_filter_end(&c->stop) : span_of("", 0);
    return limited_text(c, rest);
}

/* A site without tools does not know that its answer is a call. */
static int finish_with_calls(struct answer_choice *c, const struct finish_note *note)
{
    struct finish_note called = *note;
    if (c->tools && c->tools->torn && !span_eq(note->reason, SPAN("length")))
        return 0; /* it is cut, and so ends without a reason */
    if (c->tools && c->tools->calls && span_eq(note->reason, SPAN("stop")))
        called = (struct finish_note){.reason = SPAN("tool_calls")};
    return finish(c, &called);
}

static int put_finish(struct answer_choice *c, const struct finish_note *note)
{
    enum tool_end end = span_eq(note->reason, SPAN("length")) ? TOOL_END_LIMIT : TOOL_END_WHOLE;
    if (c->finished)
        return 0;
    return put_held(c, end) ? -1 : finish_with_calls(c, note);
}

/* ---- the kinds of deltas ---- */

static int put_text(struct answer_choice *c, struct span text)
{
    return c->splitting ? think_splitter_pass(&c->splitter, text, put_split, c)
                        : joined_text(c, text);
}

static int put_reasoning(struct answer_choice *c, struct span text)
{
    c->splitting = false; /* this site tells its thinking apart */
    return limited_reasoning(c, text);
}

/* What proves reasoning goes where the reasoning went. */
static int put_proof(struct answer_choice *c, struct span proof, enum held_kind kind)
{
    const struct answer_writer_ops *ops = writer_of(c)->ops;
    int (*put)(struct answer_writer *, int, struct span) =
        kind == HELD_SIGNATURE ? ops->signature : ops->redacted;
    if (!put || c->feed->continued || c->feed->rules.reasoning == REASONING_THINK ||
        c->feed->rules.reasoning == REASONING_DROP)
        return 0;
    c->splitting = false; /* this site tells its thinking apart */
    if (c->feed->hold.on)
        return hold(c, kind, proof);
    return commit(c->feed) ? -1 : written(c, put(writer_of(c), c->index, proof));
}

static int put_refusal(struct answer_choice *c, struct span text)
{
    if (leave_structure(c) || answer_feed_release(c->feed) || end_thinking(c) ||
        token_counter_add(&c->text, text))
        return -1;
    return written(c, writer_of(c)->ops->refusal(writer_of(c), c->index, text));
}

static int begin_call(struct answer_choice *c, const struct delta *d)
{
    struct answer *a = c->feed->answer;
    struct span id = d->id;
    if (c->finished) /* what was held back met a stop text or the limit */
        return 0;
    if (end_thinking(c) || leave_structure(c) || commit(c->feed))
        return -1;
    if (id.n == 0) /* sites without ids: one that is unique within the conversation's turn */
        id = arena_printf(a->arena, "call_%.*s_%d_%d", SPAN_ARGS(span_from(a->id, a->id.n - 8)),
                          c->index, d->index);
    if (!id.p || token_counter_add(&c->text, d->name))
        return -1;
    if (c->feed->rules.told)
        conversation_told_call(c->feed->rules.told, id, d->name);
    const struct tool_start tool = {d->index, id, d->name, d->extra_content};
    return written(c, writer_of(c)->ops->tool_begin(writer_of(c), c->index, &tool));
}

static int put_tool_begin(struct answer_choice *c, const struct delta *d)
{
    return put_held(c, TOOL_END_WHOLE) ? -1 : begin_call(c, d);
}

static int put_tool_arguments(struct answer_choice *c, const struct delta *d)
{
    if (end_thinking(c) || token_counter_add(&c->text, d->text))
        return -1;
    return written(c, writer_of(c)->ops->tool_arguments(writer_of(c), c->index, d->index, d->text));
}

/* ---- calls that stood in the text ---- */

static int tool_text(void *owner, struct span text)
{
    struct answer_choice *c = owner;
    return c->finished ? 0 : stopped_text(c, text);
}

static int tool_begin(void *owner, int call, struct span name)
{
    struct answer_choice *c = owner;
    struct span rest = c->stopping && !c->finished ? stop_filter_end(&c->stop) : span_of("", 0);
    if (!c->finished && limited_text(c, rest))
        return -1;
    return begin_call(c, &(struct delta){.index = call, .name = name});
}

/* The limit counts them: the site does not heed it, or would have stopped by itself. */
static int tool_arguments(void *owner, int call, struct span piece)
{
    struct answer_choice *c = owner;
    bool over;
    if (c->finished)
        return 0;
    if (limit_text(c, &c->text, &piece, &over))
        return -1;
    if (c->feed->rules.told)
        conversation_told_arguments(c->feed->rules.told, piece);
    if (piece.n &&
        written(c, writer_of(c)->ops->tool_arguments(writer_of(c), c->index, call, piece)))
        return -1;
    return over ? cut_at_limit(c) : 0;
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
    struct span raw = u->raw;
    f->has_usage = true;
    f->usage = *u;
    f->usage.raw = span_of(NULL, 0);
    if (raw.n > f->usage_room) {
        f->usage_text = arena_alloc(f->answer->arena, 2 * raw.n);
        f->usage_room = f->usage_text ? 2 * raw.n : 0;
        if (!f->usage_text)
            return -1;
    }
    if (raw.n) {
        memcpy(f->usage_text, raw.p, raw.n);
        f->usage.raw = span_of(f->usage_text, raw.n);
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
    *h = (struct held_extra){NULL, d->place, f->first + d->choice, arena_dup(arena, d->text)};
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
        if (commit(f))
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
        return put_finish(c, &(struct finish_note){d->text, d->native, d->stop});
    c->feed->has_text = true;
    c->feed->other |= d->kind == DELTA_REFUSAL || d->kind == DELTA_TOOL_BEGIN;
    switch (d->kind) {
    case DELTA_TEXT: return put_text(c, d->text);
    case DELTA_REASONING: return put_reasoning(c, d->text);
    case DELTA_REFUSAL: return put_refusal(c, d->text);
    case DELTA_SIGNATURE: return put_proof(c, d->text, HELD_SIGNATURE);
    case DELTA_REDACTED: return put_proof(c, d->text, HELD_REDACTED);
    case DELTA_TOOL_BEGIN: return put_tool_begin(c, d);
    case DELTA_TOOL_ARGUMENTS: return put_tool_arguments(c, d);
    default: return 0;
    }
}

static int put_delta(void *owner, const struct delta *d)
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
        if (commit(f))
            return -1;
        return a->writer->ops->bytes(a->writer, d->text);
    case DELTA_EXTRA: return put_extra(f, d);
    default: break;
    }
    struct answer_choice *c = choice_of(f, d->choice);
    return c ? put_choice_delta(c, d) : -1;
}

/* ---- feeds ---- */

void answer_feed_add(struct answer *a, struct answer_feed *f, const struct turn *turn, int first,
                     int n)
{
    assert(first >= 0 && n > 0 && n <= EMITTER_CHOICES - first);
    *f = (struct answer_feed){
        .sink = {put_delta, f}, .answer = a, .turn = turn, .first = first, .n = n};
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
            free_choice(c);
            prepare_choice(c, f, i); /* without memory its first piece fails: see choice_of */
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

int answer_feed_run_ended(struct answer_feed *f)
{
    const struct finish_note end = {.reason = SPAN("stop")};
    for (int i = f->first; i < f->first + f->n; i++) {
        struct answer_choice *c = choice_at(f->answer, i);
        if (!c || c->finished)
            continue;
        if (put_held(c, TOOL_END_WHOLE))
            return -1;
        bool any = f->committed || !answer_hold_is_empty(&f->hold) ||
                   (c->structure && answer_structure_waits(c->structure));
        if (any && !c->finished && finish_with_calls(c, &end))
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
        if (c && (c->cut || !span_eq(c->held.reason, SPAN("stop"))))
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
    return answer_hold_is_empty(&f->hold) ? 0 : commit(f);
}

/* ---- token counts ---- */

/* A count that a site could mean; JavaScript clients read integers up to 2^53. */
static int64_t clamp(int64_t n)
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
        *sum = clamp(n) + (*sum > 0 ? *sum : 0);
}

/* What we can tell ourselves of the present run. */
static int64_t count_feed(const struct answer_feed *f, int64_t *reasoning,
                          enum count_origin *origin)
{
    int64_t text = 0;
    *reasoning = 0;
    *origin = token_counter_origin(f->answer->tokens);
    for (int i = f->first; i < f->first + f->n; i++) {
        struct answer_choice *c = choice_at(f->answer, i);
        if (!c || c->feed != f)
            continue;
        text += token_counter_total(&c->text) - f->counted_text;
        *reasoning += token_counter_total(&c->reasoning) - f->counted_reasoning;
        if (c->text.estimated || c->reasoning.estimated)
            *origin = COUNT_ESTIMATED;
    }
    return text + *reasoning;
}

/* The prompt's tokens by our own count. Several runs for one prompt: it is counted once. */
static int64_t count_prompt(struct prompt_tokens *known, const struct answer *a,
                            const struct answer_feed *f, enum count_origin *origin)
{
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
    int64_t reasoning = f->usage.reasoning;
    bool cut = false;
    for (int i = f->first; i < f->first + f->n; i++) {
        const struct answer_choice *c = choice_at(a, i);
        cut |= c && c->feed == f && c->cut;
    }
    if (f->has_usage && f->usage.prompt >= 0)
        sum->prompt += clamp(f->usage.prompt);
    else
        sum->prompt += count_prompt(known, a, f, &prompt);
    if (f->has_usage && f->usage.completion >= 0 && !cut) {
        sum->completion += clamp(f->usage.completion);
    } else {
        sum->completion += count_feed(f, &reasoning, &completion);
    }
    if (f->has_usage) {
        add_known(&sum->cached, f->usage.cached);
        sum->cache_write += clamp(f->usage.cache_write);
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
           token_counter_total(&c->reasoning) > f->counted_reasoning;
}

static void add_usage(struct answer *a, struct answer_feed *f, struct prompt_tokens *known)
{
    const struct usage_sum sum = {&a->usage, &a->prompt_origin, &a->completion_origin};
    if (f->continued || f->has_past) {
        a->usage.prompt += f->past.prompt;
        a->usage.completion += f->past.completion;
        a->usage.cache_write += f->past.cache_write;
        add_known(&a->usage.cached, f->past.cached);
        add_known(&a->usage.reasoning, f->past.reasoning);
        a->prompt_origin = weaker(a->prompt_origin, f->past_prompt_origin);
        a->completion_origin = weaker(a->completion_origin, f->past_completion_origin);
    }
    if (has_begun(f))
        add_run_usage(a, f, known, &sum);
}

static void settle_usage(struct answer *a)
{
    a->usage = (struct usage_counts){.cached = -1, .reasoning = -1};
    a->prompt_origin = a->completion_origin = COUNT_UPSTREAM;
    struct prompt_tokens known = {.left = PROMPTS_COUNTED_MAX};
    for (struct answer_feed *f = a->feeds; f; f = f->next)
        add_usage(a, f, &known);
    enum count_origin origin = weaker(a->prompt_origin, a->completion_origin);
    if (a->feeds && !a->feeds->next && !a->feeds->continued && !a->feeds->has_past &&
        origin == COUNT_UPSTREAM)
        a->usage.raw = a->feeds->usage.raw;
    a->usage.source = count_origin_name(origin);
}

/* ---- an answer of several runs ---- */

int answer_feed_run_over(struct answer_feed *f, struct answer_run_state *state)
{
    struct answer_choice *c = choice_at(f->answer, f->first);
    int64_t reasoning;
    enum count_origin origin;
    *state = (struct answer_run_state){.other = true};
    if (!c || !c->continuing)
        return 0;
    struct text_joiner *j = &c->continuing->joiner;
    if (!c->finished && f->committed &&
        ((c->splitting && think_splitter_end(&c->splitter, put_split, c)) ||
         put_held_at_seam(c, text_joiner_run_over)))
        return -1;
    bool told = f->has_usage && f->usage.completion >= 0;
    int64_t counted = count_feed(f, &reasoning, &origin);
    *state = (struct answer_run_state){
        .text = buffer_span(&j->text),
        .finish = c->finished ? c->held.reason : span_of("", 0),
        .whole = !j->text.error,
        .is_new = text_joiner_has_new(j),
        .thoughts = token_counter_total(&c->reasoning) > 0,
        .other = f->other,
        .cut = c->cut,
        .started_over = j->started_over,
        .tokens = f->past.completion + (told ? clamp(f->usage.completion) : counted),
        .tokens_told = told,
    };
    return 0;
}

void answer_feed_set_aside(struct answer_feed *f)
{
    struct answer_choice *c = choice_at(f->answer, f->first);
    assert(c && c->continuing);
    if (c->finished) {
        c->continuing->had_finish = true;
        c->continuing->finish = c->held;
    }
    c->finished = c->finish_held = false;
}

static void add_to_past(struct answer_feed *f)
{
    const struct usage_sum past = {&f->past, &f->past_prompt_origin, &f->past_completion_origin};
    struct prompt_tokens known = {.left = PROMPTS_COUNTED_MAX};
    if (!f->continued && !f->has_past) {
        f->past = (struct usage_counts){.cached = -1, .reasoning = -1};
        f->past_prompt_origin = f->past_completion_origin = COUNT_UPSTREAM;
    }
    if (has_begun(f))
        add_run_usage(f->answer, f, &known, &past);
}

void answer_feed_count_run(struct answer_feed *f)
{
    add_to_past(f);
    f->has_past = true;
}

void answer_feed_continue(struct answer_feed *f, const struct turn *turn)
{
    struct answer_choice *c = choice_at(f->answer, f->first);
    assert(c && c->continuing);
    add_to_past(f);
    f->counted_text = token_counter_total(&c->text);
    f->counted_reasoning = token_counter_total(&c->reasoning);
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
    c->held = *finish;
    c->finished = c->finish_held = true;
    return true;
}

bool answer_feed_started_over(const struct answer_feed *f)
{
    const struct answer_choice *c = choice_at(f->answer, f->first);
    return c && c->continuing && c->continuing->joiner.started_over;
}

/* The remark goes beside what the site tells at the top, which it would replace otherwise. */
static int put_remark(struct answer_choice *c)
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
    return written(c,
                   writer_of(c)->ops->extra(writer_of(c), EXTRA_TOP, c->index, buffer_span(top)));
}

/* ---- the answer ---- */

void answer_init(struct answer *a, struct answer_writer *writer, struct arena *arena,
                 const struct token_source *tokens, struct span id)
{
    *a = (struct answer){.writer = writer, .arena = arena, .tokens = tokens, .id = id};
}

void answer_free(struct answer *a)
{
    for (int i = 0; i < a->n_choices; i++) {
        if (a->choices[i])
            free_choice(a->choices[i]);
    }
    for (struct answer_feed *f = a->feeds; f; f = f->next)
        answer_hold_free(&f->hold);
    a->writer->ops->destroy(a->writer);
}

void answer_frame_done(struct answer *a)
{
    if (a->writer->ops->flush_extras && a->committed)
        a->writer->ops->flush_extras(a->writer);
}

/* The site's last word, or ours, goes out now. */
static int end_choice(struct answer_choice *c)
{
    if (put_finish(c, &(struct finish_note){.reason = SPAN("stop")}))
        return -1;
    bool held = c->finish_held;
    c->finish_held = false;
    if (put_remark(c))
        return -1;
    return held ? write_finish(c, &c->held) : 0;
}

static int settle(struct answer *a)
{
    for (struct answer_feed *f = a->feeds; f; f = f->next) {
        if (answer_feed_release(f) || release_extras(f))
            return -1;
        for (int i = 0; i < f->n; i++) {
            bool used = i == 0 || choice_at(a, f->first + i);
            struct answer_choice *c = used ? choice_of(f, i) : NULL;
            if (used && (!c || end_choice(c)))
                return -1;
        }
    }
    if (!a->writer->ops->bytes)
        settle_usage(a);
    return 0;
}

int answer_settle(struct answer *a)
{
    if (!a->settled)
        a->settled_badly = settle(a) != 0;
    a->settled = true;
    return a->settled_badly ? -1 : 0;
}

int answer_end(struct answer *a, struct buffer *body)
{
    if (answer_settle(a))
        return -1;
    int error = a->writer->ops->end(a->writer, &a->usage, body);
    a->full |= error == BUFFER_FULL;
    return error;
}

int64_t answer_tokens(struct answer *a)
{
    if (a->writer->ops->bytes)
        return 0;
    if (!a->usage.source) /* not settled yet */
        settle_usage(a);
    return a->usage.prompt + a->usage.completion;
}

void answer_role(struct answer *a)
{
    if (a->writer->ops->role)
        a->writer->ops->role(a->writer);
}

static int put_all_held(struct answer *a)
{
    for (int i = 0; i < a->n_choices; i++) {
        struct answer_choice *c = a->choices[i];
        if (c && !c->finished && (put_held(c, TOOL_END_CUT) || leave_structure(c)))
            return -1;
    }
    return 0;
}

void answer_error(struct answer *a, const struct fail *fail)
{
    if (a->writer->ops->error && put_all_held(a) == 0)
        a->writer->ops->error(a->writer, fail);
}

/* Nobody will ask again. */
static int release_all(struct answer *a)
{
    for (struct answer_feed *f = a->feeds; f; f = f->next) {
        if (answer_feed_release(f))
            return -1;
    }
    return 0;
}

void answer_partial(struct answer *a, struct buffer *out)
{
    bool any = false;
    for (struct answer_feed *f = a->feeds; f; f = f->next)
        any |= f->has_text;
    if (a->writer->ops->error || !any || put_all_held(a) || release_all(a))
        return;
    settle_usage(a);
    a->writer->ops->end(a->writer, &a->usage, out);
}
