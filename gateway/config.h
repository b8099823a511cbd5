/*
 * gateway/config.h - gateway.toml, read, checked and resolved (design §4; docs/configuration.md).
 *
 * Immutable once loaded and reference-counted: a reload makes a new one, exchanges keep theirs
 * until they end. All strings live in the config's arena and are NUL-terminated behind the span.
 */
#ifndef DRAGOMAN_GATEWAY_CONFIG_H
#define DRAGOMAN_GATEWAY_CONFIG_H

#include "adapters/adapter.h"
#include "base/arena.h"
#include "base/fail.h"
#include "gateway/cidr.h"

enum { CONFIG_PATH_MAX = 4096 };

struct turn_option;  /* chat_request.h */
struct address_rule; /* public_address.h */

/* A file that a secret was read from. */
struct secret_file {
    struct span path;
    const struct secret_file *next;
};

enum sandbox_wish { SANDBOX_AUTO, SANDBOX_ON, SANDBOX_OFF };

struct listen_address {
    bool is_unix;
    struct span text; /* as configured, "127.0.0.1:8080" */
    struct span host; /* TCP: without brackets; unix: the path */
    int port;         /* 0 = any free */
};

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* One account, by position. */
struct account_ref {
    int site, account;
    struct span name; /* "site/account", for people */
};

struct key_config {
    struct span name;
    size_t length; /* of the key as given, for config_print; 0 when only its hash is known */
    bool hashed;   /* key_sha256 was given: `sha256` is it; else it was computed from `key` */
    /* what presented keys are compared with (hash first, then in constant time) */
    unsigned char sha256[32];
    const struct span *models; /* globs over public ids */
    size_t n_models;
    const struct cidr *allow;
    size_t n_allow;
    int rpm, max_concurrent, requests_per_day, tokens_per_day; /* 0 = unlimited */
    struct config_expiry {
        bool set, whole_day; /* whole_day: given as a date, the last day on which it is good */
        int64_t at_ms;       /* Unix time; from then on it is not good any more */
    } expires;
    /* `accounts = ["site/account"]`: only these serve this key; none = any */
    const struct account_ref *accounts;
    size_t n_accounts;
    int reasoning; /* enum reasoning_style, or -1 = the site's */
};

enum reasoning_style {
    REASONING_FIELD,
    REASONING_THINK,
    REASONING_DROP,
    REASONING_UNTOUCHED /* as FIELD, and <think> in a site's text stays there */
};

/* Which of the accounts that are ready is asked. */
enum account_strategy { STRATEGY_ROUND_ROBIN, STRATEGY_LEAST_BUSY, STRATEGY_FILL_FIRST };

struct account_config {
    struct span name;
    bool guest;
    int weight; /* >= 1 */
    const struct credential *credentials;
    size_t n_credentials;
};

struct proxy_config {
    enum { PROXY_NONE, PROXY_HTTP, PROXY_SOCKS5, PROXY_SOCKS5H } kind;
    struct span host, user, password; /* percent-decoded */
    int port;
};

/* Which ends of an answer are not its end (docs/continue.md). */
enum continue_cause {
    CONTINUE_CUT,
    CONTINUE_LENGTH,
    CONTINUE_MALFORMED,
    CONTINUE_EMPTY,
    CONTINUE_CAUSES,
    CONTINUE_NOT = -1
};

/* Whole answers from truncated ones. */
struct continue_config {
    bool on;
    int max;          /* continuations of one answer */
    int64_t total_ms; /* since the request began: none begins later */
    unsigned causes;  /* bits 1 << enum continue_cause */
};

/* What is done about something that clients want and not every site has: tools (docs/tools.md),
 * response_format (docs/structured-output.md). */
enum feature_mode {
    FEATURE_NATIVE, /* the site's own */
    FEATURE_EMULATE,
    FEATURE_REFUSE
};

