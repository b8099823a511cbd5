/*
 * test/unit/test_answer.c - what the gateway does to an answer on its way: all filters together at
 * every cut, several feeds, tries that failed, token counts.
 */
#include "gateway/answer.h"

#include "test/unit/support/cmocka_all.h"

static const struct token_source estimated = {NULL, NULL};
static const struct span stops[] = {SPAN_INIT("STOP"), SPAN_INIT("\n\n#")};

struct bench {
    struct arena arena;
    struct buffer body;
    struct answer answer;
    struct answer_feed feeds[3];
    struct turn turn;
};

/* A whole chat answer with `n` feeds of one choice each. */
static void start(struct bench *b, int n, const struct answer_rules *rules)
{
    const struct answer_meta meta = {.id = SPAN("chatcmpl-1"), .model = SPAN("m"), .created = 1};
    *b = (struct bench){.turn = {.n = 1}};
    arena_init(&b->arena);
    buffer_init(&b->body, 1 << 20);
    struct answer_writer *writer = chat_whole_writer(&b->arena, &meta, NULL);
    assert_non_null(writer);
    answer_init(&b->answer, writer, &b->arena, &estimated, meta.id);
    for (int i = 0; i < n; i++) {
        answer_feed_add(&b->answer, &b->feeds[i], &b->turn, i, 1);
        answer_feed_begin(&b->feeds[i], rules);
    }
}

static void stop(struct bench *b)
{
    answer_free(&b->answer);
    buffer_free(&b->body);
    arena_free(&b->arena);
}

static struct span end(struct bench *b)
{
    assert_int_equal(answer_end(&b->answer, &b->body), 0);
    return buffer_span(&b->body);
}

static void expect(struct span body, const char *wanted)
{
    if (span_find(body, span_str(wanted)) < 0)
        fail_msg("no %s in %.*s", wanted, SPAN_ARGS(body));
}

/* The same result however the text is cut: in two at every position, and byte by byte. */
static void at_every_cut(const struct answer_rules *rules, const char *text, const char *wanted)
{
    struct span whole = span_str(text);
    for (size_t cut = 0; cut <= whole.n + 1; cut++) {
        struct bench b;
        size_t step = cut > whole.n ? 1 : cut;
        start(&b, 1, rules);
        for (size_t at = 0; at < whole.n;) {
            struct span piece = span_first(span_from(whole, at), step ? step : whole.n);
            assert_int_equal(delta_text(&b.feeds[0].sink, 0, piece), 0);
            at += piece.n;
            step = cut > whole.n ? 1 : whole.n;
        }
        expect(end(&b), wanted);
        stop(&b);
    }
}

static void all_filters_at_every_cut(void **state)
{
    struct answer_rules rules = {.reasoning = REASONING_FIELD, .stops = stops, .n_stops = 2};
    at_every_cut(&rules, "<think>\nhm STOP</think>\n\nOne two STO STOP three",
                 "\"content\":\"One two STO \",\"reasoning_content\":\"hm STOP\",\"refusal\":null},"
                 "\"logprobs\":null,\"finish_reason\":\"stop\"");
    at_every_cut(&rules, "One\n\n#two", "\"content\":\"One\"");
    at_every_cut(&rules, "One\n\n# STO", "\"content\":\"One\"");
    at_every_cut(&rules, "One\n\n STO", "\"content\":\"One\\n\\n STO\"");
    at_every_cut(&rules, "<think>only", "\"content\":\"\",\"reasoning_content\":\"only\"");
    at_every_cut(&rules, "<thi", "\"content\":\"<thi\"");

    rules.max_tokens = 2; /* by estimate: eight letters */
    at_every_cut(&rules, "<think>thinking</think>12345678STOP",
                 "\"content\":\"12345678\",\"reasoning_content\":\"thinking\",\"refusal\":null},"
                 "\"logprobs\":null,\"finish_reason\":\"stop\"");
    at_every_cut(&rules, "123456789",
                 "\"content\":\"12345678\",\"refusal\":null},"
                 "\"logprobs\":null,\"finish_reason\":\"length\"");
    rules.max_includes_reasoning = true;
    at_every_cut(&rules, "<think>1234</think>5678a",
                 "\"content\":\"5678\",\"reasoning_content\":"
                 "\"1234\",\"refusal\":null},"
                 "\"logprobs\":null,\"finish_reason\":\"length\"");
    rules.reasoning = REASONING_UNTOUCHED;
    rules.max_tokens = 0;
    at_every_cut(&rules, "<think>a</think>b", "\"content\":\"<think>a</think>b\"");
    rules.reasoning = REASONING_DROP;
    at_every_cut(&rules, "<think>a</think>b", "\"content\":\"b\",\"refusal\"");
    rules.reasoning = REASONING_THINK;
    at_every_cut(&rules, "<think>a</think>b", "\"content\":\"<think>\\na\\n</think>\\n\\nb\"");
}

