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
enum { TAG_BOOLEAN = 0x01, TAG_OCTET_STRING = 0x04, TAG_OID = 0x06, TAG_SEQUENCE = 0x30 };

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

/* Cuts one DER value off `*rest`: its tag byte and content; false at the end or on anything
 * malformed. */
static bool next_value(struct span *rest, int *tag, struct span *content)
{
    const unsigned char *p = (const unsigned char *)rest->p;
    if (rest->n < 2)
        return false;
    size_t n = p[1], head = 2;
    if (n & 0x80) {
        size_t bytes = n & 0x7F;
        if (bytes == 0 || bytes > 3 || rest->n < 2 + bytes)
            return false;
        n = 0;
        for (size_t i = 0; i < bytes; i++)
            n = n << 8 | p[2 + i];
        head += bytes;
    }
    if (rest->n < head + n)
        return false;
    *tag = p[0];
    *content = span_of(rest->p + head, n);
    *rest = span_from(*rest, head + n);
    return true;
}

/* One entry of the subjectAltName SEQUENCE. */
static bool next_name(struct span *names, int *kind, struct span *content)
{
    int tag;
    if (!next_value(names, &tag, content))
        return false;
    *kind = (tag & 0xC0) == 0x80 ? tag & TAG_MASK : -1;
    return true;
}

/* Finds the subjectAltName extension (2.5.29.17) in the raw v3 extensions and gives the inside of
 * its SEQUENCE. The extensions are walked one by one: what another extension holds is not a name,
 * however much its bytes look like one. */
static struct span alt_names(const mbedtls_x509_crt *crt)
{
    const struct span none = {NULL, 0}, wanted = SPAN("\x55\x1D\x11");
    struct span all = span_of((const char *)crt->v3_ext.p, crt->v3_ext.len);
    struct span list, extension, id, value, names;
    int tag;
    if (!next_value(&all, &tag, &list) || tag != TAG_SEQUENCE)
        return none;
    while (next_value(&list, &tag, &extension) && tag == TAG_SEQUENCE) {
        if (!next_value(&extension, &tag, &id) || tag != TAG_OID || !span_eq(id, wanted))
            continue;
        if (!next_value(&extension, &tag, &value))
            return none;
        if (tag == TAG_BOOLEAN && !next_value(&extension, &tag, &value)) /* critical */
            return none;
        if (tag == TAG_OCTET_STRING && next_value(&value, &tag, &names) && tag == TAG_SEQUENCE)
            return names;
        return none;
    }
    return none;
}

bool tls_certificate_has_ip(const mbedtls_x509_crt *crt, const char *ip)
{
    unsigned char bytes[16];
    size_t n = parse_ip(ip, bytes);
    struct span names = alt_names(crt), content;
    int kind;
    while (next_name(&names, &kind, &content)) {
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
    int kind, shown = 0, more = 0;
    text[0] = '\0';
    while (next_name(&names, &kind, &content)) {
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
