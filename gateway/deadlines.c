/*
 * gateway/deadlines.c - see deadlines.h. The heap's slots hold the times, so that comparing them
 * touches no owner.
 */
#include "gateway/deadlines.h"

#include <assert.h>
#include <stdlib.h>

enum { CAP_LEAST = 16 };

static int resize(struct deadlines *d, size_t cap)
{
    struct deadline_slot *slots = realloc(d->slots, cap * sizeof *slots);
    if (!slots)
        return -1;
    d->slots = slots;
    d->cap = cap;
    return 0;
}

int deadlines_join(struct deadlines *d)
{
    if (d->n_members == d->cap && resize(d, d->cap ? d->cap * 2 : CAP_LEAST))
        return -1;
    d->n_members++;
    return 0;
}

static void put(struct deadlines *d, size_t i, struct deadline_slot slot)
{
    d->slots[i] = slot;
    slot.of->place = (uint32_t)(i + 1);
}

/* The slot finds its place from `i` on, which is free: upwards or downwards. */
static void settle(struct deadlines *d, size_t i, struct deadline_slot slot)
{
    while (i && d->slots[(i - 1) / 2].at_ms > slot.at_ms) {
        put(d, i, d->slots[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < d->n && d->slots[child + 1].at_ms < d->slots[child].at_ms)
            child++;
        if (child >= d->n || d->slots[child].at_ms >= slot.at_ms)
            break;
        put(d, i, d->slots[child]);
        i = child;
    }
    put(d, i, slot);
}

static void clear(struct deadlines *d, struct deadline *one)
{
    if (!one->place)
        return;
    size_t i = one->place - 1;
    one->place = 0;
    d->n--;
    if (i < d->n)
        settle(d, i, d->slots[d->n]);
}

void deadlines_set(struct deadlines *d, struct deadline *one, uint64_t at_ms)
{
    if (at_ms == DEADLINE_NEVER) {
        clear(d, one);
        return;
    }
    size_t i = one->place ? one->place - 1 : d->n++;
    assert(d->n <= d->n_members);
    settle(d, i, (struct deadline_slot){at_ms, one});
}

void deadlines_leave(struct deadlines *d, struct deadline *one)
{
    clear(d, one);
    assert(d->n_members);
    d->n_members--;
    if (!d->n_members) {
        free(d->slots);
        *d = (struct deadlines){0};
    } else if (d->cap > CAP_LEAST && d->n_members < d->cap / 4) {
        resize(d, d->cap / 2); /* if not, it stays as it is */
    }
}

uint64_t deadline_at(const struct deadlines *d, const struct deadline *one)
{
    return one->place ? d->slots[one->place - 1].at_ms : DEADLINE_NEVER;
}

uint64_t deadlines_next(const struct deadlines *d)
{
    return d->n ? d->slots[0].at_ms : DEADLINE_NEVER;
}

struct deadline *deadlines_take(struct deadlines *d, uint64_t now_ms)
{
    if (deadlines_next(d) > now_ms || !d->n)
        return NULL;
    struct deadline *one = d->slots[0].of;
    clear(d, one);
    return one;
}
