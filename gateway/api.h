/*
 * gateway/api.h - a client protocol over exchanges: how its requests are read and its answers
 * written.
 */
#ifndef DRAGOMAN_GATEWAY_API_H
#define DRAGOMAN_GATEWAY_API_H

#include "adapters/turn.h"
#include "base/fail.h"
#include "base/json.h"
#include "gateway/answer_writer.h"

/* What one request asks for: turns of which each wants n choices (chat: exactly one turn). All of
 * them agree about model, stream and n. */
struct prompts {
    const struct turn *turns; /* in the arena */
    size_t n;
    const struct span *echo; /* of each turn: what its answers begin with; NULL = nothing */
};

struct api {
    const char *name;      /* for the log */
    const char *id_prefix; /* "chatcmpl-" */
    /* `body` as for chat_request_parse. 0, or -1 with fail; n > 0 then as well if anything was
     * understood. */
    int (*parse)(struct json_parser *, struct arena *, char *body, size_t n, struct prompts *,
                 struct fail *);
    struct answer_writer *(*stream_writer)(struct arena *, const struct answer_meta *,
                                           const struct prompts *, struct buffer *out);
    struct answer_writer *(*whole_writer)(struct arena *, const struct answer_meta *,
                                          const struct prompts *);
};

extern const struct api api_chat, api_completions;

#endif
