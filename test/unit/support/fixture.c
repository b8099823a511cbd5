/*
 * test/unit/support/fixture.c - see fixture.h.
 */
#include "test/unit/support/fixture.h"

#include "base/buffer.h"
#include "test/unit/support/cmocka_all.h"

struct arena test_arena;

int arena_begin(void **state)
{
    arena_init(&test_arena);
    return 0;
}

int arena_end(void **state)
{
    arena_free(&test_arena);
    return 0;
}

void count_up(void *owner, void *bytes, size_t n)
{
    unsigned char *next = owner;
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)bytes)[i] = (*next)++;
}

char *repeated(const char *before, const char *one, size_t n, const char *behind)
{
    struct buffer body;
    buffer_init(&body, 1 << 24);
    buffer_append(&body, span_str(before));
    for (size_t i = 0; i < n; i++)
        buffer_printf(&body, "%s%s", i ? "," : "", one);
    buffer_append(&body, span_str(behind));
    buffer_char(&body, '\0');
    assert_int_equal(body.error, 0);
    return body.p;
}
