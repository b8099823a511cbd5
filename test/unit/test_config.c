/*
 * test_config.c - gateway.toml's promises (design.md §4, docs/configuration.md): what is read, what
 * is refused and how it is said, what is masked, what is found where.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/chat_request.h"
#include "gateway/config_schema.h"

/* ---- helpers ---- */

static char folder[] = "/tmp/dragoman-test-config-XXXXXX";

static int make_folder(void **state)
{
    return mkdtemp(folder) && setenv("HOME", folder, 1) == 0 && unsetenv("DRAGOMAN_CONFIG") == 0
               ? chdir(folder)
               : -1;
}

static int remove_folder(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("/") || system(command);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

/* A configuration that must be good. */
static struct config *good(const char *text)
{
    struct buffer errors;
    buffer_init(&errors, 1 << 20);
    struct config *config = config_parse(span_str(text), "t.toml", &errors);
    if (!config)
        fail_msg("refused:\n%s\n%.*s", text, SPAN_ARGS(buffer_span(&errors)));
    assert_int_equal(errors.n, 0);
    buffer_free(&errors);
    return config;
}

/* A configuration that must be refused with exactly these lines. */
static void refused(const char *text, const char *expected)
{
    struct buffer errors;
    buffer_init(&errors, 1 << 20);
    struct config *config = config_parse(span_str(text), "t.toml", &errors);
    if (config)
        fail_msg("accepted:\n%s", text);
    buffer_char(&errors, '\0');
    assert_string_equal(errors.p, expected);
    buffer_free(&errors);
}

/* … with a line that holds this. */
static void refused_saying(const char *text, const char *part)
{
    struct buffer errors;
    buffer_init(&errors, 1 << 20);
    struct config *config = config_parse(span_str(text), "t.toml", &errors);
    if (config)
        fail_msg("accepted:\n%s", text);
    buffer_char(&errors, '\0');
    if (!strstr(errors.p, part))
        fail_msg("for\n%s\nit says\n%sbut not\n%s", text, errors.p, part);
    buffer_free(&errors);
}

static bool warns(const struct config *config, const char *part)
{
    for (size_t i = 0; i < config->n_warnings; i++) {
        if (strstr(config->warnings[i].p, part))
            return true;
    }
    return false;
}

#define assert_span(s, text) assert_string_equal((s).p, text)

#define DEMO    "[[sites]]\nname='demo'\nadapter='demo'\n"
#define OPENAI  "[[sites]]\nname='o'\nadapter='openai'\nbase_url='http://h/v1'\n"
#define ACCOUNT "[[sites.accounts]]\napi_key='k'\n"
#define SERVER  "[server]\n"

/* ---- what is read ---- */

static void an_empty_file_gives_the_documented_defaults(void **state)
{
    struct config *c = good(DEMO);
    assert_int_equal(c->n_listen, 1);
    assert_span(c->listen[0].text, "127.0.0.1:8080");
    assert_span(c->listen[0].host, "127.0.0.1");
    assert_int_equal(c->listen[0].port, 8080);
    assert_int_equal(c->workers, 1);
    char data[128];
    snprintf(data, sizeof data, "%s/.local/share/dragoman", folder);
    assert_span(c->data_dir, data);
    assert_int_equal(c->max_body, 32 << 20);
    assert_int_equal(c->max_connections, 10000);
    assert_int_equal(c->n_cors_origins, 1);
    assert_span(c->cors_origins[0], "*");
    assert_int_equal(c->log_level, LOG_INFO);
    assert_false(c->log_json);
    assert_int_equal(c->log_file.n, 0);
    assert_false(c->log_bodies);
    assert_int_equal(c->capture_dir.n, 0);
    assert_int_equal(c->tls_cert.n + c->tls_key.n, 0);
    assert_int_equal(c->n_allow + c->n_deny + c->n_trusted_proxies + c->n_keys + c->n_models, 0);
    assert_int_equal(c->n_warnings, 0);
    const struct site_config *s = &c->sites[0];
    assert_int_equal(c->n_sites, 1);
    assert_ptr_equal(s->adapter, &adapter_demo);
    assert_false(s->bridge);
    assert_int_equal(s->proxy.kind, PROXY_NONE);
    assert_int_equal(s->connect_timeout_ms, 10000);
    assert_int_equal(s->first_byte_timeout_ms, 120000);
    assert_int_equal(s->idle_timeout_ms, 90000);
    assert_int_equal(s->max_concurrent, adapter_demo.max_concurrent);
    assert_int_equal(s->reasoning, REASONING_FIELD);
    assert_int_equal(s->models_cache_ttl_ms, 300000);
    assert_int_equal(s->pool.max, 100);
    assert_int_equal(s->pool.max_idle, 32);
    assert_int_equal(s->pool.idle_timeout_ms, 60000);
    assert_true(s->pool.reuse);
    assert_int_equal(s->n_accounts, 1); /* anonymous */
    assert_span(s->accounts[0].name, "default");
    assert_false(s->accounts[0].guest);
    assert_int_equal(s->accounts[0].n_credentials, 0);
    config_unref(c);
}

static void every_key_of_the_server_arrives(void **state)
{
    struct config *c =
        good("[server]\n"
             "listen = ['0.0.0.0:0', '[::1]:65535', 'unix:/run/d.sock', 'localhost:1', "
             "'unix:~/d.sock']\n"
             "data_dir = '/var/d'\nmax_body = '1MB'\nmax_connections = 7\ncors_origins = "
             "['https://a.b', 'app://obsidian.md']\n"
             "log_level = 'debug'\nlog_format = 'json'\nlog_file = '/tmp/x'\nlog_bodies = true\n"
             "watch = true\n"
             "[access]\nallow = ['10.0.0.0/8', '::1']\ndeny = ['10.1.0.0/16']\ntrusted_proxies = "
             "['127.0.0.1']\n"
             "[[keys]]\nkey = 'k'\n" DEMO);
    assert_int_equal(c->n_listen, 5);
    assert_int_equal(c->listen[0].port, 0);
    assert_span(c->listen[1].host, "::1");
    assert_int_equal(c->listen[1].port, 65535);
    assert_true(c->listen[2].is_unix);
    assert_span(c->listen[2].host, "/run/d.sock");
    assert_span(c->listen[3].host, "localhost");
    assert_int_equal(strncmp(c->listen[4].host.p, folder, strlen(folder)), 0);
    assert_int_equal(c->max_body, 1000000);
    assert_int_equal(c->max_connections, 7);
    assert_span(c->cors_origins[1], "app://obsidian.md");
    assert_int_equal(c->log_level, LOG_DEBUG);
    assert_true(c->log_json);
    assert_true(c->log_bodies);
    assert_true(c->watch);
    assert_span(c->log_file, "/tmp/x");
    assert_int_equal(c->n_allow, 2);
    assert_int_equal(c->n_deny, 1);
    assert_int_equal(c->deny[0].bits, 112);
    assert_int_equal(c->n_trusted_proxies, 1);
    config_unref(c);
}

static void every_key_of_a_site_arrives(void **state)
{
    write_file("ca.pem", "x", 0600);
    struct config *c = good(
        "[[sites]]\nname = 'zai.1'\nadapter = 'zai'\nbase_url = 'HTTPS://Chat.Example:8443/a/b/'\n"
        "proxy = 'socks5h://us%40er:p%3Aw@[::1]:1080'\nca_file = 'ca.pem'\nconnect_timeout = "
        "'500ms'\n"
        "first_byte_timeout = '2m'\nidle_timeout = '1h'\nmax_concurrent = 3\nreasoning = 'think'\n"
        "field_aliases = {model = 'model_id'}\npath = '/x/chat?y=1'\nmodels = ['a', "
        "'b/c']\nmodels_cache_ttl = '0s'\n"
        "pool = {max = 1, max_idle = 0, idle_timeout = '5s', reuse = false}\n"
        "options = {fe_version = 'v9', delete_chat = true}\n"
        "[[sites.accounts]]\nname = 'main'\ntoken = 't1'\n[[sites.accounts]]\nname = 'g'\nguest = "
        "true\n");
    const struct site_config *s = &c->sites[0];
    assert_span(s->settings.name, "zai.1");
    assert_true(s->tls);
    assert_span(s->host, "chat.example");
    assert_int_equal(s->port, 8443);
    assert_span(s->host_header, "chat.example:8443");
    assert_span(s->settings.origin, "https://chat.example:8443");
    assert_span(s->settings.prefix, "/a/b");
    assert_int_equal(s->proxy.kind, PROXY_SOCKS5H);
    assert_span(s->proxy.host, "::1");
    assert_span(s->proxy.user, "us@er");
    assert_span(s->proxy.password, "p:w");
    assert_int_equal(s->proxy.port, 1080);
    assert_span(s->ca_file, "ca.pem");
    assert_int_equal(s->connect_timeout_ms, 500);
    assert_int_equal(s->first_byte_timeout_ms, 120000);
    assert_int_equal(s->idle_timeout_ms, 3600000);
    assert_int_equal(s->max_concurrent, 3);
    assert_int_equal(s->reasoning, REASONING_THINK);
    assert_int_equal(s->settings.n_aliases, 1);
    assert_span(s->settings.aliases[0].from, "model");
    assert_span(s->settings.aliases[0].to, "model_id");
    assert_span(s->settings.path, "/x/chat?y=1");
    assert_int_equal(s->n_models, 2);
    assert_span(s->models[1], "b/c");
    assert_int_equal(s->models_cache_ttl_ms, 0);
    assert_int_equal(s->pool.max, 1);
    assert_int_equal(s->pool.max_idle, 0);
    assert_int_equal(s->pool.idle_timeout_ms, 5000);
    assert_false(s->pool.reuse);
    assert_true(span_eq(site_option_text(&s->settings, "fe_version", SPAN("")), SPAN("v9")));
    assert_true(site_option_bool(&s->settings, "delete_chat", false));
    assert_null(site_option(&s->settings, "api"));
    assert_int_equal(s->n_accounts, 2);
    assert_int_equal(s->accounts[0].n_credentials, 1);
    assert_span(s->accounts[0].credentials[0].name, "token");
    assert_span(s->accounts[0].credentials[0].value, "t1");
    assert_true(s->accounts[1].guest);
    config_unref(c);
}

static void the_adapters_own_origin_and_limit_are_the_defaults(void **state)
{
    struct config *c = good("[[sites]]\nname='z'\nadapter='zai'\n[[sites.accounts]]\ntoken='t'\n");
    assert_span(c->sites[0].settings.origin, "https://chat.z.ai");
    assert_span(c->sites[0].host_header, "chat.z.ai");
    assert_int_equal(c->sites[0].port, 443);
    assert_span(c->sites[0].settings.prefix, "");
    assert_int_equal(c->sites[0].max_concurrent, adapter_zai.max_concurrent);
    config_unref(c);
}

static void base_urls_are_taken_apart(void **state)
{
    static const struct {
        const char *url, *origin, *host, *header, *prefix;
        int port;
    } cases[] = {
        {"http://h", "http://h", "h", "h", "", 80},
        {"http://h/", "http://h", "h", "h", "", 80},
        {"https://h:443/v1", "https://h", "h", "h", "/v1", 443},
        {"http://h:443/v1//", "http://h:443", "h", "h:443", "/v1", 443},
        {"http://[::1]:8080/x", "http://[::1]:8080", "::1", "[::1]:8080", "/x", 8080},
        {"https://[2001:DB8::1]", "https://[2001:db8::1]", "2001:db8::1", "[2001:db8::1]", "", 443},
        {"http://127.0.0.1:1/a%20b", "http://127.0.0.1:1", "127.0.0.1", "127.0.0.1:1", "/a%20b", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "[[sites]]\nname='o'\nadapter='openai'\nbase_url='%s'\n" ACCOUNT, cases[i].url);
        struct config *c = good(text);
        assert_span(c->sites[0].settings.origin, cases[i].origin);
        assert_span(c->sites[0].host, cases[i].host);
        assert_span(c->sites[0].host_header, cases[i].header);
        assert_span(c->sites[0].settings.prefix, cases[i].prefix);
        assert_int_equal(c->sites[0].port, cases[i].port);
        config_unref(c);
    }
}

static void broken_urls_are_refused_without_repeating_them(void **state)
{
    static const struct {
        const char *line, *why;
    } cases[] = {
        {"base_url='ftp://h'", "must begin with http:// or https://"},
        {"base_url='h:80'", "must begin with http:// or https://"},
        {"base_url='http://'", "the host is missing"},
        {"base_url='http://:80'", "the host is missing"},
        {"base_url='http://us3r:hush@h'", "must not hold a user or a password"},
        {"base_url='http://h?hush'", "must not hold a query or a fragment"},
        {"base_url='http://h/#hush'", "must not hold a query or a fragment"},
        {"base_url='http://h:0'", "from 1 to 65535"},
        {"base_url='http://h:65536'", "from 1 to 65535"},
        {"base_url='http://h:'", "from 1 to 65535"},
        {"base_url='http://[::1'", "the closing ]"},
        {"base_url='http://[h]'", "not an IPv6 address"},
        {"base_url='http://[::1]x'", "that is no port"},
        {"base_url='http://1.2.3.256'", "neither an address nor a name"},
        {"base_url='http://h/a b'", "percent-encoded"},
        {"base_url='http://b\xc3\xbc"
         "cher.example'",
         "xn--"},
        {"proxy='h:1'", "must begin with http://, socks5:// or socks5h://"},
        {"proxy='socks4://us3r:hush@h:1'", "must begin with http://, socks5:// or socks5h://"},
        {"proxy='http://h'", "the port is missing"},
        {"proxy='http://us3r:hush%zz@h:1'", "percent-encoded"},
        {"proxy='http://us3r:hush%0a@h:1'", "percent-encoded"},
        {"proxy='http://us3r:hush%4'", "the port must be a number"},
        {"proxy='socks5://us3r:hush@h:0'", "from 1 to 65535"},
        {"path='chat'", "must begin with /"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        struct buffer errors;
        buffer_init(&errors, 4096);
        bool own = strncmp(cases[i].line, "base_url", 8) == 0;
        snprintf(text, sizeof text, "[[sites]]\nname='o'\nadapter='openai'\n%s%s\n" ACCOUNT,
                 own ? "" : "base_url='http://h'\n", cases[i].line);
        refused_saying(text, cases[i].why);
        assert_null(config_parse(span_str(text), "t", &errors));
        buffer_char(&errors, '\0');
        assert_null(strstr(errors.p, "hush"));
        assert_null(strstr(errors.p, "us3r"));
        buffer_free(&errors);
    }
}

/* ---- complaints ---- */

static void unknown_keys_are_named_with_place_and_nearest_name(void **state)
{
    refused("[server]\nlisen = []\n" DEMO,
            "t.toml:2:1: unknown key \"lisen\" in [server] (did you mean \"listen\"?)\n");
    refused("sever = 1\n" DEMO,
            "t.toml:1:1: unknown key \"sever\" in the file (did you mean \"server\"?)\n");
    refused("[access]\n  dney = []\n" DEMO,
            "t.toml:2:3: unknown key \"dney\" in [access] (did you mean \"deny\"?)\n");
    refused("[[keys]]\nkey='k'\nkey_evn='x'\n" DEMO,
            "t.toml:3:1: unknown key \"key_evn\" in [[keys]] (did you mean \"key_env\"?)\n");
    refused("[[sites]]\nname='d'\nadapter='demo'\nconect_timeout='1s'\n",
            "t.toml:4:1: unknown key \"conect_timeout\" in [[sites]] (did you mean "
            "\"connect_timeout\"?)\n");
    refused(DEMO "pool = {maxidle = 1}\n",
            "t.toml:4:9: unknown key \"maxidle\" in [sites.pool] (did you mean \"max_idle\"?)\n");
    refused(DEMO "[[models]]\nid='x'\ntargets=['demo/x']\ntarget='y'\n",
            "t.toml:7:1: unknown key \"target\" in [[models]] (did you mean \"targets\"?)\n");
    refused("[[sites]]\nname='z'\nadapter='zai'\n[[sites.accounts]]\ntokn_file='x'\ntoken='t'\n",
            "t.toml:5:1: unknown key \"tokn_file\" in [[sites.accounts]] (did you mean "
            "\"token_file\"?)\n");
    refused("[[sites]]\nname='z'\nadapter='zai'\noptions = "
            "{fe_versoin='x'}\n[[sites.accounts]]\ntoken='t'\n",
            "t.toml:4:12: unknown key \"fe_versoin\" in the options of adapter zai (did you mean "
            "\"fe_version\"?)\n");
    refused("[access]\nqqqqqqqqqqq = []\n" DEMO,
            "t.toml:2:1: unknown key \"qqqqqqqqqqq\" in [access] (known here: allow, deny, "
            "trusted_proxies)\n");
}

static void wrong_types_say_what_is_wanted_and_what_was_found(void **state)
{
    refused("[server]\nworkers = 'four'\n" DEMO,
            "t.toml:2:11: \"workers\" in [server] must be an integer, found a string\n");
    refused("[server]\nlisten = '127.0.0.1:1'\n" DEMO,
            "t.toml:2:10: \"listen\" in [server] must be an array of strings, such as "
            "[\"127.0.0.1:8080\"], found a string\n");
    refused("[server]\nlog_bodies = 1\n" DEMO,
            "t.toml:2:14: \"log_bodies\" in [server] must be true or false, found an integer\n");
    refused("[server]\nmax_body = true\n" DEMO,
            "t.toml:2:12: \"max_body\" in [server] must be a size: bytes, or a string such as "
            "\"32MiB\", found a boolean\n");
    refused("[server]\nlog_level = 2026-01-01\n" DEMO,
            "t.toml:2:13: \"log_level\" in [server] must be a string, found a date or time\n");
    refused_saying("server = 1\n" DEMO,
                   "t.toml:1:10: \"server\" in the file must be a table, found an integer\n");
    refused_saying("[keys]\nname = 'x'\n" DEMO,
                   "\"keys\" in the file must be an array of tables ([[keys]]), found a table\n");
    refused_saying(
        "keys = [1]\n" DEMO,
        "t.toml:1:9: \"keys\" in the file must be an array of tables, found an integer\n");
    refused_saying(DEMO "accounts = 1\n",
                   "must be an array of tables ([[sites.accounts]]), found an integer");
    refused_saying(DEMO "accounts = [1]\n",
                   "t.toml:4:13: \"accounts\" in [[sites.accounts]] must be an array of tables");
    refused_saying(
        "[[sites]]\nname='z'\nadapter='zai'\noptions={delete_chat='yes'}\n[[sites.accounts]]"
        "\ntoken='t'\n",
        "\"delete_chat\" in the options of adapter zai must be true or false, found a string");
    refused_saying("[[keys]]\nkey = ['hush']\n" DEMO,
                   "\"key\" in [[keys]] must be a string, found an array");
}

static void the_secret_key_is_read_and_never_shown(void **state)
{
    struct buffer out;
    struct config *c = good(SERVER "secret_key = 'sixteen letters!'\n" DEMO);
    assert_span(c->secret_key, "sixteen letters!");
    buffer_init(&out, 1 << 20);
    config_print(c, &out);
    assert_true(span_find(buffer_span(&out), SPAN("secret_key = set (16 characters)\n")) > 0);
    assert_true(span_find(buffer_span(&out), SPAN("sixteen")) < 0);
    config_unref(c);
    setenv("DRAGOMAN_KEY", "seventeen letters", 1);
    c = good(SERVER "secret_key_env = 'DRAGOMAN_KEY'\n" DEMO);
    assert_span(c->secret_key, "seventeen letters");
    config_unref(c);
    c = good(DEMO);
    assert_int_equal(c->secret_key.n, 0);
    config_unref(c);
    refused_saying(SERVER "secret_key = 'only fifteen...'\n" DEMO, "is too short");
    refused_saying(SERVER "secret_key = ''\n" DEMO, "secret_key");
    refused_saying(SERVER "secret_key_file = 'nowhere.key'\n" DEMO, "nowhere.key");
    refused_saying(SERVER "secret_key = 'sixteen letters!'\nsecret_key_env = 'DRAGOMAN_KEY'\n" DEMO,
                   "given more than once");
    buffer_free(&out);
}

static void all_errors_are_reported_in_the_files_order(void **state)
{
    refused("[[sites]]\nname = 'a/b'\nadapter = 'demo'\nidle_timeout = 5\n[server]\nworkers = "
            "-1\nlog_level = 'inof'\nx = 1\n",
            "t.toml:2:8: \"name\" in [[sites]] may hold letters, digits, dots, dashes and "
            "underscores, found \"a/b\"\n"
            "t.toml:4:16: \"idle_timeout\" in [[sites]] needs a unit: write \"5s\" or \"5ms\"\n"
            "t.toml:6:11: \"workers\" in [server] must be from 0 to 1024, found -1\n"
            "t.toml:7:13: \"log_level\" in [server] must be one of: error warn info debug, found "
            "\"inof\" (did you mean \"info\"?)\n"
            "t.toml:8:1: unknown key \"x\" in [server] (known here: listen, workers, data_dir, "
            "secret_key, secret_key_env, secret_key_file, max_body, responses_ttl, responses_max, "
            "fetch_images, fetch_images_max, fetch_images_timeout, fetch_images_from, "
            "max_connections, max_connections_per_ip, cors_origins, passthrough_unknown_keys, "
            "log_level, log_format, "
            "log_file, log_max_size, log_keep, log_bodies, capture_dir, watch, sandbox, tls_cert, "
            "tls_key)\n");
}

static void broken_toml_is_told_with_its_place(void **state)
{
    refused_saying("[server]\nlisten = [\n", "t.toml:");
    refused_saying("[server]\nworkers = 1\nworkers = 2\n", "t.toml:3:");
    refused_saying("a = \"\xff\"", "t.toml:1:");
    /* what trips the parser's own assertions */
    refused("[", "t.toml:1:2: Error while parsing table header: encountered end-of-file\n");
    refused("[!]", "t.toml:1:1: this line is not TOML\n");
    refused("# one\n[server]\nworkers = 1\n[\nx = 1\n[access]\n",
            "t.toml:4:1: this line is not TOML\n");
    refused("a = 1\nb = \xe2\x80\x9cx\xe2\x80\x9d\n", /* typographic quotes */
            "t.toml:2:5: outside of strings and comments only ASCII characters may stand\n");
    refused("a = 1\n[=\n", "t.toml:2:1: this line is not TOML\n");
    refused("a = 1\n\n[=", "t.toml:3:1: this line is not TOML\n");
}

static void bombs_are_refused(void **state)
{
    size_t n = 400000;
    char *text = malloc(2 * n + 16);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, "a.", 2);
    strcpy(text + 2 * n, "a = 1");
    refused_saying(text, "a key of more than 16 parts"); /* dotted key */
    memmove(text + 1, text, 2 * n + 1);
    text[0] = '[';
    strcpy(text + 2 * n, "a]\n");
    refused_saying(text, "a key of more than 16 parts"); /* dotted header */
    memset(text, '[', n);
    memcpy(text, "a =", 3);
    text[n] = '\0';
    refused_saying(text, "t.toml:1:"); /* nested arrays */
    memset(text, '#', 2 * n);
    memset(text + n, '\n', n);
    struct buffer errors;
    buffer_init(&errors, 4096);
    char *large = calloc(1, TOML_SIZE_LIMIT + 1);
    assert_non_null(large);
    memset(large, '\n', TOML_SIZE_LIMIT + 1);
    assert_null(config_parse(span_of(large, TOML_SIZE_LIMIT + 1), "t", &errors));
    assert_true(span_find(buffer_span(&errors), SPAN("larger than 1 MiB")) >= 0);
    buffer_free(&errors);
    free(large);
    free(text);
}

static void dots_in_strings_and_comments_are_not_depth(void **state)
{
    struct config *c =
        good("# ..................................\n[server]\n"
             "data_dir = '/.........................../x' # ...................................\n"
             "log_file = \"/\\\"....................\"\n" DEMO
             "models = [\"\"\"a......\"..\"\"..............\"\"\"\"\"]\n");
    assert_span(c->data_dir, "/.........................../x");
    config_unref(c);
}

static void characters_of_any_language_may_stand_in_strings(void **state)
{
    struct config *c = good(
        "\xEF\xBB\xBF# \xc3\xa9 \xe2\x80\x9c\n[[sites]]\nname='demo'\nadapter='demo'\n"
        "models = [\"\xe4\xbd\xa0\xe5\xa5\xbd\", \"\"\"a\\\n \xc3\xa9\\\n\xef\xbb\xbd\"\"\"]\n");
    assert_span(c->sites[0].models[0], "\xe4\xbd\xa0\xe5\xa5\xbd");
    assert_span(c->sites[0].models[1], "a\xc3\xa9\xef\xbb\xbd");
    config_unref(c);
}

static void a_flood_of_errors_is_cut(void **state)
{
    struct buffer text, errors;
    buffer_init(&text, 1 << 20);
    buffer_init(&errors, 1 << 20);
    buffer_append(&text, SPAN("[server]\n"));
    for (int i = 0; i < 150; i++)
        buffer_printf(&text, "x%d = 1\n", i);
    assert_null(config_parse(buffer_span(&text), "t", &errors));
    assert_true(span_ends(buffer_span(&errors), SPAN("t: and 50 more errors\n")));
    buffer_free(&text);
    buffer_free(&errors);
}

/* ---- values ---- */

static void sizes_know_their_units(void **state)
{
    static const struct {
        const char *text;
        size_t size;
    } cases[] = {{"1024", 1024},        {"'1KiB'", 1024},
                 {"'2MiB'", 2 << 20},   {"'1GiB'", 1 << 30},
                 {"'3kB'", 3000},       {"'5MB'", 5000000},
                 {"'1GB'", 1000000000}, {"'2048B'", 2048},
                 {"0x400", 1024},       {"4294967296", (size_t)1 << 32}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, SERVER "max_body = %s\n" DEMO, cases[i].text);
        struct config *c = good(text);
        assert_int_equal(c->max_body, cases[i].size);
        config_unref(c);
    }
    static const char *const bad[] = {"'32'",
                                      "'32mb'",
                                      "'MiB'",
                                      "'-1KiB'",
                                      "'1.5MiB'",
                                      "''",
                                      "'99999999999999999999GiB'",
                                      "'9999999999999GiB'"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, SERVER "max_body = %s\n" DEMO, bad[i]);
        refused_saying(text,
                       "\"max_body\" in [server] must be a size such as 33554432 or \"32MiB\"");
    }
    refused_saying(SERVER "max_body = 1023\n" DEMO, "must be from \"1KiB\" to \"4GiB\"");
    refused_saying(SERVER "max_body = -5\n" DEMO, "must be from \"1KiB\" to \"4GiB\"");
    refused_saying(SERVER "max_body = '5GiB'\n" DEMO, "must be from \"1KiB\" to \"4GiB\"");
}

