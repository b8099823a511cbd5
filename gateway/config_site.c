/*
 * gateway/config_site.c - [[sites]]: what depends on the adapter, and the two URLs.
 *
 * An adapter says which credentials and options it understands; they are checked here as strictly
 * as our own keys. Neither URLs nor credentials are repeated in a message: both may hold secrets.
 */
#include <ctype.h>
#include <stdio.h>

#include "gateway/config_schema.h"

/* ---- adapter ---- */

/* Named in design.md §4, not in this build yet. */
static const char *const later_adapters[] = {"chatgpt_web", "grok", "ernie", "lmarena"};

static void read_adapter(struct config_reader *r, const struct schema_key *key,
                         const struct toml_node *value, void *record)
{
    struct site_config *site = record;
    struct span name;
    if (!config_read_text(r, key->name, value, &name))
        return;
    site->adapter = adapter_find(name);
    if (site->adapter)
        return;
    for (size_t i = 0; i < sizeof later_adapters / sizeof later_adapters[0]; i++) {
        if (span_eq(name, span_str(later_adapters[i]))) {
            config_error(r, value, "the adapter \"%s\" comes with a later version of dragoman",
                         later_adapters[i]);
            return;
        }
    }
    struct buffer list;
    const char *names[32];
    size_t n = 0;
    buffer_init(&list, 512);
    for (; n < 32 && adapters[n]; n++) {
        names[n] = adapters[n]->name;
        buffer_printf(&list, "%s%s", n ? ", " : "", names[n]);
    }
    const char *near = config_nearest(name, names, n);
    config_error(r, value, "there is no adapter \"%s\"%s%s%s; this version has: %.*s",
                 config_quote(r, name), near ? " (did you mean \"" : "", near ? near : "",
                 near ? "\"?)" : "", SPAN_ARGS(buffer_span(&list)));
    buffer_free(&list);
}
static void print_adapter(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct site_config *site = record;
    config_print_quoted(out, span_str(site->adapter->name));
    if (site->adapter->title)
        buffer_printf(out, " # %s", site->adapter->title);
}
const struct value_type value_adapter = {
    .wanted = "an adapter's name", .read = read_adapter, .print = print_adapter};

/* ---- base_url ---- */

/* Cuts "host", "host:port", "[v6]" or "[v6]:port"; port -1 when absent. What is wrong, or NULL. */
static const char *parse_authority(struct span text, struct span *host, int *port)
{
    struct span digits = span_of(NULL, 0);
    struct ip_address ip;
    uint64_t number;
    bool has_port = false;
    *port = -1;
    if (text.n && text.p[0] == '[') {
        ptrdiff_t end = span_find_char(text, ']');
        if (end < 0)
            return "the closing ] of the IPv6 address is missing";
        *host = span_of(text.p + 1, (size_t)end - 1);
        struct span rest = span_from(text, (size_t)end + 1);
        has_port = rest.n > 0;
        if (has_port && rest.p[0] != ':')
            return "something stands behind the IPv6 address that is no port";
        digits = span_from(rest, 1);
        if (span_find_char(*host, ':') < 0 || !ip_parse(*host, &ip))
            return "what stands in brackets is not an IPv6 address";
    } else {
        ptrdiff_t colon = span_find_char(text, ':');
        has_port = colon >= 0;
        *host = has_port ? span_first(text, (size_t)colon) : text;
        if (has_port)
            digits = span_from(text, (size_t)colon + 1);
        if (host->n == 0)
            return "the host is missing";
        if (!config_is_host(*host))
            return "the host is neither an address nor a name (names with other letters: write "
                   "their xn-- form)";
    }
    if (has_port) {
        if (!span_to_u64(digits, 65535, &number) || number == 0)
            return "the port must be a number from 1 to 65535";
        *port = (int)number;
    }
    return NULL;
}

/* Path characters of RFC 3986, plus what people write unescaped and servers take. */
static bool is_path(struct span path)
{
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        if (c <= ' ' || c >= 0x7F || strchr("\"<>\\^`{|}", c))
            return false;
    }
    return true;
}

