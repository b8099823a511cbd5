/*
 * test/unit/test_served_cookies.c - the whole gateway with an adapter that keeps cookies: every
 * step of a turn, its clean-up and the next program's turn carry what the site set last.
 *
 * No site of this build needs cookies, so this program brings its own registry of adapters (the
 * library's is then not linked) and starts itself as the gateway. The parent is client and site, on
 * blocking sockets, one thing after the other.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapters/support.h"
#include "gateway/cli.h"
#include "gateway/serve.h"
#include "test/unit/support/cmocka_all.h"

/* ---- the adapter: a login, a talk, a good-bye ---- */

enum biscuit_step { BISCUIT_LOGIN, BISCUIT_TALK, BISCUIT_BYE, BISCUIT_OVER };
struct biscuit {
    enum biscuit_step at;
};

static enum adapter_step ask(struct site_request *req, const char *target)
{
    req->method = "GET";
    req->target = span_str(target);
    req->framing = FRAMING_WHOLE;
    return ADAPTER_SEND;
}

static enum adapter_step biscuit_next(struct turn_run *run, struct site_request *req)
{
    const struct biscuit *b = run->state;
    req->credential_step = b->at == BISCUIT_LOGIN;
    if (b->at >= BISCUIT_BYE)
        return ADAPTER_DONE;
    return ask(req, b->at == BISCUIT_LOGIN ? "/login" : "/talk");
}

static enum adapter_verdict biscuit_head(struct turn_run *run, const struct site_head *head,
                                         enum framing *framing)
{
    return ADAPTER_GO_ON;
}

