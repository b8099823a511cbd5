/*
 * gateway/cidr.c - addresses and ranges, all as 16 bytes: v4 lives at ::ffff:0:0/96, so that one
 * comparison serves both and a mapped address equals its v4 form by construction.
 */
#include "gateway/cidr.h"

#include <arpa/inet.h>

enum { ADDRESS_TEXT_MAX = 46 };

static const unsigned char v4_prefix[12] = {[10] = 0xFF, [11] = 0xFF};

static bool is_v4(const unsigned char bytes[16])
{
    return memcmp(bytes, v4_prefix, sizeof v4_prefix) == 0;
}

bool ip_parse(struct span text, struct ip_address *ip)
{
    char copy[ADDRESS_TEXT_MAX];
    *ip = (struct ip_address){0};
    if (text.n == 0 || text.n >= sizeof copy || memchr(text.p, '\0', text.n))
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    if (inet_pton(AF_INET, copy, ip->bytes + sizeof v4_prefix) == 1)
        memcpy(ip->bytes, v4_prefix, sizeof v4_prefix);
    else if (inet_pton(AF_INET6, copy, ip->bytes) != 1)
        return false;
    ip->known = true;
    return true;
}

/* The first `bits` bits of both are equal. */
static bool same_prefix(const unsigned char a[16], const unsigned char b[16], int bits)
{
    size_t whole = (size_t)bits / 8;
    unsigned char mask = (unsigned char)(0xFF00 >> (bits % 8));
    if (memcmp(a, b, whole) != 0)
        return false;
    return bits % 8 == 0 || ((a[whole] ^ b[whole]) & mask) == 0;
}

static bool host_bits_are_zero(const struct cidr *range)
{
    for (int bit = range->bits; bit < 128; bit++) {
        if (range->bytes[bit / 8] & (0x80 >> (bit % 8)))
            return false;
    }
    return true;
}

bool cidr_parse(struct span text, struct cidr *range)
{
    ptrdiff_t slash = span_find_char(text, '/');
    struct span address = slash < 0 ? text : span_first(text, (size_t)slash);
    struct ip_address ip;
    *range = (struct cidr){0};
    if (!ip_parse(address, &ip))
        return false;
    memcpy(range->bytes, ip.bytes, sizeof range->bytes);
    range->bits = 128;
    if (slash >= 0) {
        /* What was written decides how bits are counted: ::ffff:10.0.0.0/104 and 10.0.0.0/8 are the
         * same range. */
        bool dotted = span_find_char(address, ':') < 0;
        uint64_t bits;
        struct span digits = span_from(text, (size_t)slash + 1);
        if (digits.n > 3 || !span_to_u64(digits, dotted ? 32 : 128, &bits))
            return false;
        range->bits = (int)bits + (dotted ? 96 : 0);
    }
    return host_bits_are_zero(range);
}

bool cidr_has(const struct cidr *range, const struct ip_address *ip)
{
    return ip->known && same_prefix(range->bytes, ip->bytes, range->bits);
}

bool cidr_any(const struct cidr *ranges, size_t n, const struct ip_address *ip)
{
    for (size_t i = 0; i < n; i++) {
        if (cidr_has(&ranges[i], ip))
            return true;
    }
    return false;
}

bool ip_is_loopback(const struct ip_address *ip)
{
    static const unsigned char v6_loopback[16] = {[15] = 1};
    if (!ip->known)
        return false;
    return is_v4(ip->bytes) ? ip->bytes[12] == 127
                            : memcmp(ip->bytes, v6_loopback, sizeof v6_loopback) == 0;
}

/* inet_ntop's text, without its printf: each request's line has one. */
static const char *format_v4(const unsigned char bytes[4], char *text)
{
    char *at = text;
    for (int i = 0; i < 4; i++) {
        unsigned char b = bytes[i];
        if (b >= 100)
            *at++ = (char)('0' + b / 100);
        if (b >= 10)
            *at++ = (char)('0' + b / 10 % 10);
        *at++ = (char)('0' + b % 10);
        *at++ = '.';
    }
    at[-1] = '\0';
    return text;
}

const char *ip_format(const struct ip_address *ip, char text[46])
{
    if (!ip->known)
        return memcpy(text, "unix", sizeof "unix");
    if (is_v4(ip->bytes))
        return format_v4(ip->bytes + sizeof v4_prefix, text);
    const char *done = inet_ntop(AF_INET6, ip->bytes, text, ADDRESS_TEXT_MAX);
    return done ? done : memcpy(text, "?", sizeof "?");
}
