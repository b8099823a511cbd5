/*
 * gateway/json_schema_internal.h - what json_schema.c and json_schema_check.c share: places, the
 * report, the budget, references.
 */
#ifndef DRAGOMAN_GATEWAY_JSON_SCHEMA_INTERNAL_H
#define DRAGOMAN_GATEWAY_JSON_SCHEMA_INTERNAL_H

#include "gateway/json_schema.h"

enum {
    SCHEMA_STEPS_MAX = 2 * 1000 * 1000, /* members, elements and texts looked at: 50 ms */
    SCHEMA_DEPTH_MAX = 2200,            /* twice as deep as a document can be */
    SCHEMA_HOPS_MAX = 64                /* a reference that leads to a reference that … */
};

/* Where we are in a document: a list from the inside out, on the stack. */
struct place {
    const struct place *up; /* NULL: the document itself */
    struct span key;        /* {NULL,0}: an element of an array */
    size_t index;
    int depth;
};

struct place place_member(const struct place *up, struct span key);
struct place place_element(const struct place *up, size_t index);

/* Adds "PLACE: SENTENCE" to the report. */
void schema_report_add(struct json_schema_report *, const struct place *, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The text, or its beginning, as it can stand in a report: at most `max` bytes of whole characters.
 */
struct span schema_shown(struct span text, size_t max);

/* The time that is left. */
struct schema_budget {
    long steps;
};
/* False: nothing is left. */
bool schema_spend(struct schema_budget *, long steps);
/* json_get that costs something. */
struct json schema_member(struct schema_budget *, struct json object, struct span key);

enum reference { REFERENCE_FOUND, REFERENCE_OUTSIDE, REFERENCE_NOWHERE };
/* What "#/a/b" means in the document `root`. */
enum reference schema_reference(struct schema_budget *, struct json root, struct span text,
                                struct json *target);

/* A type's name as a bit of what schema_type_of gives; 0 = no type has that name. */
enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64
};
unsigned schema_type_bit(struct span name);
/* All types that a value has: an integer is a number as well. */
unsigned schema_types_of(struct json);

#endif
