/*
 * test/unit/test_base.c - spans, buffers, arenas and failures.
 */
#include <time.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/date.h"
#include "base/fail.h"
#include "base/prefetch.h"
#include "base/prefix.h"
#include "test/unit/support/cmocka_all.h"

/* ---- dates ---- */

static void days_become_dates_and_back(void **state)
{
    for (int64_t day = -135140; day < 400000; day += day % 11 + 12) { /* the years 1600 to 3065 */
        time_t t = (time_t)(day * 86400);
        struct tm tm;
        struct calendar_day d = date_of_day(day);
        assert_non_null(gmtime_r(&t, &tm));
        assert_int_equal(d.year, tm.tm_year + 1900);
        assert_int_equal(d.month, tm.tm_mon + 1);
        assert_int_equal(d.day, tm.tm_mday);
        assert_int_equal(days_since_1970(d.year, d.month, d.day), day);
    }
}

/* ---- prefetching ---- */

static bool is_listed(const struct prefetch *list, const char *p)
{
    uintptr_t line = (uintptr_t)p / CACHE_LINE;
    for (size_t i = 0; i < prefetch_n(list); i++) {
        uintptr_t first = list->places[i] / CACHE_LINE, more = list->places[i] % CACHE_LINE;
        if (line >= first && line <= first + more)
            return true;
    }
    return false;
}

static void just_the_lines_of_a_place_are_listed(void **state)
{
    static char memory[CACHE_LINE * (CACHE_LINE + 4)];
    for (size_t from = 2 * CACHE_LINE; from < 3 * CACHE_LINE; from += 7) {
        for (size_t n = 1; n < (CACHE_LINE - 1) * CACHE_LINE; n += n < 300 ? 1 : 211) {
            struct prefetch list = {0};
            char *p = memory + from;
            prefetch_add(&list, p, n);
            assert_true(is_listed(&list, p) && is_listed(&list, p + n - 1));
            assert_false(is_listed(&list, p - CACHE_LINE));
            assert_false(is_listed(&list, p + n - 1 + CACHE_LINE));
            prefetch_now(&list);
        }
    }
}

static void what_finds_no_place_is_left_out(void **state)
{
    char memory[CACHE_LINE * (PREFETCH_PLACES + 2)];
    struct prefetch list = {0}, more = {0};
    prefetch_add(&list, memory, 0);
    prefetch_add(&list, memory, (size_t)CACHE_LINE * CACHE_LINE + CACHE_LINE);
    assert_int_equal(prefetch_n(&list), 0);
    for (size_t i = 0; i < PREFETCH_PLACES - 1; i++)
        prefetch_add(&list, memory + i * CACHE_LINE, 1);
    for (size_t i = PREFETCH_PLACES - 1; i < PREFETCH_PLACES + 2; i++)
        prefetch_add(&more, memory + i * CACHE_LINE, 1);
    prefetch_add_all(&list, &more);
    prefetch_add(&list, memory + sizeof memory - 1, 1);
    for (size_t i = 0; i < PREFETCH_PLACES + 2; i++)
        assert_int_equal(is_listed(&list, memory + i * CACHE_LINE), i < PREFETCH_PLACES);
    prefetch_now(&list);
}

static void all_of_an_arena_is_listed_and_may_be_gone(void **state)
{
    struct arena a;
    struct prefetch list = {0};
    const char *places[6];
    arena_init(&a);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        places[i] = arena_alloc(&a, 100 * (i + 1));
        assert_non_null(places[i]);
    }
    arena_prefetch(&a, &list);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        assert_true(is_listed(&list, places[i]));
    arena_free(&a);
    prefetch_now(&list);
}

/* ---- prefixes ---- */

