/*
 * gateway/account_events.h - what happened to an account at its site, with all that follows: its
 * state, what `dragoman accounts` shows, what is written down, and a line of the log where the
 * state changes.
 */
#ifndef DRAGOMAN_GATEWAY_ACCOUNT_EVENTS_H
#define DRAGOMAN_GATEWAY_ACCOUNT_EVENTS_H

#include "gateway/account_pool.h"

void account_met_success(struct account *, struct span model);
/* Any failure; only a limit, a refused credential and a challenge change the state. */
void account_met_failure(struct account *, struct span model, const struct fail *, uint64_t now_ms);

#endif
