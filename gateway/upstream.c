/*
 * gateway/upstream.c - see upstream.h: calls, connections and the pool between them.
 *
 * A connection serves one call at a time and lies idle in between. The hard parts: a call may be cancelled inside any of its own callbacks, and a reused connection may
 * turn out to be dead, in which case the call starts once more on a fresh one. Clocks are one timer a call and one a connection, armed lazily: a read only notes the time.
 */
#include "gateway/upstream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/byte_stream.h"
#include "gateway/http_client.h"

enum { HEAD_LIMIT = 1024 * 1024, DRAIN_BYTES = 64 * 1024, DRAIN_MS = 1000 };

enum connection_state { CONNECTING, BUSY, DRAINING, IDLE };

struct connection {
    struct upstream *upstream;
    struct connection *prev, *next;
    struct byte_stream *stream;
    char *key;
    enum connection_state state;
    struct upstream_call *call; /* CONNECTING, BUSY */
    struct http_reader reader;
    bool reading_answer; /* the reader is initialised */
    unsigned served;     /* answers before the current one */
    size_t drained;
    uint64_t idle_timeout_ms, deadline_ms;
    size_t max_idle;
    bool reuse;
    unsigned holds; /* we are inside its reader: memory goes when we are out */
    bool gone;
    uv_timer_t *timer; /* own allocation: closes later than the connection */
};

enum call_phase { CALL_WAITING, CALL_CONNECTING, CALL_SENT, CALL_BODY };

struct upstream_call {
    struct upstream *upstream;
    struct upstream_call *prev, *next; /* all calls */
    const struct site_config *site;
    char *key;
    struct buffer head; /* the request's head, freed once it is sent */
    struct span body;
    struct upstream_handler handler;
    struct connection *connection;
    enum call_phase phase;
    bool paused, reused, retried, answered; /* answered: a byte of the answer came */
    struct fail fail;
    uint64_t since_ms; /* start of what the current clock measures */
    uv_timer_t timer;
    bool over;
};

struct upstream {
    struct net_context net;
    struct connection *connections;
    struct upstream_call *calls; /* oldest last */
    struct upstream_counters counters;
    void (*closed)(void *);
    void *closed_arg;
    uv_timer_t *reaper; /* while closing: looks whether the last handle is gone */
};

static void call_end(struct upstream_call *c, enum stream_end end, const struct fail *fail);
static void call_begin(struct upstream_call *c);
static void start_waiting(struct upstream *u, const char *key);

/* ---- the loop's part ----------------------------------------------------------------------------------- */

struct upstream *upstream_create(uv_loop_t *loop)
{
    struct upstream *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->net.loop = loop;
    u->net.read_buffer = malloc(NET_READ_SIZE + JSON_PADDING);
    u->net.plain_buffer = malloc(NET_PLAIN_SIZE + JSON_PADDING);
    u->net.sessions = tls_sessions_create();
    if (!u->net.read_buffer || !u->net.plain_buffer || !u->net.sessions) {
        free(u->net.read_buffer);
        free(u->net.plain_buffer);
        tls_sessions_destroy(u->net.sessions);
        free(u);
        return NULL;
    }
    return u;
}

static void upstream_free(struct upstream *u)
{
    while (u->net.trusts) {
        struct net_trust *t = u->net.trusts;
        u->net.trusts = t->next;
        tls_trust_release(t->trust);
        free(t);
    }
    tls_sessions_destroy(u->net.sessions);
    free(u->net.read_buffer);
    free(u->net.plain_buffer);
    free(u);
}

struct upstream_counters upstream_counters(const struct upstream *u)
{
    struct upstream_counters c = u->counters;
    struct tls_counters tls = tls_sessions_counters(u->net.sessions);
    c.tls_full = tls.full;
    c.tls_resumed = tls.resumed;
    for (const struct connection *n = u->connections; n; n = n->next) {
        c.open++;
        c.idle += n->state == IDLE;
    }
    return c;
}

/* ---- connections ------------------------------------------------------------------------------------------ */

static void on_connection_timer_closed(uv_handle_t *handle)
{
    struct net_context *net = handle->data;
    net->handles--;
    free(handle);
}

static void end_reader(struct connection *n)
{
    if (n->reading_answer)
        http_reader_free(&n->reader);
    n->reading_answer = false;
}

static void connection_release(struct connection *n)
{
    if (--n->holds || !n->gone)
        return;
    end_reader(n);
    free(n->key);
    free(n);
}

