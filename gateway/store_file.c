/*
 * gateway/store_file.c - see store_file.h.
 *
 * The hard part is to open without doing harm. Until a file is known to be whole, of a version that
 * we know, and ours to read, nothing is written to it: SQLite's checkpoint at closing, which would
 * carry the journal into it, is off until then.
 */
#include "gateway/store_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "gateway/clock.h"
#include "gateway/data_lock.h"
#include "gateway/folder.h"
#include "gateway/seal.h"

enum {
    APPLICATION_ID = 0x6472676D, /* "drgm", in the file's head */
    BUSY_MS = 2000,              /* somebody looks at the file with another program */
    ASIDE_MAX = 10000,
    BOUND_MAX = 1 << 20 /* names of site, account and credential together */
};

enum { FORMAT_PLAIN, FORMAT_AES_256_GCM };

struct store_file {
    char *data_dir, *path, *lock_path;
    char *secret;
    size_t n_secret;
    sqlite3 *db;
    int lock;
    bool sealing; /* there is a secret, and `key` is made from it */
    struct seal_key key;
};

/* ---- versions ---- */

/* migrations[i] makes version i + 1 of version i; all that are missing run in one transaction.
 * Never edit one that was released: add the next. Version 1 is what was written before files had a
 * version: it may already be there. */
static const char *const migrations[] = {
    "CREATE TABLE IF NOT EXISTS held_credential("
    " site TEXT NOT NULL, account TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,"
    " expires_ms INTEGER NOT NULL, PRIMARY KEY(site, account, name)) WITHOUT ROWID;",

    "CREATE TABLE credential("
    " site TEXT NOT NULL, account TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,"
    " expires_ms INTEGER NOT NULL, format INTEGER NOT NULL CHECK(format IN (0, 1)),"
    " PRIMARY KEY(site, account, name)) WITHOUT ROWID;"
    "INSERT OR REPLACE INTO credential"
    " SELECT site, account, name, CAST(value AS BLOB), ifnull(expires_ms, 0), 0"
    " FROM held_credential WHERE site IS NOT NULL AND account IS NOT NULL AND name IS NOT NULL"
    " AND value IS NOT NULL;"
    "DROP TABLE held_credential;"
    "CREATE TABLE seal("
    " id INTEGER PRIMARY KEY CHECK(id = 1), salt BLOB NOT NULL, proof BLOB NOT NULL);"
    "CREATE TABLE account("
    " site TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL, state TEXT NOT NULL,"
    " error TEXT NOT NULL, until_ms INTEGER NOT NULL, strikes INTEGER NOT NULL,"
    " changed_ms INTEGER NOT NULL, PRIMARY KEY(site, account, model)) WITHOUT ROWID;"
    "CREATE TABLE counter("
    " kind TEXT NOT NULL, name TEXT NOT NULL, day INTEGER NOT NULL, requests INTEGER NOT NULL,"
    " tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,"
    " PRIMARY KEY(kind, name, day)) WITHOUT ROWID;"
    "CREATE TABLE models("
    " site TEXT PRIMARY KEY, json TEXT NOT NULL, fetched_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "PRAGMA application_id = 1685219181;",

    "CREATE TABLE response("
    " id TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL, previous TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " format INTEGER NOT NULL CHECK(format IN (0, 1)), body BLOB NOT NULL);"
    "CREATE INDEX response_end ON response(expires_ms, bytes, id);",

    "CREATE TABLE conversation("
    " hash TEXT PRIMARY KEY, site TEXT NOT NULL, account TEXT NOT NULL, state TEXT NOT NULL,"
    " expires_ms INTEGER NOT NULL, credentials INTEGER NOT NULL) WITHOUT ROWID;",

    "CREATE TABLE upload("
    " hash TEXT NOT NULL, site TEXT NOT NULL, account TEXT NOT NULL, value BLOB NOT NULL,"
    " expires_ms INTEGER NOT NULL, format INTEGER NOT NULL CHECK(format IN (0, 1)),"
    " PRIMARY KEY(hash, site, account)) WITHOUT ROWID;",
};

enum { LATEST = sizeof migrations / sizeof migrations[0] };

/* ---- tables ---- */

const struct store_shape store_shapes[TABLE_COUNT] = {
    [TABLE_CREDENTIAL] = {.texts = 4, .numbers = 1, .key_texts = 3},
    [TABLE_ACCOUNT] = {.texts = 5, .numbers = 3, .key_texts = 3},
    [TABLE_COUNTER] = {.texts = 2, .numbers = 4, .key_texts = 2, .key_numbers = 1},
    [TABLE_MODELS] = {.texts = 2, .numbers = 1, .key_texts = 1},
    [TABLE_META] = {.texts = 2, .numbers = 0, .key_texts = 1},
    [TABLE_RESPONSE] = {.texts = 4, .numbers = 2, .key_texts = 1},
    [TABLE_CONVERSATION] = {.texts = 4, .numbers = 2, .key_texts = 1},
    [TABLE_UPLOAD] = {.texts = 4, .numbers = 1, .key_texts = 3},
};

