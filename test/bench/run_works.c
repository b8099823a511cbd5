/*
 * test/bench/run_works.c - what targets are given to do. See run.h.
 */
#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "test/bench/proc.h"
#include "test/bench/run.h"

#define RATE_METRICS(per)                                                                          \
    {                                                                                              \
        {per "s_per_s", per "s/s", 0, true}, {"cpu_us_per_" per, "CPU µs/" per, 3, true},          \
            {"cpu_share", "core used", 2, false},                                                  \
        {                                                                                          \
            "faults", "faults", 0, false                                                           \
        }                                                                                          \
    }
#define FIRST_METRICS                                                                              \
    {                                                                                              \
        {"first_p50", "first chunk p50 µs", 1, true}, {"first_p99", "p99 µs", 1, true},            \
            {"cpu_us_per_request", "CPU µs/request", 1, true},                                     \
        {                                                                                          \
            "faults", "faults", 0, false                                                           \
        }                                                                                          \
    }
#define PACED_METRICS                                                                              \
    {                                                                                              \
        {"delay_p50", "delay p50 µs", 0, true}, {"delay_p90", "p90 µs", 0, true},                  \
            {"delay_p99", "p99 µs", 0, true}, {"cpu_us_per_chunk", "CPU µs/chunk", 2, true},       \
            {"rss_per_stream", "KiB/stream", 1, true},                                             \
            {"lost_percent", "streams lost %", 1, false},                                          \
        {                                                                                          \
            "faults", "faults", 0, false                                                           \
        }                                                                                          \
    }

const struct work works[] = {
    {"whole1", "Small whole answers, 1 connection", WORK_LOAD, false, 1, "w4g0z32",
     RATE_METRICS("request")},
    {"whole32", "Small whole answers, 32 connections", WORK_LOAD, false, 32, "w4g0z32",
     RATE_METRICS("request")},
    {"streams32", "Streams of 64 chunks as fast as possible, 32 connections", WORK_LOAD, false, 32,
     "s64g0z32", RATE_METRICS("chunk")},
    {"long1", "Streams of 20,000 chunks, one at a time", WORK_LOAD, false, 1, "s20000g0z32",
     RATE_METRICS("chunk")},
    {"first1", "First chunk, 1 connection", WORK_LOAD, false, 1, "s4g0z32", FIRST_METRICS},
    {"paced512", "512 streams, a chunk every 50 ms", WORK_PACED, false, 512, "50000",
     PACED_METRICS},
    {"paced9000", "9,000 streams, a chunk every second", WORK_PACED, false, STREAMS, "1000000",
     PACED_METRICS},
    {"tls-whole32", "TLS to the upstream: small whole answers, 32 connections", WORK_LOAD, true, 32,
     "w4g0z32", RATE_METRICS("request")},
    {"tls-streams32",
     "TLS to the upstream: streams of 64 chunks as fast as possible, 32 connections", WORK_LOAD,
     true, 32, "s64g0z32", RATE_METRICS("chunk")},
    {"tls-first1", "TLS to the upstream: first chunk, 1 connection", WORK_LOAD, true, 1, "s4g0z32",
     FIRST_METRICS},
    {"tls-paced", "TLS to the upstream: 2,000 streams, a chunk every 250 ms", WORK_PACED, true,
     2000, "250000", PACED_METRICS},
    {"cold",
     "A cold TLS origin, 32 requests at once beside one running stream",
     WORK_COLD,
     true,
     32,
     "s2g50000z32",
     {{"full", "full handshakes", 0, false},
      {"resumed", "resumed", 0, false},
      {"all_ms", "all answered ms", 1, true},
      {"quiet_ms", "longest delay of a chunk before, ms", 2, false},
      {"stall_ms", "meanwhile, ms", 2, true},
      {"added_ms", "longer by, ms", 2, false},
      {"faults", "faults", 0, false}}},
    {"start",
     "From its start",
     WORK_START,
     false,
     1,
     "w1g0z32",
     {{"listen_ms", "listening ms", 1, true},
      {"answer_ms", "first answer ms", 1, true},
      {"idle_mb", "idle RSS MB", 1, true}}},
    {"burst",
     "8 bodies of 20 MB at once",
     WORK_BURST,
     false,
     8,
     "w4g0z32",
     {{"idle_mb", "RSS before MB", 1, true},
      {"peak_mb", "most MB", 1, true},
      {"after_mb", "right after MB", 1, true},
      {"later_mb", "a minute later MB", 1, true},
      {"faults", "faults", 0, false}}},
};
const size_t n_works = sizeof works / sizeof *works;

unsigned work_rounds(const struct work *work)
{
    if (work->kind == WORK_BURST)
        return 1;
    return work->kind == WORK_PACED || work->kind == WORK_COLD ? settings.slow_rounds
                                                               : settings.rounds;
}

bool work_takes(const struct work *work, enum target_id id)
{
    if (work->tls)
        return settings.tls_port && target_has_tls(id);
    return work->kind == WORK_LOAD || work->kind == WORK_PACED || id != TARGET_DIRECT;
}

static void sleep_for(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
    nanosleep(&t, NULL);
}

static double mb(double kib) { return kib * 1024 / 1e6; }

/* ---- as fast as possible ---- */

static bool turn_load(const struct work *work, enum target_id id, struct figures *figures)
{
    char rest[120];
    struct target t;
    if (!target_start(&t, id, work->tls, false))
        return false;
    snprintf(rest, sizeof rest, "connections=%u seconds=%.2f warm=%.1f", work->connections,
             settings.seconds, settings.quick ? 0.1 : 0.2);
    if (!load_join(load_start(&t, false, work->wish, rest), figures))
        target_show_log(id);
    target_stop(&t);
    return true;
}

