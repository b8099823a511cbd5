/*
 * gateway/config_values.c - the types of values: how each is read, checked and shown again.
 *
 * A reader gets its key's line of the schema, the value and the record, and writes through the
 * key's offset. It complains at the value's place, says what is wanted and what was found, and
 * never repeats a text that may be a secret.
 */
#include "gateway/config_schema.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void *field(void *record, size_t at) { return (char *)record + at; }
static const void *const_field(const void *record, size_t at) { return (const char *)record + at; }
#define FIELD(type, record, key)       (*(type *)field(record, (key)->at))
#define CONST_FIELD(type, record, key) (*(const type *)const_field(record, (key)->at))

static void store_list(void *record, const struct schema_key *key, const void *list, size_t n)
{
    FIELD(const void *, record, key) = list;
    *(size_t *)field(record, key->count_at) = n;
}

/* ---- text ---- */

static void print_text(struct buffer *out, const struct schema_key *key, const void *record)
{
    config_print_quoted(out, CONST_FIELD(struct span, record, key));
}

static void read_name(struct config_reader *r, const struct schema_key *key,
                      const struct toml_node *value, void *record)
{
    struct span text;
    if (config_read_text(r, key->name, value, &text) &&
        config_check_plain(r, key->name, value, text))
        FIELD(struct span, record, key) = text;
}
const struct value_type value_name = {.wanted = "a string", .read = read_name, .print = print_text};

static void read_path(struct config_reader *r, const struct schema_key *key,
                      const struct toml_node *value, void *record)
{
    struct span path;
    if (!config_read_path(r, key->name, value, &path))
        return;
    if (path.n == 0 || config_check_plain(r, key->name, value, path))
        FIELD(struct span, record, key) = path;
}
const struct value_type value_path = {.wanted = "a path", .read = read_path, .print = print_text};

static void read_readable_file(struct config_reader *r, const struct schema_key *key,
                               const struct toml_node *value, void *record)
{
    read_path(r, key, value, record);
    struct span path = FIELD(struct span, record, key);
    if (path.n && access(path.p, R_OK) != 0)
        config_error(r, value, "\"%s\" in %s: cannot read %s: %s", key->name, r->title, path.p,
                     strerror(errno));
}
const struct value_type value_readable_file = {
    .wanted = "a path", .read = read_readable_file, .print = print_text};

/* ---- numbers and words ---- */

static void read_bool(struct config_reader *r, const struct schema_key *key,
                      const struct toml_node *value, void *record)
{
    if (config_want(r, key->name, value, TOML_BOOL, "true or false"))
        FIELD(bool, record, key) = value->integer != 0;
}
static void print_bool(struct buffer *out, const struct schema_key *key, const void *record)
{
    buffer_append(out, CONST_FIELD(bool, record, key) ? SPAN("true") : SPAN("false"));
}
const struct value_type value_bool = {
    .wanted = "true or false", .read = read_bool, .print = print_bool};

static void read_int(struct config_reader *r, const struct schema_key *key,
                     const struct toml_node *value, void *record)
{
    if (!config_want(r, key->name, value, TOML_INT, "an integer"))
        return;
    if (value->integer < key->min || value->integer > key->max)
        config_error(r, value, "\"%s\" in %s must be from %lld to %lld, found %lld", key->name,
                     r->title, (long long)key->min, (long long)key->max, (long long)value->integer);
    else
        FIELD(int, record, key) = (int)value->integer;
}
static void print_int(struct buffer *out, const struct schema_key *key, const void *record)
{
    buffer_printf(out, "%d", CONST_FIELD(int, record, key));
}
const struct value_type value_int = {.wanted = "an integer", .read = read_int, .print = print_int};

struct unit {
    const char *name;
    int64_t factor;
};

/* "<digits><unit>", blanks allowed between; false when it is not, or does not fit. */
static bool parse_amount(struct span text, const struct unit *units, int64_t *amount)
{
    size_t digits = 0;
    uint64_t number;
    while (digits < text.n && isdigit((unsigned char)text.p[digits]))
        digits++;
    struct span unit = span_trim(span_from(text, digits));
    if (!span_to_u64(span_first(text, digits), INT64_MAX, &number))
        return false;
    for (; units->name; units++) {
        if (span_eq(unit, span_str(units->name)))
            return !__builtin_mul_overflow((int64_t)number, units->factor, amount);
    }
    return false;
}

