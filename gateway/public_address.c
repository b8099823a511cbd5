/*
 * gateway/public_address.c - see public_address.h.
 *
 * Sources: RFC 6890 and IANA's IPv4 and IPv6 special-purpose address registries, RFC 5771, 4291,
 * 3879, 6052, 8215, 3056, 4380, 5214. What is not known to be public is not.
 */
#include "gateway/public_address.h"

#include <netinet/in.h>

struct range {
    unsigned char bytes[16];
    int bits;
};

/* Of IPv4: the first bytes. */
static const struct range special_v4[] = {
    {{0}, 8},                 /* this network */
    {{10}, 8},                /* private */
    {{100, 64}, 10},          /* shared by carriers' NAT */
    {{127}, 8},               /* loopback */
    {{169, 254}, 16},         /* link-local, and the metadata of clouds */
    {{172, 16}, 12},          /* private */
    {{192, 0, 0}, 24},        /* protocol assignments */
    {{192, 0, 2}, 24},        /* documentation */
    {{192, 31, 196}, 24},     /* AS112 */
    {{192, 52, 193}, 24},     /* AMT */
    {{192, 88, 99}, 24},      /* 6to4 relays */
    {{192, 168}, 16},         /* private */
    {{192, 175, 48}, 24},     /* AS112 */
    {{198, 18}, 15},          /* benchmarking */
    {{198, 51, 100}, 24},     /* documentation */
    {{203, 0, 113}, 24},      /* documentation */
    {{224}, 4},               /* multicast */
    {{240}, 4},               /* reserved, and broadcast */
    {{168, 63, 129, 16}, 32}, /* Azure's platform, reached from inside like a metadata service */
};

/* Of IPv6, inside 2000::/3. */
static const struct range special_v6[] = {
    {{0x20, 0x01, 0x00}, 23},          /* protocol assignments: Teredo, ORCHID, benchmarking */
    {{0x20, 0x01, 0x0D, 0xB8}, 32},    /* documentation */
    {{0x20, 0x02}, 16},                /* 6to4: an IPv4 address travels inside */
    {{0x26, 0x20, 0, 0x4F, 0x80}, 48}, /* AS112 */
    {{0x3F, 0xFE}, 16},                /* the 6bone that was */
    {{0x3F, 0xFF}, 20},                /* documentation */
};

static bool is_in(const struct range *r, const unsigned char *bytes)
{
    size_t whole = (size_t)r->bits / 8;
    unsigned char mask = (unsigned char)(0xFF00 >> (r->bits % 8));
    return memcmp(r->bytes, bytes, whole) == 0 &&
           (r->bits % 8 == 0 || ((r->bytes[whole] ^ bytes[whole]) & mask) == 0);
}

static bool is_special(const struct range *list, size_t n, const unsigned char *bytes)
{
    for (size_t i = 0; i < n; i++) {
        if (is_in(&list[i], bytes))
            return true;
    }
    return false;
}

/* The interface part that names an IPv4 address: 0:5efe:a.b.c.d, or with the universal bit. */
static bool is_isatap(const unsigned char *bytes)
{
    return (bytes[8] & 0xFD) == 0 && bytes[9] == 0 && bytes[10] == 0x5E && bytes[11] == 0xFE;
}

bool ip_is_public(const struct ip_address *ip)
{
    static const unsigned char mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    if (!ip->known)
        return false;
    if (memcmp(ip->bytes, mapped, sizeof mapped) == 0)
        return !is_special(special_v4, sizeof special_v4 / sizeof *special_v4, ip->bytes + 12);
    return (ip->bytes[0] & 0xE0) == 0x20 && !is_isatap(ip->bytes) &&
           !is_special(special_v6, sizeof special_v6 / sizeof *special_v6, ip->bytes);
}

bool address_rule_allows(const struct address_rule *rule, const struct ip_address *ip, int port)
{
    if (cidr_any(rule->also, rule->n_also, ip))
        return true;
    return (port == 80 || port == 443) && ip_is_public(ip);
}

bool address_rule_allows_sockaddr(const struct address_rule *rule, const struct sockaddr *address)
{
    struct ip_address ip = {.known = true};
    int port;
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        ip.bytes[10] = ip.bytes[11] = 0xFF;
        memcpy(ip.bytes + 12, &v4.sin_addr, 4);
        port = ntohs(v4.sin_port);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        memcpy(ip.bytes, &v6.sin6_addr, 16);
        port = ntohs(v6.sin6_port);
    } else {
        return false;
    }
    return address_rule_allows(rule, &ip, port);
}
