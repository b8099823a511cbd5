/*
 * gateway/seam.h - where a continued answer joins what was sent: how much of the continuation
 * repeats it (sites/passthrough.md §5).
 *
 * Pure. Both texts are valid UTF-8 and are compared character by character; runs of white space,
 * and so all kinds of line ends, are equal to one another.
 */
#ifndef DRAGOMAN_GATEWAY_SEAM_H
#define DRAGOMAN_GATEWAY_SEAM_H

#include "base/span.h"

enum { SEAM_CHARACTERS = 300 }; /* of a continuation that are looked at */

enum seam {
    SEAM_JOINED,      /* the continuation goes on behind its first `*repeated` bytes */
    SEAM_STARTED_OVER /* it tells again what was told before: it is no continuation */
};

/* Has a continuation come far enough, or must more be held back? Costs one look at each byte. */
bool seam_is_decidable(struct span continuation);

/* `sent`: all of the answer's text so far; `continuation`: what came of the rest, at least as much
 * as seam_is_decidable wants, or all there is. Costs a few passes over `sent`. */
enum seam seam_find(struct span sent, struct span continuation, size_t *repeated);

#endif
