/*
 * gateway/clock.h - wall clock and randomness: the two things that are handed down to pure code as
 * arguments.
 */
#ifndef DRAGOMAN_GATEWAY_CLOCK_H
#define DRAGOMAN_GATEWAY_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Unix time in milliseconds. */
int64_t clock_wall_ms(void);
/* The day of a wall clock time: days since 1970-01-01, UTC. */
int64_t clock_day(int64_t wall_ms);
/* Bytes from the kernel, many of them asked for at once; on any thread, in a process that does not
 * fork. The owner argument fits turn_run.random and is not used. */
void clock_random(void *owner, void *bytes, size_t n);
/* `n` lower-case letters and digits (36 kinds) and a NUL into text[n + 1]. */
void clock_random_id(char *text, size_t n);

/* From `now` to `at` (both monotonic ms) in whole seconds, rounded up: at least 1, at most 365
 * days. */
int clock_seconds_until(uint64_t at_ms, uint64_t now_ms);

#endif
