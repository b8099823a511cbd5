/*
 * base/json_raw.c - see json_raw.h. The walker trusts that a parser accepted the text, but never
 * reads beyond its end.
 */
#include "base/json_raw.h"

#include <assert.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "base/word.h"

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* Keys and short texts eight bytes at a time, the rest at memchr's speed: pictures, too. NULL:
 * there is none. */
static inline const char *find_quote(const char *p, const char *end)
{
    enum { WORDS = 4 };
    for (int i = 0; i < WORDS && (size_t)(end - p) >= sizeof(uint64_t); i++, p += 8) {
        uint64_t quotes = word_equal(word_load(p), '"');
        if (quotes)
            return p + word_first(quotes);
    }
    return p < end ? memchr(p, '"', (size_t)(end - p)) : NULL;
}

/* p at the opening quote; returns behind the closing one. Texts are most of what there is, and are
 * passed many times. */
static inline const char *skip_string(const char *p, const char *end)
{
    const char *quote = ++p;
    for (;; quote++) {
        quote = find_quote(quote, end);
        if (!quote)
            return end;
        if (quote == p || quote[-1] != '\\')
            return quote + 1;
        const char *before = quote - 1;
        while (before > p && before[-1] == '\\')
            before--;
        if ((quote - before) % 2 == 0) /* each pair of them is one that is meant */
            return quote + 1;
    }
}

/* Does a number or a word go on with it? */
static bool is_bare(char c)
{
    return (unsigned char)c > ' ' && c != ',' && c != ']' && c != '}' && c != ':';
}

/* Behind the value at p. Nesting needs no stack: in accepted JSON brackets match. */
static const char *skip_value(const char *p, const char *end)
{
    size_t depth = 0;
    while (p < end) {
        switch (*p) {
        case '"': p = skip_string(p, end); break;
        case '{':
        case '[':
            depth++;
            p++;
            continue;
        case '}':
        case ']':
            if (depth == 0)
                return p;
            depth--;
            p++;
            break;
        case ',':
            if (depth == 0)
                return p;
            p++;
            continue;
        case ':':
        case ' ':
        case '\n':
        case '\r':
        case '\t':
            if (depth == 0)
                return p;
            p++;
            continue;
        default:
            do
                p++;
            while (p < end && is_bare(*p));
        }
        if (depth == 0)
            return p;
    }
    return p;
}

struct json_raw_iter json_raw_each(struct span text)
{
    struct json_raw_iter it = {{NULL, 0}, {NULL, 0}, NULL, NULL, false};
    if (!text.n)
        return it;
    const char *end = text.p + text.n;
    const char *p = skip_space(text.p, end);
    if (p == end || (*p != '{' && *p != '['))
        return it;
    it.object_ = *p == '{';
    it.at_ = p + 1;
    it.end_ = end;
    return it;
}

struct json_raw_iter json_raw_members(struct span members)
{
    struct json_raw_iter it = {{NULL, 0}, {NULL, 0}, NULL, NULL, true};
    if (members.n) {
        it.at_ = members.p;
        it.end_ = members.p + members.n;
    }
    return it;
}

bool json_raw_has(struct span members, struct span raw_key)
{
    struct json_raw_iter it = json_raw_members(members);
    while (json_raw_next(&it)) {
        if (span_eq(it.key, raw_key))
            return true;
    }
    return false;
}

bool json_raw_next(struct json_raw_iter *it)
{
    if (!it->at_)
        return false;
    const char *p = skip_space(it->at_, it->end_);
    if (p < it->end_ && *p == ',')
        p = skip_space(p + 1, it->end_);
    if (p >= it->end_ || *p == '}' || *p == ']') {
        it->at_ = NULL;
        return false;
    }
    if (it->object_) {
        const char *after = skip_string(p, it->end_);
        it->key = span_of(p + 1, after - p >= 2 ? (size_t)(after - p - 2) : 0);
        p = skip_space(after, it->end_);
        if (p < it->end_ && *p == ':')
            p = skip_space(p + 1, it->end_);
    }
    const char *after = skip_value(p, it->end_);
    if (after == p) { /* no progress: not JSON after all */
        it->at_ = NULL;
        return false;
    }
    it->value = span_of(p, (size_t)(after - p));
    it->at_ = after;
    return true;
}

