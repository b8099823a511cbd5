/*
 * gateway/workers.c - see workers.h.
 *
 * A worker is told everything by mail: to pause, to stop, to give up; and tells by mail that it has
 * ended. The hard part is the end: a loop may only close its mailbox when nobody else has anything
 * more for it, so it waits for what it expects (shared.h) as it waits for its requests.
 */
#include "gateway/workers.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "gateway/front.h"
#include "gateway/log.h"

enum { POLL_MS = 20 };

struct worker {
    struct workers *all;
    uv_thread_t thread;
    uv_loop_t loop;
    struct mailbox *mailbox;
    struct engine *engine;
    struct http_server *http;
    uv_timer_t grace; /* while stopping: looks whether everything has ended */
    uv_sem_t go_on;   /* ends its pause, and nobody else's */
    struct mail pause, stop, cancel, over;
    bool has_loop, cancelled, ended;
};

struct workers {
    struct engine *engine; /* the first loop's */
    struct mailbox *first; /* its mailbox */
    uv_sem_t paused;       /* one for each that stands still */
    size_t n, n_over;
    struct worker list[];
};

#define WORKER_OF(mail, member)                                                                    \
    ((struct worker *)(void *)((char *)(mail)-offsetof(struct worker, member)))

size_t workers_wanted(const struct config *config)
{
    size_t n = config->workers ? (size_t)config->workers : uv_available_parallelism();
    return n < 1 ? 1 : n > SHARED_LOOPS_MAX ? SHARED_LOOPS_MAX : n;
}

/* ---- the end of one ---- */

/* Whoever waits for an account's pace may have had his clock on that loop: it is wound again here.
 */
static void on_over(struct mail *mail)
{
    struct worker *w = WORKER_OF(mail, over);
    struct engine *first = w->all->engine;
    uv_thread_join(&w->thread);
    w->ended = true;
    w->all->n_over++;
    account_pool_tick(first->accounts, uv_now(first->loop));
}

static void on_engine_closed(void *arg)
{
    struct worker *w = arg;
    w->over.open = on_over;
    mailbox_post(w->all->first, &w->over);
}

/* What comes by mail may ask about the engine: the mailbox goes first. */
static void on_http_closed(void *arg)
{
    struct worker *w = arg;
    mailbox_close(w->mailbox);
    engine_destroy(w->engine, on_engine_closed, w);
}

static void on_grace(uv_timer_t *timer)
{
    struct worker *w = timer->data;
    bool quiet = w->cancelled || http_server_unfinished(w->http) == 0;
    if (!quiet || w->engine->n_exchanges || mailbox_expects(w->mailbox))
        return;
    uv_timer_stop(timer);
    uv_close((uv_handle_t *)timer, NULL);
    http_server_destroy(w->http, on_http_closed, w);
}

static void on_stop(struct mail *mail)
{
    struct worker *w = WORKER_OF(mail, stop);
    http_server_stop(w->http);
    uv_timer_start(&w->grace, on_grace, 0, POLL_MS);
}

static void on_cancel(struct mail *mail)
{
    struct worker *w = WORKER_OF(mail, cancel);
    if (uv_is_closing((uv_handle_t *)&w->grace)) /* it is on its way already */
        return;
    w->cancelled = true;
    engine_cancel_all(w->engine);
}

/* ---- standing still ---- */

static void on_pause(struct mail *mail)
{
    struct worker *w = WORKER_OF(mail, pause);
    uv_sem_post(&w->all->paused);
    uv_sem_wait(&w->go_on);
}

void workers_pause(struct workers *all)
{
    for (size_t i = 0; all && i < all->n; i++) {
        bool open = mailbox_post(all->list[i].mailbox, &all->list[i].pause);
        assert(open); /* nobody reloads while stopping */
        (void)open;
    }
    for (size_t i = 0; all && i < all->n; i++)
        uv_sem_wait(&all->paused);
}

void workers_resume(struct workers *all)
{
    for (size_t i = 0; all && i < all->n; i++)
        uv_sem_post(&all->list[i].go_on);
}

int workers_reload_listeners(struct workers *all, struct config *now, struct config *old,
                             struct fail *fail)
{
    struct fail ignored;
    size_t done = 0;
    while (all && done < all->n && http_server_reload(all->list[done].http, now, fail) == 0)
        done++;
    if (!all || done == all->n)
        return 0;
    while (done--)
        (void)http_server_reload(all->list[done].http, old, &ignored);
    return -1;
}

