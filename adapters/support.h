/*
 * adapters/support.h - what several sites need, written once.
 *
 * Pure functions over bytes; results live in the arena that is handed in ({NULL,0} / NULL when
 * memory is short).
 */
#ifndef DRAGOMAN_ADAPTERS_SUPPORT_H
#define DRAGOMAN_ADAPTERS_SUPPORT_H

#include "adapters/adapter.h"

/* ---- frames like the one before (support_repeat.c) ---- */
/* Most frames of a stream are the one before with another text in it. An adapter may take such a
 * frame without parsing it (base/json_template.h):
 *
 *  1. on_frame of a stream asks frame_repeats first, for every frame. True: the frame is the one
 * that was learned but for `like->string`; the adapter does with it what the parsed one's text
 * would have met, as `like->meaning` says, and is done.
 *  2. Else it reads the frame as ever, and calls frame_learn at the end when, and only when,
 * nothing of what it did would come out otherwise with another text there, also an empty one, or
 * when it is done again: no state but such as is the same afterwards, no drift, no other delta.
 *
 * Between the two no frame was of another shape, so what the others left behind is as it was. */
bool frame_repeats(struct turn_run *, const struct frame *, struct json_like *like);
/* As json_template_learn. */
void frame_learn(struct turn_run *, const struct frame *, const char *const *path,
                 const char *const *ignored, int meaning);

/* ---- ids and encodings (support_codec.c) ---- */
/* A version 4 UUID in lower case from run->random. */
struct span make_uuid(struct turn_run *);
/* 32 lower-case hex digits from run->random. */
struct span make_hex_id(struct turn_run *);
/* What may stand in a path: letters, digits, `-` and `_`, 1 to PATH_ID_MAX of them. An id of the
 * site that is anything else could make a path of another meaning (`.`, nothing at all). */
enum { PATH_ID_MAX = 128 };
bool is_path_id(struct span);
/* For a function whose name a site does not take: the first hundred characters of it, `_` for each
 * that `takes` refuses, another `_` before them where `begins` (NULL = takes) refuses the first,
 * and a hash of the whole, so that different names stay different. It depends on the name alone:
 * calls of former turns fit without anything remembered. At most 109 bytes. */
struct span make_legal_name(struct arena *, struct span name, bool (*takes)(char),
                            bool (*begins)(char));
struct span hex_encode(struct arena *, struct span bytes);
/* Digests as lower-case hex; hmac_sha256 as 32 bytes, for signatures made of several. MD5 only
 * because sites sign with it. */
struct span md5_hex(struct arena *, struct span data);
struct span sha256_hex(struct arena *, struct span data);
struct span hmac_sha256(struct arena *, struct span key, struct span data);
struct span hmac_sha256_hex(struct arena *, struct span key, struct span data);
struct span base64_encode(struct arena *, struct span in);
/* Standard or URL alphabet, with or without padding, white space ignored; {NULL,0} when it is no
 * base64. */
struct span base64_decode(struct arena *, struct span in);
/* The JSON text of a JWT's payload, or {NULL,0} when the token is not a JWT. Nothing is verified.
 */
struct span jwt_payload(struct arena *, struct span token);
/* Percent-encodes everything but RFC 3986 unreserved characters. */
int percent_encode(struct buffer *out, struct span text);
/* "YYYY-MM-DD hh:mm:ss" etc. of a Unix time in UTC; `format` as strftime. */
struct span format_utc(struct arena *, int64_t unix_ms, const char *format)
    __attribute__((format(strftime, 3, 0)));

/* ---- tokens that end (support_token.c) ---- */
enum { REFRESH_MARGIN_MS = 60 * 1000 };
/* What a JWT says, or {NULL,0} when the token is none. Nothing is verified. Takes the parser: the
 * document before is gone. */
struct json jwt_claims(struct turn_run *, struct span token);
/* When a JWT ends (`exp`), Unix ms; 0 when it is none or does not say. Nothing is verified. Takes
 * the parser: texts of its document are gone afterwards. */
int64_t jwt_expires_ms(struct turn_run *, struct span token);

/* Is it what a header can carry: visible ASCII, 1 to 8192 bytes? A token that a site gave and that
 * is not would be held, and fail every request until it ends. */
