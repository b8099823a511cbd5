/*
 * gateway/loop_busy.h - how long each turn of an event loop keeps everybody else waiting.
 *
 * A turn is busy from one poll's return to the next poll: what a chunk may have to wait for at the
 * worst. Costs four readings of the clock (vDSO) a turn, however many sockets it serves.
 */
#ifndef DRAGOMAN_GATEWAY_LOOP_BUSY_H
#define DRAGOMAN_GATEWAY_LOOP_BUSY_H

#include <uv.h>

#include "gateway/metrics.h"

struct loop_busy;

/* Before the loop runs. NULL when memory is short, or libuv cannot tell. */
struct loop_busy *loop_busy_start(uv_loop_t *);
/* Frees it on a later turn of the loop; NULL is fine. */
void loop_busy_stop(struct loop_busy *);
const struct histogram *loop_busy_turns(const struct loop_busy *);

#endif
