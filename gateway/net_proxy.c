/*
 * gateway/net_proxy.c - a tunnel through an HTTP (CONNECT, RFC 9110 9.3.6) or SOCKS5 (RFC 1928,
 * 1929) proxy.
 *
 * A short dialogue, then everything passes through untouched. Each step of the dialogue names how
 * it reads the proxy's next reply; the bytes of replies gather in a small bounded buffer because
 * they may arrive in any pieces. What follows the last reply already belongs to the tunnel. With
 * socks5 we resolve the site's name ourselves, with socks5h the proxy does.
 */
#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/net_streams.h"

enum { REPLY_MAX = 16 * 1024, HELLO_MAX = 4096, LABEL_MAX = 300 };

enum proxy_step {
    PROXY_CONNECTING,    /* the stream below is opening */
    PROXY_RESOLVING,     /* socks5: the site's name */
    PROXY_HTTP_ANSWER,   /* the head of the answer to CONNECT */
    PROXY_SOCKS_METHOD,  /* which authentication it wants */
    PROXY_SOCKS_AUTH,    /* whether it liked ours */
    PROXY_SOCKS_CONNECT, /* whether it reached the site */
    PROXY_OPEN,
    PROXY_FAILED
};

struct net_proxy {
    struct byte_stream base;
    struct net *net;
    enum proxy_step step;
    int kind; /* PROXY_HTTP, PROXY_SOCKS5, PROXY_SOCKS5H */
    char *user, *password;
    size_t user_n, password_n;
    struct net_lookup *lookup;
    struct sockaddr_storage resolved; /* family 0: send the name */
    struct buffer in, out;
    bool writing; /* our question is still leaving: its reply, should it overtake us, waits */
    bool ended;   /* the proxy has said its last */
    bool stopped;
    char proxy_label[LABEL_MAX], site_label[LABEL_MAX];
    int port;
    char host[];
};

static struct net_proxy *proxy_of(struct byte_stream *s) { return (struct net_proxy *)s; }

static void proxy_fail(struct net_proxy *p, const struct fail *fail)
{
    p->step = PROXY_FAILED;
    p->base.events->on_fail(p->base.up, fail);
}

#define PROXY_FAIL(p, ...)                                                                         \
    do {                                                                                           \
        struct fail said_;                                                                         \
        fail_set(&said_, FAIL_UNREACHABLE, __VA_ARGS__);                                           \
        proxy_fail((p), &said_);                                                                   \
    } while (0)

static void closed_early(struct net_proxy *p)
{
    PROXY_FAIL(p, "%s closed the connection when asked for a tunnel to %s", p->proxy_label,
               p->site_label);
}

/* Sends what was written into `out` and waits for the reply that `step` reads. */
static void ask(struct net_proxy *p, enum proxy_step step)
{
    if (p->out.error) {
        PROXY_FAIL(p, "%s cannot be asked for %s: the request is too long", p->proxy_label,
                   p->site_label);
        return;
    }
    if (p->ended) {
        closed_early(p);
        return;
    }
    p->step = step;
    p->writing = true;
    struct span bytes = buffer_span(&p->out);
    byte_stream_write(p->base.below, &bytes, 1);
}

static void become_open(struct net_proxy *p)
{
    if (p->ended) {
        closed_early(p);
        return;
    }
    p->step = PROXY_OPEN;
    p->base.phase = NULL;
    p->stopped = true;
    byte_stream_read_stop(p->base.below);
    buffer_shrink(&p->out, 0);
    p->base.events->on_open(p->base.up);
}

/* ---- HTTP CONNECT ---- */

static void base64(struct buffer *to, const char *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        unsigned char b[3] = {0};
        memcpy(b, bytes + i, have);
        char q[4] = {digits[b[0] >> 2], digits[(b[0] & 3) << 4 | b[1] >> 4],
                     have > 1 ? digits[(b[1] & 15) << 2 | b[2] >> 6] : '=',
                     have > 2 ? digits[b[2] & 63] : '='};
        buffer_append(to, span_of(q, 4));
    }
}

