/*
 * gateway/other_origin.h - a request of a site that goes to another server of it: where tokens are
 * renewed, where pictures are put (site_request.origin).
 */
#ifndef DRAGOMAN_GATEWAY_OTHER_ORIGIN_H
#define DRAGOMAN_GATEWAY_OTHER_ORIGIN_H

#include "base/fail.h"
#include "gateway/config.h"

/* Fills `other` with the site's settings and the place of `origin`: "https://host" or
 * "https://host:port", nothing behind it. `other` lives no longer than both. A site that is asked
 * by TLS has no other server without it. 0, or -1 with fail. */
int other_origin(const struct site_config *site, struct span origin, struct site_config *other,
                 struct fail *);

#endif
