/*
 * test/unit/support/cmocka_all.h - cmocka with the headers that it wants before it, and a
 * comparison for spans.
 */
#ifndef DRAGOMAN_TEST_CMOCKA_ALL_H
#define DRAGOMAN_TEST_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/span.h"

#define assert_span_equal(value, text)                                                             \
    do {                                                                                           \
        struct span value_ = (value), text_ = (text);                                              \
        if (!span_eq(value_, text_))                                                               \
            fail_msg("\"%.*s\" is not \"%.*s\"", SPAN_ARGS(value_), SPAN_ARGS(text_));             \
    } while (0)

#endif
