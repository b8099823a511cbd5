/*
 * gateway/responses_reader.h - how a Responses request is read, in parts: between the files
 * gateway/responses_*.c alone.
 *
 * The body is accepted as JSON once and then walked as text. The API says in a list of items what a
 * turn says in messages: reasoning, text and calls of one answer are items of their own and become
 * one assistant message again, in their order. Functions return 0, or -1 with r->fail, or NULL with
 * it; what they make is in the arena.
 */
#ifndef DRAGOMAN_GATEWAY_RESPONSES_READER_H
#define DRAGOMAN_GATEWAY_RESPONSES_READER_H

#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/responses_request.h"

enum { RESPONSES_WHERE_MAX = 96, RESPONSES_TEXT_LIMIT = 1 << 30 };

/* A parameter that is named in failures: where the reader is (struct responses_reader, `at`). It is
 * put into words when there is one. */
#define RESPONSES_HERE NULL

/* The index of items that were stored: their places have no name that the client knows. */
enum { RESPONSES_STORED = -1 };

/* An item of what was found. */
struct known_item {
    struct span id, item; /* raw */
    size_t place;
};

/* "input[3]", "input[3].role", "input[3].content[1]"; of what was stored the field that speaks of
 * it. */
struct responses_place {
    int index;
    const char *member; /* NULL = the item itself */
    int part;           /* -1 = none */
};

struct responses_reader {
    struct json_parser *json;
    struct arena *arena;
    struct turn *turn;
    struct responses_request *request;
    const struct json_members *top; /* the body's */
    const struct response_found *found;
    size_t n_found;
    struct fail *fail;
    struct responses_place at;

    struct message *messages;
    size_t n_messages, cap_messages;
    /* The assistant message that items are gathered in; NULL = none. */
    struct message *open;
    struct part *parts;
    struct tool_call *calls;
    size_t cap_parts, cap_calls;
    bool ends_in_message; /* its last item was a message */

    size_t n_items, n_parts; /* that were read */
    size_t n_ignored_tools;

    struct known_item *known; /* of what was found, by id; NULL = nobody asked yet */
    size_t n_known;
    size_t referred; /* bytes of items that references stand for */
};

/* ---- members (responses_reader.c) ---- */
int responses_invalid(struct responses_reader *, const char *param, const char *wanted);
int responses_unsupported(struct responses_reader *, const char *param, const char *why);
int responses_read_text(struct responses_reader *, struct span raw, struct span *text);
/* Optional ones; absent or null leaves the value alone. The last two are the body's. */
int responses_text_member(struct responses_reader *, struct span object, const char *key,
                          const char *param, struct span *text);
int responses_bool_member(struct responses_reader *, const char *key, bool *value);
int responses_number_member(struct responses_reader *, const char *key, bool *has, double *value);
/* Those of the names that the object has, as they are. */
void responses_copy_members(struct json_writer *, struct span object, const char *const *names);
/* Room for one more in a list of the arena, whose entries stay where they are until then. */
void *responses_room_for_one(struct arena *, void *list, size_t n, size_t *cap, size_t size);
/* `param` in words, which lie in `where` if the place is meant. */
const char *responses_where(const struct responses_reader *, const char *param,
                            char where[RESPONSES_WHERE_MAX]);
/* The reader is at an item, or at a member of it. */
static inline void responses_be_at(struct responses_reader *r, int index, const char *member)
{
    r->at = (struct responses_place){index, member, -1};
}
/* So many more of them come. -1: they are too many. */
int responses_count_parts(struct responses_reader *, size_t n);

/* ---- messages (responses_reader.c) ---- */
struct message *responses_add_message(struct responses_reader *, enum role, int index);
/* The message that an item of an answer belongs to. Two messages side by side stay two. */
struct message *responses_open_answer(struct responses_reader *, int index, bool is_message);
/* A part of the open one. */
struct part *responses_add_answer_part(struct responses_reader *);
/* What was gathered is one assistant message. */
int responses_close_answer(struct responses_reader *);

/* A message's or an output's content (responses_parts.c). */
int responses_read_parts(struct responses_reader *, struct span raw, int index, const char *key,
                         struct part **parts, size_t *n);
/* An item of the list (responses_items.c); `index` may be RESPONSES_STORED. */
int responses_read_item(struct responses_reader *, struct span raw, int index);
/* Everything that becomes messages: what was stored, instructions, input (responses_input.c). */
int responses_read_messages(struct responses_reader *);
/* Is the item only the name of another one? */
bool responses_is_reference(struct span item);
/* tools, tool_choice, parallel_tool_calls (responses_tools.c). */
int responses_read_tool_fields(struct responses_reader *);

#endif
