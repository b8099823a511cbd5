/*
 * tls/tls_names.c - who a certificate is for.
 *
 * mbedTLS 2.28 compares DNS names only; iPAddress entries of subjectAltName (RFC 5280 4.2.1.6, RFC
 * 6125) are read here from the extension's own list, which 2.28 keeps as raw entries with their
 * context tags.
 */
#include <arpa/inet.h>
#include <stdio.h>

#include "tls/tls_internal.h"

enum { SAN_DNS = 2, SAN_IP = 7, TAG_MASK = 0x1F };

/* Bytes of the address, or 0. Brackets and scopes are the caller's. */
static size_t parse_ip(const char *text, unsigned char bytes[16])
{
    if (inet_pton(AF_INET, text, bytes) == 1)
        return 4;
    if (inet_pton(AF_INET6, text, bytes) == 1)
        return 16;
    return 0;
}

bool tls_is_ip_literal(const char *host)
{
    unsigned char bytes[16];
    return parse_ip(host, bytes) != 0;
}

/* One entry of the subjectAltName SEQUENCE at *p: its tag and content; false at the end or on
 * anything malformed. */
static bool next_name(const unsigned char **p, const unsigned char *end, int *kind,
                      struct span *content)
{
    if (end - *p < 2)
        return false;
    int tag = (*p)[0];
    size_t n = (*p)[1], head = 2;
    if (n & 0x80) {
        size_t bytes = n & 0x7F;
        if (bytes == 0 || bytes > 3 || (size_t)(end - *p) < 2 + bytes)
            return false;
        n = 0;
        for (size_t i = 0; i < bytes; i++)
            n = n << 8 | (*p)[2 + i];
        head += bytes;
    }
    if ((size_t)(end - *p) < head + n)
        return false;
    *kind = (tag & 0xC0) == 0x80 ? tag & TAG_MASK : -1;
    *content = span_of((const char *)*p + head, n);
    *p += head + n;
    return true;
}

/* Finds the subjectAltName extension (2.5.29.17) in the raw v3 extensions and gives the inside of
 * its SEQUENCE. */
static struct span alt_names(const mbedtls_x509_crt *crt)
{
    static const unsigned char oid[] = {0x06, 0x03, 0x55, 0x1D, 0x11};
    struct span extensions = span_of((const char *)crt->v3_ext.p, crt->v3_ext.len);
    ptrdiff_t at = span_find(extensions, span_of((const char *)oid, sizeof oid));
    if (at < 0)
        return span_of(NULL, 0);
    const unsigned char *p = (const unsigned char *)extensions.p + at + sizeof oid;
    const unsigned char *end = (const unsigned char *)extensions.p + extensions.n;
    if (end - p >= 3 && p[0] == 0x01) /* critical BOOLEAN */
        p += 3;
    for (int expected = 0; expected < 2; expected++) { /* OCTET STRING, then SEQUENCE */
        int kind;
        struct span inside;
        if (end - p < 2 || p[0] != (expected ? 0x30 : 0x04) || !next_name(&p, end, &kind, &inside))
            return span_of(NULL, 0);
        p = (const unsigned char *)inside.p;
        end = p + inside.n;
    }
    return span_of((const char *)p, (size_t)(end - p));
}

bool tls_certificate_has_ip(const mbedtls_x509_crt *crt, const char *ip)
{
    unsigned char bytes[16];
    size_t n = parse_ip(ip, bytes);
    struct span names = alt_names(crt), content;
    const unsigned char *p = (const unsigned char *)names.p, *end = p + names.n;
    int kind;
    while (names.n && next_name(&p, end, &kind, &content)) {
        if (kind == SAN_IP && n && content.n == n && memcmp(content.p, bytes, n) == 0)
            return true;
    }
    return false;
}

static void append(char *text, size_t size, const char *separator, struct span name)
{
    size_t used = strlen(text);
    int n = snprintf(text + used, size - used, "%s", separator);
    used += (size_t)n < size - used ? (size_t)n : 0;
    for (size_t i = 0; i < name.n && used + 1 < size; i++) {
        unsigned char c = (unsigned char)name.p[i];
        text[used++] = c > 0x20 && c < 0x7F ? (char)c : '?';
        text[used] = '\0';
    }
}

void tls_certificate_names(const mbedtls_x509_crt *crt, char *text, size_t size)
{
    struct span names = alt_names(crt), content;
    const unsigned char *p = (const unsigned char *)names.p, *end = p + names.n;
    int kind, shown = 0, more = 0;
    text[0] = '\0';
    while (names.n && next_name(&p, end, &kind, &content)) {
        char ip[INET6_ADDRSTRLEN] = "";
        if (kind == SAN_IP && (content.n == 4 || content.n == 16)) {
            inet_ntop(content.n == 4 ? AF_INET : AF_INET6, content.p, ip, sizeof ip);
            content = span_str(ip);
        } else if (kind != SAN_DNS) {
            continue;
        }
        if (shown < 3)
            append(text, size, shown++ ? ", " : "", content);
        else
            more++;
    }
    if (more) {
        char rest[32];
        snprintf(rest, sizeof rest, " and %d more", more);
        append(text, size, rest, span_of("", 0));
    }
    if (!shown) {
        char subject[128];
        if (mbedtls_x509_dn_gets(subject, sizeof subject, &crt->subject) > 0)
            append(text, size, "", span_str(subject));
        else
            append(text, size, "", SPAN("nobody"));
    }
}
