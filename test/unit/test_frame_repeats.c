/*
 * test/unit/test_frame_repeats.c - frames that are taken without parsing (adapters/support.h,
 * frame_repeats; base/json_shapes.h) give the same deltas, one by one, as when each is parsed.
 *
 * Streams are drawn from each site's kinds of frames with texts in them, many of which nearly
 * qualify: the one before is told apart from those by what it does, not by how it looks.
 */
#include "adapters/adapter.h"

#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/kimi.h"
#include "test/unit/support/transcript.h"

enum { STREAMS = 400, FRAMES = 40, LOG_LIMIT = 1 << 24 };

static unsigned chance;

static unsigned draw(unsigned n)
{
    chance = chance * 1664525u + 1013904223u;
    return (chance >> 8) % n;
}

/* ---- what came out, one by one ---- */

static int note_delta(void *owner, const struct delta *d)
{
    const struct delta_usage *u = &d->usage;
    buffer_printf(owner,
                  "%d %d %d %d [%.*s] [%.*s] [%.*s] [%.*s] [%.*s] %d-%d %d %d %d %d %d [%.*s]\n",
                  (int)d->kind, d->choice, d->index, (int)d->place, SPAN_ARGS(d->text),
                  SPAN_ARGS(d->id), SPAN_ARGS(d->name), SPAN_ARGS(d->native), SPAN_ARGS(d->url),
                  (int)d->start, (int)d->end, (int)u->prompt, (int)u->completion, (int)u->total,
                  d->kind == DELTA_USAGE ? (int)u->cached : 0,
                  d->kind == DELTA_USAGE ? (int)u->reasoning : 0, SPAN_ARGS(u->raw));
    return 0;
}

static void note_drift(void *owner, const char *kind) { buffer_printf(owner, "drift %s\n", kind); }

static const char *type_of(const struct transcript_setup *setup)
{
    return setup->content_type ? setup->content_type : "text/event-stream";
}

/* A step before the answer gets this one. */
static void begin(struct transcript_player *p, const char *earlier, struct site_request *request)
{
    assert_int_equal(transcript_next(p, request), ADAPTER_SEND);
    if (!earlier)
        return;
    transcript_answer_json(p, 200, earlier);
    assert_int_equal(transcript_next(p, request), ADAPTER_SEND);
}

static void play(const struct transcript_setup *setup, const char *earlier, struct span bytes,
                 bool pieces, struct buffer *log)
{
    struct transcript_player *p = transcript_open(setup);
    struct turn_run *run = transcript_run(p);
    const struct delta_sink sink = {.put = note_delta, .owner = log};
    struct site_request request;
    size_t *cuts = test_calloc(bytes.n + 1, sizeof *cuts);
    for (size_t i = 0; i < bytes.n; i++)
        cuts[i] = i;
    run->out = &sink;
    run->drift = note_drift;
    run->drift_owner = log;
    buffer_clear(log);
    begin(p, earlier, &request);
    enum adapter_verdict verdict = transcript_answer(
        p, 200, type_of(setup), bytes, cuts, pieces ? bytes.n : 0, draw(4) ? END_CLEAN : END_CUT);
    buffer_printf(log, "verdict %d: %d %s\n", (int)verdict, (int)run->fail->kind,
                  run->fail->message);
    test_free(cuts);
    transcript_close(p);
}

/* ---- streams ---- */

static void end_frame(struct buffer *out, size_t begin, bool envelope)
{
    if (!envelope) {
        buffer_append(out, SPAN("\n\n"));
        return;
    }
    struct buffer data;
    buffer_init(&data, LOG_LIMIT);
    buffer_append(&data, span_from(buffer_span(out), begin));
    out->n = begin;
    kimi_envelope(out, 0, buffer_span(&data));
    buffer_free(&data);
}

/* "$" in a frame stands for a text, "#" for a number. One that begins with "{" is an envelope's. */
static void write_frame(struct buffer *out, const char *frame)
{
    size_t begin = out->n;
    bool envelope = *frame == '{';
    static const char *const texts[] = {
        "a",
        "",
        "",
        "",
        "word ",
        "",
        "\\n",
        "\\\"quoted\\\"",
        "春眠",
        "\\u6625",
        "\\ud83d",
        "\\ude00",
        "a longer piece of text",
        "【turn0search1】",
        "【",
        "> ",
        "<details>",
        "</details>",
        "\xFF",
        "one",
        "two",
        "three",
        "\\\\",
        "{}",
        "[DONE]",
        "error",
    };
    for (; *frame; frame++) {
        if (*frame == '$')
            buffer_append(out, span_str(texts[draw(sizeof texts / sizeof *texts)]));
        else if (*frame == '#')
            buffer_int(out, draw(3));
        else
            buffer_char(out, *frame);
    }
    end_frame(out, begin, envelope);
}

