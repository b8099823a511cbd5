/*
 * test/bench/load.c - many clients in one thread: asks a target, times and checks every chunk.
 *
 *     bench_load port=N model=site/s64g0z32 [connections=1] [seconds=1] [warm=0.3] [requests=N]
 *                [ramp=0] [path=/v1/chat/completions] [header=LINE] [pad=BYTES] [pid=N] [core=N]
 *                [limit=60]
 *
 * Without `requests` each connection asks again and again; what is measured is a window of
 * `seconds` after `warm`, then everything is dropped. With it each connection asks so often;
 * connections begin spread over `ramp` seconds, and the window is from the moment when all streams
 * run to the end of the first of them (when that does not come about: the whole run). `pid` is the
 * target's, for its CPU time and memory. Prints lines "key value"; exit code 1 when any chunk or
 * answer was not as it should be.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/bench/check.h"
#include "test/bench/proc.h"

enum { READ = 256 * 1024, EVENTS = 512, ENOUGH = 100 };

static struct {
    unsigned port, connections, requests;
    double seconds, warm, ramp, limit;
    const char *model, *path, *header;
    size_t pad;
    int pid;
} options = {0, 1, 0, 1, 0.3, 0, 60, NULL, "/v1/chat/completions", "", 0, 0};

struct client {
    int fd;
    struct checker check;
    size_t sent;
    unsigned asked; /* requests so far */
    bool alive;     /* its first chunk has come */
    bool over;
    bool first; /* no chunk of this answer yet */
    uint64_t asked_ns;
};

static struct bench_wish wish;
static struct faults faults;
static struct client *clients;
static unsigned n_begun, n_alive, n_over, n_complete;
static char *request, buffer[READ];
static size_t request_n;
static int poller;
static uint64_t now_ns; /* of the read at hand */

/* What the window saw. */
static struct {
    bool open, closed;
    uint64_t from_ns, to_ns, cpu_ns, chunks, requests, last_ns;
    struct histogram delay, first, total;
    uint64_t longest_gap_ns;
} window;
static unsigned long rss_before, rss_peak, rss_end;
static uint64_t run_ns; /* from the first connection to the end of all */

/* ---- the window ---- */

static void look_at_memory(void)
{
    rss_end = proc_rss_kib(options.pid);
    if (rss_end > rss_peak)
        rss_peak = rss_end;
}

static void window_open(void)
{
    memset(&window, 0, sizeof window);
    window.cpu_ns = proc_cpu_ns(options.pid);
    window.from_ns = bench_now_ns();
    window.open = true;
}

static void window_close(void)
{
    if (!window.open || window.closed)
        return;
    window.to_ns = bench_now_ns();
    window.cpu_ns = proc_cpu_ns(options.pid) - window.cpu_ns;
    window.closed = true;
    look_at_memory();
}

static bool measuring(void) { return window.open && !window.closed; }

static void on_chunk(void *user, uint64_t sent_ns)
{
    struct client *c = user;
    if (c->first && measuring() && c->asked_ns >= window.from_ns)
        histogram_add(&window.first, now_ns - c->asked_ns);
    c->first = false;
    if (!c->alive) {
        c->alive = true;
        n_alive++;
    }
    if (!measuring())
        return;
    window.chunks++;
    if (sent_ns)
        histogram_add(&window.delay, now_ns > sent_ns ? now_ns - sent_ns : 0);
}

/* ---- connections ---- */

static void end_client(struct client *c)
{
    if (c->over)
        return;
    c->over = true;
    close(c->fd);
    check_free(&c->check);
    n_over++;
}

/* Sends what is left of the request. */
static void send_request(struct client *c)
{
    while (c->sent < request_n) {
        ssize_t n = send(c->fd, request + c->sent, request_n - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            c->sent = request_n; /* what the target says will be read, or the end */
            return;
        }
        c->sent += (size_t)n;
    }
}

static void ask(struct client *c)
{
    c->asked++;
    c->sent = 0;
    c->first = true;
    check_begin(&c->check);
    c->asked_ns = bench_now_ns();
    send_request(c);
}

static void connect_client(struct client *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)options.port)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        bench_die("no socket for connection %u", n_begun);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        bench_die("connection %u was not accepted", n_begun);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->check = (struct checker){
        .wish = &wish, .faults = &faults, .on_chunk = on_chunk, .user = c, .at = AT_HEAD};
    struct epoll_event e = {EPOLLIN | EPOLLOUT | EPOLLET, {.ptr = c}};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e) != 0)
        bench_die("epoll");
    ask(c);
}

