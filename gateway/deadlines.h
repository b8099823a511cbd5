/*
 * gateway/deadlines.h - many deadlines behind one timer. Sans-IO.
 *
 * A timer of the loop's is 152 bytes; who waits for hours with ten thousand others cannot afford
 * one each. A deadline is 4 bytes in its owner, and 16 in an array while it is set: a binary heap,
 * the earliest first. Setting and clearing cost O(log n) and no memory: room for each owner's
 * deadline is made when it joins.
 */
#ifndef DRAGOMAN_GATEWAY_DEADLINES_H
#define DRAGOMAN_GATEWAY_DEADLINES_H

#include <stddef.h>
#include <stdint.h>

#define DEADLINE_NEVER UINT64_MAX

/* Embedded in whoever has it; zeroed = not set. Must not move while it is set. */
struct deadline {
    uint32_t place; /* in the heap, counted from 1 */
};

struct deadline_slot {
    uint64_t at_ms;
    struct deadline *of;
};

/* Zeroed = empty. */
struct deadlines {
    struct deadline_slot *slots;
    size_t n;         /* that are set */
    size_t n_members; /* that joined */
    size_t cap;
};

/* Room for one more deadline. 0, or -1 when memory is short. */
int deadlines_join(struct deadlines *);
/* Clears it and gives its room back; the last one frees everything. */
void deadlines_leave(struct deadlines *, struct deadline *);
/* For one that joined. Replaces the time that was set before; DEADLINE_NEVER clears it. */
void deadlines_set(struct deadlines *, struct deadline *, uint64_t at_ms);
/* The time that is set; DEADLINE_NEVER when none is. */
uint64_t deadline_at(const struct deadlines *, const struct deadline *);
/* The earliest of all; DEADLINE_NEVER when none is set. */
uint64_t deadlines_next(const struct deadlines *);
/* The earliest, if its time has come, and clears it; else NULL. */
struct deadline *deadlines_take(struct deadlines *, uint64_t now_ms);

#endif
