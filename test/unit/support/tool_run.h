/*
 * test/unit/support/tool_run.h - a tool parser's events as one text, for tests.
 *
 * Text as it is; a call as «name arguments»; a call that has no END as «name arguments; an error
 * at the end as !HALF.
 */
#ifndef DRAGOMAN_TEST_TOOL_RUN_H
#define DRAGOMAN_TEST_TOOL_RUN_H

#include "gateway/tool_parser.h"

/* The tools of the tests: read into the arena; aborts when they are wrong. */
void tool_run_list(struct arena *, const char *tools, struct tool_list *);
/* Feeds the text in pieces of `piece` bytes, the first of `first` bytes. */
void tool_run(const struct tool_list *, struct span text, size_t first, size_t piece,
              enum tool_end how, struct buffer *out);

#endif
