/*
 * gateway/tool_parser_internal.h - what the parser's files share: text between calls
 * (tool_parser.c), a call's head (tool_head.c) and its arguments (tool_body.c).
 */
#ifndef DRAGOMAN_GATEWAY_TOOL_PARSER_INTERNAL_H
#define DRAGOMAN_GATEWAY_TOOL_PARSER_INTERNAL_H

#include "gateway/text_code.h"
#include "gateway/tool_envelope.h"
#include "gateway/tool_marks.h"

/* One small function a state, each in the file that its comment names. */
enum tool_state {
    AT_TEXT,      /* parser: between calls */
    AT_START,     /* head: a mark was there; a name, arguments or another mark are to come */
    AT_TAG,       /* head: the attributes of a tag that opens */
    AT_NAME,      /* head: a name without quotes */
    AT_ID,        /* head: an id, which means nothing */
    AT_HEADER,    /* head: harmony's, up to <|message|> */
    AT_JSON,      /* body: a call, a list of calls or arguments */
    AT_MEMBERS,   /* body: between parameters */
    AT_KEY,       /* body: behind <arg_key> */
    AT_KEYED,     /* body: behind that key */
    AT_PARAMETER, /* body: the attributes of <parameter> */
    AT_VALUE,     /* body: a parameter's text */
    AT_LINE,      /* body: ReAct's input that is no JSON */
    AT_INVENTED   /* behind a result that the model wrote: all of it is dropped */
};

enum {
    RECENT_MAX = 256, /* of the text before a fence, in which words announce an example */
    TAG_MAX = 512,    /* a tag's attributes */
    NAME_LENGTH_MAX = 128
};

struct tool_parser {
    const struct tool_list *list;
    enum tool_state state;
    struct tool_out out;
    struct tool_envelope envelope;
    struct json_mender mender;
    struct buffer unread; /* of the text: what follows tells what it means */
    struct buffer held;   /* of what may be a call, from its mark on, while none has begun */
    struct text_code code;
    char recent[RECENT_MAX]; /* the end of the text so far */
    size_t n_recent;
    bool started; /* something but white space was there */
    bool gap;     /* behind a call: only white space since (in `held`) */
    bool invented;
    bool failed; /* what is held is text */
    bool begun;  /* the call that we are in has begun: nothing is held */
    /* the call that we are in */
    bool marked;    /* a mark says that calls are here, not only their form */
    bool fenced;    /* it stands in a fence, which is not closed yet */
    bool listed;    /* f(a=1) in a list or in a fence: '(' must follow the name */
    bool any;       /* of a list: a call of it is over */
    bool separated; /* "Action Input:" stood behind the name */
    const struct tool *tool;
    struct buffer key;          /* of the parameter */
    struct buffer closing;      /* NAME, where </NAME> ends the value; empty = `ends_value` does */
    const struct mark *opened;  /* what opened the value: ends_value is of its kind */
    const struct tool *own_tag; /* the call was opened by <NAME> of its tool */
    size_t second_mark;         /* so much of what is held is a mark right behind a call */
    bool trims;                 /* the value began with a line break: its last one is layout, too */
    bool lines;                 /* there is a line break in the value */
    bool begins;                /* nothing of the value was there */
};

/* What a state's function sees: the front of the text. It says how much of it is read; nothing,
 * with the same state, asks for more. `last`: there is no more. */
struct tool_step {
    struct tool_parser *p;
    struct span in; /* never empty */
    bool last;
    size_t used;
    bool again; /* nothing was read, but the state is another one */
    bool taken; /* what was read is of a call that has begun */
};

void tool_step_go(struct tool_step *, enum tool_state, size_t used);
/* What is held is text, and what is at the front is looked at anew. */
void tool_step_fail(struct tool_step *);
/* The call is over. */
void tool_step_end_call(struct tool_step *, size_t used);
/* The call that we are in has begun: it is no text any more. */
void tool_step_begun(struct tool_step *);
/* The tool is known and an argument is there, or none is to come. */
void tool_step_begin_call(struct tool_step *);
enum mark_match tool_step_match(const struct tool_step *, size_t from, unsigned roles, bool line,
                                const struct mark **, size_t *n);
/* <NAME> of a tool, or </NAME>: YES, MORE or NO. */
enum mark_match tool_step_tool_tag(const struct tool_step *, const struct tool **, size_t *n);
/* <NAME> of one of the tool's properties. */
enum mark_match tool_step_property_tag(const struct tool_step *, const struct tool *,
                                       const struct tool_property **, size_t *n);
/* "</NAME>" */
enum mark_match tool_step_closing_tag(const struct tool_step *, struct span in, struct span name,
                                      size_t *n);
/* The value of an attribute in a tag's inside; "" = it has none. `first`: also of "=VALUE". */
struct span tool_tag_attribute(struct span inside, const char *name, bool first);
/* The tag's inside up to '>', which is read too; false: there is none (yet: then the step waits).
 */
bool tool_step_read_tag(struct tool_step *, struct span *inside);

void tool_head_open(struct tool_step *, const struct mark *, size_t used);
void tool_head_start(struct tool_step *);
void tool_head_tag(struct tool_step *);
void tool_head_name(struct tool_step *);
void tool_head_id(struct tool_step *);
void tool_head_header(struct tool_step *);

void tool_body_begin_json(struct tool_step *, enum mend_form, size_t used);
void tool_body_begin_line(struct tool_step *);
void tool_body_begin_value(struct tool_step *, struct span key, enum tool_text_kind, size_t used);
void tool_body_json(struct tool_step *);
/* At the end of the text. 0, or -1: more than brackets miss, or it is none. */
int tool_body_close_json(struct tool_step *);
void tool_body_members(struct tool_step *);
void tool_body_key(struct tool_step *);
void tool_body_keyed(struct tool_step *);
void tool_body_parameter(struct tool_step *);
void tool_body_value(struct tool_step *);
void tool_body_line(struct tool_step *);

#endif