bool token_can_be_sent(struct span token);
/* The account's configured credential of that name cannot: FAIL_CREDENTIAL, -1. */
int fail_unfit_token(struct turn_run *, const char *name);

/* One held token over one try: part of the adapter's state. It is renewed a while before its end,
 * or when the site refuses it: at most once in a try. */
struct token_use {
    struct span value; /* what this try sends; in the arena. Empty: none yet */
    bool renewed;      /* this try has obtained one */
    bool refused;      /* this try was refused */
    int64_t margin_ms; /* renewed so long before its end; 0 = REFRESH_MARGIN_MS */
};
/* In `next`, whenever the token is needed. 0: `value` is there; 1: ask the site for one, as a
 * credential_step (when another exchange is at it, `next` is asked again after it: come here
 * again); -1 with run->fail. */
int token_use_next(struct turn_run *, struct token_use *, const char *held);
/* The site gave one: it is held, and written down before anything else goes out. `expires_ms` 0 =
 * what the token itself says, if it is a JWT. 0, or -1 with run->fail, also for one that cannot be
 * sent. */
int token_use_obtained(struct turn_run *, struct token_use *, const char *held, struct span value,
                       int64_t expires_ms);
/* The site refused it. True: begin again, another one is worth a try; false: fail with
 * FAIL_CREDENTIAL. Nobody is sent the refused one again. */
bool token_use_refused(struct turn_run *, struct token_use *, const char *held);

/* ---- calls of tools as text (support_tools.c) ---- */
/* The one written form of calls and results (docs/tools.md), in histories here and in prompts of
 * gateway/tool_emulation.h:
 *   <tool_call>{"name": "get", "arguments": {"q":"x"}, "id": "c1"}</tool_call>
 *   <tool_result id="c1" name="get">text</tool_result>
 * What stands inside cannot end the mark, nor begin another one. Arguments that are no JSON object
 * are told as a string; ids and names that are "" are left out, but for a call's name. */
void tool_text_call(struct buffer *out, const struct tool_call *);
void tool_text_begin_result(struct buffer *out, struct span id, struct span name, bool is_error);
/* Text of a result, and a JSON value, in which no mark is left: `<` of one is written as `&lt;`,
 * and as `\u003c` (it stands in strings only). */
void tool_text_inner(struct buffer *out, struct span text);
void tool_text_json(struct buffer *out, struct span json);
void tool_text_end_result(struct buffer *out);

/* ---- prompts (support_prompt.c) ---- */
/* The text parts of a message, joined by LF (a single one is not copied). Tool calls and tool
 * results are written as text behind it, in the common form (docs/tools.md): nothing of the history
 * is lost. */
struct span message_text(struct arena *, const struct message *);
/* Where the client said it, for `param` of failures: "messages[2].content[1]", or of a message as a
 * whole "messages[2]" and `.behind`. The Responses API has a list of items in place of messages:
 * there it is "input[2]"; what it took from an earlier answer is "previous_response_id".
 * Anthropic's API has its "system" before the list. */
enum { PART_PLACE_SIZE = 96 };
void part_place(const struct turn *, const struct message *, const struct part *,
                char place[PART_PLACE_SIZE]);
void message_place(const struct turn *, const struct message *, const char *behind,
                   char place[PART_PLACE_SIZE]);
/* "system", "user", "assistant", "tool". */
struct span role_name(enum role);
/* The arguments of a message's `k`th call, for sites that take an object only; "{}" for none. A
 * span of the call's own. 0, or -1 with INVALID_VALUE, whose param names them. Uses the parser. */
int call_arguments(struct turn_run *, const struct message *, size_t k, struct span *arguments);
/* How a site's prompt marks its turns. A turn is: head of its role, ` (name)` where it has one,
 * tail, text. A tool's result stands in the common form (docs/tools.md), whatever the marks. */
