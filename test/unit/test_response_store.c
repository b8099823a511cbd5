/*
 * test/unit/test_response_store.c - responses that are kept: chains, owners, ends, the bound, calls
 * that nobody waits for any more, encryption.
 */
#include "gateway/response_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "test/unit/support/cmocka_all.h"

enum { DAY = 24 * 60 * 60 * 1000 };

struct bench {
    uv_loop_t loop;
    char folder[64];
    const char *secret;
    struct store *store;
    struct arena arena;
    int done;
    struct response_limits limits;
    int64_t now_ms;
};

static void open_store(struct bench *b)
{
    struct fail fail;
    const struct store_reader nobody = {0};
    b->store = store_create(&b->loop, span_str(b->folder), span_str(b->secret));
    assert_non_null(b->store);
    assert_int_equal(store_open(b->store, &nobody, &fail), STORE_OPEN);
}

static void close_store(struct bench *b)
{
    store_destroy(b->store, NULL, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    assert_int_equal(uv_loop_init(&b->loop), 0);
    strcpy(b->folder, "/tmp/dragoman-responses-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    b->secret = "";
    b->limits = (struct response_limits){.ttl_ms = 30ll * DAY, .max_bytes = 1 << 20};
    b->now_ms = 1700000000000;
    arena_init(&b->arena);
    open_store(b);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    char command[128];
    close_store(b);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    snprintf(command, sizeof command, "rm -rf %s", b->folder);
    assert_int_equal(system(command), 0);
    arena_free(&b->arena);
    free(b);
    return 0;
}

static void on_done(void *arg) { ((struct bench *)arg)->done++; }

static void wait_for(struct bench *b, const struct response_call *call)
{
    assert_non_null(call);
    int before = b->done;
    while (!response_call_is_over(call))
        uv_run(&b->loop, UV_RUN_ONCE);
    assert_int_equal(b->done, before + 1);
}

static void save(struct bench *b, const char *id, const char *owner, const char *previous,
                 const char *body)
{
    struct response_call *call =
        response_store_save(b->store, span_str(id), span_str(owner), span_str(previous),
                            span_str(body), &b->limits, b->now_ms, on_done, b);
    wait_for(b, call);
    assert_true(response_call_worked(call));
    response_call_free(call);
}

static void expect(struct bench *b, const struct response_wish *wish, const char *owner,
                   const char *wanted)
{
    struct response_found *found;
    size_t n;
    struct buffer out;
    buffer_init(&out, 1 << 20);
    struct response_call *call =
        response_store_find(b->store, wish, span_str(owner), &b->limits, b->now_ms, on_done, b);
    wait_for(b, call);
    assert_true(response_call_worked(call));
    assert_int_equal(response_call_take(call, &b->arena, &found, &n), 0);
    response_call_free(call);
    for (size_t i = 0; i < n; i++)
        buffer_printf(&out, "%.*s%s=%.*s;", SPAN_ARGS(found[i].id), found[i].in_chain ? "" : "*",
                      SPAN_ARGS(found[i].body));
    buffer_char(&out, '\0');
    assert_string_equal(out.p, wanted);
    buffer_free(&out);
}

static struct response_wish chain(const char *id)
{
    return (struct response_wish){.previous = span_str(id)};
}

static void expect_chain(struct bench *b, const char *id, const char *owner, const char *wanted)
{
    struct response_wish wish = chain(id);
    expect(b, &wish, owner, wanted);
}

static bool forget(struct bench *b, const char *id, const char *owner)
{
    const struct response_wish wish = {.previous = span_str(id), .forget = true};
    struct response_call *call =
        response_store_find(b->store, &wish, span_str(owner), &b->limits, b->now_ms, on_done, b);
    wait_for(b, call);
    bool deleted = response_call_deleted(call);
    response_call_free(call);
    return deleted;
}

static void chains_come_oldest_first(void **state)
{
    struct bench *b = *state;
    const struct span references[] = {SPAN_INIT("r3"), SPAN_INIT("nobody")};
    save(b, "r1", "me", "", "one");
    save(b, "r2", "me", "r1", "two");
    save(b, "r3", "me", "", "three");
    expect_chain(b, "r2", "me", "r1=one;r2=two;");
    expect(b,
           &(struct response_wish){
               .previous = SPAN("r2"), .references = references, .n_references = 2},
           "me", "r3*=three;r1=one;r2=two;");
    expect(b, &(struct response_wish){.previous = SPAN("r2"), .alone = true}, "me", "r2=two;");
    expect_chain(b, "nobody", "me", "");
    expect_chain(b, "r1\"; --", "me", "");
    close_store(b);
    open_store(b);
    expect_chain(b, "r2", "me", "r1=one;r2=two;");
}

static void nobody_sees_anothers(void **state)
{
    struct bench *b = *state;
    const struct span references[] = {SPAN_INIT("r1")};
    save(b, "r1", "me", "", "one");
    expect_chain(b, "r1", "you", "");
    expect(b, &(struct response_wish){.references = references, .n_references = 1}, "you", "");
    assert_false(forget(b, "r1", "you"));
    expect_chain(b, "r1", "me", "r1=one;");
    save(b, "r2", "you", "r1", "two"); /* even if somebody could make such a chain */
    expect_chain(b, "r2", "you", "");
}

static void a_chain_with_a_hole_is_none(void **state)
{
    struct bench *b = *state;
    save(b, "r1", "me", "", "one");
    save(b, "r2", "me", "r1", "two");
    assert_true(forget(b, "r1", "me"));
    assert_false(forget(b, "r1", "me"));
    expect_chain(b, "r2", "me", "");
    expect(b, &(struct response_wish){.previous = SPAN("r2"), .alone = true}, "me", "r2=two;");
}

static void they_end_and_are_renewed(void **state)
{
    struct bench *b = *state;
    save(b, "r1", "me", "", "one");
    save(b, "r2", "me", "", "two");
    b->now_ms += 29ll * DAY;
    expect_chain(b, "r1", "me", "r1=one;"); /* 30 days from now on */
    b->now_ms += 2ll * DAY;
    expect_chain(b, "r1", "me", "r1=one;");
    expect_chain(b, "r2", "me", "");
    save(b, "r3", "me", "r1", "three");
    b->now_ms += 29ll * DAY;
    expect_chain(b, "r3", "me", "r1=one;r3=three;");
}

static void short_lives_are_renewed_as_well(void **state)
{
    enum { HOUR = 60 * 60 * 1000 };
    struct bench *b = *state;
    b->limits.ttl_ms = HOUR;
    save(b, "r1", "me", "", "one");
    for (int i = 0; i < 4; i++) {
        b->now_ms += HOUR / 2;
        expect_chain(b, "r1", "me", "r1=one;");
    }
    b->now_ms += HOUR;
    expect_chain(b, "r1", "me", "");
}

static void what_is_too_much_goes(void **state)
{
    struct bench *b = *state;
    char id[16];
    b->limits.max_bytes = 100;
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "r%02d", i);
        b->now_ms++;
        save(b, id, "me", "", "ten bytes.");
    }
    expect_chain(b, "r09", "me", "");
    expect_chain(b, "r19", "me", "r19=ten bytes.;");
    expect_chain(b, "r15", "me", "r15=ten bytes.;");
    b->limits.max_bytes = 5; /* the one that was just saved stays */
    save(b, "r20", "me", "", "ten bytes.");
    expect_chain(b, "r20", "me", "r20=ten bytes.;");
    expect_chain(b, "r19", "me", "");
}

