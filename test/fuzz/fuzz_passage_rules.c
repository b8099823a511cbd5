/*
 * fuzz_passage_rules.c - any bytes as a target, a query and a body: what passes the check is a
 * plain path, a pair that was cut out is gone, and no split lets a secret through.
 */
#include <stdlib.h>

#include "gateway/passage_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static void check_target(struct span target)
{
    const struct span prefix = SPAN("/r");
    if (passage_match(target, prefix) != PASSAGE_MATCH || passage_check_target(target, prefix))
        return;
    CHECK(!span_starts(passage_rest(passage_path(target), prefix, SPAN("")), SPAN("/@")));
    struct span rest = passage_rest(passage_path(target), prefix, SPAN("/api/v1"));
    CHECK(span_starts(rest, SPAN("/")) && !span_starts(rest, SPAN("//")));
    CHECK(span_find(rest, SPAN("/../")) < 0 && !span_ends(rest, SPAN("/..")));
    CHECK(span_find_nocase(rest, SPAN("%2f")) < 0 && span_find_nocase(rest, SPAN("%2e")) < 0);
    CHECK(span_find_char(rest, '\\') < 0 && span_find_char(rest, '#') < 0);
}

static void check_query(struct span query)
{
    struct arena arena;
    struct buffer once, twice;
    arena_init(&arena);
    buffer_init(&once, 1 << 20);
    buffer_init(&twice, 1 << 20);
    passage_query_without(&once, query, SPAN("key"));
    CHECK(once.n <= query.n);
    CHECK(!passage_query_get(&arena, buffer_span(&once), SPAN("key")).p);
    passage_query_without(&twice, buffer_span(&once), SPAN("key"));
    CHECK(span_eq(buffer_span(&once), buffer_span(&twice)));
    if (!passage_query_get(&arena, query, SPAN("key")).p)
        CHECK(span_eq(buffer_span(&once), query));
    passage_query_add(&once, once.n == 0, SPAN("key"), query);
    CHECK(span_eq(passage_query_get(&arena, buffer_span(&once), SPAN("key")), query));
    buffer_free(&once);
    buffer_free(&twice);
    arena_free(&arena);
}

static void mask(struct buffer *out, struct span text, struct span secret, size_t piece)
{
    static struct passage_mask m;
    struct buffer room;
    buffer_init(&room, 1 << 20);
    passage_mask_init(&m, secret);
    while (text.n) {
        struct span part = span_first(text, piece);
        buffer_append(out, passage_mask_feed(&m, part, &room));
        text = span_from(text, part.n);
    }
    buffer_append(out, passage_mask_end(&m));
    buffer_free(&room);
}

static void check_mask(struct span text, size_t piece)
{
    const struct span secret = SPAN("aabaabaa"); /* it overlaps with itself */
    struct buffer whole, split;
    buffer_init(&whole, 1 << 20);
    buffer_init(&split, 1 << 20);
    mask(&whole, text, secret, text.n + 1);
    mask(&split, text, secret, piece);
    CHECK(whole.n == text.n && span_eq(buffer_span(&whole), buffer_span(&split)));
    CHECK(span_find(buffer_span(&whole), secret) < 0);
    buffer_free(&whole);
    buffer_free(&split);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct span text = span_of((const char *)data + 1, size - 1);
    check_target(text);
    check_query(text);
    check_mask(text, data[0] % 16 + 1u);
    return 0;
}
