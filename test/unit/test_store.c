/*
 * test/unit/test_store.c - what must outlive a restart: written, joined, forgotten, read back;
 * older files, damaged ones, encrypted ones, and those that are somebody else's.
 */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "gateway/data_lock.h"
#include "gateway/store.h"
#include "test/unit/support/cmocka_all.h"

static const char SECRET[] = "0123456789abcdef of the test";

struct bench {
    uv_loop_t loop;
    struct store *store;
    const char *secret; /* "" = none */
    char folder[64], data_dir[96], file[128];
    struct buffer found;
    int durable, failed; /* what `done` was told */
    bool closed;
};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    strcpy(b->folder, "/tmp/test-store-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->data_dir, sizeof b->data_dir, "%s/data", b->folder);
    snprintf(b->file, sizeof b->file, "%s/dragoman.db", b->data_dir);
    b->secret = "";
    assert_int_equal(uv_loop_init(&b->loop), 0);
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

/* ---- what a store holds, as one text ---- */

static void on_credential(void *owner, const struct store_credential *c)
{
    buffer_printf(owner, "%s/%s %s=%s %lld;", c->site, c->account, c->name, c->value,
                  (long long)c->expires_ms);
}

static void on_account(void *owner, const struct store_account *a)
{
    buffer_printf(owner, "%s/%s[%s] %s until %lld, %lld strikes, '%s' at %lld;", a->site,
                  a->account, a->model, a->state, (long long)a->until_ms, (long long)a->strikes,
                  a->error, (long long)a->changed_ms);
}

static void on_counter(void *owner, const struct store_counter *c)
{
    buffer_printf(owner, "%s %s day %lld: %lld, %lld+%lld;", c->kind, c->name, (long long)c->day,
                  (long long)c->requests, (long long)c->tokens_in, (long long)c->tokens_out);
}

static void on_models(void *owner, const struct store_models *m)
{
    buffer_printf(owner, "%s at %lld: %s;", m->site, (long long)m->fetched_ms, m->json);
}

static void on_conversation(void *owner, const struct store_conversation *c)
{
    buffer_printf(owner, "%s %s/%s %s %lld %lld;", c->hash, c->site, c->account, c->state,
                  (long long)c->expires_ms, (long long)c->credentials);
}

static void on_upload(void *owner, const struct store_upload *u)
{
    buffer_printf(owner, "%s %s/%s %s %lld;", u->hash, u->site, u->account, u->value,
                  (long long)u->expires_ms);
}

static void on_meta(void *owner, const char *name, const char *value)
{
    buffer_printf(owner, "%s=%s;", name, value);
}

static void create(struct bench *b)
{
    b->store = store_create(&b->loop, span_str(b->data_dir), span_str(b->secret));
    assert_non_null(b->store);
}

static enum store_opened try_open(struct bench *b, struct fail *fail)
{
    struct store_reader all = {&b->found, on_credential, on_account,      on_counter,
                               on_models, on_meta,       on_conversation, on_upload};
    buffer_clear(&b->found);
    *fail = (struct fail){0};
    return store_open(b->store, &all, fail);
}

static void open_store(struct bench *b)
{
    struct fail fail;
    create(b);
    if (try_open(b, &fail) != STORE_OPEN)
        fail_msg("%s", fail.message);
}

static void on_closed(void *arg) { ((struct bench *)arg)->closed = true; }

/* Everything that was saved is in the file when it returns. */
static void close_store(struct bench *b)
{
    b->closed = false;
    store_destroy(b->store, on_closed, b);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_true(b->closed);
}

static void run_until_idle(struct bench *b)
{
    while (uv_run(&b->loop, UV_RUN_ONCE))
        ;
}

static void expect_stored(struct bench *b, const char *wanted)
{
    open_store(b);
    assert_span_equal(buffer_span(&b->found), span_str(wanted));
    close_store(b);
}

static void keep(struct bench *b, const char *site, const char *account, const char *name,
                 const char *value, int64_t expires_ms)
{
    store_save_credential(b->store,
                          &(struct store_credential){site, account, name, value, expires_ms});
}

static void count(struct bench *b, const char *name, int64_t requests)
{
    store_save_counter(b->store, &(struct store_counter){"key", name, 20000, requests, 1, 2});
}

/* ---- files ---- */

/* malloc'd; an empty one when it is not there. */
static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *bytes = malloc(1 << 22);
    *n = f ? fread(bytes, 1, 1 << 22, f) : 0;
    if (f)
        fclose(f);
    return bytes;
}

