/*
 * tls/tls_store.c - what connections share: trusted roots, client sessions, server identities.
 *
 * All of it is used from the loop and from handshakes on other threads: one lock guards the lists;
 * what a reference leads to never changes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "tls/tls_internal.h"

enum { SESSIONS_MAX = 256 };

int tls_random(void *unused, unsigned char *out, size_t n)
{
    while (n) {
        ssize_t got = getrandom(out, n < 256 ? n : 256, 0);
        if (got <= 0)
            return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
        out += got;
        n -= (size_t)got;
    }
    return 0;
}

/* ---- trust ---- */

struct tls_trust {
    unsigned refs;
    uint64_t id;
    char *ca_file;
    mbedtls_x509_crt chain;
    mbedtls_ssl_config config; /* of all clients that trust it */
    struct tls_trust *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tls_trust *stores;
static uint64_t last_store_id;

static const char *system_bundle(void)
{
    static const char *const places[] = {"/etc/ssl/certs/ca-certificates.crt",
                                         "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
                                         "/etc/ssl/ca-bundle.pem"};
    const char *given = getenv("SSL_CERT_FILE");
    if (given && *given)
        return given;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (access(places[i], R_OK) == 0)
            return places[i];
    }
    return NULL;
}

static void trust_free(struct tls_trust *t)
{
    mbedtls_ssl_config_free(&t->config);
    mbedtls_x509_crt_free(&t->chain);
    free(t->ca_file);
    free(t);
}

/* A bundle with some certificates that mbedTLS cannot read is still a bundle. */
static int read_bundle(struct tls_trust *t, const char *file, struct fail *fail)
{
    int r = mbedtls_x509_crt_parse_file(&t->chain, file);
    if (r >= 0)
        return 0;
    if (r == MBEDTLS_ERR_X509_FILE_IO_ERROR)
        return fail_set(fail, FAIL_UNREACHABLE, "cannot read the trusted certificates in %s: %s",
                        file, strerror(errno));
    return fail_set(fail, FAIL_UNREACHABLE,
                    "%s holds no certificate that can be read (PEM is wanted)", file);
}

static struct tls_trust *trust_load(const char *ca_file, struct fail *fail)
{
    struct tls_trust *t = calloc(1, sizeof *t);
    const char *bundle = system_bundle();
    if (!t || !(t->ca_file = strdup(ca_file))) {
        free(t);
        fail_memory(fail);
        return NULL;
    }
    mbedtls_x509_crt_init(&t->chain);
    if (tls_config_client(&t->config, &t->chain)) {
        fail_memory(fail);
        trust_free(t);
        return NULL;
    }
    if (!bundle && !*ca_file) {
        fail_set(fail, FAIL_UNREACHABLE,
                 "this machine has no trusted certificates: install the package ca-certificates, "
                 "or set ca_file");
        trust_free(t);
        return NULL;
    }
    /* The system's own bundle may be missing when ca_file says whom to trust. */
    if ((bundle && read_bundle(t, bundle, fail) && !*ca_file) ||
        (*ca_file && read_bundle(t, ca_file, fail))) {
        trust_free(t);
        return NULL;
    }
    return t;
}

/* The store with one more user; NULL when there is none. */
static struct tls_trust *find_store(const char *ca_file)
{
    struct tls_trust *t = stores;
    while (t && strcmp(t->ca_file, ca_file) != 0)
        t = t->next;
    if (t)
        t->refs++;
    return t;
}

/* Loading takes some 20 ms, so it happens outside the lock: who only takes or gives back a
 * reference (the loop) never waits for it. When two load the same, the second one finds the first
 * one's. */
struct tls_trust *tls_trust_get(const char *ca_file, struct fail *fail)
{
    ca_file = ca_file ? ca_file : "";
    pthread_mutex_lock(&lock);
#if MBEDTLS_VERSION_MAJOR >= 3
    psa_crypto_init();
#endif
    struct tls_trust *t = find_store(ca_file);
    pthread_mutex_unlock(&lock);
    if (t)
        return t;
    struct tls_trust *loaded = trust_load(ca_file, fail);
    if (!loaded)
        return NULL;
    pthread_mutex_lock(&lock);
    t = find_store(ca_file);
    if (!t) {
        loaded->id = ++last_store_id;
        loaded->refs = 1;
        loaded->next = stores;
        stores = loaded;
    }
    pthread_mutex_unlock(&lock);
    if (!t)
        return loaded;
    trust_free(loaded);
    return t;
}

