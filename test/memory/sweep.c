/*
 * test/memory/sweep.c - every test of a unit test program again and again, each time with another
 * allocation refused.
 *
 * Part of libshort_memory.so alone: preloaded with SHORT_MEMORY_SWEEP=RUNS into a program made with
 * cmocka, it stands in front of cmocka's runner. Each run is a child of its own. A test may fail
 * its assertions, since few of them expect to be short of memory; what may not happen is a crash, a
 * finding of a sanitizer, a hang, or, where the test passed, a leak. Where a test has more
 * allocations than RUNS, half of the runs are for the first ones, the others lie evenly spread; a
 * test that takes long has fewer runs, so that none takes more than some seconds.
 *
 * A child that ends badly in a line of test/, or right below one that hands on what another
 * refused, is the test's own fault: it did not look at what it got. Such ones are counted and not
 * reported.
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
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/memory/short_memory.h"

enum {
    SECONDS_A_RUN = 300,
    CPU_SECONDS_A_RUN = 20,
    CPU_MS_A_TEST = 6000,
    RUNS_MIN = 4,
    OUTPUT_MAX = 64 << 10
};
enum { RUN_PASSED = 0, RUN_FAILED = 60, RUN_LEAKED = 61 };

/* The libraries' names. NOLINTBEGIN(bugprone-reserved-identifier) */
#pragma weak __lsan_do_recoverable_leak_check
#pragma weak __sanitizer_set_death_callback
#pragma weak __sanitizer_symbolize_pc
int __lsan_do_recoverable_leak_check(void);
void __sanitizer_set_death_callback(void (*callback)(void));
void __sanitizer_symbolize_pc(void *pc, const char *format, char *out, size_t size);
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
static bool returned;       /* from the test, no assertion of which failed */
static int64_t last_cpu_ms; /* what the last child took */
static struct {
    uint64_t too_long, runs, refused, failed, own_fault, librarys, bad;
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
    returned = true;
}

static void end_failed(void) { _exit(RUN_FAILED); }
static void on_crash(int number) { end_failed(); }

/* A test that failed may have left open what its tear-down takes for closed: that is no finding. */
static void end_quietly(void)
{
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        signal(crashes[i], on_crash);
    signal(SIGALRM, on_crash);
    signal(SIGPROF, on_crash);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(end_failed);
}

static int teardown(void **state)
{
    crash_loudly();
    if (!returned)
        end_quietly();
    return swept.teardown_func ? swept.teardown_func(state) : 0;
}

