/*
 * gateway/config_keys.c - [[keys]], [[models]], and what concerns several tables at once: names
 * that are taken, accounts of a key, listeners that need a warning.
 *
 * A key's text is not kept: it is hashed here and compared as a hash ever after.
 */
#include <mbedtls/sha256.h>
#include <mbedtls/version.h>
#include <stdio.h>
#include <strings.h>

#include "gateway/config_schema.h"

enum { SECRET_KEY_MIN = 16 };

/* ---- the key itself ---- */

void config_hash_key(struct span key, unsigned char hash[32])
{
#if MBEDTLS_VERSION_MAJOR >= 3
    mbedtls_sha256((const unsigned char *)key.p, key.n, hash, 0);
#else
    mbedtls_sha256_ret((const unsigned char *)key.p, key.n, hash, 0);
#endif
}

static bool parse_hash(struct span text, unsigned char hash[32])
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    if (text.n != 64)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        const char *digit = text.p[i] ? strchr(digits, text.p[i]) : NULL;
        if (!digit)
            return false;
        unsigned value = (unsigned)(digit - digits) % 16;
        hash[i / 2] = (unsigned char)(i % 2 ? hash[i / 2] | value : value << 4);
    }
    return true;
}

void config_finish_key(struct config_reader *r, const struct toml_node *table, void *record)
{
    struct key_config *key = record;
    const struct toml_node *hashed = toml_get(table, "key_sha256"),
                           *given = config_secret_node(table, "key");
    struct span text;
    if (hashed && given) {
        config_error(r, given,
                     "the key in [[keys]] is given more than once: only one of key, key_env, "
                     "key_file and key_sha256 may stand there");
    } else if (hashed) {
        key->hashed = true;
        if (config_read_text(r, "key_sha256", hashed, &text) && !parse_hash(text, key->sha256))
            config_error(r, hashed,
                         "\"key_sha256\" in [[keys]] must be the key's SHA-256 as 64 hex digits");
    } else {
        int found = config_read_secret(r, table, "key", &text);
        if (found == 0)
            config_error(
                r, table,
                "[[keys]] needs one of \"key\", \"key_env\", \"key_file\" and \"key_sha256\"");
        if (found == 1) {
            key->length = text.n;
            config_hash_key(text, key->sha256);
            explicit_bzero((char *)text.p, text.n); /* our own copy */
        }
    }
}

static void print_key(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct key_config *k = record;
    if (k->hashed)
        buffer_append(out, SPAN("set (only its SHA-256 is known)"));
    else
        config_print_secret(out, k->length);
}
const struct value_type value_key = {.wanted = "a string", .print = print_key};

static void print_secret(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct span *secret = (const void *)((const char *)record + key->at);
    if (secret->n)
        config_print_secret(out, secret->n);
    else
        buffer_append(out, SPAN("\"\""));
}
/* Its table's finish reads it, together with its _env and _file. */
const struct value_type value_secret = {.wanted = "a string", .print = print_secret};

/* ---- lists of references ---- */

int config_find_site(const struct config *config, struct span name)
{
    for (size_t i = 0; i < config->n_sites; i++) {
        if (span_eq(config->sites[i].settings.name, name))
            return (int)i;
    }
    return -1;
}

bool config_read_reference(struct config_reader *r, const char *name, const struct toml_node *value,
                           const char *form, struct span *whole, struct span *left,
                           struct span *right)
{
    if (!config_read_text(r, name, value, whole))
        return false;
    ptrdiff_t slash = span_find_char(*whole, '/');
    if (slash <= 0 || (size_t)slash + 1 == whole->n) {
        config_error(r, value, "\"%s\" in %s must hold \"%s\", found \"%s\"", name, r->title, form,
                     config_quote(r, *whole));
        return false;
    }
    *left = span_first(*whole, (size_t)slash);
    *right = span_from(*whole, (size_t)slash + 1);
    return config_check_plain(r, name, value, *right);
}

static int find_account(const struct site_config *site, struct span name)
{
    for (size_t i = 0; i < site->n_accounts; i++) {
        if (span_eq(site->accounts[i].name, name))
            return (int)i;
    }
    return -1;
}

