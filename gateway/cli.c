/*
 * gateway/cli.c - see cli.h. Results go to standard output, everything said about them to standard
 * error.
 */
#include "gateway/cli.h"

#include <stdlib.h>

#include "adapters/adapter.h"
#include "gateway/account_check.h"
#include "gateway/account_files.h"
#include "gateway/account_report.h"
#include "gateway/cli_sites.h"
#include "gateway/clock.h"
#include "gateway/control.h"
#include "gateway/replay.h"

enum { OUTPUT_MAX = 64 << 20, ERRORS_MAX = 1 << 20, PATIENCE_S = 10 };

static const struct {
    const char *name;
    enum cli_command command;
    bool takes_file;
    const char *verbs[2]; /* second words that it takes, and then a name */
} commands[] = {
    {"serve", CLI_SERVE, true, {NULL}},
    {"demo", CLI_DEMO, false, {NULL}},
    {"check", CLI_CHECK, true, {NULL}},
    {"models", CLI_MODELS, true, {NULL}},
    {"accounts", CLI_ACCOUNTS, true, {"clear", "check"}},
    {"keys", CLI_KEYS, false, {"new"}},
    {"sites", CLI_SITES, false, {NULL}},
    {"replay", CLI_REPLAY, false, {NULL}},
    {"--version", CLI_VERSION, false, {NULL}},
    {"--help", CLI_HELP, false, {NULL}},
    {"-h", CLI_HELP, false, {NULL}},
    {"-V", CLI_VERSION, false, {NULL}},
    {"version", CLI_VERSION, false, {NULL}},
    {"help", CLI_HELP, false, {NULL}},
};

static const char usage[] =
    "dragoman " DRAGOMAN_VERSION " - one OpenAI-compatible API in front of many chat sites\n"
    "\n"
    "  dragoman [serve] [-c FILE]   serve; prints the base URL to use\n"
    "  dragoman serve --rebuild     the same, after moving a damaged data file aside\n"
    "  dragoman demo                serve the built-in demo site: no network, no configuration\n"
    "  dragoman check [-c FILE]     validate the configuration and print it, secrets masked\n"
    "  dragoman models [-c FILE]    print every public model id with its targets\n"
    "  dragoman accounts [--json]   how the accounts are: ready, cooling until when, in use\n"
    "  dragoman accounts check [SITE[/ACCOUNT]] [--json]   ask each site whether it takes the "
    "account\n"
    "  dragoman accounts clear SITE/ACCOUNT   end a cool-down\n"
    "  dragoman keys new NAME       make a client key; prints it once, and what to paste\n"
    "  dragoman sites [--markdown]  the sites that can be configured, and what each can do\n"
    "  dragoman replay FILE [--adapter NAME] [--every-split]   a captured answer through its "
    "adapter, "
    "without network\n"
    "  dragoman --version | --help\n"
    "\n"
    "The configuration is looked for in: -c, $DRAGOMAN_CONFIG, ./gateway.toml, "
    "~/.config/dragoman/gateway.toml.\n"
    "Exit code: 0 fine, 1 runtime failure, 2 usage or configuration error.\n";

/* ---- which command ---- */

static int find_command(const char *word)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(word, commands[i].name) == 0)
            return (int)i;
    }
    return -1;
}

static int refuse(struct buffer *error, const char *what, const char *word)
{
    buffer_printf(error, "dragoman: %s%s (see dragoman --help)\n", what, word);
    return -1;
}

/* The file of "-c FILE", "-cFILE", "--config FILE" or "--config=FILE" at argv[*i]; NULL when it is
 * no such option. "" when the file is missing. */
static const char *file_option(int argc, char *const *argv, int *i)
{
    const char *word = argv[*i];
    if (strcmp(word, "-c") == 0 || strcmp(word, "--config") == 0) {
        *i += 1;
        return *i < argc ? argv[*i] : "";
    }
    if (strncmp(word, "--config=", 9) == 0)
        return word + 9;
    return strncmp(word, "-c", 2) == 0 ? word + 2 : NULL;
}

