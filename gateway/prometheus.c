/*
 * gateway/prometheus.c - see prometheus.h.
 */
#include "gateway/prometheus.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "gateway/metrics.h"
#include "sse/text_guard.h"

void prometheus_family(struct buffer *out, const char *name, enum prometheus_type type,
                       const char *help)
{
    static const char *const names[] = {"counter", "gauge", "histogram"};
    buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, names[type]);
}

static void write_escaped(struct buffer *out, struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        switch (text.p[i]) {
        case '\\': buffer_append(out, SPAN("\\\\")); break;
        case '"': buffer_append(out, SPAN("\\\"")); break;
        case '\n': buffer_append(out, SPAN("\\n")); break;
        default: buffer_char(out, text.p[i]);
        }
    }
}

static void write_label_value(struct buffer *out, struct span text)
{
    struct buffer scratch;
    buffer_init(&scratch, 3 * text.n + 16);
    write_escaped(out, utf8_repair(text, &scratch));
    buffer_free(&scratch);
}

static void write_sample(struct buffer *out, const char *name, const char *behind,
                         const struct prometheus_label *labels, const char *value)
{
    char before = '{';
    buffer_printf(out, "%s%s", name, behind);
    for (; labels && labels->name; labels++) {
        buffer_printf(out, "%c%s=\"", before, labels->name);
        write_label_value(out, labels->value);
        buffer_char(out, '"');
        before = ',';
    }
    buffer_printf(out, "%s %s\n", before == ',' ? "}" : "", value);
}

static const char *number(char text[32], double value)
{
    snprintf(text, 32, "%.9g", value);
    return text;
}

static void write_count(struct buffer *out, const char *name, const char *behind,
                        const struct prometheus_label *labels, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    write_sample(out, name, behind, labels, text);
}

void prometheus_count(struct buffer *out, const char *name, const struct prometheus_label *labels,
                      uint64_t value)
{
    write_count(out, name, "", labels, value);
}

void prometheus_value(struct buffer *out, const char *name, const struct prometheus_label *labels,
                      double value)
{
    char text[32];
    write_sample(out, name, "", labels, number(text, value));
}

void prometheus_histogram(struct buffer *out, const char *name,
                          const struct prometheus_label *labels, const struct histogram *h)
{
    struct prometheus_label all[5] = {{NULL, {NULL, 0}}};
    char text[32];
    size_t n = 0;
    uint64_t sum = 0;
    for (; labels && labels[n].name; n++) {
        assert(n < 3);
        all[n] = labels[n];
    }
    all[n].name = "le";
    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        sum += h->buckets[i];
        all[n].value = span_str(number(text, h->bounds[i]));
        write_count(out, name, "_bucket", all, sum);
    }
    all[n].value = SPAN("+Inf");
    write_count(out, name, "_bucket", all, h->count);
    write_sample(out, name, "_sum", labels, number(text, h->sum));
    write_count(out, name, "_count", labels, h->count);
}
