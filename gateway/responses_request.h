/*
 * gateway/responses_request.h - the body of POST /v1/responses becomes a turn (clients.md §2.7).
 *
 * Pure. What an earlier response of ours holds (previous_response_id, item_reference) is handed in
 * as the text that gateway/write_responses.c made of it.
 */
#ifndef DRAGOMAN_GATEWAY_RESPONSES_REQUEST_H
#define DRAGOMAN_GATEWAY_RESPONSES_REQUEST_H

#include "adapters/turn.h"
#include "base/arena.h"
#include "base/fail.h"
#include "base/json.h"
#include "gateway/response_store.h"

enum { RESPONSE_REFERENCES_MAX = 512 };

/* What a request asks for beside its turn: the writer repeats some of it. */
struct responses_request {
    struct span previous;     /* previous_response_id, "" = none */
    const struct span *items; /* its own input: JSON objects, references put in */
    size_t n_items;
    struct span echo; /* members of every Response object that tell the request back, no braces */
    const struct span *custom; /* names of tools that take plain text instead of JSON */
    size_t n_custom;
    bool store;
    bool encrypted; /* include: reasoning.encrypted_content */
};

/* The responses that a body speaks of, before it is read: `wish` gets them. Costs one look through
 * the text when it speaks of none. A body that is no JSON speaks of none: reading it says so. 0, or
 * -1 with fail. */
int responses_request_needs(struct json_parser *, struct arena *, char *body, size_t n,
                            struct response_wish *, struct fail *);

/* The body (mended in place, JSON_PADDING behind it; it outlives turn and request) as a turn. 0, or
 * -1 with fail, whose param names the client's own field; the turn's model and stream are set then
 * if they were understood. */
int responses_request_parse(struct json_parser *, struct arena *, char *body, size_t n,
                            const struct response_found *, size_t n_found, struct turn *,
                            struct responses_request *, struct fail *);

/* "resp_X" for an id of one of its items ("msg_X_0"), in the arena; {NULL,0} when it cannot be one
 * of ours, or memory is short. */
struct span responses_id_of_item(struct arena *, struct span item_id);

#endif
