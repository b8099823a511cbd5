/*
 * gateway/site_cookies.h - an account's cookies go out with requests and come in with answers, for
 * sites whose adapter says keeps_cookies.
 *
 * The jar (adapters/cookie_jar.h) is a held credential, "cookies": one text that is read for each
 * request, so that there is one truth, which is stored, dropped and restored like every other.
 */
#ifndef DRAGOMAN_GATEWAY_SITE_COOKIES_H
#define DRAGOMAN_GATEWAY_SITE_COOKIES_H

#include "adapters/adapter.h"

#define HELD_COOKIES "cookies"

/* Adds the Cookie header, in the run's arena, at the run's time. Cookies that the adapter put
 * there itself (a `cookie` of the configuration) stay, but for those that the jar has under the
 * same name: the site's newer word wins. Nothing for adapters that keep none. 0, or -1 with
 * run->fail. */
int site_cookies_send(const struct adapter *, struct turn_run *, struct site_request *);
/* Takes the Set-Cookie headers of the request's answer. */
void site_cookies_take(const struct adapter *, const struct turn_run *, const struct site_request *,
                       const struct site_head *);

#endif
