/*
 * test/unit/test_chunk_emitter.c - every event of a stream, byte for byte (clients.md §1.4, §2.3,
 * §2.4).
 */
#include "sse/chunk_emitter.h"
#include "test/unit/support/cmocka_all.h"

/* What stands before and behind a chunk's choice. */
#define HEAD                                                                                       \
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1763600000,"    \
    "\"model\":\"m\",\"choices\":["
#define DELTA(index, delta)                                                                        \
    HEAD "{\"index\":" #index ",\"delta\":" delta ",\"logprobs\":null,\"finish_reason\":null}]}"   \
         "\n\n"
#define FINISH(index, reason)                                                                      \
    HEAD "{\"index\":" #index ",\"delta\":{},\"logprobs\":null,\"finish_reason\":\"" reason        \
         "\"}]}\n\n"
#define ROLE(index) DELTA(index, "{\"role\":\"assistant\",\"content\":\"\"}")
#define TEXT(text)  DELTA(0, "{\"content\":\"" text "\"}")

struct bench {
    struct arena arena;
    struct buffer out;
    struct chunk_emitter *e;
};

static void start(struct bench *b, bool usage)
{
    arena_init(&b->arena);
    buffer_init(&b->out, 1 << 20);
    b->e = chunk_emitter_create(&b->arena, SPAN("chatcmpl-1"), 1763600000, SPAN("m"), usage);
    assert_non_null(b->e);
}

static void stop(struct bench *b)
{
    assert_int_equal(b->out.error, 0);
    buffer_free(&b->out);
    arena_free(&b->arena);
}

/* Everything since the last look. */
static void expect(struct bench *b, const char *wanted)
{
    assert_span_equal(buffer_span(&b->out), span_str(wanted));
    buffer_clear(&b->out);
}

static void a_stream_with_usage(void **state)
{
    struct bench b;
    struct usage_counts usage = {.prompt = 9, .completion = 3, .cached = -1, .reasoning = -1};
    start(&b, true);
    chunk_emitter_reasoning(b.e, &b.out, 0, SPAN("First "));
    chunk_emitter_keep_alive(&b.out);
    chunk_emitter_text(b.e, &b.out, 0, SPAN("Hello"));
    chunk_emitter_finish(b.e, &b.out, 0, SPAN("stop"));
    chunk_emitter_done(b.e, &b.out, &usage);
    expect(&b, HEAD
           "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
           "\"finish_reason\":null}],\"usage\":null}\n\n" HEAD
           "{\"index\":0,\"delta\":{\"reasoning_content\":\"First \"},\"logprobs\":null,"
           "\"finish_reason\":null}],\"usage\":null}\n\n"
           ": keep-alive\n\n" HEAD
           "{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"logprobs\":null,"
           "\"finish_reason\":null}],\"usage\":null}\n\n" HEAD
           "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":"
           "null}\n\n" HEAD
           "],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12}}\n\n"
           "data: [DONE]\n\n");
    stop(&b);
}

static void usage_only_where_asked_for(void **state)
{
    struct bench b;
    struct usage_counts usage = {.prompt = 1, .completion = 1, .cached = -1, .reasoning = -1};
    start(&b, false);
    chunk_emitter_role(b.e, &b.out, 0);
    chunk_emitter_role(b.e, &b.out, 0);
    chunk_emitter_text(b.e, &b.out, 0, SPAN(""));
    chunk_emitter_finish(b.e, &b.out, 0, SPAN("length"));
    chunk_emitter_done(b.e, &b.out, &usage);
    expect(&b, ROLE(0) FINISH(0, "length") "data: [DONE]\n\n");
    stop(&b);
}

static void usage_objects(void **state)
{
    struct buffer out;
    buffer_init(&out, 1000);
    usage_write(&out,
                &(struct usage_counts){.prompt = 5, .completion = 7, .cached = 3, .reasoning = 0});
    assert_span_equal(buffer_span(&out),
                      SPAN("{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12,"
                           "\"prompt_tokens_details\":{\"cached_tokens\":3},"
                           "\"completion_tokens_details\":{\"reasoning_tokens\":0}}"));
    buffer_clear(&out);
    usage_write(
        &out, &(struct usage_counts){.prompt = 5, .raw = SPAN("{\"prompt_tokens\":5,\"x\":1.50}")});
    assert_span_equal(buffer_span(&out), SPAN("{\"prompt_tokens\":5,\"x\":1.50}"));
    buffer_free(&out);
}

