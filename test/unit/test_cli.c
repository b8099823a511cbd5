/*
 * test_cli.c - the command line's promises (design.md §7): commands, options, exit codes, what is
 * printed where.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/cli.h"

static char folder[] = "/tmp/dragoman-test-cli-XXXXXX";

static int make_folder(void **state)
{
    if (!mkdtemp(folder) || setenv("HOME", folder, 1) || unsetenv("DRAGOMAN_CONFIG"))
        return -1;
    return chdir(folder);
}

static int remove_folder(void **state)
{
    unlink("gateway.toml");
    unlink("other.toml");
    return rmdir(folder);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int parse(struct cli *cli, struct buffer *error, const char *const *words)
{
    int argc = 0;
    while (words[argc])
        argc++;
    buffer_init(error, 4096);
    return cli_parse(argc, (char *const *)words, cli, error);
}
#define WORDS(...) ((const char *const[]){"dragoman", ##__VA_ARGS__, NULL})

static void assert_command(const char *const *words, enum cli_command command, const char *file)
{
    struct cli cli;
    struct buffer error;
    assert_int_equal(parse(&cli, &error, words), 0);
    assert_int_equal(cli.command, command);
    if (file)
        assert_string_equal(cli.file, file);
    else
        assert_null(cli.file);
    buffer_free(&error);
}

static void assert_refused(const char *const *words, const char *why)
{
    struct cli cli;
    struct buffer error;
    assert_int_equal(parse(&cli, &error, words), -1);
    buffer_char(&error, '\0');
    assert_non_null(strstr(error.p, why));
    buffer_free(&error);
}

static void every_command_is_known(void **state)
{
    assert_command(WORDS(), CLI_SERVE, NULL);
    assert_command(WORDS("serve"), CLI_SERVE, NULL);
    assert_command(WORDS("-c", "x.toml"), CLI_SERVE, "x.toml");
    assert_command(WORDS("serve", "-c", "x.toml"), CLI_SERVE, "x.toml");
    assert_command(WORDS("-c", "x.toml", "check"), CLI_CHECK, "x.toml");
    assert_command(WORDS("check", "-cx.toml"), CLI_CHECK, "x.toml");
    assert_command(WORDS("models", "--config=x.toml"), CLI_MODELS, "x.toml");
    assert_command(WORDS("accounts", "check"), CLI_ACCOUNTS, NULL);
    assert_command(WORDS("accounts", "-c", "x", "check", "a/b", "--json"), CLI_ACCOUNTS, "x");
    assert_command(WORDS("sites"), CLI_SITES, NULL);
    assert_command(WORDS("sites", "--markdown"), CLI_SITES, NULL);
    assert_command(WORDS("demo"), CLI_DEMO, NULL);
    assert_command(WORDS("--version"), CLI_VERSION, NULL);
    assert_command(WORDS("--help"), CLI_HELP, NULL);
    assert_command(WORDS("demo", "--help"), CLI_HELP, NULL);
    assert_command(WORDS("check", "-c", "x", "-h"), CLI_HELP, NULL);
}

static void mistakes_are_refused_with_a_reason(void **state)
{
    assert_refused(WORDS("srve"), "unknown command srve");
    assert_refused(WORDS("accounts", "chekc"), "unknown word chekc");
    assert_refused(WORDS("accounts", "clear"), "a name is missing after clear");
    assert_refused(WORDS("accounts", "check", "a/b", "c/d"), "one word too many: c/d");
    assert_refused(WORDS("keys", "check", "x"), "unknown word check");
    assert_refused(WORDS("my.toml"), "given with -c, as in -c my.toml");
    assert_refused(WORDS("--frob"), "unknown option --frob");
    assert_refused(WORDS("accounts", "--markdown"), "unknown option --markdown");
    assert_refused(WORDS("sites", "--json"), "unknown option --json");
    assert_refused(WORDS("sites", "-c", "x"), "-c makes no sense with sites");
    assert_refused(WORDS("-c"), "no file name");
    assert_refused(WORDS("check", "-c", ""), "no file name");
    assert_refused(WORDS("-c", "a", "-c", "b"), "more than one configuration file");
    assert_refused(WORDS("check", "models"), "more than one command");
    assert_refused(WORDS("demo", "-c", "x"), "-c makes no sense with demo");
    assert_refused(WORDS("check", "--rebuild"), "--rebuild makes no sense with check");
    assert_refused(WORDS("--rebuild", "demo"), "--rebuild makes no sense with demo");
}

/* ---- running ---- */

