/*
 * gateway/shape_book.h - what is known of the sites' frames from one stream to the next
 * (base/json_shapes.h), for each site apart. One of each loop; a cache: all of it may be forgotten
 * at any time, and is when the configuration changes.
 */
#ifndef DRAGOMAN_GATEWAY_SHAPE_BOOK_H
#define DRAGOMAN_GATEWAY_SHAPE_BOOK_H

#include "base/json_shapes.h"
#include "gateway/config.h"

enum { SHAPE_BOOK_SITES = 16 };

/* Zeroed before its first use. */
struct shape_book {
    struct {
        const struct site_config *site; /* only to be told apart by */
        struct json_shapes *shapes;
        uint32_t used;
    } list[SHAPE_BOOK_SITES];
    uint32_t clock;
    uint32_t last; /* who was asked for last */
};

/* The site's, valid until the next call; NULL when memory is short. The site that was not asked for
 * longest makes room. */
struct json_shapes *shape_book_of(struct shape_book *, const struct site_config *);
/* Forgets all. */
void shape_book_clear(struct shape_book *);

#endif
