/*
 * gateway/answer_writer.h - how one client protocol writes an answer: as a stream of events, or
 * whole.
 *
 * gateway/answer.c calls a writer with pieces in their final form and order; a writer only knows
 * what they look like. All functions return 0, or -1 when memory is short or a limit is reached.
 */
#ifndef DRAGOMAN_GATEWAY_ANSWER_WRITER_H
#define DRAGOMAN_GATEWAY_ANSWER_WRITER_H

#include "base/fail.h"
#include "sse/answer_builder.h"
#include "sse/chunk_emitter.h"

struct prompts;

enum { ANSWER_LIMIT = 64 * 1024 * 1024 }; /* text of one whole answer, bytes */

struct answer_writer {
    const struct answer_writer_ops *ops;
};

/* What every answer carries; the spans outlive the writer. */
struct answer_meta {
    struct span id, model;
    struct span request_id; /* of x-request-id */
    int64_t created;        /* Unix seconds */
    bool include_usage;
};

/* Valid during the call. */
struct tool_start {
    int index; /* of the call within the choice */
    struct span id, name;
    struct span extra_content; /* see adapters/delta.h; "" = none */
};
struct finish_note {
    struct span reason; /* in OpenAI's words */
    struct span native; /* in the site's, "" = not told */
    struct span stop;   /* the stop text that was met, "" = none or not told */
};

struct answer_writer_ops {
    int (*text)(struct answer_writer *, int choice, struct span);
    int (*reasoning)(struct answer_writer *, int choice, struct span);
    int (*refusal)(struct answer_writer *, int choice, struct span);
    /* What comes with a block of reasoning, and a block that cannot be read (adapters/delta.h).
     * NULL: the protocol has no place for them. */
    int (*signature)(struct answer_writer *, int choice, struct span);
    int (*redacted)(struct answer_writer *, int choice, struct span data);
    int (*tool_begin)(struct answer_writer *, int choice, const struct tool_start *);
    int (*tool_arguments)(struct answer_writer *, int choice, int index, struct span piece);
    int (*citations)(struct answer_writer *, int choice, const struct citation *, size_t n);
    int (*extra)(struct answer_writer *, enum extra_place, int choice, struct span members);
    int (*bytes)(struct answer_writer *, struct span); /* relays only, NULL else */
    int (*finish)(struct answer_writer *, int choice, const struct finish_note *);
    /* The good end. Streams write it behind their events, whole answers render themselves. */
    int (*end)(struct answer_writer *, const struct usage_counts *, struct buffer *body);
    /* Streams only (NULL else): extras without a chunk go out; the first event, before anything is
     * known; the event of a failure. */
    void (*flush_extras)(struct answer_writer *);
    void (*role)(struct answer_writer *);
    void (*error)(struct answer_writer *, const struct fail *);
    void (*destroy)(struct answer_writer *); /* what is not in the arena */
};

/* In the arena; NULL when memory is short. Streams write to `out`, which must outlive them. The
 * prompts (gateway/api.h) are those that are answered: choice i belongs to turn i / n. */
struct answer_writer *chat_stream_writer(struct arena *, const struct answer_meta *,
                                         const struct prompts *, struct buffer *out);
struct answer_writer *chat_whole_writer(struct arena *, const struct answer_meta *,
                                        const struct prompts *);
struct answer_writer *text_stream_writer(struct arena *, const struct answer_meta *,
                                         const struct prompts *, struct buffer *out);
struct answer_writer *text_whole_writer(struct arena *, const struct answer_meta *,
                                        const struct prompts *);
struct answer_writer *messages_stream_writer(struct arena *, const struct answer_meta *,
                                             const struct prompts *, struct buffer *out);
struct answer_writer *messages_whole_writer(struct arena *, const struct answer_meta *,
                                            const struct prompts *);

#endif
