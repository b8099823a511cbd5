/*
 * test/unit/support/transcript.h - play a site's recorded answer through an adapter, cut in every
 * way.
 *
 * A transcript is two files: NAME.<ending> (the body's bytes) and NAME.expected.json (content,
 * reasoning_content, tool_calls, finish_reason, usage, citations, error.kind). Playing it whole,
 * byte by byte and cut in two at every position must give the same deltas, as must every frame
 * parsed where otherwise those like the one before are not (adapters/support.h, frame_repeats).
 */
#ifndef DRAGOMAN_TEST_TRANSCRIPT_H
#define DRAGOMAN_TEST_TRANSCRIPT_H

#include "adapters/adapter.h"

/* How to start a run: what the engine would have resolved. Zero fields get harmless defaults. */
struct transcript_setup {
    const struct adapter *adapter;
    /* the client's chat request (JSON), NULL = one user message "hi", stream true */
    const char *body;
    const char *model; /* upstream model */
    const struct option_value *options;
    size_t n_options;
    const struct credential *credentials;
    size_t n_credentials;
    bool guest;
    int status;               /* of the answer that is played; 0 = 200 */
    const char *content_type; /* NULL = text/event-stream; transcript_check: by the file's ending
                                 (.json, .html, else text/event-stream) */
    const char *base_url;     /* NULL = the adapter's origin */
    const char *path;         /* the site's `path`; NULL = not set */
    const struct json_alias *aliases;
    size_t n_aliases;
    int retry_after_s;            /* of the answer that is played */
    const struct header *headers; /* its further ones, at most three */
    size_t n_headers;
    int64_t now_ms;             /* 0 = TRANSCRIPT_NOW */
    bool parse_all;             /* frames that were seen before are parsed, too */
    struct json_shapes *shapes; /* what earlier streams left behind; NULL = nothing */
};

#define TRANSCRIPT_NOW INT64_C(1760000000000) /* 2025-10-09 08:53:20 UTC */

/* What came out, rendered as one JSON object: content, reasoning_content, refusal, tool_calls [{id,
 * name, arguments}], finish_reason with native and stop, and proofs (a signature, or "redacted" and
 * its data, each) of choice 0; usage (null = not told), citations (objects of url, title,
 * start_index, end_index, each once, in order; a wanted text stands for its url), extra {top,
 * choice, delta} (members that the neutral form does not know), drift (list of kinds), error (null
 * or {kind, message, param, retry_after, resets_at}), rest (seconds that the account rests after a
 * good answer), status of the last answer, and choices: the same fields of every choice. */
struct played {
    struct buffer json;
    struct fail fail;
};
void played_free(struct played *);

/* Runs `next` until the step whose answer is to be played (steps before it get `earlier[i]` = whole
 * JSON bodies with status 200; the list ends with NULL), then feeds `bytes` in pieces cut at the
 * given ascending positions. Wanting one more step after that is an error of kind internal. */
void transcript_play(const struct transcript_setup *, const char *const *earlier, struct span bytes,
                     const size_t *cuts, size_t n_cuts, enum stream_end end, struct played *out);
/* The whole test of one transcript file below test/transcripts/: whole, byte by byte, every cut in
 * two. Fails the cmocka test with a readable message. Only the keys present in NAME.expected.json
 * are compared, at every depth; null also means absent. */
void transcript_check(const struct transcript_setup *, const char *const *earlier,
                      const char *directory, const char *file);
/* Builds the turn of a client's body in `arena` for request tests (uses gateway/chat_request.h). */
const struct turn *transcript_turn(struct arena *, const char *body);

/* ---- the engine's part, step by step: for tests of requests and of several steps ---- */

struct transcript_player;
struct transcript_player *transcript_open(const struct transcript_setup *);
/* The run, to look at or to change between steps (now_ms, the account's held values). */
struct turn_run *transcript_run(struct transcript_player *);
/* adapter->next with a fresh request. */
enum adapter_step transcript_next(struct transcript_player *, struct site_request *);
/* Answers the request of the last transcript_next with this body cut at `cuts`: head, frames, end.
 * GO_ON and COMPLETE both mean: ask next again. */
enum adapter_verdict transcript_answer(struct transcript_player *, int status,
                                       const char *content_type, struct span body,
                                       const size_t *cuts, size_t n_cuts, enum stream_end end);
/* The same with a whole JSON body. */
enum adapter_verdict transcript_answer_json(struct transcript_player *, int status,
                                            const char *body);
/* Fails the test unless the run failed in this way, with these words in its sentence. */
void transcript_expect_fail(struct transcript_player *, enum fail_kind, const char *words);
/* What came out so far, and run->fail. */
void transcript_result(struct transcript_player *, struct played *out);
void transcript_close(struct transcript_player *);

/* Header of a request, {NULL,0} when absent. */
struct span transcript_header(const struct site_request *, const char *name);
/* Fails the test unless `got` holds everything that `want` (JSON text) has: as in *.expected.json.
 */
void transcript_expect(const char *what, const char *want, struct span got);
/* Fails the test unless both are the same JSON value (order of members aside). */
void transcript_expect_same(const char *what, const char *want, struct span got);

#endif
