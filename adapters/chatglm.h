/*
 * adapters/chatglm.h - what the files of the chatglm adapter share (docs/sites/chatglm.md).
 *
 * chatglm.c tells who we are and which steps a turn has, chatglm_body.c what we send,
 * chatglm_stream.c what the answer's events mean, chatglm_text.c how a text is put together again,
 * chatglm_errors.c what failures mean.
 */
#ifndef DRAGOMAN_ADAPTERS_CHATGLM_H
#define DRAGOMAN_ADAPTERS_CHATGLM_H

#include "adapters/support.h"

enum {
    CHATGLM_TEXT_LIMIT = 64 * 1024 * 1024,
    CHATGLM_BODY_LIMIT = 256 * 1024 * 1024,
    CHATGLM_ITEMS_MAX = 4096
};

/* ---- a text that comes as fragments and then whole, or growing (chatglm_text.c, §6.3) ---- */

/* How this stream tells its texts; one form in one stream. */
enum chatglm_form { FORM_UNKNOWN, FORM_FRAGMENTS, FORM_GROWING };

struct chatglm_text {
    struct growing sent;
    struct buffer waiting;        /* texts that could be either, one after the other … */
    size_t last;                  /* … where the last one begins … */
    size_t longest_at, longest_n; /* … and the longest; 0, 0: what was sent is */
    int longer;                   /* how many were longer than the longest before them */
};

enum chatglm_fit { FITS, FITS_NOT /* an edit: nothing is sent, count it */ };

void chatglm_text_init(struct chatglm_text *);
void chatglm_text_free(struct chatglm_text *);
/* A text of an event. What is to be sent now is appended to `out`; `whole`: the part is finished.
 * May find out the stream's form. */
enum chatglm_fit chatglm_text_take(struct chatglm_text *, enum chatglm_form *, bool whole,
                                   struct span text, struct buffer *out);
/* Something else follows: what waits is settled. */
void chatglm_text_settle(struct chatglm_text *, struct buffer *out);
enum buffer_error chatglm_text_error(const struct chatglm_text *);

/* ---- the stream (chatglm_stream.c, §6) ---- */

/* One content item of a part: what marks it is the part's id, its type, and which of that type in
 * the part it is. */
struct chatglm_item {
    struct span part, type; /* the type is static */
    size_t nth;
    struct chatglm_text text;
    bool begun, shown;
    struct chatglm_item *next; /* the one before it */
};

/* Where text goes out: the answer, or the reasoning. */
struct chatglm_channel {
    struct mark_filter marks;
    bool any;  /* something went out … */
    char last; /* … and ended with this byte */
};

struct chatglm_stream {
    enum chatglm_form form;
    struct chatglm_item *items; /* the newest first */
    size_t n_items;
    struct chatglm_item *waiting; /* the one whose text waits; NULL = none */
    struct chatglm_channel answer, reasoning;
    struct sources sources, pictures; /* those already shown */
    struct buffer raw, piece;         /* work space: decided text, what goes out */
    bool any_event;
    bool ended; /* the site has said so */
    struct span message_id;
};

enum { CHATGLM_TRIES = 3 };

enum chatglm_at { CHATGLM_BEGIN, CHATGLM_TOKEN, CHATGLM_UPLOAD, CHATGLM_CHAT, CHATGLM_OVER };

struct chatglm {
    enum chatglm_at at;
    bool older, search, older_upload;
    bool new_visitor; /* this turn has asked for one */
    bool visiting;    /* the token step under way asks for one */
    struct span chat_mode, effort, model, assistant;
    struct token_use token;
    struct pictures pictures;
    struct span conversations[CHATGLM_TRIES]; /* that our requests made */
    size_t n_conversations;
    bool stop_told;
    bool whole; /* the current answer is one frame, no stream */
    int status; /* of the current answer */
    int retry_after_s;
    struct span content_type;
    struct chatglm_stream stream;
};

/* ---- requests (chatglm.c, §4): with everything that each of them carries ---- */
enum adapter_step chatglm_send(struct turn_run *, const struct chatglm *, struct site_request *,
                               struct span token);
/* `body` is JSON that was written into it; it is freed. */
enum adapter_step chatglm_post_json(struct turn_run *, const struct chatglm *,
                                    struct site_request *, struct buffer *body, struct span token);

/* ---- bodies (chatglm_body.c, §5) ---- */
/* The next picture or document. */
enum adapter_step chatglm_upload(struct turn_run *, struct chatglm *, struct site_request *);
enum adapter_verdict chatglm_take_upload(struct turn_run *, struct chatglm *, struct span body);
enum adapter_step chatglm_send_chat(struct turn_run *, struct chatglm *, struct site_request *);

void chatglm_stream_init(struct chatglm_stream *);
void chatglm_stream_free(struct chatglm_stream *);
enum adapter_verdict chatglm_stream_event(struct turn_run *, struct chatglm *, struct span text);
enum adapter_verdict chatglm_stream_end(struct turn_run *, struct chatglm *, enum stream_end);
/* Did anything of the answer go out? */
bool chatglm_stream_has_output(const struct chatglm_stream *);

/* ---- failures (chatglm_errors.c, §7): both fill run->fail and return -1 ---- */
int chatglm_fail_http(struct turn_run *, int status, struct span content_type, int retry_after_s,
                      struct span body);
int chatglm_fail_event(struct turn_run *, struct json error);
/* Does an object tell a failure: a code that is not 0? */
bool chatglm_is_error(struct json);

#endif
