/*
 * gateway/http_server.c - the server as a whole: listeners, accepting, limits, reload, stop.
 *
 * Owns the listeners and the list of connections; each connection looks after itself
 * (http_connection.c). We accept with our own accept4 behind a poll handle, not with uv_listen:
 * libuv answers a full table of file descriptors by dropping the clients that wait, we let them
 * wait in the kernel's queue for 100 ms.
 */
#include "gateway/http_server_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "gateway/log.h"

enum { ACCEPT_BATCH = 64, COMPLAIN_MS = 10 * 1000 };

/* ---- handles and the end ---- */

static void release_identity(struct tls_identity *identity)
{
    if (identity)
        tls_identity_release(identity);
}

void http_server_handle_closed(struct http_server *s)
{
    assert(s->open_handles > 0);
    if (--s->open_handles > 0 || !s->destroying)
        return;
    void (*closed)(void *) = s->closed;
    void *arg = s->closed_arg;
    release_identity(s->identity);
    config_unref(s->config);
    s->magic = 0;
    peer_count_free(&s->own_crowd.peers);
    http_intake_free(s->spare_intake);
    if (s->spare_head)
        buffer_free(s->spare_head);
    free(s->spare_head);
    spare_empty(&s->spare_exchanges);
    free(s);
    if (closed)
        closed(arg);
}

static void on_handle_closed(uv_handle_t *handle) { http_server_handle_closed(handle->data); }

static void on_handshakes_closed(void *server) { http_server_handle_closed(server); }

static void on_listener_closed(uv_handle_t *handle)
{
    struct http_listener *l = handle->data;
    struct http_server *s = l->server;
    free(l);
    http_server_handle_closed(s);
}

/* The port is free at once; the memory goes when libuv has let go of the handle. */
static void close_listener(struct http_listener *l)
{
    uv_poll_stop(&l->poll);
    http_socket_close(&l->socket);
    uv_close((uv_handle_t *)&l->poll, on_listener_closed);
}

static void close_listeners(struct http_server *s)
{
    while (s->listeners) {
        struct http_listener *l = s->listeners;
        s->listeners = l->next;
        close_listener(l);
    }
}

struct handshake_thread *http_server_handshakes(struct http_server *s)
{
    if (!s->handshakes) {
        s->handshakes = handshake_thread_create(s->loop);
        s->open_handles += s->handshakes != NULL;
    }
    return s->handshakes;
}

/* ---- accepting ---- */

static void on_pollable(uv_poll_t *poll, int status, int events);

static void accept_again(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    for (struct http_listener *l = s->listeners; l; l = l->next)
        uv_poll_start(&l->poll, UV_READABLE, on_pollable);
}

static void pause_accepting(struct http_server *s, int error)
{
    uint64_t now = uv_now(s->loop);
    if (!s->complained_ms || now - s->complained_ms >= COMPLAIN_MS) {
        s->complained_ms = now;
        log_warn("cannot accept connections: %s; %zu are open, new ones wait", strerror(error),
                 http_server_connections(s));
    }
    for (struct http_listener *l = s->listeners; l; l = l->next)
        uv_poll_stop(&l->poll);
    uv_timer_start(&s->accept_timer, accept_again, HTTP_ACCEPT_PAUSE_MS, 0);
}

