/*
 * gateway/account_files.c - see account_files.h. A pool of the configured accounts is filled from
 * the file, as a starting gateway does it.
 */
#include "gateway/account_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/account_report.h"
#include "gateway/clock.h"
#include "gateway/engine_keep.h"

/* A row that is to be forgotten. */
struct row {
    struct row *next;
    char model[];
};

struct files {
    uv_loop_t loop;
    struct account_pool *pool;
    struct store *store;         /* NULL: there is no file */
    const struct account *clear; /* whose rows are collected; NULL: nobody's */
    struct row *rows;
    bool short_of_memory;
};

static void collect(struct files *f, const char *model)
{
    struct row *row = malloc(sizeof *row + strlen(model) + 1);
    f->short_of_memory |= !row;
    if (!row)
        return;
    strcpy(row->model, model);
    row->next = f->rows;
    f->rows = row;
}

static void restore_credential(void *owner, const struct store_credential *c)
{
    keep_restore_credential(((struct files *)owner)->pool, c);
}

static void restore_account(void *owner, const struct store_account *row)
{
    struct files *f = owner;
    keep_restore_account(f->pool, row, uv_now(&f->loop));
    if (f->clear && strcmp(row->site, f->clear->site) == 0 &&
        strcmp(row->account, f->clear->name) == 0)
        collect(f, row->model);
}

static void restore_counter(void *owner, const struct store_counter *row)
{
    struct files *f = owner;
    struct account *a = strcmp(row->kind, "account") == 0
                            ? account_pool_find_name(f->pool, span_str(row->name))
                            : NULL;
    if (a && row->day == clock_day(clock_wall_ms()))
        a->today = (struct account_day){.day = row->day, .requests = row->requests};
}

static int open_files(struct files *f, struct config *config, struct fail *fail)
{
    const struct account_pool_hooks hooks = {0};
    *f = (struct files){0};
    if (uv_loop_init(&f->loop))
        return fail_memory(fail);
    f->pool = account_pool_create(&hooks, 1);
    if (!f->pool || account_pool_configure(f->pool, config, uv_now(&f->loop)))
        return fail_memory(fail);
    return 0;
}

/* 0, also when there is no file; -1 with fail when it cannot be used. */
static int read_files(struct files *f, const struct config *config, struct fail *fail)
{
    const struct store_reader reader = {.owner = f,
                                        .credential = restore_credential,
                                        .account = restore_account,
                                        .counter = restore_counter};
    if (!config->file.n) /* the built-in demo keeps nothing */
        return 0;
    f->store = store_create(&f->loop, config->data_dir, config->secret_key);
    if (!f->store)
        return fail_memory(fail);
    if (access(store_path(f->store), F_OK))
        return 0;
    if (store_open(f->store, &reader, fail) != STORE_OPEN)
        return -1;
    keep_restored(f->pool);
    return f->short_of_memory ? fail_memory(fail) : 0;
}

/* What was saved is written first. */
static void close_files(struct files *f)
{
    if (f->store)
        store_destroy(f->store, NULL, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    uv_loop_close(&f->loop);
    account_pool_destroy(f->pool);
    while (f->rows) {
        struct row *row = f->rows;
        f->rows = row->next;
        free(row);
    }
}

int account_files_report(struct config *config, struct buffer *report, struct buffer *remarks,
                         struct fail *fail)
{
    struct files f;
    int result = open_files(&f, config, fail);
    if (result == 0) {
        struct fail why;
        bool known = read_files(&f, config, &why) == 0;
        if (!known)
            buffer_printf(remarks, "what was stored is not shown: %s\n", why.message);
        account_report_json(report, known ? f.pool : NULL, NULL, config, false, uv_now(&f.loop),
                            clock_wall_ms());
    }
    close_files(&f);
    return result;
}

int account_files_clear(struct config *config, struct span name, struct fail *fail)
{
    struct files f;
    int result = open_files(&f, config, fail);
    f.clear = result == 0 ? account_pool_find_name(f.pool, name) : NULL;
    if (result == 0 && !f.clear)
        result = fail_set(fail, FAIL_BAD_REQUEST, "there is no account %.*s",
                          SPAN_ARGS(span_first(name, 200)));
    if (result == 0)
        result = read_files(&f, config, fail);
    for (const struct row *row = f.rows; result == 0 && f.clear && row; row = row->next)
        store_save_account(f.store, &(struct store_account){.site = f.clear->site,
                                                            .account = f.clear->name,
                                                            .model = row->model});
    close_files(&f);
    return result;
}
