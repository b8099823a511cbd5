/*
 * gateway/upload_book.h - what sites said of files that were uploaded, so that the same file goes
 * there once (docs/pictures.md).
 *
 * Known by a hash over site, account, its credentials, and the adapter's key, which holds the
 * content's digest: never by content or name. Bounded in number and bytes, the oldest goes first.
 * Pure: no I/O; times are wall clock (Unix, ms), for they outlive a restart, and are handed in.
 */
#ifndef DRAGOMAN_GATEWAY_UPLOAD_BOOK_H
#define DRAGOMAN_GATEWAY_UPLOAD_BOOK_H

#include "base/span.h"

enum {
    UPLOAD_HASH = 32, /* SHA-256 */
    UPLOADS_MAX = 4096,
    UPLOADS_BYTES = 8 << 20, /* values of all */
    UPLOAD_VALUE_MAX = 4096  /* longer: not kept */
};

struct upload_hash {
    unsigned char bytes[UPLOAD_HASH];
};

/* Whose files at which site. */
struct upload_scope {
    struct span site, origin, account; /* the site's name, where it is, the account's name */
    uint64_t credentials; /* hash of the account's: with others it is another person's */
};

struct upload_hash upload_hash_make(const struct upload_scope *, struct span key);

struct upload {
    struct upload_hash hash;
    struct span site, account;
    struct span value; /* the adapter's */
    int64_t expires_ms;
};

struct upload_book;

/* `changed` is told what was kept, or forgotten, so that it can be written down; may be NULL. NULL
 * when memory is short. */
struct upload_book *
upload_book_create(void (*changed)(void *owner, const struct upload *, bool kept), void *owner);
void upload_book_destroy(struct upload_book *); /* NULL is fine */
/* Copies. In the place of one with the same hash. */
void upload_book_keep(struct upload_book *, const struct upload *);
/* The same of what was written down; the hook is not called. */
void upload_book_restore(struct upload_book *, const struct upload *);
/* NULL = not known (any more). Valid until the next change. */
const struct upload *upload_book_find(const struct upload_book *, const struct upload_hash *,
                                      int64_t now_ms);
void upload_book_forget(struct upload_book *, const struct upload_hash *);
/* What has ended goes. */
void upload_book_prune(struct upload_book *, int64_t now_ms);

#endif
