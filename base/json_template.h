/*
 * base/json_template.h - JSON texts that are the same but for one string.
 *
 * In a stream nearly every event is the one before with another piece of text in it. A template is
 * the bytes of one such text around its holes: the string that is wanted, and members that nobody
 * looks at and that change as well. A later text that has the same bytes around, a whole JSON
 * string in the wanted hole, and a string or a natural number in each of the others, is read by the
 * grammar in the same way token for token: a parser would build the same document but for these
 * values. So it need not be parsed. Whatever is not certain does not match, and takes the long way:
 * bytes that are not UTF-8, lone surrogates, a broken string, an escape in a hole that is ignored.
 *
 * A text that does not match is forgotten together with what was learned, so a match says: like all
 * texts since the one that was learned. Costs a comparison of the text and a look at the string; no
 * allocation once the room is there.
 */
#ifndef DRAGOMAN_BASE_JSON_TEMPLATE_H
#define DRAGOMAN_BASE_JSON_TEMPLATE_H

#include "base/arena.h"
#include "base/span.h"

enum {
    JSON_TEMPLATE_BYTES = 2048, /* a larger text's surroundings are not learned */
    JSON_TEMPLATE_HOLES = 4,    /* the wanted string and three that are ignored */
    JSON_TEMPLATE_ROOM = 512    /* a string with escapes that needs more does not match */
};

/* Zeroed before its first use; what it keeps lies in the arena. */
struct json_template {
    char *bytes;    /* the label, then the pieces around the holes, one behind the other */
    uint16_t room;  /* bytes that fit there */
    uint16_t label; /* length of the label */
    uint16_t pieces[JSON_TEMPLATE_HOLES + 1];
    uint8_t holes;           /* 0 = nothing is learned */
    uint8_t wanted;          /* the hole whose string is asked for */
    uint8_t numbers;         /* a bit for each hole that holds a number */
    bool matched;            /* since it was learned */
    uint8_t patience, skips; /* who matches never is learned less and less often */
    int16_t meaning;
};

/* What a text that matched holds. */
struct json_like {
    struct span string; /* decoded; in the text itself, or in `room` */
    int meaning;        /* as it was learned */
    char room[JSON_TEMPLATE_ROOM];
};

/* Is the text, and the label beside it, like what was learned? If not, that is forgotten. */
bool json_template_match(struct json_template *, struct span label, struct span text,
                         struct json_like *like);
void json_template_forget(struct json_template *);
/* Learns a text that json_parse_lenient has just accepted: an object. `path` (up to NULL) leads to
 * the wanted string by the names of members, the last one where a name is doubled; "" goes into an
 * array of one element. `ignored` (up to NULL, or NULL): members of the object itself, which become
 * holes only when a text learned before was never matched. Learns nothing when that does not lead
 * to a string, when other bytes than the holes' hold an escape, when the text is too large or
 * memory is short; and not every time where no match ever came of it. */
void json_template_learn(struct json_template *, struct arena *, struct span label,
                         struct span text, const char *const *path, const char *const *ignored,
                         int meaning);

#endif
