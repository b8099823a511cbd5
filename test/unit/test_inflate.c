/*
 * test/unit/test_inflate.c - gzip and deflate, a piece at a time: everything that can be read is
 * read at once, half a body is never whole, and what is damaged or a bomb is refused.
 */
#include <zlib.h>

#include "base/buffer.h"
#include "gateway/inflate.h"
#include "test/unit/support/cmocka_all.h"

enum { GZIP = 31, ZLIB = 15, RAW = -15 };

static const struct {
    enum inflate_coding coding;
    int window_bits;
} formats[] = {{INFLATE_GZIP, GZIP}, {INFLATE_DEFLATE, ZLIB}, {INFLATE_DEFLATE, RAW}};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static void compress_more(z_stream *z, struct span text, int flush, struct buffer *out)
{
    z->next_in = (unsigned char *)(uintptr_t)text.p;
    z->avail_in = (unsigned)text.n;
    do {
        z->next_out = (unsigned char *)buffer_reserve(out, 1 << 16);
        z->avail_out = 1 << 16;
        deflate(z, flush);
        out->n += (1 << 16) - z->avail_out;
    } while (z->avail_out == 0);
}

static void compress_all(struct span text, int window_bits, struct buffer *out)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    compress_more(&z, text, Z_FINISH, out);
    deflateEnd(&z);
}

/* Feeds a copy of exactly these bytes (so that the sanitizer sees who reads on), appends what comes
 * out. */
static enum inflate_result feed(struct inflater *f, struct span bytes, struct buffer *out)
{
    char *copy = malloc(bytes.n ? bytes.n : 1);
    struct span rest = span_of(copy, bytes.n), piece;
    enum inflate_result result;
    memcpy(copy, bytes.n ? bytes.p : "", bytes.n);
    while ((result = inflater_next(f, &rest, &piece)) == INFLATE_PIECE) {
        assert_true(piece.n > 0);
        buffer_append(out, piece);
    }
    if (result == INFLATE_MORE)
        assert_int_equal(rest.n, 0);
    free(copy);
    return result;
}

static void at_every_split(void **state)
{
    for (size_t i = 0; i < N_FORMATS; i++) {
        struct buffer coded, out;
        buffer_init(&coded, 1 << 20);
        buffer_init(&out, 1 << 20);
        compress_all(SPAN("one two two two three"), formats[i].window_bits, &coded);
        for (size_t a = 0; a <= coded.n; a++) {
            for (size_t b = a; b <= coded.n; b++) {
                struct inflater *f = inflater_create(formats[i].coding);
                assert_non_null(f);
                buffer_clear(&out);
                assert_int_equal(feed(f, span_of(coded.p, a), &out), INFLATE_MORE);
                assert_int_equal(feed(f, span_of(coded.p + a, b - a), &out), INFLATE_MORE);
                assert_int_equal(feed(f, span_of(coded.p + b, coded.n - b), &out), INFLATE_MORE);
                assert_span_equal(buffer_span(&out), SPAN("one two two two three"));
                assert_true(inflater_is_complete(f));
                inflater_destroy(f);
            }
        }
        buffer_free(&coded);
        buffer_free(&out);
    }
}

static void half_is_not_whole(void **state)
{
    for (size_t i = 0; i < N_FORMATS; i++) {
        struct buffer coded, out;
        buffer_init(&coded, 1 << 20);
        buffer_init(&out, 1 << 20);
        compress_all(SPAN("one two two two three"), formats[i].window_bits, &coded);
        for (size_t n = 1; n < coded.n; n++) {
            struct inflater *f = inflater_create(formats[i].coding);
            assert_non_null(f);
            assert_int_equal(feed(f, span_of(coded.p, n), &out), INFLATE_MORE);
            if (inflater_is_complete(f))
                fail_msg("format %zu: %zu of %zu bytes pass for all", i, n, coded.n);
            inflater_destroy(f);
        }
        buffer_free(&coded);
        buffer_free(&out);
    }
}

