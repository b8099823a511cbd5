/*
 * gateway/text_joiner.h - one text out of several runs: what came so far, and the beginning of a
 * continuation, which may repeat it (gateway/seam.h).
 *
 * Sans-IO. Everything passes at once but the first SEAM_CHARACTERS of a continuation, which are
 * held back until the seam is known. Text may come in any pieces, also of characters; what leaves
 * is valid UTF-8.
 */
#ifndef DRAGOMAN_GATEWAY_TEXT_JOINER_H
#define DRAGOMAN_GATEWAY_TEXT_JOINER_H

#include "sse/text_guard.h"

enum { JOINER_TEXT_MAX = 1 << 20 }; /* bytes of an answer that can still be gone on with */

struct text_joiner {
    struct text_guard guard;
    struct buffer text;         /* what was passed on; incomplete once its error is set */
    struct buffer held;         /* the beginning of a continuation */
    struct buffer scratch, all; /* what leaves, where it is not the piece itself */
    size_t begun_at;            /* bytes of text when the present run began */
    bool holding;
    bool started_over; /* the continuation tells everything again: it is swallowed */
};

/* In place. */
void text_joiner_init(struct text_joiner *);
void text_joiner_free(struct text_joiner *);
/* `*out` is what of it goes on, valid until the next call. 0, or -1 when memory is short. */
int text_joiner_pass(struct text_joiner *, struct span piece, struct span *out);
/* The run is over: what was held back goes on. A character of which only a part came stays, in case
 * that nothing continues it. */
int text_joiner_run_over(struct text_joiner *, struct span *out);
/* The text is over: the same, and the part of a character becomes U+FFFD. */
int text_joiner_end(struct text_joiner *, struct span *out);
/* After text_joiner_run_over: what comes now continues the text. */
void text_joiner_continue(struct text_joiner *);
/* Did the present run bring any text that was new? */
bool text_joiner_has_new(const struct text_joiner *);

#endif