static struct {
    int calls, answer;
    char file[CONFIG_PATH_MAX];
    bool built_in, rebuild;
} served;

static int fake_serve(struct config *config, const char *file, bool rebuild)
{
    served.calls++;
    served.built_in = config->file.n == 0;
    served.rebuild = rebuild;
    snprintf(served.file, sizeof served.file, "%s", file ? file : "(none)");
    config_unref(config);
    return served.answer;
}

static char out[65536], err[65536];

static int run(const char *const *words)
{
    struct cli cli;
    struct buffer error;
    memset(&served, 0, sizeof served);
    memset(out, 0, sizeof out);
    memset(err, 0, sizeof err);
    assert_int_equal(parse(&cli, &error, words), 0);
    buffer_free(&error);
    FILE *to = fmemopen(out, sizeof out, "w"), *about = fmemopen(err, sizeof err, "w");
    assert_non_null(to);
    assert_non_null(about);
    int code = cli_run(&cli, fake_serve, to, about);
    fclose(to);
    fclose(about);
    return code;
}

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static const char good[] = "[[keys]]\nname = 'cherry'\nkey = 'sk-verysecret'\n"
                           "[[sites]]\nname = 'one'\nadapter = 'openai'\nbase_url = "
                           "'http://127.0.0.1:9/v1'\nmodels = ['m1', 'm2']\n"
                           "[[sites.accounts]]\napi_key = 'sk-upstreamsecret'\n"
                           "[[sites]]\nname = 'two'\nadapter = 'openai'\nbase_url = "
                           "'http://127.0.0.1:9/v2'\nmodels = ['m2', 'm3']\n"
                           "[[sites.accounts]]\napi_key = 'sk-upstreamsecret2'\n"
                           "[[models]]\nid = 'm3'\ntargets = ['two/m3', 'one/m1']\n";

static void version_and_help_need_no_configuration(void **state)
{
    assert_int_equal(run(WORDS("--version")), 0);
    assert_string_equal(out, "dragoman " DRAGOMAN_VERSION "\n");
    assert_int_equal(run(WORDS("--help")), 0);
    assert_non_null(strstr(out, "dragoman check"));
}

static void sites_need_no_configuration(void **state)
{
    write_file("gateway.toml", "this is not read");
    assert_int_equal(run(WORDS("sites")), 0);
    assert_non_null(strstr(out, "zai: Z.ai (chat.z.ai)\n"));
    assert_null(strstr(out, "| "));
    assert_int_equal(run(WORDS("sites", "--markdown")), 0);
    assert_non_null(strstr(out, "| `zai` | Z.ai (chat.z.ai) |"));
    assert_string_equal(err, "");
    unlink("gateway.toml");
}

static void demo_serves_the_built_in_configuration(void **state)
{
    write_file("gateway.toml", "this is not read");
    assert_int_equal(run(WORDS("demo")), 0);
    assert_int_equal(served.calls, 1);
    assert_true(served.built_in);
    assert_string_equal(served.file, "(none)");
    assert_string_equal(err, "");
    unlink("gateway.toml");
}

static void serve_without_a_configuration_is_the_demo_and_says_so_in_one_line(void **state)
{
    assert_int_equal(run(WORDS()), 0);
    assert_true(served.built_in);
    assert_int_equal(count_lines(err), 1);
    assert_non_null(strstr(err, "demo"));
    assert_non_null(strstr(err, "gateway.toml.example"));
}

static void serve_hands_file_and_exit_code_through(void **state)
{
    write_file("gateway.toml", good);
    assert_int_equal(run(WORDS("serve")), 0);
    assert_string_equal(served.file, "./gateway.toml");
    assert_false(served.built_in);
    assert_false(served.rebuild);
    assert_int_equal(run(WORDS("serve", "--rebuild")), 0);
    assert_true(served.rebuild);
    unlink("gateway.toml");
}

static void a_bad_configuration_is_exit_2_with_all_errors(void **state)
{
    static const char *const lists[] = {"serve", "check", "models"};
    write_file("other.toml", "[server]\nlisen = []\nworkers = 'x'\n");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(run(WORDS(lists[i], "-c", "other.toml")), 2);
        assert_int_equal(served.calls, 0);
        assert_non_null(strstr(
            err, "other.toml:2:1: unknown key \"lisen\" in [server] (did you mean \"listen\"?)\n"));
        assert_non_null(strstr(
            err, "other.toml:3:11: \"workers\" in [server] must be an integer, found a string\n"));
        assert_null(strstr(out, "fine"));
    }
}