/* Columns and parameters: the texts, then the numbers; the format of what may be sealed is the
 * last. Without `read` the rows are looked up one by one. */
static const struct {
    const char *put, *forget, *read;
} statements[TABLE_COUNT] = {
    [TABLE_CREDENTIAL] = {"INSERT OR REPLACE INTO credential(site, account, name, value,"
                          " expires_ms, format) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                          "DELETE FROM credential WHERE site = ?1 AND account = ?2 AND name = ?3",
                          "SELECT site, account, name, value, expires_ms, format FROM credential"},
    [TABLE_ACCOUNT] = {"INSERT OR REPLACE INTO account(site, account, model, state, error,"
                       " until_ms, strikes, changed_ms) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                       "DELETE FROM account WHERE site = ?1 AND account = ?2 AND model = ?3",
                       "SELECT site, account, model, state, error, until_ms, strikes, changed_ms"
                       " FROM account"},
    [TABLE_COUNTER] = {"INSERT OR REPLACE INTO counter(kind, name, day, requests, tokens_in,"
                       " tokens_out) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                       "DELETE FROM counter WHERE kind = ?1 AND name = ?2 AND day = ?3",
                       "SELECT kind, name, day, requests, tokens_in, tokens_out FROM counter"},
    [TABLE_MODELS] = {"INSERT OR REPLACE INTO models(site, json, fetched_ms) VALUES(?1, ?2, ?3)",
                      "DELETE FROM models WHERE site = ?1",
                      "SELECT site, json, fetched_ms FROM models"},
    [TABLE_META] = {"INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)",
                    "DELETE FROM meta WHERE name = ?1", "SELECT name, value FROM meta"},
    [TABLE_RESPONSE] = {"INSERT OR REPLACE INTO response(id, owner, previous, body, created_ms,"
                        " expires_ms, format, bytes)"
                        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, length(?4))",
                        "DELETE FROM response WHERE id = ?1", NULL},
    [TABLE_CONVERSATION] = {"INSERT OR REPLACE INTO conversation(hash, site, account, state,"
                            " expires_ms, credentials) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                            "DELETE FROM conversation WHERE hash = ?1",
                            "SELECT hash, site, account, state, expires_ms, credentials"
                            " FROM conversation ORDER BY expires_ms"},
    [TABLE_UPLOAD] = {"INSERT OR REPLACE INTO upload(hash, site, account, value, expires_ms,"
                      " format) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                      "DELETE FROM upload WHERE hash = ?1 AND site = ?2 AND account = ?3",
                      "SELECT hash, site, account, value, expires_ms, format FROM upload"
                      " ORDER BY expires_ms"},
};

/* ---- life ---- */

struct store_file *store_file_create(struct span data_dir, struct span secret)
{
    struct store_file *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->lock = -1;
    f->n_secret = secret.n;
    f->secret = malloc(secret.n + 1);
    if (f->secret && secret.n)
        memcpy(f->secret, secret.p, secret.n);
    f->data_dir = strndup(data_dir.p, data_dir.n);
    if (!f->secret || !f->data_dir || asprintf(&f->path, "%s/dragoman.db", f->data_dir) < 0) {
        f->path = NULL;
    } else if (asprintf(&f->lock_path, "%s/dragoman.lock", f->data_dir) < 0) {
        f->lock_path = NULL;
    }
    if (!f->path || !f->lock_path) {
        store_file_destroy(f);
        return NULL;
    }
    return f;
}

void store_file_destroy(struct store_file *f)
{
    if (!f)
        return;
    store_file_close(f);
    if (f->secret)
        explicit_bzero(f->secret, f->n_secret);
    free(f->secret);
    free(f->data_dir);
    free(f->path);
    free(f->lock_path);
    free(f);
}

const char *store_file_path(const struct store_file *f) { return f->path; }

bool store_file_is_open(const struct store_file *f) { return f->db != NULL; }

void store_file_close(struct store_file *f)
{
    sqlite3_close(f->db);
    f->db = NULL;
    data_lock_release(f->lock);
    f->lock = -1;
    f->sealing = false;
    explicit_bzero(&f->key, sizeof f->key);
}

/* ---- what may go wrong ---- */

