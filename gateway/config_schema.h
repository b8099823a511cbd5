/*
 * gateway/config_schema.h - the inside of the configuration: which keys exist, and how their values
 * are read and shown.
 *
 * A key is one line in a table (config_schema.c): its name, its type, where the value goes, its
 * default, one line of help. A type is a const struct of two functions (config_values.c,
 * config_site.c). One walk reads a table of the file by its schema (config.c), another prints a
 * record by the same schema (config_print.c); tests walk it to see that the documentation knows
 * every key. Private to gateway/config*.c and their tests.
 */
#ifndef DRAGOMAN_GATEWAY_CONFIG_SCHEMA_H
#define DRAGOMAN_GATEWAY_CONFIG_SCHEMA_H

#include "gateway/config.h"
#include "gateway/toml.h"

enum {
    CONFIG_LIST_MAX = 4096
}; /* entries of one list or array of tables: what is compared with each other stays bounded */

struct config_reader; /* below */
struct schema_key;

struct value_type {
    const char *wanted; /* "an integer", for messages and docs */
    /* Reads `value` (never NULL) into the record. Complains by itself. NULL: the table's finish
     * reads it. */
    void (*read)(struct config_reader *, const struct schema_key *, const struct toml_node *value,
                 void *record);
    /* What stands behind `name = `. NULL: not shown. */
    void (*print)(struct buffer *, const struct schema_key *, const void *record);
    /* Instead of print, for tables: whole lines. */
    void (*print_block)(struct buffer *, const struct schema_key *, const void *record);
};

struct schema_key {
    const char *name;
    const struct value_type *type;
    size_t at, count_at;        /* offsets in the record; count_at for lists */
    const char *otherwise;      /* the default, as TOML; NULL: the record stays zeroed */
    int64_t min, max;           /* INT, SIZE, DURATION (ms) */
    const char *words;          /* WORD: "error warn info debug", in the enum's order */
    const struct schema *table; /* TABLE, TABLES */
    size_t record_size;         /* TABLES */
    bool required;
    const char *later; /* accepted and checked, but not acted upon yet: the warning when it is set
                          to something else than the default */
    const char *help;
};

struct schema {
    const char *title; /* "[server]", for messages */
    /* ends with name == NULL; values before tables, so that it can be printed as TOML */
    const struct schema_key *keys;
    /* What a key alone cannot say: called after all keys were read. */
    void (*finish)(struct config_reader *, const struct toml_node *table, void *record);
};

extern const struct schema schema_root;

/* ---- types ---- */
extern const struct value_type value_name, value_path, value_readable_file, value_bool, value_int,
    value_size, value_duration, value_word, value_flag_word, value_texts, value_cidrs, value_listen,
    value_cors_origins;
extern const struct value_type value_table, value_inline_table, value_tables;
/* of keys and models */
extern const struct value_type value_secret, value_key, value_later, value_key_accounts,
    value_targets, value_key_reasoning, value_expiry;
/* of sites */
extern const struct value_type value_adapter, value_base_url, value_chat_path, value_proxy,
    value_aliases, value_options, value_accounts, value_continue_causes;
/* of models: any of a site's continue_… keys, shown where it is given */
extern const struct value_type value_model_continue;
/* of routes */
extern const struct value_type value_inject, value_upstream, value_route_accounts;

/* ---- reading ---- */

struct config_note {
    int line, column;
    size_t order; /* of complaining, for equal places */
    struct span text;
};

struct config_notes {
    struct config_note *list;
    size_t n, cap;
};

struct config_reader {
    struct config *config;
    struct arena scratch; /* the tree, notes; gone after reading */
    const char *name;     /* of the file, in messages */
    struct span folder;   /* relative paths start here; "" = where we are */
    const char *title;    /* of the table being read */
    struct config_notes errors, warnings;
    const struct schema_key *told[32]; /* whose `later` was said */
    size_t n_told;
    bool no_memory;
};

