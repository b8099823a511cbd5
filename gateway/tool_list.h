/*
 * gateway/tool_list.h - a request's tools, read once: what the prompt tells of them (tool_prompt.h)
 * and what a call is checked and repaired by (tool_parser.h).
 *
 * Pure. Spans are of the request's `tools_raw` or of the arena; both must outlive the list.
 */
#ifndef DRAGOMAN_GATEWAY_TOOL_LIST_H
#define DRAGOMAN_GATEWAY_TOOL_LIST_H

#include "base/arena.h"
#include "base/fail.h"
#include "base/json.h"

enum {
    TOOLS_MAX = 1024,          /* a model could not choose among more */
    TOOL_PROPERTIES_MAX = 1024 /* that are known by name; others are taken as they come */
};

/* What JSON schema's `type` says of a value; several may be allowed. */
enum tool_type {
    TOOL_TYPE_STRING = 1 << 0,
    TOOL_TYPE_INTEGER = 1 << 1,
    TOOL_TYPE_NUMBER = 1 << 2,
    TOOL_TYPE_BOOL = 1 << 3,
    TOOL_TYPE_NULL = 1 << 4,
    TOOL_TYPE_ARRAY = 1 << 5,
    TOOL_TYPE_OBJECT = 1 << 6,
    TOOL_TYPE_ANY = (1 << 7) - 1 /* the schema does not say */
};

struct tool_property {
    struct span name;   /* decoded */
    struct span schema; /* raw JSON; {NULL,0} = none */
    unsigned types;     /* of enum tool_type; never 0. Also out of enum, const, anyOf and $ref,
                           where that is plain */
    bool required;
};

struct tool {
    struct span name, description; /* decoded; "" = no description */
    struct span parameters;        /* raw JSON schema; {NULL,0} = none was given */
    const struct tool_property *properties;
    size_t n_properties; /* TOOL_PROPERTIES_MAX at most */
    bool takes_others;   /* properties that are not listed are allowed */
};

struct tool_list {
    const struct tool *tools;
    size_t n;
};

/* `tools_raw` as in struct turn: a raw JSON array that a parser has accepted. 0, or -1
 * with fail: unsupported_value for an entry that is no function, invalid_value with `param`
 * ("tools[1].function.name") for a function without a name, a second one of the same name,
 * `parameters` that are no object, or more than TOOLS_MAX functions; or memory. Time is linear but
 * for sorting, whatever the schemas refer to. Takes the parser. */
int tool_list_read(struct arena *, struct json_parser *, struct span tools_raw, struct tool_list *,
                   struct fail *);
/* Exactly that name, or NULL. */
const struct tool *tool_list_find(const struct tool_list *, struct span name);
/* The tool that a model means by `name`: that very name, or - when just one tool fits - the name
 * behind a namespace ("functions.NAME", "default_api.NAME"), before a number (":0") or ".call", in
 * other case, with '-', '_', '.' or blanks for one another. NULL = none. */
const struct tool *tool_list_find_like(const struct tool_list *, struct span name);
const struct tool_property *tool_find_property(const struct tool *, struct span name);

#endif