const char *config_parse_base_url(struct config_reader *r, struct span url,
                                  struct site_config *site)
{
    const struct span http = SPAN("http://"), https = SPAN("https://");
    struct span host;
    int port;
    site->tls = span_eq_nocase(span_first(url, https.n), https);
    if (!site->tls && !span_eq_nocase(span_first(url, http.n), http))
        return "it must begin with http:// or https://";
    struct span rest = span_from(url, site->tls ? https.n : http.n);
    if (span_find_char(rest, '?') >= 0 || span_find_char(rest, '#') >= 0)
        return "it must not hold a query or a fragment";
    ptrdiff_t slash = span_find_char(rest, '/');
    struct span authority = slash < 0 ? rest : span_first(rest, (size_t)slash);
    struct span path = slash < 0 ? span_of("", 0) : span_from(rest, (size_t)slash);
    if (span_find_char(authority, '@') >= 0)
        return "it must not hold a user or a password; credentials belong to [[sites.accounts]]";
    const char *wrong = parse_authority(authority, &host, &port);
    if (wrong)
        return wrong;
    if (!is_path(path))
        return "the path holds characters that must be percent-encoded";
    while (path.n && path.p[path.n - 1] == '/')
        path.n--;

    struct span lower = config_dup(r, host);
    if (!lower.p)
        return NULL;
    for (size_t i = 0; i < lower.n; i++)
        ((char *)lower.p)[i] = (char)tolower((unsigned char)lower.p[i]); /* our own copy */
    int usual = site->tls ? 443 : 80;
    bool v6 = authority.p[0] == '[';
    site->host = lower;
    site->port = port < 0 ? usual : port;
    const char *open = v6 ? "[" : "", *close = v6 ? "]" : "";
    site->host_header = site->port == usual ? arena_printf(&r->config->arena, "%s%.*s%s", open,
                                                           SPAN_ARGS(lower), close)
                                            : arena_printf(&r->config->arena, "%s%.*s%s:%d", open,
                                                           SPAN_ARGS(lower), close, site->port);
    site->settings.origin = arena_printf(&r->config->arena, "http%s://%.*s", site->tls ? "s" : "",
                                         SPAN_ARGS(site->host_header));
    site->settings.prefix = config_dup(r, path);
    r->no_memory |= !site->host_header.p || !site->settings.origin.p;
    return NULL;
}

static void read_base_url(struct config_reader *r, const struct schema_key *key,
                          const struct toml_node *value, void *record)
{
    struct span url;
    if (!config_read_text(r, key->name, value, &url))
        return;
    const char *wrong = config_parse_base_url(r, url, record);
    const struct site_config *site = record;
    if (wrong)
        config_error(r, value, "\"%s\" in %s: %s", key->name, r->title, wrong);
    else if (span_ends(site->settings.prefix, SPAN("/chat/completions")))
        config_warn(r, value,
                    "\"%s\" in %s ends with /chat/completions: dragoman adds that itself, leave it "
                    "out",
                    key->name, r->title);
}
static void print_base_url(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct site_config *site = record;
    buffer_char(out, '"');
    buffer_append(out, site->settings.origin);
    buffer_append(out, site->settings.prefix);
    buffer_char(out, '"');
}
const struct value_type value_base_url = {
    .wanted = "a URL", .read = read_base_url, .print = print_base_url};

static void read_chat_path(struct config_reader *r, const struct schema_key *key,
                           const struct toml_node *value, void *record)
{
    struct site_config *site = record;
    struct span path;
    if (!config_read_text(r, key->name, value, &path))
        return;
    if (path.n && (path.p[0] != '/' || !is_path(path) || span_find_char(path, '#') >= 0))
        config_error(
            r, value,
            "\"%s\" in %s must begin with / (a query may follow) and hold no blanks, found \"%s\"",
            key->name, r->title, config_quote(r, path));
    else
        site->settings.path = path;
}
static void print_chat_path(struct buffer *out, const struct schema_key *key, const void *record)
{
    config_print_quoted(out, ((const struct site_config *)record)->settings.path);
}
const struct value_type value_chat_path = {
    .wanted = "a path", .read = read_chat_path, .print = print_chat_path};

