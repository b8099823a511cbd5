/*
 * test/bench/run.h - the runner's parts: targets that it starts and ends, works that it gives them,
 * tables of what came out. One process, one thread; everything that it starts dies with it.
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include <stdio.h>
#include <sys/types.h>

#include "test/bench/bench.h"

/* ---- how this run goes (run.c) ---- */

struct settings {
    bool quick;
    double seconds;               /* of a measured window */
    unsigned rounds, slow_rounds; /* slow_rounds: of works that take long */
    unsigned streams;             /* of the great paced work */
    unsigned files;               /* descriptors that a process may have */
    int load_core, target_core;
    const char *bin;       /* folder of the release build */
    const char *directory; /* of configurations, logs and the authority's file */
    const char *portkey;   /* its start-server.js, or NULL */
    unsigned plain_port, tls_port;
    char ca_file[300];
};
extern struct settings settings;

/* ---- what was measured: names and numbers (run_results.c) ---- */

enum { FIGURES_MAX = 64, FIGURE_NAME = 24 };

/* The most paced streams, as titles say it; what "a minute later" is with QUICK. */
enum { STREAMS = 9000, LATER_QUICK_S = 3 };
struct figures {
    size_t n;
    struct {
        char name[FIGURE_NAME];
        double value;
    } list[FIGURES_MAX];
};
void figures_set(struct figures *f, const char *name, double value);
/* NAN when there is no such figure. */
double figures_get(const struct figures *f, const char *name);

/* ---- targets (run_targets.c) ---- */

enum target_id {
    TARGET_DIRECT,
    TARGET_NGINX,
    TARGET_HAPROXY,
    TARGET_OPENAI,
    TARGET_ZAI,
    TARGET_PORTKEY,
    TARGETS
};

struct target {
    enum target_id id;
    pid_t pid; /* 0: direct */
    unsigned port;
    double listen_ms, answer_ms; /* since its start */
};

const char *target_name(enum target_id id);
const char *target_title(enum target_id id);
/* Is its program there, and was it not left out? Says so once when it is missing. */
bool target_is_there(enum target_id id);
bool target_has_tls(enum target_id id);

/*
 * Starts the program on a port of its own, before the stand-in's plain or TLS side, and asks it
 * once (by the plain side when `cold`). False, with a line on standard error, when it does not come
 * up.
 */
bool target_start(struct target *t, enum target_id id, bool tls, bool cold);
void target_stop(struct target *t);
/* Lines of the program's log, for a report of what went wrong. */
void target_show_log(enum target_id id);

pid_t run_start(int core, const char *log, char *const argv[], int *out);
void run_stop(pid_t pid);

struct load {
    pid_t pid;
    int out;
};
/* `plain`: by the way to the stand-in's plain side. `rest` are further options of bench_load. */
struct load load_start(const struct target *t, bool plain, const char *wish, const char *rest);
/* Waits; false when a chunk or an answer was not as it should be. */
bool load_join(struct load load, struct figures *figures);

/* ---- works (run_works.c) ---- */

enum { METRICS_MAX = 7 };
struct metric {
    const char *name, *heading;
    int digits;
    bool ratio;
};

enum work_kind { WORK_LOAD, WORK_PACED, WORK_START, WORK_BURST, WORK_COLD };
struct work {
    const char *name, *title;
    enum work_kind kind;
    bool tls;
    unsigned connections;
    const char *wish;
    struct metric metrics[METRICS_MAX];
};
extern const struct work works[];
extern const size_t n_works;
unsigned work_rounds(const struct work *work);
bool work_takes(const struct work *work, enum target_id id);
/* One turn; false when the target could not be measured. */
bool work_turn(const struct work *work, enum target_id id, struct figures *figures);
/* For works in which all targets wait together. */
void work_round_over(const struct work *work, struct figures figures[TARGETS]);

/* ---- tables (run_results.c) ---- */

void results_add(const struct work *work, enum target_id id, unsigned round,
                 const struct figures *figures);
void results_print(const struct work *work);
void results_print_goals(void);
void results_write_json(FILE *out);
/* Faults of the direct way and of dragoman, over all works: the exit code. */
double results_own_faults(void);

#endif
