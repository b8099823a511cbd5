/*
 * gateway/log_turns.h - the log lines of a loop's requests leave once a turn.
 */
#ifndef DRAGOMAN_GATEWAY_LOG_TURNS_H
#define DRAGOMAN_GATEWAY_LOG_TURNS_H

#include <uv.h>

struct log_turns;

/* From the loop's next turn on; NULL when memory is short: then each line leaves alone. */
struct log_turns *log_turns_start(uv_loop_t *);
/* What waits leaves while the loop runs to its end. NULL is fine. */
void log_turns_stop(struct log_turns *);

#endif