/* What a failed try left behind is gone, what it had not written yet as well. */
static void a_try_that_failed_leaves_nothing(void **state)
{
    const struct answer_rules rules = {.stops = stops, .n_stops = 2};
    struct bench b;
    start(&b, 1, &rules);
    delta_text(&b.feeds[0].sink, 0, SPAN("<thi"));
    delta_extra(&b.feeds[0].sink, PLACE_TOP, 0, SPAN("\"old\":1"));
    delta_extra(&b.feeds[0].sink, PLACE_CHOICE, 0, SPAN("\"old\":1"));
    delta_citation(&b.feeds[0].sink, 0, SPAN("https://old.example"), SPAN("old"));
    assert_false(b.feeds[0].committed);
    answer_feed_begin(&b.feeds[0], &rules);
    delta_text(&b.feeds[0].sink, 0, SPAN("new"));
    assert_true(b.feeds[0].committed);
    struct span body = end(&b);
    expect(body, "\"content\":\"new\"");
    assert_true(span_find(body, SPAN("old")) < 0);
    stop(&b);
}

static void an_address_is_cited_once_or_in_each_of_its_places(void **state)
{
    const struct answer_rules rules = {0};
    const struct span url = SPAN("https://a.example"), title = SPAN("A");
    struct bench b;
    start(&b, 1, &rules);
    delta_text(&b.feeds[0].sink, 0, SPAN("12345678"));
    delta_citation(&b.feeds[0].sink, 0, SPAN("https://b.example"), title);
    delta_citation(&b.feeds[0].sink, 0, SPAN("https://b.example"), SPAN("another title"));
    delta_citation_at(&b.feeds[0].sink, 0, url, title, 1, 3);
    delta_citation_at(&b.feeds[0].sink, 0, url, title, 1, 3);
    delta_citation_at(&b.feeds[0].sink, 0, url, title, 5, 8);
    struct span body = end(&b);
    size_t n = 0;
    for (ptrdiff_t at; (at = span_find(body, SPAN("\"url_citation\":"))) >= 0; n++)
        body = span_from(body, (size_t)at + 1);
    assert_int_equal(n, 3);
    stop(&b);
}

/* What a run told before its first piece stays with it while another one of the same answer is
 * already told to the client: it may still fail and be tried again. */
static void members_of_a_run_wait_for_its_first_piece(void **state)
{
    static const struct answer_rules rules = {0};
    static const struct answer_meta meta = {
        .id = SPAN_INIT("chatcmpl-1"), .model = SPAN_INIT("m"), .created = 1};
    struct bench b = {.turn = {.n = 1}};
    arena_init(&b.arena);
    buffer_init(&b.body, 1 << 20);
    answer_init(&b.answer, chat_stream_writer(&b.arena, &meta, NULL, &b.body), &b.arena, &estimated,
                meta.id);
    for (int i = 0; i < 2; i++) {
        answer_feed_add(&b.answer, &b.feeds[i], &b.turn, i, 1);
        answer_feed_begin(&b.feeds[i], &rules);
    }
    const struct delta_sink *first = &b.feeds[0].sink, *second = &b.feeds[1].sink;
    delta_extra(first, PLACE_TOP, 0, SPAN("\"old_top\":1"));
    delta_extra(first, PLACE_CHOICE, 0, SPAN("\"old_choice\":1"));
    delta_extra(first, PLACE_DELTA, 0, SPAN("\"old_delta\":1"));
    answer_role(&b.answer);
    delta_extra(second, PLACE_TOP, 0, SPAN("\"provider\":\"second\""));
    delta_extra(second, PLACE_DELTA, 0, SPAN("\"mood\":1"));
    delta_text(second, 0, SPAN("two"));
    answer_frame_done(&b.answer);
    assert_true(span_find(buffer_span(&b.body), SPAN("old_")) < 0);
    expect(buffer_span(&b.body), "\"content\":\"two\",\"mood\":1}");
    expect(buffer_span(&b.body), "\"provider\":\"second\"");

    answer_feed_begin(&b.feeds[0], &rules); /* it failed; another try */
    buffer_clear(&b.body);
    delta_extra(first, PLACE_DELTA, 0, SPAN("\"new\":1"));
    delta_text(second, 0, SPAN(" more"));
    expect(buffer_span(&b.body), "\"provider\":\"second\""); /* stays where it was told */
    assert_true(span_find(buffer_span(&b.body), SPAN("new")) < 0);
    delta_text(first, 0, SPAN("one"));
    expect(buffer_span(&b.body), "\"content\":\"one\",\"new\":1}");
    assert_int_equal(answer_end(&b.answer, NULL), 0);
    assert_true(span_find(buffer_span(&b.body), SPAN("old_")) < 0);
    stop(&b);
}

