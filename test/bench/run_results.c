/*
 * test/bench/run_results.c - keeps what each turn measured and prints medians, spread and ratios to
 * nginx in the same rounds. See run.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test/bench/run.h"

enum { RESULTS_MAX = 4096, ROUNDS_MAX = 64, TEXT = 80 };

void figures_set(struct figures *f, const char *name, double value)
{
    size_t i = 0;
    while (i < f->n && strcmp(f->list[i].name, name) != 0)
        i++;
    if (i == FIGURES_MAX)
        bench_die("too many figures");
    snprintf(f->list[i].name, FIGURE_NAME, "%s", name);
    f->list[i].value = value;
    if (i == f->n)
        f->n++;
}

double figures_get(const struct figures *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++) {
        if (!strcmp(f->list[i].name, name))
            return f->list[i].value;
    }
    return NAN;
}

static struct result {
    const struct work *work;
    enum target_id id;
    unsigned round;
    struct figures figures;
} * results;
static size_t n_results;

void results_add(const struct work *work, enum target_id id, unsigned round,
                 const struct figures *figures)
{
    if (!results)
        results = calloc(RESULTS_MAX, sizeof *results);
    if (!results || n_results == RESULTS_MAX)
        bench_die("no room for results");
    results[n_results++] = (struct result){work, id, round, *figures};
}

static double value_of(const struct work *work, enum target_id id, unsigned round, const char *name)
{
    for (size_t i = 0; i < n_results; i++) {
        const struct result *r = &results[i];
        if (r->work == work && r->id == id && r->round == round)
            return figures_get(&r->figures, name);
    }
    return NAN;
}

/* ---- medians ---- */

struct spread {
    double median, least, most; /* NAN without any value */
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* `ratio`: of the target's value to nginx's, round by round. */
static struct spread spread_of(const struct work *work, enum target_id id, const char *name,
                               bool ratio)
{
    double values[ROUNDS_MAX];
    size_t n = 0;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        double v = value_of(work, id, round, name);
        if (ratio)
            v /= value_of(work, TARGET_NGINX, round, name);
        if (isfinite(v))
            values[n++] = v;
    }
    if (!n)
        return (struct spread){NAN, NAN, NAN};
    qsort(values, n, sizeof *values, compare);
    double median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    return (struct spread){median, values[0], values[n - 1]};
}

/* ---- Markdown ---- */

static void print_number(double v, int digits)
{
    if (isfinite(v))
        printf(" %.*f |", digits, v);
    else
        printf(" – |");
}

static void print_ratio(struct spread s)
{
    if (isfinite(s.median))
        printf(" **%.2f** (%.2f–%.2f) |", s.median, s.least, s.most);
    else
        printf(" – |");
}

static bool took_part(const struct work *work, enum target_id id)
{
    for (size_t i = 0; i < n_results; i++) {
        if (results[i].work == work && results[i].id == id)
            return true;
    }
    return false;
}

void results_print(const struct work *work)
{
    const struct metric *metrics = work->metrics;
    printf("\n### %s (`%s`)\n| |", work->title, work->name);
    for (size_t i = 0; i < METRICS_MAX && metrics[i].name; i++)
        printf(" %s |%s", metrics[i].heading, metrics[i].ratio ? " × nginx |" : "");
    printf("\n|---|");
    for (size_t i = 0; i < METRICS_MAX && metrics[i].name; i++)
        printf("--:|%s", metrics[i].ratio ? "--:|" : "");
    printf("\n");
    for (int id = 0; id < TARGETS; id++) {
        if (!took_part(work, id))
            continue;
        printf("| %s |", target_title(id));
        for (size_t i = 0; i < METRICS_MAX && metrics[i].name; i++) {
            struct spread s = spread_of(work, id, metrics[i].name, false);
            bool is_fault = !strcmp(metrics[i].name, "faults");
            print_number(is_fault ? s.most : s.median, metrics[i].digits);
            if (metrics[i].ratio)
                print_ratio(spread_of(work, id, metrics[i].name, true));
        }
        printf("\n");
    }
    fflush(stdout);
}

/* ---- goals ---- */

