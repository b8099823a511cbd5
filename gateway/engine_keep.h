/*
 * gateway/engine_keep.h - what the engine's parts want to be written down, as rows of the store,
 * and back: the accounts' credentials and states, the daily counts of accounts and keys, the sites'
 * model lists.
 *
 * Rests are monotonic times in the pool and wall clock times in the store.
 */
#ifndef DRAGOMAN_GATEWAY_ENGINE_KEEP_H
#define DRAGOMAN_GATEWAY_ENGINE_KEEP_H

#include "gateway/engine.h"

/* Hooks for account_pool_create, key_limits_create and catalogue_create; their owner is the engine.
 */
void keep_credential(void *owner, struct account *, const char *name, const char *value,
                     int64_t expires_ms);
void keep_account(void *owner, const struct account *);
void keep_account_begun(void *owner, struct account *);
void keep_models(void *owner, struct span site, int64_t fetched_ms, struct span json);
void keep_key_day(void *owner, struct span key, const struct key_day *);
/* What was known of an account. */
void keep_restore_account(struct account_pool *, const struct store_account *, uint64_t now_ms);
/* What the store hands back at the start. */
struct store_reader keep_reader(struct engine *);

#endif