/* May be called inside any callback of the connection: its memory goes when the last of them has returned. */
static void connection_close(struct connection *n)
{
    struct upstream *u = n->upstream;
    if (n->gone)
        return;
    n->gone = true;
    n->holds++;
    if (n->prev)
        n->prev->next = n->next;
    else
        u->connections = n->next;
    if (n->next)
        n->next->prev = n->prev;
    if (n->call)
        n->call->connection = NULL;
    n->call = NULL;
    if (n->timer) {
        n->timer->data = &u->net;
        uv_close((uv_handle_t *)n->timer, on_connection_timer_closed);
        n->timer = NULL;
    }
    if (n->reading_answer)
        http_reader_mute(&n->reader);
    byte_stream_close(n->stream);
    start_waiting(u, n->key);
    connection_release(n);
}

static void on_connection_timer(uv_timer_t *timer)
{
    struct connection *n = timer->data;
    uint64_t now = uv_now(n->upstream->net.loop);
    if (n->state != IDLE && n->state != DRAINING)
        return;
    if (now >= n->deadline_ms)
        connection_close(n);
    else
        uv_timer_start(timer, on_connection_timer, n->deadline_ms - now, 0);
}

static void set_deadline(struct connection *n, uint64_t in_ms)
{
    n->deadline_ms = uv_now(n->upstream->net.loop) + in_ms;
    if (!n->timer) {
        n->timer = malloc(sizeof *n->timer);
        if (!n->timer)
            return;
        uv_timer_init(n->upstream->net.loop, n->timer);
        n->timer->data = n;
        n->upstream->net.handles++;
    }
    if (!uv_is_active((uv_handle_t *)n->timer) || uv_timer_get_due_in(n->timer) > in_ms)
        uv_timer_start(n->timer, on_connection_timer, in_ms, 0);
}

static size_t count_idle(const struct upstream *u, const char *key)
{
    size_t count = 0;
    for (const struct connection *n = u->connections; n; n = n->next)
        count += n->state == IDLE && strcmp(n->key, key) == 0;
    return count;
}

/* Its answer is complete: to the pool, or closed. */
static void connection_free_up(struct connection *n)
{
    bool keep = n->reuse && http_reader_keep_alive(&n->reader);
    if (n->call) {
        n->call->connection = NULL;
        n->call = NULL;
    }
    end_reader(n);
    if (!keep || (n->max_idle && count_idle(n->upstream, n->key) >= n->max_idle)) {
        connection_close(n);
        return;
    }
    n->served++;
    n->state = IDLE;
    byte_stream_resume(n->stream);
    set_deadline(n, n->idle_timeout_ms);
    start_waiting(n->upstream, n->key);
}

static void on_answer_head(void *owner, const struct site_head *head)
{
    struct connection *n = owner;
    if (n->call) {
        n->call->phase = CALL_BODY;
        n->call->handler.on_head(n->call->handler.owner, head);
    }
}

static void on_answer_body(void *owner, struct span bytes)
{
    struct connection *n = owner;
    if (n->call)
        n->call->handler.on_body(n->call->handler.owner, bytes);
}

static void send_request(struct connection *n)
{
    struct upstream_call *c = n->call;
    struct http_reader_handler handler = {on_answer_head, on_answer_body, n};
    struct span pieces[2] = {buffer_span(&c->head), c->body};
    n->state = BUSY;
    c->phase = CALL_SENT;
    c->since_ms = uv_now(n->upstream->net.loop);
    c->reused = n->served > 0;
    http_reader_init(&n->reader, &handler);
    n->reading_answer = true;
    byte_stream_write(n->stream, pieces, 2);
    if (c->paused)
        byte_stream_pause(n->stream);
}

static void on_stream_ready(void *owner)
{
    struct connection *n = owner;
    if (n->call)
        send_request(n);
}

/* One read of the socket for the answer under way. */
static void answer_in(struct connection *n, struct span bytes)
{
    struct fail fail;
    if (n->call) {
        n->call->answered = true;
        n->call->since_ms = uv_now(n->upstream->net.loop);
    }
    n->drained += bytes.n;
    enum http_reader_state state = http_reader_feed(&n->reader, bytes, &fail);
    struct upstream_call *c = n->call; /* NULL: cancelled, perhaps just now */
    if (n->gone)
        return;
    if (state == READER_COMPLETE) {
        connection_free_up(n);
    } else if (state == READER_BROKEN || (n->state == DRAINING && n->drained > DRAIN_BYTES)) {
        connection_close(n);
    } else {
        return;
    }
    if (c)
        call_end(c, state == READER_COMPLETE ? END_CLEAN : END_CUT, &fail);
}

