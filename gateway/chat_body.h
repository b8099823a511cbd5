/*
 * gateway/chat_body.h - a turn of any dialect as the body of an OpenAI chat request: what
 * `turn.raw` is for fronts other than OpenAI's chat.
 *
 * Pure. Only standard words of that API are written, since services refuse others; what they lack
 * stays in the turn alone: thinking blocks, parts and tools of another dialect, extras, top_k.
 * Where a meaning can be kept in other words it is:
 *
 * - several texts of one message become one, a line each; texts of an assistant follow each other
 *   directly, since they are pieces of one answer
 * - pictures and files of a tool's result go into a user message behind the results (results are
 *   text); a failed tool's text begins with "Error: "
 * - a file whose content is text becomes a text part that begins with the file's name
 * - a wish for reasoning without an effort becomes reasoning_effort by the size of the thinking
 *   budget: below 4096 low, below 16384 medium, else high; medium where there is none
 */
#ifndef DRAGOMAN_GATEWAY_CHAT_BODY_H
#define DRAGOMAN_GATEWAY_CHAT_BODY_H

#include "adapters/turn.h"
#include "base/arena.h"
#include "base/fail.h"

/* The turn's `raw` is not looked at. `*body` is one valid JSON object in the arena, with
 * JSON_PADDING. 0, or -1 with fail when memory is short. */
int chat_body_write(struct arena *, const struct turn *, struct span *body, struct fail *);
/* For a turn that has other messages and no tools any more: its `raw` as it is, but with these
 * messages, and without what asks for tools. Likewise. */
int chat_body_without_tools(struct arena *, const struct turn *, struct span *body, struct fail *);

#endif
