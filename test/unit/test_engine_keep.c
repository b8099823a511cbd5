/*
 * test/unit/test_engine_keep.c - what is known of accounts, through the data file and back: rests,
 * strikes, counts, credentials; of those that are configured, were, and come back.
 */
#include "gateway/engine_keep.h"

#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "gateway/clock.h"
#include "test/unit/support/cmocka_all.h"

#define SITE               "[[sites]]\nname = \"s\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"
#define ACCOUNT(name, key) "[[sites.accounts]]\nname = \"" name "\"\napi_key = \"" key "\"\n"
#define ONE                SITE ACCOUNT("a", "k1")
#define TWO                ONE ACCOUNT("b", "k2")

/* As much of a gateway as there has to be. */
struct bench {
    uv_loop_t loop;
    struct engine engine;
    char folder[64], data_dir[96], file[128];
};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    strcpy(b->folder, "/tmp/test-keep-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->data_dir, sizeof b->data_dir, "%s/data", b->folder);
    snprintf(b->file, sizeof b->file, "%s/dragoman.db", b->data_dir);
    assert_int_equal(uv_loop_init(&b->loop), 0);
    b->engine.loop = &b->loop;
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", b->folder);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    assert_int_equal(system(command), 0);
    free(b);
    return 0;
}

static void configure(struct bench *b, const char *text)
{
    struct buffer errors;
    buffer_init(&errors, 1 << 16);
    struct config *config = config_parse(span_str(text), "t.toml", &errors);
    if (!config)
        fail_msg("%.*s", SPAN_ARGS(buffer_span(&errors)));
    buffer_free(&errors);
    assert_int_equal(account_pool_configure(b->engine.accounts, config, uv_now(&b->loop)), 0);
    config_unref(config);
}

static void begin(struct bench *b, const char *text)
{
    const struct account_pool_hooks hooks = {.saved = keep_credential,
                                             .changed = keep_account,
                                             .begun = keep_account_begun,
                                             .owner = &b->engine};
    struct fail fail;
    struct store_reader reader = keep_reader(&b->engine);
    reader.models = NULL;
    b->engine.accounts = account_pool_create(&hooks, 1);
    assert_non_null(b->engine.accounts);
    b->engine.conversations = conversation_book_create(keep_conversation, &b->engine);
    assert_non_null(b->engine.conversations);
    b->engine.uploads = upload_book_create(keep_upload, &b->engine);
    assert_non_null(b->engine.uploads);
    b->engine.store = store_create(&b->loop, span_str(b->data_dir), span_str(""));
    assert_non_null(b->engine.store);
    configure(b, text);
    uv_update_time(&b->loop);
    if (store_open(b->engine.store, &reader, &fail) != STORE_OPEN)
        fail_msg("%s", fail.message);
    keep_restored(b->engine.accounts);
    account_pool_each(b->engine.accounts, keep_configured, &b->engine);
}

static void reload(struct bench *b, const char *text)
{
    configure(b, text);
    account_pool_each(b->engine.accounts, keep_configured, &b->engine);
}

