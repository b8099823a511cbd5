/*
 * gateway/tool_prompt.h - what a model whose site knows no tools is told of them: the functions,
 * the form of a call, and when to call (docs/tools.md).
 *
 * Pure. The form of calls is that of adapters/support.h; gateway/tool_parser.h finds them in the
 * answer.
 */
#ifndef DRAGOMAN_GATEWAY_TOOL_PROMPT_H
#define DRAGOMAN_GATEWAY_TOOL_PROMPT_H

#include "adapters/turn.h"
#include "base/buffer.h"
#include "gateway/tool_list.h"

enum tool_choice {
    TOOL_CHOICE_NONE, /* no call is wanted, or there are no tools: nothing is told of them */
    TOOL_CHOICE_AUTO,
    TOOL_CHOICE_REQUIRED /* at least one call */
};

enum { TOOLS_EMULATED_MAX = 1024 }; /* a model could not choose among more */

struct tool_wish {
    enum tool_choice choice;
    struct tool_list list; /* that may be called: with one named, that one alone. Empty with NONE */
    bool one_call;         /* at most one in an answer */
};

/* `tools_raw`, `tool_choice_raw` (also `allowed_tools`, and the old `function_call`) and
 * `no_parallel_tool_calls` of a turn. The wish is in the arena and in the turn. 0, or -1 with fail:
 * invalid_value with `param`, or memory. Takes the parser. */
int tool_wish_read(struct arena *, struct json_parser *, const struct turn *, struct tool_wish *,
                   struct fail *);
/* The instruction; nothing with NONE. `out` keeps the error. */
void tool_prompt_write(struct buffer *out, const struct tool_wish *);

#endif
