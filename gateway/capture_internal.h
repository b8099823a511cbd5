/*
 * gateway/capture_internal.h - what capture.c records and capture_files.c writes.
 */
#ifndef DRAGOMAN_GATEWAY_CAPTURE_INTERNAL_H
#define DRAGOMAN_GATEWAY_CAPTURE_INTERNAL_H

#include "gateway/capture.h"
#include "gateway/mask.h"

enum { CAPTURE_DRIFT = 32 };

/* How an answer ended: as HTTP says, broken off, or nobody listened any more. */
enum capture_end { CAPTURE_LEFT, CAPTURE_CLEAN, CAPTURE_CUT };

struct capture_text {
    struct span text;
    struct capture_text *next;
};

/* A request and its answer. */
struct capture_step {
    const char *method; /* static */
    struct span origin, target;
    enum framing framing;
    bool credential_step, secret_target;
    struct header *headers;
    size_t n_headers;
    struct span sent; /* the beginning of the body */
    size_t sent_n;    /* all of it */

    int status; /* 0 = no answer came */
    struct span reason, content_type;
    int retry_after_s;
    struct header *answer_headers;
    size_t n_answer_headers;
    struct buffer body;
    size_t left_out; /* bytes behind it */
    uint32_t *splits;
    size_t n_splits;
    enum capture_end end;
    struct fail fail; /* of the transport, when it was cut */
    struct capture_step *next;
};

struct capture {
    struct config *config; /* reference */
    struct arena arena;
    struct span site;
    struct buffer beginning; /* of the setup */
    struct capture_text *secrets;
    struct capture_step *first, *last;
    const char *drift[CAPTURE_DRIFT]; /* static texts */
    size_t n_drift;
    size_t bytes; /* of all bodies */
    bool short_of_memory;
};

/* The step whose answer is the recorded one: the last that has any; NULL = none. */
struct capture_step *capture_played(const struct capture *);
/* What the account has and holds by now is a secret: each answer may have brought more. */
void capture_note_secrets(struct capture *, const struct turn_run *);

#endif
