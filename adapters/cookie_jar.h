/*
 * adapters/cookie_jar.h - the cookies that one account has of one site (RFC 6265).
 *
 * Sans-IO: wall clock times (Unix, ms) are handed in. Owns its memory; a zeroed jar is empty. There
 * is no list of public suffixes: a jar belongs to one site, which can only harm itself. What a
 * browser forgets at its end (cookies without an expiry) is kept: a gateway's restart is not the
 * end of its person's session. HttpOnly and SameSite have no meaning without a page and are
 * ignored.
 */
#ifndef DRAGOMAN_ADAPTERS_COOKIE_JAR_H
#define DRAGOMAN_ADAPTERS_COOKIE_JAR_H

#include "base/buffer.h"

enum {
    COOKIES_MAX = 50,           /* a new one more takes the place of an expired one, else of the one
                                   that was first set longest ago */
    COOKIE_BYTES_MAX = 4096,    /* name, value, domain and path; a larger one is not taken */
    COOKIE_HEADER_MAX = 16384,  /* what does not fit into one request's header is left out */
    COOKIE_LIFE_DAYS_MAX = 400, /* as browsers do */
    COOKIE_JAR_TEXT_MAX = COOKIES_MAX * (COOKIE_BYTES_MAX + 64) /* of cookie_jar_write */
};

struct cookie {
    char *bytes; /* owns what the spans show */
    struct span name, value;
    struct span domain; /* in lower case, without a leading dot */
    struct span path;
    int64_t expires_ms; /* whole seconds; 0 = it does not say */
    bool host_only, secure;
};

struct cookie_jar {
    struct cookie cookies[COOKIES_MAX]; /* in the order in which they were first set */
    size_t n;
};

/* Where a request goes. */
struct cookie_place {
    struct span host; /* without the port; "[::1]" or "::1" */
    struct span path; /* a query behind it is ignored */
    bool secure;      /* https */
};

void cookie_jar_free(struct cookie_jar *);
/* Takes the value of one Set-Cookie of the answer to a request. True when that changed the jar:
 * false also for what is malformed, too large, or of another host. */
bool cookie_jar_take(struct cookie_jar *, const struct cookie_place *, struct span set_cookie,
                     int64_t now_ms);
/* Appends "a=1; b=2": the value of Cookie, or nothing. Longer paths first, then as they were first
 * set. */
void cookie_jar_header(const struct cookie_jar *, const struct cookie_place *, int64_t now_ms,
                       struct buffer *out);

/* As text, in the form that curl and browsers' tools know as cookies.txt (seven fields separated
 * by tabs, a line each). Expired ones are left out. */
void cookie_jar_write(const struct cookie_jar *, int64_t now_ms, struct buffer *out);
/* Adds what cookie_jar_write wrote. Lines that make no sense are skipped. */
void cookie_jar_read(struct cookie_jar *, struct span text, int64_t now_ms);

/* The date of a cookie (RFC 6265, 5.1.1: any order, any year from 1601 on) as Unix seconds; false
 * when it is none. */
bool cookie_date(struct span text, int64_t *seconds);

#endif
