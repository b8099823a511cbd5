/*
 * gateway/metrics.h - what is counted of requests and of what sites did to them, for GET /metrics
 * (metrics_page.h writes it down).
 *
 * Pure, and bounded: texts of clients never become labels, but ids of models that led somewhere and
 * names of the configuration. What finds no row is counted under "other". Nothing of it outlives
 * the program; Prometheus knows what a restart means for counters.
 */
#ifndef DRAGOMAN_GATEWAY_METRICS_H
#define DRAGOMAN_GATEWAY_METRICS_H

#include "base/fail.h"
#include "base/span.h"

enum {
    METRICS_REQUEST_ROWS = 2048, /* of site, model, key, API and end */
    METRICS_SITES = 256,
    METRICS_LABEL_MAX = 128, /* bytes of a label's value; more is cut */
    METRICS_BUCKETS = 12
};

struct metrics;

/* A Prometheus histogram: bucket i counts what is at most bounds[i]; each observation is counted in
 * one bucket here, and added up when it is written. */
struct histogram {
    const double *bounds; /* METRICS_BUCKETS, ascending, in seconds */
    uint64_t buckets[METRICS_BUCKETS], count;
    double sum;
};
void histogram_add(struct histogram *, double seconds);
/* Adds another one's, which has the same bounds. */
void histogram_join(struct histogram *, const struct histogram *);

/* More than any answer has; sums of it never wrap. */
enum { METRICS_TOKENS_MAX = 1 << 30 };

/* A request that is over. */
struct metrics_request {
    struct span site, model, key; /* "" = none; `model` only of a request that led to a site */
    const char *api, *end;        /* static: "chat", "complete" */
    int64_t ms, first_ms;         /* first_ms -1: there was no delta */
    uint64_t deltas, bytes_in, bytes_out;
    int64_t tokens_in,
        tokens_out;    /* 0 = not known; what is above METRICS_TOKENS_MAX counts as it */
    int continuations; /* runs that went on with a truncated answer */
};

struct metrics *metrics_create(void); /* NULL when memory is short */
void metrics_destroy(struct metrics *);
void metrics_count_request(struct metrics *, const struct metrics_request *);
/* A run at a site failed; the request may have gone on elsewhere. */
void metrics_count_failure(struct metrics *, struct span site, enum fail_kind);

/* A request was refused by its head alone: wrong address, key, path … */
void metrics_count_refusal(struct metrics *, enum fail_kind);
uint64_t metrics_refusals(const struct metrics *, enum fail_kind);

struct metrics_row {
    struct span site, model, key;
    const char *api, *end;
    uint64_t n;
};
/* The rows in the order of their coming: from *at = 0 on, false behind the last. */
bool metrics_next_row(const struct metrics *, size_t *at, struct metrics_row *);

struct metrics_site {
    char name[METRICS_LABEL_MAX]; /* "" = requests that led to no site */
    struct histogram first, total;
    uint64_t deltas, bytes_in, bytes_out, tokens_in, tokens_out, continuations;
    uint64_t failures[FAIL_KIND_COUNT];
};
const struct metrics_site *metrics_next_site(const struct metrics *,
                                             size_t *at); /* NULL: no more */

#endif