struct prompt_marks {
    struct span head[ROLE_TOOL + 1]; /* by enum role */
    struct span tail;                /* behind head and name: ": " */
    struct span between;             /* two turns */
    struct span joined;   /* between neighbours of the same head and no name, which are then one
                             turn; p == NULL: each is a turn of its own */
    struct span answer;   /* ends the prompt, where the last turn is not the assistant's own
                             beginning; with what must stand before it. May be "" */
    bool bare_opening;    /* system turns before all others stand without a mark */
    bool number_pictures; /* where a picture stood, `[image 1]`, `[image 2]` … on a line */
};
/* One prompt of the whole conversation. A single user turn without a name is its text as it is;
 * otherwise every turn in its place, nothing lost; a prefill (last turn assistant) stands open at
 * the end. */
struct span flatten_with(struct arena *, const struct prompt_marks *, const struct message *,
                         size_t n);
/* flatten_with `role: text`, each turn on a line of its own. */
struct span flatten_messages(struct arena *, const struct message *, size_t n);

/* ---- conversations that are gone on with (support_conversation.c) ---- */
/* run_conversation by the site's ids for it: the conversation, its last answer, and what else the
 * adapter needs. Where one is no path id nothing is told. */
void tell_conversation(struct turn_run *, const struct span *ids, size_t n);
/* In the first `next`: the `n` ids that tell_conversation told, spans of run->conversation. 1; 0:
 * the turn goes into a new conversation; -1 with run->fail: of another form, as another version
 * wrote it down (the whole history is asked for by that). */
int read_conversation(struct turn_run *, const char *host, struct span *ids, size_t n);
/* Before any content: the site says that it answers in `told`, where we went on in `held` ("" = in
 * none). 0, or -1 with run->fail when it is another one, whose answer knows nothing of what came
 * before. */
int check_conversation(struct turn_run *, const char *host, struct span held, struct span told);

/* ---- wishes for reasoning (support_reasoning.c, docs/reasoning.md) ---- */
enum effort {
    EFFORT_OPEN, /* nothing was said: the site's own */
    EFFORT_NONE,
    EFFORT_MINIMAL,
    EFFORT_LOW,
    EFFORT_MEDIUM,
    EFFORT_HIGH,
    EFFORT_XHIGH,
    EFFORT_MAX
};
/* OPEN for a word that is none of them; upper or lower case. */
enum effort effort_named(struct span word);
/* For sites that take words: below 1024 tokens minimal, 4096 low, 16384 medium, else high. OPEN for
 * none (0). */
enum effort effort_of_budget(int64_t tokens);

/* ---- model ids with wishes behind them (support_model.c) ---- */
/* What is wanted of the model: by its id's suffixes, which win, and by the turn. */
struct model_wish {
    struct span id;                /* without suffixes */
    enum reasoning_wish reasoning; /* `-thinking`, `-nothinking`; of several the last of the id
                                      counts; without one what the client asks for */
    enum effort effort;            /* for sites that take words: the client's, else by its budget.
                                      With OFF: NONE, or MINIMAL where the client said so */
    int64_t budget;                /* for sites that take tokens, first of all; 0 = none. With ON
                                      alone */
    bool search;                   /* `-search` */
};
struct model_wish read_model_wish(const struct turn_run *);
/* For adapter->base_model. */
struct span base_model_id(struct span id);
/* The same for APIs, which serve models of all kinds: only `-thinking` and `-nothinking`, and only
 * behind ids that begin with `family` ("claude-"), whose own ids never end so. Others' do
 * ("kimi-k2-thinking"). */
struct model_wish read_family_wish(const struct turn_run *, struct span id, struct span family);
struct span family_model_id(struct span id, struct span family);

/* ---- requests (support_request.c) ---- */
/* ADAPTER_FAILED with run->fail. */
enum adapter_step step_out_of_memory(struct turn_run *);
/* ADAPTER_SEND, unless memory ran out while target or headers were written: nothing half goes out.
 */
enum adapter_step request_ready(struct turn_run *, const struct site_request *);
/* Takes the body out of `body`, which is dropped. False without memory (or above its limit). */
bool request_body(struct turn_run *, struct site_request *, struct buffer *body);
/* Where a body is written that has its turn's size, about: run->scratch (nobody else writes there
 * meanwhile) for a small turn, else `own`, with that limit. Empty; taken by request_body, or
 * dropped. */
