/*
 * test/unit/test_token_count.c - the o200k encoding against counts of another implementation of it,
 * in any cutting; the estimate; limits.
 *
 * data/o200k.txt: one text a line, its number of tokens (npm tiktoken 1.0.22) and the text as JSON.
 */
#include "gateway/token_count.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "test/unit/support/cmocka_all.h"

static struct buffer table;
static struct tokenizer *tokenizer;

static struct tokenizer *get(void *owner) { return tokenizer; }
static const struct token_source counted = {get, NULL}, estimated = {NULL, NULL};

static void read_file(struct buffer *b, const char *path)
{
    FILE *f = fopen(path, "rb");
    char piece[65536];
    size_t n;
    if (!f)
        fail_msg("%s is missing (scripts/ranks/build makes it)", path);
    buffer_init(b, 64 << 20);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        assert_int_equal(buffer_append(b, span_of(piece, n)), 0);
    fclose(f);
}

static int open_table(void **state)
{
    read_file(&table, PROJECT_SOURCE_DIR "/build/o200k.ranks");
    tokenizer = tokenizer_create(buffer_span(&table));
    return tokenizer ? 0 : -1;
}

static int close_table(void **state)
{
    tokenizer_destroy(tokenizer);
    buffer_free(&table);
    return 0;
}

struct sample {
    int64_t count;
    struct span text;
};

/* Calls `check` for each text of the list. */
static void each_sample(void (*check)(const struct sample *))
{
    struct buffer file;
    struct json_parser *json = json_parser_create(1 << 20);
    assert_non_null(json);
    size_t samples = 0;
    read_file(&file, TEST_SOURCE_DIR "/unit/data/o200k.txt");
    for (struct span left = buffer_span(&file); left.n; samples++) {
        ptrdiff_t end = span_find_char(left, '\n');
        struct span line = span_first(left, (size_t)end);
        ptrdiff_t blank = span_find_char(line, ' ');
        struct buffer text; /* the parser wants room behind its text */
        struct json root;
        buffer_init(&text, 1 << 20);
        buffer_append(&text, span_from(line, (size_t)blank + 1));
        assert_int_equal(json_parse(json, buffer_span(&text), &root), JSON_OK);
        struct sample s = {strtoll(line.p, NULL, 10), json_text(root)};
        check(&s);
        buffer_free(&text);
        left = span_from(left, (size_t)end + 1);
    }
    assert_true(samples > 250);
    json_parser_destroy(json);
    buffer_free(&file);
}

static int64_t count_of(const struct token_source *source, struct span text)
{
    struct token_counter c;
    token_counter_init(&c, source);
    assert_int_equal(token_counter_add(&c, text), 0);
    int64_t count = token_counter_total(&c);
    token_counter_free(&c);
    return count;
}

static void check_whole(const struct sample *s)
{
    int64_t count = count_of(&counted, s->text);
    if (count != s->count)
        fail_msg("%lld tokens instead of %lld: %.*s", (long long)count, (long long)s->count,
                 SPAN_ARGS(s->text));
}

static void counts_as_the_other_implementation(void **state) { each_sample(check_whole); }

/* Each cutting, with the count looked at in between: the same sum. */
static void check_cut(const struct sample *s)
{
    for (size_t cut = 0; cut <= s->text.n; cut += s->text.n > 200 ? 97 : 1) {
        struct token_counter c;
        token_counter_init(&c, &counted);
        token_counter_add(&c, span_first(s->text, cut));
        token_counter_total(&c);
        token_counter_add(&c, span_from(s->text, cut));
        if (token_counter_total(&c) != s->count)
            fail_msg("cut at %zu: %lld tokens instead of %lld: %.*s", cut,
                     (long long)token_counter_total(&c), (long long)s->count, SPAN_ARGS(s->text));
        token_counter_free(&c);
    }
}

static void cutting_changes_nothing(void **state) { each_sample(check_cut); }

/* In small pieces, up to each limit: what was taken has at most so many tokens. In one piece:
 * nothing is cut from what fits. */
static void check_limits(const struct sample *s)
{
    struct token_counter whole;
    token_counter_init(&whole, &counted);
    assert_int_equal(token_counter_take(&whole, s->text, s->count), s->text.n);
    token_counter_free(&whole);
    for (int64_t most = 0; most <= s->count + 1 && most < 12; most++) {
        struct token_counter c;
        size_t n = 0, step = 3;
        token_counter_init(&c, &counted);
        while (n < s->text.n) {
            struct span piece = span_first(span_from(s->text, n), step);
            ptrdiff_t taken = token_counter_take(&c, piece, most);
            assert_true(taken >= 0 && (size_t)taken <= piece.n);
            n += (size_t)taken;
            if ((size_t)taken < piece.n)
                break;
        }
        assert_true(count_of(&counted, span_first(s->text, n)) <= most);
        assert_int_equal(token_counter_total(&c), count_of(&counted, span_first(s->text, n)));
        token_counter_free(&c);
    }
}

