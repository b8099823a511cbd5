/*
 * gateway/control.h - how the command line talks to a running gateway: a unix socket in data_dir,
 * readable by its owner alone.
 *
 * One line is asked, one JSON document is answered, then the connection ends.
 */
#ifndef DRAGOMAN_GATEWAY_CONTROL_H
#define DRAGOMAN_GATEWAY_CONTROL_H

#include <uv.h>

#include "base/buffer.h"
#include "base/fail.h"

struct control;

/* Answers `line` (without its end) by appending to `reply`. */
typedef void control_handler(void *owner, struct span line, struct buffer *reply);

/* Listens on `data_dir`/control.sock; a socket that a killed gateway left is replaced. NULL with
 * fail: the gateway works without it. */
struct control *control_create(uv_loop_t *, struct span data_dir, control_handler *, void *owner,
                               struct fail *);
/* Takes the socket away; freed on a later turn of the loop. NULL is nothing. */
void control_destroy(struct control *);

/* The other end, for a program without a loop: asks and waits for the answer, 10 s at most. 0; 1
 * when no gateway listens there; -1 with fail. */
int control_ask(struct span data_dir, struct span line, struct buffer *reply, struct fail *);

#endif
