/*
 * gateway/passage_up.c - what a passage sends to the upstream: the head with another key in it, and
 * the body at the upstream's pace.
 *
 * Until a byte of the answer was passed down the body is kept (up to KEPT_MAX), so that the request
 * can go out again.
 */
#include <assert.h>

#include "gateway/http_client.h"
#include "gateway/passage_internal.h"

enum {
    KEPT_MAX = 8 << 20,         /* of a request's body, for another try */
    KEPT_OF_LARGE = 512 * 1024, /* of one that is announced as larger: enough to find out that an
                                   idle connection was closed meanwhile */
    TARGET_MAX = 64 * 1024
};

/* ---- whose key, and where it stands ---- */

/* Which of the client's own keys the service reads, and where it stands: there it goes. */
void passage_find_visitor(struct passage *p)
{
    static const char *const order[][3] = {
        [DIALECT_NONE] = {"authorization", "x-api-key", "api-key"},
        [DIALECT_OPENAI] = {"authorization", "x-api-key", "api-key"},
        [DIALECT_ANTHROPIC] = {"x-api-key", "authorization", NULL},
        [DIALECT_GOOGLE] = {"x-goog-api-key", NULL, NULL},
    };
    const char *const *names = order[p->route->dialect];
    struct span query = passage_query(http_exchange_target(p->http));
    p->visits = true;
    p->visitor = (struct injection){.where = ROUTE_INJECT_HEADER};
    for (size_t i = 0; i < 3 && names[i]; i++) {
        struct span value = http_exchange_header(p->http, names[i]);
        if (!value.n)
            continue;
        p->visitor.name = span_str(names[i]);
        p->visitor.value = arena_dup(&p->arena, value);
        return;
    }
    p->visitor.where = p->route->inject;
    p->visitor.name = p->route->inject_name;
    p->visitor.value = passage_query_get(&p->arena, query, SPAN("key"));
    if (p->visitor.value.n)
        return;
    p->visitor.where = ROUTE_INJECT_HEADER; /* Gemini takes OAuth's tokens, too */
    p->visitor.name = SPAN("authorization");
    p->visitor.value = arena_dup(&p->arena, http_exchange_header(p->http, "authorization"));
}

static struct injection injection_of(const struct passage *p)
{
    static const char *const names[] = {"key", "api_key", "token"};
    struct injection in = {p->route->inject, p->route->inject_name, {NULL, 0}};
    if (p->visits)
        return p->visitor;
    for (size_t i = 0; i < 3 && !in.value.n; i++)
        in.value = account_newest(&p->account->view, names[i]);
    if (!in.value.n)
        in.where = ROUTE_INJECT_NONE;
    return in;
}

/* ---- the head ---- */

static struct span make_target(struct passage *p, const struct injection *in)
{
    struct span target = http_exchange_target(p->http), query = passage_query(target);
    struct buffer cut, out;
    buffer_init(&cut, TARGET_MAX);
    buffer_init(&out, TARGET_MAX);
    passage_query_without(&cut, query, SPAN("key"));
    if (in->where == ROUTE_INJECT_QUERY) {
        struct buffer once = cut;
        buffer_init(&cut, TARGET_MAX);
        passage_query_without(&cut, buffer_span(&once), in->name);
        passage_query_add(&cut, cut.n == 0, in->name, in->value);
        cut.error = once.error ? once.error : cut.error;
        buffer_free(&once);
    }
    buffer_append(&out, passage_rest(passage_path(target), passage_stripped(p->route, p->bare),
                                     passage_site(p)->settings.prefix));
    if (cut.n || (query.p && !query.n))
        buffer_char(&out, '?');
    buffer_append(&out, buffer_span(&cut));
    struct span result =
        cut.error || out.error ? span_of(NULL, 0) : arena_dup(&p->arena, buffer_span(&out));
    buffer_free(&cut);
    buffer_free(&out);
    return result;
}

static bool is_sent_up(const struct header *all, size_t n, struct span name,
                       const struct injection *in)
{
    return passage_goes_up(name) && !passage_is_named(all, n, name) &&
           !(in->where == ROUTE_INJECT_HEADER && span_eq_nocase(name, in->name));
}