size_t json_raw_count(struct span text)
{
    struct json_raw_iter it = json_raw_each(text);
    size_t n = 0;
    while (json_raw_next(&it))
        n++;
    return n;
}

int json_raw_append_member(struct buffer *out, struct span raw_key, struct span value)
{
    if (out->n && out->p[out->n - 1] != '{')
        buffer_char(out, ',');
    buffer_char(out, '"');
    buffer_append(out, raw_key);
    buffer_append(out, SPAN("\":"));
    return buffer_append(out, value);
}

/* The next decoded UTF-8 bytes of a raw string; returns how many raw bytes were used. */
static size_t decode_one(struct span raw, char out[4], size_t *n)
{
    *n = 1;
    out[0] = raw.p[0];
    if (raw.p[0] != '\\' || raw.n < 2)
        return 1;
    switch (raw.p[1]) {
    case 'n': out[0] = '\n'; return 2;
    case 't': out[0] = '\t'; return 2;
    case 'r': out[0] = '\r'; return 2;
    case 'b': out[0] = '\b'; return 2;
    case 'f': out[0] = '\f'; return 2;
    case 'u': break;
    default: out[0] = raw.p[1]; return 2;
    }
    if (raw.n < 6)
        return raw.n;
    unsigned code = 0;
    for (int i = 2; i < 6; i++)
        code = code * 16 + (unsigned)hex_digit(raw.p[i]);
    size_t used = 6;
    if (code >= 0xD800 && code < 0xDC00 && raw.n >= 12) {
        unsigned low = 0;
        for (int i = 8; i < 12; i++)
            low = low * 16 + (unsigned)hex_digit(raw.p[i]);
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        used = 12;
    }
    *n = utf8_put(out, code);
    return used;
}

/* Most keys differ at once, and have no escapes. */
bool json_raw_key_is(struct span raw, struct span name)
{
    size_t same = 0;
    while (same < raw.n && same < name.n && raw.p[same] == name.p[same] && raw.p[same] != '\\')
        same++;
    if (same == raw.n || raw.p[same] != '\\')
        return same == raw.n && same == name.n;
    raw = span_from(raw, same);
    name = span_from(name, same);
    while (raw.n) {
        char piece[4];
        size_t n;
        raw = span_from(raw, decode_one(raw, piece, &n));
        if (!span_starts(name, span_of(piece, n)))
            return false;
        name = span_from(name, n);
    }
    return name.n == 0;
}

struct span json_raw_get(struct span object, const char *key)
{
    struct span found = {NULL, 0}, name = span_str(key);
    struct json_raw_iter it = json_raw_each(object);
    while (it.object_ && json_raw_next(&it)) {
        if (json_raw_key_is(it.key, name))
            found = it.value;
    }
    return found;
}

static struct span unless_null(struct span value)
{
    char first = json_raw_first(value);
    return first && first != 'n' ? value : span_of(NULL, 0);
}

struct span json_raw_given(struct span object, const char *key)
{
    return unless_null(json_raw_get(object, key));
}

void json_members_read(struct json_members *m, struct span object)
{
    m->n_ = 0;
    m->seen_ = 0;
    m->escapes_ = false;
    m->rest_ = json_raw_each(object);
    if (!m->rest_.object_)
        m->rest_.at_ = NULL;
    while (m->n_ < JSON_MEMBERS_INDEXED && json_raw_next(&m->rest_)) {
        struct span key = m->rest_.key;
        bool escaped = span_find_char(key, '\\') >= 0; /* then it may be any name */
        m->seen_ |= escaped ? UINT64_MAX : json_members_bit_(key);
        m->escapes_ |= escaped;
        m->list_[m->n_].key = key;
        m->list_[m->n_++].value = m->rest_.value;
    }
    if (m->rest_.at_) /* so may be what is not looked at */
        m->seen_ = UINT64_MAX;
}

/* Beyond the index, or where keys have escapes. */
static struct span find_slowly(const struct json_members *m, struct span name)
{
    struct span found = {NULL, 0};
    struct json_raw_iter rest = m->rest_;
    while (json_raw_next(&rest)) {
        if (json_raw_key_is(rest.key, name))
            found = rest.value;
    }
    for (size_t i = m->n_; i-- > 0 && !found.p;) {
        if (json_raw_key_is(m->list_[i].key, name))
            found = m->list_[i].value;
    }
    return unless_null(found);
}