/* Mostly the same kind of frame several times. */
static void write_stream(struct buffer *out, const char *const *frames, unsigned n)
{
    const char *frame = frames[0];
    buffer_clear(out);
    for (int i = 0; i < FRAMES; i++) {
        if (draw(4) == 0)
            frame = frames[draw(n)];
        write_frame(out, frame);
    }
}

static void compare(const struct transcript_setup *given, const char *earlier,
                    const char *const *frames, unsigned n)
{
    struct transcript_setup setup = *given;
    struct json_shapes shapes = {.clock = 0}; /* from stream to stream */
    struct buffer stream, parsed, repeated;
    setup.shapes = &shapes;
    buffer_init(&stream, LOG_LIMIT);
    buffer_init(&parsed, LOG_LIMIT);
    buffer_init(&repeated, LOG_LIMIT);
    for (unsigned i = 0; i < STREAMS; i++) {
        chance = i;
        write_stream(&stream, frames, n);
        for (int pieces = 0; pieces < 2; pieces++) {
            unsigned seed = chance;
            setup.parse_all = true;
            play(&setup, earlier, buffer_span(&stream), false, &parsed);
            chance = seed;
            setup.parse_all = false;
            play(&setup, earlier, buffer_span(&stream), pieces, &repeated);
            if (parsed.error || repeated.error ||
                !span_eq(buffer_span(&parsed), buffer_span(&repeated)))
                fail_msg("stream %u\n%.*s\nparsed, it says\n%.*s\notherwise\n%.*s", i,
                         SPAN_ARGS(buffer_span(&stream)), SPAN_ARGS(buffer_span(&parsed)),
                         SPAN_ARGS(buffer_span(&repeated)));
        }
    }
    json_shapes_free(&shapes);
    buffer_free(&stream);
    buffer_free(&parsed);
    buffer_free(&repeated);
}

static bool any_matched(const struct turn_run *run)
{
    bool any = run->shape->matched;
    for (unsigned i = 0; i < JSON_SHAPES; i++)
        any |= run->shapes->list[i].matched;
    return any;
}

/* A stream of such frames does take the short way: the test above compares something. */
static void expect_repeats(const struct transcript_setup *setup, const char *earlier,
                           const char *frame)
{
    struct transcript_player *p = transcript_open(setup);
    struct site_request request;
    struct buffer bytes;
    buffer_init(&bytes, 1 << 16);
    chance = 1;
    for (int i = 0; i < 8; i++) {
        size_t at = bytes.n;
        buffer_printf(&bytes, frame, i, i, i);
        end_frame(&bytes, at, *frame == '{');
    }
    begin(p, earlier, &request);
    transcript_answer(p, 200, type_of(setup), buffer_span(&bytes), NULL, 0, END_CUT);
    if (!any_matched(transcript_run(p)))
        fail_msg("no frame is like the one before: %s", frame);
    buffer_free(&bytes);
    transcript_close(p);
}

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* ---- the sites ---- */

#define STREAM                                                                                     \
    "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

static const struct credential key[] = {{SPAN_INIT("api_key"), SPAN_INIT("key-123456")}};
static const struct credential token[] = {
    {SPAN_INIT("token"),
     SPAN_INIT("eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InUtMSIsImVtYWlsIjoiYUBiLmMifQ.c2ln")}};

#define CHUNK(delta, choice, top)                                                                  \
    "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{" delta "}" choice "}]" top "}"

