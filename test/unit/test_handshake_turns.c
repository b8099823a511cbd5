/*
 * test/unit/test_handshake_turns.c - whose turn it is at a cold origin, and the thread that
 * computes.
 */
#include <stdlib.h>

#include "gateway/handshake_thread.h"
#include "gateway/handshake_turns.h"
#include "test/unit/support/cmocka_all.h"

enum { MANY = 32 };

struct crowd {
    uv_loop_t loop;
    struct handshake_turns *turns;
    struct place {
        struct handshake_place place;
        bool begun;
    } places[MANY];
    bool closed;
};

static void on_go(struct handshake_place *place)
{
    struct place *p = (struct place *)place;
    assert_false(p->begun);
    p->begun = true;
}

static void on_closed(void *arg) { *(bool *)arg = true; }

static int gather(void **state)
{
    struct crowd *c = calloc(1, sizeof *c);
    assert_non_null(c);
    assert_int_equal(uv_loop_init(&c->loop), 0);
    c->turns = handshake_turns_create(&c->loop);
    assert_non_null(c->turns);
    for (size_t i = 0; i < MANY; i++)
        c->places[i].place.go = on_go;
    *state = c;
    return 0;
}

static int scatter(void **state)
{
    struct crowd *c = *state;
    handshake_turns_close(c->turns, on_closed, &c->closed);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    int bad = !c->closed || uv_loop_close(&c->loop) != 0;
    free(c);
    return bad;
}

static bool enter(struct crowd *c, size_t i, const char *key)
{
    c->places[i].begun = handshake_turns_enter(c->turns, &c->places[i].place, key);
    return c->places[i].begun;
}

static void leave(struct crowd *c, size_t i, enum handshake_end end)
{
    handshake_turns_leave(c->turns, &c->places[i].place, end);
    c->places[i].begun = false;
}

static size_t count_begun(const struct crowd *c)
{
    size_t n = 0;
    for (size_t i = 0; i < MANY; i++)
        n += c->places[i].begun;
    return n;
}

/* Everybody at once; only the first one begins. */
static void enter_all(struct crowd *c)
{
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(enter(c, i, "origin"), i == 0);
}

/* What the loop has to do now, but no waiting. */
static void turn(struct crowd *c)
{
    for (int i = 0; i < MANY; i++)
        uv_run(&c->loop, UV_RUN_NOWAIT);
}

static void the_first_goes_ahead_and_the_others_follow(void **state)
{
    struct crowd *c = *state;
    enter_all(c);
    turn(c);
    assert_int_equal(count_begun(c), 1);
    leave(c, 0, HANDSHAKE_FULL);
    assert_int_equal(count_begun(c), 0); /* nobody is called inside somebody else's end */
    turn(c);
    assert_int_equal(count_begun(c), MANY - 1);
    for (size_t i = 1; i < MANY; i++)
        leave(c, i, HANDSHAKE_RESUMED);
    assert_true(enter(c, 0, "origin")); /* fresh: nobody waits */
    assert_true(enter(c, 1, "origin"));
    assert_true(enter(c, 2, "elsewhere")); /* another origin is another matter */
    assert_false(enter(c, 3, "elsewhere"));
    for (size_t i = 0; i < 4; i++)
        leave(c, i, HANDSHAKE_GIVEN_UP);
}

static void each_turn_of_the_loop_calls_a_few(void **state)
{
    struct crowd *c = *state;
    enter_all(c);
    leave(c, 0, HANDSHAKE_FULL);
    uv_run(&c->loop, UV_RUN_NOWAIT);
    assert_in_range(count_begun(c), 1, 8);
    turn(c);
    for (size_t i = 1; i < MANY; i++)
        leave(c, i, HANDSHAKE_RESUMED);
}

