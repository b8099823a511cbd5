/*
 * gateway/serve.c - see serve.h.
 *
 * Two phases of stopping: gracefully on the first SIGTERM or SIGINT (no new connections, streams
 * may end for up to 30 s), at once on the second or when the time is over. SIGHUP reloads; a config
 * that is bad is reported and the old one stays. This is the first event loop; with server.workers
 * above 1 there are others beside it (workers.h), which stand still during a reload and end before
 * it.
 */
#include "gateway/serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/account_check.h"
#include "gateway/account_report.h"
#include "gateway/clock.h"
#include "gateway/config_watch.h"
#include "gateway/control.h"
#include "gateway/engine.h"
#include "gateway/front.h"
#include "gateway/heap.h"
#include "gateway/log.h"
#include "gateway/sandbox.h"
#include "gateway/token_file.h"
#include "gateway/workers.h"

enum { GRACE_MS = 30000, POLL_MS = 20, FIRST_REFRESH_MS = 50, ADDRESSES_MAX = 64 * 1024 };

struct server {
    uv_loop_t loop;
    struct config *config;
    const char *file;
    struct engine *engine;
    struct http_server *http;
    struct shared *shared; /* these three are NULL with one event loop */
    struct mailbox *mailbox;
    struct workers *workers;    /* the others */
    struct control *control;    /* NULL: it could not be had */
    uv_signal_t signals[3];     /* TERM, INT, HUP */
    uv_timer_t grace;           /* while stopping: looks whether everything has ended */
    uv_timer_t refresh;         /* once, soon after the start */
    struct config_watch *watch; /* NULL: server.watch is off, or it could not be had */
    uint64_t stop_at_ms;
    int locks; /* enum sandbox_lock: what is closed */
    bool stopping, forced;
};

static void say(const char *text) { fputs(text, stdout); }

/* ---- stopping ---- */

static void on_engine_closed(void *arg)
{
    struct server *s = arg;
    if (s->mailbox)
        mailbox_close(s->mailbox);
}

static void on_http_closed(void *arg)
{
    struct server *s = arg;
    engine_destroy(s->engine, on_engine_closed, s);
}

static void close_down(struct server *s)
{
    for (size_t i = 0; i < 3; i++)
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    uv_close((uv_handle_t *)&s->grace, NULL);
    uv_close((uv_handle_t *)&s->refresh, NULL);
    config_watch_destroy(s->watch);
    control_destroy(s->control);
    http_server_destroy(s->http, on_http_closed, s);
}

static void on_grace(uv_timer_t *timer)
{
    struct server *s = timer->data;
    bool quiet = http_server_unfinished(s->http) == 0 && s->engine->n_exchanges == 0;
    bool others = !workers_over(s->workers) || (s->mailbox && mailbox_expects(s->mailbox));
    if ((!quiet || others) && !s->forced && uv_now(&s->loop) >= s->stop_at_ms) {
        s->forced = true;
        log_warn("stopping now: %zu requests are still unfinished", engine_active(s->engine));
        engine_cancel_all(s->engine);
        workers_cancel(s->workers);
    }
    if (!others && s->engine->n_exchanges == 0 && (quiet || s->forced)) {
        uv_timer_stop(timer);
        close_down(s);
    }
}

static void on_stop(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    if (s->stopping) {
        s->stop_at_ms = 0; /* the second time: no more patience */
        return;
    }
    s->stopping = true;
    s->stop_at_ms = uv_now(&s->loop) + GRACE_MS;
    http_server_stop(s->http);
    workers_stop(s->workers);
    log_info("stopping: no new connections; running requests (%zu) may end within %d s",
             engine_active(s->engine), GRACE_MS / 1000);
    uv_timer_start(&s->grace, on_grace, 0, POLL_MS);
}

/* ---- reload ---- */

static void log_text(enum log_level level, struct span text)
{
    struct span line;
    while (span_split(&text, '\n', &line)) {
        if (line.n)
            log_line(level, "%.*s", SPAN_ARGS(line));
    }
}

