/*
 * test_log.c - every promise of gateway/log.h: the form of lines, escaping, levels, the file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/log.h"
#include "gateway/log_body.h"

static char folder[] = "/tmp/dragoman-test-log-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/log", folder);
    return 0;
}

static int remove_folder(void **state)
{
    log_close();
    unlink(path);
    return rmdir(folder);
}

static void start(enum log_level level, bool json)
{
    struct config config = {.log_level = level, .log_json = json, .log_file = span_str(path)};
    struct fail fail;
    unlink(path);
    assert_int_equal(log_setup(&config, &fail), 0);
}

/* What the log holds; static. */
static const char *content(void)
{
    static char text[2 << 20];
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    size_t n = 0;
    for (ssize_t got; (got = read(fd, text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    close(fd);
    text[n] = '\0';
    return text;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("this line:\n%s\ndoes not match:\n%s", text, pattern);
    regfree(&regex);
}

static void a_text_line_has_time_level_and_sentence(void **state)
{
    start(LOG_INFO, false);
    log_info("listening on %s, %d workers", "127.0.0.1:8080", 1);
    assert_matches(content(), "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} "
                              "info  listening on 127.0.0.1:8080, 1 workers\n$");
    start(LOG_INFO, false);
    log_error("no");
    assert_matches(content(), " error no\n$");
}

static void a_json_line_has_utc_time_level_and_message(void **state)
{
    start(LOG_INFO, true);
    log_warn("say \"hi\"\\ to %s", "\x01\n\x7f");
    assert_matches(content(), "^\\{\"time\":\"[0-9-]{10}T[0-9:]{8}\\.[0-9]{3}Z\",\"level\":"
                              "\"warn\",\"message\":\"say \\\\\"hi\\\\\"\\\\\\\\ to "
                              "\\\\u0001\\\\n\\\\u007f\"\\}\n$");
}

static void lines_below_the_level_are_not_written(void **state)
{
    start(LOG_WARN, false);
    assert_true(log_enabled(LOG_ERROR));
    assert_true(log_enabled(LOG_WARN));
    assert_false(log_enabled(LOG_INFO));
    log_info("not this");
    log_debug("nor %s", "that");
    struct log_record record;
    log_record_begin(&record, LOG_INFO, "request");
    log_record_text(&record, "method", SPAN("GET"));
    log_record_int(&record, "status", 200);
    log_record_end(&record);
    assert_string_equal(content(), "");
}

static void control_characters_and_broken_utf8_are_escaped(void **state)
{
    start(LOG_INFO, false);
    log_info("%s", "a\nb\rc\td\x1b[31me\x7f \xc2\x9b \xff \xc3\xa9 \xed\xa0\x80");
    assert_matches(content(), "info  a\\\\nb\\\\rc\\\\td\\\\x1b\\[31me\\\\x7f \\\\x9b \\\\xff "
                              "\xc3\xa9 \\\\xed\\\\xa0\\\\x80\n$");
    start(LOG_INFO, true);
    log_info("%s", "\xff|\xc3\xa9|\xe4\xb8");
    assert_matches(content(), "\"\xEF\xBF\xBD\\|\xc3\xa9\\|\xEF\xBF\xBD\xEF\xBF\xBD\"\\}\n$");
}

static void a_record_is_one_line_of_fields(void **state)
{
    struct log_record record;
    for (int json = 0; json < 2; json++) {
        start(LOG_INFO, json);
        log_record_begin(&record, LOG_INFO, "request");
        log_record_text(&record, "path", SPAN("/v1/models"));
        log_record_text(&record, "agent", SPAN("a \"b\" c\n"));
        log_record_text(&record, "key", SPAN("")); /* left out */
        log_record_int(&record, "status", -7);
        log_record_end(&record);
        assert_matches(
            content(),
            json ? "\"message\":\"request\",\"path\":\"/v1/models\",\"agent\":\"a \\\\\"b\\\\\" "
                   "c\\\\n\",\"status\":-7\\}\n$"
                 : "info  request path=/v1/models agent=\"a \\\\\"b\\\\\" c\\\\n\" status=-7\n$");
    }
}

static void a_huge_value_is_cut_and_the_line_stays_whole(void **state)
{
    size_t n = 4 << 20;
    char *huge = malloc(n);
    struct log_record record;
    assert_non_null(huge);
    memset(huge, '\x01', n);
    start(LOG_INFO, true);
    log_record_begin(&record, LOG_INFO, "request");
    log_record_text(&record, "body", span_of(huge, n));
    log_record_text(&record, "again", span_of(huge, n)); /* no room: left out whole */
    log_record_int(&record, "status", 200);
    log_record_end(&record);
    assert_matches(content(), "\\.\\.\\. \\(4194304 bytes\\)\",\"status\":200\\}\n$");
    free(huge);
}

static void the_file_is_appended_to_and_private(void **state)
{
    struct config config = {.log_level = LOG_INFO, .log_file = span_str(path)};
    struct fail fail;
    struct stat st;
    start(LOG_INFO, false);
    log_info("one");
    assert_int_equal(log_setup(&config, &fail), 0); /* a reload */
    log_info("two");
    assert_matches(content(), " one\n.* two\n$");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* As on a full disk. */
static void say_more_than_fits(void)
{
    enum { FITS = 10 };
    struct rlimit all, few;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
    few = all;
    few.rlim_cur = strlen(content()) + FITS;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0);
    log_info("two");
    log_info("three");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
}

static void what_follows_half_a_line_is_a_line_of_its_own(void **state)
{
    struct config config = {.log_level = LOG_INFO, .log_file = span_str(path)};
    struct fail fail;
    start(LOG_INFO, false);
    log_info("one");
    say_more_than_fits();
    assert_int_equal(log_setup(&config, &fail), 0); /* a reload: the same file */
    log_info("four");
    log_info("five");
    assert_matches(content(), " one\n.{10}\n[^\n]* four\n[^\n]* five\n$");
    say_more_than_fits();
    assert_int_equal(unlink(path), 0);
    assert_int_equal(log_setup(&config, &fail), 0); /* another one */
    log_info("six");
    assert_matches(content(), "^[0-9][^\n]* six\n$");
}

static void setup_reopens_a_file_that_was_moved_away(void **state)
{
    char moved[80];
    struct config config = {.log_level = LOG_INFO, .log_file = span_str(path)};
    struct fail fail;
    start(LOG_INFO, false);
    log_info("old");
    snprintf(moved, sizeof moved, "%s.1", path);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(log_setup(&config, &fail), 0);
    log_info("new");
    assert_matches(content(), "^[^\n]* new\n$");
    unlink(moved);
}

static void a_file_that_cannot_be_opened_keeps_the_old_log(void **state)
{
    struct config config = {.log_level = LOG_DEBUG, .log_file = SPAN("/nonexistent/folder/log")};
    struct fail fail;
    start(LOG_INFO, false);
    assert_int_equal(log_setup(&config, &fail), -1);
    assert_non_null(strstr(fail.message, "/nonexistent/folder/log"));
    log_info("still here");
    log_debug("the old level too");
    assert_matches(content(), "^[^\n]* still here\n$");
}

static void the_file_rotates_by_size(void **state)
{
    struct config config = {
        .log_level = LOG_INFO, .log_file = span_str(path), .log_max_size = 300, .log_keep = 2};
    struct fail fail;
    struct stat st;
    char old[3][80];
    unlink(path);
    assert_int_equal(log_setup(&config, &fail), 0);
    for (int i = 0; i < 40; i++)
        log_info("line %d ........................................", i);
    assert_non_null(strstr(content(), "line 39 "));
    for (int i = 0; i < 3; i++)
        snprintf(old[i], sizeof old[i], "%s.%d", path, i + 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stat(old[i], &st), 0);
        assert_true(st.st_size > 0 && st.st_size <= 300);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    assert_int_equal(stat(old[2], &st), -1);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size <= 300);
    unlink(old[0]);
    unlink(old[1]);
}

static void bodies_never_show_a_credential(void **state)
{
    static const struct credential credentials[] = {{SPAN_INIT("token"), SPAN_INIT("s3cr3t-token")},
                                                    {SPAN_INIT("short"), SPAN_INIT("a")}};
    struct held_credential held = {.name = (char *)(uintptr_t) "guest",
                                   .value = (char *)(uintptr_t) "held-value"};
    struct site_account account = {.credentials = credentials, .n_credentials = 2, .held = &held};
    start(LOG_INFO, false);
    log_body("req_1", "from site",
             SPAN("{\"a\":\"s3cr3t-token s3cr3t-token\",\"b\":\"held-value\"}"), &account);
    assert_matches(
        content(),
        "body id=req_1 direction=\"from site\" bytes=[0-9]+ text=.*\\*\\*\\* \\*\\*\\*.*\\*\\*\\*");
    assert_null(strstr(content(), "s3cr3t"));
    assert_null(strstr(content(), "held-value"));
    start(LOG_INFO, true);
    log_body_hidden("req_2", "from site", 99);
    assert_matches(content(), "\"bytes\":99,.*not shown");

    /* A secret across the place where long texts are cut. */
    char *text = malloc(300 * 1024);
    for (size_t at = 128 * 1024 - 16; at < 128 * 1024 + 4; at++) {
        memset(text, 'x', 300 * 1024);
        memcpy(text + at, "s3cr3t-token", 12);
        start(LOG_INFO, false);
        log_body("req_3", "to site", span_of(text, 300 * 1024), &account);
        assert_null(strstr(content(), "s3cr3t"));
    }
    free(text);
}

static void say(const char *event, enum log_level level)
{
    struct log_record r;
    log_record_begin(&r, level, event);
    log_record_text(&r, "id", SPAN("req_1"));
    log_record_end(&r);
}

static void a_collecting_threads_records_wait_for_each_other(void **state)
{
    static const char two[] = "^[^\n]* chat id=req_1\n[^\n]* messages id=req_1\n$";
    start(LOG_INFO, false);
    log_collect();
    log_collect(); /* once is enough */
    say("chat", LOG_INFO);
    say("messages", LOG_INFO);
    assert_string_equal(content(), "");
    log_flush();
    assert_matches(content(), two);
    log_flush();
    assert_matches(content(), two);
    log_collect_end();
    log_collect_end();
}

static void what_else_is_said_takes_waiting_records_along(void **state)
{
    start(LOG_INFO, false);
    log_collect();
    say("first", LOG_INFO);
    log_error("second");
    assert_matches(content(), "^[^\n]* first id=req_1\n[^\n]* second\n$");
    say("third", LOG_INFO);
    say("fourth", LOG_WARN);
    assert_matches(content(), "second\n[^\n]* third id=req_1\n[^\n]* fourth id=req_1\n$");
    say("fifth", LOG_INFO);
    log_collect_end();
    assert_matches(content(), "fourth id=req_1\n[^\n]* fifth id=req_1\n$");
    say("sixth", LOG_INFO); /* alone again */
    assert_matches(content(), "fifth id=req_1\n[^\n]* sixth id=req_1\n$");
    log_collect();
    say("seventh", LOG_INFO);
    log_close();
    log_collect_end();
    assert_matches(content(), "sixth id=req_1\n[^\n]* seventh id=req_1\n$");
}

/* However many wait and however long they are, none is lost, cut or out of its place. */
static void many_records_wait_in_order(void **state)
{
    enum { RECORDS = 400 };
    static char value[RECORDS * 90];
    const char *at;
    memset(value, 'v', sizeof value);
    start(LOG_INFO, false);
    log_collect();
    for (int i = 0; i < RECORDS; i++) {
        struct log_record r;
        log_record_begin(&r, LOG_INFO, "chat");
        log_record_int(&r, "i", i);
        log_record_text(&r, "v", span_of(value, i % 7 ? (size_t)i : (size_t)i * 90));
        log_record_end(&r);
    }
    log_collect_end();
    at = content();
    for (int i = 0; i < RECORDS; i++) {
        char wanted[40];
        snprintf(wanted, sizeof wanted, " chat i=%d%s", i, i ? " v=v" : "\n");
        const char *found = strstr(at, wanted), *end = strchr(at, '\n');
        assert_true(found && end && found < end);
        at = end + 1;
    }
    assert_string_equal(at, "");
}

static void a_crash_loses_no_line_of_its_thread(void **state)
{
    start(LOG_INFO, false);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        log_collect();
        say("chat", LOG_INFO);
        abort();
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0); /* by a signal, or a sanitizer */
    assert_matches(content(), "^[^\n]* chat id=req_1\n$");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_line_has_time_level_and_sentence),
        cmocka_unit_test(a_json_line_has_utc_time_level_and_message),
        cmocka_unit_test(lines_below_the_level_are_not_written),
        cmocka_unit_test(control_characters_and_broken_utf8_are_escaped),
        cmocka_unit_test(a_record_is_one_line_of_fields),
        cmocka_unit_test(a_huge_value_is_cut_and_the_line_stays_whole),
        cmocka_unit_test(the_file_is_appended_to_and_private),
        cmocka_unit_test(what_follows_half_a_line_is_a_line_of_its_own),
        cmocka_unit_test(setup_reopens_a_file_that_was_moved_away),
        cmocka_unit_test(a_file_that_cannot_be_opened_keeps_the_old_log),
        cmocka_unit_test(the_file_rotates_by_size),
        cmocka_unit_test(a_collecting_threads_records_wait_for_each_other),
        cmocka_unit_test(what_else_is_said_takes_waiting_records_along),
        cmocka_unit_test(many_records_wait_in_order),
        cmocka_unit_test(a_crash_loses_no_line_of_its_thread),
        cmocka_unit_test(bodies_never_show_a_credential),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
