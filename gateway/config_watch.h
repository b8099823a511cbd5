/*
 * gateway/config_watch.h - tells when the configuration file has changed (server.watch).
 */
#ifndef DRAGOMAN_GATEWAY_CONFIG_WATCH_H
#define DRAGOMAN_GATEWAY_CONFIG_WATCH_H

#include <uv.h>

#include "base/fail.h"

struct config_watch;

/* `changed` is called when the file at `path` is another one, or holds something else, than before,
 * once it has stayed the same for 300 ms. A file that is gone is waited for. NULL with fail when
 * its folder cannot be watched. */
struct config_watch *config_watch_create(uv_loop_t *, const char *path,
                                         void (*changed)(void *owner), void *owner, struct fail *);
/* The file was read just now, for another reason: what it is at present is no change. NULL is
 * nothing. */
void config_watch_seen(struct config_watch *);
/* Freed on a later turn of the loop; no call follows. NULL is nothing. */
void config_watch_destroy(struct config_watch *);

#endif
