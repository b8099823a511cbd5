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
#include <sys/socket.h>

#include "gateway/net_streams.h"

enum { ADDRESSES_MAX = 8, STAGGER_MS = 250, KEEPALIVE_S = 60 };

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

/* What is needed until one address has answered: each attempt is a TCP handle of its own, and the
 * winner's stays the socket's. It goes when its timer and all other attempts are closed. */
struct opening {
    struct net_socket *socket;
    struct net_lookup *lookup;
    uv_timer_t timer; /* the next attempt, or a failure that was found too early to be told */
    struct sockaddr_in6 addresses[ADDRESSES_MAX]; /* has room for a sockaddr_in as well */
    uv_connect_t connects[ADDRESSES_MAX];
    uv_tcp_t *attempts[ADDRESSES_MAX]; /* NULL: not begun, or over */
    size_t n_addresses, next;
    size_t pending; /* attempts under way */
    size_t handles; /* its timer, and attempts that are not closed */
    int error;      /* the most telling one of the failed attempts */
    bool over;
};

struct net_socket {
    struct byte_stream base;
    struct net *net;
    const struct address_rule *only; /* NULL = any address */
    struct opening *opening;         /* NULL: over, and closed */
    uv_tcp_t *tcp;                   /* the winner; NULL before */
    uv_write_t *write;               /* a write that did not leave at once; else NULL */
    const char *host, *label;
    int port;
    bool closing;
    struct prefetch prefetch;
};

static struct net_socket *socket_of(struct byte_stream *s) { return (struct net_socket *)s; }

static void free_if_closed(struct net_socket *s)
{
    if (!s->closing || s->opening || s->tcp)
        return;
    struct net *net = s->net;
    assert(!s->write);
    s->base.events->on_closed(s->base.up);
    free(s);
    net_release(net);
}

static void on_tcp_closed(uv_handle_t *handle)
{
    struct net_socket *s = handle->data;
    s->tcp = NULL;
    free(handle);
    free_if_closed(s);
}

/* One handle less of its opening. */
static void opening_release(struct opening *o)
{
    struct net_socket *s = o->socket;
    if (--o->handles > 0)
        return;
    s->opening = NULL;
    free(o);
    free_if_closed(s);
}

static void on_timer_closed(uv_handle_t *handle) { opening_release(handle->data); }

static void on_attempt_closed(uv_handle_t *handle)
{
    struct net_socket *s = handle->data;
    free(handle);
    opening_release(s->opening);
}

static void attempt_close(struct opening *o, uv_tcp_t *tcp)
{
    for (size_t i = 0; i < o->n_addresses; i++) {
        if (o->attempts[i] == tcp)
            o->attempts[i] = NULL;
    }
    uv_close((uv_handle_t *)tcp, on_attempt_closed);
}

