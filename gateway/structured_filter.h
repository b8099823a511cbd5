/*
 * gateway/structured_filter.h - the JSON in a streamed answer that was asked to be JSON and nothing
 * else: a fence around it, words before and behind it do not leave.
 *
 * Sans-IO; text may be cut anywhere. Nothing is taken back, so only what cannot be JSON waits:
 * white space, a byte order mark, a fence, and words before the first brace, up to
 * STRUCTURED_LEAD_MAX bytes of all that; what goes on longer is an answer in words and passes as it
 * is. From the first brace on nothing is held back at all, and behind the one that closes it
 * nothing follows.
 */
#ifndef DRAGOMAN_GATEWAY_STRUCTURED_FILTER_H
#define DRAGOMAN_GATEWAY_STRUCTURED_FILTER_H

#include "base/span.h"

enum { STRUCTURED_LEAD_MAX = 240 };

/* Finds the end of a JSON object or array, from its first bracket on. */
struct json_extent {
    int depth; /* of brackets that are open */
    bool in_string, escaped;
};
/* The bytes of the piece up to behind the closing bracket; piece.n + 1 = it is not in there. */
size_t json_extent_pass(struct json_extent *, struct span piece);
/* Where in the text an object begins, or an array where one may be the answer: at or behind `from`,
 * and never in the middle of a sentence. text.n = nowhere, so far. */
size_t json_begins_at(struct span text, size_t from, bool may_be_array);

enum structured_state { STRUCTURED_LEAD, STRUCTURED_JSON, STRUCTURED_WORDS, STRUCTURED_OVER };

struct structured_filter {
    bool may_be_array;
    enum structured_state state; /* zeroed = at the beginning */
    struct json_extent extent;
    char lead[STRUCTURED_LEAD_MAX]; /* what waits */
    size_t n_lead;
};

/* 0, or what `put` returned when that is not 0. */
typedef int structured_put(void *owner, struct span text);
int structured_filter_pass(struct structured_filter *, struct span piece, structured_put *,
                           void *owner);
/* The end of the text: what still waits is all of the answer, and leaves without its fence. */
int structured_filter_end(struct structured_filter *, structured_put *, void *owner);
/* Text without white space, a byte order mark and a fence around it. */
struct span structured_bare(struct span text);

#endif
