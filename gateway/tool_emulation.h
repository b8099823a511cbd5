/*
 * gateway/tool_emulation.h - a turn with tools for a site that knows none (docs/tools.md): the
 * tools become an instruction, the calls and results of the history become text, and nothing else
 * of the turn is about tools any more.
 *
 * Pure. What the answer is then made of: gateway/answer_tools.h.
 */
#ifndef DRAGOMAN_GATEWAY_TOOL_EMULATION_H
#define DRAGOMAN_GATEWAY_TOOL_EMULATION_H

#include "gateway/tool_prompt.h"

/* Is there anything about tools in the turn: tools that are wanted, or calls or results in its
 * history? */
bool tool_emulation_fits(const struct turn *);

/* The turn that the site gets, in the arena; it shares with `turn` what is the same in both. NULL
 * with fail (memory).
 * - the instruction stands behind the client's first system messages, in the last of them; without
 *   any, and where that has a name, in one of its own before all others. Only if all of the
 *   history goes out (`held` = 0): a site that holds the conversation has it
 * - calls are text of the assistant's message, where they stood; results are a user message, all
 *   of one round in one, with the user's words behind them if there are any; their pictures and
 *   files stay inside
 * - with a history about tools, and none wanted now, one line says so
 * The first `held` messages are left out, but calls in them give their names to results. */
const struct turn *tool_emulation_turn(struct arena *, const struct turn *,
                                       const struct tool_wish *, size_t held, struct fail *);

#endif
