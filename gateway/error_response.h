/*
 * gateway/error_response.h - the one place where a failure becomes HTTP (design §6,
 * docs/errors.md).
 */
#ifndef DRAGOMAN_GATEWAY_ERROR_RESPONSE_H
#define DRAGOMAN_GATEWAY_ERROR_RESPONSE_H

#include "adapters/turn.h"
#include "base/buffer.h"
#include "base/fail.h"

enum { ERROR_OBJECT_MAX = 16 * 1024 };

struct error_row {
    int status;
    const char *type, *code;
    bool should_not_retry; /* x-should-retry: false */
    /* Some clients show nothing but the status line's phrase (H8): where the standard one says too
     * little, a longer one that begins with it; else NULL. */
    const char *reason;
};

/* Never NULL fields. */
const struct error_row *error_row(enum fail_kind);
/* {"message","type","param","code"}: the value of the key `error`. */
void error_object(struct buffer *out, const struct fail *);
/* What is known of a failure's answer besides the failure; both may be "". */
struct error_context {
    struct span request_id; /* for dialects whose errors name it */
    struct span partial;    /* JSON: what came of an answer before it failed (dragoman_partial) */
};
/* The whole body: {"error":{…}}; in Anthropic's dialect {"type":"error","error":{"type","message"},
 * "request_id"}, in Google's {"error":{"code","message","status"}} (clients.md §2.8,
 * sites/passthrough.md §2). */
void error_body(struct buffer *out, enum dialect, const struct fail *,
                const struct error_context *);
/* The row's, but for 529 where Anthropic's clients know it. */
int error_status(enum dialect, enum fail_kind);
/* What is said where there was no memory for what had to be said: `body` itself, unless it met an
 * error; then a text that needs none, and *status becomes 503. */
struct span error_last_words(const struct buffer *body, int *status);
/* "Too Many Requests" …; never NULL. */
const char *http_reason(int status);

#endif