static void text_is_escaped(void **state)
{
    struct bench b;
    start(&b, false);
    chunk_emitter_role(b.e, &b.out, 0);
    buffer_clear(&b.out);
    chunk_emitter_text(b.e, &b.out, 0, SPAN("\"\\/\b\f\n\r\t\x01\x1f \x7f 春\xf0\x9f\x8c\xb8"));
    expect(&b, TEXT("\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f \x7f 春\xf0\x9f\x8c\xb8"));
    chunk_emitter_text(b.e, &b.out, 0, span_of("a\0b", 3));
    expect(&b, TEXT("a\\u0000b"));
    stop(&b);
}

/* S15: every cut of a text with characters of one to four bytes. */
static void characters_are_never_split(void **state)
{
    const struct span text = SPAN("aé春🌸b");
    for (size_t cut = 0; cut <= text.n; cut++) {
        struct bench b;
        struct span rest;
        start(&b, false);
        chunk_emitter_role(b.e, &b.out, 0);
        buffer_clear(&b.out);
        chunk_emitter_text(b.e, &b.out, 0, span_first(text, cut));
        chunk_emitter_text(b.e, &b.out, 0, span_from(text, cut));
        rest = buffer_span(&b.out);
        assert_true(utf8_valid(rest));
        assert_int_equal(span_find(rest, SPAN("\xef\xbf\xbd")), -1);
        /* What the deltas hold, put together again, is the text. */
        struct buffer all;
        ptrdiff_t at;
        buffer_init(&all, 100);
        while ((at = span_find(rest, SPAN("\"content\":\""))) >= 0) {
            rest = span_from(rest, (size_t)at + 11);
            buffer_append(&all, span_first(rest, (size_t)span_find_char(rest, '"')));
        }
        assert_span_equal(buffer_span(&all), text);
        buffer_free(&all);
        stop(&b);
    }
}

static void torn_characters_come_out_at_the_end(void **state)
{
    struct bench b;
    start(&b, false);
    chunk_emitter_text(b.e, &b.out, 0, SPAN("a\xe6\x98"));
    expect(&b, ROLE(0) TEXT("a"));
    chunk_emitter_finish(b.e, &b.out, 0, SPAN("stop"));
    expect(&b, TEXT("\xef\xbf\xbd") FINISH(0, "stop"));
    stop(&b);
    start(&b, false);
    chunk_emitter_text(b.e, &b.out, 0, SPAN("\xf0\x9f"));
    expect(&b, ROLE(0));
    chunk_emitter_error(b.e, &b.out, SPAN("{\"message\":\"x\"}"));
    expect(&b, TEXT("\xef\xbf\xbd") "data: {\"error\":{\"message\":\"x\"}}\n\n");
    stop(&b);
    start(&b, false); /* kinds do not mix */
    chunk_emitter_reasoning(b.e, &b.out, 0, SPAN("\xe6"));
    chunk_emitter_text(b.e, &b.out, 0, SPAN("\x98\xa5"));
    expect(&b, ROLE(0) TEXT("\xef\xbf\xbd\xef\xbf\xbd"));
    stop(&b);
}

static void tool_calls(void **state)
{
    struct bench b;
    start(&b, false);
    chunk_emitter_tool_begin(b.e, &b.out, 0, 0, SPAN("call_a"), SPAN("get_\"weather"),
                             SPAN("{\"google\":{\"thought_signature\":\"c2ln\"}}"));
    chunk_emitter_tool_arguments(b.e, &b.out, 0, 0, SPAN("{\"city\":\"M\xc3"));
    chunk_emitter_tool_arguments(b.e, &b.out, 0, 0, SPAN("\xbcnchen\"}"));
    chunk_emitter_tool_begin(b.e, &b.out, 0, 1, SPAN("call_b"), SPAN("bad\xff"), SPAN(""));
    chunk_emitter_tool_arguments(b.e, &b.out, 0, 1, SPAN("{}"));
    chunk_emitter_finish(b.e, &b.out, 0, SPAN("tool_calls"));
#define CALL(text) DELTA(0, "{\"tool_calls\":[" text "]}")
    expect(&b, ROLE(0) CALL("{\"index\":0,\"id\":\"call_a\",\"type\":\"function\",\"function\":{"
                            "\"name\":\"get_\\\"weather\",\"arguments\":\"\"},"
                            "\"extra_content\":{\"google\":{\"thought_signature\":\"c2ln\"}}}")
                   CALL("{\"index\":0,\"function\":{\"arguments\":\"{\\\"city\\\":\\\"M\"}}")
                       CALL("{\"index\":0,\"function\":{\"arguments\":\"ünchen\\\"}\"}}")
                           CALL("{\"index\":1,\"id\":\"call_b\",\"type\":\"function\",\"function\":"
                                "{\"name\":\"bad\xef\xbf\xbd\",\"arguments\":\"\"}}")
                               CALL("{\"index\":1,\"function\":{\"arguments\":\"{}\"}}")
                                   FINISH(0, "tool_calls"));
    stop(&b);
}

