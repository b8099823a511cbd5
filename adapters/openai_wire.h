/*
 * adapters/openai_wire.h - OpenAI's chat.completions as sites speak it: writing the request body,
 * reading the answer.
 *
 * Shared by the adapters of OpenAI-like sites (openai, sophnet). The body is the client's own text
 * with single top-level fields edited; the answer is read as leniently as the services in the wild
 * ask for.
 */
#ifndef DRAGOMAN_ADAPTERS_OPENAI_WIRE_H
#define DRAGOMAN_ADAPTERS_OPENAI_WIRE_H

#include "adapters/adapter.h"

/* ---- the request body ---- */

/* What happens to one top-level field of the client's body. Everything without an edit stays byte
 * for byte; of doubled keys the last one stays. */
struct body_edit {
    const char *key;
    const char *as; /* what the site calls it; NULL = the same */
    /* raw JSON in its place, added when absent; {NULL,0} = the field is left out */
    struct span value;
    bool only_if_absent; /* a default: a field that is there, even null, is left alone */
};

/* The edited body with the site's field_aliases applied, in the run's arena. 0, or -1 with
 * run->fail. */
int openai_edit_body(struct turn_run *, const struct body_edit *, size_t n, struct span *out);

/* Raw JSON for edits, in the run's arena; {NULL,0} when memory is short. */
struct span openai_raw_string(struct turn_run *, struct span text);
/* The client's stream_options with include_usage forced to true. */
struct span openai_usage_asked(struct turn_run *);
/* Adds an edit for each of the options default_temperature, default_top_p, default_max_tokens that
 * is configured; returns how many, or -1 when memory is short. `max_completion_tokens` in the body
 * counts as a max_tokens. */
enum { OPENAI_DEFAULTS_MAX = 3 };
int openai_defaults(struct turn_run *, struct body_edit *);

/* ---- the answer ---- */

enum { OPENAI_CALLS_MAX = 128, OPENAI_CHOICES_MAX = 128 };

/* Where a site's answers differ from OpenAI's. */
struct openai_dialect {
    bool refs; /* choices[].refs are citations */
    /* A status that is not 2xx, or a web page: its whole body ("" when it was cut). NULL =
     * classify_http. */
    enum adapter_verdict (*failure)(struct turn_run *, int status, struct span content_type,
                                    int retry_after_s, struct span body);
    /* A JSON object without choices, usage or error; `*known` says whether it meant something. NULL
     * = nothing is known. */
    enum adapter_verdict (*odd)(struct turn_run *, struct json root, bool *known);
};

struct openai_call {
    uint64_t id_hash; /* 0 = the site gave none */
    struct span id;   /* only while the name is awaited */
    int choice, site_index, index;
    bool begun;
};

/* An answer's calls so far; in the run's arena. */
struct openai_calls {
    unsigned char of_choice[OPENAI_CHOICES_MAX]; /* how many each choice has */
    size_t n, cap;
    struct openai_call *list;
};

/* A bit for each choice. */
struct openai_marks {
    uint64_t bits[OPENAI_CHOICES_MAX / 64];
};

static inline bool openai_marked(const struct openai_marks *m, int choice)
{
    return m->bits[choice / 64] >> (choice % 64) & 1;
}

static inline void openai_mark(struct openai_marks *m, int choice)
{
    m->bits[choice / 64] |= (uint64_t)1 << (choice % 64);
}

/* What one event says, as long as it says nothing else: then it is known again (openai_shape.h). */
struct openai_plain {
    bool odd;         /* it does say something else */
    bool choice;      /* there is one, of that number: */
    bool usage;       /* in OpenAI's shape */
    int number;       /* of the choice */
    const char *part; /* the choice's member with the text: "delta", "message" */
    const char *key;  /* of the text there; NULL = none */
    bool reasoning;   /* the text is */
    struct span finish, top;
};

/* The state of reading one answer; zeroed before it, no allocation after the first frames. */
struct openai_wire {
    const struct openai_dialect *dialect;
    int status, retry_after_s;
    bool good;  /* the body is an answer */
    bool whole; /* … as one JSON object */
    struct span content_type;
    bool something;             /* text, reasoning, refusal, a call or an unknown member came */
    bool lengthy;               /* a finish reason other than "stop" came */
    struct openai_calls *calls; /* NULL: there was none */
    struct openai_marks used, finished, texts;
    bool has_usage;
    struct delta_usage usage;
    struct buffer usage_raw, top; /* over arena memory */
    struct buffer *scratch;       /* of the frame that is read; NULL before the first */
    size_t part_size;          /* what any part of the event that is read may need, written anew */
    struct openai_plain plain; /* of the event that is read */
};

/* The common on_head, on_frame and on_end. */
enum adapter_verdict openai_wire_head(struct turn_run *, struct openai_wire *,
                                      const struct openai_dialect *, const struct site_head *,
                                      enum framing *);
enum adapter_verdict openai_wire_frame(struct turn_run *, struct openai_wire *,
                                       const struct frame *);
enum adapter_verdict openai_wire_end(struct turn_run *, struct openai_wire *, enum stream_end);
/* Clears w->scratch, with room for any part of the event that is read. 0, or -1 with run->fail. */
int openai_wire_scratch(struct turn_run *, struct openai_wire *);
/* The pieces of a delta's tool_calls, and of its function_call (openai_calls.c). Arguments that are
 * no text are written into w->scratch. 0, or -1 with run->fail. */
int openai_put_calls(struct turn_run *, struct openai_wire *, int choice, struct json calls);
int openai_put_legacy_call(struct turn_run *, struct openai_wire *, int choice,
                           struct json function);
/* Seconds until the end of the limit that a 429 without Retry-After tells of in its other headers;
 * 0 = it does not (openai_reset.c). */
int openai_reset_s(const struct site_head *, int64_t now_ms);

#endif
