/*
 * adapters/anthropic.h - what the files of the anthropic adapter share (docs/sites/anthropic.md).
 *
 * anthropic.c is who we are and what happens when; anthropic_model.c what a model understands;
 * anthropic_body.c, anthropic_tools.c and anthropic_messages.c make the request; anthropic_stream.c
 * reads the answer; anthropic_errors.c says what failures mean.
 */
#ifndef DRAGOMAN_ADAPTERS_ANTHROPIC_H
#define DRAGOMAN_ADAPTERS_ANTHROPIC_H

#include "adapters/support.h"
#include "base/json_write.h"

/* ---- models (anthropic_model.c) ---- */

/* What a model understands; by its generation (its name), or as the site's list says. */
struct anthropic_model {
    int64_t max_tokens;      /* the most that may be asked for; 0 = not known */
    bool sampling;           /* takes temperature, top_p, top_k */
    bool one_sampling;       /* … but not temperature together with top_p */
    bool budget;             /* thinking {"type":"enabled","budget_tokens"} */
    bool adaptive;           /* thinking {"type":"adaptive"} */
    bool effort, xhigh, max; /* output_config.effort, and its higher words */
    bool formats;            /* output_config.format, strict tools */
    bool prefill;            /* goes on with a last message of the assistant's */
};

/* By the name; unknown ones are of another service: everything old, nothing new. */
struct anthropic_model anthropic_model_named(struct span id);
/* What `note` (run->model_note) says instead. Uses the parser. */
void anthropic_model_noted(struct turn_run *, struct anthropic_model *);
int anthropic_models_answer(struct turn_run *, struct span body, const struct model_sink *);

/* ---- the state of a try ---- */

/* Fields that a model may refuse: left out once it has said so. */
enum anthropic_field {
    FIELD_TEMPERATURE = 1 << 0,
    FIELD_TOP_P = 1 << 1,
    FIELD_TOP_K = 1 << 2,
    FIELD_THINKING = 1 << 3,
    FIELD_EFFORT = 1 << 4
};

/* What Anthropic's own ids begin with: suffixes behind them are ours. */
#define ANTHROPIC_FAMILY SPAN("claude-")

/* A tool whose name the site would refuse goes under another one. */
struct anthropic_name {
    struct span asked, sent;
};

enum { ANTHROPIC_CALLS_MAX = 128 };

struct anthropic {
    struct span after; /* of the model list: the last id of the page before */
    bool asked, again; /* again: the site refused a field; ask once more without it */
    struct anthropic_model model;
    struct model_wish wish;
    unsigned left_out, sent; /* of enum anthropic_field */
    const struct anthropic_name *names;
    size_t n_names;

    /* the answer's head */
    int status, retry_after_s;
    bool good, whole, challenge, no_retry;
    struct span content_type;

    /* the answer */
    struct blocks open;
    int n_calls;
    bool something, finished;
    struct span stop_reason, stop_sequence, explanation;      /* in the arena */
    int64_t input, cache_write, cache_read, output, thinking; /* tokens, -1 = not told */
    struct buffer signature;                                  /* of the open block of thinking */
    struct buffer blocks;   /* its thinking so far as raw JSON blocks joined by commas */
    bool block_open;        /* … the last of which is not closed */
    struct span first_call; /* id, in the arena: what the blocks are kept under */
};

/* ---- the request (anthropic_body.c, anthropic_tools.c, anthropic_messages.c) ---- */

struct anthropic_body {
    struct turn_run *run;
    struct anthropic *a;
    struct json_writer w;
    bool same;         /* the turn is in Anthropic's own words: nothing is repaired or left out */
    bool own_thinking; /* `thinking` goes out as the client wrote it: the same, and no suffix of the
                          model's id says otherwise */
    const struct span *put_back; /* per message: blocks of thinking to begin it with */
    bool thinks;                 /* thinking is asked for */
    /* for results without an id: messages looked at so far, the last of them with calls, and how
     * many such results came behind it */
    size_t passed, asking, answered;
};

/* The body of POST /v1/messages in the arena. 0, or -1 with run->fail. */
int anthropic_write_body(struct turn_run *, struct anthropic *, struct span *body);
/* Is it this raw JSON? False for what is absent. */
bool anthropic_raw_is(struct span raw, const char *json);
/* Is this field still to be written: not in the client's own words? */
bool anthropic_is_open(const struct anthropic_body *, const char *key);
/* `tools` and `tool_choice`. 0, or -1 with run->fail. */
int anthropic_write_tools(struct anthropic_body *);
int anthropic_write_system(struct anthropic_body *, struct span instruction);
int anthropic_write_messages(struct anthropic_body *);
/* The name under which a tool goes, in the arena. */
struct span anthropic_tool_name(struct anthropic_body *, struct span name);
/* Raw members of the client's own. */
void anthropic_write_extra(struct json_writer *, struct span members);
/* Does it say something: is there more than white space? */
bool anthropic_is_blank(struct span text);
/* What blocks of thinking are kept under. */
struct span anthropic_memory_key(struct turn_run *, struct span call_id);

/* ---- the answer (anthropic_stream.c) ---- */

enum adapter_verdict anthropic_read_frame(struct turn_run *, struct anthropic *,
                                          const struct frame *);
/* The answer in one piece. */
enum adapter_verdict anthropic_read_message(struct turn_run *, struct anthropic *, struct json);
/* The body ended, or message_stop came. */
enum adapter_verdict anthropic_finish(struct turn_run *, struct anthropic *);

/* ---- failures (anthropic_errors.c) ---- */

/* A status that is not 2xx, or a web page. Sets a->again where asking without a field may help. */
enum adapter_verdict anthropic_refused(struct turn_run *, struct anthropic *, struct span body);
/* {"type","message"} inside a good answer. */
enum adapter_verdict anthropic_error(struct turn_run *, struct json error);
/* What this model was known to refuse. */
unsigned anthropic_known_refusals(struct turn_run *);

#endif
