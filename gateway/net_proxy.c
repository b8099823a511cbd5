/*
 * gateway/net_proxy.c - tunnels through a proxy: HTTP CONNECT (RFC 9110 9.3.6) and SOCKS5 (RFC 1928, 1929).
 *
 * Both talk a short fixed dialogue over the stream below and then get out of the way. What the proxy sends is gathered until the dialogue's next answer is
 * whole; bytes beyond the last answer belong to the tunnel.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "gateway/byte_stream.h"

enum { ANSWER_LIMIT = 16 * 1024 };

enum tunnel_state {
    HTTP_ASKED,
    SOCKS_RESOLVE,
    SOCKS_METHODS,
    SOCKS_LOGIN,
    SOCKS_ASKED,
    TUNNEL_OPEN,
    TUNNEL_ENDED
};

struct tunnel {
    struct byte_stream base;
    struct byte_stream *below;
    struct proxy_config proxy; /* spans of the config */
    char *host;
    int port;
    enum tunnel_state state;
    struct buffer answer;
    /* socks5 (not socks5h): we resolve */
    struct net_context *net;
    struct tunnel_lookup *lookup;
    unsigned char address[16];
    size_t address_size; /* 0: let the proxy resolve */
};

struct tunnel_lookup {
    uv_getaddrinfo_t req;
    struct net_context *net;
    struct tunnel *tunnel;
};

static struct tunnel *of(struct byte_stream *s) { return (struct tunnel *)s; }

static void end(struct tunnel *t, const struct fail *fail)
{
    if (t->state == TUNNEL_ENDED || t->base.closed)
        return;
    t->state = TUNNEL_ENDED;
    t->base.up.on_end(t->base.up.owner, fail);
}

static void refuse(struct tunnel *t, const char *what)
{
    struct fail fail;
    fail_set(&fail, FAIL_UNREACHABLE, "the proxy %.*s:%d %s", SPAN_ARGS(t->proxy.host),
             t->proxy.port, what);
    end(t, &fail);
}

static void send_bytes(struct tunnel *t, const struct buffer *bytes)
{
    struct span piece = buffer_span(bytes);
    byte_stream_write(t->below, &piece, 1);
}

/* ---- HTTP CONNECT ---------------------------------------------------------------------------------------------- */

static void append_base64(struct buffer *out, struct span in)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < in.n; i += 3) {
        unsigned v = (unsigned)(unsigned char)in.p[i] << 16;
        v |= i + 1 < in.n ? (unsigned)(unsigned char)in.p[i + 1] << 8 : 0;
        v |= i + 2 < in.n ? (unsigned)(unsigned char)in.p[i + 2] : 0;
        char text[4] = {letters[v >> 18], letters[v >> 12 & 63],
                        i + 1 < in.n ? letters[v >> 6 & 63] : '=',
                        i + 2 < in.n ? letters[v & 63] : '='};
        buffer_append(out, span_of(text, 4));
    }
}

static void http_ask(struct tunnel *t)
{
    struct buffer request;
    bool v6 = strchr(t->host, ':') != NULL;
    buffer_init(&request, ANSWER_LIMIT);
    buffer_printf(&request, "CONNECT %s%s%s:%d HTTP/1.1\r\nHost: %s%s%s:%d\r\n", v6 ? "[" : "",
                  t->host, v6 ? "]" : "", t->port, v6 ? "[" : "", t->host, v6 ? "]" : "", t->port);
    if (t->proxy.user.n) {
        struct buffer login;
        buffer_init(&login, ANSWER_LIMIT);
        buffer_printf(&login, "%.*s:%.*s", SPAN_ARGS(t->proxy.user), SPAN_ARGS(t->proxy.password));
        buffer_append(&request, SPAN("Proxy-Authorization: Basic "));
        append_base64(&request, buffer_span(&login));
        buffer_append(&request, SPAN("\r\n"));
        buffer_free(&login);
    }
    buffer_append(&request, SPAN("\r\n"));
    t->state = HTTP_ASKED;
    send_bytes(t, &request);
    buffer_free(&request);
}

/* Bytes of the answer's head when it is whole, else 0. */
static size_t http_answer(struct tunnel *t)
{
    struct span text = buffer_span(&t->answer);
    ptrdiff_t at = span_find(text, SPAN("\r\n\r\n"));
    char what[80];
    if (at < 0)
        return 0;
    if (text.n < 12 || !span_starts(text, SPAN("HTTP/1.")) || text.p[8] != ' ') {
        refuse(t, "does not speak HTTP");
    } else if (text.p[9] == '2') {
        t->state = TUNNEL_OPEN;
    } else if (span_eq(span_of(text.p + 9, 3), SPAN("407"))) {
        refuse(t, t->proxy.user.n ? "refused the user or password (407)"
                                  : "wants a user and password (407)");
    } else {
        snprintf(what, sizeof what, "refused the tunnel with status %.3s", text.p + 9);
        refuse(t, what);
    }
    return (size_t)at + 4;
}

