/*
 * base/fail.h - what went wrong, as a value with a sentence for a person.
 *
 * Filled where the failure is understood, turned into HTTP in one file only
 * (gateway/error_response.c, the table of docs/errors.md). The message says what happened and what
 * to do, in one line, without secrets and without a site's HTML.
 */
#ifndef DRAGOMAN_BASE_FAIL_H
#define DRAGOMAN_BASE_FAIL_H

#include "base/span.h"

/* X(NAME, text): the text names the kind in logs and in test expectations. */
#define FAIL_KINDS(X)                                                                              \
    X(NONE, "none")                                                                                \
    /* found at the site: the classifier's kinds (adapters use these) */                           \
    X(BAD_REQUEST, "bad_request") /* the site found our request wrong */                           \
    X(UNSUPPORTED,                                                                                 \
      "unsupported")            /* neither the site has it nor can we give it; `param` names it */ \
    X(CREDENTIAL, "credential") /* the account's credential is refused or expired */               \
    X(RATE_LIMITED, "rate_limited")     /* the account has to rest; retry_after_s */               \
    X(CHALLENGE, "challenge")           /* the site wants a human */                               \
    X(UNAVAILABLE, "unavailable")       /* the site failed (5xx, in-band error) */                 \
    X(OVERLOADED, "overloaded")         /* the site says that it is overloaded */                  \
    X(CONTENT_FILTER, "content_filter") /* the site refused the content */                         \
    X(CONTEXT_LENGTH, "context_length") /* prompt too long */                                      \
    X(PROTOCOL, "protocol")             /* the answer made no sense */                             \
    X(EMPTY, "empty")                   /* ended with no text and no call */                       \
    X(CUT, "cut")                       /* broke off */                                            \
    /* found by the transport */                                                                   \
    X(UNREACHABLE, "unreachable") /* resolve, connect, proxy or TLS failed */                      \
    X(TIMEOUT, "timeout")         /* connect, first-byte or idle clock */                          \
    X(BRIDGE, "bridge")           /* no browser tab connected */                                   \
    /* found in front: the client's request */                                                     \
    X(INVALID_JSON, "invalid_json")                                                                \
    X(INVALID_VALUE, "invalid_value") /* `param` names the field */                                \
    X(TOO_LARGE, "too_large")                                                                      \
    X(MISSING_KEY, "missing_key")                                                                  \
    X(WRONG_KEY, "wrong_key")                                                                      \
    X(ACCESS_DENIED, "access_denied")                                                              \
    X(MODEL_DENIED, "model_denied")                                                                \
    X(MODEL_NOT_FOUND, "model_not_found")                                                          \
    X(PREVIOUS_RESPONSE, "previous_response") /* to go on from: not there */                       \
    X(RESPONSE_NOT_FOUND, "response_not_found")                                                    \
    X(UNKNOWN_URL, "unknown_url")                                                                  \
    X(METHOD, "method") /* `param` holds the Allow list */                                         \
    X(KEY_LIMIT, "key_limit")                                                                      \
    X(SERVER_BUSY, "server_busy") /* shutting down, over a limit of ours, queue full */            \
    X(MEMORY, "memory")           /* we are short of it, for the moment */                         \
    X(INTERNAL, "internal")       /* ours, not theirs */

enum fail_kind {
#define X(name, text) FAIL_##name,
    FAIL_KINDS(X)
#undef X
        FAIL_KIND_COUNT
};

struct fail {
    enum fail_kind kind;
    int retry_after_s;   /* 0 = not known */
    bool final;          /* the site says that asking it again cannot help */
    int upstream_status; /* the site's HTTP status where there was one, else 0; for the log */
    char param[96];      /* the request's field, "" = none */
    char message[240];   /* cut at a character's boundary */
};

/* Fills kind and message (printf); leaves the rest zero. Always returns -1, so that `return
 * fail_set(…)` reads well. */
int fail_set(struct fail *f, enum fail_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with the request's field that is at fault. */
int fail_param(struct fail *f, enum fail_kind kind, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* More of the sentence, at its end: where there is no room, what was said before gives way. */
void fail_add(struct fail *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Out of memory, in one place. */
int fail_memory(struct fail *f);
void fail_clear(struct fail *f);
const char *fail_kind_name(enum fail_kind kind);

#endif