static void resolve_accounts(struct config_reader *r, const struct toml_node *table,
                             struct key_config *key)
{
    const struct toml_node *node = toml_get(table, "accounts");
    if (!node || !config_want(r, "accounts", node, TOML_ARRAY, "an array of strings"))
        return;
    struct account_ref *list = config_alloc(r, (node->count + 1) * sizeof *list);
    size_t n = 0;
    for (const struct toml_node *value = node->first; list && value; value = value->next) {
        struct span whole, site, rest;
        if (!config_read_reference(r, "accounts", value, "site/account", &whole, &site, &rest))
            continue;
        int at = config_find_site(r->config, site);
        int account = at < 0 ? -1 : find_account(&r->config->sites[at], rest);
        if (account < 0)
            config_error(r, value, "\"accounts\" in [[keys]]: no account \"%s\" is configured",
                         config_quote(r, whole));
        else
            list[n++] = (struct account_ref){at, account, whole};
    }
    key->accounts = list;
    key->n_accounts = n;
}

static void print_key_accounts(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct key_config *k = record;
    buffer_char(out, '[');
    for (size_t i = 0; i < k->n_accounts; i++) {
        buffer_append(out, i ? SPAN(", ") : SPAN(""));
        config_print_quoted(out, k->accounts[i].name);
    }
    buffer_char(out, ']');
}
const struct value_type value_key_accounts = {.wanted = "an array of strings",
                                              .print = print_key_accounts};

bool config_key_takes_account(const struct key_config *key, struct span site, struct span account)
{
    if (!key || !key->n_accounts)
        return true;
    for (size_t i = 0; i < key->n_accounts; i++) {
        struct span name = key->accounts[i].name; /* "site/account" */
        if (name.n == site.n + 1 + account.n && span_starts(name, site) && name.p[site.n] == '/' &&
            span_ends(name, account))
            return true;
    }
    return false;
}

bool config_key_takes_site(const struct key_config *key, struct span site)
{
    if (!key || !key->n_accounts)
        return true;
    for (size_t i = 0; i < key->n_accounts; i++) {
        struct span name = key->accounts[i].name;
        if (name.n > site.n && span_starts(name, site) && name.p[site.n] == '/')
            return true;
    }
    return false;
}

/* ---- [server] ---- */

void config_finish_server(struct config_reader *r, const struct toml_node *table, void *record)
{
    struct config *config = record;
    const struct toml_node *cert = toml_get(table, "tls_cert"), *key = toml_get(table, "tls_key"),
                           *listen = toml_get(table, "listen");
    if ((config->tls_cert.n != 0) != (config->tls_key.n != 0))
        config_error(r, cert ? cert : key,
                     "tls_cert and tls_key belong together: set both, or none");
    if (config->tls_key.n)
        config_check_private(r, key, config->tls_key.p);
    if (config_read_secret(r, table, "secret_key", &config->secret_key) == 1 &&
        config->secret_key.n < SECRET_KEY_MIN)
        config_error(r, config_secret_node(table, "secret_key"),
                     "secret_key in [server] is too short: give it at least %d characters, for "
                     "example what `openssl rand -base64 32` prints",
                     SECRET_KEY_MIN);
    for (size_t i = 0; i < config->n_listen; i++) {
        for (size_t j = 0; j < i; j++) {
            if (span_eq(config->listen[i].text, config->listen[j].text) &&
                (config->listen[i].is_unix || config->listen[i].port != 0))
                config_error(r, listen, "\"listen\" in [server] names %s twice",
                             config_quote(r, config->listen[i].text));
        }
    }
}

/* ---- the file as a whole ---- */

/* The tables of an array of tables, one after the other, NULL behind the last; refused elements are
 * left out, as they are in the config. */
static const struct toml_node *next_table(const struct toml_node *element)
{
    while (element && element->type != TOML_TABLE)
        element = element->next;
    return element;
}
static const struct toml_node *first_table(const struct toml_node *root, const char *name)
{
    const struct toml_node *array = toml_get(root, name);
    return array && array->type == TOML_ARRAY ? next_table(array->first) : NULL;
}

/* Complains when records before this one have its name. `names` holds them; the new one is added.
 */
