/*
 * gateway/config_text.c - what stands in strings: `~`, `${VAR}` and paths, and secrets, which may
 * stand in a variable or a file instead.
 *
 * Never repeats a text that may be a secret.
 */
#include "gateway/config_schema.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SECRET_FILE_MAX = 64 * 1024, VARIABLE_NAME_MAX = 256 };

/* ---- variables and folders ---- */

static const char *home_folder(void)
{
    const char *home = getenv("HOME");
    if (home && *home)
        return home;
    const struct passwd *user = getpwuid(getuid());
    return user ? user->pw_dir : NULL;
}

static bool is_variable_name(struct span name)
{
    if (name.n == 0 || name.n >= VARIABLE_NAME_MAX || isdigit((unsigned char)name.p[0]))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (!isalnum((unsigned char)name.p[i]) && name.p[i] != '_')
            return false;
    }
    return true;
}

/* The variable's value, NULL after complaining. */
static const char *variable(struct config_reader *r, const char *key, const struct toml_node *at,
                            struct span name)
{
    char copy[VARIABLE_NAME_MAX];
    if (!is_variable_name(name)) {
        config_error(r, at,
                     "\"%s\" in %s: ${%s} is not a variable's name (letters, digits and _; $${ "
                     "stands for a plain ${)",
                     key, r->title, config_quote(r, name));
        return NULL;
    }
    snprintf(copy, sizeof copy, "%.*s", SPAN_ARGS(name));
    const char *value = getenv(copy);
    if (!value)
        config_error(r, at, "\"%s\" in %s: the environment variable %s is not set", key, r->title,
                     copy);
    return value;
}

bool config_expand_tilde(struct config_reader *r, const char *key, const struct toml_node *at,
                         struct span *text, struct buffer *out)
{
    if (!span_eq(*text, SPAN("~")) && !span_starts(*text, SPAN("~/")))
        return true;
    const char *home = home_folder();
    if (!home) {
        config_error(r, at, "\"%s\" in %s: ~ has no meaning here, because HOME is not set", key,
                     r->title);
        return false;
    }
    buffer_append(out, span_str(home));
    *text = span_from(*text, 1);
    return true;
}

static bool expand(struct config_reader *r, const char *key, const struct toml_node *at,
                   struct span text, struct buffer *out)
{
    if (!config_expand_tilde(r, key, at, &text, out))
        return false;
    while (text.n) {
        ptrdiff_t mark = span_find(text, SPAN("${"));
        if (mark < 0) {
            buffer_append(out, text);
            break;
        }
        if (mark > 0 && text.p[mark - 1] == '$') { /* $${ is an escape */
            buffer_append(out, span_first(text, (size_t)mark - 1));
            buffer_append(out, SPAN("${"));
            text = span_from(text, (size_t)mark + 2);
            continue;
        }
        buffer_append(out, span_first(text, (size_t)mark));
        text = span_from(text, (size_t)mark + 2);
        ptrdiff_t end = span_find_char(text, '}');
        if (end < 0) {
            config_error(r, at, "\"%s\" in %s: ${ without a closing } ($${ stands for a plain ${)",
                         key, r->title);
            return false;
        }
        const char *value = variable(r, key, at, span_first(text, (size_t)end));
        if (!value)
            return false;
        buffer_append(out, span_str(value));
        text = span_from(text, (size_t)end + 1);
    }
    return true;
}

/* ---- text ---- */

bool config_read_text(struct config_reader *r, const char *name, const struct toml_node *value,
                      struct span *text)
{
    if (!config_want(r, name, value, TOML_TEXT, "a string"))
        return false;
    if (span_find_char(value->text, '\0') >= 0) {
        config_error(r, value, "\"%s\" in %s must not hold a NUL character", name, r->title);
        return false;
    }
    struct buffer out;
    buffer_init(&out, TOML_SIZE_LIMIT);
    bool good = expand(r, name, value, value->text, &out);
    if (good && out.error) {
        config_error(r, value,
                     out.error == BUFFER_NOMEM ? "\"%s\" in %s: not enough memory to read it"
                                               : "\"%s\" in %s is too long once expanded",
                     name, r->title);
        good = false;
    }
    if (good)
        *text = config_dup(r, buffer_span(&out));
    buffer_free(&out);
    return good && text->p;
}

struct span config_resolve_path(struct config_reader *r, struct span path)
{
    if (path.n == 0 || path.p[0] == '/' || r->folder.n == 0)
        return path;
    bool root = r->folder.p[r->folder.n - 1] == '/';
    struct span whole = arena_printf(&r->config->arena, "%.*s%s%.*s", SPAN_ARGS(r->folder),
                                     root ? "" : "/", SPAN_ARGS(path));
    r->no_memory |= !whole.p;
    return whole;
}

bool config_read_path(struct config_reader *r, const char *name, const struct toml_node *value,
                      struct span *path)
{
    if (!config_read_text(r, name, value, path))
        return false;
    *path = config_resolve_path(r, *path);
    return path->p != NULL;
}

