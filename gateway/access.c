/*
 * gateway/access.c - see access.h.
 *
 * Presented keys are hashed and the hashes compared in constant time, all of them, so that neither
 * the time nor the order tells anything about a configured key.
 */
#include "gateway/access.h"

#include "gateway/catalogue.h"
#include "gateway/http_path.h"

/* One line of X-Forwarded-For, from the right: each trusted proxy vouches for the address before
 * it. True when the whole line is used up and whoever stands first in it is such a proxy too. */
static bool believe(const struct config *config, struct span list, struct ip_address *peer)
{
    while (list.n) {
        ptrdiff_t comma = span_find_last(list, SPAN(","));
        struct ip_address hop;
        if (!ip_parse(span_trim(span_from(list, (size_t)(comma + 1))), &hop))
            return false;
        *peer = hop;
        if (!cidr_any(config->trusted_proxies, config->n_trusted_proxies, &hop))
            return false;
        if (comma < 0)
            break;
        list = span_first(list, (size_t)comma);
    }
    return true;
}

struct ip_address access_client(const struct http_exchange *http)
{
    const struct config *config = http_exchange_config(http);
    struct ip_address peer = *http_exchange_peer(http);
    if (!peer.known) {
        ip_parse(SPAN("127.0.0.1"), &peer);
        return peer;
    }
    if (!cidr_any(config->trusted_proxies, config->n_trusted_proxies, &peer))
        return peer;
    /* From the end, as several lines are one list (RFC 9110, 5.3) and the proxy may have added its
     * own below the client's. */
    size_t n;
    const struct header *headers = http_exchange_headers(http, &n);
    while (n-- > 0) {
        if (span_eq_nocase(headers[n].name, SPAN("x-forwarded-for")) &&
            !believe(config, headers[n].value, &peer))
            break;
    }
    return peer;
}

int access_check_address(const struct http_exchange *http, struct fail *fail)
{
    const struct config *config = http_exchange_config(http);
    struct ip_address client = access_client(http);
    char text[46];
    struct span host = http_exchange_header(http, "host");
    if (!host.p && !http_exchange_is_http10(http)) /* RFC 9112, 3.2 */
        return fail_set(fail, FAIL_INVALID_VALUE, "the request has no Host header");
    if (cidr_any(config->deny, config->n_deny, &client) ||
        (config->n_allow && !cidr_any(config->allow, config->n_allow, &client)))
        return fail_set(fail, FAIL_ACCESS_DENIED,
                        "the address %s is not allowed here ([access] in gateway.toml)",
                        ip_format(&client, text));
    if (config->n_keys)
        return 0;
    if (!ip_is_loopback(&client))
        return fail_set(fail, FAIL_ACCESS_DENIED,
                        "no keys are configured, so only this machine itself is served; add "
                        "[[keys]] to gateway.toml to let %s in",
                        ip_format(&client, text));
    /* In the absolute form the target names the host (RFC 9112, 3.2.2). Clients then send the same
     * in Host: who names two is refused if either is not ours. */
    struct span named = http_path_authority(http_exchange_target(http));
    if (named.p && !config_host_is_ours(config, named))
        host = named;
    if (!http_exchange_is_unix(http) && host.p && !config_host_is_ours(config, host))
        return fail_set(fail, FAIL_ACCESS_DENIED,
                        "the Host \"%.*s\" is not this gateway's; use its address (such as "
                        "127.0.0.1) or configure [[keys]]",
                        SPAN_ARGS(span_first(host, 60)));
    return 0;
}

/* Does a page's script ask, on behalf of whoever wrote the page? */
static bool is_scripted(const struct http_exchange *http)
{
    struct span from = http_exchange_header(http, "sec-fetch-site");
    return http_exchange_header(http, "origin").p ||
           (from.p && !span_eq(from, SPAN("none")) && !span_eq(from, SPAN("same-origin")));
}

bool access_is_local(const struct http_exchange *http)
{
    struct ip_address client = access_client(http);
    struct span host = http_exchange_header(http, "host");
    bool ours = http_exchange_is_unix(http) || !host.p ||
                config_host_is_ours(http_exchange_config(http), host);
    return ip_is_loopback(&client) && ours && !is_scripted(http);
}

static bool same_hash(const unsigned char *a, const unsigned char *b)
{
    unsigned char difference = 0;
    for (size_t i = 0; i < 32; i++)
        difference |= a[i] ^ b[i];
    return difference == 0;
}

static const struct key_config *find_key(const struct config *config, struct span presented)
{
    unsigned char hash[32];
    const struct key_config *found = NULL;
    config_hash_key(presented, hash);
    for (size_t i = 0; i < config->n_keys; i++) {
        if (same_hash(config->keys[i].sha256, hash) && !found)
            found = &config->keys[i];
    }
    return found;
}

/* "Bearer", "Bearer null", "Bearer undefined" and blanks are no key (H2). */
static struct span meaningful(struct span key)
{
    key = span_trim(key);
    if (span_eq(key, SPAN("null")) || span_eq(key, SPAN("undefined")))
        return span_of(NULL, 0);
    return key;
}

static struct span bearer(struct span authorization)
{
    if (authorization.n < 7 || !span_eq_nocase(span_first(authorization, 6), SPAN("bearer")) ||
        authorization.p[6] != ' ')
        return span_of(NULL, 0);
    return span_from(authorization, 7);
}

static bool any_passthrough(const struct config *config)
{
    for (size_t i = 0; i < config->n_sites; i++) {
        if (config->sites[i].keys_passthrough)
            return true;
    }
    return false;
}