/* It has come to its end, whatever that was. */
static void opening_end(struct opening *o)
{
    if (o->over)
        return;
    o->over = true;
    if (o->lookup)
        net_lookup_cancel(o->lookup);
    for (size_t i = 0; i < o->n_addresses; i++) {
        if (o->attempts[i])
            attempt_close(o, o->attempts[i]);
    }
    uv_close((uv_handle_t *)&o->timer, on_timer_closed);
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

static void note_error(struct opening *o, int error)
{
    if (telling(error) > telling(o->error))
        o->error = error;
}

static void report_no_address(struct net_socket *s)
{
    struct fail fail;
    fail_set(&fail, FAIL_UNSUPPORTED, "%s is not the address of a public server", s->label);
    s->base.events->on_fail(s->base.up, &fail);
}

static void report(struct opening *o)
{
    struct net_socket *s = o->socket;
    struct fail fail;
    if (s->only && o->n_addresses == 0) {
        report_no_address(s);
        return;
    }
    switch (o->error) {
    case UV_ECONNREFUSED:
        fail_set(
            &fail, FAIL_UNREACHABLE,
            "%s refused the connection: nothing listens there (is it running? is the port right?)",
            s->label);
        break;
    case UV_ETIMEDOUT: fail_set(&fail, FAIL_UNREACHABLE, "%s did not answer", s->label); break;
    default:
        fail_set(&fail, FAIL_UNREACHABLE, "cannot connect to %s: %s", s->label,
                 uv_strerror(o->error));
    }
    s->base.events->on_fail(s->base.up, &fail);
}

static void on_report_timer(uv_timer_t *timer) { report(timer->data); }
static void next_attempt(struct opening *o);
static void on_stagger(uv_timer_t *timer) { next_attempt(timer->data); }

/* This attempt is the socket's from now on. */
static void attempt_won(struct opening *o, uv_tcp_t *tcp)
{
    struct net_socket *s = o->socket;
    for (size_t i = 0; i < o->n_addresses; i++) {
        if (o->attempts[i] == tcp)
            o->attempts[i] = NULL;
    }
    s->tcp = tcp;
    o->handles--; /* its timer is still there */
    opening_end(o);
    uv_tcp_nodelay(tcp, 1);
    uv_tcp_keepalive(tcp, 1, KEEPALIVE_S);
    s->base.phase = NULL;
    s->base.events->on_open(s->base.up);
}

static void on_connect(uv_connect_t *request, int status)
{
    struct opening *o = request->data;
    uv_tcp_t *tcp = (uv_tcp_t *)request->handle;
    if (status == UV_ECANCELED || o->over)
        return;
    o->pending--;
    if (status == 0) {
        attempt_won(o, tcp);
        return;
    }
    note_error(o, status);
    attempt_close(o, tcp);
    if (o->next < o->n_addresses)
        next_attempt(o);
    else if (o->pending == 0)
        report(o);
}

static int attempt_start(struct opening *o, size_t i)
{
    uv_tcp_t *tcp = malloc(sizeof *tcp);
    if (!tcp)
        return UV_ENOMEM;
    int error = uv_tcp_init(o->socket->net->loop, tcp);
    if (error) {
        free(tcp);
        return error;
    }
    o->handles++;
    o->attempts[i] = tcp;
    tcp->data = o->socket;
    o->connects[i].data = o;
    error =
        uv_tcp_connect(&o->connects[i], tcp, (const struct sockaddr *)&o->addresses[i], on_connect);
    if (error)
        attempt_close(o, tcp);
    else
        o->pending++;
    return error;
}

static void next_attempt(struct opening *o)
{
    while (o->next < o->n_addresses) {
        int error = attempt_start(o, o->next++);
        if (!error) {
            if (o->next < o->n_addresses)
                uv_timer_start(&o->timer, on_stagger, STAGGER_MS, 0);
            return;
        }
        note_error(o, error);
    }
    if (o->pending == 0)
        uv_timer_start(&o->timer, on_report_timer, 0, 0);
}

static bool may_use(const struct net_socket *s, const struct sockaddr *address)
{
    if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
        return false;
    return !s->only || address_rule_allows_sockaddr(s->only, address);
}

/* Families take turns, beginning with the one the system prefers. */
static void take_addresses(struct opening *o, const struct addrinfo *list)
{
    const struct addrinfo *turn[2] = {list, list}; /* [0]: the preferred family, [1]: all others */
    int preferred = list ? list->ai_family : AF_UNSPEC;
    for (int which = 0; o->n_addresses < ADDRESSES_MAX && (turn[0] || turn[1]); which ^= 1) {
        const struct addrinfo *a = turn[which];
        while (a &&
               ((a->ai_family == preferred) != (which == 0) || !may_use(o->socket, a->ai_addr)))
            a = a->ai_next;
        if (a)
            memcpy(&o->addresses[o->n_addresses++], a->ai_addr,
                   a->ai_addrlen < sizeof o->addresses[0] ? a->ai_addrlen : sizeof o->addresses[0]);
        turn[which] = a ? a->ai_next : NULL;
    }
}

static void on_addresses(void *arg, int status, const struct addrinfo *list)
{
    struct opening *o = arg;
    struct net_socket *s = o->socket;
    o->lookup = NULL;
    if (status == 0)
        take_addresses(o, list);
    if (o->n_addresses == 0 && s->only) {
        report_no_address(s);
        return;
    }
    if (o->n_addresses == 0) {
        struct fail fail;
        net_lookup_fail(&fail, s->host, status ? status : UV_EAI_NODATA);
        s->base.events->on_fail(s->base.up, &fail);
        return;
    }
    s->base.phase = "connecting";
    next_attempt(o);
}

static void socket_open(struct byte_stream *base)
{
    struct net_socket *s = socket_of(base);
    struct opening *o = s->opening;
    s->base.phase = "connecting";
    if (uv_ip4_addr(s->host, s->port, (struct sockaddr_in *)&o->addresses[0]) == 0 ||
        uv_ip6_addr(s->host, s->port, &o->addresses[0]) == 0) {
        o->n_addresses = may_use(s, (const struct sockaddr *)&o->addresses[0]);
        next_attempt(o);
        return;
    }
    s->base.phase = "resolving the name";
    o->lookup = net_lookup_start(s->net->loop, s->host, s->port, on_addresses, o);
    if (!o->lookup) {
        o->error = UV_ENOMEM;
        uv_timer_start(&o->timer, on_report_timer, 0, 0);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct net_socket *s = handle->data;
    prefetch_now(&s->prefetch);
    *buf = uv_buf_init(s->net->read_buffer, NET_BUFFER_SIZE);
}

static void on_socket_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct net_socket *s = stream->data;
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

static bool is_open(const struct net_socket *s) { return s->tcp && !s->closing; }

static void socket_read_start(struct byte_stream *base)
{
    struct net_socket *s = socket_of(base);
    if (is_open(s))
        uv_read_start((uv_stream_t *)s->tcp, on_alloc,
                      on_socket_read); /* already started: harmless */
}

static void socket_read_stop(struct byte_stream *base)
{
    struct net_socket *s = socket_of(base);
    if (is_open(s))
        uv_read_stop((uv_stream_t *)s->tcp);
}

/* ---- writing ---- */

static void on_socket_written(uv_write_t *request, int status)
{
    struct net_socket *s = request->data;
    free(request);
    s->write = NULL;
    if (status == 0 && !s->closing)
        s->base.events->on_written(s->base.up);
}

/* Without memory half of something has left: the reading side is told by the socket's end. */
static void cut_off(struct net_socket *s)
{
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)s->tcp, &fd) == 0)
        shutdown(fd, SHUT_RDWR);
}