static void log_warnings(const struct config *config)
{
    for (size_t i = 0; i < config->n_warnings; i++)
        log_warn("%.*s", SPAN_ARGS(config->warnings[i]));
}

static void watch_file(struct server *s);

/* What follows a listener's address in the base URL to use. */
static const char *path_of(const char *url) { return strncmp(url, "unix:", 5) == 0 ? "" : "/v1"; }

/* The base URLs to use: port 0 has become one. Without memory none. */
static void list_addresses(struct server *s, struct buffer *out)
{
    const char *url;
    buffer_init(out, ADDRESSES_MAX);
    for (size_t i = 0; (url = http_server_url(s->http, i)) != NULL; i++)
        buffer_printf(out, "%s%s%s", i ? " and " : "", url, path_of(url));
}

/* 0, or -1 with fail: then nothing has changed. */
static int reload_listeners(struct server *s, struct config *config, struct fail *fail)
{
    struct fail ignored;
    if (http_server_reload(s->http, config, fail))
        return -1;
    if (workers_reload_listeners(s->workers, config, s->config, fail) == 0)
        return 0;
    (void)http_server_reload(s->http, s->config, &ignored);
    return -1;
}

/* While no other loop runs. 0, or -1 with fail: the old configuration stays. */
static int put_in_force(struct server *s, struct config *config, struct fail *fail)
{
    struct fail log_fail;
    if (reload_listeners(s, config, fail))
        return -1;
    if (engine_reload(s->engine, config) | workers_reload(s->workers, config))
        log_error("out of memory while reloading: some accounts or limits are missing");
    if (log_setup(config, &log_fail))
        log_error("%s", log_fail.message);
    if (workers_wanted(config) != workers_wanted(s->config))
        log_warn("server.workers takes effect with the next start");
    return 0;
}

static void reload(struct server *s)
{
    struct buffer errors;
    struct fail fail;
    if (!s->file) {
        log_info("there is no configuration file to read again");
        return;
    }
    config_watch_seen(s->watch);
    buffer_init(&errors, 1024 * 1024);
    struct config *config = config_load(s->file, &errors);
    if (!config) {
        log_text(LOG_ERROR, buffer_span(&errors));
        if (s->locks & SANDBOX_FILES && span_find(buffer_span(&errors), SPAN("denied")) >= 0)
            log_error("since the start only folders that the configuration named then can be read "
                      "(server.sandbox); start the gateway anew for files elsewhere");
        log_error("the configuration was not reloaded; the old one stays in force");
        buffer_free(&errors);
        return;
    }
    struct buffer before, now;
    list_addresses(s, &before);
    workers_pause(s->workers);
    int result = put_in_force(s, config, &fail);
    workers_resume(s->workers);
    if (result) {
        log_error("%s; the old configuration stays in force", fail.message);
        config_unref(config);
    } else {
        log_warnings(config);
        config_unref(s->config);
        s->config = config;
        catalogue_refresh(s->engine->catalogue);
        watch_file(s);
        log_info("configuration reloaded from %s", s->file);
        list_addresses(s, &now);
        if (!span_eq(buffer_span(&before), buffer_span(&now)))
            log_info("the addresses are now: %.*s", SPAN_ARGS(buffer_span(&now)));
        buffer_free(&now);
    }
    buffer_free(&before);
    buffer_free(&errors);
}

static void on_file_changed(void *owner)
{
    struct server *s = owner;
    if (!s->stopping)
        reload(s);
}

/* As the configuration wants it now. */
static void watch_file(struct server *s)
{
    struct fail fail;
    if (!s->config->watch || !s->file) {
        config_watch_destroy(s->watch);
        s->watch = NULL;
    } else if (!s->watch) {
        s->watch = config_watch_create(&s->loop, s->file, on_file_changed, s, &fail);
        if (!s->watch)
            log_warn("%s; send SIGHUP after a change", fail.message);
    }
}

static void on_hup(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    if (!s->stopping)
        reload(s);
}

/* ---- what the command line asks ---- */

