/*
 * gateway/image_fetch.h - pictures that clients give by their URL, fetched for sites that want
 * bytes (server.fetch_images, docs/pictures.md).
 *
 * A fetch is a plain GET over the upstream machinery: TLS verified against the system's trust
 * store, no proxy, no cookie, no credential. It goes to public addresses alone, and to what
 * server.fetch_images_from adds: the rule is asked about each address after the name was resolved,
 * at the place where the socket connects (net_socket_only), for every redirect anew. What comes is
 * believed to be a picture only when its first bytes say so. Sentences of failures never tell
 * anything of what a server answered.
 *
 * What was fetched is kept for a few minutes, bounded: chats repeat their pictures with every turn.
 */
#ifndef DRAGOMAN_GATEWAY_IMAGE_FETCH_H
#define DRAGOMAN_GATEWAY_IMAGE_FETCH_H

#include "gateway/upstream.h"

enum {
    IMAGE_REDIRECTS_MAX = 5,
    IMAGE_CACHE_MS = 5 * 60 * 1000,
    IMAGE_CACHE_ENTRIES = 128,
    IMAGE_CACHE_BYTES = 64 << 20,
    IMAGE_CACHE_LARGEST = IMAGE_CACHE_BYTES / 4,
    IMAGE_HELD_MAX = 512 << 20 /* all that is being fetched, in use, and kept */
};

struct image_fetcher; /* one per event loop */
struct image_fetch;

/* A picture that is here: counted references, bytes valid as long as one is held. */
struct fetched_image;
struct span fetched_image_bytes(const struct fetched_image *);
void fetched_image_unref(struct fetched_image *);

/* NULL when memory is short. */
struct image_fetcher *image_fetcher_create(struct upstream *);
/* After all fetches have ended and all pictures were given back. NULL is fine. */
void image_fetcher_destroy(struct image_fetcher *);

/* What is kept of an URL: a reference; NULL = nothing. */
struct fetched_image *image_fetcher_recall(struct image_fetcher *, struct span url,
                                           uint64_t now_ms);

/* Called once, unless cancelled: with a reference of the picture, or with `fail` (INVALID_VALUE,
 * UNSUPPORTED, SERVER_BUSY, INTERNAL; without param). The fetch is gone. */
typedef void image_fetch_done(void *owner, struct fetched_image *, const struct fail *fail);

/* `config` is kept alive by the caller until the end. Its own clock it has not: see
 * image_fetch_fail_late. NULL with fail. Never calls back before it returns. */
struct image_fetch *image_fetch_start(struct image_fetcher *, const struct config *,
                                      struct span url, image_fetch_done *, void *owner,
                                      struct fail *);
void image_fetch_cancel(struct image_fetch *);
/* The sentence for what did not come in time. */
void image_fetch_fail_late(struct fail *, const struct config *);

#endif