static void a_prefix_is_known_however_it_was_cut(void **state)
{
    char text[200];
    unsigned seed = 1;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7 + i / 13);
    for (size_t n = 0; n <= sizeof text; n++) {
        struct prefix p = {0};
        for (size_t at = 0, piece; at < n; at += piece) {
            seed = seed * 1103515245 + 12345;
            piece = (seed >> 16) % 21;
            if (piece > n - at)
                piece = n - at;
            prefix_add(&p, span_of(text + at, piece));
        }
        assert_true(prefix_begins(&p, span_of(text, n)));
        assert_true(prefix_begins(&p, span_of(text, sizeof text)));
        if (!n)
            continue;
        assert_false(prefix_begins(&p, span_of(text, n - 1)));
        text[n * 5 % n] ^= 0x20;
        assert_false(prefix_begins(&p, span_of(text, sizeof text)));
        text[n * 5 % n] ^= 0x20;
        text[n - 1] ^= 1;
        assert_false(prefix_begins(&p, span_of(text, sizeof text)));
        text[n - 1] ^= 1;
    }
}

/* ---- spans ---- */

static void what_is_not_visible_is_found_at_every_place(void **state)
{
    char text[] = "abcdefghijklmnopqrstuvwxyz";
    for (size_t n = 1; n < sizeof text; n++) {
        assert_true(span_is_visible(span_of(text, n)));
        assert_false(span_has_control(span_of(text, n)));
        for (size_t at = 0; at < n; at++) {
            char was = text[at];
            text[at] = ' ';
            assert_false(span_is_visible(span_of(text, n)));
            assert_false(span_has_control(span_of(text, n)));
            text[at] = (char)0xC3;
            assert_false(span_is_visible(span_of(text, n)));
            assert_false(span_has_control(span_of(text, n)));
            text[at] = '\n';
            assert_false(span_is_visible(span_of(text, n)));
            assert_true(span_has_control(span_of(text, n)));
            text[at] = 0x7F;
            assert_false(span_is_visible(span_of(text, n)));
            assert_true(span_has_control(span_of(text, n)));
            text[at] = was;
        }
    }
    assert_true(span_is_visible(SPAN("")));
    assert_false(span_has_control(SPAN("")));
}

static void spans_are_compared(void **state)
{
    const struct span none = {NULL, 0};
    assert_true(span_eq(none, SPAN("")));
    assert_true(span_eq(SPAN("ab"), span_str("ab")));
    assert_false(span_eq(SPAN("ab"), SPAN("aB")));
    assert_true(span_eq_nocase(SPAN("Content-TYPE"), SPAN("content-type")));
    assert_false(span_eq_nocase(SPAN("a"), SPAN("ab")));
    assert_false(span_eq_nocase(SPAN("@"), SPAN("`"))); /* not letters, though 32 apart */
    assert_true(span_starts(SPAN("abc"), SPAN("ab")) && span_starts(none, none));
    assert_false(span_starts(SPAN("a"), SPAN("ab")));
    assert_true(span_ends(SPAN("abc"), SPAN("bc")) && span_ends(SPAN("abc"), none));
    assert_false(span_ends(SPAN("c"), SPAN("bc")));
}

static void spans_are_cut(void **state)
{
    struct span rest = SPAN("a,,b,"), piece;
    static const char *const wanted[] = {"a", "", "b", ""};
    for (size_t i = 0; i < 4; i++) {
        assert_true(span_split(&rest, ',', &piece));
        assert_span_equal(piece, span_str(wanted[i]));
    }
    assert_false(span_split(&rest, ',', &piece));
    assert_span_equal(span_from(SPAN("abc"), 1), SPAN("bc"));
    rest = SPAN(""); /* an empty text has one empty piece, none has none */
    assert_true(span_split(&rest, ',', &piece) && piece.n == 0);
    assert_false(span_split(&rest, ',', &piece));
    rest = (struct span){NULL, 0};
    assert_false(span_split(&rest, ',', &piece));
    assert_int_equal(span_from(SPAN("abc"), 9).n, 0);
    assert_int_equal(span_from((struct span){NULL, 0}, 3).n, 0);
    assert_span_equal(span_first(SPAN("abc"), 2), SPAN("ab"));
    assert_span_equal(span_first(SPAN("abc"), 9), SPAN("abc"));
    assert_span_equal(span_trim(SPAN(" \t\r\n\v\fa b \n")), SPAN("a b"));
    assert_int_equal(span_trim(SPAN(" \t ")).n, 0);
}

