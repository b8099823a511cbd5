/*
 * gateway/toml.h - TOML 1.0 as a plain tree, with the place of everything.
 *
 * A small C face over toml++: no exception leaves it, and what a hostile file could do (nesting,
 * dotted keys, size) is bounded before the parser sees it. The tree and all text live in the arena
 * that is handed in.
 */
#ifndef DRAGOMAN_GATEWAY_TOML_H
#define DRAGOMAN_GATEWAY_TOML_H

#include "base/span.h"

#ifdef __cplusplus
extern "C" {
#endif

struct arena;

enum {
    TOML_SIZE_LIMIT = 1 << 20, /* a configuration, not a database */
    TOML_DEPTH_LIMIT = 32,     /* values inside values */
    TOML_DOTS_LIMIT = 16       /* a.b.c… in one key */
};

enum toml_type { TOML_TABLE, TOML_ARRAY, TOML_TEXT, TOML_INT, TOML_FLOAT, TOML_BOOL, TOML_DATE };

struct toml_node {
    enum toml_type type;
    int line, column;         /* of the value, from 1; 0 = nowhere */
    struct span key;          /* a table's member: its name */
    int key_line, key_column; /* where the name stands */
    struct span text;         /* TEXT; valid UTF-8, may hold NUL */
    int64_t integer;          /* INT; BOOL as 0 or 1; DATE: Unix time in ms, as UTC where no offset
                                 is told */
    bool has_date, has_time;  /* DATE: one of them may be missing */
    double number;            /* FLOAT, and INT too */
    struct toml_node *first;  /* TABLE: members by name; ARRAY: elements in order */
    size_t count;
    struct toml_node *next;
};

struct toml_error {
    int line, column; /* 0 = the whole file */
    char message[240];
};

/* The root table, or NULL with the error filled. */
struct toml_node *toml_parse(struct arena *, struct span text, struct toml_error *);
/* A member of a table, NULL when absent. */
struct toml_node *toml_get(const struct toml_node *table, const char *name);
/* For messages: "a string", "an array of tables" … */
const char *toml_describe(const struct toml_node *);

#ifdef __cplusplus
}
#endif
#endif