/* ---- proxy ---- */

/* In the config's memory; {NULL,0} when a % is not followed by two hex digits, or hides a control
 * character. */
static struct span percent_decode(struct config_reader *r, struct span text)
{
    struct span copy = config_dup(r, text);
    char *to = (char *)copy.p; /* our own copy */
    if (!to)
        return copy;
    for (size_t i = 0; i < text.n; i++) {
        int c = (unsigned char)text.p[i];
        if (c == '%') {
            int high = i + 2 < text.n ? hex_digit(text.p[i + 1]) : -1;
            int low = i + 2 < text.n ? hex_digit(text.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return span_of(NULL, 0);
            c = high * 16 + low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7F)
            return span_of(NULL, 0);
        *to++ = (char)c;
    }
    *to = '\0';
    return span_of(copy.p, (size_t)(to - copy.p));
}

static const char *parse_proxy_user(struct config_reader *r, struct span text,
                                    struct proxy_config *proxy)
{
    ptrdiff_t colon = span_find_char(text, ':');
    proxy->user = percent_decode(r, colon < 0 ? text : span_first(text, (size_t)colon));
    proxy->password =
        percent_decode(r, colon < 0 ? span_of("", 0) : span_from(text, (size_t)colon + 1));
    if (!proxy->user.p || !proxy->password.p)
        return "user or password is not percent-encoded rightly";
    if (proxy->user.n > 255 || proxy->password.n > 255)
        return "user and password have at most 255 bytes";
    return NULL;
}

static const char *parse_proxy(struct config_reader *r, struct span url, struct proxy_config *proxy)
{
    static const struct {
        const char *scheme;
        int kind;
    } schemes[] = {{"http", PROXY_HTTP}, {"socks5", PROXY_SOCKS5}, {"socks5h", PROXY_SOCKS5H}};
    ptrdiff_t mark = span_find(url, SPAN("://"));
    struct span scheme = mark < 0 ? span_of("", 0) : span_first(url, (size_t)mark);
    int kind = PROXY_NONE;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (span_eq_nocase(scheme, span_str(schemes[i].scheme)))
            kind = schemes[i].kind;
    }
    if (kind == PROXY_NONE)
        return "it must begin with http://, socks5:// or socks5h://";
    struct span rest = span_from(url, (size_t)mark + 3);
    if (span_ends(rest, SPAN("/")))
        rest.n--;
    ptrdiff_t at = span_find_last(rest, SPAN("@"));
    if (at >= 0) {
        const char *wrong = parse_proxy_user(r, span_first(rest, (size_t)at), proxy);
        if (wrong)
            return wrong;
    }
    struct span host;
    int port;
    const char *wrong = parse_authority(span_from(rest, (size_t)(at + 1)), &host, &port);
    if (wrong)
        return wrong;
    if (port < 0)
        return "the port is missing";
    proxy->kind = kind;
    proxy->host = config_dup(r, host);
    proxy->port = port;
    return NULL;
}