static void http_ask(struct net_proxy *p)
{
    buffer_clear(&p->out);
    buffer_printf(&p->out, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", p->site_label, p->site_label);
    if (p->user_n || p->password_n) {
        char both[1024];
        if (p->user_n + p->password_n + 1 > sizeof both) {
            PROXY_FAIL(p, "the user and password for %s are too long", p->proxy_label);
            return;
        }
        memcpy(both, p->user, p->user_n);
        both[p->user_n] = ':';
        memcpy(both + p->user_n + 1, p->password, p->password_n);
        buffer_append(&p->out, SPAN("Proxy-Authorization: Basic "));
        base64(&p->out, both, p->user_n + p->password_n + 1);
        buffer_append(&p->out, SPAN("\r\n"));
    }
    buffer_append(&p->out, SPAN("\r\n"));
    ask(p, PROXY_HTTP_ANSWER);
}

/* The length of a complete head at the start of `s`, 0 when it is not complete. */
static size_t head_length(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '\n')
            continue;
        if (i + 1 < s.n && s.p[i + 1] == '\n')
            return i + 2;
        if (i + 2 < s.n && s.p[i + 1] == '\r' && s.p[i + 2] == '\n')
            return i + 3;
    }
    return 0;
}

/* Of "HTTP/1.1 200 Connection established"; -1 when it is not one. */
static int status_of(struct span head)
{
    uint64_t status;
    if (!span_starts(head, SPAN("HTTP/1.")) || head.n < 12 || head.p[8] != ' ' ||
        !span_to_u64(span_of(head.p + 9, 3), 999, &status))
        return -1;
    return (int)status;
}

static void http_answer(struct net_proxy *p)
{
    for (;;) {
        size_t n = head_length(buffer_span(&p->in));
        int status = status_of(buffer_span(&p->in));
        if ((n || p->in.n >= 12) && status < 100) {
            PROXY_FAIL(p, "%s does not answer as an HTTP proxy does", p->proxy_label);
            return;
        }
        if (n == 0 && p->in.n > REPLY_MAX)
            PROXY_FAIL(p, "%s sent a reply that is far too long", p->proxy_label);
        if (n == 0)
            return;
        buffer_consume(&p->in, n);
        if (status < 200)
            continue;
        if (status < 300)
            become_open(p);
        else if (status == 407 && p->user_n == 0)
            PROXY_FAIL(p,
                       "%s wants a user and password (407): write them into the site's proxy URL",
                       p->proxy_label);
        else if (status == 407)
            PROXY_FAIL(p, "%s refused the user and password of the site's proxy URL (407)",
                       p->proxy_label);
        else
            PROXY_FAIL(p, "%s answered %d when asked for a tunnel to %s", p->proxy_label, status,
                       p->site_label);
        return;
    }
}

/* ---- SOCKS5 ---- */

static void socks_hello(struct net_proxy *p)
{
    if (p->user_n > 255 || p->password_n > 255 || strlen(p->host) > 255) {
        PROXY_FAIL(p, "user, password or host name are too long for %s (SOCKS allows 255 bytes)",
                   p->proxy_label);
        return;
    }
    buffer_clear(&p->out);
    buffer_append(&p->out, p->user_n ? SPAN("\x05\x02\x00\x02") : SPAN("\x05\x01\x00"));
    ask(p, PROXY_SOCKS_METHOD);
}

