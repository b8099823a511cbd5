/*
 * gateway/fair_queue.c - see fair_queue.h.
 */
#include "gateway/fair_queue.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

struct fair_group {
    struct wait_queue queue;
    struct fair_queue *of;
    uint64_t name;
    struct fair_group *prev, *next; /* the ring */
};

static struct fair_group *group_of(struct wait_queue *q)
{
    return (struct fair_group *)((char *)q - offsetof(struct fair_group, queue));
}

static void unlink_group(struct fair_group *g)
{
    struct fair_queue *f = g->of;
    f->n_groups--;
    if (g->next == g) {
        f->turn = NULL;
    } else {
        g->prev->next = g->next;
        g->next->prev = g->prev;
        if (f->turn == g)
            f->turn = g->next;
    }
    free(g);
}

/* wait_queue's hook: somebody left, woken or not. */
static void on_left(struct wait_queue *q)
{
    struct fair_group *g = group_of(q);
    g->of->n--;
    if (!q->first)
        unlink_group(g);
}

static struct fair_group *find_group(const struct fair_queue *f, uint64_t name)
{
    struct fair_group *g = f->turn;
    if (!g)
        return NULL;
    do {
        if (g->name == name)
            return g;
        g = g->next;
    } while (g != f->turn);
    return NULL;
}

/* A new group comes last. */
static struct fair_group *add_group(struct fair_queue *f, uint64_t name)
{
    struct fair_group *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->of = f;
    g->name = name;
    g->queue.left = on_left;
    f->n_groups++;
    if (f->turn) {
        g->next = f->turn;
        g->prev = f->turn->prev;
        g->prev->next = g;
        g->next->prev = g;
    } else {
        g->prev = g->next = g;
        f->turn = g;
    }
    return g;
}

bool fair_queue_add(struct fair_queue *f, uint64_t name, struct waiter *w, bool front)
{
    struct fair_group *g = find_group(f, name);
    if (!g)
        g = add_group(f, name);
    if (!g)
        return false;
    if (front)
        wait_queue_add_first(&g->queue, w);
    else
        wait_queue_add(&g->queue, w);
    f->n++;
    return true;
}

void fair_queue_wake_next(struct fair_queue *f)
{
    struct fair_group *g = f->turn;
    if (!g)
        return;
    f->turn = g->next;
    wait_queue_wake_first(&g->queue); /* g may be gone now */
}

struct waiter *fair_queue_next(const struct fair_queue *f)
{
    return f->turn ? f->turn->queue.first : NULL;
}

void fair_queue_pass(struct fair_queue *f)
{
    if (f->turn)
        f->turn = f->turn->next;
}

void fair_queue_wake_all(struct fair_queue *f)
{
    for (size_t n = f->n; n && f->turn; n--)
        fair_queue_wake_next(f);
}

size_t fair_queue_ahead(const struct fair_queue *f, const struct waiter *w)
{
    const struct fair_group *own = group_of(w->queue), *g = f->turn;
    size_t before = waiter_ahead(w), ahead = before;
    bool passed = false; /* groups before ours have had one turn more when ours comes */
    do {
        passed |= g == own;
        size_t turns = passed ? before : before + 1;
        if (g != own)
            ahead += g->queue.n < turns ? g->queue.n : turns;
        g = g->next;
    } while (g != f->turn);
    return ahead;
}