static void a_limit_is_kept(void **state) { each_sample(check_limits); }

static void a_limit_cuts_between_tokens(void **state)
{
    struct span text = SPAN("one two three four five");
    struct token_counter c;
    token_counter_init(&c, &counted);
    assert_int_equal(token_counter_take(&c, text, 3), 13); /* "one two three" */
    assert_int_equal(token_counter_total(&c), 3);
    assert_int_equal(token_counter_take(&c, SPAN(" more"), 3), 0);
    assert_int_equal(token_counter_total(&c), 3);
    token_counter_free(&c);
}

/* An emoji of several tokens is not cut through. */
static void a_limit_keeps_characters_whole(void **state)
{
    struct span text = SPAN("x\xf0\x9f\xab\xa0"); /* U+1FAE0, newer than the encoding */
    for (int64_t most = 0; most < 5; most++) {
        struct token_counter c;
        token_counter_init(&c, &counted);
        ptrdiff_t n = token_counter_take(&c, text, most);
        assert_true(n == 0 || n == 1 || n == 5);
        token_counter_free(&c);
    }
}

static void the_estimate(void **state)
{
    assert_int_equal(count_of(&estimated, SPAN("")), 0);
    assert_int_equal(count_of(&estimated, SPAN("abcd")), 1);
    assert_int_equal(count_of(&estimated, SPAN("abcde")), 2);
    assert_int_equal(count_of(&estimated, SPAN("\xe4\xbd\xa0\xe5\xa5\xbd\xe4\xb8\x96\xe7\x95\x8c")),
                     3);
    struct token_counter c;
    token_counter_init(&c, &estimated);
    for (int i = 0; i < 40000; i++)
        token_counter_add(&c, SPAN("a"));
    assert_int_equal(token_counter_total(&c), 10000);
    assert_int_equal(token_counter_take(&c, SPAN("abcdefgh"), 10001), 4);
    assert_int_equal(token_counter_take(&c, SPAN("abcdefgh"), 10001), 0);
    token_counter_free(&c);
}

/* A long text is counted in portions, and what waits takes little. */
static void long_texts(void **state)
{
    struct token_counter c;
    token_counter_init(&c, &counted);
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(token_counter_add(&c, SPAN(" word")), 0);
        assert_true(c.rest.cap <= (i < 1000 ? 2048 : 512));
    }
    assert_int_equal(token_counter_total(&c), 20000);
    token_counter_free(&c);
}

/* What is found at a glance (ASCII) is what the pattern finds character by character. For the other
 * table every class of ASCII is an odd one, by a bit that nothing asks for: it never glances. */
static void a_glance_sees_the_same(void **state)
{
    static const char letters[] = "aabcdeesz  ABRS  '''01239  ..,/!-\n\n\r\t\xc3\xa9";
    struct buffer copy;
    buffer_init(&copy, 64 << 20);
    assert_int_equal(buffer_append(&copy, buffer_span(&table)), 0);
    const uint32_t *head = (const uint32_t *)(const void *)(copy.p + 8);
    uint32_t *blocks = (uint32_t *)(void *)(copy.p + 24) + head[0] + 1 + head[1];
    char *classes = (char *)(blocks + 0x1100) + (size_t)blocks[0] * 256;
    for (int c = 0; c < 0x80; c++)
        classes[c] = (char)(classes[c] | 0x40);
    struct tokenizer *slow = tokenizer_create(buffer_span(&copy));
    assert_non_null(slow);
    uint32_t chance = 1;
    for (int round = 0; round < 100000; round++) {
        char text[100];
        size_t n = 1 + (chance >> 8) % (round % 8 ? 12 : sizeof text);
        for (size_t i = 0; i < n; i++) {
            chance = chance * 1664525 + 1013904223;
            text[i] = letters[(chance >> 12) % (sizeof letters - 1)];
        }
        bool open, slow_open;
        size_t end = tokenizer_piece(tokenizer, span_of(text, n), &open);
        if (end != tokenizer_piece(slow, span_of(text, n), &slow_open) || open != slow_open)
            fail_msg("%zu, open %d: %.*s", end, open, (int)n, text);
    }
    tokenizer_destroy(slow);
    buffer_free(&copy);
}

/* Whatever was counted in between, and in whatever place of a text: pieces that differ in one byte
 * are not taken for each other. */