static void socks_connect(struct net_proxy *p)
{
    struct buffer *out = &p->out;
    struct in_addr v4;
    struct in6_addr v6;
    const void *a4 = NULL, *a6 = NULL;
    if (p->resolved.ss_family == AF_INET)
        a4 = &((const struct sockaddr_in *)&p->resolved)->sin_addr;
    else if (p->resolved.ss_family == AF_INET6)
        a6 = &((const struct sockaddr_in6 *)&p->resolved)->sin6_addr;
    else if (uv_inet_pton(AF_INET, p->host, &v4) == 0)
        a4 = &v4;
    else if (uv_inet_pton(AF_INET6, p->host, &v6) == 0)
        a6 = &v6;

    buffer_clear(out);
    buffer_append(out, SPAN("\x05\x01\x00"));
    if (a4) {
        buffer_char(out, 1);
        buffer_append(out, span_of(a4, 4));
    } else if (a6) {
        buffer_char(out, 4);
        buffer_append(out, span_of(a6, 16));
    } else {
        buffer_char(out, 3);
        buffer_char(out, (char)strlen(p->host));
        buffer_append(out, span_str(p->host));
    }
    buffer_char(out, (char)(p->port >> 8));
    buffer_char(out, (char)p->port);
    ask(p, PROXY_SOCKS_CONNECT);
}

static void socks_method(struct net_proxy *p)
{
    if (p->in.n < 2)
        return;
    unsigned char version = (unsigned char)p->in.p[0], method = (unsigned char)p->in.p[1];
    buffer_consume(&p->in, 2);
    if (version != 5) {
        PROXY_FAIL(p, "%s does not speak SOCKS5", p->proxy_label);
    } else if (method == 0) {
        socks_connect(p);
    } else if (method == 2 && p->user_n) {
        buffer_clear(&p->out);
        buffer_char(&p->out, 1);
        buffer_char(&p->out, (char)p->user_n);
        buffer_append(&p->out, span_of(p->user, p->user_n));
        buffer_char(&p->out, (char)p->password_n);
        buffer_append(&p->out, span_of(p->password, p->password_n));
        ask(p, PROXY_SOCKS_AUTH);
    } else if (p->user_n) {
        PROXY_FAIL(p, "%s accepts no authentication that we know", p->proxy_label);
    } else {
        PROXY_FAIL(p, "%s wants a user and password: write them into the site's proxy URL",
                   p->proxy_label);
    }
}

static void socks_auth(struct net_proxy *p)
{
    if (p->in.n < 2)
        return;
    unsigned char status = (unsigned char)p->in.p[1];
    buffer_consume(&p->in, 2);
    if (status == 0)
        socks_connect(p);
    else
        PROXY_FAIL(p, "%s refused the user and password of the site's proxy URL", p->proxy_label);
}

static const char *socks_reply(unsigned code)
{
    static const char *const replies[] = {
        "succeeded",
        "its general failure",
        "its rules forbid it",
        "the network is unreachable",
        "the host is unreachable",
        "the connection was refused",
        "it took too long (TTL expired)",
        "it does not know CONNECT",
        "it does not know this kind of address",
    };
    return code < sizeof replies / sizeof replies[0] ? replies[code] : "an unknown reply";
}

static void socks_connected(struct net_proxy *p)
{
    const unsigned char *b = (const unsigned char *)p->in.p;
    if (p->in.n < 2)
        return;
    if (b[0] != 5) {
        PROXY_FAIL(p, "%s does not speak SOCKS5", p->proxy_label);
        return;
    }
    if (b[1] != 0) {
        PROXY_FAIL(p, "%s could not connect to %s: %s (SOCKS reply %u)", p->proxy_label,
                   p->site_label, socks_reply(b[1]), b[1]);
        return;
    }
    if (p->in.n < 5)
        return;
    size_t address = b[3] == 1 ? 4 : b[3] == 4 ? 16 : b[3] == 3 ? 1 + (size_t)b[4] : 0;
    if (address == 0) {
        PROXY_FAIL(p, "%s does not speak SOCKS5", p->proxy_label);
        return;
    }
    if (p->in.n < 4 + address + 2)
        return;
    buffer_consume(&p->in, 4 + address + 2);
    become_open(p);
}

