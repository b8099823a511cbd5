/*
 * gateway/other_origin.c - see other_origin.h.
 *
 * Origins come from adapters, and some of them from a site's answer: anything may stand in one.
 */
#include "gateway/other_origin.h"

#include <ctype.h>

/* A name or an IPv4 address. */
static bool is_host(struct span host)
{
    for (size_t i = 0; i < host.n; i++) {
        unsigned char c = (unsigned char)host.p[i];
        if (!isalnum(c) && c != '.' && c != '-')
            return false;
    }
    return host.n > 0 && host.n <= 253;
}

int other_origin(const struct site_config *site, struct span origin, struct site_config *other,
                 struct fail *fail)
{
    const struct span http = SPAN("http://"), https = SPAN("https://");
    bool tls = span_starts(origin, https);
    struct span authority = span_from(origin, tls ? https.n : http.n);
    ptrdiff_t colon = span_find_char(authority, ':');
    uint64_t port = tls ? 443 : 80;
    *other = *site;
    other->tls = tls;
    other->host = colon < 0 ? authority : span_first(authority, (size_t)colon);
    other->host_header = authority;
    other->settings.prefix = span_of("", 0);
    bool good =
        (tls || (span_starts(origin, http) && !site->tls)) && is_host(other->host) &&
        (colon < 0 || (span_to_u64(span_from(authority, (size_t)colon + 1), 65535, &port) && port));
    other->port = (int)port;
    return good ? 0
                : fail_set(fail, FAIL_PROTOCOL,
                           "%.*s names another server in a way that cannot be used",
                           SPAN_ARGS(site->settings.name));
}
