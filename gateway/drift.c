/*
 * gateway/drift.c - see drift.h. A table that is searched from end to end: drift is rare, and rows
 * are few. Each has a ring of the last hour's minutes.
 */
#include "gateway/drift.h"

#include <stdlib.h>

enum { MINUTE_MS = 60 * 1000, MINUTES = DRIFT_HOUR_MS / MINUTE_MS };

struct row {
    char site[DRIFT_SITE], kind[DRIFT_KIND];
    uint8_t site_n, kind_n;
    bool said;
    uint32_t minutes[MINUTES]; /* minute m is at m % MINUTES */
    uint64_t minute;           /* of the latest */
    uint64_t total, last_ms, said_ms;
};

struct drift {
    struct row rows[DRIFT_ROWS];
    size_t n;
    uint64_t uncounted;
};

struct drift *drift_create(void) { return calloc(1, sizeof(struct drift)); }

void drift_destroy(struct drift *d) { free(d); }

static struct row *find(struct drift *d, struct span site, struct span kind)
{
    for (size_t i = 0; i < d->n; i++) {
        struct row *r = &d->rows[i];
        if (span_eq(span_of(r->site, r->site_n), site) &&
            span_eq(span_of(r->kind, r->kind_n), kind))
            return r;
    }
    return NULL;
}

/* A free row, or that of what has been silent for the longest time; NULL when each was seen within
 * the hour. */
static struct row *find_room(struct drift *d, uint64_t now_ms)
{
    struct row *oldest = &d->rows[0];
    if (d->n < DRIFT_ROWS)
        return &d->rows[d->n++];
    for (size_t i = 1; i < d->n; i++) {
        if (d->rows[i].last_ms < oldest->last_ms)
            oldest = &d->rows[i];
    }
    return now_ms - oldest->last_ms >= DRIFT_HOUR_MS ? oldest : NULL;
}

static struct row *make_row(struct drift *d, struct span site, struct span kind, uint64_t now_ms)
{
    struct row *r = find_room(d, now_ms);
    if (!r)
        return NULL;
    *r = (struct row){
        .site_n = (uint8_t)site.n, .kind_n = (uint8_t)kind.n, .minute = now_ms / MINUTE_MS};
    memcpy(r->site, site.p, site.n);
    memcpy(r->kind, kind.p, kind.n);
    return r;
}

/* The minutes since the latest one had none. */
static void go_on_to(struct row *r, uint64_t minute)
{
    if (minute - r->minute >= MINUTES) {
        memset(r->minutes, 0, sizeof r->minutes);
    } else {
        for (uint64_t m = r->minute + 1; m <= minute; m++)
            r->minutes[m % MINUTES] = 0;
    }
    r->minute = minute;
}

bool drift_count(struct drift *d, struct span site, struct span kind, uint64_t now_ms)
{
    site = span_first(site, DRIFT_SITE);
    kind = span_first(kind, DRIFT_KIND);
    struct row *r = find(d, site, kind);
    if (!r)
        r = make_row(d, site, kind, now_ms);
    if (!r) {
        d->uncounted++;
        return false;
    }
    go_on_to(r, now_ms / MINUTE_MS);
    r->minutes[r->minute % MINUTES]++;
    r->total++;
    r->last_ms = now_ms;
    if (r->said && now_ms - r->said_ms < DRIFT_HOUR_MS)
        return false;
    r->said = true;
    r->said_ms = now_ms;
    return true;
}

/* The minutes that are still within the hour, this one included. */
static uint64_t last_hour(const struct row *r, uint64_t now_ms)
{
    uint64_t n = 0, age = now_ms / MINUTE_MS - r->minute;
    for (uint64_t back = 0; back + age < MINUTES && back <= r->minute; back++)
        n += r->minutes[(r->minute - back) % MINUTES];
    return n;
}

bool drift_next(const struct drift *d, size_t *at, uint64_t now_ms, struct drift_row *out)
{
    if (*at >= d->n)
        return false;
    const struct row *r = &d->rows[(*at)++];
    *out = (struct drift_row){.site = span_of(r->site, r->site_n),
                              .kind = span_of(r->kind, r->kind_n),
                              .total = r->total,
                              .last_hour = last_hour(r, now_ms),
                              .last_ms = r->last_ms};
    return true;
}

uint64_t drift_uncounted(const struct drift *d) { return d->uncounted; }
