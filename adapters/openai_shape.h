/*
 * adapters/openai_shape.h - events of OpenAI-like sites that say what one before said, but for
 * their text and counts, are not parsed (base/json_shapes.h).
 *
 * What an event says is read from its bytes alone; what comes of it is openai_wire's, and the same
 * whether it was parsed or known.
 */
#ifndef DRAGOMAN_ADAPTERS_OPENAI_SHAPE_H
#define DRAGOMAN_ADAPTERS_OPENAI_SHAPE_H

#include "adapters/openai_wire.h"

/* All that a plain event says, in the order in which it is to be taken. */
struct openai_event {
    bool has_usage, has_choice, reasoning;
    int choice;
    struct delta_usage usage; /* `raw` in the text */
    struct span top;          /* members that we do not know, as raw JSON */
    struct span text;         /* of the choice: thoughts, if `reasoning` */
    struct span finish;       /* why it ended, "" = it goes on */
};

/* Valid until the run's next event. */
bool openai_shape_find(struct turn_run *, const struct openai_wire *, const struct frame *,
                       struct openai_event *);
/* The event was parsed and is plain, w->plain and w->usage tell how: it will be known again. */
void openai_shape_keep(struct turn_run *, const struct openai_wire *, const struct frame *);

#endif
