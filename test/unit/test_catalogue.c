/*
 * test/unit/test_catalogue.c - where a model id leads (design §4, last line), and what the list
 * shows. Lists here are static; live ones are the end-to-end tests' business.
 */
#include "gateway/catalogue.h"
#include "test/unit/support/cmocka_all.h"

static const char text[] =
    "[[sites]]\nname = \"one\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"
    "models = [\"m-1\", \"shared\", \"org/m-2\"]\n"
    "[[sites]]\nname = \"two\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"
    "models = [\"shared\", \"only-two\"]\n"
    "[[models]]\nid = \"best\"\ntargets = [\"two/only-two\", \"one/org/m-2\"]\n"
    "[[models]]\nid = \"m-1\"\ntargets = [\"two/shared\"]\n"
    "[[keys]]\nkey = \"sk-000000000001\"\nmodels = [\"one/*\", \"best\"]\n"
    "[[keys]]\nkey = \"sk-000000000002\"\n";

struct bench {
    uv_loop_t loop;
    struct upstream *upstream;
    struct account_pool *accounts;
    struct catalogue *catalogue;
    struct config *config;
    struct arena arena;
};

static void on_saved(void *owner, const char *site, const char *account, const char *name,
                     const char *value, int64_t expires_ms)
{
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    struct buffer errors;
    uv_loop_init(&b->loop);
    buffer_init(&errors, 1 << 16);
    b->config = config_parse(span_str(text), "t.toml", &errors);
    if (!b->config)
        fail_msg("%.*s", SPAN_ARGS(buffer_span(&errors)));
    buffer_free(&errors);
    b->upstream = upstream_create(&b->loop);
    b->accounts = account_pool_create(on_saved, NULL);
    account_pool_configure(b->accounts, b->config);
    b->catalogue = catalogue_create(&b->loop, b->upstream, b->accounts);
    catalogue_configure(b->catalogue, b->config);
    arena_init(&b->arena);
    *state = b;
    return 0;
}

static void on_upstream_closed(void *arg) {}

static int tear_down(void **state)
{
    struct bench *b = *state;
    catalogue_destroy(b->catalogue);
    account_pool_destroy(b->accounts);
    upstream_destroy(b->upstream, on_upstream_closed, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    config_unref(b->config);
    arena_free(&b->arena);
    free(b);
    return 0;
}

/* "site:model …", or the failure's message. */
static void expect(struct bench *b, const char *id, const char *wanted)
{
    const struct target *targets;
    size_t n = 0;
    struct fail fail = {0};
    struct buffer got;
    buffer_init(&got, 1000);
    enum resolve_result r = catalogue_resolve(b->catalogue, b->config, span_str(id), true,
                                              &b->arena, &targets, &n, &fail);
    if (r == RESOLVED) {
        for (size_t i = 0; i < n; i++)
            buffer_printf(&got, "%s%.*s:%.*s", i ? " " : "",
                          SPAN_ARGS(targets[i].site->settings.name), SPAN_ARGS(targets[i].model));
        assert_span_equal(buffer_span(&got), span_str(wanted));
    } else {
        assert_int_equal(r, RESOLVE_UNKNOWN);
        assert_int_equal(fail.kind, FAIL_MODEL_NOT_FOUND);
        if (!strstr(fail.message, wanted))
            fail_msg("%s: \"%s\" does not say \"%s\"", id, fail.message, wanted);
    }
    buffer_free(&got);
}

static void ids_lead_to_targets(void **state)
{
    struct bench *b = *state;
    expect(b, "best", "two:only-two one:org/m-2");
    expect(b, "m-1", "two:shared"); /* a configured name wins */
    expect(b, "one/m-1", "one:m-1");
    expect(b, "shared", "one:shared"); /* the first configured site */
    expect(b, "only-two", "two:only-two");
    expect(b, "org/m-2", "one:org/m-2");
    expect(b, "one/org/m-2", "one:org/m-2");
    expect(b, "two/not-listed", "two:not-listed"); /* lists are not complete: the site decides */
}

static void near_ids_are_named(void **state)
{
    struct bench *b = *state;
    expect(b, "only-too", "only-two");
    expect(b, "bset", "best");
    expect(b, "three/m", "three/m");
    expect(b, "", "");
}

static void collect(void *owner, struct span id, struct span owned_by)
{
    buffer_printf(owner, "%.*s(%.*s) ", SPAN_ARGS(id), SPAN_ARGS(owned_by));
}

static void the_list_is_in_order(void **state)
{
    struct bench *b = *state;
    struct buffer got;
    buffer_init(&got, 1000);
    catalogue_each(b->catalogue, b->config, collect, &got);
    assert_true(span_starts(buffer_span(&got), SPAN("best(")));
    static const char *const ids[] = {"best(two) ",     "m-1(two) ",      "one/m-1(one) ",
                                      " shared(one) ",  " org/m-2(one) ", "two/shared(two) ",
                                      " only-two(two) "};
    ptrdiff_t before = -1;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        ptrdiff_t at = span_find(buffer_span(&got), span_str(ids[i]));
        if (at <= before)
            fail_msg("%s is not in its place: %.*s", ids[i], SPAN_ARGS(buffer_span(&got)));
        before = at;
    }
    buffer_free(&got);
}

static void keys_choose_models(void **state)
{
    struct bench *b = *state;
    const struct key_config *some = &b->config->keys[0], *all = &b->config->keys[1];
    assert_true(key_allows_model(some, SPAN("one/m-1")) && key_allows_model(some, SPAN("best")));
    assert_false(key_allows_model(some, SPAN("two/shared")) ||
                 key_allows_model(some, SPAN("best2")));
    assert_true(key_allows_model(all, SPAN("two/shared")) && key_allows_model(NULL, SPAN("x")));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(ids_lead_to_targets),
        TEST(near_ids_are_named),
        TEST(the_list_is_in_order),
        TEST(keys_choose_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