static void run_child(run_group *run, uint64_t n, CMFixtureFunction group_teardown)
{
    const struct itimerval limit = {.it_value = {.tv_sec = CPU_SECONDS_A_RUN}};
    struct CMUnitTest one = swept;
    one.test_func = test;
    one.setup_func = setup;
    one.teardown_func = swept.teardown_func ? teardown : NULL;
    alarm(SECONDS_A_RUN); /* other work on the machine may take most of them */
    setitimer(ITIMER_PROF, &limit, NULL);
    if (n)
        setenv("SHORT_MEMORY_REFUSES", "1", 1); /* test/unit/support/patience.h */
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

/* The sanitizer reads the debugging information once, for all children. */
static void read_lines(CMUnitTestFunction test_func)
{
    char where[400];
    if (__sanitizer_symbolize_pc)
        __sanitizer_symbolize_pc((void *)(uintptr_t)test_func, "%S", where, sizeof where);
}

/* ---- whose fault it was ---- */

/* Of a stack: where it is in the program's sources, and in the test's. */
struct place {
    char top[200], test[200];
    int depth; /* frames of the product above the test's */
};

/* Reads one stack; `at` is behind it then. */
static struct place read_stack(char **at)
{
    struct place place = {.depth = 0};
    bool begun = false;
    for (char *line; (line = strsep(at, "\n"));) {
        char *in = strstr(line, " in ");
        if (line[strspn(line, " ")] != '#') {
            if (begun)
                break;
            continue;
        }
        begun = true;
        char *path = in ? strstr(in, PROJECT_SOURCE_DIR "/") : NULL;
        path = in && !path ? strstr(in, "../../") : path;
        if (!path || strstr(path, "/test/memory/") || strstr(path, "libsanitizer") ||
            strchr(path, '+'))
            continue;
        if (!place.top[0])
            snprintf(place.top, sizeof place.top, "%s", in + 4);
        if (!strstr(path, "/test/"))
            place.depth++;
        else if (!place.test[0])
            snprintf(place.test, sizeof place.test, "%s", in + 4);
    }
    return place;
}

/* It crashed in a line of the test, or in what the test called right there with what it had got
 * from an earlier call and had not looked at. */
static bool fault_of_test(const struct place *refused, const struct place *crashed)
{
    if (!crashed->top[0])
        return false;
    if (strcmp(crashed->top, crashed->test) == 0)
        return true;
    return crashed->depth == 1 && strcmp(refused->test, crashed->test) != 0;
}

/* libuv itself called abort(): it does where a new loop's first table, or a thread of its pool,
 * cannot be had. */
static bool is_libuvs(const char *output)
{
    const char *at = strstr(output, " in __GI_abort "), *next = at ? strchr(at, '\n') : NULL;
    size_t n = next ? strcspn(next + 1, "\n") : 0;
    return next && memmem(next + 1, n, "/libuv.so", 9);
}

/* With the first name that is looked up glibc reads through what it has not got, or asserts that it
 * has it. */
static bool is_glibcs(const char *output)
{
    if (strstr(output, ": nss_database.c:"))
        return true;
    const char *at = strstr(output, "AddressSanitizer: SEGV"), *top = at ? strstr(at, "#0 ") : NULL;
    return top && memmem(top, strcspn(top, "\n"), " in nss_database_", 17);
}

static bool took_too_long(int status)
{
    return WIFSIGNALED(status) && (WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGPROF);
}

static void report(const char *name, uint64_t n, int status, const char *file)
{
    static char output[OUTPUT_MAX];
    FILE *f = fopen(file, "r");
    size_t got = f ? fread(output, 1, sizeof output - 1, f) : 0;
    if (f)
        fclose(f);
    output[got] = '\0';
    if (is_libuvs(output) || is_glibcs(output)) {
        totals.librarys++;
        return;
    }
    char *at = strstr(output, "refused allocation");
    struct place refused = {.depth = 0}, crashed = {.depth = 0};
    if (at)
        refused = read_stack(&at);
    if (at)
        crashed = read_stack(&at);
    bool leaked = WIFEXITED(status) && WEXITSTATUS(status) == RUN_LEAKED;
    if (fault_of_test(&refused, &crashed)) {
        totals.own_fault++;
        return;
    }
    totals.bad++;
    printf("%s: %s at %s < %s when allocation %llu is refused at %s < %s\n", name,
           leaked                  ? "leak"
           : took_too_long(status) ? "hang"
                                   : "crash",
           crashed.top, crashed.test, (unsigned long long)n, refused.top, refused.test);
    const char *keep = getenv("SHORT_MEMORY_KEEP"); /* a folder for whole reports */
    char to[4096];
    snprintf(to, sizeof to, "%s/%s.%llu.txt", keep ? keep : "", name, (unsigned long long)n);
    if (keep)
        rename(file, to);
}

static int64_t cpu_ms(const struct rusage *u)
{
    return (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000 +
           (u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1000;
}

static int in_child(run_group *run, uint64_t n, CMFixtureFunction group_teardown,
                    struct memory_plan *shared, const char *file)
{
    struct rusage usage;
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
    wait4(pid, &status, 0, &usage);
    last_cpu_ms = cpu_ms(&usage);
    return status;
}

/* With all the memory that it wants: how many runs it is worth, and how many allocations it has. */
static uint64_t run_whole(run_group *run, CMFixtureFunction group_teardown,
                          struct memory_plan *shared, const char *file, uint64_t *all)
{
    int status = in_child(run, 0, group_teardown, shared, file);
    uint64_t affordable = CPU_MS_A_TEST / (uint64_t)(last_cpu_ms + 1);
    totals.runs++;
    *all = shared->counted;
    if (affordable < RUNS_MIN || took_too_long(status)) {
        totals.too_long++; /* those of thousands of cuts and the like */
        return 0;
    }
    if (status) {
        totals.bad++;
        printf("%s: fails with all the memory that it wants\n", swept.name);
        return 0;
    }
    return affordable;
}

static void run_one(run_group *run, uint64_t n, CMFixtureFunction group_teardown,
                    struct memory_plan *shared, const char *file)
{
    int status = in_child(run, n, group_teardown, shared, file);
    totals.runs++;
    totals.refused += shared->refused != 0;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    totals.failed += code == RUN_FAILED;
    if (code != RUN_PASSED && code != RUN_FAILED) {
        memory_trace(true); /* once more, to be told where */
        report(swept.name, n, in_child(run, n, group_teardown, shared, file), file);
        memory_trace(false);
    }
}

__attribute__((visibility("default"))) int
_cmocka_run_group_tests(const char *group_name, const struct CMUnitTest *const tests,
                        size_t num_tests, CMFixtureFunction group_setup,
                        CMFixtureFunction group_teardown)
{
    run_group *run = (run_group *)(uintptr_t)dlsym(RTLD_NEXT, "_cmocka_run_group_tests");
    const char *sweep = getenv("SHORT_MEMORY_SWEEP"), *only = getenv("SHORT_MEMORY_TEST");
    uint64_t runs = sweep ? strtoull(sweep, NULL, 10) : 0;
    char file[] = "/tmp/dragoman-sweep-XXXXXX";
    if (!runs)
        return run(group_name, tests, num_tests, group_setup, group_teardown);
    struct memory_plan *shared = memory_plan_share();
    int fd = mkstemp(file);
    close(fd);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        sigaction(crashes[i], NULL, &sanitizer[i]);
    group_setup_swept = group_setup;
    if (num_tests)
        read_lines(tests[0].test_func);
    for (size_t i = 0; i < num_tests; i++) {
        swept = tests[i];
        if (!swept.test_func || (only && strcmp(only, swept.name) != 0))
            continue;
        uint64_t all, n_runs = run_whole(run, group_teardown, shared, file, &all);
        if (!n_runs)
            continue;
        n_runs = n_runs < runs ? n_runs : runs;
        uint64_t stride = all > n_runs ? 1 + (all - n_runs / 2) * 2 / (n_runs + 1) : 1;
        for (uint64_t n = 1; n <= all; n += n < n_runs / 2 ? 1 : stride)
            run_one(run, n, group_teardown, shared, file);
    }
    unlink(file);
    printf("%s: %llu runs, %llu refusals, %llu tests failed, %llu tests broke, %llu ended by "
           "libraries, %llu too long, %llu FINDINGS\n",
           group_name, (unsigned long long)totals.runs, (unsigned long long)totals.refused,
           (unsigned long long)totals.failed, (unsigned long long)totals.own_fault,
           (unsigned long long)totals.librarys, (unsigned long long)totals.too_long,
           (unsigned long long)totals.bad);
    return totals.bad > 0;
}
