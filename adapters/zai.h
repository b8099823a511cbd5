/*
 * adapters/zai.h - what the files of the zai adapter share (docs/sites/zai.md, sites/zai.md).
 *
 * zai.c tells who we are and which steps a turn has; zai_models.c what models are called,
 * zai_token.c whose token we send, zai_upload.c how pictures go up, zai_body.c what a chat's
 * request holds; zai_stream.c what the answer's events mean, zai_unwrap.c what wraps its reasoning,
 * zai_errors.c what failures mean.
 */
#ifndef DRAGOMAN_ADAPTERS_ZAI_H
#define DRAGOMAN_ADAPTERS_ZAI_H

#include "adapters/support.h"
#include "base/prefix.h"

#define ZAI_GUEST_TOKEN "guest_token" /* what the account holds */

enum { ZAI_TEXT_LIMIT = 64 * 1024 * 1024, ZAI_BODY_LIMIT = 256 * 1024 * 1024 };

enum zai_at { ZAI_BEGIN, ZAI_TOKEN, ZAI_UPLOAD, ZAI_NEW_CHAT, ZAI_CHAT, ZAI_OVER };

/* Removes the wrapping of reasoning, piece by piece (§8 rule 1). */
struct zai_unwrap {
    enum { UNWRAP_PROBE, UNWRAP_BARE, UNWRAP_HEAD, UNWRAP_BREAK, UNWRAP_BODY } at;
    bool line_start;
    struct buffer held; /* undecided bytes */
    struct buffer rest; /* work space */
};

/* What an answer of plain text does without. */
struct zai_more {
    struct zai_unwrap unwrap; /* of the deltas */
    struct zai_unwrap again;  /* of the reasoning inside an edit */
    struct buffer reasoning;  /* of the current stretch, as sent (before marks vanish) */
    struct mark_filter reasoning_marks;
    struct buffer clean, whole, piece; /* work space: unwrapped reasoning, an edit, what goes out */
};

struct zai_stream {
    struct prefix said; /* of the answer, as the site wrote it */
    struct mark_filter answer_marks;
    struct zai_more *more; /* in the arena; NULL: nothing of it was needed so far */
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

/* ---- requests (zai.c, §4): with everything that each of them carries ---- */
void zai_add_headers(struct turn_run *, struct zai *, struct site_request *);
/* A JSON body that was written into `body`, which is dropped. */
enum adapter_step zai_send_json(struct turn_run *, struct zai *, struct site_request *,
                                struct buffer *body, struct span accept);

/* ---- models (zai_models.c, §3) ---- */
extern const struct model_entry zai_models[];
void zai_choose_model(const struct turn_run *, struct zai *);
enum adapter_step zai_models_request(struct turn_run *, struct site_request *);
int zai_models_answer(struct turn_run *, struct span body, const struct model_sink *);

/* ---- the token (zai_token.c, §2) ---- */
/* What may stand in a header and in a URL as it is: no blank, no line break, nothing but ASCII. */
bool zai_is_plain(struct span text);
/* 0: the token is there; 1: it must be asked for; -1 with run->fail. */
int zai_find_token(struct turn_run *, struct zai *);
enum adapter_step zai_ask_guest_token(struct turn_run *, struct zai *, struct site_request *);
enum adapter_verdict zai_take_token(struct turn_run *, struct zai *, struct json root);

/* ---- pictures (zai_upload.c, §7) ---- */
/* Every reason against a picture is told before any request. 0, or -1 with run->fail. */
int zai_check_pictures(struct turn_run *, struct zai *);
enum adapter_step zai_upload_picture(struct turn_run *, struct zai *, struct site_request *);
enum adapter_verdict zai_take_upload(struct turn_run *, struct zai *, struct span body);

/* ---- the chat (zai_body.c, §5, §6) ---- */
enum adapter_step zai_send_chat_v1(struct turn_run *, struct zai *, struct site_request *);
/* v2: a chat is made before anything is said in it. */
enum adapter_step zai_create_chat(struct turn_run *, struct zai *, struct site_request *);
enum adapter_verdict zai_take_chat(struct turn_run *, struct zai *, struct json root);
enum adapter_step zai_send_chat_v2(struct turn_run *, struct zai *, struct site_request *);

/* ---- reasoning (zai_unwrap.c, §8 rule 1) ---- */
void zai_unwrap_reset(struct zai_unwrap *);
/* Appends to `out` what is decided. */
void zai_unwrap_feed(struct zai_unwrap *, struct span text, struct buffer *out);
/* The end: what is held is text. */
void zai_unwrap_flush(struct zai_unwrap *, struct buffer *out);

/* ---- the answer (zai_stream.c, §8) ---- */
void zai_stream_init(struct zai_stream *);
void zai_stream_free(struct zai_stream *);
enum adapter_verdict zai_stream_event(struct turn_run *, struct zai *, const struct frame *);
enum adapter_verdict zai_stream_end(struct turn_run *, struct zai *, enum stream_end);
/* Did anything of the answer go out? */
bool zai_stream_has_output(const struct zai_stream *);

/* ---- failures (zai_errors.c, §9): both fill run->fail and return -1 ---- */
int zai_fail_http(struct turn_run *, int status, struct span content_type, int retry_after_s,
                  struct span body);
int zai_fail_event(struct turn_run *, struct json error);
/* The error of an event (top, data, data.data), or missing. */
struct json zai_event_error(struct json root);
bool zai_error_is_internal(struct json error);

#endif