static void take_name(struct config_reader *r, const struct toml_node *element, const char *title,
                      const char *member, struct span *names, size_t n, struct span name)
{
    names[n] = name;
    for (size_t i = 0; i < n && name.n; i++) {
        if (span_eq(names[i], name)) {
            const struct toml_node *value = toml_get(element, member);
            config_error(r, value ? value : element, "the %s \"%s\" stands in %s twice", member,
                         config_quote(r, name), title);
            return;
        }
    }
}

static void finish_keys(struct config_reader *r, const struct toml_node *root,
                        struct key_config *keys, size_t n, struct span *names)
{
    const struct toml_node *element = first_table(root, "keys");
    for (size_t i = 0; i < n && element; i++, element = next_table(element->next)) {
        if (keys[i].name.n == 0) {
            keys[i].name = arena_printf(&r->config->arena, "key-%zu", i + 1);
            if (!keys[i].name.p) {
                r->no_memory = true;
                return;
            }
        }
        take_name(r, element, "[[keys]]", "name", names, i, keys[i].name);
        for (size_t j = 0; j < i; j++) {
            bool known = (keys[i].hashed || keys[i].length) && (keys[j].hashed || keys[j].length);
            if (known && memcmp(keys[i].sha256, keys[j].sha256, sizeof keys[i].sha256) == 0) {
                config_error(r, element, "the keys \"%s\" and \"%s\" are the same key",
                             config_quote(r, keys[j].name), config_quote(r, keys[i].name));
                break;
            }
        }
        r->title = "[[keys]]";
        resolve_accounts(r, element, &keys[i]);
    }
}

static void finish_sites(struct config_reader *r, const struct toml_node *root,
                         const struct site_config *sites, size_t n, struct span *names)
{
    const struct toml_node *element = first_table(root, "sites");
    for (size_t i = 0; i < n && element; i++, element = next_table(element->next))
        take_name(r, element, "[[sites]]", "name", names, i, sites[i].settings.name);
}

static void finish_models(struct config_reader *r, const struct toml_node *root,
                          struct model_config *models, size_t n, struct span *names)
{
    const struct toml_node *element = first_table(root, "models");
    r->title = "[[models]]";
    for (size_t i = 0; i < n && element; i++, element = next_table(element->next)) {
        take_name(r, element, "[[models]]", "id", names, i, models[i].id);
        config_read_targets(r, element, &models[i]);
    }
}

static bool is_local_listener(const struct listen_address *address)
{
    const struct span localhost = SPAN("localhost");
    struct ip_address ip;
    return address->is_unix ||
           (ip_parse(address->host, &ip) ? ip_is_loopback(&ip)
                                         : span_eq_nocase(address->host, localhost));
}

static void warn_about_the_whole(struct config_reader *r, const struct toml_node *root,
                                 const struct config *config)
{
    const struct toml_node *server = toml_get(root, "server");
    for (size_t i = 0; config->n_keys == 0 && i < config->n_listen; i++) {
        if (is_local_listener(&config->listen[i]))
            continue;
        config_warn(r, server ? toml_get(server, "listen") : NULL,
                    "listening on %s without [[keys]]: requests from other machines are refused "
                    "until a key is configured",
                    config_quote(r, config->listen[i].text));
        break;
    }
    if (config->n_sites == 0 && config->n_routes == 0)
        config_warn(r, NULL,
                    "no [[sites]] are configured: there is nothing to serve; for the built-in "
                    "demo, add one "
                    "with name = \"demo\" and adapter = \"demo\"");
}

void config_finish_root(struct config_reader *r, const struct toml_node *table, void *record)
{
    struct config *config = record;
    size_t most = config->n_keys > config->n_sites ? config->n_keys : config->n_sites;
    struct span *names =
        scratch_alloc(r, ((most > config->n_models ? most : config->n_models) + 1) * sizeof *names);
    if (!names)
        return;
    /* The lists are const for everybody else; here they are still being made. */
    finish_sites(r, table, config->sites, config->n_sites, names);
    finish_keys(r, table, (struct key_config *)config->keys, config->n_keys, names);
    finish_models(r, table, (struct model_config *)config->models, config->n_models, names);
    config_finish_routes(r, table, config);
    warn_about_the_whole(r, table, config);
}