static void read_proxy(struct config_reader *r, const struct schema_key *key,
                       const struct toml_node *value, void *record)
{
    struct site_config *site = record;
    struct span url;
    if (!config_read_text(r, key->name, value, &url) || url.n == 0)
        return;
    const char *wrong = parse_proxy(r, url, &site->proxy);
    if (wrong)
        config_error(
            r, value,
            "\"%s\" in %s: %s (http://[user:password@]host:port, socks5://… or socks5h://…)",
            key->name, r->title, wrong);
}
static void print_proxy(struct buffer *out, const struct schema_key *key, const void *record)
{
    static const char *const schemes[] = {"", "http://", "socks5://", "socks5h://"};
    const struct proxy_config *proxy = &((const struct site_config *)record)->proxy;
    if (proxy->kind == PROXY_NONE) {
        buffer_append(out, SPAN("\"\""));
        return;
    }
    bool v6 = span_find_char(proxy->host, ':') >= 0, masked = proxy->user.n || proxy->password.n;
    buffer_printf(out, "\"%s%s%s%.*s%s:%d\"", schemes[proxy->kind], masked ? "***:***@" : "",
                  v6 ? "[" : "", SPAN_ARGS(proxy->host), v6 ? "]" : "", proxy->port);
}
const struct value_type value_proxy = {.wanted = "a URL", .read = read_proxy, .print = print_proxy};

/* ---- field_aliases ---- */

static void read_aliases(struct config_reader *r, const struct schema_key *key,
                         const struct toml_node *value, void *record)
{
    struct site_config *site = record;
    if (!config_want(r, key->name, value, TOML_TABLE, "a table of strings"))
        return;
    if (value->count > JSON_ALIASES_MAX) {
        config_error(r, value, "\"%s\" has more than %d entries", key->name, JSON_ALIASES_MAX);
        return;
    }
    struct json_alias *list = config_alloc(r, (value->count + 1) * sizeof *list);
    size_t n = 0;
    for (const struct toml_node *member = value->first; list && member; member = member->next) {
        list[n].from = config_dup(r, member->key);
        if (config_read_text(r, key->name, member, &list[n].to) &&
            config_check_plain(r, key->name, member, list[n].to))
            n++;
    }
    site->settings.aliases = list;
    site->settings.n_aliases = n;
}
static void print_aliases(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct site_settings *site = &((const struct site_config *)record)->settings;
    buffer_char(out, '{');
    for (size_t i = 0; i < site->n_aliases; i++) {
        buffer_append(out, i ? SPAN(", ") : SPAN(" "));
        config_print_quoted(out, site->aliases[i].from);
        buffer_append(out, SPAN(" = "));
        config_print_quoted(out, site->aliases[i].to);
    }
    buffer_append(out, site->n_aliases ? SPAN(" }") : SPAN("}"));
}
const struct value_type value_aliases = {
    .wanted = "a table of strings", .read = read_aliases, .print = print_aliases};

/* ---- names that an adapter allows ---- */

enum { FIELD_NAMES_MAX = 128, FIELD_NAME_MAX = 64 };

/* The names of a table whose keys come from an adapter: x, and for secrets x_env and x_file. */
struct field_names {
    char text[FIELD_NAMES_MAX][FIELD_NAME_MAX];
    const char *list[FIELD_NAMES_MAX];
    size_t n;
};

static void add_name(struct field_names *names, const char *name, const char *suffix)
{
    if (names->n == FIELD_NAMES_MAX)
        return;
    snprintf(names->text[names->n], FIELD_NAME_MAX, "%s%s", name, suffix);
    names->list[names->n] = names->text[names->n];
    names->n++;
}

static void add_field(struct field_names *names, const char *name, bool secret)
{
    add_name(names, name, "");
    if (secret) {
        add_name(names, name, "_env");
        add_name(names, name, "_file");
    }
}

static void complain_unknown(struct config_reader *r, const struct toml_node *table,
                             const struct field_names *names)
{
    for (const struct toml_node *member = table->first; member; member = member->next) {
        bool known = false;
        for (size_t i = 0; i < names->n && !known; i++)
            known = span_eq(member->key, span_str(names->list[i]));
        if (!known)
            config_unknown_key(r, member, r->title, names->list, names->n);
    }
}

/* ---- options ---- */

static bool is_permitted(const struct option_field *option, struct span text)
{
    struct span rest = span_str(option->values), word;
    while (span_split(&rest, ' ', &word)) {
        if (word.n && span_eq(text, word))
            return true;
    }
    return false;
}