static void spans_are_searched(void **state)
{
    assert_int_equal(span_find_char(SPAN("abcb"), 'b'), 1);
    assert_int_equal(span_find_char(SPAN("abc"), 'x'), -1);
    assert_int_equal(span_find(SPAN("ababc"), SPAN("abc")), 2);
    assert_int_equal(span_find(SPAN("ab"), SPAN("abc")), -1);
    assert_int_equal(span_find(SPAN("ab"), SPAN("")), 0);
    assert_int_equal(span_find_last(SPAN("abab"), SPAN("ab")), 2);
    assert_int_equal(span_find_last(SPAN("abab"), SPAN("x")), -1);
    assert_int_equal(span_find_nocase(SPAN("xxAbC"), SPAN("aBc")), 2);
    assert_int_equal(span_find_nocase((struct span){NULL, 0}, SPAN("a")), -1);
    assert_int_equal(span_find_char(SPAN("a\0b"), '\0'), 1); /* text may hold NUL */
    assert_int_equal(span_find(SPAN("a\0b\0c"), SPAN("\0c")), 3);
    assert_int_equal(span_find_last(SPAN("abc"), SPAN("")), 3);
    assert_int_equal(span_find_last(SPAN("ab"), SPAN("abc")), -1);
    assert_int_equal(span_find((struct span){NULL, 0}, SPAN("a")), -1);
}

static void numbers_are_plain_digits(void **state)
{
    uint64_t v = 7;
    assert_true(span_to_u64(SPAN("18446744073709551615"), UINT64_MAX, &v) && v == UINT64_MAX);
    assert_true(span_to_u64(SPAN("007"), 7, &v) && v == 7);
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "1.0", "0x1", "18446744073709551616", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(span_to_u64(span_str(bad[i]), UINT64_MAX, &v));
    assert_false(span_to_u64(SPAN("8"), 7, &v));
    assert_true(span_to_u64(SPAN("0"), 0, &v) && v == 0);
    assert_false(span_to_u64(SPAN("1"), 0, &v));
    assert_true(span_to_u64(SPAN("65535"), 65535, &v) && v == 65535);
    assert_false(span_to_u64(SPAN("65536"), 65535, &v));
    assert_false(span_to_u64(SPAN("1\0"), 10, &v));
}

static void globs_match(void **state)
{
    assert_true(span_glob(SPAN("*"), SPAN("")) && span_glob(SPAN("*"), SPAN("a/b")));
    assert_true(span_glob(SPAN("a*c"), SPAN("abcbc")) && span_glob(SPAN("?b*"), SPAN("ab")));
    assert_true(span_glob(SPAN("a**"), SPAN("a")) && span_glob(SPAN(""), SPAN("")));
    assert_true(span_glob(SPAN("*b?d*"), SPAN("abbcd")) && !span_glob(SPAN("?"), SPAN("")));
    assert_true(span_glob(SPAN("glm-4.?"), SPAN("glm-4.6")));
    assert_false(span_glob(SPAN("glm-4.6"), SPAN("glm-4x6")));
    assert_false(span_glob(SPAN("a*c"), SPAN("abcb")) || span_glob(SPAN("a"), SPAN("A")) ||
                 span_glob(SPAN(""), SPAN("a")));
    /* Many stars over a long text: no exponential time. */
    char text[2000];
    memset(text, 'a', sizeof text);
    assert_false(span_glob(SPAN("*a*a*a*a*a*a*a*a*a*a*a*a*b"), span_of(text, sizeof text)));
}

/* ---- buffers ---- */

static void buffers_grow_to_their_limit(void **state)
{
    struct buffer b;
    buffer_init(&b, 10);
    assert_null(b.p);
    assert_int_equal(buffer_append(&b, SPAN("12345")), 0);
    assert_int_equal(buffer_append(&b, SPAN("67890")), 0);
    assert_int_equal(buffer_append(&b, SPAN("x")), BUFFER_FULL);
    assert_int_equal(buffer_append(&b, SPAN("")), BUFFER_FULL); /* sticky */
    assert_span_equal(buffer_span(&b), SPAN("1234567890"));
    buffer_clear(&b);
    assert_int_equal(buffer_printf(&b, "%d-%s", 12, "ab"), 0);
    assert_span_equal(buffer_span(&b), SPAN("12-ab"));
    assert_int_equal(buffer_printf(&b, "%20d", 1), BUFFER_FULL);
    assert_span_equal(buffer_span(&b), SPAN("12-ab"));
    buffer_free(&b);
    assert_int_equal(buffer_append(&b, SPAN("again")), 0);
    buffer_free(&b);
}

