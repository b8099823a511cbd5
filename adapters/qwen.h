/*
 * adapters/qwen.h - what the files of the qwen adapter share (docs/sites/qwen.md).
 *
 * qwen.c tells who we are and which steps a turn has, qwen_token.c where the credential comes from,
 * qwen_body.c what we send, qwen_upload.c how pictures get there, qwen_stream.c what the answer's
 * events mean, qwen_errors.c what failures mean, qwen_tongyi.c the older site.
 */
#ifndef DRAGOMAN_ADAPTERS_QWEN_H
#define DRAGOMAN_ADAPTERS_QWEN_H

#include "adapters/support.h"
#include "base/json_write.h"

enum {
    QWEN_TEXT_LIMIT = 64 * 1024 * 1024,
    QWEN_BODY_LIMIT = 256 * 1024 * 1024,
    QWEN_PICTURES_MAX = 24 /* each takes two of the requests that a turn may have */
};

/* ---- the stream (qwen_stream.c, §6) ---- */

struct qwen_stream {
    struct span response_id; /* the answer that is read; "" = not told */
    bool two_answers;        /* the page's "compare two answers": the other one is dropped */
    struct growing summary;  /* thinking_summary: the thoughts that were sent last … */
    bool tool_since;         /* … and a tool was at work after them */
    struct sources sources, pictures; /* pictures: those already shown */
    struct delta_usage usage;
    bool has_usage;
    struct buffer piece; /* work space */
    bool any_answer, any_reasoning;
};

void qwen_stream_init(struct qwen_stream *);
void qwen_stream_free(struct qwen_stream *);

/* ---- where an upload goes (qwen_upload.c, §5.3) ---- */

/* What the site says of one upload; all of it can stand in a header. */
struct qwen_ticket {
    struct span key_id, key_secret, security_token, bucket, region, path, file_id;
    struct span url;    /* with its query */
    struct span origin; /* of `url` */
    struct span target; /* of `url`: its path */
};
/* The value of Authorization for PUT: Alibaba OSS, signature version 4. */
struct span qwen_oss_authorization(struct arena *, const struct qwen_ticket *, struct span mime,
                                   int64_t now_ms);

/* ---- a turn ---- */

enum qwen_at {
    QWEN_BEGIN,
    QWEN_TICKET, /* of the next picture, or no more pictures */
    QWEN_PUT,
    QWEN_CREATE,
    QWEN_CHAT,
    QWEN_OVER
};
/* The request under way obtains a credential. */
enum qwen_ask { ASK_NOTHING, ASK_REFRESH, ASK_SIGN_IN };

struct qwen {
    struct tongyi *older; /* with api = "tongyi": then nothing below is used */
    enum qwen_at at;
    enum qwen_ask ask;
    bool refreshed, signed_in; /* asked for in this try, whatever came of it */
    struct token_use token;
    struct span refused; /* the token that the site refused in this try */
    struct model_wish wish;
    struct pictures pictures;
    struct qwen_ticket ticket; /* of the picture that is uploaded */
    struct span chat_id;
    struct span parent; /* the answer in it that our message follows; "" = a new chat */
    bool whole;         /* the current answer is one frame, no stream */
    int status;         /* of the current answer */
    int retry_after_s;
    struct span content_type;
    struct qwen_stream stream;
};

/* ---- requests (qwen.c, §4) ---- */
/* `body` is JSON that was written into it; it is freed. `behind` the origin is the page that the
 * request comes from. */
enum adapter_step qwen_post_json(struct turn_run *, const struct qwen *, struct site_request *,
                                 struct buffer *body, struct span behind);

/* ---- the credential (qwen_token.c, §2) ---- */
/* 0: c->token.value is what to send ("" for guests); 1: c->ask says what to ask the site for; -1
 * with run->fail. */
int qwen_find_token(struct turn_run *, struct qwen *);
enum adapter_step qwen_ask_token(struct turn_run *, struct qwen *, struct site_request *);
enum adapter_verdict qwen_take_token(struct turn_run *, struct qwen *, struct json root);
/* The site said no to what was asked: go on with what is left, or fail as it was classified. */
enum adapter_verdict qwen_token_refused(struct turn_run *, struct qwen *);
/* A token to look around with, without asking for one; "" = none. */
struct span qwen_present_token(struct turn_run *);

/* ---- bodies (qwen_body.c, §5.1, §5.2) ---- */
enum adapter_step qwen_create_chat(struct turn_run *, struct qwen *, struct site_request *);
enum adapter_verdict qwen_take_chat(struct turn_run *, struct qwen *, struct json root);
enum adapter_step qwen_send_chat(struct turn_run *, struct qwen *, struct site_request *);
/* The conversation as one text, with the marks of the option flatten_marks. */
struct span qwen_prompt(struct turn_run *);

/* ---- pictures (qwen_upload.c) ---- */
enum adapter_step qwen_ask_ticket(struct turn_run *, struct qwen *, struct site_request *);
enum adapter_verdict qwen_take_ticket(struct turn_run *, struct qwen *, struct json root);
enum adapter_step qwen_put_picture(struct turn_run *, struct qwen *, struct site_request *);
/* The head of the storage's answer. */
enum adapter_verdict qwen_picture_put(struct turn_run *, struct qwen *, int status);
/* The entry of `files` for one that is there: its id, and its address in `answer`. {NULL,0} without
 * memory. */
struct span qwen_file_entry(struct turn_run *, const struct picture *);

enum adapter_verdict qwen_stream_event(struct turn_run *, struct qwen *, struct span text);
enum adapter_verdict qwen_stream_end(struct turn_run *, struct qwen *, enum stream_end);

/* ---- failures (qwen_errors.c, §8): they fill run->fail and return -1 ---- */
int qwen_fail_http(struct turn_run *, int status, struct span content_type, int retry_after_s,
                   struct span body);
int qwen_fail_object(struct turn_run *, struct json);
/* Does an object tell a failure? */
bool qwen_is_failure(struct json);

/* ---- the older site (qwen_tongyi.c, §10): what the adapter's functions are there ---- */
bool qwen_is_tongyi(const struct site_settings *);
int tongyi_check(const struct site_settings *, struct fail *);
enum adapter_step tongyi_next(struct turn_run *, struct qwen *, struct site_request *);
enum adapter_verdict tongyi_on_head(struct turn_run *, struct tongyi *, const struct site_head *,
                                    enum framing *);
enum adapter_verdict tongyi_on_frame(struct turn_run *, struct tongyi *, const struct frame *);
enum adapter_verdict tongyi_on_end(struct turn_run *, struct tongyi *, enum stream_end);
enum adapter_step tongyi_cleanup(struct turn_run *, struct tongyi *, struct site_request *);
void tongyi_free(struct tongyi *);
enum adapter_step tongyi_models_request(struct turn_run *, struct site_request *);
int tongyi_models_answer(struct turn_run *, struct span body, const struct model_sink *);
int tongyi_fail_http(struct turn_run *, int status, struct span content_type, int retry_after_s,
                     struct span body);

#endif
