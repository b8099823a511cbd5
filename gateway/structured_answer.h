/*
 * gateway/structured_answer.h - is an answer what `response_format` asked for, and where in a whole
 * answer is it?
 *
 * Pure; bounded in time and memory, whatever the answer and the schema are.
 */
#ifndef DRAGOMAN_GATEWAY_STRUCTURED_ANSWER_H
#define DRAGOMAN_GATEWAY_STRUCTURED_ANSWER_H

#include "gateway/json_schema.h"
#include "gateway/structured_output.h"

enum { STRUCTURED_CHECKED_MAX = 8 * 1024 * 1024 }; /* bytes of an answer that is still looked at */

enum structured_kind {
    STRUCTURED_VALID,
    STRUCTURED_INVALID,
    STRUCTURED_UNCHECKED /* too long, too deep or too intricate to tell, or memory is short */
};

struct structured_verdict {
    enum structured_kind kind;
    bool mended;                     /* the JSON is not as the model wrote it */
    struct json_schema_report error; /* of the last two kinds */
};

/* Is the first worth more than the second: JSON at all, fewer errors? */
bool structured_is_better(const struct structured_verdict *, const struct structured_verdict *);
/* The text, all of it. */
void structured_judge(const struct structured_wish *, struct span text,
                      struct structured_verdict *);
/* The JSON in a whole answer, and what it is worth: without a fence and words around it; with
 * several pieces of JSON, the first one that is as it should be; else what is nearly JSON
 * (gateway/json_mender.h), mended, when that is as it should be; else the first piece. Without all
 * that the whole text. In `text`, or in `room`, which is empty and the caller's to free.
 * `cut`: it is known to be not all there, and is not closed by us. */
struct span structured_pick(const struct structured_wish *, struct span text, bool cut,
                            struct buffer *room, struct structured_verdict *);

#endif
