/*
 * gateway/conversation_reuse.h - which conversation at a site ends where a client's history goes
 * on.
 *
 * Clients send the whole history with every turn; sites of the chat kind keep it themselves. What a
 * site still holds is known by a hash over all that led there: whose client it is, site and model,
 * what else changes the answer, and each message in order. An edit anywhere, or the wish for
 * another answer, gives another hash, and a new conversation begins. Only hashes are kept, never a
 * text.
 *
 * Pure: no I/O; times are wall clock (Unix, ms), for they outlive a restart, and are handed in.
 */
#ifndef DRAGOMAN_GATEWAY_CONVERSATION_REUSE_H
#define DRAGOMAN_GATEWAY_CONVERSATION_REUSE_H

#include "adapters/turn.h"
#include "base/arena.h"

/* ---- what a history is called ---- */

enum { CONVERSATION_HASH = 32 /* SHA-256 */ };

struct conversation_hash {
    unsigned char bytes[CONVERSATION_HASH];
};

/* Whose history at which site. */
struct conversation_scope {
    struct span key;          /* name of the client's key; "" = none is configured */
    struct span site, origin; /* its name, and where it is */
    struct span model;        /* as the site calls it */
};

/* What a turn is, seen from a site that may hold all but its end. */
struct conversation_turn {
    struct conversation_hash whole;  /* up to its last message */
    struct conversation_hash before; /* up to its last answer, with `held` > 0 */
    size_t held;   /* messages up to that answer; 0 = none, or nothing that could be sent alone
                      stands behind it (only words of the user and results of tools can) */
    bool can_keep; /* the answer to it will be a message of its own in the history to come */
};

/* Former answers count as clients repeat them: white space around the text and leading
 * <think>…</think> do not, nor does reasoning beside it. */
void conversation_turn_read(struct conversation_turn *, const struct conversation_scope *,
                            const struct turn *);

/* An answer's text, piece by piece as the client gets it. */
struct conversation_told;

/* In the arena; NULL when memory is short. */
struct conversation_told *conversation_told_create(struct arena *);
/* Forgets what was told. */
void conversation_told_begin(struct conversation_told *);
void conversation_told_add(struct conversation_told *, struct span text);
/* A call of a tool, and pieces of its arguments, before the next one. White space between the
 * tokens of arguments does not count, nor how characters are escaped: clients write them anew. */
void conversation_told_call(struct conversation_told *, struct span id, struct span name);
void conversation_told_arguments(struct conversation_told *, struct span piece);
/* The history with that answer behind it. Once. */
struct conversation_hash conversation_answered(const struct conversation_hash *whole,
                                               struct conversation_told *);

/* ---- what the sites hold ---- */

enum {
    CONVERSATIONS_MAX = 4096,
    CONVERSATION_STATE_MAX = 512 /* bytes; longer: not kept */
};
#define CONVERSATION_KEEP_MS (INT64_C(7) * 24 * 3600 * 1000)

struct conversation {
    struct conversation_hash hash;
    struct span site, account;
    uint64_t credentials; /* hash of the account's: with others it is another person's */
    struct span state;    /* the adapter's (adapters/adapter.h) */
    int64_t expires_ms;
};

struct conversation_book;

/* `changed` is told what was kept, or forgotten, so that it can be written down; may be NULL. NULL
 * when memory is short. */
struct conversation_book *
conversation_book_create(void (*changed)(void *owner, const struct conversation *, bool kept),
                         void *owner);
void conversation_book_destroy(struct conversation_book *); /* NULL is fine */
/* Copies. In the place of one with the same hash; when there are too many the oldest goes. False:
 * not kept (too long a state, or memory is short). */
bool conversation_book_keep(struct conversation_book *, const struct conversation *);
/* The same of what was written down; the hook is not called. */
void conversation_book_restore(struct conversation_book *, const struct conversation *);
/* NULL = not known (any more). Valid until the next change. */
const struct conversation *conversation_book_find(const struct conversation_book *,
                                                  const struct conversation_hash *, int64_t now_ms);
/* It goes on from here, and ends elsewhere. */
void conversation_book_forget(struct conversation_book *, const struct conversation_hash *);
/* What has ended goes. */
void conversation_book_prune(struct conversation_book *, int64_t now_ms);

#endif
