/*
 * test/unit/support/answer_bench.h - one feed of some choices into a whole chat answer, for tests
 * of answers.
 */
#ifndef DRAGOMAN_TEST_ANSWER_BENCH_H
#define DRAGOMAN_TEST_ANSWER_BENCH_H

#include "base/json.h"
#include "gateway/answer.h"

struct answer_bench {
    struct arena arena;
    struct turn turn;
    struct answer answer;
    struct answer_feed feed;
    struct json_parser *json;
    struct buffer body; /* of the answer, once it is ended */
};

/* In place; an answer of `n` choices, without a feed. Aborts the test when memory is short. */
void answer_bench_open(struct answer_bench *, int n);
/* The same with one feed for all of them: where its deltas go. */
const struct delta_sink *answer_bench_start(struct answer_bench *, const struct answer_rules *,
                                            int n);
void answer_bench_stop(struct answer_bench *);
/* Ends the answer; the choices that came of it. */
struct json answer_bench_end(struct answer_bench *);

#endif