/* ---- paced ---- */

/*
 * Streams begin one after the other, half a millisecond apart (over TLS twice that, for the
 * handshakes), and overlap for the rest of their lives.
 */
static bool turn_paced(const struct work *work, enum target_id id, struct figures *figures)
{
    char rest[120], wish[60];
    struct target t;
    unsigned streams = work->connections;
    if (streams > settings.streams)
        streams = settings.streams;
    double gap_s = atof(work->wish) / 1e6, ramp = streams * (work->tls ? 0.001 : 0.0005);
    double lasts = ramp + gap_s + (settings.quick ? 1 : 3);
    unsigned chunks = (unsigned)(lasts / gap_s) + 1;
    if (!target_start(&t, id, work->tls, false))
        return false;
    snprintf(wish, sizeof wish, "s%ug%sz32", chunks, work->wish);
    snprintf(rest, sizeof rest, "connections=%u requests=1 ramp=%.2f limit=%.0f", streams, ramp,
             lasts + 10);
    if (!load_join(load_start(&t, false, wish, rest), figures))
        target_show_log(id);
    target_stop(&t);
    return true;
}

/* ---- start ---- */

static bool turn_start(enum target_id id, struct figures *figures)
{
    struct target t;
    if (!target_start(&t, id, false, false))
        return false;
    sleep_for(0.2);
    figures_set(figures, "listen_ms", t.listen_ms);
    figures_set(figures, "answer_ms", t.answer_ms);
    figures_set(figures, "idle_mb", mb((double)proc_rss_kib(t.pid)));
    target_stop(&t);
    return true;
}

/* ---- cold TLS ---- */

/* The stand-in's counters of handshakes. */
static bool read_handshakes(unsigned *full, unsigned *resumed)
{
    static const char ask[] = "GET /stats HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)settings.plain_port)};
    char text[1024] = "";
    size_t n = 0;
    ssize_t got = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
        send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) > 0) {
        while (n < sizeof text - 1 && (got = recv(fd, text + n, sizeof text - 1 - n, 0)) > 0)
            n += (size_t)got;
    }
    close(fd);
    const char *body = strstr(text, "{\"full\"");
    return body && sscanf(body, "{\"full\":%u,\"resumed\":%u}", full, resumed) == 2;
}

/*
 * A stream with a chunk every millisecond: its longest delay tells how long the loop stood still.
 */
static double longest_delay_ms(const struct target *t, const struct work *work,
                               struct figures *burst)
{
    struct figures stream = {0};
    struct load running = load_start(t, true, "s1000g1000z32", "requests=1 limit=15");
    sleep_for(0.4);
    if (burst) {
        char rest[60];
        snprintf(rest, sizeof rest, "connections=%u requests=1 limit=10", work->connections);
        load_join(load_start(t, false, work->wish, rest), burst);
    }
    load_join(running, &stream);
    if (burst)
        figures_set(burst, "faults", figures_get(burst, "faults") + figures_get(&stream, "faults"));
    return figures_get(&stream, "delay_max") / 1000;
}

static bool turn_cold(const struct work *work, enum target_id id, struct figures *figures)
{
    struct target t;
    unsigned full[2], resumed[2];
    if (!target_start(&t, id, true, true))
        return false;
    double quiet = longest_delay_ms(&t, work, NULL);
    bool counted = read_handshakes(&full[0], &resumed[0]);
    double stall = longest_delay_ms(&t, work, figures);
    counted = counted && read_handshakes(&full[1], &resumed[1]);
    figures_set(figures, "quiet_ms", quiet);
    figures_set(figures, "stall_ms", stall);
    figures_set(figures, "added_ms", stall > quiet ? stall - quiet : 0);
    figures_set(figures, "all_ms", figures_get(figures, "run_ms"));
    if (counted) {
        figures_set(figures, "full", full[1] - full[0]);
        figures_set(figures, "resumed", resumed[1] - resumed[0]);
    }
    target_stop(&t);
    return true;
}

/* ---- a burst of large bodies ---- */

static struct target burst_targets[TARGETS];

static bool turn_burst(const struct work *work, enum target_id id, struct figures *figures)
{
    struct target *t = &burst_targets[id];
    char rest[80];
    if (!target_start(t, id, false, false))
        return false;
    figures_set(figures, "idle_mb", mb((double)proc_rss_kib(t->pid)));
    snprintf(rest, sizeof rest, "connections=%u requests=1 pad=20000000 limit=30",
             work->connections);
    if (!load_join(load_start(t, false, work->wish, rest), figures))
        target_show_log(id);
    figures_set(figures, "peak_mb", mb(figures_get(figures, "rss_peak")));
    figures_set(figures, "after_mb", mb((double)proc_rss_kib(t->pid)));
    return true;
}

/* They all wait through the same minute. */
void work_round_over(const struct work *work, struct figures figures[TARGETS])
{
    if (work->kind != WORK_BURST)
        return;
    sleep_for(settings.quick ? LATER_QUICK_S : 60);
    for (int id = 0; id < TARGETS; id++) {
        struct target *t = &burst_targets[id];
        if (t->pid)
            figures_set(&figures[id], "later_mb", mb((double)proc_rss_kib(t->pid)));
        target_stop(t);
    }
}

bool work_turn(const struct work *work, enum target_id id, struct figures *figures)
{
    switch (work->kind) {
    case WORK_LOAD: return turn_load(work, id, figures);
    case WORK_PACED: return turn_paced(work, id, figures);
    case WORK_START: return turn_start(id, figures);
    case WORK_COLD: return turn_cold(work, id, figures);
    case WORK_BURST: return turn_burst(work, id, figures);
    }
    return false;
}