static struct ip_address peer_address(const struct sockaddr_storage *from)
{
    struct ip_address ip = {.known = true};
    if (from->ss_family == AF_INET6) {
        memcpy(ip.bytes, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
    } else if (from->ss_family == AF_INET) {
        ip.bytes[10] = ip.bytes[11] = 0xFF;
        memcpy(ip.bytes + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
    } else {
        ip.known = false;
    }
    return ip;
}

static enum http_welcome welcome_of(const struct http_server *s, const struct ip_address *peer)
{
    size_t limit = s->config->max_connections > 0 ? (size_t)s->config->max_connections : SIZE_MAX;
    size_t of_one = config_connections_of(s->config, peer);
    if (s->crowd->n - s->crowd->n_refused >= limit)
        return HTTP_FULL;
    return of_one && peer_count_of(&s->crowd->peers, peer) >= of_one ? HTTP_FULL_FOR_ADDRESS
                                                                     : HTTP_WELCOME;
}

/* Inside the lock, so that two servers do not both take the last place. */
static void accepted(struct http_server *s, int fd, bool is_unix, const struct ip_address *peer)
{
    shared_enter(s->crowd->shared);
    enum http_welcome welcome = welcome_of(s, peer);
    if (welcome != HTTP_WELCOME && s->crowd->n_refused >= HTTP_REFUSED_MAX)
        close(fd);
    else
        http_connection_create(s, fd, is_unix, peer, welcome);
    shared_leave(s->crowd->shared);
}

void http_server_count_in(struct http_connection *c)
{
    struct http_crowd *crowd = c->server->crowd;
    shared_enter(crowd->shared);
    c->counted = c->refused == HTTP_WELCOME && config_connections_of(c->server->config, &c->peer) &&
                 peer_count_add(&crowd->peers, &c->peer) == 0;
    crowd->n++;
    crowd->n_refused += c->refused != HTTP_WELCOME;
    shared_leave(crowd->shared);
}

void http_server_count_out(const struct http_connection *c)
{
    struct http_crowd *crowd = c->server->crowd;
    shared_enter(crowd->shared);
    crowd->n--;
    crowd->n_refused -= c->refused != HTTP_WELCOME;
    if (c->counted)
        peer_count_remove(&crowd->peers, &c->peer);
    shared_leave(crowd->shared);
}

/* False: nobody waits any more, or accepting has to pause. */
static bool accept_one(struct http_listener *l)
{
    struct sockaddr_storage from = {0};
    socklen_t n = sizeof from;
    int fd = accept4(l->socket.fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        struct ip_address peer = peer_address(&from);
        accepted(l->server, fd, l->socket.is_unix, &peer);
        return true;
    }
    switch (errno) {
    case EAGAIN: return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: pause_accepting(l->server, errno); return false;
    default: return true; /* this client left (ECONNABORTED and its kin); the next may be fine */
    }
}

static void on_pollable(uv_poll_t *poll, int status, int events)
{
    struct http_listener *l = poll->data;
    if (status < 0)
        return;
    /* A batch, so that a flood of connections does not starve the ones that are served. */
    for (int i = 0; i < ACCEPT_BATCH && accept_one(l); i++)
        ;
}

/* ---- opening ---- */

static struct http_listener *find_listener(struct http_listener *list, struct span text)
{
    for (; list; list = list->next) {
        if (span_eq(span_str(list->socket.text), text))
            return list;
    }
    return NULL;
}

static bool is_wanted(const struct config *config, const struct http_listener *l)
{
    for (size_t i = 0; i < config->n_listen; i++) {
        if (span_eq(config->listen[i].text, span_str(l->socket.text)))
            return true;
    }
    return false;
}

static void drop_sockets(struct http_listener *list)
{
    while (list) {
        struct http_listener *l = list;
        list = l->next;
        http_socket_close(&l->socket);
        free(l);
    }
}

/* As the configuration says, or beside the first server's. */
static int open_socket(struct http_server *s, struct http_listener *l,
                       const struct listen_address *address, struct fail *f)
{
    if (s->first == s)
        return http_socket_open(&l->socket, address, s->shares_ports, f);
    const struct http_listener *first = find_listener(s->first->listeners, address->text);
    assert(first); /* it goes first */
    return http_socket_open_beside(&l->socket, &first->socket, f);
}

/* Opens what `config` has and `s` has not, in the config's order; no libuv handle yet. */
static int open_sockets(struct http_server *s, const struct config *config,
                        struct http_listener **list, struct fail *f)
{
    struct http_listener **end = list;
    *list = NULL;
    for (size_t i = 0; i < config->n_listen; i++) {
        if (find_listener(s->listeners, config->listen[i].text))
            continue;
        struct http_listener *l = calloc(1, sizeof *l);
        if (!l || open_socket(s, l, &config->listen[i], f)) {
            if (!l)
                fail_memory(f);
            free(l);
            drop_sockets(*list);
            return -1;
        }
        l->server = s;
        *end = l;
        end = &l->next;
    }
    return 0;
}

static int load_identity(const struct config *config, struct tls_identity **identity,
                         struct fail *f)
{
    *identity = NULL;
    if (config->tls_cert.n == 0 || config->tls_key.n == 0)
        return 0;
    *identity = tls_identity_load(config->tls_cert.p, config->tls_key.p, f);
    return *identity ? 0 : -1;
}

static void start_listeners(struct http_server *s, struct http_listener *list)
{
    struct http_listener **end = &s->listeners;
    while (*end)
        end = &(*end)->next;
    *end = list;
    for (; list; list = list->next) {
        int error = uv_poll_init(s->loop, &list->poll, list->socket.fd);
        assert(error == 0); /* a listening socket can be polled */
        (void)error;
        list->poll.data = list;
        s->open_handles++;
        uv_poll_start(&list->poll, UV_READABLE, on_pollable);
    }
}

/* From here on nothing can fail. */
static void put_in_force(struct http_server *s, struct config *config, struct http_listener *added,
                         struct tls_identity *identity)
{
    struct config *old = s->config;
    s->config = config_ref(config);
    config_unref(old);
    release_identity(s->identity);
    s->identity = identity;
    for (struct http_listener **at = &s->listeners; *at;) {
        struct http_listener *l = *at;
        if (is_wanted(config, l)) {
            at = &l->next;
        } else {
            *at = l->next;
            close_listener(l);
        }
    }
    start_listeners(s, added);
    for (struct http_listener *l = s->listeners; l; l = l->next)
        http_socket_describe(&l->socket, identity != NULL);
}

int http_server_reload(struct http_server *s, struct config *config, struct fail *f)
{
    struct tls_identity *identity;
    struct http_listener *added;
    assert(s->magic == HTTP_SERVER_MAGIC);
    if (load_identity(config, &identity, f))
        return -1;
    if (s->stopping) {
        added = NULL; /* the limits change, the listeners stay closed */
    } else if (open_sockets(s, config, &added, f)) {
        release_identity(identity);
        return -1;
    }
    put_in_force(s, config, added, identity);
    return 0;
}

static void on_again(uv_idle_t *idle)
{
    struct http_server *s = idle->data;
    struct http_connection *c = s->ready;
    s->ready = NULL;
    while (c) {
        struct http_connection *next = c->next_ready;
        c->in_ready = false;
        http_connection_again(c);
        c = next;
    }
    if (!s->ready)
        uv_idle_stop(idle);
}

/* Each at most once: what one sets anew for this very moment waits for the loop's next turn. */
static void on_clock(uv_timer_t *clock)
{
    struct http_server *s = clock->data;
    uint64_t now = uv_now(s->loop);
    for (size_t n = s->deadlines.n; n; n--) {
        struct deadline *due = deadlines_take(&s->deadlines, now);
        if (!due)
            break;
        http_connection_ring(due);
    }
    http_server_wind_clock(s);
}

void http_server_wind_clock(struct http_server *s)
{
    uint64_t at = deadlines_next(&s->deadlines);
    uint64_t now = uv_now(s->loop), wait = at > now ? at - now : 0;
    if (at == DEADLINE_NEVER || s->destroying)
        return;
    if (!uv_is_active((uv_handle_t *)&s->clock) || uv_timer_get_due_in(&s->clock) > wait)
        uv_timer_start(&s->clock, on_clock, wait, 0);
}

void http_server_again(struct http_connection *c)
{
    struct http_server *s = c->server;
    if (c->in_ready || s->destroying)
        return;
    c->in_ready = true;
    c->next_ready = s->ready;
    s->ready = c;
    uv_idle_start(&s->again, on_again);
}

/* `first` NULL: it is the first itself; `shared` NULL: and the only one. */
static struct http_server *create(uv_loop_t *loop, struct config *config,
                                  const struct http_handler *handler, struct http_server *first,
                                  struct shared *shared, struct fail *f)
{
    struct tls_identity *identity;
    struct http_listener *listeners;
    struct http_server *s = calloc(1, sizeof *s);
    if (!s) {
        fail_memory(f);
        return NULL;
    }
    s->magic = HTTP_SERVER_MAGIC;
    s->loop = loop;
    s->handler = *handler;
    s->clocks = HTTP_CLOCKS_DEFAULT;
    s->spare_exchanges.size = sizeof(struct http_exchange);
    s->own_crowd.shared = shared;
    s->shares_ports = shared != NULL;
    s->first = first ? first : s;
    s->crowd = &s->first->own_crowd;
    if (load_identity(config, &identity, f)) {
        free(s);
        return NULL;
    }
    if (open_sockets(s, config, &listeners, f)) {
        release_identity(identity);
        free(s);
        return NULL;
    }
    uv_timer_init(loop, &s->accept_timer);
    uv_timer_init(loop, &s->clock);
    uv_idle_init(loop, &s->again);
    s->accept_timer.data = s->clock.data = s->again.data = s;
    s->open_handles = 3;
    put_in_force(s, config, listeners, identity);
    return s;
}

struct http_server *http_server_create(uv_loop_t *loop, struct config *config,
                                       const struct http_handler *handler, struct fail *f)
{
    return create(loop, config, handler, NULL, NULL, f);
}

struct http_server *http_server_create_first(uv_loop_t *loop, struct config *config,
                                             const struct http_handler *handler,
                                             struct shared *shared, struct fail *f)
{
    return create(loop, config, handler, NULL, shared, f);
}

struct http_server *http_server_create_beside(struct http_server *first, uv_loop_t *loop,
                                              const struct http_handler *handler, struct fail *f)
{
    return create(loop, first->config, handler, first, first->crowd->shared, f);
}

/* ---- stopping ---- */

void http_server_stop(struct http_server *s)
{
    struct http_connection *next;
    assert(s->magic == HTTP_SERVER_MAGIC);
    s->stopping = true;
    uv_timer_stop(&s->accept_timer);
    close_listeners(s);
    for (struct http_connection *c = s->connections; c; c = next) {
        next = c->next;
        http_connection_stop(c);
    }
}

void http_server_destroy(struct http_server *s, void (*closed)(void *), void *arg)
{
    assert(s->magic == HTTP_SERVER_MAGIC && !s->destroying);
    s->destroying = s->stopping = true;
    s->closed = closed;
    s->closed_arg = arg;
    close_listeners(s);
    while (s->connections)
        http_connection_close(s->connections);
    for (; s->ready; s->ready = s->ready->next_ready)
        s->ready->in_ready = false; /* nobody may wait for a turn that does not come */
    if (s->handshakes)
        handshake_thread_close(s->handshakes, on_handshakes_closed, s);
    uv_close((uv_handle_t *)&s->accept_timer, on_handle_closed);
    uv_close((uv_handle_t *)&s->clock, on_handle_closed);
    uv_close((uv_handle_t *)&s->again, on_handle_closed);
}

/* ---- what can be asked ---- */

size_t http_server_connections(const struct http_server *s)
{
    shared_enter(s->crowd->shared);
    size_t n = s->crowd->n;
    shared_leave(s->crowd->shared);
    return n;
}

size_t http_server_unfinished(const struct http_server *s)
{
    size_t n = 0;
    for (const struct http_connection *c = s->connections; c; c = c->next)
        n += http_connection_is_unfinished(c);
    return n;
}

const char *http_server_url(const struct http_server *s, size_t i)
{
    const struct http_listener *l = s->listeners;
    while (l && i--)
        l = l->next;
    return l ? l->socket.url : NULL;
}

struct span http_server_date(struct http_server *s)
{
    int64_t now = time(NULL);
    if (now != s->date_s || !s->date[0]) {
        struct tm tm;
        time_t t = (time_t)now;
        gmtime_r(&t, &tm);
        strftime(s->date, sizeof s->date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        s->date_s = now;
    }
    return span_str(s->date);
}
