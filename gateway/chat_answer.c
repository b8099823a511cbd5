/*
 * gateway/chat_answer.c - see chat_answer.h. One function a delta kind; each serves both shapes of
 * the answer.
 */
#include "gateway/chat_answer.h"

#include <assert.h>

_Static_assert((int)PLACE_TOP == EXTRA_TOP && (int)PLACE_CHOICE == EXTRA_CHOICE &&
                   (int)PLACE_DELTA == EXTRA_DELTA,
               "delta places mirror the emitter's");

enum { CITATIONS_MAX = 1000 };

static int put_text(struct chat_answer *a, int choice, struct span text)
{
    a->committed = true;
    if (a->builder)
        return answer_builder_text(a->builder, choice, text);
    chunk_emitter_text(a->emitter, a->out, choice, text);
    return a->out->error;
}

/* Leaves <think> before anything that is not reasoning. */
static int end_thinking(struct chat_answer *a, int choice)
{
    if (!a->thinking[choice])
        return 0;
    a->thinking[choice] = 0;
    return put_text(a, choice, SPAN("\n</think>\n\n"));
}

static int put_reasoning(struct chat_answer *a, int choice, struct span text)
{
    if (a->reasoning == REASONING_DROP)
        return 0;
    if (a->reasoning == REASONING_THINK) {
        if (!a->thinking[choice] && put_text(a, choice, SPAN("<think>\n")))
            return -1;
        a->thinking[choice] = 1;
        return put_text(a, choice, text);
    }
    a->committed = true;
    if (a->builder)
        return answer_builder_reasoning(a->builder, choice, text);
    chunk_emitter_reasoning(a->emitter, a->out, choice, text);
    return a->out->error;
}

static int put_refusal(struct chat_answer *a, int choice, struct span text)
{
    a->committed = true;
    if (a->builder)
        return answer_builder_refusal(a->builder, choice, text);
    chunk_emitter_refusal(a->emitter, a->out, choice, text);
    return a->out->error;
}

static int put_tool_begin(struct chat_answer *a, const struct delta *d)
{
    a->committed = true;
    struct span id = d->id;
    if (id.n == 0) /* sites without ids: one that is unique within the conversation's turn */
        id = arena_printf(a->arena, "call_%.*s_%d", SPAN_ARGS(span_from(a->id, 9)), d->index);
    if (!id.p)
        return -1;
    if (a->builder)
        return answer_builder_tool_begin(a->builder, d->choice, d->index, id, d->name);
    chunk_emitter_tool_begin(a->emitter, a->out, d->choice, d->index, id, d->name);
    return a->out->error;
}

static int put_tool_arguments(struct chat_answer *a, const struct delta *d)
{
    if (a->builder)
        return answer_builder_tool_arguments(a->builder, d->choice, d->index, d->text);
    chunk_emitter_tool_arguments(a->emitter, a->out, d->choice, d->index, d->text);
    return a->out->error;
}

static int keep_citation(struct chat_answer *a, const struct delta *d)
{
    if (a->n_citations >= CITATIONS_MAX)
        return 0;
    for (size_t i = 0; i < a->n_citations; i++) {
        if (span_eq(a->citations[i].url, d->url))
            return 0;
    }
    if (a->n_citations == a->cap_citations) {
        size_t cap = a->cap_citations ? a->cap_citations * 2 : 8;
        struct citation *grown = arena_alloc(a->arena, cap * sizeof *grown);
        if (!grown)
            return -1;
        if (a->n_citations)
            memcpy(grown, a->citations, a->n_citations * sizeof *grown);
        a->citations = grown;
        a->cap_citations = cap;
    }
    struct citation c = {arena_dup(a->arena, d->url), arena_dup(a->arena, d->title), d->start,
                         d->end};
    if (!c.url.p || !c.title.p)
        return -1;
    a->citations[a->n_citations++] = c;
    return 0;
}

static int send_citations(struct chat_answer *a, int choice)
{
    size_t n = a->n_citations;
    if (n == 0 || choice != 0)
        return 0;
    a->n_citations = 0;
    if (a->builder)
        return answer_builder_citations(a->builder, choice, a->citations, n);
    chunk_emitter_citations(a->emitter, a->out, choice, a->citations, n);
    return a->out->error;
}

