/*
 * gateway/workers.h - the event loops besides the first, with server.workers above 1: each on a
 * thread of its own, with an engine and an HTTP server of its own.
 *
 * The first loop, on the program's main thread, owns what is common, hears signals, reloads and
 * ends last. Every function is called on its thread.
 */
#ifndef DRAGOMAN_GATEWAY_WORKERS_H
#define DRAGOMAN_GATEWAY_WORKERS_H

#include "gateway/engine.h"

struct workers;

/* How many loops the configuration asks for, the first one included. */
size_t workers_wanted(const struct config *);

/* `n` more, beside the first engine and server; none runs yet. NULL with fail. */
struct workers *workers_create(struct engine *first, struct http_server *http, size_t n,
                               struct fail *);
/* Starts the threads. Those that there cannot be are done without, after a warning. */
void workers_run(struct workers *);

/* Between these two none of them does anything; NULL is nothing. */
void workers_pause(struct workers *);
void workers_resume(struct workers *);
/* While paused, after the first loop's. 0, or -1 with fail and the old state kept. */
int workers_reload_listeners(struct workers *, struct config *now, struct config *old,
                             struct fail *);
/* While paused, after the first loop's. 0, or -1 when memory is short. */
int workers_reload(struct workers *, struct config *);

/* As the first loop does on a signal: no new connections, and each ends when its requests are over;
 * or at once. NULL is nothing. */
void workers_stop(struct workers *);
void workers_cancel(struct workers *);
/* Have all ended? True for NULL. */
bool workers_over(const struct workers *);
/* When all have ended, or none was ever run. NULL is nothing. */
void workers_destroy(struct workers *);

#endif
