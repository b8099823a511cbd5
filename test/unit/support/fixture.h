/*
 * test/unit/support/fixture.h - what tests of pure functions begin with: an arena for each test,
 * long bodies, and chance that counts.
 */
#ifndef DRAGOMAN_TEST_FIXTURE_H
#define DRAGOMAN_TEST_FIXTURE_H

#include "base/arena.h"

/* Between arena_begin and arena_end, a test's set-up and tear-down. */
extern struct arena test_arena;
int arena_begin(void **state);
int arena_end(void **state);

/* `one` so many times, with commas, between the two; to be freed. Ends the test when memory is
 * short. */
char *repeated(const char *before, const char *one, size_t n, const char *behind);

/* For turn_run.random: bytes that count up from *owner, an unsigned char. */
void count_up(void *owner, void *bytes, size_t n);

#endif
