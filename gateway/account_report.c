/*
 * gateway/account_report.c - see account_report.h.
 */
#include "gateway/account_report.h"

#include <stdio.h>
#include <time.h>

#include "base/json.h"
#include "base/json_write.h"
#include "gateway/clock.h"
#include "sse/text_guard.h"

/* ---- JSON ---- */

/* A monotonic time as Unix seconds, rounded up. */
static int64_t wall_s(uint64_t at_ms, uint64_t now_ms, int64_t wall_ms)
{
    return (wall_ms + (int64_t)(at_ms - now_ms) + 999) / 1000;
}

static void write_models(struct json_writer *w, const struct account *a, uint64_t now_ms,
                         int64_t wall_ms)
{
    json_key(w, "models");
    json_begin_array(w);
    for (size_t i = 0; i < a->n_cool_downs; i++) {
        const struct cool_down *c = &a->cool_downs[i];
        if (!c->model || c->until_ms <= now_ms)
            continue;
        json_begin_object(w);
        json_member_repaired(w, "model", span_str(c->name)); /* it may have been cut */
        json_member_int(w, "until", wall_s(c->until_ms, now_ms, wall_ms));
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_account(struct json_writer *w, struct span site, struct span name,
                          const struct account *a, uint64_t now_ms, int64_t wall_ms)
{
    json_begin_object(w);
    json_member(w, "site", site);
    json_member(w, "account", name);
    if (a) {
        enum account_state state = account_state_at(a, now_ms);
        json_member(w, "state", span_str(account_state_name(state)));
        json_key(w, "until");
        if (state == ACCOUNT_COOLING)
            json_write_int(w, wall_s(account_cool_until(a, 0), now_ms, wall_ms));
        else
            json_null(w);
        write_models(w, a, now_ms, wall_ms);
        json_member_int(w, "in_flight", a->in_flight);
        json_member_int(w, "requests_today", account_requests_on(a, clock_day(wall_ms)));
        json_member_int(w, "requests", (int64_t)a->requests);
        json_member_int(w, "failures", (int64_t)a->failures);
        if (a->last_failure != FAIL_NONE)
            json_member_repaired(w, "last_error", span_str(a->last_error));
        else
            json_member_raw(w, "last_error", SPAN("null"));
    } else {
        json_member_raw(w, "state", SPAN("null"));
    }
    json_end_object(w);
}

struct report {
    struct json_writer w;
    struct account_pool *pool; /* NULL: nothing is known of their states */
    uint64_t now_ms;
    int64_t wall_ms;
};

static void write_site(struct report *r, const struct site_config *site)
{
    for (size_t i = 0; i < site->n_accounts; i++) {
        struct span name = site->accounts[i].name;
        const struct account *a =
            r->pool ? account_pool_find(r->pool, site->settings.name, name) : NULL;
        write_account(&r->w, site->settings.name, name, a, r->now_ms, r->wall_ms);
    }
}

static void write_drift(struct report *r, const struct drift *drift)
{
    struct drift_row row;
    size_t at = 0;
    json_key(&r->w, "drift");
    json_begin_array(&r->w);
    while (drift && drift_next(drift, &at, r->now_ms, &row)) {
        if (!row.last_hour)
            continue;
        json_begin_object(&r->w);
        json_member_repaired(&r->w, "site", row.site); /* it may have been cut */
        json_member_repaired(&r->w, "kind", row.kind);
        json_member_int(&r->w, "last_hour", (int64_t)row.last_hour);
        json_member_int(&r->w, "total", (int64_t)row.total);
        json_member_int(&r->w, "last", (r->wall_ms - (int64_t)(r->now_ms - row.last_ms)) / 1000);
        json_end_object(&r->w);
    }
    json_end_array(&r->w);
}

void account_report_json(struct buffer *out, struct account_pool *pool, const struct drift *drift,
                         const struct config *config, bool running, uint64_t now_ms,
                         int64_t wall_ms)
{
    struct report r = {json_writer(out), pool, now_ms, wall_ms};
    json_begin_object(&r.w);
    json_member_bool(&r.w, "running", running);
    json_key(&r.w, "accounts");
    json_begin_array(&r.w);
    for (size_t i = 0; i < config->n_sites; i++)
        write_site(&r, &config->sites[i]);
    for (size_t i = 0; i < config->n_routes; i++) {
        if (config->routes[i].site == &config->routes[i].own)
            write_site(&r, &config->routes[i].own);
    }
    json_end_array(&r.w);
    write_drift(&r, drift);
    json_end_object(&r.w);
}

/* ---- a table ---- */

enum { COLUMNS = 8, CELL = 256 };

struct row {
    char cells[COLUMNS][CELL];
};

static void put_text(char *cell, struct span text)
{
    snprintf(cell, CELL, "%.*s", SPAN_ARGS(span_first(text, CELL - 1)));
}

static int64_t number(struct json value)
{
    int64_t n = 0;
    return json_int(value, &n) ? n : 0;
}

/* "14:05 (in 5 min)" */
static void put_time(char *cell, int64_t at_s, int64_t wall_ms)
{
    time_t at = (time_t)at_s;
    struct tm tm;
    char clock[32];
    int64_t left = at_s - wall_ms / 1000;
    localtime_r(&at, &tm);
    strftime(clock, sizeof clock, left < 86400 ? "%H:%M:%S" : "%Y-%m-%d %H:%M", &tm);
    if (left < 120)
        snprintf(cell, CELL, "%s (in %lld s)", clock, (long long)(left > 0 ? left : 0));
    else if (left < 7200)
        snprintf(cell, CELL, "%s (in %lld min)", clock, (long long)(left + 30) / 60);
    else
        snprintf(cell, CELL, "%s (in %lld h)", clock, (long long)(left + 1800) / 3600);
}

static void fill_row(struct row *row, struct json account, int64_t wall_ms)
{
    static const char *const numbers[] = {"in_flight", "requests_today", "failures"};
    struct span state = json_get_text(account, "state");
    put_text(row->cells[0], json_get_text(account, "site"));
    put_text(row->cells[1], json_get_text(account, "account"));
    put_text(row->cells[2], state.n ? state : SPAN("not known"));
    put_text(row->cells[3], SPAN("-"));
    if (json_is(json_get(account, "until"), JSON_INT))
        put_time(row->cells[3], number(json_get(account, "until")), wall_ms);
    for (size_t i = 0; i < 3; i++)
        snprintf(row->cells[4 + i], CELL, "%lld", (long long)number(json_get(account, numbers[i])));
    put_text(row->cells[7], json_get_text(account, "last_error"));
}

static void fill_model_row(struct row *row, struct json cooling, int64_t wall_ms)
{
    snprintf(row->cells[1], CELL, "  %.*s",
             SPAN_ARGS(span_first(json_get_text(cooling, "model"), 60)));
    put_text(row->cells[2], SPAN("cooling"));
    put_time(row->cells[3], number(json_get(cooling, "until")), wall_ms);
}

/* Columns as wide as their widest cell; the last one is not filled up. */
static void print_rows(struct buffer *out, const struct row *rows, size_t n)
{
    int widths[COLUMNS] = {0};
    for (size_t r = 0; r < n; r++) {
        for (size_t c = 0; c < COLUMNS; c++) {
            int width = (int)strlen(rows[r].cells[c]);
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    for (size_t r = 0; r < n; r++) {
        for (size_t c = 0; c + 1 < COLUMNS; c++)
            buffer_printf(out, "%-*s  ", widths[c], rows[r].cells[c]);
        buffer_printf(out, "%s", rows[r].cells[COLUMNS - 1]);
        while (out->n && out->p[out->n - 1] == ' ')
            out->n--;
        buffer_char(out, '\n');
    }
}

/* "14:05:12 (3 min ago)" */
static void put_past(char *cell, int64_t at_s, int64_t wall_ms)
{
    time_t at = (time_t)at_s;
    struct tm tm;
    char clock[32];
    int64_t ago = wall_ms / 1000 - at_s;
    localtime_r(&at, &tm);
    strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    if (ago < 120)
        snprintf(cell, CELL, "%s (%lld s ago)", clock, (long long)(ago > 0 ? ago : 0));
    else
        snprintf(cell, CELL, "%s (%lld min ago)", clock, (long long)(ago + 30) / 60);
}

/* Nothing when there is none. -1 when memory is short. */
static int print_drift(struct buffer *out, struct json drift, struct arena *arena, int64_t wall_ms)
{
    static const struct row titles = {{"SITE", "DRIFT IN THE LAST HOUR", "TIMES", "LAST"}};
    size_t n = 1;
    if (!json_is(drift, JSON_ARRAY) || !json_size(drift))
        return 0;
    struct row *rows = arena_alloc(arena, (json_size(drift) + 1) * sizeof *rows);
    if (!rows)
        return -1;
    rows[0] = titles;
    for (struct json_iter it = json_each(drift); json_next(&it); n++) {
        put_text(rows[n].cells[0], json_get_text(it.value, "site"));
        put_text(rows[n].cells[1], json_get_text(it.value, "kind"));
        snprintf(rows[n].cells[2], CELL, "%lld",
                 (long long)number(json_get(it.value, "last_hour")));
        put_past(rows[n].cells[3], number(json_get(it.value, "last")), wall_ms);
    }
    buffer_char(out, '\n');
    print_rows(out, rows, n);
    return 0;
}

static size_t count_rows(struct json accounts)
{
    size_t n = 1;
    struct json_iter it = json_each(accounts);
    while (json_next(&it)) {
        struct json_iter models = json_each(json_get(it.value, "models"));
        n++;
        while (json_next(&models))
            n++;
    }
    return n;
}

int account_report_table(struct buffer *out, struct span json, int64_t wall_ms)
{
    static const struct row titles = {
        {"SITE", "ACCOUNT", "STATE", "UNTIL", "IN FLIGHT", "TODAY", "FAILURES", "LAST ERROR"}};
    struct json_parser *parser = json_parser_create(64 << 20);
    struct json root;
    struct arena arena;
    int result = -1;
    arena_init(&arena);
    struct span text = arena_dup(&arena, json);
    if (parser && text.p && json_parse(parser, text, &root) == JSON_OK) {
        struct json accounts = json_get(root, "accounts");
        struct row *rows = arena_alloc(&arena, count_rows(accounts) * sizeof *rows);
        size_t n = 0;
        struct json_iter it = json_each(accounts);
        if (rows)
            rows[n++] = titles;
        while (rows && json_next(&it)) {
            fill_row(&rows[n++], it.value, wall_ms);
            struct json_iter models = json_each(json_get(it.value, "models"));
            while (json_next(&models))
                fill_model_row(&rows[n++], models.value, wall_ms);
        }
        if (rows) {
            print_rows(out, rows, n);
            result = print_drift(out, json_get(root, "drift"), &arena, wall_ms);
            result = out->error ? -1 : result;
        }
    }
    arena_free(&arena);
    if (parser)
        json_parser_destroy(parser);
    return result;
}
