/*
 * test/unit/support/answer_bench.c - see answer_bench.h.
 */
#include "test/unit/support/answer_bench.h"

#include "gateway/api.h"
#include "test/unit/support/cmocka_all.h"

enum { BODY_MAX = 1 << 20 };

static const struct token_source estimated = {NULL, NULL};
static const struct answer_meta meta = {
    .id = SPAN_INIT("chatcmpl-0123456789"), .model = SPAN_INIT("m"), .created = 1};

void answer_bench_open(struct answer_bench *b, int n)
{
    *b = (struct answer_bench){.turn = {.n = n}, .json = json_parser_create(BODY_MAX)};
    arena_init(&b->arena);
    buffer_init(&b->body, BODY_MAX);
    struct answer_writer *writer = chat_whole_writer(&b->arena, &meta, NULL);
    assert_non_null(writer);
    answer_init(&b->answer, writer, &b->arena, &estimated, meta.id);
}

const struct delta_sink *answer_bench_start(struct answer_bench *b,
                                            const struct answer_rules *rules, int n)
{
    answer_bench_open(b, n);
    answer_feed_add(&b->answer, &b->feed, &b->turn, 0, n);
    answer_feed_begin(&b->feed, rules);
    return &b->feed.sink;
}

void answer_bench_stop(struct answer_bench *b)
{
    answer_free(&b->answer);
    buffer_free(&b->body);
    arena_free(&b->arena);
    json_parser_destroy(b->json);
}

struct json answer_bench_end(struct answer_bench *b)
{
    struct json root;
    buffer_clear(&b->body);
    assert_int_equal(answer_end(&b->answer, &b->body), 0);
    assert_int_equal(json_parse(b->json, buffer_span(&b->body), &root), JSON_OK);
    return json_get(root, "choices");
}