void tls_trust_ref(struct tls_trust *t)
{
    pthread_mutex_lock(&lock);
    t->refs++;
    pthread_mutex_unlock(&lock);
}

void tls_trust_release(struct tls_trust *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&lock);
    bool last = --t->refs == 0;
    if (last) {
        struct tls_trust **at = &stores;
        while (*at != t)
            at = &(*at)->next;
        *at = t->next;
    }
    pthread_mutex_unlock(&lock);
    if (last)
        trust_free(t);
}

const mbedtls_ssl_config *tls_trust_config(const struct tls_trust *t) { return &t->config; }
uint64_t tls_trust_id(const struct tls_trust *t) { return t->id; }

/* ---- sessions ---- */

/* As mbedTLS writes a session down: taking it up again needs no copy of a copy. */
struct stored_session {
    uint64_t trust;
    struct stored_session *next; /* newest first */
    char *key;
    size_t n;
    unsigned char bytes[];
};

struct tls_sessions {
    pthread_mutex_t lock;
    struct stored_session *first;
    size_t n;
    struct tls_counters counters;
};

struct tls_sessions *tls_sessions_create(void)
{
    struct tls_sessions *s = calloc(1, sizeof *s);
    if (s)
        pthread_mutex_init(&s->lock, NULL);
    return s;
}

static void stored_free(struct stored_session *e)
{
    explicit_bzero(e->bytes, e->n);
    free(e->key);
    free(e);
}