static void times_need_their_unit(void **state)
{
    refused_saying(DEMO "idle_timeout = 10\n", "needs a unit: write \"10s\" or \"10ms\"");
    refused_saying(DEMO "idle_timeout = '10'\n", "must be a time such as \"10s\"");
    refused_saying(DEMO "idle_timeout = '10 years'\n", "must be a time such as \"10s\"");
    refused_saying(DEMO "idle_timeout = '-1s'\n", "must be a time such as \"10s\"");
    refused_saying(DEMO "idle_timeout = '0s'\n", "must be from \"1ms\" to \"24h\"");
    refused_saying(DEMO "idle_timeout = '25h'\n", "must be from \"1ms\" to \"24h\"");
    refused_saying(DEMO "idle_timeout = '9223372036854775807h'\n", "must be a time");
    struct config *c = good(DEMO "idle_timeout = '24h'\nconnect_timeout = '1ms'\n");
    assert_int_equal(c->sites[0].idle_timeout_ms, 86400000);
    assert_int_equal(c->sites[0].connect_timeout_ms, 1);
    config_unref(c);
}

static void ranges_of_numbers_are_checked(void **state)
{
    refused_saying(SERVER "max_connections = 0\n" DEMO, "must be from 1 to");
    refused_saying(SERVER "workers = 9223372036854775807\n" DEMO, "must be from 0 to 1024");
    refused_saying("[[keys]]\nkey='k'\nrpm = -1\n" DEMO, "must be from 0 to");
    refused_saying(DEMO "max_concurrent = -1\n", "must be from 0 to");
    refused_saying(DEMO "pool = {max = -1}\n", "\"max\" in [sites.pool] must be from 0 to");
}