/* The limit is one for content: filling it to the last byte is allowed, also by printf. */
static void limits_are_for_content_alone(void **state)
{
    struct buffer b;
    buffer_init(&b, 5);
    assert_int_equal(buffer_printf(&b, "%s", "12345"), 0);
    assert_span_equal(buffer_span(&b), SPAN("12345"));
    assert_int_equal(buffer_printf(&b, "%s", ""), 0);
    assert_int_equal(buffer_printf(&b, "%s", "6"), BUFFER_FULL);
    assert_span_equal(buffer_span(&b), SPAN("12345"));
    assert_int_equal(b.limit, 5);
    buffer_free(&b);
    assert_int_equal(b.limit, 5); /* and the error is forgotten */
    assert_null(b.p);
    assert_int_equal(buffer_append(&b, SPAN("123456")), BUFFER_FULL);
    assert_null(buffer_reserve(&b, 1)); /* sticky for all */
    assert_int_equal(buffer_printf(&b, "x"), BUFFER_FULL);
    assert_int_equal(b.n, 0);
    buffer_shrink(&b, 0);
    assert_int_equal(buffer_append(&b, SPAN("1")), 0);
    assert_null(buffer_reserve(&b, SIZE_MAX)); /* no wrap-around */
    assert_int_equal(b.error, BUFFER_FULL);
    assert_span_equal(buffer_span(&b), SPAN("1"));
    buffer_free(&b);
}

static void consumed_bytes_are_gone(void **state)
{
    for (size_t n = 0; n < 12; n++) {
        struct buffer b;
        buffer_init(&b, 100);
        buffer_append(&b, SPAN("0123456789"));
        buffer_consume(&b, n);
        assert_span_equal(buffer_span(&b), span_from(SPAN("0123456789"), n));
        buffer_append(&b, SPAN("x"));
        assert_int_equal(b.p[b.n - 1], 'x');
        buffer_free(&b);
    }
}

static void whole_numbers_are_written(void **state)
{
    static const int64_t numbers[] = {
        0, 1, -1, 9, 10, -10, 200, INT32_MIN, INT64_MAX, INT64_MAX - 9, INT64_MIN, INT64_MIN + 1};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct buffer b;
        char wanted[24];
        snprintf(wanted, sizeof wanted, "%lld", (long long)numbers[i]);
        buffer_init(&b, strlen(wanted));
        assert_int_equal(buffer_int(&b, numbers[i]), 0);
        assert_span_equal(buffer_span(&b), span_str(wanted));
        assert_int_equal(buffer_int(&b, 7), BUFFER_FULL);
        buffer_free(&b);
    }
}

static void buffers_keep_padding(void **state)
{
    struct buffer b;
    buffer_init(&b, 1 << 20);
    for (size_t i = 0; i < 5000; i++) {
        buffer_char(&b, 'x');
        char padding[JSON_PADDING];
        memcpy(padding, b.p + b.n, JSON_PADDING); /* the address sanitizer looks */
        assert_true(b.n == i + 1);
    }
    buffer_consume(&b, 4998);
    assert_span_equal(buffer_span(&b), SPAN("xx"));
    buffer_consume(&b, 2);
    assert_int_equal(b.n, 0);
    buffer_shrink(&b, 64);
    assert_true(b.cap <= 64);
    assert_non_null(buffer_reserve(&b, 100));
    assert_null(buffer_reserve(&b, 2 << 20));
    assert_int_equal(b.error, BUFFER_FULL);
    buffer_free(&b);
}

/* What a JSON parser may read behind the content is there and zero, also in the room of before. */
static void buffers_fit_their_content(void **state)
{
    struct buffer b;
    buffer_init(&b, 1000);
    buffer_fit(&b); /* nothing to do */
    assert_null(b.p);
    for (int i = 0; i < 200; i++)
        assert_int_equal(buffer_append(&b, SPAN("abc")), 0);
    b.n = 100;
    buffer_fit(&b);
    assert_int_equal(b.cap, 100);
    for (size_t i = 0; i < JSON_PADDING; i++)
        assert_int_equal(b.p[100 + i], 0);
    assert_int_equal(buffer_append(&b, SPAN("def")), 0); /* it may grow again */
    assert_span_equal(span_from(buffer_span(&b), 100), SPAN("def"));
    buffer_free(&b);
}

