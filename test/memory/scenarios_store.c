/*
 * test/memory/scenarios_store.c - the data file: made, filled, closed, read again; in plain and
 * encrypted.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/store.h"
#include "gateway/store_file.h"
#include "test/memory/scenario.h"

static char folder[64];

static void make_folder(void)
{
    memory_pause();
    strcpy(folder, "/tmp/test-memory-XXXXXX");
    SCENARIO_CHECK(mkdtemp(folder));
    memory_resume();
}

static void remove_folder(void)
{
    char path[400];
    memory_pause();
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (d)
        closedir(d);
    rmdir(folder);
    memory_resume();
}

static void on_credential(void *owner, const struct store_credential *c)
{
    scenario_sayf("%s/%s %s=%s;", c->site, c->account, c->name, c->value);
}

static void on_account(void *owner, const struct store_account *a)
{
    scenario_sayf("%s/%s %s;", a->site, a->account, a->state);
}

static void on_counter(void *owner, const struct store_counter *c)
{
    scenario_sayf("%s %s %d;", c->kind, c->name, (int)c->requests);
}

static void on_models(void *owner, const struct store_models *m)
{
    scenario_sayf("%s %s;", m->site, m->json);
}

static void on_meta(void *owner, const char *name, const char *value)
{
    scenario_sayf("%s=%s;", name, value);
}

static void on_conversation(void *owner, const struct store_conversation *c)
{
    scenario_sayf("%s %s;", c->hash, c->state);
}

static void on_upload(void *owner, const struct store_upload *u)
{
    scenario_sayf("%s %s;", u->hash, u->value);
}

static const struct store_reader reader = {.credential = on_credential,
                                           .account = on_account,
                                           .counter = on_counter,
                                           .models = on_models,
                                           .meta = on_meta,
                                           .conversation = on_conversation,
                                           .upload = on_upload};

/* ---- through the loop ---- */

struct use {
    uv_loop_t loop;
    struct store *store;
    int told; /* how many were told what became of theirs */
    bool closed, lost;
};

static void on_done(void *arg, bool durable)
{
    struct use *u = arg;
    u->told++;
    u->lost |= !durable;
}

static void on_closed(void *arg) { ((struct use *)arg)->closed = true; }

static void save_all(struct use *u)
{
    static const struct store_credential credential = {"s", "a", "token", "secret", 5000};
    static const struct store_response response = {.id = "resp_1",
                                                   .owner = "k",
                                                   .previous = "",
                                                   .body = "{}",
                                                   .created_ms = 1,
                                                   .expires_ms = 5000,
                                                   .max_bytes = 1 << 20};
    static const struct store_account account = {
        .site = "s", .account = "a", .model = "", .state = "cooling", .error = "", .changed_ms = 9};
    store_save_credential_then(u->store, &credential, on_done, u);
    store_save_account(u->store, &account);
    store_save_counter(u->store, &(struct store_counter){"key", "k", 20000, 3, 4, 5});
    store_save_models(u->store, &(struct store_models){"s", 7, "[\"m\"]"});
    store_save_meta(u->store, "name", "value");
    store_save_conversation(u->store,
                            &(struct store_conversation){"00ff", "s", "a", "{}", 5000, 1});
    store_save_upload(u->store, &(struct store_upload){"11ff", "s", "a", "file-1", 5000});
    store_save_response_then(u->store, &response, on_done, u);
}

/* Opens, and says what is there. False: it cannot be, for now. */
static bool open_store(struct use *u, const char *secret)
{
    struct fail fail = {0};
    memory_pause(); /* the loop is the test's own */
    SCENARIO_CHECK(uv_loop_init(&u->loop) == 0);
    memory_resume();
    u->store = store_create(&u->loop, span_str(folder), span_str(secret));
    if (!u->store)
        return false;
    enum store_opened opened = store_open(u->store, &reader, &fail);
    if (opened != STORE_OPEN)
        SCENARIO_CHECK(fail.message[0]);
    SCENARIO_CHECK(opened != STORE_REFUSED); /* the file is good */
    return opened == STORE_OPEN;
}

static void close_store(struct use *u)
{
    if (u->store) {
        store_destroy(u->store, on_closed, u);
        uv_run(&u->loop, UV_RUN_DEFAULT);
        SCENARIO_CHECK(u->closed);
    }
    SCENARIO_CHECK(uv_loop_close(&u->loop) == 0);
}

