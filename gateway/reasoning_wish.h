/*
 * gateway/reasoning_wish.h - the many fields in which clients ask for reasoning, read once for all
 * APIs (docs/reasoning.md).
 *
 * Pure. Fields (clients.md 3.1, 3.15; each may be null, which is as if it were absent):
 * - a word: `reasoning_effort`, `reasoning.effort`, `output_config.effort`,
 *   `chat_template_kwargs.reasoning_effort`; the first that says something. "auto", "default" and
 *   "" say nothing
 * - yes or no: `thinking.type` (enabled, adaptive; disabled), or `thinking`, `enable_thinking`,
 *   `reasoning.enabled`, `chat_template_kwargs.enable_thinking` and `.thinking` as booleans,
 *   `disable_reasoning: true`
 * - tokens: `thinking_budget`, `thinking.budget_tokens`, `reasoning.max_tokens`,
 *   `chat_template_kwargs.thinking_budget`; the first that is a count
 * - not to be shown: `reasoning.exclude: true`, `include_reasoning: false`
 *
 * Where they contradict one another a no wins; a word or a yes alone is a yes, as is a budget above
 * 0; a budget of 0 alone is a no. A no takes the word and the budget with it, but for the words
 * that are a no themselves.
 */
#ifndef DRAGOMAN_GATEWAY_REASONING_WISH_H
#define DRAGOMAN_GATEWAY_REASONING_WISH_H

#include "adapters/turn.h"
#include "base/arena.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/json_raw.h"

/* Reads them out of a request's body (of JSON that was parsed) into the turn's fields of reasoning;
 * all are set. Foreign shapes are ignored: what an API promises about types its front checks
 * itself. 0, or -1 with fail when memory is short. Uses the parser. */
int reasoning_wish_read(struct json_parser *, struct arena *, const struct json_members *body,
                        struct turn *, struct fail *);

#endif