static void after_a_failure_the_next_one_goes_ahead(void **state)
{
    struct crowd *c = *state;
    enter_all(c);
    leave(c, 0, HANDSHAKE_FAILED);
    turn(c);
    assert_int_equal(count_begun(c), 1);
    assert_true(c->places[1].begun);
    leave(c, 1, HANDSHAKE_GIVEN_UP); /* the same when its client left */
    leave(c, 2, HANDSHAKE_GIVEN_UP); /* called, but gone before it could begin */
    turn(c);
    assert_int_equal(count_begun(c), 1);
    assert_true(c->places[3].begun);
    leave(c, 20, HANDSHAKE_GIVEN_UP); /* one of those who wait */
    leave(c, 3, HANDSHAKE_FULL);
    turn(c);
    assert_int_equal(count_begun(c), MANY - 5);
    for (size_t i = 4; i < MANY; i++)
        if (i != 20)
            leave(c, i, HANDSHAKE_RESUMED);
    assert_true(enter(c, 0, "origin"));
    leave(c, 0, HANDSHAKE_FAILED); /* what was known is not: one goes ahead again */
    assert_true(enter(c, 0, "origin"));
    assert_false(enter(c, 1, "origin"));
    leave(c, 1, HANDSHAKE_GIVEN_UP);
    leave(c, 0, HANDSHAKE_GIVEN_UP);
}

static void nobody_waits_for_ever(void **state)
{
    struct crowd *c = *state;
    enter_all(c);
    uint64_t began = uv_now(&c->loop);
    while (count_begun(c) < MANY)
        uv_run(&c->loop, UV_RUN_ONCE);
    assert_true(uv_now(&c->loop) - began >= HANDSHAKE_WAIT_MS);
    for (size_t i = 1; i < MANY; i++)
        leave(c, i, HANDSHAKE_GIVEN_UP);
    assert_true(enter(c, 1, "origin")); /* in the place of the one that hangs */
    assert_false(enter(c, 2, "origin"));
    leave(c, 1, HANDSHAKE_FULL);
    leave(c, 0, HANDSHAKE_FAILED);
    turn(c);
    assert_true(c->places[2].begun);
    leave(c, 2, HANDSHAKE_RESUMED);
}

static void what_is_computed_here_is_waited_for(void **state)
{
    struct crowd *c = *state;
    assert_true(enter(c, 0, "origin"));
    assert_false(enter(c, 1, "origin"));
    c->places[0].place.computing = true;
    uint64_t began = uv_now(&c->loop);
    while (uv_now(&c->loop) - began < 2 * HANDSHAKE_WAIT_MS)
        uv_run(&c->loop, UV_RUN_ONCE);
    assert_false(c->places[1].begun);
    c->places[0].place.computing = false;
    while (!c->places[1].begun)
        uv_run(&c->loop, UV_RUN_ONCE);
    leave(c, 0, HANDSHAKE_GIVEN_UP);
    leave(c, 1, HANDSHAKE_GIVEN_UP);
}

static void an_origin_without_sessions_makes_nobody_wait(void **state)
{
    struct crowd *c = *state;
    enter_all(c);
    leave(c, 0, HANDSHAKE_SESSIONLESS);
    turn(c);
    assert_int_equal(count_begun(c), MANY - 1);
    for (size_t i = 1; i < MANY; i++)
        leave(c, i, i % 2 ? HANDSHAKE_SESSIONLESS : HANDSHAKE_FAILED);
    for (size_t i = 0; i < MANY; i++)
        assert_true(enter(c, i, "origin"));
    for (size_t i = 0; i < MANY; i++)
        leave(c, i, HANDSHAKE_FAILED);
    assert_true(enter(c, 0, "origin"));
    assert_true(enter(c, 1, "origin"));
    leave(c, 0, HANDSHAKE_FULL); /* it has learnt to */
    leave(c, 1, HANDSHAKE_FAILED);
    assert_true(enter(c, 0, "origin"));
    assert_false(enter(c, 1, "origin"));
    leave(c, 1, HANDSHAKE_GIVEN_UP);
    leave(c, 0, HANDSHAKE_GIVEN_UP);
}