struct buffer *request_body_begin(struct turn_run *, struct buffer *own, size_t limit);
void request_body_drop(struct turn_run *, struct buffer *body);
/* Header `Authorization: Bearer …`. */
void request_bearer(struct turn_run *, struct site_request *, struct span token);

/* An address that a site gave, cut for site_request: spans of it. */
struct https_url {
    struct span origin;     /* "https://host" or "https://host:port" */
    struct span host, port; /* port "" = 443 */
    struct span path;       /* without the query: "/…" */
    struct span query;      /* without its `?`; "" = none */
};
/* False for other schemes, user names, hosts that are no names (letters, digits, `-` and `.`), and
 * whatever is not visible ASCII. A `#` and what follows is left out. */
bool read_https_url(struct span url, struct https_url *);

/* ---- what is in a part (support_parts.c) ---- */
/* The type of a picture, read off its first bytes (64 are enough): png, jpeg, gif, webp, bmp, avif,
 * heic, heif; "" for anything else. Static. */
struct span picture_type_of(struct span bytes);
/* "type/subtype" of letters, digits, `-`, `+` and `.`: may become a header, and the ending of a
 * name. */
bool is_media_type(struct span);
/* Are its bytes with us: as base64, or fetched from its URL? */
bool part_has_data(const struct part *);
/* The bytes, decoded at most once in an exchange. {NULL,0}: there are none, they are no base64, or
 * memory is short. */
struct span part_bytes(struct turn_run *, const struct part *);
/* The same as base64: the client's own, or of what was fetched. {NULL,0} likewise. */
struct span part_base64(struct turn_run *, const struct part *);
/* SHA-256 of `bytes`, which are the part's; made once in an exchange. {NULL,0} without memory. */
enum { PART_DIGEST = 32 };
struct span part_digest(struct turn_run *, const struct part *, struct span bytes);
/* What a picture is: by its first bytes, else what the client calls it if that is a picture's type,
 * else "". */
struct span part_picture_type(struct turn_run *, const struct part *);
/* What a document is: what the client calls it; where it has no name for it, by its first bytes. */
struct span part_document_type(struct turn_run *, const struct part *);

/* ---- pictures that are uploaded before the chat (support_pictures.c) ---- */
struct picture {
    const struct message *message;
    const struct part *part;
    struct span mime;       /* "image/png": safe in a header */
    struct span bytes;      /* decoded */
    struct span filename;   /* "image-1.png": ours; the adapter may put the site's own here */
    struct span id, answer; /* the adapter's: what the site said of the upload */
};
struct pictures {
    struct picture *list;
    size_t n;
    size_t uploaded; /* the adapter's */
};
/* All pictures of the turn, in order. 0, or -1 with run->fail (bad_request or unsupported with the
 * part's place) for one that is no data: URL, no picture or no base64. `host` names the site in
 * the sentence. */
int collect_pictures(struct turn_run *, const char *host, struct pictures *);
/* The same with the turn's documents among them; one that is neither data nor text is refused. */
int collect_uploads(struct turn_run *, const char *host, struct pictures *);
/* The same without the pictures of messages before `since`, whatever they are. */
int collect_uploads_since(struct turn_run *, const char *host, size_t since, struct pictures *);
/* What the account's site still has of earlier turns (docs/pictures.md): known by the SHA-256 of
 * the content, for this account alone. `way` names how it got there, where a site has several.
 * upload_recall: true when the site has it: id, answer and filename are those that upload_keep was
 * given. upload_keep: it can be used in other conversations of the account, for `keep_ms` more.
 * A turn that fails before its first content, as if the site had forgotten one of them, is run once
 * more without any that is recalled. */
bool upload_recall(struct turn_run *, const struct pictures *, struct picture *, const char *way);
void upload_keep(struct turn_run *, const struct pictures *, const struct picture *,
                 const char *way, int64_t keep_ms);
/* The next one that has to be uploaded; those that are recalled count as uploaded. NULL = none is
 * left. */
struct picture *next_upload(struct turn_run *, struct pictures *, const char *way);
#define UPLOAD_KEEP_MS (INT64_C(24) * 3600 * 1000)
/* Refuses a picture for the adapter's own reason: -1. */
int refuse_picture(struct turn_run *, const struct picture *, const char *why);

