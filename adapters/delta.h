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
    DELTA_TOOL_BEGIN,     /* index, id ("" = the gateway makes one), name */
    DELTA_TOOL_ARGUMENTS, /* index, text = a piece of the JSON */
    DELTA_CITATION,       /* url, title, start, end; collected and sent once before the finish */
    DELTA_USAGE,          /* usage; the last one counts */
    DELTA_FINISH, /* text = stop | length | tool_calls | content_filter | function_call; once per
                     choice */
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
    struct span raw; /* the site's usage object when it is in OpenAI's shape, else empty */
};

struct delta {
    enum delta_kind kind;
    int choice; /* 0 unless the site answers several */
    int index;  /* tool call's index within the choice */
    struct span text;
    struct span id, name;   /* TOOL_BEGIN */
    struct span url, title; /* CITATION */
    int64_t start, end;     /* CITATION: characters in the answer; 0, 0 = not known */
    enum delta_place place; /* EXTRA */
    struct delta_usage usage;
};

struct delta_sink {
    int (*put)(void *owner, const struct delta *);
    void *owner;
};

int delta_text(const struct delta_sink *, int choice,
               struct span text); /* nothing for empty text */
int delta_reasoning(const struct delta_sink *, int choice,
                    struct span text); /* nothing for empty text */
int delta_refusal(const struct delta_sink *, int choice, struct span text);
int delta_tool_begin(const struct delta_sink *, int choice, int index, struct span id,
                     struct span name);
int delta_tool_arguments(const struct delta_sink *, int choice, int index, struct span piece);
int delta_citation(const struct delta_sink *, int choice, struct span url, struct span title);
int delta_usage(const struct delta_sink *, const struct delta_usage *);
int delta_finish(const struct delta_sink *, int choice, struct span reason);
int delta_head(const struct delta_sink *, struct span content_type);
int delta_bytes(const struct delta_sink *, struct span bytes);
int delta_extra(const struct delta_sink *, enum delta_place, int choice, struct span members);

#endif
