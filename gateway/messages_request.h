/*
 * gateway/messages_request.h - the reading half of Anthropic's Messages API: a request body becomes
 * a turn (clients.md §2.8).
 *
 * Pure. Unknown fields, block kinds and betas are never a reason to refuse (but for `thread`, which
 * says that the history is elsewhere): they travel in the
 * turn's extras and PART_FOREIGN parts, which sites of the same dialect get back. Explicit nulls
 * count as absent. A refusal begins with the place in the client's own words, as Anthropic's does
 * ("messages.2.content.0.source: …").
 *
 * How it maps where turn.h leaves a choice:
 *
 * - `system` is the first message, with index -1
 * - a user message with tool_result blocks becomes several messages: one of the role tool for each
 *   result, one of the role user for each run of other blocks
 * - an extra may say more exactly what also has a neutral place (output_config beside
 *   reasoning_effort and response_format; title and content of a document): it wins for sites of
 *   the dialect
 * - pictures and documents of a file id, and documents that hold pictures, are foreign: other
 *   services do not know the ids
 * - max_tokens includes the thinking
 * - citations of ours (an empty encrypted_index, gateway/write_messages.c) are left out when they
 *   come back
 */
#ifndef DRAGOMAN_GATEWAY_MESSAGES_REQUEST_H
#define DRAGOMAN_GATEWAY_MESSAGES_REQUEST_H

#include "adapters/turn.h"
#include "base/arena.h"
#include "base/fail.h"
#include "base/json.h"

struct messages_wish {
    struct span betas;  /* the header anthropic-beta, "" = none; copied */
    bool only_counting; /* count_tokens: no max_tokens is needed, nothing is streamed, and the
                           turn's raw stays the client's body */
};

/* `body` is mended in place (lone surrogates) and must outlive the turn, with JSON_PADDING behind
 * it. 0, or -1 with fail (INVALID_JSON, INVALID_VALUE, UNSUPPORTED). The turn's model and stream
 * are set as soon as they are understood. */
int messages_request_parse(struct json_parser *, struct arena *, char *body, size_t n,
                           const struct messages_wish *, struct turn *, struct fail *);

#endif
