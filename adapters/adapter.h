/*
 * adapters/adapter.h - the contract between the engine and one kind of site.
 *
 * An adapter is a resumable, sans-IO translator. The engine asks it what to send (next), sends it
 * by whatever transport the site is configured with, cuts the answer into frames as the request
 * asked, and hands back head, whole frames and end; then it asks next again, until DONE or FAILED.
 * The adapter puts deltas into run->out as it understands them. It knows no socket, no clock, no
 * file; cancelling is simply never being called again (state lives in the exchange's arena).
 * Everything about retry, another account, cool-down and fallback is the engine's, from the kind in
 * run->fail alone.
 */
#ifndef DRAGOMAN_ADAPTERS_ADAPTER_H
#define DRAGOMAN_ADAPTERS_ADAPTER_H

#include "adapters/delta.h"
#include "adapters/site.h"
#include "adapters/turn.h"
#include "base/arena.h"
#include "base/buffer.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/json_shapes.h"
#include "base/json_template.h"
#include "sse/frame.h"

enum adapter_step {
    ADAPTER_SEND,
    ADAPTER_DONE,
    ADAPTER_FAILED,
    ADAPTER_WAIT /* only from next: nothing goes out; ask again after request.delay_ms */
};

/* What on_head, on_frame and on_end return. */
enum adapter_verdict {
    ADAPTER_GO_ON = 0,
    ADAPTER_COMPLETE =
        1, /* this step's answer is complete: what the body still holds does not matter */
    ADAPTER_FAIL = -1 /* run->fail says why */
};

enum stream_end {
    END_CLEAN, /* the body ended as HTTP says it should */
    END_CUT    /* reset, closed early, truncated TLS, broken coding */
};

enum capability {
    CAP_SYSTEM = 1 << 0, /* system messages as they are */
    CAP_IMAGE = 1 << 1,
    CAP_AUDIO = 1 << 2,
    CAP_FILE = 1 << 3,
    CAP_VIDEO = 1 << 4,
    CAP_TOOLS = 1 << 5, /* native */
    CAP_REASONING = 1 << 6,
    CAP_RESPONSE_FORMAT = 1 << 7,
    CAP_LOGPROBS = 1 << 8,
    CAP_N = 1 << 9, /* several choices in one request; else the gateway asks several times */
    CAP_SEARCH = 1 << 10,
    CAP_USAGE = 1 << 11, /* the site tells token counts */
    CAP_LOCAL = 1 << 12, /* answers by itself, without any request (demo): see `local` */
    CAP_STOP = 1 << 13,  /* heeds `stop` exactly; where it does not, the gateway cuts the text */
    CAP_MAX_TOKENS = 1 << 14, /* heeds max_tokens; where it does not, the gateway counts and cuts */
    CAP_RELAY = 1 << 15,      /* takes turns with a relay */
    CAP_CONVERSATION = 1 << 16, /* goes on in a conversation that the site holds: see
                                   turn_run.conversation */
    CAP_IMAGE_URL = 1 << 17 /* the site takes pictures by their http(s) URL; where it does not, the
                               gateway may fetch them */
};

enum { SITE_HEADERS_MAX = 24 };

struct header {
    struct span name, value;
};

/* Filled by next; everything must live in the run's arena or be static. Zeroed by the engine before
 * each call. */
struct site_request {
    const char *method; /* "GET", "POST" … */
    struct span origin; /* another one than the site's ("https://auth.site.example"), without the
                           site's prefix and its cookies; "" = the site's */
    struct span target; /* path and query, put behind the site's prefix */
    size_t n_headers;
    struct span body;     /* {NULL,0} = no body; gone once the answer comes, if apart (arena.h) */
    enum framing framing; /* of an expected answer; on_head may change it */
    bool credential_step; /* obtains a credential: only one exchange per account does it at a time;
                             the others wait and are asked `next` again. All of its answer has
                             to be there within first_byte_timeout */
    bool holds_account;   /* from cleanup: before it is answered the site would refuse the account's
                             next request, so nobody gets the account until then */
    bool secret_target;   /* the query holds a secret: the log shows only the path */
    int delay_ms;         /* with ADAPTER_WAIT */
    struct header headers[SITE_HEADERS_MAX]; /* without Host, Content-Length, Connection,
                                                Accept-Encoding, User-Agent: the engine's */
};

/* Empty, without writing all the room for headers. */
static inline void site_request_init(struct site_request *request)
{
    memset(request, 0, offsetof(struct site_request, headers));
}

