/*
 * gateway/reply.c - see reply.h.
 */
#include "gateway/reply.h"

#include <assert.h>
#include <stdio.h>

#include "gateway/clock.h"
#include "gateway/error_response.h"

void request_id_make(char id[REQUEST_ID_SIZE])
{
    memcpy(id, "req_", 4);
    clock_random_id(id + 4, 22);
}

void reply_header(struct reply_headers *h, const char *name, struct span value)
{
    assert(h->n < REPLY_HEADERS_MAX);
    h->list[h->n++] = (struct header){span_str(name), value};
}

/* A line that is ready to go, as it is long and the same in every answer. */
static const struct span exposed_headers = SPAN_INIT(
    "Access-Control-Expose-Headers: x-request-id, request-id, retry-after, x-should-retry, "
    "x-dragoman-route, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
    "x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, "
    "x-ratelimit-reset-tokens\r\n");

void reply_lines(struct reply_headers *h, struct span lines)
{
    assert(h->n < REPLY_HEADERS_MAX);
    h->list[h->n++] = (struct header){SPAN(""), lines};
}

bool reply_is_exposed_headers(const struct header *h) { return h->value.p == exposed_headers.p; }

/* Allow-Origin on every answer, also errors and streams (clients.md H14). */
static void cors(struct reply_headers *h, const struct http_exchange *http)
{
    const struct config *config = http_exchange_config(http);
    struct span origin = http_exchange_header(http, "origin");
    bool any = false, named = false;
    for (size_t i = 0; i < config->n_cors_origins; i++) {
        any |= span_eq(config->cors_origins[i], SPAN("*"));
        named |= origin.n && span_eq(config->cors_origins[i], origin);
    }
    if (any) {
        reply_lines(h, SPAN("Access-Control-Allow-Origin: *\r\n"));
    } else if (config->n_cors_origins) {
        reply_header(h, "Vary", SPAN("Origin"));
        if (!named)
            return;
        reply_header(h, "Access-Control-Allow-Origin", origin);
    } else {
        return;
    }
    h->allows_origin = true;
    reply_lines(h, exposed_headers);
}

void reply_headers_common(struct reply_headers *h, const struct http_exchange *http, const char *id,
                          enum dialect dialect)
{
    h->n = 0;
    h->allows_origin = false;
    reply_header(h, "x-request-id", span_str(id));
    if (dialect == DIALECT_ANTHROPIC)
        reply_header(h, "request-id", span_str(id));
    cors(h, http);
}

void reply_headers_failure(struct reply_headers *h, const struct fail *fail, bool repeated)
{
    const struct error_row *row = error_row(fail->kind);
    if (row->status == 401)
        reply_header(h, "WWW-Authenticate", SPAN("Bearer"));
    if (fail->kind == FAIL_METHOD)
        reply_header(h, "Allow", span_str(fail->param));
    if (fail->retry_after_s > 0 && (row->status == 429 || row->status == 503)) {
        snprintf(h->number, sizeof h->number, "%d", fail->retry_after_s);
        reply_header(h, "Retry-After", span_str(h->number));
    }
    if (row->should_not_retry || fail->final ||
        (repeated && row->status != 429 && row->status != 503))
        reply_header(h, "x-should-retry", SPAN("false"));
}

void reply_json(struct http_exchange *http, const char *id, enum dialect dialect, int status,
                struct span body)
{
    struct reply_headers h;
    reply_headers_common(&h, http, id, dialect);
    reply_header(&h, "Content-Type", SPAN("application/json"));
    http_answer_whole(http, status, h.list, h.n, body);
}

void reply_fail(struct http_exchange *http, const char *id, enum dialect dialect,
                const struct fail *fail)
{
    const struct error_context context = {.request_id = span_str(id)};
    struct reply_headers h;
    struct buffer body;
    buffer_init(&body, ERROR_OBJECT_MAX);
    error_body(&body, dialect, fail, &context);
    reply_headers_common(&h, http, id, dialect);
    reply_header(&h, "Content-Type", SPAN("application/json"));
    reply_headers_failure(&h, fail, false);
    int status = error_status(dialect, fail->kind);
    struct span text = error_last_words(&body, &status);
    http_exchange_set_reason(http, error_row(fail->kind)->reason);
    http_answer_whole(http, status, h.list, h.n, text);
    buffer_free(&body);
}
