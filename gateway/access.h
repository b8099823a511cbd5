/*
 * gateway/access.h - who may ask: addresses, the Host header, keys (design §4 [access] [[keys]],
 * §9; clients.md H1, H2).
 */
#ifndef DRAGOMAN_GATEWAY_ACCESS_H
#define DRAGOMAN_GATEWAY_ACCESS_H

#include "gateway/http_server.h"

/* The client's address: the peer, or what trusted proxies say of it in X-Forwarded-For. Unix
 * sockets count as 127.0.0.1. */
struct ip_address access_client(const struct http_exchange *);
/* [access] allow and deny, and without keys: loopback clients and our own Host names only. 0, or -1
 * with fail (ACCESS_DENIED; INVALID_VALUE without any Host). */
int access_check_address(const struct http_exchange *, struct fail *);
/* The key the client presents. 0 with *key (NULL when none is configured), or -1 with fail
 * (MISSING_KEY, WRONG_KEY, ACCESS_DENIED). */
int access_check_key(const struct http_exchange *, const struct key_config **key, struct fail *);

#endif
