/*
 * gateway/config.c - reading gateway.toml: the walk over the file by the schema, the complaints,
 * and what belongs to the whole.
 *
 * Everything wrong is reported, in the file's order, not only the first: each reader complains and
 * goes on with what it has. The tree and the complaints live in a scratch arena; what the config
 * keeps is copied into the config's own.
 */
#include "gateway/config.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/config_schema.h"

enum { ERRORS_SHOWN = 100, QUOTE_MAX = 60 };

/* ---- memory ---- */

void *config_alloc(struct config_reader *r, size_t n)
{
    void *p = arena_alloc(&r->config->arena, n);
    r->no_memory |= !p;
    return p;
}

struct span config_dup(struct config_reader *r, struct span text)
{
    struct span copy = arena_dup(&r->config->arena, text);
    r->no_memory |= !copy.p;
    return copy;
}

void *scratch_alloc(struct config_reader *r, size_t n)
{
    void *p = arena_alloc(&r->scratch, n);
    r->no_memory |= !p;
    return p;
}

/* ---- complaining ---- */

const char *config_quote(struct config_reader *r, struct span text)
{
    bool cut = text.n > QUOTE_MAX;
    size_t n = cut ? QUOTE_MAX : text.n;
    while (cut && n && ((unsigned char)text.p[n] & 0xC0) == 0x80) /* not inside a character */
        n--;
    char *p = scratch_alloc(r, n + 4);
    if (!p)
        return "?";
    for (size_t i = 0; i < n; i++) {
        bool control = (unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7F;
        p[i] = control ? '?' : text.p[i];
    }
    if (cut)
        memcpy(p + n, "...", sizeof "...");
    return p;
}

__attribute__((format(printf, 5, 0))) static void note(struct config_reader *r,
                                                       struct config_notes *notes, int line,
                                                       int column, const char *format, va_list args)
{
    if (notes->n == notes->cap) {
        size_t cap = notes->cap ? notes->cap * 2 : 16;
        struct config_note *list = scratch_alloc(r, cap * sizeof *list);
        if (!list)
            return;
        if (notes->n)
            memcpy(list, notes->list, notes->n * sizeof *list);
        notes->list = list;
        notes->cap = cap;
    }
    char text[1024];
    vsnprintf(text, sizeof text, format, args);
    struct span whole = line
                            ? arena_printf(&r->scratch, "%s:%d:%d: %s", r->name, line, column, text)
                            : arena_printf(&r->scratch, "%s: %s", r->name, text);
    r->no_memory |= !whole.p;
    notes->list[notes->n] = (struct config_note){line, column, notes->n, whole};
    notes->n++;
}

void config_error(struct config_reader *r, const struct toml_node *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    note(r, &r->errors, at ? at->line : 0, at ? at->column : 0, format, args);
    va_end(args);
}

void config_error_at_key(struct config_reader *r, const struct toml_node *at, const char *format,
                         ...)
{
    va_list args;
    va_start(args, format);
    note(r, &r->errors, at->key_line, at->key_column, format, args);
    va_end(args);
}

void config_warn(struct config_reader *r, const struct toml_node *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    note(r, &r->warnings, at ? at->line : 0, at ? at->column : 0, format, args);
    va_end(args);
}

static int compare_notes(const void *left, const void *right)
{
    const struct config_note *a = left, *b = right;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

static void sort_notes(struct config_notes *notes)
{
    if (notes->n)
        qsort(notes->list, notes->n, sizeof *notes->list, compare_notes);
}

/* Letters to change, add, drop or swap to make `a` of `b`; names are short. */
static size_t edit_distance(struct span a, struct span b)
{
    enum { MAX = 64 };
    size_t rows[3][MAX + 1];
    if (a.n > MAX || b.n > MAX)
        return SIZE_MAX;
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.n; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t best = last[j - 1] + (a.p[i - 1] != b.p[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.n];
}

const char *config_nearest(struct span given, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        struct span name = span_str(names[i]);
        size_t distance = edit_distance(given, name);
        size_t longer = given.n > name.n ? given.n : name.n;
        if (distance < least && distance <= (longer < 3 ? 1 : longer / 3 + (longer < 6))) {
            least = distance;
            best = names[i];
        }
    }
    return best;
}

void config_unknown_key(struct config_reader *r, const struct toml_node *member, const char *title,
                        const char *const *names, size_t n)
{
    const char *near = config_nearest(member->key, names, n);
    if (near) {
        config_error_at_key(r, member, "unknown key \"%s\" in %s (did you mean \"%s\"?)",
                            config_quote(r, member->key), title, near);
        return;
    }
    struct buffer list;
    buffer_init(&list, 700);
    for (size_t i = 0; i < n; i++)
        buffer_printf(&list, "%s%s", i ? ", " : "", names[i]);
    config_error_at_key(r, member, "unknown key \"%s\" in %s (known here: %.*s)",
                        config_quote(r, member->key), title, SPAN_ARGS(buffer_span(&list)));
    buffer_free(&list);
}

bool config_want(struct config_reader *r, const char *name, const struct toml_node *value,
                 enum toml_type type, const char *wanted)
{
    if (value->type == type)
        return true;
    config_error(r, value, "\"%s\" in %s must be %s, found %s", name, r->title, wanted,
                 toml_describe(value));
    return false;
}

void config_check_private(struct config_reader *r, const struct toml_node *at, const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & (S_IRGRP | S_IROTH)))
        config_warn(r, at,
                    "%s can be read by other users of this machine (mode %04o): chmod 600 %s", path,
                    (unsigned)st.st_mode & 07777, path);
}

