/*
 * gateway/drift.h - what sites answered that their adapters do not know, counted by site and kind.
 *
 * A kind is the adapter's own fixed word for it ("unknown event"), never anything that a site said.
 * The last hour is known to the minute. Bounded: what was not seen for an hour makes room; when
 * there is none, it is only counted that something was. In memory only. Pure: times (any clock that
 * does not go back, in ms) are handed in.
 */
#ifndef DRAGOMAN_GATEWAY_DRIFT_H
#define DRAGOMAN_GATEWAY_DRIFT_H

#include "base/span.h"

enum { DRIFT_ROWS = 256, DRIFT_SITE = 64, DRIFT_KIND = 80, DRIFT_HOUR_MS = 60 * 60 * 1000 };

struct drift;

struct drift *drift_create(void); /* NULL when memory is short */
void drift_destroy(struct drift *);
/* Counts one. True: nothing was said of this kind at this site for an hour; say it now. Copies;
 * longer names than there is room for are cut. */
bool drift_count(struct drift *, struct span site, struct span kind, uint64_t now_ms);

struct drift_row {
    struct span site, kind; /* valid until the next drift_count */
    uint64_t total;         /* since the row came into being: with the start, or after an hour's
                               silence that another row needed */
    uint64_t last_hour;
    uint64_t last_ms; /* when it was seen last */
};
/* The rows in the order of their coming, those that rest too (last_hour 0); from *at = 0 on, false
 * behind the last. */
bool drift_next(const struct drift *, size_t *at, uint64_t now_ms, struct drift_row *);
/* Those that found no room. */
uint64_t drift_uncounted(const struct drift *);

#endif
