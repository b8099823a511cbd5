/*
 * test/unit/test_short_memory.c - every allocation of every scenario (test/memory/scenario.h) is
 * refused once, alone and with all behind it: no crash, no leak, and either the right result or the
 * documented failure.
 *
 * A scenario runs in a child, again and again; where one goes wrong, another child goes on behind
 * it, so that one run of the test tells of all that is wrong. MEMORY_RUNS=N: at most so many runs
 * for each scenario and kind (0: all, as `make test-memory` has it); those are the first ones and
 * then evenly spread ones. MEMORY_ONLY=TEXT: only scenarios with that in their names.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/memory/scenario.h"
#include "test/unit/support/cmocka_all.h"

enum {
    RUNS_USUAL = 50,
    SAID_MAX = 4 << 20,
    SAID_SHOWN = 80,   /* bytes on either side of a difference */
    FINDINGS_MAX = 12, /* of one scenario */
    SECONDS_A_RUN = 60,
    TESTS_MAX = 1024
};
enum { CHILD_DONE = 0, CHILD_WRONG = 70, CHILD_LEAKED = 71, CHILD_NOT_REFUSED = 72 };

/* The sanitizer's name. NOLINTBEGIN(bugprone-reserved-identifier) */
#pragma weak __lsan_do_recoverable_leak_check
int __lsan_do_recoverable_leak_check(void);
/* NOLINTEND(bugprone-reserved-identifier) */

/* What one child tells the next, and the parent. */
struct progress {
    uint64_t at, from; /* the allocation that is refused now, and where the next child begins */
    uint64_t n;        /* 1 = it alone, UINT64_MAX = and all behind it */
    uint64_t all;      /* allocations of a run with all the memory it wants */
    uint64_t shorts, goods, less;
    size_t n_whole; /* what was said then */
    char whole[SAID_MAX];
};

/* cmocka would make a failed test of a crash, in the child, and go on there. */
static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static struct sigaction sanitizer[sizeof crashes / sizeof *crashes];

static struct progress *progress;
static const struct scenario *scenario;
static char said[SAID_MAX];
static size_t n_said;

/* ---- for scenarios ---- */

void scenario_say(struct span text)
{
    if (text.n > SAID_MAX - n_said)
        scenario_wrong(__FILE__, __LINE__, "it says too much");
    if (text.n)
        memcpy(said + n_said, text.p, text.n);
    n_said += text.n;
}

void scenario_sayf(const char *format, ...)
{
    char text[1024];
    va_list args;
    memory_pause();
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memory_resume();
    scenario_say(span_of(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1));
}

void scenario_wrong(const char *file, int line, const char *text)
{
    memory_disarm();
    fprintf(stderr, "%s:%d: %s\n", file, line, text);
    fflush(NULL);
    _exit(CHILD_WRONG);
}

enum scenario_end scenario_short(const struct fail *fail)
{
    if (fail->kind != FAIL_MEMORY) {
        char text[400];
        memory_disarm();
        snprintf(text, sizeof text, "the failure is \"%s\": %s", fail_kind_name(fail->kind),
                 fail->message);
        scenario_wrong(__FILE__, __LINE__, text);
    }
    return SCENARIO_SHORT;
}

struct span scenario_file(const char *path)
{
    enum { FILES = 64 };
    static struct {
        char path[200];
        struct span bytes;
    } files[FILES];
    char full[600];
    size_t i = 0;
    memory_pause();
    while (i < FILES && files[i].path[0] && strcmp(files[i].path, path) != 0)
        i++;
    if (i < FILES && !files[i].path[0]) {
        snprintf(full, sizeof full, "%s/%s", TEST_SOURCE_DIR, path);
        FILE *f = fopen(full, "r");
        if (!f)
            scenario_wrong(full, 0, "cannot be read");
        char *bytes = calloc(1, 1 << 20);
        files[i].bytes = span_of(bytes, fread(bytes, 1, (1 << 20) - JSON_PADDING, f));
        snprintf(files[i].path, sizeof files[i].path, "%s", path);
        fclose(f);
    }
    memory_resume();
    return i < FILES ? files[i].bytes : span_of("", 0);
}

/* ---- one child ---- */

static enum scenario_end run_once(uint64_t at)
{
    n_said = 0;
    progress->at = at;
    alarm(SECONDS_A_RUN);
    memory_arm(MEMORY_OURS | MEMORY_LIBRARIES, at, progress->n);
    enum scenario_end end = scenario->run(scenario->what);
    memory_disarm();
    return end;
}

static void check(enum scenario_end end)
{
    bool refused = memory_plan()->refused > 0;
    progress->shorts += end == SCENARIO_SHORT;
    progress->less += end == SCENARIO_LESS;
    progress->goods += end == SCENARIO_GOOD;
    if (end == SCENARIO_SHORT && !refused)
        scenario_wrong(scenario->name, 0, "short of memory when none was refused");
    if (end == SCENARIO_GOOD &&
        (n_said != progress->n_whole || memcmp(said, progress->whole, n_said) != 0)) {
        size_t at = 0, before;
        while (at < n_said && at < progress->n_whole && said[at] == progress->whole[at])
            at++;
        before = at < SAID_SHOWN ? at : SAID_SHOWN;
        at -= before;
        fprintf(stderr, "it says:\n%.*s\ninstead of:\n%.*s\n",
                (int)(n_said - at < before + SAID_SHOWN ? n_said - at : before + SAID_SHOWN),
                said + at,
                (int)(progress->n_whole - at < before + SAID_SHOWN ? progress->n_whole - at
                                                                   : before + SAID_SHOWN),
                progress->whole + at);
        scenario_wrong(scenario->name, 0, "another result, and no failure");
    }
}

