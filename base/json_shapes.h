/*
 * base/json_shapes.h - JSON texts that were seen before, but for some values.
 *
 * A service says the same few things again and again: a piece of text, an end, a count. What was
 * once parsed is kept as its bytes around some holes, with a note of what it meant. A later text
 * that has the same bytes around, and a whole string or natural number in each hole, is read by the
 * grammar in the same way token for token: a parser would build the same document but for these
 * values. So it need not be parsed; what it means is the note and the values. Whatever is not
 * certain is not recognised, and takes the long way.
 *
 * Unlike a template (json_template.h), which says that nothing else came in between, this says
 * nothing of other texts: the note has to be true of the text alone. So it may be kept from stream
 * to stream. Bounded: what was not met for longest makes room.
 */
#ifndef DRAGOMAN_BASE_JSON_SHAPES_H
#define DRAGOMAN_BASE_JSON_SHAPES_H

#include "base/buffer.h"

enum {
    JSON_SHAPES = 8,         /* different ones that are kept */
    JSON_SHAPE_BYTES = 3072, /* note, label and text without the values; what is larger is not */
    JSON_SHAPE_HOLES = 8
};

enum json_hole_kind {
    JSON_HOLE_TEXT,   /* a string, told decoded; one of a text at most */
    JSON_HOLE_NUMBER, /* a natural number, told in its digits */
    JSON_HOLE_ANY     /* a string or number that nobody looks at */
};

struct json_hole {
    enum json_hole_kind kind;
    struct span raw; /* where it stands in the text: strings with their quotes */
};

struct json_shape_hole {
    uint16_t before; /* bytes of the text between the hole before and this one */
    uint16_t run;    /* bytes up to the next value that is told, ignored ones as they were last */
    uint16_t value;  /* JSON_HOLE_ANY: bytes of the value as it was last */
    uint8_t next;    /* where `run` leads */
    uint8_t given;   /* which one it was of those that were handed to json_shapes_learn */
    uint8_t kind;
    bool number;
};

struct json_shape {
    char *bytes; /* the note, the label, what stands around the holes; NULL: nothing */
    uint16_t note, label;
    uint8_t n_holes;
    bool matched;  /* since it was learned */
    uint8_t after; /* what came behind it, when it was another one */
    uint32_t used; /* when */
    struct json_shape_hole holes[JSON_SHAPE_HOLES + 1]; /* behind the last one is the end */
};

/* Zeroed before its first use. */
struct json_shapes {
    struct json_shape list[JSON_SHAPES];
    uint32_t clock;
    uint8_t last;            /* what was met last is tried first */
    uint8_t patience, skips; /* where nothing is ever met again, less and less is learned */
};

/* What a text that was recognised says. */
struct json_seen {
    struct span note; /* valid until something is learned; aligned as for any object */
    struct span text; /* of JSON_HOLE_TEXT: in the text, or in `room`; "" = there is none */
    struct span numbers[JSON_SHAPE_HOLES]; /* digits, each in the place that its hole had in
                                              json_shapes_learn's list; the others are undefined */
};

/* The number of that place, if it was a hole of the shape. */
static inline int64_t json_seen_number(const struct json_seen *seen, unsigned place)
{
    struct span digits = seen->numbers[place];
    int64_t n = 0;
    for (size_t i = 0; i < digits.n; i++)
        n = 10 * n + (digits.p[i] - '0');
    return n;
}

/* Is the text, and the label beside it, one that was seen before? `room`: for a string with
 * escapes; it is cleared. */
bool json_shapes_match(struct json_shapes *, struct span label, struct span text,
                       struct buffer *room, struct json_seen *);
/* Keeps a text that json_parse_lenient has just accepted, with the holes (in any order; those
 * without a value, and ignored ones that are neither a plain string nor a natural number, are left
 * out) and a note. Nothing is kept when a hole is not of its kind, when other bytes than the holes'
 * hold an escape, when it is too large or memory is short; nor every time where none was ever met
 * again. */
void json_shapes_learn(struct json_shapes *, struct span label, struct span text,
                       const struct json_hole *holes, size_t n, struct span note);
/* Forgets all. */
void json_shapes_free(struct json_shapes *);

#endif
