/*
 * test/unit/test_clock.c - random bytes from the pool: none is given out twice, whatever is asked
 * for.
 */
#include "base/span.h"
#include "gateway/clock.h"
#include "test/unit/support/cmocka_all.h"

/* Eight bytes that come again by chance would be news. */
static void random_bytes_are_never_the_same(void **state)
{
    enum { EACH = 8, MOST = 400 };
    static char given[MOST * MOST + EACH];
    size_t n = 0;
    for (size_t size = 0; size < MOST && n + size <= sizeof given; size++) {
        clock_random(NULL, given + n, size);
        n += size;
    }
    for (size_t i = 0; i + EACH < 4096; i += EACH) {
        struct span rest = span_of(given + i + EACH, n - i - EACH);
        assert_int_equal(span_find(rest, span_of(given + i, EACH)), -1);
    }
}

static void ids_have_letters_and_digits(void **state)
{
    char before[65] = "";
    for (size_t n = 0; n < sizeof before; n++) {
        char id[65];
        clock_random_id(id, n);
        assert_int_equal(strlen(id), n);
        assert_int_equal(strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz"), n);
        assert_true(n < 10 || strncmp(id, before, 9) != 0);
        memcpy(before, id, n + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_bytes_are_never_the_same),
        cmocka_unit_test(ids_have_letters_and_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
