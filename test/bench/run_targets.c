/*
 * test/bench/run_targets.c - starts and ends what is measured: nginx, HAProxy, dragoman, Portkey's
 * gateway, each with a configuration of its own, on one core. See run.h.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test/bench/run.h"

enum { START_MS = 15000, STOP_MS = 5000, PATH = 400 };

/* ---- processes ---- */

static void nap(long us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

/* `out`: NULL, or where the read end of its standard output goes. */
pid_t run_start(int core, const char *log, char *const argv[], int *out)
{
    int ends[2] = {-1, -1};
    pid_t parent = getpid();
    if (out && pipe(ends) != 0)
        bench_die("pipe");
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork");
    if (pid) {
        if (out) {
            close(ends[1]);
            *out = ends[0];
        }
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    bench_pin(core);
    int file = log ? open(log, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file >= 0) {
        dup2(file, 1);
        dup2(file, 2);
    }
    if (out) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
    }
    execvp(argv[0], argv);
    bench_die("%s cannot be run", argv[0]);
}

void run_stop(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGTERM);
    for (int waited = 0; waited < STOP_MS * 1000; waited += 2000) {
        if (waitpid(pid, NULL, WNOHANG) != 0)
            return;
        nap(2000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* ---- what there is ---- */

static const struct {
    const char *name, *title;
} names[TARGETS] = {
    {"direct", "direct"},           {"nginx", "nginx"},
    {"haproxy", "HAProxy"},         {"openai", "dragoman openai→openai"},
    {"zai", "dragoman zai→OpenAI"}, {"portkey", "Portkey"},
};

const char *target_name(enum target_id id) { return names[id].name; }
const char *target_title(enum target_id id) { return names[id].title; }
bool target_has_tls(enum target_id id) { return id != TARGET_DIRECT && id != TARGET_PORTKEY; }

/* sbin is not on everybody's PATH. */
static const char *program(const char *name, char *path)
{
    static const char *const folders[] = {"/usr/sbin", "/usr/local/sbin", "/usr/bin",
                                          "/usr/local/bin"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, PATH, "%s/%s", folders[i], name);
        if (access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

static bool wanted(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',') {
        if (strcspn(p, ",") == n && !strncmp(p, name, n))
            return true;
    }
    return !list || !*list;
}

static bool look_for(enum target_id id)
{
    char path[PATH];
    if (!wanted(getenv("BENCH_TARGETS"), names[id].name))
        return false;
    if (id == TARGET_PORTKEY)
        return settings.portkey != NULL;
    if (id != TARGET_NGINX && id != TARGET_HAPROXY)
        return true;
    if (program(names[id].name, path))
        return true;
    fprintf(stderr, "%s is not installed: left out (scripts/deps bench)\n", names[id].title);
    return false;
}

bool target_is_there(enum target_id id)
{
    static enum { UNKNOWN, THERE, MISSING } known[TARGETS];
    if (known[id] == UNKNOWN)
        known[id] = look_for(id) ? THERE : MISSING;
    return known[id] == THERE;
}

/* ---- configurations ---- */

static FILE *create(const char *name, char *path)
{
    snprintf(path, PATH, "%s/%s", settings.directory, name);
    FILE *f = fopen(path, "w");
    if (!f || fchmod(fileno(f), 0600) != 0)
        bench_die("%s", path);
    return f;
}

static unsigned free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        bench_die("no free port");
    close(fd);
    return ntohs(at.sin_port);
}

static void nginx_location(FILE *f, const char *path, const char *upstream, bool tls)
{
    fprintf(f,
            "location %s {\n  proxy_pass http%s://%s/;\n  proxy_http_version 1.1;\n"
            "  proxy_set_header Connection \"\";\n  proxy_buffering off;\n"
            "  proxy_request_buffering off;\n",
            path, tls ? "s" : "", upstream);
    if (tls)
        fprintf(f,
                "  proxy_ssl_verify on;\n  proxy_ssl_name localhost;\n  proxy_ssl_server_name on;\n"
                "  proxy_ssl_protocols TLSv1.2;\n  proxy_ssl_trusted_certificate %s;\n",
                settings.ca_file);
    fprintf(f, "}\n");
}

/* One worker in one process; connections to clients and to the stand-in are kept for ever. */
static void write_nginx(char *path, unsigned port, bool tls)
{
    static const char *const temps[] = {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"};
    const char *dir = settings.directory;
    FILE *f = create("nginx.conf", path);
    fprintf(f,
            "worker_processes 1;\ndaemon off;\nmaster_process off;\nerror_log %s/nginx.log crit;\n"
            "pid %s/nginx.pid;\nworker_rlimit_nofile %u;\n"
            "events { worker_connections %u; }\nhttp {\naccess_log off;\n",
            dir, dir, settings.files, settings.files);
    for (size_t i = 0; i < sizeof temps / sizeof *temps; i++)
        fprintf(f, "%s_temp_path %s/%s;\n", temps[i], dir, temps[i]);
    fprintf(
        f,
        "client_max_body_size 64m;\nkeepalive_requests 1000000000;\n"
        "upstream site { server 127.0.0.1:%u; keepalive 1000; keepalive_requests 1000000000; }\n"
        "upstream plain { server 127.0.0.1:%u; keepalive 1000; keepalive_requests 1000000000; }\n"
        "server {\nlisten 127.0.0.1:%u backlog=8192;\n",
        tls ? settings.tls_port : settings.plain_port, settings.plain_port, port);
    nginx_location(f, "/", "site", tls);
    nginx_location(f, "/plain/", "plain", false);
    fprintf(f, "}\n}\n");
    fclose(f);
}

static void write_haproxy(char *path, unsigned port, bool tls)
{
    char tls_words[PATH + 100] = "";
    FILE *f = create("haproxy.cfg", path);
    if (tls)
        snprintf(tls_words, sizeof tls_words,
                 "ssl verify required ca-file %s sni str(localhost) verifyhost localhost "
                 "ssl-max-ver TLSv1.2",
                 settings.ca_file);
    fprintf(f,
            "global\n  nbthread 1\n  maxconn %u\ndefaults\n  mode http\n  timeout connect 10s\n"
            "  timeout client 10m\n  timeout server 10m\n  http-reuse always\n"
            "  option http-no-delay\n"
            "frontend clients\n  bind 127.0.0.1:%u backlog 8192\n"
            "  use_backend plain if { path_beg /plain/ }\n  default_backend site\n"
            "backend site\n  server s 127.0.0.1:%u pool-max-conn -1 %s\n"
            "backend plain\n  server s 127.0.0.1:%u pool-max-conn -1\n",
            (settings.files - 200) / 2, port, tls ? settings.tls_port : settings.plain_port,
            tls_words, settings.plain_port);
    fclose(f);
}

static void dragoman_site(FILE *f, const char *name, bool zai, bool tls)
{
    fprintf(f,
            "[[sites]]\nname = \"%s\"\nadapter = \"%s\"\nbase_url = \"http%s%u%s\"\n"
            "max_concurrent = 1000000\npool = { max = 0, max_idle = 0 }\nmodels = [\"bench\"]\n",
            name, zai ? "zai" : "openai",
            tls ? "s://localhost:" : "://127.0.0.1:", tls ? settings.tls_port : settings.plain_port,
            zai ? "" : "/v1");
    if (tls)
        fprintf(f, "ca_file = \"%s\"\n", settings.ca_file);
    /* z.ai's token is a JWT; this one says {"id":"u-1"}. */
    fprintf(f, "[[sites.accounts]]\nname = \"main\"\n%s\n",
            zai ? "token = \"eyJhbGciOiJFUzI1NiJ9.eyJpZCI6InUtMSJ9.c2lnbmF0dXJl\""
                : "api_key = \"sk-bench\"");
}

static void write_dragoman(char *path, unsigned port, enum target_id id, bool tls)
{
    char data[PATH];
    snprintf(data, sizeof data, "%s/data-%s", settings.directory, names[id].name);
    FILE *f = create(id == TARGET_ZAI ? "zai.toml" : "openai.toml", path);
    fprintf(f,
            "[server]\nlisten = [\"127.0.0.1:%u\"]\nlog_level = \"error\"\ndata_dir = \"%s\"\n"
            "max_connections = 1000000\n",
            port, data);
    dragoman_site(f, "up", id == TARGET_ZAI, tls);
    dragoman_site(f, "plain", id == TARGET_ZAI, false);
    fclose(f);
}

/* ---- life ---- */

static void log_path(enum target_id id, char *path)
{
    snprintf(path, PATH, "%s/%s.log", settings.directory, names[id].name);
}

void target_show_log(enum target_id id)
{
    static unsigned shown[TARGETS];
    char path[PATH], line[160];
    if (shown[id]++ > 1)
        return;
    log_path(id, path);
    FILE *f = fopen(path, "r");
    for (int i = 0; f && i < 5 && fgets(line, sizeof line, f); i++)
        fprintf(stderr, "  %s: %.*s\n", names[id].name, (int)strcspn(line, "\n"), line);
    if (f)
        fclose(f);
}

static pid_t start_program(enum target_id id, unsigned port, bool tls)
{
    char conf[PATH] = "", path[PATH], log[PATH], option[40];
    char serve[] = "serve", c[] = "-c", p[] = "-p", f[] = "-f", db[] = "-db",
         headless[] = "--headless", dir[PATH];
    snprintf(dir, sizeof dir, "%s", settings.directory);
    log_path(id, log);
    unlink(log);
    if (id == TARGET_NGINX) {
        write_nginx(conf, port, tls);
        char *argv[] = {path, c, conf, p, dir, NULL};
        return program("nginx", path) ? run_start(settings.target_core, log, argv, NULL) : 0;
    }
    if (id == TARGET_HAPROXY) {
        write_haproxy(conf, port, tls);
        char *argv[] = {path, db, f, conf, NULL};
        return program("haproxy", path) ? run_start(settings.target_core, log, argv, NULL) : 0;
    }
    if (id == TARGET_PORTKEY) {
        const char *own = getenv("BENCH_NODE");
        snprintf(conf, sizeof conf, "%s", own && *own ? own : "node");
        snprintf(path, sizeof path, "%s", settings.portkey);
        snprintf(option, sizeof option, "--port=%u", port);
        char *argv[] = {conf, path, option, headless, NULL};
        return run_start(settings.target_core, log, argv, NULL);
    }
    write_dragoman(conf, port, id, tls);
    snprintf(path, sizeof path, "%s/dragoman", settings.bin);
    char *argv[] = {path, serve, c, conf, NULL};
    return run_start(settings.target_core, log, argv, NULL);
}

static bool listens(unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool done = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    close(fd);
    return done;
}

static double ms_since(uint64_t began_ns) { return (double)(bench_now_ns() - began_ns) / 1e6; }

static bool wait_until_it_listens(struct target *t, uint64_t began_ns)
{
    while (!listens(t->port)) {
        if (waitpid(t->pid, NULL, WNOHANG) == t->pid) {
            t->pid = 0;
            return false;
        }
        if (ms_since(began_ns) > START_MS)
            return false;
        nap(200);
    }
    t->listen_ms = ms_since(began_ns);
    return true;
}

bool target_start(struct target *t, enum target_id id, bool tls, bool cold)
{
    struct figures figures = {0};
    *t = (struct target){.id = id, .port = settings.plain_port};
    if (id == TARGET_DIRECT)
        return true;
    t->port = free_port();
    uint64_t began_ns = bench_now_ns();
    t->pid = start_program(id, t->port, tls);
    if (wait_until_it_listens(t, began_ns) &&
        load_join(load_start(t, cold, "w1g0z32", "requests=1 limit=10"), &figures)) {
        t->answer_ms = ms_since(began_ns);
        return true;
    }
    fprintf(stderr, "%s does not answer:\n", names[id].title);
    target_show_log(id);
    target_stop(t);
    return false;
}

void target_stop(struct target *t)
{
    run_stop(t->pid);
    t->pid = 0;
}

/* ---- load ---- */

enum { ARGUMENTS = 24, ARGUMENT = 200 };

struct arguments {
    char text[ARGUMENTS][ARGUMENT];
    char *list[ARGUMENTS + 1];
    size_t n;
};

static void argument(struct arguments *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void argument(struct arguments *a, const char *format, ...)
{
    va_list args;
    if (a->n == ARGUMENTS)
        bench_die("too many arguments");
    va_start(args, format);
    vsnprintf(a->text[a->n], ARGUMENT, format, args);
    va_end(args);
    a->list[a->n] = a->text[a->n];
    a->list[++a->n] = NULL;
}

struct load load_start(const struct target *t, bool plain, const char *wish, const char *rest)
{
    struct load load;
    struct arguments a = {.n = 0};
    bool dragoman = t->id == TARGET_OPENAI || t->id == TARGET_ZAI;
    argument(&a, "%s/bench_load", settings.bin);
    argument(&a, "port=%u", t->port);
    argument(&a, "model=%s/%s", plain && dragoman ? "plain" : "up", wish);
    argument(&a, "pid=%d", (int)t->pid);
    if (plain && (t->id == TARGET_NGINX || t->id == TARGET_HAPROXY))
        argument(&a, "path=/plain/v1/chat/completions");
    if (t->id == TARGET_PORTKEY)
        argument(&a,
                 "header=x-portkey-provider: openai\r\nx-portkey-custom-host: "
                 "http://127.0.0.1:%u/v1",
                 settings.plain_port);
    for (const char *p = rest; *p; p += strcspn(p, " "), p += strspn(p, " "))
        argument(&a, "%.*s", (int)strcspn(p, " "), p);
    load.pid = run_start(settings.load_core, NULL, a.list, &load.out);
    return load;
}

bool load_join(struct load load, struct figures *figures)
{
    char name[64];
    double value;
    int status = 0;
    FILE *f = fdopen(load.out, "r");
    while (f && fscanf(f, "%63s %lf", name, &value) == 2)
        figures_set(figures, name, value);
    if (f)
        fclose(f);
    waitpid(load.pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
