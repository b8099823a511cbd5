/*
 * test/unit/support/test_certs.h - a self-signed certificate, made on the spot in a folder of its
 * own.
 */
#ifndef DRAGOMAN_TEST_CERTS_H
#define DRAGOMAN_TEST_CERTS_H

#include <stdbool.h>

struct test_cert {
    char folder[64], cert_file[96], key_file[96];
};

/* P-256, for the DNS name localhost and the address 127.0.0.1; its own authority (give cert_file as
 * ca_file). */
bool test_cert_make(struct test_cert *);
void test_cert_remove(struct test_cert *);

#endif
