/*
 * test/memory/sweep.c - every test of a unit test program again and again, each time with another
 * allocation refused.
 *
 * Part of libshort_memory.so alone: preloaded with SHORT_MEMORY_SWEEP=STRIDE into a program made
 * with cmocka, it stands in front of cmocka's runner. Each run is a child of its own. A test may
 * fail its assertions, since few of them expect to be short of memory; what may not happen is a
 * crash, a finding of a sanitizer, a hang, or, where the test passed, a leak. With STRIDE 1 every
 * allocation has its turn; with more, all of the first ones and then each STRIDE-th.
 *
 * A child that ends badly in a line of test/ is the test's own fault: it did not look at what it
 * got. Such ones are counted and not reported.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/memory/short_memory.h"

enum { ALL_OF_THE_FIRST = 30, SECONDS_A_RUN = 30, OUTPUT_MAX = 64 << 10 };
enum { RUN_PASSED = 0, RUN_FAILED = 60, RUN_LEAKED = 61 };

/* The libraries' names. NOLINTBEGIN(bugprone-reserved-identifier) */
#pragma weak __lsan_do_recoverable_leak_check
int __lsan_do_recoverable_leak_check(void);
int _cmocka_run_group_tests(const char *group_name, const struct CMUnitTest *const tests,
                            size_t num_tests, CMFixtureFunction group_setup,
                            CMFixtureFunction group_teardown);
/* NOLINTEND(bugprone-reserved-identifier) */

typedef int run_group(const char *, const struct CMUnitTest *, size_t, CMFixtureFunction,
                      CMFixtureFunction);

static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static struct sigaction sanitizer[sizeof crashes / sizeof *crashes];
static struct CMUnitTest swept; /* the test of the moment */
static CMFixtureFunction group_setup_swept;
static struct {
    uint64_t runs, refused, failed, own_fault, bad;
} totals;

/* cmocka would make "test failed" of a crash: the sanitizer, with its stack, is to have it. */
static void crash_loudly(void)
{
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        sigaction(crashes[i], &sanitizer[i], NULL);
}

static int setup_group(void **state)
{
    crash_loudly();
    return group_setup_swept ? group_setup_swept(state) : 0;
}

static int setup(void **state)
{
    crash_loudly();
    return swept.setup_func ? swept.setup_func(state) : 0;
}

static void test(void **state)
{
    crash_loudly();
    swept.test_func(state);
}

static int teardown(void **state)
{
    crash_loudly();
    return swept.teardown_func ? swept.teardown_func(state) : 0;
}

static void run_child(run_group *run, uint64_t n, CMFixtureFunction group_teardown)
{
    struct CMUnitTest one = swept;
    one.test_func = test;
    one.setup_func = setup;
    one.teardown_func = swept.teardown_func ? teardown : NULL;
    alarm(SECONDS_A_RUN);
    memory_arm(MEMORY_OURS | MEMORY_LIBRARIES, n, 1);
    int failed = run("swept", &one, 1, setup_group, group_teardown);
    memory_disarm();
    if (failed)
        _exit(RUN_FAILED);
    fflush(NULL);
    if (n && __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
        _exit(RUN_LEAKED);
    _exit(RUN_PASSED);
}

/* The first line of ours in a stack: where it happened. NULL: none. */
static const char *place_of(char *output)
{
    for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n")) {
        char *in = strstr(line, " in ");
        if (strstr(line, "runtime error:"))
            return line;
        if (line[strspn(line, " ")] == '#' && in && strstr(in, PROJECT_SOURCE_DIR "/") &&
            !strstr(in, "/test/memory/"))
            return in + 4;
    }
    return NULL;
}

static bool fault_of_test(const char *place)
{
    return place && strstr(place, PROJECT_SOURCE_DIR "/test/");
}

static void report(const char *name, uint64_t n, int status, const char *file)
{
    static char output[OUTPUT_MAX];
    FILE *f = fopen(file, "r");
    size_t got = f ? fread(output, 1, sizeof output - 1, f) : 0;
    if (f)
        fclose(f);
    output[got] = '\0';
    bool leaked = WIFEXITED(status) && WEXITSTATUS(status) == RUN_LEAKED;
    const char *place = place_of(output);
    if (fault_of_test(place)) {
        totals.own_fault++;
        return;
    }
    totals.bad++;
    printf("%s: allocation %llu refused: %s at %s (status %x)\n", name, (unsigned long long)n,
           leaked                                                 ? "leak"
           : WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "hang"
                                                                  : "crash",
           place ? place : "?", (unsigned)status);
    const char *keep = getenv("SHORT_MEMORY_KEEP"); /* a folder for whole reports */
    char to[4096];
    snprintf(to, sizeof to, "%s/%s.%llu.txt", keep ? keep : "", name, (unsigned long long)n);
    if (keep)
        rename(file, to);
}

/* The counts of the child's run. */
static struct memory_plan run_one(run_group *run, uint64_t n, CMFixtureFunction group_teardown,
                                  struct memory_plan *shared, const char *file)
{
    fflush(NULL);
    memset(shared, 0, sizeof *shared);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        run_child(run, n, group_teardown);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    totals.runs++;
    totals.refused += shared->refused != 0;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    totals.failed += code == RUN_FAILED;
    if (code != RUN_PASSED && code != RUN_FAILED)
        report(swept.name, n, status, file);
    return *shared;
}

__attribute__((visibility("default"))) int
_cmocka_run_group_tests(const char *group_name, const struct CMUnitTest *const tests,
                        size_t num_tests, CMFixtureFunction group_setup,
                        CMFixtureFunction group_teardown)
{
    run_group *run = (run_group *)(uintptr_t)dlsym(RTLD_NEXT, "_cmocka_run_group_tests");
    const char *sweep = getenv("SHORT_MEMORY_SWEEP"), *only = getenv("SHORT_MEMORY_TEST");
    uint64_t stride = sweep ? strtoull(sweep, NULL, 10) : 0;
    char file[] = "/tmp/dragoman-sweep-XXXXXX";
    if (!stride)
        return run(group_name, tests, num_tests, group_setup, group_teardown);
    struct memory_plan *shared = memory_plan_share();
    int fd = mkstemp(file);
    close(fd);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        sigaction(crashes[i], NULL, &sanitizer[i]);
    group_setup_swept = group_setup;
    for (size_t i = 0; i < num_tests; i++) {
        swept = tests[i];
        if (!swept.test_func || (only && strcmp(only, swept.name) != 0))
            continue;
        uint64_t all = run_one(run, 0, group_teardown, shared, file).counted;
        for (uint64_t n = 1; n <= all; n += n < ALL_OF_THE_FIRST ? 1 : stride)
            run_one(run, n, group_teardown, shared, file);
    }
    unlink(file);
    printf("%s: %llu runs, %llu refusals, %llu tests failed, %llu tests broke, %llu FINDINGS\n",
           group_name, (unsigned long long)totals.runs, (unsigned long long)totals.refused,
           (unsigned long long)totals.failed, (unsigned long long)totals.own_fault,
           (unsigned long long)totals.bad);
    return totals.bad > 0;
}
