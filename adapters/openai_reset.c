/*
 * adapters/openai_reset.c - when a limit of an OpenAI-compatible service ends, where it tells by
 * other means than Retry-After.
 *
 * Pure. Sources: OpenAI's and Groq's documentation of rate limits (x-ratelimit-remaining-requests
 * and -tokens, x-ratelimit-reset-requests and -tokens as "1s", "6m0s", "7.66s"), OpenAI's clients
 * (retry-after-ms), OpenRouter's (x-ratelimit-reset: Unix time in ms; elsewhere in s, or seconds
 * from now). A limit of which something remains is not the one that was met.
 */
#include "adapters/openai_wire.h"

enum { MOST_S = 31 * 86400 }; /* whoever says more means something else */

static int64_t unit_ms(struct span *text)
{
    static const struct {
        struct span name;
        int64_t ms;
    } units[] = {{SPAN_INIT("ms"), 1}, /* before "m" */
                 {SPAN_INIT("s"), 1000},
                 {SPAN_INIT("m"), 60 * 1000},
                 {SPAN_INIT("h"), 3600 * 1000},
                 {SPAN_INIT("d"), 86400 * 1000}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (!span_starts(*text, units[i].name))
            continue;
        *text = span_from(*text, units[i].name.n);
        return units[i].ms;
    }
    return text->n ? 0 : 1000; /* a bare number: seconds */
}

static bool is_digit(struct span text) { return text.n && *text.p >= '0' && *text.p <= '9'; }

/* Cuts a number off, in thousandths; -1 when there is none, or a huge one. */
static int64_t cut_thousandths(struct span *text)
{
    int64_t n = 0, scale = 1000;
    if (!is_digit(*text))
        return -1;
    for (; is_digit(*text); *text = span_from(*text, 1)) {
        if (n > INT64_MAX / 100)
            return -1;
        n = n * 10 + (*text->p - '0') * INT64_C(1000);
    }
    if (!text->n || *text->p != '.')
        return n;
    *text = span_from(*text, 1);
    for (; is_digit(*text); *text = span_from(*text, 1)) {
        scale /= 10;
        n += (*text->p - '0') * scale;
    }
    return n;
}

/* "6m0s", "7.66s", "120ms", "5"; 0 = it is none. */
static int64_t duration_ms(struct span text)
{
    int64_t sum = 0;
    while (text.n) {
        int64_t n = cut_thousandths(&text), unit = n < 0 ? 0 : unit_ms(&text);
        if (!unit || n > INT64_C(1000) * MOST_S)
            return 0;
        sum += (n * unit + 999) / 1000;
    }
    return sum;
}

/* Of a Unix time, or of seconds from now. */
static int64_t left_ms(struct span text, int64_t now_ms)
{
    int64_t n = cut_thousandths(&text);
    if (text.n || n < 0)
        return 0;
    n /= 1000;
    if (n > INT64_C(100000000000))
        return n - now_ms;
    return n > 1000000000 ? n * 1000 - now_ms : n * 1000;
}

static bool is_used_up(const struct site_head *head, const char *remaining)
{
    struct span text = site_head_get(head, remaining);
    return text.n == 1 && *text.p == '0';
}

int openai_reset_s(const struct site_head *head, int64_t now_ms)
{
    static const struct {
        const char *remaining, *reset;
    } limits[] = {{"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"},
                  {"x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"}};
    struct span text = site_head_get(head, "retry-after-ms");
    int64_t most = text.n ? cut_thousandths(&text) / 1000 : 0;
    bool told = most > 0;
    for (size_t i = 0; !told && i < 2; i++) {
        int64_t ms = duration_ms(site_head_get(head, limits[i].reset));
        if (is_used_up(head, limits[i].remaining) && ms > most)
            most = ms;
    }
    text = site_head_get(head, "x-ratelimit-remaining");
    if (most <= 0 && (!text.n || is_used_up(head, "x-ratelimit-remaining")))
        most = left_ms(site_head_get(head, "x-ratelimit-reset"), now_ms);
    return most <= 0 || most > INT64_C(1000) * MOST_S ? 0 : (int)((most + 999) / 1000);
}