static void counts_are_remembered(void **state)
{
    uint32_t chance = 7;
    for (int round = 0; round < 200000; round++) {
        char piece[16];
        size_t n = 1 + (chance >> 20) % sizeof piece, length = 0;
        for (size_t i = 0; i < n; i++) {
            chance = chance * 1664525 + 1013904223;
            piece[i] = "aetn"[(chance >> 16) % (n < 6 ? 4 : 2)];
        }
        int64_t count = tokenizer_count(tokenizer, span_of(piece, n));
        assert_int_equal(tokenizer_prefix(tokenizer, span_of(piece, n), count), n);
        length = tokenizer_prefix(tokenizer, span_of(piece, n), count - 1);
        assert_true(length < n);
    }
}

/* A piece that never ends: cut, counted nearly right, and not slow. */
static void endless_pieces(void **state)
{
    static char text[400000];
    memset(text, 'a', sizeof text);
    int64_t count = count_of(&counted, span_of(text, sizeof text));
    assert_true(count >= 50000 && count <= 50100);
    memset(text, ' ', sizeof text);
    assert_true(count_of(&counted, span_of(text, sizeof text)) < 20000);
    memset(text, 0xFF, sizeof text); /* no UTF-8 at all */
    assert_true(count_of(&counted, span_of(text, sizeof text)) > 1000);
}

/* Counting it would hold up everybody. */
static void too_much_at_once(void **state)
{
    static char text[(1 << 20) + 4];
    struct token_counter c;
    memset(text, 'a', sizeof text);
    token_counter_init(&c, &counted);
    assert_int_equal(token_counter_add(&c, SPAN("Hello, world!")), 0);
    assert_int_equal(token_counter_total(&c), 4);
    assert_false(c.estimated);
    assert_int_equal(token_counter_add(&c, span_of(text, sizeof text)), 0);
    assert_int_equal(token_counter_add(&c, SPAN(" Hello")), 0);
    assert_int_equal(token_counter_total(&c), 4 + (1 << 18) + 1 + 1);
    assert_true(c.estimated);
    token_counter_free(&c);
}

static int64_t count_sample(const struct token_source *source, struct span text, size_t step,
                            bool *estimated_one)
{
    struct token_counter c;
    token_counter_init(&c, source);
    token_counter_sample(&c);
    for (struct span rest = text; rest.n; rest = span_from(rest, step)) {
        assert_int_equal(token_counter_add(&c, span_first(rest, step)), 0);
        token_counter_total(&c); /* looking changes nothing */
    }
    int64_t count = token_counter_total(&c);
    *estimated_one = c.estimated;
    assert_in_range(c.rest.cap, 0, 128);
    token_counter_free(&c);
    return count;
}

/* A count that is probably not needed: exact while it is cheap, then as the beginning was. */
static void a_sample(void **state)
{
    const struct span word = SPAN("Hello, world! ");
    struct buffer text;
    bool estimated_one;
    buffer_init(&text, 1 << 20);
    assert_int_equal(count_sample(&counted, SPAN(""), 1, &estimated_one), 0);
    for (int i = 0; i < 9; i++)
        buffer_append(&text, word);
    int64_t exact = count_of(&counted, buffer_span(&text));
    for (size_t step = 1; step < 126; step += 25) {
        assert_int_equal(count_sample(&counted, buffer_span(&text), step, &estimated_one), exact);
        assert_false(estimated_one);
    }
    for (int i = 9; i < 7000; i++)
        buffer_append(&text, word);
    exact = count_of(&counted, buffer_span(&text));
    for (size_t step = 7; step < 100000; step *= 3) {
        int64_t count = count_sample(&counted, buffer_span(&text), step, &estimated_one);
        assert_in_range(count, exact * 98 / 100, exact * 102 / 100);
        assert_true(estimated_one);
    }
    buffer_free(&text);
}

static int64_t prompt_tokens(const struct token_source *source, const struct turn *turn,
                             enum count_origin *origin)
{
    size_t left = PROMPTS_COUNTED_MAX;
    return token_count_prompt(source, turn, &left, origin);
}

