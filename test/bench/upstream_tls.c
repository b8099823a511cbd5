/*
 * test/bench/upstream_tls.c - the stand-in's TLS, by OpenSSL: with it the stand-in stays faster
 * than what is measured. See upstream_wire.h.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "test/bench/upstream_wire.h"

/*
 * As on the sites that people use: any of the three, and whichever the client puts first. Every
 * target so gets the one that its own library does best.
 */
static const char any_cipher[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
                                 "ECDHE-ECDSA-CHACHA20-POLY1305";

static SSL_CTX *context;
static struct tls_counts counts;

struct tls_wire {
    SSL *ssl;
    bool counted;
};

static bool extend(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool done = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return done;
}

static X509 *make_certificate(EVP_PKEY *key)
{
    enum { DAY = 24 * 3600 };
    X509 *c = X509_new();
    if (!c)
        return NULL;
    X509_NAME *name = X509_get_subject_name(c);
    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), 1);
    X509_gmtime_adj(X509_getm_notBefore(c), -DAY);
    X509_gmtime_adj(X509_getm_notAfter(c), 7 * DAY);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(c, name);
    X509_set_pubkey(c, key);
    if (!extend(c, NID_basic_constraints, "critical,CA:TRUE") ||
        !extend(c, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1") ||
        !X509_sign(c, key, EVP_sha256())) {
        X509_free(c);
        return NULL;
    }
    return c;
}

bool tls_wire_setup(const char *ca_file)
{
    const char *ciphers = getenv("BENCH_CIPHERS");
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = key ? make_certificate(key) : NULL;
    FILE *out = fopen(ca_file, "w");
    context = SSL_CTX_new(TLS_server_method());
    bool done = certificate && out && context && PEM_write_X509(out, certificate) == 1 &&
                SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
                SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION) == 1 &&
                SSL_CTX_use_certificate(context, certificate) == 1 &&
                SSL_CTX_use_PrivateKey(context, key) == 1 &&
                SSL_CTX_set_cipher_list(context, ciphers ? ciphers : any_cipher) == 1 &&
                SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1;
    if (out && fclose(out) != 0)
        done = false;
    if (done) {
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_session_id_context(context, (const unsigned char *)"bench", 5);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    return done;
}

struct tls_wire *tls_wire_accept(int fd)
{
    struct tls_wire *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->ssl = SSL_new(context);
    if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1) {
        tls_wire_free(t);
        return NULL;
    }
    SSL_set_accept_state(t->ssl);
    return t;
}

void tls_wire_free(struct tls_wire *t)
{
    if (!t)
        return;
    SSL_set_quiet_shutdown(t->ssl, 1);
    SSL_shutdown(t->ssl); /* keeps the session resumable */
    SSL_free(t->ssl);
    free(t);
}

static ssize_t outcome(struct tls_wire *t, int rc)
{
    int error = SSL_get_error(t->ssl, rc);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return WIRE_WAIT;
    return error == SSL_ERROR_ZERO_RETURN ? WIRE_END : WIRE_BROKEN;
}

ssize_t tls_wire_read(struct tls_wire *t, char *p, size_t n)
{
    int rc = SSL_read(t->ssl, p, (int)n);
    if (!t->counted && SSL_is_init_finished(t->ssl)) {
        t->counted = true;
        if (SSL_session_reused(t->ssl))
            counts.resumed++;
        else
            counts.full++;
    }
    return rc > 0 ? rc : outcome(t, rc);
}

ssize_t tls_wire_write(struct tls_wire *t, const char *p, size_t n)
{
    int rc = SSL_write(t->ssl, p, (int)n);
    return rc > 0 ? rc : outcome(t, rc);
}

struct tls_counts tls_wire_counts(void) { return counts; }