/* ---- the walk ---- */

static const struct schema_key *find_key(const struct schema *schema, struct span name)
{
    for (const struct schema_key *key = schema->keys; key->name; key++) {
        if (span_eq(name, span_str(key->name)))
            return key;
    }
    return NULL;
}

static void complain_unknown(struct config_reader *r, const struct schema *schema,
                             const struct toml_node *table)
{
    const char *names[64];
    size_t n = 0;
    for (const struct schema_key *key = schema->keys; key->name && n < 64; key++)
        names[n++] = key->name;
    for (const struct toml_node *member = table->first; member; member = member->next) {
        if (!find_key(schema, member->key))
            config_unknown_key(r, member, schema->title, names, n);
    }
}

static const struct toml_node *default_node(struct config_reader *r, const struct schema_key *key)
{
    char text[256];
    struct toml_error error;
    int n = snprintf(text, sizeof text, "v = %s", key->otherwise);
    struct toml_node *root = toml_parse(&r->scratch, span_of(text, (size_t)n), &error);
    if (!root) { /* a default that does not parse is a bug; memory may be short */
        r->no_memory = true;
        return NULL;
    }
    struct toml_node *value = toml_get(root, "v");
    value->line = value->column = 0;
    return value;
}

static bool same_value(const struct toml_node *a, const struct toml_node *b)
{
    return a->type == b->type && a->integer == b->integer && span_eq(a->text, b->text) &&
           a->count == b->count;
}

/* A key whose feature is still to come is accepted, with one warning however often it stands there.
 */
static void note_later(struct config_reader *r, const struct schema_key *key,
                       const struct toml_node *value)
{
    const struct toml_node *otherwise = key->later ? default_node(r, key) : NULL;
    if (!otherwise || same_value(value, otherwise) ||
        r->n_told == sizeof r->told / sizeof r->told[0])
        return;
    for (size_t i = 0; i < r->n_told; i++) {
        if (r->told[i] == key)
            return;
    }
    r->told[r->n_told++] = key;
    config_warn(r, value, "\"%s\" in %s %s", key->name, r->title, key->later);
}

