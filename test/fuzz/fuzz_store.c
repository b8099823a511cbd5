/*
 * test/fuzz/fuzz_store.c - a data directory that something else wrote to: rows with any contents,
 * and a file with bytes of it changed.
 *
 * First byte even: lines, each a row (TABLE and the columns' values, apart by TABs; a value that
 * begins with # is a number, with @ a blob, with ! NULL). Odd: five bytes each time, four that say
 * where in a good file and the one that is put there. Bit 1: credentials are to be sealed. What
 * must hold: no finding; opened, unavailable or refused with a sentence; what is read is text.
 */
#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "gateway/store_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/fuzz-store-XXXXXX";
static char path[64];
static struct buffer good[2]; /* the bytes of a file with rows; the second is of a sealed one */

static void remove_files(void)
{
    static const char *const ends[] = {"", "-journal", "-wal", "-shm"};
    char name[96];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

static void remove_folder(void)
{
    char lock[96];
    remove_files();
    snprintf(lock, sizeof lock, "%s/lock", folder);
    unlink(lock);
    rmdir(folder);
    buffer_free(&good[0]);
    buffer_free(&good[1]);
}

static void look_at(void *owner, const struct store_row *row)
{
    const struct store_shape *shape = &store_shapes[row->table];
    size_t n = 0;
    for (int i = 0; i < shape->texts; i++)
        n += strlen(row->text[i]);
    assert(n < 1 << 24);
}

static void open_it(bool sealed)
{
    struct fail fail = {0};
    struct store_file *f = store_file_create(
        span_str(folder), sealed ? SPAN("a secret that is long enough") : SPAN(""));
    assert(f);
    enum store_opened opened = store_file_open(f, &fail);
    if (opened == STORE_OPEN)
        opened = store_file_read(f, look_at, NULL, &fail);
    assert(opened == STORE_OPEN || fail.message[0]);
    if (store_file_is_open(f)) {
        struct stored_response found;
        if (store_file_find_response(f, "resp_1", "k", 1, &found) == 1) {
            free(found.previous);
            free(found.body);
        }
    }
    store_file_destroy(f);
}

static void write_bytes(struct span bytes)
{
    FILE *f = fopen(path, "wbe");
    if (!f)
        abort();
    fwrite(bytes.p, 1, bytes.n, f);
    fclose(f);
    chmod(path, 0600);
}

static void read_bytes(struct buffer *to)
{
    char piece[4096];
    size_t n;
    FILE *f = fopen(path, "rbe");
    if (!f)
        abort();
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buffer_append(to, span_of(piece, n));
    fclose(f);
}

static void execute(const char *sql)
{
    sqlite3 *db;
    if (sqlite3_open(path, &db) || sqlite3_exec(db, sql, NULL, NULL, NULL))
        abort();
    sqlite3_close(db);
}

static void make_good(void)
{
    if (path[0])
        return;
    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof path, "%s/dragoman.db", folder);
    atexit(remove_folder);
    buffer_init(&good[0], 1 << 24);
    buffer_init(&good[1], 1 << 24);
    open_it(false);
    execute("INSERT INTO credential VALUES('s','a','token','secret',1,0);"
            "INSERT INTO account VALUES('s','a','','cooling','',1,1,1);"
            "INSERT INTO counter VALUES('key','k',1,1,1,1);"
            "INSERT INTO models VALUES('s','[]',1);"
            "INSERT INTO response VALUES('resp_1','k','',1,2,3,0,'{}');"
            "INSERT INTO conversation VALUES('00','s','a','x',1,1);"
            "INSERT INTO upload VALUES('00','s','a','x',1,0);"
            "PRAGMA wal_checkpoint(TRUNCATE);");
    read_bytes(&good[0]);
    open_it(true);
    execute("PRAGMA wal_checkpoint(TRUNCATE);");
    read_bytes(&good[1]);
}

/* Values that do not fit are no row. */
static void insert(sqlite3 *db, struct span line)
{
    static const char *const tables[] = {"credential", "account",  "counter",      "models", "meta",
                                         "seal",       "response", "conversation", "upload"};
    struct span value;
    struct buffer sql;
    sqlite3_stmt *st = NULL;
    if (!line.n)
        return;
    buffer_init(&sql, 1 << 20);
    buffer_printf(&sql, "INSERT OR REPLACE INTO %s VALUES(",
                  tables[(unsigned char)line.p[0] % (sizeof tables / sizeof *tables)]);
    struct span rest = span_from(line, 1);
    for (int n = 0; n < 12 && span_split(&rest, '\t', &value); n++)
        buffer_append(&sql, n ? SPAN(",?") : SPAN("?"));
    buffer_append(&sql, SPAN(")"));
    buffer_char(&sql, '\0');
    if (!sql.error && sqlite3_prepare_v2(db, sql.p, -1, &st, NULL) == SQLITE_OK) {
        rest = span_from(line, 1);
        for (int n = 1; n <= 12 && span_split(&rest, '\t', &value); n++) {
            uint64_t number = 0;
            if (value.n && value.p[0] == '#') {
                if (!span_to_u64(span_from(value, 1), INT64_MAX, &number))
                    number = span_hash(0, value);
                sqlite3_bind_int64(st, n, (int64_t)number);
            } else if (value.n && value.p[0] == '@')
                sqlite3_bind_blob(st, n, value.p + 1, (int)value.n - 1, SQLITE_TRANSIENT);
            else if (!value.n || value.p[0] != '!')
                sqlite3_bind_text(st, n, value.n ? value.p : "", (int)value.n, SQLITE_TRANSIENT);
        }
        sqlite3_step(st);
    }
    sqlite3_finalize(st);
    buffer_free(&sql);
}

static void insert_rows(struct span rows)
{
    sqlite3 *db;
    struct span line;
    if (sqlite3_open(path, &db))
        abort();
    sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
    for (int n = 0; n < 64 && span_split(&rows, '\n', &line); n++)
        insert(db, line);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer bytes;
    if (size < 2)
        return 0;
    make_good();
    remove_files();
    buffer_init(&bytes, 1 << 24);
    buffer_append(&bytes, buffer_span(&good[data[0] >> 1 & 1]));
    for (size_t i = 1; data[0] & 1 && i + 5 <= size; i += 5) {
        size_t at = (size_t)data[i] << 24 | data[i + 1] << 16 | data[i + 2] << 8 | data[i + 3];
        bytes.p[at % bytes.n] = (char)data[i + 4];
    }
    write_bytes(buffer_span(&bytes));
    buffer_free(&bytes);
    if (!(data[0] & 1))
        insert_rows(span_of((const char *)data + 1, size - 1));
    open_it(data[0] & 2);
    return 0;
}
