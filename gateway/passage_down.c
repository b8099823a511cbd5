/*
 * gateway/passage_down.c - what a passage hands down to the client: the upstream's head, rewritten,
 * and its bytes at the client's pace, without the account's key; and what they say of the account.
 *
 * The hard part are refusals that have to be read before they are understood: such a head waits,
 * with its body, until it is clear that it goes down and not another account's.
 */
#include "gateway/account_events.h"
#include "gateway/passage_internal.h"

enum {
    HELD_MAX = 64 * 1024, /* of a refusal that has to be read before it is understood */
    ROOM_KEEP = 64 * 1024
};

/* ---- what it says of the account ---- */

static enum fail_kind failure_of(int status)
{
    switch (status) {
    case 401:
    case 403: return FAIL_CREDENTIAL;
    case 429: return FAIL_RATE_LIMITED;
    case 503:
    case 529: return FAIL_OVERLOADED;
    default: return status >= 500 ? FAIL_UNAVAILABLE : FAIL_NONE;
    }
}

/* Google tells in the body alone that a key is wrong (400), and for how long one has to rest. */
static bool tells_in_body(const struct passage *p, const struct site_head *head)
{
    return p->route->dialect == DIALECT_GOOGLE && !p->visits &&
           site_head_is(head, "application/json") &&
           (head->status == 400 || (head->status == 429 && !head->retry_after_s));
}

/* `"retryDelay": "34.07s"`, rounded up; 0 = not told. */
static int retry_delay(struct span body)
{
    uint64_t seconds = 0;
    ptrdiff_t at = span_find(body, SPAN("\"retryDelay\""));
    struct span rest = at < 0 ? SPAN("") : span_from(body, (size_t)at + 12), word = SPAN("");
    span_split(&rest, '"', &word); /* the colon */
    if (!span_split(&rest, '"', &word) || !span_ends(word, SPAN("s")))
        return 0;
    ptrdiff_t dot = span_find_char(word, '.');
    if (!span_to_u64(span_first(word, dot < 0 ? word.n - 1 : (size_t)dot), 86400 * 7, &seconds))
        return 0;
    return (int)seconds + (dot >= 0);
}

static enum fail_kind failure_in(const struct passage *p, int status)
{
    if (status == 400 && span_find(buffer_span(&p->held_body), SPAN("API_KEY_INVALID")) >= 0)
        return FAIL_CREDENTIAL;
    return failure_of(status);
}

/* What the answer says of the account. */
static void note_status(struct passage *p, const struct site_head *head)
{
    struct fail fail;
    enum fail_kind kind = failure_in(p, head->status);
    bool page = site_head_is(head, "text/html") || site_head_get(head, "cf-mitigated").n;
    if (p->visits)
        return;
    if (kind == FAIL_NONE) {
        account_met_success(p->account, SPAN(""));
        return;
    }
    if (page && head->status < 500)
        kind = FAIL_CHALLENGE;
    fail_set(&fail, kind, "%s answered %d on the route %.*s", p->account->site, head->status,
             SPAN_ARGS(span_first(p->route->prefix, 60)));
    fail.retry_after_s =
        head->retry_after_s ? head->retry_after_s : retry_delay(buffer_span(&p->held_body));
    account_met_failure(p->account, SPAN(""), &fail, passage_now_ms(p));
}

/* ---- the head ---- */

/* "https://upstream/upload/…" as the client reaches it; {NULL,0} when it leads elsewhere. */
static struct span rewritten_url(struct passage *p, struct span url)
{
    const struct site_settings *s = &passage_site(p)->settings;
    struct span host = http_exchange_header(p->http, "host");
    if (!span_starts(url, s->origin) || !span_starts(span_from(url, s->origin.n), s->prefix))
        return span_of(NULL, 0);
    struct span rest = span_from(url, s->origin.n + s->prefix.n);
    if (!span_starts(rest, SPAN("/")))
        return span_of(NULL, 0);
    return arena_printf(&p->arena, "%s://%.*s%.*s%.*s", p->config->tls_cert.n ? "https" : "http",
                        SPAN_ARGS(host), SPAN_ARGS(passage_stripped(p->route, p->bare)),
                        SPAN_ARGS(rest));
}

static bool is_upload_url(struct span name)
{
    return span_eq_nocase(name, SPAN("x-goog-upload-url")) ||
           span_eq_nocase(name, SPAN("x-goog-upload-control-url"));
}

/* The answer's headers, and ours. */
struct head_down {
    struct header *list;
    size_t n;
    bool has_id, has_request_id, has_cache;
    struct buffer names; /* for Access-Control-Expose-Headers */
};