static void on_site_resolved(void *arg, int status, const struct addrinfo *list)
{
    struct net_proxy *p = arg;
    p->lookup = NULL;
    const struct addrinfo *best = NULL; /* IPv4 where there is one: fewer proxies have IPv6 */
    for (const struct addrinfo *a = status ? NULL : list; a; a = a->ai_next) {
        if (a->ai_family == AF_INET || (a->ai_family == AF_INET6 && !best))
            best = a;
        if (a->ai_family == AF_INET)
            break;
    }
    if (!best) {
        struct fail fail;
        net_lookup_fail(&fail, p->host, status ? status : UV_EAI_NODATA);
        proxy_fail(p, &fail);
        return;
    }
    memcpy(&p->resolved, best->ai_addr, best->ai_addrlen);
    p->step = PROXY_CONNECTING;
    p->base.phase = NULL;
    byte_stream_open(p->base.below);
}

/* ---- what the stream below says ---- */

static void on_below_open(void *up)
{
    struct net_proxy *p = up;
    p->base.phase = "waiting for the proxy";
    byte_stream_read_start(p->base.below);
    if (p->kind == PROXY_HTTP)
        http_ask(p);
    else
        socks_hello(p);
}

/* Replies that came before they were asked for wait until the question has left. */
static void reply_arrived(struct net_proxy *p)
{
    for (enum proxy_step before = PROXY_FAILED; p->step != before && !p->writing;) {
        before = p->step;
        switch (p->step) {
        case PROXY_HTTP_ANSWER: http_answer(p); break;
        case PROXY_SOCKS_METHOD: socks_method(p); break;
        case PROXY_SOCKS_AUTH: socks_auth(p); break;
        case PROXY_SOCKS_CONNECT: socks_connected(p); break;
        default: return;
        }
    }
}

static void on_below_read(void *up, struct span bytes)
{
    struct net_proxy *p = up;
    if (p->step == PROXY_OPEN && !p->stopped && p->in.n == 0) {
        p->base.events->on_read(p->base.up, bytes);
        return;
    }
    if (p->step == PROXY_FAILED)
        return;
    bool in_dialogue = p->step != PROXY_OPEN;
    if (buffer_append(&p->in, bytes) != 0 || (in_dialogue && p->writing && p->in.n > REPLY_MAX)) {
        PROXY_FAIL(p, "%s sent a reply that is far too long", p->proxy_label);
        return;
    }
    if (in_dialogue && !p->writing)
        reply_arrived(p);
}

static void on_below_read_done(void *up)
{
    struct net_proxy *p = up;
    if (p->step == PROXY_OPEN && !p->stopped)
        p->base.events->on_read_done(p->base.up);
}

static void on_below_eof(void *up)
{
    struct net_proxy *p = up;
    if (p->step == PROXY_OPEN) {
        p->base.events->on_eof(p->base.up);
        return;
    }
    p->writing = false;
    p->ended = true;
    if (p->in.n) /* a refusal may arrive before all of our question has left */
        reply_arrived(p);
    if (p->step != PROXY_FAILED)
        closed_early(p);
}

static void on_below_written(void *up)
{
    struct net_proxy *p = up;
    p->writing = false;
    if (p->step == PROXY_OPEN)
        p->base.events->on_written(p->base.up);
    else if (p->in.n)
        reply_arrived(p);
}

static void on_below_fail(void *up, const struct fail *fail)
{
    struct net_proxy *p = up;
    if (p->step != PROXY_FAILED)
        proxy_fail(p, fail);
}

static void on_below_closed(void *up)
{
    struct net_proxy *p = up;
    p->base.events->on_closed(p->base.up);
    explicit_bzero(p->password, p->password_n);
    if (p->out.p)
        explicit_bzero(p->out.p, p->out.cap);
    buffer_free(&p->in);
    buffer_free(&p->out);
    free(p->user);
    free(p->password);
    free(p);
}

/* ---- what the stream above asks ---- */

