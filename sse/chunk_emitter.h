/*
 * sse/chunk_emitter.h - chat.completion.chunk events in the exact shape of clients.md §1.4 and
 * §2.3.
 *
 * Appends to a buffer; no I/O. What does not change during an answer (id, created, model) is
 * rendered once into `head`; a text chunk costs three copies and one escape, no allocation beyond
 * the output buffer's growth.
 *
 * The emitter keeps the order rules: role chunk first for each choice (S6), one kind of content a
 * chunk, finish_reason once and in a chunk of its own (S9), `"usage":null` in every chunk only when
 * usage was asked for (S10), then the usage chunk with empty choices, then [DONE]. It never writes
 * an empty data line and never a key named error, message or detail at the top of a good chunk.
 */
#ifndef DRAGOMAN_SSE_CHUNK_EMITTER_H
#define DRAGOMAN_SSE_CHUNK_EMITTER_H

#include "base/arena.h"
#include "base/buffer.h"
#include "sse/text_guard.h"

enum { EMITTER_CHOICES = 128 }; /* n of the API is at most 128 */

struct usage_counts {
    int64_t prompt, completion; /* tokens; their sum goes with them */
    int64_t cached, reasoning;  /* -1 = not known */
    int64_t cache_write;        /* of the prompt; 0 = none, not known */
    struct span raw;    /* the site's own usage object with further members, or empty; sent as it is
                           when it has the three integers */
    const char *source; /* goes with it as dragoman_source; NULL = not told */
};

struct citation {
    struct span url, title;
    int64_t start, end; /* of the cited text in the answer, in characters; 0, 0 when not known */
};

/* The same pieces of JSON for streams and whole answers: the member `"annotations":[…]`, and the
 * usage object. */
void citations_write(struct buffer *out, const struct citation *, size_t n);
void usage_write(struct buffer *out, const struct usage_counts *);

struct chunk_emitter;

/* In the arena; `id`, `model` are copied. NULL when memory is short. Errors of the out buffer stick
 * there. */
struct chunk_emitter *chunk_emitter_create(struct arena *, struct span id, int64_t created,
                                           struct span model, bool include_usage);

/* The role chunk of this choice unless it went out already (every function below calls it by
 * itself). */
void chunk_emitter_role(struct chunk_emitter *, struct buffer *out, int choice);
void chunk_emitter_text(struct chunk_emitter *, struct buffer *out, int choice, struct span text);
void chunk_emitter_reasoning(struct chunk_emitter *, struct buffer *out, int choice,
                             struct span text);
void chunk_emitter_refusal(struct chunk_emitter *, struct buffer *out, int choice,
                           struct span text);
/* `index`: the call's index within the choice. Begin sends id, type, name, arguments "" and the
 * JSON object `extra_content` ("" = none); then arguments in pieces (S18). */
void chunk_emitter_tool_begin(struct chunk_emitter *, struct buffer *out, int choice, int index,
                              struct span id, struct span name, struct span extra_content);
void chunk_emitter_tool_arguments(struct chunk_emitter *, struct buffer *out, int choice, int index,
                                  struct span piece);
/* `delta.annotations` of the url_citation kind, one chunk with all of them. */
void chunk_emitter_citations(struct chunk_emitter *, struct buffer *out, int choice,
                             const struct citation *, size_t n);
/* Raw JSON members (`"a":1,"b":2`, no braces) that travel unchanged. TOP ones stay in every later
 * chunk until replaced; CHOICE and DELTA ones go with the next chunk of that choice. A CHOICE extra
 * may hold "logprobs", which then replaces the null one. Copied. */
enum extra_place { EXTRA_TOP, EXTRA_CHOICE, EXTRA_DELTA };
void chunk_emitter_extra(struct chunk_emitter *, enum extra_place, int choice, struct span members);
/* Sends CHOICE and DELTA extras that found no chunk to travel with (called at the end of each site
 * frame). */
void chunk_emitter_flush_extras(struct chunk_emitter *, struct buffer *out);
/* The choice's last chunk; `reason` stop, length, tool_calls, content_filter, function_call. A
 * second call for a choice does nothing. Torn characters are flushed first. */
void chunk_emitter_finish(struct chunk_emitter *, struct buffer *out, int choice,
                          struct span reason);
/* Usage chunk (only if asked for and counts is not NULL) and [DONE]. */
void chunk_emitter_done(struct chunk_emitter *, struct buffer *out, const struct usage_counts *);
/* S20: one event {"error":…}; `error_object` is the JSON object of error_response.h. No [DONE].
 * Torn characters are flushed first. */
void chunk_emitter_error(struct chunk_emitter *, struct buffer *out, struct span error_object);
/* ": keep-alive" and a blank line. */
void chunk_emitter_keep_alive(struct buffer *out);

#endif
