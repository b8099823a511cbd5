/*
 * gateway/folder.c - see folder.h.
 */
#include "gateway/folder.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

int folder_make(const char *path)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *p = part + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(part, 0700) && errno != EEXIST)
            return -1;
        *p = '/';
    }
    return mkdir(part, 0700) && errno != EEXIST ? -1 : 0;
}
