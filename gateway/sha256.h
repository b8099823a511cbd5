/*
 * gateway/sha256.h - SHA-256 piece by piece, in the caller's own room: it cannot fail for want of
 * memory, as mbedtls_md_setup can.
 */
#ifndef DRAGOMAN_GATEWAY_SHA256_H
#define DRAGOMAN_GATEWAY_SHA256_H

#include <mbedtls/sha256.h>
#include <mbedtls/version.h>

#if MBEDTLS_VERSION_MAJOR < 3
#define mbedtls_sha256_starts mbedtls_sha256_starts_ret
#define mbedtls_sha256_update mbedtls_sha256_update_ret
#define mbedtls_sha256_finish mbedtls_sha256_finish_ret
#endif

#endif
