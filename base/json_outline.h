/*
 * base/json_outline.h - a JSON object looked at once: is it plain, and where do its members lie?
 *
 * Plain is what nearly all objects are that programs send: valid, and without what readers differ
 * about or what is rare (keys that are not plain ASCII, surrogates, exponents, numbers of many
 * digits, deep nesting). A parser accepts every plain text (a fuzz target compares), so such a text
 * needs none; of one that is not plain nothing is said: it goes to the parser.
 */
#ifndef DRAGOMAN_BASE_JSON_OUTLINE_H
#define DRAGOMAN_BASE_JSON_OUTLINE_H

#include "base/json_raw.h"

enum { JSON_OUTLINE_MAX = 96 };

/* The members of the object, in order. Of one of them, an array, the elements too, and of each that
 * is an object its members: each behind what it lies in. */
struct json_outline {
    struct json_outline_entry {
        struct span key, value; /* as of json_raw_next */
        size_t behind;          /* the next one that does not lie in this one */
    } list[JSON_OUTLINE_MAX];
    size_t n;
    size_t array; /* the last member of that name; JSON_OUTLINE_MAX when there is none */
    bool whole;   /* all of it had room */
};

/* Is it a plain object and nothing else, but for white space? `array`: the name of the member whose
 * elements are looked into. No memory of its own: valid as long as the text. When it is false
 * nothing in the outline means anything. */
bool json_outline_read(struct json_outline *, struct span text, struct span array);
/* The same for who needs no outline. */
bool json_is_plain_object(struct span text);
/* Is it the value whose elements were looked into? They begin behind `array`. */
bool json_outline_has_array(const struct json_outline *, struct span value);
/* The members from `from` up to `to`: of a whole outline, for look-ups by name. */
void json_outline_members(const struct json_outline *, size_t from, size_t to,
                          struct json_members *);

#endif
