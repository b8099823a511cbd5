/*
 * test/fuzz/fuzz_json.c - lenient reading, walking and writing: what is written from any document
 * reads back as the same text.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_outline.h"
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

/* What is called plain the parser takes, and its members and messages are where the walker finds
 * them. */
static void outline(struct json_parser *json, struct span text)
{
    struct json_outline o;
    struct json root;
    bool plain = json_outline_read(&o, text, SPAN("messages"));
    assert(plain == json_is_plain_object(text));
    if (!plain)
        return;
    assert(json_parse(json, text, &root) == JSON_OK && json_is(root, JSON_OBJECT));
    struct json_raw_iter it = json_raw_each(text);
    for (size_t i = 0; o.whole && i < o.n; i = o.list[i].behind) {
        assert(json_raw_next(&it) && span_eq(it.key, o.list[i].key));
        assert(it.value.p == o.list[i].value.p && it.value.n == o.list[i].value.n);
        struct json_raw_iter inner = json_raw_each(it.value);
        for (size_t k = i + 1; k < o.list[i].behind; k = o.list[k].behind) {
            struct json_members walked, members;
            assert(json_raw_next(&inner) && inner.value.p == o.list[k].value.p);
            json_members_read(&walked, json_raw_is_object(inner.value) ? inner.value : SPAN(""));
            json_outline_members(&o, k + 1, o.list[k].behind, &members);
            assert(walked.n_ == members.n_ && walked.seen_ == members.seen_);
        }
    }
    assert(!o.whole || !json_raw_next(&it));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_parser *json = json_parser_create(1 << 24);
    outline(json, span_of((const char *)data, size));
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
