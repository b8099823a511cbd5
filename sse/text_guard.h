/*
 * sse/text_guard.h - whole characters only (clients.md S15, H18).
 *
 * One guard per text channel of an answer. It turns pieces of text that may be cut inside a UTF-8
 * sequence or between the halves of a surrogate pair (WTF-8 from json_parse_lenient) into pieces of
 * valid UTF-8: a torn tail is held back and joined with the next piece; what can never become a
 * character is replaced by U+FFFD (maximal subpart practice, Unicode 3.9). Clean text passes
 * without a copy.
 */
#ifndef DRAGOMAN_SSE_TEXT_GUARD_H
#define DRAGOMAN_SSE_TEXT_GUARD_H

#include "base/buffer.h"
#include "base/json_write.h"

struct text_guard {
    unsigned char held[5]; /* a high surrogate and a torn low one at most */
    unsigned char n_held;
};

/* `*out` is either a part of `piece` or content of `scratch` (cleared here); valid until either
 * changes. 0 or the buffer's error. */
int text_guard_pass(struct text_guard *, struct span piece, struct buffer *scratch,
                    struct span *out);
/* What is held at the end of the answer becomes U+FFFD (or nothing). */
int text_guard_end(struct text_guard *, struct buffer *scratch, struct span *out);
/* True when all of it is valid UTF-8 (no surrogates, no overlongs). */
bool utf8_valid(struct span);
/* A whole text as valid UTF-8: itself, or a repaired copy in `scratch` (initialised by the caller;
 * its error says when memory was short). */
struct span utf8_repair(struct span text, struct buffer *scratch);
/* A member whose text quotes somebody, whatever bytes that was: repaired. */
void json_member_repaired(struct json_writer *, const char *key, struct span text);

#endif
