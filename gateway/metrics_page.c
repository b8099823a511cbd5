/*
 * gateway/metrics_page.c - see metrics_page.h. One function a subject; each family is written once,
 * with all its samples behind it, as the format wants.
 */
#include "gateway/metrics_page.h"

#include "gateway/clock.h"
#include "gateway/process_info.h"
#include "gateway/prometheus.h"

/* ---- requests ---- */

static void write_requests(struct buffer *out, const struct metrics *m)
{
    struct metrics_row r;
    prometheus_family(out, "dragoman_requests_total", PROMETHEUS_COUNTER,
                      "Requests that are over, by how they ended.");
    for (size_t at = 0; metrics_next_row(m, &at, &r);)
        prometheus_count(out, "dragoman_requests_total",
                         PROMETHEUS_LABELS({"api", span_str(r.api)}, {"site", r.site},
                                           {"model", r.model}, {"key", r.key},
                                           {"end", span_str(r.end)}),
                         r.n);
}

static void write_refusals(struct buffer *out, const struct metrics *m)
{
    prometheus_family(out, "dragoman_refusals_total", PROMETHEUS_COUNTER,
                      "Requests refused by their head alone: address, key, path, HTTP itself.");
    for (size_t kind = 0; kind < FAIL_KIND_COUNT; kind++) {
        uint64_t n = metrics_refusals(m, (enum fail_kind)kind);
        if (n)
            prometheus_count(
                out, "dragoman_refusals_total",
                PROMETHEUS_LABELS({"error", span_str(fail_kind_name((enum fail_kind)kind))}), n);
    }
}

/* One of a site's counters. */
struct site_counter {
    const char *name, *help;
    size_t offset; /* of a uint64_t in struct metrics_site */
};

static const struct site_counter site_counters[] = {
    {"dragoman_deltas_total", "Pieces of answers that sites sent.",
     offsetof(struct metrics_site, deltas)},
    {"dragoman_request_bytes_total", "Bytes of request bodies of clients.",
     offsetof(struct metrics_site, bytes_in)},
    {"dragoman_response_bytes_total", "Bytes of answers' bodies to clients.",
     offsetof(struct metrics_site, bytes_out)},
    {"dragoman_prompt_tokens_total", "Tokens of prompts of complete answers, told or counted.",
     offsetof(struct metrics_site, tokens_in)},
    {"dragoman_completion_tokens_total", "Tokens of complete answers, told or counted.",
     offsetof(struct metrics_site, tokens_out)},
    {"dragoman_continuations_total", "Runs that went on with a truncated answer.",
     offsetof(struct metrics_site, continuations)},
};

static void write_site_counters(struct buffer *out, const struct metrics *m)
{
    for (size_t i = 0; i < sizeof site_counters / sizeof *site_counters; i++) {
        const struct site_counter *c = &site_counters[i];
        const struct metrics_site *site;
        prometheus_family(out, c->name, PROMETHEUS_COUNTER, c->help);
        for (size_t at = 0; (site = metrics_next_site(m, &at));) {
            uint64_t value;
            memcpy(&value, (const char *)site + c->offset, sizeof value);
            prometheus_count(out, c->name, PROMETHEUS_LABELS({"site", span_str(site->name)}),
                             value);
        }
    }
}

static void write_site_histogram(struct buffer *out, const struct metrics *m, const char *name,
                                 const char *help, size_t offset)
{
    const struct metrics_site *site;
    prometheus_family(out, name, PROMETHEUS_HISTOGRAM, help);
    for (size_t at = 0; (site = metrics_next_site(m, &at));)
        prometheus_histogram(out, name, PROMETHEUS_LABELS({"site", span_str(site->name)}),
                             (const struct histogram *)(const void *)((const char *)site + offset));
}

static void write_failures(struct buffer *out, const struct metrics *m)
{
    const struct metrics_site *site;
    prometheus_family(out, "dragoman_site_failures_total", PROMETHEUS_COUNTER,
                      "Runs at sites that failed; the request may have gone on elsewhere.");
    for (size_t at = 0; (site = metrics_next_site(m, &at));) {
        for (size_t kind = 0; kind < FAIL_KIND_COUNT; kind++) {
            if (site->failures[kind])
                prometheus_count(
                    out, "dragoman_site_failures_total",
                    PROMETHEUS_LABELS({"site", span_str(site->name)},
                                      {"kind", span_str(fail_kind_name((enum fail_kind)kind))}),
                    site->failures[kind]);
        }
    }
}

