/*
 * adapters/support_request.c - requests that go out whole or not at all (adapters/support.h).
 */
#include "adapters/support.h"

enum adapter_step step_out_of_memory(struct turn_run *run)
{
    fail_memory(&run->fail);
    return ADAPTER_FAILED;
}

enum adapter_step request_ready(struct turn_run *run, const struct site_request *req)
{
    bool whole = req->target.p != NULL;
    for (size_t i = 0; i < req->n_headers; i++)
        whole = whole && req->headers[i].value.p;
    return whole ? ADAPTER_SEND : step_out_of_memory(run);
}

bool request_body(struct turn_run *run, struct site_request *req, struct buffer *body)
{
    req->body = body->error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(body));
    buffer_free(body);
    return req->body.p != NULL;
}

void request_bearer(struct turn_run *run, struct site_request *req, struct span token)
{
    site_request_header(req, SPAN("Authorization"),
                        arena_printf(run->arena, "Bearer %.*s", SPAN_ARGS(token)));
}
