/*
 * gateway/http_token.h - tokens of HTTP: what methods and header names are made of (tchar of RFC
 * 9110, 5.6.2).
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_TOKEN_H
#define DRAGOMAN_GATEWAY_HTTP_TOKEN_H

#include "base/span.h"

/* Letters, digits and !#$%&'*+-.^_`|~, as bits of their codes. */
static inline bool http_is_token_char(unsigned char c)
{
    static const uint64_t bits[4] = {0x03FF6CFA00000000, 0x57FFFFFFC7FFFFFE};
    return bits[c >> 6] >> (c & 63) & 1;
}

/* How many of them the text begins with. */
static inline size_t http_token_run(struct span text)
{
    size_t n = 0;
    while (n < text.n && http_is_token_char((unsigned char)text.p[n]))
        n++;
    return n;
}

static inline bool http_is_token(struct span text)
{
    return text.n && http_token_run(text) == text.n;
}

#endif