/* The verb of a command, then its name. */
static int take_verb(struct cli *cli, const char *const verbs[2], const char *word,
                     struct buffer *error)
{
    if (cli->name)
        return refuse(error, "one word too many: ", word);
    if (cli->verb) {
        cli->name = word;
        return 0;
    }
    for (size_t i = 0; i < 2; i++) {
        if (verbs[i] && strcmp(word, verbs[i]) == 0)
            cli->verb = verbs[i];
    }
    return cli->verb ? 0 : refuse(error, "unknown word ", word);
}

static bool is_check(const struct cli *cli)
{
    return cli->command == CLI_ACCOUNTS && cli->verb && strcmp(cli->verb, "check") == 0;
}

/* The words behind replay; `next` is what follows, NULL at the end. The number of words that were
 * taken; 0 = it is none of them, -1 with `error`. */
static int take_replay(struct cli *cli, const char *word, const char *next, struct buffer *error)
{
    if (strcmp(word, "--every-split") == 0) {
        cli->every_split = true;
        return 1;
    }
    if (strncmp(word, "--adapter=", 10) == 0) {
        cli->adapter = word + 10;
        return 1;
    }
    if (strcmp(word, "--adapter") == 0) {
        cli->adapter = next;
        return next ? 2 : refuse(error, "no name after ", word);
    }
    if (word[0] == '-')
        return 0;
    if (cli->name)
        return refuse(error, "one word too many: ", word);
    cli->name = word;
    return 1;
}

/* The options that belong to one command. */
static bool take_flag(struct cli *cli, enum cli_command command, const char *word)
{
    bool *flag = command == CLI_ACCOUNTS && strcmp(word, "--json") == 0    ? &cli->json
                 : command == CLI_SITES && strcmp(word, "--markdown") == 0 ? &cli->markdown
                                                                           : NULL;
    if (flag)
        *flag = true;
    return flag != NULL;
}

int cli_parse(int argc, char *const *argv, struct cli *cli, struct buffer *error)
{
    int chosen = -1;
    *cli = (struct cli){.command = CLI_SERVE};
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *file = file_option(argc, argv, &i);
        if (file) {
            if (!*file)
                return refuse(error, "no file name after ", word);
            if (cli->file)
                return refuse(error, "more than one configuration file: ", file);
            cli->file = file;
            continue;
        }
        if (chosen >= 0 && commands[chosen].command == CLI_REPLAY) {
            int taken = take_replay(cli, word, i + 1 < argc ? argv[i + 1] : NULL, error);
            if (taken < 0)
                return -1;
            if (taken) {
                i += taken - 1;
                continue;
            }
        }
        if (chosen >= 0 && commands[chosen].verbs[0] && word[0] != '-') {
            if (take_verb(cli, commands[chosen].verbs, word, error))
                return -1;
            continue;
        }
        if (chosen >= 0 && take_flag(cli, commands[chosen].command, word))
            continue;
        if (strcmp(word, "--rebuild") == 0) {
            cli->rebuild = true;
            continue;
        }
        int found = find_command(word);
        if (found < 0)
            return refuse(error,
                          word[0] == '-' ? "unknown option "
                          : span_ends(span_str(word), SPAN(".toml"))
                              ? "a configuration file is given with -c, as in -c "
                              : "unknown command ",
                          word);
        if (commands[found].command == CLI_HELP && word[0] == '-') { /* wherever it stands */
            *cli = (struct cli){.command = CLI_HELP};
            return 0;
        }
        if (chosen >= 0)
            return refuse(error, "more than one command: ", word);
        chosen = found;
    }
    if (chosen >= 0)
        cli->command = commands[chosen].command;
    if (cli->verb && !cli->name && !is_check(cli))
        return refuse(error, "a name is missing after ", cli->verb);
    if (cli->command == CLI_KEYS && !cli->verb)
        return refuse(error, "say what to do: dragoman keys ", "new NAME");
    if (cli->command == CLI_REPLAY && !cli->name)
        return refuse(error, "say which file: dragoman replay ", "FILE");
    if (cli->file && chosen >= 0 && !commands[chosen].takes_file)
        return refuse(error, "-c makes no sense with ", commands[chosen].name);
    if (cli->rebuild && cli->command != CLI_SERVE)
        return refuse(error, "--rebuild makes no sense with ", commands[chosen].name);
    return 0;
}