static void nothing_at_all_is_complete(void **state)
{
    for (size_t i = 0; i < N_FORMATS; i++) {
        struct buffer out;
        struct inflater *f = inflater_create(formats[i].coding);
        assert_non_null(f);
        buffer_init(&out, 100);
        assert_true(inflater_is_complete(f));
        assert_int_equal(feed(f, SPAN(""), &out), INFLATE_MORE);
        assert_true(inflater_is_complete(f));
        assert_string_equal(inflater_error(f), "");
        inflater_destroy(f);
    }
    inflater_destroy(NULL);
}

/* Server-sent events: what the site has flushed is readable before the next event comes. */
static void flushed_events_are_read_at_once(void **state)
{
    for (size_t i = 0; i < N_FORMATS; i++) {
        z_stream z = {0};
        struct inflater *f = inflater_create(formats[i].coding);
        assert_non_null(f);
        struct buffer coded, out;
        buffer_init(&coded, 1 << 20);
        buffer_init(&out, 1 << 20);
        deflateInit2(&z, 6, Z_DEFLATED, formats[i].window_bits, 8, Z_DEFAULT_STRATEGY);
        for (int event = 0; event < 20; event++) {
            char text[40];
            snprintf(text, sizeof text, "data: {\"n\":%d}\n\n", event);
            buffer_clear(&coded);
            buffer_clear(&out);
            compress_more(&z, span_str(text), Z_SYNC_FLUSH, &coded);
            assert_int_equal(feed(f, buffer_span(&coded), &out), INFLATE_MORE);
            assert_span_equal(buffer_span(&out), span_str(text));
            assert_false(inflater_is_complete(f));
        }
        deflateEnd(&z);
        inflater_destroy(f);
        buffer_free(&coded);
        buffer_free(&out);
    }
}

/* Texts around the size of a piece: none is left inside, none is told twice. */
static void long_texts_come_in_pieces(void **state)
{
    static const size_t sizes[] = {32767, 32768, 32769, 65536, 98304, 300001};
    char *text = malloc(300001);
    uint32_t noise = 1;
    for (size_t i = 0; i < 300001; i++)
        text[i] = (char)((noise = noise * 1664525 + 1013904223) >> 26);
    for (size_t k = 0; k < N_FORMATS * (sizeof sizes / sizeof *sizes); k++) {
        size_t i = k % N_FORMATS, n = sizes[k / N_FORMATS];
        struct inflater *f = inflater_create(formats[i].coding);
        assert_non_null(f);
        struct buffer coded, out;
        buffer_init(&coded, 1 << 20);
        buffer_init(&out, 1 << 20);
        compress_all(span_of(text, n), formats[i].window_bits, &coded);
        assert_int_equal(feed(f, buffer_span(&coded), &out), INFLATE_MORE);
        assert_int_equal(out.n, n);
        assert_memory_equal(out.p, text, n);
        assert_true(inflater_is_complete(f));
        inflater_destroy(f);
        buffer_free(&coded);
        buffer_free(&out);
    }
    free(text);
}

static void expect_broken(enum inflate_coding coding, struct span bytes)
{
    struct inflater *f = inflater_create(coding);
    assert_non_null(f);
    struct buffer out;
    buffer_init(&out, 1 << 20);
    assert_int_equal(feed(f, bytes, &out), INFLATE_BROKEN);
    assert_true(inflater_error(f)[0]);
    assert_int_equal(feed(f, SPAN("more"), &out), INFLATE_BROKEN); /* and it stays so */
    assert_false(inflater_is_complete(f));
    inflater_destroy(f);
    buffer_free(&out);
}

