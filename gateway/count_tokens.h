/*
 * gateway/count_tokens.h - POST /v1/messages/count_tokens: how large a request of the Messages API
 * is, by our own count and without asking any site (docs/tokens.md).
 */
#ifndef DRAGOMAN_GATEWAY_COUNT_TOKENS_H
#define DRAGOMAN_GATEWAY_COUNT_TOKENS_H

#include "base/arena.h"
#include "base/fail.h"
#include "base/json.h"
#include "gateway/token_count.h"

struct count_of_tokens {
    struct span model; /* in the body or the arena */
    int64_t tokens;
};

/* Reads the body (mended in place, with JSON_PADDING) as /v1/messages does, but for max_tokens, and
 * counts. `json` is for small bodies.
 * 0, or -1 with fail. */
int count_tokens_of(const struct token_source *, struct json_parser *json, struct arena *,
                    struct span body, struct count_of_tokens *, struct fail *);
/* {"input_tokens":n} */
void count_tokens_write(struct buffer *out, const struct count_of_tokens *);

#endif
