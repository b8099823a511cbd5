/*
 * gateway/seal.c - see seal.h.
 */
#include "gateway/seal.h"

#include <mbedtls/gcm.h>
#include <mbedtls/hkdf.h>

static const unsigned char *bytes_of(struct span s) { return (const unsigned char *)s.p; }

int seal_key_derive(struct seal_key *key, struct span secret, const unsigned char salt[SEAL_SALT])
{
    static const struct span purpose = SPAN_INIT("dragoman credentials 1");
    const mbedtls_md_info_t *sha256 = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    return mbedtls_hkdf(sha256, salt, SEAL_SALT, bytes_of(secret), secret.n, bytes_of(purpose),
                        purpose.n, key->bytes, sizeof key->bytes)
               ? -1
               : 0;
}

static int start(mbedtls_gcm_context *gcm, const struct seal_key *key)
{
    mbedtls_gcm_init(gcm);
    return mbedtls_gcm_setkey(gcm, MBEDTLS_CIPHER_ID_AES, key->bytes, 8 * sizeof key->bytes);
}

int seal_text(const struct seal_key *key, const unsigned char nonce[SEAL_NONCE], struct span bound,
              struct span text, unsigned char *sealed)
{
    mbedtls_gcm_context gcm;
    memcpy(sealed, nonce, SEAL_NONCE);
    unsigned char *cipher = sealed + SEAL_NONCE;
    int rc = start(&gcm, key);
    if (rc == 0)
        rc = mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, text.n, nonce, SEAL_NONCE,
                                       bytes_of(bound), bound.n, bytes_of(text), cipher, SEAL_TAG,
                                       cipher + text.n);
    mbedtls_gcm_free(&gcm);
    return rc ? -1 : 0;
}

int seal_open(const struct seal_key *key, struct span bound, struct span sealed, char *text)
{
    mbedtls_gcm_context gcm;
    if (sealed.n < SEAL_EXTRA)
        return SEAL_FOREIGN;
    const unsigned char *nonce = bytes_of(sealed), *cipher = nonce + SEAL_NONCE;
    size_t n = sealed.n - SEAL_EXTRA;
    int rc =
        start(&gcm, key) ? SEAL_NOMEM : 0; /* the key has its size: nothing else can go wrong */
    if (rc == 0 && mbedtls_gcm_auth_decrypt(&gcm, n, nonce, SEAL_NONCE, bytes_of(bound), bound.n,
                                            cipher + n, SEAL_TAG, cipher, (unsigned char *)text))
        rc = SEAL_FOREIGN;
    mbedtls_gcm_free(&gcm); /* a refused text is cleared by the library */
    return rc;
}
