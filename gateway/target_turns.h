/*
 * gateway/target_turns.h - whose turn it is among the targets of a model that have weights: smooth
 * weighted round robin (a 3:1 model gives a a b a, not a a a b).
 *
 * Pure and without chance: the same calls give the same turns. Kept by model id, so a reload that
 * leaves a model's weights alone goes on where it was.
 */
#ifndef DRAGOMAN_GATEWAY_TARGET_TURNS_H
#define DRAGOMAN_GATEWAY_TARGET_TURNS_H

#include "gateway/config.h"

struct target_turns;

struct target_turns *target_turns_create(void);
void target_turns_destroy(struct target_turns *);
/* The models with weights from now on; those whose weights changed begin anew. 0, or -1 when memory
 * is short (what is missing is asked in the file's order). */
int target_turns_configure(struct target_turns *, const struct config *);
/* Which of the n targets is the first to be asked. `weights`: 0 = not this one, for this request.
 * The first with a weight when the model is not known with n targets (a request under an older
 * config); 0 when there is none. */
size_t target_turns_next(struct target_turns *, struct span model, const int *weights, size_t n);

#endif
