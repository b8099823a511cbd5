/*
 * gateway/key_limits.c - see key_limits.h.
 *
 * The bucket counts in sixty-thousandths of a request: a millisecond brings `rpm` of them, a
 * request takes 60,000. So nothing is ever rounded.
 *
 * The hard part is a wall clock that jumps. Forward: a new day begins, whichever. Back: what was
 * used stays used, and the day is today's again, so that a clock that was once in the far future
 * does not lock a key out until then. A clock that is corrected a little around midnight stays in
 * the day that has begun: otherwise it would begin twice.
 */
#include "gateway/key_limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/clock.h"

enum { LIMITED_KEY_MAGIC = 0x4c4b4559, REQUEST = 60000, MINUTE_MS = 60000, BUSY_RETRY_MS = 1000 };

#define DAY_MS   INT64_C(86400000)
#define LAST_DAY INT64_C(100000000) /* kept ones from beyond are nonsense */
#define SLACK_MS INT64_C(3600000)   /* a clock set back by less, across midnight, is a correction */

struct limited_key {
    unsigned magic;
    unsigned refs; /* requests that know it, and its place in the list */
    struct key_limits *owner;
    struct limited_key *next; /* in the list */
    char *name;
    size_t name_n;
    bool configured; /* found in the config that is being looked at */

    int64_t rpm, max_concurrent, requests_per_day, tokens_per_day; /* 0 = unlimited */
    int64_t level;                                                 /* of the bucket, see above */
    uint64_t level_at_ms;
    int64_t in_flight;
    bool day_known;
    struct key_day day;
};

struct key_limits {
    struct shared *shared; /* NULL: one loop */
    struct limited_key *keys;
    void (*changed)(void *, struct span, const struct key_day *);
    void *changed_owner;
};

static struct span name_of(const struct limited_key *k) { return span_of(k->name, k->name_n); }

/* ---- the bucket ---- */

static int64_t capacity(const struct limited_key *k) { return k->rpm * REQUEST; }

static void refill(struct limited_key *k, uint64_t now_ms)
{
    uint64_t passed = now_ms > k->level_at_ms ? now_ms - k->level_at_ms : 0;
    if (passed > MINUTE_MS) /* it is full by then */
        passed = MINUTE_MS;
    k->level += (int64_t)passed * k->rpm;
    if (k->level > capacity(k))
        k->level = capacity(k);
    k->level_at_ms = now_ms;
}

/* Another size: what was used stays used, but nobody has more than the new one holds. */
static void resize(struct limited_key *k, int64_t rpm, uint64_t now_ms)
{
    bool was_limited = k->rpm != 0;
    refill(k, now_ms);
    int64_t used = capacity(k) - k->level;
    k->rpm = rpm;
    k->level = was_limited ? capacity(k) - used : capacity(k);
    if (k->level < 0)
        k->level = 0;
}

/* Until the bucket holds `level`. */
static uint64_t wait_for_level(const struct limited_key *k, int64_t level)
{
    int64_t missing = level - k->level;
    return missing <= 0 ? 0 : (uint64_t)((missing + k->rpm - 1) / k->rpm);
}

/* ---- the day ---- */

static void turn_page(struct limited_key *k, int64_t wall_ms)
{
    int64_t today = clock_day(wall_ms);
    if (!k->day_known || today > k->day.day)
        k->day = (struct key_day){.day = today};
    else if (wall_ms < k->day.day * DAY_MS - SLACK_MS)
        k->day.day = today;
    k->day_known = true;
}

static uint64_t until_next_day(const struct limited_key *k, int64_t wall_ms)
{
    return (uint64_t)((k->day.day + 1) * DAY_MS - wall_ms);
}

static bool has_daily_budget(const struct limited_key *k)
{
    return k->requests_per_day || k->tokens_per_day;
}

static void tell_change(const struct limited_key *k)
{
    if (k->owner->changed && has_daily_budget(k))
        k->owner->changed(k->owner->changed_owner, name_of(k), &k->day);
}

