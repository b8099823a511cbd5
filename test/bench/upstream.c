/*
 * test/bench/upstream.c - a site that is far faster than any gateway: OpenAI's and z.ai's shape,
 * plain and TLS, one thread, edge-triggered epoll. What is asked for stands in the model's name
 * (bench.h); answers are rendered once (answers.h), a write carries as many chunks as are due.
 *
 *     bench_upstream [core=N] [ca=FILE]
 *
 * listens on ports that the kernel chooses and prints "plain PORT tls PORT"; the second is 0
 * without ca, the file where its certificate goes. GET /stats tells how many TLS handshakes there
 * were. Ends with SIGTERM, or with the process that started it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "test/bench/answers.h"
#include "test/bench/upstream_wire.h"

enum { KEPT = 8192, BLOCK = 128 * 1024, RECORD = 16 * 1024, EVENTS = 512, BACKLOG = 16384 };

enum source_kind { SOURCE_PLAIN, SOURCE_TLS, SOURCE_CONNECTION };
struct source {
    enum source_kind kind;
    int fd;
};

struct connection {
    struct source source; /* first: epoll's pointer */
    struct tls_wire *tls;
    size_t kept;                 /* of the request: head and the beginning of the body */
    size_t head;                 /* its length, 0 while it arrives */
    uint64_t left;               /* of the body; UINT64_MAX: chunked, until its end mark */
    char last[5];                /* the body's last bytes */
    bool close;                  /* after this answer */
    bool dead;                   /* freed when the events at hand are through */
    const struct answer *answer; /* on its way out; NULL: between two */
    size_t sent, allowed;
    unsigned due_frames;
    char cut_stamp[RECORD_STAMP]; /* of the frame in which `sent` lies */
    char retry_stamp[RECORD_STAMP];
    size_t retry; /* bytes that TLS wants again, unchanged */
    uint64_t due_ns;
    size_t timer; /* place in the heap plus one, 0: none */
    struct connection *next_dead;
    char in[KEPT];
};

static int poller;
static struct connection *dead_list;
static char block[BLOCK], scratch[BLOCK];

/* ---- when the next chunk of a paced stream is due: a heap ---- */

static struct connection **heap;
static size_t heap_n, heap_cap;

static void heap_put(size_t i, struct connection *c)
{
    heap[i] = c;
    c->timer = i + 1;
}

static void heap_up(size_t i, struct connection *c)
{
    for (; i && heap[(i - 1) / 2]->due_ns > c->due_ns; i = (i - 1) / 2)
        heap_put(i, heap[(i - 1) / 2]);
    heap_put(i, c);
}

static void heap_down(size_t i, struct connection *c)
{
    for (size_t child = 2 * i + 1; child < heap_n; child = 2 * i + 1) {
        if (child + 1 < heap_n && heap[child + 1]->due_ns < heap[child]->due_ns)
            child++;
        if (heap[child]->due_ns >= c->due_ns)
            break;
        heap_put(i, heap[child]);
        i = child;
    }
    heap_put(i, c);
}

static void timer_set(struct connection *c, uint64_t due_ns)
{
    c->due_ns = due_ns;
    if (c->timer) {
        heap_down(c->timer - 1, c);
        return;
    }
    if (heap_n == heap_cap) {
        heap_cap = heap_cap ? heap_cap * 2 : 1024;
        heap = realloc(heap, heap_cap * sizeof(struct connection *));
        if (!heap)
            abort();
    }
    heap_n++;
    heap_up(heap_n - 1, c);
}

static void timer_remove(struct connection *c)
{
    if (!c->timer)
        return;
    size_t i = c->timer - 1;
    struct connection *last = heap[--heap_n];
    c->timer = 0;
    if (last == c)
        return;
    if (i && heap[(i - 1) / 2]->due_ns > last->due_ns)
        heap_up(i, last);
    else
        heap_down(i, last);
}

/* ---- bytes ---- */

static ssize_t wire_read(struct connection *c, char *p, size_t n)
{
    if (c->tls)
        return tls_wire_read(c->tls, p, n);
    ssize_t got = recv(c->source.fd, p, n, 0);
    return got >= 0 ? got : errno == EAGAIN ? WIRE_WAIT : WIRE_BROKEN;
}

static ssize_t wire_write(struct connection *c, const char *p, size_t n)
{
    if (c->tls)
        return tls_wire_write(c->tls, p, n);
    ssize_t put = send(c->source.fd, p, n, MSG_NOSIGNAL);
    return put >= 0 ? put : errno == EAGAIN ? WIRE_WAIT : WIRE_BROKEN;
}

static void bury(struct connection *c)
{
    if (c->dead)
        return;
    c->dead = true;
    timer_remove(c);
    tls_wire_free(c->tls);
    close(c->source.fd);
    c->next_dead = dead_list;
    dead_list = c;
}

/* ---- answers ---- */

/* Notes with which stamp the frame was begun that was cut at the new `sent`. */
static void note_cut(struct connection *c, size_t from, const char *stamp)
{
    const struct answer *a = c->answer;
    if (!a->n_frames || c->sent <= a->first)
        return;
    size_t begin = a->first + (c->sent - a->first) / a->frame * a->frame;
    if (begin >= from)
        memcpy(c->cut_stamp, stamp, RECORD_STAMP);
}

