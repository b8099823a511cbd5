/*
 * gateway/mask.c - see mask.h.
 */
#include "gateway/mask.h"

#include "adapters/support.h"
#include "base/json_write.h"

enum { SECRET_MIN = 6, LONG_WORD = 16, KEY_MIN = 8, KEY_MAX = 256 };

struct mask_word {
    struct span text;
    struct mask_word *next;
};

struct mask mask_of(struct arena *arena, const struct config *config)
{
    return (struct mask){.arena = arena, .config = config};
}

void mask_fill(char *text, size_t n)
{
    if (n)
        memset(text, '*', n);
}

/* ---- which words ---- */

static void add_word(struct mask *m, struct span text)
{
    if (text.n < SECRET_MIN)
        return;
    for (const struct mask_word *w = m->words; w; w = w->next) {
        if (span_eq(w->text, text))
            return;
    }
    struct mask_word *w = arena_alloc(m->arena, sizeof *w);
    struct span copy = arena_text(m->arena, text);
    if (!w || !copy.p) {
        m->incomplete = true;
        return;
    }
    /* The longest first: what holds another is not to be torn by it. */
    struct mask_word **at = &m->words;
    while (*at && (*at)->text.n >= copy.n)
        at = &(*at)->next;
    *w = (struct mask_word){copy, *at};
    *at = w;
}

static void add_written(struct mask *m, struct span text)
{
    struct buffer written;
    if (text.n < SECRET_MIN)
        return;
    add_word(m, text);
    buffer_init(&written, 1 << 20);
    json_escape(&written, text);
    add_word(m, buffer_span(&written));
    buffer_clear(&written);
    percent_encode(&written, text);
    add_word(m, buffer_span(&written));
    m->incomplete |= written.error != 0;
    buffer_free(&written);
    struct span encoded = base64_encode(m->arena, text), hashed = sha256_hex(m->arena, text);
    m->incomplete |= !encoded.p || !hashed.p;
    add_word(m, encoded);
    add_word(m, hashed);
}

void mask_add(struct mask *m, struct span secret)
{
    struct span rest = secret, pair;
    add_written(m, secret);
    if (span_find_char(secret, '=') < 0)
        return;
    while (span_split(&rest, ';', &pair)) {
        ptrdiff_t equals = span_find_char(pair, '=');
        if (equals >= 0)
            add_written(m, span_trim(span_from(pair, (size_t)equals + 1)));
    }
}

static void add_site(struct mask *m, const struct site_config *site)
{
    for (size_t i = 0; i < site->n_accounts; i++) {
        const struct account_config *a = &site->accounts[i];
        for (size_t k = 0; k < a->n_credentials; k++)
            mask_add(m, a->credentials[k].value);
    }
    for (size_t i = 0; site->adapter && i < site->settings.n_options; i++) {
        const struct option_value *value = &site->settings.options[i];
        for (const struct option_field *f = site->adapter->options; f && f->name; f++) {
            if (f->secret && span_eq(value->name, span_str(f->name)))
                mask_add(m, value->text);
        }
    }
    mask_add(m, site->proxy.password);
}

void mask_add_configured(struct mask *m)
{
    const struct config *c = m->config;
    for (size_t i = 0; c && i < c->n_sites; i++)
        add_site(m, &c->sites[i]);
    for (size_t i = 0; c && i < c->n_routes; i++) {
        add_site(m, &c->routes[i].own);
        mask_add(m, c->routes[i].own_key);
    }
    if (c)
        mask_add(m, c->secret_key);
}

/* ---- finding them ---- */

static void hide_words(const struct mask *m, char *text, size_t n)
{
    for (const struct mask_word *w = m->words; w; w = w->next) {
        struct span rest = span_of(text, n);
        for (ptrdiff_t at; (at = span_find(rest, w->text)) >= 0;) {
            mask_fill(text + (rest.p - text) + at, w->text.n);
            rest = span_from(rest, (size_t)at + w->text.n);
        }
    }
}

static bool is_word_char(char c) { return ascii_is_alnum(c) || (c && strchr("_-.~+/=%|", c)); }

static bool is_client_key(const struct config *c, struct span word)
{
    unsigned char hash[32];
    config_hash_key(word, hash);
    for (size_t i = 0; i < c->n_keys; i++) {
        if (memcmp(c->keys[i].sha256, hash, sizeof hash) == 0)
            return true;
    }
    return false;
}

