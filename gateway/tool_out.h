/*
 * gateway/tool_out.h - the events of a tool_parser on their way out: text, and one call at a time
 * with its arguments.
 */
#ifndef DRAGOMAN_GATEWAY_TOOL_OUT_H
#define DRAGOMAN_GATEWAY_TOOL_OUT_H

#include "gateway/tool_parser.h"
#include "gateway/tool_values.h"
#include "sse/text_guard.h"

enum { ARGUMENTS_PIECE = 16 * 1024 }; /* so many bytes of arguments leave at once */

struct tool_out {
    const struct tool_event_sink *sink; /* of the current call of the parser */
    int stopped;                        /* what it said, or TOOL_PARSER_NOMEM */
    int calls;                          /* that have begun */
    bool open;                          /* the last of them has not ended */
    struct buffer arguments;            /* not out yet */
    struct tool_values values;          /* of the open call */
    struct text_guard guard;            /* arguments are whole characters */
    struct buffer scratch;
};

void tool_out_init(struct tool_out *);
void tool_out_free(struct tool_out *);
void tool_out_text(struct tool_out *, struct span text);
/* BEGIN, and the arguments' opening brace; `values` then takes the members. */
void tool_out_begin(struct tool_out *, const struct tool *);
/* The closing brace, and END. */
void tool_out_end(struct tool_out *);
/* The arguments so far. */
void tool_out_flush(struct tool_out *);

#endif