static void openai_says_the_same(void **state)
{
    static const char *const frames[] = {
        CHUNK("\"content\":\"$\"", "", ""),
        CHUNK("\"content\":\"$\"", ",\"finish_reason\":null", ",\"system_fingerprint\":\"f\""),
        CHUNK("\"content\":\"$\"", "", ",\"obfuscation\":\"$\""),
        CHUNK("\"content\":\"$\"", "", ",\"created\":#"),
        CHUNK("\"content\":\"$\"", "", ",\"extra\":#"),
        CHUNK("\"content\":\"$\"", ",\"extra\":1", ""),
        CHUNK("\"content\":\"$\",\"mood\":1", "", ""),
        CHUNK("\"content\":\"$\",\"refusal\":\"$\"", "", ""),
        CHUNK("\"content\":null,\"reasoning_content\":\"$\"", "", ""),
        CHUNK("\"content\":\"$\",\"reasoning_content\":\"x\"", "", ""),
        CHUNK("\"content\":\"$\",\"reasoning\":\"\"", "", ""),
        CHUNK("\"reasoning\":\"$\"", "", ""),
        CHUNK("\"content\":\"$\"", ",\"finish_reason\":\"stop\"", ""),
        CHUNK("\"content\":\"$\"", "", ",\"usage\":{\"prompt_tokens\":#,\"completion_tokens\":1}"),
        CHUNK("\"content\":\"$\"", "", ",\"error\":{\"message\":\"$\"}"),
        CHUNK("\"content\":\"$\",\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{"
              "\"name\":\"f\",\"arguments\":\"$\"}}]",
              "", ""),
        CHUNK("\"content\":[\"$\"]", "", ""),
        CHUNK("\"content\":\"$\",\"annotations\":[{\"type\":\"x\"}]", "", ""),
        CHUNK("\"role\":\"assistant\",\"content\":\"$\"", "", ",\"fingerprint\":\"a\""),
        CHUNK("\"role\":\"assistant\",\"content\":\"$\"", "", ",\"fingerprint\":\"b\""),
        CHUNK("", ",\"finish_reason\":\"length\"", ""),
        CHUNK("", ",\"finish_reason\":\"$\"", ""),
        CHUNK("", ",\"usage\":{\"prompt_tokens\":1}", ""),
        "data: {\"id\":\"$\",\"choices\":[],\"usage\":{\"prompt_tokens\":1#,"
        "\"completion_tokens\":#,\"total_tokens\":1#}}",
        "data: {\"id\":\"$\",\"choices\":[],\"usage\":{\"total_tokens\":#, "
        "\"completion_tokens\":#,\"prompt_tokens\":1#}}",
        "data: {\"usage\":{\"total_tokens\":-#,\"completion_tokens\":#,\"prompt_tokens\":1,"
        "\"prompt_tokens_details\":{\"cached_tokens\":#}},\"choices\":[]}",
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"$\"}}]}",
        "data: {\"choices\":[{\"index\":999,\"delta\":{\"content\":\"$\"}}]}",
        "data: {\"choices\":[{\"delta\":{\"content\":\"$\"}},{\"index\":1,\"delta\":{\"content\":"
        "\"$\"}}]}",
        "data: {\"choices\":[{\"message\":{\"content\":\"$\"}}]}",
        "data: {\"choices\":[{\"text\":\"$\"}]}",
        "data: {\"choices\":[{\"delta\":{\"content\":\"$\"},\"message\":{\"content\":\"w\"}}]}",
        "event: x\ndata: {\"choices\":[{\"delta\":{\"content\":\"$\"}}]}",
        "event: error\ndata: {\"choices\":[{\"delta\":{\"content\":\"$\"}}]}",
        "data: [DONE]",
    };
    const struct transcript_setup setup = {.adapter = &adapter_openai,
                                           .body = STREAM,
                                           .base_url = "https://api.example.com/v1",
                                           .credentials = key,
                                           .n_credentials = 1};
    compare(&setup, NULL, frames, COUNT(frames));
    expect_repeats(&setup, NULL, CHUNK("\"content\":\"%d\"", ",\"finish_reason\":null", ""));
    expect_repeats(&setup, NULL, CHUNK("\"reasoning\":\"%d\"", "", ""));
    expect_repeats(&setup, NULL,
                   CHUNK("\"content\":\"%d\"", "", ",\"created\":%d,\"obfuscation\":\"x%d\""));
}

#define EVENT(members) "data: {\"type\":\"chat:completion\",\"data\":{" members "}}"

