/*
 * gateway/exchange_pictures.h - the pictures of an exchange that stand at http(s) URLs, fetched
 * before an account is leased (server.fetch_images, docs/pictures.md).
 *
 * All runs, targets and choices of an exchange share them: an URL is fetched once. While they come
 * nothing is leased, and nothing of a run exists. The client's leaving cancels them.
 */
#ifndef DRAGOMAN_GATEWAY_EXCHANGE_PICTURES_H
#define DRAGOMAN_GATEWAY_EXCHANGE_PICTURES_H

#include "gateway/exchange_internal.h"

enum {
    PICTURES_MAX = 32,        /* different URLs of an exchange */
    PICTURES_AT_ONCE = 4,     /* of them on their way */
    PICTURES_TOTAL = 96 << 20 /* bytes of all that are fetched for one exchange */
};

enum pictures_state {
    PICTURES_HERE,   /* each part has its bytes (struct part_data), or there is nothing to fetch */
    PICTURES_COMING, /* exchange_wake_branches follows */
    PICTURES_FAILED  /* `fail` names the part */
};

/* What the turn needs for a site that wants bytes. With the option off: HERE, and the site's
 * adapter says what it thinks of URLs. */
enum pictures_state exchange_fetch_pictures(struct exchange *, const struct turn *, struct fail *);
/* When what has not come is given up: UINT64_MAX while nothing is on its way. */
uint64_t exchange_pictures_deadline(const struct exchange *);
void exchange_pictures_clock(struct exchange *, uint64_t now_ms);
/* Nothing comes any more. What is here stays. */
void exchange_cancel_pictures(struct exchange *);
/* Last: what is here goes. */
void exchange_free_pictures(struct exchange *);

#endif
