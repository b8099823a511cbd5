/*
 * gateway/serve.h - run the gateway until it is told to stop: signals, reload, listeners, engine.
 */
#ifndef DRAGOMAN_GATEWAY_SERVE_H
#define DRAGOMAN_GATEWAY_SERVE_H

#include "gateway/config.h"

/* Takes the caller's reference of `config`. `file` is what a reload reads again (NULL = built in,
 * nothing to reload). `rebuild`: move the data file aside first (store_rebuild). Returns the exit
 * code. */
int serve(struct config *config, const char *file, bool rebuild);

#endif
