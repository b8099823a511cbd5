/*
 * tls/tls_internal.h - what the files of this folder share, and the one place where mbedTLS 2.28
 * and 3.x differ.
 */
#ifndef DRAGOMAN_TLS_INTERNAL_H
#define DRAGOMAN_TLS_INTERNAL_H

#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

#include "tls/tls_stream.h"

#if MBEDTLS_VERSION_MAJOR >= 3
#include <psa/crypto.h>
#define TLS_FIELD(name) MBEDTLS_PRIVATE(name)
#else
#define TLS_FIELD(name) name
#endif

/* Bytes from the kernel: needs no state, so any thread may use it. */
int tls_random(void *unused, unsigned char *out, size_t n);

/* See tls_config.c. Both initialise `config`, also when they fail (memory). */
int tls_config_client(mbedtls_ssl_config *config, mbedtls_x509_crt *roots);
int tls_config_server(mbedtls_ssl_config *config, mbedtls_x509_crt *chain, mbedtls_pk_context *key,
                      mbedtls_ssl_ticket_context *tickets);

/* Shared by connections on any thread, and never changed. */
const mbedtls_ssl_config *tls_trust_config(const struct tls_trust *);
/* Tells trust stores apart in the session cache. */
uint64_t tls_trust_id(const struct tls_trust *);
void tls_trust_ref(struct tls_trust *);

/* A copy of the stored session, to be freed by the caller; false when there is none. */
bool tls_sessions_get(struct tls_sessions *, uint64_t trust, const char *key,
                      mbedtls_ssl_session *copy);
/* Takes a copy. */
void tls_sessions_put(struct tls_sessions *, uint64_t trust, const char *key,
                      const mbedtls_ssl_session *);
void tls_sessions_drop(struct tls_sessions *, uint64_t trust, const char *key);
enum tls_count { TLS_COUNT_FULL, TLS_COUNT_RESUMED, TLS_COUNT_FAILED };
void tls_sessions_count(struct tls_sessions *, enum tls_count);

const mbedtls_ssl_config *tls_identity_config(const struct tls_identity *);
void tls_identity_ref(struct tls_identity *);

/* Does the certificate name this IP literal or DNS name? tls/tls_names.c */
bool tls_is_ip_literal(const char *host);
bool tls_certificate_has_ip(const mbedtls_x509_crt *, const char *ip);
/* "a.example, b.example and 3 more". */
void tls_certificate_names(const mbedtls_x509_crt *, char *text, size_t size);

#endif
