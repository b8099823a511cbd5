/*
 * gateway/replay_tools.h - the calls in a recorded answer of a site whose tools were emulated
 * (docs/tools.md), as the parser of this version finds them: deltas go in, deltas come out.
 */
#ifndef DRAGOMAN_GATEWAY_REPLAY_TOOLS_H
#define DRAGOMAN_GATEWAY_REPLAY_TOOLS_H

#include "adapters/delta.h"
#include "gateway/tool_list.h"

struct replay_tools;

/* `tools_raw` as in struct turn; `out` outlives it. NULL with fail. Takes the parser. */
struct replay_tools *replay_tools_create(struct arena *, struct json_parser *,
                                         struct span tools_raw, const struct delta_sink *out,
                                         struct fail *);
void replay_tools_destroy(struct replay_tools *); /* NULL is fine */
struct delta_sink replay_tools_sink(struct replay_tools *);
/* No more comes. 0, or what `out` said. */
int replay_tools_end(struct replay_tools *, bool cut);
/* Did a call stay without whole arguments? */
bool replay_tools_torn(const struct replay_tools *);

#endif