static void nobody_waits_for_a_call_that_was_freed(void **state)
{
    struct bench *b = *state;
    struct response_wish wish = chain("r1");
    response_call_free(response_store_save(b->store, SPAN("r1"), SPAN("me"), SPAN(""), SPAN("one"),
                                           &b->limits, b->now_ms, on_done, b));
    response_call_free(
        response_store_find(b->store, &wish, SPAN("me"), &b->limits, b->now_ms, on_done, b));
    expect_chain(b, "r1", "me", "r1=one;"); /* it was saved all the same */
    assert_int_equal(b->done, 1);
    /* The end comes while a call is on its way. */
    struct response_call *call =
        response_store_find(b->store, &wish, SPAN("me"), &b->limits, b->now_ms, on_done, b);
    close_store(b);
    assert_true(response_call_is_over(call));
    response_call_free(call);
    open_store(b);
}

static bool file_holds(const struct bench *b, const char *text)
{
    char command[256];
    snprintf(command, sizeof command, "grep -qa '%s' %s/dragoman.db*", text, b->folder);
    return system(command) == 0;
}

static void they_are_encrypted_with_a_secret(void **state)
{
    struct bench *b = *state;
    save(b, "r1", "me", "", "needle one");
    assert_true(file_holds(b, "needle"));
    close_store(b);
    b->secret = "sixteen letters!";
    open_store(b);
    assert_false(file_holds(b, "needle"));
    save(b, "r2", "me", "r1", "needle two");
    expect_chain(b, "r2", "me", "r1=needle one;r2=needle two;");
    b->now_ms += 29ll * DAY; /* renewed, and still readable */
    expect_chain(b, "r2", "me", "r1=needle one;r2=needle two;");
    expect_chain(b, "r2", "me", "r1=needle one;r2=needle two;");
    assert_false(file_holds(b, "needle"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(chains_come_oldest_first),
        TEST(nobody_sees_anothers),
        TEST(a_chain_with_a_hole_is_none),
        TEST(they_end_and_are_renewed),
        TEST(short_lives_are_renewed_as_well),
        TEST(what_is_too_much_goes),
        TEST(nobody_waits_for_a_call_that_was_freed),
        TEST(they_are_encrypted_with_a_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
