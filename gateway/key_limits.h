/*
 * gateway/key_limits.h - what a client key may use: requests a minute, requests at once, requests
 * and tokens a day.
 *
 * Sans-IO: times are handed in. Minutes are measured by the monotonic clock, days (UTC) by the wall
 * clock. Keys are known by name and keep what they have used across a reload; what is asked next
 * meets the limits of the current configuration. Who is refused has used nothing, so asking too
 * often does not put off the moment that Retry-After tells.
 */
#ifndef DRAGOMAN_GATEWAY_KEY_LIMITS_H
#define DRAGOMAN_GATEWAY_KEY_LIMITS_H

#include "gateway/config.h"
#include "gateway/shared.h"

struct key_limits;
struct limited_key; /* one key; counted references */

/* What a key has used on one day. */
struct key_day {
    int64_t day; /* since 1970-01-01, UTC */
    int64_t requests, tokens;
};

/* Now, by both clocks. */
struct key_time {
    uint64_t monotonic_ms;
    int64_t wall_ms;
};

/* `changed` (may be NULL) is called after each change of a day's counts of a key that has a daily
 * budget: they are to be kept. The name is valid during the call. */
struct key_limits *key_limits_create(void (*changed)(void *owner, struct span key,
                                                     const struct key_day *),
                                     void *owner);
/* Several event loops use it from now on; `changed` is called inside their lock. */
void key_limits_share(struct key_limits *, struct shared *);
/* All references must have been given back. */
void key_limits_destroy(struct key_limits *);
/* Makes it fit the config (first call and reloads); keeps nothing of it. 0, or -1 when memory is
 * short: new keys are then not limited. */
int key_limits_configure(struct key_limits *, const struct config *, struct key_time);
/* What was kept: added to what was counted since on the same day. Once for each key, after the
 * first key_limits_configure; unknown keys are ignored. `changed` is not called. */
void key_limits_restore(struct key_limits *, struct span name, const struct key_day *);

/* A request begins: 0, or -1 with fail (KEY_LIMIT). Also when refused, `*key` is the key to report
 * about and to unref, NULL when it is not configured any more (then nothing is limited). */
int key_limits_begin(struct key_limits *, struct span name, struct key_time, struct limited_key **,
                     struct fail *);
/* The request has ended: its place is free. Once for each good begin. */
void limited_key_end(struct limited_key *);
/* Its answer took so many tokens, prompt and completion. */
void limited_key_count_tokens(struct limited_key *, int64_t tokens, int64_t wall_ms);
void limited_key_unref(struct limited_key *);

/* What the headers of an answer tell. `limit` 0 = there is none. */
struct key_allowance {
    int64_t limit, remaining;
    uint64_t reset_ms; /* until all of it is there again */
};
/* Of rpm and requests_per_day: the one with less left. */
struct key_allowance limited_key_requests(struct limited_key *, struct key_time);
struct key_allowance limited_key_tokens(struct limited_key *, int64_t wall_ms);

/* As OpenAI's headers have it: "0s", "120ms", "1s", "6m0s", "23h59m1s". From a second on whole
 * seconds, rounded up. */
enum { KEY_DURATION_SIZE = 40 };
const char *key_duration_format(uint64_t ms, char text[KEY_DURATION_SIZE]);

#endif
