/*
 * test_upload_book.c - gateway/upload_book.h: what is kept is found again by those whose it is,
 * ends, and is bounded.
 */
#include <stdio.h>

#include "gateway/upload_book.h"
#include "test/unit/support/cmocka_all.h"

static const struct upload_scope scope = {SPAN_INIT("zai"), SPAN_INIT("https://chat.z.ai"),
                                          SPAN_INIT("me"), 7};

static int n_kept, n_forgotten;
static void count(void *owner, const struct upload *u, bool kept)
{
    n_kept += kept;
    n_forgotten += !kept;
}

static struct upload_book *begin(void)
{
    n_kept = n_forgotten = 0;
    struct upload_book *b = upload_book_create(count, NULL);
    assert_non_null(b);
    return b;
}

static struct upload named(const char *key, const char *value, int64_t expires_ms)
{
    return (struct upload){.hash = upload_hash_make(&scope, span_str(key)),
                           .site = scope.site,
                           .account = scope.account,
                           .value = span_str(value),
                           .expires_ms = expires_ms};
}

static void expect(const struct upload_book *b, const char *key, int64_t now, const char *value)
{
    struct upload_hash hash = upload_hash_make(&scope, span_str(key));
    const struct upload *u = upload_book_find(b, &hash, now);
    assert_int_equal(u != NULL, value != NULL);
    if (u)
        assert_true(span_eq(u->value, span_str(value)) && span_eq(u->account, scope.account));
}

static void whose_file_it_is_counts(void **state)
{
    const struct upload_scope others[] = {
        {SPAN("zai2"), scope.origin, scope.account, 7},
        {scope.site, SPAN("https://other"), scope.account, 7},
        {scope.site, scope.origin, SPAN("you"), 7},
        {scope.site, scope.origin, scope.account, 8},
        {SPAN("zaih"), SPAN("ttps://chat.z.ai"), scope.account, 7}, /* no seam moves */
    };
    struct upload_hash own = upload_hash_make(&scope, SPAN("k"));
    struct upload_hash again = upload_hash_make(&scope, SPAN("k"));
    assert_memory_equal(&own, &again, sizeof own);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct upload_hash other = upload_hash_make(&others[i], SPAN("k"));
        assert_memory_not_equal(&own, &other, sizeof own);
    }
}

static void what_is_kept_is_found_until_it_ends(void **state)
{
    struct upload_book *b = begin();
    struct upload one = named("a", "file 1", 100), anew = named("a", "file 2", 200);
    upload_book_keep(b, &one);
    expect(b, "a", 99, "file 1");
    expect(b, "a", 100, NULL);
    expect(b, "b", 0, NULL);
    upload_book_keep(b, &anew);
    expect(b, "a", 150, "file 2");
    upload_book_forget(b, &anew.hash);
    upload_book_forget(b, &anew.hash);
    expect(b, "a", 0, NULL);
    assert_int_equal(n_kept, 2);
    assert_int_equal(n_forgotten, 1);
    upload_book_restore(b, &one);
    assert_int_equal(n_kept, 2);
    upload_book_prune(b, 100);
    assert_int_equal(n_forgotten, 2);
    expect(b, "a", 0, NULL);
    upload_book_destroy(b);
}

static void their_number_and_bytes_are_bounded(void **state)
{
    struct upload_book *b = begin();
    char key[32];
    for (int i = 0; i <= UPLOADS_MAX; i++) {
        snprintf(key, sizeof key, "%d", i);
        struct upload u = named(key, "x", 1);
        upload_book_keep(b, &u);
    }
    expect(b, "0", 0, NULL);
    expect(b, "1", 0, "x");
    assert_int_equal(n_forgotten, 1);
    upload_book_destroy(b);
    b = begin();
    static char large[UPLOAD_VALUE_MAX + 2];
    memset(large, 'y', UPLOAD_VALUE_MAX + 1);
    struct upload u = named("too large", large, 1);
    upload_book_keep(b, &u);
    assert_int_equal(n_kept, 0);
    large[UPLOAD_VALUE_MAX] = '\0';
    for (int i = 0; i <= UPLOADS_BYTES / UPLOAD_VALUE_MAX; i++) {
        snprintf(key, sizeof key, "%d", i);
        u = named(key, large, 1);
        upload_book_keep(b, &u);
    }
    expect(b, "0", 0, NULL);
    expect(b, "1", 0, large);
    upload_book_destroy(b);
    upload_book_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whose_file_it_is_counts),
        cmocka_unit_test(what_is_kept_is_found_until_it_ends),
        cmocka_unit_test(their_number_and_bytes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
