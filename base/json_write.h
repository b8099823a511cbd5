/*
 * base/json_write.h - writing JSON by appending to a buffer.
 *
 * The hot path of every answer: no allocation beyond the buffer's growth, no tree. Commas are the
 * writer's business: struct json_writer tracks only whether one is due, so objects and arrays nest
 * to any depth without a stack:
 *
 *     struct json_writer w = json_writer(out);
 *     json_begin_object(&w); json_key(&w, "model"); json_string(&w, model); json_end_object(&w);
 */
#ifndef DRAGOMAN_BASE_JSON_WRITE_H
#define DRAGOMAN_BASE_JSON_WRITE_H

#include "base/buffer.h"

#ifdef __cplusplus
extern "C" {
#endif

struct json_writer {
    struct buffer *out;
    bool comma; /* a value stands before the place we are at */
};

#ifndef __cplusplus
static inline struct json_writer json_writer(struct buffer *out)
{
    return (struct json_writer){out, false};
}
#endif

void json_begin_object(struct json_writer *);
void json_end_object(struct json_writer *);
void json_begin_array(struct json_writer *);
void json_end_array(struct json_writer *);
/* A name that we gave ourselves, which has nothing to escape: where there is room, one copy. */
static inline void json_key(struct json_writer *, const char *key);
/* Any name. */
void json_key_span(struct json_writer *, struct span key);
/* Text as a JSON string: quotes, backslash and control characters escaped (NUL as \u0000),
 * everything else as it is. The text must be UTF-8 (sse/text_guard.h sees to that). */
void json_string(struct json_writer *, struct span text);
void json_cstring(struct json_writer *, const char *text);
void json_write_int(struct json_writer *, int64_t);
void json_write_double(
    struct json_writer *,
    double); /* shortest form that reads back the same; NaN and infinities as null */
void json_write_bool(struct json_writer *, bool);
void json_null(struct json_writer *);
/* A value that is JSON already, or members that are, or elements. */
static inline void json_raw_value(struct json_writer *, struct span json);
/* Shorthands for members. */
static inline void json_member(struct json_writer *, const char *key, struct span text);
void json_member_int(struct json_writer *, const char *key, int64_t);
static inline void json_member_bool(struct json_writer *, const char *key, bool);
static inline void json_member_raw(struct json_writer *, const char *key, struct span json);

/* Is all of it ASCII that stands for itself inside a string? Then it is its own json_escape. Costs
 * less than an instruction a byte. */
bool json_is_plain(struct span text);
/* Only the escaped inside of a string, without quotes: the innermost piece of the chunk emitter.
 * Returns the buffer's error. */
int json_escape(struct buffer *out, struct span text);

/* ---- what is told above, where the compiler sees the names ---- */

static inline void json_key(struct json_writer *w, const char *key)
{
    struct buffer *out = w->out;
    size_t n = strlen(key);
    if (out->error || n + sizeof ",\"\":" > out->cap - out->n) {
        json_key_span(w, span_of(key, n));
        return;
    }
    char *at = out->p + out->n;
    if (w->comma)
        *at++ = ',';
    *at++ = '"';
    memcpy(at, key, n);
    at += n;
    *at++ = '"';
    *at++ = ':';
    out->n = (size_t)(at - out->p);
    w->comma = false;
}

static inline void json_raw_value(struct json_writer *w, struct span json)
{
    if (w->comma)
        buffer_char(w->out, ',');
    buffer_append(w->out, json);
    w->comma = true;
}

static inline void json_member(struct json_writer *w, const char *key, struct span text)
{
    json_key(w, key);
    json_string(w, text);
}

static inline void json_member_bool(struct json_writer *w, const char *key, bool v)
{
    json_key(w, key);
    json_write_bool(w, v);
}

static inline void json_member_raw(struct json_writer *w, const char *key, struct span json)
{
    json_key(w, key);
    json_raw_value(w, json);
}

#ifdef __cplusplus
}
#endif
#endif