static void listen_addresses_are_checked_one_by_one(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"127.0.0.1", "the port is missing"},
        {":8080", "to listen everywhere write 0.0.0.0:PORT"},
        {"*:8080", "to listen everywhere"},
        {"127.0.0.1:", "from 0 to 65535"},
        {"127.0.0.1:65536", "from 0 to 65535"},
        {"127.0.0.1:-1", "from 0 to 65535"},
        {"127.0.0.1:80x", "from 0 to 65535"},
        {"::1:8080", "written [::1]:8080"},
        {"[::1]", "written [::1]:8080"},
        {"[1.2.3.4]:80", "not an IPv6 address"},
        {"[::g]:80", "not an IPv6 address"},
        {"127.0.0.256:80", "neither an address nor a name"},
        {"ho st:80", "neither an address nor a name"},
        {"unix:", "the path is missing"},
        {"", "is empty"},
        {"http://127.0.0.1:80", "written [::1]:8080"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, SERVER "listen = ['127.0.0.1:1', '%s']\n" DEMO, cases[i].text);
        refused_saying(text, cases[i].why);
        refused_saying(text, "t.toml:2:26: ");
    }
    static const int lengths[] = {120, 5000}; /* the latter is longer than any path may be */
    char text[6000];
    for (size_t i = 0; i < 2; i++) {
        snprintf(text, sizeof text, SERVER "listen = ['unix:/%0*d']\n" DEMO, lengths[i], 1);
        refused_saying(text, "at most 107 bytes");
        snprintf(text, sizeof text, SERVER "listen = ['unix:~/%0*d']\n" DEMO, lengths[i], 1);
        refused_saying(text, "at most 107 bytes");
    }
    refused_saying(SERVER "listen = []\n" DEMO, "needs at least one address");
    refused_saying(SERVER "listen = ['127.0.0.1:1', '127.0.0.1:1']\n" DEMO, "twice");
    config_unref(
        good(SERVER "listen = ['127.0.0.1:0', '127.0.0.1:0']\n" DEMO)); /* two free ports */
}

static void lists_check_their_elements(void **state)
{
    refused_saying("[access]\nallow = ['10.0.0.1/8']\n" DEMO,
                   "t.toml:2:10: \"allow\" in [access] must hold addresses or ranges");
    refused_saying("[access]\nallow = ['10.0.0.0/8', 3]\n" DEMO,
                   "t.toml:2:24: \"allow\" in [access] must be a string, found an integer");
    refused_saying(SERVER "cors_origins = ['https://a.b/']\n" DEMO, "exact origins");
    refused_saying(SERVER "cors_origins = ['https://*.b']\n" DEMO, "exact origins");
    refused_saying(SERVER "cors_origins = ['a.b']\n" DEMO, "exact origins");
    refused_saying("[[keys]]\nkey='k'\nmodels=['']\n" DEMO, "\"models\" in [[keys]] is empty");
}

static void strings_expand_home_and_variables(void **state)
{
    setenv("DRAGOMAN_T_ONE", "first", 1);
    setenv("DRAGOMAN_T_EMPTY", "", 1);
    char expected[256];
    struct config *c =
        good(SERVER "data_dir = '~/x/${DRAGOMAN_T_ONE}/${DRAGOMAN_T_EMPTY}y'\nlog_file = "
                    "'/a/$${HOME}/$HOME/~/$${${DRAGOMAN_T_ONE}'\n" DEMO);
    snprintf(expected, sizeof expected, "%s/x/first/y", folder);
    assert_span(c->data_dir, expected);
    assert_span(c->log_file, "/a/${HOME}/$HOME/~/${first");
    config_unref(c);
    c = good(SERVER "data_dir = '~'\nlog_file = '/~root'\n" DEMO);
    assert_span(c->data_dir, folder);
    config_unref(c);

    unsetenv("DRAGOMAN_T_NONE");
    refused(SERVER "data_dir = '/${DRAGOMAN_T_NONE}'\n" DEMO,
            "t.toml:2:12: \"data_dir\" in [server]: the environment variable DRAGOMAN_T_NONE is "
            "not set\n");
    refused_saying(SERVER "data_dir = '${X'\n" DEMO, "${ without a closing }");
    refused_saying(SERVER "data_dir = '${}'\n" DEMO, "is not a variable's name");
    refused_saying(SERVER "data_dir = '${A B}'\n" DEMO, "is not a variable's name");
    refused_saying(SERVER "data_dir = \"a\\u0000b\"\n" DEMO, "must not hold a NUL character");
}

static void what_is_expanded_is_not_expanded_again(void **state)
{
    setenv("DRAGOMAN_T_ONE", "${HOME}~", 1);
    struct config *c = good(SERVER "data_dir = '/${DRAGOMAN_T_ONE}'\n" DEMO);
    assert_span(c->data_dir, "/${HOME}~");
    config_unref(c);
}

/* ---- secrets and keys ---- */

static const unsigned char sha256_of_abc[4] = {0xba, 0x78, 0x16, 0xbf};

static void a_key_comes_from_four_places(void **state)
{
    setenv("DRAGOMAN_T_KEY", "abc", 1);
    write_file("key.txt", "abc\n", 0600);
    static const char *const lines[] = {
        "key='abc'", "key_env='DRAGOMAN_T_KEY'", "key_file='key.txt'", "key='${DRAGOMAN_T_KEY}'",
        "key_sha256='BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "[[keys]]\n%s\n" DEMO, lines[i]);
        struct config *c = good(text);
        assert_int_equal(c->n_keys, 1);
        assert_memory_equal(c->keys[0].sha256, sha256_of_abc, 4);
        assert_int_equal(c->keys[0].sha256[31], 0xad);
        assert_int_equal(c->keys[0].hashed, i == 4);
        assert_span(c->keys[0].name, "key-1");
        assert_int_equal(c->keys[0].reasoning, -1);
        assert_int_equal(c->keys[0].n_models, 1);
        assert_span(c->keys[0].models[0], "*");
        config_unref(c);
    }
}

