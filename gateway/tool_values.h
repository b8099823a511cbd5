/*
 * gateway/tool_values.h - a call's arguments as strict JSON, with the types that the tool's schema
 * wants.
 *
 * Takes the tokens of an arguments object's members (json_mender.h), or keys with values that are
 * plain text, as the XML-like dialects have them, and writes the object's text as it comes. Only a
 * string that must become something else is held back until it is whole: "5" where a number is
 * wanted, a JSON text where an object or an array is. Further: 5 where only a string is allowed is
 * "5", an object there is its JSON text, a single value where only an array is allowed is an array
 * of one. What does not fit and cannot be made to fit stays as it is: the tool will say so. Only
 * the members of the object itself are looked at, not what is in them.
 */
#ifndef DRAGOMAN_GATEWAY_TOOL_VALUES_H
#define DRAGOMAN_GATEWAY_TOOL_VALUES_H

#include "base/json_write.h"
#include "gateway/json_mender.h"
#include "gateway/tool_list.h"

/* Of a text that is held back to become something else; a longer one stays a string. */
enum { TOOL_VALUE_MAX = 256 * 1024 };

enum tool_values_mode {
    VALUES_PLAIN,  /* as it comes */
    VALUES_STRING, /* a string as it comes */
    VALUES_TEXT,   /* an object or an array that becomes a string */
    VALUES_HELD    /* a string that becomes something else */
};

struct tool_values {
    const struct tool *tool; /* NULL = nothing is known of it */
    struct buffer *out;      /* its error is checked by the owner */
    struct json_writer writer;
    unsigned types; /* of the current member */
    size_t unnamed; /* arguments without a name so far */
    int depth;      /* brackets open in the current value */
    enum tool_values_mode mode;
    bool wrapped; /* the value is made an array */
    bool open_text;
    struct buffer held, scratch;
};

void tool_values_init(struct tool_values *);
void tool_values_free(struct tool_values *);
/* "{". The tool and the buffer outlive the object. */
void tool_values_begin(struct tool_values *, const struct tool *, struct buffer *out);
/* A token of the members: of a key or of its value. */
void tool_values_put(struct tool_values *, enum mend_token, struct span text);
/* What a value that is text is: JSON says that it is JSON where it can be, STRING that it is a
 * string where it may be; SCHEMA: JSON where the types name something else than a string, and a
 * string where they do not say. */
enum tool_text_kind { TEXT_BY_SCHEMA, TEXT_IS_STRING, TEXT_IS_JSON };
/* A member whose value is text: the key, the text in any pieces, its end. */
void tool_values_begin_text(struct tool_values *, struct span key, enum tool_text_kind);
void tool_values_add_text(struct tool_values *, struct span text);
void tool_values_end_text(struct tool_values *);
/* "}" */
void tool_values_end(struct tool_values *);

#endif
