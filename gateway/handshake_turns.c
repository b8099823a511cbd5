/*
 * gateway/handshake_turns.c - see handshake_turns.h.
 *
 * Who waits stands in one list for all origins: all wait equally long, so it is in the order of
 * their patience, and one timer does for it. Who may go is called from that timer too, a few in
 * each turn of the loop, so that nobody is called back inside somebody else's callback and the loop
 * does not stand still for a crowd.
 */
#include "gateway/handshake_turns.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ORIGINS_MAX = 256, CALLS_A_TURN = 4, DECLINES_MAX = 2 };

TAILQ_HEAD(place_list, handshake_place);

struct handshake_origin {
    SLIST_ENTRY(handshake_origin) link;  /* the latest first */
    const struct handshake_place *first; /* whom the others wait for */
    size_t places;
    size_t more; /* how many go ahead the next time that patience is lost; 0 = one */
    uint64_t fresh_until;
    unsigned declines;  /* in a row */
    bool gives_nothing; /* its last full handshake left no session */
    char key[];
};
SLIST_HEAD(origin_list, handshake_origin);

struct handshake_turns {
    uv_timer_t timer; /* the patience of the first who waits */
    uv_idle_t idle;   /* runs while somebody is to be called */
    struct origin_list origins;
    size_t n_origins;
    struct place_list waiting, called;
    void (*closed)(void *);
    void *closed_arg;
};

static uint64_t now_of(const struct handshake_turns *t) { return uv_now(t->timer.loop); }

/* ---- origins ---- */

/* The one that nobody asked about for longest, if nobody is at it. */
static void forget_one(struct handshake_turns *t)
{
    struct handshake_origin *o, *oldest = NULL;
    SLIST_FOREACH(o, &t->origins, link)
    {
        if (o->places == 0)
            oldest = o;
    }
    if (!oldest)
        return;
    SLIST_REMOVE(&t->origins, oldest, handshake_origin, link);
    t->n_origins--;
    free(oldest);
}

/* Found or made, and moved to the front. NULL when memory is short. */
static struct handshake_origin *origin_for(struct handshake_turns *t, const char *key)
{
    struct handshake_origin *o;
    SLIST_FOREACH(o, &t->origins, link)
    {
        if (strcmp(o->key, key) == 0)
            break;
    }
    if (o) {
        SLIST_REMOVE(&t->origins, o, handshake_origin, link);
    } else {
        size_t n = strlen(key) + 1;
        o = calloc(1, sizeof *o + n);
        if (!o)
            return NULL;
        memcpy(o->key, key, n);
        if (t->n_origins >= ORIGINS_MAX)
            forget_one(t);
        t->n_origins++;
    }
    SLIST_INSERT_HEAD(&t->origins, o, link);
    return o;
}

static bool does_not_resume(const struct handshake_origin *o)
{
    return o->gives_nothing || o->declines >= DECLINES_MAX;
}

/* ---- waiting ---- */

static void on_timer(uv_timer_t *timer);
static void on_idle(uv_idle_t *idle);

static void arm(struct handshake_turns *t)
{
    const struct handshake_place *next = TAILQ_FIRST(&t->waiting);
    uint64_t now = now_of(t);
    if (next)
        uv_timer_start(&t->timer, on_timer, next->until > now ? next->until - now : 0, 0);
    else
        uv_timer_stop(&t->timer);
    if (TAILQ_EMPTY(&t->called))
        uv_idle_stop(&t->idle);
    else
        uv_idle_start(&t->idle, on_idle);
}

static void call_soon(struct handshake_turns *t, struct handshake_place *place)
{
    TAILQ_REMOVE(&t->waiting, place, link);
    TAILQ_INSERT_TAIL(&t->called, place, link);
    place->state = HANDSHAKE_CALLED;
}

/* Of those who wait for this origin: all, or only the one that has waited longest. */
static void release(struct handshake_turns *t, struct handshake_origin *o, bool all)
{
    struct handshake_place *place = TAILQ_FIRST(&t->waiting), *next;
    for (; place; place = next) {
        next = TAILQ_NEXT(place, link);
        if (place->origin != o)
            continue;
        call_soon(t, place);
        if (!all) {
            o->first = place;
            return;
        }
    }
}

static void wait_on(struct handshake_turns *t, struct handshake_place *place, bool looked)
{
    place->looked = looked;
    place->until = now_of(t) + HANDSHAKE_WAIT_MS / 2;
    TAILQ_INSERT_TAIL(&t->waiting, place, link);
}

