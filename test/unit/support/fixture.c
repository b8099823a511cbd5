/*
 * test/unit/support/fixture.c - see fixture.h.
 */
#include "test/unit/support/fixture.h"

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