static bool read_option_text(struct config_reader *r, const struct option_field *option,
                             const struct toml_node *table, struct span *text)
{
    const struct toml_node *value = config_secret_node(table, option->name);
    if (option->secret)
        return config_read_secret(r, table, option->name, text) == 1;
    if (!config_read_text(r, option->name, value, text))
        return false;
    if (option->values && !is_permitted(option, *text)) {
        config_error(r, value, "\"%s\" in %s must be one of: %s, found \"%s\"", option->name,
                     r->title, option->values, config_quote(r, *text));
        return false;
    }
    return true;
}

static bool read_option(struct config_reader *r, const struct option_field *option,
                        const struct toml_node *table, struct option_value *out)
{
    const struct toml_node *value = config_secret_node(table, option->name);
    *out = (struct option_value){.name = span_str(option->name), .type = option->type};
    out->integer = value->integer;
    out->number = value->number;
    switch (option->type) {
    case OPTION_TEXT: return read_option_text(r, option, table, &out->text);
    case OPTION_INT: return config_want(r, option->name, value, TOML_INT, "an integer");
    case OPTION_BOOL: return config_want(r, option->name, value, TOML_BOOL, "true or false");
    case OPTION_NUMBER: break;
    }
    return value->type == TOML_INT || config_want(r, option->name, value, TOML_FLOAT, "a number");
}

/* `node` may be NULL: nothing configured. */
static void read_options(struct config_reader *r, const struct toml_node *node,
                         struct site_config *site)
{
    if (!node || !config_want(r, "options", node, TOML_TABLE, "a table"))
        return;
    char title[128];
    const char *outer = r->title;
    snprintf(title, sizeof title, "the options of adapter %s", site->adapter->name);
    r->title = title;
    struct field_names *names = scratch_alloc(r, sizeof *names);
    struct option_value *list = config_alloc(r, (node->count + 1) * sizeof *list);
    size_t n = 0;
    for (const struct option_field *option = site->adapter->options;
         names && list && option && option->name; option++) {
        add_field(names, option->name, option->secret);
        bool given = option->secret ? config_secret_node(node, option->name) != NULL
                                    : toml_get(node, option->name) != NULL;
        if (given && read_option(r, option, node, &list[n]))
            n++;
    }
    if (names && names->n)
        complain_unknown(r, node, names);
    else if (names && node->first)
        config_error_at_key(r, node->first, "the adapter %s has no options", site->adapter->name);
    site->settings.options = list;
    site->settings.n_options = n;
    r->title = outer;
}

static const struct option_field *find_option(const struct adapter *adapter, struct span name)
{
    for (const struct option_field *option = adapter->options; option && option->name; option++) {
        if (span_eq(name, span_str(option->name)))
            return option;
    }
    return NULL;
}

static void print_options(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct site_config *site = record;
    buffer_char(out, '{');
    for (size_t i = 0; i < site->settings.n_options; i++) {
        const struct option_value *value = &site->settings.options[i];
        const struct option_field *option = find_option(site->adapter, value->name);
        buffer_printf(out, "%s%.*s = ", i ? ", " : " ", SPAN_ARGS(value->name));
        if (value->type == OPTION_TEXT && option && option->secret)
            config_print_secret(out, value->text.n);
        else if (value->type == OPTION_TEXT)
            config_print_quoted(out, value->text);
        else if (value->type == OPTION_INT)
            buffer_printf(out, "%lld", (long long)value->integer);
        else if (value->type == OPTION_BOOL)
            buffer_append(out, value->integer ? SPAN("true") : SPAN("false"));
        else
            buffer_printf(out, "%g", value->number);
    }
    buffer_append(out, site->settings.n_options ? SPAN(" }") : SPAN("}"));
}
const struct value_type value_options = {.wanted = "a table", .print = print_options};

/* ---- accounts ---- */