static bool goes_down_already(const struct head_down *down, struct span name)
{
    for (size_t i = 0; i < down->n; i++) {
        if (span_eq_nocase(down->list[i].name, name))
            return true;
    }
    return false;
}

/* 0, or -1 with fail. */
static int take_headers(struct passage *p, const struct site_head *head, struct head_down *down)
{
    arena_take_short(&p->arena);
    for (size_t i = 0; i < head->n_headers; i++) {
        struct span name = head->headers[i].name, value = head->headers[i].value;
        if (!passage_goes_down(name) || passage_is_named(head->headers, head->n_headers, name) ||
            passage_asks_person(name, value))
            continue;
        if (is_upload_url(name)) {
            value = rewritten_url(p, value);
            if (!value.p && arena_take_short(&p->arena))
                return fail_memory(&p->fail);
            if (!value.p)
                return fail_set(&p->fail, FAIL_PROTOCOL,
                                "the upstream wants the upload sent to another host: uploads are "
                                "not passed through there");
        }
        if (!p->visits)
            value = passage_mask_text(&p->arena, value, p->mask.secret);
        down->has_id |= span_eq_nocase(name, SPAN("x-request-id"));
        down->has_request_id |= span_eq_nocase(name, SPAN("request-id"));
        down->has_cache |= span_eq_nocase(name, SPAN("cache-control"));
        if (span_eq_nocase(name, SPAN("x-request-id")) || span_eq_nocase(name, SPAN("request-id")))
            p->site_request_id = arena_dup(&p->arena, span_first(value, 128));
        if (!goes_down_already(down, name))
            buffer_printf(&down->names, "%s%.*s", down->names.n ? ", " : "", SPAN_ARGS(name));
        down->list[down->n++] = (struct header){name, value};
    }
    return arena_take_short(&p->arena) ? fail_memory(&p->fail) : 0;
}

/* CORS, our request's id where the upstream gave none, and what keeps proxies from holding a stream
 * back. */
static void add_headers(struct passage *p, const struct site_head *head, struct head_down *down)
{
    struct reply_headers ours;
    reply_headers_common(&ours, p->http, p->request_id, p->route->dialect);
    for (size_t i = 0; i < ours.n; i++) {
        struct header h = ours.list[i];
        if ((down->has_id && span_eq(h.name, SPAN("x-request-id"))) ||
            (down->has_request_id && span_eq(h.name, SPAN("request-id"))))
            continue;
        if (reply_is_exposed_headers(&h) && !down->names.error) {
            if (!down->has_id)
                buffer_printf(&down->names, "%sx-request-id", down->names.n ? ", " : "");
            h = (struct header){SPAN("Access-Control-Expose-Headers"), buffer_span(&down->names)};
        }
        down->list[down->n++] = h;
    }
    if (!site_head_is(head, "text/event-stream"))
        return;
    if (!down->has_cache)
        down->list[down->n++] = (struct header){SPAN("Cache-Control"), SPAN("no-cache")};
    down->list[down->n++] = (struct header){SPAN("X-Accel-Buffering"), SPAN("no")};
}

/* As announced; -1: chunked. */
static int64_t length_down(const struct site_head *head)
{
    struct span length = site_head_get(head, "content-length");
    uint64_t n;
    if (site_head_get(head, "transfer-encoding").p || !span_to_u64(length, INT64_MAX, &n))
        return -1;
    return (int64_t)n;
}

/* NULL: the status's usual one. */
static const char *reason_down(struct passage *p, const struct site_head *head)
{
    struct span reason = head->reason;
    if (!p->visits)
        reason = passage_mask_text(&p->arena, reason, p->mask.secret);
    if (!reason.n || span_has_control(reason))
        return NULL;
    return arena_dup(&p->arena, reason).p;
}

static int pass_head(struct passage *p, const struct site_head *head)
{
    if (head->status < 200 || head->status > 999)
        return fail_set(&p->fail, FAIL_PROTOCOL, "the upstream answered with the status %d",
                        head->status);
    struct head_down down = {.list =
                                 arena_alloc(&p->arena, (head->n_headers + REPLY_HEADERS_MAX + 4) *
                                                            sizeof(struct header))};
    if (!down.list)
        return fail_memory(&p->fail);
    buffer_init(&down.names, 16 * 1024);
    int bad = take_headers(p, head, &down);
    if (!bad) {
        const char *reason = reason_down(p, head);
        add_headers(p, head, &down);
        passage_forget_kept(p);
        p->head_sent = true;
        p->status = head->status;
        if (reason)
            http_exchange_set_reason(p->http, reason);
        http_answer_start(p->http, head->status, down.list, down.n, length_down(head));
        p->head_waits = true; /* for the first piece, if it is there already */
    }
    buffer_free(&down.names);
    return bad;
}

