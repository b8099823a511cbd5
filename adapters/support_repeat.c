/*
 * adapters/support_repeat.c - frames that are like the one before (adapters/support.h).
 */
#include "adapters/support.h"

bool frame_repeats(struct turn_run *run, const struct frame *frame, struct json_like *like)
{
    return run->shape && json_template_match(run->shape, frame->type, frame->data, like);
}

void frame_learn(struct turn_run *run, const struct frame *frame, const char *const *path,
                 const char *const *ignored, int meaning)
{
    if (run->shape)
        json_template_learn(run->shape, run->arena, frame->type, frame->data, path, ignored,
                            meaning);
}