/* ---- texts that come whole again and again (support_growing.c) ---- */
/* What was sent of one text. The caller decides what an edit means: most sites' dossiers say
 * "nothing, and count it as drift"; some begin anew (growing_restart). */
struct growing {
    struct buffer sent;
};
enum growth {
    GROWTH_MORE,   /* it goes on: *fresh is what is new */
    GROWTH_SAME,   /* the same again */
    GROWTH_SHRUNK, /* a beginning of what was sent */
    GROWTH_EDITED  /* it does not begin with what was sent */
};
void growing_init(struct growing *, size_t limit);
void growing_free(struct growing *);
/* `whole` is the text so far. With GROWTH_MORE `*fresh` is the part of `whole` that is new, and
 * counts as sent; else it is "" and nothing changes. Costs a comparison of what was sent. */
enum growth growing_whole(struct growing *, struct span whole, struct span *fresh);
/* A piece that came by itself was sent. Surrogates that meet become one character, as they are in
 * the whole text. */
void growing_append(struct growing *, struct span piece);
/* From now on `whole` is what was sent. */
void growing_restart(struct growing *, struct span whole);
/* The text before its first U+FFFD: where a site cuts characters in two, what is behind will come
 * again. */
struct span before_torn(struct span text);
/* How many characters (Unicode code points) valid UTF-8 has. */
int64_t utf8_characters(struct span text);

/* ---- sources, and the marks that stand for them (support_citations.c) ---- */
enum { SOURCES_MAX = 500, SOURCE_BYTES_MAX = 4096 };
struct source {
    struct span key; /* what marks call it; "" = marks cannot name it */
    struct span title, url;
    int number; /* 1, 2 … in order of first use by a mark; 0 = not used */
};
struct sources {
    struct source *list; /* in the arena */
    size_t n, capacity;
    int used;
};
/* Copies. True: it is new. A key that is known already, or without a key an url that is, adds
 * nothing; nor does an empty or huge url, or one more than SOURCES_MAX. */
bool sources_add(struct arena *, struct sources *, struct span key, struct span title,
                 struct span url);
/* The annotations, once, at the end: sources in order of their numbers, then those without a key in
 * order of appearance; each url once. 0 or the sink's answer. */
int sources_cite(const struct sources *, const struct delta_sink *);

/* An address inside a Markdown link: blanks and `)` would end it, and are percent-encoded. */
void markdown_url(struct buffer *out, struct span url);
/* A picture on a line of its own: `![](url)` and LF. */
void markdown_picture(struct buffer *out, struct span url);

/* Text with marks 【turn<digits><letters><digits>】, cut anywhere. */
struct mark_filter {
    struct buffer held;   /* a suffix that could begin a mark */
    struct buffer joined; /* work space */
};
void mark_filter_init(struct mark_filter *, size_t limit);
void mark_filter_free(struct mark_filter *);
/* Appends to `out`. A mark of a known key becomes ` [n](url)`; unknown ones vanish; all of them
 * where `sources` is NULL. Anything else in 【】 stays. */
void mark_filter_feed(struct mark_filter *, struct sources *, struct span text, struct buffer *out);
/* Would it put out just this text, and hold nothing? Then it need not be fed. */
bool mark_filter_passes(const struct mark_filter *, struct span text);
/* What is held is text after all. */
void mark_filter_flush(struct mark_filter *, struct buffer *out);

/* ---- multipart/form-data (support_multipart.c), RFC 7578 ---- */
struct multipart {
    struct buffer *out;
    struct span boundary;
};
/* One file field; then multipart_end; the Content-Type value comes from multipart_type. File names
 * are escaped as browsers do (%22, %0D, %0A). */
int multipart_file(struct multipart *, struct span field, struct span filename, struct span mime,
                   struct span bytes);
/* A plain field. */
int multipart_field(struct multipart *, struct span field, struct span value);
int multipart_end(struct multipart *);
struct span multipart_type(struct arena *, const struct multipart *);
/* The end: a POST of the form, whose answer is read whole. Its buffer is freed. False without
 * memory. */
bool multipart_post(struct turn_run *, struct site_request *, struct multipart *);