static char *beside(const struct bench *b, const char *suffix)
{
    static char path[160];
    snprintf(path, sizeof path, "%s%s", b->file, suffix);
    return path;
}

static bool is_in(const char *path, const char *text)
{
    size_t n;
    char *bytes = read_file(path, &n);
    bool found = memmem(bytes, n, text, strlen(text)) != NULL;
    free(bytes);
    return found;
}

static void write_bytes(const char *path, const char *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void sql(const struct bench *b, const char *text)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(b->file, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static int64_t sql_number(const struct bench *b, const char *text)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open(b->file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
    int64_t number = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return number;
}

/* Transactions in the journal: frames whose head tells the size after a commit. */
static int commits(const struct bench *b)
{
    size_t n;
    char *bytes = read_file(beside(b, "-wal"), &n);
    int found = 0;
    for (size_t at = 32; at + 24 + 4096 <= n; at += 24 + 4096)
        found += memcmp(bytes + at + 4, "\0\0\0\0", 4) != 0;
    free(bytes);
    return found;
}

/* ---- saving and finding ---- */

static void an_unopened_store_makes_nothing(void **state)
{
    struct bench *b = *state;
    create(b);
    close_store(b);
    assert_int_equal(access(b->data_dir, F_OK), -1);
}

static void what_was_saved_is_found(void **state)
{
    struct bench *b = *state;
    struct stat st;
    open_store(b);
    keep(b, "zai", "main", "token", "t'1\"; DROP TABLE", INT64_C(1) << 45);
    keep(b, "zai", "main", "guest", "g", 0);
    keep(b, "zai", "main", "token", "t2", 7);
    keep(b, "sophnet", "main", "token", "ö", 8);
    keep(b, "sophnet", "main", "nothing", "", 9);
    keep(b, "zai", "main", "guest", NULL, 0);
    keep(b, "zai", "main", "never was", NULL, 0);
    close_store(b);
    expect_stored(b, "sophnet/main nothing= 9;sophnet/main token=ö 8;zai/main token=t2 7;");
    assert_int_equal(stat(b->file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(b->data_dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void every_kind_of_row_is_found(void **state)
{
    struct bench *b = *state;
    struct store_account tired = {"zai", "a", "glm", "cooling", 1LL << 44, 3, "too many", 5},
                         whole = {"zai", "a", NULL, "expired", 0, 1, NULL, 6},
                         well = {.site = "zai", .account = "b", .model = ""};
    open_store(b);
    store_save_account(b->store, &tired);
    store_save_account(b->store, &whole);
    store_save_account(b->store, &(struct store_account){"zai", "b", "", "cooling", 1, 1, "", 1});
    store_save_account(b->store, &well);
    store_save_counter(b->store, &(struct store_counter){"key", "cherry", 20000, 1, 2, 3});
    store_save_counter(b->store, &(struct store_counter){"key", "cherry", 20001, 4, 5, 1LL << 40});
    store_save_counter(b->store, &(struct store_counter){"account", "zai/a", 20000, 7, 8, 9});
    store_save_counter(b->store, &(struct store_counter){"key", "cherry", 20000, 10, 20, 30});
    store_save_models(b->store, &(struct store_models){"zai", 77, "[\"glm\"]"});
    store_save_models(b->store, &(struct store_models){"gone", 1, "[]"});
    store_save_models(b->store, &(struct store_models){"gone", 0, NULL});
    store_save_meta(b->store, "colour", "green");
    store_save_meta(b->store, "taste", "sour");
    store_save_meta(b->store, "taste", NULL);
    close_store(b);
    expect_stored(b, "zai/a[] expired until 0, 1 strikes, '' at 6;"
                     "zai/a[glm] cooling until 17592186044416, 3 strikes, 'too many' at 5;"
                     "account zai/a day 20000: 7, 8+9;"
                     "key cherry day 20000: 10, 20+30;"
                     "key cherry day 20001: 4, 5+1099511627776;"
                     "zai at 77: [\"glm\"];"
                     "colour=green;");
}

static void many_writes_keep_their_order(void **state)
{
    struct bench *b = *state;
    char value[16];
    open_store(b);
    for (int i = 0; i < 500; i++) {
        snprintf(value, sizeof value, "v%d", i);
        keep(b, "s", i % 2 ? "a" : "b", "token", value, i);
        if (i % 7 == 0)
            uv_run(&b->loop, UV_RUN_NOWAIT);
    }
    close_store(b);
    expect_stored(b, "s/a token=v499 499;s/b token=v498 498;");
}

/* The first is under way at once; all others meet in one transaction behind it. */
static void saves_that_wait_are_written_together(void **state)
{
    struct bench *b = *state;
    char name[16];
    open_store(b);
    int before = commits(b);
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "n%d", i % 300);
        keep(b, "s", "a", name, "v", i);
    }
    run_until_idle(b);
    assert_int_equal(commits(b) - before, 2);
    assert_int_equal(sql_number(b, "SELECT count(*) FROM credential"), 300);
    assert_int_equal(sql_number(b, "SELECT min(expires_ms) FROM credential"), 700);
    close_store(b);
}

/* Not only unlinked from the file's tables, but overwritten. */
static void a_forgotten_credential_is_gone(void **state)
{
    struct bench *b = *state;
    char name[16], value[1200];
    memset(value, 'v', sizeof value);
    strcpy(value + sizeof value - 8, "hushhus");
    open_store(b);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "n%d", i);
        keep(b, "s", "a", name, value, i);
    }
    close_store(b);
    assert_true(is_in(b->file, "hushhus"));
    open_store(b);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "n%d", i);
        keep(b, "s", "a", name, NULL, 0);
    }
    close_store(b);
    assert_false(is_in(b->file, "hushhus"));
    expect_stored(b, "");
}