static const struct unit size_units[] = {{"GiB", 1 << 30},   {"MiB", 1 << 20}, {"KiB", 1 << 10},
                                         {"GB", 1000000000}, {"MB", 1000000},  {"kB", 1000},
                                         {"KB", 1000},       {"B", 1},         {NULL, 0}};
static const struct unit duration_units[] = {
    {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};

/* In the largest unit that leaves a whole number. */
static void print_amount(struct buffer *out, const struct unit *units, size_t n, int64_t amount)
{
    size_t i = 0;
    while (i + 1 < n && (amount == 0 || amount % units[i].factor != 0))
        i++;
    buffer_printf(out, "\"%lld%s\"", (long long)(amount / units[i].factor), units[i].name);
}

static void print_size_value(struct buffer *out, int64_t size)
{
    if (size % 1024 == 0 && size)
        print_amount(out, size_units, 3, size);
    else
        buffer_printf(out, "%lld", (long long)size);
}

static void write_duration(struct buffer *out, int64_t ms)
{
    bool small = ms % 1000 != 0;
    print_amount(out, small ? duration_units + 3 : duration_units + 2, 1,
                 ms); /* seconds are what people compare */
}

static void read_size(struct config_reader *r, const struct schema_key *key,
                      const struct toml_node *value, void *record)
{
    int64_t size = value->integer;
    if (value->type == TOML_TEXT) {
        struct span text;
        if (!config_read_text(r, key->name, value, &text))
            return;
        if (!parse_amount(text, size_units, &size)) {
            config_error(r, value,
                         "\"%s\" in %s must be a size such as 33554432 or \"32MiB\" (KiB, MiB, "
                         "GiB, kB, MB, GB), found \"%s\"",
                         key->name, r->title, config_quote(r, text));
            return;
        }
    } else if (!config_want(r, key->name, value, TOML_INT,
                            "a size: bytes, or a string such as \"32MiB\"")) {
        return;
    }
    if (size < key->min || size > key->max) {
        struct buffer least, most;
        buffer_init(&least, 64);
        buffer_init(&most, 64);
        print_size_value(&least, key->min);
        print_size_value(&most, key->max);
        config_error(r, value, "\"%s\" in %s must be from %.*s to %.*s", key->name, r->title,
                     SPAN_ARGS(buffer_span(&least)), SPAN_ARGS(buffer_span(&most)));
        buffer_free(&least);
        buffer_free(&most);
        return;
    }
    FIELD(size_t, record, key) = (size_t)size;
}
static void print_size(struct buffer *out, const struct schema_key *key, const void *record)
{
    print_size_value(out, (int64_t)CONST_FIELD(size_t, record, key));
}
const struct value_type value_size = {.wanted = "a size", .read = read_size, .print = print_size};

static void read_duration(struct config_reader *r, const struct schema_key *key,
                          const struct toml_node *value, void *record)
{
    struct span text;
    int64_t ms;
    if (value->type == TOML_INT) {
        config_error(r, value, "\"%s\" in %s needs a unit: write \"%llds\" or \"%lldms\"",
                     key->name, r->title, (long long)value->integer, (long long)value->integer);
        return;
    }
    if (!config_want(r, key->name, value, TOML_TEXT, "a time such as \"10s\"") ||
        !config_read_text(r, key->name, value, &text))
        return;
    if (!parse_amount(text, duration_units, &ms))
        config_error(r, value,
                     "\"%s\" in %s must be a time such as \"10s\" (ms, s, m, h), found \"%s\"",
                     key->name, r->title, config_quote(r, text));
    else if (ms < key->min || ms > key->max)
        config_error(r, value, "\"%s\" in %s must be from %s to \"%lldh\", found \"%s\"", key->name,
                     r->title, key->min ? "\"1ms\"" : "\"0s\"", (long long)(key->max / 3600000),
                     config_quote(r, text));
    else
        FIELD(int64_t, record, key) = ms;
}
static void print_duration(struct buffer *out, const struct schema_key *key, const void *record)
{
    write_duration(out, CONST_FIELD(int64_t, record, key));
}
const struct value_type value_duration = {
    .wanted = "a time", .read = read_duration, .print = print_duration};

/* The word's place in the list, -1 after complaining. */
static int read_word_index(struct config_reader *r, const struct schema_key *key,
                           const struct toml_node *value)
{
    struct span text, rest = span_str(key->words), word;
    if (!config_read_text(r, key->name, value, &text))
        return -1;
    for (int i = 0; span_split(&rest, ' ', &word); i++) {
        if (span_eq(text, word))
            return i;
    }
    const char *names[16];
    char copy[128];
    size_t n = 0;
    char *state;
    snprintf(copy, sizeof copy, "%s", key->words);
    for (char *at = strtok_r(copy, " ", &state); at && n < 16; at = strtok_r(NULL, " ", &state))
        names[n++] = at;
    const char *near = config_nearest(text, names, n);
    config_error(r, value, "\"%s\" in %s must be one of: %s, found \"%s\"%s%s%s", key->name,
                 r->title, key->words, config_quote(r, text), near ? " (did you mean \"" : "",
                 near ? near : "", near ? "\"?)" : "");
    return -1;
}

static void print_word_index(struct buffer *out, const struct schema_key *key, int index)
{
    struct span rest = span_str(key->words), word = {NULL, 0};
    for (int i = 0; i <= index; i++)
        span_split(&rest, ' ', &word);
    config_print_quoted(out, word);
}

static void read_word(struct config_reader *r, const struct schema_key *key,
                      const struct toml_node *value, void *record)
{
    int index = read_word_index(r, key, value);
    if (index >= 0)
        FIELD(int, record, key) = index; /* enums are ints here */
}
static void print_word(struct buffer *out, const struct schema_key *key, const void *record)
{
    print_word_index(out, key, CONST_FIELD(int, record, key));
}
const struct value_type value_word = {.wanted = "a word", .read = read_word, .print = print_word};

/* Two words, kept as a bool: is it the second? */
static void read_flag_word(struct config_reader *r, const struct schema_key *key,
                           const struct toml_node *value, void *record)
{
    int index = read_word_index(r, key, value);
    if (index >= 0)
        FIELD(bool, record, key) = index == 1;
}
static void print_flag_word(struct buffer *out, const struct schema_key *key, const void *record)
{
    print_word_index(out, key, CONST_FIELD(bool, record, key) ? 1 : 0);
}
const struct value_type value_flag_word = {
    .wanted = "a word", .read = read_flag_word, .print = print_flag_word};

static void read_key_reasoning(struct config_reader *r, const struct schema_key *key,
                               const struct toml_node *value, void *record)
{
    FIELD(int, record, key) = -1;
    if (value->type != TOML_TEXT || value->text.n)
        FIELD(int, record, key) = read_word_index(r, key, value);
}
static void print_key_reasoning(struct buffer *out, const struct schema_key *key,
                                const void *record)
{
    if (CONST_FIELD(int, record, key) < 0)
        config_print_quoted(out, SPAN(""));
    else
        print_word(out, key, record);
}
const struct value_type value_key_reasoning = {
    .wanted = "a word", .read = read_key_reasoning, .print = print_key_reasoning};

/* ---- dates ---- */

static void read_expiry(struct config_reader *r, const struct schema_key *key,
                        const struct toml_node *value, void *record)
{
    const int64_t day_ms = 86400000;
    const char *wanted =
        "a date or a date and time, without quotes: 2026-12-31 or 2026-12-31T18:00:00Z";
    if (!config_want(r, key->name, value, TOML_DATE, wanted))
        return;
    if (!value->has_date) {
        config_error(r, value, "\"%s\" in %s must be %s, found a time without a date", key->name,
                     r->title, wanted);
        return;
    }
    FIELD(struct config_expiry, record, key) = (struct config_expiry){
        .set = true,
        .whole_day = !value->has_time,
        .at_ms = value->integer + (value->has_time ? 0 : day_ms),
    };
}

const char *config_expiry_format(const struct config_expiry *e, char text[CONFIG_EXPIRY_SIZE])
{
    time_t at = (time_t)(e->at_ms / 1000 - (e->whole_day ? 1 : 0));
    struct tm tm;
    if (!e->set || !gmtime_r(&at, &tm))
        snprintf(text, CONFIG_EXPIRY_SIZE, "never");
    else
        strftime(text, CONFIG_EXPIRY_SIZE, e->whole_day ? "%F" : "%F %T UTC", &tm);
    return text;
}

static void print_expiry(struct buffer *out, const struct schema_key *key, const void *record)
{
    char text[CONFIG_EXPIRY_SIZE];
    buffer_printf(out, "%s",
                  config_expiry_format(&CONST_FIELD(struct config_expiry, record, key), text));
}
const struct value_type value_expiry = {
    .wanted = "a date", .read = read_expiry, .print = print_expiry};

/* ---- lists ---- */

/* Reads one element into a record of the list; false after complaining. */
typedef bool (*read_element)(struct config_reader *, const struct schema_key *,
                             const struct toml_node *, void *element);

/* Elements that were refused are left out; the file is refused anyway. */
static void read_list(struct config_reader *r, const struct schema_key *key,
                      const struct toml_node *value, void *record, const char *wanted, size_t size,
                      read_element read)
{
    if (!config_want(r, key->name, value, TOML_ARRAY, wanted))
        return;
    if (value->count > CONFIG_LIST_MAX) {
        config_error(r, value, "\"%s\" in %s has more than %d entries", key->name, r->title,
                     CONFIG_LIST_MAX);
        return;
    }
    char *list = config_alloc(r, (value->count + 1) * size);
    size_t n = 0;
    if (!list)
        return;
    for (const struct toml_node *element = value->first; element; element = element->next) {
        if (read(r, key, element, list + n * size))
            n++;
    }
    store_list(record, key, list, n);
}

static void print_spans(struct buffer *out, const struct span *list, size_t n)
{
    buffer_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        buffer_append(out, i ? SPAN(", ") : SPAN(""));
        config_print_quoted(out, list[i]);
    }
    buffer_char(out, ']');
}

