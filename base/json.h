/*
 * base/json.h - reading JSON: a C face over simdjson's DOM (base/json_simdjson.cpp, the only C++
 * here besides TOML).
 *
 * A parser owns one document at a time; parsing again invalidates all values and strings of the
 * former one. No allocation once the parser has grown to the size of what it reads. Depth is
 * limited to 1024 by simdjson. 64-bit integers are kept, strings may hold NUL. No C++ exception
 * leaves these functions.
 */
#ifndef DRAGOMAN_BASE_JSON_H
#define DRAGOMAN_BASE_JSON_H

#include "base/buffer.h"
#include "base/span.h"

#ifdef __cplusplus
extern "C" {
#endif

enum json_type {
    JSON_MISSING,
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_UINT,
    JSON_DOUBLE,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

enum json_error {
    JSON_OK = 0,
    JSON_INVALID = -1,    /* not JSON */
    JSON_UTF8 = -2,       /* not UTF-8 */
    JSON_STRING_BAD = -3, /* a bad escape; with json_parse_lenient lone surrogates never give it */
    JSON_NUMBER = -4, /* a number out of range (1e999, more than 20 digits …) or malformed (01) */
    JSON_DEPTH = -5,  /* nested deeper than 1024 */
    JSON_TOO_LARGE = -6, /* above 4 GiB or the parser's limit */
    JSON_NOMEM = -7
};

struct json_parser;

/* A value inside a parser's current document. The zero value is JSON_MISSING and safe to ask
 * anything. */
struct json {
    const void *doc;
    size_t at;
};

/* `max_size`: bytes of the largest text that is read, 32 or more. NULL when memory is short. */
struct json_parser *json_parser_create(size_t max_size);
void json_parser_destroy(struct json_parser *);
/* What was taken for texts of more than `keep` bytes is given back: a parser keeps up to fourteen
 * times its largest text otherwise. No value of the last parse may be looked at any more. */
void json_parser_shrink(struct json_parser *, size_t keep);

/* Strict parse; text is copied into the parser's padded buffer, so it needs no padding and may go
 * away afterwards. */
int json_parse(struct json_parser *, struct span text, struct json *root);
/* The same for foreign text that should not be lost over a detail: invalid UTF-8 becomes U+FFFD; an
 * escaped lone surrogate ("\ud83d") becomes WTF-8 (three bytes, ED A0..BF xx) in json_text, for
 * sse/text_guard.h to join across pieces or replace by U+FFFD. Costs nothing when the text is
 * clean. */
int json_parse_lenient(struct json_parser *, struct span text, struct json *root);
const char *json_error_text(int error);
/* Was there no memory for a parse since the last time that somebody asked? For who gave the parser
 * to others, to whom all that cannot be read is the same. */
bool json_parser_take_short(struct json_parser *);

/* Before a strict parse of a client's body: every escaped lone surrogate is overwritten in place by
 * \ufffd (the same six bytes). Returns how many. Text that is not JSON is left to the parser. */
size_t json_mend_surrogates(char *text, size_t n);

enum json_type json_type(struct json);
static inline bool json_is(struct json v, enum json_type type) { return json_type(v) == type; }
/* The value of `key` in an object (the last one, where a key is doubled); missing otherwise.
 * O(members). */
struct json json_get(struct json object, const char *key);
struct json json_get_n(struct json object, struct span key);
/* Path by keys: json_path(v, "choices", "delta"). Missing anywhere gives missing. */
#define json_path(v, ...) json_path_of((v), (const char *const[]){__VA_ARGS__, NULL})
struct json json_path_of(struct json, const char *const *keys /* up to NULL */);
/* String content; {NULL, 0} when it is no string; {"", 0} (p not NULL) for an empty one. Valid
 * until the parser's next parse. */
struct span json_text(struct json);
/* json_text of json_get. */
struct span json_get_text(struct json object, const char *key);
/* Integers, and doubles with an integral value inside the range; false otherwise. */
bool json_int(struct json, int64_t *value);
bool json_number(struct json, double *value);
/* `otherwise` unless it is a boolean. */
bool json_bool(struct json, bool otherwise);
/* Number of elements or members (0 for other types). */
size_t json_size(struct json);

/* Iteration, arrays and objects alike:
 *     struct json_iter it = json_each(v);
 *     while (json_next(&it)) use(it.key, it.value);
 * key is {NULL,0} in arrays. A value that is neither yields nothing. */
struct json_iter {
    struct span key;
    struct json value;
    const void *doc_;
    size_t next_, end_;
    bool object_;
};
struct json_iter json_each(struct json);
bool json_next(struct json_iter *);
/* The i-th element of an array, or missing. O(i). */
struct json json_at(struct json array, size_t i);

/* How much there is to walk over: one or two for each value in it, and for each key. O(1). */
size_t json_extent(struct json);

/* Appends the value as compact JSON (integers and doubles exactly as simdjson read them). */
int json_dump(struct buffer *out, struct json);

/* May the bytes stand in JSON text as they are: is all of it valid UTF-8, without surrogates? */
bool json_valid_utf8(struct span);

#ifdef __cplusplus
}
#endif
#endif
