/*
 * adapters/site.h - what an adapter may know of its configuration: the site's settings and one
 * account's credentials.
 *
 * Plain data, filled by gateway/ (from gateway.toml and the store), read by adapters. No file, no
 * clock.
 */
#ifndef DRAGOMAN_ADAPTERS_SITE_H
#define DRAGOMAN_ADAPTERS_SITE_H

#include "base/arena.h"
#include "base/json_raw.h"
#include "base/span.h"

enum option_type { OPTION_TEXT, OPTION_INT, OPTION_NUMBER, OPTION_BOOL };

/* One key of `options = {…}` that an adapter understands; the list ends with name == NULL. Anything
 * else in the table is a config error. */
struct option_field {
    const char *name;
    enum option_type type;
    bool secret;        /* may be given as x, x_env, x_file; masked wherever it is shown */
    const char *values; /* TEXT: the permitted words separated by blanks, or NULL for any text */
    const char *help;   /* one line, for docs and `dragoman check` */
};

/* One field of [[sites.accounts]]; the list ends with name == NULL. All are secrets unless `plain`.
 */
struct credential_field {
    const char *name; /* "token", "api_key" … */
    bool plain;
    const char *help;
};

/* A configured value of `options`. */
struct option_value {
    struct span name;
    enum option_type type;
    struct span text;
    int64_t integer; /* also for BOOL: 0 or 1 */
    double number;
};

struct site_settings {
    struct span name;   /* unique in the config */
    struct span origin; /* "https://chat.z.ai": scheme, host and port without path or final slash */
    struct span prefix; /* path prefix of base_url without final slash: "" or "/api/paas/v4" */
    /* `path` of the config: overrides the chat path of openai-like sites; "" = not set */
    struct span path;
    const struct json_alias *aliases; /* field_aliases */
    size_t n_aliases;
    const struct option_value *options;
    size_t n_options;
};

/* `otherwise` when the option is not configured. */
struct span site_option_text(const struct site_settings *, const char *name, struct span otherwise);
int64_t site_option_int(const struct site_settings *, const char *name, int64_t otherwise);
bool site_option_bool(const struct site_settings *, const char *name, bool otherwise);
/* NULL when not configured: for "absent stays absent". */
const struct option_value *site_option(const struct site_settings *, const char *name);

/* ---- account ---- */

struct credential {
    struct span name, value;
};

/* Something the adapter obtained and wants to keep: a guest token, an access token. Owned by the
 * account; the gateway persists it. */
struct held_credential {
    char *name, *value;
    int64_t expires_ms; /* Unix time; 0 = until it is refused */
    struct held_credential *next;
};

struct site_account;

/* Where several threads use accounts: what is held is read and changed between `enter` and `leave`
 * (which may be nested), and `lend` copies a value for as long as account_held promises.
 * `take_short`: was there no memory for that on this thread since the last time that somebody
 * asked? */
struct account_guard {
    void (*enter)(const struct site_account *);
    void (*leave)(const struct site_account *);
    struct span (*lend)(const struct site_account *, struct span value);
    bool (*take_short)(const struct site_account *);
};

struct site_account {
    struct span name;
    bool guest;
    const struct credential *credentials; /* configured */
    size_t n_credentials;
    struct held_credential *held;
    /* Called after each change of `held` (to the same again is none), so that the gateway can write
     * it down; may be NULL. */
    void (*changed)(struct site_account *, const char *name);
    void *owner;
    const struct account_guard *guard; /* NULL: there is one thread */
};

/* Around what looks at `held` itself, or reads and changes it in one go. */
void account_guard_enter(const struct site_account *);
void account_guard_leave(const struct site_account *);
/* Was something held that there was no memory to lend, since the last time that somebody asked? */
bool account_guard_take_short(const struct site_account *);

/* A configured credential, or {NULL,0}. */
struct span account_credential(const struct site_account *, const char *name);
/* A held value that is good for at least `margin_ms` more, or {NULL,0}. Valid until the account's
 * next change: copy what must last. */
struct span account_held(const struct site_account *, const char *name, int64_t now_ms,
                         int64_t margin_ms);
/* For what sites rotate (refresh tokens): the held value of that name, whatever its end, else the
 * configured one, else {NULL,0}. A newly configured one makes the gateway forget the held one. */
struct span account_newest(const struct site_account *, const char *name);
/* 0, or -1 when memory is short. */
int account_hold(struct site_account *, const char *name, struct span value, int64_t expires_ms);
void account_drop(struct site_account *, const char *name);
/* Cuts the next secret off a held value, for masking: all of it, but of a jar of cookies
 * (cookie_jar.h) the value of each. */
bool held_secret(struct span *rest, struct span *secret);
/* Frees everything held. */
void account_clear(struct site_account *);

#endif
