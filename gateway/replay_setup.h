/*
 * gateway/replay_setup.h - a recorded answer and how its run began, as replay.h describes it.
 */
#ifndef DRAGOMAN_GATEWAY_REPLAY_SETUP_H
#define DRAGOMAN_GATEWAY_REPLAY_SETUP_H

#include "adapters/adapter.h"
#include "gateway/replay.h"

enum replay_end { REPLAY_CLEAN, REPLAY_CUT, REPLAY_LEFT };

struct replay_step {
    struct span method, target; /* of the request; "" = not known */
    int status;
    struct span reason, content_type;
    int retry_after_s;
    const struct header *headers;
    size_t n_headers;
    struct span body;
    const uint32_t *splits;
    size_t n_splits;
    enum replay_end end;
    struct fail transport; /* why it was cut; kind FAIL_NONE = not known */
};

struct replay_held {
    const char *name;
    struct span value;
    int64_t expires_ms;
};

struct replay_setup {
    struct arena arena;
    const struct adapter *adapter;
    struct site_settings site;
    struct site_account account; /* holds nothing yet */
    const struct replay_held *held;
    size_t n_held;
    struct span model, model_note;
    struct span chat;           /* what the client asked */
    struct span emulated_tools; /* a JSON array; {NULL,0} = none */
    int64_t now_ms;
    struct replay_step *steps; /* at least one; the last is the file's */
    size_t n_steps;
};

/* To be freed whatever it returns. */
enum replay_result replay_setup_read(struct replay_setup *, const char *file, const char *adapter,
                                     struct fail *);
void replay_setup_free(struct replay_setup *);
/* The step that answers this request, from *cursor on, which is moved behind it: the first that has
 * the same method and path, where parts that look like ids may differ; the next one when its
 * request is not known. NULL = none. */
const struct replay_step *replay_find_step(const struct replay_setup *, const struct site_request *,
                                           size_t *cursor);

#endif