static void secrets_that_are_missing_doubled_or_empty_are_refused(void **state)
{
    setenv("DRAGOMAN_T_EMPTY", "", 1);
    unsetenv("DRAGOMAN_T_NONE");
    write_file("empty.txt", "\n", 0600);
    write_file("two.txt", "a\nb\n", 0600);
    refused_saying(
        "[[keys]]\nname='x'\n" DEMO,
        "t.toml:1:1: [[keys]] needs one of \"key\", \"key_env\", \"key_file\" and \"key_sha256\"");
    refused_saying("[[keys]]\nkey=''\n" DEMO, "\"key\" in [[keys]] is empty");
    refused_saying("[[keys]]\nkey='a'\nkey_env='HOME'\n" DEMO, "is given more than once");
    refused_saying("[[keys]]\nkey_file='a'\nkey_env='HOME'\n" DEMO, "is given more than once");
    refused_saying("[[keys]]\nkey='a'\nkey_sha256='b'\n" DEMO, "is given more than once");
    refused_saying("[[keys]]\nkey_env='DRAGOMAN_T_NONE'\n" DEMO,
                   "the environment variable DRAGOMAN_T_NONE is not set");
    refused_saying("[[keys]]\nkey_env='DRAGOMAN_T_EMPTY'\n" DEMO, "the variable is empty");
    refused_saying("[[keys]]\nkey_env='sk-not a name'\n" DEMO,
                   "must be the name of an environment variable");
    refused_saying("[[keys]]\nkey_file='nowhere'\n" DEMO, "cannot read nowhere: No such file");
    refused_saying("[[keys]]\nkey_file='empty.txt'\n" DEMO, "the file is empty");
    refused_saying("[[keys]]\nkey_file='two.txt'\n" DEMO, "must not hold line breaks");
    refused_saying("[[keys]]\nkey_file='.'\n" DEMO, "cannot read .: Is a directory");
    refused_saying("[[keys]]\nkey_sha256='abc'\n" DEMO, "64 hex digits");
    refused_saying("[[keys]]\nkey_sha256='"
                   "zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'\n" DEMO,
                   "64 hex digits");
}

static void relative_secret_files_start_at_the_configs_folder(void **state)
{
    struct buffer errors;
    buffer_init(&errors, 4096);
    assert_int_equal(mkdir("sub", 0700), 0);
    write_file("sub/k", "abc\r\n", 0600);
    write_file("sub/gateway.toml", "[[keys]]\nkey_file = 'k'\n" DEMO, 0600);
    struct config *c = config_load("sub/gateway.toml", &errors);
    assert_non_null(c);
    assert_memory_equal(c->keys[0].sha256, sha256_of_abc, 4);
    assert_int_equal(c->n_warnings, 0);
    assert_span(c->file, "sub/gateway.toml");
    config_unref(c);
    buffer_free(&errors);
}

static void files_that_others_can_read_are_named_in_a_warning(void **state)
{
    struct buffer errors;
    buffer_init(&errors, 4096);
    write_file("open.txt", "abc", 0604);
    write_file("open.toml", "[[keys]]\nkey_file = 'open.txt'\n" DEMO, 0640);
    struct config *c = config_load("open.toml", &errors);
    assert_non_null(c);
    assert_int_equal(c->n_warnings, 2);
    assert_span(c->warnings[0], "open.toml: open.toml can be read by other users of this machine "
                                "(mode 0640): chmod 600 open.toml");
    assert_span(c->warnings[1], "open.toml:2:12: open.txt can be read by other users of this "
                                "machine (mode 0604): chmod 600 open.txt");
    config_unref(c);
    buffer_free(&errors);
}

static void credentials_come_as_value_variable_or_file(void **state)
{
    setenv("DRAGOMAN_T_KEY", "from-env", 1);
    write_file("cred.txt", "from-file\n", 0600);
    struct config *c =
        good("[[sites]]\nname='z'\nadapter='zai'\noptions = {signing_key_env = 'DRAGOMAN_T_KEY'}\n"
             "[[sites.accounts]]\nname='a'\ntoken_env='DRAGOMAN_T_KEY'\n"
             "[[sites.accounts]]\nname='b'\ntoken_file='cred.txt'\n");
    assert_span(c->sites[0].accounts[0].credentials[0].value, "from-env");
    assert_span(c->sites[0].accounts[1].credentials[0].value, "from-file");
    assert_true(span_eq(site_option_text(&c->sites[0].settings, "signing_key", SPAN("")),
                        SPAN("from-env")));
    config_unref(c);
    refused_saying(
        "[[sites]]\nname='z'\nadapter='zai'\n[[sites.accounts]]\ntoken='a'\ntoken_file='b'\n",
        "is given more than once");
    refused_saying("[[sites]]\nname='z'\nadapter='zai'\n[[sites.accounts]]\ntoken=''\n",
                   "\"token\" in [[sites.accounts]] is empty");
    refused_saying("[[sites]]\nname='z'\nadapter='zai'\n[[sites.accounts]]\ntoken=\"a\\r\\nb\"\n",
                   "must not hold line breaks");
}

/* ---- names and references ---- */

static void names_must_be_unique(void **state)
{
    refused_saying("[[keys]]\nname='a'\nkey='1'\n[[keys]]\nname='a'\nkey='2'\n" DEMO,
                   "t.toml:5:6: the name \"a\" stands in [[keys]] twice");
    refused_saying("[[keys]]\nname='a'\nkey='1'\n[[keys]]\nname='b'\nkey='1'\n" DEMO,
                   "the keys \"a\" and \"b\" are the same key");
    refused_saying(DEMO DEMO, "t.toml:5:6: the name \"demo\" stands in [[sites]] twice");
    refused_saying(
        OPENAI
        "[[sites.accounts]]\nname='a'\napi_key='1'\n[[sites.accounts]]\nname='a'\napi_key='2'\n",
        "t.toml:9:6: this site has an account \"a\" already");
    refused_saying(
        DEMO "[[models]]\nid='m'\ntargets=['demo/x']\n[[models]]\nid='m'\ntargets=['demo/y']\n",
        "t.toml:8:4: the id \"m\" stands in [[models]] twice");
    config_unref(
        good(OPENAI ACCOUNT "[[sites.accounts]]\napi_key='2'\n")); /* default names differ */
}

static void needed_keys_are_asked_for(void **state)
{
    refused_saying("[[sites]]\nadapter='demo'\n", "t.toml:1:1: [[sites]] needs \"name\"");
    refused_saying("[[sites]]\nname='x'\n", "t.toml:1:1: [[sites]] needs \"adapter\"");
    refused_saying(DEMO "[[models]]\nid='x'\n", "[[models]] needs \"targets\"");
    refused_saying(DEMO "[[models]]\ntargets=['demo/x']\n", "[[models]] needs \"id\"");
}

static void targets_name_configured_sites(void **state)
{
    struct config *c = good(DEMO "[[models]]\nid='m'\ntargets=['gone/x', 'demo/a/b', 'demo/c']\n");
    assert_int_equal(c->models[0].n_targets, 2);
    assert_int_equal(c->models[0].targets[0].site, 0);
    assert_true(span_eq(c->models[0].targets[0].model, SPAN("a/b")));
    assert_span(c->models[0].targets[1].name, "demo/c");
    assert_true(warns(c, "t.toml:6:10: the target \"gone/x\" of model \"m\" is skipped: no site "
                         "\"gone\" is configured"));
    config_unref(c);
    refused_saying(DEMO "[[models]]\nid='m'\ntargets=['gone/x']\n",
                   "t.toml:6:9: the model \"m\" has no target at a configured site");
    refused_saying(DEMO "[[models]]\nid='m'\ntargets=[]\n", "has no target");
    refused_saying(DEMO "[[models]]\nid='m'\ntargets=['x']\n",
                   "must hold \"site/model\", found \"x\"");
    refused_saying(DEMO "[[models]]\nid='m'\ntargets=['demo/']\n", "must hold \"site/model\"");
    refused_saying(DEMO "[[models]]\nid='m'\ntargets='demo/x'\n",
                   "must be an array of strings and tables, found a string");
}

#define TARGETS(list) OPENAI ACCOUNT "[[models]]\nid='m'\ntargets=[" list "]\n"

static void targets_may_have_weights(void **state)
{
    struct config *c = good(TARGETS("'o/a', {target='o/b', weight=3}, {target='o/c', weight=0}"));
    const struct model_config *m = &c->models[0];
    assert_true(m->weighted && !m->glob);
    assert_int_equal(m->n_targets, 3);
    assert_int_equal(m->targets[0].weight, 1);
    assert_int_equal(m->targets[1].weight, 3);
    assert_int_equal(m->targets[2].weight, 0);
    assert_span(m->targets[1].model, "b");
    config_unref(c);
    c = good(TARGETS("'o/a', {target='o/b'}"));
    assert_false(c->models[0].weighted);
    config_unref(c);
    refused(TARGETS("{target='o/b', weight=1001}"),
            "t.toml:9:32: \"weight\" in [[models]] must be a whole number from 0 to 1000\n");
    refused_saying(TARGETS("{target='o/b', weight='3'}"), "must be a whole number from 0 to 1000, "
                                                          "found a string");
    refused_saying(TARGETS("{weight=3}"), "a target of the model \"m\" needs \"target\"");
    refused_saying(TARGETS("{target='o/b', wieght=3}"),
                   "unknown key \"wieght\" in a target of [[models]] (did you mean \"weight\"?)");
    refused_saying(TARGETS("{target='b'}"), "must hold \"site/model\", found \"b\"");
    refused_saying(TARGETS("3"), "must be a string, found");
}

static void option_is(const struct target_config *t, size_t i, const char *key, const char *value)
{
    assert_string_equal(t->options[i].key.p, key);
    assert_string_equal(t->options[i].value.p, value);
}

static void targets_may_have_options(void **state)
{
    setenv("EFFORT", "high", 1);
    struct config *c = good(
        TARGETS("{target='o/b', options={reasoning_effort='${EFFORT}', temperature=0.5, top_k=40, "
                "enable_thinking=false, 'odd \"key\"'='a\"b', thinking={type='enabled', "
                "levels=[1,2]}}}"));
    const struct target_config *t = &c->models[0].targets[0];
    assert_false(c->models[0].weighted);
    assert_int_equal(t->n_options, 6); /* by name */
    option_is(t, 0, "enable_thinking", "false");
    option_is(t, 1, "odd \\\"key\\\"", "\"a\\\"b\"");
    option_is(t, 2, "reasoning_effort", "\"high\"");
    option_is(t, 3, "temperature", "0.5");
    option_is(t, 4, "thinking", "{\"levels\":[1,2],\"type\":\"enabled\"}");
    option_is(t, 5, "top_k", "40");
    config_unref(c);
}

