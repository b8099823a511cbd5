/*
 * gateway/upload_book.c - see upload_book.h.
 */
#include "gateway/upload_book.h"

#include <stdlib.h>

#include "gateway/digest_ring.h"
#include "gateway/sha256.h"

struct entry {
    struct digest_entry in; /* first */
    struct upload u;
    char texts[]; /* its */
};

struct upload_book {
    void (*changed)(void *owner, const struct upload *, bool kept);
    void *owner;
    size_t bytes; /* of the values */
    struct digest_ring *ring;
};

/* ---- names ---- */

static void add(mbedtls_sha256_context *c, struct span text)
{
    unsigned char n[8];
    for (size_t i = 0; i < sizeof n; i++)
        n[i] = (unsigned char)((uint64_t)text.n >> (8 * i));
    mbedtls_sha256_update(c, n, sizeof n);
    mbedtls_sha256_update(c, (const unsigned char *)(text.p ? text.p : ""), text.n);
}

struct upload_hash upload_hash_make(const struct upload_scope *scope, struct span key)
{
    struct upload_hash hash = {{0}};
    mbedtls_sha256_context c;
    mbedtls_sha256_init(&c);
    mbedtls_sha256_starts(&c, 0);
    add(&c, SPAN("upload"));
    add(&c, scope->site);
    add(&c, scope->origin);
    add(&c, scope->account);
    add(&c, span_of((const char *)&scope->credentials, sizeof scope->credentials));
    add(&c, key);
    mbedtls_sha256_finish(&c, hash.bytes);
    mbedtls_sha256_free(&c);
    return hash;
}

/* ---- the book ---- */

struct upload_book *upload_book_create(void (*changed)(void *, const struct upload *, bool),
                                       void *owner)
{
    struct upload_book *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->changed = changed;
    b->owner = owner;
    b->ring = digest_ring_create(UPLOADS_MAX);
    if (!b->ring) {
        free(b);
        return NULL;
    }
    return b;
}

void upload_book_destroy(struct upload_book *b)
{
    if (b)
        digest_ring_destroy(b->ring);
    free(b);
}

static struct entry *find(const struct upload_book *b, const struct upload_hash *h)
{
    return (struct entry *)digest_ring_find(b->ring, h->bytes);
}

/* It is out of the ring. */
static void let_go(struct upload_book *b, struct entry *e, bool tell)
{
    if (!e)
        return;
    b->bytes -= e->u.value.n;
    if (tell && b->changed)
        b->changed(b->owner, &e->u, false);
    free(e);
}

static void drop(struct upload_book *b, struct entry *e, bool tell)
{
    if (e)
        digest_ring_take(b->ring, &e->in);
    let_go(b, e, tell);
}

static struct entry *entry_of(const struct upload *u)
{
    struct entry *e = malloc(sizeof *e + u->site.n + u->account.n + u->value.n);
    if (!e)
        return NULL;
    char *at = e->texts;
    e->u = *u;
    e->in.digest = e->u.hash.bytes;
    e->u.site = span_put(&at, u->site);
    e->u.account = span_put(&at, u->account);
    e->u.value = span_put(&at, u->value);
    return e;
}

static struct entry *insert(struct upload_book *b, const struct upload *u, bool tell)
{
    struct entry *e = u->value.n <= UPLOAD_VALUE_MAX ? entry_of(u) : NULL;
    if (!e)
        return NULL;
    drop(b, find(b, &u->hash), false);
    while (digest_ring_is_full(b->ring) || b->bytes + u->value.n > UPLOADS_BYTES)
        let_go(b, (struct entry *)digest_ring_take_oldest(b->ring), tell);
    b->bytes += u->value.n;
    digest_ring_put(b->ring, &e->in);
    return e;
}

void upload_book_keep(struct upload_book *b, const struct upload *u)
{
    struct entry *e = insert(b, u, true);
    if (e && b->changed)
        b->changed(b->owner, &e->u, true);
}

void upload_book_restore(struct upload_book *b, const struct upload *u) { insert(b, u, false); }

const struct upload *upload_book_find(const struct upload_book *b, const struct upload_hash *h,
                                      int64_t now_ms)
{
    const struct entry *e = find(b, h);
    return e && e->u.expires_ms > now_ms ? &e->u : NULL;
}

void upload_book_forget(struct upload_book *b, const struct upload_hash *h)
{
    drop(b, find(b, h), true);
}

void upload_book_prune(struct upload_book *b, int64_t now_ms)
{
    struct entry *e;
    for (size_t at = 0; (e = (struct entry *)digest_ring_next(b->ring, &at));) {
        if (e->u.expires_ms <= now_ms)
            drop(b, e, true);
    }
}
