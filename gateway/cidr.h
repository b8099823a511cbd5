/*
 * gateway/cidr.h - address ranges (RFC 4632, RFC 4291). v4-mapped v6 addresses equal their v4 form.
 */
#ifndef DRAGOMAN_GATEWAY_CIDR_H
#define DRAGOMAN_GATEWAY_CIDR_H

#include "base/span.h"

struct ip_address {
    unsigned char bytes[16]; /* v4 as ::ffff:a.b.c.d */
    bool known;              /* false: a unix socket or nothing readable */
};

struct cidr {
    unsigned char bytes[16];
    int bits; /* 0..128 over the 16 bytes */
};

/* "10.0.0.0/8", "::1", "1.2.3.4"; host bits must be zero. */
bool cidr_parse(struct span text, struct cidr *);
bool ip_parse(struct span text, struct ip_address *);
bool cidr_has(const struct cidr *, const struct ip_address *);
bool cidr_any(const struct cidr *, size_t n, const struct ip_address *);
bool ip_is_loopback(const struct ip_address *);
/* "127.0.0.1", "::1"; "unix" when not known. `text` holds at least 46 bytes. */
const char *ip_format(const struct ip_address *, char text[46]);

#endif
