/*
 * gateway/http_token.h - tokens of HTTP: what methods and header names are made of (tchar of RFC
 * 9110, 5.6.2).
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_TOKEN_H
#define DRAGOMAN_GATEWAY_HTTP_TOKEN_H

#include "base/span.h"

/* By a table: it is looked at for each byte of each name. */
static inline bool http_is_token_char(unsigned char c)
{
    static const bool token[256] = {
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* control characters */
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* control characters */
        0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, /* ! # $ % & ' * + - . */
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, /* digits */
        0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, /* A to O */
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, /* P to Z ^ _ */
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, /* ` a to o */
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, /* p to z | ~ */
    };
    return token[c];
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