/* Sends what is allowed; false when the connection broke. */
static bool send_allowed(struct connection *c)
{
    while (c->sent < c->allowed) {
        size_t most = c->tls ? RECORD : BLOCK, n = c->allowed - c->sent, from = c->sent;
        char stamp[RECORD_STAMP];
        n = n < most ? n : most;
        bench_write_stamp(stamp, bench_now_ns());
        if (c->retry) {
            n = c->retry;
            memcpy(stamp, c->retry_stamp, RECORD_STAMP);
        }
        answer_render(c->answer, from, n, stamp, c->cut_stamp, block);
        ssize_t put = wire_write(c, block, n);
        if (put == WIRE_BROKEN)
            return false;
        if (put == WIRE_WAIT) {
            if (c->tls) {
                c->retry = n;
                memcpy(c->retry_stamp, stamp, RECORD_STAMP);
            }
            return true;
        }
        c->retry = 0;
        c->sent += (size_t)put;
        note_cut(c, from, stamp);
    }
    return true;
}

/* After an answer's last byte: the connection is ready for the next request. */
static bool finish_answer(struct connection *c)
{
    if (!c->answer || c->sent < c->answer->n)
        return true;
    c->answer = NULL;
    c->kept = c->head = 0;
    c->left = 0;
    return !c->close;
}

/*
 * When a paced stream's second chunk comes: streams that began together must not beat together, or
 * a target that takes requests in batches would be measured by its batches for ever.
 */
static uint64_t first_gap_ns(const struct answer *a)
{
    static uint32_t phase;
    phase += 0x9E3779B9u; /* the golden ratio: evenly spread, whatever the number of streams */
    return a->wish.gap_us * 1000ull * phase >> 32;
}

static bool begin_answer(struct connection *c, const struct answer *a)
{
    c->answer = a;
    c->sent = 0;
    c->due_frames = 1;
    c->allowed = a->n;
    if (a->n_frames && a->wish.gap_us) {
        c->allowed = answer_end_of(a, 0);
        if (a->n_frames > 1)
            timer_set(c, bench_now_ns() + first_gap_ns(a));
    }
    return send_allowed(c) && finish_answer(c);
}

/* Everything whose time has come; returns how long to wait, in nanoseconds, -1 for ever. */
static int64_t send_due(void)
{
    while (heap_n) {
        struct connection *c = heap[0];
        uint64_t now = bench_now_ns();
        if (c->due_ns > now)
            return (int64_t)(c->due_ns - now);
        c->allowed = answer_end_of(c->answer, c->due_frames++);
        if (c->allowed < c->answer->n)
            timer_set(c, c->due_ns + c->answer->wish.gap_us * 1000ull);
        else
            timer_remove(c);
        if (!send_allowed(c) || !finish_answer(c))
            bury(c);
    }
    return -1;
}

/* Small things that are no chat: models, counters, refusals. Sent at once or not at all. */
static bool say(struct connection *c, const char *status, const char *body)
{
    char text[512];
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: "
                     "%zu\r\n\r\n%s",
                     status, strlen(body), body);
    c->kept = c->head = 0;
    return wire_write(c, text, (size_t)n) == n && !c->close;
}

static bool say_stats(struct connection *c)
{
    char body[128];
    struct tls_counts counts = tls_wire_counts();
    snprintf(body, sizeof body, "{\"full\":%lu,\"resumed\":%lu}", counts.full, counts.resumed);
    return say(c, "200 OK", body);
}

/* ---- requests ---- */

static const char *find(const struct connection *c, size_t from, const char *text)
{
    return memmem(c->in + from, c->kept - from, text, strlen(text));
}

static bool answer_chat(struct connection *c, bool zai)
{
    struct bench_wish wish;
    const char *model = find(c, c->head, "\"model\"");
    const char *value =
        model ? memchr(model + 7, '"', (size_t)(c->in + c->kept - model) - 7) : NULL;
    const char *end = value ? memchr(value + 1, '"', (size_t)(c->in + c->kept - value) - 1) : NULL;
    if (!end || !bench_wish_parse(value + 1, (size_t)(end - value) - 1, &wish))
        return say(c, "400 Bad Request", "{\"error\":{\"message\":\"no such model here\"}}");
    bool usage = find(c, c->head, "\"include_usage\"") != NULL;
    return begin_answer(
        c, answer_find(zai ? SHAPE_ZAI : SHAPE_OPENAI, zai || wish.stream, usage, &wish));
}

static bool answer_request(struct connection *c)
{
    static const char zai_path[] = "POST /api/chat/completions ";
    if (!strncmp(c->in, zai_path, sizeof zai_path - 1))
        return answer_chat(c, true);
    if (!strncmp(c->in, "POST ", 5))
        return answer_chat(c, false);
    if (!strncmp(c->in, "GET /stats ", 11))
        return say_stats(c);
    return say(c, "200 OK", "{\"object\":\"list\",\"data\":[]}");
}

