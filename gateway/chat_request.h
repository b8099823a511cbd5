/*
 * gateway/chat_request.h - the OpenAI chat front's reading half: a request body becomes a turn
 * (clients.md §1.3).
 *
 * Pure. Unknown fields are left alone (they travel in turn.raw), explicit nulls count as absent,
 * wrong types are refused with the field's name.
 */
#ifndef DRAGOMAN_GATEWAY_CHAT_REQUEST_H
#define DRAGOMAN_GATEWAY_CHAT_REQUEST_H

#include "adapters/turn.h"
#include "base/arena.h"
#include "base/fail.h"
#include "base/json.h"

/* `body` is mended in place (lone surrogates) and must outlive the turn, with JSON_PADDING behind
 * it. 0, or -1 with fail (INVALID_JSON, INVALID_VALUE, UNSUPPORTED). */
int chat_request_parse(struct json_parser *, struct arena *, char *body, size_t n, struct turn *,
                       struct fail *);

/* A field of the body: its name, and name (without quotes) and value as they stand in JSON. */
struct turn_option {
    struct span name, key, value;
};
/* The same turn with these fields set, also in its body, instead of the client's. What the client
 * said by another name of the same thing (max_tokens and max_completion_tokens, the ways of asking
 * for reasoning) is left out. Messages are shared with the turn. NULL with fail. */
const struct turn *turn_with_options(struct json_parser *, struct arena *, const struct turn *,
                                     const struct turn_option *options, size_t n, struct fail *);

/* The same turn for a site that gives one choice at a time: n is 1, also in its body. NULL when
 * memory is short. */
const struct turn *turn_with_one_choice(struct arena *, const struct turn *);

#endif