struct span json_members_find(const struct json_members *m, struct span name)
{
    if (m->escapes_ || m->rest_.at_)
        return find_slowly(m, name);
    for (const struct json_member *one = m->list_ + m->n_; one-- > m->list_;) {
        if (span_eq(one->key, name))
            return unless_null(one->value);
    }
    return span_of(NULL, 0);
}

bool json_members_exceed(const struct json_members *m, size_t most)
{
    struct json_raw_iter rest = m->rest_;
    size_t n = m->n_;
    while (n <= most && rest.at_ && json_raw_next(&rest))
        n++;
    return n > most;
}

/* ---- renaming ---- */

struct renamer {
    struct buffer *out;
    const struct json_alias *aliases;
    size_t n_aliases;
};

static const struct json_alias *alias_of(const struct renamer *r, struct span raw_key)
{
    for (size_t i = 0; i < r->n_aliases; i++) {
        if (json_raw_key_is(raw_key, r->aliases[i].from))
            return &r->aliases[i];
    }
    return NULL;
}

/* Which of the new names will the key have? The first alias with that name, -1 = none of them. */
static int new_name(const struct renamer *r, struct span raw_key)
{
    const struct json_alias *alias = alias_of(r, raw_key);
    for (size_t i = 0; i < r->n_aliases; i++) {
        const struct span to = r->aliases[i].to;
        if (alias ? span_eq(alias->to, to) : json_raw_key_is(raw_key, to))
            return (int)i;
    }
    return -1;
}

/* Only members with one of the new names can clash anew: where the last one of each stands. */
static void find_last(const struct renamer *r, struct span object, const char **last)
{
    struct json_raw_iter it = json_raw_each(object);
    while (json_raw_next(&it)) {
        int name = new_name(r, it.key);
        if (name >= 0)
            last[name] = it.value.p;
    }
}

static void write_key(struct renamer *r, struct span raw_key)
{
    const struct json_alias *alias = alias_of(r, raw_key);
    buffer_char(r->out, '"');
    if (!alias) {
        buffer_append(r->out, raw_key);
    } else {
        for (size_t i = 0; i < alias->to.n;
             i++) { /* names from the config: escape what JSON wants escaped */
            unsigned char c = (unsigned char)alias->to.p[i];
            if (c == '"' || c == '\\')
                buffer_char(r->out, '\\');
            if (c < 0x20)
                buffer_printf(r->out, "\\u%04x", c);
            else
                buffer_char(r->out, (char)c);
        }
    }
    buffer_append(r->out, SPAN("\":"));
}

static void rename_value(struct renamer *r, struct span value);

static void rename_object(struct renamer *r, struct span object)
{
    const char *last[JSON_ALIASES_MAX] = {0};
    bool first = true;
    struct json_raw_iter it = json_raw_each(object);
    find_last(r, object, last);
    buffer_char(r->out, '{');
    while (json_raw_next(&it)) {
        int name = new_name(r, it.key);
        if (name >= 0 && last[name] != it.value.p)
            continue;
        if (!first)
            buffer_char(r->out, ',');
        first = false;
        write_key(r, it.key);
        rename_value(r, it.value);
    }
    buffer_char(r->out, '}');
}

/* Recursion is bounded by the parser's depth limit (1024). */
static void rename_value(struct renamer *r, struct span value)
{
    assert(value.p || !value.n);
    char first_byte = value.n ? value.p[0] : '\0';
    if (first_byte == '{') {
        rename_object(r, value);
        return;
    }
    if (first_byte != '[') {
        buffer_append(r->out, value);
        return;
    }
    struct json_raw_iter it = json_raw_each(value);
    buffer_char(r->out, '[');
    for (bool first = true; json_raw_next(&it); first = false) {
        if (!first)
            buffer_char(r->out, ',');
        rename_value(r, it.value);
    }
    buffer_char(r->out, ']');
}

int json_raw_rename(struct buffer *out, struct span text, const struct json_alias *aliases,
                    size_t n_aliases)
{
    struct renamer r = {out, aliases, n_aliases};
    assert(n_aliases <= JSON_ALIASES_MAX);
    if (n_aliases == 0)
        return buffer_append(out, text);
    rename_value(&r, span_trim(text));
    return out->error;
}
