/*
 * tls/tls_stream.c - see tls_stream.h.
 *
 * mbedTLS asks for cipher text and hands it out through two callbacks; here they read what was fed
 * or lent and append to a buffer. The hard part is saying why a handshake failed: mbedTLS reports
 * flags and numbers, a person needs the certificate's names and dates.
 *
 * Cost: an established stream holds mbedTLS's two record buffers of 16.4 KiB each (2.28 as Debian
 * builds it cannot shrink them), of which 24 KiB go back to the kernel until a large record needs
 * them (tls_stream_rest), its keys (2 KiB) and this structure. The peer's certificate is not kept,
 * and cipher text that is lent is not copied.
 */
#include <assert.h>
#include <mbedtls/platform.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tls/tls_internal.h"

enum { INPUT_LIMIT = 4 * 1024 * 1024, OUTPUT_LIMIT = 256 * 1024 * 1024, KEEP = 4096 };
/* Small pieces of plain text are put together up to this, the most that a record holds. */
enum { RECORD_MAX = 16 * 1024 };

enum phase { PHASE_HANDSHAKE, PHASE_OPEN, PHASE_CLOSED, PHASE_FAILED };

struct tls_stream {
    mbedtls_ssl_context ssl;
    struct tls_trust *trust;       /* client */
    struct tls_sessions *sessions; /* client; not owned */
    struct tls_identity *identity; /* server */
    char *host, *session_key;
    struct buffer input, output;
    size_t input_at;  /* consumed bytes of input */
    struct span lent; /* comes behind input */
    enum phase phase;
    bool input_ended, offered, resumed, resumable, ip_host, certificate_seen;
    struct fail fail;
};

/* ---- bytes in and out ---- */

static int take_output(void *owner, const unsigned char *bytes, size_t n)
{
    struct tls_stream *s = owner;
    if (buffer_append(&s->output, span_of((const char *)bytes, n)))
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    return (int)n;
}

/* Takes at most `room` bytes of what was fed before; 0 when there are none. */
static size_t take_fed(struct tls_stream *s, unsigned char *to, size_t room)
{
    size_t left = s->input.n - s->input_at, n = left < room ? left : room;
    if (!n)
        return 0;
    memcpy(to, s->input.p + s->input_at, n);
    s->input_at += n;
    if (s->input_at == s->input.n) {
        s->input_at = 0;
        buffer_shrink(&s->input, KEEP);
    }
    return n;
}

static size_t take_lent(struct tls_stream *s, unsigned char *to, size_t room)
{
    size_t n = s->lent.n < room ? s->lent.n : room;
    if (n)
        memcpy(to, s->lent.p, n);
    s->lent = span_from(s->lent, n);
    return n;
}

static int give_input(void *owner, unsigned char *to, size_t room)
{
    struct tls_stream *s = owner;
    size_t n = take_fed(s, to, room);
    if (!n)
        n = take_lent(s, to, room);
    if (n)
        return (int)n;
    return s->input_ended ? 0 : MBEDTLS_ERR_SSL_WANT_READ;
}

int tls_stream_feed(struct tls_stream *s, struct span cipher)
{
    if (s->input_at) {
        buffer_consume(&s->input, s->input_at);
        s->input_at = 0;
    }
    return cipher.n ? buffer_append(&s->input, cipher) : 0;
}

void tls_stream_lend(struct tls_stream *s, struct span cipher) { s->lent = cipher; }

int tls_stream_keep_lent(struct tls_stream *s)
{
    struct span rest = s->lent;
    s->lent = span_of(NULL, 0);
    return tls_stream_feed(s, rest);
}

void tls_stream_feed_eof(struct tls_stream *s) { s->input_ended = true; }

struct buffer *tls_stream_output(struct tls_stream *s) { return &s->output; }

/* ---- making ---- */

void tls_stream_destroy(struct tls_stream *s)
{
    if (!s)
        return;
    mbedtls_ssl_free(&s->ssl);
    buffer_free(&s->input);
    buffer_free(&s->output);
    free(s->host);
    free(s->session_key);
    tls_trust_release(s->trust);
    tls_identity_release(s->identity);
    free(s);
}

