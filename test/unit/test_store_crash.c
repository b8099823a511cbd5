/*
 * test/unit/test_store_crash.c - killed at any moment, the store loses nothing that it called
 * durable, and what is in the file is what was true at some moment.
 *
 * This program starts itself as a child in which SQLite's file layer counts what changes a file
 * (writes, cuts, syncs, removals) and ends the process by SIGKILL in the middle of the n-th; then
 * the file is opened as usual. For every n, until the child gets through.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "gateway/store.h"
#include "test/unit/support/cmocka_all.h"

enum { ROUNDS = 3, STEPS_MAX = 400 };

static const char SECRET[] = "0123456789abcdef of the test";

/* ---- the child ---- */

static sqlite3_vfs killing_vfs;
static sqlite3_vfs *real_vfs;
static int (*real_open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
static int (*real_delete)(sqlite3_vfs *, const char *, int);
static const sqlite3_io_methods *real_io; /* writes alike for every kind of file */
static int steps_left;

static bool is_the_end(void) { return --steps_left == 0; }
static void end(void) { kill(getpid(), SIGKILL); }

static int on_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
    if (is_the_end()) {
        real_io->xWrite(file, bytes, n / 2, at); /* torn */
        end();
    }
    return real_io->xWrite(file, bytes, n, at);
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    if (is_the_end())
        end();
    return real_io->xTruncate(file, size);
}

static int on_sync(sqlite3_file *file, int flags)
{
    if (is_the_end())
        end();
    return real_io->xSync(file, flags);
}

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    int rc = real_open(vfs, name, file, flags, out);
    if (rc != SQLITE_OK || !file->pMethods)
        return rc;
    /* Databases and journals have methods of their own; those are ours, with three changed. */
    static struct {
        const sqlite3_io_methods *real;
        sqlite3_io_methods killing;
    } kinds[4];
    size_t i = 0;
    while (kinds[i].real && kinds[i].real != file->pMethods)
        i++;
    real_io = kinds[i].real = file->pMethods;
    kinds[i].killing = *real_io;
    kinds[i].killing.xWrite = on_write;
    kinds[i].killing.xTruncate = on_truncate;
    kinds[i].killing.xSync = on_sync;
    file->pMethods = &kinds[i].killing;
    return rc;
}

static int on_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    if (is_the_end())
        end();
    return real_delete(vfs, name, sync);
}

struct child {
    uv_loop_t loop;
    struct store *store;
    int round;
};

static void next_round(void *arg, bool durable);

static void save_pair(struct child *c)
{
    char value[16];
    snprintf(value, sizeof value, "v%d", c->round);
    struct store_credential a = {"s", "a", "token", value, c->round},
                            b = {"s", "b", "token", value, c->round};
    store_save_credential(c->store, &a);
    store_save_credential_then(c->store, &b, next_round, c);
}

static void next_round(void *arg, bool durable)
{
    struct child *c = arg;
    char confirmed = (char)c->round;
    if (!durable || write(STDOUT_FILENO, &confirmed, 1) != 1)
        _exit(3);
    if (c->round == ROUNDS)
        store_destroy(c->store, NULL, NULL);
    else
        c->round++;
    if (confirmed != ROUNDS)
        save_pair(c);
}

/* test_store_crash write|open DIRECTORY STEPS SECRET */
static int run_child(char **args)
{
    struct child c = {.round = 1};
    struct store_reader nobody = {0};
    struct fail fail;
    steps_left = atoi(args[2]);
    real_vfs = sqlite3_vfs_find(NULL);
    killing_vfs = *real_vfs;
    real_open = real_vfs->xOpen;
    real_delete = real_vfs->xDelete;
    killing_vfs.zName = "killing";
    killing_vfs.xOpen = on_open;
    killing_vfs.xDelete = on_delete;
    sqlite3_vfs_register(&killing_vfs, 1);
    uv_loop_init(&c.loop);
    c.store = store_create(&c.loop, span_str(args[1]), span_str(args[3]));
    if (store_open(c.store, &nobody, &fail) != STORE_OPEN) {
        fprintf(stderr, "%s\n", fail.message);
        return 2;
    }
    if (strcmp(args[0], "write") == 0)
        save_pair(&c);
    else
        store_destroy(c.store, NULL, NULL);
    uv_run(&c.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&c.loop) ? 4 : 0;
}

/* ---- the parent ---- */