static void on_stream_data(void *owner, struct span bytes)
{
    struct connection *n = owner;
    n->holds++;
    if (n->state == IDLE || !n->reading_answer) /* nobody asked */
        connection_close(n);
    else
        answer_in(n, bytes);
    connection_release(n);
}

static void on_stream_read_done(void *owner)
{
    struct connection *n = owner;
    if (n->call && n->state == BUSY && n->call->answered)
        n->call->handler.on_read_done(n->call->handler.owner);
}

/* A reused connection that dies before it answered anything was dead already: the request goes out once more. */
static bool start_again(struct upstream_call *c)
{
    if (!c->reused || c->answered || c->retried)
        return false;
    c->retried = true;
    c->connection = NULL;
    call_begin(c);
    return true;
}

static void on_stream_end(void *owner, const struct fail *why)
{
    struct connection *n = owner;
    struct upstream_call *c = n->call;
    struct fail fail = {0};
    enum stream_end end = END_CUT;
    if (!c) {
        connection_close(n);
        return;
    }
    if (n->state == CONNECTING) {
        fail = *why;
    } else if (http_reader_eof(&n->reader, &fail) == READER_COMPLETE && !why) {
        end = END_CLEAN;
    } else if (!c->answered && (!why || why->kind == FAIL_CUT)) {
        fail_set(&fail, FAIL_UNREACHABLE, "%.*s closed the connection without an answer",
                 SPAN_ARGS(c->site->settings.name));
    } else if (why) {
        fail = *why;
    }
    connection_close(n);
    if (end == END_CUT && start_again(c))
        return;
    call_end(c, end, &fail);
}

static struct byte_stream *build_stream(struct upstream *u, const struct site_config *site)
{
    const struct proxy_config *proxy = &site->proxy;
    char host[256], first[256];
    snprintf(host, sizeof host, "%.*s", SPAN_ARGS(site->host));
    struct span first_host = proxy->kind == PROXY_NONE ? site->host : proxy->host;
    snprintf(first, sizeof first, "%.*s", SPAN_ARGS(first_host));
    struct byte_stream *s =
        net_socket_create(&u->net, first, proxy->kind == PROXY_NONE ? site->port : proxy->port);
    if (s && proxy->kind == PROXY_HTTP)
        s = net_http_proxy_create(s, proxy, host, site->port);
    else if (s && proxy->kind != PROXY_NONE)
        s = net_socks_create(&u->net, s, proxy, host, site->port);
    if (s && site->tls) {
        char ca_file[4096];
        snprintf(ca_file, sizeof ca_file, "%.*s", SPAN_ARGS(site->ca_file));
        s = net_tls_create(&u->net, s, host, site->port, ca_file);
    }
    return s;
}

static struct connection *connection_create(struct upstream_call *c, struct fail *fail)
{
    struct upstream *u = c->upstream;
    struct connection *n = calloc(1, sizeof *n);
    char *key = strdup(c->key);
    struct byte_stream *stream = n && key ? build_stream(u, c->site) : NULL;
    if (!stream) {
        free(n);
        free(key);
        fail_memory(fail);
        return NULL;
    }
    n->upstream = u;
    n->key = key;
    n->stream = stream;
    n->idle_timeout_ms = (uint64_t)c->site->pool.idle_timeout_ms;
    n->max_idle = (size_t)c->site->pool.max_idle;
    n->reuse = c->site->pool.reuse;
    n->call = c;
    stream->up = (struct byte_stream_handler){on_stream_ready, on_stream_data, on_stream_read_done,
                                              on_stream_end, n};
    n->next = u->connections;
    if (n->next)
        n->next->prev = n;
    u->connections = n;
    u->counters.connections++;
    if (byte_stream_start(stream, fail)) {
        n->call = NULL;
        connection_close(n);
        return NULL;
    }
    return n;
}

/* ---- calls -------------------------------------------------------------------------------------------------- */

static void on_call_timer_closed(uv_handle_t *handle)
{
    struct upstream_call *c = handle->data;
    c->upstream->net.handles--;
    buffer_free(&c->head);
    free(c->key);
    free(c);
}

