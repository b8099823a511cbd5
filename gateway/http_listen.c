/*
 * gateway/http_listen.c - listening sockets: resolve, bind, listen; unix sockets and what an
 * earlier run left of them.
 *
 * Plain system calls, no event loop: a set of listeners is opened whole before anything of it is
 * handed to libuv, so that a start or a reload that fails half-way has nothing to unwind but file
 * descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/http_server_internal.h"

enum { BACKLOG = 512, SOCKET_FLAGS = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC };

static int fail_listen(struct fail *f, const struct http_socket *s, int error)
{
    const char *hint = error == EADDRINUSE
                           ? " (is dragoman or another program running there? end it, or set "
                             "another address: \"listen\" in [server] of gateway.toml)"
                       : error == EACCES        ? " (ports below 1024 need privileges)"
                       : error == EADDRNOTAVAIL ? " (no interface of this machine has the address)"
                                                : "";
    if (s->is_unix && error == EACCES)
        hint = " (the directory does not let us write)";
    const char *what = error == EADDRINUSE ? "address already in use" : strerror(error);
    return fail_set(f, FAIL_INTERNAL, "cannot listen on %s: %s%s", s->text, what, hint);
}

/* ---- TCP ---- */

/* An errno as -1 has it, whatever closing says. */
static int give_up(int fd)
{
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int tcp_bind(const struct addrinfo *a, bool shared)
{
    int on = 1;
    int fd = socket(a->ai_family, SOCKET_FLAGS, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (shared)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    return bind(fd, a->ai_addr, a->ai_addrlen) ? give_up(fd) : fd;
}

static int tcp_open(const struct addrinfo *a, bool shared)
{
    int fd = tcp_bind(a, shared);
    return fd >= 0 && listen(fd, BACKLOG) ? give_up(fd) : fd;
}

static int bound_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a;
    socklen_t n = sizeof a;
    memset(&a, 0, sizeof a);
    if (getsockname(fd, &a.any, &n))
        return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

/* A shared port lets in every other program of the same user that shares it, too: first see that
 * nobody is there. */
static bool is_taken(const struct addrinfo *a)
{
    int fd = tcp_bind(a, false);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

static int open_tcp(struct http_socket *s, bool shared, bool first, struct fail *f)
{
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL, *a;
    char port[16];
    snprintf(port, sizeof port, "%d", s->port);
    int error = getaddrinfo(s->host, port, &hints, &list);
    if (error || !list)
        return fail_set(f, FAIL_INTERNAL, "cannot listen on %s: %s", s->text, gai_strerror(error));
    /* A name may have a v4 and a v6 address ("localhost"): the v4 one is what clients try with
     * fewer surprises. */
    for (a = list; a && a->ai_family != AF_INET; a = a->ai_next)
        ;
    a = a ? a : list;
    s->fd = shared && first && s->port && is_taken(a) ? -1 : tcp_open(a, shared);
    error = errno;
    freeaddrinfo(list);
    if (s->fd < 0)
        return fail_listen(f, s, error);
    s->port = bound_port(s->fd);
    return 0;
}

/* ---- unix ---- */

/* 0 when the name is free now, else an errno. A socket nobody listens on is what a killed process
 * leaves. */
static int clear_path(const struct sockaddr_un *name)
{
    struct stat st;
    if (lstat(name->sun_path, &st))
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(st.st_mode))
        return EEXIST;
    int fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
    if (fd < 0)
        return errno;
    int error = connect(fd, (const struct sockaddr *)name, sizeof *name) ? errno : 0;
    close(fd);
    if (error != ECONNREFUSED)
        return EADDRINUSE; /* somebody listens, perhaps with a full queue (EAGAIN) */
    return unlink(name->sun_path) && errno != ENOENT ? errno : 0;
}

static int bind_unix(struct http_socket *s, const struct sockaddr_un *name)
{
    struct stat st;
    /* The mode of the socket becomes the mode of its file: it is never open to others, not even for
     * a moment. */
    if (fchmod(s->fd, 0600) || bind(s->fd, (const struct sockaddr *)name, sizeof *name))
        return errno;
    if (chmod(s->host, 0600) || stat(s->host, &st) || listen(s->fd, BACKLOG)) {
        int error = errno;
        unlink(s->host);
        return error;
    }
    s->device = st.st_dev;
    s->inode = st.st_ino;
    return 0;
}

static int open_unix(struct http_socket *s, struct fail *f)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(s->host) >= sizeof name.sun_path)
        return fail_listen(f, s, ENAMETOOLONG);
    memcpy(name.sun_path, s->host, strlen(s->host) + 1);
    int error = clear_path(&name);
    if (error)
        return fail_listen(f, s, error);
    s->fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
    if (s->fd < 0)
        return fail_listen(f, s, errno);
    error = bind_unix(s, &name);
    if (!error)
        return 0;
    close(s->fd);
    s->fd = -1;
    return fail_listen(f, s, error);
}

/* ---- both ---- */

int http_socket_open_beside(struct http_socket *s, const struct http_socket *first, struct fail *f)
{
    *s = *first;
    s->device = s->inode = 0; /* the file is the first one's */
    if (!s->is_unix)
        return open_tcp(s, true, false, f);
    s->fd = fcntl(first->fd, F_DUPFD_CLOEXEC, 0);
    return s->fd < 0 ? fail_listen(f, s, errno) : 0;
}

int http_socket_open(struct http_socket *s, const struct listen_address *address, bool shared,
                     struct fail *f)
{
    *s = (struct http_socket){.fd = -1, .is_unix = address->is_unix, .port = address->port};
    snprintf(s->text, sizeof s->text, "%.*s", SPAN_ARGS(address->text));
    if (address->host.n >= sizeof s->host || address->text.n >= sizeof s->text)
        return fail_listen(f, s, ENAMETOOLONG);
    memcpy(s->host, address->host.p, address->host.n);
    return s->is_unix ? open_unix(s, f) : open_tcp(s, shared, true, f);
}

void http_socket_describe(struct http_socket *s, bool tls)
{
    bool v6 = strchr(s->host, ':') != NULL;
    if (s->is_unix)
        snprintf(s->url, sizeof s->url, "unix:%s", s->host);
    else
        snprintf(s->url, sizeof s->url, "%s://%s%s%s:%d", tls ? "https" : "http", v6 ? "[" : "",
                 s->host, v6 ? "]" : "", s->port);
}

void http_socket_close(struct http_socket *s)
{
    struct stat st;
    if (s->fd < 0)
        return;
    if (s->is_unix && stat(s->host, &st) == 0 && st.st_dev == s->device && st.st_ino == s->inode)
        unlink(s->host);
    close(s->fd);
    s->fd = -1;
}