static void a_file_that_is_not_there_is_exit_2(void **state)
{
    assert_int_equal(run(WORDS("-c", "nowhere.toml")), 2);
    assert_non_null(strstr(err, "nowhere.toml: cannot read it: No such file"));
    setenv("DRAGOMAN_CONFIG", "elsewhere.toml", 1);
    assert_int_equal(run(WORDS("check")), 2);
    assert_non_null(strstr(err, "elsewhere.toml"));
    unsetenv("DRAGOMAN_CONFIG");
    assert_int_equal(run(WORDS("check")), 2); /* nothing found: nothing to check */
    assert_non_null(strstr(err, "no configuration found"));
}

static void check_prints_the_configuration_masked_and_says_fine(void **state)
{
    write_file("gateway.toml", good);
    assert_int_equal(run(WORDS("check")), 0);
    assert_non_null(strstr(out, "configuration is fine\n"));
    assert_non_null(strstr(out, "key = set (13 characters)"));
    assert_non_null(strstr(out, "api_key = set (17 characters)"));
    static const char *const secrets[] = {"verysecret", "upstreamsecret"};
    for (size_t i = 0; i < 2; i++) {
        assert_null(strstr(out, secrets[i]));
        assert_null(strstr(err, secrets[i]));
    }
    unlink("gateway.toml");
}

static void check_prints_the_warnings(void **state)
{
    write_file("other.toml", "[[sites]]\nname='d'\nadapter='demo'\ntransport='bridge'\n");
    assert_int_equal(run(WORDS("check", "-c", "other.toml")), 0);
    assert_non_null(strstr(
        err, "warning: other.toml:4:11: \"transport\" in [[sites]] comes with a later version"));
}

static void models_prints_each_public_id_with_its_targets(void **state)
{
    write_file("other.toml", good);
    assert_int_equal(run(WORDS("models", "-c", "other.toml")), 0);
    assert_non_null(strstr(out, "m3 -> two/m3, one/m1\n"));
    assert_non_null(strstr(out, "m1 -> one/m1\n"));
    assert_non_null(strstr(out, "\nm2 -> one/m2\n"));     /* the bare id is the first site's */
    assert_non_null(strstr(out, "\ntwo/m2 -> two/m2\n")); /* the other keeps its full name */
    assert_non_null(strstr(out, "\ntwo/m3 -> two/m3\n")); /* the bare id is an alias */
    assert_int_equal(count_lines(out), 5);
}

/* A target is printed so that it can stand in [[models]]. */
static void models_does_not_double_a_sites_name(void **state)
{
    write_file("other.toml", "[[sites]]\nname='demo'\nadapter='demo'\n"
                             "[[sites]]\nname='x'\nadapter='demo'\n");
    assert_int_equal(run(WORDS("models", "-c", "other.toml")), 0);
    assert_non_null(strstr(out, "demo/echo -> demo/echo\n"));
    assert_non_null(strstr(out, "x/demo/echo -> x/demo/echo\n"));
}

static void models_knows_the_adapters_own_list(void **state)
{
    write_file("other.toml",
               "[[sites]]\nname='z'\nadapter='zai'\n[[sites.accounts]]\nguest = true\n");
    assert_int_equal(run(WORDS("models", "-c", "other.toml")), 0);
    assert_non_null(strstr(out, "glm-4.6 -> z/glm-4.6\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_known),
        cmocka_unit_test(mistakes_are_refused_with_a_reason),
        cmocka_unit_test(version_and_help_need_no_configuration),
        cmocka_unit_test(sites_need_no_configuration),
        cmocka_unit_test(demo_serves_the_built_in_configuration),
        cmocka_unit_test(serve_without_a_configuration_is_the_demo_and_says_so_in_one_line),
        cmocka_unit_test(serve_hands_file_and_exit_code_through),
        cmocka_unit_test(a_bad_configuration_is_exit_2_with_all_errors),
        cmocka_unit_test(a_file_that_is_not_there_is_exit_2),
        cmocka_unit_test(check_prints_the_configuration_masked_and_says_fine),
        cmocka_unit_test(check_prints_the_warnings),
        cmocka_unit_test(models_prints_each_public_id_with_its_targets),
        cmocka_unit_test(models_does_not_double_a_sites_name),
        cmocka_unit_test(models_knows_the_adapters_own_list),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
