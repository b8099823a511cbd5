/*
 * gateway/net_socket.c - the lowest filter: a TCP connection to a name and port.
 *
 * Resolves on the thread pool, then tries every address, v6 and v4 in turn, the next one after 250 ms or as soon as one fails (RFC 8305); the first that connects wins. The hard part is
 * that look-ups, attempts and timers end later than the filter: each is an allocation of its own that forgets the filter when it closes.
 */
#include <stdlib.h>

#include "gateway/byte_stream.h"

enum { STAGGER_MS = 250, ADDRESSES_MAX = 16 };

struct net_socket;

struct lookup {
    uv_getaddrinfo_t req;
    struct net_context *net;
    struct net_socket *socket; /* NULL: nobody waits any more */
};

struct attempt {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct net_context *net;
    struct net_socket *socket; /* NULL: closing */
    struct attempt *next;
};

struct stagger {
    uv_timer_t timer;
    struct net_context *net;
    struct net_socket *socket;
};

struct write_job {
    uv_write_t req;
    struct net_context *net;
    size_t n;
    char bytes[];
};

struct net_socket {
    struct byte_stream base;
    struct net_context *net;
    char *host;
    int port;
    struct sockaddr_storage addresses[ADDRESSES_MAX];
    size_t n_addresses, next_address;
    struct lookup *lookup;
    struct attempt *attempts; /* connecting */
    struct attempt *live;     /* connected */
    struct stagger *stagger;
    int last_error;
    bool paused, ended, reading;
};

static struct net_socket *of(struct byte_stream *s) { return (struct net_socket *)s; }

/* ---- handles that outlive the filter ------------------------------------------------------------------- */

static void on_attempt_closed(uv_handle_t *handle)
{
    struct attempt *a = handle->data;
    a->net->handles--;
    free(a);
}

static void attempt_close(struct attempt *a)
{
    a->socket = NULL;
    uv_close((uv_handle_t *)&a->tcp, on_attempt_closed);
}

static void on_stagger_closed(uv_handle_t *handle)
{
    struct stagger *t = handle->data;
    t->net->handles--;
    free(t);
}

static void stop_stagger(struct net_socket *s)
{
    if (!s->stagger)
        return;
    s->stagger->socket = NULL;
    uv_close((uv_handle_t *)&s->stagger->timer, on_stagger_closed);
    s->stagger = NULL;
}