static void prompts(void **state)
{
    const struct part text = {.kind = PART_TEXT, .text = SPAN_INIT("Hello, world!")};
    const struct part picture = {.kind = PART_IMAGE, .url = SPAN_INIT("https://example.com/x.png")};
    const struct tool_call call = {
        .id = SPAN_INIT("call_1"), .name = SPAN_INIT("add"), .arguments = SPAN_INIT("{\"a\":1}")};
    struct message messages[2] = {{.role = ROLE_USER, .parts = &text, .n_parts = 1}, {0}};
    struct turn turn = {.messages = messages, .n_messages = 1};
    enum count_origin origin;
    assert_int_equal(prompt_tokens(&counted, &turn, &origin), 3 + 4 + 4);
    assert_int_equal(origin, COUNT_COUNTED);
    assert_int_equal(prompt_tokens(&estimated, &turn, &origin), 3 + 4 + 4);
    assert_int_equal(origin, COUNT_ESTIMATED);

    static char long_text[(1 << 20) + 1];
    memset(long_text, 'a', sizeof long_text);
    const struct part huge = {.kind = PART_TEXT, .text = span_of(long_text, sizeof long_text)};
    messages[0].parts = &huge;
    assert_int_equal(prompt_tokens(&counted, &turn, &origin), 3 + 4 + (1 << 18) + 1);
    assert_int_equal(origin, COUNT_ESTIMATED);
    messages[0].parts = &text;
    size_t left = 20; /* of several prompts, the first ones */
    assert_int_equal(token_count_prompt(&counted, &turn, &left, &origin), 3 + 4 + 4);
    assert_int_equal(left, 7);
    assert_int_equal(origin, COUNT_COUNTED);
    token_count_prompt(&counted, &turn, &left, &origin);
    assert_int_equal(left, 0);
    assert_int_equal(origin, COUNT_ESTIMATED);

    messages[0].name = SPAN("bob");
    messages[1] = (struct message){.role = ROLE_ASSISTANT, .tool_calls = &call, .n_tool_calls = 1};
    turn.n_messages = 2;
    turn.tools_raw = SPAN("[{\"type\":\"function\"}]");
    int64_t without = prompt_tokens(&counted, &turn, &origin);
    turn.tools_wanted = true;
    assert_int_equal(prompt_tokens(&counted, &turn, &origin),
                     without + count_of(&counted, turn.tools_raw));
    assert_int_equal(origin, COUNT_COUNTED);
    messages[1] = (struct message){.role = ROLE_USER, .parts = &picture, .n_parts = 1};
    prompt_tokens(&counted, &turn, &origin);
    assert_int_equal(origin, COUNT_ESTIMATED);
}

/* Every shortening of the table and every wrong number in its head is refused, not read. */
static void bad_tables(void **state)
{
    struct span whole = buffer_span(&table);
    for (size_t n = 0; n < whole.n; n += n < 64 ? 1 : 100003)
        assert_null(tokenizer_create(span_first(whole, n)));
    for (size_t at = 0; at < 24; at++) {
        char *p = table.p + at, was = *p;
        *p = (char)(was ^ 0x40);
        assert_null(tokenizer_create(whole));
        *p = was;
    }
    uint32_t *starts = (uint32_t *)(void *)(table.p + 24), was = starts[100];
    starts[100] = 0xFFFFFFF0;
    assert_null(tokenizer_create(whole));
    starts[100] = was;

    /* Without a free slot no search would end. */
    const uint32_t *head = (const uint32_t *)(const void *)(table.p + 8);
    uint32_t *slots = starts + head[0] + 1;
    uint32_t *kept = malloc(head[1] * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, slots, head[1] * sizeof *kept);
    for (uint32_t i = 0; i < head[1]; i++)
        slots[i] = slots[i] ? slots[i] : 1;
    assert_null(tokenizer_create(whole));
    memcpy(slots, kept, head[1] * sizeof *kept);
    free(kept);
}

/* A table without an empty slot: what it does not hold would be looked for in circles. */
static void a_full_table(void **state)
{
    enum { BLOCKS = 0x1100, WORDS = 4 + 2 + 2 + BLOCKS };
    uint32_t *words = calloc(1, 8 + WORDS * 4 + 256 + 1);
    assert_non_null(words);
    memcpy(words, "DGRANKS1", 8);
    const uint32_t head[] = {1, 2, 1, 1, 0, 1}; /* tokens, slots, blocks, bytes; starts */
    memcpy(words + 2, head, sizeof head);
    struct span bytes = span_of((char *)words, 8 + WORDS * 4 + 256 + 1);
    words[8] = 1;
    struct tokenizer *t = tokenizer_create(bytes);
    assert_non_null(t);
    assert_int_equal(tokenizer_count(t, SPAN("ab")), 2);
    tokenizer_destroy(t);
    words[9] = 1;
    assert_null(tokenizer_create(bytes));
    free(words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_as_the_other_implementation),
        cmocka_unit_test(cutting_changes_nothing),
        cmocka_unit_test(a_limit_is_kept),
        cmocka_unit_test(a_limit_cuts_between_tokens),
        cmocka_unit_test(a_limit_keeps_characters_whole),
        cmocka_unit_test(the_estimate),
        cmocka_unit_test(long_texts),
        cmocka_unit_test(a_glance_sees_the_same),
        cmocka_unit_test(counts_are_remembered),
        cmocka_unit_test(endless_pieces),
        cmocka_unit_test(too_much_at_once),
        cmocka_unit_test(a_sample),
        cmocka_unit_test(prompts),
        cmocka_unit_test(bad_tables),
        cmocka_unit_test(a_full_table),
    };
    return cmocka_run_group_tests(tests, open_table, close_table);
}
