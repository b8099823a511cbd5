/*
 * gateway/metrics_page.h - GET /metrics: everything that is counted, in Prometheus' text format
 * (docs/metrics.md lists it).
 */
#ifndef DRAGOMAN_GATEWAY_METRICS_PAGE_H
#define DRAGOMAN_GATEWAY_METRICS_PAGE_H

#include "gateway/engine.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* What every loop has of its own. */
struct metrics_loop {
    struct upstream_counters upstream;
    bool tells_turns;
    struct histogram turns; /* loop_busy.h */
};

/* Of the loop on this thread; and that of another one added to it. */
void metrics_loop_read(struct metrics_loop *, const struct engine *);
void metrics_loop_add(struct metrics_loop *, const struct metrics_loop *);

/* `all`: of all loops. `connections`: open ones of clients. */
void metrics_page_write(struct buffer *out, struct engine *, const struct metrics_loop *all,
                        size_t connections);

#endif