static void drop_attempts(struct net_socket *s)
{
    while (s->attempts) {
        struct attempt *a = s->attempts;
        s->attempts = a->next;
        attempt_close(a);
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

static void end(struct net_socket *s, const struct fail *fail)
{
    if (s->ended || s->base.closed)
        return;
    s->ended = true;
    if (s->live)
        uv_read_stop((uv_stream_t *)&s->live->tcp);
    s->base.up.on_end(s->base.up.owner, fail);
}

static void end_unreachable(struct net_socket *s, int error)
{
    struct fail fail;
    if (error == UV_ECONNREFUSED)
        fail_set(&fail, FAIL_UNREACHABLE, "%s:%d refused the connection", s->host, s->port);
    else if (error == UV_ETIMEDOUT)
        fail_set(&fail, FAIL_UNREACHABLE, "%s:%d does not answer", s->host, s->port);
    else
        fail_set(&fail, FAIL_UNREACHABLE, "cannot connect to %s:%d: %s", s->host, s->port,
                 uv_strerror(error));
    end(s, &fail);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct attempt *a = handle->data;
    *buf = uv_buf_init(a->net->read_buffer, NET_READ_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct attempt *a = stream->data;
    struct net_socket *s = a->socket;
    struct fail fail;
    if (!s || n == 0)
        return;
    byte_stream_hold(&s->base);
    if (n > 0) {
        s->base.up.on_data(s->base.up.owner, span_of(buf->base, (size_t)n));
        if (!s->base.closed)
            s->base.up.on_read_done(s->base.up.owner);
    } else if (n == UV_EOF) {
        end(s, NULL);
    } else {
        fail_set(&fail, FAIL_CUT, "%s broke the connection off: %s", s->host, uv_strerror((int)n));
        end(s, &fail);
    }
    byte_stream_release(&s->base);
}

static void set_reading(struct net_socket *s)
{
    bool wanted = s->live && !s->paused && !s->ended;
    if (wanted == s->reading)
        return;
    s->reading = wanted;
    if (wanted)
        uv_read_start((uv_stream_t *)&s->live->tcp, on_alloc, on_read);
    else if (s->live)
        uv_read_stop((uv_stream_t *)&s->live->tcp);
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static void try_next(struct net_socket *s);

static void on_connect(uv_connect_t *req, int status)
{
    struct attempt *a = req->data;
    struct net_socket *s = a->socket;
    if (!s)
        return;
    struct attempt **at = &s->attempts;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    byte_stream_hold(&s->base);
    if (status < 0) {
        s->last_error = status;
        attempt_close(a);
        try_next(s);
    } else {
        s->live = a;
        drop_attempts(s);
        stop_stagger(s);
        uv_tcp_nodelay(&a->tcp, 1);
        uv_tcp_keepalive(&a->tcp, 1, 60);
        set_reading(s);
        s->base.up.on_ready(s->base.up.owner);
    }
    byte_stream_release(&s->base);
}

/* Begins one attempt; false when it failed at once. */
static bool attempt_start(struct net_socket *s, const struct sockaddr *address)
{
    struct attempt *a = calloc(1, sizeof *a);
    if (!a) {
        s->last_error = UV_ENOMEM;
        return false;
    }
    a->net = s->net;
    a->socket = s;
    int error = uv_tcp_init(s->net->loop, &a->tcp);
    if (error) {
        s->last_error = error;
        free(a);
        return false;
    }
    s->net->handles++;
    a->tcp.data = a;
    a->connect.data = a;
    error = uv_tcp_connect(&a->connect, &a->tcp, address, on_connect);
    if (error) {
        s->last_error = error;
        attempt_close(a);
        return false;
    }
    a->next = s->attempts;
    s->attempts = a;
    return true;
}

static void on_stagger(uv_timer_t *timer)
{
    struct stagger *t = timer->data;
    if (!t->socket)
        return;
    byte_stream_hold(&t->socket->base);
    struct net_socket *s = t->socket;
    try_next(s);
    byte_stream_release(&s->base);
}

static void arm_stagger(struct net_socket *s)
{
    if (!s->stagger) {
        struct stagger *t = calloc(1, sizeof *t);
        if (!t)
            return;
        t->net = s->net;
        t->socket = s;
        uv_timer_init(s->net->loop, &t->timer);
        t->timer.data = t;
        s->net->handles++;
        s->stagger = t;
    }
    uv_timer_start(&s->stagger->timer, on_stagger, STAGGER_MS, 0);
}

static void try_next(struct net_socket *s)
{
    while (s->next_address < s->n_addresses) {
        if (attempt_start(s, (struct sockaddr *)&s->addresses[s->next_address++])) {
            if (s->next_address < s->n_addresses)
                arm_stagger(s);
            return;
        }
    }
    if (!s->attempts)
        end_unreachable(s, s->last_error);
}

/* v6 and v4 in turn, each family in the resolver's order. */
static void interleave(struct net_socket *s, const struct addrinfo *list)
{
    const struct addrinfo *six = list, *four = list;
    int family = list ? list->ai_family : AF_INET;
    while (s->n_addresses < ADDRESSES_MAX) {
        const struct addrinfo **at = family == AF_INET6 ? &six : &four;
        while (*at && (*at)->ai_family != family)
            *at = (*at)->ai_next;
        if (*at) {
            memcpy(&s->addresses[s->n_addresses++], (*at)->ai_addr, (*at)->ai_addrlen);
            *at = (*at)->ai_next;
        }
        family = family == AF_INET6 ? AF_INET : AF_INET6;
        while (six && six->ai_family != AF_INET6)
            six = six->ai_next;
        while (four && four->ai_family != AF_INET)
            four = four->ai_next;
        if (!six && !four)
            break;
    }
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct lookup *l = req->data;
    struct net_socket *s = l->socket;
    l->net->handles--;
    if (s) {
        s->lookup = NULL;
        byte_stream_hold(&s->base);
        if (status < 0) {
            struct fail fail;
            fail_set(&fail, FAIL_UNREACHABLE, "cannot resolve %s: %s", s->host,
                     uv_strerror(status));
            end(s, &fail);
        } else {
            interleave(s, list);
            s->last_error = UV_EADDRNOTAVAIL;
            try_next(s);
        }
        byte_stream_release(&s->base);
    }
    uv_freeaddrinfo(list);
    free(l);
}

static int start(struct byte_stream *base, struct fail *fail)
{
    struct net_socket *s = of(base);
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC, .ai_flags = AI_ADDRCONFIG};
    char port[8];
    /* A literal, or a name of this machine, must not fail because no other network is up. */
    struct sockaddr_in6 any;
    if (uv_inet_pton(AF_INET, s->host, &any) == 0 || uv_inet_pton(AF_INET6, s->host, &any) == 0)
        hints.ai_flags = AI_NUMERICHOST;
    else if (strcmp(s->host, "localhost") == 0)
        hints.ai_flags = 0;
    snprintf(port, sizeof port, "%d", s->port);
    struct lookup *l = calloc(1, sizeof *l);
    if (!l)
        return fail_memory(fail);
    l->net = s->net;
    l->socket = s;
    l->req.data = l;
    int error = uv_getaddrinfo(s->net->loop, &l->req, on_resolved, s->host, port, &hints);
    if (error) {
        free(l);
        return fail_set(fail, FAIL_UNREACHABLE, "cannot resolve %s: %s", s->host,
                        uv_strerror(error));
    }
    s->net->handles++;
    s->lookup = l;
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

enum { PIECES_MAX = 8 };

static void on_written(uv_write_t *req, int status)
{
    struct write_job *job = req->data; /* a failed write shows as a failed read as well */
    job->net->handles--;
    explicit_bzero(job->bytes, job->n); /* requests carry credentials */
    free(job);
}

static void write_rest(struct net_socket *s, const uv_buf_t *bufs, unsigned n, size_t done,
                       size_t total)
{
    struct write_job *job = malloc(sizeof *job + total - done);
    struct fail fail;
    if (!job) {
        fail_memory(&fail);
        end(s, &fail);
        return;
    }
    job->net = s->net;
    job->n = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t skip = done < bufs[i].len ? done : bufs[i].len;
        memcpy(job->bytes + job->n, bufs[i].base + skip, bufs[i].len - skip);
        job->n += bufs[i].len - skip;
        done -= skip;
    }
    job->req.data = job;
    uv_buf_t buf = uv_buf_init(job->bytes, (unsigned)job->n);
    if (uv_write(&job->req, (uv_stream_t *)&s->live->tcp, &buf, 1, on_written)) {
        free(job);
        return;
    }
    s->net->handles++;
}

static void write_pieces(struct byte_stream *base, const struct span *pieces, size_t n)
{
    struct net_socket *s = of(base);
    uv_buf_t bufs[PIECES_MAX];
    unsigned used = 0;
    size_t total = 0;
    if (!s->live || s->ended)
        return;
    for (size_t i = 0; i < n && used < PIECES_MAX; i++) {
        if (!pieces[i].n)
            continue;
        bufs[used++] = uv_buf_init((char *)(uintptr_t)pieces[i].p, (unsigned)pieces[i].n);
        total += pieces[i].n;
    }
    if (!total)
        return;
    int sent = uv_try_write((uv_stream_t *)&s->live->tcp, bufs, used);
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < total)
        write_rest(s, bufs, used, (size_t)sent, total);
}

/* ---- the filter ---------------------------------------------------------------------------------------------------- */

static void pause_reading(struct byte_stream *base)
{
    of(base)->paused = true;
    set_reading(of(base));
}

static void resume_reading(struct byte_stream *base)
{
    of(base)->paused = false;
    set_reading(of(base));
}

static void close_socket(struct byte_stream *base)
{
    struct net_socket *s = of(base);
    if (s->lookup) {
        s->lookup->socket = NULL;
        uv_cancel((uv_req_t *)&s->lookup->req);
        s->lookup = NULL;
    }
    drop_attempts(s);
    stop_stagger(s);
    if (s->live)
        attempt_close(s->live);
    s->live = NULL;
}

static void destroy(struct byte_stream *base)
{
    free(of(base)->host);
    free(base);
}

static const struct byte_stream_ops ops = {start,          write_pieces, pause_reading,
                                           resume_reading, close_socket, destroy};

struct byte_stream *net_socket_create(struct net_context *net, const char *host, int port)
{
    struct net_socket *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->base.ops = &ops;
    s->net = net;
    s->port = port;
    s->host = strdup(host);
    if (!s->host) {
        free(s);
        return NULL;
    }
    return &s->base;
}
