/*
 * test/unit/support/kimi.h - how the tests of the kimi adapter begin, and envelopes to answer with.
 */
#ifndef DRAGOMAN_TEST_KIMI_H
#define DRAGOMAN_TEST_KIMI_H

#include "test/unit/support/transcript.h"

/* An account with the access token "t"; answers are Connect's. */
struct transcript_setup kimi_setup(void);
/* The same in the older form. */
struct transcript_setup kimi_rest_setup(void);
/* Appends one envelope. */
void kimi_envelope(struct buffer *out, unsigned char flags, struct span payload);
/* Answers with a single end envelope around this error object. */
enum adapter_verdict kimi_end(struct transcript_player *, const char *error);

#endif
