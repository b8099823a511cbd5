/*
 * gateway/cli.h - the command line (design.md §7): which command, which file, and the commands that
 * do not serve.
 */
#ifndef DRAGOMAN_GATEWAY_CLI_H
#define DRAGOMAN_GATEWAY_CLI_H

#include <stdio.h>

#include "gateway/config.h"

enum { EXIT_FINE = 0, EXIT_RUNTIME = 1, EXIT_USAGE = 2 };

enum cli_command {
    CLI_SERVE,
    CLI_DEMO,
    CLI_CHECK,
    CLI_MODELS,
    CLI_ACCOUNTS,
    CLI_KEYS,
    CLI_SITES,
    CLI_REPLAY,
    CLI_VERSION,
    CLI_HELP
};

struct cli {
    enum cli_command command;
    const char *file; /* of -c; NULL = search (config_find) */
    bool json;        /* accounts: --json */
    bool markdown;    /* sites: --markdown */
    const char *verb; /* accounts: "clear", "check"; keys: "new"; NULL = none */
    const char *name; /* what the verb is about: "site/account", a key's name; replay: the file */
    const char *adapter; /* replay: of --adapter; NULL = as the file says */
    bool every_split;    /* replay: --every-split */
    bool rebuild;        /* serve: move the data file aside and start anew */
};

/* 0, or -1 with one line in `error`. */
int cli_parse(int argc, char *const *argv, struct cli *, struct buffer *error);
/* Does what was asked and returns the exit code. `serve` is gateway/serve.h's: handed in, so that
 * tests need no listener. */
int cli_run(const struct cli *, int (*serve)(struct config *, const char *file, bool rebuild),
            FILE *out, FILE *err);

#endif
