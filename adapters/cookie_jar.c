/*
 * adapters/cookie_jar.c - see cookie_jar.h. The numbers are sections of RFC 6265.
 */
#include "adapters/cookie_jar.h"

#include <stdlib.h>

#include "base/date.h"

enum { DAY_S = 86400 };

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

static bool has_controls(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7F)
            return true;
    }
    return false;
}

/* ---- dates (5.1.1) ---- */

struct date {
    int hour, minute, second, day, month, year; /* -1: not found yet */
};

static bool is_delimiter(char c)
{
    return c == '\t' || (c >= ' ' && c <= '/') || (c >= ';' && c <= '@') ||
           (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

/* Cuts `least` to `most` digits off; -1 when there are fewer, or more. */
static int cut_number(struct span *s, size_t least, size_t most)
{
    size_t n = 0;
    int value = 0;
    while (n < s->n && n < most && ascii_is_digit(s->p[n]))
        value = value * 10 + (s->p[n++] - '0');
    if (n < least || (n < s->n && ascii_is_digit(s->p[n])))
        return -1;
    *s = span_from(*s, n);
    return value;
}

static bool take_time(struct date *d, struct span token)
{
    int part[3];
    for (int i = 0; i < 3; i++) {
        if (i && (!token.n || token.p[0] != ':'))
            return false;
        if (i)
            token = span_from(token, 1);
        part[i] = cut_number(&token, 1, 2);
        if (part[i] < 0)
            return false;
    }
    d->hour = part[0];
    d->minute = part[1];
    d->second = part[2];
    return true;
}

static bool take_month(struct date *d, struct span token)
{
    static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    for (int i = 0; i < 12 && token.n >= 3; i++) {
        if (span_eq_nocase(span_first(token, 3), span_of(names + 3 * i, 3))) {
            d->month = i + 1;
            return true;
        }
    }
    return false;
}

static void take_token(struct date *d, struct span token)
{
    struct span rest = token;
    if (d->hour < 0 && take_time(d, token))
        return;
    if (d->day < 0 && (d->day = cut_number(&rest, 1, 2)) >= 0)
        return;
    if (d->month < 0 && take_month(d, token))
        return;
    if (d->year < 0)
        d->year = cut_number(&rest, 2, 4);
}

static int days_in(int year, int month)
{
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 2)
        return leap ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

bool cookie_date(struct span text, int64_t *seconds)
{
    struct date d = {-1, -1, -1, -1, -1, -1};
    for (size_t i = 0; i < text.n;) {
        size_t start = i;
        while (i < text.n && !is_delimiter(text.p[i]))
            i++;
        if (i > start)
            take_token(&d, span_of(text.p + start, i - start));
        else
            i++;
    }
    if (d.year >= 70 && d.year <= 99)
        d.year += 1900;
    else if (d.year >= 0 && d.year <= 69)
        d.year += 2000;
    if (d.hour < 0 || d.hour > 23 || d.minute > 59 || d.second > 59 || d.month < 0 ||
        d.year < 1601 || d.day < 1 || d.day > days_in(d.year, d.month))
        return false;
    *seconds =
        days_since_1970(d.year, d.month, d.day) * DAY_S + d.hour * 3600 + d.minute * 60 + d.second;
    return true;
}

/* ---- places (5.1.3, 5.1.4) ---- */

static struct span bare_host(struct span host)
{
    return host.n > 2 && host.p[0] == '[' ? span_of(host.p + 1, host.n - 2) : host;
}

static bool is_address(struct span host)
{
    for (size_t i = 0; i < host.n; i++) {
        if (host.p[i] == ':')
            return true;
        if (!ascii_is_digit(host.p[i]) && host.p[i] != '.')
            return false;
    }
    return true;
}

static bool domain_matches(struct span host, struct span domain)
{
    if (span_eq_nocase(host, domain))
        return true;
    return domain.n && host.n > domain.n && host.p[host.n - domain.n - 1] == '.' &&
           span_eq_nocase(span_from(host, host.n - domain.n), domain) && !is_address(host);
}

/* The request's path without its query; "/" when it has none. */
static struct span path_of(const struct cookie_place *place)
{
    ptrdiff_t query = span_find_char(place->path, '?');
    struct span path = query < 0 ? place->path : span_first(place->path, (size_t)query);
    return path.n && path.p[0] == '/' ? path : SPAN("/");
}

static bool path_matches(struct span path, struct span cookie)
{
    if (!span_starts(path, cookie))
        return false;
    return path.n == cookie.n || span_ends(cookie, SPAN("/")) || path.p[cookie.n] == '/';
}

static struct span default_path(struct span path)
{
    ptrdiff_t last = span_find_last(path, SPAN("/"));
    return last > 0 ? span_first(path, (size_t)last) : SPAN("/");
}

/* ---- the jar ---- */

static void cookie_free(struct cookie *c)
{
    size_t n = c->name.n + c->value.n + c->domain.n + c->path.n;
    explicit_bzero(c->bytes, n); /* it may be a login */
    free(c->bytes);
}

void cookie_jar_free(struct cookie_jar *jar)
{
    for (size_t i = 0; i < jar->n; i++)
        cookie_free(&jar->cookies[i]);
    *jar = (struct cookie_jar){0};
}

static bool is_over(const struct cookie *c, int64_t now_ms)
{
    return c->expires_ms && c->expires_ms <= now_ms;
}

static void remove_at(struct cookie_jar *jar, size_t i)
{
    cookie_free(&jar->cookies[i]);
    jar->n--;
    memmove(&jar->cookies[i], &jar->cookies[i + 1], (jar->n - i) * sizeof *jar->cookies);
}

/* The place of the one with this name, domain and path, or n. */
static size_t find(const struct cookie_jar *jar, const struct cookie *like)
{
    size_t i = 0;
    while (i < jar->n && !(span_eq(jar->cookies[i].name, like->name) &&
                           span_eq_nocase(jar->cookies[i].domain, like->domain) &&
                           span_eq(jar->cookies[i].path, like->path)))
        i++;
    return i;
}

static void make_room(struct cookie_jar *jar, int64_t now_ms)
{
    size_t i = 0;
    while (i < jar->n && !is_over(&jar->cookies[i], now_ms))
        i++;
    remove_at(jar, i < jar->n ? i : 0);
}

/* `from` with texts of its own; false when memory is short. */
static bool cookie_copy(struct cookie *c, const struct cookie *from)
{
    char *at = malloc(from->name.n + from->value.n + from->domain.n + from->path.n + 1);
    *c = *from;
    c->bytes = at;
    if (!at)
        return false;
    c->name = span_put(&at, from->name);
    c->value = span_put(&at, from->value);
    c->domain = span_put(&at, from->domain);
    c->path = span_put(&at, from->path);
    for (size_t i = 0; i < c->domain.n; i++)
        ((char *)(uintptr_t)c->domain.p)[i] = lower(c->domain.p[i]);
    return true;
}

/* Stores a copy, or removes what has the same name when it is over; true when that changed
 * anything. */
static bool store(struct cookie_jar *jar, const struct cookie *from, int64_t now_ms)
{
    struct cookie c;
    size_t i = find(jar, from);
    const struct cookie *old = i < jar->n ? &jar->cookies[i] : NULL;
    if (is_over(from, now_ms)) {
        if (old)
            remove_at(jar, i);
        return old != NULL;
    }
    bool same = old && span_eq(old->value, from->value) && old->expires_ms == from->expires_ms &&
                old->host_only == from->host_only && old->secure == from->secure;
    if (same || !cookie_copy(&c, from))
        return false;
    if (old) { /* in the old one's place: it counts as created then */
        cookie_free(&jar->cookies[i]);
        jar->cookies[i] = c;
        return true;
    }
    if (jar->n == COOKIES_MAX)
        make_room(jar, now_ms);
    jar->cookies[jar->n++] = c;
    return true;
}

/* Is it one that we could have taken? */
static bool is_sound(const struct cookie *c)
{
    return c->name.n && c->domain.n && c->path.n && c->path.p[0] == '/' &&
           c->name.n + c->value.n + c->domain.n + c->path.n <= COOKIE_BYTES_MAX &&
           span_find_char(c->name, '=') < 0 && span_find_char(c->name, ';') < 0 &&
           span_find_char(c->value, ';') < 0 && !has_controls(c->name) && !has_controls(c->value) &&
           !has_controls(c->domain) && !has_controls(c->path);
}

/* ---- Set-Cookie (5.2, 5.3) ---- */

/* "a=b" into its trimmed halves; without `=`, all of it is the first. */
static bool split_pair(struct span pair, struct span *name, struct span *value)
{
    ptrdiff_t at = span_find_char(pair, '=');
    *name = span_trim(at < 0 ? pair : span_first(pair, (size_t)at));
    *value = at < 0 ? SPAN("") : span_trim(span_from(pair, (size_t)at + 1));
    return at >= 0;
}

/* An expiry in seconds, kept within what we take; what is in the past is the second 1. */
static int64_t bounded_expiry(int64_t seconds, int64_t now_ms)
{
    int64_t most = now_ms / 1000 + (int64_t)COOKIE_LIFE_DAYS_MAX * DAY_S;
    seconds = seconds < most ? seconds : most;
    return (seconds > 0 ? seconds : 1) * 1000;
}

static bool take_max_age(struct span text, int64_t now_ms, int64_t *expires_ms)
{
    uint64_t age;
    bool negative = text.n > 1 && text.p[0] == '-';
    struct span digits = span_from(text, negative ? 1 : 0);
    for (size_t i = 0; i < digits.n; i++) {
        if (!ascii_is_digit(digits.p[i]))
            return false;
    }
    if (!digits.n)
        return false;
    if (!span_to_u64(digits, INT32_MAX, &age)) /* more than anybody lives */
        age = INT32_MAX;
    *expires_ms =
        negative || age == 0 ? 1000 : bounded_expiry(now_ms / 1000 + (int64_t)age, now_ms);
    return true;
}

bool cookie_jar_take(struct cookie_jar *jar, const struct cookie_place *place, struct span text,
                     int64_t now_ms)
{
    struct span host = bare_host(place->host), pair, name, value;
    struct cookie c = {.host_only = true, .domain = host, .path = default_path(path_of(place))};
    bool has_age = false;
    if (!span_split(&text, ';', &pair) || !split_pair(pair, &c.name, &c.value))
        return false;
    while (span_split(&text, ';', &pair)) {
        int64_t seconds;
        split_pair(pair, &name, &value);
        if (span_eq_nocase(name, SPAN("Expires"))) {
            if (!has_age && cookie_date(value, &seconds))
                c.expires_ms = bounded_expiry(seconds, now_ms);
        } else if (span_eq_nocase(name, SPAN("Max-Age"))) {
            has_age |= take_max_age(value, now_ms, &c.expires_ms);
        } else if (span_eq_nocase(name, SPAN("Domain"))) {
            struct span domain = span_from(value, span_starts(value, SPAN(".")) ? 1 : 0);
            c.host_only = domain.n == 0;
            c.domain = domain.n ? domain : host;
        } else if (span_eq_nocase(name, SPAN("Path"))) {
            bool absolute = value.n && value.p[0] == '/';
            c.path = absolute ? value : default_path(path_of(place));
        } else if (span_eq_nocase(name, SPAN("Secure"))) {
            c.secure = true;
        }
    }
    if (!is_sound(&c) || !domain_matches(host, c.domain))
        return false;
    if (!c.host_only && span_eq_nocase(host, c.domain) && is_address(host))
        c.host_only = true;
    return store(jar, &c, now_ms);
}

/* ---- Cookie (5.4) ---- */

static bool goes_to(const struct cookie *c, const struct cookie_place *place, int64_t now_ms)
{
    struct span host = bare_host(place->host);
    bool here = c->host_only ? span_eq_nocase(host, c->domain) : domain_matches(host, c->domain);
    return here && path_matches(path_of(place), c->path) && (!c->secure || place->secure) &&
           !is_over(c, now_ms);
}

void cookie_jar_header(const struct cookie_jar *jar, const struct cookie_place *place,
                       int64_t now_ms, struct buffer *out)
{
    const struct cookie *chosen[COOKIES_MAX];
    size_t n = 0, start = out->n;
    for (size_t i = 0; i < jar->n; i++) {
        const struct cookie *c = &jar->cookies[i];
        size_t at = n;
        if (!goes_to(c, place, now_ms))
            continue;
        for (; at && chosen[at - 1]->path.n < c->path.n; at--)
            chosen[at] = chosen[at - 1];
        chosen[at] = c;
        n++;
    }
    for (size_t i = 0; i < n; i++) {
        const struct cookie *c = chosen[i];
        if (out->n - start + c->name.n + c->value.n + 3 > COOKIE_HEADER_MAX)
            continue;
        if (out->n > start)
            buffer_append(out, SPAN("; "));
        buffer_append(out, c->name);
        buffer_char(out, '=');
        buffer_append(out, c->value);
    }
}

/* ---- as text ---- */

static struct span yes_or_no(bool yes) { return yes ? SPAN("TRUE") : SPAN("FALSE"); }

void cookie_jar_write(const struct cookie_jar *jar, int64_t now_ms, struct buffer *out)
{
    for (size_t i = 0; i < jar->n; i++) {
        const struct cookie *c = &jar->cookies[i];
        if (is_over(c, now_ms))
            continue;
        const struct span fields[] = {c->domain, yes_or_no(!c->host_only), c->path,
                                      yes_or_no(c->secure)};
        for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
            buffer_append(out, fields[k]);
            buffer_char(out, '\t');
        }
        buffer_printf(out, "%lld\t", (long long)(c->expires_ms / 1000));
        buffer_append(out, c->name);
        buffer_char(out, '\t');
        buffer_append(out, c->value);
        buffer_char(out, '\n');
    }
}

static void read_line(struct cookie_jar *jar, struct span line, int64_t now_ms)
{
    struct span field[7];
    uint64_t seconds;
    size_t n = 0;
    while (n < 7 && span_split(&line, '\t', &field[n]))
        n++;
    if (n != 7 || line.p || !span_to_u64(field[4], INT64_MAX / 1000, &seconds))
        return;
    const struct cookie c = {
        .domain = field[0],
        .host_only = !span_eq(field[1], SPAN("TRUE")),
        .path = field[2],
        .secure = span_eq(field[3], SPAN("TRUE")),
        .expires_ms = (int64_t)seconds * 1000,
        .name = field[5],
        .value = field[6],
    };
    if (is_sound(&c))
        store(jar, &c, now_ms);
}

void cookie_jar_read(struct cookie_jar *jar, struct span text, int64_t now_ms)
{
    struct span line;
    while (span_split(&text, '\n', &line))
        read_line(jar, line, now_ms);
}