static void refusals_and_citations(void **state)
{
    struct bench b;
    const struct citation list[] = {{SPAN_INIT("https://a/?\"x"), SPAN_INIT("A"), 0, 4},
                                    {SPAN_INIT("https://b"), SPAN_INIT(""), 0, 0}};
    start(&b, false);
    chunk_emitter_refusal(b.e, &b.out, 0, SPAN("no"));
    chunk_emitter_citations(b.e, &b.out, 0, list, 2);
    chunk_emitter_citations(b.e, &b.out, 0, list, 0);
    expect(&b,
           ROLE(0) DELTA(0, "{\"refusal\":\"no\"}") DELTA(
               0, "{\"annotations\":[{\"type\":\"url_citation\",\"url_citation\":{\"start_index\":"
                  "0,\"end_index\":4,"
                  "\"url\":\"https://a/"
                  "?\\\"x\",\"title\":\"A\"}},{\"type\":\"url_citation\",\"url_citation\":"
                  "{\"start_index\":0,\"end_index\":0,\"url\":\"https://b\",\"title\":\"\"}}]}"));
    stop(&b);
}

static void choices_are_independent(void **state)
{
    struct bench b;
    start(&b, false);
    chunk_emitter_text(b.e, &b.out, 1, SPAN("one"));
    chunk_emitter_text(b.e, &b.out, 0, SPAN("zero"));
    chunk_emitter_finish(b.e, &b.out, 1, SPAN("stop"));
    chunk_emitter_text(b.e, &b.out, 1, SPAN("late"));
    chunk_emitter_finish(b.e, &b.out, 1, SPAN("length"));
    chunk_emitter_text(b.e, &b.out, 127, SPAN("last"));
    chunk_emitter_text(b.e, &b.out, 128, SPAN("beyond"));
    chunk_emitter_text(b.e, &b.out, -1, SPAN("before"));
    expect(&b, ROLE(1) DELTA(1, "{\"content\":\"one\"}") ROLE(0) TEXT("zero") FINISH(1, "stop")
                   ROLE(127) DELTA(127, "{\"content\":\"last\"}"));
    stop(&b);
}