static void proxy_open(struct byte_stream *base)
{
    struct net_proxy *p = proxy_of(base);
    struct sockaddr_storage literal;
    bool is_literal = uv_inet_pton(AF_INET, p->host, &literal) == 0 ||
                      uv_inet_pton(AF_INET6, p->host, &literal) == 0;
    if (p->kind == PROXY_SOCKS5 && !is_literal) {
        p->step = PROXY_RESOLVING;
        p->base.phase = "resolving the name";
        p->lookup = net_lookup_start(p->net->loop, p->host, p->port, on_site_resolved, p);
        if (p->lookup)
            return;
        p->step = PROXY_CONNECTING; /* memory is short: let the proxy resolve it */
    }
    byte_stream_open(p->base.below);
}

static void proxy_write(struct byte_stream *base, const struct span *pieces, size_t n)
{
    byte_stream_write(base->below, pieces, n);
}

static bool proxy_write_now(struct byte_stream *base, const struct span *pieces, size_t n)
{
    return byte_stream_write_now(base->below, pieces, n);
}

static void proxy_read_start(struct byte_stream *base)
{
    struct net_proxy *p = proxy_of(base);
    p->stopped = false;
    if (p->in.n) { /* what came in one read with the proxy's last reply */
        struct buffer first = p->in;
        buffer_init(&p->in, REPLY_MAX + NET_BUFFER_SIZE);
        p->base.events->on_read(p->base.up, buffer_span(&first));
        if (p->step == PROXY_OPEN)
            p->base.events->on_read_done(p->base.up);
        buffer_free(&first);
    }
    if (p->step == PROXY_OPEN && !p->stopped)
        byte_stream_read_start(p->base.below);
}

static void proxy_read_stop(struct byte_stream *base)
{
    proxy_of(base)->stopped = true;
    byte_stream_read_stop(base->below);
}

static size_t proxy_unsent(const struct byte_stream *base)
{
    return byte_stream_unsent(base->below);
}

static void proxy_last_words(struct byte_stream *base, struct span words)
{
    byte_stream_last_words(base->below, words);
}

static void proxy_close(struct byte_stream *base)
{
    struct net_proxy *p = proxy_of(base);
    if (p->lookup)
        net_lookup_cancel(p->lookup);
    p->lookup = NULL;
    p->step = PROXY_FAILED;
    p->stopped = true;
    byte_stream_close(base->below);
}

static char *copy(struct span s)
{
    char *p = malloc(s.n + 1);
    if (p) {
        if (s.n)
            memcpy(p, s.p, s.n);
        p[s.n] = '\0';
    }
    return p;
}

struct byte_stream *net_proxy_create(struct net *net, struct byte_stream *below,
                                     const struct proxy_config *config, const char *host, int port)
{
    static const struct byte_stream_ops ops = {proxy_open,      proxy_write,     proxy_read_start,
                                               proxy_read_stop, proxy_unsent,    proxy_last_words,
                                               proxy_close,     proxy_write_now, NULL};
    static const struct byte_stream_events below_events = {
        on_below_open,    on_below_read, on_below_read_done, on_below_eof,
        on_below_written, on_below_fail, on_below_closed};
    size_t n = strlen(host) + 1;
    struct net_proxy *p = calloc(1, sizeof *p + n);
    if (!p)
        return NULL;
    p->user = copy(config->user);
    p->password = copy(config->password);
    if (!p->user || !p->password) {
        free(p->user);
        free(p->password);
        free(p);
        return NULL;
    }
    p->base.ops = &ops;
    p->base.below = below;
    p->net = net;
    p->kind = (int)config->kind;
    p->user_n = config->user.n;
    p->password_n = config->password.n;
    p->port = port;
    p->stopped = true;
    memcpy(p->host, host, n);
    buffer_init(&p->in, REPLY_MAX + NET_BUFFER_SIZE);
    buffer_init(&p->out, HELLO_MAX);
    net_label(p->site_label, sizeof p->site_label, host, port);
    char name[256], label[LABEL_MAX - 16];
    snprintf(name, sizeof name, "%.*s", SPAN_ARGS(config->host));
    net_label(label, sizeof label, name, config->port);
    snprintf(p->proxy_label, sizeof p->proxy_label, "the proxy %s", label);
    byte_stream_listen(below, &below_events, p);
    return &p->base;
}
