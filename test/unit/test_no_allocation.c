/*
 * test/unit/test_no_allocation.c - steady streaming costs no heap allocation in our own code:
 * decoder, adapter, answer, output buffer.
 *
 * The linker sends our calls of malloc and its kin through the counters below (CMakeLists.txt,
 * --wrap); libraries keep their own. An arena that grew with the answer would show as well, since
 * it takes blocks.
 */
#include "gateway/answer.h"
#include "gateway/tool_list.h"
#include "sse/frame_decoder.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/transcript.h"

/* Warm is a stream when the first portion of its text has been counted (2 KiB, however small the
 * pieces). zai keeps what it has told, because a later edit may begin anywhere in it: 3000 pieces
 * become 23000. */
enum { WARM_UP = 3000, STEADY = 20000, ANSWER_DOUBLES = 4 };

/* The linker's names. NOLINTBEGIN(bugprone-reserved-identifier) */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static size_t allocations;

void *__wrap_malloc(size_t n)
{
    allocations++;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    allocations++;
    return __real_realloc(p, n);
}

/* NOLINTEND(bugprone-reserved-identifier) */

static void the_counter_counts(void **state)
{
    size_t before = allocations;
    struct buffer b;
    buffer_init(&b, 1000);
    buffer_append(&b, SPAN("x"));
    buffer_free(&b);
    assert_int_equal(allocations, before + 1);
}

/* One event of the site, number `i`; `cut` of them arrives in a read of its own. */
typedef void write_event(struct buffer *out, int i);

struct stream {
    const struct transcript_setup *setup;
    struct transcript_player *player;
    struct turn_run *run;
    struct frame_decoder decoder;
    struct answer answer;
    struct answer_feed feed;
    struct arena arena;
    struct buffer read, out;
};

static void feed(struct stream *s, struct span bytes)
{
    struct frame frame;
    enum frame_result r;
    while ((r = frame_decoder_next(&s->decoder, &bytes, &frame)) == FRAME_READY) {
        assert_int_equal(s->setup->adapter->on_frame(s->run, &frame), ADAPTER_GO_ON);
        answer_frame_done(&s->answer);
    }
    assert_int_equal(r, FRAME_MORE);
}

/* One chunk in two reads (its data line torn), as TLS records and TCP segments do it, or in one. */
static void chunk(struct stream *s, write_event *event, int i, bool torn)
{
    buffer_clear(&s->read);
    buffer_clear(&s->out);
    event(&s->read, i);
    struct span bytes = buffer_span(&s->read);
    size_t half = torn ? bytes.n / 2 : 0;
    if (half)
        feed(s, span_first(bytes, half));
    feed(s, span_from(bytes, half));
}

/* `growth`: what an adapter that must keep the answer so far may take, doubling its room. */
static void steady_with(const struct answer_rules *rules, const struct transcript_setup *setup,
                        write_event *event, size_t growth, const char *wanted)
{
    struct stream s = {.setup = setup};
    struct site_request request;
    const struct header type = {SPAN_INIT("Content-Type"), SPAN_INIT("text/event-stream")};
    struct site_head head = {
        .status = 200, .headers = &type, .n_headers = 1, .content_type = type.value};

    arena_init(&s.arena);
    buffer_init(&s.read, 1 << 20);
    buffer_init(&s.out, 1 << 20);
    s.player = transcript_open(setup);
    s.run = transcript_run(s.player);
    const struct answer_meta meta = {.id = SPAN("chatcmpl-1"), .model = SPAN("m"), .created = 1};
    const struct token_source no_tokenizer = {0};
    struct answer_writer *writer = chat_stream_writer(&s.arena, &meta, NULL, &s.out);
    assert_non_null(writer);
    answer_init(&s.answer, writer, &s.arena, &no_tokenizer, meta.id);
    answer_feed_add(&s.answer, &s.feed, s.run->turn, 0, 1);
    answer_feed_begin(&s.feed, rules);
    s.run->out = &s.feed.sink;
    assert_int_equal(transcript_next(s.player, &request), ADAPTER_SEND);
    if (request.framing == FRAMING_WHOLE) { /* a chat is made first */
        transcript_answer(s.player, 200, "application/json",
                          SPAN("{\"success\":true,\"data\":{\"id\":\"c\"}}"), NULL, 0, END_CLEAN);
        assert_int_equal(transcript_next(s.player, &request), ADAPTER_SEND);
    }
    enum framing framing = request.framing;
    assert_int_equal(setup->adapter->on_head(s.run, &head, &framing), ADAPTER_GO_ON);
    frame_decoder_init(&s.decoder, framing, FRAME_LIMIT);

    for (int i = 0; i < WARM_UP; i++)
        chunk(&s, event, i, i % 2);
    size_t before = allocations;
    for (int i = 0; i < STEADY; i++)
        chunk(&s, event, i, i % 2);
    assert_in_range(allocations - before, 0, growth);
    /* It did stream. */
    assert_true(span_find(buffer_span(&s.out), SPAN("data: {")) == 0);
    if (span_find(buffer_span(&s.out), span_str(wanted)) < 0)
        fail_msg("no %s in %.*s", wanted, SPAN_ARGS(buffer_span(&s.out)));

    frame_decoder_free(&s.decoder);
    answer_free(&s.answer);
    transcript_close(s.player);
    arena_free(&s.arena);
    buffer_free(&s.read);
    buffer_free(&s.out);
}

static void steady(const struct transcript_setup *setup, write_event *event, size_t growth,
                   const char *wanted)
{
    const struct answer_rules rules = {.reasoning = REASONING_FIELD};
    steady_with(&rules, setup, event, growth, wanted);
}

