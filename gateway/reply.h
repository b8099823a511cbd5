/*
 * gateway/reply.h - headers that every answer carries (CORS, x-request-id) and answers that are
 * made in one go.
 */
#ifndef DRAGOMAN_GATEWAY_REPLY_H
#define DRAGOMAN_GATEWAY_REPLY_H

#include "adapters/turn.h"
#include "gateway/http_server.h"

enum { REPLY_HEADERS_MAX = 24, REQUEST_ID_SIZE = 28 };

struct reply_headers {
    struct header list[REPLY_HEADERS_MAX];
    size_t n;
    bool allows_origin; /* scripts of the asking page may read the answer */
    char number[16];    /* Retry-After */
};

/* "req_" and 22 random letters. */
void request_id_make(char id[REQUEST_ID_SIZE]);
/* x-request-id (for Anthropic's clients also request-id) and CORS. The spans live as long as `id`
 * and the exchange. */
void reply_headers_common(struct reply_headers *, const struct http_exchange *, const char *id,
                          enum dialect);
void reply_header(struct reply_headers *, const char *name, struct span value);
/* Lines that are ready to go: our own words, which do not change ("A: b\r\nC: d\r\n"). */
void reply_lines(struct reply_headers *, struct span lines);
/* Is it the line of reply_headers_common that tells scripts which headers they may read? */
bool reply_is_exposed_headers(const struct header *);
/* Headers that a failure brings, in any dialect: WWW-Authenticate, Allow, Retry-After,
 * x-should-retry. `repeated`: we tried elsewhere already. */
void reply_headers_failure(struct reply_headers *, const struct fail *, bool repeated);

/* Whole answers; the exchange is invalid afterwards. */
void reply_json(struct http_exchange *, const char *id, enum dialect, int status, struct span body);
void reply_fail(struct http_exchange *, const char *id, enum dialect, const struct fail *);

#endif
