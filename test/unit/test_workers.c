/*
 * test/unit/test_workers.c - gateway/workers.h as serve() uses it: engines and servers of the demo
 * on real threads. What clients see of several loops is test/e2e/workers.test.mjs' business.
 */
#include "gateway/workers.h"

#include "gateway/front.h"
#include "gateway/metrics_page.h"
#include "test/unit/support/cmocka_all.h"

enum { WORKERS = 24 };

struct bench {
    uv_loop_t loop;
    uv_timer_t ended; /* looks whether all have */
    struct config *config;
    struct shared *shared;
    struct mailbox *mailbox;
    struct engine *engine;
    struct http_server *http;
    struct workers *workers;
};

static void begin(struct bench *b)
{
    struct fail fail;
    struct buffer errors;
    buffer_init(&errors, 4096);
    b->config = config_parse(SPAN("[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\n"
                                  "[[sites]]\nname = \"demo\"\nadapter = \"demo\"\n"),
                             "", &errors);
    assert_non_null(b->config);
    buffer_free(&errors);
    assert_int_equal(uv_loop_init(&b->loop), 0);
    b->engine = engine_create(&b->loop, b->config, false, &fail);
    assert_non_null(b->engine);
    b->shared = shared_create();
    assert_non_null(b->shared);
    b->mailbox = mailbox_create(b->shared, &b->loop, b->engine);
    assert_non_null(b->mailbox);
    mailbox_move_in(b->mailbox);
    engine_share(b->engine, b->shared);
    struct http_handler handler = front_handler(b->engine);
    b->http = http_server_create_first(&b->loop, b->config, &handler, b->shared, &fail);
    assert_non_null(b->http);
    b->workers = workers_create(b->engine, b->http, WORKERS, &fail);
    assert_non_null(b->workers);
}

static void on_engine_closed(void *arg)
{
    struct bench *b = arg;
    mailbox_close(b->mailbox);
}

static void on_http_closed(void *arg)
{
    struct bench *b = arg;
    engine_destroy(b->engine, on_engine_closed, b);
}

static void look(uv_timer_t *timer)
{
    struct bench *b = timer->data;
    if (!workers_over(b->workers))
        return;
    uv_close((uv_handle_t *)timer, NULL);
    http_server_destroy(b->http, on_http_closed, b);
}

/* After workers_stop. */
static void end(struct bench *b)
{
    uv_timer_init(&b->loop, &b->ended);
    b->ended.data = b;
    uv_timer_start(&b->ended, look, 0, 5);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    workers_destroy(b->workers);
    shared_destroy(b->shared);
    mailbox_move_in(NULL);
    config_unref(b->config);
}

/* The next pause may begin before the last worker has noticed that the one before is over. */
static void stands_still_for_each_of_many_pauses(void **state)
{
    struct bench b;
    begin(&b);
    workers_run(b.workers);
    for (int i = 0; i < 500; i++) {
        workers_pause(b.workers);
        workers_resume(b.workers);
    }
    workers_stop(b.workers);
    end(&b);
}

/* To whichever loop it is posted; gone when it is opened. */
static void on_question(struct mail *mail)
{
    struct metrics_loop loop;
    metrics_loop_read(&loop, mailbox_owner(mailbox_here()));
    free(mail);
}

/* Until it takes no more mail, a loop can answer what others ask it about its engine. */
static void answers_as_long_as_it_has_a_mailbox(void **state)
{
    struct bench b;
    begin(&b);
    workers_run(b.workers);
    workers_stop(b.workers);
    for (size_t open = WORKERS, i; open;) {
        for (i = 1, open = 0; i <= WORKERS; i++) {
            struct mail *mail = calloc(1, sizeof *mail);
            assert_non_null(mail);
            mail->open = on_question;
            bool sent = mailbox_post(b.shared->mailboxes[i], mail);
            open += sent;
            if (!sent)
                free(mail);
        }
    }
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stands_still_for_each_of_many_pauses),
        cmocka_unit_test(answers_as_long_as_it_has_a_mailbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