static bool read_text_element(struct config_reader *r, const struct schema_key *key,
                              const struct toml_node *value, void *element)
{
    struct span *text = element;
    return config_read_text(r, key->name, value, text) &&
           config_check_plain(r, key->name, value, *text);
}
static void read_texts(struct config_reader *r, const struct schema_key *key,
                       const struct toml_node *value, void *record)
{
    read_list(r, key, value, record, "an array of strings", sizeof(struct span), read_text_element);
}
static void print_texts(struct buffer *out, const struct schema_key *key, const void *record)
{
    print_spans(out, CONST_FIELD(struct span *, record, key),
                *(const size_t *)const_field(record, key->count_at));
}
const struct value_type value_texts = {
    .wanted = "an array of strings", .read = read_texts, .print = print_texts};

static bool read_origin_element(struct config_reader *r, const struct schema_key *key,
                                const struct toml_node *value, void *element)
{
    if (!read_text_element(r, key, value, element))
        return false;
    struct span text = *(struct span *)element;
    ptrdiff_t scheme = span_find(text, SPAN("://"));
    struct span host = span_from(text, scheme < 0 ? text.n : (size_t)scheme + 3);
    bool exact = scheme > 0 && host.n && span_find_char(host, '/') < 0 &&
                 span_find_char(text, '*') < 0 && span_find_char(text, ' ') < 0;
    if (exact || span_eq(text, SPAN("*")) || span_eq(text, SPAN("null")))
        return true;
    config_error(r, value,
                 "\"%s\" in %s must hold exact origins such as \"https://app.example\" (no path, "
                 "no final slash), or \"*\", found \"%s\"",
                 key->name, r->title, config_quote(r, text));
    return false;
}
static void read_cors_origins(struct config_reader *r, const struct schema_key *key,
                              const struct toml_node *value, void *record)
{
    read_list(r, key, value, record, "an array of strings", sizeof(struct span),
              read_origin_element);
}
const struct value_type value_cors_origins = {
    .wanted = "an array of strings", .read = read_cors_origins, .print = print_texts};

