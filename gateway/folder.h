/*
 * gateway/folder.h - making the folders that the configuration names.
 */
#ifndef DRAGOMAN_GATEWAY_FOLDER_H
#define DRAGOMAN_GATEWAY_FOLDER_H

/* mkdir -p, with mode 0700 for what is made. 0, also when it is there already, or -1 with errno. */
int folder_make(const char *path);

#endif
