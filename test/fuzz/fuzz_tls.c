/*
 * test/fuzz/fuzz_tls.c - a client's handshake with foreign bytes: an end with a sentence, never a
 * crash.
 */
#include <assert.h>
#include <stdlib.h>

#include "tls/tls_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls_trust *trust;
    static struct tls_sessions *sessions;
    struct fail fail;
    char plain[64];
    size_t n, step = size ? data[0] % 64 + 1 : 1;
    if (!trust) {
        trust = tls_trust_get("", &fail);
        sessions = tls_sessions_create();
        if (!trust)
            abort();
    }
    struct tls_stream *s =
        tls_client_create(trust, sessions, "site.example", "site.example:443", &fail);
    assert(s && tls_stream_handshake(s) == TLS_WANT_INPUT);
    enum tls_result r = TLS_WANT_INPUT;
    for (size_t at = 1; at < size && r == TLS_WANT_INPUT; at += step) {
        assert(tls_stream_feed(s, span_first(span_of((const char *)data + at, size - at), step)) ==
               0);
        r = tls_stream_handshake(s);
    }
    tls_stream_feed_eof(s);
    if (r == TLS_WANT_INPUT)
        r = tls_stream_handshake(s);
    assert(r == TLS_FAILED && tls_stream_fail(s)->kind != FAIL_NONE &&
           tls_stream_fail(s)->message[0]);
    assert(tls_stream_read(s, plain, sizeof plain, &n) == TLS_FAILED);
    tls_stream_destroy(s);
    return 0;
}
