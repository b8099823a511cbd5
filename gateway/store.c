/*
 * gateway/store.c - see store.h. The database handle belongs to the worker job that is running;
 * jobs never overlap, so SQLite needs no lock of ours.
 */
#include "gateway/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "gateway/log.h"

struct store_job {
    struct store_job *next;
    char *site, *account, *name, *value; /* value NULL: forget */
    int64_t expires_ms;
};

struct store {
    uv_loop_t *loop;
    char *data_dir, *path;
    sqlite3 *db;
    struct store_job *first, *last; /* waiting; the running one is taken out */
    struct store_job *running;
    uv_work_t work;
    int result;
    char problem[200];
    bool warned;
    void (*closed)(void *);
    void *closed_arg;
};

struct store *store_create(uv_loop_t *loop, struct span data_dir)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->loop = loop;
    s->data_dir = strndup(data_dir.p, data_dir.n);
    if (!s->data_dir || asprintf(&s->path, "%s/dragoman.db", s->data_dir) < 0) {
        free(s->data_dir);
        free(s);
        return NULL;
    }
    s->work.data = s;
    return s;
}

/* mkdir -p with 0700 for what is made. */
static int make_directory(const char *path)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return -1;
    for (char *p = part + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(part, 0700) && errno != EEXIST)
            return -1;
        *p = '/';
    }
    return mkdir(part, 0700) && errno != EEXIST ? -1 : 0;
}

static int problem(struct store *s, const char *what)
{
    snprintf(s->problem, sizeof s->problem, "%s: %s", what,
             s->db ? sqlite3_errmsg(s->db) : strerror(errno));
    return -1;
}

static int open_database(struct store *s)
{
    if (s->db)
        return 0;
    mode_t before = umask(077); /* the file and SQLite's journals: ours alone */
    int rc = sqlite3_open(s->path, &s->db);
    umask(before);
    if (rc != SQLITE_OK ||
        sqlite3_exec(s->db,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=2000;"
                     "CREATE TABLE IF NOT EXISTS held_credential("
                     " site TEXT NOT NULL, account TEXT NOT NULL, name TEXT NOT NULL,"
                     " value TEXT NOT NULL, expires_ms INTEGER NOT NULL,"
                     " PRIMARY KEY(site, account, name)) WITHOUT ROWID;",
                     NULL, NULL, NULL) != SQLITE_OK) {
        problem(s, "cannot open the database");
        sqlite3_close(s->db);
        s->db = NULL;
        return -1;
    }
    return 0;
}

int store_load(struct store *s,
               void (*found)(void *, const char *, const char *, const char *, const char *,
                             int64_t),
               void *owner, struct fail *fail)
{
    struct stat st;
    sqlite3_stmt *rows = NULL;
    if (stat(s->path, &st))
        return 0;
    if (st.st_mode & 077)
        log_warn("%s is readable by others: chmod 600 it, it holds credentials", s->path);
    if (open_database(s) ||
        sqlite3_prepare_v2(s->db,
                           "SELECT site, account, name, value, expires_ms FROM held_credential", -1,
                           &rows, NULL) != SQLITE_OK) {
        if (s->db)
            problem(s, "cannot read the database");
        return fail_set(fail, FAIL_INTERNAL, "%s: %s; stored guest sessions are not used", s->path,
                        s->problem);
    }
    int rc;
    while ((rc = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *column[4];
        bool whole = true;
        for (int i = 0; i < 4; i++) {
            column[i] = (const char *)sqlite3_column_text(rows, i);
            whole &= column[i] != NULL; /* in a file that is not of our making */
        }
        if (whole)
            found(owner, column[0], column[1], column[2], column[3], sqlite3_column_int64(rows, 4));
    }
    if (rc != SQLITE_DONE)
        problem(s, "cannot read all of the database");
    sqlite3_finalize(rows);
    if (rc != SQLITE_DONE)
        return fail_set(fail, FAIL_INTERNAL, "%s: %s; some stored guest sessions are not used",
                        s->path, s->problem);
    return 0;
}

/* ---- writing, on the thread pool ---- */

static int write_job(struct store *s, const struct store_job *job)
{
    sqlite3_stmt *st = NULL;
    const char *sql = job->value
                          ? "INSERT OR REPLACE INTO held_credential VALUES(?1,?2,?3,?4,?5)"
                          : "DELETE FROM held_credential WHERE site=?1 AND account=?2 AND name=?3";
    if (make_directory(s->data_dir))
        return problem(s, "cannot make the data directory");
    if (open_database(s))
        return -1;
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
        return problem(s, "cannot write");
    sqlite3_bind_text(st, 1, job->site, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, job->account, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 3, job->name, -1, SQLITE_STATIC);
    if (job->value) {
        sqlite3_bind_text(st, 4, job->value, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 5, job->expires_ms);
    }
    int rc = sqlite3_step(st);
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : problem(s, "cannot write");
}

static void job_free(struct store_job *job)
{
    if (!job)
        return;
    free(job->site);
    free(job->account);
    free(job->name);
    if (job->value)
        explicit_bzero(job->value, strlen(job->value));
    free(job->value);
    free(job);
}

static void store_free(struct store *s)
{
    void (*closed)(void *) = s->closed;
    void *arg = s->closed_arg;
    sqlite3_close(s->db);
    free(s->data_dir);
    free(s->path);
    free(s);
    if (closed)
        closed(arg);
}

static void on_work(uv_work_t *work)
{
    struct store *s = work->data;
    s->result = write_job(s, s->running);
}

static void start_next(struct store *s);

static void after_work(uv_work_t *work, int status)
{
    struct store *s = work->data;
    job_free(s->running);
    s->running = NULL;
    if (s->result && !s->warned) {
        log_warn("%s: %s; credentials are kept in memory only", s->path, s->problem);
        s->warned = true;
    }
    start_next(s);
}

static void start_next(struct store *s)
{
    struct store_job *job = s->first;
    if (!job) {
        if (s->closed)
            store_free(s);
        return;
    }
    s->first = job->next;
    if (!s->first)
        s->last = NULL;
    s->running = job;
    if (uv_queue_work(s->loop, &s->work, on_work, after_work)) {
        job_free(job);
        s->running = NULL;
    }
}

void store_save(struct store *s, const char *site, const char *account, const char *name,
                const char *value, int64_t expires_ms)
{
    struct store_job *job = calloc(1, sizeof *job);
    if (!job)
        return;
    job->site = strdup(site);
    job->account = strdup(account);
    job->name = strdup(name);
    job->value = value ? strdup(value) : NULL;
    job->expires_ms = expires_ms;
    if (!job->site || !job->account || !job->name || (value && !job->value)) {
        job_free(job);
        return;
    }
    if (s->last)
        s->last->next = job;
    else
        s->first = job;
    s->last = job;
    if (!s->running)
        start_next(s);
}

void store_destroy(struct store *s, void (*closed)(void *), void *arg)
{
    s->closed = closed;
    s->closed_arg = arg;
    if (!s->running)
        start_next(s);
}
