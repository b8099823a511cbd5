/*
 * gateway/answer_structure.h - the text of one choice of an answer that was asked to be JSON, where
 * `response_format` is emulated (docs/structured-output.md): text goes in, JSON comes out, and at
 * the end a verdict.
 *
 * Sans-IO. Of streams the JSON leaves as it comes; whole answers are gathered, and what is in them
 * is looked for at the end.
 */
#ifndef DRAGOMAN_GATEWAY_ANSWER_STRUCTURE_H
#define DRAGOMAN_GATEWAY_ANSWER_STRUCTURE_H

#include "gateway/structured_answer.h"
#include "gateway/structured_filter.h"

/* What is wanted of an answer, beside its rules. */
struct structured_rules {
    const struct structured_wish *wish; /* NULL: nothing; outlives the answer */
    bool whole;                         /* the client gets it in one piece */
    bool several;                       /* choices are in the answer, each with its own verdict */
    bool repaired; /* it is the second one: the first was not what was wanted */
};

struct answer_structure {
    const struct structured_rules *rules;
    structured_put *put;
    void *owner;
    struct structured_filter filter;
    struct buffer text; /* what left, or, of whole answers, what came */
    bool over;          /* text passes as it is */
    bool judged;
    struct structured_verdict verdict;
};

/* In place. `put` is where it goes. */
void answer_structure_init(struct answer_structure *, const struct structured_rules *,
                           structured_put *put, void *owner);
void answer_structure_free(struct answer_structure *);
/* 0, or what `put` returned, or -1 when memory is short. */
int answer_structure_pass(struct answer_structure *, struct span text);
/* The text is over, by this finish reason. Once; what comes behind it passes as it is. Likewise. */
int answer_structure_end(struct answer_structure *, struct span reason);
/* It is no answer in words: a call, a refusal, or it broke off. Nothing is judged. Likewise. */
int answer_structure_leave(struct answer_structure *);
/* Has anything come that did not leave yet? */
bool answer_structure_waits(const struct answer_structure *);
/* The members that tell the client: `"dragoman_structured":{…}`. Nothing when it was not judged. */
void answer_structure_tell(const struct answer_structure *, struct buffer *out);

/* "valid", "invalid", "unchecked" */
const char *structured_kind_name(enum structured_kind);

#endif