void config_read_table(struct config_reader *r, const struct schema *schema,
                       const struct toml_node *table, void *record)
{
    const char *outer = r->title;
    r->title = schema->title;
    for (const struct schema_key *key = schema->keys; key->name; key++) {
        const struct toml_node *value = toml_get(table, key->name);
        if (value) {
            note_later(r, key, value);
        } else if (key->required) {
            config_error(r, table, "%s needs \"%s\": %s", schema->title, key->name, key->help);
        } else if (key->otherwise) {
            value = default_node(r, key);
        }
        if (value && key->type->read)
            key->type->read(r, key, value, record);
    }
    complain_unknown(r, schema, table);
    if (schema->finish)
        schema->finish(r, table, record);
    r->title = outer;
}

/* ---- the whole file ---- */

static void use_folder_of(struct config_reader *r, const char *name)
{
    const char *slash = strrchr(name, '/');
    r->folder = slash ? span_of(name, slash == name ? 1 : (size_t)(slash - name)) : span_of("", 0);
}

static void tell_errors(struct config_reader *r, struct buffer *errors)
{
    sort_notes(&r->errors);
    for (size_t i = 0; i < r->errors.n && i < ERRORS_SHOWN; i++)
        buffer_printf(errors, "%.*s\n", SPAN_ARGS(r->errors.list[i].text));
    if (r->errors.n > ERRORS_SHOWN)
        buffer_printf(errors, "%s: and %zu more errors\n", r->name, r->errors.n - ERRORS_SHOWN);
    if (r->no_memory)
        buffer_printf(errors, "%s: not enough memory to read it\n", r->name);
}

static void keep_warnings(struct config_reader *r)
{
    sort_notes(&r->warnings);
    struct span *list = config_alloc(r, (r->warnings.n + 1) * sizeof *list);
    if (!list)
        return;
    for (size_t i = 0; i < r->warnings.n; i++)
        list[i] = config_dup(r, r->warnings.list[i].text);
    r->config->warnings = list;
    r->config->n_warnings = r->warnings.n;
}

/* `path` is the file itself, NULL when the text comes from memory. */
static struct config *parse(struct span text, const char *name, const char *path,
                            struct buffer *errors)
{
    struct config *config = calloc(1, sizeof *config);
    if (!config) {
        buffer_printf(errors, "%s: not enough memory to read it\n", name);
        return NULL;
    }
    config->refs = 1;
    arena_init(&config->arena);
    struct config_reader r = {.config = config, .name = name};
    arena_init(&r.scratch);
    use_folder_of(&r, name);
    config->file = config_dup(&r, span_str(name));

    struct toml_error wrong;
    struct toml_node *root = toml_parse(&r.scratch, text, &wrong);
    if (root) {
        if (path)
            config_check_private(&r, NULL, path);
        config_read_table(&r, &schema_root, root, config);
    } else {
        config_error(&r, &(struct toml_node){.line = wrong.line, .column = wrong.column}, "%s",
                     wrong.message);
    }
    keep_warnings(&r);
    bool good = r.errors.n == 0 && !r.no_memory;
    if (!good) {
        tell_errors(&r, errors);
        config_unref(config);
    }
    arena_free(&r.scratch);
    return good ? config : NULL;
}

struct config *config_parse(struct span text, const char *name, struct buffer *errors)
{
    return parse(text, name, NULL, errors);
}

/* 0, or an errno. */
static int read_whole(const char *path, struct buffer *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = 0;
    while (text->n <= TOML_SIZE_LIMIT) {
        char *at = buffer_reserve(text, 16384);
        ssize_t n = at ? read(fd, at, 16384) : -1;
        if (n > 0) {
            text->n += (size_t)n;
        } else if (n == 0 || !at || errno != EINTR) {
            error = !at ? ENOMEM : n < 0 ? errno : 0;
            break;
        }
    }
    close(fd);
    return error;
}

struct config *config_load(const char *path, struct buffer *errors)
{
    struct buffer text;
    buffer_init(&text, TOML_SIZE_LIMIT + 65536);
    int error = read_whole(path, &text);
    struct config *config = NULL;
    if (error)
        buffer_printf(errors, "%s: cannot read it: %s\n", path, strerror(error));
    else
        config = parse(buffer_span(&text), path, path, errors);
    if (text.p)
        explicit_bzero(text.p, text.cap); /* it holds secrets */
    buffer_free(&text);
    return config;
}