/* True: it got through; false: it was killed. `confirmed` = the last round it called durable. */
static bool child_gets_through(const char *what, const char *directory, int steps,
                               const char *secret, int *confirmed)
{
    extern char **environ;
    char number[16];
    unsigned char byte;
    int out[2], status;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    snprintf(number, sizeof number, "%d", steps);
    char *args[] = {"test_store_crash", (char *)what, (char *)directory, number,
                    (char *)secret,     NULL};
    assert_int_equal(pipe(out), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    posix_spawn_file_actions_addclose(&actions, out[1]);
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, args, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    *confirmed = 0;
    while (read(out[0], &byte, 1) == 1)
        *confirmed = byte;
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return false;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

struct seen {
    int64_t a, b;
    int others;
};

static void on_credential(void *owner, const struct store_credential *c)
{
    struct seen *seen = owner;
    char value[16];
    snprintf(value, sizeof value, "v%d", (int)c->expires_ms);
    assert_string_equal(c->value, value);
    if (strcmp(c->account, "a") == 0)
        seen->a = c->expires_ms;
    else if (strcmp(c->account, "b") == 0)
        seen->b = c->expires_ms;
    else
        seen->others++;
}

static struct seen read_store(const char *directory, const char *secret)
{
    uv_loop_t loop;
    struct seen seen = {0};
    struct fail fail;
    struct store_reader reader = {.owner = &seen, .credential = on_credential};
    uv_loop_init(&loop);
    struct store *s = store_create(&loop, span_str(directory), span_str(secret));
    if (store_open(s, &reader, &fail) != STORE_OPEN)
        fail_msg("%s", fail.message);
    store_destroy(s, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return seen;
}

static void make_directory(char directory[64])
{
    strcpy(directory, "/tmp/test-store-crash-XXXXXX");
    assert_non_null(mkdtemp(directory));
}

static void remove_directory(const char *directory)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
}

static void nothing_durable_is_lost(const char *secret)
{
    bool through = false;
    int killed = 0;
    for (int steps = 1; !through; steps++) {
        char directory[64];
        int confirmed;
        assert_true(steps < STEPS_MAX);
        make_directory(directory);
        through = child_gets_through("write", directory, steps, secret, &confirmed);
        killed += !through;
        struct seen seen = read_store(directory, secret);
        /* both of the last confirmed round, at most one round more, a before b */
        assert_in_range(seen.b, confirmed, confirmed + 1);
        assert_in_range(seen.a - seen.b, 0, 1);
        assert_true(seen.a <= confirmed + 1);
        if (through)
            assert_int_equal(confirmed, ROUNDS);
        remove_directory(directory);
    }
    assert_true(killed > 20); /* it did happen */
}

static void a_kill_while_writing_loses_nothing_durable(void **state)
{
    nothing_durable_is_lost("");
}

static void nor_with_encryption(void **state) { nothing_durable_is_lost(SECRET); }

/* A file as the first version wrote it. */
static void make_old_file(const char *directory)
{
    char path[96];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/dragoman.db", directory);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "PRAGMA journal_mode=WAL; CREATE TABLE held_credential("
                     " site TEXT NOT NULL, account TEXT NOT NULL, name TEXT NOT NULL,"
                     " value TEXT NOT NULL, expires_ms INTEGER NOT NULL,"
                     " PRIMARY KEY(site, account, name)) WITHOUT ROWID;"
                     "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100)"
                     " INSERT INTO held_credential SELECT 's', 'account' || i, 'token', 'v' || i, i"
                     " FROM n;",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
}

/* From the first version to today's, with `secret` to the encrypted one. */
static void nothing_old_is_lost(const char *secret)
{
    bool through = false;
    int killed = 0;
    for (int steps = 1; !through; steps++) {
        char directory[64];
        int confirmed;
        assert_true(steps < STEPS_MAX);
        make_directory(directory);
        make_old_file(directory);
        through = child_gets_through("open", directory, steps, secret, &confirmed);
        killed += !through;
        assert_int_equal(read_store(directory, secret).others, 100);
        remove_directory(directory);
    }
    assert_true(killed > 5);
}

static void a_kill_during_a_migration_loses_nothing(void **state) { nothing_old_is_lost(""); }

static void a_kill_while_encrypting_loses_nothing(void **state) { nothing_old_is_lost(SECRET); }

int main(int argc, char **argv)
{
    if (argc == 5)
        return run_child(argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_while_writing_loses_nothing_durable),
        cmocka_unit_test(nor_with_encryption),
        cmocka_unit_test(a_kill_during_a_migration_loses_nothing),
        cmocka_unit_test(a_kill_while_encrypting_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