int workers_reload(struct workers *all, struct config *config)
{
    int result = 0;
    for (size_t i = 0; all && i < all->n; i++) {
        if (engine_reload(all->list[i].engine, config))
            result = -1;
    }
    return result;
}

/* ---- the beginning ---- */

/* 0, or -1 with fail: what is there stays for workers_destroy. */
static int create_one(struct worker *w, struct engine *first, struct http_server *http,
                      struct fail *fail)
{
    fail_memory(fail);
    if (uv_loop_init(&w->loop))
        return -1;
    w->has_loop = true;
    w->engine = engine_create_beside(first, &w->loop);
    if (!w->engine)
        return -1;
    w->mailbox = mailbox_create(first->shared, &w->loop, w->engine);
    if (!w->mailbox)
        return -1;
    struct http_handler handler = front_handler(w->engine);
    w->http = http_server_create_beside(http, &w->loop, &handler, fail);
    if (!w->http)
        return -1;
    uv_timer_init(&w->loop, &w->grace);
    w->grace.data = w;
    w->pause.open = on_pause;
    w->stop.open = on_stop;
    w->cancel.open = on_cancel;
    return 0;
}

static void make_semaphore(uv_sem_t *semaphore)
{
    int error = uv_sem_init(semaphore, 0);
    assert(error == 0); /* it takes no memory of its own */
    (void)error;
}

struct workers *workers_create(struct engine *first, struct http_server *http, size_t n,
                               struct fail *fail)
{
    struct workers *all = calloc(1, sizeof *all + n * sizeof all->list[0]);
    if (!all) {
        fail_memory(fail);
        return NULL;
    }
    all->engine = first;
    all->first = mailbox_here();
    make_semaphore(&all->paused);
    for (size_t i = 0; i < n; i++) {
        all->list[i].all = all;
        make_semaphore(&all->list[i].go_on);
        all->n++;
        if (create_one(&all->list[i], first, http, fail)) {
            workers_destroy(all);
            return NULL;
        }
    }
    return all;
}

static void nothing(void *arg) {}

/* Of one that never ran on a thread: what closing takes is done on this one. */
static void undo(struct worker *w)
{
    if (w->http) {
        uv_close((uv_handle_t *)&w->grace, NULL);
        http_server_destroy(w->http, nothing, NULL);
    }
    if (w->mailbox)
        mailbox_close(w->mailbox);
    if (w->engine)
        engine_destroy(w->engine, nothing, NULL);
    if (w->has_loop)
        uv_run(&w->loop, UV_RUN_DEFAULT);
}

static void close_loop(struct worker *w)
{
    if (!w->ended)
        undo(w);
    if (w->has_loop && uv_loop_close(&w->loop))
        log_error("a worker's event loop was not empty at its end");
    uv_sem_destroy(&w->go_on);
}

void workers_destroy(struct workers *all)
{
    if (!all)
        return;
    for (size_t i = 0; i < all->n; i++)
        close_loop(&all->list[i]);
    uv_sem_destroy(&all->paused);
    free(all);
}

static void run(void *arg)
{
    struct worker *w = arg;
    mailbox_move_in(w->mailbox);
    uv_run(&w->loop, UV_RUN_DEFAULT);
}

void workers_run(struct workers *all)
{
    size_t running = 0;
    int error = 0;
    while (running < all->n && !error) {
        error = uv_thread_create(&all->list[running].thread, run, &all->list[running]);
        running += !error;
    }
    if (error)
        log_warn("there can be no more threads (%s): %zu event loops instead of %zu",
                 uv_strerror(error), running + 1, all->n + 1);
    while (all->n > running)
        close_loop(&all->list[--all->n]);
}

/* ---- stopping ---- */

void workers_stop(struct workers *all)
{
    for (size_t i = 0; all && i < all->n; i++)
        mailbox_post(all->list[i].mailbox, &all->list[i].stop);
}

void workers_cancel(struct workers *all)
{
    for (size_t i = 0; all && i < all->n; i++)
        mailbox_post(all->list[i].mailbox, &all->list[i].cancel);
}

bool workers_over(const struct workers *all) { return !all || all->n_over == all->n; }
