/*
 * gateway/exchange.h - the life of one client request (docs/architecture.md).
 *
 * Owned by the engine's list; ends by itself. The client side (struct http_exchange) may go before
 * it: clean-up at the site goes on.
 */
#ifndef DRAGOMAN_GATEWAY_EXCHANGE_H
#define DRAGOMAN_GATEWAY_EXCHANGE_H

#include "gateway/access.h"
#include "gateway/engine.h"

struct api;

/* The body is whole and the client admitted. Answers in any case. `path`: below the API's base,
 * static. */
void exchange_start(struct engine *, struct http_exchange *, const struct access_grant *,
                    const struct api *, struct span path);
/* The engine's clock rings: those whose time has come go on, those that are over are freed. */
void exchange_clock(struct engine *);
void exchange_free_over(struct engine *);
/* Memory that goes from one exchange to the next: before the first one; and what of it is not in
 * use is given back. */
void exchange_init_spares(struct engine *);
void exchange_free_spares(struct engine *);
/* The engine's list. */
struct exchange *exchange_next(struct exchange *);
/* Ends it as at a shutdown: the client gets what is there, and an error. */
void exchange_abandon(struct exchange *);

#endif