static void call_free(struct upstream_call *c)
{
    c->over = true;
    if (c->prev)
        c->prev->next = c->next;
    else
        c->upstream->calls = c->next;
    if (c->next)
        c->next->prev = c->prev;
    if (c->head.p)
        explicit_bzero(c->head.p, c->head.n); /* it carries credentials */
    uv_close((uv_handle_t *)&c->timer, on_call_timer_closed);
}

static void call_end(struct upstream_call *c, enum stream_end end, const struct fail *fail)
{
    struct upstream_handler handler = c->handler;
    struct fail copy = {0};
    assert(!c->over && !c->connection);
    if (end == END_CUT)
        copy = *fail;
    call_free(c);
    handler.on_end(handler.owner, end, &copy);
}

/* How long the current phase may last, and what is said when it is over. */
static int64_t phase_limit(const struct upstream_call *c)
{
    switch (c->phase) {
    case CALL_WAITING:
    case CALL_CONNECTING: return c->site->connect_timeout_ms;
    case CALL_SENT: return c->site->first_byte_timeout_ms;
    default: return c->site->idle_timeout_ms;
    }
}

static void time_out(struct upstream_call *c)
{
    struct fail fail;
    struct span name = c->site->settings.name;
    int s = (int)((phase_limit(c) + 999) / 1000);
    if (c->fail.kind !=
        FAIL_NONE) /* it could not even be started: told from here because start must not call back */
        fail = c->fail;
    else if (c->phase <= CALL_CONNECTING)
        fail_set(&fail, FAIL_TIMEOUT, "no connection to %.*s (%.*s) within %d s (connect_timeout)",
                 SPAN_ARGS(name), SPAN_ARGS(c->site->host), s);
    else if (c->phase == CALL_SENT)
        fail_set(&fail, FAIL_TIMEOUT,
                 "%.*s did not begin to answer within %d s (first_byte_timeout)", SPAN_ARGS(name),
                 s);
    else
        fail_set(&fail, FAIL_TIMEOUT,
                 "%.*s fell silent for %d s in the middle of its answer (idle_timeout)",
                 SPAN_ARGS(name), s);
    if (c->connection) {
        struct connection *n = c->connection;
        n->call = NULL;
        c->connection = NULL;
        connection_close(n);
    }
    call_end(c, END_CUT, &fail);
}

static void on_call_timer(uv_timer_t *timer)
{
    struct upstream_call *c = timer->data;
    uint64_t now = uv_now(c->upstream->net.loop);
    if (c->fail.kind != FAIL_NONE) {
        time_out(c);
        return;
    }
    if (c->paused) /* our own back-pressure is not the site's silence */
        c->since_ms = now;
    uint64_t at = c->since_ms + (uint64_t)phase_limit(c);
    if (now >= at)
        time_out(c);
    else
        uv_timer_start(timer, on_call_timer, at - now, 0);
}

/* Clocks get shorter as well as longer from phase to phase: look again at the nearest possible end. */
static void arm_call_timer(struct upstream_call *c)
{
    int64_t wait = phase_limit(c);
    const struct site_config *s = c->site;
    if (s->first_byte_timeout_ms < wait)
        wait = s->first_byte_timeout_ms;
    if (s->idle_timeout_ms < wait)
        wait = s->idle_timeout_ms;
    uv_timer_start(&c->timer, on_call_timer, c->fail.kind != FAIL_NONE ? 0 : (uint64_t)wait, 0);
}

static struct connection *find_idle(struct upstream *u, const char *key)
{
    for (struct connection *n = u->connections; n; n = n->next) {
        if (n->state == IDLE && strcmp(n->key, key) == 0)
            return n;
    }
    return NULL;
}

static bool pool_is_full(const struct upstream_call *c)
{
    size_t count = 0;
    for (const struct connection *n = c->upstream->connections; n; n = n->next)
        count += strcmp(n->key, c->key) == 0;
    return c->site->pool.max && count >= (size_t)c->site->pool.max;
}

/* Takes an idle connection, makes one, or waits for the pool. Never calls back: what fails at once is told by the timer. */
static void call_begin(struct upstream_call *c)
{
    struct upstream *u = c->upstream;
    struct connection *n = c->retried ? NULL : find_idle(u, c->key);
    c->since_ms = uv_now(u->net.loop);
    if (n) {
        u->counters.reused++;
        n->call = c;
        c->connection = n;
        send_request(n);
    } else if (pool_is_full(c)) {
        c->phase = CALL_WAITING;
    } else {
        c->phase = CALL_CONNECTING;
        c->connection = connection_create(c, &c->fail);
    }
    arm_call_timer(c);
}

