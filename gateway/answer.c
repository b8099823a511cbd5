/*
 * gateway/answer.c - an answer as a whole: its beginning, and its ends. See answer.h.
 *
 * What an adapter tells comes in by gateway/answer_deltas.c, passes the filters of its choice
 * (gateway/answer_filters.c) and leaves by gateway/answer_out.c.
 */
#include "gateway/answer_internal.h"

void answer_init(struct answer *a, struct answer_writer *writer, struct arena *arena,
                 const struct token_source *tokens, struct span id)
{
    *a = (struct answer){.writer = writer, .arena = arena, .tokens = tokens, .id = id};
}

void answer_free(struct answer *a)
{
    for (int i = 0; i < a->n_choices; i++) {
        if (a->choices[i])
            choice_free(a->choices[i]);
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
    if (choice_pass_finish(c, &(struct finish_note){.reason = SPAN("stop")}))
        return -1;
    bool held = c->finish_held;
    c->finish_held = false;
    if (choice_put_remark(c))
        return -1;
    return held ? choice_write_finish(c, c->held) : 0;
}

static int settle(struct answer *a)
{
    for (struct answer_feed *f = a->feeds; f; f = f->next) {
        if (answer_feed_release(f) || feed_release_extras(f))
            return -1;
        for (int i = 0; i < f->n; i++) {
            bool used = i == 0 || choice_at(a, f->first + i);
            struct answer_choice *c = used ? choice_of(f, i) : NULL;
            if (used && (!c || end_choice(c)))
                return -1;
        }
    }
    if (!a->writer->ops->bytes)
        answer_settle_usage(a);
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
        answer_settle_usage(a);
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
        if (c && !c->finished && (choice_pass_held(c) || choice_leave_structure(c)))
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
    answer_settle_usage(a);
    a->writer->ops->end(a->writer, &a->usage, out);
}