static void extras_travel(void **state)
{
    struct bench b;
    start(&b, true);
    chunk_emitter_extra(b.e, EXTRA_TOP, 0, SPAN("\"tier\":\"x\""));
    chunk_emitter_extra(b.e, EXTRA_CHOICE, 0, SPAN("\"logprobs\":{\"content\":[]}"));
    chunk_emitter_extra(b.e, EXTRA_DELTA, 0, SPAN("\"mood\":1"));
    chunk_emitter_extra(b.e, EXTRA_DELTA, 0, SPAN("\"tone\":2"));
    chunk_emitter_text(b.e, &b.out, 0, SPAN("a"));
#define TOP                                                                                        \
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1763600000,"    \
    "\"model\":\"m\",\"tier\":\"x\",\"choices\":["
#define END "\"finish_reason\":null}],\"usage\":null}\n\n"
    expect(&b, TOP
           "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null," END
               TOP "{\"index\":0,\"delta\":{\"content\":\"a\",\"mood\":1,\"tone\":2},\"logprobs\":{"
           "\"content\":[]}," END);
    chunk_emitter_text(b.e, &b.out, 0, SPAN("b")); /* the top ones stay, the others went */
    expect(&b, TOP "{\"index\":0,\"delta\":{\"content\":\"b\"},\"logprobs\":null," END);
    chunk_emitter_extra(b.e, EXTRA_DELTA, 0, SPAN("\"alone\":true"));
    chunk_emitter_flush_extras(b.e, &b.out);
    chunk_emitter_flush_extras(b.e, &b.out);
    expect(&b, TOP "{\"index\":0,\"delta\":{\"alone\":true},\"logprobs\":null," END);
    chunk_emitter_extra(
        b.e, EXTRA_TOP, 0,
        SPAN("\"tier\":\"a longer value than before, so that it needs more room than there was\""));
    chunk_emitter_extra(b.e, EXTRA_TOP, 0, SPAN("\"tier\":\"x\""));
    chunk_emitter_text(b.e, &b.out, 0, SPAN("c"));
    expect(&b, TOP "{\"index\":0,\"delta\":{\"content\":\"c\"},\"logprobs\":null," END);
    chunk_emitter_extra(b.e, EXTRA_TOP, 0, SPAN(""));
    chunk_emitter_extra(b.e, EXTRA_DELTA, 0, SPAN("\"dropped\":1"));
    chunk_emitter_extra(b.e, EXTRA_DELTA, 0, SPAN(""));
    chunk_emitter_finish(b.e, &b.out, 0, SPAN("stop"));
    expect(&b, HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
                    "\"usage\":null}\n\n");
    chunk_emitter_extra(b.e, EXTRA_CHOICE, 0, SPAN("\"late\":1")); /* nothing follows a finish */
    chunk_emitter_flush_extras(b.e, &b.out);
    expect(&b, "");
    stop(&b);
}