static void check_leak(int64_t live)
{
    if (memory_live() != live && __lsan_do_recoverable_leak_check &&
        __lsan_do_recoverable_leak_check()) {
        fflush(NULL);
        _exit(CHILD_LEAKED);
    }
}

static uint64_t runs_wanted(void)
{
    const char *runs = getenv("MEMORY_RUNS");
    uint64_t n = runs ? strtoull(runs, NULL, 10) : RUNS_USUAL;
    return n ? n : UINT64_MAX;
}

/* All from `progress->from` on. */
static void child(void)
{
    uint64_t runs = runs_wanted(), stride = 1;
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        sigaction(crashes[i], &sanitizer[i], NULL);
    run_once(0); /* what is made once and kept is made now */
    if (run_once(0) != SCENARIO_GOOD)
        scenario_wrong(scenario->name, 0, "it fails with all the memory it wants");
    progress->all = memory_plan()->counted;
    progress->n_whole = n_said;
    memcpy(progress->whole, said, n_said);
    if (progress->all > runs)
        stride = 1 + (progress->all - runs / 2) * 2 / (runs + 1);
    for (uint64_t at = progress->from; at <= progress->all;) {
        progress->from = at + (at < runs / 2 ? 1 : stride);
        int64_t live = memory_live();
        check(run_once(at));
        check_leak(live);
        at = progress->from;
    }
    _exit(CHILD_DONE);
}

/* ---- the parent ---- */

/* 0, or 1 with a line on stderr, behind what the child said. */
static int one_child(void)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child();
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        fail_msg("no child: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_DONE)
        return 0;
    const char *what = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "hangs"
                       : WIFSIGNALED(status)                              ? "crashes"
                       : WEXITSTATUS(status) == CHILD_WRONG               ? "is wrong"
                       : WEXITSTATUS(status) == CHILD_LEAKED              ? "leaks"
                                                                          : "crashes";
    fprintf(stderr, "FINDING %s %s when allocation %llu of %llu is refused%s\n", scenario->name,
            what, (unsigned long long)progress->at, (unsigned long long)progress->all,
            progress->n == 1 ? "" : ", and all behind it");
    return 1;
}

static void sweep(void **state)
{
    int findings = 0;
    scenario = *state;
    for (int all = 0; all < 2; all++) {
        uint64_t before = 0;
        memset(progress, 0, offsetof(struct progress, whole));
        progress->from = 1;
        progress->n = all ? UINT64_MAX : 1;
        while (findings < FINDINGS_MAX && one_child()) {
            findings++;
            if (progress->from == before) /* it does not even begin */
                break;
            before = progress->from;
        }
        if (getenv("MEMORY_TELL"))
            fprintf(stderr, "%-40s %5llu allocations: %llu short, %llu less, %llu good\n",
                    scenario->name, (unsigned long long)progress->all,
                    (unsigned long long)progress->shorts, (unsigned long long)progress->less,
                    (unsigned long long)progress->goods);
    }
    if (findings)
        fail_msg("%d times", findings);
}

/* The first scenario in children that never ran it before: what simdjson makes with its first use
 * and keeps. */
static void first_use(void **state)
{
    int status = 0;
    scenario = scenarios_base;
    progress->n = 1;
    for (uint64_t at = 1; !WIFEXITED(status) || WEXITSTATUS(status) != CHILD_NOT_REFUSED; at++) {
        pid_t pid = fork();
        if (pid == 0) {
            run_once(at); /* it looks at what comes of it itself */
            _exit(memory_plan()->refused ? CHILD_DONE : CHILD_NOT_REFUSED);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) ||
            (WEXITSTATUS(status) != CHILD_DONE && WEXITSTATUS(status) != CHILD_NOT_REFUSED))
            fail_msg("allocation %llu: %x", (unsigned long long)at, status);
    }
}

static struct CMUnitTest tests[TESTS_MAX];
static size_t n_tests;

static void add(const struct scenario *list)
{
    const char *only = getenv("MEMORY_ONLY");
    for (; list->name && n_tests < TESTS_MAX; list++) {
        if (!only || strstr(list->name, only))
            tests[n_tests++] = (struct CMUnitTest){
                .name = list->name, .test_func = sweep, .initial_state = (void *)(uintptr_t)list};
    }
}

int main(void)
{
    progress =
        mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED)
        return 1;
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        sigaction(crashes[i], NULL, &sanitizer[i]);
    tests[n_tests++] = (struct CMUnitTest)cmocka_unit_test(first_use);
    add(scenarios_base);
    add(scenarios_requests);
    add(scenarios_answers);
    add(scenarios_tools);
    add(scenarios_wire);
    add(scenarios_accounts);
    add(scenarios_store);
    add(scenarios_replay());
    return _cmocka_run_group_tests("short of memory", tests, n_tests, NULL, NULL);
}
