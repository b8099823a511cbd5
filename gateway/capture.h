/*
 * gateway/capture.h - `server.capture_dir`: what was said with a site in a turn that failed, or
 * that had drift, as two files that a person can attach to a report and that a developer can drop
 * into test/transcripts.
 *
 *     capture-TIME-SITE-ID.sse
 *         the bytes of the last answer's body; the ending says of what kind it is
 *     capture-TIME-SITE-ID.setup.json
 *         everything else: the requests, the answers before it, status and headers, where the reads
 *         ended, how it failed
 *
 * `dragoman replay` (replay.h) plays them. Secrets are masked (mask.h); what was asked and answered
 * is in them. Recorded in memory, up to CAPTURE_BYTES a run, and masked and written by a thread of
 * the pool. The folder keeps the CAPTURE_FILES latest.
 */
#ifndef DRAGOMAN_GATEWAY_CAPTURE_H
#define DRAGOMAN_GATEWAY_CAPTURE_H

#include <uv.h>

#include "adapters/adapter.h"
#include "gateway/config.h"

enum {
    CAPTURE_BYTES = 4 << 20, /* of all answers of a run; the rest is left out, and said so */
    CAPTURE_REQUEST_BYTES = 64 << 10, /* of each request's body */
    CAPTURE_SPLITS = 4096,
    CAPTURE_FILES = 50, /* captures, of two files each */
    CAPTURE_JOBS = 4    /* written at once; more are dropped */
};

struct capture;

/* The beginning of a run; NULL when memory is short. Every function below takes NULL for nothing.
 * `secret` is one more than configuration and account have: a visitor's key, or "". Keeps a
 * reference of the config, and copies. */
struct capture *capture_begin(struct config *, const struct turn_run *, const struct adapter *,
                              struct span secret);
/* The tools that the site was told of by words. */
void capture_emulated_tools(struct capture *, struct span tools_raw);
void capture_request(struct capture *, const struct turn_run *, const struct site_request *);
void capture_head(struct capture *, const struct site_head *);
void capture_body(struct capture *, struct span bytes);
/* Its answer ended so; without it, it was left (complete for the adapter, or cancelled). */
void capture_end(struct capture *, const struct turn_run *, enum stream_end, const struct fail *);
void capture_drift(struct capture *, const char *kind);
bool capture_has_drift(const struct capture *);
/* Is there any answer? */
bool capture_has_answer(const struct capture *);
void capture_drop(struct capture *);

/* ---- the folder ---- */

struct capture_folder;
struct capture_folder *capture_folder_create(uv_loop_t *); /* NULL when memory is short */
/* What is under way is still written; the loop waits for it. NULL is nothing. */
void capture_folder_destroy(struct capture_folder *);
/* Takes the capture. One log line says where it is, or why it is not. */
void capture_keep(struct capture_folder *, struct capture *, const struct turn_run *,
                  const struct fail *, const char *request_id);

#endif