static void counters_wait_for_company(void **state)
{
    struct bench *b = *state;
    open_store(b);
    int before = commits(b);
    for (int i = 1; i <= 100; i++) {
        count(b, "cherry", i);
        count(b, "plum", i);
        uv_run(&b->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(commits(b) - before, 0);
    store_save_meta(b->store, "what", "takes them along");
    run_until_idle(b);
    assert_int_equal(commits(b) - before, 1);
    assert_int_equal(sql_number(b, "SELECT sum(requests) FROM counter"), 200);
    close_store(b);
}

static void look(uv_timer_t *timer)
{
    struct bench *b = timer->data;
    if (sql_number(b, "SELECT count(*) FROM counter") == 1)
        uv_close((uv_handle_t *)timer, NULL);
}

static void counters_are_written_without_company_too(void **state)
{
    struct bench *b = *state;
    uv_timer_t timer;
    open_store(b);
    uv_timer_init(&b->loop, &timer);
    timer.data = b;
    uv_timer_start(&timer, look, 20, 20); /* until it is there; the test's own time limit else */
    count(b, "cherry", 5);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    close_store(b);
}

static void what_is_saved_is_copied(void **state)
{
    struct bench *b = *state;
    char site[] = "s", account[] = "a", name[] = "token", value[] = "v";
    open_store(b);
    keep(b, "s", "other", "token", "w", 2);
    keep(b, site, account, name, value, 1);
    site[0] = account[0] = name[0] = value[0] = '!';
    close_store(b);
    expect_stored(b, "s/a token=v 1;s/other token=w 2;");
}

/* ---- when it is durable ---- */

static void on_done(void *arg, bool durable)
{
    struct bench *b = arg;
    if (durable)
        b->durable++;
    else
        b->failed++;
    if (durable) /* seen by everybody else who opens the file now */
        assert_int_equal(sql_number(b, "SELECT expires_ms FROM credential WHERE name='token'"), 2);
}

static void done_is_called_when_it_is_on_disk(void **state)
{
    struct bench *b = *state;
    struct store_credential first = {"s", "a", "token", "v1", 2},
                            second = {"s", "a", "token", "v2", 2};
    open_store(b);
    keep(b, "s", "a", "other", "under way", 0);
    store_save_credential_then(b->store, &first, on_done, b);
    store_save_credential_then(b->store, &second, on_done,
                               b); /* replaces the first: both are told */
    assert_int_equal(b->durable, 0);
    run_until_idle(b);
    assert_int_equal(b->durable, 2);
    store_save_credential_then(b->store, &second, on_done, b);
    close_store(b); /* also at the end */
    assert_int_equal(b->durable, 3);
    assert_int_equal(b->failed, 0);
}

static void save_again(void *arg, bool durable)
{
    struct bench *b = arg;
    b->durable += durable;
    keep(b, "s", "a", "second", "w", 4);
}

static void who_is_told_may_save_more(void **state)
{
    struct bench *b = *state;
    struct store_credential first = {"s", "a", "first", "v", 3};
    open_store(b);
    store_save_credential_then(b->store, &first, save_again, b);
    close_store(b);
    assert_int_equal(b->durable, 1);
    expect_stored(b, "s/a first=v 3;s/a second=w 4;");
}

/* What was wrong may be mended while we run: nothing of what was saved meanwhile is lost. */
static void writing_is_tried_again(void **state)
{
    struct bench *b = *state;
    struct fail fail;
    struct store_credential old = {"s", "a", "token", "old", 1};
    fclose(fopen(b->data_dir, "w")); /* a file where the folder should be */
    create(b);
    assert_int_equal(try_open(b, &fail), STORE_UNAVAILABLE);
    assert_non_null(strstr(fail.message, b->data_dir));
    store_save_credential_then(b->store, &old, on_done, b);
    keep(b, "s", "a", "token", "new", 2); /* while the old one is under way */
    keep(b, "s", "a", "other", "v", 3);
    run_until_idle(b);
    assert_int_equal(b->failed, 1);
    assert_int_equal(remove(b->data_dir), 0);
    close_store(b);
    expect_stored(b, "s/a other=v 3;s/a token=new 2;");
}

static void a_folder_that_cannot_be_made_is_survived(void **state)
{
    struct bench *b = *state;
    struct fail fail;
    fclose(fopen(b->data_dir, "w"));
    create(b);
    assert_int_equal(try_open(b, &fail), STORE_UNAVAILABLE);
    keep(b, "s", "a", "token", "v", 1);
    close_store(b);
}

/* The journal holds the same secrets as the file. */
static void journals_are_ours_alone(void **state)
{
    struct bench *b = *state;
    struct stat st;
    mode_t before = umask(0);
    open_store(b);
    keep(b, "s", "a", "token", "v", 1);
    run_until_idle(b); /* written, and the database is still open */
    umask(before);
    static const char *const files[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(stat(beside(b, files[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    close_store(b);
}

/* ---- conversations ---- */

static void save_conversation(struct bench *b, const char *hash, const char *state, int64_t expires)
{
    store_save_conversation(b->store,
                            &(struct store_conversation){hash, "kimi", "me", state, expires, -7});
}

static void conversations_come_in_the_order_of_their_end(void **state)
{
    struct bench *b = *state;
    open_store(b);
    save_conversation(b, "aa", "chat/1", 300);
    save_conversation(b, "bb", "chat/2", 100);
    save_conversation(b, "cc", "chat/3", 200);
    save_conversation(b, "cc", NULL, 0);
    close_store(b);
    expect_stored(b, "bb kimi/me chat/2 100 -7;aa kimi/me chat/1 300 -7;");
    open_store(b);
    store_prune(b->store, 0, 101);
    close_store(b);
    expect_stored(b, "aa kimi/me chat/1 300 -7;");
}

static void a_file_without_conversations_gets_room_for_them(void **state)
{
    struct bench *b = *state;
    open_store(b);
    keep(b, "s", "a", "token", "v", 1);
    close_store(b);
    sql(b, "DROP TABLE conversation; DROP TABLE upload; PRAGMA user_version = 3");
    open_store(b);
    save_conversation(b, "aa", "chat", 1);
    close_store(b);
    expect_stored(b, "s/a token=v 1;aa kimi/me chat 1 -7;");
}

/* ---- uploads ---- */

static void save_upload(struct bench *b, const char *hash, const char *value, int64_t expires)
{
    store_save_upload(b->store, &(struct store_upload){hash, "zai", "me", value, expires});
}

static void uploads_are_kept_forgotten_and_end(void **state)
{
    struct bench *b = *state;
    open_store(b);
    save_upload(b, "aa", "file 1", 300);
    save_upload(b, "bb", "file 2", 100);
    save_upload(b, "cc", "file 3", 200);
    save_upload(b, "cc", NULL, 0);
    close_store(b);
    expect_stored(b, "bb zai/me file 2 100;aa zai/me file 1 300;");
    open_store(b);
    store_prune(b->store, 0, 101);
    close_store(b);
    expect_stored(b, "aa zai/me file 1 300;");
}

static void uploads_are_encrypted_with_a_secret(void **state)
{
    struct bench *b = *state;
    open_store(b);
    save_upload(b, "aa", "a file's name", 300);
    close_store(b);
    assert_int_equal(sql_number(b, "SELECT count(*) FROM upload WHERE value = CAST('a file''s name'"
                                   " AS BLOB)"),
                     1);
    b->secret = "a secret of sixteen characters";
    expect_stored(b, "aa zai/me a file's name 300;");
    open_store(b);
    save_upload(b, "bb", "another", 400);
    close_store(b);
    assert_int_equal(sql_number(b, "SELECT count(*) FROM upload WHERE format = 1"
                                   " AND instr(value, 'another') = 0 AND instr(value, 'name') = 0"),
                     2);
    expect_stored(b, "aa zai/me a file's name 300;bb zai/me another 400;");
}

/* ---- files of other versions, and other people's ---- */

#define FIRST_SCHEMA                                                                               \
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"                                            \
    "CREATE TABLE IF NOT EXISTS held_credential("                                                  \
    " site TEXT NOT NULL, account TEXT NOT NULL, name TEXT NOT NULL,"                              \
    " value TEXT NOT NULL, expires_ms INTEGER NOT NULL,"                                           \
    " PRIMARY KEY(site, account, name)) WITHOUT ROWID;"

static void make_file(struct bench *b, const char *text)
{
    assert_int_equal(mkdir(b->data_dir, 0700), 0);
    sql(b, text);
    assert_int_equal(chmod(b->file, 0600), 0);
}

static void the_first_versions_credentials_are_kept(void **state)
{
    struct bench *b = *state;
    make_file(b, FIRST_SCHEMA "INSERT INTO held_credential VALUES('zai', 'me', 'token', 'ö', 77),"
                              "('zai', 'you', 'guest', 'g', 0);");
    expect_stored(b, "zai/me token=ö 77;zai/you guest=g 0;");
    assert_int_equal(sql_number(b, "PRAGMA user_version"), 5);
    assert_int_equal(
        sql_number(b, "SELECT count(*) FROM sqlite_master WHERE name='held_credential'"), 0);
    expect_stored(b, "zai/me token=ö 77;zai/you guest=g 0;");
}

/* A file that some other program made: its columns may hold nothing. */
static void rows_without_values_are_passed_over(void **state)
{
    struct bench *b = *state;
    make_file(b, "CREATE TABLE held_credential(site, account, name, value, expires_ms);"
                 "INSERT INTO held_credential VALUES('s', 'a', 'none', NULL, 1),"
                 "(NULL, 'a', 'token', 'v', 2), ('s', 'a', 'token', 'v', 3);");
    expect_stored(b, "s/a token=v 3;");
}

/* The file cannot be opened, says why, and holds the same bytes afterwards. */
static void expect_refused(struct bench *b, const char *why)
{
    struct fail fail;
    size_t n, m;
    char *before = read_file(b->file, &n);
    create(b);
    assert_int_equal(try_open(b, &fail), STORE_REFUSED);
    if (!strstr(fail.message, why) || !strstr(fail.message, b->file) ||
        !span_ends(span_str(fail.message),
                   SPAN("`dragoman serve --rebuild` moves it aside and starts anew")))
        fail_msg("\"%s\" does not say \"%s\", the file and what to do", fail.message, why);
    close_store(b);
    char *after = read_file(b->file, &m);
    assert_int_equal(n, m);
    assert_memory_equal(before, after, n);
    free(before);
    free(after);
}

static void a_newer_file_is_refused(void **state)
{
    struct bench *b = *state;
    open_store(b);
    keep(b, "s", "a", "token", "v", 1);
    close_store(b);
    sql(b, "PRAGMA user_version = 6");
    expect_refused(b, "was written by a newer dragoman (version 6, known here: 5)");
    sql(b, "PRAGMA user_version = 5");
    expect_stored(b, "s/a token=v 1;");
}

static void another_programs_file_is_refused(void **state)
{
    struct bench *b = *state;
    make_file(b, "CREATE TABLE song(title); INSERT INTO song VALUES('la la');");
    expect_refused(b, "is not a file of dragoman's");
    sql(b, "PRAGMA user_version = 2");
    expect_refused(b, "is not a file of dragoman's");
}

static void a_file_without_our_tables_is_refused(void **state)
{
    struct bench *b = *state;
    open_store(b);
    close_store(b);
    sql(b, "DROP TABLE counter");
    expect_refused(b, "is damaged (no such table: counter)");
}

/* ---- damage ---- */

static void what_is_no_database_is_refused(void **state)
{
    struct bench *b = *state;
    char text[20000];
    memset(text, 'x', sizeof text);
    assert_int_equal(mkdir(b->data_dir, 0700), 0);
    write_bytes(b->file, text, sizeof text);
    expect_refused(b, "is damaged (file is not a database)");
}

static void fill(struct bench *b)
{
    char name[24], value[1001] = {0};
    memset(value, 'v', sizeof value - 1);
    open_store(b);
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "token%03d", i);
        keep(b, "s", "a", name, value, i);
    }
    close_store(b);
}

/* Whichever page is overwritten: refused; or nothing was lost, for a page that was not in use. */
static void damage_is_found_on_every_page(void **state)
{
    struct bench *b = *state;
    struct fail fail;
    size_t n, unused = 0;
    fill(b);
    char *good = read_file(b->file, &n), *bad = malloc(n + 1);
    open_store(b);
    struct span all = span_of(strndup(b->found.p, b->found.n), b->found.n);
    close_store(b);
    assert_true(n >= 16 * 4096);
    for (size_t page = 0; page < n; page += 4096) {
        memcpy(bad, good, n);
        memset(bad + page, 0xA5, 4096);
        write_bytes(b->file, bad, n);
        create(b);
        enum store_opened opened = try_open(b, &fail);
        close_store(b);
        if (opened == STORE_OPEN) {
            assert_span_equal(buffer_span(&b->found), all);
            unused++;
            continue;
        }
        assert_int_equal(opened, STORE_REFUSED);
        assert_non_null(strstr(fail.message, " is damaged ("));
        size_t m;
        char *after = read_file(b->file, &m);
        assert_int_equal(m, n);
        assert_memory_equal(after, bad, n);
        free(after);
    }
    assert_true(unused <= 2);
    free((char *)(uintptr_t)all.p);
    free(good);
    free(bad);
}

static void a_cut_file_is_refused(void **state)
{
    struct bench *b = *state;
    size_t n;
    fill(b);
    char *good = read_file(b->file, &n);
    static const size_t pages[] = {1, 2, 9};
    for (size_t i = 0; i < 3; i++) {
        write_bytes(b->file, good, pages[i] * 4096);
        expect_refused(b, "is damaged (");
    }
    write_bytes(b->file, good, 50);
    expect_refused(b, "is damaged (");
    free(good);
}

/* ---- starting anew ---- */

static void rebuild(struct bench *b)
{
    struct fail fail;
    create(b);
    if (store_rebuild(b->store, &fail))
        fail_msg("%s", fail.message);
    assert_int_equal(try_open(b, &fail), STORE_OPEN);
    assert_int_equal(b->found.n, 0);
}

static void rebuilding_moves_the_old_file_aside(void **state)
{
    struct bench *b = *state;
    rebuild(b); /* nothing to move */
    close_store(b);
    assert_int_equal(access(beside(b, ".bad-1"), F_OK), -1);
    write_bytes(b->file, "damaged", 7);
    write_bytes(beside(b, "-wal"), "journal", 7);
    rebuild(b);
    keep(b, "s", "a", "token", "new", 1);
    close_store(b);
    assert_true(is_in(beside(b, ".bad-1"), "damaged"));
    assert_true(is_in(beside(b, ".bad-1-wal"), "journal"));
    expect_stored(b, "s/a token=new 1;");
    rebuild(b);
    close_store(b);
    assert_true(is_in(beside(b, ".bad-1"), "damaged"));
    assert_int_equal(access(beside(b, ".bad-2"), F_OK), 0);
    expect_stored(b, "");
}

/* ---- encryption ---- */

static bool anywhere(struct bench *b, const char *text)
{
    return is_in(b->file, text) || is_in(beside(b, "-wal"), text);
}

static void encrypted_credentials_are_not_in_the_file(void **state)
{
    struct bench *b = *state;
    b->secret = SECRET;
    open_store(b);
    keep(b, "s", "a", "token", "a very secret token", 1);
    keep(b, "s", "a", "nothing", "", 2);
    run_until_idle(b);
    assert_false(anywhere(b, "very secret"));
    close_store(b);
    assert_false(anywhere(b, "very secret"));
    expect_stored(b, "s/a nothing= 2;s/a token=a very secret token 1;");
}

static void plain_credentials_are_encrypted_at_the_next_start(void **state)
{
    struct bench *b = *state;
    open_store(b);
    keep(b, "s", "a", "token", "a very secret token", 1);
    keep(b, "s", "b", "token", "another very secret token", 1);
    close_store(b);
    assert_true(anywhere(b, "very secret"));
    b->secret = SECRET;
    open_store(b);
    assert_span_equal(
        buffer_span(&b->found),
        SPAN("s/a token=a very secret token 1;s/b token=another very secret token 1;"));
    assert_false(anywhere(b, "very secret"));
    close_store(b);
    assert_false(anywhere(b, "very secret"));
    expect_stored(b, "s/a token=a very secret token 1;s/b token=another very secret token 1;");
}

static void the_first_versions_credentials_are_encrypted(void **state)
{
    struct bench *b = *state;
    make_file(b, FIRST_SCHEMA "INSERT INTO held_credential VALUES('s', 'a', 't', 'secret!', 7);");
    b->secret = SECRET;
    expect_stored(b, "s/a t=secret! 7;");
    assert_false(anywhere(b, "secret!"));
}

static void another_secret_is_refused(void **state)
{
    struct bench *b = *state;
    b->secret = SECRET;
    open_store(b);
    keep(b, "s", "a", "token", "v", 1);
    close_store(b);
    b->secret = "another secret of the test";
    expect_refused(b, "is encrypted with another server.secret_key than the one given");
    b->secret = "";
    expect_refused(b, "server.secret_key is missing");
    b->secret = SECRET;
    expect_stored(b, "s/a token=v 1;");
}

/* Killed, then refused: what is still in the journal is not carried into the file. */
static void a_refused_file_keeps_its_journal(void **state)
{
    struct bench *b = *state;
    size_t n, m;
    b->secret = SECRET;
    open_store(b);
    keep(b, "s", "a", "token", "v", 1);
    run_until_idle(b);
    char *file = read_file(b->file, &n), *journal = read_file(beside(b, "-wal"), &m);
    close_store(b);
    assert_true(m > 4096);
    write_bytes(b->file, file, n);
    write_bytes(beside(b, "-wal"), journal, m);
    b->secret = "another secret of the test";
    expect_refused(b, "is encrypted with another server.secret_key");
    size_t left;
    char *after = read_file(beside(b, "-wal"), &left);
    assert_int_equal(left, m);
    assert_memory_equal(after, journal, m);
    free(after);
    free(file);
    free(journal);
    b->secret = SECRET;
    expect_stored(b, "s/a token=v 1;");
}

static void encrypted_values_belong_to_their_rows(void **state)
{
    struct bench *b = *state;
    b->secret = SECRET;
    open_store(b);
    keep(b, "s", "a", "token", "mine", 1);
    keep(b, "s", "b", "token", "yours", 1);
    close_store(b);
    sql(b, "UPDATE credential SET value = (SELECT value FROM credential WHERE account = 'b')"
           " WHERE account = 'a'");
    expect_refused(b, "a credential cannot be decrypted");
}

static void the_same_value_is_never_encrypted_alike(void **state)
{
    struct bench *b = *state;
    b->secret = SECRET;
    open_store(b);
    for (int i = 0; i < 2; i++) {
        keep(b, "s", "a", "token", "mine", 1);
        run_until_idle(b);
        sql(b, i ? "DELETE FROM copy WHERE value = (SELECT value FROM credential)"
                 : "CREATE TABLE copy AS SELECT value FROM credential");
    }
    assert_int_equal(sql_number(b, "SELECT count(*) FROM copy"), 1);
    close_store(b);
}

/* ---- two at once ---- */

/* A process of its own holds the lock until it is killed. */
static pid_t hold_lock(struct bench *b)
{
    char path[160], byte;
    int ready[2];
    pid_t nobody;
    snprintf(path, sizeof path, "%s/dragoman.lock", b->data_dir);
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) { /* only system calls here: other threads may have held locks */
        if (data_lock_take(path, &nobody) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_true(child > 0);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void a_second_gateway_is_refused_and_told_of_the_first(void **state)
{
    struct bench *b = *state;
    struct fail fail;
    char who[40];
    open_store(b);
    keep(b, "s", "a", "token", "v", 1);
    close_store(b);
    pid_t child = hold_lock(b);
    snprintf(who, sizeof who, "(process %ld)", (long)child);
    create(b);
    assert_int_equal(try_open(b, &fail), STORE_REFUSED);
    assert_non_null(strstr(fail.message, who));
    assert_non_null(strstr(fail.message, b->data_dir));
    assert_int_equal(store_rebuild(b->store, &fail), -1); /* nor is its file taken away */
    close_store(b);
    assert_int_equal(access(b->file, F_OK), 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    expect_stored(b, "s/a token=v 1;"); /* nothing stale is left */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_unopened_store_makes_nothing),
        TEST(what_was_saved_is_found),
        TEST(every_kind_of_row_is_found),
        TEST(many_writes_keep_their_order),
        TEST(saves_that_wait_are_written_together),
        TEST(a_forgotten_credential_is_gone),
        TEST(counters_wait_for_company),
        TEST(counters_are_written_without_company_too),
        TEST(what_is_saved_is_copied),
        TEST(done_is_called_when_it_is_on_disk),
        TEST(who_is_told_may_save_more),
        TEST(writing_is_tried_again),
        TEST(a_folder_that_cannot_be_made_is_survived),
        TEST(journals_are_ours_alone),
        TEST(conversations_come_in_the_order_of_their_end),
        TEST(a_file_without_conversations_gets_room_for_them),
        TEST(uploads_are_kept_forgotten_and_end),
        TEST(uploads_are_encrypted_with_a_secret),
        TEST(the_first_versions_credentials_are_kept),
        TEST(rows_without_values_are_passed_over),
        TEST(a_newer_file_is_refused),
        TEST(another_programs_file_is_refused),
        TEST(a_file_without_our_tables_is_refused),
        TEST(what_is_no_database_is_refused),
        TEST(damage_is_found_on_every_page),
        TEST(a_cut_file_is_refused),
        TEST(rebuilding_moves_the_old_file_aside),
        TEST(encrypted_credentials_are_not_in_the_file),
        TEST(plain_credentials_are_encrypted_at_the_next_start),
        TEST(the_first_versions_credentials_are_encrypted),
        TEST(another_secret_is_refused),
        TEST(a_refused_file_keeps_its_journal),
        TEST(encrypted_values_belong_to_their_rows),
        TEST(the_same_value_is_never_encrypted_alike),
        TEST(a_second_gateway_is_refused_and_told_of_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
