/*
 * tls/tls_stream.c - see tls_stream.h.
 *
 * mbedTLS asks for cipher text and hands it out through two callbacks; here they read a buffer and
 * append to another. The hard part is saying why a handshake failed: mbedTLS reports flags and
 * numbers, a person needs the certificate's names and dates.
 *
 * Cost: an established stream holds mbedTLS's two record buffers of 16.4 KiB each (2.28 as Debian
 * builds it cannot shrink them); the peer's certificate is not kept, and the input buffer is given
 * back whenever it runs empty.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tls/tls_internal.h"

enum { INPUT_LIMIT = 4 * 1024 * 1024, OUTPUT_LIMIT = 256 * 1024 * 1024, KEEP = 4096 };

enum phase { PHASE_HANDSHAKE, PHASE_OPEN, PHASE_CLOSED, PHASE_FAILED };

struct tls_stream {
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    struct tls_trust *trust;       /* client */
    struct tls_sessions *sessions; /* client; not owned */
    struct tls_identity *identity; /* server */
    char *host, *session_key;
    struct buffer input, output;
    size_t input_at; /* consumed bytes of input */
    enum phase phase;
    bool input_ended, offered, resumed, ip_host, saw_input, certificate_seen;
    char description[80];
    struct fail fail;
};

/* Fastest first with what mbedTLS has: ChaCha20-Poly1305 beats its AES-GCM on every machine without
 * AES instructions and is close elsewhere. */
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

/* ---- bytes in and out ---- */

static int take_output(void *owner, const unsigned char *bytes, size_t n)
{
    struct tls_stream *s = owner;
    if (buffer_append(&s->output, span_of((const char *)bytes, n)))
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    return (int)n;
}

static int give_input(void *owner, unsigned char *to, size_t room)
{
    struct tls_stream *s = owner;
    size_t left = s->input.n - s->input_at;
    if (left == 0)
        return s->input_ended ? 0 : MBEDTLS_ERR_SSL_WANT_READ;
    size_t n = left < room ? left : room;
    memcpy(to, s->input.p + s->input_at, n);
    s->input_at += n;
    if (s->input_at == s->input.n) {
        s->input_at = 0;
        buffer_shrink(&s->input, KEEP);
    }
    return (int)n;
}

int tls_stream_feed(struct tls_stream *s, struct span cipher)
{
    if (s->input_at) {
        buffer_consume(&s->input, s->input_at);
        s->input_at = 0;
    }
    s->saw_input |= cipher.n > 0;
    return buffer_append(&s->input, cipher);
}

void tls_stream_feed_eof(struct tls_stream *s) { s->input_ended = true; }

struct buffer *tls_stream_output(struct tls_stream *s) { return &s->output; }

/* ---- making ---- */

void tls_stream_destroy(struct tls_stream *s)
{
    if (!s)
        return;
    mbedtls_ssl_free(&s->ssl);
    mbedtls_ssl_config_free(&s->config);
    buffer_free(&s->input);
    buffer_free(&s->output);
    free(s->host);
    free(s->session_key);
    tls_trust_release(s->trust);
    tls_identity_release(s->identity);
    free(s);
}

