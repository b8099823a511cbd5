/*
 * tls/tls_stream.h - TLS over any byte transport, client and server side, without touching a
 * socket.
 *
 * Sans-IO: cipher text goes in as spans and comes out in a buffer, plain text the other way round.
 * The owner moves the bytes. Knows nothing of HTTP. A full client handshake costs 3 to 5 ms of CPU
 * in mbedTLS 2.28: tls_stream_handshake may therefore be called on another thread, as long as only
 * one thread uses the stream at a time; tls_stream_handshake_cheap goes on as far as that is not
 * worth it.
 *
 * A client: tls_client_create; then tls_stream_feed what came, tls_stream_handshake, and send
 * tls_stream_output, until it is done. Then tls_stream_write turns plain text into output, and
 * tls_stream_feed and tls_stream_read cipher text into plain.
 */
#ifndef DRAGOMAN_TLS_TLS_STREAM_H
#define DRAGOMAN_TLS_TLS_STREAM_H

#include "base/buffer.h"
#include "base/fail.h"

enum tls_result {
    TLS_OK = 0,
    TLS_WANT_INPUT = 1, /* nothing more to do until more cipher text is fed */
    TLS_CLOSED = 2,     /* the peer's close_notify: a clean end */
    TLS_COSTLY = 3,     /* of tls_stream_handshake_cheap: go on with tls_stream_handshake */
    TLS_FAILED = -1     /* fail_of() says why, in a person's words */
};

/* ---- trust, shared ---- */

/* The trusted roots: SSL_CERT_FILE or the system's bundle, plus `ca_file` when it is not empty.
 * Loaded lazily on first use (thread-safe), shared and reference-counted: the same ca_file gives
 * the same store. */
struct tls_trust;
struct tls_trust *tls_trust_get(const char *ca_file, struct fail *);
void tls_trust_release(struct tls_trust *);

/* Client sessions by trust store and session key, shared by all connections of the process;
 * thread-safe. Holds at most a few hundred. Session ids as well as tickets. */
struct tls_sessions;
struct tls_sessions *tls_sessions_create(void);
void tls_sessions_destroy(struct tls_sessions *);
struct tls_counters {
    uint64_t full, resumed, failed;
};
struct tls_counters tls_sessions_counters(struct tls_sessions *);

/* A server's certificate chain and key (PEM files), immutable, reference-counted. NULL with fail:
 * unreadable, not matching … */
struct tls_identity;
struct tls_identity *tls_identity_load(const char *cert_file, const char *key_file, struct fail *);
void tls_identity_release(struct tls_identity *);

/* ---- one connection ---- */

struct tls_stream;

/* `host`: DNS name (SNI and verification) or IP literal (no SNI; verified against iPAddress names,
 * which mbedTLS 2.28 does not do by itself; also "::1" forms). `session_key`: connections with the
 * same one take up each other's sessions, by which the server can tell that they belong together;
 * it has to name host and port. ALPN http/1.1 is offered. NULL with fail when memory is short. */
struct tls_stream *tls_client_create(struct tls_trust *, struct tls_sessions *, const char *host,
                                     const char *session_key, struct fail *);
struct tls_stream *tls_server_create(struct tls_identity *, struct fail *);
void tls_stream_destroy(struct tls_stream *);

/* A stored session is offered, so the handshake will probably be cheap. */
bool tls_stream_is_resuming(const struct tls_stream *);
/* Hands over received cipher text; it is consumed whole (kept until it is needed). 0, or BUFFER_*
 * error. */
int tls_stream_feed(struct tls_stream *, struct span cipher);
/* The same without a copy: `cipher` is read in place, until tls_stream_keep_lent copies what is
 * left of it (nothing, when all records were read). At most one span at a time. */
void tls_stream_lend(struct tls_stream *, struct span cipher);
int tls_stream_keep_lent(struct tls_stream *);
/* The transport ended (FIN): without a close_notify before it, reading then fails as truncated. */
void tls_stream_feed_eof(struct tls_stream *);
/* Goes on with the handshake: TLS_OK when done (the peer's certificate is verified, name included).
 */
enum tls_result tls_stream_handshake(struct tls_stream *);
/* The same as far as it costs microseconds; TLS_COSTLY where the next step may cost milliseconds. A
 * resumed handshake never comes there, a full one does in its middle. */
enum tls_result tls_stream_handshake_cheap(struct tls_stream *);
/* Encrypts all of `plain` into the output. Only after the handshake. */
enum tls_result tls_stream_write(struct tls_stream *, struct span plain);
/* The same for several pieces, as few records as they need. */
enum { TLS_PIECES_MAX = 8 };
enum tls_result tls_stream_write_pieces(struct tls_stream *, const struct span *, size_t n);
/* Decrypts up to `room` bytes into `to`; TLS_OK with *n > 0, TLS_WANT_INPUT, TLS_CLOSED or
 * TLS_FAILED. */
enum tls_result tls_stream_read(struct tls_stream *, char *to, size_t room, size_t *n);
/* Puts a close_notify into the output. */
void tls_stream_close(struct tls_stream *);
/* Cipher text waiting to be sent; the owner sends it and clears the buffer (buffer_clear /
 * buffer_consume). */
struct buffer *tls_stream_output(struct tls_stream *);
/* After TLS_FAILED: kind UNREACHABLE (handshake, verification) or CUT (truncated, bad record), and
 * the sentence: "the certificate of X expired on 2026-01-02", "the certificate of X is for Y", "…
 * is signed by an authority that this machine does not trust (ca_file adds one)", "X ended the
 * connection during the TLS handshake" … */
const struct fail *tls_stream_fail(const struct tls_stream *);
bool tls_stream_was_resumed(const struct tls_stream *);
/* After a client's handshake: the server gave a session that later connections may take up. (With
 * mbedTLS 3 and TLS 1.3 it does so later.) */
bool tls_stream_may_be_resumed(const struct tls_stream *);
/* Protocol and cipher suite, e.g. "TLSv1.2 TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256"; "none"
 * before the handshake's end. */
void tls_stream_describe(const struct tls_stream *, char *text, size_t room);
/* An open stream that is going to be silent, or to carry small records: memory that only large ones
 * need goes back to the kernel (two system calls; it comes again by itself). */
void tls_stream_rest(struct tls_stream *);

#endif