static void a_member_inside_another_is_no_member(void **state)
{
    struct bench b;
    start(&b, false);
    chunk_emitter_role(b.e, &b.out, 0);
    buffer_clear(&b.out);
    chunk_emitter_extra(b.e, EXTRA_CHOICE, 0, SPAN("\"native\":{\"logprobs\":1}"));
    chunk_emitter_text(b.e, &b.out, 0, SPAN("x"));
    expect(&b, HEAD "{\"index\":0,\"delta\":{\"content\":\"x\"},\"native\":{\"logprobs\":1},"
                    "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    stop(&b);
}

static void a_full_output_is_noticed(void **state)
{
    struct bench b;
    start(&b, false);
    buffer_free(&b.out);
    buffer_init(&b.out, 100);
    chunk_emitter_text(b.e, &b.out, 0, SPAN("hello"));
    assert_int_equal(b.out.error, BUFFER_FULL);
    buffer_free(&b.out);
    arena_free(&b.arena);
}

/* A text with one byte that is not like the others, as it stands in an event. */
static void check_byte(struct bench *b, size_t n, size_t at, struct span byte, struct span escaped)
{
    struct buffer text, wanted;
    buffer_init(&text, 1000);
    buffer_init(&wanted, 1000);
    for (size_t i = 0; i < n; i++) {
        buffer_append(&text, i == at ? byte : SPAN("~"));
        buffer_append(&wanted, i == at ? escaped : SPAN("~"));
    }
    buffer_clear(&b->out);
    chunk_emitter_text(b->e, &b->out, 0, buffer_span(&text));
    struct span event = buffer_span(&b->out), before = SPAN(HEAD "{\"index\":0,\"delta\":"),
                behind = SPAN("\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    assert_true(span_starts(event, before));
    event = span_from(event, before.n + sizeof "{\"content\":\"" - 1);
    assert_true(event.n >= behind.n);
    assert_span_equal(span_from(event, event.n - behind.n), behind);
    assert_span_equal(span_first(event, event.n - behind.n), buffer_span(&wanted));
    buffer_free(&text);
    buffer_free(&wanted);
}

/* Texts are looked at in blocks: nothing is missed at any place of any length. */
static void each_byte_is_seen_everywhere(void **state)
{
    static const struct span bytes[][2] = {
        {SPAN_INIT("\n"), SPAN_INIT("\\n")},
        {SPAN_INIT("\""), SPAN_INIT("\\\"")},
        {SPAN_INIT("\\"), SPAN_INIT("\\\\")},
        {SPAN_INIT("\0"), SPAN_INIT("\\u0000")},
        {SPAN_INIT("\x1f"), SPAN_INIT("\\u001f")},
        {SPAN_INIT(" "), SPAN_INIT(" ")},
        {SPAN_INIT("\x7f"), SPAN_INIT("\x7f")},
        {SPAN_INIT("\xC3\xA9"), SPAN_INIT("\xC3\xA9")},
        {SPAN_INIT("\xFF"), SPAN_INIT("\xEF\xBF\xBD")},
    };
    struct bench b;
    start(&b, false);
    chunk_emitter_text(b.e, &b.out, 0, SPAN("the role, and the opening of what follows"));
    for (size_t n = 1; n < 70; n++) {
        for (size_t at = 0; at < n; at++) {
            for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
                check_byte(&b, n, at, bytes[i][0], bytes[i][1]);
        }
    }
    stop(&b);
}

/* The opening that is kept is that of the piece before. */
static void pieces_of_all_kinds_take_turns(void **state)
{
    struct bench b;
    start(&b, false);
    for (int choice = 0; choice < 2; choice++)
        chunk_emitter_role(b.e, &b.out, choice);
    expect(&b, ROLE(0) ROLE(1));
    for (int round = 0; round < 3; round++) {
        chunk_emitter_text(b.e, &b.out, 0, SPAN("a"));
        chunk_emitter_text(b.e, &b.out, 0, SPAN("b"));
        chunk_emitter_text(b.e, &b.out, 1, SPAN("c"));
        chunk_emitter_reasoning(b.e, &b.out, 1, SPAN("d"));
        chunk_emitter_tool_arguments(b.e, &b.out, 1, 7, SPAN("e"));
        chunk_emitter_tool_arguments(b.e, &b.out, 1, 12, SPAN("f"));
        chunk_emitter_text(b.e, &b.out, 0, SPAN("g"));
        expect(&b, TEXT("a") TEXT("b") DELTA(1, "{\"content\":\"c\"}")
                       DELTA(1, "{\"reasoning_content\":\"d\"}") DELTA(
                           1, "{\"tool_calls\":[{\"index\":7,\"function\":{\"arguments\":\"e\"}}]}")
                           DELTA(1, "{\"tool_calls\":[{\"index\":12,\"function\":{\"arguments\":"
                                    "\"f\"}}]}") TEXT("g"));
    }
    chunk_emitter_extra(b.e, EXTRA_TOP, 0, SPAN("\"x\":1"));
    chunk_emitter_text(b.e, &b.out, 0, SPAN("h"));
    chunk_emitter_extra(b.e, EXTRA_DELTA, 1, SPAN("\"y\":2"));
    chunk_emitter_text(b.e, &b.out, 0, SPAN("i"));
    chunk_emitter_flush_extras(b.e, &b.out);
    chunk_emitter_text(b.e, &b.out, 0, SPAN("j\xE6"));
    chunk_emitter_text(b.e, &b.out, 0, SPAN("k"));
    chunk_emitter_finish(b.e, &b.out, 0, SPAN("stop"));
    chunk_emitter_text(b.e, &b.out, 0, SPAN("l"));
    struct span out = buffer_span(&b.out);
    static const char *const wanted[] = {
        "\"x\":1,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\"}",
        "{\"content\":\"i\"}",
        "\"index\":1,\"delta\":{\"y\":2}",
        "{\"content\":\"j\"}",
        "{\"content\":\"\xEF\xBF\xBDk\"}",
        "\"finish_reason\":\"stop\"}]}\n\n"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        ptrdiff_t at = span_find(out, span_str(wanted[i]));
        if (at < 0)
            fail_msg("no %s in %.*s", wanted[i], SPAN_ARGS(out));
        out = span_from(out, (size_t)at + strlen(wanted[i]));
    }
    assert_int_equal(out.n, 0);
    stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_with_usage),
        cmocka_unit_test(usage_only_where_asked_for),
        cmocka_unit_test(usage_objects),
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(characters_are_never_split),
        cmocka_unit_test(torn_characters_come_out_at_the_end),
        cmocka_unit_test(tool_calls),
        cmocka_unit_test(refusals_and_citations),
        cmocka_unit_test(choices_are_independent),
        cmocka_unit_test(extras_travel),
        cmocka_unit_test(a_member_inside_another_is_no_member),
        cmocka_unit_test(a_full_output_is_noticed),
        cmocka_unit_test(each_byte_is_seen_everywhere),
        cmocka_unit_test(pieces_of_all_kinds_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