struct site_config {
    struct site_settings settings; /* what the adapter sees */
    const struct adapter *adapter;
    bool tls;
    struct span host; /* of base_url, without brackets */
    int port;
    /* "chat.z.ai" or "127.0.0.1:8443": port only when it is not the scheme's */
    struct span host_header;
    bool bridge;           /* transport = "bridge" */
    bool keys_passthrough; /* a client's own key of the site goes there as its credential */
    struct proxy_config proxy;
    /* Not configured: of a "site" that a client's URL names (image_fetch.c), whose calls have a
     * pool of their own. NULL = any address. */
    const struct address_rule *only;
    struct span ca_file; /* "" = none */
    int64_t connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms;
    int max_concurrent;    /* per account, resolved with the adapter's default; 0 = unlimited */
    int64_t min_gap_ms;    /* per account, between the beginnings of two requests */
    int per_hour;          /* per account; 0 = unlimited */
    bool limits_per_model; /* a limit is for the model that was asked, not for the whole account */
    enum account_strategy strategy;
    int queue_max; /* requests that may wait for an account */
    int64_t queue_timeout_ms;
    enum reasoning_style reasoning;
    enum feature_mode tools, structured_output; /* resolved with what the adapter can do */
    const struct span *models; /* `models = […]`: a static public list that replaces the adapter's;
                                  n_models 0 = not given */
    size_t n_models;
    int64_t models_cache_ttl_ms;
    struct continue_config continuing;
    bool reuse_conversations; /* with adapters that can (CAP_CONVERSATION) */
    struct {
        int max, max_idle;       /* connections per (origin, proxy, account); 0 = unlimited */
        int64_t idle_timeout_ms; /* an idle one is closed after this */
        bool reuse;
    } pool;
    const struct account_config *accounts;
    size_t n_accounts; /* at least 1: an anonymous account "default" where none is configured and
                          none is needed */
};

struct target_config {
    int site;          /* index into sites */
    struct span model; /* "*" = the id that was asked for */
    struct span name;  /* "site/model", for people */
    int weight;        /* its share of the requests that begin here; 0 = only a fallback */
    /* fields that it sets in the requests that it gets, and their values as TOML, for people */
    const struct turn_option *options;
    const struct span *option_texts;
    size_t n_options;
    struct continue_config continuing; /* the site's, the model's or its own, key by key */
    bool continue_given;               /* its own continue_truncated */
};

struct model_config {
    struct span id;
    bool glob;     /* the id is a pattern */
    bool weighted; /* some target was given a weight: they take turns */
    const struct target_config *targets;
    size_t n_targets;
    struct continue_config continuing; /* where its keys were given: over the site's */
    unsigned continue_given;           /* which were: bits by gateway/config_continue.c */
};

/* Where an account's key goes in a request that is passed through. */
enum route_inject {
    ROUTE_INJECT_BEARER,
    ROUTE_INJECT_HEADER,
    ROUTE_INJECT_QUERY,
    ROUTE_INJECT_NONE
};
enum route_preset {
    ROUTE_PRESET_NONE,
    ROUTE_PRESET_OPENAI,
    ROUTE_PRESET_ANTHROPIC,
    ROUTE_PRESET_GEMINI
};

struct route_config {
    struct site_config
        own; /* first: an upstream and accounts of the route's own are read into it */
    const struct site_config *site; /* &own, or one of the sites */
    struct span prefix;             /* "/gemini" */
    struct span site_name;          /* "" = own */
    struct span own_key;            /* `key`; "" = accounts, or none */
    enum route_preset preset;
    enum dialect dialect; /* of our errors */
    enum route_inject inject;
    struct span inject_text; /* as configured */
    struct span inject_name; /* of the header or query pair; static or the config's */
    bool strip_prefix;
    const struct span *methods;
    size_t n_methods;
    const struct span *paths; /* globs over the path behind the prefix */
    size_t n_paths;
};

struct config {
    unsigned refs;
    struct arena arena;
    struct span file; /* "" = built in (demo) */