bool config_check_plain(struct config_reader *r, const char *name, const struct toml_node *value,
                        struct span text)
{
    if (text.n == 0) {
        config_error(r, value, "\"%s\" in %s is empty", name, r->title);
        return false;
    }
    for (size_t i = 0; i < text.n; i++) {
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7F) {
            config_error(r, value,
                         "\"%s\" in %s must not hold line breaks or other control characters", name,
                         r->title);
            return false;
        }
    }
    return true;
}

void config_print_quoted(struct buffer *out, struct span text)
{
    buffer_char(out, '"');
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == '"' || c == '\\')
            buffer_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7F)
            buffer_printf(out, "\\u%04X", c);
        else
            buffer_char(out, (char)c);
    }
    buffer_char(out, '"');
}

/* ---- secrets ---- */

static const char *joined(char name[128], const char *base, const char *suffix)
{
    snprintf(name, 128, "%s%s", base, suffix);
    return name;
}

const struct toml_node *config_secret_node(const struct toml_node *table, const char *name)
{
    static const char *const suffixes[] = {"", "_env", "_file"};
    char full[128];
    const struct toml_node *found = NULL;
    for (size_t i = 0; i < 3 && !found; i++)
        found = toml_get(table, joined(full, name, suffixes[i]));
    return found;
}

static bool secret_from_env(struct config_reader *r, const char *key, const struct toml_node *value,
                            struct span *secret)
{
    if (!config_want(r, key, value, TOML_TEXT, "a string: the name of an environment variable"))
        return false;
    if (!is_variable_name(value->text)) { /* perhaps the secret itself: not repeated */
        config_error(
            r, value,
            "\"%s\" in %s must be the name of an environment variable (letters, digits and _)", key,
            r->title);
        return false;
    }
    const char *found = variable(r, key, value, value->text);
    if (found)
        *secret = config_dup(r, span_str(found));
    return found && secret->p;
}

static void remember_file(struct config_reader *r, struct span path)
{
    struct secret_file *file = config_alloc(r, sizeof *file);
    if (!file)
        return;
    *file = (struct secret_file){config_dup(r, path), r->config->secret_files};
    r->config->secret_files = file;
}

static bool secret_from_file(struct config_reader *r, const char *key,
                             const struct toml_node *value, struct span *secret)
{
    struct span path;
    if (!config_want(r, key, value, TOML_TEXT, "a string: the path of a file") ||
        !config_read_path(r, key, value, &path))
        return false;
    if (path.n == 0) {
        config_error(r, value, "\"%s\" in %s is empty", key, r->title);
        return false;
    }
    remember_file(r, path);
    int fd = open(path.p, O_RDONLY | O_CLOEXEC |
                              O_NONBLOCK); /* a FIFO without a writer must not hold the start up */
    if (fd < 0) {
        config_error(r, value, "\"%s\" in %s: cannot read %s: %s", key, r->title, path.p,
                     strerror(errno));
        return false;
    }
    struct buffer text;
    buffer_init(&text, SECRET_FILE_MAX + 1);
    char *at = buffer_reserve(&text, SECRET_FILE_MAX + 1);
    ssize_t n = 0;
    while (at && (n = read(fd, at + text.n, SECRET_FILE_MAX + 1 - text.n)) > 0)
        text.n += (size_t)n;
    bool good = at && n == 0 && text.n <= SECRET_FILE_MAX;
    if (!good)
        config_error(r, value, "\"%s\" in %s: cannot read %s: %s", key, r->title, path.p,
                     n < 0 ? strerror(errno) : "larger than 64 KiB");
    close(fd);
    struct span content = buffer_span(&text);
    if (span_ends(content, SPAN("\r\n")))
        content.n -= 2;
    else if (span_ends(content, SPAN("\n")))
        content.n -= 1;
    if (good) {
        *secret = config_dup(r, content);
        config_check_private(r, value, path.p);
    }
    if (text.p)
        explicit_bzero(text.p, text.cap);
    buffer_free(&text);
    return good && secret->p;
}

int config_read_secret(struct config_reader *r, const struct toml_node *table, const char *name,
                       struct span *secret)
{
    char env_name[128], file_name[128];
    const struct toml_node *given = toml_get(table, name);
    const struct toml_node *env = toml_get(table, joined(env_name, name, "_env"));
    const struct toml_node *file = toml_get(table, joined(file_name, name, "_file"));
    const struct toml_node *value = given ? given : env ? env : file;
    const char *key = given ? name : env ? env_name : file_name;
    if (!value)
        return 0;
    if (!!given + !!env + !!file > 1) {
        config_error(r, value,
                     "%s in %s is given more than once: only one of %s, %s and %s may stand there",
                     name, r->title, name, env_name, file_name);
        return -1;
    }
    bool good = given ? config_read_text(r, key, value, secret)
                : env ? secret_from_env(r, key, value, secret)
                      : secret_from_file(r, key, value, secret);
    if (good && secret->n == 0 && !given) {
        config_error(r, value, "\"%s\" in %s: the %s is empty", key, r->title,
                     env ? "variable" : "file");
        return -1;
    }
    return good && config_check_plain(r, key, value, *secret) ? 1 : -1;
}

void config_print_secret(struct buffer *out, size_t length)
{
    buffer_printf(out, "set (%zu characters)", length);
}
