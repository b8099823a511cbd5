/*
 * test/unit/test_store.c - credentials that outlive a restart: written, forgotten, read back;
 * damage costs a warning, not the program.
 */
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
        TEST(a_folder_that_cannot_be_made_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
