/*
 * gateway/picture_url.h - URLs that clients hand in, and where a redirect leads: read strictly,
 * because what we read must be what we connect to.
 *
 * Pure; results lie in the arena.
 */
#ifndef DRAGOMAN_GATEWAY_PICTURE_URL_H
#define DRAGOMAN_GATEWAY_PICTURE_URL_H

#include "base/arena.h"

enum { PICTURE_URL_MAX = 8192 };

struct picture_url {
    bool tls;
    struct span host;        /* lower case, without brackets; NUL-terminated */
    struct span host_header; /* with brackets, and the port where it is not the scheme's */
    int port;
    struct span target; /* path and query, visible ASCII: other bytes are percent-encoded */
};

/* NULL, or what is wrong with it in a few words ("has a user name in it"; static). Taken are http
 * and https with a name, a dotted IPv4 address of four plain decimal numbers, or an IPv6 address in
 * brackets without a zone. Refused are user names and passwords, backslashes, control characters,
 * and hosts that only some programs read as a number (2130706433, 0x7f.1, 127.1, 010.0.0.1). A
 * fragment is left out. */
const char *picture_url_read(struct arena *, struct span text, struct picture_url *);
/* Where `location` leads from `from` (RFC 3986, 5.2). The same answers. */
const char *picture_url_follow(struct arena *, const struct picture_url *from, struct span location,
                               struct picture_url *);
/* Is it http: or https:, whatever follows? */
bool is_web_url(struct span text);

#endif
