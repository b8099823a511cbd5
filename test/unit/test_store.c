/*
 * test/unit/test_store.c - credentials that outlive a restart: written, forgotten, read back;
 * damage costs a warning, not the program.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "gateway/store.h"
#include "test/unit/support/cmocka_all.h"

struct bench {
    uv_loop_t loop;
    struct store *store;
    char folder[64], data_dir[96], file[128];
    struct buffer found;
    bool closed;
};

static void on_closed(void *arg) { ((struct bench *)arg)->closed = true; }

static void open_store(struct bench *b)
{
    b->store = store_create(&b->loop, span_str(b->data_dir));
    assert_non_null(b->store);
}

/* Everything that was queued is in the file when it returns. */
static void close_store(struct bench *b)
{
    b->closed = false;
    store_destroy(b->store, on_closed, b);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_true(b->closed);
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    strcpy(b->folder, "/tmp/test-store-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->data_dir, sizeof b->data_dir, "%s/data", b->folder);
    snprintf(b->file, sizeof b->file, "%s/dragoman.db", b->data_dir);
    uv_loop_init(&b->loop);
    buffer_init(&b->found, 1 << 20);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", b->folder);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    buffer_free(&b->found);
    assert_int_equal(system(command), 0);
    free(b);
    return 0;
}

static void on_found(void *owner, const char *site, const char *account, const char *name,
                     const char *value, int64_t expires_ms)
{
    struct bench *b = owner;
    buffer_printf(&b->found, "%s/%s %s=%s %lld;", site, account, name, value,
                  (long long)expires_ms);
}

static void expect_stored(struct bench *b, const char *wanted)
{
    struct fail fail = {0};
    open_store(b);
    buffer_clear(&b->found);
    if (store_load(b->store, on_found, b, &fail) != 0)
        fail_msg("%s", fail.message);
    assert_span_equal(buffer_span(&b->found), span_str(wanted));
    close_store(b);
}

static void nothing_is_created_for_nothing(void **state)
{
    struct bench *b = *state;
    expect_stored(b, "");
    assert_int_equal(access(b->data_dir, F_OK), -1);
}

static void what_was_saved_is_found(void **state)
{
    struct bench *b = *state;
    struct stat st;
    open_store(b);
    store_save(b->store, "zai", "main", "token", "t'1\"; DROP TABLE", INT64_C(1) << 45);
    store_save(b->store, "zai", "main", "guest", "g", 0);
    store_save(b->store, "zai", "main", "token", "t2", 7);
    store_save(b->store, "sophnet", "main", "token", "ö", 8);
    store_save(b->store, "zai", "main", "guest", NULL, 0);
    store_save(b->store, "zai", "main", "never was", NULL, 0);
    close_store(b);
    expect_stored(b, "sophnet/main token=ö 8;zai/main token=t2 7;");
    assert_int_equal(stat(b->file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(b->data_dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void many_writes_keep_their_order(void **state)
{
    struct bench *b = *state;
    char value[16];
    open_store(b);
    for (int i = 0; i < 500; i++) {
        snprintf(value, sizeof value, "v%d", i);
        store_save(b->store, "s", i % 2 ? "a" : "b", "token", value, i);
    }
    close_store(b);
    expect_stored(b, "s/a token=v499 499;s/b token=v498 498;");
}

static void a_damaged_file_is_reported(void **state)
{
    struct bench *b = *state;
    struct fail fail = {0};
    assert_int_equal(mkdir(b->data_dir, 0700), 0);
    FILE *f = fopen(b->file, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database ", f);
    fclose(f);
    open_store(b);
    assert_int_equal(store_load(b->store, on_found, b, &fail), -1);
    assert_non_null(strstr(fail.message, "dragoman.db"));
    store_save(b->store, "s", "a", "token", "v", 1); /* a warning, no crash */
    close_store(b);
}

/* Damage behind the first pages: what could be read is given, and the rest is not passed over in
 * silence. */
static void damage_in_the_middle_is_reported(void **state)
{
    struct bench *b = *state;
    struct fail fail = {0};
    char value[1001] = {0};
    memset(value, 'v', sizeof value - 1);
    open_store(b);
    for (int i = 0; i < 100; i++) {
        char name[24];
        snprintf(name, sizeof name, "token%03d", i);
        store_save(b->store, "s", "a", name, value, i);
    }
    close_store(b);
    FILE *f = fopen(b->file, "r+");
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    assert_true(size > 16 * 4096);
    fseek(f, size / 2 / 4096 * 4096, SEEK_SET);
    for (int i = 0; i < 2 * 4096; i++)
        fputc(0xA5, f);
    fclose(f);
    open_store(b);
    assert_int_equal(store_load(b->store, on_found, b, &fail), -1);
    assert_non_null(strstr(fail.message, "dragoman.db"));
    close_store(b);
}

/* A file that some other program made: its columns may hold nothing. */
static void rows_without_values_are_passed_over(void **state)
{
    struct bench *b = *state;
    sqlite3 *db;
    assert_int_equal(mkdir(b->data_dir, 0700), 0);
    assert_int_equal(sqlite3_open(b->file, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "CREATE TABLE held_credential(site, account, name, value, expires_ms);"
                     "INSERT INTO held_credential VALUES('s', 'a', 'none', NULL, 1),"
                     "(NULL, 'a', 'token', 'v', 2), ('s', 'a', 'token', 'v', 3);",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    expect_stored(b, "s/a token=v 3;");
}

/* The journal holds the same secrets as the file. */
static void journals_are_ours_alone(void **state)
{
    struct bench *b = *state;
    struct stat st;
    char path[160];
    mode_t before = umask(0);
    open_store(b);
    store_save(b->store, "s", "a", "token", "v", 1);
    while (uv_run(&b->loop, UV_RUN_ONCE))
        ; /* written, and the database is still open */
    umask(before);
    snprintf(path, sizeof path, "%s-wal", b->file);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(b->file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    close_store(b);
}

/* What was wrong may be mended while we run: the next write goes through. */
static void writing_is_tried_again(void **state)
{
    struct bench *b = *state;
    fclose(fopen(b->data_dir, "w"));
    open_store(b);
    store_save(b->store, "s", "a", "token", "lost", 1);
    while (uv_run(&b->loop, UV_RUN_ONCE))
        ;
    assert_int_equal(remove(b->data_dir), 0);
    store_save(b->store, "s", "a", "token", "kept", 2);
    close_store(b);
    expect_stored(b, "s/a token=kept 2;");
}

/* Everything is copied: what was handed over may change at once. */
static void what_is_saved_is_copied(void **state)
{
    struct bench *b = *state;
    char site[] = "s", account[] = "a", name[] = "token", value[] = "v";
    open_store(b);
    store_save(b->store, "s", "other", "token", "w", 2);
    store_save(b->store, site, account, name, value, 1);
    site[0] = account[0] = name[0] = value[0] = '!';
    close_store(b);
    expect_stored(b, "s/a token=v 1;s/other token=w 2;");
}

static void closing_an_idle_store_is_told(void **state)
{
    struct bench *b = *state;
    open_store(b);
    close_store(b);
    assert_int_equal(access(b->data_dir, F_OK), -1);
}

static void a_folder_that_cannot_be_made_is_survived(void **state)
{
    struct bench *b = *state;
    FILE *f = fopen(b->data_dir, "w"); /* a file where the folder should be */
    fclose(f);
    open_store(b);
    store_save(b->store, "s", "a", "token", "v", 1);
    close_store(b);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_created_for_nothing),
        TEST(what_was_saved_is_found),
        TEST(many_writes_keep_their_order),
        TEST(a_damaged_file_is_reported),
        TEST(damage_in_the_middle_is_reported),
        TEST(rows_without_values_are_passed_over),
        TEST(journals_are_ours_alone),
        TEST(writing_is_tried_again),
        TEST(what_is_saved_is_copied),
        TEST(closing_an_idle_store_is_told),
        TEST(a_folder_that_cannot_be_made_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