/* ---- SOCKS5 ---------------------------------------------------------------------------------------------------- */

static void socks_hello(struct tunnel *t)
{
    struct buffer hello;
    buffer_init(&hello, 16);
    buffer_append(&hello,
                  t->proxy.user.n ? span_of("\x05\x02\x00\x02", 4) : span_of("\x05\x01\x00", 3));
    t->state = SOCKS_METHODS;
    send_bytes(t, &hello);
    buffer_free(&hello);
}

static void socks_login(struct tunnel *t)
{
    struct buffer login;
    struct span user = span_first(t->proxy.user, 255),
                password = span_first(t->proxy.password, 255);
    buffer_init(&login, 1024);
    buffer_char(&login, 1);
    buffer_char(&login, (char)user.n);
    buffer_append(&login, user);
    buffer_char(&login, (char)password.n);
    buffer_append(&login, password);
    t->state = SOCKS_LOGIN;
    send_bytes(t, &login);
    buffer_free(&login);
}

static void socks_ask(struct tunnel *t)
{
    struct buffer ask;
    buffer_init(&ask, 1024);
    buffer_append(&ask, span_of("\x05\x01\x00", 3));
    if (t->address_size) {
        buffer_char(&ask, t->address_size == 4 ? 1 : 4);
        buffer_append(&ask, span_of((char *)t->address, t->address_size));
    } else {
        struct span host = span_first(span_str(t->host), 255);
        buffer_char(&ask, 3);
        buffer_char(&ask, (char)host.n);
        buffer_append(&ask, host);
    }
    buffer_char(&ask, (char)(t->port >> 8));
    buffer_char(&ask, (char)(t->port & 255));
    t->state = SOCKS_ASKED;
    send_bytes(t, &ask);
    buffer_free(&ask);
}

static const char *socks_reason(unsigned char code)
{
    static const char *const reasons[] = {"",
                                          "failed",
                                          "does not allow this connection",
                                          "cannot reach the site's network",
                                          "cannot reach the site's host",
                                          "says that the site refused the connection",
                                          "gave up waiting for the site",
                                          "does not know the CONNECT command",
                                          "does not know this kind of address"};
    return code < sizeof reasons / sizeof *reasons ? reasons[code] : "failed with an unknown code";
}

static size_t socks_answer(struct tunnel *t)
{
    const unsigned char *a = (const unsigned char *)t->answer.p;
    size_t n = t->answer.n;
    if (n < 2)
        return 0;
    if (t->state == SOCKS_METHODS) {
        if (a[0] != 5)
            refuse(t, "does not speak SOCKS5");
        else if (a[1] == 0)
            socks_ask(t);
        else if (a[1] == 2 && t->proxy.user.n)
            socks_login(t);
        else
            refuse(t, "accepts none of our ways to log in (does it want a user and password?)");
        return 2;
    }
    if (t->state == SOCKS_LOGIN) {
        if (a[1] == 0)
            socks_ask(t);
        else
            refuse(t, "refused the user or password");
        return 2;
    }
    if (a[0] != 5 || a[1] != 0) {
        refuse(t, a[0] == 5 ? socks_reason(a[1]) : "does not speak SOCKS5");
        return n;
    }
    if (n < 5)
        return 0;
    size_t size = a[3] == 1 ? 10 : a[3] == 4 ? 22 : a[3] == 3 ? 7u + a[4] : 0;
    if (!size) {
        refuse(t, "sent an answer that makes no sense");
        return n;
    }
    if (n < size)
        return 0;
    t->state = TUNNEL_OPEN;
    return size;
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct tunnel_lookup *l = req->data;
    struct tunnel *t = l->tunnel;
    l->net->handles--;
    if (t) {
        t->lookup = NULL;
        byte_stream_hold(&t->base);
        if (status < 0 || !list) {
            struct fail fail;
            fail_set(&fail, FAIL_UNREACHABLE,
                     "cannot resolve %s (socks5h:// lets the proxy do it): %s", t->host,
                     uv_strerror(status));
            end(t, &fail);
        } else {
            bool v4 = list->ai_family == AF_INET;
            t->address_size = v4 ? 4 : 16;
            memcpy(t->address,
                   v4 ? (void *)&((struct sockaddr_in *)list->ai_addr)->sin_addr
                      : (void *)&((struct sockaddr_in6 *)list->ai_addr)->sin6_addr,
                   t->address_size);
            socks_hello(t);
        }
        byte_stream_release(&t->base);
    }
    uv_freeaddrinfo(list);
    free(l);
}

