/*
 * adapters/support.h - what several sites need, written once.
 *
 * Pure functions over bytes; results live in the arena that is handed in ({NULL,0} / NULL when
 * memory is short).
 */
#ifndef DRAGOMAN_ADAPTERS_SUPPORT_H
#define DRAGOMAN_ADAPTERS_SUPPORT_H

#include "adapters/adapter.h"

/* ---- ids and encodings (support_codec.c) ---- */
/* A version 4 UUID in lower case from run->random. */
struct span make_uuid(struct turn_run *);
/* Lower-case hex of HMAC-SHA256. */
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
/* When a JWT ends (`exp`), Unix ms; 0 when it is none or does not say. Nothing is verified. Takes
 * the parser: texts of its document are gone afterwards. */
int64_t jwt_expires_ms(struct turn_run *, struct span token);

/* Is it what a header can carry: visible ASCII, 1 to 8192 bytes? A token that a site gave and that
 * is not would be held, and fail every request until it ends. */
bool token_can_be_sent(struct span token);

/* One held token over one try: part of the adapter's state. It is renewed a minute before its end,
 * or when the site refuses it: at most once in a try. */
struct token_use {
    struct span value; /* what this try sends; in the arena. Empty: none yet */
    bool renewed;      /* this try has obtained one */
    bool refused;      /* this try was refused */
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

/* ---- prompts (support_prompt.c) ---- */
/* The text parts of a message, joined by LF (a single one is not copied). Tool calls and tool
 * results are written as text behind it, in the common form (docs/tools.md): nothing of the history
 * is lost. */
struct span message_text(struct arena *, const struct message *);
/* Where the client said it: "messages[2].content[1]"; of an earlier answer of the Responses API
 * "previous_response_id". For `param` of failures. */
enum { PART_PLACE_SIZE = 64 };
void part_place(const struct turn *, const struct message *, const struct part *,
                char place[PART_PLACE_SIZE]);
/* "system", "user", "assistant", "tool". */
struct span role_name(enum role);
/* The common flattening of turns [first, n) into one prompt: a single user turn is its text as it
 * is; otherwise each turn in its place as `role: text` on a line of its own; a prefill (last turn
 * assistant) ends the text. */
struct span flatten_messages(struct arena *, const struct message *, size_t n);

/* ---- multipart/form-data (support_multipart.c), RFC 7578 ---- */
struct multipart {
    struct buffer *out;
    struct span boundary;
};
/* One file field; then multipart_end; the Content-Type value comes from multipart_type. File names
 * are escaped as browsers do (%22, %0D, %0A). */
int multipart_file(struct multipart *, struct span field, struct span filename, struct span mime,
                   struct span bytes);
int multipart_end(struct multipart *);
struct span multipart_type(struct arena *, const struct multipart *);

/* ---- failures (support_classify.c) ---- */
/* json_text of a lenient parse may hold lone surrogates (WTF-8): each becomes U+FFFD, in place, in
 * the same three bytes. */
void mend_lone_surrogates(char *text, size_t n);
/* HTML by content type or by the first bytes of a body (`<!doctype`, `<html`, after white space and
 * BOM)? */
bool looks_like_html(struct span content_type, struct span body);
/* A site's own words on their way to a person: trimmed, one line, whole characters, cut to
 * `capacity` with its NUL, without the account's secrets; "" when they hold markup. */
void clean_message(const struct turn_run *, char *out, size_t capacity, struct span message);
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