    const struct listen_address *listen;
    size_t n_listen;
    int workers;
    struct span data_dir;
    struct span secret_key; /* "" = credentials are stored in plain */
    size_t max_body;
    int64_t responses_ttl_ms; /* 0 = none is stored */
    size_t responses_max;     /* bytes of all; 0 = none is stored */
    struct fetch_config {
        bool on;          /* http(s) URLs of pictures are fetched for sites that want bytes */
        size_t max;       /* bytes of one picture */
        int64_t total_ms; /* from the name's look-up to the last byte, redirects included */
        const struct cidr *from; /* these addresses as well, at any port */
        size_t n_from;
    } fetch;
    int max_connections;
    int max_connections_per_ip;      /* 0 = see config_connections_of */
    const struct span *cors_origins; /* "*" or exact origins */
    size_t n_cors_origins;
    enum log_level log_level;
    bool log_json;
    struct span log_file; /* "" = stderr */
    size_t log_max_size;  /* bytes, then it is rotated; 0 = never */
    int log_keep;         /* rotated files that stay */
    bool log_bodies;
    struct span capture_dir;   /* "" = failed turns are not captured */
    bool watch;                /* reload when the file changes */
    enum sandbox_wish sandbox; /* gateway/sandbox.h */
    const struct secret_file *secret_files;
    struct span tls_cert, tls_key; /* "" = plain HTTP */

    const struct cidr *allow, *deny, *trusted_proxies;
    size_t n_allow, n_deny, n_trusted_proxies;

    const struct key_config *keys;
    size_t n_keys;
    const struct site_config *sites;
    size_t n_sites;
    const struct model_config *models;
    size_t n_models;
    const struct route_config *routes;
    size_t n_routes;
    bool passthrough_unknown_keys;
    /* with it: where such requests go, by dialect */
    const struct route_config *visitor_routes[DIALECT_GOOGLE + 1];

    const struct span *warnings; /* whole lines, "gateway.toml:3:1: …" */
    size_t n_warnings;
};

/* Reads and checks `path`. NULL with the errors (one a line, "file:line:col: what is wrong (did you
 * mean "…"?)") in `errors`. */
struct config *config_load(const char *path, struct buffer *errors);
/* The same from memory; `name` stands for the file in messages. For tests and fuzzing. */
struct config *config_parse(struct span text, const char *name, struct buffer *errors);
/* The built-in configuration of `dragoman demo`, and of `serve` when no file is found: one site
 * "demo". */
struct config *config_demo(struct buffer *errors);
struct config *config_ref(struct config *);
void config_unref(struct config *);
/* Where to look: `given` (may be NULL), $DRAGOMAN_CONFIG, ./gateway.toml,
 * ~/.config/dragoman/gateway.toml. False: none exists (a given one or $DRAGOMAN_CONFIG counts as
 * found even if it does not exist: loading it then says so). */
bool config_find(const char *given, char path[CONFIG_PATH_MAX]);
/* The name of a method that routes may have, static; NULL = none of them. */
const char *route_method(struct span method);
/* What keys are known by: SHA-256. */
void config_hash_key(struct span key, unsigned char hash[32]);
/* `dragoman check`: the resolved configuration with every secret masked ("sk-…" never appears, only
 * its length class: "set (51 characters)"). */
void config_print(const struct config *, struct buffer *out);
/* Does any header/URL-safe check need it: is `host` (from a Host header, with or without port) a
 * loopback name or one of our listen addresses? */
/* How many connections the address may have at once; 0 = as many as there are. */
size_t config_connections_of(const struct config *, const struct ip_address *);
bool config_host_is_ours(const struct config *, struct span host);
/* May this account serve the key? By names, as the account may be of another config. NULL = no key:
 * all may. */
bool config_key_takes_account(const struct key_config *, struct span site, struct span account);
/* May any account of the site? */
bool config_key_takes_site(const struct key_config *, struct span site);
/* "cut", "length" …; "" for CONTINUE_NOT. */
const char *continue_cause_name(enum continue_cause);
/* "2026-12-31", "2026-12-31 18:00:00 UTC" or "never". */
enum { CONFIG_EXPIRY_SIZE = 40 };
const char *config_expiry_format(const struct config_expiry *, char text[CONFIG_EXPIRY_SIZE]);

#endif