static int64_t add(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* ---- the list ---- */

struct key_limits *key_limits_create(void (*changed)(void *, struct span, const struct key_day *),
                                     void *owner)
{
    struct key_limits *l = calloc(1, sizeof *l);
    if (l) {
        l->changed = changed;
        l->changed_owner = owner;
    }
    return l;
}

void key_limits_share(struct key_limits *l, struct shared *shared) { l->shared = shared; }

static void enter(const struct limited_key *k) { shared_enter(k->owner->shared); }

static void leave(const struct limited_key *k) { shared_leave(k->owner->shared); }

void limited_key_unref(struct limited_key *k)
{
    struct shared *shared = k->owner->shared;
    shared_enter(shared);
    assert(k->magic == LIMITED_KEY_MAGIC && k->refs > 0);
    if (--k->refs == 0) {
        k->magic = 0;
        free(k->name);
        free(k);
    }
    shared_leave(shared);
}

void key_limits_destroy(struct key_limits *l)
{
    if (!l)
        return;
    while (l->keys) {
        struct limited_key *k = l->keys;
        l->keys = k->next;
        assert(k->refs == 1);
        limited_key_unref(k);
    }
    free(l);
}

static struct limited_key *find(const struct key_limits *l, struct span name)
{
    struct limited_key *k = l->keys;
    while (k && !span_eq(name_of(k), name))
        k = k->next;
    return k;
}

static struct limited_key *make(struct key_limits *l, struct span name, uint64_t now_ms)
{
    struct limited_key *k = calloc(1, sizeof *k);
    char *copy = k ? malloc(name.n + 1) : NULL; /* not strndup: spans may hold NUL */
    if (!copy) {
        free(k);
        return NULL;
    }
    memcpy(copy, name.p, name.n);
    *k = (struct limited_key){.magic = LIMITED_KEY_MAGIC,
                              .refs = 1,
                              .owner = l,
                              .next = l->keys,
                              .name = copy,
                              .name_n = name.n,
                              .level_at_ms = now_ms};
    l->keys = k;
    return k;
}

/* Those that left the config; a request that is under way keeps its own until it ends. */
static void drop_others(struct key_limits *l)
{
    for (struct limited_key **at = &l->keys; *at;) {
        struct limited_key *k = *at;
        if (k->configured) {
            at = &k->next;
            continue;
        }
        *at = k->next;
        k->next = NULL;
        limited_key_unref(k);
    }
}

int key_limits_configure(struct key_limits *l, const struct config *config, struct key_time now)
{
    int result = 0;
    for (struct limited_key *k = l->keys; k; k = k->next)
        k->configured = false;
    for (size_t i = 0; i < config->n_keys; i++) {
        const struct key_config *c = &config->keys[i];
        struct limited_key *k = find(l, c->name);
        if (!k)
            k = make(l, c->name, now.monotonic_ms);
        if (!k) {
            result = -1;
            continue;
        }
        k->configured = true;
        resize(k, c->rpm, now.monotonic_ms);
        k->max_concurrent = c->max_concurrent;
        k->requests_per_day = c->requests_per_day;
        k->tokens_per_day = c->tokens_per_day;
    }
    drop_others(l);
    return result;
}

void key_limits_restore(struct key_limits *l, struct span name, const struct key_day *kept)
{
    struct limited_key *k = find(l, name);
    if (!k || kept->day < 0 || kept->day > LAST_DAY || kept->requests < 0 || kept->tokens < 0)
        return;
    if (!k->day_known) {
        k->day = *kept;
        k->day_known = true;
    } else if (k->day.day == kept->day) {
        k->day.requests = add(k->day.requests, kept->requests);
        k->day.tokens = add(k->day.tokens, kept->tokens);
    }
}

/* ---- requests ---- */

/* In whole seconds, rounded up; `text` says the same. */
static int tell_wait(uint64_t ms, char text[KEY_DURATION_SIZE])
{
    uint64_t seconds = ms <= 1000 ? 1 : (ms + 999) / 1000;
    key_duration_format(seconds * 1000, text);
    return (int)seconds;
}

/* Of several limits that are reached, the one that takes longest: before that, asking is in vain.
 */
static int check(const struct limited_key *k, struct key_time now, struct fail *fail)
{
    char name[64], wait[KEY_DURATION_SIZE];
    int seconds;
    uint64_t minute = k->rpm ? wait_for_level(k, REQUEST) : 0;
    snprintf(name, sizeof name, "%.*s", SPAN_ARGS(name_of(k)));
    if (k->tokens_per_day && k->day.tokens >= k->tokens_per_day) {
        seconds = tell_wait(until_next_day(k, now.wall_ms), wait);
        fail_set(fail, FAIL_KEY_LIMIT,
                 "the key \"%s\" has used up its %" PRId64
                 " tokens of today (tokens_per_day); free again at 00:00 UTC, in %s",
                 name, k->tokens_per_day, wait);
    } else if (k->requests_per_day && k->day.requests >= k->requests_per_day) {
        seconds = tell_wait(until_next_day(k, now.wall_ms), wait);
        fail_set(fail, FAIL_KEY_LIMIT,
                 "the key \"%s\" has used up its %" PRId64
                 " requests of today (requests_per_day); free again at 00:00 UTC, in %s",
                 name, k->requests_per_day, wait);
    } else if (minute) {
        seconds = tell_wait(minute, wait);
        fail_set(fail, FAIL_KEY_LIMIT,
                 "the key \"%s\" has used up its %" PRId64
                 " requests a minute (rpm); free again in %s",
                 name, k->rpm, wait);
    } else if (k->max_concurrent && k->in_flight >= k->max_concurrent) {
        seconds = tell_wait(BUSY_RETRY_MS, wait);
        fail_set(fail, FAIL_KEY_LIMIT,
                 "the key \"%s\" has %" PRId64 " unfinished requests, as many as it may "
                 "(max_concurrent); free again when one of them ends: ask again in %s",
                 name, k->in_flight, wait);
    } else {
        return 0;
    }
    fail->retry_after_s = seconds;
    return -1;
}

static int begin(struct key_limits *l, struct span name, struct key_time now,
                 struct limited_key **key, struct fail *fail)
{
    struct limited_key *k = find(l, name);
    *key = k;
    if (!k)
        return 0;
    k->refs++;
    refill(k, now.monotonic_ms);
    turn_page(k, now.wall_ms);
    if (check(k, now, fail))
        return -1;
    k->level -= k->rpm ? REQUEST : 0;
    k->in_flight++;
    k->day.requests = add(k->day.requests, 1);
    tell_change(k);
    return 0;
}

int key_limits_begin(struct key_limits *l, struct span name, struct key_time now,
                     struct limited_key **key, struct fail *fail)
{
    shared_enter(l->shared);
    int result = begin(l, name, now, key, fail);
    shared_leave(l->shared);
    return result;
}

void limited_key_end(struct limited_key *k)
{
    enter(k);
    assert(k->magic == LIMITED_KEY_MAGIC && k->in_flight > 0);
    k->in_flight--;
    leave(k);
}

void limited_key_count_tokens(struct limited_key *k, int64_t tokens, int64_t wall_ms)
{
    assert(k->magic == LIMITED_KEY_MAGIC);
    if (tokens <= 0)
        return;
    enter(k);
    turn_page(k, wall_ms);
    k->day.tokens = add(k->day.tokens, tokens);
    if (k->configured) /* else the config knows it no more, and nobody keeps it */
        tell_change(k);
    leave(k);
}

/* ---- what is left ---- */

static struct key_allowance of_the_day(const struct limited_key *k, int64_t limit, int64_t used,
                                       int64_t wall_ms)
{
    if (!limit)
        return (struct key_allowance){0};
    return (struct key_allowance){limit, used < limit ? limit - used : 0,
                                  used ? until_next_day(k, wall_ms) : 0};
}

static struct key_allowance requests_left(struct limited_key *k, struct key_time now)
{
    refill(k, now.monotonic_ms);
    turn_page(k, now.wall_ms);
    struct key_allowance day = of_the_day(k, k->requests_per_day, k->day.requests, now.wall_ms);
    if (!k->rpm)
        return day;
    struct key_allowance minute = {k->rpm, k->level / REQUEST, wait_for_level(k, capacity(k))};
    return day.limit && day.remaining < minute.remaining ? day : minute;
}

struct key_allowance limited_key_requests(struct limited_key *k, struct key_time now)
{
    enter(k);
    assert(k->magic == LIMITED_KEY_MAGIC);
    struct key_allowance left = requests_left(k, now);
    leave(k);
    return left;
}

struct key_allowance limited_key_tokens(struct limited_key *k, int64_t wall_ms)
{
    enter(k);
    assert(k->magic == LIMITED_KEY_MAGIC);
    turn_page(k, wall_ms);
    struct key_allowance left = of_the_day(k, k->tokens_per_day, k->day.tokens, wall_ms);
    leave(k);
    return left;
}

const char *key_duration_format(uint64_t ms, char text[KEY_DURATION_SIZE])
{
    uint64_t s = ms / 1000 + (ms % 1000 != 0);
    if (ms == 0)
        snprintf(text, KEY_DURATION_SIZE, "0s");
    else if (ms < 1000)
        snprintf(text, KEY_DURATION_SIZE, "%" PRIu64 "ms", ms);
    else if (s < 60)
        snprintf(text, KEY_DURATION_SIZE, "%" PRIu64 "s", s);
    else if (s < 3600)
        snprintf(text, KEY_DURATION_SIZE, "%" PRIu64 "m%" PRIu64 "s", s / 60, s % 60);
    else
        snprintf(text, KEY_DURATION_SIZE, "%" PRIu64 "h%" PRIu64 "m%" PRIu64 "s", s / 3600,
                 s / 60 % 60, s % 60);
    return text;
}
