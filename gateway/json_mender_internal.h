/*
 * gateway/json_mender_internal.h - what the mender's files share: the structure (json_mender.c),
 * strings and words (json_mender_text.c), and looking ahead (json_mender_look.c).
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
    bool again;   /* nothing was read, but the state is another one */
    bool refused; /* the sink stopped at a piece of text, which is not read then */
};

void mend_put(struct mend_step *, enum mend_token, struct span text);
/* A blank outside ASCII of which only the beginning is there. */
bool mend_half_blank(struct span);
char mend_level(const struct json_mender *); /* the innermost, 0 = none */
void mend_value_over(struct json_mender *);

/* ---- looking ahead ---- */

/* MORE is said only while there is less than MEND_LOOK_MAX. */
enum verdict { NO, YES, MORE };

struct look {
    struct span t;
    size_t at;
    bool more; /* the text may go on behind t */
};

struct look mend_look_at(const struct mend_step *, size_t from);
/* False: nothing stands behind the blanks (yet). */
bool mend_skip_blanks(struct look *);
/* Is the comma before l->at one of the structure, inside of `level`? */
enum verdict mend_comma_separates(struct look *, char level);
/* Marks that end a call stand here, or a fence's end. */
enum verdict mend_mark_follows(const struct look *);
/* Does the string's quote, behind which the look stands, end it? */
enum verdict mend_string_ends(const struct json_mender *, struct look *);

/* ---- strings and words ---- */

/* true, null, None, NaN …: a word that JSON has, or its kin. */
bool mend_is_constant(struct span word);
/* False: no string begins here. */
bool mend_open_string(struct mend_step *, enum mend_state);
void mend_read_string(struct mend_step *);
void mend_read_word(struct mend_step *);
void mend_read_words(struct mend_step *);
void mend_read_bare_key(struct mend_step *);

#endif
