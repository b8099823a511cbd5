/*
 * test/fuzz/fuzz_json.c - lenient reading, walking and writing: what is written from any document
 * reads back as the same text.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_write.h"
#include "sse/text_guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every string of the document becomes valid text behind a guard. */
static void walk(struct json v, int depth)
{
    if (json_is(v, JSON_STRING)) {
        struct text_guard g = {0};
        struct buffer scratch;
        struct span whole;
        buffer_init(&scratch, 1 << 24);
        assert(text_guard_pass(&g, json_text(v), &scratch, &whole) == 0 && utf8_valid(whole));
        buffer_free(&scratch);
    }
    struct json_iter it = json_each(v);
    while (depth < 50 && json_next(&it))
        walk(it.value, depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_parser *json = json_parser_create(1 << 24);
    struct json root;
    char *copy = malloc(size + 1);
    memcpy(copy, data, size);
    if (json_parse_lenient(json, span_of(copy, size), &root) == JSON_OK)
        walk(root, 0);
    json_mend_surrogates(copy, size);
    if (json_parse(json, span_of(copy, size), &root) == JSON_OK) {
        struct buffer once, twice;
        buffer_init(&once, 1 << 26);
        buffer_init(&twice, 1 << 26);
        assert(json_dump(&once, root) == 0);
        assert(json_parse(json, buffer_span(&once), &root) == JSON_OK);
        assert(json_dump(&twice, root) == 0);
        assert(span_eq(buffer_span(&once), buffer_span(&twice)));
        buffer_free(&once);
        buffer_free(&twice);
    }
    free(copy);
    json_parser_destroy(json);
    return 0;
}
