/*
 * test/memory/short_memory.h - an allocator that refuses on purpose, for tests alone.
 *
 * It stands in front of the process's own allocator (the sanitizer's, in a debug build), so that it
 * sees what our code asks for and what libraries ask for, and counts the two apart: whoever called
 * malloc is the program itself or a shared library. cmocka's own are neither. Two ways in:
 *
 *   - linked into a test program, which arms it from C (the functions below);
 *   - as libshort_memory.so in LD_PRELOAD, armed through the file named by SHORT_MEMORY_PLAN: a
 *     `struct memory_plan` that the test writes and reads while the program runs
 *     (test/e2e/lib/memory.mjs), or, in a unit test program, by the sweep (sweep.c).
 *
 * SHORT_MEMORY_TRACE=1 prints the stack of every refused allocation.
 */
#ifndef DRAGOMAN_TEST_SHORT_MEMORY_H
#define DRAGOMAN_TEST_SHORT_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

enum memory_who { MEMORY_OURS = 1, MEMORY_LIBRARIES = 2 };

/* Eight little-endian 64-bit numbers: what other processes write and read. */
struct memory_plan {
    uint64_t armed;   /* 1 = count, and refuse what is to be refused */
    uint64_t fail_at; /* the allocation, counted from 1; 0 = refuse none */
    uint64_t fail_n;  /* how many from there on; UINT64_MAX = all */
    uint64_t who;     /* enum memory_who: whose allocations count */
    uint64_t counted; /* since it was armed: of those that count */
    uint64_t refused;
    uint64_t ours, libraries; /* counted apart, whatever `who` is */
};

/* From here on allocations of `who` are counted, and `n` from the `at`-th on are refused. */
void memory_arm(unsigned who, uint64_t at, uint64_t n);
/* Refuses none any more; what was counted stays to be read. */
void memory_disarm(void);
/* Between them nothing counts and nothing is refused: a test's own preparations. May be nested;
 * for the one thread that runs scenarios. */
void memory_pause(void);
void memory_resume(void);
const struct memory_plan *memory_plan(void);
/* From here on the plan is shared with children. */
struct memory_plan *memory_plan_share(void);
/* As SHORT_MEMORY_TRACE. */
void memory_trace(bool);
/* Blocks that are allocated now. */
int64_t memory_live(void);

#endif