/* What the reader of chat requests would refuse of a client is refused in the file. */
static void options_of_the_wrong_type_are_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {TARGETS("{target='o/b', options={temperature='hot'}}"),
         "t.toml:9:46: the options of the target \"o/b\": temperature must be a number"},
        {TARGETS("{target='o/b', options={reasoning_effort=3}}"),
         "reasoning_effort must be a string"},
        {TARGETS("{target='o/b', options={max_tokens=0.5}}"), "max_tokens must be an integer"},
        {TARGETS("{target='o/b', options={stop=3}}"), "stop must be a string or an array"},
        {TARGETS("{target='o/b', options={logprobs='yes'}}"), "logprobs must be true or false"},
        {TARGETS("{target='o/b', options={stream=true}}"), "that is for the client to say"},
        {TARGETS("{target='o/b', options={model='x'}}"), "that is for the client to say"},
        {TARGETS("{target='o/b', options={top_p=nan}}"), "not finite"},
        {TARGETS("{target='o/b', options={seed=2026-01-01}}"), "a date has no counterpart"},
        {TARGETS("{target='o/b', options=3}"), "must be a table"},
        /* also of a site that is not there */
        {TARGETS("'o/a', {target='gone/b', options={temperature='hot'}}"), "must be a number"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused_saying(rows[i].text, rows[i].says);
}

static void ids_with_stars_are_patterns(void **state)
{
    struct config *c = good(OPENAI ACCOUNT "[[models]]\nid='gpt-4*'\ntargets=['o/*']\n"
                                           "[[models]]\nid='o?'\ntargets=['o/x']\n"
                                           "[[models]]\nid='plain'\ntargets=['o/*']\n");
    assert_true(c->models[0].glob && c->models[1].glob && !c->models[2].glob);
    config_unref(c);
}

static void keys_may_name_accounts(void **state)
{
    struct config *c = good("[[keys]]\nkey='k'\naccounts=['o/main']\n" OPENAI
                            "[[sites.accounts]]\nname='x'\napi_key='1'\n[[sites.accounts]]\nname='"
                            "main'\napi_key='2'\n");
    assert_int_equal(c->keys[0].n_accounts, 1);
    assert_int_equal(c->keys[0].accounts[0].site, 0);
    assert_int_equal(c->keys[0].accounts[0].account, 1);
    config_unref(c);
    refused_saying("[[keys]]\nkey='k'\naccounts=['demo/x']\n" DEMO,
                   "no account \"demo/x\" is configured");
    refused_saying("[[keys]]\nkey='k'\naccounts=['demo']\n" DEMO, "must hold \"site/account\"");
}

/* ---- adapters ---- */

static void unknown_adapters_list_those_of_this_version(void **state)
{
    refused_saying(
        "[[sites]]\nname='x'\nadapter='opnai'\n",
        "there is no adapter \"opnai\" (did you mean \"openai\"?); this version has: "
        "anthropic, chatglm, claude_web, demo, gemini, kimi, openai, qwen, sophnet, zai");
    refused_saying("[[sites]]\nname='x'\nadapter='lmarena'\n", "comes with a later version");
}

static void accounts_are_checked_against_the_adapter(void **state)
{
    refused_saying("[[sites]]\nname='z'\nadapter='zai'\n",
                   "t.toml:1:1: this site needs [[sites.accounts]]: the adapter zai wants token or "
                   "guest = true");
    refused_saying("[[sites]]\nname='z'\nadapter='zai'\n[[sites.accounts]]\nname='a'\n",
                   "t.toml:4:1: this account has no credential: the adapter zai wants token");
    refused_saying("[[sites]]\nname='k'\nadapter='kimi'\n[[sites.accounts]]\ncookie='a=b'\n",
                   "t.toml:4:1: an account wants refresh_token or token beside its cookie");
    refused_saying("[[sites]]\nname='q'\nadapter='qwen'\n[[sites.accounts]]\nemail='me@b.c'\n",
                   "t.toml:4:1: an account wants a password beside its email");
    refused_saying("[[sites]]\nname='q'\nadapter='qwen'\n[[sites.accounts]]\npassword='hush'\n",
                   "t.toml:4:1: an account wants an email beside its password");
    refused("[[sites]]\nname='q'\nadapter='qwen'\n[[sites.accounts]]\nemail='me@b.c'\n"
            "password_env='DRAGOMAN_NOT_SET'\n",
            "t.toml:6:14: \"password_env\" in [[sites.accounts]]: the environment variable "
            "DRAGOMAN_NOT_SET is not set\n");
    config_unref(good("[[sites]]\nname='q'\nadapter='qwen'\n[[sites.accounts]]\nemail='me@b.c'\n"
                      "password='hush'\n"));
    refused_saying("[[sites]]\nname='q'\nadapter='qwen'\n[[sites.accounts]]\nticket='abc'\n",
                   "a ticket is for options = { api = \"tongyi\" }");
    refused_saying(
        "[[sites]]\nname='q'\nadapter='qwen'\nbase_url='https://qianwen.biz.aliyun.com'\n"
        "options={api='tongyi'}\n[[sites.accounts]]\ntoken='abc'\n",
        "an account wants a ticket");
    refused_saying(OPENAI ACCOUNT "guest = true\n", "the adapter openai has no guest session");
    refused_saying(OPENAI "[[sites.accounts]]\ntoken='hush'\n",
                   "unknown key \"token\" in [[sites.accounts]]");
    refused_saying(OPENAI ACCOUNT "guest = 'yes'\n",
                   "\"guest\" in [[sites.accounts]] must be true or false");
}

static void options_are_checked_against_the_adapter(void **state)
{
    refused_saying(
        "[[sites]]\nname='z'\nadapter='zai'\noptions={api='v3'}\n[[sites.accounts]]\ntoken='t'\n",
        "\"api\" in the options of adapter zai must be one of: v1 v2, found \"v3\"");
    refused_saying(DEMO "options = 1\n",
                   "\"options\" in [[sites]] must be a table, found an integer");
    refused_saying(DEMO "base_url = 'http://h'\n",
                   "the adapter demo answers by itself: it has no base_url");
}

/* ---- limits of keys ---- */

static void every_limit_of_a_key_arrives(void **state)
{
    struct config *c =
        good("[[keys]]\nkey='1'\nrpm=1\nmax_concurrent=2\nrequests_per_day=3\n"
             "tokens_per_day=2000000000\naccounts=['demo/default']\n[[keys]]\nkey='2'\n" DEMO);
    const struct key_config *k = &c->keys[0];
    assert_int_equal(k->rpm, 1);
    assert_int_equal(k->max_concurrent, 2);
    assert_int_equal(k->requests_per_day, 3);
    assert_int_equal(k->tokens_per_day, 2000000000);
    assert_false(k->expires.set);
    k = &c->keys[1];
    assert_int_equal(k->rpm + k->max_concurrent + k->requests_per_day + k->tokens_per_day, 0);
    assert_int_equal(k->n_accounts, 0);
    assert_int_equal(c->n_warnings, 0);
    config_unref(c);
    refused_saying("[[keys]]\nkey='k'\ntokens_per_day = -1\n" DEMO, "must be from 0 to");
    refused_saying("[[keys]]\nkey='k'\nrequests_per_day = '9'\n" DEMO, "must be an integer");
}

static void keys_expire(void **state)
{
    static const struct {
        const char *value, *shown;
        int64_t at_s;
    } cases[] = {
        {"1970-01-01T00:00:00Z", "1970-01-01 00:00:00 UTC", 0},
        {"1970-01-01", "1970-01-01", 86400},
        {"2026-12-31", "2026-12-31", 1798761600}, /* the first moment of the year after it */
        {"2024-02-29", "2024-02-29", 1709251200},
        {"2000-02-29", "2000-02-29", 951868800},
        {"1999-12-31T23:59:59Z", "1999-12-31 23:59:59 UTC", 946684799},
        {"2026-12-31T18:00:00Z", "2026-12-31 18:00:00 UTC", 1798740000},
        {"2026-12-31 18:00:00", "2026-12-31 18:00:00 UTC", 1798740000},
        {"2026-12-31T18:00:00.999+01:00", "2026-12-31 17:00:00 UTC", 1798736400},
        {"2026-12-31T18:00:00-05:30", "2026-12-31 23:30:00 UTC", 1798759800},
        {"9999-12-31", "9999-12-31", 253402300800},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256], shown[CONFIG_EXPIRY_SIZE];
        snprintf(text, sizeof text, "[[keys]]\nkey='k'\nexpires = %s\n" DEMO, cases[i].value);
        struct config *c = good(text);
        assert_true(c->keys[0].expires.set);
        assert_int_equal(c->keys[0].expires.at_ms / 1000, cases[i].at_s);
        assert_string_equal(config_expiry_format(&c->keys[0].expires, shown), cases[i].shown);
        config_unref(c);
    }
    refused(
        "[[keys]]\nkey='k'\nexpires = '2026-12-31'\n" DEMO,
        "t.toml:3:11: \"expires\" in [[keys]] must be a date or a date and time, without quotes: "
        "2026-12-31 or 2026-12-31T18:00:00Z, found a string\n");
    refused_saying("[[keys]]\nkey='k'\nexpires = 18:00:00\n" DEMO, "found a time without a date");
    refused_saying("[[keys]]\nkey='k'\nexpires = 2026-02-29\n" DEMO, "t.toml:3:");
}

static void keys_are_tied_to_accounts(void **state)
{
    struct config *c =
        good("[[keys]]\nkey='1'\naccounts=['o/a', 'o.b/a']\n[[keys]]\nkey='2'\n" OPENAI
             "[[sites.accounts]]\nname='a'\napi_key='k'\n"
             "[[sites.accounts]]\nname='b'\napi_key='k'\n"
             "[[sites]]\nname='o.b'\nadapter='openai'\nbase_url='http://h/v1'\n"
             "[[sites.accounts]]\nname='a'\napi_key='k'\n" DEMO);
    const struct key_config *tied = &c->keys[0], *free_one = &c->keys[1];
    assert_true(config_key_takes_account(tied, SPAN("o"), SPAN("a")));
    assert_false(config_key_takes_account(tied, SPAN("o"), SPAN("b")));
    assert_false(config_key_takes_account(tied, SPAN("o"), SPAN("b/a")));
    assert_false(config_key_takes_account(tied, SPAN("o"), SPAN("")));
    assert_true(config_key_takes_account(tied, SPAN("o.b"), SPAN("a")));
    assert_false(config_key_takes_account(tied, SPAN("demo"), SPAN("default")));
    assert_true(config_key_takes_site(tied, SPAN("o")));
    assert_true(config_key_takes_site(tied, SPAN("o.b")));
    assert_false(config_key_takes_site(tied, SPAN("o.")));
    assert_false(config_key_takes_site(tied, SPAN("demo")));
    assert_true(config_key_takes_account(free_one, SPAN("demo"), SPAN("default")));
    assert_true(config_key_takes_site(free_one, SPAN("demo")));
    assert_true(config_key_takes_account(NULL, SPAN("x"), SPAN("y")));
    assert_true(config_key_takes_site(NULL, SPAN("x")));
    config_unref(c);
}

/* ---- warnings ---- */

static void later_features_give_one_warning_each(void **state)
{
    struct config *c =
        good("[[keys]]\nkey='1'\nrpm=1\nmax_concurrent=1\n[[keys]]\nkey='2'\nrpm=2\n" DEMO
             "transport='bridge'\n[[sites]]\nname='e'\nadapter='demo'\ntransport='bridge'\n");
    assert_int_equal(c->n_warnings, 1);
    assert_true(warns(c, "bridge_not_connected"));
    assert_true(c->sites[0].bridge);
    assert_int_equal(c->keys[1].rpm, 2);
    config_unref(c);
    c = good("server.workers = 2\n[[keys]]\nkey='1'\nrpm=0\n" DEMO "transport='direct'\n");
    assert_int_equal(c->n_warnings, 0);
    assert_int_equal(c->workers, 2);
    config_unref(c);
}

