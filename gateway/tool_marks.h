/*
 * gateway/tool_marks.h - the marks that calls have in the dialects of models: one row each, and the
 * matcher that finds them at a place of a text.
 *
 * The rows are in a normal form: lower case, '|' for U+FF5C and '_' for U+2581 (DeepSeek), no
 * namespace behind '<' or '</' ("antml:", "minimax:", "seed:", "｜DSML｜" …). A new dialect is
 * mostly a new row.
 */
#ifndef DRAGOMAN_GATEWAY_TOOL_MARKS_H
#define DRAGOMAN_GATEWAY_TOOL_MARKS_H

#include "base/span.h"

/* What a mark means; several are asked for at once. */
enum mark_role {
    MARK_OPEN = 1 << 0,          /* a call begins, or a list of calls */
    MARK_CHANNEL = 1 << 1,       /* a header begins that may name a tool */
    MARK_RESULT = 1 << 2,        /* a tool's result: nothing that a model may write */
    MARK_SEPARATOR = 1 << 3,     /* between name and arguments */
    MARK_ID = 1 << 4,            /* an id follows */
    MARK_INNER = 1 << 5,         /* around a name or arguments: means nothing by itself */
    MARK_PARAMETER = 1 << 6,     /* <parameter …>: a key, its value follows */
    MARK_KEY = 1 << 7,           /* <arg_key> */
    MARK_VALUE = 1 << 8,         /* <arg_value> */
    MARK_PARAMETER_END = 1 << 9, /* ends a value */
    MARK_END = 1 << 10           /* ends a call or a list of calls */
};

struct mark {
    struct span text; /* in the normal form */
    enum mark_role role;
    bool tag;   /* attributes may follow; '>' ends it */
    bool named; /* attributes must follow */
    bool line;  /* only at a line's beginning, and with a capital letter if it is one */
    bool keeps; /* its last byte belongs to what follows */
};

enum mark_match { MARK_NO, MARK_MORE, MARK_YES };

/* Does a mark of these roles stand at the front of the text? YES: *mark, and *n bytes of the text
 * that it takes (a tag's up to its name's end). MORE: one may, when the text goes on. */
enum mark_match tool_marks_match(struct span text, unsigned roles, bool line_begins,
                                 const struct mark **mark, size_t *n);
/* Does the one end what the other opened: </parameter> a <parameter>, </arg_value> an <arg_value>?
 */
bool tool_mark_closes(const struct mark *end, const struct mark *open);

#endif