/* ---- accounts ---- */

struct account_gauge {
    struct buffer *out;
    uint64_t now_ms;
    const char *name;
    double (*value)(const struct account *, uint64_t now_ms);
};

static double in_flight(const struct account *a, uint64_t now_ms) { return a->in_flight; }

static void write_account(void *owner, struct account *a)
{
    const struct account_gauge *g = owner;
    prometheus_value(g->out, g->name,
                     PROMETHEUS_LABELS({"site", span_str(a->site)}, {"account", span_str(a->name)}),
                     g->value(a, g->now_ms));
}

static void write_account_state(void *owner, struct account *a)
{
    const struct account_gauge *g = owner;
    enum account_state is = account_state_at(a, g->now_ms);
    for (enum account_state s = ACCOUNT_READY; s <= ACCOUNT_CHALLENGED; s++)
        prometheus_count(g->out, g->name,
                         PROMETHEUS_LABELS({"site", span_str(a->site)},
                                           {"account", span_str(a->name)},
                                           {"state", span_str(account_state_name(s))}),
                         s == is);
}

static void write_accounts(struct buffer *out, struct engine *engine)
{
    struct account_gauge g = {out, uv_now(engine->loop), "dragoman_account_state", NULL};
    prometheus_family(out, g.name, PROMETHEUS_GAUGE, "1 for the state that the account is in.");
    account_pool_each(engine->accounts, write_account_state, &g);
    g.name = "dragoman_account_in_flight";
    g.value = in_flight;
    prometheus_family(out, g.name, PROMETHEUS_GAUGE, "Requests that use the account now.");
    account_pool_each(engine->accounts, write_account, &g);
    prometheus_family(out, "dragoman_queue_length", PROMETHEUS_GAUGE,
                      "Requests that wait for a busy account of the site.");
    for (size_t i = 0; i < engine->config->n_sites; i++) {
        const struct site_config *site = &engine->config->sites[i];
        prometheus_count(out, "dragoman_queue_length",
                         PROMETHEUS_LABELS({"site", site->settings.name}),
                         account_pool_waiting(engine->accounts, site));
    }
}

/* ---- sites ---- */

static void write_drift(struct buffer *out, struct engine *engine)
{
    struct drift_row r;
    prometheus_family(out, "dragoman_drift_total", PROMETHEUS_COUNTER,
                      "What sites answered that their adapters do not know.");
    for (size_t at = 0; drift_next(engine->drift, &at, uv_now(engine->loop), &r);)
        prometheus_count(out, "dragoman_drift_total",
                         PROMETHEUS_LABELS({"site", r.site}, {"kind", r.kind}), r.total);
    prometheus_count(out, "dragoman_drift_total",
                     PROMETHEUS_LABELS({"site", SPAN("other")}, {"kind", SPAN("other")}),
                     drift_uncounted(engine->drift));
}

static void write_upstream(struct buffer *out, const struct upstream_counters *counters)
{
    const struct upstream_counters c = *counters;
    prometheus_family(out, "dragoman_site_connections", PROMETHEUS_GAUGE,
                      "Connections to sites and proxies.");
    prometheus_count(out, "dragoman_site_connections", PROMETHEUS_LABELS({"state", SPAN("busy")}),
                     c.open - c.idle);
    prometheus_count(out, "dragoman_site_connections", PROMETHEUS_LABELS({"state", SPAN("idle")}),
                     c.idle);
    prometheus_family(out, "dragoman_site_requests_total", PROMETHEUS_COUNTER,
                      "HTTP requests to sites, by the connection they went out on.");
    prometheus_count(out, "dragoman_site_requests_total",
                     PROMETHEUS_LABELS({"connection", SPAN("new")}), c.requests - c.reused);
    prometheus_count(out, "dragoman_site_requests_total",
                     PROMETHEUS_LABELS({"connection", SPAN("reused")}), c.reused);
    prometheus_family(out, "dragoman_tls_handshakes_total", PROMETHEUS_COUNTER,
                      "TLS handshakes with sites.");
    prometheus_count(out, "dragoman_tls_handshakes_total",
                     PROMETHEUS_LABELS({"kind", SPAN("full")}), c.tls_full);
    prometheus_count(out, "dragoman_tls_handshakes_total",
                     PROMETHEUS_LABELS({"kind", SPAN("resumed")}), c.tls_resumed);
}

