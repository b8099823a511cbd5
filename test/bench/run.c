/*
 * test/bench/run.c - `make bench`: gives the same works to several targets by turns (A B C A B C
 * …), load and stand-in on one core, the target on another, and prints tables in Markdown. Nothing
 * is said about single times: what counts are ratios within a round. docs/performance.md has the
 * method and the knobs, all of them in the environment.
 *
 *     bench_run [FOLDER of bench_upstream, bench_load and dragoman; default: its own]
 */
#include <ftw.h>
#include <libgen.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test/bench/run.h"

struct settings settings;
static char directory[] = "/tmp/dragoman-bench-XXXXXX";
static pid_t upstream;

/* ---- the environment ---- */

static double knob(const char *name, double otherwise)
{
    const char *value = getenv(name);
    return value && *value ? atof(value) : otherwise;
}

static bool flag(const char *name)
{
    const char *value = getenv(name);
    return value && *value && strcmp(value, "0") != 0;
}

static void read_settings(void)
{
    const char *cores = getenv("BENCH_CORES"), *comma = cores ? strchr(cores, ',') : NULL;
    long there = sysconf(_SC_NPROCESSORS_ONLN);
    settings.quick = flag("QUICK");
    settings.seconds = knob("BENCH_SECONDS", settings.quick ? 0.3 : 0.7);
    settings.rounds = (unsigned)knob("BENCH_ROUNDS", settings.quick ? 2 : 5);
    settings.slow_rounds = (unsigned)knob("BENCH_SLOW_ROUNDS", settings.quick ? 1 : 3);
    settings.streams = (unsigned)knob("BENCH_STREAMS", settings.quick ? 1000 : STREAMS);
    settings.portkey = getenv("BENCH_PORTKEY");
    settings.load_core = comma ? atoi(cores) : there > 1 ? 0 : -1;
    settings.target_core = comma ? atoi(comma + 1) : there > 1 ? 1 : -1;
    settings.files = bench_raise_files();
    /* A gateway needs two descriptors for each stream. */
    unsigned most = (settings.files - 400) / 2;
    if (settings.streams > most) {
        fprintf(stderr, "%u descriptors are allowed (ulimit -Hn): %u paced streams instead of %u\n",
                settings.files, most, settings.streams);
        settings.streams = most;
    }
}

/* On a machine that others use as well: more of it for this session. Needs root. */
static void be_important(void)
{
    const char *value = getenv("BENCH_NICE");
    if (!value || !*value)
        return;
    setsid(); /* the kernel shares cores out by sessions */
    FILE *f = fopen("/proc/self/autogroup", "w");
    if (!f || fprintf(f, "%s", value) < 0 || fclose(f) != 0)
        fprintf(stderr, "BENCH_NICE=%s cannot be had\n", value);
    if (nice(atoi(value)) == -1)
        fprintf(stderr, "nice %s cannot be had\n", value);
}

/* ---- the stage ---- */

static int remove_one(const char *path, const struct stat *st, int flags, struct FTW *ftw)
{
    return remove(path);
}