static void tell_usage(struct bench *b, int feed, int64_t prompt, int64_t completion)
{
    const struct delta_usage usage = {
        .prompt = prompt, .completion = completion, .cached = feed ? -1 : 1, .reasoning = -1};
    delta_usage(&b->feeds[feed].sink, &usage);
}

static void usage_is_summed(void **state)
{
    const struct answer_rules rules = {0};
    struct bench b;
    start(&b, 3, &rules);
    for (int i = 0; i < 3; i++) {
        delta_text(&b.feeds[i].sink, 0, SPAN("abcd"));
        tell_usage(&b, i, 10, 5);
    }
    expect(end(&b), "{\"prompt_tokens\":30,\"completion_tokens\":15,\"total_tokens\":45,"
                    "\"prompt_tokens_details\":{\"cached_tokens\":1},"
                    "\"dragoman_source\":\"upstream\"}");
    stop(&b);

    start(&b, 2, &rules); /* one of them does not tell what it said */
    for (int i = 0; i < 2; i++)
        delta_text(&b.feeds[i].sink, 0, SPAN("abcd"));
    tell_usage(&b, 0, 10, 5);
    tell_usage(&b, 1, 10, -1);
    struct span body = end(&b);
    expect(body, "\"prompt_tokens\":20,\"completion_tokens\":6,\"total_tokens\":26");
    expect(body, "\"dragoman_source\":\"estimated\"");
    assert_int_equal(b.answer.prompt_origin, COUNT_UPSTREAM);
    assert_int_equal(b.answer.completion_origin, COUNT_ESTIMATED);
    stop(&b);
}

/* What we cut off is not what the site counted. */
static void a_cut_answer_is_counted_here(void **state)
{
    const struct answer_rules rules = {.stops = stops, .n_stops = 1};
    struct bench b;
    start(&b, 1, &rules);
    delta_text(&b.feeds[0].sink, 0, SPAN("abcdSTOP and much more"));
    assert_true(answer_feed_is_cut(&b.feeds[0]));
    delta_text(&b.feeds[0].sink, 0, SPAN("and more"));
    tell_usage(&b, 0, 10, 500);
    expect(end(&b), "\"prompt_tokens\":10,\"completion_tokens\":1,");
    stop(&b);
}

/* What takes the short way leaves it again. */
static void pieces_on_the_short_way(void **state)
{
    struct answer_rules rules = {.reasoning = REASONING_THINK};
    struct bench b;
    start(&b, 1, &rules);
    const struct delta_sink *sink = &b.feeds[0].sink;
    for (int i = 0; i < 2; i++) {
        delta_text(sink, 0, SPAN("a"));
        delta_text(sink, 0, SPAN("b"));
        delta_reasoning(sink, 0, SPAN("c"));
        delta_reasoning(sink, 0, SPAN("d"));
    }
    delta_text(sink, 0, SPAN("e"));
    delta_text(sink, 1, SPAN("of nobody"));
    delta_text(sink, -1, SPAN("of nobody"));
    delta_finish(sink, 0, SPAN("stop"));
    delta_text(sink, 0, SPAN("f"));
    expect(end(&b),
           "\"content\":\"ab<think>\\ncd\\n</think>\\n\\nab<think>\\ncd\\n</think>\\n\\ne\"");
    assert_int_equal(b.answer.deltas, 11);
    stop(&b);

    rules.reasoning = REASONING_FIELD;
    start(&b, 1, &rules);
    sink = &b.feeds[0].sink;
    for (int i = 0; i < 3; i++) {
        delta_reasoning(sink, 0, SPAN("c"));
        delta_text(sink, 0, SPAN("<think>"));
    }
    delta_finish(sink, 0, SPAN("stop"));
    delta_reasoning(sink, 0, SPAN("late"));
    expect(end(&b), "\"content\":\"<think><think><think>\",\"reasoning_content\":\"ccc\"");
    expect(buffer_span(&b.body), "\"completion_tokens\":7,"); /* 21 and 3 letters */
    stop(&b);
}

