/*
 * gateway/account_check_alone.c - the command line's side of account_check.h: the check when no
 * gateway runs, and the report for people.
 *
 * The data file is opened, read and let go before anybody is asked, so that a gateway may start
 * meanwhile; what is found out is not written down. A file that is not there is not made.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "gateway/account_check.h"
#include "gateway/engine_keep.h"

enum { SPARE_S = 10 };

struct alone {
    uv_loop_t loop;
    struct upstream *upstream;
    struct account_pool *pool;
    struct buffer *report;
};

/* ---- what is stored ---- */

static void restore_credential(void *owner, const struct store_credential *c)
{
    struct alone *alone = owner;
    keep_restore_credential(alone->pool, c);
}

static void restore_account(void *owner, const struct store_account *row)
{
    struct alone *alone = owner;
    keep_restore_account(alone->pool, row, uv_now(&alone->loop));
}

static void read_store(struct alone *alone, const struct config *config, struct buffer *remarks)
{
    const struct store_reader reader = {
        .owner = alone, .credential = restore_credential, .account = restore_account};
    struct fail fail = {0};
    if (!config->file.n) /* the built-in demo keeps nothing */
        return;
    struct store *store = store_create(&alone->loop, config->data_dir, config->secret_key);
    if (!store)
        return;
    if (access(store_path(store), F_OK) == 0 && store_open(store, &reader, &fail) != STORE_OPEN)
        buffer_printf(remarks, "stored credentials are not used: %s\n", fail.message);
    keep_restored(alone->pool);
    store_destroy(store, NULL, NULL);
    uv_run(&alone->loop, UV_RUN_DEFAULT);
}

/* ---- the check ---- */

static void on_upstream_closed(void *arg) {}

static void on_done(void *owner, struct span json)
{
    struct alone *alone = owner;
    buffer_append(alone->report, json);
    upstream_destroy(alone->upstream, on_upstream_closed, NULL);
    alone->upstream = NULL;
}

static int check_on_loop(struct alone *alone, struct config *config, struct span only,
                         struct buffer *remarks, struct fail *fail)
{
    const struct account_pool_hooks hooks = {0};
    alone->upstream = upstream_create(&alone->loop);
    alone->pool = account_pool_create(&hooks, 1);
    if (!alone->upstream || !alone->pool ||
        account_pool_configure(alone->pool, config, uv_now(&alone->loop)))
        return fail_memory(fail);
    read_store(alone, config, remarks);
    const struct account_check_wish wish = {
        .loop = &alone->loop,
        .upstream = alone->upstream,
        .pool = alone->pool,
        .config = config,
        .only = only,
        .done = on_done,
        .owner = alone,
    };
    if (!account_check_start(&wish, fail))
        return -1;
    uv_run(&alone->loop, UV_RUN_DEFAULT);
    return alone->report->error ? fail_memory(fail) : 0;
}

int account_check_alone(struct config *config, struct span only, struct buffer *report,
                        struct buffer *remarks, struct fail *fail)
{
    struct alone alone = {.report = report};
    if (uv_loop_init(&alone.loop))
        return fail_memory(fail);
    signal(SIGPIPE, SIG_IGN);
    int result = check_on_loop(&alone, config, only, remarks, fail);
    if (alone.upstream)
        upstream_destroy(alone.upstream, on_upstream_closed, NULL);
    uv_run(&alone.loop, UV_RUN_DEFAULT);
    account_pool_destroy(alone.pool);
    uv_loop_close(&alone.loop);
    return result;
}

/* ---- the report ---- */

int account_check_patience_s(const struct config *config)
{
    size_t n = 0;
    for (size_t i = 0; i < config->n_sites; i++)
        n += config->sites[i].n_accounts;
    n = (n + ACCOUNT_CHECKS_AT_ONCE - 1) / ACCOUNT_CHECKS_AT_ONCE;
    return (int)n * (ACCOUNT_CHECK_MS / 1000) + SPARE_S;
}

static void print_accounts(struct buffer *out, struct json accounts, int *result)
{
    int width = 0;
    struct json_iter it = json_each(accounts);
    while (json_next(&it)) {
        int n = (int)(json_get_text(it.value, "site").n + json_get_text(it.value, "account").n + 1);
        width = n > width ? n : width;
    }
    it = json_each(accounts);
    while (json_next(&it)) {
        struct span site = json_get_text(it.value, "site");
        struct span account = json_get_text(it.value, "account");
        int fill = width - (int)(site.n + account.n + 1);
        buffer_printf(out, "%.*s/%.*s%*s  %.*s\n", SPAN_ARGS(site), SPAN_ARGS(account), fill, "",
                      SPAN_ARGS(json_get_text(it.value, "message")));
        if (span_eq(json_get_text(it.value, "result"), SPAN("failed")))
            *result = 1;
    }
}

int account_check_print(struct buffer *out, struct span json)
{
    struct json_parser *parser = json_parser_create(64 << 20);
    struct json root;
    int result = -1;
    if (parser && json_parse(parser, json, &root) == JSON_OK &&
        json_is(json_get(root, "accounts"), JSON_ARRAY)) {
        result = 0;
        print_accounts(out, json_get(root, "accounts"), &result);
    }
    if (parser)
        json_parser_destroy(parser);
    return out->error ? -1 : result;
}