static enum adapter_verdict biscuit_frame(struct turn_run *run, const struct frame *frame)
{
    struct biscuit *b = run->state;
    if (b->at == BISCUIT_TALK &&
        (delta_text(run->out, 0, frame->data) || delta_finish(run->out, 0, SPAN("stop"))))
        return ADAPTER_FAIL;
    b->at++;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict biscuit_end(struct turn_run *run, enum stream_end end)
{
    return fail_set(run->fail, FAIL_EMPTY, "nothing came");
}

static enum adapter_step biscuit_cleanup(struct turn_run *run, struct site_request *req)
{
    struct biscuit *b = run->state;
    return b->at++ == BISCUIT_BYE ? ask(req, "/bye") : ADAPTER_DONE;
}

static const struct model_entry biscuit_models[] = {{SPAN_INIT("m"), {NULL, 0}},
                                                    {{NULL, 0}, {NULL, 0}}};
static const struct adapter biscuit = {
    .name = "biscuit",
    .title = "Biscuit",
    .keeps_cookies = true,
    .models = biscuit_models,
    .state_size = sizeof(struct biscuit),
    .next = biscuit_next,
    .on_head = biscuit_head,
    .on_frame = biscuit_frame,
    .on_end = biscuit_end,
    .cleanup = biscuit_cleanup,
};

const struct adapter *const adapters[] = {&biscuit, NULL};

const struct adapter *adapter_find(struct span name)
{
    return span_eq(name, SPAN("biscuit")) ? &biscuit : NULL;
}

/* ---- sockets ---- */

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int patient(int fd)
{
    const struct timeval most = {.tv_sec = 20};
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    return fd;
}

/* Reads until `text` has come. */
static void read_until(int fd, char *bytes, size_t capacity, const char *text)
{
    size_t n = 0;
    do {
        ssize_t more = read(fd, bytes + n, capacity - 1 - n);
        if (more <= 0)
            fail_msg("no %s after: %.*s", text, (int)n, bytes);
        n += (size_t)more;
        bytes[n] = '\0';
    } while (!strstr(bytes, text));
}

static void say(int fd, const char *text)
{
    size_t n = strlen(text);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
}

/* The site: the next request is for `target` with that Cookie ("" = none). */
static void site_answers(int listener, const char *target, const char *cookie,
                         const char *set_cookie)
{
    char request[8192], expected[256], answer[256];
    int fd = patient(accept(listener, NULL, NULL));
    read_until(fd, request, sizeof request, "\r\n\r\n");
    snprintf(expected, sizeof expected, "GET %s HTTP/1.1\r\n", target);
    assert_true(span_starts(span_str(request), span_str(expected)));
    snprintf(expected, sizeof expected, "\r\nCookie: %s\r\n", cookie);
    if (*cookie ? !strstr(request, expected) : strstr(request, "Cookie:") != NULL)
        fail_msg("not the cookie '%s': %s", cookie, request);
    snprintf(answer, sizeof answer,
             "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n%s%s%s\r\nhello",
             *set_cookie ? "Set-Cookie: " : "", set_cookie, *set_cookie ? "\r\n" : "");
    say(fd, answer);
    close(fd);
}

/* ---- the gateway, a child ---- */

struct gateway {
    pid_t pid;
    int port;
};

static pid_t running; /* 0 = none */

static int end_what_runs(void **state)
{
    if (running) { /* a check failed in between */
        kill(running, SIGKILL);
        waitpid(running, NULL, 0);
        running = 0;
    }
    return 0;
}

static struct gateway gateway_start(const char *config)
{
    extern char **environ;
    char line[1024];
    int out[2];
    struct gateway g;
    posix_spawn_file_actions_t actions;
    char *args[] = {"test_served_cookies", "serve", "-c", (char *)config, NULL};
    assert_int_equal(pipe(out), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    posix_spawn_file_actions_addclose(&actions, out[1]);
    assert_int_equal(posix_spawn(&g.pid, "/proc/self/exe", &actions, NULL, args, environ), 0);
    running = g.pid;
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    read_until(out[0], line, sizeof line, "/v1");
    const char *port = strstr(line, "127.0.0.1:");
    assert_non_null(port);
    g.port = atoi(port + strlen("127.0.0.1:"));
    close(out[0]);
    return g;
}

static void gateway_stop(const struct gateway *g)
{
    int status;
    kill(g->pid, SIGTERM);
    assert_int_equal(waitpid(g->pid, &status, 0), g->pid);
    running = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int gateway_asked(const struct gateway *g)
{
    static const char body[] =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    char request[512];
    struct sockaddr_in to = loopback(g->port);
    int fd = patient(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    snprintf(request, sizeof request,
             "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
             "application/json\r\nContent-Length: %zu\r\n\r\n%s",
             sizeof body - 1, body);
    say(fd, request);
    return fd;
}

static void gateway_answers(int fd)
{
    char answer[8192];
    read_until(fd, answer, sizeof answer, "\"hello\"");
    assert_true(span_starts(span_str(answer), SPAN("HTTP/1.1 200 ")));
    close(fd);
}

/* ---- */

static void cookies_go_with_every_step_and_survive_a_restart(void **state)
{
    char folder[] = "/tmp/test-served-cookies-XXXXXX", config[64], command[96];
    struct sockaddr_in at = loopback(0);
    socklen_t n = sizeof at;
    int site = patient(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(bind(site, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(site, 8), 0);
    assert_int_equal(getsockname(site, (struct sockaddr *)&at, &n), 0);
    assert_non_null(mkdtemp(folder));
    snprintf(config, sizeof config, "%s/gateway.toml", folder);
    FILE *file = fopen(config, "we");
    fprintf(file,
            "[server]\nlisten = [\"127.0.0.1:0\"]\ndata_dir = \"%s/data\"\nlog_level = \"warn\"\n"
            "[[sites]]\nname = \"s\"\nadapter = \"biscuit\"\nbase_url = \"http://127.0.0.1:%d\"\n",
            folder, ntohs(at.sin_port));
    fclose(file);

    struct gateway g = gateway_start(config);
    int client = gateway_asked(&g);
    site_answers(site, "/login", "", "sid=1; Path=/");
    site_answers(site, "/talk", "sid=1", "sid=2; Path=/");
    site_answers(site, "/bye", "sid=2", "bye=3; Path=/");
    gateway_answers(client);
    gateway_stop(&g);

    g = gateway_start(config);
    client = gateway_asked(&g);
    site_answers(site, "/login", "sid=2; bye=3", "bye=; Max-Age=0; Path=/");
    site_answers(site, "/talk", "sid=2", "");
    site_answers(site, "/bye", "sid=2", "");
    gateway_answers(client);
    gateway_stop(&g);

    close(site);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static int run_gateway(int argc, char **argv)
{
    struct cli cli;
    struct buffer error;
    buffer_init(&error, 8192);
    if (cli_parse(argc, argv, &cli, &error))
        return EXIT_USAGE;
    return cli_run(&cli, serve, stdout, stderr);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return run_gateway(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    umask(077); /* the configuration is nobody else's */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(cookies_go_with_every_step_and_survive_a_restart, end_what_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
