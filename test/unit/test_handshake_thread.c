/*
 * test/unit/test_handshake_thread.c - works on the thread beside the loop, and its end.
 */
#include "gateway/handshake_thread.h"
#include "test/unit/support/cmocka_all.h"

enum { WORKS = 20 };

struct bench {
    uv_loop_t loop;
    struct handshake_thread *thread;
    size_t ran; /* the thread's */
    size_t done;
    bool closed;
    uv_sem_t gate;
};

struct number {
    struct handshake_work work; /* first */
    struct bench *bench;
    size_t number, ran_as;
};

static void begin(struct bench *b)
{
    *b = (struct bench){.ran = 0};
    assert_int_equal(uv_loop_init(&b->loop), 0);
    b->thread = handshake_thread_create(&b->loop);
    assert_non_null(b->thread);
}

static void on_closed(void *arg) { ((struct bench *)arg)->closed = true; }

static void end(struct bench *b)
{
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_true(b->closed);
    assert_int_equal(uv_loop_close(&b->loop), 0);
}

static void run(struct handshake_work *work)
{
    struct number *n = (struct number *)work;
    n->ran_as = n->bench->ran++;
}

static void done(struct handshake_work *work)
{
    struct number *n = (struct number *)work;
    assert_int_equal(n->number, n->bench->done++);
    assert_int_equal(n->number, n->ran_as);
}

static void works_run_one_after_the_other(void **state)
{
    struct bench b;
    struct number numbers[WORKS];
    begin(&b);
    for (size_t i = 0; i < WORKS; i++) {
        numbers[i] = (struct number){{.run = run, .done = done}, &b, i, 0};
        assert_int_equal(handshake_thread_begin(b.thread, &numbers[i].work), 0);
    }
    handshake_thread_close(b.thread, on_closed, &b); /* what is under way is done first */
    end(&b);
    assert_int_equal(b.done, WORKS);
}

static void wait_for_gate(struct handshake_work *work)
{
    struct number *n = (struct number *)work;
    uv_sem_wait(&n->bench->gate);
    n->ran_as = n->bench->ran++;
}

static void done_in_any_order(struct handshake_work *work)
{
    ((struct number *)work)->bench->done++;
}

static void groups_take_turns(void **state)
{
    struct bench b;
    struct number first, flood[WORKS], other[2];
    begin(&b);
    assert_int_equal(uv_sem_init(&b.gate, 0), 0);
    first = (struct number){{.run = wait_for_gate, .done = done_in_any_order}, &b, 0, 0};
    assert_int_equal(handshake_thread_begin(b.thread, &first.work), 0); /* all others wait */
    for (size_t i = 0; i < WORKS; i++) {
        flood[i] = (struct number){{.run = run, .done = done_in_any_order, .group = 7}, &b, i, 0};
        assert_int_equal(handshake_thread_begin(b.thread, &flood[i].work), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        other[i] = (struct number){
            {.run = run, .done = done_in_any_order, .group = 5 + HANDSHAKE_TURNS}, &b, i, 0};
        assert_int_equal(handshake_thread_begin(b.thread, &other[i].work), 0);
    }
    assert_true(handshake_thread_take_back(b.thread, &flood[WORKS - 1].work));
    uv_sem_post(&b.gate);
    handshake_thread_close(b.thread, on_closed, &b);
    end(&b);
    assert_int_equal(b.done, WORKS + 2);
    assert_in_range(other[0].ran_as, 1, 2);
    assert_in_range(other[1].ran_as, 3, 4);
    for (size_t i = 1; i < WORKS - 1; i++)
        assert_true(flood[i].ran_as > flood[i - 1].ran_as);
    uv_sem_destroy(&b.gate);
}

/* Also when the last work never began. */
static void what_is_taken_back_does_not_keep_it_from_its_end(void **state)
{
    for (int i = 0; i < 100; i++) {
        struct bench b;
        begin(&b);
        struct number one = {{.run = run, .done = done}, &b, 0, 0};
        assert_int_equal(handshake_thread_begin(b.thread, &one.work), 0);
        handshake_thread_close(b.thread, on_closed, &b);
        bool taken = handshake_thread_take_back(b.thread, &one.work);
        end(&b);
        assert_int_equal(b.done, !taken);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(works_run_one_after_the_other),
        cmocka_unit_test(groups_take_turns),
        cmocka_unit_test(what_is_taken_back_does_not_keep_it_from_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
