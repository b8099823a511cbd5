/*
 * gateway/account_files.h - the accounts while no gateway runs: what the last one wrote down, for
 * the command line.
 *
 * The data file is opened, read and let go, so that a gateway may start meanwhile; one that is not
 * there is not made. Only account_files_clear writes to it.
 */
#ifndef DRAGOMAN_GATEWAY_ACCOUNT_FILES_H
#define DRAGOMAN_GATEWAY_ACCOUNT_FILES_H

#include "gateway/config.h"

/* As account_report_json, "running" false. Where the file cannot be read, `remarks` says why and
 * the states are null. 0, or -1 with fail. */
int account_files_report(struct config *, struct buffer *report, struct buffer *remarks,
                         struct fail *);
/* Forgets the rests and the state of "site/account". 0, or -1 with fail. */
int account_files_clear(struct config *, struct span name, struct fail *);

#endif