/* ---- answers told in blocks (support_blocks.c): Anthropic's API, and its web app ---- */
enum message_event_kind {
    EVENT_OTHER, /* see its name */
    EVENT_MESSAGE_START,
    EVENT_BLOCK_START,
    EVENT_BLOCK_DELTA,
    EVENT_BLOCK_STOP,
    EVENT_MESSAGE_DELTA,
    EVENT_MESSAGE_STOP,
    EVENT_ERROR,
    EVENT_PING
};
struct message_event {
    enum message_event_kind kind;
    struct span name;  /* "content_block_delta"; "" = it has none */
    int64_t index;     /* the block's; 0 where it does not say */
    struct json root;  /* the whole event … */
    struct json inner; /* … and what it is about: its content_block, delta, message or error */
};
/* Takes the parser. The name is the data's `type`, or without one the frame's. False: there is
 * nothing in it, or no JSON object, which is counted as drift. */
bool message_event_read(struct turn_run *, const struct frame *, struct message_event *);

enum block_kind {
    BLOCK_NONE,
    BLOCK_TEXT,
    BLOCK_THINKING,
    BLOCK_TOOL,
    BLOCK_RESULT, /* "tool_result": what a tool of the site's found */
    BLOCK_OTHER
};
enum { BLOCKS_OPEN_MAX = 16 };
/* A block of the answer that is being read. */
struct block {
    enum block_kind kind;
    int64_t index;      /* the site's */
    int call;           /* TOOL: the adapter's number for it */
    bool pieces;        /* something of its own came … */
    struct span beside; /* … and where nothing did, this is it at the block's end; in the arena */
    size_t beside_room; /* bytes there, for more */
};
struct blocks {
    struct block open[BLOCKS_OPEN_MAX];
};
/* NULL: none that is open. */
struct block *block_find(struct blocks *, int64_t index);
/* Who has an open one of that index ends it before (kind = BLOCK_NONE). NULL: too many are open,
 * which is counted as drift. */
struct block *block_open(struct turn_run *, struct blocks *, int64_t index, struct span type);

/* What a stop_reason is in OpenAI's words. */
struct stop_row {
    struct span said, reason;
};
/* The row's reason; "stop" where nothing is said, and for what is not known, which is counted as
 * drift. */
struct span stop_reason_of(struct turn_run *, const struct stop_row *, size_t n, struct span said);

/* ---- failures (support_classify.c) ---- */

/* How sentences of ours speak of the transport that this version does not have yet: behind what
 * works today. */
#define BRIDGE_LATER "in a later version: transport = \"bridge\""
/* json_text of a lenient parse may hold lone surrogates (WTF-8): each becomes U+FFFD, in place, in
 * the same three bytes. */
void mend_lone_surrogates(char *text, size_t n);
/* HTML by content type or by the first bytes of a body (`<!doctype`, `<html`, after white space and
 * BOM)? */
bool looks_like_html(struct span content_type, struct span body);
/* A site's own words on their way to a person: trimmed, one line, whole characters, cut to
 * `capacity` with its NUL, without the account's secrets; "" when they hold markup. */
void clean_message(const struct turn_run *, char *out, size_t capacity, struct span message);
/* The answer ended before its end was told (CUT), or was told without anything in it (EMPTY). They
 * fill run->fail and return -1. */
int fail_broke_off(struct turn_run *);
int fail_said_nothing(struct turn_run *);
/* A buffer for the answer is full (PROTOCOL), or memory is short. */
int fail_too_long(struct turn_run *, enum buffer_error);
/* The generic reading of an HTTP failure for API-like sites: 401 credential, 403 credential, 402
 * credential (quota), 404/405/409/413/415/422/400 bad_request (context_length and content_filter by
 * code or wording), 429 rate_limited, 503/529 overloaded, other 5xx unavailable; HTML with a status
 * below 500 challenge, else unavailable. Takes the message out of
 * {"error":{"message","code","type"}}, {"error":"…"}, {"detail":"…"} or {"message":"…"}; never
 * passes HTML on. */
int classify_http(struct turn_run *, int status, struct span content_type, int retry_after_s,
                  struct span body);
/* The same for an error object inside a stream: {"message","code","type"}; numeric codes are read
 * as statuses. */
int classify_error_object(struct turn_run *, struct json error);

#endif