static bool read_cidr_element(struct config_reader *r, const struct schema_key *key,
                              const struct toml_node *value, void *element)
{
    struct span text;
    if (!config_read_text(r, key->name, value, &text))
        return false;
    if (cidr_parse(text, element))
        return true;
    config_error(r, value,
                 "\"%s\" in %s must hold addresses or ranges such as \"10.0.0.0/8\" or \"::1\" "
                 "(bits behind the prefix zero), found \"%s\"",
                 key->name, r->title, config_quote(r, text));
    return false;
}
static void read_cidrs(struct config_reader *r, const struct schema_key *key,
                       const struct toml_node *value, void *record)
{
    read_list(r, key, value, record, "an array of addresses or ranges", sizeof(struct cidr),
              read_cidr_element);
}
static void print_cidrs(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct cidr *list = CONST_FIELD(struct cidr *, record, key);
    size_t n = *(const size_t *)const_field(record, key->count_at);
    buffer_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        struct ip_address ip = {.known = true};
        char text[46];
        memcpy(ip.bytes, list[i].bytes, sizeof ip.bytes);
        ip_format(&ip, text);
        bool dotted = !strchr(text, ':') && list[i].bits >= 96;
        if (!dotted &&
            !strchr(text, ':')) /* a v6 range that happens to begin like a mapped address */
            snprintf(text, sizeof text, "::ffff:0:0");
        buffer_printf(out, "%s\"%s/%d\"", i ? ", " : "", text, list[i].bits - (dotted ? 96 : 0));
    }
    buffer_char(out, ']');
}
const struct value_type value_cidrs = {
    .wanted = "an array of addresses or ranges", .read = read_cidrs, .print = print_cidrs};