static enum store_opened refuse(const struct store_file *f, struct fail *fail, const char *what)
{
    fail_set(fail, FAIL_INTERNAL, "%s %s", f->path, what);
    fail_add(fail, "; it is left as it was. "
                   "`dragoman serve --rebuild` moves it aside and starts anew");
    return STORE_REFUSED;
}

static enum store_opened damaged(const struct store_file *f, struct fail *fail, const char *reason)
{
    char what[120];
    snprintf(what, sizeof what, "is damaged (%.80s)", reason);
    for (char *p = what; *p; p++)
        *p = *p == '\n' ? ' ' : *p;
    return refuse(f, fail, what);
}

static enum store_opened unavailable(const char *path, struct fail *fail, const char *what,
                                     const char *reason)
{
    fail_set(fail, FAIL_INTERNAL, "%s: %s: %s", path, what, reason);
    return STORE_UNAVAILABLE;
}

/* After a failure of SQLite's: is it the file, or the world around it? */
static enum store_opened database_problem(const struct store_file *f, struct fail *fail,
                                          const char *what)
{
    switch (sqlite3_errcode(f->db)) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* tables that are not as we left them */
    case SQLITE_SCHEMA:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH: return damaged(f, fail, sqlite3_errmsg(f->db));
    default: return unavailable(f->path, fail, what, sqlite3_errmsg(f->db));
    }
}

/* ---- opening ---- */

static enum store_opened take_lock(struct store_file *f, struct fail *fail)
{
    pid_t holder;
    if (f->lock >= 0)
        return STORE_OPEN;
    if (folder_make(f->data_dir))
        return unavailable(f->data_dir, fail, "cannot make the data directory", strerror(errno));
    f->lock = data_lock_take(f->lock_path, &holder);
    if (f->lock == DATA_LOCK_FAILED)
        return unavailable(f->lock_path, fail, "cannot lock it", strerror(errno));
    if (f->lock != DATA_LOCK_HELD)
        return STORE_OPEN;
    char who[64] = "in another container or on another machine";
    if (holder)
        snprintf(who, sizeof who, "process %ld", (long)holder);
    fail_set(fail, FAIL_INTERNAL,
             "another dragoman (%s) works on %s: stop it, or give this one its own "
             "server.data_dir",
             who, f->data_dir);
    return STORE_REFUSED;
}

