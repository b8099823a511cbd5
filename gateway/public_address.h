/*
 * gateway/public_address.h - which addresses belong to the public internet, and which of them we
 * connect to for somebody else.
 *
 * A URL that a client hands in may name anything: this machine, its router, a cloud's metadata
 * service. What is asked here is always the very address that is connected to, after names were
 * resolved. Pure.
 */
#ifndef DRAGOMAN_GATEWAY_PUBLIC_ADDRESS_H
#define DRAGOMAN_GATEWAY_PUBLIC_ADDRESS_H

#include "gateway/cidr.h"

struct sockaddr;

/* Is it a unicast address that anybody may reach? False for all that IANA's registries of special
 * purposes keep apart (this network, private, shared, loopback, link-local, documentation,
 * benchmarking, multicast, reserved, broadcast, unique local, site-local, discard …), for every
 * form in which an IPv4 address travels inside an IPv6 one (compatible, translated, NAT64, 6to4,
 * Teredo, ISATAP) and for IPv6 outside 2000::/3. A mapped address (::ffff:a.b.c.d) is its IPv4
 * address. */
bool ip_is_public(const struct ip_address *);

/* Where a connection may go. */
struct address_rule {
    const struct cidr *also; /* not owned: these as well, at any port */
    size_t n_also;
};
/* Public addresses at the ports 80 and 443, and what the rule adds. */
bool address_rule_allows(const struct address_rule *, const struct ip_address *, int port);
/* The same of what the resolver gave; false for other families. */
bool address_rule_allows_sockaddr(const struct address_rule *, const struct sockaddr *);

#endif
