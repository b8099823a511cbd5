/*
 * gateway/config_schema.c - every key of gateway.toml, one line each.
 *
 * To add a key: a field in config.h, a line here, a paragraph in docs/configuration.md and a line
 * in gateway.toml.example (test_config sees to the last two).
 */
#include "gateway/config_schema.h"

/* clang-format off: a table reads best with one key a line */
#define AT(record, field) .at = offsetof(struct record, field)
#define LIST(record, field)                                                                        \
    .at = offsetof(struct record, field), .count_at = offsetof(struct record, n_##field)
#define COUNT        .max = 1000000
#define A_DAY        .max = 2000000000
#define MILLISECONDS .min = 1, .max = INT64_C(86400000)

static const struct schema_key server_keys[] = {
    {"listen", &value_listen, LIST(config, listen), .otherwise = "['127.0.0.1:8080']",
     .help = "host:port, [v6]:port or unix:/path; port 0 = any free port"},
    {"workers", &value_int, AT(config, workers), .otherwise = "1", .max = 1024,
     .help = "event loops, each on a thread; 0 = one per core; takes effect with the next start"},
    {"data_dir", &value_path, AT(config, data_dir), .otherwise = "'~/.local/share/dragoman'",
     .help = "where obtained credentials are kept"},
    {"secret_key", &value_secret, AT(config, secret_key),
     .help = "obtained credentials are encrypted with it; or one of the next two"},
    {"secret_key_env", &value_later, .help = "name of the environment variable that holds it"},
    {"secret_key_file", &value_later, .help = "path of the file that holds it"},
    {"max_body", &value_size, AT(config, max_body), .otherwise = "'32MiB'", .min = 1024,
     .max = INT64_C(1) << 32, .help = "largest request body"},
    {"responses_ttl", &value_duration, AT(config, responses_ttl_ms), .otherwise = "'720h'",
     .max = INT64_C(31536000000), .help = "how long answers of /v1/responses are kept; 0s = not"},
    {"responses_max", &value_size, AT(config, responses_max), .otherwise = "'256MiB'",
     .max = INT64_C(1) << 36, .help = "room for all of them; what ends first goes first"},
    {"fetch_images", &value_bool, AT(config, fetch.on), .otherwise = "false",
     .help = "pictures that clients give by http(s) URL are fetched (docs/pictures.md)"},
    {"fetch_images_max", &value_size, AT(config, fetch.max), .otherwise = "'20MiB'", .min = 1024,
     .max = INT64_C(256) << 20, .help = "largest picture that is fetched"},
    {"fetch_images_timeout", &value_duration, AT(config, fetch.total_ms), .otherwise = "'15s'",
     .min = 100, .max = 300000, .help = "until one is there whole, redirects included"},
    {"fetch_images_from", &value_cidrs, .at = offsetof(struct config, fetch.from),
     .count_at = offsetof(struct config, fetch.n_from), .otherwise = "[]",
     .help = "dangerous: addresses inside your network that they may come from as well"},
    {"max_connections", &value_int, AT(config, max_connections), .otherwise = "10000", .min = 1,
     COUNT, .help = "client connections at once"},
    {"max_connections_per_ip", &value_int, AT(config, max_connections_per_ip), .otherwise = "0",
     .min = 0, COUNT, .help = "of one address; 0 = a tenth of max_connections, of other machines"},
    {"cors_origins", &value_cors_origins, LIST(config, cors_origins), .otherwise = "['*']",
     .help = "exact origins, or \"*\""},
    {"passthrough_unknown_keys", &value_bool, AT(config, passthrough_unknown_keys),
     .otherwise = "false",
     .help = "requests with a service's own key, not one of [[keys]], are passed on to it"},
    {"log_level", &value_word, AT(config, log_level), .otherwise = "'info'",
     .words = "error warn info debug", .help = "how much is logged"},
    {"log_format", &value_flag_word, AT(config, log_json), .otherwise = "'text'",
     .words = "text json", .help = "lines for people, or JSON for machines"},
    {"log_file", &value_path, AT(config, log_file), .otherwise = "''",
     .help = "append to this file; empty = standard error"},
    {"log_max_size", &value_size, AT(config, log_max_size), .otherwise = "'10MiB'",
     .max = INT64_C(1) << 40, .help = "then log_file is rotated (file.1, file.2 …); 0 = never"},
    {"log_keep", &value_int, AT(config, log_keep), .otherwise = "10", .max = 1000,
     .help = "rotated files that are kept"},
    {"log_bodies", &value_bool, AT(config, log_bodies), .otherwise = "false",
     .help = "log request and answer bodies too"},
    {"capture_dir", &value_path, AT(config, capture_dir), .otherwise = "''",
     .help = "failed turns are written into this folder, secrets masked; empty = not"},
    {"watch", &value_bool, AT(config, watch), .otherwise = "false",
     .help = "reload when this file changes, as on SIGHUP"},
    {"sandbox", &value_word, AT(config, sandbox), .otherwise = "'auto'", .words = "auto on off",
     .help = "after the start only data_dir and the network are in reach"},
    {"tls_cert", &value_readable_file, AT(config, tls_cert), .otherwise = "''",
     .help = "PEM certificate chain; with tls_key: HTTPS on the listeners"},
    {"tls_key", &value_readable_file, AT(config, tls_key), .otherwise = "''",
     .help = "PEM private key"},
    {0},
};

static const struct schema_key access_keys[] = {
    {"allow", &value_cidrs, LIST(config, allow), .otherwise = "[]",
     .help = "addresses that may connect; empty = all"},
    {"deny", &value_cidrs, LIST(config, deny), .otherwise = "[]",
     .help = "addresses that may not; wins over allow"},
    {"trusted_proxies", &value_cidrs, LIST(config, trusted_proxies), .otherwise = "[]",
     .help = "whose X-Forwarded-For is believed"},
    {0},
};

static const struct schema_key key_keys[] = {
    {"name", &value_name, AT(key_config, name), .help = "for logs; unique"},
    {"key", &value_key, AT(key_config, length),
     .help = "what the client sends; or one of the next three"},
    {"key_env", &value_later, .help = "name of the environment variable that holds it"},
    {"key_file", &value_later, .help = "path of the file that holds it"},
    {"key_sha256", &value_later, .help = "its SHA-256 as 64 hex digits"},
    {"models", &value_texts, LIST(key_config, models), .otherwise = "['*']",
     .help = "globs over public model ids"},
    {"allow", &value_cidrs, LIST(key_config, allow), .otherwise = "[]",
     .help = "addresses that may use this key; empty = all"},
    {"expires", &value_expiry, AT(key_config, expires),
     .help = "a date (the last day, UTC) or date-time; without it, never"},
    {"rpm", &value_int, AT(key_config, rpm), .otherwise = "0", COUNT,
     .help = "requests a minute; 0 = unlimited"},
    {"max_concurrent", &value_int, AT(key_config, max_concurrent), .otherwise = "0", COUNT,
     .help = "unfinished requests; 0 = unlimited"},
    {"requests_per_day", &value_int, AT(key_config, requests_per_day), .otherwise = "0", A_DAY,
     .help = "requests of a day (UTC); 0 = unlimited"},
    {"tokens_per_day", &value_int, AT(key_config, tokens_per_day), .otherwise = "0", A_DAY,
     .help = "tokens of a day (UTC), prompt and completion; 0 = unlimited"},
    {"accounts", &value_key_accounts, LIST(key_config, accounts), .otherwise = "[]",
     .help = "\"site/account\": only these accounts serve this key; empty = all"},
    {"reasoning", &value_key_reasoning, AT(key_config, reasoning), .otherwise = "''",
     .words = "field think drop untouched", .help = "overrides the site's; empty = the site's"},
    {0},
};

static const struct schema_key pool_keys[] = {
    {"max", &value_int, AT(site_config, pool.max), .otherwise = "100", COUNT,
     .help = "connections; 0 = unlimited"},
    {"max_idle", &value_int, AT(site_config, pool.max_idle), .otherwise = "32", COUNT,
     .help = "of which may wait for the next request; 0 = unlimited"},
    {"idle_timeout", &value_duration, AT(site_config, pool.idle_timeout_ms), .otherwise = "'60s'",
     MILLISECONDS, .help = "a waiting one is closed after this"},
    {"reuse", &value_bool, AT(site_config, pool.reuse), .otherwise = "true",
     .help = "false: a new connection for each request"},
    {0},
};
static const struct schema pool_schema = {"[sites.pool]", pool_keys, NULL};

static const struct schema_key site_key_keys[] = {
    {"passthrough", &value_bool, AT(site_config, keys_passthrough), .otherwise = "false",
     .help = "a client's key that is not one of [[keys]] goes to the site as the client's own"},
    {0},
};
static const struct schema site_key_schema = {"[sites.keys]", site_key_keys, NULL};

static const struct schema_key site_keys[] = {
    {"name", &value_name, AT(site_config, settings.name), .required = true,
     .help = "unique; stands before the slash in site/model"},
    {"adapter", &value_adapter, AT(site_config, adapter), .required = true,
     .help = "which kind of site this is"},
    {"base_url", &value_base_url, AT(site_config, settings.origin),
     .help = "scheme, host, port, path prefix; default: the adapter's origin"},
    {"transport", &value_flag_word, AT(site_config, bridge), .otherwise = "'direct'",
     .words = "direct bridge", .help = "sockets of ours, or a browser tab",
     .later = "comes with a later version: requests of this site are answered with "
              "bridge_not_connected"},
    {"proxy", &value_proxy, AT(site_config, proxy), .otherwise = "''",
     .help = "http://[user:pass@]host:port, socks5://…, socks5h://…"},
    {"ca_file", &value_readable_file, AT(site_config, ca_file), .otherwise = "''",
     .help = "PEM added to the system's trust store"},
    {"connect_timeout", &value_duration, AT(site_config, connect_timeout_ms), .otherwise = "'10s'",
     MILLISECONDS, .help = "until connected, proxy and TLS included"},
    {"first_byte_timeout", &value_duration, AT(site_config, first_byte_timeout_ms),
     .otherwise = "'120s'", MILLISECONDS, .help = "until the answer begins"},
    {"idle_timeout", &value_duration, AT(site_config, idle_timeout_ms), .otherwise = "'90s'",
     MILLISECONDS, .help = "silence within an answer"},
    {"max_concurrent", &value_int, AT(site_config, max_concurrent), .otherwise = "0", COUNT,
     .help = "requests at once per account; 0 = the adapter's default"},
    {"min_gap", &value_duration, AT(site_config, min_gap_ms), .otherwise = "'0s'",
     .max = INT64_C(3600000), .help = "between the beginnings of two requests of an account"},
    {"per_hour", &value_int, AT(site_config, per_hour), .otherwise = "0", .max = 100000,
     .help = "requests of an account within any hour; 0 = unlimited"},
    {"limits", &value_flag_word, AT(site_config, limits_per_model), .otherwise = "'account'",
     .words = "account model", .help = "what rests after the site's limit"},
    {"strategy", &value_word, AT(site_config, strategy), .otherwise = "'round_robin'",
     .words = "round_robin least_busy fill_first",
     .help = "which of the accounts that are ready is asked"},
    {"queue_max", &value_int, AT(site_config, queue_max), .otherwise = "1000", COUNT,
     .help = "requests that may wait for an account; more are refused"},
    {"queue_timeout", &value_duration, AT(site_config, queue_timeout_ms), .otherwise = "'120s'",
     MILLISECONDS, .help = "how long one waits for an account"},
    {"reasoning", &value_word, AT(site_config, reasoning), .otherwise = "'field'",
     .words = "field think drop untouched",
     .help = "reasoning_content, <think>…</think> in content, nothing, or as the site sends it"},
    {"tools", &value_word, AT(site_config, tools), .words = "native emulate refuse",
     .help =
         "the site's own tools, tools by words in the prompt (docs/tools.md), or none; default: "
         "native where the adapter has tools, else emulate"},
    {"structured_output", &value_word, AT(site_config, structured_output),
     .words = "native emulate refuse",
     .help = "the site's own response_format, one by words in the prompt and a check of the answer "
             "(docs/structured-output.md), or none; default: native where the adapter has it, else "
             "emulate"},
    {"field_aliases", &value_aliases, .otherwise = "{}",
     .help = "recursive renames of request fields, for openai-like sites"},
    {"path", &value_chat_path, AT(site_config, settings.path), .otherwise = "''",
     .help = "overrides the chat path, for openai-like sites"},
    {"models", &value_texts, LIST(site_config, models), .otherwise = "[]",
     .help = "the public list, instead of the adapter's; empty = the adapter's"},
    {"models_cache_ttl", &value_duration, AT(site_config, models_cache_ttl_ms),
     .otherwise = "'300s'", .max = INT64_C(86400000),
     .help = "how long a list fetched from the site is used"},
    {"reuse_conversations", &value_bool, AT(site_config, reuse_conversations), .otherwise = "false",
     .help = "a chat goes on in the conversation that the site holds (docs/reuse.md)"},
    {"continue_truncated", &value_bool, AT(site_config, continuing.on), .otherwise = "false",
     .help = "an answer that was truncated is gone on with (docs/continue.md)"},
    {"continue_max", &value_int, AT(site_config, continuing.max), .otherwise = "2", .min = 1,
     .max = 10, .help = "how often one answer is gone on with"},
    {"continue_total", &value_duration, AT(site_config, continuing.total_ms), .otherwise = "'600s'",
     MILLISECONDS, .help = "this long after the request's beginning no continuation begins"},
    {"continue_causes", &value_continue_causes, AT(site_config, continuing.causes),
     .otherwise = "['cut', 'length', 'malformed', 'empty']",
     .help = "which ends of an answer count as truncated"},
    {"pool", &value_inline_table, .otherwise = "{}", .table = &pool_schema,
     .help = "connections per origin, proxy and account"},
    {"keys", &value_inline_table, .otherwise = "{}", .table = &site_key_schema,
     .help = "clients that bring a key of their own"},
    {"options", &value_options, .help = "the adapter's own, documented on its page"},
    {"accounts", &value_accounts, .help = "credentials; which fields: the adapter's page"},
    {0},
};

static const struct schema_key model_keys[] = {
    {"id", &value_name, AT(model_config, id), .required = true,
     .help = "what clients ask for; unique; with * or ? a pattern"},
    {"targets", &value_targets, LIST(model_config, targets), .required = true,
     .help = "\"site/model\", or a table with target, weight, options, continue_truncated; tried "
             "in order"},
    {"continue_truncated", &value_model_continue, AT(model_config, continuing.on),
     .help = "overrides the site's, as do the next three"},
    {"continue_max", &value_model_continue, AT(model_config, continuing.max), .min = 1, .max = 10,
     .help = "how often one answer is gone on with"},
    {"continue_total", &value_model_continue, AT(model_config, continuing.total_ms), MILLISECONDS,
     .help = "this long after the request's beginning no continuation begins"},
    {"continue_causes", &value_model_continue, AT(model_config, continuing.causes),
     .help = "which ends of an answer count as truncated"},
    {0},
};

/* The offsets of site_config are those of route_config.own, its first member. */
static const struct schema_key route_keys[] = {
    {"prefix", &value_name, AT(route_config, prefix),
     .help = "where it begins: /gemini; default: the preset's"},
    {"preset", &value_word, AT(route_config, preset), .otherwise = "'none'",
     .words = "none openai anthropic gemini", .help = "prefix, upstream and inject of a service"},
    {"site", &value_name, AT(route_config, site_name),
     .help = "one of [[sites]]: its address, accounts, proxy, pace"},
    {"upstream", &value_upstream, AT(site_config, settings.origin), .otherwise = "''",
     .help = "or scheme, host, port, path prefix; default: the preset's"},
    {"key", &value_secret, AT(route_config, own_key),
     .help = "the upstream's key; or one of the next two, or accounts"},
    {"key_env", &value_later, .help = "name of the environment variable that holds it"},
    {"key_file", &value_later, .help = "path of the file that holds it"},
    {"inject", &value_inject, .otherwise = "''",
     .help =
         "where the key goes: bearer, x-api-key, x-goog-api-key, header:NAME, query:NAME, none"},
    {"strip_prefix", &value_bool, AT(route_config, strip_prefix), .otherwise = "true",
     .help = "the upstream does not get to see the prefix"},
    {"methods", &value_texts, LIST(route_config, methods),
     .otherwise = "['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']",
     .help = "what is passed through"},
    {"paths", &value_texts, LIST(route_config, paths), .otherwise = "['*']",
     .help = "globs over the path behind the prefix"},
    {"proxy", &value_proxy, AT(site_config, proxy), .otherwise = "''",
     .help = "http://[user:pass@]host:port, socks5://…, socks5h://…"},
    {"ca_file", &value_readable_file, AT(site_config, ca_file), .otherwise = "''",
     .help = "PEM added to the system's trust store"},
    {"connect_timeout", &value_duration, AT(site_config, connect_timeout_ms), .otherwise = "'15s'",
     MILLISECONDS, .help = "until connected, proxy and TLS included"},
    {"first_byte_timeout", &value_duration, AT(site_config, first_byte_timeout_ms),
     .otherwise = "'300s'", MILLISECONDS, .help = "until the answer begins"},
    {"idle_timeout", &value_duration, AT(site_config, idle_timeout_ms), .otherwise = "'300s'",
     MILLISECONDS, .help = "silence within an answer"},
    {"max_concurrent", &value_int, AT(site_config, max_concurrent), .otherwise = "0", COUNT,
     .help = "requests at once per account; 0 = unlimited"},
    {"queue_max", &value_int, AT(site_config, queue_max), .otherwise = "1000", COUNT,
     .help = "requests that may wait for an account; more are refused"},
    {"queue_timeout", &value_duration, AT(site_config, queue_timeout_ms), .otherwise = "'120s'",
     MILLISECONDS, .help = "how long one waits for an account"},
    {"pool", &value_inline_table, .otherwise = "{}", .table = &pool_schema,
     .help = "connections per origin, proxy and account"},
    {"accounts", &value_route_accounts, .help = "several keys, each with a name"},
    {0},
};

static const struct schema route_schema = {"[[routes]]", route_keys, config_finish_route};
static const struct schema server_schema = {"[server]", server_keys, config_finish_server};
static const struct schema access_schema = {"[access]", access_keys, NULL};
static const struct schema key_schema = {"[[keys]]", key_keys, config_finish_key};
static const struct schema site_schema = {"[[sites]]", site_keys, config_finish_site};
static const struct schema model_schema = {"[[models]]", model_keys, NULL};

static const struct schema_key root_keys[] = {
    {"server", &value_table, .otherwise = "{}", .table = &server_schema,
     .help = "how clients reach the gateway"},
    {"access", &value_table, .otherwise = "{}", .table = &access_schema,
     .help = "client addresses, before anything else"},
    {"keys", &value_tables, LIST(config, keys), .table = &key_schema,
     .record_size = sizeof(struct key_config), .help = "what clients authenticate with"},
    {"sites", &value_tables, LIST(config, sites), .table = &site_schema,
     .record_size = sizeof(struct site_config), .help = "upstream services"},
    {"models", &value_tables, LIST(config, models), .table = &model_schema,
     .record_size = sizeof(struct model_config), .help = "aliases and fallback chains"},
    {"routes", &value_tables, LIST(config, routes), .table = &route_schema,
     .record_size = sizeof(struct route_config), .help = "APIs that are passed through"},
    {0},
};
/* clang-format on */

const struct schema schema_root = {"the file", root_keys, config_finish_root};

const struct schema *config_route_schema(void) { return &route_schema; }