/* ---- the sites ---- */

#define STREAM                                                                                     \
    "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define CHUNK(delta, more)                                                                         \
    "data: {\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\","      \
    "\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":null}]" more "}\n\n"

static const struct credential key[] = {{SPAN_INIT("api_key"), SPAN_INIT("key-123456")}};
static const struct credential token[] = {
    {SPAN_INIT("token"),
     SPAN_INIT("eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InUtMSIsImVtYWlsIjoiYUBiLmMifQ.c2ln")}};

static const struct transcript_setup openai = {.adapter = &adapter_openai,
                                               .body = STREAM,
                                               .base_url = "https://api.example.com/v1",
                                               .credentials = key,
                                               .n_credentials = 1};
static const struct transcript_setup sophnet = {
    .adapter = &adapter_sophnet, .body = STREAM, .credentials = key, .n_credentials = 1};
static const struct transcript_setup zai = {.adapter = &adapter_zai,
                                            .body = STREAM,
                                            .model = "glm-4.7",
                                            .credentials = token,
                                            .n_credentials = 1};

static const struct transcript_setup qwen = {.adapter = &adapter_qwen,
                                             .body = STREAM,
                                             .model = "qwen3.6-plus",
                                             .credentials = token,
                                             .n_credentials = 1};

static void plain_event(struct buffer *out, int i)
{
    buffer_printf(out, CHUNK("{\"content\":\"word %d 春眠\\n \"}", ""), i);
}

/* Text of a site whose tools are emulated: a call might begin in it, and does not. */
static void openai_text_with_tools(void **state)
{
    static const struct tool get = {.name = SPAN_INIT("get")};
    static const struct tool_list tools = {&get, 1};
    const struct answer_rules rules = {.reasoning = REASONING_FIELD, .tools = &tools};
    steady_with(&rules, &openai, plain_event, 0, "word 19999 春眠\\n ");
}

static void openai_text(void **state) { steady(&openai, plain_event, 0, "word 19999 春眠\\n "); }
static void sophnet_text(void **state) { steady(&sophnet, plain_event, 0, "word 19999 春眠\\n "); }

static void qwen_event(struct buffer *out, int i)
{
    buffer_printf(out,
                  "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"word %d\","
                  "\"phase\":\"%s\",\"status\":\"typing\"}}],\"response_id\":\"r\",\"usage\":{"
                  "\"input_tokens\":1,\"output_tokens\":%d,\"total_tokens\":%d}}\n\n",
                  i, i % 2 ? "answer" : "think", i, i + 1);
}

static void qwen_text(void **state) { steady(&qwen, qwen_event, 0, "word 19999"); }

static void reasoning_event(struct buffer *out, int i)
{
    buffer_printf(out, CHUNK("{\"reasoning_content\":\"hm %d\"}", ""), i);
}

static void openai_reasoning(void **state)
{
    steady(&openai, reasoning_event, 0, "\"reasoning_content\":\"hm 19999\"");
}

/* Members that we do not know, in every place, new ones each time; usage with every chunk. */
static void extra_event(struct buffer *out, int i)
{
    buffer_printf(
        out,
        "data: {\"id\":\"a\",\"fingerprint2\":\"%06d\",\"choices\":[{\"index\":0,\"native\":%d,"
        "\"logprobs\":{\"content\":[]},\"delta\":{\"content\":\"w\",\"mood\":%d},"
        "\"finish_reason\":null}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":%d,"
        "\"total_tokens\":%d}}\n\n",
        i, i % 10, i % 10, i, i + 1);
}

static void openai_extras(void **state)
{
    steady(&openai, extra_event, 0, "\"fingerprint2\":\"019999\"");
}

static void tool_event(struct buffer *out, int i)
{
    if (i == 0)
        buffer_printf(
            out,
            CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\",\"function\":"
                  "{\"name\":\"f\",\"arguments\":\"\"}}]}",
                  ""));
    buffer_printf(
        out,
        CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"a\\\":%d,\"}}]}",
              ""),
        i);
}

static void openai_tool_arguments(void **state)
{
    steady(&openai, tool_event, 0, "\\\"a\\\":19999,");
}

static void zai_answer_event(struct buffer *out, int i)
{
    buffer_printf(out,
                  "data: {\"type\":\"chat:completion\",\"data\":{\"delta_content\":\"word %d "
                  "春眠\",\"phase\":\"answer\"}}\n\n",
                  i);
}

static void zai_text(void **state)
{
    steady(&zai, zai_answer_event, ANSWER_DOUBLES, "word 19999 春眠");
}

static void zai_thinking_event(struct buffer *out, int i)
{
    buffer_printf(
        out,
        "data: {\"type\":\"chat:completion\",\"data\":{\"delta_content\":\"%s\\n> hm "
        "%d\",\"phase\":\"thinking\"}}\n\n",
        i ? ""
          : "<details type=\\\"reasoning\\\" done=\\\"false\\\">\\n<summary>Thinking…</summary>\\n",
        i);
}

static void zai_thinking(void **state)
{
    steady(&zai, zai_thinking_event, ANSWER_DOUBLES, "hm 19999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_counter_counts), cmocka_unit_test(openai_text_with_tools),
        cmocka_unit_test(openai_text),        cmocka_unit_test(openai_reasoning),
        cmocka_unit_test(openai_extras),      cmocka_unit_test(openai_tool_arguments),
        cmocka_unit_test(sophnet_text),       cmocka_unit_test(qwen_text),
        cmocka_unit_test(zai_text),           cmocka_unit_test(zai_thinking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
