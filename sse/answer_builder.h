/*
 * sse/answer_builder.h - one whole chat.completion (clients.md §1.5, §2.2) out of the same pieces
 * that a stream has.
 *
 * Gathers per choice; memory is bounded by `limit` bytes over all text (then the builder's error
 * says BUFFER_FULL). The builder itself lies in the arena; what grows is freed by
 * answer_builder_destroy.
 */
#ifndef DRAGOMAN_SSE_ANSWER_BUILDER_H
#define DRAGOMAN_SSE_ANSWER_BUILDER_H

#include "base/arena.h"
#include "sse/chunk_emitter.h"

struct answer_builder;

/* NULL when memory is short. */
struct answer_builder *answer_builder_create(struct arena *, size_t limit);
void answer_builder_destroy(struct answer_builder *);
/* All return 0 or the (sticky) buffer error. */
int answer_builder_text(struct answer_builder *, int choice, struct span);
int answer_builder_reasoning(struct answer_builder *, int choice, struct span);
int answer_builder_refusal(struct answer_builder *, int choice, struct span);
int answer_builder_tool_begin(struct answer_builder *, int choice, int index, struct span id,
                              struct span name, struct span extra_content);
int answer_builder_tool_arguments(struct answer_builder *, int choice, int index,
                                  struct span piece);
int answer_builder_citations(struct answer_builder *, int choice, const struct citation *,
                             size_t n);
/* TOP, CHOICE: members of the answer and of the choice; DELTA: members of the message. A member
 * given again replaces the former of its name. */
int answer_builder_extra(struct answer_builder *, enum extra_place, int choice,
                         struct span members);
int answer_builder_finish(struct answer_builder *, int choice, struct span reason);
/* Renders the JSON object. `usage` is never NULL here (W4): zeros where nothing is known. */
int answer_builder_render(struct answer_builder *, struct buffer *out, struct span id,
                          int64_t created, struct span model, const struct usage_counts *usage);

#endif
