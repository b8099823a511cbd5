/*
 * test_parts.c - what is in a part (adapters/support.h): types read off first bytes, and decoding
 * once.
 */
#include "adapters/support.h"
#include "test/unit/support/cmocka_all.h"

#define PNG "\x89PNG\r\n\x1A\n\0\0\0\rIHDR"
#define BOX(major, more)                                                                           \
    "\0\0\0\x18"                                                                                   \
    "ftyp" major "\0\0\0\0" more

static const struct {
    struct span bytes;
    const char *type;
} rows[] = {
    {SPAN_INIT(PNG), "image/png"},
    {SPAN_INIT("\x89PNG\r\n\x1A"), ""},
    {SPAN_INIT("\xFF\xD8\xFF\xE0\0\x10JFIF"), "image/jpeg"},
    {SPAN_INIT("\xFF\xD8"), ""},
    {SPAN_INIT("GIF87a..."), "image/gif"},
    {SPAN_INIT("GIF89a"), "image/gif"},
    {SPAN_INIT("GIF88a"), ""},
    {SPAN_INIT("RIFF\x10\0\0\0WEBPVP8 "), "image/webp"},
    {SPAN_INIT("RIFF\x10\0\0\0WAVEfmt "), ""},
    {SPAN_INIT("RIFF"), ""},
    {SPAN_INIT(BOX("avif", "mif1miaf")), "image/avif"},
    {SPAN_INIT(BOX("avis", "avifmsf1")), "image/avif"},
    {SPAN_INIT(BOX("mif1", "avifmiaf")), "image/avif"},
    {SPAN_INIT(BOX("heic", "mif1heic")), "image/heic"},
    {SPAN_INIT(BOX("mif1", "miafheic")), "image/heic"},
    {SPAN_INIT(BOX("mif1", "miafabcd")), "image/heif"},
    {SPAN_INIT("\0\0\0\x10"
               "ftypmif1\0\0\0\0avif"),
     "image/heif"}, /* the box ends before it */
    {SPAN_INIT(BOX("isom", "mp41avc1")), ""},
    {SPAN_INIT(BOX("mp42", "isom")), ""},
    {SPAN_INIT("\0\0\0\x18"
               "ftyp"),
     ""},
    {SPAN_INIT("BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\1\0\0\0"), "image/bmp"},
    {SPAN_INIT("BM is a mark that begins many a text"), ""},
    {SPAN_INIT("BM"), ""},
    {SPAN_INIT("<svg xmlns='http://www.w3.org/2000/svg'/>"), ""},
    {SPAN_INIT("<?xml version='1.0'?><svg/>"), ""},
    {SPAN_INIT("<!doctype html>"), ""},
    {SPAN_INIT("%PDF-1.7"), ""},
    {SPAN_INIT("II*\0\x08\0\0\0"), ""},
    {SPAN_INIT(""), ""},
    {{NULL, 0}, ""},
};

static void pictures_are_known_by_their_first_bytes(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span type = picture_type_of(rows[i].bytes);
        if (!span_eq(type, span_str(rows[i].type)))
            fail_msg("row %zu: %.*s, not \"%s\"", i, SPAN_ARGS(type), rows[i].type);
    }
}

/* Whatever there is of one is no reason to read behind it. */
static void beginnings_cut_anywhere_are_no_other_type(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t n = 0; n < rows[i].bytes.n; n++) {
            char *copy = malloc(n + 1); /* the sanitizer watches its end */
            memcpy(copy, rows[i].bytes.p, n);
            struct span type = picture_type_of(span_of(copy, n));
            bool heif = span_starts(type, SPAN("image/hei")); /* brands that fit come later */
            if (type.n && !heif && !span_eq(type, span_str(rows[i].type)))
                fail_msg("row %zu, %zu bytes: %.*s", i, n, SPAN_ARGS(type));
            free(copy);
        }
    }
}

struct bench {
    struct arena arena;
    struct turn_run run;
    struct fail fail;
};

static int setup(void **state)
{
    static struct bench b;
    b = (struct bench){.run = {.fail = &b.fail, .arena = &b.arena}};
    arena_init(&b.arena);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    arena_free(&((struct bench *)*state)->arena);
    return 0;
}

static struct span type_of(struct bench *b, struct span mime, struct span bytes)
{
    struct part part = {
        .kind = PART_IMAGE, .mime = mime, .base64 = base64_encode(&b->arena, bytes)};
    return part_picture_type(&b->run, &part);
}