/* ---- models ---- */

static bool is_alias(const struct config *config, struct span id)
{
    for (size_t i = 0; i < config->n_models; i++) {
        if (span_eq(config->models[i].id, id))
            return true;
    }
    return false;
}

/* The i-th model of a site's known list; false behind the last. */
static bool site_model(const struct site_config *site, size_t i, struct span *id)
{
    if (site->n_models) {
        *id = i < site->n_models ? site->models[i] : span_of(NULL, 0);
        return i < site->n_models;
    }
    if (!site->adapter->models)
        return false;
    *id = site->adapter->models[i].id;
    return id->p != NULL;
}

static bool site_has(const struct site_config *site, struct span id)
{
    struct span other;
    for (size_t i = 0; site_model(site, i, &other); i++) {
        if (span_eq(id, other))
            return true;
    }
    return false;
}

/* Does the bare id mean another target: an alias, or a site that is configured before? */
static bool is_taken(const struct config *config, size_t site, struct span id)
{
    if (is_alias(config, id))
        return true;
    for (size_t i = 0; i < site; i++) {
        if (site_has(&config->sites[i], id))
            return true;
    }
    return false;
}

static bool begins_with_name(struct span id, struct span name)
{
    return id.n > name.n && span_starts(id, name) && id.p[name.n] == '/';
}

static void print_site_models(const struct config *config, size_t at, struct buffer *out)
{
    const struct site_config *site = &config->sites[at];
    struct span id, name = site->settings.name;
    size_t n = 0;
    for (; site_model(site, n, &id); n++) {
        if (is_taken(config, at, id)) {
            buffer_append(out, name);
            buffer_char(out, '/');
        }
        buffer_append(out, id);
        buffer_append(out, SPAN(" -> "));
        if (!begins_with_name(id, name)) { /* "demo/echo" of the site demo is a target as it is */
            buffer_append(out, name);
            buffer_char(out, '/');
        }
        buffer_append(out, id);
        buffer_char(out, '\n');
    }
    bool asks = !site->n_models && site->adapter->models_request;
    if (n == 0 || asks)
        buffer_printf(out, "# %.*s: %s; any id works as SITE/ID\n", SPAN_ARGS(name),
                      asks ? "the site's own list is asked for while serving" : "no list is known");
}

/* Every public model id with its targets, one a line: "gpt-4o -> zai/glm-4.6, qwen/qwen3-max". */
static void write_models(const struct config *config, struct buffer *out)
{
    for (size_t i = 0; i < config->n_models; i++) {
        const struct model_config *model = &config->models[i];
        buffer_append(out, model->id);
        for (size_t j = 0; j < model->n_targets; j++) {
            buffer_append(out, j ? SPAN(", ") : SPAN(" -> "));
            buffer_append(out, model->targets[j].name);
        }
        buffer_char(out, '\n');
    }
    for (size_t i = 0; i < config->n_sites; i++)
        print_site_models(config, i, out);
}

/* ---- running ---- */

static void put(FILE *to, const struct buffer *text)
{
    if (text->n)
        fwrite(text->p, 1, text->n, to);
}

static void put_warnings(FILE *to, const struct config *config)
{
    for (size_t i = 0; i < config->n_warnings; i++)
        fprintf(to, "warning: %.*s\n", SPAN_ARGS(config->warnings[i]));
}

/* The configuration that the command works on, NULL after saying why not. `path` is "" for the
 * built-in one. */
static struct config *open_config(const struct cli *cli, char path[CONFIG_PATH_MAX], FILE *err)
{
    struct buffer errors;
    struct config *config = NULL;
    buffer_init(&errors, ERRORS_MAX);
    path[0] = '\0';
    if (cli->command != CLI_DEMO && config_find(cli->file, path)) {
        config = config_load(path, &errors);
    } else if (cli->command == CLI_CHECK) {
        buffer_printf(&errors, "no configuration found (-c, $DRAGOMAN_CONFIG, ./gateway.toml, "
                               "~/.config/dragoman/gateway.toml); "
                               "to make one, copy gateway.toml.example\n");
    } else {
        if (cli->command != CLI_DEMO)
            fprintf(err,
                    "no configuration found: %s the built-in demo; to make one, copy "
                    "gateway.toml.example to ./gateway.toml or ~/.config/dragoman/gateway.toml and "
                    "edit it\n",
                    cli->command == CLI_SERVE ? "serving" : "showing");
        config = config_demo(&errors);
    }
    put(err, &errors);
    buffer_free(&errors);
    return config;
}

