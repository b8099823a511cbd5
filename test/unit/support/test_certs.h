/*
 * test/unit/support/test_certs.h - a self-signed certificate, made on the spot in a folder of its
 * own.
 */
#ifndef DRAGOMAN_TEST_CERTS_H
#define DRAGOMAN_TEST_CERTS_H

#include <stdbool.h>
#include <stddef.h>

struct test_cert {
    char folder[64], cert_file[96], key_file[96];
};

/* P-256, its own authority (give cert_file as ca_file). */
struct test_cert_wish {
    const char *dns;         /* NULL = none */
    const unsigned char *ip; /* 4 or 16 bytes; NULL = none */
    size_t ip_n;
    const char *from, *to; /* "20200101000000"; NULL = 2020 to 2099 */
    /* A private extension, ahead of subjectAltName, whose content looks like a subjectAltName of
     * this address. NULL = none */
    const unsigned char *decoy_ip;
};
bool test_cert_make_as(struct test_cert *, const struct test_cert_wish *);
/* For the DNS name localhost and the address 127.0.0.1. */
bool test_cert_make(struct test_cert *);
void test_cert_remove(struct test_cert *);

#endif