/* Those of the origin whose time has come: as many as its turn is go, and the others wait on. */
static void lose_patience_with(struct handshake_turns *t, struct handshake_origin *o, uint64_t now)
{
    size_t left = o->more ? o->more : 1;
    struct handshake_place *place = TAILQ_FIRST(&t->waiting), *next;
    o->first = NULL; /* it hangs: who comes now need not wait for it either */
    o->more = 2 * left;
    for (; place && now >= place->until; place = next) {
        next = TAILQ_NEXT(place, link);
        if (place->origin != o)
            continue;
        if (left > 0) {
            left--;
            call_soon(t, place);
        } else {
            TAILQ_REMOVE(&t->waiting, place, link);
            wait_on(t, place, true);
        }
    }
}

static void lose_patience(struct handshake_turns *t)
{
    struct handshake_place *place;
    uint64_t now = now_of(t);
    while ((place = TAILQ_FIRST(&t->waiting)) && now >= place->until) {
        struct handshake_origin *o = place->origin;
        bool computing = o->first && o->first->computing;
        if (computing || !place->looked) {
            TAILQ_REMOVE(&t->waiting, place, link);
            wait_on(t, place, !computing);
        } else {
            lose_patience_with(t, o, now);
        }
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct handshake_turns *t = timer->data;
    lose_patience(t);
    arm(t);
}

static void on_idle(uv_idle_t *idle)
{
    struct handshake_turns *t = idle->data;
    struct handshake_place *place;
    for (int i = 0; i < CALLS_A_TURN && (place = TAILQ_FIRST(&t->called)); i++) {
        TAILQ_REMOVE(&t->called, place, link);
        place->state = HANDSHAKE_AT_WORK;
        place->go(place);
    }
    arm(t);
}

/* ---- what handshake_turns.h promises ---- */

bool handshake_turns_enter(struct handshake_turns *t, struct handshake_place *place,
                           const char *key)
{
    struct handshake_origin *o = origin_for(t, key);
    place->origin = o;
    place->state = HANDSHAKE_AT_WORK;
    if (!o) /* memory is short: by himself */
        return true;
    o->places++;
    if (does_not_resume(o) || now_of(t) < o->fresh_until)
        return true;
    if (!o->first) {
        o->first = place;
        return true;
    }
    place->state = HANDSHAKE_WAITING;
    wait_on(t, place, false);
    arm(t);
    return false;
}

static void learn(struct handshake_turns *t, struct handshake_origin *o, enum handshake_end end)
{
    o->fresh_until = end == HANDSHAKE_FAILED ? 0 : now_of(t) + HANDSHAKE_FRESH_MS;
    if (end == HANDSHAKE_FAILED)
        return;
    o->more = 0;
    o->gives_nothing = end == HANDSHAKE_SESSIONLESS;
    if (end == HANDSHAKE_RESUMED)
        o->declines = 0;
    else if (end == HANDSHAKE_DECLINED)
        o->declines++;
}

void handshake_turns_leave(struct handshake_turns *t, struct handshake_place *place,
                           enum handshake_end end)
{
    struct handshake_origin *o = place->origin;
    if (!o)
        return;
    bool began = place->state == HANDSHAKE_AT_WORK, was_first = o->first == place;
    if (place->state == HANDSHAKE_WAITING)
        TAILQ_REMOVE(&t->waiting, place, link);
    else if (place->state == HANDSHAKE_CALLED)
        TAILQ_REMOVE(&t->called, place, link);
    place->origin = NULL;
    o->places--;
    if (was_first)
        o->first = NULL;
    if (began && end != HANDSHAKE_GIVEN_UP)
        learn(t, o, end);
    if (end < HANDSHAKE_FAILED)
        release(t, o, true);
    else if (was_first)
        release(t, o, false);
    arm(t);
}

struct handshake_turns *handshake_turns_create(uv_loop_t *loop)
{
    struct handshake_turns *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    TAILQ_INIT(&t->waiting);
    TAILQ_INIT(&t->called);
    uv_timer_init(loop, &t->timer);
    uv_idle_init(loop, &t->idle);
    t->timer.data = t->idle.data = t;
    return t;
}

static void on_idle_closed(uv_handle_t *handle)
{
    struct handshake_turns *t = handle->data;
    struct handshake_origin *o;
    assert(TAILQ_EMPTY(&t->waiting) && TAILQ_EMPTY(&t->called));
    while ((o = SLIST_FIRST(&t->origins))) {
        SLIST_REMOVE_HEAD(&t->origins, link);
        free(o);
    }
    void (*closed)(void *) = t->closed;
    void *arg = t->closed_arg;
    free(t);
    closed(arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct handshake_turns *t = handle->data;
    uv_close((uv_handle_t *)&t->idle, on_idle_closed);
}

void handshake_turns_close(struct handshake_turns *t, void (*closed)(void *), void *arg)
{
    t->closed = closed;
    t->closed_arg = arg;
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}
