/*
 * gateway/sandbox.h - what the running gateway gives up (`server.sandbox`): after its start nothing
 * is left to whoever takes it over but the network, the data folder and what the configuration
 * names.
 *
 * Two locks of the Linux kernel. Landlock (landlock.7): which folders can be read and written.
 * Seccomp (seccomp.2, by libseccomp): system calls that a gateway never makes, first of all
 * running another program. Neither can be opened again; threads inherit them.
 */
#ifndef DRAGOMAN_GATEWAY_SANDBOX_H
#define DRAGOMAN_GATEWAY_SANDBOX_H

#include "gateway/config.h"

/* A folder, or a file, that stays within reach. */
struct sandbox_path {
    struct span path;
    bool writable; /* a folder: files come, go and change in it */
};

/* Everything that the configuration needs, and the system's own (names, certificates, time zones,
 * libraries); in the arena. Folders that the gateway writes into are made. The count; 0 when memory
 * is short. */
size_t sandbox_paths(const struct config *, struct arena *, const struct sandbox_path **paths);

enum sandbox_lock { SANDBOX_FILES = 1 << 0, SANDBOX_CALLS = 1 << 1 };
/* Before any thread is made, and files of the data folder are opened: locks what config->sandbox
 * wants. Returns the enum sandbox_lock that are closed now; with SANDBOX_ON -1 and fail where one
 * of them cannot be. */
int sandbox_enter(const struct config *, struct fail *);

#endif