/* NULL when memory is short. */
static struct header *make_headers(struct passage *p, const struct injection *in, size_t *n)
{
    size_t n_all, count = 0;
    bool versioned = p->route->dialect != DIALECT_ANTHROPIC;
    const struct header *all = http_exchange_headers(p->http, &n_all);
    struct header *list = arena_alloc(&p->arena, (n_all + 2) * sizeof *list);
    if (!list)
        return NULL;
    for (size_t i = 0; i < n_all; i++) {
        if (!is_sent_up(all, n_all, all[i].name, in))
            continue;
        versioned |= span_eq_nocase(all[i].name, SPAN("anthropic-version"));
        list[count++] = all[i];
    }
    if (!versioned)
        list[count++] = (struct header){SPAN("anthropic-version"), SPAN("2023-06-01")};
    if (in->where == ROUTE_INJECT_BEARER)
        list[count++] = (struct header){
            SPAN("Authorization"), arena_printf(&p->arena, "Bearer %.*s", SPAN_ARGS(in->value))};
    else if (in->where == ROUTE_INJECT_HEADER)
        list[count++] = (struct header){in->name, in->value};
    *n = count;
    return list;
}

static int64_t length_up(const struct passage *p)
{
    if (p->body_length == UINT64_MAX)
        return HTTP_CHUNKED_BODY;
    bool posts = strcmp(p->method, "POST") == 0 || strcmp(p->method, "PUT") == 0 ||
                 strcmp(p->method, "PATCH") == 0;
    return p->body_length || posts ? (int64_t)p->body_length : HTTP_NO_BODY;
}

/* ---- the body ---- */

/* The client may send again, or is to wait. */
static void pace_body(struct passage *p, size_t waiting)
{
    bool full = waiting > UPSTREAM_HIGH_WATER;
    if (!p->http || p->body_ended || full == p->body_paused)
        return;
    p->body_paused = full;
    if (full)
        http_exchange_pause_body(p->http);
    else
        http_exchange_resume_body(p->http);
}

void passage_forget_kept(struct passage *p)
{
    p->keeps = false;
    buffer_free(&p->kept);
}

void passage_take_body(struct client_work *work, struct span piece, bool last)
{
    struct passage *p = (struct passage *)work;
    assert(p->magic == PASSAGE_MAGIC && !p->body_ended);
    p->bytes_in += piece.n;
    p->body_ended = last;
    if (p->call && p->keeps && p->kept.n + piece.n > p->keep_max)
        passage_forget_kept(p);
    if ((!p->call || p->keeps) && buffer_append(&p->kept, piece)) {
        if (!p->call) {
            fail_memory(&p->fail);
            account_pool_leave(p->engine->accounts, &p->waiter, passage_now_ms(p));
            passage_fail_now(p);
            return;
        }
        passage_forget_kept(p); /* it would have been for another try */
    }
    pace_body(p, p->call ? upstream_send(p->call, piece, last) : p->kept.n);
}

static void on_upstream_drain(void *owner) { pace_body(owner, 0); }

static bool on_again(void *owner, struct span *sent)
{
    struct passage *p = owner;
    *sent = buffer_span(&p->kept);
    return p->keeps;
}

/* ---- the call ---- */

int passage_send(struct passage *p)
{
    static const struct upstream_body_handler body_handler = {on_upstream_drain, on_again};
    struct upstream_handler handler = passage_handler;
    account_guard_take_short(&p->account->view);
    struct injection in = injection_of(p);
    struct http_outgoing request = {.method = span_str(p->method), .length = length_up(p)};
    bool masks = !p->visits && in.value.n;
    handler.owner = p;
    arena_take_short(&p->arena);
    request.target = make_target(p, &in);
    request.headers = make_headers(p, &in, &request.n_headers);
    struct span secret = masks ? arena_dup(&p->arena, in.value) : span_of(NULL, 0);
    if (!request.target.p || !request.headers || arena_take_short(&p->arena) ||
        account_guard_take_short(&p->account->view))
        return fail_memory(&p->fail); /* without the key it would go out, or down */
    passage_mask_init(&p->mask, secret);
    p->call = upstream_open(p->engine->upstream, passage_site(p), p->account->view.name, &request,
                            &handler, &body_handler, &p->fail);
    if (!p->call)
        return -1;
    size_t waiting = 0;
    if (p->body_length && (p->kept.n || p->body_ended))
        waiting = upstream_send(p->call, buffer_span(&p->kept), p->body_ended);
    pace_body(p, waiting);
    return 0;
}

void passage_init_up(struct passage *p)
{
    p->body_length = http_exchange_body_left(p->http);
    p->body_ended = p->body_length == 0;
    p->keeps = true;
    p->keep_max =
        p->body_length != UINT64_MAX && p->body_length > KEPT_MAX ? KEPT_OF_LARGE : KEPT_MAX;
    buffer_init(&p->kept, KEPT_MAX + (1 << 20));
}
