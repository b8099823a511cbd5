/*
 * gateway/metrics.c - see metrics.h. Rows of requests are found by a hash of their labels in a
 * table of fixed size that is never more than half full; there are few sites, which are searched
 * from end to end.
 */
#include "gateway/metrics.h"

#include <stdlib.h>

enum { SLOTS = 2 * METRICS_REQUEST_ROWS };

struct row {
    uint64_t hash, n;
    char *text; /* site, model and key, one behind the other; owned */
    uint16_t site_n, model_n, key_n;
    const char *api, *end;
};

struct metrics {
    struct row rows[METRICS_REQUEST_ROWS];
    size_t n_rows;
    struct row *latest;    /* the row of the last request: most are like the one before them */
    uint16_t slots[SLOTS]; /* 1 + place among the rows; 0 = free */
    uint64_t homeless;     /* requests that found no row */
    uint64_t refusals[FAIL_KIND_COUNT];
    struct metrics_site *sites[METRICS_SITES];
    size_t n_sites;
};

static const double first_bounds[METRICS_BUCKETS] = {0.05, 0.1, 0.25, 0.5, 1,  2,
                                                     4,    8,   15,   30,  60, 120};
static const double total_bounds[METRICS_BUCKETS] = {0.1, 0.25, 0.5, 1,   2.5, 5,
                                                     10,  30,   60,  120, 300, 600};

void histogram_add(struct histogram *h, double seconds)
{
    h->count++;
    h->sum += seconds;
    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        if (seconds <= h->bounds[i]) {
            h->buckets[i]++;
            return;
        }
    }
}

void histogram_join(struct histogram *h, const struct histogram *other)
{
    h->count += other->count;
    h->sum += other->sum;
    for (size_t i = 0; i < METRICS_BUCKETS; i++)
        h->buckets[i] += other->buckets[i];
}

struct metrics *metrics_create(void) { return calloc(1, sizeof(struct metrics)); }

void metrics_destroy(struct metrics *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_rows; i++)
        free(m->rows[i].text);
    for (size_t i = 0; i < m->n_sites; i++)
        free(m->sites[i]);
    free(m);
}

/* Cut where a character begins. */
static struct span label(struct span text)
{
    if (text.n < METRICS_LABEL_MAX)
        return text;
    size_t n = METRICS_LABEL_MAX - 1;
    while (n && ((unsigned char)text.p[n] & 0xC0) == 0x80)
        n--;
    return span_first(text, n);
}

/* ---- requests ---- */

static uint64_t hash_of(const struct metrics_row *r)
{
    uint64_t h = span_hash(SPAN_HASH, r->site);
    h = span_hash(span_hash(h, SPAN("\n")), r->model);
    h = span_hash(span_hash(h, SPAN("\n")), r->key);
    h = span_hash(span_hash(h, SPAN("\n")), span_str(r->api));
    return span_hash(span_hash(h, SPAN("\n")), span_str(r->end));
}

static struct metrics_row labels_of(const struct row *row)
{
    return (struct metrics_row){
        .site = span_of(row->text, row->site_n),
        .model = span_of(row->text + row->site_n, row->model_n),
        .key = span_of(row->text + row->site_n + row->model_n, row->key_n),
        .api = row->api,
        .end = row->end,
        .n = row->n,
    };
}

/* Names are constants: nearly always the same one. */
static bool same_name(const char *a, const char *b) { return a == b || strcmp(a, b) == 0; }

static bool same_labels(const struct row *row, const struct metrics_row *wanted)
{
    struct metrics_row has = labels_of(row);
    return span_eq(has.site, wanted->site) && span_eq(has.model, wanted->model) &&
           span_eq(has.key, wanted->key) && same_name(has.api, wanted->api) &&
           same_name(has.end, wanted->end);
}

static void put(char **to, struct span text)
{
    if (text.n)
        memcpy(*to, text.p, text.n);
    *to += text.n;
}

