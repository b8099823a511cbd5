/*
 * gateway/handshake_thread.c - see handshake_thread.h.
 *
 * Lists under one lock: what is to be computed, one for each turn, and what is done. The loop is
 * woken through an eventfd of ours and not through uv_async_send: the thread gives way to the loop
 * in the very call that wakes it, so it would be stopped in the middle of uv_async_send, and there
 * libuv's loop spins until it has got on. For the same reason nothing is locked when the loop is
 * woken. The handle keeps the loop alive only while there is work.
 */
#include "gateway/handshake_thread.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Enough for mbedTLS, which keeps its big numbers on the heap; the sanitizers need more. */
enum { STACK = 1024 * 1024, NICE = 5 };

TAILQ_HEAD(work_list, handshake_work);

struct handshake_thread {
    uv_thread_t thread;
    uv_mutex_t lock;
    uv_cond_t wake;
    int event; /* eventfd */
    uv_poll_t poll;
    struct work_list waiting[HANDSHAKE_TURNS], finished;
    unsigned turn; /* whose it is next, if anything waits there */
    size_t open;   /* works that the loop still has to hear of */
    bool runs, stop;
    void (*closed)(void *);
    void *closed_arg;
};

/*
 * The loop, when it wakes, is to have the processor at once. SCHED_BATCH never takes it from others
 * by waking up; a larger nice value gives the loop three quarters when both want all of it. With
 * the scheduler of Linux 6.12 and later a thread that asked for long slices is interrupted by any
 * that did not (earlier ones ignore the wish). All of it is allowed to everybody, and none of it
 * can be undone by everybody: so it is not done to a thread of libuv's pool. SCHED_IDLE would be
 * too much: on a machine that is busy with other things a handshake would take seconds.
 */
static void give_way(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t slice_ns, deadline, period;
    } wish = {.policy = SCHED_BATCH, .slice_ns = 100000000};
    wish.size = sizeof wish;
    /* Where any of it is refused, the thread is as good as others. */
    wish.nice = getpriority(PRIO_PROCESS, 0) + NICE;
    if (wish.nice > 19)
        wish.nice = 19;
#ifdef SYS_sched_setattr
    syscall(SYS_sched_setattr, 0, &wish, 0);
#endif
}

/* Never full: what it counts is taken whenever the loop wakes. */
static void wake_loop(struct handshake_thread *t)
{
    const uint64_t one = 1;
    while (write(t->event, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* The next one, out of its list; NULL = nothing waits. */
static struct handshake_work *take_next(struct handshake_thread *t)
{
    for (unsigned i = 0; i < HANDSHAKE_TURNS; i++) {
        unsigned turn = (t->turn + i) % HANDSHAKE_TURNS;
        struct handshake_work *work = TAILQ_FIRST(&t->waiting[turn]);
        if (!work)
            continue;
        TAILQ_REMOVE(&t->waiting[turn], work, link);
        work->waits = false;
        t->turn = turn + 1;
        return work;
    }
    return NULL;
}

static void thread_main(void *arg)
{
    struct handshake_thread *t = arg;
    give_way();
    uv_mutex_lock(&t->lock);
    for (;;) {
        struct handshake_work *work = take_next(t);
        if (!work && t->stop)
            break;
        if (!work) {
            uv_cond_wait(&t->wake, &t->lock);
            continue;
        }
        uv_mutex_unlock(&t->lock);
        work->run(work);
        uv_mutex_lock(&t->lock);
        TAILQ_INSERT_TAIL(&t->finished, work, link);
        uv_mutex_unlock(&t->lock);
        wake_loop(t);
        uv_mutex_lock(&t->lock);
    }
    uv_mutex_unlock(&t->lock);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct handshake_thread *t = handle->data;
    void (*closed)(void *) = t->closed;
    void *arg = t->closed_arg;
    close(t->event);
    uv_cond_destroy(&t->wake);
    uv_mutex_destroy(&t->lock);
    free(t);
    closed(arg);
}

static void close_when_done(struct handshake_thread *t)
{
    if (!t->closed || t->open > 0 || uv_is_closing((uv_handle_t *)&t->poll))
        return;
    if (t->runs) {
        uv_mutex_lock(&t->lock);
        t->stop = true;
        uv_cond_signal(&t->wake);
        uv_mutex_unlock(&t->lock);
        uv_thread_join(&t->thread);
    }
    uv_close((uv_handle_t *)&t->poll, on_poll_closed);
}

/* The loop has heard of one. */
static void settle(struct handshake_thread *t)
{
    if (--t->open == 0)
        uv_unref((uv_handle_t *)&t->poll);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct handshake_thread *t = poll->data;
    uint64_t count;
    ssize_t got = read(t->event, &count, sizeof count);
    (void)got; /* nothing there: the lists say what is */
    for (;;) {
        uv_mutex_lock(&t->lock);
        struct handshake_work *work = TAILQ_FIRST(&t->finished);
        if (work)
            TAILQ_REMOVE(&t->finished, work, link);
        uv_mutex_unlock(&t->lock);
        if (!work)
            break;
        settle(t);
        work->done(work);
    }
    close_when_done(t);
}

int handshake_thread_begin(struct handshake_thread *t, struct handshake_work *work)
{
    const uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = STACK};
    if (!t->runs && uv_thread_create_ex(&t->thread, &options, thread_main, t) != 0)
        return -1;
    t->runs = true;
    if (t->open++ == 0)
        uv_ref((uv_handle_t *)&t->poll);
    uv_mutex_lock(&t->lock);
    work->waits = true;
    TAILQ_INSERT_TAIL(&t->waiting[work->group % HANDSHAKE_TURNS], work, link);
    uv_cond_signal(&t->wake);
    uv_mutex_unlock(&t->lock);
    return 0;
}

bool handshake_thread_take_back(struct handshake_thread *t, struct handshake_work *work)
{
    uv_mutex_lock(&t->lock);
    bool waits = work->waits;
    if (waits)
        TAILQ_REMOVE(&t->waiting[work->group % HANDSHAKE_TURNS], work, link);
    work->waits = false;
    uv_mutex_unlock(&t->lock);
    if (!waits)
        return false;
    settle(t);
    close_when_done(t);
    return true;
}

void handshake_thread_close(struct handshake_thread *t, void (*closed)(void *), void *arg)
{
    t->closed = closed;
    t->closed_arg = arg;
    close_when_done(t);
}

struct handshake_thread *handshake_thread_create(uv_loop_t *loop)
{
    struct handshake_thread *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    for (unsigned i = 0; i < HANDSHAKE_TURNS; i++)
        TAILQ_INIT(&t->waiting[i]);
    TAILQ_INIT(&t->finished);
    if (uv_mutex_init(&t->lock) != 0)
        goto no_lock;
    if (uv_cond_init(&t->wake) != 0)
        goto no_condition;
    t->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->event < 0)
        goto no_event;
    if (uv_poll_init(loop, &t->poll, t->event) != 0)
        goto no_poll;
    t->poll.data = t;
    uv_poll_start(&t->poll, UV_READABLE, on_event);
    uv_unref((uv_handle_t *)&t->poll);
    return t;
no_poll:
    close(t->event);
no_event:
    uv_cond_destroy(&t->wake);
no_condition:
    uv_mutex_destroy(&t->lock);
no_lock:
    free(t);
    return NULL;
}
