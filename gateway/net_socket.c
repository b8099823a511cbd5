/*
 * gateway/net_socket.c - the bottom of every connection: names, addresses and one TCP socket.
 *
 * Happy eyeballs (RFC 8305): addresses of both families take turns, the next one starts 250 ms
 * after the last or at once when it failed, the first to connect wins and the others are closed.
 * The hard part is lifetime: a lookup cannot always be cancelled, so it is an object of its own
 * that forgets who asked; the socket itself goes when its last handle is closed.
 */
#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/net_streams.h"

enum { ADDRESSES_MAX = 8, STAGGER_MS = 250, KEEPALIVE_S = 60, LABEL_MAX = 300 };

/* ---- names ---- */

/* libuv lets only half of its threads look names up at a time, and a name server that says nothing
 * holds one for seconds: so a name is asked for once, however many wait for it. */
struct question {
    uv_getaddrinfo_t request;
    struct question *next;
    struct net_lookup *waiting;
    int port;
    char host[];
};

struct net_lookup {
    struct net_lookup *next;
    struct question *question;
    void (*done)(void *arg, int status, const struct addrinfo *);
    void *arg;
};

static _Thread_local struct question *questions; /* of this thread's loop */

static void forget_question(struct question *q)
{
    struct question **at = &questions;
    while (*at && *at != q)
        at = &(*at)->next;
    if (*at)
        *at = q->next;
}

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct question *q = request->data;
    forget_question(q);
    while (q->waiting) { /* each may cancel others */
        struct net_lookup *lookup = q->waiting;
        q->waiting = lookup->next;
        lookup->done(lookup->arg, status, list);
        free(lookup);
    }
    uv_freeaddrinfo(list);
    free(q);
}

static struct question *question_ask(uv_loop_t *loop, const char *host, int port)
{
    for (struct question *q = questions; q; q = q->next) {
        if (q->port == port && q->request.loop == loop && strcmp(q->host, host) == 0)
            return q;
    }
    struct question *q = calloc(1, sizeof *q + strlen(host) + 1);
    if (!q)
        return NULL;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    strcpy(q->host, host);
    q->port = port;
    q->request.data = q;
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    if (uv_getaddrinfo(loop, &q->request, on_looked_up, host, service, &hints) != 0) {
        free(q);
        return NULL;
    }
    q->next = questions;
    questions = q;
    return q;
}

struct net_lookup *net_lookup_start(uv_loop_t *loop, const char *host, int port,
                                    void (*done)(void *arg, int status, const struct addrinfo *),
                                    void *arg)
{
    struct net_lookup *lookup = calloc(1, sizeof *lookup);
    struct question *q = lookup ? question_ask(loop, host, port) : NULL;
    if (!q) {
        free(lookup);
        return NULL;
    }
    *lookup = (struct net_lookup){q->waiting, q, done, arg};
    q->waiting = lookup;
    return lookup;
}

void net_lookup_cancel(struct net_lookup *lookup)
{
    struct question *q = lookup->question;
    struct net_lookup **at = &q->waiting;
    while (*at != lookup)
        at = &(*at)->next;
    *at = lookup->next;
    free(lookup);
    /* One that has begun goes on, and whoever asks next waits for it. */
    if (!q->waiting && uv_cancel((uv_req_t *)&q->request) == 0)
        forget_question(q);
}

void net_lookup_fail(struct fail *fail, const char *host, int status)
{
    const char *why =
        status == UV_EAI_NONAME || status == UV_EAI_NODATA || status == UV_EAI_ADDRFAMILY
            ? "no such name (check how it is spelt in the configuration)"
        : status == UV_EAI_AGAIN ? "no name server answers; is the network up?"
                                 : uv_strerror(status);
    fail_set(fail, FAIL_UNREACHABLE, "cannot resolve %s: %s", host, why);
}

