/*
 * gateway/seal.h - secrets at rest: AES-256-GCM under a key made from `server.secret_key`.
 *
 * Pure: salt and nonces are handed in. A sealed text is nonce, ciphertext and tag in one run of
 * bytes. It opens only with the same key and the same `bound` bytes (what the text belongs to), so
 * a value cannot be moved to another row of the file unnoticed.
 */
#ifndef DRAGOMAN_GATEWAY_SEAL_H
#define DRAGOMAN_GATEWAY_SEAL_H

#include "base/span.h"

enum {
    SEAL_SALT = 32,
    SEAL_NONCE = 12, /* fresh random bytes for each text */
    SEAL_TAG = 16,
    SEAL_EXTRA = SEAL_NONCE + SEAL_TAG /* how much longer a sealed text is */
};

struct seal_key {
    unsigned char bytes[32];
};

/* HKDF-SHA-256 (RFC 5869). It spreads what the secret has of chance and adds none: a long random
 * secret is wanted, not a pass phrase. 0, or -1 when the library refuses (memory). */
int seal_key_derive(struct seal_key *, struct span secret, const unsigned char salt[SEAL_SALT]);
/* `sealed` has room for text.n + SEAL_EXTRA bytes. 0 or -1 (memory). */
int seal_text(const struct seal_key *, const unsigned char nonce[SEAL_NONCE], struct span bound,
              struct span text, unsigned char *sealed);
enum { SEAL_FOREIGN = -1, SEAL_NOMEM = -2 };
/* `text` has room for sealed.n - SEAL_EXTRA bytes. 0, or SEAL_FOREIGN: too short, or not sealed
 * with this key for `bound`; or SEAL_NOMEM. Then `text` holds nothing. */
int seal_open(const struct seal_key *, struct span bound, struct span sealed, char *text);

#endif