/* Complains at a node (NULL: at the file as a whole). */
void config_error(struct config_reader *, const struct toml_node *, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void config_error_at_key(struct config_reader *, const struct toml_node *, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void config_warn(struct config_reader *, const struct toml_node *, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* `"workers" in [server] must be an integer, found a string`: false after complaining. */
bool config_want(struct config_reader *, const char *name, const struct toml_node *value,
                 enum toml_type, const char *wanted);
/* Unknown key, with the nearest of `names`. */
void config_unknown_key(struct config_reader *, const struct toml_node *member, const char *title,
                        const char *const *names, size_t n);
/* Memory of the config (or of the reading alone), zeroed; NULL marks the reader as out of memory.
 */
void *config_alloc(struct config_reader *, size_t n);
struct span config_dup(struct config_reader *, struct span);
void *scratch_alloc(struct config_reader *, size_t n);
/* Foreign text made fit for a message: one line, at most 60 bytes. */
const char *config_quote(struct config_reader *, struct span);

void config_read_table(struct config_reader *, const struct schema *, const struct toml_node *table,
                       void *record);
void config_print_table(struct buffer *, const struct schema *, const void *record);

/* A string with ~ and ${VAR} expanded, in the config's memory; false after complaining. */
bool config_read_text(struct config_reader *, const char *name, const struct toml_node *value,
                      struct span *text);
/* The same as a path: relative ones start at the file's folder. */
bool config_read_path(struct config_reader *, const char *name, const struct toml_node *value,
                      struct span *path);
/* In the config's memory, or `path` itself; {NULL,0} when memory is short. */
struct span config_resolve_path(struct config_reader *, struct span path);
/* `~` or `~/…` at the start becomes the home folder in `out`; the rest is the caller's to append.
 * False after complaining. */
bool config_expand_tilde(struct config_reader *, const char *name, const struct toml_node *value,
                         struct span *text, struct buffer *out);
/* `name`, `name`_env or `name`_file of a table. 1: given; 0: none of them; -1 after complaining. */
int config_read_secret(struct config_reader *, const struct toml_node *table, const char *name,
                       struct span *secret);
/* The first of those three that is there, for the place in a message; NULL when none is. */
const struct toml_node *config_secret_node(const struct toml_node *table, const char *name);
/* No control characters, not empty; complains. */
bool config_check_plain(struct config_reader *, const char *name, const struct toml_node *value,
                        struct span text);
/* A DNS name or an IPv4 address. */
bool config_is_host(struct span);
/* The name that is nearest to `given`, NULL when none is near. */
const char *config_nearest(struct span given, const char *const *names, size_t n);
/* The site's position, -1 when none of that name is configured. */
int config_find_site(const struct config *, struct span name);
/* A string "left/right" of the list `name`; `form` is how it should look. False after complaining.
 */
bool config_read_reference(struct config_reader *, const char *name, const struct toml_node *value,
                           const char *form, struct span *whole, struct span *left,
                           struct span *right);
/* The targets of a table of [[models]], when all sites are known. */
void config_read_targets(struct config_reader *, const struct toml_node *table,
                         struct model_config *);
/* What holds for a target: the keys of its site, over them those of its model that were given. */
struct continue_config config_continue_merged(const struct site_config *,
                                              const struct model_config *);
/* Scheme, host, port and prefix of a URL into a site. What is wrong, or NULL. */
const char *config_parse_base_url(struct config_reader *, struct span url, struct site_config *);
/* The accounts of a site (`node`; NULL: none are configured) of a table; `title` is theirs. */
void config_read_accounts(struct config_reader *, const struct toml_node *table,
                          const struct toml_node *node, struct site_config *, const char *title);
void config_print_accounts(struct buffer *, const struct site_config *, const char *title);
/* All routes, when all sites are known. */
void config_finish_routes(struct config_reader *, const struct toml_node *root, struct config *);
const struct schema *config_route_schema(void);
/* Says so when others can read a file that holds secrets. */
void config_check_private(struct config_reader *, const struct toml_node *, const char *path);

/* ---- printing ---- */
void config_print_quoted(struct buffer *, struct span);
void config_print_secret(struct buffer *, size_t length);

/* ---- tables that have something to finish ---- */
void config_finish_root(struct config_reader *, const struct toml_node *table, void *record);
void config_finish_server(struct config_reader *, const struct toml_node *table, void *record);
void config_finish_key(struct config_reader *, const struct toml_node *table, void *record);
void config_finish_site(struct config_reader *, const struct toml_node *table, void *record);
void config_finish_route(struct config_reader *, const struct toml_node *table, void *record);

#endif
