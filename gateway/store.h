/*
 * gateway/store.h - what must outlive a restart: credentials that sites gave us (guest sessions,
 * access tokens).
 *
 * One SQLite file, `dragoman.db`, in the data directory (0700/0600). Read once at start and only if
 * the file is there; written by the thread pool, one job at a time, in order. A store that cannot
 * be opened or written costs a warning, never an answer.
 */
#ifndef DRAGOMAN_GATEWAY_STORE_H
#define DRAGOMAN_GATEWAY_STORE_H

#include <uv.h>

#include "base/fail.h"

struct store;

/* `data_dir` is copied; nothing is opened or created yet. NULL when memory is short. */
struct store *store_create(uv_loop_t *, struct span data_dir);
/* Calls `found` for each stored credential. 0 (also when there is no file), or -1 with fail. */
int store_load(struct store *,
               void (*found)(void *owner, const char *site, const char *account, const char *name,
                             const char *value, int64_t expires_ms),
               void *owner, struct fail *);
/* Queues a write; `value` NULL forgets the credential. Copies everything. */
void store_save(struct store *, const char *site, const char *account, const char *name,
                const char *value, int64_t expires_ms);
/* Lets queued writes finish, then frees; `closed` is called on the loop. */
void store_destroy(struct store *, void (*closed)(void *), void *arg);

#endif
