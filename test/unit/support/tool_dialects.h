/*
 * test/unit/support/tool_dialects.h - random text, and random calls written in random dialects, for
 * the tests of gateway/tool_parser.h.
 *
 * The same seed gives the same bytes. Calls are of the tools of test/tools/tools.json. Text holds
 * look-alikes, and marks in code; it leaves no doubt where a call begins.
 */
#ifndef DRAGOMAN_TEST_TOOL_DIALECTS_H
#define DRAGOMAN_TEST_TOOL_DIALECTS_H

#include "base/buffer.h"

struct tool_random {
    uint64_t state; /* not 0 */
};

/* 0 … n - 1; n > 0. */
size_t tool_random_below(struct tool_random *, size_t n);

/* A few sentences: begins with a word, ends behind one. */
void tool_random_text(struct tool_random *, struct buffer *out);
/* Words, punctuation, digits and line breaks; no bracket, no brace, no backtick. */
void tool_random_prose(struct tool_random *, struct buffer *out);
/* The same with brackets, tags and comparisons in between that are no marks. */
void tool_random_lookalikes(struct tool_random *, struct buffer *out);
/* Appends a call; `arguments` gets the JSON object that it must give. Returns the tool's name. */
struct span tool_random_call(struct tool_random *, struct buffer *out, struct buffer *arguments);

/* Appends `in` with bytes taken out, put in, doubled, or its end cut off. */
void tool_spoil(struct tool_random *, struct span in, struct buffer *out);

/* May the last `held` bytes of a text be held back, because a call could begin so? */
bool tool_may_be_held(struct span text, size_t held);

#endif