/* A count that a site could mean; JavaScript clients read integers up to 2^53. */
static int64_t tokens(int64_t n)
{
    const int64_t most = INT64_C(1) << 53;
    return n < 0 ? 0 : n > most ? most : n;
}

/* Some sites tell their usage with every chunk: the room for it is kept. */
static int keep_usage(struct chat_answer *a, const struct delta_usage *u)
{
    a->has_usage = true;
    a->usage = (struct usage_counts){
        .prompt = tokens(u->prompt),
        .completion = tokens(u->completion),
        .cached = u->cached < 0 ? -1 : tokens(u->cached),
        .reasoning = u->reasoning < 0 ? -1 : tokens(u->reasoning),
    };
    a->usage.total = a->usage.prompt + a->usage.completion;
    if (u->raw.n > a->usage_room) {
        a->usage_text = arena_alloc(a->arena, 2 * u->raw.n);
        a->usage_room = a->usage_text ? 2 * u->raw.n : 0;
        if (!a->usage_text)
            return -1;
    }
    if (u->raw.n) {
        memcpy(a->usage_text, u->raw.p, u->raw.n);
        a->usage.raw = span_of(a->usage_text, u->raw.n);
    }
    return 0;
}

/* What was held back because a stop might have begun, and did not. */
static int put_held(struct chat_answer *a)
{
    struct span rest = a->stopping ? stop_filter_end(&a->stop) : span_of("", 0);
    return rest.n ? put_text(a, 0, rest) : 0;
}

static int put_finish(struct chat_answer *a, int choice, struct span reason)
{
    if (a->finished[choice])
        return 0;
    if (choice == 0 && put_held(a))
        return -1;
    if (end_thinking(a, choice) || send_citations(a, choice))
        return -1;
    a->finished[choice] = 1;
    if (a->builder)
        return answer_builder_finish(a->builder, choice, reason);
    chunk_emitter_finish(a->emitter, a->out, choice, reason);
    return a->out->error;
}

static int put_until_stop(struct chat_answer *a, struct span text)
{
    struct span out;
    if (stop_filter_pass(&a->stop, text, &out) || (out.n && put_text(a, 0, out)))
        return -1;
    return a->stop.stopped ? put_finish(a, 0, SPAN("stop")) : 0;
}

static int put_extra(struct chat_answer *a, const struct delta *d)
{
    enum extra_place place = (enum extra_place)d->place;
    if (a->builder)
        return answer_builder_extra(a->builder, place, d->choice, d->text);
    chunk_emitter_extra(a->emitter, place, d->choice, d->text);
    return 0;
}

static int put_delta(void *owner, const struct delta *d)
{
    struct chat_answer *a = owner;
    if (d->choice < 0 || d->choice >= EMITTER_CHOICES)
        return 0;
    a->deltas++;
    switch (d->kind) {
    case DELTA_USAGE: return keep_usage(a, &d->usage);
    case DELTA_CITATION: return keep_citation(a, d);
    case DELTA_EXTRA: return put_extra(a, d);
    default: break;
    }
    a->used[d->choice] = 1;
    if (a->finished[d->choice]) /* nothing after the finish reason but usage (S9) */
        return 0;
    if (d->kind != DELTA_REASONING && end_thinking(a, d->choice))
        return -1;
    switch (d->kind) {
    case DELTA_TEXT:
        a->has_text = true;
        return a->stopping && d->choice == 0 ? put_until_stop(a, d->text)
                                             : put_text(a, d->choice, d->text);
    case DELTA_REASONING: a->has_text = true; return put_reasoning(a, d->choice, d->text);
    case DELTA_REFUSAL: a->has_text = true; return put_refusal(a, d->choice, d->text);
    case DELTA_TOOL_BEGIN:
        a->has_text = true;
        return d->choice == 0 && put_held(a) ? -1 : put_tool_begin(a, d);
    case DELTA_TOOL_ARGUMENTS: return put_tool_arguments(a, d);
    case DELTA_FINISH: return put_finish(a, d->choice, d->text);
    default: return 0;
    }
}

