/*
 * gateway/store.h - what must outlive a restart: credentials that sites gave us, the accounts'
 * states, daily counters, the sites' model lists.
 *
 * One SQLite file, `dragoman.db`, in the data directory (folder 0700, files 0600), for one gateway
 * at a time (data_lock.h). Read once, at start; written by libuv's thread pool, never on the loop.
 *
 * Threads: with one event loop every function here is called on its thread, every callback comes
 * there. With several (store_share), saving and asking may happen on any of them, and callbacks
 * come on the loop that asked; the loop that the store was created for starts the jobs of all.
 * Ownership: what is handed in is copied; what a callback gets is valid during the call.
 *
 * What is durable when. Saves collect in memory, one a row: a later save of the same row replaces
 * the earlier one. All that has collected is written as one transaction (synchronous=FULL), one
 * transaction at a time, so the file always holds what was true after some save, never the later of
 * two saves without the earlier one. Counters wait for up to STORE_LAZY_MS to be joined by others;
 * every other save is written at once and takes waiting counters along. Who must know calls the
 * variant with `done`. A write that fails (a full disk) costs one warning; its rows stay in memory
 * and are tried again after a while, with the next save, and at the end.
 */
#ifndef DRAGOMAN_GATEWAY_STORE_H
#define DRAGOMAN_GATEWAY_STORE_H

#include <uv.h>

#include "base/fail.h"
#include "gateway/shared.h"

struct store;

enum { STORE_LAZY_MS = 1000 };

/* ---- rows ---- */

/* A credential that a site gave us; known by site, account and name. */
struct store_credential {
    const char *site, *account, *name;
    const char *value; /* NULL in a save: forget it */
    int64_t expires_ms;
};

/* An account's state; known by site, account and model. */
struct store_account {
    const char *site, *account;
    const char *model;  /* "" = for all models */
    const char *state;  /* the pool's word; NULL in a save: forget it */
    int64_t until_ms;   /* wall clock */
    int64_t strikes;    /* failures in a row */
    const char *error;  /* the last one, without secrets; "" = none */
    int64_t changed_ms; /* wall clock: when it was last true */
};

/* Totals of one UTC day (not what was added); known by kind, name and day. */
struct store_counter {
    const char *kind; /* "account", "key" */
    const char *name; /* "site/account", or the key's name */
    int64_t day;      /* days since 1970-01-01, UTC */
    int64_t requests, tokens_in, tokens_out;
};

/* A model list as the site told it; known by site. */
struct store_models {
    const char *site;
    int64_t fetched_ms; /* wall clock */
    const char *json;   /* NULL in a save: forget it */
};

/* A conversation that a site holds for us (conversation_reuse.h); known by hash. */
struct store_conversation {
    const char *hash; /* hex */
    const char *site, *account;
    const char *state; /* NULL in a save: forget it */
    int64_t expires_ms;
    int64_t credentials;
};

/* A file that a site has of us (upload_book.h); known by hash, site and account. */
struct store_upload {
    const char *hash; /* hex */
    const char *site, *account;
    const char *value; /* what the site said of it, kept as credentials are; NULL in a save: forget
                          it */
    int64_t expires_ms;
};

/* A response that clients go on from; known by id (response_store.h). It is not among the rows that
 * are read at the start. */
struct store_response {
    const char *id, *owner;
    const char *previous; /* "" = none */
    const char *body;
    int64_t created_ms, expires_ms; /* wall clock */
    int64_t max_bytes;              /* of all responses: the rest goes, what ends first first */
};

/* ---- start and end ---- */

/* `data_dir` and `secret` (server.secret_key; empty = credentials are kept in plain) are copied;
 * nothing is opened or created yet. NULL when memory is short. */
struct store *store_create(uv_loop_t *, struct span data_dir, struct span secret);

/* Moves the file aside to dragoman.db.bad-N, with its journal; nothing to do when there is none. 0,
 * or -1 with fail. Before store_open. */
int store_rebuild(struct store *, struct fail *);

/* Who wants which rows; NULL = nobody. */
struct store_reader {
    void *owner;
    void (*credential)(void *owner, const struct store_credential *);
    void (*account)(void *owner, const struct store_account *);
    void (*counter)(void *owner, const struct store_counter *);
    void (*models)(void *owner, const struct store_models *);
    void (*meta)(void *owner, const char *name, const char *value);
    /* The one that ends first comes first. */
    void (*conversation)(void *owner, const struct store_conversation *);
    void (*upload)(void *owner, const struct store_upload *); /* likewise */
};

enum store_opened {
    STORE_OPEN,
    /* The folder or the file cannot be used for now (fail says why): everything is kept in memory,
     * and opening is tried again with each write. */
    STORE_UNAVAILABLE,
    /* Going on could do harm (fail says what to do): another gateway works on it, the file is
     * damaged, of a newer version, or encrypted with another key. The file is as it was. Only
     * store_destroy may follow. */
    STORE_REFUSED
};
/* Opens the file, or makes it; brings an older one up to date; encrypts what is still in plain when
 * there is a secret; calls the reader for every row. Blocks: before the loop runs, once. */
enum store_opened store_open(struct store *, const struct store_reader *, struct fail *);
/* Several event loops use it from now on. */
void store_share(struct store *, struct shared *);
/* Of the file, for messages. */
const char *store_path(const struct store *);

/* Lets everything that was saved be written, then frees; `closed` (may be NULL) is called on the
 * loop. */
void store_destroy(struct store *, void (*closed)(void *), void *arg);

/* ---- saving ---- */

void store_save_credential(struct store *, const struct store_credential *);
/* The same; `done` is called once: `durable` when this value, or a later one of the same row, is on
 * disk and survives a kill or a power cut; else the write failed. (Called before this returns only
 * when memory is short.) */
void store_save_credential_then(struct store *, const struct store_credential *,
                                void (*done)(void *arg, bool durable), void *arg);
void store_save_account(struct store *, const struct store_account *);
void store_save_counter(struct store *, const struct store_counter *);
void store_save_models(struct store *, const struct store_models *);
void store_save_conversation(struct store *, const struct store_conversation *);
void store_save_upload(struct store *, const struct store_upload *);
/* What is older goes, with the next write (at once): counters of days before `day`, states of
 * accounts saved, and conversations and uploads that ended, before `changed_ms`. When that fails it
 * is left for the next time. */
void store_prune(struct store *, int64_t day, int64_t changed_ms);
/* Single values by name; `value` NULL forgets. */
void store_save_meta(struct store *, const char *name, const char *value);

/* Is not kept for another try when the write fails. */
void store_save_response_then(struct store *, const struct store_response *,
                              void (*done)(void *arg, bool durable), void *arg);

/* ---- asking ---- */

struct store_file;

/* Something to look up in the file (store_file.h) while the gateway runs. The asker's own, until
 * `done`. */
struct store_query {
    struct store_query *next; /* the store's, as the next two */
    struct mailbox *home;
    struct mail mail;
    /* On the thread pool, when everything that was saved before is written or could not be. */
    void (*work)(struct store_query *, struct store_file *);
    void (*done)(struct store_query *); /* on the loop, always, later */
};
void store_ask(struct store *, struct store_query *);

#endif