/* An error here is the socket's, and reading will meet it too. */
static void write_bufs(struct net_socket *s, const uv_buf_t *bufs, size_t n)
{
    s->write = malloc(sizeof *s->write);
    if (!s->write) {
        cut_off(s);
        return;
    }
    s->write->data = s;
    if (uv_write(s->write, (uv_stream_t *)s->tcp, bufs, (unsigned)n, on_socket_written) != 0) {
        free(s->write);
        s->write = NULL;
    }
}

static void set_bufs(uv_buf_t *bufs, const struct span *pieces, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bufs[i].base = (char *)(uintptr_t)pieces[i].p;
        bufs[i].len = pieces[i].n;
    }
}

static void socket_write(struct byte_stream *base, const struct span *pieces, size_t n)
{
    struct net_socket *s = socket_of(base);
    uv_buf_t bufs[BYTE_STREAM_PIECES_MAX];
    assert(is_open(s) && !s->write && n <= BYTE_STREAM_PIECES_MAX);
    set_bufs(bufs, pieces, n);
    write_bufs(s, bufs, n);
}

/* One writev, and nothing else: a uv_write that is done at once still costs a turn of the loop and
 * an epoll_ctl. */
static bool socket_write_now(struct byte_stream *base, const struct span *pieces, size_t n)
{
    struct net_socket *s = socket_of(base);
    uv_buf_t bufs[BYTE_STREAM_PIECES_MAX];
    size_t first = 0;
    assert(is_open(s) && !s->write && n <= BYTE_STREAM_PIECES_MAX);
    set_bufs(bufs, pieces, n);
    int took = uv_try_write((uv_stream_t *)s->tcp, bufs, (unsigned)n);
    if (took < 0 && took != UV_EAGAIN)
        return false; /* the reading side tells */
    size_t left = took > 0 ? (size_t)took : 0;
    while (first < n && left >= bufs[first].len)
        left -= bufs[first++].len;
    if (first == n)
        return true;
    bufs[first].base += left;
    bufs[first].len -= left;
    write_bufs(s, bufs + first, n - first);
    return false;
}

static size_t socket_unsent(const struct byte_stream *base)
{
    const struct net_socket *s = (const struct net_socket *)base;
    return s->tcp ? uv_stream_get_write_queue_size((const uv_stream_t *)s->tcp) : 0;
}

static void socket_last_words(struct byte_stream *base, struct span words)
{
    struct net_socket *s = socket_of(base);
    uv_buf_t buf = {.base = (char *)(uintptr_t)words.p, .len = words.n};
    if (is_open(s) && !s->write && words.n)
        uv_try_write((uv_stream_t *)s->tcp, &buf, 1);
}

static void socket_close(struct byte_stream *base)
{
    struct net_socket *s = socket_of(base);
    if (s->closing)
        return;
    s->closing = true;
    if (s->opening)
        opening_end(s->opening);
    if (s->tcp)
        uv_close((uv_handle_t *)s->tcp, on_tcp_closed);
}

static void socket_prefetch(struct byte_stream *base, const struct prefetch *list)
{
    socket_of(base)->prefetch = *list;
}

void net_socket_only(struct byte_stream *base, const struct address_rule *rule)
{
    socket_of(base)->only = rule;
}

struct byte_stream *net_socket_create(struct net *net, const char *host, int port,
                                      const char *label)
{
    static const struct byte_stream_ops ops = {
        socket_open,       socket_write, socket_read_start, socket_read_stop, socket_unsent,
        socket_last_words, socket_close, socket_write_now,  socket_prefetch};
    struct net_socket *s = calloc(1, sizeof *s);
    struct opening *o = calloc(1, sizeof *o);
    if (!s || !o) {
        free(s);
        free(o);
        return NULL;
    }
    s->base.ops = &ops;
    s->net = net;
    s->opening = o;
    s->host = host;
    s->label = label;
    s->port = port;
    uv_timer_init(net->loop, &o->timer);
    o->timer.data = o;
    o->socket = s;
    o->handles = 1;
    net_hold(net);
    return &s->base;
}
