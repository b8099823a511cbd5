/*
 * gateway/metrics_page.h - GET /metrics: everything that is counted, in Prometheus' text format
 * (docs/metrics.md lists it).
 */
#ifndef DRAGOMAN_GATEWAY_METRICS_PAGE_H
#define DRAGOMAN_GATEWAY_METRICS_PAGE_H

#include "gateway/engine.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* `connections`: open ones of clients. */
void metrics_page_write(struct buffer *out, struct engine *, size_t connections);

#endif
