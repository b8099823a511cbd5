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

struct api_request {
    char *body; /* mended in place; outlives the turns, with JSON_PADDING behind it */
    size_t n;
    struct span type; /* Content-Type, "" = none */
    struct span path; /* below the base: "/chat/completions"; outlives the turns */
    /* The value of a header, "" = none; outlives the call only. NULL: there are no headers. */
    struct span (*header)(const void *owner, const char *name);
    const void *header_owner;
};

struct api {
    const char *name;      /* for the log */
    const char *id_prefix; /* "chatcmpl-" */
    enum dialect dialect;  /* of its errors */
    bool relays;           /* answers are bytes of the site's type, not text of ours */
    /* 0, or -1 with fail; prompts->n > 0 then as well if anything was understood. */
    int (*parse)(const struct api_request *, struct json_parser *, struct arena *, struct prompts *,
                 struct fail *);
    struct answer_writer *(*stream_writer)(struct arena *, const struct answer_meta *,
                                           const struct prompts *, struct buffer *out);
    /* NULL: answers always leave as they come. */
    struct answer_writer *(*whole_writer)(struct arena *, const struct answer_meta *,
                                          const struct prompts *);
};

extern const struct api api_chat, api_completions, api_messages, api_relay;

#endif