static void answer_over(struct client *c, bool good)
{
    if (measuring() && c->asked_ns >= window.from_ns)
        histogram_add(&window.total, now_ns - c->asked_ns);
    window.requests += measuring();
    if (options.requests && c->asked >= options.requests) {
        window_close();
        n_complete += good;
        end_client(c);
    } else if (good) {
        ask(c);
    } else { /* what else comes on this connection is not ours to understand */
        close(c->fd);
        check_free(&c->check);
        connect_client(c);
    }
}

static void on_readable(struct client *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        now_ns = bench_now_ns();
        if (n <= 0) {
            check_cut(&c->check);
            end_client(c);
            return;
        }
        if (measuring()) {
            if (window.last_ns && now_ns - window.last_ns > window.longest_gap_ns)
                window.longest_gap_ns = now_ns - window.last_ns;
            window.last_ns = now_ns;
        }
        enum check_state state = check_feed(&c->check, buffer, (size_t)n);
        if (state != CHECK_GOING) {
            answer_over(c, state == CHECK_OVER);
            return; /* what follows is another edge */
        }
        if ((size_t)n < sizeof buffer)
            return;
    }
}

/* ---- the run ---- */

static void begin_due(uint64_t began_ns)
{
    double share = options.ramp > 0 ? (double)(bench_now_ns() - began_ns) / 1e9 / options.ramp : 1;
    unsigned due = share >= 1 ? options.connections : (unsigned)(share * options.connections) + 1;
    for (; n_begun < due && n_begun < options.connections; n_begun++)
        connect_client(&clients[n_begun]);
}

/* True when there is nothing more to wait for. */
static bool run_is_over(uint64_t began_ns)
{
    double at = (double)(bench_now_ns() - began_ns) / 1e9;
    if (n_over == options.connections)
        return true;
    if (at > options.limit)
        return true;
    if (options.requests) {
        if (!window.open && n_alive + (n_over - n_complete) >= options.connections)
            window_open();
        return false;
    }
    if (!window.open && at >= options.warm)
        window_open();
    if (measuring() && (double)(bench_now_ns() - window.from_ns) / 1e9 >= options.seconds)
        window_close();
    return window.closed;
}

static void run(void)
{
    struct epoll_event events[EVENTS];
    uint64_t began_ns = bench_now_ns(), looked_ns = began_ns;
    /* Short runs of few answers have no other beginning. */
    if (options.requests && (!wish.stream || !wish.gap_us))
        window_open();
    while (!run_is_over(began_ns)) {
        begin_due(began_ns);
        int n = epoll_wait(poller, events, EVENTS, n_begun < options.connections ? 1 : 20);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (c->over)
                continue;
            if (events[i].events & EPOLLOUT)
                send_request(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                on_readable(c);
        }
        if (options.pid && bench_now_ns() - looked_ns > 200000000) {
            look_at_memory();
            looked_ns = bench_now_ns();
        }
    }
    run_ns = bench_now_ns() - began_ns;
    window_close();
    if (options.requests)
        faults.hung += options.connections - n_over;
}

static void write_request(void)
{
    static const char tail[] = "\"}]}";
    size_t cap = options.pad + 4096;
    char *body = malloc(cap);
    request = malloc(cap + 4096);
    if (!body || !request)
        abort();
    size_t n =
        (size_t)snprintf(body, cap,
                         "{\"model\":\"%s\",\"stream\":%s,\"messages\":[{\"role\":\"system\","
                         "\"content\":\"You are a helpful assistant.\"},{\"role\":\"user\","
                         "\"content\":\"Hello, who are you? Answer in one sentence.",
                         options.model, wish.stream ? "true" : "false");
    memset(body + n, 'a', options.pad);
    n += options.pad;
    memcpy(body + n, tail, sizeof tail);
    n += sizeof tail - 1;
    request_n = (size_t)snprintf(
        request, 4096,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAuthorization: Bearer sk-bench\r\n"
        "Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/JS "
        "4.104.0\r\nX-Stainless-Lang: js\r\nX-Stainless-Package-Version: 4.104.0\r\n%s%s"
        "Content-Length: %zu\r\n\r\n",
        options.path, options.port, options.header, *options.header ? "\r\n" : "", n);
    memcpy(request + request_n, body, n);
    request_n += n;
    free(body);
}

