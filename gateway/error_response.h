/*
 * gateway/error_response.h - the one place where a failure becomes HTTP (design §6,
 * docs/errors.md).
 */
#ifndef DRAGOMAN_GATEWAY_ERROR_RESPONSE_H
#define DRAGOMAN_GATEWAY_ERROR_RESPONSE_H

#include "base/buffer.h"
#include "base/fail.h"

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
/* {"error":{…}}. */
void error_body(struct buffer *out, const struct fail *);
/* "Too Many Requests" …; never NULL. */
const char *http_reason(int status);

#endif