struct config *config_demo(struct buffer *errors)
{
    static const char text[] = "[[sites]]\nname = 'demo'\nadapter = 'demo'\n";
    struct config *config = config_parse(span_str(text), "built-in demo", errors);
    if (config)
        config->file = span_of("", 0);
    return config;
}

struct config *config_ref(struct config *config)
{
    __atomic_add_fetch(&config->refs, 1, __ATOMIC_RELAXED);
    return config;
}

void config_unref(struct config *config)
{
    if (!config || __atomic_sub_fetch(&config->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    arena_free(&config->arena);
    free(config);
}

/* ---- where it is ---- */

static bool is_there(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

bool config_find(const char *given, char path[CONFIG_PATH_MAX])
{
    const char *named = getenv("DRAGOMAN_CONFIG");
    if (!given && named && *named)
        given = named;
    if (given) {
        snprintf(path, CONFIG_PATH_MAX, "%s", given);
        return true;
    }
    snprintf(path, CONFIG_PATH_MAX, "./gateway.toml");
    if (is_there(path))
        return true;
    const char *home = getenv("HOME");
    if (!home || !*home) {
        const struct passwd *user = getpwuid(getuid());
        home = user ? user->pw_dir : NULL;
    }
    if (home &&
        snprintf(path, CONFIG_PATH_MAX, "%s/.config/dragoman/gateway.toml", home) <
            CONFIG_PATH_MAX &&
        is_there(path))
        return true;
    path[0] = '\0';
    return false;
}

/* ---- whose Host is it (design §9: DNS rebinding) ---- */

/* The host of "host", "host:port", "[v6]" or "[v6]:port", without brackets; false when it is none
 * of these. */
static bool split_host(struct span text, struct span *host)
{
    struct span port = span_of(NULL, 0);
    ptrdiff_t end;
    if (text.n && text.p[0] == '[') {
        end = span_find_char(text, ']');
        if (end < 0)
            return false;
        *host = span_of(text.p + 1, (size_t)end - 1);
        struct span rest = span_from(text, (size_t)end + 1);
        struct ip_address ip;
        if ((rest.n && rest.p[0] != ':') || span_find_char(*host, ':') < 0 || !ip_parse(*host, &ip))
            return false;
        port = span_from(rest, 1);
    } else {
        end = span_find_char(text, ':');
        *host = end < 0 ? text : span_first(text, (size_t)end);
        if (end >= 0)
            port = span_from(text, (size_t)end + 1);
    }
    uint64_t number;
    return host->n && (port.n == 0 || span_to_u64(port, 65535, &number));
}

size_t config_connections_of(const struct config *config, const struct ip_address *ip)
{
    if (!ip->known || cidr_any(config->trusted_proxies, config->n_trusted_proxies, ip))
        return 0;
    if (config->max_connections_per_ip)
        return (size_t)config->max_connections_per_ip;
    return ip_is_loopback(ip) ? 0 : (size_t)(config->max_connections + 9) / 10;
}

bool config_host_is_ours(const struct config *config, struct span header)
{
    static const struct span loopback = SPAN_INIT("localhost"), below = SPAN_INIT(".localhost");
    struct span host;
    struct ip_address ip;
    if (!split_host(span_trim(header), &host))
        return false;
    bool dot = host.n > 1 && host.p[host.n - 1] == '.';
    struct span name = span_first(host, host.n - dot);
    for (size_t i = 0; i < config->n_listen; i++) {
        if (!config->listen[i].is_unix && span_eq_nocase(name, config->listen[i].host))
            return true;
    }
    if (span_eq_nocase(name, loopback))
        return true;
    if (name.n > below.n && span_eq_nocase(span_from(name, name.n - below.n), below))
        return true;
    return ip_parse(host, &ip); /* a literal cannot be rebound by DNS */
}
