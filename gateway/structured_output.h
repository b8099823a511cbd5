/*
 * gateway/structured_output.h - `response_format` for sites that have no such thing
 * (docs/structured-output.md): what is asked of the model instead, and asked again when the answer
 * is not what was wanted.
 *
 * Pure. What becomes of the answer's text: gateway/structured_filter.h for streams,
 * gateway/structured_answer.h for whole answers and the verdict.
 */
#ifndef DRAGOMAN_GATEWAY_STRUCTURED_OUTPUT_H
#define DRAGOMAN_GATEWAY_STRUCTURED_OUTPUT_H

#include "adapters/turn.h"
#include "base/arena.h"
#include "base/fail.h"
#include "base/json.h"

/* What the client wants the answer to be. */
struct structured_wish {
    struct span schema;            /* raw JSON; {NULL,0} = any JSON object */
    struct span name, description; /* of the schema, "" = none */
    bool may_be_array;             /* the schema allows a list as the whole answer */
    bool may_be_scalar;            /* likewise a text, a number, true, false or null */
};

/* Reads `response_format` of the turn, which has one. The wish is in the arena. 0, or -1 with fail:
 * what is no schema is the client's mistake (invalid_value with `param`). Takes the parser. */
int structured_wish_read(struct arena *, struct json_parser *, const struct turn *,
                         struct structured_wish *, struct fail *);
/* The turn that the site gets, in the arena; it shares with the former what is the same in both.
 * The instruction stands at the end of the client's first message of the system, or in one of its
 * own before all others; `response_format` is gone. NULL with fail (memory). */
const struct turn *structured_turn(struct arena *, const struct turn *,
                                   const struct structured_wish *, struct fail *);
/* What the model is told when its answer was not what was wanted. In the arena; p == NULL when
 * memory is short. */
struct span structured_complaint(struct arena *, const struct structured_wish *, struct span error);

#endif