static void buffers_take_just_what_is_known_to_come(void **state)
{
    struct buffer b;
    buffer_init(&b, 1000);
    char *at = buffer_reserve_exactly(&b, 300);
    assert_non_null(at);
    assert_int_equal(b.cap, 300);
    for (size_t i = 0; i < JSON_PADDING; i++)
        assert_int_equal(at[300 + i], 0);
    memset(at, 'x', 300);
    b.n = 300;
    assert_int_equal(buffer_append(&b, SPAN("def")), 0); /* it may grow all the same */
    assert_non_null(buffer_reserve_exactly(&b, 600));
    assert_null(buffer_reserve_exactly(&b, 700));
    assert_int_equal(b.error, BUFFER_FULL);
    assert_int_equal(buffer_append(&b, SPAN("d")), BUFFER_FULL); /* though there is room */
    assert_int_equal(b.n, 303);
    buffer_free(&b);
}

/* ---- arenas ---- */

static void arenas_give_zeroed_aligned_memory(void **state)
{
    struct arena a;
    arena_init(&a);
    for (size_t n = 1; n < 20000; n = n * 3 + 1) {
        char *p = arena_alloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xAA, n);
    }
    struct span copy = arena_dup(&a, SPAN("abc"));
    assert_span_equal(copy, SPAN("abc"));
    assert_int_equal(copy.p[3], 0);
    copy = arena_dup(&a, (struct span){NULL, 0});
    assert_true(copy.p && copy.n == 0);
    copy = arena_printf(&a, "%s-%d", "x", 3);
    assert_string_equal(copy.p, "x-3");
    assert_null(arena_alloc(&a, SIZE_MAX - 8)); /* no wrap-around */
    arena_free(&a);
    assert_non_null(arena_alloc(&a, 1)); /* usable again */
    arena_free(&a);
}

/* Cleared, it gives zeroed memory again, and out of the block that it had. */
static void arenas_are_cleared(void **state)
{
    struct arena a;
    arena_init(&a);
    arena_clear(&a);
    char *first = arena_alloc(&a, 100);
    memset(first, 0xAA, 100);
    arena_clear(&a);
    assert_int_equal(arena_used(&a), 0);
    char *again = arena_alloc(&a, 100);
    assert_ptr_equal(again, first);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(again[i], 0);
    for (int i = 0; i < 50; i++)
        assert_non_null(arena_alloc(&a, 3000));
    arena_clear(&a);
    assert_int_equal(arena_used(&a), 0);
    arena_free(&a);
}

static void arenas_join_texts(void **state)
{
    const struct span pieces[] = {SPAN("ab"), {NULL, 0}, SPAN("c\0d"), SPAN("")};
    struct arena a;
    arena_init(&a);
    struct span joined = arena_join(&a, pieces, 4);
    assert_span_equal(joined, SPAN("abc\0d"));
    assert_int_equal(joined.p[joined.n], 0);
    assert_non_null(arena_join(&a, NULL, 0).p);
    arena_free(&a);
}

/* What is apart goes alone; what is not stays, and so does what was handed out around it. */
static void arenas_take_back_what_is_apart(void **state)
{
    struct arena a;
    arena_init(&a);
    char *first = arena_alloc_apart(&a, 3); /* also in an empty one, and never filled further */
    char *kept = arena_alloc(&a, 16), *big = arena_alloc_apart(&a, 100000);
    assert_true(first && kept && big);
    memcpy(first, "abc", 3);
    memcpy(kept, "kept", 5);
    assert_memory_equal(first + 3, "\0\0\0\0", 4);
    assert_int_equal(arena_used(&a), 3 + 16 + 100000);
    arena_give_back(&a, kept);
    arena_give_back(&a, NULL);
    assert_int_equal(arena_used(&a), 3 + 16 + 100000);
    arena_give_back(&a, big);
    assert_int_equal(arena_used(&a), 3 + 16);
    assert_memory_equal(first, "abc", 3);
    arena_give_back(&a, first);
    assert_int_equal(arena_used(&a), 16);
    assert_string_equal(kept, "kept");
    assert_ptr_equal(arena_alloc(&a, 16), kept + 16);
    assert_null(arena_alloc_apart(&a, SIZE_MAX - 8)); /* no wrap-around */
    arena_free(&a);
}