static int execute(struct store_file *f, const char *sql)
{
    return sqlite3_exec(f->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

static int query_number(struct store_file *f, const char *sql, int64_t *value)
{
    sqlite3_stmt *st;
    if (sqlite3_prepare_v2(f->db, sql, -1, &st, NULL) != SQLITE_OK)
        return -1;
    bool found = sqlite3_step(st) == SQLITE_ROW;
    if (found)
        *value = sqlite3_column_int64(st, 0);
    return sqlite3_finalize(st) == SQLITE_OK && found ? 0 : -1;
}

static enum store_opened open_handle(struct store_file *f, struct fail *fail)
{
    /* Made by us, so that file and journals (SQLite gives them the file's mode) are ours alone. */
    int fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    if (sqlite3_open_v2(f->path, &f->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        return database_problem(f, fail, "cannot open it");
    sqlite3_db_config(f->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_busy_timeout(f->db, BUSY_MS);
    return STORE_OPEN;
}

/* Of a version that we know, and ours? */
static enum store_opened check_version(struct store_file *f, struct fail *fail, int64_t *version)
{
    char what[120];
    int64_t application = 0, foreign = 0;
    if (query_number(f, "PRAGMA user_version", version) ||
        query_number(f, "PRAGMA application_id", &application) ||
        query_number(f, "SELECT count(*) FROM sqlite_master WHERE tbl_name <> 'held_credential'",
                     &foreign))
        return database_problem(f, fail, "cannot read it");
    bool ours = *version == 0 || *version == 1 ? application == 0 && (*version || !foreign)
                                               : application == APPLICATION_ID;
    if (!ours)
        return refuse(f, fail, "is not a file of dragoman's");
    if (*version >= 0 && *version <= LATEST)
        return STORE_OPEN;
    snprintf(what, sizeof what, "was written by a newer dragoman (version %lld, known here: %d)",
             (long long)*version, (int)LATEST);
    return refuse(f, fail, what);
}

/* Every page is looked at: the file is small, and damage is better found now than in the middle of
 * the day. */
static enum store_opened check_pages(struct store_file *f, struct fail *fail)
{
    sqlite3_stmt *st = NULL;
    enum store_opened result = STORE_OPEN;
    if (sqlite3_prepare_v2(f->db, "PRAGMA quick_check(1)", -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW) {
        const char *found = (const char *)sqlite3_column_text(st, 0);
        if (!found)
            result = unavailable(f->path, fail, "cannot check it", "out of memory");
        else if (strcmp(found, "ok") != 0)
            result = damaged(f, fail, found);
    } else {
        result = database_problem(f, fail, "cannot check it");
    }
    sqlite3_finalize(st);
    return result;
}

/* BEGIN … COMMIT around `work`. */
static int transact(struct store_file *f, int (*work)(struct store_file *, const void *),
                    const void *arg)
{
    if (execute(f, "BEGIN IMMEDIATE"))
        return -1;
    return work(f, arg) || execute(f, "COMMIT") ? -1 : 0;
}

/* After a failure whose reason was read. */
static void roll_back(struct store_file *f)
{
    if (!sqlite3_get_autocommit(f->db))
        execute(f, "ROLLBACK");
}

static int migrate(struct store_file *f, const void *version)
{
    char pragma[40];
    for (int64_t v = *(const int64_t *)version; v < LATEST; v++) {
        if (execute(f, migrations[v]))
            return -1;
    }
    snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d", (int)LATEST);
    return execute(f, pragma);
}

static enum store_opened bring_up_to_date(struct store_file *f, int64_t version, struct fail *fail)
{
    /* secure_delete: a token that was replaced or encrypted is overwritten with zeros. */
    if (execute(f,
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
                "PRAGMA temp_store = MEMORY;") ||
        (version < LATEST && transact(f, migrate, &version))) {
        enum store_opened result = database_problem(f, fail, "cannot bring it up to date");
        roll_back(f);
        return result;
    }
    return STORE_OPEN;
}

/* ---- encryption ---- */

static const struct span proof_bound = SPAN_INIT("proof");
static const struct span proof_text = SPAN_INIT("dragoman");

/* What a value belongs to, in one unambiguous run of bytes. */
static void append_bound(struct buffer *b, const char *const text[3], int64_t expires_ms)
{
    for (int i = 0; i < 3; i++) {
        assert(text[i]);
        buffer_printf(b, "%zu:", strlen(text[i]));
        buffer_append(b, span_str(text[i]));
    }
    buffer_printf(b, "%lld", (long long)expires_ms);
}

/* malloc'd, value.n + SEAL_EXTRA bytes; NULL when memory is short. */
static unsigned char *seal_value(const struct store_file *f, const char *const text[3],
                                 int64_t expires_ms, struct span value)
{
    struct buffer bound;
    unsigned char nonce[SEAL_NONCE], *sealed = malloc(value.n + SEAL_EXTRA);
    buffer_init(&bound, BOUND_MAX);
    append_bound(&bound, text, expires_ms);
    clock_random(NULL, nonce, sizeof nonce);
    if (sealed && (bound.error || seal_text(&f->key, nonce, buffer_span(&bound), value, sealed))) {
        free(sealed);
        sealed = NULL;
    }
    buffer_free(&bound);
    return sealed;
}

/* `*text_out` malloc'd and NUL-terminated. 0, SEAL_FOREIGN (not sealed with our key for this row)
 * or SEAL_NOMEM; then it is NULL. */
static int unseal_value(const struct store_file *f, const char *const text[3], int64_t expires_ms,
                        struct span sealed, char **text_out)
{
    struct buffer bound;
    *text_out = NULL;
    if (!f->sealing || sealed.n < SEAL_EXTRA)
        return SEAL_FOREIGN;
    char *value = malloc(sealed.n - SEAL_EXTRA + 1);
    buffer_init(&bound, BOUND_MAX);
    append_bound(&bound, text, expires_ms);
    int rc = !value || bound.error == BUFFER_NOMEM ? SEAL_NOMEM
             : bound.error                         ? SEAL_FOREIGN
                           : seal_open(&f->key, buffer_span(&bound), sealed, value);
    buffer_free(&bound);
    if (rc) {
        free(value);
        return rc;
    }
    value[sealed.n - SEAL_EXTRA] = '\0';
    *text_out = value;
    return 0;
}

/* SQL: sealed(site, account, name, expires_ms, value). */
static void sql_sealed(sqlite3_context *context, int n, sqlite3_value **values)
{
    const char *text[3];
    for (int i = 0; i < 3; i++)
        text[i] = (const char *)sqlite3_value_text(values[i]);
    const char *value = sqlite3_value_blob(values[4]);
    size_t length = (size_t)sqlite3_value_bytes(values[4]);
    unsigned char *sealed = text[0] && text[1] && text[2]
                                ? seal_value(sqlite3_user_data(context), text,
                                             sqlite3_value_int64(values[3]), span_of(value, length))
                                : NULL;
    if (sealed)
        sqlite3_result_blob64(context, sealed, length + SEAL_EXTRA, free);
    else
        sqlite3_result_error_nomem(context);
}

static int seal_what_is_plain(struct store_file *f)
{
    return sqlite3_create_function(f->db, "sealed", 5, SQLITE_UTF8 | SQLITE_DIRECTONLY, f,
                                   sql_sealed, NULL, NULL) == SQLITE_OK
               ? execute(f, "UPDATE credential SET format = 1,"
                            " value = sealed(site, account, name, expires_ms, value)"
                            " WHERE format = 0;"
                            "UPDATE upload SET format = 1,"
                            " value = sealed(hash, site, account, expires_ms, value)"
                            " WHERE format = 0;"
                            "UPDATE response SET format = 1,"
                            " body = sealed(id, owner, previous, created_ms, body)"
                            " WHERE format = 0")
               : -1;
}

/* The first start with a secret: salt and proof, then the rows. */
static int begin_sealing(struct store_file *f, const void *salt)
{
    unsigned char nonce[SEAL_NONCE], proof[sizeof "dragoman" - 1 + SEAL_EXTRA];
    sqlite3_stmt *st;
    clock_random(NULL, nonce, sizeof nonce);
    if (seal_text(&f->key, nonce, proof_bound, proof_text, proof) ||
        sqlite3_prepare_v2(f->db, "INSERT INTO seal VALUES(1, ?1, ?2)", -1, &st, NULL) != SQLITE_OK)
        return -1;
    sqlite3_bind_blob(st, 1, salt, SEAL_SALT, SQLITE_STATIC);
    sqlite3_bind_blob(st, 2, proof, sizeof proof, SQLITE_STATIC);
    sqlite3_step(st);
    return sqlite3_finalize(st) == SQLITE_OK ? seal_what_is_plain(f) : -1;
}

static int go_on_sealing(struct store_file *f, const void *nothing)
{
    return seal_what_is_plain(f);
}

/* 1: there is a salt and a proof, 0: none, -1: damage or an error of SQLite's. */
static int read_seal(struct store_file *f, unsigned char salt[SEAL_SALT],
                     char proof[SEAL_EXTRA + sizeof "dragoman"])
{
    sqlite3_stmt *st;
    if (sqlite3_prepare_v2(f->db, "SELECT salt, proof FROM seal", -1, &st, NULL) != SQLITE_OK)
        return -1;
    int found = 0;
    if (sqlite3_step(st) == SQLITE_ROW) {
        bool fits = sqlite3_column_bytes(st, 0) == SEAL_SALT &&
                    (size_t)sqlite3_column_bytes(st, 1) == SEAL_EXTRA + proof_text.n;
        found = fits ? 1 : -1;
        if (fits) {
            memcpy(salt, sqlite3_column_blob(st, 0), SEAL_SALT);
            memcpy(proof, sqlite3_column_blob(st, 1), SEAL_EXTRA + proof_text.n);
        }
    }
    return sqlite3_finalize(st) == SQLITE_OK ? found : -1;
}

static enum store_opened prepare_sealing(struct store_file *f, struct fail *fail)
{
    unsigned char salt[SEAL_SALT];
    char proof[SEAL_EXTRA + sizeof "dragoman"], text[sizeof "dragoman"];
    int before = sqlite3_total_changes(f->db), found = read_seal(f, salt, proof);
    if (found < 0)
        return sqlite3_errcode(f->db) == SQLITE_OK
                   ? damaged(f, fail, "what belongs to its encryption is not whole")
                   : database_problem(f, fail, "cannot read it");
    if (f->n_secret == 0)
        return found ? refuse(f, fail, "holds encrypted credentials: server.secret_key is missing")
                     : STORE_OPEN;
    if (!found)
        clock_random(NULL, salt, sizeof salt);
    if (seal_key_derive(&f->key, span_of(f->secret, f->n_secret), salt))
        return unavailable(f->path, fail, "cannot make its key", "out of memory");
    int proved =
        found ? seal_open(&f->key, proof_bound, span_of(proof, SEAL_EXTRA + proof_text.n), text)
              : 0;
    if (proved == SEAL_NOMEM)
        return unavailable(f->path, fail, "cannot try its key", "out of memory");
    if (proved)
        return refuse(f, fail, "is encrypted with another server.secret_key than the one given");
    f->sealing = true;
    int rc = found ? transact(f, go_on_sealing, NULL) : transact(f, begin_sealing, salt);
    /* The journal may still hold in plain what was encrypted now: empty it. */
    if (rc == 0 && sqlite3_total_changes(f->db) != before)
        rc = execute(f, "PRAGMA wal_checkpoint(TRUNCATE)");
    if (rc) {
        enum store_opened result = database_problem(f, fail, "cannot encrypt its credentials");
        roll_back(f);
        return result;
    }
    return STORE_OPEN;
}

enum store_opened store_file_open(struct store_file *f, struct fail *fail)
{
    int64_t version = 0;
    if (f->db)
        return STORE_OPEN;
    enum store_opened result = take_lock(f, fail);
    if (result == STORE_OPEN)
        result = open_handle(f, fail);
    if (result == STORE_OPEN)
        result = check_version(f, fail, &version);
    if (result == STORE_OPEN)
        result = check_pages(f, fail);
    if (result == STORE_OPEN)
        result = bring_up_to_date(f, version, fail);
    if (result == STORE_OPEN)
        result = prepare_sealing(f, fail);
    if (result == STORE_OPEN)
        sqlite3_db_config(f->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    else
        store_file_close(f);
    return result;
}

/* ---- moving aside ---- */

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

int store_file_move_aside(struct store_file *f, char *aside, size_t size, struct fail *fail)
{
    static const char *const parts[] = {"-wal", "-shm", ""}; /* the file itself last */
    aside[0] = '\0';
    if (take_lock(f, fail) != STORE_OPEN)
        return -1;
    if (!is_there(f->path))
        return 0;
    for (int n = 1; n < ASIDE_MAX; n++) {
        bool taken = false;
        char from[4200], to[4200];
        snprintf(aside, size, "%s.bad-%d", f->path, n);
        for (int i = 0; i < 3; i++) {
            snprintf(to, sizeof to, "%s%s", aside, parts[i]);
            taken |= is_there(to);
        }
        if (taken)
            continue;
        for (int i = 0; i < 3; i++) {
            snprintf(from, sizeof from, "%s%s", f->path, parts[i]);
            snprintf(to, sizeof to, "%s%s", aside, parts[i]);
            if (rename(from, to) && errno != ENOENT)
                return fail_set(fail, FAIL_INTERNAL, "cannot move %s aside: %s", from,
                                strerror(errno));
        }
        return 0;
    }
    return fail_set(fail, FAIL_INTERNAL, "cannot move %s aside: there are too many %s.bad-N",
                    f->path, f->path);
}

/* ---- rows ---- */

/* 1: `row` is filled, 0: passed over (an empty column), SEAL_FOREIGN: its value cannot be
 * decrypted, SEAL_NOMEM. `*unsealed` is the caller's to clear and free. */
static int read_row(const struct store_file *f, sqlite3_stmt *st, struct store_row *row,
                    char **unsealed)
{
    const struct store_shape *shape = &store_shapes[row->table];
    *unsealed = NULL;
    for (int i = 0; i < shape->texts; i++) {
        row->text[i] = (const char *)sqlite3_column_text(st, i);
        if (!row->text[i])
            return sqlite3_column_type(st, i) == SQLITE_NULL ? 0 : SEAL_NOMEM;
    }
    for (int i = 0; i < shape->numbers; i++)
        row->number[i] = sqlite3_column_int64(st, shape->texts + i);
    bool may_be_sealed = row->table == TABLE_CREDENTIAL || row->table == TABLE_UPLOAD;
    if (may_be_sealed && sqlite3_column_int(st, 5) == FORMAT_AES_256_GCM) {
        struct span sealed = span_of(row->text[3], (size_t)sqlite3_column_bytes(st, 3));
        int rc = unseal_value(f, row->text, row->number[0], sealed, unsealed);
        if (rc)
            return rc;
        row->text[3] = *unsealed;
    }
    return 1;
}

static enum store_opened read_table(struct store_file *f, enum store_table table,
                                    void (*found)(void *, const struct store_row *), void *owner,
                                    struct fail *fail)
{
    sqlite3_stmt *st;
    enum store_opened result = STORE_OPEN;
    if (!statements[table].read)
        return STORE_OPEN;
    if (sqlite3_prepare_v2(f->db, statements[table].read, -1, &st, NULL) != SQLITE_OK)
        return database_problem(f, fail, "cannot read it");
    int rc;
    while (result == STORE_OPEN && (rc = sqlite3_step(st)) != SQLITE_DONE) {
        struct store_row row = {.table = table};
        char *unsealed = NULL;
        int got = rc == SQLITE_ROW ? read_row(f, st, &row, &unsealed) : 0;
        if (rc != SQLITE_ROW)
            result = database_problem(f, fail, "cannot read all of it");
        else if (got == SEAL_NOMEM)
            result = unavailable(f->path, fail, "cannot read all of it", "out of memory");
        else if (got < 0)
            result = damaged(f, fail, "a credential cannot be decrypted");
        else if (got > 0)
            found(owner, &row);
        if (unsealed)
            explicit_bzero(unsealed, strlen(unsealed));
        free(unsealed);
    }
    sqlite3_finalize(st);
    return result;
}

enum store_opened store_file_read(struct store_file *f,
                                  void (*found)(void *, const struct store_row *), void *owner,
                                  struct fail *fail)
{
    enum store_opened result = STORE_OPEN;
    for (int table = 0; table < TABLE_COUNT && result == STORE_OPEN; table++)
        result = read_table(f, (enum store_table)table, found, owner, fail);
    return result;
}

static void bind_key(sqlite3_stmt *st, const struct store_row *row)
{
    const struct store_shape *shape = &store_shapes[row->table];
    for (int i = 0; i < shape->key_texts; i++)
        sqlite3_bind_text(st, i + 1, row->text[i], -1, SQLITE_STATIC);
    for (int i = 0; i < shape->key_numbers; i++)
        sqlite3_bind_int64(st, shape->key_texts + i + 1, row->number[i]);
}

/* 0, or -1 when memory is short. */
static int bind_row(const struct store_file *f, sqlite3_stmt *st, const struct store_row *row)
{
    const struct store_shape *shape = &store_shapes[row->table];
    for (int i = 0; i < shape->texts; i++)
        sqlite3_bind_text(st, i + 1, row->text[i], -1, SQLITE_STATIC);
    for (int i = 0; i < shape->numbers; i++)
        sqlite3_bind_int64(st, shape->texts + i + 1, row->number[i]);
    if (row->table != TABLE_CREDENTIAL && row->table != TABLE_RESPONSE &&
        row->table != TABLE_UPLOAD)
        return 0;
    struct span value = span_str(row->text[3]);
    sqlite3_bind_int(st, shape->texts + shape->numbers + 1,
                     f->sealing ? FORMAT_AES_256_GCM : FORMAT_PLAIN);
    if (!f->sealing)
        return sqlite3_bind_blob64(st, 4, value.p, value.n, SQLITE_STATIC) == SQLITE_OK ? 0 : -1;
    unsigned char *sealed = seal_value(f, row->text, row->number[0], value);
    return sealed && sqlite3_bind_blob64(st, 4, sealed, value.n + SEAL_EXTRA, free) == SQLITE_OK
               ? 0
               : -1;
}

/* One statement with up to two texts, then up to two numbers. */
static int run(struct store_file *f, const char *sql, const char *const text[2],
               const int64_t number[2])
{
    sqlite3_stmt *st;
    if (sqlite3_prepare_v2(f->db, sql, -1, &st, NULL) != SQLITE_OK)
        return -1;
    int at = 1;
    for (int i = 0; text && i < 2 && text[i]; i++)
        sqlite3_bind_text(st, at++, text[i], -1, SQLITE_STATIC);
    for (int i = 0; number && i < 2 && at <= sqlite3_bind_parameter_count(st); i++)
        sqlite3_bind_int64(st, at++, number[i]);
    sqlite3_step(st);
    return sqlite3_finalize(st) == SQLITE_OK ? 0 : -1;
}

/* What has ended, and what is too much: then a tenth more than that, so that not every save has to
 * sort them. The one that was just saved stays. */
static int prune_responses(struct store_file *f, const struct store_row *saved)
{
    int64_t now = saved->number[0], most = saved->number[2], sum = 0;
    if (run(f, "DELETE FROM response WHERE expires_ms <= ?1", NULL, (const int64_t[2]){now, 0}) ||
        query_number(f, "SELECT total(bytes) FROM response", &sum))
        return -1;
    if (sum <= most)
        return 0;
    const char *const own[2] = {saved->text[0], NULL};
    const int64_t left[2] = {most - most / 10, 0};
    return run(f,
               "DELETE FROM response WHERE id <> ?1 AND id IN (SELECT id FROM (SELECT id,"
               " sum(bytes) OVER (ORDER BY expires_ms DESC, bytes DESC, id DESC) AS so_far"
               " FROM response) WHERE so_far > ?2)",
               own, left);
}

static int write_rows(struct store_file *f, const void *first)
{
    for (const struct store_row *row = first; row; row = row->next) {
        const char *sql = row->forget ? statements[row->table].forget : statements[row->table].put;
        sqlite3_stmt *st;
        if (sqlite3_prepare_v2(f->db, sql, -1, &st, NULL) != SQLITE_OK)
            return -1;
        int rc = 0;
        if (row->forget)
            bind_key(st, row);
        else
            rc = bind_row(f, st, row);
        if (rc == 0)
            sqlite3_step(st);
        if (sqlite3_finalize(st) != SQLITE_OK || rc)
            return -1;
        if (row->table == TABLE_RESPONSE && prune_responses(f, row))
            return -1;
    }
    return 0;
}

static int write_in_one(struct store_file *f, int (*work)(struct store_file *, const void *),
                        const void *arg, struct fail *fail)
{
    if (store_file_open(f, fail) != STORE_OPEN)
        return -1;
    if (transact(f, work, arg) == 0)
        return 0;
    fail_set(fail, FAIL_INTERNAL, "%s: cannot write: %s", f->path, sqlite3_errmsg(f->db));
    roll_back(f);
    return -1;
}

int store_file_write(struct store_file *f, const struct store_row *first, struct fail *fail)
{
    return write_in_one(f, write_rows, first, fail);
}

static int delete_before(struct store_file *f, const char *sql, int64_t limit)
{
    sqlite3_stmt *st;
    if (sqlite3_prepare_v2(f->db, sql, -1, &st, NULL) != SQLITE_OK)
        return -1;
    sqlite3_bind_int64(st, 1, limit);
    sqlite3_step(st);
    return sqlite3_finalize(st) == SQLITE_OK ? 0 : -1;
}

static int delete_old(struct store_file *f, const void *arg)
{
    const struct store_age *age = arg;
    return delete_before(f, "DELETE FROM counter WHERE day < ?1", age->day) ||
                   delete_before(f, "DELETE FROM account WHERE changed_ms < ?1", age->changed_ms) ||
                   delete_before(f, "DELETE FROM conversation WHERE expires_ms < ?1",
                                 age->changed_ms) ||
                   delete_before(f, "DELETE FROM upload WHERE expires_ms < ?1", age->changed_ms)
               ? -1
               : 0;
}

int store_file_prune(struct store_file *f, const struct store_age *age, struct fail *fail)
{
    return write_in_one(f, delete_old, age, fail);
}

/* ---- responses ---- */

/* The row that the statement stands on. 1, or -1 when memory is short or the key is another. */
static int take_response(const struct store_file *f, sqlite3_stmt *st, const char *id,
                         const char *owner, struct stored_response *r)
{
    const char *previous = (const char *)sqlite3_column_text(st, 0);
    const char *body = sqlite3_column_blob(st, 1);
    struct span text = span_of(body, (size_t)sqlite3_column_bytes(st, 1));
    if (!previous || !body)
        return -1;
    r->expires_ms = sqlite3_column_int64(st, 3);
    r->previous = strdup(previous);
    r->n_body = text.n;
    if (sqlite3_column_int(st, 4) == FORMAT_AES_256_GCM) {
        const char *const bound[3] = {id, owner, previous};
        unseal_value(f, bound, sqlite3_column_int64(st, 2), text, &r->body);
        r->n_body = text.n >= SEAL_EXTRA ? text.n - SEAL_EXTRA : 0;
    } else {
        r->body = strndup(text.p, text.n);
    }
    if (r->previous && r->body)
        return 1;
    free(r->previous);
    free(r->body);
    return -1;
}

int store_file_find_response(struct store_file *f, const char *id, const char *owner,
                             int64_t now_ms, struct stored_response *r)
{
    struct fail ignored;
    sqlite3_stmt *st;
    if (store_file_open(f, &ignored) != STORE_OPEN ||
        sqlite3_prepare_v2(f->db,
                           "SELECT previous, body, created_ms, expires_ms, format FROM response"
                           " WHERE id = ?1 AND owner = ?2 AND expires_ms > ?3",
                           -1, &st, NULL) != SQLITE_OK)
        return -1;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, owner, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, now_ms);
    int rc = sqlite3_step(st);
    int found = rc == SQLITE_ROW ? take_response(f, st, id, owner, r) : rc == SQLITE_DONE ? 0 : -1;
    sqlite3_finalize(st);
    return found;
}

int store_file_forget_response(struct store_file *f, const char *id, const char *owner)
{
    struct fail ignored;
    const char *const key[2] = {id, owner};
    if (store_file_open(f, &ignored) != STORE_OPEN ||
        run(f, "DELETE FROM response WHERE id = ?1 AND owner = ?2", key, NULL))
        return -1;
    return sqlite3_changes(f->db) > 0;
}

int store_file_renew_response(struct store_file *f, const char *id, int64_t expires_ms)
{
    const char *const key[2] = {id, NULL};
    const int64_t number[2] = {expires_ms, 0};
    if (run(f, "UPDATE response SET expires_ms = ?2 WHERE id = ?1", key, number))
        return -1;
    return sqlite3_changes(f->db) > 0;
}
