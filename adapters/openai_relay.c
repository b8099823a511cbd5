/*
 * adapters/openai_relay.c - see openai_relay.h.
 */
#include "adapters/openai_relay.h"

#include <stdio.h>

#include "adapters/openai_wire.h"

int openai_relay_request(struct turn_run *run, struct site_request *req)
{
    const struct relay *relay = &run->turn->relay;
    struct span model = relay->quoted ? openai_raw_string(run, run->model) : run->model;
    size_t n = relay->before.n + model.n + relay->after.n;
    char *body = arena_alloc_apart(run->arena, n);
    req->target = run->site->prefix.n ? relay->path
                                      : arena_printf(run->arena, "/v1%.*s", SPAN_ARGS(relay->path));
    if (!model.p || !body || !req->target.p)
        return fail_memory(run->fail);
    memcpy(body, relay->before.p, relay->before.n);
    memcpy(body + relay->before.n, model.p, model.n);
    memcpy(body + relay->before.n + model.n, relay->after.p, relay->after.n);
    req->method = "POST";
    req->body = span_of(body, n);
    req->framing = FRAMING_RAW;
    site_request_header(req, SPAN("Content-Type"), relay->type);
    site_request_header(req, SPAN("Accept"), SPAN("*/*"));
    return 0;
}

enum adapter_verdict openai_relay_verdict(struct turn_run *run, int status,
                                          enum adapter_verdict verdict)
{
    char words[sizeof run->fail->message];
    if (verdict != ADAPTER_FAIL || (status != 404 && status != 405) || !run->turn->relay.path.n)
        return verdict;
    snprintf(words, sizeof words, "%s", run->fail->message);
    fail_set(run->fail, FAIL_UNKNOWN_URL, "%.*s has no %.*s for this model: %s",
             SPAN_ARGS(run->site->name), SPAN_ARGS(run->turn->relay.path), words);
    run->fail->upstream_status = status;
    return ADAPTER_FAIL;
}