void tls_sessions_destroy(struct tls_sessions *s)
{
    if (!s)
        return;
    while (s->first) {
        struct stored_session *e = s->first;
        s->first = e->next;
        stored_free(e);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct tls_counters tls_sessions_counters(struct tls_sessions *s)
{
    pthread_mutex_lock(&s->lock);
    struct tls_counters c = s->counters;
    pthread_mutex_unlock(&s->lock);
    return c;
}

void tls_sessions_count(struct tls_sessions *s, enum tls_count what)
{
    pthread_mutex_lock(&s->lock);
    if (what == TLS_COUNT_FULL)
        s->counters.full++;
    else if (what == TLS_COUNT_RESUMED)
        s->counters.resumed++;
    else
        s->counters.failed++;
    pthread_mutex_unlock(&s->lock);
}

static struct stored_session **find(struct tls_sessions *s, uint64_t trust, const char *key)
{
    struct stored_session **at = &s->first;
    while (*at && ((*at)->trust != trust || strcmp((*at)->key, key) != 0))
        at = &(*at)->next;
    return at;
}

bool tls_sessions_get(struct tls_sessions *s, uint64_t trust, const char *key,
                      mbedtls_ssl_session *copy)
{
    pthread_mutex_lock(&s->lock);
    const struct stored_session *e = *find(s, trust, key);
    bool good = e && mbedtls_ssl_session_load(copy, e->bytes, e->n) == 0;
    pthread_mutex_unlock(&s->lock);
    return good;
}

static void drop_locked(struct tls_sessions *s, struct stored_session **at)
{
    struct stored_session *e = *at;
    if (!e)
        return;
    *at = e->next;
    s->n--;
    stored_free(e);
}

static struct stored_session *write_down(const mbedtls_ssl_session *session, const char *key)
{
    size_t n = 0;
    mbedtls_ssl_session_save(session, NULL, 0, &n);
    struct stored_session *e = n ? calloc(1, sizeof *e + n) : NULL;
    if (!e)
        return NULL;
    e->n = n;
    e->key = strdup(key);
    if (e->key && mbedtls_ssl_session_save(session, e->bytes, n, &n) == 0)
        return e;
    stored_free(e);
    return NULL;
}

void tls_sessions_put(struct tls_sessions *s, uint64_t trust, const char *key,
                      const mbedtls_ssl_session *session)
{
    struct stored_session *e = write_down(session, key);
    if (!e)
        return;
    e->trust = trust;
    pthread_mutex_lock(&s->lock);
    drop_locked(s, find(s, trust, key));
    if (s->n >= SESSIONS_MAX) { /* the oldest goes */
        struct stored_session **at = &s->first;
        while ((*at)->next)
            at = &(*at)->next;
        drop_locked(s, at);
    }
    e->next = s->first;
    s->first = e;
    s->n++;
    pthread_mutex_unlock(&s->lock);
}

void tls_sessions_drop(struct tls_sessions *s, uint64_t trust, const char *key)
{
    pthread_mutex_lock(&s->lock);
    drop_locked(s, find(s, trust, key));
    pthread_mutex_unlock(&s->lock);
}

/* ---- server identity ---- */

struct tls_identity {
    unsigned refs;
    mbedtls_x509_crt chain;
    mbedtls_pk_context key;
    mbedtls_ssl_ticket_context tickets;
    mbedtls_ssl_config config;
};

static int identity_read(struct tls_identity *id, const char *cert_file, const char *key_file,
                         struct fail *fail)
{
    int r = mbedtls_x509_crt_parse_file(&id->chain, cert_file);
    if (r == MBEDTLS_ERR_X509_FILE_IO_ERROR)
        return fail_set(fail, FAIL_INTERNAL, "cannot read tls_cert %s: %s", cert_file,
                        strerror(errno));
    if (r != 0)
        return fail_set(fail, FAIL_INTERNAL, "tls_cert %s is not a PEM certificate (chain)",
                        cert_file);
#if MBEDTLS_VERSION_MAJOR >= 3
    r = mbedtls_pk_parse_keyfile(&id->key, key_file, NULL, tls_random, NULL);
#else
    r = mbedtls_pk_parse_keyfile(&id->key, key_file, NULL);
#endif
    if (r == MBEDTLS_ERR_PK_FILE_IO_ERROR)
        return fail_set(fail, FAIL_INTERNAL, "cannot read tls_key %s: %s", key_file,
                        strerror(errno));
    if (r == MBEDTLS_ERR_PK_PASSWORD_REQUIRED || r == MBEDTLS_ERR_PK_PASSWORD_MISMATCH)
        return fail_set(fail, FAIL_INTERNAL,
                        "tls_key %s is encrypted; give a key without a password", key_file);
    if (r != 0)
        return fail_set(fail, FAIL_INTERNAL, "tls_key %s is not a PEM private key", key_file);
#if MBEDTLS_VERSION_MAJOR >= 3
    r = mbedtls_pk_check_pair(&id->chain.pk, &id->key, tls_random, NULL);
#else
    r = mbedtls_pk_check_pair(&id->chain.pk, &id->key);
#endif
    if (r != 0)
        return fail_set(fail, FAIL_INTERNAL, "tls_key %s does not belong to the certificate in %s",
                        key_file, cert_file);
    if (mbedtls_ssl_ticket_setup(&id->tickets, tls_random, NULL, MBEDTLS_CIPHER_AES_256_GCM,
                                 86400) ||
        tls_config_server(&id->config, &id->chain, &id->key, &id->tickets))
        return fail_memory(fail);
    return 0;
}

static void identity_free(struct tls_identity *id)
{
    mbedtls_ssl_config_free(&id->config);
    mbedtls_ssl_ticket_free(&id->tickets);
    mbedtls_pk_free(&id->key);
    mbedtls_x509_crt_free(&id->chain);
    free(id);
}

struct tls_identity *tls_identity_load(const char *cert_file, const char *key_file,
                                       struct fail *fail)
{
    struct tls_identity *id = calloc(1, sizeof *id);
    if (!id) {
        fail_memory(fail);
        return NULL;
    }
    id->refs = 1;
    mbedtls_x509_crt_init(&id->chain);
    mbedtls_pk_init(&id->key);
    mbedtls_ssl_ticket_init(&id->tickets);
    mbedtls_ssl_config_init(&id->config);
#if MBEDTLS_VERSION_MAJOR >= 3
    psa_crypto_init();
#endif
    if (identity_read(id, cert_file, key_file, fail)) {
        identity_free(id);
        return NULL;
    }
    return id;
}

void tls_identity_ref(struct tls_identity *id)
{
    pthread_mutex_lock(&lock);
    id->refs++;
    pthread_mutex_unlock(&lock);
}

void tls_identity_release(struct tls_identity *id)
{
    if (!id)
        return;
    pthread_mutex_lock(&lock);
    bool last = --id->refs == 0;
    pthread_mutex_unlock(&lock);
    if (last)
        identity_free(id);
}

const mbedtls_ssl_config *tls_identity_config(const struct tls_identity *id) { return &id->config; }