static void what_is_pasted_by_mistake_gives_a_warning(void **state)
{
    static const struct {
        const char *key, *says;
    } rows[] = {
        {"Bearer sk-1",
         "t.toml:5:1: \"api_key\" in [[sites.accounts]] begins with the word Bearer"},
        {"bearer sk-1", "begins with the word Bearer"},
        {" sk-1", "begins or ends with a blank"},
        {"sk-1 ", "begins or ends with a blank"},
        {"…", "a character beyond ASCII"},
        {"bearers", NULL},
        {"Bearer", NULL},
        {"a b=c; d", NULL},
    };
    char text[256];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(text, sizeof text, OPENAI "[[sites.accounts]]\napi_key='%s'\n", rows[i].key);
        struct config *c = good(text);
        assert_int_equal(c->n_warnings, rows[i].says ? 1 : 0);
        assert_true(!rows[i].says || warns(c, rows[i].says));
        config_unref(c);
    }
    struct config *c = good("[[sites]]\nname='o'\nadapter='openai'\n"
                            "base_url='http://h/v1/chat/completions/'\n");
    assert_int_equal(c->n_warnings, 1);
    assert_true(warns(c, "t.toml:4:10: \"base_url\" in [[sites]] ends with /chat/completions"));
    config_unref(c);
}

static void listening_for_others_without_keys_gives_a_warning(void **state)
{
    static const char *const others[] = {"0.0.0.0:1", "[::]:1", "192.168.1.2:1", "box.example:1"};
    static const char *const own[] = {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1",
                                      "unix:/x"};
    char text[256];
    for (size_t i = 0; i < 4; i++) {
        snprintf(text, sizeof text, SERVER "listen=['%s']\n" DEMO, others[i]);
        struct config *c = good(text);
        assert_true(warns(c, "without [[keys]]: requests from other machines are refused"));
        config_unref(c);
        snprintf(text, sizeof text, SERVER "listen=['%s']\n[[keys]]\nkey='k'\n" DEMO, others[i]);
        c = good(text);
        assert_int_equal(c->n_warnings, 0);
        config_unref(c);
    }
    for (size_t i = 0; i < 5; i++) {
        snprintf(text, sizeof text, SERVER "listen=['%s']\n" DEMO, own[i]);
        struct config *c = good(text);
        assert_int_equal(c->n_warnings, 0);
        config_unref(c);
    }
    struct config *c = good("");
    assert_true(warns(c, "nothing to serve; for the built-in demo, add one with name = \"demo\""));
    config_unref(c);
}

static void tls_needs_both_files_and_they_must_be_there(void **state)
{
    write_file("cert.pem", "x", 0644);
    write_file("tls.key", "x", 0644);
    refused_saying(SERVER "tls_cert='cert.pem'\n" DEMO, "tls_cert and tls_key belong together");
    refused_saying(SERVER "tls_cert='none.pem'\ntls_key='tls.key'\n" DEMO,
                   "t.toml:2:10: \"tls_cert\" in [server]: cannot read none.pem: No such file");
    struct config *c = good(SERVER "tls_cert='cert.pem'\ntls_key='tls.key'\n" DEMO);
    assert_true(warns(c, "tls.key can be read by other users"));
    assert_false(warns(c, "cert.pem"));
    config_unref(c);
}

/* ---- printing ---- */

static struct span printed(const struct config *config, struct buffer *out)
{
    buffer_init(out, 1 << 20);
    config_print(config, out);
    assert_int_equal(out->error, 0);
    return buffer_span(out);
}

static bool shows(struct span text, const char *part)
{
    return span_find(text, span_str(part)) >= 0;
}