static void zai_says_the_same(void **state)
{
    static const char *const frames[] = {
        EVENT("\"delta_content\":\"$\",\"phase\":\"answer\""),
        EVENT("\"delta_content\":\"$\",\"phase\":\"thinking\""),
        EVENT("\"delta_content\":\"$\",\"phase\":\"other\""),
        EVENT("\"delta_content\":\"$\",\"phase\":\"unheard of\""),
        EVENT("\"delta_content\":\"$\",\"phase\":\"tool_call\""),
        EVENT("\"delta_content\":\"$\",\"phase\":\"tool_response\""),
        EVENT("\"delta_content\":\"$\""),
        EVENT("\"delta_content\":\"$\",\"phase\":\"answer\",\"usage\":{\"prompt_tokens\":#}"),
        EVENT("\"delta_content\":\"$\",\"phase\":\"answer\",\"edit_content\":\"one\""),
        EVENT("\"delta_content\":\"\",\"phase\":\"answer\",\"edit_content\":\"$\""),
        EVENT("\"phase\":\"answer\",\"edit_index\":0,\"edit_content\":\"<details>$</details>$\""),
        EVENT("\"delta_content\":\"$\",\"phase\":\"done\""),
        EVENT("\"phase\":\"done\",\"done\":true"),
        EVENT("\"phase\":\"other\",\"delta_content\":\"$\",\"usage\":{\"prompt_tokens\":#,"
              "\"completion_tokens\":#,\"total_tokens\":#}"),
        EVENT("\"phase\":\"other\",\"delta_content\":#,\"usage\":{\"prompt_tokens\":-#}"),
        EVENT("\"phase\":\"answer\",\"delta_content\":\"$\",\"edit_content\":\"$\""),
        EVENT("\"delta_content\":\"$\",\"phase\":\"answer\",\"done\":true"),
        EVENT("\"delta_content\":\"$\",\"phase\":\"answer\",\"error\":{\"detail\":\"$\"}"),
        "data: {\"type\":\"chat:title\",\"data\":{\"delta_content\":\"$\"}}",
        "data: {\"data\":{\"delta_content\":\"$\",\"phase\":\"answer\"}}",
        "data: [DONE]",
    };
    const struct transcript_setup setup = {.adapter = &adapter_zai,
                                           .body = STREAM,
                                           .model = "glm-4.7",
                                           .credentials = token,
                                           .n_credentials = 1};
    compare(&setup, NULL, frames, COUNT(frames));
    expect_repeats(&setup, NULL, EVENT("\"delta_content\":\"%d\",\"phase\":\"answer\""));
    expect_repeats(&setup, NULL, EVENT("\"delta_content\":\"%d\",\"phase\":\"thinking\""));
}

#define BLOCK_DELTA(index, delta)                                                                  \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":" index         \
    ",\"delta\":{\"type\":" delta "}}"
#define BLOCK_START(index, block)                                                                  \
    "data: {\"type\":\"content_block_start\",\"index\":" index                                     \
    ",\"content_block\":{\"type\":" block "}}"
#define BLOCK_STOP(index) "data: {\"type\":\"content_block_stop\",\"index\":" index "}"

static const char *const message_frames[] = {
    BLOCK_DELTA("0", "\"text_delta\",\"text\":\"$\""),
    BLOCK_DELTA("1", "\"thinking_delta\",\"thinking\":\"$\""),
    BLOCK_DELTA("2", "\"input_json_delta\",\"partial_json\":\"$\""),
    BLOCK_DELTA("#", "\"text_delta\",\"text\":\"$\""),
    BLOCK_DELTA("0", "\"text_delta\",\"text\":#"),
    BLOCK_DELTA("1", "\"signature_delta\",\"signature\":\"$\""),
    BLOCK_DELTA("0", "\"unheard of\",\"text\":\"$\""),
    BLOCK_DELTA("0", "\"citation_start_delta\",\"citation\":{\"uuid\":\"u\",\"url\":\"$\"}"),
    BLOCK_DELTA("0", "\"citation_end_delta\",\"citation_uuid\":\"u\""),
    BLOCK_DELTA("0", "\"citations_delta\",\"citation\":{\"url\":\"$\"}"),
    BLOCK_DELTA("1", "\"thinking_summary_delta\",\"summary\":{\"summary\":\"$\"}"),
    BLOCK_START("0", "\"text\",\"text\":\"$\""),
    BLOCK_START("0", "\"text\",\"text\":\"\""),
    BLOCK_START("#", "\"text\",\"text\":\"\""),
    BLOCK_START("1", "\"thinking\",\"thinking\":\"$\""),
    BLOCK_START("2", "\"tool_use\",\"id\":\"c#\",\"name\":\"f\",\"input\":{}"),
    BLOCK_STOP("0"),
    BLOCK_STOP("#"),
    "data: "
    "{\"type\":\"message_start\",\"message\":{\"uuid\":\"a\",\"usage\":{\"input_tokens\":#}}}",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}",
    "data: {\"type\":\"ping\"}",
    "data: {\"type\":\"completion\",\"completion\":\"$\"}",
    "data: {\"type\":\"message_stop\"}",
};