/* The call that has waited longest for this pool. */
static void start_waiting(struct upstream *u, const char *key)
{
    struct upstream_call *oldest = NULL;
    for (struct upstream_call *c = u->calls; c; c = c->next) {
        if (c->phase == CALL_WAITING && !c->over && c->fail.kind == FAIL_NONE &&
            strcmp(c->key, key) == 0)
            oldest = c;
    }
    if (oldest && (find_idle(u, key) || !pool_is_full(oldest)))
        call_begin(oldest);
}

static char *pool_key(const struct site_config *site, struct span account)
{
    char *key = NULL;
    const struct proxy_config *p = &site->proxy;
    if (asprintf(&key, "%d|%.*s|%d|%d|%.*s|%d|%.*s|%.*s|%.*s|%.*s", site->tls,
                 SPAN_ARGS(site->host), site->port, (int)p->kind, SPAN_ARGS(p->host), p->port,
                 SPAN_ARGS(p->user), SPAN_ARGS(site->settings.name), SPAN_ARGS(account),
                 SPAN_ARGS(site->ca_file)) < 0)
        return NULL;
    return key;
}

struct upstream_call *upstream_start(struct upstream *u, const struct site_config *site,
                                     struct span account_name, const struct site_request *req,
                                     const struct upstream_handler *handler, struct fail *fail)
{
    struct upstream_call *c = calloc(1, sizeof *c);
    if (!c) {
        fail_memory(fail);
        return NULL;
    }
    buffer_init(&c->head, HEAD_LIMIT);
    c->key = pool_key(site, account_name);
    if (!c->key)
        fail_memory(fail);
    if (!c->key || http_client_head(&c->head, site, req, fail)) {
        buffer_free(&c->head);
        free(c->key);
        free(c);
        return NULL;
    }
    c->upstream = u;
    c->site = site;
    c->body = req->body;
    c->handler = *handler;
    c->next = u->calls;
    if (c->next)
        c->next->prev = c;
    u->calls = c;
    uv_timer_init(u->net.loop, &c->timer);
    c->timer.data = c;
    u->net.handles++;
    u->counters.requests++;
    call_begin(c);
    return c;
}

void upstream_pause(struct upstream_call *c)
{
    c->paused = true;
    if (c->connection && c->connection->state == BUSY)
        byte_stream_pause(c->connection->stream);
}

void upstream_resume(struct upstream_call *c)
{
    c->paused = false;
    c->since_ms = uv_now(c->upstream->net.loop);
    if (c->connection && c->connection->state == BUSY)
        byte_stream_resume(c->connection->stream);
}

void upstream_cancel(struct upstream_call *c, bool finished)
{
    struct connection *n = c->connection;
    c->connection = NULL;
    if (n) {
        n->call = NULL;
        if (finished &&
            n->state == BUSY) { /* the rest is short: read it away and keep the connection */
            http_reader_mute(&n->reader);
            n->state = DRAINING;
            n->drained = 0;
            byte_stream_resume(n->stream);
            set_deadline(n, DRAIN_MS);
        } else {
            connection_close(n);
        }
    }
    call_free(c);
}

/* ---- closing -------------------------------------------------------------------------------------------------- */

void upstream_forget_idle(struct upstream *u)
{
    for (struct connection *n = u->connections, *next; n; n = next) {
        next = n->next;
        if (n->state == IDLE)
            connection_close(n);
    }
}

static void on_reaper_closed(uv_handle_t *handle)
{
    struct upstream *u = handle->data;
    void (*closed)(void *) = u->closed;
    void *arg = u->closed_arg;
    free(handle);
    upstream_free(u);
    closed(arg);
}

static void on_reap(uv_timer_t *timer)
{
    struct upstream *u = timer->data;
    if (u->net.handles)
        return;
    uv_timer_stop(timer);
    uv_close((uv_handle_t *)timer, on_reaper_closed);
}

void upstream_destroy(struct upstream *u, void (*closed)(void *), void *arg)
{
    while (u->connections)
        connection_close(u->connections);
    u->closed = closed;
    u->closed_arg = arg;
    u->reaper = malloc(sizeof *u->reaper);
    if (!u->reaper)
        abort(); /* at the end of the program */
    uv_timer_init(u->net.loop, u->reaper);
    u->reaper->data = u;
    uv_timer_start(u->reaper, on_reap, 0, 5);
}