/* ---- the program ---- */

static void write_one(struct buffer *out, const char *name, enum prometheus_type type,
                      const char *help, double value)
{
    prometheus_family(out, name, type, help);
    prometheus_value(out, name, NULL, value);
}

static void write_program(struct buffer *out, const struct engine *engine,
                          const struct metrics_loop *all, size_t connections)
{
    struct process_info p;
    process_info_read(&p);
    prometheus_family(out, "dragoman_build_info", PROMETHEUS_GAUGE, "The version that runs.");
    prometheus_count(out, "dragoman_build_info",
                     PROMETHEUS_LABELS({"version", SPAN(DRAGOMAN_VERSION)}), 1);
    write_one(out, "dragoman_requests_in_flight", PROMETHEUS_GAUGE, "Requests that are not over.",
              (double)engine_active(engine));
    write_one(out, "dragoman_client_connections", PROMETHEUS_GAUGE, "Connections of clients.",
              (double)connections);
    if (all->tells_turns) {
        prometheus_family(out, "dragoman_loop_busy_seconds", PROMETHEUS_HISTOGRAM,
                          "How long one turn of the event loop kept all others waiting.");
        prometheus_histogram(out, "dragoman_loop_busy_seconds", NULL, &all->turns);
    }
    write_one(out, "process_cpu_seconds_total", PROMETHEUS_COUNTER,
              "User and system CPU time of the program.", p.cpu_s);
    write_one(out, "process_resident_memory_bytes", PROMETHEUS_GAUGE,
              "Memory of the program that is in RAM.", (double)p.resident_bytes);
    write_one(out, "process_open_fds", PROMETHEUS_GAUGE, "Open file descriptors.",
              (double)p.open_files);
    write_one(out, "process_max_fds", PROMETHEUS_GAUGE, "File descriptors that there may be.",
              (double)p.files_allowed);
    write_one(out, "process_start_time_seconds", PROMETHEUS_GAUGE,
              "When the program began, Unix time.", (double)engine->started_ms / 1000);
}

/* ---- all of it ---- */

void metrics_loop_read(struct metrics_loop *loop, const struct engine *engine)
{
    *loop = (struct metrics_loop){.upstream = upstream_counters(engine->upstream),
                                  .tells_turns = engine->busy != NULL};
    if (engine->busy)
        loop->turns = *loop_busy_turns(engine->busy);
}

void metrics_loop_add(struct metrics_loop *to, const struct metrics_loop *loop)
{
    to->upstream.connections += loop->upstream.connections;
    to->upstream.open += loop->upstream.open;
    to->upstream.idle += loop->upstream.idle;
    to->upstream.requests += loop->upstream.requests;
    to->upstream.reused += loop->upstream.reused;
    to->upstream.tls_full += loop->upstream.tls_full;
    to->upstream.tls_resumed += loop->upstream.tls_resumed;
    if (to->tells_turns && loop->tells_turns)
        histogram_join(&to->turns, &loop->turns);
}

void metrics_page_write(struct buffer *out, struct engine *engine, const struct metrics_loop *all,
                        size_t connections)
{
    const struct metrics *m = engine->metrics;
    shared_enter(engine->shared);
    write_requests(out, m);
    write_refusals(out, m);
    write_site_histogram(out, m, "dragoman_first_delta_seconds",
                         "From the request to the answer's first piece.",
                         offsetof(struct metrics_site, first));
    write_site_histogram(out, m, "dragoman_request_seconds", "From the request to its end.",
                         offsetof(struct metrics_site, total));
    write_site_counters(out, m);
    write_failures(out, m);
    write_accounts(out, engine);
    write_drift(out, engine);
    shared_leave(engine->shared);
    write_upstream(out, &all->upstream);
    write_program(out, engine, all, connections);
}