/* What of the head matters; false when it is none. */
static void read_head(struct connection *c)
{
    c->left = 0;
    c->close = false;
    for (const char *p = c->in, *end = c->in + c->head; p < end;) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        if (!strncasecmp(p, "content-length:", 15))
            c->left = strtoull(p + 15, NULL, 10);
        else if (!strncasecmp(p, "transfer-encoding:", 18))
            c->left = UINT64_MAX;
        else if (!strncasecmp(p, "connection: close", 17))
            c->close = true;
        if (!line_end)
            break;
        p = line_end + 1;
    }
}

/* Counts body bytes; true when the body is whole. */
static bool take_body(struct connection *c, const char *p, size_t n)
{
    if (c->left != UINT64_MAX) {
        c->left -= n < c->left ? n : c->left;
        return c->left == 0;
    }
    size_t keep = n < sizeof c->last ? n : sizeof c->last;
    memmove(c->last, c->last + keep, sizeof c->last - keep);
    memcpy(c->last + sizeof c->last - keep, p + n - keep, keep);
    return !memcmp(c->last, "0\r\n\r\n", sizeof c->last);
}

/* New bytes of a request; false when the connection is to be closed. */
static bool take(struct connection *c, const char *p, size_t n)
{
    size_t room = KEPT - 1 - c->kept, kept = n < room ? n : room;
    memcpy(c->in + c->kept, p, kept);
    c->kept += kept;
    c->in[c->kept] = 0;
    if (c->head)
        return take_body(c, p, n) ? answer_request(c) : true;
    const char *end = memmem(c->in, c->kept, "\r\n\r\n", 4);
    if (!end)
        return c->kept < KEPT - 1;
    c->head = (size_t)(end - c->in) + 4;
    read_head(c);
    size_t body = c->kept - c->head + (n - kept);
    if (c->left == 0)
        return answer_request(c);
    return body && take_body(c, p + n - body, body) ? answer_request(c) : true;
}

static void on_readable(struct connection *c)
{
    while (!c->dead && !c->answer) {
        ssize_t n = wire_read(c, scratch, sizeof scratch);
        if (n == WIRE_WAIT)
            return;
        if (n <= 0 || !take(c, scratch, (size_t)n))
            bury(c);
        else if (!c->tls && (size_t)n < sizeof scratch)
            return; /* a stream socket that gave less is empty */
    }
}

static void accept_all(struct source *listener)
{
    int fd;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int one = 1;
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            abort();
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->source = (struct source){SOURCE_CONNECTION, fd};
        if (listener->kind == SOURCE_TLS)
            c->tls = tls_wire_accept(fd);
        struct epoll_event e = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = c}};
        if ((listener->kind == SOURCE_TLS && !c->tls) ||
            epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) != 0)
            bury(c);
    }
}

static void on_connection(struct connection *c, uint32_t events)
{
    if (c->dead)
        return;
    /* An answer that nobody will read: the client has gone. */
    if (events & (EPOLLERR | EPOLLHUP) || (c->answer && events & EPOLLRDHUP)) {
        bury(c);
        return;
    }
    if (c->answer && events & EPOLLOUT && (!send_allowed(c) || !finish_answer(c))) {
        bury(c);
        return;
    }
    on_readable(c);
}

static void listen_on(struct source *s, enum source_kind kind, unsigned *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    *s = (struct source){kind, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    struct epoll_event e = {EPOLLIN, {.ptr = s}};
    if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(s->fd, BACKLOG) != 0 || getsockname(s->fd, (struct sockaddr *)&at, &length) != 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &e) != 0)
        bench_die("cannot listen");
    *port = ntohs(at.sin_port);
}

static void free_dead(void)
{
    while (dead_list) {
        struct connection *c = dead_list;
        dead_list = c->next_dead;
        free(c);
    }
}

static void serve(void)
{
    struct epoll_event events[EVENTS];
    for (;;) {
        int64_t wait = send_due();
        struct timespec t = {wait / 1000000000, wait % 1000000000};
        free_dead();
        int n = epoll_pwait2(poller, events, EVENTS, wait < 0 ? NULL : &t, NULL);
        for (int i = 0; i < n; i++) {
            struct source *s = events[i].data.ptr;
            if (s->kind == SOURCE_CONNECTION)
                on_connection((struct connection *)s, events[i].events);
            else
                accept_all(s);
        }
        free_dead();
    }
}

int main(int argc, char **argv)
{
    static struct source plain, tls;
    unsigned plain_port = 0, tls_port = 0;
    const char *ca = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "core=", 5))
            bench_pin(atoi(argv[i] + 5));
        else if (!strncmp(argv[i], "ca=", 3))
            ca = argv[i] + 3;
    }
    bench_raise_files();
    poller = epoll_create1(EPOLL_CLOEXEC);
    listen_on(&plain, SOURCE_PLAIN, &plain_port);
    if (ca && tls_wire_setup(ca))
        listen_on(&tls, SOURCE_TLS, &tls_port);
    printf("plain %u tls %u\n", plain_port, tls_port);
    fflush(stdout);
    serve();
}
