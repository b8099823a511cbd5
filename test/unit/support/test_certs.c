/*
 * test/unit/support/test_certs.c - see test_certs.h.
 */
#include "test_certs.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/oid.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool write_file(const char *path, const unsigned char *text)
{
    FILE *f = fopen(path, "w");
    if (!f)
        return false;
    fputs((const char *)text, f);
    return fclose(f) == 0;
}

/* GeneralNames (RFC 5280, 4.2.1.6): dNSName is [2], iPAddress is [7]. Returns the DER's length. */
static size_t write_names(unsigned char *der, const struct test_cert_wish *wish)
{
    size_t n = 2;
    if (wish->dns) {
        size_t length = strlen(wish->dns);
        der[n++] = 0x82;
        der[n++] = (unsigned char)length;
        memcpy(der + n, wish->dns, length);
        n += length;
    }
    if (wish->ip) {
        der[n++] = 0x87;
        der[n++] = (unsigned char)wish->ip_n;
        memcpy(der + n, wish->ip, wish->ip_n);
        n += wish->ip_n;
    }
    der[0] = 0x30;
    der[1] = (unsigned char)(n - 2);
    return n;
}

/* An extension that mbedTLS does not know, with the bytes of a subjectAltName of an IPv4 address.
 */
static int add_decoy(mbedtls_x509write_cert *cert, const unsigned char *ip)
{
    static const char oid[] = "\x2b\x06\x01\x04\x01\x83\x00\x01"; /* 1.3.6.1.4.1.384.1 */
    unsigned char bytes[] = {0x06, 0x03, 0x55, 0x1D, 0x11, 0x04, 0x08, 0x30,
                             0x06, 0x87, 0x04, 0,    0,    0,    0};
    memcpy(bytes + sizeof bytes - 4, ip, 4);
    return mbedtls_x509write_crt_set_extension(cert, oid, sizeof oid - 1, 0, bytes, sizeof bytes);
}

bool test_cert_make(struct test_cert *t)
{
    static const unsigned char loopback[] = {127, 0, 0, 1};
    const struct test_cert_wish wish = {
        .dns = "localhost", .ip = loopback, .ip_n = sizeof loopback};
    return test_cert_make_as(t, &wish);
}

bool test_cert_make_as(struct test_cert *t, const struct test_cert_wish *wish)
{
    unsigned char names[128];
    size_t n_names = write_names(names, wish);
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_pk_context key;
    mbedtls_x509write_cert cert;
    unsigned char text[4096];
    snprintf(t->folder, sizeof t->folder, "/tmp/test-cert-XXXXXX");
    if (!mkdtemp(t->folder))
        return false;
    snprintf(t->cert_file, sizeof t->cert_file, "%s/cert.pem", t->folder);
    snprintf(t->key_file, sizeof t->key_file, "%s/key.pem", t->folder);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    mbedtls_pk_init(&key);
    mbedtls_x509write_crt_init(&cert);
    int bad = mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0);
    bad |= mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
    bad |= mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(key),
                               mbedtls_ctr_drbg_random, &random);
#if MBEDTLS_VERSION_MAJOR >= 3
    unsigned char serial = 1;
    bad |= mbedtls_x509write_crt_set_serial_raw(&cert, &serial, 1);
#else
    mbedtls_mpi serial;
    mbedtls_mpi_init(&serial);
    bad |= mbedtls_mpi_lset(&serial, 1);
    bad |= mbedtls_x509write_crt_set_serial(&cert, &serial);
    mbedtls_mpi_free(&serial);
#endif
    mbedtls_x509write_crt_set_version(&cert, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&cert, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&cert, &key);
    mbedtls_x509write_crt_set_issuer_key(&cert, &key);
    bad |= mbedtls_x509write_crt_set_subject_name(&cert, "CN=localhost");
    bad |= mbedtls_x509write_crt_set_issuer_name(&cert, "CN=localhost");
    bad |= mbedtls_x509write_crt_set_validity(&cert, wish->from ? wish->from : "20200101000000",
                                              wish->to ? wish->to : "20991231235959");
    if (wish->decoy_ip)
        bad |= add_decoy(&cert, wish->decoy_ip);
    bad |= mbedtls_x509write_crt_set_basic_constraints(&cert, 1, 0);
    bad |= mbedtls_x509write_crt_set_extension(&cert, MBEDTLS_OID_SUBJECT_ALT_NAME,
                                               MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0,
                                               names, n_names);
    bad |= mbedtls_x509write_crt_pem(&cert, text, sizeof text, mbedtls_ctr_drbg_random, &random);
    bad |= !write_file(t->cert_file, text);
    bad |= mbedtls_pk_write_key_pem(&key, text, sizeof text);
    bad |= !write_file(t->key_file, text);
    mbedtls_x509write_crt_free(&cert);
    mbedtls_pk_free(&key);
    mbedtls_ctr_drbg_free(&random);
    mbedtls_entropy_free(&entropy);
    return bad == 0;
}

void test_cert_remove(struct test_cert *t)
{
    unlink(t->cert_file);
    unlink(t->key_file);
    rmdir(t->folder);
}
