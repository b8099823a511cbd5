/*
 * gateway/tool_parser.h - tool calls in the text of models whose site knows none: recognised while
 * the text streams, repaired where models get the form wrong, and told apart from what is text.
 *
 * Sans-IO. Text comes in any pieces, also of characters, and leaves as events in the order of the
 * text. What leaves does not depend on how the text was cut (neighbouring TEXT, or ARGUMENTS of one
 * call, put together). The dialects, with an example of each and what is made of it, are those of
 * docs/tools.md; test/tools/ holds a corpus of them.
 *
 * Promises:
 * - Nothing is held back but the longest suffix that could still begin a call's mark; a text
 *   without such a suffix leaves with the call that brought it.
 * - A call is one BEGIN (id and name known: the name is a tool's own), ARGUMENTS whose texts
 *   together are one valid JSON object, one END. Arguments leave as they come, mended on the way
 *   (quotes, commas, line breaks, braces, Python's words, types that the tool's schema wants).
 * - What looks like a call and is none - an unknown tool, no name, a form that cannot be mended, a
 *   mark in code, or at the end with nothing behind it - is TEXT, byte for byte. Only white space
 * and closing brackets behind a call, before another one or before the end, are left out.
 * - The marks of a call never are TEXT, nor is a part of its arguments.
 * - A result that the model writes itself behind a call is its invention: all from its mark on is
 *   dropped (tool_parser_invented).
 *
 * Code (text_code.h): a mark in a fence or between backticks is TEXT. A fence at a line's beginning
 * whose info is empty, json, xml, python, or a name for calls (tool_call, tool_code …), and that
 * begins with a call of a known tool, is that call, unless one of the words that announce an
 * example stands in the 256 bytes before it (tool_parser.c lists them). JSON and f(a=1) without any
 * mark are a call only in such a fence, at the very beginning of the text, or right behind another
 * call, and only with arguments.
 */
#ifndef DRAGOMAN_GATEWAY_TOOL_PARSER_H
#define DRAGOMAN_GATEWAY_TOOL_PARSER_H

#include "gateway/tool_list.h"

enum tool_event_kind { TOOL_TEXT, TOOL_BEGIN, TOOL_ARGUMENTS, TOOL_END };

struct tool_event {
    enum tool_event_kind kind;
    struct span text; /* TEXT, ARGUMENTS; valid during the call */
    struct span name; /* BEGIN: of the tool list */
    int call;         /* BEGIN, ARGUMENTS, END: 0, 1 … in order of appearance */
};

struct tool_event_sink {
    int (*put)(void *owner, const struct tool_event *); /* not 0 stops the parser with it */
    void *owner;
};

struct tool_parser;

/* How the text ended. */
enum tool_end {
    TOOL_END_WHOLE, /* the site says that it is whole */
    TOOL_END_LIMIT, /* the site stopped at a limit of length */
    TOOL_END_CUT    /* it broke off */
};

enum {
    TOOL_PARSER_OK = 0,
    TOOL_PARSER_NOMEM = -1,
    TOOL_PARSER_HALF = 1 /* from the end only: a call that began has no whole arguments, and they
                            cannot be made whole without inventing a part of a value; its ARGUMENTS
                            so far are out, there is no END */
};

/* What may be held back of one call before its name is known and an argument is there. More is
 * text.
 */
enum { TOOL_HELD_MAX = 256 * 1024 };

/* The list outlives the parser. NULL when memory is short. */
struct tool_parser *tool_parser_create(const struct tool_list *);
void tool_parser_destroy(struct tool_parser *);
/* OK, NOMEM, or what the sink said. */
int tool_parser_feed(struct tool_parser *, struct span piece, const struct tool_event_sink *);
/* The end of the text; likewise, or HALF. Nothing may be fed behind it. */
int tool_parser_end(struct tool_parser *, enum tool_end, const struct tool_event_sink *);
/* Calls that have begun so far. */
int tool_parser_calls(const struct tool_parser *);
/* Has the model begun to write the result of a call itself ("<tool_response>", "Observation:")? All
 * from there on is its invention: it is dropped, and what still comes may as well be stopped. */
bool tool_parser_invented(const struct tool_parser *);

#endif