struct site_head {
    int status;
    struct span reason; /* the status line's phrase, perhaps "" */
    const struct header *headers;
    size_t n_headers;
    struct span content_type; /* the value, "" = none */
    int retry_after_s;        /* Retry-After read by the engine (seconds or date), 0 = none */
};

/* First header of that name (case-insensitive), or {NULL,0}. */
struct span site_head_get(const struct site_head *, const char *name);
/* Does the content type's essence equal `mime` (case-insensitive, parameters ignored)? */
bool site_head_is(const struct site_head *, const char *mime);

struct turn_run {
    const struct turn *turn;
    const struct site_settings *site;
    struct site_account *account;
    struct span model; /* the site's side of the id: what stands behind `site/`, or in a target */
    struct span model_note; /* what the site's list said of it (struct model_entry); "" = nothing */
    void *state;            /* adapter->state_size zeroed bytes, fresh for each try */
    struct arena *arena;
    /* one document at a time; the engine does not use it between frames */
    struct json_parser *json;
    /* Work space within one call, likewise shared by all runs; NULL = the adapter takes its own. */
    struct buffer *scratch;
    const struct delta_sink *out;
    /* For frame_repeats and frame_learn (support.h): forgotten by the engine before each head. NULL
     * = every frame is parsed. */
    struct json_template *shape;
    /* What the site's frames mean that were seen before, whichever stream they were of: for
     * adapters that can say so of a frame by its bytes alone. Only within on_frame; NULL = nothing
     * is known and nothing kept. */
    struct json_shapes *shapes;
    /* What went wrong in the call at hand. The engine's, likewise shared by all runs: empty when
     * the call begins. */
    struct fail *fail;
    /* Set by the adapter with ADAPTER_COMPLETE: this was all, `next` would only say DONE. */
    bool over;
    /* Set by the adapter with a good answer that used the account up: it rests so long after it. */
    int rest_s;
    int64_t now_ms; /* wall clock (Unix, ms), refreshed before each call */
    void (*random)(void *owner, void *bytes, size_t n);
    void *random_owner;
    /* Where the site has what came before: the adapter's own text, as it gave it to
     * run_conversation in the turn before; the turn holds the new messages alone then, and they go
     * there. "" = all of the turn goes into a new one. A failure before any content that may mean
     * that the site does not know it any more is followed by a run with all of the turn. */
    struct span conversation;
    struct span conversation_end; /* of run_conversation */
    bool conversation_kept; /* the engine's: it will be gone on with, and is not to be removed by
                               cleanup; else one that was handed in is ours to remove, too */
    /* Counts something the adapter did not understand (its kind's name, never content); may be
     * NULL. */
    void (*drift)(void *owner, const char *kind);
    void *drift_owner;
    /* See run_keep and run_recall; both NULL where nothing is remembered. */
    void (*keep)(void *owner, struct span key, struct span value);
    struct span (*recall)(void *owner, struct span key); /* valid until the next keep */
    void *memory_owner;
    /* See upload_keep and upload_recall (support.h); both NULL where nothing is remembered. */
    void (*keep_upload)(void *owner, struct span key, struct span value, int64_t expires_ms);
    struct span (*recall_upload)(void *owner, struct span key); /* valid until the next call */
    void *uploads_owner;
};

void run_drift(struct turn_run *, const char *kind);
/* What the gateway remembers for an adapter from turn to turn: signatures that belong to a tool
 * call's id, a field that a model refuses. Bounded and in memory only, each site and client key
 * apart: live without what is gone. Copies; what does not fit is not kept. */
void run_keep(struct turn_run *, struct span key, struct span value);
/* {NULL,0} = not known (any more). Valid until the next run_keep: a history may ask for the same
 * again and again, and a copy for each would have no bound. */
struct span run_recall(struct turn_run *, struct span key);
/* With a good, whole answer: the conversation ends with it, and can be gone on with by this text of
 * the adapter's own (ids). Copies; without memory it is not gone on with. Nobody may ask for it:
 * then cleanup removes the conversation as ever. */
void run_conversation(struct turn_run *, struct span state);
/* Adds a header; asserts that there is room. */
void site_request_header(struct site_request *, struct span name, struct span value);

/* One entry of a site's model list. */
struct model_entry {
    struct span id;      /* public */
    struct span site_id; /* what the site calls it; "" = the same */
};
enum { MODELS_MORE = 1, MODEL_PAGES_MAX = 20 };
struct model_sink {
    int (*put)(void *owner, const struct model_entry *); /* copies */
    void *owner;
};

/* What the table of sites says of a capability instead of "yes": "with a token", "`-search`". */
struct capability_note {
    unsigned capability;
    const char *text; /* Markdown */
};

