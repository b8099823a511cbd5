/*
 * adapters/gemini.h - what the files of the gemini adapter share (docs/sites/gemini.md,
 * sites/gemini.md).
 *
 * gemini.c tells who we are and what is sent when, gemini_body.c what a turn looks like in Google's
 * words, gemini_history.c its messages, gemini_names.c what names of models and functions say,
 * gemini_stream.c what an answer's events mean, gemini_errors.c what failures mean.
 */
#ifndef DRAGOMAN_ADAPTERS_GEMINI_H
#define DRAGOMAN_ADAPTERS_GEMINI_H

#include "adapters/support.h"

/* Optional fields that some models refuse with a 400 that names them (section 4.3). What a model
 * refused once is left out for a day: the bits are remembered under its name. */
enum gemini_refused {
    REFUSED_PRESENCE = 1 << 0,
    REFUSED_FREQUENCY = 1 << 1,
    REFUSED_SEED = 1 << 2,
    REFUSED_TOP_K = 1 << 3,
    REFUSED_MEDIUM = 1 << 4, /* the thinking level of that name: "high" goes out in its place */
    REFUSED_LEVEL = 1 << 5,
    REFUSED_BUDGET = 1 << 6,
    REFUSED_THINKING = 1 << 7, /* thinkingConfig as a whole */
    REFUSED_ALL = (1 << 8) - 1
};

/* A function's name that Google does not take, and what goes out in its place. */
struct gemini_name {
    struct span given, legal;
    const struct gemini_name *next;
};

struct gemini {
    enum { GEMINI_ASK, GEMINI_ANSWER, GEMINI_OVER } at;
    /* the request */
    struct model_wish wish;
    struct span model; /* without "models/" and suffixes */
    unsigned refused;  /* of enum gemini_refused */
    unsigned sent;     /* the same: what the body that went out holds */
    bool recalled;     /* `refused` has what was remembered */
    const struct gemini_name *names;
    /* the answer's head */
    bool good, whole;
    int status, retry_after_s;
    struct span content_type;
    /* the answer */
    bool text;      /* something came that people read */
    bool line_open; /* the text so far does not end with a line's end */
    bool break_due; /* a block on lines of its own stands before the next text */
    int calls;
    struct span finish; /* OpenAI's word, once the site has said that this is all; static */
    struct span native; /* the site's own, in the arena */
    bool has_usage;
    struct delta_usage usage;
    /* the model list */
    struct span page; /* nextPageToken */
};

/* What Google's own ids begin with: suffixes behind them are ours. */
#define GEMINI_FAMILY SPAN("gemini-")

/* gemini_names.c */
/* 25 for "gemini-2.5-…", 30 for "gemini-3-…"; 0 = the name does not say. */
int gemini_version(struct span model);
enum gemini_generation {
    GEMINI_PLAIN,   /* answers 400 to thinkingConfig */
    GEMINI_BUDGETS, /* thinks, told in tokens: 2.5 */
    GEMINI_LEVELS   /* thinks, told in words: 3 and later */
};
/* What a model is, by its name and by `note` of the model list ("" = the list did not say). */
enum gemini_generation gemini_generation(struct span model, struct span note);
#define GEMINI_NOTE_THINKS SPAN("thinks")
#define GEMINI_NOTE_PLAIN  SPAN("plain")
/* What goes out in place of a function's name, and the client's name of a function that the site
 * calls so. {NULL,0} = memory is short. */
struct span gemini_legal_name(struct turn_run *, struct gemini *, struct span given);
struct span gemini_given_name(const struct gemini *, struct span legal);

/* gemini_body.c: the request's body, in the run's arena. 0, or -1 with run->fail. */
int gemini_body(struct turn_run *, struct gemini *, struct span *body);

/* gemini_history.c */
struct json_writer;
/* The members systemInstruction and contents. 0, or -1 with run->fail. */
int gemini_contents(struct turn_run *, struct gemini *, struct json_writer *);
/* What run_keep knows about a call by its id. */
struct span gemini_call_key(struct turn_run *, struct span id);

/* gemini_stream.c */
/* One GenerateContentResponse, or several in an array. */
enum adapter_verdict gemini_event(struct turn_run *, struct gemini *, struct span text);
enum adapter_verdict gemini_end(struct turn_run *, struct gemini *, enum stream_end);

/* gemini_errors.c: both fill run->fail and return -1. */
int gemini_fail_http(struct turn_run *, int status, struct span content_type, int retry_after_s,
                     struct span body);
/* `error` inside an answer: its own code counts. */
int gemini_fail_error(struct turn_run *, struct json error, int retry_after_s);
/* Of what was sent, the optional fields that this 400 names; 0 = none. */
unsigned gemini_refused_fields(struct turn_run *, unsigned sent, struct span body);
/* Seconds until the next midnight of the US Pacific coast, when daily quotas begin anew. */
int gemini_seconds_to_pacific_midnight(int64_t now_ms);

#endif