static void tools_are_the_sites_own_or_words(void **state)
{
#define ZAI   "[[sites]]\nname='z'\nadapter='zai'\n"
#define TOKEN "[[sites.accounts]]\ntoken='t'\n"
    static const struct {
        const char *text;
        enum feature_mode tools;
        const char *shown;
    } cases[] = {
        {ZAI TOKEN, FEATURE_EMULATE, "tools = \"emulate\"\n"},
        {ZAI "tools='refuse'\n" TOKEN, FEATURE_REFUSE, "tools = \"refuse\"\n"},
        {OPENAI ACCOUNT, FEATURE_NATIVE, "tools = \"native\"\n"},
        {OPENAI "tools='native'\n" ACCOUNT, FEATURE_NATIVE, "tools = \"native\"\n"},
        {OPENAI "tools='emulate'\n" ACCOUNT, FEATURE_EMULATE, "tools = \"emulate\"\n"},
        {OPENAI "tools='refuse'\n" ACCOUNT, FEATURE_REFUSE, "tools = \"refuse\"\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buffer out;
        struct config *c = good(cases[i].text);
        assert_int_equal(c->sites[0].tools, cases[i].tools);
        assert_true(shows(printed(c, &out), cases[i].shown));
        buffer_free(&out);
        config_unref(c);
    }
    refused_saying(ZAI "tools='native'\n" TOKEN, "zai has no tools of its own");
    refused_saying(ZAI "tools='yes'\n" TOKEN, "native");
}

/* The site's keys, over them those of the model that are given, over them the target's one. */
static void truncated_answers_are_continued_where_it_says_so(void **state)
{
    struct config *c = good(
        OPENAI "continue_truncated=true\ncontinue_max=3\ncontinue_causes=['cut']\n" ACCOUNT
               "[[models]]\nid='m'\ntargets=['o/a', {target='o/b', continue_truncated=true}]\n"
               "continue_truncated=false\ncontinue_total='5s'\n"
               "[[models]]\nid='n'\ntargets=['o/a', {target='o/b', continue_truncated=false}]\n"
               "continue_causes=['empty', 'malformed']\n");
    const struct continue_config *site = &c->sites[0].continuing;
    assert_true(site->on && site->max == 3 && site->total_ms == 600000);
    assert_int_equal(site->causes, 1 << CONTINUE_CUT);
    const struct target_config *m = c->models[0].targets, *n = c->models[1].targets;
    assert_true(!m[0].continuing.on && m[1].continuing.on);
    assert_true(m[1].continuing.max == 3 && m[1].continuing.total_ms == 5000);
    assert_int_equal(m[1].continuing.causes, 1 << CONTINUE_CUT);
    assert_true(n[0].continuing.on && !n[1].continuing.on);
    assert_int_equal(n[0].continuing.causes, 1 << CONTINUE_EMPTY | 1 << CONTINUE_MALFORMED);
    struct buffer out;
    struct span text = printed(c, &out);
    assert_true(shows(text, "continue_causes = [\"cut\"]\npool"));
    assert_true(shows(text, "targets = [\"o/a\", { target = \"o/b\", continue_truncated = true }]\n"
                            "continue_truncated = false\ncontinue_total = \"5s\"\n"));
    assert_true(shows(text, "continue_truncated = false }]\n"
                            "continue_causes = [\"malformed\", \"empty\"]\n"));
    buffer_free(&out);
    config_unref(c);

    c = good(OPENAI ACCOUNT);
    assert_false(c->sites[0].continuing.on);
    assert_int_equal(c->sites[0].continuing.max, 2);
    assert_int_equal(c->sites[0].continuing.causes, (1 << CONTINUE_CAUSES) - 1);
    config_unref(c);
    refused_saying(
        OPENAI "continue_causes=['cuts']\n" ACCOUNT,
        "may hold: cut, length, malformed, empty, found \"cuts\" (did you mean \"cut\"?)");
    refused_saying(OPENAI "continue_causes='cut'\n" ACCOUNT, "must be an array of strings");
    refused_saying(OPENAI "continue_max=0\n" ACCOUNT, "must be from 1 to 10, found 0");
    refused_saying(TARGETS("'o/a'") "continue_max=11\n", "must be from 1 to 10, found 11");
    refused_saying(TARGETS("'o/a'") "continue_truncated=1\n", "must be true or false");
    refused_saying(TARGETS("{target='o/a', continue_truncated='yes'}"), "must be true or false");
    refused_saying(TARGETS("{target='o/a', continue_max=1}"), "unknown key \"continue_max\"");
}

static void printing_shows_everything_but_secrets(void **state)
{
    struct buffer out;
    struct config *c =
        good("[access]\nallow=['10.0.0.0/8','::/0', '::1']\n"
             "[[keys]]\nname='a'\nkey='sk-hush'\n[[keys]]\nname='h'\nkey_sha256='"
             "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'\n"
             "[[sites]]\nname='z'\nadapter='zai'\nproxy='http://"
             "hush1:hush2@p:3128'\noptions={signing_key='hush3', api='v2', delete_chat=false}\n"
             "field_aliases={a='b'}\nconnect_timeout='1500ms'\n"
             "[[sites.accounts]]\nname='main'\ntoken='hush4'\n"
             "[[models]]\nid='m'\ntargets=['z/x']\n"
             "[[models]]\nid='w'\ntargets=['z/x', {target='z/y', weight=2, "
             "options={top_p=0.5, stop=['a', 'b']}}]\n");
    struct span text = printed(c, &out);
    assert_false(shows(text, "hush"));
    static const char *const parts[] = {
        "[server]\nlisten = [\"127.0.0.1:8080\"]\nworkers = 1\n",
        "max_body = \"32MiB\"\n",
        "log_format = \"text\"\n",
        "allow = [\"10.0.0.0/8\", \"::/0\", \"::1/128\"]\n",
        "name = \"a\"\nkey = set (7 characters)\n",
        "key = set (only its SHA-256 is known)\n",
        "base_url = \"https://chat.z.ai\"\n",
        "proxy = \"http://***:***@p:3128\"\n",
        "signing_key = set (5 characters)",
        "api = \"v2\"",
        "delete_chat = false",
        "field_aliases = { \"a\" = \"b\" }\n",
        "connect_timeout = \"1500ms\"\n",
        "idle_timeout = \"90s\"\n",
        "token = set (5 characters)\n",
        "targets = [\"z/x\"]\n",
        "targets = [{ target = \"z/x\", weight = 1 }, { target = \"z/y\", weight = 2, options = {",
        "options = { \"stop\" = [\"a\", \"b\"], \"top_p\" = 0.5 } }]\n",
        "pool = { max = 100, max_idle = 32, idle_timeout = \"60s\", reuse = true }\n",
        "transport = \"direct\"\n",
        "reasoning = \"\"\n",
        "guest = false\n",
        "weight = 1\n",
        "models = [\"*\"]\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!shows(text, parts[i]))
            fail_msg("this is not shown: %s\nin\n%.*s", parts[i], SPAN_ARGS(text));
    }
    buffer_free(&out);
    config_unref(c);
}

/* ---- finding, counting, hosts ---- */

static void the_file_is_looked_for_in_the_documented_order(void **state)
{
    char path[CONFIG_PATH_MAX], expected[256];
    unlink("gateway.toml");
    assert_false(config_find(NULL, path));
    snprintf(expected, sizeof expected, "%s/.config", folder);
    mkdir(expected, 0700);
    snprintf(expected, sizeof expected, "%s/.config/dragoman", folder);
    mkdir(expected, 0700);
    snprintf(expected, sizeof expected, "%s/.config/dragoman/gateway.toml", folder);
    write_file(expected, "", 0600);
    assert_true(config_find(NULL, path));
    assert_string_equal(path, expected);
    write_file("gateway.toml", "", 0600);
    assert_true(config_find(NULL, path));
    assert_string_equal(path, "./gateway.toml");
    setenv("DRAGOMAN_CONFIG", "/nowhere/by-variable.toml", 1);
    assert_true(config_find(NULL, path)); /* counts as found: loading it says so */
    assert_string_equal(path, "/nowhere/by-variable.toml");
    assert_true(config_find("/nowhere/given.toml", path));
    assert_string_equal(path, "/nowhere/given.toml");
    setenv("DRAGOMAN_CONFIG", "", 1);
    assert_true(config_find(NULL, path));
    assert_string_equal(path, "./gateway.toml");
    unsetenv("DRAGOMAN_CONFIG");
    unlink("gateway.toml");
    unlink(expected);
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
    struct buffer errors;
    buffer_init(&errors, 4096);
    assert_null(config_load("/nowhere/x.toml", &errors));
    buffer_char(&errors, '\0');
    assert_string_equal(errors.p, "/nowhere/x.toml: cannot read it: No such file or directory\n");
    buffer_clear(&errors);
    assert_null(config_load(folder, &errors));
    buffer_char(&errors, '\0');
    assert_non_null(strstr(errors.p, "Is a directory"));
    buffer_free(&errors);
}

static void the_demo_needs_no_file(void **state)
{
    struct buffer errors, out;
    buffer_init(&errors, 4096);
    struct config *c = config_demo(&errors);
    assert_non_null(c);
    assert_int_equal(c->file.n, 0);
    assert_int_equal(c->n_sites, 1);
    assert_span(c->sites[0].settings.name, "demo");
    assert_int_equal(c->n_warnings, 0);
    assert_true(shows(printed(c, &out), "built-in"));
    buffer_free(&out);
    config_unref(c);
}

static void a_config_lives_as_long_as_somebody_holds_it(void **state)
{
    struct config *c = good(DEMO);
    assert_ptr_equal(config_ref(c), c);
    config_unref(c);
    assert_span(c->sites[0].settings.name, "demo"); /* the sanitizer watches */
    config_unref(c);
    config_unref(NULL);
}

static void hosts_of_ours_are_loopback_names_literals_and_listeners(void **state)
{
    struct config *c = good(SERVER "listen = ['127.0.0.1:8080', 'Box.example:81', '[::]:82', "
                                   "'unix:/x']\n[[keys]]\nkey='k'\n" DEMO);
    static const char *const yes[] = {
        "localhost",        "LOCALHOST:8080", "localhost.",       "a.localhost",
        "x.y.localhost:1",  "127.0.0.1",      "127.8.9.1:9",      "[::1]",
        "[::1]:8080",       "box.example",    "BOX.EXAMPLE:9999", "192.168.1.7:8080",
        "[2001:db8::1]:82", " localhost "};
    static const char *const no[] = {"",
                                     ":8080",
                                     "evil.example",
                                     "evil.example:8080",
                                     "localhost.evil.example",
                                     "notlocalhost",
                                     "127.0.0.1.evil.example",
                                     "127.1",
                                     "0x7f.0.0.1",
                                     "[::1",
                                     "[localhost]",
                                     "[127.0.0.1]",
                                     "::1",
                                     "localhost:80:80",
                                     "localhost:x",
                                     "localhost:99999",
                                     "/x",
                                     "[::1]evil",
                                     ".localhost",
                                     "a@localhost:1"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (!config_host_is_ours(c, span_str(yes[i])))
            fail_msg("'%s' was refused", yes[i]);
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        if (config_host_is_ours(c, span_str(no[i])))
            fail_msg("'%s' was taken for ours", no[i]);
    }
    config_unref(c);
}

/* ---- routes ---- */

#define ROUTE "[[routes]]\n"

static void presets_fill_in_what_a_service_needs(void **state)
{
    static const struct {
        const char *name, *prefix, *origin, *inject;
        enum dialect dialect;
    } rows[] = {
        {"openai", "/openai", "https://api.openai.com", "authorization", DIALECT_OPENAI},
        {"anthropic", "/anthropic", "https://api.anthropic.com", "x-api-key", DIALECT_ANTHROPIC},
        {"gemini", "/gemini", "https://generativelanguage.googleapis.com", "x-goog-api-key",
         DIALECT_GOOGLE}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[200];
        snprintf(text, sizeof text, ROUTE "preset = '%s'\nkey = 'k'\n", rows[i].name);
        struct config *c = good(text);
        const struct route_config *r = &c->routes[0];
        assert_int_equal(c->n_routes, 1);
        assert_int_equal(c->n_warnings, 0);
        assert_ptr_equal(r->site, &r->own);
        assert_span(r->prefix, rows[i].prefix);
        assert_span(r->site->settings.origin, rows[i].origin);
        assert_span(r->inject_name, rows[i].inject);
        assert_int_equal(r->dialect, rows[i].dialect);
        assert_true(r->strip_prefix);
        assert_int_equal(r->n_methods, 6);
        assert_int_equal(r->own.n_accounts, 1);
        assert_span(r->own.accounts[0].credentials[0].value, "k");
        assert_true(r->own.pool.reuse);
        assert_int_equal(r->own.connect_timeout_ms, 15000);
        assert_int_equal(r->own.idle_timeout_ms, 300000);
        config_unref(c);
    }
}

static void routes_have_upstreams_of_many_kinds(void **state)
{
    struct config *c = good(
        DEMO "[[sites]]\nname = 'o'\nadapter = 'openai'\nbase_url = 'https://h/v1'\n"
             "[[sites.accounts]]\napi_key = 'x'\n" ROUTE "prefix = '/o'\nsite = 'o'\n" ROUTE
             "prefix = '/a/b'\nupstream = 'http://127.0.0.1:81/base/'\ninject = 'query:tok'\n"
             "methods = ['GET']\npaths = ['/x*']\nstrip_prefix = false\n" ROUTE
             "preset = 'gemini'\nupstream = 'https://mirror/'\ninject = 'header:X-K'\n"
             "[[routes.accounts]]\nname = 'one'\nkey = '1'\nweight = 3\n"
             "[[routes.accounts]]\nkey = '2'\n" ROUTE "prefix = '/none'\nupstream = 'http://h'\n");
    assert_int_equal(c->n_routes, 4);
    const struct route_config *r = c->routes;
    assert_ptr_equal(r[0].site, &c->sites[1]);
    assert_int_equal(r[0].inject, ROUTE_INJECT_BEARER);
    assert_span(r[1].own.settings.name, "route.a.b");
    assert_span(r[1].own.settings.prefix, "/base");
    assert_int_equal(r[1].inject, ROUTE_INJECT_QUERY);
    assert_span(r[1].inject_name, "tok");
    assert_false(r[1].strip_prefix);
    assert_span(r[2].own.settings.origin, "https://mirror");
    assert_span(r[2].inject_name, "X-K");
    assert_int_equal(r[2].own.n_accounts, 2);
    assert_span(r[2].own.accounts[0].name, "one");
    assert_int_equal(r[2].own.accounts[0].weight, 3);
    assert_int_equal(r[3].own.n_accounts, 1); /* anonymous */
    assert_int_equal(r[3].own.accounts[0].n_credentials, 0);

    struct buffer out;
    buffer_init(&out, 1 << 20);
    config_print(c, &out);
    struct span shown = buffer_span(&out);
    assert_true(
        span_find(shown, SPAN("[[routes]]\nprefix = \"/o\"\npreset = \"none\"\nsite = \"o\"\n")) >
        0);
    assert_true(span_find(shown, SPAN("upstream = \"http://127.0.0.1:81/base\"\n")) > 0);
    assert_true(span_find(shown, SPAN("inject = \"query:tok\"\n")) > 0);
    assert_true(span_find(shown, SPAN("  [[routes.accounts]]\n  name = \"one\"\n  weight = 3\n  "
                                      "key = set (1 characters)\n")) > 0);
    buffer_free(&out);
    config_unref(c);
}

/* What kind of service a site is says how its key is put in, and in whose words we fail. */
static void routes_to_sites_inject_as_the_site_wants_it(void **state)
{
    static const struct {
        const char *adapter, *inject;
        enum dialect dialect;
    } rows[] = {{"openai", "authorization", DIALECT_OPENAI},
                {"anthropic", "x-api-key", DIALECT_ANTHROPIC},
                {"gemini", "x-goog-api-key", DIALECT_GOOGLE}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[300];
        snprintf(text, sizeof text,
                 "[[sites]]\nname = 's'\nadapter = '%s'\n[[sites.accounts]]\napi_key = 'x'\n" ROUTE
                 "prefix = '/s'\nsite = 's'\n",
                 rows[i].adapter);
        struct config *c = good(text);
        assert_ptr_equal(c->routes[0].site, &c->sites[0]);
        assert_span(c->routes[0].inject_name, rows[i].inject);
        assert_int_equal(c->routes[0].dialect, rows[i].dialect);
        config_unref(c);
    }
}

static void wrong_routes_are_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {ROUTE "upstream = 'http://h'\n", "needs \"prefix\""},
        {ROUTE "prefix = '/x'\n", "where do its requests go?"},
        {ROUTE "prefix = 'x'\nupstream = 'http://h'\n", "must begin with /"},
        {ROUTE "prefix = '/'\nupstream = 'http://h'\n", "must begin with /"},
        {ROUTE "prefix = '/x/'\nupstream = 'http://h'\n", "must not end with /"},
        {ROUTE "prefix = '/x//y'\nupstream = 'http://h'\n", "hold //"},
        {ROUTE "prefix = '/x/../y'\nupstream = 'http://h'\n", ". or .."},
        {ROUTE "prefix = '/x y'\nupstream = 'http://h'\n", "letters, digits"},
        {ROUTE "prefix = '/x%2f'\nupstream = 'http://h'\n", "letters, digits"},
        {ROUTE "prefix = '/v1'\nupstream = 'http://h'\n", "own API"},
        {ROUTE "prefix = '/v1/x'\nupstream = 'http://h'\n", "own API"},
        {ROUTE "prefix = '/health'\nupstream = 'http://h'\n", "own API"},
        {ROUTE "preset = 'gemni'\n", "did you mean \"gemini\""},
        {ROUTE "preset = 'openai'\nupstream = 'ftp://h'\n", "http:// or https://"},
        {ROUTE "preset = 'openai'\nupstream = 'http://u:p@h'\n", "user or a password"},
        {ROUTE "preset = 'openai'\ninject = 'cookie'\n", "\"inject\" in [[routes]] must be"},
        {ROUTE "preset = 'openai'\ninject = 'header:'\n", "must be"},
        {ROUTE "preset = 'openai'\ninject = 'header:Host'\n", "must be"},
        {ROUTE "preset = 'openai'\ninject = 'header:a b'\n", "must be"},
        {ROUTE "preset = 'openai'\ninject = 'query:a&b'\n", "must be"},
        {ROUTE "preset = 'openai'\nmethods = ['get']\n", "may hold GET"},
        {ROUTE "preset = 'openai'\nmethods = ['CONNECT']\n", "may hold GET"},
        {ROUTE "preset = 'openai'\nkey = 'a'\nkey_env = 'HOME'\n", "given more than once"},
        {ROUTE "preset = 'openai'\nkey = 'a'\n[[routes.accounts]]\nkey = 'b'\n",
         "both a key and accounts"},
        {ROUTE "preset = 'openai'\n[[routes.accounts]]\ntoken = 'b'\n",
         "unknown key \"token\" in [[routes.accounts]]"},
        {ROUTE "preset = 'openai'\n" ROUTE "preset = 'openai'\n", "already"},
        {ROUTE "prefix = '/a/b'\nupstream = 'http://h'\n" ROUTE
               "prefix = '/a.b'\nupstream = 'http://h'\n",
         "differ in . and / only"},
        {ROUTE "preset = 'openai'\nsite = 'nowhere'\n", "no site \"nowhere\""},
        {DEMO ROUTE "prefix = '/x'\nsite = 'demo'\n", "answers by itself"},
        {DEMO ROUTE "prefix = '/x'\nsite = 'demo'\nupstream = 'http://h'\n",
         "leave out \"upstream\""},
        {DEMO ROUTE "prefix = '/x'\nsite = 'demo'\nkey_file = 'x'\n", "leave out \"key_file\""},
        {ROUTE "preset = 'openai'\npath = ['*']\n", "did you mean \"paths\""},
        {SERVER "passthrough_unknown_keys = true\n" DEMO, "needs [[keys]]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused_saying(rows[i].text, rows[i].says);
}

/* Which accounts have something to put in as it is, and which have cookies or the like. */
static void sites_of_routes_need_a_plain_key(void **state)
{
    for (size_t i = 0; adapters[i]; i++) {
        bool plain = false;
        const struct credential_field *fields = adapters[i]->credentials;
        for (const struct credential_field *f = fields; f && f->name; f++)
            plain |= strcmp(f->name, "api_key") == 0 || strcmp(f->name, "token") == 0;
        if (plain || (adapters[i]->capabilities & CAP_LOCAL))
            continue;
        char text[300];
        snprintf(text, sizeof text,
                 "[[sites]]\nname = 's'\nadapter = '%s'\n[[sites.accounts]]\n%s = 'x'\n" ROUTE
                 "prefix = '/s'\nsite = 's'\n",
                 adapters[i]->name, fields ? fields[0].name : "none");
        refused_saying(text, "neither an api_key nor a token");
    }
}

static void unknown_keys_have_somewhere_to_go(void **state)
{
    struct config *c = good(SERVER "passthrough_unknown_keys = true\n[[keys]]\nkey = 'k'\n" ROUTE
                                   "prefix = '/x'\npreset = 'anthropic'\nupstream = 'http://h'\n");
    assert_ptr_equal(c->visitor_routes[DIALECT_ANTHROPIC], &c->routes[0]);
    const struct route_config *google = c->visitor_routes[DIALECT_GOOGLE];
    assert_span(google->site->settings.origin, "https://generativelanguage.googleapis.com");
    assert_span(c->visitor_routes[DIALECT_OPENAI]->site->host, "api.openai.com");
    assert_int_equal(c->n_routes, 1);
    config_unref(c);
    c = good(DEMO);
    assert_null(c->visitor_routes[DIALECT_OPENAI]);
    config_unref(c);
}

/* ---- documentation ---- */

static char *read_text(const char *path)
{
    static char text[1 << 18];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    return text;
}

/* Every key of the schema, with everything below it. */
static void each_key(const struct schema *schema, const char *text, bool example)
{
    for (const struct schema_key *key = schema->keys; key->name; key++) {
        char wanted[128];
        if (key->table && key->type != &value_inline_table)
            snprintf(wanted, sizeof wanted, "%s", key->table->title);
        else if (example)
            snprintf(wanted, sizeof wanted, "%s", key->name);
        else
            snprintf(wanted, sizeof wanted, "| `%s` |", key->name);
        if (!strstr(text, wanted))
            fail_msg("%s of %s is missing: %s", key->name, schema->title, wanted);
        assert_non_null(key->help);
        if (key->table)
            each_key(key->table, text, example);
    }
}

static void every_key_is_documented(void **state)
{
    each_key(&schema_root, read_text(PROJECT_SOURCE_DIR "/docs/configuration.md"), false);
}

static void every_key_stands_in_the_example(void **state)
{
    each_key(&schema_root, read_text(PROJECT_SOURCE_DIR "/gateway.toml.example"), true);
}

static void the_example_loads(void **state)
{
    struct config *c = good(read_text(PROJECT_SOURCE_DIR "/gateway.toml.example"));
    assert_int_equal(c->n_warnings, 0);
    assert_ptr_equal(c->sites[0].adapter, &adapter_demo);
    config_unref(c);
}

/* Without the comment signs its examples are right, too. */
static void the_examples_comments_load(void **state)
{
    struct buffer all;
    buffer_init(&all, 1 << 18);
    struct span rest = span_str(read_text(PROJECT_SOURCE_DIR "/gateway.toml.example")), line;
    while (span_split(&rest, '\n', &line)) {
        struct span bare = span_starts(line, SPAN("# ")) ? span_from(line, 2) : line;
        struct span word = span_trim(bare);
        size_t n = 0;
        while (n < word.n && (word.p[n] == '_' || (word.p[n] >= 'a' && word.p[n] <= 'z')))
            n++;
        bool is_key = n && span_starts(span_from(word, n), SPAN(" = "));
        if (is_key || span_starts(word, SPAN("[")))
            buffer_append(&all, bare);
        buffer_char(&all, '\n');
    }
    setenv("CHERRY_KEY", "k", 1);
    setenv("OPENROUTER_API_KEY", "k", 1);
    setenv("GEMINI_API_KEY", "k", 1);
    setenv("ANTHROPIC_API_KEY", "k", 1);
    setenv("CHATGLM_SIGN_SECRET", "k", 1);
    setenv("QWEN_PASSWORD", "k", 1);
    write_file("zai.token", "t", 0600);
    write_file("chatglm.refresh", "t", 0600);
    write_file("claude.session", "t", 0600);
    write_file("kimi.refresh", "t", 0600);
    write_file("qwen.token", "t", 0600);
    write_file("claude.session", "t", 0600);
    write_file("dragoman.key", "0123456789abcdef", 0600);
    buffer_char(&all, '\0');
    config_unref(good(all.p));
    buffer_free(&all);
}

static void every_default_is_valid_and_is_what_the_doc_says(void **state)
{
    const struct schema_key *root = schema_root.keys;
    char *doc = read_text(PROJECT_SOURCE_DIR "/docs/configuration.md");
    for (; root->name; root++) {
        for (const struct schema_key *key = root->table->keys; key->name; key++) {
            char row[128], shown[128];
            if (!key->otherwise)
                continue;
            snprintf(shown, sizeof shown, "| `%s` |", key->otherwise);
            for (char *c = shown; *c; c++)
                *c = *c == '\'' ? '"' : *c;
            snprintf(row, sizeof row, "| `%s` |", key->name);
            char title[64];
            snprintf(title, sizeof title, "## `%s`", root->table->title);
            char *section = strstr(doc, title);
            assert_non_null(section);
            char *at = strstr(section, row), *end = at ? strchr(at, '\n') : NULL,
                 *found = at ? strstr(at, shown) : NULL;
            if (!found || found > end)
                fail_msg("the row of %s in %s does not say %s", key->name, root->table->title,
                         shown);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_gives_the_documented_defaults),
        cmocka_unit_test(every_key_of_the_server_arrives),
        cmocka_unit_test(every_key_of_a_site_arrives),
        cmocka_unit_test(the_adapters_own_origin_and_limit_are_the_defaults),
        cmocka_unit_test(tools_are_the_sites_own_or_words),
        cmocka_unit_test(base_urls_are_taken_apart),
        cmocka_unit_test(broken_urls_are_refused_without_repeating_them),
        cmocka_unit_test(unknown_keys_are_named_with_place_and_nearest_name),
        cmocka_unit_test(wrong_types_say_what_is_wanted_and_what_was_found),
        cmocka_unit_test(the_secret_key_is_read_and_never_shown),
        cmocka_unit_test(all_errors_are_reported_in_the_files_order),
        cmocka_unit_test(broken_toml_is_told_with_its_place),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(dots_in_strings_and_comments_are_not_depth),
        cmocka_unit_test(characters_of_any_language_may_stand_in_strings),
        cmocka_unit_test(a_flood_of_errors_is_cut),
        cmocka_unit_test(sizes_know_their_units),
        cmocka_unit_test(times_need_their_unit),
        cmocka_unit_test(ranges_of_numbers_are_checked),
        cmocka_unit_test(listen_addresses_are_checked_one_by_one),
        cmocka_unit_test(lists_check_their_elements),
        cmocka_unit_test(strings_expand_home_and_variables),
        cmocka_unit_test(what_is_expanded_is_not_expanded_again),
        cmocka_unit_test(a_key_comes_from_four_places),
        cmocka_unit_test(secrets_that_are_missing_doubled_or_empty_are_refused),
        cmocka_unit_test(relative_secret_files_start_at_the_configs_folder),
        cmocka_unit_test(files_that_others_can_read_are_named_in_a_warning),
        cmocka_unit_test(credentials_come_as_value_variable_or_file),
        cmocka_unit_test(names_must_be_unique),
        cmocka_unit_test(needed_keys_are_asked_for),
        cmocka_unit_test(targets_name_configured_sites),
        cmocka_unit_test(targets_may_have_weights),
        cmocka_unit_test(targets_may_have_options),
        cmocka_unit_test(truncated_answers_are_continued_where_it_says_so),
        cmocka_unit_test(options_of_the_wrong_type_are_refused),
        cmocka_unit_test(ids_with_stars_are_patterns),
        cmocka_unit_test(keys_may_name_accounts),
        cmocka_unit_test(unknown_adapters_list_those_of_this_version),
        cmocka_unit_test(accounts_are_checked_against_the_adapter),
        cmocka_unit_test(options_are_checked_against_the_adapter),
        cmocka_unit_test(every_limit_of_a_key_arrives),
        cmocka_unit_test(keys_expire),
        cmocka_unit_test(keys_are_tied_to_accounts),
        cmocka_unit_test(later_features_give_one_warning_each),
        cmocka_unit_test(what_is_pasted_by_mistake_gives_a_warning),
        cmocka_unit_test(listening_for_others_without_keys_gives_a_warning),
        cmocka_unit_test(tls_needs_both_files_and_they_must_be_there),
        cmocka_unit_test(printing_shows_everything_but_secrets),
        cmocka_unit_test(the_file_is_looked_for_in_the_documented_order),
        cmocka_unit_test(a_file_that_cannot_be_read_says_why),
        cmocka_unit_test(the_demo_needs_no_file),
        cmocka_unit_test(a_config_lives_as_long_as_somebody_holds_it),
        cmocka_unit_test(hosts_of_ours_are_loopback_names_literals_and_listeners),
        cmocka_unit_test(presets_fill_in_what_a_service_needs),
        cmocka_unit_test(routes_have_upstreams_of_many_kinds),
        cmocka_unit_test(routes_to_sites_inject_as_the_site_wants_it),
        cmocka_unit_test(wrong_routes_are_refused),
        cmocka_unit_test(sites_of_routes_need_a_plain_key),
        cmocka_unit_test(unknown_keys_have_somewhere_to_go),
        cmocka_unit_test(every_key_is_documented),
        cmocka_unit_test(every_key_stands_in_the_example),
        cmocka_unit_test(the_example_loads),
        cmocka_unit_test(the_examples_comments_load),
        cmocka_unit_test(every_default_is_valid_and_is_what_the_doc_says),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