static struct tls_stream *create(void)
{
    struct tls_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    mbedtls_ssl_init(&s->ssl);
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

/* ---- memory that only large records need ---- */

#if MBEDTLS_VERSION_MAJOR < 3 && !defined(MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH)
/* Gives the whole pages behind the first `used` bytes back: they read as zeroes until they are
 * written to again. */
static void release_pages(unsigned char *block, size_t used, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)block + used + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)block + n) & ~(page - 1);
    if (to > from)
        madvise((void *)from, to - from, MADV_DONTNEED);
}
#endif

/* mbedTLS keeps a record's number at the front of each buffer, and nothing else between two
 * records. */
static void release_buffers(const mbedtls_ssl_context *ssl)
{
#if MBEDTLS_VERSION_MAJOR < 3 && !defined(MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH)
    enum { FRONT = 64 };
    if (ssl->in_left == 0 && ssl->in_offt == NULL && ssl->in_hslen == 0)
        release_pages(ssl->in_buf, FRONT, MBEDTLS_SSL_IN_CONTENT_LEN);
    if (ssl->out_left == 0)
        release_pages(ssl->out_buf, FRONT, MBEDTLS_SSL_OUT_CONTENT_LEN);
#endif
}

void tls_stream_rest(struct tls_stream *s)
{
    if (s->phase == PHASE_OPEN)
        release_buffers(&s->ssl);
}

/* ---- the two kinds ---- */

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
    if (!s->host || !s->session_key || mbedtls_ssl_setup(&s->ssl, tls_trust_config(trust)) ||
        mbedtls_ssl_set_hostname(&s->ssl, s->ip_host ? NULL : host))
        return no_memory(s, fail);
    release_buffers(&s->ssl); /* zeroed, and so far unused */
    mbedtls_ssl_set_verify(&s->ssl, check_certificate, s);
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
    if (!s->host || mbedtls_ssl_setup(&s->ssl, tls_identity_config(identity)))
        return no_memory(s, fail);
    release_buffers(&s->ssl);
    mbedtls_ssl_set_bio(&s->ssl, s, take_output, give_input, NULL);
    return s;
}

bool tls_stream_is_resuming(const struct tls_stream *s) { return s->offered; }
bool tls_stream_was_resumed(const struct tls_stream *s) { return s->resumed; }
const struct fail *tls_stream_fail(const struct tls_stream *s) { return &s->fail; }

bool tls_stream_may_be_resumed(const struct tls_stream *s) { return s->resumable; }

