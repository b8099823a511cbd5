/*
 * test/fuzz/fuzz_address.c - addresses and URLs that others hand in: lists of networks, addresses
 * of clients, URLs of pictures and where they are redirected to, request targets.
 *
 * Lines; each is read as all of them. Oracles: inet_pton takes what we take for an address; what is
 * printed is read as the same; a URL that is taken names a host without what only some programs
 * read, and is taken again as it is written.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>

#include "adapters/support.h"
#include "gateway/cidr.h"
#include "gateway/http_path.h"
#include "gateway/picture_url.h"
#include "gateway/public_address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ip(struct span line)
{
    struct ip_address ip, again;
    unsigned char bytes[16];
    char text[46], copy[64];
    if (!ip_parse(line, &ip))
        return;
    assert(ip.known && line.n < sizeof copy);
    memcpy(copy, line.p, line.n);
    copy[line.n] = '\0';
    assert(inet_pton(AF_INET, copy, bytes) == 1 || inet_pton(AF_INET6, copy, bytes) == 1);
    assert(ip_parse(span_str(ip_format(&ip, text)), &again));
    assert(!memcmp(ip.bytes, again.bytes, sizeof ip.bytes));
    assert(!(ip_is_loopback(&ip) && ip_is_public(&ip)));
}

static void check_cidr(struct span line)
{
    struct cidr net;
    if (!cidr_parse(line, &net))
        return;
    struct ip_address first = {.known = true};
    assert(net.bits >= 0 && net.bits <= 128);
    memcpy(first.bytes, net.bytes, sizeof first.bytes);
    assert(cidr_has(&net, &first));
    if (net.bits) {
        first.bytes[(net.bits - 1) / 8] ^= (unsigned char)(0x80 >> (net.bits - 1) % 8);
        assert(!cidr_has(&net, &first));
    }
}

static void check_url(struct arena *arena, struct span line, struct span location)
{
    struct picture_url url, again, next;
    struct https_url site;
    if (!picture_url_read(arena, line, &url)) {
        assert(url.host.n && !url.host.p[url.host.n] && url.port > 0 && url.port < 65536);
        assert(url.target.n && *url.target.p == '/');
        for (size_t i = 0; i < url.target.n; i++)
            assert(url.target.p[i] > ' ' && url.target.p[i] < 0x7F);
        struct span text = arena_printf(arena, "%s://%.*s%.*s", url.tls ? "https" : "http",
                                        SPAN_ARGS(url.host_header), SPAN_ARGS(url.target));
        assert(text.n > PICTURE_URL_MAX || !picture_url_read(arena, text, &again));
        assert(text.n > PICTURE_URL_MAX ||
               (span_eq(url.host, again.host) && url.port == again.port &&
                span_eq(url.target, again.target)));
        if (!picture_url_follow(arena, &url, location, &next))
            assert(next.host.n && next.target.n && *next.target.p == '/');
    }
    if (read_https_url(line, &site))
        assert(site.origin.n > 8 && site.host.n && *site.path.p == '/');
}

static void check_target(struct arena *arena, struct span line)
{
    char *room = arena_alloc(arena, line.n + 1);
    struct span path = http_path_normalise(line, room), authority = http_path_authority(line);
    assert(path.n <= line.n + 1 && authority.n <= line.n);
    assert(!authority.p || (authority.p >= line.p && authority.p + authority.n <= line.p + line.n));
    if (path.n && *path.p == '/')
        assert(span_find(path, SPAN("//")) < 0 && span_find_char(path, '?') < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct span rest = span_of((const char *)data, size), line, before = SPAN("/");
    arena_init(&arena);
    while (span_split(&rest, '\n', &line)) {
        char *copy = malloc(line.n ? line.n : 1);
        assert(copy);
        memcpy(copy, line.p, line.n);
        struct span own = span_of(copy, line.n);
        check_ip(own);
        check_cidr(own);
        check_url(&arena, own, before);
        check_url(&arena, before, own);
        check_target(&arena, own);
        before = line;
        free(copy);
    }
    arena_free(&arena);
    return 0;
}
