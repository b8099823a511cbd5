/*
 * adapters/claude_web.h - what the files of the claude_web adapter share
 * (docs/sites/claude_web.md).
 *
 * claude_web.c is who we are and what happens when; claude_web_model.c which models there are;
 * claude_web_body.c makes the requests of a turn; claude_web_stream.c reads the answer;
 * claude_web_errors.c says what failures mean.
 */
#ifndef DRAGOMAN_ADAPTERS_CLAUDE_WEB_H
#define DRAGOMAN_ADAPTERS_CLAUDE_WEB_H

#include "adapters/support.h"

enum claude_web_at {
    CLAUDE_WEB_BEGIN,
    CLAUDE_WEB_ORGANIZATION, /* once per account */
    CLAUDE_WEB_CREATE,
    CLAUDE_WEB_UPLOAD,
    CLAUDE_WEB_CHAT,
    CLAUDE_WEB_OVER
};

enum { CLAUDE_WEB_BODY_LIMIT = 256 * 1024 * 1024, CLAUDE_WEB_TRIES = 2 };

/* A citation that began and has not ended. */
struct claude_web_citation {
    struct claude_web_citation *next; /* begun before */
    struct span uuid, url, title;
    int64_t start; /* characters of the text before it */
};

struct claude_web_stream {
    struct blocks blocks;
    bool any_event, text, thought; /* came */
    bool ended;                    /* the site says that it is over */
    struct span answer;            /* what the site calls it; "" = not told */
    int64_t characters;            /* of the text so far */
    bool half;                     /* … which ends in the first half of a surrogate pair */
    struct claude_web_citation *open;
    size_t citations; /* begun */
    struct span stop_reason;
    bool exceeded; /* the account's limit is reached; */
    int rest_s;    /* for so long */
};

struct claude_web {
    enum claude_web_at at;
    struct span model, thinking_mode; /* the site's words */
    enum effort effort;
    bool thinking, search, wiggle;
    struct span organization;
    struct pictures uploads; /* texts among them are not uploaded: is_text */

    /* The conversation. Not temporary: it stays at the site, until we delete it. */
    struct span conversation;
    struct span parent; /* the answer in it that our message follows; "" = a new conversation */
    bool temporary;     /* the site made it so */
    bool lasting;       /* do not ask for a temporary one: the site has refused that */
    struct span lasting_ones[CLAUDE_WEB_TRIES]; /* to be deleted afterwards */
    size_t n_lasting;
    bool made_another; /* the first one was lost at the site */
    bool waited;       /* the site was busy with another answer of the conversation; */
    int64_t wait_until_ms;
    bool asked, stop_told; /* an answer was asked for, and not refused; it was told to end */

    /* the last answer's head */
    int status, retry_after_s;
    int64_t reset_s; /* Unix seconds, 0 = not told */
    bool whole, challenge;
    struct span content_type;

    struct claude_web_stream stream;
};

/* ---- models (claude_web_model.c, §3) ---- */

extern const struct model_entry claude_web_models[];
/* What the client wants of which model. 0, or -1 with run->fail for what the model cannot do. */
int claude_web_choose_model(struct turn_run *, struct claude_web *);
/* Those of the organization in a bootstrap answer. 0, or -1 when there is no such list. */
int claude_web_put_models(struct turn_run *, struct span organization, struct json root,
                          const struct model_sink *);

/* ---- the requests of a turn (claude_web_body.c, §4) ---- */

/* Adds what every request carries, and says SEND. */
enum adapter_step claude_web_send(struct turn_run *, struct site_request *);
enum adapter_step claude_web_post_json(struct turn_run *, struct site_request *,
                                       struct buffer *body);
/* Pictures and documents of the turn. 0, or -1 with run->fail. */
int claude_web_collect(struct turn_run *, struct claude_web *);
/* The next that must be uploaded, or NULL: texts travel inside the message. */
struct picture *claude_web_next_upload(struct claude_web *);
enum adapter_step claude_web_create(struct turn_run *, struct claude_web *, struct site_request *);
/* The next turn can go on behind the answer that was read. */
void claude_web_tell_conversation(struct turn_run *, const struct claude_web *);
/* Where the turn before told so: 1, and no conversation is to be created; 0; -1 with run->fail. */
int claude_web_go_on(struct turn_run *, struct claude_web *);
enum adapter_step claude_web_upload(struct turn_run *, struct claude_web *, struct site_request *);
enum adapter_step claude_web_chat(struct turn_run *, struct claude_web *, struct site_request *);

/* ---- the answer (claude_web_stream.c, §5) ---- */

enum adapter_verdict claude_web_read_frame(struct turn_run *, struct claude_web *,
                                           const struct frame *);
/* The body ended before the answer did. */
enum adapter_verdict claude_web_stream_end(struct turn_run *, struct claude_web *, enum stream_end);

/* ---- failures (claude_web_errors.c, §7): they fill run->fail ---- */

/* How long the account rests, seconds, when a message_limit says that it is exceeded. */
int claude_web_rest_of(struct turn_run *, struct json limit);
/* The account's limit, told inside a good answer. */
enum adapter_verdict claude_web_limited(struct turn_run *, int rest_s);
/* A status, a web page or a redirect that is no answer. */
enum adapter_verdict claude_web_refused(struct turn_run *, struct claude_web *, struct span body);
enum adapter_verdict claude_web_redirected(struct turn_run *, int status, struct span location);
/* {"type","message"} inside an answer that began well. */
enum adapter_verdict claude_web_error(struct turn_run *, struct json error);
enum adapter_verdict claude_web_no_organization(struct turn_run *);

#endif
