/*
 * gateway/process_info.h - what the kernel says of this process.
 */
#ifndef DRAGOMAN_GATEWAY_PROCESS_INFO_H
#define DRAGOMAN_GATEWAY_PROCESS_INFO_H

#include <stdint.h>

struct process_info {
    double cpu_s;                       /* user and system */
    uint64_t resident_bytes;            /* this and the next: 0 = not known */
    uint64_t open_files, files_allowed; /* file descriptors */
};

/* Reads /proc; a few system calls. */
void process_info_read(struct process_info *);

#endif