static int make_writer(struct chat_answer *a, const struct turn *turn)
{
    if (turn->stream)
        a->emitter =
            chunk_emitter_create(a->arena, a->id, a->created, a->model, turn->include_usage);
    else
        a->builder = answer_builder_create(ANSWER_LIMIT);
    return a->emitter || a->builder ? 0 : -1;
}

int chat_answer_init(struct chat_answer *a, struct arena *arena, const struct turn *turn,
                     struct span id, int64_t created, struct span model,
                     enum reasoning_style reasoning, struct buffer *out)
{
    *a = (struct chat_answer){
        .sink = {put_delta, a},
        .out = out,
        .arena = arena,
        .id = id,
        .model = model,
        .created = created,
        .n = turn->n < EMITTER_CHOICES ? turn->n : EMITTER_CHOICES,
        .reasoning = reasoning,
        .usage = {.cached = -1, .reasoning = -1},
    };
    return make_writer(a, turn);
}

void chat_answer_stop_at(struct chat_answer *a, const struct span *stops, size_t n)
{
    if (a->stopping)
        stop_filter_free(&a->stop);
    a->stopping = n > 0;
    if (n)
        stop_filter_init(&a->stop, stops, n);
}

bool chat_answer_is_stopped(const struct chat_answer *a) { return a->stopping && a->stop.stopped; }

void chat_answer_free(struct chat_answer *a)
{
    chat_answer_stop_at(a, NULL, 0);
    if (a->builder)
        answer_builder_destroy(a->builder);
    a->builder = NULL;
}

int chat_answer_restart(struct chat_answer *a)
{
    assert(!a->committed);
    a->n_citations = 0;
    a->has_usage = a->has_text = false;
    memset(a->thinking, 0, sizeof a->thinking);
    a->usage = (struct usage_counts){.cached = -1, .reasoning = -1};
    memset(a->finished, 0, sizeof a->finished);
    memset(a->used, 0, sizeof a->used);
    if (a->builder) {
        answer_builder_destroy(a->builder);
        a->builder = answer_builder_create(ANSWER_LIMIT);
        return a->builder ? 0 : -1;
    }
    for (int choice = 0; choice < a->n; choice++) {
        chunk_emitter_extra(a->emitter, EXTRA_CHOICE, choice, span_of(NULL, 0));
        chunk_emitter_extra(a->emitter, EXTRA_DELTA, choice, span_of(NULL, 0));
    }
    chunk_emitter_extra(a->emitter, EXTRA_TOP, 0, span_of(NULL, 0));
    return 0;
}

void chat_answer_frame_done(struct chat_answer *a)
{
    if (a->emitter && a->committed)
        chunk_emitter_flush_extras(a->emitter, a->out);
}

bool chat_answer_is_finished(const struct chat_answer *a)
{
    bool any = false;
    for (int choice = 0; choice < EMITTER_CHOICES; choice++) {
        if (a->used[choice] && !a->finished[choice])
            return false;
        any |= a->finished[choice];
    }
    return any;
}

int chat_answer_end(struct chat_answer *a, struct buffer *body)
{
    for (int choice = 0; choice < EMITTER_CHOICES; choice++) {
        if ((choice < 1 || a->used[choice]) && put_finish(a, choice, SPAN("stop")))
            return -1;
    }
    if (a->builder)
        return answer_builder_render(a->builder, body, a->id, a->created, a->model, &a->usage);
    chunk_emitter_done(a->emitter, a->out, &a->usage);
    return a->out->error;
}

void chat_answer_role(struct chat_answer *a)
{
    if (a->emitter)
        chunk_emitter_role(a->emitter, a->out, 0);
}

void chat_answer_error(struct chat_answer *a, struct span error_object)
{
    if (a->emitter && put_held(a) == 0)
        chunk_emitter_error(a->emitter, a->out, error_object);
}

void chat_answer_partial(struct chat_answer *a, struct buffer *out)
{
    if (a->builder && a->has_text && put_held(a) == 0)
        answer_builder_render(a->builder, out, a->id, a->created, a->model, &a->usage);
}