struct adapter {
    const char *name;   /* "zai" */
    const char *title;  /* for people: "Z.ai (chat.z.ai)" */
    const char *origin; /* default base_url; NULL = must be configured; "" = none (CAP_LOCAL) */
    const struct credential_field *credentials;
    /* The ways to sign in, for people: a credential's name, or several joined by `+`; ends with
     * NULL. NULL = each of the credentials is one. */
    const char *const *sign_in;
    const struct option_field *options;
    enum dialect dialect;  /* whose extras of a turn it understands (turn.h) */
    unsigned capabilities; /* of the adapter as a whole; models may have less: then `next` refuses
                              with FAIL_UNSUPPORTED */
    const struct capability_note *notes; /* for people; ends with capability == 0; NULL = none */
    bool offers_guest;                   /* accounts may say guest = true */
    bool needs_account;     /* false: without [[sites.accounts]] an anonymous account is used */
    bool keeps_cookies;     /* the gateway takes Set-Cookie into the account's jar and sends Cookie
                               (one header more: leave room) */
    int max_concurrent;     /* per account, 0 = unlimited */
    int cool_down_s;        /* rest after a limit that comes without a time; 0 = longer each time */
    bool is_done_with_turn; /* once content came, none of its functions looks at run->turn, nor at
                               texts of it: it is NULL then, and its memory may be gone */
    size_t state_size;

    /* Config check beyond types (optional): 0, or -1 with a sentence in fail (config error). */
    int (*check)(const struct site_settings *, struct fail *);
    /* The same for the credentials of one account (optional). They are never repeated. */
    int (*check_account)(const struct site_settings *, const struct credential *, size_t n,
                         struct fail *);
    /* The id without the suffixes that the adapter understands (-thinking …); NULL = as it is. */
    struct span (*base_model)(struct span id);
    /* The built-in list, ends with id.p == NULL; may be NULL. */
    const struct model_entry *models;
    /* Live list (optional): fill the request, then read the whole answer (status 200 checked by the
     * engine). 0 or -1; MODELS_MORE = the list goes on: models_request is asked again with the
     * same state, up to MODEL_PAGES_MAX times. */
    enum adapter_step (*models_request)(struct turn_run *, struct site_request *);
    int (*models_answer)(struct turn_run *, struct span body, const struct model_sink *);
    /* What the site said instead (another status, or no list): fills run->fail; NULL =
     * classify_http. */
    int (*models_refused)(struct turn_run *, int status, struct span content_type,
                          int retry_after_s, struct span body);
    bool models_need_credential; /* it tells them to nobody without a good one */
    int models_min_ttl_s;        /* the site should not be asked more often; 0 = as configured */

    enum adapter_step (*next)(struct turn_run *, struct site_request *);
    enum adapter_verdict (*on_head)(struct turn_run *, const struct site_head *,
                                    enum framing *framing);
    enum adapter_verdict (*on_frame)(struct turn_run *, const struct frame *);
    enum adapter_verdict (*on_end)(struct turn_run *, enum stream_end);
    /* After the turn, however it ended (answered, failed, cancelled): requests that tidy up, until
     * DONE. Their answers are read and forgotten. The client and its body may be gone: run->turn is
     * not to be looked at any more. Optional. */
    enum adapter_step (*cleanup)(struct turn_run *, struct site_request *);
    /* Frees what the run holds outside its arena; called exactly once, last. Optional. */
    void (*destroy)(struct turn_run *);
    /* CAP_LOCAL: put the next piece into run->out. DONE, FAILED, or SEND = ask again after
     * *delay_ms. */
    enum adapter_step (*local)(struct turn_run *, int *delay_ms);
};

extern const struct adapter adapter_anthropic, adapter_chatglm, adapter_claude_web, adapter_demo,
    adapter_gemini, adapter_kimi, adapter_openai, adapter_qwen, adapter_sophnet, adapter_zai;

/* How the engine asks an adapter: its own functions, but that what could not be read or kept for
 * want of memory is a failure of ours (memory), whatever the adapter took it for. */
enum adapter_step adapter_next(const struct adapter *, struct turn_run *, struct site_request *);
enum adapter_verdict adapter_head(const struct adapter *, struct turn_run *,
                                  const struct site_head *, enum framing *framing);
enum adapter_verdict adapter_frame(const struct adapter *, struct turn_run *, const struct frame *);
enum adapter_verdict adapter_end(const struct adapter *, struct turn_run *, enum stream_end);

/* adapters/registry.c: all adapters, ends with NULL; by name, NULL when there is none. */
extern const struct adapter *const adapters[];
const struct adapter *adapter_find(struct span name);

#endif
