/*
 * adapters/zai.h - what the three files of the zai adapter share (docs/sites/zai.md, sites/zai.md).
 *
 * zai.c tells who we are and what we send, zai_stream.c what the answer's events mean, zai_errors.c
 * what its failures mean.
 */
#ifndef DRAGOMAN_ADAPTERS_ZAI_H
#define DRAGOMAN_ADAPTERS_ZAI_H

#include "adapters/support.h"

enum { ZAI_TEXT_LIMIT = 64 * 1024 * 1024 };

enum zai_at { ZAI_BEGIN, ZAI_TOKEN, ZAI_UPLOAD, ZAI_NEW_CHAT, ZAI_CHAT, ZAI_OVER };

/* Removes the wrapping of reasoning, piece by piece (§8 rule 1). */
struct zai_unwrap {
    enum { UNWRAP_PROBE, UNWRAP_BARE, UNWRAP_HEAD, UNWRAP_BREAK, UNWRAP_BODY } at;
    bool line_start;
    struct buffer held; /* undecided bytes */
    struct buffer rest; /* work space */
};

struct zai_stream {
    struct zai_unwrap unwrap; /* of the deltas */
    struct zai_unwrap again;  /* of the reasoning inside an edit */
    struct buffer reasoning;  /* of the current stretch, as sent (before marks vanish) */
    struct buffer answer;     /* all of it, as the site wrote it */
    struct mark_filter answer_marks, reasoning_marks;
    struct buffer clean, whole, piece; /* work space: unwrapped reasoning, an edit, what goes out */
    bool thinking, had_reasoning, had_answer, had_usage;
    bool set_off; /* an empty line is due before the next reasoning */
    struct sources sources;
};

struct zai {
    enum zai_at at;
    bool v2, guest, renewed, thinking, search, vision, known_vision;
    enum effort effort;
    bool created;             /* a chat of ours exists at the site */
    struct token_use session; /* a guest's */
    struct span token, user_id, model, public_model;
    struct span chat_id, message_id, user_message_id;
    struct pictures pictures;
    bool whole; /* the current answer is one frame, no stream */
    int status; /* of the current answer */
    int retry_after_s;
    struct span content_type;
    struct zai_stream stream;
};

/* zai_stream.c */
void zai_stream_init(struct zai_stream *);
void zai_stream_free(struct zai_stream *);
enum adapter_verdict zai_stream_event(struct turn_run *, struct zai *, struct span text);
enum adapter_verdict zai_stream_end(struct turn_run *, struct zai *, enum stream_end);
/* Did anything of the answer go out? */
bool zai_stream_has_text(const struct zai_stream *);

/* zai_errors.c: both fill run->fail and return -1. */
int zai_fail_http(struct turn_run *, int status, struct span content_type, int retry_after_s,
                  struct span body);
int zai_fail_event(struct turn_run *, struct json error);
/* The error of an event (top, data, data.data), or missing. */
struct json zai_event_error(struct json root);
bool zai_error_is_internal(struct json error);

#endif
