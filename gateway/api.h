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
#include "gateway/response_store.h"

/* What one request asks for: turns of which each wants n choices (chat: exactly one turn). All of
 * them agree about model, stream and n. */
struct prompts {
    const struct turn *turns; /* in the arena */
    size_t n;
    const struct span *echo; /* of each turn: what its answers begin with; NULL = nothing */
    const void *own;         /* what the API's writers need of the request beside; in the arena */
};

struct api_request {
    char *body; /* mended in place; outlives the turns, with JSON_PADDING behind it */
    size_t n;
    struct span type;  /* of APIs that relay: Content-Type, "" = none */
    struct span path;  /* below the base: "/chat/completions"; outlives the turns */
    struct span query; /* behind the path, without '?' */
    /* The value of a header, "" = none; outlives the call only. NULL: there are no headers. */
    struct span (*header)(const void *owner, const char *name);
    const void *header_owner;
    /* APIs with a state: what was found of what they need, in the arena. */
    const struct response_found *found;
    size_t n_found;
    bool deleted;
};

/* What APIs do that keep something between requests (response_store.h). */
struct api_state {
    /* Before the body is read: what of the store it speaks of. Nothing in the wish: it is not
     * asked. 0, or -1 with fail. */
    int (*needs)(const struct api_request *, struct json_parser *, struct arena *,
                 struct response_wish *, struct fail *);
    /* NULL: the request is parsed and goes to a site. Else the whole answer is what was found: 0,
     * or -1 with fail. */
    int (*answer)(const struct api_request *, struct json_parser *, struct arena *,
                  struct buffer *body, struct fail *);
    /* When all of an answer is there, before its end is written: what is to be kept of it, and of
     * which response it is the continuation. 1: the body is written; 0: nothing; -1: memory. */
    int (*record)(const struct prompts *, struct answer_writer *, const struct usage_counts *,
                  struct span *previous, struct buffer *body);
    /* It could not be kept; the end can say so. */
    void (*not_stored)(struct answer_writer *);
};

struct api {
    const char *name;      /* for the log */
    const char *id_prefix; /* "chatcmpl-" */
    enum dialect dialect;  /* of its errors */
    bool relays;           /* answers are bytes of the site's type, not text of ours */
    bool parses_again;     /* nothing of the head but HTTP_KEPT_HEADERS goes into the turns, and the
                              same body gives the same turns: a request that waits need not keep them */
    bool writes_with_turns; /* its writers look at the prompts until the end */
    /* 0, or -1 with fail; prompts->n > 0 then as well if anything was understood. */
    int (*parse)(const struct api_request *, struct json_parser *, struct arena *, struct prompts *,
                 struct fail *);
    struct answer_writer *(*stream_writer)(struct arena *, const struct answer_meta *,
                                           const struct prompts *, struct buffer *out);
    /* NULL: answers always leave as they come. */
    struct answer_writer *(*whole_writer)(struct arena *, const struct answer_meta *,
                                          const struct prompts *);
    const struct api_state *state; /* NULL: every request stands alone */
};

extern const struct api api_chat, api_completions, api_messages, api_relay, api_responses;
/* Of what was stored: a response, what it was asked, its end. The path is "/responses/ID…". */
extern const struct api api_response_read, api_response_items, api_response_delete;

#endif