/* "token or api_key, or guest = true" */
static void name_credentials(const struct adapter *adapter, struct buffer *out)
{
    const char *between = "";
    for (const struct credential_field *field = adapter->credentials; field && field->name;
         field++) {
        buffer_printf(out, "%s%s", between, field->name);
        between = ", ";
    }
    if (adapter->offers_guest)
        buffer_printf(out, "%sguest = true", *between ? " or " : "");
    if (!out->n)
        buffer_append(out, SPAN("nothing"));
}

static void complain_credentials(struct config_reader *r, const struct toml_node *at,
                                 const struct adapter *adapter, const char *what)
{
    struct buffer wanted;
    buffer_init(&wanted, 400);
    name_credentials(adapter, &wanted);
    config_error(r, at, "%s: the adapter %s wants %.*s", what, adapter->name,
                 SPAN_ARGS(buffer_span(&wanted)));
    buffer_free(&wanted);
}

/* What people paste along with a credential, or instead of it. */
static void doubt_credential(struct config_reader *r, const struct toml_node *table,
                             const struct credential_field *field, struct span text)
{
    const char *doubt = NULL;
    if (span_eq_nocase(span_first(text, 7), SPAN("bearer ")))
        doubt = "begins with the word Bearer: dragoman adds that itself, leave it out";
    else if (text.p[0] == ' ' || text.p[text.n - 1] == ' ')
        doubt = "begins or ends with a blank";
    for (size_t i = 0; i < text.n && !doubt; i++) {
        if ((unsigned char)text.p[i] >= 0x80)
            doubt = "holds a character beyond ASCII: it is hardly what the site gave out";
    }
    if (doubt)
        config_warn(r, table, "\"%s\" in %s %s", field->name, r->title, doubt);
}

static bool read_credential(struct config_reader *r, const struct credential_field *field,
                            const struct toml_node *table, struct span *text)
{
    if (!field->plain) {
        bool good = config_read_secret(r, table, field->name, text) == 1;
        if (good)
            doubt_credential(r, table, field, *text);
        return good;
    }
    const struct toml_node *value = toml_get(table, field->name);
    return value && config_read_text(r, field->name, value, text) &&
           config_check_plain(r, field->name, value, *text);
}

static void read_account(struct config_reader *r, const struct site_config *site,
                         const struct toml_node *table, struct account_config *account)
{
    const struct adapter *adapter = site->adapter;
    struct field_names *names = scratch_alloc(r, sizeof *names);
    struct credential *list = config_alloc(r, (table->count + 1) * sizeof *list);
    if (!names || !list)
        return;
    const struct toml_node *name = toml_get(table, "name"), *guest = toml_get(table, "guest"),
                           *weight = toml_get(table, "weight");
    add_name(names, "name", "");
    add_name(names, "guest", "");
    add_name(names, "weight", "");
    account->weight = 1;
    if (name && (!config_read_text(r, "name", name, &account->name) ||
                 !config_check_plain(r, "name", name, account->name)))
        account->name = span_of(NULL, 0);
    if (guest && config_want(r, "guest", guest, TOML_BOOL, "true or false"))
        account->guest = guest->integer != 0;
    if (account->guest && !adapter->offers_guest)
        config_error(r, guest, "the adapter %s has no guest session", adapter->name);

    if (weight && config_want(r, "weight", weight, TOML_INT, "a whole number from 1 to 1000")) {
        if (weight->integer < 1 || weight->integer > 1000)
            config_error(r, weight, "\"weight\" must be a whole number from 1 to 1000");
        else
            account->weight = (int)weight->integer;
    }

    size_t given = 0; /* also those that were refused: they are complained about already */
    for (const struct credential_field *field = adapter->credentials; field && field->name;
         field++) {
        add_field(names, field->name, !field->plain);
        given += field->plain ? toml_get(table, field->name) != NULL
                              : config_secret_node(table, field->name) != NULL;
        struct credential *credential = &list[account->n_credentials];
        if (read_credential(r, field, table, &credential->value)) {
            credential->name = span_str(field->name);
            account->n_credentials++;
        }
    }
    account->credentials = list;
    struct fail fail = {0};
    if (adapter->check_account && given == account->n_credentials &&
        adapter->check_account(&site->settings, list, given, &fail))
        config_error(r, table, "%s", fail.message);
    complain_unknown(r, table, names);
    if (adapter->needs_account && !given && !account->guest)
        complain_credentials(r, table, adapter, "this account has no credential");
}

