/*
 * gateway/http_token.h - tokens of HTTP: what methods and header names are made of (tchar of RFC
 * 9110, 5.6.2).
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_TOKEN_H
#define DRAGOMAN_GATEWAY_HTTP_TOKEN_H

#include "base/span.h"
#include "base/word.h"

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

/* Of eight bytes, those that are neither letters nor hyphens, of which most names of headers are
 * made. */
static inline uint64_t http_odd_bytes(uint64_t w)
{
    uint64_t lower = w | WORD_ONES * 0x20, other = w ^ WORD_ONES * '-';
    uint64_t letter = (lower + WORD_ONES * (0x80 - 'a')) & ~(lower + WORD_ONES * (0x7F - 'z'));
    uint64_t hyphen = ~((other & ~WORD_TOPS) + ~WORD_TOPS);
    return (w | ~(letter | hyphen)) & WORD_TOPS;
}

static inline bool http_is_plain_word(uint64_t w) { return http_odd_bytes(w) == 0; }

/* How many of them the text begins with. */
static inline size_t http_token_run(struct span text)
{
    size_t n = 0;
    for (uint64_t odd = 0; text.n - n >= sizeof odd && !odd;) {
        odd = http_odd_bytes(word_load(text.p + n));
        n += odd ? word_first(odd) : sizeof odd;
    }
    while (n < text.n && http_is_token_char((unsigned char)text.p[n]))
        n++;
    return n;
}

static inline bool http_is_token(struct span text)
{
    size_t n = 0;
    while (text.n - n >= 8 && http_is_plain_word(word_load(text.p + n)))
        n += 8;
    if (n && text.n - n < 8 && /* the last ones, in part again */
        http_is_plain_word(word_load(text.p + text.n - 8)))
        return true;
    return text.n && http_token_run(text) == text.n;
}

#endif
