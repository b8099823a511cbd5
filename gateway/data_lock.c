/*
 * gateway/data_lock.c - see data_lock.h.
 */
#include "gateway/data_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

int data_lock_take(const char *path, pid_t *holder)
{
    *holder = 0;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return DATA_LOCK_FAILED;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_SETLK, &whole) == 0)
        return fd;
    int error = errno;
    bool held = error == EACCES || error == EAGAIN;
    if (held && fcntl(fd, F_GETLK, &whole) == 0 && whole.l_type != F_UNLCK && whole.l_pid > 0)
        *holder = whole.l_pid;
    close(fd);
    errno = error;
    return held ? DATA_LOCK_HELD : DATA_LOCK_FAILED;
}

void data_lock_release(int lock)
{
    if (lock >= 0)
        close(lock);
}
