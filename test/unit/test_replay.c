/*
 * test/unit/test_replay.c - gateway/replay_setup.h: which recorded step answers a request, and what
 * is taken where a file tells nothing.
 */
#include <stdio.h>
#include <unistd.h>

#include "gateway/replay_setup.h"
#include "test/unit/support/cmocka_all.h"

static struct site_request request(const char *method, const char *target)
{
    return (struct site_request){.method = method, .target = span_str(target)};
}

static void steps_are_found_by_method_and_path(void **state)
{
    struct replay_step steps[] = {
        {.method = SPAN("POST"), .target = SPAN("/refresh")},
        {.method = SPAN("PUT"), .target = SPAN("/upload/1")},
        {.method = SPAN("POST"), .target = SPAN("/chats/0a1b2c3d/send?x=1")},
        {.method = SPAN("POST"), .target = SPAN("/chats/********/send")},
    };
    struct replay_setup s = {.steps = steps, .n_steps = 4};
    struct site_request send = request("POST", "/chats/ffff0000-1/send?y=2");
    struct site_request get = request("GET", "/refresh");
    struct site_request other = request("POST", "/chats/ffff0000-1/stop");
    struct site_request longer = request("POST", "/chats/ffff0000-1/send/more");
    struct site_request word = request("POST", "/words/ffff0000-1/send");
    size_t cursor = 0;
    assert_null(replay_find_step(&s, &get, &cursor));
    assert_null(replay_find_step(&s, &other, &cursor));
    assert_null(replay_find_step(&s, &longer, &cursor));
    assert_null(replay_find_step(&s, &word, &cursor));
    assert_int_equal(cursor, 0);
    assert_ptr_equal(replay_find_step(&s, &send, &cursor), &steps[2]); /* the upload is left out */
    assert_ptr_equal(replay_find_step(&s, &send, &cursor), &steps[3]); /* a masked id */
    assert_null(replay_find_step(&s, &send, &cursor));
    cursor = 0; /* what is held now in the place of what was masked need not look like an id */
    struct site_request held = request("POST", "/chats/a-held-chat/send");
    assert_ptr_equal(replay_find_step(&s, &held, &cursor), &steps[3]);
}

static void steps_without_a_request_come_in_order(void **state)
{
    struct replay_step steps[2] = {{.status = 200}, {.status = 201}};
    struct replay_setup s = {.steps = steps, .n_steps = 2};
    struct site_request any = request("GET", "/any");
    size_t cursor = 0;
    assert_ptr_equal(replay_find_step(&s, &any, &cursor), &steps[0]);
    assert_ptr_equal(replay_find_step(&s, &any, &cursor), &steps[1]);
    assert_null(replay_find_step(&s, &any, &cursor));
}

static void a_file_alone_is_taken_for_a_good_answer(void **state)
{
    char path[] = "/tmp/dragoman-test-replay-XXXXXX.html";
    struct replay_setup s;
    struct fail fail = {0};
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0 && write(fd, "<p>", 3) == 3 && close(fd) == 0);
    assert_int_equal(replay_setup_read(&s, path, "chatglm", &fail), REPLAY_PLAYED);
    assert_ptr_equal(s.adapter, &adapter_chatglm);
    assert_int_equal(s.n_steps, 1);
    assert_int_equal(s.steps[0].status, 200);
    assert_span_equal(s.steps[0].content_type, SPAN("text/html"));
    assert_span_equal(s.steps[0].body, SPAN("<p>"));
    assert_int_equal(s.steps[0].end, REPLAY_CLEAN);
    assert_span_equal(s.account.credentials[0].name, SPAN("token"));
    assert_span_equal(s.site.origin, span_str(adapter_chatglm.origin));
    replay_setup_free(&s);
    assert_int_equal(replay_setup_read(&s, path, "nothing", &fail), REPLAY_USAGE);
    replay_setup_free(&s);
    unlink(path);
    assert_int_equal(replay_setup_read(&s, path, "chatglm", &fail), REPLAY_FAILED);
    replay_setup_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_found_by_method_and_path),
        cmocka_unit_test(steps_without_a_request_come_in_order),
        cmocka_unit_test(a_file_alone_is_taken_for_a_good_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
