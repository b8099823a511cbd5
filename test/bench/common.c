/*
 * test/bench/common.c - see bench.h.
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "test/bench/bench.h"

uint64_t bench_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void bench_die(const char *format, ...)
{
    int reason = errno;
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, reason ? ": %s\n" : "\n", strerror(reason));
    exit(1);
}

void bench_pin(int core)
{
    cpu_set_t set;
    if (core < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        fprintf(stderr, "core %d cannot be had: not pinned\n", core);
}

unsigned bench_raise_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    return limit.rlim_cur > 1000000 ? 1000000 : (unsigned)limit.rlim_cur;
}

/* ---- wishes ---- */

static bool read_number(const char **p, const char *end, unsigned *value)
{
    unsigned v = 0;
    const char *from = *p;
    for (; *p < end && **p >= '0' && **p <= '9' && *p - from < 9; (*p)++)
        v = v * 10 + (unsigned)(**p - '0');
    *value = v;
    return *p > from;
}

static bool read_letter(const char **p, const char *end, char letter)
{
    if (*p >= end || **p != letter)
        return false;
    (*p)++;
    return true;
}

bool bench_wish_parse(const char *name, size_t n, struct bench_wish *wish)
{
    const char *end = name + n, *slash = memrchr(name, '/', n), *p = slash ? slash + 1 : name;
    if (p >= end || (*p != 's' && *p != 'w'))
        return false;
    wish->stream = *p++ == 's';
    return read_number(&p, end, &wish->chunks) && read_letter(&p, end, 'g') &&
           read_number(&p, end, &wish->gap_us) && read_letter(&p, end, 'z') &&
           read_number(&p, end, &wish->size) && p == end && wish->chunks > 0 &&
           wish->size >= RECORD_MIN;
}

/* ---- stamps ---- */

void bench_write_stamp(char *out, uint64_t ns)
{
    for (int i = RECORD_STAMP - 1; i >= 0; i--, ns >>= 4)
        out[i] = "0123456789abcdef"[ns & 15];
}

uint64_t bench_read_stamp(const char *digits)
{
    uint64_t ns = 0;
    for (int i = 0; i < RECORD_STAMP; i++) {
        unsigned c = (unsigned char)digits[i];
        ns = ns << 4 | ((c & 15) + (c >> 6) * 9); /* '0'…'9' 0x30…, 'a'…'f' 0x61… */
    }
    return ns;
}

/* ---- histograms ---- */

void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned shift = 0;
    if (ns >> HISTOGRAM_BITS)
        shift = 63u - (unsigned)__builtin_clzll(ns) - HISTOGRAM_BITS;
    /* Below 2^BITS each value has a slot; above, each octave has 2^BITS of them. */
    size_t slot = ns >> HISTOGRAM_BITS ? ((size_t)(shift + 1) << HISTOGRAM_BITS) +
                                             (size_t)(ns >> shift) - ((size_t)1 << HISTOGRAM_BITS)
                                       : (size_t)ns;
    if (slot >= HISTOGRAM_SLOTS)
        slot = HISTOGRAM_SLOTS - 1;
    h->slots[slot]++;
    h->count++;
    if (ns > h->max)
        h->max = ns;
}

double histogram_us(const struct histogram *h, double share)
{
    double wanted = share * (double)h->count, seen = 0;
    for (size_t slot = 0; slot < HISTOGRAM_SLOTS && h->count; slot++) {
        seen += h->slots[slot];
        if (seen < wanted || !h->slots[slot])
            continue;
        size_t octave = slot >> HISTOGRAM_BITS, rest = slot & ((1u << HISTOGRAM_BITS) - 1);
        if (octave == 0)
            return (double)rest / 1000;
        uint64_t low = ((uint64_t)rest + (1u << HISTOGRAM_BITS)) << (octave - 1);
        return ((double)low + (double)((uint64_t)1 << (octave - 1)) / 2) / 1000;
    }
    return (double)h->max / 1000;
}
