/*
 * gateway/answer_internal.h - what the files of an answer share (gateway/answer*.c); for nobody
 * else.
 *
 * A delta goes one way through them: answer_deltas.c takes it from the adapter, answer_filters.c
 * leads it through the filters of its choice (answer_choice.c), answer_out.c writes it or lets it
 * wait. answer_feed.c, answer_runs.c and answer_usage.c look at what there is; answer.c ends it.
 *
 * Functions that return int: 0, or what ends the answer: -1 (memory, limit) or what the writer
 * said; of a writer that met its limit the answer is told (`full`).
 */
#ifndef DRAGOMAN_GATEWAY_ANSWER_INTERNAL_H
#define DRAGOMAN_GATEWAY_ANSWER_INTERNAL_H

#include "gateway/answer.h"
#include "gateway/answer_tools.h"
#include "gateway/stop_filter.h"
#include "gateway/text_joiner.h"
#include "gateway/think_splitter.h"

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
    bool finish_held; /* as long as the run may still be tried again */
    bool in_think;    /* inside our own <think> (REASONING_THINK) */
    /* Nothing is asked for that would change a piece, hold it or end the answer at it: text, or
     * reasoning, goes straight to the writer. Found out behind each piece that took the long way;
     * whatever ends it clears it. */
    bool text_is_straight, reasoning_is_straight;
    bool splitting;
    struct think_splitter splitter;
    struct token_counter text;
    /* In the arena; NULL: */
    struct token_counter *reasoning;      /* there was none */
    struct finish_note *held;             /* no finish reason was held back */
    struct answer_tools *tools;           /* calls are no text */
    struct answer_structure *structure;   /* the text need not be JSON */
    struct stop_filter *stop;             /* nothing stops it */
    struct answer_continuing *continuing; /* it is not continued */
};

/* ---- choices (answer_choice.c) ---- */

/* The answer's choice; NULL: nothing came for it so far. */
static inline struct answer_choice *choice_at(const struct answer *a, int index)
{
    return index < a->n_choices ? a->choices[index] : NULL;
}
static inline struct answer_writer *choice_writer(const struct answer_choice *c)
{
    return c->feed->answer->writer;
}
/* `choice` counts within the feed, and is one of it; it is made. NULL when memory is short. */
struct answer_choice *choice_of(struct answer_feed *, int choice);
/* In place. 0, or -1 when memory is short: then there is a choice all the same, to be freed. */
int choice_prepare(struct answer_choice *, struct answer_feed *, int index);
void choice_free(struct answer_choice *);
/* The counter of its reasoning, made with the first piece; NULL when memory is short. */
struct token_counter *choice_reasoning_counter(struct answer_choice *);
int64_t choice_reasoning_tokens(const struct answer_choice *);

/* ---- out (answer_out.c) ---- */

/* The commit boundary: what had to wait for it goes out. Once; more calls do nothing. */
int feed_commit(struct answer_feed *);
/* What the run told before its first piece goes ahead of it. */
int feed_release_extras(struct answer_feed *);
/* Notes what the writer said, and returns it. */
int choice_written(const struct answer_choice *, int error);
int choice_write_text(struct answer_choice *, struct span);
int choice_write_reasoning(struct answer_choice *, struct span);
/* What proves reasoning: of these two kinds. Left out where the writer has no place for it. */
int choice_write_proof(struct answer_choice *, enum held_kind, struct span);
/* Leaves <think> before anything that is not reasoning. */
int choice_end_thinking(struct answer_choice *);
/* No answer in words: what was taken for the JSON that was asked for goes out as it is. */
int choice_leave_structure(struct answer_choice *);
/* A call, of either kind: one that the site told, or one that stood in the text. */
int choice_begin_call(struct answer_choice *, const struct delta *);
/* Nothing comes behind a finish reason. Of a run without any text, and of an answer that may be
 * continued, it waits for the answer's end. Once; more calls do nothing. */
int choice_finish(struct answer_choice *, const struct finish_note *);
/* At once. */
int choice_write_finish(struct answer_choice *, const struct finish_note *);
/* The gateway ends the choice, not the site. */
int choice_cut(struct answer_choice *, const struct finish_note *);
int choice_cut_at_limit(struct answer_choice *);

/* ---- filters (answer_filters.c) ---- */

/* As it is: text_is_straight, or reasoning_is_straight. */
int choice_pass_straight(struct answer_choice *, bool reasoning, struct span);
int choice_pass_text(struct answer_choice *, struct span);
int choice_pass_reasoning(struct answer_choice *, struct span);
/* What the filters hold back in case more comes. */
int choice_pass_held(struct answer_choice *);
/* The same at the end of a run that another one may go on with. */
int choice_pass_run_over(struct answer_choice *);
/* The site's finish reason, behind what the filters hold back. */
int choice_pass_finish(struct answer_choice *, const struct finish_note *);
/* A finish reason; a site without tools does not know that its answer is a call. Where the site
 * means the answer to be whole and a call in it is not, it gets none, and the feed is `torn`. */
int choice_finish_with_calls(struct answer_choice *, const struct finish_note *);
/* Where the filters of a choice, their owner, put what they let through. */
int choice_put_json(void *owner, struct span text);
int choice_tool_text(void *owner, struct span text);
int choice_tool_begin(void *owner, int call, struct span name);
int choice_tool_arguments(void *owner, int call, struct span piece);

/* ---- deltas (answer_deltas.c) ---- */

/* The feed's sink. */
int feed_put_delta(void *owner, const struct delta *);
int feed_put_text(void *owner, enum delta_kind, int choice, struct span text);

/* ---- tokens (answer_usage.c) ---- */

/* A count that a site could mean; JavaScript clients read integers up to 2^53. */
int64_t usage_clamp(int64_t n);
/* What we can tell ourselves of the present run's completion, `*reasoning` of it in thoughts. */
int64_t feed_count_own(const struct answer_feed *, int64_t *reasoning, enum count_origin *);
/* Into the answer: `usage` and where it comes from. */
void answer_settle_usage(struct answer *);

/* ---- several runs (answer_runs.c) ---- */

/* The feed's remark goes beside what the site tells at the top, which it would replace otherwise.
 */
int choice_put_remark(struct answer_choice *);

#endif
