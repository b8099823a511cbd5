/*
 * gateway/upload_book.c - see upload_book.h. A ring in order of keeping, and buckets of chains over
 * it.
 */
#include "gateway/upload_book.h"

#include <stdlib.h>

#include "gateway/sha256.h"

enum { BUCKETS = UPLOADS_MAX };

struct entry {
    struct upload u; /* its texts are in `texts` */
    char *texts;     /* NULL = free, or gone */
    struct entry *chain;
};

struct upload_book {
    void (*changed)(void *owner, const struct upload *, bool kept);
    void *owner;
    size_t bytes;
    size_t first, n; /* the oldest, and how many places there are from it on */
    struct entry ring[UPLOADS_MAX];
    struct entry *buckets[BUCKETS];
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
    if (b) {
        b->changed = changed;
        b->owner = owner;
    }
    return b;
}

static struct entry **bucket_of(const struct upload_book *b, const struct upload_hash *h)
{
    size_t at = (size_t)h->bytes[0] | (size_t)h->bytes[1] << 8;
    return (struct entry **)&b->buckets[at % BUCKETS];
}

static struct entry *find(const struct upload_book *b, const struct upload_hash *h)
{
    struct entry *e = *bucket_of(b, h);
    while (e && memcmp(&e->u.hash, h, sizeof *h) != 0)
        e = e->chain;
    return e;
}

static void drop(struct upload_book *b, struct entry *e, bool tell)
{
    if (!e || !e->texts)
        return;
    struct entry **at = bucket_of(b, &e->u.hash);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    b->bytes -= e->u.value.n;
    if (tell && b->changed)
        b->changed(b->owner, &e->u, false);
    free(e->texts);
    *e = (struct entry){.texts = NULL};
}

static void drop_oldest(struct upload_book *b, bool tell)
{
    drop(b, &b->ring[b->first], tell);
    b->first = (b->first + 1) % UPLOADS_MAX;
    b->n--;
}

void upload_book_destroy(struct upload_book *b)
{
    while (b && b->n)
        drop_oldest(b, false);
    free(b);
}

static struct span put(char **at, struct span text)
{
    struct span copy = span_of(*at, text.n);
    if (text.n)
        memcpy(*at, text.p, text.n);
    *at += text.n;
    return copy;
}

static struct entry *insert(struct upload_book *b, const struct upload *u, bool tell)
{
    char *texts, *at;
    if (u->value.n > UPLOAD_VALUE_MAX ||
        !(texts = at = malloc(u->site.n + u->account.n + u->value.n + 1)))
        return NULL;
    drop(b, find(b, &u->hash), false);
    while (b->n == UPLOADS_MAX || b->bytes + u->value.n > UPLOADS_BYTES)
        drop_oldest(b, tell);
    struct entry *e = &b->ring[(b->first + b->n++) % UPLOADS_MAX];
    struct entry **bucket = bucket_of(b, &u->hash);
    *e = (struct entry){.u = *u, .texts = texts, .chain = *bucket};
    e->u.site = put(&at, u->site);
    e->u.account = put(&at, u->account);
    e->u.value = put(&at, u->value);
    b->bytes += u->value.n;
    *bucket = e;
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
    for (size_t i = 0; i < b->n; i++) {
        struct entry *e = &b->ring[(b->first + i) % UPLOADS_MAX];
        if (e->texts && e->u.expires_ms <= now_ms)
            drop(b, e, true);
    }
}