static void what_is_damaged_is_refused(void **state)
{
    struct buffer coded;
    buffer_init(&coded, 1 << 20);
    expect_broken(INFLATE_GZIP, SPAN("{\"error\":\"plain text\"}"));
    expect_broken(INFLATE_DEFLATE, SPAN("\xff\xff\xff\xff"));
    for (size_t i = 0; i < 2; i++) { /* the check sums; raw deflate has none */
        size_t from_end = formats[i].coding == INFLATE_GZIP ? 8 : 4;
        buffer_clear(&coded);
        compress_all(SPAN("one two two two three"), formats[i].window_bits, &coded);
        coded.p[coded.n - from_end] ^= 1;
        expect_broken(formats[i].coding, buffer_span(&coded));
    }
    buffer_clear(&coded);
    compress_all(SPAN("one"), GZIP, &coded);
    coded.p[2] = 7; /* a method that nobody has */
    expect_broken(INFLATE_GZIP, buffer_span(&coded));
    buffer_free(&coded);
}

/* Several gzip members are one text (RFC 1952, 2.2); what is none of them is skipped. */
static void members_are_joined(void **state)
{
    struct buffer coded, out;
    buffer_init(&coded, 1 << 20);
    buffer_init(&out, 1 << 20);
    compress_all(SPAN("one "), GZIP, &coded);
    compress_all(SPAN(""), GZIP, &coded);
    compress_all(SPAN("two"), GZIP, &coded);
    size_t whole = coded.n;
    buffer_append(&coded, span_of("\0\0\0 padding", 11));
    for (size_t cut = 0; cut <= coded.n; cut++) {
        struct inflater *f = inflater_create(INFLATE_GZIP);
        assert_non_null(f);
        buffer_clear(&out);
        assert_int_equal(feed(f, span_of(coded.p, cut), &out), INFLATE_MORE);
        assert_int_equal(feed(f, span_of(coded.p + cut, coded.n - cut), &out), INFLATE_MORE);
        assert_span_equal(buffer_span(&out), SPAN("one two"));
        assert_true(inflater_is_complete(f));
        inflater_destroy(f);
    }
    struct inflater *f = inflater_create(INFLATE_GZIP); /* the last member is torn */
    assert_int_equal(feed(f, span_of(coded.p, whole - 3), &out), INFLATE_MORE);
    assert_non_null(f);
    assert_false(inflater_is_complete(f));
    inflater_destroy(f);
    buffer_free(&coded);
    buffer_free(&out);
}

/* 8 MiB are free, whatever they come from; far beyond it at 1000:1 nothing is. */
static void proportion_is_kept(void **state)
{
    enum { FREE = 8 << 20 };
    char *zeros = calloc(1, 2 * FREE);
    for (size_t i = 0; i < N_FORMATS; i++) {
        struct inflater *f = inflater_create(formats[i].coding);
        assert_non_null(f);
        struct buffer coded, out;
        buffer_init(&coded, 1 << 20);
        buffer_init(&out, 4 * FREE);
        compress_all(span_of(zeros, FREE), formats[i].window_bits, &coded);
        assert_int_equal(feed(f, buffer_span(&coded), &out), INFLATE_MORE);
        assert_int_equal(out.n, FREE);
        inflater_destroy(f);
        buffer_clear(&coded);
        buffer_clear(&out);
        f = inflater_create(formats[i].coding);
        assert_non_null(f);
        compress_all(span_of(zeros, 2 * FREE), formats[i].window_bits, &coded);
        assert_int_equal(feed(f, buffer_span(&coded), &out), INFLATE_BROKEN);
        assert_true(out.n <= FREE);
        assert_non_null(strstr(inflater_error(f), "proportion"));
        inflater_destroy(f);
        buffer_free(&coded);
        buffer_free(&out);
    }
    free(zeros);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_every_split),
        cmocka_unit_test(half_is_not_whole),
        cmocka_unit_test(nothing_at_all_is_complete),
        cmocka_unit_test(flushed_events_are_read_at_once),
        cmocka_unit_test(long_texts_come_in_pieces),
        cmocka_unit_test(what_is_damaged_is_refused),
        cmocka_unit_test(members_are_joined),
        cmocka_unit_test(proportion_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
