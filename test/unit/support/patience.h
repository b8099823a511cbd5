/*
 * test/unit/support/patience.h - how long a test waits for what ought to come.
 */
#ifndef DRAGOMAN_TEST_PATIENCE_H
#define DRAGOMAN_TEST_PATIENCE_H

#include <stdint.h>
#include <stdlib.h>

/* Long enough for a machine with other work; short where memory is refused on purpose (`make
 * test-memory`), since there what is waited for often cannot come. */
static inline uint64_t patience_ns(void)
{
    return getenv("SHORT_MEMORY_REFUSES") ? 1000000000 : 20000000000;
}

#endif