/* One block, and the next one when it is used up. */
static void arenas_keep_what_is_reserved(void **state)
{
    struct arena a;
    arena_init(&a);
    assert_int_equal(arena_reserve(&a, 1024), 0);
    char *first = arena_alloc(&a, 512), *second = arena_alloc(&a, 512);
    assert_ptr_equal(second, first + 512);
    char *third = arena_alloc(&a, 16);
    assert_non_null(third);
    assert_true(third < first || third >= first + 1024);
    arena_free(&a);
}

/* Blocks of all kinds in one arena: none overlaps another, all stay until the end. */
static void allocations_do_not_overlap(void **state)
{
    enum { COUNT = 400 };
    struct arena a;
    unsigned char *p[COUNT];
    size_t n[COUNT], sum = 0;
    arena_init(&a);
    for (size_t i = 0; i < COUNT; i++) {
        n[i] = i % 17 == 0 ? 5000 + i : i % 5 == 0 ? 1100 + i : 1 + i % 40;
        p[i] = arena_alloc(&a, n[i]);
        assert_non_null(p[i]);
        memset(p[i], (int)(i & 0xFF), n[i]);
        sum += n[i];
    }
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t j = 0; j < n[i]; j++)
            assert_int_equal(p[i][j], i & 0xFF);
    }
    assert_true(arena_used(&a) >= sum);
    arena_free(&a);
    assert_int_equal(arena_used(&a), 0);
    arena_free(&a); /* twice does no harm */
}

/* A request may have a million small parts. What one costs must not grow with their number: that
 * took ten seconds here. */
static void many_small_allocations_are_cheap(void **state)
{
    enum { COUNT = 1500000, SECONDS_MAX = 4 };
    struct arena a;
    clock_t begun = clock();
    arena_init(&a);
    for (size_t i = 0; i < COUNT; i++)
        assert_non_null(arena_alloc(&a, 96));
    assert_true(clock() - begun < (clock_t)SECONDS_MAX * CLOCKS_PER_SEC);
    arena_free(&a);
}

/* A JSON parser may read JSON_PADDING bytes behind copies; the address sanitizer looks. */
static void copies_are_padded(void **state)
{
    struct arena a;
    char text[3000];
    arena_init(&a);
    memset(text, 'x', sizeof text);
    for (size_t n = 0; n < sizeof text; n += 61) {
        char padding[JSON_PADDING];
        struct span copy = arena_dup(&a, span_of(text, n));
        assert_span_equal(copy, span_of(text, n));
        memcpy(padding, copy.p + copy.n, JSON_PADDING);
        assert_int_equal(padding[0], 0);
        copy = arena_printf(&a, "%.*s", (int)n, text);
        assert_span_equal(copy, span_of(text, n));
        memcpy(padding, copy.p + copy.n, JSON_PADDING);
        assert_int_equal(padding[0], 0);
    }
    assert_span_equal(arena_dup(&a, SPAN("a\0b")), SPAN("a\0b"));
    arena_free(&a);
}

/* ---- failures ---- */

/* What is added always fits, and what was said before is cut between characters. */
static void more_can_be_said(void **state)
{
    struct fail f;
    fail_set(&f, FAIL_RATE_LIMITED, "slow down");
    f.retry_after_s = 7;
    fail_add(&f, "; ready again in %d s", f.retry_after_s);
    assert_string_equal(f.message, "slow down; ready again in 7 s");
    assert_int_equal(f.retry_after_s, 7);
    for (size_t before = 200; before < 260; before++) {
        char text[300];
        memset(text, 'a', before);
        strcpy(text + before, "🌸🌸");
        fail_set(&f, FAIL_PROTOCOL, "%s", text);
        fail_add(&f, "; the end");
        size_t n = strlen(f.message);
        assert_true(n > 200 && n < sizeof f.message);
        assert_string_equal(f.message + n - 9, "; the end");
        n -= 9;
        assert_int_equal((n - (n < before ? n : before)) % 4, 0);
    }
}

