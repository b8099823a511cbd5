/*
 * gateway/text_code.h - where in a Markdown text code stands, while it streams.
 *
 * Code is what stands between the fences ``` or ~~~ (three or more, at a line's beginning), and
 * between runs of as many backticks within one line: one that is not closed there is no code's
 * beginning for the lines behind it.
 */
#ifndef DRAGOMAN_GATEWAY_TEXT_CODE_H
#define DRAGOMAN_GATEWAY_TEXT_CODE_H

#include "base/span.h"

struct text_code {
    bool inside_line; /* something but blanks stood on this line */
    char run_char;    /* of the run of fence characters that we are in, 0 = none */
    size_t run;
    bool run_begins; /* it began its line */
    char fence_char; /* of the open fence, 0 = none */
    size_t fence;
    bool info;    /* on the line that opens it */
    size_t quote; /* backticks that opened code within this line, 0 = none */
};

void text_code_pass(struct text_code *, struct span text); /* zeroed at first */
/* Would a byte that is no fence character stand in code? */
bool text_code_inside(const struct text_code *);
/* Is it at a line's beginning, but for blanks? */
bool text_code_line_begins(const struct text_code *);
/* How many bytes at the text's front change nothing. */
size_t text_code_plain(const struct text_code *, struct span text);

#endif
