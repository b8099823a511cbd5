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
/* Bytes from the kernel; the owner argument fits turn_run.random and is not used. */
void clock_random(void *owner, void *bytes, size_t n);
/* `n` lower-case letters and digits (36 kinds) and a NUL into text[n + 1]. */
void clock_random_id(char *text, size_t n);

#endif
