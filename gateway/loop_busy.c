/*
 * gateway/loop_busy.c - see loop_busy.h.
 *
 * libuv runs what sockets brought inside the poll itself, so a turn is measured from one "prepare"
 * to the next, without what the poll says that it was idle.
 */
#include "gateway/loop_busy.h"

#include <stdlib.h>

struct loop_busy {
    uv_prepare_t prepare;
    struct histogram turns;
    uint64_t last_ns, last_idle_ns; /* last_ns 0: there was no turn yet */
};

static const double bounds[METRICS_BUCKETS] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                               0.01,   0.025,   0.05,   0.1,   0.25,   1};

static void on_prepare(uv_prepare_t *handle)
{
    struct loop_busy *b = handle->data;
    uint64_t now = uv_hrtime(), idle = uv_metrics_idle_time(handle->loop);
    if (b->last_ns) {
        uint64_t turn = now - b->last_ns, slept = idle - b->last_idle_ns;
        histogram_add(&b->turns, slept < turn ? (double)(turn - slept) / 1e9 : 0);
    }
    b->last_ns = now;
    b->last_idle_ns = idle;
}

struct loop_busy *loop_busy_start(uv_loop_t *loop)
{
    struct loop_busy *b = calloc(1, sizeof *b);
    if (!b || uv_loop_configure(loop, UV_METRICS_IDLE_TIME)) {
        free(b);
        return NULL;
    }
    b->turns.bounds = bounds;
    b->prepare.data = b;
    uv_prepare_init(loop, &b->prepare);
    uv_prepare_start(&b->prepare, on_prepare);
    uv_unref((uv_handle_t *)&b->prepare);
    return b;
}

static void on_closed(uv_handle_t *handle) { free(handle->data); }

void loop_busy_stop(struct loop_busy *b)
{
    if (b)
        uv_close((uv_handle_t *)&b->prepare, on_closed);
}

const struct histogram *loop_busy_turns(const struct loop_busy *b) { return &b->turns; }
