/*
 * test/unit/test_think_splitter.c - leaked thinking, cut in two and three at every position.
 */
#include "gateway/think_splitter.h"

#include "base/buffer.h"
#include "test/unit/support/cmocka_all.h"

struct heard {
    struct buffer reasoning, text;
};

static int hear(void *owner, bool reasoning, struct span text)
{
    struct heard *h = owner;
    assert_true(text.n > 0);
    return buffer_append(reasoning ? &h->reasoning : &h->text, text);
}

static void check(struct span whole, const char *reasoning, const char *text)
{
    for (size_t a = 0; a <= whole.n; a++) {
        for (size_t b = a; b <= whole.n; b += whole.n > 40 ? 7 : 1) {
            struct think_splitter s = {0};
            struct heard h;
            buffer_init(&h.reasoning, 1000);
            buffer_init(&h.text, 1000);
            think_splitter_pass(&s, span_first(whole, a), hear, &h);
            think_splitter_pass(&s, span_of(whole.p + a, b - a), hear, &h);
            think_splitter_pass(&s, span_from(whole, b), hear, &h);
            think_splitter_end(&s, hear, &h);
            assert_span_equal(buffer_span(&h.reasoning), span_str(reasoning));
            assert_span_equal(buffer_span(&h.text), span_str(text));
            buffer_free(&h.reasoning);
            buffer_free(&h.text);
        }
    }
}

static void thinking_is_taken_out(void **state)
{
    check(SPAN("<think>a</think>b"), "a", "b");
    check(SPAN("\n <think>\na b\n</think>\n\nc\n d"), "a b\n", "c\n d");
    check(SPAN("<think></think>b"), "", "b");
    check(SPAN("<think>\n\n</think>\n\nb"), "", "b"); /* Qwen without thinking */
    check(SPAN("<think>a</think>"), "a", "");
}

static void only_at_the_beginning(void **state)
{
    check(SPAN("b<think>a</think>"), "", "b<think>a</think>");
    check(SPAN("<think>a</think>b<think>c</think>"), "a", "b<think>c</think>");
    check(SPAN("  b <think>"), "", "  b <think>");
}

static void what_only_looks_like_a_tag(void **state)
{
    check(SPAN(""), "", "");
    check(SPAN("<"), "", "<");
    check(SPAN("<thin"), "", "<thin");
    check(SPAN("<thinking>x</thinking>"), "", "<thinking>x</thinking>");
    check(SPAN("<Think>x"), "", "<Think>x");
    check(SPAN("< think>x"), "", "< think>x");
    check(SPAN("<<think>x"), "", "<<think>x");
    check(SPAN("                        <think>x"), "", "                        <think>x");
}

static void ends_inside(void **state)
{
    check(SPAN("<think>a<b </thi</think"), "a<b </thi</think", "");
    check(SPAN("<think>a</</think>b"), "a</", "b");
    check(SPAN("<think>a<</think>b"), "a<", "b");
    check(SPAN("<think>"), "", "");
}

/* A receiver that has enough is not called again. */
static int refuse(void *owner, bool reasoning, struct span text)
{
    ++*(int *)owner;
    return -1;
}

static void a_refusal_ends_it(void **state)
{
    int calls = 0;
    struct think_splitter s = {0};
    assert_int_equal(think_splitter_pass(&s, SPAN("<think>a</think>b"), refuse, &calls), -1);
    assert_int_equal(calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thinking_is_taken_out),      cmocka_unit_test(only_at_the_beginning),
        cmocka_unit_test(what_only_looks_like_a_tag), cmocka_unit_test(ends_inside),
        cmocka_unit_test(a_refusal_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
