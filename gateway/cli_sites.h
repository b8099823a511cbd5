/*
 * gateway/cli_sites.h - `dragoman sites`: which sites this build speaks to and what each can do,
 * out of the adapters' own declarations and nothing else.
 */
#ifndef DRAGOMAN_GATEWAY_CLI_SITES_H
#define DRAGOMAN_GATEWAY_CLI_SITES_H

#include "base/buffer.h"

/* For people: some lines for each adapter, in alphabetical order. */
void cli_print_sites(struct buffer *out);
/* The table of README.md, without the marks around it. */
void cli_print_sites_markdown(struct buffer *out);

#endif
