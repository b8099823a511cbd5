/*
 * gateway/log_turns.c - see log_turns.h. All of it happens on the loop's own thread: what waits is
 * the thread's.
 */
#include "gateway/log_turns.h"

#include <stdlib.h>

#include "gateway/log.h"

struct log_turns {
    uv_prepare_t prepare;
};

static void on_prepare(uv_prepare_t *handle)
{
    log_collect();
    log_flush();
}

static void on_closed(uv_handle_t *handle)
{
    log_collect_end();
    free(handle->data);
}

struct log_turns *log_turns_start(uv_loop_t *loop)
{
    struct log_turns *t = malloc(sizeof *t);
    if (!t)
        return NULL;
    uv_prepare_init(loop, &t->prepare);
    t->prepare.data = t;
    uv_prepare_start(&t->prepare, on_prepare);
    uv_unref((uv_handle_t *)&t->prepare);
    return t;
}

void log_turns_stop(struct log_turns *t)
{
    if (t)
        uv_close((uv_handle_t *)&t->prepare, on_closed);
}