static void nor_does_one_that_takes_none_up(void **state)
{
    struct crowd *c = *state;
    assert_true(enter(c, 0, "origin"));
    leave(c, 0, HANDSHAKE_DECLINED); /* once is what an old session gets */
    assert_true(enter(c, 0, "origin"));
    leave(c, 0, HANDSHAKE_FAILED);
    assert_true(enter(c, 0, "origin"));
    assert_false(enter(c, 1, "origin"));
    leave(c, 1, HANDSHAKE_GIVEN_UP);
    leave(c, 0, HANDSHAKE_DECLINED);
    assert_true(enter(c, 0, "origin"));
    leave(c, 0, HANDSHAKE_FAILED);
    assert_true(enter(c, 0, "origin"));
    assert_true(enter(c, 1, "origin"));
    leave(c, 0, HANDSHAKE_RESUMED); /* it does, after all */
    leave(c, 1, HANDSHAKE_FAILED);
    assert_true(enter(c, 0, "origin"));
    assert_false(enter(c, 1, "origin"));
    leave(c, 1, HANDSHAKE_GIVEN_UP);
    leave(c, 0, HANDSHAKE_GIVEN_UP);
}

static void old_origins_are_forgotten(void **state)
{
    struct crowd *c = *state;
    char key[32];
    assert_true(enter(c, 0, "origin"));
    leave(c, 0, HANDSHAKE_FULL);
    assert_true(enter(c, 1, "busy"));
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "other %d", i);
        assert_true(enter(c, 2, key));
        leave(c, 2, HANDSHAKE_FULL);
    }
    assert_false(enter(c, 3, "busy")); /* somebody is at it */
    leave(c, 3, HANDSHAKE_GIVEN_UP);
    leave(c, 1, HANDSHAKE_GIVEN_UP);
    assert_true(enter(c, 0, "origin")); /* cold again */
    assert_false(enter(c, 1, "origin"));
    leave(c, 1, HANDSHAKE_GIVEN_UP);
    leave(c, 0, HANDSHAKE_GIVEN_UP);
}

/* ---- the thread ---- */

struct job {
    struct handshake_work work;
    uv_sem_t *gate; /* run waits for it */
    uv_thread_t ran_on;
    int runs, ends;
};

static void run_job(struct handshake_work *work)
{
    struct job *job = (struct job *)work;
    if (job->gate)
        uv_sem_wait(job->gate);
    job->ran_on = uv_thread_self();
    job->runs++;
}

static void end_job(struct handshake_work *work) { ((struct job *)work)->ends++; }

static void works_run_elsewhere_one_after_the_other(void **state)
{
    enum { JOBS = 5 };
    uv_loop_t loop;
    uv_sem_t gate;
    bool closed = false;
    struct job jobs[JOBS] = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    uv_sem_init(&gate, 0);
    struct handshake_thread *t = handshake_thread_create(&loop);
    assert_non_null(t);
    for (int i = 0; i < JOBS; i++) {
        jobs[i].work.run = run_job;
        jobs[i].work.done = end_job;
        jobs[i].gate = i == 0 ? &gate : NULL;
        assert_int_equal(handshake_thread_begin(t, &jobs[i].work), 0);
    }
    /* The first one stands at the gate, so the last one cannot have begun. */
    assert_true(handshake_thread_take_back(t, &jobs[JOBS - 1].work));
    handshake_thread_close(t, on_closed, &closed); /* what was begun ends */
    uv_sem_post(&gate);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(closed);
    uv_thread_t here = uv_thread_self();
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].runs, i < JOBS - 1);
        assert_int_equal(jobs[i].ends, i < JOBS - 1);
        assert_false(jobs[i].runs && uv_thread_equal(&here, &jobs[i].ran_on));
    }
    uv_sem_destroy(&gate);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_thread_without_work_is_none(void **state)
{
    uv_loop_t loop;
    bool closed = false;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct handshake_thread *t = handshake_thread_create(&loop);
    assert_non_null(t);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* keeps no loop alive */
    handshake_thread_close(t, on_closed, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
#define CROWD(test) cmocka_unit_test_setup_teardown(test, gather, scatter)
    const struct CMUnitTest tests[] = {
        CROWD(the_first_goes_ahead_and_the_others_follow),
        CROWD(each_turn_of_the_loop_calls_a_few),
        CROWD(after_a_failure_the_next_one_goes_ahead),
        CROWD(nobody_waits_for_ever),
        CROWD(what_is_computed_here_is_waited_for),
        CROWD(an_origin_without_sessions_makes_nobody_wait),
        CROWD(nor_does_one_that_takes_none_up),
        CROWD(old_origins_are_forgotten),
        cmocka_unit_test(works_run_elsewhere_one_after_the_other),
        cmocka_unit_test(a_thread_without_work_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