static void check_account_names(struct config_reader *r, const struct toml_node *node,
                                struct account_config *list, size_t n)
{
    const struct toml_node *element = node->first;
    for (size_t i = 0; i < n; i++, element = element->next) {
        if (list[i].name.n == 0) {
            list[i].name = i == 0 ? span_of("default", 7)
                                  : arena_printf(&r->config->arena, "account-%zu", i + 1);
            if (!list[i].name.p) {
                r->no_memory = true;
                return;
            }
        }
        for (size_t j = 0; j < i; j++) {
            if (span_eq(list[i].name, list[j].name)) {
                const struct toml_node *name = toml_get(element, "name");
                config_error(r, name ? name : element, "this site has an account \"%s\" already",
                             config_quote(r, list[i].name));
                break;
            }
        }
    }
}

/* `node` may be NULL: nothing configured. */
void config_read_accounts(struct config_reader *r, const struct toml_node *table,
                          const struct toml_node *node, struct site_config *site, const char *title)
{
    char wanted[80];
    snprintf(wanted, sizeof wanted, "an array of tables (%s)", title);
    size_t n = node && node->type == TOML_ARRAY ? node->count : 0;
    struct account_config *list = config_alloc(r, (n + 1) * sizeof *list);
    if (!list || (node && !config_want(r, "accounts", node, TOML_ARRAY, wanted)))
        return;
    if (n > CONFIG_LIST_MAX) {
        config_error(r, node, "\"accounts\" in %s has more than %d entries", r->title,
                     CONFIG_LIST_MAX);
        return;
    }
    const char *outer = r->title;
    r->title = title;
    const struct toml_node *element = node ? node->first : NULL;
    for (size_t i = 0; i < n; i++, element = element->next) {
        if (config_want(r, "accounts", element, TOML_TABLE, wanted))
            read_account(r, site, element, &list[i]);
    }
    if (n)
        check_account_names(r, node, list, n);
    r->title = outer;

    if (n == 0 && site->adapter->needs_account && !site->keys_passthrough) {
        complain_credentials(r, table, site->adapter, "this site needs [[sites.accounts]]");
    } else if (n == 0) {
        list[0].name = span_of("default", 7);
        list[0].weight = 1;
        n = 1;
    }
    site->accounts = list;
    site->n_accounts = n;
}

void config_print_accounts(struct buffer *out, const struct site_config *site, const char *title)
{
    for (size_t i = 0; i < site->n_accounts; i++) {
        const struct account_config *account = &site->accounts[i];
        buffer_printf(out, "\n  %s\n  name = ", title);
        config_print_quoted(out, account->name);
        buffer_char(out, '\n');
        buffer_printf(out, "  weight = %d\n", account->weight);
        for (size_t j = 0; j < account->n_credentials; j++) {
            const struct credential *credential = &account->credentials[j];
            bool plain = false;
            for (const struct credential_field *field = site->adapter->credentials;
                 field && field->name; field++)
                plain |= field->plain && span_eq(credential->name, span_str(field->name));
            buffer_printf(out, "  %.*s = ", SPAN_ARGS(credential->name));
            if (plain)
                config_print_quoted(out, credential->value);
            else
                config_print_secret(out, credential->value.n);
            buffer_char(out, '\n');
        }
        buffer_append(out, account->guest ? SPAN("  guest = true\n") : SPAN("  guest = false\n"));
        if (account->n_credentials == 0 && !account->guest)
            buffer_append(out, SPAN("  # anonymous: no credential is sent\n"));
    }
}
static void print_accounts_block(struct buffer *out, const struct schema_key *key,
                                 const void *record)
{
    config_print_accounts(out, record, "[[sites.accounts]]");
}
const struct value_type value_accounts = {.wanted = "an array of tables",
                                          .print_block = print_accounts_block};

