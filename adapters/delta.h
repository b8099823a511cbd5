/*
 * adapters/delta.h - the neutral form of one piece of an answer, and where adapters put it.
 *
 * Spans in a delta are valid only during the call. Text may be any bytes: the receiver repairs torn
 * or invalid UTF-8 (sse/text_guard.h). A sink's function returns 0, or a negative value when the
 * answer cannot go on (the client is gone, a limit is reached); adapters pass it through at once.
 */
#ifndef DRAGOMAN_ADAPTERS_DELTA_H
#define DRAGOMAN_ADAPTERS_DELTA_H

#include "base/span.h"

enum delta_kind {
    DELTA_TEXT,
    DELTA_REASONING,
    DELTA_REFUSAL,
    DELTA_SIGNATURE,      /* text = what proves the reasoning before it, which is one block of it */
    DELTA_REDACTED,       /* text = a block of reasoning that only the site can read */
    DELTA_TOOL_BEGIN,     /* index, id ("" = the gateway makes one), name, extra_content */
    DELTA_TOOL_ARGUMENTS, /* index, text = a piece of the JSON */
    DELTA_CITATION,       /* url, title, start, end; collected and sent once before the finish */
    DELTA_USAGE,          /* usage; the last one counts */
    DELTA_FINISH, /* text = stop | length | tool_calls | content_filter | function_call; once per
                     choice; native, stop */
    DELTA_HEAD,   /* relays: text = the answer's content type, before its bytes */
    DELTA_BYTES,  /* relays: text = bytes of the answer's body, as they are */
    DELTA_EXTRA   /* text = raw JSON members that the neutral form does not know; place says where
                     they belong */
};

enum delta_place {
    PLACE_TOP,
    PLACE_CHOICE,
    PLACE_DELTA
}; /* mirrors sse/chunk_emitter.h's enum extra_place */

struct delta_usage {
    int64_t prompt, completion, total; /* tokens; -1 = not told */
    int64_t cached, reasoning;         /* -1 = not told */
    int64_t cache_write;               /* of the prompt: written to a cache; 0 = none, not told */
    struct span raw; /* the site's usage object when it is in OpenAI's shape, else empty */
};

struct delta {
    enum delta_kind kind;
    int choice; /* 0 unless the site answers several */
    int index;  /* tool call's index within the choice */
    struct span text;
    struct span id, name;      /* TOOL_BEGIN */
    struct span extra_content; /* TOOL_BEGIN: a JSON object that travels with the call and comes
                                  back with it from clients that keep it; "" = none */
    struct span native;        /* FINISH: the site's own word ("pause_turn"); "" = not told */
    struct span stop;          /* FINISH: the stop text that was met; "" = none, not told */
    struct span url, title;    /* CITATION */
    int64_t start, end;        /* CITATION: characters in the answer; 0, 0 = not known */
    enum delta_place place;    /* EXTRA */
    struct delta_usage usage;
};

struct delta_sink {
    int (*put)(void *owner, const struct delta *);
    void *owner;
    /* The same for the kinds that are nothing but a text, which are nearly all there are: without a
     * struct to fill. NULL = all come by `put`. */
    int (*put_text)(void *owner, enum delta_kind, int choice, struct span text);
};

int delta_text(const struct delta_sink *, int choice,
               struct span text); /* nothing for empty text */
int delta_reasoning(const struct delta_sink *, int choice,
                    struct span text); /* nothing for empty text */
int delta_refusal(const struct delta_sink *, int choice, struct span text);
int delta_signature(const struct delta_sink *, int choice, struct span signature);
int delta_redacted(const struct delta_sink *, int choice, struct span data);
int delta_tool_begin(const struct delta_sink *, int choice, int index, struct span id,
                     struct span name);
int delta_tool_begin_with(const struct delta_sink *, int choice, int index, struct span id,
                          struct span name, struct span extra_content);
int delta_tool_arguments(const struct delta_sink *, int choice, int index, struct span piece);
int delta_citation(const struct delta_sink *, int choice, struct span url, struct span title);
/* With its place in the answer, which tells two of the same url apart. */
int delta_citation_at(const struct delta_sink *, int choice, struct span url, struct span title,
                      int64_t start, int64_t end);
int delta_usage(const struct delta_sink *, const struct delta_usage *);
int delta_finish(const struct delta_sink *, int choice, struct span reason);
/* With the site's own word and the stop text; both may be "". */
int delta_finish_as(const struct delta_sink *, int choice, struct span reason, struct span native,
                    struct span stop);
int delta_head(const struct delta_sink *, struct span content_type);
int delta_bytes(const struct delta_sink *, struct span bytes);
int delta_extra(const struct delta_sink *, enum delta_place, int choice, struct span members);

#endif