static int print_config(const struct config *config, FILE *out, FILE *err)
{
    struct buffer text;
    buffer_init(&text, OUTPUT_MAX);
    config_print(config, &text);
    put(out, &text);
    fflush(out);
    put_warnings(err, config);
    fprintf(out, "\nconfiguration is fine\n");
    buffer_free(&text);
    return EXIT_FINE;
}

static int print_models(const struct config *config, FILE *out, FILE *err)
{
    struct buffer text;
    buffer_init(&text, OUTPUT_MAX);
    put_warnings(err, config);
    write_models(config, &text);
    put(out, &text);
    buffer_free(&text);
    return EXIT_FINE;
}

/* The gateway's answer to `line`, or what the files say when none runs: then *alone. 0, or -1 with
 * fail. */
static int ask_or_look(struct config *config, const struct cli *cli, struct buffer *reply,
                       bool *alone, FILE *err, struct fail *fail)
{
    struct buffer text; /* the question, then remarks */
    buffer_init(&text, OUTPUT_MAX);
    buffer_append(&text, cli->verb ? span_str(cli->verb) : SPAN("accounts"));
    if (cli->name)
        buffer_printf(&text, " %s", cli->name);
    int rc = control_ask(config->data_dir, buffer_span(&text), PATIENCE_S, reply, fail);
    buffer_clear(&text);
    *alone = rc == 1;
    if (rc == 1 && cli->verb) {
        rc = account_files_clear(config, span_str(cli->name), fail);
        if (rc == 0)
            buffer_printf(reply, "%s is ready\n", cli->name);
    } else if (rc == 1) {
        rc = account_files_report(config, reply, &text, fail);
        buffer_char(reply, '\n');
    }
    put(err, &text);
    buffer_free(&text);
    return rc;
}

static int print_accounts(const struct cli *cli, struct config *config, FILE *out, FILE *err)
{
    struct buffer reply, table;
    struct fail fail = {0};
    bool alone;
    int code = EXIT_FINE;
    buffer_init(&reply, OUTPUT_MAX);
    buffer_init(&table, OUTPUT_MAX);
    if (ask_or_look(config, cli, &reply, &alone, err, &fail)) {
        fprintf(err, "dragoman: %s\n", fail.message);
        code = EXIT_RUNTIME;
    } else if (cli->verb) {
        bool bad = span_starts(buffer_span(&reply), SPAN("error: "));
        put(bad ? err : out, &reply);
        code = bad ? EXIT_RUNTIME : EXIT_FINE;
    } else {
        if (!cli->json && account_report_table(&table, buffer_span(&reply), clock_wall_ms())) {
            fprintf(err, "dragoman: the gateway's answer makes no sense: is it of this version?\n");
            code = EXIT_RUNTIME;
        }
        put(out, cli->json ? &reply : &table);
        if (alone)
            fprintf(err, "no gateway runs with this configuration: as the last one left it\n");
    }
    buffer_free(&reply);
    buffer_free(&table);
    return code;
}

/* Lets the running gateway ask the sites, or asks them from here. */
static int check_accounts(const struct cli *cli, struct config *config, FILE *out, FILE *err)
{
    struct buffer report, text; /* text: the question, remarks, then the lines for people */
    struct fail fail = {0};
    struct span only = cli->name ? span_str(cli->name) : span_of(NULL, 0);
    buffer_init(&report, OUTPUT_MAX);
    buffer_init(&text, OUTPUT_MAX);
    buffer_printf(&text, "check %.*s", SPAN_ARGS(only));
    int rc = control_ask(config->data_dir, buffer_span(&text), account_check_patience_s(config),
                         &report, &fail);
    buffer_clear(&text);
    if (rc == 1)
        rc = account_check_alone(config, only, &report, &text, &fail);
    put(err, &text);
    buffer_clear(&text);
    bool refused = rc == 0 && span_starts(buffer_span(&report), SPAN("error: "));
    int verdict = rc || refused ? -1 : account_check_print(&text, buffer_span(&report));
    if (rc)
        fprintf(err, "dragoman: %s\n", fail.message);
    else if (verdict < 0)
        put(err, &report);
    else
        put(out, cli->json ? &report : &text);
    if (cli->json && verdict >= 0 && report.p[report.n - 1] != '\n')
        fputc('\n', out);
    buffer_free(&report);
    buffer_free(&text);
    return verdict == 0 ? EXIT_FINE : EXIT_RUNTIME;
}

