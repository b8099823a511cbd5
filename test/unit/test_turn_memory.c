/*
 * test_turn_memory.c - gateway/turn_memory.h: what is kept is found, by its own scope alone, until
 * it is old or too much came after it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/turn_memory.h"
#include "test/unit/support/cmocka_all.h"

static void kept_and_found(void **state)
{
    struct turn_memory *m = turn_memory_create();
    assert_non_null(m);
    turn_memory_keep(m, 1, SPAN("call_a"), SPAN("signature"), 100);
    assert_span_equal(turn_memory_recall(m, 1, SPAN("call_a"), 100), SPAN("signature"));
    assert_null(turn_memory_recall(m, 2, SPAN("call_a"), 100).p);
    assert_null(turn_memory_recall(m, 1, SPAN("call_b"), 100).p);
    turn_memory_keep(m, 1, SPAN("call_a"), SPAN(""), 200);
    assert_non_null(turn_memory_recall(m, 1, SPAN("call_a"), 200).p);
    assert_int_equal(turn_memory_recall(m, 1, SPAN("call_a"), 200).n, 0);
    turn_memory_destroy(m);
    turn_memory_destroy(NULL);
}

static void every_client_has_a_scope_of_its_own(void **state)
{
    static const struct {
        struct span key, visitor, site;
    } clients[] = {
        {SPAN_INIT(""), SPAN_INIT(""), SPAN_INIT("gemini")},
        {SPAN_INIT("cherry"), SPAN_INIT(""), SPAN_INIT("gemini")},
        {SPAN_INIT("cherryg"), SPAN_INIT(""), SPAN_INIT("emini")}, /* the same letters in a row */
        {SPAN_INIT("cherry"), SPAN_INIT(""), SPAN_INIT("anthropic")},
        {SPAN_INIT(""), SPAN_INIT("sk-a"), SPAN_INIT("gemini")}, /* visitors, each with its key */
        {SPAN_INIT(""), SPAN_INIT("sk-b"), SPAN_INIT("gemini")},
        {SPAN_INIT(""), SPAN_INIT("cherry"), SPAN_INIT("gemini")},
    };
    enum { N = sizeof clients / sizeof *clients };
    uint64_t scopes[N];
    for (size_t i = 0; i < N; i++) {
        scopes[i] = turn_memory_scope(clients[i].key, clients[i].visitor, clients[i].site);
        assert_int_equal(scopes[i] & 1, clients[i].visitor.n > 0);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(scopes[i], scopes[k]);
    }
}

static void a_day_later_it_is_gone(void **state)
{
    struct turn_memory *m = turn_memory_create();
    assert_non_null(m);
    turn_memory_keep(m, 1, SPAN("k"), SPAN("v"), 1000);
    assert_non_null(turn_memory_recall(m, 1, SPAN("k"), 1000 + TURN_MEMORY_MS - 1).p);
    assert_null(turn_memory_recall(m, 1, SPAN("k"), 1000 + TURN_MEMORY_MS).p);
    turn_memory_destroy(m);
}

static struct span numbered(char *text, int i)
{
    return span_of(text, (size_t)snprintf(text, 16, "k%d", i));
}

static void the_oldest_makes_room(void **state)
{
    struct turn_memory *m = turn_memory_create();
    assert_non_null(m);
    char text[16];
    for (int i = 0; i < TURN_MEMORY_ENTRIES + 10; i++) {
        turn_memory_keep(m, 1, numbered(text, i), SPAN("v"), 0);
        turn_memory_keep(m, 1, SPAN("again"), SPAN("v"), 0); /* leaves holes in the ring */
    }
    assert_null(turn_memory_recall(m, 1, numbered(text, 0), 0).p);
    assert_non_null(turn_memory_recall(m, 1, numbered(text, TURN_MEMORY_ENTRIES + 9), 0).p);
    assert_non_null(turn_memory_recall(m, 1, SPAN("again"), 0).p);
    turn_memory_destroy(m);
}

static void bytes_are_bounded(void **state)
{
    struct turn_memory *m = turn_memory_create();
    assert_non_null(m);
    size_t n = TURN_MEMORY_BYTES / 20;
    char *big = calloc(1, TURN_MEMORY_BYTES / 16 + 1);
    char text[16];
    for (int i = 0; i < 40; i++)
        turn_memory_keep(m, 1, numbered(text, i), span_of(big, n), 0);
    int known = 0;
    for (int i = 0; i < 40; i++)
        known += turn_memory_recall(m, 1, numbered(text, i), 0).p != NULL;
    assert_in_range(known, 15, 19);
    turn_memory_keep(m, 1, SPAN("huge"), span_of(big, TURN_MEMORY_BYTES / 16), 0);
    assert_null(turn_memory_recall(m, 1, SPAN("huge"), 0).p);
    free(big);
    turn_memory_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_and_found),
        cmocka_unit_test(every_client_has_a_scope_of_its_own),
        cmocka_unit_test(a_day_later_it_is_gone),
        cmocka_unit_test(the_oldest_makes_room),
        cmocka_unit_test(bytes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
