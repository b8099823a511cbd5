/*
 * adapters/kimi.h - what the files of the kimi adapter share (docs/sites/kimi.md, sites/kimi.md).
 *
 * kimi.c tells who we are and what we send, kimi_token.c how an access token is come by and what
 * every request carries, kimi_models.c which model is which, kimi_stream.c what the answer's events
 * mean, kimi_errors.c what its failures mean, kimi_rest.c the older form (kimi.moonshot.cn).
 */
#ifndef DRAGOMAN_ADAPTERS_KIMI_H
#define DRAGOMAN_ADAPTERS_KIMI_H

#include "adapters/support.h"
#include "base/json_write.h"

#define KIMI_HOST "www.kimi.com"

enum {
    KIMI_BODY_LIMIT = 256 * 1024 * 1024,
    KIMI_TEXT_LIMIT = 64 * 1024 * 1024,
    KIMI_ENVELOPE_LIMIT = 8 * 1024 * 1024, /* of one payload (§6.1) */
    KIMI_PICTURES_MAX = 20,
    KIMI_POLL_MS = 500,
    KIMI_POLLS_MAX = 20, /* of one picture … */
    KIMI_POLLS_ALL = 36  /* … and of a turn's pictures together */
};

/* What the request that is under way asks for. */
enum kimi_ask {
    KIMI_NOTHING,
    KIMI_REFRESH,
    KIMI_UPLOAD,
    KIMI_PROGRESS,
    KIMI_CHAT,
    /* the older form */
    KIMI_USER,
    KIMI_SIGN,
    KIMI_PUT,
    KIMI_FILE,
    KIMI_PARSE,
    KIMI_CREATE
};

/* ---- models (kimi_models.c, §3) ---- */

struct kimi_model {
    struct span scenario;
    struct span option; /* `options.model`, the newer form; "" = the older one */
    struct span kimiplus_id, agent_mode;
    bool thinking, search;
    enum effort effort;
};

/* What the turn asks for. 0, or -1 with run->fail. */
int kimi_choose_model(struct turn_run *, struct kimi_model *);
extern const struct model_entry kimi_models[];
int kimi_models_answer(struct turn_run *, struct span body, const struct model_sink *);

/* The whole conversation as the text of one message (§5.1): not `role: text` but `role:text`, as
 * the sources have it. {NULL,0} without memory. */
struct span kimi_prompt(struct turn_run *);

/* ---- the stream (kimi_stream.c, §6) ---- */

/* A block of text or of thinking. */
struct kimi_block {
    struct span id; /* "" = the one without */
    bool think;
    bool flagged; /* its text is marked as thinking */
    struct growing text;
    struct kimi_block *next; /* the one that came before */
};

/* Where text goes out: the answer, or the reasoning. */
struct kimi_channel {
    struct kimi_block *last; /* whose text went out last; NULL = nothing did */
};

struct kimi_stream {
    struct kimi_block *blocks; /* the newest first */
    size_t n_blocks, bytes;
    struct kimi_channel answer, reasoning;
    struct sources sources;
    struct span message_id; /* the assistant's */
    bool any;               /* anything came */
    bool completed;         /* the site says that the message is */
    bool length;            /* the older form: the site stopped at its limit */
};

struct kimi {
    enum kimi_ask ask;
    bool begun, rest, over;
    bool newer_refresh;       /* §2's second form */
    struct token_use session; /* the access token */
    struct span user_id, device_id, session_id;
    struct kimi_model model;
    struct pictures pictures;
    size_t ready; /* pictures that the site has read */
    int polls, all_polls;
    bool waited;
    struct span chat_id; /* of the chat that our requests made */
    struct span parent;  /* the message in it that ours follows; "" = a new chat */
    /* the current answer */
    bool whole; /* one frame, no stream */
    int status, retry_after_s;
    struct span content_type, location;
    bool unauthenticated; /* the failure is one that a new access token may mend */
    struct kimi_stream stream;
    struct {
        struct span upload_url, object, file_id; /* of the picture that is under way */
        enum kimi_ask next_of_picture;
        bool chat_made;
    } older;
};

void kimi_stream_free(struct kimi_stream *);
/* One envelope of the answer, with its flags. */
enum adapter_verdict kimi_stream_envelope(struct turn_run *, struct kimi *, const struct frame *);
/* One event of the older form. */
enum adapter_verdict kimi_stream_older_event(struct turn_run *, struct kimi *, struct span text);
enum adapter_verdict kimi_stream_end(struct turn_run *, struct kimi *, enum stream_end);
/* Did anything of the answer go out? */
bool kimi_stream_has_output(const struct kimi_stream *);

/* ---- tokens and what every request carries (kimi_token.c, §2, §4) ---- */

/* 0: session.value is there; 1: kimi_ask_refresh; -1 with run->fail. */
int kimi_find_token(struct turn_run *, struct kimi *);
enum adapter_step kimi_ask_refresh(struct turn_run *, struct kimi *, struct site_request *);
enum adapter_verdict kimi_take_refresh(struct turn_run *, struct kimi *, struct span body);
/* The access token was refused: true when another one is worth a try. */
bool kimi_renew(struct turn_run *, struct kimi *);
/* All of §4 but the content's type. `bearer` and `referer` may be empty: none, the origin + `/`. */
void kimi_add_headers(struct turn_run *, struct kimi *, struct site_request *, struct span bearer,
                      struct span referer);
/* Between two questions for the same there is a pause: true = wait now, and ask again. `at_once`:
 * this one needs none. Else the question is counted, and goes out. */
bool kimi_pauses(struct kimi *, struct site_request *, bool at_once);
/* A JSON body that was written into `body`, which is freed. `connect`: a unary call below /apiv2/.
 */
enum adapter_step kimi_send_json(struct turn_run *, struct kimi *, struct site_request *,
                                 struct buffer *body, bool connect);
/* For the model list: finds a token that is there without asking. */
bool kimi_token_at_hand(struct turn_run *, struct kimi *);

/* ---- failures (kimi_errors.c, §8): all fill run->fail and return -1 ---- */

/* An answer of HTTP that is no good; what the adapter knows of it is in `k`. */
int kimi_fail_answer(struct turn_run *, struct kimi *, struct span body);
/* An error inside the stream: of an event, an exception, an end envelope. */
int kimi_fail_event(struct turn_run *, struct kimi *, struct json error);
/* For models_refused. */
int kimi_fail_http(struct turn_run *, int status, struct span content_type, int retry_after_s,
                   struct span body);
/* Is there an error in it: an object that is not empty, or a text? */
bool kimi_is_error(struct json);

/* ---- the older form (kimi_rest.c, §10) ---- */
enum adapter_step kimi_rest_next(struct turn_run *, struct kimi *, struct site_request *);
enum adapter_verdict kimi_rest_answer(struct turn_run *, struct kimi *, struct span body);
enum adapter_step kimi_rest_cleanup(struct turn_run *, struct kimi *, struct site_request *);

#endif
