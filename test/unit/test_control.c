/*
 * test/unit/test_control.c - one line is asked, one answer given, and nobody who is silent keeps
 * others out.
 */
#include "gateway/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "test/unit/support/cmocka_all.h"

struct bench {
    uv_loop_t loop;
    uv_timer_t alive; /* the socket alone does not keep a loop running */
    struct control *control;
    char folder[64], path[96];
    struct control_caller *waiting; /* asked "wait" */
    int gone;
};

static void on_never(uv_timer_t *timer) {}
static void on_gone(void *arg) { ((struct bench *)arg)->gone++; }

static void on_line(void *owner, struct span line, struct control_caller *caller)
{
    struct bench *b = owner;
    if (span_eq(line, SPAN("wait"))) {
        b->waiting = caller;
        control_on_gone(caller, on_gone, b);
        return;
    }
    buffer_printf(control_reply(caller), "<%.*s>", SPAN_ARGS(line));
    control_answer(caller);
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    struct fail fail;
    strcpy(b->folder, "/tmp/test-control-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->path, sizeof b->path, "%s/control.sock", b->folder);
    assert_int_equal(uv_loop_init(&b->loop), 0);
    uv_timer_init(&b->loop, &b->alive);
    uv_timer_start(&b->alive, on_never, 1000000, 0);
    b->control = control_create(&b->loop, span_str(b->folder), on_line, b, &fail);
    assert_non_null(b->control);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    control_destroy(b->control);
    uv_close((uv_handle_t *)&b->alive, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    assert_int_equal(rmdir(b->folder), 0); /* the socket is gone */
    free(b);
    return 0;
}

static void turn(struct bench *b)
{
    for (int i = 0; i < 10; i++)
        uv_run(&b->loop, UV_RUN_NOWAIT);
}

/* Somebody who has connected, and asks when `line` is not empty. */
static int caller(struct bench *b, const char *line)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(address.sun_path, b->path, strlen(b->path) + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    if (*line)
        assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
    turn(b);
    return fd;
}

/* All that comes until the end; "(open)" when it does not end. Closes it. */
static const char *answer(struct bench *b, int fd, char text[100])
{
    size_t n = 0;
    ssize_t got;
    turn(b);
    while (n < 99 && (got = read(fd, text + n, 99 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    if (got < 0 && errno == EAGAIN)
        strcpy(text, "(open)");
    close(fd);
    turn(b);
    return text;
}

static void a_line_is_answered(void **state)
{
    char text[100];
    assert_string_equal(answer(*state, caller(*state, "hello \n"), text), "<hello>\n");
    int fd = caller(*state, "in two ");
    assert_int_equal(send(fd, "pieces\nmore\n", 12, MSG_NOSIGNAL), 12);
    assert_string_equal(answer(*state, fd, text), "<in two pieces>\n");
}

static void only_its_owner_may_ask(void **state)
{
    struct stat st;
    assert_int_equal(stat(((struct bench *)*state)->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void an_answer_may_come_later(void **state)
{
    struct bench *b = *state;
    char text[100];
    int fd = caller(b, "wait\n");
    buffer_append(control_reply(b->waiting), SPAN("later"));
    control_answer(b->waiting);
    assert_string_equal(answer(b, fd, text), "later\n");
    assert_int_equal(b->gone, 0);
}

static void who_leaves_is_told_about(void **state)
{
    struct bench *b = *state;
    close(caller(b, "wait\n"));
    turn(b);
    assert_int_equal(b->gone, 1);
    int fd = caller(b, "wait\n"); /* and so is the end of it all */
    control_destroy(b->control);
    b->control = NULL;
    assert_int_equal(b->gone, 2);
    close(fd);
}

/* It may end with an error of the socket's, as not all was read. */
static void endless_lines_are_cut_off(void **state)
{
    char text[100], line[2000];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\0';
    assert_string_equal(answer(*state, caller(*state, line), text), "");
    assert_string_equal(answer(*state, caller(*state, "hello\n"), text), "<hello>\n");
}

/* Twenty who say nothing, or wait for their answer: the silent ones make room. */
static void the_silent_make_room(void **state)
{
    struct bench *b = *state;
    int idle[20];
    char text[100];
    int waiting = caller(b, "wait\n");
    for (int i = 0; i < 20; i++)
        idle[i] = caller(b, "");
    assert_string_equal(answer(b, caller(b, "hello\n"), text), "<hello>\n");
    assert_string_equal(answer(b, idle[0], text), ""); /* the first that came was given up */
    assert_string_equal(answer(b, idle[19], text), "(open)");
    for (int i = 1; i < 19; i++)
        close(idle[i]);
    buffer_append(control_reply(b->waiting), SPAN("later"));
    control_answer(b->waiting);
    assert_string_equal(answer(b, waiting, text), "later\n");
}

static void when_all_wait_the_next_is_turned_away(void **state)
{
    struct bench *b = *state;
    int waiting[16];
    char text[100];
    for (int i = 0; i < 16; i++)
        waiting[i] = caller(b, "wait\n");
    int fd = caller(b, "");
    assert_string_equal(answer(b, fd, text), "");
    for (int i = 0; i < 16; i++)
        close(waiting[i]);
    turn(b);
    assert_int_equal(b->gone, 16);
}

static void nobody_listens(void **state)
{
    struct buffer reply;
    struct fail fail = {0};
    char deep[200];
    buffer_init(&reply, 1000);
    assert_int_equal(control_ask(SPAN("/nowhere/at/all"), SPAN("hello"), 1, &reply, &fail), 1);
    memset(deep, 'd', sizeof deep); /* longer than a socket's path may be: nobody listens there */
    assert_int_equal(control_ask(span_of(deep, sizeof deep), SPAN("x"), 1, &reply, &fail), 1);
    assert_int_equal(reply.n, 0);
    buffer_free(&reply);
}

int main(void)
{
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_BENCH(a_line_is_answered),
        WITH_BENCH(only_its_owner_may_ask),
        WITH_BENCH(an_answer_may_come_later),
        WITH_BENCH(who_leaves_is_told_about),
        WITH_BENCH(endless_lines_are_cut_off),
        WITH_BENCH(the_silent_make_room),
        WITH_BENCH(when_all_wait_the_next_is_turned_away),
        cmocka_unit_test(nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
