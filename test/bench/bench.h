/*
 * test/bench/bench.h - what the bench's three programs agree on.
 *
 * upstream.c is a site that is far faster than any gateway; load.c asks it through a target, times
 * and checks every chunk; run.c takes turns between targets and prints the table. What an answer
 * looks like is told in the model's name, so that every target passes the wish on:
 *
 *     [sw]<chunks>g<gap in microseconds>z<bytes a chunk>      e.g. s64g0z32, w4g0z32
 *
 * s: a stream of so many chunks; w: a whole answer that holds as many records. The text of each
 * chunk is one record: its number (8 decimal digits), the time when it was sent (16 hexadecimal
 * digits, CLOCK_MONOTONIC in nanoseconds; zeros in whole answers), letters up to the size.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECORD_NUMBER = 8, RECORD_STAMP = 16, RECORD_MIN = RECORD_NUMBER + RECORD_STAMP + 1 };

struct bench_wish {
    bool stream;
    unsigned chunks, gap_us, size;
};

/* Reads a model's name; what stands before the last slash (a gateway's site) is left out. */
bool bench_wish_parse(const char *name, size_t n, struct bench_wish *wish);

uint64_t bench_now_ns(void);

/* The message and the reason (errno, when not 0) to standard error; exit code 1. */
void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Keeps this process on one core; -1: anywhere. */
void bench_pin(int core);

/* Raises the soft limit of file descriptors to the hard one and returns it. */
unsigned bench_raise_files(void);

/* 16 hexadecimal digits, lower case. */
void bench_write_stamp(char *out, uint64_t ns);
uint64_t bench_read_stamp(const char *digits);

/* A histogram of nanoseconds, exact to 1.6 %. */
enum { HISTOGRAM_BITS = 6, HISTOGRAM_SLOTS = 45 << HISTOGRAM_BITS };
struct histogram {
    uint64_t count, max;
    uint32_t slots[HISTOGRAM_SLOTS];
};
void histogram_add(struct histogram *h, uint64_t ns);
/* The value below which `share` of all lie, in microseconds; 0 without any. */
double histogram_us(const struct histogram *h, double share);

#endif