/* A copy that outlives the call. NULL when memory is short. */
static struct site_head *keep_head(struct arena *arena, const struct site_head *head)
{
    struct site_head *copy = arena_alloc(arena, sizeof *copy);
    struct header *headers = arena_alloc(arena, (head->n_headers + 1) * sizeof *headers);
    bool good = copy && headers;
    for (size_t i = 0; good && i < head->n_headers; i++) {
        headers[i].name = arena_dup(arena, head->headers[i].name);
        headers[i].value = arena_dup(arena, head->headers[i].value);
        good = headers[i].name.p && headers[i].value.p;
    }
    if (!good)
        return NULL;
    *copy = *head;
    copy->headers = headers;
    copy->reason = arena_dup(arena, head->reason);
    copy->content_type = arena_dup(arena, head->content_type);
    return copy;
}

/* ---- the body ---- */

static void pass_body(struct passage *p, struct span bytes)
{
    struct span piece = passage_mask_feed(&p->mask, bytes, &p->room);
    if (bytes.n && !piece.p) {
        fail_memory(&p->fail);
        passage_fail_now(p);
        return;
    }
    if (!piece.n)
        return;
    size_t queued = http_answer_write(p->http, piece);
    p->head_waits = false;
    if (queued > HTTP_HIGH_WATER && !p->paused && p->call) { /* a slow client pauses the upstream */
        p->paused = true;
        upstream_pause(p->call);
    }
    buffer_shrink(&p->room, ROOM_KEEP);
}

/* ---- from the upstream ---- */

/* True: it goes down; false: another account has the request, or it has failed. */
static bool settle_head(struct passage *p, const struct site_head *head)
{
    note_status(p, head);
    if (failure_in(p, head->status) != FAIL_NONE && passage_change_account(p)) {
        buffer_clear(&p->held_body);
        passage_go_on(p);
        return false;
    }
    if (pass_head(p, head)) {
        passage_fail_now(p);
        return false;
    }
    return true;
}

/* The refusal was read as far as it is going to be. */
static bool settle_held(struct passage *p)
{
    const struct site_head *head = p->held;
    p->held = NULL;
    if (!settle_head(p, head))
        return false;
    pass_body(p, buffer_span(&p->held_body));
    buffer_free(&p->held_body);
    return p->step == STEP_STREAM;
}

static void on_head(void *owner, const struct site_head *head)
{
    struct passage *p = owner;
    p->site_status = head->status;
    p->first_ms = passage_now_ms(p);
    if (tells_in_body(p, head))
        p->held = keep_head(&p->arena, head);
    if (!p->held)
        settle_head(p, head);
}

static void on_answer_body(void *owner, struct span bytes)
{
    struct passage *p = owner;
    if (p->held && p->held_body.n + bytes.n <= HELD_MAX) {
        if (buffer_append(&p->held_body, bytes)) {
            fail_memory(&p->fail);
            passage_fail_now(p);
        }
        return;
    }
    if (p->held && !settle_held(p))
        return;
    pass_body(p, bytes);
}

static void on_read_done(void *owner)
{
    struct passage *p = owner;
    if (p->head_waits)
        http_answer_write(p->http, span_of(NULL, 0));
    p->head_waits = false;
}

static void on_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct passage *p = owner;
    p->call = NULL; /* it is gone already */
    if (end == END_CLEAN && p->held && !settle_held(p))
        return;
    p->held = NULL;
    if (end == END_CLEAN) {
        p->end = END_COMPLETE;
    } else {
        p->fail = *fail;
        p->end = p->head_sent ? END_BROKEN : END_FAILED;
        if (!p->visits && p->account)
            account_met_failure(p->account, SPAN(""), fail, passage_now_ms(p));
        engine_count_failure(p->engine, passage_site(p)->settings.name, fail->kind);
    }
    p->step = STEP_FINISH;
    passage_go_on(p);
}

const struct upstream_handler passage_handler = {on_head, on_answer_body, on_read_done, on_end,
                                                 NULL};

/* ---- the rest ---- */

void passage_drained(struct client_work *work)
{
    struct passage *p = (struct passage *)work;
    if (!p->paused || !p->call)
        return;
    p->paused = false;
    upstream_resume(p->call);
}

void passage_init_down(struct passage *p)
{
    buffer_init(&p->held_body, HELD_MAX);
    buffer_init(&p->room, 64 << 20);
}
