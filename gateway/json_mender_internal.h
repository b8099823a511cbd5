/*
 * gateway/json_mender_internal.h - what the mender's two files share: the structure
 * (json_mender.c), and strings and words (json_mender_text.c).
 */
#ifndef DRAGOMAN_GATEWAY_JSON_MENDER_INTERNAL_H
#define DRAGOMAN_GATEWAY_JSON_MENDER_INTERNAL_H

#include "gateway/json_mender.h"

/* One look at the front of the text. A step that neither reads nor says `again` asks for more. */
struct mend_step {
    struct json_mender *m;
    const struct mend_sink *sink;
    struct span in; /* never empty */
    bool last;
    size_t used;
    bool again; /* nothing was read, but the state is another one */
};

void mend_put(struct mend_step *, enum mend_token, struct span text);
/* A blank outside ASCII of which only the beginning is there. */
bool mend_half_blank(struct span);
char mend_level(const struct json_mender *); /* the innermost, 0 = none */
void mend_value_over(struct json_mender *);

/* False: no string begins here. */
bool mend_open_string(struct mend_step *, enum mend_state);
void mend_read_string(struct mend_step *);
void mend_read_word(struct mend_step *);
void mend_read_words(struct mend_step *);
void mend_read_bare_key(struct mend_step *);

#endif
