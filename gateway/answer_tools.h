/*
 * gateway/answer_tools.h - calls in the text of one choice of an answer, where tools are emulated
 * (docs/tools.md): text goes in, text and calls come out.
 *
 * Sans-IO. What gateway/tool_parser.h does not know is here: how many calls are wanted, and when
 * nothing more is.
 */
#ifndef DRAGOMAN_GATEWAY_ANSWER_TOOLS_H
#define DRAGOMAN_GATEWAY_ANSWER_TOOLS_H

#include "gateway/tool_parser.h"

/* Where it goes; each returns 0, or what ends the answer. Calls are 0, 1 …, one after another. */
struct answer_tools_out {
    int (*text)(void *owner, struct span);
    int (*begin)(void *owner, int call, struct span name);
    int (*arguments)(void *owner, int call, struct span piece);
    void *owner;
};

struct answer_tools {
    struct answer_tools_out out;
    struct tool_parser *parser;
    bool one_call;
    bool over;   /* its end was told */
    bool enough; /* nothing more is wanted: the one call is there, or the model makes results up */
    bool torn;   /* the last call has no whole arguments */
    int calls;   /* that began */
};

/* In place. The list outlives it. 0, or -1 when memory is short (then there is nothing to free). */
int answer_tools_init(struct answer_tools *, const struct tool_list *, bool one_call,
                      const struct answer_tools_out *);
void answer_tools_free(struct answer_tools *);
/* 0, or what went wrong; nothing is passed on any more once `enough`. */
int answer_tools_pass(struct answer_tools *, struct span piece);
/* The text is over; once, more calls do nothing. Text behind it passes as it is. */
int answer_tools_end(struct answer_tools *, enum tool_end);

#endif
