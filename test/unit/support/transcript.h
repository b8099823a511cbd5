/*
 * test/unit/support/transcript.h - play a site's recorded answer through an adapter, cut in every way.
 *
 * A transcript is two files: NAME.<ending> (the body's bytes) and NAME.expected.json (content, reasoning_content,
 * tool_calls, finish_reason, usage, citations, error.kind). Playing it whole, byte by byte and cut in two at every position must give the same deltas.
 */
#ifndef DRAGOMAN_TEST_TRANSCRIPT_H
#define DRAGOMAN_TEST_TRANSCRIPT_H

#include "adapters/adapter.h"

/* How to start a run: what the engine would have resolved. Zero fields get harmless defaults. */
struct transcript_setup {
    const struct adapter *adapter;
    const char
        *body; /* the client's chat request (JSON), NULL = one user message "hi", stream true */
    const char *model; /* upstream model */
    const struct option_value *options;
    size_t n_options;
    const struct credential *credentials;
    size_t n_credentials;
    bool guest;
    int status;               /* of the answer that is played; 0 = 200 */
    const char *content_type; /* NULL = text/event-stream */
};

/* What came out, rendered as one JSON object in the shape of *.expected.json. */
struct played {
    struct buffer json;
    struct fail fail;
};
void played_free(struct played *);

/* Runs `next` until the step whose answer is to be played (steps before it get `earlier[i]` = whole JSON bodies with status 200), then feeds `bytes` in pieces cut at
 * the given ascending positions. */
void transcript_play(const struct transcript_setup *, const char *const *earlier, struct span bytes,
                     const size_t *cuts, size_t n_cuts, enum stream_end end, struct played *out);
/* The whole test of one transcript file below test/transcripts/: whole, byte by byte, every cut in two. Fails the cmocka test with a readable message. */
void transcript_check(const struct transcript_setup *, const char *const *earlier,
                      const char *directory, const char *file);
/* Builds the turn of a client's body in `arena` for request tests (uses gateway/chat_request.h). */
const struct turn *transcript_turn(struct arena *, const char *body);

#endif
