/*
 * gateway/messages_internal.h - what the files that read a request of Anthropic's API share:
 * messages_request.c reads messages, messages_parameters.c tools and parameters.
 */
#ifndef DRAGOMAN_GATEWAY_MESSAGES_INTERNAL_H
#define DRAGOMAN_GATEWAY_MESSAGES_INTERNAL_H

#include "base/json_raw.h"
#include "gateway/messages_request.h"

enum { MESSAGES_PLACE = 96 };

/* One request being read. */
struct messages_reader {
    struct json_parser *json;
    struct arena *arena;
    struct turn *turn;
    const struct json_members *top; /* the client's body */
    struct fail *fail;
    struct message *messages; /* room for all that may come */
    size_t n_messages;
    size_t n_blocks; /* that there was room made for */
};

/* Where something stands in the body, in the client's words; a longer one than any is cut. */
void messages_place(char place[MESSAGES_PLACE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* -1, with fail. */
int messages_invalid(struct messages_reader *, const char *place, const char *what);
/* The same of a member below `place`. */
int messages_invalid_member(struct messages_reader *, const char *place, const char *key,
                            const char *what);
/* These: 0, or -1 with fail. */
int messages_read_text(struct messages_reader *, struct span raw, struct span *text);
/* A text member that may be absent or null: then *text is left alone. */
int messages_optional_text(struct messages_reader *, struct span object, const char *place,
                           const char *key, struct span *text);
int messages_needed_text(struct messages_reader *, struct span object, const char *place,
                         const char *key, struct span *text);
/* `known` ends with NULL. */
bool messages_is_known(struct span raw_key, const char *const *known);

/* tools, tool_choice, and whatever is neither message nor model (messages_parameters.c). 0, or -1
 * with fail. */
int messages_read_parameters(struct messages_reader *, const struct messages_wish *);

#endif