/* The site has always told its usage: ours is only a guess, and says so. */
static void a_usage_that_was_expected(void **state)
{
    const struct answer_rules rules = {.usage_expected = true};
    struct bench b;
    for (int told = 0; told < 2; told++) {
        start(&b, 1, &rules);
        for (int i = 0; i < 1000; i++)
            delta_text(&b.feeds[0].sink, 0, SPAN("abcdefgh"));
        assert_false(answer_feed_told_usage(&b.feeds[0]));
        if (told) {
            tell_usage(&b, 0, 10, 5);
            assert_true(answer_feed_told_usage(&b.feeds[0]));
        }
        struct span body = end(&b);
        expect(body, told ? "\"completion_tokens\":5," : "\"completion_tokens\":2000,");
        expect(body,
               told ? "\"dragoman_source\":\"upstream\"" : "\"dragoman_source\":\"estimated\"");
        stop(&b);
    }
}

static void calls_get_ids_of_their_own(void **state)
{
    const struct answer_rules rules = {0};
    struct bench b;
    start(&b, 2, &rules);
    for (int i = 0; i < 2; i++) {
        delta_tool_begin(&b.feeds[i].sink, 0, 0, SPAN(""), SPAN("f"));
        delta_tool_begin(&b.feeds[i].sink, 0, 1, SPAN(""), SPAN("f"));
        delta_finish(&b.feeds[i].sink, 0, SPAN("tool_calls"));
        assert_true(answer_feed_is_finished(&b.feeds[i]));
    }
    struct span body = end(&b), ids[4];
    for (int i = 0; i < 4; i++) {
        ptrdiff_t at = span_find(body, SPAN("\"id\":\"call_"));
        assert_true(at >= 0);
        body = span_from(body, (size_t)at + 6);
        ids[i] = span_first(body, (size_t)span_find_char(body, '"'));
        for (int k = 0; k < i; k++)
            assert_false(span_eq(ids[i], ids[k]));
    }
    stop(&b);
}

/* A site's wild numbers reach nobody else's choice. */
static void foreign_choices_are_ignored(void **state)
{
    const struct answer_rules rules = {0};
    struct bench b;
    start(&b, 2, &rules);
    assert_int_equal(delta_text(&b.feeds[0].sink, 1, SPAN("not mine")), 0);
    assert_int_equal(delta_text(&b.feeds[0].sink, -1, SPAN("not mine")), 0);
    assert_int_equal(delta_text(&b.feeds[0].sink, 1 << 30, SPAN("not mine")), 0);
    delta_text(&b.feeds[1].sink, 0, SPAN("second"));
    struct span body = end(&b);
    assert_true(span_find(body, SPAN("not mine")) < 0);
    expect(body, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"\"");
    expect(body, "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"second\"");
    stop(&b);
}

static void half_an_answer_is_shown(void **state)
{
    const struct answer_rules rules = {.stops = stops, .n_stops = 1};
    struct bench b;
    start(&b, 2, &rules);
    answer_partial(&b.answer, &b.body);
    assert_int_equal(b.body.n, 0); /* nothing came yet */
    delta_text(&b.feeds[1].sink, 0, SPAN("half ST"));
    answer_partial(&b.answer, &b.body);
    expect(buffer_span(&b.body), "\"content\":\"half ST\"");
    expect(buffer_span(&b.body), "\"finish_reason\":null"); /* it does not look like a whole one */
    stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_filters_at_every_cut),
        cmocka_unit_test(a_try_that_failed_leaves_nothing),
        cmocka_unit_test(an_address_is_cited_once_or_in_each_of_its_places),
        cmocka_unit_test(members_of_a_run_wait_for_its_first_piece),
        cmocka_unit_test(usage_is_summed),
        cmocka_unit_test(a_cut_answer_is_counted_here),
        cmocka_unit_test(pieces_on_the_short_way),
        cmocka_unit_test(a_usage_that_was_expected),
        cmocka_unit_test(calls_get_ids_of_their_own),
        cmocka_unit_test(foreign_choices_are_ignored),
        cmocka_unit_test(half_an_answer_is_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