static void the_true_type_wins(void **state)
{
    struct bench *b = *state;
    const struct span png = SPAN(PNG), other = SPAN("no mark that anybody knows, but long enough "
                                                    "for a sentence of its own, and still longer");
    assert_span_equal(type_of(b, SPAN("image/jpg"), png), SPAN("image/png"));
    assert_span_equal(type_of(b, SPAN("application/octet-stream"), png), SPAN("image/png"));
    assert_span_equal(type_of(b, SPAN(""), png), SPAN("image/png"));
    assert_span_equal(type_of(b, SPAN("image/jpg"), other), SPAN("image/jpeg"));
    assert_span_equal(type_of(b, SPAN("IMAGE/x-new"), other), SPAN("IMAGE/x-new"));
    assert_span_equal(type_of(b, SPAN("text/html"), other), SPAN(""));
    assert_span_equal(type_of(b, SPAN("image/a\r\nb"), other), SPAN(""));
    assert_span_equal(type_of(b, SPAN(""), other), SPAN(""));
}

static void documents_keep_their_name_unless_they_have_none(void **state)
{
    struct bench *b = *state;
    static const struct {
        struct span mime, bytes, type;
    } documents[] = {
        {SPAN_INIT("text/csv"), SPAN_INIT("%PDF-1.7"), SPAN_INIT("text/csv")},
        {SPAN_INIT("application/octet-stream"), SPAN_INIT("%PDF-1.7"),
         SPAN_INIT("application/pdf")},
        {SPAN_INIT(""), SPAN_INIT("%PDF-1.7"), SPAN_INIT("application/pdf")},
        {SPAN_INIT(""), SPAN_INIT(PNG), SPAN_INIT("image/png")},
        {SPAN_INIT("a\nb/c"), SPAN_INIT("x"), SPAN_INIT("application/octet-stream")},
    };
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        struct part part = {.kind = PART_FILE,
                            .mime = documents[i].mime,
                            .base64 = base64_encode(&b->arena, documents[i].bytes)};
        assert_span_equal(part_document_type(&b->run, &part), documents[i].type);
    }
}

static void a_part_is_decoded_once(void **state)
{
    struct bench *b = *state;
    struct part_data data = {.decoded = false};
    struct part part = {.kind = PART_IMAGE, .base64 = SPAN("aGVsbG8="), .data = &data};
    struct span bytes = part_bytes(&b->run, &part);
    assert_span_equal(bytes, SPAN("hello"));
    assert_ptr_equal(part_bytes(&b->run, &part).p, bytes.p);
    struct span digest = part_digest(&b->run, &part, bytes);
    assert_int_equal(digest.n, PART_DIGEST);
    assert_int_equal((unsigned char)digest.p[0], 0x2C); /* 2cf24dba… */
    assert_ptr_equal(part_digest(&b->run, &part, bytes).p, digest.p);
    struct part_data none = {.decoded = false};
    struct part bad = {.kind = PART_IMAGE, .base64 = SPAN("a!"), .data = &none};
    assert_null(part_bytes(&b->run, &bad).p);
    assert_true(none.decoded);
}

static void what_was_fetched_is_encoded_once(void **state)
{
    struct bench *b = *state;
    struct part_data data = {.fetched = true, .bytes = SPAN("hello")};
    struct part part = {.kind = PART_IMAGE, .url = SPAN("http://a/"), .data = &data};
    struct part link = {.kind = PART_IMAGE, .url = SPAN("http://a/")};
    assert_true(part_has_data(&part));
    assert_span_equal(part_bytes(&b->run, &part), SPAN("hello"));
    struct span text = part_base64(&b->run, &part);
    assert_span_equal(text, SPAN("aGVsbG8="));
    assert_ptr_equal(part_base64(&b->run, &part).p, text.p);
    assert_false(part_has_data(&link));
    assert_null(part_bytes(&b->run, &link).p);
    assert_null(part_base64(&b->run, &link).p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_known_by_their_first_bytes),
        cmocka_unit_test(beginnings_cut_anywhere_are_no_other_type),
        cmocka_unit_test_setup_teardown(the_true_type_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(documents_keep_their_name_unless_they_have_none, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_part_is_decoded_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_fetched_is_encoded_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
