/*
 * gateway/log_body.h - `log_bodies = true`: what clients and sites say to each other, for whoever
 * looks for a fault.
 *
 * One line a piece, with the request's id. Credentials of the account, configured or obtained,
 * never appear; what is said while one is obtained is not shown at all.
 */
#ifndef DRAGOMAN_GATEWAY_LOG_BODY_H
#define DRAGOMAN_GATEWAY_LOG_BODY_H

#include "adapters/site.h"

/* `direction` names who speaks: "from client", "to site", "from site", "to client". `account` may
 * be NULL. */
void log_body(const char *request_id, const char *direction, struct span text,
              const struct site_account *account);
/* Only that there was something, and how much. */
void log_body_hidden(const char *request_id, const char *direction, size_t n);

#endif
