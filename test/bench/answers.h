/*
 * test/bench/answers.h - the stand-in's answers, rendered once for each wish.
 *
 * An answer is a head, `frames` chunks of equal length, and a tail; the whole HTTP response is one
 * block of bytes. Only the stamps change: answer_render copies a stretch and puts them in.
 */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#include "test/bench/bench.h"

enum answer_shape { SHAPE_OPENAI, SHAPE_ZAI };

struct answer {
    enum answer_shape shape;
    bool stream, usage;
    struct bench_wish wish;
    char *bytes;
    size_t n;
    size_t first;      /* where the first frame begins */
    size_t frame;      /* bytes of a frame */
    size_t stamp_at;   /* in a frame */
    unsigned n_frames; /* 0: a whole answer, without stamps */
};

/* Rendered when it is asked for first; lives as long as the program. */
const struct answer *answer_find(enum answer_shape shape, bool stream, bool usage,
                                 const struct bench_wish *wish);

/* Where frame i ends: what may be sent when i + 1 chunks are due. The last brings the tail along.
 */
size_t answer_end_of(const struct answer *a, unsigned i);

/*
 * Copies [from, from + n) to out, with `stamp` in the frames that begin there. A frame that began
 * before `from` keeps the stamp that its beginning was sent with.
 */
void answer_render(const struct answer *a, size_t from, size_t n, const char *stamp,
                   const char *stamp_before, char *out);

#endif