static const struct goal {
    const char *work, *name, *text;
    enum target_id id;
    bool ratio, at_least;
    double limit;
} goals[] = {
    {"whole32", "requests_per_s", "whole answers, 32 connections: requests/s", TARGET_OPENAI, true,
     true, 1.0},
    {"streams32", "chunks_per_s", "streams, 32 connections: chunks/s", TARGET_ZAI, true, true, 2.0},
    {"streams32", "cpu_us_per_chunk", "the same: CPU µs a chunk", TARGET_ZAI, false, false, 0.45},
    {"long1", "chunks_per_s", "one stream of 20,000 chunks: chunks/s", TARGET_ZAI, true, true, 2.0},
    {"long1", "chunks_per_s", "one stream of 20,000 chunks: chunks/s", TARGET_OPENAI, true, true,
     2.0},
    {"first1", "first_p99", "first chunk, 1 connection: p99", TARGET_OPENAI, true, false, 1.1},
    {"first1", "first_p99", "first chunk, 1 connection: p99", TARGET_ZAI, true, false, 1.1},
    {"paced9000", "delay_p50", "9,000 paced streams: delay p50", TARGET_OPENAI, true, false, 0.95},
    {"paced9000", "delay_p90", "9,000 paced streams: delay p90", TARGET_OPENAI, true, false, 0.95},
    {"paced9000", "cpu_us_per_chunk", "9,000 paced streams: CPU a chunk", TARGET_OPENAI, true,
     false, 0.95},
    {"paced9000", "delay_p50", "9,000 paced streams: delay p50", TARGET_ZAI, true, false, 0.95},
    {"paced9000", "delay_p90", "9,000 paced streams: delay p90", TARGET_ZAI, true, false, 0.95},
    {"paced9000", "cpu_us_per_chunk", "9,000 paced streams: CPU a chunk", TARGET_ZAI, true, false,
     0.95},
    {"paced9000", "lost_percent", "9,000 paced streams: lost %", TARGET_OPENAI, false, false, 0},
    {"paced9000", "rss_per_stream", "memory a paced stream, KiB", TARGET_OPENAI, false, false, 5},
    {"paced9000", "rss_per_stream", "memory a paced stream, KiB", TARGET_ZAI, false, false, 5},
    {"tls-paced", "rss_per_stream", "memory a paced stream over TLS, KiB", TARGET_OPENAI, false,
     false, 42},
    {"tls-whole32", "requests_per_s", "TLS upstream, whole answers: requests/s", TARGET_OPENAI,
     true, true, 0.95},
    {"tls-streams32", "chunks_per_s", "TLS upstream, streams: chunks/s", TARGET_OPENAI, true, true,
     0.8},
    {"tls-streams32", "chunks_per_s", "TLS upstream, streams: chunks/s", TARGET_ZAI, true, true,
     0.8},
    {"cold", "full", "cold TLS origin: full handshakes", TARGET_OPENAI, false, false, 1},
    {"cold", "added_ms", "cold TLS origin: a stream's longest delay grows by, ms", TARGET_OPENAI,
     false, false, 1},
    {"start", "listen_ms", "start to listening, ms", TARGET_OPENAI, false, false, 20},
    {"start", "idle_mb", "idle RSS, MB", TARGET_OPENAI, false, false, 8},
};

static const struct work *work_named(const char *name)
{
    for (size_t i = 0; i < n_works; i++) {
        if (!strcmp(works[i].name, name))
            return &works[i];
    }
    return NULL;
}

void results_print_goals(void)
{
    printf("\n### Goals\n| | | goal | measured | met |\n|---|---|--:|--:|---|\n");
    for (size_t i = 0; i < sizeof goals / sizeof *goals; i++) {
        const struct goal *g = &goals[i];
        const struct work *work = work_named(g->work);
        struct spread s = spread_of(work, g->id, g->name, g->ratio);
        if (!isfinite(s.median))
            continue;
        bool met = g->at_least ? s.median >= g->limit : s.median <= g->limit;
        printf("| %s | %s | %s %g%s | %.2f (%.2f–%.2f) | %s |\n", g->text, target_title(g->id),
               g->at_least ? "≥" : "≤", g->limit, g->ratio ? " × nginx" : "", s.median, s.least,
               s.most, met ? "yes" : "**no**");
    }
}

/* ---- JSON ---- */

static void write_value(FILE *out, const char *name, double v, const char *end)
{
    if (isfinite(v))
        fprintf(out, "\"%s\":%.6g%s", name, v, end);
    else
        fprintf(out, "\"%s\":null%s", name, end);
}

/* A list with one object for each turn, in the order in which they were taken. */
void results_write_json(FILE *out)
{
    fprintf(out, "\"turns\":[");
    for (size_t i = 0; i < n_results; i++) {
        const struct result *r = &results[i];
        fprintf(out, "%s\n{\"work\":\"%s\",\"target\":\"%s\",\"round\":%u", i ? "," : "",
                r->work->name, target_name(r->id), r->round);
        for (size_t k = 0; k < r->figures.n; k++) {
            fprintf(out, ",");
            write_value(out, r->figures.list[k].name, r->figures.list[k].value, "");
        }
        fprintf(out, "}");
    }
    fprintf(out, "],\n\"summary\":[");
    const char *comma = "";
    for (size_t w = 0; w < n_works; w++) {
        for (int id = 0; id < TARGETS; id++) {
            for (size_t m = 0; m < METRICS_MAX && works[w].metrics[m].name; m++) {
                const struct metric *metric = &works[w].metrics[m];
                struct spread s = spread_of(&works[w], id, metric->name, false);
                struct spread to_nginx = spread_of(&works[w], id, metric->name, true);
                if (!isfinite(s.median))
                    continue;
                fprintf(out, "%s\n{\"work\":\"%s\",\"target\":\"%s\",\"figure\":\"%s\",", comma,
                        works[w].name, target_name(id), metric->name);
                write_value(out, "median", s.median, ",");
                write_value(out, "least", s.least, ",");
                write_value(out, "most", s.most, ",");
                write_value(out, "to_nginx", to_nginx.median, ",");
                write_value(out, "to_nginx_least", to_nginx.least, ",");
                write_value(out, "to_nginx_most", to_nginx.most, "}");
                comma = ",";
            }
        }
    }
    fprintf(out, "]");
}

double results_own_faults(void)
{
    double sum = 0;
    for (size_t i = 0; i < n_results; i++) {
        double faults = figures_get(&results[i].figures, "faults");
        bool own = results[i].id == TARGET_DIRECT || results[i].id == TARGET_OPENAI ||
                   results[i].id == TARGET_ZAI;
        if (own && isfinite(faults))
            sum += faults;
    }
    return sum;
}
