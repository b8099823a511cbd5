/*
 * base/json_raw.h - the text of JSON values, untouched.
 *
 * Walks JSON *that a parser has already accepted* (json_parse succeeded on the very same bytes)
 * without building anything, so that fields we do not know travel byte for byte: 64-bit integers,
 * 30-digit numbers, NULs, key order.
 */
#ifndef DRAGOMAN_BASE_JSON_RAW_H
#define DRAGOMAN_BASE_JSON_RAW_H

#include "base/arena.h"
#include "base/buffer.h"

/* What a value is, by its first character. All false for {NULL,0}. */
static inline char json_raw_first(struct span v) { return v.p && v.n ? v.p[0] : '\0'; }
static inline bool json_raw_is_text(struct span v) { return json_raw_first(v) == '"'; }
static inline bool json_raw_is_array(struct span v) { return json_raw_first(v) == '['; }
static inline bool json_raw_is_object(struct span v) { return json_raw_first(v) == '{'; }
static inline bool json_raw_is_bool(struct span v)
{
    return json_raw_first(v) == 't' || json_raw_first(v) == 'f';
}
static inline bool json_raw_is_number(struct span v)
{
    return json_raw_first(v) == '-' || (json_raw_first(v) >= '0' && json_raw_first(v) <= '9');
}

/* Members of an object or elements of an array, in order:
 *     struct json_raw_iter it = json_raw_each(text);
 *     while (json_raw_next(&it)) use(it.key, it.value);
 * `key` is the raw key without quotes (escapes not decoded; {NULL,0} in arrays), `value` the raw
 * value without white space around it. */
struct json_raw_iter {
    struct span key, value;
    const char *at_, *end_;
    bool object_;
};
struct json_raw_iter json_raw_each(struct span text);
/* The same over an object's inside, without its braces. */
struct json_raw_iter json_raw_members(struct span members);
bool json_raw_next(struct json_raw_iter *);
/* How many there are; 0 for other values. */
size_t json_raw_count(struct span text);
/* The raw value of the last member of that (decoded) name, {NULL,0} when absent. */
struct span json_raw_get(struct span object, const char *key);
/* The same, but an explicit null counts as absent. */
struct span json_raw_given(struct span object, const char *key);

/* An object's members, found in one walk, for who asks for many of them: the object may hold
 * megabytes, and each json_raw_get passes all of them. Members beyond the index are walked at each
 * look-up. No memory of its own; valid as long as the text. What is no object has no members. */
enum { JSON_MEMBERS_INDEXED = 48 };
struct json_member {
    struct span key, value; /* as of json_raw_next */
};
struct json_members {
    struct json_member list_[JSON_MEMBERS_INDEXED];
    size_t n_;
    uint64_t seen_; /* a bit for the length and first letter of each key */
    bool escapes_;  /* in a key */
    struct json_raw_iter rest_;
};
void json_members_read(struct json_members *, struct span object);
struct span json_members_find(const struct json_members *, struct span name);
static inline uint64_t json_members_bit_(struct span name)
{
    return UINT64_C(1) << ((name.n * 7 + (name.n ? (unsigned char)name.p[0] : 0)) & 63);
}
/* As json_raw_given: the last member of that (decoded) name; {NULL,0} when absent or null. Most of
 * those that are asked for are absent: that costs a few instructions, as long as the name's bit is
 * known when this is compiled. */
static inline __attribute__((always_inline)) struct span
json_members_given(const struct json_members *m, const char *key)
{
    struct span name = span_str(key);
    return m->seen_ & json_members_bit_(name) ? json_members_find(m, name) : span_of(NULL, 0);
}

/* All of them, in order; NULL when there are more than the index holds. Valid as long as the
 * struct.
 */
static inline const struct json_member *json_members_all(const struct json_members *m, size_t *n)
{
    *n = m->n_;
    return m->rest_.at_ ? NULL : m->list_;
}

/* Are there more than so many? Looks at no more than that. */
bool json_members_exceed(const struct json_members *m, size_t most);

/* Is there a member of that raw key in an object's inside? */
bool json_raw_has(struct span members, struct span raw_key);
/* Does the raw key, escapes decoded, equal `name`? */
bool json_raw_key_is(struct span raw_key, struct span name);

/* Adds a member to the inside of an object: a comma before it unless it is the first behind '{'.
 * Returns the buffer's error. */
int json_raw_append_member(struct buffer *out, struct span raw_key, struct span value);

/* Is foreign text one JSON object and nothing else, but for white space? By grammar alone: what is
 * in strings beside escapes and control characters is not looked at. Linear, without memory; deeper
 * than JSON_CHECK_DEPTH is none. */
enum { JSON_CHECK_DEPTH = 512 };
bool json_check_object(struct span text);
/* Copies a value without white space between its tokens. Returns the buffer's error. */
int json_raw_compact(struct buffer *out, struct span value);

/* One renaming rule of `field_aliases`, of which there may be so many. */
enum { JSON_ALIASES_MAX = 64 };
struct json_alias {
    struct span from, to;
};
/* Copies `text` with the keys of all objects renamed, at every depth, also in arrays inside arrays
 * (sites/sophnet.md §8.2): each key is looked up once, values stay as they are, order stays; if two
 * keys of one object end up equal, the later one wins and the earlier is left out. Returns 0 or the
 * buffer's error. */
int json_raw_rename(struct buffer *out, struct span text, const struct json_alias *aliases,
                    size_t n_aliases);

#endif
