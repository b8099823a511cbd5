/*
 * gateway/http_path.h - from a request target to the path that routes are looked up with. Pure.
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_PATH_H
#define DRAGOMAN_GATEWAY_HTTP_PATH_H

#include "base/span.h"

/* The path of a request target (RFC 9112, 3.2): without query and fragment, without scheme and
 * authority of the absolute form, runs of slashes made one, no slash at the end except in "/"
 * itself. Nothing is percent-decoded and "." and ".." are kept: whoever looks a path up finds no
 * such route. What has no path ("*", "host:443") stays as it is. `to` has room for target.n + 1
 * bytes; the result points into it. */
struct span http_path_normalise(struct span target, char *to);
/* "host:80" of a target in the absolute form ("http://host:80/x"); {NULL,0} for any other. */
struct span http_path_authority(struct span target);

#endif
