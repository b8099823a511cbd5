/*
 * gateway/sandbox_files.c - Landlock (sandbox_locks.h). The C library has no functions for it, and
 * Debian's headers know its first two versions; what later ones added is written down here
 * (landlock.7).
 */
#include "gateway/sandbox_locks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Version 3, Linux 6.2; version 5, Linux 6.10. */
enum { ACCESS_TRUNCATE = 1 << 14, ACCESS_IOCTL_DEV = 1 << 15 };

enum {
    READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    WRITE_FILE = LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE,
    WRITE = WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
            LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
            LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REFER,
    FILES_ONLY = LANDLOCK_ACCESS_FS_READ_FILE | WRITE_FILE,
    VERSION_1 = (1 << 13) - 1
};

/* Everything that the kernel's version can deny. */
static uint64_t handled_by(long version)
{
    uint64_t access = VERSION_1;
    if (version >= 2)
        access |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        access |= ACCESS_TRUNCATE;
    if (version >= 5)
        access |= ACCESS_IOCTL_DEV;
    return access;
}

static int allow(int rules, const struct sandbox_path *place, uint64_t handled)
{
    struct stat info;
    int fd = open(place->path.p, O_PATH | O_CLOEXEC);
    if (fd < 0) /* it is not there: nothing to reach */
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : errno;
    uint64_t access = place->writable ? READ | WRITE : READ;
    if (fstat(fd, &info) == 0 && !S_ISDIR(info.st_mode))
        access &= FILES_ONLY;
    const struct landlock_path_beneath_attr rule = {.allowed_access = access & handled,
                                                    .parent_fd = fd};
    int error =
        syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) ? errno : 0;
    close(fd);
    return error;
}

int sandbox_lock_files(const struct sandbox_path *paths, size_t n)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return version < 0 ? errno : ENOSYS;
    const struct landlock_ruleset_attr attr = {.handled_access_fs = handled_by(version)};
    long rules = syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0)
        return errno;
    int error = 0;
    for (size_t i = 0; i < n && !error; i++)
        error = allow((int)rules, &paths[i], attr.handled_access_fs);
    if (!error && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
                   syscall(SYS_landlock_restrict_self, (int)rules, 0)))
        error = errno;
    close((int)rules);
    return error;
}