/* Too few tell nothing: streams that began so slowly that they hardly ran together. */
static void print_times(const char *name, const struct histogram *h)
{
    if (h->count < (options.requests ? ENOUGH : 1))
        return;
    printf("%s_p50 %.2f\n%s_p90 %.2f\n%s_p99 %.2f\n%s_max %.2f\n", name, histogram_us(h, 0.5), name,
           histogram_us(h, 0.9), name, histogram_us(h, 0.99), name, (double)h->max / 1000);
}

static uint64_t print_faults(void)
{
    uint64_t all = faults.missing + faults.repeated + faults.reordered + faults.garbled +
                   faults.refused + faults.cut + faults.hung;
    printf("missing %lu\nrepeated %lu\nreordered %lu\ngarbled %lu\nrefused %lu\ncut %lu\nhung "
           "%lu\nfaults %lu\n",
           faults.missing, faults.repeated, faults.reordered, faults.garbled, faults.refused,
           faults.cut, faults.hung, all);
    return all;
}

static void print_results(void)
{
    double seconds = (double)(window.to_ns - window.from_ns) / 1e9;
    double cpu_us = (double)window.cpu_ns / 1000;
    printf("run_ms %.2f\nseconds %.4f\nrequests %lu\nchunks %lu\n", (double)run_ns / 1e6, seconds,
           window.requests, window.chunks);
    printf("requests_per_s %.1f\nchunks_per_s %.1f\n", (double)window.requests / seconds,
           (double)window.chunks / seconds);
    if (options.pid) {
        printf("cpu_share %.4f\n", cpu_us / 1e6 / seconds);
        if (window.requests >= (options.requests ? ENOUGH : 1))
            printf("cpu_us_per_request %.4f\n", cpu_us / (double)window.requests);
        if (window.chunks >= ENOUGH)
            printf("cpu_us_per_chunk %.4f\n", cpu_us / (double)window.chunks);
        printf("rss_before %lu\nrss_peak %lu\nrss_end %lu\nrss_per_stream %.2f\n", rss_before,
               rss_peak, rss_end,
               ((double)rss_peak - (double)rss_before) / (double)options.connections);
    }
    print_times("delay", &window.delay);
    print_times("first", &window.first);
    print_times("total", &window.total);
    printf("longest_gap_us %.1f\ncomplete %u\nlost_percent %.2f\n",
           (double)window.longest_gap_ns / 1000, n_complete,
           options.requests
               ? 100 * (double)(options.connections - n_complete) / (double)options.connections
               : 0.0);
}

static bool set_option(const char *name, const char *value)
{
    if (!strcmp(name, "port"))
        options.port = (unsigned)atoi(value);
    else if (!strcmp(name, "model"))
        options.model = value;
    else if (!strcmp(name, "connections"))
        options.connections = (unsigned)atoi(value);
    else if (!strcmp(name, "requests"))
        options.requests = (unsigned)atoi(value);
    else if (!strcmp(name, "seconds"))
        options.seconds = atof(value);
    else if (!strcmp(name, "warm"))
        options.warm = atof(value);
    else if (!strcmp(name, "ramp"))
        options.ramp = atof(value);
    else if (!strcmp(name, "limit"))
        options.limit = atof(value);
    else if (!strcmp(name, "path"))
        options.path = value;
    else if (!strcmp(name, "header"))
        options.header = value;
    else if (!strcmp(name, "pad"))
        options.pad = strtoul(value, NULL, 10);
    else if (!strcmp(name, "pid"))
        options.pid = atoi(value);
    else if (!strcmp(name, "core"))
        bench_pin(atoi(value));
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (value)
            *value++ = 0;
        if (!value || !set_option(argv[i], value))
            bench_die("unknown option %s", argv[i]);
    }
    if (!options.port || !options.model || !options.connections ||
        !bench_wish_parse(options.model, strlen(options.model), &wish))
        bench_die("port= and model=SITE/[sw]CHUNKSgMICROSECONDSzBYTES are needed");
    bench_raise_files();
    write_request();
    poller = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc(options.connections, sizeof *clients);
    if (!clients || poller < 0)
        bench_die("no memory");
    rss_before = rss_peak = proc_rss_kib(options.pid);
    run();
    print_results();
    return print_faults() ? 1 : 0;
}
