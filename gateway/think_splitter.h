/*
 * gateway/think_splitter.h - takes thinking out of the text of sites that leak it: an answer that
 * begins with <think>…</think>.
 *
 * Sans-IO. Only the very beginning counts (after white space): the same tags later are the text's
 * own. Tags may be cut anywhere.
 */
#ifndef DRAGOMAN_GATEWAY_THINK_SPLITTER_H
#define DRAGOMAN_GATEWAY_THINK_SPLITTER_H

#include "base/span.h"

enum think_state { THINK_BEGIN, THINK_OPENED, THINK_INSIDE, THINK_CLOSED, THINK_OVER };

struct think_splitter {
    enum think_state state; /* zeroed = at the beginning */
    char held[16];          /* what may still become a tag */
    size_t n_held;
};

/* 0, or what `put` returned when that is not 0. */
typedef int think_put(void *owner, bool reasoning, struct span text);
int think_splitter_pass(struct think_splitter *, struct span piece, think_put *, void *owner);
/* The end of the text: what was held back is text, or thinking, after all. */
int think_splitter_end(struct think_splitter *, think_put *, void *owner);

#endif
