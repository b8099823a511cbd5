/*
 * gateway/prometheus.h - Prometheus' text format, version 0.0.4: families of samples with labels.
 *
 * Writes into a buffer, whose error says whether all of it found room. Names are static and legal;
 * label values may be any text: what is not valid UTF-8 in them becomes U+FFFD.
 */
#ifndef DRAGOMAN_GATEWAY_PROMETHEUS_H
#define DRAGOMAN_GATEWAY_PROMETHEUS_H

#include "base/buffer.h"

struct histogram;

enum prometheus_type { PROMETHEUS_COUNTER, PROMETHEUS_GAUGE, PROMETHEUS_HISTOGRAM };

/* Ends with name == NULL. */
struct prometheus_label {
    const char *name;
    struct span value;
};
#define PROMETHEUS_LABELS(...) ((const struct prometheus_label[]){__VA_ARGS__, {NULL, {NULL, 0}}})

/* Before the samples of a family, once. */
void prometheus_family(struct buffer *, const char *name, enum prometheus_type, const char *help);
/* `labels` may be NULL. */
void prometheus_count(struct buffer *, const char *name, const struct prometheus_label *labels,
                      uint64_t value);
void prometheus_value(struct buffer *, const char *name, const struct prometheus_label *labels,
                      double value);
/* Its buckets, sum and count; at most three labels. */
void prometheus_histogram(struct buffer *, const char *name, const struct prometheus_label *labels,
                          const struct histogram *);

#endif
