/*
 * adapters/support_request.c - requests that go out whole or not at all (adapters/support.h).
 */
#include "adapters/support.h"

enum adapter_step step_out_of_memory(struct turn_run *run)
{
    fail_memory(run->fail);
    return ADAPTER_FAILED;
}

enum adapter_step request_ready(struct turn_run *run, const struct site_request *req)
{
    bool whole = req->target.p != NULL;
    for (size_t i = 0; i < req->n_headers; i++)
        whole = whole && req->headers[i].value.p;
    return whole ? ADAPTER_SEND : step_out_of_memory(run);
}

/* Larger ones than this are written into memory of their own. */
enum { SMALL_TURN = 64 * 1024, BODY_USUAL = 2048 };

struct buffer *request_body_begin(struct turn_run *run, struct buffer *own, size_t limit)
{
    bool small = run->scratch && run->turn->raw.n && run->turn->raw.n <= SMALL_TURN;
    struct buffer *body = small ? run->scratch : own;
    if (small)
        buffer_clear(body);
    else
        buffer_init(body, limit);
    buffer_reserve(body, BODY_USUAL);
    return body;
}

void request_body_drop(struct turn_run *run, struct buffer *body)
{
    if (body == run->scratch)
        buffer_clear(body);
    else
        buffer_free(body);
}

bool request_body(struct turn_run *run, struct site_request *req, struct buffer *body)
{
    char *p = body->error ? NULL : arena_alloc_apart(run->arena, body->n);
    if (p && body->n)
        memcpy(p, body->p, body->n);
    req->body = span_of(p, p ? body->n : 0);
    request_body_drop(run, body);
    return p != NULL;
}

void request_bearer(struct turn_run *run, struct site_request *req, struct span token)
{
    static const struct span bearer = SPAN_INIT("Bearer ");
    char *p = arena_alloc(run->arena, bearer.n + token.n + 1);
    if (p) {
        memcpy(p, bearer.p, bearer.n);
        if (token.n)
            memcpy(p + bearer.n, token.p, token.n);
    }
    site_request_header(req, SPAN("Authorization"), span_of(p, p ? bearer.n + token.n : 0));
}

static bool is_host(struct span host)
{
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        if (!ascii_is_alnum(c) && c != '-' && c != '.')
            return false;
    }
    return host.n > 0 && host.n <= 253;
}

/* Up to the first `c`, which is left out, as is what follows; that is the result, or {NULL,0}. */
static struct span cut_at(struct span *text, char c)
{
    ptrdiff_t at = span_find_char(*text, c);
    if (at < 0)
        return span_of(NULL, 0);
    struct span rest = span_from(*text, (size_t)at + 1);
    *text = span_first(*text, (size_t)at);
    return rest;
}

bool read_https_url(struct span url, struct https_url *out)
{
    const struct span scheme = SPAN("https://");
    uint64_t port;
    for (size_t i = 0; i < url.n; i++) {
        if ((unsigned char)url.p[i] <= ' ' || (unsigned char)url.p[i] >= 0x7F)
            return false;
    }
    if (!span_starts(url, scheme))
        return false;
    cut_at(&url, '#');
    struct span query = cut_at(&url, '?'), rest = span_from(url, scheme.n);
    ptrdiff_t slash = span_find_char(rest, '/');
    struct span place = slash < 0 ? rest : span_first(rest, (size_t)slash);
    *out = (struct https_url){.origin = span_first(url, scheme.n + place.n),
                              .host = place,
                              .path = slash < 0 ? SPAN("/") : span_from(rest, (size_t)slash),
                              .query = query};
    out->port = cut_at(&out->host, ':');
    return is_host(out->host) &&
           (!out->port.p || (span_to_u64(out->port, 65535, &port) && port > 0));
}