bool access_opens_site(const struct access_grant *grant, const struct site_config *site)
{
    if (grant->only_passthrough)
        return site->keys_passthrough;
    return config_key_takes_site(grant->key, site->settings.name);
}

static bool opens_a_target(const struct access_grant *grant, const struct config *config,
                           const struct model_config *model)
{
    for (size_t i = 0; i < model->n_targets; i++) {
        if (access_opens_site(grant, &config->sites[model->targets[i].site]))
            return true;
    }
    return false;
}

bool access_allows_model(const struct access_grant *grant, const struct config *config,
                         struct span id, struct span site)
{
    if (!grant->only_passthrough && !key_allows_model(grant->key, id))
        return false;
    /* An alias is listed for a visitor only as a model of its first site. */
    for (size_t i = 0; i < config->n_models && !grant->only_passthrough; i++) {
        if (span_eq(config->models[i].id, id))
            return opens_a_target(grant, config, &config->models[i]);
    }
    for (size_t i = 0; i < config->n_sites; i++) {
        if (span_eq(config->sites[i].settings.name, site))
            return access_opens_site(grant, &config->sites[i]);
    }
    return false;
}

static int check_expiry(const struct key_config *key, int64_t wall_ms, struct fail *fail)
{
    char text[CONFIG_EXPIRY_SIZE];
    if (!key->expires.set || wall_ms < key->expires.at_ms)
        return 0;
    return fail_set(fail, FAIL_WRONG_KEY,
                    "the key \"%.*s\" has expired: it was good until %s (\"expires\" in "
                    "gateway.toml)",
                    SPAN_ARGS(span_first(key->name, 60)),
                    config_expiry_format(&key->expires, text));
}

enum { PRESENTED_MAX = 5 };

/* What stands where keys stand; "" for what is not there. */
static void find_presented(const struct http_exchange *http, struct span query_key,
                           struct span presented[PRESENTED_MAX])
{
    presented[0] = meaningful(bearer(http_exchange_header(http, "authorization")));
    presented[1] = meaningful(http_exchange_header(http, "x-api-key"));
    presented[2] = meaningful(http_exchange_header(http, "api-key"));
    presented[3] = meaningful(http_exchange_header(http, "x-goog-api-key"));
    presented[4] = meaningful(query_key);
}

static int check_key(const struct http_exchange *http, const struct span presented[PRESENTED_MAX],
                     bool visitors, int64_t wall_ms, struct access_grant *grant, struct fail *fail)
{
    const struct config *config = http_exchange_config(http);
    const struct key_config **key = &grant->key;
    *grant = (struct access_grant){0};
    if (config->n_keys == 0 && !visitors)
        return 0;
    bool any = false;
    for (size_t i = 0; i < PRESENTED_MAX && !*key; i++) {
        if (!presented[i].n)
            continue;
        any = true;
        *key = find_key(config, presented[i]);
        if (!grant->visitor_key.n)
            grant->visitor_key = presented[i];
    }
    if (*key || !visitors)
        grant->visitor_key = span_of("", 0);
    if (config->n_keys == 0)
        return 0;
    grant->only_passthrough = grant->visitor_key.n > 0;
    if (!any)
        return fail_set(fail, FAIL_MISSING_KEY,
                        "an API key is needed: send it as \"Authorization: Bearer KEY\"; the keys "
                        "are in gateway.toml");
    if (!*key && visitors)
        return 0;
    if (!*key)
        return fail_set(fail, FAIL_WRONG_KEY,
                        "this API key is not one of the gateway's keys ([[keys]] in gateway.toml)");
    if (check_expiry(*key, wall_ms, fail))
        return -1;
    struct ip_address client = access_client(http);
    if ((*key)->n_allow && !cidr_any((*key)->allow, (*key)->n_allow, &client))
        return fail_set(fail, FAIL_ACCESS_DENIED,
                        "the key \"%.*s\" may not be used from this address",
                        SPAN_ARGS((*key)->name));
    return 0;
}

int access_check_key(const struct http_exchange *http, int64_t wall_ms, struct access_grant *grant,
                     struct fail *fail)
{
    struct span presented[PRESENTED_MAX];
    const struct config *config = http_exchange_config(http);
    const bool visitors = any_passthrough(config);
    if (!config->n_keys && !visitors) { /* whatever it presents: nobody looks at it */
        *grant = (struct access_grant){0};
        return 0;
    }
    find_presented(http, span_of(NULL, 0), presented);
    return check_key(http, presented, visitors, wall_ms, grant, fail);
}

int access_check_route_key(const struct http_exchange *http, struct span query_key, bool visitors,
                           int64_t wall_ms, struct access_grant *grant, struct fail *fail)
{
    struct span presented[PRESENTED_MAX], first = span_of(NULL, 0);
    find_presented(http, query_key, presented);
    for (size_t i = 0; i < PRESENTED_MAX && http_exchange_config(http)->n_keys; i++) {
        if (first.n && presented[i].n && !span_eq(first, presented[i]))
            return fail_set(fail, FAIL_WRONG_KEY,
                            "the request brings two different API keys; send one");
        if (presented[i].n)
            first = presented[i];
    }
    return check_key(http, presented, visitors, wall_ms, grant, fail);
}

bool access_has_foreign_key(const struct http_exchange *http, struct span query_key)
{
    struct span presented[PRESENTED_MAX];
    bool any = false;
    find_presented(http, query_key, presented);
    for (size_t i = 0; i < PRESENTED_MAX; i++) {
        if (presented[i].n && find_key(http_exchange_config(http), presented[i]))
            return false;
        any |= presented[i].n > 0;
    }
    return any;
}