static int configure(struct tls_stream *s, int endpoint)
{
    if (mbedtls_ssl_config_defaults(&s->config, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT))
        return -1;
    mbedtls_ssl_conf_rng(&s->config, tls_random, NULL);
    mbedtls_ssl_conf_ciphersuites(&s->config, cipher_suites);
#if MBEDTLS_VERSION_MAJOR >= 3
    mbedtls_ssl_conf_min_tls_version(&s->config, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_groups(&s->config, groups);
#else
    mbedtls_ssl_conf_min_version(&s->config, MBEDTLS_SSL_MAJOR_VERSION_3,
                                 MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_curves(&s->config, groups);
#endif
    return mbedtls_ssl_conf_alpn_protocols(&s->config, alpn);
}

static struct tls_stream *create(void)
{
    struct tls_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    mbedtls_ssl_init(&s->ssl);
    mbedtls_ssl_config_init(&s->config);
    buffer_init(&s->input, INPUT_LIMIT);
    buffer_init(&s->output, OUTPUT_LIMIT);
    return s;
}

static struct tls_stream *no_memory(struct tls_stream *s, struct fail *fail)
{
    tls_stream_destroy(s);
    fail_memory(fail);
    return NULL;
}

/* An IP literal's name check replaces mbedTLS's own: the leaf must list the address. Called for
 * each certificate, the leaf last (depth 0). */
static int check_certificate(void *owner, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    struct tls_stream *s = owner;
    if (depth != 0)
        return 0;
    s->certificate_seen = true;
    if (s->ip_host) {
        if (tls_certificate_has_ip(crt, s->host))
            *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
        else
            *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    }
    if (*flags) { /* the sentence needs names and dates, which are gone when the handshake has
                     failed */
        char names[120];
        tls_certificate_names(crt, names, sizeof names);
        const mbedtls_x509_time *until = &crt->valid_to, *from = &crt->valid_from;
        if (*flags & MBEDTLS_X509_BADCERT_EXPIRED)
            fail_set(&s->fail, FAIL_UNREACHABLE, "the certificate of %s expired on %04d-%02d-%02d",
                     s->host, until->year, until->mon, until->day);
        else if (*flags & MBEDTLS_X509_BADCERT_FUTURE)
            fail_set(&s->fail, FAIL_UNREACHABLE,
                     "the certificate of %s is not valid before %04d-%02d-%02d (is this machine's "
                     "clock right?)",
                     s->host, from->year, from->mon, from->day);
        else if (*flags & MBEDTLS_X509_BADCERT_CN_MISMATCH)
            fail_set(&s->fail, FAIL_UNREACHABLE, "the certificate was issued for %s, not for %s",
                     names, s->host);
        else if (*flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
            fail_set(&s->fail, FAIL_UNREACHABLE,
                     "the certificate of %s is signed by an authority that this machine does not "
                     "trust (ca_file adds one)",
                     s->host);
        else
            fail_set(&s->fail, FAIL_UNREACHABLE,
                     "the certificate of %s is not acceptable (too weak, or not for this use)",
                     s->host);
    }
    return 0;
}

struct tls_stream *tls_client_create(struct tls_trust *trust, struct tls_sessions *sessions,
                                     const char *host, const char *session_key, struct fail *fail)
{
    struct tls_stream *s = create();
    if (!s)
        return no_memory(NULL, fail);
    tls_trust_ref(trust);
    s->trust = trust;
    s->sessions = sessions;
    s->host = strdup(host);
    s->session_key = strdup(session_key);
    s->ip_host = tls_is_ip_literal(host);
    if (!s->host || !s->session_key || configure(s, MBEDTLS_SSL_IS_CLIENT))
        return no_memory(s, fail);
    mbedtls_ssl_conf_authmode(&s->config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&s->config, (mbedtls_x509_crt *)(uintptr_t)tls_trust_chain(trust),
                              NULL);
    mbedtls_ssl_conf_verify(&s->config, check_certificate, s);
    mbedtls_ssl_conf_session_tickets(&s->config, MBEDTLS_SSL_SESSION_TICKETS_ENABLED);
    if (mbedtls_ssl_setup(&s->ssl, &s->config) ||
        mbedtls_ssl_set_hostname(&s->ssl, s->ip_host ? NULL : host))
        return no_memory(s, fail);
    mbedtls_ssl_session session;
    mbedtls_ssl_session_init(&session);
    if (tls_sessions_get(sessions, tls_trust_id(trust), session_key, &session))
        s->offered = mbedtls_ssl_set_session(&s->ssl, &session) == 0;
    mbedtls_ssl_session_free(&session);
    mbedtls_ssl_set_bio(&s->ssl, s, take_output, give_input, NULL);
    return s;
}

struct tls_stream *tls_server_create(struct tls_identity *identity, struct fail *fail)
{
    struct tls_stream *s = create();
    if (!s)
        return no_memory(NULL, fail);
    tls_identity_ref(identity);
    s->identity = identity;
    s->host = strdup("the client");
    if (!s->host || configure(s, MBEDTLS_SSL_IS_SERVER) ||
        mbedtls_ssl_conf_own_cert(&s->config, tls_identity_chain(identity),
                                  tls_identity_key(identity)))
        return no_memory(s, fail);
    mbedtls_ssl_conf_session_tickets_cb(&s->config, mbedtls_ssl_ticket_write,
                                        mbedtls_ssl_ticket_parse, tls_identity_tickets(identity));
    if (mbedtls_ssl_setup(&s->ssl, &s->config))
        return no_memory(s, fail);
    mbedtls_ssl_set_bio(&s->ssl, s, take_output, give_input, NULL);
    return s;
}

bool tls_stream_is_resuming(const struct tls_stream *s) { return s->offered; }
bool tls_stream_was_resumed(const struct tls_stream *s) { return s->resumed; }
const struct fail *tls_stream_fail(const struct tls_stream *s) { return &s->fail; }

const char *tls_stream_describe(const struct tls_stream *s)
{
    return s->description[0] ? s->description : "none";
}

/* ---- the handshake ---- */

static enum tls_result failed(struct tls_stream *s)
{
    s->phase = PHASE_FAILED;
    if (s->sessions) {
        tls_sessions_drop(s->sessions, tls_trust_id(s->trust), s->session_key);
        tls_sessions_count(s->sessions, TLS_COUNT_FAILED);
    }
    return TLS_FAILED;
}

static void explain_handshake(struct tls_stream *s, int error)
{
    char detail[80];
    if (s->fail.kind != FAIL_NONE && error == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED)
        return; /* check_certificate said it */
    switch (error) {
    case MBEDTLS_ERR_SSL_CONN_EOF:
        fail_set(&s->fail, FAIL_UNREACHABLE, "%s closed the connection during the TLS handshake",
                 s->host);
        return;
    case MBEDTLS_ERR_SSL_INVALID_RECORD:
#if MBEDTLS_VERSION_MAJOR < 3
    case MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY:
#endif
        fail_set(&s->fail, FAIL_UNREACHABLE,
                 "%s does not speak TLS on this port (is it plain http?)", s->host);
        return;
#if MBEDTLS_VERSION_MAJOR >= 3
    case MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION:
#else
    case MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION:
#endif
        fail_set(&s->fail, FAIL_UNREACHABLE, "%s speaks only TLS versions older than 1.2", s->host);
        return;
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        fail_set(&s->fail, FAIL_UNREACHABLE, "%s refused the TLS handshake with an alert", s->host);
        return;
    case MBEDTLS_ERR_SSL_ALLOC_FAILED: fail_memory(&s->fail); return;
    default: break;
    }
    mbedtls_strerror(error, detail, sizeof detail);
    fail_set(&s->fail, FAIL_UNREACHABLE, "the TLS handshake with %s failed (%s)", s->host, detail);
}

/* Was the session of an earlier connection taken up? Then no certificate was sent, so none was
 * seen. */
static void handshake_done(struct tls_stream *s)
{
    s->phase = PHASE_OPEN;
    snprintf(s->description, sizeof s->description, "%s %s", mbedtls_ssl_get_version(&s->ssl),
             mbedtls_ssl_get_ciphersuite(&s->ssl));
    if (!s->sessions)
        return;
    s->resumed = s->offered && !s->certificate_seen;
    tls_sessions_count(s->sessions, s->resumed ? TLS_COUNT_RESUMED : TLS_COUNT_FULL);
    tls_sessions_put(s->sessions, tls_trust_id(s->trust), s->session_key, &s->ssl);
}

enum tls_result tls_stream_handshake(struct tls_stream *s)
{
    if (s->phase == PHASE_OPEN)
        return TLS_OK;
    if (s->phase != PHASE_HANDSHAKE)
        return TLS_FAILED;
    int r = mbedtls_ssl_handshake(&s->ssl);
    if (r == 0) {
        handshake_done(s);
        return TLS_OK;
    }
    if (r == MBEDTLS_ERR_SSL_WANT_READ || r == MBEDTLS_ERR_SSL_WANT_WRITE)
        return TLS_WANT_INPUT;
    explain_handshake(s, r);
    return failed(s);
}

/* ---- data ---- */

enum tls_result tls_stream_write(struct tls_stream *s, struct span plain)
{
    if (s->phase != PHASE_OPEN)
        return TLS_FAILED;
    while (plain.n) {
        int n = mbedtls_ssl_write(&s->ssl, (const unsigned char *)plain.p, plain.n);
        if (n <= 0) { /* the output never blocks: anything here is the end */
            fail_set(&s->fail, FAIL_CUT, "the connection to %s cannot be written to", s->host);
            s->phase = PHASE_FAILED;
            return TLS_FAILED;
        }
        plain = span_from(plain, (size_t)n);
    }
    return TLS_OK;
}

enum tls_result tls_stream_read(struct tls_stream *s, char *to, size_t room, size_t *n)
{
    *n = 0;
    if (s->phase == PHASE_CLOSED)
        return TLS_CLOSED;
    if (s->phase != PHASE_OPEN)
        return TLS_FAILED;
    for (;;) {
        int r = mbedtls_ssl_read(&s->ssl, (unsigned char *)to, room);
        if (r > 0) {
            *n = (size_t)r;
            return TLS_OK;
        }
        if (r == MBEDTLS_ERR_SSL_WANT_READ || r == MBEDTLS_ERR_SSL_WANT_WRITE)
            return TLS_WANT_INPUT;
#if defined(MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
        if (r ==
            MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) { /* TLS 1.3 hands tickets out later */
            if (s->sessions)
                tls_sessions_put(s->sessions, tls_trust_id(s->trust), s->session_key, &s->ssl);
            continue;
        }
#endif
        if (r == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
            s->phase = PHASE_CLOSED;
            return TLS_CLOSED;
        }
        if (r == 0 || r == MBEDTLS_ERR_SSL_CONN_EOF)
            fail_set(&s->fail, FAIL_CUT, "%s cut the TLS connection without closing it", s->host);
        else
            fail_set(&s->fail, FAIL_CUT, "the TLS connection to %s broke (a damaged record)",
                     s->host);
        s->phase = PHASE_FAILED;
        return TLS_FAILED;
    }
}

void tls_stream_close(struct tls_stream *s)
{
    if (s->phase == PHASE_OPEN || s->phase == PHASE_CLOSED)
        mbedtls_ssl_close_notify(&s->ssl);
}
