/*
 * test/fuzz/check_events.h - is this the text of a chat stream?
 */
#ifndef DRAGOMAN_TEST_FUZZ_CHECK_EVENTS_H
#define DRAGOMAN_TEST_FUZZ_CHECK_EVENTS_H

#include <assert.h>

#include "base/buffer.h"
#include "base/json.h"

/* Each event is a JSON object, or [DONE]. */
static inline void check_events(struct json_parser *json, struct span out)
{
    while (out.n) {
        ptrdiff_t end = span_find(out, SPAN("\n\n"));
        assert(end >= 0 && span_starts(out, SPAN("data: ")));
        struct span event = span_of(out.p + 6, (size_t)end - 6);
        struct buffer copy; /* the parser wants room behind its text */
        struct json root;
        buffer_init(&copy, 1 << 26);
        buffer_append(&copy, event);
        assert(span_eq(event, SPAN("[DONE]")) ||
               json_parse(json, buffer_span(&copy), &root) == JSON_OK);
        buffer_free(&copy);
        out = span_from(out, (size_t)end + 2);
    }
}

#endif