/* ---- listen ---- */

/* Digits and dots only, but no address: 127.0.0.256, 1.2.3. Resolvers differ about them. */
static bool is_broken_v4(struct span host)
{
    struct ip_address ip;
    for (size_t i = 0; i < host.n; i++) {
        if (!isdigit((unsigned char)host.p[i]) && host.p[i] != '.')
            return false;
    }
    return !ip_parse(host, &ip);
}

bool config_is_host(struct span host)
{
    for (size_t i = 0; i < host.n; i++) {
        if (!isalnum((unsigned char)host.p[i]) && host.p[i] != '-' && host.p[i] != '.' &&
            host.p[i] != '_')
            return false;
    }
    return host.n > 0 && host.n <= 255 && host.p[0] != '.' && host.p[0] != '-' &&
           !is_broken_v4(host);
}

/* What is wrong, NULL when it is fine. */
static const char *parse_listen_tcp(struct span text, struct listen_address *address)
{
    struct ip_address ip;
    uint64_t port;
    ptrdiff_t colon = span_find_last(text, SPAN(":"));
    if (text.n && text.p[0] == '[') {
        ptrdiff_t end = span_find_char(text, ']');
        if (end < 0 || colon != end + 1)
            return "an IPv6 address is written [::1]:8080";
        address->host = span_of(text.p + 1, (size_t)end - 1);
        ptrdiff_t zone = span_find_char(address->host, '%');
        struct span bare = zone < 0 ? address->host : span_first(address->host, (size_t)zone);
        if (span_find_char(bare, ':') < 0 || !ip_parse(bare, &ip))
            return "what stands in brackets is not an IPv6 address";
    } else {
        if (colon < 0)
            return "the port is missing, as in 127.0.0.1:8080";
        address->host = span_first(text, (size_t)colon);
        if (span_eq(address->host, SPAN("*")) || address->host.n == 0)
            return "to listen everywhere write 0.0.0.0:PORT or [::]:PORT";
        if (span_find_char(address->host, ':') >= 0)
            return "an IPv6 address is written [::1]:8080";
        if (!config_is_host(address->host))
            return "the host is neither an address nor a name";
    }
    if (!span_to_u64(span_from(text, (size_t)colon + 1), 65535, &port))
        return "the port must be a number from 0 to 65535";
    address->port = (int)port;
    return NULL;
}