static enum scenario_end store(const void *secret)
{
    struct use first = {.told = 0}, second = {.told = 0};
    bool good = true;
    make_folder();
    good = open_store(&first, secret);
    if (first.store) {
        if (good)
            save_all(&first);
        close_store(&first);
        SCENARIO_CHECK(first.told == (good ? 2 : 0));
        good = good && !first.lost;
    } else {
        uv_loop_close(&first.loop);
    }
    if (first.store) {
        good = open_store(&second, secret) && good;
        if (second.store)
            close_store(&second);
        else
            uv_loop_close(&second.loop);
    }
    remove_folder();
    if (!first.store || !second.store)
        return SCENARIO_SHORT;
    /* What a save has no memory for is lost, and its owner is told; the others are there. */
    return good && !memory_plan()->refused ? SCENARIO_GOOD : SCENARIO_LESS;
}

/* ---- the file alone, where nothing may be skipped ---- */

static void found(void *owner, const struct store_row *row)
{
    scenario_sayf("%d:", (int)row->table);
    for (int i = 0; i < store_shapes[row->table].texts; i++)
        scenario_sayf("%s,", row->text[i]);
}

static int fill(struct store_file *f, struct fail *fail)
{
    struct store_row rows[] = {
        {.table = TABLE_CREDENTIAL, .text = {"s", "a", "token", "secret"}, .number = {5000}},
        {.table = TABLE_ACCOUNT, .text = {"s", "a", "", "cooling", ""}, .number = {1, 2, 3}},
        {.table = TABLE_COUNTER, .text = {"key", "k"}, .number = {20000, 1, 2, 3}},
        {.table = TABLE_META, .text = {"n", "v"}},
        {.table = TABLE_UPLOAD, .text = {"11ff", "s", "a", "file-1"}, .number = {5000}},
        {.table = TABLE_RESPONSE, .text = {"resp_1", "k", "", "{}"}, .number = {1, 5000}},
    };
    enum { N = sizeof rows / sizeof *rows };
    for (size_t i = 0; i + 1 < N; i++)
        rows[i].next = &rows[i + 1];
    return store_file_write(f, rows, fail);
}

/* Never that it is damaged, or another's. */
static bool opens(enum store_opened opened, const struct fail *fail)
{
    SCENARIO_CHECK(opened != STORE_REFUSED);
    SCENARIO_CHECK(opened == STORE_OPEN || fail->message[0]);
    return opened == STORE_OPEN;
}

static enum scenario_end use_file(struct store_file *f)
{
    struct fail fail = {0};
    struct stored_response response = {0};
    if (!opens(store_file_open(f, &fail), &fail) || fill(f, &fail))
        return SCENARIO_SHORT;
    store_file_close(f);
    if (!opens(store_file_open(f, &fail), &fail) ||
        !opens(store_file_read(f, found, NULL, &fail), &fail))
        return SCENARIO_SHORT;
    int r = store_file_find_response(f, "resp_1", "k", 10, &response);
    SCENARIO_CHECK(r == 1 || r == -1);
    if (r == 1) {
        scenario_say(span_of(response.body, response.n_body));
        free(response.previous);
        free(response.body);
    }
    if (r != 1 || store_file_renew_response(f, "resp_1", 6000) != 1)
        return SCENARIO_SHORT;
    if (store_file_prune(f, &(struct store_age){20001, 100}, &fail))
        return SCENARIO_SHORT;
    return store_file_forget_response(f, "resp_1", "k") == 1 ? SCENARIO_GOOD : SCENARIO_SHORT;
}

static enum scenario_end file(const void *secret)
{
    enum scenario_end end = SCENARIO_SHORT;
    make_folder();
    struct store_file *f = store_file_create(span_str(folder), span_str(secret));
    if (f) {
        end = use_file(f);
        store_file_destroy(f);
    }
    remove_folder();
    return end;
}

const struct scenario scenarios_store[] = {
    {"store: in plain", store, ""},
    {"store: encrypted", store, "0123456789abcdef of the test"},
    {"data file: in plain", file, ""},
    {"data file: encrypted", file, "0123456789abcdef of the test"},
    {NULL, NULL, NULL},
};
