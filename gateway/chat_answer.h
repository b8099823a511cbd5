/*
 * gateway/chat_answer.h - the OpenAI chat front's writing half: deltas become chunk events or one
 * whole answer.
 *
 * Sits between an adapter's delta sink and the client. Stream: bytes go to `out` as they come.
 * Whole: pieces are gathered until the end. Knows the commit boundary: the first delta with content
 * (design §5).
 */
#ifndef DRAGOMAN_GATEWAY_CHAT_ANSWER_H
#define DRAGOMAN_GATEWAY_CHAT_ANSWER_H

#include "adapters/delta.h"
#include "adapters/turn.h"
#include "gateway/config.h"
#include "gateway/stop_filter.h"
#include "sse/answer_builder.h"
#include "sse/chunk_emitter.h"

enum { ANSWER_LIMIT = 64 * 1024 * 1024 }; /* text of one whole answer */

struct chat_answer {
    struct delta_sink sink;         /* for the adapter */
    struct chunk_emitter *emitter;  /* stream */
    struct answer_builder *builder; /* whole */
    struct buffer *out;             /* stream: where events go */
    struct arena *arena;
    struct span id, model;
    int64_t created;
    int n; /* choices expected */
    enum reasoning_style reasoning;
    bool committed;                          /* content went (or will go) to the client */
    unsigned char thinking[EMITTER_CHOICES]; /* inside <think> (REASONING_THINK) */
    bool has_usage, has_text;
    bool stopping; /* we cut the text of choice 0 (sites without `stop` give one choice) */
    struct stop_filter stop; /* initialised while stopping */
    uint64_t deltas;
    unsigned char finished[EMITTER_CHOICES]; /* per choice */
    unsigned char used[EMITTER_CHOICES];     /* choices that got something */
    struct usage_counts usage;
    char *usage_text; /* room of usage.raw, in the arena */
    size_t usage_room;
    struct citation *citations; /* of choice 0 */
    size_t n_citations, cap_citations;
};

/* In place; `out` is used by streams only and must outlive the answer. 0, or -1 when memory is
 * short. */
int chat_answer_init(struct chat_answer *, struct arena *, const struct turn *, struct span id,
                     int64_t created, struct span model, enum reasoning_style, struct buffer *out);
void chat_answer_free(struct chat_answer *);
/* Forgets what a failed try left behind before the commit boundary (extras, usage, citations). */
int chat_answer_restart(struct chat_answer *);
/* For sites that do not heed `stop`: the text ends before the first of these, with finish_reason
 * "stop"; what the site still says is ignored. The texts must outlive the answer; n 0 = no longer.
 */
void chat_answer_stop_at(struct chat_answer *, const struct span *stops, size_t n);
/* One of them was met. */
bool chat_answer_is_stopped(const struct chat_answer *);
/* Ends one site frame: extras that found no chunk go out. */
void chat_answer_frame_done(struct chat_answer *);
/* All choices have their finish_reason. */
bool chat_answer_is_finished(const struct chat_answer *);
/* The good end: missing finish reasons become "stop"; stream: usage chunk and [DONE] into out;
 * whole: the JSON object into `body`. 0 or -1 (limit, memory). */
int chat_answer_end(struct chat_answer *, struct buffer *body);
/* Stream: role chunk early (15 s of silence); the error event after the head. */
void chat_answer_role(struct chat_answer *);
void chat_answer_error(struct chat_answer *, struct span error_object);
/* Whole: the text gathered so far as a JSON object, for a cut answer; nothing when there is none.
 */
void chat_answer_partial(struct chat_answer *, struct buffer *out);

#endif
