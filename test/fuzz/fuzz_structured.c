/*
 * fuzz_structured.c - any bytes as a schema and an answer (a line between them): checks and
 * verdicts come to an end, what a stream lets through does not depend on its pieces and is a part
 * of the answer, and what is called valid is valid.
 */
#include <stdlib.h>

#include "gateway/structured_answer.h"
#include "gateway/structured_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static int collect(void *owner, struct span text) { return buffer_append(owner, text); }

static void filter(struct buffer *out, struct span text, size_t piece, bool array)
{
    struct structured_filter f = {.may_be_array = array};
    while (text.n) {
        struct span part = span_first(text, piece);
        CHECK(structured_filter_pass(&f, part, collect, out) == 0);
        text = span_from(text, part.n);
    }
    CHECK(structured_filter_end(&f, collect, out) == 0);
}

static void check_stream(struct span text, bool array)
{
    struct buffer whole, pieces;
    buffer_init(&whole, 1 << 24);
    buffer_init(&pieces, 1 << 24);
    filter(&whole, text, SIZE_MAX, array);
    filter(&pieces, text, 1, array);
    CHECK(span_eq(buffer_span(&whole), buffer_span(&pieces)));
    CHECK(whole.n == 0 || span_find(text, buffer_span(&whole)) >= 0);
    buffer_free(&whole);
    buffer_free(&pieces);
}

static void check_whole(const struct structured_wish *wish, struct span text)
{
    struct structured_verdict verdict, again;
    struct buffer room;
    buffer_init(&room, 1 << 24);
    struct span json = structured_pick(wish, text, false, &room, &verdict);
    structured_judge(wish, json, &again);
    CHECK(again.kind == verdict.kind || verdict.kind == STRUCTURED_UNCHECKED);
    CHECK(verdict.error.n < sizeof verdict.error.text);
    CHECK(json_valid_utf8(span_of(verdict.error.text, verdict.error.n)));
    CHECK((verdict.kind == STRUCTURED_VALID) == !verdict.error.n);
    buffer_free(&room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_parser *json;
    struct json schema;
    struct json_schema_report report;
    struct structured_wish wish = {.may_be_array = size % 2 == 1};
    struct span text = span_of((const char *)data, size), first;
    if (!json)
        json = json_parser_create(1 << 20);
    if (!json || size > 1 << 16 || !span_split(&text, '\n', &first) || !text.p)
        return 0;
    if (json_parse(json, first, &schema) == 0 && json_schema_check(schema, &report) == 0)
        wish.schema = first;
    check_stream(text, wish.may_be_array);
    check_whole(&wish, text);
    return 0;
}
