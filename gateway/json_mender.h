/*
 * gateway/json_mender.h - reads JSON as models write it when they get it wrong, while it streams,
 * as tokens of which strict JSON is made (tool_values.h).
 *
 * Mended: strings in single, smart, back or triple quotes or with escaped quotes (\"a\"); raw line
 * breaks and control characters in strings; unknown escapes; a quote inside a string that is not
 * escaped, where what follows tells that it closes nothing; keys and values without quotes; commas
 * too many or missing; comments; True, False, None, NaN and their kin; numbers such as +1, .5,
 * 1_000 and 0x1f; doubled braces; brackets missing or in the wrong order; values or keys missing.
 * Valid JSON passes as it is: keys and strings decoded, numbers letter for letter, but for those
 * that readers of JSON refuse (mend_number_fits): they are strings.
 *
 * Sans-IO and never wrong about what left already: a byte whose meaning depends on what follows is
 * left unread until that is there, or MEND_LOOK_MAX bytes of it are. The tokens do not depend on
 * how the text was cut, but for the bounds of MEND_TEXT.
 */
#ifndef DRAGOMAN_GATEWAY_JSON_MENDER_H
#define DRAGOMAN_GATEWAY_JSON_MENDER_H

#include "base/json_write.h"

enum mend_token {
    MEND_OBJECT,
    MEND_OBJECT_END,
    MEND_ARRAY,
    MEND_ARRAY_END,
    MEND_KEY,    /* text: the whole key, decoded; {NULL,0} = a call's argument without a name */
    MEND_STRING, /* then MEND_TEXT (decoded), none or more, then MEND_STRING_END */
    MEND_TEXT,
    MEND_STRING_END,
    MEND_WORD /* text: true, false, null or a number that fits, valid JSON */
};

enum {
    MEND_DEPTH_MAX = 256,     /* what is nested deeper is null */
    MEND_LOOK_MAX = 256,      /* how far is looked ahead */
    MEND_KEY_MAX = 64 * 1024, /* longer keys are cut */
};

/* How a text begins. */
enum mend_form {
    MEND_FORM_VALUE, /* an object or an array (any value, where it stands alone) */
    MEND_FORM_CALL   /* behind the '(' of f(a=1, b="x"): an object up to ')' */
};

struct mend_sink {
    int (*put)(void *owner, enum mend_token, struct span text); /* not 0 stops it with that */
    void *owner;
    const bool *pause; /* NULL, or: once true, reading stops behind what is read */
};

enum mend_state {
    MEND_AT_VALUE,   /* the text's only one, or behind ':' */
    MEND_AT_ELEMENT, /* of an array */
    MEND_AT_KEY,
    MEND_AT_COLON,
    MEND_IN_KEY,
    MEND_IN_STRING,
    MEND_IN_WORDS, /* a long text without quotes */
    MEND_IN_COMMENT,
    MEND_IN_SKIPPED
};

struct json_mender {
    enum mend_form form;
    enum mend_state state;
    enum mend_state behind; /* the comment */
    bool block;             /* the comment ends with its mark, not with its line */
    bool started, done;
    bool keyed; /* a call's first argument was there */
    int depth;
    char levels[MEND_DEPTH_MAX]; /* '{', '[', '(' (a call), 't' (a tuple) */
    bool doubled[MEND_DEPTH_MAX];
    size_t skipped;    /* brackets open in what is nested too deep */
    char skipped_mark; /* a string's, there */
    char quote;        /* what the open string began with: '"' '\'' '`', '3' = three quotes,
                          's' and 'q' = smart quotes, double and single, '\\' = an escaped quote */
    struct buffer key;
    int stopped;   /* what the sink said */
    bool is_short; /* of memory, for a key */
};

void json_mender_init(struct json_mender *, enum mend_form);
/* Did it stop because there was no memory for a key? */
bool json_mender_is_short(const struct json_mender *);
void json_mender_free(struct json_mender *);
/* Reads from the front of *in, which is then what was not read: it must stand at the front of the
 * next text. `last`: nothing follows. 0, or what the sink said (no more may be read then). Once
 * `done`, the value is whole: *in is what stands behind it. */
int json_mender_read(struct json_mender *, struct span *in, bool last, const struct mend_sink *);
/* Do only closing brackets miss? */
bool json_mender_closable(const struct json_mender *);
/* Closes what is open. Likewise. */
int json_mender_close(struct json_mender *, const struct mend_sink *);
/* What JSON and models take for white space. */
bool mend_blank(char);
/* How many bytes at the text's front are one blank, also of those outside ASCII (U+00A0, U+3000,
 * U+FEFF); 0 = none. */
size_t mend_blank_at(struct span);
/* A token as strict JSON. */
void mend_write(struct json_writer *, enum mend_token, struct span text);
/* The number that is meant, as JSON writes it (in `room`, or the text itself); {NULL,0} = none. The
 * text ends with a NUL. */
enum { MEND_NUMBER_MAX = 80 };
struct span mend_number(struct span text, char room[MEND_NUMBER_MAX]);
bool mend_is_number(struct span);
/* Do readers take the number, JSON's, shorter than MEND_NUMBER_MAX? Integers of 64 bits, signed or
 * not; else what a double can hold. */
bool mend_number_fits(struct span);

#endif
