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
/* Is it of a program on this machine that knows whom it asks: a loopback client, our own Host name,
 * no page's script? */
bool access_is_local(const struct http_exchange *);
/* What the presented key allows. */
struct access_grant {
    const struct key_config *key; /* one of [[keys]]; NULL = none is configured, or a visitor's */
    struct span
        visitor_key;       /* a key that is not ours: good only for sites with keys.passthrough, as
                              their credential. Valid as long as the request's head; "" = none */
    bool only_passthrough; /* a visitor's, where [[keys]] are configured: no other site serves it */
};
/* 0, or -1 with fail (MISSING_KEY, WRONG_KEY, ACCESS_DENIED). `wall_ms`: Unix time, for keys that
 * expire. */
int access_check_key(const struct http_exchange *, int64_t wall_ms, struct access_grant *,
                     struct fail *);
/* The same for a request that is passed through: `query_key` is the key in its query, "" = none;
 * two keys that differ are one too many (WRONG_KEY). `visitors`: the route takes keys that are not
 * ours.
 */
int access_check_route_key(const struct http_exchange *, struct span query_key, bool visitors,
                           int64_t wall_ms, struct access_grant *, struct fail *);
/* Does the request bring keys, of which none is ours? */
bool access_has_foreign_key(const struct http_exchange *, struct span query_key);
/* Does the grant open the site, with the client's own key or with accounts of ours? */
bool access_opens_site(const struct access_grant *, const struct site_config *);
/* May the grant use this public id, an alias or a model of that site? */
bool access_allows_model(const struct access_grant *, const struct config *, struct span id,
                         struct span site);

#endif
