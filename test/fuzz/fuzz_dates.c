/*
 * test/fuzz/fuzz_dates.c - when to come again, as sites say it: Retry-After, HTTP dates, dates of
 * cookies, limits of OpenAI-compatible services.
 *
 * Lines: NAME: VALUE is a header of an answer, and every line is a date as well. Oracle: a date
 * that strptime reads in its one modern form is the same time; no wait is negative.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "adapters/cookie_jar.h"
#include "adapters/openai_wire.h"
#include "gateway/http_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADERS_MAX = 32, NOW_S = 1700000000 };

/* What is taken for a time is that time, written in the usual form. */
static void check_again(int64_t seconds)
{
    char text[64];
    struct tm tm;
    time_t t = (time_t)seconds;
    if (!gmtime_r(&t, &tm) || tm.tm_year + 1900 > 9999 || tm.tm_year + 1900 < 1601)
        return;
    size_t n = strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    assert(http_date_parse(span_of(text, n)) == (seconds < 0 ? -1 : seconds));
}

static void check_date(struct span text)
{
    int64_t when = http_date_parse(text), cookie;
    int wait = http_retry_after(text, NOW_S);
    assert(when >= -1 && wait >= 0);
    if (when >= 0)
        check_again(when);
    if (cookie_date(text, &cookie) && cookie >= 0)
        check_again(cookie);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct header headers[HEADERS_MAX];
    struct site_head head = {.status = 429, .headers = headers};
    char *copy = malloc(size ? size : 1);
    assert(copy);
    if (size)
        memcpy(copy, data, size);
    struct span rest = span_of(copy, size), line;
    while (span_split(&rest, '\n', &line)) {
        ptrdiff_t colon = span_find_char(line, ':');
        check_date(span_trim(line));
        if (colon < 0 || head.n_headers == HEADERS_MAX)
            continue;
        struct span value = span_trim(span_from(line, (size_t)colon + 1));
        headers[head.n_headers++] = (struct header){span_first(line, (size_t)colon), value};
        check_date(value);
    }
    assert(openai_reset_s(&head, NOW_S * INT64_C(1000)) >= 0);
    free(copy);
    return 0;
}