void net_label(char *to, size_t room, const char *host, int port)
{
    snprintf(to, room, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
}

/* ---- a stream that nobody listens to ---- */

static void ignore(void *up) {}
static void ignore_read(void *up, struct span bytes) {}
static void ignore_fail(void *up, const struct fail *fail) {}

void byte_stream_discard(struct byte_stream *s)
{
    static const struct byte_stream_events nobody = {ignore, ignore_read, ignore, ignore,
                                                     ignore, ignore_fail, ignore};
    byte_stream_listen(s, &nobody, NULL);
    byte_stream_close(s);
}

/* ---- the socket ---- */

struct net_socket;

/* One address being tried; the winner's stays. Freed when its handle is closed. */
struct attempt {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct net_socket *socket;
};

struct net_socket {
    struct byte_stream base;
    struct net *net;
    struct net_lookup *lookup;
    const struct address_rule *only; /* NULL = any address */
    uv_timer_t timer; /* the next attempt, or a failure that was found too early to be told */
    struct sockaddr_in6 addresses[ADDRESSES_MAX]; /* has room for a sockaddr_in as well */
    size_t n_addresses, next;
    struct attempt *attempts[ADDRESSES_MAX];
    size_t pending; /* attempts under way */
    struct attempt *won;
    int error; /* the most telling one of the failed attempts */
    uv_write_t write;
    size_t handles;
    bool closing, writing;
    char label[LABEL_MAX];
    int port;
    char host[];
};

static struct net_socket *socket_of(struct byte_stream *s) { return (struct net_socket *)s; }

static void on_handle_gone(struct net_socket *s)
{
    if (--s->handles > 0)
        return;
    assert(s->closing);
    struct net *net = s->net;
    s->base.events->on_closed(s->base.up);
    free(s);
    net_release(net);
}

static void on_timer_closed(uv_handle_t *handle) { on_handle_gone(handle->data); }

static void on_attempt_closed(uv_handle_t *handle)
{
    struct attempt *a = handle->data;
    struct net_socket *s = a->socket;
    free(a);
    on_handle_gone(s);
}

static void attempt_close(struct net_socket *s, struct attempt *a)
{
    for (size_t i = 0; i < s->n_addresses; i++) {
        if (s->attempts[i] == a)
            s->attempts[i] = NULL;
    }
    uv_close((uv_handle_t *)&a->tcp, on_attempt_closed);
}

/* Which of two failures says more: "refused" tells more than "no route", which an absent address
 * family gives. */
static int telling(int error)
{
    switch (error) {
    case 0: return 0;
    case UV_ENETUNREACH:
    case UV_EADDRNOTAVAIL:
    case UV_EAFNOSUPPORT:
    case UV_EHOSTUNREACH: return 1;
    default: return 2;
    }
}

static void note_error(struct net_socket *s, int error)
{
    if (telling(error) > telling(s->error))
        s->error = error;
}

static void report_no_address(struct net_socket *s)
{
    struct fail fail;
    fail_set(&fail, FAIL_UNSUPPORTED, "%s is not the address of a public server", s->label);
    s->base.events->on_fail(s->base.up, &fail);
}

static void report(struct net_socket *s)
{
    struct fail fail;
    if (s->only && s->n_addresses == 0) {
        report_no_address(s);
        return;
    }
    switch (s->error) {
    case UV_ECONNREFUSED:
        fail_set(
            &fail, FAIL_UNREACHABLE,
            "%s refused the connection: nothing listens there (is it running? is the port right?)",
            s->label);
        break;
    case UV_ETIMEDOUT: fail_set(&fail, FAIL_UNREACHABLE, "%s did not answer", s->label); break;
    default:
        fail_set(&fail, FAIL_UNREACHABLE, "cannot connect to %s: %s", s->label,
                 uv_strerror(s->error));
    }
    s->base.events->on_fail(s->base.up, &fail);
}

static void on_report_timer(uv_timer_t *timer) { report(timer->data); }
static void next_attempt(struct net_socket *s);
static void on_stagger(uv_timer_t *timer) { next_attempt(timer->data); }

static void on_connect(uv_connect_t *request, int status)
{
    struct attempt *a = request->data;
    struct net_socket *s = a->socket;
    if (status == UV_ECANCELED || s->closing || s->won)
        return;
    s->pending--;
    if (status != 0) {
        note_error(s, status);
        attempt_close(s, a);
        if (s->next < s->n_addresses)
            next_attempt(s);
        else if (s->pending == 0)
            report(s);
        return;
    }
    s->won = a;
    uv_timer_stop(&s->timer);
    for (size_t i = 0; i < s->n_addresses; i++) {
        if (s->attempts[i] && s->attempts[i] != a)
            attempt_close(s, s->attempts[i]);
    }
    uv_tcp_nodelay(&a->tcp, 1);
    uv_tcp_keepalive(&a->tcp, 1, KEEPALIVE_S);
    s->base.phase = NULL;
    s->base.events->on_open(s->base.up);
}

static int attempt_start(struct net_socket *s, size_t i)
{
    struct attempt *a = calloc(1, sizeof *a);
    if (!a)
        return UV_ENOMEM;
    int error = uv_tcp_init(s->net->loop, &a->tcp);
    if (error) {
        free(a);
        return error;
    }
    s->handles++;
    s->attempts[i] = a;
    a->socket = s;
    a->tcp.data = a;
    a->connect.data = a;
    error =
        uv_tcp_connect(&a->connect, &a->tcp, (const struct sockaddr *)&s->addresses[i], on_connect);
    if (error)
        attempt_close(s, a);
    else
        s->pending++;
    return error;
}

static void next_attempt(struct net_socket *s)
{
    while (s->next < s->n_addresses) {
        int error = attempt_start(s, s->next++);
        if (!error) {
            if (s->next < s->n_addresses)
                uv_timer_start(&s->timer, on_stagger, STAGGER_MS, 0);
            return;
        }
        note_error(s, error);
    }
    if (s->pending == 0)
        uv_timer_start(&s->timer, on_report_timer, 0, 0);
}

static bool may_use(const struct net_socket *s, const struct sockaddr *address)
{
    if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
        return false;
    return !s->only || address_rule_allows_sockaddr(s->only, address);
}

/* Families take turns, beginning with the one the system prefers. */
static void take_addresses(struct net_socket *s, const struct addrinfo *list)
{
    const struct addrinfo *turn[2] = {list, list}; /* [0]: the preferred family, [1]: all others */
    int preferred = list ? list->ai_family : AF_UNSPEC;
    for (int which = 0; s->n_addresses < ADDRESSES_MAX && (turn[0] || turn[1]); which ^= 1) {
        const struct addrinfo *a = turn[which];
        while (a && ((a->ai_family == preferred) != (which == 0) || !may_use(s, a->ai_addr)))
            a = a->ai_next;
        if (a)
            memcpy(&s->addresses[s->n_addresses++], a->ai_addr,
                   a->ai_addrlen < sizeof s->addresses[0] ? a->ai_addrlen : sizeof s->addresses[0]);
        turn[which] = a ? a->ai_next : NULL;
    }
}

static void on_addresses(void *arg, int status, const struct addrinfo *list)
{
    struct net_socket *s = arg;
    s->lookup = NULL;
    if (status == 0)
        take_addresses(s, list);
    if (s->n_addresses == 0 && s->only) {
        report_no_address(s);
        return;
    }
    if (s->n_addresses == 0) {
        struct fail fail;
        net_lookup_fail(&fail, s->host, status ? status : UV_EAI_NODATA);
        s->base.events->on_fail(s->base.up, &fail);
        return;
    }
    s->base.phase = "connecting";
    next_attempt(s);
}

static void socket_open(struct byte_stream *base)
{
    struct net_socket *s = socket_of(base);
    s->base.phase = "connecting";
    if (uv_ip4_addr(s->host, s->port, (struct sockaddr_in *)&s->addresses[0]) == 0 ||
        uv_ip6_addr(s->host, s->port, &s->addresses[0]) == 0) {
        s->n_addresses = may_use(s, (const struct sockaddr *)&s->addresses[0]);
        next_attempt(s);
        return;
    }
    s->base.phase = "resolving the name";
    s->lookup = net_lookup_start(s->net->loop, s->host, s->port, on_addresses, s);
    if (!s->lookup) {
        s->error = UV_ENOMEM;
        uv_timer_start(&s->timer, on_report_timer, 0, 0);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct attempt *a = handle->data;
    *buf = uv_buf_init(a->socket->net->read_buffer, NET_BUFFER_SIZE);
}

static void on_socket_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct net_socket *s = ((struct attempt *)stream->data)->socket;
    if (n == 0 || s->closing)
        return;
    if (n > 0) {
        s->base.events->on_read(s->base.up, span_of(buf->base, (size_t)n));
        if (!s->closing)
            s->base.events->on_read_done(s->base.up);
        return;
    }
    uv_read_stop(stream);
    if (n == UV_EOF) {
        s->base.events->on_eof(s->base.up);
        return;
    }
    struct fail fail;
    if (n == UV_ECONNRESET)
        fail_set(&fail, FAIL_CUT, "%s reset the connection", s->label);
    else
        fail_set(&fail, FAIL_CUT, "the connection to %s failed: %s", s->label, uv_strerror((int)n));
    s->base.events->on_fail(s->base.up, &fail);
}

static void socket_read_start(struct byte_stream *base)
{
    struct net_socket *s = socket_of(base);
    if (s->won && !s->closing)
        uv_read_start((uv_stream_t *)&s->won->tcp, on_alloc,
                      on_socket_read); /* already started: harmless */
}

static void socket_read_stop(struct byte_stream *base)
{
    struct net_socket *s = socket_of(base);
    if (s->won && !s->closing)
        uv_read_stop((uv_stream_t *)&s->won->tcp);
}

static void on_socket_written(uv_write_t *request, int status)
{
    struct net_socket *s = request->data;
    s->writing = false;
    if (status == 0 && !s->closing)
        s->base.events->on_written(s->base.up);
}

static void socket_write(struct byte_stream *base, const struct span *pieces, size_t n)
{
    struct net_socket *s = socket_of(base);
    assert(s->won && !s->closing && !s->writing && n <= BYTE_STREAM_PIECES_MAX);
    uv_buf_t bufs[BYTE_STREAM_PIECES_MAX];
    for (size_t i = 0; i < n; i++) {
        bufs[i].base = (char *)(uintptr_t)pieces[i].p;
        bufs[i].len = pieces[i].n;
    }
    s->write.data = s;
    /* An error here is the socket's, and reading will meet it too. */
    s->writing =
        uv_write(&s->write, (uv_stream_t *)&s->won->tcp, bufs, (unsigned)n, on_socket_written) == 0;
}

static size_t socket_unsent(const struct byte_stream *base)
{
    const struct net_socket *s = (const struct net_socket *)base;
    return s->won ? uv_stream_get_write_queue_size((const uv_stream_t *)&s->won->tcp) : 0;
}

static void socket_last_words(struct byte_stream *base, struct span words)
{
    struct net_socket *s = socket_of(base);
    uv_buf_t buf = {.base = (char *)(uintptr_t)words.p, .len = words.n};
    if (s->won && !s->closing && !s->writing && words.n)
        uv_try_write((uv_stream_t *)&s->won->tcp, &buf, 1);
}

static void socket_close(struct byte_stream *base)
{
    struct net_socket *s = socket_of(base);
    if (s->closing)
        return;
    s->closing = true;
    if (s->lookup)
        net_lookup_cancel(s->lookup);
    for (size_t i = 0; i < s->n_addresses; i++) {
        if (s->attempts[i])
            attempt_close(s, s->attempts[i]);
    }
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

void net_socket_only(struct byte_stream *base, const struct address_rule *rule)
{
    socket_of(base)->only = rule;
}

struct byte_stream *net_socket_create(struct net *net, const char *host, int port,
                                      const char *label)
{
    static const struct byte_stream_ops ops = {socket_open,      socket_write,  socket_read_start,
                                               socket_read_stop, socket_unsent, socket_last_words,
                                               socket_close};
    size_t n = strlen(host) + 1;
    struct net_socket *s = calloc(1, sizeof *s + n);
    if (!s)
        return NULL;
    s->base.ops = &ops;
    s->net = net;
    s->port = port;
    memcpy(s->host, host, n);
    snprintf(s->label, sizeof s->label, "%s", label);
    uv_timer_init(net->loop, &s->timer);
    s->timer.data = s;
    s->handles = 1;
    net_hold(net);
    return &s->base;
}