void tls_stream_describe(const struct tls_stream *s, char *text, size_t room)
{
    if (s->phase == PHASE_HANDSHAKE || s->phase == PHASE_FAILED)
        snprintf(text, room, "none");
    else
        snprintf(text, room, "%s %s", mbedtls_ssl_get_version(&s->ssl),
                 mbedtls_ssl_get_ciphersuite(&s->ssl));
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

/* It was looked at, and nothing asks for it again: some 3 KiB a connection, and it would be parsed
 * anew with each copy of the session. */
static void drop_certificate(struct tls_stream *s)
{
#if defined(MBEDTLS_SSL_KEEP_PEER_CERTIFICATE)
    mbedtls_ssl_session *session = s->ssl.TLS_FIELD(session);
    if (!session || !session->TLS_FIELD(peer_cert))
        return;
    mbedtls_x509_crt_free(session->TLS_FIELD(peer_cert));
    mbedtls_free(session->TLS_FIELD(peer_cert));
    session->TLS_FIELD(peer_cert) = NULL;
#endif
}

/* For the connections to come: a session id or a ticket, whichever the server gave. */
static void keep_session(struct tls_stream *s)
{
    mbedtls_ssl_session session;
    mbedtls_ssl_session_init(&session);
    if (mbedtls_ssl_get_session(&s->ssl, &session) == 0 &&
        (session.TLS_FIELD(id_len) || session.TLS_FIELD(ticket_len))) {
        s->resumable = true;
        tls_sessions_put(s->sessions, tls_trust_id(s->trust), s->session_key, &session);
    }
    mbedtls_ssl_session_free(&session);
}

/* Was the session of an earlier connection taken up? Then no certificate was sent, so none was
 * seen. */
static void handshake_done(struct tls_stream *s)
{
    s->phase = PHASE_OPEN;
    if (!s->sessions)
        return;
    s->resumed = s->offered && !s->certificate_seen;
    tls_sessions_count(s->sessions, s->resumed ? TLS_COUNT_RESUMED : TLS_COUNT_FULL);
    drop_certificate(s);
    keep_session(s);
}

/* What the handshake does next may cost milliseconds: a key exchange, a signature, a chain of
 * certificates. Everything else is a hash and a few allocations. */
static bool is_costly_next(const struct tls_stream *s)
{
    int state = s->ssl.TLS_FIELD(state);
#if MBEDTLS_VERSION_MAJOR >= 3 /* TLS 1.3 exchanges keys in its hellos, and has more states */
    if (!s->offered && state <= MBEDTLS_SSL_SERVER_HELLO)
        return true;
    return state > MBEDTLS_SSL_SERVER_HELLO && state < MBEDTLS_SSL_CLIENT_CHANGE_CIPHER_SPEC;
#else
    return state >= MBEDTLS_SSL_SERVER_CERTIFICATE && state <= MBEDTLS_SSL_CERTIFICATE_VERIFY;
#endif
}

/* Does a client's handshake have anything to go on with? (A server writes at those places.) */
static bool has_input(const struct tls_stream *s)
{
    return s->input.n > s->input_at || s->lent.n || s->input_ended || !s->trust ||
           mbedtls_ssl_check_pending(&s->ssl);
}

static enum tls_result handshake(struct tls_stream *s, bool may_be_costly)
{
    if (s->phase == PHASE_OPEN)
        return TLS_OK;
    if (s->phase != PHASE_HANDSHAKE)
        return TLS_FAILED;
    while (s->ssl.TLS_FIELD(state) != MBEDTLS_SSL_HANDSHAKE_OVER) {
        if (!may_be_costly && is_costly_next(s))
            return has_input(s) ? TLS_COSTLY : TLS_WANT_INPUT;
        int r = mbedtls_ssl_handshake_step(&s->ssl);
        if (r == MBEDTLS_ERR_SSL_WANT_READ || r == MBEDTLS_ERR_SSL_WANT_WRITE)
            return TLS_WANT_INPUT;
        if (r != 0) {
            explain_handshake(s, r);
            return failed(s);
        }
    }
    handshake_done(s);
    return TLS_OK;
}

enum tls_result tls_stream_handshake(struct tls_stream *s) { return handshake(s, true); }
enum tls_result tls_stream_handshake_cheap(struct tls_stream *s) { return handshake(s, false); }

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

/* As much of the pieces as a record holds, put together; they are moved on. */
static struct span join(struct span *pieces, size_t n, char to[RECORD_MAX])
{
    size_t used = 0;
    for (size_t i = 0; i < n && used < RECORD_MAX; i++) {
        struct span part = span_first(pieces[i], RECORD_MAX - used);
        if (part.n)
            memcpy(to + used, part.p, part.n);
        used += part.n;
        pieces[i] = span_from(pieces[i], part.n);
    }
    return span_of(to, used);
}

enum tls_result tls_stream_write_pieces(struct tls_stream *s, const struct span *pieces, size_t n)
{
    struct span left[TLS_PIECES_MAX];
    char joined[RECORD_MAX];
    assert(n <= TLS_PIECES_MAX);
    enum tls_result result = TLS_OK;
    memcpy(left, pieces, n * sizeof *pieces);
    for (size_t i = 0; i < n && result == TLS_OK; i++) {
        if (left[i].n && left[i].n < RECORD_MAX && i + 1 < n)
            result = tls_stream_write(s, join(left + i, n - i, joined));
        if (left[i].n && result == TLS_OK)
            result = tls_stream_write(s, left[i]);
    }
    return result;
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
                keep_session(s);
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