static void socks_resolve(struct tunnel *t)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct tunnel_lookup *l = calloc(1, sizeof *l);
    t->state = SOCKS_RESOLVE;
    if (l) {
        l->net = t->net;
        l->tunnel = t;
        l->req.data = l;
        if (uv_getaddrinfo(t->net->loop, &l->req, on_resolved, t->host, NULL, &hints) == 0) {
            t->net->handles++;
            t->lookup = l;
            return;
        }
        free(l);
    }
    refuse(t, "could not be asked: the site's name cannot be resolved");
}

/* ---- the filter ------------------------------------------------------------------------------------------------- */

static void on_ready(void *owner)
{
    struct tunnel *t = owner;
    unsigned char literal[16];
    if (t->proxy.kind == PROXY_HTTP) {
        http_ask(t);
    } else if (inet_pton(AF_INET, t->host, literal) == 1) {
        memcpy(t->address, literal, t->address_size = 4);
        socks_hello(t);
    } else if (inet_pton(AF_INET6, t->host, literal) == 1) {
        memcpy(t->address, literal, t->address_size = 16);
        socks_hello(t);
    } else if (t->proxy.kind == PROXY_SOCKS5) {
        socks_resolve(t);
    } else {
        socks_hello(t);
    }
}

static void on_data(void *owner, struct span bytes)
{
    struct tunnel *t = owner;
    if (t->state == TUNNEL_OPEN) {
        t->base.up.on_data(t->base.up.owner, bytes);
        return;
    }
    byte_stream_hold(&t->base);
    if (buffer_append(&t->answer, bytes))
        refuse(t, "sent an endless answer");
    size_t used = 1;
    while (used && t->state < TUNNEL_OPEN && !t->base.closed && t->answer.n) {
        used = t->state == HTTP_ASKED ? http_answer(t) : socks_answer(t);
        buffer_consume(&t->answer, used);
    }
    if (t->state == TUNNEL_OPEN && !t->base.closed) {
        t->base.up.on_ready(t->base.up.owner);
        if (t->answer.n && !t->base.closed)
            t->base.up.on_data(t->base.up.owner, buffer_span(&t->answer));
        buffer_free(&t->answer);
    }
    byte_stream_release(&t->base);
}

static void on_read_done(void *owner)
{
    struct tunnel *t = owner;
    if (t->state == TUNNEL_OPEN)
        t->base.up.on_read_done(t->base.up.owner);
}

static void on_end(void *owner, const struct fail *fail)
{
    struct tunnel *t = owner;
    if (t->state == TUNNEL_OPEN || fail)
        end(t, fail);
    else
        refuse(t, "closed the connection before the tunnel was open");
}

static int start(struct byte_stream *base, struct fail *fail)
{
    return byte_stream_start(of(base)->below, fail);
}
static void write_pieces(struct byte_stream *base, const struct span *pieces, size_t n)
{
    byte_stream_write(of(base)->below, pieces, n);
}
static void pause_reading(struct byte_stream *base) { byte_stream_pause(of(base)->below); }
static void resume_reading(struct byte_stream *base) { byte_stream_resume(of(base)->below); }

static void close_tunnel(struct byte_stream *base)
{
    struct tunnel *t = of(base);
    if (t->lookup) {
        t->lookup->tunnel = NULL;
        t->lookup = NULL;
    }
    byte_stream_close(t->below);
}

static void destroy(struct byte_stream *base)
{
    buffer_free(&of(base)->answer);
    free(of(base)->host);
    free(base);
}

static const struct byte_stream_ops ops = {start,          write_pieces, pause_reading,
                                           resume_reading, close_tunnel, destroy};

static struct byte_stream *create(struct net_context *net, struct byte_stream *below,
                                  const struct proxy_config *proxy, const char *host, int port)
{
    struct tunnel *t = below ? calloc(1, sizeof *t) : NULL;
    char *copy = t ? strdup(host) : NULL;
    if (!copy) {
        free(t);
        if (below)
            byte_stream_close(below);
        return NULL;
    }
    t->base.ops = &ops;
    t->net = net;
    t->below = below;
    t->proxy = *proxy;
    t->host = copy;
    t->port = port;
    buffer_init(&t->answer, ANSWER_LIMIT + NET_READ_SIZE);
    below->up = (struct byte_stream_handler){on_ready, on_data, on_read_done, on_end, t};
    return &t->base;
}

struct byte_stream *net_http_proxy_create(struct byte_stream *below,
                                          const struct proxy_config *proxy, const char *host,
                                          int port)
{
    return create(NULL, below, proxy, host, port);
}

struct byte_stream *net_socks_create(struct net_context *net, struct byte_stream *below,
                                     const struct proxy_config *proxy, const char *host, int port)
{
    return create(net, below, proxy, host, port);
}
