/*
 * base/json_inside.h - reads one JSON string or number where what stands around it is known
 * already (json_template.h, json_shapes.h).
 *
 * What is not certainly what a parser would read is refused: bytes that are not UTF-8, lone
 * surrogates, an unknown escape.
 */
#ifndef DRAGOMAN_BASE_JSON_INSIDE_H
#define DRAGOMAN_BASE_JSON_INSIDE_H

#include "base/buffer.h"

/* A string from behind its opening quote: returns its closing quote, or NULL. `string` is the text,
 * in place, or decoded in `room` (which is used for escapes alone; NULL is told, too, when they do
 * not fit there). */
const char *json_inside_read(const char *p, const char *end, struct buffer *room,
                             struct span *string);
/* The same for one that nobody wants to know: ASCII, without an escape. */
const char *json_inside_pass(const char *p, const char *end);
/* Behind a natural number of at most fifteen digits, or NULL. */
const char *json_natural_pass(const char *p, const char *end);

#endif
