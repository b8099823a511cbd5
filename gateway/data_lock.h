/*
 * gateway/data_lock.h - one gateway at a time works on a data directory.
 *
 * A lock of the kernel's (fcntl) on `dragoman.lock`: it ends with its process, however that ends,
 * so nothing stale is ever left behind, and the kernel knows who holds it. The file itself says
 * nothing and stays. POSIX gives such locks to processes, not to descriptors: nobody else in this
 * process may open the file.
 */
#ifndef DRAGOMAN_GATEWAY_DATA_LOCK_H
#define DRAGOMAN_GATEWAY_DATA_LOCK_H

#include <sys/types.h>

enum { DATA_LOCK_FAILED = -1, DATA_LOCK_HELD = -2 };

/* Takes the lock, making the file (0600) when it is missing. Returns its descriptor;
 * DATA_LOCK_FAILED with errno; DATA_LOCK_HELD with the other's process id in `holder` (0: not
 * known, it runs in another container or on another machine). */
int data_lock_take(const char *path, pid_t *holder);
/* Gives back what data_lock_take returned; negative values are nothing to give back. */
void data_lock_release(int lock);

#endif