static void end(struct bench *b)
{
    store_destroy(b->engine.store, NULL, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    account_pool_destroy(b->engine.accounts);
    conversation_book_destroy(b->engine.conversations);
    upload_book_destroy(b->engine.uploads);
}

static void restart(struct bench *b, const char *text)
{
    end(b);
    begin(b, text);
}

static struct account *find(struct bench *b, const char *name)
{
    struct account *a = account_pool_find(b->engine.accounts, SPAN("s"), span_str(name));
    assert_non_null(a);
    return a;
}

/* The site says nothing about how long. */
static void limit(struct bench *b, struct account *a, const char *model, uint64_t now)
{
    (void)b;
    account_failed(a, FAIL_RATE_LIMITED, span_str(model), 0, now);
    account_remember(a, span_str(model), "slow down");
    account_changed(a);
}

static unsigned strikes(const struct account *a, const char *model)
{
    uint64_t hash = *model ? account_model_hash(span_str(model)) : 0;
    for (size_t i = 0; i < a->n_cool_downs; i++) {
        if (a->cool_downs[i].model == hash)
            return a->cool_downs[i].strikes;
    }
    return 0;
}

/* Seconds that it rests from now on. */
static uint64_t rests_s(struct bench *b, const struct account *a, const char *model)
{
    uint64_t now = uv_now(&b->loop);
    uint64_t until = account_cool_until(a, *model ? account_model_hash(span_str(model)) : 0);
    return until > now ? (until - now) / 1000 : 0;
}

/* ---- the file, by hand ---- */

static int64_t sql(struct bench *b, const char *text)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    int64_t number = 0;
    assert_int_equal(sqlite3_open(b->file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
    if (sqlite3_step(st) == SQLITE_ROW)
        number = sqlite3_column_int64(st, 0);
    assert_int_equal(sqlite3_finalize(st), SQLITE_OK);
    sqlite3_close(db);
    return number;
}

/* ---- tests ---- */

static void the_strikes_of_an_account_survive_a_restart(void **state)
{
    struct bench *b = *state;
    begin(b, ONE);
    limit(b, find(b, "a"), "m", uv_now(&b->loop));
    restart(b, ONE);
    assert_int_equal(strikes(find(b, "a"), ""), 1);
    assert_in_range(rests_s(b, find(b, "a"), ""), 55, 72);
    assert_string_equal(find(b, "a")->last_error, "slow down");
    end(b);

    sql(b, "UPDATE account SET until_ms = 1"); /* the rest ended while nobody ran */
    begin(b, ONE);
    assert_int_equal(strikes(find(b, "a"), ""), 1);
    assert_int_equal(account_state_at(find(b, "a"), uv_now(&b->loop)), ACCOUNT_READY);
    limit(b, find(b, "a"), "m", uv_now(&b->loop));
    assert_in_range(rests_s(b, find(b, "a"), ""), 115, 144); /* the second time: longer */
    restart(b, ONE);
    assert_int_equal(strikes(find(b, "a"), ""), 2);
    account_succeeded(find(b, "a"), SPAN("m"));
    restart(b, ONE);
    assert_int_equal(strikes(find(b, "a"), ""), 0);
    end(b);
}

static void strikes_stay_when_the_rest_is_over(void **state)
{
    struct bench *b = *state;
    begin(b, SITE "limits = \"model\"\n" ACCOUNT("a", "k1"));
    struct account *a = find(b, "a");
    limit(b, a, "m", uv_now(&b->loop));
    a->cool_downs[0].until_ms = 0; /* over */
    limit(b, a, "n", uv_now(&b->loop));
    restart(b, SITE "limits = \"model\"\n" ACCOUNT("a", "k1"));
    assert_int_equal(strikes(find(b, "a"), "m"), 1);
    assert_int_equal(strikes(find(b, "a"), "n"), 1);
    assert_int_equal(rests_s(b, find(b, "a"), "m"), 0);
    assert_in_range(rests_s(b, find(b, "a"), "n"), 55, 72);
    end(b);
}

static void what_is_cleared_stays_cleared(void **state)
{
    struct bench *b = *state;
    const char *text = SITE "limits = \"model\"\n" ACCOUNT("a", "k1");
    begin(b, text);
    limit(b, find(b, "a"), "m", uv_now(&b->loop));
    account_pool_clear(b->engine.accounts, find(b, "a"), uv_now(&b->loop));
    restart(b, text);
    assert_int_equal(rests_s(b, find(b, "a"), "m"), 0);
    assert_int_equal(strikes(find(b, "a"), "m"), 0);
    end(b);
    assert_int_equal(sql(b, "SELECT count(*) FROM account"), 0);
}

/* Leases `b` once, lets it rest for an hour, gives it a token. */
static void fill(struct bench *b)
{
    struct account *a = find(b, "b");
    account_begin(a, uv_now(&b->loop));
    keep_account_begun(&b->engine, a);
    account_release(a, uv_now(&b->loop));
    account_failed(a, FAIL_RATE_LIMITED, SPAN("m"), 3600, uv_now(&b->loop));
    account_remember(a, SPAN("m"), "slow down");
    account_changed(a);
    assert_int_equal(account_hold(&a->view, "session", SPAN("held"), 0), 0);
}

static void expect_filled(struct bench *b)
{
    struct account *a = find(b, "b");
    assert_in_range(rests_s(b, a, ""), 3590, 3600);
    assert_int_equal(strikes(a, ""), 1);
    assert_int_equal(account_requests_on(a, clock_day(clock_wall_ms())), 1);
    assert_span_equal(account_held(&a->view, "session", 0, 0), SPAN("held"));
    assert_string_equal(a->last_error, "slow down");
}

static void an_account_that_comes_back_is_known(void **state)
{
    struct bench *b = *state;
    begin(b, TWO);
    fill(b);
    reload(b, ONE);
    assert_null(account_pool_find(b->engine.accounts, SPAN("s"), SPAN("b")));
    reload(b, TWO);
    expect_filled(b);

    restart(b, ONE); /* it is not configured while the file is read */
    reload(b, TWO);
    expect_filled(b);
    reload(b, ONE);
    reload(b, ONE ACCOUNT("b", "another")); /* another credential: a new beginning */
    assert_int_equal(rests_s(b, find(b, "b"), ""), 0);
    assert_null(find(b, "b")->view.held);
    end(b);
}

static void what_happens_while_it_is_gone_counts(void **state)
{
    struct bench *b = *state;
    begin(b, TWO);
    struct account *a = find(b, "b");
    account_begin(a, uv_now(&b->loop));
    reload(b, ONE);
    limit(b, a, "m", uv_now(&b->loop)); /* its last request ends */
    account_release(a, uv_now(&b->loop));
    reload(b, TWO);
    assert_ptr_equal(find(b, "b"), a);
    assert_int_equal(a->in_flight, 0);
    assert_in_range(rests_s(b, a, ""), 55, 72);
    reload(b, ONE);
    restart(b, ONE);
    reload(b, TWO);
    assert_in_range(rests_s(b, find(b, "b"), ""), 55, 72);
    end(b);
}

static void another_credential_is_a_new_beginning_also_after_a_restart(void **state)
{
    struct bench *b = *state;
    begin(b, TWO);
    fill(b);
    restart(b, TWO);
    expect_filled(b);
    restart(b, ONE ACCOUNT("b", "another"));
    assert_int_equal(rests_s(b, find(b, "b"), ""), 0);
    assert_null(find(b, "b")->view.held);
    assert_int_equal(account_requests_on(find(b, "b"), clock_day(clock_wall_ms())), 1);
    restart(b, TWO); /* the former one again: what it had is gone for good */
    assert_int_equal(rests_s(b, find(b, "b"), ""), 0);
    assert_null(find(b, "b")->view.held);
    end(b);

    begin(b, ONE ACCOUNT("b", "third")); /* not configured when it changed */
    fill(b);
    restart(b, ONE);
    reload(b, ONE ACCOUNT("b", "fourth"));
    assert_null(find(b, "b")->view.held);
    assert_int_equal(rests_s(b, find(b, "b"), ""), 0);
    end(b);
}

static void rows_of_days_and_accounts_long_gone_go(void **state)
{
    struct bench *b = *state;
    begin(b, TWO);
    fill(b);
    limit(b, find(b, "a"), "m", uv_now(&b->loop));
    end(b);
    sql(b, "UPDATE account SET changed_ms = changed_ms - 9 * 86400000"); /* both nine days ago */
    sql(b, "INSERT INTO counter SELECT kind, name, day - 8, 1, 0, 0 FROM counter");
    sql(b, "INSERT INTO counter SELECT kind, name, day - 1, 1, 0, 0 FROM counter");
    assert_int_equal(sql(b, "SELECT count(*) FROM counter"), 4);
    begin(b, ONE);
    keep_tidy(&b->engine);
    end(b);
    assert_int_equal(sql(b, "SELECT count(*) FROM counter"), 3);
    assert_int_equal(sql(b, "SELECT count(*) FROM account"), 1); /* of the one that is configured */
    assert_int_equal(sql(b, "SELECT account = 'a' AND strikes = 1 FROM account"), 1);
    assert_int_equal(sql(b, "SELECT count(*) FROM credential WHERE name = 'session'"), 1);
}

static struct conversation conversation_until(int64_t expires_ms, unsigned char first)
{
    return (struct conversation){.hash = {{first, 0x0F, 0xA0}},
                                 .site = SPAN("s"),
                                 .account = SPAN("a"),
                                 .credentials = UINT64_MAX,
                                 .state = SPAN("chat/1"),
                                 .expires_ms = expires_ms};
}

static void conversations_survive_until_they_end(void **state)
{
    struct bench *b = *state;
    int64_t now = clock_wall_ms();
    const struct conversation good = conversation_until(now + 600000, 0xFF),
                              over = conversation_until(now - 1, 1),
                              used = conversation_until(now + 600000, 2);
    begin(b, ONE);
    conversation_book_keep(b->engine.conversations, &good);
    conversation_book_keep(b->engine.conversations, &over);
    conversation_book_keep(b->engine.conversations, &used);
    conversation_book_forget(b->engine.conversations, &used.hash);
    end(b);
    assert_int_equal(sql(b, "SELECT count(*) FROM conversation"), 2);
    sql(b, "INSERT INTO conversation SELECT 'zz' || substr(hash, 3), site, account, state,"
           " expires_ms, credentials FROM conversation WHERE hash LIKE 'ff%'");
    sql(b, "INSERT INTO conversation VALUES('aa', 's', 'a', 'x', 9999999999999, 0)");
    begin(b, ONE);
    const struct conversation *found =
        conversation_book_find(b->engine.conversations, &good.hash, now);
    assert_non_null(found);
    assert_span_equal(found->site, SPAN("s"));
    assert_span_equal(found->account, SPAN("a"));
    assert_span_equal(found->state, SPAN("chat/1"));
    assert_true(found->credentials == UINT64_MAX && found->expires_ms == good.expires_ms);
    keep_tidy(&b->engine);
    assert_null(conversation_book_find(b->engine.conversations, &over.hash, 0));
    end(b);
    assert_int_equal(sql(b, "SELECT count(*) FROM conversation WHERE hash LIKE '01%'"), 0);
    assert_int_equal(sql(b, "SELECT count(*) FROM conversation WHERE hash LIKE 'ff%'"), 1);
}

static void uploads_survive_until_they_end(void **state)
{
    struct bench *b = *state;
    int64_t now = clock_wall_ms();
    struct upload good = {.hash = {{0xFF, 0x0F}},
                          .site = SPAN("s"),
                          .account = SPAN("a"),
                          .value = SPAN("file 1"),
                          .expires_ms = now + 600000};
    struct upload gone = good;
    gone.hash.bytes[0] = 1;
    begin(b, ONE);
    upload_book_keep(b->engine.uploads, &good);
    upload_book_keep(b->engine.uploads, &gone);
    upload_book_forget(b->engine.uploads, &gone.hash);
    end(b);
    assert_int_equal(sql(b, "SELECT count(*) FROM upload"), 1);
    sql(b, "INSERT INTO upload VALUES('zz', 's', 'a', 'x', 9999999999999, 0)");
    begin(b, ONE);
    const struct upload *found = upload_book_find(b->engine.uploads, &good.hash, now);
    assert_non_null(found);
    assert_span_equal(found->value, SPAN("file 1"));
    assert_null(upload_book_find(b->engine.uploads, &gone.hash, now));
    end(b);
}

/* A few hundred; then the one that left first is forgotten. */
static void those_who_left_are_not_remembered_without_end(void **state)
{
    struct bench *b = *state;
    begin(b, ONE);
    struct account *first = NULL;
    for (int i = 0; i < 300; i++) {
        char text[400], name[16];
        snprintf(name, sizeof name, "x%d", i);
        snprintf(text, sizeof text, "%s[[sites.accounts]]\nname = \"%s\"\napi_key = \"k\"\n", SITE,
                 name);
        reload(b, text);
        limit(b, find(b, name), "m", uv_now(&b->loop));
        if (i == 0) {
            first = find(b, name);
            account_pin(first); /* forgotten later, and not freed while it is used */
        }
    }
    reload(b, ONE);
    account_unpin(first);
    reload(b, SITE ACCOUNT("x299", "k") ACCOUNT("x0", "k"));
    assert_int_equal(strikes(find(b, "x299"), ""), 1);
    assert_int_equal(strikes(find(b, "x0"), ""), 0);
    end(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_strikes_of_an_account_survive_a_restart),
        TEST(strikes_stay_when_the_rest_is_over),
        TEST(what_is_cleared_stays_cleared),
        TEST(an_account_that_comes_back_is_known),
        TEST(what_happens_while_it_is_gone_counts),
        TEST(another_credential_is_a_new_beginning_also_after_a_restart),
        TEST(rows_of_days_and_accounts_long_gone_go),
        TEST(conversations_survive_until_they_end),
        TEST(uploads_survive_until_they_end),
        TEST(those_who_left_are_not_remembered_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