static void clear_account(struct server *s, struct span name, struct buffer *reply)
{
    struct account_pool *pool = s->engine->accounts;
    struct account *a = account_pool_find_name(pool, name);
    if (a) {
        account_pool_clear(pool, a, uv_now(&s->loop));
        log_info("account %.*s cleared by hand", SPAN_ARGS(name));
    }
    buffer_printf(reply, a ? "%.*s is ready" : "error: there is no account %.*s",
                  SPAN_ARGS(span_first(name, 200)));
}

/* One `accounts check` that somebody waits for. */
struct asked_check {
    struct account_check *check;
    struct control_caller *caller;
};

static void on_checked(void *owner, struct span json)
{
    struct asked_check *asked = owner;
    buffer_append(control_reply(asked->caller), json);
    control_answer(asked->caller);
    free(asked);
}

static void on_asker_gone(void *arg)
{
    struct asked_check *asked = arg;
    account_check_cancel(asked->check);
    free(asked);
}

static void refuse_command(struct control_caller *caller, const char *why)
{
    buffer_printf(control_reply(caller), "error: %s", why);
    control_answer(caller);
}

/* Answers when all are checked. */
static void check_accounts(struct server *s, struct span only, struct control_caller *caller)
{
    struct fail fail;
    struct asked_check *asked = calloc(1, sizeof *asked);
    if (!asked) {
        refuse_command(caller, "out of memory");
        return;
    }
    const struct account_check_wish wish = {
        .loop = &s->loop,
        .upstream = s->engine->upstream,
        .pool = s->engine->accounts,
        .config = s->engine->config,
        .only = only,
        .running = true,
        .done = on_checked,
        .owner = asked,
    };
    asked->caller = caller;
    asked->check = account_check_start(&wish, &fail);
    if (asked->check) {
        control_on_gone(caller, on_asker_gone, asked);
    } else {
        refuse_command(caller, fail.message);
        free(asked);
    }
}

static void report_accounts(struct server *s, struct buffer *reply)
{
    shared_enter(s->shared);
    account_report_json(reply, s->engine->accounts, s->engine->drift, s->engine->config, true,
                        uv_now(&s->loop), clock_wall_ms());
    shared_leave(s->shared);
}

/* "accounts": account_report.h's JSON. "check", "check SITE", "check SITE/ACCOUNT":
 * account_check.h's JSON, when all have been asked. "clear SITE/ACCOUNT": a sentence. What cannot
 * be done is answered with "error: " and why. */
static void on_control(void *owner, struct span line, struct control_caller *caller)
{
    struct server *s = owner;
    if (span_eq(line, SPAN("check")) || span_starts(line, SPAN("check "))) {
        check_accounts(s, span_trim(span_from(line, 5)), caller);
        return;
    }
    if (span_eq(line, SPAN("accounts")))
        report_accounts(s, control_reply(caller));
    else if (span_starts(line, SPAN("clear ")))
        clear_account(s, span_from(line, 6), control_reply(caller));
    else
        buffer_append(control_reply(caller),
                      SPAN("error: this gateway does not know that command"));
    control_answer(caller);
}

static void open_control(struct server *s)
{
    struct fail fail;
    if (!s->config->file.n) /* the built-in demo has no folder of its own */
        return;
    s->control = control_create(&s->loop, s->config->data_dir, on_control, s, &fail);
    if (!s->control)
        log_warn("%s; dragoman accounts cannot ask this gateway", fail.message);
}

/* ---- start ---- */

static void on_refresh(uv_timer_t *timer)
{
    catalogue_refresh(((struct server *)timer->data)->engine->catalogue);
}

static void announce(struct server *s)
{
    char line[512];
    for (size_t i = 0; http_server_url(s->http, i); i++) {
        const char *url = http_server_url(s->http, i);
        snprintf(line, sizeof line, "%s%s%s", i ? " and " : "dragoman is ready: ", url,
                 path_of(url));
        say(line);
    }
    say("\n");
    fflush(stdout);
}