/* A key of `n` characters within a longer word. */
static void hide_key_within(const struct config *c, char *word, size_t room, size_t n)
{
    for (size_t at = 0; at + n <= room; at++) {
        if (is_client_key(c, span_of(word + at, n)))
            mask_fill(word + at, n);
    }
}

/* Of the clients' keys we know the hashes, and the lengths of those that were not given as hashes:
 * these are found within a word, the others only as one, perhaps with marks around it. */
static void hide_client_keys(const struct config *c, char *word, size_t n)
{
    size_t first = 0, end = n;
    if (n < KEY_MIN || n > KEY_MAX)
        return;
    for (size_t i = 0; i < c->n_keys; i++) {
        if (c->keys[i].length >= KEY_MIN)
            hide_key_within(c, word, n, c->keys[i].length);
    }
    while (first < end && !ascii_is_alnum(word[first]))
        first++;
    while (end > first && !ascii_is_alnum(word[end - 1]))
        end--;
    if (is_client_key(c, span_of(word, n)) || is_client_key(c, span_of(word + first, end - first)))
        mask_fill(word, n);
}

static bool looks_secret(struct span word)
{
    return word.n >= LONG_WORD &&
           (span_starts(word, SPAN("sk-")) ||
            (span_starts(word, SPAN("eyJ")) && span_find_char(word, '.') > 0));
}

/* Every word: a run of the characters that tokens are made of. */
static void hide_tokens(const struct mask *m, char *text, size_t n, bool strict)
{
    size_t i = 0;
    while (i < n) {
        size_t start = i;
        while (i < n && is_word_char(text[i]))
            i++;
        struct span word = span_of(text + start, i - start);
        bool bearer = start >= 7 && span_eq_nocase(span_of(text + start - 7, 7), SPAN("Bearer "));
        if ((strict && word.n >= LONG_WORD) || (bearer && word.n >= SECRET_MIN) ||
            looks_secret(word))
            mask_fill(text + start, word.n);
        else if (m->config && m->config->n_keys)
            hide_client_keys(m->config, text + start, word.n);
        if (i == start)
            i++;
    }
}

static bool names_a_secret(struct span name)
{
    static const char *const words[] = {"token",   "secret", "password", "passwd",     "cookie",
                                        "session", "ticket", "jwt",      "credential", "authoriz",
                                        "api_key", "apikey", "api-key",  "sign",       NULL};
    for (const char *const *word = words; *word; word++) {
        if (span_mentions(name, *word))
            return true;
    }
    return false;
}

/* "name":"value" of JSON, also of JSON within a JSON string (\"name\":\"value\"). Names and values
 * of secrets have no escapes of their own. */
static void hide_members(char *text, size_t n)
{
    size_t open = 0; /* behind the quote before the last one */
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '"')
            continue;
        size_t end = i > open && text[i - 1] == '\\' ? i - 1 : i;
        struct span name = span_of(text + open, end > open ? end - open : 0);
        open = i + 1;
        size_t at = open;
        while (at < n && (text[at] == ' ' || text[at] == ':' || text[at] == '\\'))
            at++;
        if (at >= n || text[at] != '"' || !memchr(text + i, ':', at - i) || name.n > 64 ||
            !names_a_secret(name))
            continue;
        size_t value = at + 1;
        size_t stop = value;
        while (stop < n && text[stop] != '"' && text[stop] != '\\' && text[stop] != ' ' &&
               (unsigned char)text[stop] >= 0x20)
            stop++;
        if (stop - value >= LONG_WORD)
            mask_fill(text + value, stop - value);
    }
}

void mask_apply(const struct mask *m, char *text, size_t n, bool strict)
{
    if (m->incomplete) {
        mask_fill(text, n);
        return;
    }
    hide_words(m, text, n);
    hide_members(text, n);
    hide_tokens(m, text, n, strict);
}

bool mask_hides_header(struct span name)
{
    static const char *const words[] = {"auth", "cookie",  "key", "token",  "secret",
                                        "sign", "session", "jwt", "ticket", NULL};
    for (const char *const *word = words; *word; word++) {
        if (span_mentions(name, *word))
            return true;
    }
    return false;
}
