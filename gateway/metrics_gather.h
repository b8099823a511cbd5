/*
 * gateway/metrics_gather.h - answers GET /metrics with the figures of all event loops, whichever of
 * them was asked.
 *
 * What is common to the loops is counted in one place (engine.h); the rest each loop is asked for
 * by a mail, and the answer waits for the last of them.
 */
#ifndef DRAGOMAN_GATEWAY_METRICS_GATHER_H
#define DRAGOMAN_GATEWAY_METRICS_GATHER_H

#include "gateway/engine.h"
#include "gateway/metrics_page.h"

/* `answer` is called once, now or later, with all figures, unless the client leaves before. */
void metrics_gather(struct engine *, struct http_exchange *,
                    void (*answer)(struct engine *, struct http_exchange *,
                                   const struct metrics_loop *all));

#endif