static bool read_listen_element(struct config_reader *r, const struct schema_key *key,
                                const struct toml_node *value, void *element)
{
    const struct span prefix = SPAN("unix:");
    struct listen_address *address = element;
    *address = (struct listen_address){0};
    if (!read_text_element(r, key, value, &address->text))
        return false;
    const char *wrong = NULL;
    address->is_unix = span_starts(address->text, prefix);
    if (address->is_unix) {
        struct buffer path;
        struct span rest = span_from(address->text, prefix.n);
        buffer_init(&path, CONFIG_PATH_MAX);
        if (!config_expand_tilde(r, key->name, value, &rest, &path))
            return false;
        buffer_append(&path, rest);
        address->host = config_resolve_path(r, config_dup(r, buffer_span(&path)));
        if (path.error == BUFFER_NOMEM)
            r->no_memory = true;
        else if (path.error || address->host.n >= sizeof(((struct sockaddr_un *)0)->sun_path))
            wrong = "the path of a unix socket has at most 107 bytes";
        else if (address->host.n == 0)
            wrong = "the path is missing, as in unix:/run/dragoman.sock";
        buffer_free(&path);
    } else {
        wrong = parse_listen_tcp(address->text, address);
        if (!wrong)
            address->host = config_dup(r, address->host); /* with a NUL of its own */
    }
    if (wrong)
        config_error(r, value, "\"%s\" in %s: \"%s\": %s", key->name, r->title,
                     config_quote(r, address->text), wrong);
    return !wrong;
}
static void read_listen(struct config_reader *r, const struct schema_key *key,
                        const struct toml_node *value, void *record)
{
    read_list(r, key, value, record, "an array of strings, such as [\"127.0.0.1:8080\"]",
              sizeof(struct listen_address), read_listen_element);
    if (value->type == TOML_ARRAY && value->count == 0)
        config_error(r, value, "\"%s\" in %s needs at least one address", key->name, r->title);
}
static void print_listen(struct buffer *out, const struct schema_key *key, const void *record)
{
    const struct config *config = record;
    buffer_char(out, '[');
    for (size_t i = 0; i < config->n_listen; i++) {
        buffer_append(out, i ? SPAN(", ") : SPAN(""));
        config_print_quoted(out, config->listen[i].text);
    }
    buffer_char(out, ']');
}
const struct value_type value_listen = {
    .wanted = "an array of addresses", .read = read_listen, .print = print_listen};

/* ---- tables ---- */

static void read_table(struct config_reader *r, const struct schema_key *key,
                       const struct toml_node *value, void *record)
{
    if (config_want(r, key->name, value, TOML_TABLE, "a table"))
        config_read_table(r, key->table, value, record);
}
static void print_table_block(struct buffer *out, const struct schema_key *key, const void *record)
{
    buffer_printf(out, "\n%s\n", key->table->title);
    config_print_table(out, key->table, record);
}
const struct value_type value_table = {
    .wanted = "a table", .read = read_table, .print_block = print_table_block};

static void print_inline_table(struct buffer *out, const struct schema_key *key, const void *record)
{
    const char *between = "{ ";
    for (const struct schema_key *member = key->table->keys; member->name; member++) {
        buffer_printf(out, "%s%s = ", between, member->name);
        member->type->print(out, member, record);
        between = ", ";
    }
    buffer_append(out, SPAN(" }"));
}
const struct value_type value_inline_table = {
    .wanted = "a table", .read = read_table, .print = print_inline_table};

static bool read_table_element(struct config_reader *r, const struct schema_key *key,
                               const struct toml_node *value, void *element)
{
    memset(element, 0, key->record_size);
    if (!config_want(r, key->name, value, TOML_TABLE, "an array of tables"))
        return false;
    config_read_table(r, key->table, value, element);
    return true;
}
static void read_tables(struct config_reader *r, const struct schema_key *key,
                        const struct toml_node *value, void *record)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "an array of tables ([[%s]])", key->name);
    read_list(r, key, value, record, wanted, key->record_size, read_table_element);
}
static void print_tables_block(struct buffer *out, const struct schema_key *key, const void *record)
{
    const char *list = CONST_FIELD(char *, record, key);
    size_t n = *(const size_t *)const_field(record, key->count_at);
    for (size_t i = 0; i < n; i++) {
        buffer_printf(out, "\n%s\n", key->table->title);
        config_print_table(out, key->table, list + i * key->record_size);
    }
}
const struct value_type value_tables = {
    .wanted = "an array of tables", .read = read_tables, .print_block = print_tables_block};

/* Known to the schema, read where its table is finished, never shown. */
const struct value_type value_later = {.wanted = "a string"};
