/*
 * test/fuzz/fuzz_cookie.c - Set-Cookie lines from a site that means no good.
 *
 * Input: lines; a line that begins with '@' is the next request's host and path ("@host/path"), the
 * others are values of Set-Cookie, and the whole is also read as a jar's text. Oracle: the jar
 * stays within its bounds, what it sends is a valid field value, and its text read again is the
 * same text.
 */
#include <assert.h>

#include "adapters/cookie_jar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int64_t NOW = 1700000000000;

static void check(const struct cookie_jar *jar, const struct cookie_place *place)
{
    struct cookie_jar again = {0};
    struct buffer header, first, second;
    buffer_init(&header, COOKIE_HEADER_MAX);
    buffer_init(&first, COOKIE_JAR_TEXT_MAX);
    buffer_init(&second, COOKIE_JAR_TEXT_MAX);
    assert(jar->n <= COOKIES_MAX);
    cookie_jar_header(jar, place, NOW, &header);
    assert(!header.error);
    for (size_t i = 0; i < header.n; i++)
        assert((unsigned char)header.p[i] >= ' ' && header.p[i] != 0x7F);
    cookie_jar_write(jar, NOW, &first);
    cookie_jar_read(&again, buffer_span(&first), NOW);
    cookie_jar_write(&again, NOW, &second);
    assert(!first.error && span_eq(buffer_span(&first), buffer_span(&second)));
    cookie_jar_free(&again);
    buffer_free(&header);
    buffer_free(&first);
    buffer_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cookie_jar jar = {0}, read = {0};
    struct cookie_place place = {SPAN("chat.site.example"), SPAN("/api/v1/chat"), size % 2 == 0};
    struct span text = span_of((const char *)data, size), line;
    cookie_jar_read(&read, text, NOW);
    check(&read, &place);
    while (span_split(&text, '\n', &line)) {
        if (line.n && line.p[0] == '@') {
            ptrdiff_t slash = span_find_char(line, '/');
            place.host = slash < 0 ? span_from(line, 1) : span_of(line.p + 1, (size_t)slash - 1);
            place.path = slash < 0 ? SPAN("") : span_from(line, (size_t)slash);
        } else {
            cookie_jar_take(&jar, &place, line, NOW);
        }
    }
    check(&jar, &place);
    cookie_jar_free(&jar);
    cookie_jar_free(&read);
    return 0;
}