static void clean_up(void)
{
    run_stop(upstream);
    upstream = 0;
    if (!flag("BENCH_KEEP"))
        nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void set_stage(const char *bin)
{
    char path[400], core[20], ca[320];
    int out;
    settings.bin = bin;
    settings.directory = mkdtemp(directory);
    if (!settings.directory)
        bench_die("no temporary folder");
    snprintf(settings.ca_file, sizeof settings.ca_file, "%s/ca.pem", directory);
    snprintf(path, sizeof path, "%s/bench_upstream", bin);
    snprintf(core, sizeof core, "core=%d", settings.load_core);
    snprintf(ca, sizeof ca, "ca=%s", settings.ca_file);
    char *argv[] = {path, core, ca, NULL};
    upstream = run_start(settings.load_core, NULL, argv, &out);
    atexit(clean_up);
    FILE *f = fdopen(out, "r");
    if (!f || fscanf(f, "plain %u tls %u", &settings.plain_port, &settings.tls_port) != 2)
        bench_die("the stand-in does not start");
    if (!settings.tls_port)
        fprintf(stderr, "built without libssl-dev: nothing over TLS is measured\n");
}

static void read_cpu_name(char *name, size_t n)
{
    char line[300];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(name, n, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        colon[strcspn(colon, "\"\\\n")] = 0;
        snprintf(name, n, "%s", colon + 2);
        break;
    }
    if (f)
        fclose(f);
}

static double load_average(void)
{
    double load = NAN;
    return getloadavg(&load, 1) == 1 ? load : NAN;
}

static void write_json(double load_before)
{
    const char *path = getenv("BENCH_JSON");
    char cpu[200], date[40];
    struct utsname system;
    time_t now = time(NULL);
    FILE *f = path && *path ? fopen(path, "w") : NULL;
    if (!f)
        return;
    read_cpu_name(cpu, sizeof cpu);
    uname(&system);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    fprintf(f,
            "{\"date\":\"%s\",\"cpu\":\"%s\",\"cores\":%ld,\"kernel\":\"%s\",\"quick\":%s,"
            "\"load_average_before\":%.2f,\"load_average_after\":%.2f,\n",
            date, cpu, sysconf(_SC_NPROCESSORS_ONLN), system.release,
            settings.quick ? "true" : "false", load_before, load_average());
    results_write_json(f);
    fprintf(f, "}\n");
    fclose(f);
    fprintf(stderr, "every figure: %s\n", path);
}

/* ---- turns ---- */

static bool is_wanted(const struct work *work)
{
    const char *list = getenv("BENCH_WORKS");
    size_t n = strlen(work->name);
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',') {
        if (strcspn(p, ",") == n && !strncmp(p, work->name, n))
            return true;
    }
    return !list || !*list;
}

static void do_work(const struct work *work)
{
    for (unsigned round = 0; round < work_rounds(work); round++) {
        struct figures figures[TARGETS] = {0};
        bool measured[TARGETS] = {false};
        for (int id = 0; id < TARGETS; id++) {
            if (!target_is_there(id) || !work_takes(work, id))
                continue;
            if (isatty(2))
                fprintf(stderr, "\r\033[K%s, round %u: %s ", work->name, round + 1,
                        target_name(id));
            measured[id] = work_turn(work, id, &figures[id]);
            if (waitpid(upstream, NULL, WNOHANG) == upstream)
                bench_die("the stand-in has ended");
        }
        work_round_over(work, figures);
        for (int id = 0; id < TARGETS; id++) {
            if (measured[id])
                results_add(work, id, round, &figures[id]);
        }
    }
    if (isatty(2))
        fprintf(stderr, "\r\033[K");
    results_print(work);
}

/* Not what a handler should do, but all that is lost is the run itself. */
static void on_signal(int number) { exit(128 + number); }

int main(int argc, char **argv)
{
    char own[400] = "";
    double load_before = load_average();
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0)
        bench_die("/proc/self/exe");
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    read_settings();
    be_important();
    set_stage(argc > 1 ? argv[1] : dirname(own));
    printf("Medians of %u interleaved rounds (%u of paced streams and cold TLS), windows of %.1f "
           "s; ratios are "
           "medians (least–most) of the rounds' own.\n",
           settings.rounds, settings.slow_rounds, settings.seconds);
    if (settings.streams < STREAMS)
        printf("No more than %u paced streams, whatever the titles below say.\n", settings.streams);
    if (settings.quick)
        printf("\"A minute later\" is %d seconds later.\n", LATER_QUICK_S);
    for (size_t i = 0; i < n_works; i++) {
        if (is_wanted(&works[i]))
            do_work(&works[i]);
    }
    results_print_goals();
    printf("\nThe machine's load average was %.1f before and is %.1f now, this bench included.\n",
           load_before, load_average());
    write_json(load_before);
    double faults = results_own_faults();
    if (faults > 0)
        fprintf(stderr, "%.0f chunks or answers were not as they should be\n", faults);
    return faults > 0;
}