/* Whatever a site said, a message is one line. */
static void messages_are_one_line(void **state)
{
    struct fail f;
    fail_set(&f, FAIL_PROTOCOL, "a\r\nb\tc\x1b[1m%c", 0x7F);
    assert_string_equal(f.message, "a  b c [1m ");
    fail_param(&f, FAIL_INVALID_VALUE, "x\ny", "é");
    assert_string_equal(f.param, "x y");
    assert_string_equal(f.message, "é");
    for (int kind = 0; kind < FAIL_KIND_COUNT; kind++)
        assert_true(fail_kind_name((enum fail_kind)kind)[0] != '?');
}

static void failures_are_sentences(void **state)
{
    struct fail f = {.retry_after_s = 9};
    assert_int_equal(fail_set(&f, FAIL_TIMEOUT, "%s did not answer", "x"), -1);
    assert_int_equal(f.kind, FAIL_TIMEOUT);
    assert_int_equal(f.retry_after_s, 0);
    assert_string_equal(f.message, "x did not answer");
    assert_int_equal(fail_param(&f, FAIL_INVALID_VALUE, "n", "too large"), -1);
    assert_string_equal(f.param, "n");
    assert_int_equal(fail_memory(&f), -1);
    assert_int_equal(f.kind, FAIL_MEMORY);
    assert_string_equal(f.param, "");
    fail_clear(&f);
    assert_int_equal(f.kind, FAIL_NONE);
    assert_string_equal(fail_kind_name(FAIL_RATE_LIMITED), "rate_limited");
}

/* At every length around the message's room: cut at a character's boundary. */
static void long_messages_are_cut_between_characters(void **state)
{
    for (size_t before = 225; before < 245; before++) {
        char text[400];
        struct fail f;
        memset(text, 'a', before);
        strcpy(text + before, "🌸🌸🌸🌸🌸");
        fail_set(&f, FAIL_PROTOCOL, "%s", text);
        size_t n = strlen(f.message);
        assert_true(n < sizeof f.message && n > 220);
        assert_int_equal((n - (n < before ? n : before)) % 4, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_become_dates_and_back),
        cmocka_unit_test(a_prefix_is_known_however_it_was_cut),
        cmocka_unit_test(what_is_not_visible_is_found_at_every_place),
        cmocka_unit_test(spans_are_compared),
        cmocka_unit_test(spans_are_cut),
        cmocka_unit_test(spans_are_searched),
        cmocka_unit_test(numbers_are_plain_digits),
        cmocka_unit_test(globs_match),
        cmocka_unit_test(buffers_grow_to_their_limit),
        cmocka_unit_test(limits_are_for_content_alone),
        cmocka_unit_test(consumed_bytes_are_gone),
        cmocka_unit_test(whole_numbers_are_written),
        cmocka_unit_test(buffers_keep_padding),
        cmocka_unit_test(buffers_fit_their_content),
        cmocka_unit_test(buffers_take_just_what_is_known_to_come),
        cmocka_unit_test(arenas_are_cleared),
        cmocka_unit_test(arenas_join_texts),
        cmocka_unit_test(arenas_take_back_what_is_apart),
        cmocka_unit_test(arenas_keep_what_is_reserved),
        cmocka_unit_test(arenas_give_zeroed_aligned_memory),
        cmocka_unit_test(allocations_do_not_overlap),
        cmocka_unit_test(many_small_allocations_are_cheap),
        cmocka_unit_test(copies_are_padded),
        cmocka_unit_test(just_the_lines_of_a_place_are_listed),
        cmocka_unit_test(what_finds_no_place_is_left_out),
        cmocka_unit_test(all_of_an_arena_is_listed_and_may_be_gone),
        cmocka_unit_test(messages_are_one_line),
        cmocka_unit_test(failures_are_sentences),
        cmocka_unit_test(more_can_be_said),
        cmocka_unit_test(long_messages_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
