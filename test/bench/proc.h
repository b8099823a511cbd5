/*
 * test/bench/proc.h - what the kernel knows about a target: CPU time and memory.
 */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

#include <stdint.h>

/* All threads' time on a core, in nanoseconds; threads that ended are not in it. */
uint64_t proc_cpu_ns(int pid);
/* Resident memory, in KiB. */
unsigned long proc_rss_kib(int pid);

#endif