/* ---- the site as a whole ---- */

static void check_name(struct config_reader *r, const struct toml_node *table, struct span name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (isalnum((unsigned char)name.p[i]) || strchr("._-", name.p[i]))
            continue;
        config_error(r, toml_get(table, "name"),
                     "\"name\" in [[sites]] may hold letters, digits, dots, dashes and "
                     "underscores, found \"%s\"",
                     config_quote(r, name));
        return;
    }
}

static void settle_base_url(struct config_reader *r, const struct toml_node *table,
                            struct site_config *site)
{
    const struct adapter *adapter = site->adapter;
    const struct toml_node *given = toml_get(table, "base_url");
    if (given && (adapter->capabilities & CAP_LOCAL)) {
        config_error(r, given, "the adapter %s answers by itself: it has no base_url",
                     adapter->name);
    } else if (!given && !adapter->origin) {
        config_error(
            r, table,
            "[[sites]] with adapter %s needs \"base_url\": the adapter has no site of its own",
            adapter->name);
    } else if (!given && adapter->origin[0]) {
        const char *wrong = config_parse_base_url(r, span_str(adapter->origin), site);
        if (wrong)
            config_error(r, table, "the adapter %s has a broken origin: %s", adapter->name, wrong);
    }
}

static bool takes_api_key(const struct adapter *adapter)
{
    const struct credential_field *field = adapter->credentials;
    while (field && field->name && strcmp(field->name, "api_key") != 0)
        field++;
    return field && field->name;
}

/* Without a word of the file: the site's own where it has it. `what` names it in the complaint. */
static void settle_feature(struct config_reader *r, const struct toml_node *table, const char *key,
                           const struct adapter *adapter, enum capability capability,
                           const char *what, enum feature_mode *mode)
{
    const struct toml_node *given = toml_get(table, key);
    bool native = adapter->capabilities & capability;
    if (!given)
        *mode = native ? FEATURE_NATIVE : FEATURE_EMULATE;
    else if (*mode == FEATURE_NATIVE && !native)
        config_error(r, given,
                     "\"%s\" in [[sites]] cannot be \"native\": %s has no %s of its own "
                     "(\"emulate\" or \"refuse\")",
                     key, adapter->name, what);
}

void config_finish_site(struct config_reader *r, const struct toml_node *table, void *record)
{
    struct site_config *site = record;
    const struct adapter *adapter = site->adapter;
    struct fail fail = {0};
    check_name(r, table, site->settings.name);
    if (!adapter)
        return; /* complained about already; what belongs to an adapter cannot be judged */
    settle_base_url(r, table, site);
    if (site->max_concurrent == 0)
        site->max_concurrent = adapter->max_concurrent;
    if (site->keys_passthrough && !takes_api_key(adapter))
        config_error(
            r, toml_get(table, "keys"),
            "\"keys.passthrough\" in [[sites]] needs an adapter whose accounts have an api_key; %s "
            "has none",
            adapter->name);
    settle_feature(r, table, "tools", site->adapter, CAP_TOOLS, "tools", &site->tools);
    settle_feature(r, table, "structured_output", site->adapter, CAP_RESPONSE_FORMAT,
                   "response_format", &site->structured_output);
    if (site->reuse_conversations && !(adapter->capabilities & CAP_CONVERSATION))
        config_error(r, toml_get(table, "reuse_conversations"),
                     "\"reuse_conversations\" in [[sites]] needs an adapter that can go on in a "
                     "conversation of its site; %s cannot",
                     adapter->name);
    read_options(r, toml_get(table, "options"), site);
    config_read_accounts(r, table, toml_get(table, "accounts"), site, "[[sites.accounts]]");
    if (adapter->check && adapter->check(&site->settings, &fail) != 0)
        config_error(r, table, "site \"%s\": %s", config_quote(r, site->settings.name),
                     fail.message);
}
