/*
 * gateway/engine_keep.h - what the engine's parts want to be written down, as rows of the store,
 * and back: the accounts' credentials and states, the daily counts of accounts and keys, the sites'
 * model lists, the conversations and files that sites hold.
 *
 * Rests are monotonic times in the pool and wall clock times in the store.
 */
#ifndef DRAGOMAN_GATEWAY_ENGINE_KEEP_H
#define DRAGOMAN_GATEWAY_ENGINE_KEEP_H

#include "gateway/engine.h"

/* Hooks for account_pool_create, key_limits_create, catalogue_create, conversation_book_create and
 * upload_book_create; their owner is the engine. */
void keep_credential(void *owner, struct account *, const char *name, const char *value,
                     int64_t expires_ms);
void keep_account(void *owner, const struct account *);
void keep_account_begun(void *owner, struct account *);
/* Under which configured credentials the account's rows come about (as a hash, kept with the held
 * credentials): somebody may give it another one while no gateway runs. */
void keep_configured(void *owner, struct account *);
void keep_models(void *owner, struct span site, int64_t fetched_ms, struct span json);
void keep_conversation(void *owner, const struct conversation *, bool kept);
void keep_upload(void *owner, const struct upload *, bool kept);
void keep_key_day(void *owner, struct span key, const struct key_day *);
/* What was known of an account; after all of it keep_restored, which lets those begin anew that
 * have another credential now. */
void keep_restore_credential(struct account_pool *, const struct store_credential *);
void keep_restored(struct account_pool *);
void keep_restore_account(struct account_pool *, const struct store_account *, uint64_t now_ms);
/* What accounts that are no more have left behind, and the counters of days gone by, go from the
 * store. */
void keep_tidy(struct engine *);
/* What the store hands back at the start. */
struct store_reader keep_reader(struct engine *);

#endif
