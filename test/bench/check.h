/*
 * test/bench/check.h - reads an answer as it arrives and checks every chunk of it.
 *
 * A whole HTTP response is taken apart (head, chunked or counted body), then its server-sent events
 * or its one JSON body; the texts in it must be the records 0 … chunks-1, each once, in order.
 */
#ifndef BENCH_CHECK_H
#define BENCH_CHECK_H

#include "test/bench/bench.h"

enum check_state { CHECK_GOING, CHECK_OVER, CHECK_FAILED };

/* What went wrong, over all answers. */
struct faults {
    uint64_t missing, repeated, reordered, garbled; /* chunks */
    uint64_t refused, cut, hung;                    /* answers */
};

struct bytes {
    char *p;
    size_t n, cap;
};

struct checker {
    const struct bench_wish *wish;
    struct faults *faults;
    /* Told of each chunk in its place: the time it was sent, 0 in whole answers. */
    void (*on_chunk)(void *user, uint64_t sent_ns);
    void *user;

    enum { AT_HEAD, AT_COUNTED, AT_SIZE, AT_DATA, AT_DATA_END, AT_TRAILER } at;
    uint64_t left;
    bool in_extension;
    struct bytes carry; /* a head, a line or a whole body that came in pieces */
    size_t hint;        /* where the text stood in the last event */
    unsigned next, got;
    bool done_mark;
    unsigned char *seen; /* one bit a chunk */
};

/* For the next answer on the same connection; `wish`, `faults` and the callback stay. */
void check_begin(struct checker *c);
enum check_state check_feed(struct checker *c, const char *p, size_t n);
/* The connection ended, or nobody waits any more, before the answer was over. */
void check_cut(struct checker *c);
void check_free(struct checker *c);

#endif
