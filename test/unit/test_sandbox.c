/*
 * test/unit/test_sandbox.c - gateway/sandbox.h: what is out of reach behind each lock, and what is
 * not. Each test locks a process of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/sandbox_locks.h"
#include "test/unit/support/cmocka_all.h"

static char folder[] = "/tmp/dragoman-sandbox-XXXXXX";
static char own[64], foreign[64];

static void write_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

static int make_folders(void **state)
{
    assert_non_null(mkdtemp(folder));
    snprintf(own, sizeof own, "%s/own", folder);
    snprintf(foreign, sizeof foreign, "%s/foreign", folder);
    mkdir(own, 0700);
    mkdir(foreign, 0700);
    char path[80];
    snprintf(path, sizeof path, "%s/secret", foreign);
    write_file(path);
    return 0;
}

static int remove_folders(void **state)
{
    char path[80];
    snprintf(path, sizeof path, "%s/secret", foreign);
    unlink(path);
    snprintf(path, sizeof path, "%s/mine", own);
    unlink(path);
    return rmdir(own) || rmdir(foreign) || rmdir(folder);
}

/* Exits with what `act` returns, in a process of its own: 0 = all as it should be, else which step
 * was not. No leak check: the parent's memory is not its own. */
static int in_process(int (*act)(void))
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(act());
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int open_in(const char *where, const char *name, int flags)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", where, name);
    int fd = open(path, flags, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : errno;
}

enum { NOT_HERE = 77 };

static int only_own_files(void)
{
    const struct sandbox_path paths[] = {{span_str(own), true}, {SPAN("/etc"), false}};
    int error = sandbox_lock_files(paths, 2);
    if (error)
        return error == ENOSYS || error == EOPNOTSUPP ? NOT_HERE : 1;
    if (open_in(foreign, "secret", O_RDONLY) != EACCES)
        return 2;
    if (open_in(foreign, "new", O_WRONLY | O_CREAT) != EACCES)
        return 3;
    if (open_in(own, "mine", O_WRONLY | O_CREAT) != 0)
        return 4;
    if (open_in("/etc", "passwd", O_RDONLY) != 0)
        return 5;
    if (open_in("/etc", "dragoman-was-here", O_WRONLY | O_CREAT) != EACCES)
        return 6;
    return 0;
}

static void files_out_of_reach(void **state)
{
    int code = in_process(only_own_files);
    if (code == NOT_HERE)
        skip();
    assert_int_equal(code, 0);
}

static void *runs(void *told)
{
    *(int *)told = socket(AF_INET, SOCK_STREAM, 0) >= 0;
    return NULL;
}

static int only_a_gateways_calls(void)
{
    char *const nothing[] = {NULL};
    pthread_t thread;
    int ran = 0, error = sandbox_lock_calls();
    if (error)
        return error == ENOSYS || error == EINVAL ? NOT_HERE : 1;
    if (execve("/bin/true", nothing, nothing) != -1 || errno != EPERM)
        return 2;
    if (socket(AF_PACKET, SOCK_RAW, 0) != -1 || errno != EAFNOSUPPORT)
        return 3;
    if (socket(AF_BLUETOOTH, SOCK_RAW, 0) != -1 || errno != EAFNOSUPPORT)
        return 4;
    if (setuid(1) != -1 || errno != EPERM)
        return 5;
    if (pthread_create(&thread, NULL, runs, &ran) || pthread_join(thread, NULL) || !ran)
        return 6;
    return 0;
}

static void calls_that_no_gateway_makes(void **state)
{
    int code = in_process(only_a_gateways_calls);
    if (code == NOT_HERE)
        skip();
    assert_int_equal(code, 0);
}

static bool has(const struct sandbox_path *paths, size_t n, const char *path, bool writable)
{
    for (size_t i = 0; i < n; i++) {
        if (span_eq(paths[i].path, span_str(path)))
            return paths[i].writable == writable;
    }
    return false;
}

static void what_the_configuration_names_stays_in_reach(void **state)
{
    const struct secret_file secret = {SPAN("/srv/secrets/token"), NULL};
    struct config config = {.file = SPAN("/srv/config/gateway.toml"),
                            .data_dir = span_str(own),
                            .log_file = SPAN("/srv/logs/dragoman.log"),
                            .secret_files = &secret};
    const struct sandbox_path *paths;
    struct arena arena;
    arena_init(&arena);
    size_t n = sandbox_paths(&config, &arena, &paths);
    assert_true(has(paths, n, own, true));
    assert_true(has(paths, n, "/srv/config", false));
    assert_true(has(paths, n, "/srv/secrets", false));
    assert_true(has(paths, n, "/srv/logs", true));
    assert_true(has(paths, n, "/etc", false));
    assert_false(has(paths, n, "/", false) || has(paths, n, "/", true));
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_out_of_reach),
        cmocka_unit_test(calls_that_no_gateway_makes),
        cmocka_unit_test(what_the_configuration_names_stays_in_reach),
    };
    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