/* The key itself is shown here and never again; the file needs only its hash. */
static int print_new_key(const struct cli *cli, FILE *out)
{
    enum { LETTERS = 40 };
    char key[16 + LETTERS] = "sk-dragoman-";
    unsigned char hash[32];
    clock_random_id(key + strlen(key), LETTERS);
    config_hash_key(span_str(key), hash);
    fprintf(out,
            "%s\n\nThis is shown once: copy it into the app. Into gateway.toml goes its hash:\n\n"
            "[[keys]]\nname = \"%s\"\nkey_sha256 = \"",
            key, cli->name);
    for (size_t i = 0; i < sizeof hash; i++)
        fprintf(out, "%02x", hash[i]);
    fprintf(out, "\"\n");
    explicit_bzero(key, sizeof key);
    return fflush(out) == 0 ? EXIT_FINE : EXIT_RUNTIME;
}

static bool is_key_name(const char *name)
{
    for (const char *c = name; *c; c++) {
        if (!strchr("._-@ ", *c) && !(*c >= '0' && *c <= '9') && !(*c >= 'a' && *c <= 'z') &&
            !(*c >= 'A' && *c <= 'Z'))
            return false;
    }
    return *name;
}

static int print_sites(const struct cli *cli, FILE *out)
{
    struct buffer text;
    buffer_init(&text, OUTPUT_MAX);
    if (cli->markdown)
        cli_print_sites_markdown(&text);
    else
        cli_print_sites(&text);
    put(out, &text);
    buffer_free(&text);
    return fflush(out) == 0 ? EXIT_FINE : EXIT_RUNTIME;
}

static int print_replay(const struct cli *cli, FILE *out, FILE *err)
{
    struct fail fail = {0};
    enum replay_result result = replay(cli->name, cli->adapter, cli->every_split, out, &fail);
    if (result != REPLAY_PLAYED)
        fprintf(err, "dragoman: %s\n", fail.message);
    if (fflush(out) || result == REPLAY_FAILED)
        return EXIT_RUNTIME;
    return result == REPLAY_USAGE ? EXIT_USAGE : EXIT_FINE;
}

int cli_run(const struct cli *cli, int (*serve)(struct config *, const char *file, bool rebuild),
            FILE *out, FILE *err)
{
    char path[CONFIG_PATH_MAX];
    if (cli->command == CLI_HELP || cli->command == CLI_VERSION) {
        fputs(cli->command == CLI_HELP ? usage : "dragoman " DRAGOMAN_VERSION "\n", out);
        return EXIT_FINE;
    }
    if (cli->command == CLI_KEYS) {
        if (is_key_name(cli->name))
            return print_new_key(cli, out);
        fprintf(err, "dragoman: a key's name may hold letters, digits, blanks and . _ - @\n");
        return EXIT_USAGE;
    }
    if (cli->command == CLI_SITES)
        return print_sites(cli, out);
    if (cli->command == CLI_REPLAY)
        return print_replay(cli, out, err);
    struct config *config = open_config(cli, path, err);
    if (!config)
        return EXIT_USAGE;
    if (cli->command == CLI_SERVE || cli->command == CLI_DEMO)
        return serve(config, path[0] ? path : NULL, cli->rebuild); /* takes our reference */
    int code = cli->command == CLI_CHECK    ? print_config(config, out, err)
               : cli->command == CLI_MODELS ? print_models(config, out, err)
               : is_check(cli)              ? check_accounts(cli, config, out, err)
                                            : print_accounts(cli, config, out, err);
    config_unref(config);
    return fflush(out) == 0 ? code : EXIT_RUNTIME;
}
