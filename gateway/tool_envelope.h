/*
 * gateway/tool_envelope.h - a call written as JSON: which of its members is the name, which the
 * arguments, as the tokens of it come.
 *
 * Understands {"name", "arguments"} with the names that models give those two, in any order, alone,
 * in a list, in {"tool_calls": […]} or {"function": {…}}; arguments as a JSON text in a string;
 * arguments beside the name; {"NAME": {…}}; and, where the name is known already, the arguments
 * alone. As soon as the tool is known and an argument is there, the call begins (tool_out.h).
 */
#ifndef DRAGOMAN_GATEWAY_TOOL_ENVELOPE_H
#define DRAGOMAN_GATEWAY_TOOL_ENVELOPE_H

#include "gateway/tool_out.h"

enum { ENVELOPE_DEPTH_MAX = 8 };

enum envelope_level { LEVEL_LIST, LEVEL_CALL, LEVEL_INNER, LEVEL_WRAPPER };

/* What the current member of a call is. */
enum envelope_role {
    ROLE_NAME,
    ROLE_FUNCTION, /* the name, or an object with name and arguments */
    ROLE_ARGUMENTS,
    ROLE_LIST,  /* of calls */
    ROLE_LABEL, /* id, type … */
    ROLE_OTHER  /* an argument, where they stand beside the name */
};

/* Where the tokens of a member's value go. */
enum envelope_route {
    ROUTE_NONE,
    ROUTE_NAME,
    ROUTE_ARGUMENTS, /* an object's members, to the call */
    ROUTE_ARGUMENT,  /* a value, to the call */
    ROUTE_TEXT,      /* arguments in a string, of which nothing is seen yet */
    ROUTE_NESTED,    /* arguments in a string: JSON */
    ROUTE_RECORD,    /* held back */
    ROUTE_SKIP
};

struct tool_envelope {
    const struct tool_list *list;
    struct tool_out *out;
    const struct tool *preset; /* the name was there before; NULL = it is in the JSON */
    bool strict;               /* no mark says that this is a call: arguments must be there */
    bool failed;               /* it is none */
    bool forced;               /* the brackets that close now were forgotten */
    bool pause;                /* a call is over; the owner sets it back */
    enum envelope_level levels[ENVELOPE_DEPTH_MAX];
    int depth;
    /* the current call */
    const struct tool *tool;
    bool begun, flat, had_arguments, replaying;
    enum envelope_role role;
    enum envelope_route route;
    int inner; /* brackets open in the current value */
    struct buffer name, key;
    struct buffer arguments, members; /* JSON that came before the name */
    struct buffer *record;
    struct json_writer recorder;
    struct json_mender nested;
    struct buffer nested_text; /* that `nested` has not read yet */
    int nested_depth;
};

void tool_envelope_init(struct tool_envelope *, const struct tool_list *, struct tool_out *);
void tool_envelope_free(struct tool_envelope *);
/* For the next JSON. */
void tool_envelope_begin(struct tool_envelope *, const struct tool *preset, bool strict);
/* A mend_sink: stops once `failed` or the events' sink says so. */
int tool_envelope_put(void *envelope, enum mend_token, struct span text);

#endif
