/*
 * test/unit/test_continuation.c - gateway/continuation.h: which ends are continued, what is asked
 * then; and an answer of several runs (gateway/answer.h).
 */
#include "gateway/continuation.h"

#include "base/json.h"
#include "gateway/chat_request.h"
#include "test/unit/support/cmocka_all.h"

enum { ALL = (1 << CONTINUE_CAUSES) - 1 };
static const struct continue_config on = {true, 2, 600000, ALL};
static const struct continuation_log none = {0};

struct request {
    struct arena arena;
    struct json_parser *json;
    struct turn turn;
};

static void read_request(struct request *r, const char *body)
{
    struct fail fail = {0};
    size_t n = strlen(body);
    r->json = json_parser_create(1 << 16);
    assert_non_null(r->json);
    arena_init(&r->arena);
    char *copy = arena_alloc(&r->arena, n + JSON_PADDING);
    assert_non_null(copy);
    memcpy(copy, body, n);
    assert_int_equal(chat_request_parse(r->json, &r->arena, copy, n, &r->turn, &fail), 0);
}

static void drop_request(struct request *r)
{
    arena_free(&r->arena);
    json_parser_destroy(r->json);
}

#define HEAD "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

static void what_can_be_continued(void **state)
{
    static const struct {
        const char *body;
        bool fits;
    } rows[] = {
        {HEAD "}", true},
        {HEAD ",\"n\":1,\"stop\":null,\"modalities\":[\"text\"],\"max_tokens\":5}", true},
        {HEAD ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}", false},
        {HEAD ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
              "\"tool_choice\":\"none\"}",
         true},
        {HEAD ",\"response_format\":{\"type\":\"json_object\"}}", false},
        {HEAD ",\"response_format\":{\"type\":\"text\"}}", true},
        {HEAD ",\"n\":2}", false},
        {HEAD ",\"stop\":\"END\"}", false},
        {HEAD ",\"logprobs\":true}", false},
        {HEAD ",\"modalities\":[\"text\",\"image\"]}", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct request r;
        read_request(&r, rows[i].body);
        if (continuation_fits(&r.turn) != rows[i].fits)
            fail_msg("%s", rows[i].body);
        drop_request(&r);
    }
    assert_false(continuation_fits(
        &(struct turn){.n = 1, .n_messages = 1, .relay.path = SPAN("/embeddings")}));
}

/* A run that ended so: text, whole and new. */
static struct run_end ended(enum fail_kind failed, const char *text, const char *finish)
{
    return (struct run_end){.failed = failed,
                            .state = {.text = span_str(text),
                                      .finish = span_str(finish),
                                      .whole = true,
                                      .is_new = *text != '\0',
                                      .tokens = 40,
                                      .tokens_told = true}};
}

static enum continue_cause cause(const struct run_end *end)
{
    return continuation_cause(&on, &none, &(struct turn){.n = 1}, true, end);
}

static void causes(void **state)
{
    static const struct {
        enum fail_kind failed;
        const char *text, *finish;
        bool thoughts;
        enum continue_cause cause;
    } rows[] = {
        {FAIL_NONE, "text", "stop", false, CONTINUE_NOT},
        {FAIL_NONE, "text", "length", false, CONTINUE_LENGTH},
        {FAIL_NONE, "text", "content_filter", false, CONTINUE_NOT},
        {FAIL_NONE, "text", "tool_calls", false, CONTINUE_NOT},
        {FAIL_NONE, "", "stop", true, CONTINUE_EMPTY},
        {FAIL_NONE, "", "stop", false, CONTINUE_NOT},
        {FAIL_NONE, "", "length", true, CONTINUE_NOT},
        {FAIL_NONE, "", "content_filter", true, CONTINUE_NOT},
        {FAIL_EMPTY, "", "", true, CONTINUE_EMPTY},
        {FAIL_CUT, "text", "", false, CONTINUE_CUT},
        {FAIL_CUT, "", "", true, CONTINUE_NOT},
        {FAIL_TIMEOUT, "text", "", false, CONTINUE_CUT},
        {FAIL_PROTOCOL, "text", "", false, CONTINUE_MALFORMED},
        {FAIL_PROTOCOL, "", "", true, CONTINUE_NOT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct run_end end = ended(rows[i].failed, rows[i].text, rows[i].finish);
        end.state.thoughts = rows[i].thoughts;
        assert_int_equal(cause(&end), rows[i].cause);
        struct continue_config without = on;
        if (rows[i].cause != CONTINUE_NOT)
            without.causes &= ~(1u << rows[i].cause);
        assert_int_equal(continuation_cause(&without, &none, &(struct turn){.n = 1}, true, &end),
                         CONTINUE_NOT);
    }
    for (int kind = 0; kind < FAIL_KIND_COUNT; kind++) { /* what a site tells by name is told */
        struct run_end end = ended((enum fail_kind)kind, "text", "");
        bool may = kind == FAIL_CUT || kind == FAIL_TIMEOUT || kind == FAIL_PROTOCOL;
        assert_int_equal(cause(&end) != CONTINUE_NOT, may);
    }
}

static void what_forbids_it(void **state)
{
    struct run_end end = ended(FAIL_CUT, "text", "");
    const struct turn turn = {.n = 1};
    struct continue_config config = on;
    config.on = false;
    assert_int_equal(continuation_cause(&config, &none, &turn, true, &end), CONTINUE_NOT);
    end.state.other = true;
    assert_int_equal(cause(&end), CONTINUE_NOT);
    end = ended(FAIL_CUT, "text", "");
    end.state.cut = true;
    assert_int_equal(cause(&end), CONTINUE_NOT);
    end = ended(FAIL_CUT, "text", "");
    end.state.started_over = true;
    assert_int_equal(cause(&end), CONTINUE_NOT);
    end = ended(FAIL_CUT, "text", "");
    end.state.whole = false;
    assert_int_equal(cause(&end), CONTINUE_NOT);
    end = ended(FAIL_CUT, "Here: ![a fox](data:image/png;base64,AAAA) and", "");
    assert_int_equal(cause(&end), CONTINUE_NOT);
    end = ended(FAIL_CUT, "text", "");
    end.since_ms = 599999;
    assert_int_equal(cause(&end), CONTINUE_CUT);
    end.since_ms = 600000;
    assert_int_equal(cause(&end), CONTINUE_NOT);
}

static void how_often(void **state)
{
    const struct turn turn = {.n = 1};
    struct run_end end = ended(FAIL_CUT, "text", ""), empty = ended(FAIL_EMPTY, "", "");
    struct continuation_log log = {1, {CONTINUE_EMPTY}};
    empty.state.thoughts = true;
    assert_int_equal(continuation_delay_ms(&none), 1000);
    assert_int_equal(continuation_delay_ms(&log), 3000);
    assert_int_equal(continuation_cause(&on, &log, &turn, true, &end), CONTINUE_CUT);
    assert_int_equal(continuation_cause(&on, &log, &turn, true, &empty), CONTINUE_NOT);
    end.state.is_new = false;
    assert_int_equal(continuation_cause(&on, &log, &turn, true, &end), CONTINUE_NOT);
    end.state.is_new = true;
    log.times = 2;
    assert_int_equal(continuation_cause(&on, &log, &turn, true, &end), CONTINUE_NOT);
}

static void the_clients_own_limit(void **state)
{
    struct run_end length = ended(FAIL_NONE, "text", "length"), cut = ended(FAIL_CUT, "text", "");
    struct turn turn = {.n = 1, .has_max_tokens = true, .max_tokens = 56};
    assert_int_equal(continuation_cause(&on, &none, &turn, true, &length), CONTINUE_LENGTH);
    turn.max_tokens = 55; /* 15 are left */
    assert_int_equal(continuation_cause(&on, &none, &turn, true, &length), CONTINUE_NOT);
    assert_int_equal(continuation_cause(&on, &none, &turn, true, &cut), CONTINUE_NOT);
    turn.max_tokens = 1000;
    length.state.tokens_told = cut.state.tokens_told = false;
    assert_int_equal(continuation_cause(&on, &none, &turn, true, &length), CONTINUE_NOT);
    assert_int_equal(continuation_cause(&on, &none, &turn, true, &cut), CONTINUE_CUT);
    assert_int_equal(continuation_cause(&on, &none, &turn, false, &length), CONTINUE_LENGTH);
}

static void the_turn_that_is_asked(void **state)
{
    struct request r;
    read_request(&r, "{\"model\":\"m\",\"max_tokens\":100,\"max_completion_tokens\":null,"
                     "\"messages\":[{\"role\":\"system\",\"content\":\"s\",\"x\":1.50}, "
                     "{\"role\":\"user\",\"content\":\"y\"} ],\"seed\":9007199254740993}");
    struct answer_run_state s = {.text = SPAN("So \"far\"\n晴"), .tokens = 40};
    const struct turn *t = continuation_turn(&r.arena, &r.turn, &s);
    assert_non_null(t);
    assert_int_equal(t->n_messages, 4);
    assert_int_equal(t->messages[2].role, ROLE_ASSISTANT);
    assert_span_equal(t->messages[2].parts->text, s.text);
    assert_int_equal(t->messages[3].role, ROLE_USER);
    assert_int_equal(t->max_tokens, 60);
    struct span begins =
        SPAN("{\"model\":\"m\",\"max_tokens\":60,\"max_completion_tokens\":null,\"messages\":["
             "{\"role\":\"system\",\"content\":\"s\",\"x\":1.50}, {\"role\":\"user\",\"content\":"
             "\"y\"} ,{\"role\":\"assistant\",\"content\":\"So \\\"far\\\"\\n晴\"},"
             "{\"role\":\"user\",\"content\":\"Your answer was cut off.");
    assert_span_equal(span_first(t->raw, begins.n), begins);
    assert_true(span_ends(t->raw, SPAN("\"}],\"seed\":9007199254740993}")));
    struct turn again; /* the body says what the turn says */
    struct fail fail = {0};
    assert_int_equal(
        chat_request_parse(r.json, &r.arena, (char *)t->raw.p, t->raw.n, &again, &fail), 0);
    assert_int_equal(again.n_messages, 4);
    assert_span_equal(again.messages[3].parts->text, t->messages[3].parts->text);
    assert_int_equal(again.max_tokens, 60);
    assert_int_equal(r.turn.n_messages, 2); /* the first turn stays as it is */

    s = (struct answer_run_state){.text = SPAN(""), .tokens = 10};
    t = continuation_turn(&r.arena, &r.turn, &s);
    assert_non_null(t);
    assert_int_equal(t->n_messages, 2);
    assert_int_equal(t->max_tokens, 90);
    drop_request(&r);
}

static void the_remark(void **state)
{
    struct arena arena;
    const struct continuation_log log = {2, {CONTINUE_CUT, CONTINUE_LENGTH}};
    arena_init(&arena);
    assert_span_equal(continuation_remark(&arena, &log),
                      SPAN("\"dragoman_continued\":{\"times\":2,\"causes\":[\"cut\",\"length\"]}"));
    arena_free(&arena);
}

/* ---- an answer of several runs ---- */

static const struct token_source estimated = {NULL, NULL};

struct bench {
    struct arena arena;
    struct buffer body;
    struct answer answer;
    struct answer_feed feed;
    struct turn turn;
};

static const struct delta_sink *start(struct bench *b, struct answer_rules rules, bool stream)
{
    const struct answer_meta meta = {
        .id = SPAN("chatcmpl-1"), .model = SPAN("m"), .created = 1, .include_usage = true};
    *b = (struct bench){.turn = {.n = 1}};
    arena_init(&b->arena);
    buffer_init(&b->body, 1 << 20);
    struct answer_writer *writer = stream ? chat_stream_writer(&b->arena, &meta, NULL, &b->body)
                                          : chat_whole_writer(&b->arena, &meta, NULL);
    assert_non_null(writer);
    rules.may_continue = true;
    answer_init(&b->answer, writer, &b->arena, &estimated, meta.id);
    answer_feed_add(&b->answer, &b->feed, &b->turn, 0, 1);
    answer_feed_begin(&b->feed, &rules);
    return &b->feed.sink;
}

static void stop(struct bench *b)
{
    answer_free(&b->answer);
    buffer_free(&b->body);
    arena_free(&b->arena);
}

static void go_on(struct bench *b, struct answer_run_state *s)
{
    assert_int_equal(answer_feed_run_over(&b->feed, s), 0);
    answer_feed_set_aside(&b->feed);
    answer_feed_continue(&b->feed, &b->turn);
    b->feed.remark = SPAN("\"dragoman_continued\":{}");
}

static void expect(struct bench *b, const char *wanted)
{
    if (span_find(buffer_span(&b->body), span_str(wanted)) < 0)
        fail_msg("no %s in %.*s", wanted, SPAN_ARGS(buffer_span(&b->body)));
}

static void refuse(struct bench *b, const char *unwanted)
{
    if (span_find(buffer_span(&b->body), span_str(unwanted)) >= 0)
        fail_msg("%s in %.*s", unwanted, SPAN_ARGS(buffer_span(&b->body)));
}

static void end(struct bench *b) { assert_int_equal(answer_end(&b->answer, &b->body), 0); }

/* Leaked thoughts, the seam and the limit, wherever the continuation is cut in two. */
static void every_filter_works_over_the_seam(void **state)
{
    const struct span first = SPAN("<think>hm</think>The quick brown fox jumps"),
                      second = SPAN("<think>where was I</think>brown fox jumps over the dog");
    for (size_t cut = 0; cut <= second.n + 1; cut++) {
        struct bench b;
        struct answer_run_state s;
        const struct delta_sink *sink = start(&b, (struct answer_rules){.max_tokens = 0}, false);
        delta_text(sink, 0, first);
        go_on(&b, &s);
        assert_span_equal(s.text, SPAN("The quick brown fox jumps"));
        if (cut > second.n) {
            for (size_t i = 0; i < second.n; i++)
                delta_text(sink, 0, span_of(second.p + i, 1));
        } else {
            delta_text(sink, 0, span_first(second, cut));
            delta_text(sink, 0, span_from(second, cut));
        }
        delta_finish(sink, 0, SPAN("stop"));
        end(&b);
        expect(&b, "\"content\":\"The quick brown fox jumps over the dog\",\"reasoning_content\":"
                   "\"hm\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"");
        expect(&b, "\"dragoman_continued\":{}");
        stop(&b);
    }
}

static void the_token_limit_counts_on(void **state)
{
    struct bench b;
    struct answer_run_state s;
    const struct delta_sink *sink = start(&b, (struct answer_rules){.max_tokens = 5}, false);
    delta_text(sink, 0, SPAN("12345678")); /* two, by estimate */
    go_on(&b, &s);
    assert_int_equal(s.tokens, 2);
    delta_text(sink, 0, SPAN("abcdefgh"));
    delta_text(sink, 0, SPAN("ijklmnopq"));
    delta_finish(sink, 0, SPAN("stop"));
    assert_true(answer_feed_is_cut(&b.feed));
    end(&b);
    expect(&b, "\"content\":\"12345678abcdefghijkl\"");
    expect(&b, "\"finish_reason\":\"length\"");
    stop(&b);
}

static void usage_is_the_sum(void **state)
{
    struct bench b;
    struct answer_run_state s;
    struct delta_usage told = {10, 20, 30, 4, 5, 0, SPAN("{}")};
    const struct delta_sink *sink = start(&b, (struct answer_rules){0}, false);
    for (int run = 0; run < 3; run++) {
        if (run)
            go_on(&b, &s);
        delta_text(sink, 0, run ? SPAN(" more") : SPAN("text"));
        delta_finish(sink, 0, run < 2 ? SPAN("length") : SPAN("stop"));
        delta_usage(sink, &told);
    }
    assert_int_equal(s.tokens, 40);
    assert_true(s.tokens_told);
    assert_int_equal(answer_tokens(&b.answer), 90);
    end(&b);
    assert_int_equal(b.answer.usage.prompt, 30);
    assert_int_equal(b.answer.usage.completion, 60);
    assert_int_equal(b.answer.usage.cached, 12);
    assert_int_equal(b.answer.usage.reasoning, 15);
    assert_int_equal(b.answer.completion_origin, COUNT_UPSTREAM);
    stop(&b);
}

/* A run that told nothing is counted by us; what it only repeated or thought is counted as well. */
static void what_no_site_told_is_counted(void **state)
{
    struct bench b;
    struct answer_run_state s;
    struct delta_usage told = {10, 20, 30, -1, -1, 0, {NULL, 0}};
    const struct delta_sink *sink = start(&b, (struct answer_rules){0}, false);
    delta_text(sink, 0, SPAN("12345678"));
    go_on(&b, &s);
    delta_reasoning(sink, 0, SPAN("1234"));
    delta_text(sink, 0, SPAN(" abc"));
    delta_usage(sink, &told);
    end(&b);
    assert_int_equal(b.answer.usage.completion, 22);
    assert_int_equal(b.answer.completion_origin, COUNT_ESTIMATED);
    stop(&b);
}

static void the_order_of_a_stream_stays(void **state)
{
    struct bench b;
    struct answer_run_state s;
    const struct delta_sink *sink = start(&b, (struct answer_rules){0}, true);
    delta_extra(sink, PLACE_TOP, 0, SPAN("\"fp\":1"));
    delta_reasoning(sink, 0, SPAN("thought"));
    delta_text(sink, 0, SPAN("one"));
    delta_finish(sink, 0, SPAN("length"));
    refuse(&b, "\"length\"");
    go_on(&b, &s);
    assert_span_equal(s.finish, SPAN("length"));
    delta_reasoning(sink, 0, SPAN("another"));
    delta_extra(sink, PLACE_DELTA, 0, SPAN("\"details\":1"));
    delta_signature(sink, 0, SPAN("sign"));
    delta_text(sink, 0, SPAN(" two"));
    refuse(&b, " two");
    delta_finish(sink, 0, SPAN("stop"));
    expect(&b, "{\"content\":\" two\"}");
    end(&b);
    refuse(&b, "another");
    refuse(&b, "\"details\"");
    refuse(&b, "\"length\"");
    expect(&b, "\"fp\":1,\"dragoman_continued\":{},\"choices\":[{\"index\":0,\"delta\":{},"
               "\"logprobs\":null,\"finish_reason\":\"stop\"}]");
    stop(&b);
}

/* Given up, the answer ends as before; an empty one only as long as it is empty. */
static void given_up(void **state)
{
    struct bench b;
    struct answer_run_state s;
    const struct delta_sink *sink = start(&b, (struct answer_rules){0}, false);
    delta_text(sink, 0, SPAN("one"));
    go_on(&b, &s);
    assert_false(answer_feed_give_up(&b.feed)); /* it was cut: there was no reason */
    delta_text(sink, 0, SPAN(" two"));
    delta_finish(sink, 0, SPAN("length"));
    go_on(&b, &s);
    assert_true(answer_feed_give_up(&b.feed));
    end(&b);
    expect(&b, "\"content\":\"one two\"");
    expect(&b, "\"finish_reason\":\"length\"");
    stop(&b);

    sink = start(&b, (struct answer_rules){0}, false);
    delta_reasoning(sink, 0, SPAN("thought"));
    delta_finish(sink, 0, SPAN("stop"));
    go_on(&b, &s);
    assert_true(s.thoughts);
    assert_true(answer_feed_give_up(&b.feed));
    answer_feed_set_aside(&b.feed);
    delta_text(sink, 0, SPAN("text"));
    assert_int_equal(answer_feed_run_over(&b.feed, &s), 0);
    assert_true(s.is_new);
    assert_false(answer_feed_give_up(&b.feed));
    stop(&b);
}

/* Thoughts that stand in the text are no text to go on with, and end before what comes of it. */
static void thoughts_in_the_text(void **state)
{
    struct bench b;
    struct answer_run_state s;
    const struct delta_sink *sink =
        start(&b, (struct answer_rules){.reasoning = REASONING_THINK}, false);
    delta_reasoning(sink, 0, SPAN("hm"));
    delta_finish(sink, 0, SPAN("stop"));
    go_on(&b, &s);
    assert_true(s.thoughts && !s.text.n);
    delta_reasoning(sink, 0, SPAN("again"));
    delta_text(sink, 0, SPAN("Four"));
    go_on(&b, &s);
    assert_span_equal(s.text, SPAN("Four"));
    delta_text(sink, 0, SPAN("teen."));
    end(&b);
    expect(&b, "\"content\":\"<think>\\nhm\\n</think>\\n\\nFourteen.\"");
    stop(&b);
}

static void calls_and_pictures_are_told_apart(void **state)
{
    struct bench b;
    struct answer_run_state s;
    const struct delta_sink *sink = start(&b, (struct answer_rules){0}, false);
    delta_text(sink, 0, SPAN("one"));
    assert_int_equal(answer_feed_run_over(&b.feed, &s), 0);
    assert_false(s.other);
    delta_tool_begin(sink, 0, 0, SPAN("call_1"), SPAN("f"));
    assert_int_equal(answer_feed_run_over(&b.feed, &s), 0);
    assert_true(s.other);
    stop(&b);
    sink = start(&b, (struct answer_rules){0}, false);
    delta_extra(sink, PLACE_DELTA, 0, SPAN("\"images\":[]"));
    delta_text(sink, 0, SPAN("one"));
    assert_int_equal(answer_feed_run_over(&b.feed, &s), 0);
    assert_true(s.other);
    stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_can_be_continued),
        cmocka_unit_test(causes),
        cmocka_unit_test(what_forbids_it),
        cmocka_unit_test(how_often),
        cmocka_unit_test(the_clients_own_limit),
        cmocka_unit_test(the_turn_that_is_asked),
        cmocka_unit_test(the_remark),
        cmocka_unit_test(every_filter_works_over_the_seam),
        cmocka_unit_test(the_token_limit_counts_on),
        cmocka_unit_test(usage_is_the_sum),
        cmocka_unit_test(what_no_site_told_is_counted),
        cmocka_unit_test(the_order_of_a_stream_stays),
        cmocka_unit_test(given_up),
        cmocka_unit_test(thoughts_in_the_text),
        cmocka_unit_test(calls_and_pictures_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
