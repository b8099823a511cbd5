/*
 * gateway/control.h - how the command line talks to a running gateway: a unix socket in data_dir,
 * readable by its owner alone.
 *
 * One line is asked, one answer is given, at once or later, then the connection ends. What lines
 * and answers mean is the handler's business: see on_control in gateway/serve.c. 16 may wait for an
 * answer at once.
 */
#ifndef DRAGOMAN_GATEWAY_CONTROL_H
#define DRAGOMAN_GATEWAY_CONTROL_H

#include <uv.h>

#include "base/buffer.h"
#include "base/fail.h"

struct control;

/* Somebody who has asked and waits. */
struct control_caller;

/* Gets `line` (without its end, valid during the call), and owes one control_answer, now or later.
 */
typedef void control_handler(void *owner, struct span line, struct control_caller *);
/* What the answer (up to 16 MiB; an end of line is added) is appended to. */
struct buffer *control_reply(struct control_caller *);
/* Sends the reply; the caller is not to be used any more. */
void control_answer(struct control_caller *);
/* `gone` is called, once, when the caller leaves before the answer or control_destroy comes first;
 * then no answer is owed. */
void control_on_gone(struct control_caller *, void (*gone)(void *arg), void *arg);

/* Listens on `data_dir`/control.sock; a socket that a killed gateway left is replaced. NULL with
 * fail: the gateway works without it. */
struct control *control_create(uv_loop_t *, struct span data_dir, control_handler *, void *owner,
                               struct fail *);
/* Takes the socket away; freed on a later turn of the loop. NULL is nothing. */
void control_destroy(struct control *);

/* The other end, for a program without a loop: asks and waits for the answer, up to patience_s
 * seconds for each piece of it. 0, with the answer appended to `reply`; 1 when no gateway listens
 * there; -1 with fail. */
int control_ask(struct span data_dir, struct span line, int patience_s, struct buffer *reply,
                struct fail *);

#endif