static void anthropic_says_the_same(void **state)
{
    const struct transcript_setup setup = {.adapter = &adapter_anthropic,
                                           .body = STREAM,
                                           .model = "claude-sonnet-4-5",
                                           .credentials = key,
                                           .n_credentials = 1};
    compare(&setup, NULL, message_frames, COUNT(message_frames));
    expect_repeats(&setup, NULL, BLOCK_DELTA("0", "\"text_delta\",\"text\":\"%d\""));
    expect_repeats(&setup, NULL, BLOCK_DELTA("0", "\"thinking_delta\",\"thinking\":\"%d\""));
}

static void claude_web_says_the_same(void **state)
{
    static const struct credential member[] = {
        {SPAN_INIT("session_key"), SPAN_INIT("sk-ant-sid01-secret")},
        {SPAN_INIT("organization"), SPAN_INIT("11111111-2222-4333-8444-555555555555")}};
    static const char created[] =
        "{\"uuid\":\"c0ffee00-0000-4000-8000-000000000000\",\"is_temporary\":true}";
    const struct transcript_setup setup = {.adapter = &adapter_claude_web,
                                           .body = STREAM,
                                           .model = "claude-sonnet-5",
                                           .credentials = member,
                                           .n_credentials = 2};
    compare(&setup, created, message_frames, COUNT(message_frames));
    expect_repeats(&setup, created, BLOCK_DELTA("0", "\"text_delta\",\"text\":\"%d x\""));
    expect_repeats(&setup, created, BLOCK_DELTA("0", "\"thinking_delta\",\"thinking\":\"%d\""));
}

#define APPEND(part, more)                                                                         \
    "{\"op\":\"append\",\"mask\":\"block." part                                                    \
    ".content\",\"eventOffset\":#,\"block\":{\"id\":\"3\","                                        \
    "\"" part "\":{\"content\":\"$\"" more "}}}"
#define APPENDED(part)                                                                             \
    "{\"op\":\"append\",\"mask\":\"block." part ".content\",\"block\":{\"id\":\"3\","              \
    "\"" part "\":{\"content\":\"%d\"}},\"eventOffset\":%d}"

static void kimi_says_the_same(void **state)
{
    static const char *const frames[] = {
        APPEND("text", ""),
        APPEND("think", ""),
        APPEND("text", ",\"flags\":\"thinking\""),
        APPEND("text", ",\"flags\":\"answer\""),
        APPEND("text", ",\"flags\":\"$\""),
        "{\"op\":\"append\",\"mask\":\"block.text\",\"block\":{\"id\":\"#\",\"text\":{\"content\":"
        "\"$\"}}}",
        "{\"op\":\"append\",\"mask\":\"block.other\",\"block\":{\"id\":\"3\",\"text\":{"
        "\"content\":\"$\"}}}",
        "{\"op\":\"set\",\"mask\":\"block.text\",\"block\":{\"id\":\"3\",\"text\":{\"content\":"
        "\"$\"}}}",
        "{\"op\":\"append\",\"block\":{\"id\":\"3\",\"text\":{\"content\":\"$\"},\"think\":{"
        "\"content\":\"x\"}}}",
        "{\"op\":\"append\",\"block\":{\"id\":\"3\",\"text\":{\"content\":\"$\"}},\"error\":{"
        "\"code\":\"x\"}}",
        "{\"op\":\"append\",\"block\":{\"id\":\"3\",\"text\":{\"content\":\"$\"}},\"done\":{}}",
        "{\"message\":{\"id\":\"m\",\"role\":\"assistant\"}}",
        "{\"heartbeat\":{}}",
    };
    const struct transcript_setup setup = kimi_setup();
    compare(&setup, NULL, frames, COUNT(frames));
    expect_repeats(&setup, NULL, APPENDED("text"));
    expect_repeats(&setup, NULL, APPENDED("think"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openai_says_the_same),    cmocka_unit_test(zai_says_the_same),
        cmocka_unit_test(anthropic_says_the_same), cmocka_unit_test(claude_web_says_the_same),
        cmocka_unit_test(kimi_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