/* NULL: no room, or no memory. */
static struct row *add_row(struct metrics *m, uint64_t hash, const struct metrics_row *labels)
{
    if (m->n_rows == METRICS_REQUEST_ROWS)
        return NULL;
    struct row *row = &m->rows[m->n_rows];
    char *text = malloc(labels->site.n + labels->model.n + labels->key.n + 1);
    if (!text)
        return NULL;
    *row = (struct row){hash,
                        0,
                        text,
                        (uint16_t)labels->site.n,
                        (uint16_t)labels->model.n,
                        (uint16_t)labels->key.n,
                        labels->api,
                        labels->end};
    put(&text, labels->site);
    put(&text, labels->model);
    put(&text, labels->key);
    m->n_rows++;
    return row;
}

static struct row *row_for(struct metrics *m, const struct metrics_row *labels)
{
    if (m->latest && same_labels(m->latest, labels))
        return m->latest;
    uint64_t hash = hash_of(labels);
    size_t slot = hash % SLOTS;
    for (; m->slots[slot]; slot = (slot + 1) % SLOTS) {
        struct row *row = &m->rows[m->slots[slot] - 1];
        if (row->hash == hash && same_labels(row, labels)) {
            m->latest = row;
            return row;
        }
    }
    struct row *row = add_row(m, hash, labels);
    if (row)
        m->slots[slot] = (uint16_t)m->n_rows;
    return row;
}

bool metrics_next_row(const struct metrics *m, size_t *at, struct metrics_row *out)
{
    if (*at < m->n_rows) {
        *out = labels_of(&m->rows[(*at)++]);
        return true;
    }
    if (*at > m->n_rows || !m->homeless)
        return false;
    ++*at;
    *out = (struct metrics_row){.site = SPAN("other"),
                                .model = SPAN("other"),
                                .key = SPAN("other"),
                                .api = "other",
                                .end = "other",
                                .n = m->homeless};
    return true;
}

void metrics_count_refusal(struct metrics *m, enum fail_kind kind) { m->refusals[kind]++; }

uint64_t metrics_refusals(const struct metrics *m, enum fail_kind kind)
{
    return m->refusals[kind];
}

/* ---- sites ---- */

/* The last place is that of all who find none of their own; NULL when memory is short. */
static struct metrics_site *site_for(struct metrics *m, struct span name)
{
    for (size_t i = 0; i < m->n_sites; i++) {
        if (span_eq(span_str(m->sites[i]->name), name))
            return m->sites[i];
    }
    if (m->n_sites == METRICS_SITES)
        return m->sites[METRICS_SITES - 1];
    if (m->n_sites == METRICS_SITES - 1)
        name = SPAN("other");
    struct metrics_site *site = calloc(1, sizeof *site);
    if (!site)
        return NULL;
    if (name.n)
        memcpy(site->name, name.p, name.n);
    site->first.bounds = first_bounds;
    site->total.bounds = total_bounds;
    m->sites[m->n_sites++] = site;
    return site;
}

const struct metrics_site *metrics_next_site(const struct metrics *m, size_t *at)
{
    return *at < m->n_sites ? m->sites[(*at)++] : NULL;
}

/* Sites may say anything: one answer must not spoil a sum for good. */
static uint64_t plausible_tokens(int64_t n)
{
    return n < 0 ? 0 : (uint64_t)(n < METRICS_TOKENS_MAX ? n : METRICS_TOKENS_MAX);
}

void metrics_count_request(struct metrics *m, const struct metrics_request *r)
{
    const struct metrics_row labels = {label(r->site), label(r->model), label(r->key),
                                       r->api,         r->end,          0};
    struct row *row = row_for(m, &labels);
    if (row)
        row->n++;
    else
        m->homeless++;
    struct metrics_site *site = site_for(m, labels.site);
    if (!site)
        return;
    histogram_add(&site->total, (double)r->ms / 1000);
    if (r->first_ms >= 0)
        histogram_add(&site->first, (double)r->first_ms / 1000);
    site->deltas += r->deltas;
    site->bytes_in += r->bytes_in;
    site->bytes_out += r->bytes_out;
    site->tokens_in += plausible_tokens(r->tokens_in);
    site->tokens_out += plausible_tokens(r->tokens_out);
    site->continuations += (uint64_t)r->continuations;
}

void metrics_count_failure(struct metrics *m, struct span site, enum fail_kind kind)
{
    struct metrics_site *s = site_for(m, label(site));
    if (s)
        s->failures[kind]++;
}