static void arm(struct server *s)
{
    static const int numbers[3] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < 3; i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], numbers[i] == SIGHUP ? on_hup : on_stop, numbers[i]);
        uv_unref((uv_handle_t *)&s->signals[i]);
    }
    uv_timer_init(&s->loop, &s->grace);
    uv_timer_init(&s->loop, &s->refresh);
    s->grace.data = s->refresh.data = s;
    uv_timer_start(&s->refresh, on_refresh, FIRST_REFRESH_MS, 0);
}

/* Before anything else: the threads that are made next are locked in as well. */
static int lock_up(struct server *s, struct fail *fail)
{
    s->locks = sandbox_enter(s->config, fail);
    if (s->locks < 0)
        return -1;
    log_debug("sandbox: files %s, system calls %s", s->locks & SANDBOX_FILES ? "locked" : "open",
              s->locks & SANDBOX_CALLS ? "locked" : "open");
    if (geteuid() == 0)
        log_info("running as root, which a gateway never needs; docs/security.md has a unit for "
                 "systemd that gives it a user of its own");
    return 0;
}

/* What the loops need to share the engine's things. 0, or -1 when memory is short. */
static int share(struct server *s)
{
    s->shared = shared_create();
    s->mailbox = s->shared ? mailbox_create(s->shared, &s->loop, s->engine) : NULL;
    if (!s->mailbox)
        return -1;
    mailbox_move_in(s->mailbox);
    engine_share(s->engine, s->shared);
    return 0;
}

/* The listeners of this loop, and the other loops with theirs. 0, or -1 with fail. */
static int open_doors(struct server *s, struct fail *fail)
{
    size_t loops = workers_wanted(s->config);
    struct http_handler handler = front_handler(s->engine);
    if (loops == 1) {
        s->http = http_server_create(&s->loop, s->config, &handler, fail);
        return s->http ? 0 : -1;
    }
    if (share(s))
        return fail_memory(fail);
    s->http = http_server_create_first(&s->loop, s->config, &handler, s->shared, fail);
    if (!s->http)
        return -1;
    s->workers = workers_create(s->engine, s->http, loops - 1, fail);
    return s->workers ? 0 : -1;
}

/* 0, or -1 with fail. */
static int start(struct server *s, bool rebuild, struct fail *fail)
{
    if (lock_up(s, fail))
        return -1;
    s->engine = engine_create(&s->loop, s->config, rebuild, fail);
    if (!s->engine)
        return -1;
    if (open_doors(s, fail)) {
        if (s->http)
            http_server_destroy(s->http, on_http_closed, s);
        else
            engine_destroy(s->engine, on_engine_closed, s);
        return -1;
    }
    arm(s);
    open_control(s);
    watch_file(s);
    if (s->workers)
        workers_run(s->workers);
    announce(s);
    return 0;
}

int serve(struct config *config, const char *file, bool rebuild)
{
    struct fail fail;
    struct server *s = calloc(1, sizeof *s);
    if (!s || uv_loop_init(&s->loop)) {
        fprintf(stderr, "dragoman: out of memory\n");
        config_unref(config);
        free(s);
        return 1;
    }
    s->config = config;
    s->file = file;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit (ulimit -f) is like a full disk */
    /* Names are looked up by half of them, and each that nobody answers for holds one. */
    setenv("UV_THREADPOOL_SIZE", "8", 0);
    int code = 0;
    heap_give_back(); /* what reading the configuration took is not to become part of our tables */
    if (log_setup(config, &fail) || start(s, rebuild, &fail)) {
        fprintf(stderr, "dragoman: %s\n", fail.message);
        code = 1;
    } else {
        log_warnings(config);
        if (!token_file_exists())
            log_info(
                "o200k.ranks is not there: tokens that a site does not tell are estimated, not "
                "counted (make ranks; docs/tokens.md)");
    }
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_loop_close(&s->loop);
    workers_destroy(s->workers);
    shared_destroy(s->shared);
    log_close();
    config_unref(s->config);
    free(s);
    return code;
}
