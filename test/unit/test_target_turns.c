/*
 * test/unit/test_target_turns.c - smooth weighted round robin among the targets of a model.
 */
#include "gateway/target_turns.h"
#include "test/unit/support/cmocka_all.h"

#define SITE "[[sites]]\nname='s'\nadapter='openai'\nbase_url='http://127.0.0.1:9/v1'\n"
#define MODEL(id, b)                                                                               \
    "[[models]]\nid='" id "'\ntargets=[{target='s/a', weight=3}, {target='s/b', weight=" b         \
    "}, 's/c']\n"

static void configure(struct target_turns *t, const char *text)
{
    struct buffer errors;
    buffer_init(&errors, 1 << 16);
    struct config *config = config_parse(span_str(text), "t.toml", &errors);
    if (!config)
        fail_msg("%.*s", SPAN_ARGS(buffer_span(&errors)));
    assert_int_equal(target_turns_configure(t, config), 0);
    config_unref(config);
    buffer_free(&errors);
}

/* The next turns as letters. */
static void expect(struct target_turns *t, const char *model, const int weights[3],
                   const char *wanted)
{
    char got[64] = "";
    for (size_t i = 0; wanted[i]; i++)
        got[i] = (char)('a' + target_turns_next(t, span_str(model), weights, 3));
    assert_string_equal(got, wanted);
}

static const int all[3] = {3, 2, 1};

static void turns_are_smooth_and_exact(void **state)
{
    struct target_turns *t = target_turns_create();
    assert_non_null(t);
    int counts[3] = {0};
    configure(t, SITE MODEL("m", "2"));
    expect(t, "m", all,
           "abacba"
           "abacba");
    for (int i = 0; i < 6000; i++)
        counts[target_turns_next(t, SPAN("m"), all, 3)]++;
    assert_int_equal(counts[0], 3000);
    assert_int_equal(counts[1], 2000);
    assert_int_equal(counts[2], 1000);
    target_turns_destroy(t);
}

static void models_do_not_disturb_each_other(void **state)
{
    struct target_turns *t = target_turns_create();
    assert_non_null(t);
    configure(t, SITE MODEL("m", "2") MODEL("n", "2"));
    expect(t, "m", all, "ab");
    expect(t, "n", all, "abacba");
    expect(t, "m", all, "acba");
    target_turns_destroy(t);
}

/* Some requests may not ask every target: the others share their turns as their weights say. */
static void a_target_may_be_left_out(void **state)
{
    struct target_turns *t = target_turns_create();
    assert_non_null(t);
    configure(t, SITE MODEL("m", "2"));
    expect(t, "m", (const int[3]){0, 2, 1}, "bcbbcb");
    expect(t, "m", (const int[3]){0, 0, 0}, "aaa");
    expect(t, "m", all, "abacba");
    target_turns_destroy(t);
}

static void a_reload_goes_on_where_it_was(void **state)
{
    struct target_turns *t = target_turns_create();
    assert_non_null(t);
    configure(t, SITE MODEL("m", "2"));
    expect(t, "m", all, "ab");
    configure(t, SITE MODEL("before", "1") MODEL("m", "2"));
    expect(t, "m", all, "acba");
    expect(t, "m", all, "ab");
    configure(t, SITE MODEL("m", "3")); /* other weights: from the beginning */
    expect(t, "m", (const int[3]){3, 3, 1}, "abcabab");
    target_turns_destroy(t);
}

/* A request under a config that is no more, or one that is not yet. */
static void an_unknown_model_has_the_files_order(void **state)
{
    struct target_turns *t = target_turns_create();
    assert_non_null(t);
    expect(t, "m", all, "aaa");
    configure(t, SITE MODEL("m", "2"));
    assert_int_equal(target_turns_next(t, SPAN("m"), (const int[2]){0, 5}, 2), 1);
    expect(t, "m", all, "abacba");
    configure(t, SITE "[[models]]\nid='m'\ntargets=['s/a', 's/b', 's/c']\n");
    expect(t, "m", all, "aaa");
    target_turns_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_are_smooth_and_exact),
        cmocka_unit_test(models_do_not_disturb_each_other),
        cmocka_unit_test(a_target_may_be_left_out),
        cmocka_unit_test(a_reload_goes_on_where_it_was),
        cmocka_unit_test(an_unknown_model_has_the_files_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
